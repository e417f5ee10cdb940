//! Confirms what outsiders sent (ingress): once every declared file is in staging
//! each is copied into quarantine, hashed there, compared with what was declared,
//! and receipted as the gateway does it; then it is gone from staging.
//!
//! What can still be written to is never looked at again: a receipt names the copy.
//! Repeated: files that have their receipt stand and are not copied again; a copy
//! without one lies under the request's prefix, which retention deletes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::{Rest, Subject};
use super::super::retries::{Thing, Why};
use super::room::{self, Room};
use super::{close, gather};
use trevor_api::{AirlockRequest, DeclaredFile};
use trevor_core::ingress::{self, Planned};
use trevor_core::keys::RequestKey;
use trevor_core::object_key::WorkKey;
use trevor_core::phase::Facts;
use trevor_core::receipt::{Content, Receipt, version};
use trevor_core::retention::What;
use trevor_core::retry::PASSING;
use trevor_core::sniff::sniff;
use trevor_core::{declared, media_type};
use trevor_lifecycle::SLACK_SECONDS;
use trevor_store::staging::StagedPart;
use trevor_store::{Committed, Quarantine, Records, Staging, StorageError, hash_object};

/// Files looked at, at the same time.
const LOOKS: usize = 16;
/// Files copied at the same time.
const COPIES: usize = 4;
/// Times that a file is copied which is replaced meanwhile.
const TRIES: usize = 100;
/// What of a confirmation was wrong, for people.
const SHOWN: usize = 5;

type Outcome = Result<Vec<String>, EffectError>;

/// Confirmations under way, by uid.
#[derive(Default)]
pub struct Confirmations {
    tasks: Mutex<HashMap<String, Task>>,
    /// By namespace: held from the look for room to the start of the task.
    admissions: Mutex<HashMap<String, Arc<Admission>>>,
}

type Admission = tokio::sync::Mutex<()>;

struct Task {
    round: i64,
    namespace: String,
    /// Bytes that it takes over.
    bytes: u64,
    handle: JoinHandle<Outcome>,
}

impl Confirmations {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other request of the namespace is between its look for room and the
    /// start of its task. Two that look at the same time would each find room that only
    /// one of them has.
    async fn admission(&self, namespace: &str) -> OwnedMutexGuard<()> {
        let admission = {
            let mut admissions = self
                .admissions
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(admissions.entry(namespace.to_owned()).or_default())
        };
        admission.lock_owned().await
    }

    /// Ends them all: this process leads no more.
    pub fn end(&self) {
        for (_, task) in self.lock().drain() {
            task.handle.abort();
        }
    }

    /// Ends that of a request, if there is one.
    pub fn cancel(&self, uid: &str) {
        if let Some(task) = self.lock().remove(uid) {
            task.handle.abort();
        }
    }

    fn start(
        &self,
        key: &RequestKey,
        round: i64,
        bytes: u64,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) {
        self.lock().entry(key.uid.clone()).or_insert_with(|| Task {
            round,
            namespace: key.namespace.clone(),
            bytes,
            handle: tokio::spawn(work),
        });
    }

    /// Whether files of a request are being taken over.
    pub fn is_busy(&self, uid: &str) -> bool {
        let tasks = self.lock();
        tasks
            .get(uid)
            .is_some_and(|task| !task.handle.is_finished())
    }

    /// Bytes that a project's other requests are taking over now.
    pub fn coming(&self, namespace: &str, but: &str) -> u64 {
        let tasks = self.lock();
        let others = tasks.iter().filter(|(uid, task)| {
            task.namespace == namespace && *uid != but && !task.handle.is_finished()
        });
        others.fold(0, |sum, (_, task)| sum.saturating_add(task.bytes))
    }

    /// Whether one is under way, and how it ended.
    async fn look(&self, uid: &str, round: i64) -> (bool, Option<Outcome>) {
        let finished = {
            let mut tasks = self.lock();
            match tasks.get(uid) {
                None => return (false, None),
                Some(task) if task.round == round && !task.handle.is_finished() => {
                    return (true, None);
                }
                Some(_) => tasks.remove(uid),
            }
        };
        match finished {
            Some(task) if task.round == round => (
                false,
                Some(task.handle.await.unwrap_or(Err(EffectError::Timeout))),
            ),
            Some(task) => {
                task.handle.abort();
                (false, None)
            }
            None => (false, None),
        }
    }
}

/// How far a round is.
pub enum Confirmed {
    /// Every declared file stands in quarantine.
    All,
    /// These have not arrived.
    Missing(Vec<String>),
    /// All have arrived, and are being taken over.
    Busy,
    /// All have arrived, and wait until others are taken over.
    Queued,
    /// All have arrived, and taking them over failed: for how long it rests, and why.
    Rests(Duration, Why),
    /// These are not what was declared.
    Mismatch(Vec<String>),
    /// A Job reads the sources, or is kept from it.
    Waits(Box<Rest>),
    /// It failed for good: its last word.
    CollectionFailed(String),
}

/// A declared file that is all in staging.
struct Arrived {
    file: DeclaredFile,
    plan: Planned,
    /// What is to be completed first.
    parts: Option<BTreeMap<i32, StagedPart>>,
}

/// Goes on with the confirmation of a round.
pub async fn confirm(
    ctx: &Context,
    subject: &Subject,
    facts: &Facts,
    round: i64,
) -> Result<Confirmed, EffectError> {
    let uid = subject.key.uid.as_str();
    match ctx.confirmations.look(uid, round).await {
        (true, _) => return Ok(Confirmed::Busy),
        (_, Some(Err(error))) => {
            let why = Why {
                reason: error.reason(),
                message: error.to_string(),
            };
            let failed = Thing::Confirmation;
            let pause = ctx.retries.failed_for(uid, failed, PASSING, why);
            tracing::warn!(
                namespace = subject.key.namespace, uid, request = subject.name, %error,
                pause_seconds = pause.as_secs(), "files were not taken over; it is tried again"
            );
        }
        (_, Some(Ok(problems))) => {
            ctx.retries.succeeded(uid, &Thing::Confirmation);
            if !problems.is_empty() {
                return Ok(Confirmed::Mismatch(problems));
            }
        }
        (false, None) => {}
    }
    if let Some((left, why)) = ctx.retries.rests(uid, &Thing::Confirmation) {
        return Ok(Confirmed::Rests(left, why));
    }
    let wanted = subject.request.spec.files.as_deref().unwrap_or_default();
    let standing = gather::standing(ctx, subject, facts, round).await?;
    let outstanding = ingress::outstanding(wanted, &standing);
    if outstanding.is_empty() {
        return Ok(Confirmed::All);
    }
    let Some(staging) = &ctx.zones.staging else {
        let paths = outstanding.into_iter().map(|f| f.path.clone());
        return Ok(Confirmed::Missing(paths.collect()));
    };
    let (arrived, missing) = look(ctx, staging, subject, round, (wanted, &outstanding)).await?;
    if !missing.is_empty() {
        return Ok(Confirmed::Missing(missing));
    }
    let bytes = arrived.iter().map(|a| ingress::size(&a.file)).sum();
    // Dropped at the end of this function: once the task is started, others count its bytes.
    let _admission = ctx.confirmations.admission(&subject.key.namespace).await;
    match room::look(ctx, subject, bytes).await? {
        Room::Enough => {}
        Room::Later => return Ok(Confirmed::Queued),
        Room::None(why) => return Ok(Confirmed::Mismatch(vec![why])),
    }
    ctx.claim()?;
    let job = Job {
        staging: staging.clone(),
        quarantine: ctx.zones.quarantine.clone(),
        records: ctx.zones.records.clone(),
        key: subject.key.clone(),
        round,
        by: subject.request.spec.submitter.clone().unwrap_or_default(),
    };
    let queue = ctx.queue.clone();
    let target = ObjectRef::<AirlockRequest>::new(&subject.name).within(&subject.key.namespace);
    ctx.confirmations
        .start(&subject.key, round, bytes, async move {
            let result = job.run(arrived).await;
            // The receiver is gone when the process stops: the next one starts anew.
            queue.add(target);
            result
        });
    Ok(Confirmed::Busy)
}

/// Which of the files are all there, and which are not.
async fn look(
    ctx: &Context,
    staging: &Staging,
    subject: &Subject,
    round: i64,
    (wanted, outstanding): (&[DeclaredFile], &[&DeclaredFile]),
) -> Result<(Vec<Arrived>, Vec<String>), EffectError> {
    let work = ctx.zones.quarantine.work();
    let key = &subject.key;
    let planned = work.list(&key.plans_of(round)).await?;
    let planned = planned.into_iter().collect();
    let staged: BTreeSet<String> = keys(staging.custody().list(&key.staged_in(round)).await?);
    let place = Place {
        ctx,
        staging,
        key,
        round,
        wanted,
        planned: &planned,
        staged: &staged,
    };
    let looks: Vec<_> = outstanding.iter().map(|file| place.find(file)).collect();
    let found: Vec<Result<Arrived, String>> =
        stream::iter(looks).buffered(LOOKS).try_collect().await?;
    let (mut arrived, mut missing) = (Vec::new(), Vec::new());
    for file in found {
        match file {
            Ok(file) => arrived.push(file),
            Err(path) => missing.push(path),
        }
    }
    Ok((arrived, missing))
}

/// Where a round's files are looked for.
struct Place<'a> {
    ctx: &'a Context,
    staging: &'a Staging,
    key: &'a RequestKey,
    round: i64,
    wanted: &'a [DeclaredFile],
    planned: &'a BTreeSet<WorkKey<Planned>>,
    staged: &'a BTreeSet<String>,
}

impl Place<'_> {
    /// A file that is all there, or else its path.
    async fn find(&self, file: &DeclaredFile) -> Result<Result<Arrived, String>, StorageError> {
        let absent = || Ok(Err(file.path.clone()));
        let work = self.ctx.zones.quarantine.work();
        let at = self
            .key
            .plan(self.round, &ingress::plan_name(self.wanted, file));
        if !self.planned.contains(&at) {
            return absent();
        }
        let Some(plan) = work.get(&at).await? else {
            return absent();
        };
        let file = file.clone();
        if self.staged.contains(&plan.key) {
            return Ok(Ok(Arrived {
                file,
                plan,
                parts: None,
            }));
        }
        let Some(upload) = &plan.upload else {
            return Ok(Err(file.path));
        };
        match self.staging.custody().parts(&plan.key, upload).await? {
            Some(parts) if all_there(&plan, &parts) => Ok(Ok(Arrived {
                file,
                plan,
                parts: Some(parts),
            })),
            Some(_) => Ok(Err(file.path)),
            None => match self.staging.custody().head(&plan.key).await {
                // Completed since the listing.
                Ok(_) => Ok(Ok(Arrived {
                    file,
                    plan,
                    parts: None,
                })),
                // The server dropped the upload: the next plan starts another.
                Err(StorageError::NotFound { .. }) => {
                    work.delete(std::slice::from_ref(&at)).await?;
                    Ok(Err(file.path))
                }
                Err(error) => Err(error),
            },
        }
    }
}

fn keys(listed: Vec<trevor_store::Listed>) -> BTreeSet<String> {
    listed.into_iter().map(|l| l.key).collect()
}

fn all_there(plan: &Planned, parts: &BTreeMap<i32, StagedPart>) -> bool {
    ingress::parts(plan.size, plan.part_size)
        .all(|part| parts.get(&part.number).is_some_and(|p| p.size == part.size))
}

/// What a task needs.
struct Job {
    staging: Staging,
    quarantine: Quarantine,
    records: Records,
    key: RequestKey,
    round: i64,
    by: String,
}

impl Job {
    async fn run(&self, arrived: Vec<Arrived>) -> Outcome {
        let work: Vec<_> = arrived.into_iter().map(|f| self.take_over(f)).collect();
        let mut problems: Vec<String> = stream::iter(work)
            .buffer_unordered(COPIES)
            .try_filter_map(|problem| std::future::ready(Ok(problem)))
            .try_collect()
            .await?;
        problems.sort();
        problems.truncate(SHOWN);
        Ok(problems)
    }

    /// Takes one file over, or says in what it differs from what was declared.
    async fn take_over(&self, arrived: Arrived) -> Result<Option<String>, EffectError> {
        let custody = self.staging.custody();
        let Arrived { file, plan, parts } = arrived;
        if let (Some(upload), Some(parts)) = (&plan.upload, &parts) {
            let wanted = ingress::parts(plan.size, plan.part_size).count();
            let parts = parts.iter().take(wanted);
            let parts = parts
                .map(|(number, part)| (*number, part.clone()))
                .collect();
            custody.complete(&plan.key, upload, &parts).await?;
        }
        for _ in 0..TRIES {
            let staged = custody.head(&plan.key).await?;
            if let Err(differs) = declared::check(
                std::slice::from_ref(&file),
                &file.path,
                Some(staged.size),
                None,
            ) {
                return Ok(Some(format!("{}: {differs}", file.path)));
            }
            let to = self.key.file(&uuid::Uuid::new_v4().to_string());
            match custody
                .copy(&plan.key, &staged, &self.quarantine, &to)
                .await
            {
                Ok(()) => return self.compare(&file, &plan, to).await,
                // It was sent again meanwhile: that one, then.
                Err(StorageError::Precondition { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EffectError::Storage(StorageError::Precondition {
            bucket: "staging".to_owned(),
            key: plan.key,
        }))
    }

    async fn compare(
        &self,
        file: &DeclaredFile,
        plan: &Planned,
        key: String,
    ) -> Result<Option<String>, EffectError> {
        let hashed = hash_object(self.quarantine.bucket(), &key, || {}).await?;
        if let Err(differs) = declared::check(
            std::slice::from_ref(file),
            &file.path,
            Some(hashed.size),
            Some(hashed.sha256.as_str()),
        ) {
            self.quarantine.delete_file(&key).await?;
            return Ok(Some(format!("{}: {differs}", file.path)));
        }
        let content = Content {
            more: Default::default(),
            key,
            size: hashed.size,
            sha256: hashed.sha256,
            crc32: hashed.crc32,
            media_type: media_type::of(&file.path).to_owned(),
            sniffed: Some(sniff(&hashed.head)),
            remark: hashed.remark,
        };
        self.receipt(&file.path, content).await?;
        self.staging
            .custody()
            .delete(std::slice::from_ref(&plan.key))
            .await?;
        Ok(None)
    }

    /// Writes a receipt under the next version that is free.
    async fn receipt(&self, path: &str, content: Content) -> Result<(), StorageError> {
        let records = &self.records;
        let mut receipt = Receipt {
            more: Default::default(),
            path: path.to_owned(),
            version: String::new(),
            round: self.round,
            by: self.by.clone(),
            time: Timestamp::now(),
            content: Some(content),
        };
        let folder = self.key.receipts_of(path);
        let taken = records.list(&folder).await?;
        let number = |key: &str| {
            let name = key.strip_prefix(&*folder)?.strip_suffix(".json")?;
            name.parse::<u64>().ok()
        };
        let mut next = taken.iter().filter_map(|at| number(at)).max().unwrap_or(0) + 1;
        loop {
            receipt.version = version(next);
            let at = self.key.receipt(path, &receipt.version);
            match records.create(&at, &receipt).await? {
                Committed::Ours(_) => return Ok(()),
                Committed::Theirs(_) => next += 1,
            }
        }
    }
}

/// Empties what a round left in staging: nothing there counts any more.
pub async fn empty(ctx: &Context, subject: &Subject, round: i64) -> Result<(), EffectError> {
    ctx.confirmations.cancel(&subject.key.uid);
    if let Some(staging) = &ctx.zones.staging {
        let prefix = subject.key.staged_in(round);
        staging.custody().empty(&prefix).await?;
    }
    Ok(())
}

/// Before any URL is signed: a wake-up for the sweeper, should all else be lost.
pub async fn promise(
    ctx: &Context,
    subject: &Subject,
    created: Timestamp,
) -> Result<(), EffectError> {
    close::ticket(ctx, subject, What::Staging, due(ctx, created)).await
}

/// The request closes: its plans and its staging go now, and once more after the
/// last URL has ended.
pub async fn retire(ctx: &Context, subject: &Subject, facts: &Facts) -> Result<(), EffectError> {
    let ingress = facts
        .owner
        .as_ref()
        .is_some_and(|owner| owner.direction == trevor_api::Direction::Ingress);
    let Some(staging) = ctx.zones.staging.as_ref().filter(|_| ingress) else {
        return Ok(());
    };
    if facts.closed.is_some() {
        return Ok(());
    }
    ctx.confirmations.cancel(&subject.key.uid);
    let ended = facts.last.as_ref().and_then(|last| {
        let outcome = last.outcome.as_ref().map(|o| o.time);
        outcome.or_else(|| last.decision.as_ref().map(|d| d.time))
    });
    if let Some(ended) = ended {
        close::ticket(ctx, subject, What::Staging, due(ctx, ended)).await?;
    }
    staging.custody().empty(&subject.key.staged()).await?;
    let work = ctx.zones.quarantine.work();
    let plans = work.list(&subject.key.plans()).await?;
    Ok(work.delete(&plans).await?)
}

/// When no URL that was signed until then can be used any more.
fn due(ctx: &Context, last: Timestamp) -> Timestamp {
    close::due(last, ctx.config.storage.plan_ttl_seconds() + SLACK_SECONDS)
}
