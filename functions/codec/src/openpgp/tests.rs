//! GnuPG makes the keys, reads the messages and is the judge of both; nothing here is skipped when it is missing. Time
//! stands still: keys are made at `MADE`, imported at `NOW`.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgp::composed::SubkeyParamsBuilder;
use pgp::composed::{EncryptionCaps, KeyType, Message, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::types::{KeyVersion, Password, Timestamp};
use proptest::prelude::*;

use super::*;

const MADE: i64 = 1_760_000_000;
const NOW: i64 = 1_770_000_000;
const DAY: i64 = 86_400;

/// One GnuPG home directory, removed at the end together with its agent.
struct Gpg {
    home: PathBuf,
    at: i64,
}

impl Gpg {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("sealpost-gpg-{}-{number}", std::process::id()));
        std::fs::create_dir(&home).unwrap();
        std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self { home, at: MADE }
    }

    /// A home with one key; `subkeys` are pairs of algorithm and usage.
    fn with_key(user: &str, primary: &str, expiry: &str, subkeys: &[(&str, &str)]) -> Self {
        let gpg = Self::new();
        gpg.ok(&["--quick-gen-key", user, primary, "cert", expiry], b"");
        for (algorithm, usage) in subkeys {
            gpg.ok(&["--quick-add-key", &gpg.fingerprint(), algorithm, usage, "never"], b"");
        }
        gpg
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("gpg")
            .env("GNUPGHOME", &self.home)
            .args(["--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .arg(format!("--faked-system-time={}!", self.at))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("these tests need gpg");
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input).ok());
            child.wait_with_output().unwrap()
        })
    }

    fn ok(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(&[&["--batch"], arguments].concat(), input);
        assert!(
            output.status.success(),
            "gpg {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// The plaintext, if GnuPG says that it is whole. Of a message without any packet for its keys it says nothing at all
    /// and ends well.
    fn decrypted(&self, message: &[u8]) -> Option<Vec<u8>> {
        let output = self.run(&["--batch", "--status-fd", "2", "--decrypt"], message);
        let status = String::from_utf8_lossy(&output.stderr);
        (output.status.success() && status.contains("[GNUPG:] DECRYPTION_OKAY")).then_some(output.stdout)
    }

    /// Answers to the questions of `--edit-key`.
    fn edit(&self, answers: &str) {
        let output = self.run(
            &["--command-fd", "0", "--edit-key", &self.fingerprint()],
            answers.as_bytes(),
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn fingerprints(&self) -> Vec<String> {
        let listing = String::from_utf8(self.ok(&["--list-keys", "--with-colons"], b"")).unwrap();
        let lines = listing.lines().filter(|line| line.starts_with("fpr:"));
        lines.map(|line| line.split(':').nth(9).unwrap().to_owned()).collect()
    }

    fn fingerprint(&self) -> String {
        self.fingerprints().remove(0)
    }

    fn export(&self) -> Vec<u8> {
        self.ok(&["--export"], b"")
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let agent = Command::new("gpgconf")
            .env("GNUPGHOME", &self.home)
            .args(["--kill", "all"])
            .output();
        let removed = std::fs::remove_dir_all(&self.home);
        if !std::thread::panicking() {
            agent.unwrap();
            removed.unwrap();
        }
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn ana() -> Address {
    address("ana@care.test")
}

fn cv25519() -> Gpg {
    Gpg::with_key("Ana Prado <ana@care.test>", "ed25519", "never", &[("cv25519", "encr")])
}

fn import(gpg: &Gpg) -> Result<Certificate, Refusal> {
    Certificate::import(&gpg.export(), &ana(), NOW)
}

#[track_caller]
fn assert_refused(gpg: &Gpg, refusal: Refusal) {
    assert_eq!(import(gpg).err(), Some(refusal));
}

fn plaintext(n_bytes: usize) -> Vec<u8> {
    (0..n_bytes)
        .map(|index| u8::try_from(index * index % 251).unwrap())
        .collect()
}

#[test]
fn gpg_reads_what_is_sealed_to_every_kind_of_key() {
    let kinds = [
        ("rsa2048", "rsa2048", "RSA-2048"),
        ("rsa2048", "rsa3072", "RSA-3072"),
        ("ed25519", "rsa4096", "RSA-4096"),
        ("rsa3072", "cv25519", "X25519"),
        ("ed25519", "cv25519", "X25519"),
        ("nistp256", "nistp256", "P-256"),
        ("nistp384", "nistp384", "P-384"),
        ("nistp521", "nistp521", "P-521"),
    ];
    for (primary, subkey, algorithm) in kinds {
        let gpg = Gpg::with_key("Ana Prado <ana@care.test>", primary, "never", &[(subkey, "encr")]);
        let binary = gpg.export();
        let certificate = Certificate::import(&binary, &address("Ana@Care.Test"), NOW).unwrap();
        assert_eq!(certificate.algorithm(), algorithm);
        assert_eq!(
            gpg.fingerprints(),
            [certificate.fingerprint(), certificate.subkey_fingerprint()]
        );
        assert_eq!(certificate.expires_at(), None);
        assert!(!certificate.supports_seipd_v2());

        let armored = Certificate::import(&gpg.ok(&["--armor", "--export"], b""), &ana(), NOW).unwrap();
        assert_eq!(armored.to_bytes(), certificate.to_bytes());
        let stored = Certificate::from_stored(&certificate.to_bytes(), &ana()).unwrap();
        assert_eq!(stored.to_bytes(), certificate.to_bytes());
        assert_eq!(stored.fingerprint(), certificate.fingerprint());

        for n_bytes in [0, 1, 191, 20_000] {
            let sealed = encrypt(&plaintext(n_bytes), &stored, NOW).unwrap();
            let output = gpg.run(&["--batch", "--status-fd", "2", "--decrypt"], sealed.as_bytes());
            let status = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{algorithm}: {status}");
            assert_eq!(output.stdout, plaintext(n_bytes));
            assert!(status.contains("[GNUPG:] GOODMDC"), "{status}");
            // MDC method 2, cipher 9: AES with 256 bits. Binary, date 0, no file name.
            assert!(status.contains("[GNUPG:] DECRYPTION_INFO 2 9"), "{status}");
            assert!(
                status.lines().any(|line| line.trim_end() == "[GNUPG:] PLAINTEXT 62 0"),
                "{status}"
            );
        }
    }
}

#[test]
fn a_large_message_is_read_by_gpg() {
    let gpg = cv25519();
    let message = plaintext(3_000_000);
    let sealed = encrypt(&message, &import(&gpg).unwrap(), NOW).unwrap();
    assert_eq!(gpg.ok(&["--decrypt"], sealed.as_bytes()), message);
}

#[test]
fn no_two_messages_are_alike_and_a_change_is_noticed() {
    let gpg = cv25519();
    let certificate = import(&gpg).unwrap();
    let sealed = encrypt(b"the same words", &certificate, NOW).unwrap();
    assert_ne!(sealed, encrypt(b"the same words", &certificate, NOW).unwrap());

    let body = sealed.find("\n\n").unwrap() + 2;
    let footer = sealed.find("\n=").unwrap();
    let (mut n_tried, mut n_harmless) = (0, 0);
    for position in (body..footer)
        .step_by(7)
        .filter(|position| sealed.as_bytes()[*position] != b'\n')
    {
        let mut changed = sealed.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        assert!(
            !gpg.run(&["--batch", "--decrypt"], &changed).status.success(),
            "position {position}"
        );
        // Without the checksum line the encryption has to notice it by itself.
        let bare = [&changed[..=footer], b"-----END PGP MESSAGE-----\n"].concat();
        if let Some(read) = gpg.decrypted(&bare) {
            assert_eq!(read, b"the same words", "position {position}");
            n_harmless += 1;
        }
        n_tried += 1;
    }
    // X25519 ignores one bit of the ephemeral key (RFC 7748 section 5).
    assert!(
        n_tried > 20 && n_harmless <= 1,
        "{n_harmless} of {n_tried} went unnoticed"
    );
}

#[test]
fn an_expired_key_is_refused_at_import_and_at_use() {
    let day = "seconds=86400";
    let mut gpg = Gpg::with_key("ana@care.test", "ed25519", day, &[("cv25519", "encr")]);
    assert_refused(&gpg, Refusal::Expired);

    let export = gpg.export();
    let certificate = Certificate::import(&export, &ana(), MADE + DAY - 1).unwrap();
    assert_eq!(certificate.expires_at(), Some(MADE + DAY));
    assert!(encrypt(b"in time", &certificate, MADE + DAY - 1).is_ok());
    let late = EncryptError::Refused(Refusal::Expired);
    assert_eq!(encrypt(b"late", &certificate, MADE + DAY).err(), Some(late));
    let stored = Certificate::from_stored(&certificate.to_bytes(), &ana()).unwrap();
    assert_eq!(stored.expires_at(), Some(MADE + DAY));
    assert_eq!(encrypt(b"late", &stored, NOW).err(), Some(late));

    // The owner extends it.
    gpg.at = MADE + 100;
    gpg.ok(&["--quick-set-expire", &gpg.fingerprint(), "seconds=20000000"], b"");
    assert_eq!(import(&gpg).unwrap().expires_at(), Some(MADE + 100 + 20_000_000));
}

#[test]
fn an_extension_counts_and_so_does_a_shortening() {
    let mut gpg = Gpg::with_key("ana@care.test", "ed25519", "seconds=20000000", &[("cv25519", "encr")]);
    assert!(import(&gpg).is_ok());
    gpg.at = MADE + 100;
    gpg.ok(&["--quick-set-expire", &gpg.fingerprint(), "seconds=1000"], b"");
    assert_refused(&gpg, Refusal::Expired);
}

#[test]
fn a_subkey_of_its_own_expiry_limits_the_certificate() {
    let gpg = Gpg::with_key("ana@care.test", "ed25519", "never", &[]);
    gpg.ok(
        &[
            "--quick-add-key",
            &gpg.fingerprint(),
            "cv25519",
            "encr",
            "seconds=86400",
        ],
        b"",
    );
    assert_refused(&gpg, Refusal::Expired);
    let early = Certificate::import(&gpg.export(), &ana(), MADE).unwrap();
    assert_eq!(early.expires_at(), Some(MADE + DAY));
}

#[test]
fn the_newest_usable_subkey_is_chosen() {
    let mut gpg = Gpg::with_key("ana@care.test", "ed25519", "never", &[("cv25519", "encr")]);
    gpg.at = MADE + 100;
    gpg.ok(
        &["--quick-add-key", &gpg.fingerprint(), "nistp256", "encr", "never"],
        b"",
    );
    gpg.at = MADE + 200;
    gpg.ok(
        &[
            "--quick-add-key",
            &gpg.fingerprint(),
            "rsa2048",
            "encr",
            "seconds=86400",
        ],
        b"",
    );
    gpg.at = MADE + 300;
    gpg.ok(
        &["--quick-add-key", &gpg.fingerprint(), "ed25519", "sign", "never"],
        b"",
    );
    let export = gpg.export();
    let at = |now| {
        Certificate::import(&export, &ana(), now)
            .unwrap()
            .algorithm()
            .to_owned()
    };
    assert_eq!(at(MADE + 1000), "RSA-2048");
    assert_eq!(at(NOW), "P-256");
    // What was chosen stays chosen.
    let stored = Certificate::import(&export, &ana(), NOW).unwrap().to_bytes();
    assert!(stored.len() < export.len());
    assert_eq!(Certificate::from_stored(&stored, &ana()).unwrap().algorithm(), "P-256");

    gpg.at = MADE + 400;
    gpg.edit("key 2\nrevkey\ny\n0\n\ny\nsave\n");
    assert_eq!(import(&gpg).unwrap().algorithm(), "X25519");
}

#[test]
fn a_revocation_of_any_part_in_use_counts() {
    let gpg = cv25519();
    assert!(import(&gpg).is_ok());
    let path = gpg.home.join(format!("openpgp-revocs.d/{}.rev", gpg.fingerprint()));
    // GnuPG guards this file against hasty use with a colon before the armor.
    let revocation = std::fs::read_to_string(path)
        .unwrap()
        .replace(":-----BEGIN", "-----BEGIN");
    gpg.ok(&["--import"], revocation.as_bytes());
    assert_refused(&gpg, Refusal::Revoked);

    let mut gpg = cv25519();
    gpg.at = MADE + 100;
    gpg.edit("key 1\nrevkey\ny\n0\n\ny\nsave\n");
    assert_refused(&gpg, Refusal::Revoked);

    let mut gpg = cv25519();
    gpg.ok(&["--quick-add-uid", &gpg.fingerprint(), "Ana <ana@home.test>"], b"");
    gpg.at = MADE + 100;
    gpg.ok(
        &["--quick-revoke-uid", &gpg.fingerprint(), "Ana Prado <ana@care.test>"],
        b"",
    );
    assert_refused(&gpg, Refusal::Revoked);
    assert!(Certificate::import(&gpg.export(), &address("ana@home.test"), NOW).is_ok());
}

#[test]
fn an_expiry_stated_only_with_the_primary_user_id_counts() {
    let mut gpg = cv25519();
    let key = gpg.fingerprint();
    gpg.ok(&["--quick-add-uid", &key, "Ana <ana@home.test>"], b"");
    gpg.at = MADE + 100;
    gpg.ok(&["--quick-set-primary-uid", &key, "Ana <ana@home.test>"], b"");
    let before = gpg.export();
    gpg.at = MADE + 200;
    gpg.ok(&["--quick-set-expire", &key, "seconds=86400"], b"");
    let after = gpg.export();
    let (before, after) = (packets::parse(&before).unwrap(), packets::parse(&after).unwrap());
    let user = |parts: &packets::Parts<'_>, name: &str| {
        let user = parts
            .users
            .iter()
            .find(|user| user.part.value.as_str() == Some(name))
            .unwrap();
        let signatures = user
            .signatures
            .iter()
            .map(|signature| signature.raw)
            .collect::<Vec<_>>();
        [user.part.raw, &signatures.concat()].concat()
    };
    let subkey = [before.subkeys[0].part.raw, before.subkeys[0].signatures[0].raw].concat();
    let care = user(&before, "Ana Prado <ana@care.test>");
    for (home, end) in [
        (user(&before, "Ana <ana@home.test>"), None),
        (user(&after, "Ana <ana@home.test>"), Some(MADE + 200 + DAY)),
    ] {
        let joined = [before.primary.raw, &care, &home, &subkey].concat();
        let certificate = Certificate::import(&joined, &ana(), MADE + 1_000).unwrap();
        assert_eq!(certificate.expires_at(), end);
        let stored = Certificate::from_stored(&certificate.to_bytes(), &ana()).unwrap();
        assert_eq!(stored.expires_at(), end);
    }
}

#[test]
fn the_address_must_be_a_whole_user_id() {
    let cases = [
        ("ana@care.test", true),
        ("Ana Prado <ana@care.test>", true),
        ("Ana Prado (work) <ANA@CARE.TEST>", true),
        ("Ana Prado <ana@care.test.evil.example>", false),
        ("ana@care.test <mallory@evil.example>", false),
        ("<ana@care.test> Mallory <mallory@evil.example>", false),
        ("mariana@care.test", false),
        ("Ana Prado", false),
    ];
    for (user, is_accepted) in cases {
        let gpg = Gpg::new();
        let how = [
            "--allow-freeform-uid",
            "--quick-gen-key",
            user,
            "ed25519",
            "cert",
            "never",
        ];
        gpg.ok(&how, b"");
        gpg.ok(
            &["--quick-add-key", &gpg.fingerprint(), "cv25519", "encr", "never"],
            b"",
        );
        assert_eq!(
            import(&gpg).err(),
            (!is_accepted).then_some(Refusal::WrongAddress),
            "{user}"
        );
    }
}

#[test]
fn weak_and_unsuitable_keys_are_refused() {
    let refused = |primary: &str, subkeys: &[(&str, &str)]| {
        import(&Gpg::with_key("ana@care.test", primary, "never", subkeys))
            .err()
            .map(Refusal::reason)
    };
    assert_eq!(refused("ed25519", &[]), Some("no_encryption_key"));
    assert_eq!(refused("ed25519", &[("ed25519", "sign")]), Some("no_encryption_key"));
    assert_eq!(refused("rsa1024", &[("rsa2048", "encr")]), Some("weak_key"));
    assert_eq!(refused("rsa2048", &[("rsa1024", "encr")]), Some("weak_key"));
    assert_eq!(refused("dsa2048", &[("elg2048", "encr")]), Some("weak_key"));
    assert_eq!(refused("dsa2048", &[("cv25519", "encr")]), Some("weak_key"));
    assert_eq!(
        refused("ed25519", &[("brainpoolP256r1", "encr")]),
        Some("no_encryption_key")
    );
}

#[test]
fn self_signatures_with_a_broken_hash_are_refused() {
    let strong = ["--cert-digest-algo", "SHA256"];
    let weak = ["--cert-digest-algo", "SHA1"];
    for (primary, of_user, of_subkey, is_accepted) in [
        ("ed25519", strong, strong, true),
        ("ed25519", weak, strong, false),
        ("ed25519", strong, weak, false),
        ("rsa2048", strong, strong, true),
        ("rsa2048", weak, strong, false),
        ("rsa2048", strong, weak, false),
    ] {
        let gpg = Gpg::new();
        let new_key = ["--quick-gen-key", "ana@care.test", primary, "cert", "never"];
        gpg.ok(&[&of_user[..], &new_key].concat(), b"");
        let key = gpg.fingerprint();
        gpg.ok(
            &[&of_subkey[..], &["--quick-add-key", &key, "cv25519", "encr", "never"]].concat(),
            b"",
        );
        assert_eq!(import(&gpg).err(), (!is_accepted).then_some(Refusal::WeakSignature));
    }
}

#[test]
fn an_older_strong_signature_does_not_hide_a_newer_weak_one() {
    let mut gpg = cv25519();
    let key = gpg.fingerprint();
    let expiry = ["--quick-set-expire", &key, "seconds=20000000"];
    gpg.at = MADE + 100;
    gpg.ok(&[&["--cert-digest-algo", "SHA1"], &expiry[..]].concat(), b"");
    assert_refused(&gpg, Refusal::WeakSignature);
    // Renewed with a sound hash, the key is good again.
    gpg.at = MADE + 200;
    gpg.ok(&[&["--cert-digest-algo", "SHA256"], &expiry[..]].concat(), b"");
    assert_eq!(import(&gpg).unwrap().expires_at(), Some(MADE + 200 + 20_000_000));
}

#[test]
fn parts_of_another_key_are_not_taken_over() {
    let (ana_gpg, mallory) = (
        cv25519(),
        Gpg::with_key("ana@care.test", "ed25519", "never", &[("cv25519", "encr")]),
    );
    let (own, foreign) = (ana_gpg.export(), mallory.export());
    let (own, foreign) = (packets::parse(&own).unwrap(), packets::parse(&foreign).unwrap());
    let join = |user: &packets::Component<'_, _>, subkeys: &[&packets::Component<'_, PublicSubkey>]| {
        let mut bytes = [own.primary.raw, user.part.raw, user.signatures[0].raw].concat();
        for subkey in subkeys {
            bytes.extend([subkey.part.raw, subkey.signatures[0].raw].concat());
        }
        bytes
    };
    let (mine, theirs) = (&own.subkeys[0], &foreign.subkeys[0]);
    let whole = join(&own.users[0], &[mine]);
    assert_eq!(Certificate::import(&whole, &ana(), NOW).unwrap().to_bytes(), whole);
    // A foreign subkey beside the own one changes nothing, alone it is no key at all.
    let beside = Certificate::import(&join(&own.users[0], &[theirs, mine]), &ana(), NOW).unwrap();
    assert_eq!(beside.to_bytes(), whole);
    let alone = join(&own.users[0], &[theirs]);
    assert_eq!(
        Certificate::import(&alone, &ana(), NOW).err(),
        Some(Refusal::BadSignature)
    );
    assert_eq!(
        Certificate::from_stored(&alone, &ana()).err(),
        Some(Refusal::BadSignature)
    );
    let user = join(&foreign.users[0], &[mine]);
    assert_eq!(
        Certificate::import(&user, &ana(), NOW).err(),
        Some(Refusal::BadSignature)
    );
    // Own packets without their signatures.
    let unsigned = [own.primary.raw, own.users[0].part.raw, mine.part.raw].concat();
    assert_eq!(
        Certificate::import(&unsigned, &ana(), NOW).err(),
        Some(Refusal::BadSignature)
    );
}

#[test]
fn a_signature_of_somebody_else_is_left_out() {
    let gpg = cv25519();
    gpg.ok(
        &[
            "--quick-gen-key",
            "Friend <friend@home.test>",
            "ed25519",
            "cert",
            "never",
        ],
        b"",
    );
    let friend = gpg.fingerprints().pop().unwrap();
    let plain = gpg.ok(&["--export", "ana@care.test"], b"");
    gpg.ok(&["--default-key", &friend, "--quick-sign-key", &gpg.fingerprint()], b"");
    let signed = gpg.ok(&["--export", "ana@care.test"], b"");
    assert!(signed.len() > plain.len());
    assert_eq!(Certificate::import(&signed, &ana(), NOW).unwrap().to_bytes(), plain);
}

#[test]
fn a_key_from_the_future_waits() {
    let gpg = cv25519();
    let early = Certificate::import(&gpg.export(), &ana(), MADE - 3_600);
    assert_eq!(early.err(), Some(Refusal::NotYetValid));
    let certificate = import(&gpg).unwrap();
    assert_eq!(certificate.check(MADE - 3_600), Err(Refusal::NotYetValid));
    assert_eq!(certificate.check(MADE - 60), Ok(()));
}

#[test]
fn only_one_public_key_is_taken() {
    let gpg = cv25519();
    let refused = |data: &[u8]| Certificate::import(data, &ana(), NOW).err().map(Refusal::reason);
    assert_eq!(refused(&gpg.ok(&["--export-secret-keys"], b"")), Some("secret_key"));
    assert_eq!(
        refused(&gpg.ok(&["--armor", "--export-secret-keys"], b"")),
        Some("secret_key")
    );
    let (binary, armored) = (gpg.export(), gpg.ok(&["--armor", "--export"], b""));
    assert_eq!(
        refused(&[binary.clone(), binary.clone()].concat()),
        Some("several_certificates")
    );
    assert_eq!(
        refused(&[armored.clone(), armored.clone()].concat()),
        Some("several_certificates")
    );
    gpg.ok(
        &["--quick-gen-key", "Ben <ben@care.test>", "ed25519", "cert", "never"],
        b"",
    );
    assert_eq!(
        refused(&gpg.ok(&["--armor", "--export"], b"")),
        Some("several_certificates")
    );

    let sealed = encrypt(b"x", &Certificate::import(&binary, &ana(), NOW).unwrap(), NOW).unwrap();
    assert_eq!(refused(sealed.as_bytes()), Some("malformed"));
    for nonsense in [
        &b""[..],
        b"\x99",
        b"hello",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----",
        &[0xff; 64],
    ] {
        assert_eq!(refused(nonsense), Some("malformed"));
    }
    assert_eq!(refused(&vec![b'A'; packets::MAX_BYTES + 1]), Some("too_large"));
    // A compressed packet (tag 8) is not opened.
    assert_eq!(
        refused(&[&binary[..], &[0xc8, 0x03, 0x01, 0x03, 0x00]].concat()),
        Some("malformed")
    );
    // Mail programs and hands add lines around the armor.
    let pasted = format!("my key:\n\n{}\nregards\n", String::from_utf8(armored).unwrap()).replace('\n', "\r\n");
    assert!(Certificate::import(pasted.as_bytes(), &ana(), NOW).is_ok());
}

#[test]
fn many_parts_are_refused_quickly() {
    let gpg = Gpg::with_key("ana@care.test", "rsa3072", "never", &[("nistp521", "encr")]);
    let export = gpg.export();
    let parts = packets::parse(&export).unwrap();
    let (user, subkey) = (&parts.users[0], &parts.subkeys[0]);
    let user_bytes = [user.part.raw, user.signatures[0].raw].concat();
    let subkey_bytes = [subkey.part.raw, subkey.signatures[0].raw].concat();
    let head = [parts.primary.raw, &user_bytes[..]].concat();
    // Names the right issuer and the right digest, and fails only in the public-key operation.
    let mut forged = user.signatures[0].raw.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let floods = [
        ([&head[..], &subkey_bytes.repeat(10_000)].concat(), "too_large"),
        ([&head[..], &subkey_bytes.repeat(400)].concat(), "too_many_parts"),
        ([&head[..], &[0xce, 0x00].repeat(10_000)].concat(), "too_many_parts"),
        (
            [&head[..], &[0xcd, 0x00].repeat(10_000), &subkey_bytes].concat(),
            "too_many_parts",
        ),
        (
            [&head[..], &user_bytes.repeat(300), &subkey_bytes].concat(),
            "too_many_parts",
        ),
        (
            [parts.primary.raw, user.part.raw, &forged.repeat(400), &subkey_bytes].concat(),
            "too_many_parts",
        ),
    ];
    for (flood, reason) in floods {
        let start = Instant::now();
        assert_eq!(
            Certificate::import(&flood, &ana(), NOW).err().map(Refusal::reason),
            Some(reason)
        );
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{reason}: {:?}",
            start.elapsed()
        );
    }
}

/// A version 6 key with an X25519 subkey whose owner reads version 2 of the encrypted data packet.
fn version_6(preferred: &[(SymmetricKeyAlgorithm, AeadAlgorithm)]) -> SignedSecretKey {
    let made = Timestamp::from_secs(u32::try_from(MADE).unwrap());
    let mut subkey = SubkeyParamsBuilder::default();
    subkey
        .version(KeyVersion::V6)
        .key_type(KeyType::X25519)
        .can_encrypt(EncryptionCaps::All)
        .created_at(made);
    let mut key = SecretKeyParamsBuilder::default();
    key.version(KeyVersion::V6)
        .key_type(KeyType::Ed25519)
        .can_certify(true)
        .created_at(made)
        .primary_user_id("Ana Prado <ana@care.test>".into())
        .feature_seipd_v2(true)
        .preferred_aead_algorithms(preferred.iter().copied().collect())
        .subkey(subkey.build().unwrap());
    key.build().unwrap().generate(OsRng).unwrap()
}

#[test]
fn version_2_of_the_encrypted_data_packet_is_used_where_it_is_read() {
    use SymmetricKeyAlgorithm::{AES128, AES256};
    let cases: [(&[_], AeadAlgorithm); 4] = [
        (&[], AeadAlgorithm::Ocb),
        (
            &[(AES256, AeadAlgorithm::Gcm), (AES256, AeadAlgorithm::Ocb)],
            AeadAlgorithm::Gcm,
        ),
        (
            &[(AES128, AeadAlgorithm::Gcm), (AES256, AeadAlgorithm::Ocb)],
            AeadAlgorithm::Ocb,
        ),
        (&[(AES256, AeadAlgorithm::Eax)], AeadAlgorithm::Ocb),
    ];
    for (preferred, expected) in cases {
        let secret = version_6(preferred);
        let public = pgp::ser::Serialize::to_bytes(&secret.to_public_key()).unwrap();
        // rPGP dates self-signatures by the real clock, so this import happens well after any such date.
        let certificate = Certificate::import(&public, &ana(), i64::from(u32::MAX)).unwrap();
        assert!(certificate.supports_seipd_v2());
        assert_eq!(certificate.aead, Some(expected));
        assert_eq!(certificate.algorithm(), "X25519");
        assert_eq!(certificate.fingerprint().len(), 64);
        let certificate = Certificate::from_stored(&certificate.to_bytes(), &ana()).unwrap();
        assert_eq!(certificate.aead, Some(expected));

        for n_bytes in [0, 20_000, 300_000] {
            let sealed = encrypt(&plaintext(n_bytes), &certificate, i64::from(u32::MAX)).unwrap();
            assert_eq!(sealed_version(&sealed), 2);
            assert_eq!(open(&sealed, &secret).unwrap(), plaintext(n_bytes));
        }
    }
    assert_eq!(
        sealed_version(&encrypt(b"x", &import(&cv25519()).unwrap(), NOW).unwrap()),
        1
    );
}

fn open(sealed: &str, secret: &SignedSecretKey) -> Option<Vec<u8>> {
    let (message, _) = Message::from_armor(sealed.as_bytes()).unwrap();
    message.decrypt(&Password::empty(), secret).ok()?.as_data_vec().ok()
}

/// Version octet of the encrypted data packet, which follows the one packet with the session key.
fn sealed_version(sealed: &str) -> u8 {
    let mut binary = Vec::new();
    let mut reader = pgp::armor::Dearmor::new(sealed.as_bytes());
    reader.read_to_end(&mut binary).unwrap();
    assert_eq!(binary[0], 0xc1);
    let data = &binary[2 + usize::from(binary[1])..];
    assert_eq!(data[0], 0xd2);
    let n_length = match data[1] {
        0..=191 | 224..=254 => 1,
        192..=223 => 2,
        255 => 5,
    };
    data[1 + n_length]
}

#[test]
fn nothing_is_shown_in_debug_or_in_refusals() {
    let gpg = cv25519();
    let certificate = import(&gpg).unwrap();
    assert_eq!(format!("{certificate:?}"), "[OpenPGP certificate]");
    let refusal = Certificate::import(&gpg.export(), &address("ben@care.test"), NOW).unwrap_err();
    assert_eq!(refusal.reason(), "wrong_address");
    assert!(!format!("{refusal} {refusal:?}").contains('@'));
}

#[test]
fn a_panic_while_reading_is_a_refusal() {
    assert_eq!(
        contained(|| panic!("in somebody else's code")).err(),
        Some(Refusal::Malformed)
    );
}

/// Whatever comes out was verified: it is the certificate that went in, or a refusal within a second.
fn assert_bounded(data: &[u8], fingerprints: &[String]) {
    let start = Instant::now();
    let outcomes = [
        Certificate::import(data, &ana(), NOW),
        Certificate::from_stored(data, &ana()),
    ];
    for certificate in outcomes.into_iter().flatten() {
        assert_eq!(
            [certificate.fingerprint(), certificate.subkey_fingerprint()],
            fingerprints[..]
        );
        assert!(encrypt(b"x", &certificate, NOW).is_ok());
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn truncated_certificates_are_refused() {
    let gpg = cv25519();
    let fingerprints = gpg.fingerprints();
    for certificate in [gpg.export(), gpg.ok(&["--armor", "--export"], b"")] {
        for length in 0..certificate.len() {
            assert_bounded(&certificate[..length], &fingerprints);
        }
    }
    let binary = gpg.export();
    for length in 0..binary.len() {
        assert!(Certificate::import(&binary[..length], &ana(), NOW).is_err(), "{length}");
    }
}

#[test]
fn changed_certificates_are_refused_or_mean_the_same() {
    let gpg = Gpg::with_key(
        "ana@care.test",
        "nistp256",
        "never",
        &[("rsa2048", "encr"), ("cv25519", "encr")],
    );
    let known = gpg.fingerprints();
    let certificates = [gpg.export(), gpg.ok(&["--armor", "--export"], b"")];
    let seen = std::cell::RefCell::new((0, 0));
    let change = (
        0..certificates.len(),
        proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3), 1..6),
    );
    let config = ProptestConfig {
        cases: 1_500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |((which, changes) in change)| {
        let mut data = certificates[which].clone();
        for (position, byte, kind) in changes {
            let position = position.index(data.len());
            match kind {
                0 => data[position] = byte,
                1 => data.insert(position, byte),
                _ => drop(data.remove(position)),
            }
        }
        let start = Instant::now();
        let mut seen = seen.borrow_mut();
        for outcome in [Certificate::import(&data, &ana(), NOW), Certificate::from_stored(&data, &ana())] {
            match outcome {
                // Only bytes that no signature covers changed, or the newer subkey became unusable.
                Ok(certificate) => {
                    prop_assert_eq!(certificate.fingerprint(), &known[0]);
                    prop_assert!(known[1..].iter().any(|subkey| subkey == certificate.subkey_fingerprint()));
                    seen.0 += 1;
                }
                Err(_) => seen.1 += 1,
            }
        }
        prop_assert!(start.elapsed() < Duration::from_secs(1));
    });
    let (n_accepted, n_refused) = *seen.borrow();
    assert!(
        n_refused > n_accepted && n_accepted > 0,
        "{n_accepted} accepted, {n_refused} refused"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn noise_is_refused(data in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(Certificate::import(&data, &ana(), NOW).is_err());
    }
}
