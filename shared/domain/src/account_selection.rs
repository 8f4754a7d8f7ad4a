//! Account selection: a pure function of the group's accounts and the request.
//!
//! Accounts with the smallest priority number come first, and of them those that name the model.
//! Among them, weighted rendezvous hashing by session picks a cache domain, then an account in it.
//! Every instance computes the same result without stored state. If an account becomes ineligible, only its own sessions move, to another
//! account of the same domain if possible. Accounts near their limits come after all others.
//! Accounts in a cooldown of estimated length come last: an estimate must not make the last account
//! unavailable.

use crate::account::{Account, Provider};
use crate::cooldown_reason::CooldownReason;
use crate::health::{AccountAvailability, AccountHealth};
use crate::id::{AccountId, GroupId};
use crate::model::{find_mapped_model, is_claude};
use crate::model_catalog;
use crate::protocol::UpstreamOperation;
use crate::request_tier::RequestTier;
use crate::vendor::Vendor;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How long a session that had to leave its first choice stays with the second one.
pub const SESSION_PIN_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// How long an answer that an upstream keeps stays with its account (platform.openai.com,
/// "Conversation state", response objects are saved for 30 days, 2026-11).
pub const STATE_PIN_LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The key of a session pin: one session and one model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionPinKey {
    /// The group whose accounts the session uses.
    pub group: GroupId,
    /// The hash of the session.
    pub session: u64,
    /// The requested model.
    pub model: String,
}

impl SessionPinKey {
    /// The key of an answer or a conversation that an upstream keeps, by its id.
    pub fn of_state(group: &GroupId, id: &str) -> Self {
        let session = xxh3_64(id.as_bytes());
        Self { group: group.clone(), session, model: "state".to_owned() }
    }
}

/// The accounts to select from.
pub struct AccountCandidates<'a, A> {
    /// The accounts, together with other data that the caller keeps with them.
    pub accounts: &'a [A],
    /// The hashed fields of each account, in the same order.
    pub candidates: &'a [HashedAccount],
}

/// The fields of an account that the selection reads. The type is small because each request reads
/// all of them, and a thousand complete accounts do not fit into the processor's caches.
#[derive(Debug, Clone, Copy)]
pub struct HashedAccount {
    /// Hashes of the cache domain's name and of the account's id.
    domain: u64,
    id: u64,
    priority: u32,
    /// 0 for a disabled account.
    weight: u32,
    provider: Provider,
    accepts_any_model: bool,
    /// Whether its list or its map names single models.
    names_models: bool,
    /// The vendor that serves only models of its own, if the account has no list.
    only_vendor: Option<Vendor>,
    /// Whether the account declares a cache domain, which other accounts can share.
    shares_cache_domain: bool,
}

impl HashedAccount {
    /// The hashed fields of `account`.
    pub fn from_account(account: &Account) -> Self {
        Self {
            domain: xxh3_64(domain(account).as_bytes()),
            id: xxh3_64(account.id.as_str().as_bytes()),
            priority: account.priority,
            weight: if account.enabled { account.weight } else { 0 },
            provider: account.provider,
            accepts_any_model: account.models.is_empty() && account.provider.knows_any_model_name(),
            names_models: account.names_models(),
            only_vendor: only_vendor(account),
            shares_cache_domain: account.cache_domain.is_some(),
        }
    }
}

/// The criteria of a selection.
pub struct SelectionCriteria<'a> {
    /// The group of the candidates.
    pub group: &'a GroupId,
    /// The kind of request.
    pub operation: UpstreamOperation,
    /// The requested model.
    pub model: &'a str,
    /// The hash of the session, which keeps a conversation on its account.
    pub session: u64,
    /// The cache domain that the session is pinned to, if it had to move.
    pub pinned_domain: Option<&'a str>,
    /// The accounts that have failed for this request already.
    pub tried: &'a [AccountId],
    /// The accounts that have reached their limit of concurrent requests.
    pub at_capacity: &'a [AccountId],
    /// The accounts whose token has expired.
    pub without_token: &'a [AccountId],
    /// Whether the request asks for fast speed, which has a separate limit.
    pub is_fast: bool,
    /// The tier that the request asks for.
    pub tier: RequestTier,
    /// Accounts that have used this percentage of a limit, or more, are taken only if no other
    /// account can serve.
    pub max_utilization: Option<u32>,
}

/// The selected account, or the reasons why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum SelectionResult {
    /// The index of the selected candidate.
    Chosen(usize),
    /// No account is eligible; each one with its reason.
    NoneEligible(Vec<(AccountId, IneligibleReason)>),
}

/// Why an account is not eligible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IneligibleReason {
    /// It is disabled, or its weight is 0.
    Disabled,
    /// It does not serve the model.
    Model,
    /// It does not support the protocol.
    Protocol,
    /// It is in a cooldown.
    Cooling {
        /// The end of the cooldown.
        until: Timestamp,
        /// The reason.
        reason: CooldownReason,
    },
    /// The upstream refuses its credential, for this reason.
    AuthFailed(CooldownReason),
    /// Its token has expired, and a new one has been requested.
    TokenExpired,
    /// It has already failed for this request.
    AlreadyTried,
    /// It has reached its limit of concurrent requests.
    AtCapacity,
}

impl std::fmt::Display for IneligibleReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disabled => f.write_str("is disabled"),
            Self::Model => f.write_str("does not serve the model"),
            Self::Protocol => f.write_str("does not support the protocol"),
            Self::Cooling { until, reason } => {
                let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
                write!(f, "is cooling down until {until} ({reason})")
            }
            Self::AuthFailed(reason) => write!(f, "has a refused credential ({reason})"),
            Self::TokenExpired => f.write_str("has no valid token; a new one has been requested"),
            Self::AlreadyTried => f.write_str("has already failed for this request"),
            Self::AtCapacity => f.write_str("has reached its limit of concurrent requests"),
        }
    }
}

/// The order in which eligible accounts are preferred, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AccountTier {
    Ready,
    /// It has used so much of a limit that the upstream will soon refuse requests.
    NearLimit,
    /// It is in a cooldown of estimated length; the earliest end comes first.
    LastResort(Timestamp),
}

/// Selects one of `candidates` by `criteria` at `now`. `health` returns the health of the candidate at
/// an index.
pub fn choose_account<A: AsRef<Account>, H: Deref<Target = AccountHealth>>(
    candidates: &AccountCandidates<'_, A>,
    health: impl Fn(usize) -> H,
    criteria: &SelectionCriteria<'_>,
    now: Timestamp,
) -> SelectionResult {
    // Usually the session's first choice is healthy, and the other accounts need not be checked:
    // removing others from the draw does not change a winner of the best tier.
    let avoided = candidates.avoided_vendors(criteria.operation, criteria.model);
    let first = first_choice_of(candidates, criteria, &avoided);
    if let Some(index) = first.filter(|_| criteria.pinned_domain.is_none())
        && candidates.tier(index, &health(index), criteria, &avoided, now) == Ok(AccountTier::Ready)
    {
        return SelectionResult::Chosen(index);
    }
    choose_with_health(candidates, health, criteria, &avoided, now)
}

/// The complete selection, which reads the health of every account.
fn choose_with_health<A: AsRef<Account>, H: Deref<Target = AccountHealth>>(
    candidates: &AccountCandidates<'_, A>,
    health: impl Fn(usize) -> H,
    criteria: &SelectionCriteria<'_>,
    avoided: &[Vendor],
    now: Timestamp,
) -> SelectionResult {
    let places = 0..candidates.candidates.len();
    let verdicts: Vec<Result<AccountTier, IneligibleReason>> = places
        .clone()
        .map(|index| candidates.tier(index, &health(index), criteria, avoided, now))
        .collect();
    let best = verdicts.iter().filter_map(|verdict| verdict.as_ref().ok()).min();
    let usable: Vec<usize> =
        places.clone().filter(|&index| verdicts[index].as_ref().ok() == best).collect();
    if best.is_none() {
        let ids = places.map(|index| candidates.account(index).id.clone());
        let reasons = ids.zip(verdicts).filter_map(|(id, verdict)| Some((id, verdict.err()?)));
        return SelectionResult::NoneEligible(reasons.collect());
    }
    let is_there =
        |index: &usize| criteria.pinned_domain == Some(domain(candidates.account(*index)));
    let at_first_choice: Vec<usize> = usable.iter().copied().filter(is_there).collect();
    let among = if at_first_choice.is_empty() { usable } else { at_first_choice };
    candidates
        .draw_by_name(&among, criteria)
        .map_or(SelectionResult::NoneEligible(Vec::new()), SelectionResult::Chosen)
}

/// The session's first choice: the selection if all accounts were healthy and had free capacity.
pub fn first_choice<A: AsRef<Account>>(
    candidates: &AccountCandidates<'_, A>,
    criteria: &SelectionCriteria<'_>,
) -> Option<usize> {
    first_choice_of(
        candidates,
        criteria,
        &candidates.avoided_vendors(criteria.operation, criteria.model),
    )
}

fn first_choice_of<A: AsRef<Account>>(
    candidates: &AccountCandidates<'_, A>,
    criteria: &SelectionCriteria<'_>,
    avoided: &[Vendor],
) -> Option<usize> {
    let among = candidates.eligible_without(criteria.operation, criteria.model, avoided);
    candidates.draw_by_name(&among.collect::<Vec<_>>(), criteria)
}

/// The vendor of an account that serves only models of its own, as far as the settings say. An
/// account that speaks Anthropic's API is Anthropic's unless its host is another vendor's, because
/// some vendors serve their own models under the names of Claude models there.
fn only_vendor(account: &Account) -> Option<Vendor> {
    if !account.models.is_empty() {
        return None;
    }
    let vendor = Vendor::of_account(account.provider, &account.base_url);
    match account.provider {
        Provider::Anthropic => {
            vendor.is_none_or(|vendor| vendor == Vendor::Anthropic).then_some(Vendor::Anthropic)
        }
        // Vertex AI sells models of other vendors, too.
        Provider::OpenaiCompatible if account.base_url.contains("aiplatform.googleapis.com") => {
            None
        }
        Provider::OpenaiCompatible => vendor.filter(|vendor| vendor.sells_only_own_models()),
        Provider::Bedrock => None,
    }
}

/// Whether a vendor that serves only models of its own can have the model. A name that nobody
/// knows can be a fine-tuned model's.
fn can_have(vendor: Vendor, model: &str) -> bool {
    match vendor {
        Vendor::Anthropic => is_claude(model),
        _ => {
            model_catalog::maker_of(model).is_none_or(|maker| maker == vendor)
                || model_catalog::entry(vendor, None, model).is_some()
        }
    }
}

/// Picks the smallest priority among `among`, then a cache domain, then an account in it.
fn draw_account(
    candidates: &[HashedAccount],
    among: &[usize],
    criteria: &SelectionCriteria<'_>,
) -> Option<usize> {
    let priority = among.iter().map(|&index| candidates[index].priority).min()?;
    let level = || {
        among
            .iter()
            .map(|&index| (index, &candidates[index]))
            .filter(|(_, candidate)| candidate.priority == priority)
    };
    let hash = |of: u64, seed| xxh3_64_with_seed(&of.to_le_bytes(), seed);

    // A domain keeps the weight of all its enabled members, eligible or not, so that a failed
    // account does not move the sessions of other accounts.
    let seed = xxh3_64_with_seed(criteria.group.as_str().as_bytes(), criteria.session);
    let weights = DomainWeights::from_priority(candidates, priority);
    let domains = level().map(|(index, candidate)| {
        (index, hash(candidate.domain, seed), weights.domain_weight(candidate))
    });
    let first = smallest_draw(domains)?;
    let first_choice = &candidates[first];
    if !first_choice.shares_cache_domain {
        return Some(first);
    }
    let seed = seed.rotate_left(32);
    let peers = level().filter(|(_, candidate)| candidate.domain == first_choice.domain);
    smallest_draw(
        peers.map(|(index, candidate)| {
            (index, hash(candidate.id, seed), u64::from(candidate.weight))
        }),
    )
}

impl<A: AsRef<Account>> AccountCandidates<'_, A> {
    fn account(&self, index: usize) -> &Account {
        self.accounts[index].as_ref()
    }

    /// The indexes of the accounts that can be chosen for the model, as far as the settings say.
    pub fn eligible_by_settings(&self, operation: UpstreamOperation, model: &str) -> Vec<usize> {
        let avoided = self.avoided_vendors(operation, model);
        self.eligible_without(operation, model, &avoided).collect()
    }

    /// As [`Self::eligible_by_settings`], without the accounts of the `avoided` vendors.
    fn eligible_without(
        &self,
        operation: UpstreamOperation,
        model: &str,
        avoided: &[Vendor],
    ) -> impl Iterator<Item = usize> {
        (0..self.candidates.len())
            .filter(move |index| self.settings_reason(*index, operation, model, avoided).is_none())
    }

    /// The vendors whose accounts are left out, because they serve only models of their own, the
    /// model is none of these, and another account can serve it.
    fn avoided_vendors(&self, operation: UpstreamOperation, model: &str) -> Vec<Vendor> {
        let (mut known, mut avoided) = (Vec::new(), Vec::new());
        for vendor in self.candidates.iter().filter_map(|candidate| candidate.only_vendor) {
            if !known.contains(&vendor) {
                known.push(vendor);
                if !can_have(vendor, model) {
                    avoided.push(vendor);
                }
            }
        }
        if !avoided.is_empty() && self.eligible_without(operation, model, &avoided).next().is_none()
        {
            avoided.clear();
        }
        avoided
    }

    /// Draws from `among`. Of the accounts with the smallest priority, those that name the model
    /// come first.
    fn draw_by_name(&self, among: &[usize], criteria: &SelectionCriteria<'_>) -> Option<usize> {
        if among.iter().any(|index| self.candidates[*index].names_models) {
            let priority = among.iter().map(|index| self.candidates[*index].priority).min();
            let names = |index: &usize| {
                let candidate = &self.candidates[*index];
                Some(candidate.priority) == priority
                    && candidate.names_models
                    && self.account(*index).names_model(criteria.model)
            };
            let preferred: Vec<usize> = among.iter().copied().filter(names).collect();
            if !preferred.is_empty() {
                return draw_account(self.candidates, &preferred, criteria);
            }
        }
        draw_account(self.candidates, among, criteria)
    }

    /// Why the settings of the account at an index rule it out, whatever its health.
    fn settings_reason(
        &self,
        index: usize,
        operation: UpstreamOperation,
        model: &str,
        avoided: &[Vendor],
    ) -> Option<IneligibleReason> {
        let candidate = &self.candidates[index];
        if candidate.weight == 0 {
            return Some(IneligibleReason::Disabled);
        }
        if !candidate.provider.serves(operation) {
            return Some(IneligibleReason::Protocol);
        }
        if candidate.only_vendor.is_some_and(|vendor| avoided.contains(&vendor))
            && find_mapped_model(&self.account(index).model_map, model).is_none()
        {
            return Some(IneligibleReason::Model);
        }
        let serves = candidate.accepts_any_model || self.account(index).serves_model(model);
        (!serves).then_some(IneligibleReason::Model)
    }

    fn tier(
        &self,
        index: usize,
        health: &AccountHealth,
        criteria: &SelectionCriteria<'_>,
        avoided: &[Vendor],
        now: Timestamp,
    ) -> Result<AccountTier, IneligibleReason> {
        if let Some(why) = self.settings_reason(index, criteria.operation, criteria.model, avoided)
        {
            return Err(why);
        }
        let id = &self.account(index).id;
        if criteria.tried.contains(id) {
            return Err(IneligibleReason::AlreadyTried);
        }
        let availability = if health.has_partial_cooldowns() {
            health.availability(
                self.account(index).upstream_model(criteria.model),
                criteria.is_fast,
                criteria.tier,
                now,
            )
        } else {
            health.overall(now)
        };
        let tier = match availability {
            AccountAvailability::AuthFailed { reason, .. } => {
                return Err(IneligibleReason::AuthFailed(reason));
            }
            _ if criteria.without_token.contains(id) => return Err(IneligibleReason::TokenExpired),
            AccountAvailability::Cooling { is_estimated: true, until, .. } => {
                AccountTier::LastResort(until)
            }
            AccountAvailability::Cooling { until, reason, .. } => {
                return Err(IneligibleReason::Cooling { until, reason });
            }
            AccountAvailability::HalfOpen | AccountAvailability::Ready => {
                let used = health.utilization.percent(now);
                let is_near_limit = criteria.max_utilization.is_some_and(|max| used >= max);
                if is_near_limit { AccountTier::NearLimit } else { AccountTier::Ready }
            }
        };
        if criteria.at_capacity.contains(id) { Err(IneligibleReason::AtCapacity) } else { Ok(tier) }
    }
}

/// The earliest time at which an account in a cooldown can be used again. Accounts without money
/// and disabled organizations are left out, because waiting does not help them.
pub fn ready_at(reasons: &[(AccountId, IneligibleReason)]) -> Option<Timestamp> {
    let ends = reasons.iter().filter_map(|(_, why)| match why {
        IneligibleReason::Cooling { until, reason } if !reason.needs_operator() => Some(*until),
        _ => None,
    });
    ends.min()
}

/// The account's cache domain. An account that declares none forms a separate domain.
pub fn domain(account: &Account) -> &str {
    account.cache_domain.as_deref().unwrap_or(account.id.as_str())
}

/// The total weight of each domain, by the hash of its name. Ineligible accounts count as well:
/// otherwise a domain would lose sessions that its other accounts could serve.
struct DomainWeights(Option<HashMap<u64, u64, BuildHasherDefault<IdentityHasher>>>);

impl DomainWeights {
    fn from_priority(candidates: &[HashedAccount], priority: u32) -> Self {
        if candidates.iter().all(|candidate| !candidate.shares_cache_domain) {
            return Self(None);
        }
        let mut weights = HashMap::with_capacity_and_hasher(candidates.len(), <_>::default());
        for candidate in candidates.iter().filter(|candidate| candidate.priority == priority) {
            *weights.entry(candidate.domain).or_default() += u64::from(candidate.weight);
        }
        Self(Some(weights))
    }

    fn domain_weight(&self, candidate: &HashedAccount) -> u64 {
        match &self.0 {
            None => u64::from(candidate.weight),
            Some(weights) => weights.get(&candidate.domain).copied().unwrap_or_default(),
        }
    }
}

/// A hasher for keys that are hashes already.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The index with the smallest `-log2(hash) / weight`, of (index, hash, weight). The logarithm is
/// computed only where it can beat the smallest value so far.
fn smallest_draw(draws: impl Iterator<Item = (usize, u64, u64)>) -> Option<usize> {
    let mut best: Option<(usize, u64, u64)> = None;
    for (index, hash, weight) in draws {
        let beats = |neg: u64| {
            let product = |one: u64, other: u64| u128::from(one) * u128::from(other);
            best.is_none_or(|(_, least, of)| product(neg, of) < product(least, weight))
        };
        if beats(neg_log2_min(hash)) && beats(neg_log2(hash)) {
            best = Some((index, neg_log2(hash), weight));
        }
    }
    best.map(|(index, ..)| index)
}

/// Binary digits of a logarithm after the point.
const DIGITS: u32 = 24;

/// A lower bound of [`neg_log2`]: between two powers of two, `log2` is less than 0.0861 above its
/// chord.
fn neg_log2_min(u: u64) -> u64 {
    const ABOVE_CHORD: u64 = 1_445_000;
    let u = u.max(1);
    let integer_part = u64::from(u.leading_zeros());
    let mantissa = u << u.leading_zeros();
    let chord = (mantissa << 1) >> (64 - DIGITS);
    (((integer_part + 1) << DIGITS) - chord).saturating_sub(ABOVE_CHORD)
}

/// −log₂(u / 2⁶⁴) in units of 2⁻²⁴, by squaring the mantissa once per binary digit.
fn neg_log2(u: u64) -> u64 {
    let u = u.max(1);
    let integer_part = u64::from(u.leading_zeros());
    let mut mantissa = u << u.leading_zeros();
    let mut fraction = 0;
    for digit in (0..DIGITS).rev() {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        // A square of 2 or more yields the digit 1 and is halved.
        let carry = square >> 64 != 0;
        fraction |= u64::from(carry) << digit;
        mantissa = u64::try_from(if carry { square >> 1 } else { square }).unwrap_or(u64::MAX);
    }
    ((integer_part + 1) << DIGITS) - fraction
}

#[cfg(test)]
mod tests;
