//! Networks outside that an installation permits: what the runner may then give a sandbox, and what still not.

use std::time::Duration;

use kymaros_runner::api::Sandbox;
use kymaros_runner::build::{Owner, network};
use serde_json::{Value, json};

use crate::support::cases::{Expect, Outcome, Verb, case, failures, send, with};
use crate::support::kubectl_in_cluster;
use crate::support::scene::Scene;

/// Writes the lists as an installation does, and waits until the fence judges `probe` accordingly.
async fn permit(scene: &Scene, egress: &str, dns: &str, probe: &Value, accepted: bool) {
    let patch = json!([
        {"op": "test", "path": "/spec/variables/0/name", "value": "egressCidrs"},
        {"op": "replace", "path": "/spec/variables/0/expression", "value": egress},
        {"op": "test", "path": "/spec/variables/4/name", "value": "dnsCidrs"},
        {"op": "replace", "path": "/spec/variables/4/expression", "value": dns},
    ]);
    let patch = patch.to_string();
    let args = [
        "patch",
        "validatingadmissionpolicy",
        "kymaros-fence-networkpolicies",
        "--type=json",
        "-p",
        &patch,
    ];
    kubectl_in_cluster(&args, None).expect("patched");
    let judged = async || {
        let outcome = send(&scene.runner, Verb::Create, probe).await;
        (matches!(outcome, Outcome::Accepted(_)) == accepted, outcome)
    };
    let (mut in_force, mut last) = judged().await;
    for _ in 0..100 {
        if in_force {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        (in_force, last) = judged().await;
    }
    assert!(in_force, "the lists are not in force after 10 s: {last}");
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn only_networks_that_the_installation_names() {
    let scene = Scene::open().await;
    let owner = Owner {
        test: "fence".to_owned(),
        test_uid: "u-1".to_owned(),
        run_id: scene.run.clone(),
    };
    let settings: Sandbox = serde_json::from_value(json!({
        "egress": [
            {"cidr": "198.51.100.7/32", "ports": [{"port": 5432}, {"port": 8125, "protocol": "UDP"}]},
            {"cidr": "2001:db8::/64", "ports": [{"port": 443}]},
        ],
        "dns": {"cidr": "169.254.20.10/32"},
    }))
    .expect("settings of a sandbox");
    let built = serde_json::to_value(network::ways_out(&scene.sandbox, &owner, &settings.egress)).expect("an object");
    let dns = serde_json::to_value(network::dns(&scene.sandbox, &owner, &settings, true)).expect("an object");

    let refused = |piece| Expect::Refused("networkpolicies", piece);
    let rules = |policy: &Value, egress: Value| with(policy, json!({"spec": {"egress": egress}}));
    let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
    let https = json!([{"protocol": "TCP", "port": 443}]);
    let to = |cidr: &str| rules(&built, json!([{"to": [block(cidr)], "ports": https}]));
    let unnamed = [
        case(
            "without a list",
            Verb::Create,
            built.clone(),
            refused("does not name 198.51.100.7/32, 2001:db8::/64; to allow it, add it to egressCidrs of"),
        ),
        case(
            "DNS without a list",
            Verb::Create,
            dns.clone(),
            refused("does not name 169.254.20.10/32; to allow it, add it to dnsCidrs of"),
        ),
    ];
    let mut failed = failures(&scene.runner, &unnamed).await;
    permit(
        &scene,
        "['198.51.100.7/32', '2001:db8::/64']",
        "['169.254.20.10/32']",
        &built,
        true,
    )
    .await;
    let named = [
        case("what the program builds", Verb::Create, built.clone(), Expect::Accepted),
        case("its DNS", Verb::Create, dns.clone(), Expect::Accepted),
        case("one of them", Verb::Create, to("198.51.100.7/32"), Expect::Accepted),
        case(
            "its neighbour",
            Verb::Create,
            to("198.51.100.8/32"),
            refused(
                "does not name 198.51.100.8/32; to allow it, add it to egressCidrs of ConfigMap kymaros-installation",
            ),
        ),
        case(
            "more than it",
            Verb::Create,
            to("198.51.100.0/24"),
            refused("does not name 198.51.100.0/24"),
        ),
        case(
            "a part of one",
            Verb::Create,
            to("2001:db8::1/128"),
            refused("does not name 2001:db8::1/128"),
        ),
        case(
            "everything",
            Verb::Create,
            to("0.0.0.0/0"),
            refused("does not name 0.0.0.0/0"),
        ),
        case(
            "one that is not named beside one that is",
            Verb::Create,
            rules(
                &built,
                json!([{"to": [block("198.51.100.7/32"), block("203.0.113.0/24")], "ports": https}]),
            ),
            refused("does not name 203.0.113.0/24"),
        ),
        case(
            "every port",
            Verb::Create,
            rules(&built, json!([{"to": [block("198.51.100.7/32")]}])),
            refused("must name its ports"),
        ),
        case(
            "every port of a protocol",
            Verb::Create,
            rules(
                &built,
                json!([{"to": [block("198.51.100.7/32")], "ports": [{"protocol": "TCP"}]}]),
            ),
            refused("must name its ports"),
        ),
        case(
            "a range of ports",
            Verb::Create,
            rules(
                &built,
                json!([{"to": [block("198.51.100.7/32")], "ports": [{"protocol": "TCP", "port": 1, "endPort": 65535}]}]),
            ),
            refused("must name its ports one by one"),
        ),
        // Every pod of the sandbox would be led to production.
        case(
            "where DNS answers",
            Verb::Create,
            to("169.254.20.10/32"),
            refused("does not name 169.254.20.10/32; to allow it, add it to egressCidrs of"),
        ),
        case(
            "DNS somewhere outside",
            Verb::Create,
            rules(&dns, json!([{"to": [block("198.51.100.7/32")], "ports": https}])),
            refused("does not name 198.51.100.7/32; to allow it, add it to dnsCidrs of"),
        ),
        case(
            "from one of them",
            Verb::Create,
            with(
                &built,
                json!({"spec": {"policyTypes": ["Ingress"], "egress": null, "ingress": [{"from": [block("198.51.100.7/32")]}]}}),
            ),
            refused("admit traffic into a sandbox only from"),
        ),
        case(
            "in production",
            Verb::Create,
            with(&built, json!({"metadata": {"namespace": scene.production}})),
            Expect::NoRight,
        ),
    ];
    failed.extend(failures(&scene.runner, &named).await);
    permit(&scene, "[]", "[]", &built, false).await;
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
