use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::fake::{Reply, cluster};
use crate::cluster::{ProviderError, Velero};

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

#[tokio::test(start_paused = true)]
async fn only_volumes_that_are_still_written_are_cancelled() {
    let volume = |name: &str, phase: &str, cancel: bool| {
        json!({"apiVersion": "velero.io/v1", "kind": "PodVolumeRestore", "metadata": {"name": name, "uid": name},
               "spec": {"cancel": cancel}, "status": {"phase": phase}})
    };
    let (cluster, log) = cluster(move |asked| match asked.method.as_str() {
        "PATCH" => {
            assert_eq!(asked.body, json!({"spec": {"cancel": true}}));
            if asked.path.contains("/gone?") {
                return Reply::status(404, "NotFound", "not found");
            }
            Reply::json(&volume("x", "Canceling", true))
        }
        _ if asked.path.contains("datadownloads") => {
            Reply::status(404, "NotFound", "the server could not find the requested resource")
        }
        _ => {
            assert!(
                asked.path.contains("labelSelector=velero.io%2Frestore-uid%3Du-1"),
                "{}",
                asked.path
            );
            Reply::list(&[
                volume("done", "Completed", false),
                volume("going", "InProgress", false),
                volume("told", "Canceling", true),
                volume("gone", "", false),
            ])
        }
    });
    let velero = Velero::new(&cluster, "velero", "abc123");
    assert_eq!(velero.writing("u-1").await.unwrap(), ["going", "told", "gone"]);
    assert_eq!(velero.cancel("u-1").await.unwrap(), 1);
    let patched: Vec<String> = log
        .lock()
        .unwrap()
        .iter()
        .filter(|call| call.starts_with("PATCH"))
        .cloned()
        .collect();
    assert_eq!(patched.len(), 2, "{patched:?}");
}
