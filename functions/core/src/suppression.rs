//! Who gets no more mail, of what sort, why, and until when.
//!
//! A suppression covers one address and one scope: everything, or marketing alone. It is one of the recipient's facts: each
//! change bumps their version in its own transaction, so that a submission that was planned before it is refused. The
//! address stands beside it sealed under a period key of the tenant; look-ups go by its keyed hash. Each suppression is
//! written twice, with the recipient and in the tenant's list, always in one transaction.
//!
//! A hard bounce stops everything, since the address takes nothing. A complaint and an unsubscription stop marketing; mail
//! of a patient's care goes on, unless the tenant's policy says that a complaint stops it as well
//! ([`Policy::complaint_stops_care`]). A delivery that is not made is told, audited and shown, whatever its purpose.

mod change;
mod import;
mod list;

use std::collections::BTreeMap;

use jiff::Timestamp;
use sealpost_codec::address::Address;
use sealpost_codec::envelope;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::error::{Error, Result};
use crate::id::{DeliveryId, EmailId, SuppressionId, TenantId};
use crate::key::{self, Key, RecipientHash};
use crate::policy::{Policy, Purpose};

pub use change::{Added, NewSuppression, add, on_complaint, on_hard_bounce, on_unsubscribe, remove};
pub use import::{BatchAdd, BatchRemove, Import, ImportRow, Imported, RowStatus, add_all, import, remove_all};
pub use list::{Check, Checked, Page, check, get, list};

/// Why an address is suppressed. A later reason of more weight takes the place of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The tenant said so.
    Manual,
    /// The address takes no mail.
    HardBounce,
    /// The recipient wants no more marketing.
    Unsubscribe,
    /// The recipient called a mail unwanted.
    Complaint,
}

impl Reason {
    /// The reason as it stands in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Manual => "manual",
            Reason::HardBounce => "hard_bounce",
            Reason::Unsubscribe => "unsubscribe",
            Reason::Complaint => "complaint",
        }
    }

    /// The code with which a delivery ends.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Reason::Manual => "suppressed_manual",
            Reason::HardBounce => "suppressed_hard_bounce",
            Reason::Unsubscribe => "suppressed_unsubscribe",
            Reason::Complaint => "suppressed_complaint",
        }
    }

    /// The reason in Resend's words, which know no unsubscription: that is a person's decision, as a manual entry is.
    #[must_use]
    pub fn origin(self) -> Origin {
        match self {
            Reason::HardBounce => Origin::Bounce,
            Reason::Complaint => Origin::Complaint,
            Reason::Manual | Reason::Unsubscribe => Origin::Manual,
        }
    }

    /// What is suppressed where nobody says otherwise.
    #[must_use]
    pub fn scope(self) -> SuppressionScope {
        match self {
            Reason::Manual | Reason::HardBounce => SuppressionScope::All,
            Reason::Unsubscribe | Reason::Complaint => SuppressionScope::Marketing,
        }
    }
}

/// Why an address is suppressed, in Resend's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A mail came back.
    Bounce,
    /// The recipient called a mail unwanted.
    Complaint,
    /// The tenant or the recipient decided.
    Manual,
}

/// Which mail is suppressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SuppressionScope {
    /// Every mail.
    All,
    /// Mail with the purpose `marketing`.
    Marketing,
}

impl SuppressionScope {
    /// Every scope, widest first.
    pub const ALL: [SuppressionScope; 2] = [SuppressionScope::All, SuppressionScope::Marketing];

    /// The scope as it stands in requests, answers and keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SuppressionScope::All => "all",
            SuppressionScope::Marketing => "marketing",
        }
    }
}

/// The delivery that led to a suppression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The email.
    pub email: EmailId,
    /// The delivery of it that bounced, was complained of, or whose link was followed.
    pub delivery: DeliveryId,
}

/// A suppression as the table holds it, with the recipient and in the tenant's list alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SuppressionRow {
    pub(crate) id: SuppressionId,
    pub(crate) recipient: RecipientHash,
    pub(crate) reason: Reason,
    pub(crate) scope: SuppressionScope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Source>,
    pub(crate) created_at_ms: i64,
    /// From when on it does not count any more; never for `None`. Readers compare, nothing else ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at_ms: Option<i64>,
    /// When it was taken back. The row stays without the address, so that the same event told twice brings nothing back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) removed_at_ms: Option<i64>,
    /// The address, sealed.
    #[serde(with = "serde_bytes")]
    pub(crate) address: Vec<u8>,
}

impl SuppressionRow {
    /// Whether it counts at this time.
    pub(crate) fn is_live(&self, now_ms: i64) -> bool {
        self.removed_at_ms.is_none() && self.expires_at_ms.is_none_or(|at| now_ms < at)
    }

    /// Whether it stops mail of this purpose.
    pub(crate) fn covers(&self, purpose: Purpose, policy: &Policy) -> bool {
        match self.scope {
            SuppressionScope::All => true,
            SuppressionScope::Marketing => {
                purpose == Purpose::Marketing || (self.reason == Reason::Complaint && policy.complaint_stops_care)
            }
        }
    }
}

/// A suppression as its tenant sees it. The address is in the clear here: it is for the answer alone.
pub struct Suppression {
    /// The suppression.
    pub id: SuppressionId,
    /// The address.
    pub email: String,
    /// Why.
    pub reason: Reason,
    /// Of which mail.
    pub scope: SuppressionScope,
    /// What led to it, where the system added it.
    pub source: Option<Source>,
    /// When it was added.
    pub created_at: Timestamp,
    /// Until when it counts, if not for ever.
    pub expires_at: Option<Timestamp>,
}

/// The suppressions of a recipient that count now, widest scope first.
pub(crate) async fn live(app: &App, tenant: &TenantId, hash: &RecipientHash) -> Result<Vec<SuppressionRow>> {
    let now_ms = app.clock.now_ms();
    let mut live = Vec::new();
    for scope in SuppressionScope::ALL {
        let row = app
            .get::<SuppressionRow>(&Key::Suppression(tenant, hash, scope.as_str()))
            .await?;
        live.extend(row.filter(|row| row.is_live(now_ms)));
    }
    Ok(live)
}

/// Seals an address for the list; the period is the month in which the suppression was made.
async fn seal(app: &App, tenant: &TenantId, id: &SuppressionId, address: &Address) -> Result<Vec<u8>> {
    let key = app
        .period_key(tenant, key::Purpose::People, &key::month(id.made_at()))
        .await?;
    envelope::seal(&key, &context(tenant, id), address.as_str().as_bytes())
        .map_err(|error| Error::internal("An address could not be sealed.").because(error))
}

async fn open(app: &App, tenant: &TenantId, row: SuppressionRow) -> Result<Suppression> {
    let key = app
        .period_key(tenant, key::Purpose::People, &key::month(row.id.made_at()))
        .await?;
    let plain = envelope::open(&key, &context(tenant, &row.id), &row.address)
        .map_err(|error| Error::internal("A suppressed address does not open.").because(error))?;
    let email =
        std::str::from_utf8(&plain).map_err(|_| Error::internal("A suppressed address does not have its form."))?;
    let time = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(Suppression {
        email: email.to_owned(),
        id: row.id,
        reason: row.reason,
        scope: row.scope,
        source: row.source,
        created_at: time(row.created_at_ms),
        expires_at: row.expires_at_ms.map(time),
    })
}

fn context(tenant: &TenantId, id: &SuppressionId) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("tenant".to_owned(), tenant.to_string()),
        ("suppression".to_owned(), id.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(reason: Reason, scope: SuppressionScope) -> SuppressionRow {
        SuppressionRow {
            id: SuppressionId::from_bytes([1; 16]),
            recipient: RecipientHash("c0ffee".to_owned()),
            reason,
            scope,
            source: None,
            created_at_ms: 0,
            expires_at_ms: None,
            removed_at_ms: None,
            address: Vec::new(),
        }
    }

    #[test]
    fn what_a_suppression_stops_follows_from_scope_reason_and_policy() {
        let strict = Policy {
            complaint_stops_care: true,
            ..Policy::new_tenant()
        };
        let mild = Policy::new_tenant();
        let care = [Purpose::Treatment, Purpose::Payment, Purpose::Operations];
        for (reason, scope, policy, stops_care) in [
            (Reason::HardBounce, SuppressionScope::All, &mild, true),
            (Reason::Manual, SuppressionScope::All, &mild, true),
            (Reason::Manual, SuppressionScope::Marketing, &strict, false),
            (Reason::Unsubscribe, SuppressionScope::Marketing, &strict, false),
            (Reason::Complaint, SuppressionScope::Marketing, &mild, false),
            (Reason::Complaint, SuppressionScope::Marketing, &strict, true),
            (Reason::Complaint, SuppressionScope::All, &mild, true),
        ] {
            let row = row(reason, scope);
            assert!(row.covers(Purpose::Marketing, policy), "{reason:?} {scope:?}");
            for purpose in care {
                assert_eq!(
                    row.covers(purpose, policy),
                    stops_care,
                    "{reason:?} {scope:?} {purpose:?}"
                );
            }
        }
    }

    #[test]
    fn it_counts_until_the_moment_it_expires_or_is_removed() {
        let row = SuppressionRow {
            expires_at_ms: Some(1000),
            ..row(Reason::Manual, SuppressionScope::All)
        };
        assert_eq!([999, 1000, 1001].map(|now| row.is_live(now)), [true, false, false]);
        let removed = SuppressionRow {
            removed_at_ms: Some(5),
            expires_at_ms: None,
            ..row
        };
        assert!(!removed.is_live(0) && !removed.is_live(6));
    }
}
