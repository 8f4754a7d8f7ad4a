//! Keys, the users that keys belong to, the groups that keys use, and their limits.

use crate::id::{GroupId, KeyId, UserId};
use crate::model::ModelPattern;
use crate::money::PicoUsd;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The record of a relay key. The secret itself is not part of it: only its HMAC is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The id, which is also inside the key.
    pub id: KeyId,
    /// The name for people.
    pub name: String,
    /// The user that the key belongs to, if any.
    pub user_id: Option<UserId>,
    /// The group whose accounts the key uses.
    pub group_id: GroupId,
    /// The models that the key can request; empty means all.
    pub models: Vec<ModelPattern>,
    /// The key is refused from this time on.
    pub expires_at: Option<Timestamp>,
    /// Whether it is accepted at all.
    pub enabled: bool,
    /// The limits of its spending and request rate.
    pub limits: Limits,
    /// The amount that its requests reserve against money limits.
    #[serde(default)]
    pub estimate: ReservationEstimate,
}

/// The amount that a request reserves against money limits before it is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReservationEstimate {
    /// The highest cost that the request can have: limits are never exceeded.
    #[default]
    Most,
    /// The likely cost. More requests can run at the same time near a limit, but running requests
    /// can exceed the limit by what they cost beyond the estimate.
    Expected,
}

/// Why an existing key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRejection {
    /// An operator has disabled it.
    Disabled,
    /// Its `expires_at` has passed.
    Expired,
}

impl Key {
    /// Whether the key is accepted at `now`.
    ///
    /// # Errors
    /// The reason for which the key is refused.
    pub fn usable(&self, now: Timestamp) -> Result<(), KeyRejection> {
        if !self.enabled {
            Err(KeyRejection::Disabled)
        } else if self.expires_at.is_some_and(|end| end <= now) {
            Err(KeyRejection::Expired)
        } else {
            Ok(())
        }
    }
}

/// The limits of a key or of a set of keys that share them. `None` means unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Budget per UTC day in US dollars; null means unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_daily: Option<PicoUsd>,
    /// Budget per UTC week, from Monday, in US dollars; null means unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_weekly: Option<PicoUsd>,
    /// Budget per UTC month in US dollars; null means unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_monthly: Option<PicoUsd>,
    /// Total budget in US dollars, never reset; null means unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_total: Option<PicoUsd>,
    /// Requests per UTC minute; null means unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Requests at the same time; null means unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

impl Limits {
    /// The first money limit that is below zero. Such a limit would refuse everything, and 0 says
    /// that plainly. (Versions before 0.2 accepted negative limits, so stored ones must stay
    /// readable.)
    pub fn negative(&self) -> Option<&'static str> {
        self.find_amount(|usd| usd < PicoUsd::ZERO)
    }

    /// The first money limit of [`LIMIT_USD_BOUND`] or more. Such an amount is a typing error.
    /// (Versions before 0.2 accepted such limits, so stored ones must stay readable.)
    pub fn too_large(&self) -> Option<&'static str> {
        self.find_amount(|usd| usd >= LIMIT_USD_BOUND)
    }

    fn find_amount(&self, is_it: impl Fn(PicoUsd) -> bool) -> Option<&'static str> {
        let amounts = [
            ("usd_daily", self.usd_daily),
            ("usd_weekly", self.usd_weekly),
            ("usd_monthly", self.usd_monthly),
            ("usd_total", self.usd_total),
        ];
        amounts.into_iter().find(|(_, amount)| amount.is_some_and(&is_it)).map(|(name, _)| name)
    }
}

/// Every money limit that an operator sets is less than this: a billion dollars.
pub(crate) const LIMIT_USD_BOUND: PicoUsd = PicoUsd::from_micros(1_000_000_000_000_000);

/// A person or pipeline that keys belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The name for people.
    pub name: String,
    /// The email address.
    pub email: Option<String>,
    /// The user's role.
    pub role: Role,
    /// Whether the user and its keys are accepted.
    pub enabled: bool,
    /// The shared limits of all keys of the user.
    #[serde(default)]
    pub limits: Limits,
    /// A counter that goes up when the user's role changes or the user is disabled. It ends the
    /// sessions of lower rounds.
    #[serde(default)]
    pub session_round: u64,
    /// The identity at the provider that first signed in as this user. The email address alone is
    /// not enough, because it can later belong to another person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<ProviderIdentity>,
}

/// The identity of a person at an identity provider (OpenID Connect Core 1.0, §5.7: only both
/// fields together are unique and permanent).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderIdentity {
    /// The provider.
    pub issuer: String,
    /// The person's id at the provider.
    pub subject: String,
}

/// The role of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Can do everything.
    Admin,
    /// Can see and manage the user's own keys and usage.
    Member,
}

/// A set of accounts that keys use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The id.
    pub id: GroupId,
    /// The name for people.
    pub name: String,
    /// The purpose of the group, as text for people.
    pub description: String,
    /// Whether requests with its keys are served.
    pub enabled: bool,
    /// The shared limits of all keys of the group.
    #[serde(default)]
    pub limits: Limits,
    /// Models that have another name in this group: pairs of the requested name and the name that
    /// is used instead. They apply before an account is selected.
    #[serde(default)]
    pub model_aliases: Vec<(ModelPattern, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_limits_outside_of_the_bounds_are_named() {
        let weekly =
            |usd: &str| Limits { usd_weekly: Some(usd.parse().unwrap()), ..Limits::default() };
        assert_eq!(weekly("-1").negative(), Some("usd_weekly"));
        assert_eq!(weekly("0").negative(), None);
        assert_eq!(weekly("999999999.999999999999").too_large(), None);
        assert_eq!(weekly("1000000000").too_large(), Some("usd_weekly"));
    }

    #[test]
    fn key_is_rejected_after_its_expiry() {
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
            estimate: ReservationEstimate::Most,
        };
        assert_eq!(key(true, None).usable(at(5)), Ok(()));
        assert_eq!(key(true, Some(at(6))).usable(at(5)), Ok(()));
        assert_eq!(key(true, Some(at(5))).usable(at(5)), Err(KeyRejection::Expired));
        assert_eq!(key(false, Some(at(4))).usable(at(5)), Err(KeyRejection::Disabled));
    }
}
