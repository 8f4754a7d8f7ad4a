//! Sessions that had to move out of their first choice, and where they went. Written on such a
//! move only, and read only while it may matter; both are the caller's decision.

use super::item::{Item, key_of, number, text};
use super::names::{self, EXPIRES, TO, TTL};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::choose::{Conversation, MOVED};
use jiff::Timestamp;
use std::sync::Arc;

/// Where a conversation has gone, and until when it stays there.
#[derive(Clone)]
pub(super) struct Move {
    to: Arc<str>,
    expires: i64,
}

impl Store {
    /// The cache domain that the conversation has moved to, from memory where that is good.
    pub async fn moved_to(&self, which: &Conversation) -> Result<Option<Arc<str>>, StoreError> {
        let read = || {
            let (store, which) = (self.clone(), which.clone());
            async move { store.read_move(&which).await }
        };
        let found = self.moves.get(which, read).await?;
        let now = self.clock.now().as_second();
        Ok(found.filter(|found| found.expires > now).map(|found| found.to))
    }

    /// Notes that the conversation has moved to the cache domain `to`.
    pub async fn put_move(&self, which: &Conversation, to: &str) -> Result<(), StoreError> {
        let expires = self.clock.now().saturating_add(MOVED).unwrap_or(Timestamp::MAX).as_second();
        let number = || AttributeValue::N(expires.to_string());
        self.db
            .put_item()
            .table_name(&self.resources.state_table)
            .set_item(Some(key_of(names::moved(which))))
            .item(TO, AttributeValue::S(to.to_owned()))
            .item(EXPIRES, number())
            .item(TTL, number())
            .send()
            .await?;
        self.moves.forget(which);
        Ok(())
    }

    async fn read_move(&self, which: &Conversation) -> Result<Option<Move>, StoreError> {
        let answer = self
            .db
            .get_item()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(names::moved(which))))
            .send()
            .await?;
        let read = |item: Item| {
            let to = text(&item, TO)?.into();
            Ok(Move { to, expires: number(&item, EXPIRES)? })
        };
        answer.item.map(read).transpose()
    }
}
