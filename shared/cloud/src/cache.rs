//! A small cache for configuration: fresh for a moment, then served stale while it is read anew.
//!
//! A Lambda freezes between requests, so nothing here runs on a timer: an entry that has gone
//! stale is returned and refreshed during the request that found it. Writes of the same process
//! go through [`Cache::forget`], so that they are seen at once.

use quick_cache::sync::Cache as Entries;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long an entry is good.
#[derive(Clone, Copy)]
pub struct CacheLifetime {
    /// Served without a look at the store.
    pub fresh: Duration,
    /// Served while it is read anew, once for all who ask; older entries are waited for.
    pub stale: Duration,
    /// Served when the store cannot be read.
    pub outage: Duration,
}

struct CacheEntry<V> {
    value: V,
    read_at: Instant,
    /// Somebody is reading it anew; all others go on with this one.
    is_read_anew: AtomicBool,
}

/// Values by key. Cloning shares the entries.
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
    /// An empty cache for about `capacity` entries.
    pub fn new(capacity: usize, lifetime: CacheLifetime) -> Self {
        Self { entries: Arc::new(Entries::new(capacity)), lifetime }
    }

    /// The value of `key`, by `read` where the cache has none that is good.
    ///
    /// # Errors
    /// What `read` failed with, when no entry is young enough to bridge the outage.
    pub async fn get<E, F>(&self, key: &K, read: impl FnOnce() -> F) -> Result<V, E>
    where
        E: Send,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        // Reading is rare, and boxed, so that the futures of those who only look stay small.
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

    /// What is there of `key`, if it is young enough to bridge an outage. Nothing is read.
    pub fn get_for_outage(&self, key: &K) -> Option<V> {
        let entry = self.entries.get(key)?;
        (entry.read_at.elapsed() < self.lifetime.outage).then(|| entry.value.clone())
    }

    /// Drops the entry, because this process has changed what it was read from.
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

    /// Each read yields the next number; `None` is a store that is down.
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
