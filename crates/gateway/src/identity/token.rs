//! Bearer tokens: of a session (`trv1.…`), or of a service account (a JWT with
//! our audience). Nothing else is looked at, so that no API token of a person is
//! ever sent on or accepted.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use trevor_core::digest::Sha256Hex;

/// First part of a session's token.
const PREFIX: &str = "trv1";
/// Random bytes of a session's token.
const RANDOM: usize = 32;
/// The longest token that is looked at.
const LONGEST: usize = 16 * 1024;
/// How service accounts are called.
pub const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// A token as it was sent. It is a secret: it prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// What a token says of itself; nothing of it is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A session's.
    Session {
        /// The project it is for.
        namespace: String,
        /// Whose it is.
        user: String,
    },
    /// A service account's, for our audience.
    ServiceAccount,
}

#[derive(Deserialize)]
struct Payload {
    sub: String,
    aud: Audiences,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Token {
    /// From an `Authorization` field.
    #[must_use]
    pub fn bearer(field: &str) -> Option<Self> {
        let (scheme, token) = field.split_once(' ')?;
        let token = token.trim_matches(' ');
        let plain =
            (1..=LONGEST).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic());
        (scheme.eq_ignore_ascii_case("bearer") && plain).then(|| Self(token.to_owned()))
    }

    /// A new session's token, of random bytes that the caller draws.
    #[must_use]
    pub fn of_session(namespace: &str, user: &str, random: &[u8; RANDOM]) -> Self {
        let stated = URL_SAFE_NO_PAD.encode(format!("{namespace}/{user}"));
        Self(format!(
            "{PREFIX}.{stated}.{}",
            URL_SAFE_NO_PAD.encode(random)
        ))
    }

    /// The token itself, for the one who asked for it and for TokenReview.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// SHA-256 over all of it: its name wherever it must be recognised.
    #[must_use]
    pub fn digest(&self) -> Sha256Hex {
        Sha256Hex::of(self.0.as_bytes())
    }

    /// What it says of itself, if it is of one of the two kinds.
    #[must_use]
    pub fn claim(&self, audience: &str) -> Option<Claim> {
        let parts: Vec<&str> = self.0.split('.').collect();
        let [head, middle, last] = parts.as_slice() else {
            return None;
        };
        let text = URL_SAFE_NO_PAD.decode(middle).ok()?;
        if *head == PREFIX {
            let stated = String::from_utf8(text).ok()?;
            let (namespace, user) = stated.split_once('/')?;
            let random = URL_SAFE_NO_PAD.decode(last).ok()?;
            let whole = random.len() == RANDOM && !namespace.is_empty() && !user.is_empty();
            return whole.then(|| Claim::Session {
                namespace: namespace.to_owned(),
                user: user.to_owned(),
            });
        }
        let payload: Payload = serde_json::from_slice(&text).ok()?;
        let ours = match &payload.aud {
            Audiences::One(one) => one == audience,
            Audiences::Many(many) => many.iter().any(|a| a == audience),
        };
        (ours && payload.sub.starts_with(SERVICE_ACCOUNT)).then_some(Claim::ServiceAccount)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Name of the AirlockSession of a token.
#[must_use]
pub fn session_name(digest: &Sha256Hex) -> String {
    format!("s-{}", digest.short(40))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(token: &str) -> Option<Claim> {
        Token(token.to_owned()).claim("trevor-gateway")
    }

    fn jwt(payload: &str) -> String {
        format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#),
            URL_SAFE_NO_PAD.encode(payload)
        )
    }

    #[test]
    fn a_session_token_states_namespace_and_user() {
        let token = Token::of_session("project-a", "oidc/alice", &[7; 32]);
        let session = Claim::Session {
            namespace: "project-a".into(),
            user: "oidc/alice".into(),
        };
        assert_eq!(claim(token.expose()), Some(session));
        assert_eq!(
            Token::bearer(&format!("Bearer {}", token.expose())),
            Some(token.clone())
        );
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(session_name(&token.digest()).len(), 42);
    }

    #[test]
    fn other_forms_are_nobodys() {
        let random = URL_SAFE_NO_PAD.encode([7; 32]);
        let stated = URL_SAFE_NO_PAD.encode("project-a/alice");
        for token in [
            "alice-token".to_owned(),
            format!("trv1.{stated}"),
            format!("trv1.{stated}.{}", URL_SAFE_NO_PAD.encode([7; 31])),
            format!("trv1.{stated}.{random}.x"),
            format!("trv1.{}.{random}", URL_SAFE_NO_PAD.encode("alice")),
            format!("trv1.{}.{random}", URL_SAFE_NO_PAD.encode("project-a/")),
            format!("trv2.{stated}.{random}"),
            jwt(r#"{"sub":"alice","aud":"trevor-gateway"}"#),
            jwt(r#"{"sub":"system:serviceaccount:a:b","aud":["https://kubernetes.default.svc"]}"#),
            jwt("no json"),
        ] {
            assert_eq!(claim(&token), None, "{token}");
        }
        let ours = jwt(r#"{"sub":"system:serviceaccount:a:b","aud":["x","trevor-gateway"]}"#);
        assert_eq!(claim(&ours), Some(Claim::ServiceAccount));
    }

    #[test]
    fn only_the_bearer_scheme_carries_a_token() {
        for field in [
            "Basic YTpi",
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer \u{e9}",
            "trv1.a.b",
        ] {
            assert_eq!(Token::bearer(field), None, "{field}");
        }
        assert!(Token::bearer("bearer abc").is_some());
    }
}
