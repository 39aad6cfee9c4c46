//! Round trips, every altered octet, and a message that Amazon's Python library made.

use super::*;

fn key() -> WrappingKey {
    WrappingKey {
        namespace: "sealpost".to_owned(),
        name: "rec_1".to_owned(),
        key: Zeroizing::new(std::array::from_fn(|i| i as u8)),
    }
}

fn context() -> BTreeMap<String, String> {
    [("tenant", "ten_1"), ("email", "em_1"), ("ä", "ö")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn what_was_sealed_opens() {
    for n in [0, 1, 4095, 4096, 4097, 8192, 1 << 20] {
        let plain: Vec<u8> = (0..n).map(|i: usize| (i * 31 % 251) as u8).collect();
        for context in [context(), BTreeMap::new()] {
            let sealed = seal(&key(), &context, &plain).unwrap();
            assert_eq!(*open(&key(), &context, &sealed).unwrap(), plain, "{n}");
        }
    }
    assert_ne!(
        seal(&key(), &context(), b"x").unwrap(),
        seal(&key(), &context(), b"x").unwrap()
    );
}

#[test]
fn another_context_or_key_is_refused() {
    let sealed = seal(&key(), &context(), b"content").unwrap();
    let mut more = context();
    more.insert("more".to_owned(), "x".to_owned());
    let mut less = context();
    less.remove("email");
    let mut other = context();
    other.insert("email".to_owned(), "em_2".to_owned());
    for expected in [more, less, other, BTreeMap::new()] {
        assert_eq!(
            open(&key(), &expected, &sealed).err(),
            Some(EnvelopeError::OtherContext)
        );
    }
    let other_name = WrappingKey {
        name: "rec_2".to_owned(),
        ..key()
    };
    let longer_name = WrappingKey {
        name: "rec_10".to_owned(),
        ..key()
    };
    let other_space = WrappingKey {
        namespace: "sealpos".to_owned(),
        ..key()
    };
    for key in [other_name, longer_name, other_space] {
        assert_eq!(open(&key, &context(), &sealed).err(), Some(EnvelopeError::OtherKey));
    }
    let other_value = WrappingKey {
        key: Zeroizing::new([9; 32]),
        ..key()
    };
    assert_eq!(
        open(&other_value, &context(), &sealed).err(),
        Some(EnvelopeError::Unverified)
    );
}

#[test]
fn every_altered_octet_is_refused() {
    let plain = vec![7; FRAME_LENGTH + 3];
    let sealed = seal(&key(), &context(), &plain).unwrap();
    for i in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[i] ^= 1 << (i % 8);
        assert!(open(&key(), &context(), &altered).is_err(), "octet {i}");
    }
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let plain = vec![7; 2 * FRAME_LENGTH + 3];
    let sealed = seal(&key(), &context(), &plain).unwrap();
    for n in 0..sealed.len() {
        assert!(open(&key(), &context(), &sealed[..n]).is_err(), "{n} octets");
    }
    let mut longer = sealed.clone();
    longer.push(0);
    assert_eq!(open(&key(), &context(), &longer).err(), Some(EnvelopeError::Malformed));
}

#[test]
fn frames_cannot_be_swapped_dropped_or_repeated() {
    let plain: Vec<u8> = (0..3 * FRAME_LENGTH + 1).map(|i| (i / FRAME_LENGTH) as u8).collect();
    let sealed = seal(&key(), &context(), &plain).unwrap();
    let frame = 4 + 12 + FRAME_LENGTH + 16;
    let start = sealed.len() - (4 + 4 + 12 + 4 + 1 + 16) - 3 * frame;
    let (head, body) = sealed.split_at(start);
    let (one, rest) = body.split_at(frame);
    let (two, rest) = rest.split_at(frame);
    for order in [
        vec![two, one, rest],
        vec![one, rest],
        vec![one, one, two, rest],
        vec![one, two, two, rest],
    ] {
        let altered = [&[head], order.as_slice()].concat().concat();
        assert!(open(&key(), &context(), &altered).is_err());
    }
    assert!(open(&key(), &context(), &[head, one, two, rest].concat()).is_ok());
}

#[test]
fn names_and_contexts_that_do_not_fit_are_refused() {
    let long = "x".repeat(65_536);
    let huge: BTreeMap<_, _> = [("a".to_owned(), long.clone())].into();
    let sum: BTreeMap<_, _> = ["a", "b"].map(|key| (key.to_owned(), "x".repeat(40_000))).into();
    for context in [huge, sum] {
        assert_eq!(seal(&key(), &context, b"").err(), Some(EnvelopeError::Unrepresentable));
    }
    for (namespace, name) in [
        ("aws-kms", "n"),
        ("aws-kms-x", "n"),
        ("", "n"),
        ("n", ""),
        (long.as_str(), "n"),
        ("n", long.as_str()),
    ] {
        let key = WrappingKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..key()
        };
        assert_eq!(seal(&key, &context(), b"").err(), Some(EnvelopeError::Unrepresentable));
    }
}

#[test]
fn debug_does_not_show_the_key() {
    let text = format!("{:?}", key());
    assert!(text.contains("rec_1") && !text.contains("31"), "{text}");
}

/// Made by Amazon's `aws-encryption-sdk` 4.0.7 for Python with [`key`] and [`context`].
const AMAZON: &str = "\
    02047888c9fd0f31bfa9abe8a89ffb6605f9b9e6e0698f44a86ab6936a5c5c19b14a8a002600030005656d61696c0004656d\
    5f31000674656e616e74000574656e5f310002c3a40002c3b6000100087365616c706f737400197265635f31000000800000\
    000c2a92d0ad35807a0e7523b7ca003052435ca986351e64b52de9eddf6c472aa1679e8b0794289d9d1b56faab9d2e0bb031\
    d91445c961ee219fe5d1ce39ec020200001000024f19b4bf3d36304c987b0047e8b4aeb106057ee6b0cf68c9b793427d5cc4\
    77b0ce6c2e418b684cbe95c5b9b46d2429ffffffff00000001000000000000000000000001000000118f0973e99e708cd90d\
    3f03a212c2f18c73b099eacbea8380342d8c45e3ae620423";

#[test]
fn a_message_by_amazons_library_opens() {
    let message: Vec<u8> = (0..AMAZON.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&AMAZON[i..i + 2], 16).unwrap())
        .collect();
    assert_eq!(*open(&key(), &context(), &message).unwrap(), b"Amazon made this.");
    assert_eq!(
        open(&key(), &BTreeMap::new(), &message).err(),
        Some(EnvelopeError::OtherContext)
    );
}

proptest::proptest! {
    #[test]
    fn foreign_octets_never_open(head in 0_usize..160, tail: Vec<u8>) {
        let mut message = seal(&key(), &context(), b"content").unwrap();
        message.truncate(head);
        message.extend_from_slice(&tail);
        assert!(open(&key(), &context(), &message).is_err());
    }
}
