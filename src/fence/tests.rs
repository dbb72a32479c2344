//! The fence against a scripted API server: what it makes of refusals, and the proof of isolation step by step.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Fence, NameServer, Neutraliser, Problem, Runner, passes_soon, passes_with_rights, self_test};
use crate::api::{IsolationProof, Sandbox};
use crate::build::Owner;
use crate::build::probe::{Dial, Outcome, Probe, ProbeHost};
use crate::build::sandbox::{End, Kinds};
use crate::cluster::Cluster;
use crate::cluster::fake::{Asked, Log, Reply, cluster};
use crate::facts::{Isolation, Reason, SandboxFacts, Stop};

pub(super) const SANDBOX: &str = "shop-kymaros-abc123";
pub(super) const BY_FENCE: &str =
    "is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-rolebindings' with binding '…' denied request: no";
const NOT_CLOSED: &str = "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-sandbox-closed' with binding '…' denied \
     request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
pub(super) const BY_RBAC: &str =
    "is forbidden: User \"system:serviceaccount:kymaros-system:kymaros-runner\" cannot create resource";

pub(super) fn owner() -> Owner {
    Owner {
        test: "shop".to_owned(),
        test_uid: "u-1".to_owned(),
        run_id: "abc123".to_owned(),
    }
}

/// A name server at whose address nobody listens.
pub(super) fn that_does_not_answer() -> NameServer {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    NameServer {
        sandbox: SANDBOX.to_owned(),
        address: listener.local_addr().unwrap(),
    }
}

pub(super) fn runner() -> Runner {
    Runner {
        namespace: "kymaros-system".to_owned(),
        service_account: "kymaros-runner".to_owned(),
        host: ProbeHost {
            image: "kymaros-runner:1".to_owned(),
            ..ProbeHost::default()
        },
        ip: [127, 0, 0, 1].into(),
        api_server: ([10, 96, 0, 1], 443).into(),
    }
}

fn end() -> End {
    End {
        expires_at: "2030-01-01T00:00:00Z".parse().unwrap(),
        provider_namespace: "velero".to_owned(),
        holder: "abc123/runner-1/u-1".to_owned(),
    }
}

fn names() -> Vec<(String, String)> {
    vec![("shop".to_owned(), SANDBOX.to_owned())]
}

pub(super) fn forbidden(message: &str) -> Reply {
    Reply::status(403, "Forbidden", message)
}

/// Stored as it was sent, with a UID.
pub(super) fn stored(asked: &Asked) -> Reply {
    let mut object = asked.body.clone();
    object["metadata"]["uid"] = json!("uid-1");
    Reply::json(&object)
}

#[tokio::test(start_paused = true)]
async fn the_fence_must_refuse_all_and_by_its_own_policies() {
    type Answer = fn(&Asked) -> Reply;
    // Each by the policy that is meant for it; and a refusal by somebody else, which may well quote the names of what was asked for.
    let fence: Answer = |asked| {
        let policy = match asked.path.split('?').next().and_then(|path| path.rsplit('/').next()) {
            Some("namespaces") => "namespaces",
            Some("configmaps") => "provider-configmaps",
            _ => "rolebindings",
        };
        forbidden(&BY_FENCE.replace("rolebindings", policy))
    };
    let other: Answer = |_| {
        forbidden(
            "admission webhook \"validate.kyverno.svc-fail\" denied the request: resource kymaros-fence-selftest was blocked",
        )
    };
    let another_of_ours: Answer = |_| forbidden(&BY_FENCE.replace("rolebindings", "exec"));
    let rbac: Answer = |_| forbidden(BY_RBAC);
    let broken: Answer = |_| Reply::status(500, "InternalError", "etcd is away");
    let accepted = stored as Answer;
    let not_installed = Some((Reason::SandboxDenied, "fence not installed"));
    for (binding, namespace, map, expected) in [
        (fence, fence, fence, None),
        (accepted, fence, fence, not_installed),
        (fence, accepted, fence, not_installed),
        (fence, fence, accepted, not_installed),
        (rbac, fence, fence, Some((Reason::SandboxDenied, "lacks permissions"))),
        (other, fence, fence, Some((Reason::SandboxDenied, "something else did"))),
        (fence, other, fence, Some((Reason::SandboxDenied, "something else did"))),
        (fence, fence, other, Some((Reason::SandboxDenied, "something else did"))),
        (
            fence,
            another_of_ours,
            fence,
            Some((Reason::SandboxDenied, "kymaros-fence-namespaces should refuse")),
        ),
        (fence, fence, rbac, None),
        (fence, broken, fence, Some((Reason::ApiUnavailable, "etcd is away"))),
    ] {
        let (cluster, log) = cluster(move |asked| {
            if asked.is("POST", "rolebindings") {
                binding(asked)
            } else if asked.is("POST", "velero/configmaps") {
                map(asked)
            } else {
                namespace(asked)
            }
        });
        let stop = self_test(&cluster, "kymaros-system", "velero").await.err();
        match (&stop, expected) {
            (None, None) => {}
            (Some(stop), Some((reason, words))) => {
                assert!(stop.reason == reason && stop.message.contains(words), "{stop:?}");
            }
            _ => panic!("{stop:?}"),
        }
        assert!(log.lock().unwrap().iter().all(|line| line.contains("dryRun=All")));
    }
}

/// Makes the sandbox against these answers; what is not answered is stored as it was sent.
async fn make(
    mut answer: impl FnMut(&Asked) -> Option<Reply> + Send + 'static,
) -> (Result<Neutraliser, Problem>, Vec<SandboxFacts>, Log) {
    let (cluster, log) = cluster(move |asked| {
        answer(asked).unwrap_or_else(|| {
            if asked.is("POST", "/pods") {
                return forbidden(NOT_CLOSED);
            }
            if asked.is("POST", "services") {
                let mut service = asked.body.clone();
                service["spec"] = json!({"type": "ClusterIP", "ports": [{"port": 80}]});
                return Reply::json(&service);
            }
            stored(asked)
        })
    });
    let (runner, owner, settings) = (runner(), owner(), Sandbox::default());
    let kinds = Kinds::from(["ConfigMap".to_owned()]);
    let mut made = Vec::new();
    let result = Fence::new(&cluster, &runner, &owner, &settings, &kinds)
        .make_sandboxes(&names(), &end(), &mut made)
        .await;
    (result, made, log)
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_is_made_with_rights_before_furniture() {
    let (result, made, log) = make(|_| None).await;
    assert_eq!(result, Ok(Neutraliser::Admission));
    let expected = SandboxFacts {
        source: "shop".to_owned(),
        name: SANDBOX.to_owned(),
        uid: "uid-1".to_owned(),
    };
    assert_eq!(made, [expected]);
    let log = log.lock().unwrap();
    let kinds: Vec<&str> = log
        .iter()
        .filter_map(|line| line.split('?').next()?.rsplit('/').next())
        .collect();
    let mut expected = vec!["namespaces", "rolebindings", "pods"];
    expected.extend(["networkpolicies"; 4]);
    expected.extend(["resourcequotas", "services"]);
    assert_eq!(kinds, expected);
    assert!(log[2].contains("dryRun=All"), "{}", log[2]);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_admits_pods_before_it_is_closed_is_a_missing_fence() {
    for (answer, words) in [
        (
            None,
            "fence not installed: the cluster would let the runner start pods in a sandbox that is not closed",
        ),
        (
            Some("pods \"x\" is forbidden: exceeded quota"),
            "the fence could not be tried",
        ),
    ] {
        let (result, made, log) = make(move |asked| {
            let asked = asked.is("POST", "/pods").then_some(asked)?;
            Some(answer.map_or_else(|| stored(asked), forbidden))
        })
        .await;
        let Err(Problem::Stopped(stop)) = result else {
            panic!("{result:?}")
        };
        assert!(stop.message.contains(words), "{stop:?}");
        assert_eq!(made.len(), 1);
        assert!(log.lock().unwrap().iter().all(|line| !line.contains("networkpolicies")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_is_said_and_nothing_is_adopted() {
    for existing in [
        json!({"metadata": {"name": SANDBOX, "uid": "other", "labels": {"kymaros.io/run": "zzzzzz"}}}),
        // Another run with the same id: it says another expiry.
        json!({"metadata": {"name": SANDBOX, "uid": "other", "labels": {
            "kymaros.io/run": "abc123", "kymaros.io/test-uid": "u-1", "kymaros.io/source-namespace": "shop",
        }, "annotations": {"kymaros.io/expires-at": "2029-01-01T00:00:00Z"}}}),
    ] {
        let (result, made, log) = make(move |asked| {
            if asked.method == "GET" {
                return Some(Reply::json(&existing));
            }
            asked
                .path
                .ends_with("/namespaces?&fieldManager=kymaros-runner")
                .then_some(())?;
            Some(Reply::status(
                409,
                "AlreadyExists",
                "namespaces \"shop-kymaros-abc123\" already exists",
            ))
        })
        .await;
        assert_eq!(result, Err(Problem::NameTaken(SANDBOX.to_owned())));
        assert!(made.is_empty());
        assert!(log.lock().unwrap().iter().all(|line| !line.contains("rolebindings")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_that_comes_a_moment_late_is_waited_for() {
    let mut tries = 0;
    let (result, ..) = make(move |asked| {
        if asked.is("POST", "resourcequotas") {
            tries += 1;
            return (tries < 4).then(|| forbidden(BY_RBAC));
        }
        None
    })
    .await;
    assert_eq!(result, Ok(Neutraliser::Admission));

    let begun = Instant::now();
    let (result, made, _) = make(|asked| asked.is("POST", "resourcequotas").then(|| forbidden(BY_RBAC))).await;
    assert!(
        matches!(
            result,
            Err(Problem::Stopped(Stop {
                reason: Reason::SandboxDenied,
                ..
            }))
        ),
        "{result:?}"
    );
    assert_eq!(made.len(), 1, "a sandbox that is half made has to be known");
    assert!((5..7).contains(&begun.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_service_must_not_come_out_reachable() {
    let (result, ..) = make(|asked| asked.is("POST", "services").then(|| stored(asked))).await;
    let Err(Problem::Stopped(stop)) = result else {
        panic!("{result:?}")
    };
    assert!(
        stop.message.contains("fence not installed") && stop.message.contains("LoadBalancer"),
        "{stop:?}"
    );
    let (result, ..) = make(|asked| {
        asked
            .is("POST", "services")
            .then(|| forbidden(&BY_FENCE.replace("rolebindings", "sandbox-objects")))
    })
    .await;
    assert_eq!(result, Ok(Neutraliser::Refusal));
}

#[tokio::test(start_paused = true)]
async fn only_refusals_of_the_first_moments_are_waited_out() {
    for (message, early) in [
        (BY_RBAC, true),
        (
            "pods \"x\" is forbidden: error looking up service account a/default: serviceaccount \"default\" not found",
            true,
        ),
        (
            "pods \"x\" is forbidden: status unknown for quota: kymaros-quota, resources: requests.cpu",
            true,
        ),
        ("pods \"x\" is forbidden: exceeded quota: kymaros-quota", false),
        ("pods \"x\" is forbidden: violates PodSecurity", false),
        (BY_FENCE, false),
    ] {
        let (cluster, _) = cluster(move |_| forbidden(message));
        let error = cluster.all::<Namespace>().get("x").await.unwrap_err();
        assert_eq!(passes_soon(&error), early, "{message}");
        assert_eq!(passes_with_rights(&error), early, "{message}");
    }
    // That the network policy is there admission learns a moment later; that it denies too little never passes.
    for (message, early) in [
        (NOT_CLOSED, true),
        (
            "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-sandbox-closed' with binding '…' denied request: a pod may",
            false,
        ),
        (
            "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-probe-image' with binding '…' denied request: failed to \
             configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
            false,
        ),
    ] {
        let (cluster, _) = cluster(move |_| forbidden(message));
        let error = cluster.all::<Namespace>().get("x").await.unwrap_err();
        assert_eq!(
            (passes_soon(&error), passes_with_rights(&error)),
            (early, false),
            "{message}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_look_any_more_has_to_be_restarted() {
    let (cluster, _) = cluster(|_| Reply::status(422, "Invalid", NOT_CLOSED));
    let error = cluster.all::<Namespace>().get("x").await.unwrap_err();
    let stop = super::stop(&error);
    assert!(
        stop.reason == Reason::SandboxDenied && stop.message.contains("restart it"),
        "{stop:?}"
    );
}

/// A cluster whose pods reach what `reaches` says, given whether network policies shut them in; its probe pods end at once.
pub(super) fn nodes(reaches: fn(bool, &str) -> bool) -> (Cluster, Log) {
    let mut pods: BTreeMap<String, Value> = BTreeMap::new();
    cluster(move |asked| {
        if asked.is("POST", "/pods") {
            let args: Vec<String> =
                serde_json::from_value(asked.body["spec"]["containers"][0]["args"].clone()).unwrap();
            let state = match Probe::from_args(&args[1..]).unwrap() {
                Probe::Serve { .. } => json!({"running": {}}),
                Probe::Dial(dial) => {
                    let shut = asked.body["metadata"]["name"] != "kymaros-probe-open";
                    let message = serde_json::to_string(&measured(&dial, |target| reaches(shut, target))).unwrap();
                    json!({"terminated": {"exitCode": 0, "message": message}})
                }
            };
            let mut pod = asked.body.clone();
            pod["metadata"]["uid"] = json!("uid-1");
            pod["status"] = json!({"podIP": "10.244.0.9", "containerStatuses": [
                {"name": "probe", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state},
            ]});
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            pods.insert(name, pod.clone());
            return Reply::json(&pod);
        }
        if asked.is_watch() {
            return Reply::quiet();
        }
        let named: Vec<Value> = pods
            .iter()
            .filter(|(name, _)| asked.path.contains(*name))
            .map(|(_, pod)| pod.clone())
            .collect();
        match asked.method.as_str() {
            "GET" if asked.path.contains("fieldSelector") => Reply::list(&named),
            "GET" => named
                .first()
                .map_or_else(|| Reply::status(404, "NotFound", "no such pod"), Reply::json),
            _ => stored(asked),
        }
    })
}

fn measured(dial: &Dial, works: impl Fn(&str) -> bool) -> Outcome {
    let addresses = dial.forbidden.iter().chain(&dial.needed).map(ToString::to_string);
    let (reached, failed): (Vec<_>, Vec<_>) = addresses
        .chain(dial.names.iter().cloned())
        .partition(|target| works(target));
    Outcome {
        reached: reached.into_iter().map(|target| (target, 7)).collect(),
        failed: failed
            .into_iter()
            .map(|target| (target, "no answer".to_owned()))
            .collect(),
        elapsed_ms: 1_000,
    }
}

/// The peer and the cluster's own name, which have to work at all times.
fn is_inside(target: &str) -> bool {
    target.starts_with("10.244.0.9:") || target.starts_with("kubernetes.default.svc.")
}

async fn prove(nodes: (Cluster, Log), proof: IsolationProof) -> (Isolation, Result<Isolation, Stop>, Vec<String>) {
    prove_beside(nodes, proof, &[]).await
}

async fn prove_beside(
    nodes: (Cluster, Log),
    proof: IsolationProof,
    names: &[NameServer],
) -> (Isolation, Result<Isolation, Stop>, Vec<String>) {
    let (cluster, log) = nodes;
    let (runner, owner) = (runner(), owner());
    let settings = Sandbox {
        isolation_proof: proof,
        ..Sandbox::default()
    };
    let sandboxes = [SandboxFacts {
        source: "shop".to_owned(),
        name: SANDBOX.to_owned(),
        uid: "uid-1".to_owned(),
    }];
    let mut isolation = Isolation::default();
    let kinds = Kinds::new();
    let result = Fence::new(&cluster, &runner, &owner, &settings, &kinds)
        .prove_isolation(&sandboxes, names, &mut isolation)
        .await;
    let watched = match result {
        Ok(watch) => Ok(watch.await),
        Err(stop) => Err(stop),
    };
    let log = log.lock().unwrap();
    let writes = log.iter().filter(|line| !line.starts_with("GET"));
    let writes = writes.map(|line| {
        let (verb, path) = line.split_once(' ').unwrap();
        format!("{verb} {}", path.split('?').next().unwrap().rsplit('/').next().unwrap())
    });
    (isolation, watched, writes.collect())
}

#[tokio::test(start_paused = true)]
async fn isolation_is_proved_by_what_one_probe_reaches_and_others_do_not() {
    let enforced = nodes(|shut, target| !shut || is_inside(target));
    let begun = Instant::now();
    let (isolation, watched, writes) = prove(enforced, IsolationProof::Required).await;
    assert_eq!((isolation, watched), (Isolation::Proved, Ok(Isolation::Proved)));
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "the runner adds nothing of its own: {:?}",
        begun.elapsed()
    );
    assert_eq!(writes[..4], ["POST pods"; 4]);
    let mut removed = writes[4..].to_vec();
    removed.sort();
    assert_eq!(
        removed,
        ["open", "peer", "shut", "watch"].map(|name| format!("DELETE kymaros-probe-{name}"))
    );
}

#[tokio::test(start_paused = true)]
async fn every_flaw_has_its_reason_and_stops_where_proof_is_required() {
    type Reaches = fn(bool, &str) -> bool;
    let cases: [(Reaches, &str, Reason, &str); 5] = [
        (
            |_, _| true,
            "Breached",
            Reason::IsolationNotEnforced,
            "does not enforce network policies",
        ),
        (
            |shut, target| !shut || is_inside(target) || target.ends_with(":443"),
            "Breached",
            Reason::IsolationNotEnforced,
            "the API server",
        ),
        (
            |_, target| is_inside(target),
            "NotTested",
            Reason::IsolationNotEnforced,
            "could not be tested",
        ),
        (
            |shut, target| !shut || target.starts_with("10.244"),
            "NotTested",
            Reason::SandboxDenied,
            "set sandbox.dns",
        ),
        (
            |shut, target| !shut || target.starts_with("kubernetes"),
            "NotTested",
            Reason::SandboxDenied,
            "reach each other",
        ),
    ];
    for (reaches, kind, reason, words) in cases {
        let (isolation, watched, _) = prove(nodes(reaches), IsolationProof::Required).await;
        assert!(format!("{isolation:?}").starts_with(kind), "{isolation:?}");
        let stop = watched.unwrap_err();
        assert!(stop.reason == reason && stop.message.contains(words), "{stop:?}");

        let (isolation, watched, _) = prove(nodes(reaches), IsolationProof::Report).await;
        assert!(format!("{isolation:?}").starts_with(kind), "{isolation:?}");
        assert_eq!(watched, Ok(Isolation::NotReached), "there is nothing left to watch");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_cannot_run_is_the_sandboxs_fault() {
    let refusing = || {
        cluster(|asked| {
            if asked.is("POST", "/pods") {
                return forbidden("pods \"kymaros-probe-open\" is forbidden: violates PodSecurity");
            }
            stored(asked)
        })
    };
    let (isolation, watched, _) = prove(refusing(), IsolationProof::Required).await;
    assert!(matches!(isolation, Isolation::NotTested(_)));
    assert_eq!(watched.unwrap_err().reason, Reason::SandboxDenied);
    let (isolation, watched, _) = prove(refusing(), IsolationProof::Report).await;
    assert!(matches!(isolation, Isolation::NotTested(text) if text.contains("violates PodSecurity")));
    assert_eq!(watched, Ok(Isolation::NotReached));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_restored_beside_a_name_server_that_does_not_answer() {
    let server = that_does_not_answer();
    // Its pods would find no name at all, whether isolation has to be proved or not.
    for proof in [IsolationProof::Required, IsolationProof::Report] {
        let enforced = nodes(|shut, target| !shut || is_inside(target));
        let (isolation, watched, _) = prove_beside(enforced, proof, std::slice::from_ref(&server)).await;
        assert!(matches!(isolation, Isolation::NotTested(_)));
        let stop = watched.unwrap_err();
        assert!(
            stop.reason == Reason::SandboxDenied && stop.message.contains("the name server of"),
            "{stop:?}"
        );
    }
}
