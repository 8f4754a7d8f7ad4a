//! The health of an account and its three pure transitions. A transition returns `None` if nothing
//! changes, so that steady traffic causes no writes.
//!
//! `store` stores the health. [`crate::verdict`] decides the effect of a failure.

mod circuit;
mod utilization;

pub use circuit::{after_complete_answer, probing};
pub use utilization::{UpstreamUtilization, UtilizationWindow};

use crate::cooldown_reason::CooldownReason;
use crate::request_tier::RequestTier;
use crate::verdict::{AccountEffect, CooldownScope};
use circuit::{OPEN_SECONDS_MAX, after_broken_answer, after_server_error};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long processes use a credential that was replaced: they read accounts again after at most 10 s.
const REPLACEMENT_DELAY: SignedDuration = SignedDuration::from_secs(15);
/// Two ends of a cooldown that differ by less count as equal.
const COOLDOWN_CHANGE_MIN: SignedDuration = SignedDuration::from_secs(1);
/// The most models that can be in a cooldown at the same time, and the most of these that can be
/// there because they are unavailable. Clients choose the names of models, so invented names must
/// not make an item grow or displace a real limit.
const MODELS_MAX: usize = 48;
const UNAVAILABLE_MAX: usize = 16;
/// The most model families that can be in a cooldown at the same time. An upstream names them.
const FAMILIES_MAX: usize = 16;
/// Models with longer names are not stored (the ARN of an inference profile has about 150 bytes).
const MODEL_BYTES_MAX: usize = 256;

/// The state of an account, as far as Baton knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountHealth {
    /// The account as a whole.
    pub state: HealthState,
    /// Cooldowns of single model families, by their name in model ids (`opus`).
    #[serde(default)]
    pub families: BTreeMap<String, Cooldown>,
    /// Cooldowns of single models, by their name at the upstream, or of one of their tiers, by
    /// [`RequestTier::model_key`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, Cooldown>,
    /// The cooldown of requests with `speed: fast`, which have a separate limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast: Option<Cooldown>,
    /// The free call for which this upstream refuses an invented credential, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<KnownProbe>,
    /// The times of the latest failures of the kind that opens the circuit. Stored as `strikes`,
    /// the name that 0.1.0 used.
    #[serde(default, rename = "strikes")]
    pub recent_failures: Vec<Timestamp>,
    /// How long the circuit was open before the current answers, of which none is complete yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_open_seconds: Option<u32>,
    /// How much of the upstream's limits is used. Stored under the name that 0.1.0 used.
    #[serde(default, rename = "utilisation")]
    pub utilization: UpstreamUtilization,
    /// The end of the last or current outage. Sessions can have moved because of it.
    #[serde(default)]
    pub out_until: Option<Timestamp>,
    /// When the last calls with another credential, address or proxy can have begun. What they show
    /// is not about the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_at: Option<Timestamp>,
}

/// The state of the account as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum HealthState {
    /// No failure counts against the account.
    #[default]
    Ready,
    /// The account is not used until the cooldown ends.
    Cooling(Cooldown),
    /// The account failed repeatedly. It is not used for a while and then tested by one request.
    Open {
        /// When a request can test the account.
        until: Timestamp,
        /// How long the circuit was opened for, in seconds.
        seconds: u32,
        /// The reason of the last failure.
        reason: CooldownReason,
        /// The time until which a request is testing the account.
        probe_until: Option<Timestamp>,
    },
    /// The upstream refuses the credential. Only an operator or a credential probe changes this.
    AuthFailed {
        /// When the upstream first refused it.
        since: Timestamp,
        /// The reason.
        reason: CooldownReason,
        /// The token endpoint's own message, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

/// A free call that tests a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeCall {
    /// A request for the list of models.
    ListModels,
    /// A token count.
    CountTokens,
    /// A chat completion without messages, which is always refused.
    EmptyChat,
}

/// The results of the free calls to one upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownProbe {
    /// The upstream's base URL.
    pub base_url: String,
    /// The call that refuses an invented credential; `None` if no call does.
    pub call: Option<ProbeCall>,
}

/// A cooldown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    /// The end of the cooldown.
    pub until: Timestamp,
    /// The reason.
    pub reason: CooldownReason,
    /// Whether the length is an estimate because the upstream has not named a time.
    #[serde(default, rename = "is_guess")]
    pub is_estimated: bool,
    /// The issue number of the refused token, see [`crate::upstream_token::TokenStatus::issue`]. A
    /// token with another number ends the cooldown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_issue: Option<u64>,
    /// The length in seconds, if a repetition doubles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubled_seconds: Option<u32>,
}

/// The meaning of an account's health at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountAvailability<'a> {
    /// The account can be used.
    Ready,
    /// One request can test the account; see [`probing`].
    HalfOpen,
    /// Not used before `until`.
    Cooling {
        /// The end of the cooldown.
        until: Timestamp,
        /// The reason.
        reason: CooldownReason,
        /// Whether the time is an estimate: the account can be used earlier if no other is left.
        is_estimated: bool,
    },
    /// Not used at all.
    AuthFailed {
        /// The reason.
        reason: CooldownReason,
        /// The token endpoint's own message, if any.
        detail: Option<&'a str>,
    },
}

impl AccountHealth {
    /// The availability at `now` for a request for `model`, by its name at the account's upstream,
    /// with or without fast speed, in the tier.
    pub(crate) fn availability(
        &self,
        model: &str,
        is_fast: bool,
        tier: RequestTier,
        now: Timestamp,
    ) -> AccountAvailability<'_> {
        match self.overall(now) {
            AccountAvailability::Ready => {}
            other => return other,
        }
        let family = self.families.iter().filter(|(family, _)| is_of(family, model));
        let in_tier = (tier != RequestTier::Standard)
            .then(|| self.models.get(tier.model_key(model).as_ref()))
            .flatten();
        let models = self.models.get(model).into_iter().chain(in_tier);
        let cooldowns = family.map(|(_, cooldown)| cooldown).chain(models);
        let cooldowns = cooldowns.chain(self.fast.as_ref().filter(|_| is_fast));
        // A time that the upstream named has priority over an estimate.
        let longest = cooldowns
            .filter(|rest| rest.until > now)
            .max_by_key(|rest| (!rest.is_estimated, rest.until));
        longest.map_or(AccountAvailability::Ready, Cooldown::to_availability)
    }

    /// Whether an account's availability depends on the requested model or speed.
    pub(crate) fn has_partial_cooldowns(&self) -> bool {
        !self.families.is_empty() || !self.models.is_empty() || self.fast.is_some()
    }

    /// The health after the account gets this token: cooldowns of other tokens end. `None` if there
    /// were none.
    pub fn with_token(&self, token_version: u64) -> Option<Self> {
        let is_over = |cooldown: &Cooldown| {
            cooldown.token_issue.is_some_and(|refused| refused != token_version)
        };
        match &self.state {
            HealthState::Cooling(cooldown) if is_over(cooldown) => {
                Some(self.with(HealthState::Ready))
            }
            _ => None,
        }
    }

    /// The reason of the last refusal, if only the next request shows whether the upstream still
    /// refuses the account. In this state a free call proves nothing, and no cooldown is left.
    pub fn refusal_in_doubt(&self) -> Option<CooldownReason> {
        match &self.state {
            HealthState::Open { reason, .. } if reason.needs_operator() => Some(*reason),
            _ => None,
        }
    }

    /// The availability of the account as a whole at `now`.
    pub fn overall(&self, now: Timestamp) -> AccountAvailability<'_> {
        match &self.state {
            HealthState::Cooling(cooldown) if cooldown.until > now => cooldown.to_availability(),
            HealthState::Open { until, reason, .. } if *until > now => {
                AccountAvailability::Cooling { until: *until, reason: *reason, is_estimated: true }
            }
            HealthState::Open { probe_until: Some(until), reason, .. } if *until > now => {
                AccountAvailability::Cooling { until: *until, reason: *reason, is_estimated: true }
            }
            HealthState::Open { .. } => AccountAvailability::HalfOpen,
            HealthState::AuthFailed { reason, detail, .. } => {
                AccountAvailability::AuthFailed { reason: *reason, detail: detail.as_deref() }
            }
            HealthState::Ready | HealthState::Cooling(_) => AccountAvailability::Ready,
        }
    }

    /// Whether the account was unavailable at any time in the last `within`. If so, some of its
    /// sessions can have moved to other accounts.
    pub fn was_unavailable_within(&self, within: SignedDuration, now: Timestamp) -> bool {
        matches!(self.state, HealthState::AuthFailed { .. })
            || self.out_until.is_some_and(|until| now.duration_since(until) < within)
    }

    /// Whether the account is or ever was unavailable.
    pub fn was_ever_unavailable(&self) -> bool {
        self.out_until.is_some() || matches!(self.state, HealthState::AuthFailed { .. })
    }

    /// The health without any failure; the utilization is kept.
    #[must_use]
    pub fn reset(&self, now: Timestamp) -> Self {
        let is_out = !matches!(self.overall(now), AccountAvailability::Ready);
        let unavailable_until = if is_out { Some(now) } else { self.out_until };
        let last_probe = self.proof.clone();
        Self {
            utilization: self.utilization,
            out_until: unavailable_until,
            proof: last_probe,
            replaced_at: self.replaced_at,
            ..Self::default()
        }
    }

    /// The health after the credential, the address or the proxy was replaced at `now`. Other
    /// processes can use the earlier one for [`REPLACEMENT_DELAY`].
    #[must_use]
    pub fn replaced(&self, now: Timestamp) -> Self {
        let replaced_at = Some(now.saturating_add(REPLACEMENT_DELAY).unwrap_or(Timestamp::MAX));
        Self { replaced_at, ..self.reset(now) }
    }

    /// Whether a call that began at `called_at` was made with the present credential and address.
    pub fn is_about(&self, called_at: Timestamp) -> bool {
        self.replaced_at.is_none_or(|replaced_at| called_at >= replaced_at)
    }

    /// The health after `change`, which is what a call that began at `called_at` shows. `None` if the
    /// call was made with an earlier credential or address, or if nothing changes.
    pub fn after_call(
        &self,
        called_at: Timestamp,
        change: impl FnOnce(&Self) -> Option<Self>,
    ) -> Option<Self> {
        if self.is_about(called_at) { change(self) } else { None }
    }

    fn with(&self, state: HealthState) -> Self {
        Self { state, ..self.clone() }
    }
}

impl Cooldown {
    /// A cooldown that does not depend on a token.
    pub fn new(until: Timestamp, reason: CooldownReason, is_estimated: bool) -> Self {
        Self { until, reason, is_estimated, token_issue: None, doubled_seconds: None }
    }

    /// The cooldown after `last`, the one before it for the same model. If repetitions double the
    /// length and `last` has ended a short time ago, it is twice as long as `last`, at most
    /// [`OPEN_SECONDS_MAX`]. While `last` lasts, its length is kept.
    fn doubled_after(self, last: Option<&Self>, now: Timestamp) -> Self {
        let Some(seconds) = self.doubled_seconds else { return self };
        let last = last.filter(|last| last.is_repeatable_at(now));
        let Some(before) = last.and_then(|last| last.doubled_seconds) else { return self };
        if last.is_some_and(|last| last.until > now) {
            return Self { doubled_seconds: Some(seconds.max(before)), ..self };
        }
        let seconds = seconds.max(before.saturating_mul(2)).min(OPEN_SECONDS_MAX);
        let until = now.saturating_add(SignedDuration::from_secs(seconds.into()));
        let until = until.unwrap_or(Timestamp::MAX);
        Self { until, doubled_seconds: Some(seconds), ..self }
    }

    /// Whether a further cooldown at `now` counts as a repetition of this one.
    fn is_repeatable_at(&self, now: Timestamp) -> bool {
        let after = SignedDuration::from_secs(OPEN_SECONDS_MAX.into());
        self.doubled_seconds.is_some() && now.duration_since(self.until) < after
    }

    fn to_availability(&self) -> AccountAvailability<'_> {
        AccountAvailability::Cooling {
            until: self.until,
            reason: self.reason,
            is_estimated: self.is_estimated,
        }
    }
}

/// Whether `model` belongs to `family`, which must be one of the words of its id.
fn is_of(family: &str, model: &str) -> bool {
    model.split(['-', '.', '/', ':', '@']).any(|word| word.eq_ignore_ascii_case(family))
}

/// The health after a failure with these `effects`.
pub fn after_all(
    health: &AccountHealth,
    effects: &[AccountEffect],
    now: Timestamp,
) -> Option<AccountHealth> {
    effects.iter().fold(None, |changed, effect| {
        after(changed.as_ref().unwrap_or(health), effect, now).or(changed)
    })
}

/// The health after an answer with a good start failed with this `effect`.
pub fn after_late_failure(
    health: &AccountHealth,
    effect: &AccountEffect,
    now: Timestamp,
) -> Option<AccountHealth> {
    match effect {
        AccountEffect::CountFailure { reason } => after_broken_answer(health, *reason, now),
        _ => after(health, effect, now),
    }
}

/// The health after a failure with this `effect`.
pub fn after(
    health: &AccountHealth,
    effect: &AccountEffect,
    now: Timestamp,
) -> Option<AccountHealth> {
    if matches!(health.state, HealthState::AuthFailed { .. }) {
        return None;
    }
    let (after, until) = match effect {
        // A suspicion does not count against the account until a credential probe has confirmed it.
        AccountEffect::Nothing | AccountEffect::NotPermitted | AccountEffect::Suspect { .. } => {
            return None;
        }
        AccountEffect::Cooldown {
            scope,
            until,
            reason,
            is_estimated,
            token_version: token_issue,
            doubles,
        } => {
            let (until, token_version) = (*until, *token_issue);
            let seconds = u32::try_from(until.duration_since(now).as_secs()).unwrap_or_default();
            let rest = Cooldown {
                until,
                reason: *reason,
                is_estimated: *is_estimated,
                token_issue: token_version,
                doubled_seconds: doubles.then_some(seconds),
            };
            let after = match scope {
                CooldownScope::Account => cool_account(health, rest, now),
                CooldownScope::Family(family) => cool_family(health, family, rest, now),
                CooldownScope::Model(model) => cool_model(health, model, rest, now),
                CooldownScope::Fast => cool_fast_mode(health, rest, now),
            };
            // A client can invent a model name, and sessions must not avoid the account because of
            // that.
            if matches!(scope, CooldownScope::Model(_)) && *is_estimated {
                return after;
            }
            (after?, until)
        }
        AccountEffect::CountFailure { reason } => {
            return after_server_error(health, *reason, now);
        }
    };
    let unavailable_until = after.out_until.max(Some(until));
    Some(AccountHealth { out_until: unavailable_until, ..after })
}

/// The health after the upstream refused the credential, with the reason and the token endpoint's
/// message.
pub fn after_refusal(
    health: &AccountHealth,
    reason: CooldownReason,
    detail: Option<&str>,
    now: Timestamp,
) -> Option<AccountHealth> {
    match health.state {
        HealthState::AuthFailed { reason: CooldownReason::Unknown, .. }
            if reason != CooldownReason::Unknown => {}
        HealthState::AuthFailed { .. } => return None,
        _ => {}
    }
    let detail = detail.map(str::to_owned);
    let after = health.with(HealthState::AuthFailed { since: now, reason, detail });
    Some(AccountHealth { out_until: after.out_until.max(Some(now)), ..after })
}

fn cool_account(
    health: &AccountHealth,
    cooldown: Cooldown,
    now: Timestamp,
) -> Option<AccountHealth> {
    let known = match &health.state {
        // The probe failed for another reason than the one that opened the circuit.
        HealthState::Open { probe_until: Some(_), .. } => None,
        // A time that the upstream named has priority over an estimate.
        HealthState::Cooling(Cooldown { is_estimated: true, .. }) | HealthState::Open { .. }
            if !cooldown.is_estimated =>
        {
            None
        }
        HealthState::Cooling(current)
            if current.until > now && !current.is_estimated && cooldown.is_estimated =>
        {
            return None;
        }
        HealthState::Cooling(Cooldown { until, .. }) | HealthState::Open { until, .. } => {
            Some(*until)
        }
        HealthState::Ready | HealthState::AuthFailed { .. } => Some(now),
    };
    let is_significant = known.is_none_or(|known| is_later(cooldown.until, known.max(now)));
    is_significant.then(|| health.with(HealthState::Cooling(cooldown)))
}

fn cool_family(
    health: &AccountHealth,
    family: &str,
    cooldown: Cooldown,
    now: Timestamp,
) -> Option<AccountHealth> {
    let known = health.families.get(family).map_or(now, |current| current.until.max(now));
    is_later(cooldown.until, known).then(|| {
        let mut after = health.clone();
        after.families.retain(|_, cooldown| cooldown.until > now);
        after.families.insert(family.to_owned(), cooldown);
        if after.families.len() > FAMILIES_MAX {
            let first = after.families.iter().min_by_key(|(_, rest)| rest.until);
            let first = first.map(|(family, _)| family.clone()).unwrap_or_default();
            after.families.remove(&first);
        }
        after
    })
}

fn cool_model(
    health: &AccountHealth,
    model: &str,
    cooldown: Cooldown,
    now: Timestamp,
) -> Option<AccountHealth> {
    if model.len() > MODEL_BYTES_MAX {
        return None;
    }
    let rest = cooldown.doubled_after(health.models.get(model), now);
    let current = health.models.get(model).filter(|current| current.until > now);
    match current {
        Some(current) if !current.is_estimated && rest.is_estimated => return None,
        Some(current)
            if current.is_estimated == rest.is_estimated
                && !is_later(rest.until, current.until) =>
        {
            return None;
        }
        None if !is_later(rest.until, now) => return None,
        _ => {}
    }
    let mut after = health.clone();
    after.models.retain(|_, rest| rest.until > now || rest.is_repeatable_at(now));
    let is_unavailable = |cooldown: &Cooldown| cooldown.reason == CooldownReason::ModelUnavailable;
    let unavailable = is_unavailable(&rest);
    after.models.insert(model.to_owned(), rest);
    let count = after.models.values().filter(|rest| is_unavailable(rest) == unavailable).count();
    let most = if unavailable { UNAVAILABLE_MAX } else { MODELS_MAX - UNAVAILABLE_MAX };
    if count > most {
        let alike =
            after.models.iter().filter(|(_, cooldown)| is_unavailable(cooldown) == unavailable);
        let first =
            alike.min_by_key(|(_, cooldown)| cooldown.until).map(|(model, _)| model.clone());
        after.models.remove(&first?);
    }
    Some(after)
}

fn cool_fast_mode(
    health: &AccountHealth,
    cooldown: Cooldown,
    now: Timestamp,
) -> Option<AccountHealth> {
    let known = health.fast.as_ref().map_or(now, |current| current.until.max(now));
    is_later(cooldown.until, known)
        .then(|| AccountHealth { fast: Some(cooldown), ..health.clone() })
}

fn is_later(until: Timestamp, current: Timestamp) -> bool {
    until.duration_since(current) >= COOLDOWN_CHANGE_MIN
}

/// The health after the good start of an answer for `model` with this `utilization`. Earlier failures
/// count until an answer is complete, because it can still fail. If they had opened the circuit, the
/// next failure opens it again, for longer.
pub fn after_good_start(
    health: &AccountHealth,
    model: &str,
    utilization: UpstreamUtilization,
    now: Timestamp,
) -> Option<AccountHealth> {
    let mut after = health.clone();
    match &health.state {
        HealthState::Open { until, seconds, .. } if *until <= now => {
            after.state = HealthState::Ready;
            after.last_open_seconds = Some(*seconds);
        }
        // Only a successful answer shows that the operator has solved the problem.
        HealthState::Cooling(cooldown)
            if cooldown.until <= now && cooldown.reason.needs_operator() =>
        {
            after.state = HealthState::Ready;
        }
        _ => {}
    }
    // An account that was silent for long also answers other requests.
    let ends_with_success =
        |rest: &Cooldown| rest.is_estimated && rest.reason != CooldownReason::TimedOut;
    if health.models.get(model).is_some_and(ends_with_success) {
        after.models.remove(model);
    }
    if utilization.is_news_after(health.utilization) {
        after.utilization = UpstreamUtilization {
            five_hour: utilization.five_hour.or(health.utilization.five_hour),
            seven_day: utilization.seven_day.or(health.utilization.seven_day),
        };
    }
    (after != *health).then_some(after)
}

#[cfg(test)]
mod tests;
