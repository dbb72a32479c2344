//! The verdict: `(Brief, Facts) → Verdict`, pure. It cannot fetch, wait or read the clock.
//!
//! Each level has a file of its own; this one adds their points up, caps the sum so that a score cannot hide a failure, and
//! says in one sentence why and what next. [`status`] puts it all into the report's form, and [`record`] keeps what a verdict was
//! made of.

mod classes;
pub mod completeness;
pub mod cross_namespace_deps;
mod denied;
pub mod internal_health;
pub mod level;
mod not_in_backup;
mod outside;
pub mod pod_startup;
pub mod record;
pub mod restore_integrity;
pub mod rto_compliance;
pub mod status;

use crate::api::{Duration, Outcome};
use crate::facts::{Brief, Facts, Fault, Isolation, Reason, Status, Stop};
use completeness::Completeness;
use level::{Level, first_few, max_backup_age, seconds, weight};

/// A score from here on is a pass.
pub const PASS: u32 = 90;
/// A score from here on is partial, below it a fail.
pub const PARTIAL: u32 = 70;

/// The whole verdict of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// 0 to 100.
    pub score: u32,
    /// What the score comes to.
    pub outcome: Outcome,
    /// The cap that lowered the score, and why it applies.
    pub cap: Option<(u32, String)>,
    /// The six levels in their order, with the weight of each.
    pub levels: [(&'static str, u32, Level); 6],
    /// What completeness found besides its level.
    pub completeness: Completeness,
    /// Why the run ended early, with what follows from the facts taken in.
    pub stop: Option<Stop>,
    /// The run says something about the backup.
    pub conclusive: bool,
    /// One word: why the verdict is what it is.
    pub reason: String,
    /// One sentence: why, and what next.
    pub message: String,
    /// The age of the backup is within `sla.maxBackupAge`; `None` without a target or a backup.
    pub fresh: Option<bool>,
    /// `backup.age` and `rpo.measured`; `None` without a backup.
    pub age: Option<std::time::Duration>,
}

/// Judges a run.
pub fn judge(brief: &Brief, facts: &Facts) -> Verdict {
    let stop = effective_stop(brief, facts);
    let facts = &Facts {
        stop: stop.clone(),
        ..facts.clone()
    };
    let integrity = restore_integrity::judge(facts);
    let completeness = completeness::judge(brief, facts);
    let mut startup = pod_startup::judge(brief, facts);
    let mut health = internal_health::judge(brief, facts);
    if startup.status == Status::Fail {
        startup.explain(denied::of_pods(brief, facts));
    } else if health.status == Status::Fail {
        health.explain(denied::of_checks(brief, facts));
    }
    let deps = cross_namespace_deps::judge(brief, facts, startup.status);
    let critical_missed = internal_health::critical_missed(brief, facts);
    let recovered = rto_compliance::recovered(facts, integrity.status, startup.status, critical_missed);
    let rto = rto_compliance::judge(brief, facts, recovered);
    let levels = [
        ("restoreIntegrity", weight::RESTORE_INTEGRITY, integrity),
        ("completeness", weight::COMPLETENESS, completeness.level.clone()),
        ("podStartup", weight::POD_STARTUP, startup),
        ("internalHealth", weight::INTERNAL_HEALTH, health),
        ("crossNamespaceDeps", weight::CROSS_NAMESPACE_DEPS, deps),
        ("rtoCompliance", weight::RTO_COMPLIANCE, rto),
    ];

    let age = age(facts);
    let fresh = age.zip(brief.max_backup_age).map(|(age, target)| age <= target);
    let conclusive = stop.as_ref().is_none_or(|s| s.reason.is_conclusive());
    let sum: u32 = if facts.restore.is_some() {
        levels.iter().map(|(_, _, l)| l.points).sum()
    } else {
        0
    };
    let cap = cap(facts, &levels, conclusive, fresh).filter(|(value, _)| *value < sum);
    let score = cap.as_ref().map_or(sum, |(value, _)| sum.min(*value));
    let outcome = match score {
        PASS.. => Outcome::Pass,
        PARTIAL.. => Outcome::Partial,
        _ => Outcome::Fail,
    };
    let reason = reason(facts, stop.as_ref(), &levels, outcome, fresh);
    let mut verdict = Verdict {
        score,
        outcome,
        cap,
        levels,
        completeness,
        stop,
        conclusive,
        reason,
        message: String::new(),
        fresh,
        age,
    };
    verdict.message = message(brief, facts, &verdict);
    verdict
}

/// Why the run ended early, or why it says nothing about the backup although it did not.
fn effective_stop(brief: &Brief, facts: &Facts) -> Option<Stop> {
    if let Some(stop) = &facts.stop {
        let rto_missed = brief
            .max_rto
            .zip(facts.elapsed)
            .is_some_and(|(target, elapsed)| seconds(elapsed) > target);
        // Too late is too late, whatever would have come after.
        let late = stop.reason == Reason::DeadlineExceeded && facts.restore.is_some() && rto_missed;
        let reason = if late { Reason::DeadlineAfterRto } else { stop.reason };
        return Some(Stop::new(reason, stop.message.clone()));
    }
    let restore = facts.restore.as_ref()?;
    let of = |fault: Fault| {
        let text = |e: &crate::facts::ProviderProblem| {
            format!(
                "{}{}",
                e.object.as_ref().map(|o| format!("{o}: ")).unwrap_or_default(),
                e.message
            )
        };
        let in_restore: Vec<String> = restore.errors.iter().filter(|e| e.fault == fault).map(text).collect();
        let pods = facts
            .pods
            .iter()
            .flat_map(|p| &p.failures)
            .filter(|f| f.fault == fault)
            .map(|f| f.cause.clone());
        in_restore.into_iter().chain(pods).collect::<Vec<_>>()
    };
    let provider = of(Fault::Provider);
    if !provider.is_empty() {
        let message = format!("the backup provider failed: {}", first_few(&provider, 2));
        return Some(Stop::new(Reason::ProviderUnavailable, message));
    }
    // Data that could not be read from a storage that was there all the time is lost, and that is a finding.
    let storage = of(Fault::Storage);
    if let Some(lost) = restore.storage_lost.as_ref().filter(|_| !storage.is_empty()) {
        let message = format!(
            "the backup's storage was away during the restore ({lost}): {}",
            first_few(&storage, 2)
        );
        return Some(Stop::new(Reason::ProviderUnavailable, message));
    }
    let room = of(Fault::Sandbox);
    if let Some(message) = classes::message(&room) {
        return Some(Stop::new(Reason::SandboxDenied, message));
    }
    if !room.is_empty() {
        let message = format!(
            "the sandbox has no room for the application ({}); give sandbox.resourceQuota or the nodes more",
            first_few(&room, 2)
        );
        return Some(Stop::new(Reason::SandboxDenied, message));
    }
    let cluster = of(Fault::Cluster);
    if !cluster.is_empty() {
        let message = format!(
            "what this cluster does not give says nothing about the backup: {}",
            first_few(&cluster, 2)
        );
        return Some(Stop::new(Reason::SandboxDenied, message));
    }
    let refused = of(Fault::PodSecurity);
    if !refused.is_empty() {
        let message = format!(
            "Pod Security refuses pods of the application ({}): what it names loosens the kernel's protection of the node. Take it off \
             the pods, or have the installation allow privilegedSandboxes and set sandbox.podSecurity: privileged; the drill's pods \
             then have it, beside production's",
            first_few(&refused, 2)
        );
        return Some(Stop::new(Reason::SandboxDenied, message));
    }
    None
}

/// `startedAt` less the provider's own start of the backup, in whole seconds; a clock that is off gives 0, not a negative age.
fn age(facts: &Facts) -> Option<std::time::Duration> {
    let seconds = age_in_seconds(facts)?;
    Some(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// How far in the future the backup was begun; `None` if it was not.
fn ahead(facts: &Facts) -> Option<std::time::Duration> {
    let ahead = u64::try_from(age_in_seconds(facts)?.checked_neg()?).ok()?;
    (ahead > 0).then(|| std::time::Duration::from_secs(ahead))
}

fn age_in_seconds(facts: &Facts) -> Option<i64> {
    let backup_started = facts.backup.as_ref()?.started_at?;
    Some((status::started_at(facts) - backup_started).num_seconds())
}

type Levels = [(&'static str, u32, Level); 6];

/// The lowest cap that applies, with its reason.
fn cap(facts: &Facts, levels: &Levels, conclusive: bool, fresh: Option<bool>) -> Option<(u32, String)> {
    facts.restore.as_ref()?;
    if let Some(stop) = &facts.stop {
        let words = if conclusive {
            "ended before everything was tested"
        } else {
            "says nothing about the backup"
        };
        return Some((PARTIAL - 1, format!("the run {words} ({})", stop.reason)));
    }
    let (_, _, integrity) = &levels[0];
    if integrity.status != Status::Pass {
        return Some((PARTIAL - 1, "restoreIntegrity did not pass".to_owned()));
    }
    let failed: Vec<&str> = levels
        .iter()
        .filter(|(_, _, l)| l.status == Status::Fail)
        .map(|(name, _, _)| *name)
        .collect();
    if !failed.is_empty() {
        return Some((PASS - 1, format!("failed: {}", failed.join(", "))));
    }
    if fresh == Some(false) {
        return Some((PASS - 1, "the backup is older than sla.maxBackupAge".to_owned()));
    }
    // Otherwise a check that fails would be worth more as one that could not be made.
    let untested: Vec<&str> = internal_health::excluded(facts).map(|c| c.name.as_str()).collect();
    if !untested.is_empty() {
        return Some((
            PASS - 1,
            format!("checks that could not be made: {}", untested.join(", ")),
        ));
    }
    let newer = facts.backup.as_ref().and_then(|b| b.newer_unusable.first())?;
    Some((
        PASS - 1,
        format!("the newer backup {} is unusable ({})", newer.name, newer.phase),
    ))
}

fn reason(facts: &Facts, stop: Option<&Stop>, levels: &Levels, outcome: Outcome, fresh: Option<bool>) -> String {
    if let Some(stop) = stop {
        return stop.reason.to_string();
    }
    // A volume that no pod could take is missed because of that pod.
    let given_up = facts
        .restore
        .as_ref()
        .is_some_and(|restore| !restore.given_up.is_empty());
    let failed = |name: &str| levels.iter().any(|(n, _, l)| *n == name && l.status == Status::Fail);
    if given_up && failed("podStartup") && !failed("restoreIntegrity") {
        return "PodStartupFailed".to_owned();
    }
    if let Some((name, _, _)) = levels.iter().find(|(_, _, l)| l.status == Status::Fail) {
        let mut letters = name.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase()).into_iter();
        return first.chain(letters).chain("Failed".chars()).collect();
    }
    if fresh == Some(false) {
        return "BackupTooOld".to_owned();
    }
    match outcome {
        Outcome::Pass => "Passed".to_owned(),
        _ if levels.iter().any(|(_, _, l)| l.status == Status::Skip) => "NotFullyTested".to_owned(),
        _ => "NewerBackupUnusable".to_owned(),
    }
}

/// One sentence: why the verdict is what it is, and what next.
fn message(brief: &Brief, facts: &Facts, verdict: &Verdict) -> String {
    let mut parts = Vec::new();
    if let Some(stop) = &facts.stop {
        let head = if verdict.conclusive { "Failed" } else { "Not judged" };
        parts.push(format!("{head} ({}): {}", stop.reason, stop.message));
    } else {
        parts.push(scored(facts, verdict));
    }
    if let (Some(false), Some(age), Some(target)) = (verdict.fresh, verdict.age, max_backup_age(brief)) {
        parts.push(format!(
            "the backup is {} old, sla.maxBackupAge is {target}",
            Duration::from(age)
        ));
    }
    if let Some(ahead) = ahead(facts) {
        parts.push(format!(
            "the backup's recorded start is {} after this run's, so the clocks of the provider and the API server disagree and its age \
             cannot be told",
            Duration::from(ahead)
        ));
    }
    if let Some(newer) = facts.backup.as_ref().and_then(|b| b.newer_unusable.first()) {
        parts.push(format!("newer backup {} is unusable ({})", newer.name, newer.phase));
    }
    if let Some(partial) = facts.backup.as_ref().and_then(|b| b.partial.as_ref()) {
        parts.push(format!("the backup is partial: {partial}"));
    }
    match &facts.isolation {
        Isolation::NotTested(why) if facts.restore.is_some() => {
            parts.push(format!("the sandbox's isolation was not tested: {why}"));
        }
        Isolation::NotWatched(why) if facts.restore.is_some() => {
            parts.push(format!(
                "the sandbox's isolation was proved before the restore, but not watched during it: {why}"
            ));
        }
        Isolation::Breached(what) if facts.restore.is_some() => {
            parts.push(format!("the sandbox was not isolated: {what}"));
        }
        _ => {}
    }
    if facts.restore.is_some() && !facts.ways_out.is_empty() {
        let ways = first_few(&facts.ways_out, 3);
        parts.push(format!("sandbox.egress was open: {ways}"));
    }
    let left_out = pod_startup::left_out(brief, facts);
    if !left_out.is_empty() {
        parts.push(format!("pods that were not tested: {}", first_few(&left_out, 5)));
    }
    parts.extend(outside::hint(facts, verdict));
    let let_in = custom_kinds(facts, |kind| {
        kind.present.iter().flatten().any(|name| kind.expected.contains(name))
    });
    if !let_in.is_empty() {
        parts.push(format!(
            "custom resources were let in, and their operators act on them outside the sandbox: {}",
            let_in.join(", ")
        ));
    }
    let held = custom_kinds(facts, |kind| kind.held.iter().any(|h| h.rule == CUSTOM_RESOURCE_RULE));
    if !held.is_empty() {
        parts.push(format!(
            "custom resources were held back; let them in with restore.customResources: [{}]",
            held.join(", ")
        ));
    }
    if !brief.not_served.is_empty() {
        parts.push(format!(
            "set, but not acted on by this version: {}",
            brief.not_served.join(", ")
        ));
    }
    parts.extend(facts.notes.iter().cloned());
    parts.join("; ")
}

fn scored(facts: &Facts, verdict: &Verdict) -> String {
    let score = verdict.score;
    let first_check = internal_health::first_failure(facts);
    let failed: Vec<String> = verdict
        .levels
        .iter()
        .filter(|(_, _, l)| l.status == Status::Fail)
        .map(
            |(name, _, l)| match first_check.as_ref().filter(|_| *name == "internalHealth") {
                Some(first) => format!("{name}: {first} ({})", l.detail),
                None => format!("{name}: {}", l.detail),
            },
        )
        .collect();
    if !failed.is_empty() {
        return format!("{score}: {}", first_few(&failed, 2));
    }
    let skipped: Vec<&(&str, u32, Level)> = verdict
        .levels
        .iter()
        .filter(|(_, _, l)| l.status == Status::Skip)
        .collect();
    if !skipped.is_empty() {
        let points: u32 = skipped.iter().map(|(_, weight, l)| weight - l.points).sum();
        let names: Vec<String> = skipped
            .iter()
            .map(|(name, _, l)| format!("{name}: {}", l.detail))
            .collect();
        return format!("{score}: {points} points not tested ({})", names.join("; "));
    }
    let (_, weight, integrity) = &verdict.levels[0];
    if integrity.points < *weight {
        return format!("{score}: {}", integrity.detail);
    }
    match &verdict.cap {
        Some((_, why)) => format!("{score}: restored and verified, but {why}"),
        None => format!("{score}: restored and verified on every level"),
    }
}

/// The custom kinds of which this holds, as `Kind.group`.
fn custom_kinds(facts: &Facts, which: impl Fn(&crate::facts::KindFacts) -> bool) -> Vec<String> {
    let kinds = facts.objects.iter().flat_map(|o| &o.kinds);
    let kinds = kinds.filter(|kind| kind.custom && which(kind));
    let mut names: Vec<String> = kinds.map(|k| format!("{}.{}", k.kind, k.group)).collect();
    names.sort();
    names.dedup();
    names
}

/// The rule by which custom resources are held that `restore.customResources` could let in.
pub const CUSTOM_RESOURCE_RULE: &str = "custom resource";

#[cfg(test)]
mod tests;
