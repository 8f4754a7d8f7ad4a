//! Only one process renews a token at a time, and a rotating refresh token is never sent twice,
//! even after a crash.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_domain::account::{Account, CredentialKind};
use baton_domain::health::AccountAvailability as HealthStanding;
use baton_domain::id::{AccountId, GroupId};
use baton_domain::secret::Secret;
use baton_domain::upstream_token::{
    ClientAuth, RenewalTrigger, TokenExchange, TokenGrant, TokenSecrets, TokenStatus,
};
use baton_refresh::renew_due_tokens;
use baton_runtime::clock::Clock;
use baton_runtime::identity_token::IdentityTokens;
use baton_runtime::token_endpoint::TokenEndpoint;
use baton_runtime::upstream::UpstreamClient;
use baton_store::token_renewal::{RenewalOutcome, renew};
use baton_store::{AccountToken, ConfigEdit};
use baton_test_harness::injected_faults::InjectedFault;
use baton_test_harness::stores::AllStores;
use baton_test_harness::system::{InProcessSystem, TestSystem, stored_account};
use baton_test_harness::token_endpoint::{EndpointFault, FakeTokenEndpoint, LIFE_SECONDS};
use jiff::SignedDuration;

/// A token endpoint, in-memory stores, and an account whose first refresh token is `rt-0`.
struct RenewalSystem {
    endpoint: FakeTokenEndpoint,
    system: InProcessSystem,
    id: AccountId,
}

impl RenewalSystem {
    /// A system whose token endpoint cannot be reached.
    async fn with_unreachable_endpoint() -> Self {
        let gone = FakeTokenEndpoint::start().url();
        Self::with(&gone, FakeTokenEndpoint::start()).await
    }

    async fn started() -> Self {
        let endpoint = FakeTokenEndpoint::start();
        Self::with(&endpoint.url(), endpoint).await
    }

    async fn with(url: &str, endpoint: FakeTokenEndpoint) -> Self {
        let clock = Clock::fixed_at("2026-11-22T21:00:00Z".parse().expect("a time"));
        let system = TestSystem::builder().in_process().clock(clock).start().await;
        let store = &system.store;
        let id = AccountId::from_bits(7);
        let exchange = TokenExchange {
            token_url: url.to_owned(),
            grant: TokenGrant::RefreshToken { client_id: "baton".into(), scope: None },
            client_auth: ClientAuth::default(),
        };
        let secrets = TokenSecrets {
            refresh_token: Some(Secret::new("rt-0".into())),
            ..TokenSecrets::default()
        };
        let token = AccountToken {
            account: id.clone(),
            exchange,
            token_status: TokenStatus::default(),
            secrets,
            version: 1,
        };
        let mut edit = ConfigEdit::default();
        store
            .admin
            .editor
            .save_account(&mut edit, &store.admin.editor.new_stored(account(&id), None), &[])
            .expect("an item");
        store.admin.editor.add_token(&mut edit, &token).await.expect("an item");
        store.admin.editor.apply(edit).await.expect("saved");
        Self { endpoint, system, id }
    }

    /// The store and the token endpoint client of another process.
    fn another(&self, seed: u64) -> (AllStores, TokenEndpoint) {
        let process = self.system.another(seed);
        let upstream = UpstreamClient::new(&process.settings.timers, true).expect("a client");
        let endpoint = TokenEndpoint::new(&process.aws(), upstream, IdentityTokens::default());
        (process.store, endpoint)
    }

    /// Advances the clock by `seconds` and runs refresh in a new process.
    async fn tick_after(&self, seconds: i64) {
        self.system.clock.advance(SignedDuration::from_secs(seconds));
        let (store, token_endpoint) = self.another(u64::try_from(seconds).expect("a seed"));
        renew_due_tokens(&store.refresh, &token_endpoint).await.expect("a tick");
    }

    async fn token(&self) -> AccountToken {
        self.system.store.admin.tokens.read(&self.id).await.expect("read").expect("a token")
    }

    async fn access(&self) -> Option<String> {
        let token = self.token().await;
        token.access_token(self.system.clock.now()).map(|token| token.expose().to_owned())
    }

    /// The reason for which the account is refused, if any.
    async fn refusal(&self) -> Option<String> {
        let (store, _) = self.another(99);
        store.admin.health.read_health(std::slice::from_ref(&self.id)).await.expect("read");
        match store.admin.health.get(&self.id).overall(self.system.clock.now()) {
            HealthStanding::AuthFailed { reason, detail } => {
                Some(detail.map_or_else(|| reason.to_string(), str::to_owned))
            }
            _ => None,
        }
    }
}

fn account(id: &AccountId) -> Account {
    let account = stored_account(id.clone(), "http://127.0.0.1:9", GroupId::from_bits(1));
    Account { credential: CredentialKind::Oauth2, ..account }
}

#[tokio::test]
async fn token_is_renewed_after_three_quarters_of_its_life() {
    let system = RenewalSystem::started().await;
    system.tick_after(1).await;
    assert_eq!(system.access().await.as_deref(), Some("at-1"));
    system.tick_after(LIFE_SECONDS / 2).await;
    assert_eq!(system.endpoint.issued(), 1, "the token was renewed too early");
    system.tick_after(LIFE_SECONDS / 4).await;
    assert_eq!(system.access().await.as_deref(), Some("at-2"), "the token was not renewed");
    assert_eq!(system.endpoint.last()["refresh_token"], "rt-1");
}

#[tokio::test]
async fn concurrent_renewals_exchange_once() {
    let system = RenewalSystem::started().await;
    let ((one, one_endpoint), (two, two_endpoint)) = (system.another(11), system.another(12));
    for round in 1..=10 {
        let both = tokio::join!(
            renew(&one.refresh.tokens, &one_endpoint, &system.id, RenewalTrigger::Schedule),
            renew(&two.refresh.tokens, &two_endpoint, &system.id, RenewalTrigger::Schedule)
        );
        let renewed = [both.0, both.1]
            .into_iter()
            .filter(|it| *it.as_ref().unwrap() == RenewalOutcome::Renewed);
        assert_eq!(renewed.count(), 1, "round {round}");
        assert_eq!(system.endpoint.issued(), round);
        system.system.clock.advance(SignedDuration::from_secs(LIFE_SECONDS));
    }
    assert_eq!((system.endpoint.most_used(), system.endpoint.most_at_once()), (1, 1));
}

/// Polls `future` at most `polls` times and then drops it. Returns whether it had ended before.
async fn crash_after<T>(polls: usize, future: impl Future<Output = T>) -> bool {
    let mut future = Box::pin(future);
    let left = Arc::new(AtomicUsize::new(polls));
    std::future::poll_fn(move |context| {
        if left.load(Ordering::SeqCst) == 0 {
            return std::task::Poll::Ready(false);
        }
        left.fetch_sub(1, Ordering::SeqCst);
        future.as_mut().poll(context).map(|_| true)
    })
    .await
}

#[tokio::test]
async fn crash_at_any_await_never_reuses_refresh_token() {
    let (mut survived, mut reported) = (0, 0);
    // How often the renewal waits, and so at which places it is dropped, depends on the machine's
    // load. Some round drops it between the exchange and the store's answer.
    for _ in 0..50 {
        for polls in 0.. {
            let (is_over, is_usable) = Box::pin(crash_once(polls)).await;
            survived += usize::from(is_usable);
            reported += usize::from(!is_usable);
            if is_over {
                break;
            }
        }
        if survived >= 2 && reported >= 1 {
            return;
        }
    }
    panic!("{survived} survived, {reported} reported");
}

/// Drops a renewal after some polls. Returns whether it had ended before, and whether the account
/// is usable after the next runs. Otherwise it asks for a new sign-in.
async fn crash_once(polls: usize) -> (bool, bool) {
    let system = RenewalSystem::started().await;
    let (store, token_endpoint) = system.another(11);
    let renewal =
        renew(&store.refresh.tokens, &token_endpoint, &system.id, RenewalTrigger::Schedule);
    let is_over = crash_after(polls, renewal).await;
    // The next runs first find the lease, and then what the crash has left.
    system.tick_after(1).await;
    system.tick_after(120).await;
    assert!(system.endpoint.most_used() <= 1, "after {polls} polls");
    match (system.access().await, system.refusal().await) {
        (Some(_), None) => (is_over, true),
        (None, Some(reason)) => {
            assert!(reason.contains("sign in again"), "{reason}");
            (is_over, false)
        }
        other => panic!("after {polls} polls: {other:?}"),
    }
}

#[tokio::test]
async fn write_with_lost_answer_is_recognized() {
    for nth in 0..2 {
        let mut system = RenewalSystem::started().await;
        let seen = Arc::new(AtomicUsize::new(0));
        system.system = system.system.another_with_hook(1, move |target, body| {
            let is_token = target.ends_with(".UpdateItem")
                && String::from_utf8_lossy(body).contains("token#acc_")
                && String::from_utf8_lossy(body).contains("ConfigTable");
            let is_chosen = is_token && seen.fetch_add(1, Ordering::SeqCst) == nth;
            is_chosen.then(|| InjectedFault::connection_lost().after())
        });
        system.tick_after(1).await;
        assert_eq!(system.access().await.as_deref(), Some("at-1"), "write {nth}");
        assert_eq!(system.refusal().await, None);
    }
}

#[tokio::test]
async fn failing_endpoint_does_not_disable_account() {
    let system = RenewalSystem::started().await;
    for _ in 0..3 {
        system.endpoint.next(EndpointFault::Unavailable);
        system.tick_after(901).await;
        assert_eq!((system.access().await, system.refusal().await), (None, None));
    }
    system.tick_after(901).await;
    assert_eq!(system.access().await.as_deref(), Some("at-1"));
}

#[tokio::test]
async fn unreachable_endpoint_does_not_disable_account() {
    let system = RenewalSystem::with_unreachable_endpoint().await;
    for _ in 0..3 {
        system.tick_after(901).await;
        assert_eq!((system.access().await, system.refusal().await), (None, None));
    }
    assert_eq!(system.token().await.token_status.begun_at, None);
}

#[tokio::test]
async fn lost_answer_is_not_retried_while_token_is_valid() {
    let system = RenewalSystem::started().await;
    system.tick_after(1).await;
    system.endpoint.next(EndpointFault::LosesTheAnswer);
    system.tick_after(LIFE_SECONDS * 3 / 4).await;
    system.tick_after(600).await;
    assert_eq!(system.endpoint.most_used(), 1);
    assert_eq!(system.access().await.as_deref(), Some("at-1"));
    assert_eq!(system.refusal().await, None);
    // When the old token has ended, nothing can be lost, so the renewal is tried again.
    system.tick_after(600).await;
    assert!(system.refusal().await.is_some_and(|reason| reason.contains("invalid_grant")));
}

#[tokio::test]
async fn refused_grant_disables_account_until_sign_in() {
    let system = RenewalSystem::started().await;
    system.endpoint.next(EndpointFault::Refuses);
    system.tick_after(1).await;
    assert!(system.refusal().await.is_some_and(|reason| reason.contains("invalid_grant")));
    system.tick_after(100_000).await;
    assert_eq!(system.endpoint.issued(), 0, "the endpoint was asked again");
}

#[tokio::test]
async fn requested_renewal_runs_at_next_tick() {
    let system = RenewalSystem::started().await;
    system.tick_after(1).await;
    let version = system.token().await.version;
    system
        .system
        .store
        .relay
        .renewals
        .request_renewal(&system.id, version)
        .await
        .expect("requested");
    system
        .system
        .store
        .relay
        .renewals
        .request_renewal(&system.id, version)
        .await
        .expect("requested again");
    system.tick_after(60).await;
    assert_eq!(system.access().await.as_deref(), Some("at-2"));
    system.tick_after(60).await;
    assert_eq!(system.endpoint.issued(), 2, "the request was handled twice");
}
