//! Choosing an account: a pure function of the group's accounts and the request.
//!
//! Smallest priority first. Inside a priority, weighted rendezvous hashing by session picks a
//! cache domain, then an account of it: every instance computes the same answer without stored
//! state, and when an account is out only its own sessions move, if they can within the domain.

use crate::account::{Account, Provider};
use crate::health::{Health, Standing};
use crate::id::{AccountId, GroupId};
use crate::model::allows;
use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_64_with_seed;

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
    /// The model asked for.
    pub model: &'a str,
    /// What keeps a conversation on its account.
    pub session: u64,
    /// Accounts that have failed this request already.
    pub tried: &'a [AccountId],
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
    /// It failed this very request.
    Tried,
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
            Self::Tried => out.write_str("has failed this request"),
        }
    }
}

/// Chooses among `candidates` for `wish` at `now`.
pub fn choose(candidates: &[Candidate<'_>], wish: &Wish<'_>, now: Timestamp) -> Choice {
    let verdicts: Vec<Option<Ineligible>> =
        candidates.iter().map(|candidate| ineligible(candidate, wish, now)).collect();
    let usable = |index: &usize| verdicts[*index].is_none();

    let Some(priority) =
        (0..candidates.len()).filter(usable).map(|index| candidates[index].account.priority).min()
    else {
        let ids = candidates.iter().map(|candidate| candidate.account.id.clone());
        return Choice::Nobody(
            ids.zip(verdicts).filter_map(|(id, why)| why.map(|why| (id, why))).collect(),
        );
    };
    let level = || (0..candidates.len()).filter(|&at| candidates[at].account.priority == priority);

    // Domains keep the weight of all their enabled members, usable or not: an account that is
    // out must not move the sessions of its neighbours.
    let seed = xxh3_64_with_seed(wish.group.as_str().as_bytes(), wish.session);
    let draw =
        |at: usize| Draw::new(seed, domain(candidates[at].account), domain_weight(candidates, at));
    let best = level().filter(usable).map(draw).min();
    let chosen = level().filter(usable).filter(|&at| Some(draw(at)) == best).min_by_key(|&at| {
        let account = candidates[at].account;
        Draw::new(seed.rotate_left(32), account.id.as_str(), u64::from(account.weight))
    });
    chosen.map_or(Choice::Nobody(Vec::new()), Choice::Chosen)
}

fn ineligible(candidate: &Candidate<'_>, wish: &Wish<'_>, now: Timestamp) -> Option<Ineligible> {
    let account = candidate.account;
    if !account.enabled || account.weight == 0 {
        return Some(Ineligible::Disabled);
    }
    if account.provider != Provider::Anthropic {
        return Some(Ineligible::Protocol);
    }
    if !allows(&account.models, wish.model) {
        return Some(Ineligible::Model);
    }
    if wish.tried.contains(&account.id) {
        return Some(Ineligible::Tried);
    }
    match candidate.health.standing(wish.model, now) {
        Standing::Cooling { until, reason } => {
            Some(Ineligible::Cooling { until, reason: reason.to_owned() })
        }
        Standing::AuthFailed { reason } => Some(Ineligible::AuthFailed(reason.to_owned())),
        Standing::HalfOpen | Standing::Ready => None,
    }
}

/// When the first of the accounts that are only cooling down can be used again.
pub fn ready_at(reasons: &[(AccountId, Ineligible)]) -> Option<Timestamp> {
    let ends = reasons.iter().filter_map(|(_, why)| match why {
        Ineligible::Cooling { until, .. } => Some(*until),
        _ => None,
    });
    ends.min()
}

/// An account without a declared domain is one of its own.
fn domain(account: &Account) -> &str {
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
