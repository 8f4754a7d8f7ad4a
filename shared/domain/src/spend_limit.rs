//! Spend limits in the form of Anthropic's Admin API (pages "Claude apps gateway spend limits" and
//! "Spend Limits API", 2026-11): caps on what each person can spend in a period.
//!
//! A cap of a group or of the organization is a default for each person, not a shared limit.
//! `bounds` combines a person's caps with the shared limits.

use crate::id::{GroupId, UserId, is_base62};
use crate::limit::LimitPeriod;
use crate::money::PicoUsd;
use crate::scope::LimitScope;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A cap: an amount, or explicitly unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpendCap {
    /// This amount per period; 0 blocks everything.
    Usd(PicoUsd),
    /// Unlimited, and caps of wider scopes do not apply either.
    Unlimited,
}

/// The caps of one scope, by period.
pub type SpendCaps = BTreeMap<LimitPeriod, SpendCap>;

/// The id of a spend limit. There is one for each scope and period, and the id names both: `spl_`,
/// the first letter of the period, the first letter of the scope, and the id of the scope without
/// its prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpendLimitId {
    /// A user, a group or the organization.
    scope: LimitScope,
    /// Day, week or month.
    period: LimitPeriod,
}

/// A configured spend limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendLimit {
    /// The scope and the period.
    pub id: SpendLimitId,
    /// The cap.
    pub cap: SpendCap,
}

/// The text is not the id of a spend limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form spl_…")]
pub struct NotSpendLimit;

/// The periods that a cap can have.
pub const PERIODS: [LimitPeriod; 3] =
    [LimitPeriod::Daily, LimitPeriod::Weekly, LimitPeriod::Monthly];

impl SpendLimitId {
    /// The id for this scope and period.
    ///
    /// # Errors
    /// The scope is a key or the period is all time: neither can have a spend limit.
    pub fn new(scope: LimitScope, period: LimitPeriod) -> Result<Self, NotSpendLimit> {
        let fits = !matches!(scope, LimitScope::Key(_)) && PERIODS.contains(&period);
        if fits { Ok(Self { scope, period }) } else { Err(NotSpendLimit) }
    }

    /// The scope.
    pub fn scope(&self) -> &LimitScope {
        &self.scope
    }

    /// The period.
    pub fn period(&self) -> LimitPeriod {
        self.period
    }
}

impl fmt::Display for SpendLimitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letter, bare) = match &self.scope {
            LimitScope::User(id) => ("u", id.bare()),
            LimitScope::Group(id) => ("g", id.bare()),
            LimitScope::Key(_) | LimitScope::Organization => ("o", ""),
        };
        let period = self.period.as_str().get(..1).unwrap_or_default();
        write!(f, "spl_{period}{letter}{bare}")
    }
}

impl FromStr for SpendLimitId {
    type Err = NotSpendLimit;

    fn from_str(text: &str) -> Result<Self, NotSpendLimit> {
        let bare = text.strip_prefix("spl_").filter(|bare| is_base62(bare)).ok_or(NotSpendLimit)?;
        let (period, rest) = bare.split_at_checked(1).ok_or(NotSpendLimit)?;
        let (letter, id) = rest.split_at_checked(1).ok_or(NotSpendLimit)?;
        let period = PERIODS.into_iter().find(|one| one.as_str().starts_with(period));
        let scope = match letter {
            "u" => format!("{}{id}", UserId::PREFIX).parse().ok().map(LimitScope::User),
            "g" => format!("{}{id}", GroupId::PREFIX).parse().ok().map(LimitScope::Group),
            "o" if id.is_empty() => Some(LimitScope::Organization),
            _ => None,
        };
        Self::new(scope.ok_or(NotSpendLimit)?, period.ok_or(NotSpendLimit)?)
    }
}

impl Serialize for SpendLimitId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpendLimitId {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        <Cow<'de, str>>::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

impl SpendCap {
    /// The amount; `None` if unlimited.
    pub fn amount(self) -> Option<PicoUsd> {
        match self {
            Self::Usd(amount) => Some(amount),
            Self::Unlimited => None,
        }
    }
}

/// The cap that applies to a person in a period, and the scope that set it: the user's own cap,
/// else the lowest of the user's groups, else the organization's.
pub fn resolve<'a>(
    period: LimitPeriod,
    user: &LimitScope,
    user_caps: Option<&SpendCaps>,
    groups: impl IntoIterator<Item = (&'a LimitScope, &'a SpendCaps)>,
    organization: &SpendCaps,
) -> Option<(LimitScope, SpendCap)> {
    let of = |(scope, caps): (&LimitScope, &SpendCaps)| Some((scope.clone(), *caps.get(&period)?));
    user_caps
        .and_then(|caps| of((user, caps)))
        .or_else(|| groups.into_iter().filter_map(of).min_by_key(|(_, cap)| *cap))
        .or_else(|| of((&LimitScope::Organization, organization)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn id_contains_target_and_period() {
        let user = LimitScope::User("usr_Ab1".parse().unwrap());
        let all = [
            (user, LimitPeriod::Daily, "spl_duAb1"),
            (LimitScope::Group(GroupId::default_group()), LimitPeriod::Weekly, "spl_wgdefault"),
            (LimitScope::Organization, LimitPeriod::Monthly, "spl_mo"),
        ];
        for (scope, period, text) in all {
            let id = SpendLimitId::new(scope, period).unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
        for bad in ["spl_", "spl_d", "spl_xo", "spl_to", "spl_dox", "spl_du", "spl_du-1", "sp_do"] {
            assert!(bad.parse::<SpendLimitId>().is_err(), "{bad}");
        }
        assert!(SpendLimitId::new(LimitScope::Organization, LimitPeriod::Total).is_err());
    }

    fn cap() -> impl Strategy<Value = Option<SpendCap>> {
        prop_oneof![
            Just(None),
            Just(Some(SpendCap::Unlimited)),
            (0_i128..100).prop_map(|pico| Some(SpendCap::Usd(PicoUsd::new(pico)))),
        ]
    }

    proptest! {
        /// The closest level with a cap decides, and among several groups the lowest cap.
        #[test]
        fn most_specific_level_decides(
            user in cap(),
            groups in prop::collection::vec(cap(), 0..4),
            organization in cap(),
        ) {
            let period = LimitPeriod::Daily;
            let caps = |cap: &Option<SpendCap>| cap.iter().map(|cap| (period, *cap)).collect::<SpendCaps>();
            let person = LimitScope::User(UserId::from_bits(1));
            let teams: Vec<(LimitScope, SpendCaps)> = (0_u128..)
                .zip(&groups)
                .map(|(bits, cap)| (LimitScope::Group(GroupId::from_bits(bits)), caps(cap)))
                .collect();
            let found = resolve(
                period,
                &person,
                Some(&caps(&user)),
                teams.iter().map(|(scope, caps)| (scope, caps)),
                &caps(&organization),
            );
            prop_assert_eq!(resolve(LimitPeriod::Weekly, &person, None, [], &caps(&organization)), None);
            let said: Vec<SpendCap> = groups.iter().copied().flatten().collect();
            match (user, said.iter().min(), organization) {
                (Some(cap), ..) => prop_assert_eq!(found, Some((person, cap))),
                (None, Some(least), _) => {
                    let (scope, cap) = found.expect("a cap");
                    prop_assert!(matches!(scope, LimitScope::Group(_)));
                    prop_assert_eq!(cap, *least);
                    let amounts = said.iter().copied().filter_map(SpendCap::amount);
                    prop_assert_eq!(cap.amount(), amounts.min());
                }
                (None, None, Some(cap)) => {
                    prop_assert_eq!(found, Some((LimitScope::Organization, cap)));
                }
                (None, None, None) => prop_assert_eq!(found, None),
            }
        }
    }
}
