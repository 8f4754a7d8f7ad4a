//! The one door through which a token is renewed: by one process at a time, and no rotating refresh
//! token is sent twice.
//!
//! What an attempt means is decided in `domain::token`; here are the lease, the note before the
//! grant goes out, and the writes. Whose time has come is its callers' business.

use crate::store::{AccountToken, Store, StoreError, StoredEntity, token_binding};
use crate::token_endpoint::{IssuedToken, PATIENCE, TokenEndpoint, TokenRequestError};
use baton_domain::account::Account;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::{AccountHealth, HealthState, after_refusal};
use baton_domain::id::AccountId;
use baton_domain::upstream_token::{RenewalTrigger, TokenStatus};
use std::time::Duration;

/// Longer than an exchange with its writes may take, so that two are never under way.
const LEASE: Duration = PATIENCE.saturating_mul(3);

/// How often, and how far apart, a new token is tried to be stored.
const KEEP_TRIES: u32 = 8;
const KEEP_PAUSE: Duration = Duration::from_secs(1);

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenewalOutcome {
    /// There is a new token.
    Renewed,
    /// It is not time, or there is nothing to renew.
    NotDue,
    /// Another process is at it.
    LeaseHeld,
    /// None was had; the sentence says why, and is for operators.
    Failed(String),
}

/// Renews one account's token, if there is to be an attempt for that reason.
///
/// # Errors
/// When the store fails. A token that was had and could not be stored is lost, and the next
/// attempt says so.
pub async fn renew(
    store: &Store,
    endpoint: &TokenEndpoint,
    id: &AccountId,
    why: RenewalTrigger,
) -> Result<RenewalOutcome, StoreError> {
    let (lease, owner) = (format!("token#{id}"), format!("{:032x}", store.random_source().bits()));
    if !store.lease(&lease, &owner, LEASE).await? {
        return Ok(RenewalOutcome::LeaseHeld);
    }
    // Read after the lease is won: another process may have been at it until just now.
    let outcome = async {
        match (store.token(id).await?, store.read::<Account>(id).await?) {
            (Some(token), Some(account)) => attempt(store, endpoint, (token, account), why).await,
            _ => Ok(RenewalOutcome::NotDue),
        }
    };
    let outcome = outcome.await;
    store.release_lease(&lease, &owner).await?;
    outcome
}

/// One attempt, by the only process that is at it.
async fn attempt(
    store: &Store,
    endpoint: &TokenEndpoint,
    (token, account): (AccountToken, StoredEntity<Account>),
    why: RenewalTrigger,
) -> Result<RenewalOutcome, StoreError> {
    let (now, id) = (store.clock().now(), token.account.clone());
    if !token.is_for(&account.value) {
        let why = "its token was given for another provider, address, proxy or token endpoint; \
                   give the credential again";
        return Ok(RenewalOutcome::Failed(why.to_owned()));
    }
    if token.standing.begun_at.is_some() && token.standing.ended.is_none() {
        let lost = token.with_status(token.standing.lost());
        store.put_renewed_token(&lost, &account.value).await?;
        return end(store, &lost).await;
    }
    if !token.standing.is_due(&token.exchange.grant, why, now) {
        return Ok(RenewalOutcome::NotDue);
    }
    let Some(begun) = token.standing.begin_attempt(&token.exchange.grant, now) else {
        return Ok(RenewalOutcome::NotDue);
    };
    let token = if begun == token.standing {
        token
    } else {
        let noted = token.with_status(begun);
        store.put_renewed_token(&noted, &account.value).await?;
        noted
    };
    let proxy = store.open_proxy(&account.value).await?;
    let issued = match endpoint.with_proxy(proxy.as_ref()) {
        Ok(endpoint) => endpoint.request_token(&token.exchange, &token.secrets).await,
        Err(error) => Err(TokenRequestError::from_call_error(&error)),
    };
    let now = store.clock().now();
    match issued {
        Ok(issued) => {
            let mut next = renewed_token(&token, issued, store);
            next.secrets.bound_to = Some(token_binding(&account.value, &token.exchange.token_url));
            let issue = next.standing.issue();
            store_token(store, &token, next, &account.value).await?;
            tracing::info!(account_id = %id, "token renewed");
            clear_auth_failure(store, &id, issue).await?;
            Ok(RenewalOutcome::Renewed)
        }
        Err(error) => {
            tracing::warn!(account_id = %id, "no new token: {error}");
            let next = token.with_status(token.standing.after_failure(&error.miss, now));
            store.put_renewed_token(&next, &account.value).await?;
            match next.standing.ended {
                Some(_) => end(store, &next).await,
                None => Ok(RenewalOutcome::Failed(error.to_string())),
            }
        }
    }
}

/// The token with what was issued. A refresh token that was not replaced stays good.
pub fn renewed_token(token: &AccountToken, issued: IssuedToken, store: &Store) -> AccountToken {
    let (die, now) = (store.random_source().byte(), store.clock().now());
    let mut next = token.with_status(TokenStatus::after_success(issued.life, die, now));
    next.secrets.access_token = Some(issued.access_token);
    next.secrets.refresh_token = issued.refresh_token.or(next.secrets.refresh_token);
    next
}

/// Stores a token that was had: it is the only copy, so not given up at the first obstacle. One
/// that was declared lost meanwhile is found again.
async fn store_token(
    store: &Store,
    used: &AccountToken,
    mut next: AccountToken,
    account: &Account,
) -> Result<(), StoreError> {
    let secret = |token: &AccountToken| {
        token.secrets.refresh_token.as_ref().map(|it| it.expose().to_owned())
    };
    let mut tries = 0;
    loop {
        tries += 1;
        match store.put_renewed_token(&next, account).await {
            Ok(()) => return Ok(()),
            Err(error) if tries == KEEP_TRIES => return Err(error),
            Err(StoreError::Conflict) => match store.token(&next.account).await {
                Ok(Some(there)) if secret(&there) == secret(used) => {
                    next.version = there.version + 1;
                }
                // Somebody has signed in anew; that is better than what we have.
                Ok(_) => return Err(StoreError::Conflict),
                Err(_) => tokio::time::sleep(KEEP_PAUSE).await,
            },
            Err(error) => {
                tracing::warn!(account_id = %next.account, "{error}; its new token is kept in hand");
                tokio::time::sleep(KEEP_PAUSE).await;
            }
        }
    }
}

/// Says that a token will not be renewed any more; the account is out as soon as that matters.
async fn end(store: &Store, token: &AccountToken) -> Result<RenewalOutcome, StoreError> {
    let reason = token.standing.ended.clone().unwrap_or_default();
    tracing::error!(account_id = %token.account, alert = "auth_failed", "{reason}");
    if token.standing.failure_reason(store.clock().now()).is_some() {
        mark_auth_failed(store, &token.account, &reason).await?;
    }
    Ok(RenewalOutcome::Failed(reason))
}

/// Takes the account out: its token is not renewed any more, for this reason, in words.
pub async fn mark_auth_failed(
    store: &Store,
    id: &AccountId,
    reason: &str,
) -> Result<(), StoreError> {
    store.read_health(std::slice::from_ref(id)).await?;
    let (now, reason) = (store.clock().now(), reason.to_owned());
    let change = |health: &AccountHealth| {
        after_refusal(health, CooldownReason::TokenEnded, Some(&reason), now)
    };
    store.change_health(id, change).await
}

/// A new token ends whatever was held against those before it.
async fn clear_auth_failure(store: &Store, id: &AccountId, issue: u64) -> Result<(), StoreError> {
    store.read_health(std::slice::from_ref(id)).await?;
    let now = store.clock().now();
    let change = |health: &AccountHealth| match health.state {
        HealthState::AuthFailed { .. } => Some(health.reset(now)),
        _ => health.with_token(issue),
    };
    store.change_health(id, change).await
}
