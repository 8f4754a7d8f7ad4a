//! The one door through which a token is renewed: by one process at a time, and no rotating refresh
//! token is sent twice.
//!
//! What an attempt means is decided in `domain::token`; here are the lease, the note before the
//! grant goes out, and the writes. Whose time has come is its callers' business.

use crate::store::{Store, StoreError, Stored, Token};
use crate::token_endpoint::{Issued, NotIssued, PATIENCE, TokenEndpoint};
use baton_domain::account::Account;
use baton_domain::health::{Health, State, refused};
use baton_domain::id::AccountId;
use baton_domain::reason::RestReason;
use baton_domain::token::{Standing, Why};
use std::time::Duration;

/// Longer than an exchange with its writes may take, so that two are never under way.
const LEASE: Duration = PATIENCE.saturating_mul(3);

/// How often, and how far apart, a new token is tried to be stored.
const KEEP_TRIES: u32 = 8;
const KEEP_PAUSE: Duration = Duration::from_secs(1);

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// There is a new token.
    Renewed,
    /// It is not time, or there is nothing to renew.
    NotDue,
    /// Another process is at it.
    Elsewhere,
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
    why: Why,
) -> Result<Renewal, StoreError> {
    let (lease, owner) = (format!("token#{id}"), format!("{:032x}", store.dice().bits()));
    if !store.lease(&lease, &owner, LEASE).await? {
        return Ok(Renewal::Elsewhere);
    }
    // Read after the lease is won: another process may have been at it until just now.
    let outcome = async {
        match (store.token(id).await?, store.read::<Account>(id).await?) {
            (Some(token), Some(account)) => attempt(store, endpoint, (token, account), why).await,
            _ => Ok(Renewal::NotDue),
        }
    };
    let outcome = outcome.await;
    store.give_back(&lease, &owner).await?;
    outcome
}

/// One attempt, by the only process that is at it.
async fn attempt(
    store: &Store,
    endpoint: &TokenEndpoint,
    (token, account): (Token, Stored<Account>),
    why: Why,
) -> Result<Renewal, StoreError> {
    let (now, id) = (store.clock().now(), token.account.clone());
    if token.standing.begun_at.is_some() && token.standing.ended.is_none() {
        let lost = token.standing_so(token.standing.lost());
        store.renew_token(&lost, &account.value).await?;
        return end(store, &lost).await;
    }
    if !token.standing.is_due(&token.exchange.grant, why, now) {
        return Ok(Renewal::NotDue);
    }
    let Some(begun) = token.standing.begun(&token.exchange.grant, now) else {
        return Ok(Renewal::NotDue);
    };
    let token = if begun == token.standing {
        token
    } else {
        let noted = token.standing_so(begun);
        store.renew_token(&noted, &account.value).await?;
        noted
    };
    let proxy = store.open_proxy(&account.value).await?;
    let issued = match endpoint.through(proxy.as_ref()) {
        Ok(endpoint) => endpoint.renew(&token.exchange, &token.secrets).await,
        Err(error) => Err(NotIssued::not_sent(&error)),
    };
    let now = store.clock().now();
    match issued {
        Ok(issued) => {
            let next = with(&token, issued, store);
            let issue = next.standing.issue();
            keep(store, &token, next, &account.value).await?;
            tracing::info!(account_id = %id, "token renewed");
            restore(store, &id, issue).await?;
            Ok(Renewal::Renewed)
        }
        Err(error) => {
            tracing::warn!(account_id = %id, "no new token: {error}");
            let next = token.standing_so(token.standing.missed(&error.miss, now));
            store.renew_token(&next, &account.value).await?;
            match next.standing.ended {
                Some(_) => end(store, &next).await,
                None => Ok(Renewal::Failed(error.to_string())),
            }
        }
    }
}

/// The token with what was issued. A refresh token that was not replaced stays good.
pub fn with(token: &Token, issued: Issued, store: &Store) -> Token {
    let (die, now) = (store.dice().byte(), store.clock().now());
    let mut next = token.standing_so(Standing::renewed(issued.life, die, now));
    next.secrets.access_token = Some(issued.access_token);
    next.secrets.refresh_token = issued.refresh_token.or(next.secrets.refresh_token);
    next
}

/// Stores a token that was had: it is the only copy, so not given up at the first obstacle. One
/// that was declared lost meanwhile is found again.
async fn keep(
    store: &Store,
    used: &Token,
    mut next: Token,
    account: &Account,
) -> Result<(), StoreError> {
    let secret =
        |token: &Token| token.secrets.refresh_token.as_ref().map(|it| it.expose().to_owned());
    let mut tries = 0;
    loop {
        tries += 1;
        match store.renew_token(&next, account).await {
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
async fn end(store: &Store, token: &Token) -> Result<Renewal, StoreError> {
    let reason = token.standing.ended.clone().unwrap_or_default();
    tracing::error!(account_id = %token.account, alert = "auth_failed", "{reason}");
    if token.standing.fault(store.clock().now()).is_some() {
        refuse(store, &token.account, &reason).await?;
    }
    Ok(Renewal::Failed(reason))
}

/// Takes the account out: its token is not renewed any more, for this reason, in words.
pub async fn refuse(store: &Store, id: &AccountId, reason: &str) -> Result<(), StoreError> {
    store.read_health(std::slice::from_ref(id)).await?;
    let (now, reason) = (store.clock().now(), reason.to_owned());
    let change = |health: &Health| refused(health, RestReason::TokenEnded, Some(&reason), now);
    store.change_health(id, change).await
}

/// A new token ends whatever was held against those before it.
async fn restore(store: &Store, id: &AccountId, issue: u64) -> Result<(), StoreError> {
    store.read_health(std::slice::from_ref(id)).await?;
    let now = store.clock().now();
    let change = |health: &Health| match health.state {
        State::AuthFailed { .. } => Some(health.forgiven(now)),
        _ => health.with_token(issue),
    };
    store.change_health(id, change).await
}
