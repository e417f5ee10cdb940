use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

#[test]
fn a_plain_name_in_any_script_is_welcome() {
    for good in [
        "t1.csv",
        "tables/t1.csv",
        "a b/c d.txt",
        "Żółć/表.csv",
        "100%.csv",
        "a#b&c;d=e.csv",
        ".hidden",
        "a..b",
        "console.log",
        "com10.txt",
        "com.txt",
        "nullable",
        "=cmd.csv",
        "it's.csv",
        "ro-crate.txt",
        "e\u{301}x\u{301}.csv".nfc().collect::<String>().as_str(),
    ] {
        assert_eq!(check_file(good), Ok(()), "{good:?}");
    }
}

#[test]
fn a_name_that_means_something_else_somewhere_is_refused() {
    use NameError::*;
    let long = "a".repeat(513);
    let cases: Vec<(&str, NameError)> = vec![
        ("", Empty),
        (&long, TooLong { bytes: 513 }),
        ("/etc/passwd", Absolute),
        ("..", Dots("..")),
        ("a/../b", Dots("..")),
        ("./a", Dots(".")),
        ("a//b", EmptySegment),
        ("a/", EmptySegment),
        ("a\\b", Backslash),
        ("a:b", Windows(':')),
        ("a?", Windows('?')),
        ("a*|", Windows('*')),
        ("a\u{0}b", Invisible("U+0000".into())),
        ("a\u{1b}[2J", Invisible("U+001B".into())),
        ("\u{202e}gpj.exe", Invisible("U+202E".into())),
        ("a\u{200d}b", Joiner("U+200D".into())),
        ("👩\u{200d}🔬.png", Joiner("U+200D".into())),
        ("می\u{200c}.csv", Joiner("U+200C".into())),
        ("a\u{2028}b", Invisible("U+2028".into())),
        ("a\u{e000}b", Invisible("U+E000".into())),
        ("a\nb", Invisible("U+000A".into())),
        ("a.", TrailingDotOrSpace("a.".into())),
        ("a /b", TrailingDotOrSpace("a ".into())),
        ("...", TrailingDotOrSpace("...".into())),
        ("con", Reserved("con".into())),
        ("a/NUL.txt", Reserved("NUL.txt".into())),
        ("Com1.tar.gz", Reserved("Com1.tar.gz".into())),
        ("lpt0", Reserved("lpt0".into())),
        ("com¹.txt", Reserved("com¹.txt".into())),
        ("aux .txt", Reserved("aux .txt".into())),
        ("ro-crate-metadata.json", RoCrate),
        ("a/RO-Crate-preview.html", RoCrate),
        ("ro-crate-preview_files/x", RoCrate),
        ("e\u{301}.csv", NotNfc),
        ("\u{212a}.csv", NotNfc),
    ];
    for (path, error) in cases {
        assert_eq!(check_file(path), Err(error), "{path:?}");
    }
}

#[test]
fn five_hundred_and_twelve_bytes_are_enough() {
    let folder = "a".repeat(255);
    assert_eq!(check_file(&format!("{folder}/{folder}")), Ok(()));
    let path = format!("{0}/{0}/{1}", "a".repeat(170), "a".repeat(170));
    assert_eq!((path.len(), check_file(&path)), (512, Ok(())));
}

#[test]
fn a_segment_has_at_most_255_bytes() {
    assert_eq!(check_file(&format!("{}.csv", "表".repeat(83))), Ok(()));
    assert_eq!(check_file(&format!("{0}/{0}", "a".repeat(255))), Ok(()));
    let long = format!("t/{}.csv", "表".repeat(96));
    assert_eq!(
        check_file(&long),
        Err(NameError::SegmentTooLong { bytes: 292 })
    );
    assert_eq!(
        check_file(&format!("{}/x", "a".repeat(256))),
        Err(NameError::SegmentTooLong { bytes: 256 })
    );
}

#[test]
fn a_decomposed_name_is_the_composed_one() {
    assert_eq!(normalise("e\u{301}te\u{301}/t.csv"), "été/t.csv");
    assert_eq!(normalise("\u{212a}.csv"), "K.csv");
    assert!(matches!(normalise("été/表.csv"), Cow::Borrowed(_)));
    assert_eq!(check_file(&normalise("e\u{301}.csv")), Ok(()));
}

#[test]
fn joiners_are_taken_where_they_are_spelling() {
    for good in ["می\u{200c}خواهم.csv", "जनगणना/क्\u{200d}षेत्र.csv"]
    {
        assert_eq!(check_file(good), Ok(()), "{good:?}");
    }
    let told = check_file("a\u{200c}b").unwrap_err().to_string();
    assert!(
        told.contains("Persian") && told.contains("U+200C"),
        "{told}"
    );
}

#[test]
fn a_name_that_would_be_refused_in_its_compatibility_form_is_refused() {
    use NameError::*;
    for (path, why) in [
        ("．．/x.csv", Dots("..")),
        ("a/‥/x", Dots("..")),
        ("․/x", Dots(".")),
        ("a／b", Slash),
        ("℀.csv", Slash),
        ("a＼b", Backslash),
        ("a：b", Windows(':')),
        ("a﹖.csv", Windows('?')),
        ("x．", TrailingDotOrSpace("x.".into())),
        ("notes…", TrailingDotOrSpace("notes...".into())),
        ("x\u{a0}", TrailingDotOrSpace("x ".into())),
        ("ｃｏｎ.txt", Reserved("con.txt".into())),
        ("ＮＵＬ", Reserved("NUL".into())),
        ("ro－crate-x", RoCrate),
        ("ｒo-crate-metadata.json", RoCrate),
        (&"ﷺ".repeat(10), SegmentTooLong { bytes: 330 }),
    ] {
        assert_eq!(
            check_file(path),
            Err(Compatibility(Box::new(why))),
            "{path:?}"
        );
    }
    for good in [
        "ﬁle.csv",
        "m².csv",
        "½.csv",
        "表（１）.csv",
        "a….csv",
        "№5.txt",
        "ｔ１．csv",
    ] {
        assert_eq!(check_file(good), Ok(()), "{good:?}");
    }
}

#[test]
fn a_path_that_windows_skips_is_told() {
    let path = |units: usize| format!("{}/{}", "a".repeat(200), "b".repeat(units - 201));
    assert_eq!(too_long_for_windows(&path(260)), None);
    let told = too_long_for_windows(&path(261)).unwrap();
    assert!(told.contains("261") && told.contains("Windows"), "{told}");
    assert_eq!(check_file(&path(261)), Ok(()));
    // Counted as Windows counts, and not in bytes.
    assert_eq!(too_long_for_windows(&"表/".repeat(100)), None);
}

#[test]
fn letters_that_no_file_system_confuses_make_two_names() {
    for (a, b) in [
        ("sınır.csv", "sinir.csv"),
        ("SINIR.csv", "sınır.csv"),
        ("İl.csv", "il.csv"),
        ("Straße", "STRASSE"),
        ("ﬁle", "file"),
    ] {
        assert_ne!(folded(a), folded(b), "{a} {b}");
        assert_eq!(check_set([a, b]), Ok(()));
    }
}

#[test]
fn names_that_meet_share_the_key_under_which_they_are_stored() {
    let all = ('\0'..=char::MAX).filter(|c| !texts::is_refused(*c));
    for c in all {
        let text = c.to_string();
        let form = folded(&text);
        assert_eq!(stored_form(&form), stored_form(&text), "{c:?}");
        assert_eq!(folded(&form), form, "{c:?}");
    }
}

#[test]
fn the_form_that_is_hashed_into_keys_is_the_one_of_old() {
    for (path, form) in [
        ("T1.csv", "t1.csv"),
        ("Straße", "strasse"),
        ("sınır", "sinir"),
        ("ΟΔΟΣ", "οδοσ"),
        ("E\u{301}", "é"),
        ("ﬁle", "file"),
        ("İ", "i\u{307}"),
        ("می\u{200c}خواهم", "میخواهم"),
    ] {
        assert_eq!(stored_form(path), form, "{path}");
    }
}

#[test]
fn names_that_meet_on_some_file_system_are_the_same() {
    for (a, b) in [
        ("A.csv", "a.CSV"),
        ("STRAẞE", "Straße"),
        ("می\u{200c}خواهم", "میخواهم"),
        ("ΟΔΟΣ", "οδος"),
        ("ΟΔΟΣ", "οδοσ"),
        ("É", "e\u{301}"),
        ("K", "\u{212a}"),
        ("ǅ", "ǆ"),
        ("Å", "\u{212b}"),
    ] {
        assert_eq!(folded(a), folded(b), "{a} {b}");
    }
    assert_ne!(folded("a"), folded("á"));
    assert_ne!(folded("a/b"), folded("a_b"));
}

#[test]
fn every_character_folds_to_a_form_that_stays() {
    for c in ('\0'..=char::MAX).filter(|c| c.is_alphanumeric()) {
        let text = c.to_string();
        let form = folded(&text);
        assert_eq!(folded(&form), form, "{c:?}");
        let form = stored_form(&text);
        assert_eq!(stored_form(&form), form, "{c:?}");
        assert_eq!(
            stored_form(&text.to_lowercase()),
            stored_form(&text.to_uppercase().to_lowercase()),
            "{c:?}"
        );
    }
}

#[test]
fn sets_refuse_twins_and_files_that_are_folders() {
    assert_eq!(check_set(["a", "b/c", "b/d", "ab"]), Ok(()));
    assert_eq!(check_set(["a/b", "A/c"]), Ok(()));
    assert_eq!(
        check_set(["x", "X"]),
        Err(SetError::Same("x".into(), "X".into()))
    );
    assert_eq!(
        check_set(["é", "e\u{301}"]),
        Err(SetError::Same("é".into(), "e\u{301}".into()))
    );
    for set in [
        ["a", "a/b"],
        ["a/b", "a"],
        ["A", "a/b/c"],
        ["ab/É", "AB/é/x"],
    ] {
        assert!(
            matches!(check_set(set), Err(SetError::FileAndFolder(..))),
            "{set:?}"
        );
    }
}

#[test]
fn messages_are_harmless() {
    let errors = [
        check_set(["a\u{202e}", "A\u{202e}"])
            .unwrap_err()
            .to_string(),
        check_file("a\u{1b}[2J").unwrap_err().to_string(),
    ];
    for error in errors {
        assert_eq!(texts::check_line(&error, 500), Ok(()), "{error:?}");
    }
}

#[test]
fn an_iota_below_a_letter_with_another_mark_meets_its_other_spelling_by_folding_alone() {
    let (below, beside) = ("\u{1ff2}\u{1e8d0}", "\u{1f7c}\u{1e8d0}\u{3b9}");
    assert_eq!(folded(below), folded(beside));
    assert_ne!(stored_form(below), stored_form(beside));
    assert!(check_set([below, beside]).is_err());
}

#[test]
fn a_package_is_named_by_its_request() {
    assert_eq!(safe_zip_name("frailty-tables"), "frailty-tables.zip");
    assert_eq!(safe_zip_name("con"), "package-con.zip");
    assert_eq!(safe_zip_name("../x\n"), "x.zip");
    assert_eq!(safe_zip_name("…"), "package.zip");
}

#[test]
fn ancestors_are_the_folders_of_a_path() {
    assert_eq!(ancestors("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
    assert_eq!(ancestors("a").count(), 0);
}

proptest! {
    #[test]
    fn folding_twice_changes_nothing(text in ".*") {
        let form = folded(&text);
        prop_assert_eq!(folded(&form), form);
    }

    #[test]
    fn case_and_form_make_no_second_name(text in "\\PC*") {
        // In normal form, as the Unicode standard defines caseless matching (3.13, D145): the
        // iota below a letter comes after other marks there, and is a letter in upper case.
        let decomposed: String = text.nfd().collect();
        let upper = decomposed.to_uppercase();
        prop_assert_eq!(folded(&text), folded(&decomposed));
        prop_assert_eq!(stored_form(&text), stored_form(&decomposed));
        // The exception that stored_form tells of.
        if !decomposed.contains('\u{345}') {
            prop_assert_eq!(stored_form(&text), stored_form(&upper));
            prop_assert_eq!(stored_form(&text), stored_form(&folded(&text)));
        }
    }

    #[test]
    fn an_accepted_name_stays_below_its_folder(path in "\\PC{0,40}") {
        if check_file(&path).is_ok() {
            let joined = std::path::Path::new("data").join(&path);
            prop_assert!(joined.components().all(|c| matches!(c, std::path::Component::Normal(_))));
            prop_assert!(check_set([path.as_str()]).is_ok());
            let form: String = path.nfkc().collect();
            prop_assert_eq!(check_file(&form), Ok(()));
        }
    }
}
