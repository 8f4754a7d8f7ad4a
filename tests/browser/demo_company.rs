//! Demo data for screenshots: a company with a month of usage.

use std::path::Path;

use baton_runtime::clock::Clock;
use baton_test_harness::month_of_usage::{MonthIds, count};
use baton_test_harness::system::{TestKey, TestSystem};
use serde_json::json;

const PEOPLE: [&str; 5] =
    ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Edsger Dijkstra", "Barbara Liskov"];

/// The company's ids and one key.
pub(crate) struct DemoCompany {
    staff: MonthIds,
    user: String,
    group: String,
    /// The secret of a member's key.
    pub(crate) member: String,
}

impl DemoCompany {
    /// Creates the company through the admin API.
    pub(crate) async fn create(system: &TestSystem) -> Self {
        let admin = system.admin();
        let group = json!({"name": "research", "description": "Long runs, own accounts"});
        let group = admin.create("/groups", &group).await;
        let mut accounts = Vec::new();
        for place in 0..9 {
            let mut groups = vec!["grp_default"];
            groups.extend((place % 2 == 1).then_some(group.as_str()));
            let priority = 100 + place / 3 * 10;
            let fields = json!({"priority": priority, "enabled": place != 7, "groups": groups});
            let name = format!("{}-{}", ["workspace", "overflow", "night"][place / 3], place + 1);
            accounts.push(system.account_with(&name, &system.upstream.url(), fields).await);
        }
        let (mut keys, mut user, mut member) = (Vec::new(), String::new(), String::new());
        for name in PEOPLE {
            let first = name.split(' ').next().unwrap_or(name);
            let email = format!("{}@example.com", first.to_lowercase());
            let person = json!({"name": name, "email": email, "limits": {"usd_daily": "40"}});
            user = admin.create("/users", &person).await;
            for purpose in ["laptop", "ci"] {
                let key = system.key(&format!("{first} {purpose}"));
                let key = key.with("user_id", user.as_str()).limit("usd_monthly", "250");
                let TestKey { id, secret, .. } = key.create().await;
                member = secret;
                keys.push((id, Some(user.clone())));
            }
        }
        let rates = json!({"input": "0.40", "output": "1.60", "cache_read": "0.04",
            "cache_write_5m": "0.50", "cache_write_1h": "0.80"});
        let price = json!({"model": "in-house-7b", "standard": rates});
        admin.post("/prices", &price).await.status(201);
        for (scope, amount) in [
            (json!({"type": "organization"}), "10000"),
            (json!({"type": "user", "user_id": user}), "2500"),
        ] {
            let cap = json!({"scope": scope, "amount": amount, "period": "daily"});
            admin.post("/organizations/spend_limits", &cap).await.ok();
        }
        Self { staff: MonthIds { keys, accounts }, user, group, member }
    }

    /// Writes a month of usage into the stores. No other process can have the data folder open.
    pub(crate) async fn store_month(&self, data: &Path) {
        let builder = TestSystem::builder().data_at(data).in_process().clock(Clock::system());
        let store = builder.start().await.store;
        count(&store, &self.staff.month(store.clock().now(), 20)).await;
    }

    /// Every page for administrators, with the name of its screenshot.
    pub(crate) async fn pages(&self, system: &TestSystem) -> Vec<(String, String)> {
        let lists = [
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
            "alerts",
            "settings",
            "audit",
            "connect",
            "mine",
        ];
        let mut pages: Vec<(String, String)> =
            lists.map(|path| (path.replace('/', "-"), format!("/console/{path}"))).to_vec();
        pages.push(("overview".into(), "/console".into()));
        for (kind, id) in [
            ("account", &self.staff.accounts[0]),
            ("key", &self.staff.keys[0].0),
            ("user", &self.user),
            ("group", &self.group),
        ] {
            pages.push((kind.into(), format!("/console/{kind}s/{id}")));
        }
        let events = system.admin().get("/usage/events?limit=1").await.ok().json();
        let text = |name: &str| events["data"][0][name].as_str().unwrap_or_default().to_owned();
        let (id, key, at) = (text("id"), text("key_id"), text("started_at"));
        pages.push(("request".into(), format!("/console/requests/{id}?key_id={key}&at={at}")));
        pages
    }
}
