//! `/v1/organizations/spend_limits/effective`: each person's spend limit, the scope that it comes
//! from, and the current spend.

use crate::api_response::{ApiError, ApiResult};
use crate::request_parts::RepeatedQuery;
use crate::spend_limits::page_size;
use crate::{AdminState, SharedAdminState};
use axum::Json;
use axum::extract::State;
use baton_api::spend_limits::{
    Currency, SpendActor, SpendLimitScope, SpendPeriod, SpendSort, SpendSummaryList,
    SpendSummaryQuery, SpendSummaryResource, SpendSummaryScope, UsdCents,
};
use baton_domain::effective_limits::cap_scope;
use baton_domain::id::GroupId;
use baton_domain::key::{Key, User};
use baton_domain::limit::LimitPeriod;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::LimitCounters;
use baton_domain::scope::LimitScope;
use baton_domain::spend_limit::SpendLimitId;
use std::collections::BTreeMap;

/// Name and e-mail address of a person, or of a key without a user.
#[derive(Default)]
struct SpendPrincipal {
    name: Option<String>,
    email: Option<String>,
    /// The group of a key without a user.
    group: Option<GroupId>,
}

pub(crate) async fn list_effective_limits(
    State(state): SharedAdminState,
    RepeatedQuery(query): RepeatedQuery<SpendSummaryQuery>,
) -> ApiResult<Json<SpendSummaryList>> {
    let limit = page_size(query.limit)?;
    let by_spend = match (query.sort, query.period.as_slice()) {
        (None, _) => None,
        (Some(SpendSort::SpendDesc), [period]) => Some(*period),
        _ => {
            return Err(ApiError::bad(
                "`sort`: expected `spend_desc` together with exactly one `period[]`",
            ));
        }
    };
    let mut principals: Vec<(LimitScope, SpendPrincipal)> =
        state.find_principals(&query).await?.into_iter().collect();
    let start = match (query.page.as_deref(), by_spend) {
        (None, _) => 0,
        (Some(page), None) => {
            let last = page.strip_prefix("page_").unwrap_or(page);
            principals.partition_point(|(scope, _)| scope.to_string().as_str() <= last)
        }
        (Some(page), Some(_)) => {
            let invalid = |_| ApiError::bad("`page`: expected a `next_page` of this list");
            page.strip_prefix("page_").unwrap_or_default().parse().map_err(invalid)?
        }
    };
    if let Some(period) = by_spend {
        principals = state.by_spend(principals, period.into()).await?;
    }
    let end = principals.len().min(start.saturating_add(limit));
    let page = principals.get(start..end).unwrap_or_default();
    let last = page.last().filter(|_| end < principals.len());
    let next = last.map(|(scope, _)| match by_spend {
        Some(_) => format!("page_{end}"),
        None => format!("page_{scope}"),
    });
    let data = state.summarize_principals(page, &query.period).await?;
    Ok(Json(SpendSummaryList { data, next_page: next }))
}

impl AdminState {
    /// The requested users and keys without a user, sorted by id.
    async fn find_principals(
        &self,
        query: &SpendSummaryQuery,
    ) -> ApiResult<BTreeMap<LimitScope, SpendPrincipal>> {
        let mut principals = BTreeMap::<LimitScope, SpendPrincipal>::new();
        for key in self.all::<Key>().await? {
            let key = key.value;
            let principal = principals.entry(cap_scope(&key)).or_default();
            if key.user_id.is_none() {
                *principal =
                    SpendPrincipal { name: Some(key.name), email: None, group: Some(key.group_id) };
            }
        }
        for user in self.all::<User>().await? {
            let User { id, name, email, .. } = user.value;
            principals.insert(
                LimitScope::User(id),
                SpendPrincipal { name: Some(name), email, group: None },
            );
        }
        let (ids, wanted) = (&query.user_ids, query.q.to_lowercase());
        principals.retain(|scope, principal| {
            let id = scope.to_string();
            let texts = [Some(&id), principal.name.as_ref(), principal.email.as_ref()];
            let found =
                texts.into_iter().flatten().any(|text| text.to_lowercase().contains(&wanted));
            found && (ids.is_empty() || ids.contains(&id))
        });
        Ok(principals)
    }

    /// Sorts by spend in the period, highest first.
    async fn by_spend(
        &self,
        principals: Vec<(LimitScope, SpendPrincipal)>,
        period: LimitPeriod,
    ) -> ApiResult<Vec<(LimitScope, SpendPrincipal)>> {
        let scopes: Vec<LimitScope> = principals.iter().map(|(scope, _)| scope.clone()).collect();
        let counters = self.store.counters.read_counters(&scopes, false).await?;
        let now = self.store.clock().now();
        let mut spent: Vec<(PicoUsd, (LimitScope, SpendPrincipal))> =
            counters.iter().map(|one| one.spent(period, now)).zip(principals).collect();
        spent.sort_by_key(|(spent, _)| std::cmp::Reverse(*spent));
        Ok(spent.into_iter().map(|(_, principal)| principal).collect())
    }

    async fn summarize_principals(
        &self,
        principals: &[(LimitScope, SpendPrincipal)],
        periods: &[SpendPeriod],
    ) -> ApiResult<Vec<SpendSummaryResource>> {
        let scopes: Vec<LimitScope> = principals.iter().map(|(scope, _)| scope.clone()).collect();
        let counters = self.store.counters.read_counters(&scopes, false).await?;
        let mut rows = Vec::new();
        for ((scope, principal), counters) in principals.iter().zip(&counters) {
            rows.extend(self.summarize_principal(scope, principal, counters, periods).await?);
        }
        Ok(rows)
    }

    async fn summarize_principal(
        &self,
        scope: &LimitScope,
        principal: &SpendPrincipal,
        counters: &LimitCounters,
        periods: &[SpendPeriod],
    ) -> ApiResult<Vec<SpendSummaryResource>> {
        let user = if let LimitScope::User(id) = scope { Some(id) } else { None };
        let sources = self.store.limit_settings.sources(user, principal.group.as_ref()).await?;
        let groups: Vec<String> =
            sources.groups.iter().map(|(scope, _)| scope.to_string()).collect();
        let now = self.store.clock().now();
        let (row_scope, actor) = (summary_scope(scope), actor(scope, principal));
        let Some((row_scope, actor)) = row_scope.zip(actor) else { return Ok(Vec::new()) };
        let row = |period: &SpendPeriod| {
            let (period, window) = (*period, LimitPeriod::from(*period));
            let found = sources.find_cap(scope, window);
            if found.is_none() && periods.is_empty() {
                return None;
            }
            let source = found.as_ref().map(|(source, _)| source);
            Some(SpendSummaryResource {
                scope: row_scope.clone(),
                actor: actor.clone(),
                groups: groups.clone(),
                period,
                amount: found.as_ref().and_then(|(_, cap)| cap.amount()).map(UsdCents::from),
                currency: Currency::Usd,
                source: source.and_then(SpendLimitScope::from_limit_scope),
                spend_limit_id: source
                    .and_then(|scope| SpendLimitId::new(scope.clone(), window).ok()),
                period_to_date_spend: counters.spent(window, now).into(),
            })
        };
        let all = if periods.is_empty() { SpendPeriod::ALL.as_slice() } else { periods };
        Ok(all.iter().filter_map(row).collect())
    }
}

/// The scope of a row: rows are about users, and keys without a user.
fn summary_scope(scope: &LimitScope) -> Option<SpendSummaryScope> {
    match scope.clone() {
        LimitScope::User(user_id) => Some(SpendSummaryScope::User { user_id }),
        LimitScope::Key(api_key_id) => Some(SpendSummaryScope::ApiKey { api_key_id }),
        LimitScope::Group(_) | LimitScope::Organization => None,
    }
}

fn actor(scope: &LimitScope, principal: &SpendPrincipal) -> Option<SpendActor> {
    let (name, email_address) = (principal.name.clone(), principal.email.clone());
    match scope.clone() {
        LimitScope::User(user_id) => {
            Some(SpendActor::UserActor { user_id, name, email_address, deleted: false })
        }
        LimitScope::Key(api_key_id) => Some(SpendActor::ApiKeyActor { api_key_id, name }),
        LimitScope::Group(_) | LimitScope::Organization => None,
    }
}
