//! What a file is by its first bytes, against what its name says.
//!
//! A program under the name of a table is refused always. Where a policy lists
//! extensions, the content must be of the kind that the extension promises, for
//! the extensions that promise one. Under every policy those who decide are told where
//! content and name contradict each other. Ordinary data is never mistaken for a
//! program: a magic number of printable letters (`MZ`, `BM`, `ORC`) says nothing
//! of a file that is text all through.

mod inside;
mod magic;
mod scan;
mod text;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use scan::{Remark, Scan};
use text::is_text;

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

/// What extensions promise, for those whose formats are known by their bytes: the words
/// that keep the promise, and those that are told of and not refused, since the format
/// is near enough, or its first bytes do not tell.
type Promise = (
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

const ZIPS: &[&str] = &[
    "zip", "ooxml", "docx", "xlsx", "pptx", "odt", "ods", "odp", "epub", "npz", "kmz", "torch",
];
const MARKUP: &[&str] = &["html", "xml", "svg"];
const TEXTS: &[&str] = &[TEXT, "html", "xml", "svg", "json"];
const MARKED_UP: &[&str] = &[
    TEXT,
    "html",
    "xml",
    "svg",
    "json",
    "spss-portable",
    "pickle",
];

const PROMISES: &[Promise] = &[
    (&["png"], &["png"], &[]),
    (&["jpg", "jpeg"], &["jpeg"], &[]),
    (&["gif"], &["gif"], &[]),
    (&["webp"], &["webp"], &[]),
    (&["tif", "tiff"], &["tiff"], &[]),
    (&["bmp"], &["bmp"], &[]),
    (&["pdf"], &["pdf"], &[]),
    (&["ps", "eps"], &["postscript"], &[]),
    (&["rtf"], &["rtf"], &[]),
    (&["zip"], ZIPS, &[]),
    (&["docx", "docm", "dotx"], &["docx", "ooxml"], ZIPS),
    (&["xlsx", "xlsm", "xlsb", "xltx"], &["xlsx", "ooxml"], ZIPS),
    (&["pptx", "pptm", "potx"], &["pptx", "ooxml"], ZIPS),
    (&["odt"], &["odt"], ZIPS),
    (&["ods"], &["ods"], ZIPS),
    (&["odp"], &["odp"], ZIPS),
    (&["epub"], &["epub"], ZIPS),
    (&["npz"], &["npz"], ZIPS),
    (&["kmz"], &["kmz", "zip"], ZIPS),
    (&["doc", "xls", "ppt"], &["ole"], &[]),
    (&["gz", "tgz"], &["gzip", "r-data", "bam", "bcf"], &[]),
    (&["bz2"], &["bzip2"], &[]),
    (&["xz"], &["xz"], &[]),
    (&["zst"], &["zstd"], &[]),
    (&["7z"], &["7z"], &[]),
    (&["rar"], &["rar"], &[]),
    (&["tar"], &["tar"], &[]),
    (&["parquet"], &["parquet"], &[]),
    (&["feather"], &["arrow", "feather"], &[]),
    (&["arrow", "ipc"], &["arrow", "arrow-stream"], &[]),
    (&["avro"], &["avro"], &[]),
    (&["orc"], &["orc"], &[]),
    (&["h5", "hdf5", "h5ad", "hdf", "loom"], &["hdf5"], &[]),
    (&["nc", "nc4"], &["netcdf", "hdf5"], &[]),
    (&["mat"], &["matlab", "hdf5"], &[]),
    (&["npy"], &["npy"], &[]),
    (&["sqlite", "sqlite3", "gpkg"], &["sqlite"], &[]),
    (&["sas7bdat"], &["sas"], &[]),
    (&["sas7bcat"], &["sas-catalog"], &[]),
    (&["xpt"], &["sas-xport"], &[]),
    (&["sav", "zsav"], &["spss"], &[]),
    (&["por"], &["spss-portable"], &[]),
    (&["dta"], &["stata"], &[]),
    (&["gph"], &["stata-graph"], &["stata-other", TEXT]),
    (&["dcm"], &["dicom"], &[]),
    (&["nii"], &["nifti"], &[]),
    (&["fits", "fit", "fts"], &["fits"], &[]),
    (&["onnx"], &["onnx"], &[]),
    (&["pkl", "pickle"], &["pickle"], &["torch"]),
    (&["pt", "pth"], &["torch", "pickle"], &["zip"]),
    (&["safetensors"], &["safetensors"], &[]),
    (&["gguf"], &["gguf"], &[]),
    (&["bam"], &["bam"], &["gzip"]),
    (&["bcf"], &["bcf"], &["gzip"]),
    (&["cram"], &["cram"], &[]),
    (&["bgen"], &["bgen"], &[]),
    (&["pgen"], &["plink-pgen"], &[]),
    (&["shp", "shx"], &["shapefile"], &[]),
    (&["mp4"], &["mp4"], &[]),
    (
        &["rds", "rda", "rdata"],
        &["r-data", "bzip2", "xz", "zstd"],
        &["gzip"],
    ),
    // Tables and sequences: text, and no markup.
    (
        &[
            "csv", "tsv", "tab", "psv", "vcf", "gff", "gtf", "fasta", "fastq", "nwk", "bim", "fam",
        ],
        &[TEXT],
        MARKED_UP,
    ),
    // Browser Extensible Data, or genotypes of PLINK.
    (&["bed"], &[TEXT, "plink-bed"], MARKED_UP),
    (
        &["json", "jsonl", "ndjson", "geojson", "jsonld", "ipynb"],
        &["json"],
        MARKED_UP,
    ),
    (&["xml", "svg"], MARKUP, MARKED_UP),
    (&["html", "htm"], &["html", "xml", "svg", TEXT], MARKED_UP),
    (
        &[
            "txt", "md", "markdown", "css", "yaml", "yml", "toml", "ini", "tex", "bib", "rst",
            "log", "sql", "ttl",
        ],
        TEXTS,
        MARKED_UP,
    ),
    // Code, which may name what runs it.
    (
        &[
            "r", "rmd", "qmd", "py", "jl", "do", "ado", "sas", "sps", "m", "sh", "js", "c", "h",
            "cpp", "hpp", "java", "stan", "pl", "ps1", "bat",
        ],
        &[TEXT, SCRIPT, "html", "xml", "svg", "json"],
        MARKED_UP,
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
    let text = is_text(head);
    let word = if head.is_empty() {
        EMPTY
    } else if let Some(word) = program(head, text) {
        word
    } else if is_script(head) {
        SCRIPT
    } else if let Some(word) = magic::format(head) {
        match word {
            "zip" => inside::zip(head),
            "gzip" => inside::gzip(head),
            word => word,
        }
    } else if inside::is_r_data(head) {
        "r-data"
    } else if text {
        text::kind(head)
    } else if is_late_pdf(head) {
        "pdf"
    } else {
        magic::format_not_text(head).unwrap_or(BINARY)
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
        let others = ["pe", "python-bytecode", "elf", "dex"];
        let is_program = others.contains(&self.word())
            || magic::PROGRAMS
                .iter()
                .any(|(word, ..)| *word == self.word());
        let name = path.rsplit('/').next().unwrap_or(path);
        let says = extension.is_some_and(|e| listed(PROGRAM_NAMES, &e)) || name.contains(".so.");
        (is_program && !says).then(|| {
            format!(
                "{path} is a program ({}), and its name does not say so; leave it out, or name it as what it is",
                self.word()
            )
        })
    }

    /// Why this is not what the extension promises, if so: what is refused where the
    /// policy lists extensions.
    #[must_use]
    pub fn contradicts(&self, path: &str) -> Option<String> {
        self.against(path, |(_, kept, near)| {
            kept.contains(&self.word()) || near.contains(&self.word())
        })
    }

    /// What those who decide are told where this is not what the extension promises,
    /// whatever the policy says.
    #[must_use]
    pub fn looks(&self, path: &str) -> Option<String> {
        self.against(path, |(_, kept, _)| kept.contains(&self.word()))
    }

    fn against(&self, path: &str, keeps: impl Fn(&Promise) -> bool) -> Option<String> {
        let extension = extension(path)?;
        let promise = PROMISES.iter().find(|(e, ..)| listed(e, &extension))?;
        if self.word() == EMPTY || keeps(promise) {
            return None;
        }
        let promised = promise.1;
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

/// Whether an extension promises text.
fn promises_text(path: &str) -> bool {
    extension(path).is_some_and(|extension| {
        let promise = PROMISES.iter().find(|(e, ..)| listed(e, &extension));
        promise.is_some_and(|(_, kept, near)| kept.contains(&TEXT) || near.contains(&TEXT))
    })
}

/// What those who decide are told of a file: that it is not what its name says, that its
/// content holds more than it seems to, or that some readers will not get it.
#[must_use]
pub fn warnings(path: &str, sniffed: Option<&Sniffed>, remark: Option<&Remark>) -> Vec<String> {
    let looks = sniffed.and_then(|s| s.looks(path));
    let remark = remark.and_then(|r| r.told(path));
    let long = super::names::too_long_for_windows(path);
    looks.into_iter().chain(remark).chain(long).collect()
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

fn program(head: &[u8], text: bool) -> Option<&'static str> {
    if is_elf(head) {
        return Some("elf");
    }
    if is_windows_program(head) {
        return Some("pe");
    }
    if text {
        return None;
    }
    if let [
        b'd',
        b'e',
        b'x',
        b'\n',
        b'0'..=b'9',
        b'0'..=b'9',
        b'0'..=b'9',
        0,
        ..,
    ] = head
    {
        return Some("dex");
    }
    let bytecode = || is_python_bytecode(head).then_some("python-bytecode");
    magic::program(head).or_else(bytecode)
}

/// The magic number alone, or with a class and an order of bytes.
fn is_elf(head: &[u8]) -> bool {
    matches!(head, b"\x7fELF" | [0x7f, b'E', b'L', b'F', 1 | 2, ..])
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

#[cfg(test)]
mod kinds_tests;
#[cfg(test)]
mod tests;
