//! What is done about a submission of which nobody said what became of it, and how often that happens.
//!
//! P(two copies) is P(no answer) x P(accepted nevertheless) x P(no event before the deadline); AWS publishes none of the
//! three, so they are counted here, by tenant and day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::run::{GIVE_UP_MS, save};
use super::{DeliveryRow, State};
use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::queue::Ticket;
use crate::aws::table::{Expression, Transaction, number};
use crate::email::EmailRow;
use crate::error::Result;
use crate::event::{EventType, NewEvent};
use crate::id::TenantId;
use crate::key::{Key, day};
use crate::policy::{Method, OnDoubt, Policy, Purpose};

/// How long after the deadline of its submission SES's last word is awaited, milliseconds. SES tries for 840 minutes at most
/// (SESv2 API Reference, DeliveryOptions) and has been seen to; together with the deadline this is 16 hours.
pub(crate) const WATCH_MS: i64 = 16 * 3_600_000 - super::run::SUBMIT_MS;

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Hold,
    ResendOnce,
    Portal,
    Expire,
}

impl Decision {
    fn as_str(self) -> &'static str {
        match self {
            Decision::Hold => "hold",
            Decision::ResendOnce => "resend_once",
            Decision::Portal => "portal",
            Decision::Expire => "expire",
        }
    }
}

/// Decides a delivery whose time is over. A mail for marketing is never sent twice, whatever the policy says of its class.
fn judge(row: &DeliveryRow, purpose: Purpose, on_doubt: OnDoubt, now_ms: i64) -> Decision {
    let on_doubt = if purpose == Purpose::Marketing {
        OnDoubt::Hold
    } else {
        on_doubt
    };
    let may_resend = row.n_resends == 0;
    if row.state == State::Sent {
        // SES accepted it and has been silent since. Only one that was to go by required TLS has another way left.
        let method = row.decision.as_ref().map(|decision| decision.method);
        let has_other_way = method == Some(Method::Tls) && !row.portal_only;
        return match on_doubt {
            OnDoubt::ResendOnce | OnDoubt::Portal if may_resend && has_other_way => Decision::Portal,
            _ => Decision::Expire,
        };
    }
    let is_late = now_ms >= row.created_at_ms.saturating_add(GIVE_UP_MS);
    match on_doubt {
        OnDoubt::ResendOnce if may_resend && !is_late => Decision::ResendOnce,
        OnDoubt::Portal if may_resend && !is_late => Decision::Portal,
        _ => Decision::Hold,
    }
}

/// Decides a submission that nobody answered, or a delivery of which SES never said the end, as the tenant's policy says.
pub(super) async fn decide(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    email: &EmailRow,
    policy: &Policy,
    row: DeliveryRow,
) -> Result<()> {
    let now_ms = app.clock.now_ms();
    let ver = row.ver;
    let was = row.state;
    let decision = judge(&row, email.purpose, policy.on_doubt(email.data_class), now_ms);
    let again = |row: DeliveryRow| {
        let mut row = row.moved(State::Ready, "in_doubt", now_ms);
        row.n_resends = row.n_resends.saturating_add(1);
        row.n_claims = 0;
        row.not_before_ms = now_ms;
        row.is_ambiguous = false;
        row
    };
    let (row, told) = match decision {
        Decision::ResendOnce => (again(row), None),
        Decision::Portal => {
            let mut row = again(row);
            row.portal_only = true;
            (row, Some(EventType::EmailRerouted))
        }
        Decision::Hold => (row.moved(State::Held, "held", now_ms), Some(EventType::EmailHeld)),
        Decision::Expire => {
            let mut row = row.moved(State::Expired, "expired", now_ms);
            row.ended_because = Some("no_word".to_owned());
            (row, Some(EventType::EmailExpired))
        }
    };
    let entry = Entry {
        tenant,
        actor,
        action: Action::DeliveryInDoubt,
        subject: row.id.as_str(),
        facts: BTreeMap::from([
            ("attempt", row.attempt.to_string()),
            ("decision", decision.as_str().to_owned()),
        ]),
    };
    let mut transaction = Transaction::new(app)
        .audit(app, entry)?
        .follow(app, tenant, email, &row);
    if was == State::Submitting {
        let count = Count {
            ambiguous: 1,
            resent: i64::from(row.state == State::Ready),
            held: i64::from(row.state == State::Held),
            ..Count::default()
        };
        transaction = transaction.count_doubt(app, tenant, count);
    }
    if let Some(kind) = told {
        transaction = transaction.event(app, row.event(tenant, email, kind))?;
    }
    // A refusal means that an answer came in the meantime, which is better than a decision.
    let is_ready = row.state == State::Ready;
    if save(tenant, transaction, ver, &row).await? && is_ready {
        app.enqueue(&[row.ticket(tenant)], 0).await?;
    }
    Ok(())
}

impl DeliveryRow {
    /// The ticket that leads to this delivery.
    pub(crate) fn ticket(&self, tenant: &TenantId) -> Ticket {
        Ticket {
            tenant: tenant.clone(),
            email: self.email.clone(),
            delivery: self.id.clone(),
        }
    }

    /// What customers are told of it.
    pub(crate) fn event<'a>(&'a self, tenant: &'a TenantId, email: &EmailRow, kind: EventType) -> NewEvent<'a> {
        let mut facts = BTreeMap::from([
            ("status", self.status().as_str().to_owned()),
            ("purpose", email.purpose.as_str().to_owned()),
        ]);
        if let Some(decision) = &self.decision {
            facts.insert("method", decision.method.as_str().to_owned());
            facts.insert("level", decision.level.as_str().to_owned());
        }
        if let Some(because) = &self.ended_because {
            facts.insert("because", because.clone());
        }
        NewEvent {
            tenant,
            kind,
            email: Some(&self.email),
            delivery: Some(&self.id),
            sequence: self.ver,
            is_test: false,
            facts,
        }
    }
}

/// A day's doubts, as the table counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubts {
    /// Submissions of which the worker did not learn what became.
    #[serde(default)]
    pub n_ambiguous: i64,
    /// Those that an event of SES settled.
    #[serde(default)]
    pub n_resolved_by_event: i64,
    /// How long that took, all together, milliseconds.
    #[serde(default)]
    pub resolved_by_event_ms: i64,
    /// Those that were sent once more.
    #[serde(default)]
    pub n_resent: i64,
    /// Those that wait for a person.
    #[serde(default)]
    pub n_held: i64,
}

/// What is added to a day's doubts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) ambiguous: i64,
    pub(super) resolved: i64,
    pub(super) resolved_ms: i64,
    pub(super) resent: i64,
    pub(super) held: i64,
}

impl Transaction<'_> {
    pub(super) fn count_doubt(self, app: &App, tenant: &TenantId, count: Count) -> Self {
        let change = Expression::new(
            "ADD n_ambiguous :ambiguous, n_resolved_by_event :resolved, resolved_by_event_ms :ms, n_resent :resent, n_held :held",
        )
        .with(":ambiguous", number(count.ambiguous))
        .with(":resolved", number(count.resolved))
        .with(":ms", number(count.resolved_ms))
        .with(":resent", number(count.resent))
        .with(":held", number(count.held));
        // Holds always: the row may or may not be there.
        let always = Expression::new("attribute_exists(pk) OR attribute_not_exists(pk)");
        self.update("doubts", &Key::Doubts(tenant, &day(app.clock.now())), change, always)
    }
}

/// A day's doubts; the day as `2026-11-24`, in UTC, today by default.
///
/// # Errors
/// Forbidden; Invalid; Unavailable.
pub async fn doubts(app: &App, actor: &Actor, on: Option<&str>) -> Result<(String, Doubts)> {
    let tenant = actor.tenant_with(Scope::EmailsRead)?;
    let on = match on {
        None => day(app.clock.now()),
        Some(text) => match text.parse::<jiff::civil::Date>() {
            Ok(date) => date.to_string(),
            Err(_) => return Err(crate::error::Error::invalid("day", "A day reads like 2026-11-24.")),
        },
    };
    let row = app.get::<Doubts>(&Key::Doubts(tenant, &on)).await?;
    Ok((on, row.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeliveryId, EmailId};

    #[test]
    fn a_doubt_is_decided_once_and_never_for_marketing() {
        let row = |state: State, n_resends: u32| {
            let mut row = DeliveryRow::new(DeliveryId::from_bytes([1; 16]), EmailId::from_bytes([2; 16]), 0, 0);
            row.state = state;
            row.n_resends = n_resends;
            row
        };
        let (care, marketing) = (Purpose::Treatment, Purpose::Marketing);
        let cases = [
            (State::Submitting, 0, care, OnDoubt::Hold, 1, Decision::Hold),
            (State::Submitting, 0, care, OnDoubt::ResendOnce, 1, Decision::ResendOnce),
            (State::Submitting, 1, care, OnDoubt::ResendOnce, 1, Decision::Hold),
            (
                State::Submitting,
                0,
                care,
                OnDoubt::ResendOnce,
                GIVE_UP_MS,
                Decision::Hold,
            ),
            (State::Submitting, 0, care, OnDoubt::Portal, 1, Decision::Portal),
            (State::Submitting, 1, care, OnDoubt::Portal, 1, Decision::Hold),
            (State::Submitting, 0, marketing, OnDoubt::ResendOnce, 1, Decision::Hold),
            (State::Submitting, 0, marketing, OnDoubt::Portal, 1, Decision::Hold),
            (State::Sent, 0, care, OnDoubt::ResendOnce, 1, Decision::Expire),
        ];
        for (state, n_resends, purpose, on_doubt, now_ms, decision) in cases {
            let row = row(state, n_resends);
            assert_eq!(
                judge(&row, purpose, on_doubt, now_ms),
                decision,
                "{state:?} {n_resends} {purpose:?} {on_doubt:?}"
            );
        }
    }
}
