//! What lies in a container whose first bytes only say how it is packed.

use std::io::Read as _;

use flate2::read::GzDecoder;

/// An entry of a zip: its name, and what follows its header.
fn entries(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let starts = head
        .windows(4)
        .enumerate()
        .filter(|(_, four)| *four == b"PK\x03\x04")
        .map(|(at, _)| at);
    starts.filter_map(|at| {
        let length = |offset: usize| {
            let bytes = head.get(at + offset..at + offset + 2)?;
            Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
        };
        let (name, extra) = (length(26)?, length(28)?);
        let begin = at + 30;
        let rest = head.get(begin + name + extra..).unwrap_or_default();
        Some((head.get(begin..begin + name)?, rest))
    })
}

const MIMETYPES: &[(&[u8], &str)] = &[
    (b"application/vnd.oasis.opendocument.spreadsheet", "ods"),
    (b"application/vnd.oasis.opendocument.text", "odt"),
    (b"application/vnd.oasis.opendocument.presentation", "odp"),
    (b"application/epub+zip", "epub"),
];

/// Which of the formats that are zips this is, by the entries that the head shows.
pub(super) fn zip(head: &[u8]) -> &'static str {
    let mut word = "zip";
    for (at, (name, rest)) in entries(head).enumerate() {
        if at == 0 && name == b"mimetype" {
            let known = MIMETYPES.iter().find(|(m, _)| rest.starts_with(m));
            return known.map_or("zip", |(_, word)| *word);
        }
        match name {
            _ if name.starts_with(b"word/") => return "docx",
            _ if name.starts_with(b"xl/") => return "xlsx",
            _ if name.starts_with(b"ppt/") => return "pptx",
            _ if at == 0 && name.ends_with(b".npy") => return "npz",
            _ if name.ends_with(b"/data.pkl") => return "torch",
            _ if at == 0 && name == b"doc.kml" => return "kmz",
            b"[Content_Types].xml" | b"_rels/.rels" => word = "ooxml",
            _ if name.starts_with(b"docProps/") => word = "ooxml",
            _ => {}
        }
    }
    word
}

/// What a gzip stream begins with, where that is a format of its own.
pub(super) fn gzip(head: &[u8]) -> &'static str {
    let mut start = [0; 16];
    let mut stream = GzDecoder::new(head);
    let mut length = 0;
    // A head that breaks off is no error of the file.
    while let Ok(read @ 1..) = stream.read(start.get_mut(length..).unwrap_or_default()) {
        length += read;
    }
    let start = start.get(..length).unwrap_or_default();
    match start {
        _ if is_r_data(start) => "r-data",
        [b'B', b'A', b'M', 1, ..] => "bam",
        [b'B', b'C', b'F', 2, ..] => "bcf",
        _ => "gzip",
    }
}

/// What `save` and `saveRDS` of R write, before compression.
pub(super) fn is_r_data(start: &[u8]) -> bool {
    matches!(
        start,
        [b'R', b'D', b'X' | b'A' | b'B', b'1'..=b'3', b'\n', ..]
            | [b'X', b'\n', 0, 0, 0, 2 | 3, ..]
            | [b'A', b'\n', b'2' | b'3', b'\n', ..]
            | [b'B', b'\n', 2 | 3, 0, 0, 0, ..]
    )
}
