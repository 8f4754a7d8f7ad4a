//! The commands in README.md and the pages of `docs/`.
//!
//! Every `sh` block is parsed. Each program must be one of a known list, `baton` must have the
//! subcommand and the flags, and cargo must have the package and the target. A block with the info
//! string `sh run` is also executed: the blocks of a page run in their order in one shell, which
//! stops at the first command that fails. Each page gets a Baton with a new data folder and a fake
//! upstream:
//!
//! * `baton` is the real program. `baton up` does nothing because the test has already started
//!   Baton. `remove` gets `--yes` because the commands have no terminal. If the page gives it no
//!   input, its standard input is an API key, a relay key, the admin token or a webhook's address.
//! * `curl` fails if the answer is an error. `claude` sends one message to the address and with the
//!   key that Claude Code would use.
//! * `BATON_URL`, `BATON_ADMIN_TOKEN` and `BATON_METRICS_TOKEN` are set. The current folder is new
//!   and holds `.baton`.
//! * [`Surroundings::replaced`] lists the addresses, folders, secrets and ids of the pages that the
//!   test replaces by those in use. Any other `…` is the rest of a word.
//! * An account that is added without `--base-url` gets the address of the fake upstream.
//! * A line `<!-- sh run: COMMAND -->` prepares what a page takes for granted.
//!
//! `docs/develop/testing.md` lists the pages whose commands are only parsed, with the reasons.

mod pages;
mod shell;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use baton::args::Args;
use baton_test_harness::collector::FakeCollector;
use baton_test_harness::program::Program;
use baton_test_harness::system::{TestKey, TestSystem, baton_binary};
use baton_test_harness::token_endpoint::FakeTokenEndpoint;
use baton_test_harness::upstream::FakeUpstream;
use clap::CommandFactory as _;
use clap::error::ErrorKind;
use pages::{Block, Page, pages};
use serde_json::{Value, json};

use crate::repository_shape::{none, root};

/// The page that lists the pages whose commands are not executed.
const LIST: &str = "docs/develop/testing.md";
const LIST_HEADING: &str = "Commands that are not executed";
/// Programs that a command can start with. `baton` and `cargo` are checked more closely here, `sam`
/// and `aws` by `infra/check-guide.py`.
const PROGRAMS: &str = "apt-get aws baton caddy cargo cat cd chmod chown claude codex cp curl diff \
    docker echo env exit export false gh git grep gunzip gzip head id install jq kill ls mdbook \
    mkdir mv nginx node npm npx openssl pip pipx podman printf python3 read rm rsync rustup sam scp \
    sed set sha256sum sleep sort source sqlite3 ssh sudo systemctl tail tar tee test touch tr true \
    umask unset useradd wc journalctl .ci/run";
/// The API key that the fake upstream accepts.
const API_KEY: &str = "sk-upstream-documents";
const METRICS_TOKEN: &str = "metrics-token-0123456789abcdef";
/// Time limit for all commands of a page.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(2);

#[test]
fn documented_commands_parse() {
    let packages = Packages::read();
    let mut seen = 0;
    let wrong = pages().into_iter().flat_map(|page| {
        let mut wrong = page.wrong.clone();
        for block in &page.blocks {
            let complaints = block_complaints(block, &packages);
            seen += 1;
            wrong.extend(complaints.map(|what| format!("{}:{}: {what}", page.path, block.line)));
        }
        wrong
    });
    none("commands in the documents", wrong.collect::<Vec<_>>());
    assert!(seen >= 3, "the documents show how to start, test and deploy");
}

fn block_complaints(block: &Block, packages: &Packages) -> impl Iterator<Item = String> {
    let syntax = Command::new("bash").args(["-n", "-c", &block.text]).output().expect("run bash");
    let message = String::from_utf8_lossy(&syntax.stderr).trim().to_owned();
    let broken = (!syntax.status.success()).then(|| format!("no shell takes this: {message}"));
    let commands = shell::commands(&block.text).into_iter();
    broken.into_iter().chain(commands.filter_map(|words| {
        let why = complaint(&words, packages)?;
        Some(format!("`{}`: {why}", words.join(" ")))
    }))
}

/// Describes what is wrong with a command.
fn complaint(words: &[String], packages: &Packages) -> Option<String> {
    let program = words.first().filter(|first| !first.is_empty())?;
    let name = program.rsplit('/').next().unwrap_or(program);
    if !PROGRAMS.split_whitespace().any(|known| known == name || known == program) {
        return Some(format!("`{name}` is not a program that the documents use"));
    }
    match name {
        "baton" => baton_complaint(&words[1..]),
        "cargo" => packages.complaint(&words[1..]),
        _ => None,
    }
}

fn baton_complaint(arguments: &[String]) -> Option<String> {
    let program = ["baton".to_owned()];
    let parsed = Args::command().try_get_matches_from(program.iter().chain(arguments));
    match parsed.map_err(|error| (error.kind(), error.to_string())) {
        Ok(_) | Err((ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _)) => None,
        Err((_, text)) => Some(text.lines().next().unwrap_or_default().to_owned()),
    }
}

/// The packages of the workspace with their targets as (kind, name).
struct Packages(BTreeMap<String, BTreeSet<(String, String)>>);

impl Packages {
    fn read() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
        let output = Command::new(cargo).args(arguments).current_dir(root()).output();
        let output = output.expect("run cargo").stdout;
        let metadata: Value = serde_json::from_slice(&output).expect("cargo's metadata");
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let package = |package: &Value| {
            let targets = list(&package["targets"]);
            let targets =
                targets.iter().map(|target| (text(&target["kind"][0]), text(&target["name"])));
            (text(&package["name"]), targets.collect())
        };
        Self(list(&metadata["packages"]).iter().map(package).collect())
    }

    /// Describes what is wrong with the arguments of `cargo`.
    fn complaint(&self, arguments: &[String]) -> Option<String> {
        let (own, passed) = match arguments.iter().position(|word| word == "--") {
            Some(end) => (&arguments[..end], &arguments[end + 1..]),
            None => (arguments, &[][..]),
        };
        let subcommand = own.iter().find(|word| !word.starts_with(['+', '-']))?;
        let known =
            "bench build check clippy deny doc fmt fuzz install lambda metadata run test update";
        if !known.split(' ').any(|known| known == subcommand) {
            return Some(format!("`cargo {subcommand}` is not a command that the documents use"));
        }
        if ["lambda", "fuzz", "install"].contains(&subcommand.as_str()) {
            return None;
        }
        let chosen = values_of(own, &["-p", "--package"]);
        if let Some(unknown) = chosen.iter().find(|name| !self.0.contains_key(**name)) {
            return Some(format!("there is no package `{unknown}`"));
        }
        let packages =
            self.0.iter().filter(|(name, _)| chosen.is_empty() || chosen.contains(&name.as_str()));
        let targets: BTreeSet<&(String, String)> =
            packages.flat_map(|(_, targets)| targets).collect();
        for kind in ["test", "bin", "example", "bench"] {
            let flag = format!("--{kind}");
            let names = values_of(own, &[&flag]);
            let is_there = |name: &str| targets.contains(&(kind.to_owned(), name.to_owned()));
            if let Some(unknown) = names.iter().find(|name| !is_there(name)) {
                return Some(format!("there is no {kind} `{unknown}`"));
            }
        }
        let runs_baton = subcommand == "run" && (chosen.is_empty() || chosen == ["baton"]);
        let other = values_of(own, &["--bin", "--example"]);
        let runs_other = other.iter().any(|name| *name != "baton");
        if runs_baton && !runs_other { baton_complaint(passed) } else { None }
    }
}

/// The words that follow one of these flags.
fn values_of<'a>(words: &'a [String], flags: &[&str]) -> Vec<&'a str> {
    let pairs = words.windows(2).filter(|pair| flags.contains(&pair[0].as_str()));
    pairs.map(|pair| pair[1].as_str()).collect()
}

/// A page with commands that are only parsed must be in the list, with a reason.
#[test]
fn pages_with_unexecuted_commands_are_listed() {
    let list = std::fs::read_to_string(root().join(LIST)).unwrap_or_default();
    let section = list.split(LIST_HEADING).nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    // Without a book there is no list.
    if !root().join("docs/SUMMARY.md").exists() {
        return;
    }
    let has_reason = |path: &str| {
        let named = path.strip_prefix("docs/").unwrap_or(path);
        let mut lines = section.lines().filter(|line| line.contains(named));
        lines.any(|line| line.split_whitespace().count() >= 6)
    };
    let missing = pages().into_iter().filter(Page::is_of_readers).filter(|page| {
        let is_parsed_only = page.blocks.iter().any(|block| !block.is_run);
        is_parsed_only && !has_reason(&page.path)
    });
    let missing: Vec<String> = missing.map(|page| page.path).collect();
    none(&format!("pages that {LIST}, \"{LIST_HEADING}\", has to list with the reason"), missing);
}

#[tokio::test]
async fn marked_commands_work() {
    let mut failed = Vec::new();
    for page in pages().iter().filter(|page| page.blocks.iter().any(|block| block.is_run)) {
        if let Err(why) = Surroundings::start().await.run(page) {
            failed.push(format!("{}: {why}", page.path));
        }
    }
    none("commands that do not work", failed);
}

/// The system that the commands of one page run against.
struct Surroundings {
    system: TestSystem,
    upstream: FakeUpstream,
    identity_provider: FakeTokenEndpoint,
    webhook: FakeCollector,
    data: PathBuf,
    key: TestKey,
    user_id: String,
}

impl Surroundings {
    async fn start() -> Self {
        let upstream = FakeUpstream::start();
        upstream.only_takes(&[API_KEY]);
        let launch = TestSystem::builder()
            .env("BATON_ANTHROPIC_BASE_URL", &upstream.url())
            .env("BATON_METRICS_TOKEN", METRICS_TOKEN);
        let data = launch.home().join(".baton");
        let system = launch.data_at(&data).start().await;
        let key = system.key("documents").create().await;
        let user_id = system.admin().create("/users", &json!({"name": "documents"})).await;
        let (identity_provider, webhook) = (FakeTokenEndpoint::start(), FakeCollector::start());
        Self { system, upstream, identity_provider, webhook, data, key, user_id }
    }

    /// Texts of a page, each with the text that replaces it.
    fn replaced(&self, home: &Path) -> Vec<(&'static str, String)> {
        let (relay, admin) = (self.system.relay_url(), self.system.admin_url());
        let address = |url: &str| url.trim_start_matches("http://").to_owned();
        vec![
            ("https://admin.baton.example.com", admin.clone()),
            ("https://baton.example.com", relay.clone()),
            ("https://login.example.com/token", self.identity_provider.url()),
            ("127.0.0.1:8080", address(&relay)),
            ("127.0.0.1:8081", address(&admin)),
            ("/var/lib/baton", self.data.display().to_string()),
            ("/var/backups/", format!("{}/", home.display())),
            ("usr_PhjZYKmtBkL0JsPf", self.user_id.clone()),
            ("key_BSmBmN7b4QZ9", self.key.id.clone()),
            ("put-the-token-here", self.system.admin_token().to_owned()),
            ("bta_…", self.system.admin_token().to_owned()),
            ("bt_…", self.key.secret.clone()),
            ("…", "0123456789".to_owned()),
        ]
    }

    /// Executes the commands of a page.
    fn run(&mut self, page: &Page) -> Result<(), String> {
        let home = self.system.process().home().to_owned();
        let programs = home.join("bin");
        self.write_programs(&programs);
        let mut path = programs.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("bash");
        command
            .args(["-c", &page.script(&self.replaced(&home))])
            .env_clear()
            .env("HOME", &home)
            .env("PATH", path)
            .env("BATON_LISTEN", self.system.relay_url().trim_start_matches("http://"))
            .env("BATON_DATA_DIR", &self.data)
            .env("BATON_URL", self.system.admin_url())
            .env("BATON_ADMIN_TOKEN", self.system.admin_token())
            .env("BATON_METRICS_TOKEN", METRICS_TOKEN)
            .current_dir(&home);
        let ended = Program::run(&mut command, COMMAND_TIMEOUT);
        match ended.code {
            Some(0) => Ok(()),
            code => Err(format!("{code:?}\n{}{}", ended.stdout, ended.stderr)),
        }
    }

    /// Writes the programs that come first in the search path. The head of this file describes
    /// them.
    fn write_programs(&self, folder: &Path) {
        let (real, upstream) = (baton_binary().display(), self.upstream.url());
        let webhook = self.webhook.url();
        let (key, token) = (&self.key.secret, self.system.admin_token());
        let baton = format!(
            "said={API_KEY}\n\
             case \"$*\" in\n\
             up | up\\ * | '') exit 0 ;;\n\
             account\\ add\\ *--base-url* | account\\ add\\ *bedrock*) ;;\n\
             account\\ add\\ *) set -- \"$@\" --base-url {upstream} ;;\n\
             *--webhook\\ -*) said={webhook} ;;\n\
             *\\ --yes*) ;;\n\
             *\\ remove\\ *) set -- \"$@\" --yes ;;\n\
             doctor\\ *) said={key} ;;\n\
             *--token\\ -*) said={token} ;;\n\
             esac\n\
             if [ /dev/stdin -ef /dev/null ]; then exec {real} \"$@\" <<< \"$said\"; fi\n\
             exec {real} \"$@\"\n"
        );
        let curl =
            "exec \"$(type -ap curl | tail -n 1)\" --fail-with-body --silent --show-error \"$@\"\n";
        let claude = "exec curl \"$ANTHROPIC_BASE_URL/v1/messages\" \
            -H \"authorization: Bearer $ANTHROPIC_AUTH_TOKEN\" -d '{\"model\": \"claude-haiku-4-5\", \
            \"max_tokens\": 1000, \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}'\n";
        std::fs::create_dir_all(folder).expect("a folder for programs");
        for (name, script) in [("baton", baton.as_str()), ("curl", curl), ("claude", claude)] {
            let file = folder.join(name);
            std::fs::write(&file, format!("#!/usr/bin/env bash\n{script}")).expect("written");
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&file, executable).expect("executable");
        }
    }
}

#[test]
fn checker_reports_wrong_commands() {
    let packages = Packages::read();
    for (line, expected) in [
        ("baton up --listen 127.0.0.1:1", ""),
        ("baton account add --name a --api-key sk-…", ""),
        ("baton account list --jsonn", "unexpected argument '--jsonn'"),
        ("baton acount list", "unrecognized subcommand 'acount'"),
        ("X=1 sudo -u baton baton ky list | head", "unrecognized subcommand 'ky'"),
        ("export URL=$(baton profile lst)", "unrecognized subcommand 'lst'"),
        ("cargo test -p baton-tests --test it -- --nocapture", ""),
        ("cargo test -p baton-test", "no package `baton-test`"),
        ("cargo test -p baton-tests --test its", "no test `its`"),
        ("cargo run -- up --only-store", "unexpected argument '--only-store'"),
        ("cargo run -p baton-bench --bin bench -- overview", ""),
        ("if true; then htop; fi", "`htop` is not a program"),
        ("cat <<EOF > file\nhtop\nEOF\nls", ""),
        ("echo 'a", "no shell takes this"),
    ] {
        let block = Block { line: 1, is_run: false, text: line.to_owned() };
        let found: Vec<String> = block_complaints(&block, &packages).collect();
        let fits =
            if expected.is_empty() { found.is_empty() } else { found.concat().contains(expected) };
        assert!(fits, "{line}: {found:?}");
    }
}
