//! `POST /prices/rerate`: recalculates the cost of a period's requests with the current prices.
//! Each call handles a bounded part. The store has the progress, so the same call continues.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult};
use crate::request_parts::JsonBody;
use crate::usage::RequestedPeriod;
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::extract::State;
use baton_api::audit::AuditAction;
use baton_api::prices::{RerateReport, RerateRequest};
use baton_domain::own_price::OwnPrice;
use baton_domain::price::PriceTable;
use baton_domain::rerate::{CostRevision, RevisionBatch};
use baton_store::{ConfigEdit, EventFilter, RerateProgress, RerateResult, StoreError};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

/// Records that are read at a time.
const PAGE: usize = 500;

/// The most records that one call examines, and the time after which it starts no further page.
const CALL: u32 = 5000;
const PATIENCE: SignedDuration = SignedDuration::from_secs(20);

/// One call that re-rates a part of a period.
struct RerateJob {
    /// The name under which the store has the progress.
    name: String,
    filter: EventFilter,
    prices: PriceTable,
    dry_run: bool,
    started_at: Timestamp,
    /// The most records that this call examines.
    limit: u32,
}

pub(crate) async fn rerate_period(
    State(state): SharedAdminState,
    request: AdminRequest,
    JsonBody(body): JsonBody<RerateRequest>,
) -> ApiResult<Json<RerateReport>> {
    let started_at = state.store.clock().now();
    let RequestedPeriod { from, to } =
        RequestedPeriod::parse(Some(&body.from), Some(&body.to), started_at)?;
    let limit = body.limit.unwrap_or(CALL);
    if !(1..=CALL).contains(&limit) {
        return Err(ApiError::bad(format!("`limit`: expected a number from 1 to {CALL}")));
    }
    let (key, account, user, model, outcome) = Default::default();
    let filter = EventFilter { from, to, key, account, user, model, outcome, keys: None };
    let kind = if body.dry_run { "dry" } else { "real" };
    let job = RerateJob {
        name: format!("{from}#{to}#{kind}"),
        filter,
        prices: current_prices(&state).await?,
        dry_run: body.dry_run,
        started_at,
        limit,
    };
    let mut rerate = job.load_progress(&state).await?;
    if rerate.cursor.is_none() && !job.dry_run {
        // Written before the first change, because a call that is cut off has changed something,
        // too.
        let period = json!({ "from": from, "to": to });
        state.write_audit_row(&request, &Value::Null, &period).await?;
    }
    let is_done = job.rerate_pages(&state, &mut rerate).await?;
    let report = RerateReport {
        done: is_done,
        dry_run: job.dry_run,
        from,
        to,
        examined: rerate.examined,
        changed: rerate.changed,
        difference_usd: rerate.difference_usd,
        next: rerate.next.filter(|_| !is_done),
    };
    if is_done && !job.dry_run {
        state.write_audit_row(&request, &json!({ "from": from, "to": to }), &report).await?;
    }
    Ok(Json(report))
}

/// The prices that are in force now.
async fn current_prices(state: &AdminState) -> ApiResult<PriceTable> {
    let own = state.store.prices.own_prices().await?;
    let own: Vec<OwnPrice> = own.into_iter().map(|stored| stored.value).collect();
    Ok(PriceTable::builtin().with_own(&own))
}

impl AdminState {
    /// Writes a row of the audit trail: one at the start and one at the end.
    async fn write_audit_row(
        &self,
        request: &AdminRequest,
        before: &Value,
        after: &(impl Serialize + Sync),
    ) -> ApiResult<()> {
        let mut edit = ConfigEdit::default();
        self.add_audit_row(
            request,
            &mut edit,
            AuditNote::other_action(AuditAction::Rerate, &"usage", before, after),
        )?;
        Ok(self.store.editor.apply(edit).await?)
    }
}

impl RerateJob {
    /// The stored progress, or the start of the period if prices have changed since.
    async fn load_progress(&self, state: &AdminState) -> Result<RerateProgress, StoreError> {
        let fingerprint = self.prices.fingerprint();
        let known = state.store.rerates.read_progress(&self.name).await?;
        let known = known.filter(|known| known.table == fingerprint);
        Ok(known
            .unwrap_or_else(|| RerateProgress { table: fingerprint, ..RerateProgress::default() }))
    }

    /// Re-rates page by page within the bounds of one call. Returns whether the period is done.
    async fn rerate_pages(
        &self,
        state: &AdminState,
        rerate: &mut RerateProgress,
    ) -> Result<bool, StoreError> {
        let end = rerate.examined + u64::from(self.limit);
        loop {
            let room = usize::try_from(end - rerate.examined).unwrap_or(PAGE).min(PAGE);
            self.rerate_page(state, rerate, room).await?;
            if rerate.cursor.is_none() {
                state.store.rerates.remove_progress(&self.name).await?;
                return Ok(true);
            }
            state.store.rerates.put_progress(&self.name, rerate).await?;
            let elapsed = state.store.clock().now().duration_since(self.started_at);
            if rerate.examined >= end || elapsed >= PATIENCE {
                return Ok(false);
            }
        }
    }

    /// Re-rates the next `room` records.
    async fn rerate_page(
        &self,
        state: &AdminState,
        rerate: &mut RerateProgress,
        room: usize,
    ) -> Result<(), StoreError> {
        let page = state.store.usage.events(&self.filter, room, rerate.cursor.as_deref()).await?;
        rerate.examined += u64::try_from(page.data.len()).unwrap_or_default();
        rerate.next = page.data.last().map_or(rerate.next, |last| Some(last.started_at));
        let revisions: Vec<CostRevision> = page
            .data
            .into_iter()
            .filter_map(|record| CostRevision::from_record(record, &self.prices))
            .collect();
        let rerated = if self.dry_run {
            RerateResult::from_batch(&RevisionBatch::from_revisions(revisions))
        } else {
            state.store.rerates.revise_events(revisions).await?
        };
        rerate.changed += rerated.changed;
        rerate.difference_usd += rerated.difference_usd;
        rerate.cursor = page.next_cursor;
        Ok(())
    }
}
