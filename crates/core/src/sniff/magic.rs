//! Signatures: what machines run, and the formats that research is kept in.

/// A magic number: its word, where it is, and its bytes.
type Magic = (&'static str, usize, &'static [u8]);

/// What machines run. None of them is text.
pub(super) const PROGRAMS: &[Magic] = &[
    ("mach-o", 0, b"\xfe\xed\xfa\xce"),
    ("mach-o", 0, b"\xfe\xed\xfa\xcf"),
    ("mach-o", 0, b"\xce\xfa\xed\xfe"),
    ("mach-o", 0, b"\xcf\xfa\xed\xfe"),
    // A Java class, or Mach-O for several machines.
    ("java-class", 0, b"\xca\xfe\xba\xbe"),
    ("wasm", 0, b"\0asm\x01\0\0\0"),
    ("llvm-bitcode", 0, b"BC\xc0\xde"),
    ("llvm-bitcode", 0, b"\xde\xc0\x17\x0b"),
    ("lua-bytecode", 0, b"\x1bLua"),
    ("lua-bytecode", 0, b"\x1bLJ"),
    ("object-archive", 0, b"!<arch>\n"),
    ("rpm", 0, b"\xed\xab\xee\xdb"),
    (
        "windows-shortcut",
        0,
        b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0",
    ),
];

/// Formats whose magic number no text begins with, or which is too long for chance.
const FORMATS: &[Magic] = &[
    ("png", 0, b"\x89PNG\r\n\x1a\n"),
    ("jpeg", 0, b"\xff\xd8\xff"),
    ("tiff", 0, b"II*\0"),
    ("tiff", 0, b"MM\0*"),
    ("tiff", 0, b"II+\0"),
    ("tiff", 0, b"MM\0+"),
    ("pdf", 0, b"%PDF-"),
    ("postscript", 0, b"%!PS-Adobe"),
    ("postscript", 0, b"\xc5\xd0\xd3\xc6"),
    ("rtf", 0, b"{\\rtf"),
    ("zip", 0, b"PK\x03\x04"),
    ("zip", 0, b"PK\x05\x06"),
    ("zip", 0, b"PK\x07\x08"),
    ("gzip", 0, b"\x1f\x8b\x08"),
    ("xz", 0, b"\xfd7zXZ\0"),
    ("zstd", 0, b"\x28\xb5\x2f\xfd"),
    ("lz4", 0, b"\x04\x22\x4d\x18"),
    ("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    ("rar", 0, b"Rar!\x1a\x07"),
    ("ole", 0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("hdf5", 0, b"\x89HDF\r\n\x1a\n"),
    ("matlab", 0, b"MATLAB 5.0 MAT-file"),
    ("matlab", 0, b"MATLAB 7.3 MAT-file"),
    ("hdf5", 512, b"\x89HDF\r\n\x1a\n"),
    ("hdf5", 1024, b"\x89HDF\r\n\x1a\n"),
    ("hdf5", 2048, b"\x89HDF\r\n\x1a\n"),
    ("netcdf", 0, b"CDF\x01"),
    ("netcdf", 0, b"CDF\x02"),
    ("netcdf", 0, b"CDF\x05"),
    ("npy", 0, b"\x93NUMPY"),
    ("sqlite", 0, b"SQLite format 3\0"),
    ("arrow", 0, b"ARROW1\0\0"),
    ("avro", 0, b"Obj\x01"),
    ("matroska", 0, b"\x1a\x45\xdf\xa3"),
    (
        "sas",
        12,
        b"\xc2\xea\x81\x60\xb3\x14\x11\xcf\xbd\x92\x08\0\x09\xc7\x31\x8c",
    ),
    (
        "sas-catalog",
        12,
        b"\xc2\xea\x81\x63\xb3\x14\x11\xcf\xbd\x92\x08\0\x09\xc7\x31\x8c",
    ),
    (
        "sas-xport",
        0,
        b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!",
    ),
    (
        "sas-xport",
        0,
        b"HEADER RECORD*******LIBV8   HEADER RECORD!!!!!!!",
    ),
    ("spss", 0, b"$FL2@(#)"),
    ("spss", 0, b"$FL3@(#)"),
    ("stata", 0, b"<stata_dta><header><release>"),
    ("fits", 0, b"SIMPLE  =                    T"),
    ("nifti", 4, b"n+2\0\r\n\x1a\n"),
    ("nifti", 4, b"ni2\0\r\n\x1a\n"),
    ("plink-bed", 0, b"\x6c\x1b\x01"),
    ("plink-bed", 0, b"\x6c\x1b\0"),
    ("plink-pgen", 0, b"\x6c\x1b\x02"),
    ("plink-pgen", 0, b"\x6c\x1b\x10"),
    ("shapefile", 0, b"\0\0\x27\x0a\0\0\0\0"),
];

/// Formats whose magic number could begin a text, and does not when all is text.
const FORMATS_NOT_TEXT: &[Magic] = &[
    ("gif", 0, b"GIF87a"),
    ("gif", 0, b"GIF89a"),
    ("tar", 257, b"ustar"),
    ("parquet", 0, b"PAR1"),
    ("parquet", 0, b"PARE"),
    ("feather", 0, b"FEA1"),
    ("orc", 0, b"ORC"),
    ("dicom", 128, b"DICM"),
    ("mp4", 4, b"ftyp"),
    ("ogg", 0, b"OggS"),
    ("flac", 0, b"fLaC"),
    ("mp3", 0, b"ID3"),
    ("bgen", 16, b"bgen"),
    ("cram", 0, b"CRAM"),
    ("grib", 0, b"GRIB"),
    ("gguf", 0, b"GGUF"),
];

fn first(table: &[Magic], head: &[u8]) -> Option<&'static str> {
    let found = table.iter().find(|(_, at, magic)| {
        head.get(*at..)
            .is_some_and(|there| there.starts_with(magic))
    });
    found.map(|(word, ..)| *word)
}

/// A program, if it is one and no text.
pub(super) fn program(head: &[u8]) -> Option<&'static str> {
    first(PROGRAMS, head)
}

/// A format, whatever follows.
pub(super) fn format(head: &[u8]) -> Option<&'static str> {
    // BZip2 has a digit for its block size before the magic number of a block or the end.
    first(FORMATS, head).or(match head {
        [
            b'B',
            b'Z',
            b'h',
            b'1'..=b'9',
            b'1',
            b'A',
            b'Y',
            b'&',
            b'S',
            b'Y',
            ..,
        ]
        | [
            b'B',
            b'Z',
            b'h',
            b'1'..=b'9',
            0x17,
            0x72,
            0x45,
            0x38,
            0x50,
            0x90,
            ..,
        ] => Some("bzip2"),
        _ => None,
    })
}

/// A format, where not all is text.
pub(super) fn format_not_text(head: &[u8]) -> Option<&'static str> {
    // Stata's own files beside data: graphs, estimates, libraries.
    if let Some(rest) = head.strip_prefix(b"StataFileTM:") {
        let start = rest.get(..64.min(rest.len())).unwrap_or(rest);
        let graph = start.windows(3).any(|three| three == b"GPH");
        return Some(if graph { "stata-graph" } else { "stata-other" });
    }
    let riff = head.strip_prefix(b"RIFF").and_then(|rest| rest.get(4..8));
    match riff {
        Some(b"WEBP") => return Some("webp"),
        Some(b"WAVE") => return Some("wav"),
        Some(b"AVI ") => return Some("avi"),
        _ => {}
    }
    first(FORMATS_NOT_TEXT, head).or_else(|| by_header(head))
}

/// Formats that are known by fields of their headers.
fn by_header(head: &[u8]) -> Option<&'static str> {
    match head {
        // Stata before 13: release, order of bytes, type of file, nothing.
        [0x66..=0x73, 1 | 2, 1, 0, ..] => Some("stata"),
        // ONNX: the version of its format, then another field of the model.
        [
            0x08,
            1..=20,
            0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42,
            ..,
        ] => Some("onnx"),
        // Pickle: its protocol, then an instruction.
        [0x80, 2..=5, 0x95, _, _, _, _, _, _, 0, ..] => Some("pickle"),
        [
            0x80,
            2 | 3,
            b'(' | b']' | b'}' | b'c' | b'X' | b'K' | b'M' | b'J' | b'G' | b'N' | b')' | 0x8a
            | b'U' | b'C',
            ..,
        ] => Some("pickle"),
        [
            0x80,
            4 | 5,
            b'K' | b'M' | b'J' | b'G' | b'N' | b')' | b']' | b'}' | 0x88 | 0x89 | 0x8a,
            ..,
        ] => Some("pickle"),
        [b'}' | b']' | b'(', b'q', 0, ..] => Some("pickle"),
        // A stream of Arrow: a mark, and the length of the first message.
        [0xff, 0xff, 0xff, 0xff, _, _, 0..=15, 0, _, 0, ..] => Some("arrow-stream"),
        // Safetensors: the length of a JSON object, and it.
        [_, _, _, 0..=6, 0, 0, 0, 0, b'{', b'"' | b' ' | b'}', ..] => Some("safetensors"),
        // A bitmap: nothing where that is reserved, and the size of its second header.
        [
            b'B',
            b'M',
            _,
            _,
            _,
            _,
            0,
            0,
            0,
            0,
            _,
            _,
            0,
            0,
            12 | 40 | 52 | 56 | 64 | 108 | 124,
            0,
            0,
            0,
            ..,
        ] => Some("bmp"),
        _ if is_nifti(head) => Some("nifti"),
        _ if is_matlab_4(head) => Some("matlab"),
        _ => None,
    }
}

fn word(head: &[u8], at: usize) -> Option<u32> {
    let bytes = head.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The size of the header in either order, and the magic number at its end.
fn is_nifti(head: &[u8]) -> bool {
    let magic = head.get(344..348);
    let size = word(head, 0);
    let sized = size == Some(348) || size == Some(348_u32.swap_bytes());
    sized && magic.is_some_and(|m| matches!(m, b"n+1\0" | b"ni1\0"))
}

/// Type, rows, columns, whether complex, and a name that ends in NUL.
fn is_matlab_4(head: &[u8]) -> bool {
    let number = |at: usize, swap: bool| {
        let n = word(head, at)?;
        Some(if swap { n.swap_bytes() } else { n })
    };
    [false, true].into_iter().any(|swap| {
        let fields = (|| {
            Some((
                number(0, swap)?,
                number(4, swap)?,
                number(8, swap)?,
                number(12, swap)?,
                number(16, swap)?,
            ))
        })();
        let Some((kind, rows, columns, complex, name)) = fields else {
            return false;
        };
        let digits = [kind / 1000, kind / 100 % 10, kind / 10 % 10, kind % 10];
        let [order, zero, precision, matrix] = digits;
        let plausible = order == u32::from(swap)
            && zero == 0
            && precision <= 5
            && matrix <= 2
            && rows < 1 << 28
            && columns < 1 << 28
            && complex <= 1
            && (2..=64).contains(&name);
        let end = 20 + usize::try_from(name).unwrap_or(0);
        plausible
            && head.get(20..end).is_some_and(|name| match name {
                [letters @ .., 0] => letters
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || *b == b'_'),
                _ => false,
            })
    })
}
