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
        let is_out = |member: &&PoolMember| {
            !member.token.as_ref().is_some_and(|token| token.standing.is_usable(now))
        };
        let out = pool.renewed.iter().map(|&at| &pool.members[at]).filter(is_out);
        out.inspect(|member| self.request_renewal(member))
            .map(|one| one.account.id.clone())
            .collect()
    }

    /// Asks refresh for a new token, without delaying the request.
    pub(crate) fn request_renewal(&self, member: &PoolMember) {
        let Some(token) = &member.token else { return };
        let (store, id, version) = (self.store.clone(), member.account.id.clone(), token.version);
        self.leftovers.spawn(async move {
            if let Err(error) = store.request_renewal(&id, version).await {
                tracing::warn!(account_id = %id, "cannot request a new token: {error}");
            }
        });
    }

    /// Waits for a limited time until an account whose token had expired or was refused has a new
    /// one. Returns whether there is now an account that could not be selected before.
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
