//! Which policy applies to a request, what it says, and what breaks it.

use serde::{Deserialize, Serialize};

use super::canonical;
use super::digest::Sha256Hex;
use super::manifest::{Manifest, PolicyRef};
use super::receipt::Receipt;
use crate::api::{AirlockPolicy, CrateRules, Direction, DirectionRules};

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
    /// Files of a round.
    pub max_files: i64,
    /// Bytes of one file.
    pub max_file_bytes: i64,
    /// Bytes of a round.
    pub max_total_bytes: i64,
    /// Extensions that names may have, in lower case; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_extensions: Vec<String>,
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

/// Why no policy applies; reviews wait until an admin mends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyProblem {
    /// None names the namespace, and there is no default.
    #[error(
        "no AirlockPolicy names namespace {0} and none is the default; a cluster admin makes one"
    )]
    None(String),
    /// Two do.
    #[error(
        "AirlockPolicies {0} and {1} both apply to namespace {2}; a cluster admin removes it from one"
    )]
    Conflict(String, String, String),
}

impl Rules {
    /// From a policy's fields, with the defaults of CONTRACT.
    #[must_use]
    pub fn of(direction: Direction, rules: Option<&DirectionRules>) -> Self {
        let r = rules.cloned().unwrap_or_default();
        let (approvals, ttl) = match direction {
            Direction::Egress => (2, None),
            Direction::Ingress => (1, Some(3600)),
        };
        Self {
            required_approvals: r.required_approvals.unwrap_or(approvals),
            delegated_extra_approvals: r.delegated_extra_approvals.unwrap_or(1),
            max_files: r.max_files.unwrap_or(MAX_FILES),
            max_file_bytes: r.max_file_bytes.unwrap_or(MAX_BYTES),
            max_total_bytes: r.max_total_bytes.unwrap_or(MAX_BYTES),
            allowed_extensions: r.allowed_extensions.unwrap_or_default(),
            url_ttl_seconds: r.url_ttl_seconds.or(ttl),
            quarantine_retention_seconds: r.quarantine_retention_days.map(|d| d * DAY),
            release_retention_seconds: r.release_retention_days.map(|d| d * DAY),
            submitted_seconds: r.submitted_days.unwrap_or(7) * DAY,
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

    /// What one file breaks, by its name and size.
    #[must_use]
    pub fn breach_of(&self, path: &str, size: i64) -> Option<String> {
        if size > self.max_file_bytes {
            return Some(format!(
                "{path} has {size} bytes, and the policy allows {}",
                self.max_file_bytes
            ));
        }
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

/// The policy for a namespace and direction.
///
/// # Errors
/// When none applies, or more than one.
pub fn applied<'a>(
    policies: impl IntoIterator<Item = &'a AirlockPolicy>,
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
        [] => Err(PolicyProblem::None(namespace.to_owned())),
        [policy] => {
            let fields = match direction {
                Direction::Egress => policy.spec.egress.as_ref(),
                Direction::Ingress => policy.spec.ingress.as_ref(),
            };
            let rules = Rules::of(direction, fields);
            let digest = Sha256Hex::of(&canonical::to_vec(&rules).unwrap_or_default());
            Ok(Applied {
                policy: PolicyRef {
                    name: name(policy),
                    digest,
                },
                rules,
            })
        }
        [one, two, ..] => {
            let (mut a, mut b) = (name(one), name(two));
            if a > b {
                std::mem::swap(&mut a, &mut b);
            }
            Err(PolicyProblem::Conflict(a, b, namespace.to_owned()))
        }
    }
}

/// Approvals that a frozen manifest needs: the stricter of what the policy said
/// at the seal and what it says now.
#[must_use]
pub fn required(sealed: &Rules, current: Option<&Rules>, manifest: &Manifest) -> i64 {
    let delegated = manifest.created_by.is_some();
    sealed
        .required(delegated)
        .max(current.map_or(0, |rules| rules.required(delegated)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AirlockPolicySpec;

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
        let of = |ns: &str| applied(&all, ns, Direction::Egress).unwrap();
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
    fn none_or_two_policies_are_a_problem_that_names_them() {
        assert_eq!(
            applied(&[], "a", Direction::Egress),
            Err(PolicyProblem::None("a".into()))
        );
        let two = [policy("y", &["a"], None), policy("x", &["a"], None)];
        assert_eq!(
            applied(&two, "a", Direction::Egress),
            Err(PolicyProblem::Conflict("x".into(), "y".into(), "a".into()))
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
}
