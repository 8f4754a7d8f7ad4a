//! Reservations: what a request may cost, counted against its key's limits before it is sent.
//!
//! Each window keeps one number, what was spent plus what is reserved; the open reservations
//! stand beside it. How that is written atomically is `cloud::store`'s business.

use crate::id::{AccountId, GroupId, KeyId, RequestId, UserId};
use crate::key::Limits;
use crate::limit::{Period, Window, minute};
use crate::money::PicoUsd;
use crate::record::{Outcome, UsageRecord, VERSION};
use crate::usage::Tokens;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A request that is under way: the write-ahead record of its usage. Stored under short names,
/// since every open request is part of its key's item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The most that it can cost.
    #[serde(rename = "e")]
    pub estimate: PicoUsd,
    /// When it was accepted: decides the windows that it counts in.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// From when on, in unix seconds, it is given up.
    #[serde(rename = "x")]
    pub expires: i64,
    /// The model asked for.
    #[serde(rename = "m")]
    pub model: String,
    /// Whether the client asked for a stream.
    #[serde(rename = "s")]
    pub stream: bool,
    /// The group the key draws on.
    #[serde(rename = "g")]
    pub group: GroupId,
    /// Whose key it is.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
}

impl Reservation {
    /// The record of a request that nobody settled: it cost what was reserved, for all we know.
    /// Which account served it is not known either; that one has an id of zeros.
    pub fn given_up(&self, id: RequestId, key: KeyId, price_version: &str) -> UsageRecord {
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
            outcome: Outcome::Deadline,
            estimated: true,
            tokens: Tokens::default(),
            web_searches: 0,
            service_tier: None,
            inference_geo: None,
            speed: None,
            cost_usd: self.estimate,
            price_version: price_version.to_owned(),
            ttft_ms: None,
            duration_ms: u64::try_from(duration).unwrap_or_default(),
            attempts: 0,
            session_id: None,
            agent_id: None,
            iterations: Vec::new(),
            reserved_usd: Some(self.estimate),
        }
    }
}

/// Everything counted against one key's limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Windows by name: pico-dollars spent and reserved, or requests.
    pub windows: BTreeMap<String, i128>,
    /// Requests under way.
    pub open: BTreeMap<RequestId, Reservation>,
}

/// Why a request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// A money limit would be overrun.
    Money {
        /// Which one.
        period: Period,
        /// When it begins anew.
        resets_at: Option<Timestamp>,
    },
    /// Too many requests in this minute.
    Rate {
        /// When the next minute begins.
        resets_at: Option<Timestamp>,
    },
    /// Too many requests at the same time.
    Concurrency,
}

impl fmt::Display for Blocked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Money { period, resets_at: Some(at) } => {
                let at = at.strftime("%Y-%m-%d %H:%M UTC");
                write!(out, "spend limit reached ({}; resets {at})", period.as_str())
            }
            Self::Money { period, resets_at: None } => {
                write!(out, "spend limit reached ({})", period.as_str())
            }
            Self::Rate { .. } => out.write_str("too many requests in this minute"),
            Self::Concurrency => out.write_str("too many requests at the same time"),
        }
    }
}

impl Counted {
    /// What is spent and reserved in a window.
    pub fn committed(&self, window: &Window) -> PicoUsd {
        PicoUsd::new(self.windows.get(&window.name).copied().unwrap_or_default())
    }

    /// What is reserved in the window of `period` that `at` lies in.
    pub fn reserved(&self, period: Period, at: Timestamp) -> PicoUsd {
        let window = period.window(at);
        let inside = self.open.values().filter(|one| period.window(one.at) == window);
        inside.map(|one| one.estimate).sum()
    }

    /// What is spent in it and settled.
    pub fn spent(&self, period: Period, at: Timestamp) -> PicoUsd {
        self.committed(&period.window(at)) - self.reserved(period, at)
    }

    /// Which limit a request of this estimate has to wait for: the money limit that begins anew
    /// last, else the rate, else the concurrency.
    pub fn blocked(&self, limits: &Limits, estimate: PicoUsd, at: Timestamp) -> Option<Blocked> {
        let over = |&(period, limit): &(Period, PicoUsd)| {
            self.committed(&period.window(at)) + estimate > limit
        };
        let money = limits
            .monies()
            .filter(over)
            .map(|(period, _)| (period.window(at).resets_at, period))
            // The end of a month is before the end of the week that it ends in, sometimes.
            .max_by_key(|(resets_at, period)| (resets_at.is_none(), *resets_at, *period));
        if let Some((resets_at, period)) = money {
            return Some(Blocked::Money { period, resets_at });
        }
        let now = minute(at);
        let requests = self.windows.get(&now.name).copied().unwrap_or_default();
        if limits.requests_per_minute.is_some_and(|most| requests >= i128::from(most)) {
            return Some(Blocked::Rate { resets_at: now.resets_at });
        }
        let open = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        limits.concurrency.is_some_and(|most| open >= most).then_some(Blocked::Concurrency)
    }

    /// The money limit of which the largest share is spent.
    pub fn tightest(&self, limits: &Limits, at: Timestamp) -> Option<(Period, PicoUsd, PicoUsd)> {
        let spent = |(period, limit)| (period, self.spent(period, at), limit);
        limits.monies().map(spent).max_by(|(_, spent, limit), (_, other_spent, other_limit)| {
            let share = |part: PicoUsd, whole: PicoUsd| part.pico().saturating_mul(whole.pico());
            share(*spent, *other_limit).cmp(&share(*other_spent, *limit))
        })
    }
}

/// What settles reservations of one key: one change of its item, however many records it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settlement {
    /// What each window's number changes by: actual cost less estimate.
    pub changes: BTreeMap<String, PicoUsd>,
    /// The reservations that are over.
    pub closed: Vec<RequestId>,
}

impl Settlement {
    /// Adds what `record` settles, if it was reserved.
    pub fn add(&mut self, record: &UsageRecord) {
        let Some(reserved) = record.reserved_usd else { return };
        for period in Period::ALL {
            let change = self.changes.entry(period.window(record.started_at).name).or_default();
            *change += record.cost_usd - reserved;
        }
        self.closed.push(record.id.clone());
    }
}

#[cfg(test)]
#[path = "reservation_laws.rs"]
mod laws;
