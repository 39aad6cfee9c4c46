//! Emails that wait for a time: asked for, moved, called off, fired.
//!
//! Such an email stands in its tenant's list of those that wait, ordered by time, and not in the outbox. Its own row says
//! the time, that it was fired, or that it was called off; each of these is written under the condition that the row still
//! waits for the time that was read, so that of a move, a cancellation and the firing exactly one holds. No worker takes a
//! delivery before the row says fired: a canceled email goes to nobody, and what is answered as too late goes to all.
//!
//! Policy, keys and whatever else decides how a delivery goes are read when it is sent, not when it was scheduled.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::accept::{Tickets, hint};
use super::{EmailRow, read};
use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::queue::Ticket;
use crate::aws::table::{Expression, Outcome, Range, Transaction, number};
use crate::delivery::{DeliveryRow, OutboxRow, State};
use crate::error::{Error, Fault, Kind, Result};
use crate::event::{EventType, NewEvent};
use crate::id::{DeliveryId, EmailId, TenantId};
use crate::json;
use crate::key::{Key, Table, scheduled_from, scheduled_partition};

/// How far ahead an email can be scheduled: 365 days.
const HORIZON_MS: i64 = 365 * DAY_MS;
const DAY_MS: i64 = 86_400_000;
/// How long before its time an email gets a ticket that appears at its time: the longest delay that SQS knows.
const NEAR_MS: i64 = 900_000;
/// How far ahead the sweep looks: over the time of the next sweep, so that nothing waits for it.
const AHEAD_MS: i64 = 90_000;
/// How many emails of a shard one sweep queues; what is more is there at the next one.
const LINES_A_SWEEP: usize = 5_000;
/// How often a change is tried again when another change came between reading and writing.
const TRIES: usize = 3;

/// The body of `PATCH /emails/{id}`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// When to send it, as for `POST /emails`; a time that has passed sends it at once.
    #[schema(example = "2026-11-24T08:30:00Z")]
    scheduled_at: String,
    /// The email's id once more, as Resend's Python SDK sends it.
    #[serde(default)]
    id: Option<String>,
}

/// An email's line among those that wait.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScheduledRow {
    pub(crate) email: EmailId,
    /// Its first delivery, whose ticket fires it.
    pub(crate) delivery: DeliveryId,
    pub(crate) at_ms: i64,
}

impl ScheduledRow {
    pub(crate) fn new(at_ms: i64, first: &DeliveryRow) -> Self {
        Self {
            email: first.email.clone(),
            delivery: first.id.clone(),
            at_ms,
        }
    }

    /// The ticket that fires the email, and after which time it is to appear, in milliseconds; none while its time is far.
    pub(crate) fn ticket(&self, tenant: &TenantId, now_ms: i64) -> Option<(i64, Ticket)> {
        let wait_ms = self.at_ms.saturating_sub(now_ms).max(0);
        // Whole seconds, upwards: a ticket that appears too early is thrown away.
        let delay_ms = wait_ms.saturating_add(999).div_euclid(1000).saturating_mul(1000);
        let ticket = Ticket {
            tenant: tenant.clone(),
            email: self.email.clone(),
            delivery: self.delivery.clone(),
        };
        (delay_ms <= NEAR_MS).then_some((delay_ms, ticket))
    }
}

/// The time that a request asks for, if that is later than now.
pub(crate) fn later(text: Option<&str>, now_ms: i64, faults: &mut Vec<Fault>) -> Option<i64> {
    match parse(text?, now_ms) {
        Ok(at_ms) => (at_ms > now_ms).then_some(at_ms),
        Err(detail) => {
            faults.push(Fault::new("/scheduled_at", detail));
            None
        }
    }
}

/// Reads a time: RFC 3339, or the plain ones of the forms that Resend takes.
fn parse(text: &str, now_ms: i64) -> Result<i64, &'static str> {
    let unknown = "Give a time in RFC 3339, such as `2026-11-24T08:30:00Z`, or `in 5 min`, `in 2 hours`, `in 3 days`.";
    let text = text.trim();
    let words: Vec<String> = text.split_whitespace().map(str::to_ascii_lowercase).collect();
    let at_ms = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["in", n, unit] => {
            let unit_ms = match *unit {
                "min" | "mins" | "minute" | "minutes" => 60_000,
                "hour" | "hours" => 3_600_000,
                "day" | "days" => DAY_MS,
                _ => return Err(unknown),
            };
            if !n.bytes().all(|letter| letter.is_ascii_digit()) {
                return Err(unknown);
            }
            // A number that is too long for its type is beyond the horizon.
            let n = n.parse::<i64>().unwrap_or(i64::MAX);
            now_ms.saturating_add(n.saturating_mul(unit_ms))
        }
        _ => {
            // RFC 3339 section 5.6; what the parser knows beyond it, such as names of zones, has other letters.
            let is_plain = |letter: u8| letter.is_ascii_digit() || b"-:.+TtZz ".contains(&letter);
            if !text.bytes().all(is_plain) {
                return Err(unknown);
            }
            let at: Timestamp = text.parse().map_err(|_| unknown)?;
            at.as_millisecond()
        }
    };
    if at_ms > now_ms.saturating_add(HORIZON_MS) {
        return Err("An email can be scheduled at most 365 days ahead.");
    }
    Ok(at_ms)
}

/// Tells that an email waits for its time, as its row says it.
pub(crate) fn event<'a>(tenant: &'a TenantId, email: &'a EmailRow) -> NewEvent<'a> {
    NewEvent {
        tenant,
        kind: EventType::EmailScheduled,
        email: Some(&email.id),
        delivery: None,
        sequence: 0,
        is_test: email.is_test,
        facts: facts(email.scheduled_at_ms, email.n_deliveries),
    }
}

fn facts(at_ms: Option<i64>, n_deliveries: u32) -> BTreeMap<&'static str, String> {
    let at = at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    BTreeMap::from([
        ("scheduled_at", at.map(|at| at.to_string()).unwrap_or_default()),
        ("n_deliveries", n_deliveries.to_string()),
    ])
}

/// Gives a scheduled email another time.
///
/// # Errors
/// Forbidden; NotFound; Malformed, Invalid with pointers; Conflict when it is no longer waiting, and then nothing changed;
/// Unavailable.
pub async fn change(app: &App, actor: &Actor, id: &str, body: &[u8]) -> Result<EmailId> {
    let tenant = actor.tenant_with(Scope::EmailsSend)?;
    let request = json::read::<ChangeRequest>(body)?;
    if request.id.as_deref().is_some_and(|other| other != id) {
        return Err(Error::invalid("/id", "This is not the email in the path."));
    }
    let now_ms = app.clock.now_ms();
    let to_ms = parse(&request.scheduled_at, now_ms)
        .map_err(|detail| Error::invalid("/scheduled_at", detail))?
        .max(now_ms);
    for _ in 0..TRIES {
        let email = read::find(app, actor, tenant, id).await?;
        let from_ms = waiting(&email)?;
        if email.canceled_at_ms.is_some() {
            return Err(Error::new(
                Kind::Conflict,
                "This email was canceled; it cannot be scheduled again.",
            ));
        }
        if from_ms == to_ms {
            return Ok(email.id);
        }
        let deliveries = read::deliveries(app, tenant, &email.id).await?;
        let first = deliveries
            .first()
            .ok_or_else(|| Error::internal("An email has no delivery."))?;
        let line = ScheduledRow::new(to_ms, first);
        let moved = EmailRow {
            scheduled_at_ms: Some(to_ms),
            ..email
        };
        let entry = Entry {
            tenant,
            actor,
            action: Action::EmailRescheduled,
            subject: moved.id.as_str(),
            facts: facts(Some(to_ms), moved.n_deliveries),
        };
        let time = Expression::new("SET scheduled_at_ms = :to").with(":to", number(to_ms));
        let transaction = Transaction::new(app)
            .update("email", &Key::Email(tenant, &moved.id), time, still_waits(from_ms))
            .delete("scheduled", &Key::Scheduled(tenant, from_ms, &moved.id))
            .put_new("rescheduled", &Key::Scheduled(tenant, to_ms, &moved.id), &line)
            .audit(app, entry)?
            .event(app, event(tenant, &moved))?;
        if transaction.commit().await? == Outcome::Committed {
            let ticket = line.ticket(tenant, app.clock.now_ms());
            let tickets: Tickets = ticket
                .map(|(delay_ms, ticket)| (delay_ms, vec![ticket]))
                .into_iter()
                .collect();
            hint(app, tickets).await;
            return Ok(moved.id);
        }
    }
    Err(changing())
}

/// Calls a scheduled email off, for every recipient. Calling it off again answers the same.
///
/// # Errors
/// Forbidden; NotFound; Conflict when it was not scheduled or its time has come, and then nothing changed; Unavailable.
pub async fn cancel(app: &App, actor: &Actor, id: &str) -> Result<EmailId> {
    let tenant = actor.tenant_with(Scope::EmailsSend)?;
    for _ in 0..TRIES {
        let email = read::find(app, actor, tenant, id).await?;
        if email.canceled_at_ms.is_some() {
            return Ok(email.id);
        }
        let at_ms = match waiting(&email) {
            Err(_) if crate::planted!("bug_16") => return Ok(email.id),
            at_ms => at_ms?,
        };
        let now_ms = app.clock.now_ms();
        let entry = Entry {
            tenant,
            actor,
            action: Action::EmailCanceled,
            subject: email.id.as_str(),
            facts: facts(Some(at_ms), email.n_deliveries),
        };
        let told = NewEvent {
            kind: EventType::EmailCanceled,
            ..event(tenant, &email)
        };
        let off = Expression::new("SET canceled_at_ms = :now").with(":now", number(now_ms));
        let mut transaction = Transaction::new(app)
            .update("email", &Key::Email(tenant, &email.id), off, still_waits(at_ms))
            .delete("scheduled", &Key::Scheduled(tenant, at_ms, &email.id))
            .audit(app, entry)?
            .event(app, told)?;
        // At most 50, and nobody else writes them while the email waits; so all of them fit into the one transaction.
        for delivery in read::deliveries(app, tenant, &email.id).await? {
            let ver = i64::try_from(delivery.ver).unwrap_or(i64::MAX);
            let is_same = Expression::new("ver = :ver").with(":ver", number(ver));
            let delivery = delivery.moved(State::Canceled, "canceled", now_ms);
            let key = Key::Delivery(tenant, &email.id, &delivery.id);
            transaction = transaction.put("delivery", &key, &delivery, Some(is_same));
        }
        if transaction.commit().await? == Outcome::Committed {
            return Ok(email.id);
        }
    }
    Err(changing())
}

/// Hands a scheduled email to the outbox, if it is due, and queues its deliveries but the one that is being worked on. The
/// email as it stands afterwards, whoever fired it; nothing when it waits on, was called off, or does not count yet.
pub(crate) async fn fire(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    email: &EmailRow,
    at_work: &DeliveryId,
) -> Result<Option<EmailRow>> {
    let now_ms = app.clock.now_ms();
    let Some(at_ms) = email.scheduled_at_ms.filter(|at_ms| *at_ms <= now_ms) else {
        return Ok(None);
    };
    if email.canceled_at_ms.is_some() || !read::is_committed(app, tenant, email).await? {
        return Ok(None);
    }
    let entry = Entry {
        tenant,
        actor,
        action: Action::EmailDue,
        subject: email.id.as_str(),
        facts: facts(Some(at_ms), email.n_deliveries),
    };
    let fired = Expression::new("SET fired_at_ms = :now").with(":now", number(now_ms));
    let outcome = Transaction::new(app)
        .update("email", &Key::Email(tenant, &email.id), fired, still_waits(at_ms))
        .delete("scheduled", &Key::Scheduled(tenant, at_ms, &email.id))
        .put_new(
            "outbox",
            &Key::OutboxEmail(tenant, &email.id),
            &OutboxRow::new(app, email.id.as_str()),
        )
        .audit(app, entry)?
        .commit()
        .await?;
    if outcome == Outcome::Committed && email.n_deliveries > 1 {
        let others = read::deliveries(app, tenant, &email.id).await?;
        let others = others.into_iter().filter(|delivery| delivery.id != *at_work);
        let ticket = |delivery: DeliveryRow| Ticket {
            tenant: tenant.clone(),
            email: delivery.email,
            delivery: delivery.id,
        };
        hint(app, Tickets::from([(0, others.map(ticket).collect())])).await;
    }
    // Somebody else may have been faster: with the same, a move or a cancellation.
    let email = app.get::<EmailRow>(&Key::Email(tenant, &email.id)).await?;
    Ok(email.filter(|email| !email.waits()))
}

/// Queues the emails of a shard whose time came or comes before the next sweep; how many tickets that were. The tickets
/// fire them. A line whose batch was never committed goes after a day.
pub(crate) async fn sweep(app: &App, tenant: &TenantId, shard: u8) -> Result<usize> {
    let now_ms = app.clock.now_ms();
    let until = scheduled_from(now_ms.saturating_add(AHEAD_MS));
    let range = Range {
        before: Some(&until),
        limit: Some(LINES_A_SWEEP),
        ..Range::default()
    };
    let lines: Vec<ScheduledRow> = app
        .query(Table::Mail, &scheduled_partition(tenant, shard), &range)
        .await?;
    let mut tickets = Tickets::new();
    let mut n_tickets = 0;
    for line in lines {
        if line.at_ms.saturating_add(DAY_MS) <= now_ms && is_abandoned(app, tenant, &line).await? {
            let key = Key::Scheduled(tenant, line.at_ms, &line.email);
            Transaction::new(app).delete("scheduled", &key).commit().await?;
        } else if let Some((delay_ms, ticket)) = line.ticket(tenant, now_ms) {
            tickets.entry(delay_ms).or_default().push(ticket);
            n_tickets += 1;
        }
    }
    for (delay_ms, tickets) in tickets {
        app.enqueue(&tickets, delay_ms).await?;
    }
    Ok(n_tickets)
}

/// Whether a line is of a batch that was never accepted.
async fn is_abandoned(app: &App, tenant: &TenantId, line: &ScheduledRow) -> Result<bool> {
    match app.get::<EmailRow>(&Key::Email(tenant, &line.email)).await? {
        None => Ok(true),
        Some(email) => Ok(!read::is_committed(app, tenant, &email).await?),
    }
}

/// The condition that an email waits for this time, neither fired nor called off.
fn still_waits(at_ms: i64) -> Expression {
    Expression::new(
        "scheduled_at_ms = :at AND attribute_not_exists(fired_at_ms) AND attribute_not_exists(canceled_at_ms)",
    )
    .with(":at", number(at_ms))
}

/// The time that an email waits for, or that it is too late.
fn waiting(email: &EmailRow) -> Result<i64> {
    let message = match (email.scheduled_at_ms, email.fired_at_ms) {
        (Some(at_ms), None) => return Ok(at_ms),
        (Some(_), Some(_)) => "It is too late: this email's time has come and it is being sent to all its recipients.",
        (None, _) => "This email was not scheduled: it was sent at once.",
    };
    Err(Error::new(Kind::Conflict, message))
}

fn changing() -> Error {
    Error::new(
        Kind::Conflict,
        "This email is being changed by somebody else; nothing was changed by this request.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn times_are_read_in_the_forms_that_are_offered() {
        for (text, expected) in [
            ("2026-11-24T13:00:00Z", "2026-11-24T13:00:00Z"),
            (" 2026-11-24t14:00:00.5+01:00 ", "2026-11-24T13:00:00.5Z"),
            ("2026-11-24 13:00:00.123456-02:00", "2026-11-24T15:00:00.123Z"),
            ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
            ("in 1 min", "2026-11-24T12:01:00Z"),
            ("In  15 Minutes", "2026-11-24T12:15:00Z"),
            ("in 1 hour", "2026-11-24T13:00:00Z"),
            ("in 3 days", "2026-11-27T12:00:00Z"),
            ("in 365 days", "2027-11-24T12:00:00Z"),
        ] {
            assert_eq!(parse(text, ms(NOW)), Ok(ms(expected)), "{text}");
        }
    }

    #[test]
    fn other_forms_and_far_times_are_refused() {
        for text in [
            "",
            "tomorrow",
            "in min",
            "in -1 min",
            "in 1.5 hours",
            "in 1 fortnight",
            "in 1 min please",
            "2026-11-24",
            "2026-11-24T13:00:00",
            "2026-11-24T13:00:00[Europe/Berlin]",
            "2026-11-24T13:00:00+01:00[Europe/Berlin]",
            "2026-11-24T25:00:00Z",
            "1795521600",
            "Tue, 24 Nov 2026 13:00:00 GMT",
        ] {
            assert!(parse(text, ms(NOW)).unwrap_err().contains("RFC 3339"), "{text}");
        }
        for text in ["2027-11-24T12:00:01Z", "in 366 days", "in 99999999999999999999 days"] {
            assert!(parse(text, ms(NOW)).unwrap_err().contains("365 days"), "{text}");
        }
    }

    #[test]
    fn a_ticket_appears_at_the_time_and_not_before() {
        let line = ScheduledRow {
            email: EmailId::from_bytes([1; 16]),
            delivery: DeliveryId::from_bytes([2; 16]),
            at_ms: 1_000_001,
        };
        let tenant = TenantId::from_bytes([3; 16]);
        let delay = |now_ms| line.ticket(&tenant, now_ms).map(|(delay_ms, _)| delay_ms);
        assert_eq!(delay(1_000_000), Some(1000));
        assert_eq!(delay(2_000_000), Some(0));
        assert_eq!(delay(100_001), Some(900_000));
        assert_eq!(delay(100_000), None);
    }
}
