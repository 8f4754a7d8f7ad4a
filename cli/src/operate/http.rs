//! The one client of the admin API: requests, pages, and failures in one line that says what to do.
//! What is asked and how an answer is shown is the commands' business.

use crate::Fail;
use baton_domain::secret::Secret;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Value, json};
use std::error::Error;

/// The operator at the admin API of one Baton.
pub(crate) struct Admin {
    base: Url,
    token: Secret,
    http: Client,
}

impl Admin {
    /// A client of the Baton at `url`. No I/O.
    pub(crate) fn new(url: &str, token: Secret) -> Result<Self, Fail> {
        let base = Url::parse(url)
            .ok()
            .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or_else(|| {
            Fail::Usage(format!("{url} is no address; one looks like http://127.0.0.1:8081"))
        })?;
        // A redirect would take the admin token to another address.
        let http = Client::builder().redirect(reqwest::redirect::Policy::none());
        Ok(Self { base, token, http: http.build().map_err(Fail::because)? })
    }

    pub(crate) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Fail> {
        self.call(Method::GET, path, query, None).await
    }

    pub(crate) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Fail> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    /// All pages of a list, as one.
    pub(crate) async fn all(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Fail> {
        let (mut data, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut query = query.to_vec();
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            if let Some(Value::Array(rows)) = page.get_mut("data").map(Value::take) {
                data.extend(rows);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(json!({ "data": data, "next_cursor": null })),
            }
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Fail> {
        if self.token.expose().is_empty() {
            let message = "no admin token: set BATON_ADMIN_TOKEN (first start shows it)";
            return Err(Fail::Usage(message.to_owned()));
        }
        let url = self.address(path, query);
        let mut request = self.http.request(method, url).bearer_auth(self.token.expose());
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| self.unreached(&error))?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| self.unreached(&error))?;
        if status.is_success() && bytes.is_empty() {
            return Ok(Value::Null);
        }
        match serde_json::from_slice(&bytes) {
            Ok(value) if status.is_success() => Ok(value),
            Ok(value) => Err(self.refused(status, &value)),
            Err(_) => Err(Fail::Failed(format!(
                "{} is not Baton's admin API (it answers {status}); another address: --url or BATON_URL",
                self.base
            ))),
        }
    }

    fn address(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn unreached(&self, error: &reqwest::Error) -> Fail {
        let base = self.base.as_str().trim_end_matches('/');
        Fail::Failed(format!(
            "{base} does not answer ({}); is `baton up` running there? Another address: --url or BATON_URL",
            root_cause(error)
        ))
    }

    fn refused(&self, status: StatusCode, answer: &Value) -> Fail {
        let said = answer["error"]["message"].as_str().unwrap_or("it does not say why");
        let base = self.base.as_str().trim_end_matches('/');
        Fail::Failed(match status {
            StatusCode::UNAUTHORIZED => {
                format!(
                    "the admin token is not accepted by {base}: set BATON_ADMIN_TOKEN to the one it was started with"
                )
            }
            StatusCode::NOT_FOUND if said.contains("this route") => {
                format!(
                    "the Baton at {base} does not offer this; update it to this program's version"
                )
            }
            StatusCode::NOT_FOUND => format!("{said}; the `list` command shows what there is"),
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => {
                format!("{said}; look at it with `show`, then try again")
            }
            _ if status.is_server_error() => {
                let id = answer["request_id"].as_str().unwrap_or("unknown");
                format!("{said} (status {status}, request {id})")
            }
            _ => said.to_owned(),
        })
    }
}

/// The last of a chain of causes, in words: `connection refused` rather than the layers above it.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    let io = last.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    io.map_or_else(|| last.to_string(), |kind| kind.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_path_and_escapes_what_is_asked_for() {
        let check = |base: &str, path: &[&str], expected: &str| {
            let Ok(admin) = Admin::new(base, Secret::new(String::new())) else {
                panic!("{base} is an address")
            };
            assert_eq!(admin.address(path, &[]).as_str(), expected);
        };
        check("http://a:1", &["keys"], "http://a:1/api/v1/keys");
        check("http://a:1/", &["keys", "x"], "http://a:1/api/v1/keys/x");
        check("https://a/office/", &["keys"], "https://a/office/api/v1/keys");
        check("http://a", &["prices", "a/b ?"], "http://a/api/v1/prices/a%2Fb%20%3F");
    }

    #[test]
    fn what_is_no_address_is_wrong_usage() {
        for bad in ["", "127.0.0.1:8081", "ftp://a", "http://"] {
            let fail = Admin::new(bad, Secret::new(String::new())).err();
            assert_eq!(fail.map(|fail| fail.code()), Some(2), "{bad}");
        }
    }
}
