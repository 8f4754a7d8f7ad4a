//! Console sessions, stored under a hash of the value that the browser holds. A session is read
//! together with everything that decides whether it is still valid: its user, its key, the settings
//! and the hash of the admin token.
//!
//! A sign-in that takes several requests keeps its state here as well, encrypted.

use crate::StoreError;
use crate::config_editor::ConfigEdit;
use crate::connection::Table;
use crate::item::{Entity as _, StoreItem, StoredEntity, key_of, number, text};
use crate::item_names::{
    self, ADMIN_TOKEN, AT, CREATED_AT, ItemKey, PK, PROVEN, SECRET, SETTING, TTL, VERSION,
};
use crate::permissions::{
    ANY, Action, KEEP_DATA_KEY, MAKE_VAULT, OPEN_VAULT, Permission, Resource, store_handle,
};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use baton_domain::console_session::{ConsoleSession, SessionSubject};
use baton_domain::key::{Key, User};
use baton_domain::runtime_settings::RuntimeSettings;
use baton_domain::secret::Secret;
use jiff::{SignedDuration, Timestamp};
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

store_handle! {
    /// Console sessions and unfinished sign-ins.
    SessionStore,
    Permission::on(Resource::ConfigTable, &[Action::BatchGetItem], ANY),
    Permission::on_state(
        &[Action::BatchGetItem, Action::PutItem, Action::UpdateItem, Action::DeleteItem],
        &["session#*", "sign_in#*"]
    ),
    KEEP_DATA_KEY,
    OPEN_VAULT,
    MAKE_VAULT
}

impl SessionStore {
    /// The session of `subject` under this `hash`, valid or not, with everything that it depends
    /// on, read in one call.
    pub async fn read_session(
        &self,
        hash: &[u8],
        subject: &SessionSubject,
    ) -> Result<Option<SessionContext>, StoreError> {
        let config = |place| (Table::Config, place);
        let mut places = vec![config(RuntimeSettings::item_key(&"runtime"))];
        places.extend(subject.user().map(User::item_key).map(config));
        places.extend(subject.key().map(Key::item_key).map(config));
        if *subject == SessionSubject::Token {
            places.push(config(ItemKey::new(ADMIN_TOKEN, SETTING)));
        }
        places.push((Table::State, item_names::session(hash)));
        // Consistently, because a revoked item must not be seen any more.
        let mut by_id = HashMap::<String, StoreItem>::new();
        for (_, item) in self.connection.batch_get(places, true).await? {
            by_id.insert(text(&item, PK)?, item);
        }
        let Some(item) = by_id.remove(&item_names::session(hash).pk) else { return Ok(None) };
        let mut take = |key: ItemKey| by_id.remove(&key.pk);
        let user = subject.user().and_then(|id| take(User::item_key(id)));
        let user =
            user.map(StoredEntity::<User>::from_item).transpose()?.map(|stored| stored.value);
        let key = subject.key().and_then(|id| take(Key::item_key(id)));
        let runtime = take(RuntimeSettings::item_key(&"runtime"));
        let runtime = runtime.map(StoredEntity::<RuntimeSettings>::from_item).transpose()?;
        let admin_token = take(ItemKey::new(ADMIN_TOKEN, SETTING));
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
        let row = self
            .connection
            .put_new(Table::State, key_of(item_names::session(hash)))
            .item(CREATED_AT, AttributeValue::S(item_names::sortable_time(session.started_at)))
            .item(AT, seconds(session.used_at))
            .item(VERSION, AttributeValue::N(session.session_generation.to_string()))
            .item(SECRET, AttributeValue::B(Blob::new(*proof)))
            .item(PROVEN, AttributeValue::B(Blob::new(*proven)))
            .item(TTL, seconds(session.ends_at()));
        edit.actions.push(row.into());
    }

    /// Adds the deletion of the session under `hash` to `edit`.
    pub fn end_session(&self, edit: &mut ConfigEdit, hash: &[u8]) {
        let delete = self.connection.delete(Table::State, item_names::session(hash));
        edit.actions.push(delete.into());
    }

    /// Stores when the session was last used, with a new proof; the secret's hash stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the session has ended in the meantime.
    pub async fn use_session(&self, row: &SessionRow<'_>) -> Result<(), StoreError> {
        let SessionRow { hash, session, proven, .. } = row;
        self.connection
            .update_request(Table::State, item_names::session(hash))
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

    /// Stores the state of an unfinished sign-in for the given number of minutes. Returns when it
    /// expires.
    pub async fn put_sign_in(
        &self,
        state: &str,
        text: &Secret,
        minutes: i64,
    ) -> Result<Timestamp, StoreError> {
        let key = item_names::sign_in(state);
        let sealed = self.connection.seal_at(text, &key.pk).await?;
        let until = self.connection.clock.now().saturating_add(SignedDuration::from_mins(minutes));
        let until = until.unwrap_or(Timestamp::MAX);
        self.connection
            .put_request(Table::State, key_of(key))
            .item(SECRET, AttributeValue::B(Blob::new(sealed)))
            .item(item_names::TTL, AttributeValue::N(until.as_second().to_string()))
            .send()
            .await?;
        Ok(until)
    }

    /// Takes the state of a sign-in and deletes it, so that it can be used only once. `None` if it
    /// does not exist or has expired.
    pub async fn take_sign_in(&self, state: &str) -> Result<Option<Secret>, StoreError> {
        let key = item_names::sign_in(state);
        let response = self
            .connection
            .db
            .delete_item()
            .table_name(self.connection.table(Table::State))
            .set_key(Some(key_of(key.clone())))
            .return_values(ReturnValue::AllOld)
            .send()
            .await?;
        let Some(item) = response.attributes else { return Ok(None) };
        let Some(AttributeValue::B(sealed)) = item.get(SECRET) else { return Ok(None) };
        if number::<i64>(&item, item_names::TTL)? <= self.connection.clock.now().as_second() {
            return Ok(None);
        }
        self.connection.open_at(sealed.as_ref(), &key.pk).await.map(Some)
    }

    /// Records a sign-in as used, for the given number of minutes.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it was used before.
    pub async fn use_sign_in(&self, name: &str, minutes: i64) -> Result<(), StoreError> {
        let until = self.connection.clock.now().saturating_add(SignedDuration::from_mins(minutes));
        let until = until.unwrap_or(Timestamp::MAX).as_second().to_string();
        self.connection
            .put_request(Table::State, key_of(item_names::sign_in(name)))
            .item(item_names::TTL, AttributeValue::N(until))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK)
            .send()
            .await?;
        Ok(())
    }
}

fn seconds(at: Timestamp) -> AttributeValue {
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
        |error: jiff::Error| crate::item::inconsistent("session", CREATED_AT, &error);
    let used_at = Timestamp::from_second(number(item, AT)?).map_err(is_invalid_char)?;
    let started_at = text(item, CREATED_AT)?.parse().map_err(is_invalid_char)?;
    Ok(ConsoleSession { started_at, used_at, session_generation: number(item, VERSION)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, key, open_handle, secret};
    use baton_domain::id::UserId;
    use baton_domain::key::Limits;

    #[tokio::test]
    async fn session_is_read_with_its_key_until_it_ends() {
        let tables = TestTables::open().await;
        tables.store_key_group_and_account(Limits::default()).await;
        let sessions = open_handle!(tables, SessionStore);
        let session = ConsoleSession::new(tables.clock.now(), 0);
        let row = SessionRow { hash: b"h", session: &session, proof: b"p", proven: b"q" };
        let mut edit = ConfigEdit::default();
        sessions.begin_session(&mut edit, &row);
        edit.apply(&sessions.connection).await.expect("begun");
        let id = key(Limits::default()).id;
        let subject = SessionSubject::Key { key: id, user: UserId::from_bits(1) };
        let read = sessions.read_session(b"h", &subject).await.expect("read").expect("there");
        assert_eq!((read.proof, read.proven), (b"p".to_vec(), b"q".to_vec()));
        assert!(read.key.is_some() && read.user.is_none());
        sessions.use_session(&row).await.expect("used");
        let mut edit = ConfigEdit::default();
        sessions.end_session(&mut edit, b"h");
        edit.apply(&sessions.connection).await.expect("ended");
        assert!(matches!(sessions.use_session(&row).await, Err(StoreError::Conflict)));
        assert!(sessions.read_session(b"h", &subject).await.expect("read").is_none());
    }

    #[tokio::test]
    async fn sign_in_is_taken_once_and_before_it_expires() {
        let tables = TestTables::open().await;
        let sessions = open_handle!(tables, SessionStore);
        let text = secret("state");
        for name in ["a", "b"] {
            sessions.put_sign_in(name, &text, 10).await.expect("stored");
        }
        let taken = sessions.take_sign_in("a").await.expect("taken").expect("there");
        assert_eq!(taken.expose(), "state");
        assert!(sessions.take_sign_in("a").await.expect("asked").is_none());
        tables.clock.advance(SignedDuration::from_mins(11));
        assert!(sessions.take_sign_in("b").await.expect("asked").is_none());
        sessions.use_sign_in("c", 10).await.expect("used");
        assert!(matches!(sessions.use_sign_in("c", 10).await, Err(StoreError::Conflict)));
    }
}
