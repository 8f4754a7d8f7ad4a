//! Settings that operators change at run time: `/settings`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Settings")]
pub struct SettingsResource {
    /// Whether members can use the admin API and the console.
    pub member_access: bool,
    /// Time of the last change; null if there was none.
    pub updated_at: Option<Timestamp>,
    /// Version for `If-Match`; each change adds one.
    pub version: u64,
}

/// Settings that can be set. Absent fields stay unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsChange {
    /// Whether members can use the admin API and the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_access: Option<bool>,
}
