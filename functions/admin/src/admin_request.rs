//! The context of a request (caller, expected version, idempotency), and the one function that
//! makes changes: together with their audit row, in one transaction.

use crate::AdminState;
use crate::api_response::{ApiError, ApiResult, TypedResponse, etag};
use axum::extract::FromRequestParts;
use baton_api::audit::AuditAction;
use baton_domain::actor::Actor;
use baton_domain::id::UserId;
use baton_store::{AuditChange, ConfigEdit, Entity, StoreError, StoredEntity};
use http::HeaderMap;
use http::header::IF_MATCH;
use http::request::Parts;
use serde::Serialize;
use serde_json::{Value, json};

/// The context of a request.
#[derive(Clone)]
pub(crate) struct AdminRequest {
    pub(crate) actor: Actor,
    if_match: Option<String>,
    pub(crate) replay: Option<IdempotentRequest>,
}

/// A request that can be repeated.
#[derive(Clone)]
pub(crate) struct IdempotentRequest {
    /// The name of its stored answer.
    pub(crate) name: String,
    /// A hash by which a repetition differs from another request with the same key.
    pub(crate) fingerprint: Vec<u8>,
}

impl AdminRequest {
    /// The context of a request by `actor` with these headers.
    pub(crate) fn new(actor: Actor, headers: &HeaderMap) -> Self {
        let if_match = headers.get(IF_MATCH);
        let if_match = if_match.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Self { actor, if_match, replay: None }
    }

    /// The context of changes that Baton makes itself.
    pub(crate) fn from_baton() -> Self {
        Self { actor: Actor::Baton, if_match: None, replay: None }
    }

    /// The context without an idempotency key, for actions that can be repeated without harm.
    pub(crate) fn without_replay(self) -> Self {
        Self { replay: None, ..self }
    }

    /// Restricts a member to its own keys and usage.
    ///
    /// # Errors
    /// If a member asks for another user.
    pub(crate) fn restrict_to_member(&self, wanted: Option<UserId>) -> ApiResult<Option<UserId>> {
        match (self.actor.member(), wanted) {
            (Some(own), Some(wanted)) if wanted != *own => {
                Err(ApiError::forbidden("members can see only their own keys and usage"))
            }
            (Some(own), _) => Ok(Some(own.clone())),
            (None, wanted) => Ok(wanted),
        }
    }

    /// Refuses the change if `if-match` names another version than the stored one.
    pub(crate) fn check_version<T: Entity>(&self, stored: &StoredEntity<T>) -> ApiResult<()> {
        let Some(wanted) = &self.if_match else { return Ok(()) };
        let tag = etag(stored.version);
        let matches = wanted.split(',').map(str::trim).any(|one| one == "*" || one == tag);
        if matches {
            return Ok(());
        }
        let id = stored.value.id();
        Err(ApiError::stale(format!(
            "{id} has version {tag}, but `if-match` is {wanted}; read it again and repeat the change"
        )))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AdminRequest {
    type Rejection = ApiError;

    /// `authorize` has stored it in the extensions.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::unauthenticated)
    }
}

/// The fields of an audit row other than the caller and the time. It never contains a secret.
pub(crate) struct AuditNote {
    action: AuditAction,
    target: String,
    before: Value,
    after: Value,
}

impl AuditNote {
    /// A resource was created.
    pub(crate) fn created(target: &impl ToString, after: &impl Serialize) -> Self {
        Self::other_action(AuditAction::Create, target, &Value::Null, after)
    }

    /// A resource was changed.
    pub(crate) fn updated(
        target: &impl ToString,
        before: &impl Serialize,
        after: &impl Serialize,
    ) -> Self {
        Self::other_action(AuditAction::Update, target, before, after)
    }

    /// A resource was deleted.
    pub(crate) fn deleted(target: &impl ToString, before: &impl Serialize) -> Self {
        Self::other_action(AuditAction::Delete, target, before, &Value::Null)
    }

    /// Any other action.
    pub(crate) fn other_action(
        action: AuditAction,
        target: &impl ToString,
        before: &impl Serialize,
        after: &impl Serialize,
    ) -> Self {
        Self { action, target: target.to_string(), before: json!(before), after: json!(after) }
    }
}

impl AdminState {
    /// Adds a further audit row to a change that needs more than one.
    pub(crate) fn add_audit_row(
        &self,
        request: &AdminRequest,
        edit: &mut ConfigEdit,
        note: AuditNote,
    ) -> ApiResult<()> {
        let AuditNote { action, target, before, after } = note;
        let (actor, action) = (request.actor.name(), action.as_str().to_owned());
        Ok(self.store.audit.add_row(edit, &AuditChange { actor, action, target, before, after })?)
    }

    /// Applies a change in one transaction with its audit row and, if the request has an
    /// idempotency key, its answer.
    pub(crate) async fn commit_change<T, const STATUS: u16>(
        &self,
        request: &AdminRequest,
        mut edit: ConfigEdit,
        note: AuditNote,
        response: TypedResponse<T, STATUS>,
    ) -> ApiResult<TypedResponse<T, STATUS>> {
        self.add_audit_row(request, &mut edit, note)?;
        if let Some(replay) = &request.replay {
            let stored_response = replay.to_stored_response(response.as_response());
            self.store.responses.store_response(&mut edit, &replay.name, &stored_response).await?;
        }
        match (self.store.editor.apply(edit).await, &request.replay) {
            (Ok(()), _) => Ok(response),
            (Err(StoreError::Conflict), Some(replay)) => {
                // The same request can have been handled at the same time.
                let stored = self.find_stored_response(replay).await?;
                stored.map(TypedResponse::from_response).ok_or_else(|| StoreError::Conflict.into())
            }
            (Err(StoreError::Conflict), None) if request.if_match.is_some() => {
                Err(ApiError::stale(StoreError::Conflict))
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}
