//! Pages of prices, built-in and own.

use crate::ConsoleState;
use crate::api_call::{ConsoleApiError, ConsoleResult};
use crate::formatting::{api_text, format_exact_usd, group_digits, truncate_text};
use crate::html_form::{FieldKind, FieldSpec, FormValues, HtmlForm, collect_new_values};
use crate::list_filter::ListFilter;
use crate::page_blocks::{PageBlock, PageTable};
use crate::page_request::{PageRequest, redirect_to};
use crate::resource_pages::{self, RejectedInput};
use crate::severity::Severity;
use crate::table_cells::{CellPart, PageLink, TableCell, badge, link, number};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use baton_api::list::ResourceList;
use baton_api::prices::{PriceResource, PriceSource, UsdPerMillion, UsdRates};
use baton_domain::own_price::split_account_price;
use http::Method;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

const API: &str = "/api/v1/prices";
const HERE: &str = "/console/prices";

pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new()
        .route("/prices", get(list_prices).post(create_price))
        .route("/models", get(list_models))
        .route("/prices/new", get(show_new_price))
        .route("/prices/delete", post(delete_price))
}

/// What the price is for.
fn subject_fields() -> Vec<FieldSpec> {
    vec![
        FieldSpec::new(
            "model",
            "Model",
            "Model id, as clients send it. With a multiplier, `all` means every model.",
            FieldKind::Text,
        ),
        FieldSpec::new(
            "account_id",
            "Account",
            "Id of the account that pays this price; empty means every account.",
            FieldKind::OptionalText,
        ),
        FieldSpec::new(
            "multiplier",
            "Multiplier",
            "What the account pays of the list price, such as 0.85, instead of rates.",
            FieldKind::Usd,
        ),
        FieldSpec::new("effective_from", "From (UTC)", "Empty means now.", FieldKind::DateTime),
    ]
}

fn rate_fields() -> Vec<FieldSpec> {
    vec![
        FieldSpec::new("standard.input", "Input", "US dollars per million tokens.", FieldKind::Usd),
        FieldSpec::new("standard.output", "Output", "", FieldKind::Usd),
        FieldSpec::new(
            "standard.cache_read",
            "Cache read",
            "Empty means as much as other input.",
            FieldKind::Usd,
        ),
        FieldSpec::new("standard.cache_write_5m", "Cache write, 5 minutes", "", FieldKind::Usd),
        FieldSpec::new("standard.cache_write_1h", "Cache write, 1 hour", "", FieldKind::Usd),
        FieldSpec::new(
            "us_geo",
            "Surcharge for US-only inference",
            "Multiplies prices by the factor of the price list.",
            FieldKind::Flag,
        ),
        FieldSpec::new(
            "fast.input",
            "Fast mode: input",
            "Fill in at least input and output, or none.",
            FieldKind::Usd,
        ),
        FieldSpec::new("fast.output", "Fast mode: output", "", FieldKind::Usd),
        FieldSpec::new("fast.cache_read", "Fast mode: cache read", "", FieldKind::Usd),
        FieldSpec::new(
            "fast.cache_write_5m",
            "Fast mode: cache write, 5 minutes",
            "",
            FieldKind::Usd,
        ),
        FieldSpec::new("fast.cache_write_1h", "Fast mode: cache write, 1 hour", "", FieldKind::Usd),
        FieldSpec::new(
            "above.prompt_tokens",
            "Long prompts: longer than (tokens)",
            "Fill in this and at least input and output below, or none.",
            FieldKind::Count,
        ),
        FieldSpec::new("above.rates.input", "Long prompts: input", "", FieldKind::Usd),
        FieldSpec::new("above.rates.output", "Long prompts: output", "", FieldKind::Usd),
        FieldSpec::new("above.rates.cache_read", "Long prompts: cache read", "", FieldKind::Usd),
        FieldSpec::new(
            "above.rates.cache_write_5m",
            "Long prompts: cache write, 5 minutes",
            "",
            FieldKind::Usd,
        ),
        FieldSpec::new(
            "above.rates.cache_write_1h",
            "Long prompts: cache write, 1 hour",
            "",
            FieldKind::Usd,
        ),
    ]
}

/// The fields of a price, and of what is known about its model.
fn price_fields() -> Vec<FieldSpec> {
    let others = [
        FieldSpec::new("web_search", "Thousand web searches", "US dollars.", FieldKind::Usd),
        FieldSpec::new("per_request", "Thousand requests", "US dollars.", FieldKind::Usd),
        FieldSpec::new("context_tokens", "Context window", "Tokens.", FieldKind::Count),
        FieldSpec::new("output_tokens", "Longest answer", "Tokens.", FieldKind::Count),
    ];
    let statements =
        STATEMENTS.map(|(path, label)| FieldSpec::new(path, label, "", FieldKind::YesOrNo));
    let efforts = FieldSpec::new(
        "capabilities.efforts",
        "Levels of effort",
        "One per line, such as low.",
        FieldKind::Lines,
    );
    let rates = subject_fields().into_iter().chain(rate_fields());
    rates.chain(others).chain(statements).chain([efforts]).collect()
}

/// The fields of what is stated about a model.
const STATEMENTS: [(&str, &str); 21] = [
    ("capabilities.images", "Images in prompts"),
    ("capabilities.pdf", "PDF documents in prompts"),
    ("capabilities.audio", "Audio in prompts"),
    ("capabilities.video", "Videos in prompts"),
    ("capabilities.audio_output", "Audio in answers"),
    ("capabilities.reasoning", "Reasoning"),
    ("capabilities.adaptive_thinking", "Adaptive thinking"),
    ("capabilities.sampling", "Temperature and top_p"),
    ("capabilities.tools", "Tools"),
    ("capabilities.tool_choice", "Tool choice"),
    ("capabilities.forced_tools", "Forced tools"),
    ("capabilities.parallel_calls", "Parallel tool calls"),
    ("capabilities.structured_outputs", "Structured outputs"),
    ("capabilities.prefill", "Prefill of answers"),
    ("capabilities.system_messages", "System messages"),
    ("capabilities.later_system_messages", "Later system messages"),
    ("capabilities.prompt_caching", "Prompt caching"),
    ("capabilities.chat_completions", "Chat Completions"),
    ("capabilities.web_search", "Web search"),
    ("capabilities.computer_use", "Computer use"),
    ("capabilities.stream_options", "Stream options"),
];

/// What is stated about a model: what it accepts, and what not.
fn capabilities_cell(price: &PriceResource) -> TableCell {
    let view = json!(price.capabilities);
    let labels = |answer: bool| -> Vec<String> {
        let is_answer = |path: &str| {
            let name = path.rsplit('.').next().unwrap_or_default();
            view[name].as_bool() == Some(answer)
        };
        let stated = STATEMENTS.iter().filter(|(path, _)| is_answer(path));
        stated.map(|(_, label)| (*label).to_owned()).collect()
    };
    let mut yes = labels(true);
    let levels = view["efforts"].as_array().into_iter().flatten();
    let levels: Vec<&str> = levels.filter_map(Value::as_str).collect();
    if !levels.is_empty() {
        yes.push(format!("effort {}", levels.join(", ")));
    }
    let no = labels(false);
    let mut cell = Vec::new();
    if !yes.is_empty() {
        cell.push(CellPart::Text(yes.join(", ")));
    }
    if !no.is_empty() {
        cell.push(CellPart::Muted(format!("not: {}", no.join(", "))));
    }
    cell
}

async fn list_prices(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let query = page_request.query.query(&["q", "cursor"]);
    let list: ResourceList<PriceResource> = page_request.get(format!("{API}?{query}")).await?;
    let mut blocks: Vec<PageBlock> = resource_pages::done(&page_request).into_iter().collect();
    blocks.push(PageBlock::Row(vec![CellPart::Link(PageLink::new(
        format!("{HERE}/new"),
        "New price",
    ))]));
    let specs = vec![FieldSpec::new("q", "Model contains", "", FieldKind::Text)];
    blocks.push(ListFilter { action: HERE.to_owned(), specs }.form(&page_request));
    blocks.push(PageBlock::Text(
        "US dollars per million tokens. A model without a price is charged at the highest known price of its family.".into(),
    ));
    if list.data.is_empty() {
        blocks.push(PageBlock::Empty(
            "No prices found.".into(),
            Some(PageLink::new(format!("{HERE}/new"), "Set a price")),
        ));
        return Ok(page_request.render_page("Prices", blocks));
    }
    let columns = [
        "Model",
        "From",
        "Source",
        "#Input",
        "#Output",
        "#Cache read",
        "#Cache 5 min",
        "#Cache 1 h",
        "Delete",
    ];
    let mut table = PageTable::new("prices", "Prices by model and date", &columns);
    table.rows = list.data.iter().map(price_row).collect();
    resource_pages::add_page_links(&mut table, &page_request, list.next_cursor.as_deref());
    blocks.push(PageBlock::Table(table));
    Ok(page_request.render_page("Prices", blocks))
}

/// The catalog: each vendor's list prices, from which a new price can start.
async fn list_models(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let query = page_request.query.query(&["q", "cursor"]);
    let list: ResourceList<PriceResource> =
        page_request.get(format!("/api/v1/models?{query}")).await?;
    let specs = vec![FieldSpec::new("q", "Vendor or model contains", "", FieldKind::Text)];
    let filter = ListFilter { action: "/console/models".to_owned(), specs };
    let mut blocks = vec![
        filter.form(&page_request),
        PageBlock::Text(
            "List prices in US dollars per million tokens. Prices and capabilities that you set or import stand in place of those of the list.".into(),
        ),
    ];
    if list.data.is_empty() {
        blocks.push(PageBlock::Empty("No models found.".into(), None));
        return Ok(page_request.render_page("Models", blocks));
    }
    let columns = [
        "Model",
        "Source",
        "#Input",
        "#Output",
        "#Cache read",
        "#Context",
        "#Longest answer",
        "Tiers",
        "Accepts",
    ];
    let mut table = PageTable::new("models", "List prices by vendor and model", &columns);
    table.rows = list.data.iter().map(model_row).collect();
    resource_pages::add_page_links(&mut table, &page_request, list.next_cursor.as_deref());
    blocks.push(PageBlock::Table(table));
    Ok(page_request.render_page("Models", blocks))
}

fn model_row(price: &PriceResource) -> Vec<TableCell> {
    let rate = |rate: UsdPerMillion| {
        let exact = api_text(&rate);
        number(format_exact_usd(&exact), exact)
    };
    let count = |count: Option<u64>| {
        count.map(|count| number(group_digits(count), count.to_string())).unwrap_or_default()
    };
    let tiers: Vec<String> = price.tiers.iter().map(|tier| api_text(&tier.tier)).collect();
    vec![
        vec![CellPart::Muted(truncate_text(&price.model, 80))],
        source_badge(price.source),
        rate(price.standard.input),
        rate(price.standard.output),
        rate(price.standard.cache_read),
        count(price.context_tokens),
        count(price.output_tokens),
        vec![CellPart::Muted(tiers.join(", "))],
        capabilities_cell(price),
    ]
}

fn source_badge(source: PriceSource) -> TableCell {
    match source {
        PriceSource::Own => badge(Severity::Success, "own"),
        PriceSource::Builtin | PriceSource::Catalog => badge(Severity::Neutral, "built in"),
    }
}

fn price_row(price: &PriceResource) -> Vec<TableCell> {
    let rate = |of: fn(&UsdRates) -> UsdPerMillion| {
        let exact = api_text(&of(&price.standard));
        let mut cell = number(format_exact_usd(&exact), exact);
        let long = price.above.as_ref().map(|above| &above.rates);
        let others = [("fast", price.fast.as_ref()), ("long", long)];
        let others = others.into_iter().filter_map(|(mode, rates)| Some((mode, of(rates?))));
        cell.extend(others.map(|(mode, rate)| {
            CellPart::Muted(format!("{mode} {}", format_exact_usd(&api_text(&rate))))
        }));
        cell
    };
    let (model, from) = (price.model.clone(), price.effective_from.to_string());
    let is_own = price.source == PriceSource::Own;
    let source = source_badge(price.source);
    let remove = || {
        HtmlForm::post(format!("delete-{model}-{from}"), format!("{HERE}/delete"), "Delete")
            .hidden("model", model.clone())
            .hidden("effective_from", from.clone())
            .with_confirmation(format!("Delete this price of {}?", truncate_text(&model, 80)))
    };
    let button = if is_own { vec![CellPart::Button(remove())] } else { Vec::new() };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("model", &model).append_pair("from", &from);
    let mut name = link(format!("{HERE}/new?{}", query.finish()), truncate_text(&model, 80));
    let long = price.above.as_ref().map(|above| above.prompt_tokens);
    name.extend(
        long.map(|max| CellPart::Muted(format!("long above {} tokens", group_digits(max)))),
    );
    name.extend(price.multiplier.map(|factor| {
        CellPart::Muted(format!("{} of the list price", format_exact_usd(&api_text(&factor))))
    }));
    vec![
        name,
        vec![CellPart::Time(from.clone(), from.get(..10).unwrap_or(&from).to_owned())],
        source,
        rate(|rates| rates.input),
        rate(|rates| rates.output),
        rate(|rates| rates.cache_read),
        rate(|rates| rates.cache_write_5m),
        rate(|rates| rates.cache_write_1h),
        button,
    ]
}

async fn show_new_price(page_request: PageRequest) -> ConsoleResult {
    page_request.require_admin()?;
    let start = load_template_price(&page_request).await?;
    Ok(page_request.render_page("New price", new_blocks(&page_request, &start, None)))
}

/// The price that the query names, without its date, as the start of a new one; empty if it names
/// none.
async fn load_template_price(page_request: &PageRequest) -> ConsoleResult<Value> {
    let (model, from) = (page_request.query.get("model"), page_request.query.get("from"));
    if model.is_empty() {
        return Ok(json!({}));
    }
    let prices: Vec<PriceResource> =
        page_request.get_list(format!("{API}/{}", escape_model(model))).await?;
    let is_named = |price: &PriceResource| price.effective_from.to_string() == from;
    let found = prices.into_iter().rfind(|price| from.is_empty() || is_named(price));
    let mut start = json!(found.ok_or_else(ConsoleApiError::page_not_found)?);
    start["effective_from"] = Value::Null;
    if let Some((account, model)) = split_account_price(model) {
        (start["account_id"], start["model"]) = (json!(account), json!(model));
    }
    if !start["multiplier"].is_null() {
        start["standard"] = Value::Null;
    }
    Ok(start)
}

fn new_blocks(
    page_request: &PageRequest,
    start: &Value,
    rejected: Option<&RejectedInput>,
) -> Vec<PageBlock> {
    let form = resource_pages::new_form(page_request, HERE, "Set price")
        .fields(resource_pages::fields(&price_fields(), start, rejected))
        .fold_from(STATEMENTS[0].0, "What the model accepts, if its name does not say it")
        .error(resource_pages::rejection_text(&price_fields(), rejected));
    vec![
        PageBlock::Form(form),
        PageBlock::Text("The price applies to requests from that time on; recorded costs do not change. Fast mode and long prompts without separate prices cost the same as other requests.".into()),
    ]
}

/// A model id for a path, where `+` must stay a plus.
fn escape_model(model: &str) -> String {
    let text: String = form_urlencoded::byte_serialize(model.as_bytes()).collect();
    text.replace('+', "%20")
}

async fn create_price(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let body = collect_new_values(&price_fields(), &values);
    let call = page_request.call(Method::POST, API).body(body);
    match call.with_idempotency_key(values.get("once")).send::<IgnoredAny>().await {
        Ok(_) => redirect_to(&format!("{HERE}?done=saved")),
        Err(error) if error.is_form_error() => {
            let rejected = RejectedInput { values, error };
            let blocks = new_blocks(&page_request, &json!({}), Some(&rejected));
            Ok(page_request.render_rejected_page("New price", blocks, &rejected.error))
        }
        Err(error) => Err(error),
    }
}

async fn delete_price(page_request: PageRequest, body: Bytes) -> ConsoleResult {
    let values = FormValues::parse(&body);
    let model = escape_model(values.get("model"));
    let path = format!("{API}/{model}?{}", values.query(&["effective_from"]));
    page_request.call(Method::DELETE, path).send::<IgnoredAny>().await?;
    redirect_to(&format!("{HERE}?done=deleted"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::model_capabilities::StatedCapabilities;

    #[test]
    fn every_statement_has_a_field() {
        // The message of serde lists all fields.
        let unknown = serde_json::from_value::<StatedCapabilities>(json!({ "?": true }));
        let message = unknown.unwrap_err().to_string();
        let names: Vec<_> = message.split('`').skip(3).step_by(2).collect();
        let fields = STATEMENTS.iter().map(|(path, _)| *path).chain(["capabilities.efforts"]);
        let mut fields: Vec<_> = fields.filter_map(|path| path.rsplit('.').next()).collect();
        let mut expected = names.clone();
        fields.sort_unstable();
        expected.sort_unstable();
        assert_eq!(fields, expected, "{message}");
    }

    #[test]
    fn form_keeps_what_is_stated() {
        let view = json!({ "capabilities": { "images": false, "pdf": true, "efforts": ["low"] } });
        let shown = price_fields().iter().map(|spec| spec.field(&view)).fold(
            FormValues::default(),
            |mut values, field| {
                values.0.push((field.name.to_owned(), field.value));
                values
            },
        );
        let body = collect_new_values(&price_fields(), &shown);
        assert_eq!(body["capabilities"], view["capabilities"], "{body}");
    }
}
