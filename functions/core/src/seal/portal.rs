//! The portal: a copy under a reading key, and a notice that has nothing of the message in it.
//!
//! The notice's templates take the organisation's name, its address, a link and a date, and nothing else: no subject, no
//! name, no text of the message can get into it. English and Spanish stand in one mail, since what language a patient
//! reads is itself not known here.

use askama::Template;
use jiff::tz::TimeZone;
use sealpost_codec::address::{Address, Mailbox};
use sealpost_codec::mime::{self, Content};

use super::{Material, Portal, Sealed};
use crate::app::App;
use crate::aws::keys::hex;
use crate::error::{Error, Result};
use crate::id::PickupId;
use crate::pickup;
use crate::planted;
use crate::planted::slip;
use crate::tenant::TenantRow;
use crate::unsubscribe;

#[derive(Template)]
#[template(path = "notice.txt")]
struct NoticeText<'a> {
    organisation: &'a str,
    care_address: &'a str,
    link: &'a str,
    expires_on: &'a str,
}

#[derive(Template)]
#[template(path = "notice.html")]
struct NoticeHtml<'a> {
    organisation: &'a str,
    care_address: &'a str,
    link: &'a str,
    expires_on: &'a str,
}

#[derive(Template)]
#[template(path = "code.txt")]
struct CodeText<'a> {
    organisation: &'a str,
    code: &'a str,
    minutes: i64,
}

/// Makes the portal copy and the notice that leads to it.
pub(super) async fn make(app: &App, tenant: &TenantRow, material: &Material<'_>) -> Result<(Vec<u8>, PickupId)> {
    let made = pickup::make(
        app,
        tenant,
        material.email,
        material.delivery,
        material.recipient,
        material.message,
    )
    .await?;
    let expires_on = made
        .expires_at
        .to_zoned_datetime(TimeZone::UTC)
        .strftime("%Y-%m-%d")
        .to_string();
    let care_address = tenant.care_address.address.as_str();
    let mut link = made.link.expose().clone();
    if planted!("leak_16") {
        link = format!(
            "{link}?for={}",
            slip::percent(material.head.patient_ref.as_deref().unwrap_or_default())
        );
    }
    let (organisation, link, expires_on) = (tenant.name.as_str(), link.as_str(), expires_on.as_str());
    let text = NoticeText {
        organisation,
        care_address,
        link,
        expires_on,
    }
    .render();
    let html = NoticeHtml {
        organisation,
        care_address,
        link,
        expires_on,
    }
    .render();
    let subject = format!("Secure message from {organisation} / Mensaje seguro de {organisation}");
    let subject = if planted!("leak_13") {
        material.head.subject.clone()
    } else {
        subject
    };
    let fields = material.unsubscribe.iter().flat_map(|link| unsubscribe::fields(link));
    let raw = compose(
        app,
        tenant,
        material.recipient,
        subject,
        (text, Some(html)),
        fields.collect(),
    )?;
    Ok((raw, made.id))
}

/// A mail with a one-time code for a portal message.
pub(crate) fn code_notice(
    app: &App,
    tenant: &TenantRow,
    recipient: &Address,
    code: &str,
    minutes: i64,
) -> Result<Sealed<Portal>> {
    let organisation = tenant.name.as_str();
    let subject = format!("Your code from {organisation} / Su código de {organisation}");
    let text = CodeText {
        organisation,
        code,
        minutes,
    }
    .render();
    let raw = compose(app, tenant, recipient, subject, (text, None), Vec::new())?;
    Ok(Sealed::new(raw, tenant.care_address.address.clone(), recipient.clone()))
}

fn compose(
    app: &App,
    tenant: &TenantRow,
    recipient: &Address,
    subject: String,
    (text, html): (askama::Result<String>, Option<askama::Result<String>>),
    mut headers: Vec<(String, String)>,
) -> Result<Vec<u8>> {
    let render = |error: askama::Error| Error::internal("A notice cannot be rendered.").because(error);
    // RFC 3834 section 5: automatic answers are not to be sent to this.
    headers.push(("Auto-Submitted".to_owned(), "auto-generated".to_owned()));
    let unique = hex(&app.random.bytes::<16>()?);
    let content = Content {
        from: tenant.care_address.clone(),
        reply_to: Vec::new(),
        to: vec![Mailbox::from(recipient.clone())],
        cc: Vec::new(),
        subject,
        text: Some(text.map_err(render)?),
        html: html.transpose().map_err(render)?,
        attachments: Vec::new(),
        headers,
        message_id: format!("{unique}@{}", tenant.care_address.address.domain()),
        date: app.clock.now_ms().div_euclid(1000),
    };
    mime::message(&content).map_err(|error| Error::internal("A notice cannot be composed.").because(error))
}
