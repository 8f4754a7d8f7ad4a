//! Reads JSON objects of any protocol field by field and keeps track of the fields that were not
//! read.
//!
//! A text is parsed once ([`JsonDocument`]); objects and lists are views of it. Values that pass
//! unchanged (schemas, tool input) keep their bytes, because a model writes properties in the order
//! of the schema. This module does not know what fields mean.

use super::TranslationError;
use super::surrogates::SurrogateJoiner;
use crate::json::{ArrayItems, FIELDS_MAX, JsonDocument, JsonError, JsonValue, is_json_within};
use crate::meter::is_void;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The deepest nesting of containers in a text that is translated, or in JSON inside a string. A
/// conversation takes about six levels, a schema two for each level of its properties.
pub(super) const DEPTH_MAX: usize = 64;

/// The deepest nesting of content, such as texts in documents in a tool's result. Nothing that an
/// API documents goes deeper than four levels.
pub(super) const NESTED_CONTENT_MAX: usize = 8;

/// The highest number of dropped fields that are remembered. They are only logged.
const DROPPED_MAX: usize = 100;

/// The longest id of an answer that is passed on.
const ID_BYTES_MAX: usize = 200;

/// Parses a body, an event's data, or JSON inside a string.
///
/// # Errors
/// The text is not JSON, or is nested too deeply.
pub(super) fn parse_document(json: &[u8]) -> Result<JsonDocument<'_>, JsonError> {
    JsonDocument::parse(json, DEPTH_MAX)
}

/// An object whose fields are taken one by one. `null` counts as absent. If a name occurs twice,
/// the last value counts, as in every common parser.
#[derive(Debug, Default)]
pub(super) struct ObjectReader<'a> {
    fields: Vec<(Cow<'a, str>, JsonValue<'a>)>,
}

impl<'a> ObjectReader<'a> {
    /// An object's fields, or `None` if the value is not an object or has more than [`FIELDS_MAX`]
    /// fields.
    pub(super) fn from_value(value: JsonValue<'a>) -> Option<Self> {
        let fields: Vec<_> = value.fields()?.take(FIELDS_MAX + 1).collect();
        (fields.len() <= FIELDS_MAX).then_some(Self { fields })
    }

    /// Takes a field's value as it is written.
    pub(super) fn take_value(&mut self, name: &str) -> Option<JsonValue<'a>> {
        self.take_with(name, Some)
    }

    /// Takes a string. Invalid Unicode in it (half a surrogate pair) is replaced.
    pub(super) fn take_text(&mut self, name: &str) -> Option<String> {
        self.take_with(name, to_text)
    }

    /// Takes a string that is not empty.
    pub(super) fn take_nonempty_text(&mut self, name: &str) -> Option<String> {
        self.take_text(name).filter(|text| !text.is_empty())
    }

    /// Takes a string that continues `block`, unless it is empty. Half a surrogate pair at its end
    /// waits in `joiner` for the other half.
    pub(super) fn take_delta(
        &mut self,
        name: &str,
        joiner: &mut SurrogateJoiner,
        block: (u64, u64),
    ) -> Option<String> {
        let text = self.take_with(name, JsonValue::surrogate_text)?;
        Some(joiner.join(block, &text)).filter(|text| !text.is_empty())
    }

    /// Takes an answer's id. Every event repeats it, so an id that is longer than any vendor's is
    /// ignored.
    pub(super) fn take_id(&mut self) -> Option<String> {
        self.take_nonempty_text("id").filter(|id| id.len() <= ID_BYTES_MAX)
    }

    /// Takes a whole number.
    pub(super) fn take_number(&mut self, name: &str) -> Option<u64> {
        self.take_with(name, |value| serde_json::from_str(value.raw()).ok())
    }

    /// Takes a number as it is written.
    pub(super) fn take_digits(&mut self, name: &str) -> Option<&'a str> {
        self.take_with(name, |value| {
            let digits = value.raw();
            digits.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then_some(digits)
        })
    }

    /// Takes a Boolean.
    pub(super) fn take_bool(&mut self, name: &str) -> Option<bool> {
        self.take_with(name, |value| serde_json::from_str(value.raw()).ok())
    }

    /// Takes an object.
    pub(super) fn take_object(&mut self, name: &str) -> Option<ObjectReader<'a>> {
        self.take_with(name, Self::from_value)
    }

    /// Takes the values of an array. Without an array, the iterator is empty.
    pub(super) fn take_items(
        &mut self,
        name: &str,
    ) -> impl Iterator<Item = JsonValue<'a>> + use<'a> {
        self.take_with(name, JsonValue::items).into_iter().flatten()
    }

    /// Takes the objects of an array.
    pub(super) fn take_objects(
        &mut self,
        name: &str,
    ) -> impl Iterator<Item = ObjectReader<'a>> + use<'a> {
        self.take_items(name).filter_map(Self::from_value)
    }

    /// Whether the object has such a field that was not taken.
    pub(super) fn has_field(&self, name: &str) -> bool {
        self.fields.iter().any(|(key, _)| key == name)
    }

    /// Whether the object has such a field that was not taken, other than `null` and an empty text,
    /// list or object.
    pub(super) fn has_filled(&self, name: &str) -> bool {
        self.fields.iter().any(|(key, value)| key == name && !is_void(*value))
    }

    /// Copies the values of several fields, which are not taken.
    pub(super) fn copy_fields(&self, names: &[&'static str]) -> Vec<(&'static str, &'a str)> {
        let find = |name: &&'static str| {
            let field = self.fields.iter().rev().find(|(key, _)| key == name)?;
            Some((*name, field.1.raw()))
        };
        names.iter().filter_map(find).collect()
    }

    /// Takes the value of `name` if `read` accepts it. Otherwise the field stays.
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

/// Whether the text is exactly one JSON object.
pub(super) fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{') && is_json_within(json.as_bytes(), DEPTH_MAX)
}

/// Fields of a request that the upstream does not support, as paths like `tools[].cache_control`.
/// Each path occurs once, without indices and without values.
#[derive(Debug, Default)]
pub(super) struct DroppedFields {
    paths: BTreeSet<String>,
    refusal: Option<TranslationError>,
}

impl DroppedFields {
    pub(super) fn add_path(&mut self, path: impl Into<String>) {
        if self.paths.len() < DROPPED_MAX {
            self.paths.insert(path.into());
        }
    }

    /// Notes a field without which the answer would be another. The request is then refused; only
    /// the first such field is reported.
    pub(super) fn refuse(&mut self, path: impl Into<String>, advice: &'static str) {
        self.refusal.get_or_insert_with(|| TranslationError::field(path.into(), advice));
    }

    /// The reason why the request is refused, if there is one.
    pub(super) fn take_refusal(&mut self) -> Option<TranslationError> {
        self.refusal.take()
    }

    /// Whether something with this beginning was dropped.
    pub(super) fn find(&self, start: &str) -> Option<&String> {
        self.paths.iter().find(|path| path.starts_with(start))
    }

    /// Adds the fields that were not taken from `object`, which is at `path`.
    pub(super) fn add_remaining(&mut self, path: &str, object: &ObjectReader<'_>) {
        for (name, value) in &object.fields {
            if !value.is_null() {
                let dot = if path.is_empty() { "" } else { "." };
                self.add_path(format!("{path}{dot}{name}"));
            }
        }
    }

    pub(super) fn into_paths(self) -> Vec<String> {
        self.paths.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_fields_are_reported() {
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
    fn object_with_too_many_fields_is_refused() {
        let json = |count: usize| format!("{{{}\"a\":0}}", "\"a\":0,".repeat(count - 1));
        let is_read = |json: &str| {
            ObjectReader::from_value(parse_document(json.as_bytes()).unwrap().root()).is_some()
        };
        assert!(is_read(&json(FIELDS_MAX)) && !is_read(&json(FIELDS_MAX + 1)));
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse_document(deep(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(parse_document(deep(DEPTH_MAX + 1).as_bytes()).unwrap_err(), JsonError::TooDeep);
        let object = |levels| format!("{{\"a\":{}}}", deep(levels));
        assert!(is_object(&object(DEPTH_MAX - 1)) && !is_object(&object(DEPTH_MAX)));
    }

    #[test]
    fn whole_objects_are_parsed() {
        let check = |json, expect| assert_eq!(is_object(json), expect, "{json}");
        check("{}", true);
        check(" {\"a\":1} ", true);
        check("{\"a\":", false);
        check("7", false);
        check("", false);
    }
}
