//! Pages of keys. A secret is shown only on the page that follows its creation.

use crate::api_call::ConsoleResult;
use crate::daily_usage::daily_usage_block;
use crate::formatting::{limits, truncate_text};
use crate::html_form::{FieldKind, FieldSpec, FormValues, HtmlForm};
use crate::name_lookup::NameLookup;
use crate::page_blocks::{PageBlock, PageTable};
use crate::page_request::{PageRequest, PathId};
use crate::resource_pages::{
    self, LimitsPrefix, PageOutcome, PageTexts, ResourcePages, api_path, name_cell, page_path,
};
use crate::severity::Severity;
use crate::table_cells::{
    CellPart, PageLink, TableCell, badge, code, enabled_cell, link, optional_text_cell, text, time,
};
use crate::{ConsoleState, connect};
use axum::Router;
use axum::body::Bytes;
use axum::response::Response;
use axum::routing::post;
use baton_api::keys::{KeyResource, KeyWithSecret};
use baton_domain::key::ReservationEstimate;
use baton_domain::model::ModelPattern;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) fn routes() -> Router<ConsoleState> {
    resource_pages::routes::<KeyResource>().route("/keys/{id}/rotate", post(rotate))
}

/// The names of the groups and users that keys can have.
#[derive(Default)]
pub(crate) struct KeyFormChoices {
    groups: NameLookup,
    users: NameLookup,
    /// The time of the request, for keys that have expired.
    now: Timestamp,
}

impl ResourcePages for KeyResource {
    type Created = KeyWithSecret;
    type Choices = KeyFormChoices;

    const TEXTS: PageTexts = PageTexts {
        path: "keys",
        noun: "key",
        title: "Keys",
        caption: "Keys, oldest first",
        columns: &["State", "User", "Group", "Limits", "Models", "Expires"],
        empty: "No keys found. Clients send a key with each request; create one for each person or pipeline.",
        first_step: "Create a key",
        submit: "Create key",
        removal: "clients that use it are refused; its usage stays recorded",
    };

    fn id_and_name(&self) -> (String, &str) {
        (self.id.to_string(), &self.name)
    }

    fn version(&self) -> u64 {
        self.meta.version
    }

    async fn load_choices(page_request: &PageRequest) -> ConsoleResult<KeyFormChoices> {
        let (groups, users) = futures_util::try_join!(
            NameLookup::load(page_request, "groups"),
            NameLookup::load(page_request, "users")
        )?;
        Ok(KeyFormChoices { groups, users, now: page_request.console.clock.now() })
    }

    /// Members can only rename a key and disable it.
    fn fields(is_member: bool, choices: &KeyFormChoices) -> Vec<FieldSpec> {
        let name = FieldSpec::new("name", "Name", "", FieldKind::Text);
        let enabled =
            FieldSpec::new("enabled", "Enabled", "A disabled key is refused.", FieldKind::Flag);
        if is_member {
            return vec![name, enabled];
        }
        let estimates = vec![
            ("most".to_owned(), "the highest possible cost: budgets are never exceeded".to_owned()),
            ("expected".to_owned(), "the expected cost: budgets can be exceeded".to_owned()),
        ];
        let groups = FieldKind::Choice(choices.groups.choices("Default group"));
        let users = FieldKind::Choice(choices.users.choices("Nobody"));
        let mut specs = vec![
            name,
            FieldSpec::new("group_id", "Group", "The key uses the accounts of this group.", groups),
            FieldSpec::new("user_id", "User", "", users),
            enabled,
            FieldSpec::new(
                "expires_at",
                "Expires (UTC)",
                "A time in the future. Empty means that the key does not expire.",
                FieldKind::DateTime,
            ),
            FieldSpec::new(
                "models",
                "Allowed models",
                "One per line, * for any characters. Empty means all models.",
                FieldKind::Lines,
            ),
            FieldSpec::new(
                "estimate",
                "Amount reserved for each request",
                "The budgets count this amount until the actual cost of the request is known.",
                FieldKind::Choice(estimates),
            ),
        ];
        specs.extend(resource_pages::limit_specs(LimitsPrefix::Limits));
        specs
    }

    fn filters(choices: &KeyFormChoices) -> Vec<FieldSpec> {
        let groups = FieldKind::Choice(choices.groups.choices("All"));
        let users = FieldKind::Choice(choices.users.choices("All"));
        vec![
            FieldSpec::new("group_id", "Group", "", groups),
            FieldSpec::new("user_id", "User", "", users),
        ]
    }

    fn start_values(query: &FormValues) -> Value {
        json!({
            "enabled": true, "estimate": "most",
            "group_id": query.get("group_id"), "user_id": query.get("user_id"),
        })
    }

    fn cells(&self, choices: &KeyFormChoices) -> Vec<TableCell> {
        vec![
            state_cell(self, choices.now),
            choices.users.link(self.user_id.as_ref()),
            choices.groups.link(Some(&self.group_id)),
            optional_text_cell(Some(&limits(&self.limits))),
            models_cell(self, 100),
            time(self.expires_at),
        ]
    }

    async fn details(
        &self,
        page_request: &PageRequest,
        choices: &KeyFormChoices,
    ) -> ConsoleResult<Vec<PageBlock>> {
        let Self { id, .. } = self;
        let from = page_request.day_before(6);
        let week = format!("/api/v1/usage/summary?key={id}&by=day&from={from}");
        let days = page_request.get_list(week).await?;
        let mut facts = vec![
            ("State".to_owned(), state_cell(self, choices.now)),
            ("Id".to_owned(), code(id.to_string())),
        ];
        if !page_request.is_member() {
            facts.push(("User".to_owned(), choices.users.link(self.user_id.as_ref())));
            facts.push(("Group".to_owned(), choices.groups.link(Some(&self.group_id))));
        }
        let requests = format!("/console/requests?key_id={id}");
        facts.extend([
            ("Limits".to_owned(), optional_text_cell(Some(&limits(&self.limits)))),
            ("Possible excess over the budgets".to_owned(), text(overshoot_text(self.estimate))),
            ("Models".to_owned(), models_cell(self, 2000)),
            ("Expires".to_owned(), time(self.expires_at)),
            ("Created".to_owned(), time(Some(self.meta.created_at))),
            ("Requests".to_owned(), link(requests, "Requests with this key")),
        ]);
        Ok(vec![
            PageBlock::Facts(facts),
            PageBlock::Heading("The last seven days".into()),
            daily_usage_block(&days),
        ])
    }

    fn more_forms(&self, page_request: &PageRequest, _: &PageOutcome) -> Vec<PageBlock> {
        let action = format!("{}/rotate", page_path::<Self>(self.id.as_str()));
        let form = HtmlForm::post("rotate", action, "Rotate")
            .hidden("version", self.meta.version.to_string())
            .hidden("once", page_request.new_idempotency_key())
            .with_confirmation("Rotate this key? The old secret stops working at once.");
        let title = "Rotate this key (the old secret stops working at once)";
        vec![PageBlock::Fold("rotate-fold".into(), title.into(), form)]
    }

    fn show_created(page_request: &PageRequest, created: KeyWithSecret) -> ConsoleResult {
        Ok(show_secret(page_request, "Key created", &created))
    }
}

/// The table of a user's own keys.
pub(crate) fn own_table(keys: &[KeyResource], caption: &str, now: Timestamp) -> PageTable {
    let mut table =
        PageTable::new("keys", caption, &["Name", "State", "Limits", "Models", "Expires"]);
    let row = |key: &KeyResource| {
        vec![
            name_cell(key),
            state_cell(key, now),
            optional_text_cell(Some(&limits(&key.limits))),
            models_cell(key, 100),
            time(key.expires_at),
        ]
    };
    table.rows = keys.iter().map(row).collect();
    table
}

/// A cell that shows whether the key is accepted at `now`.
fn state_cell(key: &KeyResource, now: Timestamp) -> TableCell {
    match key.expires_at {
        Some(end) if key.enabled && end <= now => badge(Severity::Warning, "expired"),
        _ => enabled_cell(key.enabled),
    }
}

/// By how much requests of the key can exceed a money limit.
fn overshoot_text(estimate: ReservationEstimate) -> &'static str {
    match estimate {
        ReservationEstimate::Most => "none: the highest possible cost is reserved",
        ReservationEstimate::Expected => {
            "for each open request, its highest possible cost minus its expected cost"
        }
    }
}

fn models_cell(key: &KeyResource, chars_max: usize) -> TableCell {
    let models: Vec<&str> = key.models.iter().map(ModelPattern::as_str).collect();
    optional_text_cell(Some(&truncate_text(&models.join(", "), chars_max)))
}

/// The page with a new secret. It answers a POST, so neither history nor cache contains it.
fn show_secret(page_request: &PageRequest, title: &str, created: &KeyWithSecret) -> Response {
    let KeyWithSecret { key, secret } = created;
    let label = format!("Secret of “{}”.", truncate_text(&key.name, 80));
    let key_link = PageLink::new(page_path::<KeyResource>(key.id.as_str()), "Go to the key");
    let mut blocks = vec![
        PageBlock::Secret("secret".into(), label, secret.expose().to_owned()),
        PageBlock::Row(vec![CellPart::Link(key_link)]),
        PageBlock::Heading("Connect a client with it".into()),
    ];
    blocks.extend(connect::snippets(&page_request.console.relay_url, secret.expose()));
    page_request.render_page(title, blocks)
}

async fn rotate(page_request: PageRequest, PathId(id): PathId, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let path = format!("{}/rotate", api_path::<KeyResource>(&id));
    let call = page_request.call(Method::POST, path).body(json!({}));
    let call = call.version(values.get("version")).with_idempotency_key(values.get("once"));
    match call.send().await {
        Ok(rotated) => Ok(show_secret(&page_request, "Key rotated", &rotated)),
        Err(error) if error.is_form_error() => {
            let outcome = PageOutcome::notice(Severity::Error, error.sentence());
            resource_pages::show_outcome::<KeyResource>(&page_request, &id, outcome, Some(&error))
                .await
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_past_its_expiry_is_shown_as_expired() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let label = |is_enabled: bool, expires_at: Option<i64>| {
            let key = json!({
                "id": "key_1", "name": "ci", "user_id": null, "group_id": "grp_1", "models": [],
                "expires_at": expires_at.map(at), "enabled": is_enabled, "limits": {},
                "estimate": "most", "overshoot": "none", "created_at": at(0), "updated_at": at(0),
                "version": 1,
            });
            let key: KeyResource = serde_json::from_value(key).unwrap();
            let cell = state_cell(&key, at(10));
            let [CellPart::Badge(_, label)] = cell.as_slice() else { panic!("no badge") };
            label.clone()
        };
        assert_eq!(label(true, None), "enabled");
        assert_eq!(label(true, Some(11)), "enabled");
        assert_eq!(label(true, Some(10)), "expired");
        assert_eq!(label(false, Some(10)), "disabled");
    }
}
