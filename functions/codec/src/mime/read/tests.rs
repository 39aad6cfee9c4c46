//! Bombs and nonsense end in an error, in time; ordinary mail is read.

use std::time::{Duration, Instant};

use super::*;

/// A multipart message nested `n` deep.
fn nested(n: usize) -> Vec<u8> {
    let mut out = String::from("Subject: x\r\n");
    for i in 0..n {
        out.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n"
        ));
    }
    out.push_str("\r\ntext\r\n");
    for i in (0..n).rev() {
        out.push_str(&format!("--b{i}--\r\n"));
    }
    out.into_bytes()
}

/// A message with `n` parts beside each other.
fn flat(n: usize) -> Vec<u8> {
    let mut out = String::from("Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    out.push_str(&"--b\r\n\r\nx\r\n".repeat(n));
    out.push_str("--b--\r\n");
    out.into_bytes()
}

/// A message in a message, `n` times.
fn enclosed(n: usize) -> Vec<u8> {
    format!(
        "{}Subject: x\r\n\r\ntext\r\n",
        "Content-Type: message/rfc822\r\n\r\n".repeat(n)
    )
    .into_bytes()
}

#[test]
fn bombs_are_refused_in_time() {
    use ReadError::*;
    let long_header = format!("X-A: {}\r\n\r\nx", "x".repeat(MAX_HEADER));
    let many_headers = format!("{}\r\nx", "X-A: x\r\n".repeat(1_000_000));
    let inner_header = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX-A: {}\r\n\r\nx\r\n--b--\r\n",
        "x".repeat(MAX_HEADER)
    );
    let digest = format!(
        "{}x",
        "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n".repeat(10_000)
    );
    let huge_line = vec![b'x'; MAX_MESSAGE];
    for (name, message, expected) in [
        ("deep", nested(MAX_DEPTH + 1), TooDeep),
        ("very deep", nested(10_000), TooManyParts),
        ("wide", flat(MAX_PARTS), TooManyParts),
        ("very wide", flat(1_000_000), TooManyParts),
        ("enclosed", enclosed(MAX_DEPTH + 1), TooDeep),
        ("very enclosed", enclosed(10_000), TooDeep),
        ("digest", digest.into_bytes(), TooDeep),
        ("long header", long_header.into_bytes(), HeaderTooLarge),
        ("many headers", many_headers.into_bytes(), HeaderTooLarge),
        ("inner header", inner_header.into_bytes(), HeaderTooLarge),
        ("huge line", huge_line, HeaderTooLarge),
        ("huge", vec![b'\n'; MAX_MESSAGE + 1], TooLarge),
        ("empty", vec![], Malformed),
    ] {
        let start = Instant::now();
        assert_eq!(read(&message).err(), Some(expected), "{name}");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn the_limits_themselves_are_read() {
    for message in [nested(MAX_DEPTH - 1), flat(MAX_PARTS - 1), enclosed(MAX_DEPTH - 1)] {
        assert!(read(&message).is_ok());
    }
}

#[test]
fn soft_breaks_and_broken_encodings_end() {
    let head = "Content-Type: text/plain\r\nContent-Transfer-Encoding: ";
    for body in [
        format!("{head}quoted-printable\r\n\r\n{}", "=\r\n".repeat(300_000)),
        format!("{head}quoted-printable\r\n\r\n{}", "=".repeat(300_000)),
        format!("{head}base64\r\n\r\n{}", "=?*".repeat(300_000)),
        format!("Subject: {}\r\n\r\n", "=?utf-8?Q?".repeat(5_000)),
        format!("To: {}\r\n\r\n", "(".repeat(60_000)),
        format!("To: {}\r\n\r\n", "<,:;".repeat(15_000)),
    ] {
        let start = Instant::now();
        assert!(read(body.as_bytes()).is_ok());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn every_cut_of_a_nested_message_ends() {
    let whole = [
        b"From: a@b.test\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n".as_slice(),
        b"Content-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA0KDQp0ZXh0\r\n--b\r\n",
        b"Content-Type: text/html; charset=utf-16\r\nContent-Disposition: attachment; filename*0*=utf-8''%e4%00; filename=\"../x\"\r\n\r\n<p>x\r\n--b--\r\n",
    ]
    .concat();
    for n in 1..whole.len() {
        let first = read(&whole[..n]).map(|message| message.attachments.len());
        assert_eq!(first, read(&whole[..n]).map(|message| message.attachments.len()));
        let mut altered = whole.clone();
        altered[n] ^= 0x15;
        if let Ok(message) = read(&altered) {
            assert!(message.attachments.iter().all(|file| !file.filename.contains('/')));
        }
    }
    let message = read(&whole).unwrap();
    assert_eq!(message.attachments.len(), 2);
    assert_eq!(message.attachments[0].content_type, "message/rfc822");
}

#[test]
fn debug_shows_nothing() {
    let message = read(b"From: Ann <ann@b.test>\r\nSubject: secret\r\n\r\nsecret").unwrap();
    assert_eq!(format!("{message:?} {:?}", message.from), "[message] [[address]]");
    assert_eq!(message.text.as_deref(), Some("secret"));
}

proptest::proptest! {
    #[test]
    fn any_octets_end(lines in proptest::collection::vec("(Content-Type: (multipart/mixed; boundary=b|message/rfc822|text/html)|--b(--)?|Subject: |=\\?utf-8\\?Q\\?=|\\PC{0,20}|)\r?\n", 0..30)) {
        if let Ok(message) = read(lines.concat().as_bytes()) {
            assert!(message.attachments.len() <= MAX_PARTS);
            if let Some(html) = message.html {
                assert!(!crate::html::sanitise(&html).contains("<script"));
            }
        }
    }
}

#[test]
fn a_file_of_text_keeps_its_octets() {
    let octets: Vec<u8> = (0..=255).collect();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &octets);
    for (kind, encoding, body, expected) in [
        (
            "text/csv; charset=iso-8859-1",
            "base64",
            encoded.clone(),
            octets.clone(),
        ),
        ("text/plain; charset=utf-8", "base64", encoded.clone(), octets.clone()),
        ("text/html", "base64", encoded, octets),
        (
            "text/plain",
            "quoted-printable",
            "=FF=00=E4 x".to_owned(),
            b"\xff\0\xe4 x".to_vec(),
        ),
        ("text/plain", "7bit", "plain".to_owned(), b"plain".to_vec()),
    ] {
        let message = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: {kind}\r\n\
             Content-Disposition: attachment\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n--b--\r\n"
        );
        let read = read(message.as_bytes()).unwrap();
        assert_eq!(read.attachments[0].content, expected, "{kind} {encoding}");
    }
}

#[test]
fn no_field_has_a_line_end_in_its_name_or_value() {
    let read = read(b"X-A: a\r\n b\r\nT\nX-B\r9: b\r\n\r\nx").unwrap();
    for (name, value) in &read.headers {
        assert!(
            !name.contains(['\r', '\n']) && !value.contains(['\r', '\n']),
            "{name:?}"
        );
    }
    assert_eq!(read.headers[0], ("X-A".to_owned(), "a b".to_owned()));
}
