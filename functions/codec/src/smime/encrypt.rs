//! Sealing bytes to one certificate: AuthEnvelopedData with AES-256-GCM (RFC 5083, RFC 5084) or EnvelopedData with
//! AES-256-CBC (RFC 5652 section 6, RFC 3565).
//!
//! AES-CBC is what most clients read and has no integrity of its own: who can change the message on its way can make
//! some clients send its text elsewhere when it is opened (EFAIL). The caller chooses, and puts a signed, text-only entity
//! into CBC.
//!
//! How the content key reaches an RSA key: RSAES-PKCS1-v1_5 unless the certificate announces RSAES-OAEP with SHA-256.
//! RFC 8551 section 2.3 makes rsaEncryption the one that every RSA client has ("MUST-") and OAEP a wish ("SHOULD+"), and a
//! message that cannot be opened is opened elsewhere, with less protection. The weakness of v1.5 is an oracle at the side
//! that decrypts (RFC 8017 section 7.2); it gives nothing to somebody who holds the message alone. An EC key gets ephemeral-static
//! ECDH (RFC 5753 section 3.1) with the X9.63 derivation over SHA-256 and AES-256 key wrap.

use aws_lc_rs::agreement::{self, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::key_wrap::{self, AesKek, KeyWrap};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::{aead, rand};
use cms::authenveloped_data::AuthEnvelopedData;
use cms::cert::IssuerAndSerialNumber;
use cms::content_info::CmsVersion;
use cms::enveloped_data::{
    EncryptedContentInfo, EnvelopedData, KeyAgreeRecipientIdentifier, KeyAgreeRecipientInfo, KeyTransRecipientInfo,
    OriginatorIdentifierOrKey, OriginatorPublicKey, RecipientEncryptedKey, RecipientIdentifier, RecipientInfo,
    RecipientInfos,
};
use der::asn1::{Any, BitString, OctetString};
use der::{Encode, Sequence};
use x509_cert::spki::AlgorithmIdentifierOwned;
use zeroize::Zeroizing;

use super::key::{Curve, PublicKey};
use super::{Certificate, asn1, capabilities};

/// How the content is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentCipher {
    /// AES-256-GCM in AuthEnvelopedData; a change on the way is noticed. Newer clients only.
    Aes256Gcm,
    /// AES-256-CBC in EnvelopedData; most clients read it, and a change on the way may go unnoticed.
    Aes256Cbc,
}

/// Sealing failed; nothing was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptError {
    /// A primitive refused: no random numbers, or a key that it does not take.
    #[error("a cryptographic operation failed")]
    Cryptography,
    /// The result does not fit into DER, whose limit here is 256 MiB.
    #[error("the sealed message could not be encoded")]
    Encoding,
}

impl From<Unspecified> for EncryptError {
    fn from(_: Unspecified) -> EncryptError {
        EncryptError::Cryptography
    }
}

impl From<der::Error> for EncryptError {
    fn from(_: der::Error) -> EncryptError {
        EncryptError::Encoding
    }
}

/// Length of the content key and of the key that wraps it, in bytes.
const KEY_LENGTH: usize = 32;

/// AES key wrap adds one block of 64 bits (RFC 3394 section 2.2.1).
const WRAPPED_LENGTH: usize = KEY_LENGTH + 8;

/// An AES block, in bytes.
const BLOCK_LENGTH: usize = 16;

/// Seals `plaintext`, a MIME entity with CRLF line ends, to `recipient`: the DER of a ContentInfo, which is the decoded
/// body of `application/pkcs7-mime` with `smime-type` `authEnveloped-data` or `enveloped-data`.
///
/// # Errors
/// [`EncryptError`]; the text holds none of the input.
pub fn encrypt(plaintext: &[u8], recipient: &Certificate, cipher: ContentCipher) -> Result<Vec<u8>, EncryptError> {
    let mut key = Zeroizing::new([0_u8; KEY_LENGTH]);
    rand::fill(key.as_mut())?;
    let recip_infos = RecipientInfos::try_from(vec![recipient_info(recipient, &key)?])?;
    match cipher {
        ContentCipher::Aes256Gcm => auth_enveloped(plaintext, &key, recip_infos),
        ContentCipher::Aes256Cbc => enveloped(plaintext, &key, recip_infos),
    }
}

/// GCMParameters, RFC 5084 section 3.2.
#[derive(Sequence)]
struct GcmParameters {
    nonce: OctetString,
    tag_length: u8,
}

fn auth_enveloped(
    plaintext: &[u8],
    key: &[u8; KEY_LENGTH],
    recip_infos: RecipientInfos,
) -> Result<Vec<u8>, EncryptError> {
    let mut content = plaintext.to_vec();
    // Without authenticated attributes the associated data is empty (RFC 5083 section 2.2), which id-data permits.
    let sealing_key = aead::RandomizedNonceKey::new(&aead::AES_256_GCM, key)?;
    let (nonce, tag) = sealing_key.seal_in_place_separate_tag(aead::Aad::empty(), &mut content)?;
    let tag_length = u8::try_from(tag.as_ref().len()).map_err(|_| EncryptError::Encoding)?;
    let parameters = GcmParameters {
        nonce: OctetString::new(nonce.as_ref().as_slice())?,
        tag_length,
    };
    let enveloped = AuthEnvelopedData {
        version: CmsVersion::V0,
        originator_info: None,
        recip_infos,
        auth_encrypted_content_info: encrypted(asn1::AES256_GCM, Any::encode_from(&parameters)?, content)?,
        auth_attrs: None,
        mac: OctetString::new(tag.as_ref())?,
        unauth_attrs: None,
    };
    Ok(asn1::content_info(asn1::AUTH_ENVELOPED_DATA, &enveloped)?)
}

fn enveloped(plaintext: &[u8], key: &[u8; KEY_LENGTH], recip_infos: RecipientInfos) -> Result<Vec<u8>, EncryptError> {
    let mut content = Vec::with_capacity((plaintext.len() / BLOCK_LENGTH + 1) * BLOCK_LENGTH);
    content.extend_from_slice(plaintext);
    let encrypting_key = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, key)?)?;
    let DecryptionContext::Iv128(iv) = encrypting_key.encrypt(&mut content)? else {
        return Err(EncryptError::Cryptography);
    };
    let iv = OctetString::new(iv.as_ref().as_slice())?;
    // RFC 5652 section 6.1: version 0 when every recipient has version 0, else 2.
    let is_simple = recip_infos
        .0
        .iter()
        .all(|recipient| matches!(recipient, RecipientInfo::Ktri(_)));
    let enveloped = EnvelopedData {
        version: if is_simple { CmsVersion::V0 } else { CmsVersion::V2 },
        originator_info: None,
        recip_infos,
        encrypted_content: encrypted(asn1::AES256_CBC, Any::encode_from(&iv)?, content)?,
        unprotected_attrs: None,
    };
    Ok(asn1::content_info(asn1::ENVELOPED_DATA, &enveloped)?)
}

fn encrypted(
    cipher: der::asn1::ObjectIdentifier,
    parameters: Any,
    content: Vec<u8>,
) -> der::Result<EncryptedContentInfo> {
    Ok(EncryptedContentInfo {
        content_type: asn1::DATA,
        content_enc_alg: AlgorithmIdentifierOwned {
            oid: cipher,
            parameters: Some(parameters),
        },
        encrypted_content: Some(OctetString::new(content)?),
    })
}

fn recipient_info(recipient: &Certificate, key: &[u8; KEY_LENGTH]) -> Result<RecipientInfo, EncryptError> {
    let rid = IssuerAndSerialNumber {
        issuer: recipient.issuer.clone(),
        serial_number: recipient.serial.clone(),
    };
    match &recipient.key {
        PublicKey::Rsa { spki, .. } => {
            let (key_enc_alg, enc_key) = transport(spki, recipient.capabilities.oaep_sha256, key)?;
            Ok(RecipientInfo::Ktri(KeyTransRecipientInfo {
                version: CmsVersion::V0,
                rid: RecipientIdentifier::IssuerAndSerialNumber(rid),
                key_enc_alg,
                enc_key,
            }))
        }
        PublicKey::Ec { curve, point } => {
            let (originator, wrapped) = agree(*curve, point, key)?;
            // The parameters of the key are left out: they are those of the recipient (RFC 5753 section 3.1.1).
            let algorithm = asn1::algorithm(asn1::EC_PUBLIC_KEY);
            Ok(RecipientInfo::Kari(KeyAgreeRecipientInfo {
                version: CmsVersion::V3,
                originator: OriginatorIdentifierOrKey::OriginatorKey(OriginatorPublicKey {
                    algorithm,
                    public_key: originator,
                }),
                ukm: None,
                key_enc_alg: AlgorithmIdentifierOwned {
                    oid: asn1::STD_DH_SHA256_KDF,
                    parameters: Some(Any::encode_from(&asn1::algorithm(asn1::AES256_WRAP))?),
                },
                recipient_enc_keys: vec![RecipientEncryptedKey {
                    rid: KeyAgreeRecipientIdentifier::IssuerAndSerialNumber(rid),
                    enc_key: wrapped,
                }],
            }))
        }
    }
}

fn transport(
    spki: &[u8],
    is_oaep: bool,
    key: &[u8; KEY_LENGTH],
) -> Result<(AlgorithmIdentifierOwned, OctetString), EncryptError> {
    let public_key = PublicEncryptingKey::from_der(spki).map_err(|_| EncryptError::Cryptography)?;
    let mut room = vec![0; public_key.key_size_bytes()];
    if is_oaep {
        let public_key = OaepPublicEncryptingKey::new(public_key)?;
        let sealed = public_key.encrypt(&OAEP_SHA256_MGF1SHA256, key, &mut room, None)?;
        Ok((capabilities::oaep_sha256()?, OctetString::new(&*sealed)?))
    } else {
        let sealed = Pkcs1PublicEncryptingKey::new(public_key)?.encrypt(key, &mut room)?;
        Ok((
            asn1::algorithm_with_null(asn1::RSA_ENCRYPTION),
            OctetString::new(&*sealed)?,
        ))
    }
}

/// ECC-CMS-SharedInfo, RFC 5753 section 7.2.
#[derive(Sequence)]
struct SharedInfo {
    key_info: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    key_bits: OctetString,
}

/// The ephemeral public key and the content key wrapped for the holder of `point`.
fn agree(curve: Curve, point: &[u8], key: &[u8; KEY_LENGTH]) -> Result<(BitString, OctetString), EncryptError> {
    let ephemeral = agreement::PrivateKey::generate(curve.agreement())?;
    let originator = BitString::from_bytes(ephemeral.compute_public_key()?.as_ref())?;
    let shared_info = SharedInfo {
        key_info: asn1::algorithm(asn1::AES256_WRAP),
        key_bits: OctetString::new((KEY_LENGTH as u32 * 8).to_be_bytes())?,
    }
    .to_der()?;
    let peer = UnparsedPublicKey::new(curve.agreement(), point);
    let wrapping_key = agreement::agree(&ephemeral, peer, EncryptError::Cryptography, |secret| {
        AesKek::new(&key_wrap::AES_256, derive(secret, &shared_info).as_ref()).map_err(EncryptError::from)
    })?;
    let mut room = [0; WRAPPED_LENGTH];
    let wrapped = wrapping_key.wrap(key, &mut room)?;
    Ok((originator, OctetString::new(&*wrapped)?))
}

/// The key derivation of ANSI X9.63 (SEC 1 section 3.6.1) for one block of SHA-256, which is just one AES-256 key.
fn derive(secret: &[u8], shared_info: &[u8]) -> Zeroizing<[u8; KEY_LENGTH]> {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(secret);
    context.update(&1_u32.to_be_bytes());
    context.update(shared_info);
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    for (byte, hashed) in key.iter_mut().zip(context.finish().as_ref()) {
        *byte = *hashed;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::super::openssl::{self, Identity, Key};
    use super::*;
    use crate::address::Address;

    const CIPHERS: [ContentCipher; 2] = [ContentCipher::Aes256Gcm, ContentCipher::Aes256Cbc];

    fn certificate(identity: &Identity) -> Certificate {
        Certificate::import(
            &identity.pem,
            &Address::parse("ada@patients.test").unwrap(),
            openssl::now(),
        )
        .unwrap()
    }

    fn entity(length: usize) -> Vec<u8> {
        b"Content-Type: text/plain\r\n\r\nBlood count in order.\r\n"
            .iter()
            .copied()
            .cycle()
            .take(length)
            .collect()
    }

    #[test]
    fn openssl_opens_what_is_sealed() {
        for key in [Key::Rsa2048, Key::Rsa3072, Key::Rsa4096, Key::P256, Key::P384] {
            let identity = Identity::new(key, openssl::USUAL);
            let recipient = certificate(&identity);
            for cipher in CIPHERS {
                for length in [0, 1, 15, 16, 17, 20_000, 300_000] {
                    let sealed = encrypt(&entity(length), &recipient, cipher).unwrap();
                    let opened = identity.decrypt(&sealed);
                    assert!(
                        opened.status.success(),
                        "{key:?} {cipher:?} {}",
                        String::from_utf8_lossy(&opened.stderr)
                    );
                    assert!(
                        opened.stdout == entity(length),
                        "{key:?} {cipher:?} {length} bytes differ"
                    );
                }
            }
        }
    }

    #[test]
    fn the_parts_are_the_ones_that_were_chosen() {
        // The SMIMECapabilities extension announces RSAES-OAEP with SHA-256 and AES-256-GCM.
        let capabilities = [asn1::algorithm(asn1::AES256_GCM), capabilities::oaep_sha256().unwrap()].to_vec();
        let hex: String = capabilities
            .to_der()
            .unwrap()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let extension = format!("1.2.840.113549.1.9.15=DER:{hex}");
        let san = "subjectAltName=email:ada@patients.test";
        for (key, extensions, parts) in [
            (Key::Rsa2048, vec![san], vec!["d.ktri", "rsaEncryption"]),
            (
                Key::Rsa2048,
                vec![san, &extension],
                vec!["d.ktri", "rsaesOaep", "sha256"],
            ),
            (
                Key::P256,
                vec![san],
                vec!["d.kari", "dhSinglePass-stdDH-sha256kdf-scheme", "id-aes256-wrap"],
            ),
        ] {
            let identity = Identity::new(key, &extensions);
            for (cipher, names) in CIPHERS.iter().zip([
                ["id-smime-ct-authEnvelopedData", "aes-256-gcm"],
                ["pkcs7-envelopedData", "aes-256-cbc"],
            ]) {
                let sealed = encrypt(&entity(100), &certificate(&identity), *cipher).unwrap();
                assert_eq!(identity.decrypt(&sealed).stdout, entity(100));
                let path = identity.scratch.file("printed.der", &sealed);
                let printed = openssl::succeed(&["cms", "-cmsout", "-print", "-inform", "DER", "-in", &path]);
                let printed = String::from_utf8(printed).unwrap();
                for part in parts.iter().chain(&names) {
                    assert!(printed.contains(part), "{part} is missing in {printed}");
                }
            }
        }
    }

    #[test]
    fn unusual_names_still_find_their_key() {
        let options = ["-sha256", "-utf8", "-multivalue-rdn", "-set_serial", "0"];
        let identity = Identity::with(Key::Rsa2048, openssl::USUAL, "/UID=zz+CN=Ädа/O=x", &options, 20_000);
        for cipher in CIPHERS {
            let opened = identity.decrypt(&encrypt(&entity(100), &certificate(&identity), cipher).unwrap());
            assert_eq!(opened.stdout, entity(100));
        }
    }

    #[test]
    fn two_messages_share_nothing() {
        let recipient = certificate(&Identity::new(Key::P256, openssl::USUAL));
        for cipher in CIPHERS {
            let first = encrypt(&entity(200), &recipient, cipher).unwrap();
            let second = encrypt(&entity(200), &recipient, cipher).unwrap();
            assert_ne!(first[first.len() - 100..], second[second.len() - 100..]);
        }
    }

    #[test]
    fn a_flipped_bit_in_gcm_is_noticed() {
        for key in [Key::Rsa2048, Key::P256] {
            let identity = Identity::new(key, openssl::USUAL);
            let sealed = encrypt(&entity(64), &certificate(&identity), ContentCipher::Aes256Gcm).unwrap();
            // From the end: the 16 bytes of the tag with their header, then the content.
            for from_end in (1..=16).chain(20..80) {
                let mut changed = sealed.clone();
                let position = changed.len() - from_end;
                changed[position] ^= 1 << (from_end % 8);
                assert!(
                    !identity.decrypt(&changed).status.success(),
                    "{key:?}, {from_end} from the end"
                );
            }
        }
    }

    #[test]
    fn another_key_opens_nothing() {
        let [ada, eve] = [Key::P256, Key::P256].map(|key| Identity::new(key, openssl::USUAL));
        let other_key = openssl::succeed(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        let other_key = eve.scratch.file("other.pem", &other_key);
        let sealed = encrypt(&entity(64), &certificate(&ada), ContentCipher::Aes256Gcm).unwrap();
        let path = eve.scratch.file("message.der", &sealed);
        let opened = openssl::run(&["cms", "-decrypt", "-inform", "DER", "-in", &path, "-inkey", &other_key]);
        assert!(!opened.status.success());
    }
}
