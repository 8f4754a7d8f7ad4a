//! JSON objects of any dialect, read field by field: what nobody asked for stays and is known.
//!
//! Values that pass as they are (schemas, tool input) keep their bytes: the order of a schema's
//! properties is the order in which a model writes them. What a field means is not known here.

use crate::json::is_json;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// An object whose fields are taken one by one. `null` counts as absent; of a name that occurs
/// twice the last one counts, as in every common parser.
#[derive(Debug, Default)]
pub(super) struct Object<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Reads an object; `None` when the text is not exactly one.
    pub(super) fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The object in an event's data or in a body.
    pub(super) fn read_bytes(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// A field's value as it stands.
    pub(super) fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        self.take(name, Some)
    }

    /// A string. One that is no Unicode (half a surrogate pair) is mended, not lost.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, text)
    }

    /// A string that says something.
    pub(super) fn words(&mut self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &str) -> Option<u64> {
        self.take(name, |raw| serde_json::from_str(raw.get()).ok())
    }

    /// A number, as it is written.
    pub(super) fn digits(&mut self, name: &str) -> Option<&'a RawValue> {
        self.take(name, |raw| {
            raw.get()
                .starts_with(|first: char| first == '-' || first.is_ascii_digit())
                .then_some(raw)
        })
    }

    /// True or false.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        self.take(name, |raw| serde_json::from_str(raw.get()).ok())
    }

    /// An object.
    pub(super) fn object(&mut self, name: &str) -> Option<Object<'a>> {
        self.take(name, |raw| Self::read(raw.get()))
    }

    /// An array's values; empty when there is none.
    pub(super) fn list(&mut self, name: &str) -> Vec<&'a RawValue> {
        self.take(name, list).unwrap_or_default()
    }

    /// The objects of an array.
    pub(super) fn objects(&mut self, name: &str) -> Vec<Object<'a>> {
        self.list(name).into_iter().filter_map(|raw| Self::read(raw.get())).collect()
    }

    /// Whether there is such a field.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(key, _)| key == name)
    }

    /// The values of several fields, which stay.
    pub(super) fn copies(&self, names: &[&'static str]) -> Vec<(&'static str, &'a RawValue)> {
        let find = |name: &&'static str| {
            let field = self.fields.iter().rev().find(|(key, _)| key == name)?;
            Some((*name, field.1))
        };
        names.iter().filter_map(find).collect()
    }

    /// The value of `name` that `read` accepts; another one stays where it is.
    fn take<T>(&mut self, name: &str, read: impl FnOnce(&'a RawValue) -> Option<T>) -> Option<T> {
        let last = self.fields.iter().rev().find(|(key, _)| key == name)?.1;
        if last.get() == "null" {
            self.fields.retain(|(key, _)| key != name);
            return None;
        }
        let value = read(last)?;
        self.fields.retain(|(key, _)| key != name);
        Some(value)
    }
}

/// The text of a JSON string.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str::<Mended>(raw.get()).ok().map(|text| text.0)
}

/// The values of a JSON array.
pub(super) fn list(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

/// Whether the text is a JSON object, whole.
pub(super) fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{') && is_json(json.as_bytes())
}

/// What of a request finds no place in the other dialect: paths as `tools[].cache_control`, each
/// once, without indices and without values.
#[derive(Debug, Default)]
pub(super) struct Dropped(BTreeSet<String>);

impl Dropped {
    pub(super) fn add(&mut self, path: impl Into<String>) {
        self.0.insert(path.into());
    }

    /// Adds what was left in `object`, which stands at `path`.
    pub(super) fn rest(&mut self, path: &str, object: &Object<'_>) {
        for (name, value) in &object.fields {
            if value.get() != "null" {
                let dot = if path.is_empty() { "" } else { "." };
                self.0.insert(format!("{path}{dot}{name}"));
            }
        }
    }

    pub(super) fn into_paths(self) -> Vec<String> {
        self.0.into_iter().collect()
    }
}

struct Mended(String);

impl<'de> Deserialize<'de> for Mended {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Mended;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Mended, E> {
                Ok(Mended(String::from_utf8_lossy(bytes).into_owned()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), value)) =
                    map.next_entry::<Name<'de>, &'de RawValue>()?
                {
                    fields.push((name, value));
                }
                Ok(Object { fields })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_once_and_the_rest_is_known() {
        let json = r#"{"a":"x","a":"é\ud800","n":7,"f":true,"o":{"z":1,"b":2},"l":[1,"2"],"null":null,"t":1.50}"#;
        let mut object = Object::read(json).unwrap();
        assert_eq!(object.number("a"), None, "another type stays");
        assert!(object.text("a").unwrap().starts_with('é'));
        assert_eq!(object.text("a"), None);
        assert_eq!((object.number("n"), object.flag("f")), (Some(7), Some(true)));
        assert_eq!(object.digits("t").unwrap().get(), "1.50");
        assert_eq!(object.raw("o").unwrap().get(), r#"{"z":1,"b":2}"#);
        assert_eq!(object.raw("null").map(RawValue::get), None);
        let mut dropped = Dropped::default();
        dropped.rest("at", &object);
        assert_eq!(dropped.into_paths(), ["at.l"]);
        assert!(Object::read("[1]").is_none() && Object::read("{").is_none());
    }

    #[test]
    fn nesting_has_no_limit() {
        let deep = format!(r#"{{"a":{}{},"b":1}}"#, "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(Object::read(&deep).unwrap().number("b"), Some(1));
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
