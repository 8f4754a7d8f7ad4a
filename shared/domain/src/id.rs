//! Identifiers, with one type for each kind, so that an account's id cannot be passed where a key's
//! id is expected.
//!
//! Every id is written as `<prefix>_<letters and digits>`. The letters are base62 in the order
//! `0-9A-Za-z`, so ids made from a time sort by time.

use std::fmt;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes `value` in base62, most significant digit first, padded to `width` or cut at the top.
pub fn base62(mut value: u128, width: usize) -> String {
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(value % 62).unwrap_or_default()];
        value /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

/// Whether every character is a base62 digit.
pub fn is_base62(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The text is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of the form {prefix}_…")]
pub struct MalformedId {
    prefix: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $width:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The prefix of every id of this kind.
            pub const PREFIX: &'static str = concat!($prefix, "_");

            /// Makes an id from 128 random (or time-ordered) bits.
            pub fn from_bits(bits: u128) -> Self {
                Self(format!(concat!($prefix, "_{}"), base62(bits, $width)))
            }

            /// The whole id, including the prefix.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The part after the prefix.
            pub fn bare(&self) -> &str {
                &self.0[Self::PREFIX.len()..]
            }
        }

        impl std::str::FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                match text.strip_prefix(Self::PREFIX) {
                    Some(bare) if !bare.is_empty() && bare.len() <= 64 && is_base62(bare) => {
                        Ok(Self(text.to_owned()))
                    }
                    _ => Err(MalformedId { prefix: $prefix, text: text.chars().take(80).collect() }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(input)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// An upstream account.
    AccountId, "acc", 16
);
id!(
    /// A group: the accounts that a set of keys can use.
    GroupId, "grp", 16
);
id!(
    /// A relay key; the part after the prefix is also the `<id>` inside the key itself.
    KeyId, "key", 12
);
id!(
    /// A person or pipeline that keys belong to.
    UserId, "usr", 16
);
id!(
    /// One request. The id is fixed before the upstream is called and also identifies the usage
    /// record.
    RequestId, "req", 22
);

impl GroupId {
    /// The group that the first start creates. Keys and accounts without a group belong to it.
    pub fn default_group() -> Self {
        Self("grp_default".to_owned())
    }
}

impl RequestId {
    /// An id that sorts by time: 48 bits of unix milliseconds, then 80 random bits.
    pub fn at(now: jiff::Timestamp, random: u128) -> Self {
        let millis = u128::try_from(now.as_millisecond()).unwrap_or_default();
        Self::from_bits((millis << 80) | (random >> 48))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base62_is_padded_and_ordered() {
        assert_eq!(base62(0, 4), "0000");
        assert_eq!(base62(61, 2), "0z");
        assert_eq!(base62(62, 2), "10");
        assert_eq!(base62(u128::MAX, 22).len(), 22);
    }

    #[test]
    fn id_of_another_kind_is_refused() {
        let id = AccountId::from_bits(7);
        assert_eq!(id.as_str(), "acc_0000000000000007");
        assert_eq!(id.bare(), "0000000000000007");
        assert_eq!(id.as_str().parse::<AccountId>().as_ref(), Ok(&id));
        for bad in ["", "acc_", "acc_a-b", "grp_0000000000000007", "acc_é"] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn request_ids_sort_by_time() {
        let early = RequestId::at(jiff::Timestamp::from_second(1).unwrap(), u128::MAX);
        let late = RequestId::at(jiff::Timestamp::from_second(2).unwrap(), 0);
        assert!(early < late);
    }
}
