//! Bodies of POST and PATCH requests from command-line flags. A field is present only if its flag
//! was given.

use crate::CliError;
use serde_json::{Map, Value, json};

/// The value that clears a field.
pub(super) const NONE: &str = "none";

/// A body that is built field by field.
#[derive(Default)]
pub(super) struct JsonBody(Map<String, Value>);

impl JsonBody {
    /// Sets a field if its value was given.
    pub(super) fn set(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Sets a field that `none` clears.
    pub(super) fn set_or_empty(self, name: &str, value: Option<String>) -> Self {
        self.set(
            name,
            value.map(|message| if message == NONE { Value::Null } else { json!(message) }),
        )
    }

    /// The same for a whole number.
    pub(super) fn set_number(self, name: &str, value: Option<String>) -> Result<Self, CliError> {
        let number = |message: String| match message.as_str() {
            NONE => Ok(Value::Null),
            digits => digits.parse::<u32>().map(Value::from).map_err(|_| {
                let flag = name.replace('_', "-");
                let is_negative = digits.starts_with('-');
                let why = if is_negative { " because it is below zero" } else { "" };
                CliError::Usage(format!(
                    "--{flag} must be a whole number or `{NONE}`, not `{message}`{why}"
                ))
            }),
        };
        Ok(self.set(name, value.map(number).transpose()?))
    }

    /// Sets a list. Without values the field is left out; a single `none` gives the empty list.
    pub(super) fn set_list(self, name: &str, values: Vec<String>) -> Self {
        let is_none = values.iter().eq([NONE]);
        let list = (!values.is_empty()).then(|| json!(if is_none { Vec::new() } else { values }));
        self.set(name, list)
    }

    /// Sets an object from `ASKED=SERVED`. Without values the field is left out; `none` gives the
    /// empty object.
    pub(super) fn set_pairs(
        self,
        (name, flag): (&str, &str),
        values: &[String],
    ) -> Result<Self, CliError> {
        let mut map = Map::new();
        for pair in values.iter().filter(|pair| *pair != NONE) {
            let names = pair.split_once('=').filter(|(a, b)| !a.is_empty() && !b.is_empty());
            let (requested, served) = names.ok_or_else(|| {
                CliError::Usage(format!("{flag} must be ASKED=SERVED or `{NONE}`, not `{pair}`"))
            })?;
            map.insert(requested.to_owned(), json!(served));
        }
        Ok(self.set(name, (!values.is_empty()).then_some(map)))
    }

    /// Whether no field was set.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The body.
    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_arguments_add_no_field_and_none_clears_it() {
        let body = JsonBody::default()
            .set("absent", None::<bool>)
            .set("enabled", Some(false))
            .set_or_empty("kept", None)
            .set_or_empty("emptied", Some("none".into()))
            .set_list("models", vec!["none".into()])
            .set_list("groups", Vec::new())
            .set_number("concurrency", Some("3".into()))
            .ok()
            .unwrap();
        let expected = json!({"enabled": false, "emptied": null, "models": [], "concurrency": 3});
        assert_eq!(body.into_value(), expected);
        let error = JsonBody::default().set_number("max_concurrency", Some("many".into())).err();
        assert!(error.unwrap().to_string().contains("--max-concurrency"));
        for pair in ["odd", "=x", "x="] {
            let body = JsonBody::default().set_pairs(("model_map", "--map"), &[pair.to_owned()]);
            assert!(body.err().unwrap().to_string().contains("--map must be ASKED=SERVED"));
        }
    }
}
