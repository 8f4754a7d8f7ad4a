//! Names for ids, so that people read names. A list of the API has a thousand; what is beyond that
//! is shown by its id.

use super::ask::Outcome;
use super::block::{Cell, Piece, link, none};
use super::guest::Guest;
use super::show::{cut, said};
use serde_json::Value;

/// The names of one kind of thing.
#[derive(Default)]
pub(super) struct Names {
    kind: &'static str,
    all: Vec<(String, String)>,
}

impl Names {
    /// All of a kind (`groups`, `accounts`, `keys`, `users`); members get none but their keys'.
    pub(super) async fn of(guest: &Guest, kind: &'static str) -> Outcome<Self> {
        if guest.is_member() && kind != "keys" {
            return Ok(Self { kind, all: Vec::new() });
        }
        let rows = guest.list(format!("/api/v1/{kind}?limit=1000")).await?;
        let all = rows.iter().map(|row| (said(&row["id"]), said(&row["name"]))).collect();
        Ok(Self { kind, all })
    }

    /// What has this id, by its name.
    pub(super) fn link(&self, id: &Value) -> Cell {
        let Some(id) = id.as_str() else { return none() };
        let found = self.all.iter().find(|(one, _)| one == id);
        match found {
            Some((_, name)) => link(format!("/console/{}/{id}", self.kind), cut(name, 60)),
            None => vec![Piece::Code(id.to_owned())],
        }
    }

    /// The name of an id, or the id.
    pub(super) fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.all.iter().find(|(one, _)| one == id).map_or(id, |(_, name)| name.as_str())
    }

    /// All of them to choose from; `none` is what choosing nothing is called.
    pub(super) fn choices(&self, none: &str) -> Vec<(String, String)> {
        let all = self.all.iter().map(|(id, name)| (id.clone(), cut(name, 60)));
        std::iter::once((String::new(), none.to_owned())).chain(all).collect()
    }

    /// All of them, without a way to choose nothing.
    pub(super) fn some(&self) -> Vec<(String, String)> {
        self.all.iter().map(|(id, name)| (id.clone(), cut(name, 60))).collect()
    }
}
