//! What the checks need to know of pods.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Pod;

use super::Context;
use crate::cluster::{Error, Query};
use crate::names::label;

/// The application's pods with these labels in a sandbox.
pub(super) async fn list(
    context: &Context<'_>,
    sandbox: &str,
    labels: &BTreeMap<String, String>,
) -> Result<Vec<Pod>, Error> {
    context
        .cluster
        .namespaced::<Pod>(sandbox)
        .list(&Query::labels(selector(labels)))
        .await
}

/// Has a sandbox any pods with these labels?
pub(super) async fn exist(
    context: &Context<'_>,
    sandbox: &str,
    labels: &BTreeMap<String, String>,
) -> Result<bool, String> {
    let query = Query::labels(selector(labels)).page(1);
    let first = context.cluster.namespaced::<Pod>(sandbox).pages(&query).next().await;
    first
        .map(|page| page.is_some_and(|pods| !pods.is_empty()))
        .map_err(|error| context.told(&error))
}

/// The label selector of an application's pods. What this program itself runs in a sandbox is none of them.
pub(super) fn selector(labels: &BTreeMap<String, String>) -> String {
    let mut parts: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    parts.push(format!("!{}", label::MANAGED_BY));
    parts.join(",")
}

/// The pods that were asked for, in words.
pub(super) fn describe(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "pods".to_owned();
    }
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("pods with {}", labels.join(","))
}

/// It is expected to run: it has not ended, and nobody is deleting it.
pub(super) fn is_live(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Since when its readiness is what it is.
pub(super) fn ready_since(pod: &Pod) -> Option<DateTime<Utc>> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    DateTime::from_timestamp(ready.last_transition_time.as_ref()?.0.as_second(), 0)
}

/// It runs, and its readiness is confirmed.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    is_live(pod)
        && conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn pod(value: Value) -> Pod {
        from_value(value).unwrap()
    }

    #[test]
    fn our_own_pods_are_never_meant() {
        assert_eq!(selector(&BTreeMap::new()), "!kymaros.io/managed-by");
        let labels = BTreeMap::from([("tier".into(), "db".into()), ("app".into(), "shop".into())]);
        assert_eq!(selector(&labels), "app=shop,tier=db,!kymaros.io/managed-by");
        assert_eq!(describe(&labels), "pods with app=shop,tier=db");
        assert_eq!(describe(&BTreeMap::new()), "pods");
    }

    #[test]
    fn ready_means_running_and_confirmed() {
        let status = |phase: &str, ready: &str| json!({ "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] } });
        assert!(is_ready(&pod(status("Running", "True"))));
        assert!(!is_ready(&pod(status("Running", "False"))));
        assert!(!is_ready(&pod(json!({}))));
        assert!(!is_ready(&pod(status("Failed", "True"))));
        let mut going = status("Running", "True");
        going["metadata"] = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        assert!(!is_ready(&pod(going)));
    }
}
