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
    pub learned: Option<TlsRecord>,
    /// Whether MTA-STS enforce is published, as of `looked_up_at_ms`.
    pub mta_sts: Option<MtaStsFact>,
    /// When it was looked up.
    #[serde(default)]
    pub looked_up_at_ms: i64,
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
        learned: row.learned,
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
