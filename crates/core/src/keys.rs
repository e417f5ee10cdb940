//! Where everything is (docs/reference/wire-formats.md#keys-in-the-buckets), and what is
//! stored there: pure names, nothing else builds a key.

use jiff::Timestamp;

use crate::action::ActionFact;
use crate::commit::{
    Attempt, AttemptFailure, Closed, Decision, Move, MoveFailure, Outcome, Owner, Revoked, Seal,
    Submitted, Ticket, UrlDeleted,
};
use crate::digest::Sha256Hex;
use crate::envelope::Envelope;
use crate::epoch::{Began, Ended};
use crate::frozen::FrozenRound;
use crate::hint::HintKey;
use crate::ingress::Planned;
use crate::names;
use crate::notice::OutboxEntry;
use crate::object_key::{FactKey, FactPrefix, WorkKey, WorkPrefix};
use crate::packaging::{AttemptOver, Sent};
use crate::receipt::Receipt;
use crate::retention::{Deletion, DeletionPlan, Hold, IdleWarning, LetGo, TakenOver};
use crate::seen::{Seen, Sighting};
use crate::url_ending::{UrlRead, UrlWarning};
use crate::url_issue::UrlIssue;
use crate::view::ViewFact;
use crate::volume::{Collection, Delivered, Errand, JobIntent, JobMade, JobPod};
use trevor_api::{Notification, ReleaseRecordSpec};

const OUTBOX: &str = "work/outbox/";
const TICKETS: &str = "work/retention/";
const HINT_KEYS: &str = "work/plans/gateways/";
const LETTING_GO: &str = "work/letting-go/";
const EPOCHS: &str = "audit/epochs/";

/// A request, as the buckets know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// The project.
    pub namespace: String,
    /// The request's uid.
    pub uid: String,
}

/// Whether a key is that of a quarantined file: `requests/<ns>/<uid>/files/…`.
#[must_use]
pub fn is_quarantined(key: &str) -> bool {
    let mut parts = key.split('/');
    parts.next() == Some("requests") && parts.nth(2) == Some("files")
}

/// Where a quarantined file goes that nobody is to reach by a URL any more: in the same
/// folder, so that it is deleted with the others. No key begins with another's.
#[must_use]
pub fn set_aside_key(file: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/aside-{name}"),
        None => format!("aside-{file}"),
    }
}

/// Prefix of the keys that gateways sign their hints with: public ones.
#[must_use]
pub fn hint_keys() -> WorkPrefix<HintKey> {
    WorkPrefix::new(HINT_KEYS.to_owned())
}

/// The key of one gateway process.
#[must_use]
pub fn hint_key(gateway: &str) -> WorkKey<HintKey> {
    WorkKey::new(format!("{HINT_KEYS}{gateway}.json"))
}

/// Prefix of notifications that wait; what is due first comes first.
#[must_use]
pub fn outbox() -> WorkPrefix<OutboxEntry> {
    WorkPrefix::new(OUTBOX.to_owned())
}

/// Prefix of the sweeper's wake-ups, which sort by due time.
#[must_use]
pub fn tickets() -> WorkPrefix<Ticket> {
    WorkPrefix::new(TICKETS.to_owned())
}

/// Where it is announced that finalizers go; the newest counts.
#[must_use]
pub fn letting_go() -> WorkPrefix<Timestamp> {
    WorkPrefix::new(LETTING_GO.to_owned())
}

/// That finalizers go from then on, in seconds since 1970.
#[must_use]
pub fn letting_go_at(seconds: i64) -> WorkKey<Timestamp> {
    WorkKey::new(format!("{LETTING_GO}{seconds}.json"))
}

/// That a cluster is gone, and another deletes what is due of its requests.
#[must_use]
pub fn taken_over(cluster: &str, to: &str) -> FactKey<TakenOver> {
    FactKey::new(format!("index/clusters/{cluster}/taken-over/{to}.json"))
}

/// Prefix of the epochs of all clusters.
#[must_use]
pub fn epochs() -> FactPrefix<()> {
    FactPrefix::new(EPOCHS.to_owned())
}

/// The same, of their beginnings.
#[must_use]
pub fn epochs_began() -> FactPrefix<Began> {
    FactPrefix::new(EPOCHS.to_owned()).only(|key| !key.ends_with(".ended.json"))
}

/// The same, of their ends.
#[must_use]
pub fn epochs_ended() -> FactPrefix<Ended> {
    FactPrefix::new(EPOCHS.to_owned()).only(|key| key.ends_with(".ended.json"))
}

/// The beginning of an epoch; without a cluster it is of before clusters were told apart.
#[must_use]
pub fn epoch_began(cluster: Option<&str>, sequence: i64) -> FactKey<Began> {
    FactKey::new(format!("{}{sequence:020}.json", epochs_of(cluster)))
}

/// The end of an epoch.
#[must_use]
pub fn epoch_ended(cluster: Option<&str>, sequence: i64) -> FactKey<Ended> {
    FactKey::new(format!("{}{sequence:020}.ended.json", epochs_of(cluster)))
}

fn epochs_of(cluster: Option<&str>) -> String {
    cluster.map_or_else(|| EPOCHS.to_owned(), |uid| format!("{EPOCHS}{uid}/"))
}

/// The folders of the index that a file of a project is in: of its content, and of its path.
#[must_use]
pub fn index_of(namespace: &str, path: &str, sha256: &Sha256Hex) -> [FactPrefix<Sighting>; 2] {
    let path = Sha256Hex::of(format!("{namespace}/{}", names::stored_form(path)).as_bytes());
    [
        FactPrefix::new(format!("index/sha256/{sha256}/")),
        FactPrefix::new(format!("index/path/{path}/")),
    ]
}

/// The first entry of a folder of the index. It has a fixed name, so that a folder with
/// nothing in it, which nearly all are, costs one read and no listing.
#[must_use]
pub fn index_first(folder: &FactPrefix<Sighting>) -> FactKey<Sighting> {
    FactKey::new(format!("{folder}first.json"))
}

/// The entry of a round in a folder of the index that has a first one.
#[must_use]
pub fn index_entry(folder: &FactPrefix<Sighting>, uid: &str, round: i64) -> FactKey<Sighting> {
    FactKey::new(format!("{folder}{uid}-{round}.json"))
}

impl RequestKey {
    /// `requests/<ns>/<uid>/`
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("requests/{}/{}/", self.namespace, self.uid)
    }
    /// The request of a quarantined file, by its key.
    #[must_use]
    pub fn of_file(file: &str) -> Option<Self> {
        let mut parts = file.split('/');
        let (first, namespace, uid) = (parts.next()?, parts.next()?, parts.next()?);
        let name = (parts.next()?, parts.next()?);
        let whole = first == "requests" && name.0 == "files" && !name.1.is_empty();
        (whole && parts.next().is_none()).then(|| Self {
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
        })
    }
    /// Prefix of the quarantined files.
    #[must_use]
    pub fn files(&self) -> String {
        format!("{}files/", self.prefix())
    }
    /// Key of a new quarantined file; `nonce` is random.
    #[must_use]
    pub fn file(&self, nonce: &str) -> String {
        format!("{}files/{nonce}", self.prefix())
    }
    /// Who owns the prefix.
    #[must_use]
    pub fn owner(&self) -> FactKey<Owner> {
        FactKey::new(format!("{}owner.json", self.prefix()))
    }
    /// Prefix of all receipts.
    #[must_use]
    pub fn receipts(&self) -> FactPrefix<Receipt> {
        FactPrefix::new(format!("{}receipts/", self.prefix()))
    }
    /// Prefix of the receipts of one path; equal for spellings that would meet. Other
    /// paths can have the same one ([`names::stored_form`]), and share its versions.
    #[must_use]
    pub fn receipts_of(&self, path: &str) -> FactPrefix<Receipt> {
        FactPrefix::new(format!(
            "{}{}/",
            self.receipts(),
            Sha256Hex::of(names::stored_form(path).as_bytes())
        ))
    }
    /// One receipt.
    #[must_use]
    pub fn receipt(&self, path: &str, version: &str) -> FactKey<Receipt> {
        FactKey::new(format!("{}{version}.json", self.receipts_of(path)))
    }
    /// Prefix of all rounds.
    #[must_use]
    pub fn rounds(&self) -> String {
        format!("{}rounds/", self.prefix())
    }
    /// Prefix of one round.
    #[must_use]
    pub fn round(&self, round: i64) -> String {
        format!("{}rounds/{round}/", self.prefix())
    }
    /// Since when the round waits for its files.
    #[must_use]
    pub fn submitted(&self, round: i64) -> FactKey<Submitted> {
        FactKey::new(format!("{}submitted.json", self.round(round)))
    }
    /// What became of an AirlockAction, by its uid.
    #[must_use]
    pub fn action(&self, uid: &str) -> FactKey<ActionFact> {
        FactKey::new(format!("{}actions/{uid}.json", self.prefix()))
    }
    /// Which of the round's files were seen before.
    #[must_use]
    pub fn seen(&self, round: i64) -> FactKey<Seen> {
        FactKey::new(format!("{}seen.json", self.round(round)))
    }
    /// That the round's files are in the index.
    #[must_use]
    pub fn indexed(&self, round: i64) -> FactKey<i64> {
        FactKey::new(format!("{}indexed.json", self.round(round)))
    }
    /// No more uploads.
    #[must_use]
    pub fn seal(&self, round: i64) -> FactKey<Seal> {
        FactKey::new(format!("{}seal.json", self.round(round)))
    }
    /// The frozen manifest, or the refusal.
    #[must_use]
    pub fn manifest(&self, round: i64) -> FactKey<FrozenRound> {
        FactKey::new(format!("{}manifest.json", self.round(round)))
    }
    /// Prefix of the views of a round.
    #[must_use]
    pub fn views(&self, round: i64) -> FactPrefix<()> {
        FactPrefix::new(format!("{}views/", self.round(round)))
    }
    /// One view; `what` is `opened` or `viewed`.
    #[must_use]
    pub fn view(
        &self,
        round: i64,
        reader: &str,
        path: &str,
        version: &str,
        what: &str,
    ) -> FactKey<ViewFact> {
        let reader = Sha256Hex::of(reader.as_bytes());
        let path = Sha256Hex::of(path.as_bytes());
        FactKey::new(format!(
            "{}{}/{}-{version}.{what}.json",
            self.views(round),
            reader.short(16),
            path.short(32)
        ))
    }
    /// That the gateway handed a URL of the release out.
    #[must_use]
    pub fn url_read(&self, round: i64, issue: i64) -> FactKey<UrlRead> {
        FactKey::new(format!("{}url-{issue}.json", self.views(round)))
    }
    /// That a warning went out about a URL which ends unused.
    #[must_use]
    pub fn url_warned(&self, issue: i64) -> FactKey<UrlWarning> {
        FactKey::new(format!("{}warnings/url-{issue}.json", self.prefix()))
    }
    /// The decision on a round.
    #[must_use]
    pub fn decision(&self, round: i64) -> FactKey<Decision> {
        FactKey::new(format!("{}decision.json", self.round(round)))
    }
    /// Prefix of the attempts to release.
    #[must_use]
    pub fn attempts(&self, round: i64) -> FactPrefix<Attempt> {
        let attempts = FactPrefix::new(format!("{}attempts/", self.round(round)));
        attempts.only(|key| !key.ends_with(".failed.json"))
    }
    /// One attempt, from 1.
    #[must_use]
    pub fn attempt(&self, round: i64, attempt: i64) -> FactKey<Attempt> {
        FactKey::new(format!("{}{attempt:06}.json", self.attempts(round)))
    }
    /// Why an attempt ended for good, where a person must act.
    #[must_use]
    pub fn attempt_failed(&self, round: i64, attempt: i64) -> FactKey<AttemptFailure> {
        FactKey::new(format!("{}{attempt:06}.failed.json", self.attempts(round)))
    }
    /// What became of an approved round.
    #[must_use]
    pub fn outcome(&self, round: i64) -> FactKey<Outcome> {
        FactKey::new(format!("{}outcome.json", self.round(round)))
    }
    /// The request is closed.
    #[must_use]
    pub fn closed(&self) -> FactKey<Closed> {
        FactKey::new(format!("{}closed.json", self.prefix()))
    }
    /// The release was taken back.
    #[must_use]
    pub fn revoked(&self) -> FactKey<Revoked> {
        FactKey::new(format!("{}revoked.json", self.prefix()))
    }
    /// Prefix of the places that packages were moved to.
    #[must_use]
    pub fn moves(&self) -> FactPrefix<Move> {
        FactPrefix::new(format!("{}moves/", self.prefix()))
    }
    /// Where an action moves the package to.
    #[must_use]
    pub fn moved(&self, action: &str) -> FactKey<Move> {
        FactKey::new(format!("{}{action}.json", self.moves()))
    }
    /// Prefix of the receipts of deleted URLs.
    #[must_use]
    pub fn urls_deleted(&self) -> FactPrefix<UrlDeleted> {
        FactPrefix::new(format!("{}deleted/url-", self.prefix()))
    }
    /// That a URL was deleted, by the name of its Secret.
    #[must_use]
    pub fn url_deleted(&self, secret: &str) -> FactKey<UrlDeleted> {
        FactKey::new(format!("{}{secret}.json", self.urls_deleted()))
    }
    /// What is to be deleted, counted before.
    #[must_use]
    pub fn deletion_plan(&self, what: &str) -> FactKey<DeletionPlan> {
        FactKey::new(format!("{}deleted/{what}.plan.json", self.prefix()))
    }
    /// The receipt of a deletion.
    #[must_use]
    pub fn deletion(&self, what: &str) -> FactKey<Deletion> {
        FactKey::new(format!("{}deleted/{what}.json", self.prefix()))
    }
    /// Prefix of the holds; in quarantine.
    #[must_use]
    pub fn holds(&self) -> WorkPrefix<Hold> {
        WorkPrefix::new(format!("work/holds/{}/", self.uid))
    }
    /// One hold or its end; the highest wins.
    #[must_use]
    pub fn hold(&self, sequence: i64) -> WorkKey<Hold> {
        WorkKey::new(format!("{}{sequence}.json", self.holds()))
    }
    /// The warning that a request which nobody touched since then is withdrawn.
    #[must_use]
    pub fn idle_warning(&self, since: i64) -> FactKey<IdleWarning> {
        FactKey::new(format!("{}idle/{since}.json", self.prefix()))
    }
    /// Times at which the finalizer was taken off because the operator was removed.
    #[must_use]
    pub fn let_goes(&self) -> FactPrefix<LetGo> {
        FactPrefix::new(format!("{}let-go/", self.prefix()))
    }
    /// The finalizer was taken off then, in seconds since 1970.
    #[must_use]
    pub fn let_go(&self, time: i64) -> FactKey<LetGo> {
        FactKey::new(format!("{}{time:020}.json", self.let_goes()))
    }
    /// Why the package could not be moved.
    #[must_use]
    pub fn move_failed(&self, action: &str) -> FactKey<MoveFailure> {
        FactKey::new(format!("{}moves-failed/{action}.json", self.prefix()))
    }
    /// The permanent record of the release.
    #[must_use]
    pub fn record(&self) -> FactKey<ReleaseRecordSpec> {
        FactKey::new(format!("records/{}/{}.json", self.namespace, self.uid))
    }
    /// The signed statement of the release, beside its record.
    #[must_use]
    pub fn statement(&self) -> FactKey<Envelope> {
        FactKey::new(format!("records/{}/{}.dsse.json", self.namespace, self.uid))
    }
    /// Prefix of the ledger.
    #[must_use]
    pub fn ledger(&self) -> String {
        format!("audit/requests/{}/{}/", self.namespace, self.uid)
    }
    /// One ledger entry.
    #[must_use]
    pub fn ledger_entry(&self, sequence: i64) -> String {
        format!("{}{sequence:020}.json", self.ledger())
    }
    /// Prefix of the URLs.
    #[must_use]
    pub fn urls(&self) -> WorkPrefix<UrlIssue> {
        WorkPrefix::new(format!("work/urls/{}/", self.uid))
    }
    /// A URL and its Secret's name; in quarantine, deleted one day.
    #[must_use]
    pub fn url(&self, issue: i64) -> WorkKey<UrlIssue> {
        WorkKey::new(format!("{}{issue}.json", self.urls()))
    }
    /// Prefix of the upload plans (ingress).
    #[must_use]
    pub fn plans(&self) -> WorkPrefix<Planned> {
        WorkPrefix::new(format!("work/plans/{}/", self.uid))
    }
    /// The same, of one round.
    #[must_use]
    pub fn plans_of(&self, round: i64) -> WorkPrefix<Planned> {
        WorkPrefix::new(format!("{}{round}/", self.plans()))
    }
    /// Where a declared file of a round is uploaded to; `name` follows from path,
    /// size and digest.
    #[must_use]
    pub fn plan(&self, round: i64, name: &Sha256Hex) -> WorkKey<Planned> {
        WorkKey::new(format!("{}{round}/{name}.json", self.plans()))
    }
    /// Prefix of what is stored of the request's Jobs.
    #[must_use]
    pub fn jobs(&self) -> WorkPrefix<()> {
        WorkPrefix::new(format!("work/jobs/{}/", self.uid))
    }
    /// A Job that is about to be made.
    #[must_use]
    pub fn job(&self, errand: Errand) -> WorkKey<JobIntent> {
        WorkKey::new(format!("{}{}.json", self.jobs(), errand.slug()))
    }
    /// The Job that was made.
    #[must_use]
    pub fn job_made(&self, errand: Errand) -> WorkKey<JobMade> {
        WorkKey::new(format!("{}{}.uid.json", self.jobs(), errand.slug()))
    }
    /// A pod of the Job that was made, by its uid.
    #[must_use]
    pub fn job_pod(&self, errand: Errand, pod: &str) -> WorkKey<JobPod> {
        WorkKey::new(format!("{}{}.pods/{pod}.json", self.jobs(), errand.slug()))
    }
    /// Prefix of what is stored of the Job that delivers.
    #[must_use]
    pub fn delivery_jobs(&self) -> WorkPrefix<()> {
        WorkPrefix::new(format!("{}{}.", self.jobs(), Errand::Deliver.slug()))
    }
    /// Prefix of what is stored of the packaging Jobs of a round.
    #[must_use]
    pub fn packaging_jobs(&self, round: i64) -> WorkPrefix<()> {
        WorkPrefix::new(format!("{}package-{round}-", self.jobs()))
    }
    /// What a packaging Job said that it sent.
    #[must_use]
    pub fn package_sent(&self, errand: Errand) -> WorkKey<Sent> {
        WorkKey::new(format!("{}{}.sent.json", self.jobs(), errand.slug()))
    }
    /// That an attempt by a packaging Job is over without a package.
    #[must_use]
    pub fn package_over(&self, errand: Errand) -> WorkKey<AttemptOver> {
        WorkKey::new(format!("{}{}.over.json", self.jobs(), errand.slug()))
    }
    /// What a round's sources hold.
    #[must_use]
    pub fn collection(&self, round: i64) -> WorkKey<Collection> {
        WorkKey::new(format!(
            "{}{}.list.json",
            self.jobs(),
            Errand::Collect { round }.slug()
        ))
    }
    /// What was written into the volume.
    #[must_use]
    pub fn delivered(&self) -> WorkKey<Delivered> {
        WorkKey::new(format!(
            "{}{}.receipt.json",
            self.jobs(),
            Errand::Deliver.slug()
        ))
    }
    /// Prefix of what outsiders write, in staging.
    #[must_use]
    pub fn staged(&self) -> String {
        format!("{}/", self.uid)
    }
    /// The same, of one round.
    #[must_use]
    pub fn staged_in(&self, round: i64) -> String {
        format!("{}{round}/", self.staged())
    }
    /// Key of a file in staging; `nonce` is random.
    #[must_use]
    pub fn staged_file(&self, round: i64, nonce: &str) -> String {
        format!("{}{nonce}", self.staged_in(round))
    }
    /// A wake-up for the sweeper; `due` is `YYYY-MM-DDTHH:MM:SSZ`.
    #[must_use]
    pub fn ticket(&self, due: &str, what: &str) -> WorkKey<Ticket> {
        WorkKey::new(format!("{TICKETS}{due}/{}-{what}.json", self.uid))
    }
    /// A notification that waits; `due` is `YYYY-MM-DDTHH:MM:SSZ`.
    #[must_use]
    pub fn outbox(&self, due: &str, what: &str) -> WorkKey<OutboxEntry> {
        WorkKey::new(format!("{OUTBOX}{due}/{}.{what}.json", self.uid))
    }
    /// Prefix of what became of notifications.
    #[must_use]
    pub fn all_notified(&self) -> FactPrefix<Notification> {
        FactPrefix::new(format!("{}notified/", self.prefix()))
    }
    /// What became of one, by one channel.
    #[must_use]
    pub fn notified(&self, what: &str, slot: &str) -> FactKey<Notification> {
        FactKey::new(format!("{}{what}/{slot}.json", self.all_notified()))
    }
    /// Prefix of the request's packages in the release bucket.
    #[must_use]
    pub fn releases(&self) -> String {
        format!("releases/{}/{}/", self.namespace, self.uid)
    }
    /// A package in the release bucket.
    #[must_use]
    pub fn release(&self, nonce: &str, file_name: &str) -> String {
        format!("{}{nonce}/{file_name}", self.releases())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_set_aside_stays_where_files_are_and_shares_no_prefix() {
        let key = RequestKey {
            namespace: "project-a".into(),
            uid: "0b1c".into(),
        };
        let file = key.file("5f3e");
        let aside = set_aside_key(&file);
        assert_eq!(aside, "requests/project-a/0b1c/files/aside-5f3e");
        assert!(is_quarantined(&file) && is_quarantined(&aside));
        assert_eq!(RequestKey::of_file(&aside).as_ref(), Some(&key));
        for other in [
            key.files(),
            key.owner().into(),
            format!("{file}/x"),
            "work/a/u/files/1".into(),
        ] {
            assert_eq!(RequestKey::of_file(&other), None, "{other}");
        }
        assert!(!aside.starts_with(&file) && aside.starts_with(&key.files()));
        for other in [
            String::from(key.owner()),
            key.receipt("files/x", "1").into(),
            key.plan(1, &Sha256Hex::of(b"")).into(),
        ] {
            assert!(!is_quarantined(&other), "{other}");
        }
    }
}
