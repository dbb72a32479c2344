//! Requests as an attacker writes them: every verb, way of patching and subresource by its URL, and who refused.

use std::time::Duration;

use kube::{Client, Error};
use serde_json::{Value, json};

use crate::support::RUNNER;

/// How something is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Create,
    /// A create whose name the API server makes up.
    Generate,
    Replace,
    MergePatch,
    JsonPatch,
    StrategicPatch,
    Apply,
    Delete,
    DeleteCollection,
    /// The verb by which connections are opened.
    Get,
}
use Way::{Apply, Create, Delete, DeleteCollection, Generate, Get, JsonPatch, MergePatch, Replace, StrategicPatch};

/// Every way to write an object.
pub(crate) const WRITES: &[Way] = &[
    Create,
    Generate,
    Replace,
    MergePatch,
    JsonPatch,
    StrategicPatch,
    Apply,
    Delete,
    DeleteCollection,
];
/// Every way to patch one.
pub(crate) const PATCHES: &[Way] = &[MergePatch, JsonPatch, StrategicPatch, Apply];

/// Where a resource is, and which object of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target<'a> {
    /// The core group as `core`.
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    /// With its subresource, if one is meant: `pods/exec`.
    pub(crate) resource: &'a str,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
}

/// Who answered, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    /// RBAC: the runner has no such right.
    NoRight,
    /// A policy of ours, by the part of its name after `kymaros-fence-`.
    Policy(String),
    /// Something that proves nothing: not found, not valid, not allowed in general.
    Other(String),
}

/// Sends one request in the runner's name. The body is the object, or the patch as an object.
pub(crate) async fn ask(client: &Client, way: Way, target: &Target<'_>, body: &Value, dry_run: bool) -> Answer {
    let (resource, subresource) = target.resource.split_once('/').unwrap_or((target.resource, ""));
    let mut path = match target.group {
        "core" => format!("/api/{}", target.version),
        group => format!("/apis/{group}/{}", target.version),
    };
    if let Some(namespace) = target.namespace {
        path = format!("{path}/namespaces/{namespace}");
    }
    path = format!("{path}/{resource}");
    let collection = subresource.is_empty() && matches!(way, Create | Generate | DeleteCollection);
    if !collection {
        path = format!("{path}/{}", target.name);
    }
    if !subresource.is_empty() {
        path = format!("{path}/{subresource}");
    }
    let mut query = Vec::new();
    if dry_run {
        query.push("dryRun=All");
    }
    if way == Apply {
        query.push("fieldManager=fence-walk");
        query.push("force=true");
    }
    path = format!("{path}?{}", query.join("&"));
    let (method, kind) = match way {
        Create | Generate => ("POST", "application/json"),
        Replace => ("PUT", "application/json"),
        MergePatch => ("PATCH", "application/merge-patch+json"),
        JsonPatch => ("PATCH", "application/json-patch+json"),
        StrategicPatch => ("PATCH", "application/strategic-merge-patch+json"),
        Apply => ("PATCH", "application/apply-patch+yaml"),
        Delete | DeleteCollection => ("DELETE", "application/json"),
        Get => ("GET", "application/json"),
    };
    let body = match way {
        Delete | DeleteCollection | Get => Vec::new(),
        JsonPatch => operations(body).to_string().into_bytes(),
        _ => body.to_string().into_bytes(),
    };
    let mut last = String::new();
    for _ in 0..5 {
        let request = http::Request::builder()
            .method(method)
            .uri(&path)
            .header("content-type", kind)
            .body(body.clone())
            .expect("a request");
        match client.request_text(request).await {
            Ok(_) => return Answer::Accepted,
            Err(Error::Api(status)) if status.code == 403 => return refusal(&status.message),
            // A busy API server is asked again.
            Err(error) => last = format!("{method} {path}: {error}"),
        }
        if !last.contains("TooManyRequests") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Answer::Other(last)
}

/// Who says no, by the words.
fn refusal(message: &str) -> Answer {
    if message.contains(&format!("User \"{RUNNER}\" cannot")) || message.contains("not currently held") {
        return Answer::NoRight;
    }
    let policy = message
        .split_once("ValidatingAdmissionPolicy 'kymaros-fence-")
        .and_then(|(_, rest)| rest.split_once("' with binding"));
    match policy {
        Some((name, _)) => Answer::Policy(name.to_owned()),
        None => Answer::Other(message.to_owned()),
    }
}

/// A merge patch as a list of operations: each leaf is put where it belongs, maps that may be missing with it.
fn operations(patch: &Value) -> Value {
    fn walk(value: &Value, path: &str, operations: &mut Vec<Value>) {
        for (key, inner) in value.as_object().into_iter().flatten() {
            let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
            match inner {
                // What names the object is there already.
                _ if ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"].contains(&path.as_str()) => {}
                Value::Object(_) if ["/metadata", "/spec"].contains(&path.as_str()) => {
                    walk(inner, &path, operations);
                }
                _ => operations.push(json!({"op": "add", "path": path, "value": inner})),
            }
        }
    }
    let mut all = Vec::new();
    walk(patch, "", &mut all);
    Value::Array(all)
}

#[test]
fn a_merge_patch_becomes_operations() {
    let patch = json!({"kind": "Pod", "metadata": {"name": "x", "labels": {"a/b": "c"}}, "spec": {"n": 1}});
    assert_eq!(
        operations(&patch),
        json!([
            {"op": "add", "path": "/metadata/labels", "value": {"a/b": "c"}},
            {"op": "add", "path": "/spec/n", "value": 1},
        ])
    );
}

#[test]
fn refusals_are_told_apart() {
    let denied = |name: &str| {
        format!("x is forbidden: ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: no")
    };
    assert_eq!(
        refusal(&denied("kymaros-fence-pods")),
        Answer::Policy("pods".to_owned())
    );
    assert!(matches!(refusal(&denied("somebody-elses")), Answer::Other(_)));
    let no_right = format!("pods is forbidden: User \"{RUNNER}\" cannot create resource");
    assert_eq!(refusal(&no_right), Answer::NoRight);
    assert!(matches!(
        refusal("violates PodSecurity \"baseline:latest\""),
        Answer::Other(_)
    ));
}
