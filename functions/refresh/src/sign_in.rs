//! Staying signed in: whose token is to be renewed, ahead of its end or because somebody has asked.

use baton_cloud::sign_in::{Renewal, refuse, renew};
use baton_cloud::store::{Store, StoreError};
use baton_cloud::token_endpoint::TokenEndpoint;
use baton_domain::token::Why;

/// Renews every token whose time has come or that somebody has asked for; returns how many.
///
/// # Errors
/// When the store cannot be read; the next tick tries again.
pub async fn renew_all(store: &Store, endpoint: &TokenEndpoint) -> Result<usize, StoreError> {
    let asked = store.renewals_asked().await?;
    let now = store.clock().now();
    let mut renewed = 0;
    for token in store.tokens().await? {
        let is_asked = asked.get(&token.account) == Some(&token.version);
        let why = if is_asked { Why::Asked } else { Why::Time };
        let is_begun = token.standing.begun_at.is_some() && token.standing.ended.is_none();
        if is_begun || token.standing.is_due(&token.grant, why, now) {
            match renew(store, endpoint, &token.account, why).await {
                Ok(Renewal::Renewed) => renewed += 1,
                Ok(_) => {}
                Err(error) => tracing::warn!(account_id = %token.account, "{error}"),
            }
        } else if let Some(reason) = token.standing.fault(now) {
            refuse(store, &token.account, reason).await?;
        }
    }
    for account in asked.keys() {
        store.forget_renewal(account).await?;
    }
    Ok(renewed)
}
