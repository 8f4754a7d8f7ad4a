//! Model ids in the path of a URL, read from a client's path and written into an upstream's.
//!
//! An id is a client's text, and the request to the upstream uses the organization's credential.
//! The id must therefore never name anything but a model: no `..`, nothing that a server could take
//! for one, and no second level of escapes that a server behind the first might decode.

use baton_domain::relay_key::contains_key;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The longest id in bytes. No vendor has longer ones, and they would not fit a sort key.
pub const ID_BYTES_MAX: usize = 200;

/// RFC 3986's unreserved characters stay.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The characters that RFC 3986, section 3.3 allows in a segment of a path stay, except `;`, at
/// which some servers cut a segment.
const SEGMENT: &AsciiSet = &UNRESERVED
    .remove(b':')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=');

/// Why a text is not a model's id. The texts are for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModelIdError {
    /// The escapes are broken, or do not decode to UTF-8.
    #[error("The model id in the path is not percent-encoded UTF-8.")]
    Escapes,
    /// The id is empty, or has a segment that is empty or consists of dots.
    #[error(
        "The model id in the path has an empty segment or a segment of dots. Write each `/` of \
             the id as `%2F`."
    )]
    Segments,
    /// The id has a character that no model's id has.
    #[error(
        "The model id in the path has a character that is not allowed, such as a backslash, `?`, \
         `#`, a control character or a look-alike of `/` or `.`. Use the exact id."
    )]
    Character,
    /// Decoding the escapes once leaves other escapes.
    #[error("The model id in the path is percent-encoded twice. Encode it once.")]
    EncodedTwice,
    /// The id is longer than [`ID_BYTES_MAX`].
    #[error("The model id in the path is longer than {ID_BYTES_MAX} bytes. Use the exact id.")]
    TooLong,
    /// A URL library would combine the id and the account's base to another path.
    #[error("The model id would change the path of the upstream's address. Use the exact id.")]
    OtherPath,
}

/// Decodes the escapes of an id in a path once.
///
/// # Errors
/// [`ModelIdError`]
pub fn decode_id(written: &str) -> Result<String, ModelIdError> {
    // The decoder leaves a broken escape as it is. A client that means a `%` writes `%25`.
    let mut escapes = written.split('%').skip(1);
    let is_escape = |text: &str| {
        text.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if !escapes.all(is_escape) {
        return Err(ModelIdError::Escapes);
    }
    let id = percent_decode_str(written).decode_utf8().map_err(|_| ModelIdError::Escapes)?;
    check_id(&id)?;
    Ok(id.into_owned())
}

/// Checks that a text can be a model's id in a path.
///
/// # Errors
/// [`ModelIdError`]
pub fn check_id(id: &str) -> Result<(), ModelIdError> {
    if id.len() > ID_BYTES_MAX {
        return Err(ModelIdError::TooLong);
    }
    if id.contains(is_forbidden_char) || id.contains(['\\', '?', '#']) {
        return Err(ModelIdError::Character);
    }
    let is_escape = |text: &str| {
        text.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if id.split('%').skip(1).any(is_escape) {
        return Err(ModelIdError::EncodedTwice);
    }
    // Java's servers cut a segment at `;`. Windows' servers drop spaces and dots at its end.
    let is_dot_segment = |segment: &str| {
        let name = segment.split(';').next().unwrap_or_default();
        name.trim_matches(|c: char| c == '.' || c.is_whitespace()).is_empty()
    };
    if id.split('/').any(is_dot_segment) { Err(ModelIdError::Segments) } else { Ok(()) }
}

/// Whether a character is not allowed in a model's id, in a path or in a log: control characters,
/// invisible characters, and characters that Unicode's compatibility forms (NFKC) turn into `.`,
/// `/`, `\`, `%`, `?` or `#` (NFKC data, Unicode 17).
pub fn is_forbidden_char(c: char) -> bool {
    c.is_control()
        || is_hidden(c)
        || matches!(c,
            '\u{2024}'..='\u{2026}' | '\u{2044}' | '\u{2047}'..='\u{2049}' | '\u{2100}' | '\u{2101}'
            | '\u{2105}' | '\u{2106}' | '\u{2215}' | '\u{2216}' | '\u{29F5}' | '\u{29F8}'
            | '\u{FE16}' | '\u{FE19}' | '\u{FE30}' | '\u{FE52}' | '\u{FE56}' | '\u{FE5F}'
            | '\u{FE68}' | '\u{FE6A}' | '\u{FF03}' | '\u{FF05}' | '\u{FF0E}' | '\u{FF0F}'
            | '\u{FF1F}' | '\u{FF3C}')
}

/// Whether a character is invisible or changes how others are displayed: format characters
/// (category `Cf`), characters with the property `Default_Ignorable_Code_Point`, separators of
/// lines and paragraphs, the replacement characters, and noncharacters (Unicode 17,
/// `UnicodeData.txt` and `DerivedCoreProperties.txt`). A server that removes them reads another id.
fn is_hidden(c: char) -> bool {
    u32::from(c) & 0xFFFE == 0xFFFE
        || matches!(c,
            '\u{AD}' | '\u{34F}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}'
            | '\u{890}' | '\u{891}' | '\u{8E2}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FDD0}'..='\u{FDEF}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFD}' | '\u{110BD}' | '\u{110CD}'
            | '\u{13430}'..='\u{1343F}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// An id as one segment of a path, with `/` as `%2F`.
pub(crate) fn encode_segment(id: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(id, SEGMENT)
}

/// An id as one segment of a Bedrock path. All but unreserved characters are encoded, because
/// Bedrock's signature covers this exact text. Ids can be ARNs, with colons and slashes.
pub(crate) fn encode_bedrock_segment(id: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(id, UNRESERVED)
}

/// The parameters of a query that the vendors document for model lists and single models (API
/// references of Anthropic and OpenAI, 2026-11). Undocumented parameters are dropped, because they
/// could mean anything to an upstream that receives the organization's credential.
pub fn filter_models_query(query: &str) -> String {
    known_parameters(query, &["limit", "after_id", "before_id", "beta", "after", "order"])
}

/// The parameters of a query that the vendors document for model calls: Anthropic's SDK and Claude
/// Code send `beta`, Azure's clients `api-version` (API references of Anthropic, OpenAI, Azure and
/// Amazon Bedrock, 2026-11). Others are dropped: they could hide the usage from the relay (Google's
/// `fields`), select another method (`$httpMethod`) or another account.
pub fn call_query(query: &str) -> String {
    known_parameters(query, &["beta", "api-version"])
}

/// The parameters of a query that have one of these names, as they are written.
fn known_parameters(query: &str, known: &[&str]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:@/%+".contains(c);
    let is_known = |pair: &&str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        known.contains(&name)
            && value.len() <= ID_BYTES_MAX
            && value.chars().all(is_plain)
            && !contains_key(value.as_bytes())
    };
    query.split('&').filter(is_known).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::id::KeyId;
    use baton_domain::relay_key::{compose, new_secret};
    use proptest::prelude::*;

    #[test]
    fn model_ids_are_decoded_and_encoded() {
        for (written, id, segment) in [
            ("claude-opus-5-5", "claude-opus-5-5", "claude-opus-5-5"),
            ("a:b@c", "a:b@c", "a:b@c"),
            ("anthropic/claude", "anthropic/claude", "anthropic%2Fclaude"),
            ("anthropic%2Fclaude", "anthropic/claude", "anthropic%2Fclaude"),
            ("anthropic%2fclaude", "anthropic/claude", "anthropic%2Fclaude"),
            ("a%20%C3%A9", "a é", "a%20%C3%A9"),
            ("100%25", "100%", "100%25"),
            ("a%25zz", "a%zz", "a%25zz"),
            ("x..y", "x..y", "x..y"),
            ("a;b", "a;b", "a%3Bb"),
        ] {
            assert_eq!(decode_id(written).as_deref(), Ok(id), "{written}");
            assert_eq!(super::encode_segment(id).to_string(), segment);
        }
        let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.x-v1:0";
        let written =
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.x-v1%3A0";
        assert_eq!(decode_id(written).as_deref(), Ok(arn));
        assert_eq!(encode_bedrock_segment(arn).to_string(), written);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn invalid_model_ids_are_refused() {
        let check = |written: &str, error: ModelIdError| {
            assert_eq!(decode_id(written), Err(error), "{written}");
        };
        for written in [
            "",
            ".",
            "..",
            "...",
            "../files",
            "..%2ffiles",
            "%2e%2e/files",
            "%2E%2E%2Ffiles",
            ".%2e/x",
            "x/../../files",
            "x%2F..%2F..%2Ffiles",
            "x/./y",
            "x//y",
            "x%2F%2Fy",
            "/x",
            "%2Fx",
            "x/",
            "x%2f",
            "..;/x",
            "..;a=b/x",
            ";x",
            "x/;y",
            "..%20/x",
            " ",
            "%20",
            "x/%20/y",
            "x/. ./y",
            "%09",
        ] {
            let why =
                if written == "%09" { ModelIdError::Character } else { ModelIdError::Segments };
            check(written, why);
        }
        for written in [
            "a\\b",
            "..\\files",
            "%5c..%5cfiles",
            "a%5Cb",
            "a%00",
            "a%0d%0ahost:x",
            "a%0A",
            "a%7f",
            "a%C2%85",
            "a%C2%9B",
            "a%3Fb",
            "a%3fkey=x",
            "a%23b",
            "a%E2%80%AE",
            "a%E2%80%A8",
            "a%E2%81%A6",
            "%EF%BC%8E%EF%BC%8E",
            "x%EF%BC%8Fy",
            "x%EF%BC%BCy",
            "a%EF%BB%BF",
            "a%E2%80%A4",
            "a%E2%80%8B",
            "..%C2%AD%2Fb",
            "a%2F..%F3%A0%80%A1%2Fb",
        ] {
            check(written, ModelIdError::Character);
        }
        for written in ["%252e%252e", "x%252Fy", "..%252f", "a%2541", "%25%32%66", "a%25%34%31"] {
            assert!(decode_id(written).is_err(), "{written}");
        }
        check("x%252Fy", ModelIdError::EncodedTwice);
        check("x%25%32%66", ModelIdError::EncodedTwice);
        for written in ["%", "%2", "%zz", "%ff", "a%c0%ae", "%c0%af", "%u002e", "%ed%a0%80", "x%2 "]
        {
            check(written, ModelIdError::Escapes);
        }
        check(&"x".repeat(ID_BYTES_MAX + 1), ModelIdError::TooLong);
    }

    #[test]
    fn invisible_characters_are_refused() {
        // The first and last character of each range of `Cf` and `Default_Ignorable_Code_Point`.
        let hidden = [
            (0xAD, 0xAD),
            (0x34F, 0x34F),
            (0x600, 0x605),
            (0x61C, 0x61C),
            (0x6DD, 0x6DD),
            (0x70F, 0x70F),
            (0x890, 0x891),
            (0x8E2, 0x8E2),
            (0x115F, 0x1160),
            (0x17B4, 0x17B5),
            (0x180B, 0x180F),
            (0x200B, 0x200F),
            (0x202A, 0x202E),
            (0x2060, 0x206F),
            (0x3164, 0x3164),
            (0xFE00, 0xFE0F),
            (0xFEFF, 0xFEFF),
            (0xFFA0, 0xFFA0),
            (0xFFF0, 0xFFFB),
            (0x110BD, 0x110BD),
            (0x110CD, 0x110CD),
            (0x13430, 0x1343F),
            (0x1BCA0, 0x1BCA3),
            (0x1D173, 0x1D17A),
            (0xE0000, 0xE0FFF),
        ];
        for c in hidden.into_iter().flat_map(|(first, last)| first..=last) {
            let c = char::from_u32(c).unwrap();
            assert!(is_forbidden_char(c), "{c:?}");
            assert_eq!(check_id(&format!("a/..{c}/b")), Err(ModelIdError::Character), "{c:?}");
        }
        for c in (0..0x20).chain(0x7F..0xA0).filter_map(char::from_u32) {
            assert!(is_forbidden_char(c), "{c:?}");
        }
        for c in "azAZ09-._~:@/é中文한日".chars() {
            assert!(!is_forbidden_char(c), "{c:?}");
        }
    }

    #[test]
    fn query_of_a_call_is_filtered() {
        let bits = [u128::MAX / 3, 12345];
        let key = compose(&KeyId::from_bits(9), &new_secret(bits)).expose().to_owned();
        for (query, kept) in [
            ("beta=true", "beta=true"),
            (
                "api-version=2025-04-01-preview&beta=true",
                "api-version=2025-04-01-preview&beta=true",
            ),
            ("beta=true&&x=%20y&b", "beta=true"),
            ("fields=choices&$fields=choices&%24fields=x&alt=json", ""),
            ("$httpMethod=GET&x-http-method=GET&_method=DELETE", ""),
            ("key=AIza&api_key=k&organization=o&userProject=p&beta=true", "beta=true"),
            ("beta=true;fields=x", ""),
            ("api-version=1%26fields=x", ""),
            ("BETA=true&Beta=true&%62eta=true", ""),
            ("X-Amz-Signature=s&model=m", ""),
        ] {
            assert_eq!(call_query(query), kept, "{query}");
        }
        assert_eq!(call_query(&format!("beta={key}&api-version=1")), "api-version=1");
    }

    #[test]
    fn query_of_a_model_list_is_filtered() {
        for (query, kept) in [
            ("limit=1000", "limit=1000"),
            ("limit=5&after_id=claude-x&beta=true", "limit=5&after_id=claude-x&beta=true"),
            ("beta&x=1", "beta"),
            ("", ""),
            ("&&", ""),
            ("LIMIT=1&path=/v1/files&organization=x&limit=1&key=k", "limit=1"),
            ("limit=1;path=2&after_id=a%0d%0ab", "after_id=a%0d%0ab"),
            ("limit=\"", ""),
        ] {
            assert_eq!(filter_models_query(query), kept, "{query}");
        }
    }

    proptest! {
        #[test]
        fn accepted_id_is_one_segment_and_survives_a_round_trip(id in "[ -~é]{1,30}|(\\.|/|%|2|e|f|;|a){1,8}") {
            if check_id(&id).is_ok() {
                for written in [encode_segment(&id).to_string(), encode_bedrock_segment(&id).to_string()] {
                    prop_assert!(!written.contains(['/', '?', '#', '\\', ';']), "{}", written);
                    prop_assert_eq!(decode_id(&written), Ok(id.clone()));
                }
            }
        }
    }
}
