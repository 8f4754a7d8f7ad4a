//! The context of a request (caller, expected version, idempotency), and the one function that
//! makes changes: together with their audit row, in one transaction.

use crate::Office;
use crate::actor::Actor;
use crate::answer::{Answer, Refused, Told};
use crate::replay::Replay;
use axum::extract::FromRequestParts;
use baton_cloud::store::{Change, Edit, Entity, StoreError, Stored};
use baton_domain::id::UserId;
use http::HeaderMap;
use http::header::IF_MATCH;
use http::request::Parts;
use serde_json::Value;

/// The context of a request.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) actor: Actor,
    if_match: Option<String>,
    pub(crate) replay: Option<Replay>,
}

impl Visit {
    /// The context of a request by `actor` with these headers.
    pub(crate) fn new(actor: Actor, headers: &HeaderMap) -> Self {
        let if_match = headers.get(IF_MATCH);
        let if_match = if_match.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Self { actor, if_match, replay: None }
    }

    /// The context of changes that Baton makes itself.
    pub(crate) fn of_baton() -> Self {
        Self { actor: Actor::Baton, if_match: None, replay: None }
    }

    /// The context without an idempotency key, for actions that can be repeated without harm.
    pub(crate) fn unrepeatable(self) -> Self {
        Self { replay: None, ..self }
    }

    /// Restricts a member to its own keys and usage.
    ///
    /// # Errors
    /// If a member asks for another user.
    pub(crate) fn narrow(&self, wanted: Option<UserId>) -> Answer<Option<UserId>> {
        match (self.actor.member(), wanted) {
            (Some(own), Some(wanted)) if wanted != *own => {
                Err(Refused::forbidden("members can see only their own keys and usage"))
            }
            (Some(own), _) => Ok(Some(own.clone())),
            (None, wanted) => Ok(wanted),
        }
    }

    /// Refuses the change if `if-match` names another version than the stored one.
    pub(crate) fn agrees<T: Entity>(&self, stored: &Stored<T>) -> Answer<()> {
        let Some(wanted) = &self.if_match else { return Ok(()) };
        let tag = etag(stored.version);
        let matches = wanted.split(',').map(str::trim).any(|one| one == "*" || one == tag);
        if matches {
            return Ok(());
        }
        let id = stored.value.id();
        Err(Refused::stale(format!(
            "{id} has version {tag}, but `if-match` is {wanted}; read it again and repeat the change"
        )))
    }
}

/// The entity tag of a version.
pub(crate) fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Refused;

    /// `authorize` has stored it in the extensions.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Refused::unauthenticated)
    }
}

/// The fields of an audit row other than the caller and the time. It never contains a secret.
pub(crate) struct Note {
    action: &'static str,
    target: String,
    before: Value,
    after: Value,
}

impl Note {
    /// A resource was created.
    pub(crate) fn created(target: &impl ToString, after: &Value) -> Self {
        Self::did("create", target, (Value::Null, after.clone()))
    }

    /// A resource was changed.
    pub(crate) fn updated(target: &impl ToString, before: Value, after: &Value) -> Self {
        Self::did("update", target, (before, after.clone()))
    }

    /// A resource was deleted.
    pub(crate) fn deleted(target: &impl ToString, before: Value) -> Self {
        Self::did("delete", target, (before, Value::Null))
    }

    /// Any other action.
    pub(crate) fn did(
        action: &'static str,
        target: &impl ToString,
        (before, after): (Value, Value),
    ) -> Self {
        Self { action, target: target.to_string(), before, after }
    }
}

impl Office {
    /// Adds a further audit row to a change that needs more than one.
    pub(crate) fn note(&self, visit: &Visit, edit: &mut Edit, note: Note) -> Answer<()> {
        let Note { action, target, before, after } = note;
        let (actor, action) = (visit.actor.name(), action.to_owned());
        Ok(self.store.audit(edit, &Change { actor, action, target, before, after })?)
    }

    /// Applies a change in one transaction with its audit row and, if the request has an
    /// idempotency key, its answer.
    pub(crate) async fn enact(
        &self,
        visit: &Visit,
        mut edit: Edit,
        note: Note,
        told: Told,
    ) -> Answer<Told> {
        self.note(visit, &mut edit, note)?;
        if let Some(replay) = &visit.replay {
            self.store.keep_answer(&mut edit, &replay.name, &replay.keep(&told)).await?;
        }
        match (self.store.apply(edit).await, &visit.replay) {
            (Ok(()), _) => Ok(told),
            (Err(StoreError::Conflict), Some(replay)) => {
                // The same request can have been handled at the same time.
                self.told_before(replay).await?.ok_or_else(|| StoreError::Conflict.into())
            }
            (Err(StoreError::Conflict), None) if visit.if_match.is_some() => {
                Err(Refused::stale(StoreError::Conflict))
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}
