//! Account selection for one request: calls the pure rules with the accounts of the key's group and
//! their health.

use crate::RelayState;
use crate::authenticate::AuthenticatedKey;
use crate::client_response::RelayError;
use crate::pending_usage::ConcurrencySlot;
use crate::pending_usage::{Metering, ModelCall};
use baton_domain::account_selection::{
    IneligibleReason, SelectionCriteria, SelectionResult, SessionPinKey, choose_account,
    first_choice, ready_at,
};
use baton_domain::health::{AccountAvailability, AccountHealth};
use baton_domain::id::AccountId;
use baton_domain::model::map;
use baton_domain::protocol::UpstreamOperation;
use baton_store::{AccountPool, PoolMember, RelayStores};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a request waits for an account to become ready if there is no other.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The accounts of a request's group, and what selection needs to know of the request.
pub(crate) struct AccountSelector {
    pool: Arc<AccountPool>,
    operation: UpstreamOperation,
    model: String,
    pub(crate) session: SessionAffinity,
    /// The cache domain that the session has moved to, from its session pin.
    pub(crate) pinned_domain: Option<Arc<str>>,
    tried: Vec<AccountId>,
    at_capacity: Vec<AccountId>,
    /// Accounts without a valid token.
    pub(crate) without_token: Vec<AccountId>,
    /// Accounts that refused their token for this request, with the number of that token. The
    /// request waits for a new token of each account once.
    pub(crate) refused_tokens: Vec<(AccountId, u64)>,
    /// Why the accounts that this request has tried cannot serve it.
    reasons_learned: Vec<(AccountId, IneligibleReason)>,
    attempts: usize,
    is_fast: bool,
    max_utilization: Option<u32>,
}

/// The number that ties a request to an account: the same for all requests of one conversation.
#[derive(Clone, Copy)]
pub(crate) enum SessionAffinity {
    /// The conversation is known, and more of its requests can follow.
    Stable(u64),
    /// No conversation is known. The number is random.
    Random(u64),
}

impl SessionAffinity {
    pub(crate) fn new(seed: Option<u64>, random: u64) -> Self {
        seed.map_or(Self::Random(random), Self::Stable)
    }

    /// Returns the number if more requests can follow with it.
    pub(crate) fn stable_number(self) -> Option<u64> {
        match self {
            Self::Stable(number) => Some(number),
            Self::Random(_) => None,
        }
    }

    fn number(self) -> u64 {
        let (Self::Stable(number) | Self::Random(number)) = self;
        number
    }
}

/// The selected account: its index in [`AccountSelector::pool`], and a concurrency slot.
pub(crate) struct SelectedAccount {
    pub(crate) index: usize,
    pub(crate) slot: ConcurrencySlot,
}

/// No account can serve the request. Holds the reason for each account.
pub(crate) struct NoEligibleAccount(pub(crate) Vec<(AccountId, IneligibleReason)>);

impl RelayState {
    /// Loads the accounts of the key's group and the group's alias for `model`.
    ///
    /// # Errors
    /// The group has no account or is disabled, or the store cannot be read.
    pub(crate) async fn load_account_selector(
        &self,
        caller: &AuthenticatedKey,
        operation: UpstreamOperation,
        model: &str,
        session: SessionAffinity,
    ) -> Result<AccountSelector, RelayError> {
        let pool = self
            .store
            .pools
            .get(&caller.key().group_id)
            .await
            .map_err(|error| RelayError::store_unavailable(&error))?;
        match pool {
            Some(pool) if pool.members.is_empty() => Err(RelayError::no_account()),
            Some(pool) if pool.group.enabled => {
                let model = map(&pool.group.model_aliases, model).unwrap_or(model).to_owned();
                let without_token = self.accounts_without_token(&pool);
                let mut selector = AccountSelector {
                    pool,
                    operation,
                    model,
                    session,
                    pinned_domain: None,
                    tried: Vec::new(),
                    at_capacity: Vec::new(),
                    without_token,
                    refused_tokens: Vec::new(),
                    reasons_learned: Vec::new(),
                    attempts: 0,
                    is_fast: false,
                    max_utilization: self.max_utilization,
                };
                self.load_session_pin(&mut selector).await;
                Ok(selector)
            }
            Some(_) => Err(RelayError::group_disabled()),
            None => Err(RelayError::no_account()),
        }
    }

    /// Selects the next account to try. It waits for an account that is ready soon, takes a
    /// concurrency slot if the account has a maximum, and claims the probe of a half-open circuit.
    /// Free calls take no slot and do not probe.
    ///
    /// # Errors
    /// No account can serve the request; the error holds each reason.
    pub(crate) async fn pick_account(
        &self,
        selector: &mut AccountSelector,
        model_call: &ModelCall,
        deadline: Instant,
    ) -> Result<SelectedAccount, NoEligibleAccount> {
        let mut has_waited = false;
        selector.is_fast = model_call.is_fast;
        loop {
            let now = self.store.clock().now();
            match selector.select_account(&self.store, now) {
                Ok(index) => {
                    if let Some(slot) =
                        self.acquire_slot_and_probe(selector, index, model_call, deadline).await
                    {
                        selector.tried.push(selector.pool.members[index].account.id.clone());
                        selector.attempts += 1;
                        return Ok(SelectedAccount { index, slot });
                    }
                }
                Err(none_eligible) => match none_eligible.short_wait(now) {
                    Some(wait) if !has_waited && Instant::now() + wait < deadline => {
                        has_waited = true;
                        tokio::time::sleep(wait).await;
                    }
                    _ if !has_waited && self.wait_for_token(selector, deadline).await => {
                        has_waited = true;
                    }
                    _ => return Err(none_eligible),
                },
            }
        }
    }

    /// Takes a slot of the account. Returns `None` if the account is full or another request probes
    /// it.
    async fn acquire_slot_and_probe(
        &self,
        selector: &mut AccountSelector,
        index: usize,
        model_call: &ModelCall,
        deadline: Instant,
    ) -> Option<ConcurrencySlot> {
        if model_call.metering == Metering::Free {
            return Some(ConcurrencySlot::NotNeeded);
        }
        let account = &selector.pool.members[index].account;
        let slot = self.acquire_slot(account, &model_call.id, deadline).await;
        if slot == ConcurrencySlot::Full {
            selector.at_capacity.push(account.id.clone());
            return None;
        }
        if self.claim_probe_if_needed(selector, index, self.store.clock().now()).await {
            return Some(slot);
        }
        if slot == ConcurrencySlot::Taken {
            self.release_account_slot(&account.id, &model_call.id).await;
        }
        None
    }

    /// Returns whether the request can use the account: the circuit is not half-open, or this
    /// request is the one that probes it. A store that is down does not block the request.
    async fn claim_probe_if_needed(
        &self,
        selector: &AccountSelector,
        index: usize,
        now: Timestamp,
    ) -> bool {
        let id = &selector.pool.members[index].account.id;
        if self.store.health.get(id).overall(now) != AccountAvailability::HalfOpen {
            return true;
        }
        // Boxed, so that the future of a request without a probe stays small.
        Box::pin(self.store.health.claim_probe(id)).await.unwrap_or_else(|error| {
            tracing::warn!(account_id = %id, "cannot claim the probe of an account, it is probed \
                 without a claim: {error}");
            true
        })
    }
}

impl AccountSelector {
    /// Selects an account now, without waiting, and returns its index in [`AccountSelector::pool`].
    ///
    /// # Errors
    /// No account can serve the request; the error holds each reason.
    pub(crate) fn select_account(
        &self,
        store: &RelayStores,
        now: Timestamp,
    ) -> Result<usize, NoEligibleAccount> {
        let health = |index: usize| current_health(store, &self.pool.members[index]);
        match choose_account(&self.pool.candidates(), health, &self.selection_criteria(), now) {
            SelectionResult::Chosen(index) => Ok(index),
            SelectionResult::NoneEligible(reasons) => {
                Err(NoEligibleAccount(self.merge_learned_reasons(reasons)))
            }
        }
    }

    /// Replaces "already tried" by what this request has learned about the account.
    fn merge_learned_reasons(
        &self,
        reasons: Vec<(AccountId, IneligibleReason)>,
    ) -> Vec<(AccountId, IneligibleReason)> {
        let learned =
            |id: &AccountId| self.reasons_learned.iter().rev().find(|(known, _)| known == id);
        let is_unreported = |(id, reason)| match learned(&id) {
            Some((_, known)) if reason == IneligibleReason::AlreadyTried => (id, known.clone()),
            _ => (id, reason),
        };
        reasons.into_iter().map(is_unreported).collect()
    }

    /// Records why a tried account cannot serve this request.
    pub(crate) fn mark_ineligible(&mut self, id: &AccountId, reason: IneligibleReason) {
        self.reasons_learned.push((id.clone(), reason));
    }

    /// Lets accounts be tried again if their refused token was replaced. Returns whether there are
    /// any.
    pub(crate) fn allow_renewed_accounts(&mut self) -> bool {
        let members = &self.pool.members;
        let is_renewed = |id: &AccountId, token_version: u64| {
            let member = members.iter().find(|member| member.account.id == *id);
            let token = member.and_then(|member| member.token.as_ref());
            token.is_some_and(|token| token.token_status.issue() != token_version)
                && !self.without_token.contains(id)
        };
        let (back, waiting): (Vec<_>, Vec<_>) = self
            .refused_tokens
            .drain(..)
            .partition(|(id, token_version)| is_renewed(id, *token_version));
        self.refused_tokens = waiting;
        self.tried.retain(|id| back.iter().all(|(back, _)| back != id));
        !back.is_empty()
    }

    /// Returns the account that would be selected if all were healthy.
    pub(crate) fn first_choice(&self) -> Option<usize> {
        first_choice(&self.pool.candidates(), &self.selection_criteria())
    }

    fn selection_criteria(&self) -> SelectionCriteria<'_> {
        SelectionCriteria {
            group: &self.pool.group.id,
            operation: self.operation,
            model: &self.model,
            session: self.session.number(),
            pinned_domain: self.pinned_domain.as_deref(),
            tried: &self.tried,
            at_capacity: &self.at_capacity,
            without_token: &self.without_token,
            is_fast: self.is_fast,
            max_utilization: self.max_utilization,
        }
    }

    /// The key of a session pin. It includes the model, because prompt caches are per model.
    pub(crate) fn session_pin_key(&self, session: u64) -> SessionPinKey {
        let (group, model) = (self.pool.group.id.clone(), self.model.clone());
        SessionPinKey { group, session, model }
    }

    /// The operation that the request asks for.
    pub(crate) fn operation(&self) -> UpstreamOperation {
        self.operation
    }

    /// Returns whether the upstream bills the operation.
    pub(crate) fn is_paid(&self) -> bool {
        matches!(self.operation, UpstreamOperation::Answer(_))
    }

    /// The model after the group's aliases, by which accounts are selected.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    pub(crate) fn pool(&self) -> &Arc<AccountPool> {
        &self.pool
    }

    /// Returns whether the account has not been tried yet.
    pub(crate) fn is_untried(&self, id: &AccountId) -> bool {
        !self.tried.contains(id)
    }

    /// Replaces the accounts by their reloaded state.
    pub(crate) fn replace_pool(&mut self, pool: Arc<AccountPool>, without_token: Vec<AccountId>) {
        (self.pool, self.without_token) = (pool, without_token);
    }

    /// The number of upstream calls so far.
    pub(crate) fn attempt_count(&self) -> usize {
        self.attempts
    }

    /// The number of accounts that were tried and must not be tried again.
    pub(crate) fn accounts_tried(&self) -> usize {
        self.tried.len()
    }
}

impl NoEligibleAccount {
    /// Returns the time until the first account is ready, if it is short enough to wait.
    fn short_wait(&self, now: Timestamp) -> Option<Duration> {
        let remaining = Duration::try_from(ready_at(&self.0)?.duration_since(now)).ok()?;
        (remaining < WAIT_MAX).then_some(remaining)
    }
}

/// Returns the account's health. Problems of a token that has been replaced since are ignored.
fn current_health(store: &RelayStores, member: &PoolMember) -> Arc<AccountHealth> {
    let health = store.health.get(&member.account.id);
    let token_version = member.token.as_ref().map(|token| token.token_status.issue());
    token_version
        .and_then(|token_version| health.with_token(token_version))
        .map_or(health, Arc::new)
}
