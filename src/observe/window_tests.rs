//! The stability window, and watches that break.

use k8s_openapi::api::core::v1::Event;
use serde_json::json;

use super::bare::BarePod;
use super::incidents::Incident;
use super::scene::{Change, Object, Watched};
use super::state::{Next, PATIENCE, Settled, StartupState};
use super::test_objects::{at, pod, ready, see, starting, state, state_with, waiting, web};

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
    state.tick(at(12));
    see(&mut state, pod("late", None, ready(0)));
    assert_eq!(state.stabilise(at(12)), Next::Wait(at(27)));
    assert_eq!(state.facts(at(12)).ready_after, Some(at(12)));
    assert_eq!(state.stabilise(at(27)), Next::Done(true));
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

/// A probe of pod `web-1-0` failed, at this second.
fn unhealthy(message: &str, second: u32) -> Object {
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "e"}, "reason": "Unhealthy", "message": message,
        "involvedObject": {"kind": "Pod", "name": "web-1-0", "uid": "uid-web-1-0"},
        "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
    }))
    .unwrap();
    Object::Incident(Incident::of(&event).unwrap())
}

#[test]
fn the_window_does_not_pass_while_a_liveness_probe_fails() {
    let mut state = state(web(&[ready(0)]));
    // It failed while the container started, which is over.
    see(&mut state, unhealthy("Liveness probe failed: connection refused", 5));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.stabilise(at(6)), Next::Wait(at(21)));
    see(&mut state, unhealthy("Liveness probe failed: HTTP 500", 15));
    assert_eq!(state.stabilise(at(15)), Next::Wait(at(30)));
    assert_eq!(
        state.stabilise(at(20)),
        Next::Wait(at(30)),
        "the same failure counts once"
    );
    see(&mut state, unhealthy("Liveness probe failed: HTTP 500", 25));
    assert_eq!(state.stabilise(at(25)), Next::Wait(at(40)));
    assert_eq!(
        state.facts(at(25)).ready_after,
        Some(at(5)),
        "it is ready all the while"
    );
    let mut killed = ready(1);
    killed["containerStatuses"][0]["lastState"] = json!({"terminated": {"exitCode": 137, "reason": "Error"}});
    see(&mut state, pod("web-1-0", Some(("ReplicaSet", "uid-web-1")), killed));
    assert_eq!(state.stabilise(at(36)), Next::Done(false));
    assert_eq!(
        state.facts(at(36)).failures[0].cause,
        "Pod web-1-0: restarted after all pods were ready — exit code 137; Liveness probe failed: HTTP 500"
    );
}

#[test]
fn a_readiness_probe_that_fails_now_and_then_holds_nothing_up() {
    let mut state = state(web(&[ready(0)]));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.stabilise(at(6)), Next::Wait(at(21)));
    see(&mut state, unhealthy("Readiness probe failed: HTTP 500", 15));
    assert_eq!(state.stabilise(at(21)), Next::Done(true));
}

/// All are ready, and the window has passed at 21 s.
fn stable(mut state: StartupState) -> StartupState {
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.stabilise(at(6)), Next::Wait(at(21)));
    assert_eq!(state.stabilise(at(21)), Next::Done(true));
    state
}

#[test]
fn a_pod_that_falls_back_while_the_checks_run_is_down_all_the_same() {
    let mut state = stable(state(web(&[ready(0)])));
    state.look_again();
    assert!(state.facts(at(25)).stable);
    see(
        &mut state,
        pod(
            "web-1-0",
            Some(("ReplicaSet", "uid-web-1")),
            waiting("CrashLoopBackOff"),
        ),
    );
    state.look_again();
    let facts = state.facts(at(30));
    assert!(!facts.stable, "{facts:?}");
    assert_eq!(
        facts.failures[0].cause,
        "Pod web-1-0: was ready and fell back: CrashLoopBackOff"
    );
    // Ready again when the run ends, and fallen back for all that.
    see(&mut state, pod("web-1-0", Some(("ReplicaSet", "uid-web-1")), ready(1)));
    state.look_again();
    assert!(!state.facts(at(40)).stable);
}

#[test]
fn what_shows_up_after_the_window_is_judged_no_more() {
    let mut state = stable(state(web(&[ready(0)])));
    see(&mut state, pod("late", None, starting()));
    state.look_again();
    let facts = state.facts(at(30));
    assert!(
        facts.stable && facts.failures.is_empty() && facts.workloads.len() == 1,
        "{facts:?}"
    );
}

#[test]
fn a_pod_that_nothing_makes_anew_is_missed_to_the_end() {
    let tool = BarePod {
        source: "shop".to_owned(),
        name: "tool".to_owned(),
        refused: None,
    };
    let mut state = stable(state_with([pod("tool", None, ready(0))], vec![tool]));
    // A list that is not complete yet shows nothing that is gone.
    state.apply(0, Change::Lost(Watched::Pods));
    state.apply(0, Change::Gone(Watched::Pods, "tool".to_owned()));
    state.look_again();
    assert!(state.facts(at(30)).stable);
    state.apply(0, Change::Begin(Watched::Pods));
    state.apply(0, Change::Complete(Watched::Pods));
    state.look_again();
    let facts = state.facts(at(31));
    assert!(
        !facts.stable && facts.failures[0].cause.contains("then vanished"),
        "{facts:?}"
    );
    assert_eq!(facts.failures.len(), 1, "told once: {facts:?}");
}
