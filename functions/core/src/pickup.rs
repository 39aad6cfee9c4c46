//! A portal message: one email, one recipient, one link.
//!
//! The message is a separate copy under a reading key that is derived from a server half (wrapped, destroyable: recall and
//! expiry) and the secret in the patient's link, of which only a hash is stored. So neither the table nor a link alone opens
//! it, and a link alone shows nothing before the one-time code. A `GET` changes nothing: link scanners open links.
//! Unknown, expired and destroyed links answer alike.

mod expiry;

use std::collections::BTreeMap;

use aws_lc_rs::hkdf;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{Timestamp, ToSpan};
use sealpost_codec::address::Address;
use sealpost_codec::envelope::{self, WrappingKey};
use sealpost_codec::mime::{self, ReadMessage};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::actor::Actor;
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::bucket::Put;
use crate::aws::keys::{hex, sha256};
use crate::aws::ses::Submission;
use crate::aws::table::{Expression, Outcome, Transaction, absent, number};
use crate::delivery::DeliveryRow;
use crate::delivery::observation::{Observed, What};
use crate::delivery::track;
use crate::email::EmailRow;
use crate::error::{Error, Kind, Result};
use crate::id::{DeliveryId, EmailId, PickupId, TenantId};
use crate::key::{Key, Object, Purpose, month};
use crate::phi::Phi;
use crate::seal::code_notice;
use crate::tenant::TenantRow;

pub(crate) use expiry::{discard, over};

/// How long a code is good, minutes.
pub const CODE_MINUTES: i64 = 10;
/// How many codes an hour may be sent for one message.
const CODES_AN_HOUR: usize = 5;
/// How many wrong codes lock the message.
const MAX_WRONG: u32 = 5;
/// How long it is locked then, minutes.
const LOCK_MINUTES: i64 = 60;
/// How long a message stays open after a right code, minutes (45 CFR 164.312(a)(2)(iii), automatic logoff).
pub const SESSION_MINUTES: i64 = 15;

/// How long after its end a row is kept that no sweep found, seconds.
const KEPT_S: i64 = 30 * 86_400;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// A portal message as the table holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PickupRow {
    id: PickupId,
    email: EmailId,
    delivery: DeliveryId,
    /// SHA-256 of the secret in the link.
    secret_sha256: String,
    /// The server half, sealed under the tenant's portal key.
    #[serde(with = "serde_bytes")]
    server_half: Vec<u8>,
    /// The period of that key.
    period: String,
    /// An [`Addressee`], sealed under the reading key.
    #[serde(with = "serde_bytes")]
    addressee: Vec<u8>,
    created_at_ms: i64,
    expires_at_ms: i64,
    /// When the row goes if nothing removed it before, seconds; for DynamoDB's TTL.
    expires_at: i64,
    /// Grows with every write.
    ver: u64,
    /// The code that is good now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    /// When codes were sent in the last hour.
    codes_at_ms: Vec<i64>,
    /// Wrong codes since the last right one or the last lock.
    n_wrong: u32,
    locked_until_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Code {
    /// SHA-256 of pickup, browser and code.
    sha256: String,
    expires_at_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SessionRow {
    expires_at_ms: i64,
    /// For DynamoDB's TTL, seconds.
    expires_at: i64,
}

/// To whom codes are sent.
#[derive(Serialize, Deserialize)]
struct Addressee {
    address: Address,
}

/// A new portal message.
pub(crate) struct Made {
    pub(crate) id: PickupId,
    pub(crate) link: Phi<String>,
    pub(crate) expires_at: Timestamp,
}

/// What a link leads to, before any code: whom it is from, and nothing of the message.
pub struct Pickup {
    tenant: TenantRow,
    row: PickupRow,
    reading_key: WrappingKey,
}

/// How a code was answered.
pub enum Answer {
    /// It was right: the session's token, for a cookie.
    Right(Phi<String>),
    /// It was wrong, or there is none that is good.
    Wrong,
    /// Too many were wrong; until when nothing is tried.
    Locked(Timestamp),
}

/// Whether a code was sent.
pub enum CodeSent {
    /// It is on its way to the address of the notice.
    Sent,
    /// Too many were sent or tried; until when to wait.
    Wait(Timestamp),
}

/// Makes the portal copy of a message for one recipient.
pub(crate) async fn make(
    app: &App,
    tenant: &TenantRow,
    email: &EmailRow,
    delivery: &DeliveryId,
    recipient: &Address,
    message: &[u8],
) -> Result<Made> {
    let id = PickupId::new(&app.clock, &app.random)?;
    let period = month(id.made_at());
    let secret = Zeroizing::new(app.random.bytes::<32>()?);
    let half = Zeroizing::new(app.random.bytes::<32>()?);
    let reading_key = reading_key(&tenant.id, &id, half.as_slice(), secret.as_slice())?;
    let sealing = |error| Error::internal("A portal copy could not be sealed.").because(error);
    let copy = envelope::seal(&reading_key, &context(&tenant.id, &id, "message"), message).map_err(sealing)?;
    let addressee = serde_json::to_vec(&Addressee {
        address: recipient.clone(),
    })
    .map_err(|error| Error::internal("A portal copy could not be addressed.").because(error))?;
    let portal_key = app.period_key(&tenant.id, Purpose::Portal, &period).await?;
    let half_context = context(&tenant.id, &id, "server half");
    let days = i64::from(email.expires_in_days).saturating_mul(24);
    let expires_at = id.made_at().checked_add(days.hours()).unwrap_or(Timestamp::MAX);
    let row = PickupRow {
        id: id.clone(),
        email: email.id.clone(),
        delivery: delivery.clone(),
        secret_sha256: sha256(secret.as_slice()),
        server_half: envelope::seal(&portal_key, &half_context, half.as_slice()).map_err(sealing)?,
        period,
        addressee: envelope::seal(&reading_key, &context(&tenant.id, &id, "addressee"), &addressee).map_err(sealing)?,
        created_at_ms: id.made_at().as_millisecond(),
        expires_at_ms: expires_at.as_millisecond(),
        expires_at: expires_at.as_second().saturating_add(KEPT_S),
        ver: 1,
        code: None,
        codes_at_ms: Vec::new(),
        n_wrong: 0,
        locked_until_ms: 0,
    };
    // The row comes first, so that a copy without a row is one that nobody will ever ask for.
    match Transaction::new(app)
        .put("pickup", &Key::Pickup(&tenant.id, &id), &row, Some(absent()))
        .commit()
        .await?
    {
        Outcome::Committed => {}
        Outcome::Refused(_) => return Err(Error::internal("A new id was already taken.")),
    }
    if app.put_object(&Object::Portal(&tenant.id, &id), copy).await? == Put::Exists {
        return Err(Error::internal("A new id was already taken."));
    }
    let mut token = Vec::with_capacity(64);
    token.extend_from_slice(&tenant.id.to_bytes());
    token.extend_from_slice(&id.to_bytes());
    token.extend_from_slice(secret.as_slice());
    let link = format!("{}/m/{}", app.config.portal_url, URL_SAFE_NO_PAD.encode(token));
    Ok(Made {
        id,
        link: Phi::new(link),
        expires_at,
    })
}

/// What the token of a link leads to.
///
/// # Errors
/// NotFound for a token that is malformed, unknown, altered or expired: all alike.
pub async fn find(app: &App, token: &str) -> Result<Pickup> {
    let (tenant, id, secret) = split(token).ok_or_else(Error::not_found)?;
    let row = app.get::<PickupRow>(&Key::Pickup(&tenant, &id)).await?;
    let stored = row
        .as_ref()
        .map_or_else(|| sha256(b""), |row| row.secret_sha256.clone());
    let is_right = bool::from(sha256(secret.as_slice()).as_bytes().ct_eq(stored.as_bytes()));
    let row = row
        .filter(|row| is_right && app.clock.now_ms() < row.expires_at_ms)
        .ok_or_else(Error::not_found)?;
    let tenant_row = app.tenant(&tenant).await?;
    let portal_key = app.period_key(&tenant, Purpose::Portal, &row.period).await?;
    let half = envelope::open(&portal_key, &context(&tenant, &id, "server half"), &row.server_half)
        .map_err(|error| Error::internal("A server half does not open.").because(error))?;
    let reading_key = reading_key(&tenant, &id, &half, secret.as_slice())?;
    Ok(Pickup {
        tenant: tenant_row,
        row,
        reading_key,
    })
}

impl Pickup {
    /// What patients know the sender by.
    #[must_use]
    pub fn organisation(&self) -> &str {
        &self.tenant.name
    }

    /// The message's id, which opens nothing.
    #[must_use]
    pub fn id(&self) -> &PickupId {
        &self.row.id
    }

    /// Whom patients turn to with doubts.
    #[must_use]
    pub fn care_address(&self) -> &str {
        self.tenant.care_address.address.as_str()
    }

    /// Until when the message can be read.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.row.expires_at_ms).unwrap_or(Timestamp::MAX)
    }

    /// Until when no code is tried or sent, if it is locked now.
    #[must_use]
    pub fn locked_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = Timestamp::from_millisecond(self.row.locked_until_ms).ok()?;
        (now < until).then_some(until)
    }

    /// Sends a one-time code to the address that the notice went to. `browser` binds the code to the browser that asked.
    ///
    /// # Errors
    /// Unavailable, also when SES did not clearly take the mail: another code may be asked for.
    pub async fn send_code(&self, app: &App, browser: &str) -> Result<CodeSent> {
        let now = app.clock.now();
        let now_ms = now.as_millisecond();
        if let Some(until) = self.locked_until(now) {
            return Ok(CodeSent::Wait(until));
        }
        let mut row = self.row.clone();
        row.codes_at_ms.retain(|at| at.saturating_add(HOUR_MS) > now_ms);
        if let Some(first) = row.codes_at_ms.first()
            && row.codes_at_ms.len() >= CODES_AN_HOUR
        {
            let until = first.saturating_add(HOUR_MS);
            return Ok(CodeSent::Wait(Timestamp::from_millisecond(until).unwrap_or(now)));
        }
        let code = format!("{:08}", app.random.below(100_000_000)?);
        row.code = Some(Code {
            sha256: self.code_hash(browser, &code),
            expires_at_ms: now_ms.saturating_add(CODE_MINUTES * MINUTE_MS),
        });
        row.codes_at_ms.push(now_ms);
        // The code is stored before it is sent, so that a repeated request cannot outrun the limit.
        self.save(app, row, Action::PickupCodeSent).await?;
        let addressee = envelope::open(&self.reading_key, &self.context("addressee"), &self.row.addressee)
            .map_err(|error| Error::internal("An addressee does not open.").because(error))?;
        let addressee: Addressee =
            serde_json::from_slice(&addressee).map_err(|_| Error::internal("An addressee does not have its form."))?;
        let shown = code
            .split_at_checked(4)
            .map_or(code.clone(), |(one, two)| format!("{one} {two}"));
        let sealed = code_notice(app, &self.tenant, &addressee.address, &shown, CODE_MINUTES)?;
        let tags = [("pickup", self.row.id.to_string()), ("method", "portal".to_owned())];
        match app.aws.ses.send(&app.config, &sealed, &tags).await {
            Submission::Accepted { .. } => Ok(CodeSent::Sent),
            _ => Err(Error::new(Kind::Unavailable, "The code could not be sent.")),
        }
    }

    /// Tries a code. A right one is used up.
    ///
    /// # Errors
    /// Unavailable; Conflict when the message changed at the same time.
    pub async fn enter(&self, app: &App, browser: &str, code: &str) -> Result<Answer> {
        let now = app.clock.now();
        let now_ms = now.as_millisecond();
        if let Some(until) = self.locked_until(now) {
            return Ok(Answer::Locked(until));
        }
        let typed: String = code.chars().filter(char::is_ascii_digit).collect();
        let hash = self.code_hash(browser, &typed);
        let good = self.row.code.as_ref().filter(|code| now_ms < code.expires_at_ms);
        let is_right = good.is_some_and(|code| bool::from(code.sha256.as_bytes().ct_eq(hash.as_bytes())));
        let mut row = self.row.clone();
        if is_right {
            row.code = None;
            row.n_wrong = 0;
            let token = URL_SAFE_NO_PAD.encode(app.random.bytes::<32>()?);
            let expires_at_ms = now_ms.saturating_add(SESSION_MINUTES * MINUTE_MS);
            let session = SessionRow {
                expires_at_ms,
                expires_at: expires_at_ms.div_euclid(1000),
            };
            let hash = sha256(token.as_bytes());
            let at = Key::PickupSession(&self.tenant.id, &self.row.id, &hash);
            self.save_with(
                app,
                Transaction::new(app).put_new("session", &at, &session),
                row,
                Action::PickupOpened,
            )
            .await?;
            return Ok(Answer::Right(Phi::new(token)));
        }
        row.n_wrong = row.n_wrong.saturating_add(1);
        if row.n_wrong < MAX_WRONG {
            self.save_with(app, Transaction::new(app), row, Action::PickupCodeRefused)
                .await?;
            return Ok(Answer::Wrong);
        }
        row.code = None;
        row.n_wrong = 0;
        row.locked_until_ms = now_ms.saturating_add(LOCK_MINUTES * MINUTE_MS);
        let until = Timestamp::from_millisecond(row.locked_until_ms).unwrap_or(now);
        self.save(app, row, Action::PickupLocked).await?;
        Ok(Answer::Locked(until))
    }

    /// Notes with the delivery that its recipient has read it; the first time counts.
    async fn note_picked_up(&self, app: &App) -> Result<()> {
        let (tenant, row) = (&self.tenant.id, &self.row);
        let email = app.get::<EmailRow>(&Key::Email(tenant, &row.email)).await?;
        let delivery = app
            .get::<DeliveryRow>(&Key::Delivery(tenant, &row.email, &row.delivery))
            .await?;
        let (Some(email), Some(delivery)) = (email, delivery) else {
            return Ok(());
        };
        if delivery.observed.iter().any(|seen| seen.what == What::PickedUp) {
            return Ok(());
        }
        let seen = Observed {
            what: What::PickedUp,
            attempt: delivery.attempt,
            at_ms: app.clock.now_ms(),
        };
        let actor = Actor::Recipient(row.id.clone());
        track::observe(app, &actor, tenant, &email, &row.delivery, &seen, None).await?;
        Ok(())
    }

    /// Until when a browser's session is open.
    ///
    /// # Errors
    /// Unauthenticated without an open session; Unavailable.
    pub async fn session_until(&self, app: &App, session: &str) -> Result<Timestamp> {
        let hash = sha256(session.as_bytes());
        let at = Key::PickupSession(&self.tenant.id, &self.row.id, &hash);
        let open = app
            .get::<SessionRow>(&at)
            .await?
            .filter(|row| app.clock.now_ms() < row.expires_at_ms);
        let open = open.ok_or_else(|| Error::new(Kind::Unauthenticated, "A code is needed."))?;
        Ok(Timestamp::from_millisecond(open.expires_at_ms).unwrap_or(Timestamp::MIN))
    }

    /// The message, for a browser whose session is open.
    ///
    /// # Errors
    /// Unauthenticated without an open session; Unavailable.
    pub async fn message(&self, app: &App, session: &str) -> Result<ReadMessage> {
        self.session_until(app, session).await?;
        let copy = app
            .get_object(&Object::Portal(&self.tenant.id, &self.row.id), None)
            .await?;
        let copy = copy.ok_or_else(Error::not_found)?;
        let plain = envelope::open(&self.reading_key, &self.context("message"), &copy)
            .map_err(|error| Error::internal("A portal copy does not open.").because(error))?;
        let message =
            mime::read(&plain).map_err(|error| Error::internal("A portal copy cannot be read.").because(error))?;
        // The patient reads now, whether or not the delivery's state can be brought up to date.
        if let Err(error) = self.note_picked_up(app).await {
            tracing::warn!(pickup = %self.row.id, kind = ?error.kind(), "a reading was not noted: {error}");
        }
        Ok(message)
    }

    /// Closes a browser's session.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn leave(&self, app: &App, session: &str) -> Result<()> {
        let hash = sha256(session.as_bytes());
        let at = Key::PickupSession(&self.tenant.id, &self.row.id, &hash);
        Transaction::new(app).delete("session", &at).commit().await?;
        Ok(())
    }

    async fn save(&self, app: &App, row: PickupRow, action: Action) -> Result<()> {
        self.save_with(app, Transaction::new(app), row, action).await
    }

    async fn save_with(&self, app: &App, transaction: Transaction<'_>, row: PickupRow, action: Action) -> Result<()> {
        let ver = i64::try_from(row.ver).unwrap_or(i64::MAX);
        let row = PickupRow {
            ver: row.ver.saturating_add(1),
            ..row
        };
        let actor = Actor::Recipient(row.id.clone());
        let entry = Entry {
            tenant: &self.tenant.id,
            actor: &actor,
            action,
            subject: row.id.as_str(),
            facts: BTreeMap::from([("email", row.email.to_string()), ("delivery", row.delivery.to_string())]),
        };
        let is_same = Expression::new("ver = :ver").with(":ver", number(ver));
        let at = Key::Pickup(&self.tenant.id, &row.id);
        match transaction
            .put("pickup", &at, &row, Some(is_same))
            .audit(app, entry)?
            .commit()
            .await?
        {
            Outcome::Committed => Ok(()),
            Outcome::Refused(_) => Err(Error::new(
                Kind::Conflict,
                "The message was used at the same time; try again.",
            )),
        }
    }

    fn code_hash(&self, browser: &str, code: &str) -> String {
        sha256(format!("{}\n{browser}\n{code}", self.row.id).as_bytes())
    }

    fn context(&self, part: &str) -> BTreeMap<String, String> {
        context(&self.tenant.id, &self.row.id, part)
    }
}

/// A token that binds codes to the browser that asked for them, for a cookie.
///
/// # Errors
/// Internal, when there is no randomness.
pub fn new_browser(app: &App) -> Result<String> {
    Ok(hex(&app.random.bytes::<16>()?))
}

pub(crate) fn split(token: &str) -> Option<(TenantId, PickupId, Zeroizing<[u8; 32]>)> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(token).ok()?);
    let (tenant, rest) = bytes.split_first_chunk::<16>()?;
    let (id, secret) = rest.split_first_chunk::<16>()?;
    let secret = <[u8; 32]>::try_from(secret).ok()?;
    Some((
        TenantId::from_bytes(*tenant),
        PickupId::from_bytes(*id),
        Zeroizing::new(secret),
    ))
}

fn reading_key(tenant: &TenantId, id: &PickupId, half: &[u8], secret: &[u8]) -> Result<WrappingKey> {
    let failed = |error: aws_lc_rs::error::Unspecified| Error::internal("A key could not be derived.").because(error);
    let info = format!("sealpost portal {tenant} {id}");
    let mut key = Zeroizing::new([0_u8; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, half)
        .extract(secret)
        .expand(&[info.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .map_err(failed)?;
    Ok(WrappingKey {
        namespace: "sealpost".to_owned(),
        name: id.to_string(),
        key,
    })
}

fn context(tenant: &TenantId, id: &PickupId, part: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("tenant".to_owned(), tenant.to_string()),
        ("pickup".to_owned(), id.to_string()),
        ("part".to_owned(), part.to_owned()),
    ])
}
