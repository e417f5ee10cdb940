//! The `Range` field. One range of bytes is supported. For several ranges or a malformed field the
//! whole file is sent, as RFC 9110 allows.

/// The range that a client requests of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedRange {
    /// The whole file.
    Whole,
    /// From the first to the last byte, both included.
    Part { first: u64, last: u64 },
    /// A range outside the file.
    Unsatisfiable,
}

/// Parses `field` for a file of `size` bytes.
#[must_use]
pub fn parse(field: Option<&str>, size: u64) -> RequestedRange {
    let Some((first, last)) = field
        .and_then(|f| f.strip_prefix("bytes="))
        .and_then(|r| r.trim().split_once('-'))
    else {
        return RequestedRange::Whole;
    };
    match (position(first), position(last)) {
        (Some(Some(first)), Some(last)) => match last {
            Some(last) if last < first => RequestedRange::Whole,
            _ if first >= size => RequestedRange::Unsatisfiable,
            last => RequestedRange::Part {
                first,
                last: last.unwrap_or(u64::MAX).min(size - 1),
            },
        },
        (Some(None), Some(Some(suffix))) if suffix == 0 || size == 0 => {
            RequestedRange::Unsatisfiable
        }
        (Some(None), Some(Some(suffix))) => RequestedRange::Part {
            first: size.saturating_sub(suffix),
            last: size - 1,
        },
        _ => RequestedRange::Whole,
    }
}

/// A number, or nothing for an empty text. `None` for any other text.
fn position(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_cut_to_the_object_and_anything_else_is_the_whole() {
        let part = |first, last| RequestedRange::Part { first, last };
        for (field, size, want) in [
            (None, 10, RequestedRange::Whole),
            (Some("bytes=0-0"), 10, part(0, 0)),
            (Some("bytes=2-"), 10, part(2, 9)),
            (Some("bytes=2-99"), 10, part(2, 9)),
            (Some("bytes=-3"), 10, part(7, 9)),
            (Some("bytes=-99"), 10, part(0, 9)),
            (Some("bytes=10-"), 10, RequestedRange::Unsatisfiable),
            (Some("bytes=-0"), 10, RequestedRange::Unsatisfiable),
            (Some("bytes=0-"), 0, RequestedRange::Unsatisfiable),
            (Some("bytes=-1"), 0, RequestedRange::Unsatisfiable),
            (
                Some("bytes=99999999999999999999-"),
                10,
                RequestedRange::Unsatisfiable,
            ),
            (Some("bytes=3-2"), 10, RequestedRange::Whole),
            (Some("bytes=0-1,3-4"), 10, RequestedRange::Whole),
            (Some("bytes=+1-2"), 10, RequestedRange::Whole),
            (Some("bytes=-"), 10, RequestedRange::Whole),
            (Some("lines=1-2"), 10, RequestedRange::Whole),
        ] {
            assert_eq!(parse(field, size), want, "{field:?} of {size}");
        }
    }
}
