//! What an entry of the ledger says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256Hex;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Derived from what happened; unique in its chain.
    pub id: String,
    /// One CamelCase word.
    pub kind: String,
    /// Who, where somebody did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The project.
    pub namespace: String,
    /// The request's uid.
    pub uid: String,
    /// Phase before, for transitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Phase after, for transitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What else belongs to it; never a secret.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub detail: serde_json::Map<String, serde_json::Value>,
    /// When it happened.
    pub time: Timestamp,
}

/// One object of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// From 1, without gaps.
    pub sequence: i64,
    /// SHA-256 of the entry before, as stored; 64 zeros before the first.
    pub previous: Sha256Hex,
    /// What happened; one entry may carry all events of a reconcile.
    pub events: Vec<Event>,
}
