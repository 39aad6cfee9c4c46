//! The AWS clients, and the few ways in which the core uses them.
//!
//! The clients are the seam: in tests and in the local run the same clients lead to a local AWS. The SES client is private
//! to `aws::ses`, whose one function takes `Sealed`.

pub(crate) mod bucket;
pub(crate) mod keys;
pub mod queue;
pub mod ses;
pub mod site;
pub(crate) mod table;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::time::Duration;

use crate::error::{Error, Kind};

/// The clients of one process.
pub struct Clients {
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) kms: aws_sdk_kms::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) ses: ses::Ses,
}

impl Clients {
    /// Clients on this configuration.
    ///
    /// S3 addresses buckets by path where the endpoint is not AWS's own, since a bucket is then no host name.
    #[must_use]
    pub fn new(sdk: &SdkConfig) -> Self {
        let s3 = aws_sdk_s3::config::Builder::from(sdk)
            .force_path_style(sdk.endpoint_url().is_some())
            .build();
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(sdk),
            s3: aws_sdk_s3::Client::from_conf(s3),
            kms: aws_sdk_kms::Client::new(sdk),
            sqs: aws_sdk_sqs::Client::new(sdk),
            ses: ses::Ses::new(sdk),
        }
    }
}

/// The configuration that Lambda's environment gives: region, credentials, endpoints.
pub async fn sdk_config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::standard())
        .timeout_config(timeouts())
        .load()
        .await
}

/// How long a connection and one attempt at a call may take: an attempt less than any function runs.
#[must_use]
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(10))
        .build()
}

/// A failed call, without what was in it: the SDK's own error may hold the HTTP body.
#[derive(Debug, thiserror::Error)]
#[error("{service}: {code}")]
pub struct CallError {
    service: &'static str,
    code: String,
}

/// Maps a failed call by AWS's error code.
pub(crate) fn call_error<E, R>(what: &'static str, error: &SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata,
{
    let code = match error {
        SdkError::ServiceError(service) => service.err().code().unwrap_or("Unknown").to_owned(),
        SdkError::TimeoutError(_) => "Timeout".to_owned(),
        SdkError::DispatchFailure(_) => "DispatchFailure".to_owned(),
        SdkError::ResponseError(_) => "ResponseError".to_owned(),
        _ => "ConstructionFailure".to_owned(),
    };
    let kind = match code.as_str() {
        "AccessDeniedException" | "AccessDenied" | "ValidationException" | "ConstructionFailure" => Kind::Internal,
        _ => Kind::Unavailable,
    };
    let site = site::Site::current().map(|site| site.to_string()).unwrap_or_default();
    tracing::warn!(service = what, code, site, "an AWS call failed");
    Error::new(kind, format!("{what} is not available.")).because(CallError { service: what, code })
}
