//! What is asked, by how many at once. The request says which answer it wants, in the words of
//! the fake upstream.

use std::time::Duration;

use baton_test_harness::system::{MODEL, message};
use serde_json::Value;

use crate::options::Options;

/// Pause and number of the events of a slow stream.
const SLOW_PACE: Duration = Duration::from_millis(250);

/// One line of the plan.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) body: String,
    pub(crate) at_once: u32,
    pub(crate) load: Load,
    /// Events of an answer; none when it is one object.
    pub(crate) events: Option<u32>,
    pub(crate) stamped: bool,
    /// Whether it is asked with a limited key, too.
    pub(crate) limited: bool,
}

/// How the clients ask.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// Again and again, for so long.
    Loop(Duration),
    /// Once each, spread over this time.
    Spread(Duration),
}

/// The events of a text besides its deltas.
const FRAME_EVENTS: u32 = 6;

impl Scenario {
    /// All of them, in the order in which they run: the slow streams first, since their memory is
    /// measured and later ones would find it in use already.
    pub(crate) fn all(options: &Options) -> Vec<Self> {
        let (burst, length) = (options.burst, Duration::from_secs_f64(options.seconds));
        let stream = |events: u32| format!("text;events={events};burst={burst}");
        let closed = |name: &str, answer: &str, at_once| {
            Self::new(name, answer, at_once, Load::Loop(length)).padded_to(0)
        };
        let slow = options.streams.iter().map(|count| {
            let pace = SLOW_PACE.as_millis();
            let answer = format!("text;stamp;events={};pace={pace}", options.slow_events);
            let name = format!("{count} slow streams");
            Self::new(&name, &answer, *count, Load::Spread(SLOW_PACE)).stamped(options.slow_events)
        });
        let rest = [
            Self { limited: true, ..closed("small call, 64 at once", "text", 64) },
            closed("small call, alone", "text", 1),
            Self {
                limited: true,
                ..closed("100 events, 32 at once", &stream(100), 32).streamed(100)
            },
            closed("100 events a ms apart, alone", "text;stamp;events=100;pace=1", 1).stamped(100),
            closed("2,000 events, 8 at once", &stream(2_000), 8).streamed(2_000),
            closed("1 MB body, 8 at once", "text", 8).padded_to(1_000_000),
            closed("5 MB body, 4 at once", "text", 4).padded_to(5_000_000),
        ];
        slow.chain(rest).collect()
    }

    fn new(name: &str, answer: &str, at_once: u32, load: Load) -> Self {
        let body = message(MODEL, &format!("[[{answer}]]"), false).to_string();
        Self {
            name: name.to_owned(),
            body,
            at_once,
            load,
            events: None,
            stamped: false,
            limited: false,
        }
    }

    fn changed(self, change: impl FnOnce(&mut Value)) -> Self {
        let mut body: Value = serde_json::from_str(&self.body).expect("our own JSON");
        change(&mut body);
        Self { body: body.to_string(), ..self }
    }

    fn streamed(self, deltas: u32) -> Self {
        let changed = self.changed(|body| body["stream"] = true.into());
        Self { events: Some(deltas + FRAME_EVENTS), ..changed }
    }

    fn stamped(self, deltas: u32) -> Self {
        Self { stamped: true, ..self.streamed(deltas) }
    }

    fn padded_to(self, bytes: usize) -> Self {
        let padding = "x".repeat(bytes.saturating_sub(self.body.len()));
        self.changed(|body| {
            let content = &mut body["messages"][0]["content"];
            *content = format!("{} {padding}", content.as_str().unwrap_or_default()).into();
        })
    }
}

/// A question for `answer`, of about so many bytes.
pub(crate) fn question(answer: &str, is_stream: bool, bytes: usize) -> String {
    let asked = Scenario::new("", answer, 1, Load::Loop(Duration::ZERO)).padded_to(bytes);
    asked.changed(|body| body["stream"] = is_stream.into()).body
}

/// The question that a road must answer before anything is measured.
pub(crate) fn hello() -> String {
    message(MODEL, "[[text]]", false).to_string()
}
