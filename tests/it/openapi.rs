//! Promise: the description of the API that is committed is the one that is served, and it has every route.

use std::path::Path;

use serde_json::Value;

use crate::system::Running;

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_description_is_served_and_has_every_route() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("openapi.json");
    let committed = std::fs::read_to_string(file).unwrap();
    let generated = sealpost_local::openapi();
    assert!(
        committed.trim_end() == generated.trim_end(),
        "run `cargo run -- openapi > openapi.json`"
    );
    let description: Value = serde_json::from_str(&committed).unwrap();
    let running = Running::start().await;
    let (status, served) = running.get("/openapi.json").await;
    assert_eq!(status, 200);
    assert!(served == description, "what is served differs from openapi.json");
    // The description's own address is not part of what it describes.
    let described = send::ROUTES
        .iter()
        .chain(&admin::ROUTES)
        .filter(|route| **route != ("GET", "/openapi.json"));
    for (method, path) in described {
        let operation = &description["paths"][path][method.to_ascii_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not described");
    }
}
