//! The log: lines for people or JSON for machines, on stderr. Each names the request that it is about,
//! by a field or by its span.

use crate::settings::LogFormat;
use std::io::IsTerminal as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Installs the log. `filter` is in the usual form (`info`, `baton_relay=debug`). A second call
/// changes nothing.
///
/// A panic is told there, too: where it was, and (by the span around it) in which request, but not
/// its message, which may quote what the program was working on.
pub fn init(format: LogFormat, filter: &str) {
    let filter = filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    // Told to trace, it writes whole events down, and with them prompts.
    let filter = filter.with_target("lambda_runtime", LevelFilter::INFO);
    let filter = filter.with_target("lambda_http", LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let log = tracing_subscriber::registry().with(filter);
    let _already_set = match format {
        LogFormat::Json => {
            log.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
        }
        LogFormat::Text => log.with(lines).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
}
