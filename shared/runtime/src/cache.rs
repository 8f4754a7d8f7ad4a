//! A small cache for configuration. Entries are fresh for a moment; after that they are still
//! served while they are read again.
//!
//! A Lambda freezes between requests, so nothing here runs on a timer: a stale entry is returned,
//! and the request that found it refreshes it. Writes of the same process call [`Cache::forget`],
//! so that they are visible at once.

use quick_cache::sync::Cache as Entries;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long an entry can be served.
#[derive(Clone, Copy)]
pub struct CacheLifetime {
    /// Up to this age it is served without a read.
    pub fresh: Duration,
    /// Up to this age it is served while one caller reads it again. Callers wait for the read of an
    /// older entry.
    pub stale: Duration,
    /// Up to this age it is served if the store cannot be read.
    pub outage: Duration,
}

struct CacheEntry<V> {
    value: V,
    read_at: Instant,
    /// Whether a caller is reading it again; all others use this entry.
    is_read_anew: AtomicBool,
}

/// Values by key. Clones share the entries.
pub struct Cache<K, V> {
    entries: Arc<Entries<K, Arc<CacheEntry<V>>>>,
    lifetime: CacheLifetime,
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { entries: Arc::clone(&self.entries), lifetime: self.lifetime }
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Creates an empty cache for about `capacity` entries.
    pub fn new(capacity: usize, lifetime: CacheLifetime) -> Self {
        Self { entries: Arc::new(Entries::new(capacity)), lifetime }
    }

    /// The value of `key`, read with `read` if the cache has no valid one.
    ///
    /// # Errors
    /// The error of `read`, if no entry is young enough to bridge the outage.
    pub async fn get<E, F>(&self, key: &K, read: impl FnOnce() -> F) -> Result<V, E>
    where
        E: Send,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        // Reads are rare, and boxed, so that the futures of callers that find an entry stay small.
        let Some(entry) = self.entries.get(key) else {
            return Box::pin(read()).await.map(|value| self.insert_entry(key, value));
        };
        let age = entry.read_at.elapsed();
        if age < self.lifetime.fresh {
            return Ok(entry.value.clone());
        }
        if age < self.lifetime.stale {
            if !entry.is_read_anew.swap(true, Ordering::Relaxed) {
                let (cache, key, reading) = (self.clone(), key.clone(), Box::pin(read()));
                let stale = Arc::clone(&entry);
                tokio::spawn(async move {
                    match reading.await {
                        Ok(value) => drop(cache.insert_entry(&key, value)),
                        Err(_) => stale.is_read_anew.store(false, Ordering::Relaxed),
                    }
                });
            }
            return Ok(entry.value.clone());
        }
        match Box::pin(read()).await {
            Ok(value) => Ok(self.insert_entry(key, value)),
            Err(_) if age < self.lifetime.outage => Ok(entry.value.clone()),
            Err(error) => Err(error),
        }
    }

    /// The cached value of `key`, if it is young enough to bridge an outage. Reads nothing.
    pub fn get_for_outage(&self, key: &K) -> Option<V> {
        let entry = self.entries.get(key)?;
        (entry.read_at.elapsed() < self.lifetime.outage).then(|| entry.value.clone())
    }

    /// Drops the entry, because this process has changed the value in the store.
    pub fn forget(&self, key: &K) {
        self.entries.remove(key);
    }

    fn insert_entry(&self, key: &K, value: V) -> V {
        let (read_at, is_read_anew) = (Instant::now(), AtomicBool::new(false));
        let entry = CacheEntry { value: value.clone(), read_at, is_read_anew };
        self.entries.insert(key.clone(), Arc::new(entry));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn cache() -> Cache<&'static str, u32> {
        let seconds = Duration::from_secs;
        Cache::new(
            10,
            CacheLifetime { fresh: seconds(2), stale: seconds(30), outage: seconds(300) },
        )
    }

    /// Each read returns the next number; `None` stands for a store that is down.
    async fn read(
        cache: &Cache<&'static str, u32>,
        store: &Arc<Option<AtomicU32>>,
    ) -> Result<u32, ()> {
        let store = Arc::clone(store);
        let reading = async move {
            store.as_ref().as_ref().map(|n| n.fetch_add(1, Ordering::SeqCst)).ok_or(())
        };
        cache.get(&"k", || reading).await
    }

    #[tokio::test(start_paused = true)]
    async fn stale_entry_is_read_once_for_concurrent_callers() {
        let (cache, up, down) = (cache(), Arc::new(Some(AtomicU32::new(1))), Arc::new(None));
        assert_eq!(read(&cache, &up).await, Ok(1));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(read(&cache, &down).await, Ok(1), "a read that fails");
        tokio::task::yield_now().await;
        for _ in 0..100 {
            assert_eq!(read(&cache, &up).await, Ok(1), "others do not wait for it");
        }
        tokio::task::yield_now().await;
        assert_eq!(read(&cache, &up).await, Ok(2), "one read for all of them");
    }

    #[tokio::test(start_paused = true)]
    async fn entry_becomes_stale_and_is_then_reread() {
        let (cache, up, down) = (cache(), Arc::new(Some(AtomicU32::new(1))), Arc::new(None));
        assert_eq!(read(&cache, &up).await, Ok(1));
        assert_eq!(read(&cache, &up).await, Ok(1), "fresh");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(read(&cache, &up).await, Ok(1), "stale, once");
        tokio::task::yield_now().await;
        assert_eq!(read(&cache, &up).await, Ok(2), "read meanwhile");
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(read(&cache, &up).await, Ok(3), "too old to serve");
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(read(&cache, &down).await, Ok(3), "bridges an outage");
        assert_eq!(cache.get_for_outage(&"k"), Some(3), "held, without a look at the store");
        tokio::time::advance(Duration::from_mins(5)).await;
        assert_eq!(cache.get_for_outage(&"k"), None, "too old even for that");
        assert_eq!(read(&cache, &down).await, Err(()), "but not for ever");
        cache.forget(&"k");
        assert_eq!(read(&cache, &up).await, Ok(4), "forgotten");
    }
}
