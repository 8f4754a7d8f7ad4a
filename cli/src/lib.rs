//! The `baton` binary as a library: the whole system on one machine, the container form, and the
//! operator's commands. This crate only connects the parts; the functions implement them.

pub mod args;
mod completions;
mod connection;
mod connections;
pub mod doctor;
mod environment;
mod health;
pub mod import;
mod observe;
pub mod operate;
mod output;
pub mod profile;
mod runtime;
pub mod serve;
mod server;
pub mod up;

pub use output::print_error;
pub use runtime::runtime;

use args::{Args, CliCommand};
use baton_runtime::settings::Settings;
use clap::CommandFactory as _;

/// Why the program fails: one line for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command failed; exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The API refused the request, or would refuse a value in it; exit code 1.
    #[error("{0}")]
    Refused(String),
    /// The command line is wrong; exit code 2.
    #[error("{0}")]
    Usage(String),
}

impl CliError {
    /// The program's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Refused(_) => 1,
            Self::Usage(_) => 2,
        }
    }

    /// A failure with the message of its cause.
    pub fn from_cause(cause: impl std::fmt::Display) -> Self {
        Self::Failed(cause.to_string())
    }
}

/// Runs the command that the arguments name.
///
/// # Errors
/// One line that says what to do about the failure.
pub async fn run_command(args: Args) -> Result<(), CliError> {
    let Some(command) = args.command else {
        return Args::command().print_help().map_err(CliError::from_cause);
    };
    match command {
        CliCommand::Up { server_args, only_stores } => {
            let settings = server_args.apply_to(
                Settings::from_env().map_err(|error| CliError::Usage(error.to_string()))?,
            );
            if only_stores {
                up::serve_stores(&settings).await
            } else {
                Box::pin(up::run_up(settings)).await
            }
        }
        CliCommand::Serve { server_args } => {
            let settings = server_args.apply_to(
                Settings::from_env().map_err(|error| CliError::Usage(error.to_string()))?,
            );
            serve::run_server(settings).await
        }
        CliCommand::Health { listen } => {
            let settings =
                Settings::from_env().map_err(|error| CliError::Usage(error.to_string()))?;
            health::check_health(listen.unwrap_or(settings.addresses.listen)).await
        }
        CliCommand::Account { admin_target, command } => {
            operate::account::run_account_command(&admin_target.into_context()?, command).await
        }
        CliCommand::Group { admin_target, command } => {
            operate::group::run_group_command(&admin_target.into_context()?, command).await
        }
        CliCommand::Key { admin_target, command } => {
            operate::key::run_key_command(&admin_target.into_context()?, command).await
        }
        CliCommand::Limit { admin_target, command } => {
            operate::limit::run_limit_command(&admin_target.into_context()?, command).await
        }
        CliCommand::User { admin_target, command } => {
            operate::user::run_user_command(&admin_target.into_context()?, command).await
        }
        CliCommand::Model { admin_target, command } => {
            operate::model::run_model_command(&admin_target.into_context()?, command).await
        }
        CliCommand::Price { admin_target, command } => {
            operate::price::run_price_command(&admin_target.into_context()?, command).await
        }
        CliCommand::Audit { admin_target, command } => {
            operate::audit::run_audit_command(&admin_target.into_context()?, command).await
        }
        CliCommand::Alert { admin_target, command } => {
            operate::alert::run_alert_command(&admin_target.into_context()?, command).await
        }
        CliCommand::Doctor(what) => doctor::run_doctor(*what).await,
        CliCommand::Import(what) => import::run_import(*what).await,
        CliCommand::Profile { command } => profile::run_profile_command(command),
        CliCommand::Completions { shell } => {
            completions::print_completions(shell);
            Ok(())
        }
        CliCommand::Usage { admin_target, command } => {
            Box::pin(operate::usage::run_usage_command(&admin_target.into_context()?, command))
                .await
        }
        CliCommand::Redrive { admin_target, file } => {
            operate::redrive::run_redrive(&admin_target.into_context()?, file.as_deref()).await
        }
    }
}
