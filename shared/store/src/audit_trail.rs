//! The audit trail for operators: newest first, filtered, in pages.

use super::audit::{AuditRow, row};
use super::config_edit::{ListPage, read_cursor, write_cursor};
use super::item::{StoreItem, key_of, text};
use super::item_names::{self, PK, SK};
use super::{Store, StoreError};
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};

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

impl Store {
    /// One page of the audit trail, newest first. Each megabyte of a month takes one query.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] if `cursor` is not from an earlier page of this list.
    pub async fn list_audit_rows(
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
            .db
            .query()
            .table_name(&self.resources.usage_table)
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

impl ListPage<AuditRow> {
    /// Adds those of `items` that match, and returns whether the page is full.
    fn add_items(
        &mut self,
        filter: &AuditFilter,
        items: Vec<StoreItem>,
        limit: usize,
    ) -> Result<bool, StoreError> {
        for item in items {
            let key = key_of((text(&item, PK)?, text(&item, SK)?));
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
}
