//! Account selection for one request: calls the pure rules with the accounts of the key's group and
//! their health, and takes what the account needs: a concurrency slot, a valid token, a session pin.

use crate::RelayState;
use crate::authenticate::AuthenticatedKey;
use crate::client_response::RelayError;
use crate::model_call::{Metering, ModelCall, SessionAffinity};
use crate::settle::PendingUsage;
use baton_domain::account::Account;
use baton_domain::account_selection::{
    IneligibleReason, SESSION_PIN_LIFETIME, SelectionCriteria, SelectionResult, SessionPinKey,
    choose_account, domain, first_choice, ready_at,
};
use baton_domain::health::{AccountAvailability, AccountHealth};
use baton_domain::id::{AccountId, RequestId};
use baton_domain::model::find_mapped_model;
use baton_domain::protocol::UpstreamOperation;
use baton_domain::request_tier::RequestTier;
use baton_protocol::meter::MeterReading;
use baton_store::{AccountPool, PoolMember, RelayStores};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a request waits for an account to become ready if there is no other.
const ACCOUNT_WAIT_MAX: Duration = Duration::from_secs(2);

/// How often a waiting request checks for the new token.
const TOKEN_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The accounts of a request's group, and what selection needs to know of the request.
pub(crate) struct AccountSelector {
    pool: Arc<AccountPool>,
    operation: UpstreamOperation,
    model: String,
    session: SessionAffinity,
    /// The cache domain that the session has moved to, from its session pin.
    pinned_domain: Option<Arc<str>>,
    /// The only account that can serve the request, because it has the state that the request
    /// refers to.
    state_account: Option<AccountId>,
    tried: Vec<AccountId>,
    /// How many of the tried accounts were not called, because their protocol cannot express the
    /// request.
    uncalled_count: usize,
    at_capacity: Vec<AccountId>,
    /// Accounts without a valid token.
    without_token: Vec<AccountId>,
    /// Accounts that refused their token for this request, with the number of that token. The
    /// request waits for a new token of each account once.
    pub(crate) refused_tokens: Vec<(AccountId, u64)>,
    /// Why the accounts that this request has tried cannot serve it.
    reasons_learned: Vec<(AccountId, IneligibleReason)>,
    attempts: usize,
    is_fast: bool,
    tier: RequestTier,
    max_utilization: Option<u32>,
}

/// The concurrency slot that a call has at its account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConcurrencySlot {
    /// The account does not limit its concurrency, or the call is free. There is nothing to
    /// release.
    NotNeeded,
    /// A slot was taken and has to be released.
    Taken,
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
                let model =
                    find_mapped_model(&pool.group.model_aliases, model).unwrap_or(model).to_owned();
                let without_token = self.accounts_without_token(&pool);
                let mut selector = AccountSelector {
                    pool,
                    operation,
                    model,
                    session,
                    pinned_domain: None,
                    state_account: None,
                    tried: Vec::new(),
                    uncalled_count: 0,
                    at_capacity: Vec::new(),
                    without_token,
                    refused_tokens: Vec::new(),
                    reasons_learned: Vec::new(),
                    attempts: 0,
                    is_fast: false,
                    tier: RequestTier::Standard,
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
        selector.tier = model_call.tier;
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
        let Some(slot) = self.acquire_slot(account, &model_call.id, deadline).await else {
            selector.at_capacity.push(account.id.clone());
            return None;
        };
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

impl RelayState {
    /// Takes a slot of the account, which expires after `deadline` and the reservation margin.
    /// Returns `None` if no slot is free. If the store is down, the request continues without a slot.
    async fn acquire_slot(
        &self,
        account: &Account,
        request: &RequestId,
        deadline: Instant,
    ) -> Option<ConcurrencySlot> {
        let Some(max) = account.max_concurrency else { return Some(ConcurrencySlot::NotNeeded) };
        let remaining = deadline.saturating_duration_since(Instant::now())
            + self.limit_settings.reservation_margin;
        let remaining = SignedDuration::try_from(remaining).unwrap_or(SignedDuration::MAX);
        let expires = self.store.clock().now().saturating_add(remaining).unwrap_or(Timestamp::MAX);
        let (slots, expires) = (&self.store.slots, expires.as_second());
        // Boxed, so that the future of a request without a slot stays small.
        match Box::pin(slots.acquire_slot(&account.id, max, request, expires)).await {
            Ok(true) => Some(ConcurrencySlot::Taken),
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(account_id = %account.id, "cannot count the concurrent requests of \
                     an account, it is used without the count: {error}");
                Some(ConcurrencySlot::NotNeeded)
            }
        }
    }

    /// Releases a slot that was taken.
    pub(crate) async fn release_account_slot(&self, account: &AccountId, request: &RequestId) {
        let release = Box::pin(self.store.slots.release_slot(account, request));
        if let Err(error) = self.in_store_time(release).await {
            tracing::warn!(account_id = %account, "cannot release a concurrency slot, it stays \
                 until it expires: {error}");
        }
    }
}

/// Session pins: the cache domain of sessions that could not stay with their first choice.
///
/// A pin is stored only if a session left its cache domain because the domain was unavailable. Pins
/// are read only while that was recent, so normal traffic neither reads nor writes them. A move
/// inside a cache domain costs nothing, and a session that left a full account, or one near its
/// limit, returns to it as soon as possible.
impl RelayState {
    /// Loads the session's pin into the selector, if its first choice was recently unavailable.
    async fn load_session_pin(&self, selector: &mut AccountSelector) {
        let Some((session, _)) = self.find_pinnable_session(selector) else { return };
        match Box::pin(self.store.session_pins.find_session_pin(&selector.session_pin_key(session)))
            .await
        {
            Ok(to) => selector.pinned_domain = to,
            Err(error) => tracing::warn!("cannot read the pin of a session: {error}"),
        }
    }

    /// Finds the account that has the answer or the conversation `id`, if this group knows it. Other
    /// requests are not delayed.
    pub(crate) async fn load_state_pin(&self, selector: &mut AccountSelector, id: &str) {
        if selector.pool.members.len() < 2 {
            return;
        }
        let pin_key = SessionPinKey::of_state(&selector.pool.group.id, id);
        match self.store.session_pins.find_session_pin(&pin_key).await {
            Ok(Some(account)) => {
                let mut ids = selector.pool.members.iter().map(|member| &member.account.id);
                selector.state_account = ids.find(|id| id.as_str() == &*account).cloned();
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("cannot read which account has a state: {error}"),
        }
    }

    /// Stores which account has the state of an answer: the answer itself and, if the request
    /// belongs to one, the conversation.
    pub(crate) async fn store_state_pin(
        &self,
        pending_usage: &PendingUsage,
        reading: &MeterReading,
    ) {
        let model_call = &*pending_usage.model_call;
        let ModelCall { keeps_state, caller, model, state_id, .. } = model_call;
        let Some(answer_id) = reading.answer_id.as_deref().filter(|_| *keeps_state) else { return };
        let group = &caller.key().group_id;
        let Ok(Some(pool)) = self.store.pools.get(group).await else { return };
        let is_account = |member: &&PoolMember| member.account.id == pending_usage.account;
        let Some(member) = pool.members.iter().find(is_account) else { return };
        // A translated answer is not kept, and one account has everything.
        let plan = self.conversion_plan(model_call, &member.account, model);
        if pool.members.len() < 2 || !plan.is_pass_through() {
            return;
        }
        let conversation = state_id.as_deref().filter(|id| id.starts_with("conv"));
        for id in [Some(answer_id), conversation].into_iter().flatten() {
            let pin_key = SessionPinKey::of_state(group, id);
            let pins = &self.store.session_pins;
            if let Err(error) = pins.put_state_pin(&pin_key, &member.account.id).await {
                tracing::warn!("cannot store which account has a state: {error}");
            }
        }
    }

    /// Stores a pin if the session has just moved to the account at `index`. The write does not
    /// delay the answer.
    pub(crate) fn store_session_pin(&self, selector: &AccountSelector, index: usize) {
        let Some((session, first_choice)) = self.find_pinnable_session(selector) else { return };
        let to = domain(&selector.pool().members[index].account);
        let from = selector.pinned_domain.as_deref().unwrap_or(first_choice);
        if from == to || !self.was_domain_unavailable(selector, from) {
            return;
        }
        let (store, pin_key, to) =
            (self.store.clone(), selector.session_pin_key(session), to.to_owned());
        self.background_tasks.spawn(async move {
            if let Err(error) = store.session_pins.put_session_pin(&pin_key, &to).await {
                tracing::warn!("cannot store the pin of a session: {error}");
            }
        });
    }

    /// Returns the session and the cache domain of its first choice, if that domain was unavailable
    /// so recently that the session might have moved.
    fn find_pinnable_session<'a>(&self, selector: &'a AccountSelector) -> Option<(u64, &'a str)> {
        let session = selector.session.stable_number()?;
        // The usual case is checked first, before anything is computed.
        if !self.was_any_account_unavailable(
            selector.pool().members.iter().map(|member| &member.account),
        ) {
            return None;
        }
        let first_choice = domain(&selector.pool().members[selector.first_choice()?].account);
        self.was_domain_unavailable(selector, first_choice).then_some((session, first_choice))
    }

    /// Returns whether an account of the cache domain was recently unavailable.
    fn was_domain_unavailable(&self, selector: &AccountSelector, name: &str) -> bool {
        let accounts = selector.pool().members.iter().map(|member| &member.account);
        self.was_any_account_unavailable(accounts.filter(|account| domain(account) == name))
    }

    /// Returns whether one of the accounts was recently unavailable.
    fn was_any_account_unavailable<'a>(&self, accounts: impl Iterator<Item = &'a Account>) -> bool {
        let ids = accounts.map(|account| &account.id);
        self.store.health.was_any_unavailable(ids, SESSION_PIN_LIFETIME, self.store.clock().now())
    }
}

/// Accounts whose token has expired or was refused. The relay asks refresh for a new token and uses
/// another account. It waits for the new token only if no account is left. It never renews tokens
/// itself.
impl RelayState {
    /// Returns the accounts without a valid token and asks refresh for new tokens. Each process
    /// asks once for each token.
    fn accounts_without_token(&self, pool: &AccountPool) -> Vec<AccountId> {
        let now = self.store.clock().now();
        let is_expired = |member: &&PoolMember| {
            !member.token.as_ref().is_some_and(|token| token.token_status.is_usable(now))
        };
        let expired = pool.renewed.iter().map(|&index| &pool.members[index]).filter(is_expired);
        expired
            .inspect(|member| self.request_renewal(member))
            .map(|one| one.account.id.clone())
            .collect()
    }

    /// Asks refresh for a new token, without delaying the request.
    pub(crate) fn request_renewal(&self, member: &PoolMember) {
        let Some(token) = &member.token else { return };
        let (store, id, version) = (self.store.clone(), member.account.id.clone(), token.version);
        self.background_tasks.spawn(async move {
            if let Err(error) = store.renewals.request_renewal(&id, version).await {
                tracing::warn!(account_id = %id, "cannot request a new token: {error}");
            }
        });
    }

    /// Waits for a limited time until an account whose token had expired or was refused has a new
    /// one. Returns whether there is now an account that could not be selected before.
    async fn wait_for_token(&self, selector: &mut AccountSelector, deadline: Instant) -> bool {
        let deadline = deadline.min(Instant::now() + self.timeouts.token);
        let waiting_accounts: Vec<AccountId> =
            selector.without_token.iter().filter(|id| selector.is_untried(id)).cloned().collect();
        while !(waiting_accounts.is_empty() && selector.refused_tokens.is_empty())
            && Instant::now() + TOKEN_POLL_INTERVAL < deadline
        {
            tokio::time::sleep(TOKEN_POLL_INTERVAL).await;
            let Ok(Some(pool)) = Box::pin(self.store.pools.reload(&selector.pool().group.id)).await
            else {
                continue;
            };
            let expired = self.accounts_without_token(&pool);
            let has_recovered = waiting_accounts.iter().any(|id| !expired.contains(id));
            selector.replace_pool(pool, expired);
            if selector.allow_renewed_accounts() || has_recovered {
                return true;
            }
        }
        false
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
        let others = self.accounts_without_state();
        let tried = if others.is_empty() { &self.tried } else { &others };
        let criteria = SelectionCriteria { tried, ..self.selection_criteria() };
        match choose_account(&self.pool.candidates(), health, &criteria, now) {
            SelectionResult::Chosen(index) => Ok(index),
            SelectionResult::NoneEligible(mut reasons) => {
                if let Some(account) = &self.state_account {
                    reasons.retain(|(id, _)| id == account);
                }
                Err(NoEligibleAccount(self.merge_learned_reasons(reasons)))
            }
        }
    }

    /// Returns the accounts that must not be used: those that were tried, and those without the
    /// state that the request refers to. It is empty if every account has it.
    fn accounts_without_state(&self) -> Vec<AccountId> {
        let Some(account) = &self.state_account else { return Vec::new() };
        let ids = self.pool.members.iter().map(|member| &member.account.id);
        ids.filter(|id| *id != account || self.tried.contains(id)).cloned().collect()
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

    /// The request cannot be converted for the account at `index`. Excludes it and every account that
    /// needs the same conversion. They do not count as tried, so that accounts with another protocol
    /// are still tried.
    pub(crate) fn exclude_form(
        &mut self,
        index: usize,
        state: &RelayState,
        model_call: &ModelCall,
    ) {
        let pool = Arc::clone(&self.pool);
        let form = |account: &Account| {
            let plan = state.conversion_plan(model_call, account, &self.model);
            plan.request_form(account, &self.model)
        };
        let refused = form(&pool.members[index].account);
        let is_same = |member: &&PoolMember| form(&member.account) == refused;
        let same: Vec<AccountId> =
            pool.members.iter().filter(is_same).map(|member| member.account.id.clone()).collect();
        // The account itself was selected, so it is among the tried ones.
        self.uncalled_count += 1;
        for id in same {
            self.mark_ineligible(&id, IneligibleReason::Protocol);
            if self.is_untried(&id) {
                self.uncalled_count += 1;
                self.tried.push(id);
            }
        }
    }

    /// Lets accounts be tried again if their refused token was replaced. Returns whether there are
    /// any.
    fn allow_renewed_accounts(&mut self) -> bool {
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
    fn first_choice(&self) -> Option<usize> {
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
            tier: self.tier,
            max_utilization: self.max_utilization,
        }
    }

    /// The key of a session pin. It includes the model, because prompt caches are per model.
    fn session_pin_key(&self, session: u64) -> SessionPinKey {
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
    fn is_untried(&self, id: &AccountId) -> bool {
        !self.tried.contains(id)
    }

    /// Replaces the accounts by their reloaded state.
    fn replace_pool(&mut self, pool: Arc<AccountPool>, without_token: Vec<AccountId>) {
        (self.pool, self.without_token) = (pool, without_token);
    }

    /// The number of upstream calls so far.
    pub(crate) fn attempt_count(&self) -> usize {
        self.attempts
    }

    /// The number of accounts that were called and must not be called again.
    pub(crate) fn accounts_tried(&self) -> usize {
        self.tried.len().saturating_sub(self.uncalled_count)
    }
}

impl NoEligibleAccount {
    /// Returns the time until the first account is ready, if it is short enough to wait.
    fn short_wait(&self, now: Timestamp) -> Option<Duration> {
        let remaining = Duration::try_from(ready_at(&self.0)?.duration_since(now)).ok()?;
        (remaining < ACCOUNT_WAIT_MAX).then_some(remaining)
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
