//! Fits the form of the answer, and the schemas of tools, to the model.

use super::schema;
use crate::translate::neutral_request::{
    ConversationTurn, NeutralRequest, OutputFormat, TurnPart, TurnRole,
};
use baton_domain::model_capabilities::ModelCapabilities;
use baton_domain::protocol::UpstreamProtocol;

/// What a model is told that cannot be bound to JSON.
const ONLY_JSON: &str =
    "Answer with one JSON object and nothing else: no other text and no Markdown code fence.";

/// Fits the form. A model without structured outputs is told the form in words.
pub(super) fn fit_format(
    request: &mut NeutralRequest<'_>,
    capabilities: &ModelCapabilities,
    upstream: UpstreamProtocol,
) {
    let is_messages = upstream == UpstreamProtocol::Messages;
    for (index, tool) in request.tools.iter_mut().enumerate() {
        if tool.strict != Some(true) {
            continue;
        }
        let adapted = match tool.schema {
            Some(schema) if is_messages => schema::to_anthropic(schema),
            _ => None,
        };
        if !capabilities.strict_tools || (is_messages && adapted.is_none()) {
            tool.strict = None;
        } else if let Some(adapted) = adapted {
            request.adapted_schemas.insert(index, adapted);
        }
    }
    match request.format.take() {
        None => {}
        Some(OutputFormat::Json) if is_messages => {
            add_system_instruction(request, ONLY_JSON.to_owned());
        }
        Some(format @ OutputFormat::Json) => request.format = Some(format),
        Some(OutputFormat::Schema { name, schema, strict }) => {
            let adapted = if is_messages { schema::to_anthropic(&schema) } else { None };
            if capabilities.structured_outputs && (!is_messages || adapted.is_some()) {
                let schema = adapted.map_or(schema, Into::into);
                request.format = Some(OutputFormat::Schema { name, schema, strict });
            } else {
                add_system_instruction(
                    request,
                    format!("{ONLY_JSON} It must follow this JSON schema:\n{schema}"),
                );
                request.format = (!is_messages).then_some(OutputFormat::Json);
            }
        }
    }
}

/// Adds a sentence to the system's texts above the conversation.
fn add_system_instruction(request: &mut NeutralRequest<'_>, text: String) {
    let part = TurnPart::Text(text);
    match request.turns.first_mut() {
        Some(first) if first.role == TurnRole::System => first.parts.push(part),
        _ => {
            let turn = ConversationTurn { role: TurnRole::System, parts: vec![part] };
            request.turns.insert(0, turn);
        }
    }
}
