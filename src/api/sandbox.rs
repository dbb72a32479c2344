//! `RestoreTest`, its section `sandbox`: what is restored into.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are what `kubectl explain` prints, where backticks are noise"
)]

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{self, address_range, dns_label, dns_subdomain, rule};
use super::{Duration, IsolationProof, NetworkIsolation, PodSecurity, Protocol, Quantity};

/// The throw-away namespaces that are restored into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Sandbox {
    /// Beginning of the sandboxes' names. Default rp-test.
    #[schemars(length(min = 1, max = 40), extend("x-kubernetes-validations" = [dns_label()]))]
    pub namespace_prefix: String,
    /// Longest life of a sandbox after its run ended or died; then the hourly sweep removes it. A run that ends normally
    /// removes its sandboxes at once. Default 30m.
    #[schemars(schema_with = "schema::timeout")]
    pub ttl: Duration,
    /// How long the sandboxes of a run that restored something and did not pass are kept for debugging. Default 0s: they are
    /// removed at once. At most 168h.
    #[schemars(schema_with = "schema::keep")]
    pub keep_failed_for: Duration,
    /// Upper bounds for what the restored pods and claims of one sandbox may request. By default there are none.
    pub resource_quota: ResourceQuota,
    /// What restored pods may talk to: strict (the default) for pods of their own sandbox, group for pods of all
    /// sandboxes of the run. Nothing else is ever reached, except the cluster's DNS and what egress opens.
    pub network_isolation: NetworkIsolation,
    /// Ways out, for applications that cannot start without something outside: every pod of the sandboxes may reach these
    /// networks on these ports. None by default. Only networks that the installation allows, written as in its setting egressCidrs
    /// (ConfigMap kymaros-installation). No names are opened: the application has to use addresses. The report lists what was
    /// open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["cidr"])
    )]
    pub egress: Vec<Egress>,
    /// Do names of the source namespaces' Services, such as db.shop.svc.cluster.local, lead to the copies in the sandboxes?
    /// With true (the default) a name server in each sandbox sees to it, and refuses all names but those of the run's
    /// namespaces; what was asked for is in outsideNames of the report. With false restored pods ask the cluster's DNS, and
    /// such names lead to production, which network policies keep out of reach. Needs Kubernetes 1.36; before, it is false.
    pub name_rewrite: bool,
    /// Where the cluster's DNS is, for clusters that do not run it as kube-dns in kube-system.
    pub dns: Dns,
    /// With required (the default) nothing is restored unless a probe has shown that the cluster enforces network
    /// policies. With report the run goes on, and the condition SandboxIsolated of its report says that isolation was
    /// not proved; the installation has to allow that too (unprovenIsolation of ConfigMap kymaros-installation).
    pub isolation_proof: IsolationProof,
    /// Pod Security level enforced in the sandbox: baseline (the default) or privileged, which the report then shows.
    /// Privileged lifts Pod Security only, for pods that need unmasked /proc, unconfined profiles, SELinux options or sysctls of their
    /// own, and the installation has to allow it too (privilegedSandboxes of ConfigMap kymaros-installation). Host namespaces, paths
    /// and ports, privileged containers, hosts in probes and capabilities outside the fence's list are refused with either.
    pub pod_security: PodSecurity,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            namespace_prefix: "rp-test".to_owned(),
            ttl: Duration::from_mins(30),
            keep_failed_for: Duration::ZERO,
            resource_quota: ResourceQuota::default(),
            network_isolation: NetworkIsolation::Strict,
            egress: Vec::new(),
            name_rewrite: true,
            dns: Dns::default(),
            isolation_proof: IsolationProof::Required,
            pod_security: PodSecurity::Baseline,
        }
    }
}

/// Upper bounds for what one sandbox may request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceQuota {
    /// Sum of the pods' CPU requests, such as 2 or 500m. Pods without a request count as 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Sum of the pods' memory requests, such as 4Gi. Pods without a request count as 16Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Sum of the claims' storage requests, such as 50Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Quantity>,
}

/// A way out of the sandboxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Egress {
    /// Network that may be reached, such as 198.51.100.7/32 for one address. The installation's
    /// setting egressCidrs must list it in the same spelling; a part of a listed network is another network.
    #[schemars(length(min = 1, max = 43), extend("x-kubernetes-validations" = [
        address_range("198.51.100.7/32"),
        rule("!self.matches('/0+$')", "must not be every address: name the networks that the application needs"),
    ]))]
    pub cidr: String,
    /// Ports that may be reached there.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["port", "protocol"])
    )]
    pub ports: Vec<EgressPort>,
}

/// A port outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressPort {
    /// Its number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// TCP (the default), UDP or SCTP.
    #[serde(default = "EgressPort::tcp")]
    pub protocol: Protocol,
}

impl EgressPort {
    fn tcp() -> Protocol {
        Protocol::Tcp
    }
}

impl fmt::Display for EgressPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.port)
    }
}

/// As reports list it: `198.51.100.7/32 (TCP 5432, UDP 8125)`.
impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: Vec<String> = self.ports.iter().map(EgressPort::to_string).collect();
        write!(f, "{} ({})", self.cidr, ports.join(", "))
    }
}

/// Where the cluster's DNS is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dns {
    /// Namespace of the DNS pods. Default kube-system.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [dns_label()]))]
    pub namespace: String,
    /// Labels of the DNS pods. Default k8s-app=kube-dns.
    #[schemars(schema_with = "schema::match_labels", extend("minProperties" = 1))]
    pub pod_selector: BTreeMap<String, String>,
    /// Addresses at which DNS answers besides these pods, such as 169.254.20.10/32 for a cache on each node. None by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 43), extend("x-kubernetes-validations" = [address_range("169.254.20.10/32")]))]
    pub cidr: Option<String>,
    /// Ports of DNS, each for UDP and TCP, as the pods listen on them. Default 53.
    #[schemars(length(min = 1, max = 4), inner(range(min = 1, max = 65535)), extend("x-kubernetes-list-type" = "set"))]
    pub ports: Vec<u16>,
    /// Domain of the cluster's own names. Default cluster.local.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [dns_subdomain()]))]
    pub domain: String,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            pod_selector: BTreeMap::from([("k8s-app".to_owned(), "kube-dns".to_owned())]),
            cidr: None,
            ports: vec![53],
            domain: "cluster.local".to_owned(),
        }
    }
}
