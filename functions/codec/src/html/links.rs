//! The links of an HTML mail: which of them may be led through a page of ours, and putting others in their place.
//!
//! Every tag but those whose link is replaced stays as its writer wrote it, octet by octet.

use std::cell::RefCell;

use lol_html::html_content::ContentType;
use lol_html::{RewriteStrSettings, element, end_tag, rewrite_str};
use url::{Host, Url};

/// The longest link that is followed, bytes; longer ones stay as they are.
const MAX_LINK: usize = 2048;

/// Where a link leads, if it is one that may be redirected to: absolute, `http` or `https`, with a host and without a user
/// name, a password, white space or control characters. The result is ASCII, as the URL standard serialises it, and so fit
/// for a `Location` header. Everything else (`mailto:`, `tel:`, `#part`, `//host`, `javascript:` …) is none.
#[must_use]
pub fn target(href: &str) -> Option<String> {
    let is_plain = !href.is_empty()
        && href.len() <= MAX_LINK
        && !href
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '<' | '>' | '"'));
    // The parser would mend `https:evil.example` and `https:/evil.example`; what has to be mended is not followed.
    let has_scheme = ["http://", "https://"].iter().any(|scheme| {
        href.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    if !is_plain
        || !has_scheme
        || href
            .split("//")
            .nth(1)
            .is_none_or(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        return None;
    }
    let url = Url::parse(href).ok()?;
    let has_host = match url.host()? {
        // The URL standard lets a host have marks such as `"` in it, if they come percent-encoded.
        Host::Domain(domain) => domain.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        }),
        Host::Ipv4(_) | Host::Ipv6(_) => true,
    };
    let has_user = !url.username().is_empty() || url.password().is_some() || authority(href).contains(['@', '%']);
    let text = String::from(url);
    (has_host && !has_user && text.is_ascii() && text.len() <= MAX_LINK).then_some(text)
}

/// What stands between `//` and the path.
fn authority(href: &str) -> &str {
    let rest = href.split_once("//").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The targets of a mail's links, each once, in their order. Empty for HTML that cannot be rewritten without doubt.
#[must_use]
pub fn targets(html: &str) -> Vec<String> {
    let found = RefCell::new(Vec::new());
    let is_read = rewrite(html, "", |known| {
        let mut found = found.borrow_mut();
        if !found.iter().any(|other| other == known) {
            found.push(known.to_owned());
        }
        None
    });
    if is_read.is_none() {
        Vec::new()
    } else {
        found.into_inner()
    }
}

/// The mail with other links in the place of those for which `replace` knows one, and `end` at the end of its body. `replace`
/// is asked with the [`target`] of every link that has one. `None` for HTML that cannot be rewritten without doubt, such as
/// text that browsers read in two ways.
#[must_use]
pub fn rewrite(html: &str, end: &str, replace: impl Fn(&str) -> Option<String>) -> Option<String> {
    let links = element!("a[href], area[href]", |link| {
        let href = link.get_attribute("href").unwrap_or_default();
        let href = html_escape::decode_html_entities(&href);
        if let Some(other) = target(&href).and_then(|known| replace(&known)) {
            link.set_attribute("href", &html_escape::encode_double_quoted_attribute(&other))?;
        }
        Ok(())
    });
    let body = element!("body", |body| {
        if let Some(handlers) = body.end_tag_handlers() {
            let end = end.to_owned();
            handlers.push(end_tag!(move |tag| {
                tag.before(&end, ContentType::Html);
                Ok(())
            }));
        }
        Ok(())
    });
    let mut handlers = vec![links];
    if !end.is_empty() {
        handlers.push(body);
    }
    let settings = handlers.into_iter().fold(
        RewriteStrSettings::new(),
        RewriteStrSettings::append_element_content_handler,
    );
    let mut rewritten = rewrite_str(html, settings).ok()?;
    // A body without an end tag ends with the document.
    if !end.is_empty() && !rewritten.contains(end) {
        rewritten.push_str(end);
    }
    Some(rewritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_web_links_have_a_target() {
        for (href, expected) in [
            (
                "https://clinic.example/a?b=1&c=2#d",
                "https://clinic.example/a?b=1&c=2#d",
            ),
            ("HTTP://Clinic.Example", "http://clinic.example/"),
            ("https://clinic.example:8443/%2e%2e/x", "https://clinic.example:8443/x"),
            ("https://bücher.example/", "https://xn--bcher-kva.example/"),
            (
                "https://clinic.example/?to=a@b.example",
                "https://clinic.example/?to=a@b.example",
            ),
        ] {
            assert_eq!(target(href).as_deref(), Some(expected), "{href}");
        }
        for href in [
            "",
            "#top",
            "/path",
            "path",
            "?q",
            "//evil.example",
            "///evil.example",
            "https:evil.example",
            "https:/evil.example",
            "https:///evil.example",
            "https://",
            "https://?q",
            "https://#f",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "java\tscript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "ftp://evil.example",
            "mailto:a@b.example",
            "tel:+1",
            "cid:x",
            "blob:https://evil.example/x",
            "https://a@evil.example",
            "https://a:b@evil.example",
            "https://clinic.example@evil.example",
            "https://@evil.example/",
            "https://e%22vil.example/",
            "https://%65vil.example/",
            "https://evil'.example/",
            "https://clinic.example\\@evil.example",
            "https:\\\\evil.example",
            "https://evil.example\r\nSet-Cookie: a=b",
            "https://evil.example/\0",
            " https://evil.example",
            "https://evil.example/ x",
            "https://evil.example/\u{2028}",
            "view-source:https://evil.example",
            "https://[::1",
            "https://1.2.3.4.5.6.7:99999",
            "https://exa mple",
            "https://\u{3002}",
            "%68ttps://evil.example",
            "https%3a%2f%2fevil.example",
        ] {
            assert_eq!(target(href), None, "{href:?}");
        }
        assert_eq!(
            target(&format!("https://clinic.example/{}", "a".repeat(MAX_LINK))),
            None
        );
    }

    #[test]
    fn links_are_found_and_replaced_and_nothing_else_changes() {
        let html = "<html><BODY class=x><p>Hi &amp; <a href=\"https://a.example/?x=1&amp;y=2\" title='t'>one</a>\r\n\
                    <a href=https://b.example/>two</a><a href='mailto:a@b.example'>mail</a><a name=x>none</a>\
                    <map><area HREF='https://a.example/?x=1&y=2'></map><!-- <a href=\"https://c.example/\"> -->\
                    <img src=\"https://d.example/\"><a href=\"javascript:alert(1)\">j</a></BODY></html>\r\n";
        assert_eq!(targets(html), ["https://a.example/?x=1&y=2", "https://b.example/"]);
        let other = |known: &str| {
            known
                .starts_with("https://a.")
                .then(|| "https://us.example/c/1?a&b".to_owned())
        };
        let expected = html
            .replace(
                "\"https://a.example/?x=1&amp;y=2\"",
                "\"https://us.example/c/1?a&amp;b\"",
            )
            .replace(
                "HREF='https://a.example/?x=1&y=2'",
                "HREF=\"https://us.example/c/1?a&amp;b\"",
            )
            .replace("</BODY>", "<img></BODY>");
        assert_eq!(rewrite(html, "<img>", other).unwrap(), expected);
        assert_eq!(rewrite("<p>x", "<i>", |_| None).unwrap(), "<p>x<i>");
        assert_eq!(rewrite("<body><p>x", "<i>", |_| None).unwrap(), "<body><p>x<i>");
    }

    #[test]
    fn what_browsers_read_in_two_ways_is_left_alone() {
        let html = "<select><xmp><a href=\"https://a.example/\">x</a></select>";
        assert_eq!(rewrite(html, "<i>", |_| Some("https://b.example/".to_owned())), None);
        assert!(targets(html).is_empty());
    }
}
