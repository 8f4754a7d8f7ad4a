//! Staying signed in: whose token is to be renewed, ahead of its end or because somebody has asked.

use baton_cloud::sign_in::{Renewal, refuse, renew};
use baton_cloud::store::{ListedToken, Store, StoreError};
use baton_cloud::token_endpoint::TokenEndpoint;
use baton_domain::id::AccountId;
use baton_domain::token::Why;
use futures_util::{StreamExt as _, stream};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Renewals under way at the same time: endpoints that hang must not hold up the others.
const AT_ONCE: usize = 32;
/// After so much of a tick none is begun, so that none is cut off by the tick's end.
const LAST_BEGIN: Duration = Duration::from_secs(20);

/// Renews every token whose time has come or that somebody has asked for; returns how many.
///
/// # Errors
/// When the store cannot be read; the next tick tries again.
pub async fn renew_all(store: &Store, endpoint: &TokenEndpoint) -> Result<usize, StoreError> {
    let (asked, last_begin) = (store.renewals_asked().await?, Instant::now() + LAST_BEGIN);
    let due = due(store, &asked).await?;
    let renewals = due.into_iter().map(|(account, why)| async move {
        if Instant::now() > last_begin {
            return false;
        }
        let outcome = renew(store, endpoint, &account, why).await;
        if why == Why::Asked && !matches!(outcome, Ok(Renewal::Elsewhere) | Err(_)) {
            forget(store, &account).await;
        }
        outcome.is_ok_and(|outcome| outcome == Renewal::Renewed)
    });
    let renewed: Vec<bool> = stream::iter(renewals).buffer_unordered(AT_ONCE).collect().await;
    Ok(renewed.into_iter().filter(|renewed| *renewed).count())
}

/// Whose time has come. Deals with what needs no attempt on the way.
async fn due(
    store: &Store,
    asked: &HashMap<AccountId, u64>,
) -> Result<Vec<(AccountId, Why)>, StoreError> {
    let (now, mut due) = (store.clock().now(), Vec::new());
    for ListedToken { account, grant, standing, version } in store.tokens().await? {
        let is_asked = asked.get(&account) == Some(&version);
        let why = if is_asked { Why::Asked } else { Why::Time };
        let is_begun = standing.begun_at.is_some() && standing.ended.is_none();
        if is_begun || standing.is_due(&grant, why, now) {
            due.push((account, why));
            continue;
        }
        if let Some(reason) = standing.fault(now) {
            refuse(store, &account, reason).await?;
        }
        if asked.contains_key(&account) {
            forget(store, &account).await;
        }
    }
    Ok(due)
}

async fn forget(store: &Store, account: &AccountId) {
    if let Err(error) = store.forget_renewal(account).await {
        tracing::warn!(account_id = %account, "{error}; it is renewed once more");
    }
}
