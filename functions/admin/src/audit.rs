//! `/audit`: reads the audit trail. `visit` writes its rows together with each change.

use crate::SharedAdminState;
use crate::api_response::ApiResult;
use crate::query::PageQuery;
use crate::usage::period;
use axum::Json;
use axum::extract::{Query, State};
use baton_store::{AuditFilter, AuditRow};
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

pub(crate) async fn list_audit_rows(
    State(office): SharedAdminState,
    Query(paging): Query<PageQuery>,
    Query(query): Query<AuditQuery>,
) -> ApiResult<Json<Value>> {
    let now = office.store.clock().now();
    let (from, to) = period(query.from.as_deref(), query.to.as_deref(), now)?;
    let AuditQuery { actor, target, action, .. } = query;
    let filter = AuditFilter { from, to, actor, target, action };
    let limit = usize::from(paging.limit()?);
    let page = office.store.list_audit_rows(&filter, limit, paging.cursor()).await?;
    let data: Vec<Value> = page.data.iter().map(audit_row_json).collect();
    Ok(Json(json!({ "data": data, "next_cursor": page.next_cursor })))
}

fn audit_row_json(AuditRow { id, at, change }: &AuditRow) -> Value {
    json!({
        "id": id, "at": at, "actor": change.actor, "action": change.action,
        "target": change.target, "before": change.before, "after": change.after,
    })
}
