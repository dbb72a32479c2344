//! One JSON line for each request, and for each time the API server goes away or comes back.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::{Method, Uri};
use serde_json::{Value, json};

use crate::draw::{Asked, Fault};

/// Written as it goes, so that a run that hangs can be looked at.
pub(crate) struct Journal {
    file: Mutex<File>,
    began: Instant,
    number: AtomicU64,
}

/// A request that has no answer yet.
pub(crate) struct Entry {
    line: Value,
}

impl Entry {
    /// Which request it is, in the words of an outage: `request 57`.
    pub(crate) fn number(&self) -> String {
        format!("request {}", self.line["n"])
    }
}

impl Journal {
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            file: Mutex::new(File::create(path)?),
            began: Instant::now(),
            number: AtomicU64::new(1),
        })
    }

    /// A request has come.
    pub(crate) fn asked(&self, method: &Method, uri: &Uri, asked: &Asked, nth: u64, fault: Option<Fault>) -> Entry {
        let n = self.number.fetch_add(1, Ordering::Relaxed);
        Entry {
            line: json!({"n": n, "ms": self.elapsed(), "asked": asked.words, "nth": nth,
                "fault": fault.map(|fault| fault.kind.name()), "method": method.as_str(), "path": uri.to_string()}),
        }
    }

    /// What became of it: a status, or words.
    pub(crate) fn done(&self, mut entry: Entry, status: impl Into<Value>) {
        entry.line["status"] = status.into();
        entry.line["took"] = json!(self.elapsed().saturating_sub(entry.line["ms"].as_u64().unwrap_or(0)));
        self.write(&entry.line);
    }

    pub(crate) fn away(&self, away: bool) {
        self.write(&json!({"ms": self.elapsed(), "away": away}));
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn write(&self, line: &Value) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A journal that cannot be written must not change what the runner sees.
        drop(writeln!(file, "{line}"));
    }
}
