//! Packages for the tools of others: the public validator, `unzip`, Python,
//! `bsdtar`. Written to `target/tmp/crates`; unfold one and give the folder to
//! `tests/env/validate_crate.py`.

use std::path::PathBuf;

use super::*;

fn folder() -> PathBuf {
    let dir = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/tmp/crates"
    ));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

async fn write(
    name: &str,
    manifest: &Manifest,
    change: impl Fn(&mut CrateInputs<'_>),
    store: &Store,
) {
    let digest = Sha256Hex::of(b"manifest");
    let mut inputs = inputs(manifest, &digest);
    change(&mut inputs);
    let plan = Plan::new(&inputs).unwrap();
    let zip = packed(&plan, &budget(), store).await.unwrap();
    std::fs::write(folder().join(format!("{name}.zip")), zip.bytes).unwrap();
}

#[tokio::test]
async fn packages_are_written_for_the_tools_of_others() {
    let one = [("table.csv", table(1000))];
    let store = Store::of(&one, 1000);
    let plain = manifest(vec![file("table.csv", &one[0].1)]);
    write("one", &plain, |_| {}, &store).await;

    let mut bare = plain.clone();
    bare.description.clear();
    bare.files[0].output_type = None;
    write(
        "bare",
        &bare,
        |inputs| inputs.license = Some("https://licenses.example/own".into()),
        &store,
    )
    .await;
    write("unlicensed", &plain, |inputs| inputs.license = None, &store).await;

    let named = |inputs: &mut CrateInputs<'_>| {
        inputs.reviewers = Some(vec!["bob".into(), "carol".into()]);
    };
    let mut authors = plain.clone();
    authors.authors = vec![author(
        "Ż. Author",
        Some("0000-0002-1825-0097"),
        Some(("University", Some("03f0f6041"))),
    )];
    write("author", &authors, named, &store).await;

    authors.authors.extend([
        author(
            "B. Author",
            Some("0000-0001-5109-3700"),
            Some(("University", Some("03f0f6041"))),
        ),
        author(
            "C. Author",
            Some("0000-0002-1694-233X"),
            Some(("Elsewhere", None)),
        ),
        author("D. Author", None, Some(("University", Some("03f0f6041")))),
        author("E. Author", Some("0000-0003-1419-2405"), None),
        author("F. Author", None, None),
        // At the publisher, and twice.
        author(
            "G. Author",
            Some("0000-0001-9842-9718"),
            Some(("Manchester", Some("027m9bs27"))),
        ),
        author(
            "G. Author",
            Some("0000-0001-9842-9718"),
            Some(("Manchester", Some("027m9bs27"))),
        ),
    ]);
    write("authors", &authors, named, &store).await;

    let many: Vec<(&str, Vec<u8>)> = vec![
        ("a b/c d.csv", table(500)),
        ("100%/50%25.csv", table(500)),
        ("hash#tag.txt", b"x".to_vec()),
        ("q&a;b=c,d+e@f!g$h'i(j)k~l.txt", b"x".to_vec()),
        ("[x]{y}^z`w.txt", b"x".to_vec()),
        ("=1+1.csv", b"x".to_vec()),
        ("żółć/表 №1.csv", table(500)),
        ("עברית/عربي.txt", b"x".to_vec()),
        ("empty", vec![]),
        ("page.html", b"<p>".to_vec()),
        ("plot.png", noise(100_000, 1)),
        ("notes.ipynb", table(500)),
        ("model.rds", noise(1000, 2)),
    ];
    let mut unusual = manifest(many.iter().map(|(path, bytes)| file(path, bytes)).collect());
    unusual.title = "Ünusual \"names\" <b> & 表".into();
    unusual.description = "Two lines:\n=this is the second".into();
    write("unusual", &unusual, |_| {}, &Store::of(&many, 1000)).await;
}
