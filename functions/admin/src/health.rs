//! How accounts are doing, as operators see it; `/accounts/{id}/test` and `/accounts/{id}/reset`.

use crate::answer::{Answer, Refused, Told, id};
use crate::visit::{Note, Visit};
use crate::{Office, Shared};
use axum::Json;
use axum::extract::{Path, State};
use baton_cloud::sign_in::{Renewal, renew};
use baton_cloud::store::{Edit, StoreError, Stored};
use baton_cloud::upstream::{Upstream, free_call};
use baton_domain::account::{Account, Provider};
use baton_domain::health::{Health, Standing};
use baton_domain::id::AccountId;
use baton_domain::token::Why;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// An account's health in the words of the API.
pub(crate) struct Status {
    pub(crate) name: &'static str,
    pub(crate) reason: Option<String>,
    pub(crate) until: Option<Timestamp>,
    /// Model families that cool down by themselves: until when, and why.
    pub(crate) models: Map<String, Value>,
}

impl Status {
    pub(crate) fn of(account: &Account, health: &Health, now: Timestamp) -> Self {
        let (name, reason, until) = match health.overall(now) {
            _ if !account.enabled => ("disabled", None, None),
            Standing::Ready => ("ready", None, None),
            Standing::HalfOpen => ("ready", Some("the next request probes it"), None),
            Standing::Cooling { until, reason, .. } => ("cooling", Some(reason), Some(until)),
            Standing::AuthFailed { reason } => ("auth_failed", Some(reason), None),
        };
        let resting = health.families.iter().filter(|(_, rest)| rest.until > now);
        let models = resting.map(|(family, rest)| (family.clone(), json!(rest))).collect();
        Self { name, reason: reason.map(str::to_owned), until, models }
    }
}

/// `POST /accounts/{id}/reset`: whatever is held against the account is forgotten. The row of the
/// audit trail comes first, since health is written by a condition of its own.
pub(crate) async fn reset(State(office): Shared, visit: Visit, Path(path): Path<String>) -> Answer {
    let stored = office.find::<Account>(&id(&path)?).await?;
    let before = office.view_now(&stored).await?;
    let note = Note::did("reset", &stored.value.id, (before, Value::Null));
    office.enact(&visit.unrepeatable(), Edit::default(), note, Told::gone()).await?;
    office.reset_health(&stored.value.id).await?;
    office.view_now(&stored).await.map(Told::ok)
}

/// `POST /accounts/{id}/refresh`: a new token now.
pub(crate) async fn refresh(
    State(office): Shared,
    visit: Visit,
    Path(path): Path<String>,
) -> Answer {
    let stored = office.find::<Account>(&id(&path)?).await?;
    if !stored.value.credential.is_renewed() {
        return Err(Refused::bad("the account has a static key, which is not renewed"));
    }
    let (store, endpoint) = (&office.store, office.endpoint()?);
    let before = office.view_now(&stored).await?;
    let note = Note::did("refresh", &stored.value.id, (before, Value::Null));
    office.enact(&visit.unrepeatable(), Edit::default(), note, Told::gone()).await?;
    match renew(store, endpoint, &stored.value.id, Why::Operator).await? {
        Renewal::Renewed => office.view_now(&stored).await.map(Told::ok),
        Renewal::Failed(why) => Err(Refused::bad(format!("no token was had: {why}"))),
        Renewal::Elsewhere => Err(StoreError::Conflict.into()),
        Renewal::NotDue => Err(Refused::bad(
            "the last renewal has ended for good; give the account a new credential",
        )),
    }
}

/// `POST /accounts/{id}/test`: one free call with the account's credential. It changes nothing.
pub(crate) async fn test(State(office): Shared, Path(path): Path<String>) -> Answer<Json<Value>> {
    let stored = office.find::<Account>(&id(&path)?).await?;
    let begun = office.store.clock().now();
    let (status, message) = match office.ask_upstream(&stored).await {
        Ok((status, _)) if status.is_success() => (Some(status), "it answers".to_owned()),
        Ok((status, said)) => (Some(status), said),
        Err(why) => (None, why),
    };
    let millis = office.store.clock().now().duration_since(begun).as_millis();
    Ok(Json(json!({
        "id": stored.value.id, "ok": status.is_some_and(|status| status.is_success()),
        "upstream_status": status.map(|status| status.as_u16()), "message": message,
        "duration_ms": u64::try_from(millis).unwrap_or_default(),
    })))
}

impl Office {
    /// Forgets what is held against the account; how much is used stays known.
    pub(crate) async fn reset_health(&self, id: &AccountId) -> Result<(), StoreError> {
        self.store.read_health(std::slice::from_ref(id)).await?;
        let now = self.store.clock().now();
        let blank = |health: &Health| {
            let after = health.forgiven(now);
            (after != *health).then_some(after)
        };
        self.store.change_health(id, blank).await
    }

    /// Asks the account's upstream for a model: its status, and what it says of an error.
    async fn ask_upstream(&self, stored: &Stored<Account>) -> Result<(StatusCode, String), String> {
        if stored.value.provider == Provider::Bedrock {
            return self.ask_bedrock(stored).await;
        }
        let said = |error: StoreError| error.to_string();
        let credential = self.store.credential(stored).await.map_err(said)?;
        let proxy = self.store.open_proxy(&stored.value).await.map_err(said)?;
        let upstream = Upstream::new(&self.timers, self.allow_private_upstreams)
            .and_then(|upstream| upstream.through(proxy.as_ref()))
            .map_err(|error| error.to_string())?;
        free_call(&upstream, &stored.value, &credential).await
    }
}
