//! Embedded tables for the tests of handles. A connection refuses every request that the
//! permissions of its handle do not allow, so the tests also show that the permissions are complete.

use crate::connection::StoreConnection;
use crate::permissions::{Action, Permission, Resource};
use crate::{ConfigEdit, ConfigEditor, StoredEntity};
use aws_sdk_dynamodb::config::interceptors::BeforeSerializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemInput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemInput;
use aws_sdk_dynamodb::operation::get_item::GetItemInput;
use aws_sdk_dynamodb::operation::put_item::PutItemInput;
use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsInput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::operation::generate_data_key::GenerateDataKeyInput;
use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::id::{AccountId, GroupId, KeyId, RequestId};
use baton_domain::key::{Group, Key, Limits, ReservationEstimate};
use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use baton_domain::reservation::Reservation;
use baton_domain::secret::Secret;
use baton_local::LocalAws;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::{ResourceNames, Settings};
use baton_runtime::usage_queue::UsageQueue;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// Tables in memory and a clock that the test moves.
pub(crate) struct TestTables {
    local: LocalAws,
    pub(crate) clock: Clock,
}

/// A handle with a connection of its own, which has no permission but those of the handle.
macro_rules! open_handle {
    ($tables:expr, $handle:ty) => {
        <$handle>::new(&$tables.connect(<$handle>::PERMISSIONS))
    };
}
pub(crate) use open_handle;

impl TestTables {
    pub(crate) async fn open() -> Self {
        let local = LocalAws::open(None).await.expect("tables in memory");
        Self { local, clock: Clock::fixed_at(at()) }
    }

    /// A connection with separate caches, as another process has, that is limited to `permissions`.
    pub(crate) fn connect(&self, permissions: &'static [Permission]) -> Arc<StoreConnection> {
        let settings = Settings::from_lookup(|_| None).expect("settings");
        let settings = Settings { resources: self.local.resources(), ..settings };
        let config = self.local.sdk_config();
        let mut aws = AwsClients::new(&config);
        let gate = PermissionGate { permissions, resources: settings.resources.clone() };
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&config).interceptor(gate.clone());
        aws.dynamodb = aws_sdk_dynamodb::Client::from_conf(dynamodb.build());
        let kms = aws_sdk_kms::config::Builder::from(&config).interceptor(gate);
        aws.kms = aws_sdk_kms::Client::from_conf(kms.build());
        StoreConnection::new(&aws, &settings, self.clock.clone(), RandomSource::system())
    }

    /// The usage queue.
    pub(crate) fn queue(&self) -> UsageQueue {
        let aws = AwsClients::new(&self.local.sdk_config());
        UsageQueue::new(&aws, &self.local.resources().usage_queue_url)
    }

    /// Stores a key with these limits, its group, and an account of the group.
    pub(crate) async fn store_key_group_and_account(
        &self,
        limits: Limits,
    ) -> (Key, Group, Account) {
        let editor = open_handle!(self, ConfigEditor);
        let (key, group, account) = (key(limits), group(), account());
        let credential = secret("sk-upstream");
        let sealed = editor.seal_credential(&account, &credential).await.expect("sealed");
        let mut edit = ConfigEdit::default();
        let stored: StoredEntity<Account> = editor.new_stored(account.clone(), Some(sealed));
        editor.save_account(&mut edit, &stored, &[]).expect("an item");
        editor.save_group(&mut edit, &editor.new_stored(group.clone(), None)).expect("an item");
        editor.save_key(&mut edit, &editor.new_stored(key.clone(), None)).expect("an item");
        editor.apply(edit).await.expect("saved");
        (key, group, account)
    }
}

/// Refuses requests that the permissions do not allow.
#[derive(Debug, Clone)]
struct PermissionGate {
    permissions: &'static [Permission],
    resources: ResourceNames,
}

impl Intercept for PermissionGate {
    fn name(&self) -> &'static str {
        "permissions of a handle"
    }

    fn read_before_serialization(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let input = context.input();
        if let Some(get) = input.downcast_ref::<GetItemInput>() {
            self.check(Action::GetItem, get.table_name(), get.key())
        } else if let Some(put) = input.downcast_ref::<PutItemInput>() {
            self.check(Action::PutItem, put.table_name(), put.item())
        } else if let Some(update) = input.downcast_ref::<UpdateItemInput>() {
            self.check(Action::UpdateItem, update.table_name(), update.key())
        } else if let Some(delete) = input.downcast_ref::<DeleteItemInput>() {
            self.check(Action::DeleteItem, delete.table_name(), delete.key())
        } else if let Some(query) = input.downcast_ref::<QueryInput>() {
            self.check_query(query)
        } else if let Some(batch) = input.downcast_ref::<BatchGetItemInput>() {
            let tables = batch.request_items().into_iter().flatten();
            let mut keys =
                tables.flat_map(|(table, all)| all.keys().iter().map(move |key| (table, key)));
            keys.try_for_each(|(table, key)| {
                self.check(Action::BatchGetItem, Some(table), Some(key))
            })
        } else if let Some(transaction) = input.downcast_ref::<TransactWriteItemsInput>() {
            for item in transaction.transact_items() {
                if let Some(put) = item.put() {
                    self.check(Action::PutItem, Some(put.table_name()), Some(put.item()))?;
                } else if let Some(update) = item.update() {
                    self.check(Action::UpdateItem, Some(update.table_name()), Some(update.key()))?;
                } else if let Some(delete) = item.delete() {
                    self.check(Action::DeleteItem, Some(delete.table_name()), Some(delete.key()))?;
                }
            }
            Ok(())
        } else if input.downcast_ref::<GenerateDataKeyInput>().is_some() {
            self.require(Action::GenerateDataKey, Resource::DataKey, "")
        } else {
            self.require(Action::Decrypt, Resource::DataKey, "")
        }
    }
}

impl PermissionGate {
    fn check(
        &self,
        action: Action,
        table: Option<&str>,
        key: Option<&HashMap<String, AttributeValue>>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let pk = key.and_then(|key| key.get("pk")?.as_s().ok()).map(String::as_str);
        self.require(action, self.resource(table, false), pk.unwrap_or_default())
    }

    fn check_query(
        &self,
        query: &QueryInput,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let is_index = query.index_name().is_some();
        let values = query.expression_attribute_values().into_iter().flatten();
        let mut keys = values.filter(|(name, _)| [":pk", ":p"].contains(&name.as_str()));
        let pk = keys.find_map(|(_, value)| value.as_s().ok());
        let resource = self.resource(query.table_name(), is_index);
        self.require(Action::Query, resource, pk.map(String::as_str).unwrap_or_default())
    }

    fn resource(&self, table: Option<&str>, is_index: bool) -> Resource {
        let table = table.expect("a table");
        match (table == self.resources.config_table, table == self.resources.state_table, is_index)
        {
            (true, _, false) => Resource::ConfigTable,
            (true, _, true) => Resource::ConfigIndexes,
            (_, true, false) => Resource::StateTable,
            (_, true, true) => Resource::StateIndexes,
            (false, false, false) => Resource::UsageTable,
            (false, false, true) => Resource::UsageIndexes,
        }
    }

    fn require(
        &self,
        action: Action,
        resource: Resource,
        pk: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let is_led = |pattern: &&str| match pattern.strip_suffix('*') {
            Some(prefix) => pk.starts_with(prefix),
            None => pk == *pattern,
        };
        let is_allowed = self.permissions.iter().any(|permission| {
            permission.resource == resource
                && permission.actions.contains(&action)
                && permission.partitions.iter().any(is_led)
        });
        if is_allowed {
            Ok(())
        } else {
            Err(format!("no permission: {action:?} {resource:?} {pk}").into())
        }
    }
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// The time at which tests begin.
pub(crate) fn at() -> Timestamp {
    "2026-11-22T21:05:30Z".parse().expect("a time")
}

pub(crate) fn key(limits: Limits) -> Key {
    Key {
        id: KeyId::from_bits(1),
        name: "ci".to_owned(),
        user_id: None,
        group_id: group().id,
        models: Vec::new(),
        expires_at: None,
        enabled: true,
        limits,
        estimate: ReservationEstimate::Most,
    }
}

pub(crate) fn group() -> Group {
    Group {
        id: GroupId::from_bits(1),
        name: "team".to_owned(),
        description: String::new(),
        enabled: true,
        limits: Limits::default(),
        model_aliases: Vec::new(),
    }
}

pub(crate) fn account() -> Account {
    let (id, base_url) = (AccountId::from_bits(1), "https://api.example.com");
    Account {
        name: "main".to_owned(),
        groups: vec![group().id],
        priority: 1,
        weight: 1,
        ..Account::new(id, Provider::Anthropic, base_url, CredentialKind::ApiKey)
    }
}

/// A reservation of one dollar.
pub(crate) fn reservation() -> Reservation {
    Reservation {
        estimate: "1".parse().expect("an amount"),
        unreserved: PicoUsd::ZERO,
        at: at(),
        expires: at().as_second() + 60,
        model: "claude-x".to_owned(),
        stream: false,
        group: group().id,
        user: None,
        shared_limits: Vec::new(),
    }
}

/// The record of a request that cost one dollar.
pub(crate) fn record(bits: u128) -> UsageRecord {
    let mut record =
        reservation().to_expired_record(RequestId::from_bits(bits), key(Limits::default()).id, "v");
    record.account_id = account().id;
    record.reserved_usd = None;
    record
}
