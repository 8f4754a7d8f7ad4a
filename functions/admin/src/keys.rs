//! `/keys`: who may ask. A key's secret is in the answer to POST and rotate, and nowhere else.

use crate::answer::{Answer, Refused, body, created, id};
use crate::query::{Change, Paging, listed, name};
use crate::{Office, Shared};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_cloud::store::{Edit, Stored};
use baton_domain::id::{GroupId, KeyId, UserId};
use baton_domain::key::{Estimate, Key, Limits};
use baton_domain::model::ModelPattern;
use baton_domain::relay_key::{compose, new_secret};
use baton_domain::scope::Scope;
use baton_domain::secret::Secret;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// What can be set of a key. In a POST, what is absent gets its default; in a PATCH it stays.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyInput {
    name: Option<String>,
    user_id: Change<UserId>,
    group_id: Option<GroupId>,
    models: Option<Vec<ModelPattern>>,
    expires_at: Change<Timestamp>,
    enabled: Option<bool>,
    limits: Option<Limits>,
    estimate: Option<Estimate>,
}

impl KeyInput {
    /// A key with a name, everything else by default.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::default() }
    }
}

fn view(stored: &Stored<Key>) -> Value {
    let key = &stored.value;
    json!({
        "id": key.id, "name": key.name, "user_id": key.user_id, "group_id": key.group_id,
        "models": key.models, "expires_at": key.expires_at, "enabled": key.enabled,
        "limits": key.limits, "created_at": stored.created_at, "updated_at": stored.updated_at,
        "version": stored.version, "estimate": key.estimate, "overshoot": overshoot(key.estimate),
    })
}

/// By how much the key's requests may overrun a money limit.
fn overshoot(estimate: Estimate) -> &'static str {
    match estimate {
        Estimate::Most => "none",
        Estimate::Expected => {
            "at most the sum, over the requests under way, of the most that each can cost less \
             what was expected of it; `GET /v1/usage` of the key shows that as `overshoot_usd_max`"
        }
    }
}

fn view_once((stored, secret): &(Stored<Key>, Secret)) -> Value {
    let mut view = view(stored);
    view["secret"] = json!(secret.expose());
    view
}

pub(crate) async fn list(
    State(office): Shared,
    Query(paging): Query<Paging>,
) -> Answer<Json<Value>> {
    Ok(listed(&office.page(&paging).await?, view))
}

pub(crate) async fn create(State(office): Shared, bytes: Bytes) -> Answer {
    Ok(created(view_once(&office.create_key(body(&bytes)?).await?)))
}

pub(crate) async fn read(State(office): Shared, Path(path): Path<String>) -> Answer<Json<Value>> {
    Ok(Json(view(&office.find::<Key>(&id(&path)?).await?)))
}

pub(crate) async fn change(
    State(office): Shared,
    Path(path): Path<String>,
    bytes: Bytes,
) -> Answer<Json<Value>> {
    let input: KeyInput = body(&bytes)?;
    let before = office.find::<Key>(&id(&path)?).await?;
    let mut stored = office.store.revise(&before);
    office.fill_key(&mut stored.value, input).await?;
    let mut edit = Edit::default();
    if stored.value.user_id != before.value.user_id {
        office.store.leave_user(&mut edit, &before.value);
    }
    office.store.save_key(&mut edit, &stored)?;
    office.store.apply(edit).await?;
    Ok(Json(view(&stored)))
}

pub(crate) async fn rotate(State(office): Shared, Path(path): Path<String>) -> Answer<Json<Value>> {
    let mut stored = office.store.revise(&office.find::<Key>(&id(&path)?).await?);
    let (secret, hash) = office.new_secret(&stored.value.id);
    stored.secret = Some(hash);
    office.save_key(&stored).await?;
    Ok(Json(view_once(&(stored, secret))))
}

pub(crate) async fn remove(State(office): Shared, Path(path): Path<String>) -> Answer<StatusCode> {
    let stored = office.find::<Key>(&id(&path)?).await?;
    let mut edit = Edit::default();
    office.store.remove_key(&mut edit, &stored);
    office.store.apply(edit).await?;
    office.store.retire_limit(&Scope::Key(stored.value.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Office {
    /// Makes a key; the whole of it is returned, this once.
    pub(crate) async fn create_key(&self, input: KeyInput) -> Answer<(Stored<Key>, Secret)> {
        if input.name.is_none() {
            return Err(Refused::bad("`name` is missing"));
        }
        let named = input.group_id.clone().into_iter().collect();
        let group_id = self.groups_or_default(named).await?.swap_remove(0);
        let mut key = Key {
            id: KeyId::from_bits(self.store.dice().bits()),
            name: String::new(),
            user_id: None,
            group_id,
            models: Vec::new(),
            expires_at: None,
            enabled: true,
            limits: Limits::default(),
            estimate: Estimate::default(),
        };
        self.fill_key(&mut key, KeyInput { group_id: None, ..input }).await?;
        let (secret, hash) = self.new_secret(&key.id);
        let stored = self.store.stamp(key, Some(hash));
        self.save_key(&stored).await?;
        Ok((stored, secret))
    }

    async fn fill_key(&self, key: &mut Key, input: KeyInput) -> Answer<()> {
        if let Some(text) = input.name {
            key.name = name(&text)?;
        }
        if let Some(group) = input.group_id {
            key.group_id = self.groups_or_default(vec![group]).await?.swap_remove(0);
        }
        key.user_id = input.user_id.over(key.user_id.take());
        key.models = input.models.unwrap_or(std::mem::take(&mut key.models));
        key.expires_at = input.expires_at.over(key.expires_at);
        key.enabled = input.enabled.unwrap_or(key.enabled);
        key.limits = input.limits.unwrap_or(std::mem::take(&mut key.limits));
        key.estimate = input.estimate.unwrap_or(key.estimate);
        Ok(())
    }

    /// A new key in whole, and the hash of its secret part.
    fn new_secret(&self, id: &KeyId) -> (Secret, Vec<u8>) {
        let secret = new_secret([self.store.dice().bits(), self.store.dice().bits()]);
        let hash = self.pepper.hash(secret.expose());
        (compose(id, &secret), hash)
    }

    async fn save_key(&self, stored: &Stored<Key>) -> Answer<()> {
        let mut edit = Edit::default();
        self.store.save_key(&mut edit, stored)?;
        Ok(self.store.apply(edit).await?)
    }
}
