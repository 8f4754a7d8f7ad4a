//! Fits the settings of a Chat request that passes untranslated, by the rules of translation.

use super::{format, settings};
use crate::json::JsonValue;
use crate::translate::TranslationError;
use crate::translate::chat::read_request::read_passed_settings;
use crate::translate::json_reader::ObjectReader;
use crate::translate::neutral_request::{NeutralRequest, join_texts};
use baton_domain::model_capabilities::{EffortLevel, ModelCapabilities};
use baton_domain::protocol::UpstreamProtocol;

/// The settings that the model accepts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PassedSettings {
    /// The effort.
    pub(crate) effort: Option<String>,
    /// Whether the request must switch thinking off.
    pub(crate) is_thinking_off: bool,
    /// The instruction that takes the place of the answer's schema.
    pub(crate) instruction: Option<String>,
}

impl PassedSettings {
    /// Fits the settings of `body` to a model. `has_lost_thinking` says that calls in its history lack
    /// the thinking that the model wants back.
    ///
    /// # Errors
    /// The upstream refuses a field without which the answer would be another, or the body is no object
    /// with a usual number of fields.
    pub(crate) fn fit(
        body: JsonValue<'_>,
        capabilities: &ModelCapabilities,
        has_lost_thinking: bool,
    ) -> Result<Self, TranslationError> {
        let Some(mut body) = ObjectReader::from_value(body) else {
            return Err(TranslationError::NotAnObject);
        };
        let mut request = read_passed_settings(&mut body, capabilities.refused_fields);
        if let Some(refusal) = request.dropped.take_refusal() {
            return Err(refusal);
        }
        if capabilities.thinking_switch {
            settings::switch_thinking(&mut request, has_lost_thinking);
        }
        // A level that nobody knows yet may be one of the upstream's.
        let level = request.effort.as_deref().and_then(EffortLevel::parse);
        if level.is_some_and(|level| !capabilities.effort_words.contains(level)) {
            settings::fit_effort(&mut request, capabilities);
        }
        format::fit_format(&mut request, capabilities, UpstreamProtocol::Chat);
        let instruction = request.turns.first().map(|turn| join_texts(&turn.parts));
        let NeutralRequest { effort, is_thinking_off, .. } = request;
        Ok(Self { effort, is_thinking_off, instruction })
    }
}
