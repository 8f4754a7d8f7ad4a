//! Baton as it is deployed in a container: `baton serve`, with its stores in another process, so
//! that what they cost is shown apart, and their files in memory where there is such a folder, so that
//! no disk is measured. Nobody reads the usage queue here: records are sent and
//! stay there.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use baton_tests::house::{Admin, baton_binary};
use baton_tests::lambda::Stores;
use serde_json::{Value, json};

use crate::process::{Figures, free_address};
use crate::road::{Plan, Road, folder};

const ADMIN_TOKEN: &str = "bench-admin-token-0123456789abcdef";

/// The stores, and a key or two in them.
pub(crate) struct Baton {
    stores: Stores,
    threads: u32,
    key: String,
    limited: String,
}

impl Baton {
    /// Opens the stores and puts an account and keys into them.
    pub(crate) async fn prepare(upstream: SocketAddr, threads: u32) -> Result<Self, String> {
        let memory = Path::new("/dev/shm");
        let stores =
            if memory.is_dir() { Stores::start_in(memory).await } else { Stores::start().await };
        let nothing = String::new;
        let mut baton = Self { stores, threads, key: nothing(), limited: nothing() };
        let (plan, admin) = baton.plan()?;
        // It is up when it refuses what has no key.
        let running = crate::process::Running::start(&mut { plan.command }, plan.folder.path())?;
        let admin = Admin::at(admin, ADMIN_TOKEN);
        while admin.request("GET", "/groups").send().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let group = admin.create("/groups", &json!({"name": "bench"})).await;
        let account = json!({
            "name": "bench", "provider": "anthropic", "base_url": format!("http://{upstream}"),
            "credential": {"type": "api_key", "value": "sk-upstream"}, "groups": [group],
        });
        admin.create("/accounts", &account).await;
        let limits = json!({"usd_daily": "1000000.00", "requests_per_minute": 100_000_000});
        baton.key = secret(&admin, &json!({"name": "bench", "group_id": group})).await;
        let limited = json!({"name": "limited", "group_id": group, "limits": limits});
        baton.limited = secret(&admin, &limited).await;
        drop(running);
        Ok(baton)
    }

    /// Starts the relay over stores that know account and keys.
    pub(crate) async fn open(&self, body: &str) -> Result<Road, String> {
        let (plan, _) = self.plan()?;
        let limited = vec![("x-api-key".to_owned(), self.limited.clone())];
        Ok(Road::open(plan, body).await?.with(Figures::of(self.stores.id()), limited))
    }

    fn plan(&self) -> Result<(Plan, SocketAddr), String> {
        let (relay, admin) = (free_address(), free_address());
        let folder = folder("baton")?;
        let mut command = Command::new(baton_binary());
        command
            .env_clear()
            .current_dir(folder.path())
            .args(["serve", "--listen", &relay.to_string(), "--admin-listen", &admin.to_string()])
            .envs(self.stores.variables.iter().map(|(name, value)| (name, value)))
            .env("TOKIO_WORKER_THREADS", self.threads.to_string())
            .env("BATON_ALLOW_PRIVATE_UPSTREAMS", "1")
            .env("BATON_ADMIN_TOKEN", ADMIN_TOKEN);
        let plan = Plan {
            name: "baton".to_owned(),
            address: relay,
            path: "/v1/messages".to_owned(),
            headers: vec![("x-api-key".to_owned(), self.key.clone())],
            command,
            folder,
        };
        Ok((plan, admin))
    }
}

async fn secret(admin: &Admin, key: &Value) -> String {
    let made = admin.post("/keys", key).await.json();
    made["secret"].as_str().expect("a new key's secret").to_owned()
}
