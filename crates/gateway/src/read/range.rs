//! The `Range` field: one range of bytes. Several, or what cannot be read, mean
//! the whole, as RFC 9110 allows.

/// What of an object is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// From the first to the last byte, both included.
    Part {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// Nothing that there is.
    Unsatisfiable,
}

/// What `field` asks of an object of `size` bytes.
#[must_use]
pub fn wanted(field: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = field
        .and_then(|f| f.strip_prefix("bytes="))
        .and_then(|r| r.trim().split_once('-'))
    else {
        return Wanted::Whole;
    };
    match (number(first), number(last)) {
        (Some(Some(first)), Some(last)) => match last {
            Some(last) if last < first => Wanted::Whole,
            _ if first >= size => Wanted::Unsatisfiable,
            last => Wanted::Part {
                first,
                last: last.unwrap_or(u64::MAX).min(size - 1),
            },
        },
        (Some(None), Some(Some(suffix))) if suffix == 0 || size == 0 => Wanted::Unsatisfiable,
        (Some(None), Some(Some(suffix))) => Wanted::Part {
            first: size.saturating_sub(suffix),
            last: size - 1,
        },
        _ => Wanted::Whole,
    }
}

/// Digits, or nothing; `None` is neither.
fn number(text: &str) -> Option<Option<u64>> {
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
        let part = |first, last| Wanted::Part { first, last };
        for (field, size, want) in [
            (None, 10, Wanted::Whole),
            (Some("bytes=0-0"), 10, part(0, 0)),
            (Some("bytes=2-"), 10, part(2, 9)),
            (Some("bytes=2-99"), 10, part(2, 9)),
            (Some("bytes=-3"), 10, part(7, 9)),
            (Some("bytes=-99"), 10, part(0, 9)),
            (Some("bytes=10-"), 10, Wanted::Unsatisfiable),
            (Some("bytes=-0"), 10, Wanted::Unsatisfiable),
            (Some("bytes=0-"), 0, Wanted::Unsatisfiable),
            (Some("bytes=-1"), 0, Wanted::Unsatisfiable),
            (
                Some("bytes=99999999999999999999-"),
                10,
                Wanted::Unsatisfiable,
            ),
            (Some("bytes=3-2"), 10, Wanted::Whole),
            (Some("bytes=0-1,3-4"), 10, Wanted::Whole),
            (Some("bytes=+1-2"), 10, Wanted::Whole),
            (Some("bytes=-"), 10, Wanted::Whole),
            (Some("lines=1-2"), 10, Wanted::Whole),
        ] {
            assert_eq!(wanted(field, size), want, "{field:?} of {size}");
        }
    }
}
