//! The models that a key may use: the upstream's own list, less what the key or the account does
//! not allow; if the upstream has none to offer in time, the models of the price table.

use crate::authenticate::Caller;
use crate::body::Body;
use crate::choose::Session;
use crate::reply::{self, Refusal};
use crate::{Asked, Means, attempt};
use baton_cloud::store::PoolMember;
use baton_cloud::upstream::trimmed;
use baton_domain::account::Provider;
use baton_domain::model::{allows, map};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::slice::from_ref;
use std::time::Duration;

/// Claude Code gives up after 3 s.
const PATIENCE: Duration = Duration::from_millis(2500);
const LIST_BYTES_MAX: usize = 4 << 20;

impl Means {
    /// `GET /v1/models`
    pub(crate) async fn models(
        &self,
        asked: &Asked,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        let chooser = self.chooser(caller, "", Session::Drawn(0)).await?;
        let Ok(at) = chooser.next(&self.store, self.store.clock().now()) else {
            return Ok(self.catalogue(caller, &chooser.pool().members));
        };
        let member = &chooser.pool().members[at];
        match self.ask_upstream(asked, member).await {
            Some((head, body)) => Ok(self.narrowed(asked, caller, member, (head, body))),
            None => Ok(self.catalogue(caller, from_ref(member))),
        }
    }

    /// `GET /v1/models/{id}`
    pub(crate) async fn model(
        &self,
        asked: &Asked,
        caller: &Caller,
        id: &str,
    ) -> Result<Response<Body>, Refusal> {
        caller.may_use(id)?;
        let (chooser, now) =
            (self.chooser(caller, id, Session::Drawn(0)).await?, self.store.clock().now());
        let at = chooser.next(&self.store, now).map_err(|nobody| nobody.refusal(id, now))?;
        let member = &chooser.pool().members[at];
        if let Some((head, body)) = self.ask_upstream(asked, member).await {
            let head = reply::relayed_head(asked, &head);
            return Ok(Response::from_parts(head, Body::ready(body)));
        }
        if self.prices.models().any(|(model, _)| model == id) {
            return Ok(reply::json(StatusCode::OK, entry(id).to_string()));
        }
        Err(Refusal::unknown_model(id))
    }

    /// `GET /inference-profiles`: the same in Bedrock's words. Of Bedrock accounts these are the
    /// profiles that models are mapped to, of others the models under Bedrock's name.
    pub(crate) async fn inference_profiles(
        &self,
        caller: &Caller,
    ) -> Result<Response<Body>, Refusal> {
        let chooser = self.chooser(caller, "", Session::Drawn(0)).await?;
        let mut ids = BTreeSet::new();
        for member in chooser.pool().members.iter().filter(|member| member.account.enabled) {
            let models = self.prices.models().map(|(id, _)| id);
            for id in models.filter(|id| may_see(caller, from_ref(member), id)) {
                let own = || format!("anthropic.{id}");
                ids.insert(map(&member.account.model_map, id).map_or_else(own, str::to_owned));
            }
        }
        let profile = |id: &String| {
            json!({
                "inferenceProfileId": id, "inferenceProfileName": id, "status": "ACTIVE",
                "type": "SYSTEM_DEFINED", "models": [],
            })
        };
        let list: Vec<Value> =
            ids.iter().filter(|id| id.contains("anthropic.")).map(profile).collect();
        let list = json!({ "inferenceProfileSummaries": list });
        Ok(reply::json(StatusCode::OK, list.to_string()))
    }

    /// The upstream's good answer to the same question, if it comes in time.
    async fn ask_upstream(&self, asked: &Asked, member: &PoolMember) -> Option<(Parts, Bytes)> {
        if member.account.provider == Provider::Bedrock {
            return None;
        }
        let base = trimmed(&member.account.base_url);
        let url = format!("{base}{}", asked.path_and_query());
        let headers = attempt::headers(asked, member, true).ok()?;
        let call = async {
            let upstream = self.upstream.through(member.proxy.as_ref()).ok()?;
            let answer = upstream.call(Method::GET, &url, headers, Bytes::new()).await.ok()?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, LIST_BYTES_MAX).collect().await.ok()?.to_bytes();
            head.status.is_success().then_some((head, body))
        };
        tokio::time::timeout(PATIENCE, call).await.ok().flatten()
    }

    /// The upstream's list as it is, unless there is something to leave out.
    fn narrowed(
        &self,
        asked: &Asked,
        caller: &Caller,
        member: &PoolMember,
        (head, body): (Parts, Bytes),
    ) -> Response<Body> {
        let mut head = reply::relayed_head(asked, &head);
        let unrestricted = caller.key().models.is_empty()
            && member.account.models.is_empty()
            && member.account.model_map.is_empty();
        if unrestricted {
            return Response::from_parts(head, Body::ready(body));
        }
        let Ok(mut list) = serde_json::from_slice::<Value>(&body) else {
            return self.catalogue(caller, from_ref(member));
        };
        let id = |model: &Value| model["id"].as_str().map(str::to_owned);
        if let Some(data) = list["data"].as_array_mut() {
            data.retain(|model| id(model).is_some_and(|id| may_see(caller, from_ref(member), &id)));
            let ends =
                [("first_id", data.first().and_then(id)), ("last_id", data.last().and_then(id))];
            for (name, value) in ends {
                list[name] = value.map_or(Value::Null, Value::String);
            }
        }
        head.headers.remove(CONTENT_LENGTH);
        Response::from_parts(head, Body::ready(list.to_string()))
    }

    /// The models of the price table, for accounts that do not list their own.
    fn catalogue(&self, caller: &Caller, members: &[PoolMember]) -> Response<Body> {
        let known = self.prices.models().map(|(id, _)| id);
        let data: Vec<Value> = known.filter(|id| may_see(caller, members, id)).map(entry).collect();
        let end = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
        let ends = (end(data.first()), end(data.last()));
        let list =
            json!({ "data": data, "first_id": ends.0, "last_id": ends.1, "has_more": false });
        reply::json(StatusCode::OK, list.to_string())
    }
}

/// Whether one of the accounts serves it (if there are any), and the key may ask for it.
fn may_see(caller: &Caller, members: &[PoolMember], id: &str) -> bool {
    let is_served = members.is_empty() || members.iter().any(|member| member.account.serves(id));
    is_served && allows(&caller.key().models, id)
}

fn entry(id: &str) -> Value {
    json!({ "type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z" })
}
