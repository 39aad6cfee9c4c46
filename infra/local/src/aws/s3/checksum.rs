//! Bodies and their checksums: what a caller claims is recomputed before anything is stored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{Body, S3Error, S3ErrorCode, TrailingHeaders};
use serde::{Deserialize, Serialize};

/// SQLite's limit for one value, less what a row needs; S3's own is 5 GiB for one put.
const MAX_BODY: usize = 999_000_000;

/// Checksums in base64, by algorithm; at most one is set, except where a caller claimed more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub crc32: Option<String>,
    pub crc32c: Option<String>,
    pub crc64nvme: Option<String>,
    pub sha1: Option<String>,
    pub sha256: Option<String>,
    /// Over the checksums of the parts, not over the bytes.
    #[serde(default)]
    pub is_composite: bool,
}

/// Takes the checksum fields out of an operation's input.
macro_rules! sums_of {
    ($input:expr) => {
        $crate::aws::s3::checksum::Sums {
            crc32: $input.checksum_crc32.take(),
            crc32c: $input.checksum_crc32c.take(),
            crc64nvme: $input.checksum_crc64nvme.take(),
            sha1: $input.checksum_sha1.take(),
            sha256: $input.checksum_sha256.take(),
            is_composite: false,
        }
    };
}

/// Puts checksums into the fields of an operation's output.
macro_rules! put_sums {
    ($output:expr, $sums:expr) => {{
        let sums: $crate::aws::s3::checksum::Sums = $sums;
        $output.checksum_crc32 = sums.crc32;
        $output.checksum_crc32c = sums.crc32c;
        $output.checksum_crc64nvme = sums.crc64nvme;
        $output.checksum_sha1 = sums.sha1;
        $output.checksum_sha256 = sums.sha256;
    }};
}

pub(super) use {put_sums, sums_of};

impl Sums {
    pub(super) fn is_empty(&self) -> bool {
        self.crc32.is_none()
            && self.crc32c.is_none()
            && self.crc64nvme.is_none()
            && self.sha1.is_none()
            && self.sha256.is_none()
    }

    /// `FULL_OBJECT` or `COMPOSITE`.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_composite { "COMPOSITE" } else { "FULL_OBJECT" }
    }

    /// The same algorithms over `bytes`.
    pub(super) fn over(&self, bytes: &[u8]) -> Self {
        let mut hasher = ChecksumHasher {
            crc32: self.crc32.as_ref().map(|_| Default::default()),
            crc32c: self.crc32c.as_ref().map(|_| Default::default()),
            crc64nvme: self.crc64nvme.as_ref().map(|_| Default::default()),
            sha1: self.sha1.as_ref().map(|_| Default::default()),
            sha256: self.sha256.as_ref().map(|_| Default::default()),
        };
        hasher.update(bytes);
        let Checksum {
            checksum_crc32: crc32,
            checksum_crc32c: crc32c,
            checksum_crc64nvme: crc64nvme,
            checksum_sha1: sha1,
            checksum_sha256: sha256,
            ..
        } = hasher.finalize();
        Self {
            crc32,
            crc32c,
            crc64nvme,
            sha1,
            sha256,
            is_composite: false,
        }
    }

    /// Nothing claimed, for this algorithm (`CRC32` …); the default is what AWS computes by itself.
    pub(super) fn of_algorithm(algorithm: Option<&str>) -> Result<Self, S3Error> {
        let mut sums = Self::default();
        let field = match algorithm {
            Some("CRC32") => &mut sums.crc32,
            Some("CRC32C") => &mut sums.crc32c,
            Some("SHA1") => &mut sums.sha1,
            Some("SHA256") => &mut sums.sha256,
            Some("CRC64NVME") | None => &mut sums.crc64nvme,
            Some(_) => {
                return Err(S3Error::with_message(
                    S3ErrorCode::InvalidRequest,
                    "Checksum algorithm provided is unsupported.",
                ));
            }
        };
        *field = Some(String::new());
        Ok(sums)
    }

    /// The raw bytes of the first checksum that is set.
    pub(super) fn raw(&self) -> Option<Vec<u8>> {
        let fields = [&self.crc32, &self.crc32c, &self.crc64nvme, &self.sha1, &self.sha256];
        let sum = fields.into_iter().flatten().next()?;
        STANDARD.decode(sum).ok()
    }

    /// Adds the number of parts to what is set, as a composite checksum is written.
    pub(super) fn composite(mut self, n_parts: usize) -> Self {
        let sums = [&mut self.crc32, &mut self.crc32c, &mut self.sha1, &mut self.sha256];
        for sum in sums.into_iter().flatten() {
            sum.push_str(&format!("-{n_parts}"));
        }
        self.is_composite = true;
        self
    }

    /// Whether this claim, in which the number of parts may be missing, is true of `sums`.
    pub(super) fn is_of_parts(&self, sums: &Self) -> bool {
        let agrees = |claimed: &Option<String>, actual: &Option<String>| {
            claimed.as_ref().is_none_or(|claimed| {
                actual.as_ref().is_some_and(|actual| {
                    actual == claimed || actual.split_once('-').is_some_and(|(digest, _)| digest == claimed)
                })
            })
        };
        agrees(&self.crc32, &sums.crc32)
            && agrees(&self.crc32c, &sums.crc32c)
            && agrees(&self.crc64nvme, &sums.crc64nvme)
            && agrees(&self.sha1, &sums.sha1)
            && agrees(&self.sha256, &sums.sha256)
    }

    fn claim(&mut self, trailers: &TrailingHeaders) {
        trailers.read(|headers| {
            let header = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
            self.crc32 = self.crc32.take().or_else(|| header("x-amz-checksum-crc32"));
            self.crc32c = self.crc32c.take().or_else(|| header("x-amz-checksum-crc32c"));
            self.crc64nvme = self.crc64nvme.take().or_else(|| header("x-amz-checksum-crc64nvme"));
            self.sha1 = self.sha1.take().or_else(|| header("x-amz-checksum-sha1"));
            self.sha256 = self.sha256.take().or_else(|| header("x-amz-checksum-sha256"));
        });
    }
}

/// A body whose claimed checksums hold.
pub(super) struct Checked {
    pub bytes: Bytes,
    /// MD5 in hexadecimal, which is the ETag.
    pub md5: String,
    pub sums: Sums,
    /// The caller sent a checksum or Content-MD5, which a put with a lock needs.
    pub was_claimed: bool,
}

/// Reads a body to its end and recomputes what the caller claimed in headers and trailers.
pub(super) async fn read(
    body: Option<StreamingBlob>,
    content_md5: Option<&str>,
    mut claimed: Sums,
    trailers: Option<&TrailingHeaders>,
) -> Result<Checked, S3Error> {
    let mut body = body.map(Body::from).unwrap_or_default();
    if let Some(size) = http_body_size(&body)
        && size > MAX_BODY
    {
        return Err(S3Error::new(S3ErrorCode::EntityTooLarge));
    }
    let bytes = body.store_all_limited(MAX_BODY).await.map_err(|_| {
        S3Error::with_message(
            S3ErrorCode::BadDigest,
            "The body is incomplete or does not match its signature.",
        )
    })?;
    if let Some(trailers) = trailers {
        claimed.claim(trailers);
    }
    let md5 = Md5::checksum(&bytes);
    if let Some(expected) = content_md5 {
        let expected = STANDARD
            .decode(expected)
            .map_err(|_| S3Error::new(S3ErrorCode::InvalidDigest))?;
        if expected != md5 {
            return Err(S3Error::with_message(
                S3ErrorCode::BadDigest,
                "The Content-MD5 you specified did not match what we received.",
            ));
        }
    }
    let was_claimed = content_md5.is_some() || !claimed.is_empty();
    let sums = if claimed.is_empty() {
        Sums::of_algorithm(None)?.over(&bytes)
    } else {
        claimed.over(&bytes)
    };
    if !claimed.is_empty() && sums != claimed {
        return Err(S3Error::with_message(
            S3ErrorCode::BadDigest,
            "The checksum you specified did not match the calculated checksum.",
        ));
    }
    Ok(Checked {
        md5: hex(&md5),
        bytes,
        sums,
        was_claimed,
    })
}

/// MD5 in hexadecimal.
pub(super) fn md5(bytes: &[u8]) -> String {
    hex(&Md5::checksum(bytes))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn http_body_size(body: &Body) -> Option<usize> {
    use s3s::stream::ByteStream;
    body.remaining_length().exact()
}
