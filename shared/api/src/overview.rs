//! The figures of the console's first page: `/overview`.

use crate::accounts::AccountResource;
use crate::usage::UsageMeasures;
use baton_domain::id::KeyId;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sums of today and of the last 30 days, and the accounts with their state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// Time of these figures.
    pub as_of: Timestamp,
    /// The last 30 UTC days, today last.
    pub days: Vec<DayMeasures>,
    /// The ten most expensive models today, most expensive first.
    pub models: Vec<ModelMeasures>,
    /// The ten most expensive keys today, most expensive first.
    pub keys: Vec<KeyMeasures>,
    /// Number of keys that were used today.
    pub keys_active: usize,
    /// All accounts with their state.
    pub accounts: Vec<AccountResource>,
}

/// The sums of a UTC day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct DayMeasures {
    /// The day.
    #[schemars(extend("format" = "date"))]
    pub day: String,
    /// The sums.
    #[serde(flatten)]
    pub measures: UsageMeasures,
}

/// The sums of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct ModelMeasures {
    /// Id of the model.
    pub model: String,
    /// The sums.
    #[serde(flatten)]
    pub measures: UsageMeasures,
}

/// The sums of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct KeyMeasures {
    /// Id of the key.
    pub key_id: KeyId,
    /// Name of the key; null if the key is deleted.
    pub name: Option<String>,
    /// The sums.
    #[serde(flatten)]
    pub measures: UsageMeasures,
}
