//! The audit trail: who changed what. Each change is one row in the usage table, written in the
//! transaction that makes the change.

use super::config_edit::{ConfigEdit, put};
use super::item::{StoreItem, inconsistent, key_of, text};
use super::item_names::{self, PK, SK};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::{AttributeValue, Put};
use baton_domain::id::base62;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A change to record. It must not contain secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditChange {
    /// The actor that made the change.
    pub actor: String,
    /// `create`, `update` or `delete`.
    pub action: String,
    /// The id of the changed resource.
    pub target: String,
    /// The resource before the change; `null` if it was created.
    pub before: Value,
    /// The resource after the change; `null` if it was deleted.
    pub after: Value,
}

/// A recorded change.
pub struct AuditRow {
    /// The id of this row.
    pub id: String,
    /// When the change was made, RFC 3339 with milliseconds.
    pub at: String,
    /// The change.
    pub change: AuditChange,
}

/// The most months that are searched, backwards from now.
const MONTHS_MAX: u32 = 24;

impl Store {
    /// Adds the audit row of `change` to the same transaction.
    pub fn audit(&self, edit: &mut ConfigEdit, change: &AuditChange) -> Result<(), StoreError> {
        let at = item_names::sortable_time(self.clock.now());
        let (month, id) = (&at[..7], base62(self.random.bits(), 16));
        let (pk, sk) = (format!("audit#{month}"), format!("{at}#aud_{id}"));
        let mut item: StoreItem =
            serde_dynamo::to_item(change).map_err(|error| inconsistent(&pk, &sk, &error))?;
        item.insert("at".to_owned(), AttributeValue::S(at));
        item.extend(key_of((pk, sk)));
        let row = Put::builder().table_name(&self.resources.usage_table).set_item(Some(item));
        edit.actions.push(put(row));
        Ok(())
    }

    /// The newest changes of resources whose id begins with `prefix`, newest first, at most
    /// `limit`.
    pub async fn audit_trail(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let (mut rows, mut month) = (Vec::new(), item_names::day(self.clock.now())[..7].to_owned());
        for _ in 0..MONTHS_MAX {
            let mut pages = self
                .db
                .query()
                .table_name(&self.resources.usage_table)
                .key_condition_expression("#pk = :pk")
                .filter_expression("begins_with(#target, :prefix)")
                .expression_attribute_names("#pk", PK)
                .expression_attribute_names("#target", "target")
                .expression_attribute_values(":pk", AttributeValue::S(format!("audit#{month}")))
                .expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned()))
                .scan_index_forward(false)
                .into_paginator()
                .items()
                .send();
            while let Some(item) = pages.try_next().await? {
                rows.push(row(item)?);
                if rows.len() >= limit {
                    return Ok(rows);
                }
            }
            month = month_before(&month);
        }
        Ok(rows)
    }
}

pub(super) fn row(item: StoreItem) -> Result<AuditRow, StoreError> {
    let (pk, sk) = (text(&item, PK)?, text(&item, SK)?);
    let (at, id) = sk.split_once('#').unwrap_or((&sk, ""));
    let (at, id) = (at.to_owned(), id.to_owned());
    let change = serde_dynamo::from_item(item).map_err(|error| inconsistent(&pk, &sk, &error))?;
    Ok(AuditRow { id, at, change })
}

/// The previous month: `2026-01` → `2025-12`.
fn month_before(month: &str) -> String {
    let (year, number) = month.split_once('-').unwrap_or((month, "1"));
    let (year, number) = (year.parse().unwrap_or(0_i32), number.parse().unwrap_or(1_u32));
    if number > 1 { format!("{year:04}-{:02}", number - 1) } else { format!("{:04}-12", year - 1) }
}
