//! `GET plan`: where an outside submitter of an ingress request uploads to.

use axum::response::Response;

use super::permission::UPLOAD;
use super::problem::Problem;
use super::request::{submitted_by, unknown};
use super::state::{Call, Gateway};
use crate::api::Direction;

/// Says why there is no plan: staging is not built yet.
///
/// # Errors
/// CONTRACT "Gateway, on the wire".
pub async fn plan(gateway: &Gateway, call: &Call) -> Result<Response, Problem> {
    gateway.require(call, UPLOAD, "plan").await?;
    let request = gateway
        .requests
        .find(&call.namespace, &call.name)
        .await?
        .ok_or_else(unknown)?;
    if !submitted_by(&request, &call.caller.user) {
        let uid = request.metadata.uid.as_deref().unwrap_or_default();
        return Err(gateway.refuse(
            call,
            uid,
            "plan",
            "only the submitter gets the plan of a request".to_owned(),
        ));
    }
    Err(match request.spec.direction {
        Direction::Egress => Problem::conflict(
            "EgressUsesFiles",
            "files of an egress request are uploaded here (PUT files/{path})",
        ),
        Direction::Ingress => Problem::conflict(
            "IngressNotConfigured",
            "ingress is not configured on this cluster",
        ),
    })
}
