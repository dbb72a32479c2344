//! What `walk_granted` finds when it begins, and the objects that it asks for.

use serde_json::{Value, json};

use crate::support::cases::with;
use crate::support::scene::Scene;

/// An object, which `change` says more of.
pub(crate) fn object(api_version: &str, kind: &str, namespace: &str, name: &str, change: Value) -> Value {
    let bare = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    let place = if namespace.is_empty() {
        json!({})
    } else {
        json!({"metadata": {"namespace": namespace}})
    };
    with(&with(&bare, place), change)
}

/// What is there before, made by the administrator: nothing of it is the runner's but what carries the run's name.
pub(crate) struct Props {
    /// Production's, nobody's, and a sandbox's.
    pub(crate) volumes: [Value; 3],
    /// Production's and a sandbox's.
    pub(crate) contents: [Value; 2],
    pub(crate) objects: Vec<Value>,
    /// One that is not finished.
    pub(crate) report: Value,
}

pub(crate) fn props(scene: &Scene) -> Props {
    let run = &scene.run;
    let volume = |name: &str, claimant: &str| {
        let claim = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": claimant, "name": "data",
            "uid": "11111111-2222-3333-4444-555555555555"});
        let volume = object(
            "v1",
            "PersistentVolume",
            "",
            &format!("walk-{name}-{run}"),
            json!({"spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fence",
                "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "fence.example.com", "volumeHandle": name},
            }}),
        );
        if claimant.is_empty() {
            volume
        } else {
            with(&volume, json!({"spec": {"claimRef": claim}}))
        }
    };
    let content = |name: &str, namespace: &str| {
        object(
            "snapshot.storage.k8s.io/v1",
            "VolumeSnapshotContent",
            "",
            &format!("walk-{name}-{run}"),
            json!({"spec": {
                "deletionPolicy": "Retain", "driver": "fence.example.com", "source": {"snapshotHandle": "h"},
                "volumeSnapshotRef": {"namespace": namespace, "name": "s"},
            }}),
        )
    };
    let velero = |version: &str, kind: &str, spec: Value| {
        object(
            &format!("velero.io/{version}"),
            kind,
            "velero",
            &format!("walk-{run}"),
            json!({"spec": spec}),
        )
    };
    let restored = |restore: &str| json!({"metadata": {"name": format!("walk-{restore}"), "labels": {"velero.io/restore-name": restore}}});
    let pod = velero(
        "v1",
        "PodVolumeRestore",
        json!({
            "pod": {"kind": "Pod", "namespace": scene.production, "name": "none", "uid": "none"}, "volume": "data",
            "backupStorageLocation": "none", "repoIdentifier": "none", "snapshotID": "none", "sourceNamespace": "shop",
        }),
    );
    let data = velero(
        "v2alpha1",
        "DataDownload",
        json!({
            "targetVolume": {"pvc": "none", "pv": "", "namespace": scene.production}, "backupStorageLocation": "none",
            "snapshotID": "none", "sourceNamespace": "shop", "operationTimeout": "10m",
        }),
    );
    let real = format!("disaster-{run}");
    Props {
        volumes: [
            volume("prod", &scene.production),
            volume("free", ""),
            volume("drill", &scene.sandbox),
        ],
        contents: [content("prod", &scene.production), content("drill", &scene.sandbox)],
        objects: vec![
            with(&pod, restored(&real)),
            with(&data, restored(&real)),
            object(
                "v1",
                "PersistentVolumeClaim",
                &scene.sandbox,
                &format!("walk-{run}"),
                json!({"spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "fence",
                }}),
            ),
            velero("v1", "Restore", json!({"backupName": "none-such"})),
            velero(
                "v1",
                "DownloadRequest",
                json!({"target": {"kind": "BackupLog", "name": "none-such"}}),
            ),
            // Answered, and not to be forgotten by a live provider while the walk lasts.
            with(
                &velero("v1", "ServerStatusRequest", json!({})),
                json!({"status": {"phase": "Processed", "processedTimestamp": "2099-01-01T00:00:00Z"}}),
            ),
            object("v1", "ConfigMap", "velero", &format!("walk-{run}"), json!({})),
            lease("velero", &format!("walk-{run}")),
            lease("kymaros-system", &format!("walk-{run}")),
            object(
                "v1",
                "Pod",
                &scene.sandbox,
                "walk",
                json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}),
            ),
            object(
                "restore.kymaros.io/v1alpha1",
                "RestoreTest",
                "kymaros-system",
                &format!("walk-{run}"),
                json!({
                    "spec": {"backupSource": {"provider": "velero", "namespaces": [{"name": "shop"}]}},
                }),
            ),
            event(&format!("walk-{run}")),
        ],
        report: report(&format!("walk-{run}")),
    }
}

pub(crate) fn lease(namespace: &str, name: &str) -> Value {
    object(
        "coordination.k8s.io/v1",
        "Lease",
        namespace,
        name,
        json!({"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 300}}),
    )
}

pub(crate) fn event(name: &str) -> Value {
    object(
        "events.k8s.io/v1",
        "Event",
        "kymaros-system",
        name,
        json!({
            "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "Walked", "action": "Walk", "note": "x",
            "reportingController": "kymaros.io/runner", "reportingInstance": "walk",
            "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": "kymaros-system", "name": "walk"},
        }),
    )
}

pub(crate) fn report(name: &str) -> Value {
    object(
        "restore.kymaros.io/v1alpha1",
        "RestoreReport",
        "kymaros-system",
        name,
        json!({
            "metadata": {"labels": {"kymaros.io/test": "fence"}}, "spec": {"testRef": "fence"},
        }),
    )
}
