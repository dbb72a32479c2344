//! Plays one scenario from its source to its clean cluster.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{self, Bed, SYSTEM, kind};
use crate::proxy::Proxy;
use crate::scenario::{self, Run, Scenario};
use crate::source::{self, Shared};
use crate::verdict;

/// Where the runners' logs go.
const LOGS: &str = "build/test-logs/scenarios";
/// Longest time for one run of a scenario.
const RUN: Duration = Duration::from_mins(6);

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) got: String,
    /// What the last run behind a proxy came to.
    pub(crate) behind: Option<String>,
    pub(crate) problems: Vec<String>,
}

/// The names of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) ns: String,
    pub(crate) ns2: String,
    pub(crate) velero: String,
    pub(crate) test: String,
    pub(crate) backup: String,
}

impl Names {
    /// Of a scenario on one provider.
    fn of(scenario: &Scenario, provider: &str) -> Self {
        let short = &scenario.name;
        let own = Self {
            ns: format!("s-{short}"),
            ns2: format!("s-{short}-2"),
            velero: provider.to_owned(),
            test: format!("s-{short}"),
            backup: format!("s-{short}"),
        };
        if scenario.long_names {
            let pad = |name: &str, length: usize| format!("{name:x<length$}");
            return Self {
                ns: pad(&own.ns, 63),
                ns2: pad(&own.ns2, 63),
                test: pad(&own.test, 52),
                backup: pad(&own.backup, 63),
                ..own
            };
        }
        match scenario.common(provider) {
            Some(name) => Self {
                ns: name.clone(),
                backup: name,
                ..own
            },
            None => own,
        }
    }

    /// For scripts and for filling in.
    pub(crate) fn pairs(&self) -> [(&'static str, &str); 5] {
        [
            ("NS", &self.ns),
            ("NS2", &self.ns2),
            ("VELERO", &self.velero),
            ("TEST", &self.test),
            ("BACKUP", &self.backup),
        ]
    }

    /// The source namespaces.
    pub(crate) fn sources(&self, count: usize) -> Vec<&str> {
        [self.ns.as_str(), self.ns2.as_str()].into_iter().take(count).collect()
    }

    /// A text with the names in it.
    pub(crate) fn fill(&self, text: &str) -> String {
        self.pairs().iter().fold(text.to_owned(), |text, (key, value)| {
            text.replace(&format!("${{{key}}}"), value)
        })
    }
}

/// A scenario whose backup is there.
pub(crate) struct Prepared {
    filled: Scenario,
    names: Names,
    shares: bool,
    played: Played,
}

/// Brings a scenario on one provider to its backup.
pub(crate) fn prepare(bed: &Bed, scenario: &Scenario, provider: &str, shared: &mut Shared) -> Prepared {
    let names = Names::of(scenario, provider);
    let mut prepared = Prepared {
        filled: scenario.clone(),
        shares: scenario.common(provider).is_some(),
        names,
        played: Played::default(),
    };
    match scenario::parse(&prepared.names.fill(&scenario.text)) {
        Ok(filled) => {
            prepared.filled = Scenario {
                name: scenario.name.clone(),
                ..filled
            };
        }
        Err(error) => {
            prepared.played.problems.push(error);
            return prepared;
        }
    }
    let shared = prepared.shares.then_some(shared);
    if let Err(error) = source::back_up(bed, &prepared.filled, &prepared.names, shared) {
        prepared.played.problems.push(format!("preparing: {error}"));
    }
    prepared
}

/// Plays it from there on.
pub(crate) fn play(bed: &Bed, prepared: Prepared) -> Played {
    let Prepared {
        filled,
        names,
        shares,
        mut played,
    } = prepared;
    if played.problems.is_empty()
        && let Err(error) = source::ask(bed, &filled, &names, shares)
    {
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
    if played.problems.is_empty()
        && let Err(error) = source::remove(bed, &names, shares, false)
    {
        played.problems.push(format!("removing: {error}"));
    }
    played
}

/// Runs commands of a scenario.
pub(crate) fn script(bed: &Bed, script: &str, names: &Names, job: &str) -> Result<(), String> {
    script_with(bed, script, names, job, None)
}

/// The same beside a run behind a proxy.
fn script_with(bed: &Bed, script: &str, names: &Names, job: &str, away: Option<&str>) -> Result<(), String> {
    if script.is_empty() {
        return Ok(());
    }
    let mut command = bed.shell(script, &names.pairs());
    command.env("JOB", job).envs(away.map(|file| ("AWAY", file)));
    bed::run(command)
}

fn play_run(bed: &Bed, names: &Names, run: &Run, index: usize, played: &mut Played) {
    let job = format!("{}-{index}", names.test);
    if let Err(error) = script(bed, &run.before, names, &job) {
        played.problems.push(format!("before the run: {error}"));
        return;
    }
    let started = Proxy::start(run, Path::new(LOGS), &job).and_then(|proxy| {
        start(bed, names, run, &job, proxy.as_ref())?;
        Ok(proxy)
    });
    let proxy = match started {
        Ok(proxy) => proxy,
        Err(error) => {
            played.problems.push(format!("starting the run: {error}"));
            return;
        }
    };
    let away = proxy.as_ref().map(|proxy| proxy.away.display().to_string());
    let limit = RUN + Duration::from_secs(run.outage.as_ref().map_or(0, |outage| outage.seconds));
    let (ended, beside) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| script_with(bed, &run.during, names, &job, away.as_deref()));
        (end_of(bed, &job, limit), beside.join())
    });
    if let Ok(Err(error)) = beside {
        played.problems.push(format!("beside the run: {error}"));
    }
    match ended {
        Ok(ended) => {
            drop(fs::create_dir_all(LOGS));
            drop(fs::write(format!("{LOGS}/{job}.log"), &ended.log));
            verdict::check(bed, names, &run.expect, &ended, played);
            if proxy.is_some() {
                played.behind = Some(played.got.clone());
            }
            if let Err(error) = script(bed, &run.then, names, &job) {
                played.problems.push(format!("after the run: {error}"));
            }
        }
        Err(error) => played.problems.push(error),
    }
    if let Some(proxy) = proxy.filter(|_| !played.problems.is_empty()) {
        played.problems.push(proxy.again(run));
    }
}

/// Starts a run as `kubectl create job --from=cronjob/…` does, for another test.
fn start(bed: &Bed, names: &Names, run: &Run, job: &str, proxy: Option<&Proxy>) -> Result<(), String> {
    let from = bed.get(SYSTEM, &kind("batch/v1", "cronjobs"), "scenario")?;
    let from = from.ok_or("the CronJob that runs are made from is gone")?;
    let mut made = json!({
        "apiVersion": "batch/v1", "kind": "Job", "spec": from["spec"]["jobTemplate"]["spec"],
        "metadata": {
            "name": job,
            "namespace": SYSTEM,
            "labels": from["spec"]["jobTemplate"]["metadata"]["labels"],
            "annotations": from["spec"]["jobTemplate"]["metadata"]["annotations"],
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": from["metadata"]["name"],
                "uid": from["metadata"]["uid"], "controller": true,
            }],
        },
    });
    made["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] = json!("manual");
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
    // What is written here comes before what the kubelet would write.
    env.extend(proxy.into_iter().flat_map(|proxy| {
        [
            json!({"name": "KUBERNETES_SERVICE_HOST", "value": proxy.host}),
            json!({"name": "KUBERNETES_SERVICE_PORT", "value": proxy.port}),
        ]
    }));
    bed.create(SYSTEM, &kind("batch/v1", "jobs"), &made)
}

/// A run that has ended.
pub(crate) struct Ended {
    pub(crate) exit: i64,
    pub(crate) log: String,
}

fn end_of(bed: &Bed, job: &str, limit: Duration) -> Result<Ended, String> {
    let ended = bed.until((SYSTEM, &kind("batch/v1", "jobs"), job), limit, |job| {
        let conditions = job.and_then(|job| job["status"]["conditions"].as_array());
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Complete" || c["type"] == "Failed"))
    });
    let pods = bed.list(SYSTEM, &kind("v1", "pods"), &format!("job-name={job}"))?;
    let pod = pods.first().unwrap_or(&Value::Null);
    let exit = pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        .as_i64()
        .unwrap_or(-1);
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let log = bed.log(SYSTEM, name).unwrap_or_default();
    match ended {
        Ok(_) => Ok(Ended { exit, log }),
        Err(error) => {
            let last = log.lines().rev().filter(|line| !line.contains("api_call"));
            let tail: Vec<&str> = last.take(5).collect();
            Err(format!("{error}; last lines: {}", tail.join(" | ")))
        }
    }
}
