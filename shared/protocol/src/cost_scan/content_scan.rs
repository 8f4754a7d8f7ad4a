//! Scans the prompt for content whose cost its length does not show: images, files, stored items,
//! tools, and items and blocks that no API documents.

use super::field_scan::{UNKNOWN, find_models, find_nested_models, read_reasoning};
use super::known::{CONTENT_FIELDS, Item, is_block};
use super::named_models::ModelSearch;
use super::nested::NestedField;
use super::tool_scan::ToolScanner;
use super::{CostScan, FieldName, UpstreamProtocol, shown};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

const SEND_TEXT: &str = "Send the text itself in the request body.";
const SEND_ITEM: &str = "Send the item itself.";
const APPROVAL: &str =
    "It starts a tool of an MCP server, whose cost Baton cannot compute. Leave it out.";

/// The values of `tool` in a change of the tools (`BetaRequestToolAdditionBlockParam`, `anthropic`
/// 2.14.0). Each but the definition names a tool of the request.
const TOOL_CHANGES: [&str; 4] =
    ["mcp_tool_reference", "mcp_toolset_reference", "tool_definition", "tool_reference"];

/// Scans one value of the prompt, and what is inside it, for what decides the cost.
pub(super) struct ContentScanner<'f> {
    scan: &'f mut CostScan,
    /// The top-level field that contains the value.
    top: &'f str,
    /// The key of the value.
    key: &'f str,
    path: ValuePath<'f>,
    /// Whether the items of the top-level field can be references to stored items.
    allows_references: bool,
}

/// The path of a value in the body, for errors: `messages[3].content[1]`.
#[derive(Clone, Copy)]
struct ValuePath<'p> {
    parent: Option<&'p ValuePath<'p>>,
    step: PathSegment<'p>,
}

#[derive(Clone, Copy)]
enum PathSegment<'p> {
    Field(&'p str),
    Index(usize),
}

impl fmt::Display for ValuePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            PathSegment::Field(name) if self.parent.is_some() => write!(f, ".{}", shown(name)),
            PathSegment::Field(name) => f.write_str(&shown(name)),
            PathSegment::Index(at) => write!(f, "[{at}]"),
        }
    }
}

/// The properties of a value that matter to the enclosing object.
#[derive(Clone, Copy, Default)]
pub(super) struct ContentFinding {
    /// The content is not in the body: the value is an address or an id.
    is_reference: bool,
    presence: ContentPresence,
    /// A text names files that the upstream has stored (Alibaba's `fileid://file-fe-…`).
    names_file: bool,
}

/// Whether a value has content.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ContentPresence {
    /// The value is `null`.
    Null,
    /// The value is an empty text, list or object.
    Empty,
    #[default]
    Filled,
}

impl ContentPresence {
    /// The presence of a value that is not scanned.
    fn new(raw: &str) -> Self {
        let inner = raw.get(1..raw.len() - 1).unwrap_or_default();
        match raw.as_bytes() {
            b"null" => Self::Null,
            [b'"', b'"'] => Self::Empty,
            [b'[' | b'{', ..] if inner.trim_ascii().is_empty() => Self::Empty,
            _ => Self::Filled,
        }
    }
}

impl From<ContentPresence> for ContentFinding {
    fn from(presence: ContentPresence) -> Self {
        Self { presence, ..Self::default() }
    }
}

/// Content that the body contains itself.
const PLAIN_CONTENT: ContentFinding =
    ContentFinding { is_reference: false, presence: ContentPresence::Filled, names_file: false };
const REFERENCE: ContentFinding = ContentFinding { is_reference: true, ..PLAIN_CONTENT };

impl<'f> ContentScanner<'f> {
    /// The scanner for a top-level field. `allows_references` means that its items can be
    /// references to stored items.
    pub(super) fn for_field(scan: &'f mut CostScan, top: &'f str, allows_references: bool) -> Self {
        let path = ValuePath { parent: None, step: PathSegment::Field(top) };
        Self { scan, top, key: top, path, allows_references }
    }

    fn nested_content<'i>(&'i mut self, key: &'i str, step: PathSegment<'i>) -> ContentScanner<'i> {
        let path = ValuePath { parent: Some(&self.path), step };
        ContentScanner {
            scan: self.scan,
            top: self.top,
            key,
            path,
            allows_references: self.allows_references,
        }
    }

    /// Reads an image's address, or its data as a URL (RFC 2397). Data of another type than an
    /// image is a document.
    fn read_image_url(&mut self, url: &str) -> ContentFinding {
        let data = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:"));
        let is_image = url.get(5..11).is_some_and(|kind| kind.eq_ignore_ascii_case("image/"));
        match data {
            Some(_) if is_image => self.scan.note_image(url.len()),
            Some(_) => self.note_document(),
            None => self.scan.note_image(0),
        }
        PLAIN_CONTENT
    }

    fn is_file(&self, kind: &str) -> bool {
        let is_nameless = || matches!(self.key, "source" | "file" | "document");
        matches!(kind, "document" | "input_file" | "file") || (kind.is_empty() && is_nameless())
    }

    fn note_document(&mut self) {
        let field = format!("{}[] (a document)", self.top);
        self.scan.note_external_content(field, SEND_TEXT);
    }
}

impl<'de> DeserializeSeed<'de> for ContentScanner<'_> {
    type Value = ContentFinding;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<ContentFinding, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The properties of a prompt object, from its fields so far.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says that a field of its own was there")]
struct ContentBlock<'a> {
    kind: Option<Cow<'a, str>>,
    media_type: Option<Cow<'a, str>>,
    data_bytes: usize,
    has_id: bool,
    role: Option<Cow<'a, str>>,
    names_file: bool,
    has_url: bool,
    has_file: bool,
    has_reference: bool,
    /// The content of each of [`CONTENT_FIELDS`] that was present.
    content: [Option<ContentPresence>; CONTENT_FIELDS.len()],
}

impl ContentBlock<'_> {
    fn note_content(&mut self, name: &str, presence: ContentPresence) {
        if let Some(index) = CONTENT_FIELDS.iter().position(|field| *field == name) {
            self.content[index] = Some(presence);
        }
    }

    /// The content of the field `name` of [`CONTENT_FIELDS`].
    fn content(&self, name: &str) -> ContentPresence {
        let index = CONTENT_FIELDS.iter().position(|field| *field == name);
        index.and_then(|index| self.content[index]).unwrap_or(ContentPresence::Null)
    }
}

impl<'de> Visitor<'de> for ContentScanner<'_> {
    type Value = ContentFinding;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<ContentFinding, E> {
        Ok(ContentPresence::Null.into())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<ContentFinding, E> {
        Ok(PLAIN_CONTENT)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<ContentFinding, E> {
        Ok(PLAIN_CONTENT)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<ContentFinding, E> {
        Ok(PLAIN_CONTENT)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<ContentFinding, E> {
        Ok(PLAIN_CONTENT)
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<ContentFinding, E> {
        if self.key == "image_url" {
            return Ok(self.read_image_url(text));
        }
        if text.is_empty() {
            return Ok(ContentPresence::Empty.into());
        }
        let names_file = self.scan.body_protocol == UpstreamProtocol::Chat
            && memchr::memmem::find(text.as_bytes(), b"fileid://").is_some();
        Ok(ContentFinding { names_file, ..PLAIN_CONTENT })
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<ContentFinding, A::Error> {
        let key = self.key;
        let (mut found, mut index) = (ContentFinding::from(ContentPresence::Empty), 0);
        while let Some(one) =
            list.next_element_seed(self.nested_content(key, PathSegment::Index(index)))?
        {
            found.is_reference |= one.is_reference;
            found.names_file |= one.names_file;
            found.presence = ContentPresence::Filled;
            index += 1;
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<ContentFinding, A::Error> {
        let (mut block, mut presence) = (ContentBlock::default(), ContentPresence::Empty);
        while let Some(FieldName(name)) = map.next_key()? {
            self.read_field(&name, &mut block, &mut map)?;
            presence = ContentPresence::Filled;
        }
        self.note_undocumented_kind(&block);
        let names_file = block.names_file;
        Ok(ContentFinding { presence, names_file, ..self.note_block_cost(&block) })
    }
}

impl ContentScanner<'_> {
    fn read_field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        block: &mut ContentBlock<'de>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "type" | "media_type" => {
                let word_field =
                    if name == "type" { &mut block.kind } else { &mut block.media_type };
                if let Some(word) = map.next_value::<OptionalText<'de>>()?.0
                    && word_field.replace(word).is_some()
                {
                    self.scan.note_duplicate(name);
                }
            }
            "id" => block.has_id |= self.read_plain(name, map)? != "null",
            "role" => block.role = map.next_value::<OptionalText<'de>>()?.0,
            "data" => block.data_bytes = self.read_plain(name, map)?.len(),
            "url" if self.key == "image_url" => {
                if let Some(url) = map.next_value::<OptionalText<'de>>()?.0 {
                    self.read_image_url(&url);
                }
            }
            "url" | "s3Location" | "s3Uri" => {
                block.has_url |= self.read_plain(name, map)? != "null";
            }
            // Text that a model wrote, or a schema. It counts as text, whatever it contains.
            "arguments" | "encrypted_content" | "input" => {
                block
                    .note_content(name, ContentPresence::new(map.next_value::<&RawValue>()?.get()));
            }
            "text" if self.scan.body_protocol == UpstreamProtocol::Chat => {
                let found =
                    map.next_value_seed(self.nested_content(name, PathSegment::Field(name)))?;
                block.names_file |= found.names_file;
            }
            // A later turn's setting.
            "reasoning" if self.scan.body_protocol == UpstreamProtocol::Responses => {
                let raw = map.next_value::<&RawValue>()?.get();
                block.note_content(name, ContentPresence::new(raw));
                let value = self.scan.parse_value(name, raw);
                if !value.is_null() {
                    find_models(self.scan, name, raw);
                    read_reasoning(self.scan, &value);
                }
            }
            // Tools that are added in the course of a conversation.
            "tools" | "definition" => {
                map.next_value_seed(ToolScanner::new(self.scan))?;
                block.note_content(name, ContentPresence::Filled);
            }
            "input_audio" | "audio" | "video" | "video_url" | "input_video" => {
                if self.read_plain(name, map)? != "null" {
                    let field = format!("{}[].{name}", self.top);
                    self.scan
                        .note_unbounded_field(field, "Baton has no price for it. Leave it out.");
                }
            }
            name if is_reference(name) => {
                block.has_file |= self.read_plain(name, map)? != "null";
            }
            "cache_control" => {
                let raw = self.read_plain(name, map)?;
                let control = self.scan.parse_value(name, raw);
                self.scan.read_cache_control(&control);
            }
            name => self.read_other(name, block, map)?,
        }
        Ok(())
    }

    /// Reads a value of which only the length and the named models matter.
    fn read_plain<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
    ) -> Result<&'de str, A::Error> {
        let raw = map.next_value::<&RawValue>()?.get();
        find_nested_models(self.scan, name, raw);
        Ok(raw)
    }

    /// Reads a field that has no effect on the cost itself.
    fn read_other<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        block: &mut ContentBlock<'de>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match NestedField::from_name(self.scan.body_protocol, name) {
            NestedField::FreeForm => {
                map.next_value::<IgnoredAny>()?;
            }
            NestedField::Plain => drop(self.read_plain(name, map)?),
            NestedField::Content => {
                let found =
                    map.next_value_seed(self.nested_content(name, PathSegment::Field(name)))?;
                block.has_reference |= found.is_reference;
                block.names_file |= found.names_file;
                block.note_content(name, found.presence);
            }
            NestedField::Unknown => {
                let found = map.next_value_seed(ModelSearch::new(&mut self.scan.models, name))?;
                if !found.is_null && self.scan.cost_factors.unbounded.is_none() {
                    let path =
                        ValuePath { parent: Some(&self.path), step: PathSegment::Field(name) };
                    let field = path.to_string();
                    self.scan.note_unbounded_field(field, UNKNOWN);
                }
            }
        }
        Ok(())
    }

    /// Notes items and blocks that no API documents, and items whose content the upstream has
    /// stored.
    fn note_undocumented_kind(&mut self, block: &ContentBlock<'_>) {
        let kind = block.kind.as_deref().unwrap_or_default();
        let (body_protocol, top) = (self.scan.body_protocol, self.top);
        let is_top = self.allows_references && self.key == top;
        let role = block.role.as_deref();
        let is_instruction = !matches!(role, Some("user" | "assistant" | "tool" | "function"));
        if is_top && block.names_file && is_instruction {
            // Qwen-Long reads the files that a system message names (Model Studio, "Long context
            // (Qwen-Long)", 2026-11).
            self.scan.note_external_content(format!("{top}[] (fileid://)"), SEND_TEXT);
        }
        let unknown = match (kind, self.key) {
            ("item_reference", _) => return,
            (_, _) if is_top && body_protocol == UpstreamProtocol::Responses => {
                return self.note_undocumented_item(kind, block);
            }
            ("", _) if is_top && block.role.is_none() => "without a role",
            ("", "content") if body_protocol != UpstreamProtocol::Responses => "without a type",
            ("", "tool") => "without a type",
            ("", _) => return,
            (_, "tool") if TOOL_CHANGES.contains(&kind) => return,
            (_, "content" | "output" | "system" | "instructions" | "tool" | "tool_changes") => kind,
            _ if is_top => kind,
            _ => return,
        };
        if self.key == "tool" || !is_block(body_protocol, kind) {
            self.scan.note_unbounded_field(format!("{top}[] ({})", shown(unknown)), UNKNOWN);
        }
    }

    /// Notes an item of the Responses API that is undocumented or that the upstream reads by its
    /// id.
    fn note_undocumented_item(&mut self, kind: &str, block: &ContentBlock<'_>) {
        let top = self.top;
        if kind == "mcp_approval_response" {
            return self.scan.note_unbounded_field(format!("{top}[] ({kind})"), APPROVAL);
        }
        let Some(item) = Item::from_kind(if kind.is_empty() { "message" } else { kind }) else {
            return self.scan.note_unbounded_field(format!("{top}[] ({})", shown(kind)), UNKNOWN);
        };
        if kind.is_empty() && block.role.is_none() {
            // An item that has only an id is a reference, too.
            self.scan.note_external_content(format!("{top}[] (a reference)"), SEND_ITEM);
        } else if block.has_id {
            let given = |field: &str| block.content(field) != ContentPresence::Null;
            let filled = |field: &str| block.content(field) == ContentPresence::Filled;
            if !item.has_content(given, filled) && kind != "compaction_trigger" {
                let field = format!("{top}[] ({kind} without its content)");
                self.scan.note_external_content(field, item.advice);
            }
        }
    }

    /// Notes what an object means for the cost, after all its fields were read.
    fn note_block_cost(&mut self, block: &ContentBlock<'_>) -> ContentFinding {
        let kind = block.kind.as_deref().unwrap_or_default();
        let is_image = matches!(
            kind,
            "image" | "input_image" | "image_url" | "image_file" | "computer_screenshot"
        );
        match kind {
            "base64"
                if block.media_type.as_deref().is_some_and(|kind| kind.starts_with("image/")) =>
            {
                self.scan.note_image(block.data_bytes);
                return PLAIN_CONTENT;
            }
            "base64" => {
                self.note_document();
                return PLAIN_CONTENT;
            }
            "item_reference" => {
                self.scan
                    .note_external_content(format!("{}[] (item_reference)", self.top), SEND_ITEM);
            }
            "container_upload" => {
                let field = format!("{}[] (container_upload)", self.top);
                self.scan.note_unbounded_field(field, SEND_TEXT);
            }
            "compaction_trigger" => self.scan.compacts = true,
            _ => {}
        }
        // An id in place of the content, such as Groq's `{"document":{"id":"…"}}`.
        let is_stored = block.has_id
            && block.data_bytes == 0
            && (is_image || kind == "reference" || self.is_file(kind));
        let refers = block.has_url || block.has_file || block.has_reference || is_stored;
        match (refers, is_image) {
            (false, _) => PLAIN_CONTENT,
            (true, true) => {
                self.scan.note_image(0);
                PLAIN_CONTENT
            }
            // The pages that a search has found. The model has received their text before.
            (true, false) if self.key == "sources" && !block.has_file => PLAIN_CONTENT,
            // The text that a file search has found is in the same object.
            (true, false) if self.key == "results" && kind.is_empty() && !block.has_url => {
                PLAIN_CONTENT
            }
            // In Anthropic's API, the block around a source says what kind of content it is.
            (true, false) if matches!(kind, "url" | "file") || self.key == "file" => REFERENCE,
            // A search result that the model has received before: its text is in the same block.
            (true, false) if block.has_url && !block.has_file && !self.is_file(kind) => {
                PLAIN_CONTENT
            }
            (true, false) if is_stored && self.key == "source" => REFERENCE,
            (true, false) => {
                self.note_document();
                PLAIN_CONTENT
            }
        }
    }
}

/// Whether a key names content outside the body, such as Mistral's `document_url`.
fn is_reference(name: &str) -> bool {
    matches!(name, "file_id" | "file_data") || (name.ends_with("_url") && name != "image_url")
}

/// A text. Any other value is ignored.
struct OptionalText<'a>(Option<Cow<'a, str>>);

impl<'de> serde::Deserialize<'de> for OptionalText<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let Ok(FieldName(text)) = serde_json::from_str(raw) else { return Ok(Self(None)) };
        Ok(Self(Some(text)))
    }
}
