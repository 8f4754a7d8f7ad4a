//! The page of alerts: channels, format, thresholds and undelivered alerts.

use crate::ConsoleState;
use crate::api_call::{ConsoleApiError, ConsoleResult};
use crate::formatting::{api_text, truncate_text};
use crate::html_form::{FieldKind, FieldSpec, FormValues, HtmlForm, in_labels};
use crate::page_blocks::{PageBlock, PageTable};
use crate::page_request::{PageRequest, redirect_to};
use crate::resource_pages::{self, RejectedInput};
use crate::severity::Severity;
use crate::table_cells::{CellPart, TableCell, number, optional_text_cell, text};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use baton_api::alerts::{AlertSettingsResource, AlertTest, ChangedAlertSettings, WaitingAlert};
use http::Method;
use serde_json::{Value, json};

const API: &str = "/api/v1/alerts";
const HERE: &str = "/console/alerts";
/// The checkbox that removes the webhook. The API has no field for it.
const NO_WEBHOOK: &str = "no_webhook";
/// The field with the thresholds as text.
const PERCENTS: &str = "percents";
const ADDRESS_AND_REMOVAL: &str =
    "`url`: a new address and “Remove the webhook” exclude each other; use one of them";
const PERCENTS_EXPECTED: &str =
    "expected at most 10 whole numbers from 1 to 100, such as 50, 80, 100";

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route("/alerts", get(show_alerts).post(save_alerts))
        .route("/alerts/test", post(send_test_alert))
}

fn alert_fields() -> Vec<FieldSpec> {
    let forms = [("json", "JSON, signed"), ("slack", "Slack")];
    let forms = forms.map(|(value, name)| (value.to_owned(), name.to_owned())).to_vec();
    vec![
        FieldSpec::new(
            "url",
            "Webhook address",
            "An https address. It is stored encrypted, and only its host is shown. Empty keeps the \
             current address.",
            FieldKind::Secret,
        ),
        FieldSpec::new(
            NO_WEBHOOK,
            "Remove the webhook",
            "Deletes the stored address. Leave “Webhook address” empty.",
            FieldKind::Flag,
        ),
        FieldSpec::new("form", "Message format", "", FieldKind::Choice(forms)),
        FieldSpec::new(
            "signing_secret",
            "Signing secret",
            "Your receiver checks with it that Baton has sent a message. 16 characters or more. Empty \
             keeps the current secret; if there is none, one is created and shown once.",
            FieldKind::Secret,
        ),
        FieldSpec::new(
            PERCENTS,
            "Thresholds",
            "An alert is sent when this percentage of a money limit is spent. Whole numbers from 1 \
             to 100, separated by commas. Empty means no such alerts.",
            FieldKind::Text,
        ),
        FieldSpec::new(
            "sns_topic_arn",
            "SNS topic",
            "ARN of the topic. Empty means none.",
            FieldKind::OptionalText,
        ),
    ]
}

/// Converts a submitted form to JSON for the API.
fn body(values: &FormValues) -> Value {
    let mut body = json!({ "form": values.get("form") });
    let mut say = |name: &str, value: Value| body[name] = value;
    // The field shows the stored topic, so an empty field means that there is none.
    let topic = values.get("sns_topic_arn").trim();
    say("sns_topic_arn", if topic.is_empty() { Value::Null } else { json!(topic) });
    for name in ["url", "signing_secret"] {
        match values.get(name).trim() {
            "" => {}
            text => say(name, json!(text)),
        }
    }
    if values.has(NO_WEBHOOK) {
        say("url", Value::Null);
    }
    let percents = values.get(PERCENTS).split([',', ' ', '\n']).map(str::trim);
    // Text that is not a number is sent as it is, so that the API reports it.
    let percent = |text: &str| text.parse::<u32>().map_or_else(|_| json!(text), |n| json!(n));
    say("thresholds", percents.filter(|text| !text.is_empty()).map(percent).collect());
    body
}

async fn alerts_page(
    page_request: &PageRequest,
    rejected: Option<&RejectedInput>,
) -> ConsoleResult<Vec<PageBlock>> {
    let alerts: AlertSettingsResource = page_request.get(API).await?;
    let settings = &alerts.shown;
    let percents = settings.thresholds.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let mut view = json!(alerts);
    view[PERCENTS] = json!(percents);
    let mut blocks: Vec<PageBlock> = resource_pages::done(page_request).into_iter().collect();
    blocks.push(PageBlock::Facts(vec![
        ("Webhook host".into(), optional_text_cell(settings.url_host.as_deref())),
        ("SNS topic".into(), optional_text_cell(settings.sns_topic_arn.as_deref())),
    ]));
    let send = HtmlForm::post("test", format!("{HERE}/test"), "Send a test").inline();
    blocks.push(PageBlock::Row(vec![CellPart::Button(send)]));
    blocks.push(PageBlock::Form(resource_pages::edit_form(HERE, &view, &alert_fields(), rejected)));
    blocks.push(PageBlock::Heading("Undelivered alerts".into()));
    blocks.push(deliveries_block(&alerts.waiting));
    Ok(blocks)
}

fn deliveries_block(waiting: &[WaitingAlert]) -> PageBlock {
    let rows: Vec<_> = waiting.iter().map(delivery_row).collect();
    if rows.is_empty() {
        return PageBlock::Text("No alert is waiting to be delivered.".into());
    }
    let columns = ["Alert", "Channel", "#Attempts", "Last error"];
    PageBlock::Table(PageTable {
        rows,
        ..PageTable::new("waiting", "Undelivered alerts, oldest first", &columns)
    })
}

fn delivery_row(alert: &WaitingAlert) -> Vec<TableCell> {
    let tries = alert.tries.to_string();
    vec![
        text(truncate_text(&alert.text, 200)),
        text(api_text(&alert.channel)),
        number(tries.clone(), tries),
        optional_text_cell(
            alert.last_error.as_deref().map(|error| truncate_text(error, 200)).as_deref(),
        ),
    ]
}

async fn show_alerts(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let blocks = alerts_page(&page_request, None).await?;
    Ok(page_request.render_page("Alerts", blocks))
}

async fn save_alerts(page_request: PageRequest, bytes: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&bytes);
    let saved: ConsoleResult<ChangedAlertSettings> = async {
        if values.has(NO_WEBHOOK) && !values.get("url").trim().is_empty() {
            return Err(ConsoleApiError::invalid_input(ADDRESS_AND_REMOVAL.to_owned()));
        }
        let api_call = page_request.call(Method::PUT, API).body(body(&values));
        api_call.version(values.get("version")).send().await
    }
    .await;
    match saved {
        Ok(ChangedAlertSettings { signing_secret: Some(secret), .. }) => {
            let label = "Signing secret of alerts.".to_owned();
            let shown = PageBlock::Secret("secret".into(), label, secret.expose().to_owned());
            let back = crate::table_cells::PageLink::new(HERE, "Go to the alerts");
            Ok(page_request.render_page(
                "Alerts saved",
                vec![shown, PageBlock::Row(vec![CellPart::Link(back)])],
            ))
        }
        Ok(_) => redirect_to(&format!("{HERE}?done=saved")),
        Err(error) if error.is_form_error() => {
            // The API names the place of the wrong number, which the text of the form does not
            // have.
            let message = if error.message.starts_with("`thresholds") {
                format!("`{PERCENTS}`: {PERCENTS_EXPECTED}")
            } else {
                error.message
            };
            let rejected = RejectedInput { values, error: ConsoleApiError { message, ..error } };
            let blocks = alerts_page(&page_request, Some(&rejected)).await?;
            Ok(page_request.render_rejected_page("Alerts", blocks, &rejected.error))
        }
        Err(error) => Err(error),
    }
}

async fn send_test_alert(page_request: PageRequest) -> ConsoleResult {
    let notice = match page_request.call(Method::POST, format!("{API}/test")).send().await {
        Ok(AlertTest { message, .. }) => PageBlock::Notice(Severity::Success, message),
        Err(ConsoleApiError { message, .. }) => {
            PageBlock::Notice(Severity::Error, in_labels(&message, &alert_fields()))
        }
    };
    let mut blocks = vec![notice];
    blocks.extend(alerts_page(&page_request, None).await?);
    Ok(page_request.render_page("Alerts", blocks))
}
