//! A browser without scripts: it keeps cookies, submits forms as the page has them, and follows a
//! redirect only if the test asks for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use reqwest::{Client, RequestBuilder};

use crate::client_response::ClientResponse;
use crate::system::plain_client;

/// A person at a browser.
#[derive(Clone)]
pub struct TestBrowser {
    http: Client,
    origin: String,
    /// Headers of every request.
    headers: BTreeMap<String, String>,
    jar: BTreeMap<String, String>,
}

/// An answer in the form of a page.
pub struct BrowserPage {
    /// The answer as received.
    pub answer: ClientResponse,
}

impl TestBrowser {
    /// A person with an empty browser.
    pub fn at(address: SocketAddr) -> Self {
        let origin = format!("http://{address}");
        Self { http: plain_client(), origin, headers: BTreeMap::new(), jar: BTreeMap::new() }
    }

    /// The same with a header in every request.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A cookie that the browser has.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.jar.get(name).map(String::as_str)
    }

    /// Sets a cookie in the browser, as an attacker could.
    pub fn plant(&mut self, name: &str, value: &str) {
        self.jar.insert(name.to_owned(), value.to_owned());
    }

    /// A request with the browser's cookies. Cookies of its answer are not kept.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let url =
            if path.starts_with('/') { format!("{}{path}", self.origin) } else { path.into() };
        let is_own = url.starts_with(&self.origin);
        let mut request = self.http.request(method, url);
        if is_own {
            let pairs: Vec<String> =
                self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if !pairs.is_empty() {
                request = request.header("cookie", pairs.join("; "));
            }
        }
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends the request and keeps the cookies of the answer.
    pub async fn send(&mut self, request: RequestBuilder) -> BrowserPage {
        let answer = ClientResponse::to(request).await;
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().expect("a cookie");
            let (name, value) =
                line.split(';').next().and_then(|it| it.split_once('=')).expect("a pair");
            if line.contains("Max-Age=0") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
        BrowserPage { answer }
    }

    /// Opens a page.
    pub async fn open(&mut self, path: &str) -> BrowserPage {
        self.send(self.request("GET", path)).await
    }

    /// Submits a form as a browser does from a page of the same site.
    pub async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> BrowserPage {
        let origin = self.headers.get("origin").cloned().unwrap_or_else(|| self.origin.clone());
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let kind = "application/x-www-form-urlencoded";
        let mut request = self.request("POST", path).header("content-type", kind).body(form);
        if !self.headers.contains_key("origin") {
            request = request.header("origin", origin);
        }
        self.send(request).await
    }

    /// Signs in through the form.
    pub async fn sign_in(&mut self, credential: &str) -> BrowserPage {
        let page = self.open("/console/sign-in").await;
        let csrf = page.field("csrf");
        self.submit("/console/sign-in", &[("csrf", &csrf), ("credential", credential)]).await
    }

    /// Goes to the provider, signs in there and returns through the callback.
    pub async fn sign_in_at_provider(&mut self) -> BrowserPage {
        let callback = self.way_back().await;
        self.open(&callback).await
    }

    /// Goes to the provider and signs in there. Returns the address of the callback.
    pub async fn way_back(&mut self) -> String {
        let begun = self.open("/console/sign-in/openid").await;
        let there = self.send(self.request("GET", &begun.location())).await;
        assert_eq!(there.answer.status, 302, "{}", there.answer.text());
        there.location()
    }

    /// The name under which the console knows the browser; `None` if it redirects to the sign-in.
    pub async fn known_as(&mut self) -> Option<String> {
        let page = self.open("/console/connect").await;
        if page.answer.status == 303 {
            return None;
        }
        let text = page.answer.text();
        let (_, rest) = text.split_once("class=\"name\"").expect("a name");
        let (_, rest) = rest.split_once('>').expect("its text");
        Some(rest.split('<').next().unwrap_or_default().to_owned())
    }
}

impl BrowserPage {
    /// The target of the redirect.
    pub fn location(&self) -> String {
        let location = self.answer.headers.get("location");
        let location = location.unwrap_or_else(|| panic!("no way on: {}", self.answer.text()));
        location.to_str().expect("an address").to_owned()
    }

    /// The value of a hidden field.
    pub fn field(&self, name: &str) -> String {
        let text = self.answer.text();
        let start = format!("name=\"{name}\" value=\"");
        let (_, rest) = text.split_once(&start).unwrap_or_else(|| panic!("no {name}: {text}"));
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    /// The header lines that set cookies.
    pub fn cookies(&self) -> Vec<String> {
        let all = self.answer.headers.get_all("set-cookie").into_iter();
        all.map(|line| line.to_str().expect("a cookie").to_owned()).collect()
    }

    /// Checks that the page redirects to this address.
    #[track_caller]
    pub fn leads_to(&self, to: &str) {
        assert_eq!((self.answer.status, &*self.location()), (303, to));
    }
}
