//! What an answer, or none, becomes: asked of a small server that answers as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Region, RequestChecksumCalculation};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::bucket::Bucket;
use super::super::checksum::PartBytes;
use super::*;
use trevor_config as config;

pub(crate) fn client(endpoint: &str) -> Builder {
    Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new(
            "AKIATESTTESTTEST",
            "s3cr3t",
            None,
            None,
            "test",
        ))
        .region(Region::new("us-east-1"))
        .force_path_style(true)
        .retry_config(RetryConfig::standard().with_max_attempts(1))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(2))
                .read_timeout(Duration::from_millis(500))
                .build(),
        )
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .endpoint_url(endpoint)
}

pub(crate) fn bucket(client: Builder) -> Bucket {
    let config: config::Bucket = serde_yaml::from_str("{bucket: data}").unwrap();
    Bucket::new(Client::from_conf(client.build()), &config)
}

/// Answers every call as `answer` does of its head; keeps the heads.
pub(crate) async fn server(
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "));
            let mut body = vec![0; length.and_then(|n| n.trim().parse().ok()).unwrap_or(0)];
            let _ = stream.read_exact(&mut body).await;
            let said = answer(&head);
            kept.lock().unwrap().push(head);
            let _ = stream.write_all(said.as_bytes()).await;
        }
    });
    (url, heads)
}

pub(crate) fn with_body(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

pub(crate) fn s3_error(status: &str, code: &str, message: &str) -> String {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message><AWSAccessKeyId>AKIATESTTESTTEST</AWSAccessKeyId><SignatureProvided>0123456789abcdef0123456789abcdef</SignatureProvided><RequestId>R1</RequestId></Error>"
    );
    with_body(status, "content-type: application/xml\r\n", &body)
}

fn harmless_and_whole(said: &str) {
    for secret in [
        "AKIATEST",
        "s3cr3t",
        "0123456789abcdef",
        "R1",
        "tried again",
        "\n",
    ] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn an_error_names_operation_bucket_prefix_status_code_message_and_what_to_do() {
    let rows = [
        (
            s3_error("403 Forbidden", "AccessDenied", "Access Denied."),
            "AccessDenied: Access Denied; ",
            "s3:GetObject",
        ),
        (
            s3_error(
                "400 Bad Request",
                "ExpiredToken",
                "The provided token has expired.",
            ),
            "HTTP 400 ExpiredToken",
            "session",
        ),
        (
            s3_error(
                "403 Forbidden",
                "RequestTimeTooSkewed",
                "The difference is too large.",
            ),
            "HTTP 403 RequestTimeTooSkewed",
            "clock",
        ),
        (
            s3_error(
                "400 Bad Request",
                "AuthorizationHeaderMalformed",
                "the region 'us-east-1' is wrong; expecting 'eu-west-2'",
            ),
            "HTTP 400 AuthorizationHeaderMalformed",
            "set storage.<zone>.region to eu-west-2",
        ),
        (
            with_body(
                "301 Moved Permanently",
                "x-amz-bucket-region: eu-west-2\r\n",
                "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>",
            ),
            "HTTP 301 PermanentRedirect",
            "set storage.<zone>.region to eu-west-2",
        ),
        (
            with_body(
                "400 Bad Request",
                "",
                "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-3</Region></Error>",
            ),
            "HTTP 400",
            "set storage.<zone>.region to eu-west-3",
        ),
        (
            with_body("502 Bad Gateway", "", "<html>proxy</html>"),
            "HTTP 502",
            "not one of S3",
        ),
        (
            s3_error(
                "404 Not Found",
                "NoSuchBucket",
                "The specified bucket does not exist",
            ),
            "HTTP 404 NoSuchBucket",
            "storage.<zone>.bucket",
        ),
    ];
    for (answer, words, advice) in rows {
        let (url, _) = server(move |_| answer.clone()).await;
        let error = bucket(client(&url)).get("requests/ns/uid/files/n").await;
        let said = error.unwrap_err().to_string();
        assert!(
            said.starts_with("GetObject data/requests/ns/uid/…: HTTP "),
            "{said}"
        );
        assert!(said.contains(words) && said.contains(advice), "{said}");
        harmless_and_whole(&said);
    }
}

#[tokio::test]
async fn the_zone_is_named_where_it_is_known() {
    let answer = s3_error("301 Moved", "PermanentRedirect", "expecting 'eu-west-2'");
    let (url, _) = server(move |_| answer.clone()).await;
    let error = bucket(client(&url)).server_version().await.unwrap_err();
    let said = error.of_zone("release");
    assert!(
        said.contains("set storage.release.region to eu-west-2"),
        "{said}"
    );
}

#[tokio::test]
async fn a_server_without_key_management_says_so() {
    let words = "Server side encryption specified but KMS is not configured";
    let answer = s3_error("501 Not Implemented", "NotImplemented", words);
    let (url, _) = server(move |_| answer.clone()).await;
    let body = Bytes::from_static(b"b");
    let tried = bucket(client(&url)).create("k", body, "text/plain").await;
    let error = tried.unwrap_err();
    assert!(matches!(error, StorageError::Refused { .. }), "{error:?}");
    let said = error.to_string();
    assert!(
        said.contains("no key management") && said.contains(words),
        "{said}"
    );
}

#[tokio::test]
async fn a_head_that_is_refused_is_asked_again_in_words() {
    let (url, heads) = server(|head| match head.starts_with("head") {
        true => "HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n".to_owned(),
        false => s3_error("403 Forbidden", "InvalidAccessKeyId", "It does not exist."),
    })
    .await;
    let said = bucket(client(&url))
        .head("k")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("InvalidAccessKeyId: It does not exist; "),
        "{said}"
    );
    assert_eq!(heads.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn calls_without_an_answer_are_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stalled = format!("http://{}", silent.local_addr().unwrap());
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let not_tls = format!("https://{}", plain.local_addr().unwrap());
    // A ClientHello has no end that an HTTP server would know: it is answered at once.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            if stream.read(&mut [0; 1024]).await.is_ok() {
                drop(stream.write_all(answer).await);
            }
        }
    });
    for (url, word) in [
        (refused.as_str(), "connection is refused"),
        ("http://nowhere.invalid", "name is not known"),
        (stalled.as_str(), "timed out"),
        (not_tls.as_str(), "does not speak TLS"),
    ] {
        let error = bucket(client(url)).get("k").await.unwrap_err();
        assert!(
            matches!(error, StorageError::Unavailable { .. }),
            "{error:?}"
        );
        let said = error.to_string();
        assert!(said.contains(word), "{url}: {said}");
        harmless_and_whole(&said);
    }
}

#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::provider_error(
            std::io::Error::other("/nowhere/token: no such file"),
        )))
    }
}

#[tokio::test]
async fn missing_credentials_are_not_a_server_that_cannot_be_reached() {
    let (url, heads) = server(|_| s3_error("500 Error", "InternalError", "")).await;
    let nobody = client(&url).credentials_provider(Nobody);
    let said = bucket(nobody).get("k").await.unwrap_err().to_string();
    for word in ["no credentials", "/nowhere/token", "credentials_secret"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_written_carries_a_checksum() {
    let (url, heads) = server(|_| {
        with_body(
            "200 OK",
            "etag: \"e\"\r\nx-amz-server-side-encryption: AES256\r\n",
            "",
        )
    })
    .await;
    let bucket = bucket(client(&url));
    bucket
        .create("k", Bytes::from_static(b""), "text/plain")
        .await
        .unwrap();
    let part = PartBytes::Memory(Bytes::new());
    bucket.put_part("k", "u", 1, part).await.unwrap();
    let heads = heads.lock().unwrap();
    assert!(
        heads[0]
            .contains("x-amz-checksum-sha256: 47deqpj8hbsa+/timw+5jceuqerkm5nmpjwzg3hsufu=\r\n"),
        "{}",
        heads[0]
    );
    assert!(
        heads[1].contains("content-md5: 1b2m2y8asgtpgamy7phcfg==\r\n"),
        "{}",
        heads[1]
    );
    for head in heads.iter() {
        assert!(
            !head.contains("aws-chunked") && !head.contains("x-amz-trailer"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_server_that_knows_md5_alone_gets_it() {
    let (url, heads) = server(|head| match head.contains("content-md5: ") {
        true => with_body("200 OK", "x-amz-server-side-encryption: AES256\r\n", ""),
        false => s3_error(
            "400 Bad Request",
            "InvalidRequest",
            "Content-MD5 HTTP header is required for Put Object requests with Object Lock parameters",
        ),
    })
    .await;
    let bucket = bucket(client(&url));
    bucket
        .create("k", Bytes::from_static(b"b"), "text/plain")
        .await
        .unwrap();
    assert_eq!(heads.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn many_are_deleted_with_md5_and_one_by_one_where_there_is_no_such_call() {
    let done = "<?xml version=\"1.0\"?><DeleteResult></DeleteResult>";
    let (url, heads) = server(move |head| match head.contains("content-md5: ") {
        true => with_body("200 OK", "content-type: application/xml\r\n", done),
        false => s3_error("400 Bad Request", "MissingContentMD5", "m"),
    })
    .await;
    let keys = ["a".to_owned(), "b".to_owned()];
    bucket(client(&url)).delete(&keys).await.unwrap();
    assert_eq!(heads.lock().unwrap().len(), 1);
    let without =
        "HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for refusal in [
        s3_error("501 Not Implemented", "NotImplemented", "m"),
        // Nothing but the status.
        without.to_owned(),
    ] {
        let (url, heads) = server(move |head| match head.starts_with("post") {
            true => refusal.clone(),
            false => "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_owned(),
        })
        .await;
        bucket(client(&url)).delete(&keys).await.unwrap();
        assert_eq!(heads.lock().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn what_a_server_keeps_is_said_in_its_words() {
    let kept = "<?xml version=\"1.0\"?><DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>Access Denied because object protected by object lock.</Message></Error></DeleteResult>";
    let (url, _) =
        server(move |_| with_body("200 OK", "content-type: application/xml\r\n", kept)).await;
    let error = bucket(client(&url))
        .delete(&["a".to_owned()])
        .await
        .unwrap_err();
    let said = error.to_string();
    assert!(said.contains("object lock is in the way"), "{said}");
}
