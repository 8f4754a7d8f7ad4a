//! The names of all metrics. The values of every label are limited to the ones listed here.
//!
//! The counters themselves are in `runtime`.

use crate::account::Account;
use crate::health::{AccountAvailability, AccountHealth};
use crate::price::PriceTable;
use crate::usage::TokenCounts;
use crate::verdict::CallFailure;
use jiff::Timestamp;

/// The namespace of the metrics that the functions write into their logs (`template.yaml`).
pub const NAMESPACE: &str = "Baton";
/// The only dimension of these metrics: the name of the stack.
pub const STACK: &str = "Stack";

/// A metric that a function writes into its log, for the alarms and the dashboard of the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogMetric {
    /// The number of accounts whose credential is refused; refresh writes it at each tick.
    AuthFailedAccounts,
    /// The cost of the new events of a batch, in US dollars; stats writes it.
    SpendUsd,
}

impl LogMetric {
    /// The name in CloudWatch.
    pub fn name(self) -> &'static str {
        match self {
            Self::AuthFailedAccounts => "AuthFailedAccounts",
            Self::SpendUsd => "SpendUsd",
        }
    }

    /// The unit, one of those that CloudWatch supports (API reference, `MetricDatum`, 2026-11).
    pub fn unit(self) -> &'static str {
        match self {
            Self::AuthFailedAccounts => "Count",
            Self::SpendUsd => "None",
        }
    }
}

/// An account's state in one word, as in the answer of `GET /accounts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountState {
    /// It can be used, or one request can test it.
    Ready,
    /// The upstream last refused the account, and only a request shows whether it still does.
    Unproven,
    /// Not used until a cooldown ends.
    Cooling,
    /// The upstream refuses its credential.
    AuthFailed,
    /// An operator has disabled it.
    Disabled,
}

impl AccountState {
    /// All states.
    pub const ALL: [Self; 5] =
        [Self::Ready, Self::Unproven, Self::Cooling, Self::AuthFailed, Self::Disabled];

    /// The state of `account` at `now`.
    pub fn from_health(account: &Account, health: &AccountHealth, now: Timestamp) -> Self {
        match health.overall(now) {
            _ if !account.enabled => Self::Disabled,
            AccountAvailability::HalfOpen if health.refusal_in_doubt().is_some() => Self::Unproven,
            AccountAvailability::Ready | AccountAvailability::HalfOpen => Self::Ready,
            AccountAvailability::Cooling { .. } => Self::Cooling,
            AccountAvailability::AuthFailed { .. } => Self::AuthFailed,
        }
    }

    /// The word for this state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Unproven => "unproven",
            Self::Cooling => "cooling",
            Self::AuthFailed => "auth_failed",
            Self::Disabled => "disabled",
        }
    }
}

/// The number of accounts in each state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountStateCounts(Vec<AccountState>);

impl AccountStateCounts {
    /// The number of accounts in this state.
    pub fn count(&self, state: AccountState) -> u64 {
        self.0.iter().filter(|one| **one == state).count() as u64
    }
}

impl Extend<AccountState> for AccountStateCounts {
    fn extend<T: IntoIterator<Item = AccountState>>(&mut self, states: T) {
        self.0.extend(states);
    }
}

/// The values of all gauges: they are not counted as events happen, but read when somebody asks for
/// metrics. A value that could not be read is absent.
#[derive(Debug, Default)]
pub struct GaugeReadings {
    /// The number of accounts in each state.
    pub accounts: Option<AccountStateCounts>,
    /// Usage records that the queue did not accept and that wait in the store.
    pub pending: Option<u64>,
    /// Usage records in the queue.
    pub queued: Option<u64>,
    /// Usage records that could not be stored.
    pub dead_letters: Option<u64>,
}

/// A metric's name and description.
#[derive(Debug, Clone, Copy)]
pub struct MetricName {
    /// The name, with dots between its words; `/metrics` writes underscores.
    pub name: &'static str,
    /// The description in one sentence.
    pub help: &'static str,
}

const fn new_metric(name: &'static str, help: &'static str) -> MetricName {
    MetricName { name, help }
}

/// By `protocol` (the client's), `status` and `outcome`.
pub const REQUESTS: MetricName = new_metric(
    "baton.requests",
    "Finished requests, by the client's protocol, status and outcome.",
);
/// By kind and model.
pub const TOKENS: MetricName = new_metric("baton.tokens", "Tokens as billed.");
/// By model.
pub const SPEND_USD: MetricName =
    new_metric("baton.spend.usd", "List price of the usage, in US dollars.");
/// Without labels: any client can name a model.
pub const UNPRICED: MetricName = new_metric(
    "baton.usage.unpriced",
    "Requests whose cost is an estimate: their model has no price.",
);
/// In seconds.
pub const TTFT: MetricName =
    new_metric("baton.ttft", "Seconds from a request's acceptance to the answer's first byte.");
/// In seconds.
pub const DURATION: MetricName =
    new_metric("baton.duration", "Seconds from a request's acceptance to its end.");
/// By provider and result.
pub const ATTEMPTS: MetricName = new_metric("baton.upstream.attempts", "Calls to upstreams.");
/// By cause.
pub const FAILOVERS: MetricName = new_metric(
    "baton.failovers",
    "Failovers to another account, by the cause of the failed attempt.",
);
/// A gauge.
pub const OPEN_STREAMS: MetricName =
    new_metric("baton.streams.open", "Answers that are being sent now.");
/// A gauge, by state.
pub const ACCOUNTS: MetricName = new_metric("baton.accounts", "Upstream accounts by their state.");
/// A gauge.
pub const PENDING: MetricName = new_metric(
    "baton.usage.pending",
    "Usage records that the queue did not accept and that will be sent again.",
);
/// A gauge.
pub const QUEUED: MetricName = new_metric("baton.usage.queued", "Usage records in the queue.");
/// A gauge.
pub const DEAD_LETTERS: MetricName =
    new_metric("baton.usage.dead_letters", "Usage records that could not be stored.");
/// Always 1, by version.
pub const BUILD_INFO: MetricName = new_metric("baton.build.info", "The running version.");

/// The upper bounds of the histograms' buckets in milliseconds, from a quick refusal to a long
/// answer.
pub const BUCKETS_MS: [u32; 14] = [
    50, 100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000,
];

/// The outcome of a request that was refused before an upstream was called.
pub const REFUSED: &str = "refused";

/// Token counts by kind, with the names that usage records use.
pub fn token_kinds(tokens: &TokenCounts) -> [(&'static str, u64); 5] {
    let TokenCounts { input, output, cache_read, cache_write_5m, cache_write_1h } = *tokens;
    [
        ("input", input),
        ("output", output),
        ("cache_read", cache_read),
        ("cache_write_5m", cache_write_5m),
        ("cache_write_1h", cache_write_1h),
    ]
}

/// The label value for `model`. Clients choose model names, so only models in the price table get a
/// separate value.
pub fn model_label(model: &str) -> &'static str {
    PriceTable::builtin().known(model).unwrap_or("other")
}

/// The cause of a failed upstream call, as one of a few fixed words.
pub fn cause(failure: &CallFailure<'_>) -> &'static str {
    match failure {
        CallFailure::Status(error) => match error.status {
            401 | 403 => "credential",
            402 | 429 => "rate_limit",
            529 => "overloaded",
            500.. => "server_error",
            _ => "client_error",
        },
        CallFailure::FirstEvent(_) => "first_event",
        CallFailure::Unreachable | CallFailure::IncompleteResponse => "unreachable",
        CallFailure::Timeout => "timeout",
        CallFailure::InvalidResponse | CallFailure::UnusableResponse => "invalid_answer",
        CallFailure::NotAsked => "not_asked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_labels_are_bounded() {
        assert_eq!(model_label("claude-opus-4-5-20251101"), "claude-opus-4-5");
        assert_eq!(model_label("us.anthropic.claude-opus-4-5-20251101-v1:0"), "claude-opus-4-5");
        assert_eq!(model_label("my secret project"), "other");
    }

    #[test]
    fn each_failure_has_one_label() {
        let check = |status: u16, word: &str| {
            let (announced, error) = <_>::default();
            let response = crate::verdict::UpstreamError {
                status,
                announced: &announced,
                error: &error,
                is_billed: false,
            };
            assert_eq!(cause(&CallFailure::Status(response)), word, "{status}");
        };
        check(400, "client_error");
        check(401, "credential");
        check(429, "rate_limit");
        check(503, "server_error");
        check(529, "overloaded");
        assert_eq!(cause(&CallFailure::Timeout), "timeout");
    }
}
