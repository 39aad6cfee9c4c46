//! AWS's query protocol: a form comes in, XML goes out.
//!
//! Names in the form are paths: `Attributes.entry.1.key` and `Tags.member.2.Value` are parts of a map and of a list. They are
//! put together to the JSON that the other protocols send, a map as a list of its entries, so that every service reads its
//! parameters in the same way. All values are text.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

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
pub(crate) fn parameters(body: &[u8]) -> Value {
    let mut root = Node::default();
    for (name, value) in url::form_urlencoded::parse(body) {
        if name == "Action" || name == "Version" {
            continue;
        }
        let mut node = &mut root;
        for part in name.split('.') {
            node = node.below.entry(part.to_owned()).or_default();
        }
        node.text = Some(value.into_owned());
    }
    let below = root.below.into_iter().map(|(name, node)| (name, node.value()));
    Value::Object(below.collect::<Map<_, _>>())
}

impl Node {
    fn value(mut self) -> Value {
        if self.below.is_empty() {
            return self.text.map_or(Value::Null, Value::String);
        }
        let is_list = self.below.len() == 1;
        if let Some(items) = ["member", "entry"].iter().find_map(|name| self.below.remove(*name))
            && is_list
        {
            // The numbers are text here, and 10 comes after 9.
            let mut items: Vec<_> = items.below.into_iter().collect();
            items.sort_by_key(|(number, _)| number.parse::<u32>().unwrap_or(u32::MAX));
            return items.into_iter().map(|(_, item)| item.value()).collect();
        }
        let below = self.below.into_iter().map(|(name, node)| (name, node.value()));
        Value::Object(below.collect::<Map<_, _>>())
    }
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
            parameters(form.as_bytes()),
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
    fn text_in_xml_stays_text() {
        assert_eq!(element("A", "<&>\"\r\n"), "<A>&lt;&amp;&gt;&quot;&#13;\n</A>");
    }
}
