//! What is known of a mail domain's TLS: what the tenant says, what the domain publishes, what was learned.

use std::collections::BTreeMap;

use sealpost_codec::address::Address;
use serde::{Deserialize, Serialize};

use crate::actor::{Actor, Scope};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Expression, Transaction, attribute, number};
use crate::egress::MtaSts;
use crate::error::{Error, Result};
use crate::id::TenantId;
use crate::key::Key;
use crate::policy::{DaneFact, DomainFact, MtaStsFact, TlsRecord};

/// How long a look-up is believed, milliseconds: an hour. RFC 8461 allows a policy to be kept for its `max_age`; a shorter
/// time only costs look-ups.
const FRESH_MS: i64 = 3_600_000;

/// What is known of a domain, as the table holds it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DomainRow {
    /// What the tenant says: TLS works, or fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<TlsRecord>,
    /// What earlier submissions taught.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Learned>,
    /// Whether MTA-STS enforce is published, as of `looked_up_at_ms`.
    pub mta_sts: Option<MtaStsFact>,
    /// When it was looked up.
    #[serde(default)]
    pub looked_up_at_ms: i64,
}

/// What a failed submission taught of a domain. It is believed for a time only, since servers are mended: a day at first,
/// twice as long each time that the next try fails too, 30 days at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// When required TLS last failed, milliseconds since the epoch.
    pub failed_at_ms: i64,
    /// Until when that is believed.
    pub until_ms: i64,
    /// How often it failed in a row.
    pub n_failures: u32,
}

const DAY_MS: i64 = 86_400_000;

impl Learned {
    /// What is known after one more failure; `None` where it adds nothing: mails that were on their way together fail
    /// together, and teach as much as one.
    fn after(earlier: Option<&Self>, failed_at_ms: i64) -> Option<Self> {
        let n_failures = match earlier {
            None => 1,
            Some(earlier) if failed_at_ms < earlier.until_ms => return None,
            Some(earlier) => earlier.n_failures.saturating_add(1),
        };
        let days = 1_i64 << n_failures.saturating_sub(1).min(5);
        Some(Self {
            failed_at_ms,
            until_ms: failed_at_ms.saturating_add(days.min(30).saturating_mul(DAY_MS)),
            n_failures,
        })
    }

    /// What it says at a time.
    #[must_use]
    pub fn at(&self, now_ms: i64) -> Option<TlsRecord> {
        (now_ms < self.until_ms).then_some(TlsRecord::Fails)
    }
}

/// Learns that required TLS failed for a domain. Idempotent.
///
/// # Errors
/// Unavailable.
pub(crate) async fn learn_failure(
    app: &App,
    actor: &Actor,
    tenant: &TenantId,
    domain: &str,
    failed_at_ms: i64,
) -> Result<()> {
    let key = Key::Domain(tenant, domain);
    let row = app.get::<DomainRow>(&key).await?.unwrap_or_default();
    let Some(learned) = Learned::after(row.learned.as_ref(), failed_at_ms) else {
        return Ok(());
    };
    let entry = Entry {
        tenant,
        actor,
        action: Action::DomainLearned,
        subject: domain,
        facts: BTreeMap::from([
            ("tls", "fails".to_owned()),
            ("n_failures", learned.n_failures.to_string()),
        ]),
    };
    let change = Expression::new("SET learned = :learned").with(":learned", attribute(&learned)?);
    let unchanged = match &row.learned {
        None => Expression::new("attribute_not_exists(learned)"),
        Some(earlier) => {
            Expression::new("learned.failed_at_ms = :earlier").with(":earlier", number(earlier.failed_at_ms))
        }
    };
    // A refusal means that somebody learned it in the meantime.
    Transaction::new(app)
        .update("domain", &key, change, unchanged)
        .audit(app, entry)?
        .commit()
        .await?;
    Ok(())
}

/// The facts of a domain, looked up when they are not known or not fresh. A look-up that fails is a fact too: unknown.
pub(crate) async fn fact(app: &App, tenant: &TenantId, domain: &str) -> Result<DomainFact> {
    let at = Key::Domain(tenant, domain);
    let row = app.get::<DomainRow>(&at).await?.unwrap_or_default();
    let now_ms = app.clock.now_ms();
    let is_fresh = now_ms < row.looked_up_at_ms.saturating_add(FRESH_MS);
    let mta_sts = match row.mta_sts.filter(|_| is_fresh) {
        Some(known) => known,
        None => {
            let found = match app.egress.mta_sts(domain).await {
                MtaSts::Enforce => MtaStsFact::Enforce,
                MtaSts::Other => MtaStsFact::Other,
                MtaSts::Unknown => MtaStsFact::Unknown,
            };
            // What could not be found out is asked again; only answers are kept. The tenant's record stays untouched.
            if found != MtaStsFact::Unknown {
                app.note_mta_sts(tenant, domain, found, now_ms).await?;
            }
            found
        }
    };
    Ok(DomainFact {
        recorded: row.recorded,
        learned: row.learned.as_ref().and_then(|learned| learned.at(now_ms)),
        mta_sts,
        dane: DaneFact::Unknown,
    })
}

/// The body of `PUT /recipient-domains/{domain}`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRecord {
    /// Whether required TLS works or fails for this domain.
    pub tls: TlsRecord,
}

/// Records what the tenant knows of a domain, or forgets it with `None`.
///
/// # Errors
/// Forbidden; Invalid; Unavailable.
pub async fn record(app: &App, actor: &Actor, domain: &str, new: Option<NewRecord>) -> Result<(String, DomainRow)> {
    let tenant = actor.tenant_with(Scope::RecipientsWrite)?;
    let domain = name(domain)?;
    let at = Key::Domain(tenant, &domain);
    let mut row = app.get::<DomainRow>(&at).await?.unwrap_or_default();
    row.recorded = new.map(|new| new.tls);
    let said = row.recorded.map_or("nothing", TlsRecord::as_str);
    let entry = Entry {
        tenant,
        actor,
        action: Action::DomainRecorded,
        subject: &domain,
        facts: BTreeMap::from([("tls", said.to_owned())]),
    };
    Transaction::new(app)
        .put("domain", &at, &row, None)
        .audit(app, entry)?
        .commit()
        .await?;
    Ok((domain, row))
}

/// What is known of a domain.
///
/// # Errors
/// Forbidden; Invalid; Unavailable.
pub async fn read(app: &App, actor: &Actor, domain: &str) -> Result<(String, DomainRow)> {
    let tenant = actor.tenant_with(Scope::RecipientsRead)?;
    let domain = name(domain)?;
    let row = app
        .get::<DomainRow>(&Key::Domain(tenant, &domain))
        .await?
        .unwrap_or_default();
    Ok((domain, row))
}

fn name(domain: &str) -> Result<String> {
    let probe = Address::parse(&format!("postmaster@{domain}"));
    let probe = probe.map_err(|_| Error::invalid("domain", "This is not a mail domain."))?;
    Ok(probe.domain().to_owned())
}

impl App {
    /// Keeps what a look-up found, without touching what the tenant recorded.
    async fn note_mta_sts(&self, tenant: &TenantId, domain: &str, found: MtaStsFact, now_ms: i64) -> Result<()> {
        let change = Expression::new("SET mta_sts = :found, looked_up_at_ms = :now")
            .with(":found", attribute(&found)?)
            .with(":now", number(now_ms));
        // Holds always: the row may or may not be there.
        let always = Expression::new("attribute_exists(pk) OR attribute_not_exists(pk)");
        Transaction::new(self)
            .update("domain", &Key::Domain(tenant, domain), change, always)
            .commit()
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_believed_for_a_while_and_longer_each_time() {
        let first = Learned::after(None, 0).unwrap();
        assert_eq!(first.at(DAY_MS - 1), Some(TlsRecord::Fails));
        assert_eq!(first.at(DAY_MS), None, "mended servers get another try");
        assert_eq!(
            Learned::after(Some(&first), 5),
            None,
            "mails that failed together teach as much as one"
        );
        let mut learned = first;
        let mut days = Vec::new();
        for _ in 0..7 {
            learned = Learned::after(Some(&learned), learned.until_ms).unwrap();
            days.push((learned.until_ms - learned.failed_at_ms) / DAY_MS);
        }
        assert_eq!(days, [2, 4, 8, 16, 30, 30, 30]);
    }
}
