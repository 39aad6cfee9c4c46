//! What the tests of the local AWS share: real SDK clients on the in-process wire.

use std::path::Path;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::retry::RetryConfig;
use sealpost_core::clock::Clock;

use super::iam::Role;
use super::kms::Kms;
use super::ses::Ses;
use super::sns::Sns;
use super::sqs::Sqs;
use super::wire::Aws;

/// An AWS in memory.
pub(super) fn memory() -> Arc<Aws> {
    Aws::open(None, Clock::system()).unwrap()
}

/// An SES on this file with topics and queues in memory.
pub(crate) fn ses(path: Option<&Path>, clock: &Clock) -> Ses {
    let kms = Arc::new(Kms::open(None, clock.clone()).unwrap());
    let sqs = Arc::new(Sqs::open(None, clock.clone(), kms).unwrap());
    let sns = Arc::new(Sns::open(None, clock.clone(), sqs).unwrap());
    Ses::open(path, clock.clone(), sns).unwrap()
}

/// An SDK configuration of one attempt, for the system itself or for a role.
pub(super) fn sdk(aws: &Arc<Aws>, role: Option<&Arc<Role>>) -> SdkConfig {
    let credentials = Credentials::new("local", "local", None, None, "local");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(super::arn::REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::disabled())
        .http_client(aws.http_client(role.cloned()))
        .build()
}

/// A folder of its own for one test's files.
pub(super) fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("sealpost-aws-{name}-{}", std::process::id()));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    folder
}

/// The code of a refusal.
pub(super) fn code<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(
    result: Result<T, SdkError<E, R>>,
) -> String {
    let error = result.unwrap_err();
    let SdkError::ServiceError(service) = &error else {
        panic!("{error:?}")
    };
    service.err().code().unwrap_or("none").to_owned()
}
