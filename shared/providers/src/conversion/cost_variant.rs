//! How accounts would receive a request, as far as that decides its cost.

use super::{ConversionError, RequestIdentity, TargetCapabilities, unframe_body};
use baton_domain::model_capabilities::{ModelCapabilities, OutputBoundFields};
use baton_domain::protocol::{Framing, UpstreamProtocol};
use baton_protocol::passed_request::{fit_passed_request, may_need_fitting};
use baton_protocol::translate::{ProtocolPair, may_have_baton_state};
use bytes::Bytes;

/// How an account would receive a request, as far as that decides its cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostVariant {
    /// The form of the body.
    pub body: BodyVariant,
    /// The upstream's name for the model.
    pub model: String,
}

/// The form in which an account would receive a body, apart from addresses, ids and the name of the
/// model. Accounts with equal forms receive equally long bodies with the same settings, unless
/// [`depends_on_model`] says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyVariant {
    translation: Option<(ProtocolPair, Framing)>,
    /// The protocol that the account's upstream reads.
    pub upstream_protocol: UpstreamProtocol,
    target: TargetCapabilities,
}

/// Whether the form of the body depends on the name of the model: a state that Baton wrote goes back
/// only to the model that made it.
pub fn depends_on_model(body: &[u8]) -> bool {
    may_have_baton_state(body)
}

impl BodyVariant {
    pub(super) fn new(
        translation: Option<(ProtocolPair, Framing)>,
        upstream_protocol: UpstreamProtocol,
        target: TargetCapabilities,
    ) -> Self {
        // Lengths that the conversion does not read must not tell equal forms apart.
        let capabilities = ModelCapabilities { context_tokens: None, ..target.capabilities };
        let target = TargetCapabilities { capabilities, ..target };
        let target = match translation {
            Some(_) => target,
            None => target.without_lengths(),
        };
        Self { translation, upstream_protocol, target }
    }

    /// Whether the body is translated to another protocol.
    pub fn is_translated(&self) -> bool {
        self.translation.is_some()
    }

    /// The fields of a Chat request that bound the output at the account.
    pub fn output_bound(&self) -> OutputBoundFields {
        self.target.capabilities.output_bound
    }

    /// Whether [`Self::write_body`] can return another body than the client's. This is a scan of the
    /// body at most.
    pub fn may_change(&self, body: &[u8]) -> bool {
        self.is_translated()
            || may_need_fitting(body, self.upstream_protocol, &self.target.capabilities)
    }

    /// The body that the account would receive for `model`, or `None` if it is the client's own. The
    /// client's name for the model is `client_model`.
    ///
    /// # Errors
    /// The account's protocol cannot express the request.
    pub fn write_body(
        &self,
        identity: &RequestIdentity,
        body: &Bytes,
        client_model: &str,
        model: &str,
        is_stream: bool,
    ) -> Result<Option<Vec<u8>>, ConversionError> {
        let Some((pair, client_framing)) = self.translation else {
            let capabilities = &self.target.capabilities;
            return Ok(fit_passed_request(body, self.upstream_protocol, capabilities)?);
        };
        let body = unframe_body(client_framing, body, client_model, is_stream)?;
        let options = identity.translation_options(model, self.target);
        Ok(Some(pair.translate_request(&body, &options)?.body))
    }
}

/// A body that some accounts would receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DistinctBody<'v> {
    /// The form of the body.
    pub variant: &'v BodyVariant,
    /// The longest name of the model in it.
    pub model: &'v str,
}

/// The different bodies of the variants, and for each variant the index of its body. Reading them
/// is work on the whole body for each, so it must not grow with the names of models that accounts
/// have. `depends_on_model` is that of the client's body.
pub fn distinct_bodies(
    variants: &[CostVariant],
    depends_on_model: bool,
) -> (Vec<DistinctBody<'_>>, Vec<usize>) {
    let mut bodies: Vec<DistinctBody<'_>> = Vec::new();
    let mut indexes = Vec::with_capacity(variants.len());
    for CostVariant { body: variant, model } in variants {
        let is_same = |body: &DistinctBody<'_>| {
            body.variant == variant && (!depends_on_model || body.model == model)
        };
        let index = bodies.iter().position(is_same).unwrap_or_else(|| {
            bodies.push(DistinctBody { variant, model });
            bodies.len() - 1
        });
        if let Some(body) = bodies.get_mut(index).filter(|body| body.model.len() < model.len()) {
            body.model = model;
        }
        indexes.push(index);
    }
    (bodies, indexes)
}
