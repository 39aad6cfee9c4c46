//! Fail closed by type: only `Sealed` can be sent, and only this module makes it.
//!
//! There is no way from a plain message to SES. `Sealed<Tls>` always names the configuration set whose TLS policy is
//! REQUIRE; the other three are sealed themselves, or hold nothing to protect. What is random in sealing is done once: the
//! bytes are kept under the record key, so that every attempt sends the same.

mod openpgp;
mod portal;
mod smime;
mod tls;

use std::marker::PhantomData;

use sealpost_codec::address::Address;
use sealpost_codec::mime::{self, Attachment, Content, ReadAttachment};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::aws::bucket::Put;
use crate::aws::ses::Submission;
use crate::config::Config;
use crate::delivery::DeliveryRow;
use crate::email::{EmailRow, Head};
use crate::engagement::Marks;
use crate::error::{Error, Result};
use crate::id::{DeliveryId, PickupId, TenantId};
use crate::key::Object;
use crate::pickup;
use crate::planted;
use crate::policy::{Method, Plan};
use crate::recipient::Known;
use crate::record::RecordKey;
use crate::simulator::{self, Outcome};
use crate::unsubscribe;

pub(crate) use portal::code_notice;

/// One of the four ways to seal.
pub(crate) trait Mode {
    /// The configuration set that mails of this mode name.
    fn configuration_set(config: &Config) -> &str;
}

/// The message itself, which SES may hand over by TLS only.
pub(crate) struct Tls;
/// A notice that says nothing but where the message can be read.
pub(crate) struct Portal;
/// PGP/MIME.
pub(crate) struct OpenPgp;
/// Signed, then encrypted S/MIME.
pub(crate) struct Smime;

impl Mode for Tls {
    fn configuration_set(config: &Config) -> &str {
        match crate::planted!("bug_19") {
            true => &config.sealed_configuration_set,
            false => &config.tls_configuration_set,
        }
    }
}

impl Mode for Portal {
    fn configuration_set(config: &Config) -> &str {
        &config.sealed_configuration_set
    }
}

impl Mode for OpenPgp {
    fn configuration_set(config: &Config) -> &str {
        &config.sealed_configuration_set
    }
}

impl Mode for Smime {
    fn configuration_set(config: &Config) -> &str {
        &config.sealed_configuration_set
    }
}

/// A mail that may be handed to SES, for exactly one recipient.
pub(crate) struct Sealed<M> {
    raw: Vec<u8>,
    sender: Address,
    recipient: Address,
    mode: PhantomData<M>,
}

impl<M> Sealed<M> {
    /// Private to this module and its children: they are the only makers.
    fn new(raw: Vec<u8>, sender: Address, recipient: Address) -> Self {
        Self {
            raw,
            sender,
            recipient,
            mode: PhantomData,
        }
    }

    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    pub(crate) fn sender(&self) -> &Address {
        &self.sender
    }

    pub(crate) fn recipient(&self) -> &Address {
        &self.recipient
    }
}

/// A sealed mail of whichever mode the plan chose.
pub(crate) enum AnySealed {
    Tls(Sealed<Tls>),
    Portal(Sealed<Portal>, PickupId),
    OpenPgp(Sealed<OpenPgp>),
    Smime(Sealed<Smime>),
}

impl AnySealed {
    /// The portal message that a notice leads to.
    pub(crate) fn pickup(&self) -> Option<&PickupId> {
        match self {
            AnySealed::Portal(_, pickup) => Some(pickup),
            _ => None,
        }
    }

    fn method(&self) -> Method {
        match self {
            AnySealed::Tls(_) => Method::Tls,
            AnySealed::Portal(..) => Method::Portal,
            AnySealed::OpenPgp(_) => Method::OpenPgp,
            AnySealed::Smime(_) => Method::Smime,
        }
    }

    fn recipient(&self) -> &Address {
        match self {
            AnySealed::Tls(sealed) => sealed.recipient(),
            AnySealed::Portal(sealed, _) => sealed.recipient(),
            AnySealed::OpenPgp(sealed) => sealed.recipient(),
            AnySealed::Smime(sealed) => sealed.recipient(),
        }
    }

    /// Hands it to SES, once, with the tags that SES's events bring back.
    pub(crate) async fn submit(
        &self,
        app: &App,
        tenant: &TenantId,
        delivery: &DeliveryRow,
        proof: String,
    ) -> Submission {
        let mut tags = vec![
            ("tenant", tenant.to_string()),
            ("email", delivery.email.to_string()),
            ("delivery", delivery.id.to_string()),
            ("attempt", delivery.attempt.to_string()),
            ("method", self.method().as_str().to_owned()),
            ("proof", proof),
        ];
        if planted!("leak_03") {
            let address = self.recipient().as_str();
            tags.push(("recipient", address.split('@').next().unwrap_or_default().to_owned()));
        }
        if let Some(outcome) = Outcome::of(self.recipient()) {
            return simulator::submit(app, outcome, self.method(), &tags).await;
        }
        let (ses, config) = (&app.aws.ses, &app.config);
        match self {
            AnySealed::Tls(sealed) => ses.send(config, sealed, &tags).await,
            AnySealed::Portal(sealed, _) => ses.send(config, sealed, &tags).await,
            AnySealed::OpenPgp(sealed) => ses.send(config, sealed, &tags).await,
            AnySealed::Smime(sealed) => ses.send(config, sealed, &tags).await,
        }
    }
}

/// What is sealed, and for whom.
pub(crate) struct Material<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) email: &'a EmailRow,
    pub(crate) delivery: &'a DeliveryId,
    /// How often its notice was lost and made anew: what was sealed before is then not taken again.
    pub(crate) n_renewals: u32,
    pub(crate) head: &'a Head,
    pub(crate) recipient: &'a Address,
    pub(crate) record: &'a RecordKey,
    /// The archived message, as composed at acceptance.
    pub(crate) message: &'a [u8],
    pub(crate) known: &'a Known,
    /// Where the recipient unsubscribes; for marketing alone.
    pub(crate) unsubscribe: Option<String>,
    /// What makes openings and clicks known; for required TLS alone.
    pub(crate) marks: Option<Marks>,
}

impl Material<'_> {
    /// The message as its parts, to be composed anew inside an encryption.
    fn content(&self) -> Result<Content> {
        let read = mime::read(self.message)
            .map_err(|error| Error::internal("An archived message cannot be read.").because(error))?;
        let head = self.head;
        let mut content = Content {
            from: head.from.clone(),
            reply_to: head.reply_to.clone(),
            to: head.to.clone(),
            cc: head.cc.clone(),
            subject: head.subject.clone(),
            text: read.text,
            html: read.html,
            attachments: read.attachments.into_iter().map(attachment).collect(),
            headers: head.headers.clone(),
            message_id: head.message_id.clone(),
            date: head.date_s,
        };
        // The way out is added after the marks: it is not counted.
        if let Some(marks) = &self.marks {
            marks.add_to(&mut content);
        }
        if let Some(link) = &self.unsubscribe {
            unsubscribe::add_to(&mut content, link);
        }
        Ok(content)
    }

    fn sealed<M>(&self, raw: Vec<u8>, sender: Address) -> Sealed<M> {
        Sealed::new(raw, sender, self.recipient.clone())
    }
}

fn attachment(read: ReadAttachment) -> Attachment {
    let ReadAttachment {
        filename,
        content_type,
        content_id,
        content,
    } = read;
    Attachment {
        filename,
        content_type,
        content_id,
        content,
    }
}

/// Seals as the plan says. Safe to be called again: what was sealed before is taken.
///
/// # Errors
/// Unavailable; Internal, when something cannot be sealed. Never anything weaker.
pub(crate) async fn seal(app: &App, plan: &Plan, material: &Material<'_>) -> Result<AnySealed> {
    let sender = material.head.from.address.clone();
    match plan.method {
        Method::Tls => Ok(AnySealed::Tls(tls::seal(material, sender)?)),
        Method::OpenPgp => {
            let made = once(app, plan, material, openpgp::make(app, material)?, None).await?;
            Ok(AnySealed::OpenPgp(material.sealed(made.raw, sender)))
        }
        Method::Smime => {
            let made = once(app, plan, material, smime::make(app, plan, material).await?, None).await?;
            Ok(AnySealed::Smime(material.sealed(made.raw, sender)))
        }
        Method::Portal => {
            let tenant = app.tenant(material.tenant).await?;
            let (raw, fresh) = portal::make(app, &tenant, material).await?;
            let made = once(app, plan, material, raw, Some(fresh.clone())).await?;
            let pickup = made
                .pickup
                .ok_or_else(|| Error::internal("A notice leads to no portal message."))?;
            if pickup != fresh {
                // An earlier attempt's notice goes, so nobody will ever have this link.
                pickup::discard(app, material.tenant, &fresh).await?;
            }
            Ok(AnySealed::Portal(
                material.sealed(made.raw, tenant.care_address.address),
                pickup,
            ))
        }
    }
}

/// A sealed mail as it is kept between attempts.
#[derive(Serialize, Deserialize)]
struct Made {
    #[serde(with = "base64_bytes")]
    raw: Vec<u8>,
    pickup: Option<PickupId>,
}

const PART: &str = "sealed";

/// Keeps what was sealed, or takes what an earlier attempt with the same plan kept. The attempt is made first, since asking
/// for an object that is not there would need the right to list the bucket, and earlier attempts are rare.
async fn once(app: &App, plan: &Plan, material: &Material<'_>, raw: Vec<u8>, pickup: Option<PickupId>) -> Result<Made> {
    let made = Made { raw, pickup };
    let plain = serde_json::to_vec(&made)
        .map_err(|error| Error::internal("A sealed mail could not be written.").because(error))?;
    let path = match material.n_renewals {
        0 => plan.way_sha256(),
        n => format!("{}-{n}", plan.way_sha256()),
    };
    let object = Object::Sealed(material.tenant, &material.email.id, material.delivery, &path);
    match app.put_object(&object, material.record.seal(PART, &plain)?).await? {
        Put::Created(_) => Ok(made),
        Put::Exists if crate::planted!("bug_22") => Ok(made),
        Put::Exists => {
            let bytes = app.get_object(&object, None).await?;
            let bytes = bytes.ok_or_else(|| Error::internal("A sealed mail is there and is not."))?;
            let plain = material.record.unseal(PART, &bytes)?;
            serde_json::from_slice(&plain).map_err(|_| Error::internal("A sealed mail does not have its form."))
        }
    }
}

mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD
            .decode(String::deserialize(deserializer)?)
            .map_err(serde::de::Error::custom)
    }
}
