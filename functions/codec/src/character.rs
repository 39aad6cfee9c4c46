//! Which characters never enter a header field.
//!
//! One list serves addresses, display names, subjects, file names and custom headers, so that no field is weaker
//! than another. It is about characters that end a line or that change what a reader believes to see; whether a
//! character is allowed by a field's grammar is the field's own question.

/// Whether `c` could end a header line for some reader: the C0 and C1 controls (CR, LF, NUL, NEL, DEL) and the Unicode
/// line and paragraph separators.
pub(crate) fn ends_or_breaks_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Whether `c` reorders the text around it: marks, embeddings, overrides and isolates of the Unicode bidirectional
/// algorithm (UAX #9, section 2). They turn `gpj.exe` into `exe.jpg` on screen.
pub(crate) fn reorders(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether `text` holds a character that is refused in names, file names and addresses.
pub(crate) fn is_hostile(text: &str) -> bool {
    text.chars().any(|c| ends_or_breaks_a_line(c) || reorders(c))
}
