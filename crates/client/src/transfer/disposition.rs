//! The name of a download, as the server suggests it.

use percent_encoding::percent_decode_str;

use trevor_core::names;

/// When there is no usable name.
const PLAIN: &str = "package.zip";

/// A file name out of a `Content-Disposition` field: one segment, no hidden
/// file, nothing that [`names::check_file`] refuses.
pub(super) fn file_name(field: Option<&str>) -> String {
    field
        .and_then(|field| extended(field).or_else(|| quoted(field)))
        .filter(|name| !name.starts_with('.') && !name.contains('/'))
        .filter(|name| names::check_file(name).is_ok())
        .unwrap_or_else(|| PLAIN.to_owned())
}

/// `filename*=UTF-8''a%20b.zip` (RFC 8187).
fn extended(field: &str) -> Option<String> {
    let value = parameter(field, "filename*")?;
    let (charset, rest) = value.split_once('\'')?;
    let (_, encoded) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    Some(percent_decode_str(encoded).decode_utf8().ok()?.into_owned())
}

/// `filename="a b.zip"` or `filename=a.zip`.
fn quoted(field: &str) -> Option<String> {
    let value = parameter(field, "filename")?;
    Some(value.trim_matches('"').to_owned())
}

/// The value of a parameter. A `;` within quotes ends it too early: then the
/// name is one that is not used.
fn parameter<'a>(field: &'a str, wanted: &str) -> Option<&'a str> {
    field.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case(wanted)
            .then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_name_is_used_only_if_it_is_a_harmless_one() {
        for (field, expected) in [
            (
                Some("attachment; filename=\"frailty-1a2b.zip\""),
                "frailty-1a2b.zip",
            ),
            (Some("attachment; filename=a.zip"), "a.zip"),
            (
                Some("attachment; FileName=\"x.zip\"; filename*=UTF-8''%C3%A9%20b.zip"),
                "é b.zip",
            ),
            (Some("attachment; filename=\"../../x.zip\""), PLAIN),
            (Some("attachment; filename=\"/etc/passwd\""), PLAIN),
            (Some("attachment; filename=\"..\\x.zip\""), PLAIN),
            (Some("attachment; filename=\".bashrc\""), PLAIN),
            (Some("attachment; filename*=UTF-8''..%2Fx"), PLAIN),
            (Some("attachment; filename*=UTF-8''a%0Ab"), PLAIN),
            (Some("attachment; filename=\"con\""), PLAIN),
            (Some("attachment; filename=\"\""), PLAIN),
            (Some("inline"), PLAIN),
            (None, PLAIN),
        ] {
            assert_eq!(file_name(field), expected, "{field:?}");
        }
    }
}
