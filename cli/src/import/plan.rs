//! The plan of an import: the resources to create, and the entries that are left out with the
//! reasons. Pure: the parsers of the
//! exports fill the plan, and [`super::apply`] creates what it contains.

use baton_domain::account::Provider;
use baton_domain::key::Limits;
use baton_domain::secret::Secret;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Why subscription logins are not carried over.
pub(super) const SUBSCRIPTION: &str = "Claude subscription logins (Free, Pro, Max, Team) are not \
     imported, because the provider's rules of 2026-08-22 forbid third-party software to collect, \
     store or route through them; use an API key or workload identity";

/// Everything that an import creates, in order of dependency.
#[derive(Default)]
pub(super) struct ImportPlan {
    pub(super) groups: Vec<PlannedGroup>,
    pub(super) accounts: Vec<PlannedAccount>,
    pub(super) keys: Vec<PlannedKey>,
    /// Items that are not carried over, or only in a changed form.
    pub(super) skipped: Vec<SkippedItem>,
}

/// A group of accounts.
pub(super) struct PlannedGroup {
    pub(super) name: String,
    pub(super) description: String,
}

/// An account with a static key.
pub(super) struct PlannedAccount {
    /// The name in the export. It never changes, so an import can be repeated.
    pub(super) source: String,
    pub(super) name: String,
    pub(super) provider: Provider,
    pub(super) base_url: String,
    pub(super) api_key: Secret,
    /// Names of groups; an empty list means the default group.
    pub(super) groups: Vec<String>,
    /// Larger comes first. The order is reversed once all accounts are known, because in Baton
    /// smaller comes first.
    pub(super) rank: i64,
    pub(super) weight: Option<u32>,
    pub(super) models: Vec<String>,
    pub(super) model_map: Map<String, Value>,
    pub(super) max_concurrency: Option<u32>,
    pub(super) enabled: bool,
}

/// A key that will be issued.
#[derive(Default)]
pub(super) struct PlannedKey {
    /// The same as for an account.
    pub(super) source: String,
    pub(super) name: String,
    pub(super) group: Option<String>,
    pub(super) models: Vec<String>,
    pub(super) expires_at: Option<String>,
    pub(super) enabled: bool,
    pub(super) limits: Limits,
}

/// Something that is not carried over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SkippedItem {
    /// The item, such as `key ci` or `account main`.
    pub(super) item: String,
    /// The reason, and what to do.
    pub(super) reason: String,
}

impl ImportPlan {
    pub(super) fn skip_item(&mut self, item: impl Into<String>, reason: impl Into<String>) {
        self.skipped.push(SkippedItem { item: item.into(), reason: reason.into() });
    }

    /// An account that uses a proxy in the other relay must not silently connect without one.
    pub(super) fn skip_proxy(&mut self, item: &str) {
        let why = "the account is disabled until you set its proxy with `baton account set \
             --proxy-url … --enabled true`";
        self.skip_item(format!("{item}: proxy"), why);
    }

    /// Adds a group unless it is already in the plan.
    pub(super) fn group(&mut self, name: &str, description: &str) {
        if name != DEFAULT && self.groups.iter().all(|group| group.name != name) {
            self.groups
                .push(PlannedGroup { name: name.to_owned(), description: description.to_owned() });
        }
    }

    /// The plan in its final form. Names are made distinct, so that each of them identifies one
    /// item when an import is repeated. Ranks become priorities.
    pub(super) fn with_distinct_names(mut self) -> Self {
        distinct(self.accounts.iter_mut().map(|account| &mut account.name));
        distinct(self.keys.iter_mut().map(|key| &mut key.name));
        self
    }

    /// The plan without keys that have expired, which Baton refuses.
    pub(super) fn without_expired_keys(mut self, now: Timestamp) -> Self {
        let is_expired = |key: &PlannedKey| {
            let end = key.expires_at.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
            end.is_some_and(|end| end <= now)
        };
        let (expired, kept): (Vec<PlannedKey>, Vec<PlannedKey>) =
            std::mem::take(&mut self.keys).into_iter().partition(is_expired);
        self.keys = kept;
        for key in expired {
            self.skip_item(format!("key {}", key.name), "the key has expired");
        }
        self
    }

    /// An account's priority. Baton uses the smallest first.
    pub(super) fn priority(&self, account: &PlannedAccount) -> u32 {
        let above =
            self.accounts.iter().map(|other| other.rank).filter(|rank| *rank > account.rank);
        u32::try_from(above.collect::<BTreeSet<i64>>().len()).unwrap_or(u32::MAX)
    }
}

/// The group that always exists.
pub(super) const DEFAULT: &str = "default";

fn distinct<'a>(names: impl Iterator<Item = &'a mut String>) {
    let mut seen = BTreeSet::new();
    for name in names {
        let trimmed: String = name.trim().chars().filter(|c| !c.is_control()).take(190).collect();
        let plain = if trimmed.is_empty() { "unnamed".to_owned() } else { trimmed };
        let numbered = (2..).map(|number| format!("{plain} ({number})"));
        let mut free = std::iter::once(plain.clone()).chain(numbered);
        if let Some(free) = free.find(|candidate| !seen.contains(candidate)) {
            seen.insert(free.clone());
            *name = free;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_names_are_numbered_deterministically() {
        let mut names = ["a", " a ", "a (2)", "", "a"].map(str::to_owned);
        distinct(names.iter_mut());
        assert_eq!(names, ["a", "a (2)", "a (2) (2)", "unnamed", "a (3)"]);
    }

    #[test]
    fn expired_keys_are_left_behind() {
        let key = |name: &str, end: Option<&str>| PlannedKey {
            name: name.to_owned(),
            expires_at: end.map(str::to_owned),
            ..PlannedKey::default()
        };
        let keys = vec![
            key("endless", None),
            key("old", Some("2026-01-01T00:00:00Z")),
            key("new", Some("2027-01-01T00:00:00Z")),
        ];
        let now = "2026-11-22T00:00:00Z".parse().unwrap();
        let plan = ImportPlan { keys, ..ImportPlan::default() }.without_expired_keys(now);
        let names: Vec<&str> = plan.keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names, ["endless", "new"]);
        let [skipped] = plan.skipped.as_slice() else { panic!("{:?}", plan.skipped) };
        assert_eq!(skipped.item, "key old");
    }
}
