//! How an account is doing, and how that changes: three pure transitions, each `None` where
//! nothing changes, so that steady traffic writes nothing.
//!
//! Who stores it is `cloud::store`'s business; what a failure means is decided in
//! [`crate::verdict`].

use crate::reason::RestReason;
use crate::verdict::{Effect, RestScope};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// So many failures within [`STRIKE_WINDOW`] open the circuit.
const STRIKES_MAX: usize = 3;
const STRIKE_WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// For how long the circuit is open at first; it doubles with each failed probe.
const OPEN_SECONDS_MIN: u32 = 30;
const OPEN_SECONDS_MAX: u32 = 300;
/// A probe that is not heard of by then is given up, and another request may probe.
const PROBE: SignedDuration = SignedDuration::from_secs(60);
/// Two ends of a rest that differ by less are the same.
const SAME: SignedDuration = SignedDuration::from_secs(1);
/// Utilisation that moved by less, in points, is not news.
const POINTS_MIN: u32 = 5;
/// Models that rest by themselves, at most, and those of them that rest because they are not
/// available. Clients choose the names of models: they must not make an item grow, and a name that
/// does not exist must not push a real limit out.
const MODELS_MAX: usize = 48;
const UNAVAILABLE_MAX: usize = 16;
/// Models with longer names are not noted (an inference profile's ARN has some 150 bytes).
const MODEL_BYTES_MAX: usize = 256;

/// What is known of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The account as a whole.
    pub state: State,
    /// Model families that rest by themselves, by their name in model ids (`opus`).
    #[serde(default)]
    pub families: BTreeMap<String, Rest>,
    /// Models that rest by themselves, by the name that the upstream knows them by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, Rest>,
    /// Requests with `speed: fast` rest: they have a limit of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast: Option<Rest>,
    /// Which free call of this upstream refuses a made-up credential, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<KnownProof>,
    /// The latest failures of the kind that opens the circuit.
    #[serde(default)]
    pub strikes: Vec<Timestamp>,
    /// How much of the upstream's limits is used.
    #[serde(default)]
    pub utilisation: Utilisation,
    /// Until when it was out last, or is going to be: sessions may have moved since.
    #[serde(default)]
    pub out_until: Option<Timestamp>,
}

/// The account as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum State {
    /// Nothing is known against it.
    #[default]
    Ready,
    /// Not to be used for a while.
    Cooling(Rest),
    /// It failed repeatedly: not to be used for a while, then by one request that probes it.
    Open {
        /// When it may be probed.
        until: Timestamp,
        /// For how long it was opened, in seconds.
        seconds: u32,
        /// The last failure.
        reason: RestReason,
        /// Until when a request is probing it.
        probe_until: Option<Timestamp>,
    },
    /// The upstream refuses the credential. Only an operator (or a probe) brings it back.
    AuthFailed {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: RestReason,
        /// What a token endpoint said of it, in its words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

/// A free call, by which a credential is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreeCall {
    /// The list of models.
    ListModels,
    /// A count of tokens.
    CountTokens,
    /// A chat completion without messages, which is refused whoever asks.
    EmptyChat,
}

/// What is known of the free calls of the upstream at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownProof {
    /// The upstream's address.
    pub base_url: String,
    /// The call that refuses a made-up credential; none does without it.
    pub call: Option<FreeCall>,
}

/// A time out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// When it is over.
    pub until: Timestamp,
    /// Why.
    pub reason: RestReason,
    /// The upstream has named no time: how long it takes is a guess of ours.
    #[serde(default)]
    pub is_guess: bool,
    /// Which token was refused, see [`crate::token::Standing::issue`]: the rest ends with another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_issue: Option<u64>,
}

/// How much of the upstream's unified limits is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Utilisation {
    /// Of the last five hours.
    pub five_hour: Option<Window>,
    /// Of the last seven days.
    pub seven_day: Option<Window>,
}

/// One window of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// How much is used; more than 100 occurs.
    pub percent: u32,
    /// When it starts anew.
    pub resets_at: Option<Timestamp>,
}

/// What an account's health means at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It can be used.
    Ready,
    /// One request may probe it; see [`probing`].
    HalfOpen,
    /// Not before `until`.
    Cooling {
        /// When it may be used again.
        until: Timestamp,
        /// Why.
        reason: RestReason,
        /// The time is a guess of ours: it may be used before, if there is no other.
        is_guess: bool,
    },
    /// Not at all.
    AuthFailed {
        /// Why.
        reason: RestReason,
        /// What a token endpoint said of it, in its words.
        detail: Option<&'a str>,
    },
}

impl Health {
    /// What it means at `now` for a request that asks for `model`, by the name that the account's
    /// upstream knows it by, perhaps at fast speed.
    pub fn standing(&self, model: &str, is_fast: bool, now: Timestamp) -> Standing<'_> {
        match self.overall(now) {
            Standing::Ready => {}
            other => return other,
        }
        let family = self.families.iter().filter(|(family, _)| is_of(family, model));
        let rests = family.map(|(_, rest)| rest).chain(self.models.get(model));
        let rests = rests.chain(self.fast.as_ref().filter(|_| is_fast));
        // What the upstream has said outranks what was guessed.
        let longest =
            rests.filter(|rest| rest.until > now).max_by_key(|rest| (!rest.is_guess, rest.until));
        longest.map_or(Standing::Ready, Rest::standing)
    }

    /// Whether requests need a look at the model that they ask for.
    pub fn has_partial_rests(&self) -> bool {
        !self.families.is_empty() || !self.models.is_empty() || self.fast.is_some()
    }

    /// The same once the account has this token: what was held against another one is over. `None`
    /// where nothing was.
    pub fn with_token(&self, issue: u64) -> Option<Self> {
        let is_over = |rest: &Rest| rest.token_issue.is_some_and(|refused| refused != issue);
        match &self.state {
            State::Cooling(rest) if is_over(rest) => Some(self.with(State::Ready)),
            _ => None,
        }
    }

    /// Why the upstream last refused the account, where only the next request shows whether it still
    /// does: a free call proves nothing there, and no rest is left to run out.
    pub fn doubt(&self) -> Option<RestReason> {
        match &self.state {
            State::Open { reason, .. } if reason.needs_operator() => Some(*reason),
            _ => None,
        }
    }

    /// What it means at `now` for the account as a whole.
    pub fn overall(&self, now: Timestamp) -> Standing<'_> {
        match &self.state {
            State::Cooling(rest) if rest.until > now => rest.standing(),
            State::Open { until, reason, .. } if *until > now => {
                Standing::Cooling { until: *until, reason: *reason, is_guess: true }
            }
            State::Open { probe_until: Some(until), reason, .. } if *until > now => {
                Standing::Cooling { until: *until, reason: *reason, is_guess: true }
            }
            State::Open { .. } => Standing::HalfOpen,
            State::AuthFailed { reason, detail, .. } => {
                Standing::AuthFailed { reason: *reason, detail: detail.as_deref() }
            }
            State::Ready | State::Cooling(_) => Standing::Ready,
        }
    }

    /// Whether it was out at some time of the last `within`: some of its sessions may be elsewhere.
    pub fn was_out(&self, within: SignedDuration, now: Timestamp) -> bool {
        matches!(self.state, State::AuthFailed { .. })
            || self.out_until.is_some_and(|until| now.duration_since(until) < within)
    }

    /// Whether it is out or was once, however long ago.
    pub fn was_ever_out(&self) -> bool {
        self.out_until.is_some() || matches!(self.state, State::AuthFailed { .. })
    }

    /// The same account with nothing held against it; what is used stays known.
    #[must_use]
    pub fn forgiven(&self, now: Timestamp) -> Self {
        let is_out = !matches!(self.overall(now), Standing::Ready);
        let out_until = if is_out { Some(now) } else { self.out_until };
        let proof = self.proof.clone();
        Self { utilisation: self.utilisation, out_until, proof, ..Self::default() }
    }

    fn with(&self, state: State) -> Self {
        Self { state, ..self.clone() }
    }
}

impl Rest {
    /// A rest that no token ends.
    pub fn new(until: Timestamp, reason: RestReason, is_guess: bool) -> Self {
        Self { until, reason, is_guess, token_issue: None }
    }

    fn standing(&self) -> Standing<'_> {
        Standing::Cooling { until: self.until, reason: self.reason, is_guess: self.is_guess }
    }
}

/// Whether `model` is of `family`: one of the words of its id.
fn is_of(family: &str, model: &str) -> bool {
    model.split(['-', '.', '/', ':', '@']).any(|word| word.eq_ignore_ascii_case(family))
}

/// Health after a failure that had `effect`.
pub fn after(health: &Health, effect: &Effect, now: Timestamp) -> Option<Health> {
    if matches!(health.state, State::AuthFailed { .. }) {
        return None;
    }
    let (after, until) = match effect {
        // A suspicion holds nothing against anybody until a call of our own has confirmed it.
        Effect::Nothing | Effect::NotPermitted | Effect::Suspect { .. } => return None,
        Effect::Rest { scope, until, reason, is_guess, token_issue } => {
            let (until, token_issue) = (*until, *token_issue);
            let rest = Rest { until, reason: *reason, is_guess: *is_guess, token_issue };
            let after = match scope {
                RestScope::Account => cooled(health, rest, now),
                RestScope::Family(family) => family_cooled(health, family, rest, now),
                RestScope::Model(model) => model_cooled(health, model, rest, now),
                RestScope::Fast => fast_cooled(health, rest, now),
            };
            // Sessions do not stay away from an account for a model that somebody has made up.
            if matches!(scope, RestScope::Model(_)) && *is_guess {
                return after;
            }
            (after?, until)
        }
        Effect::Strike { reason } => {
            let after = struck(health, *reason, now)?;
            let State::Open { until, .. } = after.state else { return Some(after) };
            (after, until)
        }
    };
    let out_until = after.out_until.max(Some(until));
    Some(Health { out_until, ..after })
}

/// Health after the credential was refused, for this reason, with an endpoint's own words.
pub fn refused(
    health: &Health,
    reason: RestReason,
    detail: Option<&str>,
    now: Timestamp,
) -> Option<Health> {
    match health.state {
        State::AuthFailed { reason: RestReason::Unknown, .. } if reason != RestReason::Unknown => {}
        State::AuthFailed { .. } => return None,
        _ => {}
    }
    let detail = detail.map(str::to_owned);
    let after = health.with(State::AuthFailed { since: now, reason, detail });
    Some(Health { out_until: after.out_until.max(Some(now)), ..after })
}

fn cooled(health: &Health, rest: Rest, now: Timestamp) -> Option<Health> {
    let known = match &health.state {
        // The probe has found something else than what opened the circuit.
        State::Open { probe_until: Some(_), .. } => None,
        // What the upstream says outranks what was guessed.
        State::Cooling(Rest { is_guess: true, .. }) | State::Open { .. } if !rest.is_guess => None,
        State::Cooling(known) if known.until > now && !known.is_guess && rest.is_guess => {
            return None;
        }
        State::Cooling(Rest { until, .. }) | State::Open { until, .. } => Some(*until),
        State::Ready | State::AuthFailed { .. } => Some(now),
    };
    let is_news = known.is_none_or(|known| is_later(rest.until, known.max(now)));
    is_news.then(|| health.with(State::Cooling(rest)))
}

fn family_cooled(health: &Health, family: &str, rest: Rest, now: Timestamp) -> Option<Health> {
    let known = health.families.get(family).map_or(now, |known| known.until.max(now));
    is_later(rest.until, known).then(|| {
        let mut after = health.clone();
        after.families.retain(|_, rest| rest.until > now);
        after.families.insert(family.to_owned(), rest);
        after
    })
}

fn model_cooled(health: &Health, model: &str, rest: Rest, now: Timestamp) -> Option<Health> {
    if model.len() > MODEL_BYTES_MAX {
        return None;
    }
    let known = health.models.get(model).filter(|known| known.until > now);
    match known {
        Some(known) if !known.is_guess && rest.is_guess => return None,
        Some(known) if known.is_guess == rest.is_guess && !is_later(rest.until, known.until) => {
            return None;
        }
        None if !is_later(rest.until, now) => return None,
        _ => {}
    }
    let mut after = health.clone();
    after.models.retain(|_, rest| rest.until > now);
    let is_unavailable = |rest: &Rest| rest.reason == RestReason::ModelUnavailable;
    let unavailable = is_unavailable(&rest);
    after.models.insert(model.to_owned(), rest);
    let count = after.models.values().filter(|rest| is_unavailable(rest) == unavailable).count();
    let most = if unavailable { UNAVAILABLE_MAX } else { MODELS_MAX - UNAVAILABLE_MAX };
    if count > most {
        let alike = after.models.iter().filter(|(_, rest)| is_unavailable(rest) == unavailable);
        let first = alike.min_by_key(|(_, rest)| rest.until).map(|(model, _)| model.clone());
        after.models.remove(&first?);
    }
    Some(after)
}

fn fast_cooled(health: &Health, rest: Rest, now: Timestamp) -> Option<Health> {
    let known = health.fast.as_ref().map_or(now, |known| known.until.max(now));
    is_later(rest.until, known).then(|| Health { fast: Some(rest), ..health.clone() })
}

fn is_later(until: Timestamp, known: Timestamp) -> bool {
    until.duration_since(known) >= SAME
}

fn struck(health: &Health, reason: RestReason, now: Timestamp) -> Option<Health> {
    let seconds = match (&health.state, health.overall(now)) {
        // A failed probe, reported or found by another request.
        (State::Open { until, seconds, .. }, _) if *until <= now => {
            seconds.saturating_mul(2).min(OPEN_SECONDS_MAX)
        }
        (_, Standing::Cooling { .. } | Standing::AuthFailed { .. }) => return None,
        _ => {
            let recent = |at: &Timestamp| now.duration_since(*at) < STRIKE_WINDOW;
            let mut strikes: Vec<_> = health.strikes.iter().copied().filter(recent).collect();
            strikes.push(now);
            if strikes.len() < STRIKES_MAX {
                return Some(Health { strikes, ..health.with(State::Ready) });
            }
            OPEN_SECONDS_MIN
        }
    };
    let until = now.saturating_add(SignedDuration::from_secs(seconds.into()));
    let until = until.unwrap_or(Timestamp::MAX);
    let open = State::Open { until, seconds, reason, probe_until: None };
    Some(Health { strikes: Vec::new(), ..health.with(open) })
}

/// Health after a good answer for `model` that told `utilisation`.
pub fn served(
    health: &Health,
    model: &str,
    utilisation: Utilisation,
    now: Timestamp,
) -> Option<Health> {
    let mut after = health.clone();
    after.strikes.clear();
    match &health.state {
        State::Open { until, .. } if *until <= now => after.state = State::Ready,
        // Until then nobody knew whether the operator has done something.
        State::Cooling(rest) if rest.until <= now && rest.reason.needs_operator() => {
            after.state = State::Ready;
        }
        _ => {}
    }
    if health.models.get(model).is_some_and(|rest| rest.is_guess) {
        after.models.remove(model);
    }
    if utilisation.is_news_after(health.utilisation) {
        after.utilisation = Utilisation {
            five_hour: utilisation.five_hour.or(health.utilisation.five_hour),
            seven_day: utilisation.seven_day.or(health.utilisation.seven_day),
        };
    }
    (after != *health).then_some(after)
}

/// Health while one request probes an account whose circuit is half open; `None` where there is
/// nothing to probe. Whoever stores this first is the one that probes.
pub fn probing(health: &Health, now: Timestamp) -> Option<Health> {
    let Standing::HalfOpen = health.overall(now) else { return None };
    let mut after = health.clone();
    if let State::Open { probe_until, .. } = &mut after.state {
        *probe_until = Some(now.saturating_add(PROBE).unwrap_or(Timestamp::MAX));
    }
    Some(after)
}

impl Utilisation {
    /// The most that is used of any limit which has not been reset since, in percent.
    pub fn percent(&self, now: Timestamp) -> u32 {
        let running = |window: &Window| window.resets_at.is_none_or(|reset| reset > now);
        let windows = [self.five_hour, self.seven_day].into_iter().flatten().filter(running);
        windows.map(|window| window.percent).max().unwrap_or_default()
    }

    fn is_news_after(self, known: Self) -> bool {
        let moved = |new: Option<Window>, known: Option<Window>| match (new, known) {
            (Some(new), Some(known)) => new.percent.abs_diff(known.percent) >= POINTS_MIN,
            (Some(_), None) => true,
            (None, _) => false,
        };
        moved(self.five_hour, known.five_hour) || moved(self.seven_day, known.seven_day)
    }
}

#[cfg(test)]
#[path = "health_table.rs"]
mod table;
