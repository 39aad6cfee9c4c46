//! Audit entries, written in the transaction of the change that they tell of.
//!
//! An entry holds ids and codes, never an address or a text of a patient. If it cannot be written, the change does not
//! happen, since both stand in one transaction. A sequencer later gives entries their places in a verifiable log.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::actor::Actor;
use crate::app::App;
use crate::aws::keys::sha256;
use crate::aws::table::Transaction;
use crate::error::Result;
use crate::id::{AuditId, TenantId};
use crate::key::Key;
use crate::planted;
use crate::planted::slip;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A tenant was created.
    TenantCreated,
    /// An API key was created.
    ApiKeyCreated,
    /// An API key was revoked.
    ApiKeyRevoked,
    /// The tenant's policy was replaced.
    PolicyReplaced,
    /// A recipient's certificate was pinned.
    RecipientKeyPinned,
    /// A recipient's certificate was removed.
    RecipientKeyRemoved,
    /// What the tenant says of a mail domain was changed.
    DomainRecorded,
    /// An email was accepted.
    EmailAccepted,
    /// A scheduled email got another time.
    EmailRescheduled,
    /// A scheduled email was called off.
    EmailCanceled,
    /// A scheduled email's time came.
    EmailDue,
    /// A batch of emails was accepted.
    BatchAccepted,
    /// A stored message that no email was ever accepted for was removed.
    OrphanRemoved,
    /// A batch whose acceptance broke off was given up for good.
    BatchGivenUp,
    /// An email of a batch that was given up was removed; nobody ever saw it.
    EmailGivenUp,
    /// A delivery is about to be handed to SES.
    DeliverySubmitting,
    /// SES accepted a delivery.
    DeliverySent,
    /// SES refused a delivery for now.
    DeliveryPostponed,
    /// SES gave no clear answer to a submission.
    DeliveryUnanswered,
    /// A delivery ended without being sent.
    DeliveryEnded,
    /// Something was seen of a delivery, mostly by SES.
    DeliveryObserved,
    /// What claimed to be an event of SES did not carry the proof of its attempt.
    SesEventRefused,
    /// A mail domain was seen to fail required TLS.
    DomainLearned,
    /// Nobody knows whether SES accepted a delivery, or what became of it.
    DeliveryInDoubt,
    /// A portal message's notice was lost and is made anew; its old link leads nowhere from now on.
    NoticeRenewed,
    /// A one-time code was sent for a portal message.
    PickupCodeSent,
    /// A wrong code was entered for a portal message.
    PickupCodeRefused,
    /// A portal message was locked after wrong codes.
    PickupLocked,
    /// A portal message was opened with a right code.
    PickupOpened,
    /// A portal message's time was over, and its server half was destroyed.
    PickupExpired,
    /// An address was suppressed, or a suppression became stricter.
    SuppressionAdded,
    /// A suppression was taken back.
    SuppressionRemoved,
    /// The verdict on a stream changed.
    StreamGuarded,
    /// A paused stream was resumed.
    StreamResumed,
    /// A webhook endpoint was created.
    WebhookCreated,
    /// A webhook endpoint was changed.
    WebhookChanged,
    /// A webhook endpoint was removed.
    WebhookRemoved,
    /// A webhook endpoint got new secrets.
    WebhookSecretRotated,
    /// A webhook endpoint was switched off, since posts to it fail.
    WebhookDisabled,
    /// Events are to be posted to an endpoint again.
    WebhookReplayed,
}

impl Action {
    /// The action as it stands in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Action::TenantCreated => "tenant.created",
            Action::ApiKeyCreated => "api_key.created",
            Action::ApiKeyRevoked => "api_key.revoked",
            Action::PolicyReplaced => "policy.replaced",
            Action::RecipientKeyPinned => "recipient_key.pinned",
            Action::RecipientKeyRemoved => "recipient_key.removed",
            Action::DomainRecorded => "domain.recorded",
            Action::EmailAccepted => "email.accepted",
            Action::EmailRescheduled => "email.rescheduled",
            Action::EmailCanceled => "email.canceled",
            Action::EmailDue => "email.due",
            Action::BatchAccepted => "batch.accepted",
            Action::OrphanRemoved => "orphan.removed",
            Action::BatchGivenUp => "batch.given_up",
            Action::EmailGivenUp => "email.given_up",
            Action::DeliverySubmitting => "delivery.submitting",
            Action::DeliverySent => "delivery.sent",
            Action::DeliveryPostponed => "delivery.postponed",
            Action::DeliveryUnanswered => "delivery.unanswered",
            Action::DeliveryEnded => "delivery.ended",
            Action::DeliveryObserved => "delivery.observed",
            Action::SesEventRefused => "ses_event.refused",
            Action::DomainLearned => "domain.learned",
            Action::DeliveryInDoubt => "delivery.in_doubt",
            Action::NoticeRenewed => "notice.renewed",
            Action::PickupCodeSent => "pickup.code_sent",
            Action::PickupCodeRefused => "pickup.code_refused",
            Action::PickupLocked => "pickup.locked",
            Action::PickupOpened => "pickup.opened",
            Action::PickupExpired => "pickup.expired",
            Action::SuppressionAdded => "suppression.added",
            Action::SuppressionRemoved => "suppression.removed",
            Action::StreamGuarded => "stream.guarded",
            Action::StreamResumed => "stream.resumed",
            Action::WebhookCreated => "webhook.created",
            Action::WebhookChanged => "webhook.changed",
            Action::WebhookRemoved => "webhook.removed",
            Action::WebhookSecretRotated => "webhook.secret_rotated",
            Action::WebhookDisabled => "webhook.disabled",
            Action::WebhookReplayed => "webhook.replayed",
        }
    }
}

#[derive(Serialize)]
struct EntryRow<'a> {
    at_ms: i64,
    actor: String,
    action: &'static str,
    subject: &'a str,
    facts: BTreeMap<&'static str, String>,
}

/// One entry, ready for its transaction.
pub(crate) struct Entry<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) actor: &'a Actor,
    pub(crate) action: Action,
    /// The id of what was changed.
    pub(crate) subject: &'a str,
    /// Codes, counts and ids that tell more.
    pub(crate) facts: BTreeMap<&'static str, String>,
}

impl<'a> Transaction<'a> {
    /// Adds an audit entry to the transaction.
    ///
    /// # Errors
    /// Internal, when there is no randomness for its id.
    pub(crate) fn audit(self, app: &App, entry: Entry<'_>) -> Result<Self> {
        let id = AuditId::new(&app.clock, &app.random)?;
        let mut facts = entry.facts;
        if planted!("leak_10") {
            facts.insert("recipient_sha256", sha256(slip::last().address.as_bytes()));
        }
        let row = EntryRow {
            at_ms: app.clock.now_ms(),
            actor: entry.actor.to_string(),
            action: entry.action.as_str(),
            subject: entry.subject,
            facts,
        };
        if crate::planted!("bug_36") && entry.action == Action::DeliverySent {
            return Ok(self);
        }
        Ok(self.put_new("audit", &Key::Pending(entry.tenant, &id), &row))
    }
}
