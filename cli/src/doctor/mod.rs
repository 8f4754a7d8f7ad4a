//! `baton doctor`: looks at a deployment from outside, as its clients see it, and says what to do
//! about what is wrong. The order of the checks is here; each is judged in the file that makes it.
#![expect(clippy::doc_markdown, reason = "comments on flags are help texts")]

mod finding;
mod here;
mod load;
mod there;

use crate::Fail;
use crate::environment::Environment;
use crate::operate::{Office, first_line_of_stdin};
use baton_cloud::clock::Clock;
use baton_cloud::settings::table;
use baton_domain::secret::Secret;
use clap::Args;
use finding::{Finding, failures, show};
use reqwest::{Client, Url};

/// What is to be looked at.
#[derive(Args)]
pub struct Doctor {
    /// The admin API
    #[command(flatten)]
    office: Office,
    #[arg(
        long,
        help = table::CLIENT_BASE_URL.flag_help("The relay's base URL, as clients have it")
    )]
    relay: Option<String>,
    /// A key of it; `-` reads it from standard input [env: ANTHROPIC_AUTH_TOKEN, ANTHROPIC_API_KEY]
    #[arg(long)]
    key: Option<String>,
    /// Also check streaming, by one message of at most 16 tokens
    #[arg(long)]
    paid: bool,
    /// The model to ask for that [default: a small one that the key may use]
    #[arg(long, requires = "paid")]
    model: Option<String>,
}

/// Runs all checks.
///
/// # Errors
/// When one of them fails.
pub(crate) async fn run(asked: Doctor) -> Result<(), Fail> {
    let environment = Environment::read();
    let base = asked.relay.clone().or_else(|| environment.client_base.clone());
    let base = base.unwrap_or_else(|| table::CLIENT_BASE_URL.default.to_owned());
    let key = match asked.key.as_deref() {
        Some("-") => Some(Secret::new(first_line_of_stdin()?)),
        Some(key) => Some(Secret::new(key.to_owned())),
        None => keys_of_the_shell(&environment),
    };
    let (address, base) = here::address(&base);
    let form = here::key_form(key.as_ref());
    let key = key.filter(|_| failures(std::slice::from_ref(&form)) == 0);
    let mut findings = vec![address, form];
    findings.extend(here::variables(&environment, base.as_ref()));
    let screen = asked.office.screen();
    let http = there::client()?;
    if let Some(base) = &base {
        let wish = Wish { paid: asked.paid, model: asked.model };
        findings.extend(relay(&http, base, key.as_ref(), wish).await);
    }
    findings.extend(there::admin(&http, asked.office.aim(environment)?).await);
    show(screen, &findings);
    match failures(&findings) {
        0 => Ok(()),
        1 => Err(Fail::Failed("one check failed".to_owned())),
        count => Err(Fail::Failed(format!("{count} checks failed"))),
    }
}

/// The key that clients of this shell would send; one of somebody else's is none.
fn keys_of_the_shell(environment: &Environment) -> Option<Secret> {
    let both = [&environment.client_bearer, &environment.client_api_key];
    both.into_iter().flatten().find(|key| key.expose().starts_with("bt_")).cloned()
}

/// Which checks that cost something are wanted.
struct Wish {
    paid: bool,
    model: Option<String>,
}

async fn relay(http: &Client, base: &Url, key: Option<&Secret>, wish: Wish) -> Vec<Finding> {
    let clock = Clock::system();
    let (is_there, mut findings) = there::relay(http, base, || clock.now()).await;
    let (Some(key), true) = (key, is_there) else {
        let why = if is_there { "needs a key that could be one" } else { "needs the relay" };
        let checks = ["key", "models", "body size", "streaming"];
        findings.extend(checks.map(|check| Finding::skipped(check, why)));
        return findings;
    };
    findings.push(there::key(http, base, key).await);
    if failures(&findings) > 0 {
        let checks = ["models", "body size", "streaming"];
        findings.extend(checks.map(|check| Finding::skipped(check, "needs a key that is taken")));
        return findings;
    }
    let (models, ids) = there::models(http, base, key).await;
    findings.push(models);
    findings.push(load::ceiling(http, base, key).await);
    let small = || ids.iter().find(|id| id.contains("haiku")).or(ids.first()).cloned();
    findings.push(match wish.model.or_else(small) {
        _ if !wish.paid => Finding::skipped("streaming", "costs a few tokens; --paid checks it"),
        None => Finding::skipped("streaming", "needs a model; --model says which"),
        Some(model) => load::stream(http, base, key, &model).await,
    });
    findings
}
