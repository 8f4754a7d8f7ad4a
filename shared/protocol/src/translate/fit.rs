//! Fits a request to the model that is asked for: what one vendor accepts, another refuses with a
//! 400.
//!
//! The steps work on the neutral request, so they are the same for every client. What only one
//! protocol has is left to its writer.

mod conversation;
mod format;
mod media;
mod passed_settings;
pub(super) mod schema;
mod settings;

pub(crate) use conversation::fit_call_id;
pub(crate) use passed_settings::PassedSettings;

use super::TranslationError;
use super::neutral_request::NeutralRequest;
use baton_domain::model_capabilities::ModelCapabilities;
use baton_domain::protocol::UpstreamProtocol;

/// Fits the request to a model with these capabilities.
///
/// # Errors
/// The model cannot answer the request, even with changes that keep its meaning.
pub(super) fn fit_request(
    request: &mut NeutralRequest<'_>,
    capabilities: &ModelCapabilities,
    upstream: UpstreamProtocol,
) -> Result<(), TranslationError> {
    media::fit_media(request, capabilities.media, upstream)?;
    conversation::fit_conversation(request, capabilities, upstream)?;
    format::fit_format(request, capabilities, upstream);
    settings::fit_settings(request, capabilities, upstream);
    Ok(())
}
