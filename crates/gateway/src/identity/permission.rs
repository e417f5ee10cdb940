//! What a caller may do, by SubjectAccessReview on virtual subresources of
//! `airlockrequests` (docs/reference/permissions.md#virtual-subresources-and-verbs).

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::cluster::api_server::in_time;
use crate::identity::auth::Caller;
use crate::problem::Problem;
use trevor_api::GROUP;
use trevor_core::digest::Sha256Hex;
use trevor_net::cache::Cache;

const YES_BELIEVED: Duration = Duration::from_secs(5);
const NO_BELIEVED: Duration = Duration::from_secs(1);
const REMEMBERED: usize = 8192;

/// A verb on a subresource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Right {
    /// Verb.
    pub verb: &'static str,
    /// Subresource of `airlockrequests`.
    pub subresource: &'static str,
}

const fn right(verb: &'static str, subresource: &'static str) -> Right {
    Right { verb, subresource }
}

/// Upload and drop files.
pub const UPLOAD: Right = right("create", "files");
/// Read lists and manifests.
pub const LIST: Right = right("get", "files");
/// Read content, one half.
pub const CONTENT: Right = right("get", "content");
/// Read content, the other half: who reads may also decide.
pub const REVIEW: Right = right("create", "review");
/// Nobody is granted this by name: who has it holds `*`.
pub const CANARY: Right = right("create", "wildcard-canary");
/// Get the URL of a release.
pub const RELEASE: Right = right("get", "release");

/// Whose rights, on what.
#[derive(Clone, Copy, Debug)]
pub struct On<'a> {
    /// Who.
    pub caller: &'a Caller,
    /// The project.
    pub namespace: &'a str,
    /// The request.
    pub name: &'a str,
    /// Whether it is asked for now, whatever is remembered.
    pub anew: bool,
}

/// Asks the API server, and believes it for some seconds.
pub struct Permissions {
    client: Client,
    known: Cache<Sha256Hex, bool>,
}

impl Permissions {
    /// Asks through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            known: Cache::new(REMEMBERED),
        }
    }

    /// Whether the caller has a right.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn has(&self, on: On<'_>, right: Right) -> Result<bool, Problem> {
        let key = key(on, right);
        if let Some(known) = self.known.get(&key).filter(|_| !on.anew) {
            return Ok(known);
        }
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = in_time(
            "subject access review",
            reviews.create(&PostParams::default(), &question(on, right)),
        )
        .await?;
        let allowed = answer
            .status
            .is_some_and(|s| s.allowed && s.denied != Some(true));
        self.known.put(
            key,
            allowed,
            if allowed { YES_BELIEVED } else { NO_BELIEVED },
        );
        Ok(allowed)
    }

    /// Whether the caller reads content as a reviewer: both rights by name, and
    /// no `*`.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn reviews(&self, on: On<'_>) -> Result<bool, Problem> {
        let (content, review, wildcard) = futures::try_join!(
            self.has(on, CONTENT),
            self.has(on, REVIEW),
            self.has(on, CANARY)
        )?;
        Ok(content && review && !wildcard)
    }
}

fn key(on: On<'_>, right: Right) -> Sha256Hex {
    let question = (
        &on.caller.user,
        &on.caller.groups,
        on.namespace,
        on.name,
        right.verb,
        right.subresource,
    );
    Sha256Hex::of(&serde_json::to_vec(&question).unwrap_or_default())
}

fn question(on: On<'_>, right: Right) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(on.caller.user.clone()),
            groups: Some(on.caller.groups.clone()),
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                version: Some("v1alpha1".to_owned()),
                resource: Some("airlockrequests".to_owned()),
                subresource: Some(right.subresource.to_owned()),
                verb: Some(right.verb.to_owned()),
                namespace: Some(on.namespace.to_owned()),
                name: Some(on.name.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

/// Whether content may be read (docs/reference/permissions.md#reading-content), as a table.
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
            until: None,
            pod: None,
        };
        let on = On {
            caller: &caller,
            namespace: "project-a",
            name: "r",
            anew: false,
        };
        let asked = serde_json::to_value(question(on, CONTENT).spec).unwrap();
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
        assert_ne!(key(on, CONTENT), key(on, REVIEW));
        assert_ne!(key(on, CONTENT), key(On { name: "s", ..on }, CONTENT));
    }
}
