//! Each bucket by itself: reached, create-only under a race, encrypted, and set up
//! so that nothing else deletes, keeps or publishes what is in it.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::operation::get_bucket_lifecycle_configuration::GetBucketLifecycleConfigurationOutput;
use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use super::super::bucket::Bucket;
use super::super::error::translate;
use super::super::plain;
use super::super::proof;
use super::super::server_clock::ServerClock;
use super::super::zones::{Release, Zones};
use super::lifecycle::{LifecycleRule, verdict};
use super::{Row, State};
use trevor_config::{self as config, Storage};
use trevor_core::retention::clocks_agree;

/// One zone.
struct Place<'a> {
    zone: &'static str,
    bucket: &'a Bucket,
    config: &'a config::Bucket,
}

pub(super) async fn look(config: &Storage, zones: &Zones, release: &Release) -> Vec<Row> {
    let mut places = vec![
        Place {
            zone: "quarantine",
            bucket: zones.quarantine.bucket(),
            config: &config.quarantine,
        },
        Place {
            zone: "release",
            bucket: release.probe_bucket(),
            config: &config.release,
        },
    ];
    if let Some(records) = &config.records {
        places.push(Place {
            zone: "records",
            bucket: zones.records.bucket(),
            config: records,
        });
    }
    if let (Some(staging), Some(config)) = (&zones.staging, &config.staging) {
        places.push(Place {
            zone: "staging",
            bucket: staging.probe_bucket(),
            config,
        });
    }
    let looks = places.iter().map(one);
    let mut rows: Vec<Row> = futures::future::join_all(looks).await.concat();
    rows.push(shared_records(config));
    rows
}

/// Records in a bucket of their own can be locked against deletion.
fn shared_records(config: &Storage) -> Row {
    match config.records {
        Some(_) => Row::new(
            "records bucket",
            "records",
            State::Ok,
            "the ledger has a bucket of its own",
        ),
        None => Row::new(
            "records bucket",
            "quarantine",
            State::Warning,
            "the ledger is in the quarantine bucket, where deletion must be allowed; with storage.records it can have a bucket with object lock",
        ),
    }
}

async fn one(place: &Place<'_>) -> Vec<Row> {
    let zone = place.zone;
    let reached = place.bucket.server_version().await;
    if let Err(error) = reached {
        let endpoint = place.config.endpoint.as_deref();
        let detail = format!(
            "{error} (storage.{zone}: bucket {} at {})",
            place.bucket.name(),
            endpoint.unwrap_or("the region's endpoint")
        );
        return vec![Row::new("reached", zone, State::Failed, detail)];
    }
    let server = reached.unwrap_or_default();
    let mut rows = vec![Row::new(
        "reached",
        zone,
        State::Ok,
        if server.is_empty() {
            "it answers".to_owned()
        } else {
            server
        },
    )];
    rows.push(clock(place).await);
    if zone != "staging" {
        rows.push(Row::of(
            "create-only",
            zone,
            proof::race(zone, place.bucket).await.map(|()| {
                "of concurrent writers one wins, and what is stored is listed".to_owned()
            }),
        ));
    }
    rows.extend(probe_object(place).await);
    rows.push(versioning(place).await);
    rows.push(lifecycle(place).await);
    rows.push(lock(place).await);
    rows.push(public_access(place).await);
    rows
}

/// Nothing is deleted, and nothing closed, while the clocks disagree.
async fn clock(place: &Place<'_>) -> Row {
    let (zone, now) = (place.zone, Timestamp::now());
    match ServerClock::of(place.bucket).time().await {
        Ok(theirs) if clocks_agree(now, theirs) => Row::new(
            "clock",
            zone,
            State::Ok,
            "the server's clock agrees with ours",
        ),
        Ok(theirs) => Row::new(
            "clock",
            zone,
            State::Failed,
            format!(
                "the server says {theirs}, and we {now}: nothing is closed or deleted while they differ by more than 5 minutes; set the clocks"
            ),
        ),
        Err(error) => Row::new("clock", zone, State::Warning, error.to_string()),
    }
}

/// An object of ours: is it encrypted, and can a stranger read it?
async fn probe_object(place: &Place<'_>) -> Vec<Row> {
    let (zone, bucket) = (place.zone, place.bucket);
    // In records of their own nothing is to be deleted: one object serves every time.
    let stays = zone == "records";
    let name = if stays {
        "preflight".to_owned()
    } else {
        Uuid::new_v4().to_string()
    };
    let key = format!("work/probe/{name}");
    let body = Bytes::from_static(b"probe");
    let stored = match bucket.create(&key, body, "text/plain").await {
        Ok(_) => bucket.head(&key).await.map(|_| ()),
        Err(error) => Err(error),
    };
    let algorithm = match place.config.encryption {
        config::Encryption::Aes256 => "AES256",
        config::Encryption::Kms => "aws:kms",
    };
    let encrypted = Row::of(
        "encryption",
        zone,
        stored.map(|()| format!("{algorithm} is applied to what is stored")),
    );
    let stranger = match plain::get_anonymously(bucket, &key).await {
        Ok(false) => Row::new(
            "strangers",
            zone,
            State::Ok,
            "an object cannot be read without credentials",
        ),
        Ok(true) => Row::new(
            "strangers",
            zone,
            State::Failed,
            "an object can be read WITHOUT credentials: the bucket is public; close it before anything is stored",
        ),
        Err(error) => Row::new("strangers", zone, State::Warning, error.to_string()),
    };
    let mut rows = vec![encrypted, stranger];
    if !stays && let Err(error) = bucket.delete_versions(&key).await {
        rows.push(Row::new("deletion", zone, State::Failed, error.to_string()));
    }
    rows
}

async fn versioning(place: &Place<'_>) -> Row {
    let bucket = place.bucket;
    let answer = bucket
        .client()
        .get_bucket_versioning()
        .bucket(bucket.name())
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let status = answer.status().map_or("off", |status| status.as_str());
            Row::new(
                "versioning",
                place.zone,
                State::Ok,
                format!("{status}; deletion takes every version"),
            )
        }
        Err(error) => {
            let error = translate("GetBucketVersioning", bucket.name(), "", &error);
            unknown("versioning", place.zone, &error.to_string())
        }
    }
}

async fn lifecycle(place: &Place<'_>) -> Row {
    let bucket = place.bucket;
    let answer = bucket
        .client()
        .get_bucket_lifecycle_configuration()
        .bucket(bucket.name())
        .send()
        .await;
    let rules = match answer {
        Ok(answer) => rules_of(&answer),
        Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Vec::new(),
        Err(error) => {
            let error = translate("GetBucketLifecycleConfiguration", bucket.name(), "", &error);
            return unknown("lifecycle", place.zone, &error.to_string());
        }
    };
    let (state, detail) = verdict(place.zone, &rules);
    Row::new("lifecycle", place.zone, state, detail)
}

fn rules_of(answer: &GetBucketLifecycleConfigurationOutput) -> Vec<LifecycleRule> {
    let enabled = |rule: &&aws_sdk_s3::types::LifecycleRule| rule.status().as_str() == "Enabled";
    let one = |rule: &aws_sdk_s3::types::LifecycleRule| {
        let filter = rule.filter();
        let of_filter = filter.and_then(|f| f.prefix().or_else(|| f.and()?.prefix()));
        #[allow(deprecated, reason = "rules of old have their prefix here")]
        let prefix = of_filter.or_else(|| rule.prefix()).unwrap_or_default();
        LifecycleRule {
            id: rule.id().unwrap_or("without a name").to_owned(),
            prefix: prefix.to_owned(),
            expires: rule
                .expiration()
                .is_some_and(|e| e.days().is_some() || e.date().is_some())
                || rule.noncurrent_version_expiration().is_some(),
            aborts: rule.abort_incomplete_multipart_upload().is_some(),
        }
    };
    answer.rules().iter().filter(enabled).map(one).collect()
}

/// A default lock would refuse the deletions that retention owes.
async fn lock(place: &Place<'_>) -> Row {
    let (zone, bucket) = (place.zone, place.bucket);
    let answer = bucket
        .client()
        .get_object_lock_configuration()
        .bucket(bucket.name())
        .send()
        .await;
    let locked = match answer {
        Ok(answer) => answer
            .object_lock_configuration()
            .and_then(|lock| lock.rule()?.default_retention())
            .is_some(),
        Err(error)
            if matches!(
                error.code(),
                Some(
                    "ObjectLockConfigurationNotFoundError"
                        | "NoSuchObjectLockConfiguration"
                        | "InvalidRequest"
                )
            ) =>
        {
            false
        }
        Err(error) => {
            let error = translate("GetObjectLockConfiguration", bucket.name(), "", &error);
            return unknown("object lock", zone, &error.to_string());
        }
    };
    match (locked, zone) {
        (true, "records") => Row::new(
            "object lock",
            zone,
            State::Ok,
            "records are locked by default",
        ),
        (true, _) => Row::new(
            "object lock",
            zone,
            State::Failed,
            "objects are locked by default: files could not be deleted at their due time; remove the default retention (records can have a locked bucket of their own)",
        ),
        (false, _) => Row::new("object lock", zone, State::Ok, "no default retention"),
    }
}

async fn public_access(place: &Place<'_>) -> Row {
    let (zone, bucket) = (place.zone, place.bucket);
    let answer = bucket
        .client()
        .get_public_access_block()
        .bucket(bucket.name())
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let all = answer.public_access_block_configuration().is_some_and(|b| {
                [
                    b.block_public_acls(),
                    b.ignore_public_acls(),
                    b.block_public_policy(),
                    b.restrict_public_buckets(),
                ]
                .iter()
                .all(|set| *set == Some(true))
            });
            match all {
                true => Row::new("public access", zone, State::Ok, "blocked"),
                false => Row::new(
                    "public access",
                    zone,
                    State::Warning,
                    "not blocked altogether; set all four parts of the public access block",
                ),
            }
        }
        Err(error) if error.code() == Some("NoSuchPublicAccessBlockConfiguration") => Row::new(
            "public access",
            zone,
            State::Warning,
            "not blocked; set all four parts of the public access block",
        ),
        // Most servers but AWS have no such block: what counts is whether a stranger gets in.
        Err(_) => match plain::list_anonymously(bucket).await {
            Ok(false) => Row::new(
                "public access",
                zone,
                State::Ok,
                "the server has no public access block, and a listing without credentials was refused",
            ),
            Ok(true) => Row::new(
                "public access",
                zone,
                State::Failed,
                "the bucket can be listed WITHOUT credentials: it is public; close it before anything is stored",
            ),
            Err(error) => unknown("public access", zone, &error.to_string()),
        },
    }
}

fn unknown(check: &'static str, zone: &'static str, why: &str) -> Row {
    Row::new(check, zone, State::Warning, format!("unknown: {why}"))
}
