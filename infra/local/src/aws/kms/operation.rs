//! What is done with keys: data keys, encryption, signatures, MACs.

use serde_json::{Value, json};

use super::key::Key;
use super::material::{self, Context, Header, Message, Spec};
use super::{Call, secret, validation};
use crate::aws::error::AwsError;
use crate::aws::parameters::Blob;

/// The most that Encrypt, Sign and GenerateMac take, in bytes (KMS API Reference).
const MOST_BYTES: usize = 4096;
/// The most random bytes in one answer (KMS API Reference).
const MOST_RANDOM: usize = 1024;
const SYMMETRIC: &str = "SYMMETRIC_DEFAULT";

impl Call<'_> {
    pub(super) fn generate_random(mut self) -> Result<Value, AwsError> {
        let n = self.given.required("NumberOfBytes")?;
        self.given.finish()?;
        Ok(json!({ "Plaintext": Blob(material::random_bytes(in_range(n)?)?) }))
    }

    pub(super) fn generate_data_key(mut self, with_plaintext: bool) -> Result<Value, AwsError> {
        let key = self.key("KeyId")?.usable("ENCRYPT_DECRYPT", "GenerateDataKey")?;
        let spec: Option<String> = self.given.optional("KeySpec")?;
        let n: Option<usize> = self.given.optional("NumberOfBytes")?;
        let context = self.context("EncryptionContext")?;
        let n = match (spec.as_deref(), n) {
            (Some("AES_256"), None) => 32,
            (Some("AES_128"), None) => 16,
            (None, Some(n)) => in_range(n)?,
            _ => {
                return Err(validation(
                    "Exactly one of KeySpec (AES_256 or AES_128) and NumberOfBytes is needed.",
                ));
            }
        };
        let plaintext = material::random_bytes(n)?;
        let sealed = material::seal(&secret(self.tx)?, &key.id, &key.material, &context, &plaintext)?;
        self.given.finish()?;
        let mut answer = json!({ "KeyId": key.arn(), "CiphertextBlob": Blob(sealed) });
        if let (true, Some(answer)) = (with_plaintext, answer.as_object_mut()) {
            answer.insert("Plaintext".to_owned(), json!(Blob(plaintext)));
        }
        Ok(answer)
    }

    pub(super) fn encrypt(mut self) -> Result<Value, AwsError> {
        let key = self.key("KeyId")?.usable("ENCRYPT_DECRYPT", "Encrypt")?;
        let Blob(plaintext) = self.given.required("Plaintext")?;
        let context = self.context("EncryptionContext")?;
        self.symmetric("EncryptionAlgorithm")?;
        self.given.finish()?;
        let plaintext = limited(plaintext, "Plaintext")?;
        let sealed = material::seal(&secret(self.tx)?, &key.id, &key.material, &context, &plaintext)?;
        Ok(json!({ "KeyId": key.arn(), "CiphertextBlob": Blob(sealed), "EncryptionAlgorithm": SYMMETRIC }))
    }

    pub(super) fn decrypt(mut self) -> Result<Value, AwsError> {
        let (key, plaintext) = self.opened("KeyId", "EncryptionContext")?;
        self.symmetric("EncryptionAlgorithm")?;
        self.given.finish()?;
        Ok(json!({ "KeyId": key.arn(), "Plaintext": Blob(plaintext), "EncryptionAlgorithm": SYMMETRIC }))
    }

    pub(super) fn re_encrypt(mut self) -> Result<Value, AwsError> {
        let (from, plaintext) = self.opened("SourceKeyId", "SourceEncryptionContext")?;
        let to = self.key("DestinationKeyId")?.usable("ENCRYPT_DECRYPT", "ReEncrypt")?;
        let context = self.context("DestinationEncryptionContext")?;
        self.symmetric("SourceEncryptionAlgorithm")?;
        self.symmetric("DestinationEncryptionAlgorithm")?;
        self.given.finish()?;
        let sealed = material::seal(&secret(self.tx)?, &to.id, &to.material, &context, &plaintext)?;
        Ok(json!({
            "CiphertextBlob": Blob(sealed),
            "SourceKeyId": from.arn(),
            "KeyId": to.arn(),
            "SourceEncryptionAlgorithm": SYMMETRIC,
            "DestinationEncryptionAlgorithm": SYMMETRIC,
        }))
    }

    pub(super) fn sign(mut self) -> Result<Value, AwsError> {
        let key = self.key("KeyId")?.usable("SIGN_VERIFY", "Sign")?;
        let (message, is_digest, algorithm) = self.message_to_sign(&key)?;
        self.given.finish()?;
        let signature = material::sign(key.spec, &key.material, wrap(&message, is_digest))?;
        Ok(json!({ "KeyId": key.arn(), "Signature": Blob(signature), "SigningAlgorithm": algorithm }))
    }

    pub(super) fn verify(mut self) -> Result<Value, AwsError> {
        let key = self.key("KeyId")?.usable("SIGN_VERIFY", "Verify")?;
        let (message, is_digest, algorithm) = self.message_to_sign(&key)?;
        let Blob(signature) = self.given.required("Signature")?;
        self.given.finish()?;
        if !material::verifies(key.spec, &key.material, wrap(&message, is_digest), &signature)? {
            return Err(AwsError::bad_request(
                "KMSInvalidSignatureException",
                "The signature does not hold.",
            ));
        }
        Ok(json!({ "KeyId": key.arn(), "SignatureValid": true, "SigningAlgorithm": algorithm }))
    }

    pub(super) fn get_public_key(mut self) -> Result<Value, AwsError> {
        let key = self.key("KeyId")?.enabled()?;
        self.given.finish()?;
        if !matches!(key.spec, Spec::P256 | Spec::Ed25519) {
            let message = format!("{} is not an asymmetric key.", key.arn());
            return Err(AwsError::bad_request("UnsupportedOperationException", message));
        }
        let (list, algorithm) = key.spec.algorithms();
        Ok(json!({
            "KeyId": key.arn(),
            "PublicKey": Blob(material::public_key(key.spec, &key.material)?),
            "KeySpec": key.spec.as_str(),
            "CustomerMasterKeySpec": key.spec.as_str(),
            "KeyUsage": key.spec.usage(),
            list: [algorithm],
        }))
    }

    pub(super) fn generate_mac(mut self) -> Result<Value, AwsError> {
        let key = self.key("KeyId")?.usable("GENERATE_VERIFY_MAC", "GenerateMac")?;
        let (message, algorithm) = self.message_for_mac(&key)?;
        self.given.finish()?;
        Ok(json!({
            "KeyId": key.arn(), "Mac": Blob(material::mac(&key.material, &message)), "MacAlgorithm": algorithm
        }))
    }

    pub(super) fn verify_mac(mut self) -> Result<Value, AwsError> {
        let key = self.key("KeyId")?.usable("GENERATE_VERIFY_MAC", "VerifyMac")?;
        let (message, algorithm) = self.message_for_mac(&key)?;
        let Blob(mac) = self.given.required("Mac")?;
        self.given.finish()?;
        if !material::mac_verifies(&key.material, &message, &mac) {
            return Err(AwsError::bad_request(
                "KMSInvalidMacException",
                "The MAC does not hold.",
            ));
        }
        Ok(json!({ "KeyId": key.arn(), "MacValid": true, "MacAlgorithm": algorithm }))
    }

    /// Opens `CiphertextBlob`, whose key has to be the one that the caller names, if one is named.
    fn opened(&mut self, key_name: &str, context_name: &str) -> Result<(Key, Vec<u8>), AwsError> {
        let Blob(ciphertext) = self.given.required("CiphertextBlob")?;
        let named: Option<String> = self.given.optional(key_name)?;
        let context = self.context(context_name)?;
        let named = named.map(|reference| Key::find(self.tx, &reference)?.usable("ENCRYPT_DECRYPT", "Decrypt"));
        let named = named.transpose()?;
        let header = Header::read(&secret(self.tx)?, &ciphertext)?;
        if named.is_some_and(|named| named.id != header.key_id()) {
            let message = "The key ID in the request does not identify a CMK that can perform this operation.";
            return Err(AwsError::bad_request("IncorrectKeyException", message));
        }
        let key = Key::find(self.tx, &header.key_id())?.usable("ENCRYPT_DECRYPT", "Decrypt")?;
        let plaintext = material::open(&header, &key.material, &context, &ciphertext)?;
        Ok((key, plaintext))
    }

    fn context(&mut self, name: &str) -> Result<Context, AwsError> {
        Ok(self.given.optional(name)?.unwrap_or_default())
    }

    fn symmetric(&mut self, name: &str) -> Result<(), AwsError> {
        match self.given.optional::<String>(name)?.as_deref() {
            None | Some(SYMMETRIC) => Ok(()),
            Some(_) => Err(AwsError::bad_request(
                "InvalidKeyUsageException",
                format!("{name} is not an algorithm of a symmetric key."),
            )),
        }
    }

    /// The message, whether it is a digest, and the algorithm, which has to be the key's.
    fn message_to_sign(&mut self, key: &Key) -> Result<(Vec<u8>, bool, String), AwsError> {
        let Blob(message) = self.given.required("Message")?;
        let kind: Option<String> = self.given.optional("MessageType")?;
        let algorithm = self.algorithm("SigningAlgorithm", key)?;
        let is_digest = match kind.as_deref() {
            None | Some("RAW") => false,
            Some("DIGEST") if key.spec == Spec::Ed25519 => {
                return Err(validation("ED25519_SHA_512 signs messages of type RAW only."));
            }
            Some("DIGEST") => true,
            Some(_) => {
                return Err(AwsError::not_implemented(
                    "KMS Sign: MessageType other than RAW and DIGEST",
                ));
            }
        };
        Ok((limited(message, "Message")?, is_digest, algorithm))
    }

    fn message_for_mac(&mut self, key: &Key) -> Result<(Vec<u8>, String), AwsError> {
        let Blob(message) = self.given.required("Message")?;
        let algorithm = self.algorithm("MacAlgorithm", key)?;
        Ok((limited(message, "Message")?, algorithm))
    }

    fn algorithm(&mut self, name: &str, key: &Key) -> Result<String, AwsError> {
        let algorithm: String = self.given.required(name)?;
        if algorithm == "ED25519_PH_SHA_512" && key.spec == Spec::Ed25519 {
            return Err(AwsError::not_implemented("KMS: SigningAlgorithm ED25519_PH_SHA_512"));
        }
        if algorithm == key.spec.algorithms().1 {
            return Ok(algorithm);
        }
        let message = format!("{name} is incompatible with key spec {}.", key.spec.as_str());
        Err(AwsError::bad_request("InvalidKeyUsageException", message))
    }
}

const fn wrap(message: &[u8], is_digest: bool) -> Message<'_> {
    if is_digest {
        Message::Digest(message)
    } else {
        Message::Raw(message)
    }
}

fn limited(bytes: Vec<u8>, name: &str) -> Result<Vec<u8>, AwsError> {
    if (1..=MOST_BYTES).contains(&bytes.len()) {
        Ok(bytes)
    } else {
        Err(validation(format!(
            "{name} must have between 1 and {MOST_BYTES} bytes."
        )))
    }
}

fn in_range(n: usize) -> Result<usize, AwsError> {
    if (1..=MOST_RANDOM).contains(&n) {
        Ok(n)
    } else {
        Err(validation(format!(
            "NumberOfBytes must be between 1 and {MOST_RANDOM}."
        )))
    }
}
