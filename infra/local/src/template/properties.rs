//! A resource's properties, taken one by one; what nobody took is an error.

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Properties that remain to be taken.
pub(super) struct Properties {
    what: String,
    left: Map<String, Value>,
}

impl Properties {
    /// The properties of what is called so.
    pub(super) fn new(what: impl Into<String>, value: Value) -> Result<Self> {
        let what = what.into();
        match value {
            Value::Object(left) => Ok(Self { what, left }),
            Value::Null => Ok(Self { what, left: Map::new() }),
            _ => anyhow::bail!("{what}: a mapping is expected"),
        }
    }

    /// These properties over `shared` ones: mappings are merged, anything else is replaced.
    pub(super) fn over(self, shared: &Value) -> Result<Self> {
        let mut merged = shared.clone();
        merge(&mut merged, Value::Object(self.left));
        Self::new(self.what, merged)
    }

    /// Takes a property that must be there.
    pub(super) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T> {
        let value = self.optional(name)?;
        value.with_context(|| format!("{} lacks {name}", self.what))
    }

    /// Takes a property that may be missing.
    pub(super) fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let read = serde_json::from_value(value);
                Ok(Some(read.with_context(|| format!("{}: {name}", self.what))?))
            }
        }
    }

    /// Takes a property that is a mapping; an empty one where it is missing.
    pub(super) fn nested(&mut self, name: &str) -> Result<Self> {
        let value = self.left.remove(name).unwrap_or(Value::Null);
        Self::new(format!("{}.{name}", self.what), value)
    }

    /// Passes over properties that mean nothing to a local run.
    pub(super) fn ignore(&mut self, names: &[&str]) -> &mut Self {
        for name in names {
            self.left.remove(*name);
        }
        self
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// When a property is left, naming it: the local run would not do what it asks for.
    pub(super) fn finish(&self) -> Result<()> {
        let left: Vec<_> = self.left.keys().map(String::as_str).collect();
        ensure!(
            left.is_empty(),
            "{}: the local run does not know {}",
            self.what,
            left.join(", ")
        );
        Ok(())
    }
}

fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                merge(below.entry(name).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}
