//! Alerts: what is worth telling an operator, decided on paper, and in which words.
//!
//! When limits and accounts are looked at is refresh's business; how an alert is kept and
//! delivered `cloud`'s.

use crate::health::{Health, Rest, Standing, State};
use crate::id::AccountId;
use crate::key::Limits;
use crate::limit::Period;
use crate::money::PicoUsd;
use crate::reservation::Counted;
use crate::scope::Scope;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The shares of a limit that are told unless set otherwise, in percent.
pub const THRESHOLDS: [u32; 4] = [50, 80, 95, 100];

/// An account that rests for less is not worth a message.
const LONG: SignedDuration = SignedDuration::from_mins(5);
/// Nor is a circuit that is open for less: this is the third failure of a probe in a row.
const LONG_OPEN_SECONDS: u32 = 120;
/// What was settled just before a window's end is looked at after it.
const AFTERMATH: SignedDuration = SignedDuration::from_mins(10);

/// Where alerts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A POST to the operator's address.
    Webhook,
    /// A topic of Amazon SNS.
    Sns,
}

/// The form of a webhook's body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The alert itself.
    #[default]
    Json,
    /// What an incoming webhook of Slack takes: `{"text": …}`.
    Slack,
}

/// What operators set; the webhook's address and signing secret are kept sealed beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How a webhook is spoken to.
    pub form: Form,
    /// The shares of a limit that are told, in percent, smallest first.
    pub thresholds: Vec<u32>,
    /// The topic, if there is one.
    pub sns_topic_arn: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { form: Form::Json, thresholds: THRESHOLDS.to_vec(), sns_topic_arn: None }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The same for the same event: whoever writes it first is the only one.
    pub id: String,
    /// When it was noticed.
    pub at: Timestamp,
    /// What has happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// So much of a money limit is spent.
    Limit(LimitReached),
    /// What is left of a money limit was not enough for a request.
    LimitBlocks(LimitReached),
    /// An account's state is another one.
    Account {
        /// Which account.
        account_id: AccountId,
        /// Its name.
        name: String,
        /// How it is now.
        state: Told,
        /// Why, in words.
        reason: Option<String>,
        /// Until when it rests.
        until: Option<Timestamp>,
    },
    /// An account's upstream claimed more usage than a request permitted. The request was settled
    /// at the most that it permitted.
    UsageCapped {
        /// Which account.
        account_id: AccountId,
        /// Its name.
        name: String,
        /// A request for which it did so.
        request_id: String,
    },
    /// An operator wants to see whether messages arrive.
    Test,
}

/// So much of a money limit is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReached {
    /// What the limit is of.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// `daily`, `weekly`, `monthly`, `total`
    pub period: String,
    /// The threshold, in percent; where requests are turned away, what is spent, rounded down.
    pub percent: u32,
    /// What is spent and settled.
    pub spent_usd: PicoUsd,
    /// The limit.
    pub limit_usd: PicoUsd,
    /// When it begins anew.
    pub resets_at: Option<Timestamp>,
}

/// What was told of an account last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// It can be used.
    #[default]
    Ready,
    /// It rests for long.
    Cooling,
    /// The upstream refuses its credential.
    AuthFailed,
}

/// News of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// How it is now.
    pub state: Told,
    /// Why, in words.
    pub reason: Option<String>,
    /// Until when it rests.
    pub until: Option<Timestamp>,
}

impl Alert {
    /// In one line, for people.
    pub fn text(&self) -> String {
        match &self.event {
            Event::Limit(limit) => {
                let LimitReached { percent, period, .. } = limit;
                let (whose, amounts) = (limit.whose(), limit.amounts());
                format!("{whose}: {percent} % of the {period} limit is spent ({amounts})")
            }
            Event::LimitBlocks(limit) => {
                let (whose, period, amounts) = (limit.whose(), &limit.period, limit.amounts());
                format!("{whose}: the {period} limit turns requests away ({amounts})")
            }
            Event::Account { name, state, reason, until, .. } => {
                let state = match state {
                    Told::Ready => "is ready again",
                    Told::Cooling => "is out",
                    Told::AuthFailed => "is refused by its upstream; it needs another credential",
                };
                let until = until.map(|at| at.strftime(" until %Y-%m-%d %H:%M UTC").to_string());
                let reason = reason.as_ref().map(|reason| format!(" ({reason})"));
                let (until, reason) = (until.unwrap_or_default(), reason.unwrap_or_default());
                format!("account {name} {state}{until}{reason}")
            }
            Event::UsageCapped { name, request_id, .. } => format!(
                "account {name} claims more usage than its requests permit (first {request_id}); \
                 they are settled at the most that they permit"
            ),
            Event::Test => "this is a test: alerts arrive".to_owned(),
        }
    }

    /// What a webhook is sent.
    pub fn body(&self, form: Form) -> String {
        match form {
            Form::Json => {
                // Plain fields only: it always has a JSON form.
                let mut body = serde_json::to_value(self).unwrap_or_default();
                body["text"] = json!(self.text());
                body.to_string()
            }
            Form::Slack => json!({ "text": format!("Baton: {}", slack(&self.text())) }).to_string(),
        }
    }
}

impl LimitReached {
    fn whose(&self) -> String {
        match &self.scope {
            Scope::Organization => "the organization".to_owned(),
            scope => format!("{} {}", scope.kind(), self.name),
        }
    }

    fn amounts(&self) -> String {
        let resets = self.resets_at.map(|at| at.strftime("; resets %Y-%m-%d %H:%M UTC"));
        let resets = resets.map(|text| text.to_string()).unwrap_or_default();
        format!("{} of {} USD{resets}", dollars(self.spent_usd), dollars(self.limit_usd))
    }
}

/// Money for people: whole cents, cut off.
fn dollars(amount: PicoUsd) -> String {
    let text = amount.to_string();
    let cents = text.find('.').map_or(text.len(), |point| point + 3);
    text.get(..cents).unwrap_or(&text).to_owned()
}

/// The largest threshold that is reached. Of a limit of nothing everything is spent.
pub fn reached(spent: PicoUsd, limit: PicoUsd, thresholds: &[u32]) -> Option<u32> {
    let is_reached = |percent: &u32| {
        spent.pico().saturating_mul(100) >= limit.pico().saturating_mul(i128::from(*percent))
    };
    thresholds.iter().copied().filter(is_reached).max()
}

/// Text that Slack shows as it is: these three begin links, mentions and entities in it (Slack,
/// "Formatting text for app surfaces", 2026-11).
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What is known of the limits of a scope.
#[derive(Debug)]
pub struct Looked<'a> {
    /// What the limits are of.
    pub scope: &'a Scope,
    /// Its name.
    pub name: &'a str,
    /// The limits.
    pub limits: &'a Limits,
    /// What is counted against them.
    pub counted: &'a Counted,
    /// The windows, by name, in which a request was turned away for want of money.
    pub blocked: &'a BTreeSet<String>,
}

/// How much of it is spent, in percent, rounded down. Of a limit of nothing everything is.
fn share(spent: PicoUsd, limit: PicoUsd) -> u32 {
    let hundred = spent.pico().max(0).saturating_mul(100);
    hundred.checked_div(limit.pico()).map_or(100, |share| u32::try_from(share).unwrap_or(u32::MAX))
}

/// What is to be told of these limits: in each window the largest threshold that is reached, and
/// that requests are turned away. An alert's id holds window, limit and threshold, so it comes once
/// a period, and anew after the limit was changed.
pub fn of_limits(looked: &Looked<'_>, thresholds: &[u32], now: Timestamp) -> Vec<Alert> {
    let Looked { scope, name, limits, counted, blocked } = *looked;
    let before = now.saturating_sub(AFTERMATH).unwrap_or(now);
    let mut alerts = BTreeMap::new();
    for (period, limit) in limits.monies() {
        for at in [before, now] {
            let (window, spent) = (period.window(at), counted.spent(period, at));
            let of = |percent| LimitReached {
                scope: scope.clone(),
                name: name.to_owned(),
                period: Period::as_str(period).to_owned(),
                percent,
                spent_usd: spent,
                limit_usd: limit,
                resets_at: window.resets_at,
            };
            let mut tell = |mark: String, event| {
                let id = format!("limit#{scope}#{}#{}#{mark}", window.name, limit.pico());
                alerts.insert(id.clone(), Alert { id, at: now, event });
            };
            if let Some(percent) = reached(spent, limit, thresholds) {
                tell(percent.to_string(), Event::Limit(of(percent)));
            }
            if blocked.contains(&window.name) {
                tell("blocks".to_owned(), Event::LimitBlocks(of(share(spent, limit))));
            }
        }
    }
    alerts.into_values().collect()
}

/// What is to be told of an account that was last told to be `told`. A short rest is no news, and
/// neither is a circuit that waits for its probe.
pub fn of_account(told: Told, health: &Health, now: Timestamp) -> Option<News> {
    let news = match health.overall(now) {
        // The time that we have set is over, but nobody has been served since: it may well be out
        // again with the next request.
        Standing::Ready if awaits_operator(&health.state) && told != Told::Ready => return None,
        Standing::Ready => News { state: Told::Ready, reason: None, until: None },
        Standing::AuthFailed { reason, detail } => {
            let reason = detail.map_or_else(|| reason.to_string(), str::to_owned);
            News { state: Told::AuthFailed, reason: Some(reason), until: None }
        }
        Standing::Cooling { until, reason, .. } if is_long(&health.state, now) => {
            News { state: Told::Cooling, reason: Some(reason.to_string()), until: Some(until) }
        }
        Standing::Cooling { .. } | Standing::HalfOpen => return None,
    };
    (news.state != told).then_some(news)
}

fn awaits_operator(state: &State) -> bool {
    matches!(state, State::Cooling(rest) if rest.reason.needs_operator())
}

fn is_long(state: &State, now: Timestamp) -> bool {
    match state {
        State::Cooling(Rest { until, .. }) => until.duration_since(now) >= LONG,
        State::Open { seconds, .. } => *seconds >= LONG_OPEN_SECONDS,
        State::Ready | State::AuthFailed { .. } => false,
    }
}

#[cfg(test)]
#[path = "alert_table.rs"]
mod table;
