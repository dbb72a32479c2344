//! The stability window, and watches that break.

use super::scene::{Change, Watched};
use super::state::{Next, PATIENCE, Settled};
use super::test_objects::{at, pod, ready, see, starting, state, waiting, web};

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
