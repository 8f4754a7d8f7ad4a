//! `baton redrive`: sends usage records that could not be stored again, until all of them are sent.
//!
//! A log also contains text of clients and upstreams. Therefore only text that Baton has signed
//! counts as a record, and the admin API checks the signature.

use super::CliContext;
use super::admin_client::read_answer;
use crate::CliError;
use crate::output::{print_line, remark};
use baton_api::usage::{RedriveReport, RedriveRequest};
use baton_runtime::signed_record::{BEGINNING, FIELD};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The most records in one request, and the most bytes of them unless a single record is larger.
const RECORDS_MAX: usize = 100;
const BYTES_MAX: usize = 256 * 1024;
/// How many lines that are not sent are listed one by one.
const LISTED_LINES_MAX: usize = 20;

/// Sends all dead letters back to the queue, or the records in the log `file`.
pub(crate) async fn run_redrive(context: &CliContext, file: Option<&Path>) -> Result<(), CliError> {
    let RedriveOutcome { moved, remaining, refused } = match file {
        Some(file) => redrive_log(context, file).await?,
        None => redrive_dead_letters(context).await?,
    };
    let result = json!({ "moved": moved, "left": remaining, "refused": refused });
    context
        .printer
        .show(&result, || print_line(format!("{moved} sent again, {remaining} dead letters left")));
    if refused.is_empty() {
        return Ok(());
    }
    for line in refused.iter().take(LISTED_LINES_MAX) {
        remark(format!("line {}: {}", line["line"], line["reason"].as_str().unwrap_or_default()));
    }
    let count = refused.len();
    Err(CliError::Failed(format!("{count} lines with a usage record were not sent again")))
}

/// What was sent again and what was not.
struct RedriveOutcome {
    moved: usize,
    /// Dead letters that are left.
    remaining: u64,
    /// Lines of the log whose record was not sent, each with the reason.
    refused: Vec<Value>,
}

/// Sends the dead letters that are there now, but not those that return meanwhile because they
/// still cannot be stored.
async fn redrive_dead_letters(context: &CliContext) -> Result<RedriveOutcome, CliError> {
    let mut total = 0;
    loop {
        let response = context.admin.post(&["usage", "redrive"], &json!({})).await?;
        let RedriveReport { moved, left, .. } = read_answer(&response)?;
        total += moved;
        if moved == 0 || left == 0 {
            return Ok(RedriveOutcome { moved: total, remaining: left, refused: Vec::new() });
        }
    }
}

async fn redrive_log(context: &CliContext, file: &Path) -> Result<RedriveOutcome, CliError> {
    let bytes = std::fs::read(file)
        .map_err(|error| CliError::Failed(format!("cannot read {}: {error}", file.display())))?;
    let text = String::from_utf8_lossy(&bytes);
    let (mut records, mut refused) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        match find_record(line) {
            LogRecord::Nothing => {}
            LogRecord::Signed(record) => records.push((number, record)),
            LogRecord::Unsigned => refused.push(refusal(
                number,
                "the field `usage_record` is not a record that Baton signed",
            )),
        }
    }
    if records.is_empty() && refused.is_empty() {
        let file = file.display();
        return Err(CliError::Failed(format!(
            "{file} has no usage record; nothing was sent again"
        )));
    }
    let (mut moved, mut remaining) = (0, 0);
    for chunk in chunks(&records) {
        let records = chunk.iter().map(|(_, record)| record.clone()).collect();
        let request = RedriveRequest { records, ..RedriveRequest::default() };
        let response = context.admin.post(&["usage", "redrive"], &request).await?;
        let report: RedriveReport = read_answer(&response)?;
        (moved, remaining) = (moved + report.moved, report.left);
        for record in report.refused {
            let line = chunk.get(record.index).map_or(0, |(number, _)| *number);
            refused.push(refusal(line, &record.reason));
        }
    }
    refused.sort_by_key(|one| one["line"].as_u64());
    Ok(RedriveOutcome { moved, remaining, refused })
}

fn refusal(line: usize, reason: &str) -> Value {
    json!({ "line": line, "reason": reason })
}

/// Splits the records into portions for one request each.
fn chunks(records: &[(usize, String)]) -> Vec<&[(usize, String)]> {
    let (mut chunks, mut rest) = (Vec::new(), records);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |(_, record): &&(usize, String)| {
            bytes += record.len();
            bytes <= BYTES_MAX
        };
        let count = rest.iter().take(RECORDS_MAX).take_while(fits).count().max(1);
        let (chunk, others) = rest.split_at(count);
        chunks.push(chunk);
        rest = others;
    }
    chunks
}

/// The usage record in a line of the log.
#[derive(Debug, PartialEq, Eq)]
enum LogRecord {
    Nothing,
    /// The field, in the form of a signed record.
    Signed(String),
    /// The field, in another form.
    Unsigned,
}

/// Finds the record in a line of the log, in either log format, with any prefix before the line.
fn find_record(line: &str) -> LogRecord {
    let object = line.find('{').and_then(|index| line.get(index..));
    let fields = object.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let in_json = fields.as_ref().and_then(|fields| fields.get(FIELD));
    let in_json = in_json.map(|value| value.as_str().unwrap_or_default());
    match in_json.or_else(|| value_in_text(line)) {
        None => LogRecord::Nothing,
        Some(value) if is_signed(value) => LogRecord::Signed(value.to_owned()),
        Some(_) => LogRecord::Unsigned,
    }
}

/// The value of the field in a text line. Quoted parts are skipped because they hold text of
/// others.
fn value_in_text(line: &str) -> Option<&str> {
    let (mut is_quoted, mut is_escaped, mut is_start) = (false, false, true);
    for (index, character) in line.char_indices() {
        if is_start && !is_quoted {
            let value =
                line.get(index..)?.strip_prefix(FIELD).and_then(|rest| rest.strip_prefix('='));
            if let Some(value) = value {
                return value.split(' ').next();
            }
        }
        is_start = character == ' ';
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
    }
    None
}

fn is_signed(value: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
    };
    let parts = value.strip_prefix(BEGINNING).and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(record, signature)| is_part(record) && is_part(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_found_in_text_and_json_logs() {
        let signed = || LogRecord::Signed("ur1.eyJ2IjoxfQ.c2ln+/".to_owned());
        for (line, found) in [
            (r#"{"level":"ERROR","usage_record":"ur1.eyJ2IjoxfQ.c2ln+/"}"#, signed()),
            (r#"2026-11-22T21:00:00Z app {"usage_record":"ur1.eyJ2IjoxfQ.c2ln+/"}"#, signed()),
            (
                "2026-11-22T21:00:00Z ERROR request{request_id=req_1}: lost request_id=req_1 usage_record=ur1.eyJ2IjoxfQ.c2ln+/ at=x",
                signed(),
            ),
            (r#"ERROR "a = \"b\" in" model="x y" usage_record=ur1.eyJ2IjoxfQ.c2ln+/"#, signed()),
            ("usage_record=ur1.eyJ2IjoxfQ.c2ln+/", signed()),
            ("INFO served request_id=req_1", LogRecord::Nothing),
            (
                r#"INFO "no (usage_record={\"v\":1} usage_record=ur1.e.s)" status=400"#,
                LogRecord::Nothing,
            ),
            (
                r#"INFO served model="x usage_record=ur1.e.s \" usage_record=ur1.e.s""#,
                LogRecord::Nothing,
            ),
            (
                r#"{"message":"no (usage_record=ur1.e.s)","model":"\"usage_record\":\"ur1.e.s\""}"#,
                LogRecord::Nothing,
            ),
            (r#"ERROR lost usage_record={"v":1,"id":"req_1"} at=x"#, LogRecord::Unsigned),
            (r#"ERROR lost usage_record={"v":1,"id":"req_1"}"#, LogRecord::Unsigned),
            (r#"ERROR lost usage_record="{\"v\":1}""#, LogRecord::Unsigned),
            ("ERROR lost usage_record=ur1.eyJ2IjoxfQ", LogRecord::Unsigned),
            ("ERROR lost usage_record=ur1.eyJ2Ijox…", LogRecord::Unsigned),
            ("ERROR lost usage_record=", LogRecord::Unsigned),
            (r#"{"level":"ERROR","usage_record":"{\"v\":1}"}"#, LogRecord::Unsigned),
            (r#"{"level":"ERROR","usage_record":{"v":1}}"#, LogRecord::Unsigned),
        ] {
            assert_eq!(find_record(line), found, "{line}");
        }
    }

    #[test]
    fn requests_are_bounded_in_size() {
        let record = |bytes: usize| (1, "r".repeat(bytes));
        let sizes = |records: &[(usize, String)]| {
            chunks(records).iter().map(|chunk| chunk.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), [] as [usize; 0]);
        assert_eq!(sizes(&vec![record(900); 250]), [100, 100, 50]);
        assert_eq!(sizes(&vec![record(100 * 1024); 5]), [2, 2, 1]);
        assert_eq!(sizes(&[record(1), record(BYTES_MAX + 1), record(1)]), [1, 1, 1]);
    }
}
