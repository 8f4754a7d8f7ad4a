//! `/v1/organizations/spend_limits`: spend limits per person, in the form of Anthropic's Admin API
//! as the Claude apps gateway mirrors it. `effective` lists who has which limit and has spent how
//! much; `domain::spend_limit` defines what a limit means.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult, TypedResponse};
use crate::audit::audit_row_resource;
use crate::request_parts::{JsonBody, QueryParameters, RepeatedQuery, ResourceId};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::extract::State;
use baton_api::spend_limits::{
    Currency, DeletedSpendLimit, NewSpendLimit, SpendLimitAuditList, SpendLimitAuditQuery,
    SpendLimitAuditRow, SpendLimitList, SpendLimitQuery, SpendLimitResource, SpendLimitScope,
    SpendPeriod, UsdCents, parse_whole_cents,
};
use baton_domain::key::{Group, User};
use baton_domain::scope::LimitScope;
use baton_domain::spend_limit::{NotSpendLimit, PERIODS, SpendCap, SpendLimit, SpendLimitId};
use baton_store::{ConfigEdit, StoredEntity};

/// How often a limit is written if others change it at the same time. After that the caller gets
/// the conflict.
const TRIES_MAX: u32 = 3;

fn spend_limit_resource(stored: &StoredEntity<SpendLimit>) -> ApiResult<SpendLimitResource> {
    let SpendLimit { id, cap } = &stored.value;
    let scope = SpendLimitScope::from_limit_scope(id.scope());
    let period = SpendPeriod::from_limit_period(id.period());
    let (scope, period) =
        scope.zip(period).ok_or_else(|| ApiError::internal_error(NotSpendLimit))?;
    Ok(SpendLimitResource {
        id: id.clone(),
        scope,
        amount: cap.amount().map(UsdCents::from),
        currency: Currency::Usd,
        period,
        is_enabled: true,
        created_at: stored.created_at,
        updated_at: stored.updated_at,
    })
}

/// The value of `limit`: 20 by default, at most 1,000.
pub(crate) fn page_size(limit: Option<u32>) -> ApiResult<usize> {
    match limit.unwrap_or(20) {
        limit @ 1..=1000 => Ok(usize::try_from(limit).unwrap_or(1000)),
        _ => Err(ApiError::bad("`limit`: expected a number from 1 to 1000")),
    }
}

pub(crate) async fn list_spend_limits(
    State(state): SharedAdminState,
    RepeatedQuery(query): RepeatedQuery<SpendLimitQuery>,
) -> ApiResult<Json<SpendLimitList>> {
    let limit = page_size(query.limit)?;
    let all = state.all::<SpendLimit>().await?;
    let mut all = all.iter().map(spend_limit_resource).collect::<ApiResult<Vec<_>>>()?;
    let kinds = &query.scope_type;
    all.retain(|row| kinds.is_empty() || kinds.contains(&row.scope.kind()));
    let place = |id: &str| {
        let place = all.iter().position(|row| row.id.to_string() == id);
        place.ok_or_else(|| ApiError::bad(format!("`{id}` is not in this list")))
    };
    let (start, end) = match (query.after_id.as_deref(), query.before_id.as_deref()) {
        (Some(_), Some(_)) => {
            return Err(ApiError::bad("`after_id` and `before_id` cannot be used together"));
        }
        (Some(id), None) => (place(id)? + 1, None),
        (None, Some(id)) => (0, Some(place(id)?)),
        (None, None) => (0, None),
    };
    let start = end.map_or(start, |end: usize| end.saturating_sub(limit));
    let page_end = end.unwrap_or(all.len()).min(start + limit);
    let has_more = if end.is_some() { start > 0 } else { page_end < all.len() };
    let data = all.get(start..page_end).unwrap_or_default().to_vec();
    let id = |row: Option<&SpendLimitResource>| row.map(|row| row.id.clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Ok(Json(SpendLimitList { data, has_more, first_id, last_id }))
}

pub(crate) async fn set_spend_limit(
    State(state): SharedAdminState,
    request: AdminRequest,
    JsonBody(input): JsonBody<NewSpendLimit>,
) -> ApiResult<TypedResponse<SpendLimitResource>> {
    let scope = state.limit_scope(input.scope).await?;
    let cap = input.amount.as_deref().map(parse_whole_cents).transpose();
    let cap = cap.map_err(|error| ApiError::bad(format!("`amount`: {error}")))?;
    let cap = cap.map_or(SpendCap::Unlimited, SpendCap::Usd);
    let id = SpendLimitId::new(scope, input.period.into()).map_err(ApiError::bad)?;
    let limit = SpendLimit { id, cap };
    for _ in 1..TRIES_MAX {
        match state.save_spend_limit(&request, limit.clone()).await {
            Err(error) if error.is_conflict() => {}
            response => return response,
        }
    }
    state.save_spend_limit(&request, limit).await
}

pub(crate) async fn get_spend_limit(
    State(state): SharedAdminState,
    ResourceId(id): ResourceId<SpendLimitId>,
) -> ApiResult<Json<SpendLimitResource>> {
    spend_limit_resource(&state.find_spend_limit(&id).await?).map(Json)
}

pub(crate) async fn delete_spend_limit(
    State(state): SharedAdminState,
    request: AdminRequest,
    ResourceId(id): ResourceId<SpendLimitId>,
) -> ApiResult<TypedResponse<DeletedSpendLimit>> {
    let stored = state.find_spend_limit(&id).await?;
    request.check_version(&stored)?;
    let mut edit = ConfigEdit::default();
    state.store.editor.remove_spend_limit(&mut edit, &stored);
    let note = AuditNote::deleted(&id, &spend_limit_resource(&stored)?);
    let answer = TypedResponse::new(&DeletedSpendLimit { id })?;
    state.commit_change(&request, edit, note, answer).await
}

pub(crate) async fn list_changes(
    State(state): SharedAdminState,
    QueryParameters(query): QueryParameters<SpendLimitAuditQuery>,
) -> ApiResult<Json<SpendLimitAuditList>> {
    let limit = page_size(query.limit)?;
    let mut rows = state.store.audit.newest_rows("spl_", limit + 1).await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let view = |row| SpendLimitAuditRow { row: audit_row_resource(row) };
    Ok(Json(SpendLimitAuditList { data: rows.into_iter().map(view).collect(), has_more }))
}

impl AdminState {
    async fn limit_scope(&self, scope: SpendLimitScope) -> ApiResult<LimitScope> {
        match scope {
            SpendLimitScope::User { user_id: id } => {
                if self.store.config.read::<User>(&id).await?.is_none() {
                    return Err(ApiError::not_found(format!("user {id}")));
                }
                Ok(LimitScope::User(id))
            }
            SpendLimitScope::RbacGroup { rbac_group_id: id } => {
                if self.store.config.read::<Group>(&id).await?.is_none() {
                    return Err(ApiError::bad(format!("group {id} does not exist")));
                }
                Ok(LimitScope::Group(id))
            }
            SpendLimitScope::Organization => Ok(LimitScope::Organization),
        }
    }

    async fn find_spend_limit(&self, id: &SpendLimitId) -> ApiResult<StoredEntity<SpendLimit>> {
        let found = self.store.config.read::<SpendLimit>(id).await?;
        found.ok_or_else(|| ApiError::not_found(format!("spend limit {id}")))
    }

    /// Creates or replaces a spend limit.
    async fn save_spend_limit(
        &self,
        request: &AdminRequest,
        limit: SpendLimit,
    ) -> ApiResult<TypedResponse<SpendLimitResource>> {
        let before = self.store.config.read::<SpendLimit>(&limit.id).await?;
        let stored = match &before {
            Some(before) => StoredEntity { value: limit, ..self.store.editor.next_version(before) },
            None => self.store.editor.new_stored(limit, None),
        };
        let mut edit = ConfigEdit::default();
        self.store.editor.save_spend_limit(&mut edit, &stored)?;
        let (target, after) = (&stored.value.id, spend_limit_resource(&stored)?);
        let note = match &before {
            Some(before) => AuditNote::updated(target, &spend_limit_resource(before)?, &after),
            None => AuditNote::created(target, &after),
        };
        self.commit_change(request, edit, note, TypedResponse::new(&after)?).await
    }

    /// Removes the spend limits of a scope that is being deleted. A key has none.
    pub(crate) async fn remove_spend_limits_of(
        &self,
        request: &AdminRequest,
        edit: &mut ConfigEdit,
        scope: &LimitScope,
    ) -> ApiResult<()> {
        for period in PERIODS {
            let Ok(id) = SpendLimitId::new(scope.clone(), period) else { continue };
            if let Some(stored) = self.store.config.read::<SpendLimit>(&id).await? {
                self.store.editor.remove_spend_limit(edit, &stored);
                let note = AuditNote::deleted(&stored.value.id, &spend_limit_resource(&stored)?);
                self.add_audit_row(request, edit, note)?;
            }
        }
        Ok(())
    }
}
