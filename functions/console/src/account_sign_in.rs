//! Browser sign-ins of accounts: the form that starts one, the page with the address to open, and
//! the form that takes the code. The API exchanges the code.

use crate::ConsoleState;
use crate::account_form::{account_fields, new_account_forms};
use crate::api_call::{ConsoleApiError, ConsoleResult};
use crate::formatting::{format_time, truncate_text};
use crate::html_form::{
    FieldKind, FieldSpec, FormValues, HtmlForm, check_values, collect_new_values,
};
use crate::name_lookup::NameLookup;
use crate::page_blocks::PageBlock;
use crate::page_request::{PageRequest, PathId};
use crate::resource_pages::{
    self, PageForm, PageOutcome, RejectedInput, ResourcePages as _, finish_action, redirect_to_page,
};
use crate::severity::Severity;
use crate::table_cells::{CellPart, PageLink};
use axum::Router;
use axum::body::Bytes;
use axum::response::Response;
use axum::routing::post;
use baton_api::accounts::AccountResource;
use baton_api::oauth::SignIn;
use http::{Method, StatusCode};
use serde_json::{Value, json};

const START: &str = "/api/v1/oauth/start";
const FINISH: &str = "/api/v1/oauth/finish";
const HERE: &str = "/console/accounts";
const TITLE: &str = "Sign an account in";

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route("/accounts/sign-in", post(start_new))
        .route("/accounts/sign-in/finish", post(finish_sign_in))
        .route("/accounts/{id}/sign-in", post(start_for_account))
}

/// The fields of the sign-in: endpoints, client and redirect URI.
fn sign_in_fields() -> Vec<FieldSpec> {
    let methods = [("client_secret_post", "body"), ("client_secret_basic", "header (Basic)")];
    let methods = methods.map(|(value, name)| (value.to_owned(), name.to_owned()));
    vec![
        FieldSpec::new(
            "authorization_url",
            "Authorization endpoint",
            "The page where you sign in.",
            FieldKind::Text,
        ),
        FieldSpec::new("token_url", "Token endpoint", "", FieldKind::Text),
        FieldSpec::new("client_id", "Client id", "", FieldKind::Text),
        FieldSpec::new(
            "client_secret",
            "Client secret",
            "Empty for a public client.",
            FieldKind::Secret,
        ),
        FieldSpec::new(
            "token_endpoint_auth_method",
            "Client secret is sent in",
            "",
            FieldKind::Choice(methods.to_vec()),
        ),
        FieldSpec::new("scope", "Scope", "", FieldKind::OptionalText),
        FieldSpec::new(
            "redirect_uri",
            "Redirect URI",
            "As registered with the provider. No server has to listen there.",
            FieldKind::Text,
        ),
    ]
}

/// The collapsed form for a new account with a sign-in.
pub(crate) fn new_account_block(
    groups: &NameLookup,
    rejected: Option<&RejectedInput>,
) -> PageBlock {
    let start = AccountResource::start_values(&FormValues::default());
    let mut all = account_fields(groups);
    let rest = all.split_off(3);
    all.extend(sign_in_fields());
    all.extend(rest);
    let form = HtmlForm::post("create-sign_in", format!("{HERE}/sign-in"), "Start the sign-in")
        .fields(resource_pages::fields(&all, &start, rejected))
        .error(resource_pages::rejection_text(&all, rejected));
    let title = "Use another credential: sign in with a browser";
    PageBlock::Fold("new-sign_in".into(), title.into(), form)
}

/// The collapsed form that signs an existing account in.
pub(crate) fn renew_account_block(id: &str, rejected: Option<&RejectedInput>) -> PageBlock {
    let form =
        HtmlForm::post("replace-sign_in", format!("{HERE}/{id}/sign-in"), "Start the sign-in")
            .fields(resource_pages::fields(&sign_in_fields(), &Value::Null, rejected))
            .error(resource_pages::rejection_text(&sign_in_fields(), rejected));
    let title = "Replace the credential: sign in with a browser";
    PageBlock::Fold("credential-sign_in".into(), title.into(), form)
}

async fn start_new(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    page_request.require_admin()?;
    let values = FormValues::parse(&body);
    let groups = NameLookup::load(&page_request, "groups").await?;
    let account_specs = account_fields(&groups);
    let started: ConsoleResult<SignIn> = async {
        check_values(&account_specs, &values).map_err(ConsoleApiError::invalid_input)?;
        let mut body = collect_new_values(&sign_in_fields(), &values);
        body["account"] = collect_new_values(&account_specs, &values);
        page_request.call(Method::POST, START).body(body).send().await
    }
    .await;
    match started {
        Ok(started) => Ok(show_sign_in_link(&page_request, &started, "")),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let mut blocks = new_account_forms(&page_request, &groups, None);
            blocks.push(new_account_block(&groups, Some(&rejected)));
            Ok(page_request.render_rejected_page("New account", blocks, &rejected.error))
        }
        Err(error) => Err(error),
    }
}

async fn start_for_account(
    page_request: PageRequest,
    PathId(id): PathId,
    body: Bytes,
) -> ConsoleResult {
    page_request.require_admin()?;
    let values = FormValues::parse(&body);
    let mut body = collect_new_values(&sign_in_fields(), &values);
    body["account_id"] = json!(id);
    match page_request.call(Method::POST, START).body(body).send().await {
        Ok(started) => Ok(show_sign_in_link(&page_request, &started, &id)),
        Err(error) => {
            finish_action::<AccountResource>(&page_request, &id, Err::<(), _>(error), "", |error| {
                PageOutcome::rejected(PageForm::SignIn, RejectedInput { values, error })
            })
            .await
        }
    }
}

/// The page with the address to open and the form for the code.
fn show_sign_in_link(page_request: &PageRequest, started: &SignIn, account: &str) -> Response {
    let url = started.authorize_url.clone();
    let until = format_time(started.expires_at);
    let message = format!(
        "Open the sign-in page and grant access. The browser then goes to the redirect URI: copy \
         that address, or the code on the page, and paste it here before {until} UTC. If the page \
         does not load, copy the address from the browser's address bar."
    );
    let blocks = vec![
        PageBlock::Text(message),
        PageBlock::Row(vec![CellPart::ExternalLink(PageLink::new(
            url.clone(),
            "Open the sign-in page",
        ))]),
        PageBlock::Code("authorize-url".into(), "Address of the sign-in page".into(), url),
        PageBlock::Form(finish_form(page_request, &started.state, account, None)),
    ];
    page_request.render_page(TITLE, blocks)
}

fn finish_form(
    page_request: &PageRequest,
    state: &str,
    account: &str,
    error: Option<String>,
) -> HtmlForm {
    let code = FieldSpec::new("code", "Code, or the whole address", "", FieldKind::Secret);
    HtmlForm::post("finish", format!("{HERE}/sign-in/finish"), "Finish the sign-in")
        .hidden("state", state)
        .hidden("account", account)
        .hidden("once", page_request.new_idempotency_key())
        .fields(vec![code.field(&Value::Null)])
        .error(error)
        .main()
}

async fn finish_sign_in(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    page_request.require_admin()?;
    let values = FormValues::parse(&body);
    let (state, account) = (values.get("state"), values.get("account"));
    let code = match extract_code(values.get("code"), state) {
        Ok(code) => code,
        Err(error) => {
            let error = ConsoleApiError::new(StatusCode::BAD_REQUEST, &error);
            let form = finish_form(&page_request, state, account, Some(error.sentence()));
            return Ok(page_request.render_rejected_page(
                TITLE,
                vec![PageBlock::Form(form)],
                &error,
            ));
        }
    };
    let requested =
        page_request.call(Method::POST, FINISH).body(json!({ "state": state, "code": code }));
    match requested.with_idempotency_key(values.get("once")).send().await {
        Ok(AccountResource { id, .. }) => {
            redirect_to_page::<AccountResource>(id.as_str(), "signed_in")
        }
        Err(error) if error.is_form_error() => {
            let page = if account.is_empty() { "new" } else { account };
            let retry_link = PageLink::new(format!("{HERE}/{page}"), "Start again");
            let message = "A sign-in can be finished once, and within ten minutes.";
            let blocks = vec![
                PageBlock::Notice(Severity::Error, error.sentence()),
                PageBlock::Empty(message.into(), Some(retry_link)),
            ];
            Ok(page_request.render_rejected_page(TITLE, blocks, &error))
        }
        Err(error) => Err(error),
    }
}

/// Finds the code in the text of a form: the code itself, or the redirect address with `code` and
/// `state` in its query (RFC 6749 §4.1.2).
fn extract_code(message: &str, state: &str) -> Result<String, String> {
    let message = message.trim();
    if message.is_empty() {
        return Err("Enter the code, or the address that the browser was sent to.".to_owned());
    }
    if !message.contains("://") && !message.starts_with('?') {
        return Ok(message.to_owned());
    }
    let query = message.split_once('?').map_or("", |(_, query)| query);
    let query = FormValues::parse(query.split('#').next().unwrap_or_default().as_bytes());
    if !query.get("error").is_empty() {
        let error = format!("{} {}", query.get("error"), query.get("error_description"));
        return Err(format!(
            "The provider refused the sign-in: {}",
            truncate_text(error.trim(), 300)
        ));
    }
    if query.get("state") != state {
        return Err("This is the address of another sign-in.".to_owned());
    }
    match query.get("code") {
        "" => Err("There is no code in this address.".to_owned()),
        code => Ok(code.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_extracted_from_every_input_form() {
        for (message, expect) in [
            (" abc-1 ", Ok("abc-1")),
            ("http://localhost/cb?code=abc&state=s", Ok("abc")),
            ("http://localhost/cb?state=s&code=a%2Bb#_=_", Ok("a+b")),
            ("app://cb?code=abc&state=s", Ok("abc")),
            ("?code=abc&state=s", Ok("abc")),
            ("", Err("Enter the code")),
            ("http://localhost/cb?code=abc&state=other", Err("another sign-in")),
            ("http://localhost/cb?code=abc", Err("another sign-in")),
            ("http://localhost/cb?state=s", Err("no code")),
            ("http://localhost/cb?error=access_denied&state=s", Err("access_denied")),
        ] {
            match (extract_code(message, "s"), expect) {
                (Ok(code), Ok(expected)) => assert_eq!(code, expected),
                (Err(error), Err(expected)) => {
                    assert!(error.contains(expected), "{message}: {error}");
                }
                (found, _) => panic!("{message}: {found:?}"),
            }
        }
    }
}
