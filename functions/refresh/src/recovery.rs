//! Accounts that are out until somebody looks: they are asked again, by a call that costs nothing.
//!
//! A free call shows whether a credential is taken. It shows nothing of a spent limit, so what the
//! upstream has announced is left to run out. Where a made-up credential passes as well, nothing is
//! shown: the account then waits for an operator.

use baton_cloud::store::{Store, StoreError, Stored};
use baton_cloud::upstream::{Proof, Proved, Signer, Subject, Upstream};
use baton_domain::account::Account;
use baton_domain::health::{Health, Standing};
use baton_domain::id::AccountId;
use baton_domain::reason::RestReason;
use std::time::Duration;

/// Accounts are asked no more often than this, by all processes together.
const PAUSE: Duration = Duration::from_mins(5);
const PAGE: i32 = 100;

/// Asks every account whose credential was refused; returns how many are back.
///
/// # Errors
/// When the store cannot be read; the next tick tries again.
pub(crate) async fn look_again(
    store: &Store,
    upstream: &Upstream,
    owner: &str,
) -> Result<usize, StoreError> {
    // The lease is not given back: it is what makes this happen once in its time.
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

/// Asks one account; a good answer ends whatever is held against it.
async fn is_back(
    store: &Store,
    upstream: &Upstream,
    stored: &Stored<Account>,
) -> Result<bool, StoreError> {
    let id = &stored.value.id;
    // A token that will not be renewed any more is good for nothing, whatever it still opens.
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
        // Only what was looked at is forgiven, not what has happened since.
        let is_same = is_back && health.state == before.state;
        let base = known.as_ref().unwrap_or(health);
        is_same.then(|| base.forgiven(store.clock().now())).or(known)
    };
    store.change_health(id, change).await?;
    if is_back {
        tracing::info!(account_id = %id, "it takes its credential again");
    } else {
        tracing::debug!(account_id = %id, proof = ?proved.proof, "{}", proved.message);
    }
    Ok(is_back)
}
