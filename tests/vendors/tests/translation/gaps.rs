//! What does not work yet: for each row the vendor's words (or the beginning of them), and what is
//! missing in Baton. A fault without a row fails the test, and a row without a fault, too.

use crate::client::ClientRequest;
use crate::relay::Target;
use baton_test_vendors::Vendor;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A fault that is known: the vendor or any, a part of the words, and what is missing.
pub(crate) type Gap = (Option<Vendor>, &'static str, &'static str);

/// The most requests that Baton may refuse, in percent.
const REFUSED_PERCENT_MAX: usize = 5;

/// The faults that were found, each with its shortest request.
#[derive(Default)]
pub(crate) struct Faults {
    found: BTreeMap<(Vendor, String), (String, usize)>,
    /// Requests that were answered.
    answered: usize,
    /// Baton's own refusals, by their words.
    refusals: BTreeMap<String, usize>,
}

impl Faults {
    pub(crate) fn add(&mut self, request: &ClientRequest, target: Target, words: &str) {
        let example = format!("{:?} to {}: {}", request.client, target.model, request.body);
        let entry = self.found.entry((target.vendor, without_values(words)));
        let (shortest, count) = entry.or_insert_with(|| (example.clone(), 0));
        *count += 1;
        if example.len() < shortest.len() {
            *shortest = example;
        }
    }

    pub(crate) fn count_answer(&mut self) {
        self.answered += 1;
    }

    pub(crate) fn count_refusal(&mut self, words: &str) {
        *self.refusals.entry(without_values(words)).or_default() += 1;
    }

    /// Checks that refusals are rare. A relay that refuses everything has no faults.
    pub(crate) fn check_refusals(&self) {
        let refused: usize = self.refusals.values().sum();
        let share = refused * 100 / (refused + self.answered).max(1);
        assert!(share <= REFUSED_PERCENT_MAX, "{share} % refused: {:#?}", self.refusals);
    }

    /// Compares the faults with the known gaps.
    pub(crate) fn compare(&self, gaps: &[Gap]) {
        let mut report = String::new();
        let is_row = |gap: &Gap, vendor: Vendor, words: &str| {
            gap.0.is_none_or(|known| known == vendor) && words.contains(gap.1)
        };
        for ((vendor, words), (example, count)) in &self.found {
            if !gaps.iter().any(|gap| is_row(gap, *vendor, words)) {
                let example: String = example.chars().take(1_500).collect();
                writeln!(report, "\nNEW {vendor:?} ({count}): {words}\n    {example}").unwrap();
            }
        }
        for gap in gaps {
            if !self.found.keys().any(|(vendor, words)| is_row(gap, *vendor, words)) {
                writeln!(report, "\nMENDED {:?}: {} ({})", gap.0, gap.1, gap.2).unwrap();
            }
        }
        assert!(report.is_empty(), "{report}");
    }
}

/// The words without numbers, so that the same fault in two places is one.
fn without_values(words: &str) -> String {
    let mut out = String::new();
    for letter in words.chars() {
        match letter {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            letter => out.push(letter),
        }
    }
    out.chars().take(160).collect()
}

/// Baton adds `stream_options` to every Chat stream, and Mistral refuses it: it needs an exception for
/// Mistral's host.
const MISTRAL_STREAMS: Gap = (
    Some(Vendor::Mistral),
    r#""loc":["body","stream_options","include_usage"]"#,
    "leave stream_options out for Mistral, which tells the usage anyway",
);
const MISTRAL_IDS: Gap = (
    Some(Vendor::Mistral),
    "Tool call id was ",
    "write ids of nine letters and digits for Mistral, the same for a call and its result",
);
const MISTRAL_USER: Gap = (
    Some(Vendor::Mistral),
    "Unexpected role 'user' after role 'tool'",
    "put the user's words into the result, or an assistant's message between, for Mistral",
);
const BEDROCK_SERVER_TOOLS: Gap = (
    Some(Vendor::Bedrock),
    "Input tag 'web_search_#'",
    "drop a server tool beside others for Bedrock, or refuse it in words if it is the only one",
);

const CLIENT_TOOLS: Gap = (
    None,
    "a tool was dropped",
    "write Anthropic's client-run tools (`bash_…`, `text_editor_…`) as functions, or refuse them",
);
const OUTPUT_FORMAT: Gap = (
    None,
    "the form of the answer was dropped",
    "read the older `output_format`, also for Bedrock",
);

/// Faults with recorded requests.
pub(crate) const RECORDED: &[Gap] = &[
    // Audio, and files by id: refused in words, because the answer is another without them.
    (
        Some(Vendor::Anthropic),
        "an attachment was dropped",
        "refuse attachments without a translation",
    ),
    (
        Some(Vendor::Bedrock),
        "an attachment was dropped",
        "refuse attachments without a translation",
    ),
    CLIENT_TOOLS,
    OUTPUT_FORMAT,
    // A file of `text/plain` must become a text document.
    (
        Some(Vendor::Anthropic),
        "Input should be 'application/pdf'",
        "translate media types of files",
    ),
    (Some(Vendor::Bedrock), "Input should be 'application/pdf'", "translate media types of files"),
    // An `image_url` that holds a PDF must become a document.
    (Some(Vendor::Anthropic), "Input should be 'image/jpeg'", "translate media types of images"),
    (Some(Vendor::Bedrock), "Input should be 'image/jpeg'", "translate media types of images"),
    // A strict tool with an optional property is right for Anthropic.
    (
        Some(Vendor::Openai),
        "Invalid schema for function 't'",
        "strict only if the schema allows it",
    ),
    BEDROCK_SERVER_TOOLS,
    MISTRAL_IDS,
    MISTRAL_USER,
    MISTRAL_STREAMS,
];

/// Faults with generated requests.
pub(crate) const GENERATED: &[Gap] = &[
    CLIENT_TOOLS,
    OUTPUT_FORMAT,
    BEDROCK_SERVER_TOOLS,
    // Messages clients of Bedrock: the body passes with what only Anthropic's own API has.
    (
        Some(Vendor::Bedrock),
        "cache_control: Extra inputs",
        "move a top-level cache_control to a block",
    ),
    (
        Some(Vendor::Bedrock),
        "image.source: Input tag 'url'",
        "refuse an image's URL in words for Bedrock",
    ),
    (
        Some(Vendor::Openai),
        "Invalid schema for function 'Bash'",
        "strict only if the schema allows it",
    ),
    // Text models: what they cannot read is refused in words before it is paid.
    (Some(Vendor::DeepSeek), "unknown variant `file`", "refuse files for text models"),
    (Some(Vendor::DeepSeek), "unknown variant `image_url`", "refuse images for text models"),
    (Some(Vendor::Qwen), "At most # file(s)", "refuse files for text models"),
    (Some(Vendor::Qwen), "At most # image(s)", "refuse images for text models"),
    // A forced choice has to turn thinking off, as it does for Claude.
    (
        Some(Vendor::DeepSeek),
        "does not support this tool_choice",
        "turn thinking off for a forced choice",
    ),
    // A conversation that ends with the assistant's message needs `prefix`, or a user's message.
    (
        Some(Vendor::Mistral),
        "for serving but got assistant",
        "fit the end of the conversation to Mistral",
    ),
    MISTRAL_IDS,
    MISTRAL_USER,
    MISTRAL_STREAMS,
];

/// Faults of conversations with one account.
pub(crate) const LOOPS: &[Gap] = &[MISTRAL_STREAMS];

/// Faults of conversations that go on with an account of another vendor. Most concern Chat clients,
/// whose requests pass untranslated with what the other vendor said.
pub(crate) const FAILOVER: &[Gap] = &[
    // The ids of vLLM have 46 letters, and OpenAI's Chat Completions takes 40.
    (Some(Vendor::Openai), "tool_calls[#].id': string too long", "shorten ids of calls for OpenAI"),
    // Foreign state in the messages of Chat clients.
    (Some(Vendor::Openai), "Unknown parameter: 'messages[#].reasoning", "remove foreign reasoning"),
    (Some(Vendor::Openai), "tool_calls[#].extra_content", "remove foreign thought signatures"),
    (Some(Vendor::Mistral), r#""assistant","reasoning"#, "remove foreign reasoning"),
    (Some(Vendor::Mistral), r#""assistant","refusal""#, "write no `refusal: null` of Baton's own"),
    (Some(Vendor::Mistral), r#""extra_content""#, "remove foreign thought signatures"),
    // State that the vendor demands, and that calls of another vendor do not have.
    (
        Some(Vendor::Gemini),
        "missing a thought_signature",
        "add Google's placeholder for Chat clients, too",
    ),
    (
        Some(Vendor::DeepSeek),
        "`reasoning_content` in the thinking mode",
        "add an empty reasoning_content",
    ),
    MISTRAL_IDS,
    MISTRAL_STREAMS,
];
