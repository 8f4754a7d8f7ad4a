//! Splits a JSON object at its top level and writes it again without some fields and with others in
//! front. The bytes of the remaining fields do not change.

use crate::json::{self, JsonError};
use std::borrow::Cow;
use std::ops::Range;

/// The object's text and the positions of its fields.
pub(super) struct RawObject<'a> {
    text: &'a [u8],
    fields: Vec<(Cow<'a, str>, Range<usize>)>,
}

impl<'a> RawObject<'a> {
    /// Reads an object, by the rules for the body of a request.
    ///
    /// # Errors
    /// The text is not an object, is nested too deeply, or has a field twice.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        let mut fields = Vec::new();
        json::for_each_field(text, |name, span| {
            fields.push((name.clone(), span));
            Ok(())
        })?;
        Ok(Self { text, fields })
    }

    /// A field's value as it is written.
    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        let (_, span) = self.fields.iter().find(|(field, _)| field == name)?;
        self.text.get(span.clone())
    }

    /// Writes the object without the fields for which `drops` returns true, and with `before`
    /// (fields as JSON, without a comma around them) in front.
    pub(super) fn rewrite_fields(&self, before: &str, drops: impl Fn(&str) -> bool) -> Vec<u8> {
        let open =
            self.text.iter().position(|byte| *byte == b'{').map_or(0, |position| position + 1);
        let mut changed = Vec::with_capacity(self.text.len() + before.len() + 1);
        changed.extend_from_slice(self.text.get(..open).unwrap_or_default());
        changed.extend_from_slice(before.as_bytes());
        let (mut is_first, mut position) = (before.is_empty(), open);
        for (index, (name, value)) in self.fields.iter().enumerate() {
            let field = self.text.get(position..value.end).unwrap_or_default();
            position = value.end;
            if drops(name) {
                continue;
            }
            // Between two values there are only white space, one comma, and the name.
            let comma = if index == 0 { None } else { memchr::memchr(b',', field) };
            if !is_first {
                changed.push(b',');
            }
            changed.extend_from_slice(comma.map_or(field, |comma| &field[comma + 1..]));
            is_first = false;
        }
        changed.extend_from_slice(self.text.get(position..).unwrap_or_default());
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, before: &str, drops: &[&str], expect: &str) {
        let object = RawObject::parse(text.as_bytes()).unwrap();
        let changed = object.rewrite_fields(before, |name| drops.contains(&name));
        assert_eq!(String::from_utf8(changed).unwrap(), expect);
    }

    #[test]
    fn kept_fields_keep_their_bytes() {
        let text = " { \"a\" : 1 , \"b\":[1, 2]\n,\t\"c,\" : \"x,y\" } ";
        // White space before a comma goes with the comma.
        check(text, "", &[], " { \"a\" : 1, \"b\":[1, 2],\t\"c,\" : \"x,y\" } ");
        check(text, "", &["a"], " { \"b\":[1, 2],\t\"c,\" : \"x,y\" } ");
        check(text, "", &["b", "c,"], " { \"a\" : 1 } ");
        check(text, "\"z\":0", &["a", "c,"], " {\"z\":0, \"b\":[1, 2] } ");
        check("{}", "", &[], "{}");
        check("{ }", "\"z\":0", &[], "{\"z\":0 }");
        check(r#"{"\u0061":1,"b":2}"#, "", &["a"], r#"{"b":2}"#);
        assert!(RawObject::parse(br#"{"a":1,"a":2}"#).is_err());
        assert!(RawObject::parse(b"[]").is_err());
        assert!(RawObject::parse(b"{} x").is_err());
    }

    proptest! {
        #[test]
        fn rewritten_object_keeps_its_meaning(
            fields in prop::collection::btree_map("[a-d,\"{é]{0,3}", "[ ,:{}\"é]{0,6}", 0..6),
            dropped in "[a-d,\"{é]{0,3}", pretty: bool,
        ) {
            let mut value = serde_json::json!(fields);
            let text = if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            }.unwrap();
            let changed = RawObject::parse(text.as_bytes()).unwrap()
                .rewrite_fields("\"new\":1", |name| name == dropped);
            value.as_object_mut().unwrap().remove(&dropped);
            value["new"] = 1.into();
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&changed).unwrap(), value);
        }
    }
}
