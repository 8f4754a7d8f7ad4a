//! The parts that pages are made of. A page is a list of blocks, and `templates/page.html` renders
//! them.

use crate::html_form::HtmlForm;
use crate::severity::Severity;
use crate::table_cells::{CellPart, PageLink, TableCell};

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
