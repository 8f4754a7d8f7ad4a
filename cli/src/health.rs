//! `baton health`: one request to the relay beside it, for the health check of a container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::Client;

use crate::CliError;

/// Less than the timeout of any platform's check.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the relay that listens at `listen`.
///
/// # Errors
/// When it does not answer in time, or not with success.
pub(crate) async fn check_health(listen: SocketAddr) -> Result<(), CliError> {
    let url = format!("http://{}/health", reachable(listen));
    // A proxy of the environment is for upstreams.
    let client =
        Client::builder().no_proxy().timeout(PATIENCE).build().map_err(CliError::from_cause)?;
    let asked = client.get(&url).send().await;
    let answer = asked.map_err(|error| {
        CliError::Failed(format!("{url} does not answer: {}", error.without_url()))
    })?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(CliError::Failed(format!("{url} answers {}", answer.status())))
    }
}

/// Every address of this machine, as a listener says it, is reached at its own one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let own = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(own, listen.port())
}
