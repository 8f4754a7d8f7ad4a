//! `/groups`: the sets of accounts that keys draw on.

use crate::answer::{Answer, Refused, body, created, id};
use crate::query::{Paging, listed, name};
use crate::{Office, Shared};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_cloud::store::{Edit, Stored};
use baton_domain::id::GroupId;
use baton_domain::key::{Group, Limits};
use baton_domain::scope::Scope;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: String,
    #[serde(default)]
    description: String,
    enabled: Option<bool>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupChange {
    name: Option<String>,
    description: Option<String>,
    enabled: Option<bool>,
    limits: Option<Limits>,
}

fn view(stored: &Stored<Group>) -> Value {
    let group = &stored.value;
    json!({
        "id": group.id, "name": group.name, "description": group.description, "enabled": group.enabled,
        "limits": group.limits, "created_at": stored.created_at, "updated_at": stored.updated_at, "version": stored.version,
    })
}

pub(crate) async fn list(
    State(office): Shared,
    Query(paging): Query<Paging>,
) -> Answer<Json<Value>> {
    Ok(listed(&office.page(&paging).await?, view))
}

pub(crate) async fn create(State(office): Shared, bytes: Bytes) -> Answer {
    let new: NewGroup = body(&bytes)?;
    let group = Group {
        id: GroupId::from_bits(office.store.dice().bits()),
        name: name(&new.name)?,
        description: new.description,
        enabled: new.enabled.unwrap_or(true),
        limits: new.limits,
    };
    let stored = office.store.stamp(group, None);
    office.save_group(&stored).await?;
    Ok(created(view(&stored)))
}

pub(crate) async fn read(State(office): Shared, Path(path): Path<String>) -> Answer<Json<Value>> {
    Ok(Json(view(&office.find::<Group>(&id(&path)?).await?)))
}

pub(crate) async fn change(
    State(office): Shared,
    Path(path): Path<String>,
    bytes: Bytes,
) -> Answer<Json<Value>> {
    let change: GroupChange = body(&bytes)?;
    let mut stored = office.store.revise(&office.find::<Group>(&id(&path)?).await?);
    let group = &mut stored.value;
    if let Some(text) = change.name {
        group.name = name(&text)?;
    }
    group.description = change.description.unwrap_or(std::mem::take(&mut group.description));
    group.enabled = change.enabled.unwrap_or(group.enabled);
    group.limits = change.limits.unwrap_or(std::mem::take(&mut group.limits));
    office.save_group(&stored).await?;
    Ok(Json(view(&stored)))
}

pub(crate) async fn remove(State(office): Shared, Path(path): Path<String>) -> Answer<StatusCode> {
    let stored = office.find::<Group>(&id(&path)?).await?;
    let accounts = office.store.accounts_of(&stored.value.id).await?;
    if !accounts.is_empty() {
        let message =
            format!("the group has {} accounts; take them out of it first", accounts.len());
        return Err(Refused::conflict(message));
    }
    let mut edit = Edit::default();
    office.store.remove_group(&mut edit, &stored);
    let scope = Scope::Group(stored.value.id);
    office.drop_spend_limits(&mut edit, &scope).await?;
    office.store.apply(edit).await?;
    office.store.retire_limit(&scope).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Office {
    /// The groups that an account or key is to be in: those named, else the default one. Each
    /// must exist; the default one is made if it does not.
    pub(crate) async fn groups_or_default(&self, named: Vec<GroupId>) -> Answer<Vec<GroupId>> {
        if named.is_empty() {
            return Ok(vec![self.default_group().await?]);
        }
        for id in &named {
            if self.store.read::<Group>(id).await?.is_none() {
                return Err(Refused::bad(format!("group {id} does not exist")));
            }
        }
        Ok(named)
    }

    async fn default_group(&self) -> Answer<GroupId> {
        let id = GroupId::default_group();
        if self.store.read::<Group>(&id).await?.is_none() {
            let description = "Where keys and accounts without a group go".to_owned();
            let (name, limits) = ("default".to_owned(), Limits::default());
            let group = Group { id: id.clone(), name, description, enabled: true, limits };
            self.save_group(&self.store.stamp(group, None)).await?;
        }
        Ok(id)
    }

    async fn save_group(&self, stored: &Stored<Group>) -> Answer<()> {
        let mut edit = Edit::default();
        self.store.save_group(&mut edit, stored)?;
        Ok(self.store.apply(edit).await?)
    }
}
