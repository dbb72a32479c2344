//! Level 4: did the checks of the policy pass?

use crate::facts::{Brief, Facts, Status};
use crate::judge::level::{Level, share, weight::INTERNAL_HEALTH};

/// Judges the checks.
pub fn judge(brief: &Brief, facts: &Facts) -> Level {
    let Some(checks) = &brief.checks else {
        return Level::skip("No health checks: spec.healthChecks.policyRef is not set");
    };
    let names = || checks.iter().map(|c| c.name.clone());
    if facts.restore.is_none() {
        return Level::skip("Skipped: no restore was made").not_tested(names().collect());
    }
    if facts.checks.is_empty() {
        return Level::skip("Skipped: the run ended before the checks").not_tested(names().collect());
    }
    let status_of = |name: &String| facts.checks.iter().find(|c| c.name == *name).map(|c| c.status);
    let tested: Vec<String> = names()
        .filter(|n| matches!(status_of(n), Some(Status::Pass | Status::Fail)))
        .collect();
    let not_tested: Vec<String> = names().filter(|n| !tested.contains(n)).collect();
    let passed = tested.iter().filter(|n| status_of(n) == Some(Status::Pass)).count();
    let all = checks.len();
    let level = if passed == all {
        Level::pass(INTERNAL_HEALTH, format!("{passed}/{all} health checks passed"))
    } else {
        let skipped = match (not_tested.len(), &facts.stop) {
            (0, _) => String::new(),
            (n, None) => format!(", {n} skipped due to upstream failure"),
            (n, Some(_)) => format!(", {n} not run because the run ended"),
        };
        Level::fail(
            share(INTERNAL_HEALTH, passed, all),
            format!("{passed}/{all} checks passed{skipped}"),
        )
    };
    level.tested(tested).not_tested(not_tested)
}

/// Has a check failed whose failure means that the application is not there?
pub fn critical_failed(brief: &Brief, facts: &Facts) -> bool {
    let critical = |name: &str| brief.checks.iter().flatten().any(|c| c.critical && c.name == name);
    facts
        .checks
        .iter()
        .any(|c| c.status == Status::Fail && critical(&c.name))
}
