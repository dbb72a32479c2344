//! No pod starts in a sandbox that is not closed, and nobody opens one: neither whoever a restored `RoleBinding` names, nor an
//! administrator by accident, nor the runner.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cases::{Expect, Outcome, Verb, case, failures, make, role_binding, sandbox, send, with};
use crate::support::scene::{Scene, closed};

fn pod(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "restored", "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    })
}

fn probe(namespace: &str) -> Value {
    let secure =
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "kymaros-probe-open", "namespace": namespace, "labels": {"kymaros.io/probe": "kymaros-probe-open"}},
        "spec": {
            "automountServiceAccountToken": false, "restartPolicy": "Never", "enableServiceLinks": false,
            "activeDeadlineSeconds": 120,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "probe", "image": "kymaros-runner:0.1.0", "args": ["probe", "dial", "--needed=10.0.0.1:80"],
                "securityContext": secure,
            }],
        },
    })
}

/// Asks for a pod until the answer holds these words; what the last answer was, if none did.
async fn until(scene: &Scene, namespace: &str, words: &str) -> Option<String> {
    let mut last = String::new();
    for _ in 0..100 {
        last = send(&scene.provider, Verb::Create, &pod(namespace)).await.to_string();
        if last.contains(words) {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Some(format!("expected {words:?} within 10 s: {last}"))
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn no_pod_in_a_sandbox_that_is_open() {
    let scene = Scene::open().await;
    // Of the same run, and without network policies: as a stolen token, or a runner that died in the middle, leaves it.
    let open = format!("open-kymaros-{}", scene.run);
    make(&scene.runner, &[sandbox(&open), role_binding(&open)]).await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": open}});
    make(&scene.admin, &[account]).await;
    let refused = Expect::Refused("sandbox-closed", "no params found");
    let mut failed = Vec::new();
    for client in [&scene.provider, &scene.admin] {
        failed.extend(failures(client, &[case("a pod", Verb::Create, pod(&open), refused)]).await);
    }
    // The runner's rights there take a moment.
    for _ in 0..50 {
        if !send(&scene.runner, Verb::Create, &probe(&open))
            .await
            .to_string()
            .contains("cannot create")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    failed.extend(failures(&scene.runner, &[case("a probe", Verb::Create, probe(&open), refused)]).await);
    // One that denies too little closes nothing.
    for weak in [
        json!({"podSelector": {"matchLabels": {"app": "other"}}}),
        json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}),
        json!({"policyTypes": ["Ingress"]}),
    ] {
        let policy = with(&closed(&open), json!({"spec": weak}));
        // The neutraliser gives both types back to what others than the runner write.
        let both = weak.get("policyTypes").is_some();
        let client = if both { &scene.runner } else { &scene.admin };
        make(client, std::slice::from_ref(&policy)).await;
        failed.extend(until(&scene, &open, "denies everything for every pod").await);
        failed.extend(removed(&policy).await);
        failed.extend(until(&scene, &open, "no params found").await);
    }
    make(&scene.runner, &[closed(&open)]).await;
    failed.extend(until(&scene, &open, "accepted").await);
    failed.extend(
        failures(
            &scene.runner,
            &[case("a probe", Verb::Create, probe(&open), Expect::Accepted)],
        )
        .await,
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": open}});
    send(&scene.admin, Verb::Remove, &namespace).await;
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Removes a `NetworkPolicy` as nobody but the namespace controller can.
async fn removed(policy: &Value) -> Option<String> {
    let controller = crate::support::client(Some("system:serviceaccount:kube-system:namespace-controller")).await;
    match send(&controller, Verb::Remove, policy).await {
        Outcome::Accepted(_) => None,
        outcome => Some(format!("the namespace controller: {outcome}")),
    }
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn nobody_opens_a_sandbox() {
    let scene = Scene::open().await;
    let own = |api_version: &str, kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": api_version, "kind": kind, "spec": spec,
            "metadata": {"name": name, "namespace": scene.sandbox, "labels": {"kymaros.io/managed-by": "kymaros"}},
        })
    };
    let neighbours = own(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "kymaros-neighbours",
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{"to": [{"podSelector": {}}]}]}),
    );
    let quota = own(
        "v1",
        "ResourceQuota",
        "kymaros-classes",
        json!({"hard": {"pods": "100"}}),
    );
    let limits = own(
        "v1",
        "LimitRange",
        "kymaros-requests",
        json!({"limits": [{"type": "Container", "defaultRequest": {"cpu": "10m"}}]}),
    );
    let service = own(
        "v1",
        "Service",
        "kymaros-names",
        json!({"type": "ClusterIP", "selector": {"kymaros.io/probe": "kymaros-names"}, "ports": [{"port": 53, "protocol": "UDP"}]}),
    );
    let mut server = probe(&scene.sandbox);
    server["metadata"]["name"] = json!("kymaros-names");
    server["metadata"]["labels"] = json!({"kymaros.io/probe": "kymaros-names"});
    server["spec"]["restartPolicy"] = json!("Always");
    server["spec"]["activeDeadlineSeconds"] = Value::Null;
    server["spec"]["containers"][0]["args"] = json!(["dns", "--domain=cluster.local", "--rewrite=a=b"]);
    make(
        &scene.runner,
        &[
            neighbours.clone(),
            quota.clone(),
            limits.clone(),
            service.clone(),
            server.clone(),
        ],
    )
    .await;
    let restored = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "of-the-backup", "namespace": scene.sandbox},
        "spec": {"podSelector": {}},
    });
    make(&scene.admin, std::slice::from_ref(&restored)).await;
    let stays = |about, object: &Value| {
        case(
            about,
            Verb::Delete,
            object.clone(),
            Expect::Refused("sandbox-guards", "delete the namespace instead"),
        )
    };
    let fixed = |about, object: &Value, change: Value| {
        case(
            about,
            Verb::Patch,
            with(object, change),
            Expect::Refused("sandbox-guards", "may not be changed"),
        )
    };
    let binding = role_binding(&scene.sandbox);
    let labelled = with(
        &binding,
        json!({"metadata": {"labels": {"kymaros.io/managed-by": "kymaros"}}}),
    );
    let cases = [
        stays("what denies everything", &closed(&scene.sandbox)),
        stays("the neighbours", &neighbours),
        stays("the quota that keeps storage classes out", &quota),
        stays("default requests", &limits),
        stays("the name server", &server),
        stays("its Service", &service),
        fixed(
            "what denies, for fewer pods",
            &closed(&scene.sandbox),
            json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
        ),
        fixed("the quota", &quota, json!({"spec": {"hard": {"pods": "1000"}}})),
        fixed(
            "where the Service leads",
            &service,
            json!({"spec": {"selector": {"app": "mine"}}}),
        ),
        case(
            "whose it is",
            Verb::Patch,
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "kymaros-deny-all", "namespace": scene.sandbox, "labels": {"kymaros.io/managed-by": null}},
            }),
            Expect::Refused("sandbox-guards", "may not be changed"),
        ),
        case("a policy of the backup", Verb::Delete, restored, Expect::Accepted),
        case(
            "the runner's binding, made here without a label",
            Verb::Patch,
            labelled,
            Expect::Accepted,
        ),
        case(
            "the whole sandbox",
            Verb::Delete,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.sandbox}}),
            Expect::Accepted,
        ),
    ];
    let mut failed = failures(&scene.admin, &cases).await;
    // Whoever a restored RoleBinding lets in, as production's own account.
    let account = format!("system:serviceaccount:{}:default", scene.production);
    let bound = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "theirs", "namespace": scene.sandbox},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": scene.production}],
    });
    make(&scene.admin, &[bound]).await;
    let theirs = crate::support::client(Some(&account)).await;
    for _ in 0..50 {
        if !send(&theirs, Verb::Delete, &closed(&scene.sandbox))
            .await
            .to_string()
            .contains("cannot delete")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    failed.extend(failures(&theirs, &[stays("by whom the backup lets in", &closed(&scene.sandbox))]).await);
    failed.extend(failures(&scene.runner, &[stays("the name server, by the runner", &server)]).await);
    // It goes as a whole.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.sandbox}});
    send(&scene.runner, Verb::Remove, &namespace).await;
    let mut gone = String::new();
    for _ in 0..300 {
        gone = send(&scene.admin, Verb::Delete, &namespace).await.to_string();
        if gone.contains("not found") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    if !gone.contains("not found") {
        failed.push(format!("the sandbox is still there after a minute: {gone}"));
    }
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
