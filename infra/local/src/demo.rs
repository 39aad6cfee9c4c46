//! What a first start finds: a tenant with a key, on a domain that may send.

mod batch;
pub mod keys;
mod receiver;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use sealpost_core::actor::{Actor, Mode, Scope, authenticate};
use sealpost_core::api_key::{self, NewApiKey};
use sealpost_core::app::App;
use sealpost_core::id::{ApiKeyId, TenantId};
use sealpost_core::policy::TlsRecord;
use sealpost_core::recipient::domain;
use sealpost_core::tenant::{self, NewTenant};
use serde::{Deserialize, Serialize};

use crate::system::System;

pub use batch::{Row, Shown, Until, folder, opener, send, table, told_table};

/// The domain that the demo tenant sends from.
pub const DOMAIN: &str = "clinic.test";
/// Its sender.
pub const SENDER: &str = "Clinic <care@clinic.test>";
/// The domain that the tenant knows to fail required TLS.
const NO_TLS: &str = "no-tls.test";
const FILE: &str = "demo.json";

/// What the demo tenant is reached with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seed {
    /// The tenant's API key, with every scope.
    pub api_key: String,
    /// Whether this start made it.
    #[serde(skip)]
    pub is_new: bool,
}

/// The demo tenant of this system; makes it at the first start.
///
/// # Errors
/// When the tenant cannot be made, or its key neither read nor stored.
pub async fn seed(system: &System) -> Result<Seed> {
    let file = system.data().map(|folder| folder.join(FILE));
    if let Some(file) = file.as_deref().filter(|file| file.exists()) {
        let stored = fs::read(file).context("the demo tenant's key cannot be read")?;
        return serde_json::from_slice(&stored).context("the demo tenant's key cannot be read");
    }
    let ses = aws_sdk_sesv2::Client::new(&system.sdk());
    let made = ses.create_email_identity().email_identity(DOMAIN).send().await;
    if let Err(error) = made
        && !error
            .as_service_error()
            .is_some_and(|error| error.is_already_exists_exception())
    {
        return Err(error).context("the demo domain cannot be made");
    }
    let admin = system.app("admin").context("the template has no admin function")?;
    let api_key = match tenant::all(&admin).await?.into_iter().next() {
        // A start that was killed between making the tenant and storing its key, which was shown to it alone.
        Some(tenant) => another_key(&admin, tenant).await?,
        None => first_key(&admin).await?,
    };
    // The reserved domain that is recorded as failing required TLS, as an administrator would record it.
    let actor = authenticate(&admin, Some(&format!("Bearer {api_key}"))).await?;
    domain::record(
        &admin,
        &actor,
        NO_TLS,
        Some(domain::NewRecord { tls: TlsRecord::Fails }),
    )
    .await?;
    let seed = Seed { api_key, is_new: true };
    if let Some(file) = &file {
        store(file, &serde_json::to_vec(&seed)?).context("the demo tenant's key cannot be stored")?;
    }
    Ok(seed)
}

async fn first_key(admin: &App) -> Result<String> {
    let new = NewTenant {
        name: "Clinic".to_owned(),
        domain: DOMAIN.to_owned(),
        care_address: SENDER.to_owned(),
    };
    let created = tenant::create(admin, &Actor::Operator, new).await;
    Ok(created.context("the demo tenant cannot be made")?.api_key)
}

async fn another_key(admin: &App, tenant: TenantId) -> Result<String> {
    let actor = Actor::ApiKey {
        tenant,
        key: ApiKeyId::from_bytes([0; 16]),
        scopes: BTreeSet::from(Scope::ALL),
        mode: Mode::Live,
    };
    let new = NewApiKey {
        name: "First key".to_owned(),
        permission: None,
        scopes: None,
        mode: Mode::Live,
        expires_at: None,
    };
    let (_, api_key) = api_key::create(admin, &actor, new).await?;
    Ok(api_key)
}

/// Stores a secret so that only its owner reads it, and as a whole or not at all.
fn store(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let next = file.with_extension("next");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(&next)?;
    open.write_all(bytes)?;
    open.sync_all()?;
    fs::rename(next, file)
}
