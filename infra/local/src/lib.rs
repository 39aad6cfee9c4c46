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
    admin::description::complete(&mut api);
    api.to_pretty_json().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use utoipa::OpenApi as _;

    #[test]
    fn no_two_types_share_a_name_in_the_description() {
        let [admin, send] = [admin::Api::openapi(), send::Api::openapi()].map(|api| api.components.unwrap().schemas);
        for (name, schema) in &send {
            assert!(
                admin.get(name).is_none_or(|other| other == schema),
                "one of the two types {name} needs another name"
            );
        }
    }
}
