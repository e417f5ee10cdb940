//! What an effect can fail with, and what follows from it.

use crate::rules::RulesError;
use trevor_api::condition::reason;
use trevor_config::ConfigError;
use trevor_lifecycle::RetentionError;
use trevor_store::StorageError;

/// Why an effect did not happen.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// A storage server.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The API server.
    #[error("API server: {}", said(.0))]
    Kube(#[from] kube::Error),
    /// The API server refuses to have something made in a project.
    #[error(
        "the {what} cannot be made in namespace {namespace}: {}; {}",
        said(source),
        remedy(source)
    )]
    NotMade {
        /// What, with its name.
        what: String,
        /// Where.
        namespace: String,
        /// What it said.
        source: kube::Error,
    },
    /// Whether the admission rules are in force cannot be told.
    #[error("admission rules: {0}")]
    Rules(RulesError),
    /// Clocks differ.
    #[error(transparent)]
    Retention(RetentionError),
    /// This process leads no more; another goes on.
    #[error("another controller leads")]
    NotLeading,
    /// What is configured cannot be used now.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something of ours cannot be written as JSON.
    #[error("internal: {0}")]
    Json(#[from] serde_json::Error),
    /// Files that crossed inwards are not out of reach yet.
    #[error("its files are being moved to keys that no URL names")]
    Moving,
    /// It took too long; it will be tried again.
    #[error("timed out; will be tried again")]
    Timeout,
}

/// The API server's own words.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(answer) if answer.message.is_empty() => {
            format!("{} {}", answer.code, answer.reason)
        }
        kube::Error::Api(answer) => answer.message.clone(),
        other => other.to_string(),
    }
}

fn remedy(error: &kube::Error) -> &'static str {
    match refusal(error) {
        Some(reason::QUOTA_EXCEEDED) => {
            "raise the ResourceQuota of the namespace, or delete there what nobody needs"
        }
        _ => "look at the quotas and admission policies of the namespace",
    }
}

/// Why the API server refused, if it did: what a person must change.
fn refusal(error: &kube::Error) -> Option<&'static str> {
    let kube::Error::Api(answer) = error else {
        return None;
    };
    match answer.code {
        403 if answer.message.contains("exceeded quota") => Some(reason::QUOTA_EXCEEDED),
        400 | 403 | 422 => Some(reason::API_SERVER_REFUSED),
        _ => None,
    }
}

impl From<RetentionError> for EffectError {
    fn from(error: RetentionError) -> Self {
        match error {
            RetentionError::Storage(error) => Self::Storage(error),
            RetentionError::NotLeading => Self::NotLeading,
            error => Self::Retention(error),
        }
    }
}

impl From<RulesError> for EffectError {
    fn from(error: RulesError) -> Self {
        match error {
            RulesError::Kube(error) => Self::Kube(error),
            RulesError::Storage(error) => Self::Storage(error),
            error => Self::Rules(error),
        }
    }
}

impl EffectError {
    /// The API server refused a write because another writer was first (409 Conflict).
    pub fn is_conflict(&self) -> bool {
        let Self::Kube(kube::Error::Api(answer)) = self else {
            return false;
        };
        answer.code == 409 && answer.reason == "Conflict"
    }

    /// Whether it goes on failing until a person changes something.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Kube(error) | Self::NotMade { source: error, .. } => refusal(error).is_some(),
            _ => false,
        }
    }

    /// One CamelCase word for a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Storage(StorageError::Corrupt { .. }) => "StorageCorrupt",
            Self::Storage(StorageError::NotEncrypted { .. }) => "StorageNotEncrypted",
            Self::Storage(StorageError::Refused { .. }) => "StorageRefused",
            Self::Storage(_) => "StorageUnavailable",
            Self::Kube(error) | Self::NotMade { source: error, .. } => {
                refusal(error).unwrap_or("ApiServerUnavailable")
            }
            Self::Rules(_) => "RulesUnknown",
            Self::Retention(error) => error.reason(),
            Self::Config(_) => "ConfigurationUnusable",
            Self::NotLeading => "NotLeading",
            Self::Json(_) => "Internal",
            Self::Moving => reason::REVOKING,
            Self::Timeout => "Timeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answer(code: u16, message: &str) -> kube::Error {
        let status = Status::failure(message, "Forbidden").with_code(code);
        kube::Error::Api(Box::new(status))
    }

    #[test]
    fn what_the_api_server_refuses_is_told_in_its_words_and_waits_for_a_person() {
        let quota = "secrets \"x\" is forbidden: exceeded quota: few, requested: secrets=1, used: secrets=3, limited: secrets=3";
        for (code, message, word, person) in [
            (403, quota, "QuotaExceeded", true),
            (
                403,
                "admission webhook \"x\" denied the request",
                "ApiServerRefused",
                true,
            ),
            (422, "is invalid", "ApiServerRefused", true),
            (
                500,
                "etcdserver: request timed out",
                "ApiServerUnavailable",
                false,
            ),
            (429, "", "ApiServerUnavailable", false),
        ] {
            let source = answer(code, message);
            let made = EffectError::NotMade {
                what: "Secret x of the link".to_owned(),
                namespace: "project-a".to_owned(),
                source,
            };
            let plain = EffectError::from(answer(code, message));
            for error in [made, plain] {
                assert_eq!(
                    (error.reason(), error.needs_a_person()),
                    (word, person),
                    "{message}"
                );
                let text = error.to_string();
                assert!(
                    text.contains(message) && !text.contains("Status {"),
                    "{text}"
                );
            }
        }
    }
}
