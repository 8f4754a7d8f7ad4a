//! The local stores as a separate program, over HTTP, for functions that run outside of it.

use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::eventually::eventually;
use crate::program::Program;
use crate::system::{bare_command, plain_client};

const START: Duration = Duration::from_secs(20);

/// `baton up --only-stores`; it is killed when dropped.
pub struct StoresProcess {
    /// The variables that it printed for other programs.
    pub variables: Vec<(String, String)>,
    http: Client,
    program: Program,
    _home: TempDir,
}

impl StoresProcess {
    /// Starts empty stores on a free port.
    pub async fn start() -> Self {
        Self::open(&std::env::temp_dir(), None).await
    }

    /// The same with the files in a new folder under `place`.
    pub async fn start_in(place: &Path) -> Self {
        Self::open(place, None).await
    }

    /// Opens the stores that a `baton up` has left in this data folder.
    pub async fn open_data_folder(data: &Path) -> Self {
        Self::open(&std::env::temp_dir(), Some(data)).await
    }

    async fn open(place: &Path, data: Option<&Path>) -> Self {
        let home = TempDir::with_prefix_in("baton-stores-", place);
        let home = home.expect("a folder for their data");
        let data = data.map_or_else(|| home.path().join("data"), Path::to_owned);
        let mut command = bare_command(home.path());
        command
            .args(["up", "--only-stores", "--data-dir"])
            .arg(data)
            .env("BATON_STORES_LISTEN", "127.0.0.1:0");
        let mut program = Program::start(&mut command);
        let variables = eventually("the stores are open", START, async || {
            let output = format!("{}{}", program.stdout(), program.stderr());
            assert!(!program.is_over(), "they ended at once:\n{output}");
            let variables = exports(&program.stdout());
            let last = variables.last().is_some_and(|(name, _)| name == "BATON_DATA_KEY_ID");
            if last { Ok(variables) } else { Err(output) }
        })
        .await;
        Self { variables, http: plain_client(), program, _home: home }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    /// One of the variables that it printed.
    pub fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }

    /// The messages in the usage queue now. They are not deleted, but no other reader sees them for
    /// minutes.
    pub async fn receive(&self) -> Vec<Value> {
        let request = json!({
            "QueueUrl": self.variable("BATON_USAGE_QUEUE_URL"),
            "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"],
        });
        let answer = self.queue("ReceiveMessage", &request).await;
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    /// A call of the queue service.
    pub async fn queue(&self, operation: &str, body: &Value) -> Value {
        let request = self
            .http
            .post(self.variable("AWS_ENDPOINT_URL"))
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .body(body.to_string());
        crate::client_response::ClientResponse::to(request).await.ok().json()
    }
}

/// The variables in lines `export NAME=value`. An incomplete line is ignored.
fn exports(text: &str) -> Vec<(String, String)> {
    let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
