//! Sessions that had to leave their first choice stay where they went, and other sessions do not
//! move.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{MODEL, SOON, TestKey, TestSystem, message};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::json;

/// Two upstreams. Each has one cache domain with the same number of accounts.
struct TwoDomains {
    upstreams: [FakeUpstream; 2],
    ids: [Vec<String>; 2],
    key: TestKey,
}

impl TwoDomains {
    async fn of(system: &TestSystem, accounts_each: usize) -> Self {
        let upstreams = [FakeUpstream::start(), FakeUpstream::start()];
        let mut ids = [Vec::new(), Vec::new()];
        for (side, upstream) in upstreams.iter().enumerate() {
            for _ in 0..accounts_each {
                let domain = json!({"cache_domain": format!("domain {side}")});
                ids[side].push(system.account_with("one", &upstream.url(), domain).await);
            }
        }
        Self { upstreams, ids, key: system.key("ci").create().await }
    }

    async fn ask(&self, session: &str) -> usize {
        let count = |side: usize| self.upstreams[side].exchanges().len();
        let before = count(1);
        let body = message(MODEL, "hi", true).to_string();
        let request = self.key.message(body).header("x-claude-code-session-id", session);
        ClientResponse::to(request).await.ok();
        usize::from(count(1) > before)
    }

    /// A session whose first choice is on this side.
    async fn session_of(&self, side: usize) -> String {
        for serial in 0..64 {
            let session = format!("session {serial}");
            if self.ask(&session).await == side {
                return session;
            }
        }
        panic!("no session prefers side {side}");
    }
}

async fn reset(system: &TestSystem, ids: &[String]) {
    for id in ids {
        system.admin().post(&format!("/accounts/{id}/reset"), &json!({})).await.ok();
    }
}

#[tokio::test]
async fn moved_session_stays_after_recovery() {
    let system = TestSystem::empty().await;
    let sides = TwoDomains::of(&system, 1).await;
    let moved = sides.session_of(0).await;
    let mut others = Vec::new();
    for serial in 100..110 {
        let session = format!("session {serial}");
        others.push((sides.ask(&session).await, session));
    }
    sides.upstreams[0].next("error:spend_cap");
    // The account fails the request and the other one serves it. Both count it.
    assert_eq!(sides.ask(&moved).await, 1);
    eventually("the account is out", SOON, async || {
        let path = format!("/accounts/{}", sides.ids[0][0]);
        let account = system.admin().get(&path).await.ok().json();
        if account["status"] == "cooling" { Ok(()) } else { Err(account) }
    })
    .await;
    reset(&system, &sides.ids[0]).await;
    assert_eq!(sides.ask(&moved).await, 1, "the session moved back");
    assert_eq!(sides.ask(&moved).await, 1, "the session moved back later");
    for (side, session) in &others {
        assert_eq!(sides.ask(session).await, *side, "another session moved");
    }
    sides.upstreams[1].next("error:rate_limit_final");
    sides.ask(&moved).await;
    let before = sides.upstreams[1].exchanges().len();
    assert_eq!(sides.ask(&moved).await, 0, "the session did not move again");
    assert_eq!(sides.upstreams[1].exchanges().len(), before);
}

#[tokio::test]
async fn move_inside_cache_domain_creates_no_pin() {
    let system = TestSystem::empty().await;
    let sides = TwoDomains::of(&system, 2).await;
    let session = sides.session_of(0).await;
    for _ in 0..2 {
        sides.upstreams[0].next("status:500");
        assert_eq!(sides.ask(&session).await, 0, "the request left the cache domain");
    }
    assert_eq!(sides.ask(&session).await, 0);
}
