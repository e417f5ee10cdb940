//! Calls of the API server with a timeout, because the retries of kube would wait for many
//! minutes; and checks of names before they become part of a URL.

use std::time::Duration;

use crate::problem::Problem;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for a call for at most 10 s.
///
/// # Errors
/// 503 when the API server refuses, fails or does not answer in time.
pub async fn with_timeout<T>(
    what: &'static str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Problem::kubernetes(what, &error)),
        Err(_) => Err(Problem::kubernetes(what, &"no answer within 10 s")),
    }
}

/// Whether a text is a valid name of a namespace.
#[must_use]
pub fn is_valid_namespace(text: &str) -> bool {
    text.len() <= 63 && is_label(text)
}

/// Whether a text is a valid name of a custom resource.
#[must_use]
pub fn is_valid_name(text: &str) -> bool {
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
            assert!(is_valid_namespace(good) && is_valid_name(good), "{good}");
        }
        assert!(is_valid_name("frailty.tables-1") && !is_valid_namespace("a.b"));
        for bad in [
            "", "-a", "a-", "A", "a/b", "..", "a..b", "a%2fb", "é", "a\n",
        ] {
            assert!(!is_valid_namespace(bad) && !is_valid_name(bad), "{bad:?}");
        }
    }
}
