//! Properties of requests: a translation and its reverse keep the meaning, and two protocols' forms
//! of one conversation become the same.

use baton_protocol::translate::{
    ClientProtocol, PromptCaching, ProtocolPair, TranslatedRequest, TranslationOptions,
    UpstreamProtocol,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A part of a conversation that each protocol can express.
#[derive(Debug, Clone)]
enum GeneratedTurn {
    User {
        texts: Vec<String>,
        image: bool,
    },
    /// A text, and calls with their results.
    Assistant {
        text: Option<String>,
        calls: Vec<(Value, String)>,
    },
}

/// A request that each protocol can express.
#[derive(Debug, Clone)]
struct GeneratedRequest {
    system: Option<String>,
    texts: Vec<GeneratedTurn>,
    tools: usize,
    choice: usize,
    parallel: Option<bool>,
    max_tokens: u64,
    effort: Option<usize>,
    stream: bool,
    schema: bool,
}

const TEXT: &str = "[a-zé\"\\\\{}]{1,8}";
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

fn generated_request() -> impl Strategy<Value = GeneratedRequest> {
    let arguments = prop::collection::btree_map("[a-z]{1,3}", TEXT, 0..3).prop_map(|it| json!(it));
    let turn = prop_oneof![
        (prop::collection::vec(TEXT, 1..3), any::<bool>())
            .prop_map(|(texts, image)| GeneratedTurn::User { texts, image }),
        (prop::option::of(TEXT), prop::collection::vec((arguments, TEXT), 0..3))
            .prop_map(|(text, calls)| GeneratedTurn::Assistant { text, calls }),
    ];
    let settings = (0..3_usize, 0..5_usize, prop::option::of(any::<bool>()), 1..99_999_u64);
    let more = (prop::option::of(0..EFFORTS.len()), any::<bool>(), any::<bool>());
    (prop::option::of(TEXT), prop::collection::vec(turn, 1..6), settings, more).prop_map(
        |(system, turn, (tools, choice, parallel, max_tokens), (effort, stream, schema))| {
            // Every model answers a conversation that a user begins and ends, and that declares its
            // tools.
            let user = || GeneratedTurn::User { texts: vec!["u".to_owned()], image: false };
            let texts: Vec<GeneratedTurn> = [user()].into_iter().chain(turn).chain([user()]).collect();
            let calls =
                |turn: &GeneratedTurn| matches!(turn, GeneratedTurn::Assistant { calls, .. } if !calls.is_empty());
            let tools = if texts.iter().any(calls) { tools.max(1) } else { tools };
            GeneratedRequest { system, texts, tools, choice, parallel, max_tokens, effort, stream, schema }
        },
    )
}

const IMAGE: &str = "data:image/png;base64,aGk=";

fn schema() -> Value {
    json!({"type":"object","properties":{"z":{"type":"string"}},"required":["z"],
        "additionalProperties":false})
}

fn name(index: usize) -> String {
    format!("tool_{index}")
}

impl GeneratedRequest {
    /// The choice of a tool: a word of Messages and one of OpenAI's, or a tool's name.
    fn choice(&self) -> Option<Result<(&'static str, &'static str), String>> {
        let words = [("auto", "auto"), ("any", "required"), ("none", "none")];
        match (self.tools, self.choice) {
            (0, _) | (_, 0) => None,
            (_, index @ 1..=3) => Some(Ok(words[index - 1])),
            (tools, _) => Some(Err(name(tools - 1))),
        }
    }

    fn chat(&self) -> Value {
        let mut messages = Vec::new();
        messages.extend(self.system.iter().map(|text| json!({"role":"system","content":text})));
        let mut id = 0;
        for turn in &self.texts {
            match turn {
                GeneratedTurn::User { texts, image } => {
                    let mut parts: Vec<Value> =
                        texts.iter().map(|text| json!({"type":"text","text":text})).collect();
                    if *image {
                        parts.push(json!({"type":"image_url","image_url":{"url":IMAGE}}));
                    }
                    messages.push(json!({"role":"user","content":parts}));
                }
                GeneratedTurn::Assistant { text, calls } => {
                    let mut message = json!({"role":"assistant","content":text});
                    let mut results = Vec::new();
                    for (index, (arguments, result)) in calls.iter().enumerate() {
                        id += 1;
                        let call = format!("call_{id}");
                        let function =
                            json!({"name":name(index),"arguments":arguments.to_string()});
                        let one = json!({"id":call,"type":"function","function":function});
                        match message["tool_calls"].as_array_mut() {
                            Some(all) => all.push(one),
                            None => message["tool_calls"] = json!([one]),
                        }
                        results.push(json!({"role":"tool","tool_call_id":call,"content":result}));
                    }
                    messages.push(message);
                    messages.extend(results);
                }
            }
        }
        let mut body = json!({"model":"asked","messages":messages,"max_tokens":self.max_tokens});
        let function = |index| json!({"name":name(index),"description":"d","parameters":schema()});
        self.settle(&mut body, |index| json!({"type":"function","function":function(index)}));
        if let Some(Err(name)) = self.choice() {
            body["tool_choice"] = json!({"type":"function","function":{"name":name}});
        }
        if let Some(index) = self.effort {
            body["reasoning_effort"] = EFFORTS[index].into();
        }
        if self.schema {
            let schema = json!({"name":"answer","schema":schema(),"strict":true});
            body["response_format"] = json!({"type":"json_schema","json_schema":schema});
        }
        if self.stream {
            body["stream_options"] = json!({"include_usage":true});
        }
        body
    }

    fn responses(&self) -> Value {
        let mut input = Vec::new();
        let mut id = 0;
        for turn in &self.texts {
            match turn {
                GeneratedTurn::User { texts, image } => {
                    let mut parts: Vec<Value> =
                        texts.iter().map(|text| json!({"type":"input_text","text":text})).collect();
                    if *image {
                        parts.push(json!({"type":"input_image","image_url":IMAGE}));
                    }
                    input.push(json!({"type":"message","role":"user","content":parts}));
                }
                GeneratedTurn::Assistant { text, calls } => {
                    let parts = text.iter().map(|text| json!({"type":"output_text","text":text}));
                    let parts: Vec<Value> = parts.collect();
                    input.push(json!({"role":"assistant","content":parts}));
                    let mut results = Vec::new();
                    for (index, (arguments, result)) in calls.iter().enumerate() {
                        id += 1;
                        let call = format!("call_{id}");
                        input
                            .push(json!({"type":"function_call","call_id":call,"name":name(index),
                            "arguments":arguments.to_string()}));
                        results.push(
                            json!({"type":"function_call_output","call_id":call,"output":result}),
                        );
                    }
                    input.extend(results);
                }
            }
        }
        let mut body = json!({"model":"asked","input":input,"max_output_tokens":self.max_tokens,
            "instructions":self.system});
        self.settle(
            &mut body,
            |index| json!({"type":"function","name":name(index),"description":"d","parameters":schema()}),
        );
        if let Some(Err(name)) = self.choice() {
            body["tool_choice"] = json!({"type":"function","name":name});
        }
        if let Some(index) = self.effort {
            body["reasoning"] = json!({"effort":EFFORTS[index]});
        }
        if self.schema {
            let schema =
                json!({"type":"json_schema","name":"answer","schema":schema(),"strict":true});
            body["text"] = json!({"format":schema});
        }
        body
    }

    /// Adds the fields that both of OpenAI's protocols share.
    fn settle(&self, body: &mut Value, tool: impl Fn(usize) -> Value) {
        if self.tools > 0 {
            body["tools"] = (0..self.tools).map(tool).collect();
            if let Some(parallel) = self.parallel {
                body["parallel_tool_calls"] = parallel.into();
            }
        }
        if let Some(Ok((_, word))) = self.choice() {
            body["tool_choice"] = word.into();
        }
        if self.stream {
            body["stream"] = true.into();
        }
    }
}

fn translate(
    client: ClientProtocol,
    upstream: UpstreamProtocol,
    body: &Value,
) -> TranslatedRequest {
    // Nothing is known of the other upstreams' model, so it gets everything.
    let model = if upstream == UpstreamProtocol::Messages { "claude-opus-5-5" } else { "made-up" };
    let options = TranslationOptions {
        prompt_caching: PromptCaching::Off,
        ..TranslationOptions::new(model, "req_1")
    };
    let translation = ProtocolPair::between(client, upstream).unwrap();
    translation.translate_request(body.to_string().as_bytes(), &options).unwrap()
}

fn json_of(translated: &TranslatedRequest) -> Value {
    serde_json::from_slice(&translated.body).unwrap()
}

/// Normalizes a chat request: adjacent messages of one role are joined, a single text is a string,
/// results come before the user's text, arguments are values, and defaults are left out.
fn normal(mut body: Value) -> Value {
    let says = |body: &Value, field: &str, word: Value| body[field] == word;
    let calls_nothing = says(&body, "tool_choice", "none".into());
    let unsaid = [
        ("model", true),
        ("tool_choice", says(&body, "tool_choice", "auto".into())),
        ("parallel_tool_calls", calls_nothing || says(&body, "parallel_tool_calls", true.into())),
    ];
    for (field, _) in unsaid.into_iter().filter(|(_, unsaid)| *unsaid) {
        body.as_object_mut().unwrap().remove(field);
    }
    let mut messages: Vec<(String, Vec<Value>)> = Vec::new();
    for message in body["messages"].as_array().unwrap() {
        let role =
            if message["role"] == "tool" { "user" } else { message["role"].as_str().unwrap() };
        let mut parts = match &message["content"] {
            Value::String(text) if text.is_empty() => Vec::new(),
            Value::String(text) => vec![json!({"type":"text","text":text})],
            Value::Array(parts) => parts.clone(),
            _ => Vec::new(),
        };
        if message["role"] == "tool" {
            parts = vec![json!({"result":message["tool_call_id"],"content":parts})];
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let arguments = call["function"]["arguments"].as_str().unwrap();
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            let name = &call["function"]["name"];
            parts.push(json!({"call":call["id"],"name":name,"arguments":arguments}));
        }
        if parts.is_empty() {
            continue;
        }
        match messages.last_mut() {
            Some((last, all)) if last == role => all.extend(parts),
            _ => messages.push((role.to_owned(), parts)),
        }
    }
    for (role, parts) in &mut messages {
        parts.sort_by_key(|part| part["result"].is_null());
        // Chat joins the texts of one assistant turn to one string.
        if role == "assistant" {
            parts.sort_by_key(|part| part["text"].is_null());
            let texts: String = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            parts.retain(|part| part["text"].is_null());
            parts.insert(0, json!({"type":"text","text":texts.replace("\n\n", "")}));
        }
    }
    body["messages"] = json!(messages);
    body
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn round_trip_keeps_the_meaning(request in generated_request()) {
        let chat = request.chat();
        let there = translate(ClientProtocol::OpenaiChat, UpstreamProtocol::Messages, &chat);
        prop_assert_eq!(&there.dropped, &Vec::<String>::new());
        let back = translate(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat, &json_of(&there));
        let known = ["thinking"];
        let lost: Vec<&String> = back.dropped.iter().filter(|it| !known.contains(&it.as_str())).collect();
        prop_assert_eq!(lost, Vec::<&String>::new());
        prop_assert_eq!(normal(json_of(&back)), normal(chat));
    }

    /// A request in Responses has the same meaning as in Chat Completions.
    #[test]
    fn responses_and_chat_requests_translate_alike(request in generated_request()) {
        let responses = request.responses();
        let by_chat = translate(ClientProtocol::OpenaiChat, UpstreamProtocol::Messages, &request.chat());
        let by_responses = translate(ClientProtocol::OpenaiResponses, UpstreamProtocol::Messages, &responses);
        prop_assert_eq!(json_of(&by_responses), json_of(&by_chat));
        let to_chat = translate(ClientProtocol::OpenaiResponses, UpstreamProtocol::Chat, &responses);
        prop_assert_eq!(normal(json_of(&to_chat)), normal(request.chat()));
    }

    /// A request through Responses has the same meaning as before.
    #[test]
    fn round_trip_through_responses_keeps_the_meaning(mut request in generated_request()) {
        // The smallest maximum of the API, and the greatest effort of its older models.
        request.max_tokens = request.max_tokens.max(16);
        request.effort = request.effort.map(|index| index.min(3));
        let chat = request.chat();
        let there = translate(ClientProtocol::OpenaiChat, UpstreamProtocol::Responses, &chat);
        prop_assert_eq!(&there.dropped, &Vec::<String>::new());
        let back = translate(ClientProtocol::OpenaiResponses, UpstreamProtocol::Chat, &json_of(&there));
        prop_assert_eq!(&back.dropped, &Vec::<String>::new());
        prop_assert_eq!(normal(json_of(&back)), normal(chat.clone()));
        let messages = translate(ClientProtocol::OpenaiChat, UpstreamProtocol::Messages, &chat);
        let by_messages =
            translate(ClientProtocol::AnthropicMessages, UpstreamProtocol::Responses, &json_of(&messages));
        let back =
            translate(ClientProtocol::OpenaiResponses, UpstreamProtocol::Chat, &json_of(&by_messages));
        let mut back = normal(json_of(&back));
        // The Messages API has neither a name nor strictness for a schema.
        if request.schema {
            back["response_format"] = normal(chat.clone())["response_format"].take();
        }
        prop_assert_eq!(back, normal(chat));
    }

    /// A second round of translation changes nothing.
    #[test]
    fn second_translation_changes_nothing(request in generated_request()) {
        let there = translate(ClientProtocol::OpenaiChat, UpstreamProtocol::Messages, &request.chat());
        let back = translate(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat, &json_of(&there));
        let again = translate(ClientProtocol::OpenaiChat, UpstreamProtocol::Messages, &json_of(&back));
        let twice = translate(ClientProtocol::AnthropicMessages, UpstreamProtocol::Chat, &json_of(&again));
        prop_assert_eq!(json_of(&twice), json_of(&back));
    }
}
