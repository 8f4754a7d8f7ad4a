//! Failover: sends a call to one account after another until one answers.
//!
//! A request tries at most three accounts, each once, or once more after its token was renewed.
//! [`crate::attempt`] makes one attempt, `baton_providers::classification` decides what a failure
//! means, and the loop here acts on that verdict. [`crate::account_health`] stores the effect on
//! the account while the next attempt runs.
//!
//! After two accounts have refused a request with 401 or 403, no third one is tried, because the
//! request itself can be the cause. Only the first refusal can affect an account's health without a
//! credential probe.

use crate::account_health::{PendingCheck, PendingHealthUpdate};
use crate::account_selection::{
    AccountSelector, ConcurrencySlot, NoEligibleAccount, SelectedAccount,
};
use crate::attempt::AttemptTarget;
use crate::attempt_error::AttemptError;
use crate::body::RelayBody;
use crate::client_response::RelayError;
use crate::model_call::{Metering, ModelCall, OutboundCall};
use crate::output_clock::is_hidden_work;
use crate::response_buffer::BufferedResponse;
use crate::settle::{PendingUsage, RequestEnd};
use crate::unserved_request::{UnservedRequest, seconds_until};
use crate::{RelayState, RequestContext};
use baton_domain::account_selection::IneligibleReason;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::record::{RequestOutcome, TriedAccount};
use baton_domain::sold_price::Seller;
use baton_domain::verdict::{AccountEffect, CallFailure, RetryDecision, Verdict};
use baton_providers::classification::{classify, rest_after_silence};
use baton_runtime::upstream::CredentialStatus;
use baton_store::PoolMember;
use http::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most accounts that one request tries.
const ACCOUNTS_MAX: usize = 3;
/// The most accounts that can refuse one request with 401 or 403 before it fails.
const REFUSALS_MAX: usize = 2;

/// A successful answer of an upstream, buffered up to its first event.
pub(crate) struct UpstreamResponse {
    pub(crate) pending_usage: PendingUsage,
    pub(crate) buffered: BufferedResponse,
}

/// The call got no successful answer. `pending_usage` is set if an upstream was called.
pub(crate) struct ForwardFailure {
    pub(crate) pending_usage: Option<PendingUsage>,
    /// How the last attempt ended.
    pub(crate) request_end: RequestEnd,
    pub(crate) response: Result<Response<RelayBody>, RelayError>,
}

impl From<RelayError> for ForwardFailure {
    fn from(refusal: RelayError) -> Self {
        let request_end = RequestEnd::without_answer(RequestOutcome::UpstreamError);
        Self { pending_usage: None, request_end, response: Err(refusal) }
    }
}

impl RelayState {
    /// Tries accounts until one answers, the error has to go to the client, or no account is left.
    ///
    /// # Errors
    /// The call failed; the error holds the client's answer and, if an upstream was called, the
    /// pending usage.
    pub(crate) async fn forward_call(
        &self,
        request: &RequestContext,
        call: OutboundCall,
        deadline: Instant,
    ) -> Result<UpstreamResponse, ForwardFailure> {
        let model_call = &call.model_call;
        let mut selector = self
            .load_account_selector(
                &model_call.caller,
                model_call.operation(),
                &model_call.model,
                call.session,
            )
            .await?;
        if let Some(id) = &model_call.state_id {
            Box::pin(self.load_state_pin(&mut selector, id)).await;
        }
        let mut history = AttemptHistory::default();
        while selector.accounts_tried() < ACCOUNTS_MAX && history.refusals < REFUSALS_MAX {
            let selected = self.next_account(&mut selector, model_call, deadline).await;
            let SelectedAccount { index, slot } = match selected {
                Ok(selected) => selected,
                Err(none_eligible) => {
                    return Err(self
                        .conclude_failed_call(request, &selector, history, none_eligible)
                        .await);
                }
            };
            if let Some(cause) = history.failover_cause.take() {
                self.observer.record_failover(cause);
            }
            if let Some(FailedAttempt { pending_usage, .. }) = &mut history.last {
                self.release_slot_early(pending_usage).await;
            }
            let pool = selector.pool().clone();
            let member = &pool.members[index];
            let plan = self.conversion_plan(model_call, &member.account, selector.model());
            let model = plan.upstream_model(&member.account, selector.model());
            let mut pending_usage =
                history.new_pending_usage(model_call, member, &selector, model, slot);
            let target = AttemptTarget { member, plan, model: &pending_usage.upstream_model };
            let called_at = &mut pending_usage.called_at;
            match self.attempt_account(request, target, &call, called_at, deadline).await {
                Ok(buffered) => {
                    pending_usage.status = buffered.head.status.as_u16();
                    pending_usage.first_byte_at = Some(self.store.clock().now());
                    self.note_answer(&selector, index, &pending_usage, &buffered);
                    return Ok(UpstreamResponse { pending_usage, buffered });
                }
                Err(error) => {
                    if error.is_before_call() {
                        self.release_slot_early(&mut pending_usage).await;
                    }
                    if error.is_untranslatable() {
                        selector.exclude_form(index, self, model_call);
                    }
                    let failed_attempt = self.judge_attempt_error(
                        member,
                        &mut selector,
                        &mut history,
                        pending_usage,
                        error,
                    );
                    let is_over = failed_attempt.verdict.request == RetryDecision::ReturnToClient;
                    history.note(failed_attempt);
                    if is_over || Instant::now() >= deadline {
                        break;
                    }
                }
            }
        }
        Err(self.conclude_failed_call(request, &selector, history, None).await)
    }

    /// Selects the next account. Returns `Err(None)` when the process stops.
    async fn next_account(
        &self,
        selector: &mut AccountSelector,
        model_call: &ModelCall,
        deadline: Instant,
    ) -> Result<SelectedAccount, Option<NoEligibleAccount>> {
        tokio::select! {
            biased;
            () = self.shutdown.cancel_responses.cancelled() => Err(None),
            selected = self.pick_account(selector, model_call, deadline) => selected.map_err(Some),
        }
    }

    /// Ends a call for which no more accounts are tried. The answer comes from the last attempt,
    /// or, if there was none, from the reasons why no account could be tried.
    async fn conclude_failed_call(
        &self,
        request: &RequestContext,
        selector: &AccountSelector,
        mut history: AttemptHistory,
        none_eligible: Option<NoEligibleAccount>,
    ) -> ForwardFailure {
        let now = self.store.clock().now();
        match (history.last.take(), none_eligible) {
            // An account that will be ready may read the request that this one could not.
            (Some(FailedAttempt { error, .. }), Some(none_eligible))
                if error.is_untranslatable() && none_eligible.ready_at(now).is_some() =>
            {
                none_eligible.to_relay_error(&unserved_request(request, selector), now).into()
            }
            // Boxed, so that the future of a successful request stays small.
            (Some(failed_attempt), none_eligible) => {
                Box::pin(self.answer_failed_attempt(
                    request,
                    selector,
                    history,
                    failed_attempt,
                    none_eligible,
                ))
                .await
            }
            (None, Some(none_eligible)) => {
                none_eligible.to_relay_error(&unserved_request(request, selector), now).into()
            }
            (None, None) => RelayError::shutting_down().into(),
        }
    }

    /// Stores what the beginning of a successful answer shows about the account. Free calls store
    /// nothing.
    fn note_answer(
        &self,
        selector: &AccountSelector,
        index: usize,
        pending_usage: &PendingUsage,
        buffered: &BufferedResponse,
    ) {
        if selector.is_paid() {
            let PendingUsage { account, health_model, .. } = pending_usage;
            self.note_good_start(account, health_model, &buffered.head.headers);
            self.store_session_pin(selector, index);
        }
    }

    /// Decides what a failed attempt means for the request and, for billed calls, for the account.
    fn judge_attempt_error(
        &self,
        member: &PoolMember,
        selector: &mut AccountSelector,
        history: &mut AttemptHistory,
        pending_usage: PendingUsage,
        error: AttemptError,
    ) -> FailedAttempt {
        let now = self.store.clock().now();
        let upstream_error = error.read_upstream_error(now);
        let id = &member.account.id;
        let token_version = pending_usage.token_version;
        let failure = error.to_call_failure(&upstream_error);
        let facts = pending_usage.request_facts();
        let mut verdict = classify(&failure, &facts, now, self.store.random_source().byte());
        let is_used_up = used_up_reservation(&pending_usage, &error);
        if is_used_up {
            verdict.request = RetryDecision::ReturnToClient;
        }
        // An attempt that Baton itself ended shows nothing about the account.
        let silence = (is_used_up && !matches!(failure, CallFailure::UnusableResponse))
            .then(|| rest_after_silence(&facts, now));
        let is_first_refusal = history.refusals == 0;
        let is_stale = verdict.needs_token_renewal
            && !self.credential_checks.should_renew_token(id, token_version.unwrap_or_default());
        if is_stale || (verdict.is_refusal && !is_first_refusal) {
            limit_to_suspicion(&mut verdict);
        }
        history.refusals += usize::from(verdict.is_refusal && !verdict.needs_token_renewal);
        tracing::warn!(
            account_id = %id, model = %pending_usage.upstream_model,
            "attempt failed: {error}; {}; {}", verdict.request, verdict.account
        );
        if let Some(silence) = &silence {
            tracing::warn!(account_id = %id, "its upstream worked for long without output; {silence}");
        }
        let health_update = match pending_usage.model_call.metering {
            Metering::Metered => {
                let called_at = pending_usage.model_call.at;
                self.apply_verdict(member, history, called_at, &verdict, silence, is_first_refusal)
            }
            Metering::Free => PendingHealthUpdate::no_change(),
        };
        if verdict.needs_token_renewal {
            self.request_renewal(member);
            let was_tried_before =
                history.failed_attempts.iter().any(|attempt| attempt.account_id == *id);
            if let Some(token_version) = token_version.filter(|_| !was_tried_before) {
                selector.refused_tokens.push((id.clone(), token_version));
            }
        }
        if let Some(reason) = ineligible_reason(&verdict.account) {
            selector.mark_ineligible(id, reason);
        }
        history
            .failed_attempts
            .push(TriedAccount { account_id: id.clone(), reason: error.to_string() });
        let mut pending_usage = pending_usage;
        if verdict.request == RetryDecision::TryAnother {
            pending_usage.failed_attempts.clone_from(&history.failed_attempts);
        }
        FailedAttempt { pending_usage, error, health_update, verdict }
    }

    /// Stores the effect of the failure on the account, as the verdict says, and that of its
    /// `silence`.
    fn apply_verdict(
        &self,
        member: &PoolMember,
        history: &mut AttemptHistory,
        called_at: jiff::Timestamp,
        verdict: &Verdict,
        silence: Option<AccountEffect>,
        is_first_refusal: bool,
    ) -> PendingHealthUpdate {
        let AccountEffect::Suspect { reason } = verdict.account else {
            let effects = [Some(verdict.account.clone()), silence].into_iter().flatten().collect();
            return self.note_failure(&member.account.id, effects, called_at);
        };
        history.credential_checks.push(self.check_credential(member, called_at));
        if is_first_refusal && reason == CooldownReason::CredentialRefused {
            self.note_unproven(member, self.check_credential(member, called_at), called_at)
        } else {
            PendingHealthUpdate::no_change()
        }
    }

    /// Builds the answer to a request that failed, after the account's health has been stored. If
    /// the organization's credential or balance is the cause, the client learns only that the
    /// account fails.
    async fn answer_failed_attempt(
        &self,
        request: &RequestContext,
        selector: &AccountSelector,
        history: AttemptHistory,
        failed_attempt: FailedAttempt,
        none_eligible: Option<NoEligibleAccount>,
    ) -> ForwardFailure {
        let FailedAttempt { mut pending_usage, mut error, health_update, verdict } = failed_attempt;
        // Before Baton's own waits.
        let silence = pending_usage.called_at.elapsed();
        let was_checked = !history.credential_checks.is_empty();
        let mut is_accepted = was_checked;
        if matches!(verdict.account, AccountEffect::Suspect { .. }) {
            for credential_check in history.credential_checks {
                is_accepted &= credential_check
                    .wait_for_status(Instant::now() + CREDENTIAL_CHECK_TIMEOUT)
                    .await
                    == CredentialStatus::Accepted;
            }
        }
        health_update.wait_until_stored().await;
        let request_end = error.take_request_end(pending_usage.model_call.body_bytes, silence);
        let now = self.store.clock().now();
        let none_eligible =
            || none_eligible.or_else(|| selector.select_account(&self.store, now).err());
        let response = if !verdict.is_private || (is_accepted && !verdict.names_credential) {
            let earliest =
                [cooldown_end(&verdict.account), none_eligible().and_then(|it| it.ready_at(now))];
            let earliest = earliest.into_iter().flatten().min();
            error.into_client_response(
                request,
                earliest.map(|ready_at| seconds_until(ready_at, now)),
            )
        } else if is_accepted && matches!(verdict.account, AccountEffect::Suspect { .. }) {
            Err(RelayError::contradictory_credential())
        } else {
            let unserved = unserved_request(request, selector);
            Err(match none_eligible() {
                Some(none_eligible) => none_eligible.to_relay_error(&unserved, now),
                None => RelayError::attempts_exhausted(),
            })
        };
        pending_usage.status = match &response {
            Ok(response) => response.status().as_u16(),
            Err(refusal) => refusal.status().as_u16(),
        };
        ForwardFailure {
            pending_usage: history.has_called_upstream.then_some(pending_usage),
            request_end,
            response,
        }
    }
}

/// How long an answer waits for the result of a credential probe.
const CREDENTIAL_CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The attempts of a request so far.
#[derive(Default)]
struct AttemptHistory {
    failed_attempts: Vec<TriedAccount>,
    /// The attempt whose failure the client gets if no other attempt succeeds.
    last: Option<FailedAttempt>,
    /// Why the next account is tried.
    failover_cause: Option<&'static str>,
    /// Whether any account was called. If not, the request leaves no record.
    has_called_upstream: bool,
    /// How many accounts refused the request with 401 or 403.
    refusals: usize,
    /// Credential probes of these accounts.
    credential_checks: Vec<PendingCheck>,
}

impl AttemptHistory {
    /// Notes a failed attempt.
    fn note(&mut self, attempt: FailedAttempt) {
        let is_before_call = attempt.error.is_before_call();
        self.failover_cause = Some(attempt.error.cause_label());
        if replaces_last(is_before_call, self.has_called_upstream) {
            self.last = Some(attempt);
        }
        self.has_called_upstream |= !is_before_call;
    }

    /// Starts the pending usage of the next attempt.
    fn new_pending_usage(
        &self,
        model_call: &Arc<ModelCall>,
        member: &PoolMember,
        selector: &AccountSelector,
        upstream_model: String,
        slot: ConcurrencySlot,
    ) -> PendingUsage {
        PendingUsage {
            model_call: Arc::clone(model_call),
            account: member.account.id.clone(),
            provider: member.account.provider,
            credential: member.account.credential,
            token_version: member.token.as_ref().map(|token| token.token_status.issue()),
            seller: Seller::of_account(&member.account),
            upstream_model,
            health_model: member.account.upstream_model(selector.model()).to_owned(),
            attempts: u32::try_from(selector.attempt_count()).unwrap_or(u32::MAX),
            failed_attempts: self.failed_attempts.clone(),
            slot,
            status: 0,
            first_byte_at: None,
            called_at: Instant::now(),
        }
    }
}

/// An attempt without a successful answer.
struct FailedAttempt {
    pending_usage: PendingUsage,
    error: AttemptError,
    health_update: PendingHealthUpdate,
    verdict: Verdict,
}

/// Returns whether an attempt can have cost all that its request has reserved for its money limits.
/// Another attempt needs a new reservation, which is one for a new request.
fn used_up_reservation(pending_usage: &PendingUsage, error: &AttemptError) -> bool {
    let PendingUsage { model_call, called_at, .. } = pending_usage;
    model_call.reserved_cost.has_money_limit
        && is_hidden_work(called_at.elapsed())
        && error.can_hide_work()
}

/// Whether the client gets this failure and not the one before. An account that was not called,
/// because it cannot read the request, says nothing about one that can and failed.
fn replaces_last(is_before_call: bool, has_called_upstream: bool) -> bool {
    !(is_before_call && has_called_upstream)
}

/// Limits a verdict to suspicions and to cooldowns that need an operator. The cause can be the
/// request itself, so only a credential probe can confirm more.
fn limit_to_suspicion(verdict: &mut Verdict) {
    verdict.needs_token_renewal = false;
    verdict.account = match &verdict.account {
        AccountEffect::Cooldown { reason: CooldownReason::TokenRefused, .. } => {
            AccountEffect::Suspect { reason: CooldownReason::CredentialRefused }
        }
        AccountEffect::Cooldown { reason, .. } if reason.needs_operator() => {
            verdict.account.clone()
        }
        AccountEffect::Suspect { reason } => AccountEffect::Suspect { reason: *reason },
        _ => AccountEffect::Nothing,
    };
}

/// Returns why an account with this effect cannot serve the same request.
fn ineligible_reason(effect: &AccountEffect) -> Option<IneligibleReason> {
    match effect {
        AccountEffect::Cooldown { reason: CooldownReason::TokenRefused, .. } => {
            Some(IneligibleReason::TokenExpired)
        }
        AccountEffect::Cooldown { reason: CooldownReason::ModelUnavailable, .. } => {
            Some(IneligibleReason::Model)
        }
        AccountEffect::Cooldown { until, reason, .. } => {
            Some(IneligibleReason::Cooling { until: *until, reason: *reason })
        }
        AccountEffect::Suspect { reason } => Some(IneligibleReason::AuthFailed(*reason)),
        AccountEffect::NotPermitted => Some(IneligibleReason::Protocol),
        AccountEffect::Nothing | AccountEffect::CountFailure { .. } => None,
    }
}

fn cooldown_end(effect: &AccountEffect) -> Option<jiff::Timestamp> {
    match effect {
        AccountEffect::Cooldown { until, .. } => Some(*until),
        _ => None,
    }
}

fn unserved_request<'a>(
    request: &RequestContext,
    selector: &'a AccountSelector,
) -> UnservedRequest<'a> {
    UnservedRequest {
        model: selector.model(),
        operation: selector.operation(),
        api_family: request.api_family,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_of_a_call_precedes_that_of_a_call_that_was_not_made() {
        assert!(replaces_last(false, false), "the first call");
        assert!(replaces_last(false, true), "a later call");
        assert!(replaces_last(true, false), "no account can read the request");
        assert!(!replaces_last(true, true), "another account can, and failed");
    }
}
