//! Accounts whose token has expired or was refused. The relay asks refresh for a new token and uses
//! another account. It waits for the new token only if no account is left. It never renews tokens
//! itself.

use crate::RelayState;
use crate::account_selection::AccountSelector;
use baton_domain::id::AccountId;
use baton_store::{AccountPool, PoolMember};
use std::time::Duration;
use tokio::time::Instant;

/// How often a waiting request checks for the new token.
const LOOK: Duration = Duration::from_millis(250);

impl RelayState {
    /// Returns the accounts without a valid token and asks refresh for new tokens. Each process
    /// asks once for each token.
    pub(crate) fn accounts_without_token(&self, pool: &AccountPool) -> Vec<AccountId> {
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
    pub(crate) async fn wait_for_token(
        &self,
        selector: &mut AccountSelector,
        deadline: Instant,
    ) -> bool {
        let deadline = deadline.min(Instant::now() + self.timers.token);
        let waiting_accounts: Vec<AccountId> =
            selector.without_token.iter().filter(|id| selector.is_untried(id)).cloned().collect();
        while !(waiting_accounts.is_empty() && selector.refused_tokens.is_empty())
            && Instant::now() + LOOK < deadline
        {
            tokio::time::sleep(LOOK).await;
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
