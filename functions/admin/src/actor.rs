//! Who asks, and who may ask for what. How somebody proves it is `authorize`'s business.

use baton_domain::id::{KeyId, UserId};
use baton_domain::key::Role;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Baton itself, for what it makes by itself.
    Baton,
    /// Whoever has the admin token.
    Token,
    /// A user.
    User {
        /// Who.
        id: UserId,
        /// What it may do. Whoever comes by a relay key is a member, whatever its owner is.
        role: Role,
        /// The relay key that it came with; keys lie in shells and pipelines.
        key: Option<KeyId>,
    },
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever it is, without a credential.
    Anybody,
    /// Administrators, and members for what is their own: the handler sees to that.
    Member,
    /// Administrators.
    Admin,
}

impl Access {
    /// The name in the API's description.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Anybody => "anybody",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }
}

impl Actor {
    /// Whoever has this relay key of a user.
    pub(crate) fn by_key(id: UserId, key: KeyId) -> Self {
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

    /// The member who may see and change only what is its own; `None` may everything.
    pub(crate) fn member(&self) -> Option<&UserId> {
        match self {
            Self::User { id, role: Role::Member, .. } => Some(id),
            _ => None,
        }
    }

    /// The relay key that it came with, if it did.
    pub(crate) fn key(&self) -> Option<&KeyId> {
        match self {
            Self::User { key, .. } => key.as_ref(),
            _ => None,
        }
    }

    /// Whether routes of this access are open.
    pub(crate) fn may(&self, access: Access) -> bool {
        self.member().is_none() || access != Access::Admin
    }
}
