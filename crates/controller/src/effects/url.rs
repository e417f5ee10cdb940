//! A pre-signed URL and the Secret that hands it out.
//!
//! Repeated: the Secret's name carries a nonce that the URL object stored before,
//! so that a conflict is our own.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams, PropagationPolicy};

use super::super::context::Context;
use super::super::error::EffectError;
use super::record::Crossed;
use super::statement;
use trevor_api::{RELEASE_SECRET_TYPE, condition};
use trevor_core::commit::PackageFact;
use trevor_core::url_issue::UrlIssue;

/// For how long a URL is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Seconds that a URL lives.
    pub seconds: i64,
    /// When the download window ends.
    pub until: Timestamp,
}

/// Signs a URL, for the endpoint that readers use and never beyond the download
/// window; none where that is over. Nothing is stored.
pub async fn sign(
    ctx: &Context,
    crossed: &Crossed,
    package: &PackageFact,
    life: Life,
) -> Result<Option<UrlIssue>, EffectError> {
    const FIRST: i64 = 1;
    let now = Timestamp::now();
    let left = life.until.as_second() - now.as_second();
    let Some(seconds) = u64::try_from(life.seconds.min(left))
        .ok()
        .filter(|s| *s > 0)
    else {
        return Ok(None);
    };
    let filename = package.key.rsplit('/').next().unwrap_or("package.zip");
    let (url, lives) = ctx
        .signer
        .sign_get(
            &package.bucket,
            &package.key,
            Duration::from_secs(seconds),
            filename,
        )
        .await?;
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let lives = i64::try_from(lives.as_secs()).unwrap_or(0);
    let expires = condition::second(now)
        .checked_add(SignedDuration::from_secs(lives))
        .unwrap_or(Timestamp::MAX);
    let mut made = UrlIssue::new(
        FIRST,
        &url,
        format!("{}-{}", crossed.record, &nonce[..8]),
        expires,
        (package.sha256.clone(), package.size),
        filename.to_owned(),
    );
    made.key = Some(package.key.clone());
    made.issued = Some(condition::second(now));
    made.statement = statement::stored(ctx, crossed).await?;
    Ok(Some(made))
}

/// Makes the Secret of a URL.
pub async fn make_secret(
    ctx: &Context,
    crossed: &Crossed,
    url: &UrlIssue,
) -> Result<(), EffectError> {
    let api = secrets(ctx, crossed);
    let text = |value: String| ByteString(value.into_bytes());
    let mut data = BTreeMap::from([
        ("url".to_owned(), text(url.url().expose().to_owned())),
        ("sha256".to_owned(), text(url.sha256.to_string())),
        ("size".to_owned(), text(url.size.to_string())),
        ("expires".to_owned(), text(url.expires.to_string())),
        ("filename".to_owned(), text(url.filename.clone())),
    ]);
    if let Some(statement) = &url.statement {
        data.insert("statement".to_owned(), text(statement.clone()));
    }
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(url.secret_name.clone()),
            ..ObjectMeta::default()
        },
        type_: Some(RELEASE_SECRET_TYPE.to_owned()),
        data: Some(data),
        ..Secret::default()
    };
    match api.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => Ok(()),
        // The namespace is going: see Crossed::tolerate_going.
        Err(error) if crossed.going => Err(error.into()),
        Err(source) => Err(EffectError::NotMade {
            what: format!("Secret {} of the link", url.secret_name),
            namespace: crossed.key.namespace.clone(),
            source,
        }),
    }
}

/// Whether there is no Secret of the name: the API server would create one. Where it
/// would not for another reason, that is not known, and no matter of this one's.
pub async fn is_missing(ctx: &Context, crossed: &Crossed, name: &str) -> Result<bool, EffectError> {
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(RELEASE_SECRET_TYPE.to_owned()),
        ..Secret::default()
    };
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match secrets(ctx, crossed).create(&dry_run, &secret).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a Secret of ours. One that is gone is no error, and neither is one of
/// somebody else's who took the name: admission refuses it to us.
pub async fn delete_secret(
    ctx: &Context,
    crossed: &Crossed,
    name: &str,
) -> Result<(), EffectError> {
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match secrets(ctx, crossed).delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 403 => {
            tracing::warn!(
                namespace = crossed.key.namespace,
                secret = name,
                message = answer.message,
                "a Secret with the name of ours was not deleted"
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn secrets(ctx: &Context, crossed: &Crossed) -> Api<Secret> {
    Api::namespaced(ctx.client.clone(), &crossed.key.namespace)
}
