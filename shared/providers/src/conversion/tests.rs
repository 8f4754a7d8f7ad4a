//! Tests of the conversion.

use super::*;
use baton_domain::account::CredentialKind;
use baton_domain::id::AccountId;
use baton_domain::model::ModelPattern;
use baton_domain::model_capabilities::StatedCapabilities;
use baton_protocol::cost_scan::read_cost_factors;

const CLIENTS: [ClientProtocol; 4] = [
    ClientProtocol::AnthropicMessages,
    ClientProtocol::OpenaiChat,
    ClientProtocol::OpenaiResponses,
    ClientProtocol::BedrockInvokeModel,
];

fn account(provider: Provider, base_url: &str, speaks_responses: bool) -> Account {
    let id = AccountId::from_bits(1);
    Account { speaks_responses, ..Account::new(id, provider, base_url, CredentialKind::Bearer) }
}

fn shape(client: ClientProtocol, is_stream: bool) -> RequestShape {
    RequestShape { client, is_stream, has_tools: true, effort: StatedEffort::On }
}

/// The plan for a model of which the operator says nothing.
fn plan_for(shape: RequestShape, account: &Account, model: &str) -> ConversionPlan {
    ConversionPlan::new(shape, account, model, |_| OwnCapabilities::default())
}

/// The plan in a few words: translation, framings, and whether usage is asked for.
fn plan_words(client: ClientProtocol, account: &Account) -> String {
    let plan = plan_for(shape(client, true), account, "claude-opus-5-5");
    let translation = plan.translation.map_or_else(String::new, |pair| format!("{pair:?} "));
    let form = |framing| match framing {
        Framing::ServerSentEvents => "sse",
        Framing::AwsEventStream => "aws",
    };
    let usage = if plan.asks_for_usage { " with usage" } else { "" };
    let framings = format!("{} to {}", form(plan.client_framing), form(plan.upstream_framing));
    format!("{translation}{framings}{usage}")
}

#[test]
fn plan_follows_from_client_and_account() {
    let bedrock = "https://bedrock-runtime.us-east-1.amazonaws.com";
    let rows = [
        (
            account(Provider::Anthropic, "https://a.example", false),
            [
                "sse to sse",
                "ChatToMessages sse to sse",
                "ResponsesToMessages sse to sse",
                "aws to sse",
            ],
        ),
        (
            account(Provider::OpenaiCompatible, "https://a.example", false),
            [
                "MessagesToChat sse to sse",
                "sse to sse with usage",
                "ResponsesToChat sse to sse",
                "MessagesToChat aws to sse",
            ],
        ),
        (
            account(Provider::OpenaiCompatible, "https://a.example", true),
            [
                "MessagesToChat sse to sse",
                "sse to sse with usage",
                "sse to sse",
                "MessagesToChat aws to sse",
            ],
        ),
        (
            account(Provider::Bedrock, bedrock, false),
            [
                "sse to aws",
                "ChatToMessages sse to aws",
                "ResponsesToMessages sse to aws",
                "aws to aws",
            ],
        ),
        (
            account(Provider::Bedrock, "https://a.example/anthropic/v1/", false),
            [
                "sse to sse",
                "ChatToMessages sse to sse",
                "ResponsesToMessages sse to sse",
                "aws to sse",
            ],
        ),
    ];
    for (account, expected) in rows {
        let words = CLIENTS.map(|client| plan_words(client, &account));
        assert_eq!(words, expected.map(str::to_owned), "{:?}", account.provider);
    }
}

#[test]
fn fit_follows_from_the_account_and_the_model() {
    let bedrock = "https://bedrock-runtime.us-east-1.amazonaws.com";
    let target = |provider, url: &str, model: &str| {
        let limits = OwnCapabilities::default();
        (rules(provider).target_capabilities)(&account(provider, url, false), model, limits)
    };
    let openai = |url| target(Provider::OpenaiCompatible, url, "made-up").capabilities;
    assert!(openai("https://api.openai.com/v1").names_completion_tokens);
    assert!(!openai("https://api.openai.com.example/v1").names_completion_tokens);
    let invoked = target(Provider::Bedrock, bedrock, "anthropic.claude-opus-5-5");
    assert_eq!(invoked.prompt_caching, PromptCaching::Blocks);
    assert_eq!(invoked.output_tokens_default, Some(32_000));
    let old = target(Provider::Bedrock, bedrock, "anthropic.claude-3-haiku-20240307-v1:0");
    assert_eq!(old.output_tokens_default, Some(4_096));
    let messages = target(Provider::Anthropic, "https://api.anthropic.com", "claude-opus-5-5");
    assert_eq!(messages.prompt_caching, PromptCaching::Automatic);
    assert_eq!(messages.output_tokens_default, None);
    let own = OwnCapabilities {
        context_tokens: Some(50_000),
        output_tokens: Some(9_000),
        ..OwnCapabilities::default()
    };
    let account = account(Provider::Bedrock, bedrock, false);
    let limited = (rules(Provider::Bedrock).target_capabilities)(&account, "my-profile", own);
    assert_eq!(limited.output_tokens_default, Some(9_000));
    assert_eq!(limited.capabilities.context_tokens, Some(50_000));
}

/// An operator's statements decide about the protocol, the medium and the cache.
#[test]
fn own_capabilities_decide_about_the_plan() {
    let stated = StatedCapabilities {
        chat_completions: Some(false),
        prompt_caching: Some(false),
        images: Some(false),
        ..StatedCapabilities::default()
    };
    let own = |name: &'static str| {
        move |model: &str| {
            assert_eq!(model, name);
            OwnCapabilities { stated, ..OwnCapabilities::default() }
        }
    };
    let mut speaking = account(Provider::OpenaiCompatible, "https://a.example", true);
    let client = shape(ClientProtocol::OpenaiChat, false);
    let plan = ConversionPlan::new(client, &speaking, "my-model", own("my-model"));
    assert_eq!(plan.upstream_protocol, UpstreamProtocol::Responses);
    assert!(!plan.target.capabilities.media.images);
    let form = plan.request_form(&speaking, "my-model");
    assert!(form != plan_for(client, &speaking, "my-model").request_form(&speaking, "my-model"));
    speaking.model_map = vec![(ModelPattern::new("my-*").unwrap(), "served".to_owned())];
    ConversionPlan::new(client, &speaking, "my-model", own("served"));
    for (provider, url) in [
        (Provider::Anthropic, "https://api.anthropic.com"),
        (Provider::Bedrock, "https://bedrock-runtime.us-east-1.amazonaws.com"),
    ] {
        let account = account(provider, url, false);
        let plan =
            ConversionPlan::new(client, &account, "anthropic.claude-x", own("anthropic.claude-x"));
        assert_eq!(plan.target.prompt_caching, PromptCaching::Off);
    }
}

#[test]
fn thread_is_refused_with_the_code_that_clients_know() {
    let errors = [
        ConversionError::from(TranslationError::Thread),
        ConversionError::from(BedrockBodyError::Thread),
    ];
    for error in errors {
        assert_eq!(error.error_code, Some(NO_THREADS));
        assert!(error.message.starts_with("thread: "), "{}", error.message);
    }
    assert_eq!(ConversionError::from(TranslationError::NoModel).error_code, None);
}

#[test]
fn models_that_chat_refuses_are_called_through_responses() {
    let chat_only = account(Provider::OpenaiCompatible, "https://a.example", false);
    let speaking = account(Provider::OpenaiCompatible, "https://a.example", true);
    let mapped = Account {
        model_map: vec![(ModelPattern::new("claude-*").unwrap(), "gpt-5.5".to_owned())],
        ..speaking.clone()
    };
    let pairs = |account: &Account, model: &str| {
        CLIENTS.map(|client| {
            let plan = plan_for(shape(client, true), account, model);
            plan.translation.map_or_else(String::new, |pair| format!("{pair:?}"))
        })
    };
    let responses = ["MessagesToResponses", "ChatToResponses", "", "MessagesToResponses"];
    let chat = ["MessagesToChat", "", "ResponsesToChat", "MessagesToChat"];
    assert_eq!(pairs(&speaking, "gpt-5.5"), responses);
    assert_eq!(pairs(&speaking, "o3-pro"), responses);
    assert_eq!(pairs(&mapped, "claude-opus-5-5"), responses);
    assert_eq!(pairs(&mapped, "us.anthropic.claude-opus-5-5-v1:0"), responses);
    assert_eq!(pairs(&speaking, "gpt-4o"), ["MessagesToChat", "", "", "MessagesToChat"]);
    assert_eq!(pairs(&chat_only, "gpt-5.5"), chat);
    let without_effort =
        RequestShape { effort: StatedEffort::Unset, ..shape(ClientProtocol::OpenaiChat, true) };
    assert!(plan_for(without_effort, &speaking, "gpt-5.5").is_pass_through());
}

/// The bound of the answer is in the field that the cost scan of the upstream's protocol reads.
#[test]
fn cost_variant_has_the_bound_of_the_upstreams_protocol() {
    let account = account(Provider::OpenaiCompatible, "https://a.example", true);
    let body = Bytes::from_static(
        br#"{"model":"gpt-5.5","max_tokens":900,"messages":[{"role":"user","content":"hi"}]}"#,
    );
    for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiChat] {
        let plan = plan_for(shape(client, false), &account, "gpt-5.5");
        let variant = plan.cost_variant(&account, "gpt-5.5");
        let identity = RequestIdentity { id: String::new(), created: 1 };
        let written = variant.body.write_body(&identity, &body, "gpt-5.5", "gpt-5.5", false);
        assert_eq!(variant.body.upstream_protocol, UpstreamProtocol::Responses);
        let written = written.unwrap().unwrap();
        let factors = read_cost_factors(&written, variant.body.upstream_protocol);
        assert_eq!(factors.unwrap().output_tokens, Some(900), "{client:?}");
    }
}

fn variants<'a>(
    client: ClientProtocol,
    accounts: impl Iterator<Item = (&'a str, String)>,
) -> Vec<CostVariant> {
    let variant = |(url, upstream_model): (&str, String)| {
        let model_map = vec![(ModelPattern::new("claude-*").unwrap(), upstream_model)];
        let account = Account { model_map, ..account(Provider::OpenaiCompatible, url, false) };
        let plan = plan_for(shape(client, false), &account, "claude-sonnet-4-5");
        plan.cost_variant(&account, "claude-sonnet-4-5")
    };
    accounts.map(variant).collect()
}

/// A translation is work on the whole body, so accounts must not multiply it by mapping the model
/// to other names.
#[test]
fn body_is_translated_once_for_models_with_equal_capabilities() {
    let count = |variants: &[CostVariant], body: &str| {
        let (bodies, indexes) = distinct_bodies(variants, depends_on_model(body.as_bytes()));
        assert_eq!(indexes.len(), variants.len());
        for (variant, index) in variants.iter().zip(indexes) {
            assert_eq!(*bodies[index].variant, variant.body);
            assert!(bodies[index].model.len() >= variant.model.len(), "the longest name counts");
        }
        bodies.len()
    };
    let names = |url: &'static str| {
        (0..40).map(move |number| {
            (url, format!("gpt-4.1-{}", "x".repeat(number % 7 + 1) + &number.to_string()))
        })
    };
    let plain = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    let with_state = r#"{"messages":[{"signature":"baton1_e30"}]}"#;
    for client in [ClientProtocol::AnthropicMessages, ClientProtocol::OpenaiChat] {
        let equal = variants(client, names("https://a.example"));
        assert_eq!(equal.len(), 40);
        assert_eq!(count(&equal, plain), 1, "{client:?}");
        let hosts = names("https://a.example").chain(names("https://api.openai.com"));
        assert_eq!(count(&variants(client, hosts), plain), 2, "{client:?}");
    }
    // A state goes back only to the model that made it, so each name can make another body.
    let equal = variants(ClientProtocol::AnthropicMessages, names("https://a.example"));
    assert_eq!(count(&equal, with_state), 40);
    let families = ["gpt-4.1", "gpt-5.5", "deepseek-v4-pro", "grok-4.5", "made-up", "made-up-too"];
    let families = families.map(|name| ("https://a.example", name.to_owned()));
    let families = variants(ClientProtocol::AnthropicMessages, families.into_iter());
    assert_eq!(count(&families, plain), 5);
}

/// The upstream bills what Baton adds to a history that another upstream began.
#[test]
fn cost_variant_has_the_bytes_that_are_added_for_the_upstream() {
    let call = r#"{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
    let result = r#"{"role":"tool","tool_call_id":"c1","content":""}"#;
    let history = [call, result].repeat(100).join(",");
    let body = format!(r#"{{"model":"claude-sonnet-4-5","max_tokens":1,"messages":[{history}]}}"#);
    let body = Bytes::from(body);
    for (model, is_longer) in
        [("deepseek-v4-pro", true), ("gemini-3-pro", true), ("gpt-5.4", false), ("made-up", false)]
    {
        let accounts = std::iter::once(("https://a.example", model.to_owned()));
        let variant = variants(ClientProtocol::OpenaiChat, accounts).remove(0);
        assert!(!variant.body.is_translated());
        let identity = RequestIdentity { id: String::new(), created: 1 };
        let written =
            variant.body.write_body(&identity, &body, "claude-sonnet-4-5", model, false).unwrap();
        let length = written.as_ref().map_or(body.len(), Vec::len);
        assert_eq!(length > body.len(), is_longer, "{model}");
        assert!(variant.body.may_change(&body) || written.is_none(), "{model}");
        if let Some(written) = written {
            let factors = read_cost_factors(&written, variant.body.upstream_protocol).unwrap();
            assert_eq!(factors.prompt_bytes, written.len() as u64, "{model}");
        }
    }
}

/// The reservation and the price follow the settings that the upstream gets.
#[test]
fn cost_variant_has_the_settings_that_the_upstream_gets() {
    let body = Bytes::from_static(
        br#"{"model":"m","service_tier":"priority","max_completion_tokens":9,"messages":[]}"#,
    );
    for (url, model, expected) in [
        ("https://api.openai.com", "gpt-5.5", None),
        ("https://a.example", "made-up", None),
        (
            "https://api.mistral.ai",
            "mistral-large-latest",
            Some(r#"{"model":"m","max_tokens":9,"messages":[]}"#),
        ),
        (
            "https://generativelanguage.googleapis.com",
            "gemini-3-pro",
            Some(r#"{"model":"m","max_completion_tokens":9,"messages":[]}"#),
        ),
    ] {
        let accounts = std::iter::once((url, model.to_owned()));
        let variant = variants(ClientProtocol::OpenaiChat, accounts).remove(0);
        let identity = RequestIdentity { id: String::new(), created: 1 };
        let written = variant.body.write_body(&identity, &body, "m", model, false).unwrap();
        assert_eq!(variant.body.may_change(&body), written.is_some(), "{url}");
        assert_eq!(written.as_deref(), expected.map(str::as_bytes), "{url}");
    }
}

/// What one account cannot express, accounts of another form may.
#[test]
fn accounts_that_read_the_same_form_are_known() {
    let bedrock = "https://bedrock-runtime.us-east-1.amazonaws.com";
    let accounts = [
        account(Provider::OpenaiCompatible, "https://a.example", false),
        account(Provider::OpenaiCompatible, "https://b.example", false),
        account(Provider::OpenaiCompatible, "https://api.openai.com", false),
        account(Provider::OpenaiCompatible, "https://api.openai.com", true),
        account(Provider::Anthropic, "https://api.anthropic.com", false),
        account(Provider::Bedrock, bedrock, false),
    ];
    let forms = |client| {
        let model = "gpt-5.5";
        let form = |account: &Account| {
            plan_for(shape(client, false), account, model).request_form(account, model)
        };
        let forms: Vec<RequestForm> = accounts.iter().map(form).collect();
        let first = |form: &RequestForm| forms.iter().position(|other| other == form).unwrap();
        forms.iter().map(first).collect::<Vec<_>>()
    };
    assert_eq!(forms(ClientProtocol::AnthropicMessages), [0, 0, 0, 3, 4, 5]);
    assert_eq!(forms(ClientProtocol::OpenaiResponses), [0, 0, 0, 3, 4, 5]);
}

/// A request that cannot be converted is tried once for each form, which is work on the whole body.
#[test]
fn names_of_models_do_not_make_other_forms_unless_the_path_has_them() {
    let bedrock = "https://bedrock-runtime.us-east-1.amazonaws.com";
    for (provider, url, is_equal) in [
        (Provider::OpenaiCompatible, "https://a.example", true),
        (Provider::Bedrock, bedrock, false),
    ] {
        let form = |name: &str| {
            let model_map = vec![(ModelPattern::new("claude-*").unwrap(), name.to_owned())];
            let account = Account { model_map, ..account(provider, url, false) };
            let shape = shape(ClientProtocol::AnthropicMessages, false);
            plan_for(shape, &account, "claude-opus-5-5").request_form(&account, "claude-opus-5-5")
        };
        assert_eq!(form("made-up-1") == form("made-up-2"), is_equal, "{provider:?}");
    }
}

#[test]
fn upstream_gets_the_clients_protocol_or_a_translation() {
    for provider in Provider::ALL {
        for (client, speaks_responses) in
            CLIENTS.into_iter().flat_map(|client| [(client, false), (client, true)])
        {
            let account = account(provider, "https://a.example", speaks_responses);
            let plan = plan_for(shape(client, false), &account, "gpt-5.5");
            let is_same = client.body_protocol() == plan.upstream_protocol;
            assert_eq!(plan.translation.is_none(), is_same, "{provider:?} {client:?}");
        }
    }
}
