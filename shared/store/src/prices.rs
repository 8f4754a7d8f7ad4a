//! Prices that operators have set, and the price table for requests.

use super::config_edit::ConfigEdit;
use super::item::{Entity, StoredEntity};
use super::{Store, StoreError, item_names};
use baton_domain::own_price::{OwnPrice, PriceId};
use baton_domain::price::PriceTable;
use baton_runtime::cache::{Cache, CacheLifetime};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// The cached price table; the cache has only one entry.
pub(super) type PriceCache = Cache<(), Arc<PriceTable>>;

/// The prices that apply while the operator's prices are not known.
static BUILTIN: LazyLock<Arc<PriceTable>> =
    LazyLock::new(|| Arc::new(PriceTable::builtin().clone()));

/// Prices change rarely, and each record says which price it has. So cached prices bridge an outage
/// of up to a day.
const LIFETIME: CacheLifetime = CacheLifetime {
    fresh: Duration::from_mins(1),
    stale: Duration::from_mins(10),
    outage: Duration::from_hours(24),
};

pub(super) fn cache() -> PriceCache {
    Cache::new(1, LIFETIME)
}

impl Entity for OwnPrice {
    type Id = PriceId;
    const KIND: &'static str = "price";

    fn id(&self) -> &PriceId {
        &self.id
    }

    fn place(id: &PriceId) -> (String, String) {
        (format!("price#{}", id.model), item_names::sortable_time(id.from))
    }
}

impl Store {
    /// The price table: the built-in prices, overridden by the operator's, from the cache while the
    /// entry is fresh. If the operator's prices cannot be read and are not cached, the built-in
    /// prices.
    pub async fn prices(&self) -> Arc<PriceTable> {
        let read = || {
            let store = self.clone();
            async move {
                let own_prices = store.own_prices().await?;
                let own_prices: Vec<OwnPrice> =
                    own_prices.into_iter().map(|stored| stored.value).collect();
                Ok::<_, StoreError>(Arc::new(PriceTable::builtin().with_own(&own_prices)))
            }
        };
        match self.prices.get(&(), read).await {
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
    pub fn cached_prices(&self) -> Arc<PriceTable> {
        self.prices.get_for_outage(&()).unwrap_or_else(|| Arc::clone(&BUILTIN))
    }

    /// Every price that an operator has set, in the order in which they were set.
    pub async fn own_prices(&self) -> Result<Vec<StoredEntity<OwnPrice>>, StoreError> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.list::<OwnPrice>(1000, cursor.as_deref()).await?;
            all.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Adds a price.
    pub fn save_price(
        &self,
        edit: &mut ConfigEdit,
        price: &StoredEntity<OwnPrice>,
    ) -> Result<(), StoreError> {
        edit.prices = true;
        self.save(edit, price)
    }

    /// Removes a price.
    pub fn remove_price(&self, edit: &mut ConfigEdit, price: &StoredEntity<OwnPrice>) {
        edit.prices = true;
        self.remove(edit, price);
    }
}
