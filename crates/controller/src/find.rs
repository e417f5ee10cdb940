//! Looking for an object that may be gone, with its definition too.

use kube::Api;
use serde::de::DeserializeOwned;

/// The object; none where it is gone. Where its definition is gone the API server
/// answers in a form of its own, which [`Api::get_opt`] takes for an error.
///
/// # Errors
/// As the API server says.
pub async fn find<K>(api: &Api<K>, name: &str) -> kube::Result<Option<K>>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    match api.get_opt(name).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(None),
        other => other,
    }
}
