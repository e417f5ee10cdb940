//! Calls of the API server, each with a bound on its time (kube's own retries
//! would wait for many minutes), and names checked before they are part of a URL.

use std::time::Duration;

use crate::problem::Problem;

const PATIENCE: Duration = Duration::from_secs(10);

/// The answer of a call, or 503.
///
/// # Errors
/// When the API server refuses, fails or takes too long.
pub async fn in_time<T>(
    what: &'static str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Problem::kubernetes(what, &error)),
        Err(_) => Err(Problem::kubernetes(what, &"no answer within 10 s")),
    }
}

/// Whether a text can be the name of a namespace.
#[must_use]
pub fn is_namespace(text: &str) -> bool {
    text.len() <= 63 && is_label(text)
}

/// Whether a text can be the name of one of our objects.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_kubernetes_would_take_reach_it() {
        for good in ["a", "project-a", "0-9"] {
            assert!(is_namespace(good) && is_name(good), "{good}");
        }
        assert!(is_name("frailty.tables-1") && !is_namespace("a.b"));
        for bad in [
            "", "-a", "a-", "A", "a/b", "..", "a..b", "a%2fb", "é", "a\n",
        ] {
            assert!(!is_namespace(bad) && !is_name(bad), "{bad:?}");
        }
    }
}
