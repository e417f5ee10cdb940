//! Texts that people write: what is refused, and how one is shown safely.
//!
//! A character that nobody sees, or that changes how its neighbours are shown,
//! has no place in a text that reviewers approve: control and format characters
//! (terminal escapes, bidirectional marks, zero-width spaces), line and
//! paragraph separators, private use and unassigned code points. Two format characters
//! are part of the spelling of some languages, and are taken there: [`is_joiner`].

use std::fmt::Write as _;

use unicode_normalization::char::canonical_combining_class;
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

/// The zero-width non-joiner and joiner: they say how the letters beside them are
/// written, in Persian and Hindi for example, and are part of the spelling there.
#[must_use]
pub fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Blocks of the scripts that are spelled with joiners, by script.
const JOINED: &[&[(char, char)]] = &[
    // Arabic, with Persian, Urdu, Pashto, Kurdish, Uyghur and more.
    &[
        ('\u{600}', '\u{6ff}'),
        ('\u{750}', '\u{77f}'),
        ('\u{870}', '\u{8ff}'),
        ('\u{fb50}', '\u{fdff}'),
        ('\u{fe70}', '\u{fefc}'),
    ],
    // Syriac.
    &[('\u{700}', '\u{74f}'), ('\u{860}', '\u{86f}')],
    // Devanagari (Hindi, Marathi, Nepali), with the marks of Vedic.
    &[
        ('\u{900}', '\u{97f}'),
        ('\u{1cd0}', '\u{1cff}'),
        ('\u{a8e0}', '\u{a8ff}'),
    ],
    // Bengali, Gurmukhi, Gujarati, Oriya, Tamil, Telugu, Kannada, Malayalam, Sinhala.
    &[('\u{980}', '\u{9ff}')],
    &[('\u{a00}', '\u{a7f}')],
    &[('\u{a80}', '\u{aff}')],
    &[('\u{b00}', '\u{b7f}')],
    &[('\u{b80}', '\u{bff}')],
    &[('\u{c00}', '\u{c7f}')],
    &[('\u{c80}', '\u{cff}')],
    &[('\u{d00}', '\u{d7f}')],
    &[('\u{d80}', '\u{dff}')],
    // Mongolian.
    &[('\u{1800}', '\u{18af}')],
];

/// Which of the scripts that are spelled with joiners a letter or mark belongs to.
fn joined_script(c: char) -> Option<usize> {
    use unicode_properties::GeneralCategoryGroup::{Letter, Mark};
    let within = |blocks: &&[(char, char)]| blocks.iter().any(|(a, z)| (*a..=*z).contains(&c));
    let script = JOINED.iter().position(within)?;
    matches!(c.general_category_group(), Letter | Mark).then_some(script)
}

/// Combining class of the signs that join consonants (virama, halant).
const VIRAMA: u8 = 9;

/// Whether a joiner between two characters is spelling: both are of one script that is
/// spelled with joiners, or the first is its virama.
fn is_spelling(before: Option<char>, after: Option<char>) -> bool {
    let Some((c, script)) = before.and_then(|c| Some((c, joined_script(c)?))) else {
        return false;
    };
    canonical_combining_class(c) == VIRAMA || after.and_then(joined_script) == Some(script)
}

/// The characters of a text that are refused, with their positions in characters
/// from 0: those that [`is_refused`], but for joiners where they are spelling.
pub fn refused(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut before = None;
    let mut chars = text.chars().enumerate().peekable();
    std::iter::from_fn(move || {
        loop {
            let (at, c) = chars.next()?;
            let after = chars.peek().map(|(_, c)| *c);
            let was = before.replace(c);
            if is_refused(c) && !(is_joiner(c) && is_spelling(was, after)) {
                return Some((at, c));
            }
        }
    })
}

/// Checks a text of one line.
///
/// # Errors
/// When it is longer than `max` characters, or holds one that is [`refused`].
pub fn check_line(text: &str, max: usize) -> Result<(), TextError> {
    check(text, max, |_| true)
}

/// Checks a text of several lines: as [`check_line`], but line feeds, carriage
/// returns and tabs are welcome.
///
/// # Errors
/// As [`check_line`].
pub fn check_lines(text: &str, max: usize) -> Result<(), TextError> {
    check(text, max, |c| !matches!(c, '\n' | '\r' | '\t'))
}

fn check(text: &str, max: usize, counts: impl Fn(char) -> bool) -> Result<(), TextError> {
    if let Some((index, c)) = refused(text).find(|(_, c)| counts(*c)) {
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
    let mut bad = refused(text).map(|(at, _)| at).peekable();
    for (count, c) in text.chars().enumerate() {
        if count == max {
            line.push('…');
            break;
        }
        let is_bad = bad.next_if_eq(&count).is_some();
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if is_bad => {
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
    fn joiners_are_taken_where_they_are_spelling_and_nowhere_else() {
        for good in [
            "می\u{200c}خواهم",
            "کار\u{200c}ها.csv",
            "क्\u{200d}ष",
            "क्\u{200c}ष",
            "र\u{200d}्य",
            "র\u{200d}্যাব",
            "അവന്\u{200d}.csv",
            "ශ්\u{200d}රී",
            "خانه\u{200c}ی ما",
        ] {
            assert_eq!(check_line(good, 100), Ok(()), "{good:?}");
            assert_eq!(harmless_line(good, 100), good);
        }
        for bad in [
            "a\u{200d}b",
            "a\u{200c}b",
            "\u{200c}خواهم",
            "خواهم\u{200c}",
            "خواهم\u{200c}.csv",
            "می\u{200c}\u{200c}خواهم",
            "می\u{200c}x",
            "میक\u{200c}م",
            "۱\u{200c}۲",
            "👩\u{200d}🔬",
            "می\u{200b}خواهم",
        ] {
            assert!(check_line(bad, 100).is_err(), "{bad:?}");
            assert!(harmless_line(bad, 100).contains("\\u{200"), "{bad:?}");
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
