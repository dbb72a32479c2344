use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::fake::{Asked, Reply, cluster, status};
use crate::cluster::{Objects, Query, Waited};

fn object(version: u32, word: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
           "metadata": {"name": "x", "namespace": "a", "uid": "u", "resourceVersion": version.to_string(),
                        "managedFields": [{"manager": "m"}]},
           "data": {"word": word}})
}

fn word(object: Option<&ConfigMap>) -> Option<&str> {
    object?.data.as_ref()?.get("word").map(String::as_str)
}

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// Objects of a server that gives these answers in turn, the last one for ever.
fn server(answers: Vec<Box<dyn Fn() -> Reply + Send>>) -> Objects<ConfigMap> {
    let mut next = 0;
    let (cluster, _) = cluster(move |_: &Asked| {
        let reply = answers[next.min(answers.len() - 1)]();
        next += 1;
        reply
    });
    cluster.namespaced("a")
}

#[tokio::test(start_paused = true)]
async fn errors_that_pass_are_waited_out() {
    let maps = server(vec![
        Box::new(|| Reply::status(500, "InternalError", "no")),
        Box::new(|| Reply::Refuse),
        Box::new(|| Reply::Say(502, "<html>".to_owned())),
        Box::new(|| Reply::list(&[object(1, "wait")])),
        Box::new(|| Reply::status(500, "InternalError", "no watch yet")),
        Box::new(|| Reply::list(&[object(1, "wait")])),
        Box::new(|| Reply::events(&[("MODIFIED", object(2, "wait"))])),
        Box::new(Reply::quiet),
        Box::new(|| Reply::events(&[("MODIFIED", object(3, "go"))])),
        Box::new(Reply::quiet),
    ]);
    let waited = maps
        .wait_for("x", in_seconds(3600), |map| word(map) == Some("go"))
        .await
        .unwrap();
    let Waited::Met(Some(map)) = waited else {
        panic!("{waited:?}")
    };
    assert_eq!(map.metadata.resource_version.as_deref(), Some("3"));
    assert_eq!(map.metadata.managed_fields, None);
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_begins_again() {
    let maps = server(vec![
        Box::new(|| Reply::list(&[object(1, "wait")])),
        Box::new(|| Reply::events(&[("ERROR", status(410, "Expired", "too old resource version"))])),
        Box::new(|| Reply::list(&[object(9, "go")])),
        Box::new(Reply::quiet),
    ]);
    let waited = maps
        .wait_for("x", in_seconds(60), |map| word(map) == Some("go"))
        .await
        .unwrap();
    assert!(matches!(waited, Waited::Met(Some(_))));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_stands_ends_the_wait() {
    let maps = server(vec![Box::new(|| {
        Reply::status(403, "Forbidden", "configmaps is forbidden: no right")
    })]);
    let start = Instant::now();
    let error = maps.wait_for("x", in_seconds(3600), |_| true).await.unwrap_err();
    assert!(error.is_forbidden() && !error.is_transient());
    assert_eq!(
        error.to_string(),
        "watch ConfigMap a/x: configmaps is forbidden: no right (403 Forbidden)"
    );
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(5) && waited < Duration::from_secs(12),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_passes_does_not() {
    let maps = server(vec![
        Box::new(|| Reply::status(403, "Forbidden", "not yet")),
        Box::new(|| Reply::status(401, "Unauthorized", "not yet")),
        Box::new(|| Reply::status(404, "NotFound", "not yet")),
        Box::new(|| Reply::list(&[object(1, "go")])),
        Box::new(Reply::quiet),
    ]);
    let waited = maps
        .wait_for("x", in_seconds(60), |map| word(map) == Some("go"))
        .await
        .unwrap();
    assert!(matches!(waited, Waited::Met(Some(_))));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_gives_the_last_state() {
    let (cluster, _) = cluster(|asked: &Asked| {
        if asked.is_watch() {
            Reply::quiet()
        } else {
            Reply::list(&[object(1, "wait")])
        }
    });
    let maps: Objects<ConfigMap> = cluster.namespaced("a");
    let start = Instant::now();
    let waited = maps
        .wait_for("x", in_seconds(90), |map| word(map) == Some("go"))
        .await
        .unwrap();
    let Waited::Late(map) = waited else {
        panic!("{waited:?}")
    };
    assert_eq!(word(map.as_ref()), Some("wait"));
    assert_eq!(start.elapsed(), Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn a_hiccup_long_ago_is_no_error_at_the_deadline() {
    let mut hiccups = 1;
    let (cluster, _) = cluster(move |asked: &Asked| match asked.is_watch() {
        true if hiccups > 0 => {
            hiccups -= 1;
            Reply::Refuse
        }
        // Nothing happens from here on.
        true => Reply::quiet(),
        false => Reply::list(&[object(1, "wait")]),
    });
    let maps: Objects<ConfigMap> = cluster.namespaced("a");
    let waited = maps
        .wait_for("x", in_seconds(600), |map| word(map) == Some("go"))
        .await
        .unwrap();
    let Waited::Late(Some(map)) = waited else {
        panic!("{waited:?}")
    };
    assert_eq!(word(Some(&map)), Some("wait"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_at_the_deadline_is_an_error() {
    let maps = server(vec![
        Box::new(|| Reply::list(&[object(1, "wait")])),
        Box::new(|| Reply::Refuse),
    ]);
    let error = maps
        .wait_for("x", in_seconds(90), |map| word(map) == Some("go"))
        .await
        .unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().starts_with("watch ConfigMap a/x: "), "{error}");
    assert!(error.to_string().ends_with("connection refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_does_not_hold_up_the_deadline() {
    let maps = server(vec![Box::new(|| Reply::Hang)]);
    let start = Instant::now();
    assert!(
        maps.wait_for("x", in_seconds(60), |_| true)
            .await
            .unwrap_err()
            .is_transient()
    );
    assert_eq!(start.elapsed(), Duration::from_mins(1));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_object_is_seen_as_none() {
    let maps = server(vec![
        Box::new(|| Reply::list(&[object(1, "wait")])),
        Box::new(|| Reply::events(&[("DELETED", object(2, "wait"))])),
        Box::new(Reply::quiet),
    ]);
    let waited = maps.wait_for("x", in_seconds(60), |map| map.is_none()).await.unwrap();
    assert_eq!(waited, Waited::Met(None));
    let absent = server(vec![Box::new(|| Reply::list(&[])), Box::new(Reply::quiet)]);
    assert_eq!(
        absent.wait_for("x", in_seconds(60), |map| map.is_none()).await.unwrap(),
        Waited::Met(None)
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_asked_about_at_a_steady_pace() {
    let (cluster, log) = cluster(|_: &Asked| Reply::Refuse);
    let maps: Objects<ConfigMap> = cluster.namespaced("a");
    let mut watch = maps.watch(&Query::all());
    // The caller may come and go: the pauses hold all the same.
    let end = in_seconds(300);
    while Instant::now() < end {
        let _late = tokio::time::timeout(Duration::from_millis(100), watch.changed()).await;
    }
    let asked = log.lock().unwrap().len();
    assert!((60..70).contains(&asked), "{asked} requests in five minutes");
    assert!(!watch.is_known() && watch.trouble().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_many_keeps_the_whole_state() {
    let named = |name: &str, word: &str| {
        let mut object = object(1, word);
        object["metadata"]["name"] = json!(name);
        object
    };
    let first = [named("x", "1"), named("y", "1")];
    let again = [named("y", "2"), named("z", "2")];
    let changes = [
        ("MODIFIED", named("x", "2")),
        ("ADDED", named("w", "1")),
        ("DELETED", named("y", "1")),
    ];
    let maps = server(vec![
        Box::new(move || Reply::list(&first)),
        Box::new(move || Reply::events(&changes)),
        Box::new(|| Reply::events(&[("ERROR", status(410, "Expired", "gone"))])),
        Box::new(move || Reply::list(&again)),
        Box::new(Reply::quiet),
    ]);
    let mut watch = maps.watch(&Query::labels("k=v"));
    let mut states = Vec::new();
    for _ in 0..5 {
        watch.changed().await.unwrap();
        let state: Vec<String> = watch
            .objects()
            .map(|map| format!("{}={}", map.metadata.name.as_deref().unwrap(), word(Some(map)).unwrap()))
            .collect();
        states.push(state.join(" "));
    }
    // After the expired watch the vanished ones are gone, though nobody said that they were deleted.
    assert_eq!(states, ["x=1 y=1", "x=2 y=1", "w=1 x=2 y=1", "w=1 x=2", "y=2 z=2"]);
    assert!(watch.is_known() && watch.trouble().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_watch_missed_is_looked_for_before_it_is_late() {
    let mut lists = 0;
    let (cluster, _) = cluster(move |asked: &Asked| {
        if asked.is_watch() {
            return Reply::quiet();
        }
        lists += 1;
        Reply::list(&[object(lists, if lists == 1 { "wait" } else { "go" })])
    });
    let maps: Objects<ConfigMap> = cluster.namespaced("a");
    let waited = maps
        .wait_for("x", in_seconds(60), |map| word(map) == Some("go"))
        .await
        .unwrap();
    assert!(matches!(waited, Waited::Met(Some(_))), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_limit_does_not_run_while_the_server_is_away() {
    let limit = Duration::from_secs(3);
    let back = in_seconds(8);
    let (cluster, _) = cluster(move |asked: &Asked| match asked.is_watch() {
        _ if Instant::now() < back => Reply::Refuse,
        true => Reply::quiet(),
        false => Reply::list(&[object(1, "go")]),
    });
    let maps: Objects<ConfigMap> = cluster.namespaced("a");
    let waited = maps.wait_at_most("x", limit, |map| word(map) == Some("go")).await;
    assert!(matches!(waited, Ok(Waited::Met(Some(_)))), "{waited:?}");
    let waited = maps.wait_at_most("x", limit, |map| word(map) == Some("never")).await;
    assert!(matches!(waited, Ok(Waited::Late(Some(_)))), "{waited:?}");
    let gone = server(vec![Box::new(|| Reply::Refuse)]);
    let start = Instant::now();
    assert!(
        gone.wait_at_most("x", limit, |_| true)
            .await
            .unwrap_err()
            .is_transient()
    );
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
