//! The models that a body names in addition to `model`. Each of them can run instead of that model
//! or together with it.
//!
//! Values that Baton does not know are searched but not kept; only the names of models are kept.
//! Every value of an object counts, so it does not matter which of two values a server would use.

use super::FieldName;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The highest number of different models that a body can name in addition to `model`.
pub const NAMED_MODELS_MAX: usize = 32;

/// The longest name of a model, in bytes. It also applies to `model`.
pub const MODEL_BYTES_MAX: usize = 200;

/// A field whose name contains one of these words names models (`fallback_models`, `model_id`,
/// `context_window_fallbacks`, `engine`, `deployment`).
const MODEL_WORDS: [&str; 4] = ["model", "fallback", "engine", "deployment"];

/// No server has a field with a longer name.
const FIELD_BYTES_MAX: usize = 256;

/// Different names, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct NamedModels {
    pub(super) names: Vec<String>,
    /// There are more than [`NAMED_MODELS_MAX`] names, or one is longer than [`MODEL_BYTES_MAX`].
    pub(super) is_over: bool,
}

impl NamedModels {
    pub(super) fn add(&mut self, model: &str) {
        if model.is_empty() || self.is_over || self.names.iter().any(|known| known == model) {
            return;
        }
        if self.names.len() == NAMED_MODELS_MAX || model.len() > MODEL_BYTES_MAX {
            self.is_over = true;
        } else {
            self.names.push(model.to_owned());
        }
    }

    pub(super) fn add_all(&mut self, others: &Self) {
        others.names.iter().for_each(|model| self.add(model));
        self.is_over |= others.is_over;
    }
}

/// Whether a field of this name holds names of models. The case of the words and the separators
/// between them do not matter.
pub(super) fn names_model(field: &str) -> bool {
    if field.len() > FIELD_BYTES_MAX {
        return false;
    }
    let is_mark = |c: &char| matches!(c, '_' | '-' | '.');
    let letters = field.chars().filter(|c| !is_mark(c)).flat_map(char::to_uppercase);
    let folded: String = letters.flat_map(char::to_lowercase).collect();
    MODEL_WORDS.iter().any(|word| folded.contains(word))
}

/// The result of a search.
pub(super) struct SearchedValue {
    pub(super) is_null: bool,
}

const SOMETHING: SearchedValue = SearchedValue { is_null: false };

/// A search for names of models in a value.
pub(super) struct ModelSearch<'m> {
    models: &'m mut NamedModels,
    /// Each text in the value names a model.
    is_model: bool,
    /// Free-form fields are not searched.
    skips_free_form: bool,
}

/// Fields whose content a client or a schema's author chooses. A field named `model` in them names
/// no model: metadata, and schemas with the places that contain them.
const FREE_FORM: [&str; 9] = [
    "$defs",
    "client_metadata",
    "definitions",
    "input_schema",
    "json",
    "metadata",
    "parameters",
    "properties",
    "schema",
];

impl<'m> ModelSearch<'m> {
    /// The search in the value of the field `field`.
    pub(super) fn new(models: &'m mut NamedModels, field: &str) -> Self {
        Self { models, is_model: names_model(field), skips_free_form: false }
    }

    /// The search in the objects in a documented value. The name of the value itself says nothing.
    fn below(models: &'m mut NamedModels) -> Self {
        Self { models, is_model: false, skips_free_form: true }
    }

    fn nested(&mut self, is_model: bool) -> ModelSearch<'_> {
        ModelSearch { models: self.models, is_model, skips_free_form: self.skips_free_form }
    }
}

impl<'de> DeserializeSeed<'de> for ModelSearch<'_> {
    type Value = SearchedValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SearchedValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ModelSearch<'_> {
    type Value = SearchedValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<SearchedValue, E> {
        Ok(SearchedValue { is_null: true })
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<SearchedValue, E> {
        Ok(SOMETHING)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<SearchedValue, E> {
        Ok(SOMETHING)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<SearchedValue, E> {
        Ok(SOMETHING)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<SearchedValue, E> {
        Ok(SOMETHING)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SearchedValue, E> {
        if self.is_model {
            self.models.add(text);
        }
        Ok(SOMETHING)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<SearchedValue, A::Error> {
        let is_model = self.is_model;
        while list.next_element_seed(self.nested(is_model))?.is_some() {}
        Ok(SOMETHING)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<SearchedValue, A::Error> {
        while let Some(FieldName(name)) = map.next_key()? {
            if self.skips_free_form && FREE_FORM.contains(&&*name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let is_model = self.is_model || names_model(&name);
            map.next_value_seed(self.nested(is_model))?;
        }
        Ok(SOMETHING)
    }
}

/// Adds the models that the objects in a documented value name, except in free-form fields. Only
/// objects are searched: a text that does not name a model can contain half of a surrogate pair.
pub(super) fn add_nested(models: &mut NamedModels, raw: &str) -> serde_json::Result<()> {
    if raw.starts_with('"') || !raw.contains('{') {
        return Ok(());
    }
    let mut parser = serde_json::Deserializer::from_str(raw);
    ModelSearch::below(models).deserialize(&mut parser).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(field: &str, json: &str) -> NamedModels {
        let mut models = NamedModels::default();
        let mut parser = serde_json::Deserializer::from_str(json);
        ModelSearch::new(&mut models, field).deserialize(&mut parser).unwrap();
        models
    }

    #[test]
    fn every_text_in_a_model_field_is_a_model_name() {
        let check = |field: &str, json: &str, expect: &[&str]| {
            assert_eq!(found(field, json).names, expect, "{field} {json}");
        };
        check("fallbacks", r#"[{"gpt-5.5":["o1-pro"]},{"a":"b"}]"#, &["o1-pro", "b"]);
        check("context_window_fallbacks", r#"[{"x":["a","a"]}]"#, &["a"]);
        for field in [
            "Models",
            "fallback",
            "fallbackModels",
            "engine",
            "deployment-id",
            "MODEL_NAME",
            "modelId",
            "allowed_models",
            "azure_deployment",
        ] {
            check(field, r#""a""#, &["a"]);
        }
        check("x", r#"{"Model":"a","b":[{"mo_del":{"1":"c"}}],"d":"e"}"#, &["a", "c"]);
        check("modalities", r#"["text"]"#, &[]);
        check("x", r#"["model",1,null,true,{"a":"model"}]"#, &[]);
        check(&"model".repeat(100), r#""a""#, &[]);
    }

    #[test]
    fn documented_values_are_searched_except_free_form_fields() {
        let check = |json: &str, expect: &[&str]| {
            let mut models = NamedModels::default();
            add_nested(&mut models, json).unwrap();
            assert_eq!(models.names, expect, "{json}");
        };
        check(r#"{"model":"a"}"#, &["a"]);
        check(r#"[{"x":[{"fallback_model":"a"}]},"b"]"#, &["a"]);
        check(r#"{"json_schema":{"name":"n","model":"a","schema":{"model":"b"}}}"#, &["a"]);
        check(r#"{"x":{"metadata":{"model":"a"},"properties":{"model":{"type":"b"}}}}"#, &[]);
        check(r#"{"json":{"$defs":{"engine":{"x":"a"}}}}"#, &[]);
        for text in [r#""model""#, r#""{\"model\":\"a\"}""#, r#"["\ud83d","a"]"#, r#""\ud83d{""#] {
            check(text, &[]);
        }
    }

    #[test]
    fn model_names_are_bounded_in_number_and_length() {
        let list = |count: usize| {
            let names: Vec<_> = (0..count).map(|index| format!("\"m{index}\"")).collect();
            format!("[{}]", names.join(","))
        };
        assert!(!found("models", &list(NAMED_MODELS_MAX)).is_over);
        let over = found("models", &list(100_000));
        assert!(over.is_over && over.names.len() == NAMED_MODELS_MAX);
        assert!(found("model", &format!("\"{}\"", "m".repeat(MODEL_BYTES_MAX + 1))).is_over);
        assert!(!found("model", &format!("\"{}\"", "m".repeat(MODEL_BYTES_MAX))).is_over);
    }
}
