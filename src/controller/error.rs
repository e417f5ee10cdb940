//! What an effect can fail with, and what follows from it.

use crate::api::condition::reason;
use crate::config::ConfigError;
use crate::retention::RetentionError;
use crate::rules::RulesError;
use crate::storage::StorageError;

/// Why an effect did not happen.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// A storage server.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The API server.
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
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

    /// One CamelCase word for a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Storage(StorageError::Corrupt { .. }) => "StorageCorrupt",
            Self::Storage(StorageError::NotEncrypted { .. }) => "StorageNotEncrypted",
            Self::Storage(StorageError::Refused { .. }) => "StorageRefused",
            Self::Storage(_) => "StorageUnavailable",
            Self::Kube(_) => "ApiServerUnavailable",
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
