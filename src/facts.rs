//! What a run was asked to prove ([`Brief`]) and what it saw ([`Facts`]): plain data between looking and judging.
//!
//! `run` fills these while it talks to the cluster; `judge` turns them into a verdict and can do nothing else, so a recorded
//! pair ([`Record`](crate::judge::record::Record)) replays to the same report; what a record of an older version lacks counts as
//! not seen. Names of namespaces are always the source's, as the backup calls them, never the
//! sandbox's. Elapsed times count from the creation of the Restore and are monotonic, so a clock step cannot falsify them.

mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use stop::{Reason, Stop};

/// What the run was asked to prove; made from the `RestoreTest` and its `HealthCheckPolicy`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Brief {
    /// Name of the `RestoreTest`.
    pub test: String,
    /// The source namespaces, in the order of the spec.
    pub sources: Vec<String>,
    /// The checks of the policy in order; `None` without a policy.
    pub checks: Option<Vec<CheckBrief>>,
    /// The declared dependencies.
    pub dependencies: Vec<DependencyBrief>,
    /// `sla.maxRTO`.
    pub max_rto: Option<Duration>,
    /// `sla.maxBackupAge`.
    pub max_backup_age: Option<Duration>,
    /// `sla.maxRTO` as the test writes it.
    pub max_rto_written: Option<String>,
    /// `sla.maxBackupAge` as the test writes it.
    pub max_backup_age_written: Option<String>,
    /// The spec has a `labelSelector`, so only a part of the backup was restored.
    pub partial_restore: bool,
    /// Fields that are set but that this version does not act on; the report's message names them.
    pub not_served: Vec<String>,
}

/// One check of the policy, as far as judging needs it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CheckBrief {
    /// Its name.
    pub name: String,
    /// Its failure aborts all later checks.
    pub critical: bool,
}

/// A declared dependency.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DependencyBrief {
    /// Name of the Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for DependencyBrief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.namespace)
    }
}

/// Everything a run saw. What was not reached stays empty, and an empty place earns nothing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Facts {
    /// The run's id.
    pub run_id: String,
    /// When the run began; `startedAt` of a report whose run never created a Restore.
    pub run_started: DateTime<Utc>,
    /// Why the run ended before everything was looked at, if it did.
    pub stop: Option<Stop>,
    /// The provider's server, once it has answered.
    pub provider: Option<ProviderFacts>,
    /// The backup that was chosen.
    pub backup: Option<BackupFacts>,
    /// Source namespace and sandbox of each pair that was made.
    pub sandboxes: Vec<SandboxFacts>,
    /// What the proof of isolation showed.
    pub isolation: Isolation,
    /// What `sandbox.egress` opened, each as a network with its ports.
    pub ways_out: Vec<String>,
    /// The Restore, once it was created.
    pub restore: Option<RestoreFacts>,
    /// Expected and present objects.
    pub objects: Option<ObjectFacts>,
    /// The source namespaces that live, beside the backup. One that is gone, or younger than the backup, is not among them.
    pub living: Vec<LivingFacts>,
    /// The claims of the backup and what became of their data.
    pub volumes: Vec<VolumeFacts>,
    /// Pods and workloads, once they were watched.
    pub pods: Option<PodFacts>,
    /// The checks that ran or were skipped, in order. Those of the brief that are not here did not run.
    pub checks: Vec<CheckFact>,
    /// The dependencies that were dialled.
    pub dependencies: Option<Vec<DependencyFact>>,
    /// Names of source namespaces found in restored configuration.
    pub hardcoded_names: Vec<HardcodedFact>,
    /// Names that restored pods asked for and that are not of the run's namespaces.
    pub outside_names: Vec<String>,
    /// What failing pods may be waiting for although the sandbox denies it.
    pub denied: Vec<DeniedFact>,
    /// Phases with their times, in order of their start.
    pub timeline: Vec<TimelineFact>,
    /// From the creation of the Restore to the end of the last check or the last pod's readiness, whichever is later; for a
    /// run that stopped earlier, to the stop; for one that died, to its last sign of life.
    pub elapsed: Option<Duration>,
    /// Of a run that died and that another run judges: its last sign of life.
    pub died_at: Option<DateTime<Utc>>,
    /// The last conclusive report of this test.
    pub previous: Option<PreviousReport>,
    /// Digests of what the report rests on.
    pub digests: Digests,
    /// Further sentences for the message, e.g. of a clock that is off.
    pub notes: Vec<String>,
}

/// The provider's server.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ProviderFacts {
    /// The provider's name, as tests call it.
    pub name: String,
    /// The version that its server gives, if it gives one.
    pub version: Option<String>,
}

/// The backup a run restores from.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct BackupFacts {
    /// Its name as the provider records it.
    pub name: String,
    /// UID of the provider's object.
    pub uid: Option<String>,
    /// The provider's own start of the backup.
    pub started_at: Option<DateTime<Utc>>,
    /// Where its data lies.
    pub storage_location: Option<String>,
    /// Sum of its volumes' data in bytes, of the listed namespaces; `None` without any.
    pub bytes: Option<u64>,
    /// Why the backup holds less than its namespaces held (it ended `PartiallyFailed`, or has filters).
    pub partial: Option<String>,
    /// Newer backups that `latest` passed over because they are unusable, newest first.
    pub newer_unusable: Vec<UnusableBackup>,
}

/// A backup that was passed over.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct UnusableBackup {
    /// Its name.
    pub name: String,
    /// Its phase, or what else made it unusable.
    pub phase: String,
}

/// A sandbox that was made.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SandboxFacts {
    /// The source namespace.
    pub source: String,
    /// The sandbox's name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What is known of the sandbox's isolation.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub enum Isolation {
    /// The run never came that far.
    #[default]
    NotReached,
    /// Without policies the outside was reached, with them it was not, and it stayed so.
    Proved,
    /// Proved before the restore, but whether it held while the restore began was not seen.
    NotWatched(String),
    /// The first half of the proof failed: nothing was shown either way.
    NotTested(String),
    /// With policies in place something outside was reached.
    Breached(String),
}

/// What the provider says of its restore.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RestoreFacts {
    /// Name of the Restore.
    pub name: String,
    /// When the API server created it: `startedAt` of the report.
    pub created_at: DateTime<Utc>,
    /// Its last phase seen, as the provider spells it.
    pub phase: String,
    /// Ended in whatever way.
    pub terminal: bool,
    /// The provider's `failureReason` or validation errors.
    pub failure: Option<String>,
    /// Number of items that the provider created in the sandboxes; `None` if its list could not be read.
    pub created_items: Option<usize>,
    /// The errors of the restore, classified.
    pub errors: Vec<ProviderProblem>,
    /// All errors, also those not kept in `errors` and those of which the provider gives no text.
    pub error_count: usize,
    /// Warnings that are not known noise.
    pub warnings: Vec<String>,
    /// Their number, also of those not kept.
    pub warning_count: usize,
    /// The results could not be read: why.
    pub results_unreadable: Option<String>,
    /// The backup's storage was seen to be away while the restore ran: what was said of it.
    pub storage_lost: Option<String>,
    /// Volumes that the drill gave up while it ran, for their pods could not take them.
    pub given_up: Vec<GivenUp>,
}

/// A volume that could not be filled, because its pod could not start or was gone. The drill ended it, so that nobody waits for it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct GivenUp {
    /// The source namespace.
    pub source: String,
    /// Name of the provider's volume restore.
    pub volume_restore: String,
    /// Why, with the pod's name.
    pub why: String,
}

/// One error of the provider.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ProviderProblem {
    /// `Kind/name` or `resource/name` in the source's terms, with `<source>/` in front where several are restored.
    pub object: Option<String>,
    /// The provider's resource name, e.g. `deployments.apps`.
    pub resource: Option<String>,
    /// The source namespace.
    pub source: Option<String>,
    /// The object's name.
    pub name: Option<String>,
    /// The provider's words.
    pub message: String,
    /// Whose fault it is.
    pub fault: Fault,
}

/// Whose fault a problem is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Fault {
    /// The backup's, or not known to be anybody else's.
    Backup,
    /// Our own admission policies refused the object: it is held, not lost.
    Fence,
    /// The sandbox's Pod Security level refused it.
    PodSecurity,
    /// The sandbox has not room for it (quota, capacity).
    Sandbox,
    /// The provider failed.
    Provider,
    /// The cluster could not give what the application needs, and another one might: a registry that limits its rate, a claim that
    /// nothing makes a volume for.
    Cluster,
    /// The drill itself ended it, for a reason that stands with the pod: see [`RestoreFacts::given_up`].
    Drill,
    /// The provider could not get at the backup's data. Whose fault that is depends on whether the storage was there: see
    /// [`RestoreFacts::storage_lost`].
    Storage,
}

/// Expected and present objects of all source namespaces.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ObjectFacts {
    /// One entry per source namespace and kind.
    pub kinds: Vec<KindFacts>,
}

/// The objects of one kind in one source namespace.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct KindFacts {
    /// The source namespace.
    pub source: String,
    /// API group, empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// The provider's resource name, e.g. `deployments.apps`; empty if the cluster does not serve the kind.
    pub resource: String,
    /// The kind is defined by a `CustomResourceDefinition`.
    pub custom: bool,
    /// Names that should be in the sandbox.
    pub expected: Vec<String>,
    /// Names that are in the backup but neither expected nor missed, with the reason.
    pub not_tested: Vec<NotTested>,
    /// Names held back on purpose, and the rule that held them.
    pub held: Vec<HeldFact>,
    /// What admission changed in those that are in the sandbox.
    pub changed: Vec<ChangedFact>,
    /// Names found in the sandbox by the end of the restore; `None` if the kind could not be listed.
    pub present: Option<Vec<String>>,
    /// Names that were there once and are gone by the end of the run.
    pub vanished: Vec<String>,
    /// Why `present` is `None`, with the role to add.
    pub unlisted: Option<String>,
    /// Names that the provider says it created.
    pub created: BTreeSet<String>,
    /// Names that the provider says it skipped.
    pub skipped: BTreeSet<String>,
}

/// An object in the backup that could not or need not be looked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct NotTested {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// An object held back on purpose.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HeldFact {
    /// Its name.
    pub name: String,
    /// The rule, e.g. `custom resource`.
    pub rule: String,
}

/// A change that admission made in restored objects.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ChangedFact {
    /// How many of what the rule names.
    pub count: u32,
    /// The rule, e.g. `subjects outside the sandbox removed`.
    pub rule: String,
}

/// A source namespace as it lives, beside the backup.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct LivingFacts {
    /// The source namespace.
    pub source: String,
    /// What it holds and the backup does not.
    pub absent: Vec<AbsentFacts>,
    /// Resources that the runner may not list there, e.g. `deployments.apps`.
    pub unlisted: Vec<String>,
    /// Why it was not compared, or not to the end.
    pub gap: Option<Gap>,
}

/// Objects of one kind that live in the source namespace, are older than the backup, would not be made anew, and are not in it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct AbsentFacts {
    /// API group, empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// The kind is defined by a `CustomResourceDefinition`.
    pub custom: bool,
    /// What is known of the reason.
    pub reason: String,
    /// The spec says that these need not come back.
    pub ignored: bool,
    /// Their names.
    pub names: Vec<String>,
}

/// Why a living namespace was not compared with the backup.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Gap {
    /// The runner has no right to list what it holds.
    NotPermitted,
    /// The API server failed: its words.
    Failed(String),
}

/// A claim of the backup.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct VolumeFacts {
    /// The source namespace.
    pub source: String,
    /// The claim's name.
    pub claim: String,
    /// How the backup holds its data, e.g. `PodVolumeBackup`; `None` if it holds none.
    pub method: Option<String>,
    /// Why the backup holds no data for it.
    pub no_data: Option<String>,
    /// The backup's list of volumes names the claim; a claim that was never bound is not in it and has no data to lose.
    pub listed: bool,
    /// Bytes in the backup.
    pub bytes: u64,
    /// Bytes that the provider found to write into the new volume. Not always those of the backup: there links count as well,
    /// from the second backup of a volume on.
    pub to_restore: u64,
    /// Bytes that the provider wrote into the new volume.
    pub restored_bytes: u64,
    /// The provider's volume restore, if there was one: its phase.
    pub restore_phase: Option<String>,
    /// The provider's message about it.
    pub restore_message: Option<String>,
    /// The claim's phase in the sandbox; `None` if it is not there.
    pub claim_phase: Option<String>,
    /// A pod of the sandbox mounts it.
    pub mounted: bool,
    /// Its storage class binds only when a pod needs it.
    pub waits_for_consumer: bool,
    /// Why the pod was kept out of the sandbox into which its data would have been restored.
    pub pod_held: Option<String>,
}

/// Workloads and pods.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct PodFacts {
    /// Every workload that should run, with its counts at the end.
    pub workloads: Vec<WorkloadFacts>,
    /// Every pod (or workload that has no pod) that is not as it should be.
    pub failures: Vec<PodFailure>,
    /// From the creation of the Restore until the last desired pod was ready; `None` if that never was.
    pub ready_after: Option<Duration>,
    /// How long the wait for the pods lasted, counted from the end of the restore.
    pub waited: Duration,
    /// All were ready and stayed so through the stability window.
    pub stable: bool,
    /// The wait ended early because a pod certainly cannot start.
    pub certain: bool,
    /// Pods that are refused on purpose: neither desired nor failed.
    pub held: Vec<String>,
    /// What the refusal of each of them said.
    pub refusals: BTreeMap<String, String>,
    /// Pods and workloads that are not waited for.
    pub excluded: Vec<ExcludedFact>,
}

/// A pod, or a workload, that is neither desired nor failed.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ExcludedFact {
    /// The source namespace.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Why, for a person.
    pub reason: String,
}

/// One workload.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct WorkloadFacts {
    /// The source namespace.
    pub source: String,
    /// Kind, e.g. `Deployment`; `Pod` for a bare pod.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Pods it should run.
    pub desired: u32,
    /// Pods that are ready.
    pub ready: u32,
}

/// A pod that is not ready, or a workload that could not even make one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PodFailure {
    /// The source namespace.
    pub source: String,
    /// The pod's name, or the workload's if no pod was made.
    pub name: String,
    /// What a person would find: `CrashLoopBackOff: container db exited with code 137 (OOMKilled)`.
    pub cause: String,
    /// Waiting longer cannot help.
    pub certain: bool,
    /// Whose fault it is.
    pub fault: Fault,
}

/// Outcome of a check or a level.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It passed.
    Pass,
    /// It failed.
    Fail,
    /// It did not run.
    Skip,
}

/// A check that ran, or was skipped.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CheckFact {
    /// Its name.
    pub name: String,
    /// Its outcome.
    pub status: Status,
    /// How long it took.
    pub duration: Duration,
    /// For a person.
    pub message: String,
    /// What it looks for is kept out of the sandbox on purpose: it did not run, or failed for that.
    #[serde(default)]
    pub excluded: bool,
}

/// A dependency that was dialled.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DependencyFact {
    /// `<service>.<namespace>`.
    pub name: String,
    /// It answered.
    pub reachable: bool,
    /// The error, if it did not.
    pub message: String,
}

/// A name of a source namespace found in restored configuration.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HardcodedFact {
    /// Where, e.g. `Deployment/web env DB_HOST`.
    pub object: String,
    /// The name, e.g. `db.shop.svc.cluster.local`; empty for what was not scanned.
    pub name: String,
}

/// Something that the sandbox denied, and that may be why a pod or a check failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DeniedFact {
    /// The source namespace.
    pub source: String,
    /// The failing pod; `None` for what is denied to all.
    pub pod: Option<String>,
    /// What, and what speaks for it.
    pub what: Denied,
}

/// What a sandbox denies. A place is where it is spoken of: `command`, `env DB_HOST`, `ConfigMap/scripts start`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Denied {
    /// The Kubernetes API; the place.
    KubernetesApi(String),
    /// An address outside.
    Address {
        /// Where it stands.
        place: String,
        /// The address.
        address: String,
    },
    /// A full name in the source's namespace: nodes write the sandbox's into `/etc/hosts`; the place.
    OwnName(String),
    /// A Job that an init container waits for.
    Job {
        /// The init container.
        container: String,
        /// A Job of the backup.
        job: String,
        /// What the container is told names it.
        named: bool,
    },
    /// The endpoints of this Service.
    Endpoints(String),
}

/// One phase of the run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TimelineFact {
    /// `queued`, `restore`, `data`, `podStartup` or `checks`.
    pub name: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it lasted.
    pub duration: Duration,
}

/// SHA-256 of what a report rests on, in hexadecimal digits.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Digests {
    /// Of the test's spec, as it is stored.
    pub test: Option<String>,
    /// Of the policy's spec, as it is stored.
    pub policy: Option<String>,
    /// Of the status of the most recent finished report, without its conditions.
    pub previous_report: Option<String>,
}

/// What regression is measured against.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PreviousReport {
    /// Name of the report.
    pub name: String,
    /// Its score.
    pub score: u8,
    /// Keys of the levels that passed in it, e.g. `podStartup`.
    pub passed: Vec<String>,
}
