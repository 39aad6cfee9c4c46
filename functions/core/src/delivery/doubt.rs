//! What is done about a submission of which nobody said what became of it, and how often that happens.
//!
//! P(two copies) is P(no answer) x P(accepted nevertheless) x P(no event before the deadline); AWS publishes none of the
//! three, so they are counted here, by tenant and day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::run::{hint, save};
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
    /// Another attempt than the latest is known to have arrived.
    Sent,
}

impl Decision {
    fn as_str(self) -> &'static str {
        match self {
            Decision::Hold => "hold",
            Decision::ResendOnce => "resend_once",
            Decision::Portal => "portal",
            Decision::Expire => "expire",
            Decision::Sent => "sent",
        }
    }
}

/// Decides a delivery whose time is over. A mail for marketing is never sent twice, whatever the policy says of its class.
fn judge(row: &DeliveryRow, is_late: bool, purpose: Purpose, on_doubt: OnDoubt) -> Decision {
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
    let decision = if row.is_there_by_any_attempt() {
        Decision::Sent
    } else {
        let is_late = row.is_too_late(email, now_ms);
        judge(&row, is_late, email.purpose, policy.on_doubt(email.data_class))
    };
    let again = |row: DeliveryRow| {
        let mut row = row.again("in_doubt", now_ms);
        row.n_resends = row.n_resends.saturating_add(1);
        row
    };
    let (row, told) = match decision {
        Decision::ResendOnce => (again(row), None),
        Decision::Portal => {
            let mut row = again(row);
            row.portal_only = true;
            (row, Some(EventType::EmailRerouted))
        }
        Decision::Sent => (row.moved(State::Sent, "sent", now_ms), None),
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
        .follow(app, tenant, email, was, &row);
    if let Some(kind) = told {
        transaction = transaction.event(app, row.event(tenant, email, kind, 0))?;
    }
    // A refusal means that an answer came in the meantime, which is better than a decision.
    if !save(tenant, transaction, ver, &row).await? {
        return Ok(());
    }
    if was == State::Submitting && !email.is_test {
        let count = Count {
            ambiguous: 1,
            resent: i64::from(row.state == State::Ready),
            held: i64::from(row.state == State::Held),
            ..Count::default()
        };
        app.count_doubt(tenant, count).await;
    }
    if row.state == State::Ready {
        hint(app, row.ticket(tenant)).await;
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

    /// What customers are told of it; `n` orders what is told of one change.
    pub(crate) fn event<'a>(&'a self, tenant: &'a TenantId, email: &EmailRow, kind: EventType, n: u64) -> NewEvent<'a> {
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
            sequence: self.ver.saturating_mul(8).saturating_add(n),
            is_test: email.is_test,
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

impl App {
    /// Counts a doubt. A count that fails is logged and lost: nothing waits for it.
    pub(super) async fn count_doubt(&self, tenant: &TenantId, count: Count) {
        let change = Expression::new(
            "ADD n_ambiguous :ambiguous, n_resolved_by_event :resolved, resolved_by_event_ms :ms, n_resent :resent, n_held :held",
        )
        .with(":ambiguous", number(count.ambiguous))
        .with(":resolved", number(count.resolved))
        .with(":ms", number(count.resolved_ms))
        .with(":resent", number(count.resent))
        .with(":held", number(count.held));
        let key = Key::Doubts(tenant, &day(self.clock.now()));
        if let Err(error) = self.update(&key, change, Expression::default()).await {
            tracing::warn!(kind = ?error.kind(), "a doubt was not counted: {error}");
        }
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
            let mut row = DeliveryRow::new(
                DeliveryId::from_bytes([1; 16]),
                EmailId::from_bytes([2; 16]),
                0,
                0,
                None,
            );
            row.state = state;
            row.n_resends = n_resends;
            row
        };
        let (care, marketing) = (Purpose::Treatment, Purpose::Marketing);
        let cases = [
            (State::Submitting, 0, care, OnDoubt::Hold, false, Decision::Hold),
            (
                State::Submitting,
                0,
                care,
                OnDoubt::ResendOnce,
                false,
                Decision::ResendOnce,
            ),
            (State::Submitting, 1, care, OnDoubt::ResendOnce, false, Decision::Hold),
            (State::Submitting, 0, care, OnDoubt::ResendOnce, true, Decision::Hold),
            (State::Submitting, 0, care, OnDoubt::Portal, false, Decision::Portal),
            (State::Submitting, 1, care, OnDoubt::Portal, false, Decision::Hold),
            (
                State::Submitting,
                0,
                marketing,
                OnDoubt::ResendOnce,
                false,
                Decision::Hold,
            ),
            (State::Submitting, 0, marketing, OnDoubt::Portal, false, Decision::Hold),
            (State::Sent, 0, care, OnDoubt::ResendOnce, false, Decision::Expire),
        ];
        for (state, n_resends, purpose, on_doubt, is_late, decision) in cases {
            let row = row(state, n_resends);
            assert_eq!(
                judge(&row, is_late, purpose, on_doubt),
                decision,
                "{state:?} {n_resends} {purpose:?} {on_doubt:?}"
            );
        }
    }
}
