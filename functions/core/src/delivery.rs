//! One email for one recipient: the state machine.
//!
//! ```text
//! Scheduled -> Canceled
//!    `-> Claimed, once the email is due
//! Ready -> Claimed -> Submitting -> Sent -> what SES tells of it: delivered, bounced …
//!            |            |          |-> Ready for the portal (required TLS failed)
//!            |            |          `-> Ready for another notice (the portal's was lost)
//!            |            |-> Ready (refused for now)   |-> Failed (refused for good)
//!            |            `-> in doubt after its deadline -> Held | Ready once more | Ready for the portal
//!            `-> Blocked | Suppressed | Failed | Expired
//! ```
//! `Submitting` is written before SES is called and is never acted on by a worker that finds it: SES has no idempotency
//! token, so whoever repeats a call whose answer was lost sends a second mail. SES's own events move it, and after its
//! deadline the reconciler. Every write is conditional on `ver`, so that a worker that froze cannot undo what came after.

pub mod doubt;
pub mod notification;
pub mod observation;
pub mod run;
pub mod sweep;
pub mod track;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::aws::table::Transaction;
use crate::email::EmailRow;
use crate::id::{DeliveryId, EmailId, PickupId, TenantId};
use crate::key::Key;
use crate::policy::{Level, Method};
use observation::Observed;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits until its email is due, or called off.
    Scheduled,
    /// Waits for a worker, from `not_before_ms` on.
    Ready,
    /// A worker has it until `lease_until_ms`.
    Claimed,
    /// SES is being called, or was when the worker died.
    Submitting,
    /// Nobody knows whether SES accepted it, and policy says that a person decides.
    Held,
    /// SES accepted it.
    Sent,
    /// Policy refuses to send it.
    Blocked,
    /// The address is suppressed for mail of its purpose.
    Suppressed,
    /// It will never be sent.
    Failed,
    /// Its deadline passed before it could be sent.
    Expired,
    /// Its sender called it off in time.
    Canceled,
}

/// What callers see of a delivery's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits for the time that its sender asked for.
    Scheduled,
    /// Waits to be sent.
    Queued,
    /// Is being sent.
    Sending,
    /// Was handed to SES.
    Sent,
    /// The recipient's server did not take it yet.
    DeliveryDelayed,
    /// The recipient's server took it.
    Delivered,
    /// The recipient read it in the portal.
    PickedUp,
    /// It came back.
    Bounced,
    /// The recipient called it unwanted.
    Complained,
    /// It was not delivered, since the address is suppressed.
    Suppressed,
    /// Waits for a person, since nobody knows whether SES accepted it.
    Held,
    /// Policy refused it.
    Blocked,
    /// Could not be sent in time.
    Expired,
    /// Cannot be sent.
    Failed,
    /// Was called off.
    Canceled,
}

impl Status {
    /// The status as it stands in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Scheduled => "scheduled",
            Status::Queued => "queued",
            Status::Sending => "sending",
            Status::Sent => "sent",
            Status::DeliveryDelayed => "delivery_delayed",
            Status::Delivered => "delivered",
            Status::PickedUp => "picked_up",
            Status::Bounced => "bounced",
            Status::Complained => "complained",
            Status::Suppressed => "suppressed",
            Status::Held => "held",
            Status::Blocked => "blocked",
            Status::Expired => "expired",
            Status::Failed => "failed",
            Status::Canceled => "canceled",
        }
    }

    /// Which status of several recipients stands for the email: trouble first, then what is not done.
    pub(crate) fn urgency(self) -> u8 {
        match self {
            Status::Canceled => 0,
            Status::PickedUp => 1,
            Status::Delivered => 2,
            Status::Sent => 3,
            Status::DeliveryDelayed => 4,
            Status::Scheduled => 5,
            Status::Queued => 6,
            Status::Sending => 7,
            Status::Complained => 8,
            Status::Suppressed => 9,
            Status::Held => 10,
            Status::Expired => 11,
            Status::Bounced => 12,
            Status::Blocked => 13,
            Status::Failed => 14,
        }
    }
}

/// Something that happened to a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What: `queued`, `submitting`, `sent`, `postponed` …
    #[serde(rename = "type")]
    pub kind: String,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
}

/// How it was decided that a delivery goes, as far as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// The method.
    pub method: Method,
    /// The assurance level.
    pub level: Level,
    /// Which rule decided.
    pub rule: String,
    /// Why, for people.
    pub reason: String,
    /// What was not chosen, and why.
    pub rejected: Vec<crate::policy::Rejected>,
    /// The policy's version.
    pub policy_version: u64,
    /// Hash of the plan.
    pub plan_sha256: String,
    /// Fingerprint of the key or certificate that it was sealed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The portal message, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pickup: Option<PickupId>,
}

/// A delivery as the table holds it. It names no address: the recipient is the `n`-th of the email's sealed head.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// The delivery.
    pub id: DeliveryId,
    /// Its email.
    pub email: EmailId,
    /// Which recipient of the email.
    pub n: u32,
    /// Where it stands.
    pub state: State,
    /// Grows with every write.
    pub ver: u64,
    /// How often SES was called, or was to be called; the tag of an attempt.
    pub attempt: u32,
    /// How often a worker took it.
    pub n_claims: u32,
    /// How often it was sent again after a doubt.
    pub n_resends: u32,
    /// Not before this time is it to be sent.
    pub not_before_ms: i64,
    /// Until when its worker has it.
    pub lease_until_ms: i64,
    /// From when on a submission without an answer is in doubt.
    pub deadline_ms: i64,
    /// Whether the answer to the latest submission never came, as its worker knows.
    #[serde(default)]
    pub is_ambiguous: bool,
    /// Since when it is to be sent, where that is later than its email's time: a doubt or a failure of TLS begins it anew.
    #[serde(default)]
    pub ready_since_ms: i64,
    /// Set where a doubt or a failure of TLS moves it to the portal.
    #[serde(default)]
    pub portal_only: bool,
    /// How often its notice was lost and made anew.
    #[serde(default)]
    pub n_renewals: u32,
    /// How many attempts were made before the latest renewal: what becomes of them says nothing of the new notice.
    #[serde(default)]
    pub n_attempts_before: u32,
    /// The plan, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The id that SES gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ses_message_id: Option<String>,
    /// Why it ended without being sent: a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_because: Option<String>,
    /// What we did, oldest first.
    pub events: Vec<Event>,
    /// What was seen of its attempts, mostly by SES.
    #[serde(default)]
    pub observed: BTreeSet<Observed>,
    /// When the email was accepted.
    pub created_at_ms: i64,
}

/// The event of a notice that is made anew.
const RENEWED: &str = "renewed";

impl DeliveryRow {
    pub(crate) fn new(
        id: DeliveryId,
        email: EmailId,
        n: u32,
        created_at_ms: i64,
        scheduled_at_ms: Option<i64>,
    ) -> Self {
        let (state, event) = match scheduled_at_ms {
            None => (State::Ready, "queued"),
            Some(_) => (State::Scheduled, "scheduled"),
        };
        Self {
            id,
            email,
            n,
            state,
            ver: 1,
            attempt: 0,
            n_claims: 0,
            n_resends: 0,
            not_before_ms: scheduled_at_ms.unwrap_or(created_at_ms),
            lease_until_ms: 0,
            deadline_ms: 0,
            is_ambiguous: false,
            ready_since_ms: 0,
            portal_only: false,
            n_renewals: 0,
            n_attempts_before: 0,
            decision: None,
            ses_message_id: None,
            ended_because: None,
            events: vec![Event {
                kind: event.to_owned(),
                at_ms: created_at_ms,
            }],
            observed: BTreeSet::new(),
            created_at_ms,
        }
    }

    /// Whether it was put off since it was accepted, since its time came or since it began anew.
    pub(crate) fn has_waited(&self, scheduled_at_ms: Option<i64>) -> bool {
        let first_ms = scheduled_at_ms.unwrap_or(self.created_at_ms);
        // A scheduled one keeps the time that it was first scheduled for, until it is put off from the one that it has now.
        self.state != State::Scheduled && self.not_before_ms > first_ms.max(self.ready_since_ms)
    }

    /// What callers see.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.state {
            State::Scheduled => Status::Scheduled,
            State::Ready => Status::Queued,
            State::Claimed | State::Submitting => Status::Sending,
            State::Held => Status::Held,
            State::Sent => self.observed_status().unwrap_or(Status::Sent),
            State::Blocked => Status::Blocked,
            State::Suppressed => Status::Suppressed,
            State::Failed => Status::Failed,
            // It was given up for want of news; news that came after all is the truth.
            State::Expired if self.is_observed_to_the_end() => self.observed_status().unwrap_or(Status::Expired),
            State::Expired => Status::Expired,
            State::Canceled => Status::Canceled,
        }
    }

    /// Everything that happened, oldest first: what we did, and what was seen.
    #[must_use]
    pub fn timeline(&self) -> Vec<Event> {
        let seen = self.observed.iter().map(|seen| Event {
            kind: seen.what.as_str().to_owned(),
            at_ms: seen.at_ms,
        });
        let mut all: Vec<Event> = self.events.iter().cloned().chain(seen).collect();
        all.sort_by_key(|event| event.at_ms);
        all
    }

    /// Whether nothing is left to be done by the system.
    #[must_use]
    pub(crate) fn is_settled(&self) -> bool {
        match self.state {
            State::Scheduled | State::Ready | State::Claimed | State::Submitting => false,
            State::Sent => self.is_observed_to_the_end(),
            State::Held | State::Blocked | State::Suppressed | State::Failed | State::Expired | State::Canceled => true,
        }
    }

    /// Whether it ended for good before a time, so that what was sealed for it is not sent again.
    pub(crate) fn is_over_since(&self, at_ms: i64) -> bool {
        let is_old = self.events.last().is_none_or(|event| event.at_ms <= at_ms);
        self.is_settled() && self.state != State::Held && is_old
    }

    /// When the sweep has to look at it, if nothing else happens; `None` for a settled one.
    pub(crate) fn look_at_ms(&self) -> Option<i64> {
        match self.state {
            // Its email has a line of its own only once it is due, and then its ticket was lost.
            State::Scheduled => Some(self.created_at_ms),
            State::Ready => Some(self.not_before_ms.saturating_add(sweep::GRACE_MS)),
            State::Claimed => Some(self.lease_until_ms),
            State::Submitting => Some(self.deadline_ms),
            State::Sent if !self.is_settled() && !crate::planted!("bug_23") => {
                Some(self.deadline_ms.saturating_add(doubt::WATCH_MS))
            }
            _ => None,
        }
    }

    /// The row as it begins anew, for reasons that `event` names.
    fn again(self, event: &str, now_ms: i64) -> Self {
        let mut row = self.moved(State::Ready, event, now_ms);
        row.n_claims = 0;
        row.not_before_ms = now_ms;
        row.ready_since_ms = now_ms;
        row.is_ambiguous = false;
        row
    }

    /// The row as it begins anew for a notice that was lost.
    pub(crate) fn renewed(self, now_ms: i64) -> Self {
        let mut row = self.again(RENEWED, now_ms);
        row.n_renewals = row.n_renewals.saturating_add(1);
        row.n_attempts_before = row.attempt;
        row.n_resends = 0;
        row.ended_because = None;
        row
    }

    /// How often its notice was made anew since a time.
    pub(crate) fn n_renewals_since(&self, at_ms: i64) -> usize {
        let is_one = |event: &&Event| event.kind == RENEWED && event.at_ms > at_ms;
        self.events.iter().filter(is_one).count()
    }

    /// Whether customers were told that the latest attempt was sent.
    fn is_sent_told(&self) -> bool {
        let last = |kind: &str| self.events.iter().rposition(|event| event.kind == kind);
        last("sent").is_some_and(|sent| last("submitting").is_none_or(|submitting| submitting < sent))
    }

    /// Whether it was to be sent for longer than it may wait.
    pub(crate) fn is_too_late(&self, email: &EmailRow, now_ms: i64) -> bool {
        let since_ms = self.ready_since_ms.max(email.starts_at_ms());
        now_ms >= since_ms.saturating_add(run::GIVE_UP_MS)
    }

    /// The row after a change of state, with the event that tells of it.
    pub(crate) fn moved(mut self, state: State, event: &str, at_ms: i64) -> Self {
        self.state = state;
        self.ver = self.ver.saturating_add(1);
        self.events.push(Event {
            kind: event.to_owned(),
            at_ms,
        });
        self
    }
}

/// A line of the outbox: an email or a batch with deliveries that are not settled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OutboxRow {
    /// `em_…` or `bat_…`.
    pub(crate) id: String,
    pub(crate) created_at_ms: i64,
    /// Before this time the sweep need not look.
    #[serde(default)]
    pub(crate) look_at_ms: i64,
}

impl OutboxRow {
    pub(crate) fn new(app: &App, id: &str) -> Self {
        let now_ms = app.clock.now_ms();
        Self {
            id: id.to_owned(),
            created_at_ms: now_ms,
            look_at_ms: now_ms.saturating_add(sweep::GRACE_MS),
        }
    }
}

impl Transaction<'_> {
    /// Brings an email's line in the outbox to what is left to be done for a delivery that was in state `was`. The line of
    /// an email with one recipient follows it. A line that stands for several is brought forward where a delivery that was
    /// at rest begins anew, and is else left to the sweep, so that deliveries of one batch do not write over each other.
    pub(crate) fn follow(self, app: &App, tenant: &TenantId, email: &EmailRow, was: State, row: &DeliveryRow) -> Self {
        let is_alone = email.is_alone();
        let (key, id) = match &email.batch {
            Some(batch) if !email.has_own_line() => (Key::OutboxBatch(tenant, batch), batch.as_str()),
            _ => (Key::OutboxEmail(tenant, &email.id), email.id.as_str()),
        };
        let line = OutboxRow::new(app, id);
        match row.look_at_ms() {
            None if is_alone => self.delete("outbox", &key),
            Some(look_at_ms) if is_alone => self.put("outbox", &key, &OutboxRow { look_at_ms, ..line }, None),
            Some(_) if matches!(was, State::Sent | State::Held | State::Expired) && was != row.state => {
                self.put("outbox", &key, &line, None)
            }
            _ => self,
        }
    }
}
