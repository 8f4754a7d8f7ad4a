//! A model's id as a part of a URL's path: read from a client's, written into an upstream's.
//!
//! An id is a client's text, and upstreams are asked with the organization's credential. It must
//! never name anything but a model: no `..`, nothing that a server could take for one, and no second
//! level of escapes that a server behind the first might undo.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The longest id: longer ones are nobody's, and would not fit a sort key.
pub const ID_BYTES_MAX: usize = 200;

/// RFC 3986's unreserved characters stay.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a segment of a path may hold (RFC 3986, section 3.3) stays, but for `;`, at which some
/// servers cut a segment.
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

/// Why a text is no model's id. The texts are for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Its escapes are broken, or no UTF-8.
    #[error("the model's id in the path is not percent-encoded UTF-8")]
    Escapes,
    /// It is empty, or has a segment that is empty or made of dots.
    #[error("the model's id has an empty segment, or one of dots: write `/` in it as `%2F`, once")]
    Segments,
    /// A character that no model's id has.
    #[error(
        "the model's id has a character that no id has: a backslash, `?`, `#`, a control character \
         or a look-alike of `/` or `.`"
    )]
    Character,
    /// After its escapes are undone there are others.
    #[error("the model's id is percent-encoded twice: encode it once")]
    EncodedTwice,
    /// It is longer than [`ID_BYTES_MAX`].
    #[error("the model's id is longer than {ID_BYTES_MAX} bytes")]
    TooLong,
    /// A URL library or the account's base would make another path of it.
    #[error("the model's id would change the path of the upstream's address")]
    OtherPath,
}

/// The id that a part of a path stands for, its escapes undone once.
///
/// # Errors
/// [`BadId`]
pub fn read_id(written: &str) -> Result<String, BadId> {
    // The decoder leaves a broken escape as it is; a client that means a `%` writes `%25`.
    let mut escapes = written.split('%').skip(1);
    let is_escape = |text: &str| {
        text.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if !escapes.all(is_escape) {
        return Err(BadId::Escapes);
    }
    let id = percent_decode_str(written).decode_utf8().map_err(|_| BadId::Escapes)?;
    check_id(&id)?;
    Ok(id.into_owned())
}

/// Whether a text may be a model's id in a path.
///
/// # Errors
/// [`BadId`]
pub fn check_id(id: &str) -> Result<(), BadId> {
    if id.len() > ID_BYTES_MAX {
        return Err(BadId::TooLong);
    }
    if id.contains(is_odd) || id.contains(['\\', '?', '#']) {
        return Err(BadId::Character);
    }
    let is_escape = |text: &str| {
        text.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if id.split('%').skip(1).any(is_escape) {
        return Err(BadId::EncodedTwice);
    }
    // Java's servers cut a segment at `;`, Windows' drop spaces and dots at its end.
    let means_nothing = |segment: &str| {
        let name = segment.split(';').next().unwrap_or_default();
        name.trim_matches(|c: char| c == '.' || c.is_whitespace()).is_empty()
    };
    if id.split('/').any(means_nothing) { Err(BadId::Segments) } else { Ok(()) }
}

/// Whether a character has no place in a model's id, in a path or in a log: control characters, what
/// changes the direction or ends a line of text, and what Unicode's compatibility forms (NFKC) make
/// a `.`, `/`, `\`, `%`, `?` or `#` of (Unicode Standard 17, chapters 23 and NFKC data).
pub fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFD}')
        || matches!(c,
            '\u{2024}'..='\u{2026}' | '\u{2044}' | '\u{2047}'..='\u{2049}' | '\u{2100}' | '\u{2101}'
            | '\u{2105}' | '\u{2106}' | '\u{2215}' | '\u{2216}' | '\u{29F5}' | '\u{29F8}'
            | '\u{FE16}' | '\u{FE19}' | '\u{FE30}' | '\u{FE52}' | '\u{FE56}' | '\u{FE5F}'
            | '\u{FE68}' | '\u{FE6A}' | '\u{FF03}' | '\u{FF05}' | '\u{FF0E}' | '\u{FF0F}'
            | '\u{FF1F}' | '\u{FF3C}')
}

/// An id as one segment of a path, `/` as `%2F`.
pub(crate) fn segment(id: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(id, SEGMENT)
}

/// The same for Bedrock, whose signature is over this very text: all but unreserved characters are
/// encoded. Ids may be ARNs, with colons and slashes.
pub(crate) fn bedrock_segment(id: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(id, UNRESERVED)
}

/// Those parameters of a query that the vendors document for lists of models and single ones (API
/// references of Anthropic and OpenAI, 2026-11). What nobody documents might mean anything to an
/// upstream that is asked with the organization's credential.
pub fn models_query(query: &str) -> String {
    const KNOWN: [&str; 6] = ["limit", "after_id", "before_id", "beta", "after", "order"];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:@/%+".contains(c);
    let is_known = |pair: &&str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        KNOWN.contains(&name) && value.len() <= ID_BYTES_MAX && value.chars().all(is_plain)
    };
    query.split('&').filter(is_known).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_of_models() {
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
            assert_eq!(read_id(written).as_deref(), Ok(id), "{written}");
            assert_eq!(super::segment(id).to_string(), segment);
        }
        let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.x-v1:0";
        let written =
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.x-v1%3A0";
        assert_eq!(read_id(written).as_deref(), Ok(arn));
        assert_eq!(bedrock_segment(arn).to_string(), written);
    }

    #[test]
    fn what_is_no_id() {
        let check = |written: &str, why: BadId| assert_eq!(read_id(written), Err(why), "{written}");
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
            let why = if written == "%09" { BadId::Character } else { BadId::Segments };
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
        ] {
            check(written, BadId::Character);
        }
        for written in ["%252e%252e", "x%252Fy", "..%252f", "a%2541", "%25%32%66", "a%25%34%31"] {
            assert!(read_id(written).is_err(), "{written}");
        }
        check("x%252Fy", BadId::EncodedTwice);
        check("x%25%32%66", BadId::EncodedTwice);
        for written in ["%", "%2", "%zz", "%ff", "a%c0%ae", "%c0%af", "%u002e", "%ed%a0%80", "x%2 "]
        {
            check(written, BadId::Escapes);
        }
        check(&"x".repeat(ID_BYTES_MAX + 1), BadId::TooLong);
    }

    #[test]
    fn queries_of_lists() {
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
            assert_eq!(models_query(query), kept, "{query}");
        }
    }

    proptest! {
        #[test]
        fn an_id_that_passes_is_one_segment_and_comes_back(id in "[ -~é]{1,30}|(\\.|/|%|2|e|f|;|a){1,8}") {
            if check_id(&id).is_ok() {
                for written in [segment(&id).to_string(), bedrock_segment(&id).to_string()] {
                    prop_assert!(!written.contains(['/', '?', '#', '\\', ';']), "{}", written);
                    prop_assert_eq!(read_id(&written), Ok(id.clone()));
                }
            }
        }
    }
}
