//! The parameters of a request in JSON: each is taken by name, and one that nobody took is refused by name.
//!
//! So an implementation cannot ignore what a caller asked for. Refusals name the parameter, never its value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::error::AwsError;

/// Bytes, which JSON carries as base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(text)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("not base64"))
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

/// The parameters of one request that nobody has taken yet.
pub(crate) struct Parameters {
    what: String,
    left: Map<String, Value>,
}

impl Parameters {
    /// The parameters in `body`; `service` and `operation` are for the words of refusals.
    pub(crate) fn new(service: &str, operation: &str, body: Value) -> Result<Self, AwsError> {
        let left = match body {
            Value::Object(left) => left,
            Value::Null => Map::new(),
            _ => {
                return Err(AwsError::bad_request(
                    "SerializationException",
                    "The request is not a JSON object.",
                ));
            }
        };
        let left = left.into_iter().filter(|(_, value)| !value.is_null()).collect();
        Ok(Self {
            what: format!("{service} {operation}"),
            left,
        })
    }

    /// Takes a parameter that may be absent.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, AwsError> {
        let Some(value) = self.left.remove(name) else {
            return Ok(None);
        };
        let parsed = serde_json::from_value(value);
        parsed.map(Some).map_err(|_| {
            AwsError::bad_request(
                "SerializationException",
                format!("{name} has another type than {} takes.", self.what),
            )
        })
    }

    /// Takes a parameter that has to be there.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, AwsError> {
        let missing = || AwsError::bad_request("ValidationException", format!("{name} is missing."));
        self.optional(name)?.ok_or_else(missing)
    }

    /// Refuses what nobody took. To be called before the first effect.
    pub(crate) fn finish(&self) -> Result<(), AwsError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(AwsError::not_implemented(&format!("{}: parameter {name}", self.what))),
        }
    }
}
