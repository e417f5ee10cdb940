//! The signed statement of a release, as it is stored and goes out: a DSSE envelope.

use serde::{Deserialize, Serialize};

/// An envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// The payload, in base64.
    pub payload: String,
    /// Who signed it.
    pub signatures: Vec<Signature>,
}

crate::stored_fact!(Envelope);

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The key, in its one-line form; a hint only.
    pub keyid: String,
    /// In base64.
    pub sig: String,
}
