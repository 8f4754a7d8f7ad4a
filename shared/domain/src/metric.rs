//! What is counted, and under which names: no label has more values than can be listed here.
//!
//! Counting itself is `cloud`'s business.

use crate::account::Account;
use crate::health::{Health, Standing};
use jiff::Timestamp;

/// Namespace of the metrics that the functions write into their logs (`template.yaml`).
pub const NAMESPACE: &str = "Baton";
/// Their one dimension: the name of the stack.
pub const STACK: &str = "Stack";

/// A metric that a function writes into its log, for the alarms and the dashboard of the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogMetric {
    /// Accounts whose credential is refused; by refresh, at each tick.
    AuthFailedAccounts,
    /// What the new events of a batch cost, in US dollars; by stats.
    SpendUsd,
}

impl LogMetric {
    /// Its name in CloudWatch.
    pub fn name(self) -> &'static str {
        match self {
            Self::AuthFailedAccounts => "AuthFailedAccounts",
            Self::SpendUsd => "SpendUsd",
        }
    }

    /// Its unit, of those that CloudWatch knows (API reference, `MetricDatum`, 2026-11).
    pub fn unit(self) -> &'static str {
        match self {
            Self::AuthFailedAccounts => "Count",
            Self::SpendUsd => "None",
        }
    }
}

/// An account's state in one word, as `GET /accounts` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountState {
    /// It can be used, if only by one request that probes it.
    Ready,
    /// Not for a while.
    Cooling,
    /// Its credential is refused.
    AuthFailed,
    /// An operator has switched it off.
    Disabled,
}

impl AccountState {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Cooling, Self::AuthFailed, Self::Disabled];

    /// The state of `account` at `now`.
    pub fn of(account: &Account, health: &Health, now: Timestamp) -> Self {
        match health.overall(now) {
            _ if !account.enabled => Self::Disabled,
            Standing::Ready | Standing::HalfOpen => Self::Ready,
            Standing::Cooling { .. } => Self::Cooling,
            Standing::AuthFailed { .. } => Self::AuthFailed,
        }
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Cooling => "cooling",
            Self::AuthFailed => "auth_failed",
            Self::Disabled => "disabled",
        }
    }
}
