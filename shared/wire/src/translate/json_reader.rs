//! JSON objects of any dialect, read field by field: what nobody asked for stays and is known.
//!
//! A text is parsed once ([`JsonDocument`]); objects and lists are views of it. Values that pass as they
//! are (schemas, tool input) keep their bytes: the order of a schema's properties is the order in
//! which a model writes them. What a field means is not known here.

use crate::json::{ArrayItems, FIELDS_MAX, JsonDocument, JsonError, JsonValue, is_json_within};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Containers inside each other in a text that is translated, or in JSON that a string holds. A
/// conversation takes about six, a schema two for each level of its properties.
pub(super) const DEPTH_MAX: usize = 64;

/// Contents inside each other: a tool's result holds documents, which hold texts. Nothing that an
/// API documents goes deeper than four.
pub(super) const NESTED_CONTENT_MAX: usize = 8;

/// Fields without a place in the other dialect that are remembered; they are only logged.
const DROPPED_MAX: usize = 100;

/// The longest id of an answer that is passed on.
const ID_BYTES_MAX: usize = 200;

/// Parses a body, an event's data, or JSON that a string holds.
///
/// # Errors
/// It is not JSON, or too deeply nested.
pub(super) fn parse_document(json: &[u8]) -> Result<JsonDocument<'_>, JsonError> {
    JsonDocument::parse(json, DEPTH_MAX)
}

/// An object whose fields are taken one by one. `null` counts as absent; of a name that occurs
/// twice the last one counts, as in every common parser.
#[derive(Debug, Default)]
pub(super) struct ObjectReader<'a> {
    fields: Vec<(Cow<'a, str>, JsonValue<'a>)>,
}

impl<'a> ObjectReader<'a> {
    /// An object's fields; `None` of anything else, and of one with more than [`FIELDS_MAX`].
    pub(super) fn from_value(value: JsonValue<'a>) -> Option<Self> {
        let fields: Vec<_> = value.fields()?.take(FIELDS_MAX + 1).collect();
        (fields.len() <= FIELDS_MAX).then_some(Self { fields })
    }

    /// A field's value as it stands.
    pub(super) fn take_value(&mut self, name: &str) -> Option<JsonValue<'a>> {
        self.take_with(name, Some)
    }

    /// A string. One that is no Unicode (half a surrogate pair) is mended, not lost.
    pub(super) fn take_text(&mut self, name: &str) -> Option<String> {
        self.take_with(name, to_text)
    }

    /// A string that says something.
    pub(super) fn take_nonempty_text(&mut self, name: &str) -> Option<String> {
        self.take_text(name).filter(|text| !text.is_empty())
    }

    /// An answer's id. It is repeated in every event, so one that is longer than any vendor's is
    /// none.
    pub(super) fn take_id(&mut self) -> Option<String> {
        self.take_nonempty_text("id").filter(|id| id.len() <= ID_BYTES_MAX)
    }

    /// A whole number.
    pub(super) fn take_number(&mut self, name: &str) -> Option<u64> {
        self.take_with(name, |value| serde_json::from_str(value.raw()).ok())
    }

    /// A number, as it is written.
    pub(super) fn take_digits(&mut self, name: &str) -> Option<&'a str> {
        self.take_with(name, |value| {
            let digits = value.raw();
            digits.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then_some(digits)
        })
    }

    /// True or false.
    pub(super) fn take_bool(&mut self, name: &str) -> Option<bool> {
        self.take_with(name, |value| serde_json::from_str(value.raw()).ok())
    }

    /// An object.
    pub(super) fn take_object(&mut self, name: &str) -> Option<ObjectReader<'a>> {
        self.take_with(name, Self::from_value)
    }

    /// An array's values; none when there is no array.
    pub(super) fn take_items(
        &mut self,
        name: &str,
    ) -> impl Iterator<Item = JsonValue<'a>> + use<'a> {
        self.take_with(name, JsonValue::items).into_iter().flatten()
    }

    /// The objects of an array.
    pub(super) fn take_objects(
        &mut self,
        name: &str,
    ) -> impl Iterator<Item = ObjectReader<'a>> + use<'a> {
        self.take_items(name).filter_map(Self::from_value)
    }

    /// Whether there is such a field.
    pub(super) fn has_field(&self, name: &str) -> bool {
        self.fields.iter().any(|(key, _)| key == name)
    }

    /// The values of several fields, which stay.
    pub(super) fn copy_fields(&self, names: &[&'static str]) -> Vec<(&'static str, &'a str)> {
        let find = |name: &&'static str| {
            let field = self.fields.iter().rev().find(|(key, _)| key == name)?;
            Some((*name, field.1.raw()))
        };
        names.iter().filter_map(find).collect()
    }

    /// The value of `name` that `read` accepts; another one stays where it is.
    fn take_with<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(JsonValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let last = self.fields.iter().rev().find(|(key, _)| key == name)?.1;
        if last.is_null() {
            self.fields.retain(|(key, _)| key != name);
            return None;
        }
        let value = read(last)?;
        self.fields.retain(|(key, _)| key != name);
        Some(value)
    }
}

/// The text of a JSON string.
pub(super) fn to_text(value: JsonValue<'_>) -> Option<String> {
    value.text().map(Cow::into_owned)
}

/// The values of a JSON array.
pub(super) fn to_items(value: JsonValue<'_>) -> Option<ArrayItems<'_>> {
    value.items()
}

/// Whether the text is a JSON object, whole.
pub(super) fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{') && is_json_within(json.as_bytes(), DEPTH_MAX)
}

/// What of a request finds no place in the other dialect: paths as `tools[].cache_control`, each
/// once, without indices and without values.
#[derive(Debug, Default)]
pub(super) struct DroppedFields(BTreeSet<String>);

impl DroppedFields {
    pub(super) fn add_path(&mut self, path: impl Into<String>) {
        if self.0.len() < DROPPED_MAX {
            self.0.insert(path.into());
        }
    }

    /// Adds what was left in `object`, which stands at `path`.
    pub(super) fn add_remaining(&mut self, path: &str, object: &ObjectReader<'_>) {
        for (name, value) in &object.fields {
            if !value.is_null() {
                let dot = if path.is_empty() { "" } else { "." };
                self.add_path(format!("{path}{dot}{name}"));
            }
        }
    }

    pub(super) fn into_paths(self) -> Vec<String> {
        self.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_once_and_the_rest_is_known() {
        let json = r#"{"a":"x","a":"é\ud800","n":7,"f":true,"o":{"z":1,"b":2},"l":[1,"2"],"null":null,"t":1.50}"#;
        let document = parse_document(json.as_bytes()).unwrap();
        let mut object = ObjectReader::from_value(document.root()).unwrap();
        assert_eq!(object.take_number("a"), None, "another type stays");
        assert!(object.take_text("a").unwrap().starts_with('é'));
        assert_eq!(object.take_text("a"), None);
        assert_eq!((object.take_number("n"), object.take_bool("f")), (Some(7), Some(true)));
        assert_eq!(object.take_digits("t").unwrap(), "1.50");
        assert_eq!(object.take_value("o").unwrap().raw(), r#"{"z":1,"b":2}"#);
        assert_eq!(object.take_value("null").map(JsonValue::raw), None);
        let mut dropped = DroppedFields::default();
        dropped.add_remaining("at", &object);
        assert_eq!(dropped.into_paths(), ["at.l"]);
        assert!(
            ObjectReader::from_value(parse_document(b"[1]").unwrap().root()).is_none()
                && parse_document(b"{").is_err()
        );
    }

    #[test]
    fn an_object_of_too_many_fields_is_none() {
        let json = |count: usize| format!("{{{}\"a\":0}}", "\"a\":0,".repeat(count - 1));
        let is_read = |json: &str| {
            ObjectReader::from_value(parse_document(json.as_bytes()).unwrap().root()).is_some()
        };
        assert!(is_read(&json(FIELDS_MAX)) && !is_read(&json(FIELDS_MAX + 1)));
    }

    #[test]
    fn nesting_has_a_bound() {
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse_document(deep(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(parse_document(deep(DEPTH_MAX + 1).as_bytes()).unwrap_err(), JsonError::TooDeep);
        let object = |levels| format!("{{\"a\":{}}}", deep(levels));
        assert!(is_object(&object(DEPTH_MAX - 1)) && !is_object(&object(DEPTH_MAX)));
    }

    #[test]
    fn whole_objects() {
        let check = |json, expect| assert_eq!(is_object(json), expect, "{json}");
        check("{}", true);
        check(" {\"a\":1} ", true);
        check("{\"a\":", false);
        check("7", false);
        check("", false);
    }
}
