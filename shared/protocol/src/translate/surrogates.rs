//! Joins a surrogate pair whose halves came in two deltas.
//!
//! A vendor that cuts its text after a number of UTF-16 units writes `\ud83d` at the end of one
//! delta and `\ude00` at the beginning of the next. Neither half is Unicode, so a reader of one
//! delta would have to replace both.

use crate::json::{SURROGATE_BYTES, replace_surrogates};

/// The half of a pair at the end of the last delta.
#[derive(Debug, Default)]
pub(super) struct SurrogateJoiner {
    /// The block that the delta belongs to, and the half, which is a high surrogate.
    pending: Option<((u64, u64), u32)>,
}

impl SurrogateJoiner {
    /// The text of a delta of `block`, which is UTF-8 except for halves of pairs. A half without its
    /// other half becomes one replacement character. One at the end of a block is left out.
    pub(super) fn join(&mut self, block: (u64, u64), delta: &[u8]) -> String {
        let mut rest = delta;
        let mut text = String::new();
        if let Some((pending_block, high)) = self.pending.take_if(|_| !delta.is_empty())
            && pending_block == block
        {
            let low = first_surrogate(delta).filter(|half| (0xDC00..0xE000).contains(half));
            let code = low.map(|low| 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            if code.is_some() {
                rest = &rest[SURROGATE_BYTES..];
            }
            text.push(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let end = rest.len().saturating_sub(SURROGATE_BYTES);
        if let Some(high) = first_surrogate(&rest[end..]).filter(|half| *half < 0xDC00) {
            self.pending = Some((block, high));
            rest = &rest[..end];
        }
        text.push_str(&replace_surrogates(rest));
        text
    }
}

/// The surrogate that the bytes begin with, in the form that UTF-8 would have for it.
fn first_surrogate(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [0xED, second @ 0xA0..=0xBF, third, ..] => {
            Some(0xD000 | (u32::from(second & 0x3F) << 6) | u32::from(third & 0x3F))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::JsonValue;

    /// The texts of deltas, each of which is JSON and belongs to the block of this number.
    fn join(deltas: &[(u64, &str)]) -> Vec<String> {
        let mut joiner = SurrogateJoiner::default();
        let text = |json: &str| {
            JsonValue::from_checked(json.as_bytes()).surrogate_text().unwrap().into_owned()
        };
        deltas.iter().map(|(block, json)| joiner.join((0, *block), &text(json))).collect()
    }

    #[test]
    fn halves_of_a_pair_are_joined() {
        let check = |deltas: &[(u64, &str)], expect: &[&str]| {
            assert_eq!(join(deltas), expect, "{deltas:?}");
        };
        check(&[(0, r#""a\ud83d""#), (0, r#""\ude00b""#)], &["a", "\u{1F600}b"]);
        check(&[(0, r#""\ud83d""#), (0, r#""""#), (0, r#""\ude00""#)], &["", "", "\u{1F600}"]);
        check(
            &[(0, r#""\ud83d""#), (0, r#""\ude00\ud83d""#), (0, r#""\ude01""#)],
            &["", "\u{1F600}", "\u{1F601}"],
        );
        check(&[(0, r#""a\ud83d\ude00b""#)], &["a\u{1F600}b"]);
        // Halves without their other half.
        check(&[(0, r#""a\ud83d""#), (0, r#""b""#)], &["a", "\u{FFFD}b"]);
        check(&[(0, r#""a\ud83db""#)], &["a\u{FFFD}b"]);
        check(&[(0, r#""a\ude00b""#)], &["a\u{FFFD}b"]);
        check(&[(0, r#""\ud83d""#), (0, r#""\ud83d""#)], &["", "\u{FFFD}"]);
        // Another block.
        check(&[(0, r#""a\ud83d""#), (1, r#""\ude00b""#)], &["a", "\u{FFFD}b"]);
        check(&[(0, r#""\u00e9\n""#), (0, r#""\uff1f""#)], &["\u{e9}\n", "\u{ff1f}"]);
    }
}
