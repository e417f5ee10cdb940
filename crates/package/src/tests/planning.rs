//! The plan: every package fits one upload, and names nothing twice.

use proptest::prelude::*;

use super::super::plan::{MAX_PART, MAX_PARTS, MIN_PART, sizes};
use super::*;

#[test]
fn what_shrinks_is_deflated_and_the_rest_is_stored() {
    let manifest = manifest(vec![
        file("a.csv", &table(1000)),
        file("b.csv", &table(10)),
        file("c.png", &table(1000)),
        file("d.unknown", &table(1000)),
    ]);
    let digest = Sha256Hex::of(b"manifest");
    let plan = Plan::new(&inputs(&manifest, &digest)).unwrap();
    let layout: Vec<_> = plan.layout().skip(2).collect();
    assert_eq!(
        layout,
        [
            ("data/a.csv", Method::Deflated),
            ("data/b.csv", Method::Stored),
            ("data/c.png", Method::Stored),
            ("data/d.unknown", Method::Stored),
        ]
    );
    assert!(plan.is_small());
    assert_eq!(plan.folders().into_iter().collect::<Vec<_>>(), ["data"]);
}

#[test]
fn names_are_checked_once_more() {
    let digest = Sha256Hex::of(b"manifest");
    for paths in [
        &["../x"][..],
        &["a/../../x"],
        &["/x"],
        &["x", "X"],
        &["a", "a/b"],
        &["ro-crate-x"],
    ] {
        let manifest = manifest(paths.iter().map(|path| file(path, b"x")).collect());
        assert!(Plan::new(&inputs(&manifest, &digest)).is_err(), "{paths:?}");
    }
}

#[test]
fn five_tebibytes_fit_in_one_upload() {
    let manifest = |size: u64| {
        let mut large = file("large.parquet", b"");
        large.size = size;
        manifest(vec![large])
    };
    let digest = Sha256Hex::of(b"manifest");
    let five = manifest(5 << 40);
    let plan = Plan::new(&inputs(&five, &digest)).unwrap();
    assert!(plan.max_size().div_ceil(plan.part_size()) <= MAX_PARTS);
    assert_eq!(plan.part_size() >> 20, 525);
    let hundred = manifest(100 << 40);
    assert!(matches!(
        Plan::new(&inputs(&hundred, &digest)),
        Err(PlanError::TooLarge { .. })
    ));
}

proptest! {
    #[test]
    fn every_plan_has_few_enough_parts(
        files in proptest::collection::vec((0_u64..5 << 40, any::<bool>(), "[a-z]{1,500}"), 0..10),
        more in 0_u64..10_000,
    ) {
        let method = |deflated| if deflated { Method::Deflated } else { Method::Stored };
        let entries = files.iter().map(|(size, deflated, name)| (name.as_str(), method(*deflated), *size));
        let small = (0..more).map(|_| ("a name", Method::Stored, 1024));
        let total: u64 = files.iter().map(|f| f.0).sum::<u64>() + more * 1024;
        prop_assume!(total <= 5 << 40);
        let (most, part) = sizes(entries.chain(small), MIN_PART).unwrap();
        prop_assert!(most > total);
        prop_assert!((MIN_PART..=MAX_PART).contains(&part));
        prop_assert!(most.div_ceil(part) <= MAX_PARTS);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_zip_is_larger_than_planned(
        files in proptest::collection::vec((0_usize..400_000, any::<bool>(), any::<bool>()), 0..6),
        chunk in 1_usize..300_000,
    ) {
        // The worst of all: noise that is deflated.
        let content: Vec<(String, Vec<u8>)> = files
            .iter()
            .enumerate()
            .map(|(n, (len, csv, noisy))| {
                let name = format!("{n}.{}", if *csv { "csv" } else { "bin" });
                (name, if *noisy { noise(*len, n as u64) } else { table(*len / 16) })
            })
            .collect();
        let content: Vec<(&str, Vec<u8>)> =
            content.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let manifest = manifest(content.iter().map(|(name, bytes)| file(name, bytes)).collect());
        let digest = Sha256Hex::of(b"manifest");
        let plan = Plan::with_parts_of(&inputs(&manifest, &digest), 50_000).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // `packed` compares the sizes.
        let zip = runtime.block_on(packed(&plan, &budget(), &Store::of(&content, chunk))).ok().unwrap();
        let archive = zip::ZipArchive::new(std::io::Cursor::new(zip.bytes)).unwrap();
        prop_assert_eq!(archive.len(), content.len() + 2);
    }
}

/// Nobody may take outputs for open because nobody said that they are not.
#[test]
fn without_a_license_the_crate_says_that_none_is_granted_and_whom_to_ask() {
    let one = manifest(vec![file("a.csv", b"1")]);
    let digest = Sha256Hex::of(b"manifest");
    let mut inputs = inputs(&one, &digest);
    inputs.license = None;
    let text = String::from_utf8(metadata::render(&inputs).unwrap()).unwrap();
    let crate_: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entities = crate_["@graph"].as_array().unwrap();
    let of = |id: &str| entities.iter().find(|e| e["@id"] == id).unwrap();
    let license = of(of("./")["license"]["@id"].as_str().unwrap());
    assert_eq!(license["name"], "All rights reserved");
    let said = license["description"].as_str().unwrap();
    assert!(
        said.contains("No license is granted") && said.contains("outputs@manchester.example"),
        "{said}"
    );
    assert!(!text.contains("creativecommons"));
    let page = preview::render(&inputs);
    assert!(page.contains("No license is granted") && !page.contains("creativecommons"));
}
