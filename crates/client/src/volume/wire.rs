//! What a Job says to the gateway, about its one request.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::transfer::{
    Address, AddressError, Attempts, Outgoing, Patience, Pulse, Trouble, Web, asked,
};
use trevor_core::texts::harmless_line;

/// What stands unencoded in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// No answer that is read as a whole is longer.
const ANSWER: usize = 32 << 20;
/// Of a refusal's text so much is told.
const TOLD: usize = 400;

/// The gateway, for one request.
#[derive(Clone, Debug)]
pub struct Gateway {
    web: Web,
    base: String,
    token: PathBuf,
    patience: Patience,
}

/// Where the gateway is, and for what.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Its URL.
    pub gateway: &'a str,
    /// Plain HTTP may be used.
    pub allow_http: bool,
    /// The project.
    pub namespace: &'a str,
    /// The request.
    pub request: &'a str,
    /// The file with the pod's token; read anew for each call, for it rotates.
    pub token: PathBuf,
}

/// Why the gateway did not do as it was asked. Holds no secret.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum WireError {
    #[error("the token file {}: {source}", path.display())]
    Token {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the token file {} holds no token", .0.display())]
    NoToken(PathBuf),
    #[error("the gateway refuses it ({status} {reason}): {detail}")]
    Refused {
        status: u16,
        reason: String,
        detail: String,
        asked: Option<Duration>,
    },
    #[error("the gateway cannot be reached: {0}")]
    Trouble(Trouble),
    #[error(
        "the gateway's certificate is not trusted ({0}); an administrator tells trevor whose it is"
    )]
    Untrusted(String),
    #[error("the gateway's answer cannot be read: {0}")]
    Answer(String),
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    detail: String,
}

impl From<Trouble> for WireError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Untrusted(problem) => Self::Untrusted(problem),
            trouble => Self::Trouble(trouble),
        }
    }
}

impl WireError {
    /// The same, as something that is tried again or not.
    fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Trouble(Trouble::Broken(how)) => Some(Trouble::Broken(how.clone())),
            Self::Trouble(Trouble::Stalled) => Some(Trouble::Stalled),
            Self::Refused {
                status,
                reason,
                asked,
                ..
            } => Some(Trouble::status(*status, Some(reason.clone()), *asked)),
            _ => None,
        }
    }
}

/// Counts the attempts at one call.
pub(super) struct Tries(Attempts);

impl Tries {
    /// Waits until it may be tried again, or gives the error back.
    pub(super) async fn after(&mut self, error: WireError) -> Result<(), WireError> {
        match error.trouble() {
            Some(trouble) => self.0.after(trouble).await.map_err(|_| error),
            None => Err(error),
        }
    }

    /// Something got on: the count begins anew.
    pub(super) fn got_on(&mut self) {
        self.0.got_on();
    }
}

impl Gateway {
    /// The gateway of a request.
    ///
    /// # Errors
    /// When its URL may not be used.
    pub fn new(web: Web, target: Target<'_>) -> Result<Self, AddressError> {
        Address::parse(target.gateway, target.allow_http)?;
        let base = format!(
            "{}/v1alpha1/namespaces/{}/airlockrequests/{}",
            target.gateway.trim().trim_end_matches('/'),
            target.namespace,
            target.request,
        );
        Ok(Self {
            web,
            base,
            token: target.token,
            // The gateway may be starting, or moving to another node.
            patience: Patience {
                attempts: 12,
                ..Patience::default()
            },
        })
    }

    /// The same, with other patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    pub(super) fn tries(&self) -> Tries {
        Tries(Attempts::new(self.patience))
    }

    /// `GET what`, as JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T, WireError> {
        let empty = Bytes::new();
        let (_, answer) = self.whole(Method::GET, what, &empty).await?;
        json(&answer)
    }

    /// `PUT what` with JSON; gives the status and the answer.
    pub(super) async fn put(&self, what: &str, body: &Bytes) -> Result<(u16, Bytes), WireError> {
        self.whole(Method::PUT, what, body).await
    }

    /// A short call, tried again where that may help: each can be repeated.
    async fn whole(
        &self,
        method: Method,
        what: &str,
        body: &Bytes,
    ) -> Result<(u16, Bytes), WireError> {
        let mut tries = self.tries();
        loop {
            let sent = Full::new(body.clone())
                .map_err(|e| match e {})
                .boxed_unsync();
            let headers = [(CONTENT_TYPE, "application/json".to_owned())];
            let answered = async {
                let answer = self
                    .call(method.clone(), what, &headers, sent, &Pulse::default())
                    .await?;
                let status = answer.status().as_u16();
                Ok((status, self.web.whole(answer.into_body(), ANSWER).await?))
            };
            match answered.await {
                Ok(answer) => return Ok(answer),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    /// One call, tried once.
    pub(super) async fn call(
        &self,
        method: Method,
        what: &str,
        headers: &[(HeaderName, String)],
        body: Outgoing,
        pulse: &Pulse,
    ) -> Result<Response<Incoming>, WireError> {
        let here = |e: &dyn std::fmt::Display| WireError::Trouble(Trouble::Here(e.to_string()));
        let uri: Uri = format!("{}/{what}", self.base)
            .parse()
            .map_err(|e| here(&e))?;
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header(AUTHORIZATION, self.authorization()?);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|e| here(&e))?;
        let answer = self.web.answer(request, pulse).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refusal(answer).await)
    }

    /// The next bytes of an answer.
    pub(super) async fn next(&self, body: &mut Incoming) -> Result<Option<Bytes>, WireError> {
        Ok(self.web.next(body).await?)
    }

    /// Reads what is left of a short answer.
    pub(super) async fn finish(&self, body: Incoming) -> Result<(), WireError> {
        Ok(self.web.finish(body).await?)
    }

    fn authorization(&self) -> Result<HeaderValue, WireError> {
        let text = std::fs::read_to_string(&self.token).map_err(|source| WireError::Token {
            path: self.token.clone(),
            source,
        })?;
        let none = || WireError::NoToken(self.token.clone());
        let token = Some(text.trim())
            .filter(|t| !t.is_empty())
            .ok_or_else(none)?;
        let field = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut field = field.map_err(|_| none())?;
        field.set_sensitive(true);
        Ok(field)
    }

    async fn refusal(&self, answer: Response<Incoming>) -> WireError {
        let status = answer.status().as_u16();
        let asked = asked(answer.headers());
        let text = self.web.whole(answer.into_body(), 64 << 10).await;
        let problem = text
            .ok()
            .and_then(|t| serde_json::from_slice::<Problem>(&t).ok());
        let problem = problem.unwrap_or(Problem {
            reason: String::new(),
            detail: "without saying why".to_owned(),
        });
        WireError::Refused {
            status,
            reason: harmless_line(&problem.reason, 64),
            detail: harmless_line(&problem.detail, TOLD),
            asked,
        }
    }
}

/// Reads an answer.
pub(super) fn json<T: DeserializeOwned>(answer: &[u8]) -> Result<T, WireError> {
    serde_json::from_slice(answer).map_err(|e| WireError::Answer(e.to_string()))
}

/// A file of the request, as a part of the URL.
pub(super) fn of_file(what: &str, path: &str) -> String {
    let segments = path.split('/');
    let encoded: Vec<String> = segments
        .map(|s| utf8_percent_encode(s, SEGMENT).to_string())
        .collect();
    format!("{what}/{}", encoded.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(gateway: &str, token: PathBuf) -> Result<Gateway, AddressError> {
        let web = Web::new(None).unwrap();
        Gateway::new(
            web,
            Target {
                gateway,
                allow_http: false,
                namespace: "project-a",
                request: "r",
                token,
            },
        )
    }

    #[test]
    fn a_file_is_encoded_by_segment() {
        assert_eq!(of_file("files", "a b/é?.csv"), "files/a%20b/%C3%A9%3F.csv");
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        let token = PathBuf::from("t");
        assert!(target("https://gateway.svc/", token.clone()).is_ok());
        assert!(target("http://127.0.0.1:1", token.clone()).is_ok());
        assert_eq!(
            target("http://gateway.svc", token).err(),
            Some(AddressError::Plain)
        );
    }

    #[test]
    fn the_token_is_read_anew_for_each_call_and_never_printed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let gateway = target("https://g", file.path().to_owned()).unwrap();
        assert!(matches!(
            gateway.authorization(),
            Err(WireError::NoToken(_))
        ));
        for token in ["one", "two\n"] {
            std::fs::write(file.path(), token).unwrap();
            let field = gateway.authorization().unwrap();
            assert_eq!(
                field.as_bytes(),
                format!("Bearer {}", token.trim()).as_bytes()
            );
            assert!(!format!("{field:?}").contains(token.trim()));
        }
        std::fs::write(file.path(), "a\nsecret").unwrap();
        let error = gateway.authorization().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
