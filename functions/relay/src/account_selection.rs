//! Which account: the pure choice, fed with the caller's group and how its accounts are doing.

use crate::RelayState;
use crate::authenticate::AuthenticatedKey;
use crate::client_response::RelayError;
use crate::pending_usage::ConcurrencySlot;
use crate::pending_usage::{Metering, ModelCall};
use baton_cloud::store::{AccountPool, PoolMember, Store};
use baton_domain::account_selection::{
    IneligibleReason, SelectionCriteria, SelectionResult, SessionPinKey, choose_account,
    first_choice, ready_at,
};
use baton_domain::health::{AccountAvailability, AccountHealth};
use baton_domain::id::AccountId;
use baton_domain::model::map;
use baton_domain::protocol::UpstreamOperation;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An account that is ready so soon is waited for, when there is no other.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The accounts of a request's group, and what the request wants of them.
pub(crate) struct AccountSelector {
    pool: Arc<AccountPool>,
    want: UpstreamOperation,
    model: String,
    pub(crate) session: SessionAffinity,
    /// The cache domain that the session has moved to.
    pub(crate) moved_to: Option<Arc<str>>,
    tried: Vec<AccountId>,
    full: Vec<AccountId>,
    /// Accounts without a good token.
    pub(crate) signed_out: Vec<AccountId>,
    /// Accounts that have refused their token to this request, and which token. Each is waited for
    /// once.
    pub(crate) refused_tokens: Vec<(AccountId, u64)>,
    /// What this request has learned of the accounts that it has tried.
    learned: Vec<(AccountId, IneligibleReason)>,
    attempts: usize,
    is_fast: bool,
    utilisation_max: Option<u32>,
}

/// Which conversation a request belongs to.
#[derive(Clone, Copy)]
pub(crate) enum SessionAffinity {
    /// One that may come again.
    Stable(u64),
    /// None that is known: drawn by chance.
    Random(u64),
}

impl SessionAffinity {
    pub(crate) fn new(known: Option<u64>, die: u64) -> Self {
        known.map_or(Self::Random(die), Self::Stable)
    }

    /// Its number, if it may come again.
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

/// The account to try: a position in [`AccountSelector::pool`], and a place there.
pub(crate) struct SelectedAccount {
    pub(crate) at: usize,
    pub(crate) seat: ConcurrencySlot,
}

/// Nobody will do, each for its own reason.
pub(crate) struct NoEligibleAccount(pub(crate) Vec<(AccountId, IneligibleReason)>);

impl RelayState {
    /// Reads the caller's group, and what `model` is called there.
    pub(crate) async fn load_account_selector(
        &self,
        caller: &AuthenticatedKey,
        want: UpstreamOperation,
        model: &str,
        session: SessionAffinity,
    ) -> Result<AccountSelector, RelayError> {
        let pool = self
            .store
            .pool(&caller.key().group_id)
            .await
            .map_err(|error| RelayError::store_unavailable(&error))?;
        match pool {
            Some(pool) if pool.members.is_empty() => Err(RelayError::no_account()),
            Some(pool) if pool.group.enabled => {
                let model = map(&pool.group.model_aliases, model).unwrap_or(model).to_owned();
                let signed_out = self.accounts_without_token(&pool);
                let mut chooser = AccountSelector {
                    pool,
                    want,
                    model,
                    session,
                    moved_to: None,
                    tried: Vec::new(),
                    full: Vec::new(),
                    signed_out,
                    refused_tokens: Vec::new(),
                    learned: Vec::new(),
                    attempts: 0,
                    is_fast: false,
                    utilisation_max: self.utilisation_max,
                };
                self.load_session_pin(&mut chooser).await;
                Ok(chooser)
            }
            Some(_) => Err(RelayError::group_disabled()),
            None => Err(RelayError::no_account()),
        }
    }

    /// The next account to try. Waits for one that is ready soon, takes a place where places are
    /// counted, and makes the request the one that probes where the account's circuit is half
    /// open. What is free upstream takes no place and probes nothing.
    ///
    /// # Errors
    /// Every account and why it will not do.
    pub(crate) async fn pick_account(
        &self,
        chooser: &mut AccountSelector,
        question: &ModelCall,
        deadline: Instant,
    ) -> Result<SelectedAccount, NoEligibleAccount> {
        let mut has_waited = false;
        chooser.is_fast = question.is_fast;
        loop {
            let now = self.store.clock().now();
            match chooser.select_account(&self.store, now) {
                Ok(at) => {
                    if let Some(seat) =
                        self.acquire_slot_and_probe(chooser, at, question, deadline).await
                    {
                        chooser.tried.push(chooser.pool.members[at].account.id.clone());
                        chooser.attempts += 1;
                        return Ok(SelectedAccount { at, seat });
                    }
                }
                Err(nobody) => match nobody.short_wait(now) {
                    Some(wait) if !has_waited && Instant::now() + wait < deadline => {
                        has_waited = true;
                        tokio::time::sleep(wait).await;
                    }
                    _ if !has_waited && self.wait_for_token(chooser, deadline).await => {
                        has_waited = true;
                    }
                    _ => return Err(nobody),
                },
            }
        }
    }

    /// A place at the account; `None` where it is full, or another request probes it.
    async fn acquire_slot_and_probe(
        &self,
        chooser: &mut AccountSelector,
        at: usize,
        question: &ModelCall,
        deadline: Instant,
    ) -> Option<ConcurrencySlot> {
        if question.bill == Metering::Free {
            return Some(ConcurrencySlot::NotNeeded);
        }
        let account = &chooser.pool.members[at].account;
        let seat = self.acquire_slot(account, &question.id, deadline).await;
        if seat == ConcurrencySlot::Full {
            chooser.full.push(account.id.clone());
            return None;
        }
        if self.claim_probe_if_needed(chooser, at, self.store.clock().now()).await {
            return Some(seat);
        }
        if seat == ConcurrencySlot::Taken {
            self.release_account_slot(&account.id, &question.id).await;
        }
        None
    }

    /// Whether the account is in full use, or this request the one that probes it. A store that
    /// is down stops nobody.
    async fn claim_probe_if_needed(
        &self,
        chooser: &AccountSelector,
        at: usize,
        now: Timestamp,
    ) -> bool {
        let id = &chooser.pool.members[at].account.id;
        if self.store.health(id).overall(now) != AccountAvailability::HalfOpen {
            return true;
        }
        // Boxed, so that requests without probes stay small.
        Box::pin(self.store.claim_probe(id)).await.unwrap_or_else(|error| {
            tracing::warn!(account_id = %id, "{error}; it is probed without a claim");
            true
        })
    }
}

impl AccountSelector {
    /// The account to try now: its position in [`AccountSelector::pool`].
    ///
    /// # Errors
    /// Every account and why it will not do.
    pub(crate) fn select_account(
        &self,
        store: &Store,
        now: Timestamp,
    ) -> Result<usize, NoEligibleAccount> {
        let health = |at: usize| current_health(store, &self.pool.members[at]);
        match choose_account(&self.pool.candidates(), health, &self.selection_criteria(), now) {
            SelectionResult::Chosen(at) => Ok(at),
            SelectionResult::NoneEligible(reasons) => {
                Err(NoEligibleAccount(self.merge_learned_reasons(reasons)))
            }
        }
    }

    /// The reasons, with what this request has found out in place of that it has tried.
    fn merge_learned_reasons(
        &self,
        reasons: Vec<(AccountId, IneligibleReason)>,
    ) -> Vec<(AccountId, IneligibleReason)> {
        let learned = |id: &AccountId| self.learned.iter().rev().find(|(known, _)| known == id);
        let told = |(id, why)| match learned(&id) {
            Some((_, known)) if why == IneligibleReason::AlreadyTried => (id, known.clone()),
            _ => (id, why),
        };
        reasons.into_iter().map(told).collect()
    }

    /// Notes why the account that was tried will not do now.
    pub(crate) fn mark_ineligible(&mut self, id: &AccountId, why: IneligibleReason) {
        self.learned.push((id.clone(), why));
    }

    /// Lets accounts be tried once more whose refused token was replaced. Returns whether there is one.
    pub(crate) fn allow_renewed_accounts(&mut self) -> bool {
        let members = &self.pool.members;
        let is_renewed = |id: &AccountId, issue: u64| {
            let member = members.iter().find(|member| member.account.id == *id);
            let token = member.and_then(|member| member.token.as_ref());
            token.is_some_and(|token| token.standing.issue() != issue)
                && !self.signed_out.contains(id)
        };
        let (back, waiting): (Vec<_>, Vec<_>) =
            self.refused_tokens.drain(..).partition(|(id, issue)| is_renewed(id, *issue));
        self.refused_tokens = waiting;
        self.tried.retain(|id| back.iter().all(|(back, _)| back != id));
        !back.is_empty()
    }

    /// Who would be chosen if all were well.
    pub(crate) fn first_choice(&self) -> Option<usize> {
        first_choice(&self.pool.candidates(), &self.selection_criteria())
    }

    fn selection_criteria(&self) -> SelectionCriteria<'_> {
        SelectionCriteria {
            group: &self.pool.group.id,
            want: self.want,
            model: &self.model,
            session: self.session.number(),
            moved_to: self.moved_to.as_deref(),
            tried: &self.tried,
            full: &self.full,
            signed_out: &self.signed_out,
            is_fast: self.is_fast,
            utilisation_max: self.utilisation_max,
        }
    }

    /// What moves if this session does. Prompt caches are by model.
    pub(crate) fn session_pin_key(&self, session: u64) -> SessionPinKey {
        let (group, model) = (self.pool.group.id.clone(), self.model.clone());
        SessionPinKey { group, session, model }
    }

    /// What is asked for.
    pub(crate) fn operation(&self) -> UpstreamOperation {
        self.want
    }

    /// Whether the upstream bills what is asked for.
    pub(crate) fn is_paid(&self) -> bool {
        matches!(self.want, UpstreamOperation::Answer(_))
    }

    /// The model to be served, by the name that accounts are chosen by.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    pub(crate) fn pool(&self) -> &Arc<AccountPool> {
        &self.pool
    }

    /// Whether the account has not been tried yet.
    pub(crate) fn is_untried(&self, id: &AccountId) -> bool {
        !self.tried.contains(id)
    }

    /// Goes on with the same accounts as they are now.
    pub(crate) fn replace_pool(&mut self, pool: Arc<AccountPool>, signed_out: Vec<AccountId>) {
        (self.pool, self.signed_out) = (pool, signed_out);
    }

    /// How many calls were made.
    pub(crate) fn attempt_count(&self) -> usize {
        self.attempts
    }

    /// How many accounts were tried and may not be tried again.
    pub(crate) fn accounts_tried(&self) -> usize {
        self.tried.len()
    }
}

impl NoEligibleAccount {
    /// How long until the first account is ready, if that is worth waiting for.
    fn short_wait(&self, now: Timestamp) -> Option<Duration> {
        let left = Duration::try_from(ready_at(&self.0)?.duration_since(now)).ok()?;
        (left < WAIT_MAX).then_some(left)
    }
}

/// How the account is doing; what was held against another token than it has now is over.
fn current_health(store: &Store, member: &PoolMember) -> Arc<AccountHealth> {
    let health = store.health(&member.account.id);
    let issue = member.token.as_ref().map(|token| token.standing.issue());
    issue.and_then(|issue| health.with_token(issue)).map_or(health, Arc::new)
}
