//! S/MIME: signed with the tenant's key in KMS, then encrypted for the recipient (RFC 8551).

use sealpost_codec::mime::{self, SmimeType};
use sealpost_codec::smime::{self, ContentCipher, signing::Prepared};

use super::Material;
use crate::app::App;
use crate::error::{Error, Result};
use crate::policy::{Cipher, Plan};

pub(super) async fn make(app: &App, plan: &Plan, material: &Material<'_>) -> Result<Vec<u8>> {
    let certificate = material.known.smime.as_ref();
    let certificate = certificate.ok_or_else(|| Error::internal("A plan names a certificate that is not there."))?;
    let tenant = app.tenant(material.tenant).await?;
    let content = material.content()?;
    let compose = |error: mime::MimeError| Error::internal("The message cannot be composed.").because(error);
    let inner = mime::protected(&content).map_err(compose)?;
    let signer = smime::SignerCertificate::from_der(&tenant.signer_certificate)
        .map_err(|error| Error::internal("The signer's certificate cannot be read.").because(error))?;
    let now_s = app.clock.now_ms().div_euclid(1000);
    let prepared = Prepared::new(&inner, &signer, now_s)
        .map_err(|error| Error::internal("The message cannot be signed.").because(error))?;
    let signature = app.sign(&tenant.signing_key_arn, prepared.to_be_signed()).await?;
    let signature = prepared
        .finish(&signature)
        .map_err(|error| Error::internal("The message cannot be signed.").because(error))?;
    let signed = mime::signed(&inner, &signature).map_err(compose)?;
    let (cipher, kind) = match plan.cipher {
        Some(Cipher::Gcm) => (ContentCipher::Aes256Gcm, SmimeType::AuthEnvelopedData),
        _ => (ContentCipher::Aes256Cbc, SmimeType::EnvelopedData),
    };
    let der = smime::encrypt(&signed, certificate, cipher)
        .map_err(|error| Error::internal("The message cannot be encrypted.").because(error))?;
    mime::encrypted_smime(&content.outer(), &der, kind).map_err(compose)
}
