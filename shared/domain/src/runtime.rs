//! What operators set while everything runs. What is decided at the start is in the environment.

use serde::{Deserialize, Serialize};

/// The settings of the running system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// Whether users may use the admin API with their relay keys.
    pub member_access: bool,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { member_access: true }
    }
}
