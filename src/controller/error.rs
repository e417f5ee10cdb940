//! What an effect can fail with, and what follows from it.

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
    /// This process leads no more; another goes on.
    #[error("another controller leads")]
    NotLeading,
    /// Something of ours cannot be written as JSON.
    #[error("internal: {0}")]
    Json(#[from] serde_json::Error),
    /// It took too long; it will be tried again.
    #[error("timed out; will be tried again")]
    Timeout,
}

impl EffectError {
    /// One CamelCase word for a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Storage(StorageError::Corrupt { .. }) => "StorageCorrupt",
            Self::Storage(StorageError::NotEncrypted { .. }) => "StorageNotEncrypted",
            Self::Storage(StorageError::Refused { .. }) => "StorageRefused",
            Self::Storage(_) => "StorageUnavailable",
            Self::Kube(_) => "ApiServerUnavailable",
            Self::NotLeading => "NotLeading",
            Self::Json(_) => "Internal",
            Self::Timeout => "Timeout",
        }
    }
}
