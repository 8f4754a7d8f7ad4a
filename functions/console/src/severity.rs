//! How good or bad a message or a state is.

/// The meaning of a message or a badge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// No judgment.
    Neutral,
    /// A success.
    Success,
    /// A warning.
    Warning,
    /// A failure.
    Error,
}

impl Severity {
    /// The CSS class.
    pub(crate) fn css_class(self) -> &'static str {
        match self {
            Self::Neutral => "plain",
            Self::Success => "good",
            Self::Warning => "warn",
            Self::Error => "bad",
        }
    }
}
