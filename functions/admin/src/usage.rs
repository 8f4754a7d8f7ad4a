//! `/usage`: sums of usage, and single requests.

use crate::SharedAdminState;
use crate::admin_request::AdminRequest;
use crate::api_response::{ApiError, ApiResult};
use crate::query::{bound, page_cursor, page_limit};
use crate::request_parts::QueryParameters;
use crate::summary::{SummaryShape, SummaryTable};
use axum::Json;
use axum::extract::State;
use baton_api::list::{PageQuery, ResourceList};
use baton_api::usage::{EventQuery, SummaryQuery, UsageSummary};
use baton_domain::id::{KeyId, UserId};
use baton_domain::record::UsageRecord;
use baton_domain::rollup::UtcHour;
use baton_store::{AdminStores, EventFilter, RollupPeriod};
use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};

/// The longest period, because a summary reads each of its hours.
const DAYS_MAX: i64 = 400;
/// Days that are read at the same time; each is as many queries as a day has shards.
const DAYS_AT_ONCE: usize = 4;
/// Summaries of more days need a slot of `SummarySlots`.
const DAYS_WITHOUT_SLOT: i64 = 31;

/// Builds the filter of a query. Members get only their own requests, whatever they ask for.
pub(crate) async fn event_filter(
    query: EventQuery,
    request: &AdminRequest,
    store: &AdminStores,
) -> ApiResult<EventFilter> {
    let now = store.clock().now();
    let RequestedPeriod { from, to } =
        RequestedPeriod::parse(query.from.as_deref(), query.to.as_deref(), now)?;
    let key = query.key_id;
    Ok(EventFilter {
        from,
        to,
        account: query.account_id,
        user: request.restrict_to_member(query.user_id)?,
        model: query.model,
        outcome: query.outcome,
        keys: match request.actor.member() {
            Some(member) => Some(member_keys(store, member, key.as_ref()).await?),
            None => None,
        },
        key,
    })
}

/// The keys whose requests a member can see: all its own keys, or the one that it names.
async fn member_keys(
    store: &AdminStores,
    member: &UserId,
    named: Option<&KeyId>,
) -> ApiResult<Vec<KeyId>> {
    let mut keys = store.config.key_ids_of(member).await?;
    keys.retain(|key| named.is_none_or(|named| named == key));
    Ok(keys)
}

pub(crate) async fn get_summary(
    State(state): SharedAdminState,
    request: AdminRequest,
    QueryParameters(mut query): QueryParameters<SummaryQuery>,
) -> ApiResult<Json<UsageSummary>> {
    query.user = request.restrict_to_member(query.user)?;
    let now = state.store.clock().now();
    let period = RequestedPeriod::parse(query.from.as_deref(), query.to.as_deref(), now)?;
    let shape =
        SummaryShape::parse(query.by.as_deref().unwrap_or_default()).map_err(ApiError::bad)?;
    let days = period.to.duration_since(period.from).as_hours() / 24;
    let _slot = if days > DAYS_WITHOUT_SLOT {
        Some(state.summary_slots.acquire(&request.actor.name()).await?)
    } else {
        None
    };
    let table = build_table(&state.store, shape, query, period).await?;
    Ok(Json(UsageSummary { data: table.rows() }))
}

pub(crate) async fn list_events(
    State(state): SharedAdminState,
    request: AdminRequest,
    QueryParameters(paging): QueryParameters<PageQuery>,
    QueryParameters(query): QueryParameters<EventQuery>,
) -> ApiResult<Json<ResourceList<UsageRecord>>> {
    let filter = event_filter(query, &request, &state.store).await?;
    let limit = usize::from(page_limit(&paging)?);
    let page = state.store.usage.events(&filter, limit, page_cursor(&paging)).await?;
    Ok(Json(ResourceList { data: page.data, next_cursor: page.next_cursor }))
}

/// The period that a query asks for, `from` inclusive and `to` exclusive.
#[derive(Clone, Copy)]
pub(crate) struct RequestedPeriod {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl RequestedPeriod {
    /// Reads the two ends; by default the period is the last 30 days.
    ///
    /// # Errors
    /// An end is not a time, the ends are in the wrong order, or the period is too long.
    pub(crate) fn parse(from: Option<&str>, to: Option<&str>, now: Timestamp) -> ApiResult<Self> {
        let hours = |count| SignedDuration::from_hours(count);
        // The default end is an hour in the future, so that recent requests are included although other
        // machines' clocks are ahead.
        let to = to.map_or_else(
            || Ok(now.saturating_add(hours(1)).unwrap_or(now)),
            |text| bound(text, true),
        )?;
        let default = || to.saturating_sub(hours(30 * 24)).unwrap_or(Timestamp::MIN);
        let from = from.map_or_else(|| Ok(default()), |text| bound(text, false))?;
        if from > to {
            return Err(ApiError::bad("`from` is later than `to`"));
        }
        if to.duration_since(from) > hours(DAYS_MAX * 24) {
            return Err(ApiError::bad(format!(
                "the period is longer than {DAYS_MAX} days; choose a shorter one"
            )));
        }
        Ok(Self { from, to })
    }
}

/// Sums up the rollups of a period. Rollups are hourly, so `from` is rounded down to its hour and
/// `to` is rounded up.
async fn build_table(
    store: &AdminStores,
    shape: SummaryShape,
    filter: SummaryQuery,
    RequestedPeriod { from, to }: RequestedPeriod,
) -> ApiResult<SummaryTable> {
    let last = to.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(to);
    let (from, last) = (UtcHour::from_timestamp(from), UtcHour::from_timestamp(last));
    let mut table = SummaryTable::new(shape, filter);
    if last < from {
        return Ok(table);
    }
    if table.needs_only_totals() {
        let hours = store.rollups.totals(RollupPeriod::Hour, from.as_str(), last.as_str()).await?;
        for (hour, sums) in &hours {
            table.add_total(hour, sums);
        }
        return Ok(table);
    }
    let mut reading = stream::iter(days(&from, &last))
        .map(|day| async move { store.rollups.cells(&day).await })
        .buffered(DAYS_AT_ONCE);
    while let Some(cells) = reading.next().await {
        let cells = cells?;
        let inside = cells.iter().filter(|(cell, _)| from <= cell.hour && cell.hour <= last);
        for (cell, sums) in inside {
            table.add_cell(cell, sums);
        }
    }
    Ok(table)
}

fn days(from: &UtcHour, last: &UtcHour) -> Vec<String> {
    let midnight = |hour: &UtcHour| format!("{}T00:00:00Z", hour.day()).parse::<Timestamp>().ok();
    let (Some(first), Some(end)) = (midnight(from), midnight(last)) else { return Vec::new() };
    std::iter::successors(Some(first), |day| day.checked_add(SignedDuration::from_hours(24)).ok())
        .take_while(|day| *day <= end)
        .map(|day| UtcHour::from_timestamp(day).day().to_owned())
        .collect()
}
