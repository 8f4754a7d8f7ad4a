//! `/audit`: reads the audit trail. `request` writes its rows together with each change.

use crate::SharedAdminState;
use crate::api_response::ApiResult;
use crate::query::{page_cursor, page_limit};
use crate::request_parts::QueryParameters;
use crate::usage::RequestedPeriod;
use axum::Json;
use axum::extract::State;
use baton_api::audit::{AuditQuery, AuditRowResource};
use baton_api::list::{PageQuery, ResourceList};
use baton_store::{AuditChange, AuditFilter, AuditRow};

pub(crate) async fn list_audit_rows(
    State(state): SharedAdminState,
    QueryParameters(paging): QueryParameters<PageQuery>,
    QueryParameters(query): QueryParameters<AuditQuery>,
) -> ApiResult<Json<ResourceList<AuditRowResource>>> {
    let now = state.store.clock().now();
    let RequestedPeriod { from, to } =
        RequestedPeriod::parse(query.from.as_deref(), query.to.as_deref(), now)?;
    let AuditQuery { actor, target, action, .. } = query;
    let action = action.map(|action| action.as_str().to_owned());
    let filter = AuditFilter { from, to, actor, target, action };
    let limit = usize::from(page_limit(&paging)?);
    let page = state.store.audit.list_rows(&filter, limit, page_cursor(&paging)).await?;
    let data = page.data.into_iter().map(audit_row_resource).collect();
    Ok(Json(ResourceList { data, next_cursor: page.next_cursor }))
}

pub(crate) fn audit_row_resource(AuditRow { id, at, change }: AuditRow) -> AuditRowResource {
    let AuditChange { actor, action, target, before, after } = change;
    AuditRowResource { id, at, actor, action, target, before, after }
}
