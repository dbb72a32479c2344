//! Every field of a pod that the lists in `assessed` call changed: what becomes of it when the provider restores it into a
//! sandbox.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::assessed::{Verdict, list};
use crate::pod_table::objects;
use crate::support::cases::{Expect, Outcome, Verb, case, failures, send, with};
use crate::support::scene::Scene;

/// Type and fields of the list, the change of a pod, where to look afterwards, and what is there.
const TABLE: &[(&str, &str, &str, &str)] = &[
    (
        "ObjectMeta annotations",
        r#"{"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "production", "note": "x"}}}"#,
        "/metadata/annotations",
        r#"{"note": "x"}"#,
    ),
    (
        "ObjectMeta finalizers",
        r#"{"metadata": {"finalizers": ["example.com/stay"]}}"#,
        "/metadata/finalizers",
        "",
    ),
    (
        "PodSpec priorityClassName",
        r#"{"spec": {"priorityClassName": "system-node-critical"}}"#,
        "/spec/priorityClassName",
        r#""kymaros-drill""#,
    ),
    (
        "PodSpec priority",
        r#"{"spec": {"priorityClassName": "system-node-critical"}}"#,
        "/spec/priority",
        "-10",
    ),
    (
        "PodSpec preemptionPolicy",
        r#"{"spec": {"preemptionPolicy": "PreemptLowerPriority"}}"#,
        "/spec/preemptionPolicy",
        r#""Never""#,
    ),
    (
        "PodSpec dnsPolicy",
        r#"{"spec": {"dnsPolicy": "Default"}}"#,
        "/spec/dnsPolicy",
        r#""None""#,
    ),
    (
        "PodDNSConfig nameservers",
        r#"{"spec": {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.1"]}}}"#,
        "/spec/dnsConfig/nameservers",
        r#"["10.96.0.99"]"#,
    ),
    (
        "PodAffinityTerm namespaces",
        r#"{"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {}, "topologyKey": "a"}, {"labelSelector": {}, "topologyKey": "b", "namespaces": ["shop", "blog"]}
        ]}}}}"#,
        "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution",
        r#"[{"labelSelector": {}, "topologyKey": "a"}, {"labelSelector": {}, "topologyKey": "b"}]"#,
    ),
    (
        "LabelSelector matchLabels",
        r#"{"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {}, "topologyKey": "a", "namespaces": ["shop"], "namespaceSelector": {"matchLabels": {"a": "b"}}},
            {"labelSelector": {}, "topologyKey": "b", "namespaceSelector": {}}
        ]}}}}"#,
        "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution",
        r#"[{"labelSelector": {}, "topologyKey": "a"}, {"labelSelector": {}, "topologyKey": "b"}]"#,
    ),
    (
        "LabelSelectorRequirement key",
        r#"{"spec": {"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100,
            "podAffinityTerm": {"labelSelector": {}, "topologyKey": "a", "namespaces": ["shop"],
                "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
        }]}}}}"#,
        "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm",
        r#"{"labelSelector": {}, "topologyKey": "a"}"#,
    ),
    (
        "ContainerPort hostPort",
        r#"{"spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}]}}"#,
        "/spec/containers/0/ports",
        r#"[{"containerPort": 80, "protocol": "TCP"}]"#,
    ),
    (
        "ContainerPort hostIP",
        r#"{"spec": {"initContainers": [{"name": "d", "image": "i", "restartPolicy": "Always",
            "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}]}]}}"#,
        "/spec/initContainers/0/ports",
        r#"[{"containerPort": 80, "protocol": "TCP"}]"#,
    ),
    (
        "Capabilities drop",
        r#"{"spec": {}}"#,
        "/spec/containers/0/securityContext/capabilities",
        r#"{"drop": ["NET_RAW"]}"#,
    ),
    (
        "Capabilities drop",
        r#"{"spec": {"initContainers": [{"name": "d", "image": "i", "securityContext": {"capabilities": {"drop": ["KILL"]}}}]}}"#,
        "/spec/initContainers/0/securityContext/capabilities",
        r#"{"drop": ["KILL", "NET_RAW"]}"#,
    ),
];

/// A list's line names several fields that one request shows.
const SHOWN_TOGETHER: &[(&str, &str)] = &[
    ("LabelSelectorRequirement", "operator"),
    ("LabelSelectorRequirement", "values"),
];

fn pod(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try", "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    })
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn what_the_list_calls_changed_is_changed() {
    let scene = Scene::open().await;
    let server = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": scene.sandbox, "annotations": {"kymaros.io/nameserver": "10.96.0.99"}},
    });
    let pointed = [case(
        "the name server's address",
        Verb::Change,
        server,
        Expect::Accepted,
    )];
    let mut failed = failures(&scene.runner, &pointed).await;
    for (field, change, pointer, wanted) in TABLE {
        let wanted = (!wanted.is_empty()).then(|| objects(wanted));
        let restored = with(&pod(&scene.sandbox), objects(change));
        let mut outcome = send(&scene.provider, Verb::Create, &restored).await;
        for _ in 0..50 {
            // Admission learns of the address a moment later.
            if matches!(&outcome, Outcome::Accepted(pod) if pod.pointer(pointer) == wanted.as_ref()) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            outcome = send(&scene.provider, Verb::Create, &restored).await;
        }
        match outcome {
            Outcome::Accepted(pod) if pod.pointer(pointer) == wanted.as_ref() => {}
            Outcome::Accepted(pod) => failed.push(format!(
                "{field}: {pointer} is {:?}, not {wanted:?}",
                pod.pointer(pointer)
            )),
            outcome => failed.push(format!("{field}: {outcome}")),
        }
    }
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_field_that_is_changed_is_shown() {
    let shown: BTreeSet<(&str, &str)> = TABLE
        .iter()
        .filter_map(|row| row.0.split_once(' '))
        .chain(SHOWN_TOGETHER.iter().copied())
        .collect();
    let mut missing = Vec::new();
    for ((section, field), verdict) in list("pod.txt").fields {
        if matches!(verdict, Verdict::Changed(_)) && !shown.contains(&(section.as_str(), field.as_str())) {
            missing.push(format!("{section} {field}"));
        }
    }
    assert!(missing.is_empty(), "not shown: {}", missing.join(", "));
}
