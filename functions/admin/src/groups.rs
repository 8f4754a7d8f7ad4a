//! `/groups`: the groups of accounts that keys use.

use crate::accounts::{ModelPatternKey, patterns, shown};
use crate::answer::{Answer, Refused, Told, body, id};
use crate::query::{LimitsChange, Paging, listed, name, says};
use crate::visit::{Note, Visit};
use crate::{Office, Shared};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_cloud::store::{Edit, Stored};
use baton_domain::id::GroupId;
use baton_domain::key::{Group, Limits};
use baton_domain::scope::Scope;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DESCRIPTION_CHARACTERS_MAX: usize = 2000;
/// The name of the group that Baton creates itself.
const DEFAULT: &str = "default";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: String,
    #[serde(default)]
    description: String,
    enabled: Option<bool>,
    #[serde(default)]
    limits: LimitsChange,
    #[serde(default)]
    model_aliases: BTreeMap<ModelPatternKey, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupChange {
    name: Option<String>,
    description: Option<String>,
    enabled: Option<bool>,
    #[serde(default)]
    limits: LimitsChange,
    model_aliases: Option<BTreeMap<ModelPatternKey, String>>,
}

/// `?enabled=&q=`
#[derive(Deserialize)]
pub(crate) struct GroupFilter {
    enabled: Option<bool>,
    #[serde(default)]
    q: String,
}

impl GroupFilter {
    fn is_any(&self) -> bool {
        self.enabled.is_some() || !self.q.is_empty()
    }
}

fn view(stored: &Stored<Group>) -> Value {
    let group = &stored.value;
    json!({
        "id": group.id, "name": group.name, "description": group.description, "enabled": group.enabled,
        "limits": group.limits, "model_aliases": shown(&group.model_aliases),
        "created_at": stored.created_at, "updated_at": stored.updated_at, "version": stored.version,
    })
}

pub(crate) async fn list(
    State(office): Shared,
    Query(paging): Query<Paging>,
    Query(filter): Query<GroupFilter>,
) -> Answer<Json<Value>> {
    let text = filter.q.to_lowercase();
    let wants = |group: &Group| {
        filter.enabled.is_none_or(|enabled| group.enabled == enabled) && says(&group.name, &text)
    };
    Ok(listed(&office.page(&paging, filter.is_any(), &wants).await?, view))
}

pub(crate) async fn create(State(office): Shared, visit: Visit, bytes: Bytes) -> Answer {
    let new: NewGroup = body(&bytes)?;
    let group = Group {
        id: GroupId::from_bits(office.store.dice().bits()),
        name: name(&new.name)?,
        description: description(new.description)?,
        enabled: new.enabled.unwrap_or(true),
        limits: new.limits.over(&Limits::default())?,
        model_aliases: patterns(new.model_aliases)?,
    };
    office.add_group(&visit, group).await
}

pub(crate) async fn read(State(office): Shared, Path(path): Path<String>) -> Answer {
    Ok(Told::ok(view(&office.find::<Group>(&id(&path)?).await?)))
}

pub(crate) async fn change(
    State(office): Shared,
    visit: Visit,
    Path(path): Path<String>,
    bytes: Bytes,
) -> Answer {
    let change: GroupChange = body(&bytes)?;
    let before = office.find::<Group>(&id(&path)?).await?;
    visit.agrees(&before)?;
    let mut stored = office.store.revise(&before);
    let group = &mut stored.value;
    if let Some(text) = change.name {
        group.name = name(&text)?;
    }
    if let Some(text) = change.description {
        group.description = description(text)?;
    }
    group.enabled = change.enabled.unwrap_or(group.enabled);
    group.limits = change.limits.over(&group.limits)?;
    if let Some(aliases) = change.model_aliases {
        group.model_aliases = patterns(aliases)?;
    }
    let (mut edit, after) = (Edit::default(), view(&stored));
    office.take_name(&mut edit, Some(&before.value), &stored.value).await?;
    office.store.save_group(&mut edit, &stored)?;
    let note = Note::updated(&stored.value.id, view(&before), &after);
    office.enact(&visit, edit, note, Told::ok(after)).await
}

pub(crate) async fn remove(
    State(office): Shared,
    visit: Visit,
    Path(path): Path<String>,
) -> Answer {
    let stored = office.find::<Group>(&id(&path)?).await?;
    visit.agrees(&stored)?;
    let accounts = office.store.accounts_of(&stored.value.id).await?;
    if !accounts.is_empty() {
        let message = match accounts.len() {
            1 => "the group still has 1 account; first remove it from the group".to_owned(),
            count => {
                format!("the group still has {count} accounts; first remove them from the group")
            }
        };
        return Err(Refused::conflict(message));
    }
    if office.has_key(&|key| key.group_id == stored.value.id).await? {
        return Err(Refused::conflict(
            "the group still has keys; first delete the keys or assign them to another group",
        ));
    }
    let mut edit = Edit::default();
    office.store.release_name(&mut edit, &stored.value).await?;
    office.store.remove_group(&mut edit, &stored);
    let note = Note::deleted(&stored.value.id, view(&stored));
    let scope = Scope::Group(stored.value.id);
    office.drop_spend_limits(&visit, &mut edit, &scope).await?;
    let told = office.enact(&visit, edit, note, Told::gone()).await?;
    office.store.retire_limit(&scope).await?;
    Ok(told)
}

/// Checks the description of a group: at most 2,000 characters.
fn description(text: String) -> Answer<String> {
    if text.chars().count() > DESCRIPTION_CHARACTERS_MAX {
        let message =
            format!("`description`: expected at most {DESCRIPTION_CHARACTERS_MAX} characters");
        return Err(Refused::bad(message));
    }
    Ok(text)
}

impl Office {
    /// Returns the named groups for an account or key, or the default group if none is named. The
    /// default group is created if it is missing; named groups must exist.
    pub(crate) async fn groups_or_default(&self, named: Vec<GroupId>) -> Answer<Vec<GroupId>> {
        if named.is_empty() {
            return Ok(vec![self.default_group().await?]);
        }
        let mut named = named;
        let mut seen = BTreeSet::new();
        named.retain(|id| seen.insert(id.clone()));
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
            let description = "For keys and accounts that name no group".to_owned();
            let is_taken = self.store.holder_of_name::<Group>(DEFAULT).await?.is_some();
            let name = if is_taken { id.to_string() } else { DEFAULT.to_owned() };
            let limits = Limits::default();
            let group = Group {
                id: id.clone(),
                name,
                description,
                enabled: true,
                limits,
                model_aliases: Vec::new(),
            };
            self.add_group(&Visit::of_baton(), group).await?;
        }
        Ok(id)
    }

    async fn add_group(&self, visit: &Visit, group: Group) -> Answer {
        let stored = self.store.stamp(group, None);
        let (mut edit, view) = (Edit::default(), view(&stored));
        self.take_name(&mut edit, None, &stored.value).await?;
        self.store.save_group(&mut edit, &stored)?;
        let note = Note::created(&stored.value.id, &view);
        self.enact(visit, edit, note, Told::created(view)).await
    }
}
