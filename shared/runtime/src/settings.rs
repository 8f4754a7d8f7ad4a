//! The only module that reads the environment. It reads it once and reports all bad variables
//! together. Names and defaults are in [`table`].

mod bounds;
mod openid;
mod source;
pub mod table;

pub use bounds::InputBounds;
pub use openid::OpenIdSettings;
use source::{HasPlaceholder, SettingsSource};

use crate::client_address::AddressRanges;
use baton_domain::secret::Secret;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Names of the deployed resources, as `template.yaml` passes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceNames {
    /// The table of keys, groups, accounts, users and prices.
    pub config_table: String,
    /// The table of limits, health, leases and pending events.
    pub state_table: String,
    /// The table of events, rollups and the audit trail.
    pub usage_table: String,
    /// The usage queue.
    pub usage_queue_url: String,
    /// The dead-letter queue. Only the operator's side needs it.
    pub dead_letter_queue_url: String,
    /// The KMS key that wraps the data key.
    pub data_key_id: String,
}

impl ResourceNames {
    /// The names that `baton up --only-stores` uses, which are the logical names of the template.
    pub fn local() -> Self {
        let queue = |name: &str| format!("http://127.0.0.1/000000000000/{name}");
        Self {
            config_table: "ConfigTable".to_owned(),
            state_table: "StateTable".to_owned(),
            usage_table: "UsageTable".to_owned(),
            usage_queue_url: queue("UsageQueue"),
            dead_letter_queue_url: queue("UsageDeadLetterQueue"),
            data_key_id: "DataKey".to_owned(),
        }
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object for each line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be `text` or `json`"),
        }
    }
}

/// The relay's timeouts.
#[derive(Debug, Clone, Copy)]
pub struct RelayTimeouts {
    /// For the connection to the upstream.
    pub connect: Duration,
    /// For the first byte of the answer's body.
    pub first_byte: Duration,
    /// Between two bytes. Claude Code aborts after 300 s of silence.
    pub idle: Duration,
    /// For the whole request. On Lambda, the platform's deadline less 5 s if that is earlier.
    pub overall: Duration,
    /// For draining an answer after its client has left.
    pub drain: Duration,
    /// For a new token, if no other account can serve.
    pub token: Duration,
}

/// The handling of a limited request while its limits cannot be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutagePolicy {
    /// The request is served.
    Open,
    /// The request is refused.
    Closed,
}

impl FromStr for OutagePolicy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err("must be `open` or `closed`"),
        }
    }
}

/// The outage policy for each kind of limit.
#[derive(Debug, Clone, Copy)]
pub struct LimitOutagePolicy {
    /// For money limits.
    pub money: OutagePolicy,
    /// For limits on requests per minute and on concurrent requests.
    pub rates: OutagePolicy,
}

/// Limits of a key's free calls: token counts and model lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeCallLimits {
    /// Calls in a UTC minute, in each process.
    pub per_minute: u32,
    /// Concurrent calls; further ones wait a moment.
    pub concurrency: u32,
}

/// The signals sent to an OpenTelemetry collector, whose address the exporter itself reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Whether metrics are sent.
    pub metrics: bool,
    /// Whether spans are sent.
    pub traces: bool,
}

/// The utilization from which an account is used only if no other account can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtilizationMax(pub Option<u32>);

impl FromStr for UtilizationMax {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(percent) => Ok(Self(Some(percent))),
            Err(_) if text == "off" => Ok(Self(None)),
            Err(_) => Err("must be a percentage without `%`, or `off`"),
        }
    }
}

/// A secret as the environment gives it: its text, or where to read it.
#[derive(Clone, Default)]
pub struct SecretSetting {
    /// The text of the secret.
    pub text: Option<Secret>,
    /// Its ARN or name in AWS Secrets Manager; takes precedence over the text.
    pub arn: Option<String>,
    /// Whether the previous value stays valid too.
    pub keeps_previous: bool,
}

/// ARNs or names of the secrets that are in AWS Secrets Manager.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretArns {
    /// The pepper for hashing key secrets.
    pub pepper: Option<String>,
    /// The admin token.
    pub admin_token: Option<String>,
    /// The secret for console sessions.
    pub session_secret: Option<String>,
    /// The client secret at the identity provider.
    pub openid_client_secret: Option<String>,
}

/// Everything that the environment configures.
#[derive(Clone)]
pub struct Settings {
    /// The deployed resources; on one machine, the local stack fills them in.
    pub resources: ResourceNames,
    /// The address of local stores in place of AWS, unless the environment names others.
    pub local_stores: Option<String>,
    /// The pepper for hashing key secrets. On AWS it is always set; on one machine it is in a file.
    pub pepper: Option<Secret>,
    /// The admin token, if it is configured.
    pub admin_token: Option<Secret>,
    /// The secret that proves console sessions; only the admin API has it. Without it, one is
    /// created and kept in the store.
    pub session_secret: Option<Secret>,
    /// The secrets that are in AWS Secrets Manager.
    pub secret_arns: SecretArns,
    /// How long a value from there is used before it is read again.
    pub secret_life: Duration,
    /// The address that the relay listens on.
    pub listen: SocketAddr,
    /// The address that the admin API and the console listen on.
    pub admin_listen: SocketAddr,
    /// The address that the local stack listens on with `--only-stores`.
    pub stores_listen: SocketAddr,
    /// The folder in which the local stack keeps its files.
    pub data_dir: PathBuf,
    /// The name under which the functions write metrics to their logs, if they do.
    pub stack: Option<String>,
    /// The signals sent to an OpenTelemetry collector.
    pub otlp: OtlpSettings,
    /// The token for reading `/metrics`; the admin token works as well.
    pub metrics_token: Option<Secret>,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The log filter, as `tracing` directives.
    pub log: String,
    /// Whether upstreams can use plain HTTP or private addresses.
    pub allow_private_upstreams: bool,
    /// The upstream of the account that is created from `ANTHROPIC_API_KEY`.
    pub anthropic_base_url: String,
    /// The key of the first account, if set.
    pub anthropic_api_key: Option<Secret>,
    /// The largest request body that is accepted, in bytes.
    pub body_bytes_max: usize,
    /// How many days single usage events are kept.
    pub event_days: u32,
    /// The relay's timeouts.
    pub timers: RelayTimeouts,
    /// How much of each input is accepted, and for how long.
    pub bounds: InputBounds,
    /// As a percentage of the 5-hour or 7-day limit.
    pub max_utilization: UtilizationMax,
    /// The handling of limited requests while the store cannot be reached.
    pub limits_on_outage: LimitOutagePolicy,
    /// How long a request waits for money that other requests have reserved.
    pub limit_wait: Duration,
    /// Limits of the free calls of each key.
    pub free_calls: FreeCallLimits,
    /// The operator's message to clients whose spend limit is reached, if set.
    pub spend_limit_message: Option<String>,
    /// How long after its request's deadline a reservation is kept before it is given up.
    pub reservation_margin: Duration,
    /// The proxies whose `x-forwarded-for` header is trusted.
    pub trusted_proxies: AddressRanges,
    /// The folder that identity tokens can be read from; without it, none are read.
    pub identity_token_dir: Option<PathBuf>,
    /// The address of the console in browsers, if the `Host` header is not to be trusted.
    pub console_origin: Option<String>,
    /// The client addresses that the admin API and the console answer; all if not set.
    pub admin_allowed: Option<AddressRanges>,
    /// The address of the relay for clients, if it is not the listen address.
    pub relay_url: Option<String>,
    /// The identity provider for sign-in, if there is one.
    pub openid: Option<OpenIdSettings>,
}

/// The environment has bad variables. The message lists all of them.
#[derive(Debug, thiserror::Error)]
#[error("bad settings:{0} see \"Settings\" in the documentation")]
pub struct SettingsError(String);

impl Settings {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Self, SettingsError> {
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads variables with `lookup`. An empty variable counts as absent.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut complaints = String::new();
        let mut source = SettingsSource { lookup: &lookup, complaints: &mut complaints };
        let settings = Self {
            local_stores: local_stores(&source),
            resources: ResourceNames {
                config_table: source.text(&table::CONFIG_TABLE),
                state_table: source.text(&table::STATE_TABLE),
                usage_table: source.text(&table::USAGE_TABLE),
                usage_queue_url: source.text(&table::USAGE_QUEUE_URL),
                dead_letter_queue_url: source.text(&table::DEAD_LETTER_QUEUE_URL),
                data_key_id: source.text(&table::DATA_KEY_ID),
            },
            pepper: source.secret(&table::KEY_PEPPER),
            admin_token: admin_token(&mut source),
            session_secret: source.secret(&table::SESSION_SECRET),
            secret_arns: SecretArns {
                pepper: source.some_text(&table::KEY_PEPPER_ARN),
                admin_token: source.some_text(&table::ADMIN_TOKEN_ARN),
                session_secret: source.some_text(&table::SESSION_SECRET_ARN),
                openid_client_secret: source.some_text(&table::OIDC_CLIENT_SECRET_ARN),
            },
            secret_life: source.seconds(&table::SECRET_SECONDS),
            listen: source.parse_or_default(&table::LISTEN),
            admin_listen: source.parse_or_default(&table::ADMIN_LISTEN),
            stores_listen: source.parse_or_default(&table::STORES_LISTEN),
            data_dir: source.parse_or_default(&table::DATA_DIR),
            stack: source.some_text(&table::STACK),
            otlp: source.otlp(),
            metrics_token: source.secret(&table::METRICS_TOKEN),
            log_format: source.parse_or_default(&table::LOG_FORMAT),
            log: source.text(&table::LOG),
            allow_private_upstreams: source.flag(&table::ALLOW_PRIVATE_UPSTREAMS),
            anthropic_base_url: source.text(&table::FIRST_ACCOUNT_BASE_URL),
            anthropic_api_key: source.secret(&table::ANTHROPIC_API_KEY),
            body_bytes_max: source.parse_or_default(&table::BODY_BYTES_MAX),
            event_days: source.parse_or_default(&table::EVENT_DAYS),
            timers: RelayTimeouts {
                connect: source.seconds(&table::CONNECT_SECONDS),
                first_byte: source.seconds(&table::FIRST_BYTE_SECONDS),
                idle: source.seconds(&table::IDLE_SECONDS),
                overall: source.seconds(&table::OVERALL_SECONDS),
                drain: source.seconds(&table::DRAIN_SECONDS),
                token: source.seconds(&table::TOKEN_SECONDS),
            },
            bounds: InputBounds::from_source(&mut source),
            max_utilization: source.parse_or_default(&table::UTILISATION_MAX),
            limits_on_outage: LimitOutagePolicy {
                money: source.parse_or_default(&table::LIMITS_FAIL_MONEY),
                rates: source.parse_or_default(&table::LIMITS_FAIL_RATES),
            },
            limit_wait: source.seconds(&table::LIMIT_WAIT_SECONDS),
            free_calls: FreeCallLimits {
                per_minute: source.parse_or_default(&table::FREE_CALLS_PER_MINUTE),
                concurrency: source.parse_or_default(&table::FREE_CALLS_CONCURRENCY),
            },
            spend_limit_message: source.some_text(&table::SPEND_LIMIT_MESSAGE),
            reservation_margin: source.seconds(&table::RESERVATION_MARGIN_SECONDS),
            trusted_proxies: source.parse_or_default(&table::TRUSTED_PROXIES),
            identity_token_dir: source.some_text(&table::IDENTITY_TOKEN_DIR).map(PathBuf::from),
            console_origin: openid::console_origin(&mut source),
            admin_allowed: admin_allowed(&mut source),
            relay_url: relay_url(&mut source),
            openid: openid::read(&mut source),
        };
        if !complaints.is_empty() {
            return Err(SettingsError(complaints));
        }
        let resources = settings.local_stores.as_ref().map(|_| ResourceNames::local());
        Ok(Self { resources: resources.unwrap_or(settings.resources), ..settings })
    }

    /// The pepper for hashing key secrets. Keys issued under the previous value stay valid.
    pub fn pepper_setting(&self) -> SecretSetting {
        let (text, arn) = (self.pepper.clone(), self.secret_arns.pepper.clone());
        SecretSetting { text, arn, keeps_previous: true }
    }

    /// The admin token. The previous value is invalid as soon as the new one is read.
    pub fn admin_token_setting(&self) -> SecretSetting {
        let (text, arn) = (self.admin_token.clone(), self.secret_arns.admin_token.clone());
        SecretSetting { text, arn, keeps_previous: false }
    }

    /// The secret for console sessions, which end when it changes.
    pub fn session_setting(&self) -> SecretSetting {
        let (text, arn) = (self.session_secret.clone(), self.secret_arns.session_secret.clone());
        SecretSetting { text, arn, keeps_previous: false }
    }

    /// The client secret at the identity provider.
    pub fn openid_secret_setting(&self) -> SecretSetting {
        let text = self.openid.as_ref().and_then(|openid| openid.client_secret.clone());
        let arn = self.secret_arns.openid_client_secret.clone();
        SecretSetting { text, arn, keeps_previous: false }
    }

    /// Checks that all resources are named, as the functions on AWS require.
    pub fn require_resources(&self) -> Result<(), SettingsError> {
        let named = [
            (table::CONFIG_TABLE.name, &self.resources.config_table),
            (table::STATE_TABLE.name, &self.resources.state_table),
            (table::USAGE_TABLE.name, &self.resources.usage_table),
            (table::USAGE_QUEUE_URL.name, &self.resources.usage_queue_url),
        ];
        let mut missing = String::new();
        for (name, _) in named.iter().filter(|(_, value)| value.is_empty()) {
            let _infallible = write!(missing, " {name} is not set;");
        }
        if missing.is_empty() { Ok(()) } else { Err(SettingsError(missing)) }
    }
}

/// The allowed address ranges. A list without any is an error, because it would lock everybody out.
fn admin_allowed(source: &mut SettingsSource<'_>) -> Option<AddressRanges> {
    let text = source.some_text(&table::ADMIN_ALLOWED_CIDRS)?;
    match text.parse::<AddressRanges>() {
        Ok(ranges) if ranges != AddressRanges::default() => Some(ranges),
        _ => {
            let what = "must be a list of ranges such as 203.0.113.0/24,2001:db8::/32";
            let _unused: bool = source.add_complaint(&table::ADMIN_ALLOWED_CIDRS, what);
            None
        }
    }
}

/// The local stores that functions use under `cargo lambda watch`. Tables or an endpoint in the
/// environment take precedence, because cargo-lambda's settings cannot be overridden from outside.
fn local_stores(source: &SettingsSource<'_>) -> Option<String> {
    let named = [&table::CONFIG_TABLE, &table::AWS_ENDPOINT_URL];
    let is_named = named.iter().any(|setting| source.some_text(setting).is_some());
    source.some_text(&table::LOCAL_STORES).filter(|_| !is_named)
}

/// The shortest admin token, in characters. The whole internet can try to guess it.
const ADMIN_TOKEN_MIN: usize = 16;

/// The admin token, if it is set; too short ones are an error.
fn admin_token(source: &mut SettingsSource<'_>) -> Option<Secret> {
    let text = source.some_text(&table::ADMIN_TOKEN)?;
    if text.chars().count() < ADMIN_TOKEN_MIN {
        let complaint = format!(
            "must have at least {ADMIN_TOKEN_MIN} characters, because shorter tokens can be \
             guessed; `openssl rand -base64 32` generates one"
        );
        let _unused: bool = source.add_complaint(&table::ADMIN_TOKEN, &complaint);
    }
    Some(Secret::new(text))
}

/// The address of the relay for clients, without a slash at the end.
fn relay_url(source: &mut SettingsSource<'_>) -> Option<String> {
    let text = source.some_text(&table::RELAY_URL)?;
    let fits = text.starts_with("https://") || text.starts_with("http://");
    if !fits || text.contains(char::is_whitespace) {
        let _unused: bool = source
            .add_complaint(&table::RELAY_URL, "must be a URL such as https://llm.example.com");
    }
    Some(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn empty_environment_is_valid() {
        let settings = read(&[("BATON_LISTEN", "")]).unwrap_or_else(|bad| panic!("{bad}"));
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.timers.idle, Duration::from_secs(290));
        assert!(settings.require_resources().is_err());
    }

    #[test]
    fn local_stores_are_used_when_no_tables_are_named() {
        let local = ("BATON_LOCAL_STORES", "http://127.0.0.1:8000");
        let stores = |variables: &[(&str, &str)]| {
            let settings = read(variables).unwrap_or_else(|bad| panic!("{bad}"));
            (settings.local_stores.is_some(), settings.resources.config_table)
        };
        assert_eq!(stores(&[local]), (true, "ConfigTable".to_owned()));
        assert_eq!(stores(&[]), (false, String::new()));
        let table = ("BATON_CONFIG_TABLE", "baton-ConfigTable-1");
        assert_eq!(stores(&[local, table]), (false, "baton-ConfigTable-1".to_owned()));
        let endpoint = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9999");
        assert_eq!(stores(&[local, endpoint]), (false, String::new()));
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
            ("BATON_UTILISATION_MAX", "95%", "must be a percentage without `%`, or `off`"),
            ("BATON_ALLOW_PRIVATE_UPSTREAMS", "maybe", "must be 1 or 0"),
            ("BATON_TRUSTED_PROXIES", "10.0.0.0/99", "must be a list"),
        ] {
            let bad = read(&[(name, value)]).err().map(|bad| bad.to_string()).unwrap_or_default();
            assert!(bad.contains(&format!("{name} {error_json}")), "{name}={value}: {bad}");
            for word in ["literal", "digit", "syntax", "does not fit"] {
                assert!(!bad.contains(word), "{name}={value}: {bad}");
            }
        }
    }
}
