//! A sandbox: its namespace, the quota that also counts, default requests, and the runner's own rights in it.
//!
//! Nothing here has an owner reference: a sandbox has to outlive its test, its Job and its runner until somebody removes it
//! on purpose.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use k8s_openapi::api::core::v1::{
    self, LimitRange, LimitRangeItem, LimitRangeSpec, Namespace, ResourceQuotaSpec, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;

use super::Owner;
use crate::api::{ResourceQuota, Sandbox};
use crate::names::{CLASS_CLAIMS, CLASS_QUOTA, QUOTA, SANDBOX_ROLE, annotation, label};

/// Name of the `LimitRange`.
pub const LIMITS: &str = "kymaros-requests";
/// Name of the `RoleBinding`.
pub const BINDING: &str = "kymaros-sandbox";
/// What the quota counts without limiting it: Secrets may not be listed, so the quota controller counts them for us.
pub const COUNTED_SECRETS: &str = "count/secrets";
/// Far above what the cluster could hold.
const UNLIMITED: &str = "1000000";
/// Requests of containers that have none: a quota on requests refuses pods without.
const DEFAULT_REQUESTS: [(&str, &str); 2] = [("cpu", "10m"), ("memory", "16Mi")];
/// Name of the Service that the self-test of the fence asks for; it is never stored.
pub const TEST_SERVICE: &str = "kymaros-fence-selftest";
/// Name of the pod that the self-test of the fence asks for; it is never stored.
pub const TEST_POD: &str = "kymaros-fence-selftest";
/// Name of the namespace that the self-test of the fence asks for; it is never stored.
pub const TEST_NAMESPACE: &str = "kymaros-fence-selftest";

/// What whoever removes a sandbox has to know when its run cannot tell any more.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct End {
    /// When it may be removed at the latest.
    pub expires_at: DateTime<Utc>,
    /// Where the run's Restore is.
    pub provider_namespace: String,
    /// Who makes it, as in the run's Lease.
    pub holder: String,
}

/// What a sandbox is told to hold, `Kind` or `Kind.group`.
pub type Kinds = BTreeSet<String>;

/// The namespace. Its labels are final: an admission policy lets nobody change them.
pub fn namespace(source: &str, name: &str, owner: &Owner, settings: &Sandbox, end: &End, kinds: &Kinds) -> Namespace {
    let mut labels = owner.labels();
    for (key, value) in [
        (label::SOURCE_NAMESPACE, source),
        (label::VELERO_EXCLUDE, "true"),
        (label::POD_SECURITY, settings.pod_security.as_str()),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    let annotations = [
        (annotation::EXPIRES_AT, rfc3339(end.expires_at)),
        (annotation::TTL, settings.ttl.to_string()),
        (annotation::PROVIDER_NAMESPACE, end.provider_namespace.clone()),
        (annotation::KINDS, kinds.iter().cloned().collect::<Vec<_>>().join(",")),
        (
            annotation::ISOLATION_PROOF,
            settings.isolation_proof.as_str().to_owned(),
        ),
        (annotation::HOLDER, end.holder.clone()),
    ];
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

/// The quota. It is always made, for it counts Secrets.
pub fn quota(sandbox: &str, owner: &Owner, settings: &Sandbox) -> v1::ResourceQuota {
    let ResourceQuota { cpu, memory, storage } = &settings.resource_quota;
    let mut hard = BTreeMap::from([(COUNTED_SECRETS.to_owned(), Quantity(UNLIMITED.to_owned()))]);
    for (key, value) in [("cpu", cpu), ("memory", memory), ("storage", storage)] {
        if let Some(value) = value {
            hard.insert(format!("requests.{key}"), value.clone().into());
        }
    }
    v1::ResourceQuota {
        metadata: inside(sandbox, QUOTA, owner),
        spec: Some(ResourceQuotaSpec {
            hard: Some(hard),
            ..ResourceQuotaSpec::default()
        }),
        status: None,
    }
}

/// The quota that lets no claim of these storage classes in. One of its own, so that its refusals can be told from want of room.
pub fn class_quota(sandbox: &str, owner: &Owner, classes: &[String]) -> v1::ResourceQuota {
    let none = |class: &String| (format!("{class}{CLASS_CLAIMS}"), Quantity("0".to_owned()));
    v1::ResourceQuota {
        metadata: inside(sandbox, CLASS_QUOTA, owner),
        spec: Some(ResourceQuotaSpec {
            hard: Some(classes.iter().map(none).collect()),
            ..ResourceQuotaSpec::default()
        }),
        status: None,
    }
}

/// Default requests, where the quota makes them obligatory. Never limits: a drill that kills what production does not kill
/// proves nothing.
pub fn limit_range(sandbox: &str, owner: &Owner, settings: &Sandbox) -> Option<LimitRange> {
    let ResourceQuota { cpu, memory, .. } = &settings.resource_quota;
    let needed = [cpu.is_some(), memory.is_some()];
    if needed == [false, false] {
        return None;
    }
    let requests = DEFAULT_REQUESTS
        .into_iter()
        .zip(needed)
        .filter(|(_, needed)| *needed)
        .map(|((name, value), _)| (name.to_owned(), Quantity(value.to_owned())))
        .collect();
    Some(LimitRange {
        metadata: inside(sandbox, LIMITS, owner),
        spec: Some(LimitRangeSpec {
            limits: vec![LimitRangeItem {
                type_: "Container".to_owned(),
                default_request: Some(requests),
                ..LimitRangeItem::default()
            }],
        }),
    })
}

/// The runner's rights in the sandbox.
pub fn role_binding(sandbox: &str, owner: &Owner, runner_namespace: &str, service_account: &str) -> RoleBinding {
    RoleBinding {
        metadata: inside(sandbox, BINDING, owner),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: SANDBOX_ROLE.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: service_account.to_owned(),
            namespace: Some(runner_namespace.to_owned()),
            api_group: None,
        }]),
    }
}

/// A namespace that the fence must refuse: it has no label.
pub fn unlabelled_namespace() -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some(TEST_NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

/// A Service that the fence must make harmless: a load balancer with a fixed port on every node and an outside address. The
/// address is one of those reserved for documentation.
pub fn exposed_service(sandbox: &str, owner: &Owner) -> Service {
    Service {
        metadata: inside(sandbox, TEST_SERVICE, owner),
        spec: Some(ServiceSpec {
            type_: Some("LoadBalancer".to_owned()),
            external_ips: Some(vec!["192.0.2.1".to_owned()]),
            ports: Some(vec![ServicePort {
                port: 80,
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Why a Service can be reached from outside the cluster; `None` if it cannot.
pub fn exposure(service: &Service) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    if kind != "ClusterIP" {
        return Some(format!("its type is {kind}"));
    }
    if spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()) {
        return Some("it has externalIPs".to_owned());
    }
    let node_port = spec.ports.iter().flatten().find_map(|port| port.node_port)?;
    Some(format!("it has the node port {node_port}"))
}

/// The changes to a sandbox that is left for debugging until `until`.
pub fn kept_until(until: DateTime<Utc>) -> serde_json::Value {
    serde_json::json!({
        "metadata": {"annotations": {annotation::EXPIRES_AT: rfc3339(until), annotation::KEPT: "true"}},
    })
}

/// The changes to a sandbox that its run could not remove, and that nobody waits for any more at `at`.
pub fn expires_at(at: DateTime<Utc>) -> serde_json::Value {
    serde_json::json!({"metadata": {"annotations": {annotation::EXPIRES_AT: rfc3339(at)}}})
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Metadata of an object inside a sandbox.
pub(super) fn inside(sandbox: &str, name: &str, owner: &Owner) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(sandbox.to_owned()),
        labels: Some(owner.labels()),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            test: "shop-nightly".to_owned(),
            test_uid: "u-1".to_owned(),
            run_id: "abc123".to_owned(),
        }
    }

    fn settings(cpu: Option<&str>, memory: Option<&str>, storage: Option<&str>) -> Sandbox {
        let quantity = |text: Option<&str>| text.map(|t| crate::api::Quantity(t.to_owned()));
        Sandbox {
            resource_quota: ResourceQuota {
                cpu: quantity(cpu),
                memory: quantity(memory),
                storage: quantity(storage),
            },
            ..Sandbox::default()
        }
    }

    fn kinds() -> Kinds {
        ["Deployment.apps", "ConfigMap"].map(str::to_owned).into()
    }

    #[test]
    fn the_namespace_says_whose_it_is_and_until_when() {
        let name = "rp-test-shop-nightly-shop-kymaros-abc123";
        let end = End {
            expires_at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            provider_namespace: "velero".to_owned(),
            holder: "abc123/runner-1/u-1".to_owned(),
        };
        let namespace = namespace("shop", name, &owner(), &settings(None, None, None), &end, &kinds());
        let expected: BTreeMap<String, String> = [
            ("kymaros.io/managed-by", "kymaros"),
            ("kymaros.io/run", "abc123"),
            ("kymaros.io/source-namespace", "shop"),
            ("kymaros.io/test", "shop-nightly"),
            ("kymaros.io/test-uid", "u-1"),
            ("pod-security.kubernetes.io/enforce", "baseline"),
            ("velero.io/exclude-from-backup", "true"),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        assert_eq!(namespace.metadata.labels, Some(expected));
        let annotations = namespace.metadata.annotations.unwrap();
        assert_eq!(annotations[annotation::EXPIRES_AT], "2023-11-14T22:13:20Z");
        assert_eq!(annotations[annotation::TTL], "30m0s");
        assert_eq!(annotations[annotation::PROVIDER_NAMESPACE], "velero");
        assert_eq!(annotations[annotation::KINDS], "ConfigMap,Deployment.apps");
        assert_eq!(annotations[annotation::ISOLATION_PROOF], "required");
        assert_eq!(annotations[annotation::HOLDER], "abc123/runner-1/u-1");
        assert!(!annotations.contains_key(annotation::KEPT));
        assert!(namespace.metadata.owner_references.is_none());
        assert!(name.ends_with(&owner().sandbox_suffix()));
    }

    #[test]
    fn the_quota_limits_what_was_asked_for_and_counts_secrets_always() {
        for (cpu, memory, storage, keys) in [
            (None, None, None, vec!["count/secrets"]),
            (Some("2"), None, None, vec!["count/secrets", "requests.cpu"]),
            (
                Some("2"),
                Some("4Gi"),
                Some("10Gi"),
                vec!["count/secrets", "requests.cpu", "requests.memory", "requests.storage"],
            ),
        ] {
            let quota = quota("sb", &owner(), &settings(cpu, memory, storage));
            let hard = quota.spec.unwrap().hard.unwrap();
            assert_eq!(hard.keys().collect::<Vec<_>>(), keys);
            assert_eq!(hard.get("requests.cpu").map(|q| q.0.as_str()), cpu);
        }
    }

    #[test]
    fn default_requests_stand_where_the_quota_needs_them_and_limits_nowhere() {
        for (cpu, memory, storage, keys) in [
            (None, None, None, None),
            (None, None, Some("10Gi"), None),
            (Some("1"), None, None, Some(vec!["cpu"])),
            (None, Some("1Gi"), None, Some(vec!["memory"])),
            (Some("1"), Some("1Gi"), None, Some(vec!["cpu", "memory"])),
        ] {
            let range = limit_range("sb", &owner(), &settings(cpu, memory, storage));
            let found = range.map(|range| {
                let [item] = range.spec.unwrap().limits.try_into().unwrap();
                assert!(item.default.is_none() && item.max.is_none() && item.min.is_none());
                item.default_request.unwrap().into_keys().collect::<Vec<_>>()
            });
            let keys = keys.map(|keys| keys.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(found, keys);
        }
    }

    #[test]
    fn the_runner_binds_itself_only() {
        let binding = role_binding("sb", &owner(), "kymaros-system", "kymaros-runner");
        assert_eq!(binding.role_ref.name, "kymaros-sandbox");
        let [subject] = binding.subjects.unwrap().try_into().unwrap();
        assert_eq!(
            (
                subject.kind.as_str(),
                subject.namespace.as_deref(),
                subject.name.as_str()
            ),
            ("ServiceAccount", Some("kymaros-system"), "kymaros-runner")
        );
    }

    #[test]
    fn exposure_is_found_in_all_its_forms() {
        let service = |spec: serde_json::Value| serde_json::from_value(serde_json::json!({ "spec": spec })).unwrap();
        for (spec, exposed) in [
            (serde_json::json!({"ports": [{"port": 80}]}), false),
            (serde_json::json!({"type": "ClusterIP", "externalIPs": []}), false),
            (serde_json::json!({"type": "LoadBalancer"}), true),
            (serde_json::json!({"type": "NodePort"}), true),
            (
                serde_json::json!({"type": "ClusterIP", "externalIPs": ["192.0.2.1"]}),
                true,
            ),
            (
                serde_json::json!({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30080}]}),
                true,
            ),
        ] {
            assert_eq!(exposure(&service(spec.clone())).is_some(), exposed, "{spec}");
        }
        assert!(exposure(&exposed_service("sb", &owner())).is_some());
    }
}
