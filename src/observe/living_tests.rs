//! The comparison with the living namespace, against a scripted API server.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::living;
use crate::cluster::fake::{Asked, Log, Reply, cluster};
use crate::cluster::{Discovery, Served};
use crate::facts::{Gap, LivingFacts};
use crate::plan;
use crate::plan::fixtures::{contents, namespaces, plain_test, point};
use crate::plan::living::{COMPARED, Comparison};

/// The kinds of Kubernetes that are compared, and one of somebody else.
fn discovery() -> Discovery {
    let kinds = COMPARED.iter().copied().chain([("example.com", "Widget", "widgets")]);
    let served = kinds.map(|(group, kind, plural)| Served {
        resource: kube::core::ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: format!("{group}/v1").trim_start_matches('/').to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        },
        namespaced: true,
        verbs: vec!["list".to_owned()],
    });
    Discovery {
        kinds: served.collect(),
        stale: Vec::new(),
    }
}

/// A backup of three o'clock that holds the Deployment `web` of `shop`.
fn comparison(sources: &[&str], selector: &[(&str, &str)]) -> Comparison {
    let test = plain_test(|test| {
        test.spec.backup_source.namespaces = namespaces(sources);
        test.spec.restore.custom_resources = vec!["Widget.example.com".to_owned()];
        let labels = selector
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        test.spec.backup_source.label_selector = labels.collect();
    });
    let mut served = plan::Served::default();
    for kind in discovery().kinds {
        served.add(&kind.resource.group, &kind.resource.kind, &kind.resource.plural);
    }
    let point = point("2026-03-15T03:00:00Z");
    let backup = contents(&[("apps/v1/Deployment", &["shop/web"])]);
    Comparison::new(&test, &served, &point, &Arc::new(backup))
}

fn object(name: &str, created: &str) -> Value {
    json!({"metadata": {"name": name, "creationTimestamp": created}})
}

fn old(name: &str) -> Value {
    object(name, "2025-01-01T00:00:00Z")
}

fn list(items: &[Value], next: &str) -> Reply {
    Reply::json(
        &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "1", "continue": next}, "items": items}),
    )
}

fn forbidden() -> Reply {
    Reply::status(403, "Forbidden", "may not be listed")
}

/// What comes of it where the namespace `shop` is old and the rest is answered so.
async fn compare(
    comparison: &Comparison,
    mut answer: impl FnMut(&Asked) -> Reply + Send + 'static,
) -> (Vec<LivingFacts>, Log) {
    let (cluster, log) = cluster(move |asked| match asked.path.as_str() {
        "/api/v1/namespaces/shop" => Reply::json(&old("shop")),
        _ => answer(asked),
    });
    (living(&cluster, &discovery(), comparison).await, log)
}

fn names(facts: &LivingFacts) -> Vec<String> {
    let kinds = facts.absent.iter();
    kinds
        .flat_map(|absent| absent.names.iter().map(|name| format!("{}/{name}", absent.kind)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_kind_is_asked_for_once_in_pages_and_no_secret_ever() {
    let (facts, log) = compare(&comparison(&["shop"], &[]), |asked| match asked.path.as_str() {
        path if path.contains("/deployments") && path.contains("continue=next") => list(&[old("worker")], ""),
        path if path.contains("/deployments") => list(&[old("web")], "next"),
        path if path.contains("/configmaps") => list(&[old("first"), object("later", "2026-04-01T00:00:00Z")], ""),
        path if path.contains("/widgets") => list(&[old("w")], ""),
        _ => list(&[], ""),
    })
    .await;
    assert_eq!(facts.len(), 1);
    assert_eq!(names(&facts[0]), ["Deployment/worker", "ConfigMap/first", "Widget/w"]);
    assert_eq!((facts[0].gap.clone(), facts[0].unlisted.len()), (None, 0));
    let custom: Vec<bool> = facts[0].absent.iter().map(|absent| absent.custom).collect();
    assert_eq!(custom, [false, false, true]);
    let log = log.lock().unwrap();
    // The namespace, each kind, and one page more.
    assert_eq!(log.len(), 1 + COMPARED.len() + 1 + 1, "{log:#?}");
    assert!(log.iter().all(|call| !call.contains("secrets")), "{log:#?}");
    let pods = log.iter().find(|call| call.contains("/pods")).unwrap();
    assert!(
        pods.contains("fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed"),
        "{pods}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_the_right_the_runner_is_refused_once() {
    let (facts, log) = compare(&comparison(&["shop"], &[]), |_| forbidden()).await;
    assert_eq!(facts[0].gap, Some(Gap::NotPermitted));
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn kinds_that_may_not_be_listed_are_named_and_the_others_compared() {
    let (facts, _) = compare(&comparison(&["shop"], &[]), |asked| match asked.path.as_str() {
        path if path.contains("/widgets") || path.contains("/cronjobs") => forbidden(),
        path if path.contains("/configmaps") => list(&[old("first")], ""),
        // Its definition has just gone.
        path if path.contains("/resourceclaims") => Reply::status(404, "NotFound", "no such resource"),
        _ => list(&[], ""),
    })
    .await;
    assert_eq!(names(&facts[0]), ["ConfigMap/first"]);
    assert_eq!(facts[0].unlisted, ["cronjobs.batch", "widgets.example.com"]);
    assert_eq!(facts[0].gap, None);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_gone_going_or_younger_than_the_backup_is_nothing() {
    let sources = comparison(&["gone", "going", "young"], &[]);
    let (facts, log) = compare(&sources, |asked| match asked.path.as_str() {
        "/api/v1/namespaces/going" => {
            Reply::json(&json!({"metadata": {"name": "going", "creationTimestamp": "2025-01-01T00:00:00Z", "deletionTimestamp": "2026-04-01T00:00:00Z"}}))
        }
        "/api/v1/namespaces/young" => Reply::json(&object("young", "2026-04-01T00:00:00Z")),
        path => Reply::status(404, "NotFound", path),
    })
    .await;
    assert_eq!(facts, []);
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_told_of_and_what_was_found_stays() {
    for hangs in [false, true] {
        let (facts, _) = compare(&comparison(&["shop"], &[]), move |asked| match asked.path.as_str() {
            path if path.contains("/deployments") => list(&[old("worker")], ""),
            _ if hangs => Reply::Hang,
            _ => Reply::status(500, "InternalError", "etcd is away"),
        })
        .await;
        assert_eq!(names(&facts[0]), ["Deployment/worker"]);
        let Some(Gap::Failed(why)) = &facts[0].gap else {
            panic!("{facts:?}")
        };
        assert!(why.contains("list StatefulSet in shop"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_list_without_an_end() {
    let began = tokio::time::Instant::now();
    let (facts, _) = compare(&comparison(&["shop"], &[]), |asked| match asked.path.as_str() {
        path if path.contains("/deployments") => Reply::Later(
            Duration::from_secs(3),
            200,
            json!({"metadata": {"continue": "more"}, "items": []}).to_string(),
        ),
        _ => list(&[], ""),
    })
    .await;
    assert_eq!(facts[0].gap, Some(Gap::Failed("no end within 60 s".to_owned())));
    assert_eq!(began.elapsed(), Duration::from_mins(1));
}

#[tokio::test(start_paused = true)]
async fn a_test_of_a_part_asks_for_that_part() {
    let part = comparison(&["shop"], &[("app", "web")]);
    let (_, log) = compare(&part, |_| list(&[], "")).await;
    let log = log.lock().unwrap();
    assert!(
        log[1..].iter().all(|call| call.contains("labelSelector=app%3Dweb")),
        "{log:#?}"
    );
}
