//! The operator's commands, which are clients of the admin API. Each resource has a file with its
//! arguments and commands. [`admin_client`] calls the API, [`resource_names`] finds resources by
//! name, and `output` prints. A new resource needs a file here and a line in `args`.
#![expect(clippy::doc_markdown, reason = "comments on flags are help texts")]

pub mod account;
pub(crate) mod admin_client;
pub mod alert;
pub mod audit;
pub mod export;
mod field_flags;
mod flag_values;
pub mod group;
pub mod key;
pub mod limit;
pub mod model;
pub mod price;
mod query_string;
pub mod reconcile;
pub(crate) mod redrive;
pub mod rerate;
pub(crate) mod resource_names;
pub mod usage;
pub mod user;

use crate::CliError;
use crate::environment::ShellEnvironment;
use crate::output::{OutputPrinter, print_line};
use crate::profile::profile_file::{self, ProfileFile};
use crate::profile::target::{AdminTarget, TargetSource, resolve_target};
use admin_client::{AdminClient, read_answer};
use baton_api::new::{Creatable, New};
use baton_domain::printable::escape_for_terminal;
use baton_domain::secret::Secret;
use baton_runtime::settings::command_line::{BATON_PROFILE, BATON_URL};
use clap::Args;
use field_flags::FieldFlags;
use resource_names::{ACCOUNT, ResourceKind, ResourceName};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

/// The heading of these flags in the help of each command.
const CONNECTION: &str = "Connection and output";

/// The deployment that an operator's command works with. A flag comes before a variable, and a
/// variable before the current profile.
#[derive(Args)]
pub struct AdminTargetArgs {
    #[arg(long, global = true, help_heading = CONNECTION, help = BATON_URL.flag_help("The admin API's address"))]
    url: Option<String>,
    /// The admin token; a profile or BATON_ADMIN_TOKEN keeps it out of the shell's history
    #[arg(long, global = true, help_heading = CONNECTION)]
    token: Option<String>,
    #[arg(long, global = true, help_heading = CONNECTION, help = BATON_PROFILE.flag_help("The profile with the address and \
         the token"))]
    profile: Option<String>,
    /// Print the admin API's JSON instead of a table
    #[arg(long, global = true, help_heading = CONNECTION)]
    json: bool,
}

impl AdminTargetArgs {
    /// Decides which deployment the command uses.
    pub(crate) fn resolve_target(
        self,
        environment: ShellEnvironment,
    ) -> Result<AdminTarget, CliError> {
        let token = self.token.map(Secret::new);
        let source = TargetSource { url: self.url, token, profile: self.profile };
        let ShellEnvironment { url, admin_token: token, profile, .. } = environment;
        let variables = TargetSource { url, token, profile };
        // A person who gives the address and the token directly does not need a home folder.
        let profiles = profile_file::path()
            .map_or_else(|_| Ok(ProfileFile::default()), |path| ProfileFile::read(&path))?;
        resolve_target(source, variables, &profiles)
    }

    /// How results are shown.
    pub(crate) fn screen(&self) -> OutputPrinter {
        OutputPrinter { json: self.json }
    }

    pub(crate) fn into_context(self) -> Result<CliContext, CliError> {
        let printer = self.screen();
        Ok(CliContext {
            admin: AdminClient::new(self.resolve_target(ShellEnvironment::from_process())?)?,
            printer,
        })
    }
}

/// The context of a command: the client and the output.
pub(crate) struct CliContext {
    pub(crate) admin: AdminClient,
    pub(crate) printer: OutputPrinter,
}

impl CliContext {
    /// The same for a command with these flags, which messages of the API then name.
    fn with_flags(&self, flags: FieldFlags) -> Self {
        Self { admin: self.admin.clone().with_flags(flags), printer: self.printer }
    }

    async fn list_resources(
        &self,
        kind: ResourceKind,
        columns: &[(&str, &str)],
    ) -> Result<(), CliError> {
        self.printer.rows(&self.admin.all(&[kind.route], &[]).await?, columns);
        Ok(())
    }

    async fn show_resource(&self, kind: ResourceKind, name_or_id: &str) -> Result<(), CliError> {
        let id = self.id(kind, name_or_id).await?;
        self.printer.fields(&self.admin.get(&[kind.route, &id], &[]).await?);
        Ok(())
    }

    async fn add(
        &self,
        kind: ResourceKind,
        new: impl Creatable + Serialize,
    ) -> Result<(), CliError> {
        let created = self.admin.post(&[kind.route], &New(new)).await?;
        let named: ResourceName = read_answer(&created)?;
        let done = if kind.noun == ACCOUNT.noun {
            let name = escape_for_terminal(&named.name);
            format!("was created; test it with `baton account test {name}`")
        } else {
            "was created".to_owned()
        };
        self.printer.show(&created, || print_done(kind, &named, &done));
        Ok(())
    }

    async fn change(
        &self,
        kind: ResourceKind,
        name_or_id: &str,
        body: impl Serialize,
    ) -> Result<(), CliError> {
        let body = change_body(kind.noun, body)?;
        let id = self.id(kind, name_or_id).await?;
        let changed = self.admin.patch(&[kind.route, &id], &body).await?;
        let named = read_answer(&changed)?;
        self.printer.show(&changed, || print_done(kind, &named, "was changed"));
        Ok(())
    }

    async fn remove_resource(
        &self,
        kind: ResourceKind,
        name_or_id: &str,
        confirmation: ConfirmationArg,
    ) -> Result<(), CliError> {
        let id = self.id(kind, name_or_id).await?;
        confirmation.or_ask(&format!("remove {} {name_or_id}", kind.noun))?;
        let response = self.admin.delete(&[kind.route, &id]).await?;
        self.printer
            .show(&response, || print_line(format!("{} {name_or_id} is removed", kind.noun)));
        Ok(())
    }
}

/// The confirmation of a removal.
#[derive(Args, Clone, Copy)]
pub struct ConfirmationArg {
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

impl ConfirmationArg {
    /// Continues if the person agrees.
    ///
    /// # Errors
    /// The person does not agree, or no terminal is attached for the question.
    fn or_ask(self, subject: &str) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(CliError::Usage(format!(
                "cannot ask for confirmation without a terminal; to {subject}, add --yes"
            )));
        }
        let mut screen = std::io::stderr().lock();
        let _closed = write!(screen, "{subject}? [y/N] ").and_then(|()| screen.flush());
        match read_stdin_line()?.to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CliError::Failed("canceled; nothing was changed".to_owned())),
        }
    }
}

/// The body of a request that changes the settings of `noun`.
///
/// # Errors
/// It has no setting.
fn change_body(noun: &str, change: impl Serialize) -> Result<Value, CliError> {
    let body = json!(change);
    if body == json!({}) {
        return Err(CliError::Usage(format!(
            "no setting was given; `baton {noun} set --help` lists the settings"
        )));
    }
    Ok(body)
}

fn print_done(kind: ResourceKind, named: &ResourceName, message: &str) {
    let (id, name) = (escape_for_terminal(&named.id), escape_for_terminal(&named.name));
    print_line(format!("{} {id} ({name}) {message}", kind.noun));
}

/// Parses the value of a flag for a whole number.
fn parse_whole_number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => "the number is too large",
        _ => "expected a whole number, 0 or more",
    })
}

/// Reads standard input to its end, without surrounding white space.
pub(crate) fn read_stdin() -> Result<String, CliError> {
    let message = std::io::read_to_string(std::io::stdin()).map_err(CliError::from_cause)?;
    Ok(message.trim().to_owned())
}

/// Reads one line from a person or a pipe, without the line end.
pub(crate) fn read_stdin_line() -> Result<String, CliError> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(CliError::from_cause)?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_parsed_or_explained() {
        assert_eq!(parse_whole_number("7"), Ok(7_u32));
        for text in ["abc", "-1", "1.5", ""] {
            let expected = Err("expected a whole number, 0 or more");
            assert_eq!(parse_whole_number::<u32>(text), expected, "{text}");
        }
        assert_eq!(parse_whole_number::<u32>("99999999999"), Err("the number is too large"));
    }
}
