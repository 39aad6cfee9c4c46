//! What a request may be made of, however much of it there is.

use super::*;
use crate::json;

const NOW_MS: i64 = 1_800_000_000_000;

fn check(mut email: serde_json::Value, more: serde_json::Value) -> Result<Checked> {
    for (name, value) in more.as_object().unwrap() {
        email[name] = value.clone();
    }
    json::decode::<SendRequest>(email)?.check(NOW_MS, Mode::Live)
}

fn email() -> serde_json::Value {
    serde_json::json!({"from": "care@clinic.test", "to": "pat@patient.test", "subject": "s", "text": "t"})
}

#[test]
fn a_million_faults_are_told_as_a_few() {
    let mailboxes = vec![""; 200_000];
    let tag = serde_json::json!({"name": "", "value": ""});
    for (more, most) in [
        (serde_json::json!({"to": &mailboxes}), 1),
        (serde_json::json!({"cc": &mailboxes}), 1),
        (serde_json::json!({"bcc": &mailboxes}), 1),
        (serde_json::json!({"reply_to": &mailboxes}), 1),
        (serde_json::json!({"tags": vec![tag; 100_000]}), 100),
    ] {
        let error = check(email(), more).err().unwrap();
        assert!((1..=most).contains(&error.fields().len()), "{}", error.fields().len());
    }
}

#[test]
fn the_field_with_too_many_recipients_is_named() {
    let some = |n: usize| vec!["pat@patient.test"; n];
    for (to, cc, bcc, expected) in [
        (51, 0, 0, "/to"),
        (50, 1, 0, "/cc"),
        (1, 0, 50, "/bcc"),
        (0, 26, 25, "/cc"),
    ] {
        let more = serde_json::json!({"to": some(to), "cc": some(cc), "bcc": some(bcc)});
        assert_eq!(check(email(), more).err().unwrap().fields()[0].pointer, expected);
    }
    let most = serde_json::json!({"to": some(20), "cc": some(20), "bcc": some(10), "reply_to": some(50)});
    assert!(check(email(), most).is_ok());
}

#[test]
fn an_email_that_the_portal_could_not_show_is_refused() {
    let headers: serde_json::Map<_, _> = (0..20)
        .map(|n| (format!("X-{n}"), serde_json::Value::from("word ".repeat(800).trim())))
        .collect();
    let file = serde_json::json!({"filename": "a.txt", "content": "QQ=="});
    for (more, expected) in [
        (serde_json::json!({"headers": headers}), "/headers"),
        (serde_json::json!({"attachments": vec![file; 1_000]}), "/attachments"),
        (
            serde_json::json!({"text": "https://clinic.example/message/1\n".repeat(1_000)}),
            "/text",
        ),
    ] {
        let composed = check(email(), more).unwrap().compose("a@clinic.test", 0);
        assert_eq!(composed.unwrap_err().fields()[0].pointer, expected);
    }
    // Lines that look like boundaries are none.
    let more = serde_json::json!({"text": "--\n".repeat(30_000)});
    assert!(check(email(), more).unwrap().compose("a@clinic.test", 0).is_ok());
}

#[test]
fn what_ends_a_line_for_some_reader_stands_in_no_subject() {
    for subject in ["a\u{2028}b", "a\u{2029}b", "a\r\nb", "a\u{85}b"] {
        let error = check(email(), serde_json::json!({"subject": subject})).err().unwrap();
        assert_eq!(error.fields()[0].pointer, "/subject");
    }
}
