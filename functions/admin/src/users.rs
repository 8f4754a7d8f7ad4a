//! `/users`: people and pipelines that keys belong to. `actor` defines their rights.

use crate::AdminState;
use crate::api_response::{ApiError, ApiResult};
use crate::query::{change_limits, contains_ignoring_case, name};
use crate::resource::{NewResource, Resource, meta};
use baton_api::fields::FieldChange;
use baton_api::users::{UserChange, UserFilter, UserResource};
use baton_domain::id::UserId;
use baton_domain::key::{Key, Limits, Role, User};
use baton_domain::scope::LimitScope;
use baton_store::{ConfigEdit, StoredEntity};

/// The maximum length of an e-mail address (RFC 5321, 4.5.3.1.3, without the angle brackets).
const EMAIL_BYTES_MAX: usize = 254;

impl Resource for User {
    type Shown = UserResource;
    type Change = UserChange;
    type Filter = UserFilter;
    type Extra = ();
    type ShownOnce = ();

    fn to_resource(_: &AdminState, stored: &StoredEntity<Self>) -> UserResource {
        let user = stored.value.clone();
        UserResource {
            id: user.id,
            name: user.name,
            email: user.email,
            role: user.role,
            enabled: user.enabled,
            limits: user.limits,
            meta: meta(stored),
        }
    }

    fn matches(&self, filter: &UserFilter) -> bool {
        let text = filter.q.to_lowercase();
        filter.role.is_none_or(|role| self.role == role)
            && filter.enabled.is_none_or(|enabled| self.enabled == enabled)
            && (contains_ignoring_case(&self.name, &text)
                || contains_ignoring_case(self.email.as_deref().unwrap_or_default(), &text))
    }

    async fn build_new(state: &AdminState, change: UserChange) -> ApiResult<NewResource<Self>> {
        if change.name.is_none() {
            return Err(ApiError::bad("`name` is missing"));
        }
        let user = Self {
            id: UserId::from_bits(state.store.random_source().bits()),
            name: String::new(),
            email: None,
            role: Role::Member,
            enabled: true,
            limits: Limits::default(),
            session_round: 0,
            identity: None,
        };
        let mut stored = state.store.editor.new_stored(user, None);
        Self::apply(state, &mut stored, change).await?;
        Ok(NewResource { stored, extra: (), shown_once: () })
    }

    async fn apply(
        state: &AdminState,
        stored: &mut StoredEntity<Self>,
        change: UserChange,
    ) -> ApiResult<()> {
        let user = &mut stored.value;
        if let Some(text) = change.name {
            user.name = name(&text)?;
        }
        if let FieldChange::To(email) = &change.email {
            if let Some(email) = email.as_deref() {
                check_email(email)?;
                state.check_email_is_free(email, &user.id).await?;
            }
            // A new address can belong to a different person at the identity provider.
            user.identity = None;
        }
        user.email = change.email.apply_to(user.email.take());
        let before = (user.role, user.enabled);
        user.role = change.role.unwrap_or(user.role);
        user.enabled = change.enabled.unwrap_or(user.enabled);
        user.session_round += u64::from(before != (user.role, user.enabled));
        user.limits = change_limits(&user.limits, change.limits)?;
        Ok(())
    }

    async fn save(
        state: &AdminState,
        edit: &mut ConfigEdit,
        _: Option<&StoredEntity<Self>>,
        after: &StoredEntity<Self>,
        (): &(),
    ) -> ApiResult<()> {
        Ok(state.store.editor.save_user(edit, after)?)
    }

    async fn check_removal(&self, state: &AdminState) -> ApiResult<()> {
        if state.has_key(&|key| key.user_id.as_ref() == Some(&self.id)).await? {
            return Err(ApiError::conflict(
                "the user still has keys; first delete the keys or assign them to another user",
            ));
        }
        Ok(())
    }

    fn remove(state: &AdminState, edit: &mut ConfigEdit, stored: &StoredEntity<Self>) {
        state.store.editor.remove_user(edit, stored);
    }

    fn limit_scope(&self) -> Option<LimitScope> {
        Some(LimitScope::User(self.id.clone()))
    }
}

/// Refuses addresses with which nobody could sign in: see
/// [`verified_email`](baton_domain::identity::IdTokenClaims::verified_email).
fn check_email(text: &str) -> ApiResult<()> {
    if !text.is_ascii() {
        return Err(ApiError::bad(
            "`email`: expected letters, digits and signs of ASCII only, because a sign-in with \
             other letters, such as ü, is refused; use the form that the identity provider sends \
             (a domain such as xn--mller-kva.example), or null",
        ));
    }
    let is_invalid_char = |c: char| !c.is_ascii_graphic();
    let parts = text.rsplit_once('@');
    let is_whole = parts.is_some_and(|(left, right)| !left.is_empty() && !right.is_empty());
    if !is_whole || text.len() > EMAIL_BYTES_MAX || text.contains(is_invalid_char) {
        return Err(ApiError::bad("`email`: expected an address like ada@example.com, or null"));
    }
    Ok(())
}

impl AdminState {
    /// The users with this e-mail address, at most two. Letters beyond ASCII are compared exactly,
    /// because different letters can have the same lower case.
    pub(crate) async fn users_with_email(&self, email: &str) -> ApiResult<Vec<StoredEntity<User>>> {
        let is_it =
            |user: &User| user.email.as_ref().is_some_and(|one| one.eq_ignore_ascii_case(email));
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.store.config.list_where::<User>(2, cursor.as_deref(), &is_it).await?;
            found.extend(page.data);
            cursor = page.next_cursor;
            if found.len() > 1 || cursor.is_none() {
                return Ok(found);
            }
        }
    }

    /// Refuses an e-mail address that another user has, because a sign-in with it would be refused:
    /// it would not be clear whose it is.
    async fn check_email_is_free(&self, email: &str, own: &UserId) -> ApiResult<()> {
        let users = self.users_with_email(email).await?;
        match users.into_iter().map(|stored| stored.value).find(|user| user.id != *own) {
            Some(User { name, .. }) => Err(ApiError::conflict(format!(
                "`email`: user {name} already has this address; choose another one, or remove it \
                 there first"
            ))),
            None => Ok(()),
        }
    }

    /// Whether a key exists that `is_it` accepts.
    pub(crate) async fn has_key(&self, is_it: &(dyn Fn(&Key) -> bool + Sync)) -> ApiResult<bool> {
        let mut cursor = None;
        loop {
            let page = self.store.config.list_where::<Key>(1, cursor.as_deref(), is_it).await?;
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
