//! Summaries: rollups summed up by the requested columns, and the slots that bound how many long
//! summaries are made at the same time. `usage` reads the rollups.

use crate::api_response::{ApiError, ApiResult};
use baton_api::usage::{SummaryQuery, UsageMeasures, UsageSummaryRow};
use baton_domain::id::UserId;
use baton_domain::rollup::{RollupCell, UsageSums};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A column to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SummaryColumn {
    Hour,
    Day,
    Month,
    Key,
    User,
    Group,
    Account,
    Model,
}

const NAMES: [(&str, SummaryColumn); 8] = [
    ("hour", SummaryColumn::Hour),
    ("day", SummaryColumn::Day),
    ("month", SummaryColumn::Month),
    ("key", SummaryColumn::Key),
    ("user", SummaryColumn::User),
    ("group", SummaryColumn::Group),
    ("account", SummaryColumn::Account),
    ("model", SummaryColumn::Model),
];

impl SummaryColumn {
    fn name(self) -> &'static str {
        NAMES.iter().find(|(_, by)| *by == self).map_or("", |(name, _)| name)
    }

    fn is_time(self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Month)
    }

    /// The value of a time column for the hour `hour` (`2026-11-22T21`). `None` for other columns.
    fn value_from_hour(self, hour: &str) -> Option<String> {
        match self {
            Self::Hour => Some(format!("{hour}:00:00Z")),
            Self::Day => hour.get(..10).map(str::to_owned),
            Self::Month => hour.get(..7).map(str::to_owned),
            _ => None,
        }
    }

    fn value_from_cell(self, cell: &RollupCell) -> Option<String> {
        match self {
            Self::Hour | Self::Day | Self::Month => self.value_from_hour(cell.hour.as_str()),
            Self::Key => Some(cell.key.to_string()),
            Self::User => cell.user.as_ref().map(UserId::to_string),
            Self::Group => Some(cell.group.to_string()),
            Self::Account => Some(cell.account.to_string()),
            Self::Model => Some(cell.model.clone()),
        }
    }
}

/// The columns to group by, in the requested order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SummaryShape(Vec<SummaryColumn>);

impl SummaryShape {
    /// Parses a list such as `day,model`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut columns = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let Some((_, by)) = NAMES.iter().find(|(name, _)| *name == word) else {
                let all = NAMES.map(|(name, _)| name).join(", ");
                return Err(format!("`by`: `{word}` is not a column; expected any of {all}"));
            };
            if !columns.contains(by) {
                columns.push(*by);
            }
        }
        Ok(Self(columns))
    }
}

/// Whether the query has no filter.
fn is_unfiltered(query: &SummaryQuery) -> bool {
    query.key.is_none()
        && query.user.is_none()
        && query.group.is_none()
        && query.account.is_none()
        && query.model.is_none()
}

fn matches_cell(query: &SummaryQuery, cell: &RollupCell) -> bool {
    query.key.as_ref().is_none_or(|key| *key == cell.key)
        && query.user.as_ref().is_none_or(|user| Some(user) == cell.user.as_ref())
        && query.group.as_ref().is_none_or(|group| *group == cell.group)
        && query.account.as_ref().is_none_or(|account| *account == cell.account)
        && query.model.as_ref().is_none_or(|model| *model == cell.model)
}

/// Rows that are being summed up.
pub(crate) struct SummaryTable {
    shape: SummaryShape,
    filter: SummaryQuery,
    rows: BTreeMap<Vec<Option<String>>, UsageSums>,
}

impl SummaryTable {
    pub(crate) fn new(shape: SummaryShape, filter: SummaryQuery) -> Self {
        let mut rows = BTreeMap::new();
        if shape.0.is_empty() {
            // Without columns there is always one row, even if it is empty.
            rows.insert(Vec::new(), UsageSums::default());
        }
        Self { shape, filter, rows }
    }

    /// Whether hourly totals are enough, without the rollups by key, model and so on.
    pub(crate) fn needs_only_totals(&self) -> bool {
        is_unfiltered(&self.filter) && self.shape.0.iter().all(|by| by.is_time())
    }

    pub(crate) fn add_total(&mut self, hour: &str, sums: &UsageSums) {
        let row = self.shape.0.iter().map(|by| by.value_from_hour(hour)).collect();
        self.rows.entry(row).or_default().add_sums(sums);
    }

    pub(crate) fn add_cell(&mut self, cell: &RollupCell, sums: &UsageSums) {
        if matches_cell(&self.filter, cell) {
            let row = self.shape.0.iter().map(|by| by.value_from_cell(cell)).collect();
            self.rows.entry(row).or_default().add_sums(sums);
        }
    }

    /// Returns the rows in the order of their groups.
    pub(crate) fn rows(&self) -> Vec<UsageSummaryRow> {
        self.rows.iter().map(|(row, sums)| self.row(row, sums)).collect()
    }

    fn row(&self, row: &[Option<String>], sums: &UsageSums) -> UsageSummaryRow {
        let columns = self.shape.0.iter().map(|by| by.name().to_owned());
        UsageSummaryRow {
            group: columns.zip(row.iter().cloned()).collect(),
            measures: measures(sums),
        }
    }
}

/// A sum in answers.
pub(crate) fn measures(sums: &UsageSums) -> UsageMeasures {
    UsageMeasures {
        requests: sums.requests,
        errors: sums.errors,
        tokens: sums.tokens,
        web_searches: sums.web_searches,
        cost_usd: sums.cost,
        unpriced_requests: u64::try_from(sums.unpriced).unwrap_or_default(),
        cache_hit_rate: ratio(sums.tokens.cache_read, sums.tokens.prompt_tokens()),
        ttft_ms_avg: average(sums.ttft_ms, sums.ttft_count),
        duration_ms_avg: average(sums.duration_ms, sums.requests),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people, to four places")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1e4).round() / 1e4 }
}

/// The mean, rounded to whole milliseconds.
fn average(sum: u64, count: u64) -> u64 {
    (sum + count / 2).checked_div(count).unwrap_or_default()
}

/// The most long summaries at the same time in one process.
const SUMMARIES_MAX: usize = 4;
/// How long a caller waits for a slot.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Slots for summaries of long periods. Each summary reads hundreds of partitions, so a caller has one
/// at a time, and a process a few.
pub(crate) struct SummarySlots {
    total: Arc<Semaphore>,
    by_caller: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to read one long summary. Dropping it frees the slot.
pub(crate) struct SummarySlot {
    _caller: OwnedSemaphorePermit,
    _total: OwnedSemaphorePermit,
}

impl Default for SummarySlots {
    fn default() -> Self {
        Self { total: Arc::new(Semaphore::new(SUMMARIES_MAX)), by_caller: Mutex::default() }
    }
}

impl SummarySlots {
    /// Waits for a slot of this caller.
    ///
    /// # Errors
    /// 429 if no slot of the caller, or of the process, becomes free in time.
    pub(crate) async fn acquire(&self, caller: &str) -> ApiResult<SummarySlot> {
        let semaphore = self.caller_semaphore(caller);
        let acquiring = async {
            let caller_permit = semaphore.acquire_owned().await.ok()?;
            let total_permit = Arc::clone(&self.total).acquire_owned().await.ok()?;
            Some(SummarySlot { _caller: caller_permit, _total: total_permit })
        };
        let slot = tokio::time::timeout(WAIT_MAX, acquiring).await;
        slot.ok().flatten().ok_or_else(|| {
            ApiError::too_many_summaries(
                "other summaries of long periods are being made; ask for them one after the other, \
                 or for 31 days at most",
            )
        })
    }

    fn caller_semaphore(&self, caller: &str) -> Arc<Semaphore> {
        let mut semaphores = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        // A caller without a summary in progress or waiting holds no other reference.
        semaphores.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        Arc::clone(
            semaphores.entry(caller.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::id::{AccountId, GroupId, KeyId};
    use baton_domain::money::PicoUsd;
    use baton_domain::rollup::UtcHour;
    use serde_json::{Value, json};

    fn cell(hour: &str, key: u128, model: &str) -> RollupCell {
        RollupCell {
            hour: UtcHour::parse(hour).unwrap(),
            key: KeyId::from_bits(key),
            user: None,
            group: GroupId::from_bits(1),
            account: AccountId::from_bits(1),
            model: model.into(),
        }
    }

    fn sums(requests: u64) -> UsageSums {
        UsageSums {
            requests,
            cost: PicoUsd::new(i128::from(requests)),
            ttft_ms: 3,
            ttft_count: 2,
            ..UsageSums::default()
        }
    }

    fn table(by: &str, filter: SummaryQuery) -> Value {
        let mut table = SummaryTable::new(SummaryShape::parse(by).unwrap(), filter);
        for (hour, key, model, requests) in [
            ("2026-11-22T21", 1, "a", 1),
            ("2026-11-22T22", 1, "b", 2),
            ("2026-11-22T22", 2, "a", 4),
            ("2026-11-23T00", 2, "a", 8),
        ] {
            table.add_cell(&cell(hour, key, model), &sums(requests));
        }
        json!(table.rows())
    }

    #[test]
    fn rows_are_grouped_in_the_requested_order() {
        let rows = table("model,day", SummaryQuery::default());
        let read = |row: &Value| json!([row["group"], row["requests"]]);
        assert_eq!(
            rows.as_array().unwrap().iter().map(read).collect::<Vec<_>>(),
            [
                json!([{"model": "a", "day": "2026-11-22"}, 5]),
                json!([{"model": "a", "day": "2026-11-23"}, 8]),
                json!([{"model": "b", "day": "2026-11-22"}, 2]),
            ]
        );
        assert_eq!(rows[0]["ttft_ms_avg"], 2, "6 ms over 4 requests, rounded");
        assert_eq!(rows[0]["cost_usd"], "0.000000000005");
    }

    #[test]
    fn without_columns_there_is_one_row() {
        let filter = SummaryQuery { key: Some(KeyId::from_bits(2)), ..SummaryQuery::default() };
        assert_eq!(table("", filter)[0]["requests"], 12);
        let empty =
            SummaryTable::new(SummaryShape::parse("").unwrap(), SummaryQuery::default()).rows();
        assert_eq!(empty.len(), 1);
        assert_eq!(empty[0].measures.requests, 0);
        assert!(SummaryShape::parse("day,shoe").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn summary_slots_are_limited_per_caller_and_in_total() {
        let slots = SummarySlots::default();
        let first = slots.acquire("a").await.ok().unwrap();
        assert!(slots.acquire("a").await.is_err(), "one at a time");
        let mut others = Vec::new();
        for caller in ["b", "c", "d"] {
            others.push(slots.acquire(caller).await.ok().unwrap());
        }
        assert!(slots.acquire("e").await.is_err(), "few in all");
        drop(first);
        let second = slots.acquire("a").await.ok().unwrap();
        drop((second, others));
        assert!(slots.acquire("e").await.is_ok());
        assert_eq!(
            slots.by_caller.lock().unwrap().len(),
            1,
            "callers without a summary are forgotten"
        );
    }
}
