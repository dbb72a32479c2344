//! The parts that talk to the API server, against a scripted one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ProviderVolumes, Settled, Startup, StartupOptions, hardcoded_names, inventory, recheck, volumes};
use crate::cluster::fake::{Asked, Log, Reply, cluster};
use crate::cluster::{Cluster, Discovery, Served};
use crate::facts::{KindFacts, SandboxFacts};
use crate::velero::{Outcomes, Volumes, read_restore_outcomes};

const SANDBOX: &str = "test-shop-kymaros-abc123";

fn sandboxes() -> [SandboxFacts; 1] {
    [SandboxFacts {
        source: "shop".to_owned(),
        name: SANDBOX.to_owned(),
        uid: "n".to_owned(),
    }]
}

fn kind(group: &str, kind: &str, expected: &[&str]) -> KindFacts {
    KindFacts {
        source: "shop".to_owned(),
        group: group.to_owned(),
        kind: kind.to_owned(),
        expected: expected.iter().map(|name| (*name).to_owned()).collect(),
        ..KindFacts::default()
    }
}

fn discovery() -> Discovery {
    let served = |group: &str, kind: &str, plural: &str| Served {
        resource: kube::core::ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: if group.is_empty() {
                "v1".to_owned()
            } else {
                format!("{group}/v1")
            },
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        },
        namespaced: true,
        verbs: vec!["list".to_owned()],
    };
    Discovery {
        kinds: vec![
            served("", "ConfigMap", "configmaps"),
            served("", "Secret", "secrets"),
            served("apps", "Deployment", "deployments"),
            served("example.com", "Widget", "widgets"),
        ],
        stale: Vec::new(),
    }
}

fn outcomes(text: &str) -> Outcomes {
    let wanted = BTreeSet::from([SANDBOX.to_owned()]);
    read_restore_outcomes(text.replace("SB", SANDBOX).as_bytes(), &wanted).unwrap()
}

fn names(names: &[&str]) -> Reply {
    let items: Vec<Value> = names
        .iter()
        .map(|name| json!({"metadata": {"name": name, "namespace": SANDBOX}}))
        .collect();
    Reply::json(
        &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "1"}, "items": items}),
    )
}

fn requests(log: &Log) -> usize {
    log.lock().unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn each_kind_is_listed_once_and_what_may_not_be_listed_is_said() {
    let (cluster, log) = cluster(|asked| match asked.path.as_str() {
        path if path.contains("/configmaps") => names(&["a", "b", "kube-root-ca.crt"]),
        path if path.contains("/deployments") => names(&[]),
        path if path.contains("/widgets") => Reply::status(403, "Forbidden", "widgets is forbidden"),
        path => Reply::status(404, "NotFound", path),
    });
    let mut kinds = [
        kind("", "ConfigMap", &["a", "b", "c"]),
        kind("apps", "Deployment", &["web"]),
        kind("example.com", "Widget", &["w"]),
        kind("", "ServiceAccount", &[]),
    ];
    let outcomes = outcomes(r#"{"v1/ConfigMap": ["SB/a(created)", "SB/b(created)"]}"#);
    let created = inventory(
        &cluster,
        &discovery(),
        &sandboxes(),
        &mut kinds,
        Some(&outcomes),
        false,
        true,
    )
    .await
    .unwrap();
    assert_eq!(created, Some(2));
    assert_eq!(kinds[0].present.as_deref().unwrap(), ["a", "b"]);
    assert_eq!(kinds[1].present.as_deref().unwrap(), [""; 0]);
    assert_eq!(kinds[2].present, None);
    assert_eq!(
        kinds[2].unlisted.as_deref().unwrap(),
        "may not be listed in the sandbox: add a ClusterRole labelled kymaros.io/aggregate-to-sandbox=true that lists widgets.example.com"
    );
    assert_eq!(requests(&log), 3, "{log:?}");
}

fn binding(name: &str, restored: bool, removed: Option<&str>) -> Value {
    let mut metadata = json!({"name": name, "namespace": SANDBOX});
    if restored {
        metadata["labels"] = json!({"velero.io/restore-name": "kymaros-abc123"});
    }
    if let Some(removed) = removed {
        metadata["annotations"] = json!({"kymaros.io/removed-subjects": removed});
    }
    json!({ "metadata": metadata })
}

#[tokio::test(start_paused = true)]
async fn subjects_that_admission_removed_are_counted_where_it_wrote_them_down() {
    let items = [
        binding("two", true, Some("2")),
        binding("three", true, Some("3")),
        binding("none", true, None),
        binding("no-number", true, Some("many")),
        binding("somebodys", false, Some("40")),
    ];
    let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "1"}, "items": items});
    let mut discovery = discovery();
    discovery.kinds.push(Served {
        resource: kube::core::ApiResource {
            group: "rbac.authorization.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "rbac.authorization.k8s.io/v1".to_owned(),
            kind: "RoleBinding".to_owned(),
            plural: "rolebindings".to_owned(),
        },
        namespaced: true,
        verbs: vec!["list".to_owned()],
    });
    for (counted, expected) in [(true, Some(5)), (false, None)] {
        let list = list.clone();
        // A ConfigMap that says the same is the backup's own.
        let (cluster, log) = cluster(move |_| Reply::json(&list));
        let mut kinds = [
            kind("rbac.authorization.k8s.io", "RoleBinding", &["two", "three", "lost"]),
            kind("", "ConfigMap", &["two"]),
        ];
        inventory(&cluster, &discovery, &sandboxes(), &mut kinds, None, false, counted)
            .await
            .unwrap();
        assert_eq!(kinds[0].present.as_deref().unwrap(), ["two", "three"]);
        assert_eq!(kinds[0].changed.first().map(|change| change.count), expected);
        assert!(kinds[1].changed.is_empty());
        assert_eq!(requests(&log), 2, "the list of names is enough: {log:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_no_missing_object() {
    let (cluster, _) = cluster(|_| Reply::Refuse);
    let mut kinds = [kind("", "ConfigMap", &["a"])];
    let error = inventory(&cluster, &discovery(), &sandboxes(), &mut kinds, None, false, true)
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(kinds[0].present, None);
}

/// Answers for Secrets: those named are there, and the quota counts so many.
fn secrets(there: Vec<String>, counted: usize) -> impl FnMut(&Asked) -> Reply + Send + 'static {
    move |asked| {
        if asked.is("GET", "/resourcequotas/kymaros-quota") {
            return Reply::json(
                &json!({"metadata": {"name": "kymaros-quota"}, "status": {"used": {"count/secrets": counted.to_string()}}}),
            );
        }
        assert!(
            asked.is("POST", "/secrets?") && asked.path.contains("dryRun=All"),
            "{}",
            asked.path
        );
        assert_eq!(asked.body.get("data"), None);
        let name = asked.body["metadata"]["name"].as_str().unwrap().to_owned();
        if there.contains(&name) {
            Reply::status(409, "AlreadyExists", "secrets already exists")
        } else {
            Reply::json(&json!({"metadata": {"name": name}}))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_secrets_are_asked_for_and_none_is_read() {
    let (cluster, log) = cluster(secrets(vec!["db".to_owned()], 9));
    let mut kinds = [kind("", "Secret", &["db", "tls"])];
    let outcomes = outcomes(r#"{"v1/Secret": ["SB/db(created)", "SB/tls(created)"]}"#);
    inventory(
        &cluster,
        &discovery(),
        &sandboxes(),
        &mut kinds,
        Some(&outcomes),
        false,
        true,
    )
    .await
    .unwrap();
    assert_eq!(kinds[0].present.as_deref().unwrap(), ["db"]);
    assert!(
        log.lock().unwrap().iter().all(|line| line.starts_with("POST ")),
        "{log:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn many_secrets_are_believed_when_provider_and_quota_agree() {
    let all: Vec<String> = (0..40).map(|index| format!("s{index:02}")).collect();
    let expected: Vec<&str> = all.iter().map(String::as_str).collect();
    let list: Vec<String> = all.iter().map(|name| format!("\"SB/{name}(created)\"")).collect();
    let outcomes = outcomes(&format!("{{\"v1/Secret\": [{}]}}", list.join(",")));
    for (counted, most) in [(40, 1), (39, 41)] {
        let there = all.iter().skip(40 - counted).cloned().collect();
        let (cluster, log) = cluster(secrets(there, counted));
        let mut kinds = [kind("", "Secret", &expected)];
        inventory(
            &cluster,
            &discovery(),
            &sandboxes(),
            &mut kinds,
            Some(&outcomes),
            false,
            true,
        )
        .await
        .unwrap();
        assert_eq!(kinds[0].present.as_ref().unwrap().len(), counted);
        assert_eq!(requests(&log), most);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_at_the_end_has_vanished() {
    let mut round = 0;
    let (cluster, _) = cluster(move |_| {
        round += 1;
        if round == 1 { names(&["a", "b"]) } else { names(&["b"]) }
    });
    let mut kinds = [kind("", "ConfigMap", &["a", "b", "c"])];
    let discovery = discovery();
    inventory(&cluster, &discovery, &sandboxes(), &mut kinds, None, false, true)
        .await
        .unwrap();
    recheck(&cluster, &discovery, &sandboxes(), &mut kinds, None)
        .await
        .unwrap();
    assert_eq!(kinds[0].vanished, ["a"]);
    assert_eq!(kinds[0].present.as_deref().unwrap(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn classes_are_asked_for_once_and_only_of_claims_that_are_not_bound() {
    let (cluster, log) = cluster(|asked| {
        let claim = |name: &str, class: &str, phase: &str| json!({"metadata": {"name": name, "uid": name}, "spec": {"storageClassName": class}, "status": {"phase": phase}});
        if asked.path.contains("/persistentvolumeclaims") {
            return Reply::list(&[
                claim("a", "fast", "Bound"),
                claim("b", "local", "Pending"),
                claim("c", "local", "Pending"),
                claim("e", "", "Pending"),
            ]);
        }
        assert!(asked.path.ends_with("/storageclasses/local"), "{}", asked.path);
        Reply::json(
            &json!({"metadata": {"name": "local"}, "provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"}),
        )
    });
    let kinds = [kind("", "PersistentVolumeClaim", &["a", "b", "c", "d", "e"])];
    let backup = Volumes::default();
    let provider = ProviderVolumes {
        backup: &backup,
        from_files: &[],
        from_snapshots: &[],
        held_pods: &BTreeMap::new(),
    };
    let facts = volumes(&cluster, &sandboxes(), &kinds, &provider, &BTreeSet::new())
        .await
        .unwrap();
    let short: Vec<_> = facts
        .iter()
        .map(|v| (v.claim.as_str(), v.claim_phase.as_deref(), v.waits_for_consumer))
        .collect();
    assert_eq!(
        short,
        [
            ("a", Some("Bound"), false),
            ("b", Some("Pending"), true),
            ("c", Some("Pending"), true),
            ("d", None, false),
            // By hand, without a class.
            ("e", Some("Pending"), false)
        ]
    );
    assert_eq!(requests(&log), 2);
}

#[tokio::test(start_paused = true)]
async fn configuration_is_scanned_and_a_kind_that_may_not_be_listed_is_left_out() {
    let (cluster, _) = cluster(|asked| match asked.path.as_str() {
        path if path.contains("/deployments") => {
            Reply::list(&[json!({"metadata": {"name": "web"}, "spec": {"selector": {},
            "template": {"spec": {"containers": [{"name": "a", "env": [{"name": "DB", "value": "db.shop:5432"}]}]}}}})])
        }
        path if path.contains("/configmaps") => Reply::list(&[
            json!({"metadata": {"name": "app"}, "data": {"x": "cache.shop.svc"}}),
            json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"x": "no.shop.svc"}}),
            json!({"metadata": {"name": "dns", "labels": {"kymaros.io/managed-by": "kymaros"}}, "data": {"x": "no.shop.svc"}}),
        ]),
        path if path.contains("/statefulsets") => Reply::status(403, "Forbidden", "no"),
        _ => Reply::list(&[]),
    });
    let kinds = [kind("", "Service", &["db"])];
    let found: Vec<String> = hardcoded_names(&cluster, &sandboxes(), &kinds)
        .await
        .unwrap()
        .into_iter()
        .map(|fact| format!("{}: {}", fact.object, fact.name))
        .collect();
    assert_eq!(
        found,
        ["ConfigMap/app x: cache.shop.svc", "Deployment/web env DB: db.shop"]
    );
}

fn startup(cluster: &Cluster, stable_for: Duration) -> Startup {
    let mut startup = Startup::new(
        cluster,
        &sandboxes(),
        &StartupOptions {
            since: Instant::now(),
            created: chrono::DateTime::UNIX_EPOCH,
            timeout: Duration::from_mins(10),
            stable_for,
            replication_controllers: false,
            operators: false,
        },
    );
    startup.begin(Duration::ZERO, Vec::new());
    startup
}

fn bare_pod(ready: &str, restarts: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "u", "resourceVersion": "11"},
        "spec": {"containers": [{"name": "a"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [
            {"name": "a", "image": "", "imageID": "", "ready": ready == "True", "restartCount": restarts, "started": true,
             "state": {"running": {}}}]}})
}

#[tokio::test(start_paused = true)]
async fn pods_are_followed_to_readiness_and_through_the_window() {
    let mut told = false;
    let (cluster, log) = cluster(move |asked| match (asked.path.contains("/pods"), asked.is_watch()) {
        (true, false) => Reply::list(&[bare_pod("False", 0)]),
        (true, true) if !told => {
            told = true;
            let events = Reply::events(&[("MODIFIED", bare_pod("True", 0))]);
            let Reply::Say(code, text) = events else { return events };
            Reply::Later(Duration::from_secs(7), code, text)
        }
        (false, false) => Reply::list(&[]),
        _ => Reply::quiet(),
    });
    let mut startup = startup(&cluster, Duration::from_secs(15));
    // Dropping the future loses nothing.
    let short = tokio::time::timeout(Duration::from_secs(3), startup.settled()).await;
    assert!(short.is_err(), "{short:?}");
    assert_eq!(startup.facts().failures.len(), 1);
    assert_eq!(startup.settled().await, Settled::AllReady);
    let ready = startup.facts().ready_after.unwrap();
    assert!((7..8).contains(&ready.as_secs()), "{ready:?}");
    startup.stable().await;
    let facts = startup.facts();
    assert!(facts.stable, "{facts:?}");
    let lists = log
        .lock()
        .unwrap()
        .iter()
        .filter(|line| !line.contains("watch=true"))
        .count();
    assert_eq!(lists, 6, "one list per watch, and nothing is polled");
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_window_is_seen() {
    let (cluster, _) = cluster(move |asked| match (asked.path.contains("/pods"), asked.is_watch()) {
        (true, false) => Reply::list(&[bare_pod("True", 0)]),
        (true, true) => {
            let events = Reply::events(&[("MODIFIED", bare_pod("True", 1))]);
            let Reply::Say(code, text) = events else { return events };
            Reply::Later(Duration::from_secs(3), code, text)
        }
        (false, false) => Reply::list(&[]),
        _ => Reply::quiet(),
    });
    let mut startup = startup(&cluster, Duration::from_secs(15));
    assert_eq!(startup.settled().await, Settled::AllReady);
    startup.stable().await;
    let facts = startup.facts();
    assert!(!facts.stable, "{facts:?}");
    assert_eq!(facts.failures[0].cause, "Pod p: restarted after all pods were ready");
}

#[tokio::test(start_paused = true)]
async fn pods_are_watched_for_as_long_as_the_checks_take() {
    for (checks, stable) in [(1, true), (6, true), (30, false)] {
        let mut told = false;
        let (cluster, _) = cluster(move |asked| match (asked.path.contains("/pods"), asked.is_watch()) {
            (true, false) => Reply::list(&[bare_pod("True", 0)]),
            (true, true) if !told => {
                told = true;
                let events = Reply::events(&[("MODIFIED", bare_pod("True", 1))]);
                let Reply::Say(code, text) = events else { return events };
                Reply::Later(Duration::from_secs(8), code, text)
            }
            (false, false) => Reply::list(&[]),
            _ => Reply::quiet(),
        });
        let mut startup = startup(&cluster, Duration::from_secs(5));
        let start = Instant::now();
        assert_eq!(startup.settled().await, Settled::AllReady);
        let work = async {
            tokio::time::sleep(Duration::from_secs(checks)).await;
            "checked"
        };
        assert_eq!(startup.stable_during(work).await, "checked");
        assert_eq!(
            start.elapsed().as_secs(),
            checks.max(5),
            "as long as the longer of the two"
        );
        assert_eq!(startup.facts().stable, stable, "{checks} s: {:?}", startup.facts());
    }
}

#[tokio::test(start_paused = true)]
async fn why_pods_are_not_up_is_said_without_waiting_for_them() {
    let (cluster, _) = cluster(|asked| match (asked.path.contains("/pods"), asked.is_watch()) {
        (true, false) => {
            let unbound = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "storageclass.storage.k8s.io \"fast\" not found"});
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db-0", "uid": "u"},
                "spec": {"containers": [{"name": "a"}]}, "status": {"phase": "Pending", "conditions": [unbound]}});
            Reply::list(&[pod, bare_pod("True", 0)])
        }
        (false, false) => Reply::list(&[]),
        _ => Reply::quiet(),
    });
    let mut startup = startup(&cluster, Duration::ZERO);
    let looked = tokio::time::timeout(Duration::from_secs(1), startup.watch_on()).await;
    assert!(looked.is_err(), "it looks on for ever");
    assert_eq!(
        startup.not_up(),
        ["Pod db-0: Unschedulable — storageclass.storage.k8s.io \"fast\" not found"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_stands_is_said_and_one_that_passes_is_not() {
    for (refusals, settled) in [(2, Settled::AllReady), (100, Settled::Blind)] {
        let mut tries = 0;
        let (cluster, _) = cluster(move |asked| {
            if asked.is_watch() {
                return Reply::quiet();
            }
            if asked.path.contains("/statefulsets") {
                tries += 1;
                if tries <= refusals {
                    return Reply::status(403, "Forbidden", "statefulsets.apps is forbidden");
                }
            }
            Reply::list(&[])
        });
        let mut startup = startup(&cluster, Duration::ZERO);
        let start = Instant::now();
        assert_eq!(startup.settled().await, settled);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        let said = startup.blindness().map(|blindness| blindness.message.clone());
        assert_eq!(
            said.as_deref(),
            (settled == Settled::Blind)
                .then_some("watch StatefulSet in shop: statefulsets.apps is forbidden (403 Forbidden)")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_broken_watch_everything_is_looked_at_again() {
    let mut lists = 0;
    let (cluster, _) = cluster(move |asked| match (asked.path.contains("/pods"), asked.is_watch()) {
        (true, false) => {
            lists += 1;
            // The pod became ready while the watch was broken, and no event tells.
            Reply::list(&[bare_pod(if lists == 1 { "False" } else { "True" }, 0)])
        }
        (true, true) if lists == 1 => Reply::Refuse,
        (false, false) => Reply::list(&[]),
        _ => Reply::quiet(),
    });
    let mut startup = startup(&cluster, Duration::ZERO);
    assert_eq!(startup.settled().await, Settled::AllReady);
}

/// A list is allowed and its watch is not, or a proxy cuts every watch: the API server is not asked as fast as it answers.
#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_after_every_list_pauses_and_its_refusal_is_said() {
    for refused in [true, false] {
        let (cluster, log) = cluster(move |asked| match (asked.path.contains("/pods"), asked.is_watch()) {
            (true, true) if refused => Reply::status(403, "Forbidden", "pods is forbidden"),
            (true, true) => Reply::Refuse,
            (true, false) => Reply::list(&[bare_pod("False", 0)]),
            (false, false) => Reply::list(&[]),
            _ => Reply::quiet(),
        });
        let mut startup = startup(&cluster, Duration::ZERO);
        let begun = Instant::now();
        let settled = tokio::time::timeout(Duration::from_mins(1), startup.settled()).await;
        if refused {
            assert_eq!(settled, Ok(Settled::Blind));
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
            let said = startup.blindness().map(|blindness| blindness.message.clone());
            assert!(
                said.as_deref().unwrap_or_default().contains("pods is forbidden"),
                "{said:?}"
            );
        }
        let lists = log
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains("/pods") && !line.contains("watch=true"))
            .count();
        assert!((2..25).contains(&lists), "{lists}");
    }
}
