//! Groups of accounts that keys use: `/groups`.

use crate::fields::{LimitsChange, ModelMap, Name};
use crate::list::ResourceMeta;
use crate::new::Creatable;
use baton_domain::id::GroupId;
use baton_domain::key::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Group")]
pub struct GroupResource {
    /// Id of the group.
    pub id: GroupId,
    /// Name for people, unique among groups.
    pub name: String,
    /// The purpose of the group; at most 2,000 characters.
    pub description: String,
    /// Whether keys of the group are accepted.
    pub enabled: bool,
    /// Limits that all keys of the group share.
    pub limits: Limits,
    /// Model names by what clients request; applied before an account is chosen.
    pub model_aliases: ModelMap,
    /// Times and version.
    #[serde(flatten)]
    pub meta: ResourceMeta,
}

/// Fields of a group that can be set. Absent fields stay unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GroupChange {
    /// Name for people, unique among groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Name>")]
    pub name: Option<String>,
    /// The purpose of the group; at most 2,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2000))]
    pub description: Option<String>,
    /// Whether keys of the group are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Limits that all keys of the group share.
    #[serde(skip_serializing_if = "LimitsChange::is_keep")]
    pub limits: LimitsChange,
    /// Model names by what clients request; applied before an account is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_aliases: Option<ModelMap>,
}

impl Creatable for GroupChange {
    const SCHEMA_NAME: &'static str = "NewGroup";
    const REQUIRED: &'static [&'static str] = &["name"];
}

/// Query parameters of the list of groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GroupFilter {
    /// Only enabled resources (true) or disabled ones (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Only resources whose name contains this text; upper and lower case are equal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub q: String,
}
