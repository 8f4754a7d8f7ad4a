//! Accounts whose token has run out or is refused: refresh is asked for a new one and another
//! account is taken; only where none is left is the new one waited for. The relay never renews.

use crate::RelayState;
use crate::account_selection::AccountSelector;
use baton_cloud::store::{AccountPool, PoolMember};
use baton_domain::id::AccountId;
use std::time::Duration;
use tokio::time::Instant;

/// How often a waiting request looks for the new token.
const LOOK: Duration = Duration::from_millis(250);

impl RelayState {
    /// The accounts without a good token. A new one is asked for, once for each process and token.
    pub(crate) fn accounts_without_token(&self, pool: &AccountPool) -> Vec<AccountId> {
        let now = self.store.clock().now();
        let is_out = |member: &&PoolMember| {
            !member.token.as_ref().is_some_and(|token| token.standing.is_usable(now))
        };
        let out = pool.renewed.iter().map(|&at| &pool.members[at]).filter(is_out);
        out.inspect(|member| self.request_renewal(member))
            .map(|one| one.account.id.clone())
            .collect()
    }

    /// Asks refresh for a new token, beside the request.
    pub(crate) fn request_renewal(&self, member: &PoolMember) {
        let Some(token) = &member.token else { return };
        let (store, id, version) = (self.store.clone(), member.account.id.clone(), token.version);
        self.leftovers.spawn(async move {
            if let Err(error) = store.request_renewal(&id, version).await {
                tracing::warn!(account_id = %id, "a new token could not be asked for: {error}");
            }
        });
    }

    /// Waits until one of the accounts whose token has run out, or was refused, has a new one; bounded.
    /// Returns whether the chooser has something to choose from that it had not before.
    pub(crate) async fn wait_for_token(
        &self,
        chooser: &mut AccountSelector,
        deadline: Instant,
    ) -> bool {
        let deadline = deadline.min(Instant::now() + self.timers.token);
        let waiting: Vec<AccountId> =
            chooser.signed_out.iter().filter(|id| chooser.is_untried(id)).cloned().collect();
        while !(waiting.is_empty() && chooser.refused_tokens.is_empty())
            && Instant::now() + LOOK < deadline
        {
            tokio::time::sleep(LOOK).await;
            let Ok(Some(pool)) = Box::pin(self.store.reload_pool(&chooser.pool().group.id)).await
            else {
                continue;
            };
            let out = self.accounts_without_token(&pool);
            let is_back = waiting.iter().any(|id| !out.contains(id));
            chooser.replace_pool(pool, out);
            if chooser.allow_renewed_accounts() || is_back {
                return true;
            }
        }
        false
    }
}
