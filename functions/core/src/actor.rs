//! Who asks: an API key with its scopes, the system itself, a recipient in the portal, or the deployment's operator.
//!
//! A key reads `sp_live_<tenant and key id>_<secret>`, or `sp_test_…` in test mode, where it reaches simulated recipients
//! alone and sees nothing else; only the SHA-256 of the secret is stored (a 256-bit random secret
//! needs no slow hash) and compared in constant time. An unknown key, a wrong secret, a revoked key and one that has expired
//! answer alike.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::aws::keys::sha256;
use crate::error::{Error, Kind, Result};
use crate::id::{ApiKeyId, PickupId, TenantId};
use crate::key::Key;

/// What an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Scope {
    /// Send emails and ask for plans.
    #[serde(rename = "emails:send")]
    EmailsSend,
    /// Read emails.
    #[serde(rename = "emails:read")]
    EmailsRead,
    /// Read what is known of recipients and domains.
    #[serde(rename = "recipients:read")]
    RecipientsRead,
    /// Pin and remove recipients' keys, record domains.
    #[serde(rename = "recipients:write")]
    RecipientsWrite,
    /// Read the policy.
    #[serde(rename = "policies:read")]
    PoliciesRead,
    /// Replace the policy.
    #[serde(rename = "policies:write")]
    PoliciesWrite,
    /// Read webhook endpoints and what was posted to them.
    #[serde(rename = "webhooks:read")]
    WebhooksRead,
    /// Create, change and remove webhook endpoints, see their secrets, post events again.
    #[serde(rename = "webhooks:write")]
    WebhooksWrite,
    /// Read the feed of events.
    #[serde(rename = "events:read")]
    EventsRead,
    /// Create, list and revoke API keys.
    #[serde(rename = "api_keys:write")]
    ApiKeysWrite,
    /// Read who is suppressed, and how the streams do.
    #[serde(rename = "suppressions:read")]
    SuppressionsRead,
    /// Suppress addresses, take suppressions back, resume a stream.
    #[serde(rename = "suppressions:write")]
    SuppressionsWrite,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 12] = [
        Scope::EmailsSend,
        Scope::EmailsRead,
        Scope::RecipientsRead,
        Scope::RecipientsWrite,
        Scope::PoliciesRead,
        Scope::PoliciesWrite,
        Scope::WebhooksRead,
        Scope::WebhooksWrite,
        Scope::EventsRead,
        Scope::ApiKeysWrite,
        Scope::SuppressionsRead,
        Scope::SuppressionsWrite,
    ];

    /// The scope as it stands in requests and errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::EmailsSend => "emails:send",
            Scope::EmailsRead => "emails:read",
            Scope::RecipientsRead => "recipients:read",
            Scope::RecipientsWrite => "recipients:write",
            Scope::PoliciesRead => "policies:read",
            Scope::PoliciesWrite => "policies:write",
            Scope::WebhooksRead => "webhooks:read",
            Scope::WebhooksWrite => "webhooks:write",
            Scope::EventsRead => "events:read",
            Scope::ApiKeysWrite => "api_keys:write",
            Scope::SuppressionsRead => "suppressions:read",
            Scope::SuppressionsWrite => "suppressions:write",
        }
    }

    /// The scope of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// Which recipients a key reaches, and whose emails it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// People.
    #[default]
    Live,
    /// Simulated recipients, of `simulator.test`.
    Test,
}

impl Mode {
    /// How a key of this mode begins.
    fn prefix(self) -> &'static str {
        match self {
            Mode::Live => "sp_live_",
            Mode::Test => "sp_test_",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum Actor {
    /// A caller with an API key.
    ApiKey {
        /// Whose key it is.
        tenant: TenantId,
        /// The key.
        key: ApiKeyId,
        /// What it may do.
        scopes: BTreeSet<Scope>,
        /// Whom it reaches.
        mode: Mode,
    },
    /// The system, by the name of its function.
    System(&'static str),
    /// Somebody who holds the link of a portal message.
    Recipient(PickupId),
    /// Whoever holds the AWS account's rights.
    Operator,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::ApiKey { key, .. } => write!(f, "api_key:{key}"),
            Actor::System(name) => write!(f, "system:{name}"),
            Actor::Recipient(pickup) => write!(f, "recipient:{pickup}"),
            Actor::Operator => f.write_str("operator"),
        }
    }
}

impl Actor {
    /// The tenant of an API key that has this scope.
    ///
    /// # Errors
    /// Forbidden, naming the scope that is missing.
    pub fn tenant_with(&self, scope: Scope) -> Result<&TenantId> {
        match self {
            Actor::ApiKey { tenant, scopes, .. } if scopes.contains(&scope) => Ok(tenant),
            _ => Err(Error::new(
                Kind::Forbidden,
                format!("This API key does not have the scope `{}`.", scope.as_str()),
            )),
        }
    }

    /// Whom the actor reaches, and whose emails it sees.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Actor::ApiKey { mode, .. } => *mode,
            _ => Mode::Live,
        }
    }

    /// Whether the actor sees what is, or is not, of test mode.
    pub(crate) fn sees(&self, is_test: bool) -> bool {
        is_test == (self.mode() == Mode::Test)
    }
}

/// What is stored of an API key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApiKeyRow {
    /// The key.
    pub id: ApiKeyId,
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of the secret, hex.
    pub secret_sha256: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// Whom it reaches.
    #[serde(default)]
    pub mode: Mode,
    /// When it was made, milliseconds since the epoch.
    pub created_at_ms: i64,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<i64>,
    /// From when on it is not valid, if it has an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
}

impl ApiKeyRow {
    /// Whether it is valid at a time.
    fn is_live(&self, now_ms: i64) -> bool {
        self.revoked_at_ms.is_none() && self.expires_at_ms.is_none_or(|at| now_ms < at)
    }
}

/// A new key: what is stored, and the text that is shown once.
pub(crate) fn new_api_key(
    app: &App,
    tenant: &TenantId,
    name: String,
    scopes: BTreeSet<Scope>,
    mode: Mode,
) -> Result<(ApiKeyRow, String)> {
    let id = ApiKeyId::new(&app.clock, &app.random)?;
    let secret = URL_SAFE_NO_PAD.encode(app.random.bytes::<32>()?);
    let row = ApiKeyRow {
        id: id.clone(),
        name,
        secret_sha256: sha256(secret.as_bytes()),
        scopes,
        mode,
        created_at_ms: app.clock.now_ms(),
        revoked_at_ms: None,
        expires_at_ms: None,
    };
    Ok((row, format!("{}{}{}_{secret}", mode.prefix(), tenant.bare(), id.bare())))
}

/// Finds out who sends `authorization` (the header's value).
///
/// # Errors
/// Unauthenticated without a key; Forbidden, without telling why a key is not good; Unavailable.
pub async fn authenticate(app: &App, authorization: Option<&str>) -> Result<Actor> {
    let missing = || {
        Error::new(
            Kind::Unauthenticated,
            "Missing API key: send `Authorization: Bearer <key>`.",
        )
    };
    let text = authorization.ok_or_else(missing)?;
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => return Err(missing()),
    };
    // Resend answers 403 to a key that is not valid, and its Python SDK tells the error by that.
    let unknown = || Error::new(Kind::Forbidden, "This API key is not valid.").named("invalid_api_key");
    let (mode, tenant, key, secret) = split(token).ok_or_else(unknown)?;
    let row = app.get::<ApiKeyRow>(&Key::ApiKey(&tenant, &key)).await?;
    // A key that is not there is compared as well, so that the time tells nothing.
    let stored = row
        .as_ref()
        .map_or_else(|| sha256(b""), |row| row.secret_sha256.clone());
    let is_right = bool::from(sha256(secret.as_bytes()).as_bytes().ct_eq(stored.as_bytes()));
    match row {
        Some(row) if is_right && row.mode == mode && row.is_live(app.clock.now_ms()) => Ok(Actor::ApiKey {
            tenant,
            key,
            scopes: row.scopes,
            mode,
        }),
        _ => Err(unknown()),
    }
}

pub(crate) fn split(token: &str) -> Option<(Mode, TenantId, ApiKeyId, &str)> {
    let mode = [Mode::Live, Mode::Test]
        .into_iter()
        .find(|mode| token.starts_with(mode.prefix()))?;
    let (ids, secret) = token.strip_prefix(mode.prefix())?.split_once('_')?;
    let (tenant, key) = ids.split_at_checked(26)?;
    let tenant = TenantId::parse(&format!("{}{tenant}", TenantId::PREFIX))?;
    let key = ApiKeyId::parse(&format!("{}{key}", ApiKeyId::PREFIX))?;
    Some((mode, tenant, key, secret))
}
