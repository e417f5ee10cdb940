//! Paths of files, as resources name them.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// The form in which a path is stored: composed (NFC). Some systems, macOS among
/// them, give decomposed names, which look the same and mean the same file.
#[must_use]
pub fn normalise(path: &str) -> Cow<'_, str> {
    match is_nfc(path) {
        true => Cow::Borrowed(path),
        false => Cow::Owned(path.nfc().collect()),
    }
}
