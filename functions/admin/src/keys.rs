//! `/keys`: relay keys. Only the answers to POST and rotate contain the secret of a key.

use crate::answer::{Answer, Refused, Told, body, id};
use crate::query::{Change, Expiry, LimitsChange, Paging, listed, name, says};
use crate::visit::{Note, Visit};
use crate::{Office, Shared};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_cloud::store::{Edit, Stored};
use baton_domain::id::{GroupId, KeyId, UserId};
use baton_domain::key::{Estimate, Key, Limits, User};
use baton_domain::model::ModelPattern;
use baton_domain::relay_key::{compose, new_secret};
use baton_domain::scope::Scope;
use baton_domain::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

/// The fields of a key that can be set. An absent field gets its default in a POST and stays
/// unchanged in a PATCH.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyInput {
    name: Option<String>,
    user_id: Change<UserId>,
    group_id: Option<GroupId>,
    models: Option<Vec<ModelPattern>>,
    expires_at: Change<Expiry>,
    enabled: Option<bool>,
    limits: LimitsChange,
    estimate: Option<Estimate>,
}

impl KeyInput {
    /// A key with a name and defaults for everything else.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::default() }
    }

    /// Whether a member can make this change to its own key: rename it or switch it off.
    fn is_for_members(&self) -> bool {
        let Self { name: _, user_id, group_id, models, expires_at, enabled, limits, estimate } =
            self;
        let keeps = matches!((user_id, expires_at), (Change::Keep, Change::Keep));
        keeps
            && group_id.is_none()
            && models.is_none()
            && limits.is_empty()
            && estimate.is_none()
            && *enabled != Some(true)
    }
}

fn view(stored: &Stored<Key>) -> Value {
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
fn overshoot(estimate: Estimate) -> &'static str {
    match estimate {
        Estimate::Most => "none",
        Estimate::Expected => {
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

    fn wants(&self, key: &Key) -> bool {
        self.group_id.as_ref().is_none_or(|group| key.group_id == *group)
            && self.user_id.as_ref().is_none_or(|user| key.user_id.as_ref() == Some(user))
            && self.enabled.is_none_or(|enabled| key.enabled == enabled)
            && says(&key.name, &self.q.to_lowercase())
    }
}

pub(crate) async fn list(
    State(office): Shared,
    visit: Visit,
    Query(paging): Query<Paging>,
    Query(mut filter): Query<KeyFilter>,
) -> Answer<Json<Value>> {
    filter.user_id = visit.narrow(filter.user_id)?;
    let page = office.page::<Key>(&paging, filter.is_any(), &|key| filter.wants(key)).await?;
    Ok(listed(&page, view))
}

pub(crate) async fn create(State(office): Shared, visit: Visit, bytes: Bytes) -> Answer {
    let (stored, secret, edit) = office.new_key(body(&bytes)?).await?;
    let view = view(&stored);
    let note = Note::created(&stored.value.id, &view);
    office.enact(&visit, edit, note, Told::created(with_secret(view, &secret))).await
}

pub(crate) async fn read(State(office): Shared, visit: Visit, Path(path): Path<String>) -> Answer {
    Ok(Told::ok(view(&office.own_key(&visit, &path).await?)))
}

pub(crate) async fn change(
    State(office): Shared,
    visit: Visit,
    Path(path): Path<String>,
    bytes: Bytes,
) -> Answer {
    let input: KeyInput = body(&bytes)?;
    if visit.actor.member().is_some() && !input.is_for_members() {
        return Err(Refused::forbidden(
            "members can rename their own keys and switch them off; ask an administrator for other changes",
        ));
    }
    let before = office.own_key(&visit, &path).await?;
    only_itself(&visit, &before.value.id)?;
    visit.agrees(&before)?;
    let mut stored = office.store.revise(&before);
    office.fill_key(&mut stored.value, input).await?;
    let (mut edit, after) = (Edit::default(), view(&stored));
    office.take_name(&mut edit, Some(&before.value), &stored.value).await?;
    if stored.value.user_id != before.value.user_id {
        office.store.leave_user(&mut edit, &before.value);
    }
    office.store.save_key(&mut edit, &stored)?;
    let note = Note::updated(&stored.value.id, view(&before), &after);
    office.enact(&visit, edit, note, Told::ok(after)).await
}

pub(crate) async fn rotate(
    State(office): Shared,
    visit: Visit,
    Path(path): Path<String>,
) -> Answer {
    let before = office.own_key(&visit, &path).await?;
    only_itself(&visit, &before.value.id)?;
    visit.agrees(&before)?;
    let mut stored = office.store.revise(&before);
    let (secret, hash) = office.new_secret(&stored.value.id);
    stored.secret = Some(hash);
    let (mut edit, after) = (Edit::default(), view(&stored));
    office.store.save_key(&mut edit, &stored)?;
    let note = Note::did("rotate", &stored.value.id, (view(&before), after.clone()));
    office.enact(&visit, edit, note, Told::ok(with_secret(after, &secret))).await
}

pub(crate) async fn remove(
    State(office): Shared,
    visit: Visit,
    Path(path): Path<String>,
) -> Answer {
    let stored = office.find::<Key>(&id(&path)?).await?;
    visit.agrees(&stored)?;
    let mut edit = Edit::default();
    office.store.release_name(&mut edit, &stored.value).await?;
    office.store.remove_key(&mut edit, &stored);
    let note = Note::deleted(&stored.value.id, view(&stored));
    let told = office.enact(&visit, edit, note, Told::gone()).await?;
    office.store.retire_limit(&Scope::Key(stored.value.id)).await?;
    Ok(told)
}

/// Refuses to change a key with another relay key, so that a leaked key with few rights cannot be
/// used to take over its owner's other keys.
fn only_itself(visit: &Visit, id: &KeyId) -> Answer<()> {
    match visit.actor.key() {
        Some(own) if own != id => Err(Refused::forbidden(
            "a relay key can change and rotate only itself; use the other key, sign in to the console \
             with your identity provider, or ask an administrator",
        )),
        _ => Ok(()),
    }
}

impl Office {
    /// Returns the key if the caller can see it.
    async fn own_key(&self, visit: &Visit, path: &str) -> Answer<Stored<Key>> {
        let stored = self.find::<Key>(&id(path)?).await?;
        match visit.actor.member() {
            Some(member) if stored.value.user_id.as_ref() != Some(member) => {
                Err(Refused::not_found(format!("key {}", stored.value.id)))
            }
            _ => Ok(stored),
        }
    }

    /// Creates a key and returns its full text, which is never returned again.
    pub(crate) async fn create_key(&self, visit: &Visit, input: KeyInput) -> Answer<Secret> {
        let (stored, secret, edit) = self.new_key(input).await?;
        let note = Note::created(&stored.value.id, &view(&stored));
        self.enact(visit, edit, note, Told::gone()).await?;
        Ok(secret)
    }

    /// Builds a new key. Returns its item, its full text and the edit that stores it.
    async fn new_key(&self, input: KeyInput) -> Answer<(Stored<Key>, Secret, Edit)> {
        if input.name.is_none() {
            return Err(Refused::bad("`name` is missing"));
        }
        let named = input.group_id.clone().into_iter().collect();
        let group_id = self.groups_or_default(named).await?.swap_remove(0);
        let mut key = Key {
            id: KeyId::from_bits(self.store.dice().bits()),
            name: String::new(),
            user_id: None,
            group_id,
            models: Vec::new(),
            expires_at: None,
            enabled: true,
            limits: Limits::default(),
            estimate: Estimate::default(),
        };
        self.fill_key(&mut key, KeyInput { group_id: None, ..input }).await?;
        let (secret, hash) = self.new_secret(&key.id);
        let stored = self.store.stamp(key, Some(hash));
        let mut edit = Edit::default();
        self.take_name(&mut edit, None, &stored.value).await?;
        self.store.save_key(&mut edit, &stored)?;
        Ok((stored, secret, edit))
    }

    async fn fill_key(&self, key: &mut Key, input: KeyInput) -> Answer<()> {
        if let Some(text) = input.name {
            key.name = name(&text)?;
        }
        if let Some(group) = input.group_id {
            key.group_id = self.groups_or_default(vec![group]).await?.swap_remove(0);
        }
        if let Change::To(Some(user)) = &input.user_id
            && key.user_id.as_ref() != Some(user)
            && self.store.read::<User>(user).await?.is_none()
        {
            return Err(Refused::bad(format!("user {user} does not exist")));
        }
        key.user_id = input.user_id.over(key.user_id.take());
        key.models = input.models.unwrap_or(std::mem::take(&mut key.models));
        key.expires_at = input.expires_at.over(key.expires_at.map(Expiry)).map(|Expiry(at)| at);
        key.enabled = input.enabled.unwrap_or(key.enabled);
        key.limits = input.limits.over(&key.limits)?;
        key.estimate = input.estimate.unwrap_or(key.estimate);
        Ok(())
    }

    /// Returns the full text of a new key and the hash of its secret part.
    fn new_secret(&self, id: &KeyId) -> (Secret, Vec<u8>) {
        let secret = new_secret([self.store.dice().bits(), self.store.dice().bits()]);
        let hash = self.pepper.hash(secret.expose());
        (compose(id, &secret), hash)
    }
}
