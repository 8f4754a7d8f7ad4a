//! `/groups`: the groups of accounts that keys use.

use crate::AdminState;
use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult, NoContent};
use crate::query::{change_limits, contains_ignoring_case, model_pairs, name};
use crate::resource::{NewResource, Resource, meta};
use baton_api::fields::ModelMap;
use baton_api::groups::{GroupChange, GroupFilter, GroupResource};
use baton_domain::id::GroupId;
use baton_domain::key::{Group, Limits};
use baton_domain::scope::LimitScope;
use baton_store::{ConfigEdit, StoredEntity};
use std::collections::BTreeSet;

const DESCRIPTION_CHARACTERS_MAX: usize = 2000;
/// The name of the group that Baton creates itself.
const DEFAULT: &str = "default";

/// How many accounts the error names that a group with accounts gets when it is to be deleted.
const ACCOUNTS_SHOWN: usize = 5;

impl Resource for Group {
    type Shown = GroupResource;
    type Change = GroupChange;
    type Filter = GroupFilter;
    type Extra = ();
    type ShownOnce = ();

    fn to_resource(_: &AdminState, stored: &StoredEntity<Self>) -> GroupResource {
        let group = stored.value.clone();
        GroupResource {
            id: group.id,
            name: group.name,
            description: group.description,
            enabled: group.enabled,
            limits: group.limits,
            model_aliases: ModelMap::from(group.model_aliases.as_slice()),
            meta: meta(stored),
        }
    }

    fn matches(&self, filter: &GroupFilter) -> bool {
        filter.enabled.is_none_or(|enabled| self.enabled == enabled)
            && contains_ignoring_case(&self.name, &filter.q.to_lowercase())
    }

    async fn build_new(state: &AdminState, change: GroupChange) -> ApiResult<NewResource<Self>> {
        if change.name.is_none() {
            return Err(ApiError::bad("`name` is missing"));
        }
        let id = GroupId::from_bits(state.store.random_source().bits());
        let mut stored = state.store.editor.new_stored(blank_group(id), None);
        Self::apply(state, &mut stored, change).await?;
        Ok(NewResource { stored, extra: (), shown_once: () })
    }

    async fn apply(
        _: &AdminState,
        stored: &mut StoredEntity<Self>,
        change: GroupChange,
    ) -> ApiResult<()> {
        let group = &mut stored.value;
        if let Some(text) = change.name {
            group.name = name(&text)?;
        }
        if let Some(text) = change.description {
            group.description = description(text)?;
        }
        group.enabled = change.enabled.unwrap_or(group.enabled);
        group.limits = change_limits(&group.limits, change.limits)?;
        if let Some(aliases) = change.model_aliases {
            group.model_aliases = model_pairs("model_aliases", aliases)?;
        }
        Ok(())
    }

    async fn save(
        state: &AdminState,
        edit: &mut ConfigEdit,
        _: Option<&StoredEntity<Self>>,
        after: &StoredEntity<Self>,
        (): &(),
    ) -> ApiResult<()> {
        Ok(state.store.editor.save_group(edit, after)?)
    }

    async fn check_removal(&self, state: &AdminState) -> ApiResult<()> {
        let accounts = state.store.config.account_ids(&self.id).await?;
        if !accounts.is_empty() {
            let shown = accounts.iter().take(ACCOUNTS_SHOWN).map(ToString::to_string);
            return Err(ApiError::conflict(format!(
                "the group still has accounts ({} in total, such as {}); first assign them to other \
                 groups, or delete them",
                accounts.len(),
                shown.collect::<Vec<_>>().join(", ")
            )));
        }
        if state.has_key(&|key| key.group_id == self.id).await? {
            return Err(ApiError::conflict(
                "the group still has keys; first delete the keys or assign them to another group",
            ));
        }
        Ok(())
    }

    fn remove(state: &AdminState, edit: &mut ConfigEdit, stored: &StoredEntity<Self>) {
        state.store.editor.remove_group(edit, stored);
    }

    fn limit_scope(&self) -> Option<LimitScope> {
        Some(LimitScope::Group(self.id.clone()))
    }
}

fn blank_group(id: GroupId) -> Group {
    Group {
        id,
        name: String::new(),
        description: String::new(),
        enabled: true,
        limits: Limits::default(),
        model_aliases: Vec::new(),
    }
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
        let mut seen_ids = BTreeSet::new();
        named.retain(|id| seen_ids.insert(id.clone()));
        for id in &named {
            if self.store.config.read::<Group>(id).await?.is_none() {
                return Err(ApiError::bad(format!("group {id} does not exist")));
            }
        }
        Ok(named)
    }

    async fn default_group(&self) -> ApiResult<GroupId> {
        let id = GroupId::default_group();
        if self.store.config.read::<Group>(&id).await?.is_none() {
            let is_taken = self.store.names.holder_of_name::<Group>(DEFAULT).await?.is_some();
            let group = Group {
                name: if is_taken { id.to_string() } else { DEFAULT.to_owned() },
                description: "For keys and accounts that name no group".to_owned(),
                ..blank_group(id.clone())
            };
            let stored = self.store.editor.new_stored(group, None);
            let edit = self.edit_for_new(&stored, &()).await?;
            let note = AuditNote::created(&id, &Group::to_resource(self, &stored));
            let request = AdminRequest::from_baton();
            self.commit_change(&request, edit, note, NoContent::new(&())?).await?;
        }
        Ok(id)
    }
}
