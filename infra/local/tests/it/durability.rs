//! Acknowledged data is there after a restart, however the process ended. A data directory is used
//! by one process at a time.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use baton_local::LocalAws;

use crate::fixture::{LocalAwsFixture, bodies, item, n, s};

/// The directory for the child process; without it the child's test does nothing.
const CHILD_DIR: &str = "BATON_TEST_CHILD_DIR";
const ROUNDS: usize = 3;
const ROWS_A_ROUND: usize = 40;

#[tokio::test]
async fn tables_and_messages_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let fixture = LocalAwsFixture::open(Some(dir.path())).await;
        fixture.put("ConfigTable", item([("pk", s("a")), ("sk", s("b")), ("v", n(7))])).await;
        fixture.send("in flight").await;
        fixture.send("kept").await;
        let one = fixture.sqs.receive_message().queue_url(fixture.queue()).send().await.unwrap();
        assert_eq!(bodies(one.messages()), ["in flight"]);
    }
    let fixture = LocalAwsFixture::open(Some(dir.path())).await;
    assert_eq!(fixture.get("ConfigTable", "a", "b").await.unwrap()["v"], n(7));
    // The receiver of the first message died with the process, so the message is visible at once.
    assert_eq!(bodies(&fixture.receive(&fixture.queue()).await), ["in flight", "kept"]);
}

#[tokio::test]
async fn second_process_gets_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let first = LocalAws::open(Some(dir.path())).await.unwrap();
    let line = LocalAws::open(Some(dir.path())).await.err().unwrap().to_string();
    let shown = dir.path().canonicalize().unwrap();
    assert_eq!(line, format!("another baton process is using {}", shown.display()));
    drop(first);
    LocalAws::open(Some(dir.path())).await.unwrap();
}

#[tokio::test]
async fn uncreatable_directory_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = LocalAws::open(Some(&file.path().join("data"))).await.err().unwrap().to_string();
    assert!(line.starts_with("cannot create ") && line.contains("/data: "), "{line}");
    assert!(!line.contains('\n'));
}

#[tokio::test]
async fn killed_process_loses_no_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        acknowledged.extend(run_and_kill(dir.path(), round));
    }
    let fixture = LocalAwsFixture::open(Some(dir.path())).await;
    let mut messages = Vec::new();
    loop {
        let more = fixture.receive(&fixture.queue()).await;
        if more.is_empty() {
            break;
        }
        messages.extend(bodies(&more).into_iter().map(str::to_owned));
    }
    assert!(acknowledged.len() >= 2 * ROUNDS * ROWS_A_ROUND);
    for line in acknowledged {
        match line.split_once(' ').unwrap() {
            ("row", id) => {
                let found = fixture.get("UsageTable", id, "event").await;
                assert!(found.is_some(), "row {id} was acknowledged and is lost");
            }
            (_, id) => {
                assert!(messages.iter().any(|body| body == id), "message {id} is lost");
            }
        }
    }
}

/// Starts a child that writes as fast as it can, kills it while it writes, and returns what the
/// child had acknowledged.
fn run_and_kill(dir: &Path, round: usize) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "durability::child_process", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_row = |line: &String| line.starts_with("row ") || line.starts_with("message ");
    let mut next = || lines.next().map(Result::unwrap);
    let mut acknowledged = Vec::new();
    while acknowledged.len() < 2 * ROWS_A_ROUND {
        let line = next().unwrap_or_else(|| panic!("the child of round {round} ended by itself"));
        acknowledged.extend(Some(line).filter(is_row));
    }
    // SIGKILL on Unix: no destructor runs.
    child.kill().unwrap();
    child.wait().unwrap();
    // Lines from before its death count too, except for a line that is cut off.
    let mut rest = Vec::new();
    while let Some(line) = next() {
        rest.push(line);
    }
    rest.pop();
    acknowledged.extend(rest.into_iter().filter(is_row));
    acknowledged
}

/// Not a test by itself: this is the process that `run_and_kill` kills.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the parent tells its child through the environment")]
async fn child_process() {
    let Ok(dir) = env::var(CHILD_DIR) else { return };
    let fixture = LocalAwsFixture::open(Some(Path::new(&dir))).await;
    let mut out = std::io::stdout();
    for number in 0_u64.. {
        let id = format!("{}-{number}", std::process::id());
        fixture
            .put("UsageTable", item([("pk", s(&id)), ("sk", s("event")), ("day", s("d"))]))
            .await;
        writeln!(out, "row {id}").unwrap();
        fixture.send(&id).await;
        writeln!(out, "message {id}").unwrap();
    }
}
