//! What pods and their templates lose on their way into a sandbox: raw sockets, and identities in a cloud.

use serde_json::{Value, json};

use crate::neutralised::{Change, differences, object, pod};
use crate::support::cases::{Outcome, Verb, make, send, with};
use crate::support::scene::Scene;

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn without_raw_sockets_and_identities() {
    let scene = Scene::open().await;
    let mut changes = raw_sockets(&scene);
    changes.extend(identities(&scene));
    let mut failed = differences(&scene, &changes).await;
    failed.extend(debugged(&scene).await);
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn raw_sockets(scene: &Scene) -> Vec<Change> {
    let container = |name: &str, context: Value| json!({"name": name, "image": "shop", "securityContext": context});
    let two = pod(
        scene,
        json!({
            "containers": [
                {"name": "plain", "image": "shop"},
                container("user", json!({"runAsUser": 1000})),
                container("fewer", json!({"capabilities": {"drop": ["CHOWN"], "add": ["KILL"]}})),
                container("none", json!({"capabilities": {"drop": ["ALL"]}})),
                container("done", json!({"capabilities": {"drop": ["NET_RAW"]}})),
                container("more", json!({"capabilities": {"add": ["NET_BIND_SERVICE"]}})),
            ],
            "initContainers": [{"name": "first", "image": "shop"}, {"name": "side", "image": "shop", "restartPolicy": "Always"}],
        }),
    );
    let raw = json!(["NET_RAW"]);
    vec![
        Change {
            about: "containers of every kind",
            verb: Verb::Create,
            object: two,
            stored: json!({
                "/spec/containers/0/securityContext": {"capabilities": {"drop": raw}},
                "/spec/containers/1/securityContext": {"runAsUser": 1000, "capabilities": {"drop": raw}},
                "/spec/containers/2/securityContext/capabilities": {"add": ["KILL"], "drop": ["CHOWN", "NET_RAW"]},
                "/spec/containers/3/securityContext/capabilities/drop": ["ALL"],
                "/spec/containers/4/securityContext/capabilities/drop": raw,
                "/spec/containers/5/securityContext/capabilities": {"add": ["NET_BIND_SERVICE"], "drop": raw},
                "/spec/initContainers/0/securityContext/capabilities/drop": raw,
                "/spec/initContainers/1/securityContext/capabilities/drop": raw,
            }),
        },
        Change {
            about: "a pod for Windows, which has no capabilities",
            verb: Verb::Create,
            object: pod(scene, json!({"os": {"name": "windows"}})),
            stored: json!({"/spec/containers/0/securityContext": null}),
        },
    ]
}

fn identities(scene: &Scene) -> Vec<Change> {
    let marked = json!({"metadata": {
        "labels": {"app": "web", "aadpodidbinding": "shop", "azure.workload.identity/use": "true"},
        "annotations": {"iam.amazonaws.com/role": "production", "note": "x"},
    }});
    let deployment = |selector: Value| {
        object(
            scene,
            "apps/v1",
            "Deployment",
            json!({"spec": {
                "selector": {"matchLabels": selector},
                "template": with(&json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}), marked.clone()),
            }}),
        )
    };
    let copied = json!({"metadata": {"annotations": {
        "config-syncer.appscode.com/sync": "", "clustersecret.io/sync": "true", "kubed.appscode.com/sync": "", "note": "x",
    }}});
    vec![
        Change {
            about: "a pod by itself",
            verb: Verb::Create,
            object: with(&pod(scene, json!({})), marked.clone()),
            stored: json!({"/metadata/labels": {"app": "web"}, "/metadata/annotations": {"note": "x"}}),
        },
        Change {
            about: "a workload's pods",
            verb: Verb::Create,
            object: deployment(json!({"app": "web"})),
            stored: json!({"/spec/template/metadata/labels": {"app": "web"}}),
        },
        Change {
            about: "a workload that knows its pods by such a label",
            verb: Verb::Create,
            object: deployment(json!({"app": "web", "aadpodidbinding": "shop"})),
            stored: json!({"/spec/template/metadata/labels": {"app": "web", "aadpodidbinding": "shop"}}),
        },
        Change {
            about: "a Secret that is copied elsewhere",
            verb: Verb::Create,
            object: object(scene, "v1", "Secret", copied),
            stored: json!({"/metadata/annotations": {"note": "x"}}),
        },
    ]
}

/// Who debugs a sandbox that was kept adds a container to a pod there.
async fn debugged(scene: &Scene) -> Vec<String> {
    let there = pod(scene, json!({}));
    make(&scene.provider, std::slice::from_ref(&there)).await;
    let debugger = |context: Value| {
        let mut pod = there.clone();
        pod["spec"] = json!({"ephemeralContainers": [{"name": "debugger", "image": "i", "securityContext": context}]});
        pod
    };
    let mut failed = Vec::new();
    match send(&scene.admin, Verb::PatchEphemeral, &debugger(json!({}))).await {
        Outcome::Accepted(stored) => {
            let drop = stored.pointer("/spec/ephemeralContainers/0/securityContext/capabilities/drop");
            if drop != Some(&json!(["NET_RAW"])) {
                failed.push(format!("a debugger: drops {drop:?}"));
            }
        }
        outcome => failed.push(format!("a debugger: {outcome}")),
    }
    let refused = send(
        &scene.admin,
        Verb::PatchEphemeral,
        &debugger(json!({"capabilities": {"add": ["SYS_PTRACE"]}})),
    )
    .await
    .to_string();
    if !refused.contains("may not add these capabilities: SYS_PTRACE") {
        failed.push(format!("a debugger with capabilities: {refused}"));
    }
    failed
}
