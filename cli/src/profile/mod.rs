//! `baton profile`: the deployments that an operator works with, by name. [`target`] decides which
//! one a command uses, and [`profile_file`] reads and writes the file.

pub(crate) mod profile_file;
pub(crate) mod target;

use crate::CliError;
use crate::operate::read_stdin_line;
use crate::output::{OutputPrinter, print_line};
use baton_domain::secret::Secret;
use clap::Subcommand;
use profile_file::{Profile, ProfileFile};
use serde_json::{Value, json};

/// The commands of `baton profile`.
#[derive(Subcommand)]
pub enum ProfileCommand {
    /// Add or change a profile; the first one becomes the current profile
    Add {
        /// The name of the profile
        name: String,
        /// The admin API's address
        #[arg(long)]
        url: String,
        /// The admin token; `-` reads it from standard input (without it, the profile has no token)
        #[arg(long)]
        token: Option<String>,
    },
    /// List profiles; tokens are not shown
    List {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Make this the current profile
    Use {
        /// The profile
        name: String,
    },
    /// Remove a profile and its token
    Remove {
        /// The profile
        name: String,
    },
}

/// Reads the file, applies the change and writes it.
pub(crate) fn run_profile_command(command: ProfileCommand) -> Result<(), CliError> {
    let path = profile_file::path()?;
    let mut profiles = ProfileFile::read(&path)?;
    match command {
        ProfileCommand::List { json } => {
            list_profiles(&profiles, OutputPrinter { json });
            return Ok(());
        }
        ProfileCommand::Add { name, url, token } => {
            target::check_address(&url)?;
            let token = match token.as_deref() {
                Some("-") => Some(read_stdin_line()?),
                _ => token,
            };
            let profile = Profile { url, token: token.map(Secret::new) };
            profiles.profiles.insert(name.clone(), profile);
            profiles.current.get_or_insert(name);
        }
        ProfileCommand::Use { name } => {
            profiles.find(&name)?;
            profiles.current = Some(name);
        }
        ProfileCommand::Remove { name } => {
            profiles.find(&name)?;
            profiles.profiles.remove(&name);
            profiles.current = profiles.current.filter(|current| *current != name);
        }
    }
    profiles.write(&path)?;
    print_line(format!("wrote {}", path.display()));
    Ok(())
}

fn list_profiles(profiles: &ProfileFile, printer: OutputPrinter) {
    let row = |(name, profile): (&String, &Profile)| {
        json!({
            "name": name, "url": profile.url, "has_token": profile.token.is_some(),
            "in_use": profiles.current.as_ref() == Some(name),
        })
    };
    let data: Vec<Value> = profiles.profiles.iter().map(row).collect();
    let columns =
        [("name", "/name"), ("url", "/url"), ("has token", "/has_token"), ("current", "/in_use")];
    printer.rows(&json!({ "data": data }), &columns);
}
