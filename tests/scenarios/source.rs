//! What a scenario restores: an application, its backup, and the `RestoreTest` over it.
//!
//! Scenarios that only differ in what is asked of an application share its backup: one is made for each application on each
//! provider, when it is first wanted.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::{Bed, Kind, SYSTEM, kind};
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
    /// Whether a backup is there already.
    pub(crate) fn has(&self, backup: &str) -> bool {
        self.made.contains(backup)
    }

    /// Makes the shared backup if this is the first scenario that wants it.
    fn backup(&mut self, bed: &Bed, scenario: &Scenario, names: &Names) -> Result<(), String> {
        if self.made.contains(&names.backup) {
            return Ok(());
        }
        // From an earlier play on the same bed.
        delete_backup(bed, names)?;
        deploy(bed, scenario, names)?;
        backup(bed, scenario, names)?;
        bed.delete("", &namespaces(), &names.ns)?;
        self.made.insert(names.backup.clone());
        Ok(())
    }
}

/// The kinds that are looked at from here.
pub(crate) fn namespaces() -> Kind {
    kind("v1", "namespaces")
}

fn backups() -> Kind {
    kind("velero.io/v1", "backups")
}

/// Takes the finalizers off what an interrupted play has left in its source: nobody else would, and the namespace would never go.
const RELEASE: &str = r#"
for kind in configmaps services parcels.shop.example.com; do
  for object in $(k -n "$NS" get "$kind" -o name --ignore-not-found 2> /dev/null || true); do
    k -n "$NS" patch "$object" --type=merge -p '{"metadata": {"finalizers": null}}' > /dev/null
  done
done"#;

/// Removes what a scenario has made, or makes sure that nothing of it is left. What is left after a failure stays to be looked at,
/// until it is played again.
pub(crate) fn remove(bed: &Bed, names: &Names, shares: bool, wait: bool) -> Result<(), String> {
    let ours = |plural: &str| kind("restore.kymaros.io/v1alpha1", plural);
    let mut gone: Vec<(&str, Kind, String)> = Vec::new();
    let label = format!("kymaros.io/test={}", names.test);
    for kind in [kind("batch/v1", "jobs"), ours("restorereports")] {
        for object in bed.list(SYSTEM, &kind, &label)? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            gone.push((SYSTEM, kind.clone(), name.to_owned()));
        }
    }
    let leases = kind("coordination.k8s.io/v1", "leases");
    gone.extend(
        [ours("restoretests"), ours("healthcheckpolicies"), leases].map(|kind| (SYSTEM, kind, names.test.clone())),
    );
    if !shares {
        gone.extend([&names.ns, &names.ns2].map(|name| ("", namespaces(), name.clone())));
    }
    for (namespace, kind, name) in &gone {
        bed.delete(namespace, kind, name)?;
    }
    if wait {
        for (namespace, kind, name) in &gone {
            bed.gone((namespace, kind, name), Duration::from_secs(90))?;
        }
        if !shares {
            delete_backup(bed, names)?;
        }
    }
    Ok(())
}

/// A backup is deleted with its data only through Velero.
fn delete_backup(bed: &Bed, names: &Names) -> Result<(), String> {
    if bed.get(&names.velero, &backups(), &names.backup)?.is_none() {
        return Ok(());
    }
    let request = json!({
        "apiVersion": "velero.io/v1", "kind": "DeleteBackupRequest",
        "metadata": {"generateName": "scenario-", "namespace": names.velero},
        "spec": {"backupName": names.backup},
    });
    bed.create(&names.velero, &kind("velero.io/v1", "deletebackuprequests"), &request)?;
    bed.gone((&names.velero, &backups(), &names.backup), Duration::from_mins(1))
}

/// Deploys and backs up, or sees to it that the shared backup is there.
pub(crate) fn back_up(
    bed: &Bed,
    scenario: &Scenario,
    names: &Names,
    shared: Option<&mut Shared>,
) -> Result<(), String> {
    if let Some(shared) = shared {
        remove(bed, names, true, true)?;
        return shared.backup(bed, scenario, names);
    }
    if bed.get("", &namespaces(), &names.ns)?.is_some() {
        script(bed, RELEASE, names, "")?;
    }
    remove(bed, names, false, true)?;
    deploy(bed, scenario, names)?;
    script(bed, &scenario.before_backup, names, "")?;
    if scenario.backup == Value::Bool(false) {
        return Ok(());
    }
    backup(bed, scenario, names)
}

/// What comes between the backup and the first run: what goes wrong meanwhile, and the test.
pub(crate) fn ask(bed: &Bed, scenario: &Scenario, names: &Names, shares: bool) -> Result<(), String> {
    script(bed, &scenario.after_backup, names, "")?;
    if !scenario.keep_source && !shares {
        for source in names.sources(scenario.namespaces) {
            bed.delete("", &namespaces(), source)?;
        }
    }
    test(bed, scenario, names)
}

fn deploy(bed: &Bed, scenario: &Scenario, names: &Names) -> Result<(), String> {
    let sources = names.sources(scenario.namespaces);
    for source in &sources {
        bed.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": source}}).to_string())?;
        // Without these no pod can be made, or started.
        for (kind, name) in [
            (kind("v1", "serviceaccounts"), "default"),
            (kind("v1", "configmaps"), "kube-root-ca.crt"),
        ] {
            bed.until((source, &kind, name), Duration::from_secs(30), |object| {
                object.is_some()
            })?;
        }
    }
    let mut objects = Vec::new();
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
fn test(bed: &Bed, scenario: &Scenario, names: &Names) -> Result<(), String> {
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

/// Whether a workload is up.
type Up = fn(&Value) -> bool;

/// Waits for every workload of a namespace.
fn ready(bed: &Bed, namespace: &str) -> Result<(), String> {
    let apps = |plural: &str| kind("apps/v1", plural);
    let kinds: [(Kind, Up); 4] = [
        (apps("deployments"), deployment_is_up),
        (apps("statefulsets"), stateful_set_is_up),
        (apps("daemonsets"), daemon_set_is_up),
        (kind("v1", "pods"), pod_is_up),
    ];
    for (kind, up) in kinds {
        for object in bed.list(namespace, &kind, "")? {
            // Pods of workloads are theirs to replace, and one that may end need not be ready.
            let of_workload = object["metadata"]["ownerReferences"].is_array();
            if kind.is("pods") && (of_workload || object["spec"]["restartPolicy"] != "Always") {
                continue;
            }
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            bed.until((namespace, &kind, name), Duration::from_mins(2), |object| {
                object.is_some_and(up)
            })
            .map_err(|e| format!("{e}: not up in {namespace}"))?;
        }
    }
    Ok(())
}

/// What `kubectl rollout status` waits for.
fn deployment_is_up(object: &Value) -> bool {
    let (status, wanted) = (&object["status"], object["spec"]["replicas"].as_i64().unwrap_or(1));
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    observed(object)
        && count("updatedReplicas") >= wanted
        && count("replicas") <= count("updatedReplicas")
        && count("availableReplicas") >= count("updatedReplicas")
}

fn stateful_set_is_up(object: &Value) -> bool {
    let (status, wanted) = (&object["status"], object["spec"]["replicas"].as_i64().unwrap_or(1));
    observed(object)
        && status["readyReplicas"].as_i64().unwrap_or(0) >= wanted
        && status["updateRevision"] == status["currentRevision"]
}

fn daemon_set_is_up(object: &Value) -> bool {
    let count = |field: &str| object["status"][field].as_i64().unwrap_or(0);
    let wanted = count("desiredNumberScheduled");
    observed(object) && count("updatedNumberScheduled") >= wanted && count("numberAvailable") >= wanted
}

fn pod_is_up(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// The controller has seen the object as it is.
fn observed(object: &Value) -> bool {
    object["status"]["observedGeneration"].as_i64() >= object["metadata"]["generation"].as_i64()
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
    let phase = |backup: &Value| backup["status"]["phase"].as_str().unwrap_or_default().to_owned();
    let ended = bed.until(
        (&names.velero, &backups(), &names.backup),
        Duration::from_mins(3),
        |backup| backup.is_some_and(|backup| ENDED.contains(&phase(backup).as_str())),
    )?;
    let phase = ended.as_ref().map(phase).unwrap_or_default();
    if phase == scenario.backup_phase {
        Ok(())
    } else {
        Err(format!("the backup ended {phase}"))
    }
}
