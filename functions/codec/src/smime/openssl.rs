//! The system's `openssl` as the other side in tests: it makes keys and certificates, decrypts what we seal and verifies
//! what we sign. A missing program fails the tests.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use base64::Engine;

/// Extensions of an ordinary encryption certificate, without a key usage, so that they suit every key.
pub(super) const USUAL: &[&str] = &[
    "subjectAltName=email:ada@patients.test",
    "extendedKeyUsage=emailProtection",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Rsa1024,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    RsaExponent3,
    P256,
    P384,
    P521,
    Ed25519,
}

impl Key {
    pub(super) fn name(self) -> &'static str {
        match self {
            Key::Rsa1024 => "RSA-1024",
            Key::Rsa2048 | Key::RsaExponent3 => "RSA-2048",
            Key::Rsa3072 => "RSA-3072",
            Key::Rsa4096 => "RSA-4096",
            Key::P256 => "P-256",
            Key::P384 => "P-384",
            Key::P521 => "P-521",
            Key::Ed25519 => "Ed25519",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Key::Rsa1024 => &["RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
            Key::Rsa2048 => &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            Key::Rsa3072 => &["RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
            Key::Rsa4096 => &["RSA", "-pkeyopt", "rsa_keygen_bits:4096"],
            Key::RsaExponent3 => &[
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
                "-pkeyopt",
                "rsa_keygen_pubexp:3",
            ],
            Key::P256 => &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Key::P384 => &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            Key::P521 => &["EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
            Key::Ed25519 => &["Ed25519"],
        }
    }
}

/// A directory that goes away with the value.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "sealpost-smime-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// Writes a file and gives its path, as text for a command line.
    pub(super) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        text(&path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A key and its self-signed certificate.
pub(super) struct Identity {
    pub(super) scratch: Scratch,
    pub(super) pem: Vec<u8>,
    pub(super) der: Vec<u8>,
    pub(super) key_path: String,
    pub(super) certificate_path: String,
}

impl Identity {
    pub(super) fn new(key: Key, extensions: &[&str]) -> Identity {
        Identity::with(key, extensions, "/CN=Ada", &["-sha256"], 30)
    }

    pub(super) fn with(key: Key, extensions: &[&str], subject: &str, options: &[&str], days: u32) -> Identity {
        let scratch = Scratch::new();
        let key_path = scratch.file("key.pem", &private_key(key));
        // The built-in configuration would add extensions of its own.
        let configuration = scratch.file("openssl.cnf", b"[req]\ndistinguished_name=dn\n[dn]\n");
        let days = days.to_string();
        let mut arguments = vec!["req", "-x509", "-config", &configuration, "-key", &key_path];
        arguments.extend(["-subj", subject, "-days", &days]);
        // An Ed25519 key signs with its own digest.
        arguments.extend(
            options
                .iter()
                .filter(|option| key != Key::Ed25519 || **option != "-sha256"),
        );
        for extension in extensions {
            arguments.extend(["-addext", extension]);
        }
        let pem = succeed(&arguments);
        let certificate_path = scratch.file("certificate.pem", &pem);
        let der = succeed(&["x509", "-in", &certificate_path, "-outform", "DER"]);
        Identity {
            scratch,
            pem,
            der,
            key_path,
            certificate_path,
        }
    }

    pub(super) fn key_pem(&self) -> Vec<u8> {
        fs::read(&self.key_path).unwrap()
    }

    /// The private key as PKCS#8.
    pub(super) fn key_der(&self) -> Vec<u8> {
        succeed(&["pkcs8", "-topk8", "-nocrypt", "-in", &self.key_path, "-outform", "DER"])
    }

    /// The SubjectPublicKeyInfo, as KMS returns it.
    pub(super) fn spki(&self) -> Vec<u8> {
        succeed(&["pkey", "-in", &self.key_path, "-pubout", "-outform", "DER"])
    }

    pub(super) fn fingerprint(&self) -> String {
        let printed = succeed(&[
            "x509",
            "-in",
            &self.certificate_path,
            "-noout",
            "-fingerprint",
            "-sha256",
        ]);
        let printed = String::from_utf8(printed).unwrap();
        printed.trim().rsplit('=').next().unwrap().replace(':', "")
    }

    /// `openssl cms -decrypt` of a DER message.
    pub(super) fn decrypt(&self, message: &[u8]) -> Output {
        let path = self.scratch.file("message.der", message);
        run(&[
            "cms",
            "-decrypt",
            "-binary",
            "-inform",
            "DER",
            "-in",
            &path,
            "-inkey",
            &self.key_path,
            "-recip",
            &self.certificate_path,
        ])
    }
}

/// Runs `openssl` and wants it to succeed; gives what it printed.
pub(super) fn succeed(arguments: &[&str]) -> Vec<u8> {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Runs `openssl`.
pub(super) fn run(arguments: &[&str]) -> Output {
    Command::new("openssl")
        .args(arguments)
        .output()
        .expect("these tests need the openssl program")
}

/// The time of day, which `openssl` writes into certificates.
#[expect(
    clippy::disallowed_methods,
    reason = "openssl reads the system's clock, so its certificates begin at that time"
)]
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

pub(super) fn to_pem(der: &[u8]) -> Vec<u8> {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
    .into_bytes()
}

/// One private key of each kind for the whole run, since large ones take seconds to make.
fn private_key(key: Key) -> Vec<u8> {
    static KEYS: OnceLock<Mutex<HashMap<Key, Vec<u8>>>> = OnceLock::new();
    let mut keys = KEYS.get_or_init(Mutex::default).lock().unwrap();
    let make = || succeed(&[&["genpkey", "-algorithm"], key.options()].concat());
    keys.entry(key).or_insert_with(make).clone()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
