//! Operations on the bytes of objects: put, get, head, delete, copy.

use http::StatusCode;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::super::checksum::{self, put_sums, sums_of};
use super::super::object::{self, New, facts_of};
use super::super::reading::{self, wanted_of};
use super::super::{Outcome, Refusal, Shelf, access, bucket, lock, time};
use super::malformed;

/// The most objects of one DeleteObjects (its API page).
const MAX_DELETIONS: usize = 1000;

impl Shelf {
    pub(super) async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let extensions = request.extensions;
        let mut input = request.input;
        let claimed = sums_of!(input);
        let trailers = request.trailing_headers.as_ref();
        let body = checksum::read(input.body.take(), input.content_md5.as_deref(), claimed, trailers).await?;
        let asked = object::asked_lock(
            input.object_lock_mode.as_ref(),
            input.object_lock_retain_until_date.as_ref(),
            input.object_lock_legal_hold_status.as_ref(),
        )?;
        if asked != lock::Lock::default() && !body.was_claimed {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
            ));
        }
        let mut facts = facts_of!(input);
        facts.sums = body.sums;
        let now = self.clock.now();
        let (version, versioning) = self.change(|tx| {
            let bucket = bucket::find(tx, &input.bucket)?;
            let current = object::latest(tx, &bucket.name, &input.key)?;
            object::check_write(current.as_ref(), input.if_match.as_ref(), input.if_none_match.as_ref())?;
            let new = New {
                key: &input.key,
                bytes: &body.bytes,
                etag: &body.md5,
                facts,
                lock: object::granted_lock(&bucket, asked, now)?,
            };
            let version = object::put(tx, &bucket, new, now.as_millisecond())?;
            access::check_key(&extensions, &version.facts, &["GenerateDataKey"])?;
            Ok((version, bucket.versioning))
        })?;
        let mut output = PutObjectOutput {
            e_tag: Some(version.e_tag()),
            version_id: version.shown_id(versioning),
            server_side_encryption: version.facts.encryption.map(ServerSideEncryption::from),
            ssekms_key_id: version.facts.encryption_key,
            bucket_key_enabled: version.facts.bucket_key,
            checksum_type: Some(ChecksumType::from_static(version.facts.sums.kind())),
            ..PutObjectOutput::default()
        };
        put_sums!(output, version.facts.sums);
        Ok(S3Response::new(output))
    }

    pub(super) async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let extensions = request.extensions;
        let mut input = request.input;
        let wanted = wanted_of!(input);
        let answer = self.change(|tx| {
            let bucket = bucket::find(tx, &input.bucket)?;
            let version = object::find(tx, &bucket.name, &input.key, input.version_id.as_deref())?;
            reading::check_read(&version, &wanted)?;
            access::check_key(&extensions, &version.facts, &["Decrypt"])?;
            let (window, content_range) = reading::window(version.size, wanted.range.as_ref())?;
            let bytes = object::content(tx, version.seq, window)?;
            let output = reading::got(version, bucket.versioning, &wanted, bytes);
            Ok(GetObjectOutput {
                content_range,
                ..output
            })
        });
        let output = answer.map_err(|error| hide_absence(error, &extensions, &input.bucket))?;
        Ok(S3Response::new(output))
    }

    pub(super) async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let extensions = request.extensions;
        let mut input = request.input;
        let wanted = wanted_of!(input);
        let answer = self.change(|tx| {
            let bucket = bucket::find(tx, &input.bucket)?;
            let version = object::find(tx, &bucket.name, &input.key, input.version_id.as_deref())?;
            reading::check_read(&version, &wanted)?;
            // The checksum is encrypted like the object ("Permissions" of HeadObject, S3 API Reference).
            if wanted.with_sums {
                access::check_key(&extensions, &version.facts, &["Decrypt"])?;
            }
            let (window, content_range) = reading::window(version.size, wanted.range.as_ref())?;
            let output = reading::head(version, bucket.versioning, &wanted);
            let content_length = i64::try_from(window.end.saturating_sub(window.start)).ok();
            Ok(HeadObjectOutput {
                content_length,
                content_range,
                ..output
            })
        });
        let output = answer.map_err(|error| hide_absence(error, &extensions, &input.bucket))?;
        let status = if output.content_range.is_some() {
            StatusCode::PARTIAL_CONTENT
        } else {
            StatusCode::OK
        };
        Ok(S3Response::with_status(output, status))
    }

    pub(super) async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        let bypass = input.bypass_governance_retention == Some(true);
        let deleted = self.change(|tx| {
            let bucket = bucket::find(tx, &input.bucket)?;
            if let Some(condition) = &input.if_match {
                let current = object::latest(tx, &bucket.name, &input.key)?.filter(|version| !version.is_marker);
                if !current.is_some_and(|current| object::matches(condition, &current)) {
                    return Err(object::precondition_failed("If-Match"));
                }
            }
            object::delete(
                tx,
                &bucket,
                &input.key,
                input.version_id.as_deref(),
                bypass,
                self.clock.now_ms(),
            )
        })?;
        let output = DeleteObjectOutput {
            delete_marker: deleted.is_marker.then_some(true),
            version_id: deleted.version_id,
            ..DeleteObjectOutput::default()
        };
        Ok(S3Response::with_status(output, StatusCode::NO_CONTENT))
    }

    pub(super) async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let extensions = request.extensions;
        let input = request.input;
        if input.delete.objects.is_empty() || input.delete.objects.len() > MAX_DELETIONS {
            return Err(malformed());
        }
        let bypass = input.bypass_governance_retention == Some(true);
        let is_quiet = input.delete.quiet == Some(true);
        let output = self.change(|tx| {
            let bucket = bucket::find(tx, &input.bucket)?;
            let mut output = DeleteObjectsOutput::default();
            for object in &input.delete.objects {
                match delete_one(tx, &bucket, object, &extensions, bypass, self.clock.now_ms()) {
                    Ok(deleted) if !is_quiet => output.deleted.get_or_insert_default().push(deleted),
                    Ok(_) => {}
                    Err(Refusal(error)) if error.code() == &S3ErrorCode::InternalError => {
                        return Err(error.into());
                    }
                    Err(Refusal(error)) => output.errors.get_or_insert_default().push(Error {
                        code: Some(error.code().as_str().to_owned()),
                        key: Some(object.key.clone()),
                        message: error.message().map(str::to_owned),
                        version_id: object.version_id.clone(),
                    }),
                }
            }
            Ok(output)
        })?;
        Ok(S3Response::new(output))
    }

    pub(super) async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let extensions = request.extensions;
        let mut input = request.input;
        let CopySource::Bucket {
            bucket: from,
            key: from_key,
            version_id,
        } = &input.copy_source
        else {
            return Err(S3Error::with_message(
                S3ErrorCode::NotImplemented,
                "Copies from access points are not implemented by the local AWS",
            ));
        };
        let action = if version_id.is_some() {
            "s3:GetObjectVersion"
        } else {
            "s3:GetObject"
        };
        access::check(&extensions, action, &access::object_arn(from, from_key))?;
        let asked = object::asked_lock(
            input.object_lock_mode.as_ref(),
            input.object_lock_retain_until_date.as_ref(),
            input.object_lock_legal_hold_status.as_ref(),
        )?;
        let wanted = reading::Wanted {
            if_match: input.copy_source_if_match.take(),
            if_none_match: input.copy_source_if_none_match.take(),
            if_modified_since: input.copy_source_if_modified_since.take(),
            if_unmodified_since: input.copy_source_if_unmodified_since.take(),
            range: None,
            with_sums: false,
        };
        let replaces = match input.metadata_directive.as_ref().map(MetadataDirective::as_str) {
            Some(MetadataDirective::REPLACE) => true,
            Some(MetadataDirective::COPY) | None => false,
            Some(_) => return Err(S3Error::new(S3ErrorCode::InvalidArgument)),
        };
        let mut facts = facts_of!(input);
        let is_same_key = **from == *input.bucket && **from_key == *input.key && version_id.is_none();
        if is_same_key && !replaces && facts.encryption.is_none() {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing it.",
            ));
        }
        let now = self.clock.now();
        let (version, versioning, source_id) = self.change(|tx| {
            let source_bucket = bucket::find(tx, from)?;
            let source = object::find(tx, from, from_key, version_id.as_deref())?;
            // AWS answers 412, never 304, to the conditions of a copy.
            reading::check_read(&source, &wanted).map_err(|_| object::precondition_failed("x-amz-copy-source-if-*"))?;
            access::check_key(&extensions, &source.facts, &["Decrypt"])?;
            let window = reading::window(source.size, None)?.0;
            let bytes = object::content(tx, source.seq, window)?;
            let source_id = source.shown_id(source_bucket.versioning);
            if !replaces {
                facts = object::Facts {
                    encryption: facts.encryption.take(),
                    encryption_key: facts.encryption_key.take(),
                    bucket_key: facts.bucket_key.take(),
                    ..source.facts.clone()
                };
            }
            facts.sums =
                checksum::Sums::of_algorithm(input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str))?
                    .over(&bytes);
            let bucket = bucket::find(tx, &input.bucket)?;
            let new = New {
                key: &input.key,
                bytes: &bytes,
                // A copy is one put, so its ETag is that of the bytes also where the source came in parts.
                etag: &checksum::md5(&bytes),
                facts,
                lock: object::granted_lock(&bucket, asked, now)?,
            };
            let version = object::put(tx, &bucket, new, now.as_millisecond())?;
            access::check_key(&extensions, &version.facts, &["GenerateDataKey"])?;
            Ok((version, bucket.versioning, source_id))
        })?;
        let mut result = CopyObjectResult {
            e_tag: Some(version.e_tag()),
            last_modified: Some(time::stamp(version.created_ms)),
            ..CopyObjectResult::default()
        };
        let version_id = version.shown_id(versioning);
        put_sums!(result, version.facts.sums);
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            version_id,
            copy_source_version_id: source_id,
            server_side_encryption: version.facts.encryption.map(ServerSideEncryption::from),
            ssekms_key_id: version.facts.encryption_key,
            bucket_key_enabled: version.facts.bucket_key,
            ..CopyObjectOutput::default()
        }))
    }
}

/// Deletes one entry of a DeleteObjects, for which the caller needs permission by key.
fn delete_one(
    tx: &rusqlite::Transaction<'_>,
    bucket: &bucket::Bucket,
    object: &ObjectIdentifier,
    extensions: &http::Extensions,
    bypass: bool,
    now_ms: i64,
) -> Outcome<DeletedObject> {
    let id = object.version_id.as_deref();
    let arn = access::object_arn(&bucket.name, &object.key);
    let action = if id.is_some() {
        "s3:DeleteObjectVersion"
    } else {
        "s3:DeleteObject"
    };
    access::check(extensions, action, &arn)?;
    if bypass {
        access::check(extensions, "s3:BypassGovernanceRetention", &arn)?;
    }
    if let Some(etag) = &object.e_tag {
        let current = object::latest(tx, &bucket.name, &object.key)?.filter(|version| !version.is_marker);
        if current.is_none_or(|current| current.etag != etag.value()) {
            return Err(object::precondition_failed("ETag"));
        }
    }
    let deleted = object::delete(tx, bucket, &object.key, id, bypass, now_ms)?;
    Ok(DeletedObject {
        key: Some(object.key.clone()),
        version_id: object.version_id.clone(),
        delete_marker: deleted.is_marker.then_some(true),
        delete_marker_version_id: deleted.version_id.filter(|_| deleted.is_marker),
    })
}

/// Who may not list a bucket does not learn which keys it lacks (GetObject, "Permissions").
fn hide_absence(error: S3Error, extensions: &http::Extensions, bucket: &str) -> S3Error {
    let is_absence = error.code() == &S3ErrorCode::NoSuchKey;
    if is_absence && !access::may(extensions, "s3:ListBucket", &access::bucket_arn(bucket)) {
        return S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied");
    }
    error
}
