//! The callers of the admin API and what they can see.

use crate::id::{KeyId, UserId};
use crate::key::Role;

/// The caller of the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
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

impl Actor {
    /// The actor for a relay key of a user.
    pub fn from_key(id: UserId, key: KeyId) -> Self {
        Self::User { id, role: Role::Member, key: Some(key) }
    }

    /// The name in the audit trail.
    pub fn name(&self) -> String {
        match self {
            Self::Baton => "baton".to_owned(),
            Self::Token => "admin_token".to_owned(),
            Self::User { id, .. } => id.to_string(),
        }
    }

    /// The member who can see and change only its own keys and usage; `None` for callers with all
    /// rights.
    pub fn member(&self) -> Option<&UserId> {
        match self {
            Self::User { id, role: Role::Member, .. } => Some(id),
            _ => None,
        }
    }

    /// The relay key of the request, if one was used.
    pub fn key(&self) -> Option<&KeyId> {
        match self {
            Self::User { key, .. } => key.as_ref(),
            _ => None,
        }
    }
}
