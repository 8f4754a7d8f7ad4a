//! `/audit`: reads the audit trail. `visit` writes its rows together with each change.

use crate::Shared;
use crate::answer::Answer;
use crate::query::Paging;
use crate::usage::period;
use axum::Json;
use axum::extract::{Query, State};
use baton_cloud::store::{AuditRow, TrailFilter};
use serde::Deserialize;
use serde_json::{Value, json};

/// `?from=&to=&actor=&target=&action=`
#[derive(Deserialize)]
pub(crate) struct AuditQuery {
    from: Option<String>,
    to: Option<String>,
    actor: Option<String>,
    target: Option<String>,
    action: Option<String>,
}

pub(crate) async fn list(
    State(office): Shared,
    Query(paging): Query<Paging>,
    Query(query): Query<AuditQuery>,
) -> Answer<Json<Value>> {
    let now = office.store.clock().now();
    let (from, to) = period(query.from.as_deref(), query.to.as_deref(), now)?;
    let AuditQuery { actor, target, action, .. } = query;
    let filter = TrailFilter { from, to, actor, target, action };
    let limit = usize::from(paging.limit()?);
    let page = office.store.trail(&filter, limit, paging.cursor()).await?;
    let data: Vec<Value> = page.data.iter().map(view).collect();
    Ok(Json(json!({ "data": data, "next_cursor": page.next_cursor })))
}

fn view(AuditRow { id, at, change }: &AuditRow) -> Value {
    json!({
        "id": id, "at": at, "actor": change.actor, "action": change.action,
        "target": change.target, "before": change.before, "after": change.after,
    })
}
