//! The rules as the chart rendered them for us: a YAML file with every admission
//! policy, binding and custom resource definition of the release.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::Value;

use trevor_core::canonical;
use trevor_core::digest::Sha256Hex;

/// The kinds of which rules are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "Kubernetes' own names")]
pub enum Kind {
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    CustomResourceDefinition,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ValidatingAdmissionPolicy,
        Self::ValidatingAdmissionPolicyBinding,
        Self::MutatingAdmissionPolicy,
        Self::MutatingAdmissionPolicyBinding,
        Self::CustomResourceDefinition,
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| format!("{kind:?}") == name)
    }

    /// Where the API server has them.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::ValidatingAdmissionPolicy => {
                "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
            }
            Self::ValidatingAdmissionPolicyBinding => {
                "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
            }
            Self::MutatingAdmissionPolicy => {
                "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
            }
            Self::MutatingAdmissionPolicyBinding => {
                "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings"
            }
            Self::CustomResourceDefinition => {
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            }
        }
    }
}

/// An object of the rules, by kind and name.
pub type Id = (Kind, String);

/// What each object says: the part of its spec that is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(pub BTreeMap<Id, Value>);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShippedError {
    /// It cannot be read.
    #[error("configuration key identity.rules: {path}: {source}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what the chart writes.
    #[error("configuration key identity.rules: {path}: {problem}")]
    Malformed {
        /// Which file.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// The chart's file, which is read each time and parsed when it is another.
#[derive(Debug, Default)]
pub struct File {
    text: String,
    shipped: Option<Shipped>,
}

/// Rules and their digest.
#[derive(Clone, Debug)]
pub struct Shipped {
    /// What the chart says.
    pub rules: Arc<Rules>,
    /// SHA-256 of it.
    pub digest: Sha256Hex,
}

impl File {
    /// What it says now.
    ///
    /// # Errors
    /// When it cannot be read, or has no policy.
    pub fn read(&mut self, path: &Path) -> Result<Shipped, ShippedError> {
        let text = text_of(path)?;
        if let Some(shipped) = self.shipped.as_ref().filter(|_| self.text == text) {
            return Ok(shipped.clone());
        }
        let rules = Rules::of(&text, path)?;
        let shipped = Shipped {
            digest: rules.digest(),
            rules: Arc::new(rules),
        };
        (self.text, self.shipped) = (text, Some(shipped.clone()));
        Ok(shipped)
    }
}

fn text_of(path: &Path) -> Result<String, ShippedError> {
    std::fs::read_to_string(path).map_err(|source| ShippedError::Unreadable {
        path: path.display().to_string(),
        source,
    })
}

impl Rules {
    /// Reads the chart's file.
    ///
    /// # Errors
    /// When it cannot be read, or has no policy.
    pub fn load(path: &Path) -> Result<Self, ShippedError> {
        Self::of(&text_of(path)?, path)
    }

    fn of(text: &str, path: &Path) -> Result<Self, ShippedError> {
        Self::parse(text).map_err(|problem| ShippedError::Malformed {
            path: path.display().to_string(),
            problem,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut rules = BTreeMap::new();
        for document in serde_yaml::Deserializer::from_str(text) {
            let object = Value::deserialize(document).map_err(|e| e.to_string())?;
            if object.is_null() {
                continue;
            }
            let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            let (kind, name) = (word("/kind"), word("/metadata/name"));
            let (Some(kind), Some(name)) = (kind.and_then(Kind::named), name) else {
                return Err(format!(
                    "{kind:?} {name:?} is no admission policy, binding or definition"
                ));
            };
            rules.insert((kind, name.to_owned()), said(kind, &object));
        }
        if !rules
            .keys()
            .any(|(kind, _)| *kind == Kind::ValidatingAdmissionPolicy)
        {
            return Err("it has no ValidatingAdmissionPolicy".to_owned());
        }
        Ok(Self(rules))
    }

    /// SHA-256 of what they say.
    #[must_use]
    pub fn digest(&self) -> Sha256Hex {
        let list: Vec<_> = self
            .0
            .iter()
            .map(|((kind, name), said)| (format!("{kind:?}"), name, said))
            .collect();
        Sha256Hex::of(&canonical::to_vec(&list).unwrap_or_default())
    }

    /// What of these is missing or other in `live`, for people.
    #[must_use]
    pub fn differences(&self, live: &Self) -> Vec<String> {
        let differs = |((kind, name), said): (&Id, &Value)| match live.0.get(&(*kind, name.clone()))
        {
            None => Some(format!("{kind:?} {name} is missing")),
            Some(other) if other != said => {
                Some(format!("{kind:?} {name} is not what the chart says"))
            }
            Some(_) => None,
        };
        self.0.iter().filter_map(differs).collect()
    }
}

/// The part of an object that is compared. Of policies and bindings that is the
/// spec, whose defaults the chart writes out; of definitions, to which the API
/// server adds names and conversion, what bears on validation.
#[must_use]
pub fn said(kind: Kind, object: &Value) -> Value {
    let spec = object.get("spec").cloned().unwrap_or_default();
    if kind != Kind::CustomResourceDefinition {
        return spec;
    }
    let conversion = spec.pointer("/conversion/strategy").and_then(Value::as_str);
    serde_json::json!({
        "group": spec["group"],
        "scope": spec["scope"],
        "kind": spec["names"]["kind"],
        "plural": spec["names"]["plural"],
        "versions": spec["versions"],
        "conversion": conversion.unwrap_or("None"),
        "preserveUnknownFields": spec["preserveUnknownFields"].as_bool().unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: p}
spec: {failurePolicy: Fail, validations: [{expression: 'false'}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: p}
spec: {policyName: p, validationActions: [Deny]}
";

    #[test]
    fn a_policy_that_is_missing_or_other_is_named() {
        let shipped = Rules::parse(FILE).unwrap();
        assert_eq!(shipped.differences(&shipped), Vec::<String>::new());
        let live = Rules::parse(
            &FILE
                .replace("Fail", "Ignore")
                .replace("Binding\n", "Binding\n# \n"),
        )
        .unwrap();
        assert_eq!(
            shipped.differences(&live),
            ["ValidatingAdmissionPolicy p is not what the chart says"]
        );
        let mut live = shipped.clone();
        live.0
            .remove(&(Kind::ValidatingAdmissionPolicyBinding, "p".into()));
        assert_eq!(
            shipped.differences(&live),
            ["ValidatingAdmissionPolicyBinding p is missing"]
        );
        assert_ne!(shipped.digest(), live.digest());
    }

    #[test]
    fn a_file_that_is_replaced_is_read_anew_and_one_that_is_spoilt_is_no_rule() {
        let at = tempfile::NamedTempFile::new().unwrap();
        let mut file = File::default();
        let mut read = |text: &str| {
            std::fs::write(at.path(), text).unwrap();
            file.read(at.path()).map(|shipped| shipped.digest)
        };
        let first = read(FILE).unwrap();
        assert_eq!(read(FILE).unwrap(), first);
        let other = FILE.replace("Fail", "Ignore");
        let second = read(&other).unwrap();
        assert_eq!(second, Rules::parse(&other).unwrap().digest());
        assert_ne!(second, first);
        assert!(read("").is_err());
        assert_eq!(read(FILE).unwrap(), first);
    }

    #[test]
    fn a_file_without_policies_or_with_something_else_is_refused() {
        assert!(Rules::parse("").is_err());
        assert!(Rules::parse("kind: ConfigMap\nmetadata: {name: x}\n").is_err());
    }

    #[test]
    fn what_the_server_adds_to_a_definition_is_no_difference() {
        let shipped = serde_json::json!({"spec": {"group": "g", "scope": "Namespaced",
            "names": {"kind": "K", "plural": "ks"}, "versions": [{"name": "v1"}]}});
        let mut live = shipped.clone();
        live["spec"]["conversion"] = serde_json::json!({"strategy": "None"});
        live["spec"]["names"]["listKind"] = "KList".into();
        let kind = Kind::CustomResourceDefinition;
        assert_eq!(said(kind, &shipped), said(kind, &live));
        live["spec"]["versions"][0]["schema"] = serde_json::json!({});
        assert_ne!(said(kind, &shipped), said(kind, &live));
    }
}
