//! The ways out of the sandboxes that a test asks for. What the cluster's own networks are and what the installation permits is
//! not known here; the fence asks.

use std::net::IpAddr;

use super::network::Network;
use super::problems::{PlanError, Problems};
use super::syntax::Checked;
use crate::api::{Egress, Sandbox};

/// Most ways out, and most ports of each.
const MOST: usize = 16;
/// The port of DNS.
const DNS: u16 = 53;

const OF_NODES: &str =
    "addresses of the node itself, the metadata service of clouds among them, which gives away the node's identity";
const METADATA: &str = "the metadata service of a cloud, which gives away the node's identity";
const LOOPBACK: &str = "a pod's way to itself";
/// What no application needs and no sandbox may reach.
const NEVER: [(Network, &str); 8] = [
    (Network::v4(127, 0, 0, 0, 8), LOOPBACK),
    (Network::v4(169, 254, 0, 0, 16), OF_NODES),
    (Network::v4(100, 100, 100, 200, 32), METADATA),
    (Network::v4(168, 63, 129, 16, 32), METADATA),
    (Network::v6(0, 0, 1, 128), LOOPBACK),
    (Network::v6(0xfe80, 0, 0, 10), OF_NODES),
    (Network::v6(0xfd00, 0xec2, 0x254, 128), METADATA),
    (Network::v6(0xfd20, 0xce, 0x254, 128), METADATA),
];

/// Where a problem with the network of a way out lies.
fn path(index: usize) -> String {
    format!("spec.sandbox.egress[{index}].cidr")
}

pub(super) fn check(sandbox: &Sandbox, problems: &mut Problems) {
    let ways = &sandbox.egress;
    problems.count("spec.sandbox.egress", ways.len(), 0, MOST);
    for (index, way) in ways.iter().enumerate() {
        let before = &ways[..index];
        if before.iter().any(|other| other.cidr == way.cidr) {
            problems.add(path(index), format!("{} is listed twice", way.cidr));
        } else {
            problems.check(path(index), network(&way.cidr));
        }
        check_ports(index, way, sandbox, problems);
    }
}

/// A network, by its one spelling: the fence compares texts.
fn network(text: &str) -> Checked {
    let Some(network) = Network::parse(text) else {
        return Err(format!("{text:?} must be an address range such as 198.51.100.7/32"));
    };
    let first = network.canonical();
    if network.is_everything() {
        return Err("must not be every address: name the networks that the application needs".to_owned());
    }
    if network.is_mapped() {
        return Err(format!(
            "{text} is an address of IPv4 written as one of IPv6: write it as IPv4"
        ));
    }
    if first != network {
        let alone = network.alone();
        return Err(format!(
            "{text} is no network: write {first} for the network, or {alone} for the one address"
        ));
    }
    if first.to_string() != text {
        return Err(format!("{text} must be written {first}"));
    }
    match NEVER.iter().find(|(never, _)| network.shares_with(*never)) {
        Some((never, what)) => Err(format!("{text} must not hold anything of {never}: {what}")),
        None => Ok(()),
    }
}

fn check_ports(index: usize, way: &Egress, sandbox: &Sandbox, problems: &mut Problems) {
    let list = format!("spec.sandbox.egress[{index}].ports");
    problems.count(&list, way.ports.len(), 1, MOST);
    for (place, port) in way.ports.iter().enumerate() {
        let path = format!("{list}[{place}]");
        problems.range(&format!("{path}.port"), port.port, 1, u16::MAX);
        if way.ports[..place].contains(port) {
            problems.add(&path, format!("{port} is listed twice"));
        }
        // Whatever address the cluster's DNS has: restored pods that ask it are led to production.
        if sandbox.name_rewrite && (port.port == DNS || sandbox.dns.ports.contains(&port.port)) {
            problems.add(
                format!("{path}.port"),
                format!(
                    "{} is a port of DNS, which only the sandbox's name server may ask; take it out, or set nameRewrite: false",
                    port.port
                ),
            );
        }
    }
}

/// What is wrong with a way out in a cluster where the API server and the runner have these addresses: a network that holds one
/// of them is the cluster's own, and all that runs in it would be open.
pub fn leads_inside(index: usize, way: &Egress, api_server: IpAddr, runner: IpAddr) -> Option<PlanError> {
    let network = Network::parse(&way.cidr)?;
    let known = [(api_server, "the API server"), (runner, "the runner's own pod")];
    let (address, whose) = known.into_iter().find(|(address, _)| network.holds(*address))?;
    let message = format!(
        "{} holds {address}, {whose}: it leads into the cluster, which sandboxes must not reach; name a smaller network",
        way.cidr
    );
    Some(PlanError {
        path: path(index),
        message,
    })
}

/// What to do about a way out that the installation does not permit.
pub fn not_permitted(index: usize, way: &Egress, settings: &str) -> PlanError {
    PlanError {
        path: path(index),
        message: format!(
            "this installation does not allow {cidr}: whoever runs it can add '{cidr}' to egressCidrs of ConfigMap {settings} \
             (docs/install.md, What the installation allows)",
            cidr = way.cidr
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::fixtures::from;

    /// The problems with these ways out, in a sandbox that is otherwise the default.
    fn found(ways: &serde_json::Value, name_rewrite: bool) -> Vec<String> {
        let sandbox: Sandbox = from(json!({"egress": ways, "nameRewrite": name_rewrite, "dns": {"ports": [5353]}}));
        let mut problems = Problems::default();
        check(&sandbox, &mut problems);
        problems.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn networks_are_refused_for_a_reason() {
        for (text, reason) in [
            ("198.51.100.7", "must be an address range such as 198.51.100.7/32"),
            ("0.0.0.0/0", "must not be every address"),
            ("::/0", "must not be every address"),
            ("1.2.3.4/0", "must not be every address"),
            (
                "198.51.100.7/24",
                "write 198.51.100.0/24 for the network, or 198.51.100.7/32 for the one address",
            ),
            ("FD12::/64", "must be written fd12::/64"),
            ("10.0.0.0/08", "must be written 10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
            ("127.0.0.1/32", "a pod's way to itself"),
            (
                "169.254.169.254/32",
                "must not hold anything of 169.254.0.0/16: addresses of the node itself",
            ),
            // Not the address itself, but around it.
            ("128.0.0.0/1", "must not hold anything of 169.254.0.0/16"),
            (
                "100.64.0.0/10",
                "must not hold anything of 100.100.100.200/32: the metadata service",
            ),
            ("fd00::/8", "must not hold anything of fd00:ec2::254/128"),
        ] {
            let message = network(text).unwrap_err();
            assert!(message.contains(reason), "{text}: {message}");
        }
        for text in [
            "198.51.100.7/32",
            "10.0.0.0/8",
            "192.168.0.0/16",
            "2001:db8::/32",
            "fd12:3456::a/128",
        ] {
            assert_eq!(network(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn dns_stays_with_the_name_server_where_there_is_one() {
        let ways = json!([{"cidr": "198.51.100.7/32", "ports": [
            {"port": 53, "protocol": "UDP"}, {"port": 5353}, {"port": 443},
        ]}]);
        let problems = found(&ways, true);
        let fields: Vec<&str> = problems
            .iter()
            .map(|problem| problem.split(": ").next().unwrap())
            .collect();
        assert_eq!(
            fields,
            [0, 1].map(|port| format!("spec.sandbox.egress[0].ports[{port}].port"))
        );
        assert!(problems[0].ends_with("set nameRewrite: false"), "{problems:?}");
        assert_eq!(found(&ways, false), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_has_its_place() {
        let good = json!({"cidr": "198.51.100.7/32", "ports": [{"port": 443}]});
        let problems = found(&json!([good, good, {"cidr": "10.0.0.1/8", "ports": []}]), true);
        let expected = [
            "spec.sandbox.egress[1].cidr: 198.51.100.7/32 is listed twice",
            "spec.sandbox.egress[2].cidr: 10.0.0.1/8 is no network: write 10.0.0.0/8 for the network, or 10.0.0.1/32 for the one address",
            "spec.sandbox.egress[2].ports: must have from 1 to 16 entries, has 0",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn a_network_of_the_cluster_is_no_way_out() {
        let inside = |cidr: &str| {
            let way: Egress = from(json!({"cidr": cidr, "ports": [{"port": 443}]}));
            leads_inside(2, &way, [10, 96, 0, 1].into(), [10, 244, 0, 5].into()).map(|problem| problem.to_string())
        };
        for (cidr, address) in [
            ("10.96.0.0/12", "10.96.0.1, the API server: "),
            ("10.244.0.0/16", "10.244.0.5, the runner's own pod: "),
            ("10.0.0.0/8", "10.96.0.1, the API server: "),
        ] {
            let problem = inside(cidr).unwrap();
            let begins = format!("spec.sandbox.egress[2].cidr: {cidr} holds {address}");
            assert!(problem.starts_with(&begins), "{problem}");
        }
        for cidr in ["198.51.100.0/24", "10.244.0.9/32", "fd00::/8"] {
            assert_eq!(inside(cidr), None);
        }
    }

    #[test]
    fn what_is_not_permitted_says_what_to_add() {
        let way: Egress = from(json!({"cidr": "198.51.100.7/32", "ports": [{"port": 443}]}));
        let text = not_permitted(3, &way, "kymaros-installation").to_string();
        assert!(
            text.starts_with("spec.sandbox.egress[3].cidr: this installation does not allow 198.51.100.7/32: "),
            "{text}"
        );
        assert!(text.contains("add '198.51.100.7/32' to egressCidrs") && text.contains("kymaros-installation"));
    }
}
