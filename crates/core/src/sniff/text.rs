//! Whether bytes are text, and what kind of text.

use super::{HEAD, TEXT};

/// UTF-16 or UTF-32 with a byte order mark, or bytes without NUL and without
/// controls that no text has: UTF-8, Latin-1 and the other codes of the world.
pub(super) fn is_text(head: &[u8]) -> bool {
    is_wide_text(head) || !has_no_text(head)
}

/// Whether any byte is one that no text of one-byte units has. In blocks, so that
/// whole files can be looked at as they stream by.
pub(super) fn has_no_text(bytes: &[u8]) -> bool {
    bytes.chunks(256).any(|block| {
        let found = block.iter().fold(0_u8, |found, byte| {
            found | u8::from(is_no_text(u32::from(*byte)))
        });
        found != 0
    })
}

/// Controls beside white space, bell, backspace, escape, the end mark of DOS and the
/// separators of ASCII.
fn is_no_text(unit: u32) -> bool {
    matches!(unit, 0..=0x06 | 0x0e..=0x19)
}

pub(super) fn is_wide_text(head: &[u8]) -> bool {
    type Read = fn(&[u8]) -> u32;
    let little: Read = |unit| unit.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b));
    let big: Read = |unit| unit.iter().fold(0, |n, b| n << 8 | u32::from(*b));
    let (width, read): (usize, Read) = match head {
        [0xff, 0xfe, 0, 0, ..] => (4, little),
        [0, 0, 0xfe, 0xff, ..] => (4, big),
        [0xff, 0xfe, ..] => (2, little),
        [0xfe, 0xff, ..] => (2, big),
        _ => return false,
    };
    // What was cut off at the end of the head says nothing.
    let whole = head.len().is_multiple_of(width) || head.len() == HEAD;
    let units = head.chunks_exact(width).map(read);
    if width == 4 {
        return whole && units.into_iter().all(is_character);
    }
    let units = units.map(|unit| u16::try_from(unit).unwrap_or(0));
    let mut decoded = char::decode_utf16(units).peekable();
    while let Some(next) = decoded.next() {
        let fits = match next {
            Ok(c) => is_character(u32::from(c)),
            Err(_) => head.len() == HEAD && decoded.peek().is_none(),
        };
        if !fits {
            return false;
        }
    }
    whole
}

fn is_character(unit: u32) -> bool {
    char::from_u32(unit).is_some() && !is_no_text(unit) && unit & 0xfffe != 0xfffe
}

/// What kind of text it is, where its beginning says so.
pub(super) fn kind(head: &[u8]) -> &'static str {
    if is_wide_text(head) {
        return TEXT;
    }
    let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let start = start.trim_ascii_start();
    match start {
        [b'<', b'a'..=b'z' | b'A'..=b'Z' | b'!' | b'?', ..] => markup(start),
        [b'{', rest @ ..] if begins(rest, b"\"}") => "json",
        [b'[', rest @ ..] if begins(rest, b"{[\"") => "json",
        _ if is_portable_spss(head) => "spss-portable",
        _ if is_old_pickle(head) => "pickle",
        _ => TEXT,
    }
}

/// Whether the first byte that is no white space is one of these.
fn begins(rest: &[u8], with: &[u8]) -> bool {
    let first = rest.trim_ascii_start().first();
    first.is_some_and(|byte| with.contains(byte))
}

fn markup(start: &[u8]) -> &'static str {
    let start = start.get(..1024.min(start.len())).unwrap_or(start);
    let lower = start.to_ascii_lowercase();
    let has = |tag: &[u8]| lower.windows(tag.len()).any(|there| there == tag);
    if has(b"<!doctype html") || has(b"<html") {
        "html"
    } else if has(b"<svg") {
        "svg"
    } else {
        "xml"
    }
}

/// Names of its code pages in 200 characters, a table of 256, and its tag, in lines of 80.
fn is_portable_spss(head: &[u8]) -> bool {
    let unbroken = head.iter().filter(|byte| !matches!(byte, b'\r' | b'\n'));
    let start: Vec<u8> = unbroken.take(200 + 256 + 8).copied().collect();
    start.get(456..).is_some_and(|tag| tag == b"SPSSPORT")
}

/// Protocol 0 of pickle: a mark and a container, or a class by its module and name.
fn is_old_pickle(head: &[u8]) -> bool {
    let container = [&b"(dp"[..], b"(lp", b"(ip"].iter().any(|m| {
        let rest = head.strip_prefix(*m);
        rest.and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit)
    });
    container
        || [
            &b"ccopy_reg\n"[..],
            b"c__builtin__\n",
            b"ccopyreg\n",
            b"cbuiltins\n",
        ]
        .iter()
        .any(|class| head.starts_with(class))
}
