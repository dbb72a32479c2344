//! What the sweep takes, and what it leaves alone.

use serde_json::{Value, json};

use super::store::{RESTORE, SANDBOX, Store, full, in_one_minute, restore, sandbox, serve, writes};
use crate::sweep::{Swept, sweep};

fn lease(renewed: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "kymaros-system",
            "labels": {"kymaros.io/managed-by": "kymaros", "kymaros.io/run": "abc123"},
            "annotations": {
                "kymaros.io/run": "abc123", "kymaros.io/provider-namespace": "velero",
                "kymaros.io/sandboxes": "shop=rp-test-shop-kymaros-abc123",
            },
        },
        "spec": {"holderIdentity": "abc123/runner-1/uid-runner-1", "leaseDurationSeconds": 300, "renewTime": renewed},
    })
}

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kymaros-system/leases/shop";
const TEST: &str = "/apis/restore.kymaros.io/v1alpha1/namespaces/kymaros-system/restoretests/shop";
const POD: &str = "/api/v1/namespaces/kymaros-system/pods/runner-1";
/// Far ahead of every clock.
const AHEAD: &str = "2099-01-01T00:00:00.000000Z";

fn test() -> Value {
    json!({"metadata": {"namespace": "kymaros-system"}, "spec": {"backupSource": {"provider": "velero", "namespaces": [{"name": "shop"}]}}})
}

fn pod(phase: &str) -> Value {
    json!({"metadata": {"uid": "uid-runner-1"}, "status": {"phase": phase}})
}

/// A sandbox that says who made it.
fn made_by(holder: &str) -> Value {
    let mut sandbox = sandbox();
    sandbox["metadata"]["annotations"]["kymaros.io/holder"] = json!(holder);
    sandbox
}

async fn swept(store: Store, now: &str) -> (Swept, Vec<String>) {
    let (cluster, log, _) = serve(store);
    let swept = sweep(&cluster, "kymaros-system", now.parse().unwrap(), in_one_minute())
        .await
        .unwrap();
    (swept, writes(&log))
}

#[tokio::test(start_paused = true)]
async fn the_sweep_takes_what_is_due_and_dead_and_nothing_else() {
    let done = Swept {
        removed: 1,
        ..Swept::default()
    };
    let (early, touched) = swept(full(), "2026-01-01T11:59:00Z").await;
    assert_eq!((early, touched.len()), (Swept::default(), 0));
    let (due, touched) = swept(full(), "2026-01-01T12:00:00Z").await;
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
    assert_eq!(due, done);
    assert!(touched.contains(&"DELETE rp-test-shop-kymaros-abc123".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_sweep_leaves_live_runs_and_busy_providers_alone() {
    let now = crate::clock::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let alive = full().with(LEASE, lease(&now)).with(POD, pod("Running"));
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

#[tokio::test(start_paused = true)]
async fn what_a_dead_run_left_at_the_provider_alone_goes_too() {
    const NOW: &str = "2026-01-01T08:00:00Z";
    let mut bare = full();
    let inside = "/api/v1/namespaces/rp-test-shop-kymaros-abc123";
    bare.objects.retain(|path, _| !path.starts_with(inside));
    // Nobody says where to look.
    let without = Store {
        objects: bare.objects.clone(),
        ..Store::default()
    };
    assert_eq!(swept(without, NOW).await.0, Swept::default());

    let turn = "/apis/coordination.k8s.io/v1/namespaces/velero/leases/kymaros-turn";
    let bare = bare.with(TEST, test()).with(turn, lease("2020-01-01T08:00:00.000000Z"));
    let alive = Store {
        objects: bare.objects.clone(),
        ..Store::default()
    };
    let (done, touched) = swept(bare, NOW).await;
    assert_eq!((done.removed, done.left.len()), (1, 0), "{done:?}");
    for gone in [
        "DELETE kymaros-abc123",
        "DELETE kymaros-abc123-0",
        "DELETE kymaros-turn",
    ] {
        assert!(touched.contains(&gone.to_owned()), "{gone}: {touched:?}");
    }
    assert!(!touched.iter().any(|write| write.contains("somebody")), "{touched:?}");

    // The same while its run lives.
    let now = crate::clock::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let alive = alive
        .with(LEASE, lease(&now))
        .with(turn, lease(&now))
        .with(POD, pod("Running"));
    let (nothing, touched) = swept(alive, NOW).await;
    assert_eq!((nothing, touched.len()), (Swept::default(), 0), "{touched:?}");
}

/// Somebody has deleted its Lease, so nobody can say when it died; that its pod is gone says enough.
#[tokio::test(start_paused = true)]
async fn a_run_without_a_lease_is_dead_when_its_pod_is() {
    const EARLY: &str = "2026-01-01T08:00:00Z";
    let deleted = "DELETE rp-test-shop-kymaros-abc123".to_owned();
    let store = |holder: &str| full().with(SANDBOX, made_by(holder));
    let own = "abc123/runner-1/uid-runner-1";
    for (store, goes) in [
        (store(own), true),
        (store(own).with(POD, pod("Succeeded")), true),
        (store(own).with(POD, pod("Failed")), true),
        (store("abc123/runner-1/another").with(POD, pod("Running")), true),
        (store(own).with(POD, pod("Running")), false),
        (store(own).with(POD, pod("Pending")), false),
        // Nobody knows.
        (store("somebody"), false),
        (full(), false),
    ] {
        let about = format!("{:?}", store.objects.get(POD));
        let (_, touched) = swept(store, EARLY).await;
        assert_eq!(touched.contains(&deleted), goes, "{about}");
        assert!(goes || touched.is_empty(), "{about} {touched:?}");
    }
    // What was left on purpose stays for its time, and a Lease that says when it died is believed.
    let mut kept = made_by(own);
    kept["metadata"]["annotations"]["kymaros.io/kept"] = json!("true");
    assert_eq!(swept(full().with(SANDBOX, kept), EARLY).await.1, [""; 0]);
    let renewed = full()
        .with(SANDBOX, made_by(own))
        .with(LEASE, lease("2026-01-01T07:50:00.000000Z"));
    assert_eq!(swept(renewed, EARLY).await.1, [""; 0]);
    // Whether its pod lives may not be known.
    let mut unknown = store(own);
    unknown.refused.push(("GET", "/pods/"));
    let (swept, touched) = swept(unknown, EARLY).await;
    assert_eq!((swept.left.len(), touched.len()), (1, 0), "{swept:?}");
}

/// It has made nothing yet that says whose it is, and makes its Lease again when it next renews it.
#[tokio::test(start_paused = true)]
async fn a_run_whose_lease_was_deleted_just_now_is_not_swept() {
    let mut bare = full().with(TEST, test());
    bare.objects.remove(SANDBOX);
    bare = bare.with(POD, pod("Running"));
    let (cluster, log, store) = serve(bare);
    let again = async {
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        let now = crate::clock::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let held = Store::default().with(LEASE, lease(&now));
        store.lock().unwrap().objects.extend(held.objects);
    };
    let now = "2026-01-01T12:00:00Z".parse().unwrap();
    let (swept, ()) = tokio::join!(sweep(&cluster, "kymaros-system", now, in_one_minute()), again);
    assert_eq!((swept.unwrap(), writes(&log)), (Swept::default(), Vec::new()));
}

/// Written by somebody who wants it to stay: what its run has left goes as if it said nothing.
#[tokio::test(start_paused = true)]
async fn a_lease_until_2099_keeps_nothing() {
    const EARLY: &str = "2026-01-01T08:00:00Z";
    let deleted = "DELETE rp-test-shop-kymaros-abc123".to_owned();
    let turn = "/apis/coordination.k8s.io/v1/namespaces/velero/leases/kymaros-turn";
    let store = |holder: &str| {
        let mut lease = lease(AHEAD);
        lease["spec"]["holderIdentity"] = json!(holder);
        full()
            .with(SANDBOX, made_by("abc123/runner-1/uid-runner-1"))
            .with(LEASE, lease.clone())
            .with(turn, lease)
    };
    for holder in ["abc123/runner-1/uid-runner-1", "nobody"] {
        let (_, touched) = swept(store(holder), EARLY).await;
        for gone in [&deleted, "DELETE kymaros-turn"] {
            assert!(touched.contains(&gone.to_owned()), "{holder}: {touched:?}");
        }
    }
    // A run that lives, on a machine whose clock is wrong, is let be.
    let alive = store("abc123/runner-1/uid-runner-1").with(POD, pod("Running"));
    assert_eq!(swept(alive, EARLY).await.1, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_dead_run_goes_when_its_test_is_gone_and_nothing_else_is_left() {
    const LATE: &str = "2020-01-01T09:00:00Z";
    let last = lease("2020-01-01T08:00:00.000000Z");
    let removed = "DELETE shop".to_owned();
    let elsewhere = |key: &str, value: Value| {
        let mut lease = last.clone();
        lease["metadata"][key] = value;
        full().with(LEASE, lease)
    };
    let (done, touched) = swept(full().with(LEASE, last.clone()), LATE).await;
    assert_eq!((done.removed, touched.last()), (1, Some(&removed)), "{touched:?}");

    let mut busy = full().with(LEASE, last.clone());
    busy.objects.extend(full().with(RESTORE, restore("InProgress")).objects);
    let mut unknown = full().with(LEASE, last.clone());
    unknown.refused.push(("GET", "/volumesnapshotcontents"));
    let now = crate::clock::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    // The one before it has left something as well, and its sandbox is not due.
    let mut before = sandbox();
    before["metadata"]["labels"]["kymaros.io/run"] = json!("aaa111");
    before["metadata"]["annotations"]["kymaros.io/expires-at"] = json!("2020-01-01T12:00:00Z");
    let dead = json!([{"annotations": {"kymaros.io/run": "aaa111", "kymaros.io/provider-namespace": "velero"}, "renewedAt": null}]).to_string();
    let mut two = last.clone();
    two["metadata"]["annotations"]["kymaros.io/dead-runs"] = json!(dead);
    for (about, store) in [
        (
            "its test is there, and is owed a report",
            full().with(LEASE, last.clone()).with(TEST, test()),
        ),
        ("the provider still writes", busy),
        ("whether something is left is not known", unknown),
        (
            "its run lives",
            full().with(LEASE, lease(&now)).with(POD, pod("Running")),
        ),
        (
            "of the run before it something is left",
            full()
                .with("/api/v1/namespaces/rp-test-shop-kymaros-aaa111", before)
                .with(LEASE, two),
        ),
        ("somebody else's", elsewhere("labels", json!({}))),
        (
            "of no run",
            elsewhere("annotations", json!({"kymaros.io/provider-namespace": "velero"})),
        ),
    ] {
        let (_, touched) = swept(store, LATE).await;
        assert!(!touched.contains(&removed), "{about}: {touched:?}");
    }
}

/// Anybody can write a label, on things of his own.
#[tokio::test(start_paused = true)]
async fn what_somebody_else_labels_as_ours_is_his() {
    let marked = |run: &str| json!({"metadata": {"labels": {"kymaros.io/managed-by": "kymaros", "kymaros.io/run": run, "kymaros.io/test": "shop"}}});
    let store = full()
        .with("/api/v1/namespaces/velero/configmaps/settings", marked("zzz999"))
        .with("/api/v1/namespaces/velero/configmaps/kymaros-abc123x", marked("abc123"))
        .with("/api/v1/namespaces/orders/configmaps/kymaros-abc123", marked("abc123"))
        .with(
            "/apis/coordination.k8s.io/v1/namespaces/orders/leases/shop",
            marked("abc123"),
        )
        .with("/api/v1/namespaces/orders", marked("abc123"));
    let (cluster, log, _) = serve(store);
    let now = "2026-01-01T12:00:00Z".parse().unwrap();
    let swept = sweep(&cluster, "kymaros-system", now, in_one_minute()).await.unwrap();
    assert_eq!((swept.removed, swept.left.len()), (1, 0), "{swept:?}");
    for write in writes(&log) {
        for his in ["settings", "kymaros-abc123x", "orders"] {
            assert!(!write.contains(his), "{write}");
        }
    }
    let touched = log.lock().unwrap();
    assert!(
        !touched.iter().any(|call| call.contains("/namespaces/orders")),
        "{touched:?}"
    );
}
