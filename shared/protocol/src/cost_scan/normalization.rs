//! How many bytes a text can have after Unicode normalization.
//!
//! Some tokenizers normalize a text before they split it, to NFC or NFKC (Qwen's and Anthropic's
//! published ones, `dashscope` and `@anthropic-ai/tokenizer`, 2026-11). A few characters get longer by
//! that: U+FDFA has 3 bytes and becomes 33. A tokenizer makes at most one token of each of these.

/// The characters that grow, as ranges, with the most bytes that one of the range has in NFKC.
const GROWING: [(u32, u32, u64); 103] = [
    (0xA8, 0xA8, 3),
    (0xAF, 0xAF, 3),
    (0xB4, 0xB4, 3),
    (0xB8, 0xB8, 3),
    (0xBC, 0xBE, 5),
    (0x13F, 0x140, 3),
    (0x149, 0x149, 3),
    (0x1C4, 0x1C6, 3),
    (0x2D8, 0x2DD, 3),
    (0x344, 0x344, 4),
    (0x37A, 0x37A, 3),
    (0x384, 0x385, 5),
    (0x587, 0x587, 4),
    (0x675, 0x678, 4),
    (0x958, 0x95F, 6),
    (0x9DC, 0x9DD, 6),
    (0x9DF, 0x9DF, 6),
    (0xA33, 0xA33, 6),
    (0xA36, 0xA36, 6),
    (0xA59, 0xA5B, 6),
    (0xA5E, 0xA5E, 6),
    (0xB5C, 0xB5D, 6),
    (0xE33, 0xE33, 6),
    (0xEB3, 0xEB3, 6),
    (0xEDC, 0xEDD, 6),
    (0xF43, 0xF43, 6),
    (0xF4D, 0xF4D, 6),
    (0xF52, 0xF52, 6),
    (0xF57, 0xF57, 6),
    (0xF5C, 0xF5C, 6),
    (0xF69, 0xF69, 6),
    (0xF73, 0xF73, 6),
    (0xF75, 0xF79, 9),
    (0xF81, 0xF81, 6),
    (0xF93, 0xF93, 6),
    (0xF9D, 0xF9D, 6),
    (0xFA2, 0xFA2, 6),
    (0xFA7, 0xFA7, 6),
    (0xFAC, 0xFAC, 6),
    (0xFB9, 0xFB9, 6),
    (0x1FC1, 0x1FC1, 5),
    (0x1FCD, 0x1FCF, 5),
    (0x1FDD, 0x1FDF, 5),
    (0x1FED, 0x1FEE, 5),
    (0x2033, 0x2034, 9),
    (0x2036, 0x2037, 9),
    (0x2057, 0x2057, 12),
    (0x2150, 0x215F, 6),
    (0x2167, 0x2167, 4),
    (0x2177, 0x2177, 4),
    (0x2189, 0x2189, 5),
    (0x222C, 0x222D, 9),
    (0x222F, 0x2230, 9),
    (0x247D, 0x2487, 4),
    (0x2A0C, 0x2A0C, 12),
    (0x2ADC, 0x2ADC, 5),
    (0x309B, 0x309C, 4),
    (0x309F, 0x309F, 6),
    (0x30FF, 0x30FF, 6),
    (0x3200, 0x321E, 8),
    (0x3220, 0x3243, 5),
    (0x327C, 0x327D, 6),
    (0x32C0, 0x32CB, 5),
    (0x32FF, 0x3370, 18),
    (0x337B, 0x337F, 12),
    (0x3389, 0x3389, 4),
    (0x33A7, 0x33A8, 6),
    (0x33AE, 0x33AF, 8),
    (0x33C2, 0x33C2, 4),
    (0x33C6, 0x33C6, 6),
    (0x33D8, 0x33D8, 4),
    (0x33DE, 0x33FE, 5),
    (0xFA6C, 0xFA6C, 4),
    (0xFACF, 0xFAD1, 4),
    (0xFAD5, 0xFAD7, 4),
    (0xFB13, 0xFB17, 4),
    (0xFB1D, 0xFB1D, 4),
    (0xFB1F, 0xFB1F, 4),
    (0xFB2A, 0xFB36, 6),
    (0xFB38, 0xFB3C, 4),
    (0xFB3E, 0xFB3E, 4),
    (0xFB40, 0xFB41, 4),
    (0xFB43, 0xFB44, 4),
    (0xFB46, 0xFB4F, 4),
    (0xFBDD, 0xFBDD, 4),
    (0xFBEA, 0xFBFB, 4),
    (0xFC00, 0xFD3D, 6),
    (0xFD50, 0xFD8F, 6),
    (0xFD92, 0xFDC7, 6),
    (0xFDF0, 0xFDFC, 33),
    (0xFE71, 0xFE71, 4),
    (0xFE77, 0xFE77, 4),
    (0xFE79, 0xFE79, 4),
    (0xFE7B, 0xFE7B, 4),
    (0xFE7D, 0xFE7D, 4),
    (0xFE7F, 0xFE7F, 4),
    (0xFEF5, 0xFEFC, 4),
    (0x1B123, 0x1B126, 6),
    (0x1D15E, 0x1D164, 12),
    (0x1D1BB, 0x1D1C0, 12),
    (0x1F12A, 0x1F12A, 7),
    (0x1F200, 0x1F201, 6),
    (0x1F240, 0x1F248, 9),
];

/// The bytes of a JSON escape such as `\u00a8`.
const ESCAPE_BYTES: usize = 6;

/// Returns how many bytes longer than `json` its texts can be after normalization.
pub(super) fn growth(json: &[u8]) -> u64 {
    json.utf8_chunks().map(|chunk| growth_of_text(chunk.valid())).fold(0, u64::saturating_add)
}

fn growth_of_text(mut json: &str) -> u64 {
    let mut growth = 0;
    while let Some(at) = json.bytes().position(|byte| byte >= 0x80 || byte == b'\\') {
        json = &json[at..];
        let (character, bytes) = match json.chars().next() {
            Some('\\') => escaped_character(json),
            Some(character) => (Some(u32::from(character)), character.len_utf8()),
            None => break,
        };
        let normalized = character.and_then(normalized_bytes).unwrap_or_default();
        growth += normalized.saturating_sub(bytes as u64);
        json = json.get(bytes..).unwrap_or_default();
    }
    growth
}

/// Reads the escape with which `json` begins. Returns its character, unless it is a short escape or
/// half a surrogate pair, and its length.
fn escaped_character(json: &str) -> (Option<u32>, usize) {
    let digits = json.strip_prefix("\\u").and_then(|rest| rest.get(..4));
    match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(character) => (Some(character), ESCAPE_BYTES),
        None => (None, 1 + json[1..].chars().next().map_or(0, char::len_utf8)),
    }
}

/// Returns how many bytes a character has after normalization, if it grows.
fn normalized_bytes(character: u32) -> Option<u64> {
    let index = GROWING.partition_point(|(_, last, _)| *last < character);
    let (first, _, bytes) = GROWING.get(index)?;
    (*first <= character).then_some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use icu_normalizer::ComposingNormalizerBorrowed;
    use proptest::prelude::*;

    #[test]
    fn table_has_every_character_that_grows() {
        let normalizer = ComposingNormalizerBorrowed::new_nfkc();
        let missing: Vec<_> = ('\u{80}'..=char::MAX)
            .filter_map(|character| {
                let normal = normalizer.normalize_iter(std::iter::once(character));
                let bytes = normal.map(char::len_utf8).sum::<usize>() as u64;
                let grown = normalized_bytes(character.into()).unwrap_or_default();
                (bytes > grown.max(character.len_utf8() as u64)).then_some((character, bytes))
            })
            .collect();
        assert_eq!(missing, []);
    }

    #[test]
    fn escapes_and_characters_count_by_what_they_become() {
        for (json, expected) in [
            ("", 0),
            ("plain \\n text \\\\u00a8", 0),
            ("\u{fdfa}", 30),
            ("a\u{fdfa}b\u{fdfa}", 60),
            (r"\ufdfa", 27),
            (r"\u00a8", 0),
            (r"\ud834\udd60", 0),
            (r"\u12", 0),
            (r"\é", 0),
            ("\\", 0),
            ("é ° ½ 한국어 中文", 3),
        ] {
            assert_eq!(growth(json.as_bytes()), expected, "{json}");
        }
        assert_eq!(growth(b"\xff\xef\xb7\xba\xff"), 30, "parts that are not UTF-8");
    }

    proptest! {
        #[test]
        fn growth_bounds_the_normalized_text(text in ".{0,40}") {
            let normalizer = ComposingNormalizerBorrowed::new_nfkc();
            let json = serde_json::to_string(&text).unwrap();
            let normal = normalizer.normalize(&text).len() as u64;
            prop_assert!(normal <= json.len() as u64 + growth(json.as_bytes()));
        }
    }
}
