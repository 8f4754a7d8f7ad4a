//! Browser sign-ins of accounts: the form that starts one, the page with the address to open, and
//! the form that takes the code. The API exchanges the code.

use super::ConsoleState;
use super::account_form::account_fields as account_specs;
use super::accounts::{self, AccountPageResult, HERE, new_page};
use super::api_call::{ConsoleApiError, ConsoleResult};
use super::formatting::{field_text, format_time, truncate_text};
use super::html_form::{FieldKind, FieldSpec, FormValues, HtmlForm, collect_new_values};
use super::name_lookup::NameLookup;
use super::page_blocks::{CellPart, Link, PageBlock, Tone};
use super::page_request::{PageRequest, PathId, redirect_to};
use super::resource_pages::{self, RejectedInput};
use axum::Router;
use axum::body::Bytes;
use axum::response::Response;
use axum::routing::post;
use http::{Method, StatusCode};
use serde_json::{Value, json};

const START: &str = "/api/v1/oauth/start";
const FINISH: &str = "/api/v1/oauth/finish";
const TITLE: &str = "Sign an account in";

pub(super) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route("/accounts/sign-in", post(start_new))
        .route("/accounts/sign-in/finish", post(finish_sign_in))
        .route("/accounts/{id}/sign-in", post(start_for_account))
}

/// The fields of the sign-in: endpoints, client and redirect URI.
fn sign_in_fields() -> Vec<FieldSpec> {
    let ways = [("client_secret_post", "body"), ("client_secret_basic", "header (Basic)")];
    let ways = ways.map(|(value, name)| (value.to_owned(), name.to_owned()));
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
            FieldKind::Choice(ways.to_vec()),
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
pub(super) fn new_account_block(groups: &NameLookup, tried: Option<&RejectedInput>) -> PageBlock {
    let start = json!({ "enabled": true, "provider": "anthropic" });
    let mut all = account_specs(groups);
    let rest = all.split_off(3);
    all.extend(sign_in_fields());
    all.extend(rest);
    let form = HtmlForm::post("create-sign_in", format!("{HERE}/sign-in"), "Start the sign-in")
        .fields(resource_pages::fields(&all, &start, tried))
        .error(resource_pages::rejection_text(&all, tried));
    let title = "Use another credential: sign in with a browser";
    PageBlock::Fold("new-sign_in".into(), title.into(), form)
}

/// The collapsed form that signs an existing account in.
pub(super) fn renew_account_block(id: &str, tried: Option<&RejectedInput>) -> PageBlock {
    let form =
        HtmlForm::post("replace-sign_in", format!("{HERE}/{id}/sign-in"), "Start the sign-in")
            .fields(resource_pages::fields(&sign_in_fields(), &Value::Null, tried))
            .error(resource_pages::rejection_text(&sign_in_fields(), tried));
    let title = "Replace the credential: sign in with a browser";
    PageBlock::Fold("credential-sign_in".into(), title.into(), form)
}

async fn start_new(guest: PageRequest, body: Bytes) -> ConsoleResult {
    guest.require_admin()?;
    let typed = FormValues::parse(&body);
    let groups = NameLookup::load(&guest, "groups").await?;
    let mut body = collect_new_values(&sign_in_fields(), &typed);
    body["account"] = collect_new_values(&account_specs(&groups), &typed);
    match guest.call(Method::POST, START).body(body).send().await {
        Ok(begun) => Ok(show_sign_in_link(&guest, &begun, "")),
        Err(why) if why.is_form_error() => {
            let tried = RejectedInput { typed, why };
            let blocks = new_page(&guest, &groups, (None, Some(&tried)));
            Ok(guest.render_rejected_page("New account", blocks, &tried.why))
        }
        Err(why) => Err(why),
    }
}

async fn start_for_account(guest: PageRequest, PathId(id): PathId, body: Bytes) -> ConsoleResult {
    guest.require_admin()?;
    let typed = FormValues::parse(&body);
    let mut body = collect_new_values(&sign_in_fields(), &typed);
    body["account_id"] = json!(id);
    match guest.call(Method::POST, START).body(body).send().await {
        Ok(begun) => Ok(show_sign_in_link(&guest, &begun, &id)),
        Err(why) if why.is_form_error() => {
            let tried = RejectedInput { typed, why: why.clone() };
            let told = AccountPageResult { sign_in: Some(tried), ..AccountPageResult::default() };
            let (title, blocks) = accounts::account_page(&guest, &id, &told).await?;
            Ok(guest.render_rejected_page(&title, blocks, &why))
        }
        Err(why) => Err(why),
    }
}

/// The page with the address to open and the form for the code.
fn show_sign_in_link(guest: &PageRequest, begun: &Value, account: &str) -> Response {
    let url = field_text(&begun["authorize_url"]);
    let until = format_time(&field_text(&begun["expires_at"]));
    let says = format!(
        "Open the sign-in page and grant access. The browser then goes to the redirect URI: copy \
         that address, or the code on the page, and paste it here before {until} UTC. If the page \
         does not load, copy the address from the browser's address bar."
    );
    let blocks = vec![
        PageBlock::Text(says),
        PageBlock::Row(vec![CellPart::ExternalLink(Link::new(
            url.clone(),
            "Open the sign-in page",
        ))]),
        PageBlock::Code("authorize-url".into(), "Address of the sign-in page".into(), url),
        PageBlock::Form(finish_form(guest, (&field_text(&begun["state"]), account), None)),
    ];
    guest.render_page(TITLE, blocks)
}

fn finish_form(
    guest: &PageRequest,
    (state, account): (&str, &str),
    error: Option<String>,
) -> HtmlForm {
    let code = FieldSpec::new("code", "Code, or the whole address", "", FieldKind::Secret);
    HtmlForm::post("finish", format!("{HERE}/sign-in/finish"), "Finish the sign-in")
        .hidden("state", state)
        .hidden("account", account)
        .hidden("once", guest.new_idempotency_key())
        .fields(vec![code.field(&Value::Null)])
        .error(error)
        .main()
}

async fn finish_sign_in(guest: PageRequest, body: Bytes) -> ConsoleResult {
    guest.require_admin()?;
    let typed = FormValues::parse(&body);
    let (state, account) = (typed.get("state"), typed.get("account"));
    let code = match extract_code(typed.get("code"), state) {
        Ok(code) => code,
        Err(why) => {
            let why = ConsoleApiError::new(StatusCode::BAD_REQUEST, &why);
            let form = finish_form(&guest, (state, account), Some(why.sentence()));
            return Ok(guest.render_rejected_page(TITLE, vec![PageBlock::Form(form)], &why));
        }
    };
    let asked = guest.call(Method::POST, FINISH).body(json!({ "state": state, "code": code }));
    match asked.with_idempotency_key(typed.get("once")).send().await {
        Ok(view) => redirect_to(&format!("{HERE}/{}?done=signed_in", field_text(&view["id"]))),
        Err(why) if why.is_form_error() => {
            let page = if account.is_empty() { "new" } else { account };
            let again = Link::new(format!("{HERE}/{page}"), "Start again");
            let says = "A sign-in can be finished once, and within ten minutes.";
            let blocks = vec![
                PageBlock::Notice(Tone::Bad, why.sentence()),
                PageBlock::Empty(says.into(), Some(again)),
            ];
            Ok(guest.render_rejected_page(TITLE, blocks, &why))
        }
        Err(why) => Err(why),
    }
}

/// Finds the code in the text of a form: the code itself, or the redirect address with `code` and
/// `state` in its query (RFC 6749 §4.1.2).
fn extract_code(said: &str, state: &str) -> Result<String, String> {
    let said = said.trim();
    if said.is_empty() {
        return Err("Enter the code, or the address that the browser was sent to.".to_owned());
    }
    if !said.contains("://") && !said.starts_with('?') {
        return Ok(said.to_owned());
    }
    let query = said.split_once('?').map_or("", |(_, query)| query);
    let query = FormValues::parse(query.split('#').next().unwrap_or_default().as_bytes());
    if !query.get("error").is_empty() {
        let why = format!("{} {}", query.get("error"), query.get("error_description"));
        return Err(format!(
            "The provider refused the sign-in: {}",
            truncate_text(why.trim(), 300)
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
        for (said, expect) in [
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
            match (extract_code(said, "s"), expect) {
                (Ok(code), Ok(expected)) => assert_eq!(code, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{said}: {why}"),
                (found, _) => panic!("{said}: {found:?}"),
            }
        }
    }
}
