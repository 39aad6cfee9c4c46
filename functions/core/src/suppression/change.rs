//! Adding and removing suppressions. Each change is one transaction: both rows, the version of the recipient's facts, the
//! audit entry and the event.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sealpost_codec::address::Address;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Reason, Source, SuppressionRow, SuppressionScope, live, seal};
use crate::actor::{self, Actor};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Outcome, Transaction};
use crate::email::request;
use crate::error::{Error, Kind, Result};
use crate::event::{EventType, NewEvent};
use crate::id::{SuppressionId, TenantId};
use crate::key::{Key, RecipientHash};
use crate::recipient;

/// How often a change is tried again when somebody else changed the same recipient in between.
const TRIES: u32 = 5;

/// The body of `POST /suppressions`: Resend's `email`, and ours.
// No `Debug`: it holds an address.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSuppression {
    /// The address.
    pub(super) email: String,
    /// Why; `manual` by default.
    #[serde(default)]
    pub(super) reason: Option<Reason>,
    /// Which mail; by default `all` for `manual` and `hard_bounce`, `marketing` for `complaint` and `unsubscribe`.
    #[serde(default)]
    pub(super) scope: Option<SuppressionScope>,
    /// Until when, RFC 3339; for ever by default.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) expires_at: Option<Timestamp>,
}

/// What is to be suppressed, checked.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) address: Address,
    pub(super) reason: Reason,
    pub(super) scope: SuppressionScope,
    pub(super) source: Option<Source>,
    pub(super) expires_at_ms: Option<i64>,
}

impl Wanted {
    /// What the tenant enters itself.
    pub(super) fn manual(address: Address) -> Self {
        Self {
            address,
            reason: Reason::Manual,
            scope: Reason::Manual.scope(),
            source: None,
            expires_at_ms: None,
        }
    }

    /// What a caller asks for; `pointer` is where it stands in the request.
    pub(super) fn check(new: &NewSuppression, pointer: &str, now_ms: i64) -> Result<Self> {
        let address = request::address(&format!("{pointer}/email"), &new.email)?;
        let expires_at_ms = new.expires_at.map(Timestamp::as_millisecond);
        if expires_at_ms.is_some_and(|at| at <= now_ms) {
            return Err(Error::invalid(
                format!("{pointer}/expires_at"),
                "This time has already passed.",
            ));
        }
        let reason = new.reason.unwrap_or(Reason::Manual);
        Ok(Self {
            address,
            reason,
            scope: new.scope.unwrap_or(reason.scope()),
            source: None,
            expires_at_ms,
        })
    }

    fn told(address: &Address, reason: Reason, source: &Source) -> Self {
        Self {
            address: address.clone(),
            reason,
            scope: reason.scope(),
            source: Some(source.clone()),
            expires_at_ms: None,
        }
    }
}

/// What adding came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The suppression.
    pub id: SuppressionId,
    /// Whether anything changed; `false` where the address was suppressed as far already.
    pub is_new: bool,
}

/// Suppresses an address.
///
/// # Errors
/// Forbidden; Invalid; Conflict when the recipient keeps being changed at the same time; Unavailable.
pub async fn add(app: &App, actor: &Actor, new: &NewSuppression) -> Result<Added> {
    let tenant = actor.tenant_with(actor::Scope::SuppressionsWrite)?;
    let wanted = Wanted::check(new, "", app.clock.now_ms())?;
    put(app, actor, tenant, &wanted).await
}

/// Suppresses everything to an address that takes no mail. The same delivery told twice changes nothing, also after the
/// suppression was removed.
///
/// # Errors
/// Conflict when the recipient keeps being changed at the same time; Unavailable.
pub async fn on_hard_bounce(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    address: &Address,
    source: &Source,
) -> Result<Added> {
    put(app, actor, tenant, &Wanted::told(address, Reason::HardBounce, source)).await
}

/// Suppresses marketing to an address whose owner called a mail unwanted, and care as well where the tenant's policy says
/// so. The same delivery told twice changes nothing, also after the suppression was removed.
///
/// # Errors
/// As [`on_hard_bounce`].
pub async fn on_complaint(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    address: &Address,
    source: &Source,
) -> Result<Added> {
    put(app, actor, tenant, &Wanted::told(address, Reason::Complaint, source)).await
}

/// Suppresses marketing to an address whose owner wants no more of it. Whoever unsubscribes again after a suppression was
/// removed is suppressed again, by the same mail as well.
///
/// # Errors
/// As [`on_hard_bounce`].
pub async fn on_unsubscribe(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    address: &Address,
    source: &Source,
) -> Result<Added> {
    put(app, actor, tenant, &Wanted::told(address, Reason::Unsubscribe, source)).await
}

/// Removes a suppression by its id, or every one of an address. Answers the id of the widest one.
///
/// # Errors
/// Forbidden; NotFound, also for what has expired; Conflict; Unavailable.
pub async fn remove(app: &App, actor: &Actor, id_or_email: &str) -> Result<SuppressionId> {
    let tenant = actor.tenant_with(actor::Scope::SuppressionsWrite)?;
    for _ in 0..TRIES {
        if let Some(id) = try_remove(app, actor, tenant, id_or_email).await? {
            return Ok(id);
        }
    }
    Err(too_busy())
}

/// Brings a suppression about, whoever wants it.
pub(super) async fn put(app: &App, actor: &Actor, tenant: &TenantId, wanted: &Wanted) -> Result<Added> {
    for _ in 0..TRIES {
        if let Some(added) = try_put(app, actor, tenant, wanted).await? {
            return Ok(added);
        }
    }
    Err(too_busy())
}

fn too_busy() -> Error {
    Error::new(Kind::Conflict, "The recipient was changed at the same time; try again.")
}

/// What becomes of a wish, given what already stands.
#[derive(Debug, PartialEq, Eq)]
enum Merge {
    /// Nothing is to be done.
    Same,
    /// What stands becomes stricter.
    Stricter {
        reason: Reason,
        source: Option<Source>,
        expires_at_ms: Option<i64>,
    },
    /// A new one.
    New,
}

/// Nothing that is wanted later makes a live suppression milder: the weightier reason and the later end hold.
fn merge(known: Option<&SuppressionRow>, wanted: &Wanted, now_ms: i64) -> Merge {
    let Some(row) = known else { return Merge::New };
    if row.is_live(now_ms) {
        let reason = row.reason.max(wanted.reason);
        let expires_at_ms = match (row.expires_at_ms, wanted.expires_at_ms) {
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        };
        if (reason, expires_at_ms) == (row.reason, row.expires_at_ms) {
            return Merge::Same;
        }
        let source = if reason == row.reason {
            row.source.clone()
        } else {
            wanted.source.clone()
        };
        return Merge::Stricter {
            reason,
            source,
            expires_at_ms,
        };
    }
    // SES tells a bounce or a complaint at least once. An unsubscription is no telling but an act, and counts each time.
    let is_told_again = wanted.source.is_some()
        && row.source == wanted.source
        && row.reason >= wanted.reason
        && wanted.reason != Reason::Unsubscribe;
    if is_told_again { Merge::Same } else { Merge::New }
}

/// `None` when somebody else changed the recipient in between.
async fn try_put(app: &App, actor: &Actor, tenant: &TenantId, wanted: &Wanted) -> Result<Option<Added>> {
    let hash = app.recipient_hash(tenant, &wanted.address).await?;
    // The version is read first: whatever changes after it makes the write refuse.
    let version = recipient::version(app, tenant, &hash).await?;
    let at = Key::Suppression(tenant, &hash, wanted.scope.as_str());
    let known = app.get::<SuppressionRow>(&at).await?;
    let now_ms = app.clock.now_ms();
    let (row, replaced) = match (merge(known.as_ref(), wanted, now_ms), known) {
        (Merge::Same, Some(row)) => {
            return Ok(Some(Added {
                id: row.id,
                is_new: false,
            }));
        }
        (
            Merge::Stricter {
                reason,
                source,
                expires_at_ms,
            },
            Some(row),
        ) => (
            SuppressionRow {
                reason,
                source,
                expires_at_ms,
                ..row
            },
            None,
        ),
        (_, known) => {
            let id = SuppressionId::new(&app.clock, &app.random)?;
            let row = SuppressionRow {
                address: seal(app, tenant, &id, &wanted.address).await?,
                id,
                recipient: hash.clone(),
                reason: wanted.reason,
                scope: wanted.scope,
                source: wanted.source.clone(),
                created_at_ms: now_ms,
                expires_at_ms: wanted.expires_at_ms,
                removed_at_ms: None,
            };
            (row, known.map(|row| row.id))
        }
    };
    let mut transaction = Transaction::new(app).put("suppression", &at, &row, None).put(
        "list",
        &Key::ListedSuppression(tenant, &row.id),
        &row,
        None,
    );
    if let Some(old) = &replaced {
        transaction = transaction.delete("old list", &Key::ListedSuppression(tenant, old));
    }
    let transaction = tell(app, actor, tenant, transaction, &row, true)?.next_facts(tenant, &hash, version);
    Ok((transaction.commit().await? == Outcome::Committed).then_some(Added {
        id: row.id,
        is_new: true,
    }))
}

/// `None` when somebody else changed the recipient in between.
async fn try_remove(app: &App, actor: &Actor, tenant: &TenantId, id_or_email: &str) -> Result<Option<SuppressionId>> {
    let id = SuppressionId::parse(id_or_email);
    let hash = recipient_of(app, tenant, id_or_email).await?;
    let version = recipient::version(app, tenant, &hash).await?;
    let mut rows = live(app, tenant, &hash).await?;
    rows.retain(|row| id.as_ref().is_none_or(|id| row.id == *id));
    let widest = rows.first().map(|row| row.id.clone()).ok_or_else(Error::not_found)?;
    let now_ms = app.clock.now_ms();
    let mut transaction = Transaction::new(app);
    for row in rows {
        let removed = SuppressionRow {
            removed_at_ms: Some(now_ms),
            address: Vec::new(),
            ..row
        };
        let at = Key::Suppression(tenant, &hash, removed.scope.as_str());
        transaction = transaction
            .put("suppression", &at, &removed, None)
            .delete("list", &Key::ListedSuppression(tenant, &removed.id));
        transaction = tell(app, actor, tenant, transaction, &removed, false)?;
    }
    let outcome = transaction.next_facts(tenant, &hash, version).commit().await?;
    Ok((outcome == Outcome::Committed).then_some(widest))
}

/// Adds the audit entry and the event of a change.
fn tell<'a>(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    transaction: Transaction<'a>,
    row: &SuppressionRow,
    is_added: bool,
) -> Result<Transaction<'a>> {
    let facts = BTreeMap::from([
        ("reason", row.reason.as_str().to_owned()),
        ("scope", row.scope.as_str().to_owned()),
    ]);
    let (action, kind) = if is_added {
        (Action::SuppressionAdded, EventType::SuppressionAdded)
    } else {
        (Action::SuppressionRemoved, EventType::SuppressionRemoved)
    };
    let mut told = facts.clone();
    told.insert("suppression_id", row.id.to_string());
    let source = row.source.as_ref();
    transaction
        .audit(
            app,
            Entry {
                tenant,
                actor,
                action,
                subject: row.id.as_str(),
                facts,
            },
        )?
        .event(
            app,
            NewEvent {
                tenant,
                kind,
                email: source.map(|source| &source.email),
                delivery: source.map(|source| &source.delivery),
                sequence: 0,
                is_test: false,
                facts: told,
            },
        )
}

/// The keyed hash of an address that a caller names, or of the one behind an id.
pub(super) async fn recipient_of(app: &App, tenant: &TenantId, id_or_email: &str) -> Result<RecipientHash> {
    match SuppressionId::parse(id_or_email) {
        Some(id) => {
            let row = app.get::<SuppressionRow>(&Key::ListedSuppression(tenant, &id)).await?;
            Ok(row.ok_or_else(Error::not_found)?.recipient)
        }
        None => {
            let address = Address::parse(id_or_email).map_err(|_| Error::not_found())?;
            app.recipient_hash(tenant, &address).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeliveryId, EmailId};

    fn source(n: u8) -> Source {
        Source {
            email: EmailId::from_bytes([n; 16]),
            delivery: DeliveryId::from_bytes([n; 16]),
        }
    }

    fn wanted(reason: Reason, source: Option<Source>, expires_at_ms: Option<i64>) -> Wanted {
        Wanted {
            address: Address::parse("pat@patient.test").unwrap(),
            reason,
            scope: SuppressionScope::Marketing,
            source,
            expires_at_ms,
        }
    }

    fn row(reason: Reason, source: Option<Source>, expires_at_ms: Option<i64>) -> SuppressionRow {
        SuppressionRow {
            id: SuppressionId::from_bytes([1; 16]),
            recipient: RecipientHash("c0ffee".to_owned()),
            reason,
            scope: SuppressionScope::Marketing,
            source,
            created_at_ms: 0,
            expires_at_ms,
            removed_at_ms: None,
            address: Vec::new(),
        }
    }

    #[test]
    fn nothing_that_comes_later_makes_a_live_suppression_milder() {
        use Reason::{Complaint, HardBounce, Manual, Unsubscribe};
        let stricter = |reason, source, expires_at_ms| Merge::Stricter {
            reason,
            source,
            expires_at_ms,
        };
        let cases = [
            (row(Complaint, None, None), wanted(Manual, None, Some(99)), Merge::Same),
            (row(Manual, None, None), wanted(Manual, None, None), Merge::Same),
            (
                row(Manual, None, Some(50)),
                wanted(Manual, None, Some(99)),
                stricter(Manual, None, Some(99)),
            ),
            (
                row(Manual, None, Some(50)),
                wanted(Unsubscribe, Some(source(2)), None),
                stricter(Unsubscribe, Some(source(2)), None),
            ),
            (
                row(Unsubscribe, Some(source(1)), None),
                wanted(Complaint, Some(source(1)), None),
                stricter(Complaint, Some(source(1)), None),
            ),
            (row(HardBounce, None, None), wanted(Manual, None, None), Merge::Same),
            // Expired.
            (row(Complaint, None, Some(10)), wanted(Manual, None, None), Merge::New),
        ];
        for (n, (row, wanted, expected)) in cases.into_iter().enumerate() {
            assert_eq!(merge(Some(&row), &wanted, 20), expected, "case {n}");
        }
        assert_eq!(merge(None, &wanted(Manual, None, None), 20), Merge::New);
    }

    #[test]
    fn the_same_telling_brings_nothing_back_and_a_new_act_does() {
        use Reason::{Complaint, HardBounce, Unsubscribe};
        let removed = |reason| SuppressionRow {
            removed_at_ms: Some(10),
            ..row(reason, Some(source(1)), None)
        };
        for (known, reason, from, expected) in [
            (HardBounce, HardBounce, 1, Merge::Same),
            (HardBounce, HardBounce, 2, Merge::New),
            (Complaint, Complaint, 1, Merge::Same),
            (Unsubscribe, Complaint, 1, Merge::New),
            (Unsubscribe, Unsubscribe, 1, Merge::New),
            (Complaint, Unsubscribe, 1, Merge::New),
        ] {
            let found = merge(Some(&removed(known)), &wanted(reason, Some(source(from)), None), 20);
            assert_eq!(found, expected, "{known:?} {reason:?} {from}");
        }
    }
}
