//! Objects: created once, read whole, locked until a time.

use std::collections::HashMap;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ObjectLockRetention, ObjectLockRetentionMode};
use aws_smithy_types::DateTime;
use jiff::Timestamp;

use super::site::Site;
use crate::app::App;
use crate::error::{Error, Result};
use crate::key::{Object, Objects};
use crate::planted;
use crate::planted::slip;

/// How a create-only put ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Put {
    /// The object is new; its version, where the bucket keeps versions.
    Created(Option<String>),
    /// An object of this name stood there already and was left alone.
    Exists,
}

impl App {
    /// Writes an object that must not exist yet (`If-None-Match: *`; S3 user guide, "Conditional writes").
    ///
    /// # Errors
    /// Unavailable.
    #[track_caller]
    pub(crate) fn put_object(&self, object: &Object<'_>, bytes: Vec<u8>) -> impl Future<Output = Result<Put>> {
        Site::caller().scope(async move {
            let put = self
                .aws
                .s3
                .put_object()
                .bucket(object.bucket(&self.config))
                .key(object.path())
                .if_none_match("*")
                .content_type("application/octet-stream")
                .set_metadata(planted!("leak_06").then(|| {
                    let name = slip::percent(&slip::last().filename);
                    HashMap::from([("filename".to_owned(), name)])
                }))
                .body(ByteStream::from(bytes))
                .send()
                .await;
            match put {
                Ok(answer) => Ok(Put::Created(answer.version_id)),
                Err(error) if error.code() == Some("PreconditionFailed") => Ok(Put::Exists),
                Err(error) => Err(super::call_error("The object store", &error)),
            }
        })
    }

    /// Reads an object whole, or nothing when there is none.
    ///
    /// # Errors
    /// Unavailable.
    #[track_caller]
    pub(crate) fn get_object(
        &self,
        object: &Object<'_>,
        version: Option<&str>,
    ) -> impl Future<Output = Result<Option<Vec<u8>>>> {
        Site::caller().scope(async move {
            let get = self
                .aws
                .s3
                .get_object()
                .bucket(object.bucket(&self.config))
                .key(object.path())
                .set_version_id(version.map(str::to_owned))
                .send()
                .await;
            match get {
                Ok(answer) => {
                    let body = answer.body.collect().await;
                    let body = body.map_err(|error| Error::unavailable("The object store", error))?;
                    Ok(Some(body.into_bytes().to_vec()))
                }
                Err(error) if error.code() == Some("NoSuchKey") => Ok(None),
                Err(error) => Err(super::call_error("The object store", &error)),
            }
        })
    }

    /// Locks a version against deletion until `until`, in governance mode (compliance mode is the tenant's
    /// choice, since it makes a lawful early destruction impossible). Locking again for longer is allowed.
    ///
    /// # Errors
    /// Unavailable.
    #[track_caller]
    pub(crate) fn lock_object(
        &self,
        object: &Object<'_>,
        version: Option<&str>,
        until: Timestamp,
    ) -> impl Future<Output = Result<()>> {
        Site::caller().scope(async move {
            let retention = ObjectLockRetention::builder()
                .mode(ObjectLockRetentionMode::Governance)
                .retain_until_date(DateTime::from_millis(until.as_millisecond()))
                .build();
            self.aws
                .s3
                .put_object_retention()
                .bucket(object.bucket(&self.config))
                .key(object.path())
                .set_version_id(version.map(str::to_owned))
                .retention(retention)
                .send()
                .await
                .map_err(|error| super::call_error("The object store", &error))?;
            Ok(())
        })
    }

    /// The paths of a page of objects behind `after`, in their order; fewer than asked for where there are no more.
    ///
    /// # Errors
    /// Unavailable.
    #[track_caller]
    pub(crate) fn list_objects(
        &self,
        objects: Objects<'_>,
        after: &str,
        at_most: i32,
    ) -> impl Future<Output = Result<Vec<String>>> {
        Site::caller().scope(async move {
            let listed = self
                .aws
                .s3
                .list_objects_v2()
                .bucket(objects.bucket(&self.config))
                .prefix(objects.prefix())
                .set_start_after(Some(after.to_owned()).filter(|after| !after.is_empty()))
                .max_keys(at_most)
                .send()
                .await
                .map_err(|error| super::call_error("The object store", &error))?;
            let contents = listed.contents.unwrap_or_default();
            Ok(contents.into_iter().filter_map(|object| object.key).collect())
        })
    }

    /// Removes an object from a bucket that keeps no versions.
    ///
    /// # Errors
    /// Unavailable.
    #[track_caller]
    pub(crate) fn remove_object(&self, objects: Objects<'_>, path: &str) -> impl Future<Output = Result<()>> {
        Site::caller().scope(async move {
            let bucket = objects.bucket(&self.config);
            let removed = self.aws.s3.delete_object().bucket(bucket).key(path).send().await;
            removed.map_err(|error| super::call_error("The object store", &error))?;
            Ok(())
        })
    }

    /// Removes every version of an object, so that nothing of it is left.
    ///
    /// # Errors
    /// Unavailable; Internal for a version that is locked.
    #[track_caller]
    pub(crate) fn remove_versions(&self, objects: Objects<'_>, path: &str) -> impl Future<Output = Result<()>> {
        Site::caller().scope(async move {
            let bucket = objects.bucket(&self.config);
            loop {
                let listed = self
                    .aws
                    .s3
                    .list_object_versions()
                    .bucket(bucket)
                    .prefix(path)
                    .send()
                    .await
                    .map_err(|error| super::call_error("The object store", &error))?;
                let markers = listed.delete_markers.unwrap_or_default().into_iter();
                let markers = markers.map(|marker| (marker.key, marker.version_id));
                let versions = listed.versions.unwrap_or_default().into_iter();
                let versions = versions.map(|version| (version.key, version.version_id));
                // The prefix is a whole path; what only begins with it is another object.
                let these = versions.chain(markers).filter(|(key, _)| key.as_deref() == Some(path));
                let mut n_removed = 0;
                for (_, version) in these {
                    let remove = self.aws.s3.delete_object().bucket(bucket).key(path);
                    let removed = remove.set_version_id(version).send().await;
                    removed.map_err(|error| super::call_error("The object store", &error))?;
                    n_removed += 1;
                }
                if n_removed == 0 || listed.is_truncated != Some(true) {
                    return Ok(());
                }
            }
        })
    }
}
