//! The health of accounts for operators; `/accounts/{id}/test`, `/accounts/{id}/reset` and
//! `/accounts/{id}/refresh`.

use crate::answer::{Answer, Refused, Told, id};
use crate::visit::{Note, Visit};
use crate::{Office, Shared};
use axum::Json;
use axum::extract::{Path, State};
use baton_cloud::sign_in::{Renewal, renew};
use baton_cloud::store::{Edit, StoreError, Stored};
use baton_cloud::upstream::{Proof, Proved, Signer, Subject, Upstream};
use baton_domain::account::Account;
use baton_domain::health::{Health, Rest, Standing, State as HealthState};
use baton_domain::id::AccountId;
use baton_domain::reason::RestReason;
use baton_domain::token::Why;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// An account's health as the API returns it.
pub(crate) struct Status {
    pub(crate) name: &'static str,
    pub(crate) reason: Option<String>,
    pub(crate) until: Option<Timestamp>,
    /// Models and model families in cooldown, with the reason and the end of each.
    pub(crate) models: Map<String, Value>,
}

impl Status {
    pub(crate) fn of(account: &Account, health: &Health, now: Timestamp) -> Self {
        let (name, reason, until) = match health.overall(now) {
            _ if !account.enabled => ("disabled", None, None),
            Standing::Ready => match limited_model(health, now) {
                Some((name, rest)) => {
                    ("ready", Some(format!("{name}: {}", rest.reason)), Some(rest.until))
                }
                None => ("ready", None, None),
            },
            Standing::HalfOpen => match health.doubt() {
                Some(reason) => {
                    let words = format!("{reason}; the next request shows whether it still does");
                    ("unproven", Some(words), None)
                }
                None => ("ready", Some("the next request probes it".to_owned()), None),
            },
            Standing::Cooling { until, reason, .. } => {
                ("cooling", Some(reason.to_string()), Some(until))
            }
            Standing::AuthFailed { reason, detail } => {
                let words = detail.map_or_else(|| reason.to_string(), str::to_owned);
                ("auth_failed", Some(words), None)
            }
        };
        let fast = health.fast.iter().map(|rest| ("speed: fast".to_owned(), rest));
        let parts = health.families.iter().chain(&health.models);
        let parts = parts.map(|(name, rest)| (name.clone(), rest)).chain(fast);
        let models = parts.filter(|(_, rest)| rest.until > now).map(|(name, rest)| {
            let shown = json!({
                "until": rest.until, "reason": rest.reason.to_string(), "is_guess": rest.is_guess,
            });
            (name, shown)
        });
        Self { name, reason, until, models: models.collect() }
    }
}

/// Of the models with a rate limit cooldown, the one with the latest end.
fn limited_model(health: &Health, now: Timestamp) -> Option<(&str, &Rest)> {
    let is_limited = |rest: &Rest| rest.until > now && rest.reason == RestReason::RateLimited;
    let parts = health.families.iter().chain(&health.models);
    let parts = parts.map(|(name, rest)| (name.as_str(), rest));
    let fast = health.fast.iter().map(|rest| ("speed: fast", rest));
    parts.chain(fast).filter(|(_, rest)| is_limited(rest)).max_by_key(|(_, rest)| rest.until)
}

/// `POST /accounts/{id}/reset`: clears the health of the account. The audit row is written first,
/// because health has its own conditional write.
pub(crate) async fn reset(State(office): Shared, visit: Visit, Path(path): Path<String>) -> Answer {
    let stored = office.find::<Account>(&id(&path)?).await?;
    let before = office.view_now(&stored).await?;
    let note = Note::did("reset", &stored.value.id, (before, Value::Null));
    office.enact(&visit.unrepeatable(), Edit::default(), note, Told::gone()).await?;
    office.reset_health(&stored.value.id).await?;
    office.view_now(&stored).await.map(Told::ok)
}

/// `POST /accounts/{id}/refresh`: renews the account's token now.
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
        Renewal::Failed(why) => {
            Err(Refused::bad(format!("the token endpoint issued no token: {why}")))
        }
        Renewal::Elsewhere => Err(StoreError::Conflict.into()),
        Renewal::NotDue => Err(Refused::bad(
            "the last renewal failed permanently; give the account a new credential",
        )),
    }
}

/// `POST /accounts/{id}/test`: makes free calls with the account's credential. Their outcome
/// changes the account's health, for worse or for better.
pub(crate) async fn test(State(office): Shared, Path(path): Path<String>) -> Answer<Json<Value>> {
    let stored = office.find::<Account>(&id(&path)?).await?;
    let (id, begun) = (&stored.value.id, office.store.clock().now());
    office.store.read_health(std::slice::from_ref(id)).await?;
    let proved = office.prove(&stored).await;
    let now = office.store.clock().now();
    office.store.change_health(id, |health| tested(health, &proved, now)).await?;
    let (is_ok, message) = result_of(proved.proof, proved.effect.is_some(), proved.status);
    let message = message.unwrap_or(proved.message);
    let millis = now.duration_since(begun).as_millis();
    Ok(Json(json!({
        "id": stored.value.id, "ok": is_ok,
        "upstream_status": proved.status.map(|status| status.as_u16()), "message": message,
        "duration_ms": u64::try_from(millis).unwrap_or_default(),
    })))
}

/// Whether a test shows that the account can be used (nothing where it shows neither), and the words for
/// it where they are not the upstream's own.
fn result_of(
    proof: Proof,
    has_effect: bool,
    status: Option<StatusCode>,
) -> (Option<bool>, Option<String>) {
    let number = status.map(|status| status.as_u16()).unwrap_or_default();
    let is_refusal = matches!(number, 401 | 403);
    match (proof, status) {
        _ if has_effect => (Some(false), None),
        (Proof::Accepted | Proof::Unproven, Some(status)) if status.is_redirection() => {
            let words = format!(
                "it answers with a redirect ({number}), which is not followed; is `base_url` right?"
            );
            (Some(false), Some(words))
        }
        (Proof::Accepted, Some(_)) if !is_refusal => (Some(true), Some("it answers".to_owned())),
        (Proof::Accepted | Proof::Unproven, Some(_)) => {
            let words = format!(
                "it answers {number}, but it answers a made-up credential in the same way: this does \
                 not show whether the account's own is good, and only a request will"
            );
            (None, Some(words))
        }
        (Proof::Unproven, None) => (None, None),
        (Proof::Accepted | Proof::Refused(_) | Proof::Unknown, _) => (Some(false), None),
    }
}

/// The health after a test. Rate limits that the upstream has announced stay until they end,
/// because a free call shows nothing about them.
fn tested(health: &Health, proved: &Proved, now: Timestamp) -> Option<Health> {
    let judged = proved.judged(health, now);
    let base = judged.as_ref().unwrap_or(health);
    let is_good = proved.proof == Proof::Accepted && proved.effect.is_none() && is_over(base);
    let forgiven = is_good.then(|| base.forgiven(now));
    forgiven.or(judged)
}

/// Whether a successful free call shows that the current state is over.
fn is_over(health: &Health) -> bool {
    match &health.state {
        HealthState::Ready => false,
        HealthState::Cooling(rest) => rest.reason != RestReason::RateLimited,
        HealthState::Open { .. } | HealthState::AuthFailed { .. } => true,
    }
}

impl Office {
    /// Clears the account's health, except for the utilization.
    pub(crate) async fn reset_health(&self, id: &AccountId) -> Result<(), StoreError> {
        self.store.read_health(std::slice::from_ref(id)).await?;
        let now = self.store.clock().now();
        let blank = |health: &Health| {
            let after = health.forgiven(now);
            (after != *health).then_some(after)
        };
        self.store.change_health(id, blank).await
    }

    /// Checks with free calls whether the account's upstream accepts the credential.
    async fn prove(&self, stored: &Stored<Account>) -> Proved {
        let account = &stored.value;
        let asked = async {
            let said = |error: StoreError| error.to_string();
            let credential = match self.store.credential(stored).await {
                Err(StoreError::Sealed(_)) if account.credential.is_renewed() => {
                    return Err(
                        "the account has no token: sign in to it, or have it renewed with \
                                POST /accounts/{id}/refresh"
                            .to_owned(),
                    );
                }
                credential => credential.map_err(said)?,
            };
            let proxy = self.store.open_proxy(account).await.map_err(said)?;
            let upstream = Upstream::new(&self.timers, self.allow_private_upstreams)
                .and_then(|upstream| upstream.through(proxy.as_ref()))
                .map_err(|error| error.to_string())?;
            let (signer, bits) =
                (Signer::new(self.store.clock().clone()), self.store.dice().bits());
            let (upstream, signer, credential) = (&upstream, &signer, &credential);
            let subject = Subject { upstream, signer, account, credential, bits };
            let health = self.store.health(&account.id);
            Ok(subject.prove(&health, self.store.clock().now()).await)
        };
        asked.await.unwrap_or_else(Proved::not_asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_says_no_more_than_its_calls_show() {
        let check = |proof, status: u16, expect: Option<bool>| {
            let (is_ok, words) = result_of(proof, false, StatusCode::from_u16(status).ok());
            assert_eq!(is_ok, expect, "{proof:?} {status}: {words:?}");
        };
        let refused = Proof::Refused(RestReason::CredentialRefused);
        check(Proof::Accepted, 200, Some(true));
        check(Proof::Accepted, 400, Some(true));
        check(Proof::Accepted, 403, None);
        check(Proof::Unproven, 200, None);
        check(Proof::Unproven, 400, None);
        check(Proof::Unproven, 403, None);
        check(Proof::Unproven, 404, None);
        check(Proof::Unproven, 307, Some(false));
        check(Proof::Accepted, 302, Some(false));
        check(refused, 401, Some(false));
        check(Proof::Unknown, 500, Some(false));
        assert_eq!(result_of(Proof::Unknown, false, None), (Some(false), None));
        assert_eq!(result_of(Proof::Unproven, false, None), (None, None), "the message says why");
        // An account without money takes the credential, and cannot be used.
        assert_eq!(result_of(Proof::Accepted, true, Some(StatusCode::OK)), (Some(false), None));
    }
}
