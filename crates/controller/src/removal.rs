//! Takes an object out of the API as it was seen: another of its name, or one that changed
//! meanwhile, stays for the next look.

use std::fmt::Debug;

use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::context::Context;
use super::error::EffectError;

/// Deletes it, by uid and resourceVersion; gives whether it was there. Repeated: it is gone.
pub async fn remove<K>(ctx: &Context, api: &Api<K>, object: &K) -> Result<bool, EffectError>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    ctx.claim()?;
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: object.meta().uid.clone(),
        resource_version: object.meta().resource_version.clone(),
    });
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(false),
        Err(error) => Err(error.into()),
    }
}
