//! A model with the chat template of Qwen 3.5 to 3.8, behind vLLM's OpenAI-compatible server. Ollama,
//! `SGLang` and llama.cpp use the same template. The server ignores fields that it does not know
//! (docs.vllm.ai, "OpenAI-Compatible Server", 2026-11).

use crate::chat_shape::{accept, calls, messages, parts, role, text_of};
use crate::request::{AcceptedRequest, VendorError, VendorRequest};
use serde_json::{Value, json};

/// The context of the served model, in tokens.
const CONTEXT_TOKENS: u64 = 262_144;

/// Judges a request as the server does.
pub(crate) fn judge(request: &VendorRequest) -> Result<AcceptedRequest, VendorError> {
    if request.route() != "/v1/chat/completions" {
        return Err(VendorError::new(404, json!({"detail": "Not Found"})));
    }
    let model = request.text("model").unwrap_or_default();
    if !model.to_lowercase().contains("qwen") {
        let message = format!("The model `{model}` does not exist.");
        return Err(error(404, "NotFoundError", &message));
    }
    check(request).map_err(|why| error(400, "BadRequestError", &why))?;
    let thinks = request.body["chat_template_kwargs"]["enable_thinking"] != false;
    Ok(accept(request, model, thinks))
}

fn check(request: &VendorRequest) -> Result<(), String> {
    let messages = messages(request);
    if messages.is_empty() {
        return Err("list index out of range".to_owned());
    }
    // vllm-project/vllm `entrypoints/openai`, 2026: the prompt and the answer share the context.
    let prompt = request.body.to_string().len() as u64 / 4;
    for name in ["max_tokens", "max_completion_tokens"] {
        let given = request.field(name).and_then(Value::as_u64).unwrap_or(1);
        if given == 0 {
            return Err(format!("{name} must be at least 1, got 0."));
        }
        if given + prompt > CONTEXT_TOKENS {
            return Err(format!(
                "'max_tokens' or 'max_completion_tokens' is too large: {given}. This model's maximum \
                 context length is {CONTEXT_TOKENS} tokens and your request has {prompt} input tokens \
                 ({given} > {CONTEXT_TOKENS} - {prompt})."
            ));
        }
    }
    for tool in request.body["tools"].as_array().into_iter().flatten() {
        if tool["type"] != "function" {
            return Err(
                "1 validation error for ChatCompletionRequest: tools.0.type: Input should be \
                        'function'"
                    .to_owned(),
            );
        }
    }
    if request.body["stream"] != true && request.field("stream_options").is_some() {
        return Err("Stream options can only be defined when `stream=True`.".to_owned());
    }
    check_template(
        messages,
        reads_images(&request.text("model").unwrap_or_default().to_lowercase()),
    )
}

/// Whether the model has an encoder of images: from version 3.5 on, or by its name
/// (huggingface.co/Qwen; docs.nvidia.com, "Qwen3.8 27B", 2026-11).
fn reads_images(model: &str) -> bool {
    let is_new = ["qwen3.5", "qwen3.6", "qwen3.7", "qwen3.8"].iter().any(|it| model.contains(it));
    (is_new && !model.contains("coder")) || model.contains("vl") || model.contains("omni")
}

/// What the template raises (vllm-project/vllm #41114, ollama/ollama #17774, can1357/oh-my-pi #958,
/// 2026).
fn check_template(messages: &[Value], reads_images: bool) -> Result<(), String> {
    for (index, message) in messages.iter().enumerate() {
        match role(message) {
            "system" if index > 0 => {
                return Err("System message must be at the beginning.".to_owned());
            }
            "system" | "user" | "assistant" | "tool" => {}
            _ => return Err("Unexpected message role.".to_owned()),
        }
        for part in parts(message) {
            check_part(part["type"].as_str().unwrap_or_default(), reads_images)?;
        }
        // vLLM reads the arguments of earlier calls for the template.
        for call in calls(message) {
            let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
            if !serde_json::from_str::<Value>(arguments).is_ok_and(|it| it.is_object()) {
                return Err("Expecting value: line 1 column 1 (char 0)".to_owned());
            }
        }
    }
    let is_query = |message: &&Value| {
        role(message) == "user" && !text_of(&message["content"]).starts_with("<tool_response>")
    };
    if messages.iter().any(|message| is_query(&message)) {
        return Ok(());
    }
    Err("No user query found in messages.".to_owned())
}

/// vLLM has no multimodal processor for a text model, and no form of a file for any
/// (langchain-ai/openwiki #63, 2026-07-03).
fn check_part(kind: &str, reads_images: bool) -> Result<(), String> {
    match kind {
        "text" => Ok(()),
        "image_url" if reads_images => Ok(()),
        "image_url" | "audio_url" | "video_url" => {
            let kind = kind.trim_end_matches("_url");
            Err(format!("At most 0 {kind}(s) may be provided in one prompt."))
        }
        "input_audio" => Err("At most 0 audio(s) may be provided in one prompt.".to_owned()),
        _ => Err(format!("Unknown part type: {kind}")),
    }
}

fn error(status: u16, kind: &str, message: &str) -> VendorError {
    let body =
        json!({"object": "error", "message": message, "type": kind, "param": null, "code": status});
    VendorError::new(status, body)
}
