//! `baton redrive`: usage that could not be stored is sent again, until all of it is.

use super::Desk;
use crate::Fail;
use crate::say::say;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Records that one request carries.
const AT_ONCE: usize = 100;

/// Sends all dead letters back, or the records in a log `file`.
pub(crate) async fn run(desk: &Desk, file: Option<&Path>) -> Result<(), Fail> {
    let (moved, left) = match file {
        Some(file) => from_log(desk, file).await?,
        None => from_dead_letters(desk).await?,
    };
    let result = json!({ "moved": moved, "left": left });
    desk.screen.show(&result, || say(format!("{moved} sent again, {left} dead letters left")));
    Ok(())
}

/// What is there now, and not what comes back meanwhile because it still cannot be stored.
async fn from_dead_letters(desk: &Desk) -> Result<(u64, u64), Fail> {
    let mut total = 0;
    loop {
        let answer = desk.admin.post(&["usage", "redrive"], &json!({})).await?;
        let (moved, left) = counts(&answer);
        total += moved;
        if moved == 0 || left == 0 {
            return Ok((total, left));
        }
    }
}

async fn from_log(desk: &Desk, file: &Path) -> Result<(u64, u64), Fail> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Fail::Failed(format!("cannot read {}: {error}", file.display())))?;
    let records: Vec<Value> = text.lines().filter_map(record_in).collect();
    let (mut total, mut left) = (0, 0);
    for some in records.chunks(AT_ONCE) {
        let answer = desk.admin.post(&["usage", "redrive"], &json!({ "records": some })).await?;
        let (moved, dead) = counts(&answer);
        (total, left) = (total + moved, dead);
    }
    Ok((total, left))
}

fn counts(answer: &Value) -> (u64, u64) {
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    (count("moved"), count("left"))
}

/// The record in a line of the log, in either of its formats.
fn record_in(line: &str) -> Option<Value> {
    if let Ok(fields) = serde_json::from_str::<Map<String, Value>>(line) {
        return serde_json::from_str(fields.get("usage_record")?.as_str()?).ok();
    }
    let rest = line.split_once("usage_record=")?.1;
    serde_json::Deserializer::from_str(rest).into_iter().next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_in_both_formats_of_the_log() {
        let json = r#"{"level":"ERROR","usage_record":"{\"v\":1,\"id\":\"req_1\"}"}"#;
        let text = r#"2026-11-22T21:00:00Z ERROR lost request_id=req_1 usage_record={"v":1,"id":"req_1"} at=x"#;
        for line in [json, text] {
            assert_eq!(record_in(line), Some(json!({ "v": 1, "id": "req_1" })), "{line}");
        }
        assert_eq!(record_in("INFO served request_id=req_1"), None);
    }
}
