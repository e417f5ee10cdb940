//! How many requests stand in each phase, and since when the longest: what is stuck
//! is seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use trevor_api::condition::OVERDUE;
use trevor_api::{AirlockRequest, Phase};

/// Phases in which a request waits for somebody or something.
const OPEN: [Phase; 7] = [
    Phase::Draft,
    Phase::Submitted,
    Phase::InReview,
    Phase::ChangesRequested,
    Phase::Approved,
    Phase::Releasing,
    Phase::Failed,
];

type Value = fn(&Standing) -> String;

#[derive(Clone, Copy, Default)]
struct Standing {
    requests: u64,
    overdue: u64,
    oldest: i64,
}

/// The text that Prometheus reads; a label for each phase that is open.
pub fn render(requests: &[Arc<AirlockRequest>], now: Timestamp) -> String {
    let mut phases: BTreeMap<String, Standing> = OPEN
        .iter()
        .map(|phase| (phase.to_string(), Standing::default()))
        .collect();
    for request in requests {
        let Some(status) = &request.status else {
            continue;
        };
        let phase = status.phase.unwrap_or_default().to_string();
        let Some(standing) = phases.get_mut(&phase) else {
            continue;
        };
        standing.requests += 1;
        standing.overdue += u64::from(status.conditions.iter().any(is_overdue));
        if let Some(Time(since)) = &status.phase_time {
            let age = now.as_second() - since.as_second();
            standing.oldest = standing.oldest.max(age);
        }
    }
    let rows: [(&str, &str, Value); 3] = [
        ("trevor_requests", "Open requests by phase.", |s| {
            s.requests.to_string()
        }),
        (
            "trevor_requests_overdue",
            "Requests whose phase lasts longer than the policy allows.",
            |s| s.overdue.to_string(),
        ),
        (
            "trevor_request_phase_oldest_seconds",
            "How long the phase of the longest waiting request lasts.",
            |s| s.oldest.to_string(),
        ),
    ];
    let mut text = String::new();
    for (name, help, value) in rows {
        let _ = writeln!(text, "# TYPE {name} gauge\n# HELP {name} {help}");
        for (phase, standing) in &phases {
            let _ = writeln!(text, "{name}{{phase=\"{phase}\"}} {}", value(standing));
        }
    }
    text
}

fn is_overdue(condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> bool {
    condition.type_ == OVERDUE && condition.status == "True"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_open_phase_has_its_number_and_its_longest_wait() {
        let request = |phase: &str, since: &str, overdue: &str| -> Arc<AirlockRequest> {
            let request = json!({"apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockRequest",
                "metadata": {"name": "r"}, "spec": {"direction": "Egress", "title": "t"},
                "status": {"phase": phase, "phaseTime": since, "conditions": [{"type": "Overdue",
                    "status": overdue, "reason": "r", "message": "", "lastTransitionTime": since}]}});
            Arc::new(serde_json::from_value(request).unwrap())
        };
        let requests = [
            request("InReview", "1970-01-01T00:00:10Z", "False"),
            request("InReview", "1970-01-01T00:00:40Z", "True"),
            request("Released", "1970-01-01T00:00:00Z", "False"),
        ];
        let text = render(&requests, Timestamp::from_second(100).unwrap());
        for line in [
            "trevor_requests{phase=\"InReview\"} 2",
            "trevor_requests_overdue{phase=\"InReview\"} 1",
            "trevor_request_phase_oldest_seconds{phase=\"InReview\"} 90",
            "trevor_requests{phase=\"Failed\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
        assert!(
            !text.contains("Released"),
            "closed requests are not counted"
        );
    }
}
