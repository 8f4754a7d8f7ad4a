//! `/keys`: relay keys. Only the answers to POST and rotate contain the secret of a key.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResponse, ApiResult, body, id};
use crate::query::{
    ExpiryInput, FieldChange, LimitsChange, PageQuery, contains_ignoring_case, name, page_json,
};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_domain::id::{GroupId, KeyId, UserId};
use baton_domain::key::{Key, Limits, ReservationEstimate, User};
use baton_domain::model::ModelPattern;
use baton_domain::relay_key::{compose, new_secret};
use baton_domain::scope::LimitScope;
use baton_domain::secret::Secret;
use baton_store::{ConfigEdit, StoredEntity};
use serde::Deserialize;
use serde_json::{Value, json};

/// The fields of a key that can be set. An absent field gets its default in a POST and stays
/// unchanged in a PATCH.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyInput {
    name: Option<String>,
    user_id: FieldChange<UserId>,
    group_id: Option<GroupId>,
    models: Option<Vec<ModelPattern>>,
    expires_at: FieldChange<ExpiryInput>,
    enabled: Option<bool>,
    limits: LimitsChange,
    estimate: Option<ReservationEstimate>,
}

impl KeyInput {
    /// A key with a name and defaults for everything else.
    pub(crate) fn with_name(name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::default() }
    }

    /// Whether a member can make this change to its own key: rename it or switch it off.
    fn is_for_members(&self) -> bool {
        let Self { name: _, user_id, group_id, models, expires_at, enabled, limits, estimate } =
            self;
        let keeps = matches!((user_id, expires_at), (FieldChange::Keep, FieldChange::Keep));
        keeps
            && group_id.is_none()
            && models.is_none()
            && limits.is_empty()
            && estimate.is_none()
            && *enabled != Some(true)
    }
}

fn key_json(stored: &StoredEntity<Key>) -> Value {
    let key = &stored.value;
    json!({
        "id": key.id, "name": key.name, "user_id": key.user_id, "group_id": key.group_id,
        "models": key.models, "expires_at": key.expires_at, "enabled": key.enabled,
        "limits": key.limits, "created_at": stored.created_at, "updated_at": stored.updated_at,
        "version": stored.version, "estimate": key.estimate, "overshoot": overshoot(key.estimate),
    })
}

fn with_secret(mut view: Value, secret: &Secret) -> Value {
    view["secret"] = json!(secret.expose());
    view
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

/// `?group_id=&user_id=&enabled=&q=`
#[derive(Deserialize)]
pub(crate) struct KeyFilter {
    group_id: Option<GroupId>,
    user_id: Option<UserId>,
    enabled: Option<bool>,
    #[serde(default)]
    q: String,
}

impl KeyFilter {
    fn is_any(&self) -> bool {
        self.group_id.is_some()
            || self.user_id.is_some()
            || self.enabled.is_some()
            || !self.q.is_empty()
    }

    fn matches_key(&self, key: &Key) -> bool {
        self.group_id.as_ref().is_none_or(|group| key.group_id == *group)
            && self.user_id.as_ref().is_none_or(|user| key.user_id.as_ref() == Some(user))
            && self.enabled.is_none_or(|enabled| key.enabled == enabled)
            && contains_ignoring_case(&key.name, &self.q.to_lowercase())
    }
}

pub(crate) async fn list_keys(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Query(paging): Query<PageQuery>,
    Query(mut filter): Query<KeyFilter>,
) -> ApiResult<Json<Value>> {
    filter.user_id = visit.restrict_to_member(filter.user_id)?;
    let page =
        office.list_page::<Key>(&paging, filter.is_any(), &|key| filter.matches_key(key)).await?;
    Ok(page_json(&page, key_json))
}

pub(crate) async fn create_key(
    State(office): SharedAdminState,
    visit: AdminRequest,
    bytes: Bytes,
) -> ApiResult {
    let (stored, secret, edit) = office.new_key(body(&bytes)?).await?;
    let view = key_json(&stored);
    let note = AuditNote::created(&stored.value.id, &view);
    office.commit_change(&visit, edit, note, ApiResponse::created(with_secret(view, &secret))).await
}

pub(crate) async fn get_key(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
) -> ApiResult {
    Ok(ApiResponse::ok(key_json(&office.own_key(&visit, &path).await?)))
}

pub(crate) async fn update_key(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
    bytes: Bytes,
) -> ApiResult {
    let input: KeyInput = body(&bytes)?;
    if visit.actor.member().is_some() && !input.is_for_members() {
        return Err(ApiError::forbidden(
            "members can rename their own keys and switch them off; ask an administrator for other changes",
        ));
    }
    let before = office.own_key(&visit, &path).await?;
    check_own_key(&visit, &before.value.id)?;
    visit.check_version(&before)?;
    let mut stored = office.store.next_version(&before);
    office.apply_key_input(&mut stored.value, input).await?;
    let (mut edit, after) = (ConfigEdit::default(), key_json(&stored));
    office.claim_name(&mut edit, Some(&before.value), &stored.value).await?;
    if stored.value.user_id != before.value.user_id {
        office.store.remove_member_key(&mut edit, &before.value);
    }
    office.store.save_key(&mut edit, &stored)?;
    let note = AuditNote::updated(&stored.value.id, key_json(&before), &after);
    office.commit_change(&visit, edit, note, ApiResponse::ok(after)).await
}

pub(crate) async fn rotate(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
) -> ApiResult {
    let before = office.own_key(&visit, &path).await?;
    check_own_key(&visit, &before.value.id)?;
    visit.check_version(&before)?;
    let mut stored = office.store.next_version(&before);
    let (secret, hash) = office.new_secret(&stored.value.id);
    stored.secret = Some(hash);
    let (mut edit, after) = (ConfigEdit::default(), key_json(&stored));
    office.store.save_key(&mut edit, &stored)?;
    let note =
        AuditNote::other_action("rotate", &stored.value.id, (key_json(&before), after.clone()));
    office.commit_change(&visit, edit, note, ApiResponse::ok(with_secret(after, &secret))).await
}

pub(crate) async fn delete_key(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
) -> ApiResult {
    let stored = office.find::<Key>(&id(&path)?).await?;
    visit.check_version(&stored)?;
    let mut edit = ConfigEdit::default();
    office.store.release_name(&mut edit, &stored.value).await?;
    office.store.remove_key(&mut edit, &stored);
    let note = AuditNote::deleted(&stored.value.id, key_json(&stored));
    let told = office.commit_change(&visit, edit, note, ApiResponse::no_content()).await?;
    office.store.retire_limit(&LimitScope::Key(stored.value.id)).await?;
    Ok(told)
}

/// Refuses to change a key with another relay key, so that a leaked key with few rights cannot be
/// used to take over its owner's other keys.
fn check_own_key(visit: &AdminRequest, id: &KeyId) -> ApiResult<()> {
    match visit.actor.key() {
        Some(own) if own != id => Err(ApiError::forbidden(
            "a relay key can change and rotate only itself; use the other key, sign in to the console \
             with your identity provider, or ask an administrator",
        )),
        _ => Ok(()),
    }
}

impl AdminState {
    /// Returns the key if the caller can see it.
    async fn own_key(&self, visit: &AdminRequest, path: &str) -> ApiResult<StoredEntity<Key>> {
        let stored = self.find::<Key>(&id(path)?).await?;
        match visit.actor.member() {
            Some(member) if stored.value.user_id.as_ref() != Some(member) => {
                Err(ApiError::not_found(format!("key {}", stored.value.id)))
            }
            _ => Ok(stored),
        }
    }

    /// Creates a key and returns its full text, which is never returned again.
    pub(crate) async fn create_key(
        &self,
        visit: &AdminRequest,
        input: KeyInput,
    ) -> ApiResult<Secret> {
        let (stored, secret, edit) = self.new_key(input).await?;
        let note = AuditNote::created(&stored.value.id, &key_json(&stored));
        self.commit_change(visit, edit, note, ApiResponse::no_content()).await?;
        Ok(secret)
    }

    /// Builds a new key. Returns its item, its full text and the edit that stores it.
    async fn new_key(&self, input: KeyInput) -> ApiResult<(StoredEntity<Key>, Secret, ConfigEdit)> {
        if input.name.is_none() {
            return Err(ApiError::bad("`name` is missing"));
        }
        let named = input.group_id.clone().into_iter().collect();
        let group_id = self.groups_or_default(named).await?.swap_remove(0);
        let mut key = Key {
            id: KeyId::from_bits(self.store.random_source().bits()),
            name: String::new(),
            user_id: None,
            group_id,
            models: Vec::new(),
            expires_at: None,
            enabled: true,
            limits: Limits::default(),
            estimate: ReservationEstimate::default(),
        };
        self.apply_key_input(&mut key, KeyInput { group_id: None, ..input }).await?;
        let (secret, hash) = self.new_secret(&key.id);
        let stored = self.store.new_stored(key, Some(hash));
        let mut edit = ConfigEdit::default();
        self.claim_name(&mut edit, None, &stored.value).await?;
        self.store.save_key(&mut edit, &stored)?;
        Ok((stored, secret, edit))
    }

    async fn apply_key_input(&self, key: &mut Key, input: KeyInput) -> ApiResult<()> {
        if let Some(text) = input.name {
            key.name = name(&text)?;
        }
        if let Some(group) = input.group_id {
            key.group_id = self.groups_or_default(vec![group]).await?.swap_remove(0);
        }
        if let FieldChange::To(Some(user)) = &input.user_id
            && key.user_id.as_ref() != Some(user)
            && self.store.read::<User>(user).await?.is_none()
        {
            return Err(ApiError::bad(format!("user {user} does not exist")));
        }
        key.user_id = input.user_id.apply_to(key.user_id.take());
        key.models = input.models.unwrap_or(std::mem::take(&mut key.models));
        key.expires_at =
            input.expires_at.apply_to(key.expires_at.map(ExpiryInput)).map(|ExpiryInput(at)| at);
        key.enabled = input.enabled.unwrap_or(key.enabled);
        key.limits = input.limits.apply_to(&key.limits)?;
        key.estimate = input.estimate.unwrap_or(key.estimate);
        Ok(())
    }

    /// Returns the full text of a new key and the hash of its secret part.
    fn new_secret(&self, id: &KeyId) -> (Secret, Vec<u8>) {
        let secret =
            new_secret([self.store.random_source().bits(), self.store.random_source().bits()]);
        let hash = self.pepper.hash(secret.expose());
        (compose(id, &secret), hash)
    }
}
