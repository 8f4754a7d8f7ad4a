//! The page of the audit trail: who changed what, with the values before and after.

use crate::ConsoleState;
use crate::api_call::ConsoleResult;
use crate::formatting::{api_text, truncate_text};
use crate::html_form::{FieldKind, FieldSpec};
use crate::keys::KeyFormChoices;
use crate::list_filter::ListFilter;
use crate::name_lookup::NameLookup;
use crate::page_blocks::{PageBlock, PageTable};
use crate::page_request::PageRequest;
use crate::resource_pages::{self, ResourcePages as _};
use crate::table_cells::{CellPart, TableCell, code, text, time};
use axum::Router;
use axum::routing::get;
use baton_api::accounts::AccountResource;
use baton_api::audit::{AuditAction, AuditRowResource};
use baton_api::groups::GroupResource;
use baton_api::keys::KeyResource;
use baton_api::list::ResourceList;
use baton_api::users::UserResource;
use serde_json::Value;
use std::collections::BTreeMap;

const HERE: &str = "/console/audit";

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route("/audit", get(list_audit_rows))
}

fn filter_fields(users: &NameLookup) -> Vec<FieldSpec> {
    let mut actors = vec![
        (String::new(), "Everybody".to_owned()),
        ("admin_token".to_owned(), "the admin token".to_owned()),
        ("baton".to_owned(), "Baton itself".to_owned()),
    ];
    actors.extend(users.choices_only());
    let actions = AuditAction::ALL.iter().map(|action| {
        let name = action.as_str();
        (name.to_owned(), name.replace('_', " "))
    });
    let actions = std::iter::once((String::new(), "All".to_owned())).chain(actions).collect();
    vec![
        FieldSpec::new("from", "From", "", FieldKind::Day),
        FieldSpec::new("to", "To", "", FieldKind::Day),
        FieldSpec::new("actor", "Actor", "", FieldKind::Choice(actors)),
        FieldSpec::new("action", "Action", "", FieldKind::Choice(actions)),
        FieldSpec::new("target", "Target (id)", "", FieldKind::Text),
    ]
}

async fn list_audit_rows(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let query = page_request.query.query(&["from", "to", "actor", "action", "target", "cursor"]);
    let (list, users) = futures_util::join!(
        page_request
            .get::<ResourceList<AuditRowResource>>(format!("/api/v1/audit?limit=50&{query}")),
        NameLookup::load(&page_request, "users"),
    );
    let users = users?;
    let filter = ListFilter { action: HERE.to_owned(), specs: filter_fields(&users) };
    let list = match list {
        Ok(list) => list,
        Err(error) => return filter.rejected_page(&page_request, "Audit", error),
    };
    let mut blocks = vec![filter.form(&page_request)];
    if list.data.is_empty() {
        let message = "No changes found in this period (by default, the last 30 days).";
        blocks.push(PageBlock::Empty(message.into(), None));
        return Ok(page_request.render_page("Audit", blocks));
    }
    let columns = ["Time (UTC)", "Actor", "Action", "Target", "Before and after"];
    let mut table = PageTable::new("audit", "Changes, latest first", &columns);
    table.rows = list
        .data
        .iter()
        .map(|row| {
            let actor = truncate_text(users.name(&row.actor), 60);
            vec![
                time(row.at.parse().ok()),
                text(actor.replace("admin_token", "admin token")),
                text(row.action.replace('_', " ")),
                target(row),
                vec![changes(row)],
            ]
        })
        .collect();
    resource_pages::add_page_links(&mut table, &page_request, list.next_cursor.as_deref());
    blocks.push(PageBlock::Table(table));
    Ok(page_request.render_page("Audit", blocks))
}

/// A cell with the name and the id of the changed resource.
fn target(row: &AuditRowResource) -> TableCell {
    let id = row.target.clone();
    let name = [&row.after, &row.before].into_iter().find_map(|view| view["name"].as_str());
    let kinds = [("key_", "keys"), ("acc_", "accounts"), ("grp_", "groups"), ("usr_", "users")];
    let kind = kinds.iter().find(|(prefix, _)| id.starts_with(prefix));
    match (kind, name) {
        (Some((_, kind)), Some(name)) => {
            let mut cell =
                crate::table_cells::link(format!("/console/{kind}/{id}"), truncate_text(name, 60));
            cell.push(CellPart::Code(id));
            cell
        }
        _ => code(truncate_text(&id, 100)),
    }
}

/// The form fields of the kind of resource that `target` is the id of.
fn form_fields(target: &str) -> Vec<FieldSpec> {
    match target.split_once('_') {
        Some(("key", _)) => KeyResource::fields(false, &KeyFormChoices::default()),
        Some(("acc", _)) => AccountResource::fields(false, &NameLookup::default()),
        Some(("grp", _)) => GroupResource::fields(false, &()),
        Some(("usr", _)) => UserResource::fields(false, &()),
        _ => Vec::new(),
    }
}

/// A cell with the fields that differ. Fields that a form has are shown by their labels.
fn changes(row: &AuditRowResource) -> CellPart {
    let specs = form_fields(&row.target);
    let label = |path: &str| {
        let spec = specs.iter().find(|spec| spec.path == path);
        spec.map_or_else(|| truncate_text(path, 80), |spec| spec.label.to_owned())
    };
    let (before, after) = (flatten_view(&row.before), flatten_view(&row.after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let of = |all: &BTreeMap<String, String>, name: &String| {
        all.get(name).map_or_else(String::new, |text| truncate_text(text, 300))
    };
    let different: Vec<(String, String, String)> = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .filter(|name| !matches!(name.as_str(), "version" | "updated_at"))
        .map(|name| (label(name), of(&before, name), of(&after, name)))
        .collect();
    let summary = match different.len() {
        0 => return CellPart::Muted("no change".to_owned()),
        1 => "1 field".to_owned(),
        count => format!("{count} fields"),
    };
    CellPart::Changes(summary, different)
}

/// The fields of a JSON object by their dotted paths. Empty ones are left out.
fn flatten_view(view: &Value) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    flatten("", view, &mut all);
    all
}

fn flatten(name: &str, value: &Value, all: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (inner, value) in map {
                let name = if name.is_empty() { inner.clone() } else { format!("{name}.{inner}") };
                flatten(&name, value, all);
            }
        }
        Value::Array(list) => {
            let message: Vec<String> = list.iter().map(api_text).collect();
            if !message.is_empty() {
                all.insert(name.to_owned(), message.join(", "));
            }
        }
        other => {
            all.insert(name.to_owned(), api_text(other));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn audit_row_lists_changed_fields() {
        let row = json!({
            "id": "1", "at": "2026-11-22T21:00:00Z", "actor": "baton", "action": "update", "target": "t",
            "before": {"name": "a", "version": 1, "limits": {"usd_daily": null, "rpm": 5}, "models": ["x"]},
            "after": {"name": "b", "version": 2, "limits": {"usd_daily": "1", "rpm": 5}, "models": []},
        });
        let row = serde_json::from_value(row).unwrap();
        let CellPart::Changes(summary, changes) = changes(&row) else { panic!("changes") };
        assert_eq!(summary, "3 fields");
        let expected = [("limits.usd_daily", "", "1"), ("models", "x", ""), ("name", "a", "b")];
        let expected =
            expected.map(|(name, before, after)| (name.into(), before.into(), after.into()));
        assert_eq!(changes, expected);
    }

    #[test]
    fn audit_row_without_changed_fields_says_so() {
        let row = json!({
            "id": "1", "at": "2026-11-22T21:00:00Z", "actor": "baton", "action": "update", "target": "t",
            "before": {"name": "a", "version": 1}, "after": {"name": "a", "version": 2},
        });
        let row = serde_json::from_value(row).unwrap();
        let CellPart::Muted(text) = changes(&row) else { panic!("a list of changes") };
        assert_eq!(text, "no change");
    }

    #[test]
    fn changed_fields_have_the_labels_of_the_form() {
        let row = json!({
            "id": "1", "at": "2026-11-22T21:00:00Z", "actor": "baton", "action": "update",
            "target": "key_1", "before": {"limits": {"usd_daily": null}, "other": "a"},
            "after": {"limits": {"usd_daily": "1"}, "other": "b"},
        });
        let row = serde_json::from_value(row).unwrap();
        let CellPart::Changes(_, changes) = changes(&row) else { panic!("changes") };
        let labels: Vec<&str> = changes.iter().map(|(label, ..)| label.as_str()).collect();
        assert_eq!(labels, ["Daily budget", "other"]);
    }
}
