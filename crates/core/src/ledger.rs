//! The events of a request's ledger, derived from stored facts. An event's id follows from
//! the fact, so that a crash repeats nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::action::ActionFact;
use crate::commit::{Decision, Freeze, Outcome, Revoked, UrlDeleted};
use crate::edits::Edits;
use crate::event::Event;
use crate::keys::RequestKey;
use crate::phase::{Facts, Round};
use crate::quorum::ReviewFact;
use crate::retention::IdleWarning;
use crate::url_ending::UrlWarning;

/// The events of all facts at hand, by id.
pub fn events(key: &RequestKey, facts: &Facts) -> BTreeMap<String, Event> {
    let mut log = Log {
        key,
        events: BTreeMap::new(),
    };
    if let Some(owner) = &facts.owner {
        let detail =
            json!({"name": owner.name, "direction": owner.direction, "cluster": owner.cluster});
        log.add(
            "created",
            "Created",
            Some(&owner.submitter),
            owner.created,
            detail,
        );
    }
    if let Some(round) = &facts.last {
        log.round(round);
    }
    if let Some(closed) = &facts.closed {
        let detail = json!({"as": closed.closed_as, "quarantineDue": closed.quarantine_due, "releaseDue": closed.release_due});
        log.add("closed", "Closed", None, closed.time, detail);
    }
    if let Some(revoked) = &facts.revoked {
        log.add(
            "revoked",
            "Revoked",
            Some(&revoked.by),
            revoked.time,
            json!({"reason": revoked.reason, "through": revoked.through}),
        );
        log.transition("revoked", "Released", "Revoked");
    }
    log.events
}

/// The events of actions, by id.
pub fn of_actions(key: &RequestKey, taken: &[ActionFact]) -> BTreeMap<String, Event> {
    let mut log = Log {
        key,
        events: BTreeMap::new(),
    };
    for fact in taken {
        let mut detail = json!({
            "name": fact.name, "action": fact.action, "as": fact.role, "reason": fact.reason,
            "round": fact.round, "refused": fact.refused, "revokeOld": fact.revoke_old,
        });
        if fact.unconfirmed {
            detail["unconfirmed"] = true.into();
        }
        let id = format!("action-{}", fact.uid);
        log.add(&id, "Acted", Some(&fact.actor), fact.time, detail);
    }
    log.events
}

/// That edits outside an epoch were noticed, by id.
pub fn of_edits(key: &RequestKey, edits: Option<&Edits>) -> BTreeMap<String, Event> {
    let mut log = Log {
        key,
        events: BTreeMap::new(),
    };
    if let Some(unconfirmed) = edits.and_then(|edits| edits.unconfirmed.as_ref()) {
        let id = format!("edits-{}", unconfirmed.generation);
        let detail = json!({"generation": unconfirmed.generation});
        let noticed = unconfirmed.noticed;
        log.add(&id, "EditedOutsideEpoch", None, noticed, detail);
    }
    log.events
}

/// The event of a warning that a request is withdrawn unless somebody touches it, by id.
pub fn of_idle(key: &RequestKey, fact: &IdleWarning) -> BTreeMap<String, Event> {
    let mut log = Log {
        key,
        events: BTreeMap::new(),
    };
    let detail = json!({"since": fact.since, "withdraw": fact.withdraw});
    let id = format!("idle-{}", fact.since.as_second());
    log.add(&id, "IdleWarning", None, fact.warned, detail);
    log.events
}

/// The event of a warning that a URL ends unused, by id.
pub fn of_warning(key: &RequestKey, fact: &UrlWarning) -> BTreeMap<String, Event> {
    let mut log = Log {
        key,
        events: BTreeMap::new(),
    };
    let detail = json!({"issue": fact.issue, "expires": fact.expires});
    let id = format!("url-ending-{}", fact.issue);
    log.add(&id, "URLEnding", None, fact.time, detail);
    log.events
}

/// The events of reviews, counted or not, by id.
pub fn of_reviews(key: &RequestKey, reviews: &[ReviewFact]) -> BTreeMap<String, Event> {
    let mut log = Log {
        key,
        events: BTreeMap::new(),
    };
    log.reviews(reviews);
    log.events
}

/// The events of the URLs of a release: those that were made, and, of a release that was
/// taken back, those that were deleted. By id. `now` stands for the time of URLs that do not
/// say when they were made; an earlier event of theirs stays.
pub fn of_urls(
    key: &RequestKey,
    made: &[UrlDeleted],
    deleted: &[UrlDeleted],
    revoked: Option<&Revoked>,
    now: Timestamp,
) -> BTreeMap<String, Event> {
    let mut log = Log {
        key,
        events: BTreeMap::new(),
    };
    for url in made {
        log.url_made(url, now);
    }
    let Some(revoked) = revoked else {
        return log.events;
    };
    for gone in deleted {
        // A release that was taken back before the look that made its URL ended well.
        log.url_made(gone, now);
        let id = format!("url-{:06}-2-revoked", gone.issue);
        let detail = json!({"issue": gone.issue, "secret": gone.secret_name});
        log.add(&id, "UrlRevoked", Some(&revoked.by), revoked.time, detail);
    }
    log.events
}

/// Events in the order in which a chain takes them.
pub fn in_order(events: BTreeMap<String, Event>) -> Vec<Event> {
    let mut events: Vec<Event> = events.into_values().collect();
    events.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    events
}

struct Log<'a> {
    key: &'a RequestKey,
    events: BTreeMap<String, Event>,
}

impl Log<'_> {
    /// A URL that was made. Receipts of old say too little of one that is gone: an
    /// earlier look told of it.
    fn url_made(&mut self, url: &UrlDeleted, now: Timestamp) {
        if url.sha256.is_none() {
            return;
        }
        let kind = match url.action {
            Some(_) => "UrlRenewed",
            None => "UrlMade",
        };
        let detail = json!({
            "issue": url.issue, "secret": url.secret_name, "expires": url.expires,
            "sha256": url.sha256, "action": url.action,
        });
        let made = url.issued.unwrap_or(now);
        self.add(
            &format!("url-{:06}-1-made", url.issue),
            kind,
            None,
            made,
            detail,
        );
    }

    fn add(&mut self, id: &str, kind: &str, actor: Option<&str>, time: Timestamp, detail: Value) {
        let detail = match detail {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let event = Event {
            id: id.to_owned(),
            kind: kind.to_owned(),
            actor: actor.map(str::to_owned),
            namespace: self.key.namespace.clone(),
            uid: self.key.uid.clone(),
            before: None,
            after: None,
            detail,
            time,
        };
        self.events.insert(id.to_owned(), event);
    }

    fn transition(&mut self, id: &str, before: &str, after: &str) {
        if let Some(event) = self.events.get_mut(id) {
            event.before = Some(before.to_owned());
            event.after = Some(after.to_owned());
        }
    }

    fn round(&mut self, round: &Round) {
        let id = |what: &str| format!("r{}-{what}", round.round);
        if let Some(seal) = &round.seal {
            self.add(
                &id("1-sealed"),
                "Sealed",
                None,
                seal.time,
                json!({"round": round.round, "policy": seal.policy, "because": seal.because}),
            );
            let before = if round.round == 1 {
                "Draft"
            } else {
                "ChangesRequested"
            };
            self.transition(&id("1-sealed"), before, "Submitted");
        }
        let sealed = round
            .seal
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |s| s.time);
        match round.freeze.as_deref() {
            Some(Freeze::Manifest(manifest)) => {
                let digest = round.frozen().map(|f| f.digest.to_string());
                let detail = json!({
                    "round": round.round, "digest": digest,
                    "files": manifest.files.len(), "bytes": manifest.total_bytes(), "uploads": manifest.uploads,
                });
                self.add(&id("2-frozen"), "Frozen", None, sealed, detail);
                self.transition(&id("2-frozen"), "Submitted", "InReview");
            }
            Some(Freeze::Refusal(refusal)) => {
                let detail = json!({"round": round.round, "reason": refusal.reason});
                self.add(&id("2-refused"), "Refused", None, sealed, detail);
                self.transition(&id("2-refused"), "Submitted", "ChangesRequested");
            }
            None => {}
        }
        if let Some(decision) = &round.decision {
            self.decision(round, decision);
        }
        for attempt in &round.attempts {
            let name = id(&format!("4-attempt-{:06}", attempt.attempt));
            let detail = json!({"round": round.round, "attempt": attempt.attempt, "term": attempt.term, "key": attempt.key});
            self.add(&name, "ReleaseAttempted", None, attempt.time, detail);
            let before = if attempt.attempt == 1 {
                "Approved"
            } else {
                "Releasing"
            };
            self.transition(&name, before, "Releasing");
        }
        if let Some(failure) = &round.failure {
            let name = id(&format!("5-failed-{:06}", failure.attempt));
            let detail =
                json!({"round": round.round, "attempt": failure.attempt, "reason": failure.reason});
            self.add(&name, "ReleaseFailed", None, failure.time, detail);
            self.transition(&name, "Releasing", "Failed");
        }
        if let Some(outcome) = &round.outcome {
            self.outcome(round, outcome);
        }
    }

    fn decision(&mut self, round: &Round, decision: &Decision) {
        self.reviews(&decision.reviews);
        let id = format!("r{}-3-decided", round.round);
        let detail = json!({
            "round": round.round, "verdict": decision.verdict, "manifestDigest": decision.manifest_digest,
            "quorum": decision.quorum, "policy": decision.policy, "recalled": decision.recalled,
            "reviews": decision.reviews.iter().map(|r| r.uid.clone()).collect::<Vec<_>>(),
            "epochs": decision.reviews.iter().map(|r| r.epoch).collect::<Vec<_>>(),
        });
        self.add(&id, "Decided", None, decision.time, detail);
        self.transition(&id, "InReview", &format!("{:?}", decision.verdict));
    }

    fn outcome(&mut self, round: &Round, outcome: &Outcome) {
        self.reviews(&outcome.reviews);
        let id = format!("r{}-6-outcome", round.round);
        let detail = json!({"round": round.round, "outcome": outcome.kind, "package": outcome.package, "files": outcome.files});
        self.add(&id, "Outcome", None, outcome.time, detail);
        self.transition(&id, "Releasing", &format!("{:?}", outcome.kind));
    }

    fn reviews(&mut self, reviews: &[ReviewFact]) {
        for review in reviews {
            let id = format!("review-{}", review.uid);
            let detail = json!({
                "name": review.name, "decision": review.decision, "manifestDigest": review.manifest_digest,
                "viewed": review.viewed, "epoch": review.epoch,
            });
            self.add(&id, "Reviewed", Some(&review.reviewer), review.time, detail);
        }
    }
}
