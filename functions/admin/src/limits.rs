//! `/limits`: the limits of the organization, and the text that is added to spend limit errors.
//! Limits of keys, users and groups are fields of those resources.

use crate::SharedAdminState;
use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult, TypedResponse, check_limits};
use crate::request_parts::JsonBody;
use axum::Json;
use axum::extract::State;
use baton_api::limits::LimitMessage;
use baton_domain::key::Limits;
use baton_domain::scope::LimitScope;
use baton_store::ConfigEdit;

/// The maximum length of the text in characters.
const MESSAGE_MAX: usize = 1000;

pub(crate) async fn get_organization_limits(
    State(state): SharedAdminState,
) -> ApiResult<Json<Limits>> {
    Ok(Json(
        state.store.limit_settings.read_scope_settings(&LimitScope::Organization).await?.limits,
    ))
}

pub(crate) async fn set_organization_limits(
    State(state): SharedAdminState,
    request: AdminRequest,
    JsonBody(limits): JsonBody<Limits>,
) -> ApiResult<TypedResponse<Limits>> {
    let limits = check_limits("", limits)?;
    let before =
        state.store.limit_settings.read_scope_settings(&LimitScope::Organization).await?.limits;
    let mut edit = ConfigEdit::default();
    state.store.editor.save_organization_limits(&mut edit, &limits)?;
    let note = AuditNote::updated(&"limits/organization", &before, &limits);
    state.commit_change(&request, edit, note, TypedResponse::new(&limits)?).await
}

pub(crate) async fn get_limit_message(
    State(state): SharedAdminState,
) -> ApiResult<Json<LimitMessage>> {
    let message =
        state.store.limit_settings.read_scope_settings(&LimitScope::Organization).await?.message;
    Ok(Json(LimitMessage { message }))
}

pub(crate) async fn set_limit_message(
    State(state): SharedAdminState,
    request: AdminRequest,
    JsonBody(LimitMessage { message }): JsonBody<LimitMessage>,
) -> ApiResult<TypedResponse<LimitMessage>> {
    let message = message.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if message.as_ref().is_some_and(|text| text.chars().count() > MESSAGE_MAX) {
        return Err(ApiError::bad(format!("`message`: expected at most {MESSAGE_MAX} characters")));
    }
    let before =
        state.store.limit_settings.read_scope_settings(&LimitScope::Organization).await?.message;
    let mut edit = ConfigEdit::default();
    state.store.editor.save_spend_message(&mut edit, message.as_deref());
    let (before, after) = (LimitMessage { message: before }, LimitMessage { message });
    let note = AuditNote::updated(&"limits/message", &before, &after);
    state.commit_change(&request, edit, note, TypedResponse::new(&after)?).await
}
