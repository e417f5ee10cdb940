//! Who calls: a person by their AirlockSession, a service account by
//! TokenReview with our audience (docs/reference/wire-formats.md#authentication).

use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::Semaphore;

use crate::cluster::api_server::in_time;
use crate::identity::token::{Claim, SERVICE_ACCOUNT, Token, session_name};
use crate::problem::Problem;
use trevor_api::{AirlockSession, SessionState};
use trevor_core::digest::Sha256Hex;
use trevor_core::session::usable;
use trevor_net::cache::Cache;

/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_secs(5);
/// Answers kept.
const REMEMBERED: usize = 4096;
/// Tokens looked up at the same time: nobody is known before the answer.
const LOOKUPS: usize = 32;

/// Where TokenReview says which pod a token is bound to.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// A pod that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPod {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Name.
    pub user: String,
    /// Groups.
    pub groups: Vec<String>,
    /// The one namespace that a session is for; none for a service account.
    pub namespace: Option<String>,
    /// When the session ends.
    pub until: Option<Timestamp>,
    /// The pod that a service account's token is bound to.
    pub pod: Option<BoundPod>,
}

impl Caller {
    /// Whether the token is good for a namespace: a session is for one.
    fn is_for(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|of| of == namespace)
    }
}

/// Finds out who calls.
pub struct Authenticator {
    client: Client,
    audience: String,
    known: Cache<Sha256Hex, Caller>,
    lookups: Semaphore,
}

impl Authenticator {
    /// Asks through `client`, for tokens of `audience`.
    #[must_use]
    pub fn new(client: Client, audience: String) -> Self {
        Self {
            client,
            audience,
            known: Cache::new(REMEMBERED),
            lookups: Semaphore::new(LOOKUPS),
        }
    }

    /// The caller of a request about `namespace`, and the token that was shown.
    ///
    /// # Errors
    /// 401 when nobody is known by that token there.
    pub async fn caller(
        &self,
        headers: &HeaderMap,
        namespace: &str,
    ) -> Result<(Caller, Token), Problem> {
        let field = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let token = field.and_then(Token::bearer).ok_or_else(|| {
            Problem::unauthenticated("send Authorization: Bearer with the token of `trevor login`, or of a service account for this gateway's audience")
        })?;
        let caller = match self.known.get(&token.digest()) {
            Some(caller) if caller.is_for(namespace) => caller,
            _ => self.again(&token, namespace).await?,
        };
        match caller.until {
            Some(until) if until <= Timestamp::now() => Err(unknown()),
            _ => Ok((caller, token)),
        }
    }

    /// Who shows a token, asked for now: a session may have ended since the last answer.
    ///
    /// # Errors
    /// 401 when nobody is known by that token there.
    pub async fn again(&self, token: &Token, namespace: &str) -> Result<Caller, Problem> {
        let claim = token.claim(&self.audience).ok_or_else(unknown)?;
        if matches!(&claim, Claim::Session { namespace: stated, .. } if stated != namespace) {
            return Err(unknown());
        }
        let digest = token.digest();
        let caller = self.look_up(token, &digest, claim).await?;
        self.known.put(digest, caller.clone(), BELIEVED);
        Ok(caller)
    }

    async fn look_up(
        &self,
        token: &Token,
        digest: &Sha256Hex,
        claim: Claim,
    ) -> Result<Caller, Problem> {
        let turn = tokio::time::timeout(Duration::from_secs(5), self.lookups.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
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
        if !crate::cluster::api_server::is_namespace(&namespace) {
            return Err(unknown());
        }
        let sessions: Api<AirlockSession> = Api::namespaced(self.client.clone(), &namespace);
        let session = in_time("session", sessions.get_opt(&session_name(digest)))
            .await?
            .ok_or_else(unknown)?;
        let until = ends(&session);
        let ours = session.spec.token_sha256 == digest.as_str()
            && session.spec.user.as_deref() == Some(user)
            && session.metadata.deletion_timestamp.is_none()
            && until.is_some_and(|until| Timestamp::now() < until);
        if !ours || user.starts_with(SERVICE_ACCOUNT) {
            return Err(unknown());
        }
        accepted(&session)?;
        let groups = session.spec.groups.unwrap_or_default();
        Ok(Caller {
            user: user.to_owned(),
            groups,
            namespace: Some(namespace),
            until,
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
        let status = in_time(
            "token review",
            reviews.create(&PostParams::default(), &review),
        )
        .await?
        .status;
        let status = status
            .filter(|s| s.authenticated == Some(true))
            .ok_or_else(unknown)?;
        let ours = status
            .audiences
            .is_some_and(|all| all.contains(&self.audience));
        let user = status.user.filter(|_| ours).ok_or_else(unknown)?;
        let name = user
            .username
            .filter(|name| name.starts_with(SERVICE_ACCOUNT))
            .ok_or_else(unknown)?;
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
            until: None,
            pod,
        })
    }
}

/// Whether the operator accepted it: it was created while the admission rules were in
/// force, and its spec is the one that was created.
fn accepted(session: &AirlockSession) -> Result<(), Problem> {
    let status = session.status.clone().unwrap_or_default();
    let mark = status.state == Some(SessionState::Accepted);
    if usable(
        mark,
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
        (Some(_), _) => Err(unknown()),
    }
}

fn ends(session: &AirlockSession) -> Option<Timestamp> {
    let created = session.creation_timestamp()?.0;
    created
        .checked_add(SignedDuration::from_secs(session.spec.ttl_seconds))
        .ok()
}

fn unknown() -> Problem {
    Problem::unauthenticated(
        "the token is unknown, has ended, or is not for this project; log in again with `trevor login`",
    )
}
