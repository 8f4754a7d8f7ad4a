//! The console in this process: its pages as browsers receive them, and its calls to the stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use html5ever::tendril::TendrilSink as _;
use http::Request;
use http_body_util::BodyExt as _;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::month_of_usage::{MonthIds, count};
use crate::system::{ADMIN_TOKEN, InProcessSystem};

/// A client of the console over stores in memory, with a stopped clock.
pub struct ConsoleClient {
    /// The system with the recorded calls to its stores.
    pub system: InProcessSystem,
    router: Router,
    /// The session and its token for forms, by the secret that opened the session.
    sessions: Mutex<HashMap<String, (String, String)>>,
}

/// A page.
pub struct ConsolePage {
    /// The HTTP status.
    pub status: u16,
    /// The target of a redirect.
    pub location: String,
    /// The markup.
    pub html: String,
    /// The calls to the stores for this page.
    pub calls: Vec<String>,
    /// Its headers.
    pub headers: http::HeaderMap,
}

impl ConsoleClient {
    /// An admin function with empty stores.
    pub async fn open() -> Self {
        let system = InProcessSystem::open().await;
        Self { router: system.admin_router(), system, sessions: Mutex::default() }
    }

    /// Requests a page or submits a form, signed in with a token or the secret of a key.
    pub async fn ask(&self, method: &str, path: &str, token: &str, form: &str) -> ConsolePage {
        let (session, csrf) = self.session(token).await;
        self.send(method, path, ("cookie", &session), &format!("{form}&csrf={csrf}")).await
    }

    /// The cookie of a session that this secret opened, and its token for forms.
    async fn session(&self, token: &str) -> (String, String) {
        if let Some(known) = self.sessions.lock().expect("sessions").get(token) {
            return known.clone();
        }
        let sign_in_page = self.send("GET", "/console/sign-in", ("accept", "text/html"), "").await;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("csrf", &sign_in_page.csrf()).append_pair("credential", token);
        let cookie = ("cookie", &*sign_in_page.cookie());
        let signed_in = self.send("POST", "/console/sign-in", cookie, &form.finish()).await;
        let cookie = signed_in.cookie();
        let page = self.send("GET", "/console/connect", ("cookie", &cookie), "").await;
        let session = (cookie, page.csrf());
        self.sessions.lock().expect("sessions").insert(token.to_owned(), session.clone());
        session
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        header: (&str, &str),
        body: &str,
    ) -> ConsolePage {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header(header.0, header.1)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "text/html")
            .body(Body::from(body.to_owned()))
            .expect("a request");
        drop(self.system.take_calls());
        let answer = self.router.clone().oneshot(request).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let location = head.headers.get("location").and_then(|value| value.to_str().ok());
        ConsolePage {
            status: head.status.as_u16(),
            location: location.unwrap_or_default().to_owned(),
            html: String::from_utf8(bytes.to_vec()).expect("text"),
            calls: self.system.take_calls(),
            headers: head.headers,
        }
    }

    /// Requests a page with the admin token.
    pub async fn get(&self, path: &str) -> ConsolePage {
        self.ask("GET", path, ADMIN_TOKEN, "").await
    }

    /// Submits a form with the admin token.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> ConsolePage {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.ask("POST", path, ADMIN_TOKEN, &form).await
    }

    /// Calls the API as the operator.
    pub async fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/api/v1{path}");
        let credential = ("authorization", &*format!("Bearer {ADMIN_TOKEN}"));
        let answer = self.send(method, &path, credential, &body.to_string()).await;
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.html);
        serde_json::from_str(&answer.html).unwrap_or_default()
    }

    /// Creates a member with a key. Returns the user's id, the key's id and the key's secret.
    pub async fn member(&self, name: &str) -> (String, String, String) {
        let user = self.api("POST", "/users", &json!({"name": name})).await;
        let user = user["id"].as_str().expect("an id").to_owned();
        let body = json!({"name": name, "user_id": user});
        let key = self.api("POST", "/keys", &body).await;
        let text = |name: &str| key[name].as_str().expect("text").to_owned();
        (user, text("id"), text("secret"))
    }

    /// Creates a company with these numbers of keys and accounts, and stores a month of usage.
    pub async fn company(&self, keys: usize, accounts: usize, a_day: usize) -> MonthIds {
        let mut staff = MonthIds { keys: Vec::new(), accounts: Vec::new() };
        for place in 0..accounts {
            let body = json!({
                "name": format!("account {place}"), "base_url": "http://127.0.0.1:9",
                "credential": {"type": "api_key", "value": "sk-upstream"},
            });
            let account = self.api("POST", "/accounts", &body).await;
            staff.accounts.push(account["id"].as_str().expect("an id").to_owned());
        }
        for place in 0..keys {
            let key = self.api("POST", "/keys", &json!({"name": format!("key {place}")})).await;
            staff.keys.push((key["id"].as_str().expect("an id").to_owned(), None));
        }
        let now = self.system.store.clock().now();
        let records = staff.month(now, a_day);
        count(&self.system.store, &records).await;
        staff
    }
}

impl ConsolePage {
    /// The cookie that the page sets.
    fn cookie(&self) -> String {
        let line = self.headers.get("set-cookie").and_then(|value| value.to_str().ok());
        let line = line.unwrap_or_else(|| panic!("no cookie: {} {}", self.status, self.html));
        line.split(';').next().unwrap_or_default().to_owned()
    }

    /// The token with which the page's forms are submitted.
    fn csrf(&self) -> String {
        let value = self.html.split("name=\"csrf\" value=\"").nth(1);
        let value = value.and_then(|rest| rest.split('"').next());
        value.unwrap_or_else(|| panic!("no form: {} {}", self.status, self.html)).to_owned()
    }

    /// Fails unless the page was served successfully. Does not check its HTML.
    #[track_caller]
    pub fn ok_status(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }

    /// Fails unless the page was served successfully with valid HTML.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        self.well_formed()
    }

    /// Fails unless the page is complete and follows the rules of HTML and accessibility that a
    /// program can check.
    #[track_caller]
    pub fn well_formed(self) -> Self {
        let dom = self.dom();
        let errors = dom.errors.borrow();
        assert!(errors.is_empty(), "parse errors {errors:?} in {}", self.html);
        let mut ids = BTreeSet::new();
        let (mut labelled, mut controls) = (BTreeSet::new(), Vec::new());
        let mut counts = BTreeMap::<String, usize>::new();
        walk(&dom.document, false, &mut |name, attributes, inside_label| {
            *counts.entry(name.to_owned()).or_default() += 1;
            let get = |wanted: &str| attributes.get(wanted).map(String::as_str);
            if let Some(id) = get("id") {
                assert!(ids.insert(id.to_owned()), "the id {id} occurs twice");
            }
            assert!(get("style").is_none(), "an inline style in <{name}>");
            assert!(attributes.keys().all(|name| !name.starts_with("on")), "a script in <{name}>");
            match name {
                "script" => assert!(get("src").is_some(), "an inline script"),
                "label" => labelled.extend(get("for").map(str::to_owned)),
                "input" | "select" | "textarea" if get("type") != Some("hidden") => {
                    controls.push((get("id").map(str::to_owned), inside_label));
                }
                "img" => assert!(get("alt").is_some(), "an image without words"),
                _ => {}
            }
        });
        for (id, inside_label) in controls {
            let named = id.as_ref().is_some_and(|id| labelled.contains(id));
            assert!(named || inside_label, "the control {id:?} has no label");
        }
        let count = |name: &str| counts.get(name).copied().unwrap_or_default();
        assert_eq!((count("h1"), count("main"), count("nav")), (1, 1, 1), "landmarks");
        assert_eq!(count("table"), count("caption"), "each table has a caption");
        self
    }

    /// The visible text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        read(&self.dom().document, &mut text);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn dom(&self) -> RcDom {
        html5ever::parse_document(RcDom::default(), html5ever::ParseOpts::default())
            .one(self.html.as_str())
    }

    /// The value of a hidden or visible field in the form with this id.
    #[track_caller]
    pub fn field(&self, form: &str, name: &str) -> String {
        let start = self.html.find(&format!("id=\"{form}\"")).expect("the form");
        let rest = &self.html[start..];
        let rest = &rest[..rest.find("</form>").expect("its end")];
        let place = rest.find(&format!("name=\"{name}\" value=\"")).expect("the field");
        let value = &rest[place + name.len() + 15..];
        value[..value.find('"').expect("its end")].to_owned()
    }
}

/// Checks an element: its name, its attributes, and whether it is inside a label.
type ElementCheck<'a> = dyn FnMut(&str, &BTreeMap<String, String>, bool) + 'a;

fn walk(node: &Handle, inside_label: bool, look: &mut ElementCheck<'_>) {
    let mut inside_label = inside_label;
    if let NodeData::Element { name, attrs, .. } = &node.data {
        let attributes = attrs.borrow();
        let attributes = attributes
            .iter()
            .map(|attribute| (attribute.name.local.to_string(), attribute.value.to_string()))
            .collect();
        look(&name.local, &attributes, inside_label);
        inside_label |= &*name.local == "label";
    }
    for child in node.children.borrow().iter() {
        walk(child, inside_label, look);
    }
}

fn read(node: &Handle, text: &mut String) {
    match &node.data {
        NodeData::Text { contents } => {
            text.push(' ');
            text.push_str(&contents.borrow());
        }
        NodeData::Element { name, .. } if matches!(&*name.local, "script" | "style") => return,
        _ => {}
    }
    for child in node.children.borrow().iter() {
        read(child, text);
    }
}
