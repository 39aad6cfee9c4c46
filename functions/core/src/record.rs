//! An archived record: its key, its sealed object, its lock.
//!
//! The record key is random, wrapped under the tenant's period key and kept in the Records table alone, so that destroying
//! the row's key makes object, backups and every sealed attribute of the email unreadable.

use std::collections::BTreeMap;

use sealpost_codec::envelope::{self, WrappingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::app::App;
use crate::error::{Error, Result};
use crate::id::{EmailId, RecordId, TenantId};
use crate::key::{Key, Purpose, month};

/// A record as the table holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RecordRow {
    pub(crate) id: RecordId,
    pub(crate) email: EmailId,
    /// The period whose key wraps the record key.
    pub(crate) period: String,
    /// The record key, wrapped.
    #[serde(with = "serde_bytes")]
    pub(crate) wrapped_key: Vec<u8>,
    /// The archive object's version.
    pub(crate) version: Option<String>,
    /// SHA-256 of the archive object's bytes, hex.
    pub(crate) sha256: String,
    /// Length of the archive object, bytes.
    pub(crate) length: u64,
    pub(crate) created_at_ms: i64,
    /// Until when the object is locked, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) locked_until_ms: Option<i64>,
}

/// What is left of a record that was removed: no record of this id can be written any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RemovedRow {
    pub(crate) id: RecordId,
    pub(crate) removed_at_ms: i64,
}

/// A record key in the clear, for as long as one use case runs.
pub(crate) struct RecordKey {
    pub(crate) id: RecordId,
    pub(crate) period: String,
    pub(crate) wrapped: Vec<u8>,
    tenant: TenantId,
    key: WrappingKey,
}

impl RecordKey {
    /// A new key for a new record.
    pub(crate) async fn make(app: &App, tenant: &TenantId) -> Result<Self> {
        let id = RecordId::new(&app.clock, &app.random)?;
        let period = month(id.made_at());
        let key = wrapping_key(&id, Zeroizing::new(app.random.bytes::<32>()?));
        let outer = app.period_key(tenant, Purpose::Archive, &period).await?;
        let wrapped = envelope::seal(&outer, &context(tenant, &id, "key"), key.key.as_slice())
            .map_err(|error| Error::internal("A record key could not be wrapped.").because(error))?;
        Ok(Self {
            id,
            period,
            wrapped,
            tenant: tenant.clone(),
            key,
        })
    }

    /// The key of a stored record.
    pub(crate) async fn open(app: &App, tenant: &TenantId, row: &RecordRow) -> Result<Self> {
        let outer = app.period_key(tenant, Purpose::Archive, &row.period).await?;
        let plain = envelope::open(&outer, &context(tenant, &row.id, "key"), &row.wrapped_key)
            .map_err(|error| Error::internal("A record key does not open.").because(error))?;
        let plain =
            <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| Error::internal("A record key has another length."))?;
        Ok(Self {
            id: row.id.clone(),
            period: row.period.clone(),
            wrapped: row.wrapped_key.clone(),
            tenant: tenant.clone(),
            key: wrapping_key(&row.id, Zeroizing::new(plain)),
        })
    }

    /// Seals bytes that belong to the record; `part` names them and is part of what is authenticated.
    pub(crate) fn seal(&self, part: &str, plain: &[u8]) -> Result<Vec<u8>> {
        envelope::seal(&self.key, &context(&self.tenant, &self.id, part), plain)
            .map_err(|error| Error::internal("A part of a record could not be sealed.").because(error))
    }

    /// Opens what [`RecordKey::seal`] sealed under the same name.
    pub(crate) fn unseal(&self, part: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        envelope::open(&self.key, &context(&self.tenant, &self.id, part), sealed)
            .map_err(|error| Error::internal("A part of a record does not open.").because(error))
    }
}

impl App {
    /// A stored record with its key.
    pub(crate) async fn record(&self, tenant: &TenantId, id: &RecordId) -> Result<(RecordRow, RecordKey)> {
        let row = self.get::<RecordRow>(&Key::Record(tenant, id)).await?;
        let row = row.ok_or_else(|| Error::internal("A record has no row."))?;
        let key = RecordKey::open(self, tenant, &row).await?;
        Ok((row, key))
    }
}

fn wrapping_key(id: &RecordId, key: Zeroizing<[u8; 32]>) -> WrappingKey {
    WrappingKey {
        namespace: "sealpost".to_owned(),
        name: id.to_string(),
        key,
    }
}

fn context(tenant: &TenantId, record: &RecordId, part: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("tenant".to_owned(), tenant.to_string()),
        ("record".to_owned(), record.to_string()),
        ("part".to_owned(), part.to_owned()),
    ])
}
