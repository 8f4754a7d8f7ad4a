//! A key's own view: what it may do, and what is counted against the limits that bind it.
//!
//! The relay may not read the usage table, so a key that nothing limits sees no amounts here.

use crate::authenticate::Caller;
use crate::body::Body;
use crate::reply::{self, Refusal};
use crate::{Asked, Means};
use baton_domain::key::Limits;
use baton_domain::limit::{Period, utilization};
use baton_domain::money::PicoUsd;
use baton_domain::reservation::Counted;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

impl Means {
    /// `GET /v1/usage`
    pub(crate) async fn own_usage(
        &self,
        asked: &Asked,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        let key = caller.key();
        let mut view = json!({
            "id": key.id, "name": key.name, "group_id": key.group_id, "models": key.models,
            "expires_at": key.expires_at, "limits": key.limits, "estimate": key.estimate,
            "scopes": [],
        });
        let bounds = self.store.bounds(key).await.map_err(|error| Refusal::store(&error))?;
        if bounds.any() {
            let counted = self.store.counted_in(&bounds.scopes(), true).await;
            let counted = counted.map_err(|error| Refusal::store(&error))?;
            let mut scopes = Vec::new();
            for ((scope, limits), counted) in bounds.all().zip(&counted) {
                let mut row = amounts(counted, limits, asked.at);
                if scopes.is_empty() {
                    merge(&mut view, row.clone());
                } else {
                    // A pool does not know its requests one by one.
                    row.remove("overshoot_usd_max");
                }
                row.insert("scope".to_owned(), json!(scope.kind()));
                row.insert("id".to_owned(), json!(scope));
                row.insert("limits".to_owned(), json!(limits));
                scopes.push(row);
            }
            view["scopes"] = json!(scopes);
        }
        Ok(reply::json(StatusCode::OK, view.to_string()))
    }
}

/// What is counted of one scope.
fn amounts(counted: &Counted, limits: &Limits, at: Timestamp) -> Map<String, Value> {
    let spend = Period::ALL.map(|period| spend(counted, limits, period, at));
    Map::from_iter([
        ("spend".to_owned(), json!(spend)),
        ("requests_this_minute".to_owned(), json!(counted.requests_in_minute(at))),
        ("open_requests".to_owned(), json!(counted.under_way())),
        ("overshoot_usd_max".to_owned(), json!(counted.beyond())),
    ])
}

fn spend(counted: &Counted, limits: &Limits, period: Period, at: Timestamp) -> Value {
    let (spent, limit) = (counted.spent(period, at), limits.money(period));
    let window = period.window(at);
    let committed = counted.committed(&window);
    json!({
        "period": period.as_str(),
        "limit_usd": limit,
        "spent_usd": spent,
        "reserved_usd": counted.reserved(period, at),
        "remaining_usd": limit.map(|limit| (limit - committed).max(PicoUsd::ZERO)),
        "utilization": limit.map(|limit| utilization(spent, limit)),
        "resets_at": window.resets_at,
    })
}

fn merge(view: &mut Value, row: Map<String, Value>) {
    if let Some(view) = view.as_object_mut() {
        view.extend(row);
    }
}
