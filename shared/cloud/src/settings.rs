//! The one door to the environment: read once, every bad variable reported at once. Names and
//! defaults are in [`table`].

mod bounds;
mod openid;
pub mod table;

pub use bounds::InputBounds;
pub use openid::OpenIdSettings;
use table::Setting;

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
    /// Table of keys, groups, accounts, users, prices.
    pub config_table: String,
    /// Table of limits, health, leases, pending events.
    pub state_table: String,
    /// Table of events, rollups, audit.
    pub usage_table: String,
    /// The usage queue.
    pub usage_queue_url: String,
    /// Where its messages go that could not be stored; only the operator's side needs it.
    pub dead_letter_queue_url: String,
    /// The KMS key that wraps the data key.
    pub data_key_id: String,
}

impl ResourceNames {
    /// As `baton up --only-stores` names them, which are the template's logical names.
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

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("is neither `text` nor `json`"),
        }
    }
}

/// How long the relay waits for what (design §3.5).
#[derive(Debug, Clone, Copy)]
pub struct RelayTimeouts {
    /// For a connection to the upstream.
    pub connect: Duration,
    /// For the first byte of its answer's body.
    pub first_byte: Duration,
    /// Between two bytes. Claude Code aborts at 300 s of silence.
    pub idle: Duration,
    /// For the whole request; on Lambda the platform's deadline less 5 s, if that is sooner.
    pub overall: Duration,
    /// For draining an answer whose client has left.
    pub drain: Duration,
    /// For a new token, where no other account is left.
    pub token: Duration,
}

/// What becomes of a limited request while its limits cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutagePolicy {
    /// It goes on.
    Open,
    /// It is refused.
    Closed,
}

impl FromStr for OutagePolicy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err("is neither `open` nor `closed`"),
        }
    }
}

/// The same by the kind of the limit.
#[derive(Debug, Clone, Copy)]
pub struct LimitOutagePolicy {
    /// Money.
    pub money: OutagePolicy,
    /// Requests per minute, and at the same time.
    pub rates: OutagePolicy,
}

/// What a key may do of what costs nothing upstream: counts of tokens, lists of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeCallLimits {
    /// In a UTC minute, for each process.
    pub per_minute: u32,
    /// At the same time; more wait a moment.
    pub concurrency: u32,
}

/// What is sent to a collector of OpenTelemetry. Where it is, the exporter reads itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Counts and times.
    pub metrics: bool,
    /// Spans.
    pub traces: bool,
}

/// From how much of an upstream's limit on an account is taken only if no other serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtilizationMax(pub Option<u32>);

impl FromStr for UtilizationMax {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(percent) => Ok(Self(Some(percent))),
            Err(_) if text == "off" => Ok(Self(None)),
            Err(_) => Err("is neither a number of percent nor `off`"),
        }
    }
}

/// A secret as the environment names it: its text, or where it is.
#[derive(Clone, Default)]
pub struct SecretSetting {
    /// The text itself.
    pub text: Option<Secret>,
    /// Its ARN or name in AWS Secrets Manager; goes before the text.
    pub arn: Option<String>,
    /// Whether the value before the current one stays good.
    pub keeps_previous: bool,
}

/// Where the secrets are that are in AWS Secrets Manager: ARNs or names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretArns {
    /// The pepper of keys.
    pub pepper: Option<String>,
    /// The admin token.
    pub admin_token: Option<String>,
    /// The secret of console sessions.
    pub session_secret: Option<String>,
    /// The client's secret at the identity provider.
    pub openid_client_secret: Option<String>,
}

/// Everything that the environment decides.
#[derive(Clone)]
pub struct Settings {
    /// The deployed resources; filled in by the local stack on one machine.
    pub resources: ResourceNames,
    /// Where the local stores are that stand in for AWS, unless the environment names others.
    pub local_stores: Option<String>,
    /// What key secrets are hashed under. Always there on AWS; on one machine it is in a file.
    pub pepper: Option<Secret>,
    /// The admin token, if fixed from outside.
    pub admin_token: Option<Secret>,
    /// What console sessions are proven with; only the admin API has it. Without one it is made
    /// once and kept in the store.
    pub session_secret: Option<Secret>,
    /// Which of the secrets are in AWS Secrets Manager.
    pub secret_arns: SecretArns,
    /// For how long a value from there is used before it is read anew.
    pub secret_life: Duration,
    /// Where the relay listens.
    pub listen: SocketAddr,
    /// Where admin API and console listen.
    pub admin_listen: SocketAddr,
    /// Where `--only-stores` offers the local stack.
    pub stores_listen: SocketAddr,
    /// Where the local stack keeps its files.
    pub data_dir: PathBuf,
    /// Under which name the functions tell metrics in their logs, if at all.
    pub stack: Option<String>,
    /// What is sent to a collector.
    pub otlp: OtlpSettings,
    /// What `/metrics` is read with, besides the admin token.
    pub metrics_token: Option<Secret>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, in the form of `tracing`'s filter directives.
    pub log: String,
    /// Whether upstreams may be plain HTTP or private addresses.
    pub allow_private_upstreams: bool,
    /// The upstream of the account made from `ANTHROPIC_API_KEY`.
    pub anthropic_base_url: String,
    /// The first account's key, if set.
    pub anthropic_api_key: Option<Secret>,
    /// The largest request body that is taken, in bytes.
    pub body_bytes_max: usize,
    /// For how many days single usage events are kept.
    pub event_days: u32,
    /// How long to wait for what.
    pub timers: RelayTimeouts,
    /// How much of each input is taken, and for how long.
    pub bounds: InputBounds,
    /// In percent of the 5-hour or 7-day limit.
    pub utilisation_max: UtilizationMax,
    /// What becomes of limited requests while the store is out of reach.
    pub limits_on_outage: LimitOutagePolicy,
    /// How long a request waits for what others have reserved of a money limit.
    pub limit_wait: Duration,
    /// What each key may do of what is free.
    pub free_calls: FreeCallLimits,
    /// What a client is told beside a spent limit, if the operator has words of their own.
    pub spend_limit_message: Option<String>,
    /// How long a reservation outlives its request's deadline before it is given up.
    pub reservation_margin: Duration,
    /// Proxies whose `x-forwarded-for` says where a request comes from.
    pub trusted_proxies: AddressRanges,
    /// The folder that identity tokens are read from; none are without it.
    pub identity_token_dir: Option<PathBuf>,
    /// Where the console is for browsers, if the `Host` that they name is not to be relied on.
    pub console_origin: Option<String>,
    /// Whom the admin API and the console answer; everybody where nothing is set.
    pub admin_allowed: Option<AddressRanges>,
    /// Where clients find the relay, if not where it listens.
    pub relay_url: Option<String>,
    /// The identity provider that people sign in at, if there is one.
    pub openid: Option<OpenIdSettings>,
}

/// The environment has bad variables; the message lists them all.
#[derive(Debug, thiserror::Error)]
#[error("bad settings:{0} see \"Settings\" in the documentation")]
pub struct SettingsError(String);

impl Settings {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Self, SettingsError> {
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads variables by `lookup`; an empty one counts as absent.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut bad = String::new();
        let mut source = SettingsSource { lookup: &lookup, bad: &mut bad };
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
            utilisation_max: source.parse_or_default(&table::UTILISATION_MAX),
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
        if !bad.is_empty() {
            return Err(SettingsError(bad));
        }
        let resources = settings.local_stores.as_ref().map(|_| ResourceNames::local());
        Ok(Self { resources: resources.unwrap_or(settings.resources), ..settings })
    }

    /// The pepper of keys. What was issued under the one before stays good.
    pub fn pepper_setting(&self) -> SecretSetting {
        let (text, arn) = (self.pepper.clone(), self.secret_arns.pepper.clone());
        SecretSetting { text, arn, keeps_previous: true }
    }

    /// The admin token. One that was changed is void as soon as that is known.
    pub fn admin_token_setting(&self) -> SecretSetting {
        let (text, arn) = (self.admin_token.clone(), self.secret_arns.admin_token.clone());
        SecretSetting { text, arn, keeps_previous: false }
    }

    /// The secret of console sessions; these end when it changes.
    pub fn session_setting(&self) -> SecretSetting {
        let (text, arn) = (self.session_secret.clone(), self.secret_arns.session_secret.clone());
        SecretSetting { text, arn, keeps_previous: false }
    }

    /// The client's secret at the identity provider.
    pub fn openid_secret_setting(&self) -> SecretSetting {
        let text = self.openid.as_ref().and_then(|openid| openid.client_secret.clone());
        let arn = self.secret_arns.openid_client_secret.clone();
        SecretSetting { text, arn, keeps_previous: false }
    }

    /// Complains about resources that are not named, for the forms that run against AWS.
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

struct SettingsSource<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    bad: &'a mut String,
}

impl SettingsSource<'_> {
    fn text(&self, setting: &Setting) -> String {
        self.some_text(setting).unwrap_or_else(|| setting.default.to_owned())
    }

    fn some_text(&self, setting: &Setting) -> Option<String> {
        (self.lookup)(setting.name).filter(|text| !text.is_empty())
    }

    fn secret(&self, setting: &Setting) -> Option<Secret> {
        self.some_text(setting).map(Secret::new)
    }

    fn otlp(&self) -> OtlpSettings {
        OtlpSettings {
            metrics: self.has_exporter(&table::OTLP_METRICS_ENDPOINT, &table::METRICS_EXPORTER),
            traces: self.has_exporter(&table::OTLP_TRACES_ENDPOINT, &table::TRACES_EXPORTER),
        }
    }

    /// Whether the standard variables of OpenTelemetry name a collector for a signal: `endpoint`
    /// and `exporter` are those of the signal.
    fn has_exporter(&self, endpoint: &Setting, exporter: &Setting) -> bool {
        let is = |setting: &Setting, value: &str| {
            self.some_text(setting).is_some_and(|text| text.eq_ignore_ascii_case(value))
        };
        let named = [&table::OTLP_ENDPOINT, endpoint].map(|setting| self.some_text(setting));
        let off = [is(&table::SDK_DISABLED, "true"), is(exporter, "none")];
        named.iter().any(Option::is_some) && !off.contains(&true)
    }

    fn flag(&mut self, setting: &Setting) -> bool {
        match self.text(setting).as_str() {
            "1" | "true" | "yes" => true,
            "0" | "false" | "no" => false,
            _ => self.add_complaint(setting, "is neither 1 nor 0"),
        }
    }

    fn seconds(&mut self, setting: &Setting) -> Duration {
        Duration::from_secs_f64(match self.text(setting).parse::<f64>() {
            Ok(seconds) if (0.0..=1e6).contains(&seconds) => seconds,
            _ => self.add_complaint(setting, "is not a number of seconds from 0 to 1000000"),
        })
    }

    fn parse_or_default<T>(&mut self, setting: &Setting) -> T
    where
        T: HasPlaceholder + FromStr<Err: std::fmt::Display>,
    {
        match self.text(setting).parse() {
            Ok(value) => value,
            Err(error) => {
                let what = T::EXPECTED.map_or_else(|| error.to_string(), str::to_owned);
                self.add_complaint(setting, &what)
            }
        }
    }

    /// Notes the complaint and goes on with any value: the settings are not going to be used.
    fn add_complaint<T: HasPlaceholder>(&mut self, setting: &Setting, what: &str) -> T {
        let _infallible = write!(self.bad, " {} {what};", setting.name);
        T::placeholder()
    }
}

/// A value that a variable may have.
trait HasPlaceholder {
    /// What is wrong with a text that is no such value, in the words of the person who set it. Without
    /// these words the parser's own say so.
    const EXPECTED: Option<&'static str> = None;

    /// What stands in for a value that could not be read.
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
    bool, Some("is neither 1 nor 0") => false,
    f64, Some("is not a number") => 0.0,
    u32, Some("is not a whole number from 0 to 4294967295") => 0,
    usize, Some("is not a whole number from 0 on") => 0,
    PathBuf, Some("is not a path") => Self::new(),
    LogFormat, None => Self::Text,
    OutagePolicy, None => Self::Closed,
    AddressRanges, None => Self::default(),
    UtilizationMax, None => Self(None),
    SocketAddr, Some("is not an IP address and a port, as 127.0.0.1:8080") => Self::from(([127, 0, 0, 1], 0)),
}

/// Address ranges; a text without any is a mistake, since it would let nobody in.
fn admin_allowed(source: &mut SettingsSource<'_>) -> Option<AddressRanges> {
    let text = source.some_text(&table::ADMIN_ALLOWED_CIDRS)?;
    match text.parse::<AddressRanges>() {
        Ok(ranges) if ranges != AddressRanges::default() => Some(ranges),
        _ => {
            let what = "is no list of ranges like 203.0.113.0/24,2001:db8::/32";
            let _unused: bool = source.add_complaint(&table::ADMIN_ALLOWED_CIDRS, what);
            None
        }
    }
}

/// The local stores that `cargo lambda watch` has its functions use. Whoever names tables or an
/// endpoint means those: cargo-lambda's own settings cannot be overridden from outside.
fn local_stores(source: &SettingsSource<'_>) -> Option<String> {
    let named = [&table::CONFIG_TABLE, &table::AWS_ENDPOINT_URL];
    let is_named = named.iter().any(|setting| source.some_text(setting).is_some());
    source.some_text(&table::LOCAL_STORES).filter(|_| !is_named)
}

/// The shortest admin token that is taken, in characters: it is asked for from the whole internet.
const ADMIN_TOKEN_MIN: usize = 16;

/// The admin token, if it is set and not one that is quickly guessed.
fn admin_token(source: &mut SettingsSource<'_>) -> Option<Secret> {
    let text = source.some_text(&table::ADMIN_TOKEN)?;
    if text.chars().count() < ADMIN_TOKEN_MIN {
        let what = format!(
            "has fewer than {ADMIN_TOKEN_MIN} characters and can be guessed; \
             `openssl rand -base64 32` makes a good one"
        );
        let _unused: bool = source.add_complaint(&table::ADMIN_TOKEN, &what);
    }
    Some(Secret::new(text))
}

/// An address that clients can be told, without a slash at its end.
fn relay_url(source: &mut SettingsSource<'_>) -> Option<String> {
    let text = source.some_text(&table::RELAY_URL)?;
    let fits = text.starts_with("https://") || text.starts_with("http://");
    if !fits || text.contains(char::is_whitespace) {
        let _unused: bool =
            source.add_complaint(&table::RELAY_URL, "is no address like https://llm.example.com");
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
    fn an_empty_environment_is_fine() {
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
    fn an_admin_token_is_not_easily_guessed() {
        let takes = |token: &str| read(&[("BATON_ADMIN_TOKEN", token)]).is_ok();
        for token in ["a", "admin", "0123456789abcde"] {
            assert!(!takes(token), "{token}");
            let bad = read(&[("BATON_ADMIN_TOKEN", token)]).err().map(|bad| bad.to_string());
            let quotes = format!("`{token}`");
            assert!(!bad.unwrap_or_default().contains(&quotes), "it is a secret");
        }
        for token in
            ["", "lab-admin-token-0123456789abcdef", "0123456789abcdef", "äöüß-äöüß-äöüß-x"]
        {
            assert!(takes(token), "{token}");
        }
    }

    #[test]
    fn every_bad_variable_is_named_at_once() {
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
    fn a_bad_variable_is_explained_to_the_person_who_set_it() {
        for (name, value, words) in [
            ("BATON_STOP_SECONDS", "abc", "is not a number of seconds"),
            ("BATON_STOP_SECONDS", "inf", "is not a number of seconds"),
            ("BATON_STOP_SECONDS", "NaN", "is not a number of seconds"),
            ("BATON_STOP_SECONDS", "-1", "is not a number of seconds"),
            ("BATON_BODY_BYTES_MAX", "32MB", "is not a whole number"),
            ("BATON_CONNECTIONS_MAX", "-1", "is not a whole number"),
            ("BATON_EVENT_DAYS", "4294967296", "is not a whole number from 0 to 4294967295"),
            ("BATON_LISTEN", "localhost", "is not an IP address and a port"),
            ("BATON_LOG_FORMAT", "xml", "is neither `text` nor `json`"),
            ("BATON_LIMITS_FAIL_MONEY", "maybe", "is neither `open` nor `closed`"),
            ("BATON_UTILISATION_MAX", "95%", "is neither a number of percent nor `off`"),
            ("BATON_ALLOW_PRIVATE_UPSTREAMS", "maybe", "is neither 1 nor 0"),
            ("BATON_TRUSTED_PROXIES", "10.0.0.0/99", "is no"),
        ] {
            let bad = read(&[(name, value)]).err().map(|bad| bad.to_string()).unwrap_or_default();
            assert!(bad.contains(&format!("{name} {words}")), "{name}={value}: {bad}");
            for word in ["literal", "digit", "syntax", "does not fit"] {
                assert!(!bad.contains(word), "{name}={value}: {bad}");
            }
        }
    }
}
