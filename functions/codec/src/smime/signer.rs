//! The certificate of a signing key that lives in KMS: read one, or make a self-signed one in two steps.
//!
//! A finished certificate has always been checked against its own public key, so a signature by a wrong key ends here and
//! not at a recipient.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use der::asn1::{Any, AnyRef, BitString, Ia5String, ObjectIdentifier, OctetString, SetOfVec, Utf8StringRef};
use der::{Decode, Encode, Sequence};
use x509_cert::Version;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::Validity;

use super::certificate::fingerprint;
use super::key::{Curve, PublicKey};
use super::signing::{SigningError, time};
use super::{asn1, capabilities, input};
use crate::address::Address;

/// The certificate that our signatures carry. Its key is ECDSA on P-256 or RSA of 2048 bits and more.
#[derive(Clone)]
pub struct SignerCertificate {
    der: Vec<u8>,
    pub(super) parsed: x509_cert::Certificate,
    key: PublicKey,
    not_before: i64,
    not_after: i64,
}

impl SignerCertificate {
    /// Reads a certificate in DER, as [`SignerCertificate::to_bytes`] gives it or as an authority issued it for the key.
    ///
    /// # Errors
    /// `Malformed`, also for BER that is no DER; `UnsupportedKey`.
    pub fn from_der(der: &[u8]) -> Result<SignerCertificate, SigningError> {
        let parsed = x509_cert::Certificate::from_der(der).map_err(|_| SigningError::Malformed)?;
        // The certificate is embedded by writing it again, and must come out as it went in.
        if der.len() > input::MAX_UPLOAD || parsed.to_der()? != der {
            return Err(SigningError::Malformed);
        }
        let tbs = parsed.tbs_certificate();
        let key = signing_key(tbs.subject_public_key_info())?;
        let seconds = |time: x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs()).map_err(|_| SigningError::Malformed)
        };
        let not_before = seconds(tbs.validity().not_before)?;
        let not_after = seconds(tbs.validity().not_after)?;
        Ok(SignerCertificate {
            der: der.to_vec(),
            parsed,
            key,
            not_before,
            not_after,
        })
    }

    /// The certificate in DER.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.der.clone()
    }

    /// SHA-256 of the DER, 64 hexadecimal digits in upper case.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.der)
    }

    /// The last second of the period, in seconds since the epoch.
    pub fn expires_at(&self) -> i64 {
        self.not_after
    }

    pub(super) fn is_valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// The algorithm of a signature in CMS. RFC 5754 section 3.2: rsaEncryption is the name that every reader knows.
    pub(super) fn cms_algorithm(&self) -> AlgorithmIdentifierOwned {
        match self.key {
            PublicKey::Rsa { .. } => asn1::algorithm_with_null(asn1::RSA_ENCRYPTION),
            PublicKey::Ec { .. } => asn1::algorithm(asn1::ECDSA_WITH_SHA256),
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SigningError> {
        verify(&self.key, message, signature)
    }
}

impl fmt::Debug for SignerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignerCertificate").field(&self.fingerprint()).finish()
    }
}

/// What a self-signed certificate says.
#[derive(Clone, Copy)]
pub struct SignerDetails<'a> {
    /// Common name and organisation, 1 to 64 characters without control characters (RFC 5280 appendix A, ub-common-name).
    pub organisation: &'a str,
    /// The address in the subjectAltName, which clients compare with `From`.
    pub address: &'a Address,
    /// Random bytes. The top bit is cleared and the next one set, so that the number is positive and never shorter.
    pub serial: [u8; 16],
    /// First second of the period, in seconds since the epoch.
    pub not_before: i64,
    /// Last second of the period, in seconds since the epoch.
    pub not_after: i64,
}

/// A self-signed certificate that waits for its signature.
pub struct UnsignedSignerCertificate {
    tbs: Vec<u8>,
    key: PublicKey,
}

/// TBSCertificate, RFC 5280 section 4.1. The type of the library can be read but not made.
#[derive(Sequence)]
struct Tbs {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
    serial: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: Vec<SetOfVec<AttributeTypeAndValue>>,
    validity: Validity,
    subject: Vec<SetOfVec<AttributeTypeAndValue>>,
    spki: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// Certificate, RFC 5280 section 4.1.
#[derive(Sequence)]
struct Signed<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

impl UnsignedSignerCertificate {
    /// Writes a certificate for the key in `spki_der`, a SubjectPublicKeyInfo as the GetPublicKey of KMS returns it.
    ///
    /// Key usage digitalSignature, extended key usage emailProtection, the address as rfc822Name, and the capabilities of
    /// RFC 4262. No authority: basicConstraints is left out, which means that (RFC 5280 section 4.2.1.9).
    ///
    /// # Errors
    /// `Malformed` or `UnsupportedKey` for the key, `Details` for the name, the address or a period that ends before it
    /// begins.
    pub fn new(spki_der: &[u8], details: &SignerDetails<'_>) -> Result<UnsignedSignerCertificate, SigningError> {
        let spki = SubjectPublicKeyInfoOwned::from_der(spki_der).map_err(|_| SigningError::Malformed)?;
        let key = signing_key(&spki)?;
        let n_characters = details.organisation.chars().count();
        let is_name = (1..=64).contains(&n_characters) && !details.organisation.chars().any(char::is_control);
        if !is_name || details.not_after < details.not_before {
            return Err(SigningError::Details);
        }
        let mut serial = details.serial;
        if let Some(first) = serial.first_mut() {
            *first = (*first & 0x7f) | 0x40;
        }
        let name = name(details.organisation)?;
        let tbs = Tbs {
            version: Version::V3,
            serial: SerialNumber::new(&serial)?,
            signature: certificate_algorithm(&key),
            issuer: name.clone(),
            validity: Validity::new(time(details.not_before)?, time(details.not_after)?),
            subject: name,
            extensions: extensions(&spki, details.address)?,
            spki,
        };
        Ok(UnsignedSignerCertificate {
            tbs: tbs.to_der()?,
            key,
        })
    }

    /// The TBSCertificate in DER: what SHA-256 is computed over and what the key signs (ECDSA_SHA_256 or
    /// RSASSA_PKCS1_V1_5_SHA_256 in KMS).
    pub fn to_be_signed(&self) -> &[u8] {
        &self.tbs
    }

    /// Adds the signature: raw for RSA, in DER for ECDSA, as KMS returns them.
    ///
    /// # Errors
    /// `WrongSignature` when it does not fit the key.
    pub fn finish(self, signature: &[u8]) -> Result<SignerCertificate, SigningError> {
        verify(&self.key, &self.tbs, signature)?;
        let signed = Signed {
            tbs: AnyRef::from_der(&self.tbs)?,
            algorithm: certificate_algorithm(&self.key),
            signature: BitString::from_bytes(signature)?,
        };
        SignerCertificate::from_der(&signed.to_der()?)
    }
}

fn signing_key(spki: &SubjectPublicKeyInfoOwned) -> Result<PublicKey, SigningError> {
    match PublicKey::new(spki).map_err(|_| SigningError::UnsupportedKey)? {
        PublicKey::Ec { curve: Curve::P384, .. } => Err(SigningError::UnsupportedKey),
        key => Ok(key),
    }
}

fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), SigningError> {
    let verified = match key {
        PublicKey::Rsa { key, .. } => {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
        }
        PublicKey::Ec { point, .. } => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
        }
    };
    verified.map_err(|_| SigningError::WrongSignature)
}

fn certificate_algorithm(key: &PublicKey) -> AlgorithmIdentifierOwned {
    match key {
        PublicKey::Rsa { .. } => asn1::algorithm_with_null(asn1::SHA256_WITH_RSA),
        PublicKey::Ec { .. } => asn1::algorithm(asn1::ECDSA_WITH_SHA256),
    }
}

/// Organisation and common name; the address stands in the subjectAltName only (RFC 8550 section 3).
fn name(organisation: &str) -> Result<Vec<SetOfVec<AttributeTypeAndValue>>, SigningError> {
    let value = Any::encode_from(&Utf8StringRef::new(organisation)?)?;
    let part = |oid| {
        SetOfVec::try_from(vec![AttributeTypeAndValue {
            oid,
            value: value.clone(),
        }])
    };
    Ok(vec![part(asn1::ORGANISATION)?, part(asn1::COMMON_NAME)?])
}

fn extensions(spki: &SubjectPublicKeyInfoOwned, address: &Address) -> Result<Vec<Extension>, SigningError> {
    // The method of RFC 7093 section 2, number 1: the first 160 bits of SHA-256 over the key.
    let hash = digest(&SHA256, spki.subject_public_key.raw_bytes());
    let identifier: Vec<u8> = hash.as_ref().iter().take(20).copied().collect();
    let mailbox = Ia5String::new(address.as_str()).map_err(|_| SigningError::Details)?;
    Ok(vec![
        extension(
            asn1::KEY_USAGE,
            true,
            KeyUsage(KeyUsages::DigitalSignature.into()).to_der()?,
        )?,
        extension(asn1::EXTENDED_KEY_USAGE, false, vec![asn1::EMAIL_PROTECTION].to_der()?)?,
        extension(
            asn1::SUBJECT_ALT_NAME,
            false,
            SubjectAltName(vec![GeneralName::Rfc822Name(mailbox)]).to_der()?,
        )?,
        extension(
            asn1::SUBJECT_KEY_IDENTIFIER,
            false,
            SubjectKeyIdentifier(OctetString::new(identifier)?).to_der()?,
        )?,
        extension(asn1::SMIME_CAPABILITIES, false, capabilities::announced()?)?,
    ])
}

fn extension(extn_id: ObjectIdentifier, critical: bool, value: Vec<u8>) -> der::Result<Extension> {
    Ok(Extension {
        extn_id,
        critical,
        extn_value: OctetString::new(value)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::openssl::{self, Identity, Key};
    use super::super::signing::tests::{self_signed, sign};
    use super::*;

    fn details<'a>(address: &'a Address, organisation: &'a str) -> SignerDetails<'a> {
        let now = openssl::now();
        SignerDetails {
            organisation,
            address,
            serial: [0xff; 16],
            not_before: now - 60,
            not_after: now + 86_400,
        }
    }

    #[test]
    fn openssl_reads_and_verifies_the_self_signed_certificate() {
        for key in [Key::P256, Key::Rsa2048] {
            let identity = Identity::new(key, openssl::USUAL);
            let certificate = self_signed(&identity);
            let path = identity
                .scratch
                .file("signer.pem", &openssl::to_pem(&certificate.to_bytes()));
            let text = String::from_utf8(openssl::succeed(&["x509", "-in", &path, "-noout", "-text"])).unwrap();
            for part in [
                "Version: 3",
                "Subject: O = Clinic of Dr. M\\C3\\BCller, CN = Clinic of Dr. M\\C3\\BCller",
                "Digital Signature",
                "E-mail Protection",
                "email:care@clinic.test",
                "S/MIME Capabilities",
                "X509v3 Key Usage: critical",
            ] {
                assert!(text.contains(part), "{part} is missing in {text}");
            }
            assert!(!text.contains("Basic Constraints"), "{text}");
            openssl::succeed(&[
                "verify",
                "-CAfile",
                &path,
                "-purpose",
                "smimesign",
                "-check_ss_sig",
                &path,
            ]);
            let purposes = openssl::succeed(&["x509", "-in", &path, "-noout", "-purpose"]);
            let purposes = String::from_utf8(purposes).unwrap();
            assert!(
                purposes.contains("S/MIME signing : Yes") && purposes.contains("S/MIME encryption : No"),
                "{purposes}"
            );
            let again = SignerCertificate::from_der(&certificate.to_bytes()).unwrap();
            assert_eq!(again.fingerprint(), certificate.fingerprint());
            assert!(again.is_valid_at(openssl::now()) && !again.is_valid_at(again.expires_at() + 1));
        }
    }

    #[test]
    fn a_foreign_signature_makes_no_certificate() {
        let address = Address::parse("care@clinic.test").unwrap();
        let identity = Identity::new(Key::P256, openssl::USUAL);
        let details = details(&address, "Clinic");
        let make = || UnsignedSignerCertificate::new(&identity.spki(), &details).unwrap();
        let foreign = sign(&Identity::new(Key::Rsa2048, openssl::USUAL), make().to_be_signed());
        assert_eq!(make().finish(&foreign).map(|_| ()), Err(SigningError::WrongSignature));
        assert_eq!(make().finish(b"").map(|_| ()), Err(SigningError::WrongSignature));
        let mut signature = sign(&identity, make().to_be_signed());
        assert!(make().finish(&signature).is_ok());
        *signature.last_mut().unwrap() ^= 1;
        assert_eq!(make().finish(&signature).map(|_| ()), Err(SigningError::WrongSignature));
    }

    #[test]
    fn bad_details_are_refused() {
        let address = Address::parse("care@clinic.test").unwrap();
        let spki = Identity::new(Key::P256, openssl::USUAL).spki();
        let long = "x".repeat(65);
        for organisation in ["", &long, "a\nb"] {
            let made = UnsignedSignerCertificate::new(&spki, &details(&address, organisation));
            assert_eq!(made.map(|_| ()), Err(SigningError::Details), "{organisation}");
        }
        let backwards = SignerDetails {
            not_after: 0,
            ..details(&address, "Clinic")
        };
        assert_eq!(
            UnsignedSignerCertificate::new(&spki, &backwards).map(|_| ()),
            Err(SigningError::Details)
        );
        for key in [Key::P384, Key::Ed25519, Key::Rsa1024] {
            let spki = Identity::new(key, openssl::USUAL).spki();
            let made = UnsignedSignerCertificate::new(&spki, &details(&address, "Clinic"));
            assert_eq!(made.map(|_| ()), Err(SigningError::UnsupportedKey), "{key:?}");
        }
        for length in 0..spki.len() {
            assert!(UnsignedSignerCertificate::new(&spki[..length], &details(&address, "Clinic")).is_err());
        }
    }
}
