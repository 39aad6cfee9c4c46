//! What a request says about its reader: the language, the link, the cookies, and where it was sent from.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use sealpost_core::error::{Error, Kind, Result};
use url::Url;

use crate::cookie;
use crate::text::Lang;

/// A request, as far as every page needs it.
pub(crate) struct Visit {
    /// The language to answer in.
    pub(crate) lang: Lang,
    /// The language that the address asks for, which is kept.
    pub(crate) chosen: Option<Lang>,
    /// What the page before this one has to say.
    pub(crate) step: Option<Step>,
    /// The token in the link; empty when there is none, or none that is text.
    pub(crate) token: String,
    /// The number of an attachment.
    pub(crate) number: Option<usize>,
    /// Headers, cookies among them.
    pub(crate) headers: HeaderMap,
}

/// Why the entry page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A code was sent.
    Sent,
    /// The session is over, or there was none.
    Over,
    /// The reader signed out.
    Left,
}

impl Step {
    /// How addresses say it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Step::Sent => "sent",
            Step::Over => "over",
            Step::Left => "left",
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let names = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let mut names = names.map(|Path(names)| names).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default();
        let value = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let chosen = value("lang").and_then(Lang::parse);
        let steps = [Step::Sent, Step::Over, Step::Left];
        Ok(Self {
            lang: chosen.unwrap_or_else(|| language(&parts.headers)),
            chosen,
            step: value("step").and_then(|step| steps.into_iter().find(|known| known.as_str() == step)),
            token: names.remove("token").unwrap_or_default(),
            number: names.remove("number").and_then(|number| number.parse().ok()),
            headers: parts.headers.clone(),
        })
    }
}

/// The language of the cookie, else the one of ours that `Accept-Language` likes best, else English.
fn language(headers: &HeaderMap) -> Lang {
    let kept = cookie::find(headers, cookie::LANGUAGE).and_then(Lang::parse);
    let accepted = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok());
    kept.or_else(|| preferred(accepted?)).unwrap_or(Lang::En)
}

/// RFC 9110 section 12.5.4, for the languages that there are. Of equal ones the first counts.
fn preferred(accepted: &str) -> Option<Lang> {
    let mut best = None;
    for range in accepted.split(',') {
        let mut pieces = range.split(';').map(str::trim);
        let tag = pieces.next().unwrap_or_default();
        let lang = tag
            .split('-')
            .next()
            .and_then(|primary| Lang::parse(&primary.to_ascii_lowercase()));
        let quality = pieces
            .find_map(|piece| piece.strip_prefix("q="))
            .map_or(Ok(1.0_f32), str::parse);
        if let (Some(lang), Ok(quality)) = (lang, quality)
            && quality > best.map_or(0.0, |(_, best)| best)
        {
            best = Some((lang, quality));
        }
    }
    best.map(|(lang, _)| lang)
}

/// Refuses a `POST` that a page of another origin made. Together with `SameSite=Strict` cookies.
///
/// Browsers say where a request comes from in `Sec-Fetch-Site`, older ones in `Origin` alone. A request with neither is
/// not a browser's, so nobody's cookies are in it.
///
/// # Errors
/// Forbidden.
pub(crate) fn check_origin(headers: &HeaderMap, portal_url: &str) -> Result<()> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_ours = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            Url::parse(portal_url).is_ok_and(|portal| portal.origin().ascii_serialization() == origin)
        }
        (None, None) => true,
    };
    if is_ours {
        Ok(())
    } else {
        Err(Error::new(Kind::Forbidden, "The request came from another site."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_language_is_the_one_kept_or_liked_best() {
        let cases = [
            ("", Lang::En),
            ("es", Lang::Es),
            ("es-MX,es;q=0.9,en;q=0.8", Lang::Es),
            ("en-US,en;q=0.9,es;q=0.8", Lang::En),
            ("fr-FR,fr;q=0.9", Lang::En),
            ("fr, es;q=0.5, en;q=0.4", Lang::Es),
            ("es;q=0, en;q=0.1", Lang::En),
            ("ES-419", Lang::Es),
            ("es;q=nonsense", Lang::En),
        ];
        for (accepted, expected) in cases {
            assert_eq!(
                language(&headers(&[("accept-language", accepted)])),
                expected,
                "{accepted}"
            );
        }
        assert_eq!(
            language(&headers(&[("accept-language", "en"), ("cookie", "lang=es")])),
            Lang::Es
        );
        assert_eq!(
            language(&headers(&[("accept-language", "es"), ("cookie", "lang=xx")])),
            Lang::Es
        );
    }

    #[test]
    fn posts_of_other_origins_are_refused() {
        let cases: [(&[(&str, &str)], bool); 9] = [
            (&[], true),
            (&[("origin", "https://mail.clinic.example")], true),
            (&[("origin", "https://mail.clinic.example.evil.test")], false),
            (&[("origin", "http://mail.clinic.example")], false),
            (&[("origin", "null")], false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            (
                &[
                    ("sec-fetch-site", "same-site"),
                    ("origin", "https://www.clinic.example"),
                ],
                false,
            ),
            (&[("sec-fetch-site", "cross-site")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://mail.clinic.example"),
                ],
                false,
            ),
        ];
        for (pairs, is_ours) in cases {
            assert_eq!(
                check_origin(&headers(pairs), "https://mail.clinic.example").is_ok(),
                is_ours,
                "{pairs:?}"
            );
        }
    }
}
