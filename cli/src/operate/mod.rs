//! The operator's commands: clients of the admin API. A file a resource, with its arguments and
//! what they do; [`http`] speaks to the API, `say` prints. A new resource is a file and a line in
//! `args`.
#![expect(clippy::doc_markdown, reason = "comments on flags are help texts")]

pub mod account;
pub mod group;
mod http;
pub mod key;
pub mod usage;

use crate::Fail;
use crate::say::{Screen, say, text};
use baton_domain::secret::Secret;
use clap::Args;
use http::Admin;
use serde_json::{Map, Value};

/// Which Baton an operator's command speaks to.
#[derive(Args)]
pub struct Office {
    /// The admin API's address
    #[arg(long, global = true, env = "BATON_URL", default_value = "http://127.0.0.1:8081")]
    url: String,
    /// The admin token; better set as BATON_ADMIN_TOKEN than typed
    #[arg(
        long,
        global = true,
        env = "BATON_ADMIN_TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    token: String,
    /// Print the API's JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

impl Office {
    pub(crate) fn enter(self) -> Result<Desk, Fail> {
        let admin = Admin::new(&self.url, Secret::new(self.token))?;
        Ok(Desk { admin, screen: Screen { json: self.json } })
    }
}

/// What a command works with.
pub(crate) struct Desk {
    admin: Admin,
    screen: Screen,
}

fn say_made(what: &str, made: &Value) {
    say(format!("{what} {} ({}) is ready", text(&made["id"]), text(&made["name"])));
}

/// Puts a field into a body if it was given.
fn set(body: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (body.as_object_mut(), value) {
        let object: &mut Map<String, Value> = object;
        object.insert(name.to_owned(), value);
    }
}
