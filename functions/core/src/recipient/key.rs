//! Recipients' certificates: uploaded by an authorised caller, checked, pinned.
//!
//! A certificate names its owner, with name and address, so that it is stored sealed under a period key of the tenant, as
//! all addresses are; what stands beside it in the clear is fingerprint, algorithm and time.

use std::collections::BTreeMap;

use sealpost_codec::address::Address;
use sealpost_codec::{envelope, openpgp, smime};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::FactsRow;
use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Outcome, Range, Transaction, absent, number};
use crate::email::request;
use crate::error::{self, Error, Result};
use crate::id::{RecipientKeyId, TenantId};
use crate::key::{self, Key, RECIPIENT_KEYS, RecipientHash, Table, recipient_partition};

/// What sort of certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A transferable public key (RFC 9580 section 10.1).
    OpenPgp,
    /// An X.509 certificate for S/MIME (RFC 8550).
    Smime,
}

impl Kind {
    /// The kind as it stands in requests, answers and keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::OpenPgp => "openpgp",
            Kind::Smime => "smime",
        }
    }
}

/// A pinned certificate as the table holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecipientKeyRow {
    /// The certificate's id.
    pub id: RecipientKeyId,
    /// What sort it is.
    pub kind: Kind,
    /// The certificate, binary or DER, sealed.
    #[serde(with = "serde_bytes")]
    pub(crate) certificate: Vec<u8>,
    /// Its fingerprint, upper-case hex.
    pub fingerprint: String,
    /// Algorithm and size, such as `RSA-3072`.
    pub algorithm: String,
    /// When it expires, seconds since the epoch, if it does.
    pub expires_at_s: Option<i64>,
    /// S/MIME only: the caller knows that the recipient's client reads AES-256-GCM (RFC 5084).
    #[serde(default)]
    pub reads_gcm: bool,
    /// When it was pinned.
    pub created_at_ms: i64,
}

/// The body of `POST /recipients/{address}/keys`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What sort of certificate it is.
    pub kind: Kind,
    /// The certificate, ASCII-armored or PEM.
    pub data: String,
    /// S/MIME only: the recipient's client is known to read AES-256-GCM.
    #[serde(default)]
    pub reads_gcm: bool,
}

/// Checks a certificate and pins it. The same one again is answered as before; another one while the pinned one is still
/// good is refused: who wants to change a key removes the old one first.
///
/// # Errors
/// Forbidden; Invalid with the reason why the certificate is not used; Conflict; Unavailable.
pub async fn pin(app: &App, actor: &Actor, address: &str, new: NewKey) -> Result<RecipientKeyRow> {
    let tenant = actor.tenant_with(Scope::RecipientsWrite)?;
    let address = request::address("address", address)?;
    let now_ms = app.clock.now_ms();
    let (row, certificate) = check(app, tenant, &address, &new, now_ms).await?;
    let hash = app.recipient_hash(tenant, &address).await?;
    let at = Key::RecipientKey(tenant, &hash, new.kind.as_str());
    if let Some(pinned) = app.get::<RecipientKeyRow>(&at).await? {
        let kept = pinned.open(app, tenant).await?;
        if pinned.fingerprint == row.fingerprint && *kept == certificate && pinned.reads_gcm == row.reads_gcm {
            return Ok(pinned);
        }
        if pinned.fingerprint != row.fingerprint && is_good(pinned.kind, &kept, &address, now_ms) {
            let message = "Another certificate of this kind is pinned for the recipient; remove it first.";
            return Err(Error::new(error::Kind::Conflict, message));
        }
    }
    let facts = BTreeMap::from([
        ("kind", new.kind.as_str().to_owned()),
        ("fingerprint", row.fingerprint.clone()),
    ]);
    let entry = Entry {
        tenant,
        actor,
        action: Action::RecipientKeyPinned,
        subject: row.id.as_str(),
        facts,
    };
    let transaction = Transaction::new(app).put("key", &at, &row, None).audit(app, entry)?;
    bump(app, tenant, &hash, transaction).await?;
    Ok(row)
}

/// The pinned certificates of a recipient.
///
/// # Errors
/// Forbidden; Invalid; Unavailable.
pub async fn list(app: &App, actor: &Actor, address: &str) -> Result<Vec<RecipientKeyRow>> {
    let tenant = actor.tenant_with(Scope::RecipientsRead)?;
    let address = request::address("address", address)?;
    let hash = app.recipient_hash(tenant, &address).await?;
    pinned(app, tenant, &hash).await
}

/// Removes a pinned certificate.
///
/// # Errors
/// Forbidden; Invalid; NotFound; Unavailable.
pub async fn remove(app: &App, actor: &Actor, address: &str, id: &str) -> Result<()> {
    let tenant = actor.tenant_with(Scope::RecipientsWrite)?;
    let address = request::address("address", address)?;
    let hash = app.recipient_hash(tenant, &address).await?;
    let row = pinned(app, tenant, &hash)
        .await?
        .into_iter()
        .find(|row| row.id.as_str() == id)
        .ok_or_else(Error::not_found)?;
    let facts = BTreeMap::from([
        ("kind", row.kind.as_str().to_owned()),
        ("fingerprint", row.fingerprint.clone()),
    ]);
    let entry = Entry {
        tenant,
        actor,
        action: Action::RecipientKeyRemoved,
        subject: row.id.as_str(),
        facts,
    };
    let transaction = Transaction::new(app)
        .delete("key", &Key::RecipientKey(tenant, &hash, row.kind.as_str()))
        .audit(app, entry)?;
    bump(app, tenant, &hash, transaction).await
}

/// Every certificate that is pinned for a recipient.
async fn pinned(app: &App, tenant: &TenantId, hash: &RecipientHash) -> Result<Vec<RecipientKeyRow>> {
    let range = Range {
        prefix: Some(RECIPIENT_KEYS),
        ..Range::default()
    };
    app.query(Table::People, &recipient_partition(tenant, hash), &range)
        .await
}

impl RecipientKeyRow {
    /// The certificate itself.
    ///
    /// # Errors
    /// Unavailable; Internal, when it does not open.
    pub(crate) async fn open(&self, app: &App, tenant: &TenantId) -> Result<Zeroizing<Vec<u8>>> {
        let key = app
            .period_key(tenant, key::Purpose::People, &key::month(self.id.made_at()))
            .await?;
        envelope::open(&key, &context(tenant, &self.id), &self.certificate)
            .map_err(|error| Error::internal("A recipient's certificate does not open.").because(error))
    }
}

async fn seal(app: &App, tenant: &TenantId, id: &RecipientKeyId, certificate: &[u8]) -> Result<Vec<u8>> {
    let key = app
        .period_key(tenant, key::Purpose::People, &key::month(id.made_at()))
        .await?;
    envelope::seal(&key, &context(tenant, id), certificate)
        .map_err(|error| Error::internal("A recipient's certificate could not be sealed.").because(error))
}

fn context(tenant: &TenantId, id: &RecipientKeyId) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("tenant".to_owned(), tenant.to_string()),
        ("recipient_key".to_owned(), id.to_string()),
    ])
}

/// Checks a new certificate; the row for it, and the certificate as it is.
async fn check(
    app: &App,
    tenant: &TenantId,
    address: &Address,
    new: &NewKey,
    now_ms: i64,
) -> Result<(RecipientKeyRow, Vec<u8>)> {
    let now_s = now_ms.div_euclid(1000);
    let id = RecipientKeyId::new(&app.clock, &app.random)?;
    let refused = |reason: &str, text: String| {
        Error::invalid("/data", format!("This certificate is not used ({reason}): {text}"))
    };
    let row = match new.kind {
        Kind::OpenPgp => {
            let certificate = openpgp::Certificate::import(new.data.as_bytes(), address, now_s)
                .map_err(|refusal| refused(refusal.reason(), refusal.to_string()))?;
            RecipientKeyRow {
                id,
                kind: new.kind,
                fingerprint: certificate.fingerprint().to_owned(),
                algorithm: certificate.algorithm().to_owned(),
                expires_at_s: certificate.expires_at(),
                certificate: certificate.to_bytes(),
                reads_gcm: false,
                created_at_ms: now_ms,
            }
        }
        Kind::Smime => {
            let certificate = smime::Certificate::import(new.data.as_bytes(), address, now_s)
                .map_err(|refusal| refused(refusal.reason(), refusal.to_string()))?;
            RecipientKeyRow {
                id,
                kind: new.kind,
                fingerprint: certificate.fingerprint().to_owned(),
                algorithm: certificate.algorithm().to_owned(),
                expires_at_s: Some(certificate.expires_at()),
                certificate: certificate.to_bytes(),
                reads_gcm: new.reads_gcm || certificate.reads_gcm(),
                created_at_ms: now_ms,
            }
        }
    };
    let certificate = seal(app, tenant, &row.id, &row.certificate).await?;
    let plain = row.certificate;
    Ok((RecipientKeyRow { certificate, ..row }, plain))
}

fn is_good(kind: Kind, certificate: &[u8], address: &Address, now_ms: i64) -> bool {
    let now_s = now_ms.div_euclid(1000);
    match kind {
        Kind::OpenPgp => {
            openpgp::Certificate::from_stored(certificate, address).is_ok_and(|key| key.check(now_s).is_ok())
        }
        Kind::Smime => smime::Certificate::from_stored(certificate, address).is_ok_and(|key| key.check(now_s).is_ok()),
    }
}

/// Commits a change of a recipient's facts together with the next version of them.
async fn bump(app: &App, tenant: &TenantId, hash: &RecipientHash, transaction: Transaction<'_>) -> Result<()> {
    let at = Key::Facts(tenant, hash);
    let (next, condition) = match app.get::<FactsRow>(&at).await? {
        None => (1, absent()),
        Some(row) => {
            let seen = number(i64::try_from(row.version).unwrap_or(i64::MAX));
            (
                row.version.saturating_add(1),
                Expression::new("version = :v").with(":v", seen),
            )
        }
    };
    match transaction
        .put("facts", &at, &FactsRow { version: next }, Some(condition))
        .commit()
        .await?
    {
        Outcome::Committed => Ok(()),
        Outcome::Refused(_) => Err(Error::new(
            error::Kind::Conflict,
            "The recipient was changed at the same time; try again.",
        )),
    }
}
