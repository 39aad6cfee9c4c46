//! A detached signature (RFC 5652 section 5, RFC 8551 section 3.5.3) by a key that lives in KMS: prepare, have the bytes
//! signed, finish.
//!
//! The signature goes over attributes: the digest of the entity, the time, what we can read, and which certificate is
//! meant, so that no other certificate for the same key can take its place (RFC 5035). `finish` verifies before it
//! returns, so a signature by another key is an error here and not a warning in front of a recipient.

use aws_lc_rs::digest::{SHA256, digest};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::CmsVersion;
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use der::asn1::{Any, ObjectIdentifier, OctetString, SetOfVec};
use der::{DateTime, Decode, Encode, Sequence};
use x509_cert::attr::{Attribute, Attributes};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

use super::{SignerCertificate, asn1, capabilities};

/// A signature or a certificate could not be made. The texts hold none of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The certificate or the public key is no DER of its kind.
    #[error("the signer's certificate or key is malformed")]
    Malformed,
    /// Neither RSA of 2048 bits and more nor ECDSA on P-256.
    #[error("the kind of the signer's key is not supported")]
    UnsupportedKey,
    /// The certificate is not valid at the time of signing.
    #[error("the signer's certificate is outside its period")]
    OutsidePeriod,
    /// The signature was not made over these bytes by the key of the certificate.
    #[error("the signature does not fit the signer's certificate")]
    WrongSignature,
    /// Name, address or period of a self-signed certificate cannot be written.
    #[error("the details of the certificate are not usable")]
    Details,
    /// The result cannot be encoded.
    #[error("the signature could not be encoded")]
    Encoding,
}

impl From<der::Error> for SigningError {
    fn from(_: der::Error) -> SigningError {
        SigningError::Encoding
    }
}

/// A signature that waits for the key.
pub struct Prepared {
    attributes: Attributes,
    to_be_signed: Vec<u8>,
    signer: SignerCertificate,
}

/// SigningCertificateV2 with one ESSCertIDv2, RFC 5035 sections 3 and 4; SHA-256 is the default and is left out.
#[derive(Sequence)]
struct SigningCertificate {
    certificates: Vec<CertificateId>,
}

#[derive(Sequence)]
struct CertificateId {
    hash: OctetString,
    issuer_serial: IssuerSerial,
}

#[derive(Sequence)]
struct IssuerSerial {
    issuer: Vec<GeneralName>,
    serial: SerialNumber,
}

impl Prepared {
    /// Prepares a signature over `entity`, a MIME entity in its canonical form (CRLF line ends, RFC 8551 section 3.1),
    /// at `now`, in seconds since the epoch.
    ///
    /// # Errors
    /// `OutsidePeriod` when the certificate is not valid at `now`; `Encoding`.
    pub fn new(entity: &[u8], signer: &SignerCertificate, now: i64) -> Result<Prepared, SigningError> {
        if !signer.is_valid_at(now) {
            return Err(SigningError::OutsidePeriod);
        }
        let digested = OctetString::new(digest(&SHA256, entity).as_ref())?;
        let attributes = SetOfVec::try_from(vec![
            attribute(asn1::CONTENT_TYPE, Any::encode_from(&asn1::DATA)?)?,
            attribute(asn1::MESSAGE_DIGEST, Any::encode_from(&digested)?)?,
            attribute(asn1::SIGNING_TIME, Any::from_der(&time(now)?.to_der()?)?)?,
            attribute(asn1::SMIME_CAPABILITIES, Any::from_der(&capabilities::announced()?)?)?,
            attribute(
                asn1::SIGNING_CERTIFICATE_V2,
                Any::encode_from(&signing_certificate(signer)?)?,
            )?,
        ])?;
        // RFC 5652 section 5.4: signed as a SET OF, although it is carried with an implicit tag.
        let to_be_signed = attributes.to_der()?;
        Ok(Prepared {
            attributes,
            to_be_signed,
            signer: signer.clone(),
        })
    }

    /// The signed attributes in DER: what SHA-256 is computed over and what the key signs (ECDSA_SHA_256 or
    /// RSASSA_PKCS1_V1_5_SHA_256 in KMS). A few hundred bytes, whatever the size of the entity.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.to_be_signed
    }

    /// Adds the signature (raw for RSA, in DER for ECDSA, as KMS returns them) and gives the DER of a ContentInfo with
    /// SignedData: the decoded `application/pkcs7-signature` part of a `multipart/signed` with `micalg=sha-256`.
    ///
    /// # Errors
    /// `WrongSignature` when it does not fit the certificate; `Encoding`.
    pub fn finish(self, signature: &[u8]) -> Result<Vec<u8>, SigningError> {
        self.signer.verify(&self.to_be_signed, signature)?;
        // SHA-256 without parameters, RFC 5754 section 2.
        let digest_algorithm = asn1::algorithm(asn1::SHA256);
        let tbs = self.signer.parsed.tbs_certificate();
        let signer_info = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: tbs.issuer().clone(),
                serial_number: tbs.serial_number().clone(),
            }),
            digest_alg: digest_algorithm.clone(),
            signed_attrs: Some(self.attributes),
            signature_algorithm: self.signer.cms_algorithm(),
            signature: OctetString::new(signature)?,
            unsigned_attrs: None,
        };
        let signed = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![digest_algorithm])?,
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: asn1::DATA,
                econtent: None,
            },
            certificates: Some(CertificateSet::try_from(vec![CertificateChoices::Certificate(
                self.signer.parsed,
            )])?),
            crls: None,
            signer_infos: SignerInfos::try_from(vec![signer_info])?,
        };
        Ok(asn1::content_info(asn1::SIGNED_DATA, &signed)?)
    }
}

/// A time for CMS and X.509: UTCTime through 2049, GeneralizedTime after (RFC 5280 section 4.1.2.5, RFC 5652 section 11.3).
pub(super) fn time(seconds: i64) -> Result<Time, SigningError> {
    let seconds = u64::try_from(seconds).map_err(|_| SigningError::Details)?;
    let since_epoch = std::time::Duration::from_secs(seconds);
    Ok(Time::from(
        DateTime::from_unix_duration(since_epoch).map_err(|_| SigningError::Details)?,
    ))
}

fn attribute(oid: ObjectIdentifier, value: Any) -> der::Result<Attribute> {
    Ok(Attribute {
        oid,
        values: SetOfVec::try_from(vec![value])?,
    })
}

fn signing_certificate(signer: &SignerCertificate) -> der::Result<SigningCertificate> {
    let tbs = signer.parsed.tbs_certificate();
    let issuer_serial = IssuerSerial {
        issuer: vec![GeneralName::DirectoryName(tbs.issuer().clone())],
        serial: tbs.serial_number().clone(),
    };
    let hash = OctetString::new(digest(&SHA256, &signer.to_bytes()).as_ref())?;
    Ok(SigningCertificate {
        certificates: vec![CertificateId { hash, issuer_serial }],
    })
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
    use base64::Engine;

    use super::super::openssl::{self, Identity, Key};
    use super::super::{Certificate, ContentCipher, SignerDetails, UnsignedSignerCertificate, encrypt};
    use super::*;
    use crate::address::Address;

    const ENTITY: &[u8] = b"Content-Type: text/plain; charset=utf-8\r\n\r\nYour results are in order.\r\n";

    /// Signs as KMS does, with the private key of a test.
    pub(in super::super) fn sign(identity: &Identity, message: &[u8]) -> Vec<u8> {
        let pkcs8 = identity.key_der();
        let random = SystemRandom::new();
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8) {
            return key.sign(&random, message).unwrap().as_ref().to_vec();
        }
        let key = RsaKeyPair::from_pkcs8(&pkcs8).unwrap();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
        signature
    }

    /// A self-signed certificate of `care@clinic.test`, valid for a day.
    pub(in super::super) fn self_signed(identity: &Identity) -> SignerCertificate {
        let address = Address::parse("care@clinic.test").unwrap();
        let now = openssl::now();
        let details = SignerDetails {
            organisation: "Clinic of Dr. Müller",
            address: &address,
            serial: [0; 16],
            not_before: now - 60,
            not_after: now + 86_400,
        };
        let unsigned = UnsignedSignerCertificate::new(&identity.spki(), &details).unwrap();
        let signature = sign(identity, unsigned.to_be_signed());
        unsigned.finish(&signature).unwrap()
    }

    fn signature(identity: &Identity, signer: &SignerCertificate, entity: &[u8]) -> Vec<u8> {
        let prepared = Prepared::new(entity, signer, openssl::now()).unwrap();
        let signature = sign(identity, prepared.to_be_signed());
        prepared.finish(&signature).unwrap()
    }

    fn multipart(entity: &[u8], signature: &[u8]) -> Vec<u8> {
        let encoded = base64::engine::general_purpose::STANDARD.encode(signature);
        let head = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; \
                    micalg=sha-256; boundary=b1\r\n\r\n--b1\r\n";
        let tail = "\r\n--b1\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\n\
                    Content-Transfer-Encoding: base64\r\n\r\n";
        let lines: Vec<&str> = encoded
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        let end = format!("{}\r\n--b1--\r\n", lines.join("\r\n"));
        [head.as_bytes(), entity, tail.as_bytes(), end.as_bytes()].concat()
    }

    #[test]
    fn openssl_verifies_the_signature_and_refuses_an_altered_entity() {
        for key in [Key::P256, Key::Rsa2048, Key::Rsa3072] {
            let identity = Identity::new(key, openssl::USUAL);
            let signer = self_signed(&identity);
            let signature = signature(&identity, &signer, ENTITY);
            let authority = identity
                .scratch
                .file("signer.pem", &openssl::to_pem(&signer.to_bytes()));
            let signature_path = identity.scratch.file("signature.der", &signature);
            let mut altered = ENTITY.to_vec();
            altered[60] ^= 1;
            for (entity, expected) in [(ENTITY, true), (altered.as_slice(), false)] {
                let content = identity.scratch.file("entity", entity);
                let detached = openssl::run(&[
                    "cms",
                    "-verify",
                    "-cades",
                    "-binary",
                    "-inform",
                    "DER",
                    "-in",
                    &signature_path,
                    "-content",
                    &content,
                    "-CAfile",
                    &authority,
                    "-purpose",
                    "smimesign",
                ]);
                assert_eq!(
                    detached.status.success(),
                    expected,
                    "{}",
                    String::from_utf8_lossy(&detached.stderr)
                );
                let mail = identity.scratch.file("mail", &multipart(entity, &signature));
                let mail = openssl::run(&[
                    "cms",
                    "-verify",
                    "-in",
                    &mail,
                    "-CAfile",
                    &authority,
                    "-purpose",
                    "smimesign",
                ]);
                assert_eq!(
                    mail.status.success(),
                    expected,
                    "{}",
                    String::from_utf8_lossy(&mail.stderr)
                );
            }
        }
    }

    #[test]
    fn the_attributes_are_there() {
        let identity = Identity::new(Key::P256, openssl::USUAL);
        let path = identity
            .scratch
            .file("signature.der", &signature(&identity, &self_signed(&identity), ENTITY));
        let printed = openssl::succeed(&["cms", "-cmsout", "-print", "-inform", "DER", "-in", &path]);
        let printed = String::from_utf8(printed).unwrap();
        for part in [
            "contentType (1.2.840.113549.1.9.3)",
            "signingTime (1.2.840.113549.1.9.5)",
            "messageDigest (1.2.840.113549.1.9.4)",
            "S/MIME Capabilities (1.2.840.113549.1.9.15)",
            "id-smime-aa-signingCertificateV2 (1.2.840.113549.1.9.16.2.47)",
            "aes-256-gcm",
            "aes-256-cbc",
            "aes-128-cbc",
            "eContent: <ABSENT>",
        ] {
            assert!(printed.contains(part), "{part} is missing in {printed}");
        }
    }

    #[test]
    fn signed_then_sealed_opens_and_verifies() {
        let ada = Identity::new(Key::Rsa2048, openssl::USUAL);
        let recipient =
            Certificate::import(&ada.pem, &Address::parse("ada@patients.test").unwrap(), openssl::now()).unwrap();
        let clinic = Identity::new(Key::P256, openssl::USUAL);
        let signer = self_signed(&clinic);
        let mail = multipart(ENTITY, &signature(&clinic, &signer, ENTITY));
        for cipher in [ContentCipher::Aes256Gcm, ContentCipher::Aes256Cbc] {
            let opened = ada.decrypt(&encrypt(&mail, &recipient, cipher).unwrap());
            assert!(opened.status.success());
            let path = clinic.scratch.file("opened", &opened.stdout);
            let authority = clinic.scratch.file("signer.pem", &openssl::to_pem(&signer.to_bytes()));
            let verified = openssl::succeed(&["cms", "-verify", "-in", &path, "-CAfile", &authority]);
            assert_eq!(verified, ENTITY);
        }
    }

    #[test]
    fn a_wrong_signature_and_a_wrong_time_are_refused() {
        let identity = Identity::new(Key::P256, openssl::USUAL);
        let signer = self_signed(&identity);
        let prepare = |entity| Prepared::new(entity, &signer, openssl::now()).unwrap();
        let other = sign(&identity, prepare(b"another entity").to_be_signed());
        assert_eq!(prepare(ENTITY).finish(&other), Err(SigningError::WrongSignature));
        for now in [openssl::now() - 3600, signer.expires_at() + 1] {
            assert_eq!(
                Prepared::new(ENTITY, &signer, now).map(|_| ()),
                Err(SigningError::OutsidePeriod)
            );
        }
    }

    #[test]
    fn what_is_signed_does_not_change_between_calls() {
        let identity = Identity::new(Key::P256, openssl::USUAL);
        let signer = self_signed(&identity);
        let now = openssl::now();
        let [first, second] = [now, now].map(|now| Prepared::new(ENTITY, &signer, now).unwrap());
        assert_eq!(first.to_be_signed(), second.to_be_signed());
        assert_eq!(first.to_be_signed()[0], 0x31);
    }
}
