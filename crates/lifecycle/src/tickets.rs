//! Tickets: wake-ups for the sweeper, one object each, that sort by due time.
//!
//! Repeated: the key follows from due time, request and what is due; create-only.

use jiff::Timestamp;

use trevor_core::commit::Ticket;
use trevor_core::keys::RequestKey;
use trevor_core::object_key::WorkKey;
use trevor_core::retention::{What, due_name};
use trevor_store::{StorageError, Work};

/// Stores a wake-up.
///
/// # Errors
/// As the server says.
pub async fn write(
    work: &Work,
    key: &RequestKey,
    what: What,
    due: Timestamp,
) -> Result<(), StorageError> {
    let ticket = Ticket {
        namespace: key.namespace.clone(),
        uid: key.uid.clone(),
        what: what.word().to_owned(),
        due,
    };
    work.create(&at(key, what, due), &ticket).await.map(drop)
}

/// Where a ticket lies.
#[must_use]
pub fn at(key: &RequestKey, what: What, due: Timestamp) -> WorkKey<Ticket> {
    key.ticket(&due_name(due), what.word())
}

/// Takes a ticket away, with every version of it.
///
/// # Errors
/// As the server says.
pub async fn remove(work: &Work, key: &WorkKey<Ticket>) -> Result<(), StorageError> {
    work.delete_versions(key).await
}
