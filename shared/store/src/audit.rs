//! The audit trail: who changed what. Each change is one row in the usage table, written in the
//! transaction that makes the change. Operators read it newest first, filtered, in pages.

use crate::StoreError;
use crate::config_editor::ConfigEdit;
use crate::connection::Table;
use crate::item::{StoreItem, inconsistent, key_of, text};
use crate::item_names::{self, ItemKey, PK, SK};
use crate::list::{ListPage, read_cursor, write_cursor};
use crate::permissions::{Action, Permission, store_handle};
use aws_sdk_dynamodb::types::AttributeValue;
use baton_domain::id::base62;
use jiff::{SignedDuration, Timestamp};
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

/// Selects changes from `from` (inclusive) to `to` (exclusive) that match all other conditions.
#[derive(Debug, Clone)]
pub struct AuditFilter {
    /// Start of the time range, inclusive.
    pub from: Timestamp,
    /// End of the time range, exclusive.
    pub to: Timestamp,
    /// Only changes by this actor.
    pub actor: Option<String>,
    /// Only changes of the resource with this id.
    pub target: Option<String>,
    /// Only this kind of change.
    pub action: Option<String>,
}

impl AuditFilter {
    fn matches_row(&self, row: &AuditRow) -> bool {
        let is = |filter: &Option<String>, found: &str| {
            filter.as_ref().is_none_or(|filter| filter == found)
        };
        is(&self.actor, &row.change.actor)
            && is(&self.target, &row.change.target)
            && is(&self.action, &row.change.action)
    }

    /// The months from newest to oldest.
    fn months(&self) -> Vec<String> {
        let last = self.to.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(self.to);
        let day = SignedDuration::from_hours(24);
        let days = std::iter::successors(Some(last), |at| at.checked_sub(day).ok());
        let first = month(self.from);
        let mut months: Vec<String> = days.map(month).take_while(|month| *month >= first).collect();
        months.dedup();
        months
    }
}

fn month(at: Timestamp) -> String {
    item_names::day(at).chars().take(7).collect()
}

store_handle! {
    /// The audit trail.
    AuditStore, Permission::on_usage(&[Action::PutItem, Action::Query], &["audit#*"])
}

impl AuditStore {
    /// Adds the audit row of `change` to the same transaction.
    pub fn add_row(&self, edit: &mut ConfigEdit, change: &AuditChange) -> Result<(), StoreError> {
        let at = item_names::sortable_time(self.connection.clock.now());
        let (month, id) = (&at[..7], base62(self.connection.random.bits(), 16));
        let key = ItemKey::new(item_names::audit_partition(month), format!("{at}#aud_{id}"));
        let mut item: StoreItem = serde_dynamo::to_item(change)
            .map_err(|error| inconsistent(&key.pk, &key.sk, &error))?;
        item.insert("at".to_owned(), AttributeValue::S(at));
        item.extend(key_of(key));
        edit.actions.push(self.connection.put(Table::Usage, item).into());
        Ok(())
    }

    /// The newest changes of resources whose id begins with `prefix`, newest first, at most
    /// `limit`.
    pub async fn newest_rows(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let (mut rows, mut month) =
            (Vec::new(), item_names::day(self.connection.clock.now())[..7].to_owned());
        for _ in 0..MONTHS_MAX {
            let mut pages = self
                .connection
                .query(Table::Usage)
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

    /// One page of the audit trail, newest first. Each megabyte of a month takes one query.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] if `cursor` is not from an earlier page of this list.
    pub async fn list_rows(
        &self,
        filter: &AuditFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage<AuditRow>, StoreError> {
        let start = cursor.map(|cursor| read_cursor(cursor, &[PK, SK])).transpose()?;
        let at = start.as_ref().map(|key| text(key, PK)).transpose()?;
        let mut months = filter.months();
        if let Some(at) = &at {
            let index = months.iter().position(|month| item_names::audit_partition(month) == *at);
            months.drain(..index.ok_or(StoreError::BadCursor)?);
        }
        let (mut start, mut page) = (start, ListPage { data: Vec::new(), next_cursor: None });
        for month in months {
            loop {
                let (items, next) = self.query_month(filter, &month, start.take()).await?;
                if page.add_items(filter, items, limit)? {
                    return Ok(page);
                }
                start = next;
                if start.is_none() {
                    break;
                }
            }
        }
        Ok(page)
    }

    async fn query_month(
        &self,
        filter: &AuditFilter,
        month: &str,
        start: Option<StoreItem>,
    ) -> Result<(Vec<StoreItem>, Option<StoreItem>), StoreError> {
        let response = self
            .connection
            .query(Table::Usage)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :to")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(
                ":pk",
                AttributeValue::S(item_names::audit_partition(month)),
            )
            .expression_attribute_values(
                ":from",
                AttributeValue::S(item_names::sortable_time(filter.from)),
            )
            .expression_attribute_values(
                ":to",
                AttributeValue::S(item_names::sortable_time(filter.to)),
            )
            .scan_index_forward(false)
            .set_exclusive_start_key(start)
            .send()
            .await?;
        Ok((response.items.unwrap_or_default(), response.last_evaluated_key))
    }
}

fn row(item: StoreItem) -> Result<AuditRow, StoreError> {
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

impl ListPage<AuditRow> {
    /// Adds those of `items` that match, and returns whether the page is full.
    fn add_items(
        &mut self,
        filter: &AuditFilter,
        items: Vec<StoreItem>,
        limit: usize,
    ) -> Result<bool, StoreError> {
        for item in items {
            let key = key_of(ItemKey::new(text(&item, PK)?, text(&item, SK)?));
            let row = row(item)?;
            if filter.matches_row(&row) {
                self.data.push(row);
            }
            if self.data.len() == limit {
                self.next_cursor = Some(write_cursor(&key));
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTables, at, open_handle};

    #[test]
    fn months_run_backwards_and_end_where_the_period_does() {
        let check = |from: &str, to: &str, expected: &[&str]| {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let filter = AuditFilter { from, to, actor: None, target: None, action: None };
            assert_eq!(filter.months(), expected, "{from} {to}");
        };
        check("2026-11-02T00:00:00Z", "2026-11-22T00:00:00Z", &["2026-11"]);
        check("2026-12-31T23:00:00Z", "2027-02-01T00:00:00Z", &["2027-01", "2026-12"]);
        check("2026-01-31T00:00:00Z", "2026-03-01T12:00:00Z", &["2026-03", "2026-02", "2026-01"]);
        check("2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z", &[]);
    }

    #[tokio::test]
    async fn trail_is_newest_first_and_has_pages() {
        let tables = TestTables::open().await;
        let audit = open_handle!(tables, AuditStore);
        for target in ["key_1", "key_2", "grp_1"] {
            let change = AuditChange {
                actor: "Ann".to_owned(),
                action: "create".to_owned(),
                target: target.to_owned(),
                before: Value::Null,
                after: Value::Null,
            };
            let mut edit = ConfigEdit::default();
            audit.add_row(&mut edit, &change).expect("an item");
            edit.apply(&audit.connection).await.expect("saved");
            tables.clock.advance(SignedDuration::from_secs(1));
        }
        let newest = audit.newest_rows("key_", 5).await.expect("read");
        let targets: Vec<&str> = newest.iter().map(|row| row.change.target.as_str()).collect();
        assert_eq!(targets, ["key_2", "key_1"]);
        let (from, to) = (at(), tables.clock.now());
        let filter = AuditFilter { from, to, actor: None, target: None, action: None };
        let first = audit.list_rows(&filter, 2, None).await.expect("read");
        let rest = audit.list_rows(&filter, 2, first.next_cursor.as_deref()).await.expect("read");
        assert_eq!((first.data.len(), rest.data.len()), (2, 1));
    }
}
