//! Addresses at which clouds issue credentials, and addresses that hide their target. None of them
//! can become an upstream, even if private upstreams are allowed.

use crate::class::AttackClass;
use baton_test_harness::system::TestSystem;
use serde_json::json;

const METADATA: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.1.1",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "[fe80::1]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::a9fe:a9fe]",
    "[::ffff:0:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b::169.254.170.2]",
    "[2002:a9fe:a9fe::1]",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "169.254.169.254.",
    "%31%36%39.254.169.254",
    "１６９.254.169.254",
    "169。254。169。254",
    "100.100.100.200",
    "168.63.129.16",
];

const ODD_BASES: &[&str] = &[
    "http://127.0.0.1:9/?x=",
    "http://127.0.0.1:9/v1?",
    "http://127.0.0.1:9/#",
    "http://127.0.0.1:9/v1#/",
    "http://user@127.0.0.1:9",
    "http://user:password@127.0.0.1:9",
    "http://:password@127.0.0.1:9",
    "http://169.254.169.254@127.0.0.1:9/?",
    "file:///etc/passwd",
    "ftp://127.0.0.1",
    "gopher://127.0.0.1",
    "http://",
    "//127.0.0.1:9",
    "127.0.0.1:9",
];

pub(crate) async fn run(class: AttackClass) {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let key = json!({"type": "api_key", "value": "sk-upstream"});
    let refused = async |input: String, body: serde_json::Value| {
        let answer = admin.post("/accounts", &body).await;
        class.check(&input, answer.status == 400, || answer.text());
    };
    let secrets = json!({"client_id": "c", "client_secret": "s", "type": "oauth2"});
    for host in METADATA {
        for url in
            [format!("http://{host}"), format!("https://{host}/v1"), format!("http://{host}:8080")]
        {
            let body = json!({"name": url, "base_url": url, "credential": key});
            refused(format!("base_url {url}"), body).await;
            let mut exchange = secrets.clone();
            exchange["token_url"] = json!(url);
            let body =
                json!({"name": url, "base_url": "http://127.0.0.1:9", "credential": exchange});
            refused(format!("token_url {url}"), body).await;
        }
        for scheme in ["http", "https", "socks5", "socks5h"] {
            let url = format!("{scheme}://{host}:3128");
            let body = json!({"name": url, "base_url": "http://127.0.0.1:9", "credential": key,
                "proxy_url": url});
            refused(format!("proxy_url {url}"), body).await;
        }
        let url = format!("http://{host}/hook");
        let answer = admin.send("PUT", "/alerts", &json!({"url": url})).await;
        class.check(&format!("webhook {url}"), answer.status == 400, || answer.text());
    }
    for url in ODD_BASES {
        refused(
            format!("base_url {url}"),
            json!({"name": url, "base_url": url, "credential": key}),
        )
        .await;
    }
}
