//! Authentication: of people by their AirlockSession, and of service accounts by a TokenReview
//! with the audience of the gateway (docs/reference/wire-formats.md#authentication).

use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::Semaphore;

use crate::cluster::api_server::{is_valid_namespace, with_timeout};
use crate::identity::token::{Claim, SERVICE_ACCOUNT, Token, session_name};
use crate::problem::Problem;
use trevor_api::{AirlockSession, SessionState};
use trevor_core::digest::Sha256Hex;
use trevor_core::session::usable;
use trevor_net::cache::Cache;

/// How long an authenticated caller is cached.
const CACHE_TTL: Duration = Duration::from_secs(5);
const CACHE_CAPACITY: usize = 4096;
/// Concurrent lookups. They are bounded because the callers are not authenticated yet.
const MAX_CONCURRENT_LOOKUPS: usize = 32;

/// Extra fields of a TokenReview that name the pod of a token.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// A pod that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPod {
    pub name: String,
    pub uid: String,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user: String,
    pub groups: Vec<String>,
    /// The only namespace of a session. None for a service account.
    pub namespace: Option<String>,
    /// The end of the session. None for a service account.
    pub expires_at: Option<Timestamp>,
    /// The pod of a service account's token.
    pub pod: Option<BoundPod>,
}

impl Caller {
    /// Whether the token is valid in a namespace. A session is for one namespace only.
    fn is_for_namespace(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|of| of == namespace)
    }
}

/// Authenticates callers, with a short cache.
pub struct Authenticator {
    client: Client,
    audience: String,
    cache: Cache<Sha256Hex, Caller>,
    lookups: Semaphore,
}

impl Authenticator {
    /// Looks up with `client`. Tokens of service accounts must be for `audience`.
    #[must_use]
    pub fn new(client: Client, audience: String) -> Self {
        Self {
            client,
            audience,
            cache: Cache::new(CACHE_CAPACITY),
            lookups: Semaphore::new(MAX_CONCURRENT_LOOKUPS),
        }
    }

    /// The caller of a request in `namespace`, and the token in its headers.
    ///
    /// # Errors
    /// 401 when the token is not valid there, 503 when it cannot be looked up now.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        namespace: &str,
    ) -> Result<(Caller, Token), Problem> {
        let field = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let token = field.and_then(Token::bearer).ok_or_else(|| {
            Problem::unauthenticated("send Authorization: Bearer with the token of `trevor login`, or of a service account for this gateway's audience")
        })?;
        let caller = match self.cache.get(&token.digest()) {
            Some(caller) if caller.is_for_namespace(namespace) => caller,
            _ => self.authenticate_uncached(&token, namespace).await?,
        };
        match caller.expires_at {
            Some(expires_at) if expires_at <= Timestamp::now() => Err(unknown_token()),
            _ => Ok((caller, token)),
        }
    }

    /// Looks up a token whatever the cache has, because a session may have ended meanwhile.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub async fn authenticate_uncached(
        &self,
        token: &Token,
        namespace: &str,
    ) -> Result<Caller, Problem> {
        let claim = token.claim(&self.audience).ok_or_else(unknown_token)?;
        if matches!(&claim, Claim::Session { namespace: stated, .. } if stated != namespace) {
            return Err(unknown_token());
        }
        let digest = token.digest();
        let caller = self.look_up(token, &digest, claim).await?;
        self.cache.put(digest, caller.clone(), CACHE_TTL);
        Ok(caller)
    }

    async fn look_up(
        &self,
        token: &Token,
        digest: &Sha256Hex,
        claim: Claim,
    ) -> Result<Caller, Problem> {
        let permit = tokio::time::timeout(Duration::from_secs(5), self.lookups.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(Problem::unavailable(
                "Busy",
                "too many tokens are being looked up; try again",
                2,
            ));
        };
        match claim {
            Claim::Session { namespace, user } => self.session(digest, namespace, &user).await,
            Claim::ServiceAccount => self.service_account(token).await,
        }
    }

    async fn session(
        &self,
        digest: &Sha256Hex,
        namespace: String,
        user: &str,
    ) -> Result<Caller, Problem> {
        if !is_valid_namespace(&namespace) {
            return Err(unknown_token());
        }
        let sessions: Api<AirlockSession> = Api::namespaced(self.client.clone(), &namespace);
        let session = with_timeout("session", sessions.get_opt(&session_name(digest)))
            .await?
            .ok_or_else(unknown_token)?;
        let expires_at = expiry(&session);
        let ours = session.spec.token_sha256 == digest.as_str()
            && session.spec.user.as_deref() == Some(user)
            && session.metadata.deletion_timestamp.is_none()
            && expires_at.is_some_and(|expires_at| Timestamp::now() < expires_at);
        if !ours || user.starts_with(SERVICE_ACCOUNT) {
            return Err(unknown_token());
        }
        check_accepted(&session)?;
        let groups = session.spec.groups.unwrap_or_default();
        Ok(Caller {
            user: user.to_owned(),
            groups,
            namespace: Some(namespace),
            expires_at,
            pod: None,
        })
    }

    async fn service_account(&self, token: &Token) -> Result<Caller, Problem> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.expose().to_owned(),
                audiences: Some(vec![self.audience.clone()]),
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let status = with_timeout(
            "token review",
            reviews.create(&PostParams::default(), &review),
        )
        .await?
        .status;
        let status = status
            .filter(|s| s.authenticated == Some(true))
            .ok_or_else(unknown_token)?;
        let ours = status
            .audiences
            .is_some_and(|all| all.contains(&self.audience));
        let user = status.user.filter(|_| ours).ok_or_else(unknown_token)?;
        let name = user
            .username
            .filter(|name| name.starts_with(SERVICE_ACCOUNT))
            .ok_or_else(unknown_token)?;
        let pod = user.extra.and_then(|mut extra| {
            let mut one = |key: &str| extra.remove(key)?.into_iter().next();
            Some(BoundPod {
                name: one(POD_NAME)?,
                uid: one(POD_UID)?,
            })
        });
        Ok(Caller {
            user: name,
            groups: user.groups.unwrap_or_default(),
            namespace: None,
            expires_at: None,
            pod,
        })
    }
}

/// Checks that the operator has accepted the session: it was created while the admission rules
/// were in force, and its spec has not changed since.
fn check_accepted(session: &AirlockSession) -> Result<(), Problem> {
    let status = session.status.clone().unwrap_or_default();
    let accepted = status.state == Some(SessionState::Accepted);
    if usable(
        accepted,
        status.observed_generation,
        session.metadata.generation,
    ) {
        return Ok(());
    }
    match (status.state, status.message) {
        (None, _) => Err(Problem::unavailable(
            "SessionPending",
            "the operator has not accepted this session yet; try again in a moment",
            1,
        )),
        (Some(SessionState::Refused), Some(message)) => Err(Problem::unauthenticated(format!(
            "the session is refused: {message}"
        ))),
        (Some(_), _) => Err(unknown_token()),
    }
}

fn expiry(session: &AirlockSession) -> Option<Timestamp> {
    let created = session.creation_timestamp()?.0;
    created
        .checked_add(SignedDuration::from_secs(session.spec.ttl_seconds))
        .ok()
}

fn unknown_token() -> Problem {
    Problem::unauthenticated(
        "the token is unknown, has ended, or is not for this project; log in again with `trevor login`",
    )
}
