//! Secret values.
//!
//! [`Secret`] does not implement `Debug`, `Display` or `Serialize`, so it cannot get into a log
//! line, an error or an answer by accident. It is wiped from memory when dropped.

use std::collections::HashSet;
use zeroize::Zeroizing;

/// A part of a secret that has at least this many bytes is masked as well.
const PART_BYTES: usize = 12;
/// Shorter secrets are not masked: such words can occur in any text by chance.
const SECRET_BYTES_MIN: usize = 4;
/// The text that replaces a secret.
const MASK: &str = "***";

/// Masks these secrets, and long parts of them, in a text that comes from a peer to which they were
/// sent. Errors of upstreams and token endpoints can repeat what they received.
pub fn without_secrets(text: &str, secrets: &[&str]) -> String {
    let mut is_secret = vec![false; text.len()];
    for secret in secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
        let size = secret.len().min(PART_BYTES);
        let parts: HashSet<&[u8]> = secret.as_bytes().windows(size).collect();
        for (index, part) in text.as_bytes().windows(size).enumerate() {
            if parts.contains(part) {
                is_secret[index..index + size].fill(true);
            }
        }
    }
    let mut masked = String::with_capacity(text.len());
    let mut was_secret = false;
    for (index, character) in text.char_indices() {
        let is_secret = is_secret[index..index + character.len_utf8()].contains(&true);
        match (is_secret, was_secret) {
            (true, false) => masked.push_str(MASK),
            (true, true) => {}
            (false, _) => masked.push(character),
        }
        was_secret = is_secret;
    }
    masked
}

/// Secret text: a key, a token, a password.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one call that needs it. Never store the returned text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_and_its_parts_are_masked() {
        let key = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz";
        for (text, shown) in [
            (format!("invalid x-api-key: {key}"), "invalid x-api-key: ***"),
            (format!("{key}{key}, {key}"), "***, ***"),
            (format!("key {}… is unknown", &key[..20]), "key ***… is unknown"),
            (format!("ends in {}", &key[25..]), "ends in ***"),
            (format!("ä{key}ü"), "ä***ü"),
            ("ends in UvWxYz".to_owned(), "ends in UvWxYz"),
            ("invalid x-api-key".to_owned(), "invalid x-api-key"),
            ("the password is pässword".to_owned(), "the password is ***"),
            ("it is abc".to_owned(), "it is abc"),
            (String::new(), ""),
        ] {
            assert_eq!(without_secrets(&text, &[key, "pässword", "abc", ""]), shown, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn masked_text_contains_no_secret(before in ".*", secret in "[a-zA-Z0-9_=ä-]{12,60}", after in ".*") {
            let shown = without_secrets(&format!("{before}{secret}{after}"), &[&secret]);
            for part in secret.as_bytes().windows(PART_BYTES) {
                let found = shown.as_bytes().windows(PART_BYTES).any(|it| it == part);
                proptest::prop_assert!(!found, "{shown}");
            }
        }
    }
}
