//! Counts the text in an answer's deltas without parsing them, to estimate an answer whose final
//! usage never arrived.

use memchr::{memchr2, memmem};
use serde::Deserialize;
use std::borrow::Cow;

/// The approximate number of characters in a token (Claude apps gateway page, 2026-08-22).
const CHARS_PER_TOKEN: u64 = 4;

/// The estimated number of tokens in `chars` characters.
pub(super) fn estimate_tokens(chars: u64) -> u64 {
    chars.div_ceil(CHARS_PER_TOKEN)
}

/// Characters in a `content_block_delta`: its text, thinking or partial JSON. A signature does not
/// count.
pub(super) fn chars_in_content_delta(data: &[u8]) -> u64 {
    chars_in_usual_delta(data).unwrap_or_else(|| chars_in_any_delta(data).unwrap_or(0))
}

/// Characters in the first string of the form `"key":"…"`, for each of `keys`.
pub(super) fn chars_in_strings(data: &[u8], keys: &[&str]) -> u64 {
    keys.iter()
        .filter_map(|key| {
            let index = memmem::find(data, key.as_bytes())? + key.len();
            chars_in_string(data[index..].trim_ascii_start().strip_prefix(b":")?)
        })
        .sum()
}

/// Whether a whole answer contains model text: a non-empty string with one of the usual keys.
pub(super) fn has_any(body: &[u8]) -> bool {
    const KEYS: [&str; 6] = [
        "\"content\"",
        "\"text\"",
        "\"thinking\"",
        "\"arguments\"",
        "\"reasoning_content\"",
        "\"reasoning\"",
    ];
    KEYS.iter().any(|key| {
        memmem::find_iter(body, key.as_bytes()).any(|index| {
            let value = body[index + key.len()..].trim_ascii_start().strip_prefix(b":");
            value.and_then(chars_in_string).is_some_and(|chars| chars > 0)
        })
    })
}

/// Counts in a delta with the usual order of keys, without a search:
/// `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"…"}}`.
fn chars_in_usual_delta(data: &[u8]) -> Option<u64> {
    let after_index = data.strip_prefix(b"{\"type\":\"content_block_delta\",\"index\":")?;
    let digits = after_index.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let kind = after_index[digits..].strip_prefix(b",\"delta\":{\"type\":\"")?;
    let tail = kind[memchr::memchr(b'"', kind)?..].strip_prefix(b"\",\"")?;
    let key_end = memchr::memchr(b'"', tail)?;
    match &tail[..key_end] {
        b"text" | b"thinking" | b"partial_json" | b"content" => {
            Some(chars_in_string(tail[key_end + 1..].strip_prefix(b":")?).unwrap_or(0))
        }
        b"signature" | b"citation" => Some(0),
        _ => None,
    }
}

fn chars_in_any_delta(data: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct DeltaEvent<'a> {
        #[serde(borrow)]
        delta: TextDelta<'a>,
    }
    #[derive(Deserialize)]
    struct TextDelta<'a> {
        #[serde(borrow, default)]
        text: Cow<'a, str>,
        #[serde(borrow, default)]
        thinking: Cow<'a, str>,
        #[serde(borrow, default)]
        partial_json: Cow<'a, str>,
    }
    let TextDelta { text, thinking, partial_json } =
        serde_json::from_slice::<DeltaEvent>(data).ok()?.delta;
    Some([text, thinking, partial_json].iter().map(|part| chars_in_utf8(part.as_bytes())).sum())
}

/// Characters in the JSON string at the start of `data`. An escape counts as one character. An
/// unfinished string counts as far as it has arrived.
fn chars_in_string(data: &[u8]) -> Option<u64> {
    let mut rest = data.trim_ascii_start().strip_prefix(b"\"")?;
    let mut chars = 0;
    while let Some(index) = memchr2(b'"', b'\\', rest) {
        chars += chars_in_utf8(&rest[..index]);
        if rest[index] == b'"' {
            return Some(chars);
        }
        chars += 1;
        let length = if rest.get(index + 1) == Some(&b'u') { 6 } else { 2 };
        rest = rest.get(index + length..).unwrap_or_default();
    }
    Some(chars + chars_in_utf8(rest))
}

/// Characters in UTF-8 that can be cut: all bytes except continuation bytes.
pub(super) fn chars_in_utf8(bytes: &[u8]) -> u64 {
    // A count for each chunk lets the compiler use vector instructions.
    bytes
        .chunks(255)
        .map(|part| part.iter().map(|b| u64::from(b & 0xC0 != 0x80)).sum::<u64>())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_deltas_are_counted_in_characters() {
        let check = |delta: &str, chars| {
            let data = format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#);
            assert_eq!(chars_in_content_delta(data.as_bytes()), chars, "{delta}");
        };
        check(r#"{"type":"text_delta","text":"Hello"}"#, 5);
        check(r#"{"type":"text_delta","text":""}"#, 0);
        check(r#"{"type":"text_delta","text":"é漢🦀"}"#, 3);
        check(r#"{"type":"text_delta","text":"a\n\"b\\\u00e9"}"#, 6);
        check(r#"{"type":"thinking_delta","thinking":"hm"}"#, 2);
        check(r#"{"type":"input_json_delta","partial_json":"{\"a\":"}"#, 5);
        check(r#"{"type":"signature_delta","signature":"abcdef"}"#, 0);
        check(r#"{"text":"Hello","type":"text_delta"}"#, 5);
        check(r#"{"type" : "text_delta", "text" : "a\u00e9"}"#, 2);
        check(r#"{"type":"future_delta","z":1}"#, 0);
        check(r#"{"type":"text_delta","text":"cut"#, 4);
        check("null", 0);
    }

    #[test]
    fn strings_of_the_given_keys_are_counted() {
        let keys = ["\"content\"", "\"arguments\""];
        let check = |data: &str, chars| assert_eq!(chars_in_strings(data.as_bytes(), &keys), chars);
        check(r#"{"delta":{"content":"Hé"}}"#, 2);
        check(r#"{"delta":{"content": "Hé", "x":{"arguments":"{}"}}}"#, 4);
        check(r#"{"delta":{"content":null}}"#, 0);
        check(r#"{"text":"\"content\": \"no\""}"#, 0);
        check(r#""content""#, 0);
    }

    #[test]
    fn whole_answers_with_text_are_recognized() {
        let check = |body: &str, expect| assert_eq!(has_any(body.as_bytes()), expect, "{body}");
        check(r#"{"content":[{"type":"text","text":"Hi"}]}"#, true);
        check(r#"{"choices":[{"message":{"role":"assistant","content":"Hi"}}]}"#, true);
        check(
            r#"{"choices":[{"message":{"content":null,"tool_calls":[{"function":{"arguments":"{}"}}]}}]}"#,
            true,
        );
        check(r#"{"content":[{"type":"text","text":""}]}"#, false);
        check(r#"{"content":[],"usage":{"output_tokens":0}}"#, false);
    }

    #[test]
    fn tokens_round_up() {
        assert_eq!([0, 1, 4, 5].map(estimate_tokens), [0, 1, 1, 2]);
    }
}
