//! `POST /prices/rerate`: recalculates the cost of a period's requests with the current prices.
//! Each call handles a bounded part. The store has the progress, so the same call continues.

use crate::answer::{Answer, Refused, body};
use crate::usage::period;
use crate::visit::{Note, Visit};
use crate::{Office, Shared};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use baton_cloud::store::{Edit, EventFilter, Rerate, Rerated, StoreError};
use baton_domain::own_price::OwnPrice;
use baton_domain::price::PriceTable;
use baton_domain::rerate::{Batch, Revision};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

/// Records that are read at a time.
const PAGE: usize = 500;

/// The most records that one call examines, and the time after which it starts no further page.
const CALL: u32 = 5000;
const PATIENCE: SignedDuration = SignedDuration::from_secs(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    from: String,
    to: String,
    /// Only count what would change.
    #[serde(default)]
    dry_run: bool,
    /// The most records that this call examines.
    limit: Option<u32>,
}

/// The re-rating of one period.
struct Job {
    name: String,
    filter: EventFilter,
    dry_run: bool,
}

pub(crate) async fn rerate(
    State(office): Shared,
    visit: Visit,
    bytes: Bytes,
) -> Answer<Json<Value>> {
    let ask: Ask = body(&bytes)?;
    let begun = office.store.clock().now();
    let (from, to) = period(Some(&ask.from), Some(&ask.to), begun)?;
    let limit = ask.limit.unwrap_or(CALL);
    if !(1..=CALL).contains(&limit) {
        return Err(Refused::bad(format!("`limit`: expected a number from 1 to {CALL}")));
    }
    let (key, account, user, model, outcome) = Default::default();
    let filter = EventFilter { from, to, key, account, user, model, outcome, keys: None };
    let kind = if ask.dry_run { "dry" } else { "real" };
    let job = Job { name: format!("{from}#{to}#{kind}"), filter, dry_run: ask.dry_run };
    let table = in_force(&office).await?;
    let start = job.begin(&office, &table).await?;
    if start.cursor.is_none() && !job.dry_run {
        // Written before the first change, because a call that is cut off has changed something,
        // too.
        office.noted(&visit, Value::Null, json!({ "from": from, "to": to })).await?;
    }
    let (rerate, is_done) = job.go_on(&office, &table, start, (begun, limit)).await?;
    let view = json!({
        "done": is_done, "dry_run": job.dry_run, "from": from, "to": to,
        "examined": rerate.examined, "changed": rerate.changed,
        "difference_usd": rerate.difference_usd,
        "next": rerate.next.filter(|_| !is_done),
    });
    if is_done && !job.dry_run {
        office.noted(&visit, json!({ "from": from, "to": to }), view.clone()).await?;
    }
    Ok(Json(view))
}

/// The prices that are in force now.
async fn in_force(office: &Office) -> Answer<PriceTable> {
    let own = office.store.own_prices().await?;
    let own: Vec<OwnPrice> = own.into_iter().map(|stored| stored.value).collect();
    Ok(PriceTable::builtin().with_own(&own))
}

impl Office {
    /// Writes a row of the audit trail: one at the start and one at the end.
    async fn noted(&self, visit: &Visit, before: Value, after: Value) -> Answer<()> {
        let mut edit = Edit::default();
        self.note(visit, &mut edit, Note::did("rerate", &"usage", (before, after)))?;
        Ok(self.store.apply(edit).await?)
    }
}

impl Job {
    /// The stored progress, or the start of the period if prices have changed since.
    async fn begin(&self, office: &Office, table: &PriceTable) -> Result<Rerate, StoreError> {
        let fingerprint = table.fingerprint();
        let known = office.store.rerate(&self.name).await?;
        let known = known.filter(|known| known.table == fingerprint);
        Ok(known.unwrap_or_else(|| Rerate { table: fingerprint, ..Rerate::default() }))
    }

    async fn go_on(
        &self,
        office: &Office,
        table: &PriceTable,
        mut rerate: Rerate,
        (begun, limit): (Timestamp, u32),
    ) -> Result<(Rerate, bool), StoreError> {
        let end = rerate.examined + u64::from(limit);
        loop {
            let room = usize::try_from(end - rerate.examined).unwrap_or(PAGE).min(PAGE);
            self.page(office, table, (&mut rerate, room)).await?;
            if rerate.cursor.is_none() {
                office.store.remove_rerate(&self.name).await?;
                return Ok((rerate, true));
            }
            office.store.put_rerate(&self.name, &rerate).await?;
            let elapsed = office.store.clock().now().duration_since(begun);
            if rerate.examined >= end || elapsed >= PATIENCE {
                return Ok((rerate, false));
            }
        }
    }

    /// Re-rates the next `room` records.
    async fn page(
        &self,
        office: &Office,
        table: &PriceTable,
        (rerate, room): (&mut Rerate, usize),
    ) -> Result<(), StoreError> {
        let page = office.store.events(&self.filter, room, rerate.cursor.as_deref()).await?;
        rerate.examined += u64::try_from(page.data.len()).unwrap_or_default();
        rerate.next = page.data.last().map_or(rerate.next, |last| Some(last.started_at));
        let revisions: Vec<Revision> =
            page.data.into_iter().filter_map(|record| Revision::of(record, table)).collect();
        let rerated = if self.dry_run {
            Rerated::of(&Batch::of(revisions))
        } else {
            office.store.revise_events(revisions).await?
        };
        rerate.changed += rerated.changed;
        rerate.difference_usd += rerated.difference_usd;
        rerate.cursor = page.next_cursor;
        Ok(())
    }
}
