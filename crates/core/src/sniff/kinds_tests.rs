//! Real files, as the libraries of the field write them (tests/fixtures/kinds/make.py).

use std::path::PathBuf;

use super::*;

/// What each is.
const KINDS: &[(&str, &str)] = &[
    ("array.fits", "fits"),
    ("array.h5", "hdf5"),
    ("array.nc", "netcdf"),
    ("array.npy", "npy"),
    ("arrays.npz", "npz"),
    ("block.h5", "hdf5"),
    ("book.xls", "ole"),
    ("empty.bam", "bam"),
    ("file.arrow", "arrow"),
    ("geno.bed", "plink-bed"),
    ("geno.bim", "text"),
    ("geno.fam", "text"),
    ("model.onnx", "onnx"),
    ("model.safetensors", "safetensors"),
    ("named.onnx", "onnx"),
    ("notebook.ipynb", "json"),
    ("openpyxl.xlsx", "xlsx"),
    ("p.bmp", "bmp"),
    ("p.gif", "gif"),
    ("p.jpg", "jpeg"),
    ("p.png", "png"),
    ("p.tiff", "tiff"),
    ("p.webp", "webp"),
    ("packed.npz", "npz"),
    ("packed.rda", "r-data"),
    ("packed.rds", "r-data"),
    ("page.html", "xml"),
    ("peaks.bed", "text"),
    ("plain.rdata", "r-data"),
    ("plain.rds", "r-data"),
    ("plain.zip", "zip"),
    ("plot.eps", "postscript"),
    ("plot.pdf", "pdf"),
    ("plot.svg", "svg"),
    ("progressive.jpg", "jpeg"),
    ("protocol0.pkl", "pickle"),
    ("protocol1.pkl", "pickle"),
    ("protocol2.pkl", "pickle"),
    ("protocol3.pkl", "pickle"),
    ("protocol4.pkl", "pickle"),
    ("protocol5.pkl", "pickle"),
    ("readstat.dta", "stata"),
    ("report.docx", "docx"),
    ("rows.jsonl", "json"),
    ("sheet.ods", "ods"),
    ("slice.dcm", "dicom"),
    ("slides.pptx", "pptx"),
    ("stream.arrow", "arrow-stream"),
    ("table.avro", "avro"),
    ("table.csv", "text"),
    ("table.csv.gz", "gzip"),
    ("table.json", "json"),
    ("table.orc", "orc"),
    ("table.parquet", "parquet"),
    ("table.pkl", "pickle"),
    ("table.por", "spss-portable"),
    ("table.sav", "spss"),
    ("table.sqlite", "sqlite"),
    ("table.tsv", "text"),
    ("table.xml", "xml"),
    ("table.zsav", "spss"),
    ("utf16.csv", "text"),
    ("v1.feather", "feather"),
    ("v1.nii", "nifti"),
    ("v1.nii.gz", "gzip"),
    ("v114.dta", "stata"),
    ("v118.dta", "stata"),
    ("v2.feather", "arrow"),
    ("v2.nii", "nifti"),
    ("v4.mat", "matlab"),
    ("v5.mat", "matlab"),
    ("v5.xpt", "sas-xport"),
    ("v8.xpt", "sas-xport"),
    ("whole.html", "html"),
    ("words.odt", "odt"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/kinds")
}

fn look(name: &str) -> (Sniffed, Option<Remark>) {
    let bytes = std::fs::read(folder().join(name)).unwrap();
    let mut scan = Scan::default();
    scan.update(&bytes);
    (sniff(&bytes[..bytes.len().min(HEAD)]), scan.finish())
}

#[test]
fn real_files_are_what_they_are_under_their_own_names() {
    for (name, word) in KINDS {
        let (sniffed, remark) = look(name);
        assert_eq!(sniffed.word(), *word, "{name}");
        assert_eq!(sniffed.disguised(name), None, "{name}");
        assert_eq!(sniffed.contradicts(name), None, "{name}");
        let told = warnings(name, Some(&sniffed), remark.as_ref());
        assert!(told.is_empty(), "{told:?}");
    }
}

#[test]
fn every_real_file_is_in_the_table() {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["make.py", "requirements.txt"].contains(&name.as_str()))
        .collect();
    names.sort();
    let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known);
}

#[test]
fn a_real_file_under_the_name_of_another_kind_is_told_of() {
    let own = |name: &str, path: &str| {
        let (ours, theirs) = (extension(name), extension(path));
        let promise = |e: &Option<String>| {
            let e = e.as_deref().unwrap_or_default();
            PROMISES.iter().position(|(all, ..)| all.contains(&e))
        };
        promise(&ours) == promise(&theirs)
    };
    let others = [
        "t.csv",
        "p.png",
        "p.pdf",
        "t.dta",
        "t.mat",
        "t.nii",
        "t.xpt",
        "t.por",
        "t.onnx",
        "t.pkl",
        "t.fits",
        "t.sav",
        "t.sas7bdat",
        "t.xlsx",
        "t.docx",
        "t.parquet",
        "t.h5",
        "t.rds",
        "t.npy",
        "t.json",
        "t.safetensors",
        "t.feather",
        "t.dcm",
    ];
    for (name, word) in KINDS {
        let (sniffed, _) = look(name);
        for path in others.iter().filter(|path| !own(name, path)) {
            // What is text may be a table, and a file of Matlab may be one of HDF5.
            let fits = *word == "text" && *path == "t.csv"
                || *word == "hdf5" && *path == "t.mat"
                || *word == "arrow" && *path == "t.feather";
            assert_eq!(sniffed.looks(path).is_some(), !fits, "{name} as {path}");
        }
    }
}
