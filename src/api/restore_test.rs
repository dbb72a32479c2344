//! `RestoreTest`: what is restored, into what, and how it is judged.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are what `kubectl explain` prints, where backticks are noise"
)]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{self, dns_label, dns_subdomain, rule};
use super::{
    ChannelType, Condition, Duration, LogScope, Outcome, Phase, Provider, Sandbox, Selection, Target, Time, limits,
};

/// What to restore for practice, and how to judge it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "restore.kymaros.io",
    version = "v1alpha1",
    kind = "RestoreTest",
    shortname = "rt",
    namespaced,
    status = "RestoreTestStatus",
    derive = "PartialEq",
    doc = "A restore drill: which backup is restored for practice, into what kind of sandbox, and how the result is judged. \
           Every run of it writes one RestoreReport.",
    validation = Rule::new("size(self.metadata.name) <= 52 && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')")
        .message("the name of a RestoreTest must be at most 52 characters: lower-case letters, digits and '-', beginning and ending with a letter or digit"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Idle, Running, Completed (judged) or Failed (not judged)"),
    printcolumn(name = "Score", type_ = "integer", json_path = ".status.lastScore", description = "Score of the last conclusive run"),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.lastResult", description = "Result of the last conclusive run"),
    printcolumn(name = "Last Run", type_ = "date", json_path = ".status.lastRunAt", description = "Since the last run started"),
    printcolumn(name = "Last Pass", type_ = "date", json_path = ".status.lastPassAt", description = "Since the last passing run started"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Since the test was created")
)]
#[serde(rename_all = "camelCase")]
pub struct RestoreTestSpec {
    /// Which backup is restored, and which of its namespaces.
    pub backup_source: BackupSource,
    /// When the test runs. It is copied into the CronJob when the manifests are built; the CronJob decides. If the two
    /// differ, the condition Scheduled of this test is False. Without it the test only runs when started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The throw-away namespaces that are restored into.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// What the restore brings back and how long it may take.
    #[serde(default)]
    pub restore: RestoreOptions,
    /// Which objects must come back.
    #[serde(default)]
    pub completeness: Completeness,
    /// How long the restored pods have to become ready.
    #[serde(default)]
    pub pod_startup: PodStartup,
    /// The checks that the restored application must pass.
    #[serde(default)]
    pub health_checks: HealthChecks,
    /// Services outside the sandbox that the application needs. Each is dialled from the runner; they are the level
    /// crossNamespaceDeps of the report. None by default, which passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub dependencies: Vec<Dependency>,
    /// Targets for the time to recover and the age of the backup.
    #[serde(default)]
    pub sla: Sla,
    /// Who is told about the result. This version does not send notifications yet; if any is set, the report's message
    /// says so.
    #[serde(default)]
    pub notifications: Notifications,
    /// Longest time for the whole run, from its start to its report; clean-up is not counted. A run that reaches it is
    /// reported and ends. Default 2h, at most 24h.
    #[serde(default = "default_timeout")]
    #[schemars(schema_with = "schema::timeout")]
    pub timeout: Duration,
    /// How many reports of this test are kept; the oldest are deleted after each run. Reports labelled
    /// kymaros.io/retain=true are neither counted nor deleted. From a limit of 2 up, the newest passing report is always
    /// among those kept. Default 10, from 1 to 1000.
    #[serde(default = "default_history_limit")]
    #[schemars(range(min = 1, max = 1000))]
    pub history_limit: u32,
    /// The ends of the sandbox's pod logs in the report. This version does not collect logs yet; if it is enabled, the
    /// report's message says so.
    #[serde(default)]
    pub log_collection: LogCollection,
}

const fn default_timeout() -> Duration {
    Duration::from_mins(120)
}

const fn default_history_limit() -> u32 {
    10
}

/// Which backup is restored, and which of its namespaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("self.backupName == 'latest' || !has(self.window)", "window chooses among backups: it needs backupName: latest"),
    rule("self.backupName == 'latest' || self.selection == 'newest'", "selection: random chooses among backups: it needs backupName: latest"),
    rule("self.backupName == 'latest' || !has(self.scheduleName)", "scheduleName chooses among backups: it needs backupName: latest"),
    rule("self.backupName == 'latest' || !has(self.storageLocation)", "storageLocation chooses among backups: it needs backupName: latest"),
]))]
pub struct BackupSource {
    /// The program that took the backups. Only velero in this version.
    pub provider: Provider,
    /// Namespace of the provider's own objects. Default velero.
    #[serde(default = "default_provider_namespace")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [dns_label()]))]
    pub provider_namespace: String,
    /// Name of a backup, or latest (the default): the newest usable backup, by the time it was started, that holds all
    /// the listed namespaces. Usable means completed, not about to expire or be deleted, and in an available storage
    /// location.
    #[serde(default = "default_backup_name")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [dns_subdomain()]))]
    pub backup_name: String,
    /// With latest: only backups made by this schedule of the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [dns_subdomain()]))]
    pub schedule_name: Option<String>,
    /// With latest: only backups in this storage location of the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [dns_subdomain()]))]
    pub storage_location: Option<String>,
    /// With latest: newest (the default), or random to draw one of the usable backups for each run, so that in time older
    /// backups are proved too.
    #[serde(default = "default_selection")]
    pub selection: Selection,
    /// With latest: only backups younger than this, such as 168h. By default any age is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::age")]
    pub window: Option<Duration>,
    /// May a backup be taken that ended PartiallyFailed, that is, without some of its objects or data? Default false.
    #[serde(default)]
    pub allow_partially_failed: bool,
    /// The namespaces to restore, from 1 to 16. All of them come from the same backup.
    #[schemars(
        length(min = 1, max = limits::NAMESPACES),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub namespaces: Vec<SourceNamespace>,
    /// Restore only objects that have all of these labels. The report then says that it judged a part. By default
    /// everything in the namespaces is restored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "source_labels")]
    pub label_selector: BTreeMap<String, String>,
}

fn default_provider_namespace() -> String {
    "velero".to_owned()
}

fn default_backup_name() -> String {
    "latest".to_owned()
}

const fn default_selection() -> Selection {
    Selection::Newest
}

/// A namespace to restore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceNamespace {
    /// Name of the namespace as the backup has it. It need not exist in this cluster.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [
        dns_label(),
        rule("!self.matches('-kymaros-[a-z0-9]{6}$')", "is the name of a sandbox; name the namespace that was backed up"),
    ]))]
    pub name: String,
    /// Readable part of the sandbox's name; the mark of the run is added to it. Default <namespacePrefix>-<test>-<name>.
    /// It is cut to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [dns_label()]))]
    pub sandbox_name: Option<String>,
}

/// When a test runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Five fields as in crontab, such as 0 3 * * *, or @daily and the like. The time zone has its own field.
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-validations" = [rule(
        "self.matches('^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|(([0-9*/,-]+) +){3}([0-9*/,A-Za-z-]+) +([0-9*/,A-Za-z?-]+))$')",
        "must be five fields such as '0 3 * * *', or @hourly, @daily, @weekly, @monthly or @yearly; the time zone goes into timezone",
    )]))]
    pub cron: String,
    /// Name of the time zone in which cron is read, such as Europe/Paris. Default UTC.
    #[serde(default = "default_timezone")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-validations" = [rule(
        "self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$') && self != 'Local' && timestamp('2026-01-01T00:00:00Z').getHours(self) >= 0",
        "must be an IANA time zone name such as UTC or Europe/Paris",
    )]))]
    pub timezone: String,
}

fn default_timezone() -> String {
    "UTC".to_owned()
}

/// What the restore brings back and how long it may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreOptions {
    /// Kinds to leave out, as the provider names them: events, or deployments.apps. They come on top of those that are
    /// always left out for safety, and are not missed in the report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 317)), extend(
        "x-kubernetes-list-type" = "set",
        "x-kubernetes-validations" = [
            rule(r"self.all(x, x.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$'))", "each must name a kind as the API's addresses do, such as events or deployments.apps"),
            rule("self.all(x, !(x in ['pv', 'persistentvolume', 'persistentvolumes']))", "persistentvolumes must not be excluded: claims would wait for the source's own volumes"),
        ]
    ))]
    pub excluded_resources: Vec<String>,
    /// Storage classes of the backup and those to use for them in the sandbox. By default each claim keeps its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "storage_class_mapping")]
    pub storage_class_mapping: BTreeMap<String, String>,
    /// Custom resources to let in, as a group (example.com), as kind.group (Cache.example.com), or * for all but the
    /// dangerous ones. By default none is, because operators act on them from outside the sandbox. The installation has to allow each
    /// group or kind too (customResources of ConfigMap kymaros-installation).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 317)), extend(
        "x-kubernetes-list-type" = "set",
        "x-kubernetes-validations" = [rule(
            r"self.all(x, x == '*' || x.matches('^([A-Z][A-Za-z0-9]*\\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$'))",
            "each must be a group such as example.com, a kind and its group such as Cache.example.com, or *",
        )]
    ))]
    pub custom_resources: Vec<String>,
    /// How long to wait for restores of others to finish before this one is started. A run that waits longer ends
    /// inconclusive. Default 1h.
    #[schemars(schema_with = "schema::timeout")]
    pub queue_timeout: Duration,
    /// How long the restore itself may take, its data included. Default 1h.
    #[schemars(schema_with = "schema::timeout")]
    pub timeout: Duration,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            excluded_resources: Vec::new(),
            storage_class_mapping: BTreeMap::new(),
            custom_resources: Vec::new(),
            queue_timeout: Duration::from_mins(60),
            timeout: Duration::from_mins(60),
        }
    }
}

/// Labels of what is restored. Jobs and their pods never are, so a selector of their label would select nothing.
fn source_labels(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut labels = schema::match_labels(generator);
    let rules = labels
        .get_mut("x-kubernetes-validations")
        .and_then(serde_json::Value::as_array_mut);
    if let Some(rules) = rules {
        rules.push(rule(
            "!('batch.kubernetes.io/job-name' in self)",
            "Jobs and their pods are never restored, so batch.kubernetes.io/job-name would select nothing",
        ));
    }
    labels
}

fn storage_class_mapping(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 50,
        "additionalProperties": {
            "type": "string",
            "minLength": 1,
            "maxLength": 253,
            "x-kubernetes-validations": [dns_subdomain()],
        },
    })
}

/// Which objects must come back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Completeness {
    /// Objects that need not come back, nor be in the backup, as Kind/name with * for any text, such as
    /// PersistentVolumeClaim/cache-*. None by default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 3, max = 317)), extend(
        "x-kubernetes-list-type" = "set",
        "x-kubernetes-validations" = [rule("self.all(x, x.matches('^[^/ ]+/[^/ ]+$'))", "each must be Kind/name, with * for any text, such as PersistentVolumeClaim/cache-*")]
    ))]
    pub ignore: Vec<String>,
}

/// How long the restored pods have to become ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStartup {
    /// All pods that should run must be ready within this time after the restore. Default 10m.
    #[schemars(schema_with = "schema::timeout")]
    pub timeout: Duration,
    /// And must stay so, without a restart, for this long; the checks run meanwhile. Default 15s; 0s switches it off.
    #[schemars(schema_with = "schema::period")]
    pub stable_for: Duration,
    /// Pods that are not waited for, such as workers of a CI engine; the report names them as not tested. Each entry is
    /// either Kind/name of a workload or of a pod by itself, with * for any text, such as Deployment/ci-* or Pod/runner-*,
    /// or labels that a pod must all have, with * for any text in a value, such as team=ci,build=shop-*. None by default,
    /// at most 50. Pods that run to an end and have no controller, those of held custom resources, and those that the
    /// sandbox refuses are never waited for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(min = 3, max = 317)), extend(
        "x-kubernetes-list-type" = "set",
        "x-kubernetes-validations" = [rule(
            r"self.all(x, x.matches('^[^/ ,=]+/[^/ ,=]+$') || x.matches('^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?=[A-Za-z0-9_.*?-]*(,([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?=[A-Za-z0-9_.*?-]*)*$'))",
            "each must be Kind/name, such as Pod/runner-* or Deployment/ci-*, or labels of pods, such as team=ci,build=shop-*",
        )]
    ))]
    pub ignore: Vec<String>,
}

impl Default for PodStartup {
    fn default() -> Self {
        Self {
            timeout: Duration::from_mins(10),
            stable_for: Duration::from_secs(15),
            ignore: Vec::new(),
        }
    }
}

/// The checks that the restored application must pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthChecks {
    /// Name of the HealthCheckPolicy, in the namespace of this test. Without one no check runs, and the 20 points of the
    /// level internalHealth are not earned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [dns_subdomain()]))]
    pub policy_ref: Option<String>,
    /// Longest time for all checks together; those not done by then fail. Default 10m.
    #[schemars(schema_with = "schema::timeout")]
    pub timeout: Duration,
}

impl Default for HealthChecks {
    fn default() -> Self {
        Self {
            policy_ref: None,
            timeout: Duration::from_mins(10),
        }
    }
}

/// A Service outside the sandbox that the application needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [dns_label()]))]
    pub service: String,
    /// Namespace of the Service.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [dns_label()]))]
    pub namespace: String,
    /// Port of the Service, by number. It must accept a TCP connection.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// Targets for the time to recover and the age of the backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    rule("has(self.maxRTO) || !has(self.alertOnExceed) || !self.alertOnExceed", "alertOnExceed needs maxRTO"),
]))]
pub struct Sla {
    /// Target for the time from the start of the restore to the last passed check. Without it the 5 points of the level
    /// rtoCompliance are not earned.
    #[serde(rename = "maxRTO", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::timeout")]
    pub max_rto: Option<Target>,
    /// Notify also when maxRTO was missed, whatever the score. Default false. This version does not send notifications
    /// yet; if it is set, the report's message says so.
    pub alert_on_exceed: bool,
    /// Target for the age of the backup at the start of the restore, such as 26h. A run with an older backup cannot pass.
    /// By default any age will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::age")]
    pub max_backup_age: Option<Target>,
}

/// Who is told about the result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Notifications {
    /// Told after every run that did not pass. This version does not send notifications yet; if any is set, the report's
    /// message says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub on_failure: Vec<NotificationChannel>,
    /// Told after every run that passed. This version does not send notifications yet; if any is set, the report's
    /// message says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub on_success: Vec<NotificationChannel>,
}

impl Notifications {
    /// Is anybody to be told anything?
    pub fn is_empty(&self) -> bool {
        self.on_failure.is_empty() && self.on_success.is_empty()
    }
}

/// One receiver of notifications.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationChannel {
    /// slack, or webhook for any HTTP endpoint.
    #[serde(rename = "type")]
    pub type_: ChannelType,
    /// Channel of a Slack workspace, such as #backups. By default the one that belongs to the webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 80))]
    pub channel: Option<String>,
    /// Name of the Secret, in the namespace of this test, whose key url (or webhook-url) holds the address. A key
    /// hmac-key, if there is one, signs the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [dns_subdomain()]))]
    pub webhook_secret_ref: Option<String>,
}

/// The ends of the sandbox's pod logs in the report.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches, each a field that users write"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogCollection {
    /// Collect logs? Default false: logs hold secrets, and reports can be read by many. This version does not collect
    /// logs yet; if it is set, the report's message says so.
    pub enabled: bool,
    /// Whose logs: notReady (the default) for pods that did not become ready, or all. This version does not collect logs
    /// yet.
    pub scope: LogScope,
    /// Lines from the end of each container's log. Default 100, from 10 to 1000. This version does not collect logs yet.
    #[schemars(range(min = 10, max = 1000))]
    pub max_lines: u32,
    /// The events of the sandbox too? Default true. This version does not collect logs yet.
    pub include_events: bool,
    /// The logs of init containers too? Default true. This version does not collect logs yet.
    pub include_init: bool,
    /// The logs of a container's previous start too? Default true. This version does not collect logs yet.
    pub include_previous: bool,
}

impl Default for LogCollection {
    fn default() -> Self {
        Self {
            enabled: false,
            scope: LogScope::NotReady,
            max_lines: 100,
            include_events: true,
            include_init: true,
            include_previous: true,
        }
    }
}

/// What is known about the runs of a test. Written by the runner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreTestStatus {
    /// Idle: never ran. Running: a run is under way. Completed: the last run was judged, whatever its result. Failed: the
    /// last run says nothing about the backup; its report says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Start of the last run, which is startedAt of its report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_at: Option<Time>,
    /// Score of the last conclusive run, from 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub last_score: Option<u32>,
    /// Result of the last conclusive run: pass, partial or fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_result: Option<Outcome>,
    /// Name of the last run's RestoreReport.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_report_ref: Option<String>,
    /// Next start by the schedule, as computed when the last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<Time>,
    /// Start of the last run that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_pass_at: Option<Time>,
    /// Name of the RestoreReport of the last run that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_pass_report: Option<String>,
    /// Conclusive runs in a row, up to now, that did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_failures: Option<u32>,
    /// Generation of this test that the last run read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Ready: the last run found nothing wrong with this test (its message lists what it found). Scheduled: the CronJob
    /// runs at the times that this test names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
