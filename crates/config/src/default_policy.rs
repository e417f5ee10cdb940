//! `default_policy`: the rules of every namespace to which no AirlockPolicy applies.
//!
//! Fields and bounds are those of an AirlockPolicy, read from its definition, so that
//! the two cannot differ.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::{ConfigError, bad};
use trevor_api::{AirlockPolicy, Direction, DirectionRules, ReviewersType};
use trevor_core::policy::{ConfiguredPolicy, Rules};

const KEY: &str = "default_policy";

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DefaultPolicy {
    name: String,
    egress: Value,
    ingress: Value,
}

impl Default for DefaultPolicy {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            egress: Value::Null,
            ingress: Value::Null,
        }
    }
}

/// A file that does not have the key has the defaults of every field; `null` turns it
/// off.
pub(super) fn unless_said() -> Option<DefaultPolicy> {
    Some(DefaultPolicy::default())
}

impl DefaultPolicy {
    /// The policy, or the first field that no AirlockPolicy could have.
    pub(super) fn checked(self) -> Result<ConfiguredPolicy, ConfigError> {
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            return Err(bad(format!("{KEY}.name"), "is empty, or not one line"));
        }
        let spec = AirlockPolicy::crd()
            .spec
            .versions
            .into_iter()
            .find_map(|version| version.schema?.open_api_v3_schema)
            .and_then(|schema| schema.properties?.remove("spec"))
            .and_then(|spec| spec.properties)
            .unwrap_or_default();
        let read = |direction: Direction, name: &str, mut value: Value| {
            let key = format!("{KEY}.{name}");
            if value.is_null() {
                return Ok(DirectionRules::default());
            }
            drop_nulls(&mut value);
            if let Some(schema) = spec.get(name) {
                hold(&key, &value, schema)?;
            }
            let rules: DirectionRules =
                serde_json::from_value(value).map_err(|e| bad(&key, e.to_string()))?;
            reviewers(&key, direction, &rules)?;
            Ok(rules)
        };
        Ok(ConfiguredPolicy {
            egress: read(Direction::Egress, "egress", self.egress)?,
            ingress: read(Direction::Ingress, "ingress", self.ingress)?,
            name: self.name,
        })
    }
}

/// What the definition says by an expression.
fn reviewers(key: &str, direction: Direction, rules: &DirectionRules) -> Result<(), ConfigError> {
    let Some(reviewers) = &rules.reviewers else {
        return Ok(());
    };
    let named = reviewers.users.as_ref().map_or(0, Vec::len);
    let listed = reviewers.r#type == ReviewersType::Listed;
    if listed != (named > 0) {
        return Err(bad(
            format!("{key}.reviewers.users"),
            "is for type Listed, which needs at least one user",
        ));
    }
    let required = Rules::of(direction, Some(rules)).required_approvals;
    if listed && i64::try_from(named).unwrap_or(i64::MAX) < required {
        return Err(bad(
            format!("{key}.requiredApprovals"),
            format!("is {required}, and reviewers.users has {named}; name more, or ask for fewer"),
        ));
    }
    Ok(())
}

/// A field that is null says nothing, as in Helm values.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Holds a value to a schema of the definition.
fn hold(key: &str, value: &Value, schema: &JSONSchemaProps) -> Result<(), ConfigError> {
    let kind = schema.type_.as_deref().unwrap_or_default();
    let fits = match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        _ => true,
    };
    if !fits {
        return Err(bad(key, format!("is not of type {kind}")));
    }
    match value {
        Value::Object(fields) => object(key, fields, schema),
        Value::Array(items) => array(key, items, schema),
        Value::String(text) => string(key, text, schema),
        Value::Number(number) => integer(key, number.as_i64().unwrap_or_default(), schema),
        _ => Ok(()),
    }
}

fn object(
    key: &str,
    fields: &serde_json::Map<String, Value>,
    schema: &JSONSchemaProps,
) -> Result<(), ConfigError> {
    let known = schema.properties.clone().unwrap_or_default();
    for (name, value) in fields {
        let key = format!("{key}.{name}");
        let Some(schema) = known.get(name) else {
            return Err(bad(key, "is no field of an AirlockPolicy"));
        };
        hold(&key, value, schema)?;
    }
    for name in schema.required.iter().flatten() {
        if !fields.contains_key(name) {
            return Err(bad(format!("{key}.{name}"), "is missing"));
        }
    }
    Ok(())
}

fn array(key: &str, items: &[Value], schema: &JSONSchemaProps) -> Result<(), ConfigError> {
    let most = schema.max_items.unwrap_or(i64::MAX);
    if i64::try_from(items.len()).unwrap_or(i64::MAX) > most {
        return Err(bad(key, format!("has more than {most} entries")));
    }
    if schema.x_kubernetes_list_type.as_deref() == Some("set") {
        let twice = items
            .iter()
            .enumerate()
            .find(|(at, one)| items[..*at].contains(one));
        if let Some((_, twice)) = twice {
            return Err(bad(key, format!("has {twice} twice")));
        }
    }
    let Some(JSONSchemaPropsOrArray::Schema(inner)) = &schema.items else {
        return Ok(());
    };
    for (at, item) in items.iter().enumerate() {
        hold(&format!("{key}[{at}]"), item, inner)?;
    }
    Ok(())
}

fn string(key: &str, text: &str, schema: &JSONSchemaProps) -> Result<(), ConfigError> {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let (least, most) = (
        schema.min_length.unwrap_or(0),
        schema.max_length.unwrap_or(i64::MAX),
    );
    if !(least..=most).contains(&length) {
        return Err(bad(
            key,
            format!("has {length} characters; give {least} to {most}"),
        ));
    }
    if let Some(values) = &schema.enum_ {
        let known: Vec<&str> = values.iter().filter_map(|v| v.0.as_str()).collect();
        if !known.contains(&text) {
            return Err(bad(
                key,
                format!("is {text:?}; give {}", known.join(" or ")),
            ));
        }
    }
    let pattern = schema.pattern.as_deref().map(Regex::new).transpose();
    let pattern = pattern.map_err(|e| bad(key, e.to_string().replace('\n', " ")))?;
    match pattern {
        Some(pattern) if !pattern.is_match(text) => Err(bad(
            key,
            format!("is {text:?}, which is not of the form {pattern}"),
        )),
        _ => Ok(()),
    }
}

fn integer(key: &str, number: i64, schema: &JSONSchemaProps) -> Result<(), ConfigError> {
    let least = schema.minimum.map_or(i64::MIN, whole);
    let most = schema.maximum.map_or(i64::MAX, whole);
    if (least..=most).contains(&number) {
        return Ok(());
    }
    Err(bad(key, format!("is {number}; give {least} to {most}")))
}

/// Bounds of the definition are whole numbers below 2^53.
#[allow(clippy::cast_possible_truncation, reason = "they are exact in f64")]
fn whole(bound: f64) -> i64 {
    bound as i64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(text: &str) -> Result<ConfiguredPolicy, String> {
        let raw: DefaultPolicy = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        raw.checked().map_err(|e| e.to_string())
    }

    #[test]
    fn it_takes_what_an_airlock_policy_takes() {
        let found = checked(
            "{name: house, egress: {requiredApprovals: 3, maxFiles: null, crate: {publisher: {name: TRE, ror: null}},
              reviewers: {type: Listed, users: [bob, carol, dave]}, phaseLimits: {InReview: 60}}}",
        )
        .unwrap();
        assert_eq!(found.name, "house");
        let expected: DirectionRules = serde_json::from_value(json!({
            "requiredApprovals": 3, "crate": {"publisher": {"name": "TRE"}},
            "reviewers": {"type": "Listed", "users": ["bob", "carol", "dave"]}, "phaseLimits": {"InReview": 60},
        }))
        .unwrap();
        assert_eq!(found.egress, expected);
        assert_eq!(found.ingress, DirectionRules::default());
        assert_eq!(checked("{}").unwrap().name, "default");
    }

    #[test]
    fn what_an_airlock_policy_refuses_is_one_line_that_names_the_key() {
        for (text, says) in [
            (
                "{egress: {requiredApprovals: 0}}",
                "default_policy.egress.requiredApprovals: is 0; give 1 to 5",
            ),
            (
                "{egress: {requiredApprovals: 6}}",
                "default_policy.egress.requiredApprovals: is 6",
            ),
            (
                "{egress: {requiredApprovals: '2'}}",
                "default_policy.egress.requiredApprovals: is not of type integer",
            ),
            (
                "{egress: {required_approvals: 2}}",
                "default_policy.egress.required_approvals: is no field",
            ),
            (
                "{ingress: {requireViewed: Some}}",
                "default_policy.ingress.requireViewed: is \"Some\"; give ",
            ),
            (
                "{ingress: {urlTTLSeconds: 59}}",
                "default_policy.ingress.urlTTLSeconds: is 59; give 60 to 604800",
            ),
            (
                "{egress: {allowedExtensions: ['.csv']}}",
                "default_policy.egress.allowedExtensions[0]",
            ),
            (
                "{egress: {allowedExtensions: csv}}",
                "default_policy.egress.allowedExtensions: is not of type array",
            ),
            (
                "{egress: {reviewers: {type: Listed}}}",
                "default_policy.egress.reviewers.users",
            ),
            (
                "{egress: {reviewers: {type: Permission, users: [bob]}}}",
                "default_policy.egress.reviewers.users",
            ),
            (
                "{egress: {reviewers: {users: [bob]}}}",
                "default_policy.egress.reviewers.type: is missing",
            ),
            (
                "{egress: {reviewers: {type: Listed, users: [bob]}}}",
                "default_policy.egress.requiredApprovals: is 2",
            ),
            (
                "{egress: {reviewers: {type: Listed, users: [bob, bob]}}}",
                "default_policy.egress.reviewers.users: has \"bob\" twice",
            ),
            (
                "{egress: {crate: {publisher: {ror: 03f0f6041}}}}",
                "default_policy.egress.crate.publisher.name: is missing",
            ),
            (
                "{egress: {crate: {license: ftp://x.example}}}",
                "default_policy.egress.crate.license",
            ),
            (
                "{egress: [1]}",
                "default_policy.egress: is not of type object",
            ),
            ("{name: ''}", "default_policy.name"),
            ("{namespaces: [a]}", "namespaces"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
