use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::fake::{Reply, cluster};
use crate::cluster::{Canceller, ProviderError, Velero};

fn request(status: &Value) -> Value {
    json!({"apiVersion": "velero.io/v1", "kind": "ServerStatusRequest",
           "metadata": {"name": "kymaros-abc123-alive-0", "namespace": "velero", "uid": "u", "resourceVersion": "1"},
           "spec": {}, "status": status})
}

#[tokio::test(start_paused = true)]
async fn a_live_server_answers() {
    let (cluster, log) = cluster(|asked| match asked.method.as_str() {
        "POST" => {
            assert_eq!(asked.body["metadata"]["name"], json!("kymaros-abc123-alive-0"));
            assert_eq!(
                asked.body["metadata"]["labels"]["kymaros.io/managed-by"],
                json!("kymaros")
            );
            Reply::json(&request(&json!({})))
        }
        "GET" if !asked.is_watch() => Reply::list(&[request(&json!({}))]),
        "GET" => Reply::events(&[("MODIFIED", request(&json!({"phase": "Processed", "serverVersion": ""})))]),
        _ => Reply::json(&request(&json!({}))),
    });
    assert_eq!(Velero::new(&cluster, "velero", "abc123").alive().await.unwrap(), None);
    let log = log.lock().unwrap();
    assert!(log.last().unwrap().starts_with("DELETE "), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_found_out_in_seconds_and_nothing_is_left() {
    let (cluster, log) = cluster(|asked| match asked.method.as_str() {
        "GET" if asked.is_watch() => Reply::quiet(),
        "GET" => Reply::list(&[request(&json!({}))]),
        _ => Reply::json(&request(&json!({}))),
    });
    let start = Instant::now();
    let error = Velero::new(&cluster, "velero", "abc123").alive().await.unwrap_err();
    assert!(matches!(error, ProviderError::Silent { .. }), "{error}");
    // Once for those that the installation names, once for all others.
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    let log = log.lock().unwrap();
    assert!(log.last().unwrap().starts_with("DELETE "));
    assert_eq!(log.iter().filter(|line| line.starts_with("DELETE ")).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_only_answers_what_anybody_may_is_not_listed() {
    let (cluster, log) = cluster(|asked| {
        let answered = asked.path.contains("kymaros-unlisted-abc123-alive-1");
        let status = if answered {
            json!({"phase": "Processed"})
        } else {
            json!({})
        };
        match asked.method.as_str() {
            "GET" if asked.is_watch() => Reply::quiet(),
            "GET" => Reply::list(&[request(&status)]),
            _ => Reply::json(&request(&json!({}))),
        }
    });
    let error = Velero::new(&cluster, "velero", "abc123").alive().await.unwrap_err();
    assert!(matches!(error, ProviderError::Unlisted(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("veleroServiceAccounts of ConfigMap kymaros-installation"),
        "{error}"
    );
    assert_eq!(
        log.lock()
            .unwrap()
            .iter()
            .filter(|line| line.starts_with("DELETE "))
            .count(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_for_a_while_is_not_taken_for_a_dead_provider() {
    let back = Instant::now() + Duration::from_secs(8);
    let (cluster, _) = cluster(move |asked| match asked.method.as_str() {
        "POST" => Reply::json(&request(&json!({}))),
        _ if Instant::now() < back => Reply::Refuse,
        "GET" if asked.is_watch() => Reply::quiet(),
        "GET" => Reply::list(&[request(&json!({"phase": "Processed", "serverVersion": "v1"}))]),
        _ => Reply::json(&request(&json!({}))),
    });
    let alive = Velero::new(&cluster, "velero", "abc123").alive().await.unwrap();
    assert_eq!(alive.as_deref(), Some("v1"));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_velero_says_so() {
    let (cluster, _) = cluster(|_| Reply::status(404, "NotFound", "the server could not find the requested resource"));
    let error = Velero::new(&cluster, "backups", "abc123").alive().await.unwrap_err();
    assert_eq!(error.to_string(), "Velero is not installed in namespace backups");
}

fn pod_volume(name: &str, phase: &str, cancel: bool) -> serde_json::Value {
    json!({"apiVersion": "velero.io/v1", "kind": "PodVolumeRestore",
           "metadata": {"name": name, "uid": name, "resourceVersion": "7", "labels": {"velero.io/restore-name": "kymaros-abc123"}},
           "spec": {"cancel": cancel}, "status": {"phase": phase, "progress": {"totalBytes": 9}}})
}

#[tokio::test(start_paused = true)]
async fn volumes_are_cancelled_when_they_hear_it_and_one_that_cannot_be_told_keeps_no_other_from_it() {
    let (cluster, log) = cluster(move |asked| match asked.method.as_str() {
        "PATCH" => {
            let expected = json!({"metadata": {"resourceVersion": "7"}, "spec": {"cancel": true}});
            assert_eq!(asked.body, expected);
            if asked.path.contains("/broken?") {
                return Reply::status(403, "Forbidden", "no");
            }
            if asked.path.contains("/changed?") {
                return Reply::status(409, "Conflict", "the object has been modified");
            }
            Reply::json(&pod_volume("x", "Canceling", true))
        }
        _ if asked.path.contains("datadownloads") => {
            Reply::status(404, "NotFound", "the server could not find the requested resource")
        }
        _ => {
            let label = "labelSelector=velero.io%2Frestore-name%3Dkymaros-abc123";
            assert!(asked.path.contains(label), "{}", asked.path);
            Reply::list(&[
                pod_volume("broken", "New", false),
                pod_volume("changed", "Prepared", false),
                pod_volume("done", "Completed", false),
                pod_volume("going", "InProgress", false),
                pod_volume("new", "", false),
                pod_volume("told", "Canceling", true),
            ])
        }
    });
    let canceller = Canceller::of_restore(&cluster, "velero", "kymaros-abc123");
    let pass = canceller.pass().await;
    assert_eq!(pass.cancelled, ["new"]);
    assert_eq!(pass.errors.len(), 1, "a conflict is looked at again: {:?}", pass.errors);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(canceller.pass().await.cancelled, ["going", "new"]);
    let patched = log
        .lock()
        .unwrap()
        .iter()
        .filter(|call| call.starts_with("PATCH"))
        .count();
    assert_eq!(patched, 7);
}

#[tokio::test(start_paused = true)]
async fn the_provider_is_busy_with_whatever_holds_a_slot() {
    let of = |name: &str, restore: &str, phase: &str| {
        let mut volume = pod_volume(name, phase, false);
        volume["metadata"]["labels"]["velero.io/restore-name"] = json!(restore);
        volume
    };
    let (cluster, _) = cluster(move |asked| {
        if asked.path.contains("datadownloads") {
            return Reply::list(&[of("moving", "gone", "InProgress")]);
        }
        Reply::list(&[
            of("own", "kymaros-abc123", "InProgress"),
            of("forgotten", "gone", ""),
            of("waiting", "real", ""),
            of("prepared", "gone", "Prepared"),
            of("over", "real", "Failed"),
        ])
    });
    let velero = Velero::new(&cluster, "velero", "abc123");
    let busy = velero.busy_volumes("kymaros-abc123").await.unwrap();
    let expected = [
        "PodVolumeRestore prepared (Prepared)",
        "DataDownload moving (InProgress)",
    ];
    assert_eq!(busy, expected);
}
