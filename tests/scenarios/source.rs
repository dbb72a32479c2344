//! What a scenario restores: an application, its backup, and the `RestoreTest` over it.
//!
//! Scenarios that only differ in what is asked of an application share its backup: one is made for each application on each
//! provider, when it is first wanted.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, SYSTEM};
use crate::play::{Names, script};
use crate::scenario::{Scenario, lay_over};

/// Where the applications lie.
const APPS: &str = "tests/truth/apps";

/// The backups that are there for everybody.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    made: BTreeSet<String>,
}

impl Shared {
    /// Makes the shared backup if this is the first scenario that wants it.
    pub(crate) fn backup(&mut self, bed: &Bed, scenario: &Scenario, names: &Names) -> Result<(), String> {
        if self.made.contains(&names.backup) {
            return Ok(());
        }
        // From an earlier play on the same bed.
        delete_backup(bed, names);
        deploy(bed, scenario, names)?;
        backup(bed, scenario, names)?;
        bed.kubectl(&["delete", "namespace", &names.ns, "--wait=false"], None)?;
        self.made.insert(names.backup.clone());
        Ok(())
    }
}

/// Removes what a scenario has made. What is left after a failure stays to be looked at, until it is played again.
pub(crate) fn remove(bed: &Bed, names: &Names, shares: bool, wait: bool) {
    let waits = if wait { "--wait=true" } else { "--wait=false" };
    // Most of these are not there; then there is nothing to do.
    let gone = |arguments: &[&str]| {
        drop(bed.kubectl(
            &[arguments, &["--ignore-not-found", waits, "--timeout=90s"]].concat(),
            None,
        ));
    };
    let label = format!("kymaros.io/test={}", names.test);
    gone(&["-n", SYSTEM, "delete", "job,restorereport", "-l", &label]);
    gone(&[
        "-n",
        SYSTEM,
        "delete",
        "restoretest,healthcheckpolicy,lease",
        &names.test,
    ]);
    if shares {
        return;
    }
    gone(&["delete", "namespace", &names.ns, &names.ns2]);
    if wait {
        delete_backup(bed, names);
    }
}

/// A backup is deleted with its data only through Velero.
fn delete_backup(bed: &Bed, names: &Names) {
    if !matches!(bed.get(&names.velero, "backups.velero.io", &names.backup), Ok(Some(_))) {
        return;
    }
    let request = json!({
        "apiVersion": "velero.io/v1", "kind": "DeleteBackupRequest",
        "metadata": {"generateName": "scenario-", "namespace": names.velero},
        "spec": {"backupName": names.backup},
    });
    drop(bed.kubectl(&["create", "-f", "-"], Some(&request.to_string())));
    let wait = ["-n", &names.velero, "wait", "--for=delete", "--timeout=60s"];
    drop(bed.kubectl(
        &[&wait[..], &[&format!("backup.velero.io/{}", names.backup)]].concat(),
        None,
    ));
}

/// Deploys, backs up, and asks for the test.
pub(crate) fn prepare(bed: &Bed, scenario: &Scenario, names: &Names) -> Result<(), String> {
    deploy(bed, scenario, names)?;
    script(bed, &scenario.before_backup, names, "")?;
    if scenario.backup != Value::Bool(false) {
        backup(bed, scenario, names)?;
    }
    script(bed, &scenario.after_backup, names, "")?;
    if !scenario.keep_source {
        for source in names.sources(scenario.namespaces) {
            bed.kubectl(&["delete", "namespace", source, "--wait=false"], None)?;
        }
    }
    test(bed, scenario, names)
}

fn deploy(bed: &Bed, scenario: &Scenario, names: &Names) -> Result<(), String> {
    let sources = names.sources(scenario.namespaces);
    let mut objects = Vec::new();
    for source in &sources {
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": source}}).to_string());
    }
    for app in &scenario.apps {
        let file = format!("{APPS}/{app}.yaml");
        let text = fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
        objects.push(names.fill(&text));
    }
    objects.push(scenario.apply.clone());
    objects.retain(|text| !text.trim().is_empty());
    bed.apply(&objects.join("\n---\n"))?;
    if !scenario.unready {
        for source in &sources {
            ready(bed, source)?;
        }
    }
    Ok(())
}

/// The `RestoreTest` and its policy.
pub(crate) fn test(bed: &Bed, scenario: &Scenario, names: &Names) -> Result<(), String> {
    let sources = names.sources(scenario.namespaces);
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
    let mut objects = Vec::new();
    if !scenario.policy.is_null() {
        spec["healthChecks"] = json!({"policyRef": names.test});
        let policy = json!({
            "apiVersion": "restore.kymaros.io/v1alpha1", "kind": "HealthCheckPolicy",
            "metadata": {"name": names.test, "namespace": SYSTEM}, "spec": scenario.policy,
        });
        objects.push(policy.to_string());
    }
    lay_over(&mut spec, &scenario.test);
    let test = json!({
        "apiVersion": "restore.kymaros.io/v1alpha1", "kind": "RestoreTest",
        "metadata": {"name": names.test, "namespace": SYSTEM}, "spec": spec,
    });
    objects.push(test.to_string());
    bed.apply(&objects.join("\n---\n"))
}

/// Waits for every workload of a namespace.
fn ready(bed: &Bed, namespace: &str) -> Result<(), String> {
    let of = |object: &Value, what: &str| object["metadata"][what].as_str().unwrap_or_default().to_owned();
    let all = bed.list(&["-n", namespace, "deployments,statefulsets,daemonsets,pods"])?;
    for object in &all {
        let name = of(object, "name");
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        if kind != "pod" {
            let workload = format!("{kind}/{name}");
            bed.kubectl(
                &["-n", namespace, "rollout", "status", &workload, "--timeout=120s"],
                None,
            )?;
        } else if object["metadata"]["ownerReferences"].is_null() && object["spec"]["restartPolicy"] == "Always" {
            let pod = format!("pod/{name}");
            bed.kubectl(
                &["-n", namespace, "wait", "--for=condition=Ready", &pod, "--timeout=120s"],
                None,
            )?;
        }
    }
    Ok(())
}

/// Phases in which a backup has ended.
const ENDED: [&str; 4] = ["Completed", "PartiallyFailed", "Failed", "FailedValidation"];

fn backup(bed: &Bed, scenario: &Scenario, names: &Names) -> Result<(), String> {
    let mut spec = json!({"includedNamespaces": names.sources(scenario.namespaces), "ttl": "24h0m0s"});
    lay_over(&mut spec, &scenario.backup);
    let backup = json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": names.backup, "namespace": names.velero}, "spec": spec,
    });
    bed.apply(&backup.to_string())?;
    let object = (names.velero.as_str(), "backups.velero.io", names.backup.as_str());
    let phase = bed.watch(object, ".status.phase", Duration::from_mins(3), |phase| {
        ENDED.contains(&phase)
    })?;
    if phase == scenario.backup_phase {
        Ok(())
    } else {
        Err(format!("the backup ended {phase}"))
    }
}
