//! Objects as the API server shows them, and a state machine fed with them, for the tests.

#![expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and tables of them read better without references"
)]

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::bare::BarePod;
use super::exclude::Exclusions;
use super::incidents::Incident;
use super::scene::{Change, Object, Watched};
use super::seen::{ControllerKind, ControllerSeen, PodSeen};
use super::state::{Bounds, StartupState};
use crate::facts::SandboxFacts;

pub(super) const WATCHES: [Watched; 6] = [
    Watched::Pods,
    Watched::Controllers(ControllerKind::Deployment),
    Watched::Controllers(ControllerKind::StatefulSet),
    Watched::Controllers(ControllerKind::DaemonSet),
    Watched::Controllers(ControllerKind::ReplicaSet),
    Watched::Events,
];

pub(super) fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A state whose watches are all complete, over these objects. The restore ended at 5 s.
pub(super) fn state(objects: impl IntoIterator<Item = Object>) -> StartupState {
    state_with(objects, Vec::new())
}

/// The same where these pods should be there by themselves.
pub(super) fn state_with(objects: impl IntoIterator<Item = Object>, bare: Vec<BarePod>) -> StartupState {
    state_without(objects, bare, Exclusions::default())
}

/// The same where these are not waited for.
pub(super) fn state_without(
    objects: impl IntoIterator<Item = Object>,
    bare: Vec<BarePod>,
    exclusions: Exclusions,
) -> StartupState {
    let sandbox = SandboxFacts {
        source: "shop".to_owned(),
        name: "test-shop-kymaros-abc123".to_owned(),
        uid: "n1".to_owned(),
    };
    let bounds = Bounds {
        created: Timestamp::UNIX_EPOCH,
        from: None,
        timeout: at(600),
        stable_for: at(15),
        operators: false,
    };
    let mut state = StartupState::new(&[sandbox], &WATCHES, bounds);
    state.begin(at(5), bare);
    state.exclude(exclusions);
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

pub(super) fn see(state: &mut StartupState, object: Object) {
    state.apply(0, Change::Seen(object));
}

pub(super) fn pod(name: &str, owner: Option<(&str, &str)>, status: Value) -> Object {
    pod_of(name, owner, json!({"containers": [{"name": "main"}]}), status)
}

pub(super) fn pod_of(name: &str, owner: Option<(&str, &str)>, spec: Value, status: Value) -> Object {
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

pub(super) fn ready(restarts: u32) -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
        {"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": restarts, "state": {"running": {}}}]})
}

pub(super) fn starting() -> Value {
    waiting("ContainerCreating")
}

pub(super) fn waiting(reason: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": reason}}}]})
}

pub(super) fn deployment(name: &str, replicas: i32, status: Value) -> Object {
    let object: Deployment = serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"replicas": replicas, "selector": {}, "template": {}}, "status": status,
    }))
    .unwrap();
    Object::Controller(Box::new(ControllerSeen::from(&object)))
}

/// A Deployment whose pods have a label `app` of its name.
pub(super) fn labelled(name: &str, replicas: i32) -> Object {
    let object: Deployment = serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"replicas": replicas, "selector": {}, "template": {"metadata": {"labels": {"app": name}}}}, "status": seen(replicas),
    }))
    .unwrap();
    Object::Controller(Box::new(ControllerSeen::from(&object)))
}

pub(super) fn seen(replicas: i32) -> Value {
    json!({"observedGeneration": 1, "updatedReplicas": replicas})
}

pub(super) fn replica_set(name: &str, owner: Option<&str>, replicas: i32, conditions: Value) -> Object {
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

pub(super) fn stateful_set(name: &str, replicas: i32) -> Object {
    let object: StatefulSet = serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"replicas": replicas, "selector": {}, "serviceName": "", "template": {}},
        "status": {"replicas": 0, "observedGeneration": 1, "updatedReplicas": replicas},
    }))
    .unwrap();
    Object::Controller(Box::new(ControllerSeen::from(&object)))
}

pub(super) fn daemon_set(name: &str, status: Value) -> Object {
    let object: DaemonSet = serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"selector": {}, "template": {}}, "status": status,
    }))
    .unwrap();
    Object::Controller(Box::new(ControllerSeen::from(&object)))
}

pub(super) fn failed_create(kind: &str, uid: &str, message: &str) -> Object {
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "e"}, "reason": "FailedCreate", "message": message,
        "involvedObject": {"kind": kind, "name": "x", "uid": uid}, "lastTimestamp": "2026-01-01T00:00:00Z",
    }))
    .unwrap();
    Object::Incident(Incident::of(&event).unwrap())
}

/// A Deployment `web` with its `ReplicaSet`, and pods of these states.
pub(super) fn web(pods: &[Value]) -> Vec<Object> {
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
