//! A verdict in the form of a report's status.

use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

use crate::api::{
    self, AbsentObject, BackupInfo, ChangedKind, CheckResult, CompletenessCounts, HardcodedName, HeldKind, KindCount,
    LevelResult, LevelStatus, MissingObject, ProviderInfo, Regression, RestoreReportStatus, Rpo, Rto, RunnerInfo,
    ScoreCap, TimelineEntry, UnusableBackup, ValidationLevels, VolumeResult, conditions,
};
use crate::facts::{Brief, Facts, Isolation, Status};
use crate::judge::completeness::{Completeness, VolumeState, counts};
use crate::judge::level::{Level, max_backup_age, max_rto, name_in, seconds};
use crate::judge::{Verdict, outside};
use crate::names::condition;

/// A fall of the score by more than this is a regression.
pub const REGRESSION: i32 = -10;

/// `startedAt` of the report: the creation of the Restore, or the start of a run that never came that far.
pub fn started_at(facts: &Facts) -> DateTime<Utc> {
    facts.restore.as_ref().map_or(facts.run_started, |r| r.created_at)
}

/// `completedAt`: `startedAt` plus the measured time, so that the two agree to the second. Without a measured time it is the end
/// of the run.
fn completed_at(facts: &Facts, now: DateTime<Utc>) -> DateTime<Utc> {
    match (&facts.restore, facts.elapsed) {
        (Some(restore), Some(elapsed)) => restore.created_at + seconds(elapsed),
        _ => facts.died_at.unwrap_or(now).max(started_at(facts)),
    }
}

/// The whole status, with the verdict taken at `now`.
pub fn status(
    brief: &Brief,
    facts: &Facts,
    verdict: &Verdict,
    runner: RunnerInfo,
    now: DateTime<Utc>,
) -> RestoreReportStatus {
    let mut status = RestoreReportStatus {
        score: Some(verdict.score),
        result: Some(verdict.outcome),
        message: Some(cut(&verdict.message, api::limits::MESSAGE)),
        started_at: Some(api::time::to_time(started_at(facts))),
        completed_at: Some(api::time::to_time(completed_at(facts, now))),
        rto: rto(brief, facts),
        rpo: rpo(brief, facts, verdict),
        backup: backup(facts, verdict),
        checks: checks(brief, facts),
        completeness: completeness_counts(facts, verdict),
        validation_levels: Some(levels(verdict)),
        score_cap: verdict.cap.as_ref().map(|(value, reason)| ScoreCap {
            value: *value,
            reason: cut(reason, api::limits::REASON),
        }),
        timeline: timeline(facts),
        missing: missing(&verdict.completeness),
        not_in_backup: not_in_backup(&verdict.completeness),
        held: held(facts),
        changed: changed(facts),
        volumes: volumes(brief, &verdict.completeness),
        hardcoded_names: hardcoded_names(facts),
        outside_names: outside::names(facts)
            .take(api::limits::OUTSIDE_NAMES)
            .map(|name| cut(name, 253))
            .collect(),
        regression: regression(facts, verdict),
        sandboxes: facts.sandboxes.iter().map(|s| s.name.clone()).collect(),
        runner: Some(runner),
        provider: facts.provider.as_ref().map(|provider| ProviderInfo {
            name: cut(&provider.name, api::limits::WORD),
            version: provider.version.as_ref().map(|version| cut(version, api::limits::WORD)),
        }),
        digests: digests(facts),
        run_id: Some(facts.run_id.clone()),
        conditions: report_conditions(facts, verdict, now),
    };
    fit(&mut status);
    status
}

/// A report lives in etcd, whose objects must stay small.
pub const MOST_BYTES: usize = 256 * 1024;

/// Cuts the longest lists until the status is small enough; each cut list says how much is gone.
fn fit(status: &mut RestoreReportStatus) {
    let bytes = |status: &RestoreReportStatus| serde_json::to_vec(status).map_or(0, |v| v.len());
    while bytes(status) > MOST_BYTES {
        let levels = status
            .validation_levels
            .iter_mut()
            .flat_map(|l| [&mut l.completeness, &mut l.pod_startup])
            .flatten();
        let mut lists: Vec<&mut Vec<String>> = levels.flat_map(|l| [&mut l.tested, &mut l.not_tested]).collect();
        let longest = lists.iter().map(|l| l.len()).max().unwrap_or(0);
        let (missing, absent) = (status.missing.len(), status.not_in_backup.len());
        if absent >= longest.max(missing) && absent > 2 {
            let (keep, gone) = halve(absent, status.not_in_backup.last().map(|a| a.object.as_str()));
            status.not_in_backup.truncate(keep);
            status.not_in_backup.push(more_absent(gone));
        } else if missing >= longest && missing > 2 {
            let (keep, gone) = halve(status.missing.len(), status.missing.last().map(|m| m.object.as_str()));
            status.missing.truncate(keep);
            status.missing.push(more(gone));
        } else if let Some(list) = lists.iter_mut().find(|l| l.len() == longest && longest > 2) {
            let (keep, gone) = halve(list.len(), list.last().map(String::as_str));
            list.truncate(keep);
            list.push(format!("and {gone} more"));
        } else if !status.hardcoded_names.is_empty() {
            status.hardcoded_names.clear();
        } else if !status.outside_names.is_empty() {
            status.outside_names.clear();
        } else if let Some(check) = status
            .checks
            .iter_mut()
            .max_by_key(|c| c.message.len())
            .filter(|c| c.message.len() > 64)
        {
            check.message = cut(&check.message, check.message.chars().count() / 2);
        } else if !status.volumes.is_empty() {
            status.volumes.truncate(status.volumes.len() / 2);
        } else {
            // What is left is bounded field by field.
            break;
        }
    }
}

/// How many entries of a list to keep, and how many are then gone, those of an earlier cut included.
fn halve(len: usize, last: Option<&str>) -> (usize, usize) {
    let before = last.and_then(|l| l.strip_prefix("and ")?.strip_suffix(" more")?.parse::<usize>().ok());
    let real = if before.is_some() { len - 1 } else { len };
    let keep = real / 2;
    (keep, real - keep + before.unwrap_or(0))
}

fn more(gone: usize) -> MissingObject {
    MissingObject {
        object: format!("and {gone} more"),
        reason: "the list was cut".to_owned(),
    }
}

fn more_absent(gone: usize) -> AbsentObject {
    let MissingObject { object, reason } = more(gone);
    AbsentObject { object, reason }
}

fn cut(text: &str, most: usize) -> String {
    api::limits::cut(text, most)
}

fn rto(brief: &Brief, facts: &Facts) -> Option<Rto> {
    let measured = facts.restore.as_ref().and(facts.elapsed).map(seconds)?;
    Some(Rto {
        measured: measured.into(),
        target: max_rto(brief),
        within_sla: brief.max_rto.map(|target| measured <= target),
    })
}

fn rpo(brief: &Brief, facts: &Facts, verdict: &Verdict) -> Option<Rpo> {
    let age = facts.restore.as_ref().and(verdict.age)?;
    Some(Rpo {
        measured: age.into(),
        target: max_backup_age(brief),
        within_sla: verdict.fresh,
    })
}

fn backup(facts: &Facts, verdict: &Verdict) -> Option<BackupInfo> {
    let backup = facts.backup.as_ref()?;
    Some(BackupInfo {
        name: backup.name.clone(),
        age: verdict.age.map(Into::into),
        size: backup.bytes.map(size),
        uid: backup.uid.clone(),
        started_at: backup.started_at.map(api::time::to_time),
        storage_location: backup.storage_location.clone(),
        partial: backup.partial.as_deref().map(|why| cut(why, api::limits::REASON)),
        newer_unusable: backup
            .newer_unusable
            .iter()
            .take(api::limits::NEWER_UNUSABLE)
            .map(|newer| UnusableBackup {
                name: newer.name.clone(),
                phase: newer.phase.clone(),
            })
            .collect(),
    })
}

/// Bytes as `2.3 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "";
    for next in UNITS {
        tenths = (tenths + 512) / 1024;
        unit = next;
        if tenths < 10_240 {
            break;
        }
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

fn level_status(status: Status) -> LevelStatus {
    match status {
        Status::Pass => LevelStatus::Pass,
        Status::Fail => LevelStatus::Fail,
        Status::Skip => LevelStatus::Skip,
    }
}

/// Every check of the policy stands in the report, also those that the run never came to.
fn checks(brief: &Brief, facts: &Facts) -> Vec<CheckResult> {
    let result = |check: &crate::facts::CheckBrief| match facts.checks.iter().find(|c| c.name == check.name) {
        Some(done) => CheckResult {
            name: done.name.clone(),
            status: level_status(done.status),
            duration: round(done.duration),
            message: cut(&done.message, api::limits::MESSAGE),
        },
        None => CheckResult {
            name: check.name.clone(),
            status: LevelStatus::Skip,
            duration: api::Duration::ZERO,
            message: not_run(facts),
        },
    };
    brief.checks.iter().flatten().map(result).collect()
}

fn not_run(facts: &Facts) -> String {
    match &facts.stop {
        Some(stop) => format!("Skipped: the run ended before this check ({})", stop.reason),
        None => "Skipped: the run ended before this check".to_owned(),
    }
}

/// Whole seconds from a second up, milliseconds below.
fn round(duration: std::time::Duration) -> api::Duration {
    let exact = api::Duration::from(duration);
    if duration.as_secs() > 0 {
        exact.whole_seconds()
    } else {
        exact.whole_millis()
    }
}

fn completeness_counts(facts: &Facts, verdict: &Verdict) -> Option<CompletenessCounts> {
    if !verdict.completeness.looked_at {
        return None;
    }
    let all = counts(facts);
    let text = |present: usize, expected: usize| format!("{present}/{expected}");
    let of = |group: &str, kind: &str| {
        let count = all
            .get(&(group.to_owned(), kind.to_owned(), false))
            .copied()
            .unwrap_or_default();
        Some(text(count.present, count.expected))
    };
    let named = [
        ("apps", "Deployment"),
        ("", "Service"),
        ("", "Secret"),
        ("", "ConfigMap"),
        ("", "PersistentVolumeClaim"),
    ];
    let custom = all.iter().filter(|((_, _, custom), _)| *custom);
    let (present, expected) = custom.fold((0, 0), |(p, e), (_, count)| (p + count.present, e + count.expected));
    let others = all
        .iter()
        .filter(|((group, kind, _), _)| !named.contains(&(group.as_str(), kind.as_str())))
        .map(|((group, kind, _), count)| KindCount {
            kind: if group.is_empty() {
                kind.clone()
            } else {
                format!("{kind}.{group}")
            },
            count: text(count.present, count.expected),
        });
    Some(CompletenessCounts {
        deployments: of("apps", "Deployment"),
        services: of("", "Service"),
        secrets: of("", "Secret"),
        config_maps: of("", "ConfigMap"),
        pvcs: of("", "PersistentVolumeClaim"),
        custom_resources: Some(text(present, expected)),
        others: others.take(api::limits::OTHERS).collect(),
    })
}

fn levels(verdict: &Verdict) -> ValidationLevels {
    let result = |index: usize| {
        let (_, weight, level) = &verdict.levels[index];
        Some(LevelResult {
            status: level_status(level.status),
            detail: cut(&level.detail, api::limits::MESSAGE),
            tested: bounded(&level.tested),
            not_tested: bounded(&level.not_tested),
            points: Some(level.points),
            max_points: Some(*weight),
        })
    };
    ValidationLevels {
        restore_integrity: result(0),
        completeness: result(1),
        pod_startup: result(2),
        internal_health: result(3),
        cross_namespace_deps: result(4),
        rto_compliance: result(5),
    }
}

/// At most what the schema allows, the last entry saying how many were left out.
fn bounded(names: &[String]) -> Vec<String> {
    let most = api::limits::TESTED;
    let mut list: Vec<String> = names.iter().take(most).map(|n| cut(n, api::limits::OBJECT)).collect();
    if names.len() > most {
        list.truncate(most - 1);
        list.push(format!("and {} more", names.len() - list.len()));
    }
    list
}

fn timeline(facts: &Facts) -> Vec<TimelineEntry> {
    let entries = facts.timeline.iter().take(api::limits::TIMELINE);
    entries
        .map(|phase| TimelineEntry {
            name: phase.name.clone(),
            started_at: api::time::to_time(phase.started_at),
            duration: round(phase.duration),
        })
        .collect()
}

fn missing(completeness: &Completeness) -> Vec<MissingObject> {
    let most = api::limits::MISSING;
    let all = &completeness.missing;
    let mut list: Vec<MissingObject> = all
        .iter()
        .take(most)
        .map(|m| MissingObject {
            object: cut(&m.object, api::limits::OBJECT),
            reason: cut(&m.reason, api::limits::REASON),
        })
        .collect();
    if all.len() > most {
        list.truncate(most - 1);
        list.push(more(all.len() - list.len()));
    }
    list
}

fn not_in_backup(completeness: &Completeness) -> Vec<AbsentObject> {
    let most = api::limits::NOT_IN_BACKUP;
    let all = &completeness.not_in_backup;
    let absent = |m: &crate::judge::completeness::Missing| AbsentObject {
        object: cut(&m.object, api::limits::OBJECT),
        reason: cut(&m.reason, api::limits::REASON),
    };
    let mut list: Vec<AbsentObject> = all.iter().take(most).map(absent).collect();
    if all.len() > most {
        list.truncate(most - 1);
        list.push(more_absent(all.len() - list.len()));
    }
    list
}

fn held(facts: &Facts) -> Vec<HeldKind> {
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    for kind in facts.objects.iter().flat_map(|o| &o.kinds) {
        let name = if kind.group.is_empty() {
            kind.kind.clone()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        for held in &kind.held {
            *counts.entry((name.clone(), held.rule.clone())).or_default() += 1;
        }
        let refused = kind
            .expected
            .iter()
            .filter(|n| crate::judge::completeness::refused_on_purpose(facts, kind, n))
            .count();
        if refused > 0 {
            let rule = "refused by the sandbox's admission policies".to_owned();
            *counts.entry((name, rule)).or_default() += u32::try_from(refused).unwrap_or(u32::MAX);
        }
    }
    let list = counts
        .into_iter()
        .map(|((kind, rule), count)| HeldKind { kind, count, rule });
    list.take(api::limits::HELD).collect()
}

fn changed(facts: &Facts) -> Vec<ChangedKind> {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for kind in facts.objects.iter().flat_map(|o| &o.kinds) {
        for change in &kind.changed {
            let count = counts.entry((&kind.kind, &change.rule)).or_default();
            *count = count.saturating_add(change.count);
        }
    }
    let list = counts.into_iter().map(|((kind, rule), count)| ChangedKind {
        kind: kind.to_owned(),
        count,
        rule: cut(rule, api::limits::REASON),
    });
    list.take(api::limits::CHANGED).collect()
}

fn volumes(brief: &Brief, completeness: &Completeness) -> Vec<VolumeResult> {
    let result = |(volume, state): &(crate::facts::VolumeFacts, VolumeState)| {
        let (word, reason) = match state {
            VolumeState::Restored => ("restored", None),
            VolumeState::Empty => (
                "empty",
                Some("the volume was empty when the backup was made".to_owned()),
            ),
            VolumeState::NoData(why) => ("noData", Some(why.clone())),
            VolumeState::NotRestored(why) => ("notRestored", Some(why.clone())),
            VolumeState::NotTested(why) => ("notTested", Some(why.clone())),
        };
        VolumeResult {
            claim: name_in(brief, &volume.source, &volume.claim),
            method: volume.method.clone(),
            bytes: volume.method.as_ref().map(|_| volume.bytes),
            state: word.to_owned(),
            reason: reason.map(|r| cut(&r, api::limits::REASON)),
        }
    };
    completeness
        .volumes
        .iter()
        .take(api::limits::VOLUMES)
        .map(result)
        .collect()
}

fn hardcoded_names(facts: &Facts) -> Vec<HardcodedName> {
    let names = facts.hardcoded_names.iter().take(api::limits::HARDCODED_NAMES);
    names
        .map(|found| HardcodedName {
            object: cut(&found.object, api::limits::OBJECT),
            name: (!found.name.is_empty()).then(|| cut(&found.name, 253)),
        })
        .collect()
}

/// Against the last conclusive report; only a conclusive run can be compared.
fn regression(facts: &Facts, verdict: &Verdict) -> Option<Regression> {
    let previous = facts.previous.as_ref().filter(|_| verdict.conclusive)?;
    let passed = |name: &str| {
        verdict
            .levels
            .iter()
            .any(|(n, _, l): &(&str, u32, Level)| *n == name && l.status == Status::Pass)
    };
    let delta = i32::try_from(verdict.score).unwrap_or(0) - i32::from(previous.score);
    let levels: Vec<String> = previous.passed.iter().filter(|name| !passed(name)).cloned().collect();
    (delta < REGRESSION || !levels.is_empty()).then(|| Regression {
        previous_report: previous.name.clone(),
        previous_score: u32::from(previous.score),
        delta,
        levels,
    })
}

fn digests(facts: &Facts) -> Option<api::Digests> {
    let digests = &facts.digests;
    (*digests != crate::facts::Digests::default()).then(|| api::Digests {
        test: digests.test.clone(),
        policy: digests.policy.clone(),
        previous_report: digests.previous_report.clone(),
    })
}

fn report_conditions(facts: &Facts, verdict: &Verdict, now: DateTime<Utc>) -> Vec<api::Condition> {
    let mut list = vec![
        conditions::build(condition::COMPLETE, true, "Judged", "the report is final", now),
        conditions::build(
            condition::CONCLUSIVE,
            verdict.conclusive,
            &verdict.reason,
            &verdict.message,
            now,
        ),
        isolated(facts, now),
    ];
    if let Some(fresh) = verdict.fresh {
        let reason = if fresh { "WithinTarget" } else { "TooOld" };
        list.push(conditions::build(
            condition::RECOVERY_POINT_FRESH,
            fresh,
            reason,
            "age of the backup against sla.maxBackupAge",
            now,
        ));
    }
    list
}

fn isolated(facts: &Facts, now: DateTime<Utc>) -> api::Condition {
    let not_watched;
    let (status, reason, message) = match &facts.isolation {
        Isolation::NotWatched(why) => {
            not_watched = format!("proved before the restore, but not watched during it: {why}");
            (None, "NotWatched", not_watched.as_str())
        }
        Isolation::Proved => (
            Some(true),
            "Proved",
            "egress worked without the NetworkPolicies and was blocked with them",
        ),
        Isolation::Breached(what) => (Some(false), "Breached", what.as_str()),
        Isolation::NotTested(why) => (None, "NotTested", why.as_str()),
        Isolation::NotReached => (None, "NotReached", "the run ended before the proof"),
    };
    let message = match facts.ways_out[..] {
        [] => message.to_owned(),
        _ => format!(
            "opened afterwards by sandbox.egress: {}; {message}",
            facts.ways_out.join(", ")
        ),
    };
    match status {
        Some(status) => conditions::build(condition::SANDBOX_ISOLATED, status, reason, &message, now),
        None => conditions::unknown(condition::SANDBOX_ISOLATED, reason, &message, now),
    }
}

/// Levels that passed, and the score, of an earlier report; what regression is measured against.
pub fn as_previous(name: &str, status: &RestoreReportStatus) -> Option<crate::facts::PreviousReport> {
    if !conditions::is_true(&status.conditions, condition::CONCLUSIVE) {
        return None;
    }
    let levels = status.validation_levels.as_ref()?;
    let passed = levels
        .iter()
        .filter(|(_, level)| level.is_some_and(|l| l.status == LevelStatus::Pass));
    Some(crate::facts::PreviousReport {
        name: name.to_owned(),
        score: u8::try_from(status.score?).ok()?,
        passed: passed.map(|(name, _)| name.to_owned()).collect(),
    })
}

/// Is this verdict a pass?
pub fn is_pass(verdict: &Verdict) -> bool {
    verdict.outcome == api::Outcome::Pass
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_printed_in_binary_units() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(2_469_606_195), "2.3 GiB");
        assert_eq!(size(9_341_553_869), "8.7 GiB");
        assert_eq!(size(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(size(5 * 1024 * 1024 * 1024 * 1024), "5.0 TiB");
        assert_eq!(size(5000 * 1024 * 1024 * 1024 * 1024), "5000.0 TiB");
    }
}
