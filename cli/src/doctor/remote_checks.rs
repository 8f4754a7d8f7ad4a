//! Checks that ask the relay and the admin API: whether they answer, their clock, their version,
//! and whether they accept the key. None of them costs a token.

use super::check_result::CheckResult;
use crate::CliError;
use crate::operate::admin_client::{AdminClient, root_cause};
use crate::profile::target::AdminTarget;
use baton_domain::secret::Secret;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, DATE, HeaderName, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Clients stop waiting for the list of models after this time (Claude Code, 2026-08-22).
const MODELS_TIMEOUT: Duration = Duration::from_secs(3);
/// A larger difference between clocks confuses people and breaks signatures.
const CLOCK_SKEW_SECONDS_MAX: i64 = 30;
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A client that follows no redirects, like the strictest of the real clients.
pub(super) fn client() -> Result<Client, CliError> {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        // Each check uses a new connection, because a connection that broke over a refused body
        // says nothing about the next check.
        .pool_max_idle_per_host(0)
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_mins(2))
        .user_agent(concat!("baton-doctor/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(CliError::from_cause)
}

/// Appends a route to a base URL.
pub(super) fn join_route(base_url: &Url, route: &str) -> String {
    format!("{}{route}", base_url.as_str().trim_end_matches('/'))
}

/// Checks who answers at the relay's address. The flag is true if it is Baton.
pub(super) async fn check_address(
    http: &Client,
    base_url: &Url,
    now: impl Fn() -> Timestamp,
) -> (bool, Vec<CheckResult>) {
    const CHECK: &str = "relay";
    let response = match http.get(join_route(base_url, "/health")).send().await {
        Ok(response) => response,
        Err(error) => return (false, vec![unreachable_result(CHECK, &error)]),
    };
    if let Some(result) = redirect(CHECK, &response) {
        return (false, vec![result]);
    }
    let clock = clock(&response, now());
    let status = response.status();
    let health: Value = response
        .bytes()
        .await
        .ok()
        .and_then(|b| serde_json::from_slice(&b).ok())
        .unwrap_or_default();
    if !status.is_success() || health["status"] != "ok" {
        let what = format!("/health answers with {status}, and not in Baton's form");
        let advice = "another program listens there, or the path before /health is wrong";
        return (false, vec![CheckResult::fail(CHECK, what, advice)]);
    }
    let found = CheckResult::ok(CHECK, "the relay answers");
    (true, vec![found, version("relay version", &health), clock])
}

fn version(check: &'static str, health: &Value) -> CheckResult {
    match health["version"].as_str() {
        Some(OWN_VERSION) => CheckResult::ok(check, OWN_VERSION),
        Some(other) => {
            let what = format!("the relay has version {other}, this program has {OWN_VERSION}");
            CheckResult::warn(check, what, "use the `baton` program of the deployed version")
        }
        None => CheckResult::warn(
            check,
            "the relay does not report its version",
            "the relay is older than this program; update it",
        ),
    }
}

fn clock(response: &Response, now: Timestamp) -> CheckResult {
    const CHECK: &str = "clock";
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let parsed = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let Some(server_time) = parsed.map(|server_time| server_time.timestamp()) else {
        return CheckResult::warn(
            CHECK,
            "the answers have no valid `date` header",
            "a proxy in front of the relay removes it; let it pass",
        );
    };
    let clock_skew = now.as_second() - server_time.as_second();
    if clock_skew.abs() <= CLOCK_SKEW_SECONDS_MAX {
        return CheckResult::ok(CHECK, format!("{} s apart", clock_skew.abs()));
    }
    let order = if clock_skew > 0 { "ahead of" } else { "behind" };
    let message = format!("this machine is {} s {order} the relay", clock_skew.abs());
    CheckResult::warn(
        CHECK,
        message,
        "synchronize the wrong clock by NTP, because expiry dates and signed tokens depend on it",
    )
}

/// Checks whether the admin API answers and accepts the token.
pub(super) async fn admin(http: &Client, target: AdminTarget) -> Vec<CheckResult> {
    const CHECK: &str = "admin API";
    if !target.is_chosen {
        let why = "no admin API was given; use --url and --token, or a profile";
        return vec![CheckResult::skipped(CHECK, why)];
    }
    let health = Url::parse(&target.url)
        .ok()
        .map(|base_url| http.get(join_route(&base_url, "/health")).send());
    let health = match health {
        Some(response) => response.await.ok(),
        None => None,
    };
    let bytes = match health {
        Some(response) => response.bytes().await.ok(),
        None => None,
    };
    let health: Option<Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let result = match AdminClient::new(target) {
        Ok(admin) => admin.get(&["groups"], &[("limit", "1")]).await,
        Err(error) => Err(error),
    };
    let result = match result {
        Ok(_) => CheckResult::ok(CHECK, "it answers and accepts the token"),
        Err(fail) => CheckResult::fail(CHECK, "the admin API is not usable", fail.to_string()),
    };
    let version = health.map(|health| version("admin version", &health));
    [Some(result), version].into_iter().flatten().collect()
}

/// Checks whether the key is accepted in each of the two headers that clients use.
pub(super) async fn check_key(http: &Client, base_url: &Url, key: &Secret) -> CheckResult {
    const CHECK: &str = "key";
    let mut refused = Vec::new();
    let headers = [
        (AUTHORIZATION, format!("Bearer {}", key.expose())),
        (HeaderName::from_static("x-api-key"), key.expose().to_owned()),
    ];
    for (name, value) in headers {
        match http.get(join_route(base_url, "/v1/usage")).header(&name, value).send().await {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => refused.push((name, read_error_message(response).await)),
            Err(error) => return unreachable_result(CHECK, &error),
        }
    }
    match refused.as_slice() {
        [] => CheckResult::ok(CHECK, "it is accepted as a Bearer token and in x-api-key"),
        [(name, message)] => {
            let advice =
                format!("a proxy in front of the relay removes or replaces `{name}`; let it pass");
            CheckResult::fail(CHECK, format!("it is refused only in `{name}` ({message})"), advice)
        }
        [(_, message), ..] => {
            let advice = "`baton key list` shows the keys; `baton key create` creates one";
            CheckResult::fail(CHECK, format!("the relay refuses it: {message}"), advice)
        }
    }
}

/// Checks whether the key sees models within the time that clients wait for them, and returns the
/// models.
pub(super) async fn models(
    http: &Client,
    base_url: &Url,
    key: &Secret,
) -> (CheckResult, Vec<String>) {
    const CHECK: &str = "models";
    let started = Instant::now();
    let response = http
        .get(join_route(base_url, "/v1/models?limit=1000"))
        .bearer_auth(key.expose())
        .send()
        .await;
    let response = match response {
        Ok(response) => response,
        Err(error) => return (unreachable_result(CHECK, &error), Vec::new()),
    };
    if let Some(result) = redirect(CHECK, &response) {
        return (result, Vec::new());
    }
    if !response.status().is_success() {
        let advice = "`baton account list` shows why no account is usable";
        return (CheckResult::fail(CHECK, read_error_message(response).await, advice), Vec::new());
    }
    let bytes = response.bytes().await.unwrap_or_default();
    let elapsed = started.elapsed();
    let list: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let ids = list["data"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_str());
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    let result = if ids.is_empty() {
        CheckResult::warn(
            CHECK,
            "the key cannot use any model",
            "check the models that the key and the accounts allow",
        )
    } else if elapsed > MODELS_TIMEOUT {
        let what = format!("the list took {} ms; clients wait for 3,000 ms", elapsed.as_millis());
        CheckResult::warn(CHECK, what, "check the network and the proxies in front of the relay")
    } else {
        CheckResult::ok(CHECK, format!("{} in {} ms", ids.len(), elapsed.as_millis()))
    };
    (result, ids)
}

/// The relay's message for a refusal, or the status.
pub(super) async fn read_error_message(response: Response) -> String {
    let status = response.status();
    let bytes = response.bytes().await.unwrap_or_default();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    value["error"]["message"].as_str().map_or_else(
        || format!("status {status}, and not an answer of Baton"),
        |message| format!("{message} (status {})", status.as_u16()),
    )
}

fn redirect(check: &'static str, response: &Response) -> Option<CheckResult> {
    if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
        return None;
    }
    let to =
        response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
    let advice = "use the final address in clients, because a redirect can drop the key or turn \
         POST into GET";
    Some(CheckResult::fail(check, format!("the address redirects to {to}"), advice))
}

fn unreachable_result(check: &'static str, error: &reqwest::Error) -> CheckResult {
    let cause = root_cause(error);
    let message = cause.to_lowercase();
    let advice = if message.contains("certificate") || message.contains("unknownissuer") {
        "the certificate is not valid for this name, or this machine does not trust its issuer; \
         renew it, or install the issuer here"
    } else if message.contains("corrupt message") || message.contains("record overflow") {
        "the server speaks http, not https; correct the URL, or put a TLS proxy in front of it"
    } else if error.is_timeout() {
        "a firewall can drop the packets; try from the relay's own machine"
    } else if message.contains("dns") || message.contains("lookup") || message.contains("resolve") {
        "the host name is unknown; correct it, or check the DNS"
    } else {
        "check that the relay runs and that the port is correct"
    };
    CheckResult::fail(check, format!("no answer: {cause}"), advice)
}
