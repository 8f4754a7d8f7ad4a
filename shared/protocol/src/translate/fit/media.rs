//! Fits images and documents to what the upstream's API has a form for.

use crate::translate::TranslationError;
use crate::translate::media::{IMAGE_TYPES, PDF};
use crate::translate::neutral_request::{MediaSource, NeutralRequest, TurnPart};
use baton_domain::model_capabilities::MediaKinds;
use baton_domain::protocol::UpstreamProtocol;

const READS_NO_MEDIA: &str =
    "this model does not read such content. Use a model that does, or send its text.";

/// Fits the media of a conversation.
///
/// # Errors
/// A file has a type that the API does not know. An answer without the file would be untrue.
pub(super) fn fit_media(
    request: &mut NeutralRequest<'_>,
    media: MediaKinds,
    upstream: UpstreamProtocol,
) -> Result<(), TranslationError> {
    let mut parts = request.turns.iter_mut().flat_map(|turn| &mut turn.parts);
    parts.try_for_each(|part| fit_part(part, media, upstream))
}

fn fit_part(
    part: &mut TurnPart,
    media: MediaKinds,
    upstream: UpstreamProtocol,
) -> Result<(), TranslationError> {
    let is_messages = upstream == UpstreamProtocol::Messages;
    match part {
        TurnPart::Image(_) if !media.images => Err(unsupported("image", READS_NO_MEDIA)),
        TurnPart::Document { source: MediaSource::Data { .. }, .. } if !media.pdf => {
            Err(unsupported("document", READS_NO_MEDIA))
        }
        TurnPart::Image(MediaSource::Data { media_type, .. })
            if is_messages && !IMAGE_TYPES.contains(&media_type.as_str()) =>
        {
            Err(unsupported(media_type, "Send the image as PNG, JPEG, GIF or WebP."))
        }
        TurnPart::Document { source: MediaSource::Data { media_type, .. }, .. }
            if is_messages && media_type != PDF =>
        {
            Err(unsupported(media_type, "Send the file as PDF or as text."))
        }
        TurnPart::Document { title, source: MediaSource::Text(text) } if !is_messages => {
            let text = std::mem::take(text);
            *part = TurnPart::Text(match title {
                Some(title) => format!("{title}:\n{text}"),
                None => text,
            });
            Ok(())
        }
        TurnPart::Result { parts, .. } => {
            parts.iter_mut().try_for_each(|part| fit_part(part, media, upstream))
        }
        TurnPart::Text(_)
        | TurnPart::Image(_)
        | TurnPart::Document { .. }
        | TurnPart::Thinking { .. }
        | TurnPart::Redacted(_)
        | TurnPart::Call(_) => Ok(()),
    }
}

fn unsupported(media_type: &str, advice: &'static str) -> TranslationError {
    let shown: String = media_type.chars().take(60).flat_map(char::escape_debug).collect();
    let shown = if shown.is_empty() { "unknown type".to_owned() } else { shown };
    TranslationError::field(format!("messages[].content[]({shown})"), advice)
}
