//! Messages of the admin API in the words of the command line: the flags of a command in the place of
//! the fields of the API.

use baton_api::error::{CREDENTIAL_AGAIN, rename_fields};

/// The fields of the API that the flags of a command set, each with its flag.
pub(crate) type FieldFlags = &'static [(&'static str, &'static str)];

/// Replaces the fields in a message of the API by flags: "`limits.usd_daily`: expected …, or null"
/// becomes "--usd-daily: expected …, or `none`". Without flags the message stays as it is.
pub(super) fn in_flags(message: &str, flags: FieldFlags) -> String {
    if flags.is_empty() {
        return message.to_owned();
    }
    let message = message
        .replace(", or null", ", or `none`")
        .replace(CREDENTIAL_AGAIN, "use --api-key or --credential in the same command");
    rename_fields(&message, |path| find_flag(path, flags).map(str::to_owned))
}

/// The flag of the field at this path, or of the innermost field around it that has one.
fn find_flag(path: &str, flags: FieldFlags) -> Option<&'static str> {
    let is_around = |field: &str| {
        path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let around = flags.iter().filter(|(field, _)| is_around(field));
    around.max_by_key(|(field, _)| field.len()).map(|(_, flag)| *flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use crate::operate::{account, alert, audit, group, key, limit, price, usage, user};
    use clap::{Command, CommandFactory as _};

    const NO_FLAGS: FieldFlags = &[];

    #[test]
    fn messages_name_flags() {
        for (message, flags, expected) in [
            (
                "`limits.usd_daily`: expected 0 or more, or null for no limit; 0 refuses every request",
                key::FIELD_FLAGS,
                "--usd-daily: expected 0 or more, or `none` for no limit; 0 refuses every request",
            ),
            ("`models[1]`: expected a pattern", key::FIELD_FLAGS, "--model: expected a pattern"),
            ("`standard.input`: too much", price::FIELD_FLAGS, "--input: too much"),
            ("`url`: not a URL", alert::FIELD_FLAGS, "--webhook: not a URL"),
            ("`by`: expected a column", usage::FIELD_FLAGS, "--by: expected a column"),
            ("`credential.header`: no", account::FIELD_FLAGS, "--key-header: no"),
            ("`credential.type`: no", account::FIELD_FLAGS, "--credential: no"),
            (
                "`base_url` is bound; to change it, send `credential` again in the same request",
                account::FIELD_FLAGS,
                "--base-url is bound; to change it, use --api-key or --credential in the same command",
            ),
            ("`role`: expected `admin`", user::FIELD_FLAGS, "--role: expected `admin`"),
            ("`name` is missing, or null", NO_FLAGS, "`name` is missing, or null"),
        ] {
            assert_eq!(in_flags(message, flags), expected);
        }
    }

    fn add_flags(command: &Command, flags: &mut Vec<String>) {
        let own = command.get_arguments().filter_map(|argument| argument.get_long());
        flags.extend(own.map(|long| format!("--{long}")));
        for inner in command.get_subcommands() {
            add_flags(inner, flags);
        }
    }

    #[test]
    fn every_flag_belongs_to_its_command() {
        let program = Args::command();
        for (name, field_flags) in [
            ("account", account::FIELD_FLAGS),
            ("alert", alert::FIELD_FLAGS),
            ("audit", audit::FIELD_FLAGS),
            ("group", group::FIELD_FLAGS),
            ("key", key::FIELD_FLAGS),
            ("limit", limit::FIELD_FLAGS),
            ("price", price::FIELD_FLAGS),
            ("usage", usage::FIELD_FLAGS),
            ("user", user::FIELD_FLAGS),
        ] {
            let mut known = Vec::new();
            add_flags(program.find_subcommand(name).unwrap(), &mut known);
            for (field, flag) in field_flags {
                assert!(known.iter().any(|one| one == flag), "{name}: {field} has no flag {flag}");
            }
        }
    }
}
