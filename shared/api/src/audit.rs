//! The audit trail: `/audit`.

use crate::fields::Moment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What somebody did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditAction {
    /// A resource was created.
    Create,
    /// A resource or a setting was changed.
    Update,
    /// A resource was deleted.
    Delete,
    /// A key got a new secret.
    Rotate,
    /// The health of an account was reset.
    Reset,
    /// The token of an account was renewed.
    Refresh,
    /// A person signed in, or an account got a credential by a browser sign-in.
    SignIn,
    /// A person signed out.
    SignOut,
    /// The costs of past requests were recalculated.
    Rerate,
    /// Usage records were sent to the queue again.
    Redrive,
    /// A test alert was sent.
    Test,
}

impl AuditAction {
    /// Every action.
    pub const ALL: [Self; 11] = [
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Rotate,
        Self::Reset,
        Self::Refresh,
        Self::SignIn,
        Self::SignOut,
        Self::Rerate,
        Self::Redrive,
        Self::Test,
    ];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Rotate => "rotate",
            Self::Reset => "reset",
            Self::Refresh => "refresh",
            Self::SignIn => "sign_in",
            Self::SignOut => "sign_out",
            Self::Rerate => "rerate",
            Self::Redrive => "redrive",
            Self::Test => "test",
        }
    }
}

/// A change that somebody made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Change")]
pub struct AuditRowResource {
    /// Id of the change.
    pub id: String,
    /// Time of the change.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// `admin_token`, `baton` or the id of a user.
    pub actor: String,
    /// The action.
    pub action: String,
    /// Id of the changed resource.
    pub target: String,
    /// Fields before the change.
    pub before: Value,
    /// Fields after the change.
    pub after: Value,
}

/// Query parameters of the audit trail.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuditQuery {
    /// Start of the period, included; by default 30 days before its end. A period has at most 400
    /// days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Moment>")]
    pub from: Option<String>,
    /// End of the period, not included; by default now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Moment>")]
    pub to: Option<String>,
    /// Only changes by `admin_token`, `baton` or the user with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Only changes to the resource with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only this action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<AuditAction>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_the_same_name_in_json_and_in_text() {
        for action in AuditAction::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
    }
}
