//! Fresh keys for the demo's recipients, and the commands that open what was sealed for them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use pgp::composed::{ArmorOptions, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SubkeyParamsBuilder};
use rand_core::OsRng;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    RsaKeySize, SanType,
};

/// A recipient's certificate to be pinned, and its private key for whoever reads the mail by hand.
pub struct Pair {
    /// `openpgp` or `smime`.
    pub kind: &'static str,
    /// What is uploaded: armored or PEM.
    pub public: String,
    /// The private key: armored or PEM.
    pub secret: String,
}

/// An OpenPGP key: Ed25519 with an X25519 subkey for encryption.
///
/// # Errors
/// When the address cannot stand in a user id, or there is no randomness.
pub fn openpgp(name: &str, address: &str) -> Result<Pair> {
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::ECDH(pgp::crypto::ecc_curve::ECCCurve::Curve25519Legacy))
        .can_encrypt(EncryptionCaps::All)
        .build()?;
    let key = SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .primary_user_id(format!("{name} <{address}>"))
        .subkey(subkey)
        .build()?
        .generate(OsRng)?;
    let public = key.to_public_key().to_armored_string(ArmorOptions::default())?;
    Ok(Pair {
        kind: "openpgp",
        public,
        secret: key.to_armored_string(ArmorOptions::default())?,
    })
}

/// A self-signed S/MIME certificate with an RSA-2048 key, valid until `not_after_s` (seconds since the epoch).
///
/// # Errors
/// When the address or a time cannot stand in a certificate.
pub fn smime(name: &str, address: &str, now_s: i64, not_after_s: i64) -> Result<Pair> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::Rfc822Name(address.try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |s: i64| u64::try_from(s).map(|s| epoch + std::time::Duration::from_secs(s));
    params.not_before = at(now_s.saturating_sub(60))?;
    params.not_after = at(not_after_s)?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair {
        kind: "smime",
        public: certificate.pem(),
        secret: key.serialize_pem(),
    })
}

/// Writes both halves where the commands of [`command`] look for them.
pub(super) fn write(folder: &Path, address: &str, pair: &Pair) -> Result<()> {
    let (public, secret) = files(folder, address, pair.kind);
    fs::write(&public, &pair.public).with_context(|| format!("{} cannot be written", public.display()))?;
    fs::write(&secret, &pair.secret).with_context(|| format!("{} cannot be written", secret.display()))?;
    Ok(())
}

/// The command that reads a sealed mail on its standard input and prints what is in it, if the demo made the key.
pub(super) fn command(folder: &Path, kind: &str, address: &str) -> Option<String> {
    let (public, secret) = files(folder, address, kind);
    if !secret.exists() {
        return None;
    }
    let (public, secret) = (public.display(), secret.display());
    Some(match kind {
        "openpgp" => format!("(export GNUPGHOME=$(mktemp -d); gpg -q --import '{secret}'; gpg -q --decrypt)"),
        _ => format!("openssl cms -decrypt -recip '{public}' -inkey '{secret}'"),
    })
}

fn files(folder: &Path, address: &str, kind: &str) -> (PathBuf, PathBuf) {
    let ending = if kind == "openpgp" { "asc" } else { "pem" };
    (
        folder.join(format!("{address}.public.{ending}")),
        folder.join(format!("{address}.secret.{ending}")),
    )
}
