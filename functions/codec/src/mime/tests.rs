//! Shapes, octets carried unchanged, and hostile values in every field.

use mail_parser::{MessageParser, MimeHeaders};

use super::*;

/// 2026-11-24T12:00:00Z.
const NOW: i64 = 1_795_521_600;

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn content() -> Content {
    Content {
        from: mailbox("\"Clinic, Labs\" <labs@clinic.test>"),
        reply_to: vec![],
        to: vec![mailbox("Ann Lee <ann@patient.test>")],
        cc: vec![],
        subject: "Your results".to_owned(),
        text: Some("Hello Ann\n".to_owned()),
        html: None,
        attachments: vec![],
        headers: vec![],
        message_id: "em_1@clinic.test".to_owned(),
        date: NOW,
    }
}

fn attachment(filename: &str, content_type: &str, content: &[u8]) -> Attachment {
    Attachment {
        filename: filename.to_owned(),
        content_type: content_type.to_owned(),
        content_id: None,
        content: content.to_vec(),
    }
}

fn utf8(octets: Vec<u8>) -> String {
    String::from_utf8(octets).unwrap()
}

/// The content types of all parts, in order, as mail-parser reads them.
fn shape(message: &[u8]) -> Vec<String> {
    let parsed = MessageParser::default().parse(message).unwrap();
    let kind = |part: &mail_parser::MessagePart<'_>| {
        let kind = part.content_type().unwrap();
        format!("{}/{}", kind.ctype(), kind.subtype().unwrap())
    };
    parsed.parts.iter().map(kind).collect()
}

#[test]
fn a_plain_message_is_written_as_planned() {
    let text = utf8(message(&content()).unwrap());
    assert_eq!(
        text,
        "From: \"Clinic, Labs\" <labs@clinic.test>\r\n\
         To: \"Ann Lee\" <ann@patient.test>\r\n\
         Subject: Your results\r\n\
         Date: Tue, 24 Nov 2026 12:00:00 +0000\r\n\
         Message-ID: <em_1@clinic.test>\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=\"utf-8\"\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\
         \r\n\
         Hello Ann\r\n"
    );
}

#[test]
fn parts_nest_only_as_needed() {
    let html = Some("<p>Hello <img src=\"cid:logo\"></p>".to_owned());
    let file = attachment("a.pdf", "application/pdf", b"%PDF");
    let picture = Attachment {
        content_id: Some("<logo>".to_owned()),
        ..attachment("l.png", "image/png", b"PNG")
    };
    for (html, attachments, expected) in [
        (None, vec![], vec!["text/plain"]),
        (
            html.clone(),
            vec![],
            vec!["multipart/alternative", "text/plain", "text/html"],
        ),
        (
            None,
            vec![file.clone()],
            vec!["multipart/mixed", "text/plain", "application/pdf"],
        ),
        (
            None,
            vec![picture.clone()],
            vec!["multipart/mixed", "text/plain", "image/png"],
        ),
        (
            html.clone(),
            vec![file.clone(), picture.clone()],
            vec![
                "multipart/mixed",
                "multipart/related",
                "multipart/alternative",
                "text/plain",
                "text/html",
                "image/png",
                "application/pdf",
            ],
        ),
    ] {
        let content = Content {
            html,
            attachments,
            ..content()
        };
        assert_eq!(shape(&message(&content).unwrap()), expected);
        assert_eq!(message(&content).unwrap(), message(&content).unwrap());
    }
}

#[test]
fn what_was_written_reads_back() {
    let content = Content {
        reply_to: vec![mailbox("front@clinic.test"), mailbox("Back <back@clinic.test>")],
        cc: vec![mailbox("Bo Ö <bo@patient.test>")],
        subject: format!("Größe {} ende", "lang ".repeat(40)),
        text: None,
        html: Some("<h1>Grüße</h1><p>Dein <a href=\"https://clinic.test/\">Befund</a></p>".to_owned()),
        attachments: vec![
            attachment("Befund Müller (1).pdf", "application/PDF", &[0, 255, 13, 10, 61]),
            attachment("x.csv", "text/csv; charset=UTF-8", b"a,b\nc,d\r\n"),
        ],
        headers: vec![
            ("X-Entity-Ref-ID".to_owned(), "77".to_owned()),
            (
                "List-Unsubscribe".to_owned(),
                format!("<https://clinic.test/{}>, <mailto:u@clinic.test>", "u".repeat(300)),
            ),
        ],
        ..content()
    };
    let written = message(&content).unwrap();
    let back = read(&written).unwrap();
    assert_eq!(back.subject.as_deref(), Some(content.subject.as_str()));
    assert_eq!(back.html, content.html);
    assert!(back.text.unwrap().contains("# Grüße"));
    assert_eq!(back.date, Some(NOW));
    assert_eq!(back.message_id.as_deref(), Some("em_1@clinic.test"));
    assert_eq!(back.from[0].name.as_deref(), Some("Clinic, Labs"));
    assert_eq!(back.cc[0].name.as_deref(), Some("Bo Ö"));
    assert_eq!((back.to.len(), back.reply_to.len()), (1, 2));
    for (read, sent) in back.attachments.iter().zip(&content.attachments) {
        assert_eq!(read.content, sent.content);
        assert_eq!(read.filename, sent.filename);
    }
    assert_eq!(back.attachments[0].content_type, "application/pdf");
    for field in &content.headers {
        assert!(back.headers.contains(field), "{field:?} not in {:?}", back.headers);
    }
    assert!(written.split(|&b| b == b'\n').all(|line| line.len() <= 400));
}

#[test]
fn text_survives_its_encoding() {
    let long = "x".repeat(5000);
    for text in [
        "",
        "\n",
        "a",
        "From here\n.\n..\nFrom there",
        "trailing \t \n tab\t\nend ",
        "=3D =\n= ",
        "bare\rreturn\r\nboth\nlf",
        "\u{0}\u{1}\u{7f}",
        "ünïcödé",
        "全部都是中文字符，没有别的内容。",
        long.as_str(),
        "--=_00\n--\n-- \nBcc: x@evil.test\n\n",
        "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w",
        "ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö.ö. aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        // Inside a multipart nothing is added at the end, so the text must come back exactly, with CRLF.
        let content = Content {
            text: Some(text.to_owned()),
            attachments: vec![attachment("a", "image/png", b"x")],
            ..content()
        };
        let written = message(&content).unwrap();
        let parsed = MessageParser::default().parse(&written).unwrap();
        let expected = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
        assert_eq!(parsed.body_text(0).unwrap_or_default(), expected, "{text:?}");
        let body = utf8(written);
        for line in body.split("\r\n") {
            assert!(
                line.len() <= 78 && !line.starts_with("From ") && !line.starts_with('.'),
                "{line}"
            );
        }
    }
}

#[test]
fn recipients_and_words_stay_inside_an_encrypted_message() {
    let content = Content {
        subject: "HIV test".to_owned(),
        html: Some("<html><body class=x><p>Hello</p></body></html>".to_owned()),
        headers: vec![
            ("X-Patient".to_owned(), "p-17".to_owned()),
            ("Feedback-ID".to_owned(), "ten_1".to_owned()),
        ],
        ..content()
    };
    let inner = utf8(protected(&content).unwrap());
    let (header, _) = inner.split_once("\r\n\r\n").unwrap();
    let header = header.replace("\r\n ", " ");
    assert!(header.starts_with("Content-Type: multipart/alternative;"), "{header}");
    for line in [
        "From: \"Clinic, Labs\" <labs@clinic.test>",
        "To: \"Ann Lee\" <ann@patient.test>",
        "Subject: HIV test",
        "Date: Tue, 24 Nov 2026 12:00:00 +0000",
        "Message-ID: <em_1@clinic.test>",
        "X-Patient: p-17",
        "Feedback-ID: ten_1",
        "HP-Outer: From: \"Clinic, Labs\" <labs@clinic.test>",
        "HP-Outer: To: <ann@patient.test>",
        "HP-Outer: Subject: [...]",
        "HP-Outer: Date: Tue, 24 Nov 2026 12:00:00 +0000",
        "HP-Outer: Message-ID: <em_1@clinic.test>",
        "HP-Outer: Feedback-ID: ten_1",
    ] {
        assert!(header.lines().any(|found| found == line), "{line} not in\n{header}");
    }
    assert!(header.contains("hp=\"cipher\""), "{header}");
    assert_eq!(header.matches("HP-Outer").count(), 6);
    let back = read(inner.as_bytes()).unwrap();
    assert!(back.text.unwrap().starts_with("Subject: HIV test\r\n\r\nHello Ann"));
    let html = back.html.unwrap();
    assert!(html.contains(
        "<body class=x><div class=\"header-protection-legacy-display\"><pre>Subject: HIV test</pre></div><p>"
    ));
    assert_eq!(inner.matches("hp-legacy-display=\"1\"").count(), 2);

    let outer = content.outer();
    let pgp = "-----BEGIN PGP MESSAGE-----\n\nwV4D\n=abcd\n-----END PGP MESSAGE-----\n";
    for message in [
        encrypted_openpgp(&outer, pgp).unwrap(),
        encrypted_smime(&outer, b"\x30\x80der", SmimeType::AuthEnvelopedData).unwrap(),
    ] {
        let text = utf8(message);
        assert!(
            text.contains("\r\nSubject: [...]\r\n") && text.contains("Feedback-ID"),
            "{text}"
        );
        for word in ["HIV", "p-17", "X-Patient", "Ann Lee", "Bcc", "Hello"] {
            assert!(!text.contains(word), "{word} in\n{text}");
        }
    }
}

#[test]
fn openpgp_messages_have_the_shape_of_rfc_3156() {
    let pgp = "-----BEGIN PGP MESSAGE-----\n\nwV4D\n=abcd\n-----END PGP MESSAGE-----\n";
    let text = utf8(encrypted_openpgp(&content().outer(), pgp).unwrap());
    assert_eq!(
        shape(text.as_bytes()),
        [
            "multipart/encrypted",
            "application/pgp-encrypted",
            "application/octet-stream"
        ]
    );
    assert!(text.contains("protocol=\"application/pgp-encrypted\""));
    assert!(text.contains("\r\n\r\nVersion: 1\r\n"));
    assert!(text.contains(&pgp.replace('\n', "\r\n")));
    assert!(text.contains("filename=\"encrypted.asc\""));
    for bad in [
        "",
        "x",
        "-----BEGIN PGP MESSAGE-----",
        "-----BEGIN PGP MESSAGE-----\nä\n-----END PGP MESSAGE-----",
    ] {
        assert_eq!(
            encrypted_openpgp(&content().outer(), bad).err(),
            Some(MimeError::Armour)
        );
    }
}

#[test]
fn smime_messages_have_the_shape_of_rfc_8551() {
    let der: Vec<u8> = (0..=255).collect();
    for (kind, name) in [
        (SmimeType::EnvelopedData, "enveloped-data"),
        (SmimeType::AuthEnvelopedData, "authEnveloped-data"),
    ] {
        let written = encrypted_smime(&content().outer(), &der, kind).unwrap();
        assert_eq!(shape(&written), ["application/pkcs7-mime"]);
        let parsed = MessageParser::default().parse(&written).unwrap();
        assert_eq!(parsed.content_type().unwrap().attribute("smime-type"), Some(name));
        assert_eq!(parsed.content_type().unwrap().attribute("name"), Some("smime.p7m"));
        assert_eq!(parsed.parts[0].contents(), der);
    }
    assert_eq!(
        encrypted_smime(&content().outer(), b"", SmimeType::EnvelopedData).err(),
        Some(MimeError::Entity)
    );
}

#[test]
fn signed_octets_are_carried_unchanged() {
    let html = Content {
        html: Some("<p>.\nFrom x</p>".to_owned()),
        attachments: vec![attachment("ä.bin", "application/octet-stream", &[0; 300])],
        ..content()
    };
    for content in [content(), html] {
        let entity = protected(&content).unwrap();
        let written = signed(&entity, b"\x30\x80signature").unwrap();
        let text = utf8(written.clone());
        assert!(text.starts_with("Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\""));
        assert!(text.contains("micalg=\"sha-256\""));
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        let boundary = head.split_once("boundary=\"").unwrap().1.split('"').next().unwrap();
        let parts: Vec<&str> = text.split(&format!("\r\n--{boundary}")).collect();
        assert_eq!(parts.len(), 4);
        assert_eq!(parts[1].strip_prefix("\r\n").unwrap().as_bytes(), entity);
        assert!(is_portable(&written));
    }
    for entity in [
        "",
        "A: b\n\nx",
        "A: b\r\n\r\nä",
        "A: b\r\n\r\n\rx",
        &format!("A: b\r\n\r\n{}", "x".repeat(999)),
    ] {
        assert_eq!(
            signed(entity.as_bytes(), b"s").err(),
            Some(MimeError::Entity),
            "{entity:?}"
        );
    }
    assert_eq!(signed(b"A: b\r\n\r\nx\r\n", b"").err(), Some(MimeError::Entity));
}

/// Ways to end a line, dressed in what some reader somewhere undoes, around fields worth adding.
fn hostile() -> Vec<String> {
    let breaks = [
        "\r\n",
        "\n",
        "\r",
        "\0",
        "\u{b}",
        "\u{c}",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\r\n\r\n",
        "\n\n",
        "\r\n ",
        "\n\t",
        "\r\r\n",
        "%0d%0a",
        "%0A",
        "\\r\\n",
        "=0D=0A",
        "&#13;&#10;",
        "\u{560d}\u{560a}",
        "\u{10d}\u{10a}",
        "?=\r\n =?utf-8?Q?",
        "\">\r\n",
        ">\r\n",
        "\";\r\n",
        "=\r\n",
    ];
    let fields = [
        "Bcc: x@evil.test",
        "To: x@evil.test",
        "Content-Type: text/html",
        "\r\n\r\n<script>",
        "X-SES-CONFIGURATION-SET: none",
    ];
    let mut all = Vec::new();
    for line_break in breaks {
        for field in fields {
            all.push(format!("a{line_break}{field}"));
            all.push(format!("{line_break}{field}{line_break}"));
            all.push(format!("=?utf-8?Q?a{}{}?=", line_break, field.replace(' ', "_")));
            all.push(format!("{}{line_break}{field}", "a".repeat(90)));
        }
    }
    let words = [
        "a@b.test,c@d.test",
        "a@b.test> , <x@evil.test",
        "\"",
        "\\",
        "\"\\",
        "<",
        ">",
        "(",
        ")",
        "(a",
        "a;b=c",
        ";",
        ",",
        ":",
        "=?",
        "?=",
        "=?utf-8?B?DQpCY2M6IHhAZXZpbC50ZXN0?=",
        "=?utf-8?Q?=0D=0ABcc:_x=40evil.test?=",
        "=?us-ascii?Q?=0D=0A?= x",
        "=?utf-8?Q?a?= =?utf-8?Q?b?=",
        " a",
        "a ",
        "\ta",
        "a\t",
        " ",
        "",
        "\u{202e}gpj.exe",
        "\u{200f}",
        "\u{2066}a\u{2069}",
        "\u{feff}a",
        "../../etc/passwd",
        "..\\..\\boot.ini",
        "a/b",
        ".",
        "..",
        "CON:",
        "a|b?c*d",
        "--=_x",
        "--",
        "text/html; x=\"a\r\nb\"",
        "a/b/c",
        "multipart/mixed; boundary=x",
        "message/rfc822",
        "text/plain; charset=utf-8; name=x",
        "text/plain;",
        "ä/ö",
        "undisclosed-recipients:;",
        "😀",
        "\u{1b}[31m",
        "\u{7f}",
        "a=\u{a0}b",
        "<a@b.test>",
        "a@b@c",
        "@",
        "a@",
        "@b",
    ];
    all.extend(words.map(str::to_owned));
    all
}

/// A way to put a value into one place of a message.
type Place = fn(&mut Content, &str);

#[test]
fn no_value_adds_a_field_or_a_recipient() {
    let hostile = hostile();
    assert!(hostile.len() >= 500, "{}", hostile.len());
    let places: [(&str, Place); 12] = [
        ("subject", |content, value| content.subject = value.to_owned()),
        ("from name", |content, value| content.from.name = Some(value.to_owned())),
        ("to name", |content, value| content.to[0].name = Some(value.to_owned())),
        ("reply-to name", |content, value| {
            content.reply_to = vec![Mailbox {
                name: Some(value.to_owned()),
                ..content.from.clone()
            }];
        }),
        ("header name", |content, value| {
            content.headers = vec![(value.to_owned(), "x".to_owned())]
        }),
        ("header value", |content, value| {
            content.headers = vec![("X-A".to_owned(), value.to_owned())]
        }),
        ("unsubscribe", |content, value| {
            content.headers = vec![("List-Unsubscribe".to_owned(), value.to_owned())];
        }),
        ("message id", |content, value| content.message_id = value.to_owned()),
        ("file name", |content, value| {
            content.attachments[0].filename = value.to_owned()
        }),
        ("content type", |content, value| {
            content.attachments[0].content_type = value.to_owned()
        }),
        ("content id", |content, value| {
            content.attachments[0].content_id = Some(value.to_owned())
        }),
        ("text and html", |content, value| {
            content.text = Some(value.to_owned());
            content.html = Some(value.to_owned());
        }),
    ];
    let base = Content {
        html: Some("<p>x</p>".to_owned()),
        attachments: vec![
            attachment("a.png", "image/png", b"x"),
            attachment("b.png", "image/png", b"x"),
        ],
        ..content()
    };
    let mut n_taken = 0;
    for (place, put) in places {
        for value in &hostile {
            let mut content = base.clone();
            put(&mut content, value);
            let Ok(written) = message(&content) else {
                assert!(protected(&content).is_err(), "{place}: {value:?}");
                assert_ne!(message(&content).err(), Some(MimeError::Plan), "{place}: {value:?}");
                continue;
            };
            n_taken += 1;
            let parsed = MessageParser::default().parse(&written).unwrap();
            let names: Vec<String> = parsed.headers_raw().map(|(name, _)| name.to_owned()).collect();
            let mut plan = vec!["From"];
            plan.extend((!content.reply_to.is_empty()).then_some("Reply-To"));
            plan.extend(["To", "Subject", "Date", "Message-ID"]);
            plan.extend(content.headers.iter().map(|(name, _)| name.as_str()));
            plan.extend(["MIME-Version", "Content-Type"]);
            assert_eq!(names, plan, "{place}: {value:?}");
            assert_eq!(
                parsed.parts.len(),
                7 - usize::from(content.attachments[0].content_id.is_none()),
                "{place}: {value:?}"
            );
            let to: Vec<_> = parsed.to().unwrap().iter().map(|to| to.address().unwrap()).collect();
            assert_eq!(to, ["ann@patient.test"], "{place}: {value:?}");
            assert_eq!(parsed.from().unwrap().iter().count(), 1, "{place}: {value:?}");
            assert!(parsed.bcc().is_none() && parsed.cc().is_none());
            if place == "subject" {
                assert_eq!(parsed.subject().unwrap_or_default().trim(), value.trim(), "{value:?}");
            }
            for part in &parsed.parts {
                let name = part.attachment_name().unwrap_or_default();
                assert!(
                    !crate::character::is_hostile(name) && !name.contains(['/', '\\']),
                    "{place}: {value:?}"
                );
            }
            let inner = utf8(protected(&content).unwrap());
            let inner = field_names(inner.as_bytes()).unwrap().join(",");
            assert!(
                !inner.contains("Bcc") && inner.contains("HP-Outer"),
                "{place}: {value:?}"
            );
        }
    }
    assert!(n_taken > 500, "only {n_taken} messages were written");
}

#[test]
fn reserved_and_malformed_fields_are_refused() {
    use HeaderError::*;
    for name in [
        "From",
        "sender",
        "TO",
        "Cc",
        "BCC",
        "Reply-To",
        "Subject",
        "Date",
        "Message-ID",
        "Return-Path",
        "Received",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
        "content-x",
        "DKIM-Signature",
        "ARC-Seal",
        "Authentication-Results",
        "X-SES-Configuration-Set",
        "X-SES-Source-ARN",
        "x-sealpost-id",
        "List-Id",
        "List-Help",
        "List-Subscribe",
        "Resent-To",
        "Resent-Bcc",
        "Autocrypt",
        "Autocrypt-Gossip",
        "HP-Outer",
        "DomainKey-Signature",
        "Delivered-To",
        "Errors-To",
    ] {
        assert_eq!(check_header(name, "x"), Err(Reserved), "{name}");
    }
    for name in ["", "a b", "a:", "a\r\nb", "ä", "a\t", "a\0", &"x".repeat(77)] {
        assert_eq!(check_header(name, "x"), Err(Name), "{name:?}");
    }
    for value in [
        "",
        " ",
        "a\r\nb",
        "a\nb",
        "a\rb",
        "a\0b",
        "a\tb",
        "a\u{85}b",
        "a\u{2028}b",
        "a ",
        " a",
    ] {
        assert_eq!(check_header("X-A", value), Err(Value), "{value:?}");
    }
    assert_eq!(check_header("List-Unsubscribe", "<https://ä.test>"), Err(Value));
    for value in ["x".repeat(901), "x ".repeat(2048) + "xx"] {
        assert_eq!(check_header("X-A", &value), Err(TooLong));
    }
    for (name, value) in [
        ("List-Unsubscribe", "<https://clinic.test/u>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("Feedback-ID", "a:b:c:d"),
        ("X-Entity-Ref-ID", "1"),
        ("In-Reply-To", "<a@b.test>"),
        ("X-Note", "ä"),
        ("Importance", "high"),
        ("X-Serious", "x"),
    ] {
        assert_eq!(check_header(name, value), Ok(()), "{name}");
    }
}

#[test]
fn file_names_content_types_and_ids_are_checked() {
    for (name, expected) in [
        ("a.pdf", "a.pdf"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\x\\Befund ä.pdf", "Befund ä.pdf"),
        ("a:b<c>|d?e*f\"g", "a_b_c__d_e_f_g"),
        (".hidden", "hidden"),
        ("a.pdf. ", "a.pdf"),
    ] {
        assert_eq!(file_name(name).as_deref(), Ok(expected), "{name}");
    }
    for name in [
        "",
        ".",
        "..",
        "a/",
        "a\r\nb",
        "a\0",
        "\u{202e}fdp.exe",
        "a\u{2028}",
        &"x".repeat(256),
    ] {
        assert_eq!(file_name(name), Err(MimeError::FileName), "{name:?}");
    }
    for (text, essence, charset) in [
        ("text/CSV", "text/csv", None),
        ("application/vnd.api+json", "application/vnd.api+json", None),
        ("text/plain; charset=UTF-8", "text/plain", Some("utf-8")),
        ("text/plain;charset=\"iso-8859-1\"", "text/plain", Some("iso-8859-1")),
    ] {
        assert_eq!(content_type(text), Ok((essence.to_owned(), charset.map(str::to_owned))));
    }
    for text in [
        "",
        "text",
        "text/",
        "/x",
        "a/b/c",
        "a b/c",
        "multipart/mixed",
        "Message/rfc822",
        "text/plain;",
        "text/plain; name=x",
        "text/plain; charset=a;b=c",
        "text/plain\r\nX: y",
        "text/plain; charset=\"a b\"",
        " a/b",
    ] {
        assert_eq!(content_type(text), Err(MimeError::ContentType), "{text:?}");
    }
    for (text, expected) in [
        ("<a@b>", Some("a@b")),
        ("logo-1", Some("logo-1")),
        ("a@b@c", None),
        ("a b", None),
        ("", None),
        ("<a", None),
    ] {
        assert_eq!(content_id(text).ok(), expected, "{text}");
    }
}

#[test]
fn dates_and_other_limits_are_kept() {
    for date in [-1, MAX_DATE + 1, i64::MIN, i64::MAX] {
        assert_eq!(message(&Content { date, ..content() }).err(), Some(MimeError::Date));
    }
    assert!(
        message(&Content {
            date: MAX_DATE,
            ..content()
        })
        .is_ok()
    );
    let headers = vec![("X-A".to_owned(), "x".to_owned()); 101];
    assert!(matches!(
        message(&Content { headers, ..content() }),
        Err(MimeError::Header(HeaderError::TooLong))
    ));
    let subject = "s".repeat(999);
    assert_eq!(
        message(&Content { subject, ..content() }).err(),
        Some(MimeError::Subject)
    );
    assert_eq!(
        format!("{:?} {:?}", content(), content().outer()),
        "[content] [envelope]"
    );
    let nobody = Content {
        to: vec![],
        ..content()
    };
    assert!(!utf8(message(&nobody).unwrap()).contains("To:"));
}

proptest::proptest! {
    #[test]
    fn any_name_and_subject_read_back(name in "\\PC{0,60}", subject in "\\PC{0,120}", file in "\\PC{1,40}") {
        let mut content = content();
        let Ok(to) = Mailbox::new(Some(&name), content.to[0].address.clone()) else { return Ok(()) };
        let name = to.name.clone();
        content.to = vec![to];
        content.subject = subject.trim().to_owned();
        content.attachments = vec![attachment(&file, "application/pdf", b"x")];
        let Ok(written) = message(&content) else { return Ok(()) };
        let back = read(&written).unwrap();
        let words = |text: Option<String>| text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(back.to.len(), 1);
        assert_eq!(back.to[0].address, "ann@patient.test");
        assert_eq!(words(back.to[0].name.clone()), words(name));
        assert_eq!(words(back.subject), words(Some(content.subject)));
        assert_eq!(words(Some(back.attachments[0].filename.clone())), words(file_name(&file).ok()));
    }
}
