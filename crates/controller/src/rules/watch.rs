//! Tells when a rule changes, so that it is verified at once.

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};

/// A tick for each policy, binding or definition that appears, changes or goes, of
/// whomever. Where a kind is not served its watch stays silent.
pub fn changes(client: &Client) -> impl Stream<Item = ()> + Send + use<> {
    stream::select_all([
        of::<ValidatingAdmissionPolicy>(client),
        of::<ValidatingAdmissionPolicyBinding>(client),
        of::<MutatingAdmissionPolicy>(client),
        of::<MutatingAdmissionPolicyBinding>(client),
        of::<CustomResourceDefinition>(client),
    ])
}

fn of<K>(client: &Client) -> stream::BoxStream<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    K: serde::de::DeserializeOwned,
{
    watcher(
        Api::<PartialObjectMeta<K>>::all(client.clone()),
        watcher::Config::default(),
    )
    .default_backoff()
    .touched_objects()
    .filter_map(|seen| std::future::ready(seen.ok().map(|_| ())))
    .boxed()
}
