//! `/v1/organizations/spend_limits`: spend limits per person, in the form of Anthropic's Admin API
//! as the Claude apps gateway mirrors it. `effective` lists who has which limit and has spent how
//! much; `domain::spend_limit` defines what a limit means.

use crate::admin_request::{AdminRequest, AuditNote};
use crate::api_response::{ApiError, ApiResponse, ApiResult, body};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use baton_domain::key::{Group, User};
use baton_domain::limit::LimitPeriod;
use baton_domain::money::PicoUsd;
use baton_domain::scope::LimitScope;
use baton_domain::spend_limit::{PERIODS, SpendCap, SpendLimit, SpendLimitId};
use baton_store::{AuditRow, ConfigEdit, StoredEntity};
use serde::Deserialize;
use serde_json::{Value, json};

/// One cent.
const CENT: i128 = 10_000_000_000;

/// How often a limit is written if others change it at the same time. After that the caller gets
/// the conflict.
const TRIES_MAX: u32 = 3;

/// Query parameters as pairs, because names can repeat.
pub(crate) type QueryPairs = Query<Vec<(String, String)>>;

#[derive(Deserialize)]
struct SpendLimitInput {
    scope: ScopeInput,
    amount: Option<String>,
    #[serde(default)]
    period: PeriodInput,
    currency: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ScopeInput {
    User { user_id: String },
    RbacGroup { rbac_group_id: String },
    Organization,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum PeriodInput {
    Daily,
    Weekly,
    #[default]
    Monthly,
}

/// A scope as Anthropic's Admin API writes it.
pub(crate) fn scope_json(scope: &LimitScope) -> Value {
    match scope {
        LimitScope::User(id) => json!({ "type": "user", "user_id": id }),
        LimitScope::Group(id) => json!({ "type": "rbac_group", "rbac_group_id": id }),
        LimitScope::Key(id) => json!({ "type": "api_key", "api_key_id": id }),
        LimitScope::Organization => json!({ "type": "organization" }),
    }
}

/// Formats an amount as US cents, with decimals for fractions: `"41280.125"`.
pub(crate) fn cents(amount: PicoUsd) -> String {
    let pico = amount.pico().max(0);
    let text = format!("{}.{:010}", pico / CENT, pico % CENT);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn parse_cents(text: &str) -> ApiResult<PicoUsd> {
    let digits = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let cents = digits.then(|| text.parse::<i128>().ok()).flatten();
    let bad = || {
        ApiError::bad(
            "`amount`: expected whole cents as a string, such as \"50000\", or null for no limit",
        )
    };
    cents.map(|cents| PicoUsd::new(cents * CENT)).ok_or_else(bad)
}

fn spend_limit_json(stored: &StoredEntity<SpendLimit>) -> Value {
    let SpendLimit { id, cap } = &stored.value;
    json!({
        "type": "spend_limit", "id": id, "scope": scope_json(id.scope()),
        "amount": cap.amount().map(cents), "currency": "USD", "period": id.period().as_str(),
        "is_enabled": true, "created_at": stored.created_at, "updated_at": stored.updated_at,
    })
}

/// The value of `limit`: 20 by default, at most 1,000.
pub(crate) fn page_size(pairs: &[(String, String)]) -> ApiResult<usize> {
    let bad = || ApiError::bad("`limit`: expected a number from 1 to 1000");
    match single_value(pairs, "limit").map(str::parse) {
        None => Ok(20),
        Some(Ok(limit @ 1..=1000)) => Ok(limit),
        Some(_) => Err(bad()),
    }
}

/// The value of a parameter that occurs once.
pub(crate) fn single_value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The values of a parameter that repeats, as `name[]=` or `name=`.
pub(crate) fn repeated_values<'a>(pairs: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let named = |key: &str| key.strip_suffix("[]").unwrap_or(key) == name;
    pairs.iter().filter(|(key, _)| named(key)).map(|(_, value)| value.as_str()).collect()
}

pub(crate) async fn list_spend_limits(
    State(office): SharedAdminState,
    Query(pairs): QueryPairs,
) -> ApiResult<Json<Value>> {
    let limit = page_size(&pairs)?;
    let kinds = repeated_values(&pairs, "scope_type");
    if kinds.iter().any(|kind| !["user", "rbac_group", "organization"].contains(kind)) {
        return Err(ApiError::bad("`scope_type[]`: expected user, rbac_group or organization"));
    }
    let mut all: Vec<Value> =
        office.all::<SpendLimit>().await?.iter().map(spend_limit_json).collect();
    all.retain(|row| kinds.is_empty() || kinds.iter().any(|kind| row["scope"]["type"] == *kind));
    let place = |id: &str| {
        let place = all.iter().position(|row| row["id"] == id);
        place.ok_or_else(|| ApiError::bad(format!("`{id}` is not in this list")))
    };
    let (start, end) = match (single_value(&pairs, "after_id"), single_value(&pairs, "before_id")) {
        (Some(_), Some(_)) => {
            return Err(ApiError::bad("`after_id` and `before_id` cannot be used together"));
        }
        (Some(id), None) => (place(id)? + 1, None),
        (None, Some(id)) => (0, Some(place(id)?)),
        (None, None) => (0, None),
    };
    let start = end.map_or(start, |end| end.saturating_sub(limit));
    let stop = end.unwrap_or(all.len()).min(start + limit);
    let has_more = if end.is_some() { start > 0 } else { stop < all.len() };
    let data = all.get(start..stop).unwrap_or_default();
    let id = |row: Option<&Value>| row.map(|row| row["id"].clone());
    Ok(Json(json!({
        "data": data, "has_more": has_more, "first_id": id(data.first()), "last_id": id(data.last()),
    })))
}

pub(crate) async fn set_spend_limit(
    State(office): SharedAdminState,
    visit: AdminRequest,
    bytes: Bytes,
) -> ApiResult {
    let input: SpendLimitInput = body(&bytes)?;
    if input.currency.is_some_and(|currency| currency != "USD") {
        return Err(ApiError::bad("`currency`: expected USD"));
    }
    let scope = office.scope(input.scope).await?;
    let period = match input.period {
        PeriodInput::Daily => LimitPeriod::Daily,
        PeriodInput::Weekly => LimitPeriod::Weekly,
        PeriodInput::Monthly => LimitPeriod::Monthly,
    };
    let cap = input.amount.as_deref().map(parse_cents).transpose()?;
    let cap = cap.map_or(SpendCap::Unlimited, SpendCap::Usd);
    let id = SpendLimitId::new(scope, period).map_err(ApiError::bad)?;
    let limit = SpendLimit { id, cap };
    for _ in 1..TRIES_MAX {
        match office.save_spend_limit(&visit, limit.clone()).await {
            Err(refused) if refused.is_conflict() => {}
            told => return told,
        }
    }
    office.save_spend_limit(&visit, limit).await
}

pub(crate) async fn get_spend_limit(
    State(office): SharedAdminState,
    Path(path): Path<String>,
) -> ApiResult<Json<Value>> {
    Ok(Json(spend_limit_json(&office.spend_limit(&path).await?)))
}

pub(crate) async fn delete_spend_limit(
    State(office): SharedAdminState,
    visit: AdminRequest,
    Path(path): Path<String>,
) -> ApiResult {
    let stored = office.spend_limit(&path).await?;
    visit.check_version(&stored)?;
    let mut edit = ConfigEdit::default();
    office.store.remove_spend_limit(&mut edit, &stored);
    let note = AuditNote::deleted(&stored.value.id, spend_limit_json(&stored));
    let told = ApiResponse::ok(json!({ "type": "spend_limit_deleted", "id": stored.value.id }));
    office.commit_change(&visit, edit, note, told).await
}

pub(crate) async fn list_changes(
    State(office): SharedAdminState,
    Query(pairs): QueryPairs,
) -> ApiResult<Json<Value>> {
    let limit = page_size(&pairs)?;
    let mut rows = office.store.audit_trail("spl_", limit + 1).await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let view = |AuditRow { id, at, change }: AuditRow| {
        json!({
            "type": "spend_limit_audit", "id": id, "at": at, "actor": change.actor,
            "action": change.action, "target": change.target, "before": change.before,
            "after": change.after,
        })
    };
    let data: Vec<Value> = rows.into_iter().map(view).collect();
    Ok(Json(json!({ "data": data, "has_more": has_more })))
}

impl AdminState {
    async fn scope(&self, input: ScopeInput) -> ApiResult<LimitScope> {
        match input {
            ScopeInput::User { user_id } => {
                let id = user_id.parse().map_err(ApiError::bad)?;
                if self.store.read::<User>(&id).await?.is_none() {
                    return Err(ApiError::not_found(format!("user {id}")));
                }
                Ok(LimitScope::User(id))
            }
            ScopeInput::RbacGroup { rbac_group_id } => {
                let id = rbac_group_id.parse().map_err(ApiError::bad)?;
                if self.store.read::<Group>(&id).await?.is_none() {
                    return Err(ApiError::bad(format!("group {id} does not exist")));
                }
                Ok(LimitScope::Group(id))
            }
            ScopeInput::Organization => Ok(LimitScope::Organization),
        }
    }

    async fn spend_limit(&self, path: &str) -> ApiResult<StoredEntity<SpendLimit>> {
        let none = || ApiError::not_found(format!("spend limit {path}"));
        let id: SpendLimitId = path.parse().map_err(|_| none())?;
        self.store.read::<SpendLimit>(&id).await?.ok_or_else(none)
    }

    /// Creates or replaces a spend limit.
    async fn save_spend_limit(&self, visit: &AdminRequest, limit: SpendLimit) -> ApiResult {
        let before = self.store.read::<SpendLimit>(&limit.id).await?;
        let stored = match &before {
            Some(before) => StoredEntity { value: limit, ..self.store.next_version(before) },
            None => self.store.new_stored(limit, None),
        };
        let mut edit = ConfigEdit::default();
        self.store.save_spend_limit(&mut edit, &stored)?;
        let (target, after) = (&stored.value.id, spend_limit_json(&stored));
        let note = match &before {
            Some(before) => AuditNote::updated(target, spend_limit_json(before), &after),
            None => AuditNote::created(target, &after),
        };
        self.commit_change(visit, edit, note, ApiResponse::ok(after)).await
    }

    /// Removes the spend limits of a scope that is being deleted.
    pub(crate) async fn remove_spend_limits_of(
        &self,
        visit: &AdminRequest,
        edit: &mut ConfigEdit,
        scope: &LimitScope,
    ) -> ApiResult<()> {
        for period in PERIODS {
            let id = SpendLimitId::new(scope.clone(), period).map_err(ApiError::bad)?;
            if let Some(stored) = self.store.read::<SpendLimit>(&id).await? {
                self.store.remove_spend_limit(edit, &stored);
                self.add_audit_row(
                    visit,
                    edit,
                    AuditNote::deleted(&stored.value.id, spend_limit_json(&stored)),
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_whole_cents_going_in_and_exact_coming_out() {
        let check = |pico, text: &str| assert_eq!(cents(PicoUsd::new(pico)), text);
        check(0, "0");
        check(500 * 100 * CENT, "50000");
        check(412_801_250_000_000, "41280.125");
        check(1, "0.0000000001");
        check(-5, "0");
        assert_eq!(parse_cents("50000").ok(), Some(PicoUsd::new(50_000 * CENT)));
        assert_eq!(parse_cents("0").ok(), Some(PicoUsd::ZERO));
        for bad in ["", "-1", "1.5", "1e3", " 1", "1000000000000000"] {
            assert!(parse_cents(bad).is_err(), "{bad}");
        }
    }
}
