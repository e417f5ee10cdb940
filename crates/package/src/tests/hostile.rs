//! Texts are written by people whom nobody has reason to trust.

use html5gum::{Token, Tokenizer};

use super::*;

const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "</title><script src=//evil.example></script>",
    "\"><img src=x onerror=alert(1)>",
    "'><a href='javascript:alert(1)'>",
    "--><svg/onload=alert(1)>",
    "</style><style>@import 'https://evil.example'</style>",
    "&lt;script&gt;&#60;script&#62;",
    "\u{1b}]0;pwned\u{7}\u{1b}[31m\u{9b}2J",
    "\u{202e}fdp.exe\u{2066}\u{200b}\u{feff}",
    "=HYPERLINK(\"https://evil.example\",\"click\")",
    "line\r\n=cmd|'/C calc'!A0\n\u{2028}\u{2029}\u{0}",
    "\u{e0041}\u{e000}\u{fffe}",
];

/// A manifest whose every word is hostile, even those that the door refuses.
fn hostile(text: &str) -> Manifest {
    let mut one = file("plain.csv", b"1");
    one.path = format!("dir \"'%#?&;/{}.csv", text.replace('/', "_"));
    one.description = text.into();
    one.media_type = text.into();
    let mut page = file("page.html", b"<script>");
    page.description = text.into();
    let mut manifest = manifest(vec![one, page, file("javascript:alert(1)", b"")]);
    manifest.title = text.into();
    manifest.description = text.into();
    manifest.policy.name = text.into();
    manifest.authors = vec![author(
        text,
        Some("0000-0002-1825-0097"),
        Some((text, Some("03f0f6041"))),
    )];
    manifest
}

fn hostile_inputs<'a>(
    manifest: &'a Manifest,
    digest: &'a Sha256Hex,
    text: &str,
) -> CrateInputs<'a> {
    let mut inputs = inputs(manifest, digest);
    inputs.reviewers = Some(vec![text.into()]);
    inputs.publisher.name = text.into();
    inputs.publisher.url = Some(text.into());
    inputs.publisher.email = Some(text.into());
    inputs.license = Some(text.into());
    inputs
}

#[test]
fn the_preview_runs_nothing_and_loads_nothing() {
    let digest = Sha256Hex::of(b"manifest");
    let plain = manifest(vec![file("a.csv", b"1"), file("b/c.png", b"2")]);
    let plain_tags = check_page(&preview::render(&inputs(&plain, &digest)));
    assert!(plain_tags > 20);
    for text in HOSTILE {
        let manifest = hostile(text);
        let page = preview::render(&hostile_inputs(&manifest, &digest, text));
        check_page(&page);
    }
}

/// Walks all tags, as a browser would see them.
fn check_page(page: &str) -> usize {
    assert!(page.starts_with("<!DOCTYPE html>\n"));
    let refused = |c: char| c != '\n' && trevor_core::texts::is_refused(c);
    assert_eq!(page.chars().find(|c| refused(*c)), None);
    let allowed = [
        "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "p",
        "section", "dl", "div", "dt", "dd", "code", "table", "thead", "tbody", "tr", "th", "td",
        "a", "b", "footer", "abbr",
    ];
    let mut tags = 0;
    for token in Tokenizer::new(page) {
        let Ok(token) = token;
        let Token::StartTag(tag) = token else {
            continue;
        };
        tags += 1;
        let name = String::from_utf8(tag.name.0).unwrap();
        assert!(allowed.contains(&name.as_str()), "<{name}>");
        for (attribute, value) in tag.attributes {
            let attribute = String::from_utf8(attribute.0).unwrap();
            let value = String::from_utf8(value.to_vec()).unwrap();
            let known = match name.as_str() {
                "a" => {
                    attribute == "href"
                        && (value.starts_with("data/") || value == metadata::FILE_NAME)
                }
                "meta" => {
                    ["charset", "http-equiv", "content", "name"].contains(&attribute.as_str())
                }
                "html" => attribute == "lang",
                _ => ["class", "scope", "title"].contains(&attribute.as_str()),
            };
            assert!(known, "<{name} {attribute}=\"{value}\">");
            assert!(!value.contains("..") && !value.contains(".html"), "{value}");
        }
    }
    // Attributes and style aside, nothing on the page names another place.
    assert_eq!(page.matches("<style").count(), 1);
    assert!(!page.contains("url(") && !page.contains("@import 'https"));
    // Whatever is pasted into a spreadsheet is no formula.
    let (_, words) = page.split_once("</style>").unwrap();
    for cell in words.split(['>', '\n']) {
        assert!(!cell.trim_start().starts_with(['=', '+', '@']), "{cell}");
    }
    tags
}

#[test]
fn the_style_is_the_one_that_the_policy_names() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let manifest = manifest(vec![file("a.csv", b"1")]);
    let digest = Sha256Hex::of(b"manifest");
    let page = preview::render(&inputs(&manifest, &digest));
    let style = page
        .split_once("<style>")
        .unwrap()
        .1
        .split_once("</style>")
        .unwrap()
        .0;
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(style));
    assert!(page.contains(&format!("style-src 'sha256-{hash}'")));
}

#[test]
fn the_metadata_shows_every_character_and_keeps_every_word() {
    let digest = Sha256Hex::of(b"manifest");
    for text in HOSTILE {
        let manifest = hostile(text);
        let bytes = metadata::render(&hostile_inputs(&manifest, &digest, text)).unwrap();
        let shown = std::str::from_utf8(&bytes).unwrap();
        let refused = |c: char| c != '\n' && trevor_core::texts::is_refused(c);
        assert_eq!(shown.chars().find(|c| refused(*c)), None);
        let read: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let graph = read["@graph"].as_array().unwrap();
        let root = graph.iter().find(|e| e["@id"] == "./").unwrap();
        assert_eq!(root["name"], *text);
    }
}

#[test]
fn what_is_for_reviewers_only_stays_out() {
    let manifest = manifest(vec![file("a.csv", b"1"), file("b.csv", b"2")]);
    let digest = Sha256Hex::of(b"manifest");
    let mut inputs = inputs(&manifest, &digest);
    let both = |inputs: &CrateInputs<'_>| {
        String::from_utf8(metadata::render(inputs).unwrap()).unwrap() + &preview::render(inputs)
    };
    let text = both(&inputs);
    let key = "key of";
    for word in [
        "SUBMITTER",
        "DELEGATE",
        "JUSTIFICATION",
        "SUPPRESSION",
        "STATBARN",
        "RECIPIENT",
        key,
        "bob",
    ] {
        assert!(!text.contains(word), "{word}");
    }
    inputs.reviewers = Some(vec!["bob".into(), "carol".into()]);
    assert!(
        both(&inputs).contains("Approved by 2 reviewers (bob, carol) under the policy default")
    );
}
