//! An API server that is a table, and small servers to dial.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, from_value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::api::Check;
use crate::checks::{Context, run_all};
use crate::cluster::Cluster;
use crate::cluster::fake::{self, Asked, Reply};
use crate::facts::{CheckFact, SandboxFacts, Status};

pub(super) const SANDBOX: &str = "rp-test-shop-kymaros-abc123";
pub(super) const OTHER: &str = "rp-test-billing-kymaros-abc123";

/// An API server that answers from a table and notes what it is asked.
#[derive(Clone, Default)]
pub(super) struct Fake {
    answers: BTreeMap<String, (u16, Value)>,
    pub(super) log: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// Answers `METHOD path` so.
    pub(super) fn on(mut self, request: &str, status: u16, answer: Value) -> Self {
        self.answers.insert(request.to_owned(), (status, answer));
        self
    }

    /// Has these objects of a kind in a sandbox.
    pub(super) fn objects(self, group: &str, plural: &str, sandbox: &str, objects: &[Value]) -> Self {
        let path = format!("GET /{group}/namespaces/{sandbox}/{plural}");
        let list =
            json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": objects });
        objects.iter().fold(self.on(&path, 200, list), |fake, object| {
            let name = object["metadata"]["name"].as_str().unwrap();
            fake.on(&format!("{path}/{name}"), 200, object.clone())
        })
    }

    /// A Service on this address, with a ready pod behind it.
    pub(super) fn service(self, address: SocketAddr) -> Self {
        let spec =
            json!({ "clusterIP": address.ip(), "clusterIPs": [address.ip()], "ports": [{ "port": address.port() }] });
        let metadata = |name: &str| json!({ "name": name, "namespace": SANDBOX });
        let endpoint =
            json!({ "addresses": ["10.0.0.1"], "targetRef": { "kind": "Pod", "name": "web-0", "namespace": SANDBOX } });
        self.objects(
            "api/v1",
            "services",
            SANDBOX,
            &[json!({ "metadata": metadata("web"), "spec": spec })],
        )
        .objects(
            "apis/discovery.k8s.io/v1",
            "endpointslices",
            SANDBOX,
            &[json!({ "metadata": metadata("web-x"), "addressType": "IPv4", "endpoints": [endpoint], "ports": [] })],
        )
        .objects("api/v1", "pods", SANDBOX, &[ready_pod("web-0")])
    }

    pub(super) fn cluster(&self) -> Cluster {
        let fake = self.clone();
        let (cluster, _) = fake::cluster(move |asked| fake.answer(asked));
        cluster
    }

    pub(super) fn answer(&self, asked: &Asked) -> Reply {
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {}", asked.method, asked.path));
        if asked.is_watch() {
            return Reply::quiet();
        }
        let path = asked.path.split('?').next().unwrap_or_default();
        match self.answers.get(&format!("{} {path}", asked.method)) {
            Some((status, answer)) => Reply::Say(*status, answer.to_string()),
            None => Reply::status(404, "NotFound", "not found"),
        }
    }

    pub(super) fn asked(&self, part: &str) -> usize {
        self.log
            .lock()
            .unwrap()
            .iter()
            .filter(|call| call.contains(part))
            .count()
    }
}

pub(super) fn ready_pod(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": SANDBOX },
        "spec": { "containers": [{ "name": "web" }] },
        "status": {
            "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

pub(super) fn forbidden() -> Value {
    fake::status(403, "Forbidden", "no")
}

pub(super) fn sandboxes(names: &[(&str, &str)]) -> Vec<SandboxFacts> {
    let make = |(source, name): &(&str, &str)| SandboxFacts {
        source: (*source).to_owned(),
        name: (*name).to_owned(),
        uid: String::new(),
    };
    names.iter().map(make).collect()
}

pub(super) fn check(value: Value) -> Check {
    from_value(value).unwrap()
}

/// Runs the checks in the only sandbox.
pub(super) async fn run(fake: &Fake, checks: &[Value], timeout: Duration) -> Vec<CheckFact> {
    let (cluster, sandboxes) = (fake.cluster(), sandboxes(&[("shop", SANDBOX)]));
    let checks: Vec<Check> = checks.iter().cloned().map(check).collect();
    let mut done = Vec::new();
    run_all(&Context::new(&cluster, &sandboxes), &checks, timeout, &mut done).await;
    done
}

/// Runs one check with time enough; its status and message.
pub(super) async fn one(fake: &Fake, check: Value) -> (Status, String) {
    let fact = run(fake, &[check], Duration::from_mins(1)).await.remove(0);
    (fact.status, fact.message)
}

pub(super) fn tcp(name: &str, port: u16, retries: u32) -> Value {
    json!({ "name": name, "type": "tcpSocket", "tcpSocket": { "service": "web", "port": port, "retries": retries } })
}

pub(super) fn http_get(port: u16, more: Value) -> Value {
    let mut block = json!({ "service": "web", "port": port, "path": "/healthz?key=1", "retries": 0 });
    block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "name": "api", "type": "httpGet", "httpGet": block })
}

/// Answers every request with its own text.
pub(super) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = vec![0; 4096];
                let read = stream.read(&mut asked).await.unwrap_or_default();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {read}\r\n\r\n");
                let _ = stream.write_all(&[head.as_bytes(), &asked[..read]].concat()).await;
            });
        }
    });
    address
}

pub(super) async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
