//! The text that is added to spend limit errors: `/limits/message`. Limits themselves are
//! `domain::key::Limits`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The text that is added to spend limit errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Message", extend("required" = []))]
pub struct LimitMessage {
    /// Text that is added to the error of a request that is over a spend limit; null adds none.
    #[schemars(length(max = 1000))]
    #[serde(default)]
    pub message: Option<String>,
}
