//! `baton limit`: spend limits for each person, through the spend-limits API.

use super::admin_client::read_answer;
use super::field_flags::FieldFlags;
use super::flag_values::value;
use super::resource_names::{GROUP, USER};
use super::{CliContext, ConfirmationArg};
use crate::CliError;
use crate::output::{print_line, rows, table, text};
use baton_api::spend_limits::{
    NewSpendLimit, SpendLimitList, SpendLimitResource, SpendLimitScope, UsdCents,
};
use clap::Subcommand;
use serde_json::json;

/// The flags of the fields that this command sets.
pub(crate) const FIELD_FLAGS: FieldFlags =
    &[("scope", "--for"), ("period", "--period"), ("amount", "--usd")];

const PATH: [&str; 2] = ["organizations", "spend_limits"];

/// The commands of `baton limit`.
#[derive(Subcommand)]
pub enum LimitCommand {
    /// List spend limits
    List,
    /// Set a spend limit for each person, or replace it; a budget that people share is a limit of
    /// their user, group or organization instead (see "Budgets and limits" in the documentation)
    Set {
        /// A user, a group (each person in it) by id or name, or `organization` (everybody)
        #[arg(long = "for", value_name = "SCOPE")]
        whom: String,
        /// The period: daily, weekly or monthly (UTC)
        #[arg(long, default_value = "monthly")]
        period: String,
        /// US dollars that each person can spend in the period, such as 12.50; 0 refuses every
        /// request; `unlimited` lifts the limits of the group or the organization
        #[arg(long, allow_negative_numbers = true)]
        usd: String,
    },
    /// Remove a spend limit
    Remove {
        /// The id of the spend limit, spl_…
        id: String,
        /// Confirmation
        #[command(flatten)]
        confirmation: ConfirmationArg,
    },
}

pub(crate) async fn run_limit_command(
    context: &CliContext,
    command: LimitCommand,
) -> Result<(), CliError> {
    let context = &context.with_flags(FIELD_FLAGS);
    match command {
        LimitCommand::List => list_limits(context).await,
        LimitCommand::Set { whom: subject, period, usd } => {
            let new = NewSpendLimit {
                amount: cents(&usd)?,
                period: value("--period")(&period)?,
                scope: scope(context, &subject).await?,
                currency: None,
            };
            let created = context.admin.post(&PATH, &new).await?;
            let SpendLimitResource { id, scope, .. } = read_answer(&created)?;
            context.printer.show(&created, || {
                print_line(format!(
                    "spend limit {id} is set: {usd} {period} for {}",
                    scope_label(&scope)
                ));
            });
            Ok(())
        }
        LimitCommand::Remove { id, confirmation } => {
            confirmation.or_ask(&format!("remove the spend limit {id}"))?;
            let [first, second] = PATH;
            let gone = context.admin.delete(&[first, second, &id]).await?;
            context.printer.show(&gone, || print_line(format!("{id} is removed")));
            Ok(())
        }
    }
}

async fn list_limits(context: &CliContext) -> Result<(), CliError> {
    let (mut data, mut limits, mut after) = (Vec::new(), Vec::new(), String::new());
    loop {
        let query = [("limit", "1000"), ("after_id", after.as_str())];
        let query = if after.is_empty() { &query[..1] } else { &query[..] };
        let page = context.admin.get(&PATH, query).await?;
        data.extend(rows(&page).iter().cloned());
        let page: SpendLimitList = read_answer(&page)?;
        limits.extend(page.data);
        match page.last_id.filter(|_| page.has_more) {
            Some(last) => after = last.to_string(),
            None => break,
        }
    }
    let all = json!({ "data": data });
    context.printer.show(&all, || {
        let mut table = table(["id", "applies to", "period", "USD"].into_iter());
        for limit in &limits {
            table.add_row([
                limit.id.to_string(),
                scope_label(&limit.scope),
                text(&json!(limit.period)),
                usd(limit.amount.as_ref().map(UsdCents::as_str)),
            ]);
        }
        print_line(table);
    });
    Ok(())
}

/// The scope in the form of the API: `organization`, or a user or group by id or name.
async fn scope(context: &CliContext, subject: &str) -> Result<SpendLimitScope, CliError> {
    if subject == "organization" {
        return Ok(SpendLimitScope::Organization);
    }
    Ok(match context.id_of_either([USER, GROUP], subject).await? {
        (0, id) => SpendLimitScope::User { user_id: value("--for")(&id)? },
        (_, id) => SpendLimitScope::RbacGroup { rbac_group_id: value("--for")(&id)? },
    })
}

/// Whom a limit with this scope applies to.
fn scope_label(scope: &SpendLimitScope) -> String {
    match scope {
        SpendLimitScope::User { user_id } => format!("user {user_id}"),
        SpendLimitScope::RbacGroup { rbac_group_id } => {
            format!("each person in group {rbac_group_id}")
        }
        SpendLimitScope::Organization => "each person in the organization".to_owned(),
    }
}

/// Dollars as whole cents; `unlimited` becomes `null`.
fn cents(usd: &str) -> Result<Option<String>, CliError> {
    if usd == "unlimited" {
        return Ok(None);
    }
    let (dollars, cents) = usd.split_once('.').unwrap_or((usd, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if usd.starts_with('-') {
        let advice = "use `0` to refuse every request, or `unlimited` to lift the limits of the \
             group or the organization";
        return Err(CliError::Usage(format!("--usd {usd} is below zero; {advice}")));
    }
    if dollars.is_empty() || cents.len() > 2 || !digits(dollars) || !digits(cents) {
        return Err(CliError::Usage(format!(
            "--usd {usd} is not an amount; write US dollars such as 12.50, or `unlimited`"
        )));
    }
    let text = format!("{dollars}{cents:0<2}");
    let text = text.trim_start_matches('0');
    Ok(Some(if text.is_empty() { "0".to_owned() } else { text.to_owned() }))
}

fn usd(cents: Option<&str>) -> String {
    let Some(cents) = cents else { return "unlimited".to_owned() };
    let padded = format!("{cents:0>3}");
    let (dollars, cents) = padded.split_at(padded.len() - 2);
    format!("{dollars}.{cents}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_whole_cents() {
        let check = |usd: &str, expect: Option<&str>| {
            assert_eq!(cents(usd).ok().flatten().as_deref(), expect, "{usd}");
        };
        check("12.50", Some("1250"));
        check("12.5", Some("1250"));
        check("12", Some("1200"));
        check("0.05", Some("5"));
        check("0", Some("0"));
        check("unlimited", None);
        for bad in ["", "1.234", "-1", ".5", "x"] {
            assert!(cents(bad).is_err(), "{bad}");
        }
        assert_eq!(usd(Some("5")), "0.05");
        assert_eq!(usd(Some("50000")), "500.00");
        assert_eq!(usd(None), "unlimited");
    }
}
