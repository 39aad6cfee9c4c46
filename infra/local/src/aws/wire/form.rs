//! AWS's query protocol: a form comes in, XML goes out.
//!
//! Names in the form are paths: `Attributes.entry.1.key` and `Tags.member.2.Value` are parts of a map and of a list. They are
//! put together to the JSON that the other protocols send, a map as a list of its entries, so that every service reads its
//! parameters in the same way. All values are text.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::aws::error::AwsError;

/// The most parts of a name; no parameter of SNS has more than six. Each part is a call of its own when they are put together.
const MOST_PARTS: usize = 16;

/// One part of a parameter.
#[derive(Default)]
struct Node {
    text: Option<String>,
    below: BTreeMap<String, Node>,
}

/// The name of the operation in a form; empty where there is none.
pub(crate) fn action(body: &[u8]) -> String {
    let found = url::form_urlencoded::parse(body).find(|(name, _)| name == "Action");
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// The parameters of a form, without the protocol's own two.
///
/// # Errors
/// MalformedInput for a name that is too deep, and for one that says two things at once: a text and what has parts, a list and
/// a structure.
pub(crate) fn parameters(body: &[u8]) -> Result<Value, AwsError> {
    let mut root = Node::default();
    for (name, value) in url::form_urlencoded::parse(body) {
        if name == "Action" || name == "Version" {
            continue;
        }
        if name.split('.').count() > MOST_PARTS {
            return Err(malformed(&format!("A name has more than {MOST_PARTS} parts.")));
        }
        let mut node = &mut root;
        for part in name.split('.') {
            node = node.below.entry(part.to_owned()).or_default();
        }
        if node.text.replace(value.into_owned()).is_some() {
            return Err(malformed("A parameter is there twice."));
        }
    }
    root.structure()
}

impl Node {
    fn value(mut self) -> Result<Value, AwsError> {
        if self.below.is_empty() {
            return Ok(self.text.map_or(Value::Null, Value::String));
        }
        if self.text.is_some() {
            return Err(malformed("Start of structure or list found where not expected."));
        }
        match ["member", "entry"].iter().find_map(|name| self.below.remove(*name)) {
            None => self.structure(),
            Some(_) if !self.below.is_empty() => Err(malformed("A list has other parts than its members.")),
            Some(items) => items.list(),
        }
    }

    fn structure(self) -> Result<Value, AwsError> {
        let below = self.below.into_iter().map(|(name, node)| Ok((name, node.value()?)));
        Ok(Value::Object(below.collect::<Result<Map<_, _>, AwsError>>()?))
    }

    fn list(self) -> Result<Value, AwsError> {
        if self.text.is_some() {
            return Err(malformed("A list is a text as well."));
        }
        // The numbers are text here, and 10 comes after 9.
        let item = |(number, item): (String, Node)| match number.parse::<u32>() {
            Ok(number) => Ok((number, item.value()?)),
            Err(_) => Err(malformed("A member of a list has no number.")),
        };
        let mut items = self.below.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
        items.sort_by_key(|(number, _)| *number);
        Ok(items.into_iter().map(|(_, item)| item).collect())
    }
}

fn malformed(message: &str) -> AwsError {
    AwsError::bad_request("MalformedInput", message)
}

/// One XML element with text.
pub(crate) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// Text as XML carries it.
pub(crate) fn escape(text: &str) -> String {
    // A carriage return would be read as a line feed.
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\r', "&#13;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_becomes_the_parameters_that_it_spells() {
        let items: String = (1..=10).map(|n| format!("&Tags.member.{n}.Key=t{n}")).collect();
        let form = format!(
            "Action=CreateTopic&Version=2010-03-31&Name=a%26b&Attributes.entry.1.key=DisplayName\
             &Attributes.entry.1.value=x+y&MessageAttributes.entry.1.Name=n\
             &MessageAttributes.entry.1.Value.DataType=String{items}"
        );
        assert_eq!(action(form.as_bytes()), "CreateTopic");
        let tags: Vec<_> = (1..=10).map(|n| json!({"Key": format!("t{n}")})).collect();
        assert_eq!(
            parameters(form.as_bytes()).unwrap(),
            json!({
                "Name": "a&b",
                "Attributes": [{"key": "DisplayName", "value": "x y"}],
                "MessageAttributes": [{"Name": "n", "Value": {"DataType": "String"}}],
                "Tags": tags,
            })
        );
        assert_eq!(action(b"Name=x"), "");
    }

    #[test]
    fn a_form_that_contradicts_itself_is_refused() {
        let deep = |n: usize| format!("{}=x", vec!["a"; n].join("."));
        assert!(parameters(deep(MOST_PARTS).as_bytes()).is_ok());
        for form in [
            deep(MOST_PARTS + 1),
            deep(1_000_000),
            "A=x&A.B=y".to_owned(),
            "A=x&A=y".to_owned(),
            "A.member.1=x&A.B=y".to_owned(),
            "A.member.1=x&A.entry.1=y".to_owned(),
            "A.member=x&A.member.1=y".to_owned(),
            "A.member.x=y".to_owned(),
        ] {
            assert_eq!(parameters(form.as_bytes()).unwrap_err().code, "MalformedInput");
        }
        assert_eq!(parameters(b"A=").unwrap(), json!({"A": ""}));
    }

    #[test]
    fn text_in_xml_stays_text() {
        assert_eq!(element("A", "<&>\"\r\n"), "<A>&lt;&amp;&gt;&quot;&#13;\n</A>");
    }
}
