//! Every field of a Restore that the list in `assessed` calls refused or limited, set by the runner.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::ask::{Answer, Target, Way, ask};
use crate::assessed::{Verdict, list};
use crate::support::cases::with;
use crate::support::scene::Scene;

/// Field as the list writes it, and what it is set to. `{sandbox}` and the like are names of the scene.
const TABLE: &[(&str, &str)] = &[
    ("Restore spec.backupName", r#"{"spec": {"backupName": ""}}"#),
    ("Restore spec.scheduleName", r#"{"spec": {"scheduleName": "daily"}}"#),
    (
        "Restore spec.scheduleName",
        r#"{"spec": {"backupName": null, "scheduleName": "daily"}}"#,
    ),
    (
        "Restore spec.excludedNamespaces",
        r#"{"spec": {"excludedNamespaces": ["kube-system"]}}"#,
    ),
    (
        "Restore spec.existingResourcePolicy",
        r#"{"spec": {"existingResourcePolicy": "update"}}"#,
    ),
    (
        "Restore spec.existingResourcePolicy",
        r#"{"spec": {"existingResourcePolicy": "recreate"}}"#,
    ),
    (
        "Restore spec.hooks.resources",
        r#"{"spec": {"hooks": {"resources": [{"name": "h"}]}}}"#,
    ),
    (
        "Restore spec.hooks.resources",
        r#"{"spec": {"hooks": {"resources": [{"name": "h", "postHooks": [{"exec": {"command": ["id"]}}]}]}}}"#,
    ),
    (
        "Restore spec.hooks.resources",
        r#"{"spec": {"hooks": {"resources": [{"name": "h", "postHooks": [{"init": {"initContainers": [{"name": "i"}]}}]}]}}}"#,
    ),
    (
        "Restore spec.includeClusterResources",
        r#"{"spec": {"includeClusterResources": true}}"#,
    ),
    (
        "Restore spec.includedNamespaces",
        r#"{"spec": {"includedNamespaces": []}}"#,
    ),
    (
        "Restore spec.includedNamespaces",
        r#"{"spec": {"includedNamespaces": null}}"#,
    ),
    (
        "Restore spec.includedNamespaces",
        r#"{"spec": {"includedNamespaces": ["*"]}}"#,
    ),
    (
        "Restore spec.includedNamespaces",
        r#"{"spec": {"includedNamespaces": ["shop", "*"]}}"#,
    ),
    (
        "Restore spec.includedNamespaces",
        r#"{"spec": {"includedNamespaces": ["shop", "sho?"]}}"#,
    ),
    (
        "Restore spec.includedNamespaces",
        r#"{"spec": {"includedNamespaces": ["shop", "blog"]}}"#,
    ),
    (
        "Restore spec.includedResources",
        r#"{"spec": {"includedResources": ["*"]}}"#,
    ),
    (
        "Restore spec.includedResources",
        r#"{"spec": {"includedResources": ["clusterrolebindings"]}}"#,
    ),
    (
        "Restore spec.itemOperationTimeout",
        r#"{"spec": {"itemOperationTimeout": "25h"}}"#,
    ),
    (
        "Restore spec.itemOperationTimeout",
        r#"{"spec": {"itemOperationTimeout": "999999h"}}"#,
    ),
    (
        "Restore spec.namespaceMapping",
        r#"{"spec": {"namespaceMapping": {"shop": "{production}"}}}"#,
    ),
    (
        "Restore spec.namespaceMapping",
        r#"{"spec": {"namespaceMapping": {"shop": "kube-system"}}}"#,
    ),
    (
        "Restore spec.namespaceMapping",
        r#"{"spec": {"namespaceMapping": {"shop": "{foreign}"}}}"#,
    ),
    (
        "Restore spec.namespaceMapping",
        r#"{"spec": {"namespaceMapping": {"shop": null}}}"#,
    ),
    (
        "Restore spec.namespaceMapping",
        r#"{"spec": {"namespaceMapping": null}}"#,
    ),
    (
        "Restore spec.namespaceMapping",
        r#"{"spec": {"namespaceMapping": {"blog": "{sandbox}"}}}"#,
    ),
    (
        "Restore spec.namespaceMapping",
        r#"{"spec": {"namespaceMapping": {"shop": "-kymaros-{run}"}}}"#,
    ),
    (
        "Restore spec.namespaceMapping",
        r#"{"spec": {"namespaceMapping": {"shop": "a/../b-kymaros-{run}"}}}"#,
    ),
    (
        "Restore spec.orLabelSelectors",
        r#"{"spec": {"orLabelSelectors": [{"matchLabels": {"a": "b"}}]}}"#,
    ),
    (
        "Restore spec.preserveNodePorts",
        r#"{"spec": {"preserveNodePorts": true}}"#,
    ),
    (
        "Restore spec.resourceModifier.name",
        r#"{"spec": {"resourceModifier": {"kind": "ConfigMap", "name": "theirs"}}}"#,
    ),
    (
        "Restore spec.resourceModifier.name",
        r#"{"spec": {"resourceModifier": {"kind": "ConfigMap", "name": "kymaros-zzzzzz"}}}"#,
    ),
    (
        "Restore spec.resourceModifier.kind",
        r#"{"spec": {"resourceModifier": {"kind": "Secret", "name": "kymaros-{run}"}}}"#,
    ),
    (
        "Restore spec.resourcePolicy",
        r#"{"spec": {"resourcePolicy": {"kind": "configmap", "name": "kymaros-{run}"}}}"#,
    ),
    ("Restore spec.restorePVs", r#"{"spec": {"restorePVs": false}}"#),
    (
        "Restore spec.restoreStatus",
        r#"{"spec": {"restoreStatus": {"includedResources": ["*"]}}}"#,
    ),
    ("Restore spec.restoreStatus", r#"{"spec": {"restoreStatus": {}}}"#),
    (
        "Restore spec.uploaderConfig",
        r#"{"spec": {"uploaderConfig": {"parallelFilesDownload": 1000}}}"#,
    ),
    (
        "Restore spec.uploaderConfig",
        r#"{"spec": {"uploaderConfig": {"writeSparseFiles": true}}}"#,
    ),
    ("Restore status.phase", r#"{"status": {"phase": "InProgress"}}"#),
    (
        "Restore status.phase",
        r#"{"status": {"phase": "WaitingForPluginOperations"}}"#,
    ),
    ("Restore status.phase", r#"{"status": {"phase": "Finalizing"}}"#),
    ("Restore status.phase", r#"{"status": {"phase": "Completed"}}"#),
    ("ObjectMeta name", r#"{"metadata": {"name": "shop"}}"#),
    ("ObjectMeta name", r#"{"metadata": {"name": "kymaros-1234567"}}"#),
    (
        "ObjectMeta generateName",
        r#"{"metadata": {"name": null, "generateName": "kymaros-a"}}"#,
    ),
    (
        "ObjectMeta generateName",
        r#"{"metadata": {"name": null, "generateName": "shop-"}}"#,
    ),
    (
        "ObjectMeta labels",
        r#"{"metadata": {"labels": {"kymaros.io/managed-by": null}}}"#,
    ),
    (
        "ObjectMeta labels",
        r#"{"metadata": {"labels": {"kymaros.io/managed-by": "somebody"}}}"#,
    ),
    (
        "ObjectMeta labels",
        r#"{"metadata": {"labels": {"velero.io/schedule-name": "daily"}}}"#,
    ),
    (
        "ObjectMeta annotations",
        r#"{"metadata": {"annotations": {"velero.io/pod-volume-timeout": "999999h"}}}"#,
    ),
    (
        "ObjectMeta annotations",
        r#"{"metadata": {"annotations": {"velero.io/resource-timeout": "999999h"}}}"#,
    ),
    (
        "ObjectMeta finalizers",
        r#"{"metadata": {"finalizers": ["example.com/stay"]}}"#,
    ),
    (
        "OwnerReference uid",
        r#"{"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "u"}]}}"#,
    ),
];

fn restore(scene: &Scene) -> Value {
    json!({
        "apiVersion": "velero.io/v1", "kind": "Restore",
        "metadata": {
            "name": format!("kymaros-{}", scene.run), "namespace": "velero", "labels": {"kymaros.io/managed-by": "kymaros"},
        },
        "spec": {"backupName": "none-such", "includedNamespaces": ["shop"], "namespaceMapping": {"shop": scene.sandbox}},
    })
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn what_the_list_calls_refused_or_limited_is_refused() {
    let scene = Scene::open().await;
    let honest = restore(&scene);
    let name = format!("kymaros-{}", scene.run);
    let target = Target {
        group: "velero.io",
        version: "v1",
        resource: "restores",
        namespace: Some("velero"),
        name: &name,
    };
    let accepted = ask(&scene.runner, Way::Create, &target, &honest, true).await;
    assert_eq!(accepted, Answer::Accepted, "an honest Restore");
    let mut failed = Vec::new();
    for (field, change) in TABLE {
        let text = change
            .replace("{run}", &scene.run)
            .replace("{sandbox}", &scene.sandbox)
            .replace("{foreign}", &scene.foreign)
            .replace("{production}", &scene.production);
        let change: Value = serde_json::from_str(&text).expect("a change");
        let mut body = with(&honest, change.clone());
        // A mapping and a selector are maps: the change replaces them, and a null is sent as one.
        for key in ["namespaceMapping", "includedNamespaces"] {
            if let Some(value) = change["spec"].get(key) {
                body["spec"][key] = value.clone();
            }
        }
        for dry_run in [true, false] {
            let answer = ask(&scene.runner, Way::Create, &target, &body, dry_run).await;
            if answer != Answer::Policy("restores".to_owned()) {
                failed.push(format!("{field} {text}, dry run {dry_run}: {answer:?}"));
                break;
            }
        }
    }
    scene.close().await;
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_field_that_is_refused_or_limited_is_tried() {
    let tried: BTreeSet<(String, String)> = TABLE
        .iter()
        .filter_map(|(field, _)| field.split_once(' '))
        .map(|(section, field)| (section.to_owned(), field.to_owned()))
        .collect();
    let mut missing = Vec::new();
    for ((section, field), verdict) in list("restore.txt").fields {
        // An owner is one thing, by whatever field it is named.
        let held = matches!(verdict, Verdict::Refused(_) | Verdict::Limited(_)) && section != "OwnerReference";
        if held && !tried.contains(&(section.clone(), field.clone())) {
            missing.push(format!("{section} {field}"));
        }
    }
    assert!(missing.is_empty(), "not tried: {}", missing.join(", "));
}
