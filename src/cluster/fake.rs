//! A scripted API server behind the real client, for faults that no real server shows on demand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

use super::Cluster;

/// The limit of one call in these tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// What was asked: method, path with query, body.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        self.path.contains("watch=true")
    }

    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// What is answered.
pub(crate) enum Reply {
    /// Status and body.
    Say(u16, String),
    /// The same after some time; a watch without news is an empty one.
    Later(Duration, u16, String),
    /// Nothing, ever.
    Hang,
    /// The connection fails.
    Refuse,
    /// The program itself fails, in the middle of a request.
    Panic,
}

impl Reply {
    pub(crate) fn json(value: &Value) -> Self {
        Self::Say(200, value.to_string())
    }

    pub(crate) fn status(code: u16, reason: &str, message: &str) -> Self {
        Self::Say(code, status(code, reason, message).to_string())
    }

    /// A list of these objects.
    pub(crate) fn list(items: &[Value]) -> Self {
        Self::json(&json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "10"}, "items": items}))
    }

    /// Watch events, after which the server ends the watch.
    pub(crate) fn events(events: &[(&str, Value)]) -> Self {
        let lines: Vec<String> = events
            .iter()
            .map(|(kind, object)| json!({"type": kind, "object": object}).to_string())
            .collect();
        Self::Say(200, lines.join("\n") + "\n")
    }

    /// A watch in which nothing happens for a while.
    pub(crate) fn quiet() -> Self {
        Self::Later(Duration::from_secs(5), 200, String::new())
    }
}

pub(crate) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

/// A log of `METHOD path`.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// A cluster whose server answers what `answer` says.
pub(crate) fn cluster(answer: impl FnMut(&Asked) -> Reply + Send + 'static) -> (Cluster, Log) {
    let log = Log::default();
    let answer = Arc::new(Mutex::new(answer));
    let seen = Arc::clone(&log);
    let service = service_fn(move |request: Request<Body>| {
        let answer = Arc::clone(&answer);
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let asked = Asked {
                method: head.method.to_string(),
                path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            seen.lock().unwrap().push(format!("{} {}", asked.method, asked.path));
            let reply = (answer.lock().unwrap())(&asked);
            let (code, text) = match reply {
                Reply::Say(code, text) => (code, text),
                Reply::Later(pause, code, text) => {
                    tokio::time::sleep(pause).await;
                    (code, text)
                }
                Reply::Hang => std::future::pending().await,
                Reply::Panic => panic!("a bug; password=hunter2"),
                Reply::Refuse => return Err(BoxError::from("connection refused")),
            };
            Ok(Response::builder().status(code).body(Body::from(text.into_bytes()))?)
        }
    });
    (Cluster::over(service, "default", LIMIT), log)
}
