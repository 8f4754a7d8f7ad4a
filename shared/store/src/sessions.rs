//! Console sessions, stored under a hash of the value that the browser holds. A session is read
//! together with everything that decides whether it is still valid: its user, its key, the settings
//! and the hash of the admin token.

use super::config_edit::{ConfigEdit, put};
use super::item::{StoreItem, StoredEntity, key_of, number, text};
use super::item_names::{
    self, ADMIN_TOKEN, AT, CREATED_AT, PK, PROVEN, SECRET, SETTING, TTL, VERSION,
};
use super::{Entity, Store, StoreError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, KeysAndAttributes, Put, TransactWriteItem};
use baton_domain::console_session::{ConsoleSession, SessionSubject};
use baton_domain::key::{Key, User};
use baton_domain::runtime_settings::RuntimeSettings;
use std::collections::HashMap;

/// A session and the current state of everything that it depends on.
pub struct SessionContext {
    /// The session.
    pub session: ConsoleSession,
    /// The hash of the secret that the person signed in with; empty if the sign-in used no secret
    /// of this deployment.
    pub proof: Vec<u8>,
    /// The proof that the holder of the session secret wrote this session; empty if there is none.
    pub proven: Vec<u8>,
    /// The session's user, if it has one who still exists.
    pub user: Option<User>,
    /// The session's key, if it has one that still exists.
    pub key: Option<StoredEntity<Key>>,
    /// The current runtime settings.
    pub runtime: RuntimeSettings,
    /// The hash of the generated admin token, if the session depends on it.
    pub admin_token_hash: Option<Vec<u8>>,
}

/// A session to write.
pub struct SessionRow<'a> {
    /// The hash that the session is stored under.
    pub hash: &'a [u8],
    /// The session.
    pub session: &'a ConsoleSession,
    /// The hash of the secret that the session is based on.
    pub proof: &'a [u8],
    /// The proof that the holder of the session secret wrote this row.
    pub proven: &'a [u8],
}

impl Store {
    /// The session of `who` under this `hash`, valid or not, with everything that it depends on,
    /// read in one call.
    pub async fn session(
        &self,
        hash: &[u8],
        subject: &SessionSubject,
    ) -> Result<Option<SessionContext>, StoreError> {
        let mut config = vec![RuntimeSettings::place(&"runtime")];
        config.extend(subject.user().map(User::place));
        config.extend(subject.key().map(Key::place));
        if *subject == SessionSubject::Token {
            config.push((ADMIN_TOKEN.to_owned(), SETTING.to_owned()));
        }
        let (config_table, state_table) =
            (&self.resources.config_table, &self.resources.state_table);
        let mut by_id = HashMap::<String, StoreItem>::new();
        let state = vec![item_names::session(hash)];
        let wanted =
            [(config_table, consistent_reads(config)), (state_table, consistent_reads(state))];
        let mut request_items: HashMap<String, KeysAndAttributes> =
            wanted.into_iter().filter_map(|(table, keys)| Some((table.clone(), keys?))).collect();
        while !request_items.is_empty() {
            let response =
                self.db.batch_get_item().set_request_items(Some(request_items)).send().await?;
            for item in response.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                by_id.insert(text(&item, PK)?, item);
            }
            request_items = response.unprocessed_keys.unwrap_or_default();
        }
        let Some(item) = by_id.remove(&item_names::session(hash).0) else { return Ok(None) };
        let mut take = |(pk, _): item_names::ItemKey| by_id.remove(&pk);
        let user = subject.user().and_then(|id| take(User::place(id)));
        let user =
            user.map(StoredEntity::<User>::from_item).transpose()?.map(|stored| stored.value);
        let key = subject.key().and_then(|id| take(Key::place(id)));
        let runtime = take(RuntimeSettings::place(&"runtime"));
        let runtime = runtime.map(StoredEntity::<RuntimeSettings>::from_item).transpose()?;
        let admin_token = take((ADMIN_TOKEN.to_owned(), String::new()));
        Ok(Some(SessionContext {
            session: parse_session(&item)?,
            proof: bytes(&item, SECRET).unwrap_or_default(),
            proven: bytes(&item, PROVEN).unwrap_or_default(),
            user,
            key: key.map(StoredEntity::from_item).transpose()?,
            runtime: runtime.map(|stored| stored.value).unwrap_or_default(),
            admin_token_hash: admin_token.as_ref().and_then(|item| bytes(item, SECRET)),
        }))
    }

    /// Adds a new session to `edit`.
    pub fn begin_session(&self, edit: &mut ConfigEdit, row: &SessionRow<'_>) {
        let SessionRow { hash, session, proof, proven } = row;
        let row = Put::builder()
            .table_name(&self.resources.state_table)
            .set_item(Some(key_of(item_names::session(hash))))
            .item(CREATED_AT, AttributeValue::S(item_names::sortable_time(session.started_at)))
            .item(AT, seconds(session.used_at))
            .item(VERSION, AttributeValue::N(session.session_generation.to_string()))
            .item(SECRET, AttributeValue::B(Blob::new(*proof)))
            .item(PROVEN, AttributeValue::B(Blob::new(*proven)))
            .item(TTL, seconds(session.ends_at()))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK);
        edit.actions.push(put(row));
    }

    /// Adds the deletion of the session under `hash` to `edit`.
    pub fn end_session(&self, edit: &mut ConfigEdit, hash: &[u8]) {
        let delete = Delete::builder()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(item_names::session(hash))));
        edit.actions.push(TransactWriteItem::builder().set_delete(delete.build().ok()).build());
    }

    /// Stores when the session was last used, with a new proof; the secret's hash stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the session has ended in the meantime.
    pub async fn use_session(&self, row: &SessionRow<'_>) -> Result<(), StoreError> {
        let SessionRow { hash, session, proven, .. } = row;
        self.db
            .update_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(item_names::session(hash))))
            .update_expression("SET #at = :at, #ttl = :ttl, #proven = :proven")
            .condition_expression("attribute_exists(#pk)")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#at", AT)
            .expression_attribute_names("#ttl", TTL)
            .expression_attribute_names("#proven", PROVEN)
            .expression_attribute_values(":proven", AttributeValue::B(Blob::new(*proven)))
            .expression_attribute_values(":at", seconds(session.used_at))
            .expression_attribute_values(":ttl", seconds(session.ends_at()))
            .send()
            .await?;
        Ok(())
    }
}

/// Items to read consistently, because a revoked item must not be seen any more.
fn consistent_reads(keys: Vec<item_names::ItemKey>) -> Option<KeysAndAttributes> {
    let keys: Vec<StoreItem> = keys.into_iter().map(key_of).collect();
    KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build().ok()
}

fn seconds(at: jiff::Timestamp) -> AttributeValue {
    AttributeValue::N(at.as_second().to_string())
}

fn bytes(item: &StoreItem, name: &str) -> Option<Vec<u8>> {
    match item.get(name) {
        Some(AttributeValue::B(blob)) => Some(blob.as_ref().to_vec()),
        _ => None,
    }
}

fn parse_session(item: &StoreItem) -> Result<ConsoleSession, StoreError> {
    let is_invalid_char =
        |error: jiff::Error| super::item::inconsistent("session", CREATED_AT, &error);
    let used_at = jiff::Timestamp::from_second(number(item, AT)?).map_err(is_invalid_char)?;
    let started_at = text(item, CREATED_AT)?.parse().map_err(is_invalid_char)?;
    Ok(ConsoleSession { started_at, used_at, session_generation: number(item, VERSION)? })
}
