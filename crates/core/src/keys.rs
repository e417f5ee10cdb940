//! Where everything is (docs/reference/wire-formats.md#keys-in-the-buckets): pure names,
//! nothing else builds a key.

use crate::digest::Sha256Hex;
use crate::names;
use crate::volume::Errand;

/// Prefix of notifications that wait, in quarantine; what is due first comes first.
pub const OUTBOX: &str = "work/outbox/";
/// Prefix of the sweeper's wake-ups, which sort by due time.
pub const TICKETS: &str = "work/retention/";

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
pub const HINT_KEYS: &str = "work/plans/gateways/";

/// The key of one gateway process.
#[must_use]
pub fn hint_key(gateway: &str) -> String {
    format!("{HINT_KEYS}{gateway}.json")
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
    pub fn owner(&self) -> String {
        format!("{}owner.json", self.prefix())
    }
    /// Prefix of all receipts.
    #[must_use]
    pub fn receipts(&self) -> String {
        format!("{}receipts/", self.prefix())
    }
    /// Prefix of the receipts of one path; equal for spellings that would meet. Other
    /// paths can have the same one ([`names::stored_form`]), and share its versions.
    #[must_use]
    pub fn receipts_of(&self, path: &str) -> String {
        format!(
            "{}{}/",
            self.receipts(),
            Sha256Hex::of(names::stored_form(path).as_bytes())
        )
    }
    /// One receipt.
    #[must_use]
    pub fn receipt(&self, path: &str, version: &str) -> String {
        format!("{}{version}.json", self.receipts_of(path))
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
    pub fn submitted(&self, round: i64) -> String {
        format!("{}submitted.json", self.round(round))
    }
    /// What became of an AirlockAction, by its uid.
    #[must_use]
    pub fn action(&self, uid: &str) -> String {
        format!("{}actions/{uid}.json", self.prefix())
    }
    /// Which of the round's files were seen before.
    #[must_use]
    pub fn seen(&self, round: i64) -> String {
        format!("{}seen.json", self.round(round))
    }
    /// That the round's files are in the index.
    #[must_use]
    pub fn indexed(&self, round: i64) -> String {
        format!("{}indexed.json", self.round(round))
    }
    /// No more uploads.
    #[must_use]
    pub fn seal(&self, round: i64) -> String {
        format!("{}seal.json", self.round(round))
    }
    /// The frozen manifest, or the refusal.
    #[must_use]
    pub fn manifest(&self, round: i64) -> String {
        format!("{}manifest.json", self.round(round))
    }
    /// A refusal's listing, or a manifest's: the receipts that counted.
    #[must_use]
    pub fn listing(&self, round: i64) -> String {
        format!("{}listing.json", self.round(round))
    }
    /// Prefix of the views of a round.
    #[must_use]
    pub fn views(&self, round: i64) -> String {
        format!("{}views/", self.round(round))
    }
    /// One view; `what` is `opened` or `viewed`.
    #[must_use]
    pub fn view(&self, round: i64, reader: &str, path: &str, version: &str, what: &str) -> String {
        let reader = Sha256Hex::of(reader.as_bytes());
        let path = Sha256Hex::of(path.as_bytes());
        format!(
            "{}{}/{}-{version}.{what}.json",
            self.views(round),
            reader.short(16),
            path.short(32)
        )
    }
    /// That the gateway handed a URL of the release out.
    #[must_use]
    pub fn url_read(&self, round: i64, issue: i64) -> String {
        format!("{}url-{issue}.json", self.views(round))
    }
    /// That a warning went out about a URL which ends unused.
    #[must_use]
    pub fn url_warned(&self, issue: i64) -> String {
        format!("{}warnings/url-{issue}.json", self.prefix())
    }
    /// The decision on a round.
    #[must_use]
    pub fn decision(&self, round: i64) -> String {
        format!("{}decision.json", self.round(round))
    }
    /// Prefix of the attempts to release.
    #[must_use]
    pub fn attempts(&self, round: i64) -> String {
        format!("{}attempts/", self.round(round))
    }
    /// One attempt, from 1.
    #[must_use]
    pub fn attempt(&self, round: i64, attempt: i64) -> String {
        format!("{}{attempt:06}.json", self.attempts(round))
    }
    /// Why an attempt ended for good, where a person must act.
    #[must_use]
    pub fn attempt_failed(&self, round: i64, attempt: i64) -> String {
        format!("{}{attempt:06}.failed.json", self.attempts(round))
    }
    /// What became of an approved round.
    #[must_use]
    pub fn outcome(&self, round: i64) -> String {
        format!("{}outcome.json", self.round(round))
    }
    /// The request is closed.
    #[must_use]
    pub fn closed(&self) -> String {
        format!("{}closed.json", self.prefix())
    }
    /// The release was taken back.
    #[must_use]
    pub fn revoked(&self) -> String {
        format!("{}revoked.json", self.prefix())
    }
    /// Prefix of the places that packages were moved to.
    #[must_use]
    pub fn moves(&self) -> String {
        format!("{}moves/", self.prefix())
    }
    /// Where an action moves the package to.
    #[must_use]
    pub fn moved(&self, action: &str) -> String {
        format!("{}{action}.json", self.moves())
    }
    /// Prefix of the receipts of deleted URLs.
    #[must_use]
    pub fn urls_deleted(&self) -> String {
        format!("{}deleted/url-", self.prefix())
    }
    /// That a URL was deleted, by the name of its Secret.
    #[must_use]
    pub fn url_deleted(&self, secret: &str) -> String {
        format!("{}{secret}.json", self.urls_deleted())
    }
    /// What is to be deleted, counted before.
    #[must_use]
    pub fn deletion_plan(&self, what: &str) -> String {
        format!("{}deleted/{what}.plan.json", self.prefix())
    }
    /// The receipt of a deletion.
    #[must_use]
    pub fn deletion(&self, what: &str) -> String {
        format!("{}deleted/{what}.json", self.prefix())
    }
    /// Prefix of the holds; in quarantine.
    #[must_use]
    pub fn holds(&self) -> String {
        format!("work/holds/{}/", self.uid)
    }
    /// One hold or its end; the highest wins.
    #[must_use]
    pub fn hold(&self, sequence: i64) -> String {
        format!("{}{sequence}.json", self.holds())
    }
    /// The warning that a request which nobody touched since then is withdrawn.
    #[must_use]
    pub fn idle_warning(&self, since: i64) -> String {
        format!("{}idle/{since}.json", self.prefix())
    }
    /// Times at which the finalizer was taken off because the operator was removed.
    #[must_use]
    pub fn let_goes(&self) -> String {
        format!("{}let-go/", self.prefix())
    }
    /// The finalizer was taken off then, in seconds since 1970.
    #[must_use]
    pub fn let_go(&self, time: i64) -> String {
        format!("{}{time:020}.json", self.let_goes())
    }
    /// Why the package could not be moved.
    #[must_use]
    pub fn move_failed(&self, action: &str) -> String {
        format!("{}moves-failed/{action}.json", self.prefix())
    }
    /// The permanent record of the release.
    #[must_use]
    pub fn record(&self) -> String {
        format!("records/{}/{}.json", self.namespace, self.uid)
    }
    /// The signed statement of the release, beside its record.
    #[must_use]
    pub fn statement(&self) -> String {
        format!("records/{}/{}.dsse.json", self.namespace, self.uid)
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
    pub fn urls(&self) -> String {
        format!("work/urls/{}/", self.uid)
    }
    /// A URL and its Secret's name; in quarantine, deleted one day.
    #[must_use]
    pub fn url(&self, issue: i64) -> String {
        format!("{}{issue}.json", self.urls())
    }
    /// Prefix of the upload plans (ingress).
    #[must_use]
    pub fn plans(&self) -> String {
        format!("work/plans/{}/", self.uid)
    }
    /// Where a declared file of a round is uploaded to; `name` follows from path,
    /// size and digest.
    #[must_use]
    pub fn plan(&self, round: i64, name: &Sha256Hex) -> String {
        format!("{}{round}/{name}.json", self.plans())
    }
    /// Prefix of what is stored of the request's Jobs.
    #[must_use]
    pub fn jobs(&self) -> String {
        format!("work/jobs/{}/", self.uid)
    }
    /// A Job that is about to be made.
    #[must_use]
    pub fn job(&self, errand: Errand) -> String {
        format!("{}{}.json", self.jobs(), errand.slug())
    }
    /// The Job that was made.
    #[must_use]
    pub fn job_made(&self, errand: Errand) -> String {
        format!("{}{}.uid.json", self.jobs(), errand.slug())
    }
    /// A pod of the Job that was made, by its uid.
    #[must_use]
    pub fn job_pod(&self, errand: Errand, pod: &str) -> String {
        format!("{}{}.pods/{pod}.json", self.jobs(), errand.slug())
    }
    /// Prefix of what is stored of the packaging Jobs of a round.
    #[must_use]
    pub fn packaging_jobs(&self, round: i64) -> String {
        format!("{}package-{round}-", self.jobs())
    }
    /// What a packaging Job said that it sent.
    #[must_use]
    pub fn package_sent(&self, errand: Errand) -> String {
        format!("{}{}.sent.json", self.jobs(), errand.slug())
    }
    /// That an attempt by a packaging Job is over without a package.
    #[must_use]
    pub fn package_over(&self, errand: Errand) -> String {
        format!("{}{}.over.json", self.jobs(), errand.slug())
    }
    /// What a round's sources hold.
    #[must_use]
    pub fn collection(&self, round: i64) -> String {
        format!(
            "{}{}.list.json",
            self.jobs(),
            Errand::Collect { round }.slug()
        )
    }
    /// What was written into the volume.
    #[must_use]
    pub fn delivered(&self) -> String {
        format!("{}{}.receipt.json", self.jobs(), Errand::Deliver.slug())
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
    pub fn ticket(&self, due: &str, what: &str) -> String {
        format!("{TICKETS}{due}/{}-{what}.json", self.uid)
    }
    /// A notification that waits; `due` is `YYYY-MM-DDTHH:MM:SSZ`.
    #[must_use]
    pub fn outbox(&self, due: &str, what: &str) -> String {
        format!("{OUTBOX}{due}/{}.{what}.json", self.uid)
    }
    /// Prefix of what became of notifications.
    #[must_use]
    pub fn all_notified(&self) -> String {
        format!("{}notified/", self.prefix())
    }
    /// What became of one, by one channel.
    #[must_use]
    pub fn notified(&self, what: &str, slot: &str) -> String {
        format!("{}{what}/{slot}.json", self.all_notified())
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
            key.owner(),
            format!("{file}/x"),
            "work/a/u/files/1".into(),
        ] {
            assert_eq!(RequestKey::of_file(&other), None, "{other}");
        }
        assert!(!aside.starts_with(&file) && aside.starts_with(&key.files()));
        for other in [
            key.owner(),
            key.receipt("files/x", "1"),
            key.plan(1, &Sha256Hex::of(b"")),
        ] {
            assert!(!is_quarantined(&other), "{other}");
        }
    }
}
