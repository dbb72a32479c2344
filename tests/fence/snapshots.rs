//! Snapshot contents for a sandbox stand for the backup's own snapshots: deleting one must never delete the snapshot.

use serde_json::{Value, json};

use crate::support::cases::{Expect, Verb, case, failures, make, with};
use crate::support::scene::Scene;

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces and snapshot contents)"]
async fn existing_snapshots_are_retained() {
    let scene = Scene::open().await;
    let content = |namespace: &str, policy: &str, source: Value| {
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": format!("fence-{}", scene.run)},
            "spec": {
                "deletionPolicy": policy, "driver": "fence.example.com", "source": source,
                "volumeSnapshotRef": {"namespace": namespace, "name": "s"},
            },
        })
    };
    let handle = || json!({"snapshotHandle": "the-backups-own"});
    let kept = content(&scene.sandbox, "Retain", handle());
    let lost = Expect::Refused("snapshot-retain", "must have deletionPolicy Retain");
    let cases = [
        case("retained", Verb::Create, kept.clone(), Expect::Accepted),
        case(
            "deleted with the sandbox",
            Verb::Create,
            content(&scene.sandbox, "Delete", handle()),
            lost,
        ),
        case(
            "taken in the sandbox",
            Verb::Create,
            content(&scene.sandbox, "Delete", json!({"volumeHandle": "the-sandboxs-own"})),
            Expect::Accepted,
        ),
        case(
            "production's",
            Verb::Create,
            content(&scene.production, "Delete", handle()),
            Expect::Accepted,
        ),
    ];
    let mut failed = Vec::new();
    for client in [&scene.admin, &scene.provider] {
        failed.extend(failures(client, &cases).await);
    }
    make(&scene.admin, std::slice::from_ref(&kept)).await;
    let led_away = with(
        &kept,
        json!({"spec": {"deletionPolicy": "Delete", "volumeSnapshotRef": {"namespace": scene.production}}}),
    );
    let change = with(&kept, json!({"spec": {"deletionPolicy": "Delete"}}));
    for client in [&scene.admin, &scene.provider] {
        let cases = [
            case("changed afterwards", Verb::Patch, change.clone(), lost),
            case("changed and led away", Verb::Patch, led_away.clone(), lost),
        ];
        failed.extend(failures(client, &cases).await);
    }
    failed.extend(
        failures(
            &scene.admin,
            &[case("cleaning up", Verb::Remove, kept, Expect::Accepted)],
        )
        .await,
    );
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
