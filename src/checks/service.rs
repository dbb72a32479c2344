//! Which addresses a check may dial for a Service of a sandbox: found by the API and never by name, and only those that
//! lead to pods of that sandbox.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Context;
use crate::cluster::{Error, Query};

/// What is said of a Service behind which no pod is ready.
pub(super) const NO_ENDPOINTS: &str = "has no ready endpoints";

/// Which Service an endpoint slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Most addresses one attempt tries: the families of a Service, or some endpoints of a headless one.
const ADDRESSES: usize = 4;

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trouble {
    /// Trying again cannot help.
    Lasting(String),
    /// Trying again may help.
    Passing(String),
}

/// Is there a Service of this name in a sandbox?
pub(super) async fn exists(context: &Context<'_>, sandbox: &str, name: &str) -> Result<bool, String> {
    let service = context
        .cluster
        .namespaced::<Service>(sandbox)
        .get_metadata_opt(name)
        .await;
    service
        .map(|service| service.is_some())
        .map_err(|error| context.told(&error))
}

/// The addresses to dial for `port` of the Service `name` in a sandbox, as things stand now.
pub(super) async fn find(
    context: &Context<'_>,
    sandbox: &str,
    name: &str,
    port: &IntOrString,
) -> Result<Vec<SocketAddr>, Trouble> {
    let cluster = context.cluster;
    let service = cluster
        .namespaced::<Service>(sandbox)
        .get_opt(name)
        .await
        .map_err(|error| unread(context, &error))?;
    let Some(service) = service else {
        return Err(Trouble::Lasting(format!("Service {name} is not in the sandbox")));
    };
    let of_service = Query::labels(format!("{SERVICE_NAME}={name}"));
    let slices = cluster
        .namespaced::<EndpointSlice>(sandbox)
        .list(&of_service)
        .await
        .map_err(|error| unread(context, &error))?;
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.clone())
        .unwrap_or_default();
    let selector: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let behind = Query::labels(selector.join(","));
    let pods = cluster
        .namespaced::<Pod>(sandbox)
        .list_with(&behind, addressed)
        .await
        .map_err(|error| unread(context, &error))?;
    addresses(&service, port, &slices, &pods)
}

/// The API did not say. The call itself has been tried again already, but a minute later it may work.
fn unread(context: &Context<'_>, error: &Error) -> Trouble {
    Trouble::Passing(context.told(error))
}

/// The addresses to dial for `port` of `service`, given its endpoint slices and the pods of the sandbox.
fn addresses(
    service: &Service,
    port: &IntOrString,
    slices: &[EndpointSlice],
    pods: &[Addressed],
) -> Result<Vec<SocketAddr>, Trouble> {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        let outside = spec.external_name.unwrap_or_default();
        return Err(Trouble::Lasting(format!("Service {name} points outside to {outside}")));
    }
    let cluster_ips = cluster_ips(spec.cluster_ips.as_deref(), spec.cluster_ip.as_deref());
    let chosen = choose_port(
        name,
        spec.ports.as_deref().unwrap_or_default(),
        port,
        cluster_ips.is_empty(),
    )?;
    let ready = ready_endpoints(name, slices)?;
    only_own_pods(name, &ready, pods)?;
    let mut found = match chosen {
        Port::Of(port) if cluster_ips.is_empty() => headless(&ready, |slice| slice_port(slice, &port)),
        Port::Bare(number) => headless(&ready, |_| Some(number)),
        Port::Of(port) => {
            let number = to_u16(port.port).unwrap_or_default();
            cluster_ips.into_iter().map(|ip| SocketAddr::new(ip, number)).collect()
        }
    };
    if found.is_empty() {
        return Err(Trouble::Passing(format!(
            "no ready endpoint of Service {name} serves port {}",
            show(port)
        )));
    }
    found.truncate(ADDRESSES);
    Ok(found)
}

/// A port as the user wrote it.
pub(super) fn show(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

/// The Service's own addresses in its order of preference; none if it is headless.
fn cluster_ips(all: Option<&[String]>, first: Option<&str>) -> Vec<IpAddr> {
    match all {
        Some(all) if !all.is_empty() => all.iter().filter_map(|ip| ip.parse().ok()).collect(),
        _ => first.and_then(|ip| ip.parse().ok()).into_iter().collect(),
    }
}

/// The port to dial.
enum Port {
    /// One of the Service's.
    Of(ServicePort),
    /// A number, for a headless Service that lists no ports.
    Bare(u16),
}

/// Finds the port by number or name among the Service's TCP ports.
fn choose_port(name: &str, ports: &[ServicePort], wanted: &IntOrString, headless: bool) -> Result<Port, Trouble> {
    let is_tcp = |port: &&ServicePort| port.protocol.as_deref().unwrap_or("TCP") == "TCP";
    // A name of digits is a number written in quotes: port names hold at least one letter.
    let number = match wanted {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => text.parse().ok(),
    };
    let matches = |port: &&ServicePort| match (wanted, number) {
        (_, Some(number)) => port.port == number,
        (IntOrString::String(text), None) => port.name.as_deref() == Some(text),
        (IntOrString::Int(_), None) => false,
    };
    if let Some(port) = ports.iter().filter(is_tcp).find(matches) {
        return Ok(Port::Of(port.clone()));
    }
    if let Some(number) = number.and_then(to_u16).filter(|_| ports.is_empty() && headless) {
        return Ok(Port::Bare(number));
    }
    let listed: Vec<String> = ports.iter().map(describe_port).collect();
    let listed = if listed.is_empty() {
        "none".to_owned()
    } else {
        listed.join(", ")
    };
    Err(Trouble::Lasting(format!(
        "Service {name} has no TCP port {}; its ports: {listed}",
        show(wanted)
    )))
}

/// `8080`, `8080 (http)` or `53/UDP (dns)`.
fn describe_port(port: &ServicePort) -> String {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => String::new(),
        Some(other) => format!("/{other}"),
    };
    let name = port
        .name
        .as_deref()
        .map(|name| format!(" ({name})"))
        .unwrap_or_default();
    format!("{}{protocol}{name}", port.port)
}

/// A ready endpoint with its slice.
struct Ready<'a> {
    slice: &'a EndpointSlice,
    endpoint: &'a Endpoint,
}

/// The endpoints that take traffic, in the order of their pods' names.
fn ready_endpoints<'a>(name: &str, slices: &'a [EndpointSlice]) -> Result<Vec<Ready<'a>>, Trouble> {
    let mut ready = Vec::new();
    for slice in slices {
        for endpoint in &slice.endpoints {
            // No condition means ready.
            let is_ready = endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready)
                .unwrap_or(true);
            if is_ready {
                ready.push(Ready { slice, endpoint });
            }
        }
    }
    if ready.is_empty() {
        return Err(Trouble::Passing(format!("Service {name} {NO_ENDPOINTS}")));
    }
    ready.sort_by_key(|ready| {
        ready
            .endpoint
            .target_ref
            .as_ref()
            .and_then(|target| target.name.clone())
    });
    Ok(ready)
}

/// A pod's name and addresses.
type Addressed = (String, Vec<String>);

/// What is kept of a pod.
fn addressed(pod: Pod) -> Addressed {
    let status = pod.status.unwrap_or_default();
    let all = status.pod_ips.into_iter().flatten().map(|ip| ip.ip);
    (
        pod.metadata.name.unwrap_or_default(),
        all.chain(status.pod_ip).collect(),
    )
}

/// Refuses a Service of which a single ready endpoint is not the address of a pod of the sandbox: the cluster picks one of
/// them by itself, and it must not be one outside.
fn only_own_pods(name: &str, ready: &[Ready<'_>], pods: &[Addressed]) -> Result<(), Trouble> {
    let message = || format!("Service {name} is not dialled: its endpoints are not pods of the sandbox");
    let addresses_of: BTreeMap<&str, &[String]> =
        pods.iter().map(|(name, all)| (name.as_str(), all.as_slice())).collect();
    for Ready { slice, endpoint } in ready {
        let target = endpoint.target_ref.as_ref();
        let pod = target
            .filter(|target| target.kind.as_deref() == Some("Pod"))
            .filter(|target| target.namespace.is_none() || target.namespace == slice.metadata.namespace)
            .and_then(|target| target.name.as_deref())
            .ok_or_else(|| Trouble::Lasting(message()))?;
        let known = addresses_of
            .get(pod)
            .is_some_and(|own| endpoint.addresses.iter().all(|ip| own.contains(ip)));
        if !known {
            // The pod may have been replaced between the two lists.
            return Err(Trouble::Passing(message()));
        }
    }
    Ok(())
}

/// The ready endpoints' own addresses with the port that `port` finds in their slice.
fn headless(ready: &[Ready<'_>], port: impl Fn(&EndpointSlice) -> Option<u16>) -> Vec<SocketAddr> {
    ready
        .iter()
        .filter_map(|Ready { slice, endpoint }| {
            let ip = endpoint.addresses.first()?.parse().ok()?;
            Some(SocketAddr::new(ip, port(slice)?))
        })
        .collect()
}

/// The number that a slice gives to the Service's port.
fn slice_port(slice: &EndpointSlice, port: &ServicePort) -> Option<u16> {
    let name = port.name.as_deref().unwrap_or_default();
    slice
        .ports
        .iter()
        .flatten()
        .find(|own| own.name.as_deref().unwrap_or_default() == name)?
        .port
        .and_then(to_u16)
}

/// A port number of the API.
fn to_u16(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number > 0)
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and a table of them reads better so"
)]
mod tests;
