//! A recorded run replays to the report that was written: `tests/fixtures/record-*.json` beside `record-*.report.json`.
//!
//! `UPDATE_REPLAY=1 cargo test --test replay` writes the reports anew after the judge has changed; the difference is then for
//! the reviewer to see.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "a test program's settings")]

use std::fs;
use std::path::{Path, PathBuf};

use kymaros_runner::judge::record::Record;
use serde_json::Value;

fn records() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut records: Vec<PathBuf> = files
        .filter(|file| {
            let name = file.file_name().unwrap().to_string_lossy();
            name.starts_with("record-") && name.ends_with(".json") && !name.ends_with(".report.json")
        })
        .collect();
    records.sort();
    records
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

#[test]
fn a_recorded_run_replays_to_its_report() {
    let records = records();
    assert!(!records.is_empty(), "no record: is the name in this test out of date?");
    for file in records {
        let record: Record<'_> =
            serde_json::from_str(&read(&file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let (_, status) = record.judge();
        let status = serde_json::to_value(status).unwrap();
        let committed = file.with_extension("report.json");
        if std::env::var("UPDATE_REPLAY").is_ok() {
            fs::write(&committed, format!("{status:#}\n")).unwrap();
        }
        let expected: Value = serde_json::from_str(&read(&committed)).unwrap();
        assert_eq!(status, expected, "{}", committed.display());
    }
}

/// What is written is what was read, so a record can be kept and passed on.
#[test]
fn a_record_survives_being_written_and_read() {
    for file in records() {
        let record: Record<'_> = serde_json::from_str(&read(&file)).unwrap();
        let written = serde_json::to_value(&record).unwrap();
        let again: Record<'_> = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), written);
        assert_eq!(again.judge(), record.judge());
    }
}
