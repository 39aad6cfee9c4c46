//! Messages: written from parts, sealed outsides, signed entities, and read back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealpost_codec::address::{Mailbox, check_name};
use sealpost_codec::html;
use sealpost_codec::mime::{self, Attachment, Content, Envelope, ReadAddress, ReadMessage, SmimeType};

use crate::NOW_S;
use crate::field::{Fields, choice};

/// Names, values and types that a sender chooses: what is taken stays what it is when it is asked again.
pub(crate) fn field(data: &[u8]) {
    let mut fields = Fields::new(data);
    let (name, value) = (fields.text(), fields.text());
    if mime::check_header(&name, &value).is_ok() {
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
        assert!(!value.contains(char::is_control) && !value.trim().is_empty());
        assert!(!["from", "to", "cc", "bcc", "subject", "date", "received"].contains(&&*name.to_ascii_lowercase()));
    }
    if let Ok(name) = mime::file_name(&value) {
        assert!(!name.contains(['/', '\\', '"', '\0', '\r', '\n']) && name != "." && name != "..");
        assert_eq!(mime::file_name(&name).as_deref(), Ok(&*name));
    }
    if let Ok((essence, charset)) = mime::content_type(&value) {
        assert!(!essence.starts_with("multipart/") && !essence.starts_with("message/"));
        let again = charset.map_or(essence.clone(), |charset| format!("{essence}; charset={charset}"));
        assert!(mime::content_type(&again).is_ok_and(|(same, _)| same == essence));
    }
    if let Ok(id) = mime::content_id(&value) {
        assert_eq!(mime::content_id(id), Ok(id));
    }
    assert!(check_name(&value).is_err() || !value.contains("=?"));
}

/// What is written reads back as what was to be written, and is the same when it is written again.
pub(crate) fn message(data: &[u8]) {
    let content = content(data);
    let Ok(written) = mime::message(&content) else {
        return;
    };
    assert_eq!(mime::message(&content).as_ref(), Ok(&written));
    assert_portable(&written);
    let read = mime::read(&written).expect("what was written is read");
    assert_same(&content, &read);
    assert_fields(&content, &read, false);
}

/// The same of what goes inside an encrypted message, with the real header in it.
pub(crate) fn protected(data: &[u8]) {
    let content = content(data);
    let Ok(written) = mime::protected(&content) else {
        return;
    };
    assert!(mime::message(&content).is_ok());
    assert_portable(&written);
    let read = mime::read(&written).expect("what was written is read");
    assert_same_header(&content, &read);
    assert_fields(&content, &read, true);
    let subject = plain(&content.subject);
    assert!(
        plain(read.text.as_deref().unwrap_or_default())
            .starts_with(&format!("Subject: {subject}").trim_end().to_owned())
    );
}

/// The outside of an encrypted message shows nothing of it, and carries the sealed octets unchanged.
pub(crate) fn outer(data: &[u8]) {
    let content = content(data);
    let envelope = content.outer();
    for (smime_type, name) in [
        (SmimeType::EnvelopedData, "enveloped-data"),
        (SmimeType::AuthEnvelopedData, "authEnveloped-data"),
    ] {
        let Ok(written) = mime::encrypted_smime(&envelope, data, smime_type) else {
            continue;
        };
        let read = assert_outside(&content, &envelope, &written);
        assert_eq!(read.attachments.len(), 1);
        assert_eq!(read.attachments[0].content, data);
        let kind = read
            .headers
            .iter()
            .find(|(field, _)| field == "Content-Type")
            .expect("it has a type");
        assert!(kind.1.contains(name) && read.attachments[0].content_type == "application/pkcs7-mime");
    }
    let armored = format!(
        "-----BEGIN PGP MESSAGE-----\n\n{}\n-----END PGP MESSAGE-----\n",
        String::from_utf8_lossy(data)
    );
    if let Ok(written) = mime::encrypted_openpgp(&envelope, &armored) {
        let read = assert_outside(&content, &envelope, &written);
        let data = read.attachments.last().expect("the sealed part");
        assert_eq!(read.attachments.len(), 2);
        let lines = |text: &str| {
            text.trim()
                .lines()
                .map(|line| line.trim_end().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(&String::from_utf8_lossy(&data.content)), lines(&armored));
    }
}

/// A signed entity is carried octet by octet, between boundaries that it does not hold.
pub(crate) fn signed(data: &[u8]) {
    let mut fields = Fields::new(data);
    let signature = fields.bytes();
    let entity = fields.rest();
    let Ok(written) = mime::signed(entity, signature) else {
        return;
    };
    assert_portable(entity);
    let at = find(&written, b"boundary=\"").expect("it has a boundary") + b"boundary=\"".len();
    let boundary = &written[at..];
    let boundary = &boundary[..find(boundary, b"\"").expect("it ends")];
    let line = [b"\r\n--", boundary].concat();
    let start = find(&written, &line).expect("the first part") + line.len() + 2;
    let end = start + find(&written[start..], &line).expect("the second part");
    assert_eq!(&written[start..end], entity);
    assert_eq!(find(entity, boundary), None);
    let tail = std::str::from_utf8(&written[end + line.len()..]).expect("it is ASCII");
    let (_, encoded) = tail.split_once("\r\n\r\n").expect("it has a body");
    let encoded: String = encoded
        .split("\r\n--")
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(STANDARD.decode(encoded).as_deref(), Ok(signature));
}

/// Anything is read within its bounds, and what it shows is safe.
pub(crate) fn read(data: &[u8]) {
    let Ok(read) = mime::read(data) else {
        return;
    };
    assert!(read.attachments.len() <= 1_000);
    let n_octets: usize = read.attachments.iter().map(|file| file.content.len()).sum();
    assert!(n_octets <= 4 * data.len() + 64, "{n_octets} octets from {}", data.len());
    for file in &read.attachments {
        assert_eq!(mime::file_name(&file.filename).as_deref(), Ok(&*file.filename));
    }
    for (name, value) in &read.headers {
        assert!(!name.contains(['\r', '\n']) && !value.contains(['\r', '\n']));
    }
    if let Some(html) = &read.html {
        assert!(!html::sanitise(html).to_ascii_lowercase().contains("<script"));
    }
}

/// The parts of a message, as a caller could have given them; parts that no caller can give are replaced.
pub(crate) fn content(data: &[u8]) -> Content {
    let (flags, data) = choice(data);
    let has = |bit: u8| flags & (1 << bit) != 0;
    let mut fields = Fields::new(data);
    let from = Mailbox::parse(&fields.text()).ok();
    let [to, cc, reply_to] = [fields.mailboxes(), fields.mailboxes(), fields.mailboxes()];
    let (subject, text, html) = (fields.text(), fields.text(), fields.text());
    let (name, value) = (fields.text().into_owned(), fields.text().into_owned());
    let (filename, content_type, content_id) = (fields.text(), fields.text(), fields.text());
    let attachment = Attachment {
        filename: filename.into_owned(),
        content_type: content_type.into_owned(),
        content_id: has(4).then(|| content_id.into_owned()),
        content: fields.rest().to_vec(),
    };
    Content {
        from: from.unwrap_or_else(|| Mailbox::parse("Clinic <care@clinic.test>").expect("it is one")),
        to,
        cc,
        reply_to,
        subject: subject.into_owned(),
        text: has(0).then(|| text.into_owned()),
        html: has(1).then(|| html.into_owned()),
        headers: if has(2) { vec![(name, value)] } else { Vec::new() },
        attachments: if has(3) { vec![attachment] } else { Vec::new() },
        message_id: "fuzz@clinic.test".to_owned(),
        date: NOW_S,
    }
}

fn assert_same(content: &Content, read: &ReadMessage) {
    assert_same_header(content, read);
    let lines = |text: &str| {
        text.replace("\r\n", "\n")
            .replace('\r', "\n")
            .trim_end_matches('\n')
            .to_owned()
    };
    if let Some(text) = &content.text {
        assert_eq!(lines(read.text.as_deref().unwrap_or_default()), lines(text));
    }
    if let Some(html) = &content.html {
        assert_eq!(lines(read.html.as_deref().unwrap_or_default()), lines(html));
    }
}

fn assert_same_header(content: &Content, read: &ReadMessage) {
    let asked = |list: &[Mailbox]| -> Vec<(String, String)> {
        let one = |one: &Mailbox| {
            (
                plain(one.name.as_deref().unwrap_or_default()),
                one.address.as_str().to_owned(),
            )
        };
        list.iter().map(one).collect()
    };
    let found = |list: &[ReadAddress]| -> Vec<(String, String)> {
        let one = |one: &ReadAddress| (plain(one.name.as_deref().unwrap_or_default()), one.address.clone());
        list.iter().map(one).collect()
    };
    assert_eq!(found(&read.from), asked(std::slice::from_ref(&content.from)));
    assert_eq!(found(&read.to), asked(&content.to));
    assert_eq!(found(&read.cc), asked(&content.cc));
    assert_eq!(found(&read.reply_to), asked(&content.reply_to));
    assert_eq!(
        plain(read.subject.as_deref().unwrap_or_default()),
        plain(&content.subject)
    );
    assert_eq!(read.date, Some(content.date));
    assert_eq!(read.attachments.len(), content.attachments.len());
    for (found, asked) in read.attachments.iter().zip(&content.attachments) {
        assert_eq!(found.content, asked.content);
        assert_eq!(
            Ok(plain(&found.filename)),
            mime::file_name(&asked.filename).map(|name| plain(&name))
        );
        let essence = mime::content_type(&asked.content_type).map(|(essence, _)| essence);
        assert_eq!(Ok(&found.content_type), essence.as_ref());
        if let Some(id) = &asked.content_id {
            assert_eq!(found.content_id.as_deref(), mime::content_id(id).ok());
        }
    }
}

/// No field but the planned ones, and the sender's own with its value.
fn assert_fields(content: &Content, read: &ReadMessage, is_protected: bool) {
    let count = |name: &str| {
        read.headers
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .count()
    };
    assert_eq!(count("bcc"), 0);
    let n_lists = [&content.to, &content.cc, &content.reply_to]
        .into_iter()
        .filter(|list| !list.is_empty())
        .count();
    let n_own = 4 + n_lists + content.headers.len();
    let is_ours = |name: &str| {
        let name = name.to_ascii_lowercase();
        name != "mime-version" && !name.starts_with("content-") && name != "hp-outer"
    };
    assert_eq!(read.headers.iter().filter(|(name, _)| is_ours(name)).count(), n_own);
    let outer = content.outer();
    let n_outer = 4 + n_lists + outer.headers.len();
    assert_eq!(count("hp-outer"), if is_protected { n_outer } else { 0 });
    for (name, value) in &content.headers {
        assert_eq!(count(name), 1);
        let (_, found) = read
            .headers
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .expect("it is there");
        if value.is_ascii() && !value.contains("=?") {
            assert_eq!(plain(found), plain(value));
        }
    }
}

fn assert_outside(content: &Content, envelope: &Envelope, written: &[u8]) -> ReadMessage {
    assert_portable(written);
    let read = mime::read(written).expect("what was written is read");
    assert_eq!(read.subject.as_deref(), Some("[...]"));
    let n_names = read.to.iter().chain(&read.cc).filter(|one| one.name.is_some()).count();
    assert_eq!(n_names, 0);
    assert_eq!((read.to.len(), read.cc.len()), (content.to.len(), content.cc.len()));
    for (name, _) in &content.headers {
        let is_outside = envelope.headers.iter().any(|(other, _)| other == name);
        // The parser gives names that it knows in their usual spelling.
        let is_found = read.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        assert_eq!(is_found, is_outside);
    }
    read
}

/// ASCII in lines of 998 at most that end with CRLF, and no CR or LF of its own.
fn assert_portable(octets: &[u8]) {
    let text = std::str::from_utf8(octets).expect("it is ASCII");
    assert!(text.is_ascii() && !text.contains('\0'));
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert!(
        lines
            .iter()
            .all(|line| line.len() <= 998 && !line.contains(['\r', '\n']))
    );
}

/// With every run of white space as one space, since a folded header may come back with another.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets.windows(wanted.len().max(1)).position(|window| window == wanted)
}
