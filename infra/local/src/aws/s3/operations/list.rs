//! Operations that list keys and versions.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::super::listing::{self, Page, Query};
use super::super::object::Version;
use super::super::{Shelf, time};
use super::owner;

impl Shelf {
    pub(super) async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = request.input;
        let is_url = is_url(input.encoding_type.as_ref());
        let limit = listing::limit(input.max_keys)?;
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: input.marker.as_deref().unwrap_or_default(),
            limit,
            ..Query::default()
        };
        let page = self.change(|tx| listing::list(tx, &input.bucket, &query))?;
        let next = page.next.as_ref().map(|(name, _)| name.clone());
        let (contents, prefixes) = objects(page, is_url);
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            // AWS names the next marker only where there is a delimiter; without one it is the last key.
            next_marker: next
                .clone()
                .filter(|_| input.delimiter.is_some())
                .map(|name| listing::encode(name, is_url)),
            is_truncated: Some(next.is_some()),
            prefix: Some(listing::encode(input.prefix.unwrap_or_default(), is_url)),
            marker: Some(listing::encode(input.marker.unwrap_or_default(), is_url)),
            delimiter: input.delimiter.map(|delimiter| listing::encode(delimiter, is_url)),
            max_keys: Some(limit),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsOutput::default()
        }))
    }

    pub(super) async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let is_url = is_url(input.encoding_type.as_ref());
        let limit = listing::limit(input.max_keys)?;
        let after = match &input.continuation_token {
            Some(token) => listing::from_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: &after,
            limit,
            ..Query::default()
        };
        let page = self.change(|tx| listing::list(tx, &input.bucket, &query))?;
        let next = page.next.as_ref().map(|(name, _)| listing::token(name));
        let (mut contents, prefixes) = objects(page, is_url);
        if input.fetch_owner == Some(true) {
            contents.iter_mut().for_each(|object| object.owner = Some(owner()));
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            is_truncated: Some(next.is_some()),
            next_continuation_token: next,
            continuation_token: input.continuation_token,
            key_count: i32::try_from(contents.len() + prefixes.len()).ok(),
            prefix: Some(listing::encode(input.prefix.unwrap_or_default(), is_url)),
            start_after: input.start_after.map(|after| listing::encode(after, is_url)),
            delimiter: input.delimiter.map(|delimiter| listing::encode(delimiter, is_url)),
            max_keys: Some(limit),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsV2Output::default()
        }))
    }

    pub(super) async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = request.input;
        let is_url = is_url(input.encoding_type.as_ref());
        let limit = listing::limit(input.max_keys)?;
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: input.key_marker.as_deref().unwrap_or_default(),
            after_version: input.version_id_marker.as_deref().filter(|id| !id.is_empty()),
            limit,
            all_versions: true,
        };
        let page = self.change(|tx| listing::list(tx, &input.bucket, &query))?;
        let (next_key, next_version) = page.next.unzip();
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        for (version, is_latest) in page.versions {
            if version.is_marker {
                markers.push(marker_entry(version, is_latest, is_url));
            } else {
                versions.push(version_entry(version, is_latest, is_url));
            }
        }
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            is_truncated: Some(next_key.is_some()),
            next_key_marker: next_key.map(|key| listing::encode(key, is_url)),
            next_version_id_marker: next_version.flatten(),
            prefix: Some(listing::encode(input.prefix.unwrap_or_default(), is_url)),
            key_marker: Some(listing::encode(input.key_marker.unwrap_or_default(), is_url)),
            version_id_marker: input.version_id_marker,
            delimiter: input.delimiter.map(|delimiter| listing::encode(delimiter, is_url)),
            max_keys: Some(limit),
            versions: Some(versions),
            delete_markers: Some(markers),
            common_prefixes: Some(common_prefixes(page.prefixes, is_url)),
            encoding_type: input.encoding_type,
            ..ListObjectVersionsOutput::default()
        }))
    }
}

fn objects(page: Page, is_url: bool) -> (Vec<Object>, Vec<CommonPrefix>) {
    let contents = page.versions.into_iter().map(|(version, _)| Object {
        e_tag: Some(version.e_tag()),
        last_modified: Some(time::stamp(version.created_ms)),
        size: Some(version.size),
        key: Some(listing::encode(version.key, is_url)),
        storage_class: Some(ObjectStorageClass::from_static("STANDARD")),
        ..Object::default()
    });
    (contents.collect(), common_prefixes(page.prefixes, is_url))
}

fn common_prefixes(prefixes: Vec<String>, is_url: bool) -> Vec<CommonPrefix> {
    let entry = |prefix| CommonPrefix {
        prefix: Some(listing::encode(prefix, is_url)),
    };
    prefixes.into_iter().map(entry).collect()
}

fn version_entry(version: Version, is_latest: bool, is_url: bool) -> ObjectVersion {
    ObjectVersion {
        e_tag: Some(version.e_tag()),
        is_latest: Some(is_latest),
        last_modified: Some(time::stamp(version.created_ms)),
        owner: Some(owner()),
        size: Some(version.size),
        key: Some(listing::encode(version.key, is_url)),
        version_id: Some(version.id),
        storage_class: Some(ObjectVersionStorageClass::from_static("STANDARD")),
        ..ObjectVersion::default()
    }
}

fn marker_entry(version: Version, is_latest: bool, is_url: bool) -> DeleteMarkerEntry {
    DeleteMarkerEntry {
        is_latest: Some(is_latest),
        key: Some(listing::encode(version.key, is_url)),
        last_modified: Some(time::stamp(version.created_ms)),
        owner: Some(owner()),
        version_id: Some(version.id),
    }
}

fn is_url(encoding: Option<&EncodingType>) -> bool {
    encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL)
}
