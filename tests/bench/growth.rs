//! What a request costs as an organisation grows: `bench -- growth`.
//!
//! One relay in this process, embedded stores in memory, an upstream that answers at once; 10,000
//! small calls one after the other, each by a key drawn from all there are. Told are CPU time and
//! calls of the stores a request: the stores' own CPU and the client's are in it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_domain::id::{AccountId, GroupId, KeyId};
use baton_domain::key::Limits;
use baton_domain::relay_key::{compose, new_secret};
use baton_domain::secret::Secret;
use baton_relay::Relay;
use baton_runtime::clock::Clock;
use baton_runtime::upstream::{Transport, UpstreamBody, UpstreamCallError, UpstreamClient};
use baton_store::ConfigEdit;
use baton_test_harness::system::{
    InProcessSystem, MODEL, TestSystem, message, stored_account, stored_group, stored_key,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::process::ProcessFigures;

/// Keys and accounts that there are.
const SIZES: [(u32, u32); 6] =
    [(1, 10), (1_000, 10), (100_000, 10), (1, 1_000), (1_000, 1_000), (100_000, 1_000)];
const REQUESTS: u32 = 10_000;
/// Items of one transaction.
const TOGETHER: usize = 50;

/// Measures all of it and prints a line each.
pub(crate) async fn measure() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{REQUESTS} requests each; load average {}", load.trim());
    for (keys, accounts) in SIZES {
        println!("{keys:>7} keys, {accounts:>5} accounts: {}", one(keys, accounts).await);
    }
}

type StoreCallCounts = Arc<Mutex<BTreeMap<String, u32>>>;

fn locked(calls: &StoreCallCounts) -> MutexGuard<'_, BTreeMap<String, u32>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn one(keys: u32, accounts: u32) -> String {
    let calls = StoreCallCounts::default();
    let notes = Arc::clone(&calls);
    let builder = TestSystem::builder().in_process().clock(Clock::system()).unrecorded();
    let builder = builder.store_hook(move |target, _| {
        let operation = target.rsplit('.').next().unwrap_or_default();
        *locked(&notes).entry(operation.to_owned()).or_default() += 1;
        None
    });
    let system = builder.start().await;
    fill(&system, keys, accounts).await;
    let relay = system.relay_through(UpstreamClient::with_transport(Arc::new(InstantUpstream)));
    ask(&relay, 0).await; // which opens what every process opens once
    locked(&calls).clear();
    let mut dice = StdRng::seed_from_u64(1);
    let before = ProcessFigures::own().cpu();
    for _ in 0..REQUESTS {
        ask(&relay, dice.random_range(0..keys)).await;
    }
    let cpu = ProcessFigures::own().cpu().saturating_sub(before).as_secs_f64() * 1e6
        / f64::from(REQUESTS);
    let calls = locked(&calls);
    let each = calls
        .iter()
        .map(|(name, count)| format!("{:.3} {name}", f64::from(*count) / f64::from(REQUESTS)));
    format!("{cpu:.0} µs CPU a request; calls a request: {}", each.collect::<Vec<_>>().join(", "))
}

fn secret(number: u32) -> Secret {
    new_secret([u128::from(number), 7])
}

async fn ask(relay: &Relay, number: u32) {
    let key = compose(&KeyId::from_bits(u128::from(number) + 1), &secret(number));
    let request = Request::post("/v1/messages")
        .header("x-api-key", key.expose())
        .body(Full::new(Bytes::from(message(MODEL, "hi", false).to_string())))
        .expect("a request");
    let answer = relay.handle(request).await;
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.expect("a whole body");
}

/// Answers a small message at once.
struct InstantUpstream;

impl Transport for InstantUpstream {
    fn answer(
        &self,
        _: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<UpstreamBody>, UpstreamCallError>> + Send + '_>>
    {
        let body = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL,
            "content": [{ "type": "text", "text": "hello" }], "stop_reason": "end_turn",
            "usage": { "input_tokens": 10, "output_tokens": 3 },
        });
        let answer = Response::builder()
            .header("content-type", "application/json")
            .body(UpstreamBody::from(body.to_string()))
            .expect("an answer");
        Box::pin(async { Ok(answer) })
    }
}

/// A group with so many accounts and keys.
async fn fill(system: &InProcessSystem, keys: u32, accounts: u32) {
    let (store, group) = (&system.store, GroupId::from_bits(1));
    let mut edit = ConfigEdit::default();
    let stored = stored_group(group.clone());
    store
        .admin
        .editor
        .save_group(&mut edit, &store.admin.editor.new_stored(stored, None))
        .expect("an item");
    store.admin.editor.apply(edit).await.expect("saved");
    let accounts: Vec<u32> = (1..=accounts).collect();
    for some in accounts.chunks(TOGETHER / 2) {
        let mut edit = ConfigEdit::default();
        for number in some {
            let account = stored_account(
                AccountId::from_bits(u128::from(*number)),
                "https://upstream.invalid",
                group.clone(),
            );
            let credential = Secret::new(format!("sk-{number}"));
            let sealed =
                store.admin.editor.seal_credential(&account, &credential).await.expect("sealed");
            let stored = store.admin.editor.new_stored(account, Some(sealed));
            store.admin.editor.save_account(&mut edit, &stored, &[]).expect("an item");
        }
        store.admin.editor.apply(edit).await.expect("saved");
    }
    let keys: Vec<u32> = (0..keys).collect();
    for some in keys.chunks(TOGETHER) {
        let mut edit = ConfigEdit::default();
        for number in some {
            let id = KeyId::from_bits(u128::from(*number) + 1);
            let key = stored_key(id, group.clone(), Limits::default());
            system.add_key(&mut edit, key, &secret(*number));
        }
        store.admin.editor.apply(edit).await.expect("saved");
    }
}
