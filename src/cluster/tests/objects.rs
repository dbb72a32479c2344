use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::fake::{Asked, LIMIT, Reply, cluster};
use crate::cluster::{API_CALL_TARGET, Objects, Query};
use crate::velero::Kind;

fn map(name: &str, run: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "a", "labels": {"kymaros.io/run": run}}})
}

fn config_map(name: &str, run: &str) -> ConfigMap {
    serde_json::from_value(map(name, run)).unwrap()
}

fn maps(answer: impl FnMut(&Asked) -> Reply + Send + 'static) -> Objects<ConfigMap> {
    cluster(answer).0.namespaced("a")
}

#[tokio::test(start_paused = true)]
async fn reads_are_tried_again() {
    let mut tries = 0;
    let maps = maps(move |_| {
        tries += 1;
        match tries {
            1 => Reply::Refuse,
            2 => Reply::status(500, "InternalError", "etcd is away"),
            _ => Reply::json(&map("x", "r")),
        }
    });
    assert_eq!(maps.get("x").await.unwrap().metadata.name.as_deref(), Some("x"));
}

#[tokio::test(start_paused = true)]
async fn no_call_lasts_longer_than_its_limit() {
    for reply in [
        || Reply::Hang,
        || Reply::Refuse,
        || Reply::status(503, "ServiceUnavailable", "busy"),
    ] {
        let maps = maps(move |_| reply());
        let start = Instant::now();
        let error = maps.get("x").await.unwrap_err();
        assert!(
            error.is_transient() && error.to_string().starts_with("get ConfigMap a/x: "),
            "{error}"
        );
        let lasted = start.elapsed();
        assert!(lasted <= LIMIT && lasted + Duration::from_secs(4) > LIMIT, "{lasted:?}");
    }
    let maps = maps(|_| Reply::status(500, "InternalError", "etcd is away"));
    assert_eq!(
        maps.get("x").await.unwrap_err().to_string(),
        "get ConfigMap a/x: no success within 10s; last: etcd is away (500 InternalError)"
    );
}

/// The other end of a pooled connection is gone without a word; the next attempt is on another.
#[tokio::test(start_paused = true)]
async fn an_attempt_without_an_answer_leaves_time_for_others() {
    let mut tries = 0;
    let maps = maps(move |_| {
        tries += 1;
        if tries < 3 {
            Reply::Hang
        } else {
            Reply::json(&map("x", "r"))
        }
    });
    let start = Instant::now();
    maps.get("x").await.unwrap();
    assert!(
        start.elapsed() > LIMIT / 2 && start.elapsed() < LIMIT,
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_none_and_what_is_refused_is_refused_at_once() {
    let absent = maps(|_| Reply::status(404, "NotFound", r#"configmaps "x" not found"#));
    assert!(absent.get_opt("x").await.unwrap().is_none());
    assert!(absent.get_metadata_opt("x").await.unwrap().is_none());
    assert_eq!(
        absent.get("x").await.unwrap_err().to_string(),
        r#"get ConfigMap a/x: configmaps "x" not found (404 NotFound)"#
    );
    let (cluster, log) = cluster(|_| Reply::status(403, "Forbidden", "no right"));
    let error = cluster
        .namespaced::<ConfigMap>("a")
        .list(&Query::all())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "list ConfigMap in a: no right (403 Forbidden)");
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_plain_create_is_sent_once() {
    let (cluster, log) = cluster(|_| Reply::status(500, "InternalError", "perhaps made, perhaps not"));
    assert!(
        cluster
            .namespaced("a")
            .create(&config_map("x", "r"))
            .await
            .unwrap_err()
            .is_transient()
    );
    assert_eq!(
        *log.lock().unwrap(),
        ["POST /api/v1/namespaces/a/configmaps?&fieldManager=kymaros-runner"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_is_found_again() {
    let mut made = false;
    let maps = maps(move |asked| {
        if asked.method == "GET" {
            return Reply::json(&map("x", "ours"));
        }
        if made {
            return Reply::status(409, "AlreadyExists", r#"configmaps "x" already exists"#);
        }
        made = true;
        Reply::Refuse
    });
    assert!(maps.create_or_same(&config_map("x", "ours")).await.is_ok());
    let error = maps.create_or_same(&config_map("x", "other")).await.unwrap_err();
    assert!(error.is_already_exists() && !error.is_conflict());
}

#[tokio::test(start_paused = true)]
async fn an_object_without_a_run_is_never_taken_for_ours() {
    let unlabelled = || json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    let maps = maps(move |asked| match asked.method.as_str() {
        "GET" => Reply::json(&unlabelled()),
        _ => Reply::status(409, "AlreadyExists", "exists"),
    });
    let ours: ConfigMap = serde_json::from_value(unlabelled()).unwrap();
    assert!(maps.create_or_same(&ours).await.unwrap_err().is_already_exists());
}

#[tokio::test(start_paused = true)]
async fn deletes_are_of_one_uid() {
    let (cluster, log) = cluster(|asked| {
        assert_eq!(asked.body["preconditions"]["uid"], json!("u-1"));
        assert_eq!(asked.body["propagationPolicy"], json!("Background"));
        match asked.path.as_str() {
            "/api/v1/namespaces/a/configmaps/gone?" => Reply::status(404, "NotFound", "not found"),
            "/api/v1/namespaces/a/configmaps/other?" => Reply::status(
                409,
                "Conflict",
                "Precondition failed: UID in precondition: u-1, UID in object meta: u-2",
            ),
            "/api/v1/namespaces/a/configmaps/busy?" => Reply::status(409, "Conflict", "the object has been modified"),
            _ => Reply::json(&map("x", "r")),
        }
    });
    let maps: Objects<ConfigMap> = cluster.namespaced("a");
    assert!(maps.delete("x", "u-1").await.unwrap());
    assert!(!maps.delete("gone", "u-1").await.unwrap());
    assert!(!maps.delete("other", "u-1").await.unwrap());
    assert!(maps.delete("busy", "u-1").await.unwrap_err().is_conflict());
    assert_eq!(log.lock().unwrap().len(), 4);
}

/// A page of a list of 3, two at a time.
fn page(asked: &Asked) -> Reply {
    let list = |items: &[Value], token: &str| {
        Reply::json(
            &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "continue": token}, "items": items}),
        )
    };
    assert!(asked.path.contains("limit=500"), "{}", asked.path);
    if asked.path.contains("continue=next") {
        list(&[map("c", "r")], "")
    } else {
        list(&[map("a", "r"), map("b", "r")], "next")
    }
}

#[tokio::test(start_paused = true)]
async fn lists_are_read_page_by_page() {
    let (cluster, log) = cluster(page);
    let maps: Objects<ConfigMap> = cluster.namespaced("a");
    let names = maps
        .list_metadata_with(&Query::labels("k=v"), |meta| meta.metadata.name.unwrap())
        .await
        .unwrap();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(log.lock().unwrap().len(), 2);
    let mut pages = maps.pages(&Query::all());
    let mut sizes = Vec::new();
    while let Some(items) = pages.next().await.unwrap() {
        sizes.push(items.len());
    }
    assert_eq!(sizes, [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_expired_begins_again_once() {
    let mut expired = false;
    let some = maps(move |asked| {
        if asked.path.contains("continue=") && !expired {
            expired = true;
            return Reply::status(410, "Expired", "the continue token has expired");
        }
        page(asked)
    });
    assert_eq!(some.list(&Query::all()).await.unwrap().len(), 3);
    let never = maps(|asked| {
        if asked.path.contains("continue=") {
            return Reply::status(410, "Expired", "the continue token has expired");
        }
        page(asked)
    });
    assert!(never.list(&Query::all()).await.unwrap_err().is_expired());
}

#[tokio::test(start_paused = true)]
async fn dry_runs_and_patches_say_so() {
    let (cluster, log) = cluster(|_| Reply::json(&map("x", "r")));
    let maps: Objects<ConfigMap> = cluster.namespaced("a");
    maps.dry_run_create(&config_map("x", "r")).await.unwrap();
    maps.merge("x", &json!({})).await.unwrap();
    maps.merge_status("x", &json!({})).await.unwrap();
    let log = log.lock().unwrap();
    assert!(log[0].contains("dryRun=All"), "{}", log[0]);
    assert!(log[1].contains("/x?&fieldManager=kymaros-runner"), "{}", log[1]);
    assert!(log[2].contains("/x/status?"), "{}", log[2]);
}

#[tokio::test(start_paused = true)]
async fn served_kinds_are_found_whatever_their_version() {
    let resource = |plural: &str, kind: &str, scope: &str| json!({"resource": plural, "responseKind": {"kind": kind}, "scope": scope, "verbs": ["list"]});
    let (cluster, log) = cluster(move |asked| {
        let items = if asked.path == "/api" {
            json!([{"metadata": {}, "versions": [{"version": "v1", "resources": [
                resource("pods", "Pod", "Namespaced"), resource("namespaces", "Namespace", "Cluster")]}]}])
        } else {
            json!([
                {"metadata": {"name": "zoo.example.com"}, "versions": [{"version": "v1", "resources": [resource("pods", "Pod", "Namespaced")]}]},
                {"metadata": {"name": "apps"}, "versions": [
                    {"version": "v2", "resources": [resource("deployments", "Deployment", "Namespaced")]},
                    {"version": "v1", "resources": [resource("deployments", "Deployment", "Namespaced")]}]},
                {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1", "freshness": "Stale", "resources": []}]}])
        };
        Reply::json(
            &json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}),
        )
    });
    let discovery = cluster.discover().await.unwrap();
    assert_eq!(log.lock().unwrap().len(), 2);
    let version = |kind: &str| {
        discovery
            .find(&Kind::parse(kind))
            .map(|served| served.resource.api_version.clone())
    };
    assert_eq!(version("apps/v1/Deployment").as_deref(), Some("apps/v1"));
    assert_eq!(version("apps/v1beta1/Deployment").as_deref(), Some("apps/v2"));
    assert_eq!(version("v1/Pod").as_deref(), Some("v1"));
    assert_eq!(version("v1/Deployment"), None);
    assert!(!discovery.find(&Kind::parse("v1/Namespace")).unwrap().namespaced);
    assert_eq!(
        discovery
            .find(&Kind::parse("apps/v1/Deployment"))
            .unwrap()
            .resource_name(),
        "deployments.apps"
    );
    assert_eq!(discovery.stale, ["metrics.k8s.io/v1"]);
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut lines = self.0.lock().map_err(|_| std::io::ErrorKind::Other)?;
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_is_recorded_in_the_words_of_rbac() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter(format!("off,{API_CALL_TARGET}=debug"))
        .with_writer(move || writer.clone())
        .finish();
    let recording = tracing::subscriber::set_default(subscriber);
    let maps = maps(page);
    maps.list(&Query::all()).await.unwrap();
    drop(recording);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let calls: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(calls.len(), 2, "{text}");
    assert_eq!(
        calls[0]["fields"],
        json!({"message": "API call", "verb": "list", "group": "", "resource": "configmaps", "subresource": "", "namespace": "a", "name": ""})
    );
}

/// A sign-in page, a text that breaks off and no text at all are nobody's answer; a write that may be repeated is, too.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_json_is_asked_for_again() {
    let mut garbage = vec![
        Reply::Say(200, "<html>please sign in</html>".to_owned()),
        Reply::Say(200, r#"{"kind": "ConfigMap", "meta"#.to_owned()),
        Reply::Say(200, String::new()),
        Reply::Say(502, "<html>502 Bad Gateway</html>".to_owned()),
    ];
    let maps = maps(move |_| garbage.pop().unwrap_or_else(|| Reply::json(&map("x", "r"))));
    assert!(maps.merge("x", &json!({})).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_object_of_another_form_is_not_asked_for_again() {
    let (cluster, log) = cluster(|_| Reply::json(&json!({"kind": "ConfigMap", "metadata": {"name": "x"}, "data": 7})));
    let error = cluster.namespaced::<ConfigMap>("a").get("x").await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_did_nothing_and_a_patch_is_tried_again() {
    let text = r#"Operation cannot be fulfilled on configmaps "x": the object has been modified"#;
    let mut conflicts = 2;
    let busy = maps(move |_| {
        conflicts -= 1;
        match conflicts {
            0.. => Reply::status(409, "Conflict", text),
            _ => Reply::json(&map("x", "r")),
        }
    });
    assert!(busy.merge("x", &json!({})).await.is_ok());
    // Whoever replaces an object has to look at it first.
    let (changed, log) = cluster(move |_| Reply::status(409, "Conflict", text));
    let error = changed
        .namespaced("a")
        .replace(&config_map("x", "r"))
        .await
        .unwrap_err();
    assert!(error.is_conflict());
    assert_eq!(log.lock().unwrap().len(), 1);
}
