//! Makes JSON strict where encoders commonly deviate: a byte order mark, numbers that are not
//! finite, as Python writes them by default, and bytes that are not UTF-8, such as text in Latin-1 or
//! half a character, which servers send that cut a text into tokens.

use memchr::{memchr2, memchr3, memmem};
use std::borrow::Cow;

/// The mark with which some encoders begin UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The text without a byte order mark at its beginning.
pub(crate) fn strip_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The longest text in which bytes that are not UTF-8 are replaced. Each can become three bytes.
const REPLACED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The text without a byte order mark, with `null` for each number that is not finite, and with
/// replacement characters for what is not UTF-8. Only a text with one of these is copied. In a text
/// longer than [`REPLACED_BYTES_MAX`], bytes that are not UTF-8 stay.
pub(crate) fn to_strict_json(text: &[u8]) -> Cow<'_, [u8]> {
    let text = strip_byte_order_mark(text);
    if text.len() > REPLACED_BYTES_MAX {
        return replace_infinite_numbers(text);
    }
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(text) => replace_infinite_numbers(text.as_bytes()),
        Cow::Owned(text) => match replace_infinite_numbers(text.as_bytes()) {
            Cow::Borrowed(_) => text.into_bytes().into(),
            Cow::Owned(strict) => strict.into(),
        },
    }
}

fn replace_infinite_numbers(text: &[u8]) -> Cow<'_, [u8]> {
    let has = |word: &str| memmem::find(text, word.as_bytes()).is_some();
    let is_plain = !has("NaN") && !has("Infinity");
    if is_plain {
        return Cow::Borrowed(text);
    }
    let mut strict = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(index) = memchr3(b'"', b'N', b'I', rest) {
        let (before, from) = rest.split_at(index);
        strict.extend_from_slice(before);
        let length = if from.starts_with(b"\"") {
            let length = string_length(from);
            strict.extend_from_slice(&from[..length]);
            length
        } else if from.starts_with(b"NaN") {
            strict.extend_from_slice(b"null");
            "NaN".len()
        } else if from.starts_with(b"Infinity") {
            if strict.ends_with(b"-") {
                strict.pop();
            }
            strict.extend_from_slice(b"null");
            "Infinity".len()
        } else {
            strict.extend_from_slice(&from[..1]);
            1
        };
        rest = &from[length..];
    }
    strict.extend_from_slice(rest);
    Cow::Owned(strict)
}

/// The length of the string at the beginning of `text`, with its quotes, as far as it has arrived.
fn string_length(text: &[u8]) -> usize {
    let mut index = 1;
    while let Some(offset) = memchr2(b'"', b'\\', text.get(index..).unwrap_or_default()) {
        index += offset + 1;
        if text[index - 1] == b'"' {
            return index;
        }
        index += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced() {
        for (text, strict) in [
            (b"{\"a\":\"caf\xe9\"}".as_slice(), "{\"a\":\"caf\u{fffd}\"}"),
            (b"{\"a\":\"\xf0\x9f\x98\",\"b\":NaN}", "{\"a\":\"\u{fffd}\",\"b\":null}"),
        ] {
            assert_eq!(String::from_utf8_lossy(&to_strict_json(text)), strict, "{text:?}");
        }
    }

    #[test]
    fn only_marks_and_infinite_numbers_change() {
        for (text, strict) in [
            ("", ""),
            ("\u{feff}", ""),
            ("\u{feff}{}", "{}"),
            ("\u{feff}\u{feff}{}", "\u{feff}{}"),
            ("{\"a\":NaN}", "{\"a\":null}"),
            ("\u{feff}[-Infinity,Infinity, NaN ]", "[null,null, null ]"),
            ("{\"NaN\":\"Infinity -Infinity\"}", "{\"NaN\":\"Infinity -Infinity\"}"),
            ("{\"a\":\"\\\"NaN\",\"b\":NaN}", "{\"a\":\"\\\"NaN\",\"b\":null}"),
            ("{\"a\":\"\\\\\",\"b\":NaN}", "{\"a\":\"\\\\\",\"b\":null}"),
            ("{\"a\":NaN,\"b\":\"NaN", "{\"a\":null,\"b\":\"NaN"),
            ("{\"a\":NaN,\"b\":\"\\", "{\"a\":null,\"b\":\"\\"),
            ("NI NaN Inf", "NI null Inf"),
        ] {
            let seen = to_strict_json(text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&seen), strict, "{text}");
        }
        assert!(matches!(to_strict_json("{\"a\":1}".as_bytes()), Cow::Borrowed(_)));
    }
}
