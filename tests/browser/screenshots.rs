//! Pictures of every page of the console, as Chromium shows them: light, dark, and as wide as a
//! phone, of a company with a month behind it.
//!
//! `cargo run -p baton-tests --bin screenshots [-- FOLDER]`; the folder is `target/screenshots`
//! unless said otherwise. It takes `chromium` from the path.
#![expect(clippy::print_stdout, reason = "it says where the pictures are")]
#![expect(clippy::expect_used, reason = "a command that cannot take pictures stops")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use baton_cloud::aws::Aws;
use baton_cloud::clock::Clock;
use baton_cloud::dice::Dice;
use baton_cloud::settings::Settings;
use baton_cloud::store::Store;
use baton_local::Local;
use baton_tests::house::{House, Launch, plain_client, target_folder};
use baton_tests::month::{Staff, count};
use serde_json::{Value, json};

/// How a picture is taken: its name, the window, and the colours.
const LOOKS: [(&str, &str, &str); 3] = [
    ("light", "1280,1500", "light"),
    ("dark", "1280,1500", "dark"),
    ("phone", "500,1600", "light"),
];

#[tokio::main]
async fn main() {
    let folder =
        std::env::args().nth(1).map_or_else(|| target_folder().join("screenshots"), PathBuf::from);
    std::fs::create_dir_all(&folder).expect("a folder for the pictures");
    let mut house = House::launched(Launch::new()).await;
    let company = Company::settle(&house).await;
    let again = house.process().again();
    house.process().terminate();
    house.process().ended();
    company.remember(&again.home().join("data")).await;
    house.started_again(again).await;

    for (look, size, theme) in LOOKS {
        let admin = Door::open(&house, house.admin_token(), theme).await;
        for (name, path) in company.pages(&admin).await {
            admin.picture(&folder.join(format!("{name}-{look}.png")), size, &path);
        }
        let member = Door::open(&house, &company.member, theme).await;
        for (name, path) in [
            ("member-keys", "/console/mine"),
            ("member-usage", "/console/mine/usage"),
            ("member-refused", "/console/users"),
        ] {
            member.picture(&folder.join(format!("{name}-{look}.png")), size, path);
        }
    }
    let empty = House::empty().await;
    let door = Door::open(&empty, empty.admin_token(), "light").await;
    for (name, path) in [
        ("empty-overview", "/console"),
        ("empty-accounts", "/console/accounts"),
        ("empty-keys", "/console/keys"),
    ] {
        door.picture(&folder.join(format!("{name}.png")), "1280,900", path);
    }
    println!("{}", folder.display());
}

/// What there is to be seen.
struct Company {
    staff: Staff,
    user: String,
    group: String,
    /// The secret of a member's key.
    member: String,
}

impl Company {
    async fn settle(house: &House) -> Self {
        let admin = house.admin();
        let group = admin
            .create(
                "/groups",
                &json!({"name": "research", "description": "Long runs, own accounts"}),
            )
            .await;
        let mut accounts = Vec::new();
        for place in 0..9 {
            let fields = json!({
                "priority": 100 + place / 3 * 10, "enabled": place != 7,
                "groups": if place % 2 == 0 { json!(["grp_default"]) } else { json!(["grp_default", group]) },
            });
            let name = format!("{}-{}", ["workspace", "overflow", "night"][place / 3], place + 1);
            accounts.push(house.account_with(&name, &house.upstream.url(), fields).await);
        }
        let (mut keys, mut user, mut member) = (Vec::new(), String::new(), String::new());
        for name in
            ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Edsger Dijkstra", "Barbara Liskov"]
        {
            let email =
                format!("{}@example.com", name.split(' ').next().unwrap_or(name).to_lowercase());
            user = admin
                .create(
                    "/users",
                    &json!({"name": name, "email": email, "limits": {"usd_daily": "40"}}),
                )
                .await;
            for purpose in ["laptop", "ci"] {
                let key = house
                    .key(&format!("{} {purpose}", name.split(' ').next().unwrap_or(name)))
                    .with("user_id", user.as_str())
                    .limit("usd_monthly", "250")
                    .create()
                    .await;
                member.clone_from(&key.secret);
                keys.push((key.id.clone(), Some(user.clone())));
            }
        }
        let rates = json!({"input": "0.40", "output": "1.60", "cache_read": "0.04", "cache_write_5m": "0.50", "cache_write_1h": "0.80"});
        let price = json!({"model": "in-house-7b", "standard": rates});
        assert_eq!(admin.post("/prices", &price).await.status, 201);
        for (scope, amount) in [
            (json!({"type": "organization"}), "10000"),
            (json!({"type": "user", "user_id": user}), "2500"),
        ] {
            let cap = json!({"scope": scope, "amount": amount, "period": "daily"});
            admin.post("/organizations/spend_limits", &cap).await.ok();
        }
        Self { staff: Staff { keys, accounts }, user, group, member }
    }

    /// Writes its month into the stores, which nobody else has open.
    async fn remember(&self, data: &Path) {
        let local = Local::open(Some(data)).await.expect("its stores");
        let mut settings = Settings::read(|_| None).expect("settings");
        settings.resources = local.resources();
        let aws = Aws::new(&local.sdk_config());
        let store = Store::new(&aws, &settings, Clock::system(), Dice::system());
        count(&store, &self.staff.month(store.clock().now(), 60)).await;
    }

    /// Every page, by the name of its picture.
    async fn pages(&self, door: &Door) -> Vec<(String, String)> {
        let mut pages: Vec<(String, String)> = [
            "accounts",
            "accounts/new",
            "groups",
            "groups/new",
            "keys",
            "keys/new",
            "users",
            "users/new",
            "requests",
            "limits",
            "prices",
            "prices/new",
            "settings",
            "audit",
            "connect",
            "mine",
        ]
        .map(|path| (path.replace('/', "-"), format!("/console/{path}")))
        .to_vec();
        pages.push(("overview".into(), "/console".into()));
        for (kind, id) in [
            ("account", &self.staff.accounts[0]),
            ("key", &self.staff.keys[0].0),
            ("user", &self.user),
            ("group", &self.group),
        ] {
            pages.push((kind.into(), format!("/console/{kind}s/{id}")));
        }
        let events = door.api("/api/v1/usage/events?limit=1").await;
        let event = &events["data"][0];
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let path = format!(
            "/console/requests/{}?key_id={}&at={}",
            text("id"),
            text("key_id"),
            text("started_at")
        );
        pages.push(("request".into(), path));
        pages
    }
}

/// A way in for a browser that cannot sign in by itself: each request gets a token and colours.
struct Door {
    address: SocketAddr,
    token: String,
}

#[derive(Clone)]
struct Means {
    behind: String,
    token: String,
    theme: &'static str,
    http: reqwest::Client,
}

impl Door {
    async fn open(house: &House, token: &str, theme: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let behind = house.admin_url();
        let means = Means { behind, token: token.to_owned(), theme, http: plain_client() };
        let app = Router::new().fallback(pass).with_state(means);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, token: token.to_owned() }
    }

    async fn api(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.address);
        let answer =
            plain_client().get(url).bearer_auth(&self.token).send().await.expect("an answer");
        serde_json::from_str(&answer.text().await.expect("text")).expect("JSON")
    }

    fn picture(&self, file: &Path, size: &str, path: &str) {
        let status = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .arg(format!("--window-size={size}"))
            .arg(format!("--screenshot={}", file.display()))
            .arg(format!("http://{}{path}", self.address))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .expect("chromium starts");
        assert!(status.success() && file.exists(), "a picture of {path}");
    }
}

async fn pass(State(means): State<Means>, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let asked = means
        .http
        .request(request.method().clone(), format!("{}{path}", means.behind))
        .bearer_auth(&means.token)
        .header("cookie", format!("baton_theme={}", means.theme))
        .header("accept", "text/html")
        .send()
        .await
        .expect("an answer");
    let mut answer = Response::builder().status(asked.status());
    for name in ["content-type", "content-security-policy", "location"] {
        if let Some(value) = asked.headers().get(name) {
            answer = answer.header(name, value);
        }
    }
    answer.body(Body::from(asked.bytes().await.expect("a body"))).expect("an answer")
}
