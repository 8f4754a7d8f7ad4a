//! The `baton` binary as a library: the whole system on one machine, the container form, and the
//! operator's commands. Only wiring lives here; what is wired is in the functions.

pub mod args;
mod completions;
mod connection;
mod connections;
pub mod doctor;
mod environment;
mod health;
mod http;
pub mod import;
mod observe;
pub mod operate;
pub mod profile;
mod runtime;
mod say;
pub mod serve;
pub mod up;

pub use runtime::runtime;
pub use say::complain;

use args::{Args, Command};
use baton_cloud::settings::Settings;

/// Why the program ends badly: one line for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Fail {
    /// Something went wrong; exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The API understood and said no; exit code 1.
    #[error("{0}")]
    Refused(String),
    /// It was asked wrongly; exit code 2.
    #[error("{0}")]
    Usage(String),
}

impl Fail {
    /// The program's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Refused(_) => 1,
            Self::Usage(_) => 2,
        }
    }

    /// A failure in the words of its cause.
    pub fn because(cause: impl std::fmt::Display) -> Self {
        Self::Failed(cause.to_string())
    }
}

/// Does what the arguments ask for.
///
/// # Errors
/// One line that says what to do about it.
pub async fn run(args: Args) -> Result<(), Fail> {
    match args.command.unwrap_or_default() {
        Command::Up { place, only_stores } => {
            let settings =
                place.over(Settings::from_env().map_err(|bad| Fail::Usage(bad.to_string()))?);
            if only_stores {
                up::only_stores(&settings).await
            } else {
                Box::pin(up::run(settings)).await
            }
        }
        Command::Serve { place } => {
            let settings =
                place.over(Settings::from_env().map_err(|bad| Fail::Usage(bad.to_string()))?);
            serve::run(settings).await
        }
        Command::Health { listen } => {
            let settings = Settings::from_env().map_err(|bad| Fail::Usage(bad.to_string()))?;
            health::run(listen.unwrap_or(settings.listen)).await
        }
        Command::Account { office, what } => operate::account::run(&office.enter()?, what).await,
        Command::Group { office, what } => operate::group::run(&office.enter()?, what).await,
        Command::Key { office, what } => operate::key::run(&office.enter()?, what).await,
        Command::Limit { office, what } => operate::limit::run(&office.enter()?, what).await,
        Command::User { office, what } => operate::user::run(&office.enter()?, what).await,
        Command::Price { office, what } => operate::price::run(&office.enter()?, what).await,
        Command::Audit { office, what } => operate::audit::run(&office.enter()?, what).await,
        Command::Alert { office, what } => operate::alert::run(&office.enter()?, what).await,
        Command::Doctor(what) => doctor::run(*what).await,
        Command::Import(what) => import::run(*what).await,
        Command::Profile { what } => profile::run(what),
        Command::Completions { shell } => {
            completions::run(shell);
            Ok(())
        }
        Command::Usage { office, what } => {
            Box::pin(operate::usage::run(&office.enter()?, what)).await
        }
        Command::Redrive { office, file } => {
            operate::redrive::run(&office.enter()?, file.as_deref()).await
        }
    }
}
