//! The certificate of a recipient: what an upload must be before anything is sealed to it.
//!
//! Everything that does not change with time is judged when the bytes are read, from an upload or from the table, so a
//! rule that becomes stricter also reaches certificates stored earlier. A panic in the ASN.1 libraries counts as malformed.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aws_lc_rs::digest::{SHA256, digest};
use der::asn1::{Any, ObjectIdentifier};
use der::{Decode, Sequence, Tag, TagNumber};
use x509_cert::TbsCertificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::capabilities::Capabilities;
use super::key::PublicKey;
use super::{Refusal, asn1, input};
use crate::address::Address;

/// A certificate that email for one address may be sealed to, as far as its own content tells.
///
/// No chain and no revocation: whoever uploads it vouches for it.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    pub(super) issuer: Name,
    pub(super) serial: SerialNumber,
    pub(super) key: PublicKey,
    pub(super) capabilities: Capabilities,
    not_before: i64,
    not_after: i64,
}

impl Certificate {
    /// Reads an upload, PEM or DER of at most 64 KiB, and judges it for `address` at `now` (seconds since the epoch).
    ///
    /// # Errors
    /// The first rule that the upload breaks. No error holds any of the input.
    pub fn import(data: &[u8], address: &Address, now: i64) -> Result<Certificate, Refusal> {
        let certificate = Certificate::from_stored(&input::one_certificate(data)?, address)?;
        certificate.check(now)?;
        Ok(certificate)
    }

    /// Reads the DER of [`Certificate::to_bytes`] again and applies every rule but the one about time.
    ///
    /// # Errors
    /// As [`Certificate::import`], without `Expired` and `NotYetValid`.
    pub fn from_stored(der: &[u8], address: &Address) -> Result<Certificate, Refusal> {
        guarded(|| read(der, address))
    }

    /// Whether the certificate is within its period at `now`, seconds since the epoch; both ends belong to it
    /// (RFC 5280 section 4.1.2.5).
    ///
    /// # Errors
    /// `NotYetValid` or `Expired`.
    pub fn check(&self, now: i64) -> Result<(), Refusal> {
        if now < self.not_before {
            return Err(Refusal::NotYetValid);
        }
        if now > self.not_after {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// SHA-256 of the DER, 64 hexadecimal digits in upper case.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.der)
    }

    /// The kind and size of the key, such as `RSA-2048` or `P-256`.
    pub fn algorithm(&self) -> String {
        self.key.name()
    }

    /// The last second of the period, in seconds since the epoch.
    pub fn expires_at(&self) -> i64 {
        self.not_after
    }

    /// Whether the certificate announces AES-GCM (RFC 4262). Few do, so `false` means not known, not no.
    pub fn reads_gcm(&self) -> bool {
        self.capabilities.gcm
    }

    /// The certificate as it was uploaded, in DER.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.der.clone()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.fingerprint()).finish()
    }
}

/// SHA-256 of a certificate, in hexadecimal digits of upper case, as `openssl x509 -fingerprint` prints it without colons.
pub(super) fn fingerprint(der: &[u8]) -> String {
    digest(&SHA256, der)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

/// Turns a panic of the ASN.1 libraries, which read what strangers made, into a refusal.
fn guarded<T>(read: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(Refusal::Malformed))
}

fn read(der: &[u8], address: &Address) -> Result<Certificate, Refusal> {
    if der.len() > input::MAX_UPLOAD {
        return Err(Refusal::TooLarge);
    }
    let parsed = x509_cert::Certificate::from_der(der).map_err(|_| Refusal::Malformed)?;
    let tbs = parsed.tbs_certificate();
    check_encoding(der, tbs)?;
    // RFC 5280 section 4.1.1.2: both places name the same algorithm.
    if parsed.signature_algorithm() != tbs.signature() {
        return Err(Refusal::Malformed);
    }
    if !is_strong_signature(tbs.signature()) {
        return Err(Refusal::WeakSignature);
    }
    let key = PublicKey::new(tbs.subject_public_key_info())?;
    let extensions = KnownExtensions::read(tbs.extensions().unwrap_or(&Vec::new()))?;
    extensions.check_usage(&key)?;
    if !extensions.names(tbs.subject(), address) {
        return Err(Refusal::WrongAddress);
    }
    Ok(Certificate {
        der: der.to_vec(),
        issuer: tbs.issuer().clone(),
        serial: tbs.serial_number().clone(),
        key,
        capabilities: extensions.capabilities,
        not_before: seconds(tbs.validity().not_before)?,
        not_after: seconds(tbs.validity().not_after)?,
    })
}

/// The recipient's client finds its key by the issuer and serial number, byte for byte, so both must survive being read
/// and written again; the libraries sort sets, which an issuer that is no strict DER would not survive.
fn check_encoding(der: &[u8], tbs: &TbsCertificate) -> Result<(), Refusal> {
    #[derive(Sequence)]
    struct RawCertificate {
        tbs: Any,
        signature_algorithm: Any,
        signature: Any,
    }
    let raw = RawCertificate::from_der(der).map_err(|_| Refusal::Malformed)?;
    let fields = raw.tbs.decode_as::<Vec<Any>>().map_err(|_| Refusal::Malformed)?;
    let is_version = |field: &Any| field.header().tag() == context(0, true);
    let fields = match fields.split_first() {
        Some((version, rest)) if is_version(version) => rest,
        _ => fields.as_slice(),
    };
    let [serial, _signature, issuer, ..] = fields else {
        return Err(Refusal::Malformed);
    };
    let is_same = Any::encode_from(tbs.serial_number()).is_ok_and(|again| again == *serial)
        && Any::encode_from(tbs.issuer()).is_ok_and(|again| again == *issuer);
    if is_same { Ok(()) } else { Err(Refusal::Malformed) }
}

fn seconds(time: x509_cert::time::Time) -> Result<i64, Refusal> {
    i64::try_from(time.to_unix_duration().as_secs()).map_err(|_| Refusal::Malformed)
}

/// RFC 8551 section 2.2 names SHA-256 and SHA-512 with RSA, ECDSA and EdDSA; anything unknown is not trusted.
fn is_strong_signature(algorithm: &AlgorithmIdentifierOwned) -> bool {
    match algorithm.oid {
        asn1::SHA256_WITH_RSA
        | asn1::SHA384_WITH_RSA
        | asn1::SHA512_WITH_RSA
        | asn1::ECDSA_WITH_SHA256
        | asn1::ECDSA_WITH_SHA384
        | asn1::ECDSA_WITH_SHA512
        | asn1::ED25519
        | asn1::ED448 => true,
        asn1::RSASSA_PSS => {
            pss_hash(algorithm).is_some_and(|hash| [asn1::SHA256, asn1::SHA384, asn1::SHA512].contains(&hash))
        }
        _ => false,
    }
}

/// The digest in RSASSA-PSS-params (RFC 4055 section 3.1); when it is left out, it is SHA-1.
fn pss_hash(algorithm: &AlgorithmIdentifierOwned) -> Option<ObjectIdentifier> {
    let fields = algorithm.parameters.as_ref()?.decode_as::<Vec<Any>>().ok()?;
    let hash = fields.iter().find(|field| field.header().tag() == context(0, true))?;
    AlgorithmIdentifierOwned::from_der(hash.value())
        .ok()
        .map(|hash| hash.oid)
}

fn context(number: u32, constructed: bool) -> Tag {
    Tag::ContextSpecific {
        constructed,
        number: TagNumber(number),
    }
}

/// The extensions that decide whether a certificate may be used.
#[derive(Default)]
struct KnownExtensions {
    key_usage: Option<KeyUsage>,
    extended_key_usage: Option<Vec<ObjectIdentifier>>,
    is_authority: bool,
    /// Every rfc822Name of the subjectAltName; empty without one.
    mailboxes: Vec<String>,
    capabilities: Capabilities,
}

impl KnownExtensions {
    fn read(extensions: &Extensions) -> Result<KnownExtensions, Refusal> {
        let mut known = KnownExtensions::default();
        for (position, extension) in extensions.iter().enumerate() {
            // RFC 5280 section 4.2: not more than one of a kind.
            if extensions
                .iter()
                .take(position)
                .any(|earlier| earlier.extn_id == extension.extn_id)
            {
                return Err(Refusal::Malformed);
            }
            known.add(extension)?;
        }
        Ok(known)
    }

    fn add(&mut self, extension: &Extension) -> Result<(), Refusal> {
        let value = extension.extn_value.as_bytes();
        match extension.extn_id {
            asn1::KEY_USAGE => self.key_usage = Some(decode(value)?),
            asn1::EXTENDED_KEY_USAGE => self.extended_key_usage = Some(decode(value)?),
            asn1::BASIC_CONSTRAINTS => self.is_authority = decode::<BasicConstraints>(value)?.ca,
            asn1::SUBJECT_ALT_NAME => {
                // The other kinds of names are not of interest and may have shapes that the library does not know.
                let names = decode::<Vec<Any>>(value)?;
                let mailboxes = names.iter().filter(|name| name.header().tag() == context(1, false));
                self.mailboxes = mailboxes
                    .map(|name| String::from_utf8_lossy(name.value()).into_owned())
                    .collect();
            }
            asn1::SMIME_CAPABILITIES => {
                self.capabilities = Capabilities::from_der(value).map_err(|_| Refusal::Malformed)?;
            }
            // A policy says how the certificate was issued; an upload is vouched for by a person instead.
            asn1::CERTIFICATE_POLICIES => {}
            // RFC 5280 section 4.2: a critical extension that is not understood forbids the use of the certificate.
            _ if extension.critical => return Err(Refusal::WrongUsage),
            _ => {}
        }
        Ok(())
    }

    fn check_usage(&self, key: &PublicKey) -> Result<(), Refusal> {
        // RFC 8550 section 4.4.2: key management is keyEncipherment for RSA, keyAgreement for ECDH. An encipherOnly or
        // decipherOnly key would serve one direction of an agreement only (RFC 5280 section 4.2.1.3).
        let allows_key = self.key_usage.as_ref().is_none_or(|usage| match key {
            PublicKey::Rsa { .. } => usage.key_encipherment(),
            PublicKey::Ec { .. } => usage.key_agreement() && !usage.encipher_only(),
        });
        // RFC 8550 section 4.4.4: without the extension any use is allowed.
        let allows_email = self.extended_key_usage.as_ref().is_none_or(|usages| {
            usages
                .iter()
                .any(|usage| [asn1::EMAIL_PROTECTION, asn1::ANY_EXTENDED_KEY_USAGE].contains(usage))
        });
        if self.is_authority || !allows_key || !allows_email {
            Err(Refusal::WrongUsage)
        } else {
            Ok(())
        }
    }

    /// Whether the certificate is for `address`. RFC 8550 section 3: the subjectAltName decides, and the emailAddress of
    /// the subject counts only in its absence. Case does not matter, in the local part either, as for every look-up here.
    fn names(&self, subject: &Name, address: &Address) -> bool {
        let wanted = address.canonical();
        let is_wanted = |text: &str| Address::parse(text).is_ok_and(|found| found.canonical() == wanted);
        if !self.mailboxes.is_empty() {
            return self.mailboxes.iter().any(|text| is_wanted(text));
        }
        let mut addresses = subject.iter().filter(|part| part.oid == asn1::EMAIL_ADDRESS);
        addresses.any(|part| std::str::from_utf8(part.value.value()).is_ok_and(is_wanted))
    }
}

fn decode<'a, T: Decode<'a>>(der: &'a [u8]) -> Result<T, Refusal> {
    T::from_der(der).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use der::Encode;

    use super::super::openssl::{self, Identity, Key};
    use super::super::{ContentCipher, encrypt};
    use super::*;

    const DAY: i64 = 86_400;

    fn ada() -> Address {
        Address::parse("ada@patients.test").unwrap()
    }

    fn reason(identity: &Identity) -> &'static str {
        match Certificate::import(&identity.pem, &ada(), openssl::now()) {
            Ok(_) => "accepted",
            Err(refusal) => refusal.reason(),
        }
    }

    #[test]
    fn good_certificates_of_every_kind_of_key_are_accepted() {
        for key in [Key::Rsa2048, Key::Rsa3072, Key::Rsa4096, Key::P256, Key::P384] {
            let identity = Identity::new(key, openssl::USUAL);
            let from_pem = Certificate::import(&identity.pem, &ada(), openssl::now()).unwrap();
            let from_der = Certificate::import(&identity.der, &ada(), openssl::now()).unwrap();
            assert_eq!(from_pem.to_bytes(), identity.der);
            assert_eq!(from_der.fingerprint(), from_pem.fingerprint());
            assert_eq!(from_pem.fingerprint(), identity.fingerprint());
            assert_eq!(from_pem.algorithm(), key.name());
            assert!(!from_pem.reads_gcm());
            let days = (from_pem.expires_at() - openssl::now() + 60) / DAY;
            assert_eq!(days, 30);
            let stored = Certificate::from_stored(&from_pem.to_bytes(), &ada()).unwrap();
            assert_eq!(stored.check(from_pem.expires_at()), Ok(()));
            assert_eq!(stored.check(from_pem.expires_at() + 1), Err(Refusal::Expired));
            assert_eq!(stored.check(openssl::now() - DAY), Err(Refusal::NotYetValid));
        }
    }

    #[test]
    fn each_rule_has_its_reason() {
        let san = "subjectAltName=email:ada@patients.test";
        for (extensions, key, expected) in [
            (vec![san], Key::Rsa2048, "accepted"),
            (vec!["subjectAltName=email:ADA@Patients.TEST"], Key::Rsa2048, "accepted"),
            (
                vec!["subjectAltName=DNS:patients.test,email:x@y.test,email:ada@patients.test"],
                Key::P256,
                "accepted",
            ),
            (vec![san, "keyUsage=critical,keyEncipherment"], Key::Rsa2048, "accepted"),
            (vec![san, "keyUsage=critical,keyAgreement"], Key::P256, "accepted"),
            (
                vec![san, "keyUsage=critical,digitalSignature"],
                Key::Rsa2048,
                "wrong_usage",
            ),
            (vec![san, "keyUsage=critical,keyEncipherment"], Key::P384, "wrong_usage"),
            (vec![san, "keyUsage=critical,keyAgreement"], Key::Rsa2048, "wrong_usage"),
            (
                vec![san, "keyUsage=critical,keyAgreement,encipherOnly"],
                Key::P256,
                "wrong_usage",
            ),
            (vec![san, "extendedKeyUsage=emailProtection"], Key::Rsa2048, "accepted"),
            (
                vec![san, "extendedKeyUsage=anyExtendedKeyUsage"],
                Key::Rsa2048,
                "accepted",
            ),
            (
                vec![san, "extendedKeyUsage=serverAuth,clientAuth"],
                Key::Rsa2048,
                "wrong_usage",
            ),
            (
                vec![san, "basicConstraints=critical,CA:false"],
                Key::Rsa2048,
                "accepted",
            ),
            (
                vec![san, "basicConstraints=critical,CA:true"],
                Key::Rsa2048,
                "wrong_usage",
            ),
            (vec![san, "1.2.3.4=critical,DER:0500"], Key::Rsa2048, "wrong_usage"),
            // Some authorities write the default out, which is no strict DER.
            (vec![san, "basicConstraints=DER:3003010100"], Key::Rsa2048, "accepted"),
            (vec![san, "1.2.3.4=DER:0500"], Key::Rsa2048, "accepted"),
            (
                vec![san, "certificatePolicies=critical,1.2.3.4"],
                Key::Rsa2048,
                "accepted",
            ),
            (vec![san, "keyUsage=DER:0500"], Key::Rsa2048, "malformed"),
            (
                vec!["subjectAltName=email:eve@patients.test"],
                Key::Rsa2048,
                "wrong_address",
            ),
            (
                vec!["subjectAltName=email:ada@patients.test.example"],
                Key::Rsa2048,
                "wrong_address",
            ),
            (vec!["subjectAltName=DNS:patients.test"], Key::Rsa2048, "wrong_address"),
            (vec![], Key::Rsa2048, "wrong_address"),
            (vec![san], Key::Rsa1024, "weak_key"),
            (vec![san], Key::RsaExponent3, "weak_key"),
            (vec![san], Key::P521, "unsupported_key"),
            (vec![san], Key::Ed25519, "unsupported_key"),
        ] {
            assert_eq!(
                reason(&Identity::new(key, &extensions)),
                expected,
                "{extensions:?} {key:?}"
            );
        }
    }

    #[test]
    fn an_exponent_of_one_is_weak() {
        // The exponent is the last number of the key: 02 03 01 00 01 turns into 02 01 01, and the lengths around shrink.
        let identity = Identity::new(Key::Rsa2048, &["subjectAltName=email:ada@patients.test"]);
        let parsed = x509_cert::Certificate::from_der(&identity.der).unwrap();
        let spki = parsed.tbs_certificate().subject_public_key_info();
        for (exponent, expected) in [
            (vec![1], Err(Refusal::WeakKey)),
            (vec![3], Err(Refusal::WeakKey)),
            (vec![1, 0, 0], Err(Refusal::WeakKey)),
            (vec![1, 0, 1], Ok(())),
            (vec![0xff; 8], Err(Refusal::UnsupportedKey)),
            (vec![0xff; 9], Err(Refusal::UnsupportedKey)),
        ] {
            let mut numbers = Vec::<der::asn1::Uint>::from_der(spki.subject_public_key.raw_bytes()).unwrap();
            numbers[1] = der::asn1::Uint::new(&exponent).unwrap();
            let mut changed = spki.clone();
            changed.subject_public_key = der::asn1::BitString::from_bytes(&numbers.to_der().unwrap()).unwrap();
            assert_eq!(PublicKey::new(&changed).map(|_| ()), expected, "{exponent:?}");
        }
    }

    #[test]
    fn the_subject_counts_only_without_a_mailbox_in_the_alternative_name() {
        let subject = "/CN=Ada/emailAddress=Ada@patients.test";
        let with = |extensions: &[&str]| Identity::with(Key::Rsa2048, extensions, subject, &["-sha256"], 30);
        assert_eq!(reason(&with(&[])), "accepted");
        assert_eq!(reason(&with(&["subjectAltName=DNS:patients.test"])), "accepted");
        assert_eq!(
            reason(&with(&["subjectAltName=email:eve@patients.test"])),
            "wrong_address"
        );
    }

    #[test]
    fn the_signature_must_be_strong() {
        for (key, options, expected) in [
            (Key::Rsa2048, vec!["-sha1"], "weak_signature"),
            (Key::Rsa2048, vec!["-md5"], "weak_signature"),
            (Key::P256, vec!["-sha1"], "weak_signature"),
            (
                Key::Rsa2048,
                vec!["-sha256", "-sigopt", "rsa_padding_mode:pss"],
                "accepted",
            ),
            (
                Key::Rsa2048,
                vec!["-sha1", "-sigopt", "rsa_padding_mode:pss"],
                "weak_signature",
            ),
            (Key::Rsa2048, vec!["-sha512"], "accepted"),
            (Key::P384, vec!["-sha384"], "accepted"),
        ] {
            assert_eq!(
                reason(&Identity::with(key, openssl::USUAL, "/CN=Ada", &options, 30)),
                expected,
                "{options:?}"
            );
        }
    }

    #[test]
    fn the_period_is_kept() {
        let identity = Identity::with(Key::P256, openssl::USUAL, "/CN=Ada", &["-sha256"], 1);
        let import = |now| Certificate::import(&identity.pem, &ada(), now).map(|_| ());
        assert_eq!(import(openssl::now()), Ok(()));
        assert_eq!(import(openssl::now() + 2 * DAY), Err(Refusal::Expired));
        assert_eq!(import(openssl::now() - DAY), Err(Refusal::NotYetValid));
    }

    #[test]
    fn capabilities_are_read() {
        // SEQUENCE { SEQUENCE { id-aes256-GCM } }, then the same with id-aes256-CBC.
        for (der, reads_gcm) in [
            ("300D300B060960864801650304012E", true),
            ("300D300B060960864801650304012A", false),
        ] {
            let extension = format!("1.2.840.113549.1.9.15=DER:{der}");
            let identity = Identity::new(Key::P256, &["subjectAltName=email:ada@patients.test", &extension]);
            let certificate = Certificate::import(&identity.pem, &ada(), openssl::now()).unwrap();
            assert_eq!(certificate.reads_gcm(), reads_gcm);
        }
    }

    #[test]
    fn private_keys_and_bundles_are_noticed() {
        let identity = Identity::new(Key::Rsa2048, openssl::USUAL);
        let import = |data: &[u8]| Certificate::import(data, &ada(), openssl::now()).unwrap_err().reason();
        let both = [identity.key_pem().as_slice(), &identity.pem].concat();
        assert_eq!(import(&both), "private_key");
        assert_eq!(import(&identity.key_der()), "private_key");
        assert_eq!(
            import(&[identity.pem.as_slice(), &identity.pem].concat()),
            "several_certificates"
        );
        assert_eq!(import(&[identity.der.as_slice(), &[0]].concat()), "malformed");
        assert_eq!(import(&vec![b' '; 64 * 1024 + 1]), "too_large");
        assert_eq!(import(b""), "malformed");
    }

    #[test]
    fn damage_never_panics_and_what_passes_can_be_sealed_to() {
        // `read` is below the guard, so that a panic fails the test.
        let identities = [
            Identity::new(Key::Rsa2048, openssl::USUAL),
            Identity::new(Key::P256, openssl::USUAL),
        ];
        for identity in identities {
            let try_out = |der: &[u8]| {
                if let Ok(certificate) = read(der, &ada()) {
                    assert!(encrypt(b"x", &certificate, ContentCipher::Aes256Gcm).is_ok());
                    return true;
                }
                false
            };
            for length in 0..identity.der.len() {
                assert!(!try_out(&identity.der[..length]), "accepted with {length} bytes");
            }
            let mut n_accepted = 0;
            for position in 0..identity.der.len() {
                for change in [0x01, 0x02, 0x20, 0x40, 0x80, 0xff] {
                    let mut changed = identity.der.clone();
                    changed[position] ^= change;
                    n_accepted += usize::from(try_out(&changed));
                }
            }
            // Damage in a name, the modulus or the signature is invisible without the issuer; the rest must be noticed.
            assert!(n_accepted > 0 && n_accepted < identity.der.len() * 6);
        }
    }

    #[test]
    fn a_panic_while_reading_is_a_refusal() {
        assert_eq!(guarded::<()>(|| panic!("a library failed")), Err(Refusal::Malformed));
        assert_eq!(guarded(|| Ok(1)), Ok(1));
    }

    #[test]
    fn nothing_shows_names() {
        let identity = Identity::with(Key::P256, openssl::USUAL, "/CN=Ada Lovelace", &["-sha256"], 30);
        let certificate = Certificate::import(&identity.pem, &ada(), openssl::now()).unwrap();
        assert_eq!(
            format!("{certificate:?}"),
            format!("Certificate({:?})", certificate.fingerprint())
        );
    }
}
