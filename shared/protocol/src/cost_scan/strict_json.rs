//! A parser for small JSON values that refuses objects with a field given twice. Of two values,
//! some parsers use the first and others the last.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The highest number of values in one setting. No documented setting has more than a few dozen.
pub const SETTING_VALUES_MAX: usize = 10_000;

/// Why a value was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StrictJsonError {
    /// An object has a field twice.
    Twice,
    /// The setting has more than [`SETTING_VALUES_MAX`] values.
    ManyValues,
    /// Some JSON parsers do not accept the value.
    NotJson,
}

/// Parses a value if it is small and no object in it has a field twice.
pub(super) fn parse_strict(raw: &str) -> Result<Value, StrictJsonError> {
    let mut read_state = ParseState { values: 0, error: StrictJsonError::NotJson };
    let mut parser = serde_json::Deserializer::from_str(raw);
    let value = StrictValue(&mut read_state).deserialize(&mut parser);
    value.map_err(|_| read_state.error)
}

struct ParseState {
    values: usize,
    error: StrictJsonError,
}

struct StrictValue<'r>(&'r mut ParseState);

impl StrictValue<'_> {
    fn fail<T, E: Error>(&mut self, error: StrictJsonError) -> Result<T, E> {
        self.0.error = error;
        Err(E::custom("not accepted"))
    }
}

impl<'de> DeserializeSeed<'de> for StrictValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        self.0.values += 1;
        if self.0.values > SETTING_VALUES_MAX {
            return self.fail(StrictJsonError::ManyValues);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a field that is given twice")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(StrictValue(self.0))? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(StrictValue(self.0))?;
            if fields.insert(name, value).is_some() {
                return self.fail(StrictJsonError::Twice);
            }
        }
        Ok(fields.into())
    }
}
