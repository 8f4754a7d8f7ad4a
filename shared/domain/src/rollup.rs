//! Rollups: the stored sums that answer summaries, and the sums that a record adds to.
//!
//! Three families answer every query of the usage API without reading single events:
//!
//! * `Total`: everything, by hour and by day, spread over shards so that no item becomes hot;
//! * `Day`: each key and each model of a day, so that one query shows which keys and models were
//!   busy;
//! * `Cube`: hour × key × account × model, for all other combinations.
//!
//! The layout of the items is in `store`.

use crate::id::{AccountId, GroupId, KeyId, UserId};
use crate::money::PicoUsd;
use crate::record::UsageRecord;
use crate::usage::TokenCounts;
use jiff::Timestamp;

/// The number of partitions that totals and cube are spread over.
pub const SHARDS: u64 = 4;

/// The number of items that a day's total is spread over. With three, the totals of 30 days fit
/// into two batches of a hundred items, together with the health of a hundred accounts and ten
/// keys.
pub const DAY_SHARDS: u64 = 3;

/// A UTC hour, as `2026-11-22T21`; its first ten characters are the day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcHour(String);

impl UtcHour {
    /// The hour that contains `at`.
    pub fn from_timestamp(at: Timestamp) -> Self {
        Self(at.strftime("%Y-%m-%dT%H").to_string())
    }

    /// Parses an hour that [`UtcHour::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let timestamp = format!("{text}:00:00Z").parse::<Timestamp>().ok()?;
        let hour = Self::from_timestamp(timestamp);
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
    /// One shard of everything in an hour.
    TotalHour {
        /// The shard, below [`SHARDS`].
        shard: u64,
        /// The hour.
        hour: UtcHour,
    },
    /// One shard of everything in a day.
    TotalDay {
        /// The shard, below [`DAY_SHARDS`].
        shard: u64,
        /// The day, `2026-11-22`.
        day: String,
    },
    /// One key in a day.
    KeyDay {
        /// The day, `2026-11-22`.
        day: String,
        /// The key.
        key: KeyId,
    },
    /// One shard of a model in a day.
    ModelDay {
        /// The shard, below [`SHARDS`].
        shard: u64,
        /// The day, `2026-11-22`.
        day: String,
        /// The requested model.
        model: String,
    },
    /// One cell of the cube, in the shard of its key.
    Cell {
        /// The shard, below [`SHARDS`].
        shard: u64,
        /// The cell.
        cell: RollupCell,
    },
}

/// A cell of the cube: the finest sum that is kept forever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RollupCell {
    /// The hour.
    pub hour: UtcHour,
    /// The key.
    pub key: KeyId,
    /// The user that the key belonged to.
    pub user: Option<UserId>,
    /// The group that the key used.
    pub group: GroupId,
    /// The account that answered.
    pub account: AccountId,
    /// The requested model.
    pub model: String,
}

impl RollupCell {
    fn from_record(record: &UsageRecord, hour: UtcHour) -> Self {
        Self {
            hour,
            key: record.key_id.clone(),
            user: record.user_id.clone(),
            group: record.group_id.clone(),
            account: record.account_id.clone(),
            model: rollup_model(record).to_owned(),
        }
    }
}

/// The name in sums of models that no account serves.
pub(crate) const OTHER_MODELS: &str = "other";

/// The model under which a record is summed. Sums are kept forever, so a model without a price and
/// without usage (mostly a typing error that the upstream refused) does not get a separate sum.
pub(crate) fn rollup_model(record: &UsageRecord) -> &str {
    let has_failed = record.status >= 400 && record.tokens == TokenCounts::default();
    if record.is_unpriced() && has_failed { OTHER_MODELS } else { &record.model }
}

/// The summed values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageSums {
    /// Records.
    pub requests: u64,
    /// Records whose outcome is an error.
    pub errors: u64,
    /// Tokens as billed.
    pub tokens: TokenCounts,
    /// Web searches as billed.
    pub web_searches: u64,
    /// The list price.
    pub cost: PicoUsd,
    /// Records whose cost is an estimate, because their model had no price. Negative in the change
    /// by a new price.
    pub unpriced: i64,
    /// Milliseconds to the first byte, summed over `ttft_count` records.
    pub ttft_ms: u64,
    /// The number of records that had a first byte.
    pub ttft_count: u64,
    /// Milliseconds from start to end, summed.
    pub duration_ms: u64,
}

impl UsageSums {
    /// The values of one record.
    pub fn from_record(record: &UsageRecord) -> Self {
        Self {
            requests: 1,
            errors: u64::from(record.outcome.is_error()),
            tokens: record.tokens,
            web_searches: record.web_searches,
            cost: record.cost_usd,
            unpriced: i64::from(record.has_estimated_price()),
            ttft_ms: record.ttft_ms.unwrap_or_default(),
            ttft_count: u64::from(record.ttft_ms.is_some()),
            duration_ms: record.duration_ms,
        }
    }

    /// Adds another sum to this one.
    pub fn add_sums(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.tokens.add_counts(&other.tokens);
        self.web_searches += other.web_searches;
        self.cost += other.cost;
        self.unpriced += other.unpriced;
        self.ttft_ms += other.ttft_ms;
        self.ttft_count += other.ttft_count;
        self.duration_ms += other.duration_ms;
    }
}

/// All rollups that the [`UsageSums::of`] a record are added to.
pub fn rollups_of(record: &UsageRecord) -> [Rollup; 5] {
    let hour = UtcHour::from_timestamp(record.started_at);
    let day = hour.day().to_owned();
    let spread = total_shard(record);
    let shard = spread % SHARDS;
    [
        Rollup::TotalHour { shard, hour: hour.clone() },
        Rollup::KeyDay { day: day.clone(), key: record.key_id.clone() },
        Rollup::ModelDay { shard, day: day.clone(), model: rollup_model(record).to_owned() },
        Rollup::TotalDay { shard: spread % DAY_SHARDS, day },
        Rollup::Cell { shard, cell: RollupCell::from_record(record, hour) },
    ]
}

/// The shard depends on the key only, so that a batch of one key's records touches one total.
fn total_shard(record: &UsageRecord) -> u64 {
    u64::from(crc32fast::hash(record.key_id.as_str().as_bytes()))
}
