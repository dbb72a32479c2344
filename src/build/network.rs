//! The `NetworkPolicies` of a sandbox: nothing in and nothing out, and then what has to be.
//!
//! Policies only ever add up, so each of these allows one thing, and whatever the backup brings along can allow nothing more:
//! admission empties it.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Owner, sandbox::inside};
use crate::api::{Dns, Egress, NetworkIsolation, Sandbox};
use crate::names::{APP, MANAGED_BY, NAME_SERVER, label};

/// Set by the API server on every namespace, and by nobody else.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// The two directions.
const INGRESS: &str = "Ingress";
const EGRESS: &str = "Egress";

/// Denies everything for every pod. Admission lets no pod into a sandbox without it.
pub const DENY_ALL: &str = "kymaros-deny-all";
/// The probe that is let out, to show that there is something to be reached.
pub const OPEN_PROBE: &str = "kymaros-probe-open";

/// The policies that close a sandbox; they stand before the first pod.
pub fn closed(sandbox: &str, owner: &Owner, settings: &Sandbox, runner_namespace: &str) -> Vec<NetworkPolicy> {
    let neighbours = vec![neighbours(settings.network_isolation, owner)];
    let runner = vec![NetworkPolicyPeer {
        namespace_selector: Some(labels([(NAMESPACE_NAME, runner_namespace)])),
        pod_selector: Some(labels([(label::APP_NAME, APP)])),
        ..NetworkPolicyPeer::default()
    }];
    [
        (
            DENY_ALL,
            NetworkPolicySpec {
                policy_types: Some(types(&[INGRESS, EGRESS])),
                ..NetworkPolicySpec::default()
            },
        ),
        (
            "kymaros-neighbours",
            NetworkPolicySpec {
                policy_types: Some(types(&[INGRESS, EGRESS])),
                ingress: Some(vec![from(neighbours.clone())]),
                egress: Some(vec![to(neighbours, None)]),
                ..NetworkPolicySpec::default()
            },
        ),
        (
            // An egress rule without peers leads everywhere. Only the runner can make a pod with this label.
            "kymaros-proof",
            NetworkPolicySpec {
                pod_selector: Some(labels([(label::PROBE, OPEN_PROBE)])),
                policy_types: Some(types(&[EGRESS])),
                egress: Some(vec![NetworkPolicyEgressRule::default()]),
                ..NetworkPolicySpec::default()
            },
        ),
        (
            "kymaros-runner",
            NetworkPolicySpec {
                policy_types: Some(types(&[INGRESS])),
                ingress: Some(vec![from(runner)]),
                ..NetworkPolicySpec::default()
            },
        ),
    ]
    .into_iter()
    .map(|(name, spec)| NetworkPolicy {
        metadata: inside(sandbox, name, owner),
        spec: Some(NetworkPolicySpec {
            // Every pod of the sandbox, if none was named.
            pod_selector: Some(spec.pod_selector.unwrap_or_default()),
            ..spec
        }),
    })
    .collect()
}

/// The policy that lets a sandbox ask the cluster's DNS. With a name server of its own (`served`) that one alone may: a pod that asks
/// past it would be led to production.
pub fn dns(sandbox: &str, owner: &Owner, settings: &Sandbox, served: bool) -> NetworkPolicy {
    let pods = served.then(|| labels([(label::PROBE, NAME_SERVER)]));
    NetworkPolicy {
        metadata: inside(sandbox, "kymaros-dns", owner),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods.unwrap_or_default()),
            policy_types: Some(types(&[EGRESS])),
            egress: Some(vec![to(dns_peers(&settings.dns), Some(dns_ports(&settings.dns)))]),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// The policy that opens these ways out for every pod of a sandbox. It stands apart from the others: isolation is proved without it.
pub fn ways_out(sandbox: &str, owner: &Owner, ways: &[Egress]) -> NetworkPolicy {
    let rule = |way: &Egress| {
        let ports = way.ports.iter().map(|port| NetworkPolicyPort {
            protocol: Some(port.protocol.to_string()),
            port: Some(IntOrString::Int(i32::from(port.port))),
            ..NetworkPolicyPort::default()
        });
        to(vec![block(&way.cidr)], Some(ports.collect()))
    };
    NetworkPolicy {
        metadata: inside(sandbox, "kymaros-egress", owner),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(types(&[EGRESS])),
            egress: Some(ways.iter().map(rule).collect()),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// The pods that a restored pod may talk to and be talked to by.
fn neighbours(isolation: NetworkIsolation, owner: &Owner) -> NetworkPolicyPeer {
    let namespaces = match isolation {
        // Without a selector of namespaces a peer is in the policy's own.
        NetworkIsolation::Strict => None,
        NetworkIsolation::Group => Some(labels([(label::MANAGED_BY, MANAGED_BY), (label::RUN, &owner.run_id)])),
    };
    NetworkPolicyPeer {
        namespace_selector: namespaces,
        pod_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    }
}

fn dns_peers(dns: &Dns) -> Vec<NetworkPolicyPeer> {
    let pods = NetworkPolicyPeer {
        namespace_selector: Some(labels([(NAMESPACE_NAME, &dns.namespace)])),
        pod_selector: Some(LabelSelector {
            match_labels: Some(dns.pod_selector.clone()),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    };
    let addresses = dns.cidr.as_deref().map(block);
    std::iter::once(pods).chain(addresses).collect()
}

/// Everything at these addresses.
fn block(cidr: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            ..IPBlock::default()
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn dns_ports(dns: &Dns) -> Vec<NetworkPolicyPort> {
    let both = |port: &u16| {
        ["UDP", "TCP"].map(|protocol| NetworkPolicyPort {
            protocol: Some(protocol.to_owned()),
            port: Some(IntOrString::Int(i32::from(*port))),
            ..NetworkPolicyPort::default()
        })
    };
    dns.ports.iter().flat_map(both).collect()
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())))),
        ..LabelSelector::default()
    }
}

fn types(directions: &[&str]) -> Vec<String> {
    directions.iter().map(|&direction| direction.to_owned()).collect()
}

fn from(peers: Vec<NetworkPolicyPeer>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(peers),
        ports: None,
    }
}

fn to(peers: Vec<NetworkPolicyPeer>, ports: Option<Vec<NetworkPolicyPort>>) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: Some(peers), ports }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(settings: &Sandbox) -> Vec<Value> {
        let owner = Owner {
            test: "shop".to_owned(),
            test_uid: "u-1".to_owned(),
            run_id: "abc123".to_owned(),
        };
        closed("shop-kymaros-abc123", &owner, settings, "kymaros-system")
            .iter()
            .chain([&dns("shop-kymaros-abc123", &owner, settings, false)])
            .map(|policy| serde_json::to_value(policy).unwrap())
            .collect()
    }

    fn named<'a>(policies: &'a [Value], name: &str) -> &'a Value {
        &policies.iter().find(|p| p["metadata"]["name"] == name).unwrap()["spec"]
    }

    #[test]
    fn every_policy_but_the_probes_is_about_every_pod_and_the_first_allows_nothing() {
        let policies = built(&Sandbox::default());
        for policy in &policies {
            let of_all = policy["metadata"]["name"] != "kymaros-proof";
            assert_eq!(policy["spec"]["podSelector"] == json!({}), of_all, "{policy}");
        }
        let proof = json!({
            "podSelector": {"matchLabels": {"kymaros.io/probe": "kymaros-probe-open"}},
            "policyTypes": ["Egress"],
            "egress": [{}],
        });
        assert_eq!(named(&policies, "kymaros-proof"), &proof);
        assert!(
            policies
                .iter()
                .all(|p| p["metadata"]["namespace"] == "shop-kymaros-abc123")
        );
        let deny = named(&policies, "kymaros-deny-all");
        assert_eq!(deny["policyTypes"], json!(["Ingress", "Egress"]));
        assert!(deny.get("ingress").is_none() && deny.get("egress").is_none());
    }

    #[test]
    fn no_rule_leaves_its_peers_open() {
        for isolation in [NetworkIsolation::Strict, NetworkIsolation::Group] {
            let settings = Sandbox {
                network_isolation: isolation,
                ..Sandbox::default()
            };
            for policy in built(&settings)
                .iter()
                .filter(|p| p["metadata"]["name"] != "kymaros-proof")
            {
                let spec = &policy["spec"];
                for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
                    for rule in spec[rules].as_array().into_iter().flatten() {
                        let peers = rule[peers].as_array().unwrap();
                        assert!(!peers.is_empty(), "{policy}");
                        let open = |p: &Value| p["namespaceSelector"] == json!({});
                        assert!(!peers.iter().any(open), "{policy}");
                    }
                }
            }
        }
    }

    #[test]
    fn strict_is_the_sandbox_and_group_is_the_run() {
        let strict = built(&Sandbox::default());
        let peer = json!([{"podSelector": {}}]);
        let neighbours = named(&strict, "kymaros-neighbours");
        assert_eq!(neighbours["ingress"], json!([{ "from": peer }]));
        assert_eq!(neighbours["egress"], json!([{ "to": peer }]));

        let group = built(&Sandbox {
            network_isolation: NetworkIsolation::Group,
            ..Sandbox::default()
        });
        assert_eq!(
            named(&group, "kymaros-neighbours")["egress"],
            json!([{"to": [{
                "namespaceSelector": {"matchLabels": {"kymaros.io/managed-by": "kymaros", "kymaros.io/run": "abc123"}},
                "podSelector": {},
            }]}])
        );
    }

    #[test]
    fn dns_is_where_the_test_says() {
        assert_eq!(
            named(&built(&Sandbox::default()), "kymaros-dns")["egress"],
            json!([{
                "to": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                }],
                "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
            }])
        );
        let cached = built(&Sandbox {
            dns: Dns {
                cidr: Some("169.254.20.10/32".to_owned()),
                ports: vec![53, 5353],
                ..Dns::default()
            },
            ..Sandbox::default()
        });
        let rule = &named(&cached, "kymaros-dns")["egress"][0];
        assert_eq!(rule["to"][1], json!({"ipBlock": {"cidr": "169.254.20.10/32"}}));
        assert_eq!(rule["ports"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn beside_a_name_server_nobody_asks_the_clusters_dns() {
        let dns = serde_json::to_value(dns("sb", &Owner::default(), &Sandbox::default(), true)).unwrap();
        assert_eq!(dns["metadata"]["name"], "kymaros-dns");
        assert_eq!(
            dns["spec"]["podSelector"],
            json!({"matchLabels": {"kymaros.io/probe": "kymaros-names"}})
        );
    }

    #[test]
    fn only_the_runners_own_pods_come_in_from_outside() {
        assert_eq!(
            named(&built(&Sandbox::default()), "kymaros-runner"),
            &json!({
                "podSelector": {},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kymaros-system"}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kymaros-runner"}},
                }]}],
            })
        );
    }

    #[test]
    fn ways_out_are_open_to_every_pod_on_their_ports_only() {
        let settings: Sandbox = serde_json::from_value(json!({"egress": [
            {"cidr": "198.51.100.7/32", "ports": [{"port": 5432}, {"port": 8125, "protocol": "UDP"}]},
            {"cidr": "2001:db8::/64", "ports": [{"port": 443}]},
        ]}))
        .unwrap();
        assert!(
            !built(&settings)
                .iter()
                .any(|policy| policy.to_string().contains("198.51.100.7")),
            "isolation is proved without them"
        );
        let policy = serde_json::to_value(ways_out("sb", &Owner::default(), &settings.egress)).unwrap();
        assert_eq!(policy["metadata"]["name"], "kymaros-egress");
        let expected = json!({
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [
                {
                    "to": [{"ipBlock": {"cidr": "198.51.100.7/32"}}],
                    "ports": [{"protocol": "TCP", "port": 5432}, {"protocol": "UDP", "port": 8125}],
                },
                {"to": [{"ipBlock": {"cidr": "2001:db8::/64"}}], "ports": [{"protocol": "TCP", "port": 443}]},
            ],
        });
        assert_eq!(policy["spec"], expected);
    }
}
