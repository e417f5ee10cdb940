//! What a file is by its first bytes, against what its name says.
//!
//! A program under the name of a table is refused always. Where a policy lists
//! extensions, the content must be of the kind that the extension promises, for
//! the extensions that promise one. Ordinary data is never mistaken for a
//! program: a magic number of printable letters (`MZ`, `BM`, `ORC`) says nothing
//! of a file that is text all through.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Bytes at the start of a file that are looked at.
pub const HEAD: usize = 8 * 1024;

const EMPTY: &str = "empty";
const TEXT: &str = "text";
const SCRIPT: &str = "script";
const BINARY: &str = "binary";

/// One word for what the first bytes are: `empty`, `text`, `script`, a format such
/// as `png`, a kind of program such as `elf`, or `binary` for anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sniffed(Cow<'static, str>);

/// A magic number: its word, where it is, and its bytes.
type Magic = (&'static str, usize, &'static [u8]);

/// What machines run.
const PROGRAMS: &[Magic] = &[
    ("elf", 0, b"\x7fELF"),
    ("mach-o", 0, b"\xfe\xed\xfa\xce"),
    ("mach-o", 0, b"\xfe\xed\xfa\xcf"),
    ("mach-o", 0, b"\xce\xfa\xed\xfe"),
    ("mach-o", 0, b"\xcf\xfa\xed\xfe"),
    // A Java class, or Mach-O for several machines.
    ("java-class", 0, b"\xca\xfe\xba\xbe"),
    ("wasm", 0, b"\0asm"),
    ("dex", 0, b"dex\n0"),
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
    ("bzip2", 4, b"1AY&SY"),
    ("bzip2", 4, b"\x17\x72\x45\x38\x50\x90"),
    ("xz", 0, b"\xfd7zXZ\0"),
    ("zstd", 0, b"\x28\xb5\x2f\xfd"),
    ("lz4", 0, b"\x04\x22\x4d\x18"),
    ("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    ("rar", 0, b"Rar!\x1a\x07"),
    ("ole", 0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("hdf5", 0, b"\x89HDF\r\n\x1a\n"),
    ("hdf5", 512, b"\x89HDF\r\n\x1a\n"),
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
];

/// Formats whose magic number could begin a text, and does not when all is text.
const FORMATS_NOT_TEXT: &[Magic] = &[
    ("gif", 0, b"GIF87a"),
    ("gif", 0, b"GIF89a"),
    ("webp", 8, b"WEBP"),
    ("wav", 8, b"WAVE"),
    ("bmp", 0, b"BM"),
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
    ("spss", 0, b"$FL2"),
    ("spss", 0, b"$FL3"),
    ("r-data", 0, b"RDX"),
];

/// What an extension promises, for those whose formats are known by their bytes.
const PROMISES: &[(&[&str], &[&str])] = &[
    (&["png"], &["png"]),
    (&["jpg", "jpeg"], &["jpeg"]),
    (&["gif"], &["gif"]),
    (&["webp"], &["webp"]),
    (&["tif", "tiff"], &["tiff"]),
    (&["bmp"], &["bmp"]),
    (&["pdf"], &["pdf"]),
    (&["ps", "eps"], &["postscript"]),
    (&["rtf"], &["rtf"]),
    (
        &[
            "zip", "docx", "xlsx", "pptx", "odt", "ods", "odp", "epub", "npz", "kmz",
        ],
        &["zip"],
    ),
    (&["doc", "xls", "ppt"], &["ole"]),
    (&["gz", "tgz"], &["gzip"]),
    (&["bz2"], &["bzip2"]),
    (&["xz"], &["xz"]),
    (&["zst"], &["zstd"]),
    (&["7z"], &["7z"]),
    (&["rar"], &["rar"]),
    (&["tar"], &["tar"]),
    (&["parquet"], &["parquet"]),
    (&["feather"], &["arrow", "feather"]),
    (&["arrow"], &["arrow"]),
    (&["avro"], &["avro"]),
    (&["orc"], &["orc"]),
    (&["h5", "hdf5"], &["hdf5"]),
    (&["nc"], &["netcdf", "hdf5"]),
    (&["npy"], &["npy"]),
    (&["sqlite", "sqlite3"], &["sqlite"]),
    (&["sas7bdat"], &["sas"]),
    (&["sav"], &["spss"]),
    (&["dcm"], &["dicom"]),
    (&["mp4"], &["mp4"]),
    (
        &["rds", "rda", "rdata"],
        &["gzip", "bzip2", "xz", "zstd", "r-data", TEXT, BINARY],
    ),
    (
        &[
            "csv", "tsv", "tab", "txt", "md", "markdown", "json", "jsonl", "ndjson", "geojson",
            "jsonld", "xml", "html", "htm", "svg", "css", "yaml", "yml", "toml", "ini", "tex",
            "bib", "rst", "log", "sql", "ipynb", "vcf", "bed", "gff", "gtf", "fasta", "fastq",
            "nwk", "ttl",
        ],
        &[TEXT],
    ),
    // Code, which may name what runs it.
    (
        &[
            "r", "rmd", "qmd", "py", "jl", "do", "ado", "sas", "sps", "m", "sh", "js", "c", "h",
            "cpp", "hpp", "java", "stan", "pl", "ps1", "bat",
        ],
        &[TEXT, SCRIPT],
    ),
];

/// Extensions under which a program is where it says that it is.
const PROGRAM_NAMES: &[&str] = &[
    "a",
    "app",
    "appimage",
    "bc",
    "bin",
    "bundle",
    "class",
    "com",
    "cpl",
    "deb",
    "dex",
    "dll",
    "dylib",
    "efi",
    "elf",
    "exe",
    "ko",
    "lib",
    "lnk",
    "luac",
    "mexa64",
    "mexmaca64",
    "mexmaci64",
    "mexw64",
    "node",
    "o",
    "obj",
    "odex",
    "out",
    "pyc",
    "pyd",
    "rpm",
    "run",
    "scr",
    "so",
    "sys",
    "wasm",
];

/// Extensions of texts that may begin with `#!/…`. A name without one may, too.
const SCRIPT_NAMES: &[&str] = &[
    "ado", "awk", "bash", "cgi", "cjs", "command", "csh", "cwl", "do", "exp", "fish", "groovy",
    "jl", "js", "ksh", "kts", "lua", "m", "mjs", "nf", "php", "pl", "pm", "ps1", "py", "qmd", "r",
    "rb", "rmd", "rs", "run", "sas", "scala", "sed", "sh", "smk", "sps", "sql", "stan", "swift",
    "tcl", "ts", "yaml", "yml", "zsh",
];

/// What a file is by its first [`HEAD`] bytes, or all of it where it is shorter.
#[must_use]
pub fn sniff(head: &[u8]) -> Sniffed {
    let word = if head.is_empty() {
        EMPTY
    } else if let Some(word) = program(head) {
        word
    } else if is_script(head) {
        SCRIPT
    } else if let Some(word) = first(FORMATS, head) {
        word
    } else if is_text(head) {
        TEXT
    } else if is_late_pdf(head) {
        "pdf"
    } else {
        first(FORMATS_NOT_TEXT, head).unwrap_or(BINARY)
    };
    Sniffed(Cow::Borrowed(word))
}

impl Sniffed {
    /// The word.
    #[must_use]
    pub fn word(&self) -> &str {
        &self.0
    }

    /// Why this is a program under a name that hides it, if so. It is refused
    /// whatever the policy says.
    #[must_use]
    pub fn disguised(&self, path: &str) -> Option<String> {
        let extension = extension(path);
        if self.word() == SCRIPT {
            let says = extension.is_none_or(|e| listed(SCRIPT_NAMES, &e));
            return (!says).then(|| {
                format!("{path} begins like a script (#!/…), and its name does not say so; name it as what it is, or leave that line out")
            });
        }
        let is_program = self.word() == "pe"
            || self.word() == "python-bytecode"
            || PROGRAMS.iter().any(|(word, ..)| *word == self.word());
        let name = path.rsplit('/').next().unwrap_or(path);
        let says = extension.is_some_and(|e| listed(PROGRAM_NAMES, &e)) || name.contains(".so.");
        (is_program && !says).then(|| {
            format!(
                "{path} is a program ({}), and its name does not say so; leave it out, or name it as what it is",
                self.word()
            )
        })
    }

    /// Why this is not what the extension promises, if so.
    #[must_use]
    pub fn contradicts(&self, path: &str) -> Option<String> {
        let extension = extension(path)?;
        let (_, promised) = PROMISES.iter().find(|(e, _)| listed(e, &extension))?;
        if self.word() == EMPTY || promised.contains(&self.word()) {
            return None;
        }
        let hint = if promised.contains(&TEXT) && self.word() == BINARY {
            " (text is UTF-8, Latin-1 and the like, or UTF-16 with a byte order mark)"
        } else {
            ""
        };
        Some(format!(
            "{path} looks like {}, and a file named .{extension} is {}{hint}",
            self.word(),
            promised.join(" or ")
        ))
    }
}

fn listed(names: &[&str], extension: &str) -> bool {
    names.contains(&extension)
}

/// The last extension, in lower case.
fn extension(path: &str) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_lowercase())
}

fn first(table: &[Magic], head: &[u8]) -> Option<&'static str> {
    let found = table.iter().find(|(_, at, magic)| {
        head.get(*at..)
            .is_some_and(|there| there.starts_with(magic))
    });
    found.map(|(word, ..)| *word)
}

fn program(head: &[u8]) -> Option<&'static str> {
    if let Some(word) = first(PROGRAMS, head) {
        return Some(word);
    }
    if is_windows_program(head) {
        return Some("pe");
    }
    is_python_bytecode(head).then_some("python-bytecode")
}

/// `MZ` alone begins many texts. A program has its second header where the first
/// says, or, for DOS, a first header that adds up and is no text.
fn is_windows_program(head: &[u8]) -> bool {
    let word = |at: usize| {
        let bytes = head.get(at..at + 2)?;
        Some(u32::from(*bytes.first()?) | u32::from(*bytes.get(1)?) << 8)
    };
    if !head.starts_with(b"MZ") {
        return false;
    }
    let (Some(low), Some(high)) = (word(0x3c), word(0x3e)) else {
        return false;
    };
    let at = usize::try_from(high << 16 | low).unwrap_or(usize::MAX);
    if let Some(second) = head.get(at..)
        && [&b"PE\0\0"[..], b"NE", b"LE", b"LX"]
            .iter()
            .any(|magic| second.starts_with(magic))
    {
        return true;
    }
    let beyond = at >= head.len() && head.len() == HEAD && at < 16 << 20;
    let adds_up = word(2).is_some_and(|last| last < 512)
        && word(4).is_some_and(|pages| pages > 0)
        && word(8).is_some_and(|header| (2..0x1000).contains(&header));
    (beyond || adds_up) && !is_text(head)
}

/// `#!` and the path of what runs it; `#!` alone begins a comment.
fn is_script(head: &[u8]) -> bool {
    head.strip_prefix(b"#!")
        .map(<[u8]>::trim_ascii_start)
        .is_some_and(|rest| rest.starts_with(b"/"))
}

/// Two bytes of a version, `\r\n`, flags of 0 to 3.
fn is_python_bytecode(head: &[u8]) -> bool {
    let [low, high, b'\r', b'\n', flags, 0, 0, 0, ..] = head else {
        return false;
    };
    let version = u16::from(*low) | u16::from(*high) << 8;
    *flags <= 3 && (3000..4000).contains(&version)
}

/// Readers of PDF take one that begins within the first kilobyte.
fn is_late_pdf(head: &[u8]) -> bool {
    let start = head.get(..1024.min(head.len())).unwrap_or(head);
    start.windows(5).any(|five| five == b"%PDF-")
}

/// UTF-16 or UTF-32 with a byte order mark, or bytes without NUL and without
/// controls that no text has: UTF-8, Latin-1 and the other codes of the world.
fn is_text(head: &[u8]) -> bool {
    is_wide_text(head) || head.iter().all(|byte| !is_no_text(u32::from(*byte)))
}

/// Controls beside white space, bell, backspace, escape, the end mark of DOS and the
/// separators of ASCII.
fn is_no_text(unit: u32) -> bool {
    matches!(unit, 0..=0x06 | 0x0e..=0x19)
}

fn is_wide_text(head: &[u8]) -> bool {
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

#[cfg(test)]
#[path = "sniff_tests.rs"]
mod tests;
