//! The table of usage by day.

use crate::formatting::{millis, percent};
use crate::page_blocks::{PageBlock, PageTable};
use crate::table_cells::{TableCell, count, number, summed_cost, text, tokens};
use baton_api::usage::UsageSummaryRow;

/// The value of the column `day`.
pub(crate) fn day_of(row: &UsageSummaryRow) -> &str {
    row.group.get("day").and_then(|day| day.as_deref()).unwrap_or_default()
}

/// Sums by day, latest first.
pub(crate) fn daily_usage_block(rows: &[UsageSummaryRow]) -> PageBlock {
    if rows.is_empty() {
        return PageBlock::Text("No requests.".into());
    }
    let columns = ["Day", "#Spend", "#Requests", "#Errors", "#Tokens", "#Hit rate", "#First token"];
    let mut table = PageTable::new("by-day", "By day, latest first", &columns);
    let line = |row: &UsageSummaryRow| -> Vec<TableCell> {
        let sums = &row.measures;
        vec![
            text(day_of(row)),
            summed_cost(sums),
            count(sums.requests),
            count(sums.errors),
            tokens(sums.tokens.total()),
            number(percent(sums.cache_hit_rate), ""),
            number(millis(sums.ttft_ms_avg), ""),
        ]
    };
    table.rows = rows.iter().rev().map(line).collect();
    PageBlock::Table(table)
}
