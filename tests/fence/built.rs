//! What the program itself builds for a sandbox passes its own fence.

use kymaros_runner::api::Sandbox;
use kymaros_runner::build::names::{self, Rewrites};
use kymaros_runner::build::probe::{Dial, Probe, ProbeHost};
use kymaros_runner::build::sandbox::{self, End, Kinds};
use kymaros_runner::build::{Owner, network};
use kymaros_runner::names::{RUNNER_NAMESPACE, SERVICE_ACCOUNT};
use serde::Serialize;
use serde_json::{Value, json};

use crate::support::cases::{Case, Expect, Outcome, Verb, failures, send, with};
use crate::support::scene::Scene;

fn accepted(about: &'static str, object: impl Serialize) -> Case {
    let object = serde_json::to_value(object).expect("an object");
    Case {
        about,
        verb: Verb::Create,
        object,
        expect: Expect::Accepted,
    }
}

fn settings(settings: Value) -> Sandbox {
    serde_json::from_value(settings).expect("settings of a sandbox")
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn what_the_program_builds_is_accepted() {
    let scene = Scene::open().await;
    let owner = Owner {
        test: "fence".to_owned(),
        test_uid: "u-1".to_owned(),
        run_id: scene.run.clone(),
    };
    let strict = settings(json!({"resourceQuota": {"cpu": "4", "memory": "8Gi", "storage": "50Gi"}}));
    let group = settings(json!({"networkIsolation": "group", "podSecurity": "privileged"}));
    let name = format!("new{}", owner.sandbox_suffix());
    let end = End {
        expires_at: "2030-01-01T00:00:00Z".parse().expect("a time"),
        provider_namespace: "velero".to_owned(),
        holder: "abc123/runner-1/u-1".to_owned(),
    };
    let host = ProbeHost {
        image: "kymaros-runner:0.1.0".to_owned(),
        pull_policy: None,
        run_as_user: Some(65532),
        node: Some("node1".to_owned()),
        tolerations: None,
    };
    let kinds: Kinds = ["ConfigMap", "Deployment.apps", "VolumeSnapshot.snapshot.storage.k8s.io"]
        .map(str::to_owned)
        .into();
    let dial = Probe::Dial(Dial {
        forbidden: vec!["10.0.0.1:443".parse().expect("an address")],
        needed: vec!["10.0.0.2:8080".parse().expect("an address")],
        names: vec!["kubernetes.default.svc".to_owned()],
        at_least: std::time::Duration::from_secs(1),
        at_most: std::time::Duration::from_secs(5),
    });
    let rewrites = Rewrites {
        domain: "cluster.local".to_owned(),
        pairs: vec![("fence".to_owned(), scene.sandbox.clone())],
    };
    let mut cases = vec![
        accepted(
            "a namespace",
            sandbox::namespace("new", &name, &owner, &strict, &end, &kinds),
        ),
        accepted(
            "a namespace at another level",
            sandbox::namespace("new", &name, &owner, &group, &end, &kinds),
        ),
        accepted(
            "the binding",
            sandbox::role_binding(&scene.sibling, &owner, RUNNER_NAMESPACE, SERVICE_ACCOUNT),
        ),
        accepted("the quota", sandbox::quota(&scene.sandbox, &owner, &strict)),
        accepted(
            "default requests",
            sandbox::limit_range(&scene.sandbox, &owner, &strict).expect("a quota needs them"),
        ),
        accepted(
            "a probe that listens",
            host.pod(&scene.sandbox, "serve", &owner, &Probe::Serve { port: 8080 }),
        ),
        accepted("the name server", names::pod(&host, &scene.sandbox, &owner, &rewrites)),
        accepted("the name server's Service", names::service(&scene.sandbox, &owner)),
        Case {
            verb: Verb::Patch,
            object: with(
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.sandbox}}),
                names::pointed_at("fd00::7", "cluster.local"),
            ),
            ..accepted("the name server's address", ())
        },
        accepted("a probe that dials", host.pod(&scene.sandbox, "dial", &owner, &dial)),
    ];
    for (about, settings) in [
        ("the network of a strict sandbox", &strict),
        ("the network of a group", &group),
    ] {
        // The scene's sandbox has the first of them already.
        for policy in network::closed(&scene.sandbox, &owner, settings, RUNNER_NAMESPACE)
            .into_iter()
            .skip(1)
        {
            cases.push(accepted(about, policy));
        }
        for served in [false, true] {
            cases.push(accepted(about, network::dns(&scene.sandbox, &owner, settings, served)));
        }
    }
    let mut failed = failures(&scene.runner, &cases).await;
    let exposed = serde_json::to_value(sandbox::exposed_service(&scene.sandbox, &owner)).expect("an object");
    match send(&scene.runner, Verb::Create, &exposed).await {
        Outcome::Accepted(service) => {
            let service = serde_json::from_value(service).expect("a Service");
            failed.extend(sandbox::exposure(&service).map(|how| format!("the self-test's Service: {how}")));
        }
        outcome => failed.push(format!("the self-test's Service: {outcome}")),
    }
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
