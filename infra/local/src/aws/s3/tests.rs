//! The local S3 through Amazon's own SDK, in process.

mod bucket;
mod lock;
mod object;
mod request;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, Delete, MetadataDirective, ObjectIdentifier,
    ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
    VersioningConfiguration,
};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use sealpost_core::clock::Clock;

use super::*;

const DAY_MS: i64 = 86_400_000;

#[derive(Clone)]
struct Wire {
    s3: Arc<S3>,
    permissions: Option<Permissions>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wire = self.clone();
        HttpConnectorFuture::new(async move {
            let (parts, body) = request.try_into_http1x().unwrap().into_parts();
            let bytes = ByteStream::new(body).collect().await.unwrap().into_bytes();
            let mut request = Request::from_parts(parts, bytes);
            if let Some(permissions) = wire.permissions {
                request.extensions_mut().insert(permissions);
            }
            let answer = wire.s3.call(request).await.map(SdkBody::from);
            Ok(HttpResponse::try_from(answer).unwrap())
        })
    }
}

struct Bench {
    s3: Arc<S3>,
    clock: Clock,
    client: Client,
}

fn client(s3: &Arc<S3>, secret: &str, permissions: Option<Permissions>) -> Client {
    let wire = SharedHttpConnector::new(Wire {
        s3: Arc::clone(s3),
        permissions,
    });
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", secret, None, None, "test"))
        .endpoint_url("http://127.0.0.1:4566")
        .force_path_style(true)
        .http_client(http_client_fn(move |_, _| wire.clone()))
        .build();
    Client::from_conf(config)
}

fn bench() -> Bench {
    let clock = Clock::system();
    let s3 = Arc::new(S3::open(None, clock.clone()).unwrap());
    let client = client(&s3, "local", None);
    Bench { s3, clock, client }
}

impl Bench {
    /// A bucket `plain` without versions, `versioned`, and `locked` with Object Lock.
    async fn with_buckets() -> Self {
        let bench = bench();
        for bucket in ["plain", "versioned", "locked"] {
            let has_lock = bucket == "locked";
            let create = bench.client.create_bucket().bucket(bucket);
            create.object_lock_enabled_for_bucket(has_lock).send().await.unwrap();
        }
        bench
            .version("versioned", BucketVersioningStatus::Enabled)
            .await
            .unwrap();
        bench
    }

    async fn version(&self, bucket: &str, status: BucketVersioningStatus) -> Result<(), String> {
        let configuration = VersioningConfiguration::builder().status(status).build();
        let put = self.client.put_bucket_versioning().bucket(bucket);
        put.versioning_configuration(configuration)
            .send()
            .await
            .map(drop)
            .map_err(code)
    }

    async fn put(&self, bucket: &str, key: &str, body: &'static str) -> Option<String> {
        let put = self.client.put_object().bucket(bucket).key(key);
        let answer = put.body(ByteStream::from_static(body.as_bytes())).send().await.unwrap();
        answer.version_id
    }

    async fn get(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<String, String> {
        let get = self.client.get_object().bucket(bucket).key(key);
        let answer = get
            .set_version_id(version.map(str::to_owned))
            .send()
            .await
            .map_err(code)?;
        Ok(String::from_utf8(answer.body.collect().await.unwrap().to_vec()).unwrap())
    }

    async fn delete(&self, bucket: &str, key: &str, version: &str, bypass: bool) -> Result<(), String> {
        let delete = self.client.delete_object().bucket(bucket).key(key).version_id(version);
        let delete = delete.set_bypass_governance_retention(bypass.then_some(true));
        delete.send().await.map(drop).map_err(code)
    }

    async fn retain(&self, version: &str, wanted: Option<(&str, i64)>, bypass: bool) -> Result<(), String> {
        let retention = match wanted {
            None => ObjectLockRetention::builder().build(),
            Some((mode, days)) => ObjectLockRetention::builder()
                .mode(ObjectLockRetentionMode::from(mode))
                .retain_until_date(self.in_days(days))
                .build(),
        };
        let put = self
            .client
            .put_object_retention()
            .bucket("locked")
            .key("k")
            .version_id(version);
        let put = put
            .retention(retention)
            .set_bypass_governance_retention(bypass.then_some(true));
        put.send().await.map(drop).map_err(code)
    }

    async fn hold(&self, version: &str, status: ObjectLockLegalHoldStatus) -> Result<(), String> {
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let put = self
            .client
            .put_object_legal_hold()
            .bucket("locked")
            .key("k")
            .version_id(version);
        put.legal_hold(hold).send().await.map(drop).map_err(code)
    }

    fn in_days(&self, days: i64) -> DateTime {
        DateTime::from_millis(self.clock.now_ms() + days * DAY_MS)
    }

    /// How many versions and delete markers the bucket holds.
    async fn versions(&self, bucket: &str) -> usize {
        let answer = self.client.list_object_versions().bucket(bucket).send().await.unwrap();
        answer.versions().len() + answer.delete_markers().len()
    }
}

/// The error code, or the HTTP status where the answer has no body.
fn code<E: ProvideErrorMetadata>(error: SdkError<E>) -> String {
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error
        .as_service_error()
        .and_then(|error| error.code().map(str::to_owned));
    code.unwrap_or_else(|| format!("{status:?}"))
}

fn refused<T>(code: &str) -> Result<T, String> {
    Err(code.to_owned())
}
