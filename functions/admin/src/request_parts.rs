//! The parts of a request that handlers take: the JSON body, the id in the path and the parameters of
//! the query.

use crate::AdminState;
use crate::api_response::{ApiError, ApiResult, body, id};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use baton_api::error::field_message;
use http::request::Parts;
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::error::Error as _;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// The JSON object in the body.
pub(crate) struct JsonBody<T>(pub(crate) T);

/// The JSON object in the body, or its defaults if there is no body.
pub(crate) struct OptionalJsonBody<T>(pub(crate) T);

/// The id in the path. A malformed id names nothing, so the error is 404.
pub(crate) struct ResourceId<I>(pub(crate) I);

impl<T: DeserializeOwned> FromRequest<Arc<AdminState>> for JsonBody<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &Arc<AdminState>) -> Result<Self, Response> {
        let bytes = read_body(request, state).await?;
        body(&bytes).map(Self).map_err(ApiError::into_response)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<Arc<AdminState>> for OptionalJsonBody<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &Arc<AdminState>) -> Result<Self, Response> {
        let bytes = read_body(request, state).await?;
        let read = if bytes.is_empty() { Ok(T::default()) } else { body(&bytes) };
        read.map(Self).map_err(ApiError::into_response)
    }
}

async fn read_body(request: Request, state: &Arc<AdminState>) -> Result<Bytes, Response> {
    Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)
}

impl<I: FromStr<Err: Display>> FromRequestParts<Arc<AdminState>> for ResourceId<I> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AdminState>) -> ApiResult<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(ApiError::bad)?;
        id(&text).map(Self)
    }
}

/// The parameters of a query.
pub(crate) struct QueryParameters<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<AdminState>> for QueryParameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<AdminState>) -> ApiResult<Self> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => {
                // The cause names the parameter; axum's own text is about the query string.
                let cause = rejection.source().map(ToString::to_string);
                let cause = cause.unwrap_or_else(|| rejection.to_string());
                Err(ApiError::bad(field_message("", &cause)))
            }
        }
    }
}

/// The parameters of a query in which names can repeat, as `name[]=` or `name=`.
pub(crate) struct RepeatedQuery<T>(pub(crate) T);

impl<T: DeserializeOwned + JsonSchema> FromRequestParts<Arc<AdminState>> for RepeatedQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<AdminState>) -> ApiResult<Self> {
        let schema = T::json_schema(&mut SchemaGenerator::default());
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut fields = Map::new();
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let list = format!("{}[]", name.trim_end_matches("[]"));
            let property = |name: &str| properties.and_then(|all| all.get(name));
            if property(&list).is_some() {
                let values = fields.entry(list).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(values) = values {
                    values.push(value.into());
                }
            } else {
                let is_number = property(&name)
                    .is_some_and(|kind| kind["type"].to_string().contains("integer"));
                let number = value.parse::<u32>().ok().filter(|_| is_number);
                let value = number.map_or_else(|| Value::from(value), Value::from);
                // Of a parameter that does not repeat, the first counts.
                fields.entry(name).or_insert(value);
            }
        }
        body(Value::Object(fields).to_string().as_bytes()).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::rejection::QueryRejection;
    use baton_api::audit::AuditQuery;
    use baton_api::keys::KeyFilter;
    use baton_api::list::PageQuery;
    use baton_api::prices::PriceSelector;
    use baton_api::usage::EventQuery;

    fn message<T: DeserializeOwned>(query: &str) -> String {
        let uri = format!("http://localhost/?{query}").parse().unwrap();
        let rejected: Result<Query<T>, QueryRejection> = Query::try_from_uri(&uri);
        let rejection = rejected.err().unwrap();
        field_message("", &rejection.source().unwrap().to_string())
    }

    #[test]
    fn query_errors_name_the_parameter_and_what_is_expected() {
        assert_eq!(
            message::<PageQuery>("limit=many"),
            "`limit`: expected a whole number, 0 or more"
        );
        assert_eq!(message::<PageQuery>("limit=-1"), "`limit`: expected a whole number, 0 or more");
        let outcomes = message::<EventQuery>("outcome=odd");
        assert!(outcomes.starts_with("`outcome`: expected one of `complete`, "), "{outcomes}");
        let actions = message::<AuditQuery>("action=foo");
        assert!(actions.starts_with("`action`: expected one of `create`, `update`, "), "{actions}");
        assert_eq!(message::<KeyFilter>("enabled=perhaps"), "`enabled`: expected true or false");
        assert_eq!(message::<PriceSelector>(""), "`effective_from` is missing");
    }
}
