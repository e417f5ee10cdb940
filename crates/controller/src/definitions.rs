//! Whether the cluster's definitions have every field that this build writes: the API
//! server drops what a definition of an older chart does not know, without a word.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{Api, Client, ResourceExt as _};

use trevor_api as api;

/// Why the controller does not start.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// There is none.
    #[error(
        "the definition {0} is not in the cluster; install it: crds.install of the chart, or kubectl apply --server-side -f crds/"
    )]
    Missing(String),
    /// It is of an older chart.
    #[error(
        "the definition {name} in the cluster is of an older chart: it has no field {field}; upgrade it: crds.install of the chart, or kubectl apply --server-side -f crds/"
    )]
    Older {
        /// Which definition.
        name: String,
        /// The first field that it lacks.
        field: String,
    },
    /// The API server does not answer, or refuses.
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
}

/// Looks at all of them.
///
/// # Errors
/// When one is missing, or lacks a field. One that has more is of a newer chart, and fine.
pub async fn check(client: &Client) -> Result<(), DefinitionError> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for ours in api::definitions() {
        let name = ours.name_any();
        let live = api.get_opt(&name).await?;
        let live = live.ok_or_else(|| DefinitionError::Missing(name.clone()))?;
        if let Some(field) = lacks(&ours, &live) {
            return Err(DefinitionError::Older { name, field });
        }
    }
    Ok(())
}

fn lacks(ours: &CustomResourceDefinition, live: &CustomResourceDefinition) -> Option<String> {
    for version in &ours.spec.versions {
        let served = live
            .spec
            .versions
            .iter()
            .find(|v| v.name == version.name && v.served);
        let Some(served) = served else {
            return Some(format!("(version {})", version.name));
        };
        let schema = |of: &Option<_>| {
            let of: Option<&k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceValidation> = of.as_ref();
            of.and_then(|schema| schema.open_api_v3_schema.clone())
        };
        let (Some(wanted), Some(there)) = (schema(&version.schema), schema(&served.schema)) else {
            continue;
        };
        if let Some(field) = missing(&wanted, &there) {
            return Some(field);
        }
    }
    None
}

/// The first field of `wanted` that `there` does not have.
fn missing(wanted: &JSONSchemaProps, there: &JSONSchemaProps) -> Option<String> {
    if there.x_kubernetes_preserve_unknown_fields == Some(true) {
        return None;
    }
    for (name, field) in wanted.properties.iter().flatten() {
        let known = there
            .properties
            .as_ref()
            .and_then(|fields| fields.get(name));
        let Some(known) = known else {
            return Some(name.clone());
        };
        if let Some(inner) = missing(field, known) {
            return Some(format!("{name}.{inner}"));
        }
    }
    let items = (wanted.items.as_ref(), there.items.as_ref());
    if let (
        Some(JSONSchemaPropsOrArray::Schema(wanted)),
        Some(JSONSchemaPropsOrArray::Schema(there)),
    ) = items
        && let Some(inner) = missing(wanted, there)
    {
        return Some(format!("[].{inner}"));
    }
    let values = (
        wanted.additional_properties.as_ref(),
        there.additional_properties.as_ref(),
    );
    if let (
        Some(JSONSchemaPropsOrBool::Schema(wanted)),
        Some(JSONSchemaPropsOrBool::Schema(there)),
    ) = values
    {
        return missing(wanted, there).map(|inner| format!("*.{inner}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn without(pointer: &str, field: &str) -> Option<String> {
        let ours = api::definitions().remove(0);
        let mut live = serde_json::to_value(&ours).unwrap();
        let at = format!("/spec/versions/0/schema/openAPIV3Schema{pointer}");
        let fields = live.pointer_mut(&at).and_then(Value::as_object_mut);
        assert!(fields.unwrap().remove(field).is_some());
        lacks(&ours, &serde_json::from_value(live).unwrap())
    }

    #[test]
    fn a_definition_that_lacks_a_field_is_older_and_one_that_has_more_is_not() {
        for ours in api::definitions() {
            assert_eq!(lacks(&ours, &ours), None);
            let mut newer = serde_json::to_value(&ours).unwrap();
            newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
                ["more"] = json!({"type": "string"});
            assert_eq!(lacks(&ours, &serde_json::from_value(newer).unwrap()), None);
        }
        let status = "/properties/status/properties";
        assert_eq!(without(status, "phase").as_deref(), Some("status.phase"));
        let files = "/properties/spec/properties/files/items/properties";
        assert_eq!(
            without(files, "path").as_deref(),
            Some("spec.files.[].path")
        );
    }

    #[test]
    fn a_version_that_is_not_served_is_missing() {
        let ours = api::definitions().remove(0);
        let mut live = ours.clone();
        live.spec.versions[0].served = false;
        assert_eq!(lacks(&ours, &live).as_deref(), Some("(version v1alpha1)"));
    }
}
