//! What judging a level comes to, and the words that several levels share.

use std::time::Duration;

use crate::api::Target;
use crate::facts::{Brief, Status};

/// The verdict on one level.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Its outcome.
    pub status: Status,
    /// Points earned.
    pub points: u32,
    /// One or two sentences for a person.
    pub detail: String,
    /// What was looked at.
    pub tested: Vec<String>,
    /// What should have been looked at and was not.
    pub not_tested: Vec<String>,
}

impl Level {
    /// Passed, with `points`.
    pub fn pass(points: u32, detail: impl Into<String>) -> Self {
        Self::new(Status::Pass, points, detail)
    }

    /// Failed, with what it earned all the same.
    pub fn fail(points: u32, detail: impl Into<String>) -> Self {
        Self::new(Status::Fail, points, detail)
    }

    /// Not looked at: earns nothing.
    pub fn skip(detail: impl Into<String>) -> Self {
        Self::new(Status::Skip, 0, detail)
    }

    fn new(status: Status, points: u32, detail: impl Into<String>) -> Self {
        Self {
            status,
            points,
            detail: detail.into(),
            tested: Vec::new(),
            not_tested: Vec::new(),
        }
    }

    /// Adds what may be the reason.
    pub fn explain(&mut self, hint: Option<String>) {
        if let Some(hint) = hint {
            self.detail = format!("{}; {hint}", self.detail);
        }
    }

    /// With the list of what was looked at.
    #[must_use]
    pub fn tested(mut self, tested: Vec<String>) -> Self {
        self.tested = tested;
        self
    }

    /// With the list of what was not.
    #[must_use]
    pub fn not_tested(mut self, not_tested: Vec<String>) -> Self {
        self.not_tested = not_tested;
        self
    }
}

/// Full marks of each level; they add up to 100.
pub mod weight {
    /// `restoreIntegrity`
    pub const RESTORE_INTEGRITY: u32 = 25;
    /// `completeness`
    pub const COMPLETENESS: u32 = 20;
    /// `podStartup`
    pub const POD_STARTUP: u32 = 20;
    /// `internalHealth`
    pub const INTERNAL_HEALTH: u32 = 20;
    /// `crossNamespaceDeps`
    pub const CROSS_NAMESPACE_DEPS: u32 = 10;
    /// `rtoCompliance`
    pub const RTO_COMPLIANCE: u32 = 5;
}

/// `⌊weight · part / whole⌋`; full marks for nothing out of nothing.
pub fn share(weight: u32, part: usize, whole: usize) -> u32 {
    if whole == 0 || part >= whole {
        return weight;
    }
    // Never rounded up to the full marks, however many objects there are.
    let points = u128::from(weight) * part as u128 / whole as u128;
    u32::try_from(points).unwrap_or(0)
}

/// A name as the report gives it: with its source namespace in front where there are several.
pub fn name_in(brief: &Brief, source: &str, name: &str) -> String {
    if brief.sources.len() > 1 {
        format!("{source}/{name}")
    } else {
        name.to_owned()
    }
}

/// The first few of a list, and how many more there are.
pub fn first_few(items: &[String], most: usize) -> String {
    let shown = items.iter().take(most).cloned().collect::<Vec<_>>().join("; ");
    match items.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{shown}; and {more} more"),
        _ => shown,
    }
}

/// `sla.maxRTO`, as the test writes it.
pub fn max_rto(brief: &Brief) -> Option<Target> {
    let written = brief.max_rto_written.as_deref();
    brief.max_rto.map(|time| Target::new(time, written))
}

/// `sla.maxBackupAge`, as the test writes it.
pub fn max_backup_age(brief: &Brief) -> Option<Target> {
    let written = brief.max_backup_age_written.as_deref();
    brief.max_backup_age.map(|time| Target::new(time, written))
}

/// Whole seconds, as reports give measured times.
pub fn seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_and_never_full_while_something_is_missing() {
        assert_eq!(share(20, 2, 3), 13);
        assert_eq!(share(20, 999, 1000), 19);
        assert_eq!(share(20, 0, 3), 0);
        assert_eq!(share(20, 3, 3), 20);
        assert_eq!(share(20, 0, 0), 20);
        assert_eq!(share(10, 1, 3), 3);
    }

    #[test]
    fn weights_add_up_to_a_hundred() {
        use weight::*;
        let all =
            RESTORE_INTEGRITY + COMPLETENESS + POD_STARTUP + INTERNAL_HEALTH + CROSS_NAMESPACE_DEPS + RTO_COMPLIANCE;
        assert_eq!(all, 100);
    }

    #[test]
    fn long_lists_say_how_many_more() {
        let items: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        assert_eq!(first_few(&items, 2), "a; b; and 1 more");
        assert_eq!(first_few(&items, 3), "a; b; c");
    }
}
