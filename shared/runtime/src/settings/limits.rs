//! Limits of keys, users, groups and the organization.

use super::section::{parsed_values, section};
use std::str::FromStr;
use std::time::Duration;

section! {
    /// Limits of keys, users, groups and the organization.
    #[derive(Clone)]
    LimitSettings("Limits") {
        /// `closed` refuses requests with money limits while the store that counts them fails;
        /// `open` lets them through.
        money_on_outage: OutagePolicy = BATON_LIMITS_FAIL_MONEY("`open` or `closed`").or("closed");
        /// `closed` refuses requests with limits on requests per minute or concurrency while their
        /// store fails; `open` lets them through.
        rates_on_outage: OutagePolicy = BATON_LIMITS_FAIL_RATES("`open` or `closed`").or("open");
        /// A request waits this long for money that other requests have reserved.
        wait: Duration = BATON_LIMIT_WAIT_SECONDS("seconds").or("5");
        /// Baton settles a reservation as an estimate if no usage record arrives until this long
        /// after the request's deadline. A value below 360 (the seconds for which the usage queue hides
        /// a message) lets an estimate overtake a record on its way.
        reservation_margin: Duration = BATON_RESERVATION_MARGIN_SECONDS("seconds").or("420");
        /// Clients see this text in the error about a spent limit, unless the API sets another.
        spend_limit_message: Option<String> = BATON_SPEND_LIMIT_MESSAGE("text")
            .unless_set("no text is added");
        /// Each key can count tokens and list models this often in a minute, in each process.
        free_calls_per_minute: u32 = BATON_FREE_CALLS_PER_MINUTE("number").or("60");
        /// Each key can have this many such calls under way at the same time, in each process.
        free_calls_concurrency: u32 = BATON_FREE_CALLS_CONCURRENCY("number").or("8");
    }
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

parsed_values! {
    OutagePolicy;
}
