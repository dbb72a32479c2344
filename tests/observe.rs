//! What a run sees in a sandbox, tried on a real cluster: broken pods and the causes they are given, stability, objects.
//!
//! `KYMAROS_TEST_KUBECONFIG` names the cluster. It needs a node that runs pods, and the image `registry.local/busybox:1`
//! there. Everything is made in namespaces of the tests' own, which are deleted again.

#![expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and tables of them read better without references"
)]
#![expect(clippy::print_stdout, reason = "a person who runs these wants to read the causes")]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::client::Body;
use kymaros_runner::cluster::Cluster;
use kymaros_runner::facts::{Fault, KindFacts, PodFacts, SandboxFacts};
use kymaros_runner::observe::{Settled, Startup, StartupOptions, inventory, recheck};
use serde_json::{Value, json};
use support::{client, kubectl_in_cluster};
use tokio::time::Instant;

const IMAGE: &str = "registry.local/busybox:1";

/// A namespace of a test, deleted with it.
struct Sandbox {
    facts: SandboxFacts,
}

impl Sandbox {
    fn new(source: &str, labels: Value) -> Self {
        let name = format!("observe-{source}-kymaros-{}", std::process::id());
        apply(
            &[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})],
            None,
        );
        Self {
            facts: SandboxFacts {
                source: source.to_owned(),
                name,
                uid: String::new(),
            },
        }
    }

    fn apply(&self, objects: &[Value]) {
        apply(objects, Some(&self.facts.name));
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _result = kubectl_in_cluster(&["delete", "namespace", &self.facts.name, "--wait=false"], None);
    }
}

fn apply(objects: &[Value], namespace: Option<&str>) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let mut args = vec!["apply", "-f", "-"];
    if let Some(namespace) = namespace {
        args.extend(["-n", namespace]);
    }
    kubectl_in_cluster(&args, Some(&list)).expect("the objects are made");
}

async fn cluster() -> Cluster {
    let client = client(None).await;
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let client = client.clone();
        async move { client.send(request).await.map_err(tower::BoxError::from) }
    });
    Cluster::over(service, "default", Duration::from_secs(30))
}

fn startup(cluster: &Cluster, sandboxes: &[SandboxFacts], timeout: u64, stable_for: u64) -> Startup {
    let mut startup = Startup::new(
        cluster,
        sandboxes,
        &StartupOptions {
            since: Instant::now(),
            created: kymaros_runner::clock::now(),
            timeout: Duration::from_secs(timeout),
            stable_for: Duration::from_secs(stable_for),
            replication_controllers: true,
            operators: false,
        },
    );
    startup.begin(Duration::ZERO, Vec::new());
    startup
}

/// A bare pod of one container, which is `container` on top of a shell that sleeps.
fn pod(name: &str, container: Value, spec: Value) -> Value {
    let mut main = json!({"name": "main", "image": IMAGE, "command": ["sleep", "3600"]});
    merge(&mut main, container);
    let mut all = json!({"terminationGracePeriodSeconds": 0, "containers": [main]});
    merge(&mut all, spec);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": all})
}

fn workload(kind: &str, name: &str, replicas: Option<u32>, spec: Value) -> Value {
    let mut template = json!({"terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "3600"]}]});
    merge(&mut template, spec);
    let mut spec = json!({"selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": template}});
    if let Some(replicas) = replicas {
        spec["replicas"] = json!(replicas);
    }
    if kind == "StatefulSet" {
        spec["serviceName"] = json!(name);
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn shell(script: &str) -> Value {
    json!({"command": ["sh", "-c", script]})
}

fn merge(into: &mut Value, from: Value) {
    let Value::Object(from) = from else { return };
    for (key, value) in from {
        into[key] = value;
    }
}

/// The causes that are given, one line each.
fn causes(facts: &PodFacts) -> String {
    let lines: Vec<String> = facts
        .failures
        .iter()
        .map(|failure| {
            let certain = if failure.certain { "certain" } else { "open" };
            format!("{} [{certain}, {:?}] {}", failure.source, failure.fault, failure.cause)
        })
        .collect();
    lines.join("\n")
}

#[tokio::test]
#[ignore = "needs a cluster with a node (KYMAROS_TEST_KUBECONFIG)"]
#[expect(clippy::too_many_lines, reason = "a table is long, and reads best in one piece")]
async fn every_broken_pod_is_explained() {
    let broken = Sandbox::new("broken", json!({}));
    let refused = Sandbox::new("refused", json!({"pod-security.kubernetes.io/enforce": "baseline"}));
    refused.apply(&[
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "kymaros-quota"}, "spec": {"hard": {"pods": "1"}}}),
        workload("Deployment", "fits", Some(1), json!({})),
    ]);
    broken.apply(&[
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"other": "x"}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "unbound"}, "spec": {
            "storageClassName": "no-such-class", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}),
        workload("Deployment", "fine", Some(2), json!({})),
        pod("never-pulled", json!({"image": "registry.local/none:1", "imagePullPolicy": "Never"}), json!({})),
        pod("unreachable", json!({"image": "registry.invalid/none:1"}), json!({})),
        pod("misnamed", json!({"image": "registry.local/NONE:1"}), json!({})),
        pod("crash", shell("echo 'fatal: no database' > /dev/termination-log; exit 3"), json!({})),
        pod("hungry", merged(shell("tail /dev/zero"), json!({"resources": {"limits": {"memory": "24Mi"}}})), json!({})),
        pod("no-program", json!({"command": ["no-such-program"]}), json!({})),
        pod("no-secret", json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k"}}}]}), json!({})),
        pod("no-key", json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}}]}), json!({})),
        pod("as-root", json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 0}}), json!({})),
        pod("no-volume", json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}), json!({"volumes": [{"name": "v", "configMap": {"name": "absent"}}]})),
        pod("huge", json!({"resources": {"requests": {"memory": "900Gi"}}}), json!({})),
        pod("elsewhere", json!({}), json!({"nodeSelector": {"kymaros.io/no-such-node": "true"}})),
        pod("no-claim", json!({}), json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "absent"}}]})),
        pod("unbound", json!({}), json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "unbound"}}]})),
        pod("unready", json!({"readinessProbe": {"exec": {"command": ["cat", "/no-such-file"]}, "periodSeconds": 1}}), json!({})),
        pod("migrating", json!({}), json!({"initContainers": [{"name": "migrate", "image": IMAGE, "command": ["sleep", "3600"]}]})),
        pod("done", shell("exit 0"), json!({"restartPolicy": "Never"})),
        workload("Deployment", "no-account", Some(1), json!({"serviceAccountName": "absent"})),
        workload("StatefulSet", "no-account-either", Some(1), json!({"serviceAccountName": "absent"})),
    ]);
    refused.apply(&[
        workload("Deployment", "no-room", Some(2), json!({})),
        workload("DaemonSet", "host", None, json!({"hostNetwork": true})),
        workload(
            "Deployment",
            "vpn",
            Some(1),
            json!({"containers": [{"name": "main", "image": "registry.local/httpd:1",
                "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}]}),
        ),
        workload(
            "Deployment",
            "unconfined",
            Some(1),
            json!({"containers": [{"name": "main", "image": "registry.local/httpd:1",
                "securityContext": {"seccompProfile": {"type": "Unconfined"}}}]}),
        ),
    ]);
    let cluster = cluster().await;
    let mut startup = startup(&cluster, &[broken.facts.clone(), refused.facts.clone()], 300, 15);
    let start = Instant::now();
    let settled = startup.settled().await;
    let facts = startup.facts();
    println!("{settled:?} after {:?}\n{}", start.elapsed(), causes(&facts));
    assert_eq!(settled, Settled::Failed, "much of this is certain");
    assert!(start.elapsed() < Duration::from_mins(1), "{:?}", start.elapsed());
    assert!(facts.certain && !facts.stable);

    let table = [
        (
            "never-pulled",
            true,
            Fault::Backup,
            "ErrImageNeverPull — image registry.local/none:1 is not on the node",
        ),
        (
            "unreachable",
            false,
            Fault::Cluster,
            "registry of registry.invalid/none:1 not reached",
        ),
        (
            "misnamed",
            true,
            Fault::Backup,
            "InvalidImageName — registry.local/NONE:1",
        ),
        ("crash", false, Fault::Backup, "exit code 3: fatal: no database"),
        ("hungry", false, Fault::Backup, "OOMKilled (exit code 137)"),
        ("no-program", true, Fault::Backup, "executable file not found"),
        (
            "no-secret",
            true,
            Fault::Backup,
            "CreateContainerConfigError — secret \"absent\" not found",
        ),
        (
            "no-key",
            true,
            Fault::Backup,
            "CreateContainerConfigError — couldn't find key k in ConfigMap broken/settings",
        ),
        (
            "as-root",
            true,
            Fault::Backup,
            "CreateContainerConfigError — container's runAsUser breaks non-root policy",
        ),
        ("no-volume", true, Fault::Backup, "configmap \"absent\" not found"),
        (
            "huge",
            false,
            Fault::Sandbox,
            "Unschedulable — 0/1 nodes are available: 1 Insufficient memory.",
        ),
        (
            "elsewhere",
            false,
            Fault::Backup,
            "didn't match Pod's node affinity/selector",
        ),
        (
            "no-claim",
            true,
            Fault::Backup,
            "Unschedulable — claim absent is not in the sandbox",
        ),
        (
            "unbound",
            true,
            Fault::Backup,
            "claim unbound: storageclass.storage.k8s.io \"no-such-class\" not found",
        ),
        (
            "unready",
            false,
            Fault::Backup,
            "Running but not ready — Readiness probe failed: ",
        ),
        (
            "migrating",
            false,
            Fault::Backup,
            "init container migrate: still running",
        ),
        (
            "no-account",
            true,
            Fault::Backup,
            "no pod could be made — error looking up service account broken/absent",
        ),
        (
            "no-account-either",
            true,
            Fault::Backup,
            "no pod could be made — error looking up service account broken/absent",
        ),
        (
            "no-room",
            true,
            Fault::Sandbox,
            "no pod could be made — exceeded quota: kymaros-quota",
        ),
        (
            "unconfined",
            true,
            Fault::PodSecurity,
            "no pod could be made — violates PodSecurity \"baseline:latest\"",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, certain, fault, words) in table {
        let found = facts.failures.iter().find(|failure| failure.name == name);
        if !found.is_some_and(|f| f.certain == certain && f.fault == fault && f.cause.contains(words)) {
            wrong.push(format!(
                "{name}: expected [{certain}, {fault:?}] {words}, found {found:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(facts.failures.len(), table.len(), "and nothing else is at fault");
    // Our own policies would refuse them whatever the level: nobody expects them.
    assert_eq!(facts.held, ["refused/host", "refused/vpn"]);
    let fine: Vec<_> = facts
        .workloads
        .iter()
        .filter(|w| w.ready >= w.desired)
        .map(|w| w.name.as_str())
        .collect();
    assert_eq!(fine, ["fine", "fits"]);
}

fn merged(mut one: Value, other: Value) -> Value {
    merge(&mut one, other);
    one
}

#[tokio::test]
#[ignore = "needs a cluster with a node (KYMAROS_TEST_KUBECONFIG)"]
async fn pods_that_come_up_stay_up_or_are_found_out() {
    let well = Sandbox::new("well", json!({}));
    let loops = Sandbox::new("loops", json!({}));
    let cluster = cluster().await;
    // The pods are made only after the watches have begun.
    let mut startup_well = startup(&cluster, std::slice::from_ref(&well.facts), 60, 4);
    let mut startup_loops = startup(&cluster, std::slice::from_ref(&loops.facts), 60, 15);
    well.apply(&[
        workload("Deployment", "web", Some(2), json!({})),
        workload("StatefulSet", "db", Some(2), json!({})),
        workload("DaemonSet", "agent", None, json!({})),
        workload("ReplicaSet", "bare", Some(1), json!({})),
        workload("Deployment", "off", Some(0), json!({})),
    ]);
    // Without a probe it is ready at once, and again after each crash.
    loops.apply(&[workload(
        "Deployment",
        "loop",
        Some(1),
        json!({"containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", "sleep 5; exit 1"]}]}),
    )]);
    let (settled_well, settled_loops) = tokio::join!(startup_well.settled(), startup_loops.settled());
    assert_eq!((settled_well, settled_loops), (Settled::AllReady, Settled::AllReady));
    tokio::join!(startup_well.stable(), startup_loops.stable());

    let facts = startup_well.facts();
    println!("{facts:#?}");
    assert!(facts.stable && facts.failures.is_empty(), "{}", causes(&facts));
    let counts: Vec<_> = facts
        .workloads
        .iter()
        .map(|w| (w.kind.as_str(), w.name.as_str(), w.desired, w.ready))
        .collect();
    assert_eq!(
        counts,
        [
            ("Deployment", "web", 2, 2),
            ("StatefulSet", "db", 2, 2),
            ("DaemonSet", "agent", 1, 1),
            ("ReplicaSet", "bare", 1, 1)
        ]
    );
    assert!(facts.ready_after.is_some_and(|after| after < Duration::from_mins(1)));

    let facts = startup_loops.facts();
    println!("{}", causes(&facts));
    assert!(!facts.stable && facts.failures.len() == 1, "{}", causes(&facts));
    assert!(facts.failures[0].cause.contains("exit code 1"), "{}", causes(&facts));
}

#[tokio::test]
#[ignore = "needs a cluster (KYMAROS_TEST_KUBECONFIG)"]
async fn objects_are_found_by_name_and_missed_when_they_go() {
    let sandbox = Sandbox::new("objects", json!({}));
    let config_map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    sandbox.apply(&[
        config_map("a"),
        config_map("b"),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}),
    ]);
    let kind = |kind: &str, expected: &[&str]| KindFacts {
        source: "objects".to_owned(),
        kind: kind.to_owned(),
        expected: expected.iter().map(|name| (*name).to_owned()).collect(),
        ..KindFacts::default()
    };
    let mut kinds = [
        kind("ConfigMap", &["a", "b", "c"]),
        kind("Secret", &["s", "t"]),
        kind("Service", &["web"]),
    ];
    let cluster = cluster().await;
    let discovery = cluster.discover().await.expect("the kinds are served");
    let sandboxes = std::slice::from_ref(&sandbox.facts);
    let start = Instant::now();
    inventory(&cluster, &discovery, sandboxes, &mut kinds, None, false, true)
        .await
        .expect("the sandbox is looked through");
    println!("looked through in {:?}", start.elapsed());
    let present: Vec<_> = kinds
        .iter()
        .map(|kind| kind.present.clone().unwrap_or_default())
        .collect();
    assert_eq!(present, [vec!["a", "b"], vec!["s"], vec!["web"]]);
    // Asking for the absent one made none.
    let secrets = cluster.namespaced::<Secret>(&sandbox.facts.name);
    assert!(secrets.get_opt("t").await.expect("an answer").is_none());

    kubectl_in_cluster(&["delete", "-n", &sandbox.facts.name, "configmap/a", "secret/s"], None)
        .expect("they are deleted");
    recheck(&cluster, &discovery, sandboxes, &mut kinds, None)
        .await
        .expect("the sandbox is looked through again");
    let vanished: Vec<_> = kinds.iter().map(|kind| kind.vanished.clone()).collect();
    assert_eq!(vanished, [vec!["a"], vec!["s"], vec![]]);
}
