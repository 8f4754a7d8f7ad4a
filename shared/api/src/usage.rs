//! Usage: sums, single requests, exports, and records that could not be stored.

use crate::fields::Moment;
use baton_domain::id::{AccountId, GroupId, KeyId, RequestId, UserId};
use baton_domain::money::PicoUsd;
use baton_domain::record::RequestOutcome;
use baton_domain::usage::TokenCounts;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sums of usage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Measures")]
pub struct UsageMeasures {
    /// Number of requests.
    pub requests: u64,
    /// Number of requests that failed.
    pub errors: u64,
    /// Token counts by class; the classes do not overlap.
    pub tokens: TokenCounts,
    /// Number of web searches.
    pub web_searches: u64,
    /// Cost in US dollars, exact.
    pub cost_usd: PicoUsd,
    /// Number of requests whose model has no price. Their part of the cost is an estimate.
    #[serde(default)]
    pub unpriced_requests: u64,
    /// Share of prompt tokens that were read from the cache.
    #[schemars(range(min = 0, max = 1))]
    pub cache_hit_rate: f64,
    /// Mean time to the first token in milliseconds.
    pub ttft_ms_avg: u64,
    /// Mean duration in milliseconds.
    pub duration_ms_avg: u64,
}

/// Sums of usage by columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Summary")]
pub struct UsageSummary {
    /// One row for each combination of values.
    pub data: Vec<UsageSummaryRow>,
}

/// A row of a summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct UsageSummaryRow {
    /// Values of the columns in `by`.
    pub group: BTreeMap<String, Option<String>>,
    /// The sums.
    #[serde(flatten)]
    pub measures: UsageMeasures,
}

/// Query parameters of a summary.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SummaryQuery {
    /// Start of the period, included; by default 30 days before its end. A period has at most 400
    /// days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Moment>")]
    pub from: Option<String>,
    /// End of the period, not included; by default now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Moment>")]
    pub to: Option<String>,
    /// Columns to group by, separated by commas: hour, day, month, key, user, group, account,
    /// model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(
        pattern = "^((hour|day|month|key|user|group|account|model)(,(hour|day|month|key|user|group|account|model)){0,7})?$"
    ))]
    pub by: Option<String>,
    /// Only requests with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// Only requests of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Only requests of this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// Only requests that this account answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Only requests for this model (its exact id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Query parameters that choose requests.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EventQuery {
    /// Start of the period, included; by default 30 days before its end. A period has at most 400
    /// days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Moment>")]
    pub from: Option<String>,
    /// End of the period, not included; by default now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Moment>")]
    pub to: Option<String>,
    /// Only requests with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// Only keys, or requests, of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Only requests that this account answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// Only requests for this model (its exact id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only requests with this outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RequestOutcome>,
}

/// The file formats of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ExportFormat {
    /// Comma-separated values with a header line.
    #[default]
    Csv,
    /// One JSON object per line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// Query parameters of an export.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExportQuery {
    /// File format; `csv` by default.
    pub format: ExportFormat,
}

/// Usage records that could not be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DeadLetters")]
pub struct DeadLetterList {
    /// Number of messages in the queue, approximate.
    pub count: u64,
    /// The first messages of the queue; they stay there.
    pub data: Vec<DeadLetterResource>,
}

/// A message that could not be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct DeadLetterResource {
    /// Id of the message in the queue.
    pub message_id: String,
    /// When the message was sent.
    pub sent_at: Option<Timestamp>,
    /// Id of the request, if it can be read.
    pub id: Option<RequestId>,
    /// Key of the request, if it can be read.
    pub key_id: Option<KeyId>,
    /// Size of the message.
    pub bytes: usize,
    /// Why the message was not stored.
    pub reason: String,
}

/// The messages to send to the usage queue again: dead letters, or records from a log.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Redrive")]
pub struct RedriveRequest {
    /// How many messages to send again at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Values of the field `usage_record` of log lines, where Baton writes and signs a record that
    /// neither the queue nor the store took.
    #[schemars(length(max = 500), inner(length(max = 262_144)))]
    pub records: Vec<String>,
}

/// The result of sending messages again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Redriven")]
pub struct RedriveReport {
    /// Messages that were sent again.
    pub moved: usize,
    /// Messages that are left in the dead-letter queue, approximately.
    pub left: u64,
    /// Which of `records` were not signed by this deployment, or cannot be stored.
    pub refused: Vec<RefusedRecord>,
}

/// A record that was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct RefusedRecord {
    /// The place in `records`, counted from 0.
    pub index: usize,
    /// Why it was refused.
    pub reason: String,
}
