//! What the description of the API says of fields that take more than one form. Each schema allows all that the reader takes.

use utoipa::openapi::schema::{
    AdditionalProperties, Array, ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, SchemaType, Type,
};
use utoipa::openapi::{RefOr, Schema};

use super::MAX_RECIPIENTS;

/// An attachment's bytes.
pub(super) fn text_or_bytes() -> RefOr<Schema> {
    let byte = || {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .maximum(Some(255))
    };
    let bytes = || Array::new(byte().build());
    let base64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(base64));
    let kind = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(["Buffer"]));
    let buffer = ObjectBuilder::new()
        .property("type", kind)
        .property("data", bytes())
        .required("type")
        .required("data")
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    OneOfBuilder::new().item(text).item(bytes()).item(buffer).into()
}

fn string() -> Object {
    Object::with_type(Type::String)
}

/// One address or several.
pub(super) fn one_or_many() -> RefOr<Schema> {
    OneOfBuilder::new().item(string()).item(Array::new(string())).into()
}

/// One address or several, not none.
pub(super) fn at_least_one() -> RefOr<Schema> {
    let many = ArrayBuilder::new()
        .items(string())
        .min_items(Some(1))
        .max_items(Some(MAX_RECIPIENTS));
    OneOfBuilder::new().item(string()).item(many).into()
}

/// An object of header fields. RFC 5322 section 3.6.8: a name is printable ASCII without the colon.
pub(super) fn header_fields() -> RefOr<Schema> {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[!-9;-~]+$"));
    let value = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .property_names(Some(Schema::from(name)))
        .additional_properties(Some(Schema::from(value)))
        .into()
}
