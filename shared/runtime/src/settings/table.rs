//! The table of all settings: what the environment can decide, with defaults and explanations.
//!
//! The code that reads a setting takes its name and default from here, and
//! `docs/reference/settings.md` is generated from here, so the two cannot disagree.

/// One environment variable that Baton, or a library inside it, reads.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// The value that is used if the variable is absent or empty, in the form of the variable. Empty
    /// if the setting has no default value.
    pub default: &'static str,
    /// For a setting without a default value: a description of the behavior without it. Can be
    /// empty.
    pub unless_set: &'static str,
    /// The accepted values: a unit, or a list of words.
    pub values: &'static str,
    /// The part of the reference that it belongs to.
    pub section: Section,
    /// Whether `template.yaml` sets it for the functions.
    pub is_set_by_template: bool,
    /// The parts of the program that read it.
    pub readers: &'static [Reader],
    documentation: &'static str,
}

/// A part of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Where Baton listens and is found.
    Addresses,
    /// Where data is.
    Storage,
    /// Tokens and keys of Baton itself.
    Secrets,
    /// Accounts and calls to them.
    Upstreams,
    /// Limits of keys, users, groups and the organization.
    Limits,
    /// How much of each input is taken, and how long Baton waits for it.
    Bounds,
    /// The OpenID provider of the console.
    SignIn,
    /// Log, metrics and traces.
    Observability,
    /// The operator's commands, and the process.
    CommandLine,
}

impl Section {
    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Addresses => "Addresses",
            Self::Storage => "Data and AWS resources",
            Self::Secrets => "Secrets",
            Self::Upstreams => "Upstreams",
            Self::Limits => "Limits",
            Self::Bounds => "Bounds",
            Self::SignIn => "Sign-in by OpenID",
            Self::Observability => "Log, metrics and traces",
            Self::CommandLine => "Command line",
        }
    }
}

/// A reader of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// [`Settings`](super::Settings): `baton up`, `baton serve` and the functions.
    Settings,
    /// Other parts of the `baton` program, such as the operator's commands.
    Program,
    /// The OpenTelemetry exporter, by itself.
    Exporter,
}

impl Setting {
    const fn new(name: &'static str, values: &'static str) -> Self {
        Self {
            name,
            default: "",
            unless_set: "",
            values,
            section: Section::Addresses,
            is_set_by_template: false,
            readers: &[Reader::Settings],
            documentation: "",
        }
    }

    const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    const fn unless_set(self, unless_set: &'static str) -> Self {
        Self { unless_set, ..self }
    }

    const fn set_by_template(self) -> Self {
        Self { is_set_by_template: true, ..self }
    }

    const fn read_by(self, readers: &'static [Reader]) -> Self {
        Self { readers, ..self }
    }

    const fn explained(self, section: Section, documentation: &'static str) -> Self {
        Self { section, documentation, ..self }
    }

    /// One or two sentences that say what it is for.
    pub fn explanation(&self) -> &'static str {
        self.documentation.trim_start()
    }

    /// The help of a flag that overrides it: `summary`, then the variable and its default.
    pub fn flag_help(&self, summary: &str) -> String {
        let Self { name, default, .. } = self;
        if default.is_empty() {
            format!("{summary} [env: {name}]")
        } else {
            format!("{summary} [env: {name}] [default: {default}]")
        }
    }
}

const PROGRAM: &[Reader] = &[Reader::Program];
const EXPORTER: &[Reader] = &[Reader::Exporter];
const BOTH: &[Reader] = &[Reader::Settings, Reader::Program];

/// Makes a constant of each setting, whose documentation is its explanation, and the table of all.
macro_rules! settings {
    ($($section:ident {
        $($(#[doc = $line:literal])+ $constant:ident = $setting:expr;)+
    })+) => {
        $($(
            $(#[doc = $line])+
            pub const $constant: Setting =
                $setting.explained(Section::$section, concat!($($line),+));
        )+)+
        /// All settings, section by section.
        pub static SETTINGS: &[Setting] = &[$($($constant),+),+];
    };
}

settings! {
    Addresses {
        /// The relay listens here.
        LISTEN = Setting::new("BATON_LISTEN", "address and port").or("127.0.0.1:8080");
        /// The admin API and the console listen here.
        ADMIN_LISTEN = Setting::new("BATON_ADMIN_LISTEN", "address and port").or("127.0.0.1:8081");
        /// `baton up --only-stores` offers the local stores here.
        STORES_LISTEN = Setting::new("BATON_STORES_LISTEN", "address and port")
            .or("127.0.0.1:8000");
        /// Baton reads the client's address from `x-forwarded-for` if the request comes from one of
        /// these proxies.
        TRUSTED_PROXIES =
            Setting::new(
                "BATON_TRUSTED_PROXIES",
                "addresses and ranges, such as `10.0.0.0/8, fd00::/8`",
            )
                .unless_set("no proxy is trusted");
        /// The admin API and the console answer only these addresses; others get 403.
        ADMIN_ALLOWED_CIDRS =
            Setting::new(
                "BATON_ADMIN_ALLOWED_CIDRS",
                "ranges, such as `203.0.113.0/24,2001:db8::/32`",
            )
                .unless_set("every address")
                .set_by_template();
        /// The console shows this URL to people who connect a client.
        RELAY_URL = Setting::new("BATON_RELAY_URL", "`http` or `https` URL")
            .unless_set("the URL of `BATON_LISTEN`")
            .set_by_template();
        /// Browsers reach the console at this origin; set it if a proxy passes on neither `host`
        /// nor `x-forwarded-proto`.
        CONSOLE_ORIGIN =
            Setting::new("BATON_CONSOLE_ORIGIN", "origin, such as `https://admin.example.com`")
                .unless_set("what the request's headers say");
    }
    Storage {
        /// `baton up` keeps its database, queue and secrets in this folder.
        DATA_DIR = Setting::new("BATON_DATA_DIR", "folder").or(".baton");
        /// `baton up` offers only the local stores, as with the flag `--only-stores`.
        ONLY_STORES = Setting::new("BATON_ONLY_STORES", "`true` or `false`")
            .or("false")
            .read_by(PROGRAM);
        /// Baton deletes the record of a single request after this time; sums remain.
        EVENT_DAYS = Setting::new("BATON_EVENT_DAYS", "days").or("400");
        /// This table holds keys, groups, accounts, users and prices.
        CONFIG_TABLE = Setting::new("BATON_CONFIG_TABLE", "name of a DynamoDB table")
            .set_by_template();
        /// This table holds limits, the health of accounts, leases and pending records.
        STATE_TABLE = Setting::new("BATON_STATE_TABLE", "name of a DynamoDB table")
            .set_by_template();
        /// This table holds the record of each request, sums and the audit trail.
        USAGE_TABLE = Setting::new("BATON_USAGE_TABLE", "name of a DynamoDB table")
            .set_by_template();
        /// The relay sends usage records to this queue.
        USAGE_QUEUE_URL = Setting::new("BATON_USAGE_QUEUE_URL", "URL of an SQS queue")
            .set_by_template();
        /// Usage records that cannot be stored are in this queue.
        DEAD_LETTER_QUEUE_URL = Setting::new("BATON_DEAD_LETTER_QUEUE_URL", "URL of an SQS queue")
            .set_by_template();
        /// This key encrypts the data key, which encrypts stored credentials.
        DATA_KEY_ID = Setting::new("BATON_DATA_KEY_ID", "id or ARN of a KMS key").set_by_template();
        /// The functions use the stores of `baton up --only-stores` at this URL; `cargo lambda
        /// watch` sets it.
        LOCAL_STORES = Setting::new("BATON_LOCAL_STORES", "URL").unless_set("AWS");
        /// The AWS SDK sends its calls to this endpoint; Baton then ignores `BATON_LOCAL_STORES`.
        AWS_ENDPOINT_URL = Setting::new("AWS_ENDPOINT_URL", "URL").unless_set("AWS");
    }
    Secrets {
        /// The admin API and the console accept this token; the operator's commands send it.
        ADMIN_TOKEN = Setting::new("BATON_ADMIN_TOKEN", "text of at least 16 characters")
            .unless_set("generated at the first start")
            .read_by(BOTH);
        /// Baton hashes the secrets of relay keys together with this value.
        KEY_PEPPER = Setting::new("BATON_KEY_PEPPER", "text")
            .unless_set("generated at the first start");
        /// Baton signs console sessions with this value; sessions end if it changes.
        SESSION_SECRET = Setting::new("BATON_SESSION_SECRET", "text")
            .unless_set("generated at first use");
        /// This bearer token reads `/metrics` and nothing else.
        METRICS_TOKEN = Setting::new("BATON_METRICS_TOKEN", "text")
            .unless_set("only the admin token reads `/metrics`");
        /// Baton reads the admin token from this secret and ignores `BATON_ADMIN_TOKEN`.
        ADMIN_TOKEN_ARN =
            Setting::new("BATON_ADMIN_TOKEN_ARN", "ARN or name in AWS Secrets Manager")
                .set_by_template();
        /// Baton reads the pepper from this secret and ignores `BATON_KEY_PEPPER`.
        KEY_PEPPER_ARN = Setting::new("BATON_KEY_PEPPER_ARN", "ARN or name in AWS Secrets Manager")
            .set_by_template();
        /// Baton reads the session secret from this secret and ignores `BATON_SESSION_SECRET`.
        SESSION_SECRET_ARN =
            Setting::new("BATON_SESSION_SECRET_ARN", "ARN or name in AWS Secrets Manager")
                .set_by_template();
        /// Baton reads the OpenID client secret from this secret and ignores
        /// `BATON_OIDC_CLIENT_SECRET`.
        OIDC_CLIENT_SECRET_ARN =
            Setting::new("BATON_OIDC_CLIENT_SECRET_ARN", "ARN or name in AWS Secrets Manager")
                .set_by_template();
        /// Baton reads a secret from AWS Secrets Manager again after this time.
        SECRET_SECONDS = Setting::new("BATON_SECRET_SECONDS", "seconds").or("180");
        /// The `identity_token_file` of an account can name files of this folder only.
        IDENTITY_TOKEN_DIR = Setting::new("BATON_IDENTITY_TOKEN_DIR", "folder")
            .unless_set("no file can be named");
    }
    Upstreams {
        /// The first start creates an account with this key unless an account exists. `baton account
        /// add` uses it if no other credential is given.
        ANTHROPIC_API_KEY = Setting::new("ANTHROPIC_API_KEY", "API key").read_by(BOTH);
        /// The account that the first start makes from `ANTHROPIC_API_KEY` uses this upstream.
        FIRST_ACCOUNT_BASE_URL = Setting::new("BATON_ANTHROPIC_BASE_URL", "URL")
            .or("https://api.anthropic.com");
        /// Upstreams can be plain `http` or private addresses; addresses that give out cloud
        /// credentials remain refused.
        ALLOW_PRIVATE_UPSTREAMS = Setting::new("BATON_ALLOW_PRIVATE_UPSTREAMS", "`1` or `0`")
            .or("0");
        /// Baton waits this long for a connection to the upstream.
        CONNECT_SECONDS = Setting::new("BATON_CONNECT_SECONDS", "seconds").or("10");
        /// Baton waits this long for the first event of a stream, or for the first byte of another
        /// response body.
        FIRST_BYTE_SECONDS = Setting::new("BATON_FIRST_BYTE_SECONDS", "seconds").or("300");
        /// Baton waits this long between two bytes of a response; Claude Code gives up after 300.
        IDLE_SECONDS = Setting::new("BATON_IDLE_SECONDS", "seconds").or("290");
        /// A request ends after this time; on Lambda it ends 5 s before the function's deadline, if
        /// that is sooner.
        OVERALL_SECONDS = Setting::new("BATON_OVERALL_SECONDS", "seconds").or("3600");
        /// Baton reads a response this much longer after its client has left, so that it learns the
        /// usage.
        DRAIN_SECONDS = Setting::new("BATON_DRAIN_SECONDS", "seconds").or("30");
        /// A request waits this long for a new access token if no other account can serve it.
        TOKEN_SECONDS = Setting::new("BATON_TOKEN_SECONDS", "seconds").or("10");
        /// Baton uses an account above this share of its 5-hour or 7-day limit only if no other
        /// account can serve the request.
        UTILISATION_MAX = Setting::new("BATON_UTILISATION_MAX", "percent, or `off`").or("95");
    }
    Limits {
        /// `closed` refuses requests with money limits while the store that counts them fails;
        /// `open` lets them through.
        LIMITS_FAIL_MONEY = Setting::new("BATON_LIMITS_FAIL_MONEY", "`open` or `closed`")
            .or("closed");
        /// The same for limits on requests per minute and on concurrency.
        LIMITS_FAIL_RATES = Setting::new("BATON_LIMITS_FAIL_RATES", "`open` or `closed`")
            .or("open");
        /// A request waits this long for money that other requests have reserved.
        LIMIT_WAIT_SECONDS = Setting::new("BATON_LIMIT_WAIT_SECONDS", "seconds").or("5");
        /// Baton settles a reservation as an estimate if no usage record arrives until this long
        /// after the request's deadline. A value below 360 (the seconds for which the usage queue hides
        /// a message) lets an estimate overtake a record on its way.
        RESERVATION_MARGIN_SECONDS = Setting::new("BATON_RESERVATION_MARGIN_SECONDS", "seconds")
            .or("420");
        /// Clients see this text in the error about a spent limit, unless the API sets another.
        SPEND_LIMIT_MESSAGE = Setting::new("BATON_SPEND_LIMIT_MESSAGE", "text")
            .unless_set("no text is added");
        /// Each key can count tokens and list models this often in a minute, in each process.
        FREE_CALLS_PER_MINUTE = Setting::new("BATON_FREE_CALLS_PER_MINUTE", "number").or("60");
        /// Each key can have this many such calls under way at the same time, in each process.
        FREE_CALLS_CONCURRENCY = Setting::new("BATON_FREE_CALLS_CONCURRENCY", "number").or("8");
    }
    Bounds {
        /// A larger request body is refused with 413; on Lambda the platform's limit of 6 MB comes
        /// first.
        BODY_BYTES_MAX = Setting::new("BATON_BODY_BYTES_MAX", "bytes").or("33554432");
        /// A client can take this long to send a request body.
        BODY_SECONDS = Setting::new("BATON_BODY_SECONDS", "seconds").or("300");
        /// The rate of a request body is measured over periods of this length.
        BODY_STALL_SECONDS = Setting::new("BATON_BODY_STALL_SECONDS", "seconds").or("20");
        /// A request body that arrives more slowly than this is refused with 408.
        BODY_BYTES_PER_SECOND = Setting::new("BATON_BODY_BYTES_PER_SECOND", "bytes").or("1024");
        /// All keys together can have this much of request bodies in memory until upstreams answer.
        HELD_BYTES_MAX = Setting::new("BATON_HELD_BYTES_MAX", "bytes").or("134217728");
        /// One key can have this much of request bodies in memory until upstreams answer.
        HELD_BYTES_PER_KEY = Setting::new("BATON_HELD_BYTES_PER_KEY", "bytes").or("67108864");
        /// A client can take this long to send the headers of a request.
        HEAD_SECONDS = Setting::new("BATON_HEAD_SECONDS", "seconds").or("30");
        /// Baton closes a connection without requests after this time.
        KEEP_ALIVE_SECONDS = Setting::new("BATON_KEEP_ALIVE_SECONDS", "seconds").or("75");
        /// Baton closes a connection whose client reads nothing of a waiting response for this
        /// long.
        UNREAD_SECONDS = Setting::new("BATON_UNREAD_SECONDS", "seconds").or("120");
        /// This many connections can be open at the same time, for the relay and for the admin API
        /// each.
        CONNECTIONS_MAX = Setting::new("BATON_CONNECTIONS_MAX", "number").or("10000");
        /// One client address can have this many connections open at the same time.
        CONNECTIONS_PER_ADDRESS = Setting::new("BATON_CONNECTIONS_PER_ADDRESS", "number")
            .or("4000");
        /// This many requests can wait at the same time until the store has returned their key.
        WAITING_REQUESTS_MAX = Setting::new("BATON_WAITING_REQUESTS_MAX", "number").or("2048");
        /// One client address can send this many unknown keys in a minute before they are delayed.
        WRONG_KEYS_PER_MINUTE = Setting::new("BATON_WRONG_KEYS_PER_MINUTE", "number").or("60");
        /// A larger response that is not a stream fails with 502.
        ANSWER_BYTES_MAX = Setting::new("BATON_ANSWER_BYTES_MAX", "bytes").or("33554432");
        /// A stream that sends more than this before its first event fails with 502.
        FIRST_EVENT_BYTES_MAX = Setting::new("BATON_FIRST_EVENT_BYTES_MAX", "bytes").or("1048576");
        /// Responses under way can go on for this long after SIGTERM or Ctrl-C; then they end with
        /// an error and are recorded.
        STOP_SECONDS = Setting::new("BATON_STOP_SECONDS", "seconds").or("60");
    }
    SignIn {
        /// People sign in to the console at this OpenID provider; write the URL exactly as the
        /// provider does.
        OIDC_ISSUER = Setting::new("BATON_OIDC_ISSUER", "URL")
            .unless_set("no sign-in by OpenID")
            .set_by_template();
        /// The provider knows the console under this client id; it is required if there is an
        /// issuer.
        OIDC_CLIENT_ID = Setting::new("BATON_OIDC_CLIENT_ID", "text").set_by_template();
        /// The console proves its client id with this secret.
        OIDC_CLIENT_SECRET = Setting::new("BATON_OIDC_CLIENT_SECRET", "text")
            .unless_set("a public client");
        /// These people can sign in; `*` is everybody at the issuer.
        OIDC_ALLOWED =
            Setting::new(
                "BATON_OIDC_ALLOWED",
                "e-mail addresses and domains, such as `example.com, ada@example.org`, or `*`",
            )
                .unless_set("every user that exists")
                .set_by_template();
        /// A person in `BATON_OIDC_ALLOWED` becomes a user at the first sign-in.
        OIDC_CREATE_USERS = Setting::new("BATON_OIDC_CREATE_USERS", "`1` or `0`")
            .or("0")
            .set_by_template();
        /// A person with this claim is an administrator; all others get the default role at each
        /// sign-in.
        OIDC_ADMIN_CLAIM =
            Setting::new("BATON_OIDC_ADMIN_CLAIM", "claim and value, such as `groups=baton-admins`")
                .unless_set("roles stay as they were set")
                .set_by_template();
        /// A new user gets this role, and so does a person without the admin claim.
        OIDC_DEFAULT_ROLE = Setting::new("BATON_OIDC_DEFAULT_ROLE", "`member` or `admin`")
            .or("member")
            .set_by_template();
    }
    Observability {
        /// Log lines are text for people, or one JSON object each.
        LOG_FORMAT = Setting::new("BATON_LOG_FORMAT", "`text` or `json`")
            .or("text")
            .set_by_template();
        /// Baton logs these levels; libraries never log below `info`.
        LOG = Setting::new("BATON_LOG", "level, or `info,baton_relay=debug`").or("info");
        /// The functions write CloudWatch metrics into their logs under this name.
        STACK = Setting::new("BATON_STACK", "text")
            .unless_set("no metrics in logs")
            .set_by_template();
        /// Baton sends metrics and traces to this OpenTelemetry collector (OTLP over HTTP,
        /// protobuf).
        OTLP_ENDPOINT = Setting::new("OTEL_EXPORTER_OTLP_ENDPOINT", "URL")
            .unless_set("nothing is sent");
        /// Baton sends metrics to this URL.
        OTLP_METRICS_ENDPOINT = Setting::new("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "URL")
            .unless_set("a path below `OTEL_EXPORTER_OTLP_ENDPOINT`");
        /// Baton sends traces to this URL.
        OTLP_TRACES_ENDPOINT = Setting::new("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "URL")
            .unless_set("a path below `OTEL_EXPORTER_OTLP_ENDPOINT`");
        /// The exporter sends these headers to the collector.
        OTLP_HEADERS = Setting::new("OTEL_EXPORTER_OTLP_HEADERS", "`name=value,name=value`")
            .read_by(EXPORTER);
        /// The exporter waits this long for the collector.
        OTLP_TIMEOUT = Setting::new("OTEL_EXPORTER_OTLP_TIMEOUT", "milliseconds")
            .unless_set("the exporter's own default")
            .read_by(EXPORTER);
        /// The exporter sends metrics this often.
        METRIC_EXPORT_INTERVAL = Setting::new("OTEL_METRIC_EXPORT_INTERVAL", "milliseconds")
            .unless_set("the exporter's own default")
            .read_by(EXPORTER);
        /// `none` sends no metrics.
        METRICS_EXPORTER = Setting::new("OTEL_METRICS_EXPORTER", "`none`")
            .unless_set("metrics are sent if there is an endpoint");
        /// `none` sends no traces.
        TRACES_EXPORTER = Setting::new("OTEL_TRACES_EXPORTER", "`none`")
            .unless_set("traces are sent if there is an endpoint");
        /// `true` sends neither metrics nor traces.
        SDK_DISABLED = Setting::new("OTEL_SDK_DISABLED", "`true`");
        /// Metrics and traces carry this service name.
        SERVICE_NAME = Setting::new("OTEL_SERVICE_NAME", "text")
            .or("baton")
            .read_by(EXPORTER);
        /// Metrics and traces carry these attributes.
        RESOURCE_ATTRIBUTES =
            Setting::new("OTEL_RESOURCE_ATTRIBUTES", "`name=value,name=value`").read_by(EXPORTER);
        /// The exporter chooses by this sampler which requests it traces.
        TRACES_SAMPLER =
            Setting::new("OTEL_TRACES_SAMPLER", "name of an OpenTelemetry sampler")
                .unless_set("the exporter's own default")
                .read_by(EXPORTER);
        /// The sampler takes this argument, such as a ratio.
        TRACES_SAMPLER_ARG = Setting::new("OTEL_TRACES_SAMPLER_ARG", "depends on the sampler")
            .read_by(EXPORTER);
    }
    CommandLine {
        /// The operator's commands send their calls to this admin API.
        URL = Setting::new("BATON_URL", "URL").or("http://127.0.0.1:8081").read_by(PROGRAM);
        /// The operator's commands take address and token from this profile.
        PROFILE = Setting::new("BATON_PROFILE", "name of a profile")
            .unless_set("the current profile")
            .read_by(PROGRAM);
        /// `baton doctor` checks the relay at this URL.
        CLIENT_BASE_URL = Setting::new("ANTHROPIC_BASE_URL", "URL")
            .or("http://127.0.0.1:8080")
            .read_by(PROGRAM);
        /// `baton doctor` checks this key.
        CLIENT_TOKEN = Setting::new("ANTHROPIC_AUTH_TOKEN", "relay key")
            .unless_set("the value of `ANTHROPIC_API_KEY`")
            .read_by(PROGRAM);
        /// The process uses this many threads.
        WORKER_THREADS = Setting::new("TOKIO_WORKER_THREADS", "number")
            .unless_set("one for each core")
            .read_by(PROGRAM);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    /// What [`Settings::from_lookup`] looks up where these variables are set.
    fn looked_up(variables: &[(&str, &str)]) -> BTreeSet<String> {
        let seen = RefCell::new(BTreeSet::new());
        let _settings = Settings::from_lookup(|name| {
            seen.borrow_mut().insert(name.to_owned());
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        });
        seen.into_inner()
    }

    #[test]
    fn settings_read_exactly_the_listed_variables() {
        // The provider's other variables are looked up only if there is a provider.
        let seen = looked_up(&[(OIDC_ISSUER.name, "https://id.example")]);
        let listed = SETTINGS.iter().filter(|setting| setting.readers.contains(&Reader::Settings));
        assert_eq!(seen, listed.map(|setting| setting.name.to_owned()).collect());
    }

    #[test]
    fn each_setting_is_listed_once_with_a_valid_default() {
        let names: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert_eq!(names.len(), SETTINGS.len());
        let defaults = |name: &str| {
            let found = SETTINGS.iter().find(|setting| setting.name == name);
            found.map(|setting| setting.default.to_owned())
        };
        let client = (OIDC_CLIENT_ID.name, "baton");
        let issuer = (OIDC_ISSUER.name, "https://id.example");
        let read = Settings::from_lookup(|name| {
            let set = [client, issuer].into_iter().find(|(key, _)| *key == name);
            set.map(|(_, value)| value.to_owned()).or_else(|| defaults(name))
        });
        assert!(read.is_ok(), "{:?}", read.err());
        for setting in SETTINGS {
            assert!(setting.explanation().ends_with('.'), "{}", setting.name);
            assert!(
                setting.default.is_empty() || setting.unless_set.is_empty(),
                "{}",
                setting.name
            );
        }
    }
}
