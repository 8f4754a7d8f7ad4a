//! Credentials can be written and never read: not through a changed address, a proxy or another
//! token endpoint. No file of the machine can be read under the name of an identity token.

use crate::class::AttackClass;
use baton_test_harness::system::{OperatorClient, TestSystem};
use baton_test_harness::token_endpoint::FakeTokenEndpoint;
use baton_test_harness::upstream::FakeUpstream;
use serde_json::{Value, json};

const IDENTITY: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwb2QifQ.c2ln";

pub(crate) async fn run(class: AttackClass) {
    Box::pin(places(&class)).await;
    Box::pin(files(&class)).await;
}

async fn places(class: &AttackClass) {
    let system = TestSystem::open().await;
    let (admin, thief) = (system.admin(), FakeUpstream::start());
    let proxy = format!("http://{}", thief.address());
    let account = system.account("plain", &system.upstream.url()).await;
    let endpoint = FakeTokenEndpoint::start();
    let renewed = json!({"type": "oauth2", "token_url": endpoint.url(), "client_id": "c",
        "client_secret": "secret-of-client", "refresh_token": "rt-0"});
    let renewed =
        json!({"name": "renewed", "base_url": system.upstream.url(), "credential": renewed});
    let renewed = admin.create("/accounts", &renewed).await;
    let proxied = json!({"proxy_url": format!("http://me:pa55@{}", system.upstream.address())});
    let proxied = system.account_with("proxied", &system.upstream.url(), proxied).await;
    let port = thief.address().port();
    for id in [&account, &renewed, &proxied] {
        let path = format!("/accounts/{id}");
        for change in [
            json!({"base_url": thief.url()}),
            json!({"base_url": format!("{}/v1", thief.url())}),
            json!({"base_url": format!("http://localhost:{port}")}),
            json!({"base_url": format!("https://127.0.0.1:{port}")}),
            json!({"base_url": format!("http://127.0.0.1:{port}"), "name": "renamed"}),
            json!({"base_url": "https://upstream.example"}),
            json!({"proxy_url": proxy}),
            json!({"proxy_url": format!("socks5://127.0.0.1:{port}")}),
            json!({"proxy_url": format!("http://me:***@127.0.0.1:{port}")}),
            json!({"provider": "openai_compatible"}),
            json!({"provider": "openai_compatible", "base_url": thief.url(), "proxy_url": proxy}),
        ] {
            let answer = admin.patch(&path, &change).await;
            let says = answer.status == 400;
            class.check(&format!("{change} alone"), says, || answer.text());
        }
        admin.post(&format!("{path}/test"), &json!({})).await;
        admin.post(&format!("{path}/refresh"), &json!({})).await;
    }
    let gone = admin.patch(&format!("/accounts/{proxied}"), &json!({"proxy_url": null})).await;
    class.check("a proxy that is left out", gone.status == 400, || gone.text());
    let shown = admin.get(&format!("/accounts/{proxied}")).await.ok().json()["proxy_url"].clone();
    let same = admin.patch(&format!("/accounts/{proxied}"), &json!({"proxy_url": shown})).await;
    class.check("a masked proxy means as it is", same.status == 200, || same.text());
    let without =
        json!({"credential": {"type": "oauth2", "token_url": thief.url(), "client_id": "c"}});
    let answer = admin.patch(&format!("/accounts/{renewed}"), &without).await;
    class.check("another token endpoint without secrets", answer.status == 400, || answer.text());
    let key = system.key("asks").create().await;
    key.ask("hi").await;
    let got = thief.exchanges().len();
    class.check("what the thief got", got == 0, || got.to_string());
    // A credential that is given again goes to the address that it was given for.
    let both =
        json!({"base_url": thief.url(), "credential": {"type": "api_key", "value": "sk-new"}});
    let answer = admin.patch(&format!("/accounts/{account}"), &both).await;
    class.check("address and credential together", answer.status == 200, || answer.text());
    let harmless = json!({"base_url": format!("{}/", thief.url()), "priority": 3, "name": "p"});
    let answer = admin.patch(&format!("/accounts/{account}"), &harmless).await;
    class.check("another path at the same host", answer.status == 200, || answer.text());
    admin.post(&format!("/accounts/{account}/test"), &json!({})).await.ok();
    let keys: Vec<String> =
        thief.exchanges().iter().map(|it| format!("{:?}", it.request)).collect();
    let only_new = keys.iter().all(|all| !all.contains("sk-upstream-plain"));
    class.check("only the new credential", only_new && !keys.is_empty(), || format!("{keys:?}"));
    for text in [admin.get("/accounts").await.text(), admin.get("/audit").await.text()] {
        let is_clean =
            !["sk-upstream", "secret-of-client", "rt-0", "pa55"].iter().any(|it| text.contains(it));
        class.check("what the API shows", is_clean, || text.clone());
    }
}

/// An account whose credential names this file.
fn naming(path: &str, endpoint: &FakeTokenEndpoint) -> Value {
    json!({"name": format!("file {path}"), "base_url": endpoint.url(), "credential": {
        "type": "workload_identity", "federation_rule_id": "f", "organization_id": "o",
        "service_account_id": "s", "token_url": endpoint.url(), "identity_token_file": path}})
}

async fn files(class: &AttackClass) {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("tokens");
    std::fs::create_dir_all(folder.join("folder")).expect("folders");
    let secret = home.path().join("pod-token");
    for (path, text) in [
        (&secret, IDENTITY.to_owned()),
        (&folder.join("good"), IDENTITY.to_owned()),
        (&folder.join("huge"), "a".repeat(1 << 20)),
        (&folder.join("text"), "no token".to_owned()),
    ] {
        std::fs::write(path, text).expect("a file");
    }
    for (to, link) in [(secret.as_path(), "leads-out"), (std::path::Path::new("/dev/zero"), "zero")]
    {
        std::os::unix::fs::symlink(to, folder.join(link)).expect("a link");
    }
    let pipe = std::process::Command::new("mkfifo").arg(folder.join("pipe")).status();
    assert!(pipe.is_ok_and(|status| status.success()), "a pipe");
    let outside = secret.display().to_string();
    let climbing = format!("{}/../pod-token", folder.display());
    let elsewhere = [
        "/etc/passwd",
        "/nonexistent",
        "/root",
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/environ",
        "/proc/self/fd/0",
        "../pod-token",
        "folder/../../pod-token",
        "",
        "/",
        ".",
        "leads-out",
        "zero",
        &outside,
        &climbing,
    ];
    let endpoint = FakeTokenEndpoint::start();
    let at = folder.display().to_string();
    let mut system = TestSystem::builder().env("BATON_IDENTITY_TOKEN_DIR", &at).start().await;
    let admin = system.admin();
    let mut answers = Vec::new();
    for path in elsewhere {
        let answer = admin.post("/accounts", &naming(path, &endpoint)).await;
        class.check(&format!("identity_token_file {path}"), answer.status == 400, || answer.text());
        // An empty path names nothing, and is refused as every empty field is.
        if !path.is_empty() {
            answers.push(answer.message());
        }
    }
    answers.dedup();
    class.check("no answer tells what exists", answers.len() == 1, || format!("{answers:?}"));
    for path in ["folder", "huge", "pipe"] {
        let answer = admin.post("/accounts", &naming(path, &endpoint)).await;
        class.check(&format!("identity_token_file {path}"), answer.status == 400, || answer.text());
    }
    let mut reasons = Vec::new();
    for path in ["text", "absent"] {
        let id = admin.create("/accounts", &naming(path, &endpoint)).await;
        reasons.push(refresh(&admin, &id).await);
        admin.delete(&format!("/accounts/{id}")).await.status(204);
    }
    reasons.dedup();
    class.check("a text and no file fail alike", reasons.len() == 1, || format!("{reasons:?}"));
    let id = admin.create("/accounts", &naming("later", &endpoint)).await;
    // A file that was valid when it was named is checked again on each use, also after a restart.
    std::os::unix::fs::symlink("/dev/zero", folder.join("later")).expect("a link");
    let why = refresh(&admin, &id).await;
    class.check("a link to /dev/zero that came later", why.contains("identity_token_file"), || {
        why.clone()
    });
    class.check("what left", endpoint.issued() == 0, || endpoint.issued().to_string());
    system.restart().await;
    let answer = system.admin().get("/groups").await;
    class.check("it starts with such an account", answer.status == 200, || answer.text());
    let resident = resident_megabytes(system.process_id());
    class.check("memory", resident < 300, || format!("{resident} MB"));
    let good = system.admin().create("/accounts", &naming("good", &endpoint)).await;
    let path = format!("/accounts/{good}/refresh");
    let mut answer = system.admin().post(&path, &json!({})).await;
    // The schedule can renew the same token at the same time.
    for _ in 0..50 {
        if answer.status != 409 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        answer = system.admin().post(&path, &json!({})).await;
    }
    class.check("a good file", answer.status == 200, || answer.text());

    let system = TestSystem::empty().await;
    for path in [&outside, "/etc/passwd", "good"] {
        let answer = system.admin().post("/accounts", &naming(path, &endpoint)).await;
        let says = answer.status == 400 && answer.message().contains("BATON_IDENTITY_TOKEN_DIR");
        class.check(&format!("without a folder: {path}"), says, || answer.text());
    }
}

/// The message of a renewal that fails.
async fn refresh(admin: &OperatorClient, id: &str) -> String {
    admin.post(&format!("/accounts/{id}/refresh"), &json!({})).await.message()
}

fn resident_megabytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() / 1024
}
