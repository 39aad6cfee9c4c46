//! Mutations of the short run: small, without memory of what they found, and the same from the same seed.

/// Octets and texts that parsers trip over.
const WORDS: [&[u8]; 48] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xae",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"=?utf-8?q?=0d=0a?=",
    b"=?",
    b"@",
    b"<",
    b">",
    b"\"",
    b"\\",
    b"'",
    b"%00",
    b"%0d%0a",
    b"../",
    b"//",
    b"://",
    b"#",
    b"\r\nBcc: eve@evil.test\r\n",
    b"\r\n.\r\n",
    b"\r\n\r\n",
    b"--",
    b"</",
    b"<!--",
    b"-->",
    b"]]>",
    b"&#x",
    b"&colon;",
    b"<script>",
    b" onerror=",
    b"javascript:",
    b"data:",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"{",
    b"[",
    b"}",
    b"]",
    b",",
    b"\xf0\x9f\x92\x8a",
];

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The numbers of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next_u64() % bound).unwrap_or_default()
    }
}

/// One of the files, changed in one to eight places; at most `limit` octets.
#[must_use]
pub fn mutate(files: &[Vec<u8>], numbers: &mut Numbers, limit: usize) -> Vec<u8> {
    let mut data = files.get(numbers.below(files.len())).cloned().unwrap_or_default();
    for _ in 0..=numbers.below(8) {
        change(&mut data, files, numbers);
    }
    data.truncate(limit);
    data
}

fn change(data: &mut Vec<u8>, files: &[Vec<u8>], numbers: &mut Numbers) {
    let at = numbers.below(data.len() + 1);
    let n = 1 + numbers.below(16);
    let end = (at + n).min(data.len());
    let octet = numbers.next_u64().to_le_bytes()[0];
    match numbers.below(10) {
        0 => {
            if let Some(place) = data.get_mut(at) {
                *place ^= 1 << (octet % 8);
            }
        }
        1 => {
            if let Some(place) = data.get_mut(at) {
                *place = octet;
            }
        }
        2 => data.insert(at, octet),
        3 => drop(data.drain(at..end)),
        4 | 5 => {
            let word = WORDS[numbers.below(WORDS.len())];
            data.splice(at..at, word.iter().copied());
        }
        6 => {
            // The same piece many times: what is linear stays linear.
            let piece = data[at..end].repeat(1 + numbers.below(64));
            data.splice(at..at, piece);
        }
        7 => data.truncate(at),
        8 => {
            let piece = data[at..end].to_vec();
            let to = numbers.below(data.len() + 1);
            data.splice(to..to, piece);
        }
        _ => {
            // The end of another file.
            if let Some(other) = files.get(numbers.below(files.len())) {
                let from = numbers.below(other.len() + 1);
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
        }
    }
}
