//! People and pipelines that keys belong to: `/users`.

use crate::fields::{FieldChange, LimitsChange, Name};
use crate::list::ResourceMeta;
use crate::new::Creatable;
use baton_domain::id::UserId;
use baton_domain::key::{Limits, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "User")]
pub struct UserResource {
    /// Id of the user.
    pub id: UserId,
    /// Name for people, unique among users.
    pub name: String,
    /// E-mail address at the identity provider, by which a sign-in is matched; ASCII characters
    /// only.
    pub email: Option<String>,
    /// The rights of the user.
    pub role: Role,
    /// Whether the user can sign in.
    pub enabled: bool,
    /// Limits that all keys of the user share.
    pub limits: Limits,
    /// Times and version.
    #[serde(flatten)]
    pub meta: ResourceMeta,
}

/// Fields of a user that can be set. Absent fields stay unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UserChange {
    /// Name for people, unique among users.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Name>")]
    pub name: Option<String>,
    /// E-mail address at the identity provider, by which a sign-in is matched; ASCII characters
    /// only.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    #[schemars(length(max = 254), regex(pattern = "^[!-?A-~]+@[!-?A-~]+$"))]
    pub email: FieldChange<String>,
    /// The rights of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether the user can sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Limits that all keys of the user share.
    #[serde(skip_serializing_if = "LimitsChange::is_keep")]
    pub limits: LimitsChange,
}

impl Creatable for UserChange {
    const SCHEMA_NAME: &'static str = "NewUser";
    const REQUIRED: &'static [&'static str] = &["name"];
}

/// Query parameters of the list of users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UserFilter {
    /// Only users with this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Only enabled resources (true) or disabled ones (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Only resources whose name contains this text; upper and lower case are equal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub q: String,
}
