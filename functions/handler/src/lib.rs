//! What every function shares with Lambda: start-up, the caller, errors as answers, partial batches, logs.
//!
//! A handler decodes, calls one function of the core, encodes. Lambda, the local run and the tests call the same routers
//! and the same `handle`.

pub mod answer;
pub mod batch;
pub mod caller;
pub mod logs;
pub mod request;
pub mod scheduled;

use std::sync::Arc;

use axum::Router;
use lambda_runtime::{LambdaEvent, service_fn};
use sealpost_core::app::App;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The largest request body, bytes: what Lambda takes in one synchronous call (Lambda quotas: 6 MB).
pub const MAX_BODY: usize = 6 * 1024 * 1024;

/// Serves a router as a Lambda function behind API Gateway.
///
/// # Errors
/// When the environment lacks a variable, or the Runtime API cannot be reached.
pub async fn serve(router: fn(Arc<App>) -> Router) -> Result<(), lambda_runtime::Error> {
    let app = App::from_env().await?;
    logs::init(&app.config.log_level);
    lambda_http::run(router(app)).await
}

/// Runs a function for events that are not HTTP.
///
/// # Errors
/// When the environment lacks a variable, or the Runtime API cannot be reached.
pub async fn run<E, R, F, Fut>(handle: F) -> Result<(), lambda_runtime::Error>
where
    E: DeserializeOwned,
    R: Serialize,
    F: Fn(Arc<App>, LambdaEvent<E>) -> Fut,
    Fut: Future<Output = sealpost_core::error::Result<R>>,
{
    let app = App::from_env().await?;
    logs::init(&app.config.log_level);
    // A failed event is reported by its message alone, which holds nothing of the event. It is decoded here, since Lambda's
    // runtime would report the words of `serde_json`, which repeat what they do not understand.
    let handle = |event: LambdaEvent<Value>| {
        let app = Arc::clone(&app);
        let handle = &handle;
        async move {
            let payload = serde_json::from_value::<E>(event.payload)
                .map_err(|_| lambda_runtime::Error::from("The function does not know this event."))?;
            handle(app, LambdaEvent::new(payload, event.context))
                .await
                .map_err(|error| lambda_runtime::Error::from(error.to_string()))
        }
    };
    lambda_runtime::run(service_fn(handle)).await
}

/// Adds what every API answers: errors for unknown routes and methods, and headers that keep answers out of caches.
pub fn finish(router: Router) -> Router {
    use axum::http::{HeaderValue, header};
    use tower_http::set_header::SetResponseHeaderLayer;
    router
        .fallback(answer::unknown_route)
        .method_not_allowed_fallback(answer::unknown_method)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=63072000; includeSubDomains"),
        ))
}
