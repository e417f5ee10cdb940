//! What the whole of a file says, beyond its first bytes: looked at as it streams by.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::text::{has_no_text, is_text, is_wide_text};
use super::{HEAD, promises_text};

const BINARY_LATER: &str = "binary-after-text";
const DATA_AFTER_END: &str = "data-after-end";

/// One word for what was noticed behind the first bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Remark(Cow<'static, str>);

impl Remark {
    /// The word.
    #[must_use]
    pub fn word(&self) -> &str {
        &self.0
    }

    /// What is told of a file of this name.
    pub(super) fn told(&self, path: &str) -> Option<String> {
        match self.word() {
            BINARY_LATER => promises_text(path)
                .then(|| format!("{path} is text at its beginning, and binary after that")),
            DATA_AFTER_END => Some(format!(
                "{path} goes on after the end of its image, so that no viewer shows all of it"
            )),
            _ => None,
        }
    }
}

/// Looks at the bytes of a file in order.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    head: Vec<u8>,
    state: State,
}

#[derive(Clone, Debug, Default)]
enum State {
    /// The first bytes are still to come.
    #[default]
    Head,
    Text {
        binary: bool,
    },
    Image(Image),
    Other,
}

impl Scan {
    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let missing = HEAD - self.head.len().min(HEAD);
        let (first, rest) = bytes.split_at(missing.min(bytes.len()));
        if matches!(self.state, State::Head) {
            self.head.extend_from_slice(first);
            if self.head.len() < HEAD {
                return;
            }
            self.begin();
        }
        self.go_on(rest);
    }

    /// What was noticed in the whole file.
    #[must_use]
    pub fn finish(mut self) -> Option<Remark> {
        if matches!(self.state, State::Head) {
            self.begin();
        }
        let word = match self.state {
            State::Text { binary: true } => BINARY_LATER,
            State::Image(image) if image.goes_on() => DATA_AFTER_END,
            _ => return None,
        };
        Some(Remark(Cow::Borrowed(word)))
    }

    fn begin(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.state = if head.starts_with(b"\x89PNG\r\n\x1a\n") {
            State::Image(Image::new(Step::Chunk, 8))
        } else if head.starts_with(b"\xff\xd8\xff") {
            State::Image(Image::new(Step::Marker, 2))
        } else if is_text(&head) && !is_wide_text(&head) {
            State::Text { binary: false }
        } else {
            State::Other
        };
        if let State::Image(image) = &mut self.state {
            image.update(&head);
        }
        // It is full: what comes is no head any more.
        self.head = head;
    }

    fn go_on(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Text { binary } => *binary = *binary || has_no_text(bytes),
            State::Image(image) => image.update(bytes),
            State::Head | State::Other => {}
        }
    }
}

/// Finds the end of a PNG or JPEG, chunk by chunk or segment by segment.
#[derive(Clone, Debug)]
struct Image {
    step: Step,
    /// Bytes until the step begins.
    skip: u64,
    /// What the step has of its own bytes.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// PNG: length and type of a chunk.
    Chunk,
    /// JPEG: a marker.
    Marker,
    /// JPEG: the length of a segment; whether scanned data follow it.
    Length { scan: bool },
    /// JPEG: scanned data, until a marker that does not belong to them.
    Scanned,
    /// The end was seen.
    Ended { more: bool },
    /// It is not what it seemed to be.
    Lost,
}

impl Image {
    fn new(step: Step, skip: u64) -> Self {
        Self {
            step,
            skip,
            held: Vec::new(),
        }
    }

    fn goes_on(&self) -> bool {
        self.step == Step::Ended { more: true }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX);
                let skipped = skipped.min(bytes.len());
                self.skip -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let wanted = match self.step {
                Step::Lost => return,
                Step::Ended { .. } => {
                    self.step = Step::Ended { more: true };
                    return;
                }
                Step::Scanned if self.held.is_empty() => {
                    let Some(at) = bytes.iter().position(|b| *b == 0xff) else {
                        return;
                    };
                    bytes = bytes.get(at..).unwrap_or_default();
                    2
                }
                Step::Chunk => 8,
                Step::Marker | Step::Length { .. } | Step::Scanned => 2,
            };
            let taken = (wanted - self.held.len()).min(bytes.len());
            let (mine, rest) = bytes.split_at(taken);
            self.held.extend_from_slice(mine);
            bytes = rest;
            if self.held.len() == wanted {
                let held = std::mem::take(&mut self.held);
                self.take(&held);
            }
        }
    }

    fn take(&mut self, held: &[u8]) {
        (self.step, self.skip) = match (self.step, held) {
            // The data, and the check sum after them.
            (Step::Chunk, [a, b, c, d, kind @ ..]) => {
                let length = u64::from(u32::from_be_bytes([*a, *b, *c, *d])) + 4;
                match kind {
                    b"IEND" => (Step::Ended { more: false }, length),
                    _ => (Step::Chunk, length),
                }
            }
            (Step::Marker, [0xff, 0xd9]) => (Step::Ended { more: false }, 0),
            (Step::Marker, [0xff, 0x01 | 0xd0..=0xd8]) => (Step::Marker, 0),
            (Step::Marker | Step::Scanned, [0xff, 0xff]) => {
                // Fill bytes: the marker may begin at the second.
                self.held = vec![0xff];
                (self.step, 0)
            }
            (Step::Marker, [0xff, 0xda]) => (Step::Length { scan: true }, 0),
            (Step::Marker, [0xff, _]) => (Step::Length { scan: false }, 0),
            (Step::Length { scan }, [a, b]) => {
                let next = if scan { Step::Scanned } else { Step::Marker };
                match u64::from(u16::from_be_bytes([*a, *b])).checked_sub(2) {
                    Some(rest) => (next, rest),
                    None => (Step::Lost, 0),
                }
            }
            (Step::Scanned, [0xff, 0x00 | 0xd0..=0xd7]) => (Step::Scanned, 0),
            (Step::Scanned, [0xff, 0xd9]) => (Step::Ended { more: false }, 0),
            (Step::Scanned, [0xff, 0xda]) => (Step::Length { scan: true }, 0),
            (Step::Scanned, [0xff, _]) => (Step::Length { scan: false }, 0),
            _ => (Step::Lost, 0),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remark(bytes: &[u8], piece: usize) -> Option<String> {
        let mut scan = Scan::default();
        for piece in bytes.chunks(piece.max(1)) {
            scan.update(piece);
        }
        scan.finish().map(|r| r.word().to_owned())
    }

    fn told(bytes: &[u8]) -> Option<String> {
        let whole = remark(bytes, bytes.len());
        for piece in [1, 7, HEAD - 1, HEAD, HEAD + 1] {
            assert_eq!(remark(bytes, piece), whole, "{piece}");
        }
        whole
    }

    fn png(data: usize) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, length) in [(b"IHDR", 13), (b"IDAT", data), (b"IEND", 0)] {
            bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
            bytes.extend(kind);
            bytes.extend(vec![0xff; length + 4]);
        }
        bytes
    }

    fn jpeg(data: usize) -> Vec<u8> {
        let mut bytes = b"\xff\xd8\xff\xe0\0\x06JFIF\xff\xff\xc0\0\x04\xff\xd9".to_vec();
        bytes.extend(b"\xff\xda\0\x03\x01");
        bytes.extend(b"\x12\xff\0\x34\xff\xd3".repeat(data));
        // Another scan, after a table between them.
        bytes.extend(b"\xff\xc4\0\x04\xff\xd9\xff\xda\0\x02\x55\xff\xd9");
        bytes
    }

    #[test]
    fn data_after_the_end_of_an_image_are_noticed() {
        for size in [0, 100, 3 * HEAD] {
            for whole in [png(size), jpeg(size)] {
                assert_eq!(told(&whole), None, "{size}");
                let more = [&whole[..], b"x"].concat();
                assert_eq!(told(&more).as_deref(), Some(DATA_AFTER_END), "{size}");
                let cut = &whole[..whole.len() - 1];
                assert_eq!(told(cut), None, "{size}");
            }
        }
        assert_eq!(told(b"\xff\xd8\xff\xe0\0\x01"), None);
    }

    #[test]
    fn text_that_turns_binary_is_noticed() {
        let text = b"a,b\n1,2\n".repeat(HEAD / 4);
        assert_eq!(told(&text), None);
        let later = [&text[..], b"\0\x01\x02"].concat();
        assert_eq!(told(&later).as_deref(), Some(BINARY_LATER));
        assert_eq!(told(&b"x".repeat(3)), None);
        // It is binary from the start, as the first bytes say.
        assert_eq!(told(b"a\0b"), None);
        let wide: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain(b"a\0".repeat(HEAD))
            .collect();
        assert_eq!(told(&wide), None);
    }

    #[test]
    fn what_is_told_depends_on_the_name_where_text_turns_binary() {
        let binary = Remark(Cow::Borrowed(BINARY_LATER));
        assert!(binary.told("t.csv").is_some());
        assert_eq!(binary.told("t.dat"), None);
        let unknown: Remark = serde_json::from_str("\"of-a-later-version\"").unwrap();
        assert_eq!(unknown.told("t.csv"), None);
    }
}
