//! Several relay instances over the same stores in this process: what they write about the health
//! of accounts, and what they learn from each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use baton_domain::account::Account;
use baton_domain::health::HealthState;
use baton_domain::id::{AccountId, GroupId};
use baton_domain::secret::Secret;
use baton_relay::Relay;
use baton_runtime::clock::Clock;
use baton_store::ConfigEdit;
use baton_test_harness::eventually::eventually;
use baton_test_harness::injected_faults::InjectedFault;
use baton_test_harness::stores::AllStores;
use baton_test_harness::system::{
    InProcessSystem, MODEL, SOON, TestSystem, message, stored_account,
};
use baton_test_harness::upstream::FakeUpstream;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use jiff::SignedDuration;

/// The stores with two accounts and a key. The first account is preferred.
struct Stack {
    system: InProcessSystem,
    ids: [AccountId; 2],
    key: Secret,
    first: FakeUpstream,
    second: FakeUpstream,
}

/// One relay instance, with the number of its health writes.
#[derive(Clone)]
struct Instance {
    relay: Relay,
    store: AllStores,
    key: Secret,
    writes: Arc<AtomicUsize>,
    /// Its store operations on session pins.
    moves: Arc<Mutex<Vec<String>>>,
    is_down: Arc<Mutex<bool>>,
}

async fn stack() -> Stack {
    let clock = Clock::fixed_at(Clock::system().now());
    let system = TestSystem::builder().in_process().clock(clock).start().await;
    let key = system.first_start().await;
    let (first, second) = (FakeUpstream::start(), FakeUpstream::start());
    let ids = [
        account(&system.store, &first.url(), 1).await,
        account(&system.store, &second.url(), 2).await,
    ];
    Stack { system, ids, key, first, second }
}

async fn account(store: &AllStores, base_url: &str, priority: u32) -> AccountId {
    let id = AccountId::from_bits(store.random_source().bits());
    let account = stored_account(id.clone(), base_url, GroupId::default_group());
    let account = Account { priority, weight: 100, ..account };
    let credential = Secret::new("sk-upstream".to_owned());
    let sealed = store.admin.editor.seal_credential(&account, &credential).await.expect("sealed");
    let mut edit = ConfigEdit::default();
    store
        .admin
        .editor
        .save_account(&mut edit, &store.admin.editor.new_stored(account, Some(sealed)), &[])
        .expect("an item");
    store.admin.editor.apply(edit).await.expect("stored");
    id
}

impl Stack {
    fn instance(&self) -> Instance {
        let (writes, is_down) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(false)));
        let (count, down) = (Arc::clone(&writes), Arc::clone(&is_down));
        let moves: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&moves);
        let process = self.system.another_with_hook(2, move |target, body| {
            if String::from_utf8_lossy(body).contains("moved#") {
                let operation = target.split('.').next_back().unwrap_or_default();
                notes.lock().expect("a lock").push(operation.to_owned());
            }
            let is_read = ["GetItem", "Query"].iter().any(|read| target.ends_with(read));
            let of_health = String::from_utf8_lossy(body).contains("health#");
            if !of_health || is_read {
                return None;
            }
            count.fetch_add(1, Ordering::SeqCst);
            down.lock().expect("a lock").then(InjectedFault::connection_lost)
        });
        let (relay, store) = (process.relay(), process.store.clone());
        Instance { relay, store, key: self.key.clone(), writes, moves, is_down }
    }

    fn counts(&self) -> (usize, usize) {
        (self.first.exchanges().len(), self.second.exchanges().len())
    }
}

impl Instance {
    async fn ask(&self) -> u16 {
        // Each request is a session, so that no session pin decides its account.
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        self.ask_in(&format!("session {}", SERIAL.fetch_add(1, Ordering::Relaxed))).await
    }

    async fn ask_in(&self, session: &str) -> u16 {
        let request = Request::post("/v1/messages")
            .header("x-api-key", self.key.expose())
            .body(Full::new(Bytes::from(message(MODEL, session, true).to_string())))
            .expect("a request");
        let answer = self.relay.handle(request).await;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.expect("the whole answer");
        status
    }

    fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    async fn has_written(&self, count: usize) {
        eventually("it is written", SOON, async || {
            if self.writes() == count { Ok(()) } else { Err(self.writes()) }
        })
        .await;
    }
}

#[tokio::test]
async fn steady_traffic_writes_no_health() {
    let stack = stack().await;
    let instance = stack.instance();
    for _ in 0..50 {
        assert_eq!(instance.ask().await, 200);
    }
    assert_eq!(instance.writes(), 0, "steady traffic");

    stack.first.always("error:rate_limit_final");
    let together: Vec<_> = (0..20)
        .map(|_| {
            let instance = instance.clone();
            tokio::spawn(async move { instance.ask().await })
        })
        .collect();
    for each in together {
        assert_eq!(each.await.expect("an answer"), 200);
    }
    instance.has_written(1).await;
    for _ in 0..20 {
        assert_eq!(instance.ask().await, 200);
    }
    instance.relay.drain().await;
    assert_eq!(instance.writes(), 1, "one change is written once");
}

#[tokio::test]
async fn utilization_is_written_after_larger_change() {
    let stack = stack().await;
    let instance = stack.instance();
    let mut expected = 0;
    for (used, is_news) in
        [("0.40", true), ("0.41", false), ("0.44", false), ("0.45", true), ("0.45", false)]
    {
        stack.first.next(&format!("text;header=anthropic-ratelimit-unified-5h-utilization:{used}"));
        assert_eq!(instance.ask().await, 200);
        expected += usize::from(is_news);
        instance.has_written(expected).await;
    }
    instance.relay.drain().await;
    assert_eq!(instance.writes(), expected);
}

#[tokio::test]
async fn other_instance_learns_cooldown_from_cache() {
    let stack = stack().await;
    let (here, there) = (stack.instance(), stack.instance());
    assert_eq!((here.ask().await, there.ask().await), (200, 200));
    stack.first.next("error:rate_limit_final");
    assert_eq!(here.ask().await, 200);
    here.has_written(1).await;
    assert_eq!(stack.counts(), (3, 1));
    eventually("the other instance takes the second account", SOON, async || {
        let before = stack.second.exchanges().len();
        there.ask().await;
        if stack.second.exchanges().len() > before { Ok(()) } else { Err(stack.counts()) }
    })
    .await;
    assert_eq!(there.writes(), 0, "the other instance has written");
}

/// Opens the circuit of the first account through one instance, lets the other one see it, and
/// advances the clock until the account is half open.
async fn half_open(stack: &Stack, here: &Instance, there: &Instance) {
    stack.first.always("status:500");
    for count in 1..=3 {
        assert_eq!(here.ask().await, 200);
        here.has_written(count).await;
    }
    assert_eq!(there.ask().await, 200);
    assert_eq!(stack.counts(), (3, 4));
    stack.system.clock.advance(SignedDuration::from_secs(31));
}

#[tokio::test]
async fn one_request_probes_half_open_account() {
    let stack = stack().await;
    let (here, there) = (stack.instance(), stack.instance());
    half_open(&stack, &here, &there).await;
    stack.first.always("text;gate=probe");
    let gate = stack.first.gate("probe");
    let prober = here.clone();
    let probe = tokio::spawn(async move { prober.ask().await });
    gate.reached(1).await;
    let others: Vec<_> = (0..10)
        .map(|serial| {
            // The other instance does not know of the probe, so its claim is refused.
            let instance = if serial % 2 == 0 { here.clone() } else { there.clone() };
            tokio::spawn(async move { instance.ask().await })
        })
        .collect();
    for other in others {
        let answer =
            tokio::time::timeout(SOON, other).await.expect("a second request waits for the probe");
        assert_eq!(answer.expect("an answer"), 200);
    }
    assert_eq!(stack.counts(), (4, 14), "the other requests use the second account");
    gate.open();
    assert_eq!(probe.await.expect("an answer"), 200);
    eventually("it is ready", SOON, async || {
        let states =
            [&here, &there].map(|one| one.store.admin.health.get(&stack.ids[0]).state.clone());
        if states.contains(&HealthState::Ready) { Ok(()) } else { Err(states) }
    })
    .await;
    eventually("it is used by both", SOON, async || {
        let before = stack.first.exchanges().len();
        here.ask().await;
        there.ask().await;
        if stack.first.exchanges().len() == before + 2 { Ok(()) } else { Err(stack.counts()) }
    })
    .await;
}

#[tokio::test]
async fn health_stays_in_memory_while_store_is_down() {
    let stack = stack().await;
    let instance = stack.instance();
    assert_eq!(instance.ask().await, 200);
    *instance.is_down.lock().expect("a lock") = true;
    stack.first.always("error:rate_limit_final");
    assert_eq!(instance.ask().await, 200, "the client sees an error");
    assert_eq!(instance.ask().await, 200);
    assert_eq!(stack.counts(), (2, 2), "a cooling account is used");
}

#[tokio::test]
async fn failures_of_several_instances_add_up() {
    let stack = stack().await;
    let (here, there) = (stack.instance(), stack.instance());
    assert_eq!((here.ask().await, there.ask().await), (200, 200));
    stack.first.always("status:500");
    let recent_failures =
        |instance: &Instance| instance.store.admin.health.get(&stack.ids[0]).recent_failures.len();
    assert_eq!(here.ask().await, 200);
    here.has_written(1).await;
    // It does not know of the other failure. Its write is refused, and it adds its failure to what
    // it then reads.
    assert_eq!(there.ask().await, 200);
    eventually("the second adds up", SOON, async || {
        if recent_failures(&there) == 2 { Ok(()) } else { Err(recent_failures(&there)) }
    })
    .await;
    there.relay.drain().await;
    assert_eq!(here.ask().await, 200);
    eventually("the circuit is open", SOON, async || {
        let health = here.store.admin.health.get(&stack.ids[0]);
        if matches!(health.state, HealthState::Open { .. }) { Ok(()) } else { Err(health) }
    })
    .await;
}

#[tokio::test]
async fn session_pins_are_written_once_and_read_when_needed() {
    let stack = stack().await;
    let (here, there) = (stack.instance(), stack.instance());
    let moves = |instance: &Instance| instance.moves.lock().expect("a lock").clone();
    for _ in 0..20 {
        assert_eq!((here.ask_in("one").await, there.ask_in("two").await), (200, 200));
    }
    assert_eq!((moves(&here), moves(&there)), (vec![], vec![]), "steady traffic");

    stack.first.next("error:rate_limit_final");
    assert_eq!(here.ask_in("one").await, 200);
    eventually("the move is written", SOON, async || {
        let moves = moves(&here);
        if moves == ["PutItem"] { Ok(()) } else { Err(moves) }
    })
    .await;
    for _ in 0..5 {
        assert_eq!(here.ask_in("one").await, 200);
    }
    assert_eq!(moves(&here), ["PutItem", "GetItem"], "the pin is read once and then cached");

    // The first account is ready again, for sessions without a pin.
    stack.system.clock.advance(SignedDuration::from_mins(31));
    let before = stack.counts();
    assert_eq!((here.ask_in("one").await, here.ask_in("two").await), (200, 200));
    assert_eq!(stack.counts(), (before.0 + 1, before.1 + 1));

    stack.system.clock.advance(SignedDuration::from_hours(1));
    let before_lookup = moves(&here);
    assert_eq!(here.ask_in("one").await, 200);
    assert_eq!(
        stack.counts(),
        (before.0 + 2, before.1 + 1),
        "the session returns to its first choice"
    );
    assert_eq!(moves(&here), before_lookup, "a session pin was read");
}
