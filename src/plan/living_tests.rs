//! Which objects of the living namespace count against a backup.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::fixtures::{contents, from, plain_test};
use super::living::{COMPARED, Compared, Comparison, RIGHTS};
use super::rules::{self, Rule};
use super::{Point, Served};
use crate::api::RestoreTest;
use crate::velero::Contents;

const STARTED: &str = "2026-03-15T03:00:00Z";

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn point(asked_at: Option<&str>) -> Point {
    Point {
        name: "daily-1".into(),
        uid: None,
        started_at: time(STARTED),
        asked_at: asked_at.map(time),
        completed_at: None,
        expires_at: None,
        storage_location: "default".into(),
        phase: "Completed".into(),
        partial: None,
    }
}

fn served() -> Served {
    let mut served = Served::default();
    for (group, kind, plural) in COMPARED {
        served.add(group, kind, plural);
    }
    for (group, kind, plural) in [
        ("", "Secret", "secrets"),
        ("", "Event", "events"),
        ("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        ("batch", "Job", "jobs"),
        ("example.com", "Gear", "gears"),
        ("example.com", "Widget", "widgets"),
        ("argoproj.io", "Application", "applications"),
    ] {
        served.add(group, kind, plural);
    }
    served
}

fn backup() -> Contents {
    contents(&[
        ("v1/ConfigMap", &["shop/held", "other/elsewhere"]),
        ("apps/v1/Deployment", &["shop/web"]),
        ("example.com/v1/Widget", &["shop/w"]),
    ])
}

fn comparison(change: impl FnOnce(&mut RestoreTest)) -> Comparison {
    Comparison::new(&plain_test(change), &served(), &point(None), &Arc::new(backup()))
}

fn kinds(change: impl FnOnce(&mut RestoreTest)) -> Vec<String> {
    let comparison = comparison(change);
    comparison.kinds().iter().map(|(_, kind)| kind.clone()).collect()
}

/// Metadata of an object of last year, with this besides.
#[expect(clippy::needless_pass_by_value, reason = "the rows are shorter without")]
fn old(name: &str, besides: Value) -> ObjectMeta {
    let mut metadata = json!({"name": name, "creationTimestamp": "2025-01-01T00:00:00Z"});
    for (key, value) in besides.as_object().unwrap() {
        metadata[key] = value.clone();
    }
    from(metadata)
}

fn owner(kind: &str, controller: bool) -> Value {
    json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": controller}]})
}

#[test]
fn the_kinds_are_those_that_a_restore_brings_back_and_the_component_lets_list() {
    for (group, kind, _) in COMPARED {
        assert!(!rules::is_custom(group));
        let pod = (group, kind) == ("", "Pod");
        assert!(
            pod || rules::of_kind(group, kind, &[]) == Rule::Expected,
            "{kind}.{group}"
        );
        assert_ne!(kind, "Secret");
    }
    assert_eq!(COMPARED[0].1, "Deployment");
    let all: Vec<&str> = COMPARED.iter().map(|(_, kind, _)| *kind).collect();
    assert_eq!(kinds(|_| {}), all);
}

#[test]
fn kinds_that_the_spec_leaves_out_are_not_compared() {
    let some = kinds(|test| test.spec.restore.excluded_resources = vec!["deploy".into(), "configmaps".into()]);
    assert_eq!(some.len(), COMPARED.len() - 2);
    assert!(
        !some.iter().any(|kind| kind == "Deployment" || kind == "ConfigMap"),
        "{some:?}"
    );
}

#[test]
fn custom_kinds_are_compared_where_the_spec_names_them_or_the_backup_has_some() {
    let custom = |let_in: &[&str]| {
        let let_in = let_in.iter().map(|entry| (*entry).to_owned()).collect();
        kinds(|test| test.spec.restore.custom_resources = let_in).split_off(COMPARED.len())
    };
    assert_eq!(custom(&[]), [""; 0]);
    assert_eq!(custom(&["example.com"]), ["Gear", "Widget"]);
    assert_eq!(custom(&["Gear.example.com"]), ["Gear"]);
    assert_eq!(custom(&["*"]), ["Widget"]);
    assert_eq!(custom(&["*", "Gear.example.com"]), ["Gear", "Widget"]);
    assert_eq!(custom(&["argoproj.io"]), [""; 0]);
}

#[test]
fn an_object_counts_if_it_is_older_than_the_backup_and_nothing_makes_it_anew() {
    let comparison = comparison(|test| test.spec.completeness.ignore = vec!["ConfigMap/cache-*".into()]);
    let there = Compared::Absent("it was there when the backup was made, and the backup does not list it".into());
    let labelled = Compared::Absent("it is labelled velero.io/exclude-from-backup".into());
    let none = |kind: &str| Compared::Absent(format!("the backup holds no {kind} of this namespace"));
    let label = |value: &str| json!({"labels": {"velero.io/exclude-from-backup": value}});
    for (group, kind, metadata, expected) in [
        ("", "ConfigMap", old("first", json!({})), there.clone()),
        ("", "ConfigMap", old("held", json!({})), Compared::Fine),
        // In another namespace.
        ("", "ConfigMap", old("elsewhere", json!({})), there.clone()),
        ("", "ConfigMap", old("first", label("true")), labelled.clone()),
        ("", "ConfigMap", old("first", label("false")), there.clone()),
        ("", "ConfigMap", old("first", owner("Cluster", true)), Compared::Fine),
        ("", "ConfigMap", old("first", owner("Cluster", false)), there.clone()),
        (
            "",
            "ConfigMap",
            old("first", json!({"deletionTimestamp": STARTED})),
            Compared::Fine,
        ),
        ("", "ConfigMap", old("kube-root-ca.crt", json!({})), Compared::Fine),
        ("", "ServiceAccount", old("default", json!({})), Compared::Fine),
        (
            "",
            "ConfigMap",
            old("cache-1", label("true")),
            Compared::Ignored("it is labelled velero.io/exclude-from-backup".into()),
        ),
        ("", "Service", old("web", json!({})), none("Service")),
        ("apps", "Deployment", old("worker", label("true")), labelled.clone()),
        (
            "apps",
            "ReplicaSet",
            old("web-5d8f7c9b4d", owner("Deployment", true)),
            Compared::Fine,
        ),
        ("apps", "ReplicaSet", old("alone", json!({})), none("ReplicaSet")),
        (
            "",
            "Pod",
            old("web-5d8f7c9b4d-x7k2p", owner("ReplicaSet", true)),
            Compared::Fine,
        ),
        ("", "Pod", old("alone", json!({})), none("Pod")),
        // A controller would make the claim anew, but not what is in it.
        (
            "",
            "PersistentVolumeClaim",
            old("data-db-0", json!({})),
            none("PersistentVolumeClaim"),
        ),
        (
            "",
            "PersistentVolumeClaim",
            old("data-db-0", owner("StatefulSet", true)),
            none("PersistentVolumeClaim"),
        ),
        (
            "",
            "PersistentVolumeClaim",
            old("scratch", owner("Pod", true)),
            Compared::Fine,
        ),
        // What the drill itself has there.
        (
            "rbac.authorization.k8s.io",
            "Role",
            old(&format!("{RIGHTS}shop"), json!({})),
            Compared::Fine,
        ),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            old(&format!("{RIGHTS}shop"), json!({})),
            Compared::Fine,
        ),
        (
            "apps",
            "Deployment",
            old(&format!("{RIGHTS}shop"), json!({})),
            there.clone(),
        ),
    ] {
        assert_eq!(
            comparison.look("shop", group, kind, &metadata),
            expected,
            "{kind} {metadata:?}"
        );
    }
}

#[test]
fn what_was_made_when_the_backup_had_begun_does_not_count() {
    let of = |asked_at, created: &str| {
        let comparison = Comparison::new(&plain_test(|_| {}), &served(), &point(asked_at), &Arc::new(backup()));
        let metadata: ObjectMeta = from(json!({"name": "first", "creationTimestamp": created}));
        comparison.look("shop", "", "ConfigMap", &metadata) == Compared::Fine
    };
    assert!(!of(None, "2026-03-15T02:59:59Z"));
    assert!(of(None, STARTED), "it may have come after the list");
    assert!(of(None, "2026-03-15T03:00:01Z"));
    // The provider's clock is ahead: the API server made the Backup earlier than it says it began.
    assert!(of(Some("2026-03-15T02:59:50Z"), "2026-03-15T02:59:55Z"));
    assert!(!of(Some("2026-03-15T02:59:50Z"), "2026-03-15T02:59:49Z"));
    // A backup of another cluster, known here since later.
    assert!(!of(Some("2026-03-16T00:00:00Z"), "2026-03-15T02:59:59Z"));
    assert!(of(Some("2026-03-16T00:00:00Z"), "2026-03-15T12:00:00Z"));
}

#[test]
fn the_same_kind_in_two_versions_is_one() {
    let lists = contents(&[
        ("batch/v1beta1/CronJob", &["shop/old"]),
        ("batch/v1/CronJob", &["shop/new"]),
    ]);
    let comparison = Comparison::new(&plain_test(|_| {}), &served(), &point(None), &Arc::new(lists));
    for name in ["old", "new"] {
        assert_eq!(
            comparison.look("shop", "batch", "CronJob", &old(name, json!({}))),
            Compared::Fine
        );
    }
    assert_ne!(
        comparison.look("shop", "batch", "CronJob", &old("third", json!({}))),
        Compared::Fine
    );
}

#[test]
fn a_test_of_a_part_compares_that_part() {
    assert_eq!(comparison(|_| {}).labels(), "");
    let labels = [
        ("app".to_owned(), "web".to_owned()),
        ("tier".to_owned(), "front".to_owned()),
    ];
    let part = comparison(|test| test.spec.backup_source.label_selector = labels.into());
    assert_eq!(part.labels(), "app=web,tier=front");
}
