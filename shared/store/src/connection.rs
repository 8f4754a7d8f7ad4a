//! The connection to the three tables. It holds what all handles of one process share: the AWS
//! clients, the clock, the random source, the vault and the caches. It has the general requests,
//! such as reading one item. Requests for one subject, such as limits, are in the module of that
//! subject.

use crate::StoreError;
use crate::account_pool::AccountPool;
use crate::health_cache::HealthCache;
use crate::item::{Entity, StoreItem, StoredEntity, key_of};
use crate::item_names::{ItemKey, PK};
use crate::limits::admission_queue::AdmissionQueues;
use crate::session_pin::SessionPin;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::builders::{DeleteBuilder, PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{AttributeValue, Delete, KeysAndAttributes, Put, Update};
use baton_domain::account_selection::SessionPinKey;
use baton_domain::effective_limits::ScopeSettings;
use baton_domain::id::{AccountId, GroupId, KeyId};
use baton_domain::key::Key;
use baton_domain::price::PriceTable;
use baton_domain::scope::LimitScope;
use baton_runtime::aws::AwsClients;
use baton_runtime::cache::{Cache, CacheLifetime};
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::{ResourceNames, Settings};
use baton_runtime::vault::Vault;
use futures_util::future::try_join_all;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OnceCell};

/// The most items that one call of `BatchGetItem` can read (DynamoDB's limit).
const BATCH_MAX: usize = 100;

/// Prices change rarely, and each record says which price it has. So cached prices bridge an outage
/// of up to a day.
const PRICE_LIFETIME: CacheLifetime = CacheLifetime {
    fresh: Duration::from_mins(1),
    stale: Duration::from_mins(10),
    outage: Duration::from_hours(24),
};

/// One of the three tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    Config,
    State,
    Usage,
}

/// A connection to the tables, from which the handles of a function are created
/// ([`crate::RelayStores`] and the others). Handles of the same connection share its caches. Other
/// crates cannot read or write through the connection itself.
pub struct StoreConnection {
    pub(crate) db: aws_sdk_dynamodb::Client,
    pub(crate) kms: aws_sdk_kms::Client,
    pub(crate) resources: ResourceNames,
    pub(crate) event_days: u32,
    pub(crate) clock: Clock,
    pub(crate) random: RandomSource,
    pub(crate) vault: OnceCell<Vault>,
    pub(crate) keys: Cache<KeyId, Option<Arc<StoredEntity<Key>>>>,
    pub(crate) pools: Cache<GroupId, Option<Arc<AccountPool>>>,
    /// The price table. The cache has only one entry.
    pub(crate) prices: Cache<(), Arc<PriceTable>>,
    pub(crate) settings: Cache<LimitScope, Arc<ScopeSettings>>,
    pub(crate) session_pins: Cache<SessionPinKey, Option<SessionPin>>,
    pub(crate) health: HealthCache,
    /// For each account, the token version for which this process has already requested a renewal.
    pub(crate) renewal_requests: quick_cache::sync::Cache<AccountId, u64>,
    /// Limit windows that this process has already recorded as spent.
    pub(crate) already_marked: quick_cache::sync::Cache<String, ()>,
    /// Kinds of entities whose names have been recorded as items (see [`crate::unique_names`]).
    pub(crate) noted_names: quick_cache::sync::Cache<String, ()>,
    /// For each key, the requests of this process that wait to be written together.
    pub(crate) admission_queues: AdmissionQueues,
    pub(crate) renewal_requested: Notify,
}

impl StoreConnection {
    /// Connects to the tables that `resources` in `settings` names. No I/O.
    pub fn new(
        aws: &AwsClients,
        settings: &Settings,
        clock: Clock,
        random: RandomSource,
    ) -> Arc<Self> {
        let lifetime = CacheLifetime {
            fresh: Duration::from_secs(2),
            stale: Duration::from_secs(10),
            outage: Duration::from_mins(5),
        };
        Arc::new(Self {
            db: aws.dynamodb.clone(),
            kms: aws.kms.clone(),
            resources: settings.resources.clone(),
            event_days: settings.storage.event_days,
            clock,
            random,
            vault: OnceCell::new(),
            keys: Cache::new(10_000, lifetime),
            pools: Cache::new(1_000, lifetime),
            prices: Cache::new(1, PRICE_LIFETIME),
            settings: Cache::new(10_000, lifetime),
            session_pins: Cache::new(10_000, lifetime),
            health: HealthCache::default(),
            renewal_requests: quick_cache::sync::Cache::new(1_000),
            noted_names: quick_cache::sync::Cache::new(16),
            already_marked: quick_cache::sync::Cache::new(1_000),
            admission_queues: AdmissionQueues::default(),
            renewal_requested: Notify::new(),
        })
    }

    /// The name of the table.
    pub(crate) fn table(&self, table: Table) -> &str {
        match table {
            Table::Config => &self.resources.config_table,
            Table::State => &self.resources.state_table,
            Table::Usage => &self.resources.usage_table,
        }
    }

    /// Reads the item with this key. Returns `None` if it does not exist.
    pub(crate) async fn get_item(
        &self,
        table: Table,
        key: ItemKey,
        is_consistent: bool,
    ) -> Result<Option<StoreItem>, StoreError> {
        let get = self.db.get_item().table_name(self.table(table)).set_key(Some(key_of(key)));
        Ok(get.consistent_read(is_consistent).send().await?.item)
    }

    /// Reads the entity with this id from the table, not from the cache. Returns `None` if it does
    /// not exist.
    pub(crate) async fn read<T: Entity>(
        &self,
        id: &T::Id,
    ) -> Result<Option<StoredEntity<T>>, StoreError> {
        let item = self.get_item(Table::Config, T::item_key(id), false).await?;
        item.map(StoredEntity::from_item).transpose()
    }

    /// Reads items of any tables by their keys, and returns each with its table, in any order.
    /// Items that do not exist are left out.
    pub(crate) async fn batch_get(
        &self,
        places: Vec<(Table, ItemKey)>,
        is_consistent: bool,
    ) -> Result<Vec<(Table, StoreItem)>, StoreError> {
        let batches = places.chunks(BATCH_MAX).map(|batch| self.get_batch(batch, is_consistent));
        Ok(try_join_all(batches).await?.concat())
    }

    /// Calls `BatchGetItem`, and calls it again for keys that DynamoDB reports as unprocessed.
    async fn get_batch(
        &self,
        places: &[(Table, ItemKey)],
        is_consistent: bool,
    ) -> Result<Vec<(Table, StoreItem)>, StoreError> {
        let mut keys = HashMap::<String, Vec<StoreItem>>::new();
        for (table, key) in places {
            keys.entry(self.table(*table).to_owned()).or_default().push(key_of(key.clone()));
        }
        let read = |(table, keys): (String, Vec<StoreItem>)| {
            let keys = KeysAndAttributes::builder().set_keys(Some(keys));
            Ok((table, keys.consistent_read(is_consistent).build()?))
        };
        let mut request =
            keys.into_iter().map(read).collect::<Result<HashMap<_, _>, StoreError>>()?;
        let mut found = Vec::new();
        while !request.is_empty() {
            let response = self.db.batch_get_item().set_request_items(Some(request)).send().await?;
            let mut responses = response.responses.unwrap_or_default();
            for table in [Table::Config, Table::State, Table::Usage] {
                let items = responses.remove(self.table(table)).unwrap_or_default();
                found.extend(items.into_iter().map(|item| (table, item)));
            }
            request = response.unprocessed_keys.unwrap_or_default();
        }
        Ok(found)
    }

    /// Reads all items with this partition key.
    pub(crate) async fn partition(
        &self,
        table: Table,
        pk: &str,
    ) -> Result<Vec<StoreItem>, StoreError> {
        let items = self
            .query(table)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
            .into_paginator()
            .items()
            .send();
        items.collect::<Result<Vec<_>, _>>().await.map_err(Into::into)
    }

    /// Returns a query of the table that the caller completes and sends.
    pub(crate) fn query(&self, table: Table) -> QueryFluentBuilder {
        self.db.query().table_name(self.table(table))
    }

    /// Returns a request that writes an item; the caller completes and sends it.
    pub(crate) fn put_request(&self, table: Table, item: StoreItem) -> PutItemFluentBuilder {
        self.db.put_item().table_name(self.table(table)).set_item(Some(item))
    }

    /// Returns a request that changes an item; the caller completes and sends it.
    pub(crate) fn update_request(&self, table: Table, key: ItemKey) -> UpdateItemFluentBuilder {
        self.db.update_item().table_name(self.table(table)).set_key(Some(key_of(key)))
    }

    /// Writes an item without a condition.
    pub(crate) async fn put_item(&self, table: Table, item: StoreItem) -> Result<(), StoreError> {
        self.put_request(table, item).send().await?;
        Ok(())
    }

    /// Deletes an item, if it exists.
    pub(crate) async fn delete_item(&self, table: Table, key: ItemKey) -> Result<(), StoreError> {
        let delete = self.db.delete_item().table_name(self.table(table)).set_key(Some(key_of(key)));
        delete.send().await?;
        Ok(())
    }

    /// Returns the action of a transaction that writes an item.
    pub(crate) fn put(&self, table: Table, item: StoreItem) -> PutBuilder {
        Put::builder().table_name(self.table(table)).set_item(Some(item))
    }

    /// Returns the action of a transaction that writes an item only if none with its key exists.
    pub(crate) fn put_new(&self, table: Table, item: StoreItem) -> PutBuilder {
        let put = self.put(table, item).condition_expression("attribute_not_exists(#pk)");
        put.expression_attribute_names("#pk", PK)
    }

    /// Returns the action of a transaction that changes an item.
    pub(crate) fn update(&self, table: Table, key: ItemKey) -> UpdateBuilder {
        Update::builder().table_name(self.table(table)).set_key(Some(key_of(key)))
    }

    /// Returns the action of a transaction that deletes an item.
    pub(crate) fn delete(&self, table: Table, key: ItemKey) -> DeleteBuilder {
        Delete::builder().table_name(self.table(table)).set_key(Some(key_of(key)))
    }

    /// Waits before a write is tried again that failed because others wrote the same item. The wait
    /// is 5 ms and doubles with each try up to 160 ms; a random part of up to the same length is
    /// added.
    pub(crate) async fn back_off(&self, tries: u32) {
        let step = 5 * 2_u64.pow(tries.min(5));
        let chance = step * u64::from(self.random.byte()) / 255;
        tokio::time::sleep(Duration::from_millis(step + chance)).await;
    }
}
