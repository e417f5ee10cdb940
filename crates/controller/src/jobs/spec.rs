//! What a Job is made of: from request, errand and configuration. Pure.
//!
//! Nothing of a request reaches it but what its errand needs: names of claims, folders
//! and globs, as arguments. It has no Secret, no credential and no token but one for
//! the gateway, which the gateway takes for this errand alone.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, PersistentVolumeClaimVolumeSource, PodSecurityContext,
    PodSpec, PodTemplateSpec, ProjectedVolumeSource, ResourceRequirements, SeccompProfile,
    SecurityContext, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;
use serde_json::json;

use super::super::reconcile::Subject;
use trevor_api::{Source, VolumePath};
use trevor_config as config;
use trevor_core::policy::Rules;
use trevor_core::volume::{Errand, JobIntent};

/// Label of our Jobs and their pods: what they are for.
pub const LABEL: &str = "airlock.karectl.io/job";
/// Label of our Jobs and their pods: uid of the request.
pub const REQUEST_UID: &str = "airlock.karectl.io/request-uid";
/// Annotation of our Jobs: name of the request, which may be too long for a label.
pub const REQUEST: &str = "airlock.karectl.io/request";
/// Annotation of our Jobs: what was stored before they were made.
pub const NONCE: &str = "airlock.karectl.io/nonce";

/// Name of the one container.
pub const CONTAINER: &str = "trevor";
const TOKEN: &str = "/var/run/trevor";
/// The shortest life that Kubernetes gives a token; it is renewed in its place.
const TOKEN_SECONDS: i64 = 600;

/// What all Jobs have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// `jobs` of the configuration.
    pub jobs: config::Jobs,
    /// The image that they run.
    pub image: String,
    /// Where the gateway is.
    pub gateway: String,
    /// Whom its tokens are for.
    pub audience: String,
    /// The authority of its certificate, in PEM.
    pub ca: Option<String>,
}

/// Whose errand it is.
#[derive(Clone, Debug)]
pub struct Whose<'a> {
    /// The project.
    pub namespace: &'a str,
    /// The request.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
}

impl<'a> Whose<'a> {
    /// Of a request.
    pub fn of(subject: &'a Subject) -> Self {
        Self {
            namespace: &subject.key.namespace,
            name: &subject.name,
            uid: &subject.key.uid,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Work {
    /// Read sources, within the bounds of the policy.
    Collect {
        /// The round.
        round: i64,
        /// From where.
        sources: Vec<Source>,
        /// Files at most.
        most_files: i64,
        /// Bytes at most.
        most_bytes: i64,
    },
    /// Write what was approved.
    Deliver {
        /// To where.
        volume: VolumePath,
    },
}

impl Work {
    /// Reads the sources of a round.
    pub fn collect(round: i64, sources: &[Source], rules: &Rules) -> Self {
        Self::Collect {
            round,
            sources: sources.to_vec(),
            most_files: rules.max_files,
            most_bytes: rules.max_total_bytes,
        }
    }

    /// What it is for.
    pub fn errand(&self) -> Errand {
        match self {
            Self::Collect { round, .. } => Errand::Collect { round: *round },
            Self::Deliver { .. } => Errand::Deliver,
        }
    }
}

/// The Job.
pub fn job(common: &Common, whose: &Whose<'_>, work: &Work, intent: &JobIntent) -> Job {
    let labels = BTreeMap::from([
        (LABEL.to_owned(), work.errand().label().to_owned()),
        (REQUEST_UID.to_owned(), whose.uid.to_owned()),
        (
            "app.kubernetes.io/managed-by".to_owned(),
            "trevor".to_owned(),
        ),
    ]);
    let annotations = BTreeMap::from([
        (NONCE.to_owned(), intent.nonce.clone()),
        (REQUEST.to_owned(), whose.name.to_owned()),
    ]);
    Job {
        metadata: ObjectMeta {
            name: Some(intent.job.clone()),
            namespace: Some(whose.namespace.to_owned()),
            labels: Some(labels.clone()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            active_deadline_seconds: Some(common.jobs.deadline_seconds),
            backoff_limit: Some(common.jobs.backoff_limit),
            completions: Some(1),
            parallelism: Some(1),
            // Two never write into one volume at the same time.
            pod_replacement_policy: Some("Failed".into()),
            ttl_seconds_after_finished: Some(common.jobs.ttl_seconds),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(common, whose, work, intent)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod(common: &Common, whose: &Whose<'_>, work: &Work, intent: &JobIntent) -> PodSpec {
    let (mut volumes, mut mounts) = claims(work);
    volumes.push(token(&common.audience));
    mounts.push(mount("token", TOKEN, true));
    PodSpec {
        restart_policy: Some("Never".into()),
        service_account_name: Some(intent.service_account.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(common.jobs.run_as_user),
            run_as_group: Some(common.jobs.run_as_group),
            fs_group: common.jobs.fs_group,
            fs_group_change_policy: common.jobs.fs_group.map(|_| "OnRootMismatch".into()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(common, whose, work, mounts)],
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

fn container(
    common: &Common,
    whose: &Whose<'_>,
    work: &Work,
    mounts: Vec<VolumeMount>,
) -> Container {
    let env = common.ca.as_ref().map(|ca| EnvVar {
        name: "TREVOR_GATEWAY_CA".into(),
        value: Some(literal(ca)),
        value_from: None,
    });
    let resources = &common.jobs.resources;
    Container {
        name: CONTAINER.into(),
        image: Some(common.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        args: Some(
            arguments(common, whose, work)
                .iter()
                .map(|a| literal(a))
                .collect(),
        ),
        env: env.map(|env| vec![env]),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(&resources.requests)),
            limits: Some(quantities(&resources.limits)),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".into()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        // Its last line is what the request's condition shows.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn arguments(common: &Common, whose: &Whose<'_>, work: &Work) -> Vec<String> {
    let word = |text: &str| text.to_owned();
    let mut all = vec![
        word(work.errand().label()),
        word("--gateway"),
        common.gateway.clone(),
        word("--namespace"),
        word(whose.namespace),
        word("--request"),
        word(whose.name),
        word("--token-file"),
        format!("{TOKEN}/token"),
    ];
    if common.gateway.starts_with("http://") {
        all.push(word("--allow-http"));
    }
    match work {
        Work::Collect {
            round,
            sources,
            most_files,
            most_bytes,
        } => {
            for (flag, number) in [
                ("--round", round),
                ("--most-files", most_files),
                ("--most-bytes", most_bytes),
            ] {
                all.extend([word(flag), number.to_string()]);
            }
            for (index, source) in sources.iter().enumerate() {
                all.extend([word("--source"), described(index, source)]);
            }
        }
        Work::Deliver { volume } => {
            all.extend([word("--root"), word("/destination")]);
            if let Some(path) = &volume.path {
                all.extend([word("--path"), path.clone()]);
            }
        }
    }
    all
}

fn described(index: usize, source: &Source) -> String {
    let claim = &source.persistent_volume_claim;
    json!({
        "root": source_root(index),
        "path": claim.path.as_deref().unwrap_or_default(),
        "include": source.include.as_deref().unwrap_or_default(),
        "exclude": source.exclude.as_deref().unwrap_or_default(),
    })
    .to_string()
}

fn source_root(index: usize) -> String {
    format!("/sources/{index}")
}

/// Kubernetes replaces `$(NAME)` in arguments and values, and `$$` by `$`.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn claims(work: &Work) -> (Vec<Volume>, Vec<VolumeMount>) {
    let volume = |name: &str, claim: &str, read_only: bool| Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: Some(read_only),
        }),
        ..Volume::default()
    };
    match work {
        Work::Collect { sources, .. } => sources
            .iter()
            .enumerate()
            .map(|(index, source)| {
                let name = format!("source-{index}");
                let claim = &source.persistent_volume_claim.claim_name;
                (
                    volume(&name, claim, true),
                    mount(&name, &source_root(index), true),
                )
            })
            .unzip(),
        Work::Deliver { volume: into } => (
            vec![volume("destination", &into.claim_name, false)],
            vec![mount("destination", "/destination", false)],
        ),
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    }
}

fn token(audience: &str) -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(audience.to_owned()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "token".into(),
        ..ServiceAccountTokenProjection::default()
    };
    Volume {
        name: "token".into(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(token),
                ..VolumeProjection::default()
            }]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn quantities(of: &BTreeMap<String, String>) -> BTreeMap<String, Quantity> {
    of.iter()
        .map(|(name, quantity)| (name.clone(), Quantity(quantity.clone())))
        .collect()
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
