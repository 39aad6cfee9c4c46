//! KMS through the real SDK client.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey};
use aws_sdk_kms::Client;
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    DataKeySpec, KeySpec, KeyState, KeyUsageType, MacAlgorithmSpec, MessageType, SigningAlgorithmSpec,
};
use sealpost_core::clock::Clock;
use serde_json::json;

use crate::aws::testing::{code, folder, memory, sdk};
use crate::aws::wire::Aws;

const DAY_MS: i64 = 86_400_000;

fn kms(aws: &Arc<Aws>) -> Client {
    Client::new(&sdk(aws, None))
}

async fn key(client: &Client, spec: KeySpec, usage: KeyUsageType) -> String {
    let made = client
        .create_key()
        .key_spec(spec)
        .key_usage(usage)
        .send()
        .await
        .unwrap();
    made.key_metadata.unwrap().arn.unwrap()
}

async fn symmetric(client: &Client) -> String {
    key(client, KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await
}

fn context(tenant: &str) -> Option<HashMap<String, String>> {
    Some(HashMap::from([
        ("tenant".to_owned(), tenant.to_owned()),
        ("purpose".to_owned(), "mail".to_owned()),
    ]))
}

#[tokio::test]
async fn a_ciphertext_opens_only_as_it_was_and_in_its_context() {
    let client = kms(&memory());
    let arn = symmetric(&client).await;
    let other = symmetric(&client).await;
    let sealed = client
        .encrypt()
        .key_id(&arn)
        .plaintext(Blob::new("text"))
        .set_encryption_context(context("a"))
        .send()
        .await;
    let sealed = sealed.unwrap().ciphertext_blob.unwrap().into_inner();
    let open = |blob: Vec<u8>, tenant: &str| {
        client
            .decrypt()
            .ciphertext_blob(Blob::new(blob))
            .set_encryption_context(context(tenant))
            .send()
    };
    let opened = open(sealed.clone(), "a").await.unwrap();
    assert_eq!(opened.plaintext.unwrap().into_inner(), b"text");
    assert_eq!(opened.key_id.unwrap(), arn);
    assert_eq!(code(open(sealed.clone(), "b").await), "InvalidCiphertextException");
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(
            code(open(changed, "a").await),
            "InvalidCiphertextException",
            "byte {at}"
        );
    }
    for length in 1..sealed.len() {
        assert_eq!(
            code(open(sealed[..length].to_vec(), "a").await),
            "InvalidCiphertextException",
            "{length} bytes"
        );
    }
    let named = client
        .decrypt()
        .key_id(other)
        .ciphertext_blob(Blob::new(sealed))
        .set_encryption_context(context("a"));
    assert_eq!(code(named.send().await), "IncorrectKeyException");
}

#[tokio::test]
async fn a_data_key_and_a_re_encrypted_one_are_the_same_key() {
    let client = kms(&memory());
    let (first, second) = (symmetric(&client).await, symmetric(&client).await);
    let made = client
        .generate_data_key()
        .key_id(&first)
        .key_spec(DataKeySpec::Aes256)
        .set_encryption_context(context("a"));
    let made = made.send().await.unwrap();
    let plain = made.plaintext.unwrap().into_inner();
    assert_eq!(plain.len(), 32);
    let moved = client
        .re_encrypt()
        .ciphertext_blob(made.ciphertext_blob.unwrap())
        .set_source_encryption_context(context("a"));
    let moved = moved
        .destination_key_id(&second)
        .set_destination_encryption_context(context("b"))
        .send()
        .await
        .unwrap();
    let opened = client
        .decrypt()
        .ciphertext_blob(moved.ciphertext_blob.unwrap())
        .set_encryption_context(context("b"));
    let opened = opened.send().await.unwrap();
    assert_eq!(opened.plaintext.unwrap().into_inner(), plain);
    assert_eq!(opened.key_id.unwrap(), second);
    let hidden = client
        .generate_data_key_without_plaintext()
        .key_id(&first)
        .number_of_bytes(24)
        .send()
        .await
        .unwrap();
    let opened = client
        .decrypt()
        .ciphertext_blob(hidden.ciphertext_blob.unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(opened.plaintext.unwrap().into_inner().len(), 24);
}

#[tokio::test]
async fn a_key_answers_to_four_names_and_goes_through_its_states() {
    let aws = memory();
    let client = kms(&aws);
    let arn = symmetric(&client).await;
    let id = arn.rsplit('/').next().unwrap().to_owned();
    client
        .create_alias()
        .alias_name("alias/mail")
        .target_key_id(&id)
        .send()
        .await
        .unwrap();
    let alias_arn = "arn:aws:kms:us-east-1:000000000000:alias/mail";
    for name in [arn.as_str(), &id, "alias/mail", alias_arn] {
        let described = client.describe_key().key_id(name).send().await.unwrap();
        assert_eq!(described.key_metadata.unwrap().arn.unwrap(), arn, "{name}");
    }
    for name in [
        "alias/none",
        "00000000-0000-0000-0000-000000000000",
        "arn:aws:kms:us-east-1:111111111111:key/x",
    ] {
        assert_eq!(
            code(client.describe_key().key_id(name).send().await),
            "NotFoundException"
        );
    }
    let encrypt = || client.encrypt().key_id(&arn).plaintext(Blob::new("x")).send();
    let sealed = encrypt().await.unwrap().ciphertext_blob.unwrap();
    let decrypt = || client.decrypt().ciphertext_blob(sealed.clone()).send();

    client.disable_key().key_id(&arn).send().await.unwrap();
    assert_eq!(code(encrypt().await), "DisabledException");
    assert_eq!(code(decrypt().await), "DisabledException");
    client.enable_key().key_id(&arn).send().await.unwrap();
    decrypt().await.unwrap();

    for days in [6, 31] {
        let call = client
            .schedule_key_deletion()
            .key_id(&arn)
            .pending_window_in_days(days)
            .send()
            .await;
        assert_eq!(code(call), "ValidationException", "{days}");
    }
    client
        .schedule_key_deletion()
        .key_id(&arn)
        .pending_window_in_days(7)
        .send()
        .await
        .unwrap();
    assert_eq!(code(decrypt().await), "KMSInvalidStateException");
    assert_eq!(
        code(client.enable_key().key_id(&arn).send().await),
        "KMSInvalidStateException"
    );
    aws.clock.advance_ms(7 * DAY_MS - 60_000);
    client.cancel_key_deletion().key_id(&arn).send().await.unwrap();
    let state = client
        .describe_key()
        .key_id(&arn)
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap()
        .key_state;
    assert_eq!(state, Some(KeyState::Disabled));
    client.enable_key().key_id(&arn).send().await.unwrap();
    decrypt().await.unwrap();

    client
        .schedule_key_deletion()
        .key_id(&arn)
        .pending_window_in_days(7)
        .send()
        .await
        .unwrap();
    aws.clock.advance_ms(7 * DAY_MS);
    assert_eq!(code(decrypt().await), "NotFoundException");
    assert_eq!(
        code(client.describe_key().key_id("alias/mail").send().await),
        "NotFoundException"
    );
    assert!(client.list_aliases().send().await.unwrap().aliases().is_empty());
}

#[tokio::test]
async fn signatures_hold_under_the_public_key_that_is_given_out() {
    let client = kms(&memory());
    let message = b"message";
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message)
        .as_ref()
        .to_vec();
    let p256 = key(&client, KeySpec::EccNistP256, KeyUsageType::SignVerify).await;
    let ed25519 = key(&client, KeySpec::EccNistEdwards25519, KeyUsageType::SignVerify).await;
    let (ecdsa, eddsa) = (SigningAlgorithmSpec::EcdsaSha256, SigningAlgorithmSpec::Ed25519Sha512);
    for (arn, algorithm, kind, input) in [
        (&p256, &ecdsa, MessageType::Raw, message.to_vec()),
        (&p256, &ecdsa, MessageType::Digest, digest.clone()),
        (&ed25519, &eddsa, MessageType::Raw, message.to_vec()),
    ] {
        let sign = client
            .sign()
            .key_id(arn)
            .message(Blob::new(input.clone()))
            .message_type(kind.clone());
        let signature = sign
            .signing_algorithm(algorithm.clone())
            .send()
            .await
            .unwrap()
            .signature
            .unwrap();
        let public = client
            .get_public_key()
            .key_id(arn)
            .send()
            .await
            .unwrap()
            .public_key
            .unwrap()
            .into_inner();
        let verification: &'static dyn aws_lc_rs::signature::VerificationAlgorithm = if arn == &p256 {
            &ECDSA_P256_SHA256_ASN1
        } else {
            &ED25519
        };
        let public = ParsedPublicKey::new(verification, public).unwrap();
        public.verify_sig(message, signature.as_ref()).unwrap();
        let verify = |message: Vec<u8>| {
            let verify = client
                .verify()
                .key_id(arn)
                .message(Blob::new(message))
                .message_type(kind.clone());
            verify
                .signature(signature.clone())
                .signing_algorithm(algorithm.clone())
                .send()
        };
        assert!(verify(input.clone()).await.unwrap().signature_valid);
        let mut other = input;
        other[0] ^= 1;
        assert_eq!(code(verify(other).await), "KMSInvalidSignatureException");
    }
    let sign = |arn: &str, kind, bytes: Vec<u8>, algorithm: &SigningAlgorithmSpec| {
        client
            .sign()
            .key_id(arn)
            .message(Blob::new(bytes))
            .message_type(kind)
            .signing_algorithm(algorithm.clone())
            .send()
    };
    assert_eq!(
        code(sign(&p256, MessageType::Digest, vec![1; 31], &ecdsa).await),
        "ValidationException"
    );
    assert_eq!(
        code(sign(&ed25519, MessageType::Digest, digest, &eddsa).await),
        "ValidationException"
    );
    assert_eq!(
        code(sign(&p256, MessageType::Raw, vec![1], &eddsa).await),
        "InvalidKeyUsageException"
    );
    assert_eq!(
        code(sign(&symmetric(&client).await, MessageType::Raw, vec![1], &ecdsa).await),
        "InvalidKeyUsageException"
    );
}

#[tokio::test]
async fn macs_hold_for_their_message_only() {
    let client = kms(&memory());
    let arn = key(&client, KeySpec::Hmac256, KeyUsageType::GenerateVerifyMac).await;
    let algorithm = MacAlgorithmSpec::HmacSha256;
    let mac = client
        .generate_mac()
        .key_id(&arn)
        .message(Blob::new("a"))
        .mac_algorithm(algorithm.clone())
        .send()
        .await;
    let mac = mac.unwrap().mac.unwrap();
    let verify = |message: &str| {
        client
            .verify_mac()
            .key_id(&arn)
            .message(Blob::new(message))
            .mac(mac.clone())
            .mac_algorithm(algorithm.clone())
            .send()
    };
    assert!(verify("a").await.unwrap().mac_valid);
    assert_eq!(code(verify("b").await), "KMSInvalidMacException");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let client = kms(&memory());
    let arn = symmetric(&client).await;
    let dry = client
        .encrypt()
        .key_id(&arn)
        .plaintext(Blob::new("x"))
        .dry_run(true)
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        dry.message(),
        Some("KMS Encrypt: parameter DryRun is not implemented by the local AWS")
    );
    let grant = client
        .encrypt()
        .key_id(&arn)
        .plaintext(Blob::new("x"))
        .grant_tokens("t")
        .send()
        .await
        .unwrap_err();
    assert!(grant.message().unwrap().contains("GrantTokens"));
    let stores = client.describe_custom_key_stores().send().await.unwrap_err();
    assert_eq!(stores.code(), Some("NotImplemented"));
    assert!(stores.message().unwrap().contains("DescribeCustomKeyStores"));
    let rsa = client
        .create_key()
        .key_spec(KeySpec::Rsa2048)
        .key_usage(KeyUsageType::SignVerify)
        .send()
        .await;
    assert!(rsa.unwrap_err().message().unwrap().contains("RSA_2048"));
}

#[tokio::test]
async fn an_operation_on_the_key_itself_takes_no_alias() {
    let aws = memory();
    let client = kms(&aws);
    let arn = symmetric(&client).await;
    let alias = "alias/mail";
    client
        .create_alias()
        .alias_name(alias)
        .target_key_id(&arn)
        .send()
        .await
        .unwrap();
    for (operation, more) in [
        ("EnableKey", json!({})),
        ("DisableKey", json!({})),
        ("ScheduleKeyDeletion", json!({})),
        ("CancelKeyDeletion", json!({})),
        ("UpdateKeyDescription", json!({"Description": "x"})),
        ("PutKeyPolicy", json!({"Policy": "{}"})),
        ("GetKeyPolicy", json!({})),
        ("EnableKeyRotation", json!({})),
        ("DisableKeyRotation", json!({})),
        ("GetKeyRotationStatus", json!({})),
        ("TagResource", json!({"Tags": []})),
        ("UntagResource", json!({"TagKeys": []})),
        ("ListResourceTags", json!({})),
        ("ListAliases", json!({})),
    ] {
        for alias in [alias.to_owned(), crate::aws::arn::of("kms", alias)] {
            let mut body = more.clone();
            body["KeyId"] = json!(alias);
            let refused = aws.kms.call(operation, body).await.unwrap_err();
            assert_eq!(refused.code, "NotFoundException", "{operation} {alias}");
        }
    }
    client
        .encrypt()
        .key_id(alias)
        .plaintext(Blob::new("x"))
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn tags_policies_rotation_and_pages() {
    let client = kms(&memory());
    let arn = symmetric(&client).await;
    let tag = |name: &str| {
        aws_sdk_kms::types::Tag::builder()
            .tag_key(name)
            .tag_value("v")
            .build()
            .unwrap()
    };
    client
        .tag_resource()
        .key_id(&arn)
        .tags(tag("a"))
        .tags(tag("b"))
        .send()
        .await
        .unwrap();
    client.untag_resource().key_id(&arn).tag_keys("a").send().await.unwrap();
    let tags = client.list_resource_tags().key_id(&arn).send().await.unwrap();
    assert_eq!(tags.tags().iter().map(|tag| tag.tag_key()).collect::<Vec<_>>(), ["b"]);
    client
        .put_key_policy()
        .key_id(&arn)
        .policy("{\"Version\":\"x\"}")
        .send()
        .await
        .unwrap();
    let policy = client.get_key_policy().key_id(&arn).send().await.unwrap().policy;
    assert_eq!(policy.as_deref(), Some("{\"Version\":\"x\"}"));
    client.enable_key_rotation().key_id(&arn).send().await.unwrap();
    let status = client.get_key_rotation_status().key_id(&arn).send().await.unwrap();
    assert!(status.key_rotation_enabled);
    let due = client.schedule_key_deletion().key_id(&arn).send().await.unwrap();
    assert_eq!(due.key_state(), Some(&KeyState::PendingDeletion));
    let status = client.get_key_rotation_status().key_id(&arn).send().await.unwrap();
    assert!(!status.key_rotation_enabled && status.next_rotation_date.is_none());
    client.cancel_key_deletion().key_id(&arn).send().await.unwrap();
    let status = client.get_key_rotation_status().key_id(&arn).send().await.unwrap();
    assert!(status.key_rotation_enabled);
    let made = client.create_key().policy("none").send().await;
    assert_eq!(code(made), "MalformedPolicyDocumentException");
    let signing = key(&client, KeySpec::EccNistP256, KeyUsageType::SignVerify).await;
    assert_eq!(
        code(client.enable_key_rotation().key_id(&signing).send().await),
        "UnsupportedOperationException"
    );
    symmetric(&client).await;
    let first = client.list_keys().limit(2).send().await.unwrap();
    assert!(first.truncated);
    let second = client
        .list_keys()
        .limit(2)
        .marker(first.next_marker.unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!((second.keys.unwrap().len(), second.truncated), (1, false));
}

#[tokio::test]
async fn keys_survive_a_reopening() {
    let folder = folder("kms");
    let sealed = {
        let aws = Aws::open(Some(&folder), Clock::system()).unwrap();
        let client = kms(&aws);
        let arn = symmetric(&client).await;
        client
            .create_alias()
            .alias_name("alias/kept")
            .target_key_id(&arn)
            .send()
            .await
            .unwrap();
        client
            .encrypt()
            .key_id(&arn)
            .plaintext(Blob::new("kept"))
            .send()
            .await
            .unwrap()
            .ciphertext_blob
            .unwrap()
    };
    let client = kms(&Aws::open(Some(&folder), Clock::system()).unwrap());
    let opened = client
        .decrypt()
        .key_id("alias/kept")
        .ciphertext_blob(sealed)
        .send()
        .await
        .unwrap();
    assert_eq!(opened.plaintext.unwrap().into_inner(), b"kept");
    std::fs::remove_dir_all(folder).unwrap();
}
