//! Whole runs that end before the fence, against a server that answers: what is stored cannot always be read, and a run id can
//! be taken, neither of which the real server can be made to show.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::cluster::fake::{self, Asked, Log, Reply};
use crate::digest;

const TESTS: &str = "/apis/restore.kymaros.io/v1alpha1/namespaces/kymaros-system/restoretests/nightly";
const POLICIES: &str = "/apis/restore.kymaros.io/v1alpha1/namespaces/kymaros-system/healthcheckpolicies/app";
const REPORTS: &str = "/apis/restore.kymaros.io/v1alpha1/namespaces/kymaros-system/restorereports";

fn settings() -> Settings {
    let pairs = [
        ("RESTORE_TEST_NAME", "nightly"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("POD_NAME", "runner-1"),
        ("POD_UID", "u-1"),
        ("POD_NAMESPACE", "kymaros-system"),
        ("POD_IP", "10.0.0.2"),
    ];
    Settings::read(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned()))).unwrap()
}

fn test(spec: &Value) -> Value {
    json!({
        "apiVersion": "restore.kymaros.io/v1alpha1",
        "kind": "RestoreTest",
        "metadata": {"name": "nightly", "namespace": "kymaros-system", "uid": "t-1", "generation": 4, "labels": {"team": "shop"}},
        "spec": spec,
        "status": {"phase": "Completed", "lastScore": 100, "lastResult": "pass", "consecutiveFailures": 0},
    })
}

/// What a cluster holds for these tests.
#[derive(Clone, Default)]
struct Stored {
    test: Value,
    policy: Option<Value>,
    reports: Vec<Value>,
    /// How many of the run ids that are asked for are taken.
    taken: usize,
    /// No report can be written.
    unwritable: bool,
    /// A read whose path holds this is one that the program does not survive.
    panics_at: Option<&'static str>,
    /// One that is never answered.
    hangs_at: Option<&'static str>,
    /// From the first report on the server is away for so long.
    away: Option<Duration>,
}

/// The bodies of all writes, by method and path.
type Writes = Arc<Mutex<Vec<(String, Value)>>>;

fn cluster(stored: Stored) -> (Cluster, Log, Writes) {
    let writes = Writes::default();
    let seen = Arc::clone(&writes);
    let mut taken = stored.taken;
    let mut back = None;
    let (cluster, log) = fake::cluster(move |asked: &Asked| {
        let path = asked.path.split('?').next().unwrap_or_default().to_owned();
        if let Some(away) = stored.away
            && (back.is_some() || (asked.method == "POST" && path == REPORTS))
            && Instant::now() < *back.get_or_insert(Instant::now() + away)
        {
            return Reply::Refuse;
        }
        let holds = |part: Option<&str>| part.is_some_and(|part| asked.path.contains(part));
        if asked.method == "GET" && holds(stored.panics_at) {
            return Reply::Panic;
        }
        if asked.path.contains("/leases") && holds(stored.hangs_at) || asked.method == "GET" && holds(stored.hangs_at) {
            return Reply::Hang;
        }
        if asked.method != "GET" {
            seen.lock()
                .unwrap()
                .push((format!("{} {path}", asked.method), asked.body.clone()));
        }
        let of_name = |found: Option<&Value>| match found {
            Some(found) => Reply::json(found),
            None => Reply::status(404, "NotFound", "not found"),
        };
        match (asked.method.as_str(), path.as_str()) {
            ("GET", TESTS) => Reply::json(&stored.test),
            ("GET", POLICIES) => of_name(stored.policy.as_ref()),
            ("GET", REPORTS) => Reply::list(&stored.reports),
            ("GET", path) if path.starts_with(REPORTS) => of_name(
                stored
                    .reports
                    .iter()
                    .find(|report| path.ends_with(report["metadata"]["name"].as_str().unwrap())),
            ),
            ("GET", "/api/v1/namespaces") if asked.path.contains("kymaros.io%2Frun%3D") && taken > 0 => {
                taken -= 1;
                Reply::list(&[json!({"metadata": {"name": "rp-test-other-shop-kymaros-taken1"}})])
            }
            ("GET", "/api/v1/namespaces/kymaros-system/pods/runner-1") => Reply::json(&json!({
                "metadata": {"name": "runner-1", "uid": "u-1"},
                "spec": {"containers": [{"name": "runner", "image": "registry.example.com/kymaros-runner:1"}]},
            })),
            ("GET", path) if path.ends_with('s') => Reply::list(&[]),
            ("GET", _) => Reply::status(404, "NotFound", "not found"),
            ("POST", REPORTS) if stored.unwritable => Reply::status(403, "Forbidden", "no right"),
            // What is written is stored as it is; the answer to a patch of a test holds its whole spec.
            ("PATCH", path) if path.starts_with(TESTS) => Reply::json(&stored.test),
            ("DELETE", _) => Reply::json(&json!({"kind": "Status", "status": "Success"})),
            _ => {
                let mut object = asked.body.clone();
                object["metadata"]["uid"] = json!("made");
                object["metadata"]["resourceVersion"] = json!("1");
                if object.get("spec").is_none() {
                    object["spec"] = json!({"testRef": "nightly"});
                }
                Reply::json(&object)
            }
        }
    });
    (cluster, log, writes)
}

async fn run(stored: Stored) -> (Exit, Vec<(String, Value)>, Vec<String>) {
    let (cluster, log, writes) = cluster(stored);
    let exit = Box::pin(run_on(&settings(), &cluster, &Stopper::new())).await;
    let writes = writes.lock().unwrap().clone();
    let log = log.lock().unwrap().clone();
    (exit, writes, log)
}

/// The bodies of the writes to a path that ends so.
fn written<'w>(writes: &'w [(String, Value)], method: &str, end: &str) -> Vec<&'w Value> {
    let wanted = |(call, _): &&(String, Value)| call.starts_with(method) && call.ends_with(end);
    writes.iter().filter(wanted).map(|(_, body)| body).collect()
}

/// The status of the only report.
fn report(writes: &[(String, Value)]) -> Value {
    let made = written(writes, "POST", "/restorereports");
    assert_eq!(made.len(), 1, "{writes:#?}");
    let patches: Vec<&Value> = writes
        .iter()
        .filter(|(call, _)| call.starts_with(&format!("PATCH {REPORTS}")) && call.ends_with("/status"))
        .map(|(_, body)| &body["status"])
        .collect();
    patches[0].clone()
}

fn condition(status: &Value, kind: &str) -> Value {
    let found = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == kind);
    found.unwrap_or(&Value::Null).clone()
}

fn source() -> Value {
    json!({"provider": "velero", "namespaces": [{"name": "shop"}]})
}

#[tokio::test]
async fn a_test_that_cannot_be_read_is_a_run_with_a_report() {
    let stored = Stored {
        test: test(&json!({
            "backupSource": source(), "sandbox": {"ttl": 30}, "sla": {"maxRTO": "soon"}, "schedule": {"cron": "0 3 * * *"},
        })),
        reports: (0..15)
            .map(|day| json!({"metadata": {"name": format!("nightly-{day:02}"), "uid": "r"}, "status": {"score": "?", "completedAt": "2026-01-01T00:00:00Z"}}))
            .collect(),
        ..Stored::default()
    };
    let (exit, writes, _) = run(stored).await;
    assert_eq!(exit, Exit::NotJudged);
    let made = written(&writes, "POST", "/restorereports")[0];
    assert_eq!(made["metadata"]["labels"]["team"], "shop");
    let status = report(&writes);
    let conclusive = condition(&status, "Conclusive");
    assert_eq!(
        (&conclusive["status"], &conclusive["reason"]),
        (&json!("False"), &json!("InvalidSpec"))
    );
    let message = status["message"].as_str().unwrap();
    for words in [
        "spec.sandbox.ttl: ",
        "spec.sla.maxRTO: ",
        "kubectl explain restoretest.spec",
    ] {
        assert!(message.contains(words), "{words:?} not in {message:?}");
    }
    let of_test = written(&writes, "PATCH", "restoretests/nightly/status");
    let last = &of_test.last().unwrap()["status"];
    assert_eq!(
        (&last["phase"], &last["observedGeneration"]),
        (&json!("Failed"), &json!(4))
    );
    assert_eq!(condition(last, "Ready")["status"], "False");
    // The CronJob does not ask whether the test is sound.
    assert!(last["nextRunAt"].as_str().unwrap().ends_with("T03:00:00Z"), "{last}");
    assert!(last.get("lastScore").is_none(), "what earlier runs found stays: {last}");
    let pruned = |(call, _): &(String, Value)| call.starts_with(&format!("DELETE {REPORTS}"));
    assert!(
        !writes.iter().any(pruned),
        "nobody knows how many reports it wants kept"
    );
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_is_named() {
    let stored = Stored {
        test: test(&json!({"backupSource": source(), "healthChecks": {"policyRef": "app"}})),
        policy: Some(json!({
            "metadata": {"name": "app", "namespace": "kymaros-system"},
            "spec": {"checks": [{"name": "web", "type": "ping"}]},
        })),
        ..Stored::default()
    };
    let (exit, writes, _) = run(stored).await;
    assert_eq!(exit, Exit::NotJudged);
    let status = report(&writes);
    assert_eq!(condition(&status, "Conclusive")["reason"], "InvalidSpec");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("HealthCheckPolicy app spec.checks[0].type: "),
        "{message}"
    );
}

/// A defect of this program costs nobody a report, and says whose it is.
#[tokio::test]
async fn a_panic_leaves_a_report() {
    let stored = Stored {
        test: test(&json!({"backupSource": source()})),
        panics_at: Some("/pods/runner-1"),
        ..Stored::default()
    };
    let (exit, writes, _) = run(stored).await;
    assert_eq!(exit, Exit::NotJudged);
    let conclusive = condition(&report(&writes), "Conclusive");
    assert_eq!(conclusive["reason"], "InternalError");
    let message = conclusive["message"].as_str().unwrap();
    assert!(message.contains("internal error of kymaros-runner"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    assert!(
        !written(&writes, "DELETE", "/leases/nightly").is_empty(),
        "the Lease is given back"
    );
}

/// A signal ends every wait of admission: without the Lease nothing was done, and with it there is a report.
#[tokio::test(start_paused = true)]
async fn a_signal_is_heard_during_admission() {
    for (hangs_at, reported) in [("/leases", false), ("/restorereports?", true)] {
        let stored = Stored {
            test: test(&json!({"backupSource": source()})),
            hangs_at: Some(hangs_at),
            ..Stored::default()
        };
        let (cluster, _, writes) = cluster(stored);
        let signals = Stopper::after(Duration::from_secs(7));
        let begun = Instant::now();
        let exit = Box::pin(run_on(&settings(), &cluster, &signals)).await;
        let took = begun.elapsed();
        assert!((7..100).contains(&took.as_secs()), "{hangs_at} {took:?}");
        assert_eq!(
            exit,
            if reported { Exit::NotJudged } else { Exit::Unavailable },
            "{hangs_at}"
        );
        let writes = writes.lock().unwrap().clone();
        if reported {
            let conclusive = condition(&report(&writes), "Conclusive");
            assert_eq!(conclusive["reason"], "Interrupted", "{conclusive}");
            let message = conclusive["message"].as_str().unwrap();
            assert!(message.ends_with(": interrupted by SIGTERM"), "{message}");
        } else {
            assert!(written(&writes, "POST", "/restorereports").is_empty());
        }
    }
}

/// A server that answers and refuses is no reason for a report, as nothing is known of the test.
#[tokio::test]
async fn an_api_that_fails_stays_one_that_fails() {
    let (cluster, _) = fake::cluster(|_| Reply::status(403, "Forbidden", "no"));
    let exit = Box::pin(run_on(&settings(), &cluster, &Stopper::new())).await;
    assert_eq!(exit, Exit::Unavailable);
}

#[tokio::test]
async fn an_id_that_is_taken_is_never_used() {
    let stored = Stored {
        test: test(&json!({"backupSource": source(), "timeout": 5})),
        taken: 2,
        ..Stored::default()
    };
    let (_, writes, log) = run(stored).await;
    let asked: Vec<&str> = log
        .iter()
        .filter_map(|call| {
            call.strip_prefix("GET /api/v1/namespaces?")?
                .split("kymaros.io%2Frun%3D")
                .nth(1)
        })
        .map(|rest| &rest[..6])
        .collect();
    let (id, taken) = (asked[2], &asked[..2]);
    assert_eq!(report(&writes)["runId"], id);
    let lease = written(&writes, "POST", "/leases")[0];
    assert_eq!(lease["metadata"]["annotations"]["kymaros.io/run"], id);
    assert_eq!(lease["spec"]["holderIdentity"], format!("{id}/runner-1/u-1"));
    for (call, body) in &writes {
        let text = format!("{call} {body}");
        assert!(!taken.iter().any(|taken| text.contains(taken)), "{text}");
    }
}

#[tokio::test]
async fn drawing_ids_has_an_end() {
    let stored = Stored {
        test: test(&json!({"backupSource": source()})),
        taken: 5,
        ..Stored::default()
    };
    let (exit, writes, log) = run(stored).await;
    assert_eq!(exit, Exit::Unavailable);
    assert_eq!(
        log.iter().filter(|call| call.contains("kymaros.io%2Frun%3D")).count(),
        5
    );
    assert!(writes.is_empty(), "{writes:#?}");
}

#[tokio::test]
async fn a_report_is_chained_to_what_it_rests_on() {
    let finished = |name: &str, score: u32, started: &str| {
        json!({
            "metadata": {"name": name, "namespace": "kymaros-system", "uid": name},
            "spec": {"testRef": "nightly"},
            "status": {"score": score, "startedAt": started, "completedAt": started, "ofANewerVersion": true,
                "conditions": [{"type": "Conclusive", "status": "False"}]},
        })
    };
    let unfinished =
        json!({"metadata": {"name": "nightly-3", "uid": "3", "creationTimestamp": "2026-01-04T00:00:00Z"}});
    let spec = json!({"backupSource": {"provider": "kasten", "namespaces": []}, "healthChecks": {"policyRef": "app"}});
    let policy = json!({"metadata": {"name": "app"}, "spec": {"checks": []}});
    let last = finished("nightly-2", 69, "2026-01-03T00:00:00Z");
    let stored = Stored {
        test: test(&spec),
        policy: Some(policy.clone()),
        reports: vec![
            finished("nightly-1", 100, "2026-01-02T00:00:00Z"),
            last.clone(),
            unfinished,
        ],
        ..Stored::default()
    };
    let (_, writes, _) = run(stored).await;
    assert_eq!(
        report(&writes)["digests"],
        json!({
            "test": digest::of(&spec),
            "policy": digest::of(&policy["spec"]),
            "previousReport": digest::of_report(&last["status"]),
        })
    );
}

/// Nothing was made, so nothing is left, even where the provider's namespace may not be looked into.
#[tokio::test]
async fn a_bad_spec_leaves_nothing_behind() {
    let stored = Stored {
        test: test(&json!({"backupSource": {"provider": "velero", "providerNamespace": "wrong", "namespaces": []}})),
        ..Stored::default()
    };
    let (_, writes, log) = run(stored).await;
    let last = writes
        .iter()
        .rfind(|(call, _)| call.starts_with(&format!("PATCH {REPORTS}")))
        .unwrap();
    let cleaned = condition(&last.1["status"], "SandboxCleanedUp");
    assert_eq!(
        (&cleaned["status"], &cleaned["message"]),
        (&json!("True"), &json!("nothing was made"))
    );
    let after = log
        .iter()
        .skip_while(|call| !call.starts_with(&format!("POST {REPORTS}")));
    assert!(
        !after.into_iter().any(|call| call.contains("/namespaces/wrong/")),
        "{log:#?}"
    );
}

/// A run that ends before it looked at the spec says nothing about it.
#[tokio::test]
async fn a_spec_that_was_not_looked_at_is_neither_good_nor_bad() {
    let stored = Stored {
        test: test(&json!({"backupSource": source()})),
        ..Stored::default()
    };
    let mut outside = settings();
    outside.common.api_server = None;
    let (cluster, _, writes) = cluster(stored);
    let exit = Box::pin(run_on(&outside, &cluster, &Stopper::new())).await;
    assert_eq!(exit, Exit::NotJudged);
    let writes = writes.lock().unwrap().clone();
    assert_eq!(condition(&report(&writes), "Conclusive")["reason"], "SandboxDenied");
    let of_test = written(&writes, "PATCH", "restoretests/nightly/status");
    assert_eq!(condition(&of_test.last().unwrap()["status"], "Ready"), Value::Null);
}

/// Its annotations are all that is left of a run without a report.
#[tokio::test]
async fn the_lease_is_given_back_with_a_report_and_stays_without_one() {
    for unwritable in [false, true] {
        let stored = Stored {
            test: test(&json!({"backupSource": source(), "timeout": 5})),
            unwritable,
            ..Stored::default()
        };
        let (exit, writes, _) = run(stored).await;
        assert_eq!(exit == Exit::Unavailable, unwritable);
        let given_back = !written(&writes, "DELETE", "/leases/nightly").is_empty();
        assert_eq!(given_back, !unwritable, "{writes:#?}");
    }
}

/// The Lease is lost after 270 s, and another run may have begun when the server is back, moments later.
#[tokio::test(start_paused = true)]
async fn a_run_that_loses_its_lease_over_its_report_touches_nothing_more() {
    let late = (274..=310).step_by(3).map(|away| (away, true));
    for (away, lost) in late.chain([(250, false)]) {
        let stored = Stored {
            test: test(&json!({"backupSource": source(), "timeout": 5})),
            away: Some(Duration::from_secs(away)),
            ..Stored::default()
        };
        let (exit, writes, _) = run(stored).await;
        assert_eq!(exit == Exit::Unavailable, lost, "{exit:?}");
        let made = written(&writes, "POST", "/restorereports");
        assert_eq!(made.is_empty(), lost);
        // The Lease before, the phase of the beginning, and nothing after.
        let after = written(&writes, "PATCH", "restoretests/nightly/status");
        assert_eq!(after.len(), if lost { 1 } else { 2 }, "{writes:#?}");
        assert_eq!(written(&writes, "DELETE", "/leases/nightly").is_empty(), lost);
    }
}
