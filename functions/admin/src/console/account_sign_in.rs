//! Browser sign-ins of accounts: the form that starts one, the page with the address to open, and
//! the form that takes the code. The API exchanges the code.

use super::Desk;
use super::account_form::specs as account_specs;
use super::accounts::{self, HERE, Told, new_page};
use super::ask::{Outcome, Trouble};
use super::block::{Block, Link, Piece, Tone};
use super::form::{Form, Kind, Spec, Typed, created};
use super::guest::{Guest, Id, see};
use super::lookup::Names;
use super::show::{cut, moment, said};
use super::thing::{self, Tried};
use axum::Router;
use axum::body::Bytes;
use axum::response::Response;
use axum::routing::post;
use http::{Method, StatusCode};
use serde_json::{Value, json};

const START: &str = "/api/v1/oauth/start";
const FINISH: &str = "/api/v1/oauth/finish";
const TITLE: &str = "Sign an account in";

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/accounts/sign-in", post(start_new))
        .route("/accounts/sign-in/finish", post(finish))
        .route("/accounts/{id}/sign-in", post(start_again))
}

/// The fields of the sign-in: endpoints, client and redirect URI.
fn specs() -> Vec<Spec> {
    let ways = [("client_secret_post", "body"), ("client_secret_basic", "header (Basic)")];
    let ways = ways.map(|(value, name)| (value.to_owned(), name.to_owned()));
    vec![
        Spec::new(
            "authorization_url",
            "Authorization endpoint",
            "The page where you sign in.",
            Kind::Text,
        ),
        Spec::new("token_url", "Token endpoint", "", Kind::Text),
        Spec::new("client_id", "Client id", "", Kind::Text),
        Spec::new("client_secret", "Client secret", "Empty for a public client.", Kind::Secret),
        Spec::new(
            "token_endpoint_auth_method",
            "Client secret is sent in",
            "",
            Kind::Choice(ways.to_vec()),
        ),
        Spec::new("scope", "Scope", "", Kind::Maybe),
        Spec::new(
            "redirect_uri",
            "Redirect URI",
            "As registered with the provider. No server has to listen there.",
            Kind::Text,
        ),
    ]
}

/// The collapsed form for a new account with a sign-in.
pub(super) fn new_fold(groups: &Names, tried: Option<&Tried>) -> Block {
    let start = json!({ "enabled": true, "provider": "anthropic" });
    let mut all = account_specs(groups);
    let rest = all.split_off(3);
    all.extend(specs());
    all.extend(rest);
    let form = Form::post("create-sign_in", format!("{HERE}/sign-in"), "Start the sign-in")
        .fields(thing::fields(&all, &start, tried))
        .error(thing::error(&all, tried));
    let title = "Use another credential: sign in with a browser";
    Block::Fold("new-sign_in".into(), title.into(), form)
}

/// The collapsed form that signs an existing account in.
pub(super) fn again_fold(id: &str, tried: Option<&Tried>) -> Block {
    let form = Form::post("replace-sign_in", format!("{HERE}/{id}/sign-in"), "Start the sign-in")
        .fields(thing::fields(&specs(), &Value::Null, tried))
        .error(thing::error(&specs(), tried));
    let title = "Replace the credential: sign in with a browser";
    Block::Fold("credential-sign_in".into(), title.into(), form)
}

async fn start_new(guest: Guest, body: Bytes) -> Outcome {
    guest.admins_only()?;
    let typed = Typed::parse(&body);
    let groups = Names::of(&guest, "groups").await?;
    let mut body = created(&specs(), &typed);
    body["account"] = created(&account_specs(&groups), &typed);
    match guest.ask(Method::POST, START).body(body).send().await {
        Ok(begun) => Ok(show_way(&guest, &begun, "")),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why };
            let blocks = new_page(&guest, &groups, (None, Some(&tried)));
            Ok(guest.show_refused("New account", blocks, &tried.why))
        }
        Err(why) => Err(why),
    }
}

async fn start_again(guest: Guest, Id(id): Id, body: Bytes) -> Outcome {
    guest.admins_only()?;
    let typed = Typed::parse(&body);
    let mut body = created(&specs(), &typed);
    body["account_id"] = json!(id);
    match guest.ask(Method::POST, START).body(body).send().await {
        Ok(begun) => Ok(show_way(&guest, &begun, &id)),
        Err(why) if why.is_of_form() => {
            let tried = Tried { typed, why: why.clone() };
            let told = Told { sign_in: Some(tried), ..Told::default() };
            let (title, blocks) = accounts::page(&guest, &id, &told).await?;
            Ok(guest.show_refused(&title, blocks, &why))
        }
        Err(why) => Err(why),
    }
}

/// The page with the address to open and the form for the code.
fn show_way(guest: &Guest, begun: &Value, account: &str) -> Response {
    let url = said(&begun["authorize_url"]);
    let until = moment(&said(&begun["expires_at"]));
    let says = format!(
        "Open the sign-in page and grant access. The browser then goes to the redirect URI: copy \
         that address, or the code on the page, and paste it here before {until} UTC. If the page \
         does not load, copy the address from the browser's address bar."
    );
    let blocks = vec![
        Block::Text(says),
        Block::Row(vec![Piece::Away(Link::new(url.clone(), "Open the sign-in page"))]),
        Block::Code("authorize-url".into(), "Address of the sign-in page".into(), url),
        Block::Form(finish_form(guest, (&said(&begun["state"]), account), None)),
    ];
    guest.show(TITLE, blocks)
}

fn finish_form(guest: &Guest, (state, account): (&str, &str), error: Option<String>) -> Form {
    let code = Spec::new("code", "Code, or the whole address", "", Kind::Secret);
    Form::post("finish", format!("{HERE}/sign-in/finish"), "Finish the sign-in")
        .hidden("state", state)
        .hidden("account", account)
        .hidden("once", guest.once())
        .fields(vec![code.field(&Value::Null)])
        .error(error)
        .main()
}

async fn finish(guest: Guest, body: Bytes) -> Outcome {
    guest.admins_only()?;
    let typed = Typed::parse(&body);
    let (state, account) = (typed.get("state"), typed.get("account"));
    let code = match code_in(typed.get("code"), state) {
        Ok(code) => code,
        Err(why) => {
            let why = Trouble::new(StatusCode::BAD_REQUEST, &why);
            let form = finish_form(&guest, (state, account), Some(why.sentence()));
            return Ok(guest.show_refused(TITLE, vec![Block::Form(form)], &why));
        }
    };
    let asked = guest.ask(Method::POST, FINISH).body(json!({ "state": state, "code": code }));
    match asked.once(typed.get("once")).send().await {
        Ok(view) => see(&format!("{HERE}/{}?done=signed_in", said(&view["id"]))),
        Err(why) if why.is_of_form() => {
            let page = if account.is_empty() { "new" } else { account };
            let again = Link::new(format!("{HERE}/{page}"), "Start again");
            let says = "A sign-in can be finished once, and within ten minutes.";
            let blocks = vec![
                Block::Notice(Tone::Bad, why.sentence()),
                Block::Empty(says.into(), Some(again)),
            ];
            Ok(guest.show_refused(TITLE, blocks, &why))
        }
        Err(why) => Err(why),
    }
}

/// Finds the code in the text of a form: the code itself, or the redirect address with `code` and
/// `state` in its query (RFC 6749 §4.1.2).
fn code_in(said: &str, state: &str) -> Result<String, String> {
    let said = said.trim();
    if said.is_empty() {
        return Err("Enter the code, or the address that the browser was sent to.".to_owned());
    }
    if !said.contains("://") && !said.starts_with('?') {
        return Ok(said.to_owned());
    }
    let query = said.split_once('?').map_or("", |(_, query)| query);
    let query = Typed::parse(query.split('#').next().unwrap_or_default().as_bytes());
    if !query.get("error").is_empty() {
        let why = format!("{} {}", query.get("error"), query.get("error_description"));
        return Err(format!("The provider refused the sign-in: {}", cut(why.trim(), 300)));
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
    fn a_code_is_found_however_it_is_put_in() {
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
            match (code_in(said, "s"), expect) {
                (Ok(code), Ok(expected)) => assert_eq!(code, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{said}: {why}"),
                (found, _) => panic!("{said}: {found:?}"),
            }
        }
    }
}
