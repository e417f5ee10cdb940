//! The ceiling of `make bench`: what a good S3 client makes of the release's work
//! on the same servers. It copies the ranges of some objects, several at once and
//! each streamed through, into one object by one multipart upload, and reads that
//! back in parallel. It hashes, checks and frames nothing.
//!
//! The order comes as JSON on standard input; the figures go to standard output.

use std::error::Error;
use std::time::Instant;

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
struct Order {
    source: Place,
    target: Place,
    objects: Vec<Object>,
    target_key: String,
    part_bytes: u64,
    workers: usize,
}

#[derive(Deserialize)]
struct Place {
    endpoint: String,
    bucket: String,
    root: Keys,
}

#[derive(Deserialize)]
struct Keys {
    access_key_id: String,
    secret_access_key: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    size: u64,
}

/// Some bytes of an object: the first, and the one after the last.
struct Range<'a> {
    key: &'a str,
    start: u64,
    end: u64,
}

fn main() -> Result<()> {
    let input = std::io::read_to_string(std::io::stdin())?;
    if input.trim().is_empty() {
        println!("ceiling: started by benches/bench.py, with an order on standard input");
        return Ok(());
    }
    let order: Order = serde_json::from_str(&input)?;
    tokio::runtime::Runtime::new()?.block_on(run(&order))
}

async fn run(order: &Order) -> Result<()> {
    let (source, target) = (client(&order.source), client(&order.target));
    let began = Instant::now();
    let bytes = copy(order, &source, &target).await?;
    let copied = began.elapsed();
    let found = read_back(order, &target, bytes).await?;
    let all = began.elapsed();
    if found != bytes {
        return Err(format!("{bytes} bytes were sent, and {found} are there").into());
    }
    let figures = serde_json::json!({
        "seconds": all.as_secs_f64(),
        "copy_seconds": copied.as_secs_f64(),
        "read_back_seconds": (all - copied).as_secs_f64(),
        "bytes": bytes,
        "peak_rss_mib": peak_rss_mib(),
    });
    println!("{figures}");
    Ok(())
}

/// The same settings as trevor's own clients.
fn client(place: &Place) -> Client {
    let keys = &place.root;
    let credentials = Credentials::new(
        &keys.access_key_id,
        &keys.secret_access_key,
        None,
        None,
        "order",
    );
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(credentials)
        .region(Region::new("us-east-1"))
        .endpoint_url(&place.endpoint)
        .force_path_style(true)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

fn ranges(key: &str, size: u64, part: u64) -> impl Iterator<Item = Range<'_>> {
    (0..size.div_ceil(part)).map(move |n| Range {
        key,
        start: n * part,
        end: size.min((n + 1) * part),
    })
}

/// Gives the bytes that were copied.
async fn copy(order: &Order, source: &Client, target: &Client) -> Result<u64> {
    let parts: Vec<Range<'_>> = order
        .objects
        .iter()
        .flat_map(|object| ranges(&object.key, object.size, order.part_bytes))
        .collect();
    let started = target
        .create_multipart_upload()
        .bucket(&order.target.bucket)
        .key(&order.target_key)
        .server_side_encryption(ServerSideEncryption::Aes256)
        .send()
        .await?;
    let upload = started.upload_id().ok_or("an upload without an id")?;
    let completed: Vec<CompletedPart> = stream::iter(parts.iter().zip(1..))
        .map(|(range, number)| copy_part(order, source, target, upload, range, number))
        .buffered(order.workers)
        .try_collect()
        .await?;
    let all = CompletedMultipartUpload::builder()
        .set_parts(Some(completed))
        .build();
    target
        .complete_multipart_upload()
        .bucket(&order.target.bucket)
        .key(&order.target_key)
        .upload_id(upload)
        .multipart_upload(all)
        .send()
        .await?;
    Ok(parts.iter().map(|range| range.end - range.start).sum())
}

/// The body of the answer is the body of the part: nothing waits for a whole part.
async fn copy_part(
    order: &Order,
    source: &Client,
    target: &Client,
    upload: &str,
    range: &Range<'_>,
    number: i32,
) -> Result<CompletedPart> {
    let body = get(source, &order.source.bucket, range).await?;
    let put = target
        .upload_part()
        .bucket(&order.target.bucket)
        .key(&order.target_key)
        .upload_id(upload)
        .part_number(number)
        .content_length(i64::try_from(range.end - range.start)?)
        .body(body)
        .customize()
        .disable_payload_signing()
        .send()
        .await?;
    Ok(CompletedPart::builder()
        .part_number(number)
        .set_e_tag(put.e_tag)
        .build())
}

async fn get(client: &Client, bucket: &str, range: &Range<'_>) -> Result<ByteStream> {
    let got = client
        .get_object()
        .bucket(bucket)
        .key(range.key)
        .range(format!("bytes={}-{}", range.start, range.end - 1))
        .send()
        .await?;
    Ok(got.body)
}

/// Gives the bytes that are there.
async fn read_back(order: &Order, target: &Client, size: u64) -> Result<u64> {
    let parts: Vec<Range<'_>> = ranges(&order.target_key, size, order.part_bytes).collect();
    stream::iter(&parts)
        .map(|range| async move {
            let mut body = get(target, &order.target.bucket, range).await?;
            let mut found = 0;
            while let Some(bytes) = body.try_next().await? {
                found += bytes.len() as u64;
            }
            Ok(found)
        })
        .buffer_unordered(order.workers)
        .try_fold(0, |sum, found| async move { Ok(sum + found) })
        .await
}

fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
