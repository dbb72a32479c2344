//! The phases of a run with their times, for the report and for whoever watches the log.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::clock;
use crate::facts::TimelineFact;

/// Records phases. They may overlap, as pods start while checks run.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    open: Vec<(&'static str, DateTime<Utc>, Instant)>,
    closed: Vec<TimelineFact>,
}

impl Timeline {
    /// A phase begins.
    pub(super) fn begin(&mut self, name: &'static str) {
        tracing::info!(phase = name, "began");
        self.open.push((name, clock::now(), Instant::now()));
    }

    /// A phase ends; one that never began does not.
    pub(super) fn end(&mut self, name: &str) {
        self.end_at(name, Instant::now());
    }

    /// A phase has ended at `instant`.
    pub(super) fn end_at(&mut self, name: &str, instant: Instant) {
        let Some(index) = self.open.iter().position(|(open, ..)| *open == name) else {
            return;
        };
        let (name, started_at, since) = self.open.remove(index);
        let duration = instant.saturating_duration_since(since);
        tracing::info!(phase = name, seconds = duration.as_secs_f32(), "ended");
        self.closed.push(fact(name, started_at, duration));
    }

    /// All phases in order of their start; those that have not ended last until now.
    pub(super) fn facts(&self) -> Vec<TimelineFact> {
        let open = self
            .open
            .iter()
            .map(|(name, at, since)| fact(name, *at, since.elapsed()));
        let mut all: Vec<TimelineFact> = self.closed.iter().cloned().chain(open).collect();
        all.sort_by_key(|phase| phase.started_at);
        all
    }
}

fn fact(name: &str, started_at: DateTime<Utc>, duration: Duration) -> TimelineFact {
    TimelineFact {
        name: name.to_owned(),
        started_at,
        duration,
    }
}
