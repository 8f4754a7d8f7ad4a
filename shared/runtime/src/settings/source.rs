//! Reads variables of the environment as values, and collects what is wrong with them.

use super::table::{self, Setting};
use super::{LogFormat, OtlpSettings, OutagePolicy, UtilizationMax};
use crate::client_address::AddressRanges;
use baton_domain::secret::Secret;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The environment, and the complaints about it.
pub(super) struct SettingsSource<'a> {
    pub(super) lookup: &'a dyn Fn(&str) -> Option<String>,
    pub(super) complaints: &'a mut String,
}

impl SettingsSource<'_> {
    pub(super) fn text(&self, setting: &Setting) -> String {
        self.some_text(setting).unwrap_or_else(|| setting.default.to_owned())
    }

    pub(super) fn some_text(&self, setting: &Setting) -> Option<String> {
        (self.lookup)(setting.name).filter(|text| !text.is_empty())
    }

    pub(super) fn secret(&self, setting: &Setting) -> Option<Secret> {
        self.some_text(setting).map(Secret::new)
    }

    pub(super) fn otlp(&self) -> OtlpSettings {
        OtlpSettings {
            metrics: self.has_exporter(&table::OTLP_METRICS_ENDPOINT, &table::METRICS_EXPORTER),
            traces: self.has_exporter(&table::OTLP_TRACES_ENDPOINT, &table::TRACES_EXPORTER),
        }
    }

    /// Whether the standard OpenTelemetry variables name a collector for a signal. `endpoint` and
    /// `exporter` are the variables of that signal.
    fn has_exporter(&self, endpoint: &Setting, exporter: &Setting) -> bool {
        let is = |setting: &Setting, value: &str| {
            self.some_text(setting).is_some_and(|text| text.eq_ignore_ascii_case(value))
        };
        let named = [&table::OTLP_ENDPOINT, endpoint].map(|setting| self.some_text(setting));
        let off = [is(&table::SDK_DISABLED, "true"), is(exporter, "none")];
        named.iter().any(Option::is_some) && !off.contains(&true)
    }

    pub(super) fn flag(&mut self, setting: &Setting) -> bool {
        match self.text(setting).as_str() {
            "1" | "true" | "yes" => true,
            "0" | "false" | "no" => false,
            _ => self.add_complaint(setting, "must be 1 or 0"),
        }
    }

    pub(super) fn seconds(&mut self, setting: &Setting) -> Duration {
        Duration::from_secs_f64(match self.text(setting).parse::<f64>() {
            Ok(seconds) if (0.0..=1e6).contains(&seconds) => seconds,
            _ => self.add_complaint(setting, "must be a number of seconds from 0 to 1000000"),
        })
    }

    pub(super) fn parse_or_default<T>(&mut self, setting: &Setting) -> T
    where
        T: HasPlaceholder + FromStr<Err: std::fmt::Display>,
    {
        match self.text(setting).parse() {
            Ok(value) => value,
            Err(error) => {
                let complaint = T::EXPECTED.map_or_else(|| error.to_string(), str::to_owned);
                self.add_complaint(setting, &complaint)
            }
        }
    }

    /// Records the complaint and returns a placeholder, which is never used because reading fails.
    pub(super) fn add_complaint<T: HasPlaceholder>(
        &mut self,
        setting: &Setting,
        complaint: &str,
    ) -> T {
        let _infallible = write!(self.complaints, " {} {complaint};", setting.name);
        T::placeholder()
    }
}

/// A type that a variable can have.
pub(super) trait HasPlaceholder {
    /// The complaint about a text that is not such a value, for the person who set it. If `None`,
    /// the message of the parser is used.
    const EXPECTED: Option<&'static str> = None;

    /// The placeholder for a value that could not be parsed.
    fn placeholder() -> Self;
}

macro_rules! placeholder {
    ($($type:ty, $expected:expr => $value:expr),+ $(,)?) => {
        $(impl HasPlaceholder for $type {
            const EXPECTED: Option<&'static str> = $expected;

            fn placeholder() -> Self {
                $value
            }
        })+
    };
}

placeholder! {
    bool, Some("must be 1 or 0") => false,
    f64, Some("must be a number") => 0.0,
    u32, Some("must be a whole number from 0 to 4294967295") => 0,
    usize, Some("must be a whole number, 0 or more") => 0,
    PathBuf, Some("must be a path") => Self::new(),
    LogFormat, None => Self::Text,
    OutagePolicy, None => Self::Closed,
    AddressRanges, None => Self::default(),
    UtilizationMax, None => Self(None),
    SocketAddr, Some("must be an IP address and a port, such as 127.0.0.1:8080")
        => Self::from(([127, 0, 0, 1], 0)),
}
