//! Keys of stored objects as types: which type is stored there, and whether it is ever deleted.
//!
//! Only this crate makes keys and prefixes ([`crate::keys`]), so that each key has one type of
//! object and one kind of place. The stores of `trevor-store` take nothing else.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;

/// Facts: in the records bucket, written once and never deleted.
#[derive(Debug)]
pub enum Permanent {}

/// Working objects: below `work/` in the quarantine bucket, deleted when they have served.
#[derive(Debug)]
pub enum Working {}

/// Where one `T` is stored. It is read as the text that it is.
pub struct Key<K, T> {
    text: String,
    of: PhantomData<fn() -> (K, T)>,
}

/// What the keys of objects of type `T` begin with. Where objects of several types lie under a
/// prefix, `T` is `()`: they can be listed, and not read by what was listed.
pub struct Prefix<K, T> {
    text: String,
    is_one: fn(&str) -> bool,
    of: PhantomData<fn() -> (K, T)>,
}

/// Where a fact is stored.
pub type FactKey<T> = Key<Permanent, T>;
/// What keys of facts begin with.
pub type FactPrefix<T> = Prefix<Permanent, T>;
/// Where a working object is stored.
pub type WorkKey<T> = Key<Working, T>;
/// What keys of working objects begin with.
pub type WorkPrefix<T> = Prefix<Working, T>;

impl<K, T> Key<K, T> {
    pub(crate) fn new(text: String) -> Self {
        Self {
            text,
            of: PhantomData,
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<K, T> Prefix<K, T> {
    pub(crate) fn new(text: String) -> Self {
        Self {
            text,
            is_one: |_| true,
            of: PhantomData,
        }
    }

    /// The same; of what lies there, `is_one` says by the key what is a `T`.
    pub(crate) fn only(self, is_one: fn(&str) -> bool) -> Self {
        Self { is_one, ..self }
    }

    /// The key of an object that was listed; none: it is elsewhere, or of another type.
    #[must_use]
    pub fn key_of(&self, listed: &str) -> Option<Key<K, T>> {
        let is_here = listed.starts_with(&self.text) && (self.is_one)(listed);
        is_here.then(|| Key::new(listed.to_owned()))
    }
}

impl<K, T> Deref for Key<K, T> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl<K, T> Deref for Prefix<K, T> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl<K, T> fmt::Display for Key<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K, T> fmt::Display for Prefix<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K, T> fmt::Debug for Key<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

// Derived, these would ask the same of `T`.
impl<K, T> Clone for Key<K, T> {
    fn clone(&self) -> Self {
        Self::new(self.text.clone())
    }
}

impl<K, T> PartialEq for Key<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<K, T> Eq for Key<K, T> {}

impl<K, T> PartialOrd for Key<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K, T> Ord for Key<K, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl<K, T> Hash for Key<K, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<K, T> From<Key<K, T>> for String {
    fn from(key: Key<K, T>) -> Self {
        key.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_has_a_key_under_its_own_prefix_only() {
        let prefix: WorkPrefix<i64> = Prefix::new("work/a/".to_owned());
        let prefix = prefix.only(|key| !key.ends_with(".end.json"));
        let key = prefix.key_of("work/a/1.json").unwrap();
        assert_eq!(key.as_str(), "work/a/1.json");
        for other in ["work/b/1.json", "work/a/1.end.json", ""] {
            assert_eq!(prefix.key_of(other), None, "{other}");
        }
    }
}
