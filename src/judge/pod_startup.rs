//! Level 3: did everything that should run become ready, and stay so?

use crate::api::Duration;
use crate::facts::{Brief, Facts, KindFacts, PodFacts, WorkloadFacts};
use crate::judge::completeness::refused_on_purpose;
use crate::judge::level::{Level, first_few, name_in, seconds, share, weight::POD_STARTUP};

/// Judges the pods.
pub fn judge(brief: &Brief, facts: &Facts) -> Level {
    if facts.restore.is_none() {
        return Level::skip("Skipped: no restore was made");
    }
    let Some(pods) = &facts.pods else {
        return Level::skip("Skipped: the run ended before the pods were looked at");
    };
    let lost = lost_workloads(brief, facts);
    let (up, down): (Vec<&WorkloadFacts>, Vec<&WorkloadFacts>) =
        pods.workloads.iter().partition(|w| w.ready >= w.desired);
    let failed = failed_names(brief, pods);
    let held: Vec<String> = pods
        .held
        .iter()
        .cloned()
        .chain(refused_workloads(brief, facts))
        .collect();
    let refused = held.iter().map(|name| match pods.refusals.get(name) {
        Some(words) => format!("{name} (refused by the sandbox's rules: {words})"),
        None => format!("{name} (refused by the sandbox's rules)"),
    });
    let excluded: Vec<String> = pods
        .excluded
        .iter()
        .map(|e| format!("{} ({})", name_in(brief, &e.source, &e.name), e.reason))
        .collect();
    let not_tested: Vec<String> = failed
        .iter()
        .cloned()
        .chain(lost.iter().cloned())
        .chain(refused)
        .chain(excluded.iter().cloned())
        .collect();
    let tested = up
        .iter()
        .filter(|w| w.desired > 0)
        .map(|w| name_in(brief, &w.source, &w.name))
        .collect();

    let desired = pods.workloads.iter().map(|w| w.desired as usize).sum::<usize>() + lost.len();
    let mut ready = pods
        .workloads
        .iter()
        .map(|w| w.ready.min(w.desired) as usize)
        .sum::<usize>();
    if desired == 0 && pods.failures.is_empty() {
        // Before everything was listed and stayed so, that nothing should run is not known.
        if facts.stop.is_some() && !pods.stable {
            return Level::skip("Skipped: the run ended before it was known what should run").not_tested(not_tested);
        }
        let level = match (held.is_empty(), excluded.is_empty()) {
            (true, true) => Level::pass(POD_STARTUP, "No workloads in the backup that should run"),
            (false, true) => Level::skip("Skipped: every pod is refused by the sandbox's rules"),
            (_, false) => Level::skip(format!(
                "Skipped: no pod was left to wait for: {}",
                first_few(&excluded, 3)
            )),
        };
        return level.not_tested(not_tested);
    }
    // A pod that fell back, or one that belongs to no workload, counts against the workloads that look ready.
    if down.is_empty() {
        ready = ready.saturating_sub(failed.len());
    }
    let good = ready == desired && lost.is_empty() && pods.failures.is_empty() && pods.stable;
    let level = if good {
        let within = pods.ready_after.unwrap_or(pods.waited);
        Level::pass(
            POD_STARTUP,
            format!(
                "All pods reached Ready state within {}",
                Duration::from(seconds(within))
            ),
        )
    } else {
        Level::fail(
            share(POD_STARTUP, ready, desired).min(POD_STARTUP - 1),
            detail(facts, pods, &lost, ready, desired),
        )
    };
    level.tested(tested).not_tested(not_tested)
}

fn detail(facts: &Facts, pods: &PodFacts, lost: &[String], ready: usize, desired: usize) -> String {
    let causes: Vec<String> = pods
        .failures
        .iter()
        .map(|f| f.cause.clone())
        .chain(lost.iter().map(|l| format!("{l} was not restored")))
        .collect();
    let how_long = Duration::from(seconds(pods.waited));
    // All were ready once, so how long that was waited for explains nothing.
    let fell_back = pods.ready_after.is_some() && lost.is_empty();
    let end = match (&facts.stop, pods.certain) {
        (Some(_), _) => format!("ready when the run ended after {how_long}"),
        (None, true) => "ready, and waiting longer cannot help".to_owned(),
        (None, false) if fell_back => "stayed ready".to_owned(),
        (None, false) => format!("ready after {how_long}"),
    };
    let head = format!("{ready}/{desired} pods {end}");
    if causes.is_empty() && facts.stop.is_some() {
        return format!("{head}; whether they stay ready was not seen");
    }
    if causes.is_empty() {
        return format!("{head}; a pod did not stay ready");
    }
    format!("{head}: {}", first_few(&causes, 3))
}

/// What should have run, or may have, and was not looked at.
pub fn left_out(brief: &Brief, facts: &Facts) -> Vec<String> {
    let Some(pods) = facts.pods.as_ref().filter(|_| facts.restore.is_some()) else {
        return Vec::new();
    };
    let excluded = pods.excluded.iter().map(|e| name_in(brief, &e.source, &e.name));
    let mut names: Vec<String> = pods.held.iter().cloned().chain(excluded).collect();
    names.extend(refused_workloads(brief, facts));
    names.sort();
    names.dedup();
    names
}

fn failed_names(brief: &Brief, pods: &PodFacts) -> Vec<String> {
    let mut names: Vec<String> = pods
        .failures
        .iter()
        .map(|f| name_in(brief, &f.source, &f.name))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Kinds of which every object of the backup should come back and run pods.
fn runs_pods(kind: &KindFacts) -> bool {
    let apps = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"];
    (kind.group == "apps" && apps.contains(&kind.kind.as_str()))
        || (kind.group.is_empty() && kind.kind == "ReplicationController")
}

/// Workloads of the backup for which this holds.
fn workloads(brief: &Brief, facts: &Facts, which: impl Fn(&KindFacts, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for kind in facts.objects.iter().flat_map(|o| &o.kinds).filter(|k| runs_pods(k)) {
        let names = kind.expected.iter().filter(|name| which(kind, name));
        found.extend(names.map(|name| name_in(brief, &kind.source, &format!("{}/{name}", kind.kind))));
    }
    found
}

/// Workloads of the backup that are not in the sandbox: they want pods that nobody asks for.
fn lost_workloads(brief: &Brief, facts: &Facts) -> Vec<String> {
    workloads(brief, facts, |kind, name| {
        let is = |names: &[String]| names.iter().any(|other| other == name);
        let gone = kind.present.as_ref().is_some_and(|present| !is(present)) || is(&kind.vanished);
        gone && !refused_on_purpose(facts, kind, name)
    })
}

/// Workloads that our own policies refused.
fn refused_workloads(brief: &Brief, facts: &Facts) -> Vec<String> {
    workloads(brief, facts, |kind, name| refused_on_purpose(facts, kind, name))
}
