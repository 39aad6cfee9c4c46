//! An email: accepted whole or not at all, kept sealed, shown to its sender.
//!
//! [`accept`] answers success only after one transaction holds the email, its deliveries, the wrapped record key, the
//! idempotency row, one outbox row and the audit entry, with the sealed message already in S3. What identifies a patient
//! stands in the sealed head and in the object, never in a key or a plain attribute.

pub mod accept;
pub mod batch;
pub mod idempotency;
pub mod notice;
pub mod plan;
pub mod read;
pub mod request;
pub mod schedule;

use sealpost_codec::address::{Address, Mailbox};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{BatchId, EmailId, RecordId};
use crate::policy::{DataClass, Purpose, Requested, Tracking};
use crate::record::RecordKey;

/// An email as the table holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EmailRow {
    pub(crate) id: EmailId,
    pub(crate) record: RecordId,
    pub(crate) created_at_ms: i64,
    pub(crate) data_class: DataClass,
    pub(crate) purpose: Purpose,
    pub(crate) requested: Requested,
    /// How long a portal message can be opened, days.
    pub(crate) expires_in_days: u32,
    pub(crate) n_deliveries: u32,
    /// The batch that must be committed before the email counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<BatchId>,
    /// Whether its recipients are simulated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_test: bool,
    /// What is counted of its readers, where the policy still allows it.
    #[serde(default, skip_serializing_if = "Tracking::is_none")]
    pub(crate) tracking: Tracking,
    /// The time that its sender asked for, if that was later than at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scheduled_at_ms: Option<i64>,
    /// When that time came: from then on it can neither be moved nor called off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fired_at_ms: Option<i64>,
    /// When it was called off: from then on it is never sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canceled_at_ms: Option<i64>,
    /// A [`Head`], sealed under the record key.
    #[serde(with = "serde_bytes")]
    pub(crate) head: Vec<u8>,
}

impl EmailRow {
    /// Whether it waits for its time, or was called off before: no worker may touch a delivery of it.
    pub(crate) fn waits(&self) -> bool {
        self.scheduled_at_ms.is_some() && self.fired_at_ms.is_none()
    }

    /// Whether the outbox has a line for this email, and not one for its batch.
    pub(crate) fn has_own_line(&self) -> bool {
        self.batch.is_none() || self.scheduled_at_ms.is_some()
    }

    /// Whether its line in the outbox stands for one delivery alone.
    pub(crate) fn is_alone(&self) -> bool {
        self.n_deliveries == 1 && self.has_own_line()
    }

    /// From when on the time counts in which it must be sent.
    pub(crate) fn starts_at_ms(&self) -> i64 {
        self.scheduled_at_ms.unwrap_or(self.created_at_ms)
    }
}

/// What is known of an email beside its message: sealed, since all of it may identify a patient.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) from: Mailbox,
    pub(crate) to: Vec<Mailbox>,
    pub(crate) cc: Vec<Mailbox>,
    pub(crate) bcc: Vec<Mailbox>,
    pub(crate) reply_to: Vec<Mailbox>,
    pub(crate) subject: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) patient_ref: Option<String>,
    pub(crate) message_id: String,
    pub(crate) date_s: i64,
}

/// The name of the sealed head among a record's parts.
const HEAD: &str = "head";
/// The name of the sealed message among a record's parts.
pub(crate) const MESSAGE: &str = "message";

impl Head {
    /// The recipients in the order of their deliveries: To, Cc, Bcc, an address that stands twice only once.
    pub(crate) fn recipients(&self) -> Vec<&Mailbox> {
        let mut recipients: Vec<&Mailbox> = Vec::new();
        for mailbox in self.to.iter().chain(&self.cc).chain(&self.bcc) {
            if !recipients.iter().any(|known| known.address == mailbox.address) {
                recipients.push(mailbox);
            }
        }
        recipients
    }

    pub(crate) fn recipient(&self, n: u32) -> Result<&Address> {
        let recipients = self.recipients();
        let mailbox = usize::try_from(n).ok().and_then(|n| recipients.get(n).copied());
        mailbox
            .map(|mailbox| &mailbox.address)
            .ok_or_else(|| Error::internal("A delivery has no recipient."))
    }

    pub(crate) fn seal(&self, key: &RecordKey) -> Result<Vec<u8>> {
        let plain =
            serde_json::to_vec(self).map_err(|error| Error::internal("A head could not be written.").because(error))?;
        key.seal(HEAD, &plain)
    }

    pub(crate) fn open(key: &RecordKey, sealed: &[u8]) -> Result<Self> {
        let plain = key.unseal(HEAD, sealed)?;
        serde_json::from_slice(&plain).map_err(|_| Error::internal("A head does not have its form."))
    }
}
