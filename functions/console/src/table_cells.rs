//! The cells of tables, and the parts that they are made of.

use crate::formatting::{abbreviate_number, format_time, group_digits, unpriced_note, usd};
use crate::html_form::HtmlForm;
use crate::severity::Severity;
use baton_api::usage::UsageMeasures;
use baton_domain::money::PicoUsd;
use jiff::Timestamp;

/// A link.
#[derive(Clone)]
pub(crate) struct PageLink {
    pub(crate) href: String,
    pub(crate) text: String,
}

impl PageLink {
    pub(crate) fn new(href: impl Into<String>, text: impl Into<String>) -> Self {
        Self { href: href.into(), text: text.into() }
    }
}

/// The content of a table cell.
pub(crate) type TableCell = Vec<CellPart>;

/// A part of a cell.
pub(crate) enum CellPart {
    Text(String),
    /// Text in a lighter color.
    Muted(String),
    /// An id or a technical name.
    Code(String),
    Link(PageLink),
    /// A link to another site. It opens in a new tab and sends no referrer.
    ExternalLink(PageLink),
    /// A number: the shown text, and all digits.
    Number(String, String),
    /// A time: for machines, and for people.
    Time(String, String),
    Badge(Severity, String),
    /// A percentage with its name.
    Meter(u8, String),
    /// The changes of an audit row: a summary, and each field with the values before and after.
    /// Long lists are collapsed.
    Changes(String, Vec<(String, String, String)>),
    /// A form that is only a button.
    Button(HtmlForm),
}

/// A cell with text.
pub(crate) fn text(text: impl Into<String>) -> TableCell {
    vec![CellPart::Text(text.into())]
}

/// A cell with an id or a technical name.
pub(crate) fn code(text: impl Into<String>) -> TableCell {
    vec![CellPart::Code(text.into())]
}

/// A cell with a link.
pub(crate) fn link(href: impl Into<String>, text: impl Into<String>) -> TableCell {
    vec![CellPart::Link(PageLink::new(href, text))]
}

/// A cell with a number.
pub(crate) fn number(shown: impl Into<String>, exact: impl Into<String>) -> TableCell {
    vec![CellPart::Number(shown.into(), exact.into())]
}

/// A cell with a state.
pub(crate) fn badge(tone: Severity, text: impl Into<String>) -> TableCell {
    vec![CellPart::Badge(tone, text.into())]
}

/// An empty cell.
pub(crate) fn empty_cell() -> TableCell {
    vec![CellPart::Muted("–".to_owned())]
}

/// A cell that is empty if `value` is.
pub(crate) fn optional_text_cell(value: Option<&str>) -> TableCell {
    value.filter(|value| !value.is_empty()).map_or_else(empty_cell, text)
}

/// A cell with a count.
pub(crate) fn count(value: u64) -> TableCell {
    number(group_digits(value), value.to_string())
}

/// A cell with a number of tokens.
pub(crate) fn tokens(value: u64) -> TableCell {
    number(abbreviate_number(value), format!("{} tokens", group_digits(value)))
}

/// A cell with an amount of money.
pub(crate) fn money(amount: PicoUsd) -> TableCell {
    number(usd(amount), format!("{amount} USD"))
}

/// A cell with the cost of a sum, with a mark if a part of it is an estimate.
pub(crate) fn summed_cost(sums: &UsageMeasures) -> TableCell {
    let mut cell = money(sums.cost_usd);
    cell.extend(unpriced_note(sums).map(CellPart::Muted));
    cell
}

/// A cell with a time.
pub(crate) fn time(at: Option<Timestamp>) -> TableCell {
    match at {
        Some(at) => vec![CellPart::Time(at.to_string(), format_time(at))],
        None => empty_cell(),
    }
}

/// A cell that shows whether something is enabled.
pub(crate) fn enabled_cell(is_enabled: bool) -> TableCell {
    if is_enabled {
        badge(Severity::Success, "enabled")
    } else {
        badge(Severity::Warning, "disabled")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cost_with_an_estimate_has_a_mark() {
        let parts = |unpriced: u64| {
            let sums: UsageMeasures = serde_json::from_value(json!({
                "requests": 9, "errors": 0, "tokens": { "input": 1, "output": 1 },
                "web_searches": 0, "cost_usd": "1", "unpriced_requests": unpriced,
                "cache_hit_rate": 0.0, "ttft_ms_avg": 0, "duration_ms_avg": 0,
            }))
            .unwrap();
            summed_cost(&sums).len()
        };
        assert_eq!(parts(0) + 1, parts(1));
    }
}
