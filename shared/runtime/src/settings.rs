//! The settings: environment variables, read once at the start. No other module reads the
//! environment. One error reports all bad variables together.
//!
//! Each section of settings is a structure in a separate module. The macro `section!` declares a
//! setting once, with its field, variable, default, values and documentation.
//! `docs/reference/settings.md` is generated from these declarations.

pub mod addresses;
pub mod bounds;
pub mod command_line;
pub mod limits;
pub mod openid;
pub mod secrets;
mod section;
pub mod storage;
pub mod telemetry;
pub mod upstreams;

pub use addresses::{AddressSettings, AllowedOrigins};
pub use bounds::InputBounds;
pub use limits::{LimitSettings, OutagePolicy};
pub use openid::OpenIdSettings;
pub use secrets::{SecretSetting, SecretSettings};
pub use section::{Section, Setting};
pub use storage::{ResourceNames, StorageSettings};
pub use telemetry::{LogFormat, TelemetrySettings};
pub use upstreams::{RelayTimeouts, UpstreamSettings};

use section::SettingsSource;
use std::fmt::Write as _;

/// The sections of the reference, in its order.
pub static SECTIONS: &[Section] = &[
    AddressSettings::SECTION,
    StorageSettings::SECTION,
    ResourceNames::SECTION,
    SecretSettings::SECTION,
    UpstreamSettings::SECTION,
    RelayTimeouts::SECTION,
    LimitSettings::SECTION,
    InputBounds::SECTION,
    OpenIdSettings::SECTION,
    TelemetrySettings::SECTION,
    command_line::SECTION,
];

/// All settings, section by section.
pub fn all_settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// Everything that the environment configures.
#[derive(Clone)]
pub struct Settings {
    /// The addresses on which Baton listens, and those under which others reach it.
    pub addresses: AddressSettings,
    /// How long data is kept, and where the local stores are. `local_stores` is `None` if the
    /// environment names tables or an endpoint.
    pub storage: StorageSettings,
    /// The names of the AWS resources. With `baton up` the local stack sets them.
    pub resources: ResourceNames,
    /// Baton's own secrets, such as the admin token.
    pub secrets: SecretSettings,
    /// The first account, and the addresses that upstreams can have.
    pub upstreams: UpstreamSettings,
    /// How long the relay waits for upstreams.
    pub timers: RelayTimeouts,
    /// Limits of keys, users, groups and the organization.
    pub limits: LimitSettings,
    /// The largest size of each input, and how long Baton waits for it.
    pub bounds: InputBounds,
    /// The identity provider for sign-in, if there is one.
    pub openid: Option<OpenIdSettings>,
    /// Log, metrics and traces.
    pub telemetry: TelemetrySettings,
}

/// The environment has bad variables. The message lists all of them.
#[derive(Debug, thiserror::Error)]
#[error("bad settings:{0} see \"Settings\" in the documentation")]
pub struct SettingsError(String);

impl Settings {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Self, SettingsError> {
        #[expect(clippy::disallowed_methods, reason = "the only place that reads the environment")]
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads variables with `lookup`. An empty variable counts as absent.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let source = &mut SettingsSource { lookup: &lookup, complaints: String::new() };
        // All sections are read before the first error is returned, so that it names all bad
        // variables.
        let addresses = AddressSettings::from_source(source);
        let storage = StorageSettings::from_source(source);
        let resources = ResourceNames::from_source(source);
        let secrets = SecretSettings::from_source(source);
        let upstreams = UpstreamSettings::from_source(source);
        let timers = RelayTimeouts::from_source(source);
        let limits = LimitSettings::from_source(source);
        let bounds = InputBounds::from_source(source);
        let openid = OpenIdSettings::from_issuer(source);
        let telemetry = TelemetrySettings::from_source(source);
        let settings = || {
            let (addresses, storage, resources) = (addresses?, storage?, resources?);
            let (secrets, upstreams, timers) = (secrets?, upstreams?, timers?);
            let (limits, bounds, telemetry) = (limits?, bounds?, telemetry?);
            Some(Self {
                addresses,
                storage,
                resources,
                secrets,
                upstreams,
                timers,
                limits,
                bounds,
                openid,
                telemetry,
            })
        };
        match settings() {
            Some(settings) if source.complaints.is_empty() => Ok(settings.with_local_stores()),
            _ => Err(SettingsError(std::mem::take(&mut source.complaints))),
        }
    }

    /// Uses the local stores that functions have under `cargo lambda watch`. Tables or an endpoint
    /// in the environment take precedence, because cargo-lambda's settings cannot be overridden
    /// from outside.
    fn with_local_stores(mut self) -> Self {
        let is_named = !self.resources.config_table.is_empty();
        if is_named || self.storage.aws_endpoint_url.is_some() {
            self.storage.local_stores = None;
        }
        if self.storage.local_stores.is_some() {
            self.resources = ResourceNames::local();
        }
        self
    }

    /// The pepper for hashing key secrets. Keys issued under the previous value stay valid. On AWS
    /// it is always set; on one machine it is in a file.
    pub fn pepper_setting(&self) -> SecretSetting {
        let (text, arn) = (self.secrets.pepper.clone(), self.secrets.pepper_arn.clone());
        SecretSetting { text, arn, keeps_previous: true }
    }

    /// The admin token. The previous value is invalid as soon as the new one is read.
    pub fn admin_token_setting(&self) -> SecretSetting {
        let (text, arn) = (self.secrets.admin_token.clone(), self.secrets.admin_token_arn.clone());
        SecretSetting { text, arn, keeps_previous: false }
    }

    /// The secret for console sessions, which end when it changes. Only the admin API has it.
    /// Without it, one is created and kept in the store.
    pub fn session_setting(&self) -> SecretSetting {
        let secrets = &self.secrets;
        let (text, arn) = (secrets.session_secret.clone(), secrets.session_secret_arn.clone());
        SecretSetting { text, arn, keeps_previous: false }
    }

    /// The client secret at the identity provider.
    pub fn openid_secret_setting(&self) -> SecretSetting {
        let Some(openid) = &self.openid else { return SecretSetting::default() };
        let (text, arn) = (openid.client_secret.clone(), openid.client_secret_arn.clone());
        SecretSetting { text, arn, keeps_previous: false }
    }

    /// Checks that all resources are named, as the functions on AWS require.
    pub fn require_resources(&self) -> Result<(), SettingsError> {
        let named = [
            (storage::BATON_CONFIG_TABLE.name, &self.resources.config_table),
            (storage::BATON_STATE_TABLE.name, &self.resources.state_table),
            (storage::BATON_USAGE_TABLE.name, &self.resources.usage_table),
            (storage::BATON_USAGE_QUEUE_URL.name, &self.resources.usage_queue_url),
        ];
        let mut missing = String::new();
        for (name, _) in named.iter().filter(|(_, value)| value.is_empty()) {
            let _infallible = write!(missing, " {name} is not set;");
        }
        if missing.is_empty() { Ok(()) } else { Err(SettingsError(missing)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn empty_environment_is_valid() {
        let settings = read(&[("BATON_LISTEN", "")]).unwrap_or_else(|bad| panic!("{bad}"));
        assert_eq!(settings.addresses.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.timers.idle, Duration::from_secs(290));
        assert!(settings.require_resources().is_err());
    }

    #[test]
    fn local_stores_are_used_when_no_tables_are_named() {
        let local = ("BATON_LOCAL_STORES", "http://127.0.0.1:8000");
        let stores = |variables: &[(&str, &str)]| {
            let settings = read(variables).unwrap_or_else(|bad| panic!("{bad}"));
            (settings.storage.local_stores.is_some(), settings.resources.config_table)
        };
        assert_eq!(stores(&[local]), (true, "ConfigTable".to_owned()));
        assert_eq!(stores(&[]), (false, String::new()));
        let table = ("BATON_CONFIG_TABLE", "baton-ConfigTable-1");
        assert_eq!(stores(&[local, table]), (false, "baton-ConfigTable-1".to_owned()));
        let endpoint = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9999");
        assert_eq!(stores(&[local, endpoint]), (false, String::new()));
    }

    #[test]
    fn former_name_of_a_setting_is_read() {
        let most = |variables: &[(&str, &str)]| {
            let settings = read(variables).unwrap_or_else(|bad| panic!("{bad}"));
            settings.upstreams.max_utilization
        };
        let (former, new) = (("BATON_UTILISATION_MAX", "80"), ("BATON_UTILIZATION_MAX", "70"));
        assert_eq!(most(&[former]), Some(80));
        assert_eq!(most(&[former, new]), Some(70));
    }

    #[test]
    fn short_admin_token_is_refused() {
        let consumes = |token: &str| read(&[("BATON_ADMIN_TOKEN", token)]).is_ok();
        for token in ["a", "admin", "0123456789abcde"] {
            assert!(!consumes(token), "{token}");
            let bad = read(&[("BATON_ADMIN_TOKEN", token)]).err().map(|bad| bad.to_string());
            let quotes = format!("`{token}`");
            assert!(!bad.unwrap_or_default().contains(&quotes), "it is a secret");
        }
        for token in
            ["", "lab-admin-token-0123456789abcdef", "0123456789abcdef", "äöüß-äöüß-äöüß-x"]
        {
            assert!(consumes(token), "{token}");
        }
    }

    #[test]
    fn all_invalid_variables_are_reported_together() {
        let bad = read(&[
            ("BATON_LISTEN", "here"),
            ("BATON_LOG_FORMAT", "xml"),
            ("BATON_IDLE_SECONDS", "-1"),
            ("BATON_ALLOW_PRIVATE_UPSTREAMS", "maybe"),
            ("BATON_ADMIN_ALLOWED_CIDRS", ","),
        ]);
        let text = bad.err().map(|bad| bad.to_string()).unwrap_or_default();
        for name in [
            "LISTEN",
            "LOG_FORMAT",
            "IDLE_SECONDS",
            "ALLOW_PRIVATE_UPSTREAMS",
            "ADMIN_ALLOWED_CIDRS",
        ] {
            assert!(text.contains(&format!("BATON_{name} ")), "{text}");
        }
    }

    #[test]
    fn invalid_variable_is_explained() {
        for (name, value, error_json) in [
            ("BATON_STOP_SECONDS", "abc", "must be a number of seconds"),
            ("BATON_STOP_SECONDS", "inf", "must be a number of seconds"),
            ("BATON_STOP_SECONDS", "NaN", "must be a number of seconds"),
            ("BATON_STOP_SECONDS", "-1", "must be a number of seconds"),
            ("BATON_BODY_BYTES_MAX", "32MB", "must be a whole number"),
            ("BATON_CONNECTIONS_MAX", "-1", "must be a whole number"),
            ("BATON_EVENT_DAYS", "4294967296", "must be a whole number from 0 to 4294967295"),
            ("BATON_LISTEN", "localhost", "must be an IP address and a port"),
            ("BATON_LOG_FORMAT", "xml", "must be `text` or `json`"),
            ("BATON_LIMITS_FAIL_MONEY", "maybe", "must be `open` or `closed`"),
            ("BATON_UTILIZATION_MAX", "95%", "must be a percentage without `%`, or `off`"),
            ("BATON_ALLOW_PRIVATE_UPSTREAMS", "maybe", "must be 1 or 0"),
            ("BATON_TRUSTED_PROXIES", "10.0.0.0/99", "must be a list"),
            ("BATON_CORS_ORIGINS", "app.example.com", "must be `*` or a list of origins"),
        ] {
            let bad = read(&[(name, value)]).err().map(|bad| bad.to_string()).unwrap_or_default();
            assert!(bad.contains(&format!("{name} {error_json}")), "{name}={value}: {bad}");
            for word in ["literal", "digit", "syntax", "does not fit"] {
                assert!(!bad.contains(word), "{name}={value}: {bad}");
            }
        }
    }

    #[test]
    fn each_setting_has_one_row_and_a_default_that_fits() {
        let names: BTreeSet<&str> = all_settings().map(|setting| setting.name).collect();
        assert_eq!(names.len(), all_settings().count());
        let issuer = (openid::BATON_OIDC_ISSUER.name, "https://id.example");
        let client = (openid::BATON_OIDC_CLIENT_ID.name, "baton");
        let defaults = all_settings().map(|setting| (setting.name, setting.default));
        let variables: Vec<_> = [issuer, client].into_iter().chain(defaults).collect();
        assert!(read(&variables).is_ok(), "{:?}", read(&variables).err());
        for setting in all_settings() {
            assert!(setting.explanation().ends_with('.'), "{}", setting.name);
            let has_both = !setting.default.is_empty() && !setting.unless_set.is_empty();
            assert!(!has_both, "{}", setting.name);
        }
    }
}
