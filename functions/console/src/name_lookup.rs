//! Names by id, so that pages show names. Only the first thousand of a list are loaded; others are
//! shown by their id.

use crate::api_call::ConsoleResult;
use crate::formatting::truncate_text;
use crate::page_request::PageRequest;
use crate::table_cells::{CellPart, TableCell, empty_cell, link};
use serde::Deserialize;
use std::fmt::Display;

/// The names of one kind of resource.
#[derive(Default)]
pub(crate) struct NameLookup {
    kind: &'static str,
    names: Vec<ResourceName>,
}

/// The fields that all kinds of resources have.
#[derive(Deserialize)]
struct ResourceName {
    id: String,
    name: String,
}

impl NameLookup {
    /// Loads the names of a kind (`groups`, `accounts`, `keys`, `users`). Members get only the
    /// names of their own keys.
    pub(crate) async fn load(
        page_request: &PageRequest,
        kind: &'static str,
    ) -> ConsoleResult<Self> {
        if page_request.is_member() && kind != "keys" {
            return Ok(Self { kind, names: Vec::new() });
        }
        let names = page_request.get_list(format!("/api/v1/{kind}?limit=1000")).await?;
        Ok(Self { kind, names })
    }

    /// A link to the resource with this id, by its name.
    pub(crate) fn link(&self, id: Option<&impl Display>) -> TableCell {
        let Some(id) = id.map(ToString::to_string) else { return empty_cell() };
        match self.names.iter().find(|one| one.id == id) {
            Some(ResourceName { name, .. }) => {
                link(format!("/console/{}/{id}", self.kind), truncate_text(name, 60))
            }
            None => vec![CellPart::Code(id)],
        }
    }

    /// The name for an id, or the id if the name is unknown.
    pub(crate) fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.iter().find(|one| one.id == id).map_or(id, |one| one.name.as_str())
    }

    /// All entries for a select. `none` is the text for choosing nothing.
    pub(crate) fn choices(&self, none: &str) -> Vec<(String, String)> {
        let mut choices = vec![(String::new(), none.to_owned())];
        choices.extend(self.choices_only());
        choices
    }

    /// All entries for a select without an empty choice.
    pub(crate) fn choices_only(&self) -> Vec<(String, String)> {
        self.names.iter().map(|one| (one.id.clone(), truncate_text(&one.name, 60))).collect()
    }
}
