//! Texts of flags as values of the API's requests. A field is present only if its flag was given, and
//! `none` clears it.

use crate::CliError;
use baton_api::error::field_message;
use baton_api::fields::{FieldChange, ModelMap};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The value that clears a field.
pub(super) const NONE: &str = "none";

/// Reads texts of this flag as the API does.
///
/// # Errors
/// The message names the flag and what is expected, but not the text, which can be a secret.
pub(super) fn value<T: DeserializeOwned>(flag: &str) -> impl Fn(&str) -> Result<T, CliError> {
    move |text| {
        serde_json::from_value(Value::from(text)).map_err(|error| {
            let reason = field_message("", &error.to_string()).replace(", or null", ", or `none`");
            CliError::Refused(format!("{flag}: {reason}"))
        })
    }
}

/// Reads whole numbers.
pub(super) fn count(flag: &str) -> impl Fn(&str) -> Result<u32, CliError> {
    move |text| {
        text.parse().map_err(|_| {
            let why = if text.starts_with('-') { " because it is below zero" } else { "" };
            CliError::Usage(format!("{flag} must be a whole number or `{NONE}`, not `{text}`{why}"))
        })
    }
}

/// A field whose text `read` reads.
pub(super) fn optional<T>(
    text: Option<String>,
    read: impl Fn(&str) -> Result<T, CliError>,
) -> Result<Option<T>, CliError> {
    text.map(|text| read(&text)).transpose()
}

/// The same for a field that `none` clears.
pub(super) fn change<T>(
    text: Option<String>,
    read: impl Fn(&str) -> Result<T, CliError>,
) -> Result<FieldChange<T>, CliError> {
    match text {
        None => Ok(FieldChange::Keep),
        Some(text) if text == NONE => Ok(FieldChange::To(None)),
        Some(text) => Ok(FieldChange::To(Some(read(&text)?))),
    }
}

/// The same for a list. A single `none` gives the empty list.
pub(super) fn list<T>(
    texts: &[String],
    read: impl Fn(&str) -> Result<T, CliError>,
) -> Result<Option<Vec<T>>, CliError> {
    match texts {
        [] => Ok(None),
        [none] if none == NONE => Ok(Some(Vec::new())),
        texts => texts.iter().map(|text| read(text)).collect::<Result<_, _>>().map(Some),
    }
}

/// The same for names of models, each as `ASKED=SERVED`.
pub(super) fn pairs(flag: &str, texts: &[String]) -> Result<Option<ModelMap>, CliError> {
    let mut map = ModelMap::default();
    for pair in texts.iter().filter(|pair| *pair != NONE) {
        let names = pair.split_once('=').filter(|(a, b)| !a.is_empty() && !b.is_empty());
        let (requested, served) = names.ok_or_else(|| {
            CliError::Usage(format!("{flag} must be ASKED=SERVED or `{NONE}`, not `{pair}`"))
        })?;
        map.0.insert(requested.to_owned(), served.to_owned());
    }
    Ok((!texts.is_empty()).then_some(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_api::fields::ExpiryTime;
    use baton_domain::key::Role;
    use baton_domain::model::ModelPattern;
    use baton_domain::money::PicoUsd;
    use serde::Serialize;
    use serde_json::json;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// The JSON of a field that is present, or the error.
    fn present(field: Result<Option<impl Serialize>, CliError>) -> Result<Value, String> {
        field.map(|value| json!(value)).map_err(|error| error.to_string())
    }

    #[test]
    fn absent_flags_keep_fields_and_none_clears_them() {
        type Field = FieldChange<PicoUsd>;
        let usd = |text: Option<&str>| change(text.map(str::to_owned), value("--usd-daily")).ok();
        assert_eq!(usd(None), Some(Field::Keep));
        assert_eq!(usd(Some("none")), Some(Field::To(None)));
        assert_eq!(usd(Some("1.5")), Some(Field::To(Some(PicoUsd::from_micros(1_500_000)))));
        assert_eq!(usd(Some("much")), None);
        let models =
            |given: &[&str]| present(list::<ModelPattern>(&texts(given), value("--model")));
        assert_eq!(models(&[]), Ok(Value::Null));
        assert_eq!(models(&["none"]), Ok(json!([])));
        assert_eq!(models(&["a", "b-*"]), Ok(json!(["a", "b-*"])));
        let map = |given: &[&str]| present(pairs("--map", &texts(given)));
        assert_eq!(map(&[]), Ok(Value::Null));
        assert_eq!(map(&["none"]), Ok(json!({})));
        assert_eq!(map(&["a=b", "none", "c=d=e"]), Ok(json!({ "a": "b", "c": "d=e" })));
    }

    #[test]
    fn errors_name_the_flag_and_what_is_expected() {
        let flag = |text: &str| Some(text.to_owned());
        let pair = |text: &str| present(pairs("--map", &texts(&[text])));
        let errors = [
            (
                present(optional(flag("king"), value::<Role>("--role"))),
                "--role: expected `admin` or `member`",
            ),
            (
                present(optional(flag("x"), value::<PicoUsd>("--usd-daily"))),
                "--usd-daily: expected US dollars as a decimal number such as 12.50",
            ),
            (
                present(optional(flag("soon"), value::<ExpiryTime>("--expires-at"))),
                "--expires-at: expected a time like 2026-12-31T23:59:59Z, or `none` for never",
            ),
            (
                present(list(&texts(&["a", ""]), value::<ModelPattern>("--model"))),
                "--model: a model pattern must have 1 to 256 printable characters; `*` stands for any \
                 characters",
            ),
            (
                present(optional(flag("many"), count("--concurrency"))),
                "--concurrency must be a whole number or `none`, not `many`",
            ),
            (
                present(optional(flag("-1"), count("--concurrency"))),
                "--concurrency must be a whole number or `none`, not `-1` because it is below zero",
            ),
            (pair("odd"), "--map must be ASKED=SERVED or `none`, not `odd`"),
            (pair("=x"), "--map must be ASKED=SERVED or `none`, not `=x`"),
            (pair("x="), "--map must be ASKED=SERVED or `none`, not `x=`"),
        ];
        for (found, expected) in errors {
            assert_eq!(found, Err(expected.to_owned()));
        }
    }
}
