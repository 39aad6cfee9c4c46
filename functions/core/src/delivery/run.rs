//! A worker's way with one delivery: claim, plan, seal, fence, submit, settle.

mod stop;

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan};
use sealpost_codec::address::Address;

use super::{Decision, DeliveryRow, State};
use crate::actor::Actor;
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::keys::hex;
use crate::aws::queue::Ticket;
use crate::aws::ses::Submission;
use crate::aws::table::{Expression, Outcome, Transaction, number};
use crate::email::{EmailRow, Head, MESSAGE, read, schedule};
use crate::engagement::Marks;
use crate::error::{Error, Kind, Result};
use crate::event::EventType;
use crate::guard::{self, Gate};
use crate::id::TenantId;
use crate::key::{Key, Object};
use crate::link::{self, Use};
use crate::planted;
use crate::policy::{self, Method, Plan, Policy, Purpose, Stop, Verdict};
use crate::rate::{Lane, Turn};
use crate::recipient::{self, Known};
use crate::record::{RecordKey, RecordRow};
use crate::seal::{self, AnySealed, Material};

/// How long a claim holds: longer than the function may run.
pub(super) const LEASE_MS: i64 = 90_000;
/// How long after its fence a submission may still be answered: the function's time, the client's and a minute of skew.
pub(super) const SUBMIT_MS: i64 = 10 * 60_000;
/// How long a delivery may wait before it is given up: 16 hours.
pub(crate) const GIVE_UP_MS: i64 = 16 * 3_600_000;
/// How often a step is tried against others who change the same delivery.
const TRIES: u32 = 5;
/// How often a worker may fail at a delivery for reasons of our own before it is given up.
const MAX_BROKEN_CLAIMS: u32 = 8;

/// What a worker says to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing is left to be done for this ticket.
    Done,
    /// The ticket is to come again.
    Again,
}

/// Runs one delivery as far as it goes. Safe to be called any number of times, at the same time, in any order.
///
/// # Errors
/// Unavailable and Internal leave the delivery where another worker finds it.
pub async fn run(app: &App, actor: &Actor, ticket: &Ticket) -> Result<Next> {
    let tenant = &ticket.tenant;
    let Some(email) = app.get::<EmailRow>(&Key::Email(tenant, &ticket.email)).await? else {
        return Ok(Next::Done);
    };
    let email = if email.waits() {
        match schedule::fire(app, actor, tenant, &email, &ticket.delivery).await? {
            Some(email) => email,
            None => return Ok(Next::Done),
        }
    } else {
        email
    };
    let Some(row) = app
        .get::<DeliveryRow>(&Key::Delivery(tenant, &ticket.email, &ticket.delivery))
        .await?
    else {
        return Ok(Next::Done);
    };
    let now_ms = app.clock.now_ms();
    let is_free = match row.state {
        // Its email is due, or this would not have been reached.
        State::Scheduled => true,
        State::Ready => row.not_before_ms <= now_ms,
        State::Claimed => row.lease_until_ms <= now_ms,
        State::Submitting if crate::planted!("bug_03") => row.lease_until_ms <= now_ms,
        State::Submitting if crate::planted!("bug_04") => true,
        _ => false,
    };
    if !is_free || !read::is_committed(app, tenant, &email).await? {
        return Ok(Next::Done);
    }
    let work = Work {
        app,
        actor,
        tenant,
        email,
    };
    // What is too late is not sent, what is simulated does not reach SES: neither needs a turn.
    if !row.is_too_late(&work.email, now_ms)
        && !work.email.is_test
        && let Turn::Wait(wait_ms) = app
            .turn(
                tenant,
                Lane::of(work.email.purpose),
                row.has_waited(work.email.scheduled_at_ms),
            )
            .await?
    {
        return work.wait(row, wait_ms).await;
    }
    let Some(row) = work.claim(row).await? else {
        return Ok(Next::Done);
    };
    let n_claims = row.n_claims;
    match work.go_on(row.clone()).await {
        Ok(next) => Ok(next),
        Err(error) if error.kind() == Kind::Internal && n_claims >= MAX_BROKEN_CLAIMS => {
            tracing::error!(delivery = %row.id, "a delivery failed for good: {error}");
            work.end(row, State::Failed, "internal").await
        }
        Err(error) => Err(error),
    }
}

struct Work<'a> {
    app: &'a App,
    actor: &'a Actor,
    tenant: &'a TenantId,
    email: EmailRow,
}

impl Work<'_> {
    /// Takes the delivery, unless somebody else was faster.
    async fn claim(&self, row: DeliveryRow) -> Result<Option<DeliveryRow>> {
        let now_ms = self.app.clock.now_ms();
        let ver = row.ver;
        let mut row = row;
        row.state = State::Claimed;
        row.ver = ver.saturating_add(1);
        row.n_claims = row.n_claims.saturating_add(1);
        row.lease_until_ms = now_ms.saturating_add(LEASE_MS);
        Ok(self.save(Transaction::new(self.app), ver, &row).await?.then_some(row))
    }

    /// Leaves a delivery for later, since others have their turn: nothing was tried and nothing is counted. The sweep looks
    /// at it later than it would have, so that the outbox needs no change.
    async fn wait(&self, row: DeliveryRow, wait_ms: i64) -> Result<Next> {
        let ver = row.ver;
        let row = DeliveryRow {
            state: State::Ready,
            ver: ver.saturating_add(1),
            not_before_ms: self.app.clock.now_ms().saturating_add(wait_ms),
            ..row
        };
        if self.save(Transaction::new(self.app), ver, &row).await? {
            self.app.enqueue(&[row.ticket(self.tenant)], wait_ms).await?;
        }
        Ok(Next::Done)
    }

    /// Goes as far as it can. Where the delivery, the policy or the recipient's facts changed on the way, it is planned anew
    /// at once, as long as the claim is still ours: an event of an earlier attempt must not cost the rest of the lease.
    async fn go_on(&self, row: DeliveryRow) -> Result<Next> {
        let lease_until_ms = row.lease_until_ms;
        let mut row = row;
        for _ in 0..TRIES {
            let key = Key::Delivery(self.tenant, &row.email, &row.id);
            if self.go(row.clone()).await? == Next::Done {
                return Ok(Next::Done);
            }
            match self.app.get::<DeliveryRow>(&key).await? {
                Some(fresh) if fresh.state == State::Claimed && fresh.lease_until_ms == lease_until_ms => row = fresh,
                _ => return Ok(Next::Done),
            }
        }
        Ok(Next::Again)
    }

    async fn go(&self, row: DeliveryRow) -> Result<Next> {
        if row.is_too_late(&self.email, self.app.clock.now_ms()) {
            return self.end(row, State::Expired, "deadline").await;
        }
        let (record, key) = self.app.record(self.tenant, &self.email.record).await?;
        let head = Head::open(&key, &self.email.head)?;
        let recipient = head.recipient(row.n)?.clone();
        if planted!("leak_01") {
            tracing::info!(delivery = %row.id, "on its way to {}", recipient.as_str());
        }
        let is_covered = !planted!("leak_11");
        assert!(is_covered, "no rule covers {:?}", head.subject);
        if planted!("leak_14") {
            tracing::debug_span!("delivery", subject = hex(head.subject.as_bytes()));
        }
        let policy = self.app.policy(self.tenant).await?;
        let known = recipient::known(self.app, self.tenant, &recipient).await?;
        if let Some(suppression) = known.suppressed(self.email.purpose, &policy)
            && !crate::planted!("bug_17")
        {
            return self.suppress(row, suppression).await;
        }
        let gate = match self.email.is_test {
            true => Gate::Open,
            false => guard::gate(self.app, self.actor, self.tenant, self.email.purpose).await?,
        };
        if let Some((wait_ms, event)) = self.wait_for_stream(&row, gate)? {
            return self.postpone(row, wait_ms, event).await;
        }
        let message = policy::Message {
            data_class: self.email.data_class,
            purpose: self.email.purpose,
            // A second attempt may go no weaker than the first was to go, whatever was removed in between.
            requested: self
                .email
                .requested
                .at_least(row.decision.as_ref().map(|decision| decision.level)),
            portal_only: row.portal_only,
        };
        match policy::plan(&message, &known.facts, &policy) {
            Verdict::Blocked(blocked) => {
                let state = match blocked.stop {
                    Stop::Hold => State::Held,
                    Stop::Fail => State::Failed,
                    Stop::Block | Stop::Drop => State::Blocked,
                };
                self.end(row, state, blocked.rule).await
            }
            Verdict::Send(plan) => {
                let sealed = self
                    .seal(&row, &key, &record, &head, &recipient, &plan, &known, &policy)
                    .await?;
                self.lock(&record, &policy).await?;
                self.submit(row, &plan, &policy, &known, &recipient, sealed).await
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "everything that sealing needs was loaded by the caller, once"
    )]
    async fn seal(
        &self,
        row: &DeliveryRow,
        key: &RecordKey,
        record: &RecordRow,
        head: &Head,
        recipient: &Address,
        plan: &Plan,
        known: &Known,
        policy: &Policy,
    ) -> Result<AnySealed> {
        let object = self
            .app
            .get_object(&Object::Archive(self.tenant, &record.id), record.version.as_deref())
            .await?;
        let object = object.ok_or_else(|| Error::internal("An archived object is not there."))?;
        let message = key.unseal(MESSAGE, &object)?;
        let unsubscribe = if self.email.purpose == Purpose::Marketing {
            let what = (Use::Unsubscribe, 0);
            Some(link::make(self.app, self.tenant, &self.email.id, &row.id, what).await?)
        } else {
            None
        };
        // Allowed when the email was accepted and now. Never in what only the recipient is to read.
        let allowed = policy.tracking(self.email.purpose, self.email.data_class);
        let wanted = self.email.tracking.and(allowed);
        let marks = if plan.method == Method::Tls && !wanted.is_none() {
            Some(Marks::make(self.app, self.tenant, &self.email, &row.id, wanted, key).await?)
        } else {
            None
        };
        let material = Material {
            tenant: self.tenant,
            email: &self.email,
            delivery: &row.id,
            n_renewals: row.n_renewals,
            head,
            recipient,
            record: key,
            message: &message,
            known,
            unsubscribe,
            marks,
        };
        seal::seal(self.app, plan, &material).await
    }

    /// Stamps the retention lock on the archived object: before the first submission, not before acceptance. What was only
    /// a test is no record of anything that was sent.
    async fn lock(&self, record: &RecordRow, policy: &Policy) -> Result<()> {
        if record.locked_until_ms.is_some() || self.email.is_test {
            return Ok(());
        }
        let created_at = Timestamp::from_millisecond(record.created_at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let hours = i64::from(policy.retention_days).saturating_mul(24);
        let until = created_at.checked_add(hours.hours()).unwrap_or(Timestamp::MAX);
        self.app
            .lock_object(
                &Object::Archive(self.tenant, &record.id),
                record.version.as_deref(),
                until,
            )
            .await?;
        let locked = RecordRow {
            locked_until_ms: Some(until.as_millisecond()),
            ..record.clone()
        };
        let is_there = Expression::new("attribute_exists(pk)");
        Transaction::new(self.app)
            .put("record", &Key::Record(self.tenant, &record.id), &locked, Some(is_there))
            .commit()
            .await?;
        Ok(())
    }

    /// Writes the fence under the conditions that the plan rests on, then calls SES, once.
    async fn submit(
        &self,
        row: DeliveryRow,
        plan: &Plan,
        policy: &Policy,
        known: &Known,
        recipient: &Address,
        sealed: AnySealed,
    ) -> Result<Next> {
        let now_ms = self.app.clock.now_ms();
        let ver = row.ver;
        let mut row = row.moved(State::Submitting, "submitting", now_ms);
        row.attempt = row.attempt.saturating_add(1);
        row.deadline_ms = now_ms.saturating_add(SUBMIT_MS);
        row.is_ambiguous = false;
        row.ses_message_id = None;
        row.decision = Some(Decision {
            method: plan.method,
            level: plan.level,
            rule: plan.rule.to_owned(),
            reason: plan.reason.to_owned(),
            rejected: plan.rejected.clone(),
            policy_version: policy.version,
            plan_sha256: plan.sha256(policy.version),
            fingerprint: plan.fingerprint.clone(),
            pickup: sealed.pickup().cloned(),
        });
        let facts = BTreeMap::from([
            ("attempt", row.attempt.to_string()),
            ("method", plan.method.as_str().to_owned()),
            ("rule", plan.rule.to_owned()),
            ("policy_version", policy.version.to_string()),
        ]);
        let hash = self.app.recipient_hash(self.tenant, recipient).await?;
        let version = i64::try_from(policy.version).unwrap_or(i64::MAX);
        let as_planned = match crate::planted!("bug_18") {
            true => Expression::new("version <> :v").with(":v", number(-1)),
            false => Expression::new("version = :v").with(":v", number(version)),
        };
        let transaction = Transaction::new(self.app)
            .check("policy", &Key::Policy(self.tenant), as_planned)
            .check("facts", &Key::Facts(self.tenant, &hash), known.unchanged())
            .audit(self.app, self.entry(&row, Action::DeliverySubmitting, facts))?;
        let proof = self.app.attempt_proof(self.tenant, &row.id, row.attempt).await?;
        if crate::planted!("bug_02") {
            row.ver = ver;
        } else if !self.save(transaction, ver, &row).await? {
            // Policy, key or delivery changed under our hands: plan anew.
            return Ok(Next::Again);
        }
        let submission = sealed.submit(self.app, self.tenant, &row, proof).await;
        if submission.is_throttle() {
            self.app.rate.throttled(self.app.clock.now_ms());
        }
        self.settle(row, submission).await
    }

    /// Notes what became of a submission. An event of an earlier attempt may change the delivery in between; the answer
    /// stands nevertheless, as long as the same attempt waits for it.
    async fn settle(&self, row: DeliveryRow, submission: Submission) -> Result<Next> {
        let attempt = row.attempt;
        let mut row = row;
        for _ in 0..TRIES {
            let key = Key::Delivery(self.tenant, &row.email, &row.id);
            if self.note(row.clone(), &submission).await? {
                return Ok(Next::Done);
            }
            match self.app.get::<DeliveryRow>(&key).await? {
                Some(fresh) if fresh.state == State::Submitting && fresh.attempt == attempt => row = fresh,
                // An event of this very attempt was faster.
                _ => return Ok(Next::Done),
            }
        }
        Err(Error::new(Kind::Unavailable, "Others keep changing the delivery."))
    }

    /// Writes what became of a submission; whether the delivery was still as it is in `row`.
    async fn note(&self, row: DeliveryRow, submission: &Submission) -> Result<bool> {
        let now_ms = self.app.clock.now_ms();
        let ver = row.ver;
        match submission {
            Submission::Accepted { message_id } => {
                let mut row = row.moved(State::Sent, "sent", now_ms);
                let facts = BTreeMap::from([("ses_message_id", message_id.clone())]);
                row.ses_message_id = Some(message_id.clone());
                self.finish(row, ver, Action::DeliverySent, facts, EventType::EmailSent)
                    .await
            }
            Submission::Later { code } => {
                let mut row = row.moved(State::Ready, "postponed", now_ms);
                let wait = backoff_ms(row.attempt);
                row.not_before_ms = now_ms.saturating_add(wait);
                let facts = BTreeMap::from([("code", code.clone())]);
                let transaction = Transaction::new(self.app)
                    .audit(self.app, self.entry(&row, Action::DeliveryPostponed, facts))?
                    .follow(self.app, self.tenant, &self.email, State::Submitting, &row);
                let is_saved = self.save(transaction, ver, &row).await?;
                if is_saved && let Err(error) = self.app.enqueue(&[row.ticket(self.tenant)], wait).await {
                    tracing::warn!(kind = ?error.kind(), "the queue did not take a ticket; the sweep will");
                }
                Ok(is_saved)
            }
            Submission::Refused { code } => {
                let (row, facts) = self.ended(row, State::Failed, "failed", code);
                self.finish(row, ver, Action::DeliveryEnded, facts, EventType::EmailFailed)
                    .await
            }
            // The fence stays; an event settles it, or the reconciler after the deadline. The queue's copy must go.
            Submission::Ambiguous => {
                tracing::warn!(delivery = %row.id, attempt = row.attempt, "SES gave no clear answer");
                let mut row = row.moved(State::Submitting, "unanswered", now_ms);
                row.is_ambiguous = true;
                let facts = BTreeMap::from([("attempt", row.attempt.to_string())]);
                let transaction =
                    Transaction::new(self.app).audit(self.app, self.entry(&row, Action::DeliveryUnanswered, facts))?;
                self.save(transaction, ver, &row).await
            }
        }
    }

    async fn end(&self, row: DeliveryRow, state: State, because: &str) -> Result<Next> {
        let ver = row.ver;
        let (event, told) = match state {
            State::Blocked => ("blocked", EventType::EmailBlocked),
            State::Held => ("held", EventType::EmailHeld),
            State::Expired => ("expired", EventType::EmailExpired),
            _ => ("failed", EventType::EmailFailed),
        };
        let (row, facts) = self.ended(row, state, event, because);
        Ok(next(self.finish(row, ver, Action::DeliveryEnded, facts, told).await?))
    }

    fn ended(
        &self,
        row: DeliveryRow,
        state: State,
        event: &str,
        because: &str,
    ) -> (DeliveryRow, BTreeMap<&'static str, String>) {
        let mut row = row.moved(state, event, self.app.clock.now_ms());
        row.ended_because = Some(because.to_owned());
        (row, BTreeMap::from([("because", because.to_owned())]))
    }

    /// Saves a delivery that SES has, or that ended, with what customers are told of it; whether it was still at `ver`.
    async fn finish(
        &self,
        row: DeliveryRow,
        ver: u64,
        action: Action,
        facts: BTreeMap<&'static str, String>,
        told: EventType,
    ) -> Result<bool> {
        let transaction = Transaction::new(self.app)
            .audit(self.app, self.entry(&row, action, facts))?
            .event(self.app, row.event(self.tenant, &self.email, told, 0))?
            .follow(self.app, self.tenant, &self.email, State::Submitting, &row);
        self.save(transaction, ver, &row).await
    }

    /// Saves the delivery if it is still at version `ver`.
    #[track_caller]
    fn save(&self, transaction: Transaction<'_>, ver: u64, row: &DeliveryRow) -> impl Future<Output = Result<bool>> {
        save(self.tenant, transaction, ver, row)
    }

    fn entry<'e>(&'e self, row: &'e DeliveryRow, action: Action, facts: BTreeMap<&'static str, String>) -> Entry<'e> {
        Entry {
            tenant: self.tenant,
            actor: self.actor,
            action,
            subject: row.id.as_str(),
            facts,
        }
    }
}

/// Tells the queue of one delivery; a loss is made good by the sweep.
pub(crate) async fn hint(app: &App, ticket: Ticket) {
    if let Err(error) = app.enqueue(&[ticket], 0).await {
        tracing::warn!(kind = ?error.kind(), "the queue did not take a ticket; the sweep will");
    }
}

/// What follows from whether a delivery was saved.
fn next(is_saved: bool) -> Next {
    if is_saved { Next::Done } else { Next::Again }
}

/// Saves a delivery if it is still at version `ver`.
#[track_caller]
pub(super) fn save(
    tenant: &TenantId,
    transaction: Transaction<'_>,
    ver: u64,
    row: &DeliveryRow,
) -> impl Future<Output = Result<bool>> {
    let is_same = Expression::new("ver = :ver").with(":ver", number(i64::try_from(ver).unwrap_or(i64::MAX)));
    let key = Key::Delivery(tenant, &row.email, &row.id);
    let commit = transaction.put("delivery", &key, row, Some(is_same)).commit();
    async move { Ok(commit.await? == Outcome::Committed) }
}

/// How long to wait after the `attempt`-th refusal: 5 s, doubling, 10 min at most.
fn backoff_ms(attempt: u32) -> i64 {
    let doublings = attempt.saturating_sub(1).min(7);
    (5_000_i64 << doublings).min(600_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeliveryId, EmailId};

    #[test]
    fn waits_grow_and_stop_growing() {
        assert_eq!(
            [1, 2, 3, 8, 99].map(backoff_ms),
            [5_000, 10_000, 20_000, 600_000, 600_000]
        );
    }

    #[test]
    fn only_mail_that_was_put_off_has_waited() {
        let new = |scheduled_at_ms| {
            let (delivery, email) = (DeliveryId::from_bytes([1; 16]), EmailId::from_bytes([2; 16]));
            DeliveryRow::new(delivery, email, 0, 1_000, scheduled_at_ms)
        };
        let put_off = |row: DeliveryRow, until_ms| DeliveryRow {
            state: State::Ready,
            not_before_ms: until_ms,
            ..row
        };
        assert!(!new(None).has_waited(None));
        assert!(put_off(new(None), 1_001).has_waited(None));
        // Scheduled, and moved to an earlier time.
        assert!(!new(Some(9_000)).has_waited(Some(9_000)));
        assert!(!new(Some(9_000)).has_waited(Some(5_000)));
        assert!(put_off(new(Some(9_000)), 6_000).has_waited(Some(5_000)));
        // A notice that is made anew comes for the first time again.
        let renewed = new(None).renewed(7_000);
        assert!(!renewed.has_waited(None));
        assert!(put_off(renewed, 8_000).has_waited(None));
    }
}
