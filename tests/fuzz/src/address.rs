//! Addresses and display names.

use mail_parser::MessageParser;
use sealpost_codec::address::{Address, MAX_ADDRESS, Mailbox, check_name};

use crate::field::Fields;

/// What is taken is one mailbox, reads back as itself, and another parser sees the same one.
pub(crate) fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(address) = Address::parse(&text) else {
        return;
    };
    let written = address.as_str();
    assert!(written.is_ascii() && written.len() <= MAX_ADDRESS, "the form");
    assert!(
        !written.contains(|c: char| c.is_control() || " ,;:<>()[]\"\\".contains(c)),
        "a special"
    );
    assert_eq!(format!("{}@{}", address.local(), address.domain()), written);
    let again = Address::parse(written).expect("what was written is read");
    assert_eq!(again.as_str(), written);
    let canonical = Address::parse(&address.canonical()).expect("the canonical form is an address");
    assert!(canonical == address && canonical.canonical() == address.canonical());
    let json = serde_json::to_string(&address).expect("it is text");
    assert_eq!(
        serde_json::from_str::<Address>(&json).expect("it is the same").as_str(),
        written
    );
    assert_eq!(seen_by_another("To", written), [(None, written.to_owned())]);
}

/// What is taken as a mailbox is written so that it reads back as itself, here and elsewhere.
pub(crate) fn mailbox(data: &[u8]) {
    let mut fields = Fields::new(data);
    let (text, name) = (fields.text(), fields.text());
    if let Ok(mailbox) = Mailbox::parse(&text) {
        read_back(&mailbox);
        let address = mailbox.address;
        if let Ok(mailbox) = Mailbox::new(Some(&name), address) {
            assert!(check_name(&name).is_ok() || name.trim() != name);
            read_back(&mailbox);
        }
    }
}

fn read_back(mailbox: &Mailbox) {
    let written = mailbox.to_header_value();
    assert!(!written.contains(char::is_control));
    let again = Mailbox::parse(&written).expect("what was written is read");
    assert!(
        again == *mailbox && again.address.as_str() == mailbox.address.as_str(),
        "{written}"
    );
    let json = serde_json::to_string(mailbox).expect("it is text");
    assert!(serde_json::from_str::<Mailbox>(&json).expect("it is the same") == *mailbox);
    // A raw header holds ASCII alone; the message writer encodes the rest (see `mime_message`).
    if written.is_ascii() {
        let seen = seen_by_another("From", &written);
        assert_eq!(seen.len(), 1, "{written}");
        assert_eq!(seen[0].1, mailbox.address.as_str(), "{written}");
    }
}

/// The mailboxes that mail-parser sees in a field.
pub(crate) fn seen_by_another(field: &str, value: &str) -> Vec<(Option<String>, String)> {
    let message = format!("{field}: {value}\r\n\r\n");
    let parsed = MessageParser::default()
        .parse(message.as_bytes())
        .expect("a header alone is a message");
    let list = parsed.header(field).and_then(|value| value.as_address());
    let seen = list.into_iter().flat_map(|list| list.iter());
    seen.map(|one| {
        (
            one.name().map(str::to_owned),
            one.address().unwrap_or_default().to_owned(),
        )
    })
    .collect()
}
