//! The columns of an export: a flattened usage record, for all formats with columns.

use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use jiff::Timestamp;

/// One cell.
#[derive(Clone, Copy)]
pub(super) enum Cell<'a> {
    Text(&'a str),
    Count(u64),
    Flag(bool),
    Time(Timestamp),
    Money(PicoUsd),
}

/// The type of the cells in a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Count,
    Flag,
    Time,
    Money,
}

/// A column: its name, type and source.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether cells can be empty.
    pub(super) is_optional: bool,
    cell: for<'a> fn(&'a UsageRecord) -> Option<Cell<'a>>,
}

impl Column {
    const fn always(
        name: &'static str,
        kind: Kind,
        cell: for<'a> fn(&'a UsageRecord) -> Option<Cell<'a>>,
    ) -> Self {
        Self { name, kind, is_optional: false, cell }
    }

    const fn maybe(
        name: &'static str,
        kind: Kind,
        cell: for<'a> fn(&'a UsageRecord) -> Option<Cell<'a>>,
    ) -> Self {
        Self { name, kind, is_optional: true, cell }
    }

    /// The cell of `record`, or `None` if it is empty.
    pub(super) fn cell<'a>(&self, record: &'a UsageRecord) -> Option<Cell<'a>> {
        (self.cell)(record)
    }
}

/// All columns. Their order is part of the public interface.
pub(super) const COLUMNS: [Column; 31] = [
    Column::always("v", Kind::Count, |one| Some(Cell::Count(one.v.into()))),
    Column::always("id", Kind::Text, |one| Some(Cell::Text(one.id.as_str()))),
    Column::always("started_at", Kind::Time, |one| Some(Cell::Time(one.started_at))),
    Column::always("key_id", Kind::Text, |one| Some(Cell::Text(one.key_id.as_str()))),
    Column::maybe("user_id", Kind::Text, |one| Some(Cell::Text(one.user_id.as_ref()?.as_str()))),
    Column::always("group_id", Kind::Text, |one| Some(Cell::Text(one.group_id.as_str()))),
    Column::always("account_id", Kind::Text, |one| Some(Cell::Text(one.account_id.as_str()))),
    Column::always("provider", Kind::Text, |one| Some(Cell::Text(&one.provider))),
    Column::always("protocol", Kind::Text, |one| Some(Cell::Text(&one.protocol))),
    Column::always("model", Kind::Text, |one| Some(Cell::Text(&one.model))),
    Column::always("upstream_model", Kind::Text, |one| Some(Cell::Text(&one.upstream_model))),
    Column::always("stream", Kind::Flag, |one| Some(Cell::Flag(one.stream))),
    Column::always("status", Kind::Count, |one| Some(Cell::Count(one.status.into()))),
    Column::always("outcome", Kind::Text, |one| Some(Cell::Text(one.outcome.as_str()))),
    Column::always("estimated", Kind::Flag, |one| Some(Cell::Flag(one.estimated))),
    Column::always("tokens_input", Kind::Count, |one| Some(Cell::Count(one.tokens.input))),
    Column::always("tokens_output", Kind::Count, |one| Some(Cell::Count(one.tokens.output))),
    Column::always("tokens_cache_read", Kind::Count, |one| {
        Some(Cell::Count(one.tokens.cache_read))
    }),
    Column::always("tokens_cache_write_5m", Kind::Count, |one| {
        Some(Cell::Count(one.tokens.cache_write_5m))
    }),
    Column::always("tokens_cache_write_1h", Kind::Count, |one| {
        Some(Cell::Count(one.tokens.cache_write_1h))
    }),
    Column::always("web_searches", Kind::Count, |one| Some(Cell::Count(one.web_searches))),
    Column::maybe("service_tier", Kind::Text, |one| Some(Cell::Text(one.service_tier.as_ref()?))),
    Column::maybe("inference_geo", Kind::Text, |one| Some(Cell::Text(one.inference_geo.as_ref()?))),
    Column::maybe("speed", Kind::Text, |one| Some(Cell::Text(one.speed.as_ref()?))),
    Column::always("cost_usd", Kind::Money, |one| Some(Cell::Money(one.cost_usd))),
    Column::always("price_version", Kind::Text, |one| Some(Cell::Text(&one.price_version))),
    Column::maybe("ttft_ms", Kind::Count, |one| Some(Cell::Count(one.ttft_ms?))),
    Column::always("duration_ms", Kind::Count, |one| Some(Cell::Count(one.duration_ms))),
    Column::always("attempts", Kind::Count, |one| Some(Cell::Count(one.attempts.into()))),
    Column::maybe("session_id", Kind::Text, |one| Some(Cell::Text(one.session_id.as_ref()?))),
    Column::maybe("agent_id", Kind::Text, |one| Some(Cell::Text(one.agent_id.as_ref()?))),
];
