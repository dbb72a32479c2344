//! `RestoreReport`: what one run found.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are what `kubectl explain` prints, where backticks are noise"
)]

use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{self, dns_label, rule};
use super::{Condition, Duration, LevelStatus, Outcome, Target, Time, limits};
use crate::names::condition::SANDBOX_CLEANED_UP;

/// Once a report is finished, a field of its status stays as it is. One rule per field, because one for all exceeds the
/// API server's cost limit; at the root, because a rule of the status does not run when the status is taken away.
fn frozen(field: &str) -> Rule {
    let (new, old) = (format!("self.status.{field}"), format!("oldSelf.status.{field}"));
    Rule::new(format!(
        "!has(oldSelf.status) || !has(oldSelf.status.completedAt) || !has(self.status) || \
         (has({new}) == has({old}) && (!has({old}) || {new} == {old}))"
    ))
    .message(format!("{field} of a finished report cannot be changed").as_str())
}

/// Clean-up ends after the report is finished, so its condition alone is written afterwards: every other one of a finished report
/// stays as it is, none goes and none is added.
fn frozen_conditions() -> Rule {
    let (new, old) = ("self.status.conditions", "oldSelf.status.conditions");
    Rule::new(format!(
        "!has(oldSelf.status) || !has(oldSelf.status.completedAt) || !has(self.status) || \
         ((!has({old}) || (has({new}) && {old}.all(c, c.type == '{SANDBOX_CLEANED_UP}' ? {new}.exists(d, d.type == c.type) : c in {new}))) && \
         (!has({new}) || {new}.all(c, c.type == '{SANDBOX_CLEANED_UP}' || (has({old}) && c in {old}))))"
    ))
    .message(format!("of the conditions of a finished report only {SANDBOX_CLEANED_UP} can be changed").as_str())
}

/// Which test was run.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "restore.kymaros.io",
    version = "v1alpha1",
    kind = "RestoreReport",
    shortname = "rr",
    namespaced,
    status = "RestoreReportStatus",
    derive = "PartialEq",
    doc = "What one run of a RestoreTest found: score and result, the time to recover, and what was tested and what was not. \
           Written by the runner, one for every run; never edited. The label kymaros.io/test holds the name of the test.",
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.completedAt) || has(self.status)")
        .message("a finished report cannot be changed"),
    validation = frozen("score"),
    validation = frozen("result"),
    validation = frozen("message"),
    validation = frozen("startedAt"),
    validation = frozen("completedAt"),
    validation = frozen("rto"),
    validation = frozen("rpo"),
    validation = frozen("backup"),
    validation = frozen("checks"),
    validation = frozen("completeness"),
    validation = frozen("validationLevels"),
    validation = frozen("scoreCap"),
    validation = frozen("timeline"),
    validation = frozen("missing"),
    validation = frozen("notInBackup"),
    validation = frozen("held"),
    validation = frozen("changed"),
    validation = frozen("volumes"),
    validation = frozen("hardcodedNames"),
    validation = frozen("outsideNames"),
    validation = frozen("regression"),
    validation = frozen("sandboxes"),
    validation = frozen("runner"),
    validation = frozen("provider"),
    validation = frozen("digests"),
    validation = frozen("runId"),
    validation = frozen_conditions(),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.result", description = "pass, partial or fail"),
    printcolumn(name = "Score", type_ = "integer", json_path = ".status.score", description = "From 0 to 100"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Conclusive\")].reason", description = "Why the verdict is what it is, in one word"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Since the report was written"),
    printcolumn(name = "Test", type_ = "string", json_path = ".spec.testRef", priority = 1, description = "The RestoreTest"),
    printcolumn(name = "RTO", type_ = "string", json_path = ".status.rto.measured", priority = 1, description = "Measured time to recover"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.backup.name", priority = 1, description = "The backup that was restored"),
    printcolumn(name = "Backup Age", type_ = "string", json_path = ".status.backup.age", priority = 1, description = "Age of the backup at the start of the restore"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1, description = "Why, and what next")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rule("self == oldSelf", "the spec of a report cannot be changed")]))]
pub struct RestoreReportSpec {
    /// Name of the RestoreTest that was run.
    #[schemars(length(min = 1, max = limits::TEST_NAME), extend("x-kubernetes-validations" = [dns_label()]))]
    pub test_ref: String,
}

/// What a run found. Final once completedAt is set; afterwards only the condition SandboxCleanedUp changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReportStatus {
    /// Confidence in the backup, from 0 to 100: the sum of the points of the validation levels, or scoreCap if that is
    /// lower. What was not tested earns nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub score: Option<u32>,
    /// pass for a score of 90 or more, partial from 70 to 89, fail below 70. If the condition Conclusive is False, the
    /// run says nothing about the backup and fail only means that nothing was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Outcome>,
    /// Why the result is what it is, and what to do next, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::MESSAGE))]
    pub message: Option<String>,
    /// When the restore was started (UTC). If the run ended before that: when the run was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the last check finished or the last pod became ready, whichever was later (UTC). Of a run that ended early: when
    /// it did; of one that died: when it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Time to recover. Absent if nothing was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Rto>,
    /// How much work would have been lost: the age of the backup. Absent if nothing was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Rpo>,
    /// The backup that was restored. Absent if none was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupInfo>,
    /// The checks of the HealthCheckPolicy, in its order.
    #[serde(default)]
    #[schemars(length(max = limits::CHECKS))]
    pub checks: Vec<CheckResult>,
    /// How many of the expected objects are in the sandbox, by kind, as present/expected. Expected is what the backup
    /// itself lists, and what notInBackup names; what Kubernetes makes by itself is not counted. Names of missing objects
    /// are in missing and in notInBackup. Absent if nothing was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness: Option<CompletenessCounts>,
    /// The six levels of validation, in order. Their points add up to the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_levels: Option<ValidationLevels>,
    /// Upper bound put on the score, so that it cannot hide a failure. Absent if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_cap: Option<ScoreCap>,
    /// Where the time went. The phases may overlap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::TIMELINE))]
    pub timeline: Vec<TimelineEntry>,
    /// Objects that the backup holds and the sandbox does not, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::MISSING))]
    pub missing: Vec<MissingObject>,
    /// Objects that live in the source namespace, were made before the backup began, belong to no controller, and are not in
    /// the backup: a disaster would take them for good. They count as expected and missing, unless completeness.ignore names
    /// them. What is newer than the backup, or gone from the namespace, is not among them. Looked for only where the test has
    /// the component compare-with-source and the namespace lives; the detail of completeness says whether it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::NOT_IN_BACKUP))]
    pub not_in_backup: Vec<AbsentObject>,
    /// Objects that were kept out of the sandbox on purpose, because they could act on the world outside it. They are not
    /// counted against the backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::HELD))]
    pub held: Vec<HeldKind>,
    /// What was changed in restored objects on their way into the sandbox and the application may notice. It is not counted
    /// against the backup. What only makes an object inert, such as the type of a Service, is not listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::CHANGED))]
    pub changed: Vec<ChangedKind>,
    /// The claims of the backup and what became of their data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::VOLUMES))]
    pub volumes: Vec<VolumeResult>,
    /// Names of the source namespaces found in restored ConfigMaps. After a real restore under another name the application
    /// would talk to production through them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::HARDCODED_NAMES))]
    pub hardcoded_names: Vec<HardcodedName>,
    /// Names outside the run's namespaces that restored pods asked for, and were refused: what the application needs beyond
    /// its backup, found by what it did. Absent without sandbox.nameRewrite, or if there were none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::OUTSIDE_NAMES), inner(length(max = 253)))]
    pub outside_names: Vec<String>,
    /// What became worse since the last conclusive report of the test. Absent if nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regression: Option<Regression>,
    /// The sandbox namespaces of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::NAMESPACES), inner(length(max = 63)))]
    pub sandboxes: Vec<String>,
    /// The program that wrote this report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerInfo>,
    /// The backup provider that restored. Absent if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderInfo>,
    /// Chain of evidence: what this report rests on, as digests. It survives the deletion of older reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digests: Option<Digests>,
    /// Mark of the run. Everything it made in the cluster has it in its name or in the label kymaros.io/run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub run_id: Option<String>,
    /// Complete: the report is final. Conclusive: False if the run says nothing about the backup, and the reason says
    /// why. SandboxIsolated: isolation was proved before the restore; the message lists what sandbox.egress opened afterwards.
    /// RecoveryPointFresh: the backup is younger than sla.maxBackupAge. SandboxCleanedUp: False names what is left in the
    /// cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Time to recover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rto {
    /// From startedAt to completedAt, in whole seconds, such as 11m35s.
    pub measured: Duration,
    /// sla.maxRTO of the RestoreTest at the time of the run, as it is written there. Absent if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Is measured at most target? Absent without a target.
    #[serde(rename = "withinSLA", default, skip_serializing_if = "Option::is_none")]
    pub within_sla: Option<bool>,
}

/// How much work would have been lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rpo {
    /// Age of the backup at startedAt; what was written since then would have been lost.
    pub measured: Duration,
    /// sla.maxBackupAge of the RestoreTest at the time of the run, as it is written there. Absent if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Is measured at most target? Absent without a target.
    #[serde(rename = "withinSLA", default, skip_serializing_if = "Option::is_none")]
    pub within_sla: Option<bool>,
}

/// The backup that was restored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupInfo {
    /// Name of the backup, as the provider has it.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Time from the start of the backup to startedAt, such as 4h0m12s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Duration>,
    /// Data of its volumes, as the provider reports it, such as 2.3 GiB. Absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::WORD))]
    pub size: Option<String>,
    /// UID of the provider's backup object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::WORD))]
    pub uid: Option<String>,
    /// When the provider began to take the backup (UTC); later writes may be missing from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// The provider's storage location that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_location: Option<String>,
    /// Why the backup itself holds less than its namespaces held, such as having ended PartiallyFailed or having been taken
    /// with filters. Absent if it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::REASON))]
    pub partial: Option<String>,
    /// Newer backups that latest had to pass over, newest first. Backups are failing: the score is capped at 89.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::NEWER_UNUSABLE))]
    pub newer_unusable: Vec<UnusableBackup>,
}

/// A backup that could not be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnusableBackup {
    /// Name of the backup.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Phase of the backup, such as Failed.
    #[schemars(length(max = limits::WORD))]
    pub phase: String,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Name of the check in the HealthCheckPolicy.
    #[schemars(length(max = 63))]
    pub name: String,
    /// pass, fail, or skip for a check that was not executed.
    pub status: LevelStatus,
    /// How long the check took, tries and waits included, such as 8s.
    #[serde(default)]
    pub duration: Duration,
    /// What was seen. On fail the error or the unexpected output, on skip why the check was not executed.
    #[serde(default)]
    #[schemars(length(max = limits::MESSAGE))]
    pub message: String,
}

/// How many of the objects that the backup holds are in the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompletenessCounts {
    /// Deployments, as present/expected, such as 3/3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = COUNT))]
    pub deployments: Option<String>,
    /// Services, as present/expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = COUNT))]
    pub services: Option<String>,
    /// Secrets, as present/expected. Their contents are never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = COUNT))]
    pub secrets: Option<String>,
    /// ConfigMaps, as present/expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = COUNT))]
    pub config_maps: Option<String>,
    /// PersistentVolumeClaims, as present/expected. Whether their data came back is in volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = COUNT))]
    pub pvcs: Option<String>,
    /// Custom resources of all kinds, as present/expected. Those that were held (see held) are counted as expected here,
    /// but not against the level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = COUNT))]
    pub custom_resources: Option<String>,
    /// All other kinds that the backup holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::OTHERS))]
    pub others: Vec<KindCount>,
}

const COUNT: &str = "^[0-9]{1,10}/[0-9]{1,10}$";

/// How many objects of one kind are in the sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindCount {
    /// The kind, such as StatefulSet.
    #[schemars(length(max = 317))]
    pub kind: String,
    /// As present/expected, such as 1/1.
    #[schemars(length(max = 21), regex(pattern = COUNT))]
    pub count: String,
}

/// The six levels of validation. Written in full by every run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidationLevels {
    /// The restore itself succeeded, without errors of the provider. 25 points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_integrity: Option<LevelResult>,
    /// Every object that the backup holds is in the sandbox, every claim has its data, and the backup holds what the living
    /// source namespace does, where it was compared. 20 points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness: Option<LevelResult>,
    /// All pods became ready within the timeout and stayed so. 20 points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_startup: Option<LevelResult>,
    /// All checks of the HealthCheckPolicy passed. 20 points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_health: Option<LevelResult>,
    /// The Services that the test names in dependencies can be reached. 10 points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_namespace_deps: Option<LevelResult>,
    /// The time to recover is within sla.maxRTO. 5 points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_compliance: Option<LevelResult>,
}

impl ValidationLevels {
    /// The levels in their order, each with the name it has in the report.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&LevelResult>)> {
        [
            ("restoreIntegrity", self.restore_integrity.as_ref()),
            ("completeness", self.completeness.as_ref()),
            ("podStartup", self.pod_startup.as_ref()),
            ("internalHealth", self.internal_health.as_ref()),
            ("crossNamespaceDeps", self.cross_namespace_deps.as_ref()),
            ("rtoCompliance", self.rto_compliance.as_ref()),
        ]
        .into_iter()
    }
}

/// What one level of validation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LevelResult {
    /// pass, fail, or skip if nothing was tested.
    pub status: LevelStatus,
    /// What was found, in one sentence.
    #[serde(default)]
    #[schemars(length(max = limits::MESSAGE))]
    pub detail: String,
    /// Names of what was tested.
    #[serde(default)]
    #[schemars(length(max = limits::TESTED), inner(length(max = limits::OBJECT)))]
    pub tested: Vec<String>,
    /// Names of what should have been tested and was not.
    #[serde(default)]
    #[schemars(length(max = limits::TESTED), inner(length(max = limits::OBJECT)))]
    pub not_tested: Vec<String>,
    /// Points earned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub points: Option<u32>,
    /// Points that could be earned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub max_points: Option<u32>,
}

/// Upper bound put on the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScoreCap {
    /// The highest score that was possible.
    #[schemars(range(max = 100))]
    pub value: u32,
    /// Why.
    #[schemars(length(max = limits::REASON))]
    pub reason: String,
}

/// One phase of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    /// queued (waiting for restores of others), restore (the provider creates objects), data (it fills volumes),
    /// podStartup or checks.
    #[schemars(length(max = limits::WORD))]
    pub name: String,
    /// When it began (UTC).
    pub started_at: Time,
    /// How long it took.
    pub duration: Duration,
}

/// An object that did not come back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MissingObject {
    /// The object, such as ConfigMap/settings; with the source namespace in front if the test has several.
    #[schemars(length(max = limits::OBJECT))]
    pub object: String,
    /// The provider's own error for it, or what else is known.
    #[schemars(length(max = limits::REASON))]
    pub reason: String,
}

/// An object that the backup should hold and does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AbsentObject {
    /// The object, such as Deployment/worker; with the source namespace in front if the test has several.
    #[schemars(length(max = limits::OBJECT))]
    pub object: String,
    /// What is known of the reason, such as a label that keeps it out of every backup.
    #[schemars(length(max = limits::REASON))]
    pub reason: String,
}

/// Objects of one kind that were kept out of the sandbox on purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldKind {
    /// The kind, with its group if it is a custom resource, such as Certificate.cert-manager.io.
    #[schemars(length(max = 317))]
    pub kind: String,
    /// How many.
    pub count: u32,
    /// The rule that holds them, and how to let them in if that is possible.
    #[schemars(length(max = limits::REASON))]
    pub rule: String,
}

/// One change that was made in restored objects of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangedKind {
    /// The kind, such as RoleBinding.
    #[schemars(length(max = 317))]
    pub kind: String,
    /// How many of what the rule names, such as subjects.
    pub count: u32,
    /// What was changed.
    #[schemars(length(max = limits::REASON))]
    pub rule: String,
}

/// What became of the data of one claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeResult {
    /// Name of the claim; with the source namespace in front if the test has several.
    #[schemars(length(max = limits::OBJECT))]
    pub claim: String,
    /// How the backup holds its data, such as PodVolumeBackup. Absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::WORD))]
    pub method: Option<String>,
    /// Bytes restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What became of it, in one word.
    #[schemars(length(max = limits::WORD))]
    pub state: String,
    /// Why, if it is not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::REASON))]
    pub reason: Option<String>,
}

/// A name of a source namespace in restored configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HardcodedName {
    /// The object that holds it, such as ConfigMap/settings; with the source namespace in front if the test has several.
    #[schemars(length(max = limits::OBJECT))]
    pub object: String,
    /// The name, such as db.shop.svc.cluster.local. Absent for an object that was not scanned, because there were too
    /// many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
}

/// What became worse since the last conclusive report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Regression {
    /// Name of the report compared with.
    #[schemars(length(max = 253))]
    pub previous_report: String,
    /// Its score.
    #[schemars(range(max = 100))]
    pub previous_score: u32,
    /// This score minus that one.
    #[schemars(range(min = -100, max = 100))]
    pub delta: i32,
    /// Levels that passed there and do not here.
    #[serde(default)]
    #[schemars(length(max = 6), inner(length(max = limits::WORD)))]
    pub levels: Vec<String>,
}

/// The program that wrote a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerInfo {
    /// Its version.
    #[schemars(length(max = limits::WORD))]
    pub version: String,
    /// Its image. Absent if it ran outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
}

/// The server that did the restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderInfo {
    /// Its name, such as velero.
    #[schemars(length(max = limits::WORD))]
    pub name: String,
    /// The version that its server gives. Absent if it gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::WORD))]
    pub version: Option<String>,
}

/// What a report rests on. Each is the SHA-256 of JSON with sorted keys and without spaces, in small hexadecimal digits; an
/// object is unchanged if the given command prints the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Digests {
    /// The spec of the RestoreTest, as the run read it: kubectl get rt NAME -o json | jq -cSj .spec | sha256sum. Absent in a
    /// report that was completed for a run that died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = DIGEST))]
    pub test: Option<String>,
    /// The spec of the HealthCheckPolicy, as the run read it: kubectl get hcp NAME -o json | jq -cSj .spec | sha256sum. Absent
    /// if the test names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = DIGEST))]
    pub policy: Option<String>,
    /// The status of the test's finished report before this one, by startedAt, without its conditions, which may change:
    /// kubectl get rr NAME -o json | jq -cSj '.status | del(.conditions)' | sha256sum. Absent in the first report of a test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = DIGEST))]
    pub previous_report: Option<String>,
}

const DIGEST: &str = "^[0-9a-f]{64}$";
