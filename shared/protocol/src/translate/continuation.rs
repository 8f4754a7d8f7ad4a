//! State of a model that only its own upstream can read, in a form that every client returns.
//!
//! Some upstreams refuse the next turn of a tool loop unless they get back what came with the last
//! one: `reasoning_content` (api-docs.deepseek.com, "Thinking mode"; Kimi and GLM, 2026-11),
//! `reasoning_details` (openrouter.ai, "Preserving reasoning", 2026-11), or thought signatures
//! (ai.google.dev, "Thought signatures", 2026-11). Nothing is stored here, so the client carries
//! the state: as the signature of a thinking block, or as the encrypted content of a reasoning item.
//! The state names the model that made it. Only that model gets it back, and no other upstream ever
//! sees it.

use super::json_reader::{ObjectReader, parse_document, to_items, to_text};
use super::reasoning_details::ReasoningDetails;
use crate::json::JsonValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memchr::memmem;
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

/// How a state begins. No vendor's signature or encrypted content begins like this.
pub(crate) const STATE_PREFIX: &str = "baton1_";

/// Whether a body may contain a state that was written here, also with escaped letters. This is a
/// scan of the body.
pub fn may_have_baton_state(body: &[u8]) -> bool {
    let is_escaped_letter = |at: usize| {
        let digits = body.get(at + ESCAPE.len()..).and_then(|rest| rest.get(..2));
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        code.is_some_and(|code| STATE_PREFIX.as_bytes().contains(&code))
    };
    memmem::find(body, STATE_PREFIX.as_bytes()).is_some()
        || memmem::find_iter(body, ESCAPE).any(is_escaped_letter)
}

/// How JSON begins to escape a character of ASCII.
const ESCAPE: &[u8] = br"\u00";

/// The longest state that is read. A state has the thinking of one answer and what the upstream
/// encrypted of it: a model that thinks with 128,000 tokens writes about 700 KB in this form. A
/// longer state counts as another model's.
pub(super) const STATE_BYTES_MAX: usize = 1024 * 1024;

/// The placeholder that Google documents for calls that another model made (ai.google.dev, "Thought
/// signatures", questions and answers, 2026-11).
pub(crate) const FOREIGN_CALL: &str =
    r#"{"google":{"thought_signature":"skip_thought_signature_validator"}}"#;

/// The state of a part of an answer, as it is written for the client.
#[derive(Debug, Default, Serialize)]
struct SealedState<'a> {
    /// The model that made it, by its name at the upstream.
    model: &'a str,
    /// The field in which the upstream sent the text of the thinking.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<ReasoningField>,
    /// OpenRouter's `reasoning_details`.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Box<RawValue>>,
    /// The id of a call, and its `extra_content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<(&'a str, &'a RawValue)>,
    /// A reasoning item of a Responses upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a ReasoningItem>,
}

/// What identifies a reasoning item of the Responses API (developers.openai.com, "Reasoning models",
/// encrypted reasoning items, 2026-11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ReasoningItem {
    pub(super) id: String,
    pub(super) encrypted_content: String,
}

impl ReasoningItem {
    /// The signature that carries the item of `model`.
    pub(super) fn seal(&self, model: &str) -> String {
        SealedState { model, item: Some(self), ..SealedState::default() }.seal()
    }

    /// The item in a signature, if `model` made it.
    pub(super) fn open(signature: &str, model: &str) -> Option<Self> {
        ReadState::open(signature, |maker| maker == model)?.item
    }
}

/// The names that upstreams have for the text of thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReasoningField {
    ReasoningContent,
    Reasoning,
}

impl ReasoningField {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ReasoningContent => "reasoning_content",
            Self::Reasoning => "reasoning",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::ReasoningContent, Self::Reasoning].into_iter().find(|field| field.as_str() == name)
    }
}

/// Whether a signature or encrypted content is a state that was written here.
pub(super) fn is_baton_state(signature: &str) -> bool {
    signature.starts_with(STATE_PREFIX)
}

impl SealedState<'_> {
    /// The state in the form for clients.
    fn seal(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("{STATE_PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

/// A state that a client has sent back. Clients can change it, so its JSON is checked and stays
/// text.
#[derive(Debug, Default)]
struct ReadState {
    field: Option<ReasoningField>,
    /// The entries of `reasoning_details`, without the brackets around them.
    details: String,
    call: Option<(String, String)>,
    item: Option<ReasoningItem>,
}

impl ReadState {
    /// The state in a signature, if it is one whose maker `is_wanted`.
    fn open(signature: &str, is_wanted: impl FnOnce(&str) -> bool) -> Option<Self> {
        let sealed = signature.strip_prefix(STATE_PREFIX)?;
        if sealed.len() > STATE_BYTES_MAX {
            return None;
        }
        let json = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        std::str::from_utf8(&json).ok()?;
        let document = parse_document(&json).ok()?;
        let mut state = ObjectReader::from_value(document.root())?;
        if !is_wanted(&state.take_text("model")?) {
            return None;
        }
        let field = state.take_text("field").as_deref().and_then(ReasoningField::parse);
        let details = state.take_value("details").map(JsonValue::raw).unwrap_or_default();
        let details = details.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let call = state
            .take_value("call")
            .and_then(to_items)
            .and_then(|mut call| Some((to_text(call.next()?)?, call.next()?.raw().to_owned())));
        let item = state.take_object("item").and_then(|mut item| {
            let id = item.take_text("id")?;
            Some(ReasoningItem { id, encrypted_content: item.take_text("encrypted_content")? })
        });
        Some(Self { field, details: details.unwrap_or_default().trim().to_owned(), call, item })
    }
}

/// The state of an answer while it arrives.
#[derive(Debug, Default)]
pub(super) struct PendingState {
    model: String,
    field: Option<ReasoningField>,
    details: ReasoningDetails,
}

impl PendingState {
    pub(super) fn new(model: &str) -> Self {
        Self { model: model.to_owned(), ..Self::default() }
    }

    /// Notes the field that has the text of the thinking.
    pub(super) fn note_field(&mut self, field: ReasoningField) {
        self.field = Some(field);
    }

    /// Adds entries of `reasoning_details`. A stream sends the text of one entry in pieces.
    pub(super) fn add_details(&mut self, list: JsonValue<'_>) {
        list.items().into_iter().flatten().for_each(|entry| self.details.add_entry(entry));
    }

    /// Removes the entries of `reasoning_details` so far, which the next ones repeat.
    pub(super) fn remove_details(&mut self) {
        self.details = ReasoningDetails::default();
    }

    /// The text in entries of `reasoning_details`, for upstreams that send it nowhere else.
    pub(super) fn detail_text(list: JsonValue<'_>) -> String {
        let text = |entry: JsonValue<'_>| {
            entry.field_text("text").or_else(|| entry.field_text("summary")).map(Cow::into_owned)
        };
        list.items().into_iter().flatten().filter_map(text).collect()
    }

    pub(super) fn has_details(&self) -> bool {
        self.details.held_bytes() > 0
    }

    /// The bytes of memory that entries of `reasoning_details` take.
    pub(super) fn held_bytes(&self) -> usize {
        self.details.held_bytes()
    }

    /// The signature of a thinking part that ends now.
    pub(super) fn thinking_signature(&mut self) -> Option<String> {
        let details = std::mem::take(&mut self.details).into_list();
        if self.field.is_none() && details.is_none() {
            return None;
        }
        let state = SealedState { model: &self.model, details, ..SealedState::default() };
        Some(SealedState { field: self.field, ..state }.seal())
    }

    /// The signature that carries the `extra_content` of a call.
    pub(super) fn call_signature(&self, id: &str, extra: &str) -> Option<String> {
        let call = Some((id, serde_json::from_str(extra).ok()?));
        Some(SealedState { model: &self.model, call, ..SealedState::default() }.seal())
    }
}

/// What a chat upstream gets back for one turn of the assistant.
#[derive(Debug, Default)]
pub(super) struct ReturnedState {
    /// The text of the thinking and its field.
    pub(super) reasoning: Option<(ReasoningField, String)>,
    /// `reasoning_details`, as JSON.
    pub(super) details: Option<String>,
    /// `extra_content` by the id of the call, as JSON.
    calls: HashMap<String, String>,
    needs_signature: bool,
    /// Whether thinking was left out, because another upstream made it.
    pub(super) is_foreign_dropped: bool,
}

impl ReturnedState {
    /// The state for `model` in a turn with these texts and signatures of thinking.
    /// `takes_reasoning` says that the upstream accepts thinking of any maker.
    pub(super) fn new<'a>(
        model: &str,
        takes_reasoning: bool,
        thinking: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Self {
        let form = ExpectedState::from_model(model);
        let takes_reasoning = takes_reasoning || form.takes_reasoning;
        let mut returned =
            Self { needs_signature: form.needs_signatures, ..ReturnedState::default() };
        let (mut text, mut field, mut details) = (String::new(), None, String::new());
        let is_wanted = |maker: &str| is_same_maker(maker, model);
        for (part, signature) in thinking {
            match signature.and_then(|signature| ReadState::open(signature, is_wanted)) {
                Some(state) => {
                    if state.field.is_some() || takes_reasoning {
                        text.push_str(part);
                        field = field.or(state.field);
                    }
                    if !details.is_empty() && !state.details.is_empty() {
                        details.push(',');
                    }
                    details.push_str(&state.details);
                    if let Some((id, extra)) = state.call {
                        returned.calls.entry(id).or_insert(extra);
                    }
                }
                None if takes_reasoning => text.push_str(part),
                None => returned.is_foreign_dropped = true,
            }
        }
        let field = field.or(takes_reasoning.then_some(ReasoningField::ReasoningContent));
        let is_sent = !text.is_empty() || form.needs_reasoning;
        returned.reasoning = field.filter(|_| is_sent).map(|field| (field, text));
        returned.details = (!details.is_empty()).then(|| format!("[{details}]"));
        returned
    }

    /// Takes the `extra_content` of a call, which only one call gets. `is_first` says that the call
    /// is the first one of its turn, which is the one that Gemini signs.
    pub(super) fn take_extra_of_call(
        &mut self,
        id: &str,
        is_first: bool,
    ) -> Option<Cow<'static, str>> {
        let placeholder = || (self.needs_signature && is_first).then_some(FOREIGN_CALL.into());
        self.calls.remove(id).map(Cow::Owned).or_else(placeholder)
    }
}

/// Whether the model `to` can read what `from` made.
fn is_same_maker(from: &str, to: &str) -> bool {
    from == to || (gemini_generation(from).is_some() && gemini_generation(to).is_some())
}

/// The state that a model expects, as far as its name says.
#[derive(Debug, Clone, Copy, Default)]
struct ExpectedState {
    /// It accepts thinking of any maker as `reasoning_content`.
    takes_reasoning: bool,
    /// It refuses an assistant's message without `reasoning_content`. An empty one is accepted
    /// (anomalyco/opencode `provider/transform.ts`, 2026-11).
    needs_reasoning: bool,
    /// It refuses calls without a thought signature.
    needs_signatures: bool,
}

impl ExpectedState {
    fn from_model(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        let has = |part: &str| model.contains(part);
        // Distilled models have another vendor's base and its template.
        let needs_reasoning =
            (has("deepseek") && !has("distill")) || (has("kimi") && !has("instruct"));
        Self {
            takes_reasoning: needs_reasoning || has("glm-") || has("minimax-m") || has("mimo-"),
            needs_reasoning,
            needs_signatures: gemini_generation(&model).is_some_and(|number| number >= 3),
        }
    }
}

/// The generation of a Gemini model.
fn gemini_generation(model: &str) -> Option<u32> {
    let (_, rest) = model.split_once("gemini-")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some(rest[..digits].parse().unwrap_or(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn returned(model: &str, thinking: &[(&str, Option<&str>)]) -> ReturnedState {
        ReturnedState::new(model, false, thinking.iter().copied())
    }

    #[test]
    fn state_is_found_in_a_body_however_it_is_escaped() {
        for body in [
            r#"{"signature":"baton1_e30"}"#,
            r#"{"signature":"\u0062aton1_e30"}"#,
            r#"{"signature":"bato\u006E1_e30"}"#,
            r#"{"signature":"baton\u0031\u005fe30"}"#,
        ] {
            assert!(may_have_baton_state(body.as_bytes()), "{body}");
        }
        for body in ["", r#"{"content":"baton1 \u00e4 \u001b \u003c\u00"}"#, r"\u00"] {
            assert!(!may_have_baton_state(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn state_returns_to_the_model_that_made_it_and_to_no_other() {
        let mut pending = PendingState::new("m-1");
        pending.note_field(ReasoningField::ReasoningContent);
        let signature = pending.thinking_signature().unwrap();
        assert!(is_baton_state(&signature));
        let same = returned("m-1", &[("hm", Some(&signature))]);
        assert_eq!(same.reasoning, Some((ReasoningField::ReasoningContent, "hm".to_owned())));
        let other = returned("m-2", &[("hm", Some(&signature))]);
        assert!(other.reasoning.is_none() && other.is_foreign_dropped);
        for broken in ["", "c2ln", "baton1_", "baton1_!", "baton1_e30"] {
            assert!(returned("m-1", &[("hm", Some(broken))]).reasoning.is_none(), "{broken}");
        }
    }

    #[test]
    fn reasoning_item_returns_to_its_model_only() {
        let item = ReasoningItem { id: "rs_1".to_owned(), encrypted_content: "gAAA".to_owned() };
        let signature = item.clone().seal("gpt-5.5");
        assert_eq!(ReasoningItem::open(&signature, "gpt-5.5"), Some(item));
        assert_eq!(ReasoningItem::open(&signature, "gpt-5.6"), None);
        assert_eq!(ReasoningItem::open("c2ln", "gpt-5.5"), None);
        assert!(returned("gpt-5.5", &[("hm", Some(&signature))]).reasoning.is_none());
    }

    #[test]
    fn state_beyond_a_bound_counts_as_foreign() {
        let open = |json: &str| {
            let signature = format!("{STATE_PREFIX}{}", URL_SAFE_NO_PAD.encode(json));
            let state = returned("m", &[("", Some(&signature))]);
            (state.details, state.is_foreign_dropped)
        };
        let of = |details: &str| open(&format!(r#"{{"model":"m","details":[{details}]}}"#));
        assert_eq!(of(r#"{"a":1}"#), (Some(r#"[{"a":1}]"#.to_owned()), false));
        let foreign = (None, true);
        let sealed_max = STATE_BYTES_MAX - STATE_PREFIX.len();
        assert!(of(&format!("\"{}\"", "x".repeat(sealed_max / 4 * 3 - 64))).0.is_some());
        assert_eq!(of(&format!("\"{}\"", "x".repeat(STATE_BYTES_MAX / 4 * 3))), foreign);
        assert_eq!(of(&format!("{}{}", "[".repeat(63), "]".repeat(63))), foreign);
        assert_eq!(of(&vec!["[]"; 200_001].join(",")), foreign);
        assert_eq!(of("{"), foreign);
        assert_eq!(open(r#"{"model":"other","details":[{"a":1}]}"#), foreign);
        assert_eq!(open(r#"{"model":"m","details":7,"call":7,"item":7,"field":7}"#), (None, false));
    }

    #[test]
    fn models_that_need_reasoning_get_it_from_every_maker() {
        let text = |state: ReturnedState| state.reasoning.map(|(_, text)| text);
        for model in ["deepseek-v4-pro", "kimi-k2-thinking", "moonshotai/Kimi-K3"] {
            assert_eq!(
                text(returned(model, &[("hm", Some(""))])).as_deref(),
                Some("hm"),
                "{model}"
            );
            assert_eq!(text(returned(model, &[])).as_deref(), Some(""), "{model}");
        }
        assert_eq!(text(returned("glm-5", &[("hm", None)])).as_deref(), Some("hm"));
        for model in ["glm-5", "mistral-large", "gpt-5.5", "deepseek-r1-distill-llama-70b"] {
            assert_eq!(text(returned(model, &[])), None, "{model}");
        }
        assert_eq!(text(returned("mistral-large", &[("hm", None)])), None);
    }

    #[test]
    fn thought_signatures_return_with_their_call() {
        let pending = PendingState::new("gemini-3-pro");
        let extra = r#"{"google":{"thought_signature":"U0lH"}}"#;
        let signature = pending.call_signature("call_1", extra).unwrap();
        let mut state = returned("google/gemini-3.5-flash", &[("", Some(&signature))]);
        assert_eq!(state.take_extra_of_call("call_1", true).as_deref(), Some(extra));
        assert_eq!(state.take_extra_of_call("call_1", false), None, "one call gets it");
        assert_eq!(state.take_extra_of_call("call_2", false), None);
        assert_eq!(state.take_extra_of_call("call_2", true).as_deref(), Some(FOREIGN_CALL));
        assert_eq!(returned("gemini-2.5-pro", &[]).take_extra_of_call("c", true), None);
        let mut other = returned("gpt-5.5", &[("", Some(&signature))]);
        assert_eq!(other.take_extra_of_call("call_1", true), None);
    }

    #[test]
    fn pieces_of_details_are_joined() {
        let mut pending = PendingState::new("m");
        for list in [
            r#"[{"type":"reasoning.text","text":"a\ud83d","index":0}]"#,
            r#"[{"type":"reasoning.text","text":"\ude00b","index":0,"format":"f"}]"#,
            r#"[{"type":"reasoning.text","signature":"s","index":0,"text":null}]"#,
            r#"[{"type":"reasoning.encrypted","data":"x","index":0}]"#,
            r#"[{"a":0},7]"#,
        ] {
            pending.add_details(parse_document(list.as_bytes()).unwrap().root());
        }
        let signature = pending.thinking_signature().unwrap();
        let details = returned("m", &[("ab", Some(&signature))]).details.unwrap();
        let details: Value = serde_json::from_str(&details).unwrap();
        let expected = serde_json::json!([
            {"type": "reasoning.text", "text": "a\u{1f600}b", "index": 0, "format": "f",
                "signature": "s"},
            {"type": "reasoning.encrypted", "data": "x", "index": 0},
            {"a": 0},
            7,
        ]);
        assert_eq!(details, expected);
    }
}
