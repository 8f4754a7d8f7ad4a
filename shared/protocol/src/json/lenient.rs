//! Makes JSON strict where encoders commonly deviate: a byte order mark, and numbers that are not
//! finite, as Python writes them by default.

use memchr::{memchr2, memchr3, memmem};
use std::borrow::Cow;

/// The mark with which some encoders begin UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The text without a byte order mark at its beginning.
pub(crate) fn strip_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The text without a byte order mark, and with `null` for each number that is not finite. Only a
/// text with such a number is copied.
pub(crate) fn to_strict_json(text: &[u8]) -> Cow<'_, [u8]> {
    let text = strip_byte_order_mark(text);
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
