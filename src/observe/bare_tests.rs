//! Pods that nothing makes anew: one that is not there is missed.

use serde_json::json;

use super::bare::BarePod;
use super::scene::{Change, Watched};
use super::state::{Next, Settled};
use super::test_objects::{at, pod, pod_of, ready, see, starting, state_with, web};
use crate::facts::Fault;

fn wanted(name: &str) -> BarePod {
    BarePod {
        source: "shop".to_owned(),
        name: name.to_owned(),
        refused: None,
    }
}

fn refused(name: &str, message: &str, fault: Fault) -> BarePod {
    BarePod {
        refused: Some((message.to_owned(), fault)),
        ..wanted(name)
    }
}

#[test]
fn one_that_is_there_is_judged_as_every_pod() {
    let mut state = state_with([pod("tool", None, ready(0))], vec![wanted("tool")]);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.facts(at(6)).workloads.len(), 1, "once, not twice");
    let mut state = state_with([pod("tool", None, starting())], vec![wanted("tool")]);
    assert_eq!(state.settle(at(6)), Next::Wait(at(605)));
    assert_eq!(state.facts(at(6)).failures.len(), 1);
}

#[test]
fn one_that_ended_well_did_what_it_was_for() {
    let task = pod_of(
        "task",
        None,
        json!({"restartPolicy": "Never", "containers": []}),
        json!({"phase": "Succeeded"}),
    );
    let mut state = state_with([task], vec![wanted("task")]);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.facts(at(6)).workloads, []);
}

#[test]
fn one_that_vanished_is_missed_and_not_waited_for() {
    let mut state = state_with(web(&[ready(0)]), vec![wanted("tool")]);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::Failed));
    let facts = state.facts(at(6));
    let tool = facts.workloads.iter().find(|workload| workload.name == "tool").unwrap();
    assert_eq!((tool.kind.as_str(), tool.desired, tool.ready), ("Pod", 1, 0));
    assert_eq!(
        facts.failures[0].cause,
        "Pod tool: restored, then vanished during the run, and no controller makes it anew"
    );
    assert!(!facts.stable && facts.certain);
}

#[test]
fn one_on_its_way_out_is_as_good_as_gone() {
    let object: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({
        "metadata": {"name": "tool", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": []}, "status": ready(0)}))
    .unwrap();
    let object = super::scene::Object::Pod(Box::new(object.into()));
    let mut state = state_with([object], vec![wanted("tool")]);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::Failed));
}

#[test]
fn one_that_vanishes_in_the_window_is_not_stable() {
    let mut state = state_with([pod("tool", None, ready(0))], vec![wanted("tool")]);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.stabilise(at(6)), Next::Wait(at(21)));
    state.apply(0, Change::Gone(Watched::Pods, "tool".to_owned()));
    assert_eq!(state.stabilise(at(10)), Next::Done(false));
    let facts = state.facts(at(10));
    assert!(facts.failures[0].cause.contains("then vanished"), "{facts:?}");
}

#[test]
fn one_that_the_provider_could_not_make_carries_its_error() {
    let mut state = state_with(
        web(&[ready(0)]),
        vec![refused("tool", "pods \"tool\" is forbidden: no", Fault::Backup)],
    );
    assert_eq!(state.settle(at(6)), Next::Done(Settled::Failed));
    let facts = state.facts(at(6));
    assert_eq!(
        facts.failures[0].cause,
        "Pod tool: was not restored — pods \"tool\" is forbidden: no"
    );
    // Somebody else may have made it all the same.
    see(&mut state, pod("tool", None, ready(0)));
    assert_eq!(state.facts(at(7)).failures, []);
}

#[test]
fn one_that_the_fence_refuses_is_held() {
    let mut state = state_with([], vec![refused("agent", "no host access", Fault::Fence)]);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    let facts = state.facts(at(6));
    assert_eq!(
        (facts.held.as_slice(), facts.workloads.len()),
        (&["agent".to_owned()][..], 0)
    );
    assert_eq!(facts.failures, []);
}

#[test]
fn one_of_another_namespace_is_not_missed_here() {
    let elsewhere = BarePod {
        source: "infra".to_owned(),
        ..wanted("tool")
    };
    let mut state = state_with(web(&[ready(0)]), vec![elsewhere]);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
}
