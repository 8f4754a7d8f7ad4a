//! `/v1/organizations/spend_limits/effective`: each person's spend limit, the scope that it comes
//! from, and the current spend.

use crate::api_response::{ApiError, ApiResult};
use crate::spend_limits::{
    QueryPairs, cents, page_size, repeated_values, scope_json, single_value,
};
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::extract::{Query, State};
use baton_domain::effective_limits::cap_scope;
use baton_domain::id::GroupId;
use baton_domain::key::{Key, User};
use baton_domain::limit::LimitPeriod;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::LimitCounters;
use baton_domain::scope::LimitScope;
use baton_domain::spend_limit::{PERIODS, SpendLimitId};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Name and e-mail address of a person, or of a key without a user.
#[derive(Default)]
struct Principal {
    name: Option<String>,
    email: Option<String>,
    /// The group of a key without a user.
    group: Option<GroupId>,
}

pub(crate) async fn list_effective_limits(
    State(office): SharedAdminState,
    Query(pairs): QueryPairs,
) -> ApiResult<Json<Value>> {
    let limit = page_size(&pairs)?;
    let periods = periods(&pairs)?;
    let by_spend = match (single_value(&pairs, "sort"), periods.as_slice()) {
        (None, _) => None,
        (Some("spend_desc"), [period]) => Some(*period),
        _ => {
            return Err(ApiError::bad(
                "`sort`: expected `spend_desc` together with exactly one `period[]`",
            ));
        }
    };
    let mut people: Vec<(LimitScope, Principal)> =
        office.find_principals(&pairs).await?.into_iter().collect();
    let start = match (single_value(&pairs, "page"), by_spend) {
        (None, _) => 0,
        (Some(page), None) => {
            let last = page.strip_prefix("page_").unwrap_or(page);
            people.partition_point(|(scope, _)| scope.to_string().as_str() <= last)
        }
        (Some(page), Some(_)) => {
            let bad = |_| ApiError::bad("`page`: expected a `next_page` of this list");
            page.strip_prefix("page_").unwrap_or_default().parse().map_err(bad)?
        }
    };
    if let Some(period) = by_spend {
        people = office.by_spend(people, period).await?;
    }
    let stop = people.len().min(start.saturating_add(limit));
    let page = people.get(start..stop).unwrap_or_default();
    let last = page.last().filter(|_| stop < people.len());
    let next = last.map(|(scope, _)| match by_spend {
        Some(_) => format!("page_{stop}"),
        None => format!("page_{scope}"),
    });
    let data = office.summarize_principals(page, &periods).await?;
    Ok(Json(json!({ "data": data, "next_page": next })))
}

/// The requested periods. An empty list means the periods in which a limit applies.
fn periods(pairs: &[(String, String)]) -> ApiResult<Vec<LimitPeriod>> {
    let read = |name: &str| {
        let found = PERIODS.into_iter().find(|period| period.as_str() == name);
        found.ok_or_else(|| ApiError::bad("`period[]`: expected daily, weekly or monthly"))
    };
    repeated_values(pairs, "period").into_iter().map(read).collect()
}

impl AdminState {
    /// The requested users and keys without a user, sorted by id.
    async fn find_principals(
        &self,
        pairs: &[(String, String)],
    ) -> ApiResult<BTreeMap<LimitScope, Principal>> {
        let mut people = BTreeMap::<LimitScope, Principal>::new();
        for key in self.all::<Key>().await? {
            let key = key.value;
            let principal = people.entry(cap_scope(&key)).or_default();
            if key.user_id.is_none() {
                *principal =
                    Principal { name: Some(key.name), email: None, group: Some(key.group_id) };
            }
        }
        for user in self.all::<User>().await? {
            let User { id, name, email, .. } = user.value;
            people.insert(LimitScope::User(id), Principal { name: Some(name), email, group: None });
        }
        let ids = repeated_values(pairs, "user_ids");
        let wanted = single_value(pairs, "q").map(str::to_lowercase).unwrap_or_default();
        people.retain(|scope, principal| {
            let id = scope.to_string();
            let texts = [Some(&id), principal.name.as_ref(), principal.email.as_ref()];
            let found =
                texts.into_iter().flatten().any(|text| text.to_lowercase().contains(&wanted));
            found && (ids.is_empty() || ids.contains(&id.as_str()))
        });
        Ok(people)
    }

    /// Sorts by spend in the period, highest first.
    async fn by_spend(
        &self,
        people: Vec<(LimitScope, Principal)>,
        period: LimitPeriod,
    ) -> ApiResult<Vec<(LimitScope, Principal)>> {
        let scopes: Vec<LimitScope> = people.iter().map(|(scope, _)| scope.clone()).collect();
        let counted = self.store.read_counters(&scopes, false).await?;
        let now = self.store.clock().now();
        let mut spent: Vec<(PicoUsd, (LimitScope, Principal))> =
            counted.iter().map(|one| one.spent(period, now)).zip(people).collect();
        spent.sort_by_key(|(spent, _)| std::cmp::Reverse(*spent));
        Ok(spent.into_iter().map(|(_, person)| person).collect())
    }

    async fn summarize_principals(
        &self,
        people: &[(LimitScope, Principal)],
        periods: &[LimitPeriod],
    ) -> ApiResult<Vec<Value>> {
        let scopes: Vec<LimitScope> = people.iter().map(|(scope, _)| scope.clone()).collect();
        let counted = self.store.read_counters(&scopes, false).await?;
        let mut rows = Vec::new();
        for ((scope, principal), counted) in people.iter().zip(&counted) {
            rows.extend(self.summarize_principal(scope, principal, counted, periods).await?);
        }
        Ok(rows)
    }

    async fn summarize_principal(
        &self,
        scope: &LimitScope,
        principal: &Principal,
        counted: &LimitCounters,
        periods: &[LimitPeriod],
    ) -> ApiResult<Vec<Value>> {
        let user = if let LimitScope::User(id) = scope { Some(id) } else { None };
        let sources = self.store.sources(user, principal.group.as_ref()).await?;
        let groups: Vec<String> =
            sources.groups.iter().map(|(scope, _)| scope.to_string()).collect();
        let now = self.store.clock().now();
        let row = |period: &LimitPeriod| {
            let found = sources.find_cap(scope, *period);
            if found.is_none() && periods.is_empty() {
                return None;
            }
            let source = found.as_ref().map(|(source, _)| source);
            let id = source.and_then(|scope| SpendLimitId::new(scope.clone(), *period).ok());
            Some(json!({
                "type": "spend_summary", "scope": scope_json(scope),
                "actor": actor(scope, principal), "groups": groups, "period": period.as_str(),
                "amount": found.as_ref().and_then(|(_, cap)| cap.amount()).map(cents),
                "currency": "USD", "source": source.map(scope_json), "spend_limit_id": id,
                "period_to_date_spend": cents(counted.spent(*period, now)),
            }))
        };
        let all = if periods.is_empty() { PERIODS.as_slice() } else { periods };
        Ok(all.iter().filter_map(row).collect())
    }
}

fn actor(scope: &LimitScope, principal: &Principal) -> Value {
    match scope {
        LimitScope::User(id) => json!({
            "type": "user_actor", "user_id": id, "name": principal.name,
            "email_address": principal.email, "deleted": false,
        }),
        _ => json!({ "type": "api_key_actor", "api_key_id": scope, "name": principal.name }),
    }
}
