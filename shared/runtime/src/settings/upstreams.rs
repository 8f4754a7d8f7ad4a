//! Accounts, and calls to their upstreams.

use super::section::section;
use baton_domain::secret::Secret;
use std::time::Duration;

section! {
    /// Accounts and which upstreams they can have.
    #[derive(Clone)]
    UpstreamSettings("Upstreams") {
        /// The first start makes an account with this key if there is no account; `baton account
        /// add` takes it if there is no other credential.
        anthropic_api_key: Option<Secret> = ANTHROPIC_API_KEY("API key").read_by_program();
        /// The account that the first start makes from `ANTHROPIC_API_KEY` uses this upstream.
        anthropic_base_url: String = BATON_ANTHROPIC_BASE_URL("URL").or("https://api.anthropic.com");
        /// Upstreams can be plain `http` or private addresses; addresses that give out cloud
        /// credentials remain refused.
        allow_private: bool = BATON_ALLOW_PRIVATE_UPSTREAMS("`1` or `0`").or("0");
        /// Baton uses an account above this share of its 5-hour or 7-day limit only if no other
        /// account can serve the request. Until 0.3.0 Baton also reads `BATON_UTILISATION_MAX`.
        max_utilization: Option<u32> = BATON_UTILIZATION_MAX("percent, or `off`")
            .formerly("BATON_UTILISATION_MAX")
            .or("95")
            by parse_percentage;
    }
}

section! {
    /// How long the relay waits for upstreams.
    #[derive(Debug, Clone, Copy)]
    RelayTimeouts("Timeouts") {
        /// Baton waits this long for a connection to the upstream.
        connect: Duration = BATON_CONNECT_SECONDS("seconds").or("10");
        /// Baton waits this long for the first event of a stream, or for the first byte of another
        /// response body.
        first_byte: Duration = BATON_FIRST_BYTE_SECONDS("seconds").or("300");
        /// Baton waits this long between two bytes of a response; Claude Code gives up after 300.
        idle: Duration = BATON_IDLE_SECONDS("seconds").or("290");
        /// A request ends after this time; on Lambda it ends 5 s before the function's deadline, if
        /// that is sooner.
        overall: Duration = BATON_OVERALL_SECONDS("seconds").or("3600");
        /// Baton reads a response this much longer after its client has left, so that it learns the
        /// usage.
        drain: Duration = BATON_DRAIN_SECONDS("seconds").or("30");
        /// A request waits this long for a new access token if no other account can serve it.
        token: Duration = BATON_TOKEN_SECONDS("seconds").or("10");
    }
}

/// A percentage, or none at all.
fn parse_percentage(text: &str) -> Result<Option<u32>, String> {
    match text.parse() {
        Ok(percent) => Ok(Some(percent)),
        Err(_) if text == "off" => Ok(None),
        Err(_) => Err("must be a percentage without `%`, or `off`".to_owned()),
    }
}
