//! What the identities of this process must not be able to do
//! (docs/reference/permissions.md#storage-identities). Deletions are tried on keys that
//! are never there: a server looks at the permission first.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use uuid::Uuid;

use super::super::bucket::Bucket;
use super::super::error::translate;
use super::super::zones::{Release, Zones};
use super::{Row, State};

pub(super) async fn look(zones: &Zones, release: &Release, own_records: bool) -> Vec<Row> {
    let absent = Uuid::new_v4();
    let records = zones.records.bucket();
    let mut rows = Vec::new();
    for key in [
        format!("records/check/{absent}.json"),
        format!("audit/requests/check/{absent}/1.json"),
        format!("index/sha256/{absent}"),
        format!("requests/check/{absent}/owner.json"),
    ] {
        rows.push(may_not_delete(records, &key, own_records).await);
    }
    rows.push(may_not_configure("quarantine", zones.quarantine.bucket()).await);
    rows.push(may_not_configure("release", release.probe_bucket()).await);
    rows.push(zones_are_apart(zones.quarantine.bucket(), release.probe_bucket()).await);
    rows
}

/// In a bucket of their own nothing needs the permission to delete records. Where they share
/// the quarantine bucket it takes a policy by prefix, which not every server has.
async fn may_not_delete(bucket: &Bucket, key: &str, own: bool) -> Row {
    let what = key.split('/').next().unwrap_or_default();
    let row = |state, detail: String| Row::new("no deletion", "records", state, detail);
    let tried = bucket
        .client()
        .delete_object()
        .bucket(bucket.name())
        .key(key)
        .send()
        .await;
    match tried {
        Err(error) if is_denied(&error) => row(
            State::Ok,
            format!("nothing under {what}/ that is kept for ever can be deleted"),
        ),
        Err(error) => {
            let why = translate("DeleteObject", bucket.name(), key, &error);
            row(
                State::Warning,
                format!("unknown: a deletion under {what}/ was not answered as refused: {why}"),
            )
        }
        Ok(_) if own => row(
            State::Failed,
            format!(
                "this identity can delete under {what}/, which is kept for ever, and records have a bucket of their own, where it needs only to put, get and list; take the permission away"
            ),
        ),
        Ok(_) => row(
            State::Warning,
            format!(
                "this identity can delete under {what}/, which is kept for ever; take the permission away by prefix (the chart's bucket policies show how), or, where the server has no such policies, give the records a bucket of their own (storage.records)"
            ),
        ),
    }
}

/// Who may read the policy of a bucket can often set it; that a set is refused cannot
/// be tried without the risk of setting it.
async fn may_not_configure(zone: &'static str, bucket: &Bucket) -> Row {
    let row = |state, detail: String| Row::new("no configuration", zone, state, detail);
    let tried = bucket
        .client()
        .get_bucket_policy()
        .bucket(bucket.name())
        .send()
        .await;
    let read = match &tried {
        Ok(_) => true,
        Err(error) if is_denied(error) => {
            let detail = "the bucket's policy is none of this identity's business";
            return row(State::Ok, detail.to_owned());
        }
        Err(error) => error.code() == Some("NoSuchBucketPolicy"),
    };
    match tried {
        Err(error) if !read => {
            let why = translate("GetBucketPolicy", bucket.name(), "", &error);
            row(State::Warning, format!("unknown: {why}"))
        }
        _ => row(
            State::Warning,
            "this identity may read the bucket's policy; it needs no permission on a bucket's settings but to read versioning, lifecycle, lock and public access".to_owned(),
        ),
    }
}

/// What the gateway's identity must not be able to do: it deletes nothing, sees only
/// what lies under `requests/`, and decides nothing.
pub(super) async fn look_at_gateway(quarantine: &Bucket, staging: Option<&Bucket>) -> Vec<Row> {
    let absent = Uuid::new_v4();
    let base = format!("requests/check/{absent}");
    let mut rows = vec![listing(quarantine, "requests/", true).await];
    for prefix in ["work/", "audit/", "records/"] {
        rows.push(listing(quarantine, prefix, false).await);
    }
    for key in [
        format!("{base}/files/absent"),
        format!("{base}/receipts/absent/1.json"),
        format!("work/plans/{absent}.json"),
    ] {
        let refused = refuses_deletion(quarantine, &key).await;
        rows.push(gateway_row(
            "no deletion",
            refused,
            &format!("delete {key}"),
        ));
    }
    for name in ["decision.json", "owner.json", "closed.json"] {
        let key = format!("{base}/{name}");
        let put = quarantine
            .client()
            .put_object()
            .bucket(quarantine.name())
            .key(&key)
            .if_none_match("*")
            .send()
            .await;
        rows.push(gateway_row(
            "no decision",
            is_refused(&put),
            &format!("write {key}"),
        ));
        let refused = refuses_reading(quarantine, &key).await;
        rows.push(gateway_row("no decision", refused, &format!("read {key}")));
    }
    if let Some(staging) = staging {
        let absent = format!("{absent}/1/absent");
        rows.push(gateway_row(
            "staging",
            refuses_reading(staging, &absent).await,
            "read what outsiders sent",
        ));
        rows.push(gateway_row(
            "staging",
            refuses_deletion(staging, &absent).await,
            "delete what outsiders sent",
        ));
    }
    rows
}

/// What the identity of packaging Jobs must not be able to do: it writes nothing inside,
/// and of what lies outside it sees and deletes nothing.
pub(super) async fn look_at_packaging(zones: &Zones, release: &Release) -> Vec<Row> {
    let absent = Uuid::new_v4();
    let base = format!("requests/check/{absent}");
    let (quarantine, records) = (zones.quarantine.bucket(), zones.records.bucket());
    let outside = release.probe_bucket();
    let mut rows = Vec::new();
    for key in ["rounds/1/decision.json", "closed.json", "revoked.json"] {
        let key = format!("{base}/{key}");
        let found = records
            .exists(&key)
            .await
            .map(|_| format!("it reads {key}"));
        rows.push(Row::of("reached", "packaging", found));
    }
    let package = format!("releases/check/{absent}/n/absent.zip");
    let put = quarantine.client().put_object().bucket(quarantine.name());
    let put = put
        .key(format!("{base}/files/absent"))
        .if_none_match("*")
        .send()
        .await;
    for (check, refused, what) in [
        ("no writing", is_refused(&put), "write into quarantine"),
        (
            "no deletion",
            refuses_deletion(quarantine, &format!("{base}/files/absent")).await,
            "delete files",
        ),
        (
            "no deletion",
            refuses_deletion(outside, &package).await,
            "delete packages",
        ),
        (
            "no reading",
            refuses_reading(outside, &package).await,
            "read packages",
        ),
        (
            "no reading",
            refuses_reading(quarantine, &format!("work/urls/{absent}/1.json")).await,
            "read links",
        ),
    ] {
        rows.push(row_of("packaging", "a packaging Job", check, refused, what));
    }
    rows
}

async fn refuses_reading(bucket: &Bucket, key: &str) -> bool {
    let get = bucket.client().get_object();
    is_refused(&get.bucket(bucket.name()).key(key).send().await)
}

async fn refuses_deletion(bucket: &Bucket, key: &str) -> bool {
    let delete = bucket.client().delete_object();
    is_refused(&delete.bucket(bucket.name()).key(key).send().await)
}

fn is_refused<T, E>(answer: &Result<T, SdkError<E>>) -> bool
where
    E: ProvideErrorMetadata,
{
    matches!(answer, Err(error) if is_denied(error))
}

fn is_denied<E>(error: &SdkError<E>) -> bool
where
    E: ProvideErrorMetadata,
{
    error.code() == Some("AccessDenied")
}

fn gateway_row(check: &'static str, refused: bool, what: &str) -> Row {
    row_of("gateway", "the gateway", check, refused, what)
}

fn row_of(at: &'static str, who: &str, check: &'static str, refused: bool, what: &str) -> Row {
    match refused {
        true => Row::new(check, at, State::Ok, format!("{who} cannot {what}")),
        false => Row::new(
            check,
            at,
            State::Failed,
            format!(
                "{who} was not refused to {what}; take the permission away (the chart's bucket policies show how)"
            ),
        ),
    }
}

async fn listing(bucket: &Bucket, prefix: &str, allowed: bool) -> Row {
    let listed = bucket
        .client()
        .list_objects_v2()
        .bucket(bucket.name())
        .prefix(prefix)
        .max_keys(1)
        .send()
        .await;
    match (allowed, listed) {
        // Names tell nothing that is secret, and AWS answers 403 for a missing key to whoever
        // may not list: there the permission is needed without a condition.
        (false, Ok(_)) => Row::new(
            "listing",
            "gateway",
            State::Warning,
            format!(
                "the gateway can list {prefix}, where it has no business: names, no content; on AWS that is as it must be, elsewhere allow it requests/ alone (the chart's bucket policies show how)"
            ),
        ),
        (false, listed) => gateway_row("listing", is_refused(&listed), &format!("list {prefix}")),
        (true, Ok(_)) => Row::new(
            "reached",
            "gateway",
            State::Ok,
            format!("it lists {prefix}"),
        ),
        (true, Err(error)) => Row::new(
            "reached",
            "gateway",
            State::Failed,
            translate("ListObjectsV2", bucket.name(), prefix, &error).to_string(),
        ),
    }
}

/// The credentials of one zone are no good in the other.
async fn zones_are_apart(quarantine: &Bucket, release: &Bucket) -> Row {
    let tried = quarantine
        .client()
        .list_objects_v2()
        .bucket(release.name())
        .max_keys(1)
        .send()
        .await;
    match tried {
        Err(error) if error.raw_response().is_none() => Row::new(
            "zones apart",
            "quarantine",
            State::Warning,
            "unknown: the quarantine server did not answer",
        ),
        Err(_) => Row::new(
            "zones apart",
            "quarantine",
            State::Ok,
            "the quarantine identity reaches nothing of the release bucket",
        ),
        Ok(_) => Row::new(
            "zones apart",
            "quarantine",
            State::Warning,
            "the quarantine identity can list the release bucket; give each zone credentials of its own",
        ),
    }
}
