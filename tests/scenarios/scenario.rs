//! What a scenario's file holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// One file. `${NS}`, `${NS2}`, `${VELERO}`, `${TEST}` and `${BACKUP}` stand for names that are the scenario's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a line of a file that people write"
)]
pub(crate) struct Scenario {
    #[serde(skip)]
    pub(crate) name: String,
    /// The file's text, for the names to be filled in.
    #[serde(skip)]
    pub(crate) text: String,
    /// What it shows, in a sentence.
    #[allow(dead_code, reason = "for the reader of the file")]
    pub(crate) about: String,
    /// The file stands for several scenarios, one for each of these, whose names end in the key; `${EACH}` is the value.
    #[serde(default)]
    #[allow(dead_code, reason = "read before the rest of the file")]
    pub(crate) each: BTreeMap<String, String>,
    /// Nobody else may be on the cluster from its backup on.
    #[serde(default)]
    pub(crate) alone: bool,
    /// It changes what the installation allows, in a way that others cannot notice. One of these at a time, for each puts all of the
    /// installation back.
    #[serde(default)]
    pub(crate) installation: bool,
    /// It takes more than a minute.
    #[serde(default)]
    pub(crate) long: bool,
    /// Number of source namespaces.
    #[serde(default = "one")]
    pub(crate) namespaces: usize,
    /// It must be worth all 100 points.
    #[serde(default)]
    pub(crate) healthy: bool,
    /// All names are as long as they may be.
    #[serde(default)]
    pub(crate) long_names: bool,
    /// Applications of `tests/truth/apps` that are deployed before the backup. A scenario that does nothing else to its source
    /// shares the backup with others of its kind.
    #[serde(default)]
    pub(crate) apps: Vec<String>,
    /// Its backup is not shared.
    #[serde(default)]
    pub(crate) own_backup: bool,
    /// What else is applied before the backup.
    #[serde(default)]
    pub(crate) apply: String,
    /// Do not wait for the workloads to come up.
    #[serde(default)]
    pub(crate) unready: bool,
    /// Commands after the workloads are up and before the backup.
    #[serde(default)]
    pub(crate) before_backup: String,
    /// Laid over the Backup's spec; `false`: no backup is made.
    #[serde(default)]
    pub(crate) backup: Value,
    /// Phase that the backup must end in.
    #[serde(default = "completed")]
    pub(crate) backup_phase: String,
    /// Commands after the backup.
    #[serde(default)]
    pub(crate) after_backup: String,
    /// The source namespaces stay. Otherwise they are deleted after the backup: the backup is the truth.
    #[serde(default)]
    pub(crate) keep_source: bool,
    /// Laid over the `RestoreTest`'s spec.
    #[serde(default)]
    pub(crate) test: Value,
    /// The spec of the `HealthCheckPolicy`, if there is one.
    #[serde(default)]
    pub(crate) policy: Value,
    /// One run after the other.
    pub(crate) runs: Vec<Run>,
    /// Commands at the end, to put back what was changed.
    #[serde(default)]
    pub(crate) after: String,
}

/// One run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Run {
    /// Commands before the run.
    pub(crate) before: String,
    /// Commands beside the run.
    pub(crate) during: String,
    /// Environment of the runner.
    pub(crate) env: BTreeMap<String, String>,
    /// A proxy between the runner and the API server that makes faults at seeded random.
    pub(crate) faults: Option<Faults>,
    /// Such a proxy, behind which the API server goes away once.
    pub(crate) outage: Option<Outage>,
    /// Commands after the run, which must succeed.
    pub(crate) then: String,
    /// What must come of it.
    pub(crate) expect: Expect,
}

/// Faults at seeded random: `tests/faults/draw.rs`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Faults {
    #[serde(default)]
    pub(crate) seed: u64,
    /// Of a hundred requests. With 0 the proxy is there only for `api_away`.
    #[serde(default = "fifteen")]
    pub(crate) rate: u64,
    /// Which; without it all but `dead` and `hang`.
    #[serde(default)]
    pub(crate) kinds: Vec<String>,
}

/// The API server does what it is asked, and is away before it can answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outage {
    /// The first such request, e.g. `create velero.io/restores`, a later one, e.g. `2nd list velero.io/datadownloads`, or `request 57` for the 57th of all; of several, with commas
    /// between them, the first of each.
    pub(crate) at: String,
    pub(crate) seconds: u64,
}

/// What must come of a run. What is not said is not looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Expect {
    /// Exit code of the runner.
    pub(crate) exit: Option<i64>,
    pub(crate) score: Option<u64>,
    pub(crate) result: Option<String>,
    /// Reason of the condition `Conclusive`.
    pub(crate) reason: Option<String>,
    /// `pass`, `fail 16`, `skip`: status, and points if given.
    pub(crate) levels: BTreeMap<String, String>,
    /// Checks by name: `pass`, or `fail` and words that its message must hold, e.g. `fail HTTP 500`.
    pub(crate) checks: BTreeMap<String, String>,
    /// Texts that the report must hold somewhere.
    pub(crate) says: Vec<String>,
    /// Texts that the report must not hold.
    pub(crate) never: Vec<String>,
    /// JSON pointers into the status, and what is there.
    pub(crate) at: BTreeMap<String, Value>,
    /// What is said of the report holds for one of these.
    pub(crate) one_of: Vec<Self>,
    /// Texts that the log must hold.
    pub(crate) logs: Vec<String>,
    /// No report of this run.
    pub(crate) no_report: bool,
    /// Number of reports of the test after the run.
    pub(crate) reports: Option<usize>,
    /// Something may be left behind.
    pub(crate) left: bool,
}

fn fifteen() -> u64 {
    15
}

fn one() -> usize {
    1
}

fn completed() -> String {
    "Completed".to_owned()
}

impl Scenario {
    /// Name of the backup that it shares with others, and of its namespace; `None` for a scenario that does something of its
    /// own to its source.
    pub(crate) fn common(&self, provider: &str) -> Option<String> {
        let own = !self.apply.is_empty()
            || !self.before_backup.is_empty()
            || !self.after_backup.is_empty()
            || !self.backup.is_null()
            || self.own_backup
            || self.keep_source
            || self.unready
            || self.namespaces != 1
            || self.apps.is_empty();
        (!own).then(|| format!("shared-{}-{provider}", self.apps.join("-")))
    }

    /// A healthy application must be worth 100, and no scenario may be one that cannot fail.
    fn complete(&mut self) -> Result<(), String> {
        let Some(last) = self.runs.last_mut() else {
            return Err("it has no runs".to_owned());
        };
        let expect = &mut last.expect;
        if self.healthy {
            expect.exit.get_or_insert(0);
            expect.score.get_or_insert(100);
            expect.result.get_or_insert_with(|| "pass".to_owned());
            expect.reason.get_or_insert_with(|| "Passed".to_owned());
            if expect.score != Some(100) {
                return Err("a healthy application is worth 100".to_owned());
            }
        }
        if expect.no_report || expect.reason.is_some() || expect.score.is_some() {
            return Ok(());
        }
        Err("its last run expects neither a score nor a reason".to_owned())
    }

    /// The last run's expectation in a few words.
    pub(crate) fn expected(&self) -> String {
        let expect = self.runs.last().map(|r| r.expect.clone()).unwrap_or_default();
        let score = expect.score.map(|s| s.to_string());
        let words = [score, expect.result, expect.reason];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// All scenarios of a folder and the folders in it.
pub(crate) fn load(folder: &Path) -> Result<Vec<Scenario>, String> {
    let mut scenarios = Vec::new();
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && path.file_name().is_some_and(|n| n != "install" && n != "apps") {
            scenarios.extend(load(&path)?);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let several = expand(&name, &text).map_err(|e| format!("{}: {e}", path.display()))?;
            scenarios.extend(several);
        }
    }
    Ok(scenarios)
}

/// The scenarios that a file stands for.
fn expand(name: &str, text: &str) -> Result<Vec<Scenario>, String> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        each: BTreeMap<String, String>,
    }
    let named = |name: String, text: String| {
        let scenario = parse(&text)?;
        Ok(Scenario { name, text, ..scenario })
    };
    let head: Head = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    if head.each.is_empty() {
        return Ok(vec![named(name.to_owned(), text.to_owned())?]);
    }
    let each = head.each.iter();
    each.map(|(key, value)| named(format!("{name}-{key}"), text.replace("${EACH}", value)))
        .collect()
}

/// A scenario from its text.
pub(crate) fn parse(text: &str) -> Result<Scenario, String> {
    let mut scenario: Scenario = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    scenario.complete()?;
    Ok(scenario)
}

/// Lays `over` over `base`, key by key.
pub(crate) fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => base.clone_from(over),
    }
}
