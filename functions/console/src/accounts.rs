//! Pages of accounts: list, state, settings and actions.

use crate::ConsoleState;
use crate::account_form::{
    CredentialChoice, account_fields, credential_form, destination_fields, new_account_forms,
    read_credential,
};
use crate::account_sign_in::{new_account_block, renew_account_block};
use crate::api_call::ConsoleResult;
use crate::formatting::{format_time, millis, truncate_text};
use crate::html_form::{
    FieldKind, FieldSpec, FormValues, HtmlForm, collect_changes, collect_new_values,
};
use crate::name_lookup::NameLookup;
use crate::page_blocks::{PageBlock, PageTable};
use crate::page_request::{PageRequest, PathId};
use crate::resource_pages::{
    self, PageForm, PageOutcome, PageTexts, RejectedInput, ResourcePages, api_path, finish_action,
    name_cell, page_path, redirect_to_page, show_outcome,
};
use crate::severity::Severity;
use crate::table_cells::{CellPart, TableCell, code, empty_cell, link, text, time};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use baton_api::accounts::{AccountResource, AccountStatus, AccountTest};
use baton_domain::account::CredentialKind;
use baton_domain::cooldown_reason::CooldownReason;
use http::Method;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

pub(crate) fn routes() -> Router<ConsoleState> {
    resource_pages::routes::<AccountResource>()
        .route("/accounts/{id}/credential", post(replace_credential))
        .route("/accounts/{id}/test", post(test_account))
        .route("/accounts/{id}/reset", post(reset_health))
        .route("/accounts/{id}/refresh", post(renew_token))
}

impl ResourcePages for AccountResource {
    type Created = Self;
    /// The names of the groups.
    type Choices = NameLookup;

    const TEXTS: PageTexts = PageTexts {
        path: "accounts",
        noun: "account",
        title: "Accounts",
        caption: "Accounts, oldest first. Smaller priority numbers are used first.",
        columns: &["State", "Until", "Utilization", "Groups", "#Priority", "Last used", "Test"],
        empty: "No accounts found. An account is the address of an upstream with your credential for it.",
        first_step: "Add an account",
        submit: "Add account",
        removal: "requests go to the other accounts of its groups",
    };

    fn id_and_name(&self) -> (String, &str) {
        (self.id.to_string(), &self.name)
    }

    fn version(&self) -> u64 {
        self.meta.version
    }

    async fn load_choices(page_request: &PageRequest) -> ConsoleResult<NameLookup> {
        NameLookup::load(page_request, "groups").await
    }

    fn fields(_: bool, groups: &NameLookup) -> Vec<FieldSpec> {
        account_fields(groups)
    }

    fn filters(groups: &NameLookup) -> Vec<FieldSpec> {
        vec![FieldSpec::new("group_id", "Group", "", FieldKind::Choice(groups.choices("All")))]
    }

    fn start_values(_: &FormValues) -> Value {
        json!({ "enabled": true, "provider": "anthropic" })
    }

    fn cells(&self, groups: &NameLookup) -> Vec<TableCell> {
        vec![
            state_cell(self),
            time(self.cooling_until),
            utilization_cell(self),
            groups_cell(self, groups),
            text(self.priority.to_string()),
            time(self.last_used_at),
            vec![CellPart::Button(test_button(self))],
        ]
    }

    async fn details(&self, _: &PageRequest, groups: &NameLookup) -> ConsoleResult<Vec<PageBlock>> {
        let here = page_path::<Self>(self.id.as_str());
        let action = |name: &str, label: &str| {
            CellPart::Button(HtmlForm::post(name, format!("{here}/{name}"), label))
        };
        let mut buttons =
            vec![CellPart::Button(test_button(self)), action("reset", "Reset health")];
        if self.credential_type.is_renewed() {
            buttons.push(action("refresh", "Renew token now"));
        }
        Ok(vec![facts(self, groups), PageBlock::Row(buttons)])
    }

    fn more_forms(&self, _: &PageRequest, outcome: &PageOutcome) -> Vec<PageBlock> {
        let action = format!("{}/credential", page_path::<Self>(self.id.as_str()));
        let replace = |kind: CredentialChoice| {
            let rejected = outcome.input_of(PageForm::Credential);
            let rejected = rejected.filter(|rejected| kind.is_chosen_in(&rejected.values));
            let form = credential_form(kind, &action, self, rejected);
            let title = format!("Replace the credential: {}", kind.title());
            PageBlock::Fold(format!("credential-{}", kind.name()), title, form)
        };
        let mut blocks: Vec<PageBlock> = CredentialChoice::ALL.into_iter().map(replace).collect();
        blocks.push(renew_account_block(self.id.as_str(), outcome.input_of(PageForm::SignIn)));
        blocks
    }

    fn new_blocks(
        page_request: &PageRequest,
        groups: &NameLookup,
        rejected: Option<&RejectedInput>,
    ) -> Vec<PageBlock> {
        let mut blocks = new_account_forms(page_request, groups, rejected);
        blocks.push(new_account_block(groups, None));
        blocks
    }

    fn new_body(_: bool, groups: &NameLookup, values: &FormValues) -> Value {
        let mut body = collect_new_values(&account_fields(groups), values);
        body["credential"] = read_credential(values);
        body
    }

    fn show_created(_: &PageRequest, created: Self) -> ConsoleResult {
        redirect_to_page::<Self>(created.id.as_str(), "created")
    }
}

/// The words for an account's state, and how good it is.
pub(crate) fn state_label(account: &AccountResource) -> (Severity, &'static str) {
    match account.status {
        AccountStatus::Ready if account.has_token == Some(false) => (Severity::Warning, "no token"),
        AccountStatus::Ready => (Severity::Success, "ready"),
        AccountStatus::Unproven => (Severity::Warning, "unproven"),
        AccountStatus::Cooling => (Severity::Warning, "cooling"),
        AccountStatus::AuthFailed => (Severity::Error, "credential refused"),
        AccountStatus::Disabled => (Severity::Neutral, "disabled"),
    }
}

/// All words for states, best first.
pub(crate) const STATE_LABELS: [&str; 6] =
    ["ready", "no token", "unproven", "cooling", "credential refused", "disabled"];

/// A cell with an account's state and its reason.
pub(crate) fn state_cell(account: &AccountResource) -> TableCell {
    let (severity, label) = state_label(account);
    let mut cell = vec![CellPart::Badge(severity, label.to_owned())];
    // The label says already that the credential is refused.
    let known = CooldownReason::CredentialRefused.to_string();
    let reason = account.status_reason.as_deref().filter(|reason| *reason != known);
    cell.extend(reason.map(|reason| CellPart::Muted(truncate_text(reason, 120))));
    for (model, cooldown) in &account.cooling_models {
        let until = format_time(cooldown.until);
        cell.push(CellPart::Muted(format!("{}: until {until}", truncate_text(model, 40))));
    }
    cell
}

/// A cell with the used share of the upstream's own limits.
fn utilization_cell(account: &AccountResource) -> TableCell {
    let windows = [(account.utilization.five_hour, "5 h"), (account.utilization.seven_day, "7 d")];
    let meters = windows.into_iter().filter_map(|(window, name)| {
        let percent = u8::try_from(window?.percent.min(100)).unwrap_or(100);
        Some(CellPart::Meter(percent, name.to_owned()))
    });
    let meters: TableCell = meters.collect();
    if meters.is_empty() { empty_cell() } else { meters }
}

fn groups_cell(account: &AccountResource, groups: &NameLookup) -> TableCell {
    account.groups.iter().flat_map(|group| groups.link(Some(group))).collect()
}

/// A short table of accounts, for the page of a group.
pub(crate) fn group_table(accounts: &[AccountResource]) -> PageTable {
    let mut table = PageTable::new(
        "accounts",
        "Accounts",
        &["Name", "State", "Until", "Utilization", "#Priority"],
    );
    let row = |account: &AccountResource| {
        vec![
            name_cell(account),
            state_cell(account),
            time(account.cooling_until),
            utilization_cell(account),
            text(account.priority.to_string()),
        ]
    };
    table.rows = accounts.iter().map(row).collect();
    table
}

fn test_button(account: &AccountResource) -> HtmlForm {
    let action = format!("{}/test", page_path::<AccountResource>(account.id.as_str()));
    HtmlForm::post(format!("test-{}", account.id), action, "Test").inline()
}

fn facts(account: &AccountResource, groups: &NameLookup) -> PageBlock {
    let mut facts = vec![
        ("State".to_owned(), state_cell(account)),
        ("Until".to_owned(), time(account.cooling_until)),
        ("Utilization".to_owned(), utilization_cell(account)),
        ("Groups".to_owned(), groups_cell(account, groups)),
        ("Id".to_owned(), code(account.id.to_string())),
        ("Provider".to_owned(), text(baton_providers::rules(account.provider).label)),
        ("Upstream".to_owned(), code(truncate_text(&account.base_url, 300))),
        ("Credential".to_owned(), credential_cell(account.credential_type)),
        ("Last used".to_owned(), time(account.last_used_at)),
        ("Changed".to_owned(), time(Some(account.meta.updated_at))),
    ];
    if let Some(proxy) = &account.proxy_url {
        facts.push(("Proxy".to_owned(), text(truncate_text(proxy, 300))));
    }
    let requests = format!("/console/requests?account_id={}", account.id);
    facts.push(("Requests".to_owned(), link(requests, "Requests by this account")));
    PageBlock::Facts(facts)
}

/// A cell with the kind of a credential.
fn credential_cell(kind: CredentialKind) -> TableCell {
    let title = |choice: CredentialChoice| CellPart::Text(choice.title().to_owned());
    let header = |name: &str| CellPart::Muted(format!("sent in {name}"));
    match kind {
        CredentialKind::ApiKey => vec![title(CredentialChoice::ApiKey), header("x-api-key")],
        CredentialKind::Bearer => {
            vec![title(CredentialChoice::ApiKey), header("authorization (bearer)")]
        }
        CredentialKind::Oauth2 => vec![title(CredentialChoice::Oauth2)],
        CredentialKind::WorkloadIdentity => vec![title(CredentialChoice::WorkloadIdentity)],
        CredentialKind::Aws => vec![title(CredentialChoice::Aws)],
    }
}

async fn replace_credential(
    page_request: PageRequest,
    PathId(id): PathId,
    body: Bytes,
) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let path = api_path::<AccountResource>(&id);
    let before: AccountResource = page_request.get(&*path).await?;
    let mut specs = destination_fields();
    specs.retain(|spec| values.has(spec.path));
    let mut body = collect_changes(&specs, &values, &json!(before));
    body["credential"] = read_credential(&values);
    let call = page_request.call(Method::PATCH, path).body(body);
    let replaced = call.version(values.get("version")).send::<IgnoredAny>().await;
    finish_action::<AccountResource>(&page_request, &id, replaced, "saved", |error| {
        PageOutcome::rejected(PageForm::Credential, RejectedInput { values, error })
    })
    .await
}

async fn test_account(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    let path = format!("{}/test", api_path::<AccountResource>(&id));
    let result: AccountTest = page_request.call(Method::POST, path).send().await?;
    let account: AccountResource = page_request.get(api_path::<AccountResource>(&id)).await?;
    let outcome = test_notice(&result, &account);
    show_outcome::<AccountResource>(&page_request, &id, outcome, None).await
}

/// The result of a test in words.
fn test_notice(result: &AccountTest, account: &AccountResource) -> PageOutcome {
    let message = truncate_text(&result.message, 600);
    let (severity, notice) = match (result.ok, result.upstream_status) {
        (Some(true), _) => {
            let elapsed = millis(result.duration_ms);
            (Severity::Success, format!("The credential is accepted ({elapsed})."))
        }
        (None, _) => (Severity::Warning, format!("Unproven: {message}")),
        (Some(false), Some(status)) => {
            (Severity::Error, format!("The upstream answered {status}: {message}"))
        }
        (Some(false), None) if account.has_token == Some(false) => {
            let advice = "The account has no token yet. Use “Renew token now”, or sign in again.";
            (Severity::Error, advice.to_owned())
        }
        (Some(false), None) => (Severity::Error, format!("The upstream did not answer: {message}")),
    };
    PageOutcome::notice(severity, notice)
}

async fn run_account_action(
    page_request: &PageRequest,
    id: &str,
    action: &str,
    done: &str,
) -> ConsoleResult {
    let path = format!("{}/{action}", api_path::<AccountResource>(id));
    let result = page_request.call(Method::POST, path).send::<IgnoredAny>().await;
    finish_action::<AccountResource>(page_request, id, result, done, |error| {
        PageOutcome::notice(Severity::Error, error.sentence())
    })
    .await
}

async fn reset_health(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    run_account_action(&page_request, &id, "reset", "reset").await
}

async fn renew_token(page_request: PageRequest, PathId(id): PathId) -> ConsoleResult {
    run_account_action(&page_request, &id, "refresh", "refreshed").await
}
