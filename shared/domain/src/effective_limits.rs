//! All limits of a request: those of its key, user, group and organization.
//!
//! Limits of a user, a group or the organization are shared: the sum of all their requests counts.
//! Spend limits (`spend_limit`) cap each person. A person is counted as the user, or as the key if
//! the key has no user. Counting and blocking are in `reservation`.

use crate::id::{GroupId, KeyId};
use crate::key::{Key, Limits};
use crate::limit::LimitPeriod;
use crate::money::PicoUsd;
use crate::scope::LimitScope;
use crate::spend_limit::{PERIODS, SpendCap, SpendCaps, resolve};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The operators' settings for a user, a group or the organization.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeSettings {
    /// The shared limits.
    pub limits: Limits,
    /// The spend caps of each person.
    pub caps: SpendCaps,
    /// For a user: the groups that its keys use.
    pub groups: BTreeSet<GroupId>,
    /// For the organization: the text that clients get with the error of a spent limit.
    pub message: Option<String>,
    /// For a user: whether it was disabled, and its keys with it.
    pub is_disabled: bool,
}

/// Everything that limits the requests of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveLimits {
    /// The key.
    pub key: KeyId,
    /// The key's own limits.
    pub own_limits: Limits,
    /// The shared limits that the key counts against. Scopes without limits are left out.
    pub shared_limits: Vec<(LimitScope, Limits)>,
    /// The spend limits of a group or the organization that are part of these limits.
    pub spend_limits: Vec<AppliedSpendLimit>,
}

/// A spend limit that has lowered or set a limit of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedSpendLimit {
    /// The person: the scope that the limit counts against.
    pub person: LimitScope,
    /// The period of the limit.
    pub period: LimitPeriod,
    /// The group or the organization that has the spend limit.
    pub set_by: LimitScope,
}

/// The settings from which the limits of a key are derived.
#[derive(Debug, Clone)]
pub struct LimitSources {
    /// Those of the key's user, if it has one.
    pub user: Option<Arc<ScopeSettings>>,
    /// Those of every group that the person uses, including the key's group.
    pub groups: Vec<(LimitScope, Arc<ScopeSettings>)>,
    /// Those of the organization.
    pub organization: Arc<ScopeSettings>,
}

impl LimitSources {
    /// The cap for the person in this period, and the scope that set it.
    pub fn find_cap(
        &self,
        principal: &LimitScope,
        period: LimitPeriod,
    ) -> Option<(LimitScope, SpendCap)> {
        let user_caps = self.user.as_ref().map(|settings| &settings.caps);
        let groups = self.groups.iter().map(|(scope, settings)| (scope, &settings.caps));
        resolve(period, principal, user_caps, groups, &self.organization.caps)
    }

    /// The person's own `limits`, tightened by the caps that apply.
    #[must_use]
    pub fn with_caps(&self, principal: &LimitScope, mut limits: Limits) -> Limits {
        for period in PERIODS {
            if let Some(cap) = self.find_cap(principal, period).and_then(|(_, cap)| cap.amount()) {
                limits.tighten_limit(period, cap);
            }
        }
        limits
    }

    /// The user's own limits.
    pub fn user_limits(&self) -> Limits {
        self.user.as_ref().map(|settings| settings.limits.clone()).unwrap_or_default()
    }
}

/// The scope that the caps on each person count against.
pub fn cap_scope(key: &Key) -> LimitScope {
    key.user_id.clone().map_or_else(|| LimitScope::Key(key.id.clone()), LimitScope::User)
}

impl EffectiveLimits {
    /// The limits of a key without any shared limits.
    pub fn from_own_limits(key: KeyId, own_limits: Limits) -> Self {
        Self { key, own_limits, shared_limits: Vec::new(), spend_limits: Vec::new() }
    }

    /// All limits of `key`.
    pub fn from_sources(key: &Key, sources: &LimitSources) -> Self {
        let principal = cap_scope(key);
        let (mut own_limits, mut user) = (key.limits.clone(), sources.user_limits());
        let rate_limits = if key.user_id.is_some() { &mut user } else { &mut own_limits };
        let limits_before = std::mem::take(rate_limits);
        *rate_limits = sources.with_caps(&principal, limits_before.clone());
        let is_lowered = |period| rate_limits.money(period) != limits_before.money(period);
        let applied =
            PERIODS.into_iter().filter(|period| is_lowered(*period)).filter_map(|period| {
                let (set_by, _) = sources.find_cap(&principal, period)?;
                let person = principal.clone();
                (set_by != person).then_some(AppliedSpendLimit { person, period, set_by })
            });
        let spend_limits = applied.collect();
        let group = LimitScope::Group(key.group_id.clone());
        let shared = sources.groups.iter().find(|(scope, _)| *scope == group);
        let all = [
            key.user_id.clone().map(|id| (LimitScope::User(id), user)),
            shared.map(|(_, settings)| (group, settings.limits.clone())),
            Some((LimitScope::Organization, sources.organization.limits.clone())),
        ];
        let shared_limits =
            all.into_iter().flatten().filter(|(_, limits)| limits.has_any()).collect();
        Self { key: key.id.clone(), own_limits, shared_limits, spend_limits }
    }

    /// The group or the organization whose spend limit is the money limit of `scope` in this
    /// period; `None` if the limit is the scope's own.
    pub fn spend_limit_owner(
        &self,
        scope: &LimitScope,
        period: LimitPeriod,
    ) -> Option<&LimitScope> {
        let mut all = self.spend_limits.iter();
        all.find(|one| one.person == *scope && one.period == period).map(|one| &one.set_by)
    }

    /// Whether there is any limit.
    pub fn has_limits(&self) -> bool {
        self.own_limits.has_any() || !self.shared_limits.is_empty()
    }

    /// Each scope with its limits, the key first.
    pub fn scoped_limits(&self) -> impl Iterator<Item = (LimitScope, &Limits)> {
        let key = (LimitScope::Key(self.key.clone()), &self.own_limits);
        std::iter::once(key)
            .chain(self.shared_limits.iter().map(|(scope, limits)| (scope.clone(), limits)))
    }

    /// Every scope, in the order of [`EffectiveLimits::scoped_limits`].
    pub fn scopes(&self) -> Vec<LimitScope> {
        self.scoped_limits().map(|(scope, _)| scope).collect()
    }

    /// The scopes of the shared limits.
    pub fn shared_scopes(&self) -> Vec<LimitScope> {
        self.shared_limits.iter().map(|(scope, _)| scope.clone()).collect()
    }

    /// Whether any money limit applies.
    pub fn has_money(&self) -> bool {
        self.scoped_limits().any(|(_, limits)| limits.has_money())
    }

    /// Whether any limit on requests applies, per minute or at the same time.
    pub fn has_rates(&self) -> bool {
        self.scoped_limits().any(|(_, limits)| limits.has_rates())
    }

    /// Whether some money limit is smaller than the estimate, so that it blocks the request even in
    /// an empty window.
    pub fn exceeds_every_window(&self, estimate: PicoUsd) -> bool {
        self.scoped_limits()
            .any(|(_, limits)| limits.money_limits().any(|(_, limit)| estimate > limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::UserId;
    use crate::key::ReservationEstimate;
    use proptest::prelude::*;

    fn key(user: Option<UserId>) -> Key {
        Key {
            id: KeyId::from_bits(1),
            name: "ci".into(),
            user_id: user,
            group_id: GroupId::from_bits(1),
            models: Vec::new(),
            expires_at: None,
            enabled: true,
            limits: Limits::default(),
            estimate: ReservationEstimate::Most,
        }
    }

    fn daily(pico: i128) -> Limits {
        Limits { usd_daily: Some(PicoUsd::new(pico)), ..Limits::default() }
    }

    fn shared(pico: i128) -> ScopeSettings {
        ScopeSettings { limits: daily(pico), ..ScopeSettings::default() }
    }

    #[test]
    fn shared_limits_apply_only_to_their_members() {
        let group = |bits| LimitScope::Group(GroupId::from_bits(bits));
        let sources = LimitSources {
            user: Some(Arc::new(shared(1))),
            groups: vec![(group(1), Arc::new(shared(2))), (group(2), Arc::new(shared(3)))],
            organization: Arc::default(),
        };
        let id = UserId::from_bits(1);
        let effective_limits = EffectiveLimits::from_sources(&key(Some(id.clone())), &sources);
        assert_eq!(
            effective_limits.shared_limits,
            [(LimitScope::User(id), daily(1)), (group(1), daily(2))]
        );
        assert!(effective_limits.has_limits() && !effective_limits.own_limits.has_any());

        let sources = LimitSources { user: None, ..sources };
        assert_eq!(
            EffectiveLimits::from_sources(&key(None), &sources).shared_limits,
            [(group(1), daily(2))]
        );
        let nothing = LimitSources { groups: Vec::new(), ..sources };
        assert!(!EffectiveLimits::from_sources(&key(None), &nothing).has_limits());
    }

    proptest! {
        /// A cap counts against the person and never raises a limit that is set already.
        #[test]
        fn organization_cap_only_lowers_limits(
            cap in 0_i128..10,
            limit in prop::option::of(0_i128..10),
            has_user in any::<bool>(),
        ) {
            let caps = [(LimitPeriod::Daily, SpendCap::Usd(PicoUsd::new(cap)))].into();
            let set = limit.map(daily).unwrap_or_default();
            let id = has_user.then(|| UserId::from_bits(1));
            let user = ScopeSettings { limits: set.clone(), ..ScopeSettings::default() };
            let sources = LimitSources {
                user: has_user.then(|| Arc::new(user)),
                groups: Vec::new(),
                organization: Arc::new(ScopeSettings { caps, ..ScopeSettings::default() }),
            };
            let mut key = key(id.clone());
            if !has_user {
                key.limits = set;
            }
            let bounds = EffectiveLimits::from_sources(&key, &sources);
            let person = id.clone().map_or(LimitScope::Key(key.id.clone()), LimitScope::User);
            let is_lowered = limit.is_none_or(|limit| cap < limit);
            let organization = LimitScope::Organization;
            let owner = is_lowered.then_some(&organization);
            prop_assert_eq!(bounds.spend_limit_owner(&person, LimitPeriod::Daily), owner);
            prop_assert_eq!(bounds.spend_limit_owner(&person, LimitPeriod::Weekly), None);
            let expect = daily(limit.map_or(cap, |limit| limit.min(cap)));
            let shared_limits = id.map(|id| (LimitScope::User(id), expect.clone()));
            let own = if shared_limits.is_none() { expect } else { Limits::default() };
            prop_assert_eq!((bounds.own_limits, bounds.shared_limits), (own, Vec::from_iter(shared_limits)));
        }
    }
}
