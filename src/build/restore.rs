//! The Restore of a run, and what Velero changes in the objects on their way in.
//!
//! Modifiers fail open: an object whose rule fails is created without the change. What protects is therefore admission; the
//! rules here do what admission cannot reach (hooks, which Velero runs by itself), what the spec asks for, and a second time
//! what is worth doing twice. On clusters that cannot change objects in admission they do all of it, and the validating
//! policies refuse what they missed.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::Owner;
use crate::names::{INERT_INGRESS_CLASS, PRIORITY_CLASS, annotation};
use crate::plan::{Point, ValidTest};
use crate::velero::{ModifierRef, Restore, RestoreSpec};

/// On the pods of Jobs, and on most Jobs. Restored they would run again, the pods beside a new one of the same Job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// The only key of the `ConfigMap`: Velero refuses a second one.
const RULES_KEY: &str = "rules.yaml";

/// Velero runs the command of these annotations in restored pods, whatever the Restore says. Those of init containers have
/// no place here: Velero has acted on them before it comes to the modifiers.
const HOOKS: [&str; 6] = [
    "post.hook.restore.velero.io/container",
    "post.hook.restore.velero.io/command",
    "post.hook.restore.velero.io/on-error",
    "post.hook.restore.velero.io/exec-timeout",
    "post.hook.restore.velero.io/wait-timeout",
    "post.hook.restore.velero.io/wait-for-ready",
];
/// By these a controller that syncs from git would take a restored object for its own, and prune it; by the last two Grafana
/// would load it.
const TRACKING_LABELS: [&str; 7] = [
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/namespace",
    "helm.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/namespace",
    "grafana_dashboard",
    "grafana_datasource",
];
const TRACKING_ANNOTATIONS: [&str; 1] = ["argocd.argoproj.io/tracking-id"];
/// By these a pod would be given rights in the cloud.
const IDENTITY_ANNOTATIONS: [&str; 4] = [
    "eks.amazonaws.com/role-arn",
    "iam.gke.io/gcp-service-account",
    "azure.workload.identity/client-id",
    "azure.workload.identity/tenant-id",
];
/// By these kiam and kube2iam would do the same.
const POD_IDENTITY_ANNOTATIONS: [&str; 2] = ["iam.amazonaws.com/role", "iam.amazonaws.com/external-id"];
/// What makes a Service reachable from outside, and what is not allowed without it.
const EXPOSURE: [&str; 7] = [
    "externalIPs",
    "loadBalancerIP",
    "loadBalancerClass",
    "loadBalancerSourceRanges",
    "allocateLoadBalancerNodePorts",
    "externalTrafficPolicy",
    "healthCheckNodePort",
];
/// Ports of one Service whose fixed node port is removed; rules can only name them one by one.
const SERVICE_PORTS: usize = 32;
/// What has a pod template, as Velero names it.
const TEMPLATED: [&str; 5] = [
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "replicasets.apps",
    "replicationcontrollers",
];

/// What makes restored objects harmless.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Neutraliser {
    /// Mutating admission policies, which see every writer and fail closed.
    Admission,
    /// Velero's modifiers, where the cluster has no such policies.
    Modifiers,
}

/// The Restore: the given namespaces, each `(source, sandbox)`, without what is excluded.
pub fn restore(
    test: &ValidTest,
    owner: &Owner,
    point: &Point,
    sandboxes: &[(String, String)],
    excluded_resources: Vec<String>,
) -> Restore {
    let timeout = test.spec.restore.timeout.to_string();
    let spec = RestoreSpec {
        backup_name: point.name.clone(),
        included_namespaces: sandboxes.iter().map(|(source, _)| source.clone()).collect(),
        namespace_mapping: sandboxes.iter().cloned().collect(),
        excluded_resources,
        label_selector: Some(selector(&test.spec.backup_source.label_selector)),
        // Said aloud: without it new claims would be bound to the source's own disks.
        restore_pvs: Some(true),
        item_operation_timeout: Some(timeout.clone()),
        resource_modifier: Some(ModifierRef::config_map(&owner.provider_name())),
        ..RestoreSpec::default()
    };
    let mut restore = Restore::new(provider_namespace(test), &owner.provider_name(), spec);
    restore.metadata.labels = Some(owner.labels());
    restore.metadata.annotations = Some(BTreeMap::from([(annotation::POD_VOLUME_TIMEOUT.to_owned(), timeout)]));
    restore
}

fn provider_namespace(test: &ValidTest) -> &str {
    &test.spec.backup_source.provider_namespace
}

/// No pods of Jobs, and of the rest what the test selects.
fn selector(labels: &BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: (!labels.is_empty()).then(|| labels.clone()),
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: JOB_NAME.to_owned(),
            operator: "DoesNotExist".to_owned(),
            values: None,
        }]),
    }
}

/// The modifiers of the run's Restore. Velero reads them when the Restore leaves its queue, so they must live until then.
pub fn modifiers(test: &ValidTest, owner: &Owner, neutraliser: Neutraliser) -> ConfigMap {
    let mut all = Rules::default();
    all.always();
    all.storage_classes(&test.spec.restore.storage_class_mapping);
    if neutraliser == Neutraliser::Modifiers {
        all.instead_of_admission();
    }
    config_map(owner, provider_namespace(test), &all)
}

fn config_map(owner: &Owner, provider_namespace: &str, rules: &Rules) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(owner.provider_name()),
            namespace: Some(provider_namespace.to_owned()),
            labels: Some(owner.labels()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(RULES_KEY.to_owned(), rules.text())])),
        ..ConfigMap::default()
    }
}

/// Modifiers that the fence must refuse: they would make any object of any other.
pub fn foreign_modifiers(provider_namespace: &str) -> ConfigMap {
    let mut all = Rules::default();
    all.always();
    all.merge("**", &json!({ "kind": "ConfigMap" }));
    let owner = Owner {
        run_id: "trying".to_owned(),
        ..Owner::default()
    };
    config_map(&owner, provider_namespace, &all)
}

/// First and last line of the text of all rules.
const HEAD: &str = r#"{"version":"v1","resourceModifierRules":["#;
const TAIL: &str = "]}";

/// Rules in the making. They name no namespaces: a Restore of a run includes none but its own.
#[derive(Default)]
struct Rules {
    rules: Vec<Value>,
}

impl Rules {
    /// JSON, which is YAML too, with one rule a line: the admission policy kymaros-fence-provider-configmaps knows every line that may
    /// be there, and refuses the text otherwise.
    fn text(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(Value::to_string).collect();
        format!("{HEAD}\n{}\n{TAIL}", rules.join(",\n"))
    }

    /// A merge patch on every object of a resource. It may set to nothing what is not there.
    fn merge(&mut self, resource: &str, patch: &Value) {
        self.merge_if(resource, None, patch);
    }

    /// The same where the text at a path has this value.
    fn merge_if(&mut self, resource: &str, condition: Option<(&str, &str)>, patch: &Value) {
        let patches = json!([{ "patchData": patch.to_string() }]);
        let conditions = conditions(resource, condition);
        self.rules
            .push(json!({ "conditions": conditions, "mergePatches": patches }));
    }

    fn always(&mut self) {
        // `**` is every kind; fewer stars would leave out those with dots in their group.
        let metadata = json!({
            "finalizers": null,
            "annotations": nulls(&TRACKING_ANNOTATIONS),
            "labels": nulls(&TRACKING_LABELS),
        });
        self.merge("**", &json!({ "metadata": metadata }));
        self.merge("pods", &json!({ "metadata": { "annotations": nulls(&HOOKS) } }));
    }

    fn storage_classes(&mut self, mapping: &BTreeMap<String, String>) {
        for (from, to) in mapping {
            let patch = json!({ "spec": { "storageClassName": to } });
            self.merge_if("persistentvolumeclaims", Some(("/spec/storageClassName", from)), &patch);
        }
    }

    fn instead_of_admission(&mut self) {
        for exposed in ["LoadBalancer", "NodePort"] {
            let patch = json!({ "spec": { "type": "ClusterIP" } });
            self.merge_if("services", Some(("/spec/type", exposed)), &patch);
        }
        self.merge("services", &json!({ "spec": nulls(&EXPOSURE) }));
        self.node_ports();
        self.merge("cronjobs.batch", &json!({ "spec": { "suspend": true } }));
        let inert = json!({ "metadata": { "annotations": null }, "spec": { "ingressClassName": INERT_INGRESS_CLASS } });
        self.merge("ingresses.networking.k8s.io", &inert);
        let closed = json!({ "spec": { "ingress": [], "egress": [], "policyTypes": ["Ingress", "Egress"] } });
        self.merge("networkpolicies.networking.k8s.io", &closed);
        let identity = json!({
            "annotations": nulls(&IDENTITY_ANNOTATIONS),
            "labels": { "azure.workload.identity/use": null },
        });
        self.merge("serviceaccounts", &json!({ "metadata": identity }));
        // The number and the policy follow from the class; left in, they would contradict it.
        let drill = json!({ "priorityClassName": PRIORITY_CLASS, "priority": null, "preemptionPolicy": null });
        let cloud = json!({ "annotations": nulls(&POD_IDENTITY_ANNOTATIONS) });
        self.merge("pods", &json!({ "metadata": cloud, "spec": drill }));
        for resource in TEMPLATED {
            self.merge(
                resource,
                &json!({ "spec": { "template": { "metadata": cloud, "spec": drill } } }),
            );
        }
    }

    /// Node ports that the source fixed; in the same cluster they are taken. The condition is one level below the port, for
    /// on a port that is not there Velero reports an error.
    fn node_ports(&mut self) {
        for index in 0..SERVICE_PORTS {
            for protocol in ["TCP", "UDP", "SCTP"] {
                let path = format!("/spec/ports/{index}/protocol");
                let conditions = conditions("services", Some((&path, protocol)));
                let port = format!("/spec/ports/{index}/nodePort");
                let patches = json!([{ "operation": "add", "path": port, "value": "0" }]);
                self.rules.push(json!({ "conditions": conditions, "patches": patches }));
            }
        }
    }
}

/// On which objects a rule acts.
fn conditions(resource: &str, matches: Option<(&str, &str)>) -> Value {
    let mut conditions = json!({ "groupResource": resource });
    if let Some((path, value)) = matches {
        // In quotes of its own, or Velero takes a name such as `1` or `inf` for a number.
        conditions["matches"] = json!([{ "path": path, "value": format!("\"{value}\"") }]);
    }
    conditions
}

/// An object that removes these keys in a merge patch.
fn nulls(keys: &[&str]) -> Value {
    keys.iter().map(|key| ((*key).to_owned(), Value::Null)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::{Duration, RestoreTest};
    use crate::plan::fixtures::{self, namespaces, plain_test};

    fn owner() -> Owner {
        Owner {
            test: "nightly".into(),
            test_uid: "0c6f".into(),
            run_id: "x7k2p9".into(),
        }
    }

    fn point() -> Point {
        fixtures::point("1970-01-01T00:00:00Z")
    }

    fn two(test: &mut RestoreTest) {
        test.spec.backup_source.namespaces = namespaces(&["shop", "db"]);
    }

    #[test]
    fn the_restore_is_total_injective_and_bounded() {
        let test = plain_test(|test| {
            two(test);
            test.spec.restore.timeout = Duration::from_mins(90);
            test.spec.backup_source.provider_namespace = "openshift-adp".into();
            test.spec.backup_source.label_selector = [("app".to_owned(), "web".to_owned())].into();
        });
        let sandboxes = test.sandbox_names("x7k2p9");
        let restore = restore(&test, &owner(), &point(), &sandboxes, vec!["jobs.batch".into()]);
        assert_eq!(
            serde_json::to_value(&restore).unwrap(),
            json!({
                "apiVersion": "velero.io/v1",
                "kind": "Restore",
                "metadata": {
                    "name": "kymaros-x7k2p9",
                    "namespace": "openshift-adp",
                    "labels": {
                        "kymaros.io/managed-by": "kymaros",
                        "kymaros.io/test": "nightly",
                        "kymaros.io/test-uid": "0c6f",
                        "kymaros.io/run": "x7k2p9",
                    },
                    "annotations": { "velero.io/pod-volume-timeout": "1h30m0s" },
                },
                "spec": {
                    "backupName": "daily-1",
                    "includedNamespaces": ["shop", "db"],
                    "namespaceMapping": {
                        "shop": "rp-test-nightly-shop-kymaros-x7k2p9",
                        "db": "rp-test-nightly-db-kymaros-x7k2p9",
                    },
                    "excludedResources": ["jobs.batch"],
                    "labelSelector": {
                        "matchLabels": { "app": "web" },
                        "matchExpressions": [{ "key": "batch.kubernetes.io/job-name", "operator": "DoesNotExist" }],
                    },
                    "restorePVs": true,
                    "itemOperationTimeout": "1h30m0s",
                    "resourceModifier": { "kind": "ConfigMap", "name": "kymaros-x7k2p9" },
                },
            })
        );
    }

    #[test]
    fn without_labels_only_the_pods_of_jobs_are_selected_away() {
        let restore = restore(&plain_test(|_| {}), &owner(), &point(), &[], Vec::new());
        let selector = serde_json::to_value(restore.spec.label_selector).unwrap();
        let job_pods = json!([{ "key": "batch.kubernetes.io/job-name", "operator": "DoesNotExist" }]);
        assert_eq!(selector, json!({ "matchExpressions": job_pods }));
    }

    /// The rules, after all that Velero's own validation asks of them.
    fn rules(test: &ValidTest, neutraliser: Neutraliser) -> Vec<Value> {
        let map = modifiers(test, &owner(), neutraliser);
        assert_eq!(map.metadata.name.as_deref(), Some("kymaros-x7k2p9"));
        assert_eq!(map.metadata.namespace.as_deref(), Some("velero"));
        assert_eq!(map.metadata.labels, Some(owner().labels()));
        let data = map.data.unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["rules.yaml"], "exactly one key");
        assert!(map.binary_data.is_none());
        let mut read: Value = serde_json::from_str(&data["rules.yaml"]).unwrap();
        // What Velero reads is YAML.
        assert_eq!(serde_saphyr::from_str::<Value>(&data["rules.yaml"]).unwrap(), read);
        assert_eq!(read["version"], "v1");
        let rules: Vec<Value> = serde_json::from_value(read["resourceModifierRules"].take()).unwrap();
        for rule in &rules {
            check_rule(rule);
        }
        rules
    }

    fn check_rule(rule: &Value) {
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<String>>()
        };
        let conditions = &rule["conditions"];
        assert!(
            keys(conditions).is_subset(&set(&["groupResource", "matches"])),
            "{rule}"
        );
        assert!(conditions["groupResource"].is_string());
        for condition in conditions["matches"].as_array().into_iter().flatten() {
            assert_eq!(keys(condition), set(&["path", "value"]));
            let last = condition["path"].as_str().unwrap().rsplit('/').next().unwrap();
            assert!(last.parse::<usize>().is_err(), "an index itself: {rule}");
            let value = condition["value"].as_str().unwrap();
            assert!(
                value.len() > 2 && value.starts_with('"') && value.ends_with('"'),
                "{rule}"
            );
        }
        if keys(rule) == set(&["conditions", "mergePatches"]) {
            let patches = rule["mergePatches"].as_array().unwrap();
            assert_eq!(patches.len(), 1);
            assert_eq!(keys(&patches[0]), set(&["patchData"]));
            let patch: Value = serde_json::from_str(patches[0]["patchData"].as_str().unwrap()).unwrap();
            assert!(patch.is_object());
        } else {
            assert_eq!(keys(rule), set(&["conditions", "patches"]));
            for patch in rule["patches"].as_array().unwrap() {
                assert_eq!(keys(patch), set(&["operation", "path", "value"]));
            }
        }
    }

    /// The merge patches on a resource, in order, all into one.
    fn patch(rules: &[Value], resource: &str) -> Value {
        fn merge(into: &mut Value, from: Value) {
            match (into, from) {
                (Value::Object(into), Value::Object(from)) => {
                    for (key, value) in from {
                        merge(into.entry(key).or_insert(Value::Null), value);
                    }
                }
                (into, from) => *into = from,
            }
        }
        let mut all = json!({});
        for rule in rules
            .iter()
            .filter(|rule| rule["conditions"]["groupResource"] == resource)
        {
            if let Some(text) = rule["mergePatches"][0]["patchData"].as_str() {
                merge(&mut all, serde_json::from_str(text).unwrap());
            }
        }
        all
    }

    #[test]
    fn hooks_finalizers_and_tracking_are_always_stripped() {
        let rules = rules(&plain_test(two), Neutraliser::Admission);
        assert_eq!(rules.len(), 2);
        let hooks = patch(&rules, "pods")["metadata"]["annotations"].clone();
        for part in [
            "container",
            "command",
            "on-error",
            "exec-timeout",
            "wait-timeout",
            "wait-for-ready",
        ] {
            assert_eq!(
                hooks.get(format!("post.hook.restore.velero.io/{part}")),
                Some(&Value::Null),
                "{part}"
            );
        }
        let all = patch(&rules, "**");
        assert_eq!(all["metadata"].get("finalizers"), Some(&Value::Null));
        assert!(
            all["metadata"]["labels"]
                .as_object()
                .unwrap()
                .contains_key("argocd.argoproj.io/instance")
        );
        assert!(
            all["metadata"]["annotations"]
                .as_object()
                .unwrap()
                .contains_key("argocd.argoproj.io/tracking-id")
        );
    }

    #[test]
    fn storage_classes_are_mapped_one_by_one() {
        let test = plain_test(|test| {
            let mapping = [("fast", "standard"), ("1", "inf")];
            let mapping = mapping.map(|(from, to)| (from.to_owned(), to.to_owned()));
            test.spec.restore.storage_class_mapping = mapping.into();
        });
        let rules = rules(&test, Neutraliser::Admission);
        let claims = |rule: &&Value| rule["conditions"]["groupResource"] == "persistentvolumeclaims";
        let mapped: Vec<(&Value, &Value)> = rules
            .iter()
            .filter(claims)
            .map(|rule| (&rule["conditions"]["matches"], &rule["mergePatches"][0]["patchData"]))
            .collect();
        let from = |class: &str| json!([{ "path": "/spec/storageClassName", "value": format!("\"{class}\"") }]);
        let to = |class: &str| json!(format!(r#"{{"spec":{{"storageClassName":"{class}"}}}}"#));
        assert_eq!(mapped, [(&from("1"), &to("inf")), (&from("fast"), &to("standard"))]);
    }

    #[test]
    fn where_admission_cannot_change_objects_the_rules_do() {
        let rules = rules(&plain_test(two), Neutraliser::Modifiers);
        let service = patch(&rules, "services");
        assert_eq!(service["spec"]["type"], "ClusterIP");
        assert_eq!(service["spec"].get("externalIPs"), Some(&Value::Null));
        assert_eq!(patch(&rules, "cronjobs.batch"), json!({ "spec": { "suspend": true } }));
        let ingress = patch(&rules, "ingresses.networking.k8s.io");
        assert_eq!(
            ingress,
            json!({ "metadata": { "annotations": null }, "spec": { "ingressClassName": "kymaros-none" } })
        );
        let policy = patch(&rules, "networkpolicies.networking.k8s.io");
        assert_eq!(policy["spec"]["egress"], json!([]));
        assert_eq!(patch(&rules, "pods")["spec"]["priorityClassName"], "kymaros-drill");
        assert_eq!(
            patch(&rules, "deployments.apps")["spec"]["template"]["spec"]["priorityClassName"],
            "kymaros-drill"
        );
        assert!(
            patch(&rules, "serviceaccounts")["metadata"]["annotations"]
                .as_object()
                .unwrap()
                .len()
                == 4
        );
        // Services that are not exposed keep their type.
        let types = |rule: &&Value| {
            rule["mergePatches"][0]["patchData"]
                .as_str()
                .is_some_and(|text| text.contains("\"type\""))
        };
        for rule in rules.iter().filter(types) {
            assert_eq!(rule["conditions"]["matches"][0]["path"], "/spec/type");
        }
        let ports: BTreeSet<&str> = rules
            .iter()
            .filter_map(|rule| rule["patches"][0]["path"].as_str())
            .collect();
        assert_eq!(ports.len(), 32);
        assert!(ports.contains("/spec/ports/0/nodePort") && ports.contains("/spec/ports/31/nodePort"));
    }

    /// The admission policy that reads the text knows every rule, and no rule that is not made.
    #[test]
    fn the_fence_knows_every_rule_by_heart() {
        let policy = include_str!("../../manifests/fence/provider-configmaps.yaml");
        let known: BTreeSet<&str> = policy
            .lines()
            .filter_map(|line| line.trim().strip_prefix("r'")?.split_once('\''))
            .map(|(rule, _)| rule)
            .collect();
        let test = plain_test(|_| {});
        let mut made = BTreeSet::new();
        for neutraliser in [Neutraliser::Admission, Neutraliser::Modifiers] {
            for rule in rules(&test, neutraliser) {
                if rule.get("patches").is_none() {
                    made.insert(rule.to_string());
                }
            }
        }
        let made_here: BTreeSet<&str> = made.iter().map(String::as_str).collect();
        let unknown: Vec<&&str> = made_here.difference(&known).collect();
        let idle: Vec<&&str> = known.difference(&made_here).collect();
        assert!(
            unknown.is_empty() && idle.is_empty(),
            "rules that the policy does not know: {unknown:#?}\nrules that nobody makes: {idle:#?}"
        );
        for line in [HEAD, TAIL] {
            assert!(policy.contains(&format!("'{line}'")), "{line}");
        }
    }
}
