//! What the sweep takes, and what it leaves alone.

use serde_json::{Value, json};

use super::store::{RESTORE, Store, full, in_one_minute, restore, sandbox, serve, writes};
use crate::sweep::{Swept, sweep};

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

#[tokio::test(start_paused = true)]
async fn what_a_dead_run_left_at_the_provider_alone_goes_too() {
    const NOW: &str = "2026-01-01T08:00:00Z";
    let mut bare = full();
    let inside = "/api/v1/namespaces/rp-test-shop-kymaros-abc123";
    bare.objects.retain(|path, _| !path.starts_with(inside));
    bare.objects
        .remove("/api/v1/namespaces/velero/configmaps/plugin-config");
    let test = json!({"metadata": {"namespace": "kymaros-system"}, "spec": {"backupSource": {"provider": "velero", "namespaces": [{"name": "shop"}]}}});
    let test_path = "/apis/restore.kymaros.io/v1alpha1/namespaces/kymaros-system/restoretests/shop";
    // Nobody says where to look.
    let without = Store {
        objects: bare.objects.clone(),
        ..Store::default()
    };
    assert_eq!(swept(without, NOW).await.0, Swept::default());

    let turn = "/apis/coordination.k8s.io/v1/namespaces/velero/leases/kymaros-turn";
    let bare = bare
        .with(test_path, test)
        .with(turn, lease("2020-01-01T08:00:00.000000Z"));
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
    let pod = json!({"metadata": {"uid": "uid-runner-1"}, "status": {"phase": "Running"}});
    let alive = alive
        .with(LEASE, lease(&now))
        .with(turn, lease(&now))
        .with("/api/v1/namespaces/kymaros-system/pods/runner-1", pod);
    let (nothing, touched) = swept(alive, NOW).await;
    assert_eq!((nothing, touched.len()), (Swept::default(), 0), "{touched:?}");
}
