//! Signing in to the console with the form: which credentials work, which cookies are set, and what
//! is refused.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::lambda::{LambdaDeployment, WITHOUT_HURRY, event};
use baton_test_harness::signing_in::{SignInSystem, TestBrowser};
use baton_test_harness::system::{ADMIN_TOKEN, TestSystem};
use serde_json::json;

#[tokio::test]
async fn page_without_session_redirects_to_sign_in_and_back() {
    let system = SignInSystem::alone().await;
    let mut visitor = system.visitor();
    for (page, expected) in [
        ("/console", "/console/sign-in"),
        ("/console/connect", "/console/sign-in?next=%2Fconsole%2Fconnect"),
        (
            "/console/keys?q=a&x=b%20c",
            "/console/sign-in?next=%2Fconsole%2Fkeys%3Fq%3Da%26x%3Db%2520c",
        ),
        ("/console/sign-in-nothing", "/console/sign-in?next=%2Fconsole%2Fsign-in-nothing"),
        ("/console//evil.example", "/console/sign-in?next=%2Fconsole%2F%2Fevil.example"),
    ] {
        visitor.open(page).await.leads_to(expected);
    }
    // A change is not repeated after sign-in.
    visitor.submit("/console/sign-out", &[]).await.leads_to("/console/sign-in");
    let page = visitor.open("/console/sign-in?next=%2Fconsole%2Fconnect").await;
    let (csrf, next) = (page.field("csrf"), page.field("next"));
    let fields = [("csrf", &*csrf), ("next", &next), ("credential", ADMIN_TOKEN)];
    visitor.submit("/console/sign-in", &fields).await.leads_to("/console/connect");
    assert_eq!(visitor.known_as().await.as_deref(), Some("Admin token"));
}

#[tokio::test]
async fn sign_in_does_not_redirect_to_other_sites() {
    let system = SignInSystem::alone().await;
    for next in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/console\\@evil.example",
        "/console@evil.example",
        "javascript:alert(1)",
        "/console/%0d%0aset-cookie:a=b\r\nx: y",
        "/console/sign-in?next=//evil.example",
    ] {
        let mut visitor = system.visitor();
        let page = visitor.open("/console/sign-in").await;
        let encoded: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        let shown = visitor.open(&format!("/console/sign-in?next={encoded}")).await;
        assert_eq!(shown.field("next"), "/console", "{next}");
        let fields = [("csrf", &*page.field("csrf")), ("next", next), ("credential", ADMIN_TOKEN)];
        visitor.submit("/console/sign-in", &fields).await.leads_to("/console");
    }
}

#[tokio::test]
async fn session_cookie_has_strict_attributes() {
    let system = SignInSystem::alone().await;
    let cookies = system.visitor().sign_in(ADMIN_TOKEN).await.cookies();
    let [plain] = cookies.as_slice() else { panic!("{cookies:?}") };
    assert!(plain.starts_with("baton=token."), "{plain}");
    assert!(plain.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=43200"), "{plain}");

    let front =
        system.visitor().with("host", "admin.example.com").with("x-forwarded-proto", "https");
    let mut visitor = front.with("origin", "https://admin.example.com");
    let cookies = visitor.open("/console/sign-in").await.cookies();
    assert!(cookies[0].starts_with("__Host-baton-door="), "{cookies:?}");
    assert!(cookies[0].ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{cookies:?}");
    let page = visitor.sign_in(ADMIN_TOKEN).await;
    let [secure] = &page.cookies()[..] else { panic!("one cookie") };
    assert!(secure.starts_with("__Host-baton=token."), "{secure}");
    let flags = "; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=43200";
    assert!(secure.ends_with(flags), "{secure}");
    assert_eq!(page.answer.headers["strict-transport-security"], "max-age=31536000");
    assert_eq!(visitor.known_as().await.as_deref(), Some("Admin token"));

    // Over https the cookie with the other name is ignored, because another site could have set it.
    let value = visitor.cookie("__Host-baton").expect("a session").to_owned();
    let mut other = system.visitor().with("x-forwarded-proto", "https");
    other.plant("baton", &value);
    assert_eq!(other.known_as().await, None);
}

#[tokio::test]
async fn pages_have_strict_headers_and_are_not_cached() {
    let system = SignInSystem::alone().await;
    let mut visitor = system.visitor();
    visitor.sign_in(ADMIN_TOKEN).await;
    for path in ["/console/sign-in", "/console/accounts", "/console", "/console/nothing"] {
        let page = visitor.open(path).await;
        let header = |name: &str| page.answer.headers[name].to_str().expect("text").to_owned();
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "style-src 'self'",
            "script-src 'self'",
            "img-src 'self' data:",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.split("; ").any(|one| one == part), "{path}: {part}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cache-control"), "no-store");
        assert!(header("content-type").starts_with("text/html"), "{path}");
        assert!(!page.answer.headers.contains_key("strict-transport-security"), "not by http");
        let text = page.answer.text();
        for odd in ["<script>", " style=", " onclick=", "=\"http://", "=\"https://"] {
            assert!(!text.contains(odd), "{path}: {odd}: {text}");
        }
    }
    let style = visitor.open("/console/sign-in/style.css").await.answer.ok();
    assert_eq!(style.headers["content-type"], "text/css; charset=utf-8");
    assert!(style.text().contains("prefers-color-scheme: dark"));
    assert_eq!(visitor.open("/console/nothing").await.answer.status, 404);
}

#[tokio::test]
async fn key_signs_in_as_its_user_with_member_role() {
    let system = SignInSystem::alone().await;
    let ada = system.user(json!({"name": "Ada", "role": "admin"})).await;
    let (id, key) = system.key_of(&ada).await;
    let mut visitor = system.visitor();
    visitor.sign_in(&format!("  {key} ")).await.leads_to("/console");
    assert_eq!(visitor.known_as().await.as_deref(), Some("Ada"));
    let page = visitor.open("/console/connect").await.answer.text();
    assert!(page.contains("href=\"/console/mine\""), "{page}");
    assert!(
        !page.contains("href=\"/console/accounts\""),
        "the key's user is an administrator: {page}"
    );
    let row = &system.audit("sign_in").await[0];
    assert_eq!((&row["actor"], &row["target"]), (&json!(ada), &json!(ada)));
    assert_eq!(row["after"], json!({"by": "key", "key_id": id}));
}

#[tokio::test]
async fn all_invalid_credentials_get_the_same_answer() {
    let system = SignInSystem::alone().await;
    let (ada, bob) =
        (system.user(json!({"name": "Ada"})).await, system.user(json!({"name": "Bob"})).await);
    let (_, of_disabled_user) = system.key_of(&ada).await;
    system.admin().patch(&format!("/users/{ada}"), &json!({"enabled": false})).await.ok();
    let (id, disabled) = system.key_of(&bob).await;
    system.admin().patch(&format!("/keys/{id}"), &json!({"enabled": false})).await.ok();
    let without_user = system.admin().post("/keys", &json!({"name": "ci"})).await.json();
    let without_user = without_user["secret"].as_str().expect("a secret").to_owned();
    let (_, rotated) = system.key_of(&bob).await;
    let id = format!("key_{}", &rotated[3..15]);
    system.admin().post(&format!("/keys/{id}/rotate"), &json!({})).await.ok();
    let mut answers = Vec::new();
    for wrong in [
        "",
        "wrong",
        "bt_nonsense",
        &ADMIN_TOKEN[1..],
        &of_disabled_user,
        &disabled,
        &without_user,
        &rotated,
    ] {
        let mut visitor = system.visitor();
        let page = visitor.sign_in(wrong).await;
        assert_eq!(page.answer.status, 403, "{wrong}");
        let text = page.answer.text().replace(&page.field("csrf"), "");
        assert!(text.contains("is not valid here"), "{text}");
        assert!(wrong.is_empty() || !text.contains(wrong), "the answer contains the credential");
        assert_eq!(visitor.known_as().await, None);
        answers.push(text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "the answers differ");
    assert!(system.audit("sign_in").await.is_empty());
}

#[tokio::test]
async fn guesses_are_limited_together_with_the_api() {
    let system = SignInSystem::alone().await;
    system.visitor().sign_in(ADMIN_TOKEN).await.leads_to("/console");
    let mut visitor = system.visitor();
    for n in 0..30 {
        let page = visitor.sign_in("guess").await;
        assert_eq!(page.answer.status, 403, "{n}");
        system.admin().with_token("guess").get("/groups").await.status(401);
    }
    let page = visitor.sign_in("guess").await;
    assert_eq!(page.answer.status, 429);
    assert_eq!(page.answer.headers["retry-after"], "5");
    assert!(page.answer.text().contains("Wait a few seconds"));
    // Other browsers are not slowed down.
    assert_eq!(system.visitor().sign_in("another").await.answer.status, 403);
    system.visitor().sign_in(ADMIN_TOKEN).await.leads_to("/console");
    system.wait_minutes(1);
    assert_eq!(visitor.sign_in("guess").await.answer.status, 403);
}

#[tokio::test]
async fn cross_site_sign_in_form_is_refused() {
    let system = SignInSystem::alone().await;
    let page = system.visitor().open("/console/sign-in").await;
    let stolen = page.field("csrf");
    let fields = |csrf: &str| [("csrf", csrf.to_owned()), ("credential", ADMIN_TOKEN.to_owned())];
    let refused = async |mut visitor: TestBrowser, csrf: &str| {
        let fields = fields(csrf);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let page = visitor.submit("/console/sign-in", &fields).await;
        assert_eq!(page.answer.status, 403);
        assert_eq!(visitor.known_as().await, None);
    };
    refused(system.visitor(), &stolen).await;
    refused(system.visitor(), "").await;
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let mut visitor = system.visitor();
        let own = visitor.open("/console/sign-in").await.field("csrf");
        refused(visitor.clone().with(name, value), &own).await;
        let fields = [("csrf", &*own), ("credential", ADMIN_TOKEN)];
        visitor.submit("/console/sign-in", &fields).await.leads_to("/console");
    }
}

#[tokio::test]
async fn sign_in_form_is_hidden_on_insecure_connections() {
    let system = SignInSystem::alone().await;
    let mut visitor = system.visitor().with("host", "admin.example.com");
    let page = visitor.open("/console/sign-in").await.answer.ok().text();
    assert!(page.contains("BATON_CONSOLE_ORIGIN") && !page.contains("<form"), "{page}");
    let page = visitor.submit("/console/sign-in", &[("credential", ADMIN_TOKEN)]).await;
    assert_eq!(page.answer.status, 403);
    assert!(page.cookies().iter().all(|cookie| !cookie.starts_with("baton=")));

    // Behind a proxy without `x-forwarded-proto`, the operator sets the console's origin.
    let origin = ("CONSOLE_ORIGIN", "https://admin.example.com");
    let relay = ("RELAY_URL", "https://llm.example.com/");
    let system =
        SignInSystem::start(baton_test_harness::signing_in::standing(), &[origin, relay]).await;
    let mut visitor = system.visitor().with("origin", "https://admin.example.com");
    visitor.sign_in(ADMIN_TOKEN).await.leads_to("/console");
    let page = visitor.open("/console/connect").await.answer.ok().text();
    assert!(page.contains("ANTHROPIC_BASE_URL=https://llm.example.com\n"), "{page}");
    assert!(visitor.cookie("__Host-baton").is_some());
}

#[tokio::test]
async fn sign_in_of_binary_logs_no_secret() {
    let mut system = TestSystem::open().await;
    let mut visitor = TestBrowser::at(system.process().admin);
    let page = visitor.sign_in("wrong secret").await;
    assert_eq!(page.answer.status, 403);
    let token = system.process().admin_token.clone();
    visitor.sign_in(&token).await.leads_to("/console");
    assert_eq!(visitor.known_as().await.as_deref(), Some("Admin token"));
    let session = visitor.cookie("baton").expect("a session").to_owned();
    let output = format!("{}{}", system.process().stdout(), system.process().stderr());
    for secret in ["wrong secret", &token, &session] {
        assert!(!output.contains(secret), "{output}");
    }
}

#[tokio::test]
async fn cookies_work_on_lambda() {
    let cloud = LambdaDeployment::open().await;
    let admin = cloud.function("admin").await;
    let ask =
        async |method: &str, path: &str, headers: &[(&str, &str)], cookies: &[&str], body: &str| {
            let mut event = event::request(method, path, headers, body);
            event["cookies"] = json!(cookies);
            admin.request(&event, WITHOUT_HURRY).await
        };
    let cookie = |answer: &ClientResponse| {
        let line = answer.header("set-cookie").expect("a cookie");
        line.split(';').next().expect("a pair").to_owned()
    };
    let page = ask("GET", "/console/sign-in", &[], &[], "").await;
    let (form_cookie, html) = (cookie(&page), page.text());
    let csrf = html.split("name=\"csrf\" value=\"").nth(1).and_then(|it| it.split('"').next());
    let form =
        format!("csrf={}&credential=test-admin-token-0123456789abcdef", csrf.expect("a token"));
    let own = "https://baton.lambda-url.us-east-1.on.aws";
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let headers = [kind, ("origin", own), ("sec-fetch-site", "same-origin")];
    let answer = ask("POST", "/console/sign-in", &headers, &[&form_cookie], &form).await;
    let session = cookie(&answer.status(303));
    assert!(session.starts_with("__Host-baton=token."), "{session}");
    let page = ask("GET", "/console/connect", &[], &[&form_cookie, &session], "").await;
    assert!(page.text().contains("Admin token"), "{}", page.text());
}
