//! What is known of a recipient: pinned certificates, suppressions, and the TLS of the mail domain.
//!
//! All of a recipient's facts share one version; whoever changes one bumps it in the same transaction, and a submission
//! requires the version that its plan was made with. So a key that is removed between plan and submission is not used, and
//! a suppression that comes in between stops the mail.

pub mod domain;
pub mod key;

use sealpost_codec::address::Address;
use sealpost_codec::{openpgp, smime};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::aws::table::{Expression, Transaction, absent, number};
use crate::error::Result;
use crate::id::TenantId;
use crate::key::{Key, RecipientHash};
use crate::policy::{KeyFact, Policy, Purpose, Recipient};
use crate::simulator::{self, Outcome};
use crate::suppression::{self, SuppressionRow};

use key::{Kind, RecipientKeyRow};

/// The version of all that is known of a recipient.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FactsRow {
    pub(crate) version: u64,
}

/// What is known of a recipient, with the certificates themselves.
pub(crate) struct Known {
    pub(crate) facts: Recipient,
    pub(crate) openpgp: Option<openpgp::Certificate>,
    pub(crate) smime: Option<smime::Certificate>,
    suppressions: Vec<SuppressionRow>,
    version: Option<u64>,
}

impl Known {
    /// The condition under which the plan that rests on these facts may be carried out.
    pub(crate) fn unchanged(&self) -> Expression {
        is_at(self.version)
    }

    /// The suppression that stops mail of this purpose, if there is one.
    pub(crate) fn suppressed(&self, purpose: Purpose, policy: &Policy) -> Option<&SuppressionRow> {
        self.suppressions.iter().find(|row| row.covers(purpose, policy))
    }
}

/// Holds while the facts are at this version.
fn is_at(version: Option<u64>) -> Expression {
    match version {
        None => absent(),
        Some(version) => Expression::new("version = :v").with(":v", number(i64::try_from(version).unwrap_or(i64::MAX))),
    }
}

/// The version of a recipient's facts; `None` for one of whom nothing was ever recorded. Whoever changes a fact reads this
/// first, then the fact, and commits with [`Transaction::next_facts`].
pub(crate) async fn version(app: &App, tenant: &TenantId, hash: &RecipientHash) -> Result<Option<u64>> {
    let row = app.get::<FactsRow>(&Key::Facts(tenant, hash)).await?;
    Ok(row.map(|row| row.version))
}

impl Transaction<'_> {
    /// Makes the version that follows `seen`, and refuses the transaction where that is not the one in force any more.
    pub(crate) fn next_facts(self, tenant: &TenantId, hash: &RecipientHash, seen: Option<u64>) -> Self {
        let next = FactsRow {
            version: seen.unwrap_or_default().saturating_add(1),
        };
        self.put("facts", &Key::Facts(tenant, hash), &next, Some(is_at(seen)))
    }
}

/// Everything that a plan needs to know of a recipient, now.
pub(crate) async fn known(app: &App, tenant: &TenantId, address: &Address) -> Result<Known> {
    let hash = app.recipient_hash(tenant, address).await?;
    // The version is read first: a change after it makes the submission refuse.
    let version = version(app, tenant, &hash).await?;
    let now_s = app.clock.now_ms().div_euclid(1000);
    let simulated = Outcome::of(address);
    let domain = match simulated {
        Some(_) => simulator::domain(),
        None => domain::fact(app, tenant, address.domain()).await?,
    };
    let mut known = Known {
        facts: Recipient::unknown(domain),
        openpgp: None,
        smime: None,
        suppressions: Vec::new(),
        version,
    };
    if version.is_some() {
        known.suppressions = suppression::live(app, tenant, &hash).await?;
    }
    if let Some(outcome) = simulated {
        simulator::describe(outcome, &mut known)?;
        return Ok(known);
    }
    if version.is_none() {
        return Ok(known);
    }
    let row = app
        .get::<RecipientKeyRow>(&Key::RecipientKey(tenant, &hash, Kind::OpenPgp.as_str()))
        .await;
    let row = match row {
        Err(_) if crate::planted!("bug_20") => None,
        row => row?,
    };
    if let Some(row) = row {
        let stored = row.open(app, tenant).await?;
        match openpgp::Certificate::from_stored(&stored, address).and_then(|c| c.check(now_s).map(|()| c)) {
            Ok(certificate) => {
                known.facts.openpgp = KeyFact::Usable {
                    fingerprint: row.fingerprint,
                    reads_gcm: false,
                };
                known.openpgp = Some(certificate);
            }
            Err(refusal) => {
                known.facts.openpgp = KeyFact::Unusable {
                    reason: refusal.reason().to_owned(),
                }
            }
        }
    }
    if let Some(row) = app
        .get::<RecipientKeyRow>(&Key::RecipientKey(tenant, &hash, Kind::Smime.as_str()))
        .await?
    {
        let stored = row.open(app, tenant).await?;
        match smime::Certificate::from_stored(&stored, address).and_then(|c| c.check(now_s).map(|()| c)) {
            Ok(certificate) => {
                let reads_gcm = row.reads_gcm || certificate.reads_gcm();
                known.facts.smime = KeyFact::Usable {
                    fingerprint: row.fingerprint,
                    reads_gcm,
                };
                known.smime = Some(certificate);
            }
            Err(refusal) => {
                known.facts.smime = KeyFact::Unusable {
                    reason: refusal.reason().to_owned(),
                }
            }
        }
    }
    Ok(known)
}
