//! The custom resources, group `airlock.karectl.io`, version `v1alpha1`.
//!
//! What a schema can say stands here, as bounds, patterns and CEL rules, so
//! that a wrong object is refused before anything is stored. Who may write what
//! is said by the admission policies of the chart
//! (docs/reference/permissions.md#admission-policies).

mod action;
pub mod condition;
mod notification;
pub mod paths;
pub mod patterns;
mod policy;
mod record;
mod request;
mod review;
mod session;

pub use action::*;
pub use notification::*;
pub use policy::*;
pub use record::*;
pub use request::*;
pub use review::*;
pub use session::*;

/// The API group.
pub const GROUP: &str = "airlock.karectl.io";
/// Type of the Secret that holds a pre-signed URL.
pub const RELEASE_SECRET_TYPE: &str = "airlock.karectl.io/release";
/// Keeps a deleted request until its closing facts are stored.
pub const FINALIZER: &str = "airlock.karectl.io/closing";

/// Every custom resource definition, in the order in which `trevor crd` prints them.
#[must_use]
pub fn definitions()
-> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>
{
    use kube::CustomResourceExt as _;
    vec![
        AirlockRequest::crd(),
        AirlockReview::crd(),
        AirlockAction::crd(),
        AirlockPolicy::crd(),
        AirlockSession::crd(),
        ReleaseRecord::crd(),
    ]
}
