//! Connections to upstreams: always through the account's proxy if there is one, only to public
//! addresses, and without following redirects.

use std::net::TcpListener;
use std::time::Duration;

use baton_domain::secret::Secret;
use baton_runtime::settings::Settings;
use baton_runtime::upstream::{UpstreamAddress, UpstreamCallError, UpstreamClient};
use baton_test_harness::eventually::eventually;
use baton_test_harness::proxy::FakeProxy;
use baton_test_harness::system::{SOON, TestKey, TestSystem};
use baton_test_harness::upstream::FakeUpstream;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

/// Only the proxy can resolve this name.
const HIDDEN: &str = "http://upstream.invalid";

/// Creates an account behind the proxy in a new group. Returns its id and a key.
async fn create_behind_proxy(
    system: &TestSystem,
    base_url: &str,
    proxy: &str,
) -> (String, TestKey) {
    let group = system.group("behind").await;
    let fields = json!({"groups": [group], "proxy_url": proxy});
    let id = system.account_with("behind", base_url, fields).await;
    (id, system.key("ci").group(&group).create().await)
}

#[tokio::test]
async fn requests_go_through_the_proxy() {
    let mut system = TestSystem::empty().await;
    let upstream = FakeUpstream::start();
    let proxy = FakeProxy::before(upstream.address()).await;
    let at = proxy.address();
    for (count, (url, shown, seen)) in [
        (
            format!("http://me:pr0xy-pa55@{at}"),
            format!("http://me:***@{at}"),
            // `me:pr0xy-pa55` in the form of Basic authentication.
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
        let (id, key) = create_behind_proxy(&system, HIDDEN, &url).await;
        let answer = key.ask("hi").await.ok();
        assert!(answer.said().starts_with("Hello"), "{}", answer.text());
        assert_eq!(upstream.exchanges().len(), 2 * count + 1);
        let last = proxy.seen().pop().expect("it went through the proxy");
        assert!(last.to_lowercase().contains(&seen.to_lowercase()), "{last}");
        let path = format!("/accounts/{id}");
        let account = system.admin().get(&path).await.ok();
        assert_eq!(account.json()["proxy_url"], shown);
        assert!(!account.text().contains("pr0xy"), "{}", account.text());
        // An operator can send back the masked URL that the API has shown.
        system.admin().patch(&path, &json!({"proxy_url": shown, "weight": 7})).await.ok();
        key.ask("hi again").await.ok();
    }
    assert!(!system.process().stderr().contains("pr0xy"), "{}", system.process().stderr());
}

#[tokio::test]
async fn socks5_resolves_locally_and_sends_no_user() {
    let system = TestSystem::empty().await;
    let upstream = FakeUpstream::start();
    let proxy = FakeProxy::before(upstream.address()).await;
    let (_, key) =
        create_behind_proxy(&system, &upstream.url(), &format!("socks5://{}", proxy.address()))
            .await;
    key.ask("hi").await.ok();
    let port = upstream.address().port();
    assert_eq!(proxy.seen(), [format!("SOCKS5  [127, 0, 0, 1]:{port}")]);
}

#[tokio::test]
async fn failing_proxy_fails_over_and_is_not_bypassed() {
    let system = TestSystem::empty().await;
    let (reachable, other) = (FakeUpstream::start(), FakeUpstream::start());
    let closed = TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr();
    let down = format!("http://{}", closed.expect("its number"));
    let (id, key) = create_behind_proxy(&system, &reachable.url(), &down).await;
    key.ask("hi").await.refused(502, "api_error");
    assert_eq!(reachable.exchanges().len(), 0, "the proxy was bypassed");

    let group = system.admin().get(&format!("/accounts/{id}")).await.ok().json()["groups"].clone();
    let fields = json!({"groups": group, "priority": 200});
    system.account_with("other", &other.url(), fields).await;
    key.ask("hi").await.ok();
    assert_eq!((reachable.exchanges().len(), other.exchanges().len()), (0, 1));

    // For https the client asks for a tunnel, and the proxy refuses.
    let proxy = FakeProxy::before(reachable.address()).await;
    let path = format!("/accounts/{id}");
    let change = json!({"base_url": "https://upstream.invalid",
        "credential": {"type": "api_key", "value": "sk-upstream-behind"},
        "proxy_url": format!("http://{}", proxy.address())});
    system.admin().patch(&path, &change).await.ok();
    key.ask("hi").await.ok();
    assert!(proxy.seen()[0].starts_with("CONNECT upstream.invalid:443"), "{:?}", proxy.seen());
    assert_eq!((reachable.exchanges().len(), other.exchanges().len()), (0, 2));
    let tested = system.admin().post(&format!("{path}/test"), &json!({})).await.ok().json();
    assert_eq!((&tested["ok"], proxy.seen().len()), (&json!(false), 2), "{tested}");
}

#[tokio::test]
async fn invalid_proxy_is_refused_by_the_api() {
    let system = TestSystem::empty().await;
    for url in ["proxy:3128", "ftp://proxy", "http://me:pr0xy@", "http://me:pr0xy@proxy/path", ""] {
        let body = json!({"name": "odd", "proxy_url": url,
            "credential": {"type": "api_key", "value": "sk-upstream"}});
        let answer = system.admin().post("/accounts", &body).await;
        let answer = answer.refused(400, "invalid_request_error");
        assert!(answer.message().contains("proxy_url") && !answer.text().contains("pr0xy"));
    }
    let id = system.account("plain", "https://upstream.invalid").await;
    let path = format!("/accounts/{id}");
    let masked = json!({"proxy_url": "http://me:***@proxy.example:3128"});
    system.admin().patch(&path, &masked).await.refused(400, "invalid_request_error");
    let set = json!({"proxy_url": "http://proxy.example:3128"});
    system.admin().patch(&path, &set).await.refused(400, "invalid_request_error");
    let credential = json!({"type": "api_key", "value": "sk-upstream-plain"});
    let set = json!({"proxy_url": "http://proxy.example:3128", "credential": credential});
    assert_eq!(system.admin().patch(&path, &set).await.ok().json()["proxy_url"], set["proxy_url"]);
    let unset = json!({"proxy_url": null, "credential": credential});
    assert_eq!(system.admin().patch(&path, &unset).await.ok().json()["proxy_url"], Value::Null);
}

#[tokio::test]
async fn proxy_variables_are_ignored() {
    let upstream = FakeUpstream::start();
    let proxy = FakeProxy::before(upstream.address()).await;
    let url = format!("http://{}", proxy.address());
    let names =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let launch =
        names.into_iter().fold(TestSystem::builder(), |launch, name| launch.env(name, &url));
    let system = launch.start().await;
    system.account("main", &upstream.url()).await;
    system.key("ci").create().await.ask("hi").await.ok();
    assert_eq!((upstream.exchanges().len(), proxy.seen().len()), (1, 0));
}

fn strict_client() -> UpstreamClient {
    let settings = Settings::from_lookup(|_| None).expect("settings");
    UpstreamClient::new(&settings.timers, settings.upstreams.allow_private).expect("a client")
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
async fn name_of_private_address_is_refused() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    let direct = strict_client();
    let why = refusal(&direct, &format!("https://localhost:{port}")).await;
    assert!(why.contains("localhost has no public address"), "{why}");
    for scheme in ["http", "https", "socks5", "socks5h"] {
        let proxy = Secret::new(format!("{scheme}://localhost:{port}"));
        let through = direct.with_proxy(Some(&proxy)).expect("a client");
        refusal(&through, "https://api.example.com").await;
    }
    let socks5h = Secret::new("socks5h://1.1.1.1:9".to_owned());
    let through = direct.with_proxy(Some(&socks5h)).expect("a client");
    for literal in ["https://127.0.0.1", "https://169.254.169.254", "https://[::1]"] {
        let why = refusal(&through, literal).await;
        let is_refused = ["is not a public address", "give out credentials"];
        assert!(is_refused.iter().any(|words| why.contains(words)), "{why}");
    }
    let accepted = std::pin::pin!(listener.accept());
    assert!(futures_util::FutureExt::now_or_never(accepted).is_none(), "a connection was opened");
}

#[tokio::test]
async fn redirect_is_not_followed_and_fails_over() {
    let system = TestSystem::empty().await;
    let (first, second, other) =
        (FakeUpstream::start(), FakeUpstream::start(), FakeUpstream::start());
    for (priority, upstream) in [&first, &second].into_iter().enumerate() {
        let name = format!("one-{priority}");
        system.account_with(&name, &upstream.url(), json!({"priority": priority})).await;
    }
    let key = system.key("ci").create().await;
    first.next(&format!("status:307;header=location:{}/v1/messages", other.url()));
    key.ask("hi").await.ok();
    let counts = [&first, &second, &other].map(|each| each.exchanges().len());
    assert_eq!(counts, [1, 1, 0]);
    let tried = eventually("the record", SOON, async || {
        system.events(&key).await.first().map(|event| event["tried"].clone()).ok_or("none")
    })
    .await;
    assert!(tried[0]["reason"].as_str().is_some_and(|why| why.contains("redirect")), "{tried}");
}
