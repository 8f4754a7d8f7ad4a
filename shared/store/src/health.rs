//! The health of accounts. It is read together with a group's accounts and kept in this process's
//! memory. It is written only when it changes, on the condition that no other process has written
//! it in the meantime.

use crate::StoreError;
use crate::config_reader::ConfigReader;
use crate::connection::Table;
use crate::health_cache::{HealthCache, KnownHealth};
use crate::item::{StoreItem, inconsistent, key_of, number, text};
use crate::item_names::{self, PK, SK, UPDATED_AT, VERSION};
use crate::permissions::{Action, LIST_CONFIG, Permission, store_handle};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::account::Account;
use baton_domain::health::{AccountHealth, probing};
use baton_domain::id::AccountId;
use baton_domain::metric::{AccountState, AccountStateCounts};
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How many accounts one page of a count has.
const PAGE: i32 = 100;

/// The most tries while other processes write the same item. After them, the health that was read
/// last stays in memory.
const TRIES_MAX: u32 = 5;

store_handle! {
    /// The health of accounts.
    HealthStore,
    Permission::on_state(&[Action::GetItem, Action::BatchGetItem, Action::PutItem], &["health#*"]),
    LIST_CONFIG
}

impl HealthStore {
    /// The health of the account, as far as this process knows. No I/O:
    /// [`AccountPools::get`](crate::AccountPools::get) reads the health of a group's accounts.
    pub fn get(&self, id: &AccountId) -> Arc<AccountHealth> {
        self.connection.health.get(id).health
    }

    /// Whether any of these accounts was unavailable within `span` before `now`.
    pub fn was_any_unavailable<'a>(
        &self,
        mut ids: impl Iterator<Item = &'a AccountId>,
        span: SignedDuration,
        now: Timestamp,
    ) -> bool {
        let entries = self.connection.health.lock();
        let was_unavailable = |id: &&AccountId| {
            entries
                .known_health
                .get(*id)
                .is_some_and(|it| it.health.was_unavailable_within(span, now))
        };
        let unavailable: HashSet<&AccountId> =
            entries.unavailable.iter().filter(was_unavailable).collect();
        !unavailable.is_empty() && ids.any(|id| unavailable.contains(id))
    }

    /// Applies `change` in this process, then in the table. If it changes nothing, nothing is
    /// written.
    ///
    /// # Errors
    /// If the change could not be written. This process then uses the changed health until it next
    /// reads the table.
    pub async fn change_health(
        &self,
        id: &AccountId,
        change: impl Fn(&AccountHealth) -> Option<AccountHealth>,
    ) -> Result<(), StoreError> {
        if self.change_health_in_memory(id, &change) {
            self.write_health(id, change).await
        } else {
            Ok(())
        }
    }

    /// Applies `change` in this process only. Returns whether it changed anything; if so,
    /// [`Self::write_health`] has to follow.
    pub fn change_health_in_memory(
        &self,
        id: &AccountId,
        change: impl Fn(&AccountHealth) -> Option<AccountHealth>,
    ) -> bool {
        self.connection.health.change(id, change)
    }

    /// Writes the change that was made in this process. If another process has written in the
    /// meantime, `change` is applied to what that process wrote.
    ///
    /// # Errors
    /// The same as [`Self::change_health`].
    pub async fn write_health(
        &self,
        id: &AccountId,
        change: impl Fn(&AccountHealth) -> Option<AccountHealth>,
    ) -> Result<(), StoreError> {
        let _one = self.connection.health.writing.lock().await;
        for _ in 0..TRIES_MAX {
            let known_health = self.connection.health.get(id);
            if !known_health.is_ahead {
                return Ok(());
            }
            match self.put_health(id, &known_health).await {
                Ok(version) => self.connection.health.written(id, &known_health.health, version),
                Err(StoreError::Conflict) => {
                    self.connection.health.set(id, self.read_health_now(id).await?);
                    self.connection.health.change(id, &change);
                }
                Err(error) => {
                    self.connection.health.written(id, &known_health.health, known_health.version);
                    return Err(error);
                }
            }
        }
        Err(StoreError::Conflict)
    }

    /// Claims the one test request of an account whose circuit is half-open. Returns whether the
    /// caller has got it.
    pub async fn claim_probe(&self, id: &AccountId) -> Result<bool, StoreError> {
        let _one = self.connection.health.writing.lock().await;
        let known_health = self.connection.health.get(id);
        let Some(claimed) = probing(&known_health.health, self.connection.clock.now()) else {
            return Ok(false);
        };
        let claimed = KnownHealth { health: Arc::new(claimed), ..known_health };
        match self.put_health(id, &claimed).await {
            Ok(version) => {
                self.connection.health.set(id, KnownHealth { version, ..claimed });
                Ok(true)
            }
            Err(StoreError::Conflict) => {
                self.connection.health.set(id, self.read_health_now(id).await?);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the health of these accounts into this process's memory.
    pub async fn read_health(&self, ids: &[AccountId]) -> Result<(), StoreError> {
        let places = ids.iter().map(|id| (Table::State, item_names::health(id))).collect();
        let mut by_id = HashMap::new();
        for (_, item) in self.connection.batch_get(places, false).await? {
            by_id.insert(text(&item, PK)?, item);
        }
        for id in ids {
            self.connection.health.merge_item(id, by_id.remove(&item_names::health(id).pk))?;
        }
        Ok(())
    }

    /// Counts all accounts by their state. Each hundred accounts cost one Query and one batch read.
    pub async fn count_account_states(&self) -> Result<AccountStateCounts, StoreError> {
        let (mut counts, mut cursor) = (AccountStateCounts::default(), None);
        loop {
            let page = ConfigReader::new(&self.connection)
                .list::<Account>(PAGE, cursor.as_deref())
                .await?;
            let ids: Vec<AccountId> = page.data.iter().map(|item| item.value.id.clone()).collect();
            self.read_health(&ids).await?;
            let now = self.connection.clock.now();
            let state =
                |account: &Account| AccountState::from_health(account, &self.get(&account.id), now);
            counts.extend(page.data.iter().map(|stored| state(&stored.value)));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(counts);
            }
        }
    }

    async fn read_health_now(&self, id: &AccountId) -> Result<KnownHealth, StoreError> {
        let item = self.connection.get_item(Table::State, item_names::health(id), true).await?;
        Ok(item.map(parse_item).transpose()?.unwrap_or_default())
    }

    /// Writes the health, on the condition that the stored version is the known one. Returns the
    /// new version.
    async fn put_health(
        &self,
        id: &AccountId,
        known_health: &KnownHealth,
    ) -> Result<u64, StoreError> {
        let key = item_names::health(id);
        let mut item: StoreItem = serde_dynamo::to_item(&*known_health.health)
            .map_err(|error| inconsistent(&key.pk, &key.sk, &error))?;
        item.extend(key_of(key));
        let number = |number: u64| AttributeValue::N(number.to_string());
        let version = known_health.version + 1;
        item.insert(VERSION.to_owned(), number(version));
        let now = item_names::sortable_time(self.connection.clock.now());
        item.insert(UPDATED_AT.to_owned(), AttributeValue::S(now));
        let put = self.connection.put_request(Table::State, item);
        let put = if known_health.version == 0 {
            put.condition_expression("attribute_not_exists(#k)")
                .expression_attribute_names("#k", PK)
        } else {
            put.condition_expression("#k = :before")
                .expression_attribute_names("#k", VERSION)
                .expression_attribute_values(":before", number(known_health.version))
        };
        put.send().await?;
        Ok(version)
    }
}

impl HealthCache {
    /// Takes over the item of an account, or that there is none.
    pub(crate) fn merge_item(
        &self,
        id: &AccountId,
        item: Option<StoreItem>,
    ) -> Result<(), StoreError> {
        self.merge_read(id, item.map(parse_item).transpose()?.unwrap_or_default());
        Ok(())
    }
}

fn parse_item(item: StoreItem) -> Result<KnownHealth, StoreError> {
    let (pk, sk, version) = (text(&item, PK)?, text(&item, SK)?, number(&item, VERSION)?);
    let health = serde_dynamo::from_item(item).map_err(|error| inconsistent(&pk, &sk, &error))?;
    Ok(KnownHealth { health: Arc::new(health), version, is_ahead: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, account, open_handle};
    use baton_domain::cooldown_reason::CooldownReason;
    use baton_domain::health::after_refusal;
    use baton_domain::key::Limits;

    #[tokio::test]
    async fn change_is_applied_to_what_another_process_has_written() {
        let tables = TestTables::open().await;
        tables.store_key_group_and_account(Limits::default()).await;
        let [here, there] = [(); 2].map(|()| open_handle!(tables, HealthStore));
        let (id, now) = (account().id, tables.clock.now());
        let refuse = |health: &AccountHealth| {
            after_refusal(health, CooldownReason::CredentialRefused, None, now)
        };
        let end_token =
            |health: &AccountHealth| after_refusal(health, CooldownReason::TokenEnded, None, now);
        here.change_health(&id, refuse).await.expect("written");
        there.change_health(&id, end_token).await.expect("read after a conflict");
        here.read_health(std::slice::from_ref(&id)).await.expect("read");
        assert_eq!(*here.get(&id), *there.get(&id));
        assert!(there.was_any_unavailable([&id].into_iter(), SignedDuration::from_mins(1), now));
        let counts = here.count_account_states().await.expect("counted");
        assert_eq!(counts.count(AccountState::AuthFailed), 1);
        assert!(!here.claim_probe(&id).await.expect("asked"), "its circuit is not half-open");
    }
}
