//! Did a run come to what its scenario expects, and did it leave nothing behind?

use kymaros_runner::judge::record::{self, Record};
use serde_json::Value;

use crate::bed::{Bed, SYSTEM, kind};
use crate::play::{Ended, Names, Played};
use crate::scenario::Expect;

/// Compares, and searches the cluster.
pub(crate) fn check(bed: &Bed, names: &Names, expect: &Expect, ended: &Ended, played: &mut Played) {
    let mut wrong = Vec::new();
    if let Some(exit) = expect.exit.filter(|exit| *exit != ended.exit) {
        wrong.push(format!("exit code {}, expected {exit}", ended.exit));
    }
    for text in expect.logs.iter().filter(|text| !ended.log.contains(*text)) {
        wrong.push(format!("the log does not say {text:?}"));
    }
    match reports(bed, names) {
        Ok(reports) => {
            if let Some(count) = expect.reports.filter(|count| *count != reports.len()) {
                wrong.push(format!("{} reports, expected {count}", reports.len()));
            }
            wrong.extend(one_of(&reports, expect, ended, played));
            if !expect.left && !expect.no_report {
                let runs = reports
                    .iter()
                    .map(|report| report["status"]["runId"].as_str().unwrap_or("none"));
                wrong.extend(runs.flat_map(|run| residue(bed, names, run)));
            }
        }
        Err(error) => wrong.push(error),
    }
    played.problems.extend(wrong);
}

/// Why neither the expectation nor one of those that may stand for it is met.
fn one_of(reports: &[Value], expect: &Expect, ended: &Ended, played: &mut Played) -> Vec<String> {
    if expect.one_of.is_empty() {
        return compare(reports, expect, ended, played);
    }
    let mut wrong = Vec::new();
    for expect in &expect.one_of {
        let mut why = compare(reports, expect, ended, played);
        why.extend(
            expect
                .exit
                .filter(|exit| *exit != ended.exit)
                .map(|exit| format!("not exit code {exit}")),
        );
        let silent = expect.logs.iter().filter(|text| !ended.log.contains(*text));
        why.extend(silent.map(|text| format!("the log does not say {text:?}")));
        if why.is_empty() {
            return why;
        }
        wrong.push(format!("not expected: {}", why.join(", ")));
    }
    wrong
}

/// Compares the last report.
fn compare(reports: &[Value], expect: &Expect, ended: &Ended, played: &mut Played) -> Vec<String> {
    let mut wrong = Vec::new();
    match reports.last() {
        _ if expect.no_report => played.got = format!("exit {}", ended.exit),
        Some(report) => {
            check_report(&report["status"], expect, &mut wrong, played);
            wrong.extend(replay(&report["status"], &ended.log));
        }
        None => wrong.push(format!(
            "no report; exit code {}; the log ends: {}",
            ended.exit,
            ended.log.lines().last().unwrap_or_default()
        )),
    }
    wrong
}

/// The test's reports, oldest first.
fn reports(bed: &Bed, names: &Names) -> Result<Vec<Value>, String> {
    let kind = kind("restore.kymaros.io/v1alpha1", "restorereports");
    let mut reports = bed.list(SYSTEM, &kind, &format!("kymaros.io/test={}", names.test))?;
    reports.sort_by_key(|r| {
        (
            r["metadata"]["creationTimestamp"].as_str().map(str::to_owned),
            r["metadata"]["name"].as_str().map(str::to_owned),
        )
    });
    Ok(reports)
}

fn check_report(status: &Value, expect: &Expect, wrong: &mut Vec<String>, played: &mut Played) {
    let conclusive = status["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|c| c["type"] == "Conclusive"));
    let reason = conclusive.and_then(|c| c["reason"].as_str()).unwrap_or_default();
    played.got = format!(
        "{} {} {reason}",
        status["score"],
        status["result"].as_str().unwrap_or_default()
    );
    let mut differs = |what: &str, got: &str, expected: Option<&str>| {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            wrong.push(format!("{what} {got:?}, expected {expected:?}"));
        }
    };
    differs(
        "score",
        &status["score"].to_string(),
        expect.score.map(|s| s.to_string()).as_deref(),
    );
    differs(
        "result",
        status["result"].as_str().unwrap_or_default(),
        expect.result.as_deref(),
    );
    differs("reason", reason, expect.reason.as_deref());
    for (name, expected) in &expect.levels {
        let level = &status["validationLevels"][name];
        let word = level["status"].as_str().unwrap_or_default();
        let got = if expected.contains(' ') {
            format!("{word} {}", level["points"])
        } else {
            word.to_owned()
        };
        differs(
            &format!("{name} ({})", level["detail"].as_str().unwrap_or_default()),
            &got,
            Some(expected),
        );
    }
    for (name, expected) in &expect.checks {
        let (word, words) = expected.split_once(' ').unwrap_or((expected, ""));
        let all = status["checks"].as_array();
        let check = all.and_then(|all| all.iter().find(|c| c["name"] == name.as_str()));
        let message = check.and_then(|c| c["message"].as_str()).unwrap_or_default();
        if check.is_none_or(|c| c["status"] != word) || !message.contains(words) {
            wrong.push(format!(
                "check {name} is {}, expected {expected}",
                check.unwrap_or(&Value::Null)
            ));
        }
    }
    for (pointer, expected) in &expect.at {
        let got = status.pointer(pointer).cloned().unwrap_or(Value::Null);
        if got != *expected {
            wrong.push(format!("{pointer} is {got}, expected {expected}"));
        }
    }
    let text = status.to_string();
    for words in expect.says.iter().filter(|words| !text.contains(*words)) {
        wrong.push(format!(
            "the report does not say {words:?}; its message: {}",
            status["message"]
        ));
    }
    for words in expect.never.iter().filter(|words| text.contains(*words)) {
        wrong.push(format!("the report says {words:?}"));
    }
    times(status, wrong);
}

/// What the run recorded of itself must lead to the report that it wrote, but for what clean-up adds afterwards. A record of
/// another run than the report's (it died, or another one came later) says nothing.
fn replay(report: &Value, log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains(record::TARGET))?;
    let line: Value = serde_json::from_str(line).ok()?;
    let record: Record<'_> = match serde_json::from_str(line["record"].as_str()?) {
        Ok(record) => record,
        Err(error) => return Some(format!("the record of the run cannot be read: {error}")),
    };
    if report["runId"] != record.facts.run_id.as_str() {
        return None;
    }
    let strip = |mut status: Value| {
        if let Some(conditions) = status["conditions"].as_array_mut() {
            conditions.retain(|condition| condition["type"] != "SandboxCleanedUp");
        }
        status
    };
    let (written, again) = (
        strip(report.clone()),
        strip(serde_json::to_value(record.judge().1).ok()?),
    );
    let keys = written
        .as_object()
        .into_iter()
        .chain(again.as_object())
        .flat_map(|o| o.keys());
    let differ: Vec<&String> = keys.filter(|key| written[*key] != again[*key]).collect();
    (!differ.is_empty()).then(|| format!("the recorded facts replay to another report: {differ:?} differ"))
}

/// The arithmetic that holds in every report.
fn times(status: &Value, wrong: &mut Vec<String>) {
    let points: u64 = status["validationLevels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, level)| level["points"].as_u64())
        .sum();
    let score = status["score"].as_u64().unwrap_or(0);
    let cap = status["scoreCap"]["value"].as_u64();
    if cap.map_or(score != points, |cap| score != cap.min(points)) && status["rto"].is_object() {
        wrong.push(format!(
            "score {score} is not the sum {points} of its points under the cap {cap:?}"
        ));
    }
    for field in ["startedAt", "completedAt"] {
        if !status[field].as_str().is_some_and(|text| text.ends_with('Z')) {
            wrong.push(format!("{field} is {}", status[field]));
        }
    }
}

/// What a run must not leave behind.
fn residue(bed: &Bed, names: &Names, run: &str) -> Vec<String> {
    let label = format!("kymaros.io/run={run}");
    let mut left = Vec::new();
    let mut look =
        |namespace: &str, version: &str, plural: &str| match bed.list(namespace, &kind(version, plural), &label) {
            Ok(found) => left.extend(
                found
                    .iter()
                    .map(|object| format!("left behind: {plural}/{}", object["metadata"]["name"])),
            ),
            Err(error) => left.push(error),
        };
    look("", "v1", "namespaces");
    for plural in ["restores", "downloadrequests", "serverstatusrequests"] {
        look(&names.velero, "velero.io/v1", plural);
    }
    look(&names.velero, "v1", "configmaps");
    look(&names.velero, "coordination.k8s.io/v1", "leases");
    look(SYSTEM, "coordination.k8s.io/v1", "leases");
    match bed.list("", &kind("v1", "persistentvolumes"), "") {
        Ok(volumes) => {
            let suffix = format!("-kymaros-{run}");
            let ours = volumes.iter().filter(|v| {
                v["spec"]["claimRef"]["namespace"]
                    .as_str()
                    .is_some_and(|ns| ns.ends_with(&suffix))
            });
            // The volume's own controller removes it a moment after its claim has gone.
            let stay = ours.filter(|v| {
                v["metadata"]["deletionTimestamp"].is_null() && v["spec"]["persistentVolumeReclaimPolicy"] != "Delete"
            });
            left.extend(stay.map(|v| format!("left behind: PersistentVolume {}", v["metadata"]["name"])));
        }
        Err(error) => left.push(error),
    }
    left
}
