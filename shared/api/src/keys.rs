//! Relay keys: `/keys`.

use crate::exposed;
use crate::fields::{ExpiryTime, FieldChange, LimitsChange, Name};
use crate::list::ResourceMeta;
use crate::new::{Creatable, New};
use baton_domain::id::{GroupId, KeyId, UserId};
use baton_domain::key::{Limits, ReservationEstimate};
use baton_domain::model::ModelPattern;
use baton_domain::secret::Secret;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Key")]
pub struct KeyResource {
    /// Id of the key.
    pub id: KeyId,
    /// Name for people, unique among keys.
    pub name: String,
    /// User that the key belongs to; null if it belongs to no user.
    pub user_id: Option<UserId>,
    /// Group whose accounts the key uses.
    pub group_id: GroupId,
    /// Allowed models; empty allows all.
    pub models: Vec<ModelPattern>,
    /// Time from which on the key is refused; null if it does not expire.
    pub expires_at: Option<Timestamp>,
    /// Whether the key is accepted.
    pub enabled: bool,
    /// The key's own limits.
    pub limits: Limits,
    /// The amount that the key's requests reserve against money limits.
    pub estimate: ReservationEstimate,
    /// By how much requests of the key can exceed a money limit.
    pub overshoot: String,
    /// Times and version.
    #[serde(flatten)]
    pub meta: ResourceMeta,
}

/// A key with its secret: the answer to POST and to rotate.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct KeyWithSecret {
    /// The key.
    #[serde(flatten)]
    pub key: KeyResource,
    /// The key itself. It is returned only once.
    #[serde(serialize_with = "exposed::secret")]
    #[schemars(regex(pattern = "^bt_"))]
    pub secret: Secret,
}

/// Fields of a key that can be set. Absent fields stay unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyChange {
    /// Name for people, unique among keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Name>")]
    pub name: Option<String>,
    /// User that the key belongs to; null if it belongs to no user.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    pub user_id: FieldChange<UserId>,
    /// Group whose accounts the key uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<GroupId>,
    /// Allowed models; empty allows all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelPattern>>,
    /// Time from which on the key is refused; null if it does not expire.
    #[serde(skip_serializing_if = "FieldChange::is_keep")]
    #[schemars(with = "Option<Timestamp>")]
    pub expires_at: FieldChange<ExpiryTime>,
    /// Whether the key is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The key's own limits.
    #[serde(skip_serializing_if = "LimitsChange::is_keep")]
    pub limits: LimitsChange,
    /// The amount that the key's requests reserve against money limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<ReservationEstimate>,
}

impl Creatable for KeyChange {
    const SCHEMA_NAME: &'static str = "NewKey";
    const REQUIRED: &'static [&'static str] = &["name"];
}

impl KeyChange {
    /// Whether a member can make this change to its own key: rename it or disable it.
    pub fn is_for_members(&self) -> bool {
        let Self { name: _, user_id, group_id, models, expires_at, enabled, limits, estimate } =
            self;
        user_id.is_keep()
            && expires_at.is_keep()
            && group_id.is_none()
            && models.is_none()
            && limits.is_keep()
            && estimate.is_none()
            && *enabled != Some(true)
    }
}

impl New<KeyChange> {
    /// A key with a name and defaults for everything else.
    pub fn with_name(name: &str) -> Self {
        Self(KeyChange { name: Some(name.to_owned()), ..KeyChange::default() })
    }
}

/// Query parameters of the list of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeyFilter {
    /// Only resources of this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<GroupId>,
    /// Only keys, or requests, of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Only enabled resources (true) or disabled ones (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Only resources whose name contains this text; upper and lower case are equal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub q: String,
}
