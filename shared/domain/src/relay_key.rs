//! The format of a relay key: `bt_<id>_<secret><crc>`.
//!
//! It has 12 base62 digits of id, 32 of secret, and 6 with the CRC-32 of everything before them.
//! Typing errors and random strings are therefore refused without any I/O. This module does not
//! decide whether a well-formed key *exists*.

use crate::id::{KeyId, base62, is_base62};
use crate::secret::Secret;
use std::borrow::Cow;

const ID_DIGITS: usize = 12;
const SECRET_DIGITS: usize = 32;
const CRC_DIGITS: usize = 6;
const PREFIX: &str = "bt_";
const LENGTH: usize = PREFIX.len() + ID_DIGITS + 1 + SECRET_DIGITS + CRC_DIGITS;

/// A well-formed key, as presented by a client.
pub struct RelayKey<'a> {
    /// The id of the key that the client claims to have.
    pub id: KeyId,
    /// The secret part, to be compared by its HMAC.
    pub secret: &'a str,
}

/// The text is not a Baton key: its length, alphabet or checksum is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key of the form bt_<id>_<secret>: it is cut short or mistyped")]
pub struct MalformedKey;

impl<'a> RelayKey<'a> {
    /// Parses a key without I/O, and without allocations except for the id.
    ///
    /// # Errors
    /// [`MalformedKey`] if the format or the checksum is wrong.
    pub fn parse(text: &'a str) -> Result<Self, MalformedKey> {
        if text.len() != LENGTH || !text.is_ascii() {
            return Err(MalformedKey);
        }
        let (body, crc) = text.split_at(LENGTH - CRC_DIGITS);
        let (id, secret) =
            body.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(MalformedKey)?;
        let well_formed = id.len() == ID_DIGITS && is_base62(id) && is_base62(secret);
        if !well_formed || crc != checksum(body) {
            return Err(MalformedKey);
        }
        let id = format!("{}{id}", KeyId::PREFIX).parse().map_err(|_| MalformedKey)?;
        Ok(Self { id, secret })
    }
}

/// Whether the text contains a well-formed key.
pub fn contains_key(text: &[u8]) -> bool {
    find_first_key(text).is_some()
}

/// The text with `mask` in place of each well-formed key.
pub fn mask_keys<'a>(text: &'a str, mask: &str) -> Cow<'a, str> {
    let mut masked = Cow::Borrowed(text);
    while let Some(index) = find_first_key(masked.as_bytes()) {
        // A key is ASCII, so both ends are character boundaries.
        masked.to_mut().replace_range(index..index + LENGTH, mask);
    }
    masked
}

/// Where the first well-formed key begins.
fn find_first_key(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    // Most headers are shorter than a key.
    while let Some(rest) = text.get(from..).filter(|rest| rest.len() >= LENGTH) {
        let index = rest.windows(PREFIX.len()).position(|it| it == PREFIX.as_bytes())?;
        let found = rest.get(index..index + LENGTH).and_then(|it| std::str::from_utf8(it).ok());
        if found.is_some_and(|it| RelayKey::parse(it).is_ok()) {
            return Some(from + index);
        }
        from += index + PREFIX.len();
    }
    None
}

/// The secret part of a new key, made from 256 random bits.
pub fn new_secret(bits: [u128; 2]) -> Secret {
    let half = SECRET_DIGITS / 2;
    Secret::new(base62(bits[0], half) + &base62(bits[1], half))
}

/// The whole key, which is shown to its owner once.
pub fn compose(id: &KeyId, secret: &Secret) -> Secret {
    let body = format!("{PREFIX}{}_{}", id.bare(), secret.expose());
    let crc = checksum(&body);
    Secret::new(body + &crc)
}

fn checksum(body: &str) -> String {
    base62(u128::from(crc32fast::hash(body.as_bytes())), CRC_DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn key_is_found_within_other_text() {
        let key = some_key();
        for text in
            [&key, &format!("key={key}&x=bt_"), &format!("bt_bt_{key}"), &format!("ä {key}")]
        {
            assert!(contains_key(text.as_bytes()), "{text}");
        }
        for text in ["", "bt_", "bt_x bt_", &key[1..], &key[..53], &key.replace('_', "-")] {
            assert!(!contains_key(text.as_bytes()), "{text}");
        }
    }

    fn some_key() -> String {
        let secret = new_secret([u128::MAX / 3, 12345]);
        compose(&KeyId::from_bits(99), &secret).expose().to_owned()
    }

    #[test]
    fn composed_key_survives_a_round_trip() {
        let text = some_key();
        let key = RelayKey::parse(&text).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(key.id, KeyId::from_bits(99));
        assert_eq!(key.secret, new_secret([u128::MAX / 3, 12345]).expose());
    }

    proptest! {
        #[test]
        fn changed_character_fails_the_checksum(at in 0..LENGTH, with in "[0-9A-Za-z_]") {
            let mut text = some_key();
            prop_assume!(text[at..=at] != with);
            text.replace_range(at..=at, &with);
            prop_assert!(RelayKey::parse(&text).is_err());
        }

        #[test]
        fn other_text_is_not_a_key(text in ".{0,80}") {
            prop_assert!(RelayKey::parse(&text).is_err());
        }
    }
}
