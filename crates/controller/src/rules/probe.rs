//! The probe: a request and a review in another's name, as a dry run, must be
//! refused by the policy about their kind.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource as _};
use serde_json::{Value, json};

use super::shipped::{Kind, Rules};
use trevor_api::{AirlockRequest, AirlockReview, GROUP};

/// The name that every policy keeps for this.
pub const NAME: &str = "trevor-probe";
/// A name that nobody's token bears.
const NOBODY: &str = "trevor-probe:somebody-else";

/// What is wrong, for people; nothing: both were refused as they should be.
///
/// # Errors
/// When the API server does not answer.
pub async fn probe(
    client: &Client,
    namespace: &str,
    shipped: &Rules,
) -> Result<Vec<String>, kube::Error> {
    let request = json!({"direction": "Egress", "title": "probe", "submitter": NOBODY});
    let review = json!({
        "requestName": NAME, "manifestDigest": "0".repeat(64), "decision": "Approve", "reviewer": NOBODY,
    });
    let (request, review) = tokio::try_join!(
        refused(client, namespace, shipped, "AirlockRequest", request),
        refused(client, namespace, shipped, "AirlockReview", review),
    )?;
    Ok(request.into_iter().chain(review).collect())
}

async fn refused(
    client: &Client,
    namespace: &str,
    shipped: &Rules,
    kind: &str,
    spec: Value,
) -> Result<Option<String>, kube::Error> {
    let resource = match kind {
        "AirlockRequest" => kube::api::ApiResource::erase::<AirlockRequest>(&()),
        _ => kube::api::ApiResource::erase::<AirlockReview>(&()),
    };
    let plural = resource.plural.clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let object = json!({
        "apiVersion": format!("{GROUP}/{}", AirlockRequest::version(&())), "kind": kind,
        "metadata": {"name": NAME}, "spec": spec,
    });
    let params = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some(NAME.to_owned()),
        ..PatchParams::default()
    };
    let suffix = format!("-{plural}");
    let policy = shipped
        .0
        .keys()
        .find(|(kind, name)| *kind == Kind::ValidatingAdmissionPolicy && name.ends_with(&suffix))
        .map(|(_, name)| name.clone())
        .unwrap_or(suffix);
    match api.patch(NAME, &params, &Patch::Apply(&object)).await {
        Ok(_) => Ok(Some(format!(
            "a dry run of {plural} in another's name was let through"
        ))),
        Err(kube::Error::Api(answer)) if answer.code == 403 => {
            let by_policy = answer
                .message
                .contains(&format!("ValidatingAdmissionPolicy '{policy}'"));
            Ok((!by_policy).then(|| {
                format!("a dry run of {plural} in another's name was refused, but not by policy {policy}: {}", answer.message)
            }))
        }
        Err(kube::Error::Api(answer)) if answer.code == 422 || answer.code == 404 => {
            Ok(Some(format!(
                "a dry run of {plural} in another's name was answered: {}",
                answer.message
            )))
        }
        Err(error) => Err(error),
    }
}
