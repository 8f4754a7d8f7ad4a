//! Account selection: a pure function of the group's accounts and the request.
//!
//! Accounts with the smallest priority number come first. Among them, weighted rendezvous hashing
//! by session picks a cache domain, then an account in it. Every instance computes the same result
//! without stored state. If an account becomes ineligible, only its own sessions move, to another
//! account of the same domain if possible. Accounts near their limits come after all others.
//! Accounts in a cooldown of estimated length come last: an estimate must not make the last account
//! unavailable.

use crate::account::{Account, Provider};
use crate::cooldown_reason::CooldownReason;
use crate::health::{AccountAvailability, AccountHealth};
use crate::id::{AccountId, GroupId};
use crate::protocol::{UpstreamOperation, provider_serves};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How long a session that had to leave its first choice stays with the second one.
pub const MOVED: SignedDuration = SignedDuration::from_hours(1);

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

/// The accounts to select from.
pub struct AccountCandidates<'a, A> {
    /// The accounts, together with other data that the caller keeps with them.
    pub accounts: &'a [A],
    /// The hashed fields of each account, in the same order.
    pub lots: &'a [HashedAccount],
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
    takes_any_model: bool,
    /// Whether the account declares a cache domain, which other accounts can share.
    may_have_mates: bool,
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
            takes_any_model: account.models.is_empty() && account.provider != Provider::Bedrock,
            may_have_mates: account.cache_domain.is_some(),
        }
    }
}

/// The criteria of a selection.
pub struct SelectionCriteria<'a> {
    /// The group of the candidates.
    pub group: &'a GroupId,
    /// The kind of request.
    pub want: UpstreamOperation,
    /// The requested model.
    pub model: &'a str,
    /// The hash of the session, which keeps a conversation on its account.
    pub session: u64,
    /// The cache domain that the session is pinned to, if it had to move.
    pub moved_to: Option<&'a str>,
    /// The accounts that have failed for this request already.
    pub tried: &'a [AccountId],
    /// The accounts that have reached their limit of concurrent requests.
    pub full: &'a [AccountId],
    /// The accounts whose token has expired.
    pub signed_out: &'a [AccountId],
    /// Whether the request asks for fast speed, which has a separate limit.
    pub is_fast: bool,
    /// Accounts that have used this percentage of a limit, or more, are taken only if no other
    /// account can serve.
    pub utilisation_max: Option<u32>,
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
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disabled => out.write_str("is disabled"),
            Self::Model => out.write_str("does not serve the model"),
            Self::Protocol => out.write_str("does not support the protocol"),
            Self::Cooling { until, reason } => {
                let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
                write!(out, "is cooling down until {until} ({reason})")
            }
            Self::AuthFailed(reason) => write!(out, "has a refused credential ({reason})"),
            Self::TokenExpired => out.write_str("has no valid token; a new one has been requested"),
            Self::AlreadyTried => out.write_str("has already failed for this request"),
            Self::AtCapacity => out.write_str("has reached its limit of concurrent requests"),
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

/// Selects one of `candidates` for `wish` at `now`. `health` returns the health of the candidate at
/// an index.
pub fn choose_account<A: AsRef<Account>, H: Deref<Target = AccountHealth>>(
    candidates: &AccountCandidates<'_, A>,
    health: impl Fn(usize) -> H,
    wish: &SelectionCriteria<'_>,
    now: Timestamp,
) -> SelectionResult {
    // Usually the session's first choice is healthy, and the other accounts need not be checked:
    // removing others from the draw does not change a winner of the best tier.
    let first = first_choice(candidates, wish).filter(|_| wish.moved_to.is_none());
    if let Some(at) = first
        && candidates.tier(at, &health(at), wish, now) == Ok(AccountTier::Ready)
    {
        return SelectionResult::Chosen(at);
    }
    choose_with_health(candidates, health, wish, now)
}

/// The complete selection, which reads the health of every account.
fn choose_with_health<A: AsRef<Account>, H: Deref<Target = AccountHealth>>(
    candidates: &AccountCandidates<'_, A>,
    health: impl Fn(usize) -> H,
    wish: &SelectionCriteria<'_>,
    now: Timestamp,
) -> SelectionResult {
    let places = 0..candidates.lots.len();
    let verdicts: Vec<Result<AccountTier, IneligibleReason>> =
        places.clone().map(|at| candidates.tier(at, &health(at), wish, now)).collect();
    let best = verdicts.iter().filter_map(|verdict| verdict.as_ref().ok()).min();
    let usable: Vec<usize> =
        places.clone().filter(|&at| verdicts[at].as_ref().ok() == best).collect();
    if best.is_none() {
        let ids = places.map(|at| candidates.account(at).id.clone());
        let reasons = ids.zip(verdicts).filter_map(|(id, verdict)| Some((id, verdict.err()?)));
        return SelectionResult::NoneEligible(reasons.collect());
    }
    let is_there = |at: &usize| wish.moved_to == Some(domain(candidates.account(*at)));
    let stays: Vec<usize> = usable.iter().copied().filter(is_there).collect();
    let among = if stays.is_empty() { usable } else { stays };
    draw_account(candidates.lots, &among, wish)
        .map_or(SelectionResult::NoneEligible(Vec::new()), SelectionResult::Chosen)
}

/// The session's first choice: the selection if all accounts were healthy and had free capacity.
pub fn first_choice<A: AsRef<Account>>(
    candidates: &AccountCandidates<'_, A>,
    wish: &SelectionCriteria<'_>,
) -> Option<usize> {
    let serves = |at: &usize| candidates.settings_reason(*at, wish).is_none();
    let among: Vec<usize> = (0..candidates.lots.len()).filter(serves).collect();
    draw_account(candidates.lots, &among, wish)
}

/// Picks the smallest priority among `among`, then a cache domain, then an account in it.
fn draw_account(
    lots: &[HashedAccount],
    among: &[usize],
    wish: &SelectionCriteria<'_>,
) -> Option<usize> {
    let priority = among.iter().map(|&at| lots[at].priority).min()?;
    let level =
        || among.iter().map(|&at| (at, &lots[at])).filter(|(_, lot)| lot.priority == priority);
    let hash = |of: u64, seed| xxh3_64_with_seed(&of.to_le_bytes(), seed);

    // A domain keeps the weight of all its enabled members, eligible or not, so that a failed
    // account does not move the sessions of other accounts.
    let seed = xxh3_64_with_seed(wish.group.as_str().as_bytes(), wish.session);
    let weights = DomainWeights::from_priority(lots, priority);
    let domains = level().map(|(at, lot)| (at, hash(lot.domain, seed), weights.domain_weight(lot)));
    let first = smallest_draw(domains)?;
    let home = &lots[first];
    if !home.may_have_mates {
        return Some(first);
    }
    let seed = seed.rotate_left(32);
    let mates = level().filter(|(_, lot)| lot.domain == home.domain);
    smallest_draw(mates.map(|(at, lot)| (at, hash(lot.id, seed), u64::from(lot.weight))))
}

impl<A: AsRef<Account>> AccountCandidates<'_, A> {
    fn account(&self, at: usize) -> &Account {
        self.accounts[at].as_ref()
    }

    /// Why the settings of the account at an index rule it out, whatever its health.
    fn settings_reason(&self, at: usize, wish: &SelectionCriteria<'_>) -> Option<IneligibleReason> {
        let lot = &self.lots[at];
        if lot.weight == 0 {
            return Some(IneligibleReason::Disabled);
        }
        if !provider_serves(lot.provider, wish.want) {
            return Some(IneligibleReason::Protocol);
        }
        let serves = lot.takes_any_model || self.account(at).serves_model(wish.model);
        (!serves).then_some(IneligibleReason::Model)
    }

    fn tier(
        &self,
        at: usize,
        health: &AccountHealth,
        wish: &SelectionCriteria<'_>,
        now: Timestamp,
    ) -> Result<AccountTier, IneligibleReason> {
        if let Some(why) = self.settings_reason(at, wish) {
            return Err(why);
        }
        let id = &self.account(at).id;
        if wish.tried.contains(id) {
            return Err(IneligibleReason::AlreadyTried);
        }
        let standing = if health.has_partial_cooldowns() {
            health.availability(self.account(at).upstream_model(wish.model), wish.is_fast, now)
        } else {
            health.overall(now)
        };
        let tier = match standing {
            AccountAvailability::AuthFailed { reason, .. } => {
                return Err(IneligibleReason::AuthFailed(reason));
            }
            _ if wish.signed_out.contains(id) => return Err(IneligibleReason::TokenExpired),
            AccountAvailability::Cooling { is_guess: true, until, .. } => {
                AccountTier::LastResort(until)
            }
            AccountAvailability::Cooling { until, reason, .. } => {
                return Err(IneligibleReason::Cooling { until, reason });
            }
            AccountAvailability::HalfOpen | AccountAvailability::Ready => {
                let used = health.utilisation.percent(now);
                let is_near = wish.utilisation_max.is_some_and(|most| used >= most);
                if is_near { AccountTier::NearLimit } else { AccountTier::Ready }
            }
        };
        if wish.full.contains(id) { Err(IneligibleReason::AtCapacity) } else { Ok(tier) }
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
    fn from_priority(lots: &[HashedAccount], priority: u32) -> Self {
        if lots.iter().all(|lot| !lot.may_have_mates) {
            return Self(None);
        }
        let mut weights = HashMap::with_capacity_and_hasher(lots.len(), <_>::default());
        for lot in lots.iter().filter(|lot| lot.priority == priority) {
            *weights.entry(lot.domain).or_default() += u64::from(lot.weight);
        }
        Self(Some(weights))
    }

    fn domain_weight(&self, lot: &HashedAccount) -> u64 {
        match &self.0 {
            None => u64::from(lot.weight),
            Some(weights) => weights.get(&lot.domain).copied().unwrap_or_default(),
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
    for (at, hash, weight) in draws {
        let beats = |neg: u64| {
            let product = |one: u64, other: u64| u128::from(one) * u128::from(other);
            best.is_none_or(|(_, least, of)| product(neg, of) < product(least, weight))
        };
        if beats(neg_log2_min(hash)) && beats(neg_log2(hash)) {
            best = Some((at, neg_log2(hash), weight));
        }
    }
    best.map(|(at, ..)| at)
}

/// Binary digits of a logarithm after the point.
const DIGITS: u32 = 24;

/// A lower bound of [`neg_log2`]: between two powers of two, `log2` is less than 0.0861 above its
/// chord.
fn neg_log2_min(u: u64) -> u64 {
    const ABOVE_CHORD: u64 = 1_445_000;
    let u = u.max(1);
    let whole = u64::from(u.leading_zeros());
    let mantissa = u << u.leading_zeros();
    let chord = (mantissa << 1) >> (64 - DIGITS);
    (((whole + 1) << DIGITS) - chord).saturating_sub(ABOVE_CHORD)
}

/// −log₂(u / 2⁶⁴) in units of 2⁻²⁴, by squaring the mantissa once per binary digit.
fn neg_log2(u: u64) -> u64 {
    let u = u.max(1);
    let whole = u64::from(u.leading_zeros());
    let mut mantissa = u << u.leading_zeros();
    let mut fraction = 0;
    for digit in (0..DIGITS).rev() {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        // A square of 2 or more yields the digit 1 and is halved.
        let carry = square >> 64 != 0;
        fraction |= u64::from(carry) << digit;
        mantissa = u64::try_from(if carry { square >> 1 } else { square }).unwrap_or(u64::MAX);
    }
    ((whole + 1) << DIGITS) - fraction
}

#[cfg(test)]
#[path = "choose_laws.rs"]
mod laws;
#[cfg(test)]
#[path = "choose_tiers.rs"]
mod tiers;
