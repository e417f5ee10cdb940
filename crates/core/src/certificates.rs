//! When the gateway's own certificate and the authority that signs it are made anew.
//!
//! Times are seconds since 1970. Clients take an authority up late (a file that was
//! copied, a Job that is being made), so a successor is published long before it signs,
//! and whoever signed before stays published until it ends.

use std::collections::BTreeSet;

/// A day, in seconds.
pub const DAY: i64 = 86_400;
/// Clocks of clients may be behind by so much.
pub const BACKDATED: i64 = 3_600;
/// Life of an authority.
pub const AUTHORITY_LIFE: i64 = 1_825 * DAY;
/// So long before its end it gets a successor.
pub const SUCCESSOR_BEFORE: i64 = 365 * DAY;
/// So long a successor is published before it signs.
pub const KNOWN_FOR: i64 = 30 * DAY;
/// Life of the gateway's certificate.
pub const SERVING_LIFE: i64 = 90 * DAY;
/// So long before its end it is renewed.
pub const RENEW_BEFORE: i64 = 30 * DAY;

/// An authority that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Of its key.
    pub id: String,
    /// Valid from then.
    pub since: i64,
    /// Valid until then.
    pub until: i64,
}

/// The gateway's certificate that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The key that signed it.
    pub signed_by: String,
    /// Whom it is for.
    pub names: BTreeSet<String>,
    /// Valid from then.
    pub since: i64,
    /// Valid until then.
    pub until: i64,
}

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// One that is there.
    Kept(String),
    /// The one that is made now.
    Made,
}

/// Why the gateway's certificate is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is none, or none that can be read.
    Missing,
    /// It is for other names.
    Names,
    /// Nobody knows the authority that signed it.
    Unknown,
    /// It ends soon.
    Ends,
    /// It begins later: a clock was wrong.
    Early,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Authorities that stay, the newest first.
    pub keep: Vec<String>,
    /// Whether one more is made.
    pub make: bool,
    /// Who signs from now on.
    pub signer: Signer,
    /// Why a certificate is signed now; none: the present one stays.
    pub renew: Option<Why>,
    /// Until when a certificate that is signed now would be valid.
    pub until: i64,
}

/// Decides, from what is there.
#[must_use]
pub fn plan(
    authorities: &[Authority],
    serving: Option<&Serving>,
    names: &BTreeSet<String>,
    now: i64,
) -> Plan {
    let mut valid: Vec<&Authority> = authorities
        .iter()
        .filter(|a| a.since <= now && now < a.until)
        .collect();
    valid.sort_by_key(|a| std::cmp::Reverse(a.since));
    let make = valid
        .first()
        .is_none_or(|newest| newest.until - now <= SUCCESSOR_BEFORE);
    // The newest that clients have had time to learn of; else the one they know longest.
    let signer = valid
        .iter()
        .find(|a| now - a.since >= KNOWN_FOR)
        .or(valid.last());
    let signer_until = signer.map_or(now + AUTHORITY_LIFE, |a| a.until);
    let until = (now + SERVING_LIFE).min(signer_until);
    let keep: Vec<String> = valid.iter().map(|a| a.id.clone()).collect();
    let renew = match serving {
        None => Some(Why::Missing),
        Some(serving) if serving.names != *names => Some(Why::Names),
        Some(serving) if !keep.contains(&serving.signed_by) => Some(Why::Unknown),
        Some(serving) if serving.since > now => Some(Why::Early),
        // A signer that ends itself gives nothing longer.
        Some(serving) if serving.until - now <= RENEW_BEFORE && until > serving.until + DAY => {
            Some(Why::Ends)
        }
        Some(_) => None,
    };
    Plan {
        keep,
        make,
        signer: signer.map_or(Signer::Made, |a| Signer::Kept(a.id.clone())),
        renew,
        until,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 2_000_000_000;

    fn names(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|&n| n.to_owned()).collect()
    }

    fn authority(id: &str, since: i64) -> Authority {
        Authority {
            id: id.to_owned(),
            since,
            until: since + AUTHORITY_LIFE,
        }
    }

    fn serving(signed_by: &str, since: i64) -> Serving {
        Serving {
            signed_by: signed_by.to_owned(),
            names: names(&["gw"]),
            since,
            until: since + SERVING_LIFE,
        }
    }

    #[test]
    fn where_nothing_is_both_are_made() {
        let plan = plan(&[], None, &names(&["gw"]), NOW);
        assert_eq!((plan.make, plan.signer), (true, Signer::Made));
        assert_eq!(plan.renew, Some(Why::Missing));
        assert_eq!(plan.until, NOW + SERVING_LIFE);
    }

    #[test]
    fn a_certificate_is_renewed_for_a_reason_and_stays_otherwise() {
        let one = [authority("a", NOW - 100 * DAY)];
        let rows = [
            (serving("a", NOW - 59 * DAY), None),
            (serving("a", NOW - 60 * DAY), Some(Why::Ends)),
            (serving("a", NOW - 91 * DAY), Some(Why::Ends)),
            (serving("b", NOW), Some(Why::Unknown)),
            (serving("a", NOW + 1), Some(Why::Early)),
            (
                Serving {
                    names: names(&["gw", "other"]),
                    ..serving("a", NOW)
                },
                Some(Why::Names),
            ),
        ];
        for (there, why) in rows {
            let plan = plan(&one, Some(&there), &names(&["gw"]), NOW);
            assert_eq!(plan.renew, why, "{there:?}");
            assert!(!plan.make);
        }
    }

    #[test]
    fn a_successor_signs_once_it_was_known_for_long() {
        let old = authority("old", NOW - AUTHORITY_LIFE + SUCCESSOR_BEFORE);
        assert!(plan(std::slice::from_ref(&old), None, &names(&[]), NOW).make);
        let both = |now| {
            plan(
                &[old.clone(), authority("new", NOW)],
                None,
                &names(&[]),
                now,
            )
        };
        let early = both(NOW + KNOWN_FOR - 1);
        assert_eq!(early.signer, Signer::Kept("old".into()));
        assert_eq!(early.keep, ["new", "old"]);
        assert!(!early.make);
        assert_eq!(both(NOW + KNOWN_FOR).signer, Signer::Kept("new".into()));
        // What signed before stays published until it ends.
        assert_eq!(both(old.until - 1).keep, ["new", "old"]);
        assert_eq!(both(old.until).keep, ["new"]);
    }

    #[test]
    fn after_a_long_absence_the_last_days_of_an_authority_give_no_renewal_at_each_look() {
        let old = authority("old", NOW - AUTHORITY_LIFE + 3 * DAY);
        let there = Serving {
            until: old.until,
            ..serving("old", NOW - DAY)
        };
        let found = plan(
            &[old, authority("new", NOW)],
            Some(&there),
            &names(&["gw"]),
            NOW,
        );
        assert_eq!((found.renew, found.until), (None, NOW + 3 * DAY));
    }

    /// Twenty years, a look a day: a client that trusts what was published 29 days ago
    /// is served by a valid certificate whose authority it knows.
    #[test]
    fn over_twenty_years_every_client_that_asks_monthly_is_served() {
        let wanted = names(&["gw"]);
        let mut there: Vec<Authority> = Vec::new();
        let mut now_serving: Option<Serving> = None;
        let mut published: Vec<Vec<String>> = Vec::new();
        let (mut made, mut renewed) = (0, 0);
        for day in 0..20 * 365 {
            let now = NOW + day * DAY;
            let decided = plan(&there, now_serving.as_ref(), &wanted, now);
            there.retain(|a| decided.keep.contains(&a.id));
            if decided.make {
                made += 1;
                there.push(authority(&format!("a{made}"), now));
            }
            if decided.renew.is_some() {
                renewed += 1;
                let signed_by = match decided.signer {
                    Signer::Kept(id) => id,
                    Signer::Made => format!("a{made}"),
                };
                now_serving = Some(Serving {
                    until: decided.until,
                    ..serving(&signed_by, now)
                });
            }
            published.push(there.iter().map(|a| a.id.clone()).collect());
            let serves = now_serving.as_ref().unwrap();
            assert!(serves.until - now >= 29 * DAY, "day {day}");
            let issuer = there.iter().find(|a| a.id == serves.signed_by).unwrap();
            assert!(issuer.until >= serves.until, "day {day}");
            for seen in published.iter().rev().take(30) {
                assert!(seen.contains(&serves.signed_by), "day {day}");
            }
        }
        assert_eq!(made, 5);
        assert!(renewed < 20 * 7, "{renewed}");
    }
}
