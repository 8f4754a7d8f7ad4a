//! The command line of the program. The comments on commands and flags are the help that people
//! read. The commands of a resource are in that resource's file under `operate`.

#![expect(missing_docs, clippy::doc_markdown, reason = "comments here are help texts")]

use crate::doctor::DoctorArgs;
use crate::import::ImportArgs;
use crate::operate::AdminTargetArgs;
use crate::operate::account::AccountCommand;
use crate::operate::alert::AlertCommand;
use crate::operate::audit::AuditCommand;
use crate::operate::group::GroupCommand;
use crate::operate::key::KeyCommand;
use crate::operate::limit::LimitCommand;
use crate::operate::price::PriceCommand;
use crate::operate::usage::UsageCommand;
use crate::operate::user::UserCommand;
use crate::profile::ProfileCommand;
use baton_runtime::settings::{LogFormat, Settings, table};
use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A relay for LLM APIs that counts every token.
#[derive(Parser)]
#[command(
    name = "baton",
    version,
    after_help = "Without a command, `baton up` is meant. Other settings \
are environment variables; see \"Settings\" in the documentation."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<CliCommand>,
}

/// What the program can do.
#[derive(Subcommand)]
pub enum CliCommand {
    /// Run the whole system on this machine: relay, admin API, stores, queue, stats, refresh
    Up {
        #[command(flatten)]
        place: ServerArgs,
        /// Offer only the stores, over HTTP at BATON_STORES_LISTEN, for `cargo lambda watch`
        #[arg(long, env = table::ONLY_STORES.name)]
        only_stores: bool,
    },
    /// Run relay and admin API against the AWS resources that the environment names
    Serve {
        #[command(flatten)]
        place: ServerArgs,
    },
    /// Ask a relay on this machine whether it serves, for containers that have no `curl`
    Health {
        #[arg(long, help = table::LISTEN.flag_help("Where it listens"))]
        listen: Option<SocketAddr>,
    },
    /// Upstream accounts
    Account {
        #[command(flatten)]
        office: AdminTargetArgs,
        #[command(subcommand)]
        what: AccountCommand,
    },
    /// Groups of accounts
    Group {
        #[command(flatten)]
        office: AdminTargetArgs,
        #[command(subcommand)]
        what: GroupCommand,
    },
    /// Keys for people and pipelines
    Key {
        #[command(flatten)]
        office: AdminTargetArgs,
        #[command(subcommand)]
        what: KeyCommand,
    },
    /// People and pipelines that keys belong to
    User {
        #[command(flatten)]
        office: AdminTargetArgs,
        #[command(subcommand)]
        what: UserCommand,
    },
    /// Spend limits: what each person may spend in a day, a week or a month
    Limit {
        #[command(flatten)]
        office: AdminTargetArgs,
        #[command(subcommand)]
        what: LimitCommand,
    },
    /// Where operators are told of limits and accounts
    Alert {
        #[command(flatten)]
        office: AdminTargetArgs,
        #[command(subcommand)]
        what: AlertCommand,
    },
    /// What was used, summed up or request by request
    Usage {
        #[command(flatten)]
        office: AdminTargetArgs,
        #[command(flatten)]
        what: UsageCommand,
    },
    /// What models cost
    Price {
        #[command(flatten)]
        office: AdminTargetArgs,
        #[command(subcommand)]
        what: PriceCommand,
    },
    /// Who changed what
    Audit {
        #[command(flatten)]
        office: AdminTargetArgs,
        #[command(subcommand)]
        what: AuditCommand,
    },
    /// Look at a deployment from outside, as its clients see it, and say what to do
    Doctor(Box<DoctorArgs>),
    /// Take keys, limits, groups and accounts over from another relay
    Import(Box<ImportArgs>),
    /// The Batons that you work with: addresses and tokens by name
    Profile {
        #[command(subcommand)]
        what: ProfileCommand,
    },
    /// Print the script with which a shell completes these commands
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Send usage records again that could not be stored, once the cause is removed
    Redrive {
        #[command(flatten)]
        office: AdminTargetArgs,
        /// Records that were written into a log in full instead, as JSON lines or text
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

impl Default for CliCommand {
    fn default() -> Self {
        Self::Up { place: ServerArgs::default(), only_stores: false }
    }
}

/// Where to listen and to keep files; each overrides the environment variable of the same name.
#[derive(ClapArgs, Default)]
pub struct ServerArgs {
    #[arg(long, help = table::LISTEN.flag_help("Where the relay listens"))]
    listen: Option<SocketAddr>,
    #[arg(long, help = table::ADMIN_LISTEN.flag_help("Where admin API and console listen"))]
    admin_listen: Option<SocketAddr>,
    #[arg(long, help = table::DATA_DIR.flag_help("Where the local stores keep their files"))]
    data_dir: Option<PathBuf>,
    #[arg(long, help = table::LOG_FORMAT.flag_help("How log lines look: text or json"))]
    log_format: Option<LogFormat>,
}

impl ServerArgs {
    /// Returns the settings with the values of the flags.
    pub fn apply_to(self, settings: Settings) -> Settings {
        Settings {
            listen: self.listen.unwrap_or(settings.listen),
            admin_listen: self.admin_listen.unwrap_or(settings.admin_listen),
            data_dir: self.data_dir.unwrap_or(settings.data_dir),
            log_format: self.log_format.unwrap_or(settings.log_format),
            ..settings
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn no_flag_is_there_twice() {
        Args::command().debug_assert();
    }
}
