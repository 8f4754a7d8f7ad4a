//! What is deployed, measured: each function built as `sam build` builds it (for this machine's
//! architecture), zipped, started, and asked for one piece of work.
//!
//! `cargo run -p baton-bench --bin sizes [-- .aws-sam/build]`: with the folder, what `sam build` has
//! left there for this machine's architecture.
#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::expect_used, clippy::panic, reason = "a measurement that fails stops")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use baton_test_harness::fixtures;
use baton_test_harness::lambda::{FunctionProcess, LambdaDeployment, WITHOUT_HURRY, event};
use baton_test_harness::system::target_folder;
use flate2::{Compression, write::DeflateEncoder};
use serde_json::Value;

const FUNCTIONS: [&str; 4] = ["relay", "stats", "refresh", "admin"];
const STARTS: usize = 20;
/// Local header, central directory and its end for one entry called `bootstrap` (APPNOTE.TXT).
const ZIP_FRAME_BYTES: usize = 30 + 9 + 46 + 9 + 22;

#[tokio::main]
async fn main() {
    let binaries = Binaries::take(std::env::args().nth(1));
    let cloud = LambdaDeployment::open().await;
    let admin =
        FunctionProcess::spawn_at(&binaries.path("admin"), "admin", &cloud.variables()).await;
    admin.ready().await;
    let key = cloud.create_account_and_key(&admin).await;
    println!("| function | binary | zip | exec to first poll | resident at work |");
    println!("| --- | --- | --- | --- | --- |");
    for name in FUNCTIONS {
        let binary = binaries.path(name);
        let bytes = std::fs::read(&binary).expect("a built binary");
        let first_poll = median_start(&cloud, &binary, name).await;
        let resident = at_work(&cloud, &binary, name, &key).await;
        println!(
            "| {name} | {} MB | {} MB | {} ms | {} MB |",
            megabytes(bytes.len()),
            megabytes(zipped(&bytes)),
            tenths(first_poll.as_micros() / 100),
            tenths(u128::from(resident) / 100_000),
        );
    }
}

/// Where the functions are.
enum Binaries {
    /// As cargo leaves them.
    Cargo(PathBuf),
    /// As SAM leaves them.
    Sam(PathBuf),
}

impl Binaries {
    /// Those of SAM in this folder, or new ones from the profile that SAM's are built with.
    fn take(folder: Option<String>) -> Self {
        if let Some(folder) = folder {
            return Self::Sam(std::fs::canonicalize(folder).expect("the folder"));
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(["build", "--locked", "--release", "--config", "infra/lambda.toml"])
            .args(FUNCTIONS.iter().flat_map(|name| ["-p".to_owned(), format!("baton-{name}")]))
            .arg("--target-dir")
            .arg(target_folder())
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        assert!(command.status().expect("run cargo").success(), "the functions cannot be built");
        Self::Cargo(target_folder().join("release"))
    }

    fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Cargo(folder) => folder.join(name),
            Self::Sam(folder) => {
                let (first, rest) = name.split_at(1);
                folder.join(format!("{}{rest}Function/bootstrap", first.to_uppercase()))
            }
        }
    }
}

/// Deflated as zip programs do by default, with the frame of an archive of one file.
fn zipped(bytes: &[u8]) -> usize {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("write to memory");
    encoder.finish().expect("write to memory").len() + ZIP_FRAME_BYTES
}

/// From the start of the process to its first poll, the median of several.
async fn median_start(cloud: &LambdaDeployment, binary: &Path, name: &str) -> Duration {
    let mut took = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let function = FunctionProcess::spawn_at(binary, name, &cloud.variables()).await;
        took.push(function.ready().await);
    }
    took.sort();
    took.get(STARTS / 2).copied().unwrap_or_default()
}

/// What it has in memory: the relay in the middle of a stream, the others after one event.
async fn at_work(cloud: &LambdaDeployment, binary: &Path, name: &str, key: &str) -> u64 {
    let function = FunctionProcess::spawn_at(binary, name, &cloud.variables()).await;
    function.ready().await;
    match name {
        "relay" => {
            let length = fixtures::stream("text").expect("the fixture").body.len();
            let gate = cloud.upstream.gate("sizes");
            gate.release(8);
            cloud.upstream.next("fixture:text;size=100;gate=sizes");
            let mut live = LambdaDeployment::ask(&function, key, "hi", WITHOUT_HURRY).await;
            live.read_to(length.min(600)).await;
            let resident = function.resident_bytes();
            gate.open();
            live.finish().await.ok();
            return resident;
        }
        "stats" => {
            let messages = cloud.stores.receive().await;
            assert!(!messages.is_empty(), "the relay's record is in the queue");
            function.invoke(&event::batch(&messages), WITHOUT_HURRY).await;
        }
        "refresh" => drop(function.invoke(&event::tick(), WITHOUT_HURRY).await),
        "admin" => {
            LambdaDeployment::operate(&function, "GET", "/accounts", &Value::Null).await.ok();
        }
        other => panic!("no function {other}"),
    }
    function.resident_bytes()
}

fn megabytes(bytes: usize) -> String {
    tenths(bytes as u128 / 100_000)
}

fn tenths(tenths: u128) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}
