//! Pre-signed URLs: one works, a tampered one does not, and they live as long as
//! they should.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::super::bucket::Bucket;
use super::super::error::StorageError;
use super::super::plain;
use super::super::presign::{Links, Signer, check_life, presign_get};
use super::super::zones::{Release, Zones};
use super::{Row, State};
use trevor_config::Storage;

const TTL: Duration = Duration::from_secs(60);
const BODY: &[u8] = b"probe";

pub(super) async fn look(
    config: &Storage,
    zones: &Zones,
    release: &Release,
    signer: Option<&Signer>,
) -> Vec<Row> {
    let mut rows = vec![
        signed_get("quarantine", zones.quarantine.bucket()).await,
        signed_get("release", release.probe_bucket()).await,
    ];
    if let Some(signer) = signer {
        rows.push(life(config, signer).await);
    }
    rows
}

/// For the endpoint of this process: the public one need not be reachable from here.
async fn signed_get(zone: &'static str, bucket: &Bucket) -> Row {
    let key = format!("work/probe/{}", Uuid::new_v4());
    let tried = try_get(bucket, &key).await;
    let gone = bucket.delete_versions(&key).await;
    let found = match (tried, gone) {
        (Ok((true, false)), Ok(())) => {
            Ok("a signed GET works, and does not once a letter of it is changed".to_owned())
        }
        (Ok((false, _)), _) => {
            Err("a signed GET is refused; check the endpoint and the identity".to_owned())
        }
        (Ok((true, true)), _) => {
            Err("a signed GET works although it was changed: the server does not check signatures; do not use it".to_owned())
        }
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
    };
    Row::of("signed URLs", zone, found)
}

/// Whether the URL works, and whether it works when it was changed.
async fn try_get(bucket: &Bucket, key: &str) -> Result<(bool, bool), StorageError> {
    bucket
        .create(key, Bytes::from_static(BODY), "text/plain")
        .await?;
    let url = presign_get(bucket.client(), bucket.name(), key, TTL, "probe").await?;
    let works = plain::get(bucket, key, url.expose()).await?;
    let longer = url
        .expose()
        .replace("X-Amz-Expires=60", "X-Amz-Expires=6000");
    Ok((works, plain::get(bucket, key, &longer).await?))
}

async fn life(config: &Storage, signer: &Signer) -> Row {
    let wanted =
        Duration::from_secs(u64::try_from(config.presigned_url_ttl_seconds).unwrap_or_default());
    let life = match signer.life().await {
        Ok(life) => life,
        Err(error) => {
            return Row::new("credentials", "release", State::Failed, error.to_string());
        }
    };
    let Err(short) = check_life(Links::Release, life, wanted, false) else {
        return Row::new(
            "credentials",
            "release",
            State::Ok,
            "URLs live as long as they are to",
        );
    };
    let state = if config.allow_shorter_ttl {
        State::Warning
    } else {
        State::Failed
    };
    Row::new("credentials", "release", state, short.to_string())
}
