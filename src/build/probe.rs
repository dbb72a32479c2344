//! The short pods that measure a sandbox's isolation: what they are asked, what they answer, and their manifest.
//!
//! Question and answer stand here together, on both sides of the pod: the fence builds the pod from a [`Probe`], the pod
//! reads its arguments back into the same [`Probe`], and its [`Outcome`] comes home as the termination message.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    PodSecurityContext, PodSpec, PreferredSchedulingTerm, ResourceRequirements, SeccompProfile, SecurityContext,
    Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::Owner;
use crate::names::label;

/// The subcommand that a probe pod runs; an admission policy lets the runner start no other pod.
pub const SUBCOMMAND: &str = "probe";
/// Where the peer of a sandbox listens.
pub const PEER_PORT: u16 = 18_080;
/// A probe pod is ended by the kubelet after this, whatever became of the runner.
const POD_DEADLINE_SECONDS: i64 = 120;

/// What a probe pod is asked to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probe {
    /// Dial and report.
    Dial(Dial),
    /// Listen on a port until killed.
    Serve {
        /// The port.
        port: u16,
    },
}

/// A measurement: it ends as soon as something forbidden is reached, else when `at_least` has passed and everything needed
/// has worked, and always after `at_most`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dial {
    /// Addresses that must not be reached; tried without pause to the very end.
    pub forbidden: Vec<SocketAddr>,
    /// Addresses that must be reached; tried until they are.
    pub needed: Vec<SocketAddr>,
    /// Names that the resolver must answer for; asked until it does.
    pub names: Vec<String>,
    /// Go on for at least this long.
    pub at_least: Duration,
    /// Stop after this.
    pub at_most: Duration,
}

/// What a measurement saw.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outcome {
    /// Everything that worked, forbidden or needed, and after how many milliseconds.
    pub reached: BTreeMap<String, u64>,
    /// Everything that did not, with the last error.
    pub failed: BTreeMap<String, String>,
    /// Length of the measurement in milliseconds.
    pub elapsed_ms: u64,
}

impl Outcome {
    /// The targets among `targets` that were reached.
    pub fn reached_of<'a>(&self, targets: &'a [SocketAddr]) -> Vec<&'a SocketAddr> {
        targets
            .iter()
            .filter(|t| self.reached.contains_key(&t.to_string()))
            .collect()
    }
}

impl Probe {
    /// The container's arguments.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = vec![SUBCOMMAND.to_owned()];
        match self {
            Self::Serve { port } => args.extend(["serve".to_owned(), port.to_string()]),
            Self::Dial(dial) => {
                args.push("dial".to_owned());
                args.push(format!("--at-least-ms={}", dial.at_least.as_millis()));
                args.push(format!("--at-most-ms={}", dial.at_most.as_millis()));
                args.extend(dial.forbidden.iter().map(|a| format!("--forbidden={a}")));
                args.extend(dial.needed.iter().map(|a| format!("--needed={a}")));
                args.extend(dial.names.iter().map(|n| format!("--name={n}")));
            }
        }
        args
    }

    /// Reads what follows the subcommand's name. The error names the argument that is wrong.
    pub fn from_args(args: &[String]) -> Result<Self, String> {
        match args.split_first().map(|(mode, rest)| (mode.as_str(), rest)) {
            Some(("serve", [port])) => Ok(Self::Serve {
                port: parse(port, "a port")?,
            }),
            Some(("dial", rest)) => Dial::from_args(rest).map(Self::Dial),
            _ => Err("expected `dial …` or `serve PORT`".to_owned()),
        }
    }
}

impl Dial {
    fn from_args(args: &[String]) -> Result<Self, String> {
        let mut dial = Self::default();
        for arg in args {
            match arg.split_once('=') {
                Some(("--forbidden", value)) => dial.forbidden.push(parse(value, "an address with a port")?),
                Some(("--needed", value)) => dial.needed.push(parse(value, "an address with a port")?),
                Some(("--name", value)) => dial.names.push(value.to_owned()),
                Some(("--at-least-ms", value)) => dial.at_least = Duration::from_millis(parse(value, "milliseconds")?),
                Some(("--at-most-ms", value)) => dial.at_most = Duration::from_millis(parse(value, "milliseconds")?),
                _ => return Err(format!("unknown argument `{arg}`")),
            }
        }
        Ok(dial)
    }
}

fn parse<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not {what}"))
}

/// Where and how probe pods run: as the runner itself does, so that its image is there and may be started.
#[derive(Clone, Debug, Default)]
pub struct ProbeHost {
    /// The runner's own image.
    pub image: String,
    /// Its pull policy.
    pub pull_policy: Option<String>,
    /// The user it runs as, if its pod says so; the image's own user otherwise.
    pub run_as_user: Option<i64>,
    /// Its node, which has the image; preferred, not required.
    pub node: Option<String>,
    /// Its tolerations, so that its node takes them.
    pub tolerations: Option<Vec<Toleration>>,
}

impl ProbeHost {
    /// Taken from the runner's own pod. `None` if the pod has no container, which no real pod is without.
    pub fn of(own: &Pod) -> Option<Self> {
        let spec = own.spec.as_ref()?;
        let container = spec.containers.first()?;
        let of_container = container.security_context.as_ref().and_then(|c| c.run_as_user);
        let of_pod = spec.security_context.as_ref().and_then(|c| c.run_as_user);
        Some(Self {
            image: container.image.clone()?,
            pull_policy: container.image_pull_policy.clone(),
            run_as_user: of_container.or(of_pod),
            node: spec.node_name.clone(),
            tolerations: spec.tolerations.clone(),
        })
    }

    /// The pod that runs `probe` in `namespace`.
    pub fn pod(&self, namespace: &str, name: &str, owner: &Owner, probe: &Probe) -> Pod {
        let mut pod = self.restricted(namespace, name, owner, SUBCOMMAND, probe.to_args());
        if let Some(spec) = &mut pod.spec {
            spec.restart_policy = Some("Never".to_owned());
            spec.active_deadline_seconds = Some(POD_DEADLINE_SECONDS);
        }
        pod
    }

    /// A pod of the runner's own image in `namespace`, labelled with its own name. Restricted in every respect: no token, no
    /// capability, no volume.
    pub(super) fn restricted(
        &self,
        namespace: &str,
        name: &str,
        owner: &Owner,
        container: &str,
        args: Vec<String>,
    ) -> Pod {
        let mut labels = owner.labels();
        labels.insert(label::PROBE.to_owned(), name.to_owned());
        Pod {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                containers: vec![self.container(container, args)],
                termination_grace_period_seconds: Some(0),
                automount_service_account_token: Some(false),
                enable_service_links: Some(false),
                affinity: self.node.as_deref().map(prefer_node),
                tolerations: self.tolerations.clone(),
                security_context: Some(PodSecurityContext {
                    run_as_non_root: Some(true),
                    run_as_user: self.run_as_user,
                    seccomp_profile: Some(SeccompProfile {
                        type_: "RuntimeDefault".to_owned(),
                        ..SeccompProfile::default()
                    }),
                    ..PodSecurityContext::default()
                }),
                ..PodSpec::default()
            }),
            status: None,
        }
    }

    fn container(&self, name: &str, args: Vec<String>) -> Container {
        let quantity = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
        Container {
            name: name.to_owned(),
            image: Some(self.image.clone()),
            image_pull_policy: self.pull_policy.clone(),
            args: Some(args),
            resources: Some(ResourceRequirements {
                // Nothing, so that a quota which just holds the application holds it beside a probe as well. Left out they
                // would be the LimitRange's.
                requests: Some(BTreeMap::from([quantity("cpu", "0"), quantity("memory", "0")])),
                ..ResourceRequirements::default()
            }),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(Capabilities {
                    add: None,
                    drop: Some(vec!["ALL".to_owned()]),
                }),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }
    }
}

/// By the node's name and not by its host name label, which need not agree with it.
fn prefer_node(node: &str) -> Affinity {
    Affinity {
        node_affinity: Some(NodeAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![PreferredSchedulingTerm {
                weight: 100,
                preference: NodeSelectorTerm {
                    match_fields: Some(vec![NodeSelectorRequirement {
                        key: "metadata.name".to_owned(),
                        operator: "In".to_owned(),
                        values: Some(vec![node.to_owned()]),
                    }]),
                    ..NodeSelectorTerm::default()
                },
            }]),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// The address of a pod, once it has one.
pub fn pod_ip(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            test: "shop".to_owned(),
            test_uid: "u-1".to_owned(),
            run_id: "abc123".to_owned(),
        }
    }

    fn dial() -> Probe {
        Probe::Dial(Dial {
            forbidden: vec!["10.0.0.1:443".parse().unwrap(), "[fd00::1]:443".parse().unwrap()],
            needed: vec!["10.1.0.2:18080".parse().unwrap()],
            names: vec!["kubernetes.default.svc.cluster.local".to_owned()],
            at_least: Duration::from_secs(1),
            at_most: Duration::from_secs(15),
        })
    }

    #[test]
    fn arguments_are_read_back_as_they_were_written() {
        for probe in [dial(), Probe::Dial(Dial::default()), Probe::Serve { port: PEER_PORT }] {
            let args = probe.to_args();
            assert_eq!(args[0], SUBCOMMAND);
            assert_eq!(Probe::from_args(&args[1..]), Ok(probe));
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (args, named) in [
            (vec![], "expected"),
            (vec!["serve"], "expected"),
            (vec!["serve", "x"], "`x` is not a port"),
            (
                vec!["dial", "--forbidden=db:5432"],
                "`db:5432` is not an address with a port",
            ),
            (vec!["dial", "--at-most-ms=1s"], "`1s` is not milliseconds"),
            (vec!["dial", "--exec=sh"], "unknown argument `--exec=sh`"),
        ] {
            let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
            let error = Probe::from_args(&args).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn the_pod_is_one_that_the_fence_and_pod_security_restricted_permit() {
        let host = ProbeHost {
            image: "registry/kymaros-runner:1".to_owned(),
            node: Some("node1".to_owned()),
            ..ProbeHost::default()
        };
        let pod = host.pod("shop-kymaros-abc123", "kymaros-probe-shut", &owner(), &dial());
        let labels = pod.metadata.labels.unwrap();
        assert_eq!(labels[label::PROBE], "kymaros-probe-shut");
        assert_eq!(labels[label::RUN], "abc123");
        assert!(!labels.contains_key(label::APP_NAME), "it must not pass for the runner");
        let spec = pod.spec.unwrap();
        assert_eq!(spec.automount_service_account_token, Some(false));
        assert_eq!(
            (spec.restart_policy.as_deref(), spec.active_deadline_seconds),
            (Some("Never"), Some(120))
        );
        assert!(spec.node_name.is_none() && spec.volumes.is_none() && spec.init_containers.is_none());
        let pod_context = spec.security_context.unwrap();
        assert_eq!(pod_context.run_as_non_root, Some(true));
        assert_eq!(pod_context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let [container] = spec.containers.try_into().unwrap();
        assert_eq!(container.args.unwrap()[0], SUBCOMMAND);
        assert!(container.command.is_none() && container.env.is_none() && container.env_from.is_none());
        let context = container.security_context.unwrap();
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!(context.capabilities.unwrap().drop.unwrap(), ["ALL"]);
        assert!(container.resources.unwrap().limits.is_none());
    }

    #[test]
    fn probes_run_as_the_runner_does() {
        let own: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "runner"},
            "spec": {
                "nodeName": "node1",
                "tolerations": [{"key": "batch", "operator": "Exists"}],
                "securityContext": {"runAsUser": 65532},
                "containers": [{"name": "runner", "image": "r/k:1", "imagePullPolicy": "Never"}],
            },
        }))
        .unwrap();
        let host = ProbeHost::of(&own).unwrap();
        assert_eq!(
            (host.image.as_str(), host.pull_policy.as_deref()),
            ("r/k:1", Some("Never"))
        );
        assert_eq!((host.run_as_user, host.node.as_deref()), (Some(65532), Some("node1")));
        assert_eq!(host.tolerations.unwrap().len(), 1);
        assert!(ProbeHost::of(&Pod::default()).is_none());
    }
}
