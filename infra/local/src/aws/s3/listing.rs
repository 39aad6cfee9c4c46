//! Listings: keys, or all versions of them, in the order of their UTF-8 bytes, a page at a time.
//!
//! A delimiter folds keys into common prefixes, each of which counts as one entry. A page ends with the name of its last
//! entry, and the next begins behind it, whatever was deleted meanwhile.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{Transaction, params};
use s3s::{S3Error, S3ErrorCode};

use super::object::{self, COLUMNS, Version};
use super::{NULL_VERSION, Outcome, bucket};
use crate::aws::store::Prepared;

/// The most entries of a page (ListObjectsV2, "MaxKeys").
const MAX_KEYS: i32 = 1000;

/// What to list.
#[derive(Default)]
pub(super) struct Query<'a> {
    pub prefix: &'a str,
    /// Empty for none.
    pub delimiter: &'a str,
    /// Begin behind this key or common prefix.
    pub after: &'a str,
    /// Begin behind this version of `after`, not behind all of them.
    pub after_version: Option<&'a str>,
    pub limit: i32,
    /// List every version and delete marker, not only newest versions.
    pub all_versions: bool,
}

/// A page of a listing.
#[derive(Default)]
pub(super) struct Page {
    /// With whether it is the newest of its key.
    pub versions: Vec<(Version, bool)>,
    pub prefixes: Vec<String>,
    /// The last entry of this page, if there are more: its key or common prefix, and its version id.
    pub next: Option<(String, Option<String>)>,
}

/// The number of entries asked for, within AWS's bounds.
pub(super) fn limit(asked: Option<i32>) -> Result<i32, S3Error> {
    let limit = asked.unwrap_or(MAX_KEYS);
    if limit < 0 {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidArgument,
            "Argument maxKeys must be an integer between 0 and 2147483647",
        ));
    }
    Ok(limit.min(MAX_KEYS))
}

/// Lists one page.
pub(super) fn list(tx: &Transaction<'_>, bucket: &str, query: &Query<'_>) -> Outcome<Page> {
    bucket::find(tx, bucket)?;
    let mut page = Page::default();
    if query.limit == 0 {
        return Ok(page);
    }
    let after_seq = match query.after_version {
        None => 0,
        Some(id) => position(tx, bucket, query.after, id)?,
    };
    let sql = format!(
        "SELECT {COLUMNS}, v.seq = (SELECT max(w.seq) FROM version w WHERE w.bucket = v.bucket AND w.key = v.key)
         FROM version v WHERE v.bucket = ?1 AND v.key >= ?2 AND (v.key > ?3 OR (v.key = ?3 AND v.seq < ?4))
         ORDER BY v.key, v.seq DESC"
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let mut rows = statement.query(params![bucket, query.prefix, query.after, after_seq])?;
    let mut n_entries = 0;
    let mut last: Option<(String, Option<String>)> = None;
    while let Some(row) = rows.next()? {
        let key: String = row.get(1)?;
        let Some(rest) = key.strip_prefix(query.prefix) else {
            break;
        };
        let is_latest: bool = row.get(11)?;
        let is_marker: bool = row.get(3)?;
        if !query.all_versions && (!is_latest || is_marker) {
            continue;
        }
        let folded = match rest.split_once(query.delimiter) {
            Some((head, _)) if !query.delimiter.is_empty() => {
                Some(format!("{}{head}{}", query.prefix, query.delimiter))
            }
            _ => None,
        };
        if let Some(folded) = &folded
            && (folded.as_str() <= query.after || page.prefixes.last() == Some(folded))
        {
            continue;
        }
        if n_entries == query.limit {
            page.next = last;
            break;
        }
        n_entries += 1;
        match folded {
            Some(folded) => {
                last = Some((folded.clone(), None));
                page.prefixes.push(folded);
            }
            None => {
                let version = object::read(row)?;
                last = Some((key, Some(version.id.clone())));
                page.versions.push((version, is_latest));
            }
        }
    }
    Ok(page)
}

/// The token that stands for a page's last entry.
pub(super) fn token(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// The entry that a token stands for.
pub(super) fn from_token(token: &str) -> Result<String, S3Error> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|name| String::from_utf8(name).ok())
        .ok_or_else(|| {
            S3Error::with_message(
                S3ErrorCode::InvalidArgument,
                "The continuation token provided is incorrect",
            )
        })
}

/// A name as it stands in a listing with `encoding-type=url`.
pub(super) fn encode(name: String, is_url: bool) -> String {
    if !is_url {
        return name;
    }
    let parts: Vec<String> = name
        .split('/')
        .map(|part| url::form_urlencoded::byte_serialize(part.as_bytes()).collect())
        .collect();
    parts.join("/")
}

fn position(tx: &Transaction<'_>, bucket: &str, key: &str, id: &str) -> Outcome<i64> {
    let seq = if id == NULL_VERSION {
        let sql = "SELECT coalesce(max(seq), 0) FROM version WHERE bucket = ? AND key = ? AND id = ?";
        Some(tx.row(sql, [bucket, key, id], |row| row.get(0))?)
    } else {
        object::seq_of(id)
    };
    Ok(seq.ok_or_else(|| S3Error::with_message(S3ErrorCode::InvalidArgument, "Invalid version id specified"))?)
}
