//! Whether a request may go on: the limits that bind it, reserved against before an upstream is
//! called.
//!
//! Which limit blocks is `domain::reservation`'s business, how that is made atomic the store's. A
//! request that nothing limits causes no write. The record settles what is reserved here (`settle`).

use crate::authenticate::AuthenticatedKey;
use crate::client_response::RelayError;
use crate::cost_bound::{CostBound, read_client_cost_factors};
use crate::{RelayState, RequestContext};
use baton_cloud::settings::OutagePolicy;
use baton_cloud::store::{Admission, StoreError};
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::RequestId;
use baton_domain::limit::utilization;
use baton_domain::protocol::ClientProtocol;
use baton_domain::record::COST_MAX;
use baton_domain::reservation::{BlockReason, LimitCounters, LimitSpend, Reservation};
use baton_domain::scope::LimitScope;
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
pub(crate) struct RequestReservation {
    bounds: EffectiveLimits,
    id: RequestId,
    pub(crate) reservation: Reservation,
    counted: AdmissionCounters,
}

impl RequestReservation {
    /// Whether money is among what is limited.
    pub(crate) fn has_money(&self) -> bool {
        self.bounds.has_money()
    }
}

/// What was counted of each scope when the request was admitted.
enum AdmissionCounters {
    Ready(Arc<LimitCounters>),
    /// A transaction answers nothing; it is read while the upstream thinks.
    Pending(JoinHandle<Result<Vec<LimitCounters>, StoreError>>),
}

impl RelayState {
    /// Reserves what the request can cost, for as long as it can take (`time`). Answers nothing
    /// where nothing is limited.
    ///
    /// # Errors
    /// The refusal of the limit that stands against it.
    pub(crate) async fn admit_request(
        &self,
        asked: &RequestContext,
        caller: &AuthenticatedKey,
        (envelope, body): (&Envelope<'_>, &Bytes),
        time: Duration,
    ) -> Result<Option<RequestReservation>, RelayError> {
        let key = caller.key();
        let bounds = self
            .store
            .effective_limits(key)
            .await
            .map_err(|error| RelayError::store_unavailable(&error))?;
        if !bounds.has_limits() && key.models.is_empty() {
            return Ok(None);
        }
        let own = Box::pin(read_client_cost_factors(asked, body)).await?;
        // Whatever model the body names may run: a fallback, an adviser.
        own.models.iter().try_for_each(|model| caller.check_model_allowed(model))?;
        if !bounds.has_limits() {
            return Ok(None);
        }
        let CostBound { estimate, most, unbounded } =
            self.bound_request_cost(asked, caller, envelope, (body, &own)).await?;
        if let Some(field) = unbounded.filter(|_| bounds.has_money()) {
            return Err(RelayError::bad_request(&field.to_string()));
        }
        if bounds.has_money() && most > COST_MAX {
            return Err(RelayError::bad_request(too_dear(asked.protocol)));
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
        match Box::pin(self.reserve_or_wait(&bounds, &id, &reservation)).await {
            Ok(Admission::Admitted(counted)) => {
                let counted = match counted {
                    Some(counted) => AdmissionCounters::Ready(counted),
                    None => AdmissionCounters::Pending(self.spawn_counter_read(&bounds, asked.at)),
                };
                Ok(Some(RequestReservation { bounds, id, reservation, counted }))
            }
            Ok(Admission::Blocked(scope, why)) => {
                self.alert_spent_limit(&bounds, &scope, &why, asked.at).await;
                let advice =
                    Box::pin(self.advice(asked, caller, envelope, (body, &own), &why)).await;
                let words = self.operator_message().await;
                let texts = (words.as_deref(), advice.as_deref());
                Err(RelayError::blocked_by_limit(&scope, &why, asked.at, texts))
            }
            Err(error) => self.apply_outage_policy(&bounds, &error).map(|()| None),
        }
    }

    /// Reserves, where need be after a wait for what others have reserved. A request that waits
    /// holds its body, but no place at an account.
    async fn reserve_or_wait(
        &self,
        bounds: &EffectiveLimits,
        id: &RequestId,
        wanted: &Reservation,
    ) -> Result<Admission, StoreError> {
        let until = Instant::now() + self.limit_wait;
        let mut place = None;
        loop {
            let admission = self.store.admit(bounds, id, wanted).await?;
            if !matches!(admission, Admission::Blocked(_, BlockReason::Reserved { .. })) {
                return Ok(admission);
            }
            place = place.or_else(|| self.limit_waiters.acquire_place(&bounds.key));
            let Some(place) = &mut place else { return Ok(admission) };
            loop {
                if !place.wait_for_change(until, self.store.random_source().byte()).await {
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
    async fn has_room(&self, bounds: &EffectiveLimits, wanted: &Reservation) -> bool {
        let counted = self.store.read_counters(&bounds.scopes(), false).await;
        let Ok(counted) = counted else { return true };
        let blocked = bounds.blocked(&counted, wanted.estimate, wanted.at);
        blocked.is_none_or(|(_, why)| !matches!(why, BlockReason::Reserved { .. }))
    }

    /// Has operators told that a money limit is spent and turns requests away.
    async fn alert_spent_limit(
        &self,
        bounds: &EffectiveLimits,
        scope: &LimitScope,
        why: &BlockReason,
        at: Timestamp,
    ) {
        let BlockReason::Spent { period, .. } = *why else { return };
        let limits = bounds.scoped_limits().find(|(one, _)| one == scope);
        let Some(limit) = limits.and_then(|(_, limits)| limits.money(period)) else { return };
        let window = period.window(at).name;
        let note = Box::pin(self.store.note_blocked(scope, &window, limit));
        if tokio::time::timeout(TELL_PATIENCE, note).await.is_err() {
            tracing::warn!(%scope, "an alert may be missing: the store is slow");
        }
    }

    fn spawn_counter_read(
        &self,
        bounds: &EffectiveLimits,
        at: Timestamp,
    ) -> JoinHandle<Result<Vec<LimitCounters>, StoreError>> {
        let (store, bounds) = (self.store.clone(), bounds.clone());
        tokio::spawn(async move { store.read_counters_after(&bounds, at).await })
    }

    /// What the operator wants said beside a spent limit.
    async fn operator_message(&self) -> Option<String> {
        let terms = Box::pin(self.store.scope_settings(&LimitScope::Organization)).await;
        terms.ok().and_then(|terms| terms.message.clone()).or(self.spend_limit_message.clone())
    }

    /// What becomes of a limited request while its limits cannot be counted.
    fn apply_outage_policy(
        &self,
        bounds: &EffectiveLimits,
        error: &StoreError,
    ) -> Result<(), RelayError> {
        tracing::error!("limits cannot be counted: {error}");
        if bounds.has_money() && self.on_outage.money == OutagePolicy::Closed {
            Err(RelayError::spend_unknown())
        } else if bounds.has_rates() && self.on_outage.rates == OutagePolicy::Closed {
            Err(RelayError::rates_unknown())
        } else {
            Ok(())
        }
    }

    /// Takes back what was reserved for a request that never went to an upstream. Failing that,
    /// it is settled as if it had gone there when its time is over.
    pub(crate) async fn release_reservation(&self, reserved: &RequestReservation) {
        let RequestReservation { bounds, id, reservation, .. } = reserved;
        let release = self.store.release(&bounds.key, id, reservation);
        if let Err(error) = Box::pin(self.in_store_time(release)).await {
            tracing::error!(request_id = %id, "a reservation stays until it expires: {error}");
        }
        self.limit_waiters.wake_waiters(&bounds.key);
    }
}

/// What the client of a request is told that may cost more than can be reserved.
fn too_dear(protocol: ClientProtocol) -> &'static str {
    match protocol {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
            "max_tokens: this request may cost more than $1,000,000, and no more is reserved for one \
             request; ask for less"
        }
        ClientProtocol::OpenaiChat => {
            "max_completion_tokens, max_tokens or n: this request may cost more than $1,000,000, and \
             no more is reserved for one request; ask for less"
        }
        ClientProtocol::OpenaiResponses => {
            "max_output_tokens: this request may cost more than $1,000,000, and no more is reserved \
             for one request; ask for less"
        }
    }
}

/// From these shares on, in ten-thousandths, Claude Code warns (facts: Claude apps gateway).
const WARNINGS: [(&str, &str); 2] = [("0.9500", "0.95"), ("0.7500", "0.75")];

impl RequestReservation {
    /// Tells the client how much of the tightest money limit is spent, of all that bind it, in the
    /// words of the Claude apps gateway: the one window-agnostic claim is `overage`.
    pub(crate) async fn add_limit_headers(self, headers: &mut HeaderMap) {
        if !self.bounds.has_money() {
            return;
        }
        let at = self.reservation.at;
        let tightest = match self.counted {
            AdmissionCounters::Ready(counted) => {
                self.bounds.tightest(std::slice::from_ref(&*counted), at)
            }
            AdmissionCounters::Pending(reading) => {
                match tokio::time::timeout(TELL_PATIENCE, reading).await {
                    Ok(Ok(Ok(counted))) => self.bounds.tightest(&counted, at),
                    _ => None,
                }
            }
        };
        let Some(tightest) = tightest else { return };
        for (name, value) in limit_headers(tightest, at) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

fn limit_headers(tightest: LimitSpend, at: Timestamp) -> Vec<(&'static str, String)> {
    let LimitSpend { period, spent, limit } = tightest;
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
    use baton_domain::limit::LimitPeriod;
    use baton_domain::money::PicoUsd;

    #[test]
    fn limit_headers_report_utilization_and_warn_near_the_limit() {
        let check = |spent: i128, status: &str, share: &str, threshold: Option<&str>| {
            let (spent, limit) = (PicoUsd::new(spent), PicoUsd::new(1000));
            let at = "2026-11-22T21:05:30Z".parse().unwrap();
            let headers =
                limit_headers(LimitSpend { period: LimitPeriod::Daily, spent, limit }, at);
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
