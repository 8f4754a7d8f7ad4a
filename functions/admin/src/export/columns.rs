//! The columns of an export: a flattened usage record, for all formats with columns.

use baton_domain::money::PicoUsd;
use baton_domain::record::UsageRecord;
use jiff::Timestamp;

/// One cell.
#[derive(Clone, Copy)]
pub(super) enum ExportCell<'a> {
    Text(&'a str),
    Count(u64),
    Flag(bool),
    Time(Timestamp),
    Money(PicoUsd),
}

/// The type of the cells in a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    Text,
    Count,
    Flag,
    Time,
    Money,
}

/// A column: its name, type and source.
pub(super) struct ExportColumn {
    pub(super) name: &'static str,
    pub(super) kind: ColumnType,
    /// Whether cells can be empty.
    pub(super) is_optional: bool,
    cell: for<'a> fn(&'a UsageRecord) -> Option<ExportCell<'a>>,
}

impl ExportColumn {
    const fn required(
        name: &'static str,
        kind: ColumnType,
        cell: for<'a> fn(&'a UsageRecord) -> Option<ExportCell<'a>>,
    ) -> Self {
        Self { name, kind, is_optional: false, cell }
    }

    const fn optional(
        name: &'static str,
        kind: ColumnType,
        cell: for<'a> fn(&'a UsageRecord) -> Option<ExportCell<'a>>,
    ) -> Self {
        Self { name, kind, is_optional: true, cell }
    }

    /// The cell of `record`, or `None` if it is empty.
    pub(super) fn cell<'a>(&self, record: &'a UsageRecord) -> Option<ExportCell<'a>> {
        (self.cell)(record)
    }
}

/// All columns. Their order is part of the public interface.
pub(super) const COLUMNS: [ExportColumn; 31] = [
    ExportColumn::required("v", ColumnType::Count, |one| Some(ExportCell::Count(one.v.into()))),
    ExportColumn::required("id", ColumnType::Text, |one| Some(ExportCell::Text(one.id.as_str()))),
    ExportColumn::required("started_at", ColumnType::Time, |one| {
        Some(ExportCell::Time(one.started_at))
    }),
    ExportColumn::required("key_id", ColumnType::Text, |one| {
        Some(ExportCell::Text(one.key_id.as_str()))
    }),
    ExportColumn::optional("user_id", ColumnType::Text, |one| {
        Some(ExportCell::Text(one.user_id.as_ref()?.as_str()))
    }),
    ExportColumn::required("group_id", ColumnType::Text, |one| {
        Some(ExportCell::Text(one.group_id.as_str()))
    }),
    ExportColumn::required("account_id", ColumnType::Text, |one| {
        Some(ExportCell::Text(one.account_id.as_str()))
    }),
    ExportColumn::required("provider", ColumnType::Text, |one| {
        Some(ExportCell::Text(&one.provider))
    }),
    ExportColumn::required("protocol", ColumnType::Text, |one| {
        Some(ExportCell::Text(&one.protocol))
    }),
    ExportColumn::required("model", ColumnType::Text, |one| Some(ExportCell::Text(&one.model))),
    ExportColumn::required("upstream_model", ColumnType::Text, |one| {
        Some(ExportCell::Text(&one.upstream_model))
    }),
    ExportColumn::required("stream", ColumnType::Flag, |one| Some(ExportCell::Flag(one.stream))),
    ExportColumn::required("status", ColumnType::Count, |one| {
        Some(ExportCell::Count(one.status.into()))
    }),
    ExportColumn::required("outcome", ColumnType::Text, |one| {
        Some(ExportCell::Text(one.outcome.as_str()))
    }),
    ExportColumn::required("estimated", ColumnType::Flag, |one| {
        Some(ExportCell::Flag(one.estimated))
    }),
    ExportColumn::required("tokens_input", ColumnType::Count, |one| {
        Some(ExportCell::Count(one.tokens.input))
    }),
    ExportColumn::required("tokens_output", ColumnType::Count, |one| {
        Some(ExportCell::Count(one.tokens.output))
    }),
    ExportColumn::required("tokens_cache_read", ColumnType::Count, |one| {
        Some(ExportCell::Count(one.tokens.cache_read))
    }),
    ExportColumn::required("tokens_cache_write_5m", ColumnType::Count, |one| {
        Some(ExportCell::Count(one.tokens.cache_write_5m))
    }),
    ExportColumn::required("tokens_cache_write_1h", ColumnType::Count, |one| {
        Some(ExportCell::Count(one.tokens.cache_write_1h))
    }),
    ExportColumn::required("web_searches", ColumnType::Count, |one| {
        Some(ExportCell::Count(one.web_searches))
    }),
    ExportColumn::optional("service_tier", ColumnType::Text, |one| {
        Some(ExportCell::Text(one.service_tier.as_ref()?))
    }),
    ExportColumn::optional("inference_geo", ColumnType::Text, |one| {
        Some(ExportCell::Text(one.inference_geo.as_ref()?))
    }),
    ExportColumn::optional("speed", ColumnType::Text, |one| {
        Some(ExportCell::Text(one.speed.as_ref()?))
    }),
    ExportColumn::required("cost_usd", ColumnType::Money, |one| {
        Some(ExportCell::Money(one.cost_usd))
    }),
    ExportColumn::required("price_version", ColumnType::Text, |one| {
        Some(ExportCell::Text(&one.price_version))
    }),
    ExportColumn::optional("ttft_ms", ColumnType::Count, |one| {
        Some(ExportCell::Count(one.ttft_ms?))
    }),
    ExportColumn::required("duration_ms", ColumnType::Count, |one| {
        Some(ExportCell::Count(one.duration_ms))
    }),
    ExportColumn::required("attempts", ColumnType::Count, |one| {
        Some(ExportCell::Count(one.attempts.into()))
    }),
    ExportColumn::optional("session_id", ColumnType::Text, |one| {
        Some(ExportCell::Text(one.session_id.as_ref()?))
    }),
    ExportColumn::optional("agent_id", ColumnType::Text, |one| {
        Some(ExportCell::Text(one.agent_id.as_ref()?))
    }),
];
