//! Operations on buckets and their settings.

use http::StatusCode;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::super::setting::{self, Setting};
use super::super::{REGION, Shelf, bucket, time};
use super::{malformed, owner};

impl Shelf {
    pub(super) async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let input = request.input;
        let constraint = input
            .create_bucket_configuration
            .and_then(|configuration| configuration.location_constraint);
        if constraint.is_some() {
            return Err(S3Error::with_message(
                S3ErrorCode::IllegalLocationConstraintException,
                "The location constraint is incompatible with the region that this request was sent to.",
            ));
        }
        let has_lock = input.object_lock_enabled_for_bucket == Some(true);
        self.change(|tx| bucket::create(tx, &input.bucket, has_lock, self.clock.now_ms()))?;
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{}", input.bucket)),
        }))
    }

    pub(super) async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.change(|tx| bucket::find(tx, &request.input.bucket))?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(REGION.to_owned()),
            ..HeadBucketOutput::default()
        }))
    }

    pub(super) async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let prefix = request.input.prefix.unwrap_or_default();
        let buckets = self.change(bucket::list)?;
        let buckets = buckets
            .into_iter()
            .filter(|bucket| bucket.name.starts_with(&prefix))
            .map(|bucket| Bucket {
                name: Some(bucket.name),
                creation_date: Some(time::stamp(bucket.created_ms)),
                bucket_region: None,
            });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            owner: Some(owner()),
            ..ListBucketsOutput::default()
        }))
    }

    pub(super) async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.change(|tx| bucket::delete(tx, &request.input.bucket))?;
        Ok(S3Response::with_status(DeleteBucketOutput {}, StatusCode::NO_CONTENT))
    }

    pub(super) async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.change(|tx| bucket::find(tx, &request.input.bucket))?;
        // us-east-1 is written as an empty constraint (GetBucketLocation).
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    pub(super) async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let bucket = self.change(|tx| bucket::find(tx, &request.input.bucket))?;
        Ok(S3Response::new(GetBucketVersioningOutput {
            status: bucket.versioning.status(),
            mfa_delete: None,
        }))
    }

    pub(super) async fn put_bucket_versioning(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let configuration = &request.input.versioning_configuration;
        if configuration
            .mfa_delete
            .as_ref()
            .is_some_and(|mfa| mfa.as_str() != "Disabled")
        {
            return Err(S3Error::with_message(
                S3ErrorCode::NotImplemented,
                "MfaDelete is not implemented by the local AWS",
            ));
        }
        self.change(|tx| bucket::set_versioning(tx, &request.input.bucket, configuration.status.as_ref()))?;
        Ok(S3Response::new(PutBucketVersioningOutput {}))
    }

    pub(super) async fn get_object_lock_configuration(
        &self,
        request: S3Request<GetObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
        let configuration =
            self.change(|tx| bucket::find(tx, &request.input.bucket).and_then(bucket::lock_configuration))?;
        Ok(S3Response::new(GetObjectLockConfigurationOutput {
            object_lock_configuration: Some(configuration),
        }))
    }

    pub(super) async fn put_object_lock_configuration(
        &self,
        request: S3Request<PutObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<PutObjectLockConfigurationOutput>> {
        let input = request.input;
        let configuration = input.object_lock_configuration.ok_or_else(malformed)?;
        self.change(|tx| bucket::set_lock(tx, &input.bucket, configuration))?;
        Ok(S3Response::new(PutObjectLockConfigurationOutput::default()))
    }

    pub(super) async fn get_bucket_encryption(
        &self,
        request: S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
        let configuration = self.change(|tx| setting::get(tx, &request.input.bucket, Setting::Encryption))?;
        Ok(S3Response::new(GetBucketEncryptionOutput {
            server_side_encryption_configuration: Some(configuration),
        }))
    }

    pub(super) async fn put_bucket_encryption(
        &self,
        request: S3Request<PutBucketEncryptionInput>,
    ) -> S3Result<S3Response<PutBucketEncryptionOutput>> {
        let input = request.input;
        let value = &input.server_side_encryption_configuration;
        self.change(|tx| setting::put(tx, &input.bucket, Setting::Encryption, value))?;
        Ok(S3Response::new(PutBucketEncryptionOutput {}))
    }

    pub(super) async fn get_public_access_block(
        &self,
        request: S3Request<GetPublicAccessBlockInput>,
    ) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
        let configuration = self.change(|tx| setting::get(tx, &request.input.bucket, Setting::PublicAccessBlock))?;
        Ok(S3Response::new(GetPublicAccessBlockOutput {
            public_access_block_configuration: Some(configuration),
        }))
    }

    pub(super) async fn put_public_access_block(
        &self,
        request: S3Request<PutPublicAccessBlockInput>,
    ) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
        let input = request.input;
        let value = &input.public_access_block_configuration;
        self.change(|tx| setting::put(tx, &input.bucket, Setting::PublicAccessBlock, value))?;
        Ok(S3Response::new(PutPublicAccessBlockOutput {}))
    }

    pub(super) async fn get_bucket_policy(
        &self,
        request: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        let policy = self.change(|tx| setting::get(tx, &request.input.bucket, Setting::Policy))?;
        Ok(S3Response::new(GetBucketPolicyOutput { policy: Some(policy) }))
    }

    pub(super) async fn put_bucket_policy(
        &self,
        request: S3Request<PutBucketPolicyInput>,
    ) -> S3Result<S3Response<PutBucketPolicyOutput>> {
        let input = request.input;
        if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&input.policy).is_err() {
            return Err(S3Error::with_message(
                S3ErrorCode::MalformedPolicy,
                "Policies must be valid JSON and the first byte must be '{'",
            ));
        }
        self.change(|tx| setting::put(tx, &input.bucket, Setting::Policy, &input.policy))?;
        Ok(S3Response::with_status(
            PutBucketPolicyOutput {},
            StatusCode::NO_CONTENT,
        ))
    }

    pub(super) async fn delete_bucket_policy(
        &self,
        request: S3Request<DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
        self.change(|tx| setting::delete(tx, &request.input.bucket, Setting::Policy))?;
        Ok(S3Response::with_status(
            DeleteBucketPolicyOutput {},
            StatusCode::NO_CONTENT,
        ))
    }

    pub(super) async fn get_bucket_tagging(
        &self,
        request: S3Request<GetBucketTaggingInput>,
    ) -> S3Result<S3Response<GetBucketTaggingOutput>> {
        let tags: Vec<(Option<String>, Option<String>)> =
            self.change(|tx| setting::get(tx, &request.input.bucket, Setting::Tagging))?;
        let tag_set = tags.into_iter().map(|(key, value)| Tag { key, value }).collect();
        Ok(S3Response::new(GetBucketTaggingOutput { tag_set }))
    }

    pub(super) async fn put_bucket_tagging(
        &self,
        request: S3Request<PutBucketTaggingInput>,
    ) -> S3Result<S3Response<PutBucketTaggingOutput>> {
        let input = request.input;
        let tags = input.tagging.tag_set.into_iter().map(|tag| (tag.key, tag.value));
        let tags: Vec<(Option<String>, Option<String>)> = tags.collect();
        self.change(|tx| setting::put(tx, &input.bucket, Setting::Tagging, &tags))?;
        Ok(S3Response::with_status(
            PutBucketTaggingOutput {},
            StatusCode::NO_CONTENT,
        ))
    }
}
