//! A tenant: its name, its sending domains, its S/MIME signer.

use std::collections::{BTreeMap, BTreeSet};

use sealpost_codec::address::{Address, Mailbox};
use sealpost_codec::smime::{SignerDetails, UnsignedSignerCertificate};
use serde::{Deserialize, Serialize};

use crate::actor::{Actor, Mode, Scope, new_api_key};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::aws::table::{Outcome, Range, Transaction};
use crate::error::{Error, Result};
use crate::id::TenantId;
use crate::key::{Key, REGISTER, Table};
use crate::policy::Policy;

/// A tenant as the table holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TenantRow {
    /// The tenant.
    pub id: TenantId,
    /// What patients know it by.
    pub name: String,
    /// The domains that it may send from.
    pub domains: BTreeSet<String>,
    /// Whom patients turn to with doubts about a notice; also the sender of notices and codes.
    pub care_address: Mailbox,
    /// The KMS key that signs its S/MIME mail.
    pub signing_key_arn: String,
    /// The certificate of that key, DER.
    #[serde(with = "serde_bytes")]
    pub signer_certificate: Vec<u8>,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
}

/// A tenant to be created.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// What patients know it by, 1 to 64 characters.
    pub name: String,
    /// The domain that it sends from; an SES identity of this domain must be verified.
    pub domain: String,
    /// The sender of notices and codes, at that domain, such as `Clinic <care@clinic.test>`.
    pub care_address: String,
}

/// A new tenant's first API key, which has every scope; the text is shown once.
#[derive(Debug, Clone)]
pub struct Created {
    /// The tenant.
    pub tenant: TenantId,
    /// The key's text.
    pub api_key: String,
}

/// How long a self-made signer certificate is valid: five years.
const SIGNER_VALID_S: i64 = 5 * 365 * 86_400;

/// Creates a tenant with its policy, its S/MIME signer and its first API key.
///
/// # Errors
/// Forbidden for anybody but the operator; Invalid with pointers; Unavailable.
pub async fn create(app: &App, actor: &Actor, new: NewTenant) -> Result<Created> {
    if !matches!(actor, Actor::Operator) {
        return Err(Error::new(
            crate::error::Kind::Forbidden,
            "Only the operator of the deployment creates tenants.",
        ));
    }
    let care_address =
        Mailbox::parse(&new.care_address).map_err(|error| Error::invalid("/care_address", error.to_string()))?;
    let probe = Address::parse(&format!("care@{}", new.domain))
        .map_err(|_| Error::invalid("/domain", "This is not a domain that mail can be sent from."))?;
    let domain = probe.domain().to_owned();
    if care_address.address.domain() != domain {
        return Err(Error::invalid(
            "/care_address",
            "This address is not at the tenant's domain.",
        ));
    }
    let name = new.name.trim();
    let is_name = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if !is_name {
        return Err(Error::invalid(
            "/name",
            "A name has 1 to 64 characters and no control characters.",
        ));
    }
    let tenant = TenantId::new(&app.clock, &app.random)?;
    let now_ms = app.clock.now_ms();
    let (signing_key_arn, public_key) = app.make_signing_key(&tenant).await?;
    let now_s = now_ms.div_euclid(1000);
    let details = SignerDetails {
        organisation: name,
        address: &care_address.address,
        serial: app.random.bytes()?,
        not_before: now_s,
        not_after: now_s.saturating_add(SIGNER_VALID_S),
    };
    let unmade = |error| Error::internal("The signer's certificate could not be made.").because(error);
    let unsigned = UnsignedSignerCertificate::new(&public_key, &details).map_err(unmade)?;
    let signature = app.sign(&signing_key_arn, unsigned.to_be_signed()).await?;
    let signer_certificate = unsigned.finish(&signature).map_err(unmade)?.to_bytes();
    let row = TenantRow {
        id: tenant.clone(),
        name: name.to_owned(),
        domains: BTreeSet::from([domain]),
        care_address,
        signing_key_arn,
        signer_certificate,
        created_at_ms: now_ms,
    };
    let (key_row, api_key) = new_api_key(
        app,
        &tenant,
        "First key".to_owned(),
        BTreeSet::from(Scope::ALL),
        Mode::Live,
    )?;
    let entry = Entry {
        tenant: &tenant,
        actor,
        action: Action::TenantCreated,
        subject: tenant.as_str(),
        facts: BTreeMap::from([("api_key", key_row.id.to_string())]),
    };
    let outcome = Transaction::new(app)
        .put_new("tenant", &Key::Tenant(&tenant), &row)
        .put_new(
            "register",
            &Key::Registered(&tenant),
            &Registered { tenant: tenant.clone() },
        )
        .put_new("policy", &Key::Policy(&tenant), &Policy::new_tenant())
        .put_new("api key", &Key::ApiKey(&tenant, &key_row.id), &key_row)
        .audit(app, entry)?
        .commit()
        .await?;
    match outcome {
        Outcome::Committed => Ok(Created { tenant, api_key }),
        Outcome::Refused(_) => Err(Error::internal("A new id was already taken.")),
    }
}

#[derive(Serialize, Deserialize)]
struct Registered {
    tenant: TenantId,
}

/// Every tenant of the deployment.
///
/// # Errors
/// Unavailable.
pub async fn all(app: &App) -> Result<Vec<TenantId>> {
    let rows: Vec<Registered> = app.query(Table::Directory, REGISTER, &Range::default()).await?;
    Ok(rows.into_iter().map(|row| row.tenant).collect())
}

impl App {
    /// A tenant that must exist, since a key of it does.
    pub(crate) async fn tenant(&self, tenant: &TenantId) -> Result<TenantRow> {
        let row = self.get::<TenantRow>(&Key::Tenant(tenant)).await?;
        row.ok_or_else(|| Error::internal("A tenant has no row."))
    }

    /// The tenant's policy in force.
    pub(crate) async fn policy(&self, tenant: &TenantId) -> Result<Policy> {
        let row = self.get::<Policy>(&Key::Policy(tenant)).await?;
        row.ok_or_else(|| Error::internal("A tenant has no policy."))
    }
}
