//! Canonical JSON, so that equal values have equal bytes and one digest.
//!
//! Keys sorted, no spaces, integers only: the subset of RFC 8785 that our
//! objects use (they have ASCII keys and no fractions).

use serde::Serialize;

/// The canonical bytes of a value.
///
/// # Errors
/// When the value has a map with keys that are not strings, which no type of
/// ours has.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    // serde_json's map is a BTreeMap (no `preserve_order`): keys come sorted.
    serde_json::to_vec(&serde_json::to_value(value)?)
}

/// Whether bytes are the canonical JSON of what they say, known to this version or not.
#[must_use]
pub fn is_canonical(bytes: &[u8]) -> bool {
    let value = serde_json::from_slice::<serde_json::Value>(bytes);
    value.is_ok_and(|value| serde_json::to_vec(&value).is_ok_and(|same| same == bytes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_canonical_whatever_fields_they_have() {
        assert!(super::is_canonical(br#"{"a":1,"unknown":{"x":[1,"y"]}}"#));
        for other in [
            &br#"{"a":1,"a":1}"#[..],
            br#"{"b":1,"a":1}"#,
            br#"{"a": 1}"#,
            b"{}x",
            b"",
        ] {
            assert!(!super::is_canonical(other), "{other:?}");
        }
    }

    #[test]
    fn the_order_of_keys_does_not_change_the_bytes() {
        let a: serde_json::Value =
            serde_json::from_str(r#"{"b": 1, "a": {"d": [], "c": "é"}}"#).unwrap();
        let b: serde_json::Value = serde_json::from_str(r#"{"a":{"c":"é","d":[]},"b":1}"#).unwrap();
        assert_eq!(super::to_vec(&a).unwrap(), super::to_vec(&b).unwrap());
        assert_eq!(
            super::to_vec(&a).unwrap(),
            r#"{"a":{"c":"é","d":[]},"b":1}"#.as_bytes()
        );
    }
}
