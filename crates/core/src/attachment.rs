//! The name under which a file is saved (RFC 6266), in any script (RFC 8187).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What `filename*` may hold as it is.
const ATTR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// `Content-Disposition` of a file that is saved under the last segment of its path:
/// always an attachment; the name in plain ASCII, and as it is.
#[must_use]
pub fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let plain: String = name
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || " .-_()+".contains(c) => c,
            _ => '_',
        })
        .collect();
    if plain == name {
        return format!("attachment; filename=\"{plain}\"");
    }
    format!(
        "attachment; filename=\"{plain}\"; filename*=UTF-8''{}",
        utf8_percent_encode(name, ATTR)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_attachment_cannot_leave_its_quotes() {
        for (path, field) in [
            ("t/a b.csv", "filename=\"a b.csv\""),
            (
                "x\";é.html",
                "filename=\"x___.html\"; filename*=UTF-8''x%22%3B%C3%A9.html",
            ),
        ] {
            assert_eq!(disposition(path), format!("attachment; {field}"));
        }
    }

    #[test]
    fn a_name_in_any_script_is_whole() {
        for (path, field) in [
            (
                "données_été.csv",
                "filename=\"donn_es__t_.csv\"; filename*=UTF-8''donn%C3%A9es_%C3%A9t%C3%A9.csv",
            ),
            (
                "表.csv",
                "filename=\"_.csv\"; filename*=UTF-8''%E8%A1%A8.csv",
            ),
            (
                "100%'.csv",
                "filename=\"100__.csv\"; filename*=UTF-8''100%25%27.csv",
            ),
        ] {
            assert_eq!(disposition(path), format!("attachment; {field}"));
        }
    }
}
