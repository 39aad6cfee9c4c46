//! The side of the recipient of S/MIME mail, as far as our own mail goes: what a client does to open it, in this process,
//! so that thousands of altered messages can be tried. `openssl` tries some dozens of them in the codec's own tests.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::key_wrap::{self, AesKek, KeyWrap};
use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use cms::authenveloped_data::AuthEnvelopedData;
use cms::content_info::ContentInfo;
use cms::enveloped_data::{EnvelopedData, OriginatorIdentifierOrKey, RecipientInfo, RecipientInfos};
use der::asn1::{ObjectIdentifier, OctetString, OctetStringRef};
use der::{Decode, Encode, Sequence};
use sealpost_codec::address::Address;
use sealpost_codec::smime::Certificate;

const AUTH_ENVELOPED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.23");
const ENVELOPED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.3");

/// Somebody with a certificate and its private key.
pub struct Recipient {
    certificate: &'static [u8],
    key: Key,
}

enum Key {
    Rsa(PrivateDecryptingKey),
    P256(agreement::PrivateKey),
}

impl Recipient {
    /// One with a key of RSA, 2048 bits.
    #[must_use]
    pub fn rsa() -> Self {
        let key = PrivateDecryptingKey::from_pkcs8(include_bytes!("../keys/smime-rsa.pk8")).expect("it is good");
        Self {
            certificate: include_bytes!("../keys/smime-rsa.der"),
            key: Key::Rsa(key),
        }
    }

    /// One with a key on P-256.
    #[must_use]
    pub fn p256() -> Self {
        let pkcs8 = include_bytes!("../keys/smime-p256.pk8");
        let key = agreement::PrivateKey::from_private_key_der(&ECDH_P256, pkcs8).expect("it is good");
        Self {
            certificate: include_bytes!("../keys/smime-p256.der"),
            key: Key::P256(key),
        }
    }

    /// The certificate, as it was imported.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        let address = Address::parse("samir@certs.test").expect("it is one");
        Certificate::import(self.certificate, &address, crate::NOW_S).expect("it is good")
    }
}

/// What was sealed, if the message is whole; nothing of it otherwise, but for AES-CBC, which cannot tell.
#[must_use]
pub fn open(sealed: &[u8], recipient: &Recipient) -> Option<Vec<u8>> {
    let outer = ContentInfo::from_der(sealed).ok()?;
    let inner = outer.content.to_der().ok()?;
    match outer.content_type {
        AUTH_ENVELOPED => {
            #[derive(Sequence)]
            struct GcmParameters {
                nonce: OctetString,
                tag_length: u8,
            }
            let message = AuthEnvelopedData::from_der(&inner).ok()?;
            let key = content_key(&message.recip_infos, recipient)?;
            let content = message.auth_encrypted_content_info;
            let parameters: GcmParameters = content.content_enc_alg.parameters?.decode_as().ok()?;
            if parameters.tag_length != 16 || content.content_enc_alg.oid.to_string() != "2.16.840.1.101.3.4.1.46" {
                return None;
            }
            let nonce = Nonce::try_assume_unique_for_key(parameters.nonce.as_bytes()).ok()?;
            let mut plain = [content.encrypted_content?.as_bytes(), message.mac.as_bytes()].concat();
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?);
            Some(key.open_in_place(nonce, Aad::empty(), &mut plain).ok()?.to_vec())
        }
        ENVELOPED => {
            let message = EnvelopedData::from_der(&inner).ok()?;
            let key = content_key(&message.recip_infos, recipient)?;
            let content = message.encrypted_content;
            let parameters = content.content_enc_alg.parameters?;
            let iv: &OctetStringRef = parameters.decode_as().ok()?;
            let iv = FixedLength::<16>::from(<[u8; 16]>::try_from(iv.as_bytes()).ok()?);
            let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, &key).ok()?).ok()?;
            let mut plain = content.encrypted_content?.as_bytes().to_vec();
            Some(key.decrypt(&mut plain, DecryptionContext::Iv128(iv)).ok()?.to_vec())
        }
        _ => None,
    }
}

fn content_key(recipients: &RecipientInfos, recipient: &Recipient) -> Option<Vec<u8>> {
    let [one] = recipients.0.as_slice() else {
        return None;
    };
    match (one, &recipient.key) {
        (RecipientInfo::Ktri(transport), Key::Rsa(key)) => {
            let key = Pkcs1PrivateDecryptingKey::new(key.clone()).ok()?;
            let mut room = vec![0; key.min_output_size()];
            Some(key.decrypt(transport.enc_key.as_bytes(), &mut room).ok()?.to_vec())
        }
        (RecipientInfo::Kari(agreed), Key::P256(key)) => {
            let OriginatorIdentifierOrKey::OriginatorKey(peer) = &agreed.originator else {
                return None;
            };
            let peer = UnparsedPublicKey::new(&ECDH_P256, peer.public_key.as_bytes()?);
            let secret = agreement::agree(key, peer, (), |secret| Ok(secret.to_vec())).ok()?;
            let wrapped = agreed.recipient_enc_keys.first()?.enc_key.as_bytes();
            let kek = AesKek::new(&key_wrap::AES_256, derive(&secret).as_ref()).ok()?;
            let mut room = [0; 32];
            Some(kek.unwrap(wrapped, &mut room).ok()?.to_vec())
        }
        _ => None,
    }
}

/// ANSI X9.63 with SHA-256, for AES-256 key wrap (RFC 5753 section 7.2): the shared information in DER as it always is.
fn derive(secret: &[u8]) -> digest::Digest {
    const SHARED: [u8; 23] = [
        0x30, 0x15, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2d, 0xa2, 0x06, 0x04,
        0x04, 0x00, 0x00, 0x01, 0x00,
    ];
    digest::digest(&SHA256, &[secret, &[0, 0, 0, 1], &SHARED].concat())
}
