//! The `baton` binary as a child process: starts on free ports, is awaited, ends by signal.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::{TestSystemBuilder, baton_binary, plain_client};
use crate::eventually::eventually;
use crate::program::{Program, ProgramResult};

const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(30);

/// `TOKIO_WORKER_THREADS=1 cargo test` tests the other scheduler of tokio.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// The binary with an empty environment, so that a developer's variables do not affect a test. Only
/// the number of threads is kept.
pub fn bare_command(home: &Path) -> Command {
    let mut command = Command::new(baton_binary());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .envs(std::env::var_os(THREADS).map(|threads| (THREADS, threads)))
        .current_dir(home);
    command
}

/// An address that is free; each is returned only once in this process. The port is below the range
/// that the kernel uses for clients, so no client takes it before Baton does.
pub fn free_address() -> SocketAddr {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time start at different ports.
    let [low, high, ..] = std::process::id().wrapping_mul(101).to_le_bytes();
    let begin = u16::from_le_bytes([low, high]);
    let next = std::iter::repeat_with(|| {
        let offset = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        SocketAddr::from(([127, 0, 0, 1], FIRST + offset % COUNT))
    });
    let mut free = next.take(COUNT.into());
    free.find(|address| TcpListener::bind(address).is_ok()).expect("a free port")
}

/// A running `baton`.
pub struct BatonProcess {
    /// The address of the relay.
    pub relay: SocketAddr,
    /// The address of the admin API.
    pub admin: SocketAddr,
    /// The admin token that it was started with; empty if it created one.
    pub admin_token: String,
    program: Program,
    builder: TestSystemBuilder,
    data: PathBuf,
}

impl BatonProcess {
    pub(super) fn spawn(builder: TestSystemBuilder) -> Self {
        let relay = builder.relay.unwrap_or_else(free_address);
        let admin = free_address();
        let data = builder.data().map_or_else(|| builder.home().join("data"), Path::to_owned);
        let mut command = bare_command(builder.home());
        command
            .args(["up", "--listen", &relay.to_string(), "--admin-listen", &admin.to_string()])
            .arg("--data-dir")
            .arg(&data)
            .args(&builder.arguments)
            .envs(builder.variables());
        let admin_token = builder.variable("BATON_ADMIN_TOKEN").unwrap_or_default().to_owned();
        Self { relay, admin, admin_token, program: Program::start(&mut command), builder, data }
    }

    /// Waits until the relay and the admin API answer.
    pub(super) async fn ready(&mut self) {
        let http = plain_client();
        let listeners = [
            format!("http://{}/health", self.relay),
            format!("http://{}/api/v1/groups", self.admin),
        ];
        eventually("baton is ready", START, async || {
            let output = format!("{}{}", self.stdout(), self.stderr());
            assert!(!self.is_over(), "baton ended at once:\n{output}");
            for listener in &listeners {
                if let Err(error) = http.get(listener).send().await {
                    return Err(format!("{error}\n{output}"));
                }
            }
            Ok(())
        })
        .await;
    }

    /// The standard output so far.
    pub fn stdout(&self) -> String {
        self.program.stdout()
    }

    /// The standard error so far.
    pub fn stderr(&self) -> String {
        self.program.stderr()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    /// A builder for the same start with the same data and new ports.
    pub fn again(&self) -> TestSystemBuilder {
        self.builder.at_new_addresses()
    }

    /// Runs another command of the binary, with this process as its target.
    pub fn command(&self, arguments: &[&str]) -> ProgramResult {
        let mut command = bare_command(self.builder.home());
        command
            .args(arguments)
            .env("BATON_URL", format!("http://{}", self.admin))
            .env("BATON_ADMIN_TOKEN", &self.admin_token)
            .env("BATON_DATA_DIR", &self.data);
        Program::run(&mut command, END)
    }

    /// Runs a command of the binary with only these variables. The file of profiles in this
    /// process's home folder gives what the variables leave out.
    pub fn command_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> ProgramResult {
        let mut command = bare_command(self.builder.home());
        command.args(arguments).envs(variables.iter().copied());
        Program::run(&mut command, END)
    }

    /// The home folder of its commands.
    pub fn home(&self) -> &Path {
        self.builder.home()
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Sends SIGTERM without waiting.
    pub fn terminate(&self) {
        self.program.terminate();
    }

    /// Whether the process has ended.
    pub fn is_over(&mut self) -> bool {
        self.program.is_over()
    }

    /// Waits until the process ends.
    pub fn ended(&mut self) -> ProgramResult {
        self.program.ended(END)
    }
}
