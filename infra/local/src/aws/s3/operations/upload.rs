//! Operations on uploads in parts.

use http::StatusCode;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::super::checksum::{self, put_sums, sums_of};
use super::super::multipart::{self, Completion};
use super::super::object::{self, facts_of};
use super::super::{Shelf, access, time};

/// The most parts of a page of ListParts (its API page).
const MAX_PARTS: i32 = 1000;

impl Shelf {
    pub(super) async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let mut input = request.input;
        let asked = object::asked_lock(
            input.object_lock_mode.as_ref(),
            input.object_lock_retain_until_date.as_ref(),
            input.object_lock_legal_hold_status.as_ref(),
        )?;
        let facts = facts_of!(input);
        let algorithm = input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str);
        let is_full_object = input.checksum_type.as_ref().map(ChecksumType::as_str) == Some(ChecksumType::FULL_OBJECT);
        let now = self.clock.now();
        let started = multipart::Start {
            facts: &facts,
            algorithm,
            is_full_object,
            asked,
        };
        let id = self.change(|tx| multipart::create(tx, &input.bucket, &input.key, &started, now))?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..CreateMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let mut input = request.input;
        let claimed = sums_of!(input);
        let trailers = request.trailing_headers.as_ref();
        let body = checksum::read(input.body.take(), input.content_md5.as_deref(), claimed, trailers).await?;
        let sums = self.change(|tx| {
            let upload = multipart::find(tx, &input.bucket, &input.key, &input.upload_id)?;
            multipart::put_part(tx, &upload, input.part_number, &body, self.clock.now_ms())
        })?;
        let mut output = UploadPartOutput {
            e_tag: Some(ETag::Strong(body.md5)),
            ..UploadPartOutput::default()
        };
        put_sums!(output, sums);
        Ok(S3Response::new(output))
    }

    pub(super) async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let extensions = request.extensions;
        let mut input = request.input;
        let claimed = sums_of!(input);
        let parts = input
            .multipart_upload
            .take()
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let (version, versioning) = self.change(|tx| {
            let upload = multipart::find(tx, &input.bucket, &input.key, &input.upload_id)?;
            let completion = Completion {
                parts: &parts,
                if_match: input.if_match.as_ref(),
                if_none_match: input.if_none_match.as_ref(),
                claimed: &claimed,
                size: input.mpu_object_size,
            };
            let completed = multipart::complete(tx, upload, &completion, self.clock.now_ms())?;
            // AWS asks with every part; here the parts are under no key until they are put together.
            access::check_key(&extensions, &completed.0.facts, &["GenerateDataKey", "Decrypt"])?;
            Ok(completed)
        })?;
        let mut output = CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(version.e_tag()),
            version_id: version.shown_id(versioning),
            checksum_type: Some(ChecksumType::from_static(version.facts.sums.kind())),
            server_side_encryption: version.facts.encryption.map(ServerSideEncryption::from),
            ssekms_key_id: version.facts.encryption_key,
            bucket_key_enabled: version.facts.bucket_key,
            ..CompleteMultipartUploadOutput::default()
        };
        put_sums!(output, version.facts.sums);
        Ok(S3Response::new(output))
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        self.change(|tx| multipart::abort(tx, &input.bucket, &input.key, &input.upload_id))?;
        let output = AbortMultipartUploadOutput::default();
        Ok(S3Response::with_status(output, StatusCode::NO_CONTENT))
    }

    pub(super) async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let after = input.part_number_marker.unwrap_or(0);
        let limit = input.max_parts.unwrap_or(MAX_PARTS).clamp(1, MAX_PARTS);
        let mut parts = self.change(|tx| {
            let upload = multipart::find(tx, &input.bucket, &input.key, &input.upload_id)?;
            multipart::parts(tx, &upload, after, limit)
        })?;
        let shown = usize::try_from(limit).unwrap_or_default();
        let is_truncated = parts.len() > shown;
        parts.truncate(shown);
        let next = parts.last().map(|part| part.number);
        let parts = parts.into_iter().map(|part| {
            let mut entry = Part {
                part_number: Some(part.number),
                size: Some(part.size),
                e_tag: Some(ETag::Strong(part.etag)),
                last_modified: Some(time::stamp(part.created_ms)),
                ..Part::default()
            };
            put_sums!(entry, part.sums);
            entry
        });
        Ok(S3Response::new(ListPartsOutput {
            parts: Some(parts.collect()),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(is_truncated),
            max_parts: Some(limit),
            part_number_marker: Some(after),
            next_part_number_marker: next,
            ..ListPartsOutput::default()
        }))
    }
}
