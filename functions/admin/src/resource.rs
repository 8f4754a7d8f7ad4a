//! The operations of the API on resources (keys, groups, users, accounts): list, create, read,
//! change and delete. They are implemented once here, with filters, versions, idempotency, unique
//! names and the audit trail. The module of each kind implements [`Resource`] with the differences.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult, Created, NoContent, TypedResponse};
use crate::request_parts::{JsonBody, QueryParameters, ResourceId};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::extract::State;
use baton_api::list::{PageQuery, ResourceList, ResourceMeta};
use baton_api::new::{Creatable, New};
use baton_domain::scope::LimitScope;
use baton_store::{ConfigEdit, StoredEntity, UniquelyNamed};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Display;
use std::future::Future;
use std::str::FromStr;

/// A kind of resource, and the steps in which its operations differ from those of other kinds.
pub(crate) trait Resource:
    UniquelyNamed<Id: FromStr<Err: Display> + JsonSchema> + 'static
{
    /// The type of the resource in answers and in the audit trail.
    type Shown: Serialize + JsonSchema + Send;
    /// The type of the fields that a request can set.
    type Change: Creatable + DeserializeOwned + Send;
    /// The query parameters that filter the list.
    type Filter: Default + PartialEq + DeserializeOwned + JsonSchema + Send + Sync;
    /// Values that are stored in other items together with the resource, such as a new token.
    type Extra: Send + Sync;
    /// A value that only the answer to the creation contains, such as the secret of a key.
    type ShownOnce: Send;

    /// Converts the stored resource for an answer, without I/O. Values that other items hold come
    /// from the caches of this process.
    fn to_resource(state: &AdminState, stored: &StoredEntity<Self>) -> Self::Shown;

    /// Converts stored resources for an answer, and reads the values that other items hold.
    fn load_resources(
        state: &AdminState,
        stored: &[StoredEntity<Self>],
    ) -> impl Future<Output = ApiResult<Vec<Self::Shown>>> + Send {
        let resources = stored.iter().map(|one| Self::to_resource(state, one)).collect();
        async { Ok(resources) }
    }

    /// Returns the filter, restricted to the resources that the caller can see.
    fn restrict_filter(_request: &AdminRequest, filter: Self::Filter) -> ApiResult<Self::Filter> {
        Ok(filter)
    }

    /// Whether the filter includes this resource.
    fn matches(&self, filter: &Self::Filter) -> bool;

    /// Whether the caller can see this resource.
    fn is_visible(&self, _request: &AdminRequest) -> bool {
        true
    }

    /// Refuses fields that the caller cannot change at any resource of this kind.
    fn check_change(_request: &AdminRequest, _change: &Self::Change) -> ApiResult<()> {
        Ok(())
    }

    /// Refuses every change if the caller cannot change this resource.
    fn check_target(&self, _request: &AdminRequest) -> ApiResult<()> {
        Ok(())
    }

    /// Creates a resource with the fields of `change` and defaults for the others. Nothing is
    /// stored.
    fn build_new(
        state: &AdminState,
        change: Self::Change,
    ) -> impl Future<Output = ApiResult<NewResource<Self>>> + Send;

    /// Checks the fields and applies them to `stored`.
    fn apply(
        state: &AdminState,
        stored: &mut StoredEntity<Self>,
        change: Self::Change,
    ) -> impl Future<Output = ApiResult<Self::Extra>> + Send;

    /// Adds the writes for `after` and `extra` to `edit`. `before` is the stored version that they replace;
    /// `None` for a new resource.
    ///
    /// # Errors
    /// The change from `before` to `after` is not allowed, or a value cannot be encrypted.
    fn save(
        state: &AdminState,
        edit: &mut ConfigEdit,
        before: Option<&StoredEntity<Self>>,
        after: &StoredEntity<Self>,
        extra: &Self::Extra,
    ) -> impl Future<Output = ApiResult<()>> + Send;

    /// Returns the fields that the audit trail shows after a change. A kind can add some, such as
    /// whether the credential was replaced.
    fn audit_fields(
        fields: Value,
        _before: &StoredEntity<Self>,
        _after: &StoredEntity<Self>,
        _extra: &Self::Extra,
    ) -> Value {
        fields
    }

    /// Runs after a change was stored.
    fn after_change(
        _state: &AdminState,
        _stored: &StoredEntity<Self>,
        _extra: &Self::Extra,
    ) -> impl Future<Output = ApiResult<()>> + Send {
        async { Ok(()) }
    }

    /// Refuses the deletion if other resources still need this one.
    fn check_removal(&self, _state: &AdminState) -> impl Future<Output = ApiResult<()>> + Send {
        async { Ok(()) }
    }

    /// Adds the deletion to `edit`.
    fn remove(state: &AdminState, edit: &mut ConfigEdit, stored: &StoredEntity<Self>);

    /// The scope whose limits are deleted with the resource; `None` if it has no limits.
    fn limit_scope(&self) -> Option<LimitScope> {
        None
    }

    /// Runs after the deletion was stored.
    fn after_removal(&self, _state: &AdminState) -> impl Future<Output = ApiResult<()>> + Send {
        async { Ok(()) }
    }
}

/// A new resource that is not stored yet.
pub(crate) struct NewResource<T: Resource> {
    pub(crate) stored: StoredEntity<T>,
    pub(crate) extra: T::Extra,
    pub(crate) shown_once: T::ShownOnce,
}

/// The times and the version of a stored resource.
pub(crate) fn meta<T>(stored: &StoredEntity<T>) -> ResourceMeta {
    let StoredEntity { created_at, updated_at, version, .. } = *stored;
    ResourceMeta { created_at, updated_at, version }
}

pub(crate) async fn list<T: Resource>(
    State(state): SharedAdminState,
    request: AdminRequest,
    QueryParameters(paging): QueryParameters<PageQuery>,
    QueryParameters(filter): QueryParameters<T::Filter>,
) -> ApiResult<Json<ResourceList<T::Shown>>> {
    let filter = T::restrict_filter(&request, filter)?;
    let wants = |one: &T| one.matches(&filter);
    let is_filtered = filter != T::Filter::default();
    let page = state.list_page::<T>(&paging, is_filtered, &wants).await?;
    let data = T::load_resources(&state, &page.data).await?;
    Ok(Json(ResourceList { data, next_cursor: page.next_cursor }))
}

pub(crate) async fn create<T: Resource<ShownOnce = ()>>(
    State(state): SharedAdminState,
    request: AdminRequest,
    JsonBody(New(change)): JsonBody<New<T::Change>>,
) -> ApiResult<Created<T::Shown>> {
    state.create_resource::<T, _>(&request, change, |resource, ()| resource).await
}

pub(crate) async fn read<T: Resource>(
    State(state): SharedAdminState,
    request: AdminRequest,
    ResourceId(id): ResourceId<T::Id>,
) -> ApiResult<TypedResponse<T::Shown>> {
    let stored = state.find_visible::<T>(&request, &id).await?;
    TypedResponse::new(&state.load_resource(stored).await?)
}

pub(crate) async fn update<T: Resource>(
    State(state): SharedAdminState,
    request: AdminRequest,
    ResourceId(id): ResourceId<T::Id>,
    JsonBody(change): JsonBody<T::Change>,
) -> ApiResult<TypedResponse<T::Shown>> {
    T::check_change(&request, &change)?;
    let before = state.find_visible::<T>(&request, &id).await?;
    before.value.check_target(&request)?;
    request.check_version(&before)?;
    let mut after = state.store.editor.next_version(&before);
    let extra = T::apply(&state, &mut after, change).await?;
    let mut edit = ConfigEdit::default();
    state.claim_name(&mut edit, Some(&before.value), &after.value).await?;
    T::save(&state, &mut edit, Some(&before), &after, &extra).await?;
    let audited = T::audit_fields(json!(T::to_resource(&state, &after)), &before, &after, &extra);
    let note = AuditNote::updated(after.value.id(), &T::to_resource(&state, &before), &audited);
    state.commit_change(&request, edit, note, NoContent::new(&())?).await?;
    T::after_change(&state, &after, &extra).await?;
    TypedResponse::new(&state.load_resource(after).await?)
}

pub(crate) async fn delete<T: Resource>(
    State(state): SharedAdminState,
    request: AdminRequest,
    ResourceId(id): ResourceId<T::Id>,
) -> ApiResult<NoContent> {
    let stored = state.find::<T>(&id).await?;
    request.check_version(&stored)?;
    stored.value.check_removal(&state).await?;
    let mut edit = ConfigEdit::default();
    state.store.names.release_name(&mut edit, &stored.value).await?;
    T::remove(&state, &mut edit, &stored);
    let scope = stored.value.limit_scope();
    if let Some(scope) = &scope {
        state.remove_spend_limits_of(&request, &mut edit, scope).await?;
    }
    let note = AuditNote::deleted(stored.value.id(), &T::to_resource(&state, &stored));
    let answer = state.commit_change(&request, edit, note, NoContent::new(&())?).await?;
    if let Some(scope) = &scope {
        state.store.cleanup.retire_limit(scope).await?;
    }
    stored.value.after_removal(&state).await?;
    Ok(answer)
}

impl AdminState {
    /// Reads the resource if it exists and the caller can see it; else the error is 404.
    pub(crate) async fn find_visible<T: Resource>(
        &self,
        request: &AdminRequest,
        id: &T::Id,
    ) -> ApiResult<StoredEntity<T>> {
        let stored = self.find::<T>(id).await?;
        if stored.value.is_visible(request) {
            Ok(stored)
        } else {
            Err(ApiError::not_found(format!("{} {id}", T::KIND)))
        }
    }

    /// Converts one stored resource for an answer, and reads the values that other items hold.
    pub(crate) async fn load_resource<T: Resource>(
        &self,
        stored: StoredEntity<T>,
    ) -> ApiResult<T::Shown> {
        let resources = T::load_resources(self, &[stored]).await?;
        resources
            .into_iter()
            .next()
            .ok_or_else(|| ApiError::internal_error("the resource was not loaded"))
    }

    /// Creates a resource and stores it. `into_body` makes the answer from the resource and the
    /// value that is shown only once.
    pub(crate) async fn create_resource<T: Resource, C: Serialize>(
        &self,
        request: &AdminRequest,
        change: T::Change,
        into_body: impl FnOnce(T::Shown, T::ShownOnce) -> C,
    ) -> ApiResult<Created<C>> {
        let NewResource { stored, extra, shown_once } = T::build_new(self, change).await?;
        let edit = self.edit_for_new(&stored, &extra).await?;
        let resource = T::to_resource(self, &stored);
        let note = AuditNote::created(stored.value.id(), &resource);
        let response = Created::new(&into_body(resource, shown_once))?;
        self.commit_change(request, edit, note, response).await
    }

    /// Returns the edit that stores a new resource and reserves its name.
    pub(crate) async fn edit_for_new<T: Resource>(
        &self,
        stored: &StoredEntity<T>,
        extra: &T::Extra,
    ) -> ApiResult<ConfigEdit> {
        let mut edit = ConfigEdit::default();
        self.claim_name(&mut edit, None, &stored.value).await?;
        T::save(self, &mut edit, None, stored, extra).await?;
        Ok(edit)
    }
}
