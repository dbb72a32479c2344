//! The checks against a real cluster, with commands in real containers and Services that lead astray.
//!
//! Service addresses are dialled, so this runs inside the cluster's network:
//! `cargo test --test checks --no-run`, then `tests/cluster/in <the binary> --ignored`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test says what is wrong by panicking, and shows what it measured"
)]
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use kymaros_runner::checks::{Context, dependencies, run_all};
use kymaros_runner::cluster::{Cluster, Waited};
use kymaros_runner::facts::{CheckFact, DependencyBrief, SandboxFacts, Status};
use serde_json::{Value, from_value, json};

/// A namespace that ends with the test, and what is in it.
struct Place {
    cluster: Cluster,
    namespace: Namespace,
}

impl Place {
    async fn make(name: &str) -> Self {
        let cluster = Cluster::find(false, Duration::from_secs(10)).await.unwrap();
        let name = format!("checks-{name}-{}", std::process::id());
        let namespace = from_value(json!({ "metadata": { "name": name } })).unwrap();
        let namespace = cluster.all::<Namespace>().create(&namespace).await.unwrap();
        Self { cluster, namespace }
    }

    fn name(&self) -> String {
        self.namespace.name_any()
    }

    async fn pod(&self, name: &str, image: &str, command: &[&str]) -> Pod {
        let pod = json!({
            "metadata": { "name": name, "labels": { "app": name } },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "main", "image": image, "command": command, "ports": [{ "name": "http", "containerPort": 8080 }],
                }],
            },
        });
        self.cluster
            .namespaced::<Pod>(&self.name())
            .create(&from_value(pod).unwrap())
            .await
            .unwrap()
    }

    /// Waits until the pod is ready.
    async fn ready(&self, pod: &str) {
        let is_ready = |pod: Option<&Pod>| {
            let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
            conditions
                .into_iter()
                .flatten()
                .any(|one| one.type_ == "Ready" && one.status == "True")
        };
        self.wait(pod, is_ready).await;
    }

    async fn wait(&self, pod: &str, condition: impl FnMut(Option<&Pod>) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
        let pods = self.cluster.namespaced::<Pod>(&self.name());
        let waited = pods.wait_for(pod, deadline, condition).await.unwrap();
        assert!(matches!(waited, Waited::Met(_)), "{waited:?}");
    }

    async fn service(&self, name: &str, spec: Value) {
        let service = json!({ "metadata": { "name": name }, "spec": spec });
        self.cluster
            .namespaced::<Service>(&self.name())
            .create(&from_value(service).unwrap())
            .await
            .unwrap();
    }

    /// Runs the checks here, as in a sandbox.
    async fn run(&self, checks: &[Value]) -> Vec<CheckFact> {
        let sandbox = SandboxFacts {
            source: "shop".into(),
            name: self.name(),
            uid: String::new(),
        };
        let sandboxes = [sandbox];
        let checks: Vec<_> = checks.iter().map(|check| from_value(check.clone()).unwrap()).collect();
        let mut done = Vec::new();
        run_all(
            &Context::new(&self.cluster, &sandboxes),
            &checks,
            Duration::from_mins(5),
            &mut done,
        )
        .await;
        done
    }

    async fn one(&self, check: Value) -> (Status, String) {
        let fact = self.run(&[check]).await.remove(0);
        println!("{:?} {:?} {}", fact.status, fact.duration, fact.message);
        (fact.status, fact.message)
    }

    async fn end(self) {
        let uid = self.namespace.metadata.uid.as_deref().unwrap_or_default();
        self.cluster.all::<Namespace>().delete(&self.name(), uid).await.unwrap();
    }
}

fn http_get(service: &str, port: Value) -> Value {
    let block = json!({ "service": service, "port": port, "path": "/healthz", "retries": 0, "timeout": "5s" });
    json!({ "name": "h", "type": "httpGet", "httpGet": block })
}

fn exec(command: &[&str], more: Value) -> Value {
    let mut block = json!({ "podSelector": { "app": "shell" }, "command": command, "timeout": "20s" });
    block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "name": "e", "type": "exec", "exec": block })
}

#[tokio::test]
#[ignore = "needs a cluster (makes and deletes a namespace with pods and Services)"]
async fn services_are_dialled_and_only_into_the_sandbox() {
    let place = Place::make("dial").await;
    place.pod("web", "registry.local/httpd:1", &[]).await;
    let ports = json!([{ "name": "http", "port": 80, "targetPort": "http" }]);
    place
        .service("web", json!({ "selector": { "app": "web" }, "ports": ports }))
        .await;
    place
        .service(
            "headless",
            json!({ "selector": { "app": "web" }, "clusterIP": "None", "ports": ports }),
        )
        .await;
    place
        .service("nobody", json!({ "selector": { "app": "nobody" }, "ports": ports }))
        .await;
    place
        .service(
            "outside",
            json!({ "type": "ExternalName", "externalName": "shop.example", "ports": ports }),
        )
        .await;
    place.service("stray", json!({ "ports": ports })).await;
    let slice = json!({
        "metadata": { "name": "stray", "labels": { "kubernetes.io/service-name": "stray" } }, "addressType": "IPv4",
        "endpoints": [{ "addresses": ["192.0.2.7"] }], "ports": [{ "name": "http", "port": 80 }],
    });
    place
        .cluster
        .namespaced::<EndpointSlice>(&place.name())
        .create(&from_value(slice).unwrap())
        .await
        .unwrap();

    let pods = json!({ "name": "p", "type": "podStatus", "podStatus": { "labelSelector": { "app": "web" }, "timeout": "2m" } });
    assert_eq!(place.one(pods).await, (Status::Pass, "1/1 pods ready".into()));
    // Endpoints follow readiness, and rules follow endpoints.
    let mut patient = http_get("web", json!("http"));
    patient["httpGet"]["retries"] = json!(5);
    let passed = (Status::Pass, "HTTP 200 received from /healthz".to_owned());
    assert_eq!(place.one(patient).await, passed);
    assert_eq!(place.one(http_get("web", json!(80))).await, passed);
    assert_eq!(place.one(http_get("headless", json!("http"))).await, passed);
    let tcp = json!({ "name": "t", "type": "tcpSocket", "tcpSocket": { "service": "web", "port": 80, "retries": 0 } });
    assert_eq!(
        place.one(tcp).await,
        (Status::Pass, "TCP connection to web:80 opened".into())
    );

    let failures = [
        (
            "web",
            json!(8080),
            "Service web has no TCP port 8080; its ports: 80 (http)",
        ),
        ("nobody", json!(80), "Service nobody has no ready endpoints"),
        ("outside", json!(80), "Service outside points outside to shop.example"),
        (
            "stray",
            json!(80),
            "Service stray is not dialled: its endpoints are not pods of the sandbox",
        ),
        ("gone", json!(80), "Service gone is not in the sandbox"),
    ];
    for (service, port, message) in failures {
        assert_eq!(place.one(http_get(service, port)).await, (Status::Fail, message.into()));
    }
    place.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (makes and deletes a namespace with pods)"]
async fn commands_run_in_a_ready_pod() {
    let place = Place::make("exec").await;
    place.pod("shell", "registry.local/busybox:1", &["sleep", "600"]).await;
    place.ready("shell").await;
    let sh = |script: &str, more: Value| exec(&["sh", "-c", script], more);

    let (status, message) = place
        .one(sh(
            "echo accepting connections",
            json!({ "outputMatches": "^accepting" }),
        ))
        .await;
    assert_eq!(status, Status::Pass);
    assert_eq!(
        message,
        "exit code 0 from pod shell, its output matches: accepting connections"
    );
    let (status, message) = place.one(sh("echo out; echo broken >&2; exit 3", json!({}))).await;
    assert_eq!(
        (status, message.as_str()),
        (Status::Fail, "exit code 3 from pod shell, expected 0: broken")
    );
    assert_eq!(
        place.one(sh("exit 3", json!({ "successExitCode": 3 }))).await.0,
        Status::Pass
    );

    // Far more than the pipes and what is kept, on both streams.
    let flood = "i=0; while [ $i -lt 4000 ]; do echo 0123456789012345678901234567890123456789012345678901234567890; \
                 echo 0123456789012345678901234567890123456789012345678901234567890 >&2; i=$((i+1)); done; exit 5";
    let (status, message) = place.one(sh(flood, json!({}))).await;
    assert!(
        status == Status::Fail && message.starts_with("exit code 5 from pod shell, expected 0: 0123"),
        "{message}"
    );
    assert!(message.len() < 600, "{message}");

    let (status, message) = place.one(exec(&["/no/such/program"], json!({}))).await;
    assert!(
        status == Status::Fail && message.starts_with("the command could not be"),
        "{message}"
    );

    let begun = Instant::now();
    let (status, message) = place.one(sh("sleep 60", json!({ "timeout": "2s" }))).await;
    assert_eq!(
        (status, message.as_str()),
        (Status::Fail, "the command in pod shell did not end within 2s")
    );
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let missing = sh("true", json!({ "container": "sidecar" }));
    assert_eq!(
        place.one(missing).await.1,
        "pod shell has no container sidecar; its containers: main"
    );
    let none = sh("true", json!({ "podSelector": { "app": "nobody" } }));
    assert_eq!(place.one(none).await.1, "no pods with app=nobody in the sandbox");

    // A node that kills the container says so, or the connection ends without a word: never a pass.
    let killer = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let pods = place.cluster.namespaced::<Pod>(&place.name());
        let pod = pods.get("shell").await.unwrap();
        pods.delete("shell", pod.metadata.uid.as_deref().unwrap_or_default())
            .await
            .unwrap();
    };
    let ((status, message), ()) = tokio::join!(place.one(sh("sleep 60", json!({}))), killer);
    assert_eq!(status, Status::Fail, "{message}");
    place.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (makes and deletes a namespace with small objects)"]
async fn objects_of_any_kind_are_found() {
    let place = Place::make("exists").await;
    let name = place.name();
    let settings = json!({ "metadata": { "name": "settings" } });
    place
        .cluster
        .namespaced::<ConfigMap>(&name)
        .create(&from_value(settings).unwrap())
        .await
        .unwrap();
    let password = json!({ "metadata": { "name": "password" }, "stringData": { "a": "b" } });
    place
        .cluster
        .namespaced::<Secret>(&name)
        .create(&from_value(password).unwrap())
        .await
        .unwrap();
    let exists = |resources: Value| json!({ "name": "r", "type": "resourceExists", "resourceExists": { "resources": resources } });
    let all = json!([
        { "kind": "ConfigMap", "name": "settings" },
        { "kind": "Secret", "name": "password" },
        { "kind": "ServiceAccount", "name": "default", "apiVersion": "v1" },
    ]);
    assert_eq!(
        place.one(exists(all)).await,
        (Status::Pass, "3/3 resources exist".into())
    );
    let some = json!([
        { "kind": "ConfigMap", "name": "settings" }, { "kind": "Secret", "name": "gone" }, { "kind": "Deployment", "name": "gone" },
    ]);
    let message = "1/3 resources exist; missing: Secret/gone, Deployment/gone";
    assert_eq!(place.one(exists(some)).await, (Status::Fail, message.into()));
    let secrets = place.cluster.namespaced::<Secret>(&name);
    assert!(
        secrets.get_opt("gone").await.unwrap().is_none(),
        "asking made the Secret"
    );
    let (_, message) = place.one(exists(json!([{ "kind": "Unknown", "name": "x" }]))).await;
    assert!(message.starts_with("the cluster serves no kind Unknown"), "{message}");
    let (_, message) = place.one(exists(json!([{ "kind": "Node", "name": "node1" }]))).await;
    assert_eq!(message, "Node is a cluster-wide kind and no part of a sandbox");
    place.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (makes and deletes a namespace with pods)"]
async fn pods_that_cannot_start_are_told() {
    let place = Place::make("pods").await;
    let sleep = "sleep 6; exec sleep 600";
    let late = json!({
        "metadata": { "name": "late", "labels": { "app": "late" } },
        "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
            "name": "main", "image": "registry.local/busybox:1", "command": ["sh", "-c", format!("touch /tmp/x; {sleep}")],
            "readinessProbe": { "exec": { "command": ["test", "-e", "/tmp/x"] }, "initialDelaySeconds": 4, "periodSeconds": 1 },
        }] },
    });
    place
        .cluster
        .namespaced::<Pod>(&place.name())
        .create(&from_value(late).unwrap())
        .await
        .unwrap();
    place
        .pod("crash", "registry.local/busybox:1", &["sh", "-c", "exit 7"])
        .await;
    let pods = |app: &str, timeout: &str| {
        let block = json!({ "labelSelector": { "app": app }, "timeout": timeout });
        json!({ "name": "p", "type": "podStatus", "podStatus": block })
    };
    assert_eq!(
        place.one(pods("late", "1m")).await,
        (Status::Pass, "1/1 pods ready".into())
    );
    // Between its crashes it is ready for a moment.
    place
        .wait("crash", |pod| {
            let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
            statuses.into_iter().flatten().any(|one| one.restart_count > 0)
        })
        .await;
    let (status, message) = place.one(pods("crash", "30s")).await;
    assert_eq!(status, Status::Fail);
    assert!(
        message.starts_with("Pod crash did not reach Ready state within timeout: "),
        "{message}"
    );
    assert!(message.contains('7'), "{message}");
    assert_eq!(
        place.one(pods("none", "2s")).await.1,
        "no pods with app=none appeared within 2s"
    );
    place.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (looks up and dials its own Services)"]
async fn dependencies_are_dialled_by_name() {
    let dependency = |service: &str, port: u16| DependencyBrief {
        service: service.into(),
        namespace: "default".into(),
        port,
    };
    let all = [dependency("kubernetes", 443), dependency("no-such-service", 443)];
    let facts = dependencies::dial(&all, Duration::from_secs(5)).await;
    println!("{facts:?}");
    assert!(facts[0].reachable, "{facts:?}");
    assert!(!facts[1].reachable);
    let message = &facts[1].message;
    assert!(
        message.starts_with("no-such-service.default.svc: name not"),
        "{message}"
    );
}
