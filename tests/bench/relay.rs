//! Baton as it is deployed in a container: `baton serve`, with its stores in another process, so
//! that what they cost is shown apart. Nobody reads the usage queue there: records are sent and
//! stay. And all of it in one process, `baton up`, which limited keys need. Files are in memory
//! where there is such a folder, so that no disk is measured.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use baton_test_harness::lambda::StoresProcess;
use baton_test_harness::system::{OperatorClient, baton_binary, free_address};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{ChildProgram, ProcessFigures};
use crate::request_path::{ProgramPlan, RequestPath, folder};

const ADMIN_TOKEN: &str = "bench-admin-token-0123456789abcdef";

/// Of the two keys that are asked with.
struct BenchKeys {
    free: String,
    limited: String,
}

/// The stores, and keys in them.
pub(crate) struct BenchedBaton {
    stores: StoresProcess,
    threads: u32,
    keys: BenchKeys,
}

impl BenchedBaton {
    /// Opens the stores and puts an account and keys into them.
    pub(crate) async fn prepare(upstream: SocketAddr, threads: u32) -> Result<Self, String> {
        let stores = StoresProcess::start_in(&memory()).await;
        let nobody = BenchKeys { free: String::new(), limited: String::new() };
        let mut baton = Self { stores, threads, keys: nobody };
        let (plan, admin) = baton.plan(baton_binary())?;
        baton.keys = create_account_and_keys(plan, admin, upstream).await?;
        Ok(baton)
    }

    /// Starts the relay over stores that know account and keys.
    pub(crate) async fn open(&self, body: &str) -> Result<RequestPath, String> {
        let (plan, _) = self.plan(baton_binary())?;
        Ok(RequestPath::open(plan, body).await?.with_stores(ProcessFigures::of(self.stores.id())))
    }

    /// The same of another build, which the road is named after.
    pub(crate) async fn open_build(&self, build: &Path, body: &str) -> Result<RequestPath, String> {
        let (plan, _) = self.plan(build)?;
        let name = build.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let plan = ProgramPlan { name, ..plan };
        Ok(RequestPath::open(plan, body).await?.with_stores(ProcessFigures::of(self.stores.id())))
    }

    fn plan(&self, build: &Path) -> Result<(ProgramPlan, SocketAddr), String> {
        let (relay, admin) = (free_address(), free_address());
        let folder = folder("baton")?;
        let mut command = Command::new(build);
        command
            .env_clear()
            .current_dir(folder.path())
            .args(["serve", "--listen", &relay.to_string(), "--admin-listen", &admin.to_string()])
            .envs(self.stores.variables.iter().map(|(name, value)| (name, value)))
            .env("TOKIO_WORKER_THREADS", self.threads.to_string())
            .env("BATON_ALLOW_PRIVATE_UPSTREAMS", "1")
            .env("BATON_ADMIN_TOKEN", ADMIN_TOKEN);
        let plan = ProgramPlan {
            name: "baton".to_owned(),
            address: relay,
            path: "/v1/messages".to_owned(),
            headers: headers(&self.keys.free),
            command,
            folder,
        };
        Ok((plan, admin))
    }
}

/// All of Baton in one process, `baton up`: the same stores, and stats that settles what limited
/// keys reserve. (Where nobody settles, the item of a limited key grows with each request.)
pub(crate) async fn whole(
    upstream: SocketAddr,
    threads: u32,
    body: &str,
) -> Result<RequestPath, String> {
    let data = TempDir::with_prefix_in("baton-bench-data-", memory());
    let data = data.map_err(|e| format!("a folder: {e}"))?;
    let (plan, admin) = whole_plan(data.path(), threads, "")?;
    let keys = create_account_and_keys(plan, admin, upstream).await?;
    let (plan, _) = whole_plan(data.path(), threads, &keys.free)?;
    Ok(RequestPath::open(plan, body).await?.with_limited(headers(&keys.limited), data))
}

fn whole_plan(data: &Path, threads: u32, key: &str) -> Result<(ProgramPlan, SocketAddr), String> {
    let (relay, admin) = (free_address(), free_address());
    let folder = folder("up")?;
    let mut command = Command::new(baton_binary());
    command
        .env_clear()
        .current_dir(folder.path())
        .args(["up", "--listen", &relay.to_string(), "--admin-listen", &admin.to_string()])
        .arg("--data-dir")
        .arg(data)
        .env("TOKIO_WORKER_THREADS", threads.to_string())
        .env("BATON_ALLOW_PRIVATE_UPSTREAMS", "1")
        .env("BATON_ADMIN_TOKEN", ADMIN_TOKEN);
    let (name, path) = ("baton up".to_owned(), "/v1/messages".to_owned());
    Ok((ProgramPlan { name, address: relay, path, headers: headers(key), command, folder }, admin))
}

/// Starts a Baton, puts an account and keys into it, and ends it.
async fn create_account_and_keys(
    plan: ProgramPlan,
    admin: SocketAddr,
    upstream: SocketAddr,
) -> Result<BenchKeys, String> {
    // It is up when it refuses what has no key.
    let mut running = ChildProgram::start(&mut { plan.command }, plan.folder.path())?;
    let admin = OperatorClient::at(admin, ADMIN_TOKEN);
    while admin.request("GET", "/groups").send().await.is_err() {
        if running.is_over() {
            let said = std::fs::read_to_string(plan.folder.path().join("stderr"));
            return Err(format!("it ended at once; it said: {}", said.unwrap_or_default()));
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let group = admin.create("/groups", &json!({"name": "bench"})).await;
    let account = json!({
        "name": "bench", "provider": "anthropic", "base_url": format!("http://{upstream}"),
        "credential": {"type": "api_key", "value": "sk-upstream"}, "groups": [group],
    });
    admin.create("/accounts", &account).await;
    let limits = json!({"usd_daily": "1000000.00", "requests_per_minute": 100_000_000});
    let free = secret(&admin, &json!({"name": "bench", "group_id": group})).await;
    let limited = json!({"name": "limited", "group_id": group, "limits": limits});
    let limited = secret(&admin, &limited).await;
    drop(running);
    Ok(BenchKeys { free, limited })
}

fn headers(key: &str) -> Vec<(String, String)> {
    vec![("x-api-key".to_owned(), key.to_owned())]
}

/// Where files are in memory, if there is such a place.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

async fn secret(admin: &OperatorClient, key: &Value) -> String {
    let made = admin.post("/keys", key).await.json();
    made["secret"].as_str().expect("a new key's secret").to_owned()
}
