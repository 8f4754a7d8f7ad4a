//! Stores what a request shows about its account, and checks credentials that an upstream seems to
//! refuse.
//!
//! A write does not delay the request and happens only if the health changes. A refusal can be the
//! fault of the request itself, so an account is marked only after a credential probe (a free call
//! without any of the client's data) has failed too.

use crate::RelayState;
use crate::attempt_error::to_error_fields;
use crate::model_call::Metering;
use crate::settle::PendingUsage;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::{
    AccountHealth, after, after_all, after_complete_answer, after_good_start, after_late_failure,
};
use baton_domain::id::AccountId;
use baton_domain::secret::Secret;
use baton_domain::verdict::AccountEffect;
use baton_protocol::meter::UpstreamFailure;
use baton_protocol::rate_limit_headers::read_utilization;
use baton_providers::classification::classify_late_error;
use baton_runtime::upstream::{
    CredentialProbe, CredentialStatus, ProbeOutcome, RequestSigner, UpstreamClient,
};
use baton_store::{PoolMember, RelayStores};
use http::HeaderMap;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument as _;

/// How long the result of a check is used, so that further refused requests do not cause a probe
/// each.
const CHECK_RESULT_TTL: Duration = Duration::from_secs(30);
/// How long an answer waits for a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// If another token was refused within this time, the token is not the cause.
const RENEWAL_INTERVAL_MIN: Duration = Duration::from_mins(1);
/// How long an answer waits for a write that is still running.
const HEALTH_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// The recent checks of this process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct CredentialChecks(Arc<Mutex<CheckCache>>);

#[derive(Default)]
struct CheckCache {
    by_account: HashMap<AccountId, RecentCheck>,
    /// The token for which a renewal was last requested, and when.
    renewal_requests: HashMap<AccountId, (Instant, u64)>,
}

struct RecentCheck {
    started: Instant,
    credential: Secret,
    /// When the call began that was refused.
    called_at: Timestamp,
    outcome: CheckOutcome,
}

type CheckOutcome = watch::Receiver<Option<CredentialStatus>>;

/// A check that is running or has finished recently.
pub(crate) struct PendingCheck(CheckOutcome);

impl PendingCheck {
    /// Waits for the result of the check. Returns `Unknown` if it takes too long.
    pub(crate) async fn wait_for_status(mut self, deadline: Instant) -> CredentialStatus {
        let deadline = deadline.min(Instant::now() + CHECK_TIMEOUT);
        let known = self.0.wait_for(Option::is_some);
        let known = tokio::time::timeout_at(deadline, known).await;
        known
            .ok()
            .and_then(Result::ok)
            .and_then(|known| *known)
            .unwrap_or(CredentialStatus::Unknown)
    }
}

impl CredentialChecks {
    /// Returns whether to request a new token in place of `token_version`. If another token was
    /// refused shortly before, the requests or the account are the cause, and a new token would not
    /// help.
    pub(crate) fn should_renew_token(&self, account: &AccountId, token_version: u64) -> bool {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let last = checks.renewal_requests.get(account);
        if last
            .is_some_and(|(at, other)| *other != token_version && now - *at < RENEWAL_INTERVAL_MIN)
        {
            return false;
        }
        if last.is_none_or(|(_, other)| *other != token_version) {
            checks.renewal_requests.insert(account.clone(), (now, token_version));
        }
        true
    }
}

impl RelayState {
    /// Starts a credential probe after a call that began at `called_at`, or returns a recent one. Its
    /// result is stored in the account's health.
    pub(crate) fn check_credential(
        &self,
        member: &PoolMember,
        called_at: Timestamp,
    ) -> PendingCheck {
        let mut checks = self.credential_checks.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, now) = (member.account.id.clone(), Instant::now());
        let credential = &member.credential;
        if let Some(recent) = checks.by_account.get(&id)
            && now - recent.started < CHECK_RESULT_TTL
            && recent.credential.expose() == credential.expose()
            && self.store.health.get(&id).is_about(recent.called_at)
        {
            return PendingCheck(recent.outcome.clone());
        }
        let (sender, outcome) = watch::channel(None);
        let (credential, shared) = (credential.clone(), outcome.clone());
        checks
            .by_account
            .insert(id, RecentCheck { started: now, credential, called_at, outcome: shared });
        let Ok(upstream) = self.upstream.with_proxy(member.proxy.as_ref()) else {
            sender.send_replace(Some(CredentialStatus::Unknown));
            return PendingCheck(outcome);
        };
        let check = CredentialCheck {
            store: self.store.clone(),
            upstream,
            signer: self.signer.clone(),
            account: member.account.clone(),
            credential: member.credential.clone(),
            called_at,
        };
        let probe = async move {
            let credential_status = check.run_probe().await;
            sender.send_replace(Some(credential_status));
        };
        // In the span of the request, so that the log line of the check has the request's id.
        self.background_tasks.spawn(probe.in_current_span());
        PendingCheck(outcome)
    }

    /// Counts one failure against the account if the probe can neither confirm nor clear the
    /// suspicion. Several such failures open the circuit, and a successful answer clears them, so
    /// that a wrong guess never excludes an account for long.
    pub(crate) fn note_unproven(
        &self,
        member: &PoolMember,
        credential_check: PendingCheck,
        called_at: Timestamp,
    ) -> PendingHealthUpdate {
        let (store, id) = (self.store.clone(), member.account.id.clone());
        let deadline = Instant::now() + CHECK_TIMEOUT;
        PendingHealthUpdate(Some(self.background_tasks.spawn(async move {
            if credential_check.wait_for_status(deadline).await != CredentialStatus::Unproven {
                return;
            }
            let now = store.clock().now();
            let effect = AccountEffect::CountFailure { reason: CooldownReason::CredentialRefused };
            let change = |health: &AccountHealth| {
                health.after_call(called_at, |health| after(health, &effect, now))
            };
            if let Err(error) = store.health.change_health(&id, change).await {
                tracing::warn!(account_id = %id, "cannot store the health of an account: {error}");
            }
        })))
    }
}

/// How an answer ended whose beginning was good.
pub(crate) enum ObservedEnd<'a> {
    Complete,
    /// The upstream reported an error.
    Error(&'a UpstreamFailure),
    /// The upstream's bytes ended too early, or cannot be read.
    Broken(CooldownReason),
    /// The client or Baton ended it.
    Cut,
}

struct CredentialCheck {
    store: RelayStores,
    upstream: UpstreamClient,
    signer: RequestSigner,
    account: baton_domain::account::Account,
    credential: Secret,
    /// When the call began that was refused.
    called_at: Timestamp,
}

impl CredentialCheck {
    async fn run_probe(self) -> CredentialStatus {
        let Self { store, upstream, signer, account, credential, called_at } = &self;
        let bits = store.random_source().bits();
        let subject = CredentialProbe { upstream, signer, account, credential, bits };
        let (health, now) = (store.health.get(&account.id), store.clock().now());
        let outcome = subject.probe_credential(&health, now).await;
        let ProbeOutcome { credential_status, message, .. } = &outcome;
        tracing::warn!(
            account_id = %account.id, %credential_status,
            "checked a credential with a free call: {message}"
        );
        let change = |health: &AccountHealth| {
            health.after_call(*called_at, |health| outcome.apply_to_health(health, now))
        };
        if let Err(error) = store.health.change_health(&account.id, change).await {
            tracing::warn!(account_id = %account.id, "cannot store the health of an account: \
                 {error}");
        }
        outcome.credential_status
    }
}

/// A change of an account's health that is being written to the store.
pub(crate) struct PendingHealthUpdate(Option<JoinHandle<()>>);

impl PendingHealthUpdate {
    /// Nothing has to be written.
    pub(crate) fn no_change() -> Self {
        Self(None)
    }

    /// Waits until the change is stored, but at most [`HEALTH_WRITE_TIMEOUT`]. Without the wait,
    /// Lambda could freeze the process after the answer and delay the write.
    pub(crate) async fn wait_until_stored(self) {
        if let Some(writing) = self.0 {
            let _either_way = tokio::time::timeout(HEALTH_WRITE_TIMEOUT, writing).await;
        }
    }
}

impl RelayState {
    /// Stores the effects of a failure on the account, in one write. The call began at `called_at`.
    pub(crate) fn note_failure(
        &self,
        account: &AccountId,
        effects: Vec<AccountEffect>,
        called_at: Timestamp,
    ) -> PendingHealthUpdate {
        let now = self.store.clock().now();
        self.note_health_change(account, move |health| {
            health.after_call(called_at, |health| after_all(health, &effects, now))
        })
    }

    /// Stores what the end of an answer shows about its account. An upstream that fails in the middle
    /// of its answers fails as much as one that gives none. An answer that was cut by its client or
    /// by Baton shows nothing, and free calls store nothing.
    pub(crate) fn note_answer_end(
        &self,
        pending_usage: &PendingUsage,
        end: &ObservedEnd<'_>,
    ) -> PendingHealthUpdate {
        let account = &pending_usage.account;
        if pending_usage.model_call.metering == Metering::Free {
            return PendingHealthUpdate::no_change();
        }
        let effect = match *end {
            ObservedEnd::Complete => {
                return self.note_health_change(account, after_complete_answer);
            }
            ObservedEnd::Error(failure) => classify_late_error(
                &to_error_fields(failure),
                &pending_usage.request_facts(),
                self.store.clock().now(),
                self.store.random_source().byte(),
            ),
            ObservedEnd::Broken(reason) => AccountEffect::CountFailure { reason },
            ObservedEnd::Cut => return PendingHealthUpdate::no_change(),
        };
        tracing::warn!(account_id = %account, "an answer failed after its beginning; {effect}");
        let (now, called_at) = (self.store.clock().now(), pending_usage.model_call.at);
        self.note_health_change(account, move |health| {
            health.after_call(called_at, |health| after_late_failure(health, &effect, now))
        })
    }

    /// Stores the good start of an answer for `model` and the utilization from its headers.
    pub(crate) fn note_good_start(
        &self,
        account: &AccountId,
        model: &str,
        headers: &HeaderMap,
    ) -> PendingHealthUpdate {
        let (now, utilization) = (self.store.clock().now(), read_utilization(headers));
        let model = model.to_owned();
        self.note_health_change(account, move |health| {
            after_good_start(health, &model, utilization, now)
        })
    }

    /// Applies `change` in memory, and writes it to the store if it changes anything.
    pub(crate) fn note_health_change(
        &self,
        account: &AccountId,
        change: impl Fn(&AccountHealth) -> Option<AccountHealth> + Send + Sync + 'static,
    ) -> PendingHealthUpdate {
        if !self.store.health.change_health_in_memory(account, &change) {
            return PendingHealthUpdate::no_change();
        }
        let (store, account) = (self.store.clone(), account.clone());
        PendingHealthUpdate(Some(self.background_tasks.spawn(async move {
            if let Err(error) = store.health.write_health(&account, change).await {
                tracing::warn!(account_id = %account, "cannot store the health of an account: \
                     {error}");
            }
        })))
    }
}
