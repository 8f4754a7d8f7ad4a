//! Which account: the pure choice, fed with the caller's group and how its accounts are doing.

use crate::Means;
use crate::authenticate::Caller;
use crate::receipt::Seat;
use crate::receipt::{Bill, Question};
use crate::reply::Refusal;
use baton_cloud::store::{Pool, Store};
use baton_domain::choose::{
    Choice, Conversation, Ineligible, Wish, choose, first_choice, ready_at,
};
use baton_domain::health::Standing;
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
pub(crate) struct Nobody(Vec<(AccountId, Ineligible)>);

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
    /// A refusal that names every account and why it will not do.
    pub(crate) async fn pick(
        &self,
        chooser: &mut Chooser,
        question: &Question,
        deadline: Instant,
    ) -> Result<Picked, Refusal> {
        let mut has_waited = false;
        loop {
            let now = self.store.clock().now();
            match chooser.next(&self.store, now) {
                Ok(at) => {
                    if let Some(seat) = self.enter(chooser, at, question, deadline).await {
                        chooser.tried.push(chooser.pool.members[at].account.id.clone());
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
                    _ => return Err(nobody.refusal(&chooser.model, now)),
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
        let health = |at: usize| store.health(&self.pool.members[at].account.id);
        match choose(&self.pool.candidates(), health, &self.wish(), now) {
            Choice::Chosen(at) => Ok(at),
            Choice::Nobody(reasons) => Err(Nobody(reasons)),
        }
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
            utilisation_max: self.utilisation_max,
        }
    }

    /// What moves if this session does. Prompt caches are by model.
    pub(crate) fn conversation(&self, session: u64) -> Conversation {
        let (group, model) = (self.pool.group.id.clone(), self.model.clone());
        Conversation { group, session, model }
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

    /// How many accounts were tried.
    pub(crate) fn attempts(&self) -> usize {
        self.tried.len()
    }
}

impl Nobody {
    /// How long until the first account is ready, if that is worth waiting for.
    fn wait(&self, now: Timestamp) -> Option<Duration> {
        let left = Duration::try_from(ready_at(&self.0)?.duration_since(now)).ok()?;
        (left < WAIT_MAX).then_some(left)
    }

    /// What the client is told.
    pub(crate) fn refusal(&self, model: &str, now: Timestamp) -> Refusal {
        let until_ready = ready_at(&self.0).map(|at| {
            let millis = u64::try_from(at.duration_since(now).as_millis()).unwrap_or_default();
            millis.div_ceil(1000).max(1)
        });
        // A request may end at any moment.
        let is_full = self.0.iter().any(|(_, why)| *why == Ineligible::Full);
        let seconds = if is_full { Some(1) } else { until_ready };
        Refusal::nobody(model, &self.0, seconds)
    }
}
