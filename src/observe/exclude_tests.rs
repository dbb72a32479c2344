//! Pods that nobody waits for: what counts without them, and what they say.

use serde_json::{Value, json};

use super::bare::BarePod;
use super::exclude::Exclusions;
use super::scene::Object;
use super::state::{Next, Settled, StartupState};
use super::test_objects::*;
use crate::plan::{IgnoredPods, Orphan};

fn orphan(name: &str) -> Orphan {
    Orphan {
        source: "shop".to_owned(),
        name: name.to_owned(),
        reason: "its owner Cluster/pg is held".to_owned(),
    }
}

fn ignoring(entries: &[&str]) -> Exclusions {
    let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
    Exclusions::new(IgnoredPods::new(&entries), Vec::new(), false)
}

fn orphaned(partial: bool) -> Exclusions {
    Exclusions::new(
        IgnoredPods::default(),
        ["pg-1", "pg-2", "pg-3"].map(orphan).into(),
        partial,
    )
}

fn without(exclusions: Exclusions, bare: &[&str], objects: Vec<Object>) -> StartupState {
    let bare = bare.iter().map(|name| BarePod {
        source: "shop".to_owned(),
        name: (*name).to_owned(),
        refused: None,
    });
    state_without(objects, bare.collect(), exclusions)
}

/// Names and reasons of what is not waited for.
fn excluded(state: &StartupState) -> Vec<(String, String)> {
    let facts = state.facts(at(6));
    facts.excluded.into_iter().map(|one| (one.name, one.reason)).collect()
}

fn reasons<const N: usize>(all: [(&str, &str); N]) -> Vec<(String, String)> {
    all.map(|(name, reason)| (name.to_owned(), reason.to_owned())).into()
}

fn work(name: &str, policy: &str, status: Value) -> Object {
    pod_of(
        name,
        None,
        json!({"restartPolicy": policy, "containers": [{"name": "main"}]}),
        status,
    )
}

#[test]
fn work_without_a_controller_is_no_service() {
    let mut objects = web(&[ready(0)]);
    objects.push(work("step", "Never", json!({"phase": "Failed"})));
    objects.push(work("build", "OnFailure", starting()));
    let mut state = without(Exclusions::default(), &["step", "build"], objects);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(state.facts(at(6)).workloads.len(), 1);
    let expected = [
        (
            "build",
            "work, not a service: restartPolicy OnFailure, and nothing controls it",
        ),
        (
            "step",
            "work, not a service: restartPolicy Never, and nothing controls it",
        ),
    ];
    assert_eq!(excluded(&state), reasons(expected));
    // It may go at any time.
    state.apply(
        0,
        super::scene::Change::Gone(super::scene::Watched::Pods, "build".to_owned()),
    );
    assert_eq!(state.stabilise(at(8)), Next::Wait(at(23)));
    assert_eq!(excluded(&state), reasons(expected));
    assert_eq!(state.left_out(), [], "a check of it counts");
}

#[test]
fn a_pod_whose_owner_is_held_is_not_waited_for_ready_or_not_there_or_not() {
    let mut objects = web(&[ready(0)]);
    objects.push(pod("pg-1", None, starting()));
    objects.push(pod("pg-2", None, ready(0)));
    let mut state = without(orphaned(false), &[], objects);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    let why = "its owner Cluster/pg is held";
    assert_eq!(excluded(&state), reasons([("pg-1", why), ("pg-2", why), ("pg-3", why)]));
    assert_eq!(state.left_out().len(), 3, "checks look for them in vain");
    // Nor does it fall back.
    see(&mut state, pod("pg-2", None, starting()));
    assert_eq!(state.stabilise(at(8)), Next::Wait(at(23)));
    // One that a controller of the sandbox has taken on is judged.
    let adopted = pod("pg-1", Some(("Cluster", "uid-pg")), starting());
    let mut state = without(orphaned(false), &[], vec![adopted]);
    assert_eq!(state.settle(at(6)), Next::Wait(at(605)));
    // Of a part, what is not there may not have been selected.
    assert_eq!(excluded(&without(orphaned(true), &[], web(&[ready(0)]))), []);
}

#[test]
fn what_is_ignored_is_named_with_its_entry() {
    let mut objects = web(&[starting()]);
    objects.push(pod("runner-7", None, json!({"phase": "Failed"})));
    let mut state = without(
        ignoring(&["Pod/runner-*", "Deployment/web"]),
        &["runner-7", "runner-8"],
        objects,
    );
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    let by_name = "podStartup.ignore: Pod/runner-*";
    let expected = [
        ("runner-7", by_name),
        ("runner-8", by_name),
        ("web", "podStartup.ignore: Deployment/web"),
    ];
    assert_eq!(excluded(&state), reasons(expected));
    assert_eq!(state.facts(at(6)).workloads, []);
    assert_eq!(state.left_out(), []);
}

#[test]
fn single_pods_of_a_workload_may_be_ignored() {
    let mut state = without(ignoring(&["Pod/web-1-1"]), &[], web(&[ready(0), starting()]));
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    let facts = state.facts(at(6));
    assert_eq!((facts.workloads[0].desired, facts.workloads[0].ready), (1, 1));
    assert_eq!(facts.excluded[0].name, "web-1-1");
}

#[test]
fn a_refused_workload_leaves_out_pods_with_the_labels_of_its_template() {
    let message = "Error creating: pods \"web-1-\" is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-sandbox-pods' with binding 'x' denied request: no host";
    let mut objects = web(&[]);
    objects[0] = labelled("web", 1);
    objects[1] = replica_set("web-1", Some("uid-web"), 1, json!([]));
    objects.push(failed_create("ReplicaSet", "uid-web-1", message));
    let mut state = without(Exclusions::default(), &[], objects);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    let left_out = state.left_out();
    assert_eq!(
        (left_out[0].name.as_str(), left_out[0].reason.as_str()),
        ("web", "no host")
    );
    assert_eq!(left_out[0].labels.as_ref().unwrap()["app"], "web");
    // By the same labels it may be ignored, and then nothing is said of the refusal.
    let mut state = without(ignoring(&["app=w*"]), &[], vec![labelled("web", 1)]);
    assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady));
    assert_eq!(excluded(&state), reasons([("web", "podStartup.ignore: app=w*")]));
}
