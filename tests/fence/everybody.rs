//! What nobody but the runner may do: make or relabel sandboxes, write reports, and have a volume made for a sandbox.

use serde_json::{Value, json};

use crate::support::cases::{Expect, Outcome, Verb, case, failures, make, sandbox, send, with};
use crate::support::scene::Scene;
use crate::support::{kubectl_in_cluster, root};

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn reserved_names() {
    let scene = Scene::open().await;
    let named = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let labels = |name: &str, labels: Value| with(&named(name), json!({"metadata": {"labels": labels}}));
    let generated = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "shop-kymaros-a"}});
    let refused = |piece| Expect::Refused("reserved-names", piece);
    // What holds for the administrator holds for the provider, and the other way round.
    let cases = [
        case(
            "an ordinary namespace",
            Verb::Create,
            named("fence-ordinary"),
            Expect::Accepted,
        ),
        case(
            "a name that is nearly reserved",
            Verb::Create,
            named("shop-kymaros-abcdefg"),
            Expect::Accepted,
        ),
        case(
            "a reserved name",
            Verb::Create,
            named("shop-kymaros-abcdef"),
            refused("made by its runner only"),
        ),
        case(
            "a reserved name that the server completes",
            Verb::Create,
            generated,
            refused("made by its runner only"),
        ),
        case(
            "a whole sandbox",
            Verb::Create,
            sandbox("shop-kymaros-abcdef"),
            refused("made by its runner only"),
        ),
        case(
            "the label on a new namespace",
            Verb::Create,
            labels("fence-ordinary", json!({"kymaros.io/managed-by": "kymaros"})),
            refused("set by kymaros only"),
        ),
        case(
            "a run's label on a new namespace",
            Verb::Create,
            labels("fence-ordinary", json!({"kymaros.io/run": scene.run})),
            refused("set by kymaros only"),
        ),
        case(
            "the label on production",
            Verb::Patch,
            labels(&scene.production, json!({"kymaros.io/managed-by": "kymaros"})),
            refused("set by kymaros only"),
        ),
        case(
            "a run's label on production",
            Verb::Patch,
            labels(&scene.production, json!({"kymaros.io/run": scene.run})),
            refused("set by kymaros only"),
        ),
        case(
            "the label on production, by its status",
            Verb::PatchStatus,
            labels(&scene.production, json!({"kymaros.io/managed-by": "kymaros"})),
            refused("set by kymaros only"),
        ),
        case(
            "another label on production",
            Verb::Patch,
            labels(&scene.production, json!({"team": "a"})),
            Expect::Accepted,
        ),
        case(
            "the label off a sandbox",
            Verb::Patch,
            labels(&scene.sandbox, json!({"kymaros.io/managed-by": null})),
            refused("set by kymaros only"),
        ),
        case(
            "the label off a sandbox, by its status",
            Verb::PatchStatus,
            labels(&scene.sandbox, json!({"kymaros.io/managed-by": null})),
            refused("set by kymaros only"),
        ),
        case(
            "a label more on a sandbox",
            Verb::Patch,
            labels(&scene.sandbox, json!({"team": "a"})),
            refused("may not be changed"),
        ),
        case(
            "another level of a sandbox",
            Verb::Patch,
            labels(
                &scene.sandbox,
                json!({"pod-security.kubernetes.io/enforce": "baseline"}),
            ),
            refused("may not be changed"),
        ),
        case(
            "an annotation of a sandbox",
            Verb::Patch,
            with(&named(&scene.sandbox), json!({"metadata": {"annotations": {"a": "b"}}})),
            Expect::Accepted,
        ),
        case(
            "deleting a sandbox",
            Verb::Delete,
            named(&scene.sandbox),
            Expect::Accepted,
        ),
    ];
    let mut failed = failures(&scene.admin, &cases).await;
    failed.extend(
        failures(&scene.provider, &cases)
            .await
            .into_iter()
            .map(|line| format!("by the provider: {line}")),
    );
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn volumes_by_the_provider() {
    let scene = Scene::open().await;
    let volume = |namespace: &str, source: Value| {
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "fence-by-provider"},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "claimRef": {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": "data"},
            },
        });
        with(&volume, json!({"spec": source}))
    };
    let csi = json!({"csi": {"driver": "fence.example.com", "volumeHandle": "source"}});
    let nfs = json!({"nfs": {"server": "nas", "path": "/shop"}});
    let refused = Expect::Refused("source-volumes", "the source's own storage");
    let by_provider = [
        case(
            "csi for a sandbox",
            Verb::Create,
            volume(&scene.sandbox, csi.clone()),
            refused,
        ),
        case("nfs for a sandbox", Verb::Create, volume(&scene.sandbox, nfs), refused),
        case(
            "csi for production",
            Verb::Create,
            volume(&scene.production, csi.clone()),
            Expect::Accepted,
        ),
    ];
    // Whoever serves the storage class is not the provider.
    let by_another = [case(
        "csi for a sandbox",
        Verb::Create,
        volume(&scene.sandbox, csi),
        Expect::Accepted,
    )];
    let mut failed = failures(&scene.provider, &by_provider).await;
    failed.extend(failures(&scene.admin, &by_another).await);
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn report(name: &str) -> Value {
    json!({
        "apiVersion": "restore.kymaros.io/v1alpha1", "kind": "RestoreReport",
        "metadata": {"name": name, "namespace": "kymaros-system", "labels": {"kymaros.io/test": "fence"}},
        "spec": {"testRef": "fence"},
    })
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes reports)"]
async fn reports() {
    let scene = Scene::open().await;
    let [finished, unfinished, kept] =
        ["finished", "unfinished", "kept"].map(|n| report(&format!("fence-{n}-{}", scene.run)));
    let retained = json!({"metadata": {"labels": {"kymaros.io/retain": "true"}}});
    let objects = [finished.clone(), unfinished.clone(), with(&kept, retained.clone())];
    make(&scene.runner, &objects).await;
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:10:00Z"});
    let passed = condition("Conclusive", "True", "Passed");
    let done = json!({"status": {
        "score": 90, "result": "pass", "startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:10:00Z",
        "conditions": [passed],
    }});
    let score = json!({"status": {"score": 7}});
    let writing = [
        case(
            "finishing a report",
            Verb::ChangeStatus,
            with(&finished, done.clone()),
            Expect::Accepted,
        ),
        case(
            "finishing a kept report",
            Verb::ChangeStatus,
            with(&kept, done),
            Expect::Accepted,
        ),
        case(
            "writing into an unfinished report",
            Verb::PatchStatus,
            with(&unfinished, score.clone()),
            Expect::Accepted,
        ),
        case(
            "deleting a finished report",
            Verb::Delete,
            finished.clone(),
            Expect::Accepted,
        ),
        case(
            "deleting an unfinished report",
            Verb::Delete,
            unfinished.clone(),
            Expect::Refused("reports-pruning", "not finished"),
        ),
        case(
            "deleting a kept report",
            Verb::Delete,
            kept.clone(),
            Expect::Refused("reports-pruning", "kymaros.io/retain=true"),
        ),
        case(
            "labelling a report",
            Verb::Patch,
            with(&finished, retained.clone()),
            Expect::NoRight,
        ),
    ];
    let refused = |piece| Expect::Refused("reports", piece);
    let meta = |change: Value| with(&finished, json!({"metadata": change}));
    let reading = [
        case(
            "a report of one's own",
            Verb::Create,
            report("fence-forged"),
            refused("written by the kymaros runner only"),
        ),
        case(
            "another score",
            Verb::PatchStatus,
            with(&unfinished, score),
            refused("written by the kymaros runner only"),
        ),
        case(
            "keeping a report",
            Verb::Patch,
            with(&finished, retained),
            Expect::Accepted,
        ),
        case(
            "a label of one's own",
            Verb::Patch,
            meta(json!({"labels": {"audit": "2026"}})),
            Expect::Accepted,
        ),
        case(
            "an annotation",
            Verb::Patch,
            meta(json!({"annotations": {"a": "b"}})),
            refused("only the labels may be changed"),
        ),
        case(
            "a finalizer",
            Verb::Patch,
            meta(json!({"finalizers": ["example.com/stay"]})),
            refused("only the labels may be changed"),
        ),
        case(
            "the report of another test",
            Verb::Patch,
            meta(json!({"labels": {"kymaros.io/test": "other"}})),
            refused("which test a RestoreReport belongs to"),
        ),
        case("deleting a report", Verb::Delete, finished.clone(), Expect::Accepted),
    ];
    let mut failed = failures(&scene.runner, &writing).await;
    // The kind itself refuses these, to everybody.
    let only = Some("of the conditions of a finished report only SandboxCleanedUp can be changed");
    let undone = condition("Conclusive", "False", "ProviderUnavailable");
    let left = condition("SandboxCleanedUp", "False", "Left");
    for (about, change, says) in [
        (
            "a verdict that says nothing any more",
            json!({"conditions": [undone]}),
            only,
        ),
        ("the same beside clean-up", json!({"conditions": [undone, left]}), only),
        ("a verdict taken away", json!({"conditions": [left]}), only),
        (
            "another score",
            json!({"score": 100}),
            Some("score of a finished report cannot be changed"),
        ),
        ("what clean-up came to", json!({"conditions": [passed, left]}), None),
    ] {
        let change = with(&finished, json!({"status": change}));
        let outcome = send(&scene.runner, Verb::PatchStatus, &change).await;
        let fine = match (says, &outcome) {
            (None, Outcome::Accepted(_)) => true,
            (Some(says), outcome) => outcome.to_string().contains(says),
            _ => false,
        };
        if !fine {
            failed.push(format!("{about}: {outcome}"));
        }
    }
    failed.extend(failures(&scene.admin, &reading).await);
    let cleaning = objects.map(|object| case("cleaning up", Verb::Remove, object, Expect::Accepted));
    failed.extend(failures(&scene.admin, &cleaning).await);
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base)"]
async fn the_example_is_accepted() {
    let scene = Scene::open().await;
    let example = root().join("kustomize/example").to_string_lossy().into_owned();
    // The one that the example's test compares with; a demo on this cluster may have it already.
    let made = kubectl_in_cluster(&["create", "namespace", "shop"], None).is_ok();
    let answer = kubectl_in_cluster(
        &[
            "apply",
            "--server-side",
            "--dry-run=server",
            "--force-conflicts",
            "--field-manager=kymaros-tests",
            "-k",
            &example,
        ],
        None,
    );
    if made {
        kubectl_in_cluster(&["delete", "namespace", "shop", "--wait=false"], None).expect("deleted");
    }
    scene.close().await;
    let answer = answer.expect("the example is applied");
    assert!(
        answer.contains("restoretest.restore.kymaros.io/shop serverside-applied"),
        "{answer}"
    );
}
