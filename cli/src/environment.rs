//! The variables of a person's shell that the operator's commands read. All of them are read here,
//! once. `runtime::settings` reads Baton's own settings.

use baton_domain::secret::Secret;
use baton_runtime::settings::{Setting, command_line, secrets, upstreams};

/// The shell's variables about Baton, its clients and proxies.
#[derive(Default)]
pub(crate) struct ShellEnvironment {
    /// `BATON_URL`: the admin API.
    pub(crate) url: Option<String>,
    /// `BATON_ADMIN_TOKEN`.
    pub(crate) admin_token: Option<Secret>,
    /// `BATON_PROFILE`.
    pub(crate) profile: Option<String>,
    /// `ANTHROPIC_BASE_URL`: the address that clients started from this shell use.
    pub(crate) client_base: Option<String>,
    /// `ANTHROPIC_AUTH_TOKEN`: the credential that they send as a bearer token.
    pub(crate) client_bearer: Option<Secret>,
    /// `ANTHROPIC_API_KEY`: the credential that they send in `x-api-key`.
    pub(crate) client_api_key: Option<Secret>,
    /// Those of `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` that are set, in upper or lower case.
    pub(crate) proxies: Vec<&'static str>,
}

/// `TOKIO_WORKER_THREADS`, which is needed before the runtime starts.
pub(crate) fn requested_threads() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the door of the operator's variables")]
    std::env::var(command_line::TOKIO_WORKER_THREADS.name).ok()
}

impl ShellEnvironment {
    /// Reads the process's environment; an empty variable counts as absent.
    pub(crate) fn from_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the door of the operator's variables")]
        Self::from(|name| std::env::var(name).ok())
    }

    /// Reads the variables through `lookup`.
    pub(crate) fn from(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let setting = |setting: &Setting| text(setting.name);
        let proxies =
            ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        Self {
            url: setting(&command_line::BATON_URL),
            admin_token: setting(&secrets::BATON_ADMIN_TOKEN).map(Secret::new),
            profile: setting(&command_line::BATON_PROFILE),
            client_base: setting(&command_line::ANTHROPIC_BASE_URL),
            client_bearer: setting(&command_line::ANTHROPIC_AUTH_TOKEN).map(Secret::new),
            client_api_key: setting(&upstreams::ANTHROPIC_API_KEY).map(Secret::new),
            proxies: proxies.into_iter().filter(|name| text(name).is_some()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use baton_runtime::settings::all_settings;
    use clap::{Command, CommandFactory as _};
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    /// The variables of this command's arguments and of its subcommands.
    fn of_arguments(command: &Command, names: &mut BTreeSet<String>) {
        let variables = command.get_arguments().filter_map(clap::Arg::get_env);
        names.extend(variables.map(|name| name.to_string_lossy().into_owned()));
        command.get_subcommands().for_each(|inner| of_arguments(inner, names));
    }

    #[test]
    fn clap_reads_exactly_the_listed_variables() {
        let seen =
            RefCell::new(BTreeSet::from([command_line::TOKIO_WORKER_THREADS.name.to_owned()]));
        let _environment = ShellEnvironment::from(|name| {
            seen.borrow_mut().insert(name.to_owned());
            None
        });
        let mut seen = seen.into_inner();
        // All HTTP programs share these variables.
        seen.retain(|name| !name.to_ascii_uppercase().ends_with("_PROXY"));
        of_arguments(&Args::command(), &mut seen);
        let listed = all_settings().filter(|setting| setting.is_read_by_program);
        assert_eq!(seen, listed.map(|setting| setting.name.to_owned()).collect());
    }
}
