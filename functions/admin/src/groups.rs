//! `/groups`: the groups of accounts that keys use.

use crate::accounts::{ModelPatternKey, model_map_json, parse_model_map};
use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResponse, ApiResult, body, id};
use crate::query::{LimitsChange, PageQuery, contains_ignoring_case, name, page_json};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_domain::id::GroupId;
use baton_domain::key::{Group, Limits};
use baton_domain::scope::LimitScope;
use baton_store::{ConfigEdit, StoredEntity};
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

fn group_json(stored: &StoredEntity<Group>) -> Value {
    let group = &stored.value;
    json!({
        "id": group.id, "name": group.name, "description": group.description, "enabled": group.enabled,
        "limits": group.limits, "model_aliases": model_map_json(&group.model_aliases),
        "created_at": stored.created_at, "updated_at": stored.updated_at, "version": stored.version,
    })
}

pub(crate) async fn list_groups(
    State(office): SharedAdminState,
    Query(paging): Query<PageQuery>,
    Query(filter): Query<GroupFilter>,
) -> ApiResult<Json<Value>> {
    let text = filter.q.to_lowercase();
    let wants = |group: &Group| {
        filter.enabled.is_none_or(|enabled| group.enabled == enabled)
            && contains_ignoring_case(&group.name, &text)
    };
    Ok(page_json(&office.list_page(&paging, filter.is_any(), &wants).await?, group_json))
}

pub(crate) async fn create_group(
    State(office): SharedAdminState,
    visit: AdminRequest,
    bytes: Bytes,
) -> ApiResult {
    let new: NewGroup = body(&bytes)?;
    let group = Group {
        id: GroupId::from_bits(office.store.random_source().bits()),
        name: name(&new.name)?,
        description: description(new.description)?,
        enabled: new.enabled.unwrap_or(true),
        limits: new.limits.apply_to(&Limits::default())?,
        model_aliases: parse_model_map(new.model_aliases)?,
    };
    office.add_group(&visit, group).await
}

pub(crate) async fn get_group(
    State(office): SharedAdminState,
    Path(path): Path<String>,
) -> ApiResult {
    Ok(ApiResponse::ok(group_json(&office.find::<Group>(&id(&path)?).await?)))
}

pub(crate) async fn update_group(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
    bytes: Bytes,
) -> ApiResult {
    let change: GroupChange = body(&bytes)?;
    let before = office.find::<Group>(&id(&path)?).await?;
    visit.check_version(&before)?;
    let mut stored = office.store.next_version(&before);
    let group = &mut stored.value;
    if let Some(text) = change.name {
        group.name = name(&text)?;
    }
    if let Some(text) = change.description {
        group.description = description(text)?;
    }
    group.enabled = change.enabled.unwrap_or(group.enabled);
    group.limits = change.limits.apply_to(&group.limits)?;
    if let Some(aliases) = change.model_aliases {
        group.model_aliases = parse_model_map(aliases)?;
    }
    let (mut edit, after) = (ConfigEdit::default(), group_json(&stored));
    office.claim_name(&mut edit, Some(&before.value), &stored.value).await?;
    office.store.save_group(&mut edit, &stored)?;
    let note = AuditNote::updated(&stored.value.id, group_json(&before), &after);
    office.commit_change(&visit, edit, note, ApiResponse::ok(after)).await
}

pub(crate) async fn delete_group(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
) -> ApiResult {
    let stored = office.find::<Group>(&id(&path)?).await?;
    visit.check_version(&stored)?;
    let accounts = office.store.account_ids(&stored.value.id).await?;
    if !accounts.is_empty() {
        let message = match accounts.len() {
            1 => "the group still has 1 account; first remove it from the group".to_owned(),
            count => {
                format!("the group still has {count} accounts; first remove them from the group")
            }
        };
        return Err(ApiError::conflict(message));
    }
    if office.has_key(&|key| key.group_id == stored.value.id).await? {
        return Err(ApiError::conflict(
            "the group still has keys; first delete the keys or assign them to another group",
        ));
    }
    let mut edit = ConfigEdit::default();
    office.store.release_name(&mut edit, &stored.value).await?;
    office.store.remove_group(&mut edit, &stored);
    let note = AuditNote::deleted(&stored.value.id, group_json(&stored));
    let scope = LimitScope::Group(stored.value.id);
    office.remove_spend_limits_of(&visit, &mut edit, &scope).await?;
    let told = office.commit_change(&visit, edit, note, ApiResponse::no_content()).await?;
    office.store.retire_limit(&scope).await?;
    Ok(told)
}

/// Checks the description of a group: at most 2,000 characters.
fn description(text: String) -> ApiResult<String> {
    if text.chars().count() > DESCRIPTION_CHARACTERS_MAX {
        let message =
            format!("`description`: expected at most {DESCRIPTION_CHARACTERS_MAX} characters");
        return Err(ApiError::bad(message));
    }
    Ok(text)
}

impl AdminState {
    /// Returns the named groups for an account or key, or the default group if none is named. The
    /// default group is created if it is missing; named groups must exist.
    pub(crate) async fn groups_or_default(&self, named: Vec<GroupId>) -> ApiResult<Vec<GroupId>> {
        if named.is_empty() {
            return Ok(vec![self.default_group().await?]);
        }
        let mut named = named;
        let mut seen = BTreeSet::new();
        named.retain(|id| seen.insert(id.clone()));
        for id in &named {
            if self.store.read::<Group>(id).await?.is_none() {
                return Err(ApiError::bad(format!("group {id} does not exist")));
            }
        }
        Ok(named)
    }

    async fn default_group(&self) -> ApiResult<GroupId> {
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
            self.add_group(&AdminRequest::from_baton(), group).await?;
        }
        Ok(id)
    }

    async fn add_group(&self, visit: &AdminRequest, group: Group) -> ApiResult {
        let stored = self.store.new_stored(group, None);
        let (mut edit, view) = (ConfigEdit::default(), group_json(&stored));
        self.claim_name(&mut edit, None, &stored.value).await?;
        self.store.save_group(&mut edit, &stored)?;
        let note = AuditNote::created(&stored.value.id, &view);
        self.commit_change(visit, edit, note, ApiResponse::created(view)).await
    }
}
