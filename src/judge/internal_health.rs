//! Level 4: did the checks of the policy pass?

use crate::api::limits::cut;
use crate::facts::{Brief, CheckFact, Facts, Status};
use crate::judge::level::{Level, first_few, share, weight::INTERNAL_HEALTH};

/// How much of a check's words the report's message repeats; all of them stand in `checks`.
const WORDS: usize = 300;

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
    let excluded: Vec<String> = excluded(facts)
        .map(|c| format!("{}: {}", c.name, c.message.trim_start_matches("Skipped: ")))
        .collect();
    let level = if passed == all {
        Level::pass(INTERNAL_HEALTH, format!("{passed}/{all} health checks passed"))
    } else if passed + excluded.len() == all {
        // What was tried passed, and what the drill itself keeps out is no failure; nor are its points earned.
        Level {
            points: share(INTERNAL_HEALTH, passed, all),
            ..Level::skip(format!(
                "{passed}/{all} checks passed, {} not tested: {}",
                excluded.len(),
                first_few(&excluded, 3)
            ))
        }
    } else {
        let mut skipped = match (not_tested.len() - excluded.len(), &facts.stop) {
            (0, _) => String::new(),
            (n, None) => format!(", {n} skipped due to upstream failure"),
            (n, Some(_)) => format!(", {n} not run because the run ended"),
        };
        if !excluded.is_empty() {
            skipped = format!("{skipped}, {} not tested: {}", excluded.len(), first_few(&excluded, 3));
        }
        Level::fail(
            share(INTERNAL_HEALTH, passed, all),
            format!("{passed}/{all} checks passed{skipped}"),
        )
    };
    level.tested(tested).not_tested(not_tested)
}

/// The checks whose targets the drill itself keeps out of the sandbox.
pub fn excluded(facts: &Facts) -> impl Iterator<Item = &CheckFact> {
    facts.checks.iter().filter(|c| c.status == Status::Skip && c.excluded)
}

/// The first check that failed, with its words.
pub fn first_failure(facts: &Facts) -> Option<String> {
    let first = facts.checks.iter().find(|c| c.status == Status::Fail)?;
    Some(if first.message.is_empty() {
        first.name.clone()
    } else {
        format!("{}: {}", first.name, cut(&first.message, WORDS))
    })
}

/// Has a check failed, or could it not be made, whose failure means that the application is not there?
pub fn critical_missed(brief: &Brief, facts: &Facts) -> bool {
    let critical = |name: &str| brief.checks.iter().flatten().any(|c| c.critical && c.name == name);
    facts
        .checks
        .iter()
        .any(|c| (c.status == Status::Fail || c.excluded) && critical(&c.name))
}
