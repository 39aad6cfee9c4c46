//! Attachments as they come: a name, base64 or bytes, a media type that the name says where nobody else does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealpost_codec::mime::{self, Attachment};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::{MAX_MESSAGE, schema};
use crate::error::Fault;
use crate::json::OURS;

/// A file.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AttachmentRequest {
    #[schema(min_length = 1, example = "results.pdf")]
    filename: String,
    /// Base64 (RFC 4648 section 4), or an array of byte values, or Node's JSON of a `Buffer`.
    #[schema(schema_with = schema::text_or_bytes)]
    content: AttachmentBytes,
    /// What its name says by default.
    #[serde(default)]
    #[schema(min_length = 3, example = "application/pdf")]
    content_type: Option<String>,
    /// How the HTML names it, after `cid:`.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 130, example = "logo")]
    content_id: Option<String>,
}

/// The bytes of an attachment: base64 text, or the list of numbers that some SDKs send.
struct AttachmentBytes(Vec<u8>);

impl<'de> Deserialize<'de> for AttachmentBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, deny_unknown_fields)]
        enum Form {
            Text(String),
            Numbers(Vec<u8>),
            Buffer {
                #[serde(rename = "type")]
                _kind: BufferKind,
                data: Vec<u8>,
            },
        }
        #[derive(Deserialize)]
        enum BufferKind {
            Buffer,
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => {
                let bytes = STANDARD.decode(text.as_bytes());
                Ok(Self(bytes.map_err(|_| {
                    D::Error::custom(format!("{OURS}This is not valid base64 (RFC 4648 section 4)."))
                })?))
            }
            Form::Numbers(bytes) | Form::Buffer { data: bytes, .. } => Ok(Self(bytes)),
        }
    }
}

/// Checks every file, and all of them together.
pub(super) fn checked(requests: Vec<AttachmentRequest>, faults: &mut Vec<Fault>) -> Vec<Attachment> {
    let mut attachments = Vec::with_capacity(requests.len());
    for (n, request) in requests.into_iter().enumerate() {
        let content_type = request
            .content_type
            .unwrap_or_else(|| content_type_of(&request.filename).to_owned());
        let mut fault = |field: &str, error: mime::MimeError| {
            faults.push(Fault::new(format!("/attachments/{n}/{field}"), error.to_string()));
        };
        if let Err(error) = mime::file_name(&request.filename) {
            fault("filename", error);
        }
        if let Err(error) = mime::content_type(&content_type) {
            fault("content_type", error);
        }
        if let Some(Err(error)) = request.content_id.as_deref().map(mime::content_id) {
            fault("content_id", error);
        }
        attachments.push(Attachment {
            filename: request.filename,
            content_type,
            content_id: request.content_id,
            content: request.content.0,
        });
    }
    let total: usize = attachments.iter().map(|attachment| attachment.content.len()).sum();
    if total > MAX_MESSAGE {
        faults.push(Fault::new("/attachments", "The attachments are larger than 40 MB."));
    }
    attachments
}

/// The media type of a file by the ending of its name, for requests that name none.
fn content_type_of(filename: &str) -> &'static str {
    let ending = filename.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("txt" | "log") => "text/plain",
        Some("csv") => "text/csv",
        Some("ics") => "text/calendar",
        Some("xml") => "application/xml",
        Some("json") => "application/json",
        Some("zip") => "application/zip",
        Some("doc") => "application/msword",
        Some("docx") => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        Some("xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        _ => "application/octet-stream",
    }
}
