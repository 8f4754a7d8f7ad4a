//! Bodies of POST requests. A new resource has the same fields as a change of one; only more of them
//! are required. So each field is named once for both.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;

/// A change whose fields can also make a new resource.
pub trait Creatable: JsonSchema {
    /// The name of the schema of a new resource.
    const SCHEMA_NAME: &'static str;
    /// The fields that a new resource must have.
    const REQUIRED: &'static [&'static str];
}

/// The fields of a new resource. Absent fields get their defaults.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct New<T>(pub T);

impl<T: Creatable> JsonSchema for New<T> {
    fn schema_name() -> Cow<'static, str> {
        T::SCHEMA_NAME.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert("required".to_owned(), json!(T::REQUIRED));
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            for name in T::REQUIRED {
                properties.entry(*name).and_modify(forbid_null);
            }
        }
        schema
    }
}

/// Removes `null` from the values that a schema accepts.
pub fn forbid_null(schema: &mut Value) {
    let is_null = |choice: &Value| choice["type"] == "null";
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| !is_null(choice));
        if let [only] = choices.as_slice() {
            *schema = only.clone();
        }
        return;
    }
    if let Some(types) = schema.get_mut("type")
        && let Some(only) =
            types.as_array().and_then(|types| types.iter().find(|one| *one != "null"))
    {
        *types = only.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_removed_from_both_forms_of_an_optional_schema() {
        let check = |mut schema: Value, expect: Value| {
            forbid_null(&mut schema);
            assert_eq!(schema, expect);
        };
        check(json!({ "type": ["string", "null"] }), json!({ "type": "string" }));
        check(
            json!({ "anyOf": [{ "$ref": "#/a" }, { "type": "null" }] }),
            json!({ "$ref": "#/a" }),
        );
        check(json!({ "type": "string" }), json!({ "type": "string" }));
    }
}
