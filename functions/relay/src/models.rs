//! Model lists: the models that a key can use, from the upstreams' own lists without those that the
//! key or the account does not allow. If no upstream returns a list in time, the models of the
//! price table are listed, including those with an operator's own price as far as they are in
//! memory.
//!
//! If all accounts of the group belong to one vendor and the client uses that vendor's API, the
//! list of one account is passed on. Otherwise the lists are merged in the form of the client's
//! API.

use crate::authenticate::AuthenticatedKey;
use crate::body::RelayBody;
use crate::client_response::{self, RelayError};
use crate::model_call::SessionAffinity;
use crate::unserved_request::UnservedRequest;
use crate::{RelayState, RequestContext};
use baton_domain::account::Account;
use baton_domain::model::{find_mapped_model, is_model_allowed};
use baton_domain::own_price::split_account_price;
use baton_domain::protocol::UpstreamOperation;
use baton_protocol::error::ApiFamily;
use baton_protocol::model_path::filter_models_query;
use baton_protocol::response_form::check_whole_response;
use baton_protocol::route::with_query;
use baton_providers::headers::{add_messages_version, build_request_headers, own_headers};
use baton_providers::rules;
use baton_runtime::upstream::UpstreamAddress;
use baton_store::PoolMember;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;
use std::time::Duration;

/// Less than 3 s, after which Claude Code gives up.
const LIST_TIMEOUT: Duration = Duration::from_millis(2500);
const LIST_BYTES_MAX: usize = 4 << 20;
/// The most accounts that are called for one list.
const LISTS_MAX: usize = 8;

impl RelayState {
    /// `GET /v1/models`
    ///
    /// # Errors
    /// The key's group has no account or is disabled, or the store cannot be read.
    pub(crate) async fn list_models(
        &self,
        request: &RequestContext,
        caller: &AuthenticatedKey,
    ) -> Result<Response<RelayBody>, RelayError> {
        let selector = self
            .load_account_selector(
                caller,
                UpstreamOperation::Models,
                "",
                SessionAffinity::Random(0),
            )
            .await?;
        let format = ModelListFormat::from_request(request);
        let members = &selector.pool().members;
        let is_other = |member: &PoolMember| !format.is_form_of(&member.account);
        if members.iter().any(|member| member.account.enabled && is_other(member)) {
            return Ok(self.merge_model_lists(request, caller, members, format).await);
        }
        let Ok(index) = selector.select_account(&self.store, self.store.clock().now()) else {
            return Ok(self.list_priced_models(caller, members, format));
        };
        let member = &members[index];
        match self.fetch_model_list(request, member).await {
            Some(body) => Ok(self.filter_model_list(request, caller, member, body)),
            None => Ok(self.list_priced_models(caller, from_ref(member), format)),
        }
    }

    /// `GET /v1/models/{id}`
    ///
    /// # Errors
    /// The key cannot use the model, no account serves it, or it is unknown.
    pub(crate) async fn get_model(
        &self,
        request: &RequestContext,
        caller: &AuthenticatedKey,
        id: &str,
    ) -> Result<Response<RelayBody>, RelayError> {
        caller.check_model_allowed(id)?;
        let (selector, now) = (
            self.load_account_selector(
                caller,
                UpstreamOperation::Models,
                id,
                SessionAffinity::Random(0),
            )
            .await?,
            self.store.clock().now(),
        );
        let unserved = UnservedRequest {
            model: id,
            operation: UpstreamOperation::Models,
            api_family: request.api_family,
        };
        let index = selector
            .select_account(&self.store, now)
            .map_err(|none_eligible| none_eligible.to_relay_error(&unserved, now))?;
        let (member, format) =
            (&selector.pool().members[index], ModelListFormat::from_request(request));
        if let Some(body) = self.fetch_model_list(request, member).await {
            let is_own = format.is_form_of(&member.account);
            let body = if is_own { body } else { format.model_entry(id).to_string().into() };
            return Ok(client_response::json_response(StatusCode::OK, body));
        }
        // A name that the operator gave to a model is not one that the upstream knows.
        let account = &member.account;
        let is_mapped = find_mapped_model(&account.model_map, id).is_some()
            || (!account.models.is_empty() && account.serves_model(id));
        let is_alias = selector.model() != id || is_mapped;
        let prices = self.store.prices.cached();
        if is_alias || prices.models().any(|(model, _)| model == id) {
            return Ok(client_response::json_response(
                StatusCode::OK,
                format.model_entry(id).to_string(),
            ));
        }
        Err(RelayError::unknown_model(id))
    }

    /// `GET /inference-profiles`: the model list in the form of Bedrock's API. It holds the
    /// inference profiles that accounts map models to. A Claude model without a mapping gets the
    /// prefix `anthropic.`.
    pub(crate) async fn list_inference_profiles(
        &self,
        caller: &AuthenticatedKey,
    ) -> Result<Response<RelayBody>, RelayError> {
        let selector = self
            .load_account_selector(
                caller,
                UpstreamOperation::Models,
                "",
                SessionAffinity::Random(0),
            )
            .await?;
        let (mut ids, prices) = (BTreeSet::new(), self.store.prices.cached());
        for member in selector.pool().members.iter().filter(|member| member.account.enabled) {
            let models = prices.models().map(|(id, _)| id);
            for id in models.filter(|id| is_visible(caller, from_ref(member), id)) {
                // For models of other vendors, the name at Bedrock is not known.
                let own = || id.starts_with("claude-").then(|| format!("anthropic.{id}"));
                ids.extend(
                    find_mapped_model(&member.account.model_map, id)
                        .map(str::to_owned)
                        .or_else(own),
                );
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
        Ok(client_response::json_response(StatusCode::OK, list.to_string()))
    }

    /// Returns the body of the upstream's answer to the client's request, from the cache or by a
    /// call. Returns `None` if the call fails or takes too long. All keys share the answer, so
    /// nothing of a client's headers goes into the call, and no header of the answer comes back.
    async fn fetch_model_list(
        &self,
        request: &RequestContext,
        member: &PoolMember,
    ) -> Option<Bytes> {
        rules(member.account.provider).model_list_form?;
        let query = filter_models_query(request.head.uri.query().unwrap_or_default());
        let address =
            UpstreamAddress::new(&member.account.base_url, &with_query(&request.path, &query));
        let (id, url) = (&member.account.id, address.as_str().to_owned());
        if let Some(cached) = self.model_lists.get(id, &url) {
            return Some(cached);
        }
        let account = &member.account;
        let mut headers =
            build_request_headers(account, &member.credential, &own_headers(), "identity").ok()?;
        if rules(account.provider).model_list_form == Some(ApiFamily::Anthropic) {
            add_messages_version(&mut headers);
        }
        let call = async {
            let upstream = self.upstream.with_proxy(member.proxy.as_ref()).ok()?;
            let response =
                upstream.call(Method::GET, &address, headers, Bytes::new()).await.ok()?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LIST_BYTES_MAX).collect().await.ok()?.to_bytes();
            // Some vendors answer with a bare array.
            let is_list = body.trim_ascii_start().starts_with(b"[");
            let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            let is_answer = is_list || check_whole_response(kind, &body, false).is_ok();
            (head.status.is_success() && is_answer).then_some(body)
        };
        let body = tokio::time::timeout(LIST_TIMEOUT, call).await.ok().flatten()?;
        self.model_lists.put(id, &url, &body);
        Some(body)
    }

    /// Merges the lists of several accounts, with each model once. Lists that do not arrive in time
    /// are left out.
    async fn merge_model_lists(
        &self,
        request: &RequestContext,
        caller: &AuthenticatedKey,
        members: &[PoolMember],
        format: ModelListFormat,
    ) -> Response<RelayBody> {
        let enabled = members.iter().filter(|member| member.account.enabled);
        let prices = self.store.prices.cached();
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        let has_no_list =
            |member: &&PoolMember| rules(member.account.provider).model_list_form.is_none();
        for member in enabled.clone().filter(has_no_list) {
            let priced_models = prices.models().map(|(id, _)| id);
            for id in priced_models.filter(|id| is_visible(caller, from_ref(member), id)) {
                found.insert(id.to_owned(), format.model_entry(id));
            }
        }
        let lists = enabled.take(LISTS_MAX).map(|member| async move {
            let body = self.fetch_model_list(request, member).await?;
            let mut list = serde_json::from_slice::<Value>(&body).ok()?;
            let models = list["data"].as_array_mut().map(std::mem::take)?;
            Some((member, models))
        });
        for (member, models) in join_all(lists).await.into_iter().flatten() {
            let is_own = format.is_form_of(&member.account);
            for model in models {
                let Some(id) = model["id"].as_str().map(str::to_owned) else { continue };
                if !is_visible(caller, from_ref(member), &id) {
                    continue;
                }
                // The entry from the client's own vendor has more fields, so it wins.
                if is_own {
                    found.insert(id, model);
                } else {
                    found.entry(id).or_insert_with_key(|id| format.model_entry(id));
                }
            }
        }
        if found.is_empty() {
            return self.list_priced_models(caller, members, format);
        }
        let list = format.model_list(&found.into_values().collect::<Vec<_>>());
        client_response::json_response(StatusCode::OK, list.to_string())
    }

    /// Returns the upstream's list. It stays unchanged unless models have to be removed.
    fn filter_model_list(
        &self,
        request: &RequestContext,
        caller: &AuthenticatedKey,
        member: &PoolMember,
        body: Bytes,
    ) -> Response<RelayBody> {
        let format = ModelListFormat::from_request(request);
        let unrestricted = caller.key().models.is_empty()
            && member.account.models.is_empty()
            && member.account.model_map.is_empty();
        if unrestricted {
            return client_response::json_response(StatusCode::OK, body);
        }
        let Ok(mut list) = serde_json::from_slice::<Value>(&body) else {
            return self.list_priced_models(caller, from_ref(member), format);
        };
        if let Some(data) = list["data"].as_array_mut() {
            data.retain(|model| {
                model["id"].as_str().is_some_and(|id| is_visible(caller, from_ref(member), id))
            });
            if format.0 == ApiFamily::Anthropic {
                let ends = first_and_last_id(data);
                (list["first_id"], list["last_id"]) = ends;
            }
        }
        client_response::json_response(StatusCode::OK, list.to_string())
    }

    /// Lists the models of the price table. Used when accounts return no list.
    fn list_priced_models(
        &self,
        caller: &AuthenticatedKey,
        members: &[PoolMember],
        format: ModelListFormat,
    ) -> Response<RelayBody> {
        let prices = self.store.prices.cached();
        let priced_models = prices.models().map(|(id, _)| id);
        let priced_models = priced_models.filter(|id| is_visible(caller, members, id));
        let list =
            format.model_list(&priced_models.map(|id| format.model_entry(id)).collect::<Vec<_>>());
        client_response::json_response(StatusCode::OK, list.to_string())
    }
}

/// Returns whether the key can use the model and one of the accounts serves it. Without accounts,
/// only the key decides.
fn is_visible(caller: &AuthenticatedKey, members: &[PoolMember], id: &str) -> bool {
    let is_served =
        members.is_empty() || members.iter().any(|member| member.account.serves_model(id));
    // The price of an account is not a model.
    is_served && split_account_price(id).is_none() && is_model_allowed(&caller.key().models, id)
}

fn first_and_last_id(data: &[Value]) -> (Value, Value) {
    let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
    (id(data.first()), id(data.last()))
}

/// The form of a model list. Anthropic and OpenAI use the same route for different forms.
#[derive(Clone, Copy)]
struct ModelListFormat(ApiFamily);

impl ModelListFormat {
    /// Detects the client's API from its headers: OpenAI clients send a bearer token and none of
    /// Anthropic's headers, and Anthropic clients always send a version.
    fn from_request(request: &RequestContext) -> Self {
        let has = |name: &str| request.head.headers.contains_key(name);
        let is_openai = has("authorization") && !has("anthropic-version") && !has("x-api-key");
        Self(if is_openai { ApiFamily::OpenAi } else { ApiFamily::Anthropic })
    }

    /// Returns whether the account's upstream sends lists in this form.
    fn is_form_of(self, account: &Account) -> bool {
        rules(account.provider).model_list_form == Some(self.0)
    }

    fn model_entry(self, id: &str) -> Value {
        match self.0 {
            ApiFamily::Anthropic => json!({
                "type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z",
            }),
            ApiFamily::OpenAi => {
                json!({"id": id, "object": "model", "created": 0, "owned_by": "baton"})
            }
        }
    }

    fn model_list(self, data: &[Value]) -> Value {
        match self.0 {
            ApiFamily::Anthropic => {
                let (first, last) = first_and_last_id(data);
                json!({ "data": data, "first_id": first, "last_id": last, "has_more": false })
            }
            ApiFamily::OpenAi => json!({ "object": "list", "data": data }),
        }
    }
}
