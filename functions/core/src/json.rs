//! JSON requests: read strictly, and refused with a pointer.
//!
//! A name that stands twice in one object is refused, since two readers would see two different requests; so is a field
//! that no request has, and an array where an object has to be. Errors of `serde_json` may repeat the input and are
//! therefore never shown.

mod named;

use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};
use serde_path_to_error::{Path, Segment};
use std::fmt;

use crate::error::{Error, Fault, Kind, Result};
use crate::planted;
use named::Named;

/// Reads a request body into `T`.
///
/// # Errors
/// Malformed for what is no JSON or names a field twice; Invalid for unknown, missing and mistyped fields, with pointers.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    decode(parse(body)?)
}

/// Reads a request body as a JSON value in which no object names a field twice.
///
/// # Errors
/// Malformed.
pub fn parse(body: &[u8]) -> Result<Value> {
    let malformed = |detail: &str, pointer: String| {
        let fault = Fault::new(pointer, detail);
        Error::with_faults(
            Kind::Malformed,
            format!("The request body cannot be read: {detail}"),
            vec![fault],
        )
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let value = {
        let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
        Strict::deserialize(tracked)
    };
    match value {
        Ok(Strict(value)) => match deserializer.end() {
            Ok(()) => Ok(value),
            Err(_) => Err(malformed(
                "more follows after the end of the JSON value.",
                String::new(),
            )),
        },
        Err(error) => {
            let pointer = pointer(&track.path());
            match error.to_string() {
                text if text.starts_with(TWICE) => Err(malformed("a field stands twice in one object.", pointer)),
                text if text.starts_with("recursion limit") => Err(malformed("it is nested too deeply.", pointer)),
                _ => Err(malformed("it is not valid JSON.", pointer)),
            }
        }
    }
}

/// Turns a JSON value into a request.
///
/// # Errors
/// Invalid, with the pointer of the field that is unknown, missing or of another type.
pub fn decode<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_path_to_error::deserialize(Named(value)).map_err(|error| {
        let at = pointer(error.path());
        let text = error.inner().to_string();
        if planted!("leak_02") {
            return Error::invalid(at, text);
        }
        if let Some(field) = quoted(&text, "unknown field") {
            // Some deserializers have stepped into the field when they refuse it, others stand before it.
            let is_inside = matches!(error.path().iter().next_back(), Some(Segment::Map { key }) if *key == field);
            let at = if is_inside {
                at
            } else {
                format!("{at}/{}", shown(&field))
            };
            Error::invalid(at, "This field is not known.")
        } else if let Some(field) = quoted(&text, "missing field") {
            let fault = Fault::new(format!("{at}/{}", shown(&field)), "This field is required.");
            Error::faults(vec![fault]).named("missing_required_field")
        } else if text.starts_with("unknown variant") {
            Error::invalid(at, "This value is not one of those allowed here.")
        } else if let Some(detail) = text.strip_prefix(OURS) {
            Error::invalid(at, detail)
        } else {
            Error::invalid(at, "This value does not have the right type.")
        }
    })
}

/// What the messages of our own deserializers begin with: they hold no input and may be shown.
pub(crate) const OURS: &str = "rule: ";

const TWICE: &str = "a field stands twice";

/// The JSON pointer (RFC 6901) of a path.
fn pointer(path: &Path) -> String {
    let mut text = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("/{index}")),
            Segment::Map { key } => text.push_str(&format!("/{}", shown(key))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// The name in backticks after `what`.
fn quoted(text: &str, what: &str) -> Option<String> {
    let (_, name) = text.strip_prefix(what)?.split_once('`')?;
    let ends = ["`, expected ", "`, there are no fields"];
    let end = ends.iter().find_map(|end| name.find(end)).unwrap_or(name.len());
    Some(name.split_at_checked(end)?.0.trim_end_matches('`').to_owned())
}

/// A name as it may stand in a pointer: whole when it is short and plain, as every name of ours is, else a question mark,
/// since a caller may have put anything there. None that is shown needs the escapes of RFC 6901.
fn shown(name: &str) -> &str {
    let is_plain = name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_plain { name } else { "?" }
}

/// A JSON value whose objects name no field twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the reading is under test")]
    struct Outer {
        name: String,
        #[serde(default)]
        list: Vec<Inner>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the reading is under test")]
    struct Inner {
        n: u32,
    }

    #[test]
    fn refusals_point_at_the_field_and_never_repeat_the_value() {
        let cases = [
            (r#"{"name":"SECRET""#, Kind::Malformed, ""),
            (r#"{"name":"a","name":"SECRET"}"#, Kind::Malformed, ""),
            (
                r#"{"name":"a","list":[{"n":1},{"n":1,"n":2}]}"#,
                Kind::Malformed,
                "/list/1",
            ),
            (r#"{"name":"a"} SECRET"#, Kind::Malformed, ""),
            (r#"{"name":"a","extra":"SECRET"}"#, Kind::Invalid, "/extra"),
            (
                r#"{"name":"a","list":[{"n":1,"more":"SECRET"}]}"#,
                Kind::Invalid,
                "/list/0/more",
            ),
            (r#"{"name":"a","list":[{"n":"SECRET"}]}"#, Kind::Invalid, "/list/0/n"),
            (r#"{"name":"a","SECRET name":1}"#, Kind::Invalid, "/?"),
            (
                r#"{"name":"a","list":[{"n":1,"a/SECRET`b":2}]}"#,
                Kind::Invalid,
                "/list/0/?",
            ),
            (r#"{"name":"a","SECRET ~/ name":{"b":1,"b":2}}"#, Kind::Malformed, "/?"),
            (r#"{"list":[]}"#, Kind::Invalid, "/name"),
            (r#"{"name":7}"#, Kind::Invalid, "/name"),
            (r#"["SECRET"]"#, Kind::Invalid, ""),
            (r#"{"name":"a","list":[[1]]}"#, Kind::Invalid, "/list/0"),
        ];
        for (body, kind, pointer) in cases {
            let error = read::<Outer>(body.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), kind, "{body}");
            assert_eq!(error.fields()[0].pointer, pointer, "{body}");
            assert!(!format!("{error:?} {:?}", error.fields()).contains("SECRET"), "{body}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let body = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(parse(body.as_bytes()).unwrap_err().kind(), Kind::Malformed);
    }
}
