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
use crate::operate::model::ModelCommand;
use crate::operate::price::PriceCommand;
use crate::operate::usage::UsageCommand;
use crate::operate::user::UserCommand;
use crate::profile::ProfileCommand;
use baton_runtime::settings::{LogFormat, Settings, addresses, storage, telemetry};
use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A relay for LLM APIs that counts every token.
#[derive(Parser)]
#[command(
    name = "baton",
    version,
    after_help = "`baton up` runs everything on this machine. Other settings are environment \
         variables; see \"Settings\" in the documentation."
)]
pub struct Args {
    /// The command. Without one, the program prints its help.
    #[command(subcommand)]
    pub command: Option<CliCommand>,
}

/// The commands.
#[derive(Subcommand)]
pub enum CliCommand {
    /// Run the whole system on this machine: relay, admin API, stores, queue, stats and refresh
    Up {
        #[command(flatten)]
        server_args: ServerArgs,
        /// Run only the local stores, over HTTP at BATON_STORES_LISTEN, for `cargo lambda watch`
        #[arg(long, env = storage::BATON_ONLY_STORES.name)]
        only_stores: bool,
    },
    /// Run the relay and the admin API with the AWS resources that the environment variables name
    Serve {
        #[command(flatten)]
        server_args: ServerArgs,
    },
    /// Check whether the relay on this machine is healthy, for containers without `curl`
    Health {
        #[arg(long, value_parser = parse_listen_address, help = addresses::BATON_LISTEN.flag_help("The address and port of the relay"))]
        listen: Option<SocketAddr>,
    },
    /// Manage upstream accounts
    Account {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// Manage groups of accounts
    Group {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// Manage keys for people and pipelines
    Key {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Manage users: the people and pipelines that keys belong to
    User {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Manage spend limits: how much each person can spend per day, week or month
    Limit {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        #[command(subcommand)]
        command: LimitCommand,
    },
    /// Manage alerts about limits and accounts
    Alert {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        #[command(subcommand)]
        command: AlertCommand,
    },
    /// Show usage, as sums or request by request
    Usage {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        #[command(flatten)]
        command: UsageCommand,
    },
    /// Show the catalog of models, and import prices
    Model {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        #[command(subcommand)]
        command: ModelCommand,
    },
    /// Manage the prices of models
    Price {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        #[command(subcommand)]
        command: PriceCommand,
    },
    /// Show the audit trail: who changed what
    Audit {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Check a deployment from outside, as its clients see it, and advise how to fix problems
    Doctor(Box<DoctorArgs>),
    /// Import keys, limits, groups and accounts from another relay
    Import(Box<ImportArgs>),
    /// Manage profiles: names for the addresses and tokens of your deployments
    Profile {
        #[command(subcommand)]
        command: ProfileCommand,
    },
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Send usage records again that could not be stored; remove the cause first
    Redrive {
        #[command(flatten)]
        admin_target: AdminTargetArgs,
        /// A log file (JSON lines or text) that contains complete usage records; sends these
        /// instead
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

/// Flags of `up` and `serve`. Each overrides the environment variable of the same name.
#[derive(ClapArgs)]
pub struct ServerArgs {
    #[arg(long, value_parser = parse_listen_address, help = addresses::BATON_LISTEN.flag_help("The address and port of the relay"))]
    listen: Option<SocketAddr>,
    #[arg(long, value_parser = parse_listen_address, help = addresses::BATON_ADMIN_LISTEN.flag_help("The address and port of the admin API and \
         the console"))]
    admin_listen: Option<SocketAddr>,
    #[arg(long, help = storage::BATON_DATA_DIR.flag_help("The folder for the files of the local stores; `baton serve` has none"))]
    data_dir: Option<PathBuf>,
    #[arg(long, help = telemetry::BATON_LOG_FORMAT.flag_help("The format of log lines: text or json"))]
    log_format: Option<LogFormat>,
}

impl ServerArgs {
    /// Returns the settings with the values of the flags.
    pub fn apply_to(self, mut settings: Settings) -> Settings {
        let (addresses, storage) = (&mut settings.addresses, &mut settings.storage);
        addresses.listen = self.listen.unwrap_or(addresses.listen);
        addresses.admin_listen = self.admin_listen.unwrap_or(addresses.admin_listen);
        storage.data_dir = self.data_dir.unwrap_or_else(|| std::mem::take(&mut storage.data_dir));
        let telemetry = &mut settings.telemetry;
        telemetry.log_format = self.log_format.unwrap_or(telemetry.log_format);
        settings
    }
}

fn parse_listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:8080")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn flags_are_unique() {
        Args::command().debug_assert();
    }
}
