//! The small language by which a request asks for a certain answer.
//!
//! `kind[:argument][;option…]`, in the header `x-scenario` or, for clients that cannot set headers,
//! between `[[` and `]]` in the last user message. Kinds: see [`Kind`]. Options: `gate=NAME` (pass
//! that gate before each chunk), `size=N` (chunks of N bytes instead of whole events), `events=N`
//! (the number of text deltas), `pace=MS` (pause between events), `gzip` (compress the answer if
//! the request allows it), `gzip!` (always compress it), `header=NAME:VALUE` (also send that
//! header), `say=TEXT` (the message of an invented error), `chance=N` (applies to N of a thousand
//! requests; the others get a text), `stamp` (each delta contains the time of its writing) and
//! `burst=N` (N events in one write). The last two need an answer from [`super::prepared_answers`].

use std::time::Duration;

use serde_json::Value;

use super::RecordedRequest;

/// The kind of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A thinking block with a signature, then a text.
    Thinking,
    /// A tool call with this argument. The request that brings the result gets a text.
    Tool(String),
    /// A recorded stream, byte for byte.
    Fixture(String),
    /// A recorded error answer.
    Error(String),
    /// An invented error answer with this status.
    Status(u16),
    /// A stream that contains only an error of this type as its first event.
    FirstError(String),
    /// A text with pings and comment lines between all events.
    Pings,
    /// The head and this number of events of a text, then a broken connection.
    Cut(usize),
    /// Nothing until the client leaves.
    Hang,
    /// The head and this number of events of a text, then nothing.
    HangAfter(usize),
}

/// A parsed scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The kind of answer.
    pub kind: Kind,
    /// The gate before each chunk.
    pub gate: Option<String>,
    /// Bytes in a chunk; absent for whole events.
    pub size: Option<usize>,
    /// The number of text deltas.
    pub events: Option<usize>,
    /// The pause between events.
    pub pace: Duration,
    /// Compress if the request accepts it.
    pub gzip: bool,
    /// Always compress.
    pub gzip_always: bool,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The message of an invented error.
    pub say: String,
    /// How many of a thousand requests it applies to; absent for all of them.
    pub chance: Option<u64>,
    /// Whether each delta contains the time of its writing, for prepared answers.
    pub stamp: bool,
    /// The number of events in one write, for prepared answers.
    pub burst: usize,
}

impl Scenario {
    /// The plain text answer.
    pub fn text() -> Self {
        Self {
            kind: Kind::Text,
            gate: None,
            size: None,
            events: None,
            pace: Duration::ZERO,
            gzip: false,
            gzip_always: false,
            headers: Vec::new(),
            say: "made up".to_owned(),
            chance: None,
            stamp: false,
            burst: 1,
        }
    }

    /// Reads a scenario.
    ///
    /// # Panics
    ///
    /// On an unknown kind or option: a test with a misspelled scenario must not pass by accident.
    pub fn parse(text: &str) -> Self {
        Self::try_parse(text).unwrap_or_else(|problem| panic!("scenario {text:?}: {problem}"))
    }

    pub(super) fn try_parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(';');
        let mut scenario = Self::text();
        scenario.kind = parse_kind(parts.next().unwrap_or_default().trim())?;
        for option in parts {
            scenario.set(option.trim())?;
        }
        Ok(scenario)
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "gate" => self.gate = Some(value.to_owned()),
            "size" => self.size = Some(number(value)?.max(1)),
            "events" => self.events = Some(number(value)?),
            "pace" => self.pace = Duration::from_millis(number(value)? as u64),
            "chance" => self.chance = Some(number(value)? as u64),
            "stamp" => self.stamp = true,
            "burst" => self.burst = number(value)?.max(1),
            "gzip" => self.gzip = true,
            "gzip!" => self.gzip_always = true,
            "header" => {
                let (name, value) = value.split_once(':').ok_or("a header is NAME:VALUE")?;
                self.headers.push((name.to_owned(), value.to_owned()));
            }
            "say" => value.clone_into(&mut self.say),
            _ => return Err(format!("unknown option {option:?}")),
        }
        Ok(())
    }

    /// The scenario that the request itself names, if any.
    pub(super) fn named_by(request: &RecordedRequest) -> Option<Result<Self, String>> {
        if let Some(header) = request.header("x-scenario") {
            return Some(Self::try_parse(header));
        }
        let text = last_user_text(&request.json())?;
        let (_, rest) = text.split_once("[[")?;
        let (inside, _) = rest.split_once("]]")?;
        Some(Self::try_parse(inside))
    }
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    let (name, argument) = text.split_once(':').unwrap_or((text, ""));
    Ok(match name {
        "text" => Kind::Text,
        "thinking" => Kind::Thinking,
        "tool" => Kind::Tool(argument.to_owned()),
        "fixture" => Kind::Fixture(argument.to_owned()),
        "error" => Kind::Error(argument.to_owned()),
        "status" => Kind::Status(argument.parse().map_err(|e| format!("{argument:?}: {e}"))?),
        "first_error" => Kind::FirstError(argument.to_owned()),
        "pings" => Kind::Pings,
        "cut" => Kind::Cut(number(argument)?),
        "hang" if argument.is_empty() => Kind::Hang,
        "hang" => Kind::HangAfter(number(argument)?),
        _ => return Err(format!("unknown kind {name:?}")),
    })
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|e| format!("{text:?}: {e}"))
}

/// The last message of a user. Claude Code puts messages of role `system` after it.
pub(super) fn last_user_message(body: &Value) -> Option<&Value> {
    let turns = body["messages"].as_array().or_else(|| body["input"].as_array())?;
    turns.iter().rfind(|message| message["role"] == "user")
}

fn last_user_text(body: &Value) -> Option<String> {
    if let Value::String(text) = &body["input"] {
        return Some(text.clone());
    }
    match &last_user_message(body)?["content"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(blocks) => {
            Some(blocks.iter().filter_map(|block| block["text"].as_str()).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(content: &Value) -> RecordedRequest {
        let body = serde_json::json!({"messages": [
            {"role": "user", "content": content}, {"role": "system", "content": "reminder [[hang]]"},
        ]});
        RecordedRequest {
            method: "POST".into(),
            target: "/v1/messages".into(),
            headers: Vec::new(),
            body: body.to_string().into(),
        }
    }

    #[test]
    fn scenario_has_kind_and_options() {
        let scenario = Scenario::parse("fixture:crlf;size=7;gate=one");
        assert_eq!(scenario.kind, Kind::Fixture("crlf".into()));
        assert_eq!((scenario.size, scenario.gate.as_deref()), (Some(7), Some("one")));
        assert!(Scenario::try_parse("txt").is_err());
        assert!(Scenario::try_parse("text;colour=red").is_err());
    }

    #[test]
    fn last_user_message_names_the_scenario() {
        let parsed = Scenario::named_by(&asking(&"please [[tool:echo hi]]".into()));
        assert_eq!(parsed.unwrap().unwrap().kind, Kind::Tool("echo hi".into()));
        assert_eq!(Scenario::named_by(&asking(&"hi".into())), None);
    }
}
