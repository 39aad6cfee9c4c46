//! The archive envelope: read from anything, and altered.

use std::collections::BTreeMap;

use sealpost_codec::envelope::{self, EnvelopeError, WrappingKey};
use zeroize::Zeroizing;

use crate::field::choice;

fn key() -> WrappingKey {
    WrappingKey {
        namespace: "sealpost".to_owned(),
        name: "rec_1".to_owned(),
        key: Zeroizing::new([7; 32]),
    }
}

fn context() -> BTreeMap<String, String> {
    BTreeMap::from([("tenant".to_owned(), "ten_1".to_owned())])
}

/// Nothing opens but what was sealed; the files of the corpus hold one text.
pub(crate) fn open(data: &[u8]) {
    if let Ok(plain) = envelope::open(&key(), &context(), data) {
        assert!(plain.iter().all(|byte| *byte == b'a'), "a forged envelope opens");
        let other = BTreeMap::new();
        assert_eq!(
            envelope::open(&key(), &other, data).err(),
            Some(EnvelopeError::OtherContext)
        );
    }
}

/// What is sealed opens, and does not with one octet altered, cut off or added. The first octets say where.
pub(crate) fn tamper(data: &[u8]) {
    let (high, data) = choice(data);
    let (low, data) = choice(data);
    let (change, plain) = choice(data);
    let sealed = envelope::seal(&key(), &context(), plain).expect("it is sealed");
    assert_eq!(
        envelope::open(&key(), &context(), &sealed)
            .as_deref()
            .map(Vec::as_slice),
        Ok(plain)
    );
    let at = usize::from(high) * 256 + usize::from(low);
    let mut altered = sealed.clone();
    let place = at % altered.len();
    altered[place] ^= change.max(1);
    assert!(envelope::open(&key(), &context(), &altered).is_err(), "octet {place}");
    assert!(
        envelope::open(&key(), &context(), &sealed[..place]).is_err(),
        "cut at {place}"
    );
    altered.clone_from(&sealed);
    altered.insert(place, change);
    assert!(
        envelope::open(&key(), &context(), &altered).is_err(),
        "longer at {place}"
    );
}
