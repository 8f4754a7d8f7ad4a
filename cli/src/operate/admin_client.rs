//! The only client of the admin API: requests, pages, and failures in one line that says what to
//! do. The commands decide what to request and how to show the answer.

use super::field_flags::{FieldFlags, in_flags};
use crate::CliError;
use crate::profile::target::{AdminTarget, check_address};
use baton_api::list::ResourceList;
use baton_domain::secret::Secret;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::error::Error;
use std::io::Write;

/// The largest page that the API returns.
const PAGE_ROWS: usize = 1000;

/// A client of one deployment's admin API, acting for the operator.
#[derive(Clone)]
pub(crate) struct AdminClient {
    base_url: Url,
    token: Secret,
    http: Client,
    /// The flags of the command, for messages of the API.
    flags: FieldFlags,
}

impl AdminClient {
    /// Creates a client for the target, without I/O.
    pub(crate) fn new(target: AdminTarget) -> Result<Self, CliError> {
        let base_url = check_address(&target.url)?;
        // A redirect would send the admin token to another address.
        let http = Client::builder().redirect(reqwest::redirect::Policy::none());
        Ok(Self {
            base_url,
            token: target.token,
            http: http.build().map_err(CliError::from_cause)?,
            flags: &[],
        })
    }

    /// Messages of the API name these flags in the place of fields.
    pub(crate) fn with_flags(self, flags: FieldFlags) -> Self {
        Self { flags, ..self }
    }

    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, CliError> {
        self.answer(self.request(Method::GET, path, query)?).await
    }

    pub(crate) async fn post(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Value, CliError> {
        self.answer(with_json(self.request(Method::POST, path, &[])?, body)).await
    }

    pub(crate) async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        self.answer(with_json(self.request(Method::PATCH, path, &[])?, body)).await
    }

    /// Replaces the resource with this version; 0 means any. The API refuses this if the resource has
    /// changed since.
    pub(crate) async fn put_versioned(
        &self,
        version: u64,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Value, CliError> {
        let request = self.request(Method::PUT, path, &[])?;
        let request = match version {
            0 => request,
            version => request.header("if-match", format!("\"{version}\"")),
        };
        self.answer(with_json(request, body)).await
    }

    pub(crate) async fn delete(&self, path: &[&str]) -> Result<Value, CliError> {
        self.delete_where(path, &[]).await
    }

    pub(crate) async fn delete_where(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, CliError> {
        self.answer(self.request(Method::DELETE, path, query)?).await
    }

    /// Creates a resource. Another call with the same `key` creates nothing more if the API
    /// supports idempotency for it.
    pub(crate) async fn post_once(
        &self,
        path: &[&str],
        body: &impl Serialize,
        key: &str,
    ) -> Result<Value, CliError> {
        let request = self.request(Method::POST, path, &[])?.header("idempotency-key", key);
        self.answer(with_json(request, body)).await
    }

    /// All pages of a list, joined.
    pub(crate) async fn all(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, CliError> {
        Ok(json!(self.get_pages(path, query, usize::MAX).await?))
    }

    /// The pages of a list that are needed for `max` rows, joined, with the cursor if there are
    /// more.
    pub(crate) async fn get_pages(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        max: usize,
    ) -> Result<ResourceList<Value>, CliError> {
        let (mut data, mut cursor) = (Vec::new(), None::<String>);
        let wait = progress_spinner();
        loop {
            let limit = max.saturating_sub(data.len()).min(PAGE_ROWS).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &limit));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: ResourceList<Value> = read_answer(&self.get(path, &query).await?)?;
            data.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() || data.len() >= max {
                wait.finish_and_clear();
                return Ok(ResourceList { data, next_cursor: cursor });
            }
            wait.set_message(format!("{} rows", data.len()));
            wait.tick();
        }
    }

    /// Writes the answer to `out` while it arrives, and returns the number of bytes.
    pub(crate) async fn download(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        out: &mut dyn Write,
    ) -> Result<u64, CliError> {
        let request = self.request(Method::GET, path, query)?;
        let mut response = request.send().await.map_err(|error| self.unreachable_error(&error))?;
        if !response.status().is_success() {
            let (status, bytes) = (response.status(), response.bytes().await.unwrap_or_default());
            return Err(self.refused(status, &serde_json::from_slice(&bytes).unwrap_or_default()));
        }
        let broken = |error: reqwest::Error| {
            let cause = root_cause(&error);
            CliError::Failed(format!(
                "the connection broke before the file was complete ({cause}); export a shorter \
                 period"
            ))
        };
        let (mut bytes, wait) = (0, progress_spinner());
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            out.write_all(&chunk).map_err(CliError::from_cause)?;
            bytes += u64::try_from(chunk.len()).unwrap_or_default();
            wait.set_message(format!("{bytes} bytes"));
            wait.tick();
        }
        wait.finish_and_clear();
        Ok(bytes)
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<RequestBuilder, CliError> {
        if self.token.expose().is_empty() {
            let message = "no admin token was given; set BATON_ADMIN_TOKEN (the first start shows \
                 it), or store it with `baton profile add`";
            return Err(CliError::Usage(message.to_owned()));
        }
        let url = self.build_url(path, query);
        Ok(self.http.request(method, url).bearer_auth(self.token.expose()))
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let response = request.send().await.map_err(|error| self.unreachable_error(&error))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| self.unreachable_error(&error))?;
        if status.is_success() && bytes.is_empty() {
            return Ok(Value::Null);
        }
        match serde_json::from_slice(&bytes) {
            Ok(value) if status.is_success() => Ok(value),
            Ok(value) => Err(self.refused(status, &value)),
            Err(_) => Err(CliError::Failed(format!(
                "{} is not Baton's admin API (it answers with status {status}); set another \
                 address with --url, BATON_URL or a profile",
                self.base_url
            ))),
        }
    }

    fn build_url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn unreachable_error(&self, error: &reqwest::Error) -> CliError {
        let base_url = self.base_url.as_str().trim_end_matches('/');
        CliError::Failed(format!(
            "{base_url} does not answer ({}); check that `baton up` runs there, or set another address \
             with --url, BATON_URL or a profile",
            root_cause(error)
        ))
    }

    fn refused(&self, status: StatusCode, response: &Value) -> CliError {
        let said = response["error"]["message"].as_str().unwrap_or("the answer has no reason");
        let said = in_flags(said, self.flags);
        let base_url = self.base_url.as_str().trim_end_matches('/');
        if matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) {
            return CliError::Refused(said);
        }
        CliError::Failed(match status {
            StatusCode::UNAUTHORIZED if self.token.expose().starts_with("bt_") => {
                format!(
                    "{base_url} does not accept this token: this is a relay key (bt_…); set the \
                     admin token (bta_…) of that deployment with BATON_ADMIN_TOKEN, --token or a \
                     profile"
                )
            }
            StatusCode::UNAUTHORIZED => {
                format!(
                    "{base_url} does not accept the admin token; set the token of that deployment with \
                     BATON_ADMIN_TOKEN, --token or a profile"
                )
            }
            StatusCode::NOT_FOUND if !said.contains("does not exist") => {
                format!(
                    "{base_url} is not Baton's admin API ({said}); set another address with --url, \
                     BATON_URL or a profile"
                )
            }
            StatusCode::NOT_FOUND if said.contains("this route") => {
                format!(
                    "the Baton at {base_url} does not support this command; update it to the version \
                     of this program"
                )
            }
            StatusCode::NOT_FOUND => {
                format!("{said}; the command `list` shows what exists, such as `baton price list`")
            }
            StatusCode::PRECONDITION_FAILED => {
                format!("{said}; check it with the `show` command, then try again")
            }
            _ if status.is_server_error() => {
                let id = response["request_id"].as_str().unwrap_or("unknown");
                format!("{said} (status {status}, request {id})")
            }
            _ => said,
        })
    }
}

/// Reads an answer as a type of the API.
///
/// # Errors
/// The answer does not fit, which happens if the deployment has another version.
pub(crate) fn read_answer<T: DeserializeOwned>(answer: &Value) -> Result<T, CliError> {
    T::deserialize(answer).map_err(|error| {
        CliError::Failed(format!(
            "this program cannot read the answer of the admin API ({error}); use the version of the \
             deployment"
        ))
    })
}

fn with_json(request: RequestBuilder, body: &impl Serialize) -> RequestBuilder {
    request.header("content-type", "application/json").body(json!(body).to_string())
}

/// Shows that a long list is being read. Like all progress bars, it appears only on a terminal.
fn progress_spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg}");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// The last error of a chain of causes in words, such as `connection refused`.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    match last.downcast_ref::<std::io::Error>() {
        // This `io::Error` only wraps an error of another library.
        Some(io) => io.get_ref().map_or_else(|| io.kind().to_string(), ToString::to_string),
        None => last.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_keeps_base_path_and_escapes_segments() {
        let check = |base_url: &str, path: &[&str], expected: &str| {
            let target = AdminTarget {
                url: base_url.into(),
                token: Secret::new(String::new()),
                is_chosen: true,
            };
            let admin = AdminClient::new(target).ok().unwrap();
            assert_eq!(admin.build_url(path, &[]).as_str(), expected);
        };
        check("http://a:1", &["keys"], "http://a:1/api/v1/keys");
        check("http://a:1/", &["keys", "x"], "http://a:1/api/v1/keys/x");
        check("https://a/office/", &["keys"], "https://a/office/api/v1/keys");
        check("http://a", &["prices", "a/b ?"], "http://a/api/v1/prices/a%2Fb%20%3F");
    }
}
