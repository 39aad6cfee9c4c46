//! One click out of marketing mail (RFC 8058).
//!
//! A link names the tenant, the email and the delivery by their ids, with a keyed hash over them; no address and no URL is in
//! it, and none can be guessed. Opening it changes nothing, since scanners open links; only a POST does, at once. It may be
//! posted any number of times.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealpost_codec::mime::Content;
use subtle::ConstantTimeEq;

use crate::actor::Actor;
use crate::app::App;
use crate::aws::table::Transaction;
use crate::delivery::DeliveryRow;
use crate::email::{EmailRow, Head};
use crate::error::{Error, Result};
use crate::event::{EventType, NewEvent};
use crate::id::{DeliveryId, EmailId, TenantId};
use crate::key::Key;
use crate::suppression::{self, Source};
use crate::tenant::TenantRow;

/// Three ids.
const IDS: usize = 48;
/// The tag, 128 bits.
const TAG: usize = 16;
const LENGTH: usize = IDS + TAG;

/// A link that is good.
pub struct Offer {
    tenant: TenantRow,
    email: EmailId,
    delivery: DeliveryId,
}

/// The ids and the tag in a token, if it has the form of one.
fn parse(token: &str) -> Option<([u8; IDS], [u8; TAG])> {
    // 64 bytes are 86 characters; whatever is longer is not worth decoding.
    if token.len() != LENGTH.div_ceil(3) * 4 - 2 {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (ids, tag) = bytes.split_at_checked(IDS)?;
    Some((ids.try_into().ok()?, tag.try_into().ok()?))
}

fn part(ids: &[u8; IDS], n: usize) -> [u8; 16] {
    let mut part = [0; 16];
    part.iter_mut()
        .zip(ids.iter().skip(n * 16))
        .for_each(|(to, from)| *to = *from);
    part
}

/// What the keyed hash of unsubscribing is apart by.
const FIELD: &str = "unsubscribe";

/// Whether a token's tag is the beginning of its hash. Takes the same time wherever they differ.
fn is_proved(hash: &[u8; 32], tag: &[u8; TAG]) -> bool {
    hash.split_at(TAG).0.ct_eq(tag).into()
}

/// The link by which the recipient of a delivery unsubscribes.
pub(crate) async fn link(app: &App, tenant: &TenantId, email: &EmailId, delivery: &DeliveryId) -> Result<String> {
    let mut ids = [0; IDS];
    let parts = [tenant.to_bytes(), email.to_bytes(), delivery.to_bytes()];
    ids.iter_mut()
        .zip(parts.iter().flatten())
        .for_each(|(to, from)| *to = *from);
    let hash = app.index_tag(tenant, FIELD, &ids).await?;
    let token = URL_SAFE_NO_PAD.encode([&ids[..], hash.split_at(TAG).0].concat());
    Ok(format!("{}/u/{token}", app.config.portal_url))
}

/// Puts a link into a message: the two header fields, in the place of any that the sender wrote, and a line at the end of
/// its texts.
pub(crate) fn add_to(content: &mut Content, link: &str) {
    const OURS: [&str; 2] = ["List-Unsubscribe", "List-Unsubscribe-Post"];
    content
        .headers
        .retain(|(name, _)| !OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name)));
    content.headers.extend(fields(link));
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
    let (ids, tag) = parse(token).ok_or_else(Error::not_found)?;
    let tenant = TenantId::from_bytes(part(&ids, 0));
    // A tenant that is made up must not get a key.
    let tenant = app.get::<TenantRow>(&Key::Tenant(&tenant)).await?;
    let tenant = tenant.ok_or_else(Error::not_found)?;
    if !is_proved(&app.index_tag(&tenant.id, FIELD, &ids).await?, &tag) {
        return Err(Error::not_found());
    }
    Ok(Offer {
        tenant,
        email: EmailId::from_bytes(part(&ids, 1)),
        delivery: DeliveryId::from_bytes(part(&ids, 2)),
    })
}

impl Offer {
    /// Whose mail it is.
    #[must_use]
    pub fn organisation(&self) -> &str {
        &self.tenant.name
    }

    /// Unsubscribes the recipient from marketing, from now on.
    ///
    /// # Errors
    /// NotFound, when the email is gone; Unavailable.
    pub async fn accept(&self, app: &App) -> Result<()> {
        const ACTOR: Actor = Actor::System("portal");
        let tenant = &self.tenant.id;
        let email = app.get::<EmailRow>(&Key::Email(tenant, &self.email)).await?;
        let delivery = app
            .get::<DeliveryRow>(&Key::Delivery(tenant, &self.email, &self.delivery))
            .await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::keys::keyed_hash;
    use crate::random::Random;

    #[test]
    fn only_the_one_form_is_a_token() {
        let good = URL_SAFE_NO_PAD.encode([7; LENGTH]);
        assert_eq!(good.len(), 86);
        let (ids, tag) = parse(&good).unwrap();
        assert_eq!((ids, tag), ([7; IDS], [7; TAG]));
        for bad in [
            String::new(),
            good[1..].to_owned(),
            format!("{good}A"),
            format!("{}=", &good[1..]),
            good.replace('B', "/"),
            format!(" {}", &good[1..]),
            format!("{}%", &good[1..]),
            "https://evil.example/".to_owned(),
        ] {
            assert!(parse(&bad).is_none(), "{bad}");
        }
        // The last character has four spare bits, which must be zero: one token has one spelling.
        let other = format!("{}{}", &good[..85], if good.ends_with('w') { 'x' } else { 'w' });
        assert!(parse(&other).is_none_or(|parsed| parsed != (ids, tag)));
    }

    #[test]
    fn ten_million_random_tokens_are_refused() {
        let key: [u8; 32] = Random::system().bytes().unwrap();
        let mut n_tried = 0_u32;
        let mut bytes = vec![0_u8; LENGTH * 10_000];
        for _ in 0..1_000 {
            aws_lc_rs::rand::fill(&mut bytes).unwrap();
            for token in bytes.chunks_exact(LENGTH) {
                let (ids, tag) = token.split_at(IDS);
                let hash = keyed_hash(&key, FIELD, ids);
                assert!(!is_proved(&hash, tag.try_into().unwrap()));
                n_tried += 1;
            }
        }
        assert_eq!(n_tried, 10_000_000);
        let hash = keyed_hash(&key, FIELD, &[7; IDS]);
        assert!(is_proved(&hash, hash[..TAG].try_into().unwrap()), "a good one is not");
    }

    #[test]
    fn ids_are_cut_out_in_their_order() {
        let mut ids = [0; IDS];
        ids.iter_mut().zip(0_u8..).for_each(|(byte, n)| *byte = n);
        assert_eq!(part(&ids, 0)[0], 0);
        assert_eq!(part(&ids, 1)[0], 16);
        assert_eq!(part(&ids, 2)[15], 47);
    }
}
