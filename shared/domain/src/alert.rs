//! Alerts: which changes operators are notified of, and the text of the message.
//!
//! The functions here are pure. Refresh decides when to check limits and accounts; `runtime` stores
//! and delivers alerts.

use crate::health::{AccountAvailability, AccountHealth, Cooldown, HealthState};
use crate::id::AccountId;
use crate::key::Limits;
use crate::limit::LimitPeriod;
use crate::money::PicoUsd;
use crate::reservation::LimitCounters;
use crate::scope::LimitScope;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The thresholds, in percent of a limit, that cause an alert unless the operator sets others.
pub const THRESHOLDS: [u32; 4] = [50, 80, 95, 100];

/// Cooldowns shorter than this do not cause an alert.
const COOLDOWN_ALERT_MIN: SignedDuration = SignedDuration::from_mins(5);
/// Circuits that are open for less do not cause an alert either. This value is reached at the third
/// failed probe in a row.
const CIRCUIT_ALERT_SECONDS_MIN: u32 = 120;
/// Limits are still checked for this long after the end of their window, for costs that were
/// settled just before it.
const LATE_SETTLEMENT_TIME: SignedDuration = SignedDuration::from_mins(10);

/// Where alerts are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertChannel {
    /// A POST to the operator's URL.
    Webhook,
    /// An Amazon SNS topic.
    Sns,
}

/// The format of a webhook's body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// The alert itself as JSON.
    #[default]
    Json,
    /// The format of a Slack incoming webhook: `{"text": …}`.
    Slack,
}

/// The operator's settings. The webhook's URL and signing secret are stored separately, encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertPreferences {
    /// The format of the webhook's body.
    pub form: WebhookFormat,
    /// The thresholds that cause an alert, in percent of a limit, smallest first.
    pub thresholds: Vec<u32>,
    /// The SNS topic, if one is set.
    pub sns_topic_arn: Option<String>,
}

impl Default for AlertPreferences {
    fn default() -> Self {
        Self { form: WebhookFormat::Json, thresholds: THRESHOLDS.to_vec(), sns_topic_arn: None }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The same for the same event, so that only the first write of an alert succeeds.
    pub id: String,
    /// When the event was noticed.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: AlertEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AlertEvent {
    /// Spending has reached a threshold of a money limit.
    Limit(LimitReached),
    /// A request was refused because too little of a money limit was left.
    LimitBlocks(LimitReached),
    /// The state of an account has changed.
    Account {
        /// The account.
        account_id: AccountId,
        /// The account's name.
        name: String,
        /// The new state.
        state: ReportedState,
        /// The reason, as text for people.
        reason: Option<String>,
        /// The end of the cooldown.
        until: Option<Timestamp>,
    },
    /// An upstream reported more usage than a request permitted. The request was charged with the
    /// most that it permitted.
    UsageCapped {
        /// The account.
        account_id: AccountId,
        /// The account's name.
        name: String,
        /// A request for which this happened.
        request_id: String,
    },
    /// A model without a price was used. The cost of its requests is an estimate.
    Unpriced {
        /// The model, as the upstream names it.
        model: String,
        /// The UTC day, `2026-11-22`.
        day: String,
    },
    /// An operator asked for a test message.
    Test,
}

/// The state of a money limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReached {
    /// The scope of the limit.
    pub scope: LimitScope,
    /// The scope's name.
    pub name: String,
    /// `daily`, `weekly`, `monthly`, `total`
    pub period: String,
    /// The threshold in percent. For refused requests: the percentage spent, rounded down.
    pub percent: u32,
    /// The amount spent and settled.
    pub spent_usd: PicoUsd,
    /// The limit.
    pub limit_usd: PicoUsd,
    /// When the next window begins.
    pub resets_at: Option<Timestamp>,
}

/// The account state in the last alert.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedState {
    /// The account can be used.
    #[default]
    Ready,
    /// The account is in a long cooldown.
    Cooling,
    /// The upstream refuses the account's credential.
    AuthFailed,
}

/// A change of an account's state that causes an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountNews {
    /// The new state.
    pub state: ReportedState,
    /// The reason, as text for people.
    pub reason: Option<String>,
    /// The end of the cooldown.
    pub until: Option<Timestamp>,
}

impl Alert {
    /// The alert as one line for people.
    pub fn to_text(&self) -> String {
        match &self.event {
            AlertEvent::Limit(limit) => {
                let LimitReached { percent, period, .. } = limit;
                let (whose, amounts) = (limit.scope_label(), limit.amounts_text());
                format!("{whose}: {percent} % of the {period} limit is spent ({amounts})")
            }
            AlertEvent::LimitBlocks(limit) => {
                let (whose, period, amounts) =
                    (limit.scope_label(), &limit.period, limit.amounts_text());
                format!("{whose}: requests are refused because of the {period} limit ({amounts})")
            }
            AlertEvent::Account { name, state, reason, until, .. } => {
                let state = match state {
                    ReportedState::Ready => "is ready again",
                    ReportedState::Cooling => "is not used",
                    ReportedState::AuthFailed => "cannot be used; it needs another credential",
                };
                let until = until.map(|at| at.strftime(" until %Y-%m-%d %H:%M UTC").to_string());
                let reason = reason.as_ref().map(|reason| format!(" ({reason})"));
                let (until, reason) = (until.unwrap_or_default(), reason.unwrap_or_default());
                format!("account {name} {state}{until}{reason}")
            }
            AlertEvent::UsageCapped { name, request_id, .. } => format!(
                "account {name} reports more usage than its requests permit (first: {request_id}); \
                 these requests are charged with the most that they permit"
            ),
            AlertEvent::Unpriced { model, .. } => format!(
                "the model {model} has no price; the cost of its requests is an estimate until a \
                 price is set"
            ),
            AlertEvent::Test => "this is a test alert".to_owned(),
        }
    }

    /// The body of the webhook request.
    pub fn webhook_body(&self, format: WebhookFormat) -> String {
        match format {
            WebhookFormat::Json => {
                // The alert has plain fields only, so serialization does not fail.
                let mut body = serde_json::to_value(self).unwrap_or_default();
                body["text"] = json!(self.to_text());
                body.to_string()
            }
            WebhookFormat::Slack => {
                json!({ "text": format!("Baton: {}", escape_slack(&self.to_text())) }).to_string()
            }
        }
    }
}

impl LimitReached {
    fn scope_label(&self) -> String {
        match &self.scope {
            LimitScope::Organization => "the organization".to_owned(),
            scope => format!("{} {}", scope.kind(), self.name),
        }
    }

    fn amounts_text(&self) -> String {
        let resets = self.resets_at.map(|at| at.strftime("; resets %Y-%m-%d %H:%M UTC"));
        let resets = resets.map(|text| text.to_string()).unwrap_or_default();
        format!(
            "{} of {} USD{resets}",
            format_dollars(self.spent_usd),
            format_dollars(self.limit_usd)
        )
    }
}

/// The amount for people: in dollars, cut off after the cents.
fn format_dollars(amount: PicoUsd) -> String {
    let text = amount.to_string();
    let cents = text.find('.').map_or(text.len(), |point| point + 3);
    text.get(..cents).unwrap_or(&text).to_owned()
}

/// The largest threshold that `spent` reaches. A limit of 0 is always fully spent.
pub(crate) fn reached_threshold(spent: PicoUsd, limit: PicoUsd, thresholds: &[u32]) -> Option<u32> {
    let is_reached = |percent: &u32| {
        spent.pico().saturating_mul(100) >= limit.pico().saturating_mul(i128::from(*percent))
    };
    thresholds.iter().copied().filter(is_reached).max()
}

/// Escapes the three characters that start links, mentions and entities in Slack, so that the text
/// appears unchanged (Slack, "Formatting text for app surfaces", 2026-11).
fn escape_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The limits of a scope and the amounts that count against them.
#[derive(Debug)]
pub struct LimitSnapshot<'a> {
    /// The scope of the limits.
    pub scope: &'a LimitScope,
    /// The scope's name.
    pub name: &'a str,
    /// The limits.
    pub limits: &'a Limits,
    /// The counters of these limits.
    pub counters: &'a LimitCounters,
    /// The names of the windows in which a request was refused because of a money limit.
    pub blocked: &'a BTreeSet<String>,
}

/// The percentage spent, rounded down. A limit of 0 is always fully spent.
fn spent_percent(spent: PicoUsd, limit: PicoUsd) -> u32 {
    let hundred = spent.pico().max(0).saturating_mul(100);
    hundred.checked_div(limit.pico()).map_or(100, |share| u32::try_from(share).unwrap_or(u32::MAX))
}

/// The alerts for these limits: for each window the largest threshold reached, and one more if
/// requests were refused. The id of an alert contains window, limit and threshold, so operators get
/// each alert once per period, and again after a change of the limit.
pub fn limit_alerts(
    snapshot: &LimitSnapshot<'_>,
    thresholds: &[u32],
    now: Timestamp,
) -> Vec<Alert> {
    let LimitSnapshot { scope, name, limits, counters, blocked } = *snapshot;
    let before = now.saturating_sub(LATE_SETTLEMENT_TIME).unwrap_or(now);
    let mut alerts = BTreeMap::new();
    for (period, limit) in limits.money_limits() {
        for time in [before, now] {
            let (window, spent) = (period.window(time), counters.spent(period, time));
            let of = |percent| LimitReached {
                scope: scope.clone(),
                name: name.to_owned(),
                period: LimitPeriod::as_str(period).to_owned(),
                percent,
                spent_usd: spent,
                limit_usd: limit,
                resets_at: window.resets_at,
            };
            let mut add_alert = |mark: String, event| {
                let id = format!("limit#{scope}#{}#{}#{mark}", window.name, limit.pico());
                alerts.insert(id.clone(), Alert { id, at: now, event });
            };
            if let Some(percent) = reached_threshold(spent, limit, thresholds) {
                add_alert(percent.to_string(), AlertEvent::Limit(of(percent)));
            }
            if blocked.contains(&window.name) {
                add_alert(
                    "blocks".to_owned(),
                    AlertEvent::LimitBlocks(of(spent_percent(spent, limit))),
                );
            }
        }
    }
    alerts.into_values().collect()
}

/// The alert for an account, if its state differs from `reported`, the state in its last alert.
/// Short cooldowns and circuits that wait for their probe do not cause an alert.
pub fn account_news(
    reported: ReportedState,
    health: &AccountHealth,
    now: Timestamp,
) -> Option<AccountNews> {
    let change = match health.overall(now) {
        // Baton's own estimate of the cooldown is over, but no request has succeeded since. The
        // next request may fail as the last one did.
        AccountAvailability::Ready
            if needs_operator(&health.state) && reported != ReportedState::Ready =>
        {
            return None;
        }
        AccountAvailability::Ready => {
            AccountNews { state: ReportedState::Ready, reason: None, until: None }
        }
        AccountAvailability::AuthFailed { reason, detail } => {
            let reason = detail.map_or_else(|| reason.to_string(), str::to_owned);
            AccountNews { state: ReportedState::AuthFailed, reason: Some(reason), until: None }
        }
        AccountAvailability::Cooling { until, reason, .. } if lasts_long(&health.state, now) => {
            AccountNews {
                state: ReportedState::Cooling,
                reason: Some(reason.to_string()),
                until: Some(until),
            }
        }
        AccountAvailability::Cooling { .. } | AccountAvailability::HalfOpen => return None,
    };
    (change.state != reported).then_some(change)
}

fn needs_operator(state: &HealthState) -> bool {
    matches!(state, HealthState::Cooling(rest) if rest.reason.needs_operator())
}

fn lasts_long(state: &HealthState, now: Timestamp) -> bool {
    match state {
        HealthState::Cooling(Cooldown { until, .. }) => {
            until.duration_since(now) >= COOLDOWN_ALERT_MIN
        }
        HealthState::Open { seconds, .. } => *seconds >= CIRCUIT_ALERT_SECONDS_MIN,
        HealthState::Ready | HealthState::AuthFailed { .. } => false,
    }
}

#[cfg(test)]
mod tests;
