//! The one door to the environment: read once, every bad variable reported at once.

mod bounds;
mod openid;

pub use bounds::InputBounds;
pub use openid::OpenIdSettings;

use crate::client_address::AddressRanges;
use baton_domain::secret::Secret;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Names of the deployed resources, as `template.yaml` passes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
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

impl Resources {
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
pub struct Timers {
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
pub enum OnOutage {
    /// It goes on.
    Open,
    /// It is refused.
    Closed,
}

impl FromStr for OnOutage {
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
pub struct LimitsOnOutage {
    /// Money.
    pub money: OnOutage,
    /// Requests per minute, and at the same time.
    pub rates: OnOutage,
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
pub struct Otlp {
    /// Counts and times.
    pub metrics: bool,
    /// Spans.
    pub traces: bool,
}

/// From how much of an upstream's limit on an account is taken only if no other serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtilisationMax(pub Option<u32>);

impl FromStr for UtilisationMax {
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
    pub resources: Resources,
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
    pub otlp: Otlp,
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
    pub timers: Timers,
    /// How much of each input is taken, and for how long.
    pub bounds: InputBounds,
    /// In percent of the 5-hour or 7-day limit.
    pub utilisation_max: UtilisationMax,
    /// What becomes of limited requests while the store is out of reach.
    pub limits_on_outage: LimitsOnOutage,
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
#[error("bad settings:{0} the README lists them all")]
pub struct BadSettings(String);

impl Settings {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Self, BadSettings> {
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads variables by `lookup`; an empty one counts as absent.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, BadSettings> {
        let mut bad = String::new();
        let mut source = Source { lookup: &lookup, bad: &mut bad };
        let settings = Self {
            local_stores: local_stores(&source),
            resources: Resources {
                config_table: source.text("BATON_CONFIG_TABLE", ""),
                state_table: source.text("BATON_STATE_TABLE", ""),
                usage_table: source.text("BATON_USAGE_TABLE", ""),
                usage_queue_url: source.text("BATON_USAGE_QUEUE_URL", ""),
                dead_letter_queue_url: source.text("BATON_DEAD_LETTER_QUEUE_URL", ""),
                data_key_id: source.text("BATON_DATA_KEY_ID", ""),
            },
            pepper: source.secret("BATON_KEY_PEPPER"),
            admin_token: admin_token(&mut source),
            session_secret: source.secret("BATON_SESSION_SECRET"),
            secret_arns: SecretArns {
                pepper: source.some_text("BATON_KEY_PEPPER_ARN"),
                admin_token: source.some_text("BATON_ADMIN_TOKEN_ARN"),
                session_secret: source.some_text("BATON_SESSION_SECRET_ARN"),
                openid_client_secret: source.some_text("BATON_OIDC_CLIENT_SECRET_ARN"),
            },
            secret_life: source.seconds("BATON_SECRET_SECONDS", "180"),
            listen: source.parsed("BATON_LISTEN", "127.0.0.1:8080"),
            admin_listen: source.parsed("BATON_ADMIN_LISTEN", "127.0.0.1:8081"),
            stores_listen: source.parsed("BATON_STORES_LISTEN", "127.0.0.1:8000"),
            data_dir: source.parsed("BATON_DATA_DIR", ".baton"),
            stack: source.some_text("BATON_STACK"),
            otlp: Otlp { metrics: source.exports("METRICS"), traces: source.exports("TRACES") },
            metrics_token: source.secret("BATON_METRICS_TOKEN"),
            log_format: source.parsed("BATON_LOG_FORMAT", "text"),
            log: source.text("BATON_LOG", "info"),
            allow_private_upstreams: source.flag("BATON_ALLOW_PRIVATE_UPSTREAMS"),
            anthropic_base_url: source
                .text("BATON_ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
            anthropic_api_key: source.secret("ANTHROPIC_API_KEY"),
            body_bytes_max: source.parsed("BATON_BODY_BYTES_MAX", "33554432"),
            event_days: source.parsed("BATON_EVENT_DAYS", "400"),
            timers: Timers {
                connect: source.seconds("BATON_CONNECT_SECONDS", "10"),
                first_byte: source.seconds("BATON_FIRST_BYTE_SECONDS", "300"),
                idle: source.seconds("BATON_IDLE_SECONDS", "290"),
                overall: source.seconds("BATON_OVERALL_SECONDS", "3600"),
                drain: source.seconds("BATON_DRAIN_SECONDS", "30"),
                token: source.seconds("BATON_TOKEN_SECONDS", "10"),
            },
            bounds: InputBounds::read(&mut source),
            utilisation_max: source.parsed("BATON_UTILISATION_MAX", "95"),
            limits_on_outage: LimitsOnOutage {
                money: source.parsed("BATON_LIMITS_FAIL_MONEY", "closed"),
                rates: source.parsed("BATON_LIMITS_FAIL_RATES", "open"),
            },
            limit_wait: source.seconds("BATON_LIMIT_WAIT_SECONDS", "5"),
            free_calls: FreeCallLimits {
                per_minute: source.parsed("BATON_FREE_CALLS_PER_MINUTE", "60"),
                concurrency: source.parsed("BATON_FREE_CALLS_CONCURRENCY", "8"),
            },
            spend_limit_message: source.some_text("BATON_SPEND_LIMIT_MESSAGE"),
            reservation_margin: source.seconds("BATON_RESERVATION_MARGIN_SECONDS", "420"),
            trusted_proxies: source.parsed("BATON_TRUSTED_PROXIES", ""),
            identity_token_dir: source.some_text("BATON_IDENTITY_TOKEN_DIR").map(PathBuf::from),
            console_origin: openid::console_origin(&mut source),
            admin_allowed: admin_allowed(&mut source),
            relay_url: relay_url(&mut source),
            openid: openid::read(&mut source),
        };
        if !bad.is_empty() {
            return Err(BadSettings(bad));
        }
        let resources = settings.local_stores.as_ref().map(|_| Resources::local());
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
    pub fn require_resources(&self) -> Result<(), BadSettings> {
        let named = [
            ("BATON_CONFIG_TABLE", &self.resources.config_table),
            ("BATON_STATE_TABLE", &self.resources.state_table),
            ("BATON_USAGE_TABLE", &self.resources.usage_table),
            ("BATON_USAGE_QUEUE_URL", &self.resources.usage_queue_url),
        ];
        let mut missing = String::new();
        for (name, _) in named.iter().filter(|(_, value)| value.is_empty()) {
            let _infallible = write!(missing, " {name} is not set;");
        }
        if missing.is_empty() { Ok(()) } else { Err(BadSettings(missing)) }
    }
}

struct Source<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    bad: &'a mut String,
}

impl Source<'_> {
    fn text(&self, name: &str, default: &str) -> String {
        self.some_text(name).unwrap_or_else(|| default.to_owned())
    }

    fn some_text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.is_empty())
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        self.some_text(name).map(Secret::new)
    }

    /// Whether the standard variables of OpenTelemetry name a collector for this signal.
    fn exports(&self, signal: &str) -> bool {
        let is = |name: &str, value: &str| {
            self.some_text(name).is_some_and(|text| text.eq_ignore_ascii_case(value))
        };
        let endpoint = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
        let named = ["OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint].map(|name| self.some_text(name));
        let off = is("OTEL_SDK_DISABLED", "true") || is(&format!("OTEL_{signal}_EXPORTER"), "none");
        named.iter().any(Option::is_some) && !off
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.text(name, "0").as_str() {
            "1" | "true" | "yes" => true,
            "0" | "false" | "no" => false,
            _ => self.complain(name, "is neither 1 nor 0"),
        }
    }

    fn seconds(&mut self, name: &str, default: &str) -> Duration {
        Duration::from_secs_f64(match self.text(name, default).parse::<f64>() {
            Ok(seconds) if (0.0..=1e6).contains(&seconds) => seconds,
            _ => self.complain(name, "is not a number of seconds from 0 to 1000000"),
        })
    }

    fn parsed<T>(&mut self, name: &str, default: &str) -> T
    where
        T: Parseable + FromStr<Err: std::fmt::Display>,
    {
        match self.text(name, default).parse() {
            Ok(value) => value,
            Err(error) => {
                let what = T::EXPECTED.map_or_else(|| error.to_string(), str::to_owned);
                self.complain(name, &what)
            }
        }
    }

    /// Notes the complaint and goes on with any value: the settings are not going to be used.
    fn complain<T: Parseable>(&mut self, name: &str, what: &str) -> T {
        let _infallible = write!(self.bad, " {name} {what};");
        T::placeholder()
    }
}

/// A value that a variable may have.
trait Parseable {
    /// What is wrong with a text that is no such value, in the words of the person who set it. Without
    /// these words the parser's own say so.
    const EXPECTED: Option<&'static str> = None;

    /// What stands in for a value that could not be read.
    fn placeholder() -> Self;
}

macro_rules! placeholder {
    ($($type:ty, $expected:expr => $value:expr),+ $(,)?) => {
        $(impl Parseable for $type {
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
    OnOutage, None => Self::Closed,
    AddressRanges, None => Self::default(),
    UtilisationMax, None => Self(None),
    SocketAddr, Some("is not an IP address and a port, as 127.0.0.1:8080") => Self::from(([127, 0, 0, 1], 0)),
}

/// Address ranges; a text without any is a mistake, since it would let nobody in.
fn admin_allowed(source: &mut Source<'_>) -> Option<AddressRanges> {
    const NAME: &str = "BATON_ADMIN_ALLOWED_CIDRS";
    let text = source.some_text(NAME)?;
    match text.parse::<AddressRanges>() {
        Ok(ranges) if ranges != AddressRanges::default() => Some(ranges),
        _ => {
            let what = "is no list of ranges like 203.0.113.0/24,2001:db8::/32";
            let _unused: bool = source.complain(NAME, what);
            None
        }
    }
}

/// The local stores that `cargo lambda watch` has its functions use. Whoever names tables or an
/// endpoint means those: cargo-lambda's own settings cannot be overridden from outside.
fn local_stores(source: &Source<'_>) -> Option<String> {
    let named = ["BATON_CONFIG_TABLE", "AWS_ENDPOINT_URL"];
    let is_named = named.iter().any(|name| source.some_text(name).is_some());
    source.some_text("BATON_LOCAL_STORES").filter(|_| !is_named)
}

/// The shortest admin token that is taken, in characters: it is asked for from the whole internet.
const ADMIN_TOKEN_MIN: usize = 16;

/// The admin token, if it is set and not one that is quickly guessed.
fn admin_token(source: &mut Source<'_>) -> Option<Secret> {
    const NAME: &str = "BATON_ADMIN_TOKEN";
    let text = source.some_text(NAME)?;
    if text.chars().count() < ADMIN_TOKEN_MIN {
        let what = format!(
            "has fewer than {ADMIN_TOKEN_MIN} characters and can be guessed; \
             `openssl rand -base64 32` makes a good one"
        );
        let _unused: bool = source.complain(NAME, &what);
    }
    Some(Secret::new(text))
}

/// An address that clients can be told, without a slash at its end.
fn relay_url(source: &mut Source<'_>) -> Option<String> {
    let text = source.some_text("BATON_RELAY_URL")?;
    let fits = text.starts_with("https://") || text.starts_with("http://");
    if !fits || text.contains(char::is_whitespace) {
        let _unused: bool =
            source.complain("BATON_RELAY_URL", "is no address like https://llm.example.com");
    }
    Some(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, BadSettings> {
        Settings::read(|name| {
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
    fn local_stores_stand_in_where_nothing_else_is_named() {
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
