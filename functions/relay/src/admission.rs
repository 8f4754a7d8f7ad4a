//! Admission: checks a request against its limits and reserves its cost before an upstream is
//! called.
//!
//! `baton_domain::reservation` decides which limit blocks, and the store makes the check atomic. A
//! request without limits causes no write. The usage record later settles the reservation
//! (`settle`).

use crate::authenticate::AuthenticatedKey;
use crate::body_facts::BodyFacts;
use crate::client_response::RelayError;
use crate::cost_bound::CostBound;
use crate::{RelayState, RequestContext};
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::RequestId;
use baton_domain::limit::utilization;
use baton_domain::protocol::ClientProtocol;
use baton_domain::record::COST_MAX;
use baton_domain::reservation::{BlockReason, LimitCounters, LimitSpend, Reservation};
use baton_domain::scope::LimitScope;
use baton_runtime::settings::OutagePolicy;
use baton_store::{Admission, StoreError};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long an answer waits for the counters that its limit headers show. They have been read since
/// before the upstream was called.
const TELL_PATIENCE: Duration = Duration::from_millis(100);

/// A request's reservation and the limits that it counts against.
pub(crate) struct RequestReservation {
    bounds: EffectiveLimits,
    id: RequestId,
    pub(crate) reservation: Reservation,
    counted: AdmissionCounters,
}

impl RequestReservation {
    /// Returns whether any of the limits is a money limit.
    pub(crate) fn has_money(&self) -> bool {
        self.bounds.has_money()
    }
}

/// The counters of each scope when the request was admitted.
enum AdmissionCounters {
    Ready(Arc<LimitCounters>),
    /// A transaction does not return the counters, so they are read while the upstream works.
    Pending(JoinHandle<Result<Vec<LimitCounters>, StoreError>>),
}

impl RelayState {
    /// Reserves the cost of the request for the longest time that it can take (`time`). Returns
    /// `None` if no limit applies.
    ///
    /// # Errors
    /// A limit blocks the request, its cost has no bound, or the limits cannot be read.
    pub(crate) async fn admit_request(
        &self,
        asked: &RequestContext,
        caller: &AuthenticatedKey,
        (facts, body): (&BodyFacts, &Bytes),
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
        let own = Box::pin(self.read_client_cost_factors(asked, caller, body)).await?;
        // Any model that the body names can run, for example as a fallback or adviser.
        own.models.iter().try_for_each(|model| caller.check_model_allowed(model))?;
        if !bounds.has_limits() {
            return Ok(None);
        }
        let CostBound { estimate, most, unbounded } =
            self.bound_request_cost(asked, caller, facts, (body, &own)).await?;
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
            model: facts.model.clone(),
            stream: facts.stream,
            group: key.group_id.clone(),
            user: key.user_id.clone(),
            pools: bounds.pool_scopes(),
        };
        let id = asked.id.clone();
        // Boxed, so that the future of a request without limits stays small.
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
                let advice = Box::pin(self.advice(asked, caller, facts, (body, &own), &why)).await;
                let words = self.operator_message().await;
                let texts = (words.as_deref(), advice.as_deref());
                Err(RelayError::blocked_by_limit(&scope, &why, asked.at, texts))
            }
            Err(error) => self.apply_outage_policy(&bounds, &error).map(|()| None),
        }
    }

    /// Reserves, if necessary after waiting for other requests to release what they reserved. A
    /// waiting request holds its body but no concurrency slot.
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

    /// Returns whether a new attempt to reserve is worthwhile, because the reservations of other
    /// requests no longer block it. If the counters cannot be read, the attempt itself reports the
    /// error.
    async fn has_room(&self, bounds: &EffectiveLimits, wanted: &Reservation) -> bool {
        let counted = self.store.read_counters(&bounds.scopes(), false).await;
        let Ok(counted) = counted else { return true };
        let blocked = bounds.blocked(&counted, wanted.estimate, wanted.at);
        blocked.is_none_or(|(_, why)| !matches!(why, BlockReason::Reserved { .. }))
    }

    /// Notes an alert for the operators: a money limit is spent and blocks requests.
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
            tracing::warn!(
                %scope, "the store is slow, so an alert about this limit can be missing"
            );
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

    /// Returns the message that the operator has set for spent limits.
    async fn operator_message(&self) -> Option<String> {
        let terms = Box::pin(self.store.scope_settings(&LimitScope::Organization)).await;
        terms.ok().and_then(|terms| terms.message.clone()).or(self.spend_limit_message.clone())
    }

    /// Decides about a limited request when the limits cannot be counted, as the settings say.
    fn apply_outage_policy(
        &self,
        bounds: &EffectiveLimits,
        error: &StoreError,
    ) -> Result<(), RelayError> {
        tracing::error!("cannot check the limits: {error}");
        if bounds.has_money() && self.on_outage.money == OutagePolicy::Closed {
            Err(RelayError::spend_unknown())
        } else if bounds.has_rates() && self.on_outage.rates == OutagePolicy::Closed {
            Err(RelayError::rates_unknown())
        } else {
            Ok(())
        }
    }

    /// Releases the reservation of a request that never reached an upstream. If that fails, the
    /// reservation is settled after its deadline as if the request had been sent.
    pub(crate) async fn release_reservation(&self, reserved: &RequestReservation) {
        let RequestReservation { bounds, id, reservation, .. } = reserved;
        let release = self.store.release(&bounds.key, id, reservation);
        if let Err(error) = Box::pin(self.in_store_time(release)).await {
            tracing::error!(request_id = %id, "cannot release a reservation, it stays until it \
                 expires: {error}");
        }
        self.limit_waiters.wake_waiters(&bounds.key);
    }
}

/// The error for a request that may cost more than can be reserved.
fn too_dear(protocol: ClientProtocol) -> &'static str {
    match protocol {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
            "max_tokens: this request could cost more than 1,000,000 USD, which is the most that \
             Baton reserves for one request. Lower the value."
        }
        ClientProtocol::OpenaiChat => {
            "max_completion_tokens, max_tokens or n: this request could cost more than 1,000,000 \
             USD, which is the most that Baton reserves for one request. Lower these values."
        }
        ClientProtocol::OpenaiResponses => {
            "max_output_tokens: this request could cost more than 1,000,000 USD, which is the most \
             that Baton reserves for one request. Lower the value."
        }
    }
}

/// Shares of a limit, in ten-thousandths, from which Claude Code shows a warning (Anthropic's page
/// "Claude apps gateway spend limits", 2026-11).
const WARNINGS: [(&str, &str); 2] = [("0.9500", "0.95"), ("0.7500", "0.75")];

impl RequestReservation {
    /// Adds headers that show how much of the tightest money limit is spent. They use the form of
    /// the Claude apps gateway, where `overage` is the only claim that does not name a time window.
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
    // An answer that was admitted never reports more than its limit.
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
