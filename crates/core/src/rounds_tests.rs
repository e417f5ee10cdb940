use serde_json::{Value, json};

use super::*;
use crate::digest::Sha256Hex;
use crate::examples::{self, file};

fn manifest(files: &[Value]) -> Value {
    examples::manifest(1, files)
}

fn difference(before: Value, now: Value) -> Changes {
    let before = Frozen {
        manifest: std::sync::Arc::new(serde_json::from_value(before).unwrap()),
        digest: Sha256Hex::of(b"before"),
    };
    changes(&before, &serde_json::from_value(now).unwrap())
}

fn with(mut value: Value, field: &str, said: Value) -> Value {
    value[field] = said;
    value
}

#[test]
fn texts_that_move_into_a_folder_entry_are_no_change() {
    let mut own = file("figures/a.csv", "x");
    own["description"] = json!("All figures");
    let before = manifest(&[own]);
    let mut covered = file("figures/a.csv", "x");
    covered["folder"] = json!(0);
    let said = |text: &str| {
        let mut now = manifest(&[covered.clone()]);
        now["folders"] = json!([{"path": "figures/", "description": text}]);
        now
    };
    assert_eq!(
        difference(before.clone(), said("All figures")).texts,
        Vec::<String>::new()
    );
    assert_eq!(
        difference(before, said("Others")).texts,
        ["files[figures/a.csv].description"]
    );
}

#[test]
fn a_reviewer_sees_what_was_added_removed_and_replaced() {
    let before = manifest(&[file("gone", "x"), file("new bytes", "x"), file("same", "x")]);
    let now = manifest(&[
        file("new bytes", "y"),
        file("same", "x"),
        file("there", "x"),
    ]);
    let found = difference(before, now);
    assert_eq!(found.since, Sha256Hex::of(b"before").to_string());
    assert_eq!(found.added, ["there"]);
    assert_eq!(found.removed, ["gone"]);
    let replaced = ReplacedFile {
        path: "new bytes".into(),
        from: Sha256Hex::of(b"x").to_string(),
        to: Sha256Hex::of(b"y").to_string(),
    };
    assert_eq!(found.replaced, [replaced]);
    assert!(found.texts.is_empty() && !found.truncated);
}

#[test]
fn every_text_that_changed_is_named_and_no_other() {
    let plain = || manifest(&[file("a", "x")]);
    assert!(difference(plain(), plain()).texts.is_empty());
    for (field, said) in [
        ("title", json!("other")),
        ("description", json!("why")),
        ("authors", json!([{"name": "Alice"}])),
        ("recipients", json!(["a@example.org"])),
        ("delivery", json!({"type": "Url"})),
    ] {
        let found = difference(plain(), with(plain(), field, said));
        assert_eq!(found.texts, [field]);
    }
    for (field, said) in [
        ("description", json!("what")),
        ("justification", json!("why")),
        ("suppressionNotes", json!("below 10")),
        ("outputType", json!("Table")),
        ("statbarn", json!("frequencies")),
    ] {
        let now = manifest(&[with(file("a", "x"), field, said)]);
        assert_eq!(
            difference(plain(), now).texts,
            [format!("files[a].{field}")]
        );
    }
}

#[test]
fn fifty_of_each_are_listed_and_more_are_said_to_be_cut() {
    let none = || manifest(&[]);
    let many = |count: usize, bytes: &str, said: &str| {
        let of = |n| with(file(&format!("{n:03}"), bytes), "description", json!(said));
        manifest(&(0..count).map(of).collect::<Vec<_>>())
    };
    for (count, cut) in [(50, false), (51, true)] {
        for (before, now, lengths) in [
            (none(), many(count, "x", ""), [50, 0, 0, 0]),
            (many(count, "x", ""), none(), [0, 50, 0, 0]),
            (many(count, "x", ""), many(count, "y", ""), [0, 0, 50, 0]),
            (many(count, "x", ""), many(count, "x", "s"), [0, 0, 0, 50]),
        ] {
            let found = difference(before, now);
            let listed = [
                found.added.len(),
                found.removed.len(),
                found.replaced.len(),
                found.texts.len(),
            ];
            assert_eq!((listed, found.truncated), (lengths, cut));
        }
    }
    let both = difference(many(51, "x", ""), many(51, "y", "s"));
    assert!(both.truncated, "two lists that are cut");
}
