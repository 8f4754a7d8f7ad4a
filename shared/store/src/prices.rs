//! Prices that operators have set, and the price table for requests.

use crate::config_reader::ConfigReader;
use crate::item::{Entity, StoredEntity};
use crate::item_names::ItemKey;
use crate::permissions::{LIST_CONFIG, store_handle};
use crate::{StoreError, item_names};
use baton_domain::own_price::{OwnPrice, PriceId};
use baton_domain::price::PriceTable;
use std::sync::{Arc, LazyLock};

/// The prices that apply while the operator's prices are not known.
static BUILTIN: LazyLock<Arc<PriceTable>> =
    LazyLock::new(|| Arc::new(PriceTable::builtin().clone()));

impl Entity for OwnPrice {
    type Id = PriceId;
    const KIND: &'static str = "price";

    fn id(&self) -> &PriceId {
        &self.id
    }

    fn item_key(id: &PriceId) -> ItemKey {
        ItemKey::new(format!("price#{}", id.model), item_names::sortable_time(id.from))
    }
}

store_handle! {
    /// Reads prices.
    PriceReader, LIST_CONFIG
}

impl PriceReader {
    /// The price table: the built-in prices, overridden by the operator's, from the cache while the
    /// entry is fresh. If the operator's prices cannot be read and are not cached, the built-in
    /// prices.
    pub async fn load(&self) -> Arc<PriceTable> {
        let read = || {
            let store = self.clone();
            async move {
                let own_prices = store.own_prices().await?;
                let own_prices: Vec<OwnPrice> =
                    own_prices.into_iter().map(|stored| stored.value).collect();
                Ok::<_, StoreError>(Arc::new(PriceTable::builtin().with_own(&own_prices)))
            }
        };
        match self.connection.prices.get(&(), read).await {
            Ok(table) => table,
            Err(error) => {
                tracing::error!(
                    "cannot read the operator's prices, the built-in prices apply: {error}"
                );
                Arc::clone(&BUILTIN)
            }
        }
    }

    /// The cached price table, or else the built-in prices. No I/O. For lists of models, which are
    /// not worth a database call.
    pub fn cached(&self) -> Arc<PriceTable> {
        self.connection.prices.get_for_outage(&()).unwrap_or_else(|| Arc::clone(&BUILTIN))
    }

    /// Every price that an operator has set, in the order in which they were set.
    pub async fn own_prices(&self) -> Result<Vec<StoredEntity<OwnPrice>>, StoreError> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = ConfigReader::new(&self.connection)
                .list::<OwnPrice>(1000, cursor.as_deref())
                .await?;
            all.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, at, open_handle};
    use crate::{ConfigEdit, ConfigEditor};
    use baton_domain::price::ModelPrice;
    use baton_domain::token_rates::TokenRates;

    #[tokio::test]
    async fn own_price_overrides_the_table_until_it_is_removed() {
        let tables = TestTables::open().await;
        let (editor, prices) =
            (open_handle!(tables, ConfigEditor), open_handle!(tables, PriceReader));
        assert!(prices.cached().price("own-model", at()).is_none());
        let from = "2026-01-01T00:00:00Z".parse().expect("a time");
        let standard =
            TokenRates { input: 1, output: 1, cache_read: 1, cache_write_5m: 1, cache_write_1h: 1 };
        let version = "own".to_owned();
        let price = ModelPrice { from, standard, version, ..ModelPrice::default() };
        let id = PriceId { model: "own-model".to_owned(), from };
        let stored = editor.new_stored(OwnPrice { id, price }, None);
        let mut edit = ConfigEdit::default();
        editor.save_price(&mut edit, &stored).expect("an item");
        editor.apply(edit).await.expect("saved");
        assert!(prices.load().await.price("own-model", at()).is_some());
        assert!(prices.cached().price("own-model", at()).is_some());
        let mut edit = ConfigEdit::default();
        editor.remove_price(&mut edit, &stored);
        editor.apply(edit).await.expect("removed");
        assert!(prices.own_prices().await.expect("read").is_empty());
    }
}
