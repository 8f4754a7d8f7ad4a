//! Escapes foreign text for logs, tables and labels: everything that a terminal, a line-based
//! reader or a viewer could interpret is written as an escape.

use crate::relay_key;
use std::borrow::Cow;

/// Replaces a relay key in the text.
const MASK: &str = "bt_***";

/// Whether the character has no effect besides its glyph: it is not a control character (C0, DEL,
/// C1) or a line or paragraph separator, has a width, and does not change the direction of its
/// neighbors.
pub fn is_plain(character: char) -> bool {
    matches!(character, ' '..='~') || (character > '\u{9f}' && !is_invisible(character))
}

/// Spaces other than U+0020, letters without a glyph, direction marks, separators, joiners,
/// variation selectors, private use, tags and noncharacters.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{a0}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{1680}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{3000}'
        | '\u{3164}'
        | '\u{ffa0}'
        | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}'
        | '\u{205f}'..='\u{206f}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{fffe}'
        | '\u{ffff}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{10ffff}')
}

/// The text with everything that is not plain written as an escape (`\n`, `\u{1b}`), relay keys
/// masked, and cut after `characters_max` characters.
pub fn escape_text(text: &str, characters_max: usize) -> Cow<'_, str> {
    let is_short = text.len() <= characters_max;
    if is_short && text.chars().all(is_plain) && !relay_key::contains_key(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::new();
    let masked = relay_key::mask_keys(text, MASK);
    for (index, character) in masked.chars().enumerate() {
        if index == characters_max {
            escaped.push('…');
            break;
        }
        push(&mut escaped, character);
    }
    Cow::Owned(escaped)
}

/// The text with everything that is not plain written as an escape, for a terminal.
pub fn escape_for_terminal(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        push(&mut plain, character);
    }
    Cow::Owned(plain)
}

fn push(to: &mut String, character: char) {
    if is_plain(character) {
        to.push(character);
    } else {
        to.extend(character.escape_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::KeyId;
    use crate::relay_key::{compose, new_secret};
    use proptest::prelude::*;

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        for (text, shown) in [
            ("claude-opus-5-5", "claude-opus-5-5"),
            ("größer, 日本語, 👍", "größer, 日本語, 👍"),
            ("a\nINFO all is well", "a\\nINFO all is well"),
            ("a\r\u{1b}[31m\u{9b}31m\u{7f}", "a\\r\\u{1b}[31m\\u{9b}31m\\u{7f}"),
            ("a\u{85}b\u{2028}c\u{2029}d", "a\\u{85}b\\u{2028}c\\u{2029}d"),
            ("a\u{202e}b\u{2066}c\u{200f}", "a\\u{202e}b\\u{2066}c\\u{200f}"),
            ("\u{feff}a\u{200b}\0\t", "\\u{feff}a\\u{200b}\\u{0}\\t"),
            ("a\\nb", "a\\nb"),
        ] {
            assert_eq!(escape_text(text, 100), shown);
        }
        assert_eq!(escape_text("abcdef", 3), "abc…");
        assert_eq!(escape_text("äöü", 3), "äöü");
    }

    #[test]
    fn relay_key_is_masked() {
        let key = compose(&KeyId::from_bits(7), &new_secret([1, 2]));
        let text = format!("session {} of {0}", key.expose());
        assert_eq!(escape_text(&text, 1000), "session bt_*** of bt_***");
    }

    proptest! {
        #[test]
        fn escaped_text_is_plain(text in any::<String>(), characters_max in 0_usize..40) {
            let shown = escape_text(&text, characters_max);
            prop_assert!(shown.chars().all(is_plain), "{shown:?}");
            // An escape has at most ten characters.
            prop_assert!(shown.chars().count() <= characters_max * 10 + 1);
        }
    }
}
