//! `trevor login` and `trevor logout`: a person's session with the gateway, made
//! with their own Kubernetes credentials (docs/reference/resources.md#airlocksession).

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Client, ResourceExt as _};
use rand::TryRngCore as _;

use super::cluster;
use trevor_api::{AirlockSession, AirlockSessionSpec, SESSION_GROUPS, SESSION_NAME, SessionState};
use trevor_core::session::SessionRefused;
use trevor_gateway::token::{Claim, Token, session_name};
use trevor_net::tls::{self, causes};

/// The longest session, as the schema has it.
const LONGEST: i64 = 43_200;
const SHORTEST: i64 = 60;
/// How long the operator may take to accept a session, and the rules to settle.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at a session.
const LOOKS: Duration = Duration::from_millis(100);
/// Before a session that was refused is made again.
const SETTLES: Duration = Duration::from_secs(1);
/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Holds a token for `trevor logout` and everything that talks to the gateway.
const VARIABLE: &str = "TREVOR_TOKEN";

/// How to reach the cluster.
#[derive(Args)]
pub struct ClusterArgs {
    /// A kubeconfig file; KUBECONFIG or ~/.kube/config, unless given.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context in it; the current one, unless given.
    #[arg(long)]
    context: Option<String>,
}

/// `trevor login`.
#[derive(Args)]
pub struct LoginArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The project; the context's namespace, unless given.
    #[arg(long, short = 'n')]
    namespace: Option<String>,
    /// How long the session lives: 30m, 8h, or seconds; at most 12h.
    #[arg(long, default_value = "8h", value_parser = seconds)]
    ttl: i64,
    /// Prints the token alone, for scripts.
    #[arg(long)]
    print_token: bool,
}

/// `trevor logout`.
#[derive(Args)]
pub struct LogoutArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What the API server said, without the rest of its answer.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!(
                "{}; ask for the role of a researcher or checker in this project",
                status.message
            )
        }
        kube::Error::Api(status) => status.message.clone(),
        other => match tls::untrusted(other) {
            Some(problem) => format!(
                "the certificate of the Kubernetes API is not trusted: {problem}; the kubeconfig names its authority (certificate-authority)"
            ),
            None => causes(other),
        },
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No way to the cluster is configured.
    #[error("kubeconfig: {0}; name a file with --kubeconfig and a context in it with --context")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// There is no way to the cluster.
    #[error(transparent)]
    Cluster(#[from] super::cluster::ClusterError),
    /// The cluster refuses, or does not answer.
    #[error("{what}: {}", said(source))]
    Kubernetes {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// The cluster does not answer.
    #[error("{0}: the Kubernetes API does not answer")]
    Silent(&'static str),
    /// The cluster does not say who one is.
    #[error(
        "the Kubernetes API does not say who you are; it must serve SelfSubjectReview (authentication.k8s.io/v1)"
    )]
    Nobody,
    /// A session would not hold the user's groups.
    #[error(
        "you are in {0} groups, and a session holds at most {SESSION_GROUPS}; ask whoever runs the identity provider to send fewer groups to this cluster"
    )]
    TooManyGroups(usize),
    /// A session would not hold a name.
    #[error(
        "your {0} is longer than the {SESSION_NAME} characters that a session holds; ask whoever runs the identity provider for a shorter one"
    )]
    TooLong(&'static str),
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The operator has not accepted the session.
    #[error(
        "the session was created, and the operator has not accepted it within {} seconds, so that the gateway does not take it; is trevor's controller running?",
        ACCEPTED_WITHIN.as_secs()
    )]
    NotAccepted,
    /// The operator refuses the session.
    #[error("the operator refuses the session: {0}")]
    Refused(String),
    /// There is no token to log out.
    #[error("no session token in {VARIABLE} or on standard input")]
    NoToken,
}

/// Makes a session, and prints its token.
///
/// # Errors
/// In one line, with what to do.
pub async fn login(args: &LoginArgs) -> Result<(), LoginError> {
    let (client, default_namespace) = connect(&args.cluster).await?;
    let namespace = args.namespace.clone().unwrap_or(default_namespace);
    let (user, groups) = who_am_i(&client).await?;
    fits(&user, &groups)?;
    let sessions: Api<AirlockSession> = Api::namespaced(client, &namespace);
    let deadline = Instant::now() + ACCEPTED_WITHIN;
    let (token, made) = loop {
        let (token, session) = new_session(&namespace, &user, &groups, args.ttl)?;
        let made = in_time(
            "creating an AirlockSession",
            sessions.create(&PostParams::default(), &session),
        )
        .await?;
        match accepted(&sessions, &made, deadline).await {
            Ok(()) => break (token, made),
            // It was created while the admission rules settled: the next one counts.
            Err(LoginError::Refused(why)) => {
                end(&sessions, &made).await;
                if Instant::now() + SETTLES >= deadline {
                    return Err(LoginError::Refused(why));
                }
                tokio::time::sleep(SETTLES).await;
            }
            Err(error) => {
                end(&sessions, &made).await;
                return Err(error);
            }
        }
    };
    if args.print_token {
        println!("{}", token.expose());
        return Ok(());
    }
    let created = made
        .creation_timestamp()
        .map_or_else(Timestamp::now, |t| t.0);
    let until = created
        .checked_add(SignedDuration::from_secs(args.ttl))
        .unwrap_or(created);
    println!(
        "# logged in as {user:?} to project {namespace} until {until}; end it with: trevor logout"
    );
    println!("export {VARIABLE}={}", token.expose());
    if std::io::stdout().is_terminal() {
        eprintln!(
            "The line above holds your token. In a shell: eval \"$(trevor login -n {namespace})\""
        );
    }
    Ok(())
}

/// A token, and the session that it belongs to.
fn new_session(
    namespace: &str,
    user: &str,
    groups: &[String],
    ttl: i64,
) -> Result<(Token, AirlockSession), LoginError> {
    let mut random = [0; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut random)
        .map_err(|_| LoginError::NoRandomness)?;
    let token = Token::of_session(namespace, user, &random);
    let digest = token.digest();
    let spec = AirlockSessionSpec {
        user: Some(user.to_owned()),
        groups: Some(groups.to_vec()),
        token_sha256: digest.to_string(),
        ttl_seconds: ttl,
    };
    Ok((token, AirlockSession::new(&session_name(&digest), spec)))
}

/// Waits until the operator has accepted the session: the gateway takes no other.
async fn accepted(
    sessions: &Api<AirlockSession>,
    made: &AirlockSession,
    deadline: Instant,
) -> Result<(), LoginError> {
    while Instant::now() < deadline {
        let looked = tokio::time::timeout(PATIENCE, sessions.get(&made.name_any())).await;
        let session = match looked.map_err(|_| LoginError::Silent("reading the AirlockSession"))? {
            Ok(session) => session,
            // A role of an older chart may create sessions and not read them.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                eprintln!(
                    "The session was created; whether the operator has accepted it cannot be seen: {}",
                    status.message
                );
                return Ok(());
            }
            // The operator ended it.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(LoginError::Refused(
                    SessionRefused::OutsideEpoch.message().to_owned(),
                ));
            }
            Err(error) => {
                return Err(LoginError::Kubernetes {
                    what: "reading the AirlockSession",
                    source: Box::new(error),
                });
            }
        };
        let status = session.status.unwrap_or_default();
        match status.state {
            Some(SessionState::Accepted) => return Ok(()),
            Some(SessionState::Refused) => {
                return Err(LoginError::Refused(status.message.unwrap_or_default()));
            }
            None => tokio::time::sleep(LOOKS).await,
        }
    }
    Err(LoginError::NotAccepted)
}

/// Deletes a session that is of no use; it ends by itself where that fails.
async fn end(sessions: &Api<AirlockSession>, made: &AirlockSession) {
    let (name, params) = (made.name_any(), DeleteParams::default());
    let gone = sessions.delete(&name, &params);
    drop(tokio::time::timeout(PATIENCE, gone).await);
}

/// Ends the session of a token.
///
/// # Errors
/// In one line, with what to do.
pub async fn logout(args: &LogoutArgs) -> Result<(), LoginError> {
    let token = token_from_environment().ok_or(LoginError::NoToken)?;
    let Some(Claim::Session { namespace, .. }) = token.claim("") else {
        return Err(LoginError::NoToken);
    };
    let (client, _) = connect(&args.cluster).await?;
    let sessions: Api<AirlockSession> = Api::namespaced(client, &namespace);
    let name = session_name(&token.digest());
    let gone =
        tokio::time::timeout(PATIENCE, sessions.delete(&name, &DeleteParams::default())).await;
    match gone.map_err(|_| LoginError::Silent("deleting the AirlockSession"))? {
        Ok(_) => println!("logged out"),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            println!("there was no such session any more")
        }
        Err(error) => {
            return Err(LoginError::Kubernetes {
                what: "deleting the AirlockSession",
                source: Box::new(error),
            });
        }
    }
    Ok(())
}

fn token_from_environment() -> Option<Token> {
    let mut text = std::env::var(VARIABLE).unwrap_or_default();
    if text.trim().is_empty() && !std::io::stdin().is_terminal() {
        std::io::stdin()
            .take(64 * 1024)
            .read_to_string(&mut text)
            .ok()?;
    }
    Token::bearer(&format!("Bearer {}", text.trim()))
}

async fn connect(args: &ClusterArgs) -> Result<(Client, String), LoginError> {
    let kubeconfig = match &args.kubeconfig {
        Some(file) => Kubeconfig::read_from(file)?,
        None => Kubeconfig::read()?,
    };
    let config = cluster::of_kubeconfig(kubeconfig, args.context.as_deref()).await?;
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(|e| LoginError::Kubernetes {
        what: "connecting",
        source: Box::new(e),
    })?;
    Ok((client, namespace))
}

async fn in_time<T>(
    what: &'static str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, LoginError> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(LoginError::Kubernetes {
            what,
            source: Box::new(error),
        }),
        Err(_) => Err(LoginError::Silent(what)),
    }
}

/// Name and groups as the API server sees them, in its order.
async fn who_am_i(client: &Client) -> Result<(String, Vec<String>), LoginError> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let answer = in_time(
        "asking who you are",
        reviews.create(&PostParams::default(), &SelfSubjectReview::default()),
    )
    .await?;
    let user = answer
        .status
        .and_then(|s| s.user_info)
        .ok_or(LoginError::Nobody)?;
    let name = user
        .username
        .filter(|name| !name.is_empty())
        .ok_or(LoginError::Nobody)?;
    Ok((name, user.groups.unwrap_or_default()))
}

/// Whether a session can hold who this is: what the schema would refuse at length.
fn fits(user: &str, groups: &[String]) -> Result<(), LoginError> {
    let long = |name: &str| name.chars().count() > SESSION_NAME;
    if groups.len() > SESSION_GROUPS {
        return Err(LoginError::TooManyGroups(groups.len()));
    }
    match groups.iter().any(|g| long(g)) {
        _ if long(user) => Err(LoginError::TooLong("user name")),
        true => Err(LoginError::TooLong("group's name")),
        false => Ok(()),
    }
}

/// Seconds of `30m`, `8h` or `3600`.
fn seconds(text: &str) -> Result<i64, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let scale = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    let seconds = number
        .parse::<i64>()
        .ok()
        .and_then(|n| n.checked_mul(scale));
    match seconds {
        Some(seconds @ SHORTEST..=LONGEST) => Ok(seconds),
        _ => Err("give 1m to 12h, such as 30m, 8h, or a number of seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_too_many_groups_is_told_in_one_line() {
        let groups = |n: usize| (0..n).map(|i| format!("g{i}")).collect::<Vec<_>>();
        assert!(fits("alice", &groups(1000)).is_ok());
        let told = fits("alice", &groups(1001)).unwrap_err().to_string();
        assert!(
            told.contains("1001 groups") && told.contains("at most 1000"),
            "{told}"
        );
        assert!(!told.contains('\n') && !told.contains("g7"), "{told}");
        assert!(fits(&"ü".repeat(253), &["g".repeat(253)]).is_ok());
        assert!(fits(&"x".repeat(254), &[]).is_err());
        assert!(fits("alice", &["g".repeat(254)]).is_err());
    }

    #[test]
    fn a_session_lives_for_a_minute_to_half_a_day() {
        for (text, expected) in [
            ("8h", 28_800),
            ("30m", 1800),
            ("90s", 90),
            ("3600", 3600),
            ("12h", 43_200),
            ("1m", 60),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "h",
            "13h",
            "59",
            "-1h",
            "1d",
            "1.5h",
            "9223372036854775807h",
        ] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
