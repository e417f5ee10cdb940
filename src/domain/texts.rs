//! Texts that people write: what is refused, and how one is shown safely.
//!
//! A character that nobody sees, or that changes how its neighbours are shown,
//! has no place in a text that reviewers approve: control and format characters
//! (terminal escapes, bidirectional marks, zero-width spaces), line and
//! paragraph separators, private use and unassigned code points.

use std::fmt::Write as _;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It holds a character that could mislead a reader.
    #[error(
        "character {shown} at position {position} is a control, format, separator or private-use \
         character; remove it"
    )]
    Character {
        /// The character, escaped.
        shown: String,
        /// Its position, in characters from 1.
        position: usize,
    },
    /// It is longer than allowed.
    #[error("it has {length} characters; at most {max} are allowed")]
    TooLong {
        /// Characters it has.
        length: usize,
        /// Characters it may have.
        max: usize,
    },
}

/// Whether a character is refused in names and in texts of one line
/// (categories Cc, Cf, Zl, Zp, Co, Cn).
#[must_use]
pub fn is_refused(c: char) -> bool {
    // Most characters are ASCII, and most checks are of long texts.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::Surrogate
    )
}

/// Checks a text of one line.
///
/// # Errors
/// When it is longer than `max` characters, or holds one that [`is_refused`].
pub fn check_line(text: &str, max: usize) -> Result<(), TextError> {
    check(text, max, is_refused)
}

/// Checks a text of several lines: as [`check_line`], but line feeds, carriage
/// returns and tabs are welcome.
///
/// # Errors
/// As [`check_line`].
pub fn check_lines(text: &str, max: usize) -> Result<(), TextError> {
    check(text, max, |c| {
        !matches!(c, '\n' | '\r' | '\t') && is_refused(c)
    })
}

fn check(text: &str, max: usize, refused: impl Fn(char) -> bool) -> Result<(), TextError> {
    if let Some((index, c)) = text.chars().enumerate().find(|(_, c)| refused(*c)) {
        return Err(TextError::Character {
            shown: shown(c),
            position: index + 1,
        });
    }
    // No text has more characters than bytes: short ones need no count.
    match text.len() > max {
        true if text.chars().count() > max => Err(TextError::TooLong {
            length: text.chars().count(),
            max,
        }),
        _ => Ok(()),
    }
}

/// A refused character, in a form that does nothing.
#[must_use]
pub fn shown(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

/// A text made fit for a message, a log line or a terminal: one line, nothing
/// invisible, at most `max` characters and an ellipsis.
#[must_use]
pub fn harmless_line(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    for (count, c) in text.chars().enumerate() {
        if count == max {
            line.push('…');
            break;
        }
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if is_refused(c) => {
                // Writing to a String cannot fail.
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_refused() {
        for bad in [
            "a\u{0}",
            "a\u{1b}[31m",
            "a\u{7f}",
            "a\u{85}",
            "a\u{9b}",
            "\u{202e}fdp.exe",
            "a\u{200b}b",
            "a\u{2066}b",
            "a\u{2028}b",
            "a\u{2029}b",
            "a\u{e000}",
            "a\u{feff}",
            "a\u{ad}",
            "a\u{e0041}",
            "a\u{0378}",
            "a\u{fffe}",
            "a\u{10ffff}",
            "a\nb",
            "a\tb",
            "a\rb",
        ] {
            assert!(
                matches!(check_line(bad, 100), Err(TextError::Character { .. })),
                "{bad:?}"
            );
        }
        for good in [
            "",
            "Tables 1–3",
            "Żółć, ¿qué? 表 №5",
            "=1+1",
            "<b>&amp;</b>",
            "🙂",
        ] {
            assert_eq!(check_line(good, 100), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn several_lines_may_have_line_ends_and_tabs_only() {
        assert_eq!(check_lines("a\r\n\tb\n", 100), Ok(()));
        assert!(check_lines("a\u{b}b", 100).is_err());
        assert!(check_lines("a\u{2028}b", 100).is_err());
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert_eq!(check_line("żółć", 4), Ok(()));
        assert_eq!(
            check_line("żółć!", 4),
            Err(TextError::TooLong { length: 5, max: 4 })
        );
    }

    #[test]
    fn an_error_names_the_character_without_repeating_it() {
        let error = check_line("ab\u{202e}c", 100).unwrap_err().to_string();
        assert!(error.contains("U+202E at position 3"), "{error}");
        assert!(!error.contains('\u{202e}'));
    }

    #[test]
    fn a_harmless_line_is_one_short_line() {
        assert_eq!(
            harmless_line("a\nb\u{1b}[0m\u{202e}", 80),
            r"a\nb\u{1b}[0m\u{202e}"
        );
        assert_eq!(harmless_line("żółć", 3), "żół…");
        assert_eq!(harmless_line("żółć", 4), "żółć");
    }

    proptest::proptest! {
        #[test]
        fn every_harmless_line_passes_the_check(text in ".*", max in 0usize..50) {
            assert_eq!(check_line(&harmless_line(&text, max), usize::MAX), Ok(()));
        }
    }
}
