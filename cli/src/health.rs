//! `baton health`: one request to the relay on this machine, for a container's health check.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::Client;

use crate::CliError;

/// Shorter than the timeout of any platform's check.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Sends a request to the relay that listens at `listen`.
///
/// # Errors
/// The relay does not answer in time, or answers without success.
pub(crate) async fn check_health(listen: SocketAddr) -> Result<(), CliError> {
    let url = format!("http://{}/health", reachable(listen));
    // The environment's proxy settings are for upstreams only.
    let client = Client::builder()
        .no_proxy()
        .timeout(HEALTH_CHECK_TIMEOUT)
        .build()
        .map_err(CliError::from_cause)?;
    let requested = client.get(&url).send().await;
    let response = requested.map_err(|error| {
        CliError::Failed(format!("{url} does not answer: {}", error.without_url()))
    })?;
    if response.status().is_success() {
        Ok(())
    } else {
        Err(CliError::Failed(format!("{url} answers with status {}", response.status())))
    }
}

/// A listener on all addresses of this machine is reached at the loopback address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let own = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(own, listen.port())
}
