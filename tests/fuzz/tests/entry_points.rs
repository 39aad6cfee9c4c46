//! Promise: no entry point of the codec takes octets or text of others without a fuzz target that calls it, and every
//! target has a corpus.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sealpost_fuzz::TARGETS;

/// Entry points that have no call of their own in a target, and why.
const REACHED_BY_OTHERS: [(&str, &str); 3] = [
    ("Address::from_str", "is Address::parse"),
    ("packets::dearmor", "inside of openpgp::Certificate::import"),
    ("packets::parse", "inside of openpgp::Certificate::import"),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `name` or `Type::name` of every public function that takes octets or text, and of every `FromStr` and `Deserialize`.
fn entry_points() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in sources(&here("../../functions/codec/src")) {
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        if file == "tests" || file == "openssl" {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        let source = source.split("#[cfg(test)]\npub(super) mod tests").next().unwrap();
        let mut inside = None;
        let lines: Vec<&str> = source.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            if let Some(rest) = line.strip_prefix("impl") {
                let name = rest.split(" for ").last().unwrap().trim().trim_start_matches("<'a> ");
                let name = name.split(['<', ' ', '{']).next().unwrap();
                inside = Some(name.to_owned());
                if rest.contains("FromStr for") {
                    found.insert(format!("{name}::from_str"));
                }
            } else if *line == "}" {
                inside = None;
            }
            let Some(rest) = line.trim_start().strip_prefix("pub fn ") else {
                continue;
            };
            // A signature may run over several lines.
            let end = lines[n..].iter().position(|line| line.contains(" {")).unwrap();
            let text = lines[n..=n + end].concat();
            let parameters = text.split("->").next().unwrap();
            if !["&[u8]", "&str", "Vec<u8>", "String", "&Content", "&Envelope"]
                .iter()
                .any(|kind| parameters.contains(kind))
            {
                continue;
            }
            let name = rest.split(['(', '<']).next().unwrap();
            found.insert(match &inside {
                Some(inside) => format!("{inside}::{name}"),
                None => format!("{file}::{name}"),
            });
        }
    }
    found
}

#[test]
fn every_entry_point_of_the_codec_is_called_by_a_target() {
    let targets: String = sources(&here("src"))
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let found = entry_points();
    assert!(found.len() >= 25, "the sources were not understood: {found:?}");
    for name in [
        "Address::parse",
        "mime::message",
        "read::read",
        "envelope::open",
        "Certificate::import",
        "html::sanitise",
    ] {
        assert!(found.contains(name), "{name} was not found in {found:?}");
    }
    for (name, _) in REACHED_BY_OTHERS {
        assert!(found.contains(name), "{name} is no entry point any more");
    }
    let missing: Vec<&String> = found
        .iter()
        .filter(|name| !REACHED_BY_OTHERS.iter().any(|(known, _)| known == name))
        .filter(|name| {
            let (inside, function) = name.split_once("::").unwrap();
            let is_method = inside.starts_with(char::is_uppercase);
            let call = if is_method {
                format!("{inside}::{function}(")
            } else {
                format!("{function}(")
            };
            // Methods of a value are called on it.
            !(targets.contains(&call) || is_method && targets.contains(&format!(".{function}(")))
        })
        .collect();
    assert_eq!(missing, Vec::<&String>::new(), "these have no fuzz target");
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len());
    let folders: BTreeSet<String> = fs::read_dir(here("corpus"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, names);
    for name in names {
        let n_files = fs::read_dir(here("corpus").join(&name)).unwrap().count();
        assert!((5..=100).contains(&n_files), "{name} has {n_files} files");
    }
}
