//! A run's [`Brief`] and [`Facts`] with what else its report is made of, so that its verdict can be replayed.
//!
//! A run makes its report with [`Record::judge`], and so does whoever replays it: the two cannot drift apart.
//!
//! A record holds no secret, because nothing that goes into it was read from one: of restored objects it has kinds and names,
//! numbers and times; Secrets are known by name alone; its texts are those that the report shows (answers and output of checks,
//! causes of pods, errors of the provider).

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Verdict, judge, status};
use crate::api::{RestoreReportStatus, RunnerInfo};
use crate::facts::{Brief, Facts};

/// Target under which a run logs its record, at level DEBUG, in the field `record`.
pub const TARGET: &str = "kymaros_runner::facts";

/// Everything that a report is made of. Written and read as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record<'a> {
    /// What the run was asked to prove.
    pub brief: Cow<'a, Brief>,
    /// What it saw.
    pub facts: Cow<'a, Facts>,
    /// The program that ran.
    pub runner: RunnerInfo,
    /// When the verdict was taken: the time of the conditions, and the end of a run that never created a Restore.
    pub judged_at: DateTime<Utc>,
}

impl Record<'_> {
    /// The verdict, and the status of the report that says it.
    pub fn judge(&self) -> (Verdict, RestoreReportStatus) {
        let verdict = judge(&self.brief, &self.facts);
        let status = status::status(&self.brief, &self.facts, &verdict, self.runner.clone(), self.judged_at);
        (verdict, status)
    }
}
