//! What cannot be made inert is refused in a sandbox, whoever writes it.

use serde_json::{Value, json};

use crate::neutralised::{object, pod, pod_spec};
use crate::support::cases::{Expect, Verb, case, failures, with};
use crate::support::scene::Scene;
use crate::support::{CNI, client};

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn refused() {
    let scene = Scene::open().await;
    let pods = |piece| Expect::Refused("sandbox-pods", piece);
    let volume = |source: Value| pod(&scene, json!({"volumes": [with(&json!({"name": "v"}), source)]}));
    let host = "host namespaces, host paths";
    let outside = "storage from outside it; volumes: v";
    let container = |context: Value| {
        pod(
            &scene,
            json!({"containers": [{"name": "c", "image": "i", "securityContext": context}]}),
        )
    };
    let labelled = |labels: Value| with(&pod(&scene, json!({})), json!({"metadata": {"labels": labels}}));
    let application = object(&scene, "argoproj.io/v1alpha1", "Application", json!({}));
    let cases = [
        case(
            "the node's network",
            Verb::Create,
            pod(&scene, json!({"hostNetwork": true})),
            pods(host),
        ),
        case(
            "the node's processes",
            Verb::Create,
            pod(&scene, json!({"hostPID": true})),
            pods(host),
        ),
        case(
            "the node's IPC",
            Verb::Create,
            pod(&scene, json!({"hostIPC": true})),
            pods(host),
        ),
        case(
            "a path of the node",
            Verb::Create,
            volume(json!({"hostPath": {"path": "/"}})),
            pods(host),
        ),
        case(
            "a privileged container",
            Verb::Create,
            container(json!({"privileged": true})),
            pods(host),
        ),
        case(
            "a container that is not",
            Verb::Create,
            container(json!({"privileged": false})),
            Expect::Accepted,
        ),
        case(
            "an NFS share",
            Verb::Create,
            volume(json!({"nfs": {"server": "nas", "path": "/shop"}})),
            pods(outside),
        ),
        case(
            "an iSCSI target",
            Verb::Create,
            volume(json!({"iscsi": {"targetPortal": "nas", "iqn": "iqn.2001-04.com.example:x", "lun": 0}})),
            pods(outside),
        ),
        case(
            "a driver's own volume",
            Verb::Create,
            volume(json!({"csi": {"driver": "nfs.csi.k8s.io"}})),
            pods(outside),
        ),
        case(
            "a claim",
            Verb::Create,
            volume(json!({"persistentVolumeClaim": {"claimName": "data"}})),
            Expect::Accepted,
        ),
        case(
            "a ConfigMap",
            Verb::Create,
            volume(json!({"configMap": {"name": "x"}})),
            Expect::Accepted,
        ),
        case(
            "a Secret",
            Verb::Create,
            volume(json!({"secret": {"secretName": "x"}})),
            Expect::Accepted,
        ),
        case(
            "scratch space",
            Verb::Create,
            volume(json!({"emptyDir": {}})),
            Expect::Accepted,
        ),
        case(
            "a projection",
            Verb::Create,
            volume(json!({"projected": {"sources": [{"configMap": {"name": "x"}}]}})),
            Expect::Accepted,
        ),
        case(
            "a probe's label",
            Verb::Create,
            labelled(json!({"kymaros.io/probe": "isolation"})),
            pods("only if the runner made it"),
        ),
        case(
            "a label like it",
            Verb::Create,
            labelled(json!({"kymaros": "probe"})),
            Expect::Accepted,
        ),
        case(
            "a kind that deploys",
            Verb::Create,
            application.clone(),
            Expect::Refused("foreign-kinds", "Application (argoproj.io) is held back"),
        ),
        case(
            "the same in production",
            Verb::Create,
            with(&application, json!({"metadata": {"namespace": scene.production}})),
            Expect::Accepted,
        ),
        case(
            "a Deployment",
            Verb::Create,
            object(
                &scene,
                "apps/v1",
                "Deployment",
                json!({"spec": {
                    "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec()},
                }}),
            ),
            Expect::Accepted,
        ),
        case(
            "the runner's own objects are not touched outside",
            Verb::Create,
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": scene.production, "annotations": {"a": "b"}},
                "spec": {"type": "NodePort", "ports": [{"port": 80}]},
            }),
            Expect::Accepted,
        ),
    ];
    let mut failed = failures(&scene.provider, &cases).await;
    // In a sandbox nobody is exempt, not even whoever may do everything.
    let by_admin = [case(
        "the node's network, by an administrator",
        Verb::Create,
        pod(&scene, json!({"hostNetwork": true})),
        pods(host),
    )];
    failed.extend(failures(&scene.admin, &by_admin).await);
    let endpoint = object(&scene, "cilium.io/v2", "CiliumEndpoint", json!({}));
    let by_provider = [case(
        "an endpoint from a backup",
        Verb::Create,
        endpoint.clone(),
        Expect::Refused("foreign-kinds", "CiliumEndpoint"),
    )];
    failed.extend(failures(&scene.provider, &by_provider).await);
    let by_cni = [case(
        "an endpoint of the network itself",
        Verb::Create,
        endpoint,
        Expect::Accepted,
    )];
    failed.extend(failures(&client(Some(CNI)).await, &by_cni).await);
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
