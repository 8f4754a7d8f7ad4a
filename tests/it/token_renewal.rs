//! Tokens are renewed by one process at a time, and a rotating refresh token is never sent twice,
//! whatever crashes.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_domain::account::{Account, CredentialKind, Provider};
use baton_domain::health::AccountAvailability as HealthStanding;
use baton_domain::id::{AccountId, GroupId};
use baton_domain::secret::Secret;
use baton_domain::upstream_token::{
    ClientAuth, RenewalTrigger, TokenExchange, TokenGrant, TokenSecrets, TokenStatus,
};
use baton_local::{InjectedFault, LocalAws};
use baton_refresh::renew_due_tokens;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::identity_token::IdentityTokens;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use baton_runtime::token_endpoint::TokenEndpoint as Door;
use baton_runtime::upstream::UpstreamClient;
use baton_store::token_renewal::{RenewalOutcome, renew};
use baton_store::{AccountToken, ConfigEdit, Store};
use baton_tests::token_endpoint::{EndpointFault, FakeTokenEndpoint, LIFE_SECONDS};
use jiff::SignedDuration;

/// A token endpoint, stores in memory, and an account whose first refresh token is `rt-0`.
struct RenewalSystem {
    endpoint: FakeTokenEndpoint,
    local: LocalAws,
    settings: Settings,
    clock: Clock,
    store: Store,
    id: AccountId,
}

impl RenewalSystem {
    /// Its endpoint has gone.
    async fn alone() -> Self {
        let gone = FakeTokenEndpoint::start().url();
        Self::with(&gone, FakeTokenEndpoint::start()).await
    }

    async fn started() -> Self {
        let endpoint = FakeTokenEndpoint::start();
        Self::with(&endpoint.url(), endpoint).await
    }

    async fn with(url: &str, endpoint: FakeTokenEndpoint) -> Self {
        let local = LocalAws::open(None).await.expect("stores in memory");
        let allow = |name: &str| (name == "BATON_ALLOW_PRIVATE_UPSTREAMS").then(|| "1".to_owned());
        let mut settings = Settings::from_lookup(allow).expect("good settings");
        settings.resources = local.resources();
        let clock = Clock::fixed_at("2026-11-22T21:00:00Z".parse().expect("a time"));
        let aws = AwsClients::new(&local.sdk_config());
        let store = Store::new(&aws, &settings, clock.clone(), RandomSource::seeded(1));
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
            standing: TokenStatus::default(),
            secrets,
            version: 1,
        };
        let mut edit = ConfigEdit::default();
        store.save_account(&mut edit, &store.new_stored(account(&id), None), &[]).expect("an item");
        store.add_token(&mut edit, &token).await.expect("an item");
        store.apply(edit).await.expect("saved");
        Self { endpoint, local, settings, clock, store, id }
    }

    /// Another process over the same stores.
    fn another(&self, seed: u64) -> (Store, Door) {
        let aws = AwsClients::new(&self.local.sdk_config());
        let store =
            Store::new(&aws, &self.settings, self.clock.clone(), RandomSource::seeded(seed));
        let upstream = UpstreamClient::new(&self.settings.timers, true).expect("a client");
        (store, Door::new(&aws, upstream, IdentityTokens::default()))
    }

    /// A tick of refresh in a process of its own, after so many seconds.
    async fn tick_after(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
        let (store, door) = self.another(u64::try_from(seconds).expect("a seed"));
        renew_due_tokens(&store, &door).await.expect("a tick");
    }

    async fn token(&self) -> AccountToken {
        self.store.token(&self.id).await.expect("read").expect("a token")
    }

    async fn access(&self) -> Option<String> {
        let token = self.token().await;
        token.access_token(self.clock.now()).map(|token| token.expose().to_owned())
    }

    /// What is held against the account.
    async fn refused(&self) -> Option<String> {
        let (store, _) = self.another(99);
        store.read_health(std::slice::from_ref(&self.id)).await.expect("read");
        match store.health(&self.id).overall(self.clock.now()) {
            HealthStanding::AuthFailed { reason, detail } => {
                Some(detail.map_or_else(|| reason.to_string(), str::to_owned))
            }
            _ => None,
        }
    }
}

fn account(id: &AccountId) -> Account {
    Account {
        id: id.clone(),
        name: "signed in".into(),
        provider: Provider::Anthropic,
        base_url: "http://127.0.0.1:9".into(),
        credential: CredentialKind::Oauth2,
        groups: vec![GroupId::from_bits(1)],
        priority: 1,
        weight: 1,
        models: Vec::new(),
        model_map: Vec::new(),
        cache_domain: None,
        max_concurrency: None,
        proxy_url: None,
        proxy_sealed: None,
        speaks_responses: false,
        enabled: true,
    }
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end_and_not_before() {
    let signed = RenewalSystem::started().await;
    signed.tick_after(1).await;
    assert_eq!(signed.access().await.as_deref(), Some("at-1"));
    signed.tick_after(LIFE_SECONDS / 2).await;
    assert_eq!(signed.endpoint.issued(), 1, "half of its life");
    signed.tick_after(LIFE_SECONDS / 4).await;
    assert_eq!(signed.access().await.as_deref(), Some("at-2"), "three quarters");
    assert_eq!(signed.endpoint.last()["refresh_token"], "rt-1");
}

#[tokio::test]
async fn of_two_refreshers_one_exchanges() {
    let signed = RenewalSystem::started().await;
    let ((one, one_door), (two, two_door)) = (signed.another(11), signed.another(12));
    for round in 1..=10 {
        let both = tokio::join!(
            renew(&one, &one_door, &signed.id, RenewalTrigger::Schedule),
            renew(&two, &two_door, &signed.id, RenewalTrigger::Schedule)
        );
        let renewed = [both.0, both.1]
            .into_iter()
            .filter(|it| *it.as_ref().unwrap() == RenewalOutcome::Renewed);
        assert_eq!(renewed.count(), 1, "round {round}");
        assert_eq!(signed.endpoint.issued(), round);
        signed.clock.advance(SignedDuration::from_secs(LIFE_SECONDS));
    }
    assert_eq!((signed.endpoint.most_used(), signed.endpoint.most_at_once()), (1, 1));
}

/// Drops `future` after it was polled so often; whether it came to its end before.
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
async fn a_crash_at_any_await_is_survived_or_reported_and_no_refresh_token_comes_twice() {
    let (mut survived, mut reported) = (0, 0);
    for polls in 0.. {
        let signed = RenewalSystem::started().await;
        let (store, door) = signed.another(11);
        let is_over =
            crash_after(polls, renew(&store, &door, &signed.id, RenewalTrigger::Schedule)).await;
        // The next ticks find the lease first, and then what was left.
        signed.tick_after(1).await;
        signed.tick_after(120).await;
        assert!(signed.endpoint.most_used() <= 1, "after {polls} polls");
        match (signed.access().await, signed.refused().await) {
            (Some(_), None) => survived += 1,
            (None, Some(reason)) => {
                assert!(reason.contains("sign in again"), "{reason}");
                reported += 1;
            }
            other => panic!("after {polls} polls: {other:?}"),
        }
        if is_over {
            break;
        }
    }
    assert!(survived >= 3 && reported >= 1, "{survived} survived, {reported} reported");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_known_to_be_our_own() {
    for nth in 0..2 {
        let mut signed = RenewalSystem::started().await;
        let seen = Arc::new(AtomicUsize::new(0));
        signed.local = signed.local.with_faults(move |target, body| {
            let is_token = target.ends_with(".UpdateItem")
                && String::from_utf8_lossy(body).contains("token#acc_")
                && String::from_utf8_lossy(body).contains("ConfigTable");
            let is_meant = is_token && seen.fetch_add(1, Ordering::SeqCst) == nth;
            is_meant.then(|| InjectedFault::connection_lost().after())
        });
        signed.tick_after(1).await;
        assert_eq!(signed.access().await.as_deref(), Some("at-1"), "write {nth}");
        assert_eq!(signed.refused().await, None);
    }
}

#[tokio::test]
async fn trouble_on_the_way_disables_nothing() {
    let signed = RenewalSystem::started().await;
    for _ in 0..3 {
        signed.endpoint.next(EndpointFault::Unavailable);
        signed.tick_after(901).await;
        assert_eq!((signed.access().await, signed.refused().await), (None, None));
    }
    signed.tick_after(901).await;
    assert_eq!(signed.access().await.as_deref(), Some("at-1"));
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_disables_nothing() {
    let signed = RenewalSystem::alone().await;
    for _ in 0..3 {
        signed.tick_after(901).await;
        assert_eq!((signed.access().await, signed.refused().await), (None, None));
    }
    assert_eq!(signed.token().await.standing.begun_at, None);
}

#[tokio::test]
async fn a_lost_answer_is_not_asked_for_again_while_the_old_token_lives() {
    let signed = RenewalSystem::started().await;
    signed.tick_after(1).await;
    signed.endpoint.next(EndpointFault::LosesTheAnswer);
    signed.tick_after(LIFE_SECONDS * 3 / 4).await;
    signed.tick_after(600).await;
    assert_eq!(signed.endpoint.most_used(), 1);
    assert_eq!(signed.access().await.as_deref(), Some("at-1"));
    assert_eq!(signed.refused().await, None);
    // With nothing left to lose it is tried once more; the endpoint then says what it is.
    signed.tick_after(600).await;
    assert!(signed.refused().await.is_some_and(|reason| reason.contains("invalid_grant")));
}

#[tokio::test]
async fn a_refused_grant_ends_the_account_until_somebody_signs_in() {
    let signed = RenewalSystem::started().await;
    signed.endpoint.next(EndpointFault::Refuses);
    signed.tick_after(1).await;
    assert!(signed.refused().await.is_some_and(|reason| reason.contains("invalid_grant")));
    signed.tick_after(100_000).await;
    assert_eq!(signed.endpoint.issued(), 0, "it is not asked again");
}

#[tokio::test]
async fn a_request_for_a_new_token_is_heard_at_the_next_tick() {
    let signed = RenewalSystem::started().await;
    signed.tick_after(1).await;
    let version = signed.token().await.version;
    signed.store.request_renewal(&signed.id, version).await.expect("asked");
    signed.store.request_renewal(&signed.id, version).await.expect("asked once more");
    signed.tick_after(60).await;
    assert_eq!(signed.access().await.as_deref(), Some("at-2"));
    signed.tick_after(60).await;
    assert_eq!(signed.endpoint.issued(), 2, "the question is dealt with");
}
