//! `/keys`: relay keys. Only the answers to POST and rotate contain the secret of a key.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResult, Created, NoContent, TypedResponse};
use crate::query::{change_limits, contains_ignoring_case, name};
use crate::request_parts::{JsonBody, ResourceId};
use crate::resource::{NewResource, Resource, meta};
use crate::{AdminState, SharedAdminState};
use axum::extract::State;
use baton_api::audit::AuditAction;
use baton_api::fields::{ExpiryTime, FieldChange};
use baton_api::keys::{KeyChange, KeyFilter, KeyResource, KeyWithSecret};
use baton_api::new::New;
use baton_domain::id::KeyId;
use baton_domain::key::{Key, Limits, ReservationEstimate, User};
use baton_domain::relay_key::{compose, new_secret};
use baton_domain::scope::LimitScope;
use baton_domain::secret::Secret;
use baton_store::{ConfigEdit, StoredEntity};

impl Resource for Key {
    type Shown = KeyResource;
    type Change = KeyChange;
    type Filter = KeyFilter;
    type Extra = ();
    /// The full text of a new key.
    type ShownOnce = Secret;

    fn to_resource(_: &AdminState, stored: &StoredEntity<Self>) -> KeyResource {
        let key = stored.value.clone();
        KeyResource {
            id: key.id,
            name: key.name,
            user_id: key.user_id,
            group_id: key.group_id,
            models: key.models,
            expires_at: key.expires_at,
            enabled: key.enabled,
            limits: key.limits,
            estimate: key.estimate,
            overshoot: overshoot(key.estimate).to_owned(),
            meta: meta(stored),
        }
    }

    fn restrict_filter(request: &AdminRequest, mut filter: KeyFilter) -> ApiResult<KeyFilter> {
        filter.user_id = request.restrict_to_member(filter.user_id)?;
        Ok(filter)
    }

    fn matches(&self, filter: &KeyFilter) -> bool {
        filter.group_id.as_ref().is_none_or(|group| self.group_id == *group)
            && filter.user_id.as_ref().is_none_or(|user| self.user_id.as_ref() == Some(user))
            && filter.enabled.is_none_or(|enabled| self.enabled == enabled)
            && contains_ignoring_case(&self.name, &filter.q.to_lowercase())
    }

    fn is_visible(&self, request: &AdminRequest) -> bool {
        request.actor.member().is_none_or(|member| self.user_id.as_ref() == Some(member))
    }

    fn check_change(request: &AdminRequest, change: &KeyChange) -> ApiResult<()> {
        if request.actor.member().is_some() && !change.is_for_members() {
            return Err(ApiError::forbidden(
                "members can rename their own keys and disable them; ask an administrator for other changes",
            ));
        }
        Ok(())
    }

    /// Refuses to change a key with another relay key, so that a leaked key with few rights cannot
    /// be used to take over its owner's other keys.
    fn check_target(&self, request: &AdminRequest) -> ApiResult<()> {
        match request.actor.key() {
            Some(own) if *own != self.id => Err(ApiError::forbidden(
                "a relay key can change and rotate only itself; use the other key, sign in to the console \
                 with your identity provider, or ask an administrator",
            )),
            _ => Ok(()),
        }
    }

    async fn build_new(state: &AdminState, change: KeyChange) -> ApiResult<NewResource<Self>> {
        if change.name.is_none() {
            return Err(ApiError::bad("`name` is missing"));
        }
        let named = change.group_id.clone().into_iter().collect();
        let key = Self {
            id: KeyId::from_bits(state.store.random_source().bits()),
            name: String::new(),
            user_id: None,
            group_id: state.groups_or_default(named).await?.swap_remove(0),
            models: Vec::new(),
            expires_at: None,
            enabled: true,
            limits: Limits::default(),
            estimate: ReservationEstimate::default(),
        };
        let mut stored = state.store.editor.new_stored(key, None);
        Self::apply(state, &mut stored, KeyChange { group_id: None, ..change }).await?;
        let (secret, hash) = state.new_secret(&stored.value.id);
        stored.secret = Some(hash);
        Ok(NewResource { stored, extra: (), shown_once: secret })
    }

    async fn apply(
        state: &AdminState,
        stored: &mut StoredEntity<Self>,
        change: KeyChange,
    ) -> ApiResult<()> {
        let key = &mut stored.value;
        if let Some(text) = change.name {
            key.name = name(&text)?;
        }
        if let Some(group) = change.group_id {
            key.group_id = state.groups_or_default(vec![group]).await?.swap_remove(0);
        }
        if let FieldChange::To(Some(user)) = &change.user_id
            && key.user_id.as_ref() != Some(user)
            && state.store.config.read::<User>(user).await?.is_none()
        {
            return Err(ApiError::bad(format!("user {user} does not exist")));
        }
        key.user_id = change.user_id.apply_to(key.user_id.take());
        key.models = change.models.unwrap_or(std::mem::take(&mut key.models));
        if let FieldChange::To(Some(ExpiryTime(end))) = &change.expires_at
            && key.expires_at != Some(*end)
            && *end <= state.store.clock().now()
        {
            return Err(ApiError::bad(
                "`expires_at`: expected a time in the future, or null; to refuse the key from now on, \
                 disable it",
            ));
        }
        key.expires_at =
            change.expires_at.apply_to(key.expires_at.map(ExpiryTime)).map(|ExpiryTime(at)| at);
        key.enabled = change.enabled.unwrap_or(key.enabled);
        key.limits = change_limits(&key.limits, change.limits)?;
        key.estimate = change.estimate.unwrap_or(key.estimate);
        Ok(())
    }

    async fn save(
        state: &AdminState,
        edit: &mut ConfigEdit,
        before: Option<&StoredEntity<Self>>,
        after: &StoredEntity<Self>,
        (): &(),
    ) -> ApiResult<()> {
        if let Some(before) = before
            && before.value.user_id != after.value.user_id
        {
            state.store.editor.remove_member_key(edit, &before.value);
        }
        Ok(state.store.editor.save_key(edit, after)?)
    }

    fn remove(state: &AdminState, edit: &mut ConfigEdit, stored: &StoredEntity<Self>) {
        state.store.editor.remove_key(edit, stored);
    }

    fn limit_scope(&self) -> Option<LimitScope> {
        Some(LimitScope::Key(self.id.clone()))
    }
}

/// Describes by how much the key's requests can exceed a money limit.
fn overshoot(estimate: ReservationEstimate) -> &'static str {
    match estimate {
        ReservationEstimate::Most => "none",
        ReservationEstimate::Expected => {
            "at most the difference between the highest possible and the expected cost, added up \
             over the open requests; `GET /v1/usage` with the key returns it as `overshoot_usd_max`"
        }
    }
}

/// `POST /keys`: creates a key and returns its secret, which is shown only here.
pub(crate) async fn create_key(
    State(state): SharedAdminState,
    request: AdminRequest,
    JsonBody(New(change)): JsonBody<New<KeyChange>>,
) -> ApiResult<Created<KeyWithSecret>> {
    let into_body = |key, secret| KeyWithSecret { key, secret };
    state.create_resource::<Key, _>(&request, change, into_body).await
}

/// `POST /keys/{id}/rotate`: replaces the secret.
pub(crate) async fn rotate_key(
    State(state): SharedAdminState,
    request: AdminRequest,
    ResourceId(id): ResourceId<KeyId>,
) -> ApiResult<TypedResponse<KeyWithSecret>> {
    let before = state.find_visible::<Key>(&request, &id).await?;
    before.value.check_target(&request)?;
    request.check_version(&before)?;
    let mut after = state.store.editor.next_version(&before);
    let (secret, hash) = state.new_secret(&id);
    after.secret = Some(hash);
    let mut edit = ConfigEdit::default();
    state.store.editor.save_key(&mut edit, &after)?;
    let key = Key::to_resource(&state, &after);
    let note =
        AuditNote::other_action(AuditAction::Rotate, &id, &Key::to_resource(&state, &before), &key);
    let answer = TypedResponse::new(&KeyWithSecret { key, secret })?;
    state.commit_change(&request, edit, note, answer).await
}

impl AdminState {
    /// Creates a key for Baton itself and returns its full text.
    pub(crate) async fn create_first_key(&self, name: &str) -> ApiResult<Secret> {
        let New(change) = New::<KeyChange>::with_name(name);
        let NewResource { stored, extra: (), shown_once: secret } =
            Key::build_new(self, change).await?;
        let edit = self.edit_for_new(&stored, &()).await?;
        let note = AuditNote::created(&stored.value.id, &Key::to_resource(self, &stored));
        let request = AdminRequest::from_baton();
        self.commit_change(&request, edit, note, NoContent::new(&())?).await?;
        Ok(secret)
    }

    /// Returns the full text of a new key and the hash of its secret part.
    fn new_secret(&self, id: &KeyId) -> (Secret, Vec<u8>) {
        let random = self.store.random_source();
        let secret = new_secret([random.bits(), random.bits()]);
        let hash = self.pepper.hash(secret.expose());
        (compose(id, &secret), hash)
    }
}
