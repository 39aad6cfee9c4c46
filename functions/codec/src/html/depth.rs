//! How deeply HTML nests, judged from its tags before anything parses it.
//!
//! The parser's work grows with the square of the depth and the layout recurses, so depth is bounded first. This is
//! not a parser: it follows tags, quotes and comments, which is exact for well-formed HTML and close for the rest.
//! What a forger hides from it costs time in proportion to the accepted size, never memory or the stack, because
//! [`to_text`](super::to_text) asks again about the cleaned, well-formed HTML.

/// How far up an end tag may find its element; tags of careless writers cross by a few.
const CROSSING: usize = 8;

/// Elements without content, or whose end tag HTML lets one leave out; none of these nests in its own kind without a
/// counted one between.
const UNCOUNTED: [&str; 26] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "p", "li",
    "dt", "dd", "tr", "td", "th", "tbody", "thead", "tfoot", "option", "html", "body",
];

/// Whether more than `limit` elements are open at some place.
pub(super) fn exceeds(html: &str, limit: usize) -> bool {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        if let Some(comment) = after.strip_prefix("!--") {
            let Some((_, after)) = comment.split_once("-->") else {
                return false;
            };
            rest = after;
            continue;
        }
        let (is_end, tag) = match after.strip_prefix('/') {
            Some(tag) => (true, tag),
            None => (false, after),
        };
        let n_name = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len());
        let (name, attributes) = tag.split_at_checked(n_name).unwrap_or((tag, ""));
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            rest = after;
            continue;
        }
        rest = after_tag(attributes);
        if UNCOUNTED.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            continue;
        }
        if is_end {
            let found = open
                .iter()
                .rev()
                .take(CROSSING)
                .position(|other| other.eq_ignore_ascii_case(name));
            if let Some(above) = found {
                open.truncate(open.len() - above - 1);
            }
        } else {
            open.push(name);
            if open.len() > limit {
                return true;
            }
        }
    }
    false
}

/// What follows the `>` that ends a tag; a `>` in a quoted attribute value does not.
fn after_tag(attributes: &str) -> &str {
    let mut quote = None;
    let mut previous = ' ';
    for (i, c) in attributes.char_indices() {
        match (quote, c) {
            (None, '>') => return attributes.get(i + 1..).unwrap_or_default(),
            (None, '"' | '\'') if previous == '=' => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        if !c.is_whitespace() {
            previous = c;
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_open_elements() {
        for (html, depth) in [
            ("", 0),
            ("text < 3 > 2", 0),
            ("<div><p>x<p>y</div><div></div>", 1),
            ("<table><tr><td><table><tr><td>x</table></table>", 2),
            ("<b><i>x</b></i><b><i>x</b></i>", 2),
            ("<!--[if mso]><table><div><![endif]--><div>x</div>", 1),
            ("<a title=\"</a><div>\" href='>'><b>x</b></a>", 2),
            ("<br><img src=x><hr/><DIV></dIV>", 1),
        ] {
            assert!(!exceeds(html, depth), "{html}");
            assert!(depth == 0 || exceeds(html, depth - 1), "{html}");
        }
        assert!(exceeds(&"<div>".repeat(1000), 999));
        assert!(!exceeds(&"<p>x<li>y<b></b>".repeat(1000), 1));
    }
}
