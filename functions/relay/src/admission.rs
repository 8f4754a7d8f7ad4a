//! Admission: checks a request against its limits and reserves its cost before an upstream is
//! called.
//!
//! `baton_domain::reservation` decides which limit blocks, and the store makes the check atomic. A
//! request without limits causes no write. The usage record later settles the reservation
//! (`settle`).

use crate::authenticate::AuthenticatedKey;
use crate::body_facts::BodyFacts;
use crate::client_response::RelayError;
use crate::cost_bound::{CostBound, PricedRequest};
use crate::model_call::ReservedCost;
use crate::{RelayState, RequestContext};
use baton_domain::cost_factors::CostFactors;
use baton_domain::effective_limits::EffectiveLimits;
use baton_domain::id::RequestId;
use baton_domain::key::Key;
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
const COUNTERS_TIMEOUT: Duration = Duration::from_millis(100);

/// A request's reservation and the limits that it counts against.
pub(crate) struct RequestReservation {
    effective_limits: EffectiveLimits,
    id: RequestId,
    reservation: Reservation,
    cost_factors: CostFactors,
    counters: AdmissionCounters,
}

impl RequestReservation {
    /// Returns the facts that settle the request later.
    pub(crate) fn reserved_cost(&self) -> ReservedCost {
        let Reservation { estimate, unreserved, shared_limits, .. } = &self.reservation;
        ReservedCost {
            reserved_usd: Some(*estimate),
            permitted_usd: Some(*estimate + *unreserved),
            has_money_limit: self.effective_limits.has_money(),
            can_read_more: self.cost_factors.can_read_more(),
            prompt_tokens: self.cost_factors.prompt_tokens,
            predicted_tokens: self.cost_factors.predicted_tokens,
            shared_limits: shared_limits.clone(),
        }
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
        request: &RequestContext,
        caller: &AuthenticatedKey,
        facts: &BodyFacts,
        body: &Bytes,
        time: Duration,
    ) -> Result<Option<RequestReservation>, RelayError> {
        let key = caller.key();
        let effective_limits = self.load_effective_limits(key).await?;
        if !effective_limits.has_limits() && key.models.is_empty() {
            return Ok(None);
        }
        let own = Box::pin(self.read_client_cost_factors(request, caller, body)).await?;
        // Any model that the body names can run, for example as a fallback or adviser.
        own.models.iter().try_for_each(|model| caller.check_model_allowed(model))?;
        if !effective_limits.has_limits() {
            return Ok(None);
        }
        let priced_request =
            PricedRequest { context: request, caller, facts, body, client_factors: &own };
        let forms = Box::pin(self.read_request_forms(&priced_request)).await?;
        let CostBound { estimate, max_cost, unbounded } = forms.bound_cost();
        if let Some(field) = unbounded.filter(|_| effective_limits.has_money()) {
            return Err(RelayError::bad_request(&field.to_string()));
        }
        if effective_limits.has_money() && max_cost > COST_MAX {
            return Err(RelayError::bad_request(max_reservation_message(request.protocol)));
        }
        let (estimate, max_cost) = (estimate.min(COST_MAX), max_cost.min(COST_MAX));
        let seconds = (time + self.limit_settings.reservation_margin).as_secs() + 1;
        let reservation = Reservation {
            estimate,
            unreserved: max_cost - estimate,
            at: request.at,
            expires: request.at.as_second().saturating_add_unsigned(seconds),
            model: facts.model.clone(),
            stream: facts.shape.is_stream,
            group: key.group_id.clone(),
            user: key.user_id.clone(),
            shared_limits: effective_limits.shared_scopes(),
        };
        let id = request.id.clone();
        // Boxed, so that the future of a request without limits stays small.
        match Box::pin(self.reserve_or_wait(&effective_limits, &id, &reservation)).await {
            Ok(Admission::Admitted(counters)) => {
                let counters = match counters {
                    Some(counters) => AdmissionCounters::Ready(counters),
                    None => AdmissionCounters::Pending(
                        self.spawn_counter_read(&effective_limits, request.at),
                    ),
                };
                Ok(Some(RequestReservation {
                    effective_limits,
                    id,
                    reservation,
                    cost_factors: own,
                    counters,
                }))
            }
            Ok(Admission::Blocked(scope, reason)) => {
                self.alert_spent_limit(&effective_limits, &scope, &reason, request.at).await;
                let advice = forms.find_cost_reduction(request.protocol, &own, &reason);
                let operator_message = self.operator_message().await;
                let owner =
                    Box::pin(self.find_limit_owner(&effective_limits, scope, &reason)).await;
                Err(RelayError::blocked_by_limit(
                    &owner,
                    &reason,
                    request.at,
                    operator_message.as_deref(),
                    advice.as_deref(),
                ))
            }
            Err(error) => self.apply_outage_policy(&effective_limits, &error).map(|()| None),
        }
    }

    /// Loads the limits that apply to the key.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn load_effective_limits(
        &self,
        key: &Key,
    ) -> Result<EffectiveLimits, RelayError> {
        let limits = self.store.limit_settings.effective_limits(key).await;
        limits.map_err(|error| RelayError::store_unavailable(&error))
    }

    /// Reserves, if necessary after waiting for other requests to release what they reserved. A
    /// waiting request holds its body but no concurrency slot.
    async fn reserve_or_wait(
        &self,
        effective_limits: &EffectiveLimits,
        id: &RequestId,
        reservation: &Reservation,
    ) -> Result<Admission, StoreError> {
        let deadline = Instant::now() + self.limit_settings.wait;
        let mut waiter = None;
        loop {
            let admission = self.store.limits.admit(effective_limits, id, reservation).await?;
            if !matches!(admission, Admission::Blocked(_, BlockReason::Reserved { .. })) {
                return Ok(admission);
            }
            waiter = waiter.or_else(|| self.limit_waiters.acquire_slot(&effective_limits.key));
            let Some(waiter) = &mut waiter else { return Ok(admission) };
            loop {
                if !waiter.wait_for_change(deadline, self.store.random_source().byte()).await {
                    return Ok(admission);
                }
                if self.has_room(effective_limits, reservation).await {
                    break;
                }
            }
        }
    }

    /// Returns whether a new attempt to reserve is worthwhile, because the reservations of other
    /// requests no longer block it. If the counters cannot be read, the attempt itself reports the
    /// error.
    async fn has_room(
        &self,
        effective_limits: &EffectiveLimits,
        reservation: &Reservation,
    ) -> bool {
        let counters = self.store.counters.read_counters(&effective_limits.scopes(), false).await;
        let Ok(counters) = counters else { return true };
        let blocked = effective_limits.blocked(&counters, reservation.estimate, reservation.at);
        blocked.is_none_or(|(_, reason)| !matches!(reason, BlockReason::Reserved { .. }))
    }

    /// Notes an alert for the operators: a money limit is spent and blocks requests.
    async fn alert_spent_limit(
        &self,
        effective_limits: &EffectiveLimits,
        scope: &LimitScope,
        reason: &BlockReason,
        at: Timestamp,
    ) {
        let BlockReason::Spent { period, .. } = *reason else { return };
        let limits = effective_limits.scoped_limits().find(|(one, _)| one == scope);
        let Some(limit) = limits.and_then(|(_, limits)| limits.money(period)) else { return };
        let window = period.window(at).name;
        let alert_write = Box::pin(self.store.alerts.note_blocked(scope, &window, limit));
        if tokio::time::timeout(COUNTERS_TIMEOUT, alert_write).await.is_err() {
            tracing::warn!(
                %scope, "the store is slow, so an alert about this limit can be missing"
            );
        }
    }

    fn spawn_counter_read(
        &self,
        effective_limits: &EffectiveLimits,
        at: Timestamp,
    ) -> JoinHandle<Result<Vec<LimitCounters>, StoreError>> {
        let (store, effective_limits) = (self.store.clone(), effective_limits.clone());
        tokio::spawn(async move { store.limits.read_counters_after(&effective_limits, at).await })
    }

    /// Returns the message that the operator has set for spent limits.
    async fn operator_message(&self) -> Option<String> {
        let settings =
            Box::pin(self.store.limit_settings.scope_settings(&LimitScope::Organization)).await;
        settings
            .ok()
            .and_then(|settings| settings.message.clone())
            .or(self.limit_settings.spend_limit_message.clone())
    }

    /// Decides about a limited request when the limits cannot be counted, as the settings say.
    fn apply_outage_policy(
        &self,
        effective_limits: &EffectiveLimits,
        error: &StoreError,
    ) -> Result<(), RelayError> {
        tracing::error!("cannot check the limits: {error}");
        if effective_limits.has_money()
            && self.limit_settings.money_on_outage == OutagePolicy::Closed
        {
            Err(RelayError::spend_unknown())
        } else if effective_limits.has_rates()
            && self.limit_settings.rates_on_outage == OutagePolicy::Closed
        {
            Err(RelayError::rates_unknown())
        } else {
            Ok(())
        }
    }

    /// Releases the reservation of a request that never reached an upstream. If that fails, the
    /// reservation is settled after its deadline as if the request had been sent.
    pub(crate) async fn release_reservation(&self, request_reservation: &RequestReservation) {
        let RequestReservation { effective_limits, id, reservation, .. } = request_reservation;
        let release = self.store.limits.release(&effective_limits.key, id, reservation);
        if let Err(error) = Box::pin(self.in_store_time(release)).await {
            tracing::error!("cannot release a reservation, it stays until it expires: {error}");
        }
        self.limit_waiters.wake_waiters(&effective_limits.key);
    }
}

/// The error for a request that may cost more than can be reserved.
fn max_reservation_message(protocol: ClientProtocol) -> &'static str {
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
        if !self.effective_limits.has_money() {
            return;
        }
        let at = self.reservation.at;
        let tightest = match self.counters {
            AdmissionCounters::Ready(counters) => {
                self.effective_limits.tightest_limit(std::slice::from_ref(&*counters), at)
            }
            AdmissionCounters::Pending(counter_read) => {
                match tokio::time::timeout(COUNTERS_TIMEOUT, counter_read).await {
                    Ok(Ok(Ok(counters))) => self.effective_limits.tightest_limit(&counters, at),
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
