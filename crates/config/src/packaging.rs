//! `controller.packaging`: how, and where, packages are made.

use std::path::PathBuf;

use serde::Deserialize;

use super::{ConfigError, bad};

/// `controller.packaging`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "docs/reference/configuration.md#controller")]
pub struct Packaging {
    pub mode: PackagingMode,
    pub memory_budget_mib: u64,
    pub spool_dir: PathBuf,
    pub job_threshold_gib: u64,
    /// The same in bytes; wins.
    pub job_threshold_bytes: Option<u64>,
    /// The Job that packages are made by, as the chart rendered it.
    pub job_template: Option<PathBuf>,
}

impl Default for Packaging {
    fn default() -> Self {
        Self {
            mode: PackagingMode::InProcess,
            memory_budget_mib: 64,
            spool_dir: "/var/spool/trevor".into(),
            job_threshold_gib: 50,
            job_threshold_bytes: None,
            job_template: None,
        }
    }
}

/// Where packages are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum PackagingMode {
    /// In the controller.
    InProcess,
    /// In Jobs of the operator's namespace, from a size on.
    Job,
}

impl Packaging {
    /// Whether a Job makes the package of so many bytes.
    #[must_use]
    pub fn by_job(&self, bytes: u64) -> bool {
        let threshold = self
            .job_threshold_bytes
            .unwrap_or(self.job_threshold_gib.saturating_mul(1 << 30));
        self.mode == PackagingMode::Job && bytes >= threshold
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.mode == PackagingMode::Job && self.job_template.is_none() {
            return Err(bad(
                "controller.packaging.job_template",
                "is missing; mode Job needs a file with the Job, which the chart renders",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Packaging {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_job_makes_what_is_as_large_as_the_threshold_and_only_in_its_mode() {
        const GIB: u64 = 1 << 30;
        for (text, bytes, by_job) in [
            ("{}", u64::MAX, false),
            (r#"{"job_threshold_bytes": 0}"#, 1, false),
            (r#"{"mode": "Job"}"#, 50 * GIB - 1, false),
            (r#"{"mode": "Job"}"#, 50 * GIB, true),
            (r#"{"mode": "Job", "job_threshold_gib": 1}"#, GIB, true),
            (r#"{"mode": "Job", "job_threshold_bytes": 10}"#, 9, false),
            (r#"{"mode": "Job", "job_threshold_bytes": 10}"#, 10, true),
        ] {
            assert_eq!(parsed(text).by_job(bytes), by_job, "{text} {bytes}");
        }
    }

    #[test]
    fn jobs_without_a_template_are_refused() {
        let error = parsed(r#"{"mode": "Job"}"#).check().unwrap_err();
        assert!(error.to_string().contains("packaging.job_template"));
        parsed(r#"{"mode": "Job", "job_template": "/x"}"#)
            .check()
            .unwrap();
        parsed("{}").check().unwrap();
    }
}
