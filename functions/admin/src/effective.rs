//! `/v1/organizations/spend_limits/effective`: each person's spend limit, the scope that it comes
//! from, and the current spend.

use crate::answer::{Answer, Refused};
use crate::spend_limits::{Pairs, cents, many, one, page_size, scope_view};
use crate::{Office, Shared};
use axum::Json;
use axum::extract::{Query, State};
use baton_domain::bounds::person;
use baton_domain::id::GroupId;
use baton_domain::key::{Key, User};
use baton_domain::limit::Period;
use baton_domain::money::PicoUsd;
use baton_domain::reservation::Counted;
use baton_domain::scope::Scope;
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

pub(crate) async fn list(State(office): Shared, Query(pairs): Pairs) -> Answer<Json<Value>> {
    let limit = page_size(&pairs)?;
    let periods = periods(&pairs)?;
    let by_spend = match (one(&pairs, "sort"), periods.as_slice()) {
        (None, _) => None,
        (Some("spend_desc"), [period]) => Some(*period),
        _ => {
            return Err(Refused::bad(
                "`sort`: expected `spend_desc` together with exactly one `period[]`",
            ));
        }
    };
    let mut people: Vec<(Scope, Principal)> = office.people(&pairs).await?.into_iter().collect();
    let start = match (one(&pairs, "page"), by_spend) {
        (None, _) => 0,
        (Some(page), None) => {
            let last = page.strip_prefix("page_").unwrap_or(page);
            people.partition_point(|(scope, _)| scope.to_string().as_str() <= last)
        }
        (Some(page), Some(_)) => {
            let bad = |_| Refused::bad("`page`: expected a `next_page` of this list");
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
    let data = office.summaries(page, &periods).await?;
    Ok(Json(json!({ "data": data, "next_page": next })))
}

/// The requested periods. An empty list means the periods in which a limit applies.
fn periods(pairs: &[(String, String)]) -> Answer<Vec<Period>> {
    let read = |name: &str| {
        let found = PERIODS.into_iter().find(|period| period.as_str() == name);
        found.ok_or_else(|| Refused::bad("`period[]`: expected daily, weekly or monthly"))
    };
    many(pairs, "period").into_iter().map(read).collect()
}

impl Office {
    /// The requested users and keys without a user, sorted by id.
    async fn people(&self, pairs: &[(String, String)]) -> Answer<BTreeMap<Scope, Principal>> {
        let mut people = BTreeMap::<Scope, Principal>::new();
        for key in self.all::<Key>().await? {
            let key = key.value;
            let principal = people.entry(person(&key)).or_default();
            if key.user_id.is_none() {
                *principal =
                    Principal { name: Some(key.name), email: None, group: Some(key.group_id) };
            }
        }
        for user in self.all::<User>().await? {
            let User { id, name, email, .. } = user.value;
            people.insert(Scope::User(id), Principal { name: Some(name), email, group: None });
        }
        let ids = many(pairs, "user_ids");
        let wanted = one(pairs, "q").map(str::to_lowercase).unwrap_or_default();
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
        people: Vec<(Scope, Principal)>,
        period: Period,
    ) -> Answer<Vec<(Scope, Principal)>> {
        let scopes: Vec<Scope> = people.iter().map(|(scope, _)| scope.clone()).collect();
        let counted = self.store.counted_in(&scopes, false).await?;
        let now = self.store.clock().now();
        let mut spent: Vec<(PicoUsd, (Scope, Principal))> =
            counted.iter().map(|one| one.spent(period, now)).zip(people).collect();
        spent.sort_by_key(|(spent, _)| std::cmp::Reverse(*spent));
        Ok(spent.into_iter().map(|(_, person)| person).collect())
    }

    async fn summaries(
        &self,
        people: &[(Scope, Principal)],
        periods: &[Period],
    ) -> Answer<Vec<Value>> {
        let scopes: Vec<Scope> = people.iter().map(|(scope, _)| scope.clone()).collect();
        let counted = self.store.counted_in(&scopes, false).await?;
        let mut rows = Vec::new();
        for ((scope, principal), counted) in people.iter().zip(&counted) {
            rows.extend(self.summary_of(scope, principal, counted, periods).await?);
        }
        Ok(rows)
    }

    async fn summary_of(
        &self,
        scope: &Scope,
        principal: &Principal,
        counted: &Counted,
        periods: &[Period],
    ) -> Answer<Vec<Value>> {
        let user = if let Scope::User(id) = scope { Some(id) } else { None };
        let sources = self.store.sources(user, principal.group.as_ref()).await?;
        let groups: Vec<String> =
            sources.groups.iter().map(|(scope, _)| scope.to_string()).collect();
        let now = self.store.clock().now();
        let row = |period: &Period| {
            let found = sources.cap(scope, *period);
            if found.is_none() && periods.is_empty() {
                return None;
            }
            let source = found.as_ref().map(|(source, _)| source);
            let id = source.and_then(|scope| SpendLimitId::new(scope.clone(), *period).ok());
            Some(json!({
                "type": "spend_summary", "scope": scope_view(scope),
                "actor": actor(scope, principal), "groups": groups, "period": period.as_str(),
                "amount": found.as_ref().and_then(|(_, cap)| cap.amount()).map(cents),
                "currency": "USD", "source": source.map(scope_view), "spend_limit_id": id,
                "period_to_date_spend": cents(counted.spent(*period, now)),
            }))
        };
        let all = if periods.is_empty() { PERIODS.as_slice() } else { periods };
        Ok(all.iter().filter_map(row).collect())
    }
}

fn actor(scope: &Scope, principal: &Principal) -> Value {
    match scope {
        Scope::User(id) => json!({
            "type": "user_actor", "user_id": id, "name": principal.name,
            "email_address": principal.email, "deleted": false,
        }),
        _ => json!({ "type": "api_key_actor", "api_key_id": scope, "name": principal.name }),
    }
}
