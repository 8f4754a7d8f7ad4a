//! A key's view of itself: its settings, and what counts against its limits.
//!
//! The relay has no permission to read the usage table, so a key without limits sees no amounts.

use crate::authenticate::AuthenticatedKey;
use crate::body::RelayBody;
use crate::client_response::{self, RelayError};
use crate::{RelayState, RequestContext};
use baton_domain::key::Limits;
use baton_domain::limit::{LimitPeriod, utilization};
use baton_domain::money::PicoUsd;
use baton_domain::reservation::LimitCounters;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

impl RelayState {
    /// `GET /v1/usage`
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn get_key_usage(
        &self,
        request: &RequestContext,
        caller: &AuthenticatedKey,
    ) -> Result<Response<RelayBody>, RelayError> {
        let key = caller.key();
        let mut view = json!({
            "id": key.id, "name": key.name, "group_id": key.group_id, "models": key.models,
            "expires_at": key.expires_at, "limits": key.limits, "estimate": key.estimate,
            "scopes": [],
        });
        let effective_limits = self.load_effective_limits(key).await?;
        if effective_limits.has_limits() {
            let counters =
                self.store.counters.read_counters(&effective_limits.scopes(), true).await;
            let counters = counters.map_err(|error| RelayError::store_unavailable(&error))?;
            let mut scopes = Vec::new();
            for ((scope, limits), counters) in effective_limits.scoped_limits().zip(&counters) {
                let mut row = scope_usage_json(counters, limits, request.at);
                if scopes.is_empty() {
                    merge_fields(&mut view, row.clone());
                } else {
                    // The counters of a shared limit do not hold its single requests, so there is
                    // no such amount.
                    row.remove("overshoot_usd_max");
                }
                row.insert("scope".to_owned(), json!(scope.kind()));
                row.insert("id".to_owned(), json!(scope));
                row.insert("limits".to_owned(), json!(limits));
                scopes.push(row);
            }
            view["scopes"] = json!(scopes);
        }
        Ok(client_response::json_response(StatusCode::OK, view.to_string()))
    }
}

/// Returns the counters of one scope in the form of the API.
fn scope_usage_json(
    counters: &LimitCounters,
    limits: &Limits,
    at: Timestamp,
) -> Map<String, Value> {
    let spend = LimitPeriod::ALL.map(|period| spend_json(counters, limits, period, at));
    Map::from_iter([
        ("spend".to_owned(), json!(spend)),
        ("requests_this_minute".to_owned(), json!(counters.requests_in_minute(at))),
        ("open_requests".to_owned(), json!(counters.open_requests())),
        ("overshoot_usd_max".to_owned(), json!(counters.unreserved_cost())),
    ])
}

fn spend_json(
    counters: &LimitCounters,
    limits: &Limits,
    period: LimitPeriod,
    at: Timestamp,
) -> Value {
    let (spent, limit) = (counters.spent(period, at), limits.money(period));
    let window = period.window(at);
    let committed = counters.committed_amount(&window);
    json!({
        "period": period.as_str(),
        "limit_usd": limit,
        "spent_usd": spent,
        "reserved_usd": counters.reserved(period, at),
        "remaining_usd": limit.map(|limit| (limit - committed).max(PicoUsd::ZERO)),
        "utilization": limit.map(|limit| utilization(spent, limit)),
        "resets_at": window.resets_at,
    })
}

fn merge_fields(view: &mut Value, row: Map<String, Value>) {
    if let Some(view) = view.as_object_mut() {
        view.extend(row);
    }
}
