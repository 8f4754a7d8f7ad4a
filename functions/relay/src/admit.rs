//! Whether a request may go on: the limits that bind it, reserved against before an upstream is
//! called.
//!
//! Which limit blocks is `domain::reservation`'s business, how that is made atomic the store's. A
//! request that nothing limits causes no write. The record settles what is reserved here (`settle`).

use crate::authenticate::Caller;
use crate::bound::{Bound, own_demand};
use crate::reply::Refusal;
use crate::{Asked, Means};
use baton_cloud::settings::OnOutage;
use baton_cloud::store::{Admission, StoreError};
use baton_domain::bounds::Bounds;
use baton_domain::id::RequestId;
use baton_domain::limit::utilization;
use baton_domain::protocol::Protocol;
use baton_domain::record::COST_MAX;
use baton_domain::reservation::{Blocked, Counted, Reservation, Spend};
use baton_domain::scope::Scope;
use baton_wire::envelope::Envelope;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long an answer waits for what its headers say of the limits. The read began before the
/// upstream was called.
const TELL_PATIENCE: Duration = Duration::from_millis(100);

/// A request's place among what is counted against its limits.
pub(crate) struct Reserved {
    bounds: Bounds,
    id: RequestId,
    pub(crate) reservation: Reservation,
    counted: Seen,
}

impl Reserved {
    /// Whether money is among what is limited.
    pub(crate) fn has_money(&self) -> bool {
        self.bounds.has_money()
    }
}

/// What was counted of each scope when the request was admitted.
enum Seen {
    Now(Arc<Counted>),
    /// A transaction answers nothing; it is read while the upstream thinks.
    Soon(JoinHandle<Result<Vec<Counted>, StoreError>>),
}

impl Means {
    /// Reserves what the request can cost, for as long as it can take (`time`). Answers nothing
    /// where nothing is limited.
    ///
    /// # Errors
    /// The refusal of the limit that stands against it.
    pub(crate) async fn admit(
        &self,
        asked: &Asked,
        caller: &Caller,
        (envelope, body): (&Envelope<'_>, &Bytes),
        time: Duration,
    ) -> Result<Option<Reserved>, Refusal> {
        let key = caller.key();
        let bounds = self.store.bounds(key).await.map_err(|error| Refusal::store(&error))?;
        if !bounds.any() && key.models.is_empty() {
            return Ok(None);
        }
        let own = Box::pin(own_demand(asked, body)).await?;
        // Whatever model the body names may run: a fallback, an adviser.
        own.models.iter().try_for_each(|model| caller.may_use(model))?;
        if !bounds.any() {
            return Ok(None);
        }
        let Bound { estimate, most, unbounded } =
            self.bound(asked, caller, envelope, (body, &own)).await?;
        if let Some(field) = unbounded.filter(|_| bounds.has_money()) {
            return Err(Refusal::bad_request(&field.to_string()));
        }
        if bounds.has_money() && most > COST_MAX {
            return Err(Refusal::bad_request(too_dear(asked.protocol)));
        }
        let (estimate, most) = (estimate.min(COST_MAX), most.min(COST_MAX));
        let seconds = (time + self.reservation_margin).as_secs() + 1;
        let reservation = Reservation {
            estimate,
            beyond: most - estimate,
            at: asked.at,
            expires: asked.at.as_second().saturating_add_unsigned(seconds),
            model: envelope.model.to_string(),
            stream: envelope.stream,
            group: key.group_id.clone(),
            user: key.user_id.clone(),
            pools: bounds.pool_scopes(),
        };
        let id = asked.id.clone();
        // Boxed, so that requests that nothing limits stay small.
        match Box::pin(self.reserve(&bounds, &id, &reservation)).await {
            Ok(Admission::Admitted(counted)) => {
                let counted = match counted {
                    Some(counted) => Seen::Now(counted),
                    None => Seen::Soon(self.look(&bounds, asked.at)),
                };
                Ok(Some(Reserved { bounds, id, reservation, counted }))
            }
            Ok(Admission::Blocked(scope, why)) => {
                self.note_blocked(&bounds, &scope, &why, asked.at).await;
                let advice =
                    Box::pin(self.advice(asked, caller, envelope, (body, &own), &why)).await;
                let words = self.words().await;
                let texts = (words.as_deref(), advice.as_deref());
                Err(Refusal::blocked(&scope, &why, asked.at, texts))
            }
            Err(error) => self.without_store(&bounds, &error).map(|()| None),
        }
    }

    /// Reserves, where need be after a wait for what others have reserved. A request that waits
    /// holds its body, but no place at an account.
    async fn reserve(
        &self,
        bounds: &Bounds,
        id: &RequestId,
        wanted: &Reservation,
    ) -> Result<Admission, StoreError> {
        let until = Instant::now() + self.limit_wait;
        let mut place = None;
        loop {
            let admission = self.store.admit(bounds, id, wanted).await?;
            if !matches!(admission, Admission::Blocked(_, Blocked::Reserved { .. })) {
                return Ok(admission);
            }
            place = place.or_else(|| self.limit_waiters.enter(&bounds.key));
            let Some(place) = &mut place else { return Ok(admission) };
            loop {
                if !place.pause(until, self.store.dice().byte()).await {
                    return Ok(admission);
                }
                if self.has_room(bounds, wanted).await {
                    break;
                }
            }
        }
    }

    /// Whether it is worth trying to reserve: others' reservations are no longer in the way. Where
    /// that cannot be read, the try says what is wrong.
    async fn has_room(&self, bounds: &Bounds, wanted: &Reservation) -> bool {
        let counted = self.store.counted_in(&bounds.scopes(), false).await;
        let Ok(counted) = counted else { return true };
        let blocked = bounds.blocked(&counted, wanted.estimate, wanted.at);
        blocked.is_none_or(|(_, why)| !matches!(why, Blocked::Reserved { .. }))
    }

    /// Has operators told that a money limit is spent and turns requests away.
    async fn note_blocked(&self, bounds: &Bounds, scope: &Scope, why: &Blocked, at: Timestamp) {
        let Blocked::Spent { period, .. } = *why else { return };
        let limits = bounds.all().find(|(one, _)| one == scope);
        let Some(limit) = limits.and_then(|(_, limits)| limits.money(period)) else { return };
        let window = period.window(at).name;
        let note = Box::pin(self.store.note_blocked(scope, &window, limit));
        if tokio::time::timeout(TELL_PATIENCE, note).await.is_err() {
            tracing::warn!(%scope, "an alert may be missing: the store is slow");
        }
    }

    fn look(&self, bounds: &Bounds, at: Timestamp) -> JoinHandle<Result<Vec<Counted>, StoreError>> {
        let (store, bounds) = (self.store.clone(), bounds.clone());
        tokio::spawn(async move { store.counted_after(&bounds, at).await })
    }

    /// What the operator wants said beside a spent limit.
    async fn words(&self) -> Option<String> {
        let terms = Box::pin(self.store.terms(&Scope::Organization)).await;
        terms.ok().and_then(|terms| terms.message.clone()).or(self.spend_limit_message.clone())
    }

    /// What becomes of a limited request while its limits cannot be counted.
    fn without_store(&self, bounds: &Bounds, error: &StoreError) -> Result<(), Refusal> {
        tracing::error!("limits cannot be counted: {error}");
        if bounds.has_money() && self.on_outage.money == OnOutage::Closed {
            Err(Refusal::spend_unknown())
        } else if bounds.has_rates() && self.on_outage.rates == OnOutage::Closed {
            Err(Refusal::rates_unknown())
        } else {
            Ok(())
        }
    }

    /// Takes back what was reserved for a request that never went to an upstream. Failing that,
    /// it is settled as if it had gone there when its time is over.
    pub(crate) async fn release(&self, reserved: &Reserved) {
        let Reserved { bounds, id, reservation, .. } = reserved;
        let release = self.store.release(&bounds.key, id, reservation);
        if let Err(error) = Box::pin(self.in_store_time(release)).await {
            tracing::error!(request_id = %id, "a reservation stays until it expires: {error}");
        }
        self.limit_waiters.wake(&bounds.key);
    }
}

/// What the client of a request is told that may cost more than can be reserved.
fn too_dear(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::AnthropicMessages | Protocol::BedrockInvokeModel => {
            "max_tokens: this request may cost more than $1,000,000, and no more is reserved for one \
             request; ask for less"
        }
        Protocol::OpenaiChat => {
            "max_completion_tokens, max_tokens or n: this request may cost more than $1,000,000, and \
             no more is reserved for one request; ask for less"
        }
        Protocol::OpenaiResponses => {
            "max_output_tokens: this request may cost more than $1,000,000, and no more is reserved \
             for one request; ask for less"
        }
    }
}

/// From these shares on, in ten-thousandths, Claude Code warns (facts: Claude apps gateway).
const WARNINGS: [(&str, &str); 2] = [("0.9500", "0.95"), ("0.7500", "0.75")];

impl Reserved {
    /// Tells the client how much of the tightest money limit is spent, of all that bind it, in the
    /// words of the Claude apps gateway: the one window-agnostic claim is `overage`.
    pub(crate) async fn tell(self, headers: &mut HeaderMap) {
        if !self.bounds.has_money() {
            return;
        }
        let at = self.reservation.at;
        let tightest = match self.counted {
            Seen::Now(counted) => self.bounds.tightest(std::slice::from_ref(&*counted), at),
            Seen::Soon(reading) => match tokio::time::timeout(TELL_PATIENCE, reading).await {
                Ok(Ok(Ok(counted))) => self.bounds.tightest(&counted, at),
                _ => None,
            },
        };
        let Some(tightest) = tightest else { return };
        for (name, value) in own_headers(tightest, at) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

fn own_headers(tightest: Spend, at: Timestamp) -> Vec<(&'static str, String)> {
    let Spend { period, spent, limit } = tightest;
    // An answer that was let through is never told to be past its limit.
    let share = utilization(spent, limit).min("0.9999".to_owned());
    let passed = WARNINGS.iter().find(|(from, _)| share.as_str() >= *from);
    let status = if passed.is_some() { "allowed_warning" } else { "allowed" };
    let mut headers = vec![
        ("anthropic-ratelimit-unified-status", status.to_owned()),
        ("anthropic-ratelimit-unified-representative-claim", "overage".to_owned()),
        ("anthropic-ratelimit-unified-overage-status", status.to_owned()),
        ("anthropic-ratelimit-unified-overage-utilization", share[..4].to_owned()),
        ("anthropic-ratelimit-unified-overage-period", period.as_str().to_owned()),
    ];
    if let Some((_, threshold)) = passed {
        let name = "anthropic-ratelimit-unified-overage-surpassed-threshold";
        headers.push((name, (*threshold).to_owned()));
    }
    if let Some(reset) = period.window(at).resets_at {
        let second = reset.as_second().to_string();
        headers.push(("anthropic-ratelimit-unified-reset", second.clone()));
        headers.push(("anthropic-ratelimit-unified-overage-reset", second));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::limit::Period;
    use baton_domain::money::PicoUsd;

    #[test]
    fn a_share_is_told_and_warned_of() {
        let check = |spent: i128, status: &str, share: &str, threshold: Option<&str>| {
            let (spent, limit) = (PicoUsd::new(spent), PicoUsd::new(1000));
            let at = "2026-11-22T21:05:30Z".parse().unwrap();
            let headers = own_headers(Spend { period: Period::Daily, spent, limit }, at);
            let get = |tail: &str| {
                let name = format!("anthropic-ratelimit-unified-{tail}");
                let found = headers.iter().find(|(header, _)| *header == name);
                found.map(|(_, value)| value.as_str())
            };
            assert_eq!(get("status"), Some(status), "{spent:?}");
            assert_eq!(get("overage-utilization"), Some(share), "{spent:?}");
            assert_eq!(get("overage-surpassed-threshold"), threshold, "{spent:?}");
            assert_eq!(get("reset"), Some("1795392000"));
        };
        check(0, "allowed", "0.00", None);
        check(749, "allowed", "0.74", None);
        check(750, "allowed_warning", "0.75", Some("0.75"));
        check(950, "allowed_warning", "0.95", Some("0.95"));
        check(1000, "allowed_warning", "0.99", Some("0.95"));
        check(12_000, "allowed_warning", "0.99", Some("0.95"));
    }
}
