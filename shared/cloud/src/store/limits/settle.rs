//! The part of a record's transaction that settles its reservation.

use super::terms::pico;
use crate::store::Store;
use crate::store::item::key_of;
use crate::store::names::{self, OPEN};
use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use baton_domain::id::KeyId;
use baton_domain::reservation::Settlement;
use std::collections::HashMap;

impl Store {
    /// The part of a transaction that settles reservations of `key`. Demands that the item is
    /// there: without it there is nothing to settle.
    pub(in crate::store) fn settle_action(
        &self,
        key: &KeyId,
        settlement: &Settlement,
    ) -> TransactWriteItem {
        let mut names = HashMap::from([("#open".to_owned(), OPEN.to_owned())]);
        let mut values = HashMap::new();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (at, (window, change)) in settlement.changes.iter().enumerate() {
            added.push(format!("#w{at} :c{at}"));
            names.insert(format!("#w{at}"), window.clone());
            values.insert(format!(":c{at}"), pico(*change));
        }
        for (at, id) in settlement.closed.iter().enumerate() {
            removed.push(format!("#open.#r{at}"));
            names.insert(format!("#r{at}"), id.to_string());
        }
        let update = Update::builder()
            .table_name(&self.resources.state_table)
            .set_key(Some(key_of(names::limit(key))))
            .condition_expression("attribute_exists(#open)")
            .update_expression(format!("ADD {} REMOVE {}", added.join(", "), removed.join(", ")))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values));
        TransactWriteItem::builder().set_update(update.build().ok()).build()
    }
}
