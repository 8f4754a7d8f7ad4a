//! The log: lines for people or JSON for machines, on stderr. Each names the request that it is about,
//! by a field or by its span.
//!
//! What clients and upstreams send gets into lines, so nothing in a line may look like more than
//! text: no new line, no command to a terminal, no change of direction. Relay keys are masked.

use crate::settings::LogFormat;
use baton_domain::printable::{escaped, is_plain};
use baton_domain::relay_key::masked;
use std::borrow::Cow;
use std::fmt::{Debug, Write as _};
use std::io::{self, IsTerminal as _, Write};
use tracing::{Level, Metadata};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{FilterFn, LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The longest field of a line in text, in characters. A usage record that goes nowhere else is
/// shorter.
const FIELD_CHARACTERS_MAX: usize = 8192;
/// The longest line in JSON.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Of a longer one so much is kept.
const BEGINNING_CHARACTERS: usize = 2048;

/// Installs the log. `filter` is in the usual form (`info`, `baton_relay=debug`). A second call
/// changes nothing.
///
/// A panic is told there, too: where it was, and (by the span around it) in which request, but not
/// its message, which may quote what the program was working on.
pub fn init(format: LogFormat, filter: &str) {
    let filter = filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let log = tracing_subscriber::registry().with(filter).with(FilterFn::new(is_harmless));
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let _already_set = match format {
        LogFormat::Json => {
            let lines = lines.with_writer(|| JsonLines(io::stderr())).with_ansi(false);
            log.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
        }
        LogFormat::Text => {
            let fields = debug_fn(|out: &mut Writer<'_>, field, value: &dyn Debug| {
                write_field(out, field.name(), value)
            });
            let lines = lines.with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
            log.with(lines.fmt_fields(fields.delimited(" "))).try_init()
        }
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
}

/// Whether a line may be written, however much the operator wants to see. Libraries write whole
/// requests and answers at their lower levels: prompts, credentials, and the data key in KMS's
/// answer.
fn is_harmless(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || line.target().starts_with("baton")
}

/// Writes a field of a line in text.
fn write_field(out: &mut impl std::fmt::Write, name: &str, value: &dyn Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    let value = escaped(&value, FIELD_CHARACTERS_MAX);
    match name {
        "message" => out.write_str(&value),
        name => write!(out, "{name}={value}"),
    }
}

/// Where lines in JSON go.
struct JsonLines<W>(W);

impl<W: Write> Write for JsonLines<W> {
    /// Takes a whole line: that is how they are written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(safe_json(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The line with everything that is not plain as an escape of JSON. Control characters are escaped
/// already.
fn safe_json(line: &str) -> Cow<'_, str> {
    let line = masked(line, "bt_***");
    if line.len() > LINE_BYTES_MAX {
        let beginning = escaped(&line, BEGINNING_CHARACTERS);
        let message = format!("a line of {} bytes was cut off", line.len());
        let cut = serde_json::json!({ "level": "WARN", "message": message, "line": beginning });
        return Cow::Owned(format!("{cut}\n"));
    }
    if line.chars().all(|character| is_plain(character) || character == '\n') {
        return line;
    }
    let mut safe = String::with_capacity(line.len());
    for character in line.chars() {
        if is_plain(character) || character == '\n' {
            safe.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _infallible = write!(safe, "\\u{unit:04x}");
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_in_text_stays_in_its_line() {
        let field = |name: &str, value: &dyn Debug| {
            let mut out = String::new();
            write_field(&mut out, name, value).unwrap();
            out
        };
        let forged = format_args!("no model `a\n2026-11-28T12:00:00Z  INFO all is well\u{1b}[2K`");
        assert_eq!(
            field("message", &forged),
            "no model `a\\n2026-11-28T12:00:00Z  INFO all is well\\u{1b}[2K`"
        );
        assert_eq!(
            field("model", &format_args!("a\u{2028}b\u{202e}c")),
            "model=a\\u{2028}b\\u{202e}c"
        );
        let long = field("model", &format_args!("{}", "a".repeat(3_000_000)));
        assert!(long.chars().count() < FIELD_CHARACTERS_MAX + 10);
    }

    #[test]
    fn a_line_in_json_is_one_line_of_plain_characters() {
        for text in ["a\u{85}b\u{2028}c\u{202e}d", "\u{e0041}", "ok ä 日本", "\u{feff}\u{7f}"] {
            let line = format!("{}\n", serde_json::json!({ "model": text }));
            let safe = safe_json(&line);
            assert!(safe.chars().all(|it| is_plain(it) || it == '\n'), "{safe:?}");
            assert_eq!(safe.lines().count(), 1);
            let read: serde_json::Value = serde_json::from_str(&safe).unwrap();
            assert_eq!(read["model"], text);
        }
        let line = format!("{}\n", serde_json::json!({ "model": "\u{2028}".repeat(100_000) }));
        let safe = safe_json(&line);
        assert!(safe.len() < LINE_BYTES_MAX);
        assert!(serde_json::from_str::<serde_json::Value>(&safe).is_ok());
    }
}
