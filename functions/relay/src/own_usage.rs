//! A key's own view: what it may do, and what is counted against its limits.
//!
//! The relay may not read the usage table, so a key without limits sees no amounts here.

use crate::authenticate::Caller;
use crate::body::Body;
use crate::reply::{self, Refusal};
use crate::{Asked, Means};
use baton_domain::limit::{Period, minute, utilization};
use baton_domain::reservation::Counted;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

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
            "expires_at": key.expires_at, "limits": key.limits,
        });
        if key.limits.any() {
            let counted = self.store.counted(&key.id).await.map_err(|e| Refusal::store(&e))?;
            let spend = Period::ALL.map(|period| spend(&counted, caller, period, asked.at));
            view["spend"] = json!(spend);
            let this_minute = minute(asked.at);
            view["requests_this_minute"] =
                json!(counted.windows.get(&this_minute.name).copied().unwrap_or_default());
            view["open_requests"] = json!(counted.open.len());
        }
        Ok(reply::json(StatusCode::OK, view.to_string()))
    }
}

fn spend(counted: &Counted, caller: &Caller, period: Period, at: Timestamp) -> Value {
    let (spent, limit) = (counted.spent(period, at), caller.key().limits.money(period));
    json!({
        "period": period.as_str(),
        "limit_usd": limit,
        "spent_usd": spent,
        "reserved_usd": counted.reserved(period, at),
        "utilization": limit.map(|limit| utilization(spent, limit)),
        "resets_at": period.window(at).resets_at,
    })
}
