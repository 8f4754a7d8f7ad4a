//! Which account: the pure choice, fed with the caller's group.

use crate::Means;
use crate::authenticate::Caller;
use crate::reply::Refusal;
use baton_cloud::store::Pool;
use baton_domain::choose::{Candidate, Choice, Wish, choose};
use baton_domain::health::Health;
use baton_domain::id::AccountId;
use jiff::Timestamp;
use std::sync::Arc;

/// The accounts of a request's group, and what the request wants of them.
pub(crate) struct Chooser {
    pool: Arc<Pool>,
    model: String,
    session: u64,
    tried: Vec<AccountId>,
}

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
}

impl Chooser {
    /// The next account to try: its position in [`Chooser::pool`].
    ///
    /// # Errors
    /// A refusal that names every account and why it will not do.
    pub(crate) fn next(&mut self, now: Timestamp) -> Result<usize, Refusal> {
        let health = Health::default();
        let candidates: Vec<Candidate<'_>> = self
            .pool
            .members
            .iter()
            .map(|member| Candidate { account: &member.account, health: &health })
            .collect();
        let wish = Wish {
            group: &self.pool.group.id,
            model: &self.model,
            session: self.session,
            tried: &self.tried,
        };
        match choose(&candidates, &wish, now) {
            Choice::Chosen(at) => {
                self.tried.push(self.pool.members[at].account.id.clone());
                Ok(at)
            }
            Choice::Nobody(reasons) => Err(Refusal::nobody(&self.model, &reasons)),
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
