//! The page that reads the mailbox as a person would: a list, and one message beside it.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderMap};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use serde::Deserialize;

use super::message::{self, Method, Reading};
use super::{BODY_POLICY, Mailbox, NO_SUCH_MESSAGE, PAGE_POLICY, Refusal, find};
use crate::aws::ses::{BounceReason, Event, EventType, Filter, Handed};

/// How much of a message's source the page shows, in octets; the download has all of it.
const SHOWN_SOURCE: usize = 64 * 1024;
/// How many messages the list shows; `GET /messages` answers all.
const SHOWN_ROWS: usize = 500;

#[derive(Deserialize)]
pub(super) struct PageQuery {
    open: Option<String>,
    to: Option<String>,
}

#[derive(Template)]
#[template(path = "mailbox.html")]
struct Page {
    rows: Vec<Row>,
    n_all: usize,
    n_matching: usize,
    to: String,
    open: Option<Open>,
    example: String,
    now: String,
    shift: Option<String>,
}

/// One line of the list.
struct Row {
    href: String,
    is_open: bool,
    to: String,
    subject: String,
    at: String,
    at_short: String,
    method: Badge,
    state: Badge,
}

/// A coloured word.
struct Badge {
    class: &'static str,
    label: &'static str,
}

/// The message being read.
struct Open {
    id: String,
    subject: String,
    from: String,
    to: String,
    cc: String,
    reply_to: String,
    at: String,
    at_long: String,
    method: Badge,
    is_sealed: bool,
    meaning: &'static str,
    command: Option<String>,
    has_html: bool,
    text: Vec<Piece>,
    attachments: Vec<Listed>,
    copies: Vec<Copy>,
    facts: Vec<(&'static str, String)>,
    source: String,
    is_cut: bool,
    back: String,
}

/// A piece of a text body: plain, or a link.
struct Piece {
    text: String,
    is_link: bool,
}

struct Listed {
    n: usize,
    filename: String,
    content_type: String,
    size: String,
}

/// One recipient's copy and what happened to it.
struct Copy {
    address: String,
    state: Badge,
    events: Vec<Happening>,
}

struct Happening {
    label: &'static str,
    at: String,
    at_long: String,
    is_past: bool,
}

/// The page; `open` names the message to read, `to` keeps the list to one recipient.
pub(super) async fn show(
    State(mailbox): State<Mailbox>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let now = mailbox.clock.now().to_zoned_datetime(TimeZone::UTC);
    let to = query.to.unwrap_or_default().trim().to_owned();
    let all = mailbox.ses.messages(&Filter::default())?;
    let n_all = all.len();
    let mut rows = Vec::new();
    let matches = |mail: &Handed| {
        let wanted = to.to_lowercase();
        mail.recipients
            .iter()
            .any(|recipient| recipient.address.to_lowercase().contains(&wanted))
    };
    // A person reads the newest first.
    let matching: Vec<&Handed> = all.iter().rev().filter(|mail| matches(mail)).collect();
    let n_matching = matching.len();
    for mail in matching.into_iter().take(SHOWN_ROWS) {
        rows.push(row(mail, &to, query.open.as_deref(), &now));
    }
    let open = match query.open {
        None => None,
        Some(id) => {
            let mail = find(&mailbox, id)?;
            let raw = mailbox.ses.raw(&mail.id)?.ok_or(NO_SUCH_MESSAGE)?;
            let host = headers
                .get(header::HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default();
            Some(opened(&mailbox, &mail, &raw, host, &to, &now))
        }
    };
    let shift_ms = mailbox.clock.shift_ms();
    let page = Page {
        rows,
        n_all,
        n_matching,
        to,
        open,
        example: mailbox.example.clone(),
        now: now.strftime("%-d %b %Y, %H:%M UTC").to_string(),
        shift: (shift_ms > 0).then(|| shift(shift_ms)),
    };
    let html = page
        .render()
        .map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "The page cannot be shown."))?;
    Ok(([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(html)).into_response())
}

/// The HTML body alone, for the frame.
pub(super) async fn body(State(mailbox): State<Mailbox>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let raw = mailbox.ses.raw(&id)?.ok_or(NO_SUCH_MESSAGE)?;
    let html = message::read(&raw)
        .html
        .ok_or(Refusal(StatusCode::NOT_FOUND, "The message has no HTML body."))?;
    // Links leave the frame; mail is written for a light page, whatever this page's colours are.
    let start = "<!doctype html><meta charset=\"utf-8\"><base target=\"_blank\"><style>:root{color-scheme:light;background:#fff}\
                 body{font-family:system-ui,sans-serif;line-height:1.5;margin:1rem 1.25rem;overflow-wrap:anywhere}img{max-width:100%}</style>";
    Ok((
        [(header::CONTENT_SECURITY_POLICY, BODY_POLICY)],
        Html(format!("{start}{html}")),
    )
        .into_response())
}

/// One attachment, counted from 0, to be saved.
pub(super) async fn attachment(
    State(mailbox): State<Mailbox>,
    Path((id, n)): Path<(String, usize)>,
) -> Result<Response, Refusal> {
    let raw = mailbox.ses.raw(&id)?.ok_or(NO_SUCH_MESSAGE)?;
    let mut attachments = message::read(&raw).attachments.into_iter();
    let found = attachments
        .nth(n)
        .ok_or(Refusal(StatusCode::NOT_FOUND, "The message has no such attachment."))?;
    // RFC 8187 for the name's own letters, and an ASCII name for readers that know only that.
    let ascii: String = found
        .filename
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || ".-_ ".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let encoded: String = found
        .filename
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    let saved_as = format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, saved_as),
    ];
    Ok((headers, found.content).into_response())
}

fn row(mail: &Handed, to: &str, open: Option<&str>, now: &ZonedDateTime) -> Row {
    let recipients: Vec<&str> = mail
        .recipients
        .iter()
        .map(|recipient| recipient.address.as_str())
        .collect();
    let at = zoned(mail.at_ms);
    let at_short = if at.date() == now.date() {
        at.strftime("%H:%M").to_string()
    } else if at.year() == now.year() {
        at.strftime("%-d %b").to_string()
    } else {
        at.strftime("%b %Y").to_string()
    };
    Row {
        href: link(Some(&mail.id), to),
        is_open: open == Some(mail.id.as_str()),
        to: recipients.join(", "),
        subject: subject(mail),
        at: at.timestamp().to_string(),
        at_short,
        method: method_badge(message::method(mail)),
        state: state_badge(mail.state(now.timestamp().as_millisecond())),
    }
}

fn opened(mailbox: &Mailbox, mail: &Handed, raw: &[u8], host: &str, to: &str, now: &ZonedDateTime) -> Open {
    let reading: Reading = message::read(raw);
    let method = message::method(mail);
    let first = mail
        .recipients
        .first()
        .map_or("", |recipient| recipient.address.as_str());
    let command = method.is_sealed().then(|| (mailbox.opener)(method, first)).flatten();
    let mut facts = vec![
        ("Envelope sender", mail.from.clone()),
        (
            "TLS policy",
            if super::is_tls_required(mail) {
                "REQUIRE"
            } else {
                "OPTIONAL"
            }
            .to_owned(),
        ),
        (
            "Configuration set",
            mail.configuration_set.clone().unwrap_or_else(|| "none".to_owned()),
        ),
        ("SES message id", mail.message_id.clone()),
    ];
    if !mail.tags.is_empty() {
        let tags: Vec<String> = mail
            .tags
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        facts.push(("Tags", tags.join(" ")));
    }
    let now_ms = now.timestamp().as_millisecond();
    let copies = mail.recipients.iter().map(|recipient| Copy {
        address: recipient.address.clone(),
        state: state_badge(recipient.state(now_ms)),
        events: recipient.events.iter().map(|event| happening(event, now_ms)).collect(),
    });
    let attachments = reading.attachments.iter().enumerate().map(|(n, attachment)| Listed {
        n,
        filename: attachment.filename.clone(),
        content_type: attachment.content_type.clone(),
        size: size(attachment.content.len()),
    });
    let shown = raw.get(..SHOWN_SOURCE).unwrap_or(raw);
    let at = zoned(mail.at_ms);
    Open {
        id: mail.id.clone(),
        subject: subject(mail),
        from: reading.from,
        to: reading.to,
        cc: reading.cc,
        reply_to: reading.reply_to,
        at: at.timestamp().to_string(),
        at_long: long(&at),
        method: method_badge(method),
        is_sealed: method.is_sealed(),
        meaning: meaning(method),
        command: command.map(|command| format!("curl -s http://{host}/messages/{}/raw | {command}", mail.id)),
        has_html: reading.html.is_some(),
        text: reading.text.as_deref().map(pieces).unwrap_or_default(),
        attachments: attachments.collect(),
        copies: copies.collect(),
        facts,
        source: String::from_utf8_lossy(shown).into_owned(),
        is_cut: raw.len() > SHOWN_SOURCE,
        back: link(None, to),
    }
}

/// The outer subject; RFC 9788 puts three dots or the like where the real one is sealed.
fn subject(mail: &Handed) -> String {
    let subject = mail.subject.trim();
    let is_hidden = subject.trim_matches(['[', ']', '.', '…']).is_empty();
    match (is_hidden, message::method(mail).is_sealed()) {
        (true, true) => "Sealed message, subject inside".to_owned(),
        _ if subject.is_empty() => "(no subject)".to_owned(),
        _ => subject.to_owned(),
    }
}

/// The page's own address with a message open and the list kept to a recipient.
fn link(open: Option<&str>, to: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(open) = open {
        query.append_pair("open", open);
    }
    if !to.is_empty() {
        query.append_pair("to", to);
    }
    match query.finish() {
        query if query.is_empty() => "/".to_owned(),
        query => format!("/?{query}"),
    }
}

/// Splits a text body so that web addresses become links.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = ["https://", "http://"]
        .iter()
        .filter_map(|scheme| rest.find(scheme))
        .min()
    {
        let (before, from) = rest.split_at(at);
        let end = from
            .find(|c: char| c.is_whitespace() || "<>\"".contains(c))
            .unwrap_or(from.len());
        let (found, after) = from.split_at(end);
        let link = found.trim_end_matches(['.', ',', ';', ':', '!', '?', ')']);
        plain.push_str(before);
        pieces.push(Piece {
            text: std::mem::take(&mut plain),
            is_link: false,
        });
        pieces.push(Piece {
            text: link.to_owned(),
            is_link: true,
        });
        plain.push_str(found.get(link.len()..).unwrap_or_default());
        rest = after;
    }
    plain.push_str(rest);
    pieces.push(Piece {
        text: plain,
        is_link: false,
    });
    pieces
}

fn happening(event: &Event, now_ms: i64) -> Happening {
    let label = match (event.kind, event.reason) {
        (EventType::Send, _) => "Accepted by SES",
        (EventType::Delivery, _) => "Delivered",
        (EventType::DeliveryDelay, _) => "Delayed, SES keeps trying",
        (EventType::Bounce, Some(BounceReason::TlsRequired)) => "Given up: the server offers no TLS",
        (EventType::Bounce | EventType::Complaint, Some(BounceReason::Suppressed)) => {
            "Stopped: the address is suppressed"
        }
        (EventType::Bounce, _) => "Bounced: no such mailbox",
        (EventType::Reject, _) => "Stopped by SES: it found malware",
        (EventType::Complaint, _) => "Complaint by the recipient",
        (EventType::Reply, _) => "Out-of-office answer",
    };
    let at = zoned(event.at_ms);
    Happening {
        label,
        at: at.timestamp().to_string(),
        at_long: long(&at),
        is_past: event.at_ms <= now_ms,
    }
}

fn method_badge(method: Method) -> Badge {
    let class = match method {
        Method::Tls => "tls",
        Method::Portal => "portal",
        Method::OpenPgp | Method::Smime => "sealed",
        Method::Plain => "warn",
    };
    Badge {
        class,
        label: method.label(),
    }
}

fn meaning(method: Method) -> &'static str {
    match method {
        Method::Tls => "Readable mail. SES may hand it only to a server that speaks TLS.",
        Method::Portal => "Only a notice went by mail. The message waits in the portal behind the link.",
        Method::OpenPgp => "Sealed for the recipient's OpenPGP key. Neither SES nor this mailbox can read it.",
        Method::Smime => "Sealed for the recipient's S/MIME certificate. Neither SES nor this mailbox can read it.",
        Method::Plain => "Readable mail. SES may hand it to a server without TLS.",
    }
}

fn state_badge(state: &'static str) -> Badge {
    let (class, label) = match state {
        "delivered" => ("good", "Delivered"),
        "delayed" => ("warn", "Delayed"),
        "bounced" => ("bad", "Bounced"),
        "suppressed" => ("bad", "Suppressed"),
        "tls_failed" => ("bad", "TLS failed"),
        "rejected" => ("bad", "Rejected"),
        "complained" => ("bad", "Complaint"),
        "mixed" => ("warn", "Mixed"),
        _ => ("idle", "Accepted"),
    };
    Badge { class, label }
}

fn zoned(at_ms: i64) -> ZonedDateTime {
    Timestamp::from_millisecond(at_ms)
        .unwrap_or(Timestamp::MAX)
        .to_zoned_datetime(TimeZone::UTC)
}

fn long(at: &ZonedDateTime) -> String {
    at.strftime("%-d %B %Y, %H:%M:%S UTC").to_string()
}

/// An amount of time in the largest unit that fits.
fn shift(ms: i64) -> String {
    let units = [
        ("year", 365 * 24 * 3600),
        ("day", 24 * 3600),
        ("hour", 3600),
        ("minute", 60),
        ("second", 1),
    ];
    let seconds = ms / 1000;
    let (unit, length) = units
        .into_iter()
        .find(|(_, length)| seconds >= *length)
        .unwrap_or(("second", 1));
    let n = seconds / length;
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

fn size(octets: usize) -> String {
    match octets {
        0..1_000 => format!("{octets} bytes"),
        1_000..1_000_000 => format!("{} kB", octets.div_ceil(1_000)),
        _ => format!("{}.{} MB", octets / 1_000_000, octets % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_addresses_in_text_become_links() {
        let found = pieces("Read it: https://portal.test/m#k.\nOr <http://a.test/b>, thanks");
        let shown: Vec<(&str, bool)> = found.iter().map(|piece| (piece.text.as_str(), piece.is_link)).collect();
        assert_eq!(
            shown,
            [
                ("Read it: ", false),
                ("https://portal.test/m#k", true),
                (".\nOr <", false),
                ("http://a.test/b", true),
                (">, thanks", false),
            ]
        );
    }

    #[test]
    fn a_shift_is_named_in_its_largest_unit() {
        for (ms, expected) in [
            (1_000, "1 second"),
            (7_200_000, "2 hours"),
            (189_345_600_000, "6 years"),
        ] {
            assert_eq!(shift(ms), expected);
        }
    }
}
