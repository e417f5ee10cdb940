//! The one place that writes a request's status: derived from the facts, with
//! the resourceVersion of the object that was read, on failure too.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PostParams;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource as _, ResourceExt as _};

use super::context::Context;
use super::effects::deliver;
use super::effects::record::record_name;
use super::error::EffectError;
use super::evidence;
use super::reconcile::{Rest, Subject, refusal_of, seal_of};
use trevor_api::condition::{self, reason};
use trevor_api::{
    AirlockRequest, AirlockRequestStatus, Approvals, AuditHead, Direction, FileSummary,
    HeldSummary, ManifestSummary, Phase, QuarantineSummary, ReleaseSummary, ReviewSummary,
};
use trevor_core::commit::RevokedThrough;
use trevor_core::manifest::{Frozen, ManifestFile};
use trevor_core::phase::{self, Facts, Round};
use trevor_core::quorum::{NotCounted, ReviewFact};
use trevor_core::texts::harmless_line;
use trevor_core::{policy, rounds};
use trevor_store::audit::Head;

/// Tries to store an Event, with the pause after each that failed. Events are a comfort:
/// what is to be kept is in the ledger, and nothing waits for long to tell of it.
const TRIES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::ZERO,
];

/// Files and reviews that status shows.
const SHOWN: usize = 50;

/// Writes the status, if it is another, and tells of a new phase by an Event.
/// Without facts (they could not be read, or the ledger could not be written)
/// only conditions move.
pub async fn write(
    ctx: &Context,
    subject: &Subject,
    facts: Option<&Facts>,
    advanced: &Result<Rest, EffectError>,
    head: Option<Head>,
    now: Timestamp,
) -> Result<(), EffectError> {
    let before = subject.request.status.clone().unwrap_or_default();
    let mut status = before.clone();
    if let Some(facts) = facts {
        derive(
            ctx,
            subject,
            facts,
            advanced.as_ref().ok(),
            head,
            &mut status,
        )
        .await?;
    }
    if status.phase != before.phase || status.phase_time.is_none() {
        status.phase_time = status.phase.map(|_| Time(condition::second(now)));
    }
    let told = Told::of(subject, facts, advanced, &status, now);
    told.conditions(&mut status, subject.request.metadata.generation, now);
    if status == before {
        return Ok(());
    }
    let mut object = AirlockRequest::new(&subject.name, subject.request.spec.clone());
    object.metadata = subject.request.metadata.clone();
    object.metadata.managed_fields = None;
    let moved = status.phase != before.phase;
    if let Some(generation) =
        unconfirmed(&status).filter(|_| unconfirmed(&before) != unconfirmed(&status))
    {
        let note = format!(
            "it was edited while the admission rules were not proved to be in force (noticed at generation {generation}): look at every field; what it says is reviewed, and not released before its submitter has recalled it (AirlockAction Recall) and submitted it again"
        );
        warn(ctx, subject, reason::OUTSIDE_EPOCH, note).await;
    }
    // Told before it is shown: whoever is killed in between tells of it again, and what was
    // shown was told.
    if moved || told.stalled {
        tell(ctx, subject, before.phase, &told).await;
    }
    let reviewed = moved && reaches_review(before.phase, told.phase);
    if let Some(warned) = warned(&status).filter(|_| reviewed) {
        warn(ctx, subject, reason::CONTENT_WARNING, warned).await;
    }
    object.status = Some(status);
    let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &subject.key.namespace);
    let written = api
        .replace_status(&subject.name, &PostParams::default(), &object)
        .await?;
    ctx.echoes.wrote(&written);
    if moved {
        for phase in passed(before.phase, told.phase).iter().chain([&told.phase]) {
            ctx.throughput.moved(*phase);
        }
        tracing::info!(
            namespace = subject.key.namespace,
            uid = subject.key.uid,
            phase = %told.phase,
            "a request moved on"
        );
    }
    Ok(())
}

/// The generation at which edits outside an epoch were noticed, if nobody confirmed them.
fn unconfirmed(status: &AirlockRequestStatus) -> Option<i64> {
    status.edits.as_ref()?.unconfirmed_generation
}

/// Tells of a new phase, and of those on the way to it, by Events.
async fn tell(ctx: &Context, subject: &Subject, before: Option<Phase>, told: &Told) {
    for passed in passed(before, told.phase) {
        let note = String::new();
        publish(ctx, subject, EventType::Normal, passed.to_string(), note).await;
    }
    let (kind, word) = match told.stalled {
        true => (EventType::Warning, told.reason.to_owned()),
        false => (EventType::Normal, told.phase.to_string()),
    };
    publish(ctx, subject, kind, word, told.message.clone()).await;
}

/// Whether reviews began on the way from a phase that was shown to another.
fn reaches_review(before: Option<Phase>, after: Phase) -> bool {
    use Phase::{Approved, InReview, Releasing};
    let began = matches!(before, Some(InReview | Approved | Releasing));
    !began && matches!(after, InReview | Approved | Releasing | Phase::Released)
}

/// What is told of files that are not what their names say, or hold more than they seem
/// to: of the first, and how many there are.
fn warned(status: &AirlockRequestStatus) -> Option<String> {
    let files = status.manifest.as_ref()?.warnings?;
    let first = status.files.iter().find_map(|f| f.warnings.first())?;
    let first = harmless_line(first, 300);
    Some(match files {
        1 => first,
        files => format!(
            "{first}; and {} more files have warnings, see status.files and GET files of the gateway",
            files - 1
        ),
    })
}

async fn derive(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    rest: Option<&Rest>,
    head: Option<Head>,
    status: &mut AirlockRequestStatus,
) -> Result<(), EffectError> {
    let (phase, round) = phase::standing(facts, subject.wish());
    // What crossed is shown as released once it can be had: record, link and Secret are made.
    let delivered = facts.closed.is_some() || rest.is_some();
    let phase = match phase {
        Phase::Released if !delivered => Phase::Releasing,
        phase => phase,
    };
    status.phase = Some(phase);
    status.round = Some(round);
    status.observed_generation = subject.request.metadata.generation;
    if let Some(head) = head {
        status.audit = Some(AuditHead {
            sequence: head.sequence,
            hash: head.hash.to_string(),
        });
    }
    let last = facts.last.as_ref().filter(|last| last.round == round);
    let attempts = last.map_or(0, |last| {
        i64::try_from(last.attempts.len()).unwrap_or(i64::MAX)
    });
    status.attempts = (attempts > 0).then_some(attempts);
    let frozen = last.and_then(Round::frozen);
    describe(status, frozen.as_ref(), facts.previous.as_ref());
    let seen = last.and_then(|last| last.seen.as_ref());
    status.prior_releases_total = seen.map(|seen| seen.total).filter(|total| *total > 0);
    status.prior_releases =
        seen.map_or_else(Vec::new, |seen| seen.shown(&subject.key.namespace, SHOWN));
    status.policy = match (last.and_then(|l| l.seal.as_ref()), &subject.policy) {
        (Some(seal), _) => Some((&seal.policy).into()),
        (None, Ok(applied)) => Some((&applied.policy).into()),
        (None, Err(_)) => None,
    };
    votes(subject, facts, last, rest, status);
    if let Some(closed) = &facts.closed {
        let deleted = subject.kept.deleted.as_ref();
        status.closed_time = Some(Time(condition::second(closed.time)));
        status.quarantine = Some(QuarantineSummary {
            delete_after_time: Some(Time(closed.quarantine_due)),
            deleted_time: deleted.map(|d| Time(d.finished)),
            objects: deleted.map(|d| int(d.totals.objects)),
            bytes: deleted.map(|d| int(d.totals.bytes)),
        });
    }
    status.edits = subject.edits.as_ref().map(evidence::shown);
    status.held = subject.kept.held().map(|hold| HeldSummary {
        by: hold.by.clone(),
        reason: hold.reason.clone(),
        since: Time(condition::second(hold.time)),
        unconfirmed: hold.unconfirmed.then_some(true),
    });
    if phase == Phase::Released {
        let url = deliver::url_in_force(ctx, subject).await?;
        status.release = Some(ReleaseSummary {
            record_name: record_name(&subject.name, &subject.key.uid),
            secret_name: url.as_ref().map(|u| u.secret_name.clone()),
            expires_time: url.map(|u| Time(u.expires)),
            warning_time: warning_time(rest, status),
        });
    }
    if phase == Phase::Revoked {
        status.release = Some(ReleaseSummary {
            record_name: record_name(&subject.name, &subject.key.uid),
            secret_name: None,
            expires_time: None,
            warning_time: None,
        });
    }
    Ok(())
}

/// As the look found it; one that failed leaves it as it was.
fn warning_time(rest: Option<&Rest>, before: &AirlockRequestStatus) -> Option<Time> {
    match rest {
        Some(rest) => rest.url_warning.map(Time),
        None => before.release.as_ref().and_then(|r| r.warning_time.clone()),
    }
}

fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn describe(status: &mut AirlockRequestStatus, frozen: Option<&Frozen>, previous: Option<&Frozen>) {
    let Some(frozen) = frozen else {
        (
            status.manifest,
            status.files,
            status.files_truncated,
            status.changes,
        ) = (None, Vec::new(), None, None);
        return;
    };
    let manifest = &frozen.manifest;
    let mut files: Vec<_> = manifest.files.iter().map(|f| (f, f.warnings())).collect();
    let warned = files.iter().filter(|(_, w)| !w.is_empty()).count() as u64;
    status.manifest = Some(ManifestSummary {
        digest: frozen.digest.to_string(),
        files: int(manifest.files.len() as u64),
        bytes: int(manifest.total_bytes()),
        warnings: (warned > 0).then(|| int(warned)),
    });
    let size = |(a, _): &(&ManifestFile, _), (b, _): &(&ManifestFile, _)| {
        b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path))
    };
    // Of many files those with warnings are shown before the largest.
    files.sort_by(|a, b| {
        let first = a.1.is_empty().cmp(&b.1.is_empty());
        first.then_with(|| size(a, b))
    });
    status.files_truncated = (files.len() > SHOWN).then_some(true);
    files.truncate(SHOWN);
    files.sort_by(size);
    status.files = files
        .into_iter()
        .map(|(f, warnings)| FileSummary {
            path: f.path.clone(),
            size: int(f.size),
            sha256: f.sha256.to_string(),
            sniffed: f.sniffed.as_ref().map(|s| s.word().to_owned()),
            warnings: warnings.iter().map(|w| harmless_line(w, 250)).collect(),
        })
        .collect();
    status.changes = previous.map(|before| rounds::changes(before, manifest));
}

fn votes(
    subject: &Subject,
    facts: &Facts,
    last: Option<&Round>,
    rest: Option<&Rest>,
    status: &mut AirlockRequestStatus,
) {
    let delegated = subject.request.spec.created_by.is_some();
    let decision = last.and_then(|l| l.decision.as_ref());
    let (required, counted) = if let Some(decision) = decision {
        let yes = decision
            .reviews
            .iter()
            .filter(|r| r.decision == trevor_api::ReviewDecision::Approve)
            .count();
        let files = last
            .and_then(Round::frozen)
            .map_or(0, |f| int(f.manifest.files.len() as u64));
        status.reviews = decision
            .reviews
            .iter()
            .map(|review| summary(review, None, files))
            .take(SHOWN)
            .collect();
        (decision.quorum.required, int(yes as u64))
    } else if let Some((rest, judgement)) = rest.and_then(|r| Some((r, r.judgement.as_ref()?))) {
        status.reviews = latest(&rest.reviews)
            .into_iter()
            .map(|review| {
                summary(
                    review,
                    judgement.not_counted.get(&review.uid).copied(),
                    rest.files,
                )
            })
            .take(SHOWN)
            .collect();
        (rest.required.unwrap_or(1), judgement.approvals())
    } else {
        status.reviews = Vec::new();
        let current = subject.policy.as_ref().ok().map(|a| &a.rules);
        let required = match (seal_of(facts), last.and_then(Round::frozen)) {
            (Some(seal), Some(frozen)) => {
                policy::quorum(&seal.rules, current, &frozen.manifest).required
            }
            _ => current.map_or(0, |rules| rules.required(delegated)),
        };
        (required, 0)
    };
    status.approvals = (required > 0).then(|| Approvals {
        required,
        counted,
        summary: format!("{counted}/{required}"),
    });
}

/// The latest review of each reviewer.
fn latest(reviews: &[ReviewFact]) -> Vec<&ReviewFact> {
    let mut latest: BTreeMap<&str, &ReviewFact> = BTreeMap::new();
    for review in reviews {
        let slot = latest.entry(&review.reviewer).or_insert(review);
        if (review.time, review.decision, &review.uid) > (slot.time, slot.decision, &slot.uid) {
            *slot = review;
        }
    }
    latest.into_values().collect()
}

fn summary(review: &ReviewFact, why: Option<NotCounted>, files: i64) -> ReviewSummary {
    ReviewSummary {
        reviewer: review.reviewer.clone(),
        name: review.name.clone(),
        decision: review.decision,
        manifest_digest: review.manifest_digest.clone(),
        counted: why.is_none(),
        reason: why.map(|w| w.reason().to_owned()),
        viewed: review.viewed,
        files,
    }
}

/// What conditions and Events say.
struct Told {
    phase: Phase,
    reason: &'static str,
    message: String,
    stalled: bool,
    busy: bool,
    frozen: bool,
    /// Reviews are awaited or cannot count: reason and message.
    waiting: Option<(&'static str, String)>,
    /// Whether the phase lasts too long, and since when it lasts.
    overdue: Option<String>,
    /// Since when it lasts, where it does not.
    age: String,
}

impl Told {
    fn of(
        subject: &Subject,
        facts: Option<&Facts>,
        advanced: &Result<Rest, EffectError>,
        status: &AirlockRequestStatus,
        now: Timestamp,
    ) -> Self {
        let phase = status.phase.unwrap_or_default();
        let mut told = Self {
            phase,
            reason: reason::DRAFT,
            message: String::new(),
            stalled: false,
            busy: false,
            frozen: status.manifest.is_some(),
            waiting: None,
            overdue: facts.and_then(|facts| overdue(facts, phase, now)),
            age: age(status, facts.and_then(|facts| limit_of(facts, phase))),
        };
        match advanced {
            Err(error) => {
                told.reason = error.reason();
                told.message = again(error);
                told.stalled = error.needs_a_person();
                told.busy = !told.stalled;
            }
            Ok(rest) => told.rest(subject, facts, rest, status),
        }
        told
    }

    fn rest(
        &mut self,
        subject: &Subject,
        facts: Option<&Facts>,
        rest: &Rest,
        status: &AirlockRequestStatus,
    ) {
        if let Some((word, message)) = &rest.stalled {
            (self.reason, self.message, self.stalled) = (word, message.clone(), true);
            if subject.policy.is_err() {
                self.waiting = Some((word, message.clone()));
            }
            return;
        }
        if let Some((word, message)) = &rest.failing {
            (self.reason, self.busy) = (word, true);
            self.message = again(message);
            return;
        }
        // Closed, and something of it that is due does not go.
        if let Some(trouble) = &subject.kept.trouble {
            (self.reason, self.message, self.stalled) =
                (trouble.reason, trouble.message.clone(), true);
            return;
        }
        let volume = facts.and_then(in_volume);
        let inwards = subject.request.spec.direction == Direction::Ingress;
        let (word, message) = match self.phase {
            Phase::Draft => (reason::DRAFT, "upload the files, then set spec.submission to 1".to_owned()),
            Phase::Submitted if rest.collecting.is_some() => {
                self.busy = true;
                (reason::COLLECTING, rest.collecting.clone().unwrap_or_default())
            }
            Phase::Submitted => (reason::WAITING_FOR_FILES, waiting_for(inwards, rest.missing.as_deref())),
            Phase::InReview => self.in_review(rest, status),
            Phase::ChangesRequested => self.changes_requested(facts, status),
            Phase::Approved | Phase::Releasing => {
                self.busy = true;
                (reason::RELEASING, rest.releasing.clone().unwrap_or_else(|| "the release is under way".to_owned()))
            }
            Phase::Failed => self.failed(facts, status),
            Phase::Released if volume.is_some() => (reason::RELEASED, format!("the files are in {}", volume.unwrap_or_default())),
            Phase::Released if inwards => (reason::RELEASED, "GET release of the gateway signs a URL to each file".to_owned()),
            Phase::Released => (reason::RELEASED, "the URL is in the Secret status.release.secretName, and by GET release of the gateway".to_owned()),
            Phase::Rejected => (reason::REJECTED, "a checker rejected it; make a new request".to_owned()),
            Phase::Withdrawn if unconfirmed(status).is_some() => (reason::WITHDRAWN, "it was withdrawn; it was edited while the admission rules were not proved to be in force, so that who withdrew it is not proved: make a new request if that was not its submitter".to_owned()),
            Phase::Withdrawn => (reason::WITHDRAWN, "it was withdrawn".to_owned()),
            Phase::Revoked => (reason::REVOKED, revoked(facts)),
        };
        (self.reason, self.message) = (word, message);
    }

    fn in_review(&mut self, rest: &Rest, status: &AirlockRequestStatus) -> (&'static str, String) {
        let votes = status
            .approvals
            .as_ref()
            .map_or_else(String::new, |a| a.summary.clone());
        let digest = status.manifest.as_ref().map_or("", |m| m.digest.as_str());
        let mut message = format!(
            "{votes} approvals; checkers create an AirlockReview that names manifestDigest {digest}"
        );
        if let Some(warned) = warned(status) {
            message = format!("{message}; {warned}");
        }
        let waits = rest.waits.clone();
        let (word, said) = waits.unwrap_or((reason::IN_REVIEW, message.clone()));
        self.waiting = Some((word, said.clone()));
        // The checkers have done their part; only an administrator can go on.
        let enough = status
            .approvals
            .as_ref()
            .is_some_and(|a| a.counted >= a.required);
        if word == reason::PUBLISHER_MISSING && enough {
            self.stalled = true;
            return (word, said);
        }
        (reason::IN_REVIEW, message)
    }

    fn changes_requested(
        &mut self,
        facts: Option<&Facts>,
        status: &AirlockRequestStatus,
    ) -> (&'static str, String) {
        if let Some(refusal) = facts.and_then(refusal_of) {
            let word = match refusal.reason.as_str() {
                reason::RECALLED => reason::RECALLED,
                reason::UPLOAD_EXPIRED => reason::UPLOAD_EXPIRED,
                reason::COLLECTION_FAILED => reason::COLLECTION_FAILED,
                _ => reason::SUBMISSION_REFUSED,
            };
            self.stalled = word != reason::RECALLED;
            return (word, refusal.message.clone());
        }
        let next = status.round.unwrap_or(0) + 1;
        let decided = facts
            .and_then(|f| f.last.as_ref())
            .and_then(|l| l.decision.as_ref());
        if decided.is_some_and(|d| d.recalled.is_some()) {
            let message = format!(
                "its submitter took the round back; change what is to be changed, then set spec.submission to {next}"
            );
            return (reason::RECALLED, message);
        }
        let message = format!(
            "read the reviews, change what they ask for, then set spec.submission to {next}"
        );
        (reason::CHANGES_REQUESTED, message)
    }

    fn failed(
        &mut self,
        facts: Option<&Facts>,
        status: &AirlockRequestStatus,
    ) -> (&'static str, String) {
        self.stalled = true;
        let next = status.round.unwrap_or(0) + 1;
        let failure = facts
            .and_then(|f| f.last.as_ref())
            .and_then(|l| l.failure.as_ref());
        let (word, what) = failure.map_or(("", ""), |f| (f.reason.as_str(), f.message.as_str()));
        let word = match word {
            reason::FILE_MISSING => reason::FILE_MISSING,
            reason::PACKAGE_IMPOSSIBLE => reason::PACKAGE_IMPOSSIBLE,
            reason::DELIVERY_FAILED => reason::DELIVERY_FAILED,
            reason::STORAGE_NOT_ENCRYPTED => reason::STORAGE_NOT_ENCRYPTED,
            reason::TOO_MANY_ATTEMPTS => reason::TOO_MANY_ATTEMPTS,
            reason::NOT_APPROVED => reason::NOT_APPROVED,
            _ => reason::INTEGRITY_MISMATCH,
        };
        let way = match word {
            reason::DELIVERY_FAILED => "mend that, and another attempt follows by itself; or",
            reason::STORAGE_NOT_ENCRYPTED => {
                "a cluster admin looks who replaced it; upload the file again and"
            }
            reason::TOO_MANY_ATTEMPTS | reason::NOT_APPROVED => {
                "a cluster admin looks at the controller's log for what broke them off;"
            }
            _ => "upload the file again and",
        };
        (
            word,
            format!("{what}; {way} set spec.submission to {next}, or withdraw"),
        )
    }

    fn conditions(
        &self,
        status: &mut AirlockRequestStatus,
        generation: Option<i64>,
        now: Timestamp,
    ) {
        let phase = self.phase;
        let approved = matches!(
            phase,
            Phase::Approved | Phase::Releasing | Phase::Released | Phase::Failed | Phase::Revoked
        );
        let released = phase == Phase::Released;
        let held = status.held.as_ref().map_or_else(String::new, |held| {
            held_message(&held.by, held.unconfirmed == Some(true))
        });
        let rows = [
            (
                condition::READY,
                !self.busy && !self.stalled,
                self.reason,
                self.message.as_str(),
            ),
            (
                condition::STALLED,
                self.stalled,
                self.reason,
                if self.stalled {
                    self.message.as_str()
                } else {
                    ""
                },
            ),
            (condition::SUBMITTED, self.frozen, self.reason, ""),
            (
                condition::APPROVED,
                approved,
                if approved {
                    reason::QUORUM_REACHED
                } else {
                    reason::QUORUM_NOT_REACHED
                },
                "",
            ),
            (
                condition::RELEASED,
                released,
                self.reason,
                if released { "" } else { self.message.as_str() },
            ),
            (
                condition::REVIEWS_WAITING,
                self.waiting.is_some(),
                self.waiting.as_ref().map_or(self.reason, |(word, _)| word),
                self.waiting.as_ref().map_or("", |(_, message)| message),
            ),
            (
                condition::OVERDUE,
                self.overdue.is_some(),
                if self.overdue.is_some() {
                    reason::PHASE_LIMIT_EXCEEDED
                } else {
                    reason::IN_TIME
                },
                self.overdue.as_deref().unwrap_or(&self.age),
            ),
            (
                condition::HELD,
                status.held.is_some(),
                if status.held.is_some() {
                    reason::ON_HOLD
                } else {
                    reason::NOT_HELD
                },
                held.as_str(),
            ),
        ];
        for (kind, holds, word, message) in rows {
            condition::set(
                &mut status.conditions,
                kind,
                holds,
                word,
                message,
                generation,
                now,
            );
        }
    }
}

/// What is said while a hold stands.
pub fn held_message(by: &str, unconfirmed: bool) -> String {
    let stands =
        format!("nothing of it is deleted while the hold of {by} stands; a hold officer lifts it");
    match unconfirmed {
        false => stands,
        true => format!(
            "{stands}. It was asked for while the admission rules were not proved to be in force: a hold officer confirms it by an AirlockAction Hold"
        ),
    }
}

fn again(error: impl std::fmt::Display) -> String {
    format!("{error}; nothing is lost, it is tried again by itself, with growing pauses")
}

/// When the phase lasts longer than the policy of its round allows.
pub fn limit_of(facts: &Facts, phase: Phase) -> Option<Timestamp> {
    let last = facts.last.as_ref()?;
    let rules = &last.seal.as_ref()?.rules;
    let (since, seconds) = match phase {
        Phase::InReview => (last.seal.as_ref()?.time, rules.in_review_limit_seconds),
        Phase::Approved | Phase::Releasing => {
            (last.decision.as_ref()?.time, rules.releasing_limit_seconds)
        }
        _ => return None,
    };
    since.checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn overdue(facts: &Facts, phase: Phase, now: Timestamp) -> Option<String> {
    let limit = limit_of(facts, phase)?;
    let since = condition::second(limit);
    (now >= limit).then(|| format!("{phase} lasts longer than the policy allows, since {since}; look at what the conditions wait for"))
}

/// How long the phase lasts, as a text that does not change while it does.
fn age(status: &AirlockRequestStatus, limit: Option<Timestamp>) -> String {
    let (Some(phase), Some(Time(since))) = (status.phase, &status.phase_time) else {
        return String::new();
    };
    let limit = limit.map(|limit| format!(", overdue from {}", condition::second(limit)));
    format!("{phase} since {since}{}", limit.unwrap_or_default())
}

fn revoked(facts: Option<&Facts>) -> String {
    let Some(revoked) = facts.and_then(|facts| facts.revoked.as_ref()) else {
        return "the release was revoked".to_owned();
    };
    let how = match &revoked.through {
        RevokedThrough::Action { name, .. } => format!("AirlockAction {name}"),
        RevokedThrough::Withdrawal => "spec.withdrawn".to_owned(),
        RevokedThrough::Review { name, .. } => format!("AirlockReview {name}"),
        RevokedThrough::Administrator => "trevor release revoke".to_owned(),
    };
    let left = match facts.and_then(in_volume) {
        Some(volume) => {
            format!("the files that were written into {volume} stay there; delete them there")
        }
        None => "no URL of it works".to_owned(),
    };
    format!("the release was revoked by {} ({how}); {left}", revoked.by)
}

/// The volume that the files were written into, if they were.
fn in_volume(facts: &Facts) -> Option<String> {
    let files = facts.last.as_ref()?.outcome.as_ref()?.files.as_ref()?;
    files.volume().map(ToString::to_string)
}

fn waiting_for(inwards: bool, missing: Option<&[String]>) -> String {
    let way = match inwards {
        true => "by their plan (GET plan of the gateway)",
        false => "through the gateway",
    };
    match missing {
        Some([]) if inwards => {
            "all files have arrived, and are copied into quarantine and hashed".to_owned()
        }
        Some([]) | None => "the files are being frozen".to_owned(),
        Some(paths) => {
            let shown: Vec<&str> = paths.iter().take(5).map(String::as_str).collect();
            let more = if paths.len() > 5 {
                format!(" and {} more", paths.len() - 5)
            } else {
                String::new()
            };
            format!("waiting for {}{more}; upload them {way}", shown.join(", "))
        }
    }
}

/// Phases that a look went through on the way from one that was shown to another.
fn passed(before: Option<Phase>, after: Phase) -> &'static [Phase] {
    use Phase::{Approved, Draft, InReview, Releasing, Submitted};
    let frozen = matches!(before, Some(Submitted | InReview | Approved | Releasing));
    match (before.unwrap_or(Draft), after) {
        (_, InReview) if !frozen => &[Submitted],
        (InReview, Releasing | Phase::Failed) => &[Approved],
        (InReview, Phase::Released) => &[Approved, Releasing],
        (Approved, Phase::Released) => &[Releasing],
        _ => &[],
    }
}

/// Tells of something that a person should see to, by an Event.
pub async fn warn(ctx: &Context, subject: &Subject, reason: &str, note: String) {
    publish(ctx, subject, EventType::Warning, reason.to_owned(), note).await;
}

async fn publish(ctx: &Context, subject: &Subject, type_: EventType, reason: String, note: String) {
    let event = Event {
        type_,
        reason,
        note: (!note.is_empty()).then(|| note.chars().take(900).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let reference = subject.request.object_ref(&());
    for pause in TRIES {
        match ctx.recorder.publish(&event, &reference).await {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(request = %subject.request.name_any(), %error, "the Event was not stored");
                tokio::time::sleep(pause).await;
            }
        }
    }
}
