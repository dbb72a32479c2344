//! Clean-up against an API server that keeps its objects in memory: what is deleted in which order, and what never is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{RunRef, clean_up, find_leftovers, keep};
use crate::cluster::Cluster;
use crate::cluster::fake::{Asked, Log, Reply, cluster, status};
use crate::sweep::{Swept, sweep};

const SANDBOX: &str = "/api/v1/namespaces/rp-test-shop-kymaros-abc123";
const RESTORE: &str = "/apis/velero.io/v1/namespaces/velero/restores/kymaros-abc123";
const PVR: &str = "/apis/velero.io/v1/namespaces/velero/podvolumerestores/kymaros-abc123-1";

/// An API server's objects by their path, and what happens to them.
#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Value>,
    /// Objects whose deletion only begins, with the state they are then in.
    stuck: BTreeMap<String, Value>,
    /// Changes that happen one by one, each when somebody watches.
    later: Vec<(String, Value)>,
    /// Refused: verb and part of the path.
    refused: Vec<(&'static str, &'static str)>,
}

impl Store {
    fn with(mut self, path: &str, mut object: Value) -> Self {
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
        let uid = &self.objects[path]["metadata"]["uid"];
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

fn labels() -> Value {
    json!({"kymaros.io/managed-by": "kymaros", "kymaros.io/run": "abc123", "kymaros.io/test": "shop"})
}

fn sandbox() -> Value {
    json!({"metadata": {
        "labels": labels(),
        "annotations": {"kymaros.io/expires-at": "2026-01-01T12:00:00Z", "kymaros.io/ttl": "30m0s", "kymaros.io/provider-namespace": "velero"},
    }})
}

fn restore(phase: &str) -> Value {
    json!({"metadata": {"namespace": "velero", "labels": labels()}, "spec": {}, "status": {"phase": phase}})
}

fn volume_restore(phase: &str) -> Value {
    json!({
        "metadata": {"namespace": "velero", "labels": {"velero.io/restore-name": "kymaros-abc123", "velero.io/restore-uid": "uid-kymaros-abc123"}},
        "spec": {}, "status": {"phase": phase},
    })
}

fn volume(namespace: &str, policy: &str, handle: &str) -> Value {
    json!({"metadata": {}, "spec": {
        "persistentVolumeReclaimPolicy": policy,
        "claimRef": {"namespace": namespace, "name": "data", "uid": "claim-1"},
        "csi": {"driver": "d", "volumeHandle": handle},
    }})
}

/// A run that has made one of everything, and objects of others beside it.
fn full() -> Store {
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

fn run() -> RunRef {
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

fn serve(store: Store) -> (Cluster, Log, Arc<Mutex<Store>>) {
    let store = Arc::new(Mutex::new(store));
    let shared = Arc::clone(&store);
    let (cluster, log) = cluster(move |asked| shared.lock().unwrap().answer(asked));
    (cluster, log, store)
}

fn in_one_minute() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

/// The writes, in their order, without what stands before the last part of a path.
fn writes(log: &Log) -> Vec<String> {
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

#[tokio::test(start_paused = true)]
async fn all_of_the_run_goes_in_order_and_nothing_of_others() {
    let (cluster, log, store) = serve(full());
    let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
    // A ConfigMap with our labels but a name that is not ours may be the provider's: it is named and not touched.
    assert_eq!(outcome.left.len(), 1, "{outcome}");
    assert!(outcome.left[0].starts_with("ConfigMap plugin-config: "), "{outcome}");
    assert_eq!(
        writes(&log),
        [
            "PATCH pv-1",
            "DELETE rp-test-shop-kymaros-abc123",
            "DELETE kymaros-abc123",
            "DELETE kymaros-abc123-0",
            "DELETE kymaros-abc123-alive-0",
            "DELETE kymaros-abc123",
            "DELETE snap-1",
        ]
    );
    let store = store.lock().unwrap();
    let rest: BTreeSet<&str> = store
        .objects
        .keys()
        .filter_map(|path| path.rsplit('/').next())
        .collect();
    assert_eq!(
        rest,
        BTreeSet::from(["plugin-config", "pv-shop", "shop", "snap-shop", "somebody"])
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_touched_while_the_provider_writes() {
    for store in [
        full().with(RESTORE, restore("InProgress")),
        full().with(RESTORE, restore("Finalizing")),
        full().with(RESTORE, restore("SomethingNew")),
        full().with(PVR, volume_restore("InProgress")),
        full().with(PVR, volume_restore("")),
    ] {
        let (cluster, log, _) = serve(store);
        let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
        assert!(outcome.provider_writes && !outcome.is_complete(), "{outcome}");
        let writes = writes(&log);
        // A volume restore may be told to stop; that is all.
        assert!(
            writes.iter().all(|write| write == "PATCH kymaros-abc123-1"),
            "{writes:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn not_knowing_whether_the_provider_writes_is_as_good_as_that_it_does() {
    for refused in ["restores/", "podvolumerestores"] {
        let mut store = full();
        store.refused.push(("GET", refused));
        let (cluster, log, _) = serve(store);
        let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
        assert!(outcome.provider_writes, "{outcome}");
        assert!(outcome.left[0].contains("not known"), "{outcome}");
        assert_eq!(writes(&log), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn clean_up_begins_when_restore_and_volumes_have_ended() {
    let mut store = full()
        .with(RESTORE, restore("InProgress"))
        .with(PVR, volume_restore("InProgress"));
    store.later = vec![
        (RESTORE.to_owned(), json!({"status": {"phase": "Finalizing"}})),
        (RESTORE.to_owned(), json!({"status": {"phase": "PartiallyFailed"}})),
        (PVR.to_owned(), json!({"status": {"phase": "Canceled"}})),
    ];
    let (cluster, log, store) = serve(store);
    let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
    assert!(!outcome.provider_writes, "{outcome}");
    assert!(store.lock().unwrap().later.is_empty());
    assert_eq!(
        writes(&log)[..3],
        [
            "PATCH kymaros-abc123-1",
            "PATCH pv-1",
            "DELETE rp-test-shop-kymaros-abc123"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_is_gone_is_no_obstacle_but_its_volumes_are() {
    let mut gone = full();
    gone.objects.remove(RESTORE);
    let (cluster, ..) = serve(gone);
    assert!(!clean_up(&cluster, &run(), in_one_minute()).await.provider_writes);

    let mut writing = full().with(PVR, volume_restore("InProgress"));
    writing.objects.remove(RESTORE);
    let (cluster, ..) = serve(writing);
    let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
    assert_eq!(outcome.left[0], "PodVolumeRestore kymaros-abc123-1: still InProgress");
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_has_not_begun_is_taken_back() {
    let (cluster, log, _) = serve(full().with(RESTORE, restore("")));
    let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
    assert!(!outcome.provider_writes, "{outcome}");
    assert_eq!(writes(&log)[0], "DELETE kymaros-abc123");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_not_proved_to_be_the_sandbox_stays() {
    let another = |key: &str, value: Value| {
        let mut namespace = sandbox();
        namespace["metadata"][key] = value;
        namespace
    };
    for namespace in [
        another("labels", json!({})),
        another("annotations", json!({})),
        another("uid", json!("another")),
        another(
            "labels",
            json!({"kymaros.io/managed-by": "kymaros", "kymaros.io/run": "zzzzzz", "kymaros.io/test": "shop"}),
        ),
    ] {
        let (cluster, log, store) = serve(full().with(SANDBOX, namespace));
        clean_up(&cluster, &run(), in_one_minute()).await;
        assert!(store.lock().unwrap().objects.contains_key(SANDBOX));
        assert!(!writes(&log).contains(&"DELETE rp-test-shop-kymaros-abc123".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn storage_of_others_is_protected_before_its_claim_goes() {
    let pv = "/api/v1/persistentvolumes/pv-1";
    let shared = volume("rp-test-shop-kymaros-abc123", "Delete", "vol-shop");
    let (cluster, log, store) = serve(full().with(pv, shared.clone()));
    let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
    assert_eq!(writes(&log)[..2], ["PATCH pv-1", "DELETE rp-test-shop-kymaros-abc123"]);
    assert_eq!(
        store.lock().unwrap().objects[pv]["spec"]["persistentVolumeReclaimPolicy"],
        "Retain"
    );
    assert!(
        outcome
            .left
            .iter()
            .any(|left| left.starts_with("PersistentVolume pv-1: its storage is also")),
        "{outcome}"
    );

    // It cannot be protected: then the sandbox stays too.
    let mut store = full().with(pv, shared);
    store.refused.push(("PATCH", "persistentvolumes"));
    let (cluster, log, store) = serve(store);
    let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
    assert!(store.lock().unwrap().objects.contains_key(SANDBOX));
    assert!(!writes(&log).contains(&"DELETE rp-test-shop-kymaros-abc123".to_owned()));
    assert!(
        outcome.left.iter().any(|left| left.contains("could not be protected")),
        "{outcome}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_knowing_the_volumes_no_sandbox_goes() {
    let mut store = full();
    store.refused.push(("GET", "/persistentvolumes"));
    let (cluster, _, store) = serve(store);
    let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
    assert!(store.lock().unwrap().objects.contains_key(SANDBOX));
    assert!(
        outcome
            .left
            .iter()
            .any(|left| left.starts_with("perhaps PersistentVolumes")),
        "{outcome}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_named_and_the_rest_goes() {
    let mut store = full();
    store
        .objects
        .remove("/api/v1/namespaces/velero/configmaps/plugin-config");
    let message = "Some content in the namespace has finalizers remaining: example.com/block in 2 resource instances";
    store.stuck.insert(
        SANDBOX.to_owned(),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"conditions": [
            {"type": "NamespaceFinalizersRemaining", "status": "True", "message": message},
        ]}}),
    );
    store.stuck.insert(
        RESTORE.to_owned(),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    );
    let (cluster, log, store) = serve(store);
    let begun = Instant::now();
    let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
    assert!(begun.elapsed() < Duration::from_secs(70));
    assert!(
        outcome
            .left
            .contains(&format!("Namespace rp-test-shop-kymaros-abc123: {message}")),
        "{outcome}"
    );
    assert!(
        outcome
            .left
            .iter()
            .any(|left| left.starts_with("Restore kymaros-abc123: the provider")),
        "{outcome}"
    );
    assert!(writes(&log).contains(&"DELETE snap-1".to_owned()));
    let store = store.lock().unwrap();
    assert!(
        !store
            .objects
            .contains_key("/api/v1/namespaces/velero/configmaps/kymaros-abc123")
    );
}

#[tokio::test(start_paused = true)]
async fn kinds_that_are_not_served_are_no_leftovers() {
    // Paths of an unknown group are no collections of this store: 404.
    let (cluster, _) = cluster(|asked| {
        if asked.path.contains("snapshot.storage.k8s.io") || asked.path.contains("velero.io") {
            Reply::Say(
                404,
                status(404, "NotFound", "the server could not find the requested resource").to_string(),
            )
        } else {
            Reply::list(&[])
        }
    });
    let outcome = clean_up(
        &cluster,
        &RunRef {
            sandboxes: Vec::new(),
            ..run()
        },
        in_one_minute(),
    )
    .await;
    assert!(outcome.is_complete(), "{outcome}");
}

#[tokio::test(start_paused = true)]
async fn leftovers_are_those_of_dead_runs_and_not_what_is_kept() {
    let now: DateTime<Utc> = "2026-01-01T11:00:00Z".parse().unwrap();
    let (cluster, _, store) = serve(full());
    let found = find_leftovers(&cluster, "shop", "velero", "own999", now).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].run_id.as_str(), found[0].sandboxes.len()), ("abc123", 1));
    assert!(
        find_leftovers(&cluster, "shop", "velero", "abc123", now)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        find_leftovers(&cluster, "other", "velero", "own999", now)
            .await
            .unwrap()
            .is_empty()
    );

    let until = now + chrono::TimeDelta::hours(2);
    assert!(keep(&cluster, &run(), until).await.is_empty());
    assert_eq!(
        store.lock().unwrap().objects[SANDBOX]["metadata"]["annotations"]["kymaros.io/expires-at"],
        "2026-01-01T13:00:00Z"
    );
    assert!(
        find_leftovers(&cluster, "shop", "velero", "own999", now)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        find_leftovers(&cluster, "shop", "velero", "own999", until)
            .await
            .unwrap()
            .len(),
        1
    );
}

fn lease(renewed: &str) -> Value {
    json!({
        "metadata": {"namespace": "kymaros-system", "annotations": {"kymaros.io/run": "abc123"}},
        "spec": {"holderIdentity": "abc123/runner-1/uid-runner-1", "leaseDurationSeconds": 300, "renewTime": renewed},
    })
}

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kymaros-system/leases/shop";

async fn swept(store: Store, now: &str) -> (Swept, Vec<String>) {
    let (cluster, log, _) = serve(store);
    let swept = sweep(&cluster, "kymaros-system", now.parse().unwrap(), in_one_minute())
        .await
        .unwrap();
    (swept, writes(&log))
}

#[tokio::test(start_paused = true)]
async fn the_sweep_takes_what_is_due_and_dead_and_nothing_else() {
    let mut clean = full();
    clean
        .objects
        .remove("/api/v1/namespaces/velero/configmaps/plugin-config");
    let done = Swept {
        removed: 1,
        ..Swept::default()
    };
    let (early, touched) = swept(full(), "2026-01-01T11:59:00Z").await;
    assert_eq!((early, touched.len()), (Swept::default(), 0));
    let (due, touched) = swept(clean, "2026-01-01T12:00:00Z").await;
    assert_eq!(due, done);
    assert!(touched.contains(&"DELETE rp-test-shop-kymaros-abc123".to_owned()));

    // Its Lease says when it died: half an hour is its ttl. (The Lease itself has long expired by the clock of this test.)
    let (early, _) = swept(
        full().with(LEASE, lease("2020-01-01T08:00:00.000000Z")),
        "2020-01-01T08:29:00Z",
    )
    .await;
    assert_eq!(early, Swept::default());
    let (due, touched) = swept(
        full().with(LEASE, lease("2020-01-01T08:00:00.000000Z")),
        "2020-01-01T08:31:00Z",
    )
    .await;
    assert_eq!(due.left.len(), 1, "{due:?}");
    assert!(touched.contains(&"DELETE rp-test-shop-kymaros-abc123".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_sweep_leaves_live_runs_and_busy_providers_alone() {
    let now = crate::clock::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let pod = json!({"metadata": {"uid": "uid-runner-1"}, "status": {"phase": "Running"}});
    let alive = full()
        .with(LEASE, lease(&now))
        .with("/api/v1/namespaces/kymaros-system/pods/runner-1", pod);
    let (swept_alive, touched) = swept(alive, "2036-01-01T12:00:00Z").await;
    assert_eq!((swept_alive, touched.len()), (Swept::default(), 0));

    // One provider that may not be asked does not keep the others' sandboxes.
    let mut other = sandbox();
    other["metadata"]["labels"]["kymaros.io/run"] = json!("aaa111");
    other["metadata"]["annotations"]["kymaros.io/provider-namespace"] = json!("elsewhere");
    let mut partly = full().with("/api/v1/namespaces/other-kymaros-aaa111", other);
    partly.refused.push(("GET", "/namespaces/elsewhere/"));
    let (partly, touched) = swept(partly, "2026-01-01T12:00:00Z").await;
    assert!(
        partly.left.iter().any(|left| left.starts_with("run aaa111: ")),
        "{partly:?}"
    );
    assert!(touched.contains(&"DELETE rp-test-shop-kymaros-abc123".to_owned()));
    assert!(!touched.contains(&"DELETE other-kymaros-aaa111".to_owned()));

    let busy = full().with(RESTORE, restore("InProgress"));
    let (waiting, touched) = swept(busy, "2026-01-01T12:00:00Z").await;
    assert_eq!((waiting.waiting, touched.len()), (1, 0));
}
