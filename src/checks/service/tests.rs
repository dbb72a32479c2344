//! Services as they come back from a backup, among them those that lead elsewhere.

use serde_json::{Value, from_value, json};

use super::*;

fn service(spec: Value) -> Service {
    from_value(json!({ "metadata": { "name": "web", "namespace": "sandbox" }, "spec": spec })).unwrap()
}

fn web() -> Service {
    service(json!({
        "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
        "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }, { "name": "dns", "port": 53, "protocol": "UDP" }],
    }))
}

fn headless() -> Service {
    service(
        json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] }),
    )
}

/// A slice with one endpoint for each pod and address, all ready.
fn slice(endpoints: &[(&str, &str)]) -> EndpointSlice {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(pod, ip)| {
            json!({
                "addresses": [ip], "conditions": { "ready": true },
                "targetRef": { "kind": "Pod", "name": pod, "namespace": "sandbox" },
            })
        })
        .collect();
    from_value(json!({
        "metadata": { "name": "web-x", "namespace": "sandbox" }, "addressType": "IPv4",
        "endpoints": endpoints, "ports": [{ "name": "http", "port": 8080 }],
    }))
    .unwrap()
}

fn pod(name: &str, ips: &[&str]) -> Addressed {
    let all: Vec<Value> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
    let status = json!({ "podIP": ips.first(), "podIPs": all });
    addressed(from_value(json!({ "metadata": { "name": name }, "status": status })).unwrap())
}

fn number(port: i32) -> IntOrString {
    IntOrString::Int(port)
}

fn name(port: &str) -> IntOrString {
    IntOrString::String(port.into())
}

fn sockets(all: &[&str]) -> Vec<SocketAddr> {
    all.iter().map(|one| one.parse().unwrap()).collect()
}

#[test]
fn a_cluster_ip_is_dialled_on_the_services_port() {
    let (slices, pods) = ([slice(&[("web-1", "10.0.0.1")])], [pod("web-1", &["10.0.0.1"])]);
    for port in [number(80), name("http"), name("80")] {
        assert_eq!(
            addresses(&web(), &port, &slices, &pods),
            Ok(sockets(&["10.96.0.7:80"])),
            "{port:?}"
        );
    }
}

#[test]
fn every_family_of_the_service_is_dialled_in_its_order() {
    let dual =
        service(json!({ "clusterIP": "fd00::7", "clusterIPs": ["fd00::7", "10.96.0.7"], "ports": [{ "port": 80 }] }));
    let (slices, pods) = (
        [slice(&[("web-1", "10.0.0.1")])],
        [pod("web-1", &["10.0.0.1", "fd01::1"])],
    );
    assert_eq!(
        addresses(&dual, &number(80), &slices, &pods),
        Ok(sockets(&["[fd00::7]:80", "10.96.0.7:80"]))
    );
    let mut v6 = slice(&[("web-1", "fd01::1")]);
    v6.address_type = "IPv6".into();
    assert_eq!(
        addresses(&headless(), &number(80), &[v6], &pods),
        Ok(sockets(&["[fd01::1]:8080"]))
    );
}

#[test]
fn an_unknown_port_lists_the_known_ones() {
    let (slices, pods) = ([slice(&[("web-1", "10.0.0.1")])], [pod("web-1", &["10.0.0.1"])]);
    for (port, shown) in [
        (number(8080), "8080"),
        (name("dns"), "dns"),
        (number(53), "53"),
        (name("https"), "https"),
    ] {
        let message = format!("Service web has no TCP port {shown}; its ports: 80 (http), 53/UDP (dns)");
        assert_eq!(addresses(&web(), &port, &slices, &pods), Err(Trouble::Lasting(message)));
    }
    let bare = service(json!({ "clusterIP": "None" }));
    let message = "Service web has no TCP port http; its ports: none".to_owned();
    assert_eq!(
        addresses(&bare, &name("http"), &slices, &pods),
        Err(Trouble::Lasting(message))
    );
    assert_eq!(
        addresses(&bare, &number(9000), &slices, &pods),
        Ok(sockets(&["10.0.0.1:9000"]))
    );
}

#[test]
fn an_external_name_is_never_dialled() {
    let outside =
        service(json!({ "type": "ExternalName", "externalName": "db.prod.example", "ports": [{ "port": 80 }] }));
    let message = "Service web points outside to db.prod.example".to_owned();
    assert_eq!(
        addresses(&outside, &number(80), &[], &[]),
        Err(Trouble::Lasting(message))
    );
}

#[test]
fn headless_services_are_dialled_by_ready_endpoints_in_the_order_of_names() {
    let mut slice = slice(&[("web-2", "10.0.0.2"), ("web-0", "10.0.0.9"), ("web-1", "10.0.0.1")]);
    slice.endpoints[1].conditions.as_mut().unwrap().ready = Some(false);
    let pods = [
        pod("web-0", &["10.0.0.9"]),
        pod("web-1", &["10.0.0.1"]),
        pod("web-2", &["10.0.0.2"]),
    ];
    let found = addresses(&headless(), &name("http"), &[slice.clone()], &pods);
    assert_eq!(found, Ok(sockets(&["10.0.0.1:8080", "10.0.0.2:8080"])));
    slice.endpoints[1].conditions = None;
    let found = addresses(&headless(), &name("http"), &[slice], &pods).unwrap();
    assert_eq!(found[0], "10.0.0.9:8080".parse().unwrap(), "no condition means ready");
}

#[test]
fn only_a_few_of_many_endpoints_are_tried() {
    let names: Vec<(String, String)> = (0..20)
        .map(|n| (format!("web-{n:02}"), format!("10.0.0.{n}")))
        .collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|(name, ip)| (name.as_str(), ip.as_str())).collect();
    let pods: Vec<Addressed> = pairs.iter().map(|(name, ip)| pod(name, &[ip])).collect();
    assert_eq!(
        addresses(&headless(), &number(80), &[slice(&pairs)], &pods)
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn without_ready_endpoints_there_is_nothing_to_dial() {
    let nothing = Err(Trouble::Passing("Service web has no ready endpoints".into()));
    assert_eq!(addresses(&web(), &number(80), &[], &[]), nothing);
    let mut slice = slice(&[("web-1", "10.0.0.1")]);
    slice.endpoints[0].conditions.as_mut().unwrap().ready = Some(false);
    assert_eq!(addresses(&headless(), &number(80), &[slice], &[]), nothing);
}

#[test]
fn endpoints_that_are_no_pods_of_the_sandbox_are_never_dialled() {
    let message = "Service web is not dialled: its endpoints are not pods of the sandbox".to_owned();
    let pods = [pod("web-1", &["10.0.0.1"])];
    let own = slice(&[("web-1", "10.0.0.1")]);

    let mut by_hand = own.clone();
    by_hand.endpoints[0].target_ref = None;
    let mut other_kind = own.clone();
    other_kind.endpoints[0].target_ref.as_mut().unwrap().kind = Some("Node".into());
    let mut elsewhere = own.clone();
    elsewhere.endpoints[0].target_ref.as_mut().unwrap().namespace = Some("shop".into());
    for foreign in [by_hand, other_kind, elsewhere] {
        for service in [web(), headless()] {
            // A single foreign endpoint is enough: the cluster chooses by itself.
            let slices = [own.clone(), foreign.clone()];
            assert_eq!(
                addresses(&service, &number(80), &slices, &pods),
                Err(Trouble::Lasting(message.clone()))
            );
        }
    }
    // The claim to be a pod is held against the pod's own addresses.
    let lying = slice(&[("web-1", "192.0.2.1")]);
    let unknown = slice(&[("web-2", "10.0.0.1")]);
    for foreign in [lying, unknown] {
        assert_eq!(
            addresses(&web(), &number(80), &[foreign], &pods),
            Err(Trouble::Passing(message.clone()))
        );
    }
}
