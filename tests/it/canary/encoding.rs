//! Finds canaries in bytes, however they were written.
//!
//! Bytes are looked at as they are and as every decoder below reads them, several decoders deep, so that base64 of gzip of
//! JSON is found as well as plain text. A half of a canary counts, since a cut-off value is a leak too; so does the hash of
//! a value without a key, since whoever has the hash of an address can try addresses.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io::Read as _;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

use super::field::Canary;

/// How many decoders may stand one in another.
const DEEPEST: usize = 4;
/// What is made of one piece of captured bytes at most, bytes.
const MOST: usize = 32 * 1024 * 1024;
/// How long a run of digits must be to be read as an encoding: a half of a canary in base64.
const SHORTEST: usize = 12;

/// A canary that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hit {
    /// Whose value it is.
    pub(crate) field: &'static str,
    /// The canary itself.
    pub(crate) canary: String,
    /// The decoders that it took, the outermost first; `as it is` for none.
    pub(crate) encoding: String,
}

/// Everything that is looked for at once.
pub(crate) struct Needles {
    automaton: AhoCorasick,
    /// For every pattern: field, canary, and the hash that it is, if it is one.
    found: Vec<(&'static str, String, Option<&'static str>)>,
}

impl Needles {
    pub(crate) fn new(canaries: &[Canary]) -> Self {
        let (mut patterns, mut found) = (Vec::new(), Vec::new());
        for Canary { field, text, values } in canaries {
            let half = text.len() / 2;
            for piece in [&text[..half], &text[half..]] {
                patterns.push(piece.as_bytes().to_vec());
                found.push((*field, text.clone(), None));
            }
            for value in values {
                let hashes = [
                    ("SHA-256", &SHA256),
                    ("SHA-1", &SHA1_FOR_LEGACY_USE_ONLY),
                    ("SHA-512", &SHA512),
                ];
                for (name, algorithm) in hashes {
                    // A hash that was cut off can be tried as well as a whole one.
                    patterns.push(digest::digest(algorithm, value.as_bytes()).as_ref()[..10].to_vec());
                    found.push((*field, text.clone(), Some(name)));
                }
            }
        }
        let automaton = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .build(patterns)
            .unwrap();
        Self { automaton, found }
    }

    /// Every canary in the bytes, once an encoding.
    pub(crate) fn search(&self, bytes: &[u8]) -> BTreeSet<Hit> {
        let mut hits = BTreeSet::new();
        let mut seen = HashSet::new();
        let mut n_bytes = 0;
        let mut views = VecDeque::from([(bytes.to_vec(), Vec::<&'static str>::new())]);
        seen.insert(fingerprint(bytes));
        // The nearest first, so that a hit names the shortest way to it.
        while let Some((view, path)) = views.pop_front() {
            n_bytes += view.len();
            assert!(n_bytes < MOST, "{} bytes grow beyond all measure", bytes.len());
            for found in self.automaton.find_iter(&view) {
                let (field, canary, hash) = &self.found[found.pattern().as_usize()];
                let names: Vec<&str> = path.iter().copied().chain(*hash).collect();
                let encoding = if names.is_empty() {
                    "as it is".to_owned()
                } else {
                    names.join(" › ")
                };
                hits.insert(Hit {
                    field,
                    canary: canary.clone(),
                    encoding,
                });
            }
            if path.len() < DEEPEST {
                for (name, decode) in DECODERS {
                    for decoded in decode(&view) {
                        if decoded.len() >= SHORTEST && seen.insert(fingerprint(&decoded)) {
                            let mut path = path.clone();
                            path.push(name);
                            views.push_back((decoded, path));
                        }
                    }
                }
            }
        }
        hits
    }
}

/// What tells bytes apart from any others.
pub(crate) fn fingerprint(bytes: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
    fingerprint
}

type Decode = fn(&[u8]) -> Vec<Vec<u8>>;

/// What bytes are read as.
pub(crate) const DECODERS: [(&str, Decode); 10] = [
    ("base64", base64),
    ("hex", hex),
    ("quoted-printable", quoted_printable),
    ("percent", percent),
    ("escapes", escapes),
    ("entities", entities),
    ("header", header),
    ("UTF-16", utf16),
    ("numbers", numbers),
    ("deflate", deflate),
];

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// The runs of bytes that `is_part` accepts, over line ends inside of them, without these.
fn runs(bytes: &[u8], is_part: fn(u8) -> bool) -> Vec<Vec<u8>> {
    let mut parts = [false; 256];
    for byte in u8::MIN..=u8::MAX {
        parts[usize::from(byte)] = is_part(byte);
    }
    let mut runs: Vec<Vec<u8>> = Vec::new();
    let (mut from, mut at) = (0, 0);
    // The end of the latest run, and whether nothing but a line end came since.
    let mut joins_at = usize::MAX;
    while at <= bytes.len() {
        if at < bytes.len() && parts[usize::from(bytes[at])] {
            at += 1;
            continue;
        }
        if from < at {
            match runs.last_mut() {
                Some(run) if joins_at == from => run.extend_from_slice(&bytes[from..at]),
                _ => runs.push(bytes[from..at].to_vec()),
            }
            let rest = &bytes[at..];
            let end = [&b"\r\n"[..], b"\n"].into_iter().find(|end| rest.starts_with(end));
            joins_at = end.map_or(usize::MAX, |end| at + end.len());
        }
        at += 1;
        from = at;
        if joins_at != usize::MAX && at < joins_at {
            at = joins_at;
            from = joins_at;
        }
    }
    runs.retain(|run| run.len() >= SHORTEST);
    runs
}

/// Both alphabets (RFC 4648 sections 4 and 5), from each of the four places where a group can begin.
fn base64(bytes: &[u8]) -> Vec<Vec<u8>> {
    const ANY: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&STANDARD, ANY);
    let runs = runs(bytes, is_base64);
    let mut views = vec![Vec::new(); 4];
    for run in runs {
        let run: Vec<u8> = run
            .into_iter()
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                byte => byte,
            })
            .collect();
        for (start, view) in views.iter_mut().enumerate() {
            let groups = &run[start.min(run.len())..];
            // One character alone is no byte.
            let whole = groups.len() - usize::from(groups.len() % 4 == 1);
            if let Ok(decoded) = engine.decode(&groups[..whole]) {
                view.extend(decoded);
                view.push(b'\n');
            }
        }
    }
    views
}

/// Pairs of digits from both places where one can begin, with or without colons, blanks and the like between them.
fn hex(bytes: &[u8]) -> Vec<Vec<u8>> {
    let decode = |run: &[u8]| -> Vec<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        run.chunks_exact(2)
            .filter_map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
            .collect()
    };
    let is_digit = |byte: u8| byte.is_ascii_hexdigit();
    let mut views = vec![Vec::new(); 2];
    for run in runs(bytes, is_digit) {
        for (start, view) in views.iter_mut().enumerate() {
            view.extend(decode(&run[start..]));
            view.push(b'\n');
        }
    }
    // `61:62:63`, `61 62 63`, `0x61, 0x62`.
    let mut apart = Vec::new();
    let mut word = Vec::new();
    for byte in bytes.iter().copied().chain([b' ']) {
        if !matches!(byte, b':' | b' ' | b',' | b'-' | b'\n') {
            word.push(byte);
            continue;
        }
        let digits = word.strip_prefix(b"0x").unwrap_or(&word);
        if digits.len() == 2 && digits.iter().copied().all(is_digit) {
            apart.extend(decode(digits));
        } else if !word.is_empty() && apart.last() != Some(&b'\n') {
            apart.push(b'\n');
        }
        word.clear();
    }
    views.push(apart);
    views
}

/// Replaces what `read` understands at one of the marks by what it stands for; nothing when there is no such place.
fn replaced(bytes: &[u8], marks: [u8; 3], read: impl Fn(&[u8]) -> Option<(usize, Vec<u8>)>) -> Vec<Vec<u8>> {
    if memchr::memchr3(marks[0], marks[1], marks[2], bytes).is_none() {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut is_changed = false;
    let mut rest = bytes;
    while let Some(at) = memchr::memchr3(marks[0], marks[1], marks[2], rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let n = match read(rest) {
            Some((n, decoded)) => {
                out.extend(decoded);
                is_changed = true;
                n
            }
            None => {
                out.push(rest[0]);
                1
            }
        };
        rest = &rest[n..];
    }
    out.extend_from_slice(rest);
    if is_changed { vec![out] } else { Vec::new() }
}

fn pair(bytes: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(bytes.get(..2)?).ok()?;
    u8::from_str_radix(text, 16).ok()
}

/// RFC 2045 section 6.7, soft line breaks among it.
fn quoted_printable(bytes: &[u8]) -> Vec<Vec<u8>> {
    replaced(bytes, [b'='; 3], |rest| {
        let after = rest.strip_prefix(b"=")?;
        if after.starts_with(b"\r\n") {
            return Some((3, Vec::new()));
        }
        if after.starts_with(b"\n") {
            return Some((2, Vec::new()));
        }
        Some((3, vec![pair(after)?]))
    })
}

fn percent(bytes: &[u8]) -> Vec<Vec<u8>> {
    replaced(bytes, [b'%'; 3], |rest| {
        Some((3, vec![pair(rest.strip_prefix(b"%")?)?]))
    })
}

fn character(code: u32) -> Option<Vec<u8>> {
    char::from_u32(code).map(|c| c.to_string().into_bytes())
}

/// What JSON, Rust's `Debug` and JavaScript write after a backslash.
fn escapes(bytes: &[u8]) -> Vec<Vec<u8>> {
    replaced(bytes, [b'\\'; 3], |rest| {
        let after = rest.strip_prefix(b"\\")?;
        let number = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match after.first()? {
            b'u' if after.get(1) == Some(&b'{') => {
                let end = after.iter().take(9).position(|byte| *byte == b'}')?;
                Some((end + 2, character(number(&after[2..end])?)?))
            }
            b'u' => Some((6, character(number(after.get(1..5)?)?)?)),
            b'x' => Some((4, vec![pair(&after[1..])?])),
            b'n' => Some((2, vec![b'\n'])),
            b'r' => Some((2, vec![b'\r'])),
            b't' => Some((2, vec![b'\t'])),
            plain @ (b'"' | b'\\' | b'/' | b'\'') => Some((2, vec![*plain])),
            _ => None,
        }
    })
}

/// Numbered character references of HTML and XML; the canaries hold no character with a name.
fn entities(bytes: &[u8]) -> Vec<Vec<u8>> {
    replaced(bytes, [b'&'; 3], |rest| {
        let after = rest.strip_prefix(b"&#")?;
        let end = after.iter().take(9).position(|byte| *byte == b';')?;
        let digits = std::str::from_utf8(&after[..end]).ok()?;
        let code = match digits.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        Some((end + 3, character(code.ok()?)?))
    })
}

/// Folded lines (RFC 5322 section 2.2.3), encoded words that follow one another (RFC 2047 section 6.2) and parameters in
/// pieces (RFC 2231 section 3) joined; what is in them is for the other decoders.
fn header(bytes: &[u8]) -> Vec<Vec<u8>> {
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let folded = |rest: &[u8]| {
        let end = [&b"\r\n"[..], b"\n"].into_iter().find(|end| rest.starts_with(end))?;
        matches!(rest.get(end.len()), Some(b' ' | b'\t')).then_some((end.len() + 1, Vec::new()))
    };
    let word = |rest: &[u8]| {
        let after = rest.strip_prefix(b"?=")?;
        let n_blank = after.iter().take_while(is_blank).count();
        let word = after[n_blank..].strip_prefix(b"=?")?;
        let marks: Vec<usize> = (0..word.len().min(64)).filter(|at| word[*at] == b'?').collect();
        Some((2 + n_blank + 2 + marks.get(1)? + 1, Vec::new()))
    };
    let piece = |rest: &[u8]| {
        let (n, after) = match rest.strip_prefix(b"\";") {
            Some(after) => (2, after),
            None => (1, rest.strip_prefix(b";")?),
        };
        let n_blank = after.iter().take_while(is_blank).count();
        let name = &after[n_blank..];
        let equals = name.iter().take(64).position(|byte| *byte == b'=')?;
        let star = name[..equals].iter().position(|byte| *byte == b'*')?;
        let is_later = name[star + 1..equals].iter().any(|byte| matches!(byte, b'1'..=b'9'));
        let n_quote = usize::from(name.get(equals + 1) == Some(&b'"'));
        is_later.then(|| (n + n_blank + equals + 1 + n_quote, Vec::new()))
    };
    let mut views = replaced(bytes, [b'?'; 3], word);
    views.extend(replaced(bytes, [b';', b'"', b'"'], piece));
    views.extend(replaced(bytes, [b'\r', b'\n', b'\n'], folded));
    views
}

/// ASCII in UTF-16 or UTF-32 of either byte order is ASCII without the zeros.
fn utf16(bytes: &[u8]) -> Vec<Vec<u8>> {
    if memchr::memchr_iter(0, bytes).count() < SHORTEST {
        return Vec::new();
    }
    let is_wide = (0..2).any(|start| {
        let mut longest = 0;
        let mut n = 0;
        for byte in bytes.iter().skip(start).step_by(2) {
            n = if *byte == 0 { n + 1 } else { 0 };
            longest = longest.max(n);
        }
        longest >= SHORTEST
    });
    if !is_wide {
        return Vec::new();
    }
    vec![bytes.iter().copied().filter(|byte| *byte != 0).collect()]
}

/// Lists of bytes as numbers, as `Debug` prints them: `[112, 97, 116]`.
fn numbers(bytes: &[u8]) -> Vec<Vec<u8>> {
    if memchr::memchr_iter(b',', bytes).count() < SHORTEST {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(bytes);
    let mut view = Vec::new();
    for list in text.split(|c: char| !(c.is_ascii_digit() || c == ',' || c.is_ascii_whitespace())) {
        let numbers: Vec<u8> = list
            .split(',')
            .filter_map(|number| number.trim().parse::<u8>().ok())
            .collect();
        if numbers.len() >= SHORTEST {
            view.extend(numbers);
            view.push(b'\n');
        }
    }
    vec![view]
}

/// Whatever begins like gzip (RFC 1952) or zlib (RFC 1950) anywhere, and the whole as bare deflate (RFC 1951). What can be
/// read before an error counts.
fn deflate(bytes: &[u8]) -> Vec<Vec<u8>> {
    fn inflated(reader: impl std::io::Read) -> Vec<u8> {
        let mut out = Vec::new();
        let mut reader = reader.take(1 << 20);
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = reader.read(&mut piece) {
            out.extend_from_slice(&piece[..n]);
        }
        out
    }
    let mut views = vec![inflated(flate2::read::DeflateDecoder::new(bytes))];
    for at in memchr::memchr2_iter(0x1f, 0x78, bytes) {
        let rest = &bytes[at..];
        match rest {
            [0x1f, 0x8b, 8, ..] => views.push(inflated(flate2::read::MultiGzDecoder::new(rest))),
            [0x78, level, ..] if (0x7800 + u16::from(*level)).is_multiple_of(31) => {
                views.push(inflated(flate2::read::ZlibDecoder::new(rest)));
            }
            _ => {}
        }
    }
    views
}

#[cfg(test)]
mod tests;
