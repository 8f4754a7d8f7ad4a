//! Computes a number for the conversation of a request, by which sessions are spread over accounts.
//!
//! The upstream's prompt cache is per account, so all turns of a conversation should get the same
//! number. `domain::account_selection` picks the account for it.

use crate::json::JsonValue;
use std::fmt;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The start of the client's block for billing and version, which the client changes between turns.
/// It is not part of the cacheable prefix (recorded requests, 2026-11-22).
const BILLING_BLOCK: &str = "x-anthropic-billing-header:";

/// The number of a session, from its name or else from the body's cacheable prefix. `None` if the
/// body has neither. It depends only on the arguments, so every instance and release computes the
/// same number.
pub fn session_seed(name: Option<&str>, prefix: &ConversationPrefix<'_>) -> Option<u64> {
    name.map_or_else(|| prefix.to_session_number(), |name| Some(xxh3_64(name.as_bytes())))
}

/// The content of a body that stays the same over the turns of a conversation: Anthropic's fields
/// and OpenAI's, each as JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct ConversationPrefix<'a> {
    /// The tools. Only their names count.
    pub tools: Option<&'a str>,
    /// The system prompt.
    pub system: Option<&'a str>,
    /// The system prompt in OpenAI's Responses.
    pub instructions: Option<&'a str>,
    /// OpenAI's Responses: a text, or messages.
    pub input: Option<&'a str>,
    /// The first messages.
    pub messages: Option<OpeningMessages<'a>>,
}

/// Prints nothing, since the fields contain prompts.
impl fmt::Debug for ConversationPrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prefix")
    }
}

impl ConversationPrefix<'_> {
    /// A hash of the tools' names, the system prompt, and all messages up to the user's first.
    /// `None` if the body has none of them.
    ///
    /// Only text counts, not its wrapping: `cache_control` marks move from turn to turn, and a
    /// string means the same as one block of text. The text is hashed with its escapes as the
    /// client wrote it, because decoding the escapes of a large body costs more than all other work
    /// on it.
    fn to_session_number(&self) -> Option<u64> {
        let mut hash = PrefixHasher { state: Xxh3::new(), is_empty: true };
        let tools = self.tools.and_then(|tools| checked_value(tools).items()).into_iter().flatten();
        for name in
            tools.filter_map(|tool| find_field(tool, "name").or_else(|| find_field(tool, "type")))
        {
            name.text().iter().for_each(|name| hash.add_text(b't', name));
        }
        for system in [self.system, self.instructions].into_iter().flatten() {
            hash.add_content(b's', system);
        }
        match self.messages.clone().or_else(|| OpeningMessages::parse(self.input?.as_bytes())) {
            Some(OpeningMessages(texts)) => {
                for content in &texts {
                    hash.add_content(b'm', content);
                }
            }
            None => self.input.iter().for_each(|input| hash.add_content(b'm', input)),
        }
        (!hash.is_empty).then(|| hash.state.digest())
    }
}

/// The messages up to the user's first, each content as JSON. Later messages are skipped and not
/// kept.
#[derive(Clone, PartialEq, Eq)]
pub struct OpeningMessages<'a>(Vec<&'a str>);

impl<'a> OpeningMessages<'a> {
    /// Reads a list of messages from text that was checked to be JSON. `None` if it has another
    /// form.
    pub(crate) fn parse(messages: &'a [u8]) -> Option<Self> {
        let mut texts = Vec::new();
        for message in JsonValue::from_checked(messages).items()? {
            let (mut is_user, mut content) = (false, None);
            for (name, value) in message.fields()?.filter(|(_, value)| !value.is_null()) {
                match &*name {
                    "role" => is_user = value.text()? == "user",
                    "content" => content = Some(value.raw()),
                    _ => {}
                }
            }
            texts.extend(content);
            if is_user {
                break;
            }
        }
        Some(OpeningMessages(texts))
    }
}

fn checked_value(json: &str) -> JsonValue<'_> {
    JsonValue::from_checked(json.as_bytes())
}

/// A field of an object that is not `null`.
fn find_field<'a>(object: JsonValue<'a>, name: &str) -> Option<JsonValue<'a>> {
    let field = object.fields()?.find(|(known, _)| known == name);
    field.map(|(_, value)| value).filter(|value| !value.is_null())
}

/// The content of a JSON string as it is written, or `None` if the value is not a string.
pub(crate) fn strip_quotes(json: &str) -> Option<&str> {
    json.strip_prefix('"')?.strip_suffix('"')
}

struct PrefixHasher {
    state: Xxh3,
    is_empty: bool,
}

impl PrefixHasher {
    /// Adds a piece. Its tag and length distinguish `a`, `b` from `ab`.
    fn add_text(&mut self, tag: u8, text: &str) {
        self.state.update(&[tag]);
        self.state.update(&text.len().to_le_bytes());
        self.state.update(text.as_bytes());
        self.is_empty = false;
    }

    /// Adds content, which is a text or a list of blocks. Anything else is ignored.
    fn add_content(&mut self, tag: u8, content: &str) {
        if let Some(text) = strip_quotes(content) {
            return self.add_text(tag, text);
        }
        let blocks = checked_value(content).items().into_iter().flatten();
        let texts = blocks.filter_map(|block| strip_quotes(find_field(block, "text")?.raw()));
        texts
            .filter(|text| !text.starts_with(BILLING_BLOCK))
            .for_each(|text| self.add_text(tag, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Envelope;

    fn seed(body: &str) -> Option<u64> {
        session_seed(None, &Envelope::parse_with_model(body.as_bytes(), "m", false).ok()?.prefix)
    }

    #[test]
    fn later_turns_keep_the_session_seed() {
        let first = r#"{"model":"a","tools":[{"name":"Bash","description":"x"}],"system":[{"type":"text","text":"x-anthropic-billing-header: v1"},{"type":"text","text":"Be good."}],"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]}"#;
        let later = r#"{"model":"b","tools":[{"name":"Bash","cache_control":{}}],"system":[{"type":"text","text":"x-anthropic-billing-header: v2"},{"type":"text","text":"Be good.","cache_control":{}}],"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"},{"role":"user","content":"more"}]}"#;
        assert!(seed(first).is_some());
        assert_eq!(seed(first), seed(later));
        for (from, to) in [("hi", "ho"), ("Bash", "Read"), ("good", "bad")] {
            assert_ne!(seed(first), seed(&first.replace(from, to)), "{from}");
        }
    }

    #[test]
    fn openai_conversations_have_a_stable_seed() {
        let chat =
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}]}"#;
        let next = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"user","content":"v"}]}"#;
        assert_eq!(seed(chat), seed(next));
        let one = r#"{"instructions":"s","input":"u"}"#;
        let list = r#"{"instructions":"s","input":[{"role":"user","content":[{"type":"input_text","text":"u"}]}]}"#;
        assert!(seed(one).is_some());
        assert_eq!(seed(one), seed(list));
    }

    #[test]
    fn escaped_text_hashes_like_plain_text() {
        let text = r#""say \"hi\"\nto Zo\u00eb""#;
        let block = format!(r#"[{{"type":"text","text":{text}}}]"#);
        let requested = |name: &str, content: &str| seed(&format!(r#"{{"{name}":{content}}}"#));
        let said = |content: &str| {
            requested("messages", &format!(r#"[{{"role":"user","content":{content}}}]"#))
        };
        assert!(said(text).is_some());
        for same in [
            said(&block),
            requested("input", text),
            requested("input", &format!(r#"[{{"content":{text}}}]"#)),
        ] {
            assert_eq!(said(text), same);
        }
        assert_ne!(said(text), said(&text.replace("hi", "ho")));
        assert_eq!(requested("system", text), requested("system", &block));
    }

    #[test]
    fn malformed_messages_do_not_change_the_hash_of_other_fields() {
        let known = seed(r#"{"system":"s"}"#);
        assert!(known.is_some());
        for odd in [r#"{"a":1}"#, "7", "[7]", r#"[{"role":1}]"#, r#"[{"role":"\ud800"}]"#] {
            assert_eq!(seed(&format!(r#"{{"messages":{odd},"system":"s"}}"#)), known, "{odd}");
        }
    }

    #[test]
    fn debug_output_hides_the_conversation() {
        let body = br#"{"system":"planted","messages":[{"role":"user","content":"planted"}]}"#;
        let envelope = Envelope::parse_with_model(body, "m", false).unwrap();
        assert!(!format!("{envelope:?}").contains("planted"));
    }

    #[test]
    fn hashed_pieces_are_separated() {
        let split = |a: &str, b: &str| seed(&format!(r#"{{"system":"{a}","instructions":"{b}"}}"#));
        assert_ne!(split("ab", "c"), split("a", "bc"));
    }

    #[test]
    fn bodies_without_content_have_no_seed() {
        for body in ["", "[]", "{}", r#"{"messages":[]}"#, r#"{"system":7,"messages":{"a":1}}"#] {
            assert_eq!(seed(body), None, "{body}");
        }
    }

    #[test]
    fn seed_is_stable_between_releases() {
        // Instances of two releases must agree. This is XXH3-64 of no bytes, as its authors publish
        // it.
        let nothing = Envelope::parse_with_model(b"{}", "m", false).unwrap().prefix;
        assert_eq!(session_seed(Some(""), &nothing), Some(0x2d06_8005_38d3_94c2));
    }
}
