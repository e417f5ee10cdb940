//! Freezes a sealed round: the manifest, or a refusal that says why.
//!
//! Listing after the seal closes the race with uploads: what is listed is in,
//! what comes later is answered 409 (docs/design.md#an-upload-against-the-freeze).
//! Repeated: create-only; whoever freezes second adopts the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::reconcile::{Subject, seal_of};
use super::{collect, confirm, gather};
use trevor_api::condition::reason;
use trevor_api::{DeclaredFile, Direction};
use trevor_core::commit::{Freeze, Refusal, SealedBecause};
use trevor_core::frozen::FrozenRound;
use trevor_core::manifest::{FolderTexts, Manifest, ManifestFile};
use trevor_core::phase::{Ended, Facts};
use trevor_core::receipt::{self, Receipt};
use trevor_core::volume::Collection;
use trevor_core::{collection, declared, rounds};
use trevor_store::StorageError;

/// Writes `manifest.json`.
pub async fn freeze(
    ctx: &Context,
    subject: &Subject,
    facts: &mut Facts,
    round: i64,
    refuse: Option<Ended>,
) -> Result<(), EffectError> {
    if subject.request.spec.direction == Direction::Ingress {
        confirm::empty(ctx, subject, round).await?;
    }
    let list = collect::list(ctx, subject, round).await?;
    collect::end(ctx, subject, round).await?;
    let (mut standing, others) = gather::own_standing(ctx, subject, facts, round).await?;
    let wanted = subject.request.spec.files.as_deref().unwrap_or_default();
    // What an earlier round listed and the request no longer declares stays behind.
    standing.retain(|receipt| {
        receipt.round == round || declared::check(wanted, &receipt.path, None, None).is_ok()
    });
    let freeze = match refuse {
        Some(ended) => taken_back(subject, facts, round, ended, standing.clone()),
        None => {
            let counting = collection::counting(&standing, list.as_ref());
            let mut problems: Vec<String> = others.into_iter().take(5).collect();
            problems.extend(self::problems(subject, facts, &counting));
            problems.extend(replaced(list.as_ref(), &counting));
            if problems.is_empty() {
                manifest(subject, facts, round, counting)
            } else {
                refused(facts, round, &problems, standing.clone())
            }
        }
    };
    let at = subject.key.manifest(round);
    let records = &ctx.zones.records;
    let written = |freeze| {
        FrozenRound::of(freeze).map_err(|e| StorageError::Corrupt {
            bucket: records.name().to_owned(),
            key: at.to_string(),
            problem: format!("cannot be written: {e}"),
        })
    };
    let mut frozen = written(freeze)?;
    let bytes = frozen.bytes().len();
    if let Some(why) = frozen.manifest().and_then(|_| Manifest::too_large(bytes)) {
        frozen = written(refused(facts, round, &[why], standing))?;
    }
    let standing = records.create(&at, &frozen).await?.into_inner();
    if let Some(last) = &mut facts.last {
        last.freeze = Some(standing);
    }
    ctx.drop_receipts(&subject.key.uid);
    Ok(())
}

/// What does not count now may in the next round, and is not sent again.
fn refused(facts: &Facts, round: i64, problems: &[String], standing: Vec<Receipt>) -> Freeze {
    let message = format!("{}; mend it and submit again", problems.join("; "));
    refusal(facts, round, reason::SUBMISSION_REFUSED, message, standing)
}

/// A round that is refused whatever its files are.
fn taken_back(
    subject: &Subject,
    facts: &Facts,
    round: i64,
    ended: Ended,
    standing: Vec<Receipt>,
) -> Freeze {
    let (word, message) = match ended {
        Ended::Withdrawn => (reason::WITHDRAWN, withdrawn(facts).to_owned()),
        Ended::Recalled => (
            reason::RECALLED,
            format!(
                "its submitter took the round back; change what is to be changed, then set spec.submission to {}",
                round + 1
            ),
        ),
        Ended::CollectionFailed => {
            let said = match seal_of(facts).map(|seal| &seal.because) {
                Some(SealedBecause::CollectionFailed { message }) => message.as_str(),
                _ => "the sources were not read",
            };
            (
                reason::COLLECTION_FAILED,
                format!(
                    "{said}; mend that or change spec.sources, then set spec.submission to {}",
                    round + 1
                ),
            )
        }
        Ended::UploadExpired if collect::has_sources(subject) => (
            reason::UPLOAD_EXPIRED,
            format!(
                "the files of spec.sources were not collected in time; mend what the condition Stalled said, then set spec.submission to {}",
                round + 1
            ),
        ),
        Ended::UploadExpired => {
            let wanted = subject.request.spec.files.as_deref().unwrap_or_default();
            let missing = declared::missing(wanted, &standing);
            (
                reason::UPLOAD_EXPIRED,
                format!(
                    "{} of the declared files did not arrive in time ({}); upload them or change spec.files, then set spec.submission to {}",
                    missing.len(),
                    missing
                        .iter()
                        .take(5)
                        .cloned()
                        .collect::<Vec<_>>()
                        .join(", "),
                    round + 1
                ),
            )
        }
    };
    refusal(facts, round, word, message, standing)
}

fn withdrawn(facts: &Facts) -> &'static str {
    match seal_of(facts).map(|seal| &seal.because) {
        Some(SealedBecause::Idle) => {
            "nobody touched the request for as long as its policy allows (idleDays), so that it was withdrawn; make a new one"
        }
        _ => "the request was withdrawn",
    }
}

fn problems(subject: &Subject, facts: &Facts, standing: &[Receipt]) -> Vec<String> {
    if let Some(SealedBecause::Mismatch(problems)) = seal_of(facts).map(|seal| &seal.because) {
        return problems.clone();
    }
    if standing.is_empty() {
        return vec!["nothing was uploaded".to_owned()];
    }
    let wanted = subject.request.spec.files.as_deref().unwrap_or_default();
    let mut problems = declared::breaches(wanted, standing);
    problems.extend(
        declared::missing(wanted, standing)
            .into_iter()
            .map(|path| format!("{path} is declared and not there")),
    );
    let recipients = subject
        .request
        .spec
        .recipients
        .as_deref()
        .unwrap_or_default();
    // The stricter of what the policy said at the seal and says now.
    let sealed = seal_of(facts).map(|seal| &*seal.rules);
    let current = subject.policy.as_ref().ok().map(|now| &now.rules);
    for rules in sealed
        .into_iter()
        .chain(current.filter(|now| Some(*now) != sealed))
    {
        problems.extend(rules.breaches(standing));
        problems.extend(rules.texts_missing(wanted, recipients, standing));
    }
    problems.truncate(5);
    problems
}

/// What was collected and is another file by now.
fn replaced(list: Option<&Collection>, counting: &[Receipt]) -> Vec<String> {
    let paths = list.map(|list| collection::outstanding(list, counting));
    let paths = paths.into_iter().flatten().take(5);
    paths
        .map(|path| format!("{path} is not what the sources hold"))
        .collect()
}

fn refusal(
    facts: &Facts,
    round: i64,
    reason: &str,
    message: String,
    listing: Vec<Receipt>,
) -> Freeze {
    let previous = facts.previous.as_ref().map(|p| p.digest.clone());
    Freeze::Refusal(Refusal {
        round,
        reason: reason.to_owned(),
        message,
        listing,
        recalled: match seal_of(facts).map(|seal| &seal.because) {
            Some(SealedBecause::Recalled(recall)) => Some(recall.clone()),
            _ => None,
        },
        previous,
    })
}

/// The folders that are declared with texts, each once.
#[derive(Default)]
struct Folders<'a> {
    texts: Vec<FolderTexts>,
    known: BTreeMap<&'a str, Option<usize>>,
}

impl<'a> Folders<'a> {
    /// Where what an entry says of its folder stands; none where it says nothing.
    fn place(&mut self, declared: &'a DeclaredFile) -> Option<usize> {
        if let Some(known) = self.known.get(declared.path.as_str()) {
            return *known;
        }
        let place = FolderTexts::of(declared).map(|texts| {
            self.texts.push(texts);
            self.texts.len() - 1
        });
        self.known.insert(&declared.path, place);
        place
    }
}

fn manifest(subject: &Subject, facts: &Facts, round: i64, standing: Vec<Receipt>) -> Freeze {
    let spec = &subject.request.spec;
    let wanted = spec.files.as_deref().unwrap_or_default();
    let uploads = receipt::uploads(&standing, round);
    let mut folders = Folders::default();
    let mut file = |receipt: Receipt| {
        let collected = collection::is_collected(&receipt);
        let content = receipt.content?;
        let said = declared::covering(wanted, &receipt.path);
        let folder = said.and_then(|declared| folders.place(declared));
        // What is said of a folder stands once in the manifest.
        let own = said.filter(|declared| !declared::is_folder(&declared.path));
        let text = |of: fn(&DeclaredFile) -> &Option<String>| {
            own.and_then(|d| of(d).clone()).unwrap_or_default()
        };
        Some(ManifestFile {
            description: text(|d| &d.description),
            justification: text(|d| &d.justification),
            suppression_notes: text(|d| &d.suppression_notes),
            statbarn: text(|d| &d.statbarn),
            output_type: own.and_then(|d| d.output_type),
            folder,
            collected_by: collected.then_some(receipt.by),
            path: receipt.path,
            size: content.size,
            sha256: content.sha256,
            crc32: content.crc32,
            media_type: content.media_type,
            sniffed: content.sniffed,
            remark: content.remark,
            version: receipt.version,
            key: content.key,
        })
    };
    let files: Vec<ManifestFile> = standing.into_iter().filter_map(&mut file).collect();
    let folders = folders.texts;
    let owner = facts.owner.as_ref();
    let policy = seal_of(facts).map(|s| s.policy.clone());
    let mut manifest = Manifest {
        format: match folders.is_empty() {
            true => 1,
            false => Manifest::WITH_FOLDERS,
        },
        folders,
        namespace: subject.key.namespace.clone(),
        name: subject.name.clone(),
        uid: subject.key.uid.clone(),
        round,
        direction: spec.direction,
        submitter: owner
            .map(|o| o.submitter.clone())
            .or_else(|| spec.submitter.clone())
            .unwrap_or_default(),
        created_by: spec.created_by.clone(),
        policy: policy.unwrap_or_else(|| trevor_core::manifest::PolicyRef {
            name: String::new(),
            digest: trevor_core::digest::Sha256Hex::of(b""),
        }),
        previous: facts.previous.as_ref().map(|p| p.digest.clone()),
        changes: None,
        title: spec.title.clone(),
        description: spec.description.clone().unwrap_or_default(),
        authors: spec.authors.clone().unwrap_or_default(),
        recipients: spec.recipients.clone().unwrap_or_default(),
        delivery: spec.delivery.clone(),
        uploads,
        files,
    };
    manifest.changes = facts
        .previous
        .as_ref()
        .map(|previous| rounds::changes(previous, &manifest));
    Freeze::Manifest(Arc::new(manifest))
}
