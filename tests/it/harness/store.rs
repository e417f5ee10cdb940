//! A bucket, looked at behind the operator's back.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;

/// One bucket with root credentials.
#[derive(Clone)]
pub struct Store {
    pub client: Client,
    pub bucket: String,
}

impl Store {
    pub fn new(endpoint: &str, bucket: &str, (id, secret): (String, String)) -> Self {
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .force_path_style(true)
            .credentials_provider(Credentials::new(id, secret, None, None, "test"))
            .build();
        Self {
            client: Client::from_conf(config),
            bucket: bucket.to_owned(),
        }
    }

    /// A new bucket beside this one, for the same identities; `locks`: with object lock.
    pub async fn beside(&self, stem: &str, locks: bool) -> Self {
        let (client, name) = (&self.client, super::unique(stem));
        let made = client.create_bucket().bucket(&name);
        made.object_lock_enabled_for_bucket(locks)
            .send()
            .await
            .unwrap();
        let policy = client.get_bucket_policy().bucket(&self.bucket).send().await;
        let policy = policy.unwrap().policy.unwrap();
        let (old, new) = (format!(":::{}", self.bucket), format!(":::{name}"));
        let put = client.put_bucket_policy().bucket(&name);
        put.policy(policy.replace(&old, &new)).send().await.unwrap();
        Self {
            client: client.clone(),
            bucket: name,
        }
    }

    /// All keys under a prefix.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            keys.extend(
                page.unwrap()
                    .contents()
                    .iter()
                    .map(|o| o.key().unwrap().to_owned()),
            );
        }
        keys
    }

    /// Keys of multipart uploads that are open.
    pub async fn open_uploads(&self, prefix: &str) -> Vec<String> {
        let page = self
            .client
            .list_multipart_uploads()
            .bucket(&self.bucket)
            .send()
            .await
            .unwrap();
        let keys = page
            .uploads()
            .iter()
            .filter_map(|u| u.key())
            .filter(|k| k.starts_with(prefix));
        keys.map(str::to_owned).collect()
    }

    pub async fn get(&self, key: &str) -> Vec<u8> {
        self.find(key)
            .await
            .unwrap_or_else(|| panic!("{key} is not in {}", self.bucket))
    }

    pub async fn find(&self, key: &str) -> Option<Vec<u8>> {
        let found = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .ok()?;
        Some(found.body.collect().await.unwrap().into_bytes().to_vec())
    }

    pub async fn json(&self, key: &str) -> Value {
        serde_json::from_slice(&self.get(key).await).unwrap()
    }

    pub async fn put(&self, key: &str, bytes: &[u8]) {
        let body = ByteStream::from(bytes.to_vec());
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .body(body);
        put.server_side_encryption(aws_sdk_s3::types::ServerSideEncryption::Aes256)
            .send()
            .await
            .unwrap();
    }

    /// Without the encryption that trevor asks for.
    pub async fn put_plain(&self, key: &str, bytes: &[u8]) {
        let put = self.client.put_object().bucket(&self.bucket).key(key);
        let body = ByteStream::from(bytes.to_vec());
        put.body(body).send().await.unwrap();
    }

    pub async fn delete(&self, key: &str) {
        self.client
            .delete_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .unwrap();
    }

    /// Whether an object is stored encrypted.
    pub async fn encrypted(&self, key: &str) -> bool {
        let head = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .unwrap();
        head.server_side_encryption() == Some(&aws_sdk_s3::types::ServerSideEncryption::Aes256)
    }
}
