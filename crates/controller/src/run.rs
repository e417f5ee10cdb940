//! Starts the controller: proof of the storage servers, watches, leadership.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{Mutex, Notify, Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::checkpoints::{self, Standing};
use super::context::{Context, Memories};
use super::definitions::{self, DefinitionError};
use super::echo::Echoes;
use super::effects::confirm::Confirmations;
use super::error::EffectError;
use super::health::{self, Health};
use super::hints::Hints;
use super::past::Past;
use super::reconcile::{error_policy, reconcile};
use super::{
    actions, cached, catch_up, certificate, history, jobs, links, policies, reviews, sessions,
    strays, sweeper, unknown,
};
use crate::rules::{self, Verifier};
use crate::shutdown;
use trevor_api::{AirlockAction, AirlockPolicy, AirlockRequest, AirlockReview};
use trevor_cluster::lease::Leadership;
use trevor_config::{Config, ConfigError};
use trevor_core::retry;
use trevor_lifecycle::Troubles;
use trevor_notify::dispatch::{self, Dispatcher};
use trevor_notify::{ChannelError, Channels, Outbox};
use trevor_package::Spool;
use trevor_serve::{self as listen, Listener};
use trevor_store::audit::key::VARIABLE;
use trevor_store::audit::{Heads, KeyError, SigningKey};
use trevor_store::{self as storage, Links, Release, Zones, proof};

/// How long effects in hand may take to end when the process is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Requests that may wait for their turn to be looked at. kube's own limit takes those
/// that wait in no order, and one of them could wait for ever while others are busy.
const WAITING: u16 = 256;

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
}

/// Runs until the process is told to stop.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config, client: Client, options: Options) -> Result<(), RunError> {
    let channels = Channels::new(&config.notifications, |name| std::env::var(name).ok())?;
    definitions::check(&client).await?;
    let zones = Zones::connect(&config.storage).await;
    let release = Release::connect(&config.storage).await;
    storage::look_for_credentials(storage::of_process(&config.storage, true)).await?;
    proof::prove(&config.storage, &zones, &release).await?;
    let _spool = Spool::open(&config.controller.packaging.spool_dir).map_err(RunError::Spool)?;
    let signing = signing_key(&config)?;
    let makes_jobs = jobs::spec::Common::of(&config)?.is_some();
    let packaging = jobs::template::Template::of(&config, &options.namespace)?;
    let packs_by_jobs = packaging.is_some();
    let signer = storage::signer(&config.storage.release)
        .await
        .ok_or(RunError::NoCredentials)?;
    let ttl = Duration::from_secs(config.storage.presigned_url_ttl_seconds.unsigned_abs());
    let life = signer.life().await.map_err(RunError::Signing)?;
    storage::check_life(Links::Release, life, ttl, config.storage.allow_shorter_ttl)?;
    let cluster = Api::<Namespace>::all(client.clone())
        .get("kube-system")
        .await?
        .uid()
        .unwrap_or_default();
    let mut leadership = if options.elect {
        Leadership::compete(client.clone(), &options.namespace, &options.holder)
    } else {
        Leadership::always(&options.holder)
    };

    let (requests, writer) = reflector::store();
    let request_stream = cached::requests(&client).reflect(writer);
    let (policies, writer) = reflector::store();
    let policy_stream = cached::watched::<AirlockPolicy>(&client).reflect(writer);
    let (review_store, writer) = reflector::store();
    let review_stream = cached::reviews(&client).reflect(writer);
    let (actions, writer) = reflector::store();
    let action_stream = cached::actions(&client).reflect(writer);
    let rules = Arc::new(Verifier::new(
        client.clone(),
        (&cluster, &options.namespace),
        zones.records.bucket().clone(),
        config.identity.rules.clone(),
    ));

    // Watches run in every process, so that a new leader has its caches; what
    // they see is acted upon by the leader alone.
    let (request_seen, _) = broadcast::channel::<ObjectRef<AirlockRequest>>(16_384);
    let (wake, woken) = mpsc::unbounded_channel();
    let reporter = Reporter {
        controller: "trevor".into(),
        instance: Some(options.holder.clone()),
    };
    let ctx = Arc::new(Context {
        client: client.clone(),
        config: config.clone(),
        home: options.namespace.clone(),
        packaging,
        zones,
        release,
        signer,
        cluster,
        policies: policies.clone(),
        reviews: review_store.clone(),
        actions: actions.clone(),
        requests: requests.clone(),
        rules,
        leadership: leadership.clone(),
        recorder: Recorder::new(client.clone(), reporter),
        wake,
        outbox: Arc::new(Outbox::new(channels)),
        strays: Arc::default(),
        sweeps: Arc::default(),
        numbers: Arc::default(),
        troubles: Troubles::default(),
        behind: std::sync::Mutex::default(),
        verified: Arc::default(),
        releases: Mutex::default(),
        confirmations: Confirmations::default(),
        background: std::sync::Mutex::default(),
        heads: Arc::new(match &signing {
            Some(_) => Heads::kept(),
            None => Heads::default(),
        }),
        checkpoints: Arc::new(Standing::new(signing.is_some())),
        signing,
        turns: Semaphore::new(usize::from(config.controller.concurrency)),
        throughput: Arc::default(),
        certificates: Arc::default(),
        past: Arc::new(Past::new(requests.clone())),
        echoes: Echoes::default(),
        retries: Arc::default(),
        memory: Memories::default(),
    });
    let seen = request_seen.clone();
    let (known, told) = (requests.clone(), Arc::clone(&ctx));
    tokio::spawn(
        request_stream
            .default_backoff()
            .touched_objects()
            .for_each(move |seen_now| {
                if let Ok(request) = seen_now {
                    let target = ObjectRef::from_obj(&request);
                    if known.get(&target).is_none() {
                        // It is gone, and an action may have named it or its record.
                        told.strays.notify_one();
                    } else if !told
                        .echoes
                        .is_news(&request.uid().unwrap_or_default(), &request)
                    {
                        return std::future::ready(());
                    }
                    drop(seen.send(target));
                }
                std::future::ready(())
            }),
    );
    if makes_jobs {
        tokio::spawn(jobs::wake(client.clone(), request_seen.clone()));
    }
    if packs_by_jobs {
        let (home, seen) = (options.namespace.clone(), request_seen.clone());
        tokio::spawn(jobs::wake_by_packaging(client.clone(), home, seen));
    }
    let seen = request_seen.clone();
    let known = requests.clone();
    let told = Arc::clone(&ctx);
    tokio::spawn(
        review_stream
            .default_backoff()
            .applied_objects()
            .for_each(move |review| {
                let (seen, known, told) = (seen.clone(), known.clone(), Arc::clone(&told));
                async move {
                    if let Ok(review) = review {
                        review_seen(&review, &seen, &known, &told).await;
                    }
                }
            }),
    );
    let seen = request_seen.clone();
    let known = requests.clone();
    let told = Arc::clone(&ctx);
    tokio::spawn(
        action_stream
            .default_backoff()
            .applied_objects()
            .for_each(move |action| {
                let (seen, known, told) = (seen.clone(), known.clone(), Arc::clone(&told));
                async move {
                    if let Ok(action) = action {
                        action_seen(&action, &seen, &known, &told);
                    }
                }
            }),
    );
    let seen = request_seen.clone();
    let known = requests.clone();
    let policy_changed = Arc::new(Notify::new());
    let changed = Arc::clone(&policy_changed);
    tokio::spawn(
        policy_stream
            .default_backoff()
            .touched_objects()
            .for_each(move |policy| {
                if policy.is_ok() {
                    look_at_all(&known, &seen);
                    changed.notify_one();
                }
                std::future::ready(())
            }),
    );
    tokio::spawn(watch_rules(
        Arc::clone(&ctx),
        request_seen.clone(),
        policy_changed,
    ));
    let seen = request_seen.clone();
    tokio::spawn(forward(woken, seen));

    let listener = tokio::net::TcpListener::bind(&config.controller.listen)
        .await
        .map_err(RunError::Listen)?;
    for ready in [
        requests.wait_until_ready().await.is_ok(),
        policies.wait_until_ready().await.is_ok(),
        review_store.wait_until_ready().await.is_ok(),
        actions.wait_until_ready().await.is_ok(),
    ] {
        if !ready {
            tracing::warn!("a watch ended before it was in sync");
        }
    }
    let health = Arc::new(Health::new(Timestamp::now()));
    let (zones, release) = (ctx.zones.clone(), ctx.release.clone());
    tokio::spawn(health::watch(Arc::clone(&health), zones, release));
    let hints = Hints::new(Arc::clone(&ctx), health);
    let answer = move |request| Arc::clone(&hints).answer(request);
    // It answers probes until the process is gone.
    let never = CancellationToken::new();
    tokio::spawn(listen::serve_short(
        listener,
        Listener::short(),
        never,
        answer,
    ));
    tracing::info!(listen = config.controller.listen, "the controller is ready");
    let stop = CancellationToken::new();
    let told_to_stop = stop.clone();
    tokio::spawn(async move {
        shutdown::signalled().await;
        told_to_stop.cancel();
    });
    while !stop.is_cancelled() {
        let claim = tokio::select! {
            claim = leadership.acquired() => claim,
            () = stop.cancelled() => break,
        };
        let lost = {
            let mut l = leadership.clone();
            async move { l.lost(claim.term).await }
        };
        let work = lead(
            &options.namespace,
            Arc::clone(&ctx),
            requests.clone(),
            request_seen.subscribe(),
            stop.clone(),
        );
        let too_long = async {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            () = work => {}
            () = lost => tracing::warn!(term = claim.term, "leads no more"),
            () = too_long => tracing::warn!("effects in hand are cut off: whoever leads next takes them up"),
        }
        ctx.end_work().await;
    }
    leadership.resign().await;
    Ok(())
}

/// Reconciles while this process leads: everything once, then what is seen. When it
/// is to stop, what is in hand is finished, and nothing new begun.
async fn lead(
    namespace: &str,
    ctx: Arc<Context>,
    requests: Store<AirlockRequest>,
    seen: broadcast::Receiver<ObjectRef<AirlockRequest>>,
    stop: CancellationToken,
) {
    let all = futures::stream::iter(all_of(&requests));
    let follow = futures::stream::unfold(
        (seen, requests.clone()),
        |(mut seen, requests)| async move {
            let targets = match seen.recv().await {
                Ok(target) => vec![target],
                // Too many at once: look at everything.
                Err(broadcast::error::RecvError::Lagged(_)) => all_of(&requests),
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((targets, (seen, requests)))
        },
    )
    .flat_map(futures::stream::iter);
    let strays = strays::serve(Arc::clone(&ctx));
    let notices = dispatch::serve(dispatcher(&ctx));
    let checkpoints = checkpoints::serve(Arc::clone(&ctx), namespace.to_owned());
    let certificate = certificate::serve(Arc::clone(&ctx), namespace.to_owned());
    let sweeper = sweeper::serve(Arc::clone(&ctx));
    let orphans = sweeper::look_for_orphans(Arc::clone(&ctx));
    let caught_up = catch_up::serve(Arc::clone(&ctx));
    let history = history::serve(Arc::clone(&ctx));
    let links = links::serve(Arc::clone(&ctx));
    let sessions = sessions::serve(Arc::clone(&ctx));
    let unknown = unknown::serve(Arc::clone(&ctx));
    let work = Controller::for_stream(futures::stream::pending(), requests)
        .with_config(controller::Config::default().concurrency(WAITING))
        .reconcile_on(all.chain(follow))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, error_policy, ctx)
        .for_each(
            |result: Result<
                (ObjectRef<AirlockRequest>, Action),
                controller::Error<EffectError, watcher::Error>,
            >| {
                if let Err(controller::Error::QueueError(error)) = result {
                    tracing::warn!(%error, "a watch broke off and is taken up again");
                }
                std::future::ready(())
            },
        );
    tokio::select! {
        () = work => {}
        () = strays => {}
        () = notices => {}
        () = sweeper => {}
        () = orphans => {}
        () = caught_up => {}
        () = history => {}
        () = links => {}
        () = sessions => {}
        () = unknown => {}
        () = checkpoints => {}
        () = certificate => {}
    }
}

fn dispatcher(ctx: &Context) -> Dispatcher {
    Dispatcher {
        zones: ctx.zones.clone(),
        client: ctx.client.clone(),
        recorder: ctx.recorder.clone(),
        leadership: ctx.leadership.clone(),
        outbox: Arc::clone(&ctx.outbox),
        cluster: ctx.cluster.clone(),
        heads: Arc::clone(&ctx.heads),
        // Three are due in that time; then it goes out without one.
        checkpoint_patience: ctx
            .signing
            .as_ref()
            .map(|_| checkpoints::every(&ctx.config) * 3),
    }
}

fn all_of(requests: &Store<AirlockRequest>) -> Vec<ObjectRef<AirlockRequest>> {
    requests
        .state()
        .iter()
        .map(|request| ObjectRef::from_obj(request.as_ref()))
        .collect()
}

/// A review wakes its request; one that names none is told so.
async fn review_seen(
    review: &AirlockReview,
    seen: &broadcast::Sender<ObjectRef<AirlockRequest>>,
    requests: &Store<AirlockRequest>,
    ctx: &Context,
) {
    let namespace = review.namespace().unwrap_or_default();
    let target = ObjectRef::<AirlockRequest>::new(&review.spec.request_name).within(&namespace);
    if let Some(request) = requests.get(&target) {
        if ctx
            .echoes
            .is_news(&request.uid().unwrap_or_default(), review)
        {
            drop(seen.send(target));
        }
        return;
    }
    let untold = review.status.as_ref().and_then(|s| s.state).is_none();
    if !untold || ctx.claim().is_err() {
        return;
    }
    // The request may be newer than our cache: ask.
    let api: Api<AirlockRequest> = Api::namespaced(ctx.client.clone(), &namespace);
    let told = match api.get_opt(&review.spec.request_name).await {
        Ok(None) => reviews::tell_unknown(ctx, review).await,
        Ok(Some(_)) => Ok(()),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = told {
        tracing::warn!(review = %review.name_any(), %error, "its author could not be told");
    }
}

/// An action wakes the request that it is about, or whoever looks at the others.
fn action_seen(
    action: &AirlockAction,
    seen: &broadcast::Sender<ObjectRef<AirlockRequest>>,
    requests: &Store<AirlockRequest>,
    ctx: &Context,
) {
    if action.status.as_ref().and_then(|s| s.state).is_some() {
        return;
    }
    match actions::target(action, requests) {
        Some(target) => drop(seen.send(target)),
        None => ctx.strays.notify_one(),
    }
}

fn look_at_all(
    requests: &Store<AirlockRequest>,
    seen: &broadcast::Sender<ObjectRef<AirlockRequest>>,
) {
    for request in requests.state() {
        drop(seen.send(ObjectRef::from_obj(request.as_ref())));
    }
}

/// Verifies the admission rules: at once when one of them changes, and every now
/// and then besides, since a probe alone shows that they are enforced; with short pauses
/// that grow while they are not in force. Shows what was found, and looks at all requests
/// when it is another.
async fn watch_rules(
    ctx: Arc<Context>,
    seen: broadcast::Sender<ObjectRef<AirlockRequest>>,
    policy_changed: Arc<Notify>,
) {
    const EVERY: Duration = Duration::from_secs(30);
    let changes = rules::watch::changes(&ctx.client);
    tokio::pin!(changes);
    let mut leadership = ctx.leadership.clone();
    let mut shown = None;
    let mut not_live = 0_u32;
    loop {
        let term = ctx.claim().ok().map(|claim| claim.term);
        let pause = match ctx.rules.verify(term).await {
            Ok(report) => {
                if term.is_some() {
                    if shown.as_ref() != Some(&(report.live(), report.epochs.len())) {
                        shown = Some((report.live(), report.epochs.len()));
                        look_at_all(&ctx.requests, &seen);
                    }
                    if let Err(error) = policies::show_all(&ctx, &report).await {
                        tracing::warn!(%error, "the status of a policy could not be written");
                    }
                }
                if report.live() {
                    not_live = 0;
                    EVERY
                } else {
                    tracing::warn!(problems = ?report.problems, "reviews wait: the admission rules are not those of the chart");
                    not_live = not_live.saturating_add(1);
                    retry::RULES.pause(not_live, rand::random())
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the admission rules could not be verified");
                Duration::from_secs(2)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = policy_changed.notified() => {}
            Some(()) = changes.next() => not_live = 0,
            _ = leadership.acquired(), if term.is_none() => {}
        }
    }
}

async fn forward(
    mut woken: mpsc::UnboundedReceiver<ObjectRef<AirlockRequest>>,
    seen: broadcast::Sender<ObjectRef<AirlockRequest>>,
) {
    while let Some(target) = woken.recv().await {
        drop(seen.send(target));
    }
}

/// The key of the environment; one that is named must be there.
fn signing_key(config: &Config) -> Result<Option<Arc<SigningKey>>, RunError> {
    let key = SigningKey::from_environment()?;
    if key.is_none() && config.audit.signing_key_secret.is_some() {
        return Err(RunError::NoSigningKey);
    }
    Ok(key.map(Arc::new))
}
