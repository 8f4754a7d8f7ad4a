//! What pages are made of. A page is a list of blocks; how each looks is `templates/page.html`'s
//! business, what is in it the page's.

use super::form::Form;

/// One part of a page, from top to bottom.
pub(super) enum Block {
    /// A heading over what follows.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Something that has happened, told where a screen reader hears it.
    Notice(Tone, String),
    /// Numbers to see first.
    Tiles(Vec<Tile>),
    /// Rows and columns.
    Table(Table),
    /// Names and values of one thing.
    Facts(Vec<(String, Cell)>),
    /// A drawing made here (`chart`): its markup, safe as it is.
    Chart(String),
    /// Text to be copied: its id, what it is, the text.
    Code(String, String, String),
    /// A secret that is shown this once: its id, what it is, the secret.
    Secret(String, String, String),
    /// Fields to fill in.
    Form(Form),
    /// Small forms and links beside each other.
    Row(Vec<Piece>),
    /// What is folded away until it is asked for: its id, its title, a form in it.
    Fold(String, String, Form),
    /// A table that is folded away.
    FoldedTable(String, Table),
    /// Nothing is there yet: what that means, and the next step.
    Empty(String, Option<Link>),
}

/// How something is to be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    Plain,
    /// All is well.
    Good,
    /// Look at it.
    Warn,
    /// Something has failed.
    Bad,
}

impl Tone {
    /// Its class.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// Where to go.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) href: String,
    pub(super) text: String,
}

impl Link {
    pub(super) fn new(href: impl Into<String>, text: impl Into<String>) -> Self {
        Self { href: href.into(), text: text.into() }
    }
}

/// One number to see first, and what it was before.
pub(super) struct Tile {
    pub(super) id: &'static str,
    pub(super) label: &'static str,
    pub(super) value: String,
    /// All of its digits.
    pub(super) exact: String,
    pub(super) before: String,
}

/// Rows and columns.
#[derive(Default)]
pub(super) struct Table {
    pub(super) id: &'static str,
    pub(super) caption: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// Where the next page is.
    pub(super) next: Option<String>,
    /// Whether this is not the first page.
    pub(super) first: Option<String>,
}

/// The head of a column.
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Numbers stand on the right.
    pub(super) is_number: bool,
}

impl Table {
    /// A table with these columns; a name that begins with `#` is of numbers.
    pub(super) fn new(
        id: &'static str,
        caption: impl Into<String>,
        columns: &[&'static str],
    ) -> Self {
        let column = |name: &&'static str| Column {
            name: name.strip_prefix('#').unwrap_or(name),
            is_number: name.starts_with('#'),
        };
        let columns = columns.iter().map(column).collect();
        Self { id, caption: caption.into(), columns, ..Self::default() }
    }

    /// Whether the column at this place is of numbers.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates call it so")]
    pub(super) fn is_number(&self, place: &usize) -> bool {
        self.columns.get(*place).is_some_and(|column| column.is_number)
    }
}

/// What stands in one field of a table.
pub(super) type Cell = Vec<Piece>;

/// A part of a field.
pub(super) enum Piece {
    Text(String),
    /// Text of less weight.
    Faint(String),
    /// An id or a name that programs use.
    Code(String),
    Link(Link),
    /// A link to another site, which opens beside this page and is not told where from.
    Away(Link),
    /// What is shown, and all of its digits.
    Number(String, String),
    /// A time: as machines read it, and as people do.
    Time(String, String),
    Badge(Tone, String),
    /// So many percent of something, which is named.
    Meter(u8, String),
    /// What was changed, folded where it is much: in short; each name, before, after.
    Changes(String, Vec<(String, String, String)>),
    /// A small form of one button.
    Button(Form),
}

/// A field with one part.
pub(super) fn text(text: impl Into<String>) -> Cell {
    vec![Piece::Text(text.into())]
}

/// A field with an id or a name that programs use.
pub(super) fn code(text: impl Into<String>) -> Cell {
    vec![Piece::Code(text.into())]
}

/// A field that leads somewhere.
pub(super) fn link(href: impl Into<String>, text: impl Into<String>) -> Cell {
    vec![Piece::Link(Link::new(href, text))]
}

/// A field with a number.
pub(super) fn number(shown: impl Into<String>, exact: impl Into<String>) -> Cell {
    vec![Piece::Number(shown.into(), exact.into())]
}

/// A field with a state.
pub(super) fn badge(tone: Tone, text: impl Into<String>) -> Cell {
    vec![Piece::Badge(tone, text.into())]
}

/// A field with nothing in it.
pub(super) fn none() -> Cell {
    vec![Piece::Faint("–".to_owned())]
}

/// A field that may have nothing in it.
pub(super) fn maybe(value: Option<&str>) -> Cell {
    value.filter(|value| !value.is_empty()).map_or_else(none, text)
}
