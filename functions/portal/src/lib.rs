//! The patient's pages: the link, the one-time code, the message, its files; the way out of marketing
//! mail, and its counted links.
//!
//! A `GET` changes nothing and shows nothing of the message before a right code, since scanners open links. Codes are bound
//! to the browser that asked; a right one opens a session of minutes. Unknown, altered and expired links answer with the
//! same octets. No page has a script, and none loads anything from elsewhere.

mod attachment;
mod body;
mod cookie;
mod engagement;
mod page;
mod security;
mod text;
mod unsubscribe;
mod visit;
mod when;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, Form, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use sealpost_codec::mime::ReadMessage;
use sealpost_core::app::App;
use sealpost_core::error::{Error, Kind, Result};
use sealpost_core::pickup::{self, Answer, CODE_MINUTES, CodeSent, Pickup};
use serde::Deserialize;

use cookie::{Jar, Role};
use page::{Entry, File, Frame, FrameSize, Home, Locked, Message, MessageBody};
use text::fill;
use visit::{Step, Visit, check_origin};

/// Every route of this function, as `template.yaml` has them. Filters of mail ask for what a mail leads to by HEAD first.
pub const ROUTES: [(&str, &str); 19] = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/m/{token}"),
    ("HEAD", "/m/{token}"),
    ("POST", "/m/{token}/code"),
    ("POST", "/m/{token}/open"),
    ("GET", "/m/{token}/message"),
    ("GET", "/m/{token}/body"),
    ("GET", "/m/{token}/attachments/{number}"),
    ("POST", "/m/{token}/leave"),
    ("GET", "/u/{token}"),
    ("HEAD", "/u/{token}"),
    ("POST", "/u/{token}"),
    ("GET", "/o/{token}"),
    ("HEAD", "/o/{token}"),
    ("GET", "/c/{token}"),
    ("HEAD", "/c/{token}"),
    ("GET", "/assets/{name}"),
    ("HEAD", "/assets/{name}"),
];

/// The largest form, bytes: a code and nothing else.
const MAX_FORM: usize = 4 * 1024;
/// How many digits a code has.
const CODE_DIGITS: usize = 8;

/// The routes of this function.
pub fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/", get(home))
        .route("/m/{token}", get(show_entry))
        .route("/m/{token}/code", post(send_code))
        .route("/m/{token}/open", post(enter_code))
        .route("/m/{token}/message", get(show_message))
        .route("/m/{token}/body", get(show_body))
        .route("/m/{token}/attachments/{number}", get(download))
        .route("/m/{token}/leave", post(leave))
        .route("/u/{token}", get(unsubscribe::show).post(unsubscribe::accept))
        .route("/o/{token}", get(engagement::open))
        .route("/c/{token}", get(engagement::click))
        .route("/assets/{name}", get(asset))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .with_state(app);
    security::protect(routes)
}

/// A link that is good, on its way to an answer.
struct Good<'a> {
    app: &'a App,
    visit: &'a Visit,
    pickup: Pickup,
}

impl<'a> Good<'a> {
    async fn find(app: &'a App, visit: &'a Visit) -> Result<Self> {
        Ok(Self {
            app,
            visit,
            pickup: pickup::find(app, &visit.token).await?,
        })
    }

    fn jar(&self) -> Jar<'_> {
        let portal_url = self.app.config.portal_url.as_str();
        Jar {
            is_secure: portal_url.starts_with("https://"),
            id: self.pickup.id(),
            path: self.path(""),
        }
    }

    fn cookie(&self, role: Role) -> Option<&str> {
        self.jar().read(&self.visit.headers, role)
    }

    fn path(&self, rest: &str) -> String {
        format!(
            "{}/m/{}{rest}",
            page::base(&self.app.config.portal_url),
            self.visit.token
        )
    }

    fn frame(&self, rest: &str) -> Frame {
        let path = format!("/m/{}{rest}", self.visit.token);
        Frame::new(self.visit.lang, page::base(&self.app.config.portal_url), &path)
    }

    fn answer(&self, status: StatusCode, page: &impl askama::Template) -> Response {
        page::answer(self.visit, &self.app.config.portal_url, status, page)
    }

    /// The message, if the session is open; `None` when a code is needed.
    async fn message(&self) -> Result<Option<ReadMessage>> {
        let Some(session) = self.cookie(Role::Session) else {
            return Ok(None);
        };
        allowed(self.pickup.message(self.app, session).await)
    }

    fn back_to_entry(&self) -> Response {
        see_other(&format!("{}?step={}", self.path(""), Step::Over.as_str()))
    }

    fn entry(
        &self,
        status: StatusCode,
        is_entering: bool,
        error: Option<String>,
        notice: Option<&'static str>,
    ) -> Response {
        let t = self.visit.lang.text();
        let page = Entry {
            frame: self.frame(""),
            title: fill(t.entry_title, &[("organisation", self.pickup.organisation())]),
            token: &self.visit.token,
            notice,
            error,
            is_entering,
            where_to: fill(t.ask_where, &[("minutes", &CODE_MINUTES.to_string())]),
        };
        self.answer(status, &page)
    }

    fn locked(&self, status: StatusCode, until: jiff::Timestamp) -> Response {
        let (lang, now) = (self.visit.lang, self.app.clock.now());
        let page = Locked {
            frame: self.frame(""),
            token: &self.visit.token,
            until: self.until(lang.text().locked_until, until),
            not_you: fill(
                lang.text().locked_not_you,
                &[("organisation", self.pickup.organisation())],
            ),
        };
        later(self.answer(status, &page), when::seconds_until(until, now))
    }

    fn until(&self, text: &str, until: jiff::Timestamp) -> String {
        let lang = self.visit.lang;
        let minutes = when::minutes_until(until, self.app.clock.now(), lang);
        fill(text, &[("minutes", &minutes), ("time", &when::time(until, lang))])
    }
}

async fn home(State(app): State<Arc<App>>, visit: Visit) -> Response {
    let portal_url = &app.config.portal_url;
    let frame = Frame::new(visit.lang, page::base(portal_url), "/");
    page::answer(&visit, portal_url, StatusCode::OK, &Home { frame })
}

async fn show_entry(State(app): State<Arc<App>>, visit: Visit) -> Response {
    or_failure(&app, &visit, entry(&app, &visit).await)
}

async fn entry(app: &App, visit: &Visit) -> Result<Response> {
    let good = Good::find(app, visit).await?;
    let t = visit.lang.text();
    if let Some(session) = good.cookie(Role::Session)
        && allowed(good.pickup.session_until(app, session).await)?.is_some()
    {
        return Ok(see_other(&good.path("/message")));
    }
    if let Some(until) = good.pickup.locked_until(app.clock.now()) {
        return Ok(good.locked(StatusCode::OK, until));
    }
    let has_code = good.cookie(Role::Browser).is_some();
    let (error, notice) = match visit.step {
        Some(Step::Sent) if !has_code => (Some(t.error_browser.to_owned()), None),
        Some(Step::Over) => (None, Some(t.over_notice)),
        Some(Step::Left) => (None, Some(t.left_notice)),
        _ => (None, None),
    };
    Ok(good.entry(StatusCode::OK, has_code, error, notice))
}

async fn send_code(State(app): State<Arc<App>>, visit: Visit) -> Response {
    or_failure(&app, &visit, code(&app, &visit).await)
}

async fn code(app: &App, visit: &Visit) -> Result<Response> {
    check_origin(&visit.headers, &app.config.portal_url)?;
    let good = Good::find(app, visit).await?;
    let browser = pickup::new_browser(app)?;
    match good.pickup.send_code(app, &browser).await? {
        CodeSent::Sent => {
            let response = see_other(&format!("{}?step={}", good.path(""), Step::Sent.as_str()));
            Ok(with_cookies(response, [good.jar().set(Role::Browser, &browser)]))
        }
        CodeSent::Wait(until) if good.pickup.locked_until(app.clock.now()).is_some() => {
            Ok(good.locked(StatusCode::TOO_MANY_REQUESTS, until))
        }
        CodeSent::Wait(until) => {
            let error = good.until(visit.lang.text().error_wait, until);
            let has_code = good.cookie(Role::Browser).is_some();
            let response = good.entry(StatusCode::TOO_MANY_REQUESTS, has_code, Some(error), None);
            Ok(later(response, when::seconds_until(until, app.clock.now())))
        }
    }
}

#[derive(Deserialize)]
struct CodeForm {
    code: String,
}

async fn enter_code(
    State(app): State<Arc<App>>,
    visit: Visit,
    form: Result<Form<CodeForm>, FormRejection>,
) -> Response {
    let code = form.map(|Form(form)| form.code).unwrap_or_default();
    or_failure(&app, &visit, open(&app, &visit, &code).await)
}

async fn open(app: &App, visit: &Visit, code: &str) -> Result<Response> {
    check_origin(&visit.headers, &app.config.portal_url)?;
    let good = Good::find(app, visit).await?;
    let t = visit.lang.text();
    let browser = good.cookie(Role::Browser);
    if let Some(until) = good.pickup.locked_until(app.clock.now()) {
        return Ok(good.locked(StatusCode::TOO_MANY_REQUESTS, until));
    }
    if code.chars().filter(char::is_ascii_digit).count() != CODE_DIGITS {
        // Not a guess, so that it does not count as one.
        let error = Some(t.error_digits.to_owned());
        return Ok(good.entry(StatusCode::UNPROCESSABLE_ENTITY, true, error, None));
    }
    // Without the cookie no code is right; it still counts as a guess.
    match good.pickup.enter(app, browser.unwrap_or_default(), code).await? {
        Answer::Right(session) => {
            let cookies = [
                good.jar().set(Role::Session, session.expose()),
                good.jar().clear(Role::Browser),
            ];
            Ok(with_cookies(see_other(&good.path("/message")), cookies))
        }
        Answer::Wrong => {
            let error = if browser.is_some() {
                t.error_wrong
            } else {
                t.error_browser
            };
            Ok(good.entry(
                StatusCode::UNPROCESSABLE_ENTITY,
                browser.is_some(),
                Some(error.to_owned()),
                None,
            ))
        }
        Answer::Locked(until) => {
            let response = good.locked(StatusCode::TOO_MANY_REQUESTS, until);
            Ok(with_cookies(response, [good.jar().clear(Role::Browser)]))
        }
    }
}

async fn show_message(State(app): State<Arc<App>>, visit: Visit) -> Response {
    or_failure(&app, &visit, message(&app, &visit).await)
}

async fn message(app: &App, visit: &Visit) -> Result<Response> {
    let good = Good::find(app, visit).await?;
    let Some(session) = good.cookie(Role::Session) else {
        return Ok(good.back_to_entry());
    };
    let Some(until) = allowed(good.pickup.session_until(app, session).await)? else {
        return Ok(good.back_to_entry());
    };
    let Some(read) = good.message().await? else {
        return Ok(good.back_to_entry());
    };
    let (lang, t, now) = (visit.lang, visit.lang.text(), app.clock.now());
    let shown = read
        .html
        .as_deref()
        .map(|html| body::shown(html, &read.attachments))
        .unwrap_or_default();
    let files = read
        .attachments
        .iter()
        .enumerate()
        .filter(|(place, _)| !shown.contains(place));
    let files = files.map(|(place, file)| File {
        number: place.saturating_add(1),
        name: file.filename.clone(),
        size: attachment::size(file.content.len()),
    });
    let files = files.collect();
    let text = read.text.filter(|text| !text.trim().is_empty());
    let frame_size = read
        .html
        .as_ref()
        .map(|_| FrameSize::of(text.as_deref().unwrap_or_default(), !shown.is_empty()));
    let date = read.date.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let from = read.from.first().map(|from| match &from.name {
        Some(name) => format!("{name} <{}>", from.address),
        None => from.address.clone(),
    });
    let page = Message {
        frame: good.frame("/message"),
        token: &visit.token,
        subject: read.subject.filter(|subject| !subject.trim().is_empty()),
        from: from.unwrap_or_else(|| good.pickup.organisation().to_owned()),
        date: date.map(|date| format!("{}, {}", when::day(date, lang), when::time(date, lang))),
        closes: fill(t.message_closes, &[("minutes", &when::minutes_until(until, now, lang))]),
        text,
        frame_size,
        files,
        until: fill(t.message_until, &[("date", &when::day(good.pickup.expires_at(), lang))]),
        doubt: fill(t.message_doubt, &[("address", good.pickup.care_address())]),
    };
    let mut response = good.answer(StatusCode::OK, &page);
    // Closes the page when the session ends (45 CFR 164.312(a)(2)(iii)): by then the same address leads to the entry page.
    let refresh = format!(
        "{}; url={}",
        when::seconds_until(until, now).saturating_add(1),
        good.path("/message")
    );
    if let Ok(refresh) = HeaderValue::try_from(refresh) {
        response.headers_mut().insert(header::REFRESH, refresh);
    }
    Ok(response)
}

async fn show_body(State(app): State<Arc<App>>, visit: Visit) -> Response {
    or_failure(&app, &visit, frame(&app, &visit).await)
}

async fn frame(app: &App, visit: &Visit) -> Result<Response> {
    let good = Good::find(app, visit).await?;
    let Some(read) = good.message().await? else {
        return Ok(good.back_to_entry());
    };
    let page = MessageBody {
        lang: visit.lang,
        title: visit.lang.text().message_frame,
        safe_html: read
            .html
            .as_deref()
            .map(|html| body::with_pictures(html, &read.attachments)),
        text: read.text.as_deref().unwrap_or_default(),
    };
    Ok(security::framed(good.answer(StatusCode::OK, &page)))
}

async fn download(State(app): State<Arc<App>>, visit: Visit) -> Response {
    or_failure(&app, &visit, file(&app, &visit).await)
}

async fn file(app: &App, visit: &Visit) -> Result<Response> {
    let good = Good::find(app, visit).await?;
    let Some(read) = good.message().await? else {
        return Ok(good.back_to_entry());
    };
    let place = visit
        .number
        .and_then(|number| number.checked_sub(1))
        .ok_or_else(Error::not_found)?;
    let file = read.attachments.into_iter().nth(place).ok_or_else(Error::not_found)?;
    Ok(attachment::download(file))
}

async fn leave(State(app): State<Arc<App>>, visit: Visit) -> Response {
    or_failure(&app, &visit, sign_out(&app, &visit).await)
}

async fn sign_out(app: &App, visit: &Visit) -> Result<Response> {
    check_origin(&visit.headers, &app.config.portal_url)?;
    let good = Good::find(app, visit).await?;
    if let Some(session) = good.cookie(Role::Session) {
        good.pickup.leave(app, session).await?;
    }
    let response = see_other(&format!("{}?step={}", good.path(""), Step::Left.as_str()));
    Ok(with_cookies(
        response,
        [good.jar().clear(Role::Session), good.jar().clear(Role::Browser)],
    ))
}

async fn asset(State(app): State<Arc<App>>, visit: Visit, name: Option<Path<String>>) -> Response {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let (kind, content) = match name.as_str() {
        "portal.css" => ("text/css; charset=utf-8", include_str!("../assets/portal.css")),
        "icon.svg" => ("image/svg+xml", include_str!("../assets/icon.svg")),
        _ => return page::failure(&visit, &app.config.portal_url, &Error::not_found()),
    };
    let mut response = Response::new(Body::from(content));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

async fn unknown_route(State(app): State<Arc<App>>, visit: Visit) -> Response {
    page::failure(&visit, &app.config.portal_url, &Error::not_found())
}

async fn unknown_method(State(app): State<Arc<App>>, visit: Visit) -> Response {
    let error = Error::new(Kind::Malformed, "This route does not have this method.");
    let mut response = page::failure(&visit, &app.config.portal_url, &error);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

fn or_failure(app: &App, visit: &Visit, result: Result<Response>) -> Response {
    result.unwrap_or_else(|error| page::failure(visit, &app.config.portal_url, &error))
}

/// `None` where a code is needed, for use with an answer that says so by `Unauthenticated`.
fn allowed<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == Kind::Unauthenticated => Ok(None),
        Err(error) => Err(error),
    }
}

fn see_other(path: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(path) = HeaderValue::try_from(path) {
        response.headers_mut().insert(header::LOCATION, path);
    }
    response
}

fn with_cookies<const N: usize>(mut response: Response, cookies: [Option<HeaderValue>; N]) -> Response {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn later(mut response: Response, seconds: i64) -> Response {
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
