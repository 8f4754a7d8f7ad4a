//! Roads to an upstream: by way of an account's proxy and never around it, to public addresses,
//! without following anybody elsewhere.

use std::net::TcpListener;
use std::time::Duration;

use baton_domain::secret::Secret;
use baton_runtime::settings::Settings;
use baton_runtime::upstream::{UpstreamAddress, UpstreamCallError, UpstreamClient};
use baton_tests::eventually::eventually;
use baton_tests::house::{LaunchOptions, SOON, TestKey, TestSystem};
use baton_tests::proxy::FakeProxy;
use baton_tests::upstream::FakeUpstream;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

/// Nobody but a proxy knows this name.
const HIDDEN: &str = "http://upstream.invalid";

/// Creates an account behind the proxy in a group of its own; answers its id and a key.
async fn behind(house: &TestSystem, base_url: &str, proxy: &str) -> (String, TestKey) {
    let group = house.group("behind").await;
    let fields = json!({"groups": [group], "proxy_url": proxy});
    let id = house.account_with("behind", base_url, fields).await;
    (id, house.key("ci").group(&group).create().await)
}

#[tokio::test]
async fn an_account_is_reached_through_its_proxy() {
    let mut house = TestSystem::empty().await;
    let upstream = FakeUpstream::start();
    let proxy = FakeProxy::before(upstream.address()).await;
    let at = proxy.address();
    for (count, (url, shown, seen)) in [
        (
            format!("http://me:pr0xy-pa55@{at}"),
            format!("http://me:***@{at}"),
            // `me:pr0xy-pa55`, as Basic wants it.
            "proxy-authorization: Basic bWU6cHIweHktcGE1NQ==",
        ),
        (
            format!("socks5h://me:pr0xy-pa55@{at}"),
            format!("socks5h://me:***@{at}"),
            "SOCKS5 me:pr0xy-pa55 upstream.invalid:80",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, key) = behind(&house, HIDDEN, &url).await;
        let answer = key.ask("hi").await.ok();
        assert!(answer.said().starts_with("Hello"), "{}", answer.text());
        assert_eq!(upstream.exchanges().len(), 2 * count + 1);
        let last = proxy.seen().pop().expect("it went through the proxy");
        assert!(last.to_lowercase().contains(&seen.to_lowercase()), "{last}");
        let path = format!("/accounts/{id}");
        let account = house.admin().get(&path).await.ok();
        assert_eq!(account.json()["proxy_url"], shown);
        assert!(!account.text().contains("pr0xy"), "{}", account.text());
        // What was shown may come back, as it does from whoever reads, edits and writes.
        house.admin().patch(&path, &json!({"proxy_url": shown, "weight": 7})).await.ok();
        key.ask("hi again").await.ok();
    }
    assert!(!house.process().stderr().contains("pr0xy"), "{}", house.process().stderr());
}

#[tokio::test]
async fn a_name_behind_socks5_is_resolved_here_and_no_user_is_made_up() {
    let house = TestSystem::empty().await;
    let upstream = FakeUpstream::start();
    let proxy = FakeProxy::before(upstream.address()).await;
    let (_, key) = behind(&house, &upstream.url(), &format!("socks5://{}", proxy.address())).await;
    key.ask("hi").await.ok();
    let port = upstream.address().port();
    assert_eq!(proxy.seen(), [format!("SOCKS5  [127, 0, 0, 1]:{port}")]);
}

#[tokio::test]
async fn a_proxy_that_fails_is_left_for_another_account_never_gone_around() {
    let house = TestSystem::empty().await;
    let (reachable, other) = (FakeUpstream::start(), FakeUpstream::start());
    let closed = TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr();
    let down = format!("http://{}", closed.expect("its number"));
    let (id, key) = behind(&house, &reachable.url(), &down).await;
    key.ask("hi").await.refused(502, "api_error");
    assert_eq!(reachable.exchanges().len(), 0, "never straight");

    let group = house.admin().get(&format!("/accounts/{id}")).await.ok().json()["groups"].clone();
    let fields = json!({"groups": group, "priority": 200});
    house.account_with("other", &other.url(), fields).await;
    key.ask("hi").await.ok();
    assert_eq!((reachable.exchanges().len(), other.exchanges().len()), (0, 1));

    // To https it asks for a tunnel, and the proxy says no.
    let proxy = FakeProxy::before(reachable.address()).await;
    let path = format!("/accounts/{id}");
    let change = json!({"base_url": "https://upstream.invalid",
        "credential": {"type": "api_key", "value": "sk-upstream-behind"},
        "proxy_url": format!("http://{}", proxy.address())});
    house.admin().patch(&path, &change).await.ok();
    key.ask("hi").await.ok();
    assert!(proxy.seen()[0].starts_with("CONNECT upstream.invalid:443"), "{:?}", proxy.seen());
    assert_eq!((reachable.exchanges().len(), other.exchanges().len()), (0, 2));
    let tested = house.admin().post(&format!("{path}/test"), &json!({})).await.ok().json();
    assert_eq!((&tested["ok"], proxy.seen().len()), (&json!(false), 2), "{tested}");
}

#[tokio::test]
async fn invalid_proxy_is_refused_by_the_api() {
    let house = TestSystem::empty().await;
    for url in ["proxy:3128", "ftp://proxy", "http://me:pr0xy@", "http://me:pr0xy@proxy/path", ""] {
        let body = json!({"name": "odd", "proxy_url": url,
            "credential": {"type": "api_key", "value": "sk-upstream"}});
        let answer = house.admin().post("/accounts", &body).await;
        let answer = answer.refused(400, "invalid_request_error");
        assert!(answer.message().contains("proxy_url") && !answer.text().contains("pr0xy"));
    }
    let id = house.account("plain", "https://upstream.invalid").await;
    let path = format!("/accounts/{id}");
    let masked = json!({"proxy_url": "http://me:***@proxy.example:3128"});
    house.admin().patch(&path, &masked).await.refused(400, "invalid_request_error");
    let set = json!({"proxy_url": "http://proxy.example:3128"});
    house.admin().patch(&path, &set).await.refused(400, "invalid_request_error");
    let credential = json!({"type": "api_key", "value": "sk-upstream-plain"});
    let set = json!({"proxy_url": "http://proxy.example:3128", "credential": credential});
    assert_eq!(house.admin().patch(&path, &set).await.ok().json()["proxy_url"], set["proxy_url"]);
    let unset = json!({"proxy_url": null, "credential": credential});
    assert_eq!(house.admin().patch(&path, &unset).await.ok().json()["proxy_url"], Value::Null);
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_taken() {
    let upstream = FakeUpstream::start();
    let proxy = FakeProxy::before(upstream.address()).await;
    let url = format!("http://{}", proxy.address());
    let names =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let launch =
        names.into_iter().fold(LaunchOptions::new(), |launch, name| launch.env(name, &url));
    let house = TestSystem::launched(launch).await;
    house.account("main", &upstream.url()).await;
    house.key("ci").create().await.ask("hi").await.ok();
    assert_eq!((upstream.exchanges().len(), proxy.seen().len()), (1, 0));
}

fn strict() -> UpstreamClient {
    let settings = Settings::from_lookup(|_| None).expect("settings");
    UpstreamClient::new(&settings.timers, settings.allow_private_upstreams).expect("a client")
}

async fn refusal(upstream: &UpstreamClient, url: &str) -> String {
    let address = UpstreamAddress::new(url, "");
    let call = upstream.call(Method::GET, &address, HeaderMap::new(), Bytes::new());
    match tokio::time::timeout(Duration::from_secs(20), call).await.expect("an end") {
        Err(UpstreamCallError::Unreachable(why) | UpstreamCallError::BadUrl(why)) => why,
        Err(other) => other.to_string(),
        Ok(answer) => panic!("{url} answers {}", answer.status()),
    }
}

#[tokio::test]
async fn a_name_that_points_to_this_machine_is_refused_when_it_is_resolved() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    let straight = strict();
    let why = refusal(&straight, &format!("https://localhost:{port}")).await;
    assert!(why.contains("localhost has no public address"), "{why}");
    for scheme in ["http", "https", "socks5", "socks5h"] {
        let proxy = Secret::new(format!("{scheme}://localhost:{port}"));
        let through = straight.with_proxy(Some(&proxy)).expect("a client");
        refusal(&through, "https://api.example.com").await;
    }
    let socks5h = Secret::new("socks5h://1.1.1.1:9".to_owned());
    let through = straight.with_proxy(Some(&socks5h)).expect("a client");
    for literal in ["https://127.0.0.1", "https://169.254.169.254", "https://[::1]"] {
        let why = refusal(&through, literal).await;
        let is_refused = ["is not a public address", "give out credentials"];
        assert!(is_refused.iter().any(|words| why.contains(words)), "{why}");
    }
    let accepted = std::pin::pin!(listener.accept());
    assert!(futures_util::FutureExt::now_or_never(accepted).is_none(), "nobody was called");
}

#[tokio::test]
async fn a_redirect_is_followed_by_nobody_and_its_account_is_left() {
    let house = TestSystem::empty().await;
    let (first, second, thief) =
        (FakeUpstream::start(), FakeUpstream::start(), FakeUpstream::start());
    for (priority, upstream) in [&first, &second].into_iter().enumerate() {
        let name = format!("one-{priority}");
        house.account_with(&name, &upstream.url(), json!({"priority": priority})).await;
    }
    let key = house.key("ci").create().await;
    first.next(&format!("status:307;header=location:{}/v1/messages", thief.url()));
    key.ask("hi").await.ok();
    let counts = [&first, &second, &thief].map(|each| each.exchanges().len());
    assert_eq!(counts, [1, 1, 0]);
    let tried = eventually("the record", SOON, async || {
        house.events(&key).await.first().map(|event| event["tried"].clone()).ok_or("none")
    })
    .await;
    assert!(tried[0]["reason"].as_str().is_some_and(|why| why.contains("redirect")), "{tried}");
}
