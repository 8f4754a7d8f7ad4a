//! Authentication: finds the first valid key among the credential headers of a request.

use crate::client_response::RelayError;
use crate::unknown_keys::TooManyUnknownKeys;
use crate::{RelayState, RequestContext};
use baton_domain::id::KeyId;
use baton_domain::key::{Key, KeyRejection};
use baton_domain::model::is_model_allowed;
use baton_domain::relay_key::{RelayKey, contains_key};
use baton_domain::scope::LimitScope;
use baton_protocol::headers::{find_credentials, lacks_bearer_scheme};
use baton_store::StoredEntity;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The key of the current request.
#[derive(Clone)]
pub(crate) struct AuthenticatedKey {
    stored: Arc<StoredEntity<Key>>,
}

impl AuthenticatedKey {
    pub(crate) fn key(&self) -> &Key {
        &self.stored.value
    }

    /// Checks that the key can use `model`. A relay key sent as the model is refused, because the
    /// model name goes into records and logs and to the upstream.
    pub(crate) fn check_model_allowed(&self, model: &str) -> Result<(), RelayError> {
        if contains_key(model.as_bytes()) {
            return Err(RelayError::key_for_model());
        }
        if is_model_allowed(&self.key().models, model) {
            Ok(())
        } else {
            Err(RelayError::model_not_allowed(model))
        }
    }
}

/// How many different well-formed keys of one request are looked up. Two, because a client may send
/// its key together with another one. More keys would cost more reads of the store.
const CANDIDATES_MAX: usize = 2;

impl RelayState {
    /// Tries the credentials of the request. It checks form and checksum first, so that a mistyped
    /// key costs no I/O. If all fail, the error of the credential that got furthest is returned,
    /// because it explains most.
    pub(crate) async fn authenticate_request(
        &self,
        request: &RequestContext,
    ) -> Result<AuthenticatedKey, RelayError> {
        if let Err(error) = self.pepper.refresh().await {
            return Err(RelayError::store_unavailable(&error));
        }
        let headers = &request.head.headers;
        let no_credential = if lacks_bearer_scheme(headers) {
            RelayError::no_bearer_token()
        } else {
            RelayError::no_key()
        };
        let mut best_failure = (CredentialStage::Presented, no_credential);
        let mut tried = Vec::new();
        for candidate in find_credentials(headers) {
            let Ok(parsed_key) = RelayKey::parse(candidate) else {
                if best_failure.0 <= CredentialStage::Presented {
                    best_failure =
                        (CredentialStage::Presented, RelayError::malformed_key(candidate));
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
            match self.authenticate_key(request, &parsed_key).await {
                Ok(caller) => return Ok(caller),
                Err(failed) if failed.0 >= best_failure.0 => best_failure = failed,
                Err(_) => {}
            }
        }
        Err(best_failure.1)
    }

    async fn authenticate_key(
        &self,
        request: &RequestContext,
        parsed_key: &RelayKey<'_>,
    ) -> Result<AuthenticatedKey, (CredentialStage, RelayError)> {
        let address = self.client_address(request);
        let unknown = || (CredentialStage::WellFormed, RelayError::unknown_key());
        let is_known = self.store.config.is_key_cached(&parsed_key.id);
        let limited_address = address.filter(|_| !is_known);
        let stored = self.look_up_key(&parsed_key.id, is_known, limited_address).await;
        let stored = stored.map_err(|refusal| (CredentialStage::Known, refusal))?;
        let stored = stored.ok_or_else(unknown)?;
        let hash = stored.secret.as_deref().unwrap_or_default();
        if !self.pepper.verify_secret(parsed_key.secret, hash) {
            return Err(unknown());
        }
        if let Some(address) = limited_address {
            self.unknown_key_limiter.uncount_valid_key(address);
        }
        let user = stored.value.user_id.as_ref().map(|id| LimitScope::User(id.clone()));
        if let Some(user) = &user {
            let settings = self.store.limit_settings.scope_settings(user).await;
            let settings = settings
                .map_err(|error| (CredentialStage::Known, RelayError::store_unavailable(&error)))?;
            if settings.is_disabled {
                return Err((CredentialStage::Known, RelayError::disabled_user()));
            }
        }
        match stored.value.usable(request.at) {
            Ok(()) => Ok(AuthenticatedKey { stored }),
            Err(KeyRejection::Disabled) => {
                Err((CredentialStage::Known, RelayError::disabled_key()))
            }
            Err(KeyRejection::Expired) => Err((CredentialStage::Known, RelayError::expired_key())),
        }
    }

    /// Reads the key from the store. A key that is not in the cache waits if its address has sent
    /// many unknown keys. The number of requests that wait for the store is limited.
    async fn look_up_key(
        &self,
        id: &KeyId,
        is_known: bool,
        address: Option<IpAddr>,
    ) -> Result<Option<Arc<StoredEntity<Key>>>, RelayError> {
        let store = |error| RelayError::store_unavailable(&error);
        // Counted separately, so that a flood of guessed keys does not block known keys.
        let waiting_count = if is_known {
            &self.pending_key_lookups.known
        } else {
            &self.pending_key_lookups.unknown
        };
        let _guard = KeyLookupGuard::try_new(waiting_count, self.bounds.waiting_requests)
            .ok_or_else(RelayError::too_many_waiting)?;
        if is_known {
            return self.store.config.key(id).await.map_err(store);
        }
        if let Some(address) = address {
            let wait = self.unknown_key_limiter.count_unknown_key(address);
            let wait = wait.map_err(|TooManyUnknownKeys| RelayError::too_many_wrong_keys())?;
            if !wait.is_zero() {
                Box::pin(tokio::time::sleep(wait)).await;
            }
        }
        self.store.config.key(id).await.map_err(store)
    }

    /// Returns the address of the client, if the server that accepted the connection knows it.
    fn client_address(&self, request: &RequestContext) -> Option<IpAddr> {
        self.trusted_proxies.counted_client_of(&request.head.extensions, &request.head.headers)
    }
}

/// Counts the requests that wait for the store to return their key.
#[derive(Default)]
pub(crate) struct PendingKeyLookups {
    known: AtomicUsize,
    unknown: AtomicUsize,
}

/// Counts one waiting request until it is dropped.
struct KeyLookupGuard<'a>(&'a AtomicUsize);

impl<'a> KeyLookupGuard<'a> {
    fn try_new(waiting_count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let guard = Self(waiting_count);
        (waiting_count.fetch_add(1, Ordering::Relaxed) < max).then_some(guard)
    }
}

impl Drop for KeyLookupGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How far the check of a credential got before it failed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum CredentialStage {
    Presented,
    WellFormed,
    Known,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_the_store_is_bounded() {
        let waiting_count = AtomicUsize::new(0);
        let some: Vec<_> =
            (0..2).map(|_| KeyLookupGuard::try_new(&waiting_count, 2).unwrap()).collect();
        assert!(KeyLookupGuard::try_new(&waiting_count, 2).is_none());
        drop(some);
        assert!(KeyLookupGuard::try_new(&waiting_count, 2).is_some());
        assert_eq!(waiting_count.load(Ordering::Relaxed), 0);
    }
}
