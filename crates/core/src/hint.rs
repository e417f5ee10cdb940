//! Hints of gateways to the controller: that a request may be ready for its next step. A
//! hint is signed with a key that the gateway drew at its start, and whose public half it
//! stored where only gateways write, so that no secret goes over the wire.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How old a hint may be, and how far ahead of our clock.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// The longest name of a gateway.
const LONGEST: usize = 80;

/// `work/plans/gateways/<gateway>.json`: the key that a gateway signs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HintKey {
    /// The public key, as one line.
    pub key: String,
    /// When it was drawn.
    pub time: Timestamp,
}

crate::stored_fact!(HintKey);

/// What a hint says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hint {
    /// The project.
    pub namespace: String,
    /// The request.
    pub name: String,
    /// When it was sent.
    pub time: Timestamp,
    /// Which gateway sent it.
    pub gateway: String,
    /// Its signature over [`Hint::text`], in base64.
    #[serde(default)]
    pub signature: String,
}

impl Hint {
    /// What is signed. No field has a line end in it where [`Self::is_well_formed`] holds.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "trevor hint\n{}\n{}\n{}\n{}\n",
            self.gateway, self.namespace, self.name, self.time
        )
    }

    /// Whether the names are names.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let name = |text: &str, most: usize| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
            !text.is_empty() && text.len() <= most && text.bytes().all(plain)
        };
        name(&self.namespace, 63)
            && name(&self.name, 253)
            && name(&self.gateway, LONGEST)
            && !self.gateway.contains('.')
    }

    /// Whether it was sent just now.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.time).abs() <= FRESH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(namespace: &str, name: &str, gateway: &str) -> Hint {
        Hint {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            time: Timestamp::UNIX_EPOCH,
            gateway: gateway.to_owned(),
            signature: String::new(),
        }
    }

    #[test]
    fn names_in_a_hint_cannot_stand_for_others() {
        let long = "a".repeat(254);
        for (namespace, name, gateway, well) in [
            ("project-a", "tables.1", "gw-0-1a2b", true),
            ("", "r", "gw", false),
            ("a", "", "gw", false),
            ("a", "r", "", false),
            ("a", "r\nb", "gw", false),
            ("a/b", "r", "gw", false),
            ("a", "r", "../x", false),
            ("a", "r", "..", false),
            ("a", long.as_str(), "gw", false),
            ("a", "r", long.as_str(), false),
            ("A", "r", "gw", false),
        ] {
            let hint = hint(namespace, name, gateway);
            assert_eq!(hint.is_well_formed(), well, "{hint:?}");
        }
        assert_ne!(hint("a", "b", "gw").text(), hint("a", "c", "gw").text());
    }

    #[test]
    fn a_hint_is_good_for_a_minute() {
        let hint = hint("a", "r", "gw");
        let at = |s| Timestamp::from_second(s).unwrap();
        for (now, fresh) in [
            (0, true),
            (60, true),
            (-60, true),
            (61, false),
            (-61, false),
        ] {
            assert_eq!(hint.is_fresh(at(now)), fresh, "{now}");
        }
    }
}
