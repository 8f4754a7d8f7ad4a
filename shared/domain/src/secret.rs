//! Secret values.
//!
//! [`Secret`] does not implement `Debug`, `Display` or `Serialize`, so it cannot get into a log
//! line, an error or an answer by accident. It is wiped from memory when dropped.

use zeroize::Zeroizing;

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
