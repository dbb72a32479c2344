//! What is left out of a Restore, and what has to come back.

use std::collections::BTreeSet;

use super::fixtures::{contents, namespaces, plain_test};
use super::{Served, ValidTest, excluded_resources, expectation};
use crate::api::RestoreTest;
use crate::facts::KindFacts;
use crate::velero::Contents;

/// A cluster that serves the usual kinds and two custom ones.
fn served() -> Served {
    let mut served = Served::default();
    for (group, kind, plural) in [
        ("", "ConfigMap", "configmaps"),
        ("", "Endpoints", "endpoints"),
        ("", "LimitRange", "limitranges"),
        ("", "PersistentVolumeClaim", "persistentvolumeclaims"),
        ("", "Pod", "pods"),
        ("", "ResourceQuota", "resourcequotas"),
        ("", "Secret", "secrets"),
        ("", "Service", "services"),
        ("", "ServiceAccount", "serviceaccounts"),
        ("apps", "Deployment", "deployments"),
        ("apps", "ReplicaSet", "replicasets"),
        ("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        ("batch", "CronJob", "cronjobs"),
        ("batch", "Job", "jobs"),
        ("coordination.k8s.io", "Lease", "leases"),
        ("discovery.k8s.io", "EndpointSlice", "endpointslices"),
        ("example.com", "Widget", "widgets"),
        ("monitoring.coreos.com", "PrometheusRule", "prometheusrules"),
        ("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
        ("snapshot.storage.k8s.io", "VolumeSnapshot", "volumesnapshots"),
    ] {
        served.add(group, kind, plural);
    }
    served
}

/// What every Restore leaves out of that cluster's kinds.
const ALWAYS: [&str; 9] = [
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "horizontalpodautoscalers.autoscaling",
    "jobs.batch",
    "leases.coordination.k8s.io",
    "limitranges",
    "poddisruptionbudgets.policy",
    "priorityclasses.scheduling.k8s.io",
    "resourcequotas",
];

/// The names left out besides.
fn excluded(change: impl FnOnce(&mut RestoreTest), contents: &Contents) -> Vec<String> {
    let excluded = excluded_resources(&plain_test(change), &served(), contents);
    assert!(excluded.is_sorted());
    let set: BTreeSet<String> = excluded.iter().cloned().collect();
    assert_eq!(set.len(), excluded.len(), "twice in {excluded:?}");
    assert!(ALWAYS.iter().all(|name| set.contains(*name)), "{excluded:?}");
    excluded
        .into_iter()
        .filter(|name| !ALWAYS.contains(&name.as_str()))
        .collect()
}

#[test]
fn held_kinds_are_left_out_of_every_restore() {
    assert_eq!(excluded(|_| {}, &Contents::default()), Vec::<String>::new());
    // A kind that the cluster does not serve is not named.
    let none = excluded_resources(&plain_test(|_| {}), &Served::default(), &Contents::default());
    assert_eq!(none, ["priorityclasses.scheduling.k8s.io"]);
}

#[test]
fn custom_kinds_are_left_out_unless_let_in() {
    let list = contents(&[
        ("apps/v1/Deployment", &["shop/web"]),
        ("example.com/v1/Widget", &["shop/w"]),
        ("monitoring.coreos.com/v1/PrometheusRule", &["shop/alerts"]),
        // Velero's own, without which snapshots cannot be restored.
        ("snapshot.storage.k8s.io/v1/VolumeSnapshot", &["shop/velero-data-x"]),
    ]);
    let both = ["prometheusrules.monitoring.coreos.com", "widgets.example.com"];
    assert_eq!(excluded(|_| {}, &list), both);
    let let_in = |entry: &str| {
        let entries = vec![entry.to_owned()];
        excluded(|test| test.spec.restore.custom_resources = entries, &list)
    };
    for entry in ["example.com", "Widget.example.com", "*"] {
        assert_eq!(let_in(entry), ["prometheusrules.monitoring.coreos.com"], "{entry}");
    }
    assert_eq!(let_in("monitoring.coreos.com"), both);
}

#[test]
fn a_kind_whose_definition_is_gone_is_left_out_even_if_let_in() {
    let mut list = contents(&[("gone.org/v1/Proxy", &["shop/p"])]);
    list.definitions = ["proxies.gone.org", "proxenies.gone.org", "widgets.example.com"]
        .map(str::to_owned)
        .into();
    let names = [
        "proxenies.gone.org",
        "proxies.gone.org",
        "proxy.gone.org",
        "proxyes.gone.org",
        "proxys.gone.org",
    ];
    assert_eq!(excluded(|_| {}, &list), names);
    assert_eq!(
        excluded(|test| test.spec.restore.custom_resources = vec!["*".into()], &list),
        names
    );
}

#[test]
fn the_specs_exclusions_are_resolved_and_kept_if_unknown() {
    let named = |test: &mut RestoreTest| {
        let names = ["cm", "deployments", "widget", "unknown.example.org", "endpoints"];
        test.spec.restore.excluded_resources = names.map(str::to_owned).to_vec();
    };
    let expected = [
        "configmaps",
        "deployments.apps",
        "unknown.example.org",
        "widgets.example.com",
    ];
    assert_eq!(excluded(named, &Contents::default()), expected);
}

fn expected_of(test: &ValidTest, list: &Contents) -> Vec<KindFacts> {
    expectation(test, &served(), list)
}

/// One line per kind: what is expected, `-` what is not tested, `!` what is held.
fn lines(kinds: &[KindFacts]) -> Vec<String> {
    let line = |kind: &KindFacts| {
        assert!(kind.present.is_none() && kind.vanished.is_empty() && kind.created.is_empty());
        let expected = kind.expected.iter().cloned();
        let not_tested = kind
            .not_tested
            .iter()
            .map(|one| format!("-{} ({})", one.name, one.reason));
        let held = kind.held.iter().map(|one| format!("!{} ({})", one.name, one.rule));
        let objects: Vec<String> = expected.chain(not_tested).chain(held).collect();
        format!("{}/{}: {}", kind.source, kind.kind, objects.join(" "))
    };
    kinds.iter().map(line).collect()
}

#[test]
fn every_object_is_expected_unless_a_rule_says_otherwise() {
    let list = contents(&[
        (
            "v1/ConfigMap",
            &[
                "shop/kube-root-ca.crt",
                "shop/settings",
                "db/kube-root-ca.crt",
                "other/x",
            ],
        ),
        ("v1/Secret", &["shop/app-token-abcde", "shop/password"]),
        ("v1/ServiceAccount", &["shop/app", "shop/default"]),
        ("v1/PersistentVolumeClaim", &["db/data-db-0"]),
        ("v1/Pod", &["shop/web-abc", "db/db-0"]),
        ("apps/v1/ReplicaSet", &["shop/web-5d8f7c9b4d", "shop/alone"]),
        ("apps/v1/Deployment", &["shop/web"]),
        ("batch/v1/Job", &["shop/migrate", "shop/seed"]),
        ("batch/v1/CronJob", &["shop/cleanup"]),
        ("autoscaling/v2/HorizontalPodAutoscaler", &["shop/web"]),
        ("example.com/v1/Widget", &["shop/w"]),
        ("snapshot.storage.k8s.io/v1/VolumeSnapshot", &["db/velero-data-x"]),
    ]);
    let test = plain_test(|test| test.spec.backup_source.namespaces = namespaces(&["shop", "db", "empty"]));
    let kinds = expected_of(&test, &list);
    assert_eq!(
        lines(&kinds),
        [
            "shop/ConfigMap: settings",
            "shop/Secret: password",
            "shop/ServiceAccount: app",
            "shop/Deployment: web",
            "shop/ReplicaSet: alone",
            "shop/HorizontalPodAutoscaler: !web (autoscaler)",
            "shop/CronJob: cleanup",
            "shop/Job: !migrate (job) !seed (job)",
            "shop/Widget: !w (custom resource)",
            "db/PersistentVolumeClaim: data-db-0",
            "db/VolumeSnapshot: -velero-data-x (the provider's own snapshot, restored under another name)",
        ]
    );
    let of = |kind: &str| kinds.iter().find(|facts| facts.kind == kind).unwrap();
    assert_eq!(
        (of("Deployment").group.as_str(), of("Deployment").resource.as_str()),
        ("apps", "deployments.apps")
    );
    assert_eq!(of("ConfigMap").resource, "configmaps");
    assert!(of("Widget").custom && of("VolumeSnapshot").custom && !of("CronJob").custom);
    assert!(kinds.iter().all(|facts| facts.unlisted.is_none()));
}

#[test]
fn the_same_object_in_two_versions_is_one() {
    let list = contents(&[
        ("apps/v1/Deployment", &["shop/web"]),
        ("apps/v1beta1/Deployment", &["shop/old", "shop/web"]),
    ]);
    assert_eq!(
        lines(&expected_of(&plain_test(|_| {}), &list)),
        ["shop/Deployment: old web"]
    );
}

#[test]
fn what_the_spec_ignores_is_not_tested() {
    let list = contents(&[
        (
            "v1/ConfigMap",
            &["shop/kube-root-ca.crt", "shop/cache-1", "shop/settings"],
        ),
        ("v1/PersistentVolumeClaim", &["shop/cache-1", "shop/data"]),
        ("batch/v1/Job", &["shop/cache-1"]),
    ]);
    let test = plain_test(|test| {
        test.spec.completeness.ignore = vec!["*/cache-*".into(), "PersistentVolumeClaim/d?ta".into()];
    });
    assert_eq!(
        lines(&expected_of(&test, &list)),
        [
            "shop/ConfigMap: settings -cache-1 (spec.completeness.ignore)",
            "shop/PersistentVolumeClaim: -cache-1 (spec.completeness.ignore) -data (spec.completeness.ignore)",
            "shop/Job: !cache-1 (job)",
        ]
    );
}

#[test]
fn what_the_spec_excludes_is_held() {
    let list = contents(&[
        ("v1/ConfigMap", &["shop/settings"]),
        ("example.com/v1/Widget", &["shop/w"]),
        ("gone.org/v1/Gear", &["shop/g"]),
        ("v1/Pod", &["shop/web-abc"]),
    ]);
    let test = plain_test(|test| {
        test.spec.restore.custom_resources = vec!["*".into()];
        let names = ["cm", "widgets.example.com", "gears.gone.org", "pods"];
        test.spec.restore.excluded_resources = names.map(str::to_owned).to_vec();
    });
    let held = "spec.restore.excludedResources";
    assert_eq!(
        lines(&expected_of(&test, &list)),
        [
            format!("shop/ConfigMap: !settings ({held})"),
            format!("shop/Pod: !web-abc ({held})"),
            format!("shop/Widget: !w ({held})"),
            format!("shop/Gear: !g ({held})"),
        ]
    );
}

#[test]
fn what_the_cluster_does_not_serve_is_missed_and_why_is_said() {
    let list = contents(&[
        ("gone.org/v1/Gear", &["shop/g"]),
        ("extensions/v1beta1/Ingress", &["shop/web"]),
    ]);
    let let_in = plain_test(|test| test.spec.restore.custom_resources = vec!["gone.org".into()]);
    let kinds = expected_of(&let_in, &list);
    assert_eq!(lines(&kinds), ["shop/Ingress: web", "shop/Gear: g"]);
    let why: Vec<_> = kinds
        .iter()
        .map(|kind| kind.unlisted.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(
        why,
        [
            "this cluster does not serve Ingress.extensions",
            "this cluster does not serve Gear.gone.org"
        ]
    );
    assert!(kinds.iter().all(|kind| kind.resource.is_empty()));
    // Held ones are not looked for, so there is nothing to explain.
    let kinds = expected_of(&plain_test(|_| {}), &list);
    assert_eq!(lines(&kinds), ["shop/Ingress: web", "shop/Gear: !g (custom resource)"]);
    assert_eq!(kinds[1].unlisted, None);
}
