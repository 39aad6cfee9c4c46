//! Promise: what a recipient gets opens with the program that they already have, to the message that was sent, and shows
//! nothing of it to anybody else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::system::Running;

/// A text that stands nowhere else, for each place of an email.
const BODY: &str = "canary-body-5f0c1d9e7b3a";
const SUBJECT: &str = "canary-subject-9a41c7e2d805";
const ATTACHED: &str = "canary-attachment-03be6f58d21c";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sealpost-{name}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} was not removed: {error}", self.0.display());
        }
    }
}

/// Runs a program with input; its output, which must be a success.
fn run(program: &str, arguments: &[&str], folder: &Path, input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("GNUPGHOME", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} cannot be run ({error}); use tests/run, which installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A program that needs no input closes it early.
    drop(writer.join());
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// What Python's `email` finds in a message: subject, bodies, SHA-256 of the attachments, defects.
fn parse(folder: &Path, message: &[u8]) -> Value {
    const SCRIPT: &str = r#"
import sys, json, hashlib, email, email.policy
message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
def body(kind):
    part = message.get_body((kind,))
    return part.get_content() if part else None
defects = [str(defect) for part in message.walk() for defect in part.defects]
print(json.dumps({
    "subject": message["subject"], "from": message["from"], "plain": body("plain"), "html": body("html"),
    "attachments": {a.get_filename(): hashlib.sha256(a.get_content() if isinstance(a.get_content(), bytes) else a.get_payload(decode=True)).hexdigest() for a in message.iter_attachments()},
    "defects": defects,
}))
"#;
    serde_json::from_slice(&run("python3", &["-c", SCRIPT], folder, message)).unwrap()
}

fn sha256(folder: &Path, bytes: &[u8]) -> String {
    let out = run("sha256sum", &[], folder, bytes);
    String::from_utf8(out)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recipient_opens_the_message_with_their_own_program_and_nobody_else_reads_it() {
    let folder = Folder::new("interop");
    let at = folder.0.as_path();
    let running = Running::start().await;

    // OpenPGP keys by gpg, S/MIME keys by openssl.
    let openpgp = [
        ("rsa2048", "rsa2048"),
        ("rsa3072", "rsa3072"),
        ("rsa4096", "rsa4096"),
        ("nistp256", "nistp256"),
        ("ed25519", "cv25519"),
    ];
    let mut keys: BTreeMap<String, (&str, String)> = BTreeMap::new();
    for (primary, subkey) in openpgp {
        let address = format!("{subkey}@openpgp.test");
        let user = format!("Reader <{address}>");
        let base = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""];
        let gpg = |more: &[&str]| run("gpg", &[&base[..], more].concat(), at, b"");
        gpg(&["--quick-gen-key", &user, primary, "cert", "never"]);
        let listed = String::from_utf8(gpg(&["--with-colons", "--list-keys", &address])).unwrap();
        let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap();
        let fingerprint = fingerprint.trim_matches(':').to_owned();
        gpg(&["--quick-add-key", &fingerprint, subkey, "encr", "never"]);
        let armored = String::from_utf8(gpg(&["--armor", "--export", &address])).unwrap();
        keys.insert(address, ("openpgp", armored));
    }
    for (name, key) in [
        ("rsa2048", "rsa:2048"),
        ("rsa3072", "rsa:3072"),
        ("rsa4096", "rsa:4096"),
        ("p256", "ec"),
    ] {
        let address = format!("{name}@smime.test");
        let (cert, secret) = (format!("{address}.pem"), format!("{address}.key"));
        let usage = if key == "ec" {
            "keyUsage=critical,keyAgreement"
        } else {
            "keyUsage=critical,keyEncipherment"
        };
        let san = format!("subjectAltName=email:{address}");
        let mut arguments = vec![
            "req",
            "-x509",
            "-newkey",
            key,
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=Reader",
        ];
        if key == "ec" {
            arguments.extend(["-pkeyopt", "ec_paramgen_curve:P-256"]);
        }
        arguments.extend([
            "-keyout",
            &secret,
            "-out",
            &cert,
            "-addext",
            usage,
            "-addext",
            "extendedKeyUsage=emailProtection",
        ]);
        arguments.extend(["-addext", "basicConstraints=critical,CA:FALSE", "-addext", &san]);
        run("openssl", &arguments, at, b"");
        keys.insert(address, ("smime", fs::read_to_string(at.join(cert)).unwrap()));
    }
    for (address, (kind, data)) in &keys {
        let body = json!({"kind": kind, "data": data, "reads_gcm": address.starts_with("rsa3072@smime")});
        let (status, answer) = running.post(&format!("/recipients/{address}/keys"), &body).await;
        assert_eq!(status, 201, "{address}: {answer}");
    }

    let attachment = format!("{ATTACHED}\n{}", "0123456789\n".repeat(500));
    let mut to: Vec<String> = keys.keys().cloned().collect();
    to.push("reader@no-tls.test".to_owned());
    let email = json!({
        "from": "Clinic <care@clinic.test>", "to": to, "subject": SUBJECT,
        "text": format!("{BODY}\n.\nFrom here on: ünïcödé and a line of many words {}\n", "word ".repeat(300)),
        "html": format!("<p>{BODY} <b>ünïcödé</b></p>"),
        "attachments": [
            {"filename": "report ü.txt", "content": crate::system::base64(attachment.as_bytes())},
            {"filename": "blood.bin", "content": crate::system::base64(&(0..=255).collect::<Vec<u8>>())},
        ],
    });
    let id = running.send(&email).await;
    let sent = running.settled(&id).await;
    let recipients = sent["recipients"].as_array().unwrap();
    assert_eq!(recipients.len(), keys.len() + 1);

    let mut n_opened = 0;
    for recipient in recipients {
        let address = recipient["address"].as_str().unwrap();
        assert_eq!(recipient["status"], "delivered", "{recipient}");
        let handed = running.mails(address).await;
        assert_eq!(handed.len(), 1, "{address} got {} mails", handed.len());
        let raw = &handed[0];
        for canary in [BODY, SUBJECT, ATTACHED] {
            assert!(!running.shows(raw, canary), "{address}: the mail shows {canary}");
        }
        let inner = match recipient["method"].as_str().unwrap() {
            "openpgp" => run(
                "gpg",
                &[
                    "--batch",
                    "--quiet",
                    "--pinentry-mode",
                    "loopback",
                    "--passphrase",
                    "",
                    "--decrypt",
                ],
                at,
                raw,
            ),
            "smime" => {
                let (cert, secret) = (format!("{address}.pem"), format!("{address}.key"));
                let signed = run(
                    "openssl",
                    &["cms", "-decrypt", "-recip", &cert, "-inkey", &secret],
                    at,
                    raw,
                );
                run("openssl", &["cms", "-verify", "-noverify"], at, &signed)
            }
            "portal" => continue,
            other => panic!("{address} got {other}"),
        };
        let read = parse(at, &inner);
        assert_eq!(read["defects"], json!([]), "{address}");
        assert_eq!(read["subject"], SUBJECT, "{address}");
        assert!(read["plain"].as_str().unwrap().contains(BODY) && read["plain"].as_str().unwrap().contains("ünïcödé"));
        assert!(read["html"].as_str().unwrap().contains("<b>ünïcödé</b>"));
        assert_eq!(
            read["attachments"]["report ü.txt"],
            sha256(at, attachment.as_bytes()),
            "{address}"
        );
        assert_eq!(
            read["attachments"]["blood.bin"],
            sha256(at, &(0..=255).collect::<Vec<u8>>()),
            "{address}"
        );
        let outer = parse(at, raw);
        assert_eq!(outer["defects"], json!([]), "{address}");
        n_opened += 1;
    }
    assert_eq!(n_opened, keys.len());
    running.assert_no_side_channel(&[BODY, SUBJECT, ATTACHED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_mail_does_not_open() {
    let folder = Folder::new("altered");
    let at = folder.0.as_path();
    let running = Running::start().await;
    let san = "subjectAltName=email:ana@smime.test";
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=Ana",
            "-keyout",
            "k",
            "-out",
            "c",
            "-addext",
            san,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ],
        at,
        b"",
    );
    let body = json!({"kind": "smime", "data": fs::read_to_string(at.join("c")).unwrap(), "reads_gcm": true});
    assert_eq!(running.post("/recipients/ana@smime.test/keys", &body).await.0, 201);
    let id = running
        .send(&json!({"from": "care@clinic.test", "to": "ana@smime.test", "subject": "s", "text": "a text that is long enough"}))
        .await;
    running.settled(&id).await;
    let raw = running.mails("ana@smime.test").await.remove(0);
    let text = String::from_utf8(raw).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut body: Vec<u8> = body.bytes().collect();
    let near_end = body
        .iter()
        .rposition(|b| *b == b'\r')
        .map_or(body.len() - 8, |end| end - 30);
    body[near_end] = if body[near_end] == b'A' { b'B' } else { b'A' };
    fs::write(at.join("altered"), [head.as_bytes(), b"\r\n\r\n", &body].concat()).unwrap();
    let opened = Command::new("openssl")
        .args([
            "cms", "-decrypt", "-recip", "c", "-inkey", "k", "-in", "altered", "-out", "out",
        ])
        .current_dir(at)
        .output()
        .unwrap();
    assert!(!opened.status.success(), "openssl opened an altered mail");
}
