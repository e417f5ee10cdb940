//! What runs in a Job beside a workspace volume (docs/design.md#volumes): it has no
//! access to Kubernetes and no credentials of storage, and speaks with the
//! gateway alone ([`wire`]).
//!
//! Collecting: [`globs`] say which files, [`walk`] finds them, [`read`] reads each
//! as one and the same file, [`collect`] brings them to the gateway. Delivering:
//! [`deliver`] asks what was approved, and [`place`] writes each file. Both stay
//! [`beneath`] their folder.

pub mod collect;
pub mod deliver;
mod globs;
mod place;
mod read;
#[cfg(test)]
mod testing;
mod walk;
pub mod wire;

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use trevor_core::texts;

/// A path that somebody else chose, safe to print, whatever bytes it has.
fn shown(path: &Path) -> String {
    let mut line = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        line.push_str(chunk.valid());
        for byte in chunk.invalid() {
            line.push_str(&format!("\\x{byte:02x}"));
        }
    }
    texts::harmless_line(&line, 600)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn any_name_prints_as_one_line_of_text() {
        for (name, expected) in [
            (b"a/b.csv".as_slice(), "a/b.csv"),
            ("é".as_bytes(), "é"),
            (b"a\xffb", "a\\xffb"),
            (b"a\nb\x1b[2J", "a\\nb\\u{1b}[2J"),
        ] {
            assert_eq!(shown(Path::new(OsStr::from_bytes(name))), expected);
        }
    }
}
