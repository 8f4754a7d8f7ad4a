//! Browser sign-in of an upstream account, with the console's pages only.

use baton_test_harness::console_client::{ConsoleClient, ConsolePage};
use baton_test_harness::system::ADMIN_TOKEN;
use baton_test_harness::token_endpoint::{EndpointFault, FakeTokenEndpoint};
use serde_json::json;

const SECRET: &str = "cs-secret-of-the-client";
const BACK: &str = "http://localhost/cb";

/// The sign-in fields of the form, without the fields of the account itself.
fn sign_in_fields(endpoint: &FakeTokenEndpoint) -> Vec<(&'static str, String)> {
    [
        ("authorization_url", "http://127.0.0.1:9/authorize".to_owned()),
        ("token_url", endpoint.url()),
        ("client_id", "baton".to_owned()),
        ("client_secret", SECRET.to_owned()),
        ("token_endpoint_auth_method", "client_secret_post".to_owned()),
        ("scope", "inference offline".to_owned()),
        ("redirect_uri", BACK.to_owned()),
    ]
    .to_vec()
}

async fn send(console: &ConsoleClient, path: &str, fields: &[(&str, String)]) -> ConsolePage {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, it)| (*name, it.as_str())).collect();
    console.post(path, &fields).await
}

/// Sends the form that finishes the sign-in with this code.
async fn finish(console: &ConsoleClient, page: &ConsolePage, code: &str) -> ConsolePage {
    assert!(!page.field("finish", "csrf").is_empty());
    let hidden = ["state", "account", "once"].map(|name| (name, page.field("finish", name)));
    let fields = [hidden.as_slice(), &[("code", code.to_owned())]].concat();
    send(console, "/console/accounts/sign-in/finish", &fields).await
}

#[tokio::test]
async fn new_account_signs_in_with_redirect_address() {
    let (console, endpoint) = (ConsoleClient::open().await, FakeTokenEndpoint::start());
    let offered = console.get("/console/accounts/new").await.ok();
    assert!(offered.text().contains("sign in with a browser"), "{}", offered.text());
    let mut fields = sign_in_fields(&endpoint);
    fields.extend([
        ("name", "signed in".to_owned()),
        ("provider", "anthropic".to_owned()),
        ("base_url", "http://127.0.0.1:9".to_owned()),
        ("enabled", "true".to_owned()),
    ]);
    let page = send(&console, "/console/accounts/sign-in", &fields).await.ok();
    let link = "href=\"http://127.0.0.1:9/authorize?response_type=code";
    assert!(page.html.contains(link), "no link to open: {}", page.html);
    assert!(page.html.contains("rel=\"noopener noreferrer\""));
    assert!(
        page.text().contains("code_challenge_method=S256"),
        "no address to copy: {}",
        page.text()
    );
    assert!(!page.html.contains(SECRET), "a secret is not sent back");

    let state = page.field("finish", "state");
    let foreign = finish(&console, &page, &format!("{BACK}?code=code-1&state=other")).await;
    assert_eq!(foreign.status, 400);
    assert!(foreign.text().contains("another sign-in"), "{}", foreign.text());
    assert_eq!(endpoint.issued(), 0);

    // The error page still has the form.
    let address = format!("{BACK}?code=code-1&state={state}");
    let done = finish(&console, &foreign.well_formed(), &address).await;
    assert_eq!(done.status, 303, "{}", done.text());
    let account = console.get(&done.location).await.ok();
    assert!(account.text().contains("Signed in."), "{}", account.text());
    assert!(account.text().contains("ready"), "{}", account.text());
    let request = endpoint.last();
    assert_eq!((&request["code"], &request["redirect_uri"]), (&json!("code-1"), &json!(BACK)));
    assert_eq!(request["client_secret"], SECRET);
    assert!(request["code_verifier"].as_str().is_some_and(|it| !page.html.contains(it)));
    let list = console.api("GET", "/accounts", &json!({})).await;
    let made = &list["data"][0];
    assert_eq!((&made["name"], &made["credential_type"]), (&json!("signed in"), &json!("oauth2")));
    for path in ["/console/audit", &done.location] {
        let page = console.get(path).await;
        for secret in [SECRET, "code-1", "at-1", "rt-1"] {
            assert!(!page.html.contains(secret), "{secret} on {path}");
        }
    }
}

#[tokio::test]
async fn account_signs_in_again_with_code() {
    let (console, endpoint) = (ConsoleClient::open().await, FakeTokenEndpoint::start());
    let body = json!({
        "name": "main", "base_url": "http://127.0.0.1:9",
        "credential": {"type": "api_key", "value": "sk-upstream"},
    });
    let account = console.api("POST", "/accounts", &body).await;
    let here = format!("/console/accounts/{}", account["id"].as_str().expect("an id"));
    assert!(console.get(&here).await.ok().text().contains("sign in with a browser"));
    let start = format!("{here}/sign-in");

    // A refused form keeps its values except the secret.
    let mut wrong = sign_in_fields(&endpoint);
    wrong[0].1 = "nonsense".to_owned();
    let refused = send(&console, &start, &wrong).await.well_formed();
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("“Authorization endpoint”"), "{}", refused.text());
    assert_eq!(refused.field("replace-sign_in", "client_id"), "baton");
    assert!(!refused.html.contains(SECRET));

    // A refused code ends the sign-in. The account's page offers to start another one.
    let page = send(&console, &start, &sign_in_fields(&endpoint)).await.ok();
    endpoint.next(EndpointFault::Refuses);
    let refused = finish(&console, &page, "code-1").await.well_formed();
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("invalid_grant"), "{}", refused.text());
    assert!(refused.html.contains(&format!("href=\"{here}\"")), "{}", refused.html);

    let page = send(&console, &start, &sign_in_fields(&endpoint)).await.ok();
    let done = finish(&console, &page, " code-2 ").await;
    assert_eq!((done.status, &*done.location), (303, &*format!("{here}?done=signed_in")));
    assert_eq!(endpoint.last()["code"], "code-2");
    let view = console.api("GET", &here.replace("/console", ""), &json!({})).await;
    assert_eq!((&view["credential_type"], &view["name"]), (&json!("oauth2"), &json!("main")));
    // Sending the same form again changes nothing.
    let again = finish(&console, &page, " code-2 ").await;
    assert_eq!((again.status, again.location), (303, done.location));
    assert_eq!(endpoint.issued(), 1);
}

#[tokio::test]
async fn members_cannot_sign_accounts_in() {
    let console = ConsoleClient::open().await;
    let (_, _, secret) = console.member("Ada").await;
    for path in ["/console/accounts/sign-in", "/console/accounts/sign-in/finish"] {
        let page = console.ask("POST", path, &secret, "name=x&code=c&state=s").await.well_formed();
        assert_eq!(page.status, 403, "{path}");
    }
    // A request without the form's CSRF token is refused as well.
    let forged =
        console.ask("POST", "/console/accounts/sign-in", ADMIN_TOKEN, "csrf=forged&name=x").await;
    assert_eq!(forged.status, 403);
}
