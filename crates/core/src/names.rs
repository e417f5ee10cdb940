//! Names of files: what is refused, and when two are the same.
//!
//! A name travels far: into object stores, a zip, and file systems of people we
//! never meet, some of which ignore case, compose accents differently or give
//! `con` and a trailing dot a meaning. So a name is refused at the door unless
//! it means the same file everywhere, and two names are the same when any of
//! those systems would say so ([`folded`]).

use std::collections::HashMap;

pub use trevor_api::paths::normalise;
use unicode_case_mapping::case_folded;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use super::digest::Sha256Hex;
use super::texts;

/// Name of what belongs to a request: its own, cut to 40, and 8 digits of a hash of
/// its uid (docs/reference/resources.md#derived-names).
#[must_use]
pub fn derived(name: &str, uid: &str) -> String {
    let cut: String = name.chars().take(40).collect();
    format!(
        "{}-{}",
        cut.trim_end_matches(['-', '.']),
        Sha256Hex::of(uid.as_bytes()).short(8)
    )
}

/// Bytes that a path may have.
pub const MAX_BYTES: usize = 512;
/// Bytes that a segment of a path may have: file systems of Linux take no more.
pub const MAX_SEGMENT_BYTES: usize = 255;
/// UTF-16 units of a path that Windows opens without further ado (`MAX_PATH`).
pub const MAX_WINDOWS: usize = 260;

/// Why a path is refused, and what to do. Messages repeat nothing of the name
/// but what is harmless to print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum NameError {
    #[error("the path is empty; give the file a name")]
    Empty,
    #[error("the path has {bytes} bytes; at most {MAX_BYTES} are allowed: shorten it")]
    TooLong { bytes: usize },
    #[error("the path begins with '/'; make it relative")]
    Absolute,
    #[error("the path has an empty segment ('//' or a '/' at its end); remove it")]
    EmptySegment,
    #[error("the path has a segment '{0}'; write the path without it")]
    Dots(&'static str),
    #[error("the path has a backslash; separate folders by '/'")]
    Backslash,
    #[error(
        "the path has a segment of {bytes} bytes in UTF-8; file systems take at most {MAX_SEGMENT_BYTES}: shorten the name"
    )]
    SegmentTooLong { bytes: usize },
    #[error("the path has the character {0}, which cannot be seen or misleads; remove it")]
    Invisible(String),
    #[error(
        "the path has the character {0}, which is allowed only between letters of a script that is spelled with it (Arabic, Persian, Hindi and the like); remove it"
    )]
    Joiner(String),
    #[error("a segment has a '/', which separates folders; replace it")]
    Slash,
    #[error(
        "the path has characters that many systems replace by plain ones (Unicode's form NFKC), such as fullwidth letters, and so it would be refused: {0}"
    )]
    Compatibility(Box<NameError>),
    #[error("the path has the character '{0}', which Windows cannot store; replace it")]
    Windows(char),
    #[error("'{0}' is a reserved name on Windows; rename it")]
    Reserved(String),
    #[error("'{0}' ends in a dot or a space, which Windows drops; rename it")]
    TrailingDotOrSpace(String),
    #[error(
        "names that begin with 'ro-crate-' are reserved for the package's own files; rename it"
    )]
    RoCrate,
    #[error("the path is not in Unicode's composed form (NFC); rename it in that form")]
    NotNfc,
}

/// Why a set of paths cannot be stored together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Two paths are the same file for some file system.
    #[error(
        "'{}' and '{}' are the same name where case or form is ignored; rename one",
        shown(.0), shown(.1)
    )]
    Same(String, String),
    /// A path is a file, and a folder of another path.
    #[error("'{}' is a file, and a folder of '{}'; rename one", shown(.0), shown(.1))]
    FileAndFolder(String, String),
}

fn shown(name: &str) -> String {
    texts::harmless_line(name, 120)
}

/// The form in which two names that would meet on some file system are equal:
/// composed (NFC), without case by Unicode's simple case folding, and without the
/// joiners of [`texts::is_joiner`]. Simple folding maps one character to one, as file
/// systems do: `I` and `i` meet, and the dotless `ı` of Turkish meets neither.
#[must_use]
pub fn folded(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    let simple = |c: char| {
        let folded = case_folded(c).and_then(|to| char::from_u32(to.get()));
        folded.unwrap_or(c)
    };
    // Decomposed first: the marks of some letters fold to letters themselves.
    let decomposed = path.nfd().filter(|c| !texts::is_joiner(*c));
    decomposed.map(simple).nfc().collect()
}

/// The form of a path that is hashed into the keys of stored objects (receipts, the
/// index, upload plans). It must never change, or what is stored would not be found.
/// It is coarser than [`folded`]: it also maps `ß` to `ss` and `ı` to `i`, so that
/// different names can share a key's folder, and whoever reads there compares paths.
///
/// One kind of name is an exception, which cannot be mended for the sake of what is stored: a
/// Greek letter with an iota below and a further mark that is no part of it (U+1FF2 U+1E8D0)
/// has another form than its spelling with an iota behind the mark. Such names are refused side
/// by side by [`check_set`], which goes by [`folded`].
#[must_use]
pub fn stored_form(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    // Upper case first, so that "ß" and "SS", or the sigmas, meet; by character,
    // so that no character depends on its neighbours. Few need a second turn.
    let once = |text: &str| -> String {
        text.nfc()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .nfc()
            .collect()
    };
    let plain: String = path.chars().filter(|c| !texts::is_joiner(*c)).collect();
    let mut form = once(&plain);
    for _ in 0..3 {
        let again = once(&form);
        if again == form {
            break;
        }
        form = again;
    }
    form
}

/// What to tell of a path that Windows is likely to skip when it unpacks the package.
/// It is no error: other systems take it, and so does Windows with long paths enabled.
#[must_use]
pub fn too_long_for_windows(path: &str) -> Option<String> {
    let units = path.encode_utf16().count();
    (units > MAX_WINDOWS).then(|| {
        format!(
            "the path has {units} characters, and Windows skips files with paths of more than {MAX_WINDOWS} when it unpacks; shorten it"
        )
    })
}

/// The folders of a path, outermost first: `a/b/c` lies in `a` and `a/b`.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at))
}

/// Checks the path of one file.
///
/// # Errors
/// When it breaks a rule; the first broken one is named.
pub fn check_file(path: &str) -> Result<(), NameError> {
    if path.is_empty() {
        return Err(NameError::Empty);
    }
    if path.len() > MAX_BYTES {
        return Err(NameError::TooLong { bytes: path.len() });
    }
    if path.starts_with('/') {
        return Err(NameError::Absolute);
    }
    check_characters(path)?;
    if !is_nfc(path) {
        return Err(NameError::NotNfc);
    }
    path.split('/').try_for_each(check_segment)?;
    check_compatibility(path)
}

fn check_characters(path: &str) -> Result<(), NameError> {
    for c in path.chars() {
        match c {
            '\\' => return Err(NameError::Backslash),
            '<' | '>' | ':' | '"' | '|' | '?' | '*' => return Err(NameError::Windows(c)),
            _ => {}
        }
    }
    match texts::refused(path).next() {
        Some((_, c)) if texts::is_joiner(c) => Err(NameError::Joiner(texts::shown(c))),
        Some((_, c)) => Err(NameError::Invisible(texts::shown(c))),
        None => Ok(()),
    }
}

fn check_segment(segment: &str) -> Result<(), NameError> {
    match segment {
        "" => return Err(NameError::EmptySegment),
        "." => return Err(NameError::Dots(".")),
        ".." => return Err(NameError::Dots("..")),
        _ => {}
    }
    if segment.len() > MAX_SEGMENT_BYTES {
        return Err(NameError::SegmentTooLong {
            bytes: segment.len(),
        });
    }
    if segment.ends_with(['.', ' ']) {
        return Err(NameError::TrailingDotOrSpace(shown(segment)));
    }
    if is_reserved_on_windows(segment) {
        return Err(NameError::Reserved(shown(segment)));
    }
    if folded(segment).starts_with("ro-crate-") {
        return Err(NameError::RoCrate);
    }
    Ok(())
}

/// Many systems replace compatibility characters by plain ones (NFKC), so that a
/// fullwidth dot becomes a dot: what would be refused in that form is refused.
fn check_compatibility(path: &str) -> Result<(), NameError> {
    if path.is_ascii() {
        return Ok(());
    }
    let mut bytes = 0;
    for segment in path.split('/') {
        let form: String = segment.nfkc().collect();
        bytes += form.len() + 1;
        if form != segment {
            check_compatible(&form).map_err(|e| NameError::Compatibility(Box::new(e)))?;
        }
    }
    let bytes = bytes.saturating_sub(1);
    match bytes > MAX_BYTES {
        true => Err(NameError::Compatibility(Box::new(NameError::TooLong {
            bytes,
        }))),
        false => Ok(()),
    }
}

fn check_compatible(segment: &str) -> Result<(), NameError> {
    if segment.contains('/') {
        return Err(NameError::Slash);
    }
    check_characters(segment)?;
    check_segment(segment)
}

/// Device names, with any extension; Windows also reads `com¹` as `com1`, and
/// drops spaces between the name and its extension.
fn is_reserved_on_windows(segment: &str) -> bool {
    let stem = segment
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end_matches(' ');
    let stem = folded(stem);
    if matches!(
        stem.as_str(),
        "con" | "prn" | "aux" | "nul" | "conin$" | "conout$"
    ) {
        return true;
    }
    let port = stem
        .strip_prefix("com")
        .or_else(|| stem.strip_prefix("lpt"));
    let mut digits = port.unwrap_or_default().chars();
    matches!(
        (digits.next(), digits.next()),
        (Some('0'..='9' | '¹' | '²' | '³'), None)
    )
}

/// Checks that paths, each of which passes [`check_file`], can be stored together.
///
/// # Errors
/// When two are the same once [`folded`], or one is a file where another needs
/// a folder.
pub fn check_set<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<(), SetError> {
    let mut files: HashMap<String, &str> = HashMap::new();
    for path in paths {
        if let Some(other) = files.insert(folded(path), path) {
            return Err(SetError::Same(other.to_owned(), path.to_owned()));
        }
    }
    // The first in order is named, whatever the order of the map.
    let clash = files.iter().flat_map(|(fold, path)| {
        ancestors(fold)
            .filter_map(|folder| files.get(folder))
            .map(move |file| (*file, *path))
    });
    match clash.min() {
        Some((file, within)) => Err(SetError::FileAndFolder(file.to_owned(), within.to_owned())),
        None => Ok(()),
    }
}

/// The package's file name: the request's name, which is a DNS name, and `.zip`.
#[must_use]
pub fn safe_zip_name(request: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let name: String = request.chars().filter(|c| kept(*c)).take(200).collect();
    let name = name.trim_matches(['.', '-']);
    match name {
        "" => "package.zip".to_owned(),
        name if is_reserved_on_windows(name) => format!("package-{name}.zip"),
        name => format!("{name}.zip"),
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
