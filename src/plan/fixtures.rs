//! Good objects for the tests of planning, to be spoilt one field at a time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Point, ValidTest, validate};
use crate::api::{HealthCheckPolicy, RestoreTest};
use crate::velero::{Contents, Kind};

/// A test that sets every field that can be set without another.
pub(crate) fn good_test() -> RestoreTest {
    from(json!({
        "apiVersion": "restore.kymaros.io/v1alpha1",
        "kind": "RestoreTest",
        "metadata": {
            "name": "nightly",
            "namespace": "kymaros-system",
            "uid": "0c6f",
            "generation": 3,
            "labels": { "team": "shop" },
        },
        "spec": {
            "backupSource": {
                "provider": "velero",
                "scheduleName": "daily",
                "storageLocation": "default",
                "window": "168h",
                "namespaces": [{ "name": "shop" }, { "name": "db", "sandboxName": "data" }],
                "labelSelector": { "app.kubernetes.io/part-of": "shop" },
            },
            "schedule": { "cron": "0 3 * * *", "timezone": "Europe/Paris" },
            "sandbox": {
                "keepFailedFor": "1h",
                "resourceQuota": { "cpu": 2, "memory": "4Gi", "storage": "50Gi" },
                "egress": [{ "cidr": "198.51.100.7/32", "ports": [{ "port": 5432 }, { "port": 8125, "protocol": "UDP" }] }],
                "dns": { "cidr": "169.254.20.10/32" },
            },
            "restore": {
                "excludedResources": ["events", "deployments.apps"],
                "storageClassMapping": { "fast": "standard" },
                "customResources": ["example.com", "Cache.example.org"],
            },
            "completeness": { "ignore": ["PersistentVolumeClaim/cache-*"] },
            "healthChecks": { "policyRef": "app" },
            "dependencies": [{ "service": "redis", "namespace": "platform", "port": 6379 }],
            "sla": { "maxRTO": "15m", "maxBackupAge": "26h", "alertOnExceed": true },
            "notifications": { "onFailure": [{ "type": "slack", "channel": "#ops", "webhookSecretRef": "slack" }] },
            "logCollection": { "enabled": true },
        },
    }))
}

/// A policy with one check of each type.
pub(crate) fn good_policy() -> HealthCheckPolicy {
    from(json!({
        "apiVersion": "restore.kymaros.io/v1alpha1",
        "kind": "HealthCheckPolicy",
        "metadata": { "name": "app", "namespace": "kymaros-system" },
        "spec": { "checks": [
            { "name": "pods", "type": "podStatus", "podStatus": { "labelSelector": { "app": "web" } } },
            { "name": "http", "type": "httpGet", "namespace": "shop", "httpGet": {
                "service": "web", "port": "http", "path": "/healthz?full=1", "host": "[fd00::1]:8443", "bodyMatches": "^ok",
                "headers": [
                    { "name": "Accept", "value": "text/plain" },
                    { "name": "X-Token", "valueFrom": { "secretKeyRef": { "name": "tokens", "key": "web.token" } } },
                ],
            } },
            { "name": "tcp", "type": "tcpSocket", "tcpSocket": { "service": "db", "port": 5432 } },
            { "name": "exec", "type": "exec", "exec": {
                "podSelector": { "app": "db" }, "container": "db", "command": ["pg_isready"], "outputMatches": "accepting",
            } },
            { "name": "exists", "type": "resourceExists", "resourceExists": { "resources": [
                { "kind": "ConfigMap", "name": "settings" }, { "kind": "Deployment", "name": "web", "apiVersion": "apps/v1" },
            ] } },
        ] },
    }))
}

/// A valid test of one namespace, `shop`, with nothing set that need not be; then spoilt on purpose.
pub(crate) fn plain_test(change: impl FnOnce(&mut RestoreTest)) -> ValidTest {
    let mut test: RestoreTest = from(json!({
        "apiVersion": "restore.kymaros.io/v1alpha1",
        "kind": "RestoreTest",
        "metadata": { "name": "nightly", "namespace": "kymaros-system", "uid": "0c6f" },
        "spec": { "backupSource": { "provider": "velero", "namespaces": [{ "name": "shop" }] } },
    }));
    change(&mut test);
    validate(&test, None).unwrap()
}

/// Namespaces to restore, without more.
pub(crate) fn namespaces(names: &[&str]) -> Vec<crate::api::SourceNamespace> {
    names.iter().map(|name| from(json!({ "name": name }))).collect()
}

/// Reads an object from JSON.
pub(crate) fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A list as a backup has it: `group/version/Kind` with the objects, each `namespace/name`.
pub(crate) fn contents(lists: &[(&str, &[&str])]) -> Contents {
    let mut contents = Contents::default();
    for (kind, objects) in lists {
        let mut by_namespace = BTreeMap::<String, Vec<String>>::new();
        for object in *objects {
            let (namespace, name) = object.split_once('/').unwrap();
            by_namespace.entry(namespace.into()).or_default().push(name.into());
        }
        contents.kinds.insert(Kind::parse(kind), by_namespace);
    }
    contents
}

/// A completed backup that was begun then.
pub(crate) fn point(started_at: &str) -> Point {
    Point {
        name: "daily-1".to_owned(),
        uid: None,
        started_at: started_at.parse().unwrap(),
        asked_at: None,
        completed_at: None,
        expires_at: None,
        storage_location: "default".to_owned(),
        phase: "Completed".to_owned(),
        partial: None,
    }
}
