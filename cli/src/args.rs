//! The command line. The comments on commands and flags are the help that people read.

#![expect(missing_docs, clippy::doc_markdown, reason = "comments here are help texts")]

use baton_cloud::settings::{LogFormat, Settings};
use clap::{Args as ClapArgs, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A relay for LLM APIs that counts every token.
#[derive(Parser)]
#[command(
    name = "baton",
    version,
    after_help = "Without a command, `baton up` is meant. Other settings \
are environment variables; the README lists them."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the whole system on this machine: relay, admin API, stores, queue, stats, refresh
    Up {
        #[command(flatten)]
        place: Place,
        /// Offer only the stores, over HTTP at BATON_STORES_LISTEN, for `cargo lambda watch`
        #[arg(long, env = "BATON_ONLY_STORES")]
        only_stores: bool,
    },
    /// Run relay and admin API against the AWS resources that the environment names
    Serve {
        #[command(flatten)]
        place: Place,
    },
    /// Ask a relay on this machine whether it serves, for containers that have no `curl`
    Health {
        /// Where it listens [env: BATON_LISTEN] [default: 127.0.0.1:8080]
        #[arg(long)]
        listen: Option<SocketAddr>,
    },
    /// Upstream accounts
    Account {
        #[command(flatten)]
        office: Office,
        #[command(subcommand)]
        what: AccountCommand,
    },
    /// Groups of accounts
    Group {
        #[command(flatten)]
        office: Office,
        #[command(subcommand)]
        what: GroupCommand,
    },
    /// Keys for people and pipelines
    Key {
        #[command(flatten)]
        office: Office,
        #[command(subcommand)]
        what: KeyCommand,
    },
    /// What was used, summed up
    Usage {
        #[command(flatten)]
        office: Office,
        /// Columns to group by: any of hour, day, month, key, user, group, account, model
        #[arg(long, default_value = "day,model")]
        by: String,
        /// First day or time (default: 30 days ago)
        #[arg(long)]
        from: Option<String>,
        /// Last day or time (default: now)
        #[arg(long)]
        to: Option<String>,
    },
}

impl Default for Command {
    fn default() -> Self {
        Self::Up { place: Place::default(), only_stores: false }
    }
}

/// Where to listen and to keep files; each overrides the environment variable of the same name.
#[derive(ClapArgs, Default)]
pub struct Place {
    /// Where the relay listens [env: BATON_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Where admin API and console listen [env: BATON_ADMIN_LISTEN] [default: 127.0.0.1:8081]
    #[arg(long)]
    admin_listen: Option<SocketAddr>,
    /// Where the local stores keep their files [env: BATON_DATA_DIR] [default: .baton]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// How log lines look: text or json [env: BATON_LOG_FORMAT] [default: text]
    #[arg(long)]
    log_format: Option<LogFormat>,
}

impl Place {
    /// The settings with what the flags say.
    pub fn over(self, settings: Settings) -> Settings {
        Settings {
            listen: self.listen.unwrap_or(settings.listen),
            admin_listen: self.admin_listen.unwrap_or(settings.admin_listen),
            data_dir: self.data_dir.unwrap_or(settings.data_dir),
            log_format: self.log_format.unwrap_or(settings.log_format),
            ..settings
        }
    }
}

/// Which Baton an operator's command speaks to.
#[derive(ClapArgs)]
pub struct Office {
    /// The admin API's address
    #[arg(long, global = true, env = "BATON_URL", default_value = "http://127.0.0.1:8081")]
    pub url: String,
    /// The admin token; better set as BATON_ADMIN_TOKEN than typed
    #[arg(
        long,
        global = true,
        env = "BATON_ADMIN_TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    pub token: String,
    /// Print the API's JSON instead of a table
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done with accounts.
#[derive(Subcommand)]
pub enum AccountCommand {
    /// Add an account with a static key
    Add {
        /// What people call it
        #[arg(long)]
        name: String,
        /// The upstream's address
        #[arg(long, default_value = "https://api.anthropic.com")]
        base_url: String,
        /// The upstream's key; `-` reads it from standard input
        #[arg(long, env = "ANTHROPIC_API_KEY", hide_env_values = true)]
        api_key: String,
        /// Groups whose keys may use it, by id (default: the default group)
        #[arg(long)]
        group: Vec<String>,
        /// Smaller is used first
        #[arg(long)]
        priority: Option<u32>,
        /// Share of sessions among accounts of the same priority
        #[arg(long)]
        weight: Option<u32>,
    },
    /// List accounts, how they are doing and until when
    List,
    /// Make one free call with an account's credential and tell the result
    Test {
        /// The account
        id: String,
    },
    /// Forget whatever is held against an account
    Reset {
        /// The account
        id: String,
    },
}

/// What can be done with groups.
#[derive(Subcommand)]
pub enum GroupCommand {
    /// Add a group
    Add {
        /// What people call it
        #[arg(long)]
        name: String,
    },
    /// List groups
    List,
}

/// What can be done with keys.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Create a key; it is shown this once
    Create {
        /// What people call it
        #[arg(long)]
        name: String,
        /// The group whose accounts it uses, by id (default: the default group)
        #[arg(long)]
        group: Option<String>,
        /// Models it may ask for, `*` for any characters (default: all)
        #[arg(long)]
        model: Vec<String>,
        /// When it ends, as 2026-12-31T00:00:00Z (default: never)
        #[arg(long)]
        expires_at: Option<String>,
    },
    /// List keys
    List,
}
