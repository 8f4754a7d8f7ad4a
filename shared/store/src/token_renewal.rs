//! The only module that renews tokens: one process at a time does it, and it never sends a rotating
//! refresh token twice.
//!
//! `domain::upstream_token` decides what the result of an attempt means. This module holds the
//! lease, records an attempt before the grant is sent, and writes the result. The callers decide
//! when a token is due.

use crate::{
    AccountToken, CredentialReader, HealthStore, LeaseStore, StoreError, StoredEntity, TokenStore,
    token_binding,
};
use baton_domain::account::Account;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::{AccountHealth, HealthState, after_refusal};
use baton_domain::id::AccountId;
use baton_domain::upstream_token::{RenewalTrigger, TokenStatus};
use baton_runtime::token_endpoint::{
    EXCHANGE_TIMEOUT, IssuedToken, TokenEndpoint, TokenRequestError,
};
use std::time::Duration;

/// Longer than an exchange with its writes can take, so that two never run at the same time.
const LEASE: Duration = EXCHANGE_TIMEOUT.saturating_mul(3);

/// How often, and at which interval, storing a new token is tried.
const KEEP_TRIES: u32 = 8;
const KEEP_PAUSE: Duration = Duration::from_secs(1);

/// The result of a renewal attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenewalOutcome {
    /// A new token was stored.
    Renewed,
    /// The token is not due, or there is nothing to renew.
    NotDue,
    /// Another process is renewing the token.
    LeaseHeld,
    /// No token was issued. The text says why, for operators.
    Failed(String),
}

/// Renews one account's token, if `trigger` requires an attempt now.
///
/// # Errors
/// If the store fails. A token that was issued but could not be stored is lost, and the next
/// attempt reports that.
pub async fn renew(
    store: &TokenStore,
    endpoint: &TokenEndpoint,
    id: &AccountId,
    trigger: RenewalTrigger,
) -> Result<RenewalOutcome, StoreError> {
    let (lease, owner) =
        (format!("token#{id}"), format!("{:032x}", store.connection.random.bits()));
    let leases = LeaseStore::new(&store.connection);
    if !leases.acquire(&lease, &owner, LEASE).await? {
        return Ok(RenewalOutcome::LeaseHeld);
    }
    // This is read after the lease is taken, because another process could hold it until then.
    let outcome = async {
        match (store.read(id).await?, store.connection.read::<Account>(id).await?) {
            (Some(token), Some(account)) => attempt(store, endpoint, token, account, trigger).await,
            _ => Ok(RenewalOutcome::NotDue),
        }
    };
    let outcome = outcome.await;
    leases.release(&lease, &owner).await?;
    outcome
}

/// One attempt, by the process that holds the lease.
async fn attempt(
    store: &TokenStore,
    endpoint: &TokenEndpoint,
    token: AccountToken,
    account: StoredEntity<Account>,
    trigger: RenewalTrigger,
) -> Result<RenewalOutcome, StoreError> {
    let (now, id) = (store.connection.clock.now(), token.account.clone());
    if !token.is_for(&account.value) {
        let why = "the token was set for another provider, address, proxy or token endpoint; set \
             the credential again";
        return Ok(RenewalOutcome::Failed(why.to_owned()));
    }
    if token.token_status.begun_at.is_some() && token.token_status.ended.is_none() {
        let lost = token.with_status(token.token_status.with_lost_answer());
        store.put_renewed_token(&lost, &account.value).await?;
        return end(store, &lost).await;
    }
    if !token.token_status.is_due(&token.exchange.grant, trigger, now) {
        return Ok(RenewalOutcome::NotDue);
    }
    let Some(started_status) = token.token_status.begin_attempt(&token.exchange.grant, now) else {
        return Ok(RenewalOutcome::NotDue);
    };
    let token = if started_status == token.token_status {
        token
    } else {
        let pending_token = token.with_status(started_status);
        store.put_renewed_token(&pending_token, &account.value).await?;
        pending_token
    };
    let proxy = CredentialReader::new(&store.connection).open_proxy(&account.value).await?;
    let issued = match endpoint.with_proxy(proxy.as_ref()) {
        Ok(endpoint) => endpoint.request_token(&token.exchange, &token.secrets).await,
        Err(error) => Err(TokenRequestError::from_call_error(&error)),
    };
    let now = store.connection.clock.now();
    match issued {
        Ok(issued) => {
            let mut next = renewed_token(&token, issued, store);
            next.secrets.bound_to = Some(token_binding(&account.value, &token.exchange.token_url));
            let token_version = next.token_status.issue();
            store_token(store, &token, next, &account.value).await?;
            tracing::info!(account_id = %id, "renewed a token");
            clear_auth_failure(&HealthStore::new(&store.connection), &id, token_version).await?;
            Ok(RenewalOutcome::Renewed)
        }
        Err(error) => {
            tracing::warn!(account_id = %id, "cannot renew a token: {error}");
            let next = token.with_status(token.token_status.after_failure(&error.failure, now));
            store.put_renewed_token(&next, &account.value).await?;
            match next.token_status.ended {
                Some(_) => end(store, &next).await,
                None => Ok(RenewalOutcome::Failed(error.to_string())),
            }
        }
    }
}

/// The token with the issued values. A refresh token that was not replaced stays valid.
pub(crate) fn renewed_token(
    token: &AccountToken,
    issued: IssuedToken,
    store: &TokenStore,
) -> AccountToken {
    let (random, now) = (store.connection.random.byte(), store.connection.clock.now());
    let mut next = token.with_status(TokenStatus::after_success(issued.lifetime, random, now));
    next.secrets.access_token = Some(issued.access_token);
    next.secrets.refresh_token = issued.refresh_token.or(next.secrets.refresh_token);
    next
}

/// Stores an issued token with several tries, because it is the only copy. If another process has
/// declared the token lost in the meantime, this overrides that.
async fn store_token(
    store: &TokenStore,
    used: &AccountToken,
    mut next: AccountToken,
    account: &Account,
) -> Result<(), StoreError> {
    let secret = |token: &AccountToken| {
        token.secrets.refresh_token.as_ref().map(|it| it.expose().to_owned())
    };
    let mut attempts = 0;
    loop {
        attempts += 1;
        match store.put_renewed_token(&next, account).await {
            Ok(()) => return Ok(()),
            Err(error) if attempts == KEEP_TRIES => return Err(error),
            Err(StoreError::Conflict) => match store.read(&next.account).await {
                Ok(Some(stored_token)) if secret(&stored_token) == secret(used) => {
                    next.version = stored_token.version + 1;
                }
                // Somebody has signed in again, and that token is newer than this one.
                Ok(_) => return Err(StoreError::Conflict),
                Err(_) => tokio::time::sleep(KEEP_PAUSE).await,
            },
            Err(error) => {
                tracing::warn!(account_id = %next.account, "{error}; the new token is kept in \
                     memory until it is stored");
                tokio::time::sleep(KEEP_PAUSE).await;
            }
        }
    }
}

/// Reports that a token is not renewed any more. The account becomes `auth_failed` once the token
/// no longer serves.
async fn end(store: &TokenStore, token: &AccountToken) -> Result<RenewalOutcome, StoreError> {
    let reason = token.token_status.ended.clone().unwrap_or_default();
    tracing::error!(account_id = %token.account, alert = "auth_failed", "{reason}");
    if token.token_status.failure_reason(store.connection.clock.now()).is_some() {
        mark_auth_failed(&HealthStore::new(&store.connection), &token.account, &reason).await?;
    }
    Ok(RenewalOutcome::Failed(reason))
}

/// Marks the account as `auth_failed`, because its token is not renewed any more, with the reason
/// as text.
pub async fn mark_auth_failed(
    health_store: &HealthStore,
    id: &AccountId,
    reason: &str,
) -> Result<(), StoreError> {
    health_store.read_health(std::slice::from_ref(id)).await?;
    let (now, reason) = (health_store.connection.clock.now(), reason.to_owned());
    let change = |health: &AccountHealth| {
        after_refusal(health, CooldownReason::TokenEnded, Some(&reason), now)
    };
    health_store.change_health(id, change).await
}

/// Clears refusals of earlier tokens after a new token was stored.
async fn clear_auth_failure(
    health_store: &HealthStore,
    id: &AccountId,
    token_version: u64,
) -> Result<(), StoreError> {
    health_store.read_health(std::slice::from_ref(id)).await?;
    let now = health_store.connection.clock.now();
    let change = |health: &AccountHealth| match health.state {
        HealthState::AuthFailed { .. } => Some(health.reset(now)),
        _ => health.with_token(token_version),
    };
    health_store.change_health(id, change).await
}
