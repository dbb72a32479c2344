//! The only place that reads the clock.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// The time now, UTC.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// A wall-clock time tied to a monotonic instant, so that a clock step in mid-run changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    at: DateTime<Utc>,
    instant: Instant,
}

impl Anchor {
    /// `at` is the time now.
    pub fn new(at: DateTime<Utc>) -> Self {
        Self {
            at,
            instant: Instant::now(),
        }
    }

    /// The time of the anchor.
    pub fn at(&self) -> DateTime<Utc> {
        self.at
    }

    /// The anchor's instant.
    pub fn instant(&self) -> Instant {
        self.instant
    }

    /// Monotonic time since the anchor.
    pub fn elapsed(&self) -> Duration {
        self.instant.elapsed()
    }
}
