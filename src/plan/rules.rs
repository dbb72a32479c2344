//! The one table of what a drill does not bring back or does not miss, each line with its reason.
//!
//! Everything else is restored, expected, and looked for: Services, Ingresses, `NetworkPolicies`, `CronJobs` and
//! `ServiceAccounts` too, which the admission policies make harmless on their way in.

use super::glob;
use crate::velero;

/// What becomes of an object of the backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// It is restored and has to be there.
    Expected,
    /// It is neither missed nor spoken of: Kubernetes makes it by itself, or another level judges it.
    NotExpected(&'static str),
    /// It cannot be looked for, and the report says so.
    NotTested(&'static str),
    /// It is held back for safety, and the report counts it.
    Held(&'static str),
}

/// Why a custom resource is held that nobody let in. The report's message names the line that would let it in.
pub const CUSTOM_RESOURCE: &str = "custom resource";
/// Why an object is held that the spec excludes.
pub const EXCLUDED: &str = "spec.restore.excludedResources";

/// Kinds of Kubernetes itself that are not simply expected: group, kind, rule.
const BUILT_IN: [(&str, &str, Rule); 16] = [
    ("", "Event", Rule::NotExpected("Velero never restores events")),
    (
        "events.k8s.io",
        "Event",
        Rule::NotExpected("Velero never restores events"),
    ),
    // Their names may change when controllers make them anew.
    ("", "Pod", Rule::NotExpected("podStartup judges pods")),
    (
        "extensions",
        "ReplicaSet",
        Rule::NotExpected("podStartup judges what makes pods"),
    ),
    (
        "apps",
        "ControllerRevision",
        Rule::NotExpected("controllers make their own history"),
    ),
    // They would scale, limit or block what is being looked at.
    ("autoscaling", "HorizontalPodAutoscaler", Rule::Held("autoscaler")),
    ("", "ResourceQuota", Rule::Held("quota")),
    ("", "LimitRange", Rule::Held("limit range")),
    ("policy", "PodDisruptionBudget", Rule::Held("disruption budget")),
    // They hold names and addresses of the source; the cluster makes new ones.
    ("", "Endpoints", Rule::Held("endpoints")),
    ("discovery.k8s.io", "EndpointSlice", Rule::Held("endpoints")),
    ("coordination.k8s.io", "Lease", Rule::Held("lease")),
    ("coordination.k8s.io", "LeaseCandidate", Rule::Held("lease")),
    // Velero restores running and failed ones, and they would run again.
    ("batch", "Job", Rule::Held("job")),
    // The scheduler believes them wherever they are, so they would misplace production's pods.
    ("storage.k8s.io", "CSIStorageCapacity", Rule::Held("storage capacity")),
    (
        "certificates.k8s.io",
        "PodCertificateRequest",
        Rule::Held("certificate"),
    ),
];

/// API groups that Kubernetes itself serves. All others are custom, also those below `k8s.io` that come with a definition
/// (`gateway.networking.k8s.io`, `snapshot.storage.k8s.io`).
const BUILT_IN_GROUPS: [&str; 24] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Custom kinds that are never let in, named or not, by what they would do: patterns of groups, or `Kind.group` where the
/// rest of a group is harmless. Their operators act outside the sandbox.
const NEVER_LET_IN: [(&str, &[&str]); 11] = [
    (
        "autoscaler",
        &["keda.sh", "*.keda.sh", "autoscaling.k8s.io", "autoscaling.x-k8s.io"],
    ),
    (
        "ingress route",
        &[
            "gateway.networking.k8s.io",
            "gateway.networking.x-k8s.io",
            "route.openshift.io",
            "traefik.io",
            "traefik.containo.us",
            "hub.traefik.io",
            "projectcontour.io",
            "*.konghq.com",
            "getambassador.io",
            "*.solo.io",
            "k8s.nginx.org",
            "*.haproxy.org",
            "gateway.envoyproxy.io",
            "elbv2.k8s.aws",
            "*.gke.io",
            "cloud.google.com",
        ],
    ),
    (
        "mesh",
        &[
            "*.istio.io",
            "linkerd.io",
            "*.linkerd.io",
            "consul.hashicorp.com",
            "kuma.io",
            "*.smi-spec.io",
            "*.openservicemesh.io",
            "appmesh.k8s.aws",
            "maistra.io",
        ],
    ),
    (
        "GitOps",
        &[
            "argoproj.io",
            "*.toolkit.fluxcd.io",
            "*.contrib.fluxcd.io",
            "fleet.cattle.io",
            "helm.cattle.io",
            "k3s.cattle.io",
            "*.open-cluster-management.io",
            "kappctrl.k14s.io",
            "packaging.carvel.dev",
            "pulumi.com",
            "operators.coreos.com",
        ],
    ),
    (
        "certificate",
        &["cert-manager.io", "*.cert-manager.io", "certmanager.k8s.io"],
    ),
    ("DNS", &["externaldns.k8s.io", "externaldns.nginx.org"]),
    (
        "network",
        &[
            "cilium.io",
            "*.cilium.io",
            "projectcalico.org",
            "*.projectcalico.org",
            "*.antrea.io",
            "k8s.ovn.org",
            "policy.networking.k8s.io",
            "k8s.cni.cncf.io",
            "*.cni.cncf.io",
            "sriovnetwork.openshift.io",
            "metallb.io",
            "metallb.universe.tf",
            "submariner.io",
            "multicluster.x-k8s.io",
            "vpcresources.k8s.aws",
            "crd.k8s.amazonaws.com",
        ],
    ),
    (
        "infrastructure",
        &[
            "crossplane.io",
            "*.crossplane.io",
            "*.upbound.io",
            "*.services.k8s.aws",
            "*.cnrm.cloud.google.com",
            "*.azure.com",
            "cluster.x-k8s.io",
            "*.cluster.x-k8s.io",
            "karpenter.sh",
            "*.karpenter.sh",
            "karpenter.k8s.aws",
            "machine.openshift.io",
            "longhorn.io",
            "ceph.rook.io",
            "objectbucket.io",
            "groupsnapshot.storage.k8s.io",
            "PushSecret.external-secrets.io",
        ],
    ),
    (
        "backup",
        &[
            "velero.io",
            "oadp.openshift.io",
            "*.kio.kasten.io",
            "*.trilio.io",
            "k8up.io",
            "volsync.backube",
            crate::names::GROUP,
        ],
    ),
    (
        "policy or alert",
        &[
            "kyverno.io",
            "*.kyverno.io",
            "wgpolicyk8s.io",
            "*.gatekeeper.sh",
            "ServiceMonitor.monitoring.coreos.com",
            "PodMonitor.monitoring.coreos.com",
            "Probe.monitoring.coreos.com",
            "ScrapeConfig.monitoring.coreos.com",
            "PrometheusRule.monitoring.coreos.com",
            "AlertmanagerConfig.monitoring.coreos.com",
        ],
    ),
    (
        "job",
        &["tekton.dev", "*.tekton.dev", "batch.volcano.sh", "kueue.x-k8s.io"],
    ),
];

/// Those of [`NEVER_LET_IN`] that run nothing.
const WITHOUT_PODS: [&str; 7] = [
    "ingress route",
    "mesh",
    "certificate",
    "DNS",
    "network",
    "backup",
    "policy or alert",
];

/// Velero's own way of carrying volume data; without it the claims would wait for ever.
const PROVIDERS_OWN: (&str, &str) = ("snapshot.storage.k8s.io", "VolumeSnapshot");

/// Is the group one of those that come with a definition, not with Kubernetes?
pub fn is_custom(group: &str) -> bool {
    !BUILT_IN_GROUPS.contains(&group)
}

/// Kinds of Kubernetes itself that are held, so that they can be left out of every Restore.
pub fn held_built_ins() -> impl Iterator<Item = (&'static str, &'static str)> {
    let held = BUILT_IN.iter().filter(|(_, _, rule)| matches!(rule, Rule::Held(_)));
    held.map(|(group, kind, _)| (*group, *kind))
}

/// The rule for a whole kind; `let_in` is `restore.customResources`.
pub fn of_kind(group: &str, kind: &str, let_in: &[String]) -> Rule {
    if !is_custom(group) {
        let line = BUILT_IN.iter().find(|line| (line.0, line.1) == (group, kind));
        return line.map_or(Rule::Expected, |line| line.2);
    }
    if (group, kind) == PROVIDERS_OWN {
        return Rule::NotTested("the provider's own snapshot, restored under another name");
    }
    if let Some(rule) = never(group, Some(kind)) {
        return Rule::Held(rule);
    }
    if let_in.iter().any(|entry| lets_in(entry, group, kind)) {
        Rule::Expected
    } else {
        Rule::Held(CUSTOM_RESOURCE)
    }
}

/// May a custom resource of this kind make pods?
pub(super) fn may_make_pods(group: &str, kind: &str) -> bool {
    let runs_nothing = || never(group, Some(kind)).is_some_and(|rule| WITHOUT_PODS.contains(&rule));
    is_custom(group) && (group, kind) != PROVIDERS_OWN && !runs_nothing()
}

/// The rule for one object of an expected kind. `is_service_account` tells which names of those the namespace has, and
/// `is_made` which names are those of `ReplicaSets` that something made.
pub fn of_object(
    group: &str,
    kind: &str,
    name: &str,
    is_service_account: impl Fn(&str) -> bool,
    is_made: impl Fn(&str) -> bool,
) -> Rule {
    if is_custom(group) {
        return Rule::Expected;
    }
    if let Some(reason) = velero::made_by_the_cluster(kind, name) {
        return Rule::NotExpected(reason);
    }
    let account = token_owner(name).filter(|_| (group, kind) == ("", "Secret"));
    if account.is_some_and(is_service_account) {
        return Rule::NotExpected("the cluster makes tokens of ServiceAccounts anew");
    }
    if (group, kind) == ("apps", "ReplicaSet") && is_made(name) {
        return Rule::NotExpected("podStartup judges what makes pods");
    }
    Rule::Expected
}

/// The `ServiceAccount` whose token a Secret of this name is, if it is one: `<account>-token-abcde`.
fn token_owner(name: &str) -> Option<&str> {
    let (rest, random) = name.rsplit_once('-')?;
    let generated = random.len() == 5
        && random
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    rest.strip_suffix("-token")
        .or_else(|| rest.strip_suffix("-dockercfg"))
        .filter(|_| generated)
}

fn lets_in(entry: &str, group: &str, kind: &str) -> bool {
    let named = entry
        .split_once('.')
        .is_some_and(|(entry_kind, entry_group)| entry_group == group && entry_kind.eq_ignore_ascii_case(kind));
    entry == "*" || entry == group || named
}

/// Why an entry of `restore.customResources` has no effect; `None` if it has, at least for a part of its group.
pub fn never_let_in(entry: &str) -> Option<&'static str> {
    if entry == "*" {
        return None;
    }
    let inside = entry.split_once('.').and_then(|(kind, group)| never(group, Some(kind)));
    never(entry, None).or(inside)
}

/// Why a kind is never let in; without a kind, why nothing of its group is.
fn never(group: &str, kind: Option<&str>) -> Option<&'static str> {
    let matches = |pattern: &str| match pattern.split_once('.') {
        Some((only, of)) if only.starts_with(|first: char| first.is_ascii_uppercase()) => {
            of == group && kind.is_some_and(|kind| kind.eq_ignore_ascii_case(only))
        }
        _ => glob::matches(pattern, group),
    };
    let line = NEVER_LET_IN
        .iter()
        .find(|(_, patterns)| patterns.iter().any(|pattern| matches(pattern)));
    line.map(|(rule, _)| *rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(group: &str, kind: &str, let_in: &[&str]) -> Rule {
        of_kind(
            group,
            kind,
            &let_in.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn what_admission_makes_harmless_is_expected() {
        for (group, kind) in [
            ("", "Service"),
            ("", "ServiceAccount"),
            ("", "Secret"),
            ("", "PersistentVolumeClaim"),
            ("", "ReplicationController"),
            ("apps", "Deployment"),
            ("apps", "DaemonSet"),
            ("batch", "CronJob"),
            ("networking.k8s.io", "Ingress"),
            ("networking.k8s.io", "NetworkPolicy"),
            ("rbac.authorization.k8s.io", "RoleBinding"),
            ("extensions", "Ingress"),
        ] {
            assert_eq!(rule(group, kind, &[]), Rule::Expected, "{kind}.{group}");
            assert!(!is_custom(group));
        }
    }

    #[test]
    fn what_would_interfere_is_held_whatever_is_let_in() {
        for (group, kind, reason) in [
            ("autoscaling", "HorizontalPodAutoscaler", "autoscaler"),
            ("autoscaling.k8s.io", "VerticalPodAutoscaler", "autoscaler"),
            ("keda.sh", "ScaledObject", "autoscaler"),
            ("http.keda.sh", "HTTPScaledObject", "autoscaler"),
            ("", "ResourceQuota", "quota"),
            ("", "LimitRange", "limit range"),
            ("policy", "PodDisruptionBudget", "disruption budget"),
            ("coordination.k8s.io", "Lease", "lease"),
            ("", "Endpoints", "endpoints"),
            ("discovery.k8s.io", "EndpointSlice", "endpoints"),
            ("batch", "Job", "job"),
            ("gateway.networking.k8s.io", "HTTPRoute", "ingress route"),
            ("route.openshift.io", "Route", "ingress route"),
            ("networking.istio.io", "VirtualService", "mesh"),
            ("policy.linkerd.io", "Server", "mesh"),
            ("argoproj.io", "Application", "GitOps"),
            ("helm.toolkit.fluxcd.io", "HelmRelease", "GitOps"),
            ("helm.cattle.io", "HelmChart", "GitOps"),
            ("cert-manager.io", "Certificate", "certificate"),
            ("acme.cert-manager.io", "Order", "certificate"),
            ("externaldns.k8s.io", "DNSEndpoint", "DNS"),
            ("cilium.io", "CiliumNetworkPolicy", "network"),
            ("crd.projectcalico.org", "NetworkPolicy", "network"),
            ("k8s.cni.cncf.io", "NetworkAttachmentDefinition", "network"),
            ("rds.aws.crossplane.io", "DBInstance", "infrastructure"),
            ("rds.services.k8s.aws", "DBInstance", "infrastructure"),
            ("sql.cnrm.cloud.google.com", "SQLInstance", "infrastructure"),
            ("dbforpostgresql.azure.com", "FlexibleServer", "infrastructure"),
            ("external-secrets.io", "PushSecret", "infrastructure"),
            ("velero.io", "Schedule", "backup"),
            ("restore.kymaros.io", "RestoreTest", "backup"),
            ("monitoring.coreos.com", "PrometheusRule", "policy or alert"),
            ("tekton.dev", "PipelineRun", "job"),
        ] {
            assert_eq!(rule(group, kind, &[]), Rule::Held(reason), "{kind}.{group}");
            let named = format!("{kind}.{group}");
            assert_eq!(
                rule(group, kind, &["*", group, &named]),
                Rule::Held(reason),
                "{kind}.{group} let in"
            );
        }
    }

    #[test]
    fn custom_resources_come_in_by_group_by_kind_or_all() {
        for (let_in, widget, gear) in [
            (&[][..], false, false),
            (&["*"][..], true, true),
            (&["example.com"][..], true, true),
            (&["Widget.example.com"][..], true, false),
            (&["widget.example.com"][..], true, false),
            (&["other.com", "Gear.example.com"][..], false, true),
            (&["Widget.other.com"][..], false, false),
            (&["com"][..], false, false),
        ] {
            for (kind, expected) in [("Widget", widget), ("Gear", gear)] {
                let expected = if expected {
                    Rule::Expected
                } else {
                    Rule::Held(CUSTOM_RESOURCE)
                };
                assert_eq!(rule("example.com", kind, let_in), expected, "{kind} with {let_in:?}");
            }
        }
        assert_eq!(rule("monitoring.coreos.com", "Prometheus", &["*"]), Rule::Expected);
        assert_eq!(
            rule("external-secrets.io", "ExternalSecret", &["external-secrets.io"]),
            Rule::Expected
        );
    }

    #[test]
    fn the_providers_snapshots_are_neither_held_nor_expected() {
        assert!(is_custom("snapshot.storage.k8s.io"));
        for let_in in [&[][..], &["*"][..]] {
            assert!(matches!(
                rule("snapshot.storage.k8s.io", "VolumeSnapshot", let_in),
                Rule::NotTested(_)
            ));
        }
    }

    #[test]
    fn what_kubernetes_makes_is_not_expected() {
        let of = |kind, name| of_object("", kind, name, |account| account == "app", |_| false);
        for (kind, name, expected) in [
            ("ConfigMap", "kube-root-ca.crt", false),
            ("ConfigMap", "settings", true),
            ("ServiceAccount", "default", false),
            ("ServiceAccount", "app", true),
            ("Secret", "default", true),
            ("Secret", "app-token-abcde", false),
            ("Secret", "app-dockercfg-x7k2p", false),
            // Nobody generated these.
            ("Secret", "app-token-ABCDE", true),
            ("Secret", "app-token-abcdef", true),
            ("Secret", "app-token", true),
            // There is no such account.
            ("Secret", "other-token-abcde", true),
            ("ConfigMap", "app-token-abcde", true),
        ] {
            assert_eq!(of(kind, name) == Rule::Expected, expected, "{kind}/{name}");
        }
        assert_eq!(
            of_object("example.com", "ConfigMap", "kube-root-ca.crt", |_| true, |_| true),
            Rule::Expected
        );
        let replica_set = |name| of_object("apps", "ReplicaSet", name, |_| false, |made| made == "web-5d8f7c9b4d");
        assert!(matches!(replica_set("web-5d8f7c9b4d"), Rule::NotExpected(_)));
        assert_eq!(replica_set("alone"), Rule::Expected);
    }

    #[test]
    fn entries_without_effect_are_known() {
        for (entry, expected) in [
            ("*", None),
            ("example.com", None),
            ("Widget.example.com", None),
            ("monitoring.coreos.com", None),
            ("Prometheus.monitoring.coreos.com", None),
            ("PrometheusRule.monitoring.coreos.com", Some("policy or alert")),
            ("argoproj.io", Some("GitOps")),
            ("Application.argoproj.io", Some("GitOps")),
            ("networking.istio.io", Some("mesh")),
        ] {
            assert_eq!(never_let_in(entry), expected, "{entry}");
        }
    }

    #[test]
    fn the_table_has_no_line_twice_and_stays_within_its_groups() {
        for (index, (group, kind, _)) in BUILT_IN.iter().enumerate() {
            assert!(!is_custom(group), "{group}");
            assert!(
                !BUILT_IN[..index].iter().any(|line| (line.0, line.1) == (*group, *kind)),
                "{kind}.{group} twice"
            );
        }
        let patterns: Vec<&&str> = NEVER_LET_IN.iter().flat_map(|(_, patterns)| patterns.iter()).collect();
        for (index, pattern) in patterns.iter().enumerate() {
            assert!(!patterns[..index].contains(pattern), "{pattern} twice");
            assert!(
                !BUILT_IN_GROUPS.iter().any(|group| glob::matches(pattern, group)),
                "{pattern}"
            );
        }
        assert!(held_built_ins().count() >= 10);
    }
}
