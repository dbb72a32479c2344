//! One request in the name of somebody, and what is expected of it: the rows of the fence's tables.

use std::fmt;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, ObjectMeta};
use kube::{Client, Error};
use serde_json::{Value, json};

/// What is asked of the API server. All but [`Verb::Make`] and [`Verb::Remove`] are dry runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Dry run of a create.
    Create,
    /// Dry run of a merge patch; the object is the patch.
    Patch,
    /// Dry run of a merge patch of the status subresource.
    PatchStatus,
    /// Dry run of a strategic merge patch of a pod's ephemeral containers.
    PatchEphemeral,
    /// Dry run of a replacement of the object as read, merged with the object given.
    Replace,
    /// Dry run of a delete.
    Delete,
    /// A create that stays.
    Make,
    /// A merge patch that stays.
    Change,
    /// A merge patch of the status subresource that stays.
    ChangeStatus,
    /// A delete that stays.
    Remove,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Accepted; the object as the API server gave it back.
    Accepted(Value),
    /// Refused, with the API server's message.
    Refused(String),
    /// Anything else, which no case expects.
    Other(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(_) => f.write_str("accepted"),
            Self::Refused(message) => write!(f, "refused: {message}"),
            Self::Other(message) => write!(f, "neither accepted nor refused: {message}"),
        }
    }
}

/// How the kinds that the tests use are called in URLs.
fn resource(api_version: &str, kind: &str) -> ApiResource {
    let plural = match kind {
        "Ingress" => "ingresses".to_owned(),
        "NetworkPolicy" => "networkpolicies".to_owned(),
        "PriorityClass" => "priorityclasses".to_owned(),
        _ => format!("{}s", kind.to_lowercase()),
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let kind = resource(text(object, "/apiVersion"), text(object, "/kind"));
    match text(object, "/metadata/namespace") {
        "" => Api::all_with(client.clone(), &kind),
        namespace => Api::namespaced_with(client.clone(), namespace, &kind),
    }
}

/// What is stored under the object's name.
pub(crate) async fn read(client: &Client, object: &Value) -> Value {
    let stored = api(client, object)
        .get(text(object, "/metadata/name"))
        .await
        .expect("it exists");
    serde_json::to_value(&stored).expect("an object")
}

/// Sends one request.
pub(crate) async fn send(client: &Client, verb: Verb, object: &Value) -> Outcome {
    let name = text(object, "/metadata/name");
    let api = api(client, object);
    let dry_run = !matches!(verb, Verb::Make | Verb::Change | Verb::ChangeStatus | Verb::Remove);
    let post = PostParams {
        dry_run,
        ..PostParams::default()
    };
    let merge = PatchParams {
        dry_run,
        ..PatchParams::default()
    };
    let answer = match verb {
        Verb::Create | Verb::Make => {
            let body: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
            api.create(&post, &body).await
        }
        Verb::Patch | Verb::Change => api.patch(name, &merge, &Patch::Merge(object)).await,
        Verb::PatchEphemeral => {
            api.patch_subresource("ephemeralcontainers", name, &merge, &Patch::Strategic(object))
                .await
        }
        Verb::PatchStatus | Verb::ChangeStatus => api.patch_status(name, &merge, &Patch::Merge(object)).await,
        Verb::Replace => match api.get(name).await {
            Ok(current) => {
                let mut merged = serde_json::to_value(&current).expect("an object");
                overlay(&mut merged, object.clone());
                let body: DynamicObject = serde_json::from_value(merged).expect("an object");
                api.replace(name, &post, &body).await
            }
            Err(error) => Err(error),
        },
        Verb::Delete | Verb::Remove => {
            let params = DeleteParams {
                dry_run,
                ..DeleteParams::default()
            };
            match api.delete(name, &params).await {
                Ok(gone) => Ok(gone.left().unwrap_or_else(|| DynamicObject {
                    types: None,
                    metadata: ObjectMeta::default(),
                    data: Value::Null,
                })),
                Err(error) => Err(error),
            }
        }
    };
    match answer {
        Ok(object) => Outcome::Accepted(serde_json::to_value(&object).expect("an object")),
        Err(Error::Api(status)) if status.code == 403 => Outcome::Refused(status.message.clone()),
        // A policy whose parameter is not there refuses as if the object were invalid.
        Err(Error::Api(status)) if status.message.contains("no params found for policy binding") => {
            Outcome::Refused(status.message.clone())
        }
        Err(error) => Outcome::Other(error.to_string()),
    }
}

/// Puts `patch` over `target`, as a merge patch does; null removes.
pub(crate) fn overlay(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    overlay(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

/// `object`, changed.
pub(crate) fn with(object: &Value, change: Value) -> Value {
    let mut changed = object.clone();
    overlay(&mut changed, change);
    changed
}

/// What a case expects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// The request is accepted.
    Accepted,
    /// A policy of this name refuses it (the part after `kymaros-fence-`), with a message that holds the text.
    Refused(&'static str, &'static str),
    /// One of several policies refuses it, whichever is asked first; all say this.
    Held(&'static str),
    /// RBAC refuses it, before any policy is asked.
    NoRight,
}

/// A row of a table.
pub(crate) struct Case {
    /// What the case is about, for whoever reads that it failed.
    pub(crate) about: &'static str,
    /// What is asked.
    pub(crate) verb: Verb,
    /// With what.
    pub(crate) object: Value,
    /// What should come of it.
    pub(crate) expect: Expect,
}

/// A row, written in one line.
pub(crate) fn case(about: &'static str, verb: Verb, object: Value, expect: Expect) -> Case {
    Case {
        about,
        verb,
        object,
        expect,
    }
}

/// Sends every case in the name of one client and returns what went wrong, one line per case.
pub(crate) async fn failures(client: &Client, cases: &[Case]) -> Vec<String> {
    let mut failures = Vec::new();
    for case in cases {
        let outcome = send(client, case.verb, &case.object).await;
        let fine = match (&case.expect, &outcome) {
            (Expect::Accepted, Outcome::Accepted(_)) => true,
            (Expect::Refused(policy, piece), Outcome::Refused(message)) => {
                message.contains(&format!(
                    "ValidatingAdmissionPolicy 'kymaros-fence-{policy}' with binding"
                )) && message.contains(piece)
            }
            (Expect::Held(piece), Outcome::Refused(message)) => {
                message.contains("ValidatingAdmissionPolicy 'kymaros-fence-") && message.contains(piece)
            }
            (Expect::NoRight, Outcome::Refused(message)) => message.contains("cannot"),
            _ => false,
        };
        if !fine {
            failures.push(format!("{}: expected {:?}, {outcome}", case.about, case.expect));
        }
    }
    failures
}

/// Makes what has to exist before the cases; an object that is there already is left alone.
pub(crate) async fn make(client: &Client, objects: &[Value]) {
    for object in objects {
        match send(client, Verb::Make, object).await {
            Outcome::Accepted(_) => {}
            Outcome::Other(message) if message.contains("already exists") => {}
            outcome => panic!(
                "{} {}: {outcome}",
                text(object, "/kind"),
                text(object, "/metadata/name")
            ),
        }
    }
}

/// A sandbox, as the runner makes one. The name ends in `-kymaros-<run id>`.
pub(crate) fn sandbox(name: &str) -> Value {
    let run = name.rsplit('-').next().unwrap_or_default();
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                "kymaros.io/managed-by": "kymaros", "kymaros.io/run": run, "kymaros.io/test": "fence",
                "kymaros.io/source-namespace": "shop", "velero.io/exclude-from-backup": "true",
                "pod-security.kubernetes.io/enforce": "privileged",
            },
            "annotations": {
                "kymaros.io/expires-at": "2000-01-01T00:00:00Z", "kymaros.io/isolation-proof": "required",
                "kymaros.io/kinds": "ConfigMap,Pod,Secret,Service,ServiceAccount,Deployment.apps",
            },
        },
    })
}

/// The `RoleBinding` by which the runner gets its rights in a sandbox.
pub(crate) fn role_binding(namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "kymaros-sandbox", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kymaros-sandbox"},
        "subjects": [{"kind": "ServiceAccount", "name": "kymaros-runner", "namespace": "kymaros-system"}],
    })
}
