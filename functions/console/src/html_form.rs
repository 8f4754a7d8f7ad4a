//! Forms: their fields, the conversion of submitted values to JSON for the API, and redisplay of
//! the submitted values if the API refuses them.

use crate::formatting::truncate_text;
use crate::severity::Severity;
use baton_api::error::{CREDENTIAL_AGAIN, rename_fields};
use serde_json::{Map, Value, json};

/// A form.
pub(crate) struct HtmlForm {
    pub(crate) id: String,
    pub(crate) action: String,
    /// Forms with the method `get` have no CSRF token and change nothing.
    pub(crate) is_get: bool,
    pub(crate) hidden: Vec<(String, String)>,
    pub(crate) fields: Vec<FormField>,
    /// The name of the first field that is shown only on request, and the title of it and the fields
    /// after it.
    pub(crate) folded: Option<(&'static str, &'static str)>,
    pub(crate) submit: String,
    pub(crate) tone: Severity,
    /// The question that the script asks before it sends the form.
    pub(crate) confirm: Option<String>,
    /// The error to show.
    pub(crate) error: Option<String>,
    /// Whether the script sends the form and shows the result next to it.
    pub(crate) is_inline: bool,
}

impl HtmlForm {
    /// A form that changes something.
    pub(crate) fn post(id: impl Into<String>, action: impl Into<String>, submit: &str) -> Self {
        Self {
            id: id.into(),
            action: action.into(),
            is_get: false,
            hidden: Vec::new(),
            fields: Vec::new(),
            folded: None,
            submit: submit.to_owned(),
            tone: Severity::Neutral,
            confirm: None,
            error: None,
            is_inline: false,
        }
    }

    /// A form for a search or a filter.
    pub(crate) fn get(id: impl Into<String>, action: impl Into<String>, submit: &str) -> Self {
        Self { is_get: true, ..Self::post(id, action, submit) }
    }

    pub(crate) fn fields(self, fields: Vec<FormField>) -> Self {
        Self { fields, ..self }
    }

    /// Folds the fields from `first` on under a title.
    pub(crate) fn fold_from(self, first: &'static str, title: &'static str) -> Self {
        Self { folded: Some((first, title)), ..self }
    }

    /// The title of the folded fields, if `field` is the first of them.
    pub(crate) fn fold_title(&self, field: &FormField) -> Option<&'static str> {
        self.folded.and_then(|(first, title)| (first == field.name).then_some(title))
    }

    /// Whether a folded field has a value, so that it has to be visible.
    pub(crate) fn is_fold_open(&self) -> bool {
        let is_before = |field: &&FormField| self.fold_title(field).is_none();
        self.fields.iter().skip_while(is_before).any(|field| !field.value.is_empty())
    }

    pub(crate) fn hidden(mut self, name: &str, value: impl Into<String>) -> Self {
        self.hidden.push((name.to_owned(), value.into()));
        self
    }

    /// Marks a form that cannot be undone. `confirm` is the question to ask first.
    pub(crate) fn with_confirmation(self, confirm: impl Into<String>) -> Self {
        Self { tone: Severity::Error, confirm: Some(confirm.into()), ..self }
    }

    /// Marks the main form of a page.
    pub(crate) fn main(self) -> Self {
        Self { tone: Severity::Success, ..self }
    }

    pub(crate) fn inline(self) -> Self {
        Self { is_inline: true, ..self }
    }

    pub(crate) fn error(self, error: Option<String>) -> Self {
        Self { error, ..self }
    }
}

/// A form field.
pub(crate) struct FormField {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) value: String,
    pub(crate) shape: FieldControl,
}

impl FormField {
    /// Whether the field consists of several controls.
    pub(crate) fn is_group(&self) -> bool {
        matches!(self.shape, FieldControl::Checkboxes(_))
    }
}

/// The kind of control.
pub(crate) enum FieldControl {
    /// An input with its `type` and its `inputmode`.
    Line(&'static str, &'static str),
    TextArea,
    Checkbox,
    /// A select: values and their names.
    Choice(Vec<(String, String)>),
    /// Checkboxes: value, name, and whether it is checked.
    Checkboxes(Vec<(String, String, bool)>),
}

/// A field of a resource of the API.
pub(crate) struct FieldSpec {
    /// The path in the JSON, with dots for nested fields.
    pub(crate) path: &'static str,
    pub(crate) label: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) kind: FieldKind,
}

/// How the text of a field is converted to JSON.
pub(crate) enum FieldKind {
    /// Text, which can be empty.
    Text,
    /// Text; empty becomes null.
    OptionalText,
    /// A secret, which is never shown. Empty leaves it unchanged.
    Secret,
    /// A whole number; empty becomes null.
    Count,
    /// A whole number; empty leaves it unchanged.
    Number,
    /// An amount in US dollars; empty becomes null.
    Usd,
    /// One entry per line.
    Lines,
    /// One `pattern = model` per line.
    Pairs,
    /// A checkbox.
    Flag,
    /// Yes or no; empty becomes null.
    YesOrNo,
    /// A day in UTC; empty becomes null.
    Day,
    /// A time in UTC; empty becomes null.
    DateTime,
    /// One of these values; empty becomes null.
    Choice(Vec<(String, String)>),
    /// Any of these values.
    MultipleChoice(Vec<(String, String)>),
}

impl FieldSpec {
    pub(crate) const fn new(
        path: &'static str,
        label: &'static str,
        hint: &'static str,
        kind: FieldKind,
    ) -> Self {
        Self { path, label, hint, kind }
    }

    /// The field with the value in an answer of the API.
    pub(crate) fn field(&self, view: &Value) -> FormField {
        let value = at(view, self.path);
        let text = match (&self.kind, value) {
            (FieldKind::Secret, _) | (_, Value::Null) => String::new(),
            (FieldKind::Lines | FieldKind::MultipleChoice(_), Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
            }
            (FieldKind::Pairs, Value::Object(map)) => {
                let line = |(name, value): (&String, &Value)| {
                    format!("{name} = {}", value.as_str().unwrap_or_default())
                };
                map.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            (FieldKind::DateTime, Value::String(text)) => text.get(..19).unwrap_or(text).to_owned(),
            (FieldKind::Usd, Value::String(text)) => crate::formatting::format_exact_usd(text),
            (_, Value::String(text)) => text.clone(),
            (_, value) => value.to_string(),
        };
        self.with(text)
    }

    /// The field with the submitted value.
    pub(crate) fn submitted_field(&self, values: &FormValues) -> FormField {
        let text = match self.kind {
            FieldKind::Secret => String::new(),
            FieldKind::Flag => values.has(self.path).to_string(),
            FieldKind::MultipleChoice(_) => {
                values.values_of(self.path).collect::<Vec<_>>().join("\n")
            }
            // Only the day of a time, because a date input shows nothing else.
            FieldKind::Day => values.get(self.path).chars().take(10).collect(),
            _ => values.get(self.path).to_owned(),
        };
        self.with(text)
    }

    /// Whether a path of the API belongs to this field: the field itself, an entry of it, or the
    /// object around it.
    fn is_at(&self, path: &str) -> bool {
        let is_below = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        path == self.path || is_below(path, self.path) || is_below(self.path, path)
    }

    fn with(&self, value: String) -> FormField {
        let shape = match &self.kind {
            FieldKind::Text | FieldKind::OptionalText => FieldControl::Line("text", "text"),
            FieldKind::Secret => FieldControl::Line("password", "text"),
            FieldKind::Count | FieldKind::Number => FieldControl::Line("text", "numeric"),
            FieldKind::Usd => FieldControl::Line("text", "decimal"),
            FieldKind::Day => FieldControl::Line("date", "text"),
            FieldKind::DateTime => FieldControl::Line("datetime-local", "text"),
            FieldKind::Lines | FieldKind::Pairs => FieldControl::TextArea,
            FieldKind::Flag => FieldControl::Checkbox,
            FieldKind::YesOrNo => FieldControl::Choice(vec![
                (String::new(), "not stated".to_owned()),
                ("true".to_owned(), "yes".to_owned()),
                ("false".to_owned(), "no".to_owned()),
            ]),
            FieldKind::Choice(choices) => FieldControl::Choice(choices.clone()),
            FieldKind::MultipleChoice(choices) => {
                let is_chosen = |one: &str| value.lines().any(|line| line == one);
                let boxed =
                    |(id, name): &(String, String)| (id.clone(), name.clone(), is_chosen(id));
                FieldControl::Checkboxes(choices.iter().map(boxed).collect())
            }
        };
        FormField { name: self.path, label: self.label, hint: self.hint, value, shape }
    }

    /// The submitted value as JSON; `None` leaves the field out.
    fn parse_value(&self, values: &FormValues) -> Option<Value> {
        let text = values.get(self.path).trim();
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        Some(match self.kind {
            FieldKind::Flag => json!(values.has(self.path)),
            FieldKind::Text => json!(text),
            FieldKind::MultipleChoice(_) => json!(values.values_of(self.path).collect::<Vec<_>>()),
            FieldKind::Secret | FieldKind::Number if text.is_empty() => return None,
            FieldKind::Lines => json!(lines().collect::<Vec<_>>()),
            FieldKind::Pairs => {
                let pair = |line: &str| {
                    let (name, value) = line.split_once('=')?;
                    Some((name.trim().to_owned(), json!(value.trim())))
                };
                Value::Object(lines().filter_map(pair).collect())
            }
            _ if text.is_empty() => Value::Null,
            // Text that is not a number is sent as it is, so that the API reports it.
            FieldKind::Count | FieldKind::Number => {
                text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number))
            }
            FieldKind::YesOrNo => json!(text == "true"),
            FieldKind::DateTime if text.len() == 16 => json!(format!("{text}:00Z")),
            FieldKind::DateTime if text.len() == 19 => json!(format!("{text}Z")),
            FieldKind::OptionalText
            | FieldKind::Secret
            | FieldKind::Usd
            | FieldKind::Day
            | FieldKind::DateTime
            | FieldKind::Choice(_) => json!(text),
        })
    }
}

/// Checks what the API cannot check, because the form and the JSON differ: the lines of pairs. It
/// also checks the name, which is the first field of each form: the API reports a field inside
/// another one, such as a credential, before a missing name.
///
/// # Errors
/// A message that names the label of the field and the line.
pub(crate) fn check_values(specs: &[FieldSpec], values: &FormValues) -> Result<(), String> {
    let name = specs.iter().find(|spec| spec.path == "name");
    if let Some(spec) = name.filter(|spec| values.get(spec.path).trim().is_empty()) {
        return Err(format!("“{}” is missing", spec.label));
    }
    let pairs = specs.iter().filter(|spec| matches!(spec.kind, FieldKind::Pairs));
    for spec in pairs {
        for (index, line) in values.get(spec.path).lines().enumerate() {
            check_pair(line.trim(), index + 1)
                .map_err(|problem| format!("“{}”: {problem}", spec.label))?;
        }
    }
    Ok(())
}

fn check_pair(line: &str, number: usize) -> Result<(), String> {
    if line.is_empty() {
        return Ok(());
    }
    // Backticks surround the quoted line in the message.
    let shown = truncate_text(&line.replace('`', "'"), 80);
    match line.split_once('=') {
        None => Err(format!("line {number} `{shown}` must be `requested = served`")),
        Some((name, _)) if name.trim().is_empty() => {
            Err(format!("line {number} `{shown}`: the name before `=` is empty"))
        }
        Some((_, value)) if value.trim().is_empty() => {
            Err(format!("line {number} `{shown}`: the name after `=` is empty"))
        }
        Some(_) => Ok(()),
    }
}

/// Puts a message of the API into the words of the form: "`limits.usd_daily`: expected …, or null"
/// becomes "“Daily budget”: expected …, or leave it empty".
pub(crate) fn in_labels(message: &str, specs: &[FieldSpec]) -> String {
    let message = message
        .replace(", or null", ", or leave it empty")
        .replace(CREDENTIAL_AGAIN, "use the form “Replace the credential” below");
    rename_fields(&message, |path| {
        let spec = specs.iter().find(|spec| spec.is_at(path))?;
        Some(format!("“{}”", spec.label))
    })
}

/// The submitted values as JSON for a POST. Empty ones are left out.
pub(crate) fn collect_new_values(specs: &[FieldSpec], values: &FormValues) -> Value {
    let mut body = json!({});
    for spec in specs {
        if let Some(value) = spec.parse_value(values).filter(|value| !is_empty(value)) {
            put(&mut body, spec.path, value);
        }
    }
    body
}

/// The submitted values as JSON for a PATCH: only fields that differ from `before`.
pub(crate) fn collect_changes(specs: &[FieldSpec], values: &FormValues, before: &Value) -> Value {
    let mut after = before.clone();
    for spec in specs {
        let shown = spec.field(before).value;
        // A value that is displayed the same was not edited, even if it has more digits.
        let is_same = matches!(spec.kind, FieldKind::DateTime | FieldKind::Usd)
            && shown.trim() == values.get(spec.path).trim();
        if let Some(value) = spec.parse_value(values).filter(|_| !is_same) {
            put(&mut after, spec.path, value);
        }
    }
    let (Value::Object(after), Value::Object(before)) = (after, before) else { return json!({}) };
    let different = after.into_iter().filter(|(name, value)| before.get(name) != Some(value));
    Value::Object(different.collect())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn at<'a>(view: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(view, |view, name| &view[name])
}

fn put(body: &mut Value, path: &str, value: Value) {
    let Some((outer, inner)) = path.split_once('.') else {
        body[path] = value;
        return;
    };
    if !body[outer].is_object() {
        body[outer] = Value::Object(Map::new());
    }
    put(&mut body[outer], inner, value);
}

/// The values of a submitted form or a query.
#[derive(Clone, Default)]
pub(crate) struct FormValues(pub(crate) Vec<(String, String)>);

impl FormValues {
    /// Parses `a=1&b=2`.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The value of a name, or an empty text.
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// Whether the name is present, as it is for a checked box.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// All values of a name.
    pub(crate) fn values_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A query with those of these names that are not empty.
    pub(crate) fn query(&self, names: &[&str]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.0 {
            if names.contains(&name.as_str()) && !value.trim().is_empty() {
                query.append_pair(name, value.trim());
            }
        }
        query.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> Vec<FieldSpec> {
        vec![
            FieldSpec::new("name", "", "", FieldKind::Text),
            FieldSpec::new("user_id", "", "", FieldKind::OptionalText),
            FieldSpec::new("secret", "", "", FieldKind::Secret),
            FieldSpec::new("weight", "", "", FieldKind::Number),
            FieldSpec::new("limits.usd_daily", "", "", FieldKind::Usd),
            FieldSpec::new("limits.concurrency", "", "", FieldKind::Count),
            FieldSpec::new("models", "", "", FieldKind::Lines),
            FieldSpec::new("map", "", "", FieldKind::Pairs),
            FieldSpec::new("enabled", "", "", FieldKind::Flag),
            FieldSpec::new("expires_at", "", "", FieldKind::DateTime),
        ]
    }

    #[test]
    fn empty_fields_are_omitted_on_create() {
        let values = FormValues::parse(
            b"name=+ci+&user_id=&limits.usd_daily=1.50&limits.concurrency=x\
            &models=a%0D%0A%0D%0Ab&map=a%3Db&expires_at=2026-12-31T00:00",
        );
        let body = collect_new_values(&specs(), &values);
        let expected = json!({
            "name": "ci", "limits": {"usd_daily": "1.50", "concurrency": "x"}, "models": ["a", "b"],
            "map": {"a": "b"}, "enabled": false, "expires_at": "2026-12-31T00:00:00Z",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn messages_name_the_labels() {
        let specs = [
            FieldSpec::new("limits.usd_daily", "Daily budget", "", FieldKind::Usd),
            FieldSpec::new("models", "Allowed models", "", FieldKind::Lines),
            FieldSpec::new("proxy_url", "Proxy", "", FieldKind::OptionalText),
        ];
        for (message, expected) in [
            (
                "`proxy_url` is bound; to change it, send `credential` again in the same request",
                "“Proxy” is bound; to change it, use the form “Replace the credential” below",
            ),
            ("`limits.usd_daily`: expected a number", "“Daily budget”: expected a number"),
            ("`models[1]`: expected a pattern", "“Allowed models”: expected a pattern"),
            ("`limits` is missing; see `name`", "“Daily budget” is missing; see `name`"),
            (
                "`limits.usd_daily`: expected 0 or more, or null for no limit",
                "“Daily budget”: expected 0 or more, or leave it empty for no limit",
            ),
        ] {
            assert_eq!(in_labels(message, &specs), expected);
        }
    }

    #[test]
    fn malformed_pairs_name_the_line() {
        let specs = [FieldSpec::new("map", "Model mapping", "", FieldKind::Pairs)];
        let check = |lines: &str| {
            let values = FormValues(vec![("map".to_owned(), lines.to_owned())]);
            check_values(&specs, &values)
        };
        let problem = |text: &str| Err(format!("“Model mapping”: {text}"));
        assert_eq!(check("a = b\r\n\r\n c=d "), Ok(()));
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("foo"), problem("line 1 `foo` must be `requested = served`"));
        assert_eq!(check("a = b\n=x"), problem("line 2 `=x`: the name before `=` is empty"));
        assert_eq!(check("a ="), problem("line 1 `a =`: the name after `=` is empty"));
    }

    #[test]
    fn unchanged_form_sends_no_changes() {
        let view = json!({
            "name": "ci", "user_id": null, "weight": 5, "models": ["a"], "map": {"a": "b"},
            "enabled": true, "expires_at": "2026-12-31T00:00:00.5Z",
            "limits": {"usd_daily": "1.500000000000", "concurrency": null},
        });
        let fields: Vec<(String, String)> = specs()
            .iter()
            .map(|spec| spec.field(&view))
            .map(|field| (field.name.to_owned(), field.value))
            .collect();
        assert_eq!(collect_changes(&specs(), &FormValues(fields.clone()), &view), json!({}));

        let mut fields = fields;
        fields.retain(|(name, _)| name != "enabled");
        for (name, value) in &mut fields {
            match name.as_str() {
                "user_id" => *value = "usr_1".into(),
                "limits.usd_daily" => value.clear(),
                _ => {}
            }
        }
        let expected = json!({
            "user_id": "usr_1", "enabled": false,
            "limits": {"usd_daily": null, "concurrency": null},
        });
        assert_eq!(collect_changes(&specs(), &FormValues(fields), &view), expected);
    }
}
