//! Session pins: sessions that had to leave their first choice, and the cache domain that they went
//! to. The caller decides when to write and read them: written only on such a move, read only while
//! it can matter.

use crate::StoreError;
use crate::connection::Table;
use crate::item::{StoreItem, key_of, number, text};
use crate::item_names::{self, EXPIRES, TO, TTL};
use crate::permissions::{Action, Permission, store_handle};
use crate::session_pin::SessionPin;
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::account_selection::{SESSION_PIN_LIFETIME, STATE_PIN_LIFETIME, SessionPinKey};
use baton_domain::id::AccountId;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

store_handle! {
    /// Session pins.
    SessionPins, Permission::on_state(&[Action::GetItem, Action::PutItem], &["moved#*"])
}

impl SessionPins {
    /// The cache domain that the session is pinned to, from the cache while the entry is fresh.
    pub async fn find_session_pin(
        &self,
        pin_key: &SessionPinKey,
    ) -> Result<Option<Arc<str>>, StoreError> {
        let read = || {
            let (store, pin_key) = (self.clone(), pin_key.clone());
            async move { store.read_session_pin(&pin_key).await }
        };
        let found = self.connection.session_pins.get(pin_key, read).await?;
        let now = self.connection.clock.now().as_second();
        Ok(found.filter(|found| found.expires > now).map(|found| found.to))
    }

    /// Pins the session to the cache domain `to`.
    pub async fn put_session_pin(
        &self,
        pin_key: &SessionPinKey,
        to: &str,
    ) -> Result<(), StoreError> {
        self.put_pin(pin_key, to, SESSION_PIN_LIFETIME).await
    }

    /// Pins an answer that an upstream keeps to the account `to`, for as long as OpenAI keeps it.
    pub async fn put_state_pin(
        &self,
        pin_key: &SessionPinKey,
        to: &AccountId,
    ) -> Result<(), StoreError> {
        self.put_pin(pin_key, to.as_str(), STATE_PIN_LIFETIME).await
    }

    async fn put_pin(
        &self,
        pin_key: &SessionPinKey,
        to: &str,
        lifetime: SignedDuration,
    ) -> Result<(), StoreError> {
        let expires = self
            .connection
            .clock
            .now()
            .saturating_add(lifetime)
            .unwrap_or(Timestamp::MAX)
            .as_second();
        let number = || AttributeValue::N(expires.to_string());
        self.connection
            .put_request(Table::State, key_of(item_names::session_pin(pin_key)))
            .item(TO, AttributeValue::S(to.to_owned()))
            .item(EXPIRES, number())
            .item(TTL, number())
            .send()
            .await?;
        self.connection.session_pins.forget(pin_key);
        Ok(())
    }

    async fn read_session_pin(
        &self,
        pin_key: &SessionPinKey,
    ) -> Result<Option<SessionPin>, StoreError> {
        let item =
            self.connection.get_item(Table::State, item_names::session_pin(pin_key), false).await?;
        let read = |item: StoreItem| {
            let to = text(&item, TO)?.into();
            Ok(SessionPin { to, expires: number(&item, EXPIRES)? })
        };
        item.map(read).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, group, open_handle};

    #[tokio::test]
    async fn pin_is_found_until_it_expires() {
        let tables = TestTables::open().await;
        let pins = open_handle!(tables, SessionPins);
        let pin_key = SessionPinKey { group: group().id, session: 3, model: "m".to_owned() };
        assert_eq!(pins.find_session_pin(&pin_key).await.expect("read"), None);
        pins.put_session_pin(&pin_key, "elsewhere").await.expect("stored");
        let found = pins.find_session_pin(&pin_key).await.expect("read");
        assert_eq!(found.as_deref(), Some("elsewhere"));
        let state_key = SessionPinKey::of_state(&group().id, "resp_1");
        pins.put_state_pin(&state_key, &AccountId::from_bits(7)).await.expect("stored");
        tables.clock.advance(SESSION_PIN_LIFETIME + SignedDuration::from_secs(1));
        assert_eq!(pins.find_session_pin(&pin_key).await.expect("read"), None);
        let found = pins.find_session_pin(&state_key).await.expect("read");
        assert_eq!(found.as_deref(), Some(AccountId::from_bits(7).as_str()));
    }
}
