use proptest::prelude::*;

use super::*;

/// A head of a program for Windows: `MZ`, and `PE` where the header says.
fn windows() -> Vec<u8> {
    let mut head = vec![0; 0x100];
    head[..2].copy_from_slice(b"MZ");
    head[0x3c] = 0x80;
    head[0x80..0x84].copy_from_slice(b"PE\0\0");
    head
}

fn dos() -> Vec<u8> {
    let mut head = vec![0x90; 0x80];
    head[..10].copy_from_slice(b"MZ\x90\0\x03\0\0\0\x04\0");
    head
}

fn at(offset: usize, magic: &[u8]) -> Vec<u8> {
    let mut head = vec![0; offset + 512];
    head[offset..offset + magic.len()].copy_from_slice(magic);
    head
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units
        .flat_map(|unit| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        })
        .collect()
}

#[test]
fn a_program_is_refused_under_any_name_that_hides_it_and_taken_under_its_own() {
    for (head, word, own) in [
        (at(0, b"\x7fELF\x02\x01\x01"), "elf", "lib.so"),
        (windows(), "pe", "setup.exe"),
        (dos(), "pe", "old.com"),
        (at(0, b"\xcf\xfa\xed\xfe"), "mach-o", "x.dylib"),
        (
            at(0, b"\xca\xfe\xba\xbe\0\0\0\x41"),
            "java-class",
            "X.class",
        ),
        (at(0, b"\0asm\x01\0\0\0"), "wasm", "x.wasm"),
        (at(0, b"dex\n035\0"), "dex", "classes.dex"),
        (
            [
                &b"!<arch>\nx.o/            0           0     0     644     4         `\n"[..],
                b"\x7fELF\0\0",
            ]
            .concat(),
            "object-archive",
            "x.a",
        ),
        (
            at(0, b"\xa7\x0d\r\n\0\0\0\0abcd"),
            "python-bytecode",
            "x.pyc",
        ),
        (b"#!/bin/sh\nrm -rf /\n".to_vec(), "script", "x.sh"),
        (b"#! /usr/bin/env python3\n".to_vec(), "script", "configure"),
    ] {
        let sniffed = sniff(&head);
        assert_eq!(sniffed.word(), word, "{own}");
        for hidden in ["table.csv", "t.txt", "a/plot.PNG", "x.pdf", "data.dat"] {
            assert!(sniffed.disguised(hidden).is_some(), "{word} as {hidden}");
        }
        assert_eq!(sniffed.disguised(own), None, "{word} as {own}");
    }
    // A name without an extension is that of a script, and hides the rest.
    assert!(sniff(b"\x7fELF").disguised("tool").is_some());
    assert_eq!(sniff(b"\x7fELF").disguised("libx.so.1.2"), None);
}

#[test]
fn content_is_what_the_extension_promises() {
    for (head, good, bad) in [
        (at(0, b"\x89PNG\r\n\x1a\n"), "a.png", "a.jpg"),
        (at(0, b"\xff\xd8\xff\xe0"), "a.JPEG", "a.png"),
        (b"%PDF-1.7\n1 0 obj\n".to_vec(), "a.pdf", "a.csv"),
        (at(0, b"\n\n%PDF-1.4"), "a.pdf", "a.txt"),
        (at(0, b"GIF89a"), "a.gif", "a.md"),
        (at(0, b"II*\0"), "a.tiff", "a.png"),
        (at(0, b"PK\x03\x04"), "a.xlsx", "a.csv"),
        (at(0, b"PK\x03\x04"), "b/a.zip", "a.pdf"),
        (at(0, b"\x1f\x8b\x08"), "a.csv.gz", "a.csv"),
        (at(0, b"\x1f\x8b\x08"), "a.rds", "a.json"),
        (b"BZh91AY&SY\x01\x02".to_vec(), "a.bz2", "a.tsv"),
        (at(0, b"PAR1"), "a.parquet", "a.csv"),
        (at(0, b"\x89HDF\r\n\x1a\n"), "a.h5", "a.parquet"),
        (at(0, b"\x89HDF\r\n\x1a\n"), "a.nc", "a.txt"),
        (at(257, b"ustar"), "a.tar", "a.txt"),
        (at(128, b"DICM"), "a.dcm", "a.png"),
        (at(0, b"{\\rtf1\\ansi"), "a.rtf", "a.txt"),
        (at(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "a.xls", "a.csv"),
        (
            at(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
            "a.xls",
            "a.xlsx",
        ),
        (vec![0x13; 300], "a.dat", "a.csv"),
        (b"X\n\0\0\0\x03\0".to_vec(), "a.rds", "a.csv"),
        (b"RDX3\nX\n\0\0\0\x03".to_vec(), "a.RData", "a.csv"),
        (b"a,b\n1,2\n".to_vec(), "a.csv", "a.png"),
        (b"a,b\n1,2\n".to_vec(), "a.md", "a.parquet"),
        (b"#!/usr/bin/env Rscript\n".to_vec(), "a.R", "a.csv"),
        // It promises nothing, so that it may be anything.
        (vec![0; 300], "a.dat", "a.txt"),
        (vec![0; 300], "noextension", "a.csv"),
        (vec![0; 300], ".csv", "x.csv"),
    ] {
        let sniffed = sniff(&head);
        assert_eq!(sniffed.contradicts(good), None, "{good}: {sniffed:?}");
        assert!(sniffed.contradicts(bad).is_some(), "{bad}: {sniffed:?}");
    }
}

#[test]
fn ordinary_data_is_what_it_is() {
    let latin1 = b"Gr\xf6\xdfe;\xe9tage\n1;2\n".to_vec();
    let bom = "\u{feff}a,b\n1,2\n".as_bytes().to_vec();
    let mut long = "é".repeat(HEAD / 2).into_bytes();
    long.insert(0, b'x');
    long.truncate(HEAD);
    for (head, path) in [
        (Vec::new(), "a.csv"),
        (Vec::new(), "a.png"),
        (b"MZ,intensity\n100.1,5\n".to_vec(), "spectrum.csv"),
        (
            [b"MZ,intensity\n".to_vec(), b"100.1,5\n".repeat(900)].concat(),
            "spectrum.csv",
        ),
        (b"BM,BMI\n1,2\n".to_vec(), "a.csv"),
        (b"GIF89a,count\n".to_vec(), "a.csv"),
        (b"PK,name\n1,x\n".to_vec(), "a.csv"),
        (b"ID3,ORC\n".to_vec(), "a.tsv"),
        (b"RIFF    WEBP".to_vec(), "a.txt"),
        (b"# comment\n#! not a script\na,b\n".to_vec(), "a.csv"),
        (b"#!comment\na,b\n".to_vec(), "a.csv"),
        (b"the format %PDF-1.7\n".to_vec(), "a.md"),
        (bom, "a.csv"),
        (latin1, "a.csv"),
        (utf16("a,ü\n1,😀\n", false), "a.csv"),
        (utf16("a,ü\n1,😀\n", true), "a.txt"),
        (long, "a.txt"),
        (b"\x1b[31mred\x1b[0m\n".to_vec(), "a.log"),
        (b"end of DOS\r\n\x1a".to_vec(), "a.txt"),
        (b"{\"a\": 1}".to_vec(), "a.json"),
        (vec![0xff; 40], "a.dat"),
    ] {
        let sniffed = sniff(&head);
        assert_eq!(sniffed.disguised(path), None, "{path}: {sniffed:?}");
        assert_eq!(sniffed.contradicts(path), None, "{path}: {sniffed:?}");
    }
}

#[test]
fn a_byte_order_mark_before_something_else_makes_no_text() {
    for head in [
        &b"\xff\xfe\0\0"[..4],
        b"\xff\xfe\x01\0\x02\0",
        b"\xfe\xff\0\0",
        b"\xff\xfe\x00\xd8\x00\xd8",
        b"\xff\xfea\0b",
    ] {
        let binary = sniff(head).contradicts("a.csv").is_some();
        // A mark alone is an empty text.
        assert_eq!(binary, head != b"\xff\xfe\0\0", "{head:?}");
    }
}

#[test]
fn what_was_sniffed_is_one_word_in_a_receipt_and_unknown_words_are_kept() {
    let known = serde_json::to_string(&sniff(b"a,b")).unwrap();
    assert_eq!(known, "\"text\"");
    let later: Sniffed = serde_json::from_str("\"something-new\"").unwrap();
    assert_eq!(later.word(), "something-new");
    assert!(later.contradicts("a.csv").is_some());
}

#[test]
fn no_extension_promises_twice_and_all_are_in_lower_case() {
    let mut all: Vec<&str> = PROMISES
        .iter()
        .flat_map(|(extensions, ..)| extensions.iter().copied())
        .collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    for extension in all.iter().chain(PROGRAM_NAMES).chain(SCRIPT_NAMES) {
        assert_eq!(**extension, extension.to_lowercase());
    }
}

/// What other formats begin with, as far as it can be typed.
const NASTY: &[&str] = &[
    "",
    "MZ",
    "BM",
    "PK",
    "GIF89a",
    "II*",
    "BZh9",
    "ID3",
    "Obj",
    "ORC",
    "CDF",
    "PAR1",
    "RIFF",
    "OggS",
    "$FL2",
    "RDX3",
    "SQLite format 3",
    "7z",
    "Rar!",
    "dex",
    "BC",
    "%PDF",
    "%!PS",
    "#!",
    "#! ",
    "{",
    "!<arch>",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn text_is_never_refused_as_a_csv(start in 0..NASTY.len(), rest in "(\\PC|[\\t\\n\\r]){0,200}", code in 0..4) {
        let text = format!("{}{rest}", NASTY[start]);
        // Beginnings that can be typed, and still are not those of a table.
        prop_assume!(!["%PDF-", "%!PS-Adobe", "{\\rtf", "RDX", "RDA", "RDB", "A\n"].iter().any(|magic| text.starts_with(magic)));
        prop_assume!(!is_script(text.as_bytes()));
        prop_assume!(!text.get(4..).is_some_and(|t| t.starts_with("1AY&SY")));
        let head = match code {
            0 => text.into_bytes(),
            1 => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            2 => utf16(&text, false),
            _ => utf16(&text, true),
        };
        let sniffed = sniff(&head);
        prop_assert_eq!(sniffed.disguised("a.csv"), None);
        prop_assert_eq!(sniffed.contradicts("a.csv"), None);
    }

    #[test]
    fn text_of_one_byte_a_character_is_never_refused_as_a_csv(head in proptest::collection::vec(prop_oneof![Just(b'\t'), Just(b'\n'), Just(b'\r'), 0x20..=0x7e_u8, 0xa0..=0xfe_u8], 0..300)) {
        prop_assume!(!head.starts_with(b"#!"));
        let sniffed = sniff(&head);
        prop_assert_eq!(sniffed.contradicts("a.csv"), None, "{:?}", sniffed);
    }

    #[test]
    fn no_bytes_make_it_panic(head in proptest::collection::vec(any::<u8>(), 0..9000), path in "\\PC{0,20}") {
        let sniffed = sniff(&head);
        let _ = (sniffed.disguised(&path), sniffed.contradicts(&path));
    }
}

/// A head for Windows with its second header at an offset, and nothing else.
fn second_header(at: usize, length: usize, magic: &[u8]) -> Vec<u8> {
    let mut head = vec![0; length];
    head[..2].copy_from_slice(b"MZ");
    head[0x3c..0x40].copy_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
    if let Some(there) = head.get_mut(at..at + magic.len()) {
        there.copy_from_slice(magic);
    }
    head
}

#[test]
fn a_second_header_is_looked_for_where_the_first_says() {
    for (at, length, magic, word) in [
        (0x80, 0x100, &b"PE\0\0"[..], "pe"),
        (0x180, 0x200, b"NE", "pe"),
        (0x80, 0x100, b"LE", "pe"),
        (0x80, 0x100, b"LX", "pe"),
        (0x80, 0x100, b"XX", BINARY),
        // Beyond what is looked at, where there is more.
        (HEAD, HEAD, b"", "pe"),
        (HEAD - 1, HEAD, b"", BINARY),
        (0x1_0040, HEAD, b"", "pe"),
        ((16 << 20) - 1, HEAD, b"", "pe"),
        (16 << 20, HEAD, b"", BINARY),
        (HEAD, HEAD - 1, b"", BINARY),
        (0x80, 0x3f, b"", BINARY),
    ] {
        let found = sniff(&second_header(at, length.max(0x40), magic));
        assert_eq!(found.word(), word, "{at:#x} {length:#x}");
    }
    assert_eq!(sniff(b"MZ\0\0").word(), BINARY);
}

#[test]
fn a_dos_program_is_one_whose_first_header_adds_up() {
    let of = |last: u16, pages: u16, header: u16| {
        let mut head = vec![0x90; 0x80];
        head[..2].copy_from_slice(b"MZ");
        for (at, word) in [(2, last), (4, pages), (8, header)] {
            head[at..at + 2].copy_from_slice(&word.to_le_bytes());
        }
        sniff(&head).word().to_owned()
    };
    for (last, pages, header) in [(511, 1, 2), (0, 3, 0xfff), (0, 0x100, 2)] {
        assert_eq!(of(last, pages, header), "pe", "{last} {pages} {header}");
    }
    for (last, pages, header) in [
        (512, 1, 2),
        (600, 1, 2),
        (0, 0, 2),
        (0, 1, 1),
        (0, 1, 0x1000),
    ] {
        assert_eq!(of(last, pages, header), BINARY, "{last} {pages} {header}");
    }
}

#[test]
fn python_bytecode_has_a_version_and_flags() {
    for (head, is) in [
        (&b"\xa7\x0d\r\n\x03\0\0\0"[..], true),
        (b"\xb8\x0b\r\n\0\0\0\0", true),
        (b"\xa7\x0d\r\n\x04\0\0\0", false),
        (b"\xb7\x0b\r\n\0\0\0\0", false),
        (b"\xa0\x0f\r\n\0\0\0\0", false),
    ] {
        assert_eq!(is_python_bytecode(head), is, "{head:?}");
    }
}

#[test]
fn wide_text_is_text_in_every_width_and_order() {
    let utf32 = |units: &[u32], big: bool| -> Vec<u8> {
        let mark = std::iter::once(0xfeff);
        let units = mark.chain(units.iter().copied());
        units
            .flat_map(|u| {
                if big {
                    u.to_be_bytes()
                } else {
                    u.to_le_bytes()
                }
            })
            .collect()
    };
    let utf16 = |units: &[u16], big: bool| -> Vec<u8> {
        let mark = std::iter::once(0xfeff);
        let units = mark.chain(units.iter().copied());
        units
            .flat_map(|u| {
                if big {
                    u.to_be_bytes()
                } else {
                    u.to_le_bytes()
                }
            })
            .collect()
    };
    for big in [false, true] {
        for (units, is) in [
            (&[0x61, 0x62, 0x1f600][..], true),
            (&[0x61, 0x0], false),
            (&[0x61, 0x1], false),
            (&[0xd800], false),
            (&[0x11_0000], false),
            (&[0xfffe], false),
            (&[0xffff], false),
            (&[0x1_fffe], false),
        ] {
            assert_eq!(
                text::is_wide_text(&utf32(units, big)),
                is,
                "{units:x?} {big}"
            );
        }
        for (units, is) in [
            (&[0x61, 0x62, 0x1234][..], true),
            (&[0xd83d, 0xde00], true),
            (&[0xd83d], false),
            (&[0xde00, 0x61], false),
            (&[0x61, 0x0], false),
            (&[0xffff], false),
        ] {
            assert_eq!(
                text::is_wide_text(&utf16(units, big)),
                is,
                "{units:x?} {big}"
            );
        }
    }
    // One byte too many.
    for mut odd in [utf16(&[0x61], false), utf32(&[0x61], false)] {
        odd.push(0x61);
        assert!(!text::is_wide_text(&odd), "{odd:?}");
    }
}

#[test]
fn a_character_cut_off_at_the_end_of_the_head_says_nothing() {
    let cut = |at: usize, length: usize| {
        let mut head = b"a\0".repeat(length / 2);
        head[..2].copy_from_slice(b"\xff\xfe");
        head[at..at + 2].copy_from_slice(b"\x3d\xd8");
        text::is_wide_text(&head)
    };
    assert!(cut(HEAD - 2, HEAD));
    assert!(!cut(HEAD - 4, HEAD));
    assert!(!cut(HEAD - 4, HEAD - 2));
}

#[test]
fn eight_kilobytes_are_looked_at() {
    assert_eq!(HEAD, 8192);
}

#[test]
fn whoever_sends_text_in_an_unknown_code_is_told_which_codes_are_known() {
    let told = |head: &[u8], path| sniff(head).contradicts(path).unwrap();
    assert!(told(&[0; 300], "a.csv").contains("UTF-16"));
    assert!(!told(&[0; 300], "a.png").contains("UTF-16"));
    assert!(!told(b"PK\x03\x04", "a.csv").contains("UTF-16"));
    assert_eq!(
        told(b"a,b", "a.PNG"),
        "a.PNG looks like text, and a file named .png is png"
    );
}

#[test]
fn a_program_is_known_by_its_whole_signature_and_never_where_all_is_text() {
    for text in [
        &b"dex\n0\n1\n0\n"[..],
        b"dex\n035\n1\n",
        b"!<arch>\nnotes",
        b"!<arch>\n",
        b"\xca\xfe\xba\xbe in Latin-1\n",
        b"\xfe\xed\xfa\xce,b\n",
        b"BC\xc0\xde,1\n",
        b"\x1bLua notes\n",
        b"\xed\xab\xee\xdb\n",
        b"\x7fELF,notes\n",
    ] {
        let sniffed = sniff(text);
        for path in ["dex.csv", "a.txt"] {
            assert_eq!(sniffed.disguised(path), None, "{text:?}: {sniffed:?}");
            assert_eq!(sniffed.contradicts(path), None, "{text:?}: {sniffed:?}");
            assert_eq!(sniffed.looks(path), None, "{text:?}: {sniffed:?}");
        }
    }
    for (head, word) in [
        (&b"dex\n035\0abc"[..], "dex"),
        (b"dex\n039\0", "dex"),
        (b"\0asm\x02\0\0\0", BINARY),
        (b"\x7fELF\x01\x01\x01", "elf"),
        (b"\x7fELF\x03\0", BINARY),
    ] {
        assert_eq!(sniff(head).word(), word, "{head:?}");
    }
}

#[test]
fn those_who_decide_are_told_under_every_policy_and_refused_is_what_is_certain() {
    let html = b"<!DOCTYPE html><table>".to_vec();
    let json = b"{\n \"cells\": []}".to_vec();
    let por = {
        let mut all = b"ASCII SPSS PORT FILE".to_vec();
        all.resize(456, b'0');
        all.extend(b"SPSSPORT");
        all.chunks(80).collect::<Vec<_>>().join(&b"\r\n"[..])
    };
    for (head, path, told, refused) in [
        (html.clone(), "t.csv", true, false),
        (html.clone(), "t.html", false, false),
        (html.clone(), "t.md", false, false),
        (b"<svg xmlns=\"x\">".to_vec(), "t.svg", false, false),
        (
            b"\xef\xbb\xbf<?xml version=\"1.0\"?>".to_vec(),
            "t.tsv",
            true,
            false,
        ),
        (json.clone(), "t.csv", true, false),
        (json.clone(), "t.ipynb", false, false),
        (b"a,b\n1,2\n".to_vec(), "t.ipynb", true, false),
        (b"PK\x03\x04".to_vec(), "t.ipynb", true, true),
        (por.clone(), "t.por", false, false),
        (por.clone(), "t.csv", true, false),
        (por, "t.txt", true, false),
        (b"a,b\n".to_vec(), "t.por", true, true),
        (
            at(0, b"StataFileTM:00001:01100:GPH FILE"),
            "plot.png",
            true,
            true,
        ),
        (
            at(0, b"StataFileTM:00001:01100:GPH FILE"),
            "plot.gph",
            false,
            false,
        ),
        (at(0, b"PAR1"), "t.csv", true, true),
        (at(128, b"DICM"), "x.png", true, true),
        (at(0, b"\x6c\x1b\x01"), "geno.bed", false, false),
        (b"chr1\t1\t2\n".to_vec(), "peaks.bed", false, false),
        (at(0, b"\x89PNG\r\n\x1a\n"), "geno.bed", true, true),
        (at(0, b"PK\x03\x04"), "t.xlsx", true, false),
        (at(0, b"\x1f\x8b\x08"), "t.rds", true, false),
        (b"a,b\n1,2\n".to_vec(), "t.rds", true, true),
        (b"(dp0\nS'a'\n".to_vec(), "m.pkl", false, false),
    ] {
        let sniffed = sniff(&head);
        assert_eq!(sniffed.looks(path).is_some(), told, "{path}: {sniffed:?}");
        let breach = sniffed.contradicts(path);
        assert_eq!(breach.is_some(), refused, "{path}: {sniffed:?}");
    }
}

#[test]
fn a_table_or_a_zip_under_the_name_of_a_format_of_the_field_is_refused_where_it_is_listed() {
    for extension in [
        "dta",
        "mat",
        "nii",
        "xpt",
        "por",
        "onnx",
        "pkl",
        "fits",
        "sav",
        "sas7bdat",
        "sas7bcat",
        "feather",
        "arrow",
        "parquet",
        "h5",
        "npy",
        "safetensors",
        "gguf",
        "gpkg",
        "bam",
        "shp",
        "dcm",
        "bgen",
        "zsav",
        "orc",
        "avro",
        "nc",
    ] {
        let path = format!("m.{extension}");
        for head in [&b"a,b\n1,2\n"[..], b"PK\x03\x04\x14\0\0\0"] {
            assert!(sniff(head).contradicts(&path).is_some(), "{path}");
        }
    }
}

#[test]
fn warnings_say_what_the_name_does_not() {
    let parquet = sniff(&at(0, b"PAR1"));
    let told = warnings("t.csv", Some(&parquet), None);
    assert_eq!(
        told,
        ["t.csv looks like parquet, and a file named .csv is text"]
    );
    assert!(warnings("t.parquet", Some(&parquet), None).is_empty());
    let mut scan = Scan::default();
    scan.update(&b"a,b\n".repeat(HEAD));
    scan.update(b"\0");
    let remark = scan.finish();
    let text = sniff(b"a,b\n");
    let long = format!("{0}/{0}/t.csv", "x".repeat(200));
    assert_eq!(warnings(&long, Some(&text), remark.as_ref()).len(), 2);
    assert!(warnings(&long, None, None)[0].contains("Windows"));
}
