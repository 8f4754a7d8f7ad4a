//! Failover: sends a call to one account after another until one answers.
//!
//! A request tries at most three accounts, each once, or once more after its token was renewed.
//! [`crate::attempt`] makes one attempt, `baton_domain::verdict` decides what a failure means, and
//! the loop here acts on that verdict. [`crate::health_updates`] stores the effect on the account
//! while the next attempt runs.
//!
//! After two accounts have refused a request with 401 or 403, no third one is tried, because the
//! request itself can be the cause. Only the first refusal can affect an account's health without a
//! credential probe.

use crate::account_selection::{
    AccountSelector, NoEligibleAccount, SelectedAccount, SessionAffinity,
};
use crate::attempt::{AttemptError, BufferedResponse};
use crate::authenticate::AuthenticatedKey;
use crate::body::RelayBody;
use crate::body_facts::{BodyFacts, header_text};
use crate::client_response::RelayError;
use crate::credential_checks::PendingCheck;
use crate::health_updates::PendingHealthUpdate;
use crate::pending_usage::{ConcurrencySlot, Metering, ModelCall, PendingUsage};
use crate::request_conversion::ConversionPlan;
use crate::settle::RequestEnd;
use crate::unserved_request::{UnservedRequest, seconds_until};
use crate::{RelayState, RequestContext};
use baton_domain::account_selection::IneligibleReason;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::record::{RequestOutcome, TriedAccount};
use baton_domain::verdict::{AccountEffect, RequestFacts, RetryDecision, Verdict, classify};
use baton_protocol::envelope::replace_model;
use baton_runtime::upstream::CredentialStatus;
use baton_store::PoolMember;
use bytes::Bytes;
use http::Response;
use std::ops::Range;
use std::sync::Arc;
use tokio::time::Instant;

/// The most accounts that one request tries.
const ACCOUNTS_MAX: usize = 3;
/// The most accounts that can refuse one request with 401 or 403 before it fails.
const REFUSALS_MAX: usize = 2;

/// A model call with its body, ready for any account.
#[derive(Clone)]
pub(crate) struct OutboundCall {
    pub(crate) question: Arc<ModelCall>,
    pub(crate) body: Bytes,
    model_span: Range<usize>,
    session: SessionAffinity,
}

/// A successful answer of an upstream, buffered up to its first event.
pub(crate) struct UpstreamResponse {
    pub(crate) receipt: PendingUsage,
    pub(crate) held: BufferedResponse,
}

/// The call got no successful answer. `receipt` is set if an upstream was called.
pub(crate) struct ForwardFailure {
    pub(crate) receipt: Option<PendingUsage>,
    /// How the last attempt ended.
    pub(crate) ending: RequestEnd,
    pub(crate) answer: Result<Response<RelayBody>, RelayError>,
}

impl From<RelayError> for ForwardFailure {
    fn from(refusal: RelayError) -> Self {
        let ending = RequestEnd::without_answer(RequestOutcome::UpstreamError);
        Self { receipt: None, ending, answer: Err(refusal) }
    }
}

impl OutboundCall {
    pub(crate) fn new(
        request: &RequestContext,
        caller: AuthenticatedKey,
        facts: BodyFacts,
        body: Bytes,
        (metering, random): (Metering, u64),
    ) -> Self {
        let BodyFacts { model, model_span, stream, is_fast, session_id, session_seed } = facts;
        let question = ModelCall {
            id: request.id.clone(),
            at: request.at,
            bill: metering,
            protocol: request.protocol,
            trace: request.trace.clone(),
            caller,
            model,
            stream,
            is_fast,
            body_bytes: body.len() as u64,
            session_id,
            agent_id: header_text(&request.head.headers, "x-claude-code-agent-id"),
        };
        let session = SessionAffinity::new(session_seed, random);
        Self { question: Arc::new(question), body, model_span, session }
    }

    /// Returns the body for an account that knows the model as `model`. Only the model name is
    /// replaced; all other bytes stay the same.
    pub(crate) fn body_for(&self, model: &str) -> Bytes {
        if model == self.question.model {
            return self.body.clone();
        }
        replace_model(&self.body, self.model_span.clone(), model)
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
        asked: &RequestContext,
        call: OutboundCall,
        deadline: Instant,
    ) -> Result<UpstreamResponse, ForwardFailure> {
        let question = &call.question;
        let mut chooser = self
            .load_account_selector(
                &question.caller,
                question.operation(),
                &question.model,
                call.session,
            )
            .await?;
        let mut course = AttemptHistory::default();
        while chooser.accounts_tried() < ACCOUNTS_MAX && course.refusals < REFUSALS_MAX {
            let picked = self.next_account(&mut chooser, question, deadline).await;
            let SelectedAccount { at, seat } = match picked {
                Ok(picked) => picked,
                Err(nobody) => {
                    return Err(self.conclude_failed_call(asked, &chooser, course, nobody).await);
                }
            };
            if let Some(missed) = course.last.take() {
                self.observer.record_failover(missed.miss.cause_label());
                self.release_slot(&missed.receipt).await;
            }
            let pool = chooser.pool().clone();
            let member = &pool.members[at];
            let speech = ConversionPlan::for_account(asked, question.stream, &member.account);
            let upstream_model = speech.upstream_model(member, chooser.model());
            let mut receipt =
                course.new_pending_usage(question, member, &chooser, (upstream_model, seat));
            let model = &receipt.upstream_model;
            match self.attempt_account(asked, member, (speech, &call, model), deadline).await {
                Ok(held) => {
                    receipt.status = held.head.status.as_u16();
                    receipt.first_byte_at = Some(self.store.clock().now());
                    self.note_answer(&chooser, at, &held);
                    return Ok(UpstreamResponse { receipt, held });
                }
                Err(miss) => {
                    if miss.is_before_call() {
                        self.release_slot(&receipt).await;
                        receipt.seat = ConcurrencySlot::NotNeeded;
                    } else {
                        course.was_asked = true;
                    }
                    let missed = self.judge_attempt_error(
                        member,
                        &mut chooser,
                        &mut course,
                        (receipt, miss),
                    );
                    let is_over = missed.verdict.request == RetryDecision::ReturnToClient;
                    course.last = Some(missed);
                    if is_over || Instant::now() >= deadline {
                        break;
                    }
                }
            }
        }
        Err(self.conclude_failed_call(asked, &chooser, course, None).await)
    }

    /// Selects the next account. Returns `Err(None)` when the process stops.
    async fn next_account(
        &self,
        chooser: &mut AccountSelector,
        question: &ModelCall,
        deadline: Instant,
    ) -> Result<SelectedAccount, Option<NoEligibleAccount>> {
        tokio::select! {
            biased;
            () = self.stop.is_over.cancelled() => Err(None),
            picked = self.pick_account(chooser, question, deadline) => picked.map_err(Some),
        }
    }

    /// Ends a call for which no more accounts are tried. The answer comes from the last attempt,
    /// or, if there was none, from the reasons why no account could be tried.
    async fn conclude_failed_call(
        &self,
        asked: &RequestContext,
        chooser: &AccountSelector,
        mut course: AttemptHistory,
        nobody: Option<NoEligibleAccount>,
    ) -> ForwardFailure {
        match (course.last.take(), nobody) {
            // Boxed, so that the future of a successful request stays small.
            (Some(missed), nobody) => {
                Box::pin(self.answer_failed_attempt(asked, chooser, course, (missed, nobody))).await
            }
            (None, Some(nobody)) => {
                let now = self.store.clock().now();
                nobody.to_relay_error(&unserved_request(asked, chooser), now).into()
            }
            (None, None) => RelayError::shutting_down().into(),
        }
    }

    /// Stores what a successful answer shows about the account. Free calls store nothing.
    fn note_answer(&self, chooser: &AccountSelector, at: usize, held: &BufferedResponse) {
        let account = &chooser.pool().members[at].account;
        if chooser.is_paid() {
            let model = account.upstream_model(chooser.model());
            self.note_success(&account.id, model, &held.head.headers);
            self.store_session_pin(chooser, at);
        }
    }

    /// Decides what a failed attempt means for the request and, for billed calls, for the account.
    fn judge_attempt_error(
        &self,
        member: &PoolMember,
        chooser: &mut AccountSelector,
        course: &mut AttemptHistory,
        (receipt, miss): (PendingUsage, AttemptError),
    ) -> FailedAttempt {
        let now = self.store.clock().now();
        let told = miss.read_upstream_error(now);
        let id = &member.account.id;
        let token_issue = member.token.as_ref().map(|token| token.standing.issue());
        let facts = RequestFacts {
            provider: member.account.provider,
            credential: member.account.credential,
            token_issue,
            model: member.account.upstream_model(chooser.model()),
            is_fast: receipt.question.is_fast,
        };
        let mut verdict =
            classify(&miss.to_call_failure(&told), &facts, now, self.store.random_source().byte());
        let is_first = course.refusals == 0;
        let is_stale = verdict.asks_renewal
            && !self.checks.should_renew_token(id, token_issue.unwrap_or_default());
        if is_stale || (verdict.is_refusal && !is_first) {
            limit_to_suspicion(&mut verdict);
        }
        course.refusals += usize::from(verdict.is_refusal && !verdict.asks_renewal);
        tracing::warn!(
            request_id = %receipt.question.id, account_id = %id, model = %receipt.upstream_model,
            "attempt failed: {miss}; {}; {}", verdict.request, verdict.account
        );
        let note = match receipt.question.bill {
            Metering::Metered => self.apply_verdict(member, course, &verdict, is_first),
            Metering::Free => PendingHealthUpdate::no_change(),
        };
        if verdict.asks_renewal {
            self.request_renewal(member);
            let was_waited_for = course.tried.iter().any(|tried| tried.account_id == *id);
            if let Some(issue) = token_issue.filter(|_| !was_waited_for) {
                chooser.refused_tokens.push((id.clone(), issue));
            }
        }
        if let Some(why) = ineligible_reason(&verdict.account) {
            chooser.mark_ineligible(id, why);
        }
        course.tried.push(TriedAccount { account_id: id.clone(), reason: miss.to_string() });
        let mut receipt = receipt;
        if verdict.request == RetryDecision::TryAnother {
            receipt.tried.clone_from(&course.tried);
        }
        FailedAttempt { receipt, miss, note, verdict }
    }

    /// Stores the effect of the failure on the account, as the verdict says.
    fn apply_verdict(
        &self,
        member: &PoolMember,
        course: &mut AttemptHistory,
        verdict: &Verdict,
        is_first: bool,
    ) -> PendingHealthUpdate {
        let AccountEffect::Suspect { reason } = verdict.account else {
            return self.note_failure(&member.account.id, verdict.account.clone());
        };
        course.suspicions.push(self.check_credential(member));
        if is_first && reason == CooldownReason::CredentialRefused {
            self.note_unproven(member, self.check_credential(member))
        } else {
            PendingHealthUpdate::no_change()
        }
    }

    /// Builds the answer to a request that failed, after the account's health has been stored. If
    /// the organization's credential or balance is the cause, the client learns only that the
    /// account fails.
    async fn answer_failed_attempt(
        &self,
        asked: &RequestContext,
        chooser: &AccountSelector,
        course: AttemptHistory,
        (missed, nobody): (FailedAttempt, Option<NoEligibleAccount>),
    ) -> ForwardFailure {
        let FailedAttempt { mut receipt, mut miss, note, verdict } = missed;
        let was_checked = !course.suspicions.is_empty();
        let mut is_accepted = was_checked;
        if matches!(verdict.account, AccountEffect::Suspect { .. }) {
            for suspicion in course.suspicions {
                is_accepted &= suspicion.wait_for_status(Instant::now() + PATIENCE).await
                    == CredentialStatus::Accepted;
            }
        }
        note.wait_until_stored().await;
        let ending = miss.take_request_end(receipt.question.body_bytes);
        let now = self.store.clock().now();
        let nobody = || nobody.or_else(|| chooser.select_account(&self.store, now).err());
        let answer = if !verdict.is_private || (is_accepted && !verdict.names_credential) {
            let ready = [cooldown_end(&verdict.account), nobody().and_then(|it| it.ready_at(now))];
            let ready = ready.into_iter().flatten().min();
            miss.into_client_response(asked, ready.map(|at| seconds_until(at, now)))
        } else if is_accepted && matches!(verdict.account, AccountEffect::Suspect { .. }) {
            Err(RelayError::contradictory_credential())
        } else {
            let unserved = unserved_request(asked, chooser);
            Err(match nobody() {
                Some(nobody) => nobody.to_relay_error(&unserved, now),
                None => RelayError::accounts_busy(),
            })
        };
        receipt.status = match &answer {
            Ok(answer) => answer.status().as_u16(),
            Err(refusal) => refusal.status().as_u16(),
        };
        ForwardFailure { receipt: course.was_asked.then_some(receipt), ending, answer }
    }
}

/// How long an answer waits for the result of a credential probe.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// The attempts of a request so far.
#[derive(Default)]
struct AttemptHistory {
    tried: Vec<TriedAccount>,
    last: Option<FailedAttempt>,
    /// Whether any account was called. If not, the request leaves no record.
    was_asked: bool,
    /// How many accounts refused the request with 401 or 403.
    refusals: usize,
    /// Credential probes of these accounts.
    suspicions: Vec<PendingCheck>,
}

impl AttemptHistory {
    /// Starts the pending usage of the next attempt.
    fn new_pending_usage(
        &self,
        question: &Arc<ModelCall>,
        member: &PoolMember,
        chooser: &AccountSelector,
        (upstream_model, seat): (String, ConcurrencySlot),
    ) -> PendingUsage {
        PendingUsage {
            question: Arc::clone(question),
            account: member.account.id.clone(),
            provider: member.account.provider.as_str(),
            upstream_model,
            attempts: u32::try_from(chooser.attempt_count()).unwrap_or(u32::MAX),
            tried: self.tried.clone(),
            seat,
            status: 0,
            first_byte_at: None,
        }
    }
}

/// An attempt without a successful answer.
struct FailedAttempt {
    receipt: PendingUsage,
    miss: AttemptError,
    note: PendingHealthUpdate,
    verdict: Verdict,
}

/// Limits a verdict to suspicions and to cooldowns that need an operator. The cause can be the
/// request itself, so only a credential probe can confirm more.
fn limit_to_suspicion(verdict: &mut Verdict) {
    verdict.asks_renewal = false;
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
        AccountEffect::Nothing | AccountEffect::Strike { .. } => None,
    }
}

fn cooldown_end(effect: &AccountEffect) -> Option<jiff::Timestamp> {
    match effect {
        AccountEffect::Cooldown { until, .. } => Some(*until),
        _ => None,
    }
}

fn unserved_request<'a>(
    asked: &RequestContext,
    chooser: &'a AccountSelector,
) -> UnservedRequest<'a> {
    UnservedRequest { model: chooser.model(), want: chooser.operation(), dialect: asked.dialect }
}
