//! Everything that is wrong with a request, each with the path of the field.

use std::fmt;
use std::time::Duration;

use super::syntax::Checked;
use crate::api;
use crate::facts::{Reason, Stop};

/// One mistake in a `RestoreTest` or in its policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlanError {
    /// The field, `spec.x.y[0]`; of a policy with `HealthCheckPolicy <name> ` in front.
    pub path: String,
    /// What is wrong with it, for a person.
    pub message: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for PlanError {}

/// The end of a run whose request is wrong: all mistakes in one message.
pub fn invalid_spec(errors: &[PlanError]) -> Stop {
    let texts: Vec<String> = errors.iter().map(PlanError::to_string).collect();
    Stop::new(Reason::InvalidSpec, texts.join("; "))
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<PlanError>);

impl Problems {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(PlanError {
            path: path.into(),
            message: message.into(),
        });
    }

    /// Takes in the outcome of one check.
    pub(super) fn check(&mut self, path: impl Into<String>, outcome: Checked) {
        if let Err(message) = outcome {
            self.add(path, message);
        }
    }

    /// An optional field.
    pub(super) fn check_if(&mut self, path: &str, value: Option<&String>, check: impl Fn(&str) -> Checked) {
        if let Some(value) = value {
            self.check(path, check(value));
        }
    }

    /// The number of entries of a list or map.
    pub(super) fn count(&mut self, path: &str, count: usize, min: usize, max: usize) {
        if !(min..=max).contains(&count) {
            let range = if min == 0 {
                format!("at most {max}")
            } else {
                format!("from {min} to {max}")
            };
            self.add(path, format!("must have {range} entries, has {count}"));
        }
    }

    /// A number.
    pub(super) fn range<N: Copy + PartialOrd + fmt::Display>(&mut self, path: &str, value: N, min: N, max: N) {
        if value < min || value > max {
            self.add(path, format!("must be from {min} to {max}, is {value}"));
        }
    }

    /// A time that must not be none, up to a limit.
    pub(super) fn time(&mut self, path: &str, value: api::Duration, max_hours: u64) {
        if value.0.is_zero() {
            self.add(path, "must be more than 0s");
        }
        self.time_or_none(path, value, max_hours);
    }

    /// A time up to a limit.
    pub(super) fn time_or_none(&mut self, path: &str, value: api::Duration, max_hours: u64) {
        if value.0 > Duration::from_secs(max_hours * 3600) {
            self.add(path, format!("must be at most {max_hours}h, is {value}"));
        }
    }
}
