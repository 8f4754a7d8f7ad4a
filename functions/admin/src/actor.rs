//! The callers of the admin API and the routes that they can use. `authorize` checks their
//! credentials.

use baton_domain::id::{KeyId, UserId};
use baton_domain::key::Role;

/// The caller of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Baton itself, for changes that no person asked for.
    Baton,
    /// A caller with the admin token.
    Token,
    /// A user.
    User {
        /// The user's id.
        id: UserId,
        /// The role for this request. A relay key always gives the role member, even if its owner
        /// is an administrator.
        role: Role,
        /// The relay key of the request, if it was used. Keys lie in shells and pipelines, so they
        /// get fewer rights.
        key: Option<KeyId>,
    },
}

/// Who can use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteAccess {
    /// Everybody, without a credential.
    Anybody,
    /// Administrators, and members for their own keys and usage, which the handler checks.
    Member,
    /// Administrators.
    Admin,
}

impl RouteAccess {
    /// The name in the OpenAPI document.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Anybody => "anybody",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }
}

impl Actor {
    /// The actor for a relay key of a user.
    pub(crate) fn from_key(id: UserId, key: KeyId) -> Self {
        Self::User { id, role: Role::Member, key: Some(key) }
    }

    /// The name in the audit trail.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Baton => "baton".to_owned(),
            Self::Token => "admin_token".to_owned(),
            Self::User { id, .. } => id.to_string(),
        }
    }

    /// The member who can see and change only its own keys and usage; `None` for callers with all
    /// rights.
    pub(crate) fn member(&self) -> Option<&UserId> {
        match self {
            Self::User { id, role: Role::Member, .. } => Some(id),
            _ => None,
        }
    }

    /// The relay key of the request, if one was used.
    pub(crate) fn key(&self) -> Option<&KeyId> {
        match self {
            Self::User { key, .. } => key.as_ref(),
            _ => None,
        }
    }

    /// Whether the actor can use routes with this access.
    pub(crate) fn may(&self, access: RouteAccess) -> bool {
        self.member().is_none() || access != RouteAccess::Admin
    }
}
