//! Renews tokens before they expire, or when a process has requested it.

use baton_domain::id::AccountId;
use baton_domain::upstream_token::RenewalTrigger;
use baton_runtime::token_endpoint::TokenEndpoint;
use baton_store::token_renewal::{RenewalOutcome, mark_auth_failed, renew};
use baton_store::{ListedToken, RefreshStores, StoreError};
use futures_util::{StreamExt as _, stream};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The number of renewals at the same time, so that an endpoint that hangs does not delay the
/// others.
const CONCURRENT_RENEWALS_MAX: usize = 32;
/// No renewal starts after this much of a tick, so that the end of the tick does not cut one off.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Renews every token that is due or whose renewal was requested. Returns how many were renewed.
///
/// # Errors
/// The store cannot be read. The next tick tries again.
pub async fn renew_due_tokens(
    store: &RefreshStores,
    endpoint: &TokenEndpoint,
) -> Result<usize, StoreError> {
    let (renewal_requests, start_deadline) =
        (store.renewals.requested_renewals().await?, Instant::now() + START_TIMEOUT);
    let due = accounts_due(store, &renewal_requests).await?;
    let renewals = due.into_iter().map(|(account, reason)| async move {
        if Instant::now() > start_deadline {
            return false;
        }
        let outcome = renew(&store.tokens, endpoint, &account, reason).await;
        if reason == RenewalTrigger::Requested
            && !matches!(outcome, Ok(RenewalOutcome::LeaseHeld) | Err(_))
        {
            forget(store, &account).await;
        }
        outcome.is_ok_and(|outcome| outcome == RenewalOutcome::Renewed)
    });
    let renewed: Vec<bool> =
        stream::iter(renewals).buffer_unordered(CONCURRENT_RENEWALS_MAX).collect().await;
    Ok(renewed.into_iter().filter(|renewed| *renewed).count())
}

/// The accounts whose token must be renewed now. Tokens that need no attempt are handled here.
async fn accounts_due(
    store: &RefreshStores,
    renewal_requests: &HashMap<AccountId, u64>,
) -> Result<Vec<(AccountId, RenewalTrigger)>, StoreError> {
    let (now, mut due) = (store.clock().now(), Vec::new());
    for ListedToken { account, grant, token_status, version } in store.tokens.list().await? {
        let is_asked = renewal_requests.get(&account) == Some(&version);
        let why = if is_asked { RenewalTrigger::Requested } else { RenewalTrigger::Schedule };
        let has_started = token_status.begun_at.is_some() && token_status.ended.is_none();
        if has_started || token_status.is_due(&grant, why, now) {
            due.push((account, why));
            continue;
        }
        if let Some(reason) = token_status.failure_reason(now) {
            mark_auth_failed(&store.health, &account, reason).await?;
        }
        if renewal_requests.contains_key(&account) {
            forget(store, &account).await;
        }
    }
    Ok(due)
}

async fn forget(store: &RefreshStores, account: &AccountId) {
    if let Err(error) = store.renewals.forget_renewal(account).await {
        tracing::warn!(account_id = %account, "cannot delete a renewal request, the token will be renewed again: {error}");
    }
}
