//! The whole of Sealpost in one process, on an embedded AWS.

pub mod aws;
pub mod demo;
pub mod mailbox;
pub mod system;
pub mod template;

use utoipa::OpenApi as _;

/// The OpenAPI description of the whole API, as it is committed in `openapi.json`.
#[must_use]
pub fn openapi() -> String {
    let mut api = admin::Api::openapi();
    api.merge(send::Api::openapi());
    api.to_pretty_json().unwrap_or_default()
}
