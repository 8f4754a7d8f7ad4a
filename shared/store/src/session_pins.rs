//! Session pins: sessions that had to leave their first choice, and the cache domain that they went
//! to. The caller decides when to write and read them: written only on such a move, read only while
//! it can matter.

use super::item::{StoreItem, key_of, number, text};
use super::item_names::{self, EXPIRES, TO, TTL};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::account_selection::{SESSION_PIN_LIFETIME, SessionPinKey};
use jiff::Timestamp;
use std::sync::Arc;

/// The cache domain that a session went to, and until when it stays there.
#[derive(Clone)]
pub(super) struct SessionPin {
    to: Arc<str>,
    expires: i64,
}

impl Store {
    /// The cache domain that the session is pinned to, from the cache while the entry is fresh.
    pub async fn find_session_pin(
        &self,
        pin_key: &SessionPinKey,
    ) -> Result<Option<Arc<str>>, StoreError> {
        let read = || {
            let (store, pin_key) = (self.clone(), pin_key.clone());
            async move { store.read_session_pin(&pin_key).await }
        };
        let found = self.session_pins.get(pin_key, read).await?;
        let now = self.clock.now().as_second();
        Ok(found.filter(|found| found.expires > now).map(|found| found.to))
    }

    /// Pins the session to the cache domain `to`.
    pub async fn put_session_pin(
        &self,
        pin_key: &SessionPinKey,
        to: &str,
    ) -> Result<(), StoreError> {
        let expires = self
            .clock
            .now()
            .saturating_add(SESSION_PIN_LIFETIME)
            .unwrap_or(Timestamp::MAX)
            .as_second();
        let number = || AttributeValue::N(expires.to_string());
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(key_of(item_names::moved(pin_key))))
            .item(TO, AttributeValue::S(to.to_owned()))
            .item(EXPIRES, number())
            .item(TTL, number())
            .send()
            .await?;
        self.session_pins.forget(pin_key);
        Ok(())
    }

    async fn read_session_pin(
        &self,
        pin_key: &SessionPinKey,
    ) -> Result<Option<SessionPin>, StoreError> {
        let response = self
            .db
            .get_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(item_names::moved(pin_key))))
            .send()
            .await?;
        let read = |item: StoreItem| {
            let to = text(&item, TO)?.into();
            Ok(SessionPin { to, expires: number(&item, EXPIRES)? })
        };
        response.item.map(read).transpose()
    }
}
