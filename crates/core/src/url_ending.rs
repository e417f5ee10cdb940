//! Whether to warn that a URL ends which nobody has used.
//!
//! Used is what trevor can know: that the gateway handed the URL out (GET release).
//! Reading the Secret, and downloads by the URL, leave no trace here, so that the
//! warning says what was seen, not what was not done.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest time between a warning and the end.
const BEFORE: SignedDuration = SignedDuration::from_hours(24);
/// The part of a URL's life that is left of a shorter one.
const PART: i32 = 4;

/// `warnings/url-<issue>.json`: that a warning went out about a URL. It is there before
/// anybody is told, so that nobody is told twice; who is told derives from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlWarning {
    /// Which issue.
    pub issue: i64,
    /// When it ends.
    pub expires: Timestamp,
    /// When the warning went out.
    pub time: Timestamp,
}

/// `views/url-<issue>.json` of the round: that the gateway handed a URL out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlRead {
    /// Which issue.
    pub issue: i64,
    /// To whom first.
    pub by: String,
    /// When.
    pub time: Timestamp,
}

/// What is known of the URL in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlStanding {
    /// When it was signed; none: by a version that did not say so.
    pub issued: Option<Timestamp>,
    /// When it ends.
    pub expires: Timestamp,
    /// The gateway handed it out.
    pub used: bool,
    /// The warning went out.
    pub warned: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Nothing, ever: it is used, or over, or the warning went out.
    Never,
    /// Nothing until then.
    At(Timestamp),
    /// Warn now, once.
    Now,
}

/// Decides whether to warn.
#[must_use]
pub fn warning(url: UrlStanding, now: Timestamp) -> Warning {
    let Some(at) = url.issued.and_then(|issued| warns_at(issued, url.expires)) else {
        return Warning::Never;
    };
    if url.used || url.warned || now >= url.expires {
        Warning::Never
    } else if now < at {
        Warning::At(at)
    } else {
        Warning::Now
    }
}

/// When a warning is due: a day before the end, or when a quarter of a shorter life is
/// left.
fn warns_at(issued: Timestamp, expires: Timestamp) -> Option<Timestamp> {
    let left = (expires.duration_since(issued) / PART).min(BEFORE);
    if left.is_negative() {
        return None;
    }
    expires.checked_sub(left).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_table_of_warnings() {
        // Life, now, used, warned; what is to be done.
        let rows = [
            (7 * DAY, 0, false, false, Warning::At(at(6 * DAY))),
            (7 * DAY, 6 * DAY - 1, false, false, Warning::At(at(6 * DAY))),
            (7 * DAY, 6 * DAY, false, false, Warning::Now),
            (7 * DAY, 7 * DAY - 1, false, false, Warning::Now),
            (7 * DAY, 7 * DAY, false, false, Warning::Never),
            (7 * DAY, 6 * DAY, true, false, Warning::Never),
            (7 * DAY, 0, true, false, Warning::Never),
            (7 * DAY, 6 * DAY, false, true, Warning::Never),
            // Four days is where a quarter is a day.
            (4 * DAY, 0, false, false, Warning::At(at(3 * DAY))),
            (2 * DAY, 0, false, false, Warning::At(at(36 * HOUR))),
            (HOUR, 0, false, false, Warning::At(at(45 * 60))),
            (HOUR, 45 * 60, false, false, Warning::Now),
            (60, 44, false, false, Warning::At(at(45))),
            (0, 0, false, false, Warning::Never),
        ];
        for (life, now, used, warned, wanted) in rows {
            let url = UrlStanding {
                issued: Some(at(0)),
                expires: at(life),
                used,
                warned,
            };
            let found = warning(url, at(now));
            assert_eq!(found, wanted, "{life} {now} {used} {warned}");
        }
    }

    #[test]
    fn what_does_not_say_when_it_was_signed_or_ended_before_that_is_left_alone() {
        for issued in [None, Some(at(DAY))] {
            let url = UrlStanding {
                issued,
                expires: at(HOUR),
                used: false,
                warned: false,
            };
            assert_eq!(warning(url, at(0)), Warning::Never, "{issued:?}");
        }
    }
}
