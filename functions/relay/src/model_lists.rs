//! A cache of the upstreams' model lists. Many clients ask for a list at each start, and each list
//! can need calls to up to eight accounts.

use baton_domain::id::AccountId;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a cached list is used.
const FRESH: Duration = Duration::from_mins(5);

/// The limits of all cached lists together. Beyond them, the cache is emptied.
const BYTES_MAX: usize = 8 << 20;
const ENTRIES_MAX: usize = 512;

/// The bodies of successful answers by account and address.
#[derive(Default)]
pub(crate) struct ModelListCache(Mutex<HashMap<(AccountId, String), CachedModelList>>);

struct CachedModelList {
    deadline: Instant,
    body: Bytes,
}

impl ModelListCache {
    /// Returns the cached body if it is recent.
    pub(crate) fn get(&self, account: &AccountId, url: &str) -> Option<Bytes> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cached.get(&(account.clone(), url.to_owned()))?;
        (known.deadline > Instant::now()).then(|| known.body.clone())
    }

    /// Stores the body of a successful answer, unless it is very long.
    pub(crate) fn put(&self, account: &AccountId, url: &str, body: &Bytes) {
        if body.len() > BYTES_MAX / 4 {
            return;
        }
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        cached.retain(|_, known| known.deadline > now);
        let retained_bytes: usize = cached.values().map(|known| known.body.len()).sum();
        if retained_bytes + body.len() > BYTES_MAX || cached.len() >= ENTRIES_MAX {
            cached.clear();
        }
        let list = CachedModelList { deadline: now + FRESH, body: body.clone() };
        cached.insert((account.clone(), url.to_owned()), list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Bytes {
        Bytes::from(vec![b'x'; bytes])
    }

    #[tokio::test(start_paused = true)]
    async fn model_list_expires_after_some_minutes() {
        let (lists, account) = (ModelListCache::default(), AccountId::from_bits(1));
        lists.put(&account, "/v1/models", &answer(3));
        assert!(lists.get(&account, "/v1/models").is_some());
        assert!(lists.get(&account, "/v1/models?limit=1").is_none());
        assert!(lists.get(&AccountId::from_bits(2), "/v1/models").is_none());
        tokio::time::advance(FRESH).await;
        assert!(lists.get(&account, "/v1/models").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_model_lists_is_bounded() {
        let (lists, account) = (ModelListCache::default(), AccountId::from_bits(1));
        for number in 0..50 {
            lists.put(&account, &format!("/v1/models/{number}"), &answer(1 << 20));
        }
        assert!(lists.0.lock().unwrap().len() <= 8);
        lists.put(&account, "/large", &answer(4 << 20));
        assert!(lists.get(&account, "/large").is_none());
    }
}
