//! The HTML of a message, safe to show in the sandboxed frame.
//!
//! The codec takes out what runs, loads or covers; here the pictures that came with the message take the place of their
//! `cid:` names, as `data:` URLs, so that the frame loads nothing at all. What a picture is, its first octets say, not
//! what the sender claims. A name that leads to no picture leaves only the alternative text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealpost_codec::html;
use sealpost_codec::mime::ReadAttachment;

/// Sanitises `html` and puts the pictures in.
pub(crate) fn with_pictures(html: &str, files: &[ReadAttachment]) -> String {
    replace_names(&html::sanitise(html), |name| {
        let (_, file, kind) = picture(name, files)?;
        Some(format!("data:{kind};base64,{}", STANDARD.encode(&file.content)))
    })
}

/// The places of the files that [`with_pictures`] shows, which need not be listed once more.
pub(crate) fn shown(html: &str, files: &[ReadAttachment]) -> Vec<usize> {
    let mut places = Vec::new();
    replace_names(&html::sanitise(html), |name| {
        places.extend(picture(name, files).map(|(place, ..)| place));
        None
    });
    places
}

fn picture<'f>(name: &str, files: &'f [ReadAttachment]) -> Option<(usize, &'f ReadAttachment, &'static str)> {
    let name = unescape(name);
    let has_name = |file: &ReadAttachment| file.content_id.as_deref().is_some_and(|id| id == name);
    let (place, file) = files.iter().enumerate().find(|(_, file)| has_name(file))?;
    Some((place, file, kind(&file.content)?))
}

/// PNG (ISO/IEC 15948 section 5.2), JPEG (ITU-T T.81 annex B), GIF87a and GIF89a, WebP (RFC 9649 section 2.4).
fn kind(content: &[u8]) -> Option<&'static str> {
    match content {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// Replaces `src="cid:…"` inside of tags by what `replacement` makes of the name, or takes it out. Stands on the form that
/// the sanitiser writes: no bare `<` in text, every value in double quotes, no double quote in a value.
fn replace_names(html: &str, mut replacement: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, from_tag)) = rest.split_once('<') {
        out.push_str(before);
        out.push('<');
        rest = from_tag;
        loop {
            let is_end = |c| matches!(c, '"' | '>');
            let Some((outside, from_end)) = rest.find(is_end).and_then(|at| rest.split_at_checked(at)) else {
                break;
            };
            if let Some(after) = from_end.strip_prefix('>') {
                out.push_str(outside);
                out.push('>');
                rest = after;
                break;
            }
            let Some((value, after)) = from_end.get(1..).and_then(|from| from.split_once('"')) else {
                break;
            };
            rest = after;
            match (outside.strip_suffix(" src="), cid(value)) {
                (Some(others), Some(name)) => {
                    out.push_str(others);
                    if let Some(source) = replacement(name) {
                        out.push_str(" src=\"");
                        out.push_str(&source);
                        out.push('"');
                    }
                }
                _ => {
                    out.push_str(outside);
                    out.push('"');
                    out.push_str(value);
                    out.push('"');
                }
            }
        }
    }
    out.push_str(rest);
    out
}

fn cid(value: &str) -> Option<&str> {
    let (scheme, name) = value.split_once(':')?;
    scheme.eq_ignore_ascii_case("cid").then_some(name)
}

/// Undoes the escapes of the attribute and of the URL (RFC 2392 section 2).
fn unescape(name: &str) -> String {
    let name = name
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let mut octets = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = if first == b'%' {
            after.get(..2).and_then(|digits| str::from_utf8(digits).ok())
        } else {
            None
        };
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) => {
                octets.push(octet);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                octets.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    fn file(content_id: Option<&str>, content_type: &str, content: &[u8]) -> ReadAttachment {
        ReadAttachment {
            filename: "f".to_owned(),
            content_type: content_type.to_owned(),
            content_id: content_id.map(str::to_owned),
            content: content.to_vec(),
        }
    }

    #[test]
    fn pictures_of_the_message_are_shown_and_nothing_else() {
        let files = [
            file(None, "application/pdf", b"%PDF"),
            file(Some("logo@clinic.test"), "application/octet-stream", PNG),
            file(Some("drawing"), "image/png", b"<svg onload=alert(1)>"),
        ];
        let cases = [
            (
                r#"<p>a<img alt="Logo" src="cid:logo@clinic.test" width="20">b</p>"#,
                r#"<p>a<img alt="Logo" src="data:image/png;base64,iVBORw0KGgpyZXN0" width="20">b</p>"#,
            ),
            (
                r#"<img src="CID:logo%40clinic.test">"#,
                r#"<img src="data:image/png;base64,iVBORw0KGgpyZXN0">"#,
            ),
            (r#"<img src="cid:drawing" alt="x">"#, r#"<img alt="x">"#),
            (r#"<img src="cid:unknown" alt="x">"#, r#"<img alt="x">"#),
            (r#"<img src="https://evil.test/a.png" alt="x">"#, r#"<img alt="x">"#),
            (
                r#"the text src="cid:logo@clinic.test" stays"#,
                r#"the text src="cid:logo@clinic.test" stays"#,
            ),
        ];
        for (html, expected) in cases {
            assert_eq!(with_pictures(html, &files), expected, "{html}");
        }
        let value = with_pictures(r#"<img title='> src="cid:logo@clinic.test"' alt="x">"#, &files);
        assert!(!value.contains("data:"), "{value}");
        assert_eq!(
            shown(r#"<img src="cid:logo@clinic.test"><img src="cid:drawing">"#, &files),
            [1]
        );
    }

    #[test]
    fn nothing_runs_in_what_is_made() {
        let html = r#"<script>parent.ran=1</script><img src=x onerror="ran=1"><a href="javascript:ran=1">a</a>
            <iframe src="https://evil.test"></iframe><form action="https://evil.test"><input></form><svg onload=ran=1>"#;
        let made = with_pictures(html, &[]);
        for word in ["script", "onerror", "onload", "iframe", "form", "svg", "evil"] {
            assert!(!made.contains(word), "{word} in {made}");
        }
    }
}
