//! `/users`: people and pipelines that keys belong to. `actor` defines their rights.

use crate::answer::{Answer, Refused, Told, body, id};
use crate::query::{Change, LimitsChange, Paging, listed, name, says};
use crate::visit::{Note, Visit};
use crate::{Office, Shared};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_cloud::store::{Edit, Stored};
use baton_domain::id::UserId;
use baton_domain::key::{Key, Limits, Role, User};
use baton_domain::scope::Scope;
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
    email: Change<String>,
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

    fn wants(&self, user: &User) -> bool {
        let text = self.q.to_lowercase();
        self.role.is_none_or(|role| user.role == role)
            && self.enabled.is_none_or(|enabled| user.enabled == enabled)
            && (says(&user.name, &text) || says(user.email.as_deref().unwrap_or_default(), &text))
    }
}

pub(crate) fn view(stored: &Stored<User>) -> Value {
    let user = &stored.value;
    json!({
        "id": user.id, "name": user.name, "email": user.email, "role": user.role,
        "enabled": user.enabled, "limits": user.limits, "created_at": stored.created_at, "updated_at": stored.updated_at,
        "version": stored.version,
    })
}

pub(crate) async fn list(
    State(office): Shared,
    Query(paging): Query<Paging>,
    Query(filter): Query<UserFilter>,
) -> Answer<Json<Value>> {
    let page = office.page::<User>(&paging, filter.is_any(), &|user| filter.wants(user)).await?;
    Ok(listed(&page, view))
}

pub(crate) async fn create(State(office): Shared, visit: Visit, bytes: Bytes) -> Answer {
    let input: UserInput = body(&bytes)?;
    if input.name.is_none() {
        return Err(Refused::bad("`name` is missing"));
    }
    let mut user = User {
        id: UserId::from_bits(office.store.dice().bits()),
        name: String::new(),
        email: None,
        role: Role::Member,
        enabled: true,
        limits: Limits::default(),
        session_round: 0,
        identity: None,
    };
    fill(&mut user, input)?;
    let stored = office.store.stamp(user, None);
    let (mut edit, view) = (Edit::default(), view(&stored));
    office.take_name(&mut edit, None, &stored.value).await?;
    office.store.save_user(&mut edit, &stored)?;
    let note = Note::created(&stored.value.id, &view);
    office.enact(&visit, edit, note, Told::created(view)).await
}

pub(crate) async fn read(State(office): Shared, Path(path): Path<String>) -> Answer {
    Ok(Told::ok(view(&office.find::<User>(&id(&path)?).await?)))
}

pub(crate) async fn change(
    State(office): Shared,
    visit: Visit,
    Path(path): Path<String>,
    bytes: Bytes,
) -> Answer {
    let input: UserInput = body(&bytes)?;
    let before = office.find::<User>(&id(&path)?).await?;
    visit.agrees(&before)?;
    let mut stored = office.store.revise(&before);
    fill(&mut stored.value, input)?;
    let (mut edit, after) = (Edit::default(), view(&stored));
    office.take_name(&mut edit, Some(&before.value), &stored.value).await?;
    office.store.save_user(&mut edit, &stored)?;
    let note = Note::updated(&stored.value.id, view(&before), &after);
    office.enact(&visit, edit, note, Told::ok(after)).await
}

pub(crate) async fn remove(
    State(office): Shared,
    visit: Visit,
    Path(path): Path<String>,
) -> Answer {
    let stored = office.find::<User>(&id(&path)?).await?;
    visit.agrees(&stored)?;
    if office.has_key(&|key| key.user_id.as_ref() == Some(&stored.value.id)).await? {
        return Err(Refused::conflict(
            "the user still has keys; first delete the keys or assign them to another user",
        ));
    }
    let mut edit = Edit::default();
    office.store.release_name(&mut edit, &stored.value).await?;
    office.store.remove_user(&mut edit, &stored);
    let note = Note::deleted(&stored.value.id, view(&stored));
    let scope = Scope::User(stored.value.id);
    office.drop_spend_limits(&visit, &mut edit, &scope).await?;
    let told = office.enact(&visit, edit, note, Told::gone()).await?;
    office.store.retire_limit(&scope).await?;
    Ok(told)
}

/// Checks `input` and applies it to `user`.
fn fill(user: &mut User, input: UserInput) -> Answer<()> {
    if let Some(text) = input.name {
        user.name = name(&text)?;
    }
    if let Change::To(Some(text)) = &input.email {
        let odd = |c: char| c.is_whitespace() || c.is_control();
        let parts = text.rsplit_once('@');
        let whole = parts.is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
        if !whole || text.len() > EMAIL_BYTES_MAX || text.contains(odd) {
            return Err(Refused::bad("`email`: expected an address like ada@example.com, or null"));
        }
    }
    if matches!(input.email, Change::To(_)) {
        // A new address can belong to a different person at the identity provider.
        user.identity = None;
    }
    user.email = input.email.over(user.email.take());
    let before = (user.role, user.enabled);
    user.role = input.role.unwrap_or(user.role);
    user.enabled = input.enabled.unwrap_or(user.enabled);
    user.session_round += u64::from(before != (user.role, user.enabled));
    user.limits = input.limits.over(&user.limits)?;
    Ok(())
}

impl Office {
    /// Whether a key exists that `is_it` accepts.
    pub(crate) async fn has_key(&self, is_it: &(dyn Fn(&Key) -> bool + Sync)) -> Answer<bool> {
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
