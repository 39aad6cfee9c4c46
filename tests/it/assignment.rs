//! Promise: a request says what its operation's schema says and nothing else. Each object of each body of the served
//! description takes no further field: neither one that nobody knows, nor one that answers show and only the system sets;
//! and no array, which would set fields by their order.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::authority::cases::{Things, body};
use crate::authority::things;
use crate::system::Running;

/// Fields that rows and answers of such systems have, and ours may have some day.
const PRIVILEGED: [&str; 10] = [
    "tenant",
    "tenant_id",
    "is_admin",
    "role",
    "permissions",
    "owner",
    "secret_sha256",
    "ses_message_id",
    "__proto__",
    "constructor",
];

/// The served description.
struct Description(Value);

impl Description {
    /// Method, path and description of every operation.
    fn operations(&self) -> impl Iterator<Item = (Method, &str, &Value)> {
        let items = self.0["paths"].as_object().unwrap().iter();
        items.flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter();
            operations
                .map(move |(method, operation)| (method.to_uppercase().parse().unwrap(), path.as_str(), operation))
        })
    }

    /// Those that take a body. The operator's route is not reached with a key; what it reads is read by the same means.
    fn with_bodies(&self) -> Vec<(Method, &str, &Value)> {
        let operations = self.operations();
        let operations =
            operations.filter(|(_, path, operation)| operation["requestBody"].is_object() && *path != "/tenants");
        operations.collect()
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.resolve(self.0.pointer(&reference[1..]).unwrap()),
            None => schema,
        }
    }

    /// The names of all properties in a schema and in what it refers to.
    fn names(&self, schema: &Value, names: &mut BTreeSet<String>, seen: &mut BTreeSet<String>) {
        if let Some(reference) = schema["$ref"].as_str()
            && !seen.insert(reference.to_owned())
        {
            return;
        }
        match self.resolve(schema) {
            Value::Object(fields) => {
                if let Some(properties) = fields.get("properties").and_then(Value::as_object) {
                    names.extend(properties.keys().cloned());
                }
                fields.values().for_each(|value| self.names(value, names, seen));
            }
            Value::Array(items) => items.iter().for_each(|item| self.names(item, names, seen)),
            _ => {}
        }
    }

    /// Every object of a body, by its pointer, with the fields that its schema knows.
    fn objects<'a>(&'a self, schema: &'a Value, value: &Value, at: String, found: &mut BTreeMap<String, Vec<&'a str>>) {
        let schema = self.resolve(schema);
        for part in ["oneOf", "anyOf", "allOf"] {
            for schema in schema[part].as_array().into_iter().flatten() {
                self.objects(schema, value, at.clone(), found);
            }
        }
        match value {
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    self.objects(&schema["items"], item, format!("{at}/{n}"), found);
                }
            }
            // An object of any fields, such as an email's headers, has no properties of its own.
            Value::Object(fields) => {
                let Some(properties) = schema["properties"].as_object() else {
                    return;
                };
                assert_eq!(
                    schema["additionalProperties"], false,
                    "{at}: the schema lets any field through"
                );
                found.insert(at.clone(), properties.keys().map(String::as_str).collect());
                for (name, value) in fields {
                    self.objects(&properties[name], value, format!("{at}/{name}"), found);
                }
            }
            _ => {}
        }
    }
}

/// The body of a good request with every object in it that it can have.
fn whole(operation: &str, things: &Things) -> Value {
    let mut body = body(operation, things).unwrap();
    let email = match operation {
        "sendBatch" => body.get_mut(0),
        "sendEmail" | "planEmail" => Some(&mut body),
        _ => None,
    };
    if let Some(email) = email {
        email["attachments"] = json!([{ "filename": "a.txt", "content": "YQ==" }]);
        email["tags"] = json!([{ "name": "a", "value": "b" }]);
        email["security"] = json!({ "method": "auto" });
        email["tracking"] = json!({ "opens": false });
        email["headers"] = json!({ "X-Clinic": "7" });
    }
    body
}

/// The body with one more field in the object at this place.
fn with(body: &Value, at: &str, name: &str, value: Value) -> Value {
    let mut body = body.clone();
    body.pointer_mut(at).unwrap()[name] = value;
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_takes_a_field_that_its_schema_does_not_have() {
    let running = Running::start().await;
    let things = things(&running).await;
    let description = Description(running.get("/openapi.json").await.1);
    let mut answered = BTreeSet::from(PRIVILEGED.map(str::to_owned));
    for operation in description.operations().map(|(.., operation)| operation) {
        for response in operation["responses"].as_object().into_iter().flat_map(Map::values) {
            let schema = &response["content"]["application/json"]["schema"];
            description.names(schema, &mut answered, &mut BTreeSet::new());
        }
    }
    let operations = description.with_bodies();
    let mut n_refused = 0;
    for (method, path, operation) in &operations {
        let id = operation["operationId"].as_str().unwrap();
        let path = things.path(path);
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let good = whole(id, &things);
        let mut objects = BTreeMap::new();
        description.objects(schema, &good, String::new(), &mut objects);
        assert!(!objects.is_empty(), "{id} has no object in its body");
        for (at, known) in objects {
            // An array in its place would set fields by their order.
            let values = good
                .pointer(&at)
                .unwrap()
                .as_object()
                .unwrap()
                .values()
                .cloned()
                .collect();
            let mut array = good.clone();
            *array.pointer_mut(&at).unwrap() = Value::Array(values);
            let body = Some(array.to_string().into_bytes());
            let (status, answer) = running.call(method.clone(), &path, body, &[]).await;
            assert_eq!(status, 422, "{id} takes an array at {at}: {answer}");
            for name in answered.iter().filter(|name| !known.contains(&name.as_str())) {
                let body = with(&good, &at, name, json!("xq7-secret"));
                let body = Some(body.to_string().into_bytes());
                let (status, answer) = running.call(method.clone(), &path, body, &[]).await;
                assert_eq!(status, 422, "{id} takes {at}/{name}: {answer}");
                let pointer = format!("{at}/{name}");
                assert_eq!(answer["errors"][0]["pointer"], pointer, "{id}: {answer}");
                assert!(!answer.to_string().contains("xq7-secret"), "{id}: {answer}");
                n_refused += 1;
            }
        }
    }
    println!("{} bodies, {n_refused} fields refused", operations.len());

    // Where a body repeats the id of the path, it cannot name another thing.
    for (path, name) in [("/emails/{id}", "id"), ("/webhooks/{id}", "webhook_id")] {
        let mut body = json!({});
        if name == "id" {
            body["scheduled_at"] = json!("in 3 days");
        }
        body[name] = json!("em_01kaz3v0r4m2q8t5w7y9b1d3f5");
        let body = Some(body.to_string().into_bytes());
        let (status, answer) = running.call(Method::PATCH, &things.path(path), body, &[]).await;
        assert_eq!(
            (status, &answer["errors"][0]["pointer"]),
            (422, &json!(format!("/{name}"))),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_is_read_that_two_readers_could_read_in_two_ways() {
    let running = Running::start().await;
    let things = things(&running).await;
    let description = Description(running.get("/openapi.json").await.1);
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n)).into_bytes();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a name twice", br#"{"name":"a","name":"a"}"#.to_vec()),
        (
            "a name twice, spelt in two ways",
            br#"{"name":"a","n\u0061me":"a"}"#.to_vec(),
        ),
        ("a million brackets", deep(1_000_000)),
        ("half a million objects", br#"{"a":"#.repeat(500_000)),
        ("no number", br#"{"name":NaN}"#.to_vec()),
        ("an infinite number", br#"{"name":-Infinity}"#.to_vec()),
        ("a number beyond all", br#"{"name":1e999999}"#.to_vec()),
        ("a mark of byte order", b"\xef\xbb\xbf{}".to_vec()),
        ("half a surrogate", br#"{"name":"\ud800"}"#.to_vec()),
        ("no UTF-8", b"{\"name\":\"\xc3\x28\"}".to_vec()),
        ("UTF-16", "{}".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("a control character", b"{\"name\":\"a\x00\"}".to_vec()),
        ("two values", b"{}{}".to_vec()),
        ("a comma too many", br#"{"name":"a",}"#.to_vec()),
        ("a comment", b"{/* */}".to_vec()),
    ];
    for (method, path, operation) in description.with_bodies() {
        let path = things.path(path);
        for (what, body) in &bodies {
            let (status, answer) = running.call(method.clone(), &path, Some(body.clone()), &[]).await;
            let named = (status, answer["name"].as_str());
            assert_eq!(
                named,
                (400, Some("validation_error")),
                "{} {what}: {answer}",
                operation["operationId"]
            );
        }
    }
}
