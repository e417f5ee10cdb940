//! Bearer tokens: of a session (`trv1.…`) or of a service account (a JWT for the audience of the
//! gateway). Other tokens are refused without a lookup, so that an API token of a person is never
//! accepted and never sent on.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use trevor_core::digest::Sha256Hex;

/// First part of a session's token.
const PREFIX: &str = "trv1";
/// Random bytes of a session's token.
const RANDOM: usize = 32;
/// The longest token that is accepted.
const LONGEST: usize = 16 * 1024;
/// What the user names of service accounts begin with.
pub const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// A token as it was sent. Its debug output is redacted, because it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The unverified claim of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The token of a session.
    Session {
        /// Namespace of the session.
        namespace: String,
        /// User of the session.
        user: String,
    },
    /// The token of a service account, for the audience of the gateway.
    ServiceAccount,
}

#[derive(Deserialize)]
struct JwtPayload {
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
    /// Reads the token of an `Authorization` field. None when it is not a valid bearer token.
    #[must_use]
    pub fn bearer(field: &str) -> Option<Self> {
        let (scheme, token) = field.split_once(' ')?;
        let token = token.trim_matches(' ');
        let plain =
            (1..=LONGEST).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic());
        (scheme.eq_ignore_ascii_case("bearer") && plain).then(|| Self(token.to_owned()))
    }

    /// The token of a new session. `random` must come from a cryptographic generator.
    #[must_use]
    pub fn of_session(namespace: &str, user: &str, random: &[u8; RANDOM]) -> Self {
        let stated = URL_SAFE_NO_PAD.encode(format!("{namespace}/{user}"));
        Self(format!(
            "{PREFIX}.{stated}.{}",
            URL_SAFE_NO_PAD.encode(random)
        ))
    }

    /// The secret itself, for its owner and for a TokenReview.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the token. It identifies the token where the token itself must not be stored.
    #[must_use]
    pub fn digest(&self) -> Sha256Hex {
        Sha256Hex::of(self.0.as_bytes())
    }

    /// The claim of the token. None when it is of neither kind.
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
        let payload: JwtPayload = serde_json::from_slice(&text).ok()?;
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

/// The name of the AirlockSession of the token with this digest.
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
