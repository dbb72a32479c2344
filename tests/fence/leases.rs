//! How long a Lease of the runner's may keep others waiting, and what may tie it to other objects.

use serde_json::{Value, json};

use crate::support::cases::{Case, Expect, Verb, case, failures, make, with};
use crate::support::scene::Scene;

fn lease(namespace: &str, name: &str, seconds: &Value) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": namespace},
        "spec": {"holderIdentity": "x", "leaseDurationSeconds": seconds},
    })
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes Leases)"]
async fn leases_are_bounded() {
    let scene = Scene::open().await;
    let bounded = Expect::Refused("leases", "must have leaseDurationSeconds from 1 to 600");
    let tied = Expect::Refused("leases", "neither owner references nor finalizers");
    let owned =
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]}});
    let stuck = json!({"metadata": {"finalizers": ["example.com/stay"]}});
    let mut failed = Vec::new();
    // A test's, and a turn's.
    for namespace in ["kymaros-system", "velero"] {
        let there = lease(namespace, &format!("kymaros-{}", scene.run), &json!(300));
        let fresh = |seconds: Value| lease(namespace, &format!("kymaros-{}-new", scene.run), &seconds);
        let lasting = |seconds: i64| with(&there, json!({"spec": {"leaseDurationSeconds": seconds}}));
        make(&scene.admin, std::slice::from_ref(&there)).await;
        let cases: [Case; 14] = [
            case("five minutes", Verb::Create, fresh(json!(300)), Expect::Accepted),
            case("ten minutes", Verb::Create, fresh(json!(600)), Expect::Accepted),
            case("ten minutes and a second", Verb::Create, fresh(json!(601)), bounded),
            case("years", Verb::Create, fresh(json!(2_000_000_000)), bounded),
            case("without end", Verb::Create, fresh(Value::Null), bounded),
            case("renewed", Verb::Replace, there.clone(), Expect::Accepted),
            case(
                "made to last ten minutes",
                Verb::Replace,
                lasting(600),
                Expect::Accepted,
            ),
            case("made to last longer", Verb::Replace, lasting(601), bounded),
            case("made to last for years", Verb::Replace, lasting(2_000_000_000), bounded),
            case("owned", Verb::Create, with(&fresh(json!(300)), owned.clone()), tied),
            case("made to be owned", Verb::Replace, with(&there, owned.clone()), tied),
            case(
                "with a finalizer",
                Verb::Create,
                with(&fresh(json!(300)), stuck.clone()),
                tied,
            ),
            case("given a finalizer", Verb::Replace, with(&there, stuck.clone()), tied),
            case("given back", Verb::Delete, there.clone(), Expect::Accepted),
        ];
        let wrong = failures(&scene.runner, &cases).await;
        failed.extend(wrong.into_iter().map(|line| format!("in {namespace}, {line}")));
        let cleaning = [case("cleaning up", Verb::Remove, there.clone(), Expect::Accepted)];
        failed.extend(failures(&scene.admin, &cleaning).await);
    }
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
