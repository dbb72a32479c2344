//! What clean-up deletes in which order, and what never.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::store::{
    PVR, RESTORE, SANDBOX, full, in_one_minute, restore, run, sandbox, serve, volume, volume_restore, writes,
};
use crate::cleanup::{RunRef, clean_up, find_leftovers, keep};
use crate::cluster::fake::{Reply, cluster, status};

#[tokio::test(start_paused = true)]
async fn all_of_the_run_goes_in_order_and_nothing_of_others() {
    let (cluster, log, store) = serve(full());
    let outcome = clean_up(&cluster, &run(), in_one_minute()).await;
    // A ConfigMap with our labels but a name that is not ours is somebody else's: it is neither named nor touched.
    assert!(outcome.is_complete(), "{outcome}");
    assert_eq!(
        writes(&log),
        [
            "PATCH pv-1",
            "DELETE rp-test-shop-kymaros-abc123",
            "DELETE pods",
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
    assert_eq!(writes(&log)[..2], ["PATCH pv-1", "DELETE rp-test-shop-kymaros-abc123"]);
}

#[tokio::test(start_paused = true)]
async fn volumes_are_cancelled_for_as_long_as_the_restore_goes_on() {
    for (phase, told) in [
        ("New", true),
        ("Prepared", true),
        ("InProgress", true),
        ("Canceling", false),
    ] {
        let store = full()
            .with(RESTORE, restore("InProgress"))
            .with(PVR, volume_restore(phase));
        let (cluster, log, _) = serve(store);
        let begun = Instant::now();
        let outcome = clean_up(&cluster, &run(), begun + Duration::from_mins(1)).await;
        assert!(outcome.provider_writes, "{outcome}");
        assert_eq!(
            writes(&log).contains(&"PATCH kymaros-abc123-1".to_owned()),
            told,
            "{phase}"
        );
    }
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
    let found = find_leftovers(&cluster, "kymaros-system", "shop", "velero", "own999", now)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].run_id.as_str(), found[0].sandboxes.len()), ("abc123", 1));
    assert!(
        find_leftovers(&cluster, "kymaros-system", "shop", "velero", "abc123", now)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        find_leftovers(&cluster, "kymaros-system", "other", "velero", "own999", now)
            .await
            .unwrap()
            .is_empty()
    );

    assert_eq!(
        keep(&cluster, &run(), Duration::from_hours(2), in_one_minute()).await,
        None
    );
    let until: DateTime<Utc> = {
        let store = store.lock().unwrap();
        let expires = &store.objects[SANDBOX]["metadata"]["annotations"]["kymaros.io/expires-at"];
        expires.as_str().unwrap().parse().unwrap()
    };
    let left = until - crate::clock::now();
    assert!((7195..=7200).contains(&left.num_seconds()), "{until}");
    assert!(
        find_leftovers(&cluster, "kymaros-system", "shop", "velero", "own999", now)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        find_leftovers(&cluster, "kymaros-system", "shop", "velero", "own999", until)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn leftovers_are_not_those_of_a_run_that_lives() {
    let now: DateTime<Utc> = "2026-01-01T11:00:00Z".parse().unwrap();
    let mut sandbox = sandbox();
    sandbox["metadata"]["annotations"]["kymaros.io/holder"] = json!("abc123/runner-1/u-1");
    let pod = |phase: &str| json!({"metadata": {"uid": "u-1"}, "status": {"phase": phase}});
    for (phase, leftovers) in [(Some("Running"), 0), (Some("Failed"), 1), (None, 1)] {
        let mut store = full().with(SANDBOX, sandbox.clone());
        if let Some(phase) = phase {
            store = store.with("/api/v1/namespaces/kymaros-system/pods/runner-1", pod(phase));
        }
        let (cluster, ..) = serve(store);
        let found = find_leftovers(&cluster, "kymaros-system", "shop", "velero", "own999", now).await;
        assert_eq!(found.unwrap().len(), leftovers, "{phase:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sandboxes_are_kept_only_once_the_provider_rests() {
    let busy = full().with(PVR, volume_restore("InProgress"));
    let (cluster, log, _) = serve(busy);
    let writes_still = keep(&cluster, &run(), Duration::from_hours(2), in_one_minute()).await;
    assert!(writes_still.unwrap().contains("still InProgress"));
    let asked = writes(&log);
    let told = asked.iter().position(|write| write.contains("kymaros-abc123-1"));
    let marked = asked
        .iter()
        .position(|write| write == "PATCH rp-test-shop-kymaros-abc123");
    assert!(told.unwrap() < marked.unwrap(), "{asked:?}");
}
