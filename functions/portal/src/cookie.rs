//! Cookies: which browser asked for a code, which session is open, which language was chosen.
//!
//! The first two carry the message's id in their name, so that two messages open in one browser do not shut each other.
//! Over HTTPS they have the prefix `__Host-`, which no subdomain and no plain-text page can plant (RFC 6265bis section
//! 4.1.3.2); over HTTP, which only the local run uses, their path is the message's.

use axum::http::{HeaderMap, HeaderValue, header};
use sealpost_core::id::PickupId;
use sealpost_core::pickup::{CODE_MINUTES, SESSION_MINUTES};

/// The cookie of the chosen language.
pub(crate) const LANGUAGE: &str = "lang";
/// A year, seconds.
const YEAR: i64 = 365 * 86_400;

/// What a cookie of a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Binds a code to the browser that asked for it; lives as long as the code.
    Browser,
    /// Opens the message; lives as long as the session.
    Session,
}

/// Where the cookies of one message live.
pub(crate) struct Jar<'a> {
    /// Whether the portal is served over HTTPS, as its own address says; TLS ends before this function.
    pub(crate) is_secure: bool,
    /// The message.
    pub(crate) id: &'a PickupId,
    /// The path of its link.
    pub(crate) path: String,
}

impl Jar<'_> {
    /// The value of this cookie in a request, if it has the form of one of ours.
    pub(crate) fn read<'h>(&self, headers: &'h HeaderMap, role: Role) -> Option<&'h str> {
        let value = find(headers, &self.name(role))?;
        let is_token = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        ((16..=64).contains(&value.len()) && value.bytes().all(is_token)).then_some(value)
    }

    /// The header that sets it.
    pub(crate) fn set(&self, role: Role, value: &str) -> Option<HeaderValue> {
        let minutes = match role {
            Role::Browser => CODE_MINUTES,
            Role::Session => SESSION_MINUTES,
        };
        self.header(role, value, minutes.saturating_mul(60))
    }

    /// The header that takes it back.
    pub(crate) fn clear(&self, role: Role) -> Option<HeaderValue> {
        self.header(role, "", 0)
    }

    fn name(&self, role: Role) -> String {
        let prefix = if self.is_secure { "__Host-" } else { "" };
        let role = match role {
            Role::Browser => "browser",
            Role::Session => "session",
        };
        format!("{prefix}{role}-{}", self.id)
    }

    fn header(&self, role: Role, value: &str, max_age_s: i64) -> Option<HeaderValue> {
        let name = self.name(role);
        let place = if self.is_secure {
            "/; Secure".to_owned()
        } else {
            self.path.clone()
        };
        let text = format!("{name}={value}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict; Path={place}");
        let mut header = HeaderValue::try_from(text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// The header that keeps the language. `Lax`, so that it also counts when the reader comes from a mail; it opens nothing.
pub(crate) fn language(code: &str, is_secure: bool) -> Option<HeaderValue> {
    let secure = if is_secure { "; Secure" } else { "" };
    HeaderValue::try_from(format!(
        "{LANGUAGE}={code}; Max-Age={YEAR}; HttpOnly; SameSite=Lax; Path=/{secure}"
    ))
    .ok()
}

/// The first cookie of this name.
pub(crate) fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cookies: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(cookies).unwrap())])
    }

    #[test]
    fn cookies_stay_with_their_message_and_away_from_scripts() {
        let id = PickupId::from_bytes([7; 16]);
        let secure = Jar {
            is_secure: true,
            id: &id,
            path: "/m/tok".to_owned(),
        };
        assert_eq!(
            secure.set(Role::Session, "v").unwrap().to_str().unwrap(),
            format!("__Host-session-{id}=v; Max-Age=900; HttpOnly; SameSite=Strict; Path=/; Secure")
        );
        let plain = Jar {
            is_secure: false,
            id: &id,
            path: "/m/tok".to_owned(),
        };
        assert_eq!(
            plain.set(Role::Browser, "v").unwrap().to_str().unwrap(),
            format!("browser-{id}=v; Max-Age=600; HttpOnly; SameSite=Strict; Path=/m/tok")
        );
        assert_eq!(
            plain.clear(Role::Session).unwrap().to_str().unwrap(),
            format!("session-{id}=; Max-Age=0; HttpOnly; SameSite=Strict; Path=/m/tok")
        );
        assert!(secure.set(Role::Session, "v").unwrap().is_sensitive());
    }

    #[test]
    fn only_values_of_our_form_are_read() {
        let id = PickupId::from_bytes([7; 16]);
        let jar = Jar {
            is_secure: false,
            id: &id,
            path: "/m/tok".to_owned(),
        };
        let good = "0123456789abcdef0123456789abcdef";
        let headers = request(&format!("a=b; session-{id}={good}; lang=es"));
        assert_eq!(jar.read(&headers, Role::Session), Some(good));
        assert_eq!(jar.read(&headers, Role::Browser), None);
        assert_eq!(find(&headers, LANGUAGE), Some("es"));
        for bad in ["", "short", &"x".repeat(65), "0123456789abcdef/../secret"] {
            assert_eq!(
                jar.read(&request(&format!("session-{id}={bad}")), Role::Session),
                None,
                "{bad}"
            );
        }
        let other = PickupId::from_bytes([8; 16]);
        assert_eq!(
            jar.read(&request(&format!("session-{other}={good}")), Role::Session),
            None
        );
    }
}
