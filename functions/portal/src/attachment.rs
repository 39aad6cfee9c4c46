//! Files of a message, as downloads that no browser shows in place.

use std::fmt::Write;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use sealpost_codec::mime::ReadAttachment;

/// Types that no browser runs as a page of this origin; any other is sent as octets.
const HARMLESS: [&str; 19] = [
    "application/gzip",
    "application/msword",
    "application/pdf",
    "application/rtf",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/zip",
    "audio/mpeg",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "image/webp",
    "text/calendar",
    "text/csv",
    "video/mp4",
];
const OCTETS: &str = "application/octet-stream";

/// A file as an answer.
pub(crate) fn download(file: ReadAttachment) -> Response {
    let kind = if HARMLESS.contains(&file.content_type.as_str()) {
        file.content_type.as_str()
    } else {
        OCTETS
    };
    let kind = HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static(OCTETS));
    let disposition = HeaderValue::try_from(disposition(&file.filename));
    let disposition = disposition.unwrap_or(HeaderValue::from_static("attachment"));
    let mut response = Response::new(Body::from(file.content));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    response
}

/// `Content-Disposition` with the name twice: in ASCII for old readers, and whole (RFC 6266 section 4.3, RFC 8187).
pub(crate) fn disposition(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_graphic() && !"\"\\%;/".contains(c) || c == ' ' {
            c
        } else {
            '_'
        }
    };
    let ascii: String = name.chars().map(plain).collect();
    let mut whole = String::new();
    for byte in name.bytes() {
        // attr-char of RFC 8187 section 3.2.1.
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            whole.push(char::from(byte));
        } else if write!(whole, "%{byte:02X}").is_err() {
            break;
        }
    }
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{whole}")
}

/// A size for people: `812 B`, `14 KB`, `2.3 MB`.
pub(crate) fn size(n_bytes: usize) -> String {
    const KB: usize = 1024;
    const MB: usize = KB * KB;
    match n_bytes {
        0..KB => format!("{n_bytes} B"),
        KB..MB => format!("{} KB", n_bytes.div_ceil(KB)),
        _ => format!("{}.{} MB", n_bytes / MB, n_bytes % MB * 10 / MB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(filename: &str, content_type: &str) -> ReadAttachment {
        ReadAttachment {
            filename: filename.to_owned(),
            content_type: content_type.to_owned(),
            content_id: None,
            content: b"<script>alert(1)</script>".to_vec(),
        }
    }

    #[test]
    fn nothing_that_a_browser_runs_keeps_its_type() {
        for kind in [
            "text/html",
            "image/svg+xml",
            "application/xml",
            "text/xml",
            "application/xhtml+xml",
            "x\r\ny/z",
        ] {
            let response = download(file("page.html", kind));
            assert_eq!(response.headers()[header::CONTENT_TYPE], OCTETS, "{kind}");
            let disposition = response.headers()[header::CONTENT_DISPOSITION].to_str().unwrap();
            assert!(
                disposition.starts_with("attachment; filename=\"page.html\""),
                "{disposition}"
            );
        }
        assert_eq!(
            download(file("a.pdf", "application/pdf")).headers()[header::CONTENT_TYPE],
            "application/pdf"
        );
    }

    #[test]
    fn names_go_whole_and_break_no_header() {
        let cases = [
            (
                "report.pdf",
                "attachment; filename=\"report.pdf\"; filename*=UTF-8''report.pdf",
            ),
            (
                "análisis de sangre.pdf",
                "attachment; filename=\"an_lisis de sangre.pdf\"; filename*=UTF-8''an%C3%A1lisis%20de%20sangre.pdf",
            ),
            (
                "a\"b\\c;d%41.txt",
                "attachment; filename=\"a_b_c_d_41.txt\"; filename*=UTF-8''a%22b%5Cc%3Bd%2541.txt",
            ),
            (
                "x\r\nSet-Cookie: a=b",
                "attachment; filename=\"x__Set-Cookie: a=b\"; filename*=UTF-8''x%0D%0ASet-Cookie%3A%20a%3Db",
            ),
            (
                "血液.pdf",
                "attachment; filename=\"__.pdf\"; filename*=UTF-8''%E8%A1%80%E6%B6%B2.pdf",
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(disposition(name), expected);
            assert!(HeaderValue::try_from(disposition(name)).is_ok());
        }
    }

    #[test]
    fn sizes_read_well() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KB"),
            (1025, "2 KB"),
            (2_411_725, "2.3 MB"),
        ];
        for (n_bytes, expected) in cases {
            assert_eq!(size(n_bytes), expected);
        }
    }
}
