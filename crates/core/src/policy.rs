//! Which policy applies to a request, what it says, and what breaks it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::canonical;
use super::declared;
use super::digest::Sha256Hex;
use super::manifest::{Manifest, PolicyRef};
use super::quorum::Quorum;
use super::receipt::Receipt;
use super::sniff::Sniffed;
use trevor_api::condition::reason;
use trevor_api::{
    AirlockPolicy, ContextField, CrateRules, DeclaredFile, Direction, DirectionRules,
    RequireViewed, ReviewersType,
};

/// 5 TiB, the largest object of S3.
pub const MAX_BYTES: i64 = 5_497_558_138_880;
/// Files of a round.
pub const MAX_FILES: i64 = 10_000;
const DAY: i64 = 86_400;

/// The rules of one direction, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// Distinct reviewers who must approve.
    pub required_approvals: i64,
    /// Approvals more, where a delegate created the request.
    pub delegated_extra_approvals: i64,
    /// Whose reviews count; none: of everybody with the permission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewers: Option<BTreeSet<String>>,
    /// An approval counts only of who has read every file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_viewed: bool,
    /// Files of a round.
    pub max_files: i64,
    /// Bytes of one file.
    pub max_file_bytes: i64,
    /// Bytes of a round.
    pub max_total_bytes: i64,
    /// Extensions that names may have, in lower case; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_extensions: Vec<String>,
    /// What must be said of every file.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub required_context: BTreeSet<ContextField>,
    /// Domains to which mail may go; empty: none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub recipient_domains: BTreeSet<String>,
    /// Seconds that a URL lives; none: configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_ttl_seconds: Option<i64>,
    /// Seconds that quarantined files are kept; none: configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_retention_seconds: Option<i64>,
    /// Seconds that a package is kept; none: configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_retention_seconds: Option<i64>,
    /// Seconds that a submission waits for its files.
    pub submitted_seconds: i64,
    /// Seconds that a draft, a returned or a failed request may rest.
    pub idle_seconds: i64,
    /// Seconds after which a review is overdue.
    pub in_review_limit_seconds: i64,
    /// Seconds after which a release is overdue.
    pub releasing_limit_seconds: i64,
    /// Requests of the namespace that are not closed.
    pub max_open_requests: i64,
    /// Bytes of the namespace in quarantine; none: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stored_bytes: Option<i64>,
    /// Who is told; none: configuration's channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<BTreeSet<String>>,
    /// Seconds that closed requests stay in the API; none: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_seconds: Option<i64>,
    /// What the crate says.
    #[serde(rename = "crate")]
    pub crate_: CrateRules,
}

/// The rules that apply, by name and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which policy.
    pub policy: PolicyRef,
    /// What it says.
    pub rules: Rules,
}

/// The policy of the operator's configuration (`default_policy`), in force where no
/// AirlockPolicy applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfiguredPolicy {
    /// What it is called.
    pub name: String,
    /// Rules for what leaves.
    pub egress: DirectionRules,
    /// Rules for what enters.
    pub ingress: DirectionRules,
}

impl ConfiguredPolicy {
    /// How status, records and packages name it. No AirlockPolicy can have such a name.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} (configuration)", self.name)
    }
}

/// Why no policy applies; reviews wait until an admin mends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyProblem {
    /// None names the namespace, there is no default, and the configuration has none.
    #[error(
        "no AirlockPolicy names namespace {0}, none is the default, and the operator's configuration has none (default_policy is null); a cluster admin makes one"
    )]
    None(String),
    /// Two do.
    #[error(
        "AirlockPolicies {0} and {1} both apply to namespace {2}; a cluster admin removes it from one"
    )]
    Conflict(String, String, String),
    /// Its quorum cannot be reached for this request.
    #[error(
        "AirlockPolicy {policy} asks for {required} approvals and names {eligible} reviewers who may review this request{}; a cluster admin names more, or asks for fewer",
        if *.submitter_listed { " (its submitter is among those named, and does not review it)" } else { "" }
    )]
    Impossible {
        /// Which policy.
        policy: String,
        /// Approvals that it asks for.
        required: i64,
        /// Reviewers whose word could count.
        eligible: usize,
        /// Whether the submitter is one of those named.
        submitter_listed: bool,
    },
}

impl PolicyProblem {
    /// One CamelCase word, for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::None(_) => reason::NO_POLICY,
            Self::Conflict(..) => reason::CONFLICTING_POLICIES,
            Self::Impossible { .. } => reason::IMPOSSIBLE_POLICY,
        }
    }
}

impl Rules {
    /// From a policy's fields, with the defaults of docs/reference/resources.md#policy-fields.
    #[must_use]
    pub fn of(direction: Direction, rules: Option<&DirectionRules>) -> Self {
        let r = rules.cloned().unwrap_or_default();
        let limits = r.phase_limits.unwrap_or_default();
        let (approvals, ttl) = match direction {
            Direction::Egress => (2, None),
            Direction::Ingress => (1, Some(3600)),
        };
        Self {
            required_approvals: r.required_approvals.unwrap_or(approvals),
            delegated_extra_approvals: r.delegated_extra_approvals.unwrap_or(1),
            reviewers: r.reviewers.and_then(|reviewers| match reviewers.r#type {
                ReviewersType::Permission => None,
                ReviewersType::Listed => {
                    Some(reviewers.users.unwrap_or_default().into_iter().collect())
                }
            }),
            require_viewed: r.require_viewed == Some(RequireViewed::All),
            max_files: r.max_files.unwrap_or(MAX_FILES),
            max_file_bytes: r.max_file_bytes.unwrap_or(MAX_BYTES),
            max_total_bytes: r.max_total_bytes.unwrap_or(MAX_BYTES),
            allowed_extensions: r.allowed_extensions.unwrap_or_default(),
            required_context: set(r.required_context),
            recipient_domains: set(r.recipient_domains),
            url_ttl_seconds: r.url_ttl_seconds.or(ttl),
            quarantine_retention_seconds: r.quarantine_retention_days.map(|d| d * DAY),
            release_retention_seconds: r.release_retention_days.map(|d| d * DAY),
            submitted_seconds: r.submitted_days.unwrap_or(7) * DAY,
            idle_seconds: r.idle_days.unwrap_or(30) * DAY,
            in_review_limit_seconds: limits.in_review.unwrap_or(5 * DAY),
            releasing_limit_seconds: limits.releasing.unwrap_or(3600),
            max_open_requests: r.max_open_requests.unwrap_or(200),
            max_stored_bytes: r.max_stored_bytes,
            channels: r
                .notifications
                .and_then(|n| n.channels)
                .map(|c| set(Some(c))),
            history_seconds: r.history_days.map(|d| d * DAY),
            crate_: r.crate_.unwrap_or_default(),
        }
    }

    /// Approvals that a request needs, one more where a delegate created it.
    #[must_use]
    pub fn required(&self, delegated: bool) -> i64 {
        self.required_approvals
            + if delegated {
                self.delegated_extra_approvals
            } else {
                0
            }
    }

    /// What breaks the rules in a set of uploads; the first few, for people.
    #[must_use]
    pub fn breaches(&self, files: &[Receipt]) -> Vec<String> {
        let mut found = Vec::new();
        let count = i64::try_from(files.len()).unwrap_or(i64::MAX);
        if count > self.max_files {
            found.push(format!(
                "{count} files, and the policy allows {}",
                self.max_files
            ));
        }
        let mut total = 0_i64;
        for file in files {
            let size = file
                .content
                .as_ref()
                .and_then(|c| i64::try_from(c.size).ok())
                .unwrap_or(0);
            total = total.saturating_add(size);
            found.extend(self.breach_of(&file.path, size));
            let sniffed = file.content.as_ref().and_then(|c| c.sniffed.as_ref());
            found.extend(sniffed.and_then(|s| self.content_breach(&file.path, s)));
        }
        if total > self.max_total_bytes {
            found.push(format!(
                "{total} bytes in all, and the policy allows {}",
                self.max_total_bytes
            ));
        }
        found.truncate(5);
        found
    }

    /// What is not said that must be said of every file, and mail that may not go
    /// where it is to go; the first few, for people.
    #[must_use]
    pub fn texts_missing(
        &self,
        declared: &[DeclaredFile],
        recipients: &[String],
        files: &[Receipt],
    ) -> Vec<String> {
        let mut found = Vec::new();
        for file in files {
            let said = declared::covering(declared, &file.path);
            for field in &self.required_context {
                if !said.is_some_and(|said| says(said, *field)) {
                    let name = field_name(*field);
                    found.push(format!(
                        "{} has no {name}, which the policy asks for; declare the file in spec.files with it",
                        file.path
                    ));
                }
            }
            if found.len() > 5 {
                break;
            }
        }
        for recipient in recipients {
            let domain = recipient.rsplit('@').next().unwrap_or_default();
            if !self.recipient_domains.contains(&domain.to_lowercase()) {
                found.push(format!(
                    "mail to {recipient} is not allowed by the policy (its domains: {})",
                    join(&self.recipient_domains)
                ));
            }
        }
        found.truncate(5);
        found
    }

    /// Why so many bytes more have no place in a project that has `held` in quarantine;
    /// none: they have.
    #[must_use]
    pub fn no_room(&self, held: u64, coming: u64) -> Option<String> {
        let most = u64::try_from(self.max_stored_bytes?).unwrap_or(0);
        (held.saturating_add(coming) > most).then(|| {
            format!(
                "the project has {held} bytes in quarantine, {coming} more are declared, and the policy allows {most} (every version counts until its retention ends); ask a cluster admin for more"
            )
        })
    }

    /// What one file breaks, by its name and size.
    #[must_use]
    pub fn breach_of(&self, path: &str, size: i64) -> Option<String> {
        if size > self.max_file_bytes {
            return Some(format!(
                "{path} has {size} bytes, and the policy allows {}",
                self.max_file_bytes
            ));
        }
        self.name_breach(path)
    }

    /// What one file breaks by what it is. A program under the name of something
    /// else is refused whatever the policy says; an extension is held to its word
    /// where the policy lists extensions.
    #[must_use]
    pub fn content_breach(&self, path: &str, sniffed: &Sniffed) -> Option<String> {
        sniffed.disguised(path).or_else(|| {
            let held = !self.allowed_extensions.is_empty();
            held.then(|| sniffed.contradicts(path)).flatten()
        })
    }

    /// What one file breaks by its name.
    #[must_use]
    pub fn name_breach(&self, path: &str) -> Option<String> {
        let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
        let allowed =
            |ext: &String| name.len() > ext.len() + 1 && name.ends_with(&format!(".{ext}"));
        if !self.allowed_extensions.is_empty() && !self.allowed_extensions.iter().any(allowed) {
            return Some(format!(
                "{path} is of a type that the policy does not allow ({})",
                self.allowed_extensions.join(", ")
            ));
        }
        None
    }
}

fn set<T: Ord>(list: Option<Vec<T>>) -> BTreeSet<T> {
    list.unwrap_or_default().into_iter().collect()
}

fn join(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

fn says(file: &DeclaredFile, field: ContextField) -> bool {
    let text = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.trim().is_empty());
    match field {
        ContextField::Description => text(&file.description),
        ContextField::Justification => text(&file.justification),
        ContextField::SuppressionNotes => text(&file.suppression_notes),
        ContextField::OutputType => file.output_type.is_some(),
        ContextField::Statbarn => text(&file.statbarn),
    }
}

fn field_name(field: ContextField) -> &'static str {
    match field {
        ContextField::Description => "description",
        ContextField::Justification => "justification",
        ContextField::SuppressionNotes => "suppressionNotes",
        ContextField::OutputType => "outputType",
        ContextField::Statbarn => "statbarn",
    }
}

/// The policy for a namespace and direction: the AirlockPolicy that names the namespace,
/// else the AirlockPolicy that is the default, else the configuration's.
///
/// # Errors
/// When none applies, or more than one.
pub fn applied<'a>(
    policies: impl IntoIterator<Item = &'a AirlockPolicy>,
    configured: Option<&ConfiguredPolicy>,
    namespace: &str,
    direction: Direction,
) -> Result<Applied, PolicyProblem> {
    let mut naming: Vec<&AirlockPolicy> = Vec::new();
    let mut defaults: Vec<&AirlockPolicy> = Vec::new();
    for policy in policies {
        if policy
            .spec
            .namespaces
            .as_ref()
            .is_some_and(|n| n.iter().any(|n| n == namespace))
        {
            naming.push(policy);
        } else if policy.spec.default == Some(true) {
            defaults.push(policy);
        }
    }
    let chosen = if naming.is_empty() { defaults } else { naming };
    let name = |p: &AirlockPolicy| p.metadata.name.clone().unwrap_or_default();
    match chosen.as_slice() {
        [] => match configured {
            None => Err(PolicyProblem::None(namespace.to_owned())),
            Some(policy) => Ok(named(
                policy.shown(),
                direction,
                Some(match direction {
                    Direction::Egress => &policy.egress,
                    Direction::Ingress => &policy.ingress,
                }),
            )),
        },
        [policy] => Ok(named(
            name(policy),
            direction,
            match direction {
                Direction::Egress => policy.spec.egress.as_ref(),
                Direction::Ingress => policy.spec.ingress.as_ref(),
            },
        )),
        [one, two, ..] => {
            let (mut a, mut b) = (name(one), name(two));
            if a > b {
                std::mem::swap(&mut a, &mut b);
            }
            Err(PolicyProblem::Conflict(a, b, namespace.to_owned()))
        }
    }
}

fn named(name: String, direction: Direction, fields: Option<&DirectionRules>) -> Applied {
    let rules = Rules::of(direction, fields);
    let digest = Sha256Hex::of(&canonical::to_vec(&rules).unwrap_or_default());
    Applied {
        policy: PolicyRef { name, digest },
        rules,
    }
}

/// What a frozen manifest needs: the stricter of what the policy said at the
/// seal and what it says now.
#[must_use]
pub fn quorum(sealed: &Rules, current: Option<&Rules>, manifest: &Manifest) -> Quorum {
    let delegated = manifest.created_by.is_some();
    let now = current.unwrap_or(sealed);
    Quorum {
        required: sealed.required(delegated).max(now.required(delegated)),
        reviewers: match (&sealed.reviewers, &now.reviewers) {
            (Some(then), Some(now)) => Some(then.intersection(now).cloned().collect()),
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        },
        require_viewed: sealed.require_viewed || now.require_viewed,
        fold_names: true,
    }
}

/// Why a quorum can never be reached for a request, if so.
#[must_use]
pub fn impossible(
    policy: &PolicyRef,
    quorum: &Quorum,
    manifest: &Manifest,
) -> Option<PolicyProblem> {
    let listed = quorum.reviewers.as_ref()?;
    let excluded = |user: &&String| {
        **user == manifest.submitter || Some(user.as_str()) == manifest.created_by.as_deref()
    };
    let eligible = listed.iter().filter(|user| !excluded(user)).count();
    (i64::try_from(eligible).unwrap_or(i64::MAX) < quorum.required).then(|| {
        PolicyProblem::Impossible {
            policy: policy.name.clone(),
            required: quorum.required,
            eligible,
            submitter_listed: eligible < listed.len(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trevor_api::AirlockPolicySpec;

    fn policy(name: &str, namespaces: &[&str], approvals: Option<i64>) -> AirlockPolicy {
        AirlockPolicy::new(
            name,
            AirlockPolicySpec {
                default: namespaces.is_empty().then_some(true),
                namespaces: (!namespaces.is_empty())
                    .then(|| namespaces.iter().map(|&n| n.into()).collect()),
                egress: Some(DirectionRules {
                    required_approvals: approvals,
                    ..Default::default()
                }),
                ingress: None,
            },
        )
    }

    #[test]
    fn a_policy_that_names_the_namespace_goes_before_the_default() {
        let all = [
            policy("default", &[], None),
            policy("strict", &["a"], Some(3)),
        ];
        let of = |ns: &str| applied(&all, None, ns, Direction::Egress).unwrap();
        assert_eq!(
            (
                of("a").policy.name.as_str(),
                of("a").rules.required_approvals
            ),
            ("strict", 3)
        );
        assert_eq!(
            (
                of("b").policy.name.as_str(),
                of("b").rules.required_approvals
            ),
            ("default", 2)
        );
    }

    #[test]
    fn the_configurations_policy_is_in_force_where_no_airlock_policy_applies_and_only_there() {
        let configured = ConfiguredPolicy {
            name: "default".to_owned(),
            egress: DirectionRules {
                required_approvals: Some(3),
                ..Default::default()
            },
            ..Default::default()
        };
        let named = [policy("strict", &["a"], Some(4))];
        let both = [
            policy("strict", &["a"], Some(4)),
            policy("default", &[], Some(5)),
        ];
        let rows: [(&[AirlockPolicy], _, _, _); 5] = [
            (&[], "a", "default (configuration)", 3),
            (&named, "a", "strict", 4),
            (&named, "b", "default (configuration)", 3),
            (&both, "a", "strict", 4),
            (&both, "b", "default", 5),
        ];
        for (policies, namespace, name, approvals) in rows {
            let found = applied(policies, Some(&configured), namespace, Direction::Egress).unwrap();
            assert_eq!(
                (found.policy.name.as_str(), found.rules.required_approvals),
                (name, approvals),
                "{namespace}"
            );
        }
        // The digest is of the rules: the same as an AirlockPolicy's that says the same.
        let same = [policy("p", &[], Some(3))];
        let digest = |policies: &[AirlockPolicy], configured| {
            let found = applied(policies, configured, "a", Direction::Egress).unwrap();
            found.policy.digest
        };
        assert_eq!(digest(&same, None), digest(&[], Some(&configured)));
        let inwards = applied(&[], Some(&configured), "a", Direction::Ingress).unwrap();
        assert_eq!(inwards.rules.required_approvals, 1);
    }

    #[test]
    fn none_or_two_policies_are_a_problem_that_names_them() {
        assert_eq!(
            applied(&[], None, "a", Direction::Egress),
            Err(PolicyProblem::None("a".into()))
        );
        let two = [policy("y", &["a"], None), policy("x", &["a"], None)];
        assert_eq!(
            applied(&two, None, "a", Direction::Egress),
            Err(PolicyProblem::Conflict("x".into(), "y".into(), "a".into()))
        );
    }

    #[test]
    fn what_fits_is_counted_to_the_byte() {
        let mut rules = Rules::of(Direction::Ingress, None);
        assert_eq!(rules.no_room(u64::MAX, u64::MAX), None, "no bound");
        rules.max_stored_bytes = Some(100);
        for (held, coming, fits) in [
            (0, 100, true),
            (60, 40, true),
            (60, 41, false),
            (101, 0, false),
            (u64::MAX, u64::MAX, false),
        ] {
            assert_eq!(
                rules.no_room(held, coming).is_none(),
                fits,
                "{held} {coming}"
            );
        }
        let said = rules.no_room(60, 41).unwrap();
        assert!(
            said.contains("60 bytes") && said.contains("41 more") && said.contains("allows 100")
        );
    }

    #[test]
    fn extensions_are_matched_at_the_end_and_ignore_case() {
        let mut rules = Rules::of(Direction::Egress, None);
        rules.allowed_extensions = vec!["csv".into(), "tar.gz".into()];
        for good in ["a.csv", "d/A.CSV", "x.tar.gz"] {
            assert_eq!(rules.breach_of(good, 1), None, "{good}");
        }
        for bad in ["csv", ".csv", "a.csv.exe", "a.gz", "a"] {
            assert!(rules.breach_of(bad, 1).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_disguised_program_is_refused_always_and_a_false_extension_where_extensions_are_listed() {
        use crate::digest::Crc32;
        use crate::receipt::Content;
        use crate::sniff::sniff;
        let mut rules = Rules::of(Direction::Egress, None);
        let upload = |path: &str, head: &[u8]| Receipt {
            more: Default::default(),
            path: path.into(),
            version: "1".into(),
            round: 1,
            by: "alice".into(),
            time: jiff::Timestamp::UNIX_EPOCH,
            content: Some(Content {
                more: Default::default(),
                key: "k".into(),
                size: head.len() as u64,
                sha256: Sha256Hex::of(head),
                crc32: Crc32(0),
                media_type: "text/csv".into(),
                sniffed: Some(sniff(head)),
                remark: None,
            }),
        };
        let program = upload("t.csv", b"\x7fELF\x02\x01");
        let zip = upload("u.csv", b"PK\x03\x04\0\0");
        let table = upload("v.csv", b"a,b\n");
        let all = [program, zip, table];
        assert_eq!(rules.breaches(&all).len(), 1);
        rules.allowed_extensions = vec!["csv".into()];
        let found = rules.breaches(&all);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("t.csv is a program (elf)") && found[1].starts_with("u.csv"));
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tables;
