//! Names by id, so that pages show names. Only the first thousand of a list are loaded; others are
//! shown by their id.

use super::ask::Outcome;
use super::block::{Cell, Piece, link, none};
use super::guest::Guest;
use super::show::{cut, said};
use serde_json::Value;

/// The names of one kind of resource.
#[derive(Default)]
pub(super) struct Names {
    kind: &'static str,
    all: Vec<(String, String)>,
}

impl Names {
    /// Loads the names of a kind (`groups`, `accounts`, `keys`, `users`). Members get only the
    /// names of their own keys.
    pub(super) async fn of(guest: &Guest, kind: &'static str) -> Outcome<Self> {
        if guest.is_member() && kind != "keys" {
            return Ok(Self { kind, all: Vec::new() });
        }
        let rows = guest.list(format!("/api/v1/{kind}?limit=1000")).await?;
        let all = rows.iter().map(|row| (said(&row["id"]), said(&row["name"]))).collect();
        Ok(Self { kind, all })
    }

    /// A link to the resource with this id, by its name.
    pub(super) fn link(&self, id: &Value) -> Cell {
        let Some(id) = id.as_str() else { return none() };
        let found = self.all.iter().find(|(one, _)| one == id);
        match found {
            Some((_, name)) => link(format!("/console/{}/{id}", self.kind), cut(name, 60)),
            None => vec![Piece::Code(id.to_owned())],
        }
    }

    /// The name for an id, or the id if the name is unknown.
    pub(super) fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.all.iter().find(|(one, _)| one == id).map_or(id, |(_, name)| name.as_str())
    }

    /// All entries for a select. `none` is the text for choosing nothing.
    pub(super) fn choices(&self, none: &str) -> Vec<(String, String)> {
        let all = self.all.iter().map(|(id, name)| (id.clone(), cut(name, 60)));
        std::iter::once((String::new(), none.to_owned())).chain(all).collect()
    }

    /// All entries for a select without an empty choice.
    pub(super) fn some(&self) -> Vec<(String, String)> {
        self.all.iter().map(|(id, name)| (id.clone(), cut(name, 60))).collect()
    }
}
