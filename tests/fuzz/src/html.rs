//! HTML: made safe, made text, its links led elsewhere.

use std::cell::RefCell;

use html_escape::decode_html_entities;
use sealpost_codec::html::{self, links};
use url::{Host, Url};

/// Attributes that may stand in what was made safe, and nothing else.
const ATTRIBUTES: [&str; 31] = [
    "align",
    "alt",
    "bgcolor",
    "border",
    "cellpadding",
    "cellspacing",
    "color",
    "colspan",
    "dir",
    "face",
    "height",
    "href",
    "lang",
    "nowrap",
    "rel",
    "role",
    "rowspan",
    "scope",
    "size",
    "span",
    "src",
    "start",
    "style",
    "summary",
    "target",
    "title",
    "type",
    "valign",
    "value",
    "width",
    "class",
];
/// Elements that may never stand in it.
const FORBIDDEN: [&str; 34] = [
    "script",
    "style",
    "iframe",
    "object",
    "embed",
    "applet",
    "form",
    "input",
    "button",
    "select",
    "textarea",
    "option",
    "svg",
    "math",
    "base",
    "meta",
    "link",
    "title",
    "template",
    "noscript",
    "frame",
    "frameset",
    "video",
    "audio",
    "source",
    "track",
    "canvas",
    "dialog",
    "portal",
    "slot",
    "xmp",
    "plaintext",
    "noembed",
    "body",
];

/// What is made safe holds nothing that runs or loads, and stays as it is when it is made safe again.
pub(crate) fn sanitise(data: &[u8]) {
    let safe = html::sanitise(&String::from_utf8_lossy(data));
    assert_safe(&safe);
    let again = html::sanitise(&safe);
    assert_safe(&again);
    // HTML has texts that no serialiser can write so that they are read as the same tree (a line feed at the start of a
    // `pre`, crossed tables), so the third time may differ from the second in shape, never in what it may hold.
    assert_eq!(n_letters(&again), n_letters(&safe), "text was lost or made: {safe}");
}

/// Text is made of anything; of text without marks it is that text.
pub(crate) fn text(data: &[u8]) {
    let html = String::from_utf8_lossy(data);
    let text = html::to_text(&html);
    if html
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b' ' || byte == b'.')
    {
        let letters = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(letters(&text), letters(&html));
    }
}

/// Nothing changes where no link does; links that are led elsewhere are exactly those that have a target.
pub(crate) fn links(data: &[u8]) {
    let html = String::from_utf8_lossy(data);
    let found = links::targets(&html);
    for target in &found {
        assert_target(target);
    }
    let same = links::rewrite(&html, "", |_| None);
    assert!(
        same.is_none_or(|same| same == html),
        "a mail changed of which no link was replaced"
    );
    let asked = RefCell::new(Vec::new());
    let led = links::rewrite(&html, "", |target| {
        asked.borrow_mut().push(target.to_owned());
        Some("https://portal.clinic.example/c/1?a&b\"<".to_owned())
    });
    if let Some(led) = led {
        assert!(asked.borrow().iter().all(|target| found.contains(target)));
        // What stands in their place has no target itself, so nothing is left that would be led elsewhere.
        assert!(links::targets(&led).is_empty(), "{led}");
    }
    let mark = "<img src=\"https://portal.clinic.example/o/1\" alt=\"\">";
    if let Some(marked) = links::rewrite(&html, mark, |_| None) {
        assert!(marked.contains(mark) && marked.len() >= html.len());
    }
}

/// A target is a plain web address, by another reader's judgement too, and its own target.
pub(crate) fn target(data: &[u8]) {
    if let Some(target) = links::target(&String::from_utf8_lossy(data)) {
        assert_target(&target);
    }
}

fn assert_target(target: &str) {
    assert!(target.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{target:?}");
    assert_eq!(links::target(target).as_deref(), Some(target));
    let url = Url::parse(target).expect("a target is a URL");
    assert!(matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none());
    let (_, rest) = target.split_once("://").expect("it is absolute");
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let host = host.map_or(authority, |(host, _)| host);
    let parsed = match url.host().expect("it has a host") {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => format!("[{address}]"),
    };
    assert_eq!(host, parsed, "two readers see two hosts in {target}");
}

/// Walks the tags and holds every one against the lists above. Stands on nothing but the form of text: no bare `<`, every
/// value in double quotes, none of them in a value.
fn assert_safe(html: &str) {
    let mut rest = html;
    while let Some((_, tag)) = rest.split_once('<') {
        let tag = tag.strip_prefix('/').unwrap_or(tag);
        let end = tag.find([' ', '>']).unwrap_or_else(|| panic!("an open tag in {html}"));
        let (name, mut inside) = tag.split_at(end);
        assert!(
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
            "{name}"
        );
        assert!(!FORBIDDEN.contains(&name), "{name} in {html}");
        while let Some(attribute) = inside.strip_prefix(' ') {
            let (attribute, value) = attribute
                .split_once("=\"")
                .unwrap_or_else(|| panic!("a bare value in {html}"));
            let (value, after) = value
                .split_once('"')
                .unwrap_or_else(|| panic!("an open value in {html}"));
            assert!(ATTRIBUTES.contains(&attribute), "{attribute} in {html}");
            assert_value(name, attribute, &decode_html_entities(value));
            inside = after;
        }
        rest = inside
            .strip_prefix('>')
            .unwrap_or_else(|| panic!("a broken tag in {html}"));
    }
}

fn assert_value(element: &str, attribute: &str, value: &str) {
    // As browsers read it: without the characters that they skip.
    let skipped: String = value
        .chars()
        .filter(|c| !c.is_control() && !c.is_whitespace())
        .collect();
    let read = skipped.to_ascii_lowercase();
    match attribute {
        "href" => assert!(
            element == "a"
                && ["http:", "https:", "mailto:"]
                    .iter()
                    .any(|scheme| read.starts_with(scheme)),
            "{value}"
        ),
        "src" => assert!(
            element == "img"
                && (read.starts_with("cid:")
                    || ["png", "jpeg", "gif", "webp"]
                        .iter()
                        .any(|kind| read.starts_with(&format!("data:image/{kind};base64,")))),
            "{value}"
        ),
        "style" => assert!(
            !read.contains(['\\', '/', '@', '<', '>', '{', '}'])
                && !read.contains("url(")
                && !read.split(';').any(|property| property.starts_with("position")),
            "{value}"
        ),
        _ => {}
    }
}

/// How many letters and digits stand outside of tags.
fn n_letters(html: &str) -> usize {
    let outside: String = html
        .split('<')
        .map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text))
        .collect();
    decode_html_entities(&outside)
        .chars()
        .filter(|c| c.is_alphanumeric())
        .count()
}
