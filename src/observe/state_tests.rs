//! The wait for the pods: what counts, and how it ends.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::incidents::{Incident, Trouble};
use super::scene::{Change, Object, Watched};
use super::seen::PodSeen;
use super::state::{Bounds, GRACE, Next, PATIENCE, Settled, StartupState};
use super::test_objects::*;
use crate::facts::{Fault, SandboxFacts};

#[test]
fn nothing_counts_before_every_watch_is_complete() {
    let sandbox = SandboxFacts {
        source: "shop".to_owned(),
        name: "sb".to_owned(),
        uid: "n1".to_owned(),
    };
    let bounds = Bounds {
        created: Timestamp::UNIX_EPOCH,
        from: None,
        timeout: at(600),
        stable_for: at(0),
        operators: false,
    };
    let mut state = StartupState::new(&[sandbox], &WATCHES, bounds);
    state.begin(at(5), Vec::new());
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
    state.tick(at(9));
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

/// A pod of two containers in these states: `true` is ready, a number has ended with that code.
fn two_containers(policy: &str, each: &[serde_json::Value; 2]) -> super::scene::Object {
    let status = |name: &str, state: &serde_json::Value| {
        let doing = match state.as_i64() {
            Some(code) => json!({"terminated": {"exitCode": code}}),
            None => json!({"running": {}}),
        };
        json!({"name": name, "image": "", "imageID": "", "ready": *state == json!(true), "restartCount": 0, "state": doing})
    };
    // Without a controller it would be work, for which nobody waits.
    pod_of(
        "task",
        Some(("Machine", "uid-of-a-custom-resource")),
        json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": if *each == [json!(true), json!(true)] { "True" } else { "False" }}],
            "containerStatuses": [status("a", &each[0]), status("b", &each[1])]}),
    )
}

#[test]
fn a_pod_that_is_done_in_part_is_well() {
    for (policy, states, well) in [
        ("Never", [json!(0), json!(true)], true),
        ("OnFailure", [json!(0), json!(true)], true),
        // The last moment before its phase says so.
        ("Never", [json!(0), json!(0)], true),
        ("Never", [json!(1), json!(true)], false),
        ("Never", [json!(0), json!(false)], false),
        ("Never", [json!(false), json!(true)], false),
        ("Always", [json!(0), json!(true)], false),
    ] {
        let text = format!("{policy} {states:?}");
        let mut state = state([two_containers(policy, &states)]);
        let settled = state.settle(at(6)) == Next::Done(Settled::AllReady);
        assert_eq!(settled, well, "{text}");
        // The same for one that was ready before.
        let mut state = super::test_objects::state([two_containers(policy, &[json!(true), json!(true)])]);
        assert_eq!(state.settle(at(6)), Next::Done(Settled::AllReady), "{text}");
        see(&mut state, two_containers(policy, &states));
        assert_eq!(state.stabilise(at(8)) == Next::Done(false), !well, "{text}");
    }
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
    assert_eq!(facts.refusals["agent"], "no host access");
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
fn pods_are_recovered_when_they_were_ready_and_not_when_somebody_looked() {
    let sandbox = SandboxFacts {
        source: "shop".to_owned(),
        name: "sandbox".to_owned(),
        uid: "n".to_owned(),
    };
    let bounds = Bounds {
        created: "2026-05-12T03:00:00Z".parse().unwrap(),
        from: None,
        timeout: at(600),
        stable_for: at(15),
        operators: false,
    };
    let ready_at = |time: &str| {
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time}]});
        pod("tool", None, status)
    };
    for (seen_at, says, expected) in [
        // Seen as it happened, before the restore had ended.
        (7, "2026-05-12T03:00:07Z", 7),
        // In a list, long after it happened: its node knows, to the second.
        (50, "2026-05-12T03:00:30Z", 31),
        // The node's clock is ahead, or far behind.
        (20, "2026-05-12T03:09:00Z", 20),
        (20, "2026-05-12T02:59:00Z", 20),
    ] {
        let mut state = StartupState::new(std::slice::from_ref(&sandbox), &WATCHES, bounds);
        for watched in WATCHES {
            state.apply(0, Change::Begin(watched));
            state.apply(0, Change::Complete(watched));
        }
        state.tick(at(seen_at));
        see(&mut state, ready_at(says));
        assert!(!state.has_begun());
        state.begin(at(6), Vec::new());
        assert_eq!(state.settle(at(60)), Next::Done(Settled::AllReady));
        assert_eq!(state.facts(at(60)).ready_after, Some(at(expected)), "{says}");
    }
}

#[test]
fn a_pod_that_was_given_up_is_certain() {
    let mut state = state(web(&[starting(), ready(0)]));
    assert_eq!(state.settle(at(6)), Next::Wait(at(605)));
    state.give_up(
        "shop",
        "web-1-0",
        super::cause::Cause::told("claim files has no storage class", Fault::Cluster),
    );
    assert_eq!(state.settle(at(7)), Next::Done(Settled::Failed));
    let failure = state.facts(at(7)).failures.remove(0);
    assert_eq!(
        (failure.cause.as_str(), failure.certain, failure.fault),
        ("Pod web-1-0: claim files has no storage class", true, Fault::Cluster)
    );
}

#[test]
fn what_an_operator_may_still_make_is_waited_for() {
    let message = json!({"phase": "Pending", "containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"pg-app\" not found"}}}]});
    for (operators, certain) in [(false, true), (true, false)] {
        let sandbox = SandboxFacts {
            source: "shop".to_owned(),
            name: "sandbox".to_owned(),
            uid: "n".to_owned(),
        };
        let bounds = Bounds {
            created: Timestamp::UNIX_EPOCH,
            from: None,
            timeout: at(600),
            stable_for: at(15),
            operators,
        };
        let mut state = StartupState::new(&[sandbox], &WATCHES, bounds);
        state.begin(at(5), Vec::new());
        for watched in WATCHES {
            state.apply(0, Change::Begin(watched));
            state.apply(0, Change::Complete(watched));
        }
        see(&mut state, pod("pg-1", None, message.clone()));
        assert_eq!(state.facts(at(6)).failures[0].certain, certain);
    }
}

#[test]
fn an_event_of_before_the_newest_pod_is_over() {
    let created = |object: Object, time: &str| match object {
        Object::Pod(mut pod) => {
            pod.identity.created = Some(time.parse().unwrap());
            Object::Pod(pod)
        }
        other => other,
    };
    for (pod_created, failures) in [("1970-01-01T00:00:08Z", 1), ("1970-01-01T00:00:02Z", 2)] {
        let refused = Incident {
            about: "uid-db".to_owned(),
            trouble: Trouble::Create,
            at: "1970-01-01T00:00:04Z".parse().unwrap(),
            message: "create Pod db-0 in StatefulSet db failed error: pods \"db-0\" is forbidden: no".to_owned(),
        };
        let mut state = state([stateful_set("db", 2), Object::Incident(refused)]);
        see(
            &mut state,
            created(pod("db-0", Some(("StatefulSet", "uid-db")), starting()), pod_created),
        );
        assert_eq!(
            state.facts(at(6)).failures.len(),
            failures,
            "{:?}",
            state.facts(at(6)).failures
        );
    }
}
