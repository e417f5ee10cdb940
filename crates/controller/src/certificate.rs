//! The leader makes and renews the gateway's certificate, where the configuration names
//! no one else who does (`gateway.tls.authority`).
//!
//! Two Secrets of the operator's own namespace hold the authorities and what the gateway
//! serves with; a ConfigMap publishes the authorities. Each write is safe to repeat: an
//! authority is stored and published before anything that it signed is served, and a
//! Secret that somebody else wrote meanwhile is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::context::Context;
use super::error::EffectError;
use trevor_config::Config;
use trevor_core::certificates::{
    AUTHORITY_LIFE, Authority, BACKDATED, Plan, Serving, Signer, Why, plan,
};
use trevor_net::tls::issue::{self, IssueError, Pair};
use trevor_net::tls::look;

/// Type of the Secret with the authorities; admission lets it have this one alone.
const AUTHORITY_TYPE: &str = "airlock.karectl.io/gateway-authority";
const SERVING_TYPE: &str = "kubernetes.io/tls";
/// Key of the ConfigMap.
const PUBLISHED_KEY: &str = "ca.crt";
/// Between two looks: a Secret that was deleted by hand comes back.
const LOOK: Duration = Duration::from_secs(300);
/// Half of the pause after a first failure; it doubles up to `LOOK`.
const AGAIN: Duration = Duration::from_secs(2);

/// What this process knows of it, for Jobs and for metrics.
#[derive(Debug, Default)]
pub struct Certificates {
    published: Mutex<Option<String>>,
    until: AtomicI64,
    failures: AtomicI64,
}

impl Certificates {
    /// The authorities that clients of the gateway are to trust, in PEM.
    pub fn published(&self) -> Option<String> {
        let published = self.published.lock();
        published.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Numbers in the text format of OpenMetrics.
    pub fn metrics(&self) -> String {
        format!(
            "# TYPE trevor_gateway_authority_expiry_timestamp_seconds gauge\n\
             # HELP trevor_gateway_authority_expiry_timestamp_seconds When the newest authority of the operator's own ends; 0: this process makes none.\n\
             trevor_gateway_authority_expiry_timestamp_seconds {}\n\
             # TYPE trevor_gateway_certificate_failures counter\n\
             # HELP trevor_gateway_certificate_failures Looks at the gateway's certificate that failed, where the operator makes it.\n\
             trevor_gateway_certificate_failures_total {}\n",
            self.until.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        )
    }

    fn publishes(&self, bundle: String, until: i64) {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(bundle);
        self.until.store(until, Ordering::Relaxed);
    }
}

/// Why the certificate could not be looked after.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    #[error("{what} {name}: {source}")]
    Kube {
        what: &'static str,
        name: String,
        source: Box<kube::Error>,
    },
    #[error(
        "the Secret {name} of the gateway's authorities cannot be used: {problem}; restore it, or delete it and clients need the new authority"
    )]
    Broken { name: String, problem: String },
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Effect(#[from] EffectError),
}

/// An authority with its key.
#[derive(Clone)]
struct Held {
    said: Authority,
    pair: Pair,
}

/// Where everything is.
struct Home {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    serving: String,
    authority: String,
    names: BTreeSet<String>,
}

/// Looks after the certificate while this process leads; ends never.
pub async fn serve(ctx: Arc<Context>, namespace: String) {
    let Some(home) = home(&ctx, &namespace) else {
        return std::future::pending().await;
    };
    let mut again = AGAIN;
    loop {
        let pause = match keep(&ctx, &home, Timestamp::now().as_second()).await {
            Ok(()) => {
                again = AGAIN;
                LOOK
            }
            Err(error) => {
                ctx.certificates.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "the gateway's certificate could not be looked after; it is tried again");
                again = (again * 2).min(LOOK);
                again
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn home(ctx: &Context, namespace: &str) -> Option<Home> {
    let tls = &ctx.config.gateway.tls;
    Some(Home {
        secrets: Api::namespaced(ctx.client.clone(), namespace),
        config_maps: Api::namespaced(ctx.client.clone(), namespace),
        serving: tls.secret.clone()?,
        authority: tls.authority.clone()?,
        names: names(&ctx.config),
    })
}

/// Whom the certificate is for: the host of the gateway's URL, and those that are named.
fn names(config: &Config) -> BTreeSet<String> {
    let url = config.gateway.url.parse::<http::Uri>().ok();
    let host = url.as_ref().and_then(http::Uri::host);
    let bare = host.map(|h| h.trim_start_matches('[').trim_end_matches(']').to_owned());
    let mut names: BTreeSet<String> = config.gateway.tls.dns_names.iter().cloned().collect();
    names.extend(bare);
    names
}

async fn keep(ctx: &Context, home: &Home, now: i64) -> Result<(), CertificateError> {
    let stored = get(&home.secrets, "the Secret", &home.authority).await?;
    let there = match &stored {
        Some(secret) => authorities(secret).map_err(|problem| CertificateError::Broken {
            name: home.authority.clone(),
            problem,
        })?,
        None => Vec::new(),
    };
    let served = get(&home.secrets, "the Secret", &home.serving).await?;
    let serving = served.as_ref().and_then(serving);
    let said: Vec<Authority> = there.iter().map(|held| held.said.clone()).collect();
    let plan = plan(&said, serving.as_ref(), &home.names, now);

    let all = wanted(&there, &plan, now)?;
    if plan.make || all.len() != there.len() {
        let data = all.iter().flat_map(entries).collect();
        write(ctx, home, &home.authority, AUTHORITY_TYPE, stored, data).await?;
        tracing::info!(
            secret = home.authority,
            authorities = all.len(),
            made = plan.make,
            "the gateway's authorities changed"
        );
    }
    publish(ctx, home, &all).await?;
    if let Some(why) = plan.renew {
        renew(ctx, home, served, &all, &plan, (why, now)).await?;
    }
    Ok(())
}

/// The authorities that are to be there, the newest first.
fn wanted(there: &[Held], plan: &Plan, now: i64) -> Result<Vec<Held>, CertificateError> {
    let mut all = Vec::new();
    if plan.make {
        // For clients whose clock is behind; what it is known for counts from then, too.
        let pair = issue::authority(now - BACKDATED, now + AUTHORITY_LIFE)?;
        all.push(held(pair).map_err(|_| IssueError::Time(now))?);
    }
    for id in &plan.keep {
        all.extend(there.iter().find(|held| held.said.id == *id).cloned());
    }
    Ok(all)
}

async fn renew(
    ctx: &Context,
    home: &Home,
    served: Option<Secret>,
    all: &[Held],
    plan: &Plan,
    (why, now): (Why, i64),
) -> Result<(), CertificateError> {
    let signs = |held: &&Held| match &plan.signer {
        Signer::Kept(id) => held.said.id == *id,
        Signer::Made => true,
    };
    let Some(signer) = all.iter().find(signs) else {
        return Ok(());
    };
    let since = (now - BACKDATED).max(signer.said.since);
    let pair = issue::serving(&signer.pair, &home.names, since, plan.until)?;
    let data = BTreeMap::from([
        ("tls.crt".to_owned(), bytes(&pair.certificate)),
        ("tls.key".to_owned(), bytes(&pair.key)),
    ]);
    write(ctx, home, &home.serving, SERVING_TYPE, served, data).await?;
    tracing::info!(
        secret = home.serving,
        ?why,
        until = plan.until,
        "the gateway's certificate was made"
    );
    Ok(())
}

async fn publish(ctx: &Context, home: &Home, all: &[Held]) -> Result<(), CertificateError> {
    let bundle: String = all.iter().map(|h| h.pair.certificate.as_str()).collect();
    let shown = get(&home.config_maps, "the ConfigMap", &home.authority).await?;
    let shown = shown.and_then(|map| map.data?.remove(PUBLISHED_KEY));
    if shown.as_ref() != Some(&bundle) {
        ctx.claim()?;
        let patch = json!({"data": {PUBLISHED_KEY: bundle}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = home.config_maps.patch(&home.authority, &params, &patch);
        patched
            .await
            .map_err(told("the ConfigMap", &home.authority))?;
    }
    let until = all.iter().map(|h| h.said.until).max().unwrap_or_default();
    ctx.certificates.publishes(bundle, until);
    Ok(())
}

/// Creates the Secret, or replaces it as it was read.
async fn write(
    ctx: &Context,
    home: &Home,
    name: &str,
    kind: &str,
    stored: Option<Secret>,
    data: BTreeMap<String, ByteString>,
) -> Result<(), CertificateError> {
    ctx.claim()?;
    let new = stored.is_none();
    let secret = Secret {
        metadata: stored.map_or_else(|| metadata(name), |secret| secret.metadata),
        type_: Some(kind.to_owned()),
        data: Some(data),
        ..Secret::default()
    };
    let params = PostParams::default();
    let written = if new {
        home.secrets.create(&params, &secret).await
    } else {
        home.secrets.replace(name, &params, &secret).await
    };
    written.map(drop).map_err(told("the Secret", name))
}

fn metadata(name: &str) -> ObjectMeta {
    let labels = [
        ("app.kubernetes.io/name", "trevor"),
        ("app.kubernetes.io/managed-by", "trevor"),
    ];
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
        ..ObjectMeta::default()
    }
}

async fn get<K>(api: &Api<K>, what: &'static str, name: &str) -> Result<Option<K>, CertificateError>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.get_opt(name).await.map_err(told(what, name))
}

fn told(what: &'static str, name: &str) -> impl FnOnce(kube::Error) -> CertificateError {
    let name = name.to_owned();
    move |source| CertificateError::Kube {
        what,
        name,
        source: Box::new(source),
    }
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

fn entries(held: &Held) -> [(String, ByteString); 2] {
    let id = &held.said.id;
    [
        (format!("{id}.crt"), bytes(&held.pair.certificate)),
        (format!("{id}.key"), bytes(&held.pair.key)),
    ]
}

fn held(pair: Pair) -> Result<Held, String> {
    let said = look::of_pem(pair.certificate.as_bytes())?;
    Ok(Held {
        said: Authority {
            id: said.id,
            since: said.since,
            until: said.until,
        },
        pair,
    })
}

/// The authorities in a Secret; problems are in words.
fn authorities(secret: &Secret) -> Result<Vec<Held>, String> {
    let data = secret.data.iter().flatten();
    let mut all = Vec::new();
    for (key, certificate) in data {
        let Some(id) = key.strip_suffix(".crt") else {
            continue;
        };
        let private = secret
            .data
            .as_ref()
            .and_then(|d| d.get(&format!("{id}.key")));
        let private = private.ok_or_else(|| format!("{key} has no key"))?;
        let text = |bytes: &ByteString| {
            String::from_utf8(bytes.0.clone()).map_err(|_| format!("{key} is no text"))
        };
        let pair = Pair {
            certificate: text(certificate)?,
            key: text(private)?,
        };
        let held = held(pair).map_err(|problem| format!("{key} {problem}"))?;
        if held.said.id != id {
            return Err(format!("{key} is another authority's"));
        }
        all.push(held);
    }
    Ok(all)
}

/// What the gateway serves with now; none where it cannot be read.
fn serving(secret: &Secret) -> Option<Serving> {
    let data = secret.data.as_ref()?;
    data.get("tls.key")?;
    let said = look::of_pem(&data.get("tls.crt")?.0).ok()?;
    Some(Serving {
        signed_by: said.signed_by,
        names: said.names,
        since: said.since,
        until: said.until,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 2_000_000_000;

    fn secret(data: impl IntoIterator<Item = (String, ByteString)>) -> Secret {
        Secret {
            data: Some(data.into_iter().collect()),
            ..Secret::default()
        }
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let made = held(issue::authority(NOW, NOW + 10).unwrap()).unwrap();
        let read = authorities(&secret(entries(&made))).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].said, made.said);
        assert_eq!(read[0].pair.key, made.pair.key);
        assert!(authorities(&secret([])).unwrap().is_empty());
    }

    #[test]
    fn a_secret_that_was_tampered_with_is_not_overwritten_but_said() {
        let made = held(issue::authority(NOW, NOW + 10).unwrap()).unwrap();
        let other = held(issue::authority(NOW, NOW + 10).unwrap()).unwrap();
        let [certificate, key] = entries(&made);
        let rows = [
            (vec![certificate.clone()], "has no key"),
            (
                vec![(certificate.0.clone(), bytes("none")), key.clone()],
                "no certificate",
            ),
            (
                vec![(certificate.0, entries(&other)[0].1.clone()), key],
                "another authority's",
            ),
        ];
        for (data, word) in rows {
            let problem = authorities(&secret(data)).err().unwrap();
            assert!(problem.contains(word), "{problem}");
        }
    }

    #[test]
    fn the_certificate_is_for_the_host_of_the_url_and_for_what_is_named() {
        let text = "
storage:
  quarantine: {bucket: trevor-quarantine}
  release: {bucket: trevor-release}
gateway: {url: 'https://[::1]:8443', tls: {secret: s, authority: a, dns_names: [gw.svc]}}
crate: {publisher: {name: University}}
";
        let config = Config::parse(text, "test").unwrap();
        assert_eq!(names(&config), ["::1", "gw.svc"].map(str::to_owned).into());
    }
}
