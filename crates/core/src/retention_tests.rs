use proptest::prelude::*;

use super::*;
use crate::commit::{ClosedAs, RevokedThrough};
use crate::digest::Sha256Hex;
use crate::manifest::PolicyRef;
use trevor_api::Direction;

const CLUSTER: &str = "cluster";
const PLANS: SignedDuration = SignedDuration::from_secs(1000);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn owner() -> Owner {
    Owner {
        cluster: CLUSTER.into(),
        namespace: "project-a".into(),
        name: "r".into(),
        uid: "u".into(),
        direction: Direction::Egress,
        submitter: "alice".into(),
        created: at(0),
    }
}

fn closed(release_due: Option<i64>) -> Closed {
    Closed {
        closed_as: ClosedAs::Released,
        round: 1,
        time: at(100),
        quarantine_due: at(900),
        release_due: release_due.map(at),
        policy: PolicyRef {
            name: "p".into(),
            digest: Sha256Hex::of(b"p"),
        },
    }
}

fn revoked() -> Revoked {
    Revoked {
        by: "bob".into(),
        through: RevokedThrough::Withdrawal,
        reason: None,
        time: at(300),
    }
}

fn ticket(what: What) -> Named {
    Named {
        due: at(0),
        uid: "u".into(),
        what,
    }
}

#[test]
fn the_table_of_tickets() {
    use Verdict::{Delete, Early, Foreign, Open, Unknown};
    use What::{Quarantine, Release, Staging};
    let (mine, taken_back) = (owner(), revoked());
    let other_cluster = Owner {
        cluster: "other".into(),
        ..owner()
    };
    let other_uid = Owner {
        uid: "v".into(),
        ..owner()
    };
    let (package, nothing) = (closed(Some(500)), closed(None));
    let standing = |owner, closed, revoked| Standing {
        owner,
        closed,
        revoked,
    };
    let (o, none) = (Some(&mine), None);
    let rows = [
        // Nobody's, somebody else's, and open ones.
        (
            Quarantine,
            standing(None, Some(&package), None),
            9999,
            Unknown,
        ),
        (
            Quarantine,
            standing(Some(&other_uid), Some(&package), None),
            9999,
            Unknown,
        ),
        (
            Quarantine,
            standing(Some(&other_cluster), Some(&package), None),
            9999,
            Foreign,
        ),
        (Quarantine, standing(o, none, None), 9999, Open),
        (Release, standing(o, none, None), 9999, Open),
        (Staging, standing(o, none, None), 9999, Open),
        // Not a second early, and not a second late.
        (
            Quarantine,
            standing(o, Some(&package), None),
            899,
            Early(at(900)),
        ),
        (
            Quarantine,
            standing(o, Some(&package), None),
            900,
            Delete(at(900)),
        ),
        (
            Release,
            standing(o, Some(&package), None),
            499,
            Early(at(500)),
        ),
        (
            Release,
            standing(o, Some(&package), None),
            500,
            Delete(at(500)),
        ),
        // What was never released is of no use once the request is closed.
        (
            Release,
            standing(o, Some(&nothing), None),
            99,
            Early(at(100)),
        ),
        (
            Release,
            standing(o, Some(&nothing), None),
            100,
            Delete(at(100)),
        ),
        // What is revoked goes at once, and its originals in their time.
        (
            Release,
            standing(o, Some(&package), Some(&taken_back)),
            300,
            Delete(at(300)),
        ),
        (
            Release,
            standing(o, None, Some(&taken_back)),
            300,
            Delete(at(300)),
        ),
        (
            Release,
            standing(o, None, Some(&taken_back)),
            299,
            Early(at(300)),
        ),
        (
            Quarantine,
            standing(o, Some(&package), Some(&taken_back)),
            899,
            Early(at(900)),
        ),
        // Uploads go when no URL can be used any more.
        (
            Staging,
            standing(o, Some(&package), None),
            1099,
            Early(at(1100)),
        ),
        (
            Staging,
            standing(o, Some(&package), None),
            1100,
            Delete(at(1100)),
        ),
    ];
    for (row, (what, standing, now, verdict)) in rows.into_iter().enumerate() {
        let found = judge(&ticket(what), standing, CLUSTER, PLANS, at(now));
        assert_eq!(found, verdict, "row {row}");
    }
}

#[test]
fn a_ticket_is_named_by_due_time_uid_and_what() {
    let named_so = named("2026-11-25T23:00:00Z/0b1c-2d-quarantine.json").unwrap();
    assert_eq!(named_so.due.to_string(), "2026-11-25T23:00:00Z");
    assert_eq!(
        (named_so.uid.as_str(), named_so.what),
        ("0b1c-2d", What::Quarantine)
    );
    for wrong in [
        "",
        "2026-11-25T23:00:00Z",
        "soon/u-quarantine.json",
        "2026-11-25T23:00:00Z/u-quarantine",
        "2026-11-25T23:00:00Z/u-records.json",
        "2026-11-25T23:00:00Z/-quarantine.json",
        "2026-11-25T23:00:00Z/../u-quarantine.json",
        "2026-11-25T23:00:00Z/..-quarantine.json",
        // Other spellings of times, which sort elsewhere than they mean.
        "+002100-01-01T00:00:00Z/u-quarantine.json",
        "2026-11-25T23:00:00-12:00/u-quarantine.json",
        "2026-11-25T23:00:00.5Z/u-quarantine.json",
        "2026-11-25 23:00:00Z/u-quarantine.json",
        "2026-11-25T23:00:00Z/a/b-quarantine.json",
    ] {
        assert_eq!(named(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_body_belongs_under_its_own_key_only() {
    let name = Named {
        due: at(5),
        uid: "u".into(),
        what: What::Release,
    };
    let good = Ticket {
        namespace: "project-a".into(),
        uid: "u".into(),
        what: "release".into(),
        due: at(5),
    };
    assert!(belongs(&name, &good));
    for wrong in [
        Ticket {
            due: at(4),
            ..good.clone()
        },
        Ticket {
            uid: "v".into(),
            ..good.clone()
        },
        Ticket {
            what: "quarantine".into(),
            ..good.clone()
        },
        Ticket {
            namespace: "../x".into(),
            ..good.clone()
        },
        Ticket {
            namespace: String::new(),
            ..good.clone()
        },
        Ticket {
            namespace: "a/b".into(),
            ..good.clone()
        },
    ] {
        assert!(!belongs(&name, &wrong), "{wrong:?}");
    }
}

#[test]
fn a_hold_stops_all_but_the_end_of_what_is_revoked() {
    let hold = |state| Hold {
        sequence: 1,
        state,
        by: "olga".into(),
        reason: None,
        action: None,
        time: at(0),
        unconfirmed: false,
    };
    let (held, lifted) = (hold(HoldState::Held), hold(HoldState::Lifted));
    for what in What::ALL {
        for revoked in [false, true] {
            assert!(!stops(None, what, revoked));
            assert!(!stops(Some(&lifted), what, revoked));
            let goes = what == What::Release && revoked;
            assert_eq!(
                stops(Some(&held), what, revoked),
                !goes,
                "{what:?} {revoked}"
            );
        }
    }
}

#[test]
fn clocks_agree_within_five_minutes_either_way() {
    for (theirs, agree) in [
        (700, true),
        (1300, true),
        (699, false),
        (1301, false),
        (1000, true),
    ] {
        assert_eq!(clocks_agree(at(1000), at(theirs)), agree, "{theirs}");
    }
}

#[test]
fn an_idle_request_is_warned_in_time_and_withdrawn_after_it() {
    const DAY: i64 = 86_400;
    let allowed = SignedDuration::from_secs(30 * DAY);
    let warning = |since, withdraw| IdleWarning {
        since: at(since),
        warned: at(23 * DAY),
        withdraw: at(withdraw),
    };
    let judge = |since, warning: Option<IdleWarning>, now| {
        idle(at(since), allowed, warning.as_ref(), at(now))
    };
    let told = || Some(warning(0, 30 * DAY));
    let rows = [
        (0, None, 0, Idle::Rests(at(23 * DAY))),
        (0, None, 23 * DAY - 1, Idle::Rests(at(23 * DAY))),
        (0, None, 23 * DAY, Idle::Warn(at(30 * DAY))),
        // The warning went out late: the notice is as long all the same.
        (0, None, 40 * DAY, Idle::Warn(at(47 * DAY))),
        (0, told(), 30 * DAY - 1, Idle::Rests(at(30 * DAY))),
        (0, told(), 30 * DAY, Idle::Withdraw),
        // Somebody touched it since: that warning is void.
        (DAY, told(), 30 * DAY, Idle::Warn(at(37 * DAY))),
        (25 * DAY, told(), 30 * DAY, Idle::Rests(at(48 * DAY))),
    ];
    for (since, warning, now, wanted) in rows {
        assert_eq!(
            judge(since, warning.clone(), now),
            wanted,
            "{since} {warning:?} {now}"
        );
    }
}

proptest! {
    /// Whatever a ticket says, nothing goes before the closing facts allow it.
    #[test]
    fn no_ticket_deletes_early(
        what in prop::sample::select(What::ALL.to_vec()),
        due_says in 0_i64..5000, now in 0_i64..5000,
        quarantine in 101_i64..5000, release in prop::option::of(101_i64..5000), back in any::<bool>(),
    ) {
        let (owner, revoked) = (owner(), revoked());
        let closed = Closed { quarantine_due: at(quarantine), ..closed(release) };
        let standing = Standing { owner: Some(&owner), closed: Some(&closed), revoked: back.then_some(&revoked) };
        let named = Named { due: at(due_says), uid: "u".into(), what };
        let earliest = match what {
            What::Quarantine => quarantine,
            What::Release if back => 300,
            What::Release => release.unwrap_or(100),
            What::Staging => 1100,
        };
        let verdict = judge(&named, standing, CLUSTER, PLANS, at(now));
        prop_assert_eq!(verdict, if now < earliest { Verdict::Early(at(earliest)) } else { Verdict::Delete(at(earliest)) });
    }

    /// However often it is looked at, nobody loses a request that they were not
    /// warned of for the whole notice.
    #[test]
    fn nobody_is_withdrawn_without_notice(allowed in 4_i64..10_000_000, looks in prop::collection::vec(0_i64..5_000_000, 1..20)) {
        let (allowed, mut now, mut warning) = (SignedDuration::from_secs(allowed), 0, None::<IdleWarning>);
        for pause in looks {
            now += pause;
            match idle(at(0), allowed, warning.as_ref(), at(now)) {
                Idle::Rests(until) => prop_assert!(until > at(now)),
                Idle::Warn(withdraw) => {
                    prop_assert!(warning.is_none());
                    warning = Some(IdleWarning { since: at(0), warned: at(now), withdraw });
                }
                Idle::Withdraw => {
                    let said = warning.clone().unwrap();
                    prop_assert!(at(now) >= at(0).checked_add(allowed).unwrap());
                    prop_assert!(at(now).duration_since(said.warned) >= NOTICE.min(allowed / 4));
                    break;
                }
            }
        }
    }
}
