//! Probes accounts that stay out of use until an operator acts, with a free call.
//!
//! A free call shows whether the credential is accepted. It does not show whether a spend limit is
//! still reached, so such cooldowns end at the time that the upstream announced. If the upstream
//! accepts an invented credential as well, a free call shows nothing, and the account waits for an
//! operator.

use baton_domain::account::Account;
use baton_domain::cooldown_reason::CooldownReason;
use baton_domain::health::{AccountAvailability, AccountHealth};
use baton_domain::id::AccountId;
use baton_runtime::upstream::{
    CredentialProbe, CredentialStatus, ProbeOutcome, RequestSigner, UpstreamClient,
};
use baton_store::{RefreshStores, StoreError, StoredEntity};
use std::time::Duration;

/// The shortest time between two probes of the accounts, over all processes.
const PROBE_INTERVAL: Duration = Duration::from_mins(5);
const PAGE_ROWS: i32 = 100;

/// Probes every account whose credential was refused. Returns how many can be used again.
///
/// # Errors
/// The store cannot be read. The next tick tries again.
pub(crate) async fn retry_refused_accounts(
    store: &RefreshStores,
    upstream: &UpstreamClient,
    owner: &str,
) -> Result<usize, StoreError> {
    // The lease is not released: it makes sure that this happens only once per `PROBE_INTERVAL`.
    if !store
        .leases
        .acquire("recovery", &format!("{owner}#{:x}", store.random_source().bits()), PROBE_INTERVAL)
        .await?
    {
        return Ok(0);
    }
    let (mut back, mut cursor) = (0, None);
    loop {
        let page = store.config.list::<Account>(PAGE_ROWS, cursor.as_deref()).await?;
        let ids: Vec<AccountId> = page.data.iter().map(|item| item.value.id.clone()).collect();
        store.health.read_health(&ids).await?;
        for stored in page.data.iter().filter(|stored| is_probe_due(store, &stored.value)) {
            back += usize::from(has_recovered(store, upstream, stored).await?);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(back);
        }
    }
}

fn is_probe_due(store: &RefreshStores, account: &Account) -> bool {
    let health = store.health.get(&account.id);
    let is_refused = match health.overall(store.clock().now()) {
        AccountAvailability::AuthFailed { .. } => true,
        AccountAvailability::Cooling { reason, .. } => reason == CooldownReason::Forbidden,
        AccountAvailability::Ready | AccountAvailability::HalfOpen => false,
    };
    account.enabled && is_refused
}

/// Probes one account. A good answer removes all failures that count against it.
async fn has_recovered(
    store: &RefreshStores,
    upstream: &UpstreamClient,
    stored: &StoredEntity<Account>,
) -> Result<bool, StoreError> {
    let id = &stored.value.id;
    // A token that can no longer be renewed is of no use, even if it is still accepted.
    if store.tokens.read(id).await?.is_some_and(|token| token.token_status.ended.is_some()) {
        return Ok(false);
    }
    let before = store.health.get(id);
    let Ok(credential) = store.credentials.credential(stored).await else { return Ok(false) };
    let (proxy, now) = (store.credentials.open_proxy(&stored.value).await?, store.clock().now());
    let outcome = match upstream.with_proxy(proxy.as_ref()) {
        Ok(upstream) => {
            let (signer, bits) =
                (RequestSigner::new(store.clock().clone()), store.random_source().bits());
            let (account, upstream, signer) = (&stored.value, &upstream, &signer);
            let subject =
                CredentialProbe { upstream, signer, account, credential: &credential, bits };
            subject.probe_credential(&before, now).await
        }
        Err(error) => ProbeOutcome::not_asked(error.to_string()),
    };
    let has_recovered =
        outcome.credential_status == CredentialStatus::Accepted && outcome.effect.is_none();
    let change = |health: &AccountHealth| {
        let known_health = outcome.with_known_probe(health);
        // Only the state that was probed is removed, not a failure that came later.
        let is_same = has_recovered && health.state == before.state;
        let base_health = known_health.as_ref().unwrap_or(health);
        is_same.then(|| base_health.reset(store.clock().now())).or(known_health)
    };
    store.health.change_health(id, change).await?;
    if has_recovered {
        tracing::info!(account_id = %id, "the upstream accepts the credential again");
    } else {
        tracing::debug!(
            account_id = %id, proof = %outcome.credential_status,
            "checked a credential with a free call: {}", outcome.message
        );
    }
    Ok(has_recovered)
}
