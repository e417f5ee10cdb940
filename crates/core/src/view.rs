//! That somebody read a file of a frozen round.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Sha256Hex;

/// `rounds/<n>/views/…`: who saw which bytes of which manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewFact {
    /// Who.
    pub reader: String,
    /// The file.
    pub path: String,
    /// Which upload of it.
    pub version: String,
    /// Its SHA-256.
    pub sha256: Sha256Hex,
    /// The manifest that it is of.
    pub manifest_digest: Sha256Hex,
    /// When, for the first time.
    pub time: Timestamp,
}

crate::stored_fact!(ViewFact);
