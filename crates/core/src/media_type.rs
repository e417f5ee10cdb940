//! Media types by file name: the same everywhere, whatever the machine has
//! installed. The type goes into the manifest, so reviewers approve it too.

/// What a name without a known extension is.
pub const DEFAULT: &str = "application/octet-stream";

/// Extension, media type, and whether deflate makes such files smaller.
const TABLE: &[(&str, &str, bool)] = &[
    ("avif", "image/avif", false),
    ("bib", "text/x-bibtex", true),
    ("bz2", "application/x-bzip2", false),
    ("c", "text/x-c", true),
    ("cpp", "text/x-c", true),
    ("css", "text/css", true),
    ("csv", "text/csv", true),
    ("dcm", "application/dicom", false),
    ("do", "text/x-stata-do", true),
    ("doc", "application/msword", true),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        false,
    ),
    ("dta", "application/x-stata-dta", true),
    ("eps", "application/postscript", true),
    ("feather", "application/vnd.apache.arrow.file", false),
    ("fits", "application/fits", false),
    ("geojson", "application/geo+json", true),
    ("gif", "image/gif", false),
    ("gz", "application/gzip", false),
    ("h5", "application/x-hdf5", false),
    ("htm", "text/html", true),
    ("html", "text/html", true),
    ("ipynb", "application/x-ipynb+json", true),
    ("jl", "text/x-julia", true),
    ("jpeg", "image/jpeg", false),
    ("jpg", "image/jpeg", false),
    ("js", "text/javascript", true),
    ("json", "application/json", true),
    ("jsonl", "application/jsonl", true),
    ("jsonld", "application/ld+json", true),
    ("log", "text/plain", true),
    ("md", "text/markdown", true),
    ("mp4", "video/mp4", false),
    ("nc", "application/netcdf", false),
    ("nii", "application/x-nifti", false),
    ("npy", "application/x-npy", false),
    ("npz", "application/x-npz", false),
    (
        "odp",
        "application/vnd.oasis.opendocument.presentation",
        false,
    ),
    (
        "ods",
        "application/vnd.oasis.opendocument.spreadsheet",
        false,
    ),
    ("odt", "application/vnd.oasis.opendocument.text", false),
    ("onnx", "application/onnx", false),
    ("parquet", "application/vnd.apache.parquet", false),
    ("pdf", "application/pdf", false),
    ("png", "image/png", false),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        false,
    ),
    ("ps", "application/postscript", true),
    ("py", "text/x-python", true),
    ("qmd", "text/markdown", true),
    ("r", "text/x-r", true),
    ("rda", "application/x-rdata", false),
    ("rdata", "application/x-rdata", false),
    ("rds", "application/x-rds", false),
    ("rmd", "text/markdown", true),
    ("rtf", "application/rtf", true),
    ("sas", "text/x-sas", true),
    ("sas7bdat", "application/x-sas-data", true),
    ("sav", "application/x-spss-sav", false),
    ("sh", "application/x-sh", true),
    ("sps", "text/x-spss", true),
    ("sql", "application/sql", true),
    ("sqlite", "application/vnd.sqlite3", true),
    ("svg", "image/svg+xml", true),
    ("tar", "application/x-tar", true),
    ("tex", "text/x-tex", true),
    ("tif", "image/tiff", false),
    ("tiff", "image/tiff", false),
    ("toml", "application/toml", true),
    ("tsv", "text/tab-separated-values", true),
    ("txt", "text/plain", true),
    ("vcf", "text/x-vcf", true),
    ("webp", "image/webp", false),
    ("xls", "application/vnd.ms-excel", true),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        false,
    ),
    ("xml", "application/xml", true),
    ("xz", "application/x-xz", false),
    ("yaml", "application/yaml", true),
    ("yml", "application/yaml", true),
    ("zip", "application/zip", false),
    ("zst", "application/zstd", false),
];

/// The media type of a file, by the extension of its path, ignoring case.
#[must_use]
pub fn of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return DEFAULT;
    };
    if stem.is_empty() {
        return DEFAULT;
    }
    let extension = extension.to_ascii_lowercase();
    match TABLE.binary_search_by(|(known, ..)| known.cmp(&extension.as_str())) {
        Ok(at) => TABLE
            .get(at)
            .map_or(DEFAULT, |(_, media_type, _)| media_type),
        Err(_) => DEFAULT,
    }
}

/// Whether deflate makes files of a media type smaller. What is not known, or
/// is compressed by its own format, is better stored as it is.
#[must_use]
pub fn compresses(media_type: &str) -> bool {
    TABLE
        .iter()
        .any(|(_, known, compresses)| *compresses && *known == media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_in_lower_case() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
        assert!(
            TABLE
                .iter()
                .all(|(extension, ..)| *extension == extension.to_ascii_lowercase())
        );
    }

    #[test]
    fn a_type_either_compresses_or_not() {
        for (_, media_type, expected) in TABLE {
            assert_eq!(compresses(media_type), *expected, "{media_type}");
        }
        assert!(!compresses(DEFAULT));
    }

    #[test]
    fn the_last_extension_decides_whatever_its_case() {
        for (path, media_type) in [
            ("tables/t1.csv", "text/csv"),
            ("T1.CSV", "text/csv"),
            ("a.tar.gz", "application/gzip"),
            ("figures.d/plot", DEFAULT),
            (".csv", DEFAULT),
            ("a.", DEFAULT),
            ("a.żó", DEFAULT),
            ("model.rds", "application/x-rds"),
            ("x.unknown", DEFAULT),
        ] {
            assert_eq!(of(path), media_type, "{path}");
        }
    }
}
