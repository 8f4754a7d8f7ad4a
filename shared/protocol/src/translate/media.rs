//! The kinds of media, and the forms in which clients send them.
//!
//! OpenAI's clients put any file into a data URL. The Messages API has a form for each kind: images
//! of four types, PDF documents, and documents of plain text (platform.claude.com, "Vision", "PDF
//! support" and "Files API", supported types, 2026-11).

use super::neutral_request::{MediaSource, TurnPart};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;

/// The types of images that every vendor reads.
pub(super) const IMAGE_TYPES: [&str; 4] = ["image/gif", "image/jpeg", "image/png", "image/webp"];

pub(super) const PDF: &str = "application/pdf";

/// Other names of types of images (nousresearch/hermes-agent#55432, 2026-11).
const IMAGE_ALIASES: [(&str, &str); 3] =
    [("image/jpg", "image/jpeg"), ("image/pjpeg", "image/jpeg"), ("image/x-png", "image/png")];

/// The beginnings of base64 data by which a type is recognized.
const SIGNATURES: [(&str, &str); 6] = [
    ("JVBERi", PDF),
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("UEsDB", "application/zip"),
];

/// Types outside `text/` whose data are text.
const TEXT_TYPES: [&str; 12] = [
    "application/ecmascript",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/sql",
    "application/toml",
    "application/typescript",
    "application/x-httpd-php",
    "application/x-ndjson",
    "application/x-sh",
    "application/xml",
    "image/svg+xml",
];

/// Base64 with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl MediaSource {
    /// A source from a URL, which can contain the data itself (RFC 2397), or from bare base64.
    pub(super) fn parse(text: String) -> Self {
        let is_data_url = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:"));
        if let Some((head, data)) = is_data_url.then(|| text[5..].split_once(',')).flatten() {
            let media_type = essence(head);
            let is_base64 = head.rsplit(';').next().is_some_and(|it| it.trim() == "base64");
            let data = if is_base64 {
                data.to_owned()
            } else {
                BASE64_STANDARD.encode(percent_decode_str(data).collect::<Vec<u8>>())
            };
            return Self::Data { media_type, data };
        }
        let is_base64 = text.len() >= 4
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=\r\n".contains(&b));
        if is_base64 {
            Self::Data { media_type: String::new(), data: text }
        } else {
            Self::Url(text)
        }
    }
}

/// The type without parameters, in small letters.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl TurnPart {
    /// The part for a file, whatever the client declares it to be: an image, a document, or text.
    pub(super) fn from_media(title: Option<String>, source: MediaSource, is_image: bool) -> Self {
        let (media_type, data) = match source {
            MediaSource::Data { media_type, data } => (media_type, data),
            MediaSource::Url(url) if is_image && !is_pdf_address(&url) => {
                return Self::Image(MediaSource::Url(url));
            }
            source @ (MediaSource::Url(_) | MediaSource::Text(_)) => {
                return Self::Document { title, source };
            }
        };
        let media_type = actual_type(essence(&media_type), &data);
        let is_text = media_type.starts_with("text/") || TEXT_TYPES.contains(&&*media_type);
        if (is_text || media_type.is_empty())
            && let Some(text) = decode_text(&data)
        {
            return Self::Document { title, source: MediaSource::Text(text) };
        }
        let is_image = media_type.starts_with("image/") || (media_type.is_empty() && is_image);
        let source = MediaSource::Data { media_type, data };
        if is_image { Self::Image(source) } else { Self::Document { title, source } }
    }
}

/// The known name of a type. A missing or meaningless one is read from the data.
fn actual_type(declared: String, data: &str) -> String {
    if let Some((_, name)) = IMAGE_ALIASES.iter().find(|(alias, _)| *alias == declared) {
        return (*name).to_owned();
    }
    if !matches!(declared.as_str(), "" | "application/octet-stream" | "binary/octet-stream") {
        return declared;
    }
    let found = SIGNATURES.iter().find(|(start, _)| data.starts_with(start));
    found.map_or_else(String::new, |(_, name)| (*name).to_owned())
}

fn decode_text(data: &str) -> Option<String> {
    let packed: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let text = String::from_utf8(LENIENT.decode(packed).ok()?).ok()?;
    (!text.contains('\0')).then_some(text)
}

fn is_pdf_address(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("pdf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(media_type: &str, data: &str) -> MediaSource {
        MediaSource::Data { media_type: media_type.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn sources_are_read_in_every_form() {
        let check = |text: &str, expect| {
            assert_eq!(MediaSource::parse(text.to_owned()), expect, "{text}");
        };
        check("data:image/png;base64,aGk=", data("image/png", "aGk="));
        check("data:Text/Plain;charset=utf-8;base64,aGk=", data("text/plain", "aGk="));
        check("data:text/plain,a%20b", data("text/plain", "YSBi"));
        check("data:;base64,aGk=", data("", "aGk="));
        check("JVBERi0=", data("", "JVBERi0="));
        check("https://e.test/a.png", MediaSource::Url("https://e.test/a.png".to_owned()));
        check("a.png", MediaSource::Url("a.png".to_owned()));
    }

    #[test]
    fn parts_follow_from_the_type_of_the_data() {
        let check = |source: MediaSource, is_image, expect: &str| {
            let name = format!("{source:?}");
            let kind = match TurnPart::from_media(None, source, is_image) {
                TurnPart::Image(MediaSource::Data { media_type, .. }) => media_type,
                TurnPart::Image(MediaSource::Url(_)) => "image at a URL".to_owned(),
                TurnPart::Document { source: MediaSource::Data { media_type, .. }, .. } => {
                    format!("document {media_type}")
                }
                TurnPart::Document { source: MediaSource::Text(text), .. } => {
                    format!("text {text}")
                }
                TurnPart::Document { source: MediaSource::Url(_), .. } => {
                    "document at a URL".to_owned()
                }
                other => format!("{other:?}"),
            };
            assert_eq!(kind, expect, "{name}");
        };
        check(data("image/jpg", "eA=="), true, "image/jpeg");
        check(data("image/png", "eA=="), false, "image/png");
        check(data(PDF, "JVBERi0="), true, "document application/pdf");
        check(data("", "JVBERi0="), true, "document application/pdf");
        check(data("application/octet-stream", "iVBORw0KGgoA"), false, "image/png");
        check(data("text/csv", "YSxi"), false, "text a,b");
        check(data("application/json", "e30"), false, "text {}");
        check(data("", "aGVsbG8="), false, "text hello");
        check(data("text/plain", "//79"), false, "document text/plain");
        check(data("application/zip", "UEsDBA=="), false, "document application/zip");
        check(MediaSource::Url("https://e.test/a.pdf?b".to_owned()), true, "document at a URL");
        check(MediaSource::Url("https://e.test/a".to_owned()), true, "image at a URL");
    }
}
