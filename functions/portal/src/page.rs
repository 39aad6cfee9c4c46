//! The pages: what each template is filled with, and the answer around it.

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use sealpost_core::error::{Error, Kind};

use crate::cookie;
use crate::text::{Lang, Text};
use crate::visit::Visit;

/// What every page has.
pub(crate) struct Frame {
    /// The language.
    pub(crate) lang: Lang,
    /// What the page says in it.
    pub(crate) t: &'static Text,
    /// What every path of ours begins with; see [`base`].
    pub(crate) base: String,
    /// The path of the same page, for the language switch; empty when the address itself will do.
    pub(crate) path: String,
}

impl Frame {
    /// For a page at `path` below `base`.
    pub(crate) fn new(lang: Lang, base: &str, path: &str) -> Self {
        Self {
            lang,
            t: lang.text(),
            base: base.to_owned(),
            path: format!("{base}{path}"),
        }
    }
}

/// What stands between host and routes: nothing, or a path such as `/live` when the portal's address has one.
pub(crate) fn base(portal_url: &str) -> &str {
    let after_scheme = portal_url.split_once("://").map_or("", |(_, rest)| rest);
    after_scheme
        .find('/')
        .and_then(|at| after_scheme.get(at..))
        .unwrap_or_default()
        .trim_end_matches('/')
}

/// The front page.
#[derive(Template)]
#[template(path = "home.html")]
pub(crate) struct Home {
    pub(crate) frame: Frame,
}

/// The page that a link leads to.
#[derive(Template)]
#[template(path = "entry.html")]
pub(crate) struct Entry<'a> {
    pub(crate) frame: Frame,
    pub(crate) title: String,
    pub(crate) token: &'a str,
    /// What to know before anything else.
    pub(crate) notice: Option<&'static str>,
    /// What went wrong.
    pub(crate) error: Option<String>,
    /// Whether a code is asked for; else one is offered.
    pub(crate) is_entering: bool,
    /// How long a code is good.
    pub(crate) where_to: String,
}

/// The page of a link whose message is locked.
#[derive(Template)]
#[template(path = "locked.html")]
pub(crate) struct Locked<'a> {
    pub(crate) frame: Frame,
    pub(crate) token: &'a str,
    pub(crate) until: String,
    pub(crate) not_you: String,
}

/// The message.
#[derive(Template)]
#[template(path = "message.html")]
pub(crate) struct Message<'a> {
    pub(crate) frame: Frame,
    pub(crate) token: &'a str,
    pub(crate) subject: Option<String>,
    pub(crate) from: String,
    pub(crate) date: Option<String>,
    pub(crate) closes: String,
    pub(crate) text: Option<String>,
    /// How high the frame is, if the message has HTML.
    pub(crate) frame_size: Option<FrameSize>,
    pub(crate) files: Vec<File>,
    pub(crate) until: String,
    pub(crate) doubt: String,
}

/// A file in the list of attachments.
pub(crate) struct File {
    /// Its place, from 1.
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) size: String,
}

/// How high the frame is: without scripts it cannot follow what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameSize {
    /// A few lines.
    Short,
    /// Half a screen.
    Medium,
    /// Most of a screen; it scrolls.
    Tall,
}

impl FrameSize {
    /// Judged by the lines that the text takes on a phone, and the pictures.
    pub(crate) fn of(text: &str, has_pictures: bool) -> Self {
        let n_lines: usize = text.lines().map(|line| line.chars().count().div_ceil(42).max(1)).sum();
        // What a picture takes is not known; a logo is more frequent than a poster.
        match n_lines.saturating_add(if has_pictures { 8 } else { 0 }) {
            0..8 => FrameSize::Short,
            8..18 => FrameSize::Medium,
            _ => FrameSize::Tall,
        }
    }

    fn class(self) -> &'static str {
        match self {
            FrameSize::Short => "short",
            FrameSize::Medium => "medium",
            FrameSize::Tall => "tall",
        }
    }
}

/// What stands in the frame.
#[derive(Template)]
#[template(path = "body.html")]
pub(crate) struct MessageBody<'a> {
    pub(crate) lang: Lang,
    pub(crate) title: &'static str,
    /// Made by `body::with_pictures`, the only text that is not escaped.
    pub(crate) safe_html: Option<String>,
    pub(crate) text: &'a str,
}

/// A page for what cannot be answered.
#[derive(Template)]
#[template(path = "failure.html")]
pub(crate) struct Failure {
    pub(crate) frame: Frame,
    pub(crate) title: &'static str,
    pub(crate) lead: &'static str,
    pub(crate) what: Option<&'static str>,
    /// Where the button leads, if trying again makes sense.
    pub(crate) retry: Option<String>,
}

/// A page as an answer. The language that the address asks for is kept.
pub(crate) fn answer(visit: &Visit, portal_url: &str, status: StatusCode, page: &impl Template) -> Response {
    let Ok(html) = page.render() else {
        tracing::error!("a page could not be written");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(visit.lang.code()));
    if let Some(kept) = visit
        .chosen
        .and_then(|lang| cookie::language(lang.code(), portal_url.starts_with("https://")))
    {
        headers.append(header::SET_COOKIE, kept);
    }
    response
}

/// An error as a page. For NotFound the same octets, whatever the address was.
pub(crate) fn failure(visit: &Visit, portal_url: &str, error: &Error) -> Response {
    let status = error.kind().status();
    if status >= 500 {
        tracing::error!(name = error.name(), "a page failed: {}", error.message());
    }
    let t = visit.lang.text();
    let (title, lead, what) = match error.kind() {
        Kind::NotFound => (t.missing_title, t.missing_lead, Some(t.missing_what)),
        Kind::Unavailable | Kind::Throttled => (t.later_title, t.later_lead, None),
        Kind::Conflict => (t.conflict_title, t.conflict_lead, None),
        Kind::Forbidden => (t.foreign_title, t.foreign_lead, None),
        Kind::Internal => (t.broken_title, t.broken_lead, None),
        _ => (t.refused_title, t.refused_lead, None),
    };
    let mut frame = Frame::new(visit.lang, base(portal_url), &format!("/m/{}", visit.token));
    let can_retry = error.kind() != Kind::NotFound && !visit.token.is_empty();
    let retry = can_retry.then(|| frame.path.clone());
    if !can_retry {
        frame.path.clear();
    }
    let page = Failure {
        frame,
        title,
        lead,
        what,
        retry,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer(visit, portal_url, status, &page);
    if error.kind().is_retryable() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

#[cfg(test)]
mod tests;
