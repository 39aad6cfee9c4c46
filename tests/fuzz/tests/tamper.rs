//! Promise (tampering): whatever one octet of a sealed thing is changed to, the change is noticed, and nothing of the content
//! is let out.
//!
//! OpenPGP and S/MIME mail is opened in this process, as a client does it, so that thousands of changes can be tried; gpg
//! and openssl try some dozens of their own. AES-256-CBC is left out: it cannot notice (README, "What it does not prove").

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, Output};

use aws_lc_rs::hmac;
use pgp::composed::EncryptionCaps;
use pgp::composed::{Deserializable, KeyType, Message, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder};
use pgp::types::{KeyVersion, Password};
use sealpost_codec::address::Address;
use sealpost_codec::envelope::{self, WrappingKey};
use sealpost_codec::openpgp::{self, Certificate};
use sealpost_codec::smime::{self, ContentCipher};
use sealpost_core::fuzz;
use sealpost_fuzz::mutate::Numbers;
use sealpost_fuzz::smime_open::{Recipient, open};
use zeroize::Zeroizing;

const NOW_S: i64 = 1_800_000_000;
const TEXT: &[u8] = b"Content-Type: text/plain\r\n\r\ncanary-tamper-7c1f: your results are in order.\r\n";

fn rosa() -> Address {
    Address::parse("rosa@keys.test").unwrap()
}

/// A thing with one octet changed; where and to what comes from a seed, every place once before any comes again.
fn changes(sealed: &[u8], n: usize) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let mut numbers = Numbers::new(24);
    (0..n).map(move |round| {
        let place = match round < sealed.len() {
            true => round,
            false => numbers.below(sealed.len()),
        };
        let mut changed = sealed.to_vec();
        changed[place] ^= u8::try_from(1 + numbers.below(255)).unwrap();
        (place, changed)
    })
}

/// The octets of an armored message.
fn binary(armored: &str) -> Vec<u8> {
    let mut binary = Vec::new();
    std::io::Read::read_to_end(&mut pgp::armor::Dearmor::new(armored.as_bytes()), &mut binary).unwrap();
    binary
}

/// What a reader that checks shows: the content when all of it is whole, else nothing. The product itself reads no OpenPGP;
/// the library's reader panics at some lengths that make no sense, which is an end without content too.
fn opened(message: &[u8], secret: &SignedSecretKey) -> Option<Vec<u8>> {
    let read = || {
        let message = Message::from_bytes(message).ok()?;
        message.decrypt(&Password::empty(), secret).ok()?.as_data_vec().ok()
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_default()
}

fn version_6() -> (SignedSecretKey, Certificate) {
    let subkey = SubkeyParamsBuilder::default()
        .version(KeyVersion::V6)
        .key_type(KeyType::X25519)
        .can_encrypt(EncryptionCaps::All)
        .build()
        .unwrap();
    let mut key = SecretKeyParamsBuilder::default();
    key.version(KeyVersion::V6)
        .key_type(KeyType::Ed25519)
        .can_certify(true)
        .primary_user_id("Rosa <rosa@keys.test>".into())
        .feature_seipd_v2(true)
        .subkey(subkey);
    let secret = key.build().unwrap().generate(rand_core::OsRng).unwrap();
    let public = pgp::ser::Serialize::to_bytes(&secret.to_public_key()).unwrap();
    let certificate = Certificate::import(&public, &rosa(), i64::from(u32::MAX)).unwrap();
    (secret, certificate)
}

#[test]
fn a_changed_openpgp_message_does_not_open() {
    let version_4 = SignedSecretKey::from_bytes(&include_bytes!("../keys/openpgp.secret.pgp")[..]).unwrap();
    let certificate = Certificate::import(include_bytes!("../keys/openpgp.pgp"), &rosa(), NOW_S).unwrap();
    let one = openpgp::encrypt(TEXT, &certificate, NOW_S).unwrap();
    let (version_6, certificate) = version_6();
    let two = openpgp::encrypt(TEXT, &certificate, i64::from(u32::MAX)).unwrap();
    let (mut n_tried, mut n_harmless) = (0, 0);
    for (armored, secret) in [(one, version_4), (two, version_6)] {
        let sealed = binary(&armored);
        assert_eq!(opened(&sealed, &secret).as_deref(), Some(TEXT));
        for (place, changed) in changes(&sealed, 1_500) {
            n_tried += 1;
            if let Some(content) = opened(&changed, &secret) {
                // Not part of what is protected: the key id that is only a hint, and the top bit of an X25519 key, which
                // RFC 7748 section 5 has readers ignore. The content is whole.
                assert_eq!(content, TEXT, "octet {place}");
                assert!(place < 80, "octet {place} went unnoticed");
                n_harmless += 1;
            }
        }
    }
    println!("OpenPGP: {n_tried} changes, {n_harmless} of them to hints that no content rests on, 0 let anything out");
    assert!(n_tried == 3_000 && n_harmless < 60);
}

#[test]
fn a_changed_smime_message_in_gcm_does_not_open() {
    let mut n_tried = 0;
    for (recipient, n) in [(Recipient::p256(), 1_500), (Recipient::rsa(), 1_000)] {
        let sealed = smime::encrypt(TEXT, &recipient.certificate(), ContentCipher::Aes256Gcm).unwrap();
        assert_eq!(open(&sealed, &recipient).as_deref(), Some(TEXT));
        for (place, changed) in changes(&sealed, n) {
            n_tried += 1;
            // What names the recipient or the algorithm is no secret, and our own reader does not look at all of it.
            assert!(
                open(&changed, &recipient).is_none_or(|content| content == TEXT),
                "octet {place}"
            );
        }
        // The content itself, its tag and its nonce.
        let inside = sealed.len() - TEXT.len() - 16;
        for place in inside..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(open(&changed, &recipient), None, "octet {place}");
            n_tried += 1;
        }
    }
    println!("S/MIME in GCM: {n_tried} changes, 0 let anything out");
    assert!(n_tried >= 2_500);
}

#[test]
fn a_changed_archive_envelope_does_not_open() {
    let key = WrappingKey {
        namespace: "sealpost".to_owned(),
        name: "rec_1".to_owned(),
        key: Zeroizing::new([3; 32]),
    };
    let context = BTreeMap::from([("tenant".to_owned(), "ten_1".to_owned())]);
    let mut n_tried = 0;
    for plain in [TEXT.to_vec(), TEXT.repeat(120)] {
        let sealed = envelope::seal(&key, &context, &plain).unwrap();
        for (place, changed) in changes(&sealed, 3_000) {
            assert!(envelope::open(&key, &context, &changed).is_err(), "octet {place}");
            n_tried += 1;
        }
    }
    println!("archive envelope: {n_tried} changes, 0 taken");
    assert_eq!(n_tried, 6_000);
}

#[test]
fn a_changed_token_is_refused() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[4; 32]);
    let mut n_tried = 0;
    // A link: three ids, a number, and the first half of a keyed hash over them.
    let named = [5_u8; 50];
    let proved = hmac::sign(&key, &named);
    let tag: [u8; 16] = proved.as_ref()[..16].try_into().unwrap();
    let encode = |octets: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, octets);
    let token = encode(&[&named[..], &tag].concat());
    assert_eq!(fuzz::link_token(&token), Some((named, tag)));
    for (place, changed) in changes(token.as_bytes(), 1_000) {
        n_tried += 1;
        let Some((named, tag)) = std::str::from_utf8(&changed).ok().and_then(fuzz::link_token) else {
            continue;
        };
        let proved = hmac::sign(&key, &named);
        assert_ne!(proved.as_ref()[..16], tag, "octet {place}");
    }
    // A portal message's link: what it names or its secret is another one.
    let token = encode(&[6; 64]);
    let good = fuzz::pickup_token(&token).unwrap();
    for (place, changed) in changes(token.as_bytes(), 1_000) {
        n_tried += 1;
        let read = std::str::from_utf8(&changed).ok().and_then(fuzz::pickup_token);
        assert!(read.is_none_or(|read| read != good), "octet {place}");
    }
    println!("tokens: {n_tried} changes, 0 taken");
    assert_eq!(n_tried, 2_000);
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("sealpost-tamper-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self(path)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.0)
            .env("GNUPGHOME", &self.0)
            .output();
        output.unwrap_or_else(|error| panic!("{program} cannot be run ({error}); use tests/run, which installs it"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.run("gpgconf", &["--kill", "all"]);
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn gpg_and_openssl_notice_it_too() {
    let folder = Folder::new();
    let keys = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("keys");
    let key = |name: &str| keys.join(name).to_str().unwrap().to_owned();
    let batch = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""];
    let gpg = |more: &[&str]| folder.run("gpg", &[&batch[..], more].concat());
    assert!(gpg(&["--import", &key("openpgp.secret.pgp")]).status.success());
    let certificate = Certificate::import(include_bytes!("../keys/openpgp.pgp"), &rosa(), NOW_S).unwrap();
    let sealed = binary(&openpgp::encrypt(TEXT, &certificate, NOW_S).unwrap());
    let decrypt = ["--status-fd", "2", "--decrypt", "message"];
    let is_whole = |output: &Output| {
        output.status.success() && String::from_utf8_lossy(&output.stderr).contains("[GNUPG:] DECRYPTION_OKAY")
    };
    let good = {
        fs::write(folder.0.join("message"), &sealed).unwrap();
        gpg(&decrypt)
    };
    assert!(
        is_whole(&good) && good.stdout == TEXT,
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    let n_tries = 30;
    for n in 0..n_tries {
        // Behind the packet with the session key, whose key id is a hint.
        let place = sealed.len() - 1 - n * (sealed.len() - 100) / n_tries;
        let mut changed = sealed.clone();
        changed[place] ^= 0x11;
        fs::write(folder.0.join("message"), changed).unwrap();
        assert!(!is_whole(&gpg(&decrypt)), "octet {place}");
    }
    let recipient = Recipient::rsa();
    let sealed = smime::encrypt(TEXT, &recipient.certificate(), ContentCipher::Aes256Gcm).unwrap();
    let (der, secret) = (key("smime-rsa.der"), key("smime-rsa.pk8"));
    let converted = folder.run(
        "openssl",
        &["x509", "-inform", "DER", "-in", &der, "-out", "certificate"],
    );
    assert!(converted.status.success());
    let decrypt = [
        "cms",
        "-decrypt",
        "-binary",
        "-inform",
        "DER",
        "-in",
        "message",
        "-recip",
        "certificate",
        "-inkey",
        &secret,
        "-keyform",
        "DER",
    ];
    fs::write(folder.0.join("message"), &sealed).unwrap();
    let good = folder.run("openssl", &decrypt);
    assert!(
        good.status.success() && good.stdout == TEXT,
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    for n in 0..n_tries {
        let place = sealed.len() - 1 - n * (TEXT.len() + 15) / n_tries;
        let mut changed = sealed.clone();
        changed[place] ^= 0x11;
        fs::write(folder.0.join("message"), changed).unwrap();
        assert!(!folder.run("openssl", &decrypt).status.success(), "octet {place}");
    }
    println!("gpg: {n_tries} changes, openssl: {n_tries} changes, 0 taken");
}
