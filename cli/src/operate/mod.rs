//! The operator's commands: clients of the admin API. A file a resource, with its arguments and
//! what they do; [`http`] speaks to the API, [`names`] finds what is called by name, `say` prints.
//! A new resource is a file here and a line in `args`.
#![expect(clippy::doc_markdown, reason = "comments on flags are help texts")]

pub mod account;
pub mod alert;
pub mod audit;
mod body;
pub mod export;
pub mod group;
pub(crate) mod http;
pub mod key;
pub mod limit;
mod names;
pub mod price;
pub mod reconcile;
pub(crate) mod redrive;
pub mod rerate;
pub mod usage;
pub mod user;

use crate::Fail;
use crate::environment::Environment;
use crate::profile::aim::{Aim, Said, aim};
use crate::profile::book::{self, Book};
use crate::say::{Screen, say, text};
use baton_cloud::settings::table;
use baton_domain::secret::Secret;
use clap::Args;
use http::Admin;
use names::Kind;
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// Which Baton an operator's command speaks to. A flag comes before a variable, a variable before
/// the profile in use.
#[derive(Args)]
pub struct Office {
    #[arg(long, global = true, help = table::URL.flag_help("The admin API's address"))]
    url: Option<String>,
    /// The admin token; better kept in a profile or BATON_ADMIN_TOKEN than typed
    #[arg(long, global = true)]
    token: Option<String>,
    #[arg(long, global = true, help = table::PROFILE.flag_help("The profile with address and token"))]
    profile: Option<String>,
    /// Print the API's JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

impl Office {
    /// Decides which Baton is meant.
    pub(crate) fn aim(self, environment: Environment) -> Result<Aim, Fail> {
        let token = self.token.map(Secret::new);
        let flags = Said { url: self.url, token, profile: self.profile };
        let Environment { url, admin_token: token, profile, .. } = environment;
        let variables = Said { url, token, profile };
        // Who says everything on the spot needs no home folder.
        let book = book::path().map_or_else(|_| Ok(Book::default()), |path| Book::read(&path))?;
        aim(flags, variables, &book)
    }

    /// How results are to be shown.
    pub(crate) fn screen(&self) -> Screen {
        Screen { json: self.json }
    }

    pub(crate) fn enter(self) -> Result<Desk, Fail> {
        let screen = self.screen();
        Ok(Desk { admin: Admin::new(self.aim(Environment::read())?)?, screen })
    }
}

/// What a command works with.
pub(crate) struct Desk {
    pub(crate) admin: Admin,
    pub(crate) screen: Screen,
}

impl Desk {
    async fn list(&self, kind: Kind, columns: &[(&str, &str)]) -> Result<(), Fail> {
        self.screen.rows(&self.admin.all(&[kind.route], &[]).await?, columns);
        Ok(())
    }

    async fn show(&self, kind: Kind, named: &str) -> Result<(), Fail> {
        let id = self.id(kind, named).await?;
        self.screen.fields(&self.admin.get(&[kind.route, &id], &[]).await?);
        Ok(())
    }

    async fn add(&self, kind: Kind, body: &Value) -> Result<(), Fail> {
        let made = self.admin.post(&[kind.route], body).await?;
        self.screen.show(&made, || say_done(kind, &made, "ready"));
        Ok(())
    }

    async fn change(&self, kind: Kind, named: &str, body: &Value) -> Result<(), Fail> {
        if body.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(Fail::Usage(format!(
                "say what to change; `baton {} set --help` lists it",
                kind.noun
            )));
        }
        let id = self.id(kind, named).await?;
        let changed = self.admin.patch(&[kind.route, &id], body).await?;
        self.screen.show(&changed, || say_done(kind, &changed, "changed"));
        Ok(())
    }

    async fn remove(&self, kind: Kind, named: &str, sure: Sure) -> Result<(), Fail> {
        let id = self.id(kind, named).await?;
        sure.or_ask(&format!("remove {} {named}", kind.noun))?;
        let answer = self.admin.delete(&[kind.route, &id]).await?;
        self.screen.show(&answer, || say(format!("{} {named} is removed", kind.noun)));
        Ok(())
    }
}

/// Consent to what cannot be undone.
#[derive(Args, Clone, Copy)]
pub struct Sure {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Sure {
    /// Goes on if the person agrees.
    ///
    /// # Errors
    /// The person does not, or nobody is there to be asked.
    fn or_ask(self, what: &str) -> Result<(), Fail> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Fail::Usage(format!("nobody is here to be asked; to {what}, add --yes")));
        }
        let mut screen = std::io::stderr().lock();
        let _closed = write!(screen, "{what}? [y/N] ").and_then(|()| screen.flush());
        match first_line_of_stdin()?.to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Fail::Failed("nothing was done".to_owned())),
        }
    }
}

fn say_done(kind: Kind, object: &Value, done: &str) {
    let (id, name) = (text(&object["id"]), text(&object["name"]));
    say(format!("{} {id} ({name}) is {done}", kind.noun));
}

/// All that a pipe says, without the space around it.
pub(crate) fn all_of_stdin() -> Result<String, Fail> {
    let said = std::io::read_to_string(std::io::stdin()).map_err(Fail::because)?;
    Ok(said.trim().to_owned())
}

/// What a person or pipe says, without the end of the line.
pub(crate) fn first_line_of_stdin() -> Result<String, Fail> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(Fail::because)?;
    Ok(line.trim().to_owned())
}
