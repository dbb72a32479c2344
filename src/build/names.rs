//! The name server of a sandbox: what it rewrites, its pod, its Service, and the mark by which admission points pods at it.

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Owner;
use super::probe::ProbeHost;
use super::sandbox::inside;
use crate::names::{NAME_SERVER, annotation, label};

/// The subcommand that the pod runs.
pub const SUBCOMMAND: &str = "dns";
/// Where the pod listens: a port that needs no capability. A pod's resolver knows only port 53, so a Service stands between.
pub const PORT: u16 = 5353;
/// The port of DNS.
pub const SERVICE_PORT: u16 = 53;

/// Whose names become whose.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rewrites {
    /// The cluster's domain, e.g. `cluster.local`.
    pub domain: String,
    /// Source namespaces and their sandboxes, all of the run.
    pub pairs: Vec<(String, String)>,
}

impl Rewrites {
    /// The container's arguments.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = vec![SUBCOMMAND.to_owned(), format!("--domain={}", self.domain)];
        let pairs = self.pairs.iter();
        args.extend(pairs.map(|(source, sandbox)| format!("--rewrite={source}={sandbox}")));
        args
    }

    /// Reads what follows the subcommand's name. The error names the argument that is wrong.
    pub fn from_args(args: &[String]) -> Result<Self, String> {
        let mut rewrites = Self::default();
        for arg in args {
            match arg.split_once('=') {
                Some(("--domain", domain)) => domain.clone_into(&mut rewrites.domain),
                Some(("--rewrite", pair)) => {
                    let (source, sandbox) = pair
                        .split_once('=')
                        .ok_or_else(|| format!("`{pair}` is not SOURCE=SANDBOX"))?;
                    rewrites.pairs.push((source.to_owned(), sandbox.to_owned()));
                }
                _ => return Err(format!("unknown argument `{arg}`")),
            }
        }
        if rewrites.domain.is_empty() || rewrites.pairs.is_empty() {
            return Err("expected `--domain=DOMAIN` and `--rewrite=SOURCE=SANDBOX`, one or more".to_owned());
        }
        Ok(rewrites)
    }
}

/// The pod. It is started again when it ends, and goes with the sandbox.
pub fn pod(host: &ProbeHost, sandbox: &str, owner: &Owner, rewrites: &Rewrites) -> Pod {
    let mut pod = host.restricted(sandbox, NAME_SERVER, owner, SUBCOMMAND, rewrites.to_args());
    if let Some(spec) = &mut pod.spec {
        spec.restart_policy = Some("Always".to_owned());
        // As the other pods of this namespace will not: it is the one that asks the cluster's DNS.
        spec.dns_policy = Some("ClusterFirst".to_owned());
    }
    pod
}

/// The Service, whose address is the name server of the sandbox's pods. What it selects only the runner can make.
pub fn service(sandbox: &str, owner: &Owner) -> Service {
    let port = |protocol: &str| ServicePort {
        name: Some(protocol.to_lowercase()),
        protocol: Some(protocol.to_owned()),
        port: i32::from(SERVICE_PORT),
        target_port: Some(IntOrString::Int(i32::from(PORT))),
        ..ServicePort::default()
    };
    Service {
        metadata: inside(sandbox, NAME_SERVER, owner),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some([(label::PROBE.to_owned(), NAME_SERVER.to_owned())].into()),
            ports: Some(vec![port("UDP"), port("TCP")]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The change to a sandbox whose pods are to ask the name server at this address.
pub fn pointed_at(address: &str, domain: &str) -> serde_json::Value {
    serde_json::json!({
        "metadata": {"annotations": {annotation::NAME_SERVER: address, annotation::CLUSTER_DOMAIN: domain}},
    })
}

/// Is this pod pointed at the name server at this address, and at no other?
pub fn is_pointed_at(pod: &Pod, address: &str) -> bool {
    let config = pod.spec.as_ref().and_then(|spec| spec.dns_config.as_ref());
    let servers = config.and_then(|config| config.nameservers.as_deref());
    servers.is_some_and(|servers| servers == [address])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrites() -> Rewrites {
        Rewrites {
            domain: "cluster.local".to_owned(),
            pairs: vec![
                ("shop".to_owned(), "t-shop-kymaros-abc123".to_owned()),
                ("rates".to_owned(), "t-rates-kymaros-abc123".to_owned()),
            ],
        }
    }

    #[test]
    fn arguments_are_read_back_as_they_were_written() {
        let args = rewrites().to_args();
        assert_eq!(args[0], SUBCOMMAND);
        assert_eq!(Rewrites::from_args(&args[1..]), Ok(rewrites()));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (args, named) in [
            (vec![], "expected"),
            (vec!["--domain=cluster.local"], "expected"),
            (vec!["--rewrite=shop"], "`shop` is not SOURCE=SANDBOX"),
            (vec!["--upstream=10.0.0.1"], "unknown argument `--upstream=10.0.0.1`"),
        ] {
            let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
            let error = Rewrites::from_args(&args).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn the_service_finds_the_pod_which_lives_as_long_as_the_sandbox() {
        let owner = Owner {
            run_id: "abc123".to_owned(),
            ..Owner::default()
        };
        let host = ProbeHost {
            image: "r/k:1".to_owned(),
            ..ProbeHost::default()
        };
        let pod = pod(&host, "t-shop-kymaros-abc123", &owner, &rewrites());
        let service = service("t-shop-kymaros-abc123", &owner).spec.unwrap();
        let labels = pod.metadata.labels.unwrap();
        for (key, value) in service.selector.unwrap() {
            assert_eq!(labels[&key], value);
        }
        let spec = pod.spec.unwrap();
        assert_eq!(
            (spec.restart_policy.as_deref(), spec.active_deadline_seconds),
            (Some("Always"), None)
        );
        let ports = service.ports.unwrap();
        assert!(
            ports
                .iter()
                .all(|port| port.port == 53 && port.target_port == Some(IntOrString::Int(5353)))
        );
        assert_eq!(ports.len(), 2);
    }

    #[test]
    fn only_the_one_name_server_counts() {
        let pod = |config: serde_json::Value| {
            serde_json::from_value(serde_json::json!({"spec": {"containers": [], "dnsConfig": config}})).unwrap()
        };
        assert!(is_pointed_at(
            &pod(serde_json::json!({"nameservers": ["10.96.0.7"]})),
            "10.96.0.7"
        ));
        for config in [
            serde_json::json!(null),
            serde_json::json!({"nameservers": []}),
            serde_json::json!({"nameservers": ["10.96.0.7", "10.96.0.10"]}),
        ] {
            assert!(!is_pointed_at(&pod(config), "10.96.0.7"));
        }
    }
}
