//! The demo: one appointment reminder with an attachment, to six recipients who can receive different things.
//!
//! It speaks to the API as any application would, waits until every delivery is settled, and tells what each recipient got
//! and why.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, StatusCode};
use sealpost_core::event::EventType;
use serde_json::{Value, json};

use super::keys::{self, Pair};
use super::receiver::Receiver;
use super::{SENDER, Seed};
use crate::mailbox::{Method as Sealing, Opener};
use crate::system::System;

const OPENPGP: (&str, &str) = ("Rosa Vidal", "rosa@keys.test");
const SMIME: (&str, &str) = ("Samir Haddad", "samir@certs.test");
const MTA_STS: (&str, &str) = ("Maria Novak", "maria@mta-sts.test");
const NO_TLS: (&str, &str) = ("Peter Lind", "peter@no-tls.test");
const LAPSED: (&str, &str) = ("Vera Costa", "vera@lapsed.test");
const TLS_FAILS: (&str, &str) = ("Tess Okoye", "tess@tls-fails.test");
const EVERYBODY: [(&str, &str); 6] = [OPENPGP, SMIME, MTA_STS, NO_TLS, LAPSED, TLS_FAILS];

/// How long the certificate that lapses is valid, seconds.
const LAPSES_AFTER_S: i64 = 3;
/// How long SES tries before it gives up on required TLS, and a little more: see `MaxDeliverySeconds` in `template.yaml`.
const TLS_GIVES_UP: Duration = Duration::from_secs(660);
/// How long the demo waits for its deliveries.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far the demo goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until SES has every mail. The one whose required TLS fails goes on later, as the time passes.
    Sent,
    /// To the end, for which the system's clock is moved by the minutes that SES tries.
    Delivered,
}

/// What the demo came to.
pub struct Shown {
    /// What became of the email, recipient by recipient.
    pub rows: Vec<Row>,
    /// The webhooks that a receiver took and verified: the recipient's address, and what it was told of, in order. Empty
    /// where the demo does not go to the end.
    pub told: Vec<(String, Vec<String>)>,
}

/// What became of the demo's email for one recipient.
pub struct Row {
    /// The address.
    pub address: String,
    /// The method, `-` while there is none.
    pub method: String,
    /// The assurance level.
    pub level: String,
    /// Why this method, and why not the one that was expected.
    pub why: String,
    /// Where the delivery stands.
    pub state: String,
    /// The id of the delivery.
    pub delivery: String,
}

/// Where the demo's keys and mails are written.
#[must_use]
pub fn folder(system: &System) -> PathBuf {
    system.data().unwrap_or_else(|| PathBuf::from(".sealpost")).join("demo")
}

/// Names the command that opens a sealed mail for a recipient whose key the demo made.
#[must_use]
pub fn opener(folder: PathBuf) -> Opener {
    std::sync::Arc::new(move |method, address| match method {
        Sealing::OpenPgp => keys::command(&folder, "openpgp", address),
        Sealing::Smime => keys::command(&folder, "smime", address),
        _ => None,
    })
}

/// Makes keys, pins them, records what is known of the domains, sends the reminder and waits for what becomes of it.
///
/// # Errors
/// When the API refuses something, or a delivery is not settled in time.
pub async fn send(system: &System, seed: &Seed, until: Until) -> Result<Shown> {
    let api = Api {
        http: Client::new(),
        base: format!("http://{}", system.api),
        key: seed.api_key.clone(),
    };
    let folder = folder(system);
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    restrict(&folder)?;
    let now_s = system.clock().now_ms().div_euclid(1000);
    let year_s = 365 * 86_400;
    for ((_, address), pair) in [
        (OPENPGP, keys::openpgp(OPENPGP.0, OPENPGP.1)?),
        (SMIME, keys::smime(SMIME.0, SMIME.1, now_s, now_s + year_s)?),
    ] {
        api.pin(address, &pair).await?;
        keys::write(&folder, address, &pair)?;
    }
    // The time of the one that lapses begins when the others are made, which takes seconds on a busy machine.
    let now_s = system.clock().now_ms().div_euclid(1000);
    let lapses_at_s = now_s + LAPSES_AFTER_S;
    let pair = keys::smime(LAPSED.0, LAPSED.1, now_s, lapses_at_s)?;
    api.pin(LAPSED.1, &pair).await?;
    keys::write(&folder, LAPSED.1, &pair)?;
    // The certificate was good when it was uploaded; now it lapses.
    while system.clock().now_ms().div_euclid(1000) <= lapses_at_s {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let receiver = match until {
        Until::Sent => None,
        Until::Delivered => Some(api.receiver(system).await?),
    };
    let email = api.post("/emails", &reminder()).await?;
    let id = email
        .get("id")
        .and_then(Value::as_str)
        .context("the API named no email")?
        .to_owned();
    let mut rows = api
        .until(&id, |row| !["queued", "sending"].contains(&row.state.as_str()))
        .await?;
    if until == Until::Delivered {
        let is_there = |row: &Row| row.state == "delivered" || row.address == TLS_FAILS.1;
        api.until(&id, is_there).await?;
        // A webhook that is on its way while the clock moves would be too old when it arrives.
        ensure!(system.settled(PATIENCE).await?, "the demo's webhooks do not end");
        system.advance(TLS_GIVES_UP)?;
        rows = api.until(&id, |row| row.state == "delivered").await?;
    }
    write_mails(system, &folder)?;
    let told = match receiver {
        None => Vec::new(),
        Some((webhook, receiver)) => {
            let told = told(&receiver, &id, &rows).await?;
            api.call(Method::DELETE, &format!("/webhooks/{webhook}"), None).await?;
            told
        }
    };
    Ok(Shown { rows, told })
}

/// Waits until the receiver was told of every delivery, and tells of what, by recipient.
async fn told(receiver: &Receiver, email: &str, rows: &[Row]) -> Result<Vec<(String, Vec<String>)>> {
    let text = |event: &Value, name: &str| {
        let text = event.pointer(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let began = tokio::time::Instant::now();
    loop {
        let mut events = receiver.events();
        events.retain(|event| text(event, "/data/email_id") == email);
        events.sort_by_key(|event| event.pointer("/data/sequence").and_then(Value::as_u64));
        let kinds = |delivery: &str| {
            let ours = events
                .iter()
                .filter(|event| text(event, "/data/delivery_id") == delivery);
            ours.map(|event| text(event, "/type")).collect::<Vec<_>>()
        };
        let told: Vec<(String, Vec<String>)> = rows
            .iter()
            .map(|row| (row.address.clone(), kinds(&row.delivery)))
            .collect();
        let n_sent = |kinds: &[String]| kinds.iter().filter(|kind| *kind == "email.sent").count();
        let is_whole = |(address, kinds): &(String, Vec<String>)| {
            let n_attempts = if address == TLS_FAILS.1 { 2 } else { 1 };
            kinds.iter().any(|kind| kind == "email.delivered") && n_sent(kinds) == n_attempts
        };
        if told.iter().all(is_whole) {
            ensure!(
                receiver.n_refused() == 0,
                "the receiver refused {} webhooks",
                receiver.n_refused()
            );
            return Ok(told);
        }
        ensure!(began.elapsed() < PATIENCE, "not every webhook arrived: {told:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The table for people.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let heads = ["recipient", "method", "level", "state", "why"];
    let cells = |row: &Row| {
        [
            row.address.clone(),
            row.method.clone(),
            row.level.clone(),
            row.state.clone(),
            row.why.clone(),
        ]
    };
    let mut widths = heads.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(cells(row)) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: [String; 5]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        // Writing to a string cannot fail.
        writeln!(text, "  {}", padded.join("  ").trim_end()).unwrap_or_default();
    };
    line(heads.map(str::to_owned));
    line(widths.map(|width| "-".repeat(width.min(60))));
    for row in rows {
        line(cells(row));
    }
    text
}

/// What the receiver was told, for people.
#[must_use]
pub fn told_table(told: &[(String, Vec<String>)]) -> String {
    let width = told
        .iter()
        .map(|(address, _)| address.chars().count())
        .max()
        .unwrap_or_default();
    let lines = told
        .iter()
        .map(|(address, kinds)| format!("  {address:width$}  {}\n", kinds.join(", ")));
    lines.collect()
}

/// The email: a body, an HTML body and a calendar file.
fn reminder() -> Value {
    let calendar = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//clinic.test//EN\r\nBEGIN:VEVENT\r\n\
                    UID:2f9c@clinic.test\r\nDTSTAMP:20261124T090000Z\r\nDTSTART:20261203T143000Z\r\n\
                    DTEND:20261203T150000Z\r\nSUMMARY:Cardiology, Dr. Okafor\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    json!({
        "from": SENDER,
        "to": EVERYBODY.map(|(name, address)| format!("{name} <{address}>")),
        "subject": "Your cardiology appointment on 3 December",
        "text": "You have an appointment with Dr. Okafor (cardiology) on Thursday, 3 December, at 14:30.\n\n\
                 Please bring your list of medicines, and do not eat for four hours before.\n\nClinic\n",
        "html": "<p>You have an appointment with <b>Dr. Okafor</b> (cardiology) on <b>Thursday, 3 December, at 14:30</b>.</p>\
                 <p>Please bring your list of medicines, and do not eat for four hours before.</p><p>Clinic</p>",
        "attachments": [{
            "filename": "appointment.ics",
            "content_type": "text/calendar",
            "content": STANDARD.encode(calendar),
        }],
        "purpose": "treatment",
    })
}

struct Api {
    http: Client,
    base: String,
    key: String,
}

impl Api {
    /// A receiver that is told of everything that happens to emails.
    async fn receiver(&self, system: &System) -> Result<(String, Receiver)> {
        let receiver = Receiver::start(system.clock().clone()).await?;
        let kinds = EventType::ALL.map(EventType::as_str);
        let kinds: Vec<&str> = kinds.into_iter().filter(|kind| kind.starts_with("email.")).collect();
        let endpoint = format!("http://{}/hook", receiver.address);
        let webhook = self
            .post("/webhooks", &json!({ "endpoint": endpoint, "events": kinds }))
            .await?;
        receiver.trust(&webhook)?;
        let id = webhook
            .get("id")
            .and_then(Value::as_str)
            .context("the API named no webhook")?;
        Ok((id.to_owned(), receiver))
    }

    async fn pin(&self, address: &str, pair: &Pair) -> Result<()> {
        // A pinned key that is still good is not replaced: it is removed first, as an administrator would.
        let path = format!("/recipients/{address}/keys");
        let pinned = self.call(Method::GET, &path, None).await?;
        for key in pinned.get("data").and_then(Value::as_array).into_iter().flatten() {
            if key.get("kind").and_then(Value::as_str) == Some(pair.kind)
                && let Some(id) = key.get("id").and_then(Value::as_str)
            {
                self.call(Method::DELETE, &format!("{path}/{id}"), None).await?;
            }
        }
        self.post(&path, &json!({"kind": pair.kind, "data": pair.public}))
            .await?;
        Ok(())
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.key);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.context("the API does not answer")?;
        let status = answer.status();
        let value: Value = serde_json::from_slice(&answer.bytes().await?).context("the API does not answer JSON")?;
        if status == StatusCode::OK || status == StatusCode::CREATED {
            return Ok(value);
        }
        let message = value
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("no reason given")
            .to_owned();
        bail!("the API answers {status} to {path}: {message}")
    }

    /// Waits until every recipient has come so far.
    async fn until(&self, id: &str, is_there: impl Fn(&Row) -> bool) -> Result<Vec<Row>> {
        let began = tokio::time::Instant::now();
        loop {
            let email = self.call(Method::GET, &format!("/emails/{id}"), None).await?;
            let rows: Vec<Row> = email
                .get("recipients")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(row)
                .collect();
            if !rows.is_empty() && rows.iter().all(&is_there) {
                return Ok(rows);
            }
            if began.elapsed() > PATIENCE {
                let late = rows.iter().filter(|row| !is_there(row));
                let late: Vec<String> = late.map(|row| format!("{} is {}", row.address, row.state)).collect();
                bail!("after {} seconds {}", PATIENCE.as_secs(), late.join(", "));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn row(recipient: &Value) -> Row {
    let text = |name: &str| recipient.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let mut why = text("reason");
    // A key that is on file and was not used is what a reader wants to know about.
    for rejected in recipient
        .get("rejected")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let reason = rejected.get("reason").and_then(Value::as_str).unwrap_or_default();
        if reason.contains(" on file ") && !reason.starts_with("a key") && text("level") != "E" {
            let method = rejected.get("method").and_then(Value::as_str).unwrap_or_default();
            why = format!("{why} ({method}: {reason})");
        }
    }
    if let Some(minutes) = rerouted_after(recipient) {
        why = format!("TLS was required and failed at delivery; {minutes} minutes later the portal took over.");
    } else if text("address") == TLS_FAILS.1 {
        why.push_str(" It will: then the portal takes over, within ten minutes.");
    }
    Row {
        address: text("address"),
        method: text("method"),
        level: text("level"),
        why,
        state: text("status"),
        delivery: text("delivery_id"),
    }
}

/// After how many minutes a delivery went to the portal since required TLS failed; `None` for one that did not.
fn rerouted_after(recipient: &Value) -> Option<i64> {
    let events = recipient.get("events")?.as_array()?;
    let at = |kind: &str| {
        let event = events
            .iter()
            .find(|event| event.get("type").and_then(Value::as_str) == Some(kind))?;
        event.get("at")?.as_str()?.parse::<jiff::Timestamp>().ok()
    };
    Some(at("not_by_tls")?.duration_since(at("submitting")?).as_mins())
}

/// Keeps what SES was handed beside the keys, so that the commands work after the demo has ended.
fn write_mails(system: &System, folder: &Path) -> Result<()> {
    for (_, address) in EVERYBODY {
        let handed = system.aws.ses.messages(&crate::aws::ses::Filter {
            to: Some(address.to_owned()),
            id: None,
        })?;
        if let Some(last) = handed.last()
            && let Some(raw) = system.aws.ses.raw(&last.id)?
        {
            let file = folder.join(format!("{address}.eml"));
            fs::write(&file, raw).with_context(|| format!("{} cannot be written", file.display()))?;
        }
    }
    Ok(())
}

/// Private keys and mails are for their owner alone.
fn restrict(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .with_context(|| format!("{} cannot be kept from others", folder.display()))?;
    Ok(())
}
