//! Every name this program gives or looks for: labels, annotations, field managers, condition types and reasons.
//!
//! The manifests repeat some of them; `tests/manifests` holds the two together.

/// The API group of the three kinds.
pub const GROUP: &str = "restore.kymaros.io";
/// The version of the three kinds.
pub const VERSION: &str = "v1alpha1";
/// Field manager of every write.
pub const FIELD_MANAGER: &str = "kymaros-runner";
/// Value of [`label::MANAGED_BY`] on everything this program makes.
pub const MANAGED_BY: &str = "kymaros";
/// The namespace the shipped manifests install into. The program itself uses the namespace of its own pod.
pub const RUNNER_NAMESPACE: &str = "kymaros-system";
/// The `ServiceAccount` the runner acts as.
pub const SERVICE_ACCOUNT: &str = "kymaros-runner";
/// The aggregated `ClusterRole` that the runner binds to itself inside each sandbox.
pub const SANDBOX_ROLE: &str = "kymaros-sandbox";
/// Value of `app.kubernetes.io/name` on the runner's own pods; sandboxes admit traffic from pods that carry it.
pub const APP: &str = "kymaros-runner";
/// The priority class every restored pod is given.
pub const PRIORITY_CLASS: &str = "kymaros-drill";
/// What Pod Security says of a pod that would get at its node. Its refusal comes before those of our own policies, which let no such
/// pod in either, whatever level a sandbox has: so it is held on purpose, and no level of `sandbox.podSecurity` would help.
pub const HOST_ACCESS: [&str; 6] = [
    "host namespaces (",
    "hostPath volumes (",
    "privileged (",
    "hostProcess (",
    "non-default capabilities (",
    "probe or lifecycle host (",
];
/// Prefix of the names of our admission policies, as it appears in the API server's refusals.
pub const FENCE_PREFIX: &str = "kymaros-fence-";
/// The one of them that admits pods only to a sandbox that is closed.
pub const CLOSED_FENCE: &str = "kymaros-fence-sandbox-closed";
/// Those that refuse what a run asks for by dry run, to see that they stand and what the installation permits; by what it asks for.
pub mod self_test {
    /// A `RoleBinding` outside a sandbox.
    pub const BINDING: &[&str] = &["kymaros-fence-rolebindings"];
    /// A namespace that is no sandbox, or a sandbox that the installation does not permit.
    pub const NAMESPACE: &[&str] = &["kymaros-fence-namespaces"];
    /// Resource modifiers that the runner does not write.
    pub const MODIFIERS: &[&str] = &["kymaros-fence-provider-configmaps"];
    /// A way out of a sandbox that the installation does not permit.
    pub const EGRESS: &[&str] = &["kymaros-fence-networkpolicies"];
    /// A pod in a sandbox that is not closed.
    pub const POD: &[&str] = &[super::CLOSED_FENCE];
    /// A Service in a sandbox that would be reachable from outside, where nothing changes it: both do.
    pub const SERVICE: &[&str] = &["kymaros-fence-services", "kymaros-fence-sandbox-objects"];
}

/// The policy of ours that refused, in the API server's words: `ValidatingAdmissionPolicy 'kymaros-fence-…' with binding …`. Names of
/// objects hold no quotes, so no object and nobody else's refusal can pose as one.
pub fn refusing_policy(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("AdmissionPolicy '")?;
    let (policy, _) = rest.split_once('\'')?;
    policy.starts_with(FENCE_PREFIX).then_some(policy)
}
/// The `ConfigMap` of an overlay by which whoever installs the fence says what a `RestoreTest` may ask for. It is not applied.
pub const INSTALLATION: &str = "kymaros-installation";
/// Prefix of the sign of life that any of the provider's servers may give; the installation names those that may give the others.
pub const UNLISTED_PREFIX: &str = "kymaros-unlisted-";
/// Stands before the run id in the name of every sandbox; reserved by an admission policy.
pub const SANDBOX_INFIX: &str = "-kymaros-";
/// Prefix of every object made in the provider's namespace.
pub const PROVIDER_PREFIX: &str = "kymaros-";
/// The `ResourceQuota` made in each sandbox.
pub const QUOTA: &str = "kymaros-quota";
/// Another one, made where claims of some storage classes may not come in.
pub const CLASS_QUOTA: &str = "kymaros-classes";
/// Behind the name of a storage class: what a quota calls the number of its claims.
pub const CLASS_CLAIMS: &str = ".storageclass.storage.k8s.io/persistentvolumeclaims";
/// The pod and the Service of a sandbox's name server, and the value of [`label::PROBE`] on the former.
pub const NAME_SERVER: &str = "kymaros-names";
/// The ingress class that nobody serves; restored Ingresses get it.
pub const INERT_INGRESS_CLASS: &str = "kymaros-none";
/// The provider lock: the Lease in the provider's namespace that a drill holds while it restores.
pub const PROVIDER_LOCK: &str = "kymaros-turn";

/// Labels.
pub mod label {
    /// Marks everything this program makes.
    pub const MANAGED_BY: &str = "kymaros.io/managed-by";
    /// The `RestoreTest`'s name, on reports and on everything of a run.
    pub const TEST: &str = "kymaros.io/test";
    /// The `RestoreTest`'s UID.
    pub const TEST_UID: &str = "kymaros.io/test-uid";
    /// The run id.
    pub const RUN: &str = "kymaros.io/run";
    /// On a sandbox: the namespace of the backup that is restored into it.
    pub const SOURCE_NAMESPACE: &str = "kymaros.io/source-namespace";
    /// On a report: keep it, whatever `historyLimit` says.
    pub const RETAIN: &str = "kymaros.io/retain";
    /// On the runner's own pods in a sandbox: which probe it is, or the name server.
    pub const PROBE: &str = "kymaros.io/probe";
    /// On a `ClusterRole`, with the value `true`: its rules become part of what the runner may do in a sandbox.
    pub const AGGREGATE_TO_SANDBOX: &str = "kymaros.io/aggregate-to-sandbox";
    /// On everything that Velero restored: the Restore.
    pub const VELERO_RESTORE: &str = "velero.io/restore-name";
    /// Velero leaves objects with this label out of its backups.
    pub const VELERO_EXCLUDE: &str = "velero.io/exclude-from-backup";
    /// Pod Security level that is enforced in a namespace.
    pub const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";
    /// Standard application name.
    pub const APP_NAME: &str = "app.kubernetes.io/name";
}

/// Annotations.
pub mod annotation {
    /// On a sandbox: when it may be removed at the latest, RFC 3339.
    pub const EXPIRES_AT: &str = "kymaros.io/expires-at";
    /// On a sandbox: how long it may stay after its run died, as a Go duration.
    pub const TTL: &str = "kymaros.io/ttl";
    /// On a sandbox: `true` once its run has ended and left it for debugging, until it expires.
    pub const KEPT: &str = "kymaros.io/kept";
    /// On a sandbox: the kinds that are restored into it, `Kind` or `Kind.group`, joined by commas. The fence lets in no others.
    pub const KINDS: &str = "kymaros.io/kinds";
    /// On a sandbox: `required` or `report`, as the test's `sandbox.isolationProof` says.
    pub const ISOLATION_PROOF: &str = "kymaros.io/isolation-proof";
    /// On a sandbox: the run and the pod that made it, as on a Lease, which somebody may have deleted.
    pub const HOLDER: &str = "kymaros.io/holder";
    /// On a sandbox: address of the name server that admission points its pods at.
    pub const NAME_SERVER: &str = "kymaros.io/nameserver";
    /// On a sandbox, beside it: the cluster's domain, for the search path.
    pub const CLUSTER_DOMAIN: &str = "kymaros.io/cluster-domain";
    /// On a Lease: the run id of its holder.
    pub const RUN: &str = "kymaros.io/run";
    /// On a Lease: when the run began, RFC 3339.
    pub const RUN_STARTED: &str = "kymaros.io/run-started";
    /// On a Lease: when the Restore was created (`startedAt` of the report), RFC 3339.
    pub const STARTED_AT: &str = "kymaros.io/started-at";
    /// On a Lease: the backup being restored.
    pub const BACKUP: &str = "kymaros.io/backup";
    /// On a Lease: source and sandbox namespaces, `source=sandbox` joined by commas.
    pub const SANDBOXES: &str = "kymaros.io/sandboxes";
    /// On a Lease: what runs have left that held it before and did not give it back, until their reports are there; JSON.
    pub const DEAD_RUNS: &str = "kymaros.io/dead-runs";
    /// On a Lease and a sandbox: the provider's namespace.
    pub const PROVIDER_NAMESPACE: &str = "kymaros.io/provider-namespace";
    /// On a restored `RoleBinding`: how many subjects admission took off it.
    pub const REMOVED_SUBJECTS: &str = "kymaros.io/removed-subjects";
    /// On a Restore: longest time for all its volumes.
    pub const POD_VOLUME_TIMEOUT: &str = "velero.io/pod-volume-timeout";
}

/// Types of conditions.
pub mod condition {
    /// The report is final.
    pub const COMPLETE: &str = "Complete";
    /// False: the run says nothing about the backup.
    pub const CONCLUSIVE: &str = "Conclusive";
    /// Isolation of the sandbox was proved before the restore and held during it.
    pub const SANDBOX_ISOLATED: &str = "SandboxIsolated";
    /// The backup is younger than `sla.maxBackupAge`.
    pub const RECOVERY_POINT_FRESH: &str = "RecoveryPointFresh";
    /// False names what is left in the cluster.
    pub const SANDBOX_CLEANED_UP: &str = "SandboxCleanedUp";
    /// On a `RestoreTest`: the last plan was valid.
    pub const READY: &str = "Ready";
    /// On a `RestoreTest`: the `CronJob` says what the test says.
    pub const SCHEDULED: &str = "Scheduled";
}
