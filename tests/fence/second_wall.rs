//! Rules that another wall hides: RBAC refuses the request first, or a neutraliser leaves nothing to refuse. They count when
//! that wall is down: a right too many, a cluster without mutating policies, a webhook that undoes what they did.
//!
//! Tried on copies of the shipped policies, which name another user and other namespaces.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cases::{Expect, Verb, case, failures, make, role_binding, send, with};
use crate::support::scene::Scene;
use crate::support::{RUNNER, apply_object, apply_text, client, kubectl_in_cluster, root};

/// Somebody to whom the copies apply, and who may do everything else.
const TWIN: &str = "system:serviceaccount:kymaros-system:kymaros-tests";

const POLICIES: [&str; 16] = [
    "namespaces",
    "rolebindings",
    "restores",
    "volumes",
    "snapshot-contents",
    "pods",
    "provider-configmaps",
    "provider-requests",
    "volume-restores",
    "secrets",
    "exec",
    "networkpolicies",
    "sandbox-objects",
    "sandbox-pods",
    "sandbox-metadata",
    "sandbox-raw-sockets",
];

/// The copies; they look at namespaces with the label `kymaros-tests`.
fn copies() -> String {
    let copy = |name: &str| {
        let text = fs::read_to_string(root().join(format!("manifests/fence/{name}.yaml"))).expect("a policy");
        text.replace("kymaros-fence-", "kymaros-fence-twin-")
            .replace(RUNNER, TWIN)
            .replace("kymaros.io/managed-by: kymaros\n", "kymaros-tests: twin\n")
    };
    POLICIES.map(copy).join("---\n")
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base and copies of its policies, makes and deletes namespaces)"]
async fn what_stands_behind_another_wall() {
    let scene = Scene::open().await;
    let twin = client(Some(TWIN)).await;
    apply_object(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "kymaros-tests-twin"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "kymaros-tests", "namespace": "kymaros-system"}],
    }));
    apply_text(&copies());
    let bare = format!("fence-bare-{}", scene.run);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": bare, "labels": {"kymaros-tests": "twin"}}});
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": bare}});
    make(&scene.admin, &[namespace.clone(), account]).await;
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "there", "namespace": scene.sandbox}});
    let restore = with(&own_restore(&scene), json!({"spec": {"backupName": "none-such"}}));
    let volume = volume(&format!("fence-twin-{}", scene.run), &scene.sandbox);
    make(&scene.admin, &[secret, restore.clone(), volume.clone()]).await;
    let failed = differences(&scene, &twin, &bare).await;
    kubectl_in_cluster(&["delete", "-f", "-", "--wait=false"], Some(&copies())).expect("the copies are gone again");
    for object in [namespace, restore, volume] {
        send(&scene.admin, Verb::Remove, &object).await;
    }
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn named(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}})
}

fn own_restore(scene: &Scene) -> Value {
    named("velero.io/v1", "Restore", "velero", &format!("kymaros-{}", scene.run))
}

fn volume(name: &str, claimant: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fence",
            "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "fence.example.com", "volumeHandle": name},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claimant, "name": "data"},
        },
    })
}

/// Both tables, asked until every copy is in force: each takes a moment of its own, and all have a case here that only it refuses.
async fn differences(scene: &Scene, twin: &kube::Client, bare: &str) -> Vec<String> {
    let ask = async || {
        let mut failed = failures(twin, &without_rbac(scene)).await;
        failed.extend(failures(&scene.provider, &without_neutralisers(bare)).await);
        failed
    };
    for _ in 0..50 {
        if ask().await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Once more, now that all are: what is accepted has to be accepted by all of them.
    ask().await
}

/// What RBAC does not grant the runner, asked by somebody to whom it does.
fn without_rbac(scene: &Scene) -> Vec<crate::support::cases::Case> {
    let sandbox = &scene.sandbox;
    let bound = named(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        sandbox,
        "kymaros-sandbox",
    );
    let secret = named("v1", "Secret", sandbox, "there");
    let map = named("v1", "ConfigMap", sandbox, "kube-root-ca.crt");
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let content = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": "fence-twin"},
        "spec": {
            "deletionPolicy": "Retain", "driver": "fence.example.com", "source": {"snapshotHandle": "h"},
            "volumeSnapshotRef": {"namespace": sandbox, "name": "s"},
        },
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "probe", "namespace": scene.production, "labels": {"kymaros.io/probe": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i", "args": ["probe"]}]},
    });
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "x", "namespace": scene.production},
        "spec": {"podSelector": {}},
    });
    let volume_restore = json!({
        "apiVersion": "velero.io/v1", "kind": "PodVolumeRestore", "metadata": {"name": "fence-twin", "namespace": "velero"},
        "spec": {
            "pod": {"kind": "Pod", "namespace": sandbox, "name": "x"}, "volume": "x", "backupStorageLocation": "x",
            "repoIdentifier": "x", "snapshotID": "x", "sourceNamespace": "x",
        },
    });
    let admin = json!({"roleRef": {"name": "cluster-admin"}, "metadata": {"name": "admin"}});
    let refused = Expect::Refused;
    vec![
        case(
            "changing a Restore",
            Verb::Patch,
            with(&own_restore(scene), labelled.clone()),
            refused("twin-restores", "may not change a Restore"),
        ),
        case(
            "changing a binding",
            Verb::Patch,
            with(&bound, labelled.clone()),
            refused("twin-rolebindings", "only create RoleBindings"),
        ),
        case(
            "deleting a binding",
            Verb::Delete,
            bound,
            refused("twin-rolebindings", "only create RoleBindings"),
        ),
        case(
            "cluster-admin in a sandbox",
            Verb::Create,
            with(&role_binding(sandbox), admin),
            refused("twin-rolebindings", "not ClusterRole cluster-admin"),
        ),
        case(
            "a volume",
            Verb::Create,
            volume("fence-twin", sandbox),
            refused("twin-volumes", "may not create or delete PersistentVolumes"),
        ),
        case(
            "deleting a sandbox's volume",
            Verb::Delete,
            volume(&format!("fence-twin-{}", scene.run), sandbox),
            refused("twin-volumes", "may not create or delete PersistentVolumes"),
        ),
        case(
            "a snapshot content",
            Verb::Create,
            content,
            refused("twin-snapshot-contents", "only delete VolumeSnapshotContents"),
        ),
        case(
            "deleting a Secret",
            Verb::Delete,
            secret,
            refused("twin-secrets", "dry run"),
        ),
        case(
            "changing a ConfigMap",
            Verb::Patch,
            with(&map, labelled),
            refused("twin-provider-configmaps", "named kymaros-*"),
        ),
        case(
            "a probe outside",
            Verb::Create,
            pod,
            refused("twin-pods", "in a sandbox"),
        ),
        case(
            "a NetworkPolicy outside",
            Verb::Create,
            policy,
            refused("twin-networkpolicies", "in a sandbox"),
        ),
        case(
            "a volume restore",
            Verb::Create,
            volume_restore,
            refused("twin-volume-restores", "only cancel podvolumerestores"),
        ),
    ]
}

/// What the neutralisers would have made inert, where there are none.
fn without_neutralisers(bare: &str) -> Vec<crate::support::cases::Case> {
    let object = |api_version: &str, kind: &str, body: Value| {
        with(
            &json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "restored", "namespace": bare}}),
            body,
        )
    };
    let container = |more: Value| {
        let without = json!({"name": "c", "image": "i", "securityContext": {"capabilities": {"drop": ["NET_RAW"]}}});
        with(&without, more)
    };
    let spec = |more: Value| {
        with(
            &json!({"priorityClassName": "kymaros-drill", "containers": [container(json!({}))]}),
            more,
        )
    };
    let pod = |more: Value| object("v1", "Pod", json!({"spec": spec(more)}));
    let service = |spec: Value| {
        object(
            "v1",
            "Service",
            json!({"spec": with(&json!({"ports": [{"port": 80}]}), spec)}),
        )
    };
    let job = |suspend: bool| json!({"suspend": suspend, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
    let cron = |suspend: bool| {
        object(
            "batch/v1",
            "CronJob",
            json!({"spec": {"suspend": suspend, "schedule": "* * * * *", "jobTemplate": {"spec": job(false)}}}),
        )
    };
    let ingress = |class: &str| {
        object(
            "networking.k8s.io/v1",
            "Ingress",
            json!({"spec": {"ingressClassName": class, "defaultBackend": {"service": {"name": "w", "port": {"number": 80}}}}}),
        )
    };
    let network = |spec: Value| {
        object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"spec": with(&json!({"podSelector": {}}), spec)}),
        )
    };
    let multus = json!({"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "prod/vlan"}}});
    let objects = |piece| Expect::Refused("twin-sandbox-objects", piece);
    let pods = |piece| Expect::Refused("twin-sandbox-pods", piece);
    vec![
        case(
            "a load balancer",
            Verb::Create,
            service(json!({"type": "LoadBalancer"})),
            objects("must be ClusterIP"),
        ),
        case(
            "a node port",
            Verb::Create,
            service(json!({"type": "NodePort"})),
            objects("must be ClusterIP"),
        ),
        case(
            "an outside address",
            Verb::Create,
            service(json!({"externalIPs": ["192.0.2.1"]})),
            objects("without externalIPs"),
        ),
        case("a plain Service", Verb::Create, service(json!({})), Expect::Accepted),
        case(
            "a CronJob",
            Verb::Create,
            cron(false),
            objects("a CronJob in a kymaros sandbox must be suspended"),
        ),
        case("a suspended CronJob", Verb::Create, cron(true), Expect::Accepted),
        case(
            "a Job",
            Verb::Create,
            object("batch/v1", "Job", json!({"spec": job(false)})),
            objects("a Job in a kymaros sandbox must be suspended"),
        ),
        case(
            "a suspended Job",
            Verb::Create,
            object("batch/v1", "Job", json!({"spec": job(true)})),
            Expect::Accepted,
        ),
        case(
            "an Ingress",
            Verb::Create,
            ingress("nginx"),
            objects("must have the class kymaros-none"),
        ),
        case(
            "an Ingress that nobody serves",
            Verb::Create,
            ingress("kymaros-none"),
            Expect::Accepted,
        ),
        case(
            "a NetworkPolicy that lets in",
            Verb::Create,
            network(json!({"ingress": [{}]})),
            objects("only if the runner made it"),
        ),
        case(
            "a NetworkPolicy that lets out",
            Verb::Create,
            network(json!({"egress": [{}]})),
            objects("only if the runner made it"),
        ),
        case(
            "a NetworkPolicy that lets nothing",
            Verb::Create,
            network(json!({})),
            Expect::Accepted,
        ),
        case("a pod of a drill", Verb::Create, pod(json!({})), Expect::Accepted),
        case(
            "a pod of no class",
            Verb::Create,
            pod(json!({"priorityClassName": null})),
            pods("must have the priority class kymaros-drill"),
        ),
        case(
            "a port of the node",
            Verb::Create,
            pod(json!({"containers": [container(json!({"ports": [{"containerPort": 80, "hostPort": 80}]}))]})),
            pods("host ports"),
        ),
        case(
            "packets of one's own making",
            Verb::Create,
            pod(json!({"containers": [{"name": "c", "image": "i"}]})),
            Expect::Refused(
                "twin-sandbox-raw-sockets",
                "must drop the capability NET_RAW; containers: c",
            ),
        ),
        case(
            "packets of an init container's own making",
            Verb::Create,
            pod(
                json!({"initContainers": [{"name": "first", "image": "i", "securityContext": {"capabilities": {"drop": ["CHOWN"]}}}]}),
            ),
            Expect::Refused("twin-sandbox-raw-sockets", "containers: first"),
        ),
        case(
            "no capability at all",
            Verb::Create,
            pod(
                json!({"containers": [{"name": "c", "image": "i", "securityContext": {"capabilities": {"drop": ["ALL"]}}}]}),
            ),
            Expect::Accepted,
        ),
        case(
            "a host in a probe",
            Verb::Create,
            pod(
                json!({"containers": [container(json!({"readinessProbe": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}))]}),
            ),
            pods("may not name a host, because the node would call it; containers: c"),
        ),
        case(
            "a host in a hook of a sidecar",
            Verb::Create,
            pod(json!({"initContainers": [with(
                &container(json!({"name": "side", "restartPolicy": "Always"})),
                json!({"lifecycle": {"preStop": {"httpGet": {"host": "10.0.0.1", "port": 80, "path": "/deregister"}}}}),
            )]})),
            pods("containers: side"),
        ),
        case(
            "a probe without a host",
            Verb::Create,
            pod(json!({"containers": [container(json!({"livenessProbe": {"httpGet": {"port": 80, "path": "/"}}}))]})),
            Expect::Accepted,
        ),
        case(
            "the capabilities of a node",
            Verb::Create,
            pod(
                json!({"containers": [with(&container(json!({})), json!({"securityContext": {"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}}}))]}),
            ),
            pods("may not add these capabilities: SYS_ADMIN;"),
        ),
        case(
            "capabilities of the level baseline",
            Verb::Create,
            pod(
                json!({"containers": [with(&container(json!({})), json!({"securityContext": {"capabilities": {"add": ["CHOWN", "NET_BIND_SERVICE"]}}}))]}),
            ),
            Expect::Accepted,
        ),
        case(
            "no seccomp",
            Verb::Create,
            pod(json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}})),
            pods("may not have an Unconfined seccomp or AppArmor profile"),
        ),
        case(
            "no AppArmor, as it used to be written",
            Verb::Create,
            with(
                &pod(json!({})),
                json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}}}),
            ),
            pods("may not have an Unconfined seccomp or AppArmor profile"),
        ),
        case(
            "another SELinux type",
            Verb::Create,
            pod(json!({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}})),
            pods("may not have seLinuxOptions of its own"),
        ),
        case(
            "a sysctl of the kernel's",
            Verb::Create,
            pod(json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}})),
            pods("may not set these sysctls: kernel.msgmax"),
        ),
        case(
            "a second network",
            Verb::Create,
            with(&pod(json!({})), multus),
            pods("second network"),
        ),
        case(
            "a published name",
            Verb::Create,
            with(
                &service(json!({"clusterIP": "None"})),
                json!({"metadata": {"annotations": {"external-dns.alpha.kubernetes.io/hostname": "db.example.com"}}}),
            ),
            Expect::Refused(
                "twin-sandbox-metadata",
                "annotations: external-dns.alpha.kubernetes.io/hostname",
            ),
        ),
        case(
            "a Secret that is copied to other namespaces",
            Verb::Create,
            object(
                "v1",
                "Secret",
                json!({"metadata": {"annotations": {"replicator.v1.mittwald.de/replicate-to": ".*"}}}),
            ),
            Expect::Refused("twin-sandbox-metadata", "replicator.v1.mittwald.de/replicate-to"),
        ),
        case(
            "a claim that names its folder on a shared server",
            Verb::Create,
            object(
                "v1",
                "PersistentVolumeClaim",
                json!({
                    "metadata": {"annotations": {"nfs.io/storage-path": "shop"}},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                }),
            ),
            Expect::Refused("twin-sandbox-metadata", "may not choose its folder"),
        ),
        case(
            "an annotation that steers nothing",
            Verb::Create,
            object("v1", "Secret", json!({"metadata": {"annotations": {"note": "x"}}})),
            Expect::Accepted,
        ),
    ]
}
