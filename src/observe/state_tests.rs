//! The state machine, fed with objects as the API server shows them and with instants of its own.

#![expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and tables of them read better without references"
)]

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::{Value, json};

use super::scene::{Change, Object, Watched};
use super::seen::{ControllerKind, ControllerSeen, Incident, PodSeen};
use super::state::{Bounds, GRACE, Next, PATIENCE, Settled, StartupState};
use crate::facts::{Fault, SandboxFacts};

const WATCHES: [Watched; 6] = [
    Watched::Pods,
    Watched::Controllers(ControllerKind::Deployment),
    Watched::Controllers(ControllerKind::StatefulSet),
    Watched::Controllers(ControllerKind::DaemonSet),
    Watched::Controllers(ControllerKind::ReplicaSet),
    Watched::Events,
];

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A state whose watches are all complete, over these objects. The restore ended at 5 s.
fn state(objects: impl IntoIterator<Item = Object>) -> StartupState {
    let sandbox = SandboxFacts {
        source: "shop".to_owned(),
        name: "test-shop-kymaros-abc123".to_owned(),
        uid: "n1".to_owned(),
    };
    let bounds = Bounds {
        from: at(5),
        timeout: at(600),
        stable_for: at(15),
    };
    let mut state = StartupState::new(&[sandbox], &WATCHES, bounds);
    for watched in WATCHES {
        state.apply(0, Change::Begin(watched));
    }
    for object in objects {
        state.apply(0, Change::Listed(object));
    }
    for watched in WATCHES {
        state.apply(0, Change::Complete(watched));
    }
    state
}

fn see(state: &mut StartupState, object: Object) {
    state.apply(0, Change::Seen(object));
}

fn pod(name: &str, owner: Option<(&str, &str)>, status: Value) -> Object {
    pod_of(name, owner, json!({"containers": [{"name": "main"}]}), status)
}

fn pod_of(name: &str, owner: Option<(&str, &str)>, spec: Value, status: Value) -> Object {
    let owners: Vec<Value> = owner
        .iter()
        .map(|(kind, uid)| json!({"apiVersion": "x/v1", "kind": kind, "name": "o", "uid": uid, "controller": true}))
        .collect();
    let object: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "ownerReferences": owners}, "spec": spec, "status": status,
    }))
    .unwrap();
    Object::Pod(Box::new(PodSeen::from(object)))
}

fn ready(restarts: u32) -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
        {"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": restarts, "state": {"running": {}}}]})
}

fn starting() -> Value {
    waiting("ContainerCreating")
}

fn waiting(reason: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": reason}}}]})
}

fn deployment(name: &str, replicas: i32, status: Value) -> Object {
    let object: Deployment = serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"replicas": replicas, "selector": {}, "template": {}}, "status": status,
    }))
    .unwrap();
    Object::Controller(Box::new(ControllerSeen::from(&object)))
}

fn seen(replicas: i32) -> Value {
    json!({"observedGeneration": 1, "updatedReplicas": replicas})
}

fn replica_set(name: &str, owner: Option<&str>, replicas: i32, conditions: Value) -> Object {
    let owners: Vec<Value> = owner
        .iter()
        .map(|uid| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "o", "uid": uid, "controller": true}))
        .collect();
    let object: ReplicaSet = serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1, "ownerReferences": owners},
        "spec": {"replicas": replicas, "selector": {}},
        "status": {"replicas": 0, "observedGeneration": 1, "conditions": conditions},
    }))
    .unwrap();
    Object::Controller(Box::new(ControllerSeen::from(&object)))
}

fn stateful_set(name: &str, replicas: i32) -> Object {
    let object: StatefulSet = serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"replicas": replicas, "selector": {}, "serviceName": "", "template": {}},
        "status": {"replicas": 0, "observedGeneration": 1, "updatedReplicas": replicas},
    }))
    .unwrap();
    Object::Controller(Box::new(ControllerSeen::from(&object)))
}

fn daemon_set(name: &str, status: Value) -> Object {
    let object: DaemonSet = serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"selector": {}, "template": {}}, "status": status,
    }))
    .unwrap();
    Object::Controller(Box::new(ControllerSeen::from(&object)))
}

fn failed_create(kind: &str, uid: &str, message: &str) -> Object {
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "e"}, "reason": "FailedCreate", "message": message,
        "involvedObject": {"kind": kind, "name": "x", "uid": uid}, "lastTimestamp": "2026-01-01T00:00:00Z",
    }))
    .unwrap();
    Object::Incident(Incident::of(&event).unwrap())
}

/// A Deployment `web` with its `ReplicaSet`, and pods of these states.
fn web(pods: &[Value]) -> Vec<Object> {
    let replicas = i32::try_from(pods.len()).unwrap();
    let mut objects = vec![
        deployment("web", replicas, seen(replicas)),
        replica_set("web-1", Some("uid-web"), replicas, json!([])),
        replica_set("web-0", Some("uid-web"), 0, json!([])),
    ];
    for (index, status) in pods.iter().enumerate() {
        objects.push(pod(
            &format!("web-1-{index}"),
            Some(("ReplicaSet", "uid-web-1")),
            status.clone(),
        ));
    }
    objects
}

#[test]
fn nothing_counts_before_every_watch_is_complete() {
    let sandbox = SandboxFacts {
        source: "shop".to_owned(),
        name: "sb".to_owned(),
        uid: "n1".to_owned(),
    };
    let bounds = Bounds {
        from: at(5),
        timeout: at(600),
        stable_for: at(0),
    };
    let mut state = StartupState::new(&[sandbox], &WATCHES, bounds);
    for watched in WATCHES {
        assert_eq!(
            state.settle(at(6)),
            Next::Wait(at(6) + PATIENCE),
            "{watched:?} is not complete"
        );
        state.apply(0, Change::Begin(watched));
        state.apply(0, Change::Complete(watched));
    }
    assert_eq!(state.settle(at(7)), Next::Done(Settled::AllReady));
    assert_eq!(state.stabilise(at(7)), Next::Done(true));
}

#[test]
fn all_ready_and_stable() {
    let mut state = state(web(&[starting(), ready(0)]));
    assert_eq!(state.settle(at(6)), Next::Wait(at(605)));
    assert_eq!(state.facts(at(6)).workloads[0].ready, 1);
    see(&mut state, pod("web-1-0", Some(("ReplicaSet", "uid-web-1")), ready(0)));
    assert_eq!(state.settle(at(9)), Next::Done(Settled::AllReady));
    assert_eq!(state.stabilise(at(9)), Next::Wait(at(24)));
    assert_eq!(state.stabilise(at(24)), Next::Done(true));
    let facts = state.facts(at(30));
    assert_eq!(facts.ready_after, Some(at(9)));
    assert_eq!(facts.waited, at(4));
    assert!(facts.stable && !facts.certain && facts.failures.is_empty(), "{facts:?}");
    let workloads: Vec<_> = facts
        .workloads
        .iter()
        .map(|w| (w.kind.as_str(), w.name.as_str(), w.desired, w.ready))
        .collect();
    assert_eq!(workloads, [("Deployment", "web", 2, 2)]);
}

#[test]
fn no_pods_yet_is_not_all_ready() {
    let unseen = [
        vec![deployment("web", 1, json!({}))],
        vec![deployment("web", 0, json!({}))],
        vec![deployment("web", 2, seen(2))],
        vec![daemon_set(
            "agent",
            json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}),
        )],
        vec![stateful_set("db", 1)],
        vec![replica_set("bare", None, 1, json!([]))],
    ];
    for objects in unseen {
        let text = format!("{objects:?}");
        let mut state = state(objects);
        assert_eq!(state.settle(at(6)), Next::Wait(at(605)), "{text}");
        assert_eq!(state.settle(at(605)), Next::Done(Settled::TimedOut), "{text}");
        assert_eq!(state.stabilise(at(605)), Next::Done(false));
        assert_eq!(state.facts(at(605)).ready_after, None);
    }
}

#[test]
fn nothing_to_run_is_all_ready() {
    let scaled_down = [
        deployment("web", 0, json!({"observedGeneration": 1})),
        replica_set("web-1", Some("uid-web"), 0, json!([])),
        daemon_set(
            "agent",
            json!({"observedGeneration": 1, "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}),
        ),
        // Ended well, and was meant to end.
        pod_of(
            "task",
            None,
            json!({"restartPolicy": "Never", "containers": []}),
            json!({"phase": "Succeeded"}),
        ),
        // Thrown out and replaced.
        pod("old", Some(("ReplicaSet", "uid-web-1")), json!({"phase": "Failed"})),
    ];
    let mut state = state(scaled_down);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.facts(at(6)).workloads, []);
}

#[test]
fn what_counts_without_a_workload() {
    let mut state = state([
        pod("bare", None, ready(0)),
        pod("broken", None, json!({"phase": "Failed"})),
        pod("stopped", None, json!({"phase": "Succeeded"})),
        pod("db-1", Some(("Cluster", "uid-of-a-custom-resource")), starting()),
        pod("job", Some(("Job", "uid-job")), json!({"phase": "Failed"})),
    ]);
    assert_eq!(state.settle(at(6)), Next::Wait(at(26)));
    let facts = state.facts(at(6));
    let workloads: Vec<_> = facts
        .workloads
        .iter()
        .map(|w| (w.kind.as_str(), w.name.as_str(), w.desired, w.ready))
        .collect();
    assert_eq!(
        workloads,
        [
            ("Pod", "bare", 1, 1),
            ("Pod", "broken", 1, 0),
            ("Pod", "db-1", 1, 0),
            ("Pod", "stopped", 1, 0)
        ]
    );
    let failed: Vec<_> = facts.failures.iter().map(|f| f.cause.as_str()).collect();
    assert_eq!(
        failed,
        [
            "Pod broken: ended as Failed, but should run",
            "Pod db-1: ContainerCreating",
            "Pod stopped: ended as Succeeded, but should run"
        ]
    );
}

#[test]
fn pods_of_this_program_and_pods_on_their_way_out_do_not_count() {
    let mut objects = web(&[ready(0)]);
    for (name, extra) in [
        ("probe", json!({"labels": {"kymaros.io/managed-by": "kymaros"}})),
        ("leaving", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})),
    ] {
        let mut metadata = extra;
        metadata["name"] = json!(name);
        let object: Pod =
            serde_json::from_value(json!({"metadata": metadata, "spec": {"containers": []}, "status": starting()}))
                .unwrap();
        objects.push(Object::Pod(Box::new(PodSeen::from(object))));
    }
    let mut state = state(objects);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.facts(at(6)).workloads.len(), 1);
}

#[test]
fn a_pod_too_many_counts_until_it_is_ready_or_gone() {
    let mut state = state(web(&[ready(0)]));
    see(
        &mut state,
        pod("web-2-0", Some(("ReplicaSet", "uid-web-1")), starting()),
    );
    assert_eq!(state.settle(at(6)), Next::Wait(at(605)));
    assert_eq!(state.facts(at(6)).workloads[0].desired, 2);
    state.apply(0, Change::Gone(Watched::Pods, "web-2-0".to_owned()));
    assert_eq!(state.settle(at(7)), Next::Done(Settled::AllReady));
}

#[test]
fn a_rollout_under_way_is_not_settled() {
    let mut state = state([
        deployment("web", 1, seen(0)),
        replica_set("web-1", Some("uid-web"), 1, json!([])),
        pod("web-1-0", Some(("ReplicaSet", "uid-web-1")), ready(0)),
    ]);
    assert_eq!(state.settle(at(6)), Next::Wait(at(605)));
    see(&mut state, deployment("web", 1, seen(1)));
    assert_eq!(state.settle(at(7)), Next::Done(Settled::AllReady));
}

#[test]
fn a_certain_cause_ends_the_wait_early_but_not_at_once() {
    let mut state = state(web(&[waiting("InvalidImageName"), starting()]));
    assert_eq!(state.settle(at(6)), Next::Wait(at(6) + GRACE));
    see(&mut state, pod("web-1-1", Some(("ReplicaSet", "uid-web-1")), ready(0)));
    assert_eq!(state.settle(at(8)), Next::Done(Settled::Failed));
    let facts = state.facts(at(8));
    assert!(facts.certain && !facts.stable, "{facts:?}");
    assert_eq!((facts.workloads[0].desired, facts.workloads[0].ready), (2, 1));
    assert_eq!(facts.waited, at(3));
}

#[test]
fn the_grace_of_the_others_is_bounded() {
    let mut state = state(web(&[waiting("InvalidImageName"), starting()]));
    assert_eq!(state.settle(at(6)), Next::Wait(at(6) + GRACE));
    assert_eq!(state.settle(at(25)), Next::Wait(at(6) + GRACE));
    assert_eq!(state.settle(at(26)), Next::Done(Settled::Failed));
}

#[test]
fn a_certain_cause_may_vanish() {
    let mut state = state(web(&[waiting("InvalidImageName"), starting()]));
    assert_eq!(state.settle(at(6)), Next::Wait(at(26)));
    see(
        &mut state,
        pod("web-1-0", Some(("ReplicaSet", "uid-web-1")), starting()),
    );
    assert_eq!(state.settle(at(10)), Next::Wait(at(605)));
    see(
        &mut state,
        pod(
            "web-1-0",
            Some(("ReplicaSet", "uid-web-1")),
            waiting("InvalidImageName"),
        ),
    );
    assert_eq!(state.settle(at(20)), Next::Wait(at(40)));
}

#[test]
fn pods_that_are_refused() {
    let quota = "Error creating: pods \"web-1-\" is forbidden: exceeded quota: kymaros-quota, requested: pods=1";
    let mut objects = vec![
        deployment("web", 2, seen(2)),
        replica_set(
            "web-1",
            Some("uid-web"),
            2,
            json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": quota}]),
        ),
        pod("web-1-0", Some(("ReplicaSet", "uid-web-1")), ready(0)),
        stateful_set("db", 1),
        failed_create(
            "StatefulSet",
            "uid-db",
            "create Pod db-0 in StatefulSet db failed error: pods \"db-0\" is forbidden: violates PodSecurity \"baseline:latest\": privileged",
        ),
    ];
    let mut state = state(std::mem::take(&mut objects));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::Failed));
    let facts = state.facts(at(6));
    let failures: Vec<_> = facts.failures.iter().map(|f| (f.cause.as_str(), f.fault)).collect();
    assert_eq!(
        failures,
        [
            (
                "Deployment web: only 1 of 2 pods could be made — exceeded quota: kymaros-quota, requested: pods=1",
                Fault::Sandbox
            ),
            (
                "StatefulSet db: no pod could be made — violates PodSecurity \"baseline:latest\": privileged",
                Fault::PodSecurity
            ),
        ]
    );
}

#[test]
fn pods_that_the_fence_refuses_are_held() {
    let refused = "Error creating: pods \"agent-\" is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-sandbox-objects' with binding 'b' denied request: no host access";
    let mut objects = web(&[ready(0)]);
    objects.push(daemon_set(
        "agent",
        json!({"observedGeneration": 1, "currentNumberScheduled": 0, "desiredNumberScheduled": 3, "numberMisscheduled": 0,
            "numberReady": 0, "updatedNumberScheduled": 3}),
    ));
    objects.push(failed_create("DaemonSet", "uid-agent", refused));
    let mut state = state(objects);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    let facts = state.facts(at(6));
    assert_eq!(facts.held, ["agent"]);
    assert_eq!(facts.workloads.len(), 1, "{facts:?}");
    assert_eq!(facts.failures, []);
}

#[test]
fn an_ordered_workload_blames_the_pod_that_blocks() {
    let mut state = state([
        stateful_set("db", 3),
        pod("db-0", Some(("StatefulSet", "uid-db")), waiting("ContainerCreating")),
    ]);
    assert_eq!(state.settle(at(6)), Next::Wait(at(605)));
    let facts = state.facts(at(6));
    let names: Vec<_> = facts.failures.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["db-0"]);
    assert_eq!((facts.workloads[0].desired, facts.workloads[0].ready), (3, 0));
}

#[test]
fn a_pod_that_restarts_in_the_window_is_not_stable() {
    let mut state = state(web(&[ready(0)]));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.stabilise(at(6)), Next::Wait(at(21)));
    // Ready again before anybody looked: only the count tells.
    see(&mut state, pod("web-1-0", Some(("ReplicaSet", "uid-web-1")), ready(1)));
    assert_eq!(state.stabilise(at(8)), Next::Done(false));
    let facts = state.facts(at(8));
    assert!(!facts.stable, "{facts:?}");
    assert_eq!(
        facts.failures[0].cause,
        "Pod web-1-0: restarted after all pods were ready"
    );
}

#[test]
fn a_restart_between_settling_and_the_window_counts() {
    let mut state = state(web(&[ready(0)]));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    see(&mut state, pod("web-1-0", Some(("ReplicaSet", "uid-web-1")), ready(1)));
    assert_eq!(state.stabilise(at(30)), Next::Done(false));
}

#[test]
fn restarts_before_all_were_ready_are_forgiven() {
    let mut state = state(web(&[ready(3)]));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.stabilise(at(6)), Next::Wait(at(21)));
    assert_eq!(state.stabilise(at(21)), Next::Done(true));
}

#[test]
fn a_pod_that_falls_back_in_the_window_is_not_stable() {
    let mut state = state(web(&[ready(0), ready(0)]));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.stabilise(at(6)), Next::Wait(at(21)));
    see(
        &mut state,
        pod(
            "web-1-1",
            Some(("ReplicaSet", "uid-web-1")),
            waiting("CrashLoopBackOff"),
        ),
    );
    assert_eq!(state.stabilise(at(20)), Next::Done(false));
    let facts = state.facts(at(20));
    assert_eq!(facts.failures.len(), 1, "{facts:?}");
    assert_eq!(
        facts.failures[0].cause,
        "Pod web-1-1: was ready and fell back: CrashLoopBackOff"
    );
    assert_eq!((facts.workloads[0].desired, facts.workloads[0].ready), (2, 1));
}

#[test]
fn a_pod_that_comes_late_begins_the_window_again() {
    let mut state = state(web(&[ready(0)]));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.stabilise(at(6)), Next::Wait(at(21)));
    see(&mut state, pod("late", None, starting()));
    assert_eq!(state.stabilise(at(10)), Next::Wait(at(605)));
    see(&mut state, pod("late", None, ready(0)));
    assert_eq!(state.stabilise(at(12)), Next::Wait(at(27)));
    assert_eq!(state.facts(at(12)).ready_after, Some(at(12)));
    assert_eq!(state.stabilise(at(27)), Next::Done(true));
}

#[test]
fn a_new_list_replaces_the_old_one_at_once() {
    let mut state = state(web(&[ready(0), ready(0)]));
    state.apply(0, Change::Begin(Watched::Pods));
    state.apply(
        0,
        Change::Listed(pod("web-1-0", Some(("ReplicaSet", "uid-web-1")), ready(0))),
    );
    assert_eq!(state.facts(at(6)).workloads[0].ready, 2, "the old list still counts");
    state.apply(0, Change::Complete(Watched::Pods));
    assert_eq!(state.facts(at(6)).workloads[0].ready, 1);
}

#[test]
fn the_sandboxes_name_is_told_as_the_sources() {
    let mut state = state(web(&[
        json!({"phase": "Pending", "containerStatuses": [{"name": "main", "image": "", "imageID": "",
        "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "CreateContainerConfigError",
        "message": "couldn't find key k in Secret test-shop-kymaros-abc123/db"}}}]}),
    ]));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::Failed));
    assert_eq!(
        state.facts(at(6)).failures[0].cause,
        "Pod web-1-0: CreateContainerConfigError — couldn't find key k in Secret shop/db"
    );
}

#[test]
fn a_watch_that_is_refused_is_said() {
    let mut state = state(web(&[ready(0)]));
    state.refuse(0, "watch Pod in test-shop-kymaros-abc123: forbidden");
    assert_eq!(state.settle(at(6)), Next::Done(Settled::Blind));
    let blindness = state.blindness().unwrap();
    assert!(blindness.refused, "{blindness:?}");
    assert_eq!(blindness.message, "watch Pod in shop: forbidden");
    assert!(!state.facts(at(6)).stable);
}

#[test]
fn nothing_is_decided_while_a_watch_is_out_of_order() {
    let mut state = state(web(&[starting()]));
    state.apply(0, Change::Lost(Watched::Pods));
    assert_eq!(state.settle(at(600)), Next::Wait(at(600) + PATIENCE));
    // The time is up, but what happened meanwhile is not known.
    assert_eq!(state.settle(at(700)), Next::Wait(at(600) + PATIENCE));
    state.apply(0, Change::Begin(Watched::Pods));
    state.apply(
        0,
        Change::Listed(pod("web-1-0", Some(("ReplicaSet", "uid-web-1")), ready(0))),
    );
    state.apply(0, Change::Complete(Watched::Pods));
    assert_eq!(state.settle(at(710)), Next::Done(Settled::AllReady));
    // The same in the window.
    assert_eq!(state.stabilise(at(710)), Next::Wait(at(725)));
    state.apply(0, Change::Lost(Watched::Pods));
    assert_eq!(state.stabilise(at(725)), Next::Wait(at(725) + PATIENCE));
    assert_eq!(state.stabilise(at(725) + PATIENCE), Next::Done(false));
    assert!(!state.blindness().unwrap().refused);
}

#[test]
fn events_only_explain() {
    let mut state = state(web(&[ready(0)]));
    state.apply(0, Change::Lost(Watched::Events));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
}
