//! Writes the `RestoreReport` and the test's status, and prunes old reports.
//!
//! A report takes two writes, the object and then its status, because the API server drops a status from a creation. A run
//! that dies between them leaves an empty report, which the next run of the test completes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::api::{
    self, Condition, Outcome, Phase, RestoreReport, RestoreReportSpec, RestoreReportStatus, RestoreTest,
    RestoreTestStatus, conditions,
};
use crate::cluster::{Cluster, Error, Objects, Query};
use crate::digest;
use crate::facts::PreviousReport;
use crate::judge::PASS;
use crate::judge::status::as_previous;
use crate::names::{FIELD_MANAGER, MANAGED_BY, condition, label};
use crate::plan::naming::report_name;
use crate::retention::{self, ReportRef};

/// Reports are large, so few are asked for at a time.
const PAGE: u32 = 20;
/// Names to try for one report; each second of a test's life can have as many.
const ATTEMPTS: u32 = 100;

/// The test a report is about, as far as writing needs it.
#[derive(Clone, Debug)]
pub struct TestRef {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Those of its labels that the report gets too.
    pub labels: BTreeMap<String, String>,
}

/// Labels of a test that its reports get: whose it is, and of what. No others, for a label may be an order to somebody: Argo CD prunes
/// what carries the one it tracks objects by, and [`label::RETAIN`] on a test would keep every report of it for ever.
const COPIED: [&str; 10] = [
    "app",
    "app.kubernetes.io/component",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
    "component",
    "env",
    "environment",
    "owner",
    "team",
    "tier",
];

/// And every label whose key begins so, for whatever else somebody selects reports by.
const COPIED_PREFIX: &str = "report.kymaros.io/";

fn copied(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let may = |key: &String| key.starts_with(COPIED_PREFIX) || COPIED.contains(&key.as_str());
    labels.into_iter().filter(|(key, _)| may(key)).collect()
}

impl TestRef {
    /// Of a test as the API server gave it.
    pub fn of(test: &RestoreTest) -> Self {
        let meta = &test.metadata;
        Self {
            name: meta.name.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            labels: copied(meta.labels.clone().unwrap_or_default()),
        }
    }
}

/// A report, without its long lists.
#[derive(Clone, Debug)]
pub struct Brief {
    /// What retention needs.
    pub reference: ReportRef,
    /// UID of the report.
    pub uid: String,
    /// The run that wrote it.
    pub run_id: Option<String>,
    /// What a later run is compared with; `None` if it was not conclusive.
    pub previous: Option<PreviousReport>,
}

/// All reports of a test.
pub async fn list(cluster: &Cluster, namespace: &str, test: &str) -> Result<Vec<Brief>, Error> {
    let query = Query::labels(format!("{}={test}", label::TEST)).page(PAGE);
    // A report of another version must not hide the others, so what it holds is read as far as possible.
    cluster
        .stored::<RestoreReport>(namespace)
        .list_with(&query, |report| brief(&report))
        .await
}

fn reports(cluster: &Cluster, namespace: &str) -> Objects<RestoreReport> {
    cluster.namespaced(namespace)
}

fn brief(report: &DynamicObject) -> Brief {
    let meta = &report.metadata;
    let labels = meta.labels.clone().unwrap_or_default();
    let name = meta.name.clone().unwrap_or_default();
    let stored = &report.data["status"];
    let status: RestoreReportStatus = serde_json::from_value(stored.clone()).unwrap_or_default();
    let started = status.started_at.as_ref().or(meta.creation_timestamp.as_ref());
    Brief {
        reference: ReportRef {
            name: name.clone(),
            started_at: started.map(api::time::from_time).unwrap_or_default(),
            passed: stored["score"].as_u64().is_some_and(|score| score >= u64::from(PASS)),
            retain: labels.get(label::RETAIN).is_some_and(|v| v == "true"),
            finished: is_finished(stored),
        },
        uid: meta.uid.clone().unwrap_or_default(),
        run_id: status.run_id.clone().or_else(|| labels.get(label::RUN).cloned()),
        previous: as_previous(&name, &status),
    }
}

/// The last conclusive report; what regression is measured against.
pub fn last_conclusive(reports: &[Brief]) -> Option<PreviousReport> {
    let conclusive = reports.iter().filter(|r| r.previous.is_some());
    let last = conclusive
        .max_by(|a, b| (a.reference.started_at, &a.reference.name).cmp(&(b.reference.started_at, &b.reference.name)))?;
    last.previous.clone()
}

/// A status that stays as it is, but for its conditions.
fn is_finished(status: &Value) -> bool {
    status["completedAt"].is_string()
}

/// Name of the most recent finished report, conclusive or not; the one that the next is chained to.
pub fn last_finished(reports: &[Brief]) -> Option<&str> {
    let finished = reports.iter().map(|r| &r.reference).filter(|r| r.finished);
    let last = finished.max_by(|a, b| (a.started_at, &a.name).cmp(&(b.started_at, &b.name)))?;
    Some(&last.name)
}

/// Digest of a finished report; `None` if it is gone or not finished.
pub async fn digest(cluster: &Cluster, namespace: &str, report: &str) -> Result<Option<String>, Error> {
    let report = cluster.stored::<RestoreReport>(namespace).get_opt(report).await?;
    let status = report.as_ref().and_then(|report| report.data.get("status"));
    Ok(status.filter(|status| is_finished(status)).map(digest::of_report))
}

/// Writes a report and returns its name. If one of this run is there already, without a status, it is completed.
pub async fn write(
    cluster: &Cluster,
    test: &TestRef,
    run_id: &str,
    started_at: DateTime<Utc>,
    status: &RestoreReportStatus,
) -> Result<String, Error> {
    let reports = reports(cluster, &test.namespace);
    let mut labels = test.labels.clone();
    labels.insert(label::TEST.to_owned(), test.name.clone());
    labels.insert(label::RUN.to_owned(), run_id.to_owned());
    labels.insert(label::MANAGED_BY.to_owned(), MANAGED_BY.to_owned());
    let mut attempt = 1;
    let name = loop {
        let name = report_name(&test.name, started_at, attempt);
        let report = RestoreReport {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(test.namespace.clone()),
                labels: Some(labels.clone()),
                ..ObjectMeta::default()
            },
            spec: RestoreReportSpec {
                test_ref: test.name.clone(),
            },
            status: None,
        };
        match reports.create_or_same(&report).await {
            Ok(_) => break name,
            Err(error) if error.is_already_exists() && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    };
    fill(cluster, &test.namespace, &name, status).await?;
    Ok(name)
}

/// Writes the status of a report that has none.
pub async fn fill(cluster: &Cluster, namespace: &str, report: &str, status: &RestoreReportStatus) -> Result<(), Error> {
    let patch = json!({ "status": status });
    reports(cluster, namespace).merge_status(report, &patch).await.map(drop)
}

/// Changes the conditions of a report; nothing else of a finished one may change.
pub async fn set_conditions(cluster: &Cluster, namespace: &str, report: &str, list: &[Condition]) -> Result<(), Error> {
    let patch = json!({ "status": { "conditions": list } });
    reports(cluster, namespace).merge_status(report, &patch).await.map(drop)
}

/// A run has begun.
pub async fn test_is_running(cluster: &Cluster, test: &TestRef) -> Result<(), Error> {
    test_status(cluster, test, json!({ "phase": Phase::Running })).await
}

/// What a run that has ended leaves in its test's status.
#[derive(Clone, Debug)]
pub struct Ended<'a> {
    /// Name of its report.
    pub report: &'a str,
    /// The report's status.
    pub status: &'a RestoreReportStatus,
    /// The generation of the test that was read.
    pub generation: Option<i64>,
    /// When the schedule starts the next run.
    pub next_run: Option<DateTime<Utc>>,
    /// `Ready` and `Scheduled`.
    pub conditions: Vec<Condition>,
}

/// A run has ended.
pub async fn test_has_ended(cluster: &Cluster, test: &TestRef, ended: &Ended<'_>) -> Result<(), Error> {
    let Some(current) = cluster
        .stored::<RestoreTest>(&test.namespace)
        .get_opt(&test.name)
        .await?
    else {
        return Ok(());
    };
    let before: RestoreTestStatus = serde_json::from_value(current.data["status"].clone()).unwrap_or_default();
    let mut list = before.conditions;
    for new in &ended.conditions {
        conditions::set(&mut list, new.clone());
    }
    let status = ended.status;
    let conclusive = conditions::is_true(&status.conditions, condition::CONCLUSIVE);
    let passed = status.result == Some(Outcome::Pass);
    let mut patch = json!({
        "phase": if conclusive { Phase::Completed } else { Phase::Failed },
        "lastRunAt": status.started_at,
        "lastReportRef": ended.report,
        "nextRunAt": ended.next_run.map(api::time::to_time),
        "observedGeneration": ended.generation,
        "conditions": list,
    });
    if conclusive {
        patch["lastScore"] = json!(status.score);
        patch["lastResult"] = json!(status.result);
        let failures = before.consecutive_failures.unwrap_or(0);
        patch["consecutiveFailures"] = json!(if passed { 0 } else { failures.saturating_add(1) });
    }
    if passed {
        patch["lastPassAt"] = json!(status.started_at);
        patch["lastPassReport"] = json!(ended.report);
    }
    test_status(cluster, test, patch).await
}

/// A run has ended, and its report could not be written.
pub async fn test_has_no_report(cluster: &Cluster, test: &TestRef) -> Result<(), Error> {
    test_status(cluster, test, json!({ "phase": Phase::Failed })).await
}

/// The test may have been deleted in mid-run; that is no error.
async fn test_status(cluster: &Cluster, test: &TestRef, status: Value) -> Result<(), Error> {
    // The answer holds the spec, which need not be one that can be read.
    let tests = cluster.stored::<RestoreTest>(&test.namespace);
    match tests.merge_status(&test.name, &json!({ "status": status })).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Deletes the reports that the limit has no place for; `this` is never among them. Returns how many went.
pub async fn prune(cluster: &Cluster, test: &TestRef, limit: u32, this: &str) -> Result<usize, Error> {
    let all = list(cluster, &test.namespace, &test.name).await?;
    let references: Vec<ReportRef> = all.iter().map(|r| r.reference.clone()).collect();
    let mut gone = 0;
    for name in retention::prune(&references, limit as usize, this) {
        let Some(report) = all.iter().find(|r| r.reference.name == name) else {
            continue;
        };
        if reports(cluster, &test.namespace).delete(&name, &report.uid).await? {
            gone += 1;
        }
    }
    Ok(gone)
}

/// A Warning about a test, for what no report can say.
pub async fn warn(
    cluster: &Cluster,
    test: &TestRef,
    reason: &str,
    note: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let events: Objects<Event> = cluster.namespaced(&test.namespace);
    let event = Event {
        metadata: ObjectMeta {
            // Unique without chance: a test has one runner at a time, and time goes on.
            name: Some(format!(
                "{}.{:x}",
                test.name,
                now.timestamp_nanos_opt().unwrap_or_default()
            )),
            namespace: Some(test.namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("RestoreTest".to_owned()),
        event_time: Timestamp::from_microsecond(now.timestamp_micros()).ok().map(MicroTime),
        note: Some(api::limits::cut(note, 1000)),
        reason: Some(reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(format!("{}/{}", crate::names::GROUP, crate::names::VERSION)),
            kind: Some("RestoreTest".to_owned()),
            name: Some(test.name.clone()),
            namespace: Some(test.namespace.clone()),
            uid: Some(test.uid.clone()).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(FIELD_MANAGER.to_owned()),
        type_: Some("Warning".to_owned()),
        ..Event::default()
    };
    events.create(&event).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_labels_that_say_whose_it_is_go_to_reports() {
        let labels = |keys: &[&str]| -> BTreeMap<String, String> {
            keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect()
        };
        let kept = ["app.kubernetes.io/name", "report.kymaros.io/cost-centre", "team"];
        // Each of these is an order to some tool, or to retention.
        let dropped = [
            "app.kubernetes.io/instance",
            "app.kubernetes.io/managed-by",
            "argocd.argoproj.io/instance",
            "kapp.k14s.io/app",
            "kustomize.toolkit.fluxcd.io/name",
            "kymaros.io/retain",
            "kymaros.io/test",
            "whatever-somebody-tracks-by",
        ];
        let all = labels(&[&kept[..], &dropped[..]].concat());
        assert_eq!(copied(all), labels(&kept));
    }
}
