//! `/limits`: the limits of the organization, and the text that is added to spend limit errors.
//! Limits of keys, users and groups are fields of those resources.

use crate::Shared;
use crate::answer::{Answer, Refused, Told, body, checked};
use crate::visit::{Note, Visit};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use baton_cloud::store::Edit;
use baton_domain::key::Limits;
use baton_domain::scope::Scope;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The maximum length of the text in characters.
const MESSAGE_MAX: usize = 1000;

pub(crate) async fn organization(State(office): Shared) -> Answer<Json<Limits>> {
    Ok(Json(office.store.read_terms(&Scope::Organization).await?.limits))
}

pub(crate) async fn set_organization(State(office): Shared, visit: Visit, bytes: Bytes) -> Answer {
    let limits = checked("", body(&bytes)?)?;
    let before = office.store.read_terms(&Scope::Organization).await?.limits;
    let mut edit = Edit::default();
    office.store.save_organization_limits(&mut edit, &limits)?;
    let after = json!(limits);
    let note = Note::updated(&"limits/organization", json!(before), &after);
    office.enact(&visit, edit, note, Told::ok(after)).await
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    message: Option<String>,
}

pub(crate) async fn message(State(office): Shared) -> Answer<Json<Message>> {
    let message = office.store.read_terms(&Scope::Organization).await?.message;
    Ok(Json(Message { message }))
}

pub(crate) async fn set_message(State(office): Shared, visit: Visit, bytes: Bytes) -> Answer {
    let Message { message } = body(&bytes)?;
    let message = message.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if message.as_ref().is_some_and(|text| text.chars().count() > MESSAGE_MAX) {
        return Err(Refused::bad(format!("`message`: expected at most {MESSAGE_MAX} characters")));
    }
    let before = office.store.read_terms(&Scope::Organization).await?.message;
    let mut edit = Edit::default();
    office.store.save_spend_message(&mut edit, message.as_deref());
    let after = json!(Message { message });
    let note = Note::updated(&"limits/message", json!(Message { message: before }), &after);
    office.enact(&visit, edit, note, Told::ok(after)).await
}
