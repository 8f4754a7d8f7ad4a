//! What a route's description takes from the types of its handler: parameters and body from the
//! arguments, status and schema from the answer. So a description cannot differ from the handler.

use crate::SharedAdminState;
use crate::admin_request::AdminRequest;
use crate::api_response::{ApiError, TypedResponse};
use crate::request_parts::{
    JsonBody, OptionalJsonBody, QueryParameters, RepeatedQuery, ResourceId,
};
use axum::Json;
use baton_api::new::forbid_null;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::future::Future;

/// The media type of all answers but files.
const JSON: &[&str] = &["application/json"];

/// The schemas of requests and answers. They differ: an optional field can be left out of a request,
/// and is `null` in an answer.
pub(crate) struct ApiSchemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl ApiSchemas {
    pub(crate) fn new() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        let answers = settings.clone().for_serialize().into_generator();
        Self { requests: settings.for_deserialize().into_generator(), answers }
    }

    /// The schema of a type in answers.
    pub(crate) fn answer<T: JsonSchema>(&mut self) -> Value {
        self.answers.subschema_for::<T>().to_value()
    }

    /// The named schemas, and the names that requests and answers use for different schemas.
    pub(crate) fn into_components(mut self) -> (Map<String, Value>, Vec<String>) {
        let mut components = self.requests.take_definitions(true);
        let mut ambiguous = Vec::new();
        for (name, schema) in self.answers.take_definitions(true) {
            let is_other = |known: &Value| {
                simplified_schema(known.clone()) != simplified_schema(schema.clone())
            };
            if components.get(&name).is_some_and(is_other) {
                ambiguous.push(name.clone());
            }
            components.insert(name, schema);
        }
        (components, ambiguous)
    }
}

/// A parameter and the name of its component.
pub(crate) struct RouteParameter {
    pub(crate) component: String,
    pub(crate) definition: Value,
}

/// The answer of a route that succeeds.
pub(crate) struct SuccessResponse {
    pub(crate) status: u16,
    /// The schema; `None` for an answer without a body.
    pub(crate) schema: Option<Value>,
    pub(crate) media: &'static [&'static str],
}

/// The description of a route while it is made.
pub(crate) struct OperationBuilder<'a> {
    schemas: &'a mut ApiSchemas,
    /// The names in the path, in their order.
    path_names: Vec<&'a str>,
    pub(crate) parameters: Vec<RouteParameter>,
    pub(crate) has_query: bool,
    pub(crate) request_body: Option<Value>,
    pub(crate) success: Option<SuccessResponse>,
}

impl<'a> OperationBuilder<'a> {
    pub(crate) fn new(schemas: &'a mut ApiSchemas, path: &'a str) -> Self {
        // `/keys/{key_id}/rotate` → `key_id`
        let name = |part: &'a str| part.strip_prefix('{')?.strip_suffix('}');
        Self {
            schemas,
            path_names: path.split('/').filter_map(name).collect(),
            parameters: Vec::new(),
            has_query: false,
            request_body: None,
            success: None,
        }
    }

    fn add_path_parameter<T: JsonSchema>(&mut self) {
        let schema = self.schemas.requests.subschema_for::<T>().to_value();
        for name in std::mem::take(&mut self.path_names) {
            let definition =
                json!({ "name": name, "in": "path", "required": true, "schema": schema });
            self.parameters.push(RouteParameter { component: format!("path_{name}"), definition });
        }
    }

    fn add_query_parameters<T: JsonSchema>(&mut self) {
        let schema = T::json_schema(&mut self.schemas.requests).to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut schema = property.clone();
            forbid_null(&mut schema);
            let mut definition = json!({ "name": name, "in": "query" });
            if let Some(Value::Object(schema)) = Some(&mut schema)
                && let Some(description) = property
                    .get("description")
                    .cloned()
                    .or_else(|| schema.get("description").cloned())
            {
                schema.remove("description");
                definition["description"] = description;
            }
            if schema["type"] == "array" {
                definition["explode"] = json!(true);
            }
            if required.contains(&json!(name)) {
                definition["required"] = json!(true);
            }
            definition["schema"] = schema;
            let definition = simplified_schema(definition);
            let component = name.trim_end_matches("[]").to_owned();
            self.parameters.push(RouteParameter { component, definition });
            self.has_query = true;
        }
    }

    fn set_body<T: JsonSchema>(&mut self, is_required: bool) {
        let schema = self.schemas.requests.subschema_for::<T>().to_value();
        let content = json!({ "application/json": { "schema": schema } });
        self.request_body = Some(json!({ "required": is_required, "content": content }));
    }

    /// Sets the answer to a body of this type.
    fn set_success<T: JsonSchema>(&mut self, status: u16) {
        let schema = (status != 204).then(|| self.schemas.answer::<T>());
        self.success = Some(SuccessResponse { status, schema, media: JSON });
    }

    /// Sets the answer to a file.
    pub(crate) fn set_file(&mut self, description: &str, media: &'static [&'static str]) {
        let schema = Some(json!({ "type": "string", "description": description }));
        self.success = Some(SuccessResponse { status: 200, schema, media });
    }
}

/// An argument of a handler.
pub(crate) trait RouteInput {
    /// Adds the names of the query parameters that it reads.
    fn add_query_names(_names: &mut Vec<String>) {}

    /// Adds what it reads to the description.
    fn describe(_operation: &mut OperationBuilder<'_>) {}
}

/// The answer of a handler.
pub(crate) trait RouteOutput {
    /// Adds the answer to the description.
    fn describe(operation: &mut OperationBuilder<'_>);
}

/// A handler, by the types of its arguments.
pub(crate) trait RouteFunction<Inputs> {
    /// The names of the query parameters that the route has.
    fn query_names() -> Vec<String>;

    /// Adds arguments and answer to the description.
    fn describe(operation: &mut OperationBuilder<'_>);
}

macro_rules! route_function {
    ($($input:ident),*) => {
        impl<F, Fut, $($input),*> RouteFunction<($($input,)*)> for F
        where
            F: Fn($($input),*) -> Fut,
            Fut: Future<Output: RouteOutput>,
            $($input: RouteInput,)*
        {
            fn query_names() -> Vec<String> {
                let adders: &[fn(&mut Vec<String>)] = &[$($input::add_query_names),*];
                let mut names = Vec::new();
                for add in adders {
                    add(&mut names);
                }
                names
            }

            fn describe(operation: &mut OperationBuilder<'_>) {
                $($input::describe(operation);)*
                <Fut::Output as RouteOutput>::describe(operation);
            }
        }
    };
}

route_function!();
route_function!(A);
route_function!(A, B);
route_function!(A, B, C);
route_function!(A, B, C, D);

impl RouteInput for SharedAdminState {}

impl RouteInput for AdminRequest {}

impl<T: JsonSchema> RouteInput for QueryParameters<T> {
    fn add_query_names(names: &mut Vec<String>) {
        add_property_names::<T>(names);
    }

    fn describe(operation: &mut OperationBuilder<'_>) {
        operation.add_query_parameters::<T>();
    }
}

impl<T: JsonSchema> RouteInput for RepeatedQuery<T> {
    fn add_query_names(names: &mut Vec<String>) {
        add_property_names::<T>(names);
    }

    fn describe(operation: &mut OperationBuilder<'_>) {
        operation.add_query_parameters::<T>();
    }
}

impl<T: JsonSchema> RouteInput for JsonBody<T> {
    fn describe(operation: &mut OperationBuilder<'_>) {
        operation.set_body::<T>(true);
    }
}

impl<T: JsonSchema> RouteInput for OptionalJsonBody<T> {
    fn describe(operation: &mut OperationBuilder<'_>) {
        operation.set_body::<T>(false);
    }
}

impl<I: JsonSchema> RouteInput for ResourceId<I> {
    fn describe(operation: &mut OperationBuilder<'_>) {
        operation.add_path_parameter::<I>();
    }
}

impl<T: RouteOutput> RouteOutput for Result<T, ApiError> {
    fn describe(operation: &mut OperationBuilder<'_>) {
        T::describe(operation);
    }
}

impl<T: JsonSchema> RouteOutput for Json<T> {
    fn describe(operation: &mut OperationBuilder<'_>) {
        operation.set_success::<T>(200);
    }
}

impl<T: JsonSchema, const STATUS: u16> RouteOutput for TypedResponse<T, STATUS> {
    fn describe(operation: &mut OperationBuilder<'_>) {
        operation.set_success::<T>(STATUS);
    }
}

fn add_property_names<T: JsonSchema>(names: &mut Vec<String>) {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    names.extend(properties.map(|(name, _)| name.trim_end_matches("[]").to_owned()));
}

/// A schema as the description has it: without the formats of Rust's numbers, empty defaults and the
/// line breaks of comments.
pub(crate) fn simplified_schema(mut schema: Value) -> Value {
    simplify(&mut schema);
    schema
}

fn simplify(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                let paragraphs: Vec<String> =
                    text.split("\n\n").map(|part| part.replace('\n', " ")).collect();
                *text = paragraphs.join("\n\n");
            }
            let format = fields.get("format").and_then(Value::as_str);
            if let Some("uint" | "uint8" | "uint16" | "uint32" | "uint64" | "double") = format {
                if format == Some("uint32") {
                    fields.entry("maximum").or_insert_with(|| json!(u32::MAX));
                }
                fields.remove("format");
            }
            let is_empty = |default: &Value| match default {
                Value::Null => true,
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                Value::Number(number) => number.as_u64() == Some(0),
                Value::Bool(_) => false,
            };
            if fields.get("default").is_some_and(is_empty) {
                fields.remove("default");
            }
            fields.values_mut().for_each(simplify);
        }
        Value::Array(list) => list.iter_mut().for_each(simplify),
        _ => {}
    }
}
