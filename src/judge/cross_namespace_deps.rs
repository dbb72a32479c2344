//! Level 5: does what the application needs outside its sandbox answer?

use crate::facts::{Brief, Facts, Status};
use crate::judge::level::{Level, first_few, share, weight::CROSS_NAMESPACE_DEPS};

/// Judges the dependencies; they are dialled only once the pods are up.
pub fn judge(brief: &Brief, facts: &Facts, pod_startup: Status) -> Level {
    let names = || brief.dependencies.iter().map(ToString::to_string).collect::<Vec<_>>();
    if pod_startup != Status::Pass {
        return Level::skip("Skipped: pod startup did not complete").not_tested(names());
    }
    if brief.dependencies.is_empty() {
        return Level::pass(CROSS_NAMESPACE_DEPS, "No cross-namespace dependencies declared");
    }
    let Some(dialled) = &facts.dependencies else {
        return Level::skip("Skipped: the run ended before the dependencies were dialled").not_tested(names());
    };
    let all = brief.dependencies.len();
    let reachable = dialled.iter().filter(|d| d.reachable).count();
    let tested = dialled.iter().map(|d| d.name.clone()).collect();
    if reachable == all {
        return Level::pass(CROSS_NAMESPACE_DEPS, format!("{all}/{all} dependencies reachable")).tested(tested);
    }
    let down = |d: &&crate::facts::DependencyFact| !d.reachable;
    let errors: Vec<String> = dialled
        .iter()
        .filter(down)
        .map(|d| format!("{}: {}", d.name, d.message))
        .collect();
    let detail = format!("{reachable}/{all} dependencies reachable: {}", first_few(&errors, 3));
    Level::fail(share(CROSS_NAMESPACE_DEPS, reachable, all), detail).tested(tested)
}
