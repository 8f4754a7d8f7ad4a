//! Rollups: the sums that summaries are answered from, and which of them a record adds to.
//!
//! Three families answer every question of the usage API without touching single events:
//!
//! * `Total`: everything, by hour and by day, spread over shards so that no item runs hot;
//! * `Day`: each key and each model of a day, so that one look tells who and what was busy;
//! * `Cube`: hour × key × account × model, for every other combination.
//!
//! How they are laid out as items is `cloud::store`'s business.

use crate::id::{AccountId, GroupId, KeyId, UserId};
use crate::money::PicoUsd;
use crate::record::UsageRecord;
use crate::usage::Tokens;
use jiff::Timestamp;

/// Over how many partitions totals and cube are spread.
pub const SHARDS: u64 = 4;

/// Over how many items a day's total is spread: three, so that those of 30 days fit into two batches
/// of a hundred items with the health of a hundred accounts and ten keys.
pub const DAY_SHARDS: u64 = 3;

/// A UTC hour, as `2026-11-22T21`; its first ten characters are the day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(String);

impl Hour {
    /// The hour that `at` lies in.
    pub fn of(at: Timestamp) -> Self {
        Self(at.strftime("%Y-%m-%dT%H").to_string())
    }

    /// Reads an hour that [`Hour::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let whole = format!("{text}:00:00Z").parse::<Timestamp>().ok()?;
        let hour = Self::of(whole);
        (hour.0 == text).then_some(hour)
    }

    /// `2026-11-22T21`
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `2026-11-22`
    pub fn day(&self) -> &str {
        &self.0[..10]
    }
}

/// One sum that a record adds to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rollup {
    /// A shard of everything in an hour.
    TotalHour {
        /// Of [`SHARDS`].
        shard: u64,
        /// When.
        hour: Hour,
    },
    /// A shard of everything in a day.
    TotalDay {
        /// Of [`DAY_SHARDS`].
        shard: u64,
        /// When, `2026-11-22`.
        day: String,
    },
    /// A key in a day.
    KeyDay {
        /// When, `2026-11-22`.
        day: String,
        /// Who asked.
        key: KeyId,
    },
    /// A shard of a model in a day.
    ModelDay {
        /// Of [`SHARDS`].
        shard: u64,
        /// When, `2026-11-22`.
        day: String,
        /// The model asked for.
        model: String,
    },
    /// One cell of the cube, in the shard of its key.
    Cell {
        /// Of [`SHARDS`].
        shard: u64,
        /// Which one.
        cell: Cell,
    },
}

/// A cell of the cube: the finest sum that is kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cell {
    /// When.
    pub hour: Hour,
    /// Who asked.
    pub key: KeyId,
    /// Whose key it was.
    pub user: Option<UserId>,
    /// The group it drew on.
    pub group: GroupId,
    /// Who answered.
    pub account: AccountId,
    /// The model asked for.
    pub model: String,
}

impl Cell {
    fn of(record: &UsageRecord, hour: Hour) -> Self {
        Self {
            hour,
            key: record.key_id.clone(),
            user: record.user_id.clone(),
            group: record.group_id.clone(),
            account: record.account_id.clone(),
            model: model_of(record).to_owned(),
        }
    }
}

/// The name that sums have for models which no account serves.
pub const OTHER_MODELS: &str = "other";

/// The model that a record is summed under. Sums are kept for ever, so a name that nobody has a
/// price for and that came to nothing (mostly a typing error, refused by the upstream) gets no sum
/// of its own.
pub fn model_of(record: &UsageRecord) -> &str {
    let is_unknown = record.price_version.ends_with('?');
    let came_to_nothing = record.status >= 400 && record.tokens == Tokens::default();
    if is_unknown && came_to_nothing { OTHER_MODELS } else { &record.model }
}

/// What is summed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Records.
    pub requests: u64,
    /// Records whose outcome is an error.
    pub errors: u64,
    /// Tokens as billed.
    pub tokens: Tokens,
    /// Web searches as billed.
    pub web_searches: u64,
    /// List price.
    pub cost: PicoUsd,
    /// Milliseconds to the first byte, summed over `ttft_count` records.
    pub ttft_ms: u64,
    /// Records that had a first byte.
    pub ttft_count: u64,
    /// Milliseconds from start to end, summed.
    pub duration_ms: u64,
}

impl Sums {
    /// What one record adds.
    pub fn of(record: &UsageRecord) -> Self {
        Self {
            requests: 1,
            errors: u64::from(record.outcome.is_error()),
            tokens: record.tokens,
            web_searches: record.web_searches,
            cost: record.cost_usd,
            ttft_ms: record.ttft_ms.unwrap_or_default(),
            ttft_count: u64::from(record.ttft_ms.is_some()),
            duration_ms: record.duration_ms,
        }
    }

    /// Adds another sum to this one.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.tokens.add(&other.tokens);
        self.web_searches += other.web_searches;
        self.cost += other.cost;
        self.ttft_ms += other.ttft_ms;
        self.ttft_count += other.ttft_count;
        self.duration_ms += other.duration_ms;
    }
}

/// Every rollup that `record` adds [`Sums::of`] it to.
pub fn touched_by(record: &UsageRecord) -> [Rollup; 5] {
    let hour = Hour::of(record.started_at);
    let day = hour.day().to_owned();
    let spread = spread_of(record);
    let shard = spread % SHARDS;
    [
        Rollup::TotalHour { shard, hour: hour.clone() },
        Rollup::KeyDay { day: day.clone(), key: record.key_id.clone() },
        Rollup::ModelDay { shard, day: day.clone(), model: model_of(record).to_owned() },
        Rollup::TotalDay { shard: spread % DAY_SHARDS, day },
        Rollup::Cell { shard, cell: Cell::of(record, hour) },
    ]
}

/// The shard follows from the key, so that a batch of one key's records touches one total.
fn spread_of(record: &UsageRecord) -> u64 {
    u64::from(crc32fast::hash(record.key_id.as_str().as_bytes()))
}
