//! Starts the controller: proof of the storage servers, watches, leadership.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::checkpoints::Standing;
use super::context::{Context, Memories};
use super::definitions::{self, DefinitionError};
use super::echo::Echoes;
use super::effects::confirm::Confirmations;
use super::health::{self, Health};
use super::hints::Hints;
use super::leader::lead;
use super::past::Past;
use super::queue::Queue;
use super::tasks::{Ended, Tasks};
use super::watches::{self, Watches};
use super::{jobs, rules_watch};
use crate::rules::Verifier;
use crate::shutdown;
use trevor_cluster::lease::Leadership;
use trevor_config::{Config, ConfigError};
use trevor_lifecycle::Troubles;
use trevor_notify::{ChannelError, Channels, Outbox};
use trevor_package::Spool;
use trevor_serve::{self as listen, Listener};
use trevor_store::audit::key::VARIABLE;
use trevor_store::audit::{Heads, KeyError, SigningKey};
use trevor_store::{self as storage, Links, Release, Signer, Zones, proof};

/// How long effects in hand may take to end when the process is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How the process takes part.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its identity in the Lease; unique to a process or a pod.
    pub holder: String,
    /// Namespace of the Lease.
    pub namespace: String,
    /// Whether to compete for the Lease; without it, it leads always.
    pub elect: bool,
}

/// Why the controller stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A bucket has no credentials.
    #[error(transparent)]
    Credentials(#[from] storage::NoCredentials),
    /// A storage server cannot be used.
    #[error(transparent)]
    Proof(#[from] proof::ProofError),
    /// Jobs cannot be made.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing signs URLs.
    #[error(
        "configuration key storage.release.credentials_secret: there are no credentials for the release bucket"
    )]
    NoCredentials,
    /// Nothing signs URLs now.
    #[error("configuration key storage.release.signing: {0}")]
    Signing(storage::StorageError),
    /// URLs would die before their time.
    #[error(transparent)]
    ShortLived(#[from] storage::ShortLived),
    /// The cluster's definitions are not those of this build.
    #[error(transparent)]
    Definitions(#[from] DefinitionError),
    /// The API server cannot be reached, or refuses.
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
    /// A notification channel cannot be used.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The listener cannot be opened.
    #[error("configuration key controller.listen: {0}")]
    Listen(std::io::Error),
    /// The spool folder cannot be used.
    #[error("configuration key controller.packaging.spool_dir: {0}")]
    Spool(std::io::Error),
    /// The key that signs checkpoints is no key.
    #[error("environment variable {VARIABLE}, from audit.signing_key_secret: {0}")]
    SigningKey(#[from] KeyError),
    /// It is named, and not there.
    #[error(
        "configuration key audit.signing_key_secret: names a Secret, and the environment variable {VARIABLE} has no key; pass it on from there"
    )]
    NoSigningKey,
    /// A watch or the like ended while the process was to go on.
    #[error(transparent)]
    Task(#[from] Ended),
}

/// Runs until the process is told to stop.
///
/// # Errors
/// When it cannot start, and when one of its tasks ends while it is to go on.
pub async fn run(config: Config, client: Client, options: Options) -> Result<(), RunError> {
    let channels = Channels::new(&config.notifications, |name| std::env::var(name).ok())?;
    definitions::check(&client).await?;
    let (zones, release) = connect(&config).await?;
    let _spool = Spool::open(&config.controller.packaging.spool_dir).map_err(RunError::Spool)?;
    let signer = signer(&config).await?;
    jobs::spec::Common::of(&config)?;
    let watches = Watches::new(&client);
    let parts = Parts {
        channels,
        zones,
        release,
        signer,
        signing: signing_key(&config)?,
        packaging: jobs::template::Template::of(&config, &options.namespace)?,
        cluster: cluster_uid(&client).await?,
        leadership: if options.elect {
            Leadership::compete(client.clone(), &options.namespace, &options.holder)
        } else {
            Leadership::always(&options.holder)
        },
    };
    let ctx = Arc::new(context(config, client, &options, parts, &watches));
    let mut tasks = Tasks::default();
    let policy_changed = Arc::new(Notify::new());
    watches.spawn(&ctx, &policy_changed, &mut tasks);
    let rules = rules_watch::serve(Arc::clone(&ctx), policy_changed);
    tasks.spawn("verification of the admission rules", rules);

    let listener = tokio::net::TcpListener::bind(&ctx.config.controller.listen)
        .await
        .map_err(RunError::Listen)?;
    watches::synced(&ctx).await;
    let health = Arc::new(Health::new(Timestamp::now()));
    let (zones, release) = (ctx.zones.clone(), ctx.release.clone());
    let watched = health::watch(Arc::clone(&health), zones, release);
    tasks.spawn("health of the storage servers", watched);
    let hints = Hints::new(Arc::clone(&ctx), health);
    let answer = move |request| Arc::clone(&hints).answer(request);
    // It answers probes until the process is gone.
    let never = CancellationToken::new();
    let server = listen::serve_short(listener, Listener::short(), never, answer);
    tasks.spawn("listener", server);
    tracing::info!(
        listen = ctx.config.controller.listen,
        "the controller is ready"
    );

    let stop = CancellationToken::new();
    let ended = tokio::select! {
        () = lead_in_turn(&ctx, &stop) => Ok(()),
        never = stops_on_signal(&stop) => match never {},
        ended = tasks.ended() => Err(ended.into()),
    };
    ctx.end_work().await;
    ctx.leadership.clone().resign().await;
    ended
}

/// Connects to the storage servers, and proves that they do what trevor relies on.
async fn connect(config: &Config) -> Result<(Zones, Release), RunError> {
    let zones = Zones::connect(&config.storage).await;
    let release = Release::connect(&config.storage).await;
    storage::look_for_credentials(storage::of_process(&config.storage, true)).await?;
    proof::prove(&config.storage, &zones, &release).await?;
    Ok((zones, release))
}

/// Signs URLs of the release bucket, with credentials that last as long as the URLs.
async fn signer(config: &Config) -> Result<Signer, RunError> {
    let signer = storage::signer(&config.storage.release)
        .await
        .ok_or(RunError::NoCredentials)?;
    let ttl = Duration::from_secs(config.storage.presigned_url_ttl_seconds.unsigned_abs());
    let life = signer.life().await.map_err(RunError::Signing)?;
    storage::check_life(Links::Release, life, ttl, config.storage.allow_shorter_ttl)?;
    Ok(signer)
}

/// The uid of `kube-system` stands for the cluster.
async fn cluster_uid(client: &Client) -> Result<String, kube::Error> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let system = namespaces.get("kube-system").await?;
    Ok(system.uid().unwrap_or_default())
}

/// What the context is made of, beside the configuration.
struct Parts {
    channels: Channels,
    zones: Zones,
    release: Release,
    signer: Signer,
    signing: Option<Arc<SigningKey>>,
    packaging: Option<jobs::template::Template>,
    cluster: String,
    leadership: Leadership,
}

fn context(
    config: Config,
    client: Client,
    options: &Options,
    parts: Parts,
    watches: &Watches,
) -> Context {
    let rules = Verifier::new(
        client.clone(),
        (&parts.cluster, &options.namespace),
        parts.zones.records.clone(),
        config.identity.rules.clone(),
    );
    let reporter = Reporter {
        controller: "trevor".into(),
        instance: Some(options.holder.clone()),
    };
    let heads = match &parts.signing {
        Some(_) => Heads::kept(),
        None => Heads::default(),
    };
    Context {
        home: options.namespace.clone(),
        packaging: parts.packaging,
        zones: parts.zones,
        release: parts.release,
        signer: parts.signer,
        cluster: parts.cluster,
        policies: watches.policies.clone(),
        reviews: watches.reviews.clone(),
        actions: watches.actions.clone(),
        requests: watches.requests.clone(),
        rules: Arc::new(rules),
        leadership: parts.leadership,
        recorder: Recorder::new(client.clone(), reporter),
        queue: Queue::default(),
        outbox: Arc::new(Outbox::new(parts.channels)),
        strays: Arc::default(),
        sweeps: Arc::default(),
        numbers: Arc::default(),
        troubles: Troubles::default(),
        behind: std::sync::Mutex::default(),
        verified: Arc::default(),
        releases: Mutex::default(),
        confirmations: Confirmations::default(),
        background: std::sync::Mutex::default(),
        heads: Arc::new(heads),
        checkpoints: Arc::new(Standing::new(parts.signing.is_some())),
        signing: parts.signing,
        turns: Semaphore::new(usize::from(config.controller.concurrency)),
        throughput: Arc::default(),
        certificates: Arc::default(),
        past: Arc::new(Past::new(watches.requests.clone())),
        echoes: Echoes::default(),
        retries: Arc::default(),
        memory: Memories::default(),
        client,
        config,
    }
}

/// Leads whenever it may, until the process is told to stop.
async fn lead_in_turn(ctx: &Arc<Context>, stop: &CancellationToken) {
    let mut leadership = ctx.leadership.clone();
    while !stop.is_cancelled() {
        let claim = tokio::select! {
            claim = leadership.acquired() => claim,
            () = stop.cancelled() => break,
        };
        let mut lost = leadership.clone();
        let too_long = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            () = lead(Arc::clone(ctx), stop.clone()) => {}
            () = lost.lost(claim.term) => tracing::warn!(term = claim.term, "leads no more"),
            () = too_long => tracing::warn!("effects in hand are cut off: whoever leads next takes them up"),
        }
        ctx.end_work().await;
    }
}

async fn stops_on_signal(stop: &CancellationToken) -> Infallible {
    shutdown::signalled().await;
    stop.cancel();
    std::future::pending().await
}

/// The key of the environment; one that is named must be there.
fn signing_key(config: &Config) -> Result<Option<Arc<SigningKey>>, RunError> {
    let key = SigningKey::from_environment()?;
    if key.is_none() && config.audit.signing_key_secret.is_some() {
        return Err(RunError::NoSigningKey);
    }
    Ok(key.map(Arc::new))
}
