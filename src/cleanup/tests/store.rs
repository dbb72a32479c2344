//! An API server that keeps its objects in memory, and a run that has made one of everything in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cleanup::RunRef;
use crate::cluster::Cluster;
use crate::cluster::fake::{Asked, Log, Reply, cluster};

pub(super) const SANDBOX: &str = "/api/v1/namespaces/rp-test-shop-kymaros-abc123";
pub(super) const RESTORE: &str = "/apis/velero.io/v1/namespaces/velero/restores/kymaros-abc123";
pub(super) const PVR: &str = "/apis/velero.io/v1/namespaces/velero/podvolumerestores/kymaros-abc123-1";

/// An API server's objects by their path, and what happens to them.
#[derive(Default)]
pub(super) struct Store {
    pub(super) objects: BTreeMap<String, Value>,
    /// Objects whose deletion only begins, with the state they are then in.
    pub(super) stuck: BTreeMap<String, Value>,
    /// Changes that happen one by one, each when somebody watches.
    pub(super) later: Vec<(String, Value)>,
    /// Refused: verb and part of the path.
    pub(super) refused: Vec<(&'static str, &'static str)>,
}

impl Store {
    pub(super) fn with(mut self, path: &str, mut object: Value) -> Self {
        let (_, name) = path.rsplit_once('/').unwrap();
        object["metadata"]["name"] = json!(name);
        object["metadata"]["resourceVersion"] = json!("1");
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{name}"));
        }
        self.objects.insert(path.to_owned(), object);
        self
    }

    fn answer(&mut self, asked: &Asked) -> Reply {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        if self
            .refused
            .iter()
            .any(|(verb, part)| asked.method == *verb && path.contains(part))
        {
            return Reply::status(403, "Forbidden", "you may not");
        }
        match asked.method.as_str() {
            "GET" if asked.is_watch() => self.watch(path, query),
            "GET" if self.objects.contains_key(path) => Reply::json(&self.objects[path]),
            "GET" if is_collection(path) => Reply::list(&self.list(path, query)),
            "PATCH" if self.objects.contains_key(path) => {
                let object = self.objects.get_mut(path).unwrap();
                merge(object, &asked.body);
                Reply::json(object)
            }
            "DELETE" if self.objects.contains_key(path) => self.delete(path, &asked.body),
            "DELETE" if is_collection(path) => {
                let inside = format!("{path}/");
                self.objects.retain(|key, _| !key.starts_with(&inside));
                Reply::list(&[])
            }
            _ => Reply::status(404, "NotFound", "not found"),
        }
    }

    fn list(&self, path: &str, query: &str) -> Vec<Value> {
        let inside = |key: &str| {
            key.strip_prefix(path)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|name| !name.contains('/'))
        };
        self.objects
            .iter()
            .filter(|(key, object)| inside(key) && selected(object, query))
            .map(|(_, object)| object.clone())
            .collect()
    }

    fn watch(&mut self, path: &str, query: &str) -> Reply {
        if self.later.is_empty() {
            return Reply::quiet();
        }
        let (changed, change) = self.later.remove(0);
        if change.is_null() {
            self.objects.remove(&changed);
            return Reply::quiet();
        }
        let object = self.objects.get_mut(&changed).unwrap();
        merge(object, &change);
        if changed.starts_with(path) && selected(object, query) {
            return Reply::events(&[("MODIFIED", object.clone())]);
        }
        Reply::quiet()
    }

    fn delete(&mut self, path: &str, options: &Value) -> Reply {
        let meta = &self.objects[path]["metadata"];
        let uid = &meta["uid"];
        let version = &options["preconditions"]["resourceVersion"];
        if !version.is_null() && *version != meta["resourceVersion"] {
            return Reply::status(409, "Conflict", "Precondition failed: ResourceVersion in precondition");
        }
        if options["preconditions"]["uid"] != *uid {
            return Reply::status(
                409,
                "Conflict",
                "Precondition failed: UID in precondition does not match",
            );
        }
        if let Some(state) = self.stuck.get(path) {
            merge(self.objects.get_mut(path).unwrap(), &state.clone());
            return Reply::json(&self.objects[path]);
        }
        let gone = self.objects.remove(path).unwrap();
        if let Some(namespace) = path.strip_prefix("/api/v1/namespaces/") {
            let contents = format!("{path}/");
            self.objects.retain(|key, _| !key.starts_with(&contents));
            self.objects.retain(|key, object| {
                !(key.starts_with("/api/v1/persistentvolumes/")
                    && object["spec"]["claimRef"]["namespace"] == namespace
                    && object["spec"]["persistentVolumeReclaimPolicy"] == "Delete")
            });
        }
        Reply::json(&gone)
    }
}

fn is_collection(path: &str) -> bool {
    let kinds = [
        "namespaces",
        "persistentvolumes",
        "persistentvolumeclaims",
        "restores",
        "podvolumerestores",
        "configmaps",
        "downloadrequests",
        "serverstatusrequests",
        "leases",
        "volumesnapshotcontents",
        "restoretests",
    ];
    path.rsplit('/').next().is_some_and(|last| kinds.contains(&last))
}

fn selected(object: &Value, query: &str) -> bool {
    let query = query.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
    query.split('&').all(|pair| match pair.split_once('=') {
        Some(("labelSelector", wanted)) => wanted.split(',').all(|one| {
            let (key, value) = one.split_once('=').unwrap_or((one, ""));
            let label = &object["metadata"]["labels"][key];
            if one.contains('=') {
                label == value
            } else {
                !label.is_null()
            }
        }),
        Some(("fieldSelector", wanted)) => object["metadata"]["name"] == wanted.trim_start_matches("metadata.name="),
        _ => true,
    })
}

fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = json!({});
            }
            for (key, value) in fields {
                merge(&mut object[key], value);
            }
        }
        other => *object = other.clone(),
    }
}

pub(super) fn labels() -> Value {
    json!({"kymaros.io/managed-by": "kymaros", "kymaros.io/run": "abc123", "kymaros.io/test": "shop"})
}

pub(super) fn sandbox() -> Value {
    json!({"metadata": {
        "labels": labels(),
        "annotations": {"kymaros.io/expires-at": "2026-01-01T12:00:00Z", "kymaros.io/ttl": "30m0s", "kymaros.io/provider-namespace": "velero"},
    }})
}

pub(super) fn restore(phase: &str) -> Value {
    json!({"metadata": {"namespace": "velero", "labels": labels()}, "spec": {}, "status": {"phase": phase}})
}

pub(super) fn volume_restore(phase: &str) -> Value {
    json!({
        "metadata": {"namespace": "velero", "labels": {"velero.io/restore-name": "kymaros-abc123", "velero.io/restore-uid": "uid-kymaros-abc123"}},
        "spec": {}, "status": {"phase": phase},
    })
}

pub(super) fn volume(namespace: &str, policy: &str, handle: &str) -> Value {
    json!({"metadata": {}, "spec": {
        "persistentVolumeReclaimPolicy": policy,
        "claimRef": {"namespace": namespace, "name": "data", "uid": "claim-1"},
        "csi": {"driver": "d", "volumeHandle": handle},
    }})
}

/// A run that has made one of everything, and objects of others beside it.
pub(super) fn full() -> Store {
    let sandbox_name = "rp-test-shop-kymaros-abc123";
    let ours = json!({"metadata": {"namespace": "velero", "labels": labels()}, "spec": {}});
    let snapshot = |namespace: &str| {
        json!({
            "metadata": {"labels": {"velero.io/restore-name": "kymaros-abc123"}},
            "spec": {"volumeSnapshotRef": {"namespace": namespace, "name": "s"}},
        })
    };
    Store::default()
        .with(SANDBOX, sandbox())
        .with(
            "/api/v1/namespaces/shop",
            json!({"metadata": {"labels": {"app": "shop"}}}),
        )
        .with(RESTORE, restore("Completed"))
        .with(
            "/apis/velero.io/v1/namespaces/velero/restores/somebody",
            json!({"metadata": {"namespace": "velero"}}),
        )
        .with("/api/v1/namespaces/velero/configmaps/kymaros-abc123", ours.clone())
        .with("/api/v1/namespaces/velero/configmaps/plugin-config", ours.clone())
        .with(
            "/apis/velero.io/v1/namespaces/velero/downloadrequests/kymaros-abc123-0",
            ours.clone(),
        )
        .with(
            "/apis/velero.io/v1/namespaces/velero/serverstatusrequests/kymaros-abc123-alive-0",
            ours,
        )
        .with(
            "/api/v1/persistentvolumes/pv-1",
            volume(sandbox_name, "Retain", "vol-1"),
        )
        .with(
            "/api/v1/persistentvolumes/pv-shop",
            volume("shop", "Retain", "vol-shop"),
        )
        .with(
            "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/snap-1",
            snapshot(sandbox_name),
        )
        .with(
            "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/snap-shop",
            snapshot("shop"),
        )
}

pub(super) fn run() -> RunRef {
    RunRef {
        run_id: "abc123".to_owned(),
        test: "shop".to_owned(),
        provider_namespace: "velero".to_owned(),
        sandboxes: vec![(
            "rp-test-shop-kymaros-abc123".to_owned(),
            Some("uid-rp-test-shop-kymaros-abc123".to_owned()),
        )],
    }
}

pub(super) fn serve(store: Store) -> (Cluster, Log, Arc<Mutex<Store>>) {
    let store = Arc::new(Mutex::new(store));
    let shared = Arc::clone(&store);
    let (cluster, log) = cluster(move |asked| shared.lock().unwrap().answer(asked));
    (cluster, log, store)
}

pub(super) fn in_one_minute() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

/// The writes, in their order, without what stands before the last part of a path.
pub(super) fn writes(log: &Log) -> Vec<String> {
    let log = log.lock().unwrap();
    let writes = log.iter().filter(|line| !line.starts_with("GET"));
    writes
        .map(|line| {
            let (verb, path) = line.split_once(' ').unwrap();
            let path = path.split('?').next().unwrap();
            format!("{verb} {}", path.rsplit('/').next().unwrap())
        })
        .collect()
}
