//! Who may ask: keys, the users they belong to, the groups they draw on, and their limits.

use crate::id::{GroupId, KeyId, UserId};
use crate::model::ModelPattern;
use crate::money::PicoUsd;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A relay key's record. The secret itself is not part of it: only its HMAC is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Identity; also inside the key.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// Whose it is, if anybody's.
    pub user_id: Option<UserId>,
    /// The accounts it may use.
    pub group_id: GroupId,
    /// Models it may ask for; empty means all.
    pub models: Vec<ModelPattern>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Whether it is accepted at all.
    pub enabled: bool,
    /// What it may spend and how fast.
    pub limits: Limits,
    /// What its requests reserve against money limits.
    #[serde(default)]
    pub estimate: Estimate,
}

/// What a request reserves against money limits before it is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimate {
    /// The most that it can cost: limits are never overrun.
    #[default]
    Most,
    /// What it will likely cost: more requests at a time near a limit, which may be overrun by
    /// what those under way then cost beyond it.
    Expected,
}

/// Why an existing key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Switched off by an operator.
    Disabled,
    /// Its `expires_at` has passed.
    Expired,
}

impl Key {
    /// Whether the key is accepted at `now`.
    ///
    /// # Errors
    /// The reason why it is not.
    pub fn usable(&self, now: Timestamp) -> Result<(), Unusable> {
        if !self.enabled {
            Err(Unusable::Disabled)
        } else if self.expires_at.is_some_and(|end| end <= now) {
            Err(Unusable::Expired)
        } else {
            Ok(())
        }
    }
}

/// What a key, or a pool of keys, may spend and how fast. `None` is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Money per UTC calendar day.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named::usd_daily")]
    pub usd_daily: Option<PicoUsd>,
    /// Money per UTC week, from Monday.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named::usd_weekly")]
    pub usd_weekly: Option<PicoUsd>,
    /// Money per UTC calendar month.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named::usd_monthly")]
    pub usd_monthly: Option<PicoUsd>,
    /// Money, ever.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named::usd_total")]
    pub usd_total: Option<PicoUsd>,
    /// Requests in a UTC minute.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "named::requests_per_minute"
    )]
    pub requests_per_minute: Option<u32>,
    /// Requests at the same time.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named::concurrency")]
    pub concurrency: Option<u32>,
}

/// Readers of the limits' fields, so that an error names its field.
mod named {
    use crate::money::PicoUsd;
    use serde::de::{Deserialize as _, Deserializer, Error as _};

    macro_rules! fields {
        ($($name:ident: $type:ty),+ $(,)?) => {
            $(pub(super) fn $name<'de, D: Deserializer<'de>>(
                input: D,
            ) -> Result<Option<$type>, D::Error> {
                Option::<$type>::deserialize(input).map_err(|error| {
                    D::Error::custom(format_args!("{}: {error}", stringify!($name)))
                })
            })+
        };
    }

    fields! {
        usd_daily: PicoUsd,
        usd_weekly: PicoUsd,
        usd_monthly: PicoUsd,
        usd_total: PicoUsd,
        requests_per_minute: u32,
        concurrency: u32,
    }
}

impl Limits {
    /// The first money limit that is below zero. Such a limit would refuse everything; 0 says that
    /// plainly. (Before version 0.2 negative ones were taken, so they can still be read.)
    pub fn negative(&self) -> Option<&'static str> {
        let amounts = [
            ("usd_daily", self.usd_daily),
            ("usd_weekly", self.usd_weekly),
            ("usd_monthly", self.usd_monthly),
            ("usd_total", self.usd_total),
        ];
        let is_negative = |amount: Option<PicoUsd>| amount.is_some_and(|usd| usd < PicoUsd::ZERO);
        amounts.into_iter().find(|(_, amount)| is_negative(*amount)).map(|(name, _)| name)
    }
}

/// A person or pipeline that keys belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Identity.
    pub id: UserId,
    /// What people call it.
    pub name: String,
    /// Where to reach it.
    pub email: Option<String>,
    /// What it may do.
    pub role: Role,
    /// Whether it may do anything.
    pub enabled: bool,
    /// What all of its keys together may spend and how fast.
    #[serde(default)]
    pub limits: Limits,
    /// Goes up when its role changes or it is switched off; sessions of earlier rounds are over.
    #[serde(default)]
    pub session_round: u64,
    /// The account at the identity provider that has signed in as this user first. The address
    /// alone may go to another person one day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// Somebody at an identity provider (OpenID Connect Core 1.0, §5.7: only both together are unique
/// and stay the same).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// Whom it means.
    pub subject: String,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Own keys and usage.
    Member,
}

/// A set of accounts that keys draw on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Identity.
    pub id: GroupId,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether its keys are served.
    pub enabled: bool,
    /// What all of its keys together may spend and how fast.
    #[serde(default)]
    pub limits: Limits,
    /// Models that go by another name here: asked, served. It is looked up before an account is
    /// chosen.
    #[serde(default)]
    pub model_aliases: Vec<(ModelPattern, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_when_it_says() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let key = |enabled, expires_at| Key {
            id: KeyId::from_bits(1),
            name: "ci".into(),
            user_id: None,
            group_id: GroupId::from_bits(1),
            models: Vec::new(),
            expires_at,
            enabled,
            limits: Limits::default(),
            estimate: Estimate::Most,
        };
        assert_eq!(key(true, None).usable(at(5)), Ok(()));
        assert_eq!(key(true, Some(at(6))).usable(at(5)), Ok(()));
        assert_eq!(key(true, Some(at(5))).usable(at(5)), Err(Unusable::Expired));
        assert_eq!(key(false, Some(at(4))).usable(at(5)), Err(Unusable::Disabled));
    }
}
