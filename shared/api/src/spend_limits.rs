//! Spend limits per person, in the form of Anthropic's Admin API: `/organizations/spend_limits`.

use crate::audit::AuditRowResource;
use crate::fields::require_type;
use baton_domain::id::{GroupId, KeyId, UserId};
use baton_domain::limit::LimitPeriod;
use baton_domain::money::PicoUsd;
use baton_domain::scope::LimitScope;
use baton_domain::spend_limit::SpendLimitId;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One cent.
const CENT: i128 = 10_000_000_000;

/// An exact amount in US cents, with decimals for fractions: `"41280.125"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsdCents(String);

impl UsdCents {
    /// The amount as the API writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PicoUsd> for UsdCents {
    /// Amounts below zero become 0.
    fn from(amount: PicoUsd) -> Self {
        let pico = amount.pico().max(0);
        let text = format!("{}.{:010}", pico / CENT, pico % CENT);
        Self(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    }
}

impl JsonSchema for UsdCents {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cents".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^[0-9]{1,30}(\.[0-9]{1,10})?$" })
    }
}

/// Reads whole cents.
///
/// # Errors
/// If the text is not a number of 1 to 11 digits, which is less than a billion dollars.
pub fn parse_whole_cents(text: &str) -> Result<PicoUsd, &'static str> {
    let is_number =
        (1..=11).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let cents = is_number.then(|| text.parse::<i128>().ok()).flatten();
    cents
        .map(|cents| PicoUsd::new(cents * CENT))
        .ok_or(
            "expected whole cents as a string of at most 11 digits, such as \"50000\", or null for no limit",
        )
}

/// Whom a spend limit applies to: one user, each person in a group, or each person in the
/// organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(rename = "Scope")]
pub enum SpendLimitScope {
    /// One user.
    User {
        /// Id of the user.
        user_id: UserId,
    },
    /// Each person in a group.
    RbacGroup {
        /// Id of the group.
        rbac_group_id: GroupId,
    },
    /// Each person in the organization.
    Organization,
}

impl SpendLimitScope {
    /// The scope of a spend limit; `None` for a key, which has none.
    pub fn from_limit_scope(scope: &LimitScope) -> Option<Self> {
        match scope {
            LimitScope::User(id) => Some(Self::User { user_id: id.clone() }),
            LimitScope::Group(id) => Some(Self::RbacGroup { rbac_group_id: id.clone() }),
            LimitScope::Organization => Some(Self::Organization),
            LimitScope::Key(_) => None,
        }
    }

    /// The name of the kind, as in `type`.
    pub fn kind(&self) -> SpendLimitScopeKind {
        match self {
            Self::User { .. } => SpendLimitScopeKind::User,
            Self::RbacGroup { .. } => SpendLimitScopeKind::RbacGroup,
            Self::Organization => SpendLimitScopeKind::Organization,
        }
    }
}

/// The kinds of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SpendLimitScopeKind {
    /// One user.
    User,
    /// Each person in a group.
    RbacGroup,
    /// Each person in the organization.
    Organization,
}

/// UTC day, UTC week from Monday, or UTC month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Period")]
pub enum SpendPeriod {
    /// UTC day.
    Daily,
    /// UTC week, from Monday.
    Weekly,
    /// UTC month.
    #[default]
    Monthly,
}

impl From<SpendPeriod> for LimitPeriod {
    fn from(period: SpendPeriod) -> Self {
        match period {
            SpendPeriod::Daily => Self::Daily,
            SpendPeriod::Weekly => Self::Weekly,
            SpendPeriod::Monthly => Self::Monthly,
        }
    }
}

impl SpendPeriod {
    /// Every period, shortest first.
    pub const ALL: [Self; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    /// The period of a spend limit; `None` for all time, for which there are none.
    pub fn from_limit_period(period: LimitPeriod) -> Option<Self> {
        match period {
            LimitPeriod::Daily => Some(Self::Daily),
            LimitPeriod::Weekly => Some(Self::Weekly),
            LimitPeriod::Monthly => Some(Self::Monthly),
            LimitPeriod::Total => None,
        }
    }
}

/// The only currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Currency {
    /// US dollars, counted in cents.
    #[default]
    #[serde(rename = "USD")]
    Usd,
}

/// A spend limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename = "spend_limit")]
#[schemars(rename = "SpendLimit", transform = require_type("spend_limit"))]
pub struct SpendLimitResource {
    /// Id of the limit, made of scope and period.
    pub id: SpendLimitId,
    /// The people to whom the limit applies.
    pub scope: SpendLimitScope,
    /// US cents, exact; null means unlimited.
    pub amount: Option<UsdCents>,
    /// Always `USD`.
    pub currency: Currency,
    /// The period after which the spend starts again at zero.
    pub period: SpendPeriod,
    /// Always true; a spend limit cannot be switched off, only deleted.
    pub is_enabled: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A spend limit to set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewSpendLimit {
    /// The people to whom the limit applies.
    pub scope: SpendLimitScope,
    /// Whole US cents; null means unlimited, even if a limit of the group or organization exists.
    #[serde(default)]
    #[schemars(regex(pattern = "^[0-9]{1,11}$"))]
    pub amount: Option<String>,
    /// The period; by default a month.
    #[serde(default)]
    pub period: SpendPeriod,
    /// `USD` or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
}

/// The answer to deleting a spend limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename = "spend_limit_deleted")]
#[schemars(rename = "SpendLimitDeleted", transform = require_type("spend_limit_deleted"))]
pub struct DeletedSpendLimit {
    /// Id of the limit.
    pub id: SpendLimitId,
}

/// A page of spend limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpendLimitList {
    /// Rows of this page.
    pub data: Vec<SpendLimitResource>,
    /// Whether there are more rows.
    pub has_more: bool,
    /// Id of the first row.
    pub first_id: Option<SpendLimitId>,
    /// Id of the last row.
    pub last_id: Option<SpendLimitId>,
}

/// Changes of spend limits, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpendLimitAuditList {
    /// Rows of this page.
    pub data: Vec<SpendLimitAuditRow>,
    /// Whether there are more rows.
    pub has_more: bool,
}

/// A change of a spend limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename = "spend_limit_audit")]
#[schemars(rename = "SpendLimitAudit", transform = require_type("spend_limit_audit"))]
pub struct SpendLimitAuditRow {
    /// The change.
    #[serde(flatten)]
    pub row: AuditRowResource,
}

/// Query parameters of the list of spend limits.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpendLimitQuery {
    /// Rows per page; 100 by default, 20 for spend limits.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Rows after the row with this id; not together with `before_id`.
    pub after_id: Option<String>,
    /// Rows before the row with this id.
    pub before_id: Option<String>,
    /// Only limits of these scopes.
    #[serde(rename = "scope_type[]")]
    pub scope_type: Vec<SpendLimitScopeKind>,
}

/// Query parameters of the list of changes of spend limits.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpendLimitAuditQuery {
    /// Rows per page; 100 by default, 20 for spend limits.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// Query parameters of the list of people with their spend limits.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpendSummaryQuery {
    /// Rows per page; 100 by default, 20 for spend limits.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// `next_page` of the previous page.
    pub page: Option<String>,
    /// Only these periods; by default those in which a limit applies.
    #[serde(rename = "period[]")]
    pub period: Vec<SpendPeriod>,
    /// `spend_desc` sorts by spend, highest first; it needs exactly one `period[]`.
    pub sort: Option<SpendSort>,
    /// Only these people.
    #[serde(rename = "user_ids[]")]
    pub user_ids: Vec<String>,
    /// Only resources whose name contains this text; upper and lower case are equal.
    pub q: String,
}

/// The orders of the list of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SpendSort {
    /// By spend, highest first.
    SpendDesc,
}

/// A person's spend limit and spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename = "spend_summary")]
#[schemars(rename = "SpendSummary", transform = require_type("spend_summary"))]
pub struct SpendSummaryResource {
    /// Scope of the row.
    pub scope: SpendSummaryScope,
    /// The person or key that the row is about.
    pub actor: SpendActor,
    /// Groups that the person's keys use.
    pub groups: Vec<String>,
    /// The period of the limit.
    pub period: SpendPeriod,
    /// US cents, exact; null means unlimited.
    pub amount: Option<UsdCents>,
    /// Always `USD`.
    pub currency: Currency,
    /// Whom the limit that applies was set for; null if none applies.
    pub source: Option<SpendLimitScope>,
    /// Id of the limit that applies; null if none does.
    pub spend_limit_id: Option<SpendLimitId>,
    /// Spend in the current period, in US cents.
    pub period_to_date_spend: UsdCents,
}

/// The scope of a row: a user, or a key without a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(inline)]
pub enum SpendSummaryScope {
    /// A user.
    User {
        /// Id of the user.
        user_id: UserId,
    },
    /// A key without a user.
    ApiKey {
        /// Id of the key.
        api_key_id: KeyId,
    },
}

/// The person or key that spends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(inline)]
pub enum SpendActor {
    /// A user.
    UserActor {
        /// Id of the user.
        user_id: UserId,
        /// Name of the user.
        name: Option<String>,
        /// E-mail address of the user.
        email_address: Option<String>,
        /// Always false.
        deleted: bool,
    },
    /// A key without a user.
    ApiKeyActor {
        /// Id of the key.
        api_key_id: KeyId,
        /// Name of the key.
        name: Option<String>,
    },
}

/// A page of people with their spend limits and spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpendSummaryList {
    /// Rows of this page.
    pub data: Vec<SpendSummaryResource>,
    /// `page` of the next page; null on the last page.
    pub next_page: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amount_is_whole_cents_in_requests_and_exact_in_answers() {
        let check = |pico, text: &str| {
            assert_eq!(UsdCents::from(PicoUsd::new(pico)), UsdCents(text.to_owned()));
        };
        check(0, "0");
        check(500 * 100 * CENT, "50000");
        check(412_801_250_000_000, "41280.125");
        check(1, "0.0000000001");
        check(-5, "0");
        assert_eq!(parse_whole_cents("50000"), Ok(PicoUsd::new(50_000 * CENT)));
        assert_eq!(parse_whole_cents("0"), Ok(PicoUsd::ZERO));
        assert!(parse_whole_cents("99999999999").is_ok());
        for bad in ["", "-1", "1.5", "1e3", " 1", "100000000000"] {
            assert!(parse_whole_cents(bad).is_err(), "{bad}");
        }
    }
}
