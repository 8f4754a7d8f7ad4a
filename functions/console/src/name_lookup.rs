//! Names by id, so that pages show names. Only the first thousand of a list are loaded; others are
//! shown by their id.

use crate::api_call::ConsoleResult;
use crate::formatting::{field_text, truncate_text};
use crate::page_blocks::{CellPart, TableCell, empty_cell, link};
use crate::page_request::PageRequest;
use serde_json::Value;

/// The names of one kind of resource.
#[derive(Default)]
pub(crate) struct NameLookup {
    kind: &'static str,
    all: Vec<(String, String)>,
}

impl NameLookup {
    /// Loads the names of a kind (`groups`, `accounts`, `keys`, `users`). Members get only the
    /// names of their own keys.
    pub(crate) async fn load(
        page_request: &PageRequest,
        kind: &'static str,
    ) -> ConsoleResult<Self> {
        if page_request.is_member() && kind != "keys" {
            return Ok(Self { kind, all: Vec::new() });
        }
        let rows = page_request.get_list(format!("/api/v1/{kind}?limit=1000")).await?;
        let all =
            rows.iter().map(|row| (field_text(&row["id"]), field_text(&row["name"]))).collect();
        Ok(Self { kind, all })
    }

    /// A link to the resource with this id, by its name.
    pub(crate) fn link(&self, id: &Value) -> TableCell {
        let Some(id) = id.as_str() else { return empty_cell() };
        let found = self.all.iter().find(|(one, _)| one == id);
        match found {
            Some((_, name)) => {
                link(format!("/console/{}/{id}", self.kind), truncate_text(name, 60))
            }
            None => vec![CellPart::Code(id.to_owned())],
        }
    }

    /// The name for an id, or the id if the name is unknown.
    pub(crate) fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.all.iter().find(|(one, _)| one == id).map_or(id, |(_, name)| name.as_str())
    }

    /// All entries for a select. `none` is the text for choosing nothing.
    pub(crate) fn choices(&self, none: &str) -> Vec<(String, String)> {
        let all = self.all.iter().map(|(id, name)| (id.clone(), truncate_text(name, 60)));
        std::iter::once((String::new(), none.to_owned())).chain(all).collect()
    }

    /// All entries for a select without an empty choice.
    pub(crate) fn choices_only(&self) -> Vec<(String, String)> {
        self.all.iter().map(|(id, name)| (id.clone(), truncate_text(name, 60))).collect()
    }
}
