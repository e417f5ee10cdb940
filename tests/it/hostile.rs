//! Texts written to do harm go through all of it, and stay texts.

use std::io::Read as _;

use html5gum::{Token, Tokenizer};
use serde_json::json;
use trevor_api::Phase;

use crate::harness::{Env, Http};

const HOSTILE: [&str; 5] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "javascript:alert(1)",
    "{{7*7}}",
];

#[tokio::test]
async fn hostile_texts_are_harmless_in_the_preview_and_in_a_terminal() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let texts = HOSTILE.join(" ");
    let authors: Vec<_> = HOSTILE
        .iter()
        .map(|t| json!({"name": t, "affiliation": {"name": t}}))
        .collect();
    let files: Vec<_> = HOSTILE
        .iter()
        .enumerate()
        .map(|(i, t)| json!({"path": format!("{i}.csv"), "description": t, "justification": t, "statbarn": t}))
        .collect();
    let request = alice
        .creates("hostile", json!({"direction": "Egress", "title": texts, "description": HOSTILE.join("\n"), "authors": authors, "files": files}))
        .await;
    for i in 0..HOSTILE.len() {
        alice.uploads(&request, &format!("{i}.csv"), "a").await;
    }
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;

    let told = alice.gets(&request, "release").await.expect(200).json();
    let url = told["url"].as_str().unwrap();
    let zip = Http::default().get(url).await.expect(200).body;
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).unwrap();
    let mut page = String::new();
    let mut preview = archive.by_name("ro-crate-preview.html").unwrap();
    preview.read_to_string(&mut page).unwrap();
    let shown = does_nothing(&page);
    for text in HOSTILE {
        assert!(shown.contains(text), "{text} is shown as it was written");
    }

    for arguments in [
        &["get", "alr", "-o", "wide"][..],
        &["get", "alr,alrr,alrev,events", "-o", "wide"],
        &["describe", "alr", &request.name],
    ] {
        let done = env.kubectl("admin", arguments).await;
        assert!(done.status.success(), "{arguments:?}");
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(said.contains(&request.name), "{arguments:?}");
        let bad = said.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(bad, None, "{arguments:?}");
    }
}

/// No script, no handler, nothing from elsewhere; gives the words of the page.
fn does_nothing(page: &str) -> String {
    let (mut tags, mut words) = (0, String::new());
    for token in Tokenizer::new(page) {
        let Ok(token) = token;
        let tag = match token {
            Token::StartTag(tag) => tag,
            Token::String(text) => {
                words.push_str(&String::from_utf8_lossy(&text));
                continue;
            }
            _ => continue,
        };
        tags += 1;
        let name = String::from_utf8_lossy(&tag.name).into_owned();
        assert!(
            ![
                "script", "img", "iframe", "object", "link", "base", "svg", "form"
            ]
            .contains(&name.as_str()),
            "<{name}>"
        );
        for (attribute, value) in &tag.attributes {
            let attribute = String::from_utf8_lossy(attribute).into_owned();
            let value = String::from_utf8_lossy(value).into_owned();
            assert!(!attribute.starts_with("on"), "<{name} {attribute}>");
            if ["src", "href", "srcset", "action", "style"].contains(&attribute.as_str()) {
                let inside = value.starts_with("data/") || value == "ro-crate-metadata.json";
                assert!(
                    attribute == "href" && inside,
                    "<{name} {attribute}={value:?}>"
                );
            }
        }
    }
    assert!(tags > 20, "it is the whole page");
    words
}
