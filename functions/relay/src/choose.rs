//! Which account: the pure choice, fed with the caller's group and how its accounts are doing.

use crate::Means;
use crate::authenticate::Caller;
use crate::receipt::Seat;
use crate::receipt::{Bill, Question};
use crate::reply::Refusal;
use baton_cloud::store::{Pool, PoolMember, Store};
use baton_domain::choose::{
    Choice, Conversation, Ineligible, Wish, choose, first_choice, ready_at,
};
use baton_domain::health::{Health, Standing};
use baton_domain::id::AccountId;
use baton_domain::model::map;
use baton_domain::protocol::Want;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An account that is ready so soon is waited for, when there is no other.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The accounts of a request's group, and what the request wants of them.
pub(crate) struct Chooser {
    pool: Arc<Pool>,
    want: Want,
    model: String,
    pub(crate) session: Session,
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
    learned: Vec<(AccountId, Ineligible)>,
    attempts: usize,
    is_fast: bool,
    utilisation_max: Option<u32>,
}

/// Which conversation a request belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Session {
    /// One that may come again.
    Lasting(u64),
    /// None that is known: drawn by chance.
    Drawn(u64),
}

impl Session {
    pub(crate) fn new(known: Option<u64>, die: u64) -> Self {
        known.map_or(Self::Drawn(die), Self::Lasting)
    }

    /// Its number, if it may come again.
    pub(crate) fn lasting(self) -> Option<u64> {
        match self {
            Self::Lasting(number) => Some(number),
            Self::Drawn(_) => None,
        }
    }

    fn number(self) -> u64 {
        let (Self::Lasting(number) | Self::Drawn(number)) = self;
        number
    }
}

/// The account to try: a position in [`Chooser::pool`], and a place there.
pub(crate) struct Picked {
    pub(crate) at: usize,
    pub(crate) seat: Seat,
}

/// Nobody will do, each for its own reason.
pub(crate) struct Nobody(pub(crate) Vec<(AccountId, Ineligible)>);

impl Means {
    /// Reads the caller's group, and what `model` is called there.
    pub(crate) async fn chooser(
        &self,
        caller: &Caller,
        want: Want,
        model: &str,
        session: Session,
    ) -> Result<Chooser, Refusal> {
        let pool = self
            .store
            .pool(&caller.key().group_id)
            .await
            .map_err(|error| Refusal::store(&error))?;
        match pool {
            Some(pool) if pool.members.is_empty() => Err(Refusal::no_account()),
            Some(pool) if pool.group.enabled => {
                let model = map(&pool.group.model_aliases, model).unwrap_or(model).to_owned();
                let signed_out = self.signed_out(&pool);
                let mut chooser = Chooser {
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
                self.recall_move(&mut chooser).await;
                Ok(chooser)
            }
            Some(_) => Err(Refusal::group_disabled()),
            None => Err(Refusal::no_account()),
        }
    }

    /// The next account to try. Waits for one that is ready soon, takes a place where places are
    /// counted, and makes the request the one that probes where the account's circuit is half
    /// open. What is free upstream takes no place and probes nothing.
    ///
    /// # Errors
    /// Every account and why it will not do.
    pub(crate) async fn pick(
        &self,
        chooser: &mut Chooser,
        question: &Question,
        deadline: Instant,
    ) -> Result<Picked, Nobody> {
        let mut has_waited = false;
        chooser.is_fast = question.is_fast;
        loop {
            let now = self.store.clock().now();
            match chooser.next(&self.store, now) {
                Ok(at) => {
                    if let Some(seat) = self.enter(chooser, at, question, deadline).await {
                        chooser.tried.push(chooser.pool.members[at].account.id.clone());
                        chooser.attempts += 1;
                        return Ok(Picked { at, seat });
                    }
                }
                Err(nobody) => match nobody.wait(now) {
                    Some(wait) if !has_waited && Instant::now() + wait < deadline => {
                        has_waited = true;
                        tokio::time::sleep(wait).await;
                    }
                    _ if !has_waited && self.await_token(chooser, deadline).await => {
                        has_waited = true;
                    }
                    _ => return Err(nobody),
                },
            }
        }
    }

    /// A place at the account; `None` where it is full, or another request probes it.
    async fn enter(
        &self,
        chooser: &mut Chooser,
        at: usize,
        question: &Question,
        deadline: Instant,
    ) -> Option<Seat> {
        if question.bill == Bill::Free {
            return Some(Seat::NotNeeded);
        }
        let account = &chooser.pool.members[at].account;
        let seat = self.take_seat(account, &question.id, deadline).await;
        if seat == Seat::Full {
            chooser.full.push(account.id.clone());
            return None;
        }
        if self.may_use(chooser, at, self.store.clock().now()).await {
            return Some(seat);
        }
        if seat == Seat::Taken {
            self.leave(&account.id, &question.id).await;
        }
        None
    }

    /// Whether the account is in full use, or this request the one that probes it. A store that
    /// is down stops nobody.
    async fn may_use(&self, chooser: &Chooser, at: usize, now: Timestamp) -> bool {
        let id = &chooser.pool.members[at].account.id;
        if self.store.health(id).overall(now) != Standing::HalfOpen {
            return true;
        }
        // Boxed, so that requests without probes stay small.
        Box::pin(self.store.claim_probe(id)).await.unwrap_or_else(|error| {
            tracing::warn!(account_id = %id, "{error}; it is probed without a claim");
            true
        })
    }
}

impl Chooser {
    /// The account to try now: its position in [`Chooser::pool`].
    ///
    /// # Errors
    /// Every account and why it will not do.
    pub(crate) fn next(&self, store: &Store, now: Timestamp) -> Result<usize, Nobody> {
        let health = |at: usize| health_of(store, &self.pool.members[at]);
        match choose(&self.pool.candidates(), health, &self.wish(), now) {
            Choice::Chosen(at) => Ok(at),
            Choice::Nobody(reasons) => Err(Nobody(self.with_learned(reasons))),
        }
    }

    /// The reasons, with what this request has found out in place of that it has tried.
    fn with_learned(&self, reasons: Vec<(AccountId, Ineligible)>) -> Vec<(AccountId, Ineligible)> {
        let learned = |id: &AccountId| self.learned.iter().rev().find(|(known, _)| known == id);
        let told = |(id, why)| match learned(&id) {
            Some((_, known)) if why == Ineligible::Tried => (id, known.clone()),
            _ => (id, why),
        };
        reasons.into_iter().map(told).collect()
    }

    /// Notes why the account that was tried will not do now.
    pub(crate) fn learn(&mut self, id: &AccountId, why: Ineligible) {
        self.learned.push((id.clone(), why));
    }

    /// Lets accounts be tried once more whose refused token was replaced. Returns whether there is one.
    pub(crate) fn allow_renewed(&mut self) -> bool {
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
        first_choice(&self.pool.candidates(), &self.wish())
    }

    fn wish(&self) -> Wish<'_> {
        Wish {
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
    pub(crate) fn conversation(&self, session: u64) -> Conversation {
        let (group, model) = (self.pool.group.id.clone(), self.model.clone());
        Conversation { group, session, model }
    }

    /// Whether the upstream bills what is asked for.
    pub(crate) fn is_paid(&self) -> bool {
        matches!(self.want, Want::Answer(_))
    }

    /// The model to be served, by the name that accounts are chosen by.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Whether the account has not been tried yet.
    pub(crate) fn may_yet_try(&self, id: &AccountId) -> bool {
        !self.tried.contains(id)
    }

    /// Goes on with the same accounts as they are now.
    pub(crate) fn renew(&mut self, pool: Arc<Pool>, signed_out: Vec<AccountId>) {
        (self.pool, self.signed_out) = (pool, signed_out);
    }

    /// How many calls were made.
    pub(crate) fn attempts(&self) -> usize {
        self.attempts
    }

    /// How many accounts were tried and may not be tried again.
    pub(crate) fn accounts_tried(&self) -> usize {
        self.tried.len()
    }
}

impl Nobody {
    /// How long until the first account is ready, if that is worth waiting for.
    fn wait(&self, now: Timestamp) -> Option<Duration> {
        let left = Duration::try_from(ready_at(&self.0)?.duration_since(now)).ok()?;
        (left < WAIT_MAX).then_some(left)
    }
}

/// How the account is doing; what was held against another token than it has now is over.
fn health_of(store: &Store, member: &PoolMember) -> Arc<Health> {
    let health = store.health(&member.account.id);
    let issue = member.token.as_ref().map(|token| token.standing.issue());
    issue.and_then(|issue| health.with_token(issue)).map_or(health, Arc::new)
}
