//! Decides whether a parsed certificate may be used for an address, and with which of its subkeys.
//!
//! Only what the primary key itself signed counts: signatures of others are never verified, and those that claim to be its
//! own but do not verify are treated as absent. Of several self-signatures the newest speaks (RFC 9580 section 5.2.3.10).
//! A revocation that verifies counts whatever its reason, date or hash; revocations by a designated revoker are not
//! followed (RFC 9580 deprecates them). The number of public-key operations is bounded, so no input can make this slow.

use pgp::crypto::aead::AeadAlgorithm;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{
    Features, PublicKey, PublicSubkey, Signature, SignatureType, SignatureVersion, SubpacketData, UserId,
};
use pgp::ser::Serialize;
use pgp::types::{EcdhPublicParams, EcdsaPublicParams, KeyDetails, KeyVersion, PublicParams, Tag, Timestamp};

use super::packets::{Component, Part, Parts};
use super::{CLOCK_LEEWAY_S, Certificate, Refusal};
use crate::address::Address;

/// Most signature verifications spent on one certificate. Candidates are tried newest first, so an honest certificate
/// needs one for each direct-key signature, user ID and encryption subkey.
const MAX_VERIFICATIONS: u32 = 64;

/// Smallest RSA modulus in bits (NIST SP 800-131A revision 2, section 6).
const MIN_RSA_BITS: u16 = 2_048;

/// Picks the subkey to encrypt to and gathers what limits its use.
///
/// `at` is the moment of the import in seconds since the epoch: later self-signatures are ignored and expired subkeys
/// passed over. Without it (a stored certificate, reduced to what the import chose) time is left to `check`.
pub fn certificate(parts: &Parts<'_>, address: &Address, at: Option<i64>) -> Result<Certificate, Refusal> {
    let primary = &parts.primary.value;
    require_strong_primary(primary)?;
    let mut limits = Limits::default();
    limits.key(primary.created_at());
    if let Some(at) = at {
        limits.check(at)?;
    }
    let mut judge = Judge {
        primary,
        at,
        budget: MAX_VERIFICATIONS,
    };
    judge.require_not_revoked(&parts.signatures)?;

    let direct = judge.newest(&parts.signatures, is_direct, |signature| {
        signature.verify_key(primary).is_ok()
    })?;
    let users = judge.users(&parts.users, address)?;
    let mut stored: Vec<&[u8]> = vec![parts.primary.raw];
    if let Some(direct) = direct {
        limits.signature(&direct.value, primary.created_at());
        stored.push(direct.raw);
    }
    for (user, signature) in &users {
        limits.signature(&signature.value, primary.created_at());
        stored.extend([user.raw, signature.raw]);
    }
    // For a version 6 key the direct-key signature carries the preferences, for a version 4 key the user ID's does unless
    // there is a direct one (RFC 9580 section 5.2.3.10).
    let preferences = direct.filter(|direct| direct.value.features().is_some()).or_else(|| {
        users
            .iter()
            .find(|(user, _)| holds(&user.value, address))
            .map(|(_, signature)| *signature)
    });
    let aead = preferences.and_then(|preferences| aead(&preferences.value));

    let (subkey, binding, algorithm) = judge.encryption_subkey(&parts.subkeys)?;
    limits.key(subkey.value.created_at());
    limits.signature(&binding.value, subkey.value.created_at());
    stored.extend([subkey.raw, binding.raw]);

    Ok(Certificate {
        fingerprint: primary.fingerprint().to_string().to_uppercase(),
        subkey_fingerprint: subkey.value.fingerprint().to_string().to_uppercase(),
        algorithm,
        valid_from: limits.valid_from,
        expires_at: limits.expires_at,
        aead,
        bytes: stored.concat(),
        subkey: subkey.value.clone(),
    })
}

/// A part and the self-signature that speaks for it.
type Certified<'p, 'd, T> = (&'p Part<'d, T>, &'p Part<'d, Signature>);

struct Judge<'a> {
    primary: &'a PublicKey,
    at: Option<i64>,
    budget: u32,
}

impl Judge<'_> {
    fn require_not_revoked(&mut self, signatures: &[Part<'_, Signature>]) -> Result<(), Refusal> {
        let primary = self.primary;
        let of_key = |signature: &Signature| signature.verify_key(primary).is_ok();
        match self.any(signatures, SignatureType::KeyRevocation, of_key)? {
            true => Err(Refusal::Revoked),
            false => Ok(()),
        }
    }

    /// The user IDs that matter, each with its newest self-signature: those that hold the address, and the one marked
    /// primary, whose signature may limit the primary key.
    fn users<'p, 'd>(
        &mut self,
        users: &'p [Component<'d, UserId>],
        address: &Address,
    ) -> Result<Vec<Certified<'p, 'd, UserId>>, Refusal> {
        let primary = self.primary;
        let mut found = Vec::new();
        let mut refusal = Refusal::WrongAddress;
        let mut n_holding = 0_usize;
        for user in users {
            let id = &user.part.value;
            let is_holding = holds(id, address);
            if !is_holding && !user.signatures.iter().any(|signature| signature.value.is_primary()) {
                continue;
            }
            let of_id = |signature: &Signature| signature.verify_certification(primary, Tag::UserId, id).is_ok();
            let certification = match self.newest(&user.signatures, is_certification, of_id) {
                Ok(Some(certification)) => certification,
                Ok(None) if is_holding => {
                    refusal = Refusal::BadSignature;
                    continue;
                }
                Err(Refusal::WeakSignature) if is_holding => {
                    refusal = Refusal::WeakSignature;
                    continue;
                }
                Ok(None) => continue,
                Err(other) => return Err(other),
            };
            let certified_at = seconds(certification.value.created());
            let of_newer = |signature: &Signature| seconds(signature.created()) >= certified_at && of_id(signature);
            if self.any(&user.signatures, SignatureType::CertRevocation, of_newer)? {
                if is_holding {
                    refusal = Refusal::Revoked;
                }
                continue;
            }
            n_holding += usize::from(is_holding);
            if is_holding || certification.value.is_primary() {
                found.push((&user.part, certification));
            }
        }
        if n_holding == 0 { Err(refusal) } else { Ok(found) }
    }

    /// The newest subkey that may be encrypted to; if there is none, why the newest candidate may not.
    fn encryption_subkey<'p, 'd>(
        &mut self,
        subkeys: &'p [Component<'d, PublicSubkey>],
    ) -> Result<(&'p Part<'d, PublicSubkey>, &'p Part<'d, Signature>, String), Refusal> {
        let primary = self.primary;
        let mut newest_first: Vec<_> = subkeys.iter().collect();
        newest_first.sort_by_key(|subkey| std::cmp::Reverse(subkey.part.value.created_at().as_secs()));
        let mut refusal = None;
        let mut unbound = None;
        for subkey in newest_first {
            let key = &subkey.part.value;
            let of_subkey = |signature: &Signature| signature.verify_subkey_binding(primary, key).is_ok();
            let binding = match self.newest(&subkey.signatures, is_binding, of_subkey) {
                Ok(Some(binding)) => binding,
                Ok(None) => {
                    unbound.get_or_insert(Refusal::BadSignature);
                    continue;
                }
                Err(Refusal::WeakSignature) => {
                    unbound.get_or_insert(Refusal::WeakSignature);
                    continue;
                }
                Err(other) => return Err(other),
            };
            let flags = binding.value.key_flags();
            if !flags.encrypt_comms() && !flags.encrypt_storage() {
                continue;
            }
            let revoked = self.any(&subkey.signatures, SignatureType::SubkeyRevocation, of_subkey)?;
            let mut limits = Limits::default();
            limits.key(key.created_at());
            limits.signature(&binding.value, key.created_at());
            let verdict = match (revoked, self.at.map(|at| limits.check(at))) {
                (true, _) => Err(Refusal::Revoked),
                (false, Some(Err(refusal))) => Err(refusal),
                (false, _) => encryption_algorithm(key),
            };
            match verdict {
                Ok(algorithm) => return Ok((&subkey.part, binding, algorithm)),
                Err(reason) => {
                    refusal.get_or_insert(reason);
                }
            }
        }
        Err(refusal.or(unbound).unwrap_or(Refusal::NoEncryptionKey))
    }

    /// The newest self-signature of one kind that verifies.
    ///
    /// # Errors
    /// `WeakSignature` if a newer one uses a broken hash: an older, stronger one must not hide what the newest says. It is
    /// not verified first, because rPGP cannot verify all of them.
    fn newest<'p, 'd>(
        &mut self,
        signatures: &'p [Part<'d, Signature>],
        kind: fn(SignatureType) -> bool,
        verifies: impl Fn(&Signature) -> bool,
    ) -> Result<Option<&'p Part<'d, Signature>>, Refusal> {
        let latest = self.at.map_or(i64::MAX, |at| at.saturating_add(CLOCK_LEEWAY_S));
        let mut candidates: Vec<_> = signatures
            .iter()
            .filter(|part| part.value.typ().is_some_and(kind) && self.is_own(&part.value))
            .filter(|part| part.value.created().is_some() && seconds(part.value.created()) <= latest)
            .filter(|part| !has_unknown_critical(&part.value))
            .collect();
        candidates.sort_by_key(|part| std::cmp::Reverse(seconds(part.value.created())));
        for part in candidates {
            if !is_strong(&part.value) {
                return Err(Refusal::WeakSignature);
            }
            self.spend()?;
            if verifies(&part.value) {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    fn any(
        &mut self,
        signatures: &[Part<'_, Signature>],
        kind: SignatureType,
        verifies: impl Fn(&Signature) -> bool,
    ) -> Result<bool, Refusal> {
        for part in signatures {
            if part.value.typ() == Some(kind) && self.is_own(&part.value) {
                self.spend()?;
                if verifies(&part.value) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether the signature names the primary key as its issuer, or nobody.
    fn is_own(&self, signature: &Signature) -> bool {
        let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
        (ids.is_empty() && fingerprints.is_empty())
            || ids.contains(&&self.primary.legacy_key_id())
            || fingerprints.contains(&&self.primary.fingerprint())
    }

    fn spend(&mut self) -> Result<(), Refusal> {
        self.budget = self.budget.checked_sub(1).ok_or(Refusal::TooManyParts)?;
        Ok(())
    }
}

/// The period in which keys and signatures are all valid, in seconds since the epoch.
#[derive(Default)]
struct Limits {
    valid_from: i64,
    expires_at: Option<i64>,
}

impl Limits {
    fn key(&mut self, created: Timestamp) {
        self.valid_from = self.valid_from.max(i64::from(created.as_secs()));
    }

    /// Adds a self-signature's own expiry and the one it gives the key (RFC 9580 sections 5.2.3.13 and 5.2.3.18); zero
    /// means never.
    fn signature(&mut self, signature: &Signature, key_created: Timestamp) {
        let created = seconds(signature.created());
        self.valid_from = self.valid_from.max(created);
        let key_created = i64::from(key_created.as_secs());
        let ends = [
            signature
                .key_expiration_time()
                .map(|after| (key_created, after.as_secs())),
            signature
                .signature_expiration_time()
                .map(|after| (created, after.as_secs())),
        ];
        for (start, after) in ends.into_iter().flatten().filter(|(_, after)| *after != 0) {
            let end = start.saturating_add(i64::from(after));
            self.expires_at = Some(self.expires_at.map_or(end, |earliest| earliest.min(end)));
        }
    }

    fn check(&self, at: i64) -> Result<(), Refusal> {
        super::check_period(self.valid_from, self.expires_at, at)
    }
}

/// Whether the user ID is the address, alone or as `Name <address>`, upper and lower case being the same.
fn holds(id: &UserId, address: &Address) -> bool {
    let Some(text) = id.as_str() else {
        return false;
    };
    let text = text.trim();
    let bare = match text.rsplit_once('<') {
        Some((_, after)) => after.strip_suffix('>'),
        None => Some(text),
    };
    bare.and_then(|bare| Address::parse(bare).ok())
        .is_some_and(|found| found.canonical() == address.canonical())
}

/// Which AEAD mode to use, if the owner's software reads version 2 of the encrypted data packet at all. Every such
/// software reads OCB (RFC 9580 section 9.6).
fn aead(signature: &Signature) -> Option<AeadAlgorithm> {
    if !signature.features().is_some_and(Features::seipd_v2) {
        return None;
    }
    let preferred = signature.preferred_aead_algs().iter().find_map(|(cipher, mode)| {
        let is_ours =
            *cipher == SymmetricKeyAlgorithm::AES256 && matches!(mode, AeadAlgorithm::Ocb | AeadAlgorithm::Gcm);
        is_ours.then_some(*mode)
    });
    Some(preferred.unwrap_or(AeadAlgorithm::Ocb))
}

fn require_strong_primary(primary: &PublicKey) -> Result<(), Refusal> {
    let is_version_known = matches!(primary.version(), KeyVersion::V4 | KeyVersion::V6);
    let is_strong = match primary.public_params() {
        params @ PublicParams::RSA(_) => rsa_bits(params).is_some_and(|bits| bits >= MIN_RSA_BITS),
        PublicParams::ECDSA(params) => matches!(
            params,
            EcdsaPublicParams::P256 { .. } | EcdsaPublicParams::P384 { .. } | EcdsaPublicParams::P521 { .. }
        ),
        PublicParams::EdDSALegacy(_) | PublicParams::Ed25519(_) | PublicParams::Ed448(_) => true,
        _ => false,
    };
    if is_version_known && is_strong {
        Ok(())
    } else {
        Err(Refusal::WeakKey)
    }
}

fn encryption_algorithm(key: &PublicSubkey) -> Result<String, Refusal> {
    match key.public_params() {
        params @ PublicParams::RSA(_) => match rsa_bits(params) {
            Some(bits) if bits >= MIN_RSA_BITS => Ok(format!("RSA-{bits}")),
            _ => Err(Refusal::WeakKey),
        },
        PublicParams::X25519(_) | PublicParams::ECDH(EcdhPublicParams::Curve25519Legacy { .. }) => Ok("X25519".into()),
        PublicParams::ECDH(EcdhPublicParams::P256 { .. }) => Ok("P-256".into()),
        PublicParams::ECDH(EcdhPublicParams::P384 { .. }) => Ok("P-384".into()),
        PublicParams::ECDH(EcdhPublicParams::P521 { .. }) => Ok("P-521".into()),
        _ => Err(Refusal::NoEncryptionKey),
    }
}

/// The modulus length, which is what its multiprecision integer starts with (RFC 9580 section 3.2).
fn rsa_bits(params: &PublicParams) -> Option<u16> {
    let written = params.to_bytes().ok()?;
    written.first_chunk().map(|length| u16::from_be_bytes(*length))
}

/// SHA-1, MD5 and RIPEMD-160 are refused (RFC 9580 section 9.5), and so is the version 3 signature, which cannot say
/// anything about the key.
fn is_strong(signature: &Signature) -> bool {
    matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6)
        && matches!(
            signature.hash_alg(),
            Some(
                HashAlgorithm::Sha224
                    | HashAlgorithm::Sha256
                    | HashAlgorithm::Sha384
                    | HashAlgorithm::Sha512
                    | HashAlgorithm::Sha3_256
                    | HashAlgorithm::Sha3_512
            )
        )
}

/// A signature with a critical subpacket that is not understood is in error (RFC 9580 section 5.2.3.7).
fn has_unknown_critical(signature: &Signature) -> bool {
    signature.config().is_some_and(|config| {
        config
            .hashed_subpackets()
            .filter(|subpacket| subpacket.is_critical)
            .any(|subpacket| {
                matches!(
                    subpacket.data,
                    SubpacketData::Other(..) | SubpacketData::Experimental(..) | SubpacketData::Notation(_)
                )
            })
    })
}

fn is_direct(kind: SignatureType) -> bool {
    kind == SignatureType::Key
}

fn is_binding(kind: SignatureType) -> bool {
    kind == SignatureType::SubkeyBinding
}

fn is_certification(kind: SignatureType) -> bool {
    matches!(
        kind,
        SignatureType::CertGeneric
            | SignatureType::CertPersona
            | SignatureType::CertCasual
            | SignatureType::CertPositive
    )
}

fn seconds(created: Option<Timestamp>) -> i64 {
    created.map_or(0, |created| i64::from(created.as_secs()))
}
