//! Answers of storage servers that were failures, by operation, for Prometheus. What is
//! not there, and what a precondition refused, is no failure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::StorageError;

/// Of the process: servers are reached from everywhere, and the labels are few.
static COUNTS: Mutex<BTreeMap<(&str, &str), u64>> = Mutex::new(BTreeMap::new());

/// What a process asks for all day. Its counts begin with 0: Prometheus sees no increase in
/// a series that begins with its first failures, and a short outage would leave no trace.
const DAILY: [&str; 13] = [
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateMultipartUpload",
    "DeleteObjects",
    "GetObject",
    "HeadObject",
    "ListMultipartUploads",
    "ListObjectVersions",
    "ListObjectsV2",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
];
const KINDS: [&str; 2] = ["Refused", "Unavailable"];

/// Counts an error, if it is the server's.
pub(super) fn count(error: &StorageError) {
    let labels = match error {
        StorageError::Unavailable { operation, .. } => (*operation, "Unavailable"),
        StorageError::Refused { operation, .. } => (*operation, "Refused"),
        _ => return,
    };
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(labels).or_default() += 1;
}

/// The text that Prometheus reads. Its two formats name a counter each in its own way
/// in the lines before the numbers.
#[must_use]
pub fn render(head: &str) -> String {
    let mut text = format!(
        "# TYPE {head} counter\n# HELP {head} Calls to storage servers that failed, by S3 operation: not answered, or refused.\n"
    );
    let all = |operation: &'static str| KINDS.map(|kind| ((operation, kind), 0));
    let mut counts: BTreeMap<_, u64> = DAILY.into_iter().flat_map(all).collect();
    counts.extend(&*COUNTS.lock().unwrap_or_else(PoisonError::into_inner));
    for ((operation, kind), count) in &counts {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "trevor_storage_errors_total{{operation=\"{operation}\",kind=\"{kind}\"}} {count}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_operation_and_what_is_missing_is_none() {
        let (bucket, key) = ("b".to_owned(), "secret-looking-key".to_owned());
        count(&StorageError::NotFound {
            bucket: bucket.clone(),
            key: key.clone(),
        });
        for _ in 0..2 {
            count(&StorageError::Refused {
                operation: "TestOperation",
                bucket: bucket.clone(),
                key: key.clone(),
                code: "AccessDenied".into(),
                words: Box::default(),
            });
        }
        let text = render("trevor_storage_errors");
        let line = "trevor_storage_errors_total{operation=\"TestOperation\",kind=\"Refused\"} 2\n";
        assert!(text.contains(line), "{text}");
        let none = "trevor_storage_errors_total{operation=\"CopyObject\",kind=\"Refused\"} 0\n";
        assert!(text.contains(none), "{text}");
        assert!(!text.contains(&key), "{text}");
    }
}
