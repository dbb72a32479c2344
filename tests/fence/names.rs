//! The name server of a sandbox: what the runner may make of it, and which pods are pointed at it.

use serde_json::{Value, json};

use crate::neutralised::{Change, differences, object, pod};
use crate::support::cases::{Expect, Outcome, Verb, case, failures, send, with};
use crate::support::scene::Scene;

fn marked(name: &str, annotations: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations}})
}

fn service(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kymaros-names", "namespace": namespace},
        "spec": {
            "selector": {"kymaros.io/probe": "kymaros-names"},
            "ports": [{"port": 53, "targetPort": 5353, "protocol": "UDP"}],
        },
    })
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn the_runner_makes_one_service_and_points_at_it_once() {
    let scene = Scene::open().await;
    let good = service(&scene.sandbox);
    let refused = |piece| Expect::Refused("services", piece);
    let unmarked = |piece| Expect::Refused("namespaces", piece);
    let own = |annotations: Value| marked(&scene.sandbox, &annotations);
    let spec = |spec: Value| with(&good, json!({ "spec": spec }));
    let cases = [
        case(
            "asking for any Service",
            Verb::Create,
            with(&good, json!({"metadata": {"name": "any"}})),
            Expect::Accepted,
        ),
        case(
            "any Service",
            Verb::Make,
            with(&good, json!({"metadata": {"name": "any"}})),
            refused("only create the Service kymaros-names"),
        ),
        case(
            "a Service of the application's pods",
            Verb::Make,
            spec(json!({"selector": {"kymaros.io/probe": null, "app": "db"}})),
            refused("only create the Service kymaros-names"),
        ),
        case(
            "a Service of more pods",
            Verb::Make,
            spec(json!({"selector": null})),
            refused("only create the Service kymaros-names"),
        ),
        case(
            "a Service with another port",
            Verb::Make,
            spec(json!({"ports": [{"port": 443}]})),
            refused("only create the Service kymaros-names"),
        ),
        case(
            "a Service outside",
            Verb::Make,
            service(&scene.production),
            Expect::NoRight,
        ),
        case("the name server's Service", Verb::Make, good.clone(), Expect::Accepted),
        case(
            "changing it",
            Verb::Patch,
            spec(json!({"selector": {"app": "db"}})),
            Expect::NoRight,
        ),
        case(
            "no address",
            Verb::Patch,
            own(json!({"kymaros.io/nameserver": "ns.example\nnameserver"})),
            unmarked("must be an address"),
        ),
        case(
            "no domain",
            Verb::Patch,
            own(json!({"kymaros.io/cluster-domain": "a b"})),
            unmarked("must be an address"),
        ),
        case(
            "an address",
            Verb::Change,
            own(json!({"kymaros.io/nameserver": "10.96.0.7", "kymaros.io/cluster-domain": "cluster.local"})),
            Expect::Accepted,
        ),
        case(
            "another address",
            Verb::Patch,
            own(json!({"kymaros.io/nameserver": "10.96.0.8"})),
            unmarked("may not be changed"),
        ),
        case(
            "no address any more",
            Verb::Patch,
            own(json!({"kymaros.io/nameserver": null})),
            unmarked("may not be changed"),
        ),
        case(
            "another annotation",
            Verb::Patch,
            own(json!({"kymaros.io/kept": "true"})),
            Expect::Accepted,
        ),
        case(
            "on production",
            Verb::Patch,
            marked(&scene.production, &json!({"kymaros.io/nameserver": "10.96.0.7"})),
            unmarked("whose name ends in"),
        ),
    ];
    let failed = failures(&scene.runner, &cases).await;
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn pods_are_pointed_at_the_name_server() {
    let scene = Scene::open().await;
    let search = json!([
        format!("{}.svc.cluster.example", scene.sandbox),
        "svc.cluster.example",
        "cluster.example"
    ]);
    let ndots = |value: &str| json!([{"name": "ndots", "value": value}]);
    let as_made = |about, spec, stored| Change {
        about,
        verb: Verb::Create,
        object: pod(&scene, spec),
        stored,
    };
    let before = [as_made(
        "before it is marked",
        json!({}),
        json!({"/spec/dnsPolicy": "ClusterFirst", "/spec/dnsConfig": null}),
    )];
    let mut failed = differences(&scene, &before).await;
    let mark = marked(
        &scene.sandbox,
        &json!({"kymaros.io/nameserver": "10.96.0.7", "kymaros.io/cluster-domain": "cluster.example"}),
    );
    failed.extend(failures(&scene.runner, &[case("the mark", Verb::Change, mark, Expect::Accepted)]).await);
    pointed(&scene).await;
    let mut longer = search.clone();
    longer.as_array_mut().expect("a list").push(json!("corp.example"));
    let changes = [
        as_made(
            "a plain pod",
            json!({}),
            json!({
                "/spec/dnsPolicy": "None", "/spec/dnsConfig/nameservers": ["10.96.0.7"],
                "/spec/dnsConfig/searches": search, "/spec/dnsConfig/options": ndots("5"),
            }),
        ),
        as_made(
            "a pod of the node's names",
            json!({"dnsPolicy": "Default"}),
            json!({"/spec/dnsPolicy": "None", "/spec/dnsConfig/nameservers": ["10.96.0.7"], "/spec/dnsConfig/searches": search}),
        ),
        as_made(
            "a pod with a search path and options besides",
            json!({"dnsConfig": {"searches": ["corp.example", "cluster.example"], "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}]}}),
            json!({
                "/spec/dnsConfig/searches": longer,
                "/spec/dnsConfig/options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}],
            }),
        ),
        as_made(
            "a pod with name servers of its own",
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"], "searches": ["corp.example"]}}),
            json!({
                "/spec/dnsConfig/nameservers": ["10.96.0.7"], "/spec/dnsConfig/searches": ["corp.example"],
                "/spec/dnsConfig/options": null,
            }),
        ),
        as_made(
            "a pod with name servers and no search path",
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"]}}),
            json!({"/spec/dnsConfig/nameservers": ["10.96.0.7"], "/spec/dnsConfig/searches": null}),
        ),
    ];
    failed.extend(differences(&scene, &changes).await);
    // The label is worth nothing on anybody else's pod.
    let posing = object(
        &scene,
        "v1",
        "Pod",
        json!({"metadata": {"labels": {"kymaros.io/probe": "kymaros-names"}}, "spec": {"containers": [{"name": "c", "image": "shop"}]}}),
    );
    let refused = Expect::Refused("sandbox-pods", "only if the runner made it");
    failed.extend(
        failures(
            &scene.provider,
            &[case(
                "a pod that poses as the name server",
                Verb::Create,
                posing,
                refused,
            )],
        )
        .await,
    );
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Admission sees the annotation a moment later.
async fn pointed(scene: &Scene) {
    let asked = pod(scene, json!({}));
    for _ in 0..100 {
        let outcome = send(&scene.provider, Verb::Create, &asked).await;
        if matches!(&outcome, Outcome::Accepted(stored) if stored["spec"]["dnsPolicy"] == "None") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
