//! Choosing an account: a pure function of the group's accounts and the request.
//!
//! Smallest priority first. Inside a priority, weighted rendezvous hashing by session picks a
//! cache domain, then an account of it: every instance computes the same answer without stored
//! state, and when an account is out only its own sessions move, if they can within the domain.
//! Accounts near their limits come after all others, and those that cool down on a guess of ours
//! come last: a guess must not lock the last account out.

use crate::account::{Account, Provider};
use crate::health::{Health, Standing};
use crate::id::{AccountId, GroupId};
use crate::protocol::{Want, serves};
use crate::reason::RestReason;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// For so long a session that had to leave its first choice stays where it went.
pub const MOVED: SignedDuration = SignedDuration::from_hours(1);

/// What stays where it went: a session, as far as it asks for one model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conversation {
    /// The group whose accounts it uses.
    pub group: GroupId,
    /// The session's number.
    pub session: u64,
    /// The model asked for.
    pub model: String,
}

/// Who may be chosen.
pub struct Candidates<'a, A> {
    /// The accounts, with whatever else is held of them.
    pub accounts: &'a [A],
    /// The lot of each.
    pub lots: &'a [Lot],
}

/// What a draw knows of an account: little, since every request looks at every lot, and a thousand
/// accounts are more than stays close to a processor.
#[derive(Debug, Clone, Copy)]
pub struct Lot {
    /// Hashes of its cache domain's name and of its id.
    domain: u64,
    id: u64,
    priority: u32,
    /// 0 for who is switched off.
    weight: u32,
    provider: Provider,
    takes_any_model: bool,
    /// Whether its domain is a declared one, which others may share.
    may_have_mates: bool,
}

impl Lot {
    /// The account's.
    pub fn of(account: &Account) -> Self {
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

/// What the choice depends on.
pub struct Wish<'a> {
    /// The group whose accounts are the candidates.
    pub group: &'a GroupId,
    /// What is asked for.
    pub want: Want,
    /// The model asked for.
    pub model: &'a str,
    /// What keeps a conversation on its account.
    pub session: u64,
    /// The cache domain that the session had to move to, if it had to.
    pub moved_to: Option<&'a str>,
    /// Accounts that have failed this request already.
    pub tried: &'a [AccountId],
    /// Accounts that have as many requests under way as they may.
    pub full: &'a [AccountId],
    /// Accounts whose token has run out.
    pub signed_out: &'a [AccountId],
    /// Whether it asks for fast speed, which has a limit of its own.
    pub is_fast: bool,
    /// An account with so much of a limit used, in percent, is taken only if no other serves.
    pub utilisation_max: Option<u32>,
}

/// The answer. An empty one says why, account by account.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// The candidate at this index.
    Chosen(usize),
    /// None will do.
    Nobody(Vec<(AccountId, Ineligible)>),
}

/// Why an account will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ineligible {
    /// Switched off, or its weight is zero.
    Disabled,
    /// Does not serve the model.
    Model,
    /// Does not speak the protocol.
    Protocol,
    /// Not before `until`.
    Cooling {
        /// When it may be used again.
        until: Timestamp,
        /// Why.
        reason: RestReason,
    },
    /// Its credential is refused, for this reason.
    AuthFailed(RestReason),
    /// Its token has run out; a new one is asked for.
    SignedOut,
    /// It failed this very request.
    Tried,
    /// It has as many requests under way as it may.
    Full,
}

impl std::fmt::Display for Ineligible {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disabled => out.write_str("is disabled"),
            Self::Model => out.write_str("does not serve the model"),
            Self::Protocol => out.write_str("does not speak the protocol"),
            Self::Cooling { until, reason } => {
                let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
                write!(out, "is cooling down until {until} ({reason})")
            }
            Self::AuthFailed(reason) => write!(out, "has a refused credential ({reason})"),
            Self::SignedOut => out.write_str("has no valid token; a new one is asked for"),
            Self::Tried => out.write_str("has failed this request"),
            Self::Full => out.write_str("has as many requests under way as it may"),
        }
    }
}

/// How gladly an account is taken, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Ready,
    /// So much of a limit is used that it would soon refuse.
    NearLimit,
    /// It cools down, but only because we guess that it should: who is ready soonest comes first.
    LastResort(Timestamp),
}

/// Chooses among `candidates` for `wish` at `now`. `health` tells how the one at a place is doing.
pub fn choose<A: AsRef<Account>, H: Deref<Target = Health>>(
    candidates: &Candidates<'_, A>,
    health: impl Fn(usize) -> H,
    wish: &Wish<'_>,
    now: Timestamp,
) -> Choice {
    // Almost always the session's first choice is well, and nobody else needs a look: where it is
    // of the best tier, taking others out of the draw would not change who wins it.
    let first = first_choice(candidates, wish).filter(|_| wish.moved_to.is_none());
    if let Some(at) = first
        && candidates.tier(at, &health(at), wish, now) == Ok(Tier::Ready)
    {
        return Choice::Chosen(at);
    }
    choose_with_care(candidates, health, wish, now)
}

/// The same, from a look at the health of every account.
fn choose_with_care<A: AsRef<Account>, H: Deref<Target = Health>>(
    candidates: &Candidates<'_, A>,
    health: impl Fn(usize) -> H,
    wish: &Wish<'_>,
    now: Timestamp,
) -> Choice {
    let places = 0..candidates.lots.len();
    let verdicts: Vec<Result<Tier, Ineligible>> =
        places.clone().map(|at| candidates.tier(at, &health(at), wish, now)).collect();
    let best = verdicts.iter().filter_map(|verdict| verdict.as_ref().ok()).min();
    let usable: Vec<usize> =
        places.clone().filter(|&at| verdicts[at].as_ref().ok() == best).collect();
    if best.is_none() {
        let ids = places.map(|at| candidates.account(at).id.clone());
        let reasons = ids.zip(verdicts).filter_map(|(id, verdict)| Some((id, verdict.err()?)));
        return Choice::Nobody(reasons.collect());
    }
    let is_there = |at: &usize| wish.moved_to == Some(domain(candidates.account(*at)));
    let stays: Vec<usize> = usable.iter().copied().filter(is_there).collect();
    let among = if stays.is_empty() { usable } else { stays };
    draw(candidates.lots, &among, wish).map_or(Choice::Nobody(Vec::new()), Choice::Chosen)
}

/// The session's first choice: who would be chosen if all accounts were well and had room.
pub fn first_choice<A: AsRef<Account>>(
    candidates: &Candidates<'_, A>,
    wish: &Wish<'_>,
) -> Option<usize> {
    let serves = |at: &usize| candidates.unfit(*at, wish).is_none();
    let among: Vec<usize> = (0..candidates.lots.len()).filter(serves).collect();
    draw(candidates.lots, &among, wish)
}

/// The smallest priority of `among`, then a cache domain, then an account of it.
fn draw(lots: &[Lot], among: &[usize], wish: &Wish<'_>) -> Option<usize> {
    let priority = among.iter().map(|&at| lots[at].priority).min()?;
    let level =
        || among.iter().map(|&at| (at, &lots[at])).filter(|(_, lot)| lot.priority == priority);
    let hash = |of: u64, seed| xxh3_64_with_seed(&of.to_le_bytes(), seed);

    // Domains keep the weight of all their enabled members, usable or not: an account that is
    // out must not move the sessions of its neighbours.
    let seed = xxh3_64_with_seed(wish.group.as_str().as_bytes(), wish.session);
    let weights = Weights::of(lots, priority);
    let domains = level().map(|(at, lot)| (at, hash(lot.domain, seed), weights.of_domain(lot)));
    let first = least(domains)?;
    let home = &lots[first];
    if !home.may_have_mates {
        return Some(first);
    }
    let seed = seed.rotate_left(32);
    let mates = level().filter(|(_, lot)| lot.domain == home.domain);
    least(mates.map(|(at, lot)| (at, hash(lot.id, seed), u64::from(lot.weight))))
}

impl<A: AsRef<Account>> Candidates<'_, A> {
    fn account(&self, at: usize) -> &Account {
        self.accounts[at].as_ref()
    }

    /// Why the settings of the account at a place keep it from serving the wish, whatever its health.
    fn unfit(&self, at: usize, wish: &Wish<'_>) -> Option<Ineligible> {
        let lot = &self.lots[at];
        if lot.weight == 0 {
            return Some(Ineligible::Disabled);
        }
        if !serves(lot.provider, wish.want) {
            return Some(Ineligible::Protocol);
        }
        let serves = lot.takes_any_model || self.account(at).serves(wish.model);
        (!serves).then_some(Ineligible::Model)
    }

    fn tier(
        &self,
        at: usize,
        health: &Health,
        wish: &Wish<'_>,
        now: Timestamp,
    ) -> Result<Tier, Ineligible> {
        if let Some(why) = self.unfit(at, wish) {
            return Err(why);
        }
        let id = &self.account(at).id;
        if wish.tried.contains(id) {
            return Err(Ineligible::Tried);
        }
        let standing = if health.has_partial_rests() {
            health.standing(self.account(at).upstream_name(wish.model), wish.is_fast, now)
        } else {
            health.overall(now)
        };
        let tier = match standing {
            Standing::AuthFailed { reason, .. } => return Err(Ineligible::AuthFailed(reason)),
            _ if wish.signed_out.contains(id) => return Err(Ineligible::SignedOut),
            Standing::Cooling { is_guess: true, until, .. } => Tier::LastResort(until),
            Standing::Cooling { until, reason, .. } => {
                return Err(Ineligible::Cooling { until, reason });
            }
            Standing::HalfOpen | Standing::Ready => {
                let used = health.utilisation.percent(now);
                let is_near = wish.utilisation_max.is_some_and(|most| used >= most);
                if is_near { Tier::NearLimit } else { Tier::Ready }
            }
        };
        if wish.full.contains(id) { Err(Ineligible::Full) } else { Ok(tier) }
    }
}

/// When the first of the accounts that are only cooling down can be used again. Money and disabled
/// organizations do not come back by waiting.
pub fn ready_at(reasons: &[(AccountId, Ineligible)]) -> Option<Timestamp> {
    let ends = reasons.iter().filter_map(|(_, why)| match why {
        Ineligible::Cooling { until, reason } if !reason.needs_operator() => Some(*until),
        _ => None,
    });
    ends.min()
}

/// The account's cache domain; one without a declared domain is one of its own.
pub fn domain(account: &Account) -> &str {
    account.cache_domain.as_deref().unwrap_or(account.id.as_str())
}

/// What the accounts of each domain weigh together, by the hash of its name. They count whether or
/// not they can be used now: else a domain would lose sessions that its others could serve.
struct Weights(Option<HashMap<u64, u64, BuildHasherDefault<Hashed>>>);

impl Weights {
    fn of(lots: &[Lot], priority: u32) -> Self {
        if lots.iter().all(|lot| !lot.may_have_mates) {
            return Self(None);
        }
        let mut weights = HashMap::with_capacity_and_hasher(lots.len(), <_>::default());
        for lot in lots.iter().filter(|lot| lot.priority == priority) {
            *weights.entry(lot.domain).or_default() += u64::from(lot.weight);
        }
        Self(Some(weights))
    }

    fn of_domain(&self, lot: &Lot) -> u64 {
        match &self.0 {
            None => u64::from(lot.weight),
            Some(weights) => weights.get(&lot.domain).copied().unwrap_or_default(),
        }
    }
}

/// Takes keys that are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
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

/// The place with the smallest `-log2(hash) / weight`, of (place, hash, weight). Whoever cannot
/// beat the best so far is left without its logarithm being taken.
fn least(draws: impl Iterator<Item = (usize, u64, u64)>) -> Option<usize> {
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

/// Binary digits behind the point of a logarithm.
const DIGITS: u32 = 24;

/// A lower bound of [`neg_log2`]: between two powers of two, `log2` is above its chord by less
/// than 0.0861.
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
        // A square of two or more yields a digit and is halved again.
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
