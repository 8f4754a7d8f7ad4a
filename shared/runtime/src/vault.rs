//! Encryption of stored secrets, and comparison of key secrets.
//!
//! Credentials are encrypted with AES-256-GCM under a data key. The data key is in the config
//! table, wrapped by KMS, and is unwrapped once at first use. The place of an encrypted value
//! (table, item, attribute) is authenticated with it, so a value that is copied to another place
//! cannot be decrypted.

use crate::live_secret::{LiveSecret, UnreadableSecret};
use crate::random::RandomSource;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hmac};
use baton_domain::secret::Secret;

/// The format of values that are bound to their place only.
const VERSION: u8 = 1;
/// The format of values that are also bound to their use.
const VERSION_BOUND: u8 = 2;
const NONCE_BYTES: usize = 12;

/// A value could not be decrypted or encrypted. Says nothing about the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a stored secret cannot be decrypted, because the data key is a different one or the item was \
     changed"
)]
pub struct VaultError;

/// Encrypts and decrypts values.
pub struct Vault {
    key: LessSafeKey,
    random: RandomSource,
}

impl Vault {
    /// Creates a vault with `data_key`, 32 bytes.
    pub fn new(data_key: &[u8], random: RandomSource) -> Result<Self, VaultError> {
        let key = UnboundKey::new(&AES_256_GCM, data_key).map_err(|_| VaultError)?;
        Ok(Self { key: LessSafeKey::new(key), random })
    }

    /// Encrypts `secret` for the place `binding` (table, item and attribute) in which it is stored.
    pub fn seal(&self, secret: &Secret, binding: &str) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        self.random.fill(&mut nonce);
        let mut text = secret.expose().as_bytes().to_vec();
        let aad = Aad::from(binding.as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text)
            .map_err(|_| VaultError)?;
        Ok([&[VERSION][..], &nonce, &text].concat())
    }

    /// Encrypts `secret` for the place `binding` and for one use, given by `bound`.
    pub fn seal_bound(
        &self,
        secret: &Secret,
        binding: &str,
        bound: &str,
    ) -> Result<Vec<u8>, VaultError> {
        let mut sealed = self.seal(secret, &bound_place(binding, bound))?;
        sealed.iter_mut().take(1).for_each(|version| *version = VERSION_BOUND);
        Ok(sealed)
    }

    /// Decrypts a value that was encrypted for the same `binding` and use. Values from Baton 0.1.0
    /// are bound to their place only.
    pub fn open_bound(
        &self,
        sealed: &[u8],
        binding: &str,
        bound: &str,
    ) -> Result<Secret, VaultError> {
        match sealed.split_first() {
            Some((&VERSION_BOUND, body)) => self.open_body(body, &bound_place(binding, bound)),
            _ => self.open(sealed, binding),
        }
    }

    /// Decrypts a value that was encrypted for the same `binding`.
    pub fn open(&self, sealed: &[u8], binding: &str) -> Result<Secret, VaultError> {
        self.open_body(sealed.strip_prefix(&[VERSION]).ok_or(VaultError)?, binding)
    }

    fn open_body(&self, body: &[u8], binding: &str) -> Result<Secret, VaultError> {
        let (nonce, text) = body.split_at_checked(NONCE_BYTES).ok_or(VaultError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError)?;
        let mut text = zeroize::Zeroizing::new(text.to_vec());
        let open = self
            .key
            .open_in_place(nonce, Aad::from(binding.as_bytes()), &mut text)
            .map_err(|_| VaultError)?;
        std::str::from_utf8(open).map(|text| Secret::new(text.to_owned())).map_err(|_| VaultError)
    }
}

fn bound_place(binding: &str, bound: &str) -> String {
    format!("{binding}\nbound to {bound}")
}

/// Hashes and compares the secrets of relay keys and the admin token with HMAC-SHA-256 under the
/// deployment's pepper. After a change of the pepper, hashes under the previous one still match.
#[derive(Clone)]
pub struct Pepper(LiveSecret);

impl Pepper {
    /// Creates a pepper with this value.
    pub fn new(pepper: impl Into<LiveSecret>) -> Self {
        Self(pepper.into())
    }

    /// The hash to store, under the current pepper.
    pub fn hash(&self, secret: &str) -> Vec<u8> {
        self.hashes(secret).swap_remove(0)
    }

    /// The hashes that a stored hash can equal, the current pepper's first. Never empty.
    pub fn hashes(&self, secret: &str) -> Vec<Vec<u8>> {
        let values = self.0.values();
        let sign = |key| hmac::sign(key, secret.as_bytes()).as_ref().to_vec();
        let mut all: Vec<Vec<u8>> = values.keys().map(sign).collect();
        if all.is_empty() {
            // Nothing is hashed before the first read. If it were, no secret would have this hash.
            all.push(vec![0; 32]);
        }
        all
    }

    /// Whether `secret` has the stored `hash`, compared in constant time.
    pub fn verify_secret(&self, secret: &str, hash: &[u8]) -> bool {
        let values = self.0.values();
        values.keys().any(|key| hmac::verify(key, secret.as_bytes(), hash).is_ok())
    }

    /// Reads the pepper again if it is due; see [`LiveSecret::refresh`].
    pub async fn refresh(&self) -> Result<(), UnreadableSecret> {
        self.0.refresh().await
    }
}

/// Compares two secrets in constant time (for equal lengths).
pub fn is_equal_constant_time(left: &str, right: &str) -> bool {
    constant_time::verify_slices_are_equal(left.as_bytes(), right.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_can_be_opened_only_at_its_item() {
        let vault = Vault::new(&[7; 32], RandomSource::seeded(1)).unwrap();
        let secret = Secret::new("sk-ant-1".into());
        let sealed = vault.seal(&secret, "config/account#1/credential").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"sk-ant"));
        let opened_secret = vault.open(&sealed, "config/account#1/credential");
        assert_eq!(
            opened_secret.map(|secret| secret.expose().to_owned()),
            Ok("sk-ant-1".to_owned())
        );
        assert!(vault.open(&sealed, "config/account#2/credential").is_err());
        assert!(vault.open(&sealed[..20], "config/account#1/credential").is_err());
        assert!(
            Vault::new(&[8; 32], RandomSource::seeded(1))
                .unwrap()
                .open(&sealed, "config/account#1/credential")
                .is_err()
        );
    }

    #[test]
    fn bound_secret_can_be_opened_only_for_its_use() {
        let vault = Vault::new(&[7; 32], RandomSource::seeded(1)).unwrap();
        let secret = Secret::new("sk-ant-1".into());
        let sealed = vault.seal_bound(&secret, "place", "https://a.example").unwrap();
        let opens = |bound| vault.open_bound(&sealed, "place", bound).is_ok();
        assert!(opens("https://a.example"));
        assert!(!opens("https://b.example"));
        assert!(!opens(""));
        assert!(vault.open(&sealed, "place").is_err());
        let mut downgraded = sealed.clone();
        downgraded[0] = VERSION;
        assert!(vault.open_bound(&downgraded, "place", "https://a.example").is_err());
        // Values from before bindings existed stay readable.
        let old = vault.seal(&secret, "place").unwrap();
        assert!(vault.open_bound(&old, "place", "https://a.example").is_ok());
        assert!(vault.open_bound(&[], "place", "").is_err());
    }

    #[test]
    fn key_hash_depends_on_the_pepper() {
        let hash = Pepper::new(&Secret::new("a".into())).hash("secret");
        let hashes = Pepper::new(&Secret::new("a".into())).hashes("secret");
        assert_eq!(hashes, std::slice::from_ref(&hash));
        assert!(Pepper::new(&Secret::new("a".into())).verify_secret("secret", &hash));
        assert!(!Pepper::new(&Secret::new("b".into())).verify_secret("secret", &hash));
        assert!(!Pepper::new(&Secret::new("a".into())).verify_secret("other", &hash));
    }
}
