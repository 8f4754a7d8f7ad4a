//! Exported files can be read back, cell by cell.

use super::*;
use baton_domain::id::{AccountId, GroupId, KeyId, RequestId};
use baton_domain::money::PicoUsd;
use baton_domain::record::RequestOutcome;
use baton_domain::usage::TokenCounts;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;

fn record(number: u64, model: &str) -> UsageRecord {
    UsageRecord {
        v: 1,
        id: RequestId::from_bits(u128::from(number)),
        started_at: "2026-11-22T21:05:30.125Z".parse().unwrap(),
        key_id: KeyId::from_bits(1),
        user_id: None,
        group_id: GroupId::from_bits(1),
        account_id: AccountId::from_bits(1),
        provider: "anthropic".into(),
        protocol: "anthropic_messages".into(),
        model: model.into(),
        upstream_model: model.into(),
        stream: true,
        status: 200,
        outcome: RequestOutcome::Complete,
        estimated: false,
        tokens: TokenCounts { input: number, output: 7, ..TokenCounts::default() },
        web_searches: 0,
        service_tier: None,
        inference_geo: None,
        speed: None,
        cost_usd: PicoUsd::new(1_234_567_890_123),
        price_version: "t".into(),
        ttft_ms: number.is_multiple_of(2).then_some(number),
        duration_ms: 2,
        attempts: 1,
        tried: Vec::new(),
        session_id: Some("s".into()),
        agent_id: None,
        iterations: Vec::new(),
        is_capped: false,
        is_highest_cost: false,
        reserved_usd: None,
        reserved_shared_limits: Vec::new(),
    }
}

#[test]
fn csv_quotes_special_fields_and_keeps_empty_ones() {
    let mut file = csv_file::header_line().unwrap();
    file.extend(csv_file::lines(&[record(4, "a,\"b\"\n"), record(5, "plain")]).unwrap());
    let mut reader = csv::Reader::from_reader(file.as_slice());
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let cell = |row: usize, name: &str| {
        let at = names.iter().position(|one| one == name).unwrap();
        rows[row].get(at).unwrap().to_owned()
    };
    assert_eq!(rows.len(), 2);
    assert_eq!(cell(0, "model"), "a,\"b\"\n");
    assert_eq!(cell(0, "started_at"), "2026-11-22T21:05:30.125Z");
    assert_eq!(cell(0, "cost_usd"), "1.234567890123");
    assert_eq!((cell(0, "ttft_ms"), cell(1, "ttft_ms")), ("4".to_owned(), String::new()));
    assert_eq!((cell(1, "user_id"), cell(1, "session_id")), (String::new(), "s".to_owned()));
}

#[test]
fn csv_has_no_formulas_and_numbers_stay_numbers() {
    let mut hostile = record(4, "=HYPERLINK(\"http://evil.example\")");
    hostile.upstream_model = "claude-opus-5-5".into();
    hostile.session_id = Some("\t=1".into());
    hostile.agent_id = Some("-1".into());
    hostile.cost_usd = PicoUsd::new(-1);
    let lines = csv_file::lines(&[hostile]).unwrap();
    let row = csv::ReaderBuilder::new().has_headers(false).from_reader(&*lines).records().next();
    let row = row.unwrap().unwrap();
    let cell = |name: &str| {
        let at = columns::COLUMNS.iter().position(|column| column.name == name).unwrap();
        row.get(at).unwrap().to_owned()
    };
    assert_eq!(cell("model"), "'=HYPERLINK(\"http://evil.example\")");
    assert_eq!(cell("upstream_model"), "claude-opus-5-5");
    assert_eq!((cell("session_id"), cell("agent_id")), ("'\t=1".to_owned(), "'-1".to_owned()));
    assert_eq!(cell("cost_usd"), "-0.000000000001", "a number is none");
}

#[test]
fn parquet_reads_back_over_several_row_groups() {
    let mut file = ParquetFile::new().unwrap();
    let mut bytes = Vec::new();
    for first in [0, 3] {
        let batch: Vec<UsageRecord> = (first..first + 3).map(|n| record(n, "m")).collect();
        bytes.extend(file.add(&batch).unwrap());
    }
    bytes.extend(file.finish().unwrap());
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 2);
    let mut rows = 0;
    for (number, row) in (0..).zip(reader.get_row_iter(None).unwrap()) {
        let row = row.unwrap();
        let cell = |name: &str| {
            let mut cells = row.get_column_iter();
            cells.find(|(column, _)| *column == name).map(|(_, value)| value.clone()).unwrap()
        };
        assert_eq!(cell("tokens_input"), Field::Long(number));
        assert_eq!(cell("model"), Field::Str("m".into()));
        assert_eq!(cell("stream"), Field::Bool(true));
        assert_eq!(cell("user_id"), Field::Null);
        let ttft = if number % 2 == 0 { Field::Long(number) } else { Field::Null };
        assert_eq!(cell("ttft_ms"), ttft);
        assert_eq!(cell("started_at").to_string(), "2026-11-22 21:05:30.125 +00:00");
        assert_eq!(cell("cost_usd").to_string(), "1.234567890123");
        rows += 1;
    }
    assert_eq!(rows, 6);
}

#[test]
fn empty_parquet_file_is_valid() {
    let bytes = ParquetFile::new().unwrap().finish().unwrap();
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    assert_eq!(reader.metadata().file_metadata().schema().get_fields().len(), 31);
}
