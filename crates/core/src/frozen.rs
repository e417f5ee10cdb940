//! A frozen round is its stored bytes: read once, hashed once, shared. Their SHA-256 is
//! the digest that reviews name, whatever of them this version knows.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use super::canonical;
use super::commit::Freeze;
use super::digest::Sha256Hex;
use super::format::{self, Fact};
use super::manifest::{Frozen, Manifest, ManifestFile};

/// `manifest.json` as it is stored. Cheap to clone.
#[derive(Clone)]
pub struct FrozenRound(Arc<Inner>);

struct Inner {
    bytes: Bytes,
    digest: Sha256Hex,
    freeze: Freeze,
}

impl FrozenRound {
    /// Of what is about to be stored.
    ///
    /// # Errors
    /// When it cannot be written, which it has no reason to.
    pub fn of(freeze: Freeze) -> serde_json::Result<Self> {
        let bytes = Bytes::from(canonical::to_vec(&freeze)?);
        Ok(Self::with(bytes, freeze))
    }

    fn with(bytes: Bytes, freeze: Freeze) -> Self {
        Self(Arc::new(Inner {
            digest: Sha256Hex::of(&bytes),
            bytes,
            freeze,
        }))
    }

    /// The bytes as stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Their SHA-256: for a manifest, the digest that reviews name.
    #[must_use]
    pub fn digest(&self) -> &Sha256Hex {
        &self.0.digest
    }

    /// The manifest, if the round was not refused.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.0.freeze {
            Freeze::Manifest(manifest) => Some(manifest),
            Freeze::Refusal(_) => None,
        }
    }

    /// The manifest with its digest, if the round was not refused.
    #[must_use]
    pub fn frozen(&self) -> Option<Frozen> {
        match &self.0.freeze {
            Freeze::Manifest(manifest) => Some(Frozen {
                manifest: Arc::clone(manifest),
                digest: self.0.digest.clone(),
            }),
            Freeze::Refusal(_) => None,
        }
    }

    /// A file of the manifest.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&ManifestFile> {
        let mut files = self.manifest()?.files.iter();
        files.find(|f| f.path == path)
    }

    /// The version of a path that counted, in manifest or refusal; `same` tells
    /// whether a path is the one.
    #[must_use]
    pub fn version_of(&self, same: impl Fn(&str) -> bool) -> Option<&str> {
        match &self.0.freeze {
            Freeze::Manifest(manifest) => manifest
                .files
                .iter()
                .find(|f| same(&f.path))
                .map(|f| f.version.as_str()),
            Freeze::Refusal(refusal) => refusal
                .listing
                .iter()
                .find(|r| same(&r.path))
                .map(|r| r.version.as_str()),
        }
    }
}

impl Deref for FrozenRound {
    type Target = Freeze;

    fn deref(&self) -> &Freeze {
        &self.0.freeze
    }
}

impl PartialEq for FrozenRound {
    /// The same bytes.
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for FrozenRound {}

impl fmt::Debug for FrozenRound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrozenRound")
            .field("digest", &self.0.digest)
            .field("freeze", &self.0.freeze)
            .finish_non_exhaustive()
    }
}

impl Fact for FrozenRound {
    const FORMAT: u32 = Manifest::WITH_FOLDERS;

    fn format(&self, bytes: &Bytes) -> u32 {
        match &self.0.freeze {
            Freeze::Manifest(manifest) => manifest.format,
            Freeze::Refusal(_) => format::of(bytes),
        }
    }

    fn parse(bytes: &Bytes) -> serde_json::Result<Self> {
        let freeze = serde_json::from_slice(bytes)?;
        Ok(Self::with(bytes.clone(), freeze))
    }

    fn to_bytes(&self) -> serde_json::Result<Bytes> {
        Ok(self.0.bytes.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::examples;
    use crate::quorum::approve;

    fn stored() -> Value {
        let files = [examples::file("a.csv", "x"), examples::file("b.csv", "yz")];
        let mut manifest = examples::manifest(1, &files);
        manifest["kind"] = json!("Manifest");
        manifest
    }

    fn parsed(value: &Value) -> FrozenRound {
        FrozenRound::parse(&Bytes::from(canonical::to_vec(value).unwrap())).unwrap()
    }

    #[test]
    fn the_digest_of_what_is_written_is_that_of_its_canonical_bytes() {
        let frozen = examples::freeze(1, &[examples::file("a.csv", "x")]);
        let bytes = canonical::to_vec(&*frozen).unwrap();
        assert_eq!(*frozen.digest(), Sha256Hex::of(&bytes));
        assert_eq!(frozen.to_bytes().unwrap(), bytes);
        let read = FrozenRound::parse(&bytes.into()).unwrap();
        assert_eq!(read, frozen);
        assert_eq!(read.frozen().unwrap().digest, *frozen.digest());
        assert_eq!(read.manifest().unwrap().round, 1);
    }

    #[test]
    fn a_manifest_is_shared_and_not_copied() {
        let read = parsed(&stored());
        let (one, other) = (read.frozen().unwrap(), read.clone().frozen().unwrap());
        assert!(Arc::ptr_eq(&one.manifest, &other.manifest));
    }

    proptest! {
        /// A later version stored more than this one knows, anywhere in a manifest.
        #[test]
        fn fields_that_are_not_known_keep_the_digest_and_their_bytes(
            more in proptest::collection::btree_map("x-[a-z]{1,8}", ".{0,20}", 1..4),
            at in 0..3_usize,
        ) {
            let mut value = stored();
            let place = match at {
                0 => &mut value,
                1 => &mut value["files"][1],
                _ => &mut value["policy"],
            };
            let more: Map<String, Value> = more.into_iter().map(|(k, v)| (k, json!(v))).collect();
            place.as_object_mut().unwrap().extend(more);
            let bytes = Bytes::from(canonical::to_vec(&value).unwrap());
            let read = FrozenRound::parse(&bytes).unwrap();
            prop_assert_eq!(read.digest(), &Sha256Hex::of(&bytes));
            prop_assert_eq!(read.to_bytes().unwrap(), &bytes);
            let plain = parsed(&stored());
            prop_assert_ne!(read.digest(), plain.digest());
            // Reviews that name the digest of the stored bytes approve it.
            let frozen = read.frozen().unwrap();
            prop_assert_eq!(&frozen.digest, read.digest());
            let reviews = [examples::review("bob", "Approve", &frozen)];
            let decision = examples::decision("Approved", &frozen, &reviews);
            prop_assert!(approve(frozen, &decision).is_ok());
        }
    }
}
