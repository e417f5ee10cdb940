//! The Job that makes a package: the chart renders it, with image, account, storage
//! identities and room to spool; the controller names it and says which attempt.
//!
//! Nothing of a request reaches it but namespace and uid, as arguments and for people
//! who look: what it may do it reads from the bucket (`trevor_core::packaging`).

use std::path::Path;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::spec::{CONTAINER, LABEL, NONCE, REQUEST, REQUEST_UID, Whose};
use trevor_config::{Config, ConfigError, PackagingMode};
use trevor_core::volume::{Errand, JobIntent};

/// Annotation of packaging Jobs: namespace of the request, which is not theirs.
pub const REQUEST_NAMESPACE: &str = "airlock.karectl.io/request-namespace";

const KEY: &str = "controller.packaging.job_template";

/// What all packaging Jobs have in common.
#[derive(Clone, Debug)]
pub struct Template {
    job: Job,
    /// The account that they run as.
    pub service_account: String,
}

impl Template {
    /// The template of the configuration, for Jobs in `namespace`; none where the
    /// controller makes packages itself.
    ///
    /// # Errors
    /// When the file is not there, or Jobs made of it could not work.
    pub fn of(config: &Config, namespace: &str) -> Result<Option<Self>, ConfigError> {
        let packaging = &config.controller.packaging;
        match (&packaging.mode, &packaging.job_template) {
            (PackagingMode::Job, Some(path)) => Self::load(path, namespace).map(Some),
            _ => Ok(None),
        }
    }

    fn load(path: &Path, namespace: &str) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| bad(format!("{}: {error}", path.display())))?;
        Self::parse(&text, namespace)
    }

    fn parse(text: &str, namespace: &str) -> Result<Self, ConfigError> {
        let job: Job = serde_yaml::from_str(text).map_err(|error| {
            bad(format!(
                "is no Job: {}",
                error.to_string().replace('\n', " ")
            ))
        })?;
        if job.metadata.namespace.as_deref() != Some(namespace) {
            return Err(bad(format!(
                "is not for the namespace {namespace}, in which this controller runs (POD_NAMESPACE)"
            )));
        }
        let spec = job.spec.as_ref();
        // A second pod would write the attempt's key a second time.
        if spec.and_then(|s| s.backoff_limit) != Some(0) {
            return Err(bad(
                "has another backoffLimit than 0; the next attempt is another Job",
            ));
        }
        let pod = spec.and_then(|s| s.template.spec.as_ref());
        let Some(pod) = pod else {
            return Err(bad("has no pod"));
        };
        check_pod(pod)?;
        Ok(Self {
            service_account: pod.service_account_name.clone().unwrap_or_default(),
            job,
        })
    }

    /// The Job of an attempt.
    pub fn job(&self, whose: &Whose<'_>, errand: Errand, intent: &JobIntent) -> Job {
        let mut job = self.job.clone();
        let meta = &mut job.metadata;
        meta.name = Some(intent.job.clone());
        let labels = meta.labels.get_or_insert_default();
        labels.insert(LABEL.into(), errand.label().into());
        labels.insert(REQUEST_UID.into(), whose.uid.into());
        let annotations = meta.annotations.get_or_insert_default();
        annotations.insert(NONCE.into(), intent.nonce.clone());
        annotations.insert(REQUEST.into(), whose.name.into());
        annotations.insert(REQUEST_NAMESPACE.into(), whose.namespace.into());
        let Some(spec) = &mut job.spec else {
            return job;
        };
        let pod = spec.template.metadata.get_or_insert_default();
        let labels = pod.labels.get_or_insert_default();
        labels.insert(LABEL.into(), errand.label().into());
        labels.insert(REQUEST_UID.into(), whose.uid.into());
        if let Some(container) = spec
            .template
            .spec
            .as_mut()
            .and_then(|p| p.containers.first_mut())
        {
            let args = container.args.get_or_insert_default();
            args.extend(arguments(whose, errand));
        }
        job
    }
}

fn check_pod(pod: &PodSpec) -> Result<(), ConfigError> {
    let [container] = pod.containers.as_slice() else {
        return Err(bad("has not one container"));
    };
    if container.name != CONTAINER {
        return Err(bad(format!(
            "has a container of another name than {CONTAINER}"
        )));
    }
    if container
        .image
        .as_deref()
        .unwrap_or_default()
        .trim()
        .is_empty()
    {
        return Err(bad("names no image"));
    }
    if pod
        .service_account_name
        .as_deref()
        .unwrap_or_default()
        .is_empty()
    {
        return Err(bad("names no service account"));
    }
    if pod.automount_service_account_token != Some(false) {
        return Err(bad(
            "mounts a token of its service account; set automountServiceAccountToken: false",
        ));
    }
    if !says_package(container) {
        return Err(bad("runs something else than `trevor package`"));
    }
    Ok(())
}

fn says_package(container: &Container) -> bool {
    let first = container.args.as_ref().and_then(|args| args.first());
    container.command.is_none() && first.is_some_and(|word| word == "package")
}

fn arguments(whose: &Whose<'_>, errand: Errand) -> Vec<String> {
    let Errand::Package { round, attempt } = errand else {
        return Vec::new();
    };
    [
        ("--namespace", whose.namespace.to_owned()),
        ("--uid", whose.uid.to_owned()),
        ("--round", round.to_string()),
        ("--attempt", attempt.to_string()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

fn bad(problem: impl Into<String>) -> ConfigError {
    ConfigError::Key {
        key: KEY.into(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: batch/v1
kind: Job
metadata: {namespace: trevor-system, labels: {a: b}}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {c: d}}
    spec:
      serviceAccountName: trevor-packaging
      automountServiceAccountToken: false
      containers: [{name: trevor, image: 'trevor:1', args: [package, --config, /x]}]
";

    #[test]
    fn a_job_has_what_the_chart_says_and_which_attempt_it_makes() {
        let template = Template::parse(GOOD, "trevor-system").unwrap();
        assert_eq!(template.service_account, "trevor-packaging");
        let whose = Whose {
            namespace: "project-a",
            name: "tables",
            uid: "u-1",
        };
        let intent = JobIntent {
            job: "package-1-2-x".into(),
            nonce: "n".into(),
            service_account: "trevor-packaging".into(),
        };
        let errand = Errand::Package {
            round: 1,
            attempt: 2,
        };
        let job = serde_json::to_value(template.job(&whose, errand, &intent)).unwrap();
        let meta = &job["metadata"];
        assert_eq!(meta["name"], "package-1-2-x");
        assert_eq!(meta["namespace"], "trevor-system");
        assert_eq!(meta["labels"]["a"], "b");
        assert_eq!(meta["labels"][LABEL], "package");
        assert_eq!(meta["annotations"][NONCE], "n");
        assert_eq!(meta["annotations"][REQUEST_NAMESPACE], "project-a");
        let pod = &job["spec"]["template"];
        assert_eq!(pod["metadata"]["labels"][REQUEST_UID], "u-1");
        assert_eq!(pod["metadata"]["labels"]["c"], "d");
        let args = pod["spec"]["containers"][0]["args"].as_array().unwrap();
        let args: Vec<&str> = args.iter().map(|a| a.as_str().unwrap()).collect();
        let line = "package --config /x --namespace project-a --uid u-1 --round 1 --attempt 2";
        assert_eq!(args.join(" "), line);
    }

    #[test]
    fn a_template_that_cannot_work_is_refused_with_the_key() {
        for (from, to, word) in [
            ("kind: Job", "kind: [", "is no Job"),
            ("trevor-system,", "elsewhere,", "namespace trevor-system"),
            ("backoffLimit: 0", "backoffLimit: 1", "backoffLimit"),
            ("trevor:1", " ", "no image"),
            (
                "serviceAccountName: trevor-packaging",
                "",
                "service account",
            ),
            ("Token: false", "Token: true", "token"),
            ("name: trevor,", "name: x,", "container"),
            ("[package,", "[controller,", "something else"),
            ("args:", "command: [sh], args:", "something else"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let error = Template::parse(&text, "trevor-system").unwrap_err();
            let error = error.to_string();
            assert!(error.contains(KEY) && error.contains(word), "{error}");
        }
    }
}
