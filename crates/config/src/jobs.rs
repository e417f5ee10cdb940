//! `jobs`: Jobs that the operator runs in projects, for volumes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{ConfigError, bad};

/// `jobs`. Off while `images` is empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#jobs")]
pub struct Jobs {
    /// The images that admission lets them run; they run the first.
    pub images: Vec<String>,
    /// Account of the project that they run as, without its token.
    pub service_account: String,
    /// Whom files in the volumes belong to, as numbers of user and group.
    pub run_as_user: i64,
    pub run_as_group: i64,
    /// Group that volumes are given to when they are mounted to be written; none:
    /// volumes stay as they are.
    pub fs_group: Option<i64>,
    /// Seconds until one that does not end is ended.
    pub deadline_seconds: i64,
    /// Seconds that one that ended is kept, if it is not deleted before.
    pub ttl_seconds: i32,
    /// Times that a failed pod is followed by another.
    pub backoff_limit: i32,
    /// Of their one container.
    pub resources: Resources,
    /// PEM file with the authority that signed the gateway's certificate, if not a
    /// public one.
    pub ca_bundle: Option<PathBuf>,
    /// The same, where that is none: of a Secret that may be made later, or that holds
    /// none because a public authority signed. Set by the chart.
    pub ca_bundle_if_any: Option<PathBuf>,
}

/// Quantities by resource name.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#jobs")]
pub struct Resources {
    pub requests: BTreeMap<String, String>,
    pub limits: BTreeMap<String, String>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            service_account: "default".into(),
            run_as_user: 65_532,
            run_as_group: 65_532,
            fs_group: None,
            deadline_seconds: 21_600,
            ttl_seconds: 3_600,
            backoff_limit: 2,
            resources: Resources::default(),
            ca_bundle: None,
            ca_bundle_if_any: None,
        }
    }
}

impl Default for Resources {
    fn default() -> Self {
        let of = |cpu: &str, memory: &str| {
            BTreeMap::from([
                ("cpu".to_owned(), cpu.to_owned()),
                ("memory".to_owned(), memory.to_owned()),
            ])
        };
        Self {
            requests: of("100m", "64Mi"),
            limits: of("1", "256Mi"),
        }
    }
}

impl Jobs {
    /// The image that Jobs run; none: there are no Jobs.
    #[must_use]
    pub fn image(&self) -> Option<&str> {
        self.images.first().map(String::as_str)
    }

    /// The authority of the gateway's certificate, as it is now; none: a public one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca(&self) -> Result<Option<String>, ConfigError> {
        let (path, may_miss) = match (&self.ca_bundle, &self.ca_bundle_if_any) {
            (Some(path), _) => (path, false),
            (None, Some(path)) => (path, true),
            (None, None) => return Ok(None),
        };
        match std::fs::read_to_string(path) {
            Err(error) if may_miss && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => Ok(Some(text)),
            Ok(_) => Err(bad(
                "jobs.ca_bundle",
                format!("{} holds no certificate in PEM", path.display()),
            )),
            Err(error) => Err(bad(
                "jobs.ca_bundle",
                format!("{}: {error}", path.display()),
            )),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, value, least, most) in [
            ("run_as_user", self.run_as_user, 1, i64::from(u32::MAX)),
            ("run_as_group", self.run_as_group, 0, i64::from(u32::MAX)),
            (
                "fs_group",
                self.fs_group.unwrap_or(1),
                1,
                i64::from(u32::MAX),
            ),
            ("deadline_seconds", self.deadline_seconds, 60, 604_800),
            ("ttl_seconds", i64::from(self.ttl_seconds), 60, 604_800),
            ("backoff_limit", i64::from(self.backoff_limit), 0, 10),
        ] {
            if !(least..=most).contains(&value) {
                let problem = format!("is {value}; give {least} to {most}");
                return Err(bad(format!("jobs.{key}"), problem));
            }
        }
        if self.service_account.is_empty() {
            return Err(bad(
                "jobs.service_account",
                "is empty; name an account of every project",
            ));
        }
        if self.images.iter().any(|image| image.trim().is_empty()) {
            return Err(bad("jobs.images", "has an empty entry; name an image"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_off_until_an_image_is_named_and_run_the_first_one() {
        assert_eq!(Jobs::default().image(), None);
        let two: Jobs = serde_json::from_str(r#"{"images": ["a:2", "a:1"]}"#).unwrap();
        assert_eq!(two.image(), Some("a:2"));
        two.check().unwrap();
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        for (text, key) in [
            (r#"{"run_as_user": 0}"#, "jobs.run_as_user"),
            (r#"{"fs_group": 0}"#, "jobs.fs_group"),
            (r#"{"deadline_seconds": 1}"#, "jobs.deadline_seconds"),
            (r#"{"ttl_seconds": 1}"#, "jobs.ttl_seconds"),
            (r#"{"backoff_limit": 11}"#, "jobs.backoff_limit"),
            (r#"{"service_account": ""}"#, "jobs.service_account"),
            (r#"{"images": [""]}"#, "jobs.images"),
        ] {
            let jobs: Jobs = serde_json::from_str(text).unwrap();
            let error = jobs.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn the_authority_is_read_when_it_is_needed_and_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let jobs = Jobs {
            ca_bundle: Some(path.clone()),
            ..Jobs::default()
        };
        assert!(
            jobs.ca()
                .unwrap_err()
                .to_string()
                .contains("jobs.ca_bundle")
        );
        std::fs::write(&path, "nothing").unwrap();
        assert!(jobs.ca().is_err());
        let pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, pem).unwrap();
        assert_eq!(jobs.ca().unwrap().as_deref(), Some(pem));
        assert_eq!(Jobs::default().ca().unwrap(), None);
        let mut perhaps = Jobs {
            ca_bundle_if_any: Some(path.clone()),
            ..Jobs::default()
        };
        assert_eq!(perhaps.ca().unwrap().as_deref(), Some(pem));
        std::fs::write(&path, "nothing").unwrap();
        assert!(perhaps.ca().is_err(), "what is there must be one");
        perhaps.ca_bundle_if_any = Some(folder.path().join("none"));
        assert_eq!(perhaps.ca().unwrap(), None);
        perhaps.ca_bundle = perhaps.ca_bundle_if_any.clone();
        assert!(perhaps.ca().is_err(), "what is named must be there");
    }
}
