//! `/users`: people and pipelines that keys belong to. `actor` defines their rights.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResponse, ApiResult, body, id};
use crate::query::{FieldChange, LimitsChange, PageQuery, contains_ignoring_case, name, page_json};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_domain::id::UserId;
use baton_domain::key::{Key, Limits, Role, User};
use baton_domain::scope::LimitScope;
use baton_store::{ConfigEdit, StoredEntity};
use serde::Deserialize;
use serde_json::{Value, json};

/// The maximum length of an e-mail address (RFC 5321, 4.5.3.1.3, without the angle brackets).
const EMAIL_BYTES_MAX: usize = 254;

/// The fields of a user that can be set. An absent field gets its default in a POST and stays
/// unchanged in a PATCH.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct UserInput {
    name: Option<String>,
    email: FieldChange<String>,
    role: Option<Role>,
    enabled: Option<bool>,
    limits: LimitsChange,
}

/// `?role=&enabled=&q=`
#[derive(Deserialize)]
pub(crate) struct UserFilter {
    role: Option<Role>,
    enabled: Option<bool>,
    #[serde(default)]
    q: String,
}

impl UserFilter {
    fn is_any(&self) -> bool {
        self.role.is_some() || self.enabled.is_some() || !self.q.is_empty()
    }

    fn matches_user(&self, user: &User) -> bool {
        let text = self.q.to_lowercase();
        self.role.is_none_or(|role| user.role == role)
            && self.enabled.is_none_or(|enabled| user.enabled == enabled)
            && (contains_ignoring_case(&user.name, &text)
                || contains_ignoring_case(user.email.as_deref().unwrap_or_default(), &text))
    }
}

pub(crate) fn user_json(stored: &StoredEntity<User>) -> Value {
    let user = &stored.value;
    json!({
        "id": user.id, "name": user.name, "email": user.email, "role": user.role,
        "enabled": user.enabled, "limits": user.limits, "created_at": stored.created_at, "updated_at": stored.updated_at,
        "version": stored.version,
    })
}

pub(crate) async fn list_users(
    State(office): SharedAdminState,
    Query(paging): Query<PageQuery>,
    Query(filter): Query<UserFilter>,
) -> ApiResult<Json<Value>> {
    let page = office
        .list_page::<User>(&paging, filter.is_any(), &|user| filter.matches_user(user))
        .await?;
    Ok(page_json(&page, user_json))
}

pub(crate) async fn create_user(
    State(office): SharedAdminState,
    visit: AdminRequest,
    bytes: Bytes,
) -> ApiResult {
    let input: UserInput = body(&bytes)?;
    if input.name.is_none() {
        return Err(ApiError::bad("`name` is missing"));
    }
    let mut user = User {
        id: UserId::from_bits(office.store.random_source().bits()),
        name: String::new(),
        email: None,
        role: Role::Member,
        enabled: true,
        limits: Limits::default(),
        session_round: 0,
        identity: None,
    };
    apply_user_input(&mut user, input)?;
    let stored = office.store.new_stored(user, None);
    let (mut edit, view) = (ConfigEdit::default(), user_json(&stored));
    office.claim_name(&mut edit, None, &stored.value).await?;
    office.store.save_user(&mut edit, &stored)?;
    let note = AuditNote::created(&stored.value.id, &view);
    office.commit_change(&visit, edit, note, ApiResponse::created(view)).await
}

pub(crate) async fn get_user(
    State(office): SharedAdminState,
    Path(path): Path<String>,
) -> ApiResult {
    Ok(ApiResponse::ok(user_json(&office.find::<User>(&id(&path)?).await?)))
}

pub(crate) async fn update_user(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
    bytes: Bytes,
) -> ApiResult {
    let input: UserInput = body(&bytes)?;
    let before = office.find::<User>(&id(&path)?).await?;
    visit.check_version(&before)?;
    let mut stored = office.store.next_version(&before);
    apply_user_input(&mut stored.value, input)?;
    let (mut edit, after) = (ConfigEdit::default(), user_json(&stored));
    office.claim_name(&mut edit, Some(&before.value), &stored.value).await?;
    office.store.save_user(&mut edit, &stored)?;
    let note = AuditNote::updated(&stored.value.id, user_json(&before), &after);
    office.commit_change(&visit, edit, note, ApiResponse::ok(after)).await
}

pub(crate) async fn delete_user(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
) -> ApiResult {
    let stored = office.find::<User>(&id(&path)?).await?;
    visit.check_version(&stored)?;
    if office.has_key(&|key| key.user_id.as_ref() == Some(&stored.value.id)).await? {
        return Err(ApiError::conflict(
            "the user still has keys; first delete the keys or assign them to another user",
        ));
    }
    let mut edit = ConfigEdit::default();
    office.store.release_name(&mut edit, &stored.value).await?;
    office.store.remove_user(&mut edit, &stored);
    let note = AuditNote::deleted(&stored.value.id, user_json(&stored));
    let scope = LimitScope::User(stored.value.id);
    office.remove_spend_limits_of(&visit, &mut edit, &scope).await?;
    let told = office.commit_change(&visit, edit, note, ApiResponse::no_content()).await?;
    office.store.retire_limit(&scope).await?;
    Ok(told)
}

/// Checks `input` and applies it to `user`.
fn apply_user_input(user: &mut User, input: UserInput) -> ApiResult<()> {
    if let Some(text) = input.name {
        user.name = name(&text)?;
    }
    if let FieldChange::To(Some(text)) = &input.email {
        let odd = |c: char| c.is_whitespace() || c.is_control();
        let parts = text.rsplit_once('@');
        let whole = parts.is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
        if !whole || text.len() > EMAIL_BYTES_MAX || text.contains(odd) {
            return Err(ApiError::bad(
                "`email`: expected an address like ada@example.com, or null",
            ));
        }
    }
    if matches!(input.email, FieldChange::To(_)) {
        // A new address can belong to a different person at the identity provider.
        user.identity = None;
    }
    user.email = input.email.apply_to(user.email.take());
    let before = (user.role, user.enabled);
    user.role = input.role.unwrap_or(user.role);
    user.enabled = input.enabled.unwrap_or(user.enabled);
    user.session_round += u64::from(before != (user.role, user.enabled));
    user.limits = input.limits.apply_to(&user.limits)?;
    Ok(())
}

impl AdminState {
    /// Whether a key exists that `is_it` accepts.
    pub(crate) async fn has_key(&self, is_it: &(dyn Fn(&Key) -> bool + Sync)) -> ApiResult<bool> {
        let mut cursor = None;
        loop {
            let page = self.store.list_where::<Key>(1, cursor.as_deref(), is_it).await?;
            if !page.data.is_empty() {
                return Ok(true);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(false);
            }
        }
    }
}
