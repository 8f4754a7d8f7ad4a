//! Which account: the pure choice, fed with the caller's group and how its accounts are doing.

use crate::Means;
use crate::authenticate::Caller;
use crate::receipt::Bill;
use crate::reply::Refusal;
use baton_cloud::store::{Pool, Store};
use baton_domain::choose::{Candidate, Choice, Ineligible, Wish, choose, ready_at};
use baton_domain::health::{Health, Standing};
use baton_domain::id::AccountId;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An account that is ready so soon is waited for, when there is no other.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The accounts of a request's group, and what the request wants of them.
pub(crate) struct Chooser {
    pool: Arc<Pool>,
    model: String,
    session: u64,
    tried: Vec<AccountId>,
}

/// Nobody will do, each for its own reason.
pub(crate) struct Nobody(Vec<(AccountId, Ineligible)>);

impl Means {
    /// Reads the caller's group.
    pub(crate) async fn chooser(
        &self,
        caller: &Caller,
        model: &str,
        session: u64,
    ) -> Result<Chooser, Refusal> {
        let pool = self
            .store
            .pool(&caller.key().group_id)
            .await
            .map_err(|error| Refusal::store(&error))?;
        match pool {
            Some(pool) if pool.members.is_empty() => Err(Refusal::no_account()),
            Some(pool) if pool.group.enabled => {
                Ok(Chooser { pool, model: model.to_owned(), session, tried: Vec::new() })
            }
            Some(_) => Err(Refusal::group_disabled()),
            None => Err(Refusal::no_account()),
        }
    }

    /// The next account to try, as a position in [`Chooser::pool`]. Waits for one that is ready
    /// soon, and makes the request the one that probes where the account's circuit is half open.
    ///
    /// # Errors
    /// A refusal that names every account and why it will not do.
    pub(crate) async fn pick(
        &self,
        chooser: &mut Chooser,
        bill: Bill,
        deadline: Instant,
    ) -> Result<usize, Refusal> {
        let mut has_waited = false;
        loop {
            let now = self.store.clock().now();
            match chooser.next(&self.store, now) {
                Ok(at) if bill == Bill::Free || self.may_use(chooser, at, now).await => {
                    chooser.tried.push(chooser.pool.members[at].account.id.clone());
                    return Ok(at);
                }
                // Another request probes it.
                Ok(_) => {}
                Err(nobody) => match nobody.wait(now) {
                    Some(wait) if !has_waited && Instant::now() + wait < deadline => {
                        has_waited = true;
                        tokio::time::sleep(wait).await;
                    }
                    _ => return Err(nobody.refusal(&chooser.model, now)),
                },
            }
        }
    }

    /// Whether the account is in full use, or this request the one that probes it. A store that
    /// is down stops nobody.
    async fn may_use(&self, chooser: &Chooser, at: usize, now: Timestamp) -> bool {
        let id = &chooser.pool.members[at].account.id;
        if self.store.health(id).overall(now) != Standing::HalfOpen {
            return true;
        }
        self.store.claim_probe(id).await.unwrap_or_else(|error| {
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
        let health: Vec<Arc<Health>> =
            self.pool.members.iter().map(|member| store.health(&member.account.id)).collect();
        let members = self.pool.members.iter().zip(&health);
        let candidates: Vec<Candidate<'_>> = members
            .map(|(member, health)| Candidate { account: &member.account, health })
            .collect();
        let wish = Wish {
            group: &self.pool.group.id,
            model: &self.model,
            session: self.session,
            tried: &self.tried,
        };
        match choose(&candidates, &wish, now) {
            Choice::Chosen(at) => Ok(at),
            Choice::Nobody(reasons) => Err(Nobody(reasons)),
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
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
        let seconds = ready_at(&self.0).map(|at| {
            let millis = u64::try_from(at.duration_since(now).as_millis()).unwrap_or_default();
            millis.div_ceil(1000).max(1)
        });
        Refusal::nobody(model, &self.0, seconds)
    }
}
