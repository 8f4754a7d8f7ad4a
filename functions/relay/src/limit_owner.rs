//! Whose limit blocks a request, in words for the client.

use crate::RelayState;
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::reservation::BlockReason;
use baton_domain::scope::LimitScope;
use std::fmt;

/// The owner of the limit that blocks a request. Its text follows "for", as in "the limit for each
/// person in the organization".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LimitOwner {
    /// The scope that the limit counts against.
    Scope(LimitScope),
    /// A group or the organization, whose spend limit counts each person separately. The text names
    /// it.
    EachPersonIn(String),
}

impl LimitOwner {
    /// Names the limit, for example "monthly limit of your key". `period` can be empty.
    pub(crate) fn name_limit(&self, period: &str) -> String {
        let limit = match self {
            Self::Scope(scope) => format!("{period} limit of your {}", scope.kind()),
            Self::EachPersonIn(_) => format!("{period} spend limit for {self}"),
        };
        limit.trim_start().to_owned()
    }
}

impl fmt::Display for LimitOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope(scope) => write!(f, "your {}", scope.kind()),
            Self::EachPersonIn(place) => write!(f, "each person in {place}"),
        }
    }
}

impl RelayState {
    /// Returns whose limit blocks the request. A spend limit counts against the person, but it
    /// belongs to the group or the organization.
    pub(crate) async fn find_limit_owner(
        &self,
        effective_limits: &EffectiveLimits,
        scope: LimitScope,
        reason: &BlockReason,
    ) -> LimitOwner {
        let period = reason.period();
        match period.and_then(|period| effective_limits.spend_limit_owner(&scope, period)) {
            None => LimitOwner::Scope(scope),
            Some(LimitScope::Group(id)) => {
                let pool = self.store.pools.get(id).await.ok().flatten();
                let name = pool.map_or_else(|| id.to_string(), |pool| pool.group.name.clone());
                LimitOwner::EachPersonIn(format!("group {name}"))
            }
            Some(_) => LimitOwner::EachPersonIn("the organization".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_named_with_its_owner() {
        let own = LimitOwner::Scope(LimitScope::Organization);
        assert_eq!(own.name_limit("daily"), "daily limit of your organization");
        assert_eq!(own.name_limit(""), "limit of your organization");
        let group = LimitOwner::EachPersonIn("group default".to_owned());
        assert_eq!(
            group.name_limit("monthly"),
            "monthly spend limit for each person in group default"
        );
        assert_eq!(group.to_string(), "each person in group default");
    }
}
