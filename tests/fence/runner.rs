//! What the runner may do to namespaces, and where it may bind itself.

use serde_json::{Value, json};

use crate::support::cases::{Expect, Verb, case, failures, role_binding, sandbox, send, with};
use crate::support::scene::Scene;

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn namespaces_and_role_bindings() {
    let scene = Scene::open().await;
    let fresh = sandbox(&format!("new-kymaros-{}", scene.run));
    let own = namespace(&scene.sandbox);
    let subject =
        |name: &str| json!({"subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "kymaros-system"}]});
    let refused = |piece| Expect::Refused("namespaces", piece);
    let unbound = |piece| Expect::Refused("rolebindings", piece);
    let label = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
    let annotation = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
    let cases = [
        case("a sandbox", Verb::Create, fresh.clone(), Expect::Accepted),
        case(
            "a sandbox at level baseline",
            Verb::Create,
            with(&fresh, label("pod-security.kubernetes.io/enforce", json!("baseline"))),
            Expect::Accepted,
        ),
        case(
            "a sandbox without the label",
            Verb::Create,
            with(&fresh, label("kymaros.io/managed-by", Value::Null)),
            refused("labelled kymaros.io/managed-by=kymaros"),
        ),
        case(
            "a sandbox of another run's name",
            Verb::Create,
            with(&fresh, label("kymaros.io/run", json!("zzzzzz"))),
            refused("must be the run id"),
        ),
        case(
            "a sandbox without a level",
            Verb::Create,
            with(&fresh, label("pod-security.kubernetes.io/enforce", Value::Null)),
            refused("Pod Security level"),
        ),
        case(
            "a sandbox without expiry",
            Verb::Create,
            with(
                &fresh,
                json!({"metadata": {"annotations": {"kymaros.io/expires-at": null}}}),
            ),
            refused("when it expires"),
        ),
        // Others act on labels: admission plugins, meshes, production's own NetworkPolicies and gateways.
        case(
            "a sandbox with a pinned version of Pod Security",
            Verb::Create,
            with(
                &fresh,
                label("pod-security.kubernetes.io/enforce-version", json!("v1.20")),
            ),
            refused("no others, for others act on them: pod-security.kubernetes.io/enforce-version"),
        ),
        case(
            "a sandbox with admin access to devices",
            Verb::Create,
            with(&fresh, label("resource.kubernetes.io/admin-access", json!("true"))),
            refused("resource.kubernetes.io/admin-access"),
        ),
        case(
            "a sandbox in a mesh",
            Verb::Create,
            with(&fresh, label("istio-injection", json!("enabled"))),
            refused("istio-injection"),
        ),
        case(
            "a sandbox that production admits",
            Verb::Create,
            with(&fresh, label("name", json!("monitoring"))),
            refused("no others, for others act on them: name"),
        ),
        case(
            "a sandbox that is backed up",
            Verb::Create,
            with(&fresh, label("velero.io/exclude-from-backup", json!("false"))),
            refused("velero.io/exclude-from-backup of a sandbox must be true"),
        ),
        case(
            "a sandbox on nodes of its choice",
            Verb::Create,
            with(
                &fresh,
                annotation("scheduler.alpha.kubernetes.io/node-selector", json!("a=b")),
            ),
            refused("only give a sandbox annotations kymaros.io/*, not scheduler.alpha.kubernetes.io/node-selector"),
        ),
        case(
            "a sandbox that somebody owns",
            Verb::Create,
            with(
                &fresh,
                json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]}}),
            ),
            refused("a sandbox has no owner"),
        ),
        case(
            "a sandbox without proof of isolation",
            Verb::Create,
            with(&fresh, annotation("kymaros.io/isolation-proof", json!("report"))),
            refused(
                "does not allow sandbox.isolationProof: report; to allow it, set unprovenIsolation of ConfigMap kymaros-installation",
            ),
        ),
        case(
            "a sandbox for custom resources",
            Verb::Create,
            with(
                &fresh,
                annotation(
                    "kymaros.io/kinds",
                    json!("ConfigMap,Deployment.apps,Widget.fence.example.com"),
                ),
            ),
            refused("does not allow these custom resources in a sandbox: Widget.fence.example.com"),
        ),
        case(
            "a foreign annotation on a sandbox that is there",
            Verb::Patch,
            with(&own, annotation("iam.amazonaws.com/permitted", json!(".*"))),
            refused("only change annotations kymaros.io/*"),
        ),
        case(
            "more kinds for a sandbox that is there",
            Verb::Patch,
            with(
                &own,
                annotation("kymaros.io/kinds", json!("Secret,Role.rbac.authorization.k8s.io")),
            ),
            refused("may not be changed"),
        ),
        case(
            "another proof for a sandbox that is there",
            Verb::Patch,
            with(&own, annotation("kymaros.io/isolation-proof", json!("report"))),
            refused("may not be changed"),
        ),
        case(
            "an ordinary name",
            Verb::Create,
            with(&fresh, json!({"metadata": {"name": "shop"}})),
            refused("whose name ends in -kymaros-<run id>, not shop"),
        ),
        case(
            "a run id that is too long",
            Verb::Create,
            sandbox("shop-kymaros-abcdefg"),
            refused("whose name ends in"),
        ),
        case(
            "the self-test's namespace",
            Verb::Create,
            namespace("kymaros-fence-selftest"),
            refused("whose name ends in"),
        ),
        case(
            "an annotation of a sandbox",
            Verb::Patch,
            with(&own, json!({"metadata": {"annotations": {"kymaros.io/note": "x"}}})),
            Expect::Accepted,
        ),
        case(
            "a label more on a sandbox",
            Verb::Patch,
            with(&own, label("team", json!("a"))),
            refused("labels after its creation"),
        ),
        case(
            "the label off a sandbox",
            Verb::Patch,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.sandbox, "labels": {"kymaros.io/managed-by": null}}}),
            refused("labels after its creation"),
        ),
        case(
            "a finalizer on a sandbox",
            Verb::Patch,
            with(&own, json!({"metadata": {"finalizers": ["example.com/stay"]}})),
            refused("only change a sandbox's annotations"),
        ),
        case(
            "a label on production",
            Verb::Patch,
            with(
                &namespace(&scene.production),
                label("kymaros.io/managed-by", json!("kymaros")),
            ),
            refused("whose name ends in"),
        ),
        case(
            "an annotation on default",
            Verb::Patch,
            with(&namespace("default"), json!({"metadata": {"annotations": {"a": "b"}}})),
            refused("whose name ends in"),
        ),
        case("deleting a sandbox", Verb::Delete, own.clone(), Expect::Accepted),
        case(
            "deleting production",
            Verb::Delete,
            namespace(&scene.production),
            refused("whose name ends in"),
        ),
        case(
            "itself in a sandbox",
            Verb::Create,
            role_binding(&scene.sibling),
            Expect::Accepted,
        ),
        case(
            "itself in its own namespace",
            Verb::Create,
            role_binding("kymaros-system"),
            unbound("kymaros-system is none"),
        ),
        case(
            "itself in production",
            Verb::Create,
            role_binding(&scene.production),
            unbound("only bind itself inside a sandbox"),
        ),
        case(
            "itself in kube-system",
            Verb::Create,
            role_binding("kube-system"),
            unbound("only bind itself inside a sandbox"),
        ),
        case(
            "somebody else in a sandbox",
            Verb::Create,
            with(&role_binding(&scene.sibling), subject("default")),
            unbound("only bind itself"),
        ),
        case(
            "everybody in a sandbox",
            Verb::Create,
            with(
                &role_binding(&scene.sibling),
                json!({"subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:authenticated"}]}),
            ),
            unbound("only bind itself"),
        ),
        case(
            "nobody in a sandbox",
            Verb::Create,
            with(&role_binding(&scene.sibling), json!({"subjects": []})),
            unbound("only bind itself"),
        ),
    ];
    let mut failed = failures(&scene.runner, &cases).await;
    // RBAC answers first here; with a right to bind more than the one role the policy would.
    let admin = json!({"roleRef": {"name": "cluster-admin"}});
    let outcome = send(&scene.runner, Verb::Create, &with(&role_binding(&scene.sibling), admin))
        .await
        .to_string();
    if !outcome.contains("not currently held") {
        failed.push(format!("cluster-admin in a sandbox: {outcome}"));
    }
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
