//! One implementation of a resource: list, create, read, change and remove, with filters, versions,
//! idempotency, unique names and the audit trail. The file of each kind says what is special about it.

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

/// A kind of resource.
pub(crate) trait Resource:
    UniquelyNamed<Id: FromStr<Err: Display> + JsonSchema> + 'static
{
    /// The resource in answers and in the audit trail.
    type Shown: Serialize + JsonSchema + Send;
    /// The fields that a request can set.
    type Change: Creatable + DeserializeOwned + Send;
    /// The filters of the list.
    type Filter: Default + PartialEq + DeserializeOwned + JsonSchema + Send + Sync;
    /// What is stored together with the resource, such as a new token.
    type Extra: Send + Sync;
    /// What is returned once, when the resource is created.
    type ShownOnce: Send;

    /// The resource in answers, from what this process knows.
    fn to_resource(state: &AdminState, stored: &StoredEntity<Self>) -> Self::Shown;

    /// The resources in answers, after reading what belongs to them.
    fn load_resources(
        state: &AdminState,
        stored: &[StoredEntity<Self>],
    ) -> impl Future<Output = ApiResult<Vec<Self::Shown>>> + Send {
        let resources = stored.iter().map(|one| Self::to_resource(state, one)).collect();
        async { Ok(resources) }
    }

    /// Restricts a filter to what the caller can see.
    fn restrict_filter(_request: &AdminRequest, filter: Self::Filter) -> ApiResult<Self::Filter> {
        Ok(filter)
    }

    /// Whether the filter includes this one.
    fn matches(&self, filter: &Self::Filter) -> bool;

    /// Whether the caller can see this one.
    fn is_visible(&self, _request: &AdminRequest) -> bool {
        true
    }

    /// Refuses changes that the caller cannot make to any resource of this kind.
    fn check_change(_request: &AdminRequest, _change: &Self::Change) -> ApiResult<()> {
        Ok(())
    }

    /// Refuses changes of this one by the caller.
    fn check_target(&self, _request: &AdminRequest) -> ApiResult<()> {
        Ok(())
    }

    /// A new resource with the fields of `change`, and defaults for the others.
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

    /// Adds the resource to `edit`, in place of `before` if that is given.
    ///
    /// # Errors
    /// Also if the step from `before` to `after` is not allowed.
    fn save(
        state: &AdminState,
        edit: &mut ConfigEdit,
        before: Option<&StoredEntity<Self>>,
        after: (&StoredEntity<Self>, &Self::Extra),
    ) -> impl Future<Output = ApiResult<()>> + Send;

    /// What the audit trail shows after a change.
    fn audit_fields(
        fields: Value,
        _before: &StoredEntity<Self>,
        _after: (&StoredEntity<Self>, &Self::Extra),
    ) -> Value {
        fields
    }

    /// What has to follow a stored change.
    fn after_change(
        _state: &AdminState,
        _stored: &StoredEntity<Self>,
        _extra: &Self::Extra,
    ) -> impl Future<Output = ApiResult<()>> + Send {
        async { Ok(()) }
    }

    /// Refuses to remove a resource that others still need.
    fn check_removal(&self, _state: &AdminState) -> impl Future<Output = ApiResult<()>> + Send {
        async { Ok(()) }
    }

    /// Adds the removal to `edit`.
    fn remove(state: &AdminState, edit: &mut ConfigEdit, stored: &StoredEntity<Self>);

    /// The scope whose limits end with the resource.
    fn limit_scope(&self) -> Option<LimitScope> {
        None
    }

    /// What has to follow a removal.
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
    T::save(&state, &mut edit, Some(&before), (&after, &extra)).await?;
    let audited = T::audit_fields(json!(T::to_resource(&state, &after)), &before, (&after, &extra));
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

    /// The resource in an answer, after reading what belongs to it.
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

    /// Creates a resource. The answer is made by `into_body` from the resource and from what is
    /// returned only once.
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

    /// The edit that stores a new resource.
    pub(crate) async fn edit_for_new<T: Resource>(
        &self,
        stored: &StoredEntity<T>,
        extra: &T::Extra,
    ) -> ApiResult<ConfigEdit> {
        let mut edit = ConfigEdit::default();
        self.claim_name(&mut edit, None, &stored.value).await?;
        T::save(self, &mut edit, None, (stored, extra)).await?;
        Ok(edit)
    }
}
