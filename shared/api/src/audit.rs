//! The audit trail: `/audit`.

use crate::fields::Moment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A change that somebody made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Change")]
pub struct AuditRowResource {
    /// Id of the change.
    pub id: String,
    /// When it was made.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// `admin_token`, `baton` or the id of a user.
    pub actor: String,
    /// The action.
    pub action: String,
    /// Id of what was changed.
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
    /// Only this action: `create`, `update`, `delete`, `rotate`, `reset`, `refresh` or `sign_in`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}
