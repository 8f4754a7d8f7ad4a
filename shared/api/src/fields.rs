//! Values of fields that several resources share.

use baton_domain::key::Limits;
use baton_domain::model::{ModelPattern, PatternError};
use baton_domain::money::PicoUsd;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

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

    /// Sets the field to the value; `None` keeps it.
    pub fn set_if_some(value: Option<T>) -> Self {
        value.map_or(Self::Keep, |value| Self::To(Some(value)))
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LimitsChange(FieldChange<NamedLimits>);

/// The changes of each of the [`Limits`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamedLimits {
    /// Budget per UTC day.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    pub usd_daily: FieldChange<PicoUsd>,
    /// Budget per UTC week.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    pub usd_weekly: FieldChange<PicoUsd>,
    /// Budget per UTC month.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    pub usd_monthly: FieldChange<PicoUsd>,
    /// Total budget.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    pub usd_total: FieldChange<PicoUsd>,
    /// Requests per UTC minute.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    pub requests_per_minute: FieldChange<u32>,
    /// Requests at the same time.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    pub concurrency: FieldChange<u32>,
}

impl LimitsChange {
    /// Whether nothing changes.
    pub fn is_keep(&self) -> bool {
        self.0.is_keep()
    }

    /// The limits after the change.
    pub fn apply_to(self, before: &Limits) -> Limits {
        let named = match self.0 {
            FieldChange::Keep => return before.clone(),
            FieldChange::To(None) => return Limits::default(),
            FieldChange::To(Some(named)) => named,
        };
        Limits {
            usd_daily: named.usd_daily.apply_to(before.usd_daily),
            usd_weekly: named.usd_weekly.apply_to(before.usd_weekly),
            usd_monthly: named.usd_monthly.apply_to(before.usd_monthly),
            usd_total: named.usd_total.apply_to(before.usd_total),
            requests_per_minute: named.requests_per_minute.apply_to(before.requests_per_minute),
            concurrency: named.concurrency.apply_to(before.concurrency),
        }
    }
}

impl From<NamedLimits> for LimitsChange {
    fn from(named: NamedLimits) -> Self {
        Self(FieldChange::set_if_some((named != NamedLimits::default()).then_some(named)))
    }
}

impl From<Limits> for LimitsChange {
    /// Sets the limits that are present, and keeps the others.
    fn from(limits: Limits) -> Self {
        Self::from(NamedLimits {
            usd_daily: FieldChange::set_if_some(limits.usd_daily),
            usd_weekly: FieldChange::set_if_some(limits.usd_weekly),
            usd_monthly: FieldChange::set_if_some(limits.usd_monthly),
            usd_total: FieldChange::set_if_some(limits.usd_total),
            requests_per_minute: FieldChange::set_if_some(limits.requests_per_minute),
            concurrency: FieldChange::set_if_some(limits.concurrency),
        })
    }
}

impl<'de> Deserialize<'de> for LimitsChange {
    /// Reads an object or `null`. Serde alone would also read a list, as the values of the fields in
    /// their order.
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct LimitsVisitor;

        impl<'de> Visitor<'de> for LimitsVisitor {
            type Value = LimitsChange;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object or null")
            }

            fn visit_unit<E>(self) -> Result<LimitsChange, E> {
                Ok(LimitsChange(FieldChange::To(None)))
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<LimitsChange, A::Error> {
                let named = NamedLimits::deserialize(MapAccessDeserializer::new(fields))?;
                Ok(LimitsChange(FieldChange::To(Some(named))))
            }
        }

        input.deserialize_any(LimitsVisitor)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_limits_set_keep_and_remove() {
        let usd = |amount: &str| amount.parse::<PicoUsd>().ok();
        let before = Limits { usd_daily: usd("1"), concurrency: Some(2), ..Limits::default() };
        for (change, after) in [
            (json!({}), before.clone()),
            (json!(null), Limits::default()),
            (json!({ "usd_daily": null }), Limits { usd_daily: None, ..before.clone() }),
            (
                json!({ "usd_total": "0.500000000000" }),
                Limits { usd_total: usd("0.5"), ..before.clone() },
            ),
        ] {
            let read: LimitsChange = serde_json::from_value(change.clone()).unwrap();
            assert_eq!(json!(read), change);
            assert_eq!(read.apply_to(&before), after, "{change}");
        }
        assert!(LimitsChange::from(NamedLimits::default()).is_keep());
        assert_eq!(LimitsChange::from(before.clone()).apply_to(&Limits::default()), before);
        for refused in [json!(["1"]), json!({ "usd_yearly": null }), json!({ "usd_daily": 1 })] {
            assert!(serde_json::from_value::<LimitsChange>(refused.clone()).is_err(), "{refused}");
        }
    }
}
