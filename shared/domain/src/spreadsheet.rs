//! Text for files that are opened in spreadsheets, where a cell that begins like a formula would be
//! run as one.

use crate::printable::is_plain;
use std::borrow::Cow;

/// Characters that make a spreadsheet treat a cell as a formula if they come first (OWASP, "CSV
/// Injection"; ASVS 5.0, 1.2.10; both 2026-11).
///
/// The full-width forms are included, because East Asian spreadsheets treat them as the plain ones.
const FORMULA: [char; 12] =
    ['=', '+', '-', '@', '\t', '\r', '\n', '\0', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
/// The prefix that makes a spreadsheet treat the rest as text.
const GUARD: char = '\'';

/// The cell for this text. Do not use it for numbers, which can begin with a minus. A text that
/// looks like a formula gets an apostrophe in front, and so does a text that begins with one. A
/// reader of the file therefore gets the original text back by removing one apostrophe from the
/// front.
pub fn cell(text: &str) -> Cow<'_, str> {
    if is_formula(text) || text.starts_with(GUARD) {
        Cow::Owned(format!("{GUARD}{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether a spreadsheet could treat the text as a formula. Invisible characters at the start (a
/// byte order mark, a space without width, a control character) can be dropped when a file is read,
/// so the first character after them counts.
fn is_formula(text: &str) -> bool {
    let shown = text.trim_start_matches(|it: char| it == '\'' || it == ' ' || !is_plain(it));
    text.starts_with(FORMULA) || shown.starts_with(FORMULA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formula_like_cells_are_escaped() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\0=1", "'=1"] {
            assert_eq!(cell(text), format!("'{text}"));
        }
        for text in [
            "\u{ff1d}1+1",
            "\u{ff0b}1",
            "\u{ff0d}1",
            "\u{ff20}SUM(A1)",
            "\u{feff}=1",
            "\u{200b}=1",
            "\u{200b}\u{feff}\u{ff1d}1",
            "\u{2060}@A1",
            " =1",
            "\u{a0}=1",
            "\u{3000}+1",
            "\u{ad}-1",
            "\u{1}=1",
            "\u{85}=1",
            "\u{2028}=1",
            "\u{202e}=1",
            "\u{e0001}=1",
        ] {
            assert_eq!(cell(text), format!("'{text}"), "{text:?}");
        }
        for text in ["", "ci", "a=b", " 1", "claude-opus-5-5", "1", "ä", "\u{feff}a=b"] {
            assert!(matches!(cell(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn removing_the_apostrophe_restores_the_text(text in "['=+@\\-\\t\\ra]{0,4}.{0,8}") {
            let written = cell(&text);
            prop_assert!(!written.starts_with(FORMULA));
            prop_assert_eq!(written.strip_prefix(GUARD).unwrap_or(&written), &*text);
        }
    }
}
