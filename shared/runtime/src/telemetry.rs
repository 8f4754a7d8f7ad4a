//! The log: text lines for people or JSON for machines, on stderr. Each line names the request that
//! it is about, by a field or by its span.
//!
//! Lines contain text from clients and upstreams. It must not look like anything but text: it
//! cannot contain a new line, a command to a terminal or a change of writing direction. In text
//! format, a value that could look like another field is a quoted string. Relay keys are masked.

use crate::settings::LogFormat;
use crate::signed_record;
use baton_domain::printable::{escape_text, is_plain};
use baton_domain::relay_key::mask_keys;
use std::borrow::Cow;
use std::fmt::{Debug, Write as _};
use std::io::{self, IsTerminal as _, Write};
use tracing::{Level, Metadata};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{FilterFn, LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The longest field of a text line, in characters. A complete usage record is never cut.
const FIELD_CHARACTERS_MAX: usize = 8192;
/// The longest JSON line without a complete usage record, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The start of a complete usage record in a JSON line. Other text cannot look like it, because
/// quotes in it are escaped.
const RECORD_IN_JSON: &str = "\"usage_record\":\"ur1.";
/// How many characters of a longer line are kept.
const BEGINNING_CHARACTERS: usize = 2048;

/// Installs the log. `filter` has the usual form (`info`, `baton_relay=debug`). A second call has
/// no effect.
///
/// A panic is logged too: its location and, by the span around it, its request. The message of the
/// panic is not logged, because it can quote the data that the program worked on.
pub fn init(format: LogFormat, filter: &str) {
    let filter = filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let log = tracing_subscriber::registry().with(filter).with(FilterFn::new(is_allowed_line));
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
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panicked");
    }));
}

/// Whether a line can be written, regardless of the configured filter. Libraries log whole requests
/// and answers at their lower levels: prompts, credentials, and the data key in KMS's answer.
///
/// OpenTelemetry's libraries log at `info` at each start that they were set up, also if nothing is
/// exported. Their warnings and errors are written.
fn is_allowed_line(line: &Metadata<'_>) -> bool {
    let is_opentelemetry = line.target().starts_with("opentelemetry");
    let most_verbose = if is_opentelemetry { Level::WARN } else { Level::INFO };
    *line.level() <= most_verbose || line.target().starts_with("baton")
}

/// Writes a field of a text line. Outside of quotes, only the fields of a line contain `=`.
fn write_field(out: &mut impl std::fmt::Write, name: &str, value: &dyn Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    if name == signed_record::FIELD && is_word(&value) && value.len() <= signed_record::BYTES_MAX {
        return write!(out, "{name}={value}");
    }
    if name == "message" {
        return if value.contains(['=', '"']) {
            write!(out, "\"{}\"", quoted(&value))
        } else {
            out.write_str(&escape_text(&value, FIELD_CHARACTERS_MAX))
        };
    }
    let is_short = value.len() <= FIELD_CHARACTERS_MAX;
    if is_short && (is_word(&value) || is_quoted(&value)) {
        write!(out, "{name}={}", escape_text(&value, FIELD_CHARACTERS_MAX))
    } else {
        write!(out, "{name}=\"{}\"", quoted(&value))
    }
}

/// Whether nothing in the value can look like its end or like another field.
fn is_word(value: &str) -> bool {
    let is_plain_word =
        |character| is_plain(character) && !matches!(character, ' ' | '=' | '"' | '\\');
    !value.is_empty() && value.chars().all(is_plain_word)
}

/// Whether the value is one quoted string, as `Debug` writes text.
fn is_quoted(value: &str) -> bool {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let Some(inner) = inner else { return false };
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return false,
            '\\' if characters.next().is_none() => return false,
            _ => {}
        }
    }
    true
}

/// The inside of a quoted string.
fn quoted(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    escape_text(&value, FIELD_CHARACTERS_MAX).into_owned()
}

/// A writer of JSON lines.
struct JsonLines<W>(W);

impl<W: Write> Write for JsonLines<W> {
    /// Takes a whole line, because the log writes lines as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(safe_json(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The line with all special characters as JSON escapes. Control characters are escaped already.
fn safe_json(line: &str) -> Cow<'_, str> {
    let line = mask_keys(line, "bt_***");
    let holds_record =
        line.len() <= signed_record::BYTES_MAX + LINE_BYTES_MAX && line.contains(RECORD_IN_JSON);
    if line.len() > LINE_BYTES_MAX && !holds_record {
        let log_prefix = escape_text(&line, BEGINNING_CHARACTERS);
        let message = format!("a line of {} bytes was cut off", line.len());
        let truncated =
            serde_json::json!({ "level": "WARN", "message": message, "line": log_prefix });
        return Cow::Owned(format!("{truncated}\n"));
    }
    if line.chars().all(|character| is_plain(character) || character == '\n') {
        return line;
    }
    let mut escaped = String::with_capacity(line.len());
    for character in line.chars() {
        if is_plain(character) || character == '\n' {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _infallible = write!(escaped, "\\u{unit:04x}");
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_field_cannot_start_a_new_line() {
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
            "model=\"a\\u{2028}b\\u{202e}c\""
        );
        let long = field("model", &format_args!("{}", "a".repeat(3_000_000)));
        assert!(long.chars().count() < FIELD_CHARACTERS_MAX + 10);
    }

    #[test]
    fn text_value_cannot_add_a_field() {
        let field = |name: &str, value: &dyn Debug| {
            let mut out = String::new();
            write_field(&mut out, name, value).unwrap();
            out
        };
        for (name, value, expected) in [
            ("model", "claude-opus-5-5", "model=claude-opus-5-5"),
            ("model", "größer", "model=größer"),
            ("model", "", r#"model="""#),
            ("model", r#"x status=200 outcome="ok""#, r#"model="x status=200 outcome=\"ok\"""#),
            ("model", r#""a" b=c "d""#, r#"model="\"a\" b=c \"d\"""#),
            ("model", r#""a b=c\""#, r#"model="\"a b=c\\\"""#),
            ("model", r#""a b=c""#, r#"model="a b=c""#),
            ("model", r"a\", r#"model="a\\""#),
            ("model", "a\tb", r#"model="a\tb""#),
            ("message", "served", "served"),
            ("message", "no model `x`, sorry", "no model `x`, sorry"),
            ("message", "bad usage_record={} at", r#""bad usage_record={} at""#),
            ("message", r#"bad " usage"#, r#""bad \" usage""#),
            ("usage_record", "ur1.eyJ9.a+/", "usage_record=ur1.eyJ9.a+/"),
            ("usage_record", r#"{"v":1} x=y"#, r#"usage_record="{\"v\":1} x=y""#),
        ] {
            assert_eq!(field(name, &format_args!("{value}")), expected);
        }
        assert_eq!(field("outcome", &"complete"), r#"outcome="complete""#);
        assert_eq!(field("outcome", &r#"a" b=c"#), r#"outcome="a\" b=c""#);
        let record = "ur1.".to_owned() + &"A".repeat(200_000);
        assert_eq!(field("usage_record", &format_args!("{record}")).len(), record.len() + 13);
        let long = field("model", &"x y=z ".repeat(10_000));
        assert!(long.ends_with("…\""), "{}", &long[8000..]);
    }

    #[test]
    fn json_usage_record_is_never_truncated() {
        let record = "ur1.".to_owned() + &"A".repeat(200_000);
        let line = format!("{}\n", serde_json::json!({ "usage_record": record }));
        assert_eq!(safe_json(&line), line);
        let forged = serde_json::json!({ "model": format!(r#""usage_record":"{record}"#) });
        assert!(safe_json(&format!("{forged}\n")).len() < LINE_BYTES_MAX);
    }

    #[test]
    fn json_line_is_one_line_of_plain_characters() {
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
