//! Tables of pods as the API server shows them, with the cause that a person would name.

#![expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and tables of them read better without references"
)]

use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::{Value, json};

use super::cause::{of_pod, of_relapse};
use super::incidents::{Incident, Incidents};
use super::seen::PodSeen;
use crate::facts::Fault;

fn pod(spec: Value, status: Value) -> PodSeen {
    let object: Pod = serde_json::from_value(json!({
        "metadata": {"name": "db-0", "uid": "u1"}, "spec": spec, "status": status,
    }))
    .unwrap();
    PodSeen::from(object)
}

fn one(state: Value) -> PodSeen {
    one_with(json!({"state": state}))
}

fn one_with(status: Value) -> PodSeen {
    let mut status = status;
    status["name"] = json!("db");
    for (key, value) in [
        ("image", json!("")),
        ("imageID", json!("")),
        ("ready", json!(false)),
        ("restartCount", json!(0)),
    ] {
        if status.get(key).is_none() {
            status[key] = value;
        }
    }
    pod(
        json!({"containers": [{"name": "db", "image": "reg.example.com/db:1.2"}],
               "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}),
        json!({"phase": "Pending", "containerStatuses": [status]}),
    )
}

fn event(kind: &str, name: &str, uid: &str, reason: &str, message: &str) -> Incident {
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "e"}, "reason": reason, "message": message, "type": "Warning",
        "involvedObject": {"kind": kind, "name": name, "uid": uid}, "lastTimestamp": "2026-01-01T00:00:00Z",
    }))
    .unwrap();
    Incident::of(&event).unwrap()
}

fn with(incident: Incident) -> Incidents {
    let mut incidents = Incidents::default();
    incidents.add(incident);
    incidents
}

fn check(pod: &PodSeen, incidents: &Incidents, text: &str, certain: bool, fault: Fault) {
    let cause = of_pod(pod, incidents);
    assert_eq!(
        (cause.text.as_str(), cause.certain, cause.fault),
        (text, certain, fault)
    );
}

fn waits(reason: &str, message: &str) -> PodSeen {
    one(json!({"waiting": {"reason": reason, "message": message}}))
}

#[test]
fn images() {
    let pulling = |rest: &str| {
        format!("rpc error: code = Unknown desc = failed to pull and unpack image \"reg.example.com/db:1.2\": {rest}")
    };
    let table = [
        (
            pulling("failed to resolve reference \"reg.example.com/db:1.2\": reg.example.com/db:1.2: not found"),
            "ImagePullBackOff — image reg.example.com/db:1.2 not found",
            true,
        ),
        (
            pulling("no match for platform in manifest: not found"),
            "ImagePullBackOff — image reg.example.com/db:1.2 not found",
            true,
        ),
        (
            pulling(
                "failed to do request: Head \"https://reg.example.com/v2/db/manifests/1.2\": dial tcp: lookup reg.example.com: no such host",
            ),
            "ImagePullBackOff — registry of reg.example.com/db:1.2 not reached: Head \"https://reg.example.com/v2/db/manifests/1.2\": dial tcp: lookup reg.example.com: no such host",
            false,
        ),
        (
            pulling(
                "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope",
            ),
            "ImagePullBackOff — access to reg.example.com/db:1.2 denied by its registry",
            false,
        ),
        (
            pulling("unexpected status code 429 Too Many Requests - Server message: toomanyrequests"),
            "ImagePullBackOff — registry of reg.example.com/db:1.2 limits its rate",
            false,
        ),
    ];
    for (message, text, certain) in &table {
        // That a registry is away or limits its rate is nobody's fault here.
        let fault = if text.contains("registry of") {
            Fault::Cluster
        } else {
            Fault::Backup
        };
        check(
            &waits("ImagePullBackOff", message),
            &Incidents::default(),
            text,
            *certain,
            fault,
        );
    }
    let with_secret = PodSeen {
        pull_secrets: vec!["ecr".to_owned()],
        ..waits("ErrImagePull", &pulling("unexpected status: 401 Unauthorized"))
    };
    check(
        &with_secret,
        &Incidents::default(),
        "ErrImagePull — access to reg.example.com/db:1.2 denied by its registry; the pull secret ecr is as old as the backup, so after \
         a restore it has to be renewed if its token has expired",
        false,
        Fault::Backup,
    );
    // While it backs off, the status of an older node says nothing: the event does.
    let backs_off = waits("ImagePullBackOff", "Back-off pulling image \"reg.example.com/db:1.2\"");
    let failed = event(
        "Pod",
        "db-0",
        "u1",
        "Failed",
        "Failed to pull image \"reg.example.com/db:1.2\": code = NotFound desc = reg.example.com/db:1.2: not found",
    );
    check(
        &backs_off,
        &with(failed),
        "ImagePullBackOff — image reg.example.com/db:1.2 not found",
        true,
        Fault::Backup,
    );
    check(
        &backs_off,
        &Incidents::default(),
        "ImagePullBackOff — reg.example.com/db:1.2",
        false,
        Fault::Backup,
    );
    check(
        &waits("InvalidImageName", "couldn't parse"),
        &Incidents::default(),
        "InvalidImageName — reg.example.com/db:1.2",
        true,
        Fault::Backup,
    );
    check(
        &waits(
            "ErrImageNeverPull",
            "Container image is not present with pull policy of Never",
        ),
        &Incidents::default(),
        "ErrImageNeverPull — image reg.example.com/db:1.2 is not on the node and may not be pulled",
        true,
        Fault::Backup,
    );
}

#[test]
fn an_images_name_is_no_part_of_the_answer() {
    let pod = pod(
        json!({"containers": [{"name": "a", "image": "reg/unauthorized-tls:eof"}]}),
        json!({"phase": "Pending", "containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull",
            "message": "rpc error: code = NotFound desc = failed to resolve: reg/unauthorized-tls:eof: not found"}}}]}),
    );
    check(
        &pod,
        &Incidents::default(),
        "ErrImagePull — image reg/unauthorized-tls:eof not found",
        true,
        Fault::Backup,
    );
}

#[test]
fn the_log_of_a_container_is_not_quoted() {
    for (policy, code, reason, said) in [
        ("File", 1, "Error", "exit code 1: hunter2"),
        (
            "FallbackToLogsOnError",
            1,
            "Error",
            "exit code 1: its log is not quoted (sandbox.keepFailedFor keeps the pod to read it)",
        ),
        // Not from the log.
        (
            "FallbackToLogsOnError",
            0,
            "Completed",
            "Completed (exit code 0): hunter2",
        ),
        ("FallbackToLogsOnError", 128, "StartError", "hunter2"),
    ] {
        let ended = json!({"exitCode": code, "reason": reason, "message": "starting\nhunter2"});
        for state in [
            json!({"terminated": ended}),
            json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        ] {
            let pod = pod(
                json!({"containers": [{"name": "db", "terminationMessagePolicy": policy}]}),
                json!({"phase": "Running", "containerStatuses": [{"name": "db", "image": "", "imageID": "", "ready": false,
                    "restartCount": 3, "state": state, "lastState": {"terminated": ended}}]}),
            );
            let text = of_pod(&pod, &Incidents::default()).text;
            assert!(text.ends_with(said), "{policy}: {text}");
        }
    }
}

#[test]
fn crashes() {
    let crash = |last: Value| {
        one_with(json!({"restartCount": 3, "lastState": {"terminated": last},
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}}))
    };
    let table = [
        (
            json!({"exitCode": 137, "reason": "OOMKilled"}),
            "CrashLoopBackOff — OOMKilled (exit code 137)",
            false,
        ),
        (
            json!({"exitCode": 1, "reason": "Error", "message": "starting\nFATAL: no such database\n"}),
            "CrashLoopBackOff — exit code 1: FATAL: no such database",
            false,
        ),
        (
            json!({"exitCode": 0, "reason": "Completed"}),
            "CrashLoopBackOff — Completed (exit code 0)",
            false,
        ),
        (
            json!({"exitCode": 128, "reason": "StartError", "message": "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: \"serve\": executable file not found in $PATH: unknown"}),
            "CrashLoopBackOff — exec: \"serve\": executable file not found in $PATH: unknown",
            true,
        ),
    ];
    for (last, text, certain) in table {
        check(&crash(last), &Incidents::default(), text, certain, Fault::Backup);
    }
    let killed = crash(json!({"exitCode": 137, "reason": "Error"}));
    let liveness = event("Pod", "db-0", "u1", "Unhealthy", "Liveness probe failed: no answer");
    check(
        &killed,
        &with(liveness),
        "CrashLoopBackOff — exit code 137; Liveness probe failed: no answer",
        false,
        Fault::Backup,
    );
    // A readiness probe restarts nothing.
    let readiness = event("Pod", "db-0", "u1", "Unhealthy", "Readiness probe failed: no answer");
    check(
        &killed,
        &with(readiness),
        "CrashLoopBackOff — exit code 137",
        false,
        Fault::Backup,
    );
    // Between two starts the node says so only now and then.
    let again = json!({"restartCount": 2, "state": {"terminated": {"exitCode": 2, "reason": "Error"}}});
    check(
        &one_with(again),
        &Incidents::default(),
        "CrashLoopBackOff — exit code 2",
        false,
        Fault::Backup,
    );
    let up = json!({"restartCount": 2, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}});
    check(
        &one_with(up),
        &Incidents::default(),
        "Running but not ready, restarted again and again — exit code 2",
        false,
        Fault::Backup,
    );
    check(
        &one(json!({"terminated": {"exitCode": 2, "reason": "Error"}})),
        &Incidents::default(),
        "Restarting — exit code 2",
        false,
        Fault::Backup,
    );
}

#[test]
fn what_the_pod_refers_to() {
    let table = [
        ("secret \"db\" not found", true),
        ("configmap \"db\" not found", true),
        ("couldn't find key password in Secret sandbox/db", true),
        ("container has runAsNonRoot and image will run as root", true),
        ("container's runAsUser breaks non-root policy", true),
        (
            "failed to sync secret cache: timed out waiting for the condition",
            false,
        ),
    ];
    for (message, certain) in table {
        check(
            &waits("CreateContainerConfigError", message),
            &Incidents::default(),
            &format!("CreateContainerConfigError — {message}"),
            certain,
            Fault::Backup,
        );
    }
    let creating = waits("ContainerCreating", "");
    let mount = |message| with(event("Pod", "db-0", "u1", "FailedMount", message));
    check(
        &creating,
        &mount("MountVolume.SetUp failed for volume \"conf\" : configmap \"conf\" not found"),
        "FailedMount — volume \"conf\" : configmap \"conf\" not found",
        true,
        Fault::Backup,
    );
    check(
        &creating,
        &mount("Unable to attach or mount volumes: unmounted volumes=[data]: timed out waiting for the condition"),
        "FailedMount — Unable to attach or mount volumes: unmounted volumes=[data]: timed out waiting for the condition",
        false,
        Fault::Backup,
    );
    check(
        &creating,
        &Incidents::default(),
        "ContainerCreating",
        false,
        Fault::Backup,
    );
    // Of an older pod of the same name.
    let other = with(event("Pod", "db-0", "u0", "FailedMount", "secret \"x\" not found"));
    check(&creating, &other, "ContainerCreating", false, Fault::Backup);
}

#[test]
fn scheduling() {
    let waiting = |reason: &str, message: &str| {
        pod(
            json!({"containers": [{"name": "db"}], "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}),
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]}),
        )
    };
    let none = Incidents::default();
    check(
        &waiting(
            "Unschedulable",
            "0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found.",
        ),
        &none,
        "Unschedulable — 0/1 nodes are available: 1 Insufficient memory.",
        false,
        Fault::Sandbox,
    );
    check(
        &waiting(
            "Unschedulable",
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
        ),
        &none,
        "Unschedulable — 0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
        false,
        Fault::Backup,
    );
    check(
        &waiting(
            "Unschedulable",
            "0/1 nodes are available: persistentvolumeclaim \"data\" not found. not found",
        ),
        &none,
        "Unschedulable — claim data is not in the sandbox",
        true,
        Fault::Backup,
    );
    let unbound = waiting(
        "Unschedulable",
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
    );
    check(
        &unbound,
        &none,
        "Unschedulable — claim data is not bound",
        false,
        Fault::Backup,
    );
    let no_class = with(event(
        "PersistentVolumeClaim",
        "data",
        "c1",
        "ProvisioningFailed",
        "storageclass.storage.k8s.io \"fast\" not found",
    ));
    check(
        &unbound,
        &no_class,
        "Unschedulable — claim data: storageclass.storage.k8s.io \"fast\" not found",
        true,
        Fault::Backup,
    );
    check(
        &waiting("Unschedulable", "0/1 nodes are available: 1 Insufficient cpu."),
        &no_class,
        "Unschedulable — 0/1 nodes are available: 1 Insufficient cpu.",
        false,
        Fault::Sandbox,
    );
    check(
        &waiting(
            "SchedulingGated",
            "Scheduling is blocked due to non-empty scheduling gates",
        ),
        &none,
        "SchedulingGated — Scheduling is blocked due to non-empty scheduling gates",
        false,
        Fault::Backup,
    );
}

#[test]
fn running_but_not_ready() {
    let running = one_with(json!({"started": true, "state": {"running": {}}}));
    let none = Incidents::default();
    check(
        &running,
        &with(event(
            "Pod",
            "db-0",
            "u1",
            "Unhealthy",
            "Readiness probe failed: HTTP probe failed with statuscode: 503",
        )),
        "Running but not ready — Readiness probe failed: HTTP probe failed with statuscode: 503",
        false,
        Fault::Backup,
    );
    check(
        &running,
        &none,
        "Running but not ready — its readiness probe has not passed",
        false,
        Fault::Backup,
    );
    check(
        &one_with(json!({"started": false, "state": {"running": {}}})),
        &none,
        "Running but not ready — its startup probe has not passed",
        false,
        Fault::Backup,
    );
    let gated = pod(
        json!({"containers": [{"name": "a"}], "readinessGates": [{"conditionType": "example.com/lb"}]}),
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [
            {"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}]}),
    );
    check(
        &gated,
        &none,
        "Running but not ready — readiness gate example.com/lb not met",
        false,
        Fault::Backup,
    );
}

#[test]
fn several_containers() {
    let status = |name: &str, ready: bool, state: Value| json!({"name": name, "image": "", "imageID": "", "ready": ready, "restartCount": 0, "state": state});
    let none = Incidents::default();
    let both = pod(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"phase": "Running", "containerStatuses": [
            status("a", false, json!({"running": {}})),
            status("b", false, json!({"waiting": {"reason": "InvalidImageName"}}))]}),
    );
    check(&both, &none, "container b: InvalidImageName — ", true, Fault::Backup);

    let spec = json!({"initContainers": [{"name": "mesh", "restartPolicy": "Always"}, {"name": "restore-wait"}, {"name": "init"}],
        "containers": [{"name": "a"}]});
    let init = |second: Value, third: Value| {
        let started = json!({"name": "mesh", "image": "", "imageID": "", "ready": true, "restartCount": 0, "started": true,
            "state": {"running": {}}});
        pod(
            spec.clone(),
            json!({"phase": "Pending", "initContainerStatuses": [started, status("restore-wait", false, second), status("init", false, third)],
                "containerStatuses": [status("a", false, json!({"waiting": {"reason": "PodInitializing"}}))]}),
        )
    };
    let waits = json!({"waiting": {"reason": "PodInitializing"}});
    check(
        &init(json!({"running": {}}), waits.clone()),
        &none,
        "init container restore-wait: the provider has not restored the pod's volumes",
        false,
        Fault::Backup,
    );
    // A sidecar that runs can keep its pod from being ready all the same.
    let unready = pod(
        json!({"initContainers": [{"name": "mesh", "restartPolicy": "Always"}], "containers": [{"name": "a"}]}),
        json!({"phase": "Running", "initContainerStatuses": [{"name": "mesh", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "started": true, "state": {"running": {}}}],
            "containerStatuses": [status("a", true, json!({"running": {}}))]}),
    );
    check(
        &unready,
        &none,
        "init container mesh: Running but not ready — its readiness probe has not passed",
        false,
        Fault::Backup,
    );
    let done = json!({"terminated": {"exitCode": 0}});
    check(
        &init(done.clone(), json!({"running": {}})),
        &none,
        "init container init: still running",
        false,
        Fault::Backup,
    );
    check(
        &init(
            done.clone(),
            json!({"terminated": {"exitCode": 3, "message": "no migrations"}}),
        ),
        &none,
        "init container init: Restarting — exit code 3: no migrations",
        false,
        Fault::Backup,
    );
    check(
        &init(done.clone(), done),
        &none,
        "PodInitializing",
        false,
        Fault::Backup,
    );
}

#[test]
fn ended_pods() {
    let none = Incidents::default();
    let ended = |status: Value| {
        pod(
            json!({"restartPolicy": "Never", "containers": [{"name": "db"}]}),
            status,
        )
    };
    check(
        &ended(json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."})),
        &none,
        "Evicted — The node was low on resource: memory.",
        true,
        Fault::Sandbox,
    );
    check(
        &ended(
            json!({"phase": "Failed", "containerStatuses": [{"name": "db", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"terminated": {"exitCode": 4, "reason": "Error"}}}]}),
        ),
        &none,
        "Failed — exit code 4",
        true,
        Fault::Backup,
    );
    check(
        &ended(json!({"phase": "Succeeded"})),
        &none,
        "ended as Succeeded, but should run",
        true,
        Fault::Backup,
    );
}

#[test]
fn relapses() {
    let again = |ready: bool| {
        let status = json!({"name": "db", "image": "", "imageID": "", "ready": ready, "restartCount": 1,
            "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "lost db"}}});
        pod(
            json!({"containers": [{"name": "db"}]}),
            json!({"phase": "Running", "containerStatuses": [status],
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}),
        )
    };
    assert_eq!(
        of_relapse(&again(true), &Incidents::default()).text,
        "restarted after all pods were ready — exit code 1: lost db"
    );
    assert_eq!(
        of_relapse(&again(false), &Incidents::default()).text,
        "was ready and fell back: Running but not ready, restarted once — exit code 1: lost db"
    );
}
