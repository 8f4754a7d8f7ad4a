//! Probes accounts that stay out of use until an operator acts, with a free call.
//!
//! A free call shows whether the credential is accepted. It does not show whether a spend limit is
//! still reached, so such cooldowns end at the time that the upstream announced. If the upstream
//! accepts an invented credential as well, a free call shows nothing, and the account waits for an
//! operator.

use baton_cloud::store::{Store, StoreError, Stored};
use baton_cloud::upstream::{Proof, Proved, Signer, Subject, Upstream};
use baton_domain::account::Account;
use baton_domain::health::{Health, Standing};
use baton_domain::id::AccountId;
use baton_domain::reason::RestReason;
use std::time::Duration;

/// The shortest time between two probes of the accounts, over all processes.
const PAUSE: Duration = Duration::from_mins(5);
const PAGE: i32 = 100;

/// Probes every account whose credential was refused. Returns how many can be used again.
///
/// # Errors
/// The store cannot be read. The next tick tries again.
pub(crate) async fn look_again(
    store: &Store,
    upstream: &Upstream,
    owner: &str,
) -> Result<usize, StoreError> {
    // The lease is not released: it makes sure that this happens only once per `PAUSE`.
    if !store.lease("recovery", &format!("{owner}#{:x}", store.dice().bits()), PAUSE).await? {
        return Ok(0);
    }
    let (mut back, mut cursor) = (0, None);
    loop {
        let page = store.list::<Account>(PAGE, cursor.as_deref()).await?;
        let ids: Vec<AccountId> = page.data.iter().map(|one| one.value.id.clone()).collect();
        store.read_health(&ids).await?;
        for stored in page.data.iter().filter(|stored| is_worth_a_call(store, &stored.value)) {
            back += usize::from(is_back(store, upstream, stored).await?);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(back);
        }
    }
}

fn is_worth_a_call(store: &Store, account: &Account) -> bool {
    let health = store.health(&account.id);
    let is_refused = match health.overall(store.clock().now()) {
        Standing::AuthFailed { .. } => true,
        Standing::Cooling { reason, .. } => reason == RestReason::Forbidden,
        Standing::Ready | Standing::HalfOpen => false,
    };
    account.enabled && is_refused
}

/// Probes one account. A good answer removes all failures that count against it.
async fn is_back(
    store: &Store,
    upstream: &Upstream,
    stored: &Stored<Account>,
) -> Result<bool, StoreError> {
    let id = &stored.value.id;
    // A token that can no longer be renewed is of no use, even if it is still accepted.
    if store.token(id).await?.is_some_and(|token| token.standing.ended.is_some()) {
        return Ok(false);
    }
    let before = store.health(id);
    let Ok(credential) = store.credential(stored).await else { return Ok(false) };
    let (proxy, now) = (store.open_proxy(&stored.value).await?, store.clock().now());
    let proved = match upstream.through(proxy.as_ref()) {
        Ok(upstream) => {
            let (signer, bits) = (Signer::new(store.clock().clone()), store.dice().bits());
            let (account, upstream, signer) = (&stored.value, &upstream, &signer);
            let subject = Subject { upstream, signer, account, credential: &credential, bits };
            subject.prove(&before, now).await
        }
        Err(error) => Proved::not_asked(error.to_string()),
    };
    let is_back = proved.proof == Proof::Accepted && proved.effect.is_none();
    let change = |health: &Health| {
        let known = proved.remembered(health);
        // Only the state that was probed is removed, not a failure that came later.
        let is_same = is_back && health.state == before.state;
        let base = known.as_ref().unwrap_or(health);
        is_same.then(|| base.forgiven(store.clock().now())).or(known)
    };
    store.change_health(id, change).await?;
    if is_back {
        tracing::info!(account_id = %id, "the upstream accepts the credential again");
    } else {
        tracing::debug!(account_id = %id, proof = ?proved.proof, "{}", proved.message);
    }
    Ok(is_back)
}
