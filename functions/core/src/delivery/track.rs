//! What SES says of a delivery becomes its state.
//!
//! May run any number of times for one event, in any order of events: what was observed is a set, and the write is
//! conditional on the delivery's version. An event counts only when its tags carry the proof that this deployment gave the
//! attempt; whatever else claims to be one changes nothing and leaves an audit entry.

use std::collections::BTreeMap;

use sealpost_codec::address::Address;
use subtle::ConstantTimeEq;

use super::doubt::Count;
use super::notification::Notification;
use super::observation::{Observed, What};
use super::run::{self, save};
use super::{DeliveryRow, State};
use crate::actor::Actor;
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::Transaction;
use crate::email::{EmailRow, Head};
use crate::error::{Error, Kind, Result};
use crate::guard;
use crate::id::{DeliveryId, TenantId};
use crate::key::Key;
use crate::recipient::domain;
use crate::suppression::{self, Source};

/// How often a write is tried against others who change the same delivery.
const TRIES: u32 = 5;

impl App {
    /// The proof that an attempt's tags carry: a keyed hash over the ids, 128 bits in hex.
    pub(crate) async fn attempt_proof(&self, tenant: &TenantId, delivery: &DeliveryId, attempt: u32) -> Result<String> {
        let hash = self
            .index_hash(tenant, "attempt", format!("{delivery}#{attempt}").as_bytes())
            .await?;
        Ok(hash.get(..32).unwrap_or_default().to_owned())
    }
}

/// Takes one event of SES. Answers whether it was ours.
///
/// # Errors
/// Unavailable and Internal; the event is to come again.
pub async fn track(app: &App, actor: &Actor, event: &Notification) -> Result<bool> {
    let tenant = &event.tenant;
    let is_taken = match app.get::<EmailRow>(&Key::Email(tenant, &event.email)).await? {
        // Whoever makes up a tenant gets no row of theirs.
        None if app
            .get::<crate::tenant::TenantRow>(&Key::Tenant(tenant))
            .await?
            .is_none() =>
        {
            tracing::warn!("an event of SES names a tenant that this deployment does not have");
            return Ok(false);
        }
        None => false,
        Some(email) => {
            let proof = app.attempt_proof(tenant, &event.delivery, event.seen.attempt).await?;
            let is_proved: bool = proof.as_bytes().ct_eq(event.proof.as_bytes()).into();
            let message_id = Some(&*event.message_id);
            is_proved && observe(app, actor, tenant, &email, &event.delivery, &event.seen, message_id).await?
        }
    };
    if !is_taken {
        refuse(app, actor, event).await?;
    }
    Ok(is_taken)
}

/// Adds one observation to a delivery, and does what follows from it. Answers whether there is such a delivery and attempt.
pub(crate) async fn observe(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    email: &EmailRow,
    delivery: &DeliveryId,
    seen: &Observed,
    message_id: Option<&str>,
) -> Result<bool> {
    for _ in 0..TRIES {
        let row = app
            .get::<DeliveryRow>(&Key::Delivery(tenant, &email.id, delivery))
            .await?;
        let Some(row) = row.filter(|row| seen.attempt <= row.attempt) else {
            return Ok(false);
        };
        let (was, ver) = (row.state, row.ver);
        let doubt = message_id
            .filter(|_| !email.is_test)
            .and_then(|_| doubt(&row, app.clock.now_ms()));
        let Some((mut row, told)) = row.clone().observe(seen, app.clock.now_ms()) else {
            // It was written before; what follows from it may not have been.
            return follow_up(app, actor, tenant, email, &row, seen).await.map(|()| true);
        };
        if seen.attempt == row.attempt && row.ses_message_id.is_none() {
            row.ses_message_id = message_id.map(ToOwned::to_owned);
        }
        let is_rerouted = row.state == State::Ready && was != State::Ready;
        if is_rerouted {
            row.ses_message_id = None;
        }
        let facts = BTreeMap::from([
            ("observed", seen.what.as_str().to_owned()),
            ("attempt", seen.attempt.to_string()),
            ("status", row.status().as_str().to_owned()),
        ]);
        let entry = Entry {
            tenant,
            actor,
            action: Action::DeliveryObserved,
            subject: row.id.as_str(),
            facts,
        };
        let mut transaction = Transaction::new(app)
            .audit(app, entry)?
            .follow(app, tenant, email, was, &row);
        for (n, kind) in (0..).zip(&told) {
            transaction = transaction.event(app, row.event(tenant, email, *kind, n))?;
        }
        if !save(tenant, transaction, ver, &row).await? {
            continue;
        }
        if let Some(waited_ms) = doubt.filter(|_| row.state != State::Submitting) {
            let count = Count {
                ambiguous: 1,
                resolved: 1,
                resolved_ms: waited_ms,
                ..Count::default()
            };
            app.count_doubt(tenant, count).await;
        }
        if is_rerouted {
            run::hint(app, row.ticket(tenant)).await;
        }
        return follow_up(app, actor, tenant, email, &row, seen).await.map(|()| true);
    }
    Err(Error::new(Kind::Unavailable, "Others keep changing the delivery."))
}

/// For how long a submission has been in doubt: its worker said so, or is certainly dead. An event that is faster than the
/// worker's own note is no doubt.
fn doubt(row: &DeliveryRow, now_ms: i64) -> Option<i64> {
    let submitted_at_ms = row.deadline_ms.saturating_sub(run::SUBMIT_MS);
    let waited_ms = now_ms.saturating_sub(submitted_at_ms);
    (row.state == State::Submitting && (row.is_ambiguous || waited_ms >= run::LEASE_MS)).then_some(waited_ms)
}

/// What an observation teaches about others: a domain that fails required TLS, an address that takes no mail, a stream that
/// draws complaints. The delivery itself is written already, and these are idempotent, so that an event that comes again
/// after a crash here finds them done or does them.
async fn follow_up(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    email: &EmailRow,
    row: &DeliveryRow,
    seen: &Observed,
) -> Result<()> {
    // What a simulated recipient does teaches nothing of anybody.
    if email.is_test {
        return Ok(());
    }
    let source = Source {
        email: email.id.clone(),
        delivery: row.id.clone(),
    };
    match seen.what {
        What::NotByTls => {
            let address = address(app, tenant, email, row).await?;
            domain::learn_failure(app, actor, tenant, address.domain(), seen.at_ms).await?;
        }
        What::Bounced => {
            let address = address(app, tenant, email, row).await?;
            suppression::on_hard_bounce(app, actor, tenant, &address, &source).await?;
        }
        What::Complained => {
            let address = address(app, tenant, email, row).await?;
            suppression::on_complaint(app, actor, tenant, &address, &source).await?;
        }
        _ => {}
    }
    let counted = match seen.what {
        What::Accepted => guard::What::Sent,
        What::Bounced => guard::What::Bounced,
        What::Complained => guard::What::Complained,
        _ => return Ok(()),
    };
    guard::count(app, actor, tenant, email.purpose, counted, &source).await
}

/// The recipient's address, from the sealed head.
async fn address(app: &App, tenant: &TenantId, email: &EmailRow, row: &DeliveryRow) -> Result<Address> {
    let (_, key) = app.record(tenant, &email.record).await?;
    Ok(Head::open(&key, &email.head)?.recipient(row.n)?.clone())
}

/// Notes an event that is not ours.
async fn refuse(app: &App, actor: &Actor, event: &Notification) -> Result<()> {
    tracing::warn!(delivery = %event.delivery, "an event of SES does not carry the proof of its attempt");
    let entry = Entry {
        tenant: &event.tenant,
        actor,
        action: Action::SesEventRefused,
        subject: event.delivery.as_str(),
        facts: BTreeMap::from([
            ("observed", event.seen.what.as_str().to_owned()),
            ("attempt", event.seen.attempt.to_string()),
        ]),
    };
    Transaction::new(app).audit(app, entry)?.commit().await?;
    Ok(())
}
