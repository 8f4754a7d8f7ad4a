//! An OpenID provider that records its requests. It checks its client strictly, and produces the
//! faults that a test wants.
//!
//! It runs on a separate thread, so a test can block while a program calls it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_runtime::clock::Clock;
use http::{HeaderMap, Uri};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::signature::{SigningKey, TokenForgery, encode};

/// The client that it knows.
pub(super) const CLIENT_ID: &str = "baton console";
/// The secret of that client. Its characters must be encoded.
pub(super) const CLIENT_SECRET: &str = "cs:secret+%";

/// What it has received and issued.
struct ProviderLog {
    keys: Vec<SigningKey>,
    /// The claims of the person who signs in.
    person: Value,
    /// Changes of the claims of the next token; `null` removes a claim.
    changes: Value,
    forgery: Option<TokenForgery>,
    /// Claims that only `/userinfo` returns.
    userinfo: Value,
    /// The parameters that the browser brought, by code. A code can be used once.
    codes: BTreeMap<String, BTreeMap<String, String>>,
    given: u32,
    request_count: BTreeMap<String, u32>,
    described: Value,
}

/// A running provider; it stops when dropped.
pub struct FakeProvider {
    /// Its clock.
    pub clock: Clock,
    address: SocketAddr,
    books: Arc<Mutex<ProviderLog>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Shared {
    clock: Clock,
    issuer: String,
    books: Arc<Mutex<ProviderLog>>,
}

impl FakeProvider {
    /// Starts a provider with an RSA key and a stopped clock. Ada signs in.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the provider");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let address = listener.local_addr().expect("its address");
        let clock = super::standing();
        let books = Arc::new(Mutex::new(ProviderLog {
            keys: vec![SigningKey::rsa("key-1")],
            person: json!({"sub": "ada-1", "email": "ada@example.com", "email_verified": true, "name": "Ada"}),
            changes: json!({}),
            forgery: None,
            userinfo: json!({}),
            codes: BTreeMap::new(),
            given: 0,
            request_count: BTreeMap::new(),
            described: json!({}),
        }));
        let issuer = format!("http://{address}");
        let shared = Shared { clock: clock.clone(), issuer, books: Arc::clone(&books) };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime for the provider").block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the listener");
                let router = Router::new().fallback(answer).with_state(shared);
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { clock, address, books, stop: Some(stop), thread: Some(thread) }
    }

    /// Its address in the form that its tokens use.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the person who signs in from now on.
    pub fn person(&self, claims: Value) {
        lock(&self.books).person = claims;
    }

    /// Changes the claims of the next token; `null` removes a claim.
    pub fn change_next(&self, changes: Value) {
        lock(&self.books).changes = changes;
    }

    /// Makes the next token invalid in this way.
    pub fn forge_next(&self, forgery: TokenForgery) {
        lock(&self.books).forgery = Some(forgery);
    }

    /// Returns these claims only at `/userinfo`.
    pub fn set_userinfo(&self, claims: Value) {
        lock(&self.books).userinfo = claims;
    }

    /// Adds fields to its own description.
    pub fn describe(&self, fields: Value) {
        lock(&self.books).described = fields;
    }

    /// Signs with a new key from now on and removes the old one.
    pub fn rotate_to_rsa(&self, kid: &str) {
        lock(&self.books).keys = vec![SigningKey::rsa(kid)];
    }

    /// The same with an elliptic-curve key.
    pub fn rotate_to_ec(&self, kid: &str) {
        lock(&self.books).keys = vec![SigningKey::ec(kid)];
    }

    /// The number of requests for this path.
    pub fn request_count(&self, path: &str) -> u32 {
        lock(&self.books).request_count.get(path).copied().unwrap_or_default()
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread has already printed its panic.
            drop(thread.join());
        }
    }
}

fn lock(books: &Mutex<ProviderLog>) -> MutexGuard<'_, ProviderLog> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fields(form: &[u8]) -> BTreeMap<String, String> {
    form_urlencoded::parse(form).into_owned().collect()
}

fn json_of(status: u16, body: &Value) -> Response {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(body.to_string())).expect("an answer")
}

async fn answer(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut books = lock(&shared.books);
    *books.request_count.entry(uri.path().to_owned()).or_default() += 1;
    match uri.path() {
        "/.well-known/openid-configuration" => {
            let at = |path: &str| format!("{}{path}", shared.issuer);
            let mut said = json!({
                "issuer": shared.issuer, "authorization_endpoint": at("/authorize"),
                "token_endpoint": at("/token"), "jwks_uri": at("/keys"),
                "userinfo_endpoint": at("/userinfo"),
            });
            overlay(&mut said, &books.described);
            json_of(200, &said)
        }
        "/keys" => {
            let other = json!({"kty": "OKP", "crv": "X25519", "kid": "other", "x": "AAAA"});
            let own = books.keys.iter().map(SigningKey::public);
            json_of(200, &json!({"keys": own.chain([other]).collect::<Vec<_>>()}))
        }
        "/authorize" => authorize(&shared.issuer, &mut books, uri.query().unwrap_or_default()),
        "/token" => token(&shared, &mut books, &headers, &fields(&body)),
        "/userinfo" => json_of(200, &books.userinfo),
        _ => json_of(404, &json!({})),
    }
}

/// A person has signed in: issues a code if the client's request was correct.
fn authorize(issuer: &str, books: &mut ProviderLog, query: &str) -> Response {
    let query_fields = fields(query.as_bytes());
    let is = |name: &str, value: &str| query_fields.get(name).is_some_and(|it| it == value);
    let long = |name: &str| query_fields.get(name).is_some_and(|it| it.len() >= 43);
    let scope =
        query_fields.get("scope").is_some_and(|it| it.split(' ').any(|one| one == "openid"));
    let is_right = is("response_type", "code")
        && is("client_id", CLIENT_ID)
        && is("code_challenge_method", "S256")
        && ["state", "nonce", "code_challenge"].into_iter().all(long)
        && scope;
    if !is_right {
        return json_of(400, &json!({"error": "invalid_request"}));
    }
    books.given += 1;
    let code = format!("code {}", books.given);
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("code", &code).append_pair("state", &query_fields["state"]);
    query.append_pair("iss", issuer);
    let to = format!("{}?{}", query_fields["redirect_uri"], query.finish());
    books.codes.insert(code, query_fields);
    let response = Response::builder().status(302).header("location", to);
    response.body(Body::empty()).expect("an answer")
}

fn token(
    shared: &Shared,
    books: &mut ProviderLog,
    headers: &HeaderMap,
    form: &BTreeMap<String, String>,
) -> Response {
    let refused = |error: &str| json_of(400, &json!({"error": error}));
    if !knows(headers, form) {
        return json_of(401, &json!({"error": "invalid_client"}));
    }
    let code = form.get("code").and_then(|code| books.codes.remove(code));
    let Some(query_fields) = code else { return refused("invalid_grant") };
    let verifier = form.get("code_verifier").cloned().unwrap_or_default();
    let challenge = encode(digest(&SHA256, verifier.as_bytes()).as_ref());
    let is_same = form.get("redirect_uri") == query_fields.get("redirect_uri");
    if challenge != query_fields["code_challenge"] || !is_same {
        return refused("invalid_grant");
    }
    let now = shared.clock.now().as_second();
    let mut claims = json!({
        "iss": shared.issuer, "aud": CLIENT_ID, "nonce": query_fields["nonce"],
        "iat": now, "exp": now + 300,
    });
    overlay(&mut claims, &books.person);
    overlay(&mut claims, &std::mem::replace(&mut books.changes, json!({})));
    let forgery = books.forgery.take();
    let token = books.keys.first().expect("a key").token(&claims, forgery);
    json_of(200, &json!({"access_token": "at-1", "token_type": "Bearer", "id_token": token}))
}

/// Whether the client has authenticated itself, by header (RFC 6749 §2.3.1) or in the form.
fn knows(headers: &HeaderMap, form: &BTreeMap<String, String>) -> bool {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = format!("{}:{}", encoded(CLIENT_ID), encoded(CLIENT_SECRET));
    let basic = format!("Basic {}", BASE64_STANDARD.encode(basic));
    let in_form = form.get("client_id").is_some_and(|it| it == CLIENT_ID)
        && form.get("client_secret").is_some_and(|it| it == CLIENT_SECRET);
    match headers.get("authorization") {
        Some(value) => value == basic.as_str() && !form.contains_key("client_secret"),
        None => in_form,
    }
}

fn overlay(value: &mut Value, changes: &Value) {
    for (name, change) in changes.as_object().into_iter().flatten() {
        if change.is_null() {
            value.as_object_mut().expect("an object").remove(name);
        } else {
            value[name] = change.clone();
        }
    }
}
