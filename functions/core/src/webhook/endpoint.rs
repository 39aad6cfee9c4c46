//! A tenant's webhook endpoints: created, listed, changed, rotated, removed.
//!
//! Secrets are sealed under the tenant's period key for webhooks and never stand in the table as they are. After a rotation
//! the old ones sign beside the new ones for a day, so that a receiver can change over without a gap.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sealpost_codec::envelope;
use serde::{Deserialize, Serialize};

use super::health;
use super::signature::Secret;
use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Outcome, Range, Transaction, absent, number};
use crate::error::{Error, Fault, Kind, Result};
use crate::event::EventType;
use crate::id::{TenantId, WebhookId};
use crate::key::{Key, Purpose, Table, WEBHOOKS, month};

/// How many endpoints a tenant may have.
pub const MOST: usize = 16;
/// How long the old secrets sign after a rotation: a day.
const OVERLAP_MS: i64 = 86_400_000;

/// Whether an endpoint is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is.
    Enabled,
    /// It is not: its owner or days of failure switched it off.
    Disabled,
}

/// An endpoint as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// The endpoint.
    pub id: WebhookId,
    /// Where webhooks are posted to.
    pub url: String,
    /// What it is told of.
    pub events: BTreeSet<EventType>,
    /// Whether it is told.
    pub status: Status,
    /// The secrets, newest first.
    pub(crate) secrets: Vec<SealedSecret>,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
    /// Counts the changes.
    pub(crate) ver: i64,
}

/// One generation of secrets, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedSecret {
    /// The period whose key seals it.
    period: String,
    #[serde(with = "serde_bytes")]
    sealed: Vec<u8>,
    /// Until when it signs, once a newer one is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_ms: Option<i64>,
}

/// What a receiver needs to check signatures.
pub struct Shown {
    /// The shared secret, `whsec_…`.
    pub signing_secret: String,
    /// The public key, `whpk_…`.
    pub public_key: String,
}

/// The body of `POST /webhooks`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEndpoint {
    /// An HTTPS URL at a public host name.
    pub endpoint: String,
    /// The types of events that it is told of, such as `email.delivered`; at least one.
    #[schema(min_items = 1, value_type = Vec<EventType>)]
    pub events: Vec<String>,
}

/// The body of `PATCH /webhooks/{id}`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// As in the path; Resend's Python SDK repeats it here.
    #[serde(default)]
    pub webhook_id: Option<String>,
    /// Another URL.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Other types of events.
    #[serde(default)]
    #[schema(min_items = 1, value_type = Option<Vec<EventType>>)]
    pub events: Option<Vec<String>>,
    /// Switches it on or off.
    #[serde(default)]
    pub status: Option<Status>,
}

/// Creates an endpoint.
///
/// # Errors
/// Forbidden; Invalid with pointers; Conflict, when there are sixteen already; Unavailable.
pub async fn create(app: &App, actor: &Actor, new: NewEndpoint) -> Result<(EndpointRow, Shown)> {
    let tenant = actor.tenant_with(Scope::WebhooksWrite)?;
    app.egress.check_url(&new.endpoint)?;
    let events = types(&new.events)?;
    if all(app, tenant).await?.len() >= MOST {
        return Err(Error::new(
            Kind::Conflict,
            "There are sixteen webhooks already; remove one first.",
        ));
    }
    let id = WebhookId::new(&app.clock, &app.random)?;
    let secret = Secret::make(&app.random)?;
    let row = EndpointRow {
        secrets: vec![seal(app, tenant, &id, &secret).await?],
        id,
        url: new.endpoint,
        events,
        status: Status::Enabled,
        created_at_ms: app.clock.now_ms(),
        ver: 1,
    };
    write(app, actor, tenant, Action::WebhookCreated, &row, absent()).await?;
    Ok((row, shown(&secret)?))
}

/// The tenant's endpoints, oldest first.
///
/// # Errors
/// Forbidden; Unavailable.
pub async fn list(app: &App, actor: &Actor) -> Result<Vec<EndpointRow>> {
    all(app, actor.tenant_with(Scope::WebhooksRead)?).await
}

/// One endpoint; with its secrets for whoever may change them.
///
/// # Errors
/// Forbidden; NotFound; Unavailable.
pub async fn get(app: &App, actor: &Actor, id: &str) -> Result<(EndpointRow, Option<Shown>)> {
    let tenant = actor.tenant_with(Scope::WebhooksRead)?;
    let row = find(app, tenant, id).await?;
    let shown = match (actor.tenant_with(Scope::WebhooksWrite), row.secrets.first()) {
        (Ok(_), Some(sealed)) => Some(shown(&open(app, tenant, &row.id, sealed).await?)?),
        _ => None,
    };
    Ok((row, shown))
}

/// Changes an endpoint.
///
/// # Errors
/// Forbidden; Invalid with pointers; NotFound; Conflict, when somebody else changes it; Unavailable.
pub async fn change(app: &App, actor: &Actor, id: &str, change: Change) -> Result<EndpointRow> {
    let tenant = actor.tenant_with(Scope::WebhooksWrite)?;
    let mut row = find(app, tenant, id).await?;
    if change.webhook_id.is_some_and(|named| named != id) {
        return Err(Error::invalid("/webhook_id", "This is not the id in the path."));
    }
    let mut is_moved = false;
    if let Some(url) = change.endpoint {
        app.egress.check_url(&url)?;
        is_moved = url != row.url;
        row.url = url;
    }
    if let Some(events) = change.events {
        row.events = types(&events)?;
    }
    let is_switched_on = change.status == Some(Status::Enabled) && row.status == Status::Disabled;
    row.status = change.status.unwrap_or(row.status);
    replace(app, actor, tenant, Action::WebhookChanged, &mut row).await?;
    // What failed was another receiver, or the same before it was mended.
    if is_switched_on || is_moved {
        health::forget(app, tenant, &row.id).await?;
    }
    Ok(row)
}

/// Gives an endpoint new secrets; the ones of before sign beside them for a day.
///
/// # Errors
/// Forbidden; NotFound; Conflict, when somebody else changes it; Unavailable.
pub async fn rotate(app: &App, actor: &Actor, id: &str) -> Result<(EndpointRow, Shown)> {
    let tenant = actor.tenant_with(Scope::WebhooksWrite)?;
    let mut row = find(app, tenant, id).await?;
    let secret = Secret::make(&app.random)?;
    let now_ms = app.clock.now_ms();
    // Two generations at most: whoever rotates twice within a day means the first one to be gone.
    row.secrets.truncate(1);
    for old in &mut row.secrets {
        old.until_ms = Some(now_ms.saturating_add(OVERLAP_MS));
    }
    row.secrets.insert(0, seal(app, tenant, &row.id, &secret).await?);
    replace(app, actor, tenant, Action::WebhookSecretRotated, &mut row).await?;
    Ok((row, shown(&secret)?))
}

/// Removes an endpoint. What still waits for it is given up.
///
/// # Errors
/// Forbidden; NotFound; Unavailable.
pub async fn remove(app: &App, actor: &Actor, id: &str) -> Result<WebhookId> {
    let tenant = actor.tenant_with(Scope::WebhooksWrite)?;
    let row = find(app, tenant, id).await?;
    let there = Expression::new("attribute_exists(pk)");
    let outcome = Transaction::new(app)
        .delete_if("webhook", &Key::Webhook(tenant, &row.id), there)
        .audit(app, entry(tenant, actor, Action::WebhookRemoved, &row))?
        .commit()
        .await?;
    if outcome != Outcome::Committed {
        return Err(Error::not_found());
    }
    health::forget(app, tenant, &row.id).await?;
    Ok(row.id)
}

/// Every endpoint of a tenant.
pub(crate) async fn all(app: &App, tenant: &TenantId) -> Result<Vec<EndpointRow>> {
    let range = Range {
        prefix: Some(WEBHOOKS),
        ..Range::default()
    };
    app.query(Table::Directory, tenant.as_str(), &range).await
}

pub(super) async fn find(app: &App, tenant: &TenantId, id: &str) -> Result<EndpointRow> {
    let id = WebhookId::parse(id).ok_or_else(Error::not_found)?;
    app.get::<EndpointRow>(&Key::Webhook(tenant, &id))
        .await?
        .ok_or_else(Error::not_found)
}

/// The secrets that sign at `now_ms`, newest first.
pub(super) async fn secrets(app: &App, tenant: &TenantId, row: &EndpointRow, now_ms: i64) -> Result<Vec<Secret>> {
    let mut secrets = Vec::new();
    for sealed in row
        .secrets
        .iter()
        .filter(|sealed| sealed.until_ms.is_none_or(|until| now_ms < until))
    {
        secrets.push(open(app, tenant, &row.id, sealed).await?);
    }
    Ok(secrets)
}

/// Switches an endpoint off, once: with the event and the audit entry that tell of it.
pub(super) async fn disable(app: &App, actor: &Actor, tenant: &TenantId, row: &EndpointRow, why: &str) -> Result<()> {
    let mut row = row.clone();
    let unchanged = Expression::new("ver = :seen").with(":seen", number(row.ver));
    row.ver = row.ver.saturating_add(1);
    row.status = Status::Disabled;
    let event = crate::event::NewEvent {
        tenant,
        kind: EventType::WebhookDisabled,
        email: None,
        delivery: None,
        sequence: 0,
        is_test: false,
        facts: BTreeMap::from([("webhook_id", row.id.to_string()), ("because", why.to_owned())]),
    };
    let mut entry = entry(tenant, actor, Action::WebhookDisabled, &row);
    entry.facts.insert("because", why.to_owned());
    // Whoever changed it meanwhile has the last word; the next failure asks again.
    Transaction::new(app)
        .put("webhook", &Key::Webhook(tenant, &row.id), &row, Some(unchanged))
        .audit(app, entry)?
        .event(app, event)?
        .commit()
        .await?;
    Ok(())
}

async fn replace(app: &App, actor: &Actor, tenant: &TenantId, action: Action, row: &mut EndpointRow) -> Result<()> {
    let unchanged = Expression::new("ver = :seen").with(":seen", number(row.ver));
    row.ver = row.ver.saturating_add(1);
    write(app, actor, tenant, action, row, unchanged).await
}

async fn write(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    action: Action,
    row: &EndpointRow,
    condition: Expression,
) -> Result<()> {
    let outcome = Transaction::new(app)
        .put("webhook", &Key::Webhook(tenant, &row.id), row, Some(condition))
        .audit(app, entry(tenant, actor, action, row))?
        .commit()
        .await?;
    match outcome {
        Outcome::Committed => Ok(()),
        Outcome::Refused(_) => Err(Error::new(
            Kind::Conflict,
            "Somebody else changes this webhook; try again.",
        )),
    }
}

/// An audit entry about an endpoint; its URL may hold a secret of the receiver and is left out.
fn entry<'a>(tenant: &'a TenantId, actor: &'a Actor, action: Action, row: &'a EndpointRow) -> Entry<'a> {
    let events: Vec<&str> = row.events.iter().map(|kind| kind.as_str()).collect();
    let status = if row.status == Status::Enabled {
        "enabled"
    } else {
        "disabled"
    };
    Entry {
        tenant,
        actor,
        action,
        subject: row.id.as_str(),
        facts: BTreeMap::from([("events", events.join(" ")), ("status", status.to_owned())]),
    }
}

fn types(names: &[String]) -> Result<BTreeSet<EventType>> {
    if names.is_empty() {
        return Err(Error::invalid(
            "/events",
            "A webhook is told of at least one type of event.",
        ));
    }
    let unknown = |n| Fault::new(format!("/events/{n}"), "There is no such type of event.");
    let mut types = BTreeSet::new();
    let mut faults = Vec::new();
    for (n, name) in names.iter().enumerate() {
        match EventType::parse(name) {
            Some(kind) => {
                types.insert(kind);
            }
            None => faults.push(unknown(n)),
        }
    }
    if faults.is_empty() {
        Ok(types)
    } else {
        Err(Error::faults(faults))
    }
}

fn shown(secret: &Secret) -> Result<Shown> {
    Ok(Shown {
        signing_secret: secret.whsec().to_string(),
        public_key: secret.whpk()?,
    })
}

async fn seal(app: &App, tenant: &TenantId, webhook: &WebhookId, secret: &Secret) -> Result<SealedSecret> {
    let period = month(Timestamp::from_millisecond(app.clock.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH));
    let key = app.period_key(tenant, Purpose::Webhook, &period).await?;
    let sealed = envelope::seal(&key, &context(tenant, webhook), &secret.to_bytes())
        .map_err(|error| Error::internal("A webhook's secret could not be sealed.").because(error))?;
    Ok(SealedSecret {
        period,
        sealed,
        until_ms: None,
    })
}

async fn open(app: &App, tenant: &TenantId, webhook: &WebhookId, sealed: &SealedSecret) -> Result<Secret> {
    let key = app.period_key(tenant, Purpose::Webhook, &sealed.period).await?;
    let plain = envelope::open(&key, &context(tenant, webhook), &sealed.sealed)
        .map_err(|error| Error::internal("A webhook's secret does not open.").because(error))?;
    Secret::from_bytes(&plain)
}

fn context(tenant: &TenantId, webhook: &WebhookId) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("tenant".to_owned(), tenant.to_string()),
        ("webhook".to_owned(), webhook.to_string()),
    ])
}
