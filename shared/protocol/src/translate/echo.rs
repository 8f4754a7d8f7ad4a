//! Bounds the fields of a request that a response repeats, because they are kept until its end.

use super::TranslationError;
use super::json_reader::parse_document;

/// The bounds of `metadata` (OpenAI API reference, "Create a response", `metadata`, 2026-11).
const PAIRS_MAX: usize = 16;
const KEY_CHARACTERS_MAX: usize = 64;
const VALUE_CHARACTERS_MAX: usize = 512;

/// The longest way to write such metadata: each character as two escapes of six bytes, with some
/// white space.
const METADATA_BYTES_MAX: usize =
    PAIRS_MAX * (KEY_CHARACTERS_MAX + VALUE_CHARACTERS_MAX) * 12 + 4_096;

/// The longest number or Boolean that is repeated.
const PLAIN_VALUE_BYTES_MAX: usize = 64;

/// Checks the fields, which have the JSON `echo`.
///
/// # Errors
/// A field is longer than the API allows.
pub(super) fn check_echo(echo: &[(&'static str, &str)]) -> Result<(), TranslationError> {
    for (name, json) in echo {
        match *name {
            "metadata" if !is_short_metadata(json) => {
                let advice = "at most 16 pairs are accepted, with keys of up to 64 characters and values of \
                              up to 512 characters";
                return Err(TranslationError::field(*name, advice));
            }
            // The memory that its list of tools keeps is counted (`ResponseContext::held_bytes`).
            "metadata" | "tool_choice" => {}
            _ if json.len() > PLAIN_VALUE_BYTES_MAX => {
                return Err(TranslationError::field(*name, "at most 64 bytes are accepted"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether metadata is within the bounds of the API.
fn is_short_metadata(json: &str) -> bool {
    if json.len() > METADATA_BYTES_MAX {
        return false;
    }
    let Ok(document) = parse_document(json.as_bytes()) else { return false };
    let Some(mut pairs) = document.root().fields() else {
        return json.len() <= VALUE_CHARACTERS_MAX;
    };
    let is_short = |text: &str, max| text.chars().take(max + 1).count() <= max;
    let are_short = pairs.by_ref().take(PAIRS_MAX).all(|(key, value)| {
        let text = value.text();
        let text = text.as_deref().unwrap_or_else(|| value.raw());
        is_short(&key, KEY_CHARACTERS_MAX) && is_short(text, VALUE_CHARACTERS_MAX)
    });
    are_short && pairs.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_fields_are_bounded_as_the_api_bounds_them() {
        let check = |name: &'static str, json: &str, accepted: bool| {
            let result = check_echo(&[(name, json)]);
            assert_eq!(result.is_ok(), accepted, "{name}: {} bytes, {result:?}", json.len());
        };
        let pairs = |count: usize, key: usize, value: &str| {
            let key = "k".repeat(key);
            let pair = |n| format!("\"{}{n:02}\":\"{value}\"", &key[2..]);
            format!("{{{}}}", (0..count).map(pair).collect::<Vec<_>>().join(","))
        };
        check("metadata", &pairs(16, 64, &"ä".repeat(512)), true);
        check("metadata", &pairs(16, 64, &"\\ud83d\\ude00".repeat(512)), true);
        check("metadata", &pairs(17, 64, "a"), false);
        check("metadata", &pairs(1, 65, "a"), false);
        check("metadata", &pairs(1, 64, &"a".repeat(513)), false);
        check("metadata", &pairs(1, 64, &"a".repeat(8_000_000)), false);
        check("metadata", &format!("{{\"a\":{}1}}", " ".repeat(8_000_000)), false);
        check("metadata", &format!("{{\"a\":[{}1]}}", "1,".repeat(600)), false);
        check("metadata", "{\"a\":1}", true);
        check("metadata", "null", true);
        check("temperature", "0.7", true);
        check("temperature", &format!("0.{}", "1".repeat(8_000_000)), false);
        check("tool_choice", &" ".repeat(1_000), true);
    }
}
