//! The binary of a function, run by a separate Runtime API.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::answer::{StreamedResponse, whole};
use super::runtime_api::RuntimeApi;
use crate::client_response::ClientResponse;
use crate::program::{Program, ProgramResult};
use crate::system::function_binary;

const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(20);

/// A running function; it is killed when dropped.
pub struct FunctionProcess {
    program: Program,
    api: RuntimeApi,
    begun: Instant,
    _home: TempDir,
}

impl FunctionProcess {
    /// Starts the function with these variables in addition to the platform's, without waiting.
    pub async fn spawn(name: &str, variables: &[(String, String)]) -> Self {
        Self::spawn_at(&function_binary(name), name, variables).await
    }

    /// The same with the binary at this path.
    pub async fn spawn_at(binary: &Path, name: &str, variables: &[(String, String)]) -> Self {
        let home = TempDir::with_prefix("baton-lambda-").expect("a folder to run in");
        let at_once = variables.iter().find(|(name, _)| name == "AWS_LAMBDA_MAX_CONCURRENCY");
        let at_once = at_once.map_or(1, |(_, count)| count.parse().expect("a number"));
        let api = RuntimeApi::start(at_once).await;
        let mut command = Command::new(binary);
        command
            .env_clear()
            .current_dir(home.path())
            .env("AWS_LAMBDA_RUNTIME_API", api.address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/baton/test/{name}"))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "test")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let begun = Instant::now();
        Self { program: Program::start(&mut command), api, begun, _home: home }
    }

    /// Starts the function and waits until it asks for work.
    pub async fn start(name: &str, variables: &[(String, String)]) -> Self {
        let function = Self::spawn(name, variables).await;
        function.ready().await;
        function
    }

    /// Waits until the function asks for work. Returns the time from its start.
    pub async fn ready(&self) -> Duration {
        let Ok(polled) = tokio::time::timeout(START, self.api.first_poll()).await else {
            panic!("it asks for no work:\n{}", self.program.stderr())
        };
        polled.duration_since(self.begun)
    }

    /// Sets the deadline that the function receives from now on, in Unix milliseconds.
    pub fn set_deadline(&self, millis: &str) {
        self.api.set_deadline(millis);
    }

    /// Invokes the function with an event and reads its answer of any kind.
    pub async fn invoke(&self, event: &Value, left: Duration) -> Value {
        whole(self.api.invoke(event.to_string(), left)).await
    }

    /// Invokes the function with a request to its URL and reads the answer to its end.
    pub async fn request(&self, event: &Value, left: Duration) -> ClientResponse {
        self.stream(event, left).await.finish().await
    }

    /// Invokes the function with a request to its URL and waits for the head of its streamed
    /// answer.
    pub async fn stream(&self, event: &Value, left: Duration) -> StreamedResponse {
        StreamedResponse::begin(self.api.invoke(event.to_string(), left)).await
    }

    /// The resident memory of the function in bytes (`VmRSS`, proc(5)).
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.program.id());
        let status = std::fs::read_to_string(&path).expect("a running process on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kilobytes.and_then(|count| count.parse::<u64>().ok()).expect("a count of kB") * 1024
    }

    /// The standard output so far.
    pub fn stdout(&self) -> String {
        self.program.stdout()
    }

    /// The standard error so far.
    pub fn stderr(&self) -> String {
        self.program.stderr()
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Waits until the process ends.
    pub fn ended(&mut self) -> ProgramResult {
        self.program.ended(END)
    }
}
