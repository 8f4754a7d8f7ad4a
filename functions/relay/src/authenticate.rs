//! Who asks: the first valid key among the credential headers.

use crate::reply::Refusal;
use crate::wrong_keys::Crowded;
use crate::{Asked, Means};
use baton_cloud::store::Stored;
use baton_domain::id::KeyId;
use baton_domain::key::{Key, Unusable};
use baton_domain::model::allows;
use baton_domain::money::PicoUsd;
use baton_domain::relay_key::{RelayKey, is_within};
use baton_domain::scope::Scope;
use baton_wire::headers::credentials;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The key that a request came with, and what is reserved for the request against its limits.
#[derive(Clone)]
pub(crate) struct Caller {
    stored: Arc<Stored<Key>>,
    pub(crate) reserved_usd: Option<PicoUsd>,
    /// The most that the request can cost, where that was reckoned: an answer that claims more is
    /// settled at it.
    pub(crate) permitted_usd: Option<PicoUsd>,
    /// Whether a limit on money binds the request.
    pub(crate) has_money_limit: bool,
    pub(crate) reserved_pools: Vec<Scope>,
}

impl Caller {
    pub(crate) fn key(&self) -> &Key {
        &self.stored.value
    }

    /// Whether the key may ask for `model`. A relay key is no model: its name would be kept in
    /// records and logs, and go upstream.
    pub(crate) fn may_use(&self, model: &str) -> Result<(), Refusal> {
        if is_within(model.as_bytes()) {
            return Err(Refusal::key_for_model());
        }
        if allows(&self.key().models, model) {
            Ok(())
        } else {
            Err(Refusal::model_not_allowed(model))
        }
    }
}

/// So many different well-formed keys of one request are looked up. A client that sends its key
/// beside another one's is served; a head full of guesses costs no more than two reads.
const CANDIDATES_MAX: usize = 2;

impl Means {
    /// Tries the credentials of the request; form and checksum first, so that a mistyped key costs
    /// no I/O. Of several that fail, the one that got furthest explains most.
    pub(crate) async fn authenticate(&self, asked: &Asked) -> Result<Caller, Refusal> {
        if let Err(error) = self.pepper.refresh().await {
            return Err(Refusal::store(&error));
        }
        let mut furthest = (Stage::Presented, Refusal::no_key());
        let mut tried = Vec::new();
        for candidate in credentials(&asked.head.headers) {
            let Ok(presented) = RelayKey::parse(candidate) else {
                if furthest.0 <= Stage::Presented {
                    furthest = (Stage::Presented, Refusal::malformed_key());
                }
                continue;
            };
            if tried.contains(&candidate) {
                continue;
            }
            if tried.len() == CANDIDATES_MAX {
                break;
            }
            tried.push(candidate);
            match self.caller(asked, &presented).await {
                Ok(caller) => return Ok(caller),
                Err(failed) if failed.0 >= furthest.0 => furthest = failed,
                Err(_) => {}
            }
        }
        Err(furthest.1)
    }

    async fn caller(
        &self,
        asked: &Asked,
        presented: &RelayKey<'_>,
    ) -> Result<Caller, (Stage, Refusal)> {
        let address = self.address(asked);
        let unknown = || (Stage::WellFormed, Refusal::unknown_key());
        let is_known = self.store.knows_key(&presented.id);
        let counted = address.filter(|_| !is_known);
        let stored = self.look_up(&presented.id, is_known, counted).await;
        let stored = stored.map_err(|refusal| (Stage::Known, refusal))?;
        let stored = stored.ok_or_else(unknown)?;
        let hash = stored.secret.as_deref().unwrap_or_default();
        if !self.pepper.matches(presented.secret, hash) {
            return Err(unknown());
        }
        if let Some(address) = counted {
            self.wrong_keys.forgive(address);
        }
        let user = stored.value.user_id.as_ref().map(|id| Scope::User(id.clone()));
        if let Some(user) = &user {
            let terms = self.store.terms(user).await;
            let terms = terms.map_err(|error| (Stage::Known, Refusal::store(&error)))?;
            if terms.is_disabled {
                return Err((Stage::Known, Refusal::disabled_user()));
            }
        }
        match stored.value.usable(asked.at) {
            Ok(()) => Ok(Caller {
                stored,
                reserved_usd: None,
                permitted_usd: None,
                has_money_limit: false,
                reserved_pools: Vec::new(),
            }),
            Err(Unusable::Disabled) => Err((Stage::Known, Refusal::disabled_key())),
            Err(Unusable::Expired) => Err((Stage::Known, Refusal::expired_key())),
        }
    }

    /// Reads the key. One that this process does not know waits for its turn where its address has
    /// shown many wrong ones; and only so many wait for the store at the same time.
    async fn look_up(
        &self,
        id: &KeyId,
        is_known: bool,
        address: Option<IpAddr>,
    ) -> Result<Option<Arc<Stored<Key>>>, Refusal> {
        let store = |error| Refusal::store(&error);
        // Counted apart, so that those who guess do not shut out those who are known.
        let waiting = if is_known { &self.waiting.known } else { &self.waiting.unknown };
        let _waiting = Waiting::begin(waiting, self.bounds.waiting_requests)
            .ok_or_else(Refusal::too_many_waiting)?;
        if is_known {
            return self.store.key(id).await.map_err(store);
        }
        if let Some(address) = address {
            let wait = self.wrong_keys.wait(address);
            let wait = wait.map_err(|Crowded| Refusal::too_many_wrong_keys())?;
            if !wait.is_zero() {
                Box::pin(tokio::time::sleep(wait)).await;
            }
        }
        self.store.key(id).await.map_err(store)
    }

    /// Where the request comes from, if whoever accepted it knows.
    fn address(&self, asked: &Asked) -> Option<IpAddr> {
        self.trusted_proxies.counted_client_of(&asked.head.extensions, &asked.head.headers)
    }
}

/// How many requests wait for the store to tell their key.
#[derive(Default)]
pub(crate) struct WaitingRequests {
    known: AtomicUsize,
    unknown: AtomicUsize,
}

/// A request that waits for the store.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let guard = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(guard)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How far a credential got before it failed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Presented,
    WellFormed,
    Known,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_for_the_store_and_no_more() {
        let waiting = AtomicUsize::new(0);
        let some: Vec<_> = (0..2).map(|_| Waiting::begin(&waiting, 2).unwrap()).collect();
        assert!(Waiting::begin(&waiting, 2).is_none());
        drop(some);
        assert!(Waiting::begin(&waiting, 2).is_some());
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
