//! The credentials of each identity: from the environment, or from whatever the SDK's
//! default chain finds. They are looked at before anything is asked of a server.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, future::ProvideCredentials as Provided,
};
use jiff::Timestamp;

use super::client::provider;
use super::unreached;
use trevor_config as config;

/// Which credentials a client signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "docs/reference/configuration.md#environment-variables"
)]
pub enum Identity {
    Quarantine,
    Release,
    Records,
    Staging,
    Signing,
}

/// There are no credentials for a bucket.
#[derive(Debug, thiserror::Error)]
#[error("configuration key {key}.credentials_secret: {words}", words = self.words())]
pub struct NoCredentials {
    /// Of the configuration: `storage.release`.
    pub key: &'static str,
    /// What whoever was to give them says.
    source: CredentialsError,
}

impl NoCredentials {
    fn words(&self) -> String {
        let zone = self.key.trim_start_matches("storage.");
        unreached::credentials(&self.source)
            .replace(
                "there are no credentials",
                &format!("there are no credentials for {}", self.key),
            )
            .replace("<zone>", zone)
    }
}

impl Identity {
    fn variable(self, what: &str) -> String {
        let name = match self {
            Self::Quarantine => "QUARANTINE",
            Self::Release => "RELEASE",
            Self::Records => "RECORDS",
            Self::Staging => "STAGING",
            Self::Signing => "SIGNING",
        };
        format!("TREVOR_S3_{name}_{what}")
    }

    /// Its key in the configuration.
    fn key(self) -> &'static str {
        match self {
            Self::Quarantine => "storage.quarantine",
            Self::Release => "storage.release",
            Self::Records => "storage.records",
            Self::Staging => "storage.staging",
            Self::Signing => "storage.release.signing",
        }
    }

    /// Whether the environment has credentials of its own for it, good or not.
    #[must_use]
    pub fn is_configured(self) -> bool {
        self.read(|name| std::env::var(name).ok()).is_some()
    }

    /// What gives the credentials of the environment, where it has some. Those that cannot
    /// be used are an error as soon as they are asked for, and never somebody else's.
    pub(super) fn provider(self) -> Option<SharedCredentialsProvider> {
        let read = self.read(|name| std::env::var(name).ok())?;
        Some(SharedCredentialsProvider::new(Given(read)))
    }

    fn read(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<Result<Credentials, Unusable>> {
        // A Secret that was made from a file ends in a line break.
        let value = |what: &str| {
            let name = self.variable(what);
            let value = variable(&name)?.trim().to_owned();
            (!value.is_empty()).then_some((name, value))
        };
        let (id, secret) = (value("ACCESS_KEY_ID"), value("SECRET_ACCESS_KEY"));
        if id.is_none() && secret.is_none() {
            return None;
        }
        let parts = [("ACCESS_KEY_ID", &id), ("SECRET_ACCESS_KEY", &secret)];
        for (what, found) in parts {
            if found.is_none() {
                let other = if what == "ACCESS_KEY_ID" {
                    "secret"
                } else {
                    "id"
                };
                return Some(Err(Unusable {
                    variable: self.variable(what),
                    problem: format!("is not there, and the {other} of the key is"),
                }));
            }
        }
        let (token, end) = (value("SESSION_TOKEN"), value("EXPIRATION"));
        for (name, value) in [&id, &secret, &token].into_iter().flatten() {
            if !value.bytes().all(|b| b.is_ascii_graphic()) {
                return Some(Err(Unusable {
                    variable: name.clone(),
                    problem: "has a space, a line break or another character that no key has"
                        .to_owned(),
                }));
            }
        }
        let expiry = match end {
            None => None,
            Some((name, text)) => match text.parse::<Timestamp>() {
                Ok(end) => Some(SystemTime::from(end)),
                Err(_) => {
                    return Some(Err(Unusable {
                        variable: name,
                        problem: "is no time; give one as 2026-12-31T23:59:59Z".to_owned(),
                    }));
                }
            },
        };
        let text = |part: Option<(String, String)>| part.map(|(_, value)| value);
        Some(Ok(Credentials::new(
            text(id).unwrap_or_default(),
            text(secret).unwrap_or_default(),
            text(token),
            expiry,
            "environment",
        )))
    }
}

/// A variable that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("environment variable {variable}, from the bucket's Secret, {problem}")]
struct Unusable {
    variable: String,
    problem: String,
}

/// Credentials of the environment, or why they cannot be used.
#[derive(Debug)]
struct Given(Result<Credentials, Unusable>);

impl ProvideCredentials for Given {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::ready(match &self.0 {
            Ok(credentials) => Ok(credentials.clone()),
            Err(unusable) => Err(CredentialsError::invalid_configuration(unusable.clone())),
        })
    }
}

/// Looks whether there are credentials for buckets, before any of them is asked.
///
/// # Errors
/// With the key of the first that has none.
pub async fn look(
    buckets: impl IntoIterator<Item = (Identity, &config::Bucket)>,
) -> Result<(), NoCredentials> {
    for (identity, bucket) in buckets {
        let key = identity.key();
        let none = |source| NoCredentials { key, source };
        let Some(provider) = provider(bucket, identity).await else {
            let nobody = "no provider is configured";
            return Err(none(CredentialsError::not_loaded(nobody)));
        };
        provider.provide_credentials().await.map_err(none)?;
    }
    Ok(())
}

/// The buckets of a configuration, with the identities that this process has for them.
#[must_use]
pub fn of_process(
    storage: &config::Storage,
    with_release: bool,
) -> Vec<(Identity, &config::Bucket)> {
    let mut buckets = vec![(Identity::Quarantine, &storage.quarantine)];
    if with_release {
        buckets.push((Identity::Release, &storage.release));
    }
    if let Some(records) = &storage.records {
        buckets.push((Identity::Records, records));
    }
    if let Some(staging) = &storage.staging {
        buckets.push((Identity::Staging, staging));
    }
    if with_release && Identity::Signing.is_configured() {
        buckets.push((Identity::Signing, &storage.release));
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rows: &[(&str, &str)]) -> Option<Result<Credentials, Unusable>> {
        Identity::Release.read(|name| {
            let short = name.strip_prefix("TREVOR_S3_RELEASE_").unwrap();
            let found = rows.iter().find(|(known, _)| *known == short);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_line_break_at_the_end_of_a_key_is_none_of_it() {
        let found = read(&[("ACCESS_KEY_ID", "id\n"), ("SECRET_ACCESS_KEY", " key\r\n")]);
        let found = found.unwrap().unwrap();
        assert_eq!(
            (found.access_key_id(), found.secret_access_key()),
            ("id", "key")
        );
        assert!(found.session_token().is_none() && found.expiry().is_none());
    }

    #[test]
    fn credentials_that_cannot_be_used_are_named_and_not_replaced_by_others() {
        let both = [("ACCESS_KEY_ID", "id"), ("SECRET_ACCESS_KEY", "key")];
        let with = |name, value| [both[0], both[1], (name, value)];
        for (rows, name) in [
            (vec![both[0]], "SECRET_ACCESS_KEY"),
            (vec![both[1]], "ACCESS_KEY_ID"),
            (vec![("ACCESS_KEY_ID", "i\nd"), both[1]], "ACCESS_KEY_ID"),
            (
                vec![both[0], ("SECRET_ACCESS_KEY", "k é y")],
                "SECRET_ACCESS_KEY",
            ),
            (with("SESSION_TOKEN", "a b").to_vec(), "SESSION_TOKEN"),
            (with("EXPIRATION", "tomorrow").to_vec(), "EXPIRATION"),
        ] {
            let said = read(&rows).unwrap().unwrap_err().to_string();
            assert!(
                said.contains(&format!("TREVOR_S3_RELEASE_{name}")),
                "{said}"
            );
            assert!(!said.contains('\n'), "{said}");
        }
        assert!(read(&[]).is_none());
        assert!(read(&[("ACCESS_KEY_ID", " "), ("SECRET_ACCESS_KEY", "")]).is_none());
        assert!(read(&[("SESSION_TOKEN", "t")]).is_none());
    }

    #[test]
    fn a_session_has_the_end_that_is_given() {
        let rows = [
            ("ACCESS_KEY_ID", "id"),
            ("SECRET_ACCESS_KEY", "key"),
            ("SESSION_TOKEN", "token"),
            ("EXPIRATION", "2026-12-31T00:00:00Z\n"),
        ];
        let end = read(&rows).unwrap().unwrap().expiry().unwrap();
        let end = Timestamp::try_from(end).unwrap();
        assert_eq!(end.to_string(), "2026-12-31T00:00:00Z");
    }
}
