//! Entities of the config table as items: a body that serde writes, and the attributes that all
//! items have.

use crate::StoreError;
use crate::item_names::{self, CREATED_AT, ItemKey, KIND, PK, SECRET, SK, UPDATED_AT, VERSION};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::account::Account;
use baton_domain::id::{AccountId, GroupId, KeyId, UserId};
use baton_domain::key::{Group, Key, User};
use baton_domain::runtime_settings::RuntimeSettings;
use baton_domain::spend_limit::{SpendLimit, SpendLimitId};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;

pub(crate) type StoreItem = HashMap<String, AttributeValue>;

/// A kind of resource that operators manage.
pub trait Entity: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// The type of the id.
    type Id: std::fmt::Display + Send + Sync;
    /// The name of the kind, used in item keys and in the list index.
    const KIND: &'static str;
    /// The id of this entity.
    fn id(&self) -> &Self::Id;
    /// The key of the item of the entity with this id.
    fn item_key(id: &Self::Id) -> ItemKey {
        ItemKey::new(format!("{}#{id}", Self::KIND), Self::KIND)
    }
}

macro_rules! entity {
    ($type:ty, $id:ty, $kind:literal) => {
        impl Entity for $type {
            type Id = $id;
            const KIND: &'static str = $kind;
            fn id(&self) -> &$id {
                &self.id
            }
        }
    };
}

entity!(Key, KeyId, "key");
entity!(Group, GroupId, "group");
entity!(Account, AccountId, "account");
entity!(User, UserId, "user");
entity!(SpendLimit, SpendLimitId, "spend_limit");

impl Entity for RuntimeSettings {
    type Id = &'static str;
    const KIND: &'static str = item_names::SETTING;
    fn id(&self) -> &&'static str {
        &"runtime"
    }
}

/// An entity as it is stored.
#[derive(Clone)]
pub struct StoredEntity<T> {
    /// The entity itself.
    pub value: T,
    /// The HMAC of a key's secret, or the encrypted credential of an account.
    pub secret: Option<Vec<u8>>,
    /// When the entity was created.
    pub created_at: Timestamp,
    /// When the entity was last changed.
    pub updated_at: Timestamp,
    /// The number of the version, from 1; each change adds 1.
    pub version: u64,
}

pub(crate) fn key_of(ItemKey { pk, sk }: ItemKey) -> StoreItem {
    HashMap::from([(PK.to_owned(), AttributeValue::S(pk)), (SK.to_owned(), AttributeValue::S(sk))])
}

impl<T: Entity> StoredEntity<T> {
    /// The item of the entity under its own key, with the attribute that lists it in the index by
    /// kind.
    pub(crate) fn to_item(&self) -> Result<StoreItem, StoreError> {
        let mut item = self.to_copy(T::item_key(self.value.id()))?;
        item.insert(KIND.to_owned(), AttributeValue::S(T::KIND.to_owned()));
        Ok(item)
    }

    /// A copy of the item under another key, without the index attribute, so that lists omit it.
    pub(crate) fn to_copy(&self, key: ItemKey) -> Result<StoreItem, StoreError> {
        let mut item: StoreItem = serde_dynamo::to_item(&self.value)
            .map_err(|error| inconsistent(&key.pk, &key.sk, &error))?;
        item.extend(key_of(key));
        let text = |at| AttributeValue::S(item_names::sortable_time(at));
        item.insert(CREATED_AT.to_owned(), text(self.created_at));
        item.insert(UPDATED_AT.to_owned(), text(self.updated_at));
        item.insert(VERSION.to_owned(), AttributeValue::N(self.version.to_string()));
        if let Some(secret) = &self.secret {
            item.insert(SECRET.to_owned(), AttributeValue::B(Blob::new(secret.clone())));
        }
        Ok(item)
    }

    pub(crate) fn from_item(mut item: StoreItem) -> Result<Self, StoreError> {
        let (pk, sk) = (text(&item, PK)?, text(&item, SK)?);
        let time = |name| {
            text(&item, name)?.parse().map_err(|error: jiff::Error| inconsistent(&pk, &sk, &error))
        };
        let (created_at, updated_at) = (time(CREATED_AT)?, time(UPDATED_AT)?);
        let version = number(&item, VERSION)?;
        let secret = match item.remove(SECRET) {
            Some(AttributeValue::B(blob)) => Some(blob.into_inner()),
            _ => None,
        };
        let value =
            serde_dynamo::from_item(item).map_err(|error| inconsistent(&pk, &sk, &error))?;
        Ok(Self { value, secret, created_at, updated_at, version })
    }
}

pub(crate) fn inconsistent(pk: &str, sk: &str, description: &dyn std::fmt::Display) -> StoreError {
    StoreError::Inconsistent {
        pk: pk.to_owned(),
        sk: sk.to_owned(),
        description: description.to_string(),
    }
}

/// Reads a text attribute.
pub(crate) fn text(item: &StoreItem, name: &str) -> Result<String, StoreError> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text.clone()),
        _ => Err(missing(item, name)),
    }
}

/// Reads an attribute that holds a whole number.
pub(crate) fn number<N: std::str::FromStr>(item: &StoreItem, name: &str) -> Result<N, StoreError> {
    match item.get(name) {
        Some(AttributeValue::N(digits)) => digits.parse().map_err(|_| missing(item, name)),
        _ => Err(missing(item, name)),
    }
}

fn missing(item: &StoreItem, name: &str) -> StoreError {
    let part = |name| match item.get(name) {
        Some(AttributeValue::S(text)) => text.clone(),
        _ => String::new(),
    };
    inconsistent(
        &part(PK),
        &part(SK),
        &format_args!("attribute `{name}` is missing or has an unexpected value"),
    )
}
