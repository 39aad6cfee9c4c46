//! Which IAM actions a request needs, and on what.
//!
//! Who the caller is, and what its policies say, is known outside; this only asks. Actions and resources are those of the
//! Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3".

use std::sync::Arc;

use http::{Extensions, HeaderMap};
use s3s::access::{S3Access, S3AccessContext};
use s3s::path::S3Path;
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::Outcome;
use super::object::Facts;
use crate::aws::error::AwsError;

/// Answers whether the caller may do an action (`s3:GetObject`) on a resource (an ARN). Belongs into the extensions of a
/// request; where it is absent, the caller is the account's owner and may do everything.
#[derive(Clone)]
pub struct Permissions(Arc<Ask>);

type Ask = dyn Fn(&str, &str) -> bool + Send + Sync;

impl Permissions {
    /// `ask` answers for an action and a resource.
    pub fn new(ask: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }
}

/// Uses a KMS key for an action such as `GenerateDataKey`, or says why the caller cannot. Belongs into the extensions of a
/// request; where it is absent, objects are encrypted in name only.
#[derive(Clone)]
pub struct Keys(Arc<UseKey>);

type UseKey = dyn Fn(&str, &str) -> Result<(), AwsError> + Send + Sync;

impl Keys {
    /// `use_key` is given the key as the object names it, and the action.
    pub fn new(use_key: impl Fn(&str, &str) -> Result<(), AwsError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(use_key))
    }
}

/// Refuses unsigned requests, and those that [`Permissions`] do not cover.
pub(super) struct Gate;

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if request.credentials().is_none() {
            return Err(S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied"));
        }
        let resource = match request.s3_path() {
            S3Path::Root => "*".to_owned(),
            S3Path::Bucket { bucket } => bucket_arn(bucket),
            S3Path::Object { bucket, key } => object_arn(bucket, key),
        };
        let has_version = request
            .uri()
            .query()
            .is_some_and(|query| url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "versionId"));
        let actions = actions(request.s3_op().name(), has_version, request.headers());
        for action in actions {
            check(request.extensions_mut(), &action, &resource)?;
        }
        Ok(())
    }
}

/// The ARN of a bucket.
pub(super) fn bucket_arn(bucket: &str) -> String {
    format!("arn:aws:s3:::{bucket}")
}

/// The ARN of every version of a key.
pub(super) fn object_arn(bucket: &str, key: &str) -> String {
    format!("arn:aws:s3:::{bucket}/{key}")
}

/// Refuses what the caller's permissions do not cover.
pub(super) fn check(extensions: &Extensions, action: &str, resource: &str) -> Result<(), S3Error> {
    if may(extensions, action, resource) {
        return Ok(());
    }
    Err(S3Error::with_message(
        S3ErrorCode::AccessDenied,
        format!("User is not authorized to perform: {action} on resource: \"{resource}\""),
    ))
}

/// Refuses what needs the key of an encrypted object when the caller cannot use it ("Required AWS KMS key permissions" in
/// "Using server-side encryption with AWS KMS keys", S3 User Guide). An object without a key of its own is under the one that
/// AWS manages, which everybody in the account may use.
pub(super) fn check_key(extensions: &Extensions, facts: &Facts, actions: &[&str]) -> Outcome<()> {
    let (Some(Keys(use_key)), Some(key)) = (extensions.get::<Keys>(), &facts.encryption_key) else {
        return Ok(());
    };
    for action in actions {
        use_key(key, action)?;
    }
    Ok(())
}

/// Whether the caller's permissions cover this.
pub(super) fn may(extensions: &Extensions, action: &str, resource: &str) -> bool {
    extensions
        .get::<Permissions>()
        .is_none_or(|permissions| (permissions.0)(action, resource))
}

/// The actions that an operation needs on the resource in its path. What depends on the body (`DeleteObjects`) or on a
/// second resource (the source of a copy) is checked by the operation.
fn actions(operation: &str, has_version: bool, headers: &HeaderMap) -> Vec<String> {
    let versioned = |action: &str| {
        if has_version {
            format!("{action}Version")
        } else {
            action.to_owned()
        }
    };
    let mut actions = match operation {
        "GetObject" | "HeadObject" => vec![versioned("s3:GetObject")],
        "DeleteObject" => vec![versioned("s3:DeleteObject")],
        "PutObject" | "CopyObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => {
            vec!["s3:PutObject".to_owned()]
        }
        "ListParts" => vec!["s3:ListMultipartUploadParts".to_owned()],
        "DeleteObjects" => Vec::new(),
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => vec!["s3:ListBucket".to_owned()],
        "ListObjectVersions" => vec!["s3:ListBucketVersions".to_owned()],
        "ListBuckets" => vec!["s3:ListAllMyBuckets".to_owned()],
        "GetObjectLockConfiguration" => vec!["s3:GetBucketObjectLockConfiguration".to_owned()],
        "PutObjectLockConfiguration" => vec!["s3:PutBucketObjectLockConfiguration".to_owned()],
        "GetBucketEncryption" => vec!["s3:GetEncryptionConfiguration".to_owned()],
        "PutBucketEncryption" => vec!["s3:PutEncryptionConfiguration".to_owned()],
        "GetPublicAccessBlock" => vec!["s3:GetBucketPublicAccessBlock".to_owned()],
        "PutPublicAccessBlock" => vec!["s3:PutBucketPublicAccessBlock".to_owned()],
        other => vec![format!("s3:{other}")],
    };
    if matches!(operation, "PutObject" | "CopyObject" | "CreateMultipartUpload") {
        if headers.contains_key("x-amz-object-lock-mode") {
            actions.push("s3:PutObjectRetention".to_owned());
        }
        if headers.contains_key("x-amz-object-lock-legal-hold") {
            actions.push("s3:PutObjectLegalHold".to_owned());
        }
    }
    let bypasses = headers
        .get("x-amz-bypass-governance-retention")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    if bypasses && operation != "DeleteObjects" {
        actions.push("s3:BypassGovernanceRetention".to_owned());
    }
    actions
}
