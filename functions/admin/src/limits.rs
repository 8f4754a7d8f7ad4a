//! `/limits`: the limits of the organization, and the text that is added to spend limit errors.
//! Limits of keys, users and groups are fields of those resources.

use crate::SharedAdminState;
use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResponse, ApiResult, body, check_limits};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use baton_domain::key::Limits;
use baton_domain::scope::LimitScope;
use baton_store::ConfigEdit;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The maximum length of the text in characters.
const MESSAGE_MAX: usize = 1000;

pub(crate) async fn organization(State(office): SharedAdminState) -> ApiResult<Json<Limits>> {
    Ok(Json(office.store.read_scope_settings(&LimitScope::Organization).await?.limits))
}

pub(crate) async fn set_organization(
    State(office): SharedAdminState,
    visit: AdminRequest,
    bytes: Bytes,
) -> ApiResult {
    let limits = check_limits("", body(&bytes)?)?;
    let before = office.store.read_scope_settings(&LimitScope::Organization).await?.limits;
    let mut edit = ConfigEdit::default();
    office.store.save_organization_limits(&mut edit, &limits)?;
    let after = json!(limits);
    let note = AuditNote::updated(&"limits/organization", json!(before), &after);
    office.commit_change(&visit, edit, note, ApiResponse::ok(after)).await
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitMessage {
    message: Option<String>,
}

pub(crate) async fn message(State(office): SharedAdminState) -> ApiResult<Json<LimitMessage>> {
    let message = office.store.read_scope_settings(&LimitScope::Organization).await?.message;
    Ok(Json(LimitMessage { message }))
}

pub(crate) async fn set_message(
    State(office): SharedAdminState,
    visit: AdminRequest,
    bytes: Bytes,
) -> ApiResult {
    let LimitMessage { message } = body(&bytes)?;
    let message = message.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if message.as_ref().is_some_and(|text| text.chars().count() > MESSAGE_MAX) {
        return Err(ApiError::bad(format!("`message`: expected at most {MESSAGE_MAX} characters")));
    }
    let before = office.store.read_scope_settings(&LimitScope::Organization).await?.message;
    let mut edit = ConfigEdit::default();
    office.store.save_spend_message(&mut edit, message.as_deref());
    let after = json!(LimitMessage { message });
    let note =
        AuditNote::updated(&"limits/message", json!(LimitMessage { message: before }), &after);
    office.commit_change(&visit, edit, note, ApiResponse::ok(after)).await
}
