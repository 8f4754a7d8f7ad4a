//! Choosing an account: a pure function of the group's accounts and the request.
//!
//! Smallest priority first. Inside a priority, weighted rendezvous hashing by session picks a
//! cache domain, then an account of it: every instance computes the same answer without stored
//! state, and when an account is out only its own sessions move, if they can within the domain.
//! Accounts near their limits come after all others, and those that cool down on a guess of ours
//! come last: a guess must not lock the last account out.

use crate::account::Account;
use crate::health::{Health, Standing};
use crate::id::{AccountId, GroupId};
use crate::protocol::{Want, serves};
use jiff::{SignedDuration, Timestamp};
use xxhash_rust::xxh3::xxh3_64_with_seed;

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

/// An account with what is known of its health.
pub struct Candidate<'a> {
    /// Its settings.
    pub account: &'a Account,
    /// How it is doing.
    pub health: &'a Health,
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
        reason: String,
    },
    /// Its credential is refused, for this reason.
    AuthFailed(String),
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
    /// It cools down, but only because we guess that it should.
    LastResort,
}

/// Chooses among `candidates` for `wish` at `now`.
pub fn choose(candidates: &[Candidate<'_>], wish: &Wish<'_>, now: Timestamp) -> Choice {
    let verdicts: Vec<Result<Tier, Ineligible>> =
        candidates.iter().map(|candidate| tier(candidate, wish, now)).collect();
    let best = verdicts.iter().filter_map(|verdict| verdict.as_ref().ok()).min();
    let usable: Vec<usize> =
        (0..candidates.len()).filter(|&at| verdicts[at].as_ref().ok() == best).collect();
    if best.is_none() {
        let ids = candidates.iter().map(|candidate| candidate.account.id.clone());
        let reasons = ids.zip(verdicts).filter_map(|(id, verdict)| Some((id, verdict.err()?)));
        return Choice::Nobody(reasons.collect());
    }
    let is_there = |at: &usize| wish.moved_to == Some(domain(candidates[*at].account));
    let stays: Vec<usize> = usable.iter().copied().filter(is_there).collect();
    let among = if stays.is_empty() { usable } else { stays };
    draw(candidates, &among, wish).map_or(Choice::Nobody(Vec::new()), Choice::Chosen)
}

/// The session's first choice: who would be chosen if all accounts were well and had room.
pub fn first_choice(candidates: &[Candidate<'_>], wish: &Wish<'_>) -> Option<usize> {
    let serves = |at: &usize| unfit(candidates[*at].account, wish).is_none();
    let among: Vec<usize> = (0..candidates.len()).filter(serves).collect();
    draw(candidates, &among, wish)
}

/// The smallest priority of `among`, then a cache domain, then an account of it.
fn draw(candidates: &[Candidate<'_>], among: &[usize], wish: &Wish<'_>) -> Option<usize> {
    let priority = among.iter().map(|&at| candidates[at].account.priority).min()?;
    let level = || among.iter().copied().filter(|&at| candidates[at].account.priority == priority);

    // Domains keep the weight of all their enabled members, usable or not: an account that is
    // out must not move the sessions of its neighbours.
    let seed = xxh3_64_with_seed(wish.group.as_str().as_bytes(), wish.session);
    let of_domain =
        |at: usize| Draw::new(seed, domain(candidates[at].account), domain_weight(candidates, at));
    let best = level().map(of_domain).min();
    level().filter(|&at| Some(of_domain(at)) == best).min_by_key(|&at| {
        let account = candidates[at].account;
        Draw::new(seed.rotate_left(32), account.id.as_str(), u64::from(account.weight))
    })
}

/// Why the account's settings keep it from serving the wish, whatever its health.
fn unfit(account: &Account, wish: &Wish<'_>) -> Option<Ineligible> {
    if !account.enabled || account.weight == 0 {
        return Some(Ineligible::Disabled);
    }
    if !serves(account.provider, wish.want) {
        return Some(Ineligible::Protocol);
    }
    (!account.serves(wish.model)).then_some(Ineligible::Model)
}

fn tier(candidate: &Candidate<'_>, wish: &Wish<'_>, now: Timestamp) -> Result<Tier, Ineligible> {
    let account = candidate.account;
    if let Some(why) = unfit(account, wish) {
        return Err(why);
    }
    if wish.tried.contains(&account.id) {
        return Err(Ineligible::Tried);
    }
    let tier = match candidate.health.standing(wish.model, now) {
        Standing::AuthFailed { reason } => return Err(Ineligible::AuthFailed(reason.to_owned())),
        _ if wish.signed_out.contains(&account.id) => return Err(Ineligible::SignedOut),
        Standing::Cooling { is_guess: true, .. } => Tier::LastResort,
        Standing::Cooling { until, reason, .. } => {
            return Err(Ineligible::Cooling { until, reason: reason.to_owned() });
        }
        Standing::HalfOpen | Standing::Ready => {
            let used = candidate.health.utilisation.percent(now);
            let is_near = wish.utilisation_max.is_some_and(|most| used >= most);
            if is_near { Tier::NearLimit } else { Tier::Ready }
        }
    };
    if wish.full.contains(&account.id) { Err(Ineligible::Full) } else { Ok(tier) }
}

/// When the first of the accounts that are only cooling down can be used again.
pub fn ready_at(reasons: &[(AccountId, Ineligible)]) -> Option<Timestamp> {
    let ends = reasons.iter().filter_map(|(_, why)| match why {
        Ineligible::Cooling { until, .. } => Some(*until),
        _ => None,
    });
    ends.min()
}

/// The account's cache domain; one without a declared domain is one of its own.
pub fn domain(account: &Account) -> &str {
    account.cache_domain.as_deref().unwrap_or(account.id.as_str())
}

fn domain_weight(candidates: &[Candidate<'_>], of: usize) -> u64 {
    let account = candidates[of].account;
    candidates
        .iter()
        .map(|candidate| candidate.account)
        .filter(|other| other.enabled && other.priority == account.priority)
        .filter(|other| domain(other) == domain(account))
        .map(|other| u64::from(other.weight))
        .sum()
}

/// A drawn ticket; the smallest wins. An exponential variate of rate `weight`: −log₂(u) ÷ weight,
/// compared by cross-multiplying, so that it stays in integers.
#[derive(Debug, Clone, Copy)]
struct Draw {
    neg_log2: u64,
    weight: u64,
}

impl Draw {
    fn new(seed: u64, name: &str, weight: u64) -> Self {
        Self { neg_log2: neg_log2(xxh3_64_with_seed(name.as_bytes(), seed)), weight }
    }
}

impl Ord for Draw {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let left = u128::from(self.neg_log2) * u128::from(other.weight);
        let right = u128::from(other.neg_log2) * u128::from(self.weight);
        left.cmp(&right)
    }
}

impl PartialOrd for Draw {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Draw {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Draw {}

/// −log₂(u / 2⁶⁴) in units of 2⁻²⁴, by squaring the mantissa once per binary digit.
fn neg_log2(u: u64) -> u64 {
    const DIGITS: u32 = 24;
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
