//! `ro-crate-preview.html`: the crate as a page for people.
//!
//! The words on it were written by researchers and may be hostile. So every one
//! is escaped, the page runs no script and loads nothing (a content security
//! policy says so too), links lead to the package's own files only, and not to
//! those that a browser would run. No table cell starts with a word of theirs,
//! and no text with a character that makes it a formula once pasted.

use std::fmt::Write as _;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::inputs::{CrateInputs, entry_name, entry_uri};
use super::metadata::{self, license_name};
use trevor_core::manifest::{ManifestFile, Texts};
use trevor_core::texts;

/// Its name in the package.
pub const FILE_NAME: &str = "ro-crate-preview.html";

const STYLE: &str = include_str!("preview.css");

/// The page.
#[must_use]
pub fn render(inputs: &CrateInputs<'_>) -> String {
    let mut page = String::with_capacity(4096 + 512 * inputs.manifest.files.len());
    // Writing to a String cannot fail.
    let _ = head(&mut page, inputs)
        .and_then(|()| facts(&mut page, inputs))
        .and_then(|()| files(&mut page, inputs))
        .and_then(|()| foot(&mut page));
    page
}

fn head(page: &mut String, inputs: &CrateInputs<'_>) -> std::fmt::Result {
    let style = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    let title = Text(&inputs.manifest.title);
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<p class=\"kind\">Research outputs</p>\n<h1>{title}</h1>\n\
         <p class=\"lead\">{}</p>\n</header>\n",
        Text(&inputs.description()),
    )
}

fn facts(page: &mut String, inputs: &CrateInputs<'_>) -> std::fmt::Result {
    let manifest = inputs.manifest;
    page.push_str("<section>\n<h2>About this package</h2>\n<dl>\n");
    let publisher = &inputs.publisher;
    let mut by = publisher.name.clone();
    for more in [&publisher.url, &publisher.email].into_iter().flatten() {
        by.push_str(" · ");
        by.push_str(more);
    }
    let license = match &inputs.license {
        None => inputs.no_license(),
        Some(url) => match license_name(url) {
            name if name == *url => name,
            name => format!("{name} · {url}"),
        },
    };
    let count = manifest.files.len();
    let files = format!(
        "{} {}, {}",
        grouped(count as u64),
        if count == 1 { "file" } else { "files" },
        bytes(manifest.total_bytes())
    );
    let rows = [
        (
            "Approved on",
            Some(inputs.decided.strftime("%-d %B %Y, %H:%M UTC").to_string()),
        ),
        ("Publisher", Some(by)),
        ("Authors", inputs.credit()),
        ("License", Some(license)),
        ("Approval", Some(inputs.approval())),
        ("Contents", Some(files)),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            writeln!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", Text(&value))?;
        }
    }
    writeln!(
        page,
        "<div><dt>Manifest</dt><dd><code>sha256:{}</code></dd></div>\n</dl>\n</section>",
        inputs.digest
    )
}

fn files(page: &mut String, inputs: &CrateInputs<'_>) -> std::fmt::Result {
    page.push_str(
        "<section>\n<h2>Files</h2>\n<table>\n<thead><tr><th scope=\"col\">File</th>\
         <th scope=\"col\" class=\"size\">Size</th></tr></thead>\n<tbody>\n",
    );
    for file in &inputs.manifest.files {
        row(page, &inputs.manifest.texts(file), file)?;
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
    Ok(())
}

fn row(page: &mut String, said: &Texts<'_>, file: &ManifestFile) -> std::fmt::Result {
    let name = entry_name(file);
    page.push_str("<tr><td>");
    if is_inert(&file.path) {
        write!(
            page,
            "<a href=\"{}\">{}</a>",
            Text(&entry_uri(file)),
            Text(&name)
        )?;
    } else {
        write!(page, "<b>{}</b>", Text(&name))?;
    }
    if !said.description.trim().is_empty() {
        write!(page, "<p>{}</p>", Text(said.description.trim()))?;
    }
    page.push_str("<p class=\"digest\">");
    if let Some(kind) = said.output_type {
        write!(page, "{kind} · ")?;
    }
    writeln!(
        page,
        "{} · sha256 <code>{}</code></p></td><td class=\"size\" title=\"{}\">{}</td></tr>",
        Text(&file.media_type),
        file.sha256,
        grouped(file.size),
        bytes(file.size),
    )
}

fn foot(page: &mut String) -> std::fmt::Result {
    writeln!(
        page,
        "<footer>\n<p>This package is an <abbr title=\"Research Object Crate, version 1.2\">\
         RO-Crate</abbr>. <a href=\"{0}\">{0}</a> says the same to machines. To check a file, \
         compare its digest: <code>sha256sum</code> prints it.</p>\n</footer>\n\
         </main>\n</body>\n</html>",
        metadata::FILE_NAME,
    )
}

/// Endings of names that a browser shows as a picture, a text or a document, or saves, and
/// runs nothing of. It goes by the ending of a file that was unpacked, and guesses at the
/// content where it does not know the ending: only what is listed is linked.
const INERT: &[&str] = &[
    // Text. What is not known to every system, such as .md, is guessed at.
    "csv", "json", "tsv", "txt", // Pictures, none of which has scripts in it.
    "bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp",
    // Documents that are saved, or shown by a viewer without access to the page.
    "doc", "docx", "ods", "odt", "pdf", "pptx", "rtf", "xls", "xlsx", "zip",
];

/// Whether a browser runs nothing of a file of this name.
fn is_inert(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let ending = ending.to_ascii_lowercase();
    INERT.contains(&ending.as_str())
}

/// A text, escaped for an element or a quoted attribute. What nobody sees is
/// shown by its code; a text that begins like a formula gets an apostrophe, as
/// spreadsheets write a text that is none.
struct Text<'a>(&'a str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut starts = true;
        let mut bad = texts::refused(self.0).map(|(at, _)| at).peekable();
        for (at, c) in self.0.chars().enumerate() {
            let is_bad = bad.next_if_eq(&at).is_some();
            if starts && matches!(c, '=' | '+' | '-' | '@') {
                f.write_str("&#39;")?;
            }
            starts = matches!(c, '\n' | '\r') || (starts && c.is_whitespace());
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' | ' ' => f.write_char(c)?,
                '\r' => {}
                c if is_bad => write!(f, "[{}]", texts::shown(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A size as people read it.
fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if size < 1024 {
        return format!("{size} {}", if size == 1 { "byte" } else { "bytes" });
    }
    // Tenths, rounded half up, in integers: the same on every machine.
    let mut tenths = u128::from(size) * 10;
    let mut unit = "";
    for name in UNITS {
        tenths = tenths.div_ceil(512) / 2;
        unit = name;
        if tenths < 10_240 {
            break;
        }
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Digits in groups of three.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_people() {
        for (size, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024, "1.0 MiB"),
            (5 << 40, "5.0 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        assert_eq!(grouped(1), "1");
        assert_eq!(grouped(10_000), "10,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn a_text_that_looks_like_a_formula_is_a_text() {
        assert_eq!(
            Text("=cmd|'/C calc'!A0").to_string(),
            "&#39;=cmd|&#39;/C calc&#39;!A0"
        );
        assert_eq!(Text("a\n\n @b -c").to_string(), "a\n\n &#39;@b -c");
    }

    #[test]
    fn only_what_is_known_to_be_inert_is_linked() {
        for path in [
            "a.html",
            "a.HTM",
            "a.xhtml",
            "a.xht",
            "a.shtml",
            "a.mht",
            "a.mhtml",
            "a.svg",
            "a.svgz",
            "a.xml",
            "a.xsl",
            "a.js",
            "a.mjs",
            "a.css",
            "a.wasm",
            "a.swf",
            "a.hta",
            "a.url",
            "a.webloc",
            "a.unknown",
            "README",
            "a.",
            ".html",
            "csv",
            "a.csv/x",
            "a.html.gz",
            "a.txt.xht",
            "a.csv ",
        ] {
            assert!(!is_inert(path), "{path}");
        }
        for path in [
            "a.csv",
            "d.html/a.CSV",
            "a.xhtml.txt",
            "a.png",
            "a.pdf",
            "a.xlsx",
        ] {
            assert!(is_inert(path), "{path}");
        }
    }
}
