//! One click out of marketing mail (RFC 8058).
//!
//! Opening the link changes nothing, since scanners open links; only a POST does, at once. It may be posted any number of
//! times.

use std::collections::BTreeMap;

use sealpost_codec::html;
use sealpost_codec::mime::Content;

use crate::actor::Actor;
use crate::app::App;
use crate::aws::table::Transaction;
use crate::delivery::DeliveryRow;
use crate::email::{EmailRow, Head};
use crate::error::{Error, Result};
use crate::event::{EventType, NewEvent};
use crate::key::Key;
use crate::link::{self, Link, Use};
use crate::suppression::{self, Source};

/// A link that is good.
pub struct Offer(Link);

/// Puts a link into a message: the two header fields, in the place of any that the sender wrote, and a line at the end of
/// its texts.
pub(crate) fn add_to(content: &mut Content, link: &str) {
    const OURS: [&str; 2] = ["List-Unsubscribe", "List-Unsubscribe-Post"];
    content
        .headers
        .retain(|(name, _)| !OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name)));
    content.headers.extend(fields(link));
    // The text is made here where there is none: from HTML with the link in it, it might lose the link in a mark that the
    // sender left open.
    if content.text.is_none() {
        content.text = content.html.as_deref().map(html::to_text);
    }
    if let Some(text) = &mut content.text {
        text.push_str(&format!(
            "\r\n\r\n-- \r\nUnsubscribe / Cancelar la suscripción:\r\n{link}\r\n"
        ));
    }
    if let Some(html) = &mut content.html {
        let line = format!("<p><a href=\"{link}\">Unsubscribe / Cancelar la suscripción</a></p>");
        match html.to_ascii_lowercase().rfind("</body") {
            Some(at) => html.insert_str(at, &line),
            None => html.push_str(&line),
        }
    }
}

/// The two header fields (RFC 2369 section 3.2, RFC 8058 section 3.1).
pub(crate) fn fields(link: &str) -> [(String, String); 2] {
    [
        ("List-Unsubscribe".to_owned(), format!("<{link}>")),
        (
            "List-Unsubscribe-Post".to_owned(),
            "List-Unsubscribe=One-Click".to_owned(),
        ),
    ]
}

/// What a link leads to. Changes nothing.
///
/// # Errors
/// NotFound, alike for whatever is not good; Unavailable.
pub async fn find(app: &App, token: &str) -> Result<Offer> {
    Ok(Offer(link::find(app, Use::Unsubscribe, token).await?))
}

impl Offer {
    /// Whose mail it is.
    #[must_use]
    pub fn organisation(&self) -> &str {
        &self.0.tenant.name
    }

    /// Unsubscribes the recipient from marketing, from now on.
    ///
    /// # Errors
    /// NotFound, when the email is gone; Unavailable.
    pub async fn accept(&self, app: &App) -> Result<()> {
        const ACTOR: Actor = Actor::System("portal");
        let Link {
            tenant,
            email: id,
            delivery,
            ..
        } = &self.0;
        let tenant = &tenant.id;
        let email = app.get::<EmailRow>(&Key::Email(tenant, id)).await?;
        let delivery = app.get::<DeliveryRow>(&Key::Delivery(tenant, id, delivery)).await?;
        let (Some(email), Some(delivery)) = (email, delivery) else {
            return Err(Error::not_found());
        };
        let (_, key) = app.record(tenant, &email.record).await?;
        let head = Head::open(&key, &email.head)?;
        let source = Source {
            email: email.id.clone(),
            delivery: delivery.id.clone(),
        };
        let added = suppression::on_unsubscribe(app, &ACTOR, tenant, head.recipient(delivery.n)?, &source).await?;
        if added.is_new {
            let event = NewEvent {
                tenant,
                kind: EventType::ContactUnsubscribed,
                email: Some(&email.id),
                delivery: Some(&delivery.id),
                sequence: 0,
                is_test: email.is_test,
                facts: BTreeMap::from([("suppression_id", added.id.to_string())]),
            };
            Transaction::new(app).event(app, event)?.commit().await?;
        }
        Ok(())
    }
}
