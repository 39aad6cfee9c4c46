//! Every way to write a canary is found, and nothing else.

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::Compression;

use super::super::field::Canaries;
use super::*;

fn each(text: &str, write: impl Fn(u8) -> String) -> Vec<u8> {
    text.bytes().map(write).collect::<String>().into_bytes()
}

fn wide(text: &str, write: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(write).collect()
}

fn written<W: std::io::Write>(mut writer: W, text: &[u8], end: impl Fn(W) -> std::io::Result<Vec<u8>>) -> Vec<u8> {
    writer.write_all(text).unwrap();
    end(writer).unwrap()
}

/// Every way to write a value that is known to be found, with the decoders that find it.
fn table(c: &str) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let (a, b) = c.split_at(9);
    let sentence = format!("{{\"subject\":\"Your results, {c}\",\"n\":1}}");
    let gzip = |text: &[u8]| {
        let encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
        written(encoder, text, flate2::write::GzEncoder::finish)
    };
    let sha = digest::digest(&SHA256, c.as_bytes());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines = |text: &str| {
        let lines = text
            .as_bytes()
            .chunks(20)
            .map(|line| String::from_utf8(line.to_vec()).unwrap());
        lines.collect::<Vec<_>>().join("\r\n").into_bytes()
    };
    vec![
        ("as it is", "as it is", c.into()),
        ("in a sentence", "as it is", sentence.clone().into_bytes()),
        ("in capitals", "as it is", c.to_uppercase().into_bytes()),
        ("the first half", "as it is", c[..13].into()),
        ("the last half", "as it is", c[13..].into()),
        ("base64, first place", "base64", STANDARD.encode(c).into_bytes()),
        (
            "base64, second place",
            "base64",
            STANDARD.encode(format!("x{c}")).into_bytes(),
        ),
        (
            "base64, third place",
            "base64",
            STANDARD.encode(format!("xy{c}")).into_bytes(),
        ),
        (
            "base64 after other text",
            "base64",
            format!("id/{}", STANDARD.encode(&sentence)).into_bytes(),
        ),
        ("base64 in lines", "base64", lines(&STANDARD.encode(&sentence))),
        (
            "base64 of capitals",
            "base64",
            STANDARD.encode(c.to_uppercase()).into_bytes(),
        ),
        (
            "base64url",
            "base64",
            URL_SAFE_NO_PAD.encode(format!("\u{fb}\u{ff}{c}")).into_bytes(),
        ),
        ("hex", "hex", hex(c.as_bytes()).into_bytes()),
        ("hex in capitals", "hex", hex(c.as_bytes()).to_uppercase().into_bytes()),
        (
            "hex after a digit",
            "hex",
            format!("7{}", hex(c.as_bytes())).into_bytes(),
        ),
        ("hex with colons", "hex", each(c, |byte| format!("{byte:02x}:"))),
        ("hex with 0x", "hex", each(c, |byte| format!("0x{byte:02x}, "))),
        (
            "quoted-printable",
            "quoted-printable",
            each(c, |byte| format!("={byte:02X}")),
        ),
        (
            "a soft break",
            "quoted-printable",
            format!("Results {a}=\r\n{b}").into_bytes(),
        ),
        ("all percent", "percent", each(c, |byte| format!("%{byte:02x}"))),
        ("partly percent", "percent", {
            let partly = |byte: u8| match byte {
                b'a'..=b'm' => format!("%{byte:02X}"),
                _ => char::from(byte).to_string(),
            };
            [&each(c, partly)[..], b"%40patient.test"].concat()
        }),
        ("UTF-16, little end", "UTF-16", wide(c, u16::to_le_bytes)),
        ("UTF-16, big end", "UTF-16", wide(c, u16::to_be_bytes)),
        ("gzip", "deflate", gzip(sentence.as_bytes())),
        (
            "gzip after other bytes",
            "deflate",
            [b"x: ", &gzip(sentence.as_bytes())[..]].concat(),
        ),
        ("zlib", "deflate", {
            let encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
            written(encoder, sentence.as_bytes(), flate2::write::ZlibEncoder::finish)
        }),
        ("deflate", "deflate", {
            let encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
            written(encoder, sentence.as_bytes(), flate2::write::DeflateEncoder::finish)
        }),
        ("JSON escapes", "escapes", each(c, |byte| format!("\\u{byte:04x}"))),
        ("Rust escapes", "escapes", each(c, |byte| format!("\\u{{{byte:x}}}"))),
        (
            "HTML entities, decimal",
            "entities",
            each(c, |byte| format!("&#{byte};")),
        ),
        (
            "HTML entities, hex",
            "entities",
            each(c, |byte| format!("&#x{byte:X};")),
        ),
        (
            "an encoded word, B",
            "base64",
            format!("=?utf-8?B?{}?=", STANDARD.encode(c)).into_bytes(),
        ),
        ("an encoded word, Q", "quoted-printable", {
            let word = String::from_utf8(each(c, |byte| format!("={byte:02X}"))).unwrap();
            format!("=?iso-8859-1?q?{word}?=").into_bytes()
        }),
        ("two encoded words", "header › base64", {
            let words = [a, b].map(|half| STANDARD.encode(half));
            format!("Subject: =?utf-8?b?{}?=\r\n =?utf-8?b?{}?=", words[0], words[1]).into_bytes()
        }),
        ("a folded line", "header", format!("Subject: {a}\r\n {b}").into_bytes()),
        (
            "a parameter in pieces",
            "header",
            format!("filename*0=\"{a}\";\r\n filename*1=\"{b}\"").into_bytes(),
        ),
        ("a parameter in encoded pieces", "percent", {
            let b = String::from_utf8(each(b, |byte| format!("%{byte:02x}"))).unwrap();
            format!("filename*0*=utf-8''{a}; filename*1*={b}").into_bytes()
        }),
        (
            "a list of numbers",
            "numbers",
            format!("{:?}", c.as_bytes()).into_bytes(),
        ),
        ("its SHA-256", "SHA-256", sha.as_ref().into()),
        ("its SHA-256 in hex", "hex › SHA-256", hex(sha.as_ref()).into_bytes()),
        (
            "its SHA-256 in base64",
            "base64 › SHA-256",
            STANDARD.encode(sha.as_ref()).into_bytes(),
        ),
        (
            "its SHA-256, cut off",
            "hex › SHA-256",
            hex(&sha.as_ref()[..12]).into_bytes(),
        ),
        ("base64 of gzip in JSON", "base64 › deflate", {
            format!("{{\"head\":\"{}\"}}", STANDARD.encode(gzip(sentence.as_bytes()))).into_bytes()
        }),
        (
            "hex of UTF-16",
            "hex › UTF-16",
            hex(&wide(c, u16::to_le_bytes)).into_bytes(),
        ),
        (
            "base64 of base64",
            "base64 › base64",
            STANDARD.encode(STANDARD.encode(&sentence)).into_bytes(),
        ),
        ("base64 of lines, escaped in JSON", "escapes › base64", {
            let lines = String::from_utf8(lines(&STANDARD.encode(c))).unwrap();
            serde_json::json!({ "raw": lines }).to_string().into_bytes()
        }),
    ]
}

#[test]
fn a_canary_is_found_however_it_is_written() {
    let mut canaries = Canaries::default();
    let canary = canaries.make("subject");
    for n in 0..40 {
        canaries.make(if n % 2 == 0 { "text" } else { "html" });
    }
    let needles = Needles::new(&canaries.0);
    for (name, expected, bytes) in table(&canary) {
        let hits = needles.search(&bytes);
        assert!(
            hits.iter()
                .any(|hit| hit.encoding.contains(expected) && hit.canary == canary),
            "{name} is not found by {expected} but by {hits:?}"
        );
        assert!(hits.iter().all(|hit| hit.field == "subject"), "{name}: {hits:?}");
    }
    println!("{} ways to write a canary are found", table(&canary).len());
}

#[test]
fn no_canary_is_found_where_there_is_none() {
    let mut canaries = Canaries::default();
    let others = [canaries.make("text"), canaries.make("text")];
    let mut wanted = Canaries::default();
    wanted.make("subject");
    let needles = Needles::new(&wanted.0);
    for canary in others {
        for (name, _, bytes) in table(&canary) {
            assert_eq!(needles.search(&bytes), BTreeSet::new(), "{name}");
        }
    }
    let mut noise = vec![0; 1 << 16];
    aws_lc_rs::rand::fill(&mut noise).unwrap();
    assert_eq!(needles.search(&noise), BTreeSet::new());
}
