//! Tenant period keys: data keys under the deployment's KMS key, cached for five minutes at most.
//!
//! A period key wraps record keys; it is itself wrapped by KMS with the tenant, the purpose and the period as encryption
//! context, so that no tenant's key opens under another's name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeySpec, KeyUsageType, MessageType, SigningAlgorithmSpec, Tag};
use sealpost_codec::address::Address;
use sealpost_codec::envelope::WrappingKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::site;
use super::table::{Outcome, Transaction};
use crate::app::App;
use crate::error::{Error, Result};
use crate::id::TenantId;
use crate::key::{Key, Purpose, RecipientHash};

/// How long a period key may stay in memory.
const CACHE_MS: i64 = 5 * 60 * 1000;
/// The period of keys that must never change, since hashes are looked up by them.
const PERMANENT: &str = "permanent";

type Name = (TenantId, Purpose, String);

/// The period keys that are in memory.
#[derive(Default)]
pub(crate) struct PeriodKeys {
    cached: Mutex<HashMap<Name, (Arc<WrappingKey>, i64)>>,
}

#[derive(Serialize, Deserialize)]
struct PeriodKeyRow {
    #[serde(with = "serde_bytes")]
    wrapped: Vec<u8>,
}

/// HMAC-SHA-256 over a value, apart for each field.
pub(crate) fn keyed_hash(key: &[u8], field: &str, value: &[u8]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(field.as_bytes());
    context.update(&[0]);
    context.update(value);
    let mut hash = [0; 32];
    hash.iter_mut()
        .zip(context.sign().as_ref())
        .for_each(|(to, from)| *to = *from);
    hash
}

impl App {
    /// The tenant's key for this purpose and period, made at its first use.
    ///
    /// # Errors
    /// Unavailable, when KMS or the table is; Internal, when KMS refuses the stored key.
    pub(crate) async fn period_key(
        &self,
        tenant: &TenantId,
        purpose: Purpose,
        period: &str,
    ) -> Result<Arc<WrappingKey>> {
        let name = (tenant.clone(), purpose, period.to_owned());
        let now = self.clock.now_ms();
        if let Some((key, until)) = self
            .period_keys
            .cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&name)
            && now < *until
        {
            return Ok(Arc::clone(key));
        }
        let at = Key::PeriodKey(tenant, purpose, period);
        let plain = match self.get::<PeriodKeyRow>(&at).await? {
            Some(row) => self.unwrap(tenant, purpose, period, row.wrapped).await?,
            None => self.make(tenant, purpose, period).await?,
        };
        let key = Arc::new(WrappingKey {
            namespace: "sealpost".to_owned(),
            name: format!("{tenant}/{}/{period}", purpose.as_str()),
            key: plain,
        });
        let mut cached = self.period_keys.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.retain(|_, (_, until)| now < *until);
        cached.insert(name, (Arc::clone(&key), now.saturating_add(CACHE_MS)));
        Ok(key)
    }

    /// An address as it may stand in a key.
    ///
    /// # Errors
    /// As [`App::period_key`].
    pub(crate) async fn recipient_hash(&self, tenant: &TenantId, address: &Address) -> Result<RecipientHash> {
        Ok(RecipientHash(
            self.index_hash(tenant, "recipient", address.canonical().as_bytes())
                .await?,
        ))
    }

    /// A keyed hash for a look-up by an exact value, in hex.
    ///
    /// # Errors
    /// As [`App::period_key`].
    pub(crate) async fn index_hash(&self, tenant: &TenantId, field: &str, value: &[u8]) -> Result<String> {
        Ok(hex(&self.index_tag(tenant, field, value).await?))
    }

    /// The same as bytes.
    ///
    /// # Errors
    /// As [`App::period_key`].
    pub(crate) async fn index_tag(&self, tenant: &TenantId, field: &str, value: &[u8]) -> Result<[u8; 32]> {
        let key = self.period_key(tenant, Purpose::Index, PERMANENT).await?;
        Ok(keyed_hash(key.key.as_slice(), field, value))
    }

    /// Makes a tenant's S/MIME signing key in KMS (P-256, which never leaves it) and answers its ARN and public key (DER).
    ///
    /// # Errors
    /// Unavailable.
    pub(crate) async fn make_signing_key(&self, tenant: &TenantId) -> Result<(String, Vec<u8>)> {
        let tag = Tag::builder()
            .tag_key("sealpost:tenant")
            .tag_value(tenant.as_str())
            .build();
        let tag = tag.map_err(|error| Error::internal("A key could not be tagged.").because(error))?;
        let make = self
            .aws
            .kms
            .create_key()
            .key_spec(KeySpec::EccNistP256)
            .key_usage(KeyUsageType::SignVerify)
            .description("Sealpost: signs a tenant's S/MIME mail")
            .tags(tag);
        let made = site::call(make.send())
            .await
            .map_err(|error| super::call_error("The key service", &error))?;
        let arn = made.key_metadata.and_then(|metadata| metadata.arn);
        let arn = arn.ok_or_else(|| Error::internal("The key service named no key."))?;
        let public = site::call(self.aws.kms.get_public_key().key_id(&arn).send()).await;
        let public = public.map_err(|error| super::call_error("The key service", &error))?;
        let public = public.public_key.map(Blob::into_inner);
        Ok((
            arn,
            public.ok_or_else(|| Error::internal("The key service named no public key."))?,
        ))
    }

    /// Signs `message` (any length) with a P-256 key in KMS: ECDSA over its SHA-256, DER.
    ///
    /// # Errors
    /// Unavailable.
    pub(crate) async fn sign(&self, key_arn: &str, message: &[u8]) -> Result<Vec<u8>> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message);
        let sign = self
            .aws
            .kms
            .sign()
            .key_id(key_arn)
            .message(Blob::new(digest.as_ref()))
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        let signed = site::call(sign.send())
            .await
            .map_err(|error| super::call_error("The key service", &error))?;
        let signature = signed.signature.map(Blob::into_inner);
        signature.ok_or_else(|| Error::internal("The key service gave no signature."))
    }

    async fn make(&self, tenant: &TenantId, purpose: Purpose, period: &str) -> Result<Zeroizing<[u8; 32]>> {
        let make = self
            .aws
            .kms
            .generate_data_key()
            .key_id(&self.config.kms_key_arn)
            .key_spec(DataKeySpec::Aes256)
            .set_encryption_context(Some(context(tenant, purpose, period)));
        let made = site::call(make.send())
            .await
            .map_err(|error| super::call_error("The key service", &error))?;
        let wrapped = made.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
        let row = PeriodKeyRow { wrapped };
        let at = Key::PeriodKey(tenant, purpose, period);
        match Transaction::new(self).put_new("period key", &at, &row).commit().await? {
            Outcome::Committed => plain_key(made.plaintext),
            Outcome::Refused(_) => {
                let row = self.get::<PeriodKeyRow>(&at).await?;
                let row = row.ok_or_else(|| Error::internal("A period key is there and is not."))?;
                self.unwrap(tenant, purpose, period, row.wrapped).await
            }
        }
    }

    async fn unwrap(
        &self,
        tenant: &TenantId,
        purpose: Purpose,
        period: &str,
        wrapped: Vec<u8>,
    ) -> Result<Zeroizing<[u8; 32]>> {
        let open = self
            .aws
            .kms
            .decrypt()
            .key_id(&self.config.kms_key_arn)
            .ciphertext_blob(Blob::new(wrapped))
            .set_encryption_context(Some(context(tenant, purpose, period)));
        let opened = site::call(open.send())
            .await
            .map_err(|error| super::call_error("The key service", &error))?;
        plain_key(opened.plaintext)
    }
}

fn context(tenant: &TenantId, purpose: Purpose, period: &str) -> HashMap<String, String> {
    HashMap::from([
        ("tenant".to_owned(), tenant.to_string()),
        ("purpose".to_owned(), purpose.as_str().to_owned()),
        ("period".to_owned(), period.to_owned()),
    ])
}

fn plain_key(plaintext: Option<Blob>) -> Result<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(plaintext.map(Blob::into_inner).unwrap_or_default());
    let key = <[u8; 32]>::try_from(bytes.as_slice());
    Ok(Zeroizing::new(key.map_err(|_| {
        Error::internal("The key service gave a key of another length.")
    })?))
}

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}
