//! Ingress into a volume: once every file has been hashed again, a Job writes them,
//! and its receipt must be the manifest that was approved.
//!
//! Repeated: see [`jobs`]. A Job finds files that an earlier one wrote. What is written
//! when a release is stopped stays in the volume: nothing there is ours to delete.

use super::super::context::Context;
use super::super::error::EffectError;
use super::super::jobs::spec::Work;
use super::super::jobs::{self, Standing};
use super::super::reconcile::Subject;
use trevor_api::{DeliveryType, VolumePath};
use trevor_core::ingress::FilesFact;
use trevor_core::manifest::Frozen;
use trevor_core::volume::{Delivered, Errand};

/// How far a delivery is.
pub enum Delivery {
    /// Everything stands in the volume.
    Done(FilesFact),
    /// A Job is at it: what it does.
    Runs(String),
    /// Something keeps it: reason and message.
    Waits(&'static str, String),
    /// It ended badly; why.
    Failed(String),
}

/// The volume that a manifest goes into, if it goes into one.
pub fn volume(frozen: &Frozen) -> Option<&VolumePath> {
    let delivery = frozen.manifest.delivery.as_ref()?;
    match delivery.r#type {
        DeliveryType::Url => None,
        DeliveryType::PersistentVolumeClaim => delivery.persistent_volume_claim.as_ref(),
    }
}

/// Goes on with the delivery of files that were found to be what was approved.
pub async fn deliver(
    ctx: &Context,
    subject: &Subject,
    frozen: &Frozen,
    volume: &VolumePath,
    files: &FilesFact,
) -> Result<Delivery, EffectError> {
    if let Some(receipt) = receipt(ctx, subject).await? {
        return Ok(compare(frozen, volume, files, &receipt));
    }
    let work = Work::Deliver {
        volume: volume.clone(),
    };
    Ok(match jobs::go_on(ctx, subject, &work).await? {
        Standing::Runs(what) => {
            let claim = &volume.claim_name;
            Delivery::Runs(format!("{what}, and writes the files into {claim}"))
        }
        Standing::Waits(word, message) => Delivery::Waits(word, message),
        Standing::Failed(message) => Delivery::Failed(message),
        // The receipt may have been stored since we looked for it.
        Standing::Done => match receipt(ctx, subject).await? {
            Some(receipt) => compare(frozen, volume, files, &receipt),
            None => Delivery::Failed("the Job ended without a receipt".to_owned()),
        },
    })
}

fn compare(
    frozen: &Frozen,
    volume: &VolumePath,
    files: &FilesFact,
    receipt: &Delivered,
) -> Delivery {
    match files.in_volume(frozen, volume.clone(), receipt) {
        Some(fact) => Delivery::Done(fact),
        None => Delivery::Failed("what the Job wrote is not what was approved".to_owned()),
    }
}

async fn receipt(ctx: &Context, subject: &Subject) -> Result<Option<Delivered>, EffectError> {
    let (work, key) = (ctx.zones.quarantine.work(), &subject.key);
    if work.get(&key.job_made(Errand::Deliver)).await?.is_none() {
        return Ok(None);
    }
    Ok(work.get(&key.delivered()).await?)
}
