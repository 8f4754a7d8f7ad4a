//! How an account is doing, and how that changes: three pure transitions, each `None` where
//! nothing changes, so that steady traffic writes nothing.
//!
//! Who stores it is `cloud::store`'s business; what a failure means is decided in
//! [`crate::verdict`].

use crate::verdict::Effect;
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

/// What is known of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The account as a whole.
    pub state: State,
    /// Model families that rest by themselves, by their name in model ids (`opus`).
    #[serde(default)]
    pub families: BTreeMap<String, Rest>,
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
        /// The last failure, in words.
        reason: String,
        /// Until when a request is probing it.
        probe_until: Option<Timestamp>,
    },
    /// The upstream refuses the credential. Only an operator (or a probe) brings it back.
    AuthFailed {
        /// Since when.
        since: Timestamp,
        /// Why, in words.
        reason: String,
    },
}

/// A time out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// When it is over.
    pub until: Timestamp,
    /// Why, in words.
    pub reason: String,
    /// The upstream has named no time: how long it takes is a guess of ours.
    #[serde(default)]
    pub is_guess: bool,
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
        reason: &'a str,
        /// The time is a guess of ours: it may be used before, if there is no other.
        is_guess: bool,
    },
    /// Not at all.
    AuthFailed {
        /// Why.
        reason: &'a str,
    },
}

impl Health {
    /// What it means at `now` for a request that asks for `model`.
    pub fn standing(&self, model: &str, now: Timestamp) -> Standing<'_> {
        match self.overall(now) {
            Standing::Ready => {}
            other => return other,
        }
        let resting = |(family, rest): &(&String, &Rest)| rest.until > now && is_of(family, model);
        match self.families.iter().find(resting) {
            Some((_, rest)) => rest.standing(),
            None => Standing::Ready,
        }
    }

    /// What it means at `now` for the account as a whole.
    pub fn overall(&self, now: Timestamp) -> Standing<'_> {
        match &self.state {
            State::Cooling(rest) if rest.until > now => rest.standing(),
            State::Open { until, reason, .. } if *until > now => {
                Standing::Cooling { until: *until, reason, is_guess: true }
            }
            State::Open { probe_until: Some(until), .. } if *until > now => {
                let reason = "another request is probing it";
                Standing::Cooling { until: *until, reason, is_guess: true }
            }
            State::Open { .. } => Standing::HalfOpen,
            State::AuthFailed { reason, .. } => Standing::AuthFailed { reason },
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
        Self { utilisation: self.utilisation, out_until, ..Self::default() }
    }

    fn with(&self, state: State) -> Self {
        Self { state, ..self.clone() }
    }
}

impl Rest {
    fn standing(&self) -> Standing<'_> {
        Standing::Cooling { until: self.until, reason: &self.reason, is_guess: self.is_guess }
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
        Effect::Nothing => return None,
        Effect::Cool { until, reason, family, is_guess } => {
            let rest = Rest { until: *until, reason: (*reason).to_owned(), is_guess: *is_guess };
            let after = match family {
                Some(family) => family_cooled(health, family, rest, now),
                None => cooled(health, rest, now),
            };
            (after?, *until)
        }
        Effect::AuthFailed { reason } => return refused(health, reason, now),
        Effect::Strike { reason } => {
            let after = struck(health, reason, now)?;
            let State::Open { until, .. } = after.state else { return Some(after) };
            (after, until)
        }
    };
    let out_until = after.out_until.max(Some(until));
    Some(Health { out_until, ..after })
}

/// Health after the credential was refused, for this reason.
pub fn refused(health: &Health, reason: &str, now: Timestamp) -> Option<Health> {
    if matches!(health.state, State::AuthFailed { .. }) {
        return None;
    }
    let after = health.with(State::AuthFailed { since: now, reason: reason.to_owned() });
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

fn is_later(until: Timestamp, known: Timestamp) -> bool {
    until.duration_since(known) >= SAME
}

fn struck(health: &Health, reason: &str, now: Timestamp) -> Option<Health> {
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
    let open = State::Open { until, seconds, reason: reason.to_owned(), probe_until: None };
    Some(Health { strikes: Vec::new(), ..health.with(open) })
}

/// Health after a good answer that told `utilisation`.
pub fn served(health: &Health, utilisation: Utilisation, now: Timestamp) -> Option<Health> {
    let mut after = health.clone();
    after.strikes.clear();
    if matches!(health.state, State::Open { until, .. } if until <= now) {
        after.state = State::Ready;
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
