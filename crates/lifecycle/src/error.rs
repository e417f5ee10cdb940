//! Why something was not deleted.

use jiff::Timestamp;

use trevor_store::StorageError;

/// What stops a deletion. Its ticket stays.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// A storage server.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Our clock and a server's differ.
    #[error(
        "our clock says {ours}, that of the server of {bucket} {theirs}: nothing is closed or deleted while they differ by more than 5 minutes; set them right"
    )]
    Clocks {
        /// The bucket.
        bucket: String,
        /// What we say.
        ours: Timestamp,
        /// What it says.
        theirs: Timestamp,
    },
    /// The server keeps objects that are to go.
    #[error(
        "{bucket}/{prefix}: the server keeps {count} versions, {key} the first of them ({code}); look for an object lock, a bucket policy, or a missing permission to delete versions"
    )]
    Kept {
        /// The bucket.
        bucket: String,
        /// What is to go.
        prefix: String,
        /// The first.
        key: String,
        /// S3 error code, the server's message and what to do.
        code: String,
        /// How many.
        count: u64,
    },
    /// Something is still listed after all was deleted.
    #[error(
        "{bucket}/{prefix}: {left} versions and uploads are still listed after all were deleted; look who writes there"
    )]
    StillThere {
        /// The bucket.
        bucket: String,
        /// What is to go.
        prefix: String,
        /// How many.
        left: u64,
    },
    /// Staging is not configured any more.
    #[error(
        "storage.staging is not configured, and something is due there; configure it until that is deleted"
    )]
    NoStaging,
    /// Another process leads.
    #[error("another controller leads")]
    NotLeading,
    /// Whether a hold was asked for cannot be told.
    #[error(
        "whether a hold was asked for cannot be told, so that nothing is deleted: {0}; look at the API server"
    )]
    NotAsked(String),
    /// It is done, and could not be shown.
    #[error("the deletion is recorded and could not be shown yet: {0}")]
    NotShown(String),
}

impl RetentionError {
    /// Whether a storage server does not answer, so that others will fail like it.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Self::Storage(StorageError::Unavailable { .. }))
    }

    /// One CamelCase word, for an Event.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Storage(StorageError::Corrupt { .. }) => "StorageCorrupt",
            Self::Storage(StorageError::Refused { .. }) => "StorageRefused",
            Self::Storage(_) => "StorageUnavailable",
            Self::Clocks { .. } => "ClocksDisagree",
            Self::Kept { .. } => "DeletionRefused",
            Self::StillThere { .. } => "DeletionIncomplete",
            Self::NoStaging => "StagingNotConfigured",
            Self::NotLeading => "NotLeading",
            Self::NotAsked(_) | Self::NotShown(_) => "ApiServerUnavailable",
        }
    }
}
