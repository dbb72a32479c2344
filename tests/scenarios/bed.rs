//! The cluster that scenarios are played on. The player asks its API itself: a kubectl for each question would take a sixth of all
//! the time. A scenario's own commands have kubectl, which is what a user has.

use std::collections::BTreeMap;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use futures::TryStreamExt as _;
use http::{Method, Request};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::WatchEvent;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

/// Where the runner is installed.
pub(crate) const SYSTEM: &str = "kymaros-system";

/// A watch that says nothing for so long is begun anew, for it may have died.
const SILENCE: Duration = Duration::from_secs(20);
/// Longest time for one request. One bed's API server is stopped for ten seconds by a scenario.
const REQUEST: Duration = Duration::from_mins(1);

/// A kind of object, as its URL has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    version: String,
    plural: String,
}

/// The kind of a group and version (`apps/v1`) that is called so in URLs.
pub(crate) fn kind(version: &str, plural: &str) -> Kind {
    Kind {
        version: version.to_owned(),
        plural: plural.to_owned(),
    }
}

impl Kind {
    /// Whether it is called so.
    pub(crate) fn is(&self, plural: &str) -> bool {
        self.plural == plural
    }

    fn url(&self, namespace: &str) -> String {
        let root = if self.version.contains('/') { "apis" } else { "api" };
        let within = match namespace {
            "" => String::new(),
            namespace => format!("namespaces/{namespace}/"),
        };
        format!("/{root}/{}/{within}{}", self.version, self.plural)
    }
}

/// The kinds of one group and version: how each is called in URLs, and whether it is namespaced.
type Served = BTreeMap<String, (Kind, bool)>;

/// A cluster, given by the environment and never found by chance.
pub(crate) struct Bed {
    kubectl: String,
    kubeconfig: String,
    pub(crate) providers: Vec<String>,
    /// Scenarios are played by threads; those that wait for an answer drive it in turn.
    runtime: Runtime,
    client: Client,
    served: Mutex<BTreeMap<String, Served>>,
}

impl Bed {
    /// From `KYMAROS_TEST_KUBECONFIG`, `KYMAROS_KUBECTL` and `KYMAROS_TEST_PROVIDERS`.
    #[expect(clippy::disallowed_methods, reason = "a test program's settings")]
    pub(crate) fn from_environment() -> Result<Self, String> {
        let kubeconfig = std::env::var("KYMAROS_TEST_KUBECONFIG").map_err(|_| {
            "scenarios need a cluster: KYMAROS_TEST_KUBECONFIG must name its kubeconfig (make test sets it)".to_owned()
        })?;
        let providers = std::env::var("KYMAROS_TEST_PROVIDERS").unwrap_or_else(|_| "velero".to_owned());
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        kymaros_runner::cluster::install_crypto();
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(&kubeconfig).map_err(|e| e.to_string())?;
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
            Client::try_from(config.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
        })?;
        Ok(Self {
            kubectl: std::env::var("KYMAROS_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned()),
            kubeconfig,
            providers: providers.split_whitespace().map(str::to_owned).collect(),
            runtime,
            client,
            served: Mutex::default(),
        })
    }

    /// One request; what is answered, or `None` for what is not there.
    fn request(&self, method: &Method, url: &str, body: Option<&Value>) -> Result<Option<String>, Refusal> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.map(|body| body.to_string().into_bytes()).unwrap_or_default())
            .map_err(|e| Refusal::of(method, url, &e.to_string()))?;
        let answer = self
            .runtime
            .block_on(async { timeout(REQUEST, self.client.request_text(request)).await });
        match answer {
            Ok(Ok(text)) => Ok(Some(text)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Ok(Err(kube::Error::Api(status))) => Err(Refusal {
                code: status.code,
                words: format!("{method} {url}: {}", status.message),
            }),
            Ok(Err(error)) => Err(Refusal::of(method, url, &error.to_string())),
            Err(_) => Err(Refusal::of(
                method,
                url,
                &format!("no answer in {} s", REQUEST.as_secs()),
            )),
        }
    }

    fn read(&self, url: &str) -> Result<Option<Value>, String> {
        let text = self.request(&Method::GET, url, None).map_err(|e| e.words)?;
        text.map(|text| serde_json::from_str(&text).map_err(|e| format!("{url}: {e}")))
            .transpose()
    }

    /// An object; `None` if it is not there.
    pub(crate) fn get(&self, namespace: &str, kind: &Kind, name: &str) -> Result<Option<Value>, String> {
        self.read(&format!("{}/{name}", kind.url(namespace)))
    }

    /// The objects of a namespace, or of all, with these labels, or all of them.
    pub(crate) fn list(&self, namespace: &str, kind: &Kind, labels: &str) -> Result<Vec<Value>, String> {
        let url = format!("{}?labelSelector={}", kind.url(namespace), labels.replace('=', "%3D"));
        let list = self.read(&url)?.ok_or_else(|| format!("{url}: no such kind"))?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// The log of a pod's only container.
    pub(crate) fn log(&self, namespace: &str, pod: &str) -> Result<String, String> {
        let url = format!("{}/{pod}/log", kind("v1", "pods").url(namespace));
        let log = self.request(&Method::GET, &url, None).map_err(|e| e.words)?;
        log.ok_or_else(|| format!("{url}: no such pod"))
    }

    /// Makes an object. A misspelt field is an error.
    pub(crate) fn create(&self, namespace: &str, kind: &Kind, object: &Value) -> Result<(), String> {
        let url = format!("{}?fieldValidation=Strict", kind.url(namespace));
        match self.request(&Method::POST, &url, Some(object)) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(format!("POST {url}: not found")),
            Err(refusal) => Err(refusal.words),
        }
    }

    /// Deletes an object, and in the background what belongs to it; it may not be there.
    pub(crate) fn delete(&self, namespace: &str, kind: &Kind, name: &str) -> Result<(), String> {
        let url = format!("{}/{name}", kind.url(namespace));
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        self.request(&Method::DELETE, &url, Some(&options))
            .map(drop)
            .map_err(|e| e.words)
    }

    /// Applies objects, as `kubectl apply` does: with the annotation that it makes, because users' objects have it.
    pub(crate) fn apply(&self, objects: &str) -> Result<(), String> {
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let objects: Vec<Value> =
            serde_saphyr::from_multiple_with_options(objects, options).map_err(|e| e.to_string())?;
        for object in objects.into_iter().filter(|object| !object.is_null()) {
            self.apply_one(object)?;
        }
        Ok(())
    }

    fn apply_one(&self, mut object: Value) -> Result<(), String> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (called, name) = (text("/kind"), text("/metadata/name"));
        let (kind, namespaced) = self.served(&text("/apiVersion"), &called)?;
        let namespace = match text("/metadata/namespace") {
            _ if !namespaced => String::new(),
            none if none.is_empty() => "default".to_owned(),
            namespace => namespace,
        };
        if namespaced {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let applied = format!("{object}\n");
        object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = json!(applied);
        let fields = "fieldManager=kubectl-client-side-apply&fieldValidation=Strict";
        let url = kind.url(&namespace);
        let made = match self.request(&Method::POST, &format!("{url}?{fields}"), Some(&object)) {
            Err(refusal) if refusal.code == 409 => {
                let url = format!("{url}/{name}?{fields}&force=true");
                self.patch(&url, &object)
            }
            made => made,
        };
        match made {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(format!("{called}/{name}: no namespace {namespace}")),
            Err(refusal) => Err(refusal.words),
        }
    }

    /// Server-side apply over what is there.
    fn patch(&self, url: &str, object: &Value) -> Result<Option<String>, Refusal> {
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(url)
            .header(http::header::CONTENT_TYPE, "application/apply-patch+yaml")
            .body(object.to_string().into_bytes())
            .map_err(|e| Refusal::of(&Method::PATCH, url, &e.to_string()))?;
        let answer = self.runtime.block_on(self.client.request_text(request));
        answer
            .map(Some)
            .map_err(|e| Refusal::of(&Method::PATCH, url, &e.to_string()))
    }

    /// What a kind is called in URLs, and whether its objects are in namespaces.
    fn served(&self, version: &str, called: &str) -> Result<(Kind, bool), String> {
        let unknown = || format!("the cluster serves no {called} of {version}");
        let mut served = self.served.lock().map_err(|e| e.to_string())?;
        if let Some(known) = served.get(version).and_then(|kinds| kinds.get(called)) {
            return Ok(known.clone());
        }
        let root = if version.contains('/') { "apis" } else { "api" };
        let list = self.read(&format!("/{root}/{version}"))?.ok_or_else(unknown)?;
        let mut kinds = Served::new();
        for resource in list["resources"].as_array().into_iter().flatten() {
            let (plural, called) = (&resource["name"], &resource["kind"]);
            // The others are parts of objects.
            if let (Some(plural), Some(called)) = (plural.as_str().filter(|p| !p.contains('/')), called.as_str()) {
                let namespaced = resource["namespaced"] == true;
                kinds.insert(called.to_owned(), (kind(version, plural), namespaced));
            }
        }
        let found = kinds.get(called).cloned();
        served.insert(version.to_owned(), kinds);
        found.ok_or_else(unknown)
    }

    /// Watches one object until `over`, which is told `None` of one that is not there, and returns it.
    pub(crate) fn until(
        &self,
        (namespace, kind, name): (&str, &Kind, &str),
        limit: Duration,
        over: impl Fn(Option<&Value>) -> bool,
    ) -> Result<Option<Value>, String> {
        let url = format!("{}?fieldSelector=metadata.name%3D{name}", kind.url(namespace));
        let followed = async {
            loop {
                // It may fail or end at any time; then it is begun anew.
                if let Some(found) = self.follow(&url, &over).await {
                    return found;
                }
                sleep(Duration::from_millis(500)).await;
            }
        };
        let found = self.runtime.block_on(async { timeout(limit, followed).await });
        found.map_err(|_| format!("{}/{name}: not within {} s", kind.plural, limit.as_secs()))
    }

    /// One list and one watch; `None` if it came to nothing.
    async fn follow(&self, url: &str, over: &impl Fn(Option<&Value>) -> bool) -> Option<Option<Value>> {
        let list = Request::get(url).body(Vec::new()).ok()?;
        let list: Value = timeout(SILENCE, self.client.request(list)).await.ok()?.ok()?;
        let object = list["items"].as_array().and_then(|items| items.first()).cloned();
        if over(object.as_ref()) {
            return Some(object);
        }
        let version = list["metadata"]["resourceVersion"].as_str()?;
        let watch = Request::get(format!("{url}&watch=true&resourceVersion={version}"));
        let watch = self.client.request_events::<Value>(watch.body(Vec::new()).ok()?);
        let mut events = pin!(timeout(SILENCE, watch).await.ok()?.ok()?);
        while let Ok(Ok(Some(event))) = timeout(SILENCE, events.try_next()).await {
            let object = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(object),
                WatchEvent::Deleted(_) => None,
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(_) => return None,
            };
            if over(object.as_ref()) {
                return Some(object);
            }
        }
        None
    }

    /// Waits for an object to be gone.
    pub(crate) fn gone(&self, object: (&str, &Kind, &str), limit: Duration) -> Result<(), String> {
        self.until(object, limit, |object| object.is_none()).map(drop)
    }

    /// A shell that may use `k` for kubectl, and the scenario's names; not started yet.
    pub(crate) fn shell(&self, script: &str, names: &[(&str, &str)]) -> Command {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!(". tests/scenarios/lib.sh\n{script}"));
        command
            .env("KUBECTL", &self.kubectl)
            .env("KUBECONFIG_OF_BED", &self.kubeconfig);
        command.envs(names.iter().copied());
        command
    }
}

/// A request that came to nothing.
struct Refusal {
    code: u16,
    words: String,
}

impl Refusal {
    /// One that the API server did not answer.
    fn of(method: &Method, url: &str, why: &str) -> Self {
        Self {
            code: 0,
            words: format!("{method} {url}: {why}"),
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (text, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Err(format!("{} {}", text.trim(), error.trim()).trim().to_owned())
}
