//! What customers are told of: one row an event, written in the transaction of the change that it tells of.
//!
//! The row feeds the pull feed and the webhooks; both show the same id. It holds ids and codes, never an address, a subject
//! or a text of a patient. Beside it stands a line in the list of events that still have to be told; whoever delivered an
//! event everywhere removes its line, and a sweep finds the lines that a queue lost.

pub mod feed;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::aws::queue::Hint;
use crate::aws::table::Transaction;
use crate::error::Result;
use crate::id::{DeliveryId, EmailId, EventId, TenantId};
use crate::key::Key;
use crate::planted;
use crate::planted::slip;

/// How long the feed keeps an event: 90 days, in milliseconds.
pub(crate) const KEPT_MS: i64 = 90 * 86_400_000;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum EventType {
    /// An email waits for its time.
    #[serde(rename = "email.scheduled")]
    EmailScheduled,
    /// A scheduled email was called off.
    #[serde(rename = "email.canceled")]
    EmailCanceled,
    /// SES accepted a delivery.
    #[serde(rename = "email.sent")]
    EmailSent,
    /// The recipient's server took a delivery.
    #[serde(rename = "email.delivered")]
    EmailDelivered,
    /// The recipient's server did not take a delivery yet.
    #[serde(rename = "email.delivery_delayed")]
    EmailDeliveryDelayed,
    /// A delivery could not go by required TLS and goes through the portal instead.
    #[serde(rename = "email.rerouted")]
    EmailRerouted,
    /// A delivery came back.
    #[serde(rename = "email.bounced")]
    EmailBounced,
    /// The recipient called it unwanted.
    #[serde(rename = "email.complained")]
    EmailComplained,
    /// A delivery was not made, since the address is suppressed.
    #[serde(rename = "email.suppressed")]
    EmailSuppressed,
    /// Policy refused a delivery.
    #[serde(rename = "email.blocked")]
    EmailBlocked,
    /// Nobody knows whether SES accepted a delivery, and a person decides.
    #[serde(rename = "email.held")]
    EmailHeld,
    /// A delivery cannot be made.
    #[serde(rename = "email.failed")]
    EmailFailed,
    /// A delivery was not made in time.
    #[serde(rename = "email.expired")]
    EmailExpired,
    /// A portal message was opened by its recipient.
    #[serde(rename = "email.picked_up")]
    EmailPickedUp,
    /// A mail was opened, as far as a loaded picture tells.
    #[serde(rename = "email.opened")]
    EmailOpened,
    /// A link was followed.
    #[serde(rename = "email.clicked")]
    EmailClicked,
    /// A recipient unsubscribed.
    #[serde(rename = "contact.unsubscribed")]
    ContactUnsubscribed,
    /// An address was suppressed.
    #[serde(rename = "suppression.added")]
    SuppressionAdded,
    /// A suppression was removed.
    #[serde(rename = "suppression.removed")]
    SuppressionRemoved,
    /// A stream bounces or draws complaints more than it should: it is warned of, slowed or paused.
    #[serde(rename = "stream.guarded")]
    StreamGuarded,
    /// A webhook endpoint was switched off after days of failure.
    #[serde(rename = "webhook.disabled")]
    WebhookDisabled,
}

impl EventType {
    /// Every type.
    pub const ALL: [EventType; 21] = [
        EventType::EmailScheduled,
        EventType::EmailCanceled,
        EventType::EmailSent,
        EventType::EmailDelivered,
        EventType::EmailDeliveryDelayed,
        EventType::EmailRerouted,
        EventType::EmailBounced,
        EventType::EmailComplained,
        EventType::EmailSuppressed,
        EventType::EmailBlocked,
        EventType::EmailHeld,
        EventType::EmailFailed,
        EventType::EmailExpired,
        EventType::EmailPickedUp,
        EventType::EmailOpened,
        EventType::EmailClicked,
        EventType::ContactUnsubscribed,
        EventType::SuppressionAdded,
        EventType::SuppressionRemoved,
        EventType::StreamGuarded,
        EventType::WebhookDisabled,
    ];

    /// The type as it stands in requests, webhooks and the feed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::EmailScheduled => "email.scheduled",
            EventType::EmailCanceled => "email.canceled",
            EventType::EmailSent => "email.sent",
            EventType::EmailDelivered => "email.delivered",
            EventType::EmailDeliveryDelayed => "email.delivery_delayed",
            EventType::EmailRerouted => "email.rerouted",
            EventType::EmailBounced => "email.bounced",
            EventType::EmailComplained => "email.complained",
            EventType::EmailSuppressed => "email.suppressed",
            EventType::EmailBlocked => "email.blocked",
            EventType::EmailHeld => "email.held",
            EventType::EmailFailed => "email.failed",
            EventType::EmailExpired => "email.expired",
            EventType::EmailPickedUp => "email.picked_up",
            EventType::EmailOpened => "email.opened",
            EventType::EmailClicked => "email.clicked",
            EventType::ContactUnsubscribed => "contact.unsubscribed",
            EventType::SuppressionAdded => "suppression.added",
            EventType::SuppressionRemoved => "suppression.removed",
            EventType::StreamGuarded => "stream.guarded",
            EventType::WebhookDisabled => "webhook.disabled",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// An event as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// The event; also the `webhook-id`.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// The email, where the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailId>,
    /// The delivery, where the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryId>,
    /// Orders the events of one delivery: the version of the delivery that the event belongs to.
    #[serde(default)]
    pub sequence: u64,
    /// Whether it is of a message to a simulated recipient.
    #[serde(default)]
    pub is_test: bool,
    /// Codes and counts that tell more.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// When the row may go, seconds since the epoch.
    pub expires_at: i64,
}

impl EventRow {
    /// The event as receivers of webhooks and readers of the feed see it: ids, codes and counts.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let facts = self.facts.iter().map(|(name, value)| (name.clone(), json!(value)));
        let mut data: Map<String, Value> = facts.collect();
        if let Some(email) = &self.email {
            data.insert("email_id".to_owned(), json!(email));
        }
        if let Some(delivery) = &self.delivery {
            data.insert("delivery_id".to_owned(), json!(delivery));
        }
        if planted!("leak_09") {
            data.insert("subject".to_owned(), json!(STANDARD.encode(slip::last().subject)));
        }
        data.insert("sequence".to_owned(), json!(self.sequence));
        data.insert("test".to_owned(), json!(self.is_test));
        let at = Timestamp::from_millisecond(self.at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        json!({ "type": self.kind, "timestamp": at.to_string(), "data": data })
    }
}

/// A line of what still has to be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EventDueRow {
    pub(crate) id: EventId,
    pub(crate) created_at_ms: i64,
}

/// An event, ready for its transaction.
pub(crate) struct NewEvent<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) kind: EventType,
    pub(crate) email: Option<&'a EmailId>,
    pub(crate) delivery: Option<&'a DeliveryId>,
    /// See [`EventRow::sequence`].
    pub(crate) sequence: u64,
    pub(crate) is_test: bool,
    /// Codes, counts and ids that tell more; no PHI.
    pub(crate) facts: BTreeMap<&'static str, String>,
}

impl Transaction<'_> {
    /// Adds an event to the transaction.
    ///
    /// # Errors
    /// Internal, when there is no randomness for its id.
    pub(crate) fn event(self, app: &App, event: NewEvent<'_>) -> Result<Self> {
        let id = EventId::new(&app.clock, &app.random)?;
        let now_ms = app.clock.now_ms();
        let row = EventRow {
            id: id.clone(),
            kind: event.kind,
            at_ms: now_ms,
            email: event.email.cloned(),
            delivery: event.delivery.cloned(),
            sequence: event.sequence,
            is_test: event.is_test,
            facts: event
                .facts
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            expires_at: now_ms.saturating_add(KEPT_MS).div_euclid(1000),
        };
        let due = EventDueRow {
            id: id.clone(),
            created_at_ms: now_ms,
        };
        let hint = Hint {
            tenant: event.tenant.clone(),
            event: id.clone(),
            webhook: None,
        };
        Ok(self
            .put_new("event", &Key::Event(event.tenant, &id), &row)
            .put_new("event due", &Key::EventDue(event.tenant, &id), &due)
            .hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_stored_by_the_name_that_it_is_shown_by() {
        for kind in EventType::ALL {
            assert_eq!(EventType::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
