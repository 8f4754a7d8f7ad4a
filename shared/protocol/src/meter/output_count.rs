//! Amounts of output, and the tokens that they are estimated to have.

/// The approximate number of characters in a token (Claude apps gateway page, 2026-08-22).
const CHARS_PER_TOKEN: u64 = 4;

/// The estimated number of tokens in `chars` characters.
pub(super) fn estimate_tokens(chars: u64) -> u64 {
    chars.div_ceil(CHARS_PER_TOKEN)
}

/// The estimated number of tokens in a generated image. Google bills 1,290 for one of 1024 by 1024
/// (ai.google.dev, "Pricing", Gemini 2.5 Flash Image, read 2026-11), and OpenAI from 272 to 4,160
/// by quality and size ("Image generation", 2026-11).
pub(super) const IMAGE_TOKENS: u64 = 1_290;

/// The length of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TextLength {
    /// The characters. An escape of JSON is one.
    pub(super) chars: u64,
    /// The bytes in UTF-8. Escapes are decoded.
    pub(super) bytes: u64,
}

impl TextLength {
    /// The length of text in UTF-8 that can be cut.
    pub(super) fn of_utf8(text: &[u8]) -> Self {
        Self { chars: chars_in_utf8(text), bytes: to_count(text.len()) }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.chars += other.chars;
        self.bytes += other.bytes;
    }

    /// What this has more than the other.
    pub(super) fn minus(self, other: Self) -> Self {
        let chars = self.chars.saturating_sub(other.chars);
        Self { chars, bytes: self.bytes.saturating_sub(other.bytes) }
    }

    /// The larger one of each count.
    pub(super) fn max(self, other: Self) -> Self {
        Self { chars: self.chars.max(other.chars), bytes: self.bytes.max(other.bytes) }
    }
}

fn to_count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The output of a model in an event or in an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OutputCount {
    /// The text, thinking and tool input.
    pub(super) text: TextLength,
    /// The number of images.
    pub(super) images: u64,
    /// Whether there is any output, of whatever kind. Sound has no characters of its own.
    pub(super) has_output: bool,
}

impl OutputCount {
    pub(super) fn from_text(text: TextLength) -> Self {
        Self { text, images: 0, has_output: text.bytes > 0 }
    }

    /// The count of an answer of which nothing else is known than its text.
    pub(super) fn from_utf8(text: &[u8]) -> Self {
        Self::from_text(TextLength::of_utf8(text))
    }

    /// The count of `bytes` that are not read. Each counts as a character.
    pub(super) fn from_unread(bytes: usize) -> Self {
        let bytes = to_count(bytes);
        Self::from_text(TextLength { chars: bytes, bytes })
    }

    pub(super) fn add(&mut self, other: Self) {
        self.text.add(other.text);
        self.images += other.images;
        self.has_output |= other.has_output;
    }

    pub(super) fn plus(mut self, other: Self) -> Self {
        self.add(other);
        self
    }

    /// What this has more than the other.
    pub(super) fn minus(self, other: Self) -> Self {
        let images = self.images.saturating_sub(other.images);
        Self { text: self.text.minus(other.text), images, ..self }
    }

    /// The larger one of two counts of the same output.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            text: self.text.max(other.text),
            images: self.images.max(other.images),
            has_output: self.has_output || other.has_output,
        }
    }

    pub(super) fn raise_to(&mut self, other: Self) {
        *self = self.max(other);
    }

    /// Whether this has something that an earlier count of the same output did not have.
    pub(super) fn exceeds(&self, earlier: Self) -> bool {
        self.text.chars > earlier.text.chars || self.images > earlier.images
    }

    /// The estimated number of tokens.
    pub(super) fn estimate_tokens(&self) -> u64 {
        estimate_tokens(self.text.chars).saturating_add(self.image_tokens())
    }

    /// The most tokens that the text can have, one for each byte, and the estimate for the images.
    pub(super) fn tokens_max(&self) -> u64 {
        self.text.bytes.saturating_add(self.image_tokens())
    }

    fn image_tokens(&self) -> u64 {
        self.images.saturating_mul(IMAGE_TOKENS)
    }
}

/// Characters in UTF-8 that can be cut: all bytes except continuation bytes.
fn chars_in_utf8(bytes: &[u8]) -> u64 {
    // A count for each chunk lets the compiler use vector instructions.
    bytes
        .chunks(255)
        .map(|part| part.iter().map(|b| u64::from(b & 0xC0 != 0x80)).sum::<u64>())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::estimate_tokens;

    #[test]
    fn tokens_round_up() {
        assert_eq!([0, 1, 4, 5].map(estimate_tokens), [0, 1, 1, 2]);
    }
}
