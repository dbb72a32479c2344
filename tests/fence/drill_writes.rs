//! What the provider writes for a drill, whatever made it: a Restore and modifiers of somebody who holds the runner's token, a plugin, a
//! fault. The rules for modifiers are not asked here: each of the two holds without the other.

use serde_json::{Value, json};

use crate::support::cases::{Expect, Verb, case, failures, make, with};
use crate::support::client;
use crate::support::scene::Scene;

/// An account of a server that the installation does not name.
const UNLISTED: &str = "system:serviceaccount:backup-system:velero";

fn restored(scene: &Scene, api_version: &str, kind: &str, namespace: Option<&str>) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {
            "name": "by-a-drill", "namespace": namespace,
            "labels": {"velero.io/restore-name": format!("kymaros-{}", scene.run), "velero.io/backup-name": "b"},
        },
    })
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn what_a_drill_may_write() {
    let scene = Scene::open().await;
    let in_sandbox = |api_version: &str, kind: &str| restored(&scene, api_version, kind, Some(&scene.sandbox));
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "kymaros-runner", "namespace": "kymaros-system"}],
    });
    let volume = json!({"spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "csi": {"driver": "x", "volumeHandle": "production"},
    }});
    let content = |namespace: &str| {
        with(
            &restored(&scene, "snapshot.storage.k8s.io/v1", "VolumeSnapshotContent", None),
            json!({"spec": {
                "deletionPolicy": "Retain", "driver": "x", "source": {"snapshotHandle": "h"},
                "volumeSnapshotRef": {"namespace": namespace, "name": "s"},
            }}),
        )
    };
    let claim = |namespace: &str, owner: &str| {
        with(
            &restored(&scene, "v1", "PersistentVolumeClaim", Some(namespace)),
            json!({
                "metadata": {"ownerReferences": [{"apiVersion": "velero.io/v2alpha1", "kind": owner, "name": "dd", "uid": "u"}]},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }),
        )
    };
    let of_another = |object: &Value| {
        with(
            object,
            json!({"metadata": {"labels": {"velero.io/restore-name": "nightly"}}}),
        )
    };
    let outside = Expect::Refused("drill-writes", "outside its own sandboxes");
    let cluster = Expect::Refused("drill-writes", "may not write the cluster-scoped");
    let map = in_sandbox("v1", "ConfigMap");
    let cluster_role_binding = with(
        &restored(&scene, "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", None),
        binding,
    );
    let cases = [
        case("a ConfigMap", Verb::Create, map.clone(), Expect::Accepted),
        case(
            "a Deployment",
            Verb::Create,
            with(
                &in_sandbox("apps/v1", "Deployment"),
                json!({"spec": {
                    "selector": {"matchLabels": {"app": "x"}},
                    "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
                }}),
            ),
            Expect::Accepted,
        ),
        case(
            "a snapshot content",
            Verb::Create,
            content(&scene.sandbox),
            Expect::Accepted,
        ),
        case(
            "one that takes a snapshot of production's volume",
            Verb::Create,
            with(
                &content(&scene.sandbox),
                json!({"spec": {"source": {"snapshotHandle": null, "volumeHandle": "production"}}}),
            ),
            cluster,
        ),
        case("one of another run", Verb::Create, content(&scene.foreign), cluster),
        case("one of production", Verb::Create, content(&scene.production), cluster),
        case(
            "a ClusterRoleBinding",
            Verb::Create,
            cluster_role_binding.clone(),
            cluster,
        ),
        case(
            "a ClusterRole",
            Verb::Create,
            restored(&scene, "rbac.authorization.k8s.io/v1", "ClusterRole", None),
            cluster,
        ),
        case(
            "a volume of nobody",
            Verb::Create,
            with(&restored(&scene, "v1", "PersistentVolume", None), volume),
            cluster,
        ),
        case(
            "a namespace",
            Verb::Create,
            restored(&scene, "v1", "Namespace", None),
            cluster,
        ),
        case(
            "a priority class",
            Verb::Create,
            with(
                &restored(&scene, "scheduling.k8s.io/v1", "PriorityClass", None),
                json!({"value": 1000}),
            ),
            cluster,
        ),
        case(
            "an object in production",
            Verb::Create,
            restored(&scene, "v1", "ConfigMap", Some(&scene.production)),
            outside,
        ),
        case(
            "an object in another run's sandbox",
            Verb::Create,
            restored(&scene, "v1", "ConfigMap", Some(&scene.foreign)),
            outside,
        ),
        case(
            "a Secret beside the provider",
            Verb::Create,
            restored(&scene, "v1", "Secret", Some("velero")),
            outside,
        ),
        case(
            "the claim of a data download",
            Verb::Create,
            claim("velero", "DataDownload"),
            Expect::Accepted,
        ),
        case(
            "any other claim there",
            Verb::Create,
            claim("velero", "Backup"),
            outside,
        ),
        case(
            "such a claim in production",
            Verb::Create,
            claim(&scene.production, "DataDownload"),
            outside,
        ),
        case(
            "a kind that the backup does not hold",
            Verb::Create,
            // One that grants nothing outside, so that no other policy refuses it.
            with(
                &in_sandbox("rbac.authorization.k8s.io/v1", "RoleBinding"),
                json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}),
            ),
            Expect::Refused(
                "drill-writes",
                "the run did not announce RoleBinding.rbac.authorization.k8s.io",
            ),
        ),
        case(
            "a custom resource",
            Verb::Create,
            in_sandbox("fence.example.com/v1", "Widget"),
            Expect::Refused(
                "drill-writes",
                "this installation does not allow Widget.fence.example.com",
            ),
        ),
        case(
            "what a real restore writes",
            Verb::Create,
            of_another(&cluster_role_binding),
            Expect::Accepted,
        ),
        case(
            "what a real restore writes into production",
            Verb::Create,
            of_another(&restored(&scene, "v1", "ConfigMap", Some(&scene.production))),
            Expect::Accepted,
        ),
        case(
            "a name that looks like a drill's",
            Verb::Create,
            with(
                &restored(&scene, "v1", "ConfigMap", Some(&scene.production)),
                json!({"metadata": {"labels": {"velero.io/restore-name": "kymaros-nightly"}}}),
            ),
            Expect::Accepted,
        ),
    ];
    let mut failed = failures(&scene.provider, &cases).await;
    // Whoever writes it: the label is the provider's word, and no server's account has to be known.
    let refused: Vec<_> = [
        case("a ClusterRoleBinding", Verb::Create, cluster_role_binding, cluster),
        case(
            "an object in production",
            Verb::Create,
            restored(&scene, "v1", "ConfigMap", Some(&scene.production)),
            outside,
        ),
    ]
    .into();
    failed.extend(failures(&scene.admin, &refused).await);
    let plain = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "by-a-drill", "namespace": scene.production}});
    make(&scene.admin, std::slice::from_ref(&plain)).await;
    let labelled = with(
        &plain,
        json!({"metadata": {"labels": {"velero.io/restore-name": format!("kymaros-{}", scene.run)}}}),
    );
    failed.extend(
        failures(
            &scene.provider,
            &[case(
                "an object that is there, changed by a drill",
                Verb::Patch,
                labelled,
                outside,
            )],
        )
        .await,
    );
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes requests of the provider)"]
async fn only_servers_that_are_listed_answer() {
    let scene = Scene::open().await;
    crate::support::apply_object(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "kymaros-tests-unlisted"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "velero", "namespace": "backup-system"}],
    }));
    let unlisted = client(Some(UNLISTED)).await;
    let object = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "velero.io/v1", "kind": kind, "spec": spec,
            "metadata": {"name": name, "namespace": "velero", "labels": {"kymaros.io/managed-by": "kymaros"}},
        })
    };
    let name = format!("kymaros-{}", scene.run);
    let other = format!("kymaros-{}", scene.foreign.rsplit('-').next().expect("a run"));
    let restore = object(
        "Restore",
        &other,
        json!({"backupName": "none-such", "includedNamespaces": ["shop"], "namespaceMapping": {"shop": scene.foreign}}),
    );
    let alive = object("ServerStatusRequest", &format!("{name}-alive-9"), json!({}));
    let anybody = object(
        "ServerStatusRequest",
        &format!("kymaros-unlisted-{}-alive-9", scene.run),
        json!({}),
    );
    make(&scene.runner, &[alive.clone(), anybody.clone(), restore.clone()]).await;
    let answered = |object: &Value| {
        with(
            object,
            json!({"status": {"phase": "Processed", "serverVersion": "v0.0.0-forged"}}),
        )
    };
    let begun = with(&restore, json!({"status": {"phase": "InProgress"}}));
    let aimed = with(
        &restore,
        json!({"spec": {"namespaceMapping": {"shop": scene.production}}}),
    );
    let refused = Expect::Refused(
        "provider-servers",
        "is not in veleroServiceAccounts of ConfigMap kymaros-installation",
    );
    let failed = [
        failures(
            &unlisted,
            &[
                case("a sign of life", Verb::Patch, answered(&alive), refused),
                case(
                    "a sign of life that anybody may give",
                    Verb::Patch,
                    answered(&anybody),
                    Expect::Accepted,
                ),
                case("a restore", Verb::Patch, begun.clone(), refused),
                case("another aim of a restore", Verb::Patch, aimed, refused),
                case(
                    "an annotation",
                    Verb::Patch,
                    with(&restore, json!({"metadata": {"annotations": {"a": "b"}}})),
                    Expect::Accepted,
                ),
            ],
        )
        .await,
        failures(
            &scene.provider,
            &[
                case("a sign of life", Verb::Patch, answered(&alive), Expect::Accepted),
                case("a restore", Verb::Patch, begun, Expect::Accepted),
            ],
        )
        .await,
        failures(
            &scene.runner,
            &[alive, anybody, restore].map(|object| case("cleaning up", Verb::Remove, object, Expect::Accepted)),
        )
        .await,
    ]
    .concat();
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
