//! The usage record: the facts and the cost of one upstream request (version 1 of the format).
//!
//! The queue carries it as JSON, and the store keeps every field except the reservation. It never
//! holds prompt or completion text.

use crate::id::{AccountId, GroupId, KeyId, RequestId, UserId};
use crate::money::PicoUsd;
use crate::price::is_unpriced_version;
use crate::scope::LimitScope;
use crate::usage::{BilledUsage, TokenCounts, UsageIteration};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version written into `v`.
pub const VERSION: u32 = 1;

/// One finished upstream request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct UsageRecord {
    /// The version of this format.
    pub v: u32,
    /// The request's id, fixed before the upstream is called.
    pub id: RequestId,
    /// When the relay accepted the request.
    pub started_at: Timestamp,
    /// The key of the client.
    pub key_id: KeyId,
    /// The user that the key belonged to when the request was accepted.
    pub user_id: Option<UserId>,
    /// The group that the key used when the request was accepted.
    pub group_id: GroupId,
    /// The account that answered.
    pub account_id: AccountId,
    /// The account's provider.
    pub provider: String,
    /// The client's protocol, such as `anthropic_messages`.
    pub protocol: String,
    /// The requested model.
    pub model: String,
    /// The model that the upstream names in its answer, or else the model that it was asked for.
    pub upstream_model: String,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The HTTP status that the client got.
    pub status: u16,
    /// How the request ended.
    pub outcome: RequestOutcome,
    /// Whether any number below is an estimate.
    pub estimated: bool,
    /// Tokens as billed.
    pub tokens: TokenCounts,
    /// Web searches as billed.
    pub web_searches: u64,
    /// The service tier that the upstream reported.
    pub service_tier: Option<String>,
    /// The region of inference that the upstream reported.
    pub inference_geo: Option<String>,
    /// `fast` or absent.
    pub speed: Option<String>,
    /// The exact list price.
    pub cost_usd: PicoUsd,
    /// The version of the price table. A trailing `?` means that the table does not have the model.
    pub price_version: String,
    /// Milliseconds from acceptance to the first upstream byte of the body.
    pub ttft_ms: Option<u64>,
    /// Milliseconds from acceptance to the end.
    pub duration_ms: u64,
    /// The number of upstream calls.
    pub attempts: u32,
    /// The accounts that were tried without success, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<TriedAccount>,
    /// The client's session, if the client sent one.
    pub session_id: Option<String>,
    /// The client's subagent, if the client sent one.
    pub agent_id: Option<String>,
    /// The passes inside the request, if the upstream lists them. Each pass was billed at the price
    /// of its model, so re-rating needs them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iterations: Vec<UsageIteration>,
    /// Whether the upstream claimed more than the request permitted. The cost is then the most that
    /// the request permitted, and the tokens are the claimed ones.
    #[serde(default, rename = "capped", skip_serializing_if = "std::ops::Not::not")]
    pub is_capped: bool,
    /// Whether the cost is the most that the answer can have cost, because Baton cut it before its
    /// usage came. The tokens are an estimate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub is_highest_cost: bool,
    /// The amount that was reserved against the key's limits, if any. The message has it, because
    /// the transaction that stores the record settles the reservation. The stored record has the
    /// amount of [`Self::amount_without_usage`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub reserved_usd: Option<PicoUsd>,
    /// The shared limits that have a reservation in addition to the key's item. Also only in the
    /// message, where the field has its name of Baton 0.1.0.
    #[serde(default, rename = "reserved_pools", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub reserved_shared_limits: Vec<LimitScope>,
}

/// An account that was tried without success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TriedAccount {
    /// The account.
    pub account_id: AccountId,
    /// The reason in words.
    pub reason: String,
}

impl std::fmt::Display for TriedAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.account_id, self.reason)
    }
}

/// Why a message cannot be stored as a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is not JSON, or fields of a record are missing.
    #[error("not a usage record: {0}")]
    Form(String),
    /// A newer version of the program wrote it.
    #[error("version {0} is newer than this program")]
    Newer(u32),
    /// It has a value that no request can have and that would make sums permanently wrong.
    #[error("`{0}` has a value that no request can have")]
    Value(&'static str),
}

impl RecordError {
    /// The error without any text of the message.
    pub fn kind_text(&self) -> String {
        match self {
            Self::Form(_) => "it is not a usage record".to_owned(),
            Self::Newer(_) | Self::Value(_) => self.to_string(),
        }
    }
}

/// An upper bound for every count; no request is billed for more. Sums of such counts stay far
/// below 2^64.
const COUNT_MAX: u64 = 1_000_000_000_000;
/// A million US dollars, more than one request can cost.
pub const COST_MAX: PicoUsd = PicoUsd::new(1_000_000_000_000_000_000);
/// A million million US dollars. At most [`COST_MAX`] is reserved now. Versions up to 0.1.0
/// reserved more, and such reservations must still be settled.
const RESERVED_MAX: PicoUsd = PicoUsd::new(1_000_000_000_000_000_000_000_000);
/// The model is part of a rollup's key, which DynamoDB limits to 1,024 bytes (2026-11).
const MODEL_BYTES_MAX: usize = 512;

impl UsageRecord {
    /// Reads a message of the queue.
    ///
    /// # Errors
    /// Why the message cannot be stored. Retrying does not help.
    pub fn parse(message: &str) -> Result<Self, RecordError> {
        let record: Self =
            serde_json::from_str(message).map_err(|error| RecordError::Form(error.to_string()))?;
        if record.v > VERSION {
            return Err(RecordError::Newer(record.v));
        }
        record.find_invalid_value().map_or(Ok(record), |field| Err(RecordError::Value(field)))
    }

    /// Whether a model that served the request had no price, so that the cost is an estimate. See
    /// [`UsageCost::version`](crate::price::UsageCost).
    pub fn is_unpriced(&self) -> bool {
        is_unpriced_version(&self.price_version)
    }

    /// Whether the record has a cost that is an estimate, because a model had no price. An
    /// unpriced request that an upstream refused costs nothing in any case.
    pub fn has_estimated_price(&self) -> bool {
        self.is_unpriced() && self.cost_usd > PicoUsd::ZERO
    }

    /// Whether refresh made this record because no usage record settled the request before its
    /// deadline; see [`Reservation::to_expired_record`](crate::reservation::Reservation::to_expired_record).
    pub fn is_expired_reservation(&self) -> bool {
        self.attempts == 0 && self.estimated && self.reserved_usd.is_some()
    }

    /// Whether the cost is the reserved amount, or more, because the usage is not known. The tokens
    /// are then an estimate that has no price.
    pub(crate) fn is_settled_at_reservation(&self) -> bool {
        let is_whole = |most| most > PicoUsd::ZERO && self.cost_usd >= most;
        self.estimated && self.reserved_usd.is_some_and(is_whole)
    }

    /// The cost, if it does not follow from the tokens because the usage is not known.
    pub fn amount_without_usage(&self) -> Option<PicoUsd> {
        let is_known = !self.is_highest_cost && !self.is_settled_at_reservation();
        (!is_known).then_some(self.cost_usd)
    }

    /// The record with every number reduced to the most that can be stored, since an upstream can
    /// claim anything. It is marked as capped if a number was reduced.
    #[must_use]
    pub fn within_bounds(mut self) -> Self {
        let mut is_capped = false;
        let mut bound = |count: &mut u64| {
            is_capped |= *count > COUNT_MAX;
            *count = (*count).min(COUNT_MAX);
        };
        let passes = self.iterations.iter_mut().map(|iteration| &mut iteration.tokens);
        for tokens in passes.chain([&mut self.tokens]) {
            let TokenCounts { input, output, cache_read, cache_write_5m, cache_write_1h } = tokens;
            for count in [input, output, cache_read, cache_write_5m, cache_write_1h] {
                bound(count);
            }
        }
        bound(&mut self.web_searches);
        is_capped |= self.cost_usd > COST_MAX;
        self.cost_usd = self.cost_usd.clamp(PicoUsd::ZERO, COST_MAX);
        self.is_capped |= is_capped;
        self.duration_ms = self.duration_ms.min(COUNT_MAX);
        self.ttft_ms = self.ttft_ms.map(|millis| millis.min(COUNT_MAX));
        self
    }

    fn find_invalid_value(&self) -> Option<&'static str> {
        let TokenCounts { input, output, cache_read, cache_write_5m, cache_write_1h } = self.tokens;
        let tokens = [input, output, cache_read, cache_write_5m, cache_write_1h];
        let is_money = |amount: PicoUsd, most| (PicoUsd::ZERO..=most).contains(&amount);
        let is_reservation = |amount| is_money(amount, RESERVED_MAX);
        let year = self.started_at.as_second() / (365 * 24 * 3600) + 1970;
        let checks = [
            ("tokens", tokens.into_iter().all(|count| count <= COUNT_MAX)),
            ("web_searches", self.web_searches <= COUNT_MAX),
            ("cost_usd", is_money(self.cost_usd, COST_MAX)),
            ("reserved_usd", self.reserved_usd.is_none_or(is_reservation)),
            ("ttft_ms", self.ttft_ms.unwrap_or_default() <= COUNT_MAX),
            ("duration_ms", self.duration_ms <= COUNT_MAX),
            ("started_at", (2020..2200).contains(&year)),
            ("model", (1..=MODEL_BYTES_MAX).contains(&self.model.len())),
        ];
        checks.into_iter().find(|(_, is_good)| !is_good).map(|(field, _)| field)
    }
}

impl UsageRecord {
    /// The billed usage in the form that the price table takes.
    pub fn usage(&self) -> BilledUsage {
        BilledUsage {
            tokens: self.tokens,
            web_searches: self.web_searches,
            service_tier: self.service_tier.clone(),
            inference_geo: self.inference_geo.clone(),
            speed: self.speed.clone(),
            iterations: self.iterations.clone(),
            estimated: self.estimated,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RequestOutcome {
    /// The upstream sent its complete answer.
    Complete,
    /// The client left before the end.
    ClientDisconnected,
    /// The upstream refused the request, failed or broke off.
    UpstreamError,
    /// A timeout of the relay or its platform ended the request.
    Deadline,
    /// The relay was stopped while the request was open.
    Stopped,
}

impl RequestOutcome {
    /// The name in the API and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientDisconnected => "client_disconnected",
            Self::UpstreamError => "upstream_error",
            Self::Deadline => "deadline",
            Self::Stopped => "stopped",
        }
    }

    /// Whether a summary counts this outcome as an error.
    pub fn is_error(self) -> bool {
        matches!(self, Self::UpstreamError | Self::Deadline | Self::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn good() -> Value {
        json!({
            "v": 1, "id": "req_1", "started_at": "2026-11-22T21:00:00Z", "key_id": "key_1",
            "user_id": null, "group_id": "grp_1", "account_id": "acc_1", "provider": "anthropic",
            "protocol": "anthropic_messages", "model": "m", "upstream_model": "m", "stream": true,
            "status": 200, "outcome": "complete", "estimated": false,
            "tokens": { "input": 1, "output": 1 }, "web_searches": 0, "service_tier": null,
            "inference_geo": null, "speed": null, "cost_usd": "0.1", "price_version": "t",
            "ttft_ms": 1, "duration_ms": 1, "attempts": 1, "session_id": null, "agent_id": null,
        })
    }

    #[test]
    fn huge_counts_are_capped() {
        let most = 1_u64 << 63;
        let mut message = good();
        message["tokens"] = json!({ "input": most, "output": most, "cache_read": most });
        message["web_searches"] = json!(most);
        message["duration_ms"] = json!(u64::MAX);
        message["iterations"] =
            json!([{ "kind": "message", "tokens": { "input": most, "output": 1 } }]);
        let mut record: UsageRecord = serde_json::from_value(message).unwrap();
        record.cost_usd = PicoUsd::MAX;
        let record = record.within_bounds();
        assert!(record.is_capped);
        assert_eq!(
            (record.tokens.input, record.iterations[0].tokens.input),
            (COUNT_MAX, COUNT_MAX)
        );
        assert_eq!(UsageRecord::parse(&serde_json::to_string(&record).unwrap()), Ok(record));
        let usual: UsageRecord = serde_json::from_value(good()).unwrap();
        assert_eq!(usual.clone().within_bounds(), usual);
    }

    #[test]
    fn only_a_cost_without_a_price_is_estimated() {
        let is_estimated = |version: &str, cost: i128| {
            let mut record: UsageRecord = serde_json::from_value(good()).unwrap();
            (record.price_version, record.cost_usd) = (version.to_owned(), PicoUsd::new(cost));
            let sums = crate::rollup::UsageSums::from_record(&record);
            assert_eq!(sums.unpriced, i64::from(record.has_estimated_price()));
            record.has_estimated_price()
        };
        assert!(is_estimated("t?", 1));
        assert!(!is_estimated("t?", 0) && !is_estimated("t", 1));
    }

    #[test]
    fn unreadable_message_is_refused_with_its_reason() {
        assert!(UsageRecord::parse(&good().to_string()).is_ok());
        let check = |path: &str, value: Value, expect: &str| {
            let mut message = good();
            *message.pointer_mut(path).unwrap() = value;
            let reason = UsageRecord::parse(&message.to_string()).unwrap_err();
            assert!(reason.kind_text().contains(expect), "{path}: {reason}");
        };
        check("/v", json!(2), "version 2");
        check("/id", json!("secret"), "it is not a usage record");
        check("/tokens/input", json!(-1), "it is not a usage record");
        check("/tokens/input", json!(u64::MAX), "`tokens`");
        check("/cost_usd", json!("-0.1"), "`cost_usd`");
        check("/cost_usd", json!("1000000.000000000001"), "`cost_usd`");
        check("/started_at", json!("9999-01-01T00:00:00Z"), "`started_at`");
        check("/started_at", json!("1969-01-01T00:00:00Z"), "`started_at`");
        check("/model", json!(""), "`model`");
        check("/model", json!("m".repeat(513)), "`model`");
        check("/web_searches", json!(u64::MAX), "`web_searches`");
        check("/duration_ms", json!(u64::MAX), "`duration_ms`");
    }
}
