//! Settings that operators change while Baton runs. Settings that are fixed at the start come from
//! the environment.

use serde::{Deserialize, Serialize};

/// The settings that can change while Baton runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeSettings {
    /// Whether users can call the admin API with their relay keys.
    pub member_access: bool,
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self { member_access: true }
    }
}
