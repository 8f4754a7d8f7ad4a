//! Values of fields that several resources share.

use baton_domain::key::Limits;
use baton_domain::model::{ModelPattern, PatternError};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A field of a change that can be cleared: absent keeps the value, `null` clears it.
///
/// Fields of this type need `#[serde(default, skip_serializing_if = "FieldChange::is_keep")]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldChange<T> {
    /// The field is absent.
    #[default]
    Keep,
    /// The field is present.
    To(Option<T>),
}

impl<T> FieldChange<T> {
    /// The value after the change.
    pub fn apply_to(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::To(after) => after,
        }
    }

    /// Whether the field is absent.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FieldChange<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(input).map(Self::To)
    }
}

impl<T: Serialize> Serialize for FieldChange<T> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep => out.serialize_none(),
            Self::To(value) => value.serialize(out),
        }
    }
}

impl<T: JsonSchema> JsonSchema for FieldChange<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Change_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Option<T>>()
    }
}

/// A change of limits: named limits are set, or removed with `null`, and the others stay unchanged.
/// `null` in place of the object removes all limits.
///
/// The limits themselves are defined in [`Limits`] alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LimitsChange(FieldChange<Map<String, Value>>);

/// Why changed limits cannot be read. The message names the limit.
#[derive(Debug)]
pub struct InvalidLimits(pub String);

impl LimitsChange {
    /// Whether nothing changes.
    pub fn is_keep(&self) -> bool {
        self.0.is_keep()
    }

    /// The limits after the change.
    ///
    /// # Errors
    /// If a name is not that of a limit (also with the value `null`) or a value does not fit.
    pub fn apply_to(self, before: &Limits) -> Result<Limits, InvalidLimits> {
        let mut named = match self.0 {
            FieldChange::Keep => return Ok(before.clone()),
            FieldChange::To(None) => return Ok(Limits::default()),
            FieldChange::To(Some(named)) => named,
        };
        let invalid = |error: serde_json::Error| InvalidLimits(error.to_string());
        named.values_mut().for_each(normalize_numbers);
        let mut all: Map<String, Value> =
            serde_json::to_value(before).and_then(serde_json::from_value).map_err(invalid)?;
        all.extend(named);
        serde_json::from_value(Value::Object(all)).map_err(invalid)
    }
}

impl<'de> Deserialize<'de> for LimitsChange {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        FieldChange::deserialize(input).map(Self)
    }
}

impl JsonSchema for LimitsChange {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LimitsChange".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Option<Limits>>()
    }
}

/// Replaces numbers such as `3.0` by whole numbers, because JSON has one kind of number.
pub fn normalize_numbers(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(normalize_numbers),
        Value::Array(list) => list.iter_mut().for_each(normalize_numbers),
        Value::Number(number) => {
            let whole = number.to_string().strip_suffix(".0").and_then(|text| text.parse().ok());
            *number = whole.map_or_else(|| number.clone(), |whole: u64| whole.into());
        }
        _ => {}
    }
}

/// The end of a key's life. Other programs write "never" as the end of the year 9999, which is a
/// day later than the latest time of jiff, so that is read as the latest time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ExpiryTime(pub Timestamp);

impl<'de> Deserialize<'de> for ExpiryTime {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(input)?;
        let is_last =
            text.get(..10).is_some_and(|day| ("9999-12-30"..="9999-12-31").contains(&day));
        match text.parse::<Timestamp>() {
            Ok(at) => Ok(Self(at)),
            // The text is parsed with another year, so that malformed times are still refused.
            Err(_) if is_last && text.replace("9999-", "9998-").parse::<Timestamp>().is_ok() => {
                Ok(Self(Timestamp::MAX))
            }
            Err(_) => Err(D::Error::custom(
                "expected a time like 2026-12-31T23:59:59Z, or null for never",
            )),
        }
    }
}

/// Model names by what clients request. A name that is requested can be a pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelMap(pub BTreeMap<String, String>);

impl ModelMap {
    /// The pairs as Baton stores them.
    ///
    /// # Errors
    /// If a requested name is not a pattern.
    pub fn into_pairs(self) -> Result<Vec<(ModelPattern, String)>, PatternError> {
        self.0.into_iter().map(|(name, target)| Ok((ModelPattern::new(name)?, target))).collect()
    }
}

impl From<&[(ModelPattern, String)]> for ModelMap {
    fn from(pairs: &[(ModelPattern, String)]) -> Self {
        let entry = |(pattern, target): &(ModelPattern, String)| {
            (pattern.as_str().to_owned(), target.clone())
        };
        Self(pairs.iter().map(entry).collect())
    }
}

impl JsonSchema for ModelMap {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ModelMap".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object", "propertyNames": generator.subschema_for::<ModelPattern>(),
            "additionalProperties": { "type": "string", "minLength": 1 },
        })
    }
}

/// Adds the field `type` with this value to the schema of a struct that serde tags with it.
pub(crate) fn require_type(value: &'static str) -> impl Fn(&mut Schema) {
    move |schema| {
        let properties = schema.ensure_object().entry("properties").or_insert_with(|| json!({}));
        properties["type"] = json!({ "const": value });
        let required = schema.ensure_object().entry("required").or_insert_with(|| json!([]));
        if let Value::Array(names) = required {
            names.push(json!("type"));
        }
    }
}

/// Schemas of texts that are checked where they are used.
macro_rules! text_schema {
    ($($(#[$doc:meta])* $name:ident is $is_inline:literal: $schema:tt),+ $(,)?) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                $is_inline
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })+
    };
}

text_schema! {
    /// The schema of a name for people.
    Name is false: {
        "type": "string", "minLength": 1, "maxLength": 200,
        "pattern": r"^[^\u0000-\u0020\u007f-\u00a0\s]([^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0\s])?$",
    },
    /// The schema of an address of an upstream or of a token endpoint. It describes only plain
    /// addresses; others with https work too.
    HttpsAddress is true: {
        "type": "string", "format": "uri",
        "pattern": r"^https://[a-z][a-z0-9]{0,20}(\.[a-z][a-z0-9]{0,20}){1,3}(/[a-z0-9]{1,20})?$",
    },
    /// The schema of a time or day in a request.
    Moment is false: {
        "type": "string", "description": "A time (RFC 3339) or a UTC day. In `to`, a day means its end.",
        "anyOf": [{ "format": "date-time" }, { "format": "date" }],
        "examples": ["2026-11-22", "2026-11-22T21:00:00Z"],
    },
    /// The schema of the id of a model.
    ModelId is true: {
        "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[!-)+-~]+$",
    },
    /// The schema of secret text that goes into an HTTP header.
    HeaderSecret is true: {
        "type": "string", "minLength": 1, "pattern": "^[!-~]+$", "writeOnly": true,
    },
}
