//! The page that a marketing mail's link leads to, and the POST behind its button and behind the mail client's.
//!
//! RFC 8058: the POST works without cookies and redirects, and needs nothing of the page. So it is not held to an origin; what
//! it can do is what the link's owner asked for.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use sealpost_core::app::App;
use sealpost_core::error::Result;
use sealpost_core::unsubscribe;

use crate::page::{self, Frame};
use crate::text::fill;
use crate::visit::Visit;

/// The page, before and after.
#[derive(Template)]
#[template(path = "unsubscribe.html")]
struct Unsubscribe<'a> {
    frame: Frame,
    title: &'static str,
    lead: String,
    /// Where the button leads; `None` when it is done.
    action: Option<&'a str>,
}

/// Shows the button.
pub(crate) async fn show(State(app): State<Arc<App>>, visit: Visit) -> Response {
    crate::or_failure(&app, &visit, answer(&app, &visit, false).await)
}

/// Unsubscribes.
pub(crate) async fn accept(State(app): State<Arc<App>>, visit: Visit) -> Response {
    crate::or_failure(&app, &visit, answer(&app, &visit, true).await)
}

async fn answer(app: &App, visit: &Visit, is_accepted: bool) -> Result<Response> {
    let offer = unsubscribe::find(app, &visit.token).await?;
    if is_accepted {
        offer.accept(app).await?;
    }
    let t = visit.lang.text();
    let (title, lead) = if is_accepted {
        (t.unsubscribed_title, t.unsubscribed_lead)
    } else {
        (t.unsubscribe_title, t.unsubscribe_lead)
    };
    let base = page::base(&app.config.portal_url);
    let page = Unsubscribe {
        frame: Frame::new(visit.lang, base, &format!("/u/{}", visit.token)),
        title,
        lead: fill(lead, &[("organisation", offer.organisation())]),
        action: (!is_accepted).then_some(visit.token.as_str()),
    };
    Ok(page::answer(visit, &app.config.portal_url, StatusCode::OK, &page))
}
