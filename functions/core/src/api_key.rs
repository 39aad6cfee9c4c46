//! A tenant's API keys: created, listed, revoked. The secret is shown once and stored as a hash.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;

use crate::actor::{Actor, ApiKeyRow, Mode, Scope, new_api_key};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Outcome, Range, Transaction, number};
use crate::error::{Error, Kind, Result};
use crate::id::ApiKeyId;
use crate::key::{API_KEYS, Key, Table};

/// The body of `POST /api-keys`: Resend's `permission`, or our finer `scopes`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What its owner calls it, 1 to 50 characters.
    #[schema(min_length = 1)]
    pub name: String,
    /// `full_access` or `sending_access`.
    #[serde(default)]
    pub permission: Option<Permission>,
    /// Single scopes instead.
    #[serde(default)]
    #[schema(min_items = 1)]
    pub scopes: Option<BTreeSet<Scope>>,
    /// `test` for a key that reaches simulated recipients alone.
    #[serde(default)]
    pub mode: Mode,
    /// From when on it is not valid any more, RFC 3339; it is valid until it is revoked by default.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// All that a key in test mode may do: it stands in tests and build machines, and must not lead to a patient.
const TEST_SCOPES: [Scope; 3] = [Scope::EmailsSend, Scope::EmailsRead, Scope::EventsRead];

/// Resend's two sorts of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Every scope.
    FullAccess,
    /// Sending only.
    SendingAccess,
}

/// Creates a key. It can do no more than the key that creates it.
///
/// # Errors
/// Forbidden; Invalid; Unavailable.
pub async fn create(app: &App, actor: &Actor, new: NewApiKey) -> Result<(ApiKeyRow, String)> {
    let tenant = actor.tenant_with(Scope::ApiKeysWrite)?;
    let name = new.name.trim().to_owned();
    if !(1..=50).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "/name",
            "A name has 1 to 50 characters and no control characters.",
        ));
    }
    let scopes = match (new.permission, new.scopes) {
        (Some(_), Some(_)) => return Err(Error::invalid("/scopes", "Give `permission` or `scopes`, not both.")),
        (None, Some(scopes)) if scopes.is_empty() => {
            return Err(Error::invalid("/scopes", "A key has at least one scope."));
        }
        (None, Some(scopes)) => scopes,
        (Some(Permission::SendingAccess), None) => BTreeSet::from([Scope::EmailsSend]),
        (Some(Permission::FullAccess) | None, None) if new.mode == Mode::Test => BTreeSet::from(TEST_SCOPES),
        (Some(Permission::FullAccess) | None, None) => BTreeSet::from(Scope::ALL),
    };
    if new.mode == Mode::Test && !scopes.iter().all(|scope| TEST_SCOPES.contains(scope)) {
        return Err(Error::invalid(
            "/scopes",
            "A key in test mode may have `emails:send`, `emails:read` and `events:read`.",
        ));
    }
    for scope in &scopes {
        actor.tenant_with(*scope)?;
    }
    let expires_at_ms = new.expires_at.map(Timestamp::as_millisecond);
    check_expiry(app, actor, expires_at_ms).await?;
    let (row, text) = new_api_key(app, tenant, name, scopes, new.mode)?;
    let row = ApiKeyRow { expires_at_ms, ..row };
    let list: Vec<&str> = row.scopes.iter().map(|scope| scope.as_str()).collect();
    let mode = match row.mode {
        Mode::Live => "live",
        Mode::Test => "test",
    };
    let mut facts = BTreeMap::from([("scopes", list.join(" ")), ("mode", mode.to_owned())]);
    if let Some(at) = new.expires_at {
        facts.insert("expires_at", at.to_string());
    }
    let entry = Entry {
        tenant,
        actor,
        action: Action::ApiKeyCreated,
        subject: row.id.as_str(),
        facts,
    };
    let transaction = Transaction::new(app)
        .put_new("api key", &Key::ApiKey(tenant, &row.id), &row)
        .audit(app, entry)?;
    match transaction.commit().await? {
        Outcome::Committed => Ok((row, text)),
        Outcome::Refused(_) => Err(Error::internal("A new id was already taken.")),
    }
}

/// A key ends in the future, and no later than the key that creates it.
async fn check_expiry(app: &App, actor: &Actor, expires_at_ms: Option<i64>) -> Result<()> {
    if expires_at_ms.is_some_and(|at| at <= app.clock.now_ms()) {
        return Err(Error::invalid("/expires_at", "This time has already passed."));
    }
    let Actor::ApiKey { tenant, key, .. } = actor else {
        return Ok(());
    };
    let creator = app.get::<ApiKeyRow>(&Key::ApiKey(tenant, key)).await?;
    match creator.and_then(|row| row.expires_at_ms) {
        Some(end) if expires_at_ms.is_none_or(|at| at > end) => {
            let detail = "A key ends no later than the key that creates it.";
            Err(Error::invalid("/expires_at", detail))
        }
        _ => Ok(()),
    }
}

/// The tenant's keys that are not revoked, oldest first; those that have expired are among them.
///
/// # Errors
/// Forbidden; Unavailable.
pub async fn list(app: &App, actor: &Actor) -> Result<Vec<ApiKeyRow>> {
    let tenant = actor.tenant_with(Scope::ApiKeysWrite)?;
    let range = Range {
        prefix: Some(API_KEYS),
        ..Range::default()
    };
    let rows: Vec<ApiKeyRow> = app.query(Table::Directory, tenant.as_str(), &range).await?;
    Ok(rows.into_iter().filter(|row| row.revoked_at_ms.is_none()).collect())
}

/// Revokes a key, at once and for good.
///
/// # Errors
/// Forbidden; NotFound; Conflict for the key that asks; Unavailable.
pub async fn revoke(app: &App, actor: &Actor, id: &str) -> Result<()> {
    let tenant = actor.tenant_with(Scope::ApiKeysWrite)?;
    let id = ApiKeyId::parse(id).ok_or_else(Error::not_found)?;
    if matches!(actor, Actor::ApiKey { key, .. } if *key == id) {
        return Err(Error::new(
            Kind::Conflict,
            "A key cannot revoke itself; use another one.",
        ));
    }
    let at = Key::ApiKey(tenant, &id);
    let row = app
        .get::<ApiKeyRow>(&at)
        .await?
        .filter(|row| row.revoked_at_ms.is_none())
        .ok_or_else(Error::not_found)?;
    let entry = Entry {
        tenant,
        actor,
        action: Action::ApiKeyRevoked,
        subject: row.id.as_str(),
        facts: BTreeMap::new(),
    };
    let now = Expression::new("SET revoked_at_ms = :now").with(":now", number(app.clock.now_ms()));
    let is_live = Expression::new("attribute_exists(pk) AND attribute_not_exists(revoked_at_ms)");
    match Transaction::new(app)
        .update("api key", &at, now, is_live)
        .audit(app, entry)?
        .commit()
        .await?
    {
        Outcome::Committed => Ok(()),
        Outcome::Refused(_) => Err(Error::not_found()),
    }
}
