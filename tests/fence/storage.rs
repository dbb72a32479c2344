//! What the runner may do to volumes and snapshot contents.

use serde_json::{Value, json};

use crate::support::cases::{Case, Expect, Verb, case, failures, make, send, with};
use crate::support::scene::Scene;

fn volume(name: &str, claimant: Option<&str>) -> Value {
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fence",
            "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "fence.example.com", "volumeHandle": name},
        },
    });
    if let Some(namespace) = claimant {
        volume["spec"]["claimRef"] = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": "data",
            "uid": "11111111-2222-3333-4444-555555555555",
        });
    }
    volume
}

fn named(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}})
}

/// Whoever binds volumes to claims: the cluster's controllers, or the provider's data mover.
fn bindings(scene: &Scene, free: &str, moved: &str) -> [Case; 3] {
    let to = |name: &str, namespace: &str| {
        let claim = json!({"namespace": namespace, "name": "archive"});
        with(&named(name), json!({"spec": {"claimRef": claim}}))
    };
    [
        case(
            "binding a free volume to a sandbox's claim",
            Verb::Patch,
            to(free, &scene.sandbox),
            Expect::Refused("free-volumes", "it may be production's"),
        ),
        case(
            "binding a free volume to production's claim",
            Verb::Patch,
            to(free, &scene.production),
            Expect::Accepted,
        ),
        case(
            "giving a volume that data was moved into to the sandbox",
            Verb::Patch,
            to(moved, &scene.sandbox),
            Expect::Accepted,
        ),
    ]
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces, volumes and snapshot contents)"]
async fn volumes_and_snapshot_contents() {
    let scene = Scene::open().await;
    let [released, free, production, moved] =
        ["released", "free", "prod", "moved"].map(|n| format!("fence-{n}-{}", scene.run));
    let objects = [
        volume(&released, Some(&scene.sandbox)),
        volume(&free, None),
        volume(&production, Some(&scene.production)),
        volume(&moved, Some("velero")),
    ];
    make(&scene.admin, &objects).await;
    let content = |name: &str, namespace: &str| {
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": name},
            "spec": {
                "deletionPolicy": "Retain", "driver": "fence.example.com", "source": {"snapshotHandle": "h"},
                "volumeSnapshotRef": {"namespace": namespace, "name": "s"},
            },
        })
    };
    let [made, kept] = ["made", "kept"].map(|n| format!("fence-{n}-{}", scene.run));
    let contents = [content(&made, &scene.sandbox), content(&kept, &scene.production)];
    make(&scene.admin, &contents).await;
    let policy = |value: &str| json!({"spec": {"persistentVolumeReclaimPolicy": value}});
    let refused = |piece| Expect::Refused("volumes", piece);
    let cases = [
        case(
            "reclaim policy of a sandbox's volume",
            Verb::Patch,
            with(&named(&released), policy("Delete")),
            Expect::Accepted,
        ),
        case(
            "a volume of a sandbox that a pod with root's rights wipes",
            Verb::Patch,
            with(&named(&released), policy("Recycle")),
            refused("only set the reclaim policies Delete and Retain"),
        ),
        case(
            "reclaim policy of production's volume",
            Verb::Patch,
            with(&named(&production), policy("Delete")),
            refused("claimed from a sandbox; this one is claimed from fence-prod"),
        ),
        case(
            "reclaim policy of a free volume",
            Verb::Patch,
            with(&named(&free), policy("Delete")),
            refused("this one is not claimed"),
        ),
        case(
            "claim of a free volume",
            Verb::Patch,
            with(
                &named(&free),
                json!({"spec": {"claimRef": {"namespace": scene.sandbox, "name": "x"}}}),
            ),
            refused("this one is not claimed"),
        ),
        case(
            "claim of a sandbox's volume",
            Verb::Patch,
            with(
                &named(&released),
                json!({"spec": {"claimRef": {"namespace": scene.production}}}),
            ),
            refused("only change a PersistentVolume's reclaim policy"),
        ),
        case(
            "size of a sandbox's volume",
            Verb::Patch,
            with(&named(&released), json!({"spec": {"capacity": {"storage": "2Gi"}}})),
            refused("only change a PersistentVolume's reclaim policy"),
        ),
        case(
            "finalizers of a sandbox's volume",
            Verb::Patch,
            with(&named(&released), json!({"metadata": {"finalizers": []}})),
            refused("only change a PersistentVolume's reclaim policy"),
        ),
        case(
            "labels of a sandbox's volume",
            Verb::Patch,
            with(&named(&released), json!({"metadata": {"labels": {"a": "b"}}})),
            refused("only change a PersistentVolume's reclaim policy"),
        ),
        case(
            "deleting a volume of a sandbox",
            Verb::Delete,
            named(&released),
            Expect::NoRight,
        ),
        case(
            "deleting a snapshot content of a sandbox",
            Verb::Delete,
            contents[0].clone(),
            Expect::Accepted,
        ),
        case(
            "deleting a snapshot content of production",
            Verb::Delete,
            contents[1].clone(),
            Expect::Refused("snapshot-contents", "made for a sandbox"),
        ),
        case(
            "changing a snapshot content",
            Verb::Patch,
            contents[0].clone(),
            Expect::NoRight,
        ),
    ];
    let mut failed = failures(&scene.runner, &cases).await;
    failed.extend(failures(&scene.admin, &bindings(&scene, &free, &moved)).await);
    for object in objects.iter().chain(&contents) {
        send(&scene.admin, Verb::Remove, object).await;
    }
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
