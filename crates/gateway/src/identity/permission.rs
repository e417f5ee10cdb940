//! Authorization, by SubjectAccessReview on virtual subresources of
//! `airlockrequests` (docs/reference/permissions.md#virtual-subresources-and-verbs).

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::cluster::api_server::with_timeout;
use crate::identity::auth::Caller;
use crate::problem::Problem;
use trevor_api::GROUP;
use trevor_core::digest::Sha256Hex;
use trevor_net::cache::Cache;

const ALLOWED_TTL: Duration = Duration::from_secs(5);
const DENIED_TTL: Duration = Duration::from_secs(1);
const CACHE_CAPACITY: usize = 8192;

/// A verb on a subresource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Right {
    pub verb: &'static str,
    /// Subresource of `airlockrequests`.
    pub subresource: &'static str,
}

const fn right(verb: &'static str, subresource: &'static str) -> Right {
    Right { verb, subresource }
}

/// Upload and remove files.
pub const UPLOAD: Right = right("create", "files");
/// Read lists and manifests.
pub const LIST: Right = right("get", "files");
/// Read content. [`REVIEW`] is needed as well.
pub const CONTENT: Right = right("get", "content");
/// Review a request. Content is shown only to callers who may review.
pub const REVIEW: Right = right("create", "review");
/// Never granted by name, so that a caller who has it was granted `*`.
pub const CANARY: Right = right("create", "wildcard-canary");
/// Get the URL of a release.
pub const RELEASE: Right = right("get", "release");

/// The caller and the request that a right is looked up for.
#[derive(Clone, Copy, Debug)]
pub struct AccessQuery<'a> {
    pub caller: &'a Caller,
    /// Namespace of the request.
    pub namespace: &'a str,
    /// Name of the request.
    pub name: &'a str,
    /// Whether the right is looked up whatever the cache has.
    pub skip_cache: bool,
}

/// Authorizes callers, with a cache of some seconds.
pub struct Permissions {
    client: Client,
    cache: Cache<Sha256Hex, bool>,
}

impl Permissions {
    /// Looks up with `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            cache: Cache::new(CACHE_CAPACITY),
        }
    }

    /// Whether the caller has a right.
    ///
    /// # Errors
    /// 503 when the API server does not answer.
    pub async fn has(&self, query: AccessQuery<'_>, right: Right) -> Result<bool, Problem> {
        let cache_key = cache_key(query, right);
        if let Some(allowed) = self.cache.get(&cache_key).filter(|_| !query.skip_cache) {
            return Ok(allowed);
        }
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = with_timeout(
            "subject access review",
            reviews.create(&PostParams::default(), &access_review(query, right)),
        )
        .await?;
        let allowed = answer
            .status
            .is_some_and(|s| s.allowed && s.denied != Some(true));
        self.cache.put(
            cache_key,
            allowed,
            if allowed { ALLOWED_TTL } else { DENIED_TTL },
        );
        Ok(allowed)
    }

    /// Whether the caller is a reviewer: has both rights by name, and was not granted `*`.
    ///
    /// # Errors
    /// 503 when the API server does not answer.
    pub async fn is_reviewer(&self, query: AccessQuery<'_>) -> Result<bool, Problem> {
        let (content, review, wildcard) = futures::try_join!(
            self.has(query, CONTENT),
            self.has(query, REVIEW),
            self.has(query, CANARY)
        )?;
        Ok(content && review && !wildcard)
    }
}

fn cache_key(query: AccessQuery<'_>, right: Right) -> Sha256Hex {
    let question = (
        &query.caller.user,
        &query.caller.groups,
        query.namespace,
        query.name,
        right.verb,
        right.subresource,
    );
    Sha256Hex::of(&serde_json::to_vec(&question).unwrap_or_default())
}

fn access_review(query: AccessQuery<'_>, right: Right) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(query.caller.user.clone()),
            groups: Some(query.caller.groups.clone()),
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                version: Some("v1alpha1".to_owned()),
                resource: Some("airlockrequests".to_owned()),
                subresource: Some(right.subresource.to_owned()),
                verb: Some(right.verb.to_owned()),
                namespace: Some(query.namespace.to_owned()),
                name: Some(query.name.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

/// Whether content may be read (docs/reference/permissions.md#reading-content).
#[must_use]
pub fn may_read_content(reviewer: bool, wildcard: bool, submitter: bool, released: bool) -> bool {
    !wildcard && if submitter { released } else { reviewer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_submitter_reads_only_after_release_and_a_wildcard_never_reads() {
        for (reviewer, wildcard, submitter, released, may) in [
            (true, false, false, false, true),
            (true, false, false, true, true),
            (false, false, false, true, false),
            (true, false, true, false, false),
            (true, false, true, true, true),
            (false, false, true, false, false),
            (false, false, true, true, true),
            (true, true, false, true, false),
            (true, true, true, true, false),
        ] {
            assert_eq!(
                may_read_content(reviewer, wildcard, submitter, released),
                may,
                "{reviewer} {wildcard} {submitter} {released}"
            );
        }
    }

    #[test]
    fn a_question_names_user_groups_and_the_virtual_subresource() {
        let caller = Caller {
            user: "bob".into(),
            groups: vec!["checkers".into()],
            namespace: None,
            expires_at: None,
            pod: None,
        };
        let query = AccessQuery {
            caller: &caller,
            namespace: "project-a",
            name: "r",
            skip_cache: false,
        };
        let asked = serde_json::to_value(access_review(query, CONTENT).spec).unwrap();
        assert_eq!(asked["user"], "bob");
        assert_eq!(asked["groups"][0], "checkers");
        let attributes = &asked["resourceAttributes"];
        assert_eq!(
            (
                &attributes["verb"],
                &attributes["resource"],
                &attributes["subresource"],
                &attributes["name"]
            ),
            (
                &"get".into(),
                &"airlockrequests".into(),
                &"content".into(),
                &"r".into()
            )
        );
        assert_ne!(cache_key(query, CONTENT), cache_key(query, REVIEW));
        assert_ne!(
            cache_key(query, CONTENT),
            cache_key(AccessQuery { name: "s", ..query }, CONTENT)
        );
    }
}
