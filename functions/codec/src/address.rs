//! One mailbox, parsed once at the edge.
//!
//! An [`Address`] is exactly one RFC 5321 addr-spec that SES can take: an ASCII dot-atom, `@`, a domain of two labels or
//! more in its A-label form. Comments, quoted local parts, domain literals, groups, lists and everything with a
//! control character are refused, so no string can carry a second recipient. The value is protected data: `Debug`
//! prints `[address]`, there is no `Display`, and no error repeats its input.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use email_address::{EmailAddress, Options};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::character;

/// Longest address in octets: a path of 256 (RFC 5321 section 4.5.3.1.3) without its angle brackets.
pub const MAX_ADDRESS: usize = 254;
/// Longest local part in octets (RFC 5321 section 4.5.3.1.1).
pub const MAX_LOCAL: usize = 64;
/// Longest display name in characters. Ours: no legitimate name comes near it, and a header stays small.
pub const MAX_NAME: usize = 256;

/// Why a string is not one mailbox. The messages never repeat the string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing but white space.
    #[error("the address is empty")]
    Empty,
    /// More than [`MAX_ADDRESS`] octets.
    #[error("the address is longer than 254 characters")]
    TooLong,
    /// More than [`MAX_LOCAL`] octets before the `@`.
    #[error("the part before the @ is longer than 64 characters")]
    LocalTooLong,
    /// A control character, a line break or a character that reorders text.
    #[error("the address contains a control character")]
    Control,
    /// Letters outside ASCII before the `@`, which SES does not deliver.
    #[error("the part before the @ contains characters outside ASCII")]
    LocalNotAscii,
    /// Not `local@domain`: no `@`, two of them, a comment, a quoted part, a list, a group.
    #[error("the address is not exactly one mailbox")]
    NotOneMailbox,
    /// The domain is no host name: wrong characters, an empty label, an address literal, not valid under IDNA.
    #[error("the domain of the address is not a valid host name")]
    Domain,
    /// The domain has no dot.
    #[error("the domain of the address has a single label")]
    SingleLabel,
    /// The display name is too long, wrongly quoted or contains a character that is refused.
    #[error("the display name of the address is not valid")]
    Name,
}

/// One mailbox: the local part as given, the domain in lower-case A-labels.
///
/// Two addresses are equal when their [`canonical`](Address::canonical) forms are: by RFC 5321 only the receiving
/// host knows whether the local part is case-sensitive, and taking `Ann@` and `ann@` for two people would let one
/// suppression or consent miss the other.
#[derive(Clone)]
pub struct Address {
    text: String,
    at: usize,
}

impl Address {
    /// Parses one addr-spec.
    ///
    /// # Errors
    /// [`AddressError`] for everything that is not exactly one mailbox that SES can deliver to.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        if text.trim().is_empty() {
            return Err(AddressError::Empty);
        }
        if character::is_hostile(text) {
            return Err(AddressError::Control);
        }
        // A U-label can be longer than its A-label in octets, so this bound only stops absurd input early.
        if text.len() > 4 * MAX_ADDRESS {
            return Err(AddressError::TooLong);
        }
        let (local, domain) = text.split_once('@').ok_or(AddressError::NotOneMailbox)?;
        if local.is_empty() || local.starts_with('"') || domain.contains('@') {
            return Err(AddressError::NotOneMailbox);
        }
        if !local.is_ascii() {
            return Err(AddressError::LocalNotAscii);
        }
        if local.len() > MAX_LOCAL {
            return Err(AddressError::LocalTooLong);
        }
        // Its letters are those of an atom, but some readers decode an encoded word even here, where RFC 2047 section 5
        // forbids it, to another mailbox.
        if !EmailAddress::is_valid_local_part(local) || local.contains("=?") {
            return Err(AddressError::NotOneMailbox);
        }
        let domain = ascii_domain(domain)?;
        let text = format!("{local}@{domain}");
        if text.len() > MAX_ADDRESS {
            return Err(AddressError::TooLong);
        }
        let options = Options::default()
            .with_minimum_sub_domains(2)
            .without_display_text()
            .without_domain_literal();
        EmailAddress::parse_with_options(&text, options).map_err(|_| AddressError::NotOneMailbox)?;
        Ok(Address { at: local.len(), text })
    }

    /// `local@domain` with the domain in A-labels; what goes on the wire.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the `@`, in the case it was given in.
    pub fn local(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The domain: lower case, A-labels, two labels or more.
    pub fn domain(&self) -> &str {
        self.text.get(self.at.saturating_add(1)..).unwrap_or_default()
    }

    /// The form for look-ups and comparisons: all of it in lower case.
    pub fn canonical(&self) -> String {
        self.text.to_ascii_lowercase()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[address]")
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.text.eq_ignore_ascii_case(&other.text)
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Address) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Address) -> Ordering {
        self.canonical().cmp(&other.canonical())
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::parse(text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        parse_text(deserializer, Address::parse)
    }
}

/// An address with the name that a mail client shows for it.
///
/// Build it with [`Mailbox::new`] or [`Mailbox::parse`], which check the name; the message writer checks it again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    /// The display name, decoded: no quotes, no encoded words. `None` when there is none.
    pub name: Option<String>,
    /// Where the mail goes.
    pub address: Address,
}

impl Mailbox {
    /// Joins a name and an address. A name of white space alone is no name.
    ///
    /// # Errors
    /// [`AddressError::Name`] for a name that [`check_name`] refuses.
    pub fn new(name: Option<&str>, address: Address) -> Result<Mailbox, AddressError> {
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        if let Some(name) = name {
            check_name(name)?;
        }
        Ok(Mailbox {
            name: name.map(str::to_owned),
            address,
        })
    }

    /// Parses `a@b.example`, `<a@b.example>`, `Name <a@b.example>` or `"Quoted, Name" <a@b.example>`.
    ///
    /// An unquoted name may not contain `< > @ , ; : " \`: each of them could be read as a second mailbox, a group or a
    /// route by some other parser.
    ///
    /// # Errors
    /// [`AddressError`] for anything else, above all for more than one mailbox.
    pub fn parse(text: &str) -> Result<Mailbox, AddressError> {
        if character::is_hostile(text) {
            return Err(AddressError::Control);
        }
        let text = text.trim();
        let Some(rest) = text.strip_suffix('>') else {
            return Mailbox::new(None, Address::parse(text)?);
        };
        let (name, address) = rest.rsplit_once('<').ok_or(AddressError::NotOneMailbox)?;
        let address = Address::parse(address)?;
        let name = name.trim();
        if let Some(quoted) = name.strip_prefix('"') {
            return Mailbox::new(Some(&unquote(quoted)?), address);
        }
        if name.contains(['<', '>', '@', ',', ';', ':', '"', '\\']) {
            return Err(AddressError::NotOneMailbox);
        }
        Mailbox::new(Some(name), address)
    }

    /// `Name <local@domain>` or the bare address, in Unicode: the form that [`Mailbox::parse`] reads back. The name stands
    /// in quotes where it has other characters than a phrase may. The message writer adds the encoding of RFC 2047.
    pub fn to_header_value(&self) -> String {
        let Some(name) = &self.name else {
            return self.address.as_str().to_owned();
        };
        let mut value = String::with_capacity(name.len() + self.address.as_str().len() + 8);
        if is_phrase(name) {
            value.push_str(name);
        } else {
            value.push('"');
            for c in name.chars() {
                if matches!(c, '"' | '\\') {
                    value.push('\\');
                }
                value.push(c);
            }
            value.push('"');
        }
        value.push_str(" <");
        value.push_str(self.address.as_str());
        value.push('>');
        value
    }
}

impl From<Address> for Mailbox {
    fn from(address: Address) -> Mailbox {
        Mailbox { name: None, address }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[mailbox]")
    }
}

impl Serialize for Mailbox {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_header_value())
    }
}

impl<'de> Deserialize<'de> for Mailbox {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mailbox, D::Error> {
        parse_text(deserializer, Mailbox::parse)
    }
}

/// Whether a name needs no quotes: words of atom characters (RFC 5322 section 3.2.3) with single spaces between them.
fn is_phrase(name: &str) -> bool {
    let is_atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/?=^_`{|}~".contains(c);
    name.split(' ')
        .all(|word| !word.is_empty() && word.chars().all(is_atom))
}

/// Checks a decoded display name: at most [`MAX_NAME`] characters, no control or reordering character, no encoded
/// word. The last is refused because some readers decode `=?…?=` even inside quotes, to whatever it holds.
///
/// # Errors
/// [`AddressError::Name`].
pub fn check_name(name: &str) -> Result<(), AddressError> {
    if name.chars().count() > MAX_NAME || character::is_hostile(name) || name.contains("=?") {
        return Err(AddressError::Name);
    }
    Ok(())
}

/// The domain as lower-case A-labels, by the strict profile: STD3 characters, hyphen and DNS length rules.
fn ascii_domain(domain: &str) -> Result<String, AddressError> {
    let domain = idna::domain_to_ascii_strict(domain).map_err(|_| AddressError::Domain)?;
    let (_, top) = domain.rsplit_once('.').ok_or(AddressError::SingleLabel)?;
    // No top-level domain is a number (RFC 3696 section 2); one that looks so is an IPv4 address.
    if top.is_empty() || top.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::Domain);
    }
    Ok(domain)
}

/// The text of a quoted-string whose opening quote is already gone; its closing quote must be the last character.
fn unquote(quoted: &str) -> Result<String, AddressError> {
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' if characters.as_str().is_empty() => return Ok(text),
            '"' => break,
            '\\' => text.push(characters.next().ok_or(AddressError::Name)?),
            c => text.push(c),
        }
    }
    Err(AddressError::Name)
}

/// Reads a string and parses it. Unlike the derived form, the error does not quote the string.
fn parse_text<'de, D, T>(deserializer: D, parse: fn(&str) -> Result<T, AddressError>) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct Text<T>(fn(&str) -> Result<T, AddressError>);

    impl<T> de::Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an email address")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.0)(text).map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(parse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mailbox_is_taken_and_its_domain_made_ascii() {
        for (text, expected) in [
            ("ann@clinic.test", "ann@clinic.test"),
            ("Ann.Lee@Clinic.TEST", "Ann.Lee@clinic.test"),
            ("ann+labs@clinic.test", "ann+labs@clinic.test"),
            ("!#$%&'*+-/?=^_`{|}~@clinic.test", "!#$%&'*+-/?=^_`{|}~@clinic.test"),
            ("a@b-c.d.example", "a@b-c.d.example"),
            ("1@2.example", "1@2.example"),
            ("ann@bücher.example", "ann@xn--bcher-kva.example"),
            ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
            ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
            ("ann@例え.テスト", "ann@xn--r8jz45g.xn--zckzah"),
            // A look-alike domain (Cyrillic а) stays apart from the Latin one and is visible as such.
            ("ann@clinic-а.example", "ann@xn--clinic--8fg.example"),
        ] {
            let address = Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.as_str(), expected, "{text}");
            assert_eq!(format!("{}@{}", address.local(), address.domain()), expected);
            assert_eq!(Address::parse(address.as_str()).unwrap(), address);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        use AddressError::*;
        let long_local = format!("{}@clinic.test", "a".repeat(65));
        let long_label = format!("a@{}.test", "b".repeat(64));
        let long_domain = format!("a@{}.test", ["b".repeat(60).as_str(); 5].join("."));
        let long_whole = format!("{}@{}.test", "a".repeat(62), ["b".repeat(62).as_str(); 3].join("."));
        for (text, expected) in [
            ("", Empty),
            ("  ", Empty),
            ("ann", NotOneMailbox),
            ("@clinic.test", NotOneMailbox),
            ("ann@", Domain),
            ("ann@@clinic.test", NotOneMailbox),
            ("=?utf-8?q?eve=40evil=2etest?=@clinic.test", NotOneMailbox),
            ("a@b.test,c@d.test", NotOneMailbox),
            ("a@b.test;c@d.test", NotOneMailbox),
            ("a@b.test c@d.test", NotOneMailbox),
            ("a@b.test, c", Domain),
            ("a,c@b.test", NotOneMailbox),
            ("a c@b.test", NotOneMailbox),
            (" ann@clinic.test", NotOneMailbox),
            ("ann@clinic.test ", Domain),
            ("ann@ clinic.test", Domain),
            ("\"ann lee\"@clinic.test", NotOneMailbox),
            ("\"a@b\"@clinic.test", NotOneMailbox),
            ("ann(comment)@clinic.test", NotOneMailbox),
            ("ann@clinic.test(comment)", Domain),
            ("ann@[192.0.2.1]", Domain),
            ("ann@[IPv6:2001:db8::1]", Domain),
            ("ann@192.0.2.1", Domain),
            ("ann@localhost", SingleLabel),
            ("ann@.test", Domain),
            ("ann@clinic..test", Domain),
            ("ann@clinic.test.", Domain),
            ("ann@-clinic.test", Domain),
            ("ann@clinic-.test", Domain),
            ("ann@cli_nic.test", Domain),
            ("ann@clinic.test/x", Domain),
            ("ann@xn--a.test", Domain),
            (".ann@clinic.test", NotOneMailbox),
            ("ann.@clinic.test", NotOneMailbox),
            ("ann..lee@clinic.test", NotOneMailbox),
            ("<script>@clinic.test", NotOneMailbox),
            ("<ann@clinic.test>", NotOneMailbox),
            ("Ann <ann@clinic.test>", NotOneMailbox),
            ("team:ann@clinic.test;", NotOneMailbox),
            ("@relay.test:ann@clinic.test", NotOneMailbox),
            ("relay!ann\\x@clinic.test", NotOneMailbox),
            ("änn@clinic.test", LocalNotAscii),
            ("ann\u{FF20}x@clinic.test", LocalNotAscii),
            ("ann@clinic.test\r\nBcc: x@evil.test", Control),
            ("ann@clinic.test\n", Control),
            ("ann\0@clinic.test", Control),
            ("ann\t@clinic.test", Control),
            ("ann\u{85}@clinic.test", Control),
            ("ann@clinic\u{2028}.test", Control),
            ("ann@clinic\u{202E}.test", Control),
            ("ann@clinic\u{200F}.test", Control),
            (long_local.as_str(), LocalTooLong),
            (long_label.as_str(), Domain),
            (long_domain.as_str(), Domain),
            (long_whole.as_str(), TooLong),
        ] {
            assert_eq!(Address::parse(text).err(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn the_longest_address_is_taken() {
        let domain = format!("{}.test", ["b".repeat(61).as_str(); 3].join("."));
        let local = "a".repeat(MAX_ADDRESS - domain.len() - 1);
        assert_eq!(local.len(), 63);
        assert!(Address::parse(&format!("{local}@{domain}")).is_ok());
        assert_eq!(
            Address::parse(&format!("{local}aa@{domain}")).err(),
            Some(AddressError::LocalTooLong)
        );
        assert_eq!(
            Address::parse(&format!("{local}a@{domain}")).err(),
            Some(AddressError::TooLong)
        );
    }

    #[test]
    fn case_does_not_make_two_people() {
        let (one, two) = (Address::parse("Ann@Clinic.test"), Address::parse("ann@clinic.TEST"));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one, two);
        assert_eq!(one.canonical(), "ann@clinic.test");
        let set: std::collections::HashSet<_> = [one, two].into();
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn mailboxes_are_read_and_written_back() {
        for (text, name, address) in [
            ("ann@clinic.test", None, "ann@clinic.test"),
            ("  <ann@clinic.test> ", None, "ann@clinic.test"),
            ("Ann Lee <ann@clinic.test>", Some("Ann Lee"), "ann@clinic.test"),
            ("Dr. O'Neil<o@clinic.test>", Some("Dr. O'Neil"), "o@clinic.test"),
            ("\"Lee, Ann\" <ann@clinic.test>", Some("Lee, Ann"), "ann@clinic.test"),
            (
                r#""A \"B\" \\ C" <ann@clinic.test>"#,
                Some(r#"A "B" \ C"#),
                "ann@clinic.test",
            ),
            (
                "\"a <b@c.test>\" <ann@clinic.test>",
                Some("a <b@c.test>"),
                "ann@clinic.test",
            ),
            ("\"\" <ann@clinic.test>", None, "ann@clinic.test"),
            (
                "Zoë Müller <zoe@bücher.example>",
                Some("Zoë Müller"),
                "zoe@xn--bcher-kva.example",
            ),
            (
                "Clinic (Labs) <labs@clinic.test>",
                Some("Clinic (Labs)"),
                "labs@clinic.test",
            ),
        ] {
            let mailbox = Mailbox::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(mailbox.name.as_deref(), name, "{text}");
            assert_eq!(mailbox.address.as_str(), address);
            assert_eq!(Mailbox::parse(&mailbox.to_header_value()).unwrap(), mailbox);
        }
    }

    #[test]
    fn names_stand_in_quotes_only_where_they_must() {
        for (text, value) in [
            ("Clinic <care@clinic.test>", "Clinic <care@clinic.test>"),
            ("\"Ann Lee\" <ann@clinic.test>", "Ann Lee <ann@clinic.test>"),
            ("Dr. Lee <ann@clinic.test>", "\"Dr. Lee\" <ann@clinic.test>"),
            ("\"Lee, Ann\" <ann@clinic.test>", "\"Lee, Ann\" <ann@clinic.test>"),
            ("Zoë <zoe@clinic.test>", "\"Zoë\" <zoe@clinic.test>"),
            ("\"a  b\" <ann@clinic.test>", "\"a  b\" <ann@clinic.test>"),
        ] {
            assert_eq!(Mailbox::parse(text).unwrap().to_header_value(), value, "{text}");
        }
    }

    #[test]
    fn other_mailboxes_are_refused() {
        let long_name = format!("{} <ann@clinic.test>", "n".repeat(MAX_NAME + 1));
        for text in [
            "a@b.test,c@d.test",
            "a@b.test, C <c@d.test>",
            "A <a@b.test>, C <c@d.test>",
            "Lee, Ann <ann@clinic.test>",
            "A <a@b.test> <c@d.test>",
            "<a@b.test",
            "a@b.test>",
            "Ann <>",
            "Ann <ann@clinic.test> x",
            "Team: Ann <ann@clinic.test>;",
            "Team: Ann <ann@clinic.test>",
            "\"Ann <ann@clinic.test>",
            "\"Ann\" Lee <ann@clinic.test>",
            "\"Ann\\\" <ann@clinic.test>",
            "chief@bank.test <ann@clinic.test>",
            "Ann\r\nBcc: x@y.test <ann@clinic.test>",
            "Ann\u{202E} <ann@clinic.test>",
            "Ann\u{2029} <ann@clinic.test>",
            "Ann\0 <ann@clinic.test>",
            "=?utf-8?q?=0D=0ABcc:_x=40y.test?= <ann@clinic.test>",
            "Ann < ann@clinic.test>",
            long_name.as_str(),
        ] {
            assert!(Mailbox::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn neither_debug_nor_errors_show_the_value() {
        let mailbox = Mailbox::parse("Ann <ann@clinic.test>").unwrap();
        assert_eq!(format!("{:?} {mailbox:?}", mailbox.address), "[address] [mailbox]");
        for text in ["\"ann lee@clinic.test\"", "\"a@b.test,c@d.test\"", "17"] {
            let error = serde_json::from_str::<Address>(text).unwrap_err().to_string();
            assert!(!error.contains("test") && !error.contains("ann lee"), "{error}");
        }
        let json = serde_json::to_string(&mailbox).unwrap();
        assert_eq!(json, r#""Ann <ann@clinic.test>""#);
        assert_eq!(serde_json::from_str::<Mailbox>(&json).unwrap(), mailbox);
        assert_eq!(serde_json::to_string(&mailbox.address).unwrap(), r#""ann@clinic.test""#);
    }

    proptest::proptest! {
        #[test]
        fn any_string_is_refused_or_exactly_one_mailbox(text in r#"([a-z@.,<>"\\ ()\[\]:;]|\PC|\r|\n){0,40}"#) {
            if let Ok(address) = Address::parse(&text) {
                assert!(address.as_str().is_ascii() && address.as_str().matches('@').count() == 1);
                assert!(!address.as_str().contains([',', '<', '>', '"', ' ', '(', ':', ';', '\r', '\n']));
                assert_eq!(Address::parse(address.as_str()).unwrap().as_str(), address.as_str());
            }
            if let Ok(mailbox) = Mailbox::parse(&text) {
                assert_eq!(Mailbox::parse(&mailbox.to_header_value()).unwrap(), mailbox);
            }
        }
    }
}
