//! Tokens and keys of Baton itself: as text, or as the name of a secret in AWS Secrets Manager.

use super::section::section;
use baton_domain::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// Tokens and keys of Baton itself.
    #[derive(Clone)]
    SecretSettings("Secrets") {
        /// The admin API and the console accept this token; the operator's commands send it.
        admin_token: Option<Secret> = BATON_ADMIN_TOKEN("text of at least 16 characters")
            .unless_set("generated at the first start")
            .read_by_program()
            by parse_admin_token;
        /// Baton hashes the secrets of relay keys together with this value.
        pepper: Option<Secret> = BATON_KEY_PEPPER("text")
            .unless_set("generated at the first start");
        /// Baton signs console sessions with this value; sessions end if it changes.
        session_secret: Option<Secret> = BATON_SESSION_SECRET("text")
            .unless_set("generated at first use");
        /// This bearer token reads `/metrics` and nothing else.
        metrics_token: Option<Secret> = BATON_METRICS_TOKEN("text")
            .unless_set("only the admin token reads `/metrics`");
        /// Baton reads the admin token from this secret and ignores `BATON_ADMIN_TOKEN`.
        admin_token_arn: Option<String> =
            BATON_ADMIN_TOKEN_ARN("ARN or name in AWS Secrets Manager").set_by_template();
        /// Baton reads the pepper from this secret and ignores `BATON_KEY_PEPPER`.
        pepper_arn: Option<String> =
            BATON_KEY_PEPPER_ARN("ARN or name in AWS Secrets Manager").set_by_template();
        /// Baton reads the session secret from this secret and ignores `BATON_SESSION_SECRET`.
        session_secret_arn: Option<String> =
            BATON_SESSION_SECRET_ARN("ARN or name in AWS Secrets Manager").set_by_template();
        /// Baton reads a secret from AWS Secrets Manager again after this time.
        lifetime: Duration = BATON_SECRET_SECONDS("seconds").or("180");
        /// The `identity_token_file` of an account can name files of this folder only.
        identity_token_dir: Option<PathBuf> = BATON_IDENTITY_TOKEN_DIR("folder")
            .unless_set("no file can be named");
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

/// The shortest admin token, in characters. The whole internet can try to guess it.
const ADMIN_TOKEN_MIN: usize = 16;

/// The admin token, if it is set; too short ones are an error.
fn parse_admin_token(text: &str) -> Result<Option<Secret>, String> {
    match text.chars().count() {
        0 => Ok(None),
        ADMIN_TOKEN_MIN.. => Ok(Some(Secret::new(text.to_owned()))),
        _ => Err(format!(
            "must have at least {ADMIN_TOKEN_MIN} characters, because shorter tokens can be \
             guessed; `openssl rand -base64 32` generates one"
        )),
    }
}
