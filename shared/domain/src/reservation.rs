//! Reservations: the cost that is counted against the limits of a request before it is sent.
//!
//! Each window keeps one number, the sum of spent and reserved amounts, and the open reservations
//! are stored with it. `store` writes both atomically.

use crate::effective_limits::EffectiveLimits;
use crate::id::{AccountId, GroupId, KeyId, RequestId, UserId};
use crate::key::Limits;
use crate::limit::{LimitPeriod, LimitWindow, minute};
use crate::money::PicoUsd;
use crate::record::{COST_MAX, RequestOutcome, UsageRecord, VERSION};
use crate::scope::LimitScope;
use crate::usage::TokenCounts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// An open request: the write-ahead record of its usage. The stored field names are short, since
/// each open request is part of its key's item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The reserved amount: the highest or the expected cost.
    #[serde(rename = "e")]
    pub estimate: PicoUsd,
    /// The cost that is possible beyond the reserved amount.
    #[serde(rename = "b", default, skip_serializing_if = "is_nothing")]
    pub unreserved: PicoUsd,
    /// When the request was accepted. This decides the windows that it counts in.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// When the reservation expires, in Unix seconds.
    #[serde(rename = "x")]
    pub expires: i64,
    /// The requested model.
    #[serde(rename = "m")]
    pub model: String,
    /// Whether the client asked for a stream.
    #[serde(rename = "s")]
    pub stream: bool,
    /// The group that the key uses.
    #[serde(rename = "g")]
    pub group: GroupId,
    /// The user that owns the key.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The shared limits that also count the request.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub shared_limits: Vec<LimitScope>,
}

impl Reservation {
    /// The record of a request that was never settled: the reserved amount counts as its cost. It
    /// is not known which account served it, so the account's id consists of zeros.
    pub fn to_expired_record(&self, id: RequestId, key: KeyId, price_version: &str) -> UsageRecord {
        let duration = self.expires.saturating_mul(1000).saturating_sub(self.at.as_millisecond());
        UsageRecord {
            v: VERSION,
            id,
            started_at: self.at,
            key_id: key,
            user_id: self.user.clone(),
            group_id: self.group.clone(),
            account_id: AccountId::from_bits(0),
            provider: "unknown".to_owned(),
            protocol: "anthropic_messages".to_owned(),
            model: self.model.clone(),
            upstream_model: self.model.clone(),
            stream: self.stream,
            status: 0,
            outcome: RequestOutcome::Deadline,
            estimated: true,
            tokens: TokenCounts::default(),
            web_searches: 0,
            service_tier: None,
            inference_geo: None,
            speed: None,
            cost_usd: self.estimate.min(COST_MAX),
            price_version: price_version.to_owned(),
            ttft_ms: None,
            duration_ms: u64::try_from(duration).unwrap_or_default(),
            attempts: 0,
            tried: Vec::new(),
            session_id: None,
            agent_id: None,
            iterations: Vec::new(),
            is_capped: false,
            is_highest_cost: false,
            reserved_usd: Some(self.estimate),
            reserved_shared_limits: self.shared_limits.clone(),
        }
    }
}

fn is_nothing(amount: &PicoUsd) -> bool {
    *amount == PicoUsd::ZERO
}

/// All amounts and requests that count against the limits of one scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitCounters {
    /// Windows by name, with pico-dollars spent and reserved, or numbers of requests.
    pub windows: BTreeMap<String, i128>,
    /// For a key: its open requests.
    pub open_reservations: BTreeMap<RequestId, Reservation>,
    /// For a scope with shared limits: only the sums, because each request is stored in its key's
    /// item.
    pub shared_totals: OpenRequestTotals,
}

/// Totals of the open requests of a scope with shared limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenRequestTotals {
    /// The number of open requests.
    pub requests: u64,
    /// The amount reserved for them.
    pub estimates: PicoUsd,
}

/// Why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockReason {
    /// The money limit is spent, or the remaining amount is less than the request can cost.
    Spent {
        /// The period of the limit.
        period: LimitPeriod,
        /// When the next window begins.
        resets_at: Option<Timestamp>,
        /// The amounts.
        amounts: BlockedAmounts,
    },
    /// The request alone can cost more than the money limit.
    TooLarge {
        /// The period of the limit.
        period: LimitPeriod,
        /// The amounts.
        amounts: BlockedAmounts,
    },
    /// Enough of a money limit is unspent, but open requests have reserved it.
    Reserved {
        /// The period of the limit.
        period: LimitPeriod,
        /// The amounts. Here `remaining` is neither spent nor reserved.
        amounts: BlockedAmounts,
    },
    /// Too many requests in this minute.
    Rate {
        /// When the next minute begins.
        resets_at: Option<Timestamp>,
    },
    /// Too many requests at the same time.
    Concurrency,
    /// A limit on requests is 0, which admits no request at any time.
    NoRequests {
        /// What the limit counts, such as `requests per minute`.
        unit: &'static str,
    },
    /// The key has too many requests that are open or not settled yet. Its item cannot hold another
    /// reservation.
    Backlog,
}

/// The highest cost of a request, compared with a money limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockedAmounts {
    /// The most that the request can cost.
    pub needed: PicoUsd,
    /// The part of the limit that is not spent.
    pub remaining: PicoUsd,
    /// The limit.
    pub limit: PicoUsd,
}

impl BlockReason {
    /// The rank of a reason; the highest one is reported. Reasons that waiting does not remove come
    /// first, then the money limit with the latest reset, then the rate.
    fn severity(&self) -> (u8, bool, Option<Timestamp>, Option<LimitPeriod>) {
        match *self {
            Self::NoRequests { .. } => (5, false, None, None),
            Self::TooLarge { period, .. } => (4, false, None, Some(period)),
            // A month can end before the week that contains its last day.
            Self::Spent { period, resets_at, .. } => {
                (3, resets_at.is_none(), resets_at, Some(period))
            }
            Self::Rate { resets_at } => (2, false, resets_at, None),
            Self::Reserved { period, .. } => (1, false, None, Some(period)),
            Self::Concurrency | Self::Backlog => (0, false, None, None),
        }
    }

    /// The reason for which a money limit blocks a request of this amount; `None` if the request
    /// fits.
    fn from_money_limit(
        period: LimitPeriod,
        limit: PicoUsd,
        spent: PicoUsd,
        committed: PicoUsd,
        needed: PicoUsd,
        at: Timestamp,
    ) -> Option<Self> {
        if committed + needed <= limit {
            return None;
        }
        let remaining = (limit - spent).max(PicoUsd::ZERO);
        let amounts = BlockedAmounts { needed, remaining, limit };
        let resets_at = period.window(at).resets_at;
        // A reset does not change a limit of zero.
        let allows_nothing = limit <= PicoUsd::ZERO;
        Some(if remaining == PicoUsd::ZERO && !allows_nothing {
            Self::Spent { period, resets_at, amounts }
        } else if needed > limit || allows_nothing {
            Self::TooLarge { period, amounts }
        } else if needed > remaining {
            Self::Spent { period, resets_at, amounts }
        } else {
            let remaining = (limit - committed).max(PicoUsd::ZERO);
            Self::Reserved { period, amounts: BlockedAmounts { remaining, ..amounts } }
        })
    }
}

impl BlockReason {
    /// The period of the money limit; `None` if the reason is not money.
    pub fn period(&self) -> Option<LimitPeriod> {
        match *self {
            Self::Spent { period, .. }
            | Self::TooLarge { period, .. }
            | Self::Reserved { period, .. } => Some(period),
            Self::Rate { .. } | Self::Concurrency | Self::NoRequests { .. } | Self::Backlog => None,
        }
    }

    /// The most that the request can cost, and the amount that it has to fit into. `None` if the
    /// reason is not money, or if no cost would fit.
    pub fn needed_and_room(&self) -> Option<(PicoUsd, PicoUsd)> {
        match self {
            Self::Spent { amounts, .. }
            | Self::TooLarge { amounts, .. }
            | Self::Reserved { amounts, .. } => {
                (amounts.remaining > PicoUsd::ZERO).then_some((amounts.needed, amounts.remaining))
            }
            Self::Rate { .. } | Self::Concurrency | Self::NoRequests { .. } | Self::Backlog => None,
        }
    }
}

impl fmt::Display for BlockReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spent { resets_at, .. } => {
                f.write_str("spend limit reached")?;
                match resets_at {
                    Some(at) => write!(f, " · resets {}", at.strftime("%b %-d")),
                    None => Ok(()),
                }
            }
            Self::TooLarge { period, amounts } if amounts.limit <= PicoUsd::ZERO => {
                let period = period.as_str();
                write!(f, "spend limit reached · the {period} limit of 0.00 USD allows no request")
            }
            Self::TooLarge { period, amounts } => write!(
                f,
                "This request could cost up to {}, which is more than the whole {} limit of {}",
                format_dollars(amounts.needed),
                period.as_str(),
                format_dollars(amounts.limit)
            ),
            Self::Reserved { period, .. } => {
                write!(
                    f,
                    "Requests in progress have reserved the rest of the {} limit",
                    period.as_str()
                )
            }
            Self::Rate { .. } => f.write_str("Too many requests in this minute"),
            Self::Concurrency => f.write_str("Too many requests at the same time"),
            Self::NoRequests { unit } => write!(f, "No request is allowed: 0 {unit} is the limit"),
            Self::Backlog => f.write_str("Too many requests that are not settled yet"),
        }
    }
}

/// An amount for people: dollars and cents, and further digits if the amount has them.
pub fn format_dollars(amount: PicoUsd) -> String {
    let text = amount.to_string();
    let (integer_part, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let retained_bytes = fraction.trim_end_matches('0').len().max(2);
    format!("{integer_part}.{} USD", fraction.get(..retained_bytes).unwrap_or(fraction))
}

impl LimitCounters {
    /// The amount spent and reserved in a window.
    pub fn committed_amount(&self, window: &LimitWindow) -> PicoUsd {
        PicoUsd::new(self.windows.get(&window.name).copied().unwrap_or_default())
    }

    /// The amount reserved in the window of `period` that contains `at`. A scope with shared limits
    /// does not know which of its requests began before the window, so the amount can be too high
    /// for a moment.
    pub fn reserved(&self, period: LimitPeriod, at: Timestamp) -> PicoUsd {
        let window = period.window(at);
        let inside = self.open_reservations.values().filter(|one| period.window(one.at) == window);
        let each: PicoUsd = inside.map(|one| one.estimate).sum();
        each + self.shared_totals.estimates.min(self.committed_amount(&window))
    }

    /// The settled spend in the window of `period` that contains `at`.
    pub fn spent(&self, period: LimitPeriod, at: Timestamp) -> PicoUsd {
        self.committed_amount(&period.window(at)) - self.reserved(period, at)
    }

    /// How much the running requests of a key can cost beyond their reservations. The key's limits
    /// can be exceeded by at most this amount.
    pub fn unreserved_cost(&self) -> PicoUsd {
        self.open_reservations.values().map(|one| one.unreserved).sum()
    }

    /// The number of open requests.
    pub fn open_requests(&self) -> u64 {
        self.shared_totals.requests.saturating_add(self.open_reservations.len() as u64)
    }

    /// The number of requests in the minute of `at`.
    pub fn requests_in_minute(&self, at: Timestamp) -> i128 {
        self.windows.get(&minute(at).name).copied().unwrap_or_default()
    }

    /// The limit that blocks a request of this estimate; see [`BlockReason`] for the choice among
    /// several.
    pub(crate) fn block_reason(
        &self,
        limits: &Limits,
        estimate: PicoUsd,
        at: Timestamp,
    ) -> Option<BlockReason> {
        let money = limits.money_limits().filter_map(|(period, limit)| {
            let (spent, committed) =
                (self.spent(period, at), self.committed_amount(&period.window(at)));
            BlockReason::from_money_limit(period, limit, spent, committed, estimate, at)
        });
        let requests = self.requests_in_minute(at);
        let is_over = limits.requests_per_minute.is_some_and(|max| requests >= i128::from(max));
        let rate = is_over.then(|| match limits.requests_per_minute {
            Some(0) => BlockReason::NoRequests { unit: "requests per minute" },
            _ => BlockReason::Rate { resets_at: minute(at).resets_at },
        });
        let over = |max: u32| self.open_requests() >= u64::from(max);
        let concurrency = limits.concurrency.filter(|max| over(*max)).map(|max| match max {
            0 => BlockReason::NoRequests { unit: "requests at the same time" },
            _ => BlockReason::Concurrency,
        });
        money.chain(rate).chain(concurrency).max_by_key(BlockReason::severity)
    }

    /// Each money limit with its spend.
    fn spends(&self, limits: &Limits, at: Timestamp) -> impl Iterator<Item = LimitSpend> {
        limits.money_limits().map(move |(period, limit)| LimitSpend {
            period,
            spent: self.spent(period, at),
            limit,
        })
    }
}

/// A money limit and its spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSpend {
    /// The period of the limit.
    pub period: LimitPeriod,
    /// The amount spent and settled.
    pub spent: PicoUsd,
    /// The limit.
    pub limit: PicoUsd,
}

impl EffectiveLimits {
    /// The limit that blocks a request of this estimate, with its scope. `counters` has the
    /// counters of each scope, in the order of [`EffectiveLimits::scoped_limits`].
    pub fn blocked(
        &self,
        counters: &[LimitCounters],
        estimate: PicoUsd,
        at: Timestamp,
    ) -> Option<(LimitScope, BlockReason)> {
        let each = self.scoped_limits().zip(counters);
        let blocked = each.filter_map(|((scope, limits), counters)| {
            Some((scope, counters.block_reason(limits, estimate, at)?))
        });
        blocked.max_by_key(|(_, reason)| reason.severity())
    }

    /// The money limit with the largest spent share, among all scopes.
    pub fn tightest_limit(&self, counters: &[LimitCounters], at: Timestamp) -> Option<LimitSpend> {
        let each = self.scoped_limits().zip(counters);
        let spends = each.flat_map(|((_, limits), counters)| counters.spends(limits, at));
        spends.max_by(|one, other| {
            let share = |part: PicoUsd, total: PicoUsd| part.pico().saturating_mul(total.pico());
            share(one.spent, other.limit).cmp(&share(other.spent, one.limit))
        })
    }
}

/// The change that settles reservations in one item, for any number of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settlement {
    /// The change of each window's number: actual cost minus estimate.
    pub changes: BTreeMap<String, PicoUsd>,
    /// The reservations that have ended.
    pub closed: Vec<RequestId>,
    /// The amount that was reserved for them.
    pub estimates: PicoUsd,
}

impl Settlement {
    /// The items in which `record` settles a reservation; none if nothing was reserved.
    pub fn settled_scopes(record: &UsageRecord) -> impl Iterator<Item = LimitScope> {
        let own = record.reserved_usd.map(|_| LimitScope::Key(record.key_id.clone()));
        let shared = own.is_some().then(|| record.reserved_shared_limits.iter().cloned());
        own.into_iter().chain(shared.into_iter().flatten())
    }

    /// Adds the settlement of `record`, if it had a reservation.
    pub fn add_record(&mut self, record: &UsageRecord) {
        let Some(reserved) = record.reserved_usd else { return };
        for period in LimitPeriod::ALL {
            let change = self.changes.entry(period.window(record.started_at).name).or_default();
            *change += record.cost_usd - reserved;
        }
        self.closed.push(record.id.clone());
        self.estimates += reserved;
    }
}

#[cfg(test)]
mod tests;
