//! HTML that strangers wrote, made safe to show and readable as text.
//!
//! [`sanitise`] keeps what a letter needs (text, tables, lists, links, embedded pictures) and nothing that runs, submits,
//! loads from elsewhere or covers the page. It is one of two walls: the portal also shows the result in a sandboxed
//! frame without scripts, on an origin of its own, with `default-src 'none'`. [`to_text`] makes the plain alternative.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::panic;
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};

mod depth;
pub mod links;

/// Columns of the plain text; with a reply mark it still fits the 80 of a terminal (RFC 5322 section 2.1.1 asks for 78).
const TEXT_WIDTH: usize = 78;
/// Deepest nesting of elements that is worked on. Real mail stays under a hundred.
const MAX_DEPTH: usize = 256;

/// Elements that stay. No `style`, `svg`, `math`, `form`, `iframe`, `object`, `base`, `meta`, `link`, `template`.
const ELEMENTS: [&str; 61] = [
    "a",
    "abbr",
    "address",
    "article",
    "b",
    "bdi",
    "blockquote",
    "br",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "font",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "main",
    "mark",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "section",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "u",
    "ul",
    "wbr",
];
/// Elements that go together with what is inside them; of any other unknown element the text stays.
const ELEMENTS_WITH_CONTENT: [&str; 15] = [
    "script", "style", "title", "template", "noscript", "iframe", "object", "embed", "noembed", "noframes", "svg",
    "math", "select", "textarea", "xmp",
];
/// Style properties that stay. Nothing that positions, overlaps, generates content or takes a picture.
const PROPERTIES: [&str; 43] = [
    "background-color",
    "border",
    "border-bottom",
    "border-bottom-color",
    "border-bottom-style",
    "border-bottom-width",
    "border-collapse",
    "border-color",
    "border-left",
    "border-radius",
    "border-right",
    "border-spacing",
    "border-style",
    "border-top",
    "border-width",
    "color",
    "direction",
    "font-family",
    "font-size",
    "font-style",
    "font-variant",
    "font-weight",
    "height",
    "letter-spacing",
    "line-height",
    "list-style-type",
    "margin",
    "margin-bottom",
    "margin-left",
    "margin-right",
    "margin-top",
    "max-width",
    "padding",
    "padding-bottom",
    "padding-left",
    "padding-right",
    "padding-top",
    "text-align",
    "text-decoration",
    "vertical-align",
    "white-space",
    "width",
    "word-break",
];

/// Returns `html` without scripts, forms, remote loads and styles that could cover the page.
///
/// Pictures stay when their source is `cid:` or an embedded PNG, JPEG, GIF or WebP; links when they lead to `http`,
/// `https` or `mailto`, and they open in another tab that learns nothing of this page. HTML nested deeper than
/// 256 elements comes back as escaped text. Never fails; the result is a fragment, to be put inside a body.
pub fn sanitise(html: &str) -> String {
    if depth::exceeds(html, MAX_DEPTH) {
        return ammonia::clean_text(html);
    }
    CLEANER.clean(html).to_string()
}

/// Returns the text of `html`, wrapped at 78 columns, links as numbered notes at the end.
///
/// HTML that the converter cannot lay out (nested deeper than 256 elements) comes back as its bare text.
pub fn to_text(html: &str) -> String {
    if depth::exceeds(html, MAX_DEPTH) {
        return bare_text(html);
    }
    let html = CLEANER.clean(html).to_string();
    if depth::exceeds(&html, MAX_DEPTH) {
        return bare_text(&html);
    }
    // Laying out hostile tables has panicked in this library before; a message must still get its text.
    let text = panic::catch_unwind(|| html2text::config::plain().string_from_read(html.as_bytes(), TEXT_WIDTH));
    match text {
        Ok(Ok(text)) => text,
        _ => bare_text(&html),
    }
}

static CLEANER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let cell = [
        "align", "valign", "width", "height", "bgcolor", "colspan", "rowspan", "scope", "nowrap",
    ];
    let attributes: HashMap<&str, HashSet<&str>> = [
        ("a", ["href", "title"].into()),
        ("img", ["src", "alt", "title", "width", "height", "border"].into()),
        ("font", ["color", "face", "size"].into()),
        (
            "table",
            [
                "align",
                "width",
                "border",
                "cellpadding",
                "cellspacing",
                "bgcolor",
                "role",
                "summary",
            ]
            .into(),
        ),
        ("tr", ["align", "valign", "bgcolor"].into()),
        ("td", cell.into()),
        ("th", cell.into()),
        ("col", ["span", "width"].into()),
        ("colgroup", ["span", "width"].into()),
        ("ol", ["start", "type"].into()),
        ("li", ["value"].into()),
        ("p", ["align"].into()),
        ("div", ["align"].into()),
        ("hr", ["width", "size"].into()),
    ]
    .into();
    let mut cleaner = Builder::empty();
    cleaner
        .tags(ELEMENTS.into())
        .clean_content_tags(ELEMENTS_WITH_CONTENT.into())
        .tag_attributes(attributes)
        .generic_attributes(["style", "dir", "lang"].into())
        .url_schemes(["http", "https", "mailto", "cid", "data"].into())
        .url_relative(UrlRelative::Deny)
        .attribute_filter(filter_attribute)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .strip_comments(true);
    cleaner
});

fn filter_attribute<'v>(element: &str, attribute: &str, value: &'v str) -> Option<Cow<'v, str>> {
    match (element, attribute) {
        ("img", "src") => is_embedded_picture(value).then_some(Cow::Borrowed(value)),
        ("a", "href") => is_link(value).then_some(Cow::Borrowed(value)),
        (_, "style") => {
            let style = filter_style(value);
            (!style.is_empty()).then_some(Cow::Owned(style))
        }
        (_, "src" | "href") => None,
        _ => Some(Cow::Borrowed(value)),
    }
}

fn has_scheme(value: &str, scheme: &str) -> bool {
    value
        .split_once(':')
        .is_some_and(|(start, _)| start.eq_ignore_ascii_case(scheme))
}

/// Starts with the scheme itself: leading space or control characters, which browsers skip, are not skipped here.
fn is_link(value: &str) -> bool {
    ["http", "https", "mailto"]
        .iter()
        .any(|scheme| has_scheme(value, scheme))
        && !value.chars().any(char::is_control)
}

fn is_embedded_picture(value: &str) -> bool {
    if has_scheme(value, "cid") {
        return value.chars().all(|c| c.is_ascii_graphic());
    }
    let value = value.to_ascii_lowercase();
    ["png", "jpeg", "gif", "webp"].iter().any(|kind| {
        value
            .strip_prefix("data:image/")
            .and_then(|rest| rest.strip_prefix(kind))
            .and_then(|rest| rest.strip_prefix(";base64,"))
            .is_some_and(|data| data.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)))
    })
}

/// The declarations whose property is listed and whose value is made of words, numbers, colours and quoted names. A
/// value with a backslash, slash, colon or `@`, or a function other than `rgb`, `rgba`, `hsl`, `hsla`, drops out, and
/// with it every way to name a resource.
fn filter_style(style: &str) -> String {
    let mut out = String::new();
    for declaration in style.split(';') {
        let Some((property, value)) = declaration.split_once(':') else {
            continue;
        };
        let (property, value) = (property.trim().to_ascii_lowercase(), value.trim());
        if PROPERTIES.contains(&property.as_str()) && is_plain_value(value) {
            if !out.is_empty() {
                out.push_str("; ");
            }
            out.push_str(&property);
            out.push_str(": ");
            out.push_str(value);
        }
    }
    out
}

fn is_plain_value(value: &str) -> bool {
    let is_spelled = value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || " #.,%-!'\"()".contains(c));
    let is_closed = |quote| value.matches(quote).count() % 2 == 0;
    let mut pieces = value.split('(').rev().skip(1);
    let has_only_colours = pieces.all(|before| {
        let name = before.rsplit([' ', ',', ')']).next().unwrap_or_default();
        ["rgb", "rgba", "hsl", "hsla"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    });
    !value.is_empty() && value.len() <= 200 && is_spelled && is_closed('"') && is_closed('\'') && has_only_colours
}

/// What stands outside of tags. A last resort: readable, not laid out.
fn bare_text(html: &str) -> String {
    let mut text = String::with_capacity(html.len() / 2);
    let mut is_in_tag = false;
    for c in html.chars() {
        match c {
            '<' => {
                is_in_tag = true;
                text.push(' ');
            }
            '>' => is_in_tag = false,
            c if !is_in_tag => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
