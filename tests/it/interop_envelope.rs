//! Promise: a customer opens what is archived with Amazon's own library, and we open what that library seals.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sealpost_codec::envelope::{self, WrappingKey};
use serde_json::json;

use crate::tools::{PYTHON, file, tool};

const NAMESPACE: &str = "sealpost-record";
const NAME: &str = "rec_01kaz3v0r4m2q8t5w7y9b1d3f5";
const KEY: [u8; 32] = *b"a key for tests, of 32 octets ok";

/// The library, with the files that it works on.
struct Judge(PathBuf);

impl Judge {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("key"), KEY).unwrap();
        Self(folder)
    }

    fn run(&self, verb: &str, context: &BTreeMap<String, String>, input: &[u8]) -> Result<Vec<u8>, String> {
        let path = |name: &str| self.0.join(name).into_os_string();
        fs::write(path("context"), json!(context).to_string()).unwrap();
        fs::write(path("in"), input).unwrap();
        let arguments = [
            verb.into(),
            NAMESPACE.into(),
            NAME.into(),
            path("key"),
            path("context"),
            path("in"),
            path("out"),
        ];
        let output = Command::new(tool(PYTHON))
            .arg(file("interop/envelope.py"))
            .args(arguments)
            .output()
            .unwrap();
        let Output { status, stderr, .. } = output;
        if status.success() {
            return Ok(fs::read(path("out")).unwrap());
        }
        Err(String::from_utf8_lossy(&stderr).into_owned())
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} was not removed: {error}", self.0.display());
        }
    }
}

fn key() -> WrappingKey {
    WrappingKey {
        namespace: NAMESPACE.to_owned(),
        name: NAME.to_owned(),
        key: KEY.into(),
    }
}

fn context() -> BTreeMap<String, String> {
    [("tenant", "ten_1"), ("purpose", "message"), ("name", "Zoë")]
        .map(|(name, value)| (name.into(), value.into()))
        .into()
}

/// Nothing, less than a frame, exactly one frame, and several with a rest.
fn plaintexts() -> [Vec<u8>; 4] {
    [0, 100, 4096, 3 * 4096 + 7].map(|length| (0..length).map(|n: u32| n.to_le_bytes()[0]).collect())
}

#[test]
fn amazons_library_opens_what_we_seal() {
    let judge = Judge::new("envelope-ours");
    for plaintext in plaintexts() {
        let sealed = envelope::seal(&key(), &context(), &plaintext).unwrap();
        assert_eq!(
            judge.run("decrypt", &context(), &sealed).as_deref(),
            Ok(&plaintext[..]),
            "{} octets",
            plaintext.len()
        );
    }
}

#[test]
fn we_open_what_amazons_library_seals() {
    let judge = Judge::new("envelope-theirs");
    for plaintext in plaintexts() {
        let sealed = judge.run("encrypt", &context(), &plaintext).unwrap();
        let opened = envelope::open(&key(), &context(), &sealed).unwrap();
        assert_eq!(*opened, plaintext, "{} octets", plaintext.len());
    }
}

#[test]
fn neither_opens_an_altered_envelope_or_one_of_another_context() {
    let judge = Judge::new("envelope-altered");
    let sealed = envelope::seal(&key(), &context(), b"Your results are in.").unwrap();
    let mut altered = sealed.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert!(judge.run("decrypt", &context(), &altered).is_err());
    assert!(envelope::open(&key(), &context(), &altered).is_err());
    let other = BTreeMap::from([("tenant".to_owned(), "ten_2".to_owned())]);
    assert!(judge.run("decrypt", &other, &sealed).is_err());
    assert!(envelope::open(&key(), &other, &sealed).is_err());
}
