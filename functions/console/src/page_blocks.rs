//! The parts that pages are made of. A page is a list of blocks, and `templates/page.html` renders
//! them.

use crate::html_form::HtmlForm;

/// A part of a page.
pub(crate) enum PageBlock {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// A message about something that has just happened. Screen readers announce it.
    Notice(Severity, String),
    /// Important numbers.
    Tiles(Vec<PageTile>),
    /// A table.
    Table(PageTable),
    /// Names and values of one resource.
    Facts(Vec<(String, TableCell)>),
    /// A chart as SVG markup of `chart`, which is inserted without escaping.
    Chart(String),
    /// Text to copy: id, label, text.
    Code(String, String, String),
    /// A secret that is shown only once: id, label, secret.
    Secret(String, String, String),
    /// A form.
    Form(HtmlForm),
    /// Buttons and links in one row.
    Row(Vec<CellPart>),
    /// A collapsed form: id, title, form.
    Fold(String, String, HtmlForm),
    /// A collapsed table with its title.
    FoldedTable(String, PageTable),
    /// A text for an empty list, with a link to the next step.
    Empty(String, Option<PageLink>),
}

/// The meaning of a message or a badge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// No judgment.
    Neutral,
    /// A success.
    Success,
    /// A warning.
    Warning,
    /// A failure.
    Error,
}

impl Severity {
    /// The CSS class.
    pub(crate) fn css_class(self) -> &'static str {
        match self {
            Self::Neutral => "plain",
            Self::Success => "good",
            Self::Warning => "warn",
            Self::Error => "bad",
        }
    }
}

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

/// A number with its value of the day before.
pub(crate) struct PageTile {
    pub(crate) id: &'static str,
    pub(crate) label: &'static str,
    pub(crate) value: String,
    /// The number with all digits.
    pub(crate) exact: String,
    pub(crate) before: String,
}

/// A table.
#[derive(Default)]
pub(crate) struct PageTable {
    pub(crate) id: &'static str,
    pub(crate) caption: String,
    pub(crate) columns: Vec<TableColumn>,
    pub(crate) rows: Vec<Vec<TableCell>>,
    /// The address of the next page.
    pub(crate) next: Option<String>,
    /// The address of the first page, if this is not the first one.
    pub(crate) first: Option<String>,
}

/// A column.
pub(crate) struct TableColumn {
    pub(crate) name: &'static str,
    /// Whether cells are aligned to the right.
    pub(crate) is_number: bool,
}

impl PageTable {
    /// A table with these columns. A name that starts with `#` makes a column of numbers.
    pub(crate) fn new(
        id: &'static str,
        caption: impl Into<String>,
        columns: &[&'static str],
    ) -> Self {
        let column = |name: &&'static str| TableColumn {
            name: name.strip_prefix('#').unwrap_or(name),
            is_number: name.starts_with('#'),
        };
        let columns = columns.iter().map(column).collect();
        Self { id, caption: caption.into(), columns, ..Self::default() }
    }

    /// Whether the column at this index is a column of numbers.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates call it so")]
    pub(crate) fn is_number(&self, index: &usize) -> bool {
        self.columns.get(*index).is_some_and(|column| column.is_number)
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
