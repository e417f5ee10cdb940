//! Which lifecycle rules of a bucket would delete before trevor does, or what
//! trevor never deletes.

use super::State;

/// A rule, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name.
    pub id: String,
    /// Keys that it is about begin so; empty: all.
    pub prefix: String,
    /// It deletes objects, or their old versions.
    pub expires: bool,
    /// It aborts uploads that do not complete.
    pub aborts: bool,
}

/// What the rules of one zone mean for us.
#[must_use]
pub fn verdict(zone: &str, rules: &[LifecycleRule]) -> (State, String) {
    let kept: &[&str] = match zone {
        "release" => &["releases/"],
        "staging" => &[""],
        "records" => &["requests/", "records/", "audit/", "index/"],
        _ => &["requests/", "records/", "audit/", "index/", "work/"],
    };
    let touches = |rule: &&LifecycleRule| {
        kept.iter()
            .any(|key| key.starts_with(&rule.prefix) || rule.prefix.starts_with(key))
    };
    let names = |chosen: Vec<&LifecycleRule>| {
        let ids: Vec<&str> = chosen.iter().map(|rule| rule.id.as_str()).collect();
        ids.join(", ")
    };
    let expiring: Vec<_> = rules.iter().filter(|r| r.expires).filter(touches).collect();
    let aborting: Vec<_> = rules.iter().filter(|r| r.aborts).filter(touches).collect();
    if !expiring.is_empty() {
        let state = if zone == "staging" {
            State::Warning
        } else {
            State::Failed
        };
        let names = names(expiring);
        return (
            state,
            format!(
                "the bucket's lifecycle deletes by itself (rule {names}): without a receipt, and perhaps before the due time or under a hold; remove it, trevor deletes in time"
            ),
        );
    }
    if !aborting.is_empty() && zone == "staging" {
        let names = names(aborting);
        return (
            State::Warning,
            format!(
                "the bucket's lifecycle aborts uploads (rule {names}): one that takes longer cannot be resumed"
            ),
        );
    }
    (State::Ok, "no rule deletes what trevor keeps".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, expires: bool, aborts: bool) -> LifecycleRule {
        LifecycleRule {
            id: "r".into(),
            prefix: prefix.into(),
            expires,
            aborts,
        }
    }

    #[test]
    fn a_rule_that_deletes_what_is_kept_fails_and_others_do_not() {
        for (zone, rule, state) in [
            ("quarantine", rule("", true, false), State::Failed),
            (
                "quarantine",
                rule("requests/ns/", true, false),
                State::Failed,
            ),
            ("quarantine", rule("req", true, false), State::Failed),
            ("quarantine", rule("other/", true, false), State::Ok),
            ("quarantine", rule("", false, true), State::Ok),
            (
                "quarantine",
                rule("work/retention/", true, false),
                State::Failed,
            ),
            ("records", rule("audit/", true, false), State::Failed),
            ("records", rule("work/", true, false), State::Ok),
            ("release", rule("releases/", true, false), State::Failed),
            ("release", rule("logs/", true, false), State::Ok),
            ("staging", rule("", true, false), State::Warning),
            ("staging", rule("", false, true), State::Warning),
        ] {
            let (found, detail) = verdict(zone, std::slice::from_ref(&rule));
            assert_eq!(found, state, "{zone} {rule:?}: {detail}");
        }
        assert_eq!(verdict("quarantine", &[]).0, State::Ok);
    }
}
