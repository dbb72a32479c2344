//! Plays one scenario from its source to its clean cluster.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{self, Bed, SYSTEM};
use crate::scenario::{self, Expect, Run, Scenario, lay_over};

/// Where the runners' logs go.
const LOGS: &str = "build/test-logs/scenarios";
/// Longest time for one run of a scenario.
const RUN: Duration = Duration::from_mins(6);

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) got: String,
    pub(crate) problems: Vec<String>,
}

/// The names of one scenario.
struct Names {
    ns: String,
    ns2: String,
    velero: String,
    test: String,
    backup: String,
}

impl Names {
    fn pairs(&self) -> [(&'static str, &str); 5] {
        [
            ("NS", &self.ns),
            ("NS2", &self.ns2),
            ("VELERO", &self.velero),
            ("TEST", &self.test),
            ("BACKUP", &self.backup),
        ]
    }

    fn sources(&self, count: usize) -> Vec<&str> {
        [self.ns.as_str(), self.ns2.as_str()].into_iter().take(count).collect()
    }
}

/// Plays a scenario on one provider.
pub(crate) fn play(bed: &Bed, scenario: &Scenario, provider: &str) -> Played {
    let short = scenario.name.as_str();
    let names = Names {
        ns: format!("s-{short}"),
        ns2: format!("s-{short}-2"),
        velero: provider.to_owned(),
        test: format!("s-{short}"),
        backup: format!("s-{short}"),
    };
    let mut played = Played::default();
    let text = names.pairs().iter().fold(scenario.text.clone(), |text, (key, value)| {
        text.replace(&format!("${{{key}}}"), value)
    });
    let filled = match scenario::parse(&text) {
        Ok(filled) => filled,
        Err(error) => {
            played.problems.push(error);
            return played;
        }
    };
    remove(bed, &names, true);
    if let Err(error) = prepare(bed, &filled, &names) {
        played.problems.push(format!("preparing: {error}"));
    }
    for (index, run) in filled.runs.iter().enumerate() {
        if !played.problems.is_empty() {
            break;
        }
        play_run(bed, &names, run, index, &mut played);
    }
    if let Err(error) = script(bed, &filled.after, &names, "") {
        played.problems.push(format!("after: {error}"));
    }
    if played.problems.is_empty() {
        remove(bed, &names, false);
    }
    played
}

/// Removes what a scenario has made. What is left after a failure stays to be looked at, until it is played again.
fn remove(bed: &Bed, names: &Names, wait: bool) {
    let wait = if wait { "--wait=true" } else { "--wait=false" };
    // Most of these are not there; then there is nothing to do.
    let gone = |arguments: &[&str]| {
        drop(bed.kubectl(
            &[arguments, &["--ignore-not-found", wait, "--timeout=90s"]].concat(),
            None,
        ));
    };
    gone(&[
        "-n",
        SYSTEM,
        "delete",
        "job",
        "-l",
        &format!("kymaros.io/test={}", names.test),
    ]);
    gone(&["-n", SYSTEM, "delete", "restoretest,healthcheckpolicy", &names.test]);
    gone(&["-n", SYSTEM, "delete", "lease", &names.test]);
    gone(&[
        "-n",
        SYSTEM,
        "delete",
        "restorereport",
        "-l",
        &format!("kymaros.io/test={}", names.test),
    ]);
    gone(&["delete", "namespace", &names.ns, &names.ns2]);
    if wait == "--wait=true" {
        delete_backup(bed, names);
    }
}

/// A backup is deleted with its data only through Velero.
fn delete_backup(bed: &Bed, names: &Names) {
    let exists = |name: &str| {
        bed.get(&names.velero, "backups.velero.io", name)
            .ok()
            .flatten()
            .is_some()
    };
    if !exists(&names.backup) {
        return;
    }
    let request = json!({
        "apiVersion": "velero.io/v1", "kind": "DeleteBackupRequest",
        "metadata": {"name": names.backup, "namespace": names.velero},
        "spec": {"backupName": names.backup},
    });
    drop(bed.apply(&request.to_string()));
    drop(bed::wait("deletion", Duration::from_mins(1), || {
        Ok((!exists(&names.backup)).then_some(()))
    }));
}

fn prepare(bed: &Bed, scenario: &Scenario, names: &Names) -> Result<(), String> {
    let sources = names.sources(scenario.namespaces);
    for source in &sources {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": source}});
        bed.apply(&namespace.to_string())?;
    }
    if !scenario.apply.is_empty() {
        bed.apply(&scenario.apply)?;
    }
    if !scenario.unready {
        for source in &sources {
            ready(bed, source)?;
        }
    }
    script(bed, &scenario.before_backup, names, "")?;
    if scenario.backup != Value::Bool(false) {
        backup(bed, scenario, names)?;
    }
    script(bed, &scenario.after_backup, names, "")?;
    if !scenario.keep_source {
        for source in &sources {
            bed.kubectl(&["delete", "namespace", source, "--wait=false"], None)?;
        }
    }
    let mut spec = json!({
        "backupSource": {
            "provider": "velero",
            "providerNamespace": names.velero,
            "backupName": names.backup,
            "namespaces": sources.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        },
        "podStartup": {"timeout": "90s", "stableFor": "3s"},
        "sla": {"maxRTO": "10m"},
        "timeout": "10m",
    });
    if !scenario.policy.is_null() {
        spec["healthChecks"] = json!({"policyRef": names.test});
        let policy = json!({
            "apiVersion": "restore.kymaros.io/v1alpha1", "kind": "HealthCheckPolicy",
            "metadata": {"name": names.test, "namespace": SYSTEM}, "spec": scenario.policy,
        });
        bed.apply(&policy.to_string())?;
    }
    lay_over(&mut spec, &scenario.test);
    let test = json!({
        "apiVersion": "restore.kymaros.io/v1alpha1", "kind": "RestoreTest",
        "metadata": {"name": names.test, "namespace": SYSTEM}, "spec": spec,
    });
    bed.apply(&test.to_string())
}

/// Waits for every workload of a namespace.
fn ready(bed: &Bed, namespace: &str) -> Result<(), String> {
    for workload in bed.list(&["-n", namespace, "deployments,statefulsets,daemonsets"])? {
        let kind = workload["kind"].as_str().unwrap_or_default().to_lowercase();
        let name = workload["metadata"]["name"].as_str().unwrap_or_default();
        bed.kubectl(
            &[
                "-n",
                namespace,
                "rollout",
                "status",
                &format!("{kind}/{name}"),
                "--timeout=120s",
            ],
            None,
        )?;
    }
    let bare: Vec<Value> = bed.list(&["-n", namespace, "pods"])?;
    for pod in bare
        .iter()
        .filter(|pod| pod["metadata"]["ownerReferences"].is_null() && pod["spec"]["restartPolicy"] == "Always")
    {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        bed.kubectl(
            &[
                "-n",
                namespace,
                "wait",
                "--for=condition=Ready",
                &format!("pod/{name}"),
                "--timeout=120s",
            ],
            None,
        )?;
    }
    Ok(())
}

fn backup(bed: &Bed, scenario: &Scenario, names: &Names) -> Result<(), String> {
    let mut spec = json!({"includedNamespaces": names.sources(scenario.namespaces), "ttl": "24h0m0s"});
    lay_over(&mut spec, &scenario.backup);
    let backup = json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": names.backup, "namespace": names.velero}, "spec": spec,
    });
    bed.apply(&backup.to_string())?;
    let phase = bed::wait("the backup", Duration::from_mins(3), || {
        let backup = bed.get(&names.velero, "backups.velero.io", &names.backup)?;
        let phase = backup
            .and_then(|b| b["status"]["phase"].as_str().map(str::to_owned))
            .unwrap_or_default();
        let over = ["Completed", "PartiallyFailed", "Failed", "FailedValidation"].contains(&phase.as_str());
        Ok(over.then_some(phase))
    })?;
    if phase == scenario.backup_phase {
        Ok(())
    } else {
        Err(format!("the backup ended {phase}"))
    }
}

fn script(bed: &Bed, script: &str, names: &Names, job: &str) -> Result<(), String> {
    if script.is_empty() {
        return Ok(());
    }
    let mut command = bed.shell(script, &names.pairs());
    command.env("JOB", job);
    bed::run(command, None).map(drop)
}

fn play_run(bed: &Bed, names: &Names, run: &Run, index: usize, played: &mut Played) {
    let job = format!("{}-{index}", names.test);
    if let Err(error) = script(bed, &run.before, names, &job) {
        played.problems.push(format!("before the run: {error}"));
        return;
    }
    if let Err(error) = start(bed, names, run, &job) {
        played.problems.push(format!("starting the run: {error}"));
        return;
    }
    let (ended, beside) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| script(bed, &run.during, names, &job));
        (end_of(bed, &job), beside.join())
    });
    if let Ok(Err(error)) = beside {
        played.problems.push(format!("beside the run: {error}"));
    }
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            played.problems.push(error);
            return;
        }
    };
    drop(fs::create_dir_all(LOGS));
    drop(fs::write(format!("{LOGS}/{job}.log"), &ended.log));
    check(bed, names, &run.expect, &ended, played);
    if let Err(error) = script(bed, &run.then, names, &job) {
        played.problems.push(format!("after the run: {error}"));
    }
}

/// Starts a run as `kubectl create job --from=cronjob/…` does, for another test.
fn start(bed: &Bed, names: &Names, run: &Run, job: &str) -> Result<(), String> {
    let made = bed.kubectl(
        &[
            "-n",
            SYSTEM,
            "create",
            "job",
            job,
            "--from=cronjob/scenario",
            "--dry-run=client",
            "-o",
            "json",
        ],
        None,
    )?;
    let mut made: Value = serde_json::from_str(&made).map_err(|e| e.to_string())?;
    made["metadata"]["labels"]["kymaros.io/test"] = json!(names.test);
    let container = &mut made["spec"]["template"]["spec"]["containers"][0];
    let env = container["env"]
        .as_array_mut()
        .ok_or("the CronJob has no environment")?;
    env.retain(|e| e["name"] != "RESTORE_TEST_NAME" && !run.env.contains_key(e["name"].as_str().unwrap_or_default()));
    if !run.env.contains_key("RESTORE_TEST_NAME") {
        env.push(json!({"name": "RESTORE_TEST_NAME", "value": names.test}));
    }
    env.extend(
        run.env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value})),
    );
    bed.kubectl(&["create", "-f", "-"], Some(&made.to_string())).map(drop)
}

/// A run that has ended.
struct Ended {
    exit: i64,
    log: String,
}

fn end_of(bed: &Bed, job: &str) -> Result<Ended, String> {
    let over = |condition: &Value| {
        condition["status"] == "True" && (condition["type"] == "Complete" || condition["type"] == "Failed")
    };
    let pods = || bed.list(&["-n", SYSTEM, "pods", "-l", &format!("job-name={job}")]);
    let ended = bed::wait("the run's end", RUN, || {
        let object = bed.get(SYSTEM, "job", job)?.ok_or("the Job is gone")?;
        Ok(object["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(over))
            .then_some(()))
    });
    let exit = pods()?
        .first()
        .and_then(|pod| pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64())
        .unwrap_or(-1);
    let log = bed
        .kubectl(&["-n", SYSTEM, "logs", &format!("job/{job}"), "--tail=-1"], None)
        .unwrap_or_default();
    ended.map(|()| Ended { exit, log: log.clone() }).map_err(|error| {
        let tail: Vec<&str> = log
            .lines()
            .rev()
            .filter(|line| !line.contains("api_call"))
            .take(5)
            .collect();
        format!("{error}; last lines: {}", tail.join(" | "))
    })
}

fn check(bed: &Bed, names: &Names, expect: &Expect, ended: &Ended, played: &mut Played) {
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
            match reports.last() {
                _ if expect.no_report => played.got = format!("exit {}", ended.exit),
                Some(report) => {
                    check_report(&report["status"], expect, &mut wrong, played);
                    if !expect.left {
                        wrong.extend(residue(
                            bed,
                            names,
                            report["status"]["runId"].as_str().unwrap_or("none"),
                        ));
                    }
                }
                None => wrong.push(format!(
                    "no report; exit code {}; the log ends: {}",
                    ended.exit,
                    ended.log.lines().last().unwrap_or_default()
                )),
            }
        }
        Err(error) => wrong.push(error),
    }
    played.problems.extend(wrong);
}

/// The test's reports, oldest first.
fn reports(bed: &Bed, names: &Names) -> Result<Vec<Value>, String> {
    let mut reports = bed.list(&[
        "-n",
        SYSTEM,
        "restorereports",
        "-l",
        &format!("kymaros.io/test={}", names.test),
    ])?;
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
        |what: &str, arguments: &[&str]| match bed.kubectl(&[&["get", "-o", "name"], arguments].concat(), None) {
            Ok(found) => left.extend(found.lines().map(|line| format!("left behind: {line}"))),
            Err(error) => left.push(format!("{what}: {error}")),
        };
    look("namespaces", &["namespaces", "-l", &label]);
    let kinds = "restores.velero.io,downloadrequests.velero.io,serverstatusrequests.velero.io,configmaps,leases";
    look("the provider's namespace", &["-n", &names.velero, kinds, "-l", &label]);
    look("Leases", &["-n", SYSTEM, "leases", "-l", &label]);
    match bed.list(&["persistentvolumes"]) {
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
