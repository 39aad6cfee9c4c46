//! The picture whose loading is an opening, and the links whose following is a click. Both count and change nothing else.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use sealpost_core::app::App;
use sealpost_core::engagement::{self, Visitor};
use sealpost_core::error::{Error, Result};

use crate::visit::Visit;

/// A transparent picture of one pixel (GIF89a).
const PIXEL: &[u8; 43] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff\x21\xf9\x04\x01\0\0\0\0\
                           \x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3b";

/// Shows the picture.
pub(crate) async fn open(State(app): State<Arc<App>>, method: Method, visit: Visit) -> Response {
    crate::or_failure(&app, &visit, picture(&app, &method, &visit).await)
}

async fn picture(app: &App, method: &Method, visit: &Visit) -> Result<Response> {
    engagement::open(app, &visit.token, visitor(method, visit)).await?;
    let mut response = Response::new(Body::from(&PIXEL[..]));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/gif"));
    // It is shown in mail, on the pages of others.
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("cross-origin"),
    );
    Ok(response)
}

/// Leads on to where the link led in the mail as its sender wrote it.
pub(crate) async fn click(State(app): State<Arc<App>>, method: Method, visit: Visit) -> Response {
    crate::or_failure(&app, &visit, redirect(&app, &method, &visit).await)
}

async fn redirect(app: &App, method: &Method, visit: &Visit) -> Result<Response> {
    let target = engagement::click(app, &visit.token, visitor(method, visit)).await?;
    let target = HeaderValue::try_from(target)
        .map_err(|error| Error::internal("The target of a link is no header value.").because(error))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, target);
    Ok(response)
}

/// Who asks; `None` for a request that only asks what there is (HEAD), as filters do.
fn visitor<'a>(method: &Method, visit: &'a Visit) -> Option<Visitor<'a>> {
    let text = |name: &str| {
        let value = visit.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let is_prefetch = ["sec-purpose", "purpose", "x-purpose", "x-moz"]
        .into_iter()
        .any(|name| {
            ["prefetch", "prerender", "preview"]
                .into_iter()
                .any(|word| text(name).contains(word))
        });
    (method == Method::GET).then(|| Visitor {
        user_agent: text("user-agent"),
        is_prefetch,
    })
}
