//! The health of accounts in the memory of this process.

use baton_domain::health::AccountHealth;
use baton_domain::id::AccountId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The health that this process knows. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct HealthCache {
    entries: Arc<Mutex<HealthEntries>>,
    /// Allows one write at a time, so that this process does not conflict with itself.
    pub(crate) writing: Arc<tokio::sync::Mutex<()>>,
}

/// The known health of each account.
#[derive(Default)]
pub(crate) struct HealthEntries {
    pub(crate) known_health: HashMap<AccountId, KnownHealth>,
    /// The accounts that are or were unavailable: usually few, so that a check is quick even with
    /// many accounts.
    pub(crate) unavailable: HashSet<AccountId>,
}

/// The health of one account.
#[derive(Clone, Default)]
pub(crate) struct KnownHealth {
    pub(crate) health: Arc<AccountHealth>,
    /// The version of the item that this health was read from or changes; 0 if there is no item.
    pub(crate) version: u64,
    /// Whether the health was changed here and is not written yet.
    pub(crate) is_ahead: bool,
}

impl HealthEntries {
    pub(crate) fn get(&self, id: &AccountId) -> KnownHealth {
        self.known_health.get(id).cloned().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, id: &AccountId, known_health: KnownHealth) {
        if known_health.health.was_ever_unavailable() {
            self.unavailable.insert(id.clone());
        } else {
            self.unavailable.remove(id);
        }
        self.known_health.insert(id.clone(), known_health);
    }

    fn remove(&mut self, id: &AccountId) {
        self.known_health.remove(id);
        self.unavailable.remove(id);
    }
}

impl HealthCache {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HealthEntries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an account that no longer exists.
    pub(crate) fn remove(&self, id: &AccountId) {
        self.lock().remove(id);
    }

    pub(crate) fn get(&self, id: &AccountId) -> KnownHealth {
        self.lock().get(id)
    }

    pub(crate) fn set(&self, id: &AccountId, known_health: KnownHealth) {
        self.lock().set(id, known_health);
    }

    /// Takes over what was read, unless this process has a newer version or an unwritten change.
    pub(crate) fn merge_read(&self, id: &AccountId, read: KnownHealth) {
        let mut entries = self.lock();
        let known_health = entries.get(id);
        if read.version > known_health.version
            || (read.version == known_health.version && !known_health.is_ahead)
        {
            entries.set(id, read);
        }
    }

    /// Records that the health was written as `version`. The health stays marked as unwritten if it
    /// has changed again in the meantime.
    pub(crate) fn written(&self, id: &AccountId, health: &Arc<AccountHealth>, version: u64) {
        let mut entries = self.lock();
        let known_health = entries.get(id);
        let is_ahead = known_health.is_ahead && !Arc::ptr_eq(&known_health.health, health);
        entries.set(id, KnownHealth { version, is_ahead, ..known_health });
    }

    /// Applies `change` to the known health, and returns whether there is something to write.
    pub(crate) fn change(
        &self,
        id: &AccountId,
        change: impl Fn(&AccountHealth) -> Option<AccountHealth>,
    ) -> bool {
        let mut entries = self.lock();
        let known_health = entries.get(id);
        let Some(after) = change(&known_health.health) else { return false };
        entries.set(id, KnownHealth { health: Arc::new(after), is_ahead: true, ..known_health });
        true
    }
}
