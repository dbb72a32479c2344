//! What goes wrong in a run that was well otherwise, and what it must cost: section by section as the verdict is defined.

use std::time::Duration;

use super::*;

pub(super) type Change = fn(&mut Brief, &mut Facts);
pub(super) type Row = (&'static str, Change, u32, Outcome, &'static str, [u32; 6], &'static str);

/// The provider could not make this object.
fn refuse(facts: &mut Facts, resource: &str, name: &str, message: &str, fault: Fault) {
    let kinds = [
        ("configmaps", "ConfigMap"),
        ("persistentvolumeclaims", "PersistentVolumeClaim"),
        ("deployments.apps", "Deployment"),
        ("pods", "Pod"),
    ];
    let kind = kinds
        .iter()
        .find(|(of, _)| *of == resource)
        .map_or("", |(_, kind)| kind);
    restore(facts).error_count += 1;
    restore(facts).errors.push(ProviderProblem {
        object: Some(format!("{kind}/{name}")),
        resource: Some(resource.to_owned()),
        source: Some("shop".to_owned()),
        name: Some(name.to_owned()),
        message: message.to_owned(),
        fault,
    });
}

/// The provider ended with an error that names no object.
fn provider_failed(facts: &mut Facts, fault: Fault) {
    restore(facts).phase = "PartiallyFailed".into();
    restore(facts).error_count += 1;
    restore(facts).errors.push(ProviderProblem {
        object: None,
        resource: None,
        source: None,
        name: None,
        message: "no repository".to_owned(),
        fault,
    });
}

/// These dependencies, of which some answer.
fn dependencies(brief: &mut Brief, facts: &mut Facts, answers: &[bool]) {
    let names = || (0..answers.len()).map(|index| format!("d{index}"));
    brief.dependencies = names()
        .map(|service| DependencyBrief {
            service,
            namespace: "infra".to_owned(),
            port: 6379,
        })
        .collect();
    let dialled = names().zip(answers).map(|(service, reachable)| DependencyFact {
        name: format!("{service}.infra"),
        reachable: *reachable,
        message: "connection refused".to_owned(),
    });
    facts.dependencies = Some(dialled.collect());
}

/// What goes wrong; score; result; reason; the points of the six levels; words of the message.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    ("nothing", |_, _| {}, 100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "restored and verified on every level"),
    // restoreIntegrity: 25, and a point less for each warning that is no noise
    ("four unexpected warnings", |_, f| { restore(f).warning_count = 4; restore(f).warnings = vec!["odd".into()]; },
        96, Outcome::Pass, "Passed", [21, 20, 20, 20, 10, 5], "4 unexpected warnings: odd"),
    ("more warnings than can cost", |_, f| restore(f).warning_count = 400,
        95, Outcome::Pass, "Passed", [20, 20, 20, 20, 10, 5], "400 unexpected warnings"),
    ("Failed", |_, f| { restore(f).phase = "Failed".into(); restore(f).failure = Some("out of memory".into()); },
        69, Outcome::Fail, "RestoreIntegrityFailed", [0, 20, 20, 20, 10, 0], "Velero restore ended Failed: out of memory"),
    ("a restore without an end", |_, f| { restore(f).phase = "InProgress".into(); restore(f).terminal = false; },
        69, Outcome::Fail, "RestoreIntegrityFailed", [0, 20, 20, 20, 10, 0], "was not seen to end; its last phase was InProgress"),
    ("nothing known of what came back", |_, f| { restore(f).created_items = None; objects(f).clear(); },
        69, Outcome::Fail, "NotFullyTested", [0, 20, 20, 20, 10, 0], "restoreIntegrity: Velero restore completed, but"),
    ("PartiallyFailed", |_, f| restore(f).phase = "PartiallyFailed".into(),
        69, Outcome::Fail, "RestoreIntegrityFailed", [0, 20, 20, 20, 10, 0], "PartiallyFailed"),
    ("nothing came back", |_, f| restore(f).created_items = Some(0),
        69, Outcome::Fail, "RestoreIntegrityFailed", [0, 20, 20, 20, 10, 0], "it restored nothing"),
    ("the provider failed", |_, f| provider_failed(f, Fault::Provider),
        69, Outcome::Fail, "ProviderUnavailable", [0, 20, 20, 20, 10, 0], "Not judged (ProviderUnavailable): the backup provider failed: no repository"),
    ("data that could not be read while the storage was away", |_, f| { provider_failed(f, Fault::Storage); restore(f).storage_lost = Some("Unavailable".into()); },
        69, Outcome::Fail, "ProviderUnavailable", [0, 20, 20, 20, 10, 0], "the backup's storage was away during the restore (Unavailable): no repository"),
    ("data that could not be read although the storage was there", |_, f| provider_failed(f, Fault::Storage),
        69, Outcome::Fail, "RestoreIntegrityFailed", [0, 20, 20, 20, 10, 0], "no repository"),
    ("a pod that Pod Security refuses", |_, f| {
            restore(f).phase = "PartiallyFailed".into();
            refuse(f, "pods", "agent", "violates PodSecurity", Fault::PodSecurity);
        }, 69, Outcome::Fail, "SandboxDenied", [25, 20, 20, 20, 10, 0], "set sandbox.podSecurity: privileged"),
    // completeness: 20 by what is there of what is expected
    ("an object the provider could not make", |_, f| {
            restore(f).phase = "PartiallyFailed".into();
            refuse(f, "configmaps", "web", "no settings here", Fault::Backup);
            objects(f)[2].present = Some(vec![]);
        }, 66, Outcome::Fail, "RestoreIntegrityFailed", [0, 16, 20, 20, 10, 0], "missing: ConfigMap/web: no settings here"),
    ("the sandbox was not looked through", |_, f| f.objects = None,
        80, Outcome::Partial, "NotFullyTested", [25, 0, 20, 20, 10, 5], "completeness: Skipped: the run ended before"),
    ("objects held back", |_, f| objects(f).push(KindFacts {
            held: vec![HeldFact { name: "seed".into(), rule: "job".into() }], ..kind("batch", "Job", "jobs.batch", &[])
        }), 100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("objects that nobody can look for", |_, f| objects(f)[2].not_tested = vec![NotTested { name: "cache".into(), reason: "ignored".into() }],
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("a ConfigMap never came", |_, f| { objects(f)[2].present = Some(vec![]); objects(f)[2].created.clear(); },
        89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "ConfigMap/web: never attempted by the provider"),
    ("a ConfigMap vanished", |_, f| objects(f)[2].vanished = vec!["web".into()],
        89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "ConfigMap/web: restored, then vanished during the run"),
    ("a ConfigMap the provider skipped", |_, f| {
            objects(f)[2].present = Some(vec![]);
            objects(f)[2].created.clear();
            objects(f)[2].skipped.insert("web".into());
        }, 89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "ConfigMap/web: skipped by the provider on purpose"),
    ("another ConfigMap in its place", |_, f| objects(f)[2].present = Some(vec!["web2".into()]),
        89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "ConfigMap/web: created, then vanished"),
    ("a Deployment and a claim that the backup forgot", |_, f| f.living = vec![living(&[("apps", "Deployment", &["worker"]), ("", "PersistentVolumeClaim", &["cache"])])],
        89, Outcome::Partial, "CompletenessFailed", [25, 14, 20, 20, 10, 5], "5/7 expected resources found in sandbox; not in the backup: Deployment/worker; PersistentVolumeClaim/cache; compared"),
    ("a ConfigMap that the backup forgot, and one that never came", |_, f| {
            f.living = vec![living(&[("", "ConfigMap", &["worker"])])];
            objects(f)[2].present = Some(vec![]);
            objects(f)[2].created.clear();
        }, 89, Outcome::Partial, "CompletenessFailed", [25, 13, 20, 20, 10, 5],
        "4/6 expected resources found in sandbox; not in the backup: ConfigMap/worker; missing: ConfigMap/web: never attempted"),
    ("objects that the backup may forget", |_, f| {
            f.living = vec![living(&[("", "ConfigMap", &["cache"])])];
            f.living[0].absent[0].ignored = true;
        }, 100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("no comparison with the living namespace", |_, f| f.living = vec![LivingFacts { gap: Some(Gap::NotPermitted), ..living(&[]) }],
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("a comparison that failed", |_, f| f.living = vec![LivingFacts { gap: Some(Gap::Failed("no answer".into())), ..living(&[]) }],
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("a volume without data in the backup", |_, f| { f.volumes[0].no_data = Some("skipped".into()); f.volumes[0].method = None; },
        89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "no data in the backup: skipped"),
    ("a claim that never held anything and that nobody mounts", |_, f| f.volumes[0] = VolumeFacts {
            method: None, no_data: Some("no entry".into()), listed: false, restore_phase: None, mounted: false,
            claim_phase: Some("Pending".into()), waits_for_consumer: true, ..volume()
        }, 100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("the volume of a Job that is held back", |_, f| f.volumes[0] = VolumeFacts {
            restore_phase: None, mounted: false, claim_phase: Some("Pending".into()), pod_held: Some("job".into()), ..volume()
        }, 100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("the volume of a Job that is held back, which the application mounts", |_, f| f.volumes[0] = VolumeFacts {
            restore_phase: None, pod_held: Some("job".into()), ..volume()
        }, 89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "job; the pods that mount it started on an empty volume"),
    ("a snapshot of which nobody knows what came back", |_, f| f.volumes[0] = VolumeFacts {
            method: Some("CSISnapshot".into()), restore_phase: None, ..volume()
        }, 80, Outcome::Partial, "NotFullyTested", [25, 0, 20, 20, 10, 5], "nothing shows what is in volumes that pods mount"),
    ("the same, which no pod mounts", |_, f| f.volumes[0] = VolumeFacts {
            method: Some("CSISnapshot".into()), restore_phase: None, mounted: false, ..volume()
        }, 100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("a volume restore that failed", |_, f| {
            restore(f).phase = "PartiallyFailed".into();
            restore(f).error_count = 1;
            restore(f).errors.push(ProviderProblem { object: None, resource: None, source: None, name: None,
                message: "pod volume restore failed: blob not found".into(), fault: Fault::Backup });
            f.volumes[0].restore_phase = Some("Failed".into());
            f.volumes[0].restore_message = Some("blob not found".into());
            db_down(f);
        }, 49, Outcome::Fail, "RestoreIntegrityFailed", [0, 16, 13, 20, 0, 0], "its volume restore ended Failed: blob not found"),
    ("a volume with links, which only the backup counts", |_, f| { f.volumes[0].bytes = 1_007; },
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("a volume of which nothing was restored", |_, f| { f.volumes[0].restored_bytes = 0; f.volumes[0].to_restore = 0; },
        89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "none of 1000 bytes were restored"),
    ("a volume restored in part", |_, f| f.volumes[0].restored_bytes = 10,
        89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "only 10 of 1000 bytes"),
    ("a volume nobody restored", |_, f| f.volumes[0].restore_phase = None,
        89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "restored no volume for it"),
    ("a mounted claim that is not bound", |_, f| f.volumes[0].claim_phase = Some("Pending".into()),
        89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "a pod mounts it, but the claim is Pending"),
    ("a backup from the future", |_, f| f.backup.as_mut().unwrap().started_at = Some("2099-01-01T00:00:00Z".parse().unwrap()),
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "clock"),
    ("an empty volume", |_, f| f.volumes[0] = VolumeFacts { bytes: 0, to_restore: 0, restored_bytes: 0, ..volume() },
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("a kind that may not be listed", |_, f| { objects(f)[2].present = None; objects(f)[2].unlisted = Some("add a role".into()); },
        89, Outcome::Partial, "CompletenessFailed", [25, 16, 20, 20, 10, 5], "ConfigMap/web: add a role"),
    ("an object that our policies refuse", |_, f| {
            restore(f).phase = "PartiallyFailed".into();
            refuse(f, "configmaps", "web", "refused", Fault::Fence);
            objects(f)[2].present = Some(vec![]);
        }, 100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    // podStartup: 20 by what is ready of what should run
    ("one of three pods down, its check failed", |_, f| { db_down(f); f.checks[0].status = Status::Fail; f.checks[1].status = Status::Skip; },
        58, Outcome::Fail, "PodStartupFailed", [25, 20, 13, 0, 0, 0], "CrashLoopBackOff"),
    ("all ready, but one fell back", |_, f| { pods(f).stable = false; pods(f).failures.push(failure(Fault::Backup)); },
        78, Outcome::Partial, "PodStartupFailed", [25, 20, 13, 20, 0, 0], "2/3 pods stayed ready: "),
    ("a workload that never came", |_, f| { objects(f)[0].present = Some(vec!["api".into()]); pods(f).workloads.remove(1); },
        74, Outcome::Partial, "CompletenessFailed", [25, 16, 13, 20, 0, 0], "Deployment/web"),
    ("a bare pod that vanished", |_, f| {
            pods(f).workloads.push(WorkloadFacts { kind: "Pod".into(), ready: 0, ..workload("tool") });
            pods(f).failures.push(PodFailure { name: "tool".into(), cause: "Pod tool: restored, then vanished".into(), ..failure(Fault::Backup) });
            pods(f).stable = false;
        }, 80, Outcome::Partial, "PodStartupFailed", [25, 20, 15, 20, 0, 0], "3/4 pods stayed ready: Pod tool: restored, then vanished"),
    ("a workload that our policies refuse", |_, f| {
            restore(f).phase = "PartiallyFailed".into();
            refuse(f, "deployments.apps", "web", "refused", Fault::Fence);
            objects(f)[0].present = Some(vec!["api".into()]);
            pods(f).workloads.remove(1);
        }, 100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("no other workload than one that our policies refuse", |_, f| {
            restore(f).phase = "PartiallyFailed".into();
            refuse(f, "deployments.apps", "web", "refused", Fault::Fence);
            objects(f).remove(1);
            objects(f)[0] = KindFacts { present: Some(vec![]), ..kind("apps", "Deployment", "deployments.apps", &["web"]) };
            pods(f).workloads.clear();
        }, 65, Outcome::Fail, "NotFullyTested", [25, 20, 0, 20, 0, 0], "podStartup: Skipped: every pod is refused"),
    ("a ReplicationController that never came", |_, f| objects(f).push(KindFacts {
            present: Some(vec![]), ..kind("", "ReplicationController", "replicationcontrollers", &["old"])
        }), 76, Outcome::Partial, "CompletenessFailed", [25, 16, 15, 20, 0, 0], "ReplicationController/old was not restored"),
    ("no room for the pods", |_, f| { db_down(f); pods(f).failures[0].fault = Fault::Sandbox; },
        69, Outcome::Fail, "SandboxDenied", [25, 20, 13, 20, 0, 0], "no room for the application"),
    ("a claim whose class would give it production's storage", |_, f| {
            restore(f).phase = "PartiallyFailed".into();
            refuse(f, "persistentvolumeclaims", "data", "persistentvolumeclaims \"data\" is forbidden: exceeded quota: kymaros-classes, requested: \
                nfs.storageclass.storage.k8s.io/persistentvolumeclaims=1, used: nfs.storageclass.storage.k8s.io/persistentvolumeclaims=0", Fault::Sandbox);
            refuse(f, "pods", "web", "exceeded quota: kymaros-quota", Fault::Sandbox);
        }, 69, Outcome::Fail, "SandboxDenied", [0, 20, 20, 20, 10, 0], "restore.storageClassMapping: {nfs: <another class>}"),
    ("nothing that should run", |_, f| { pods(f).workloads.clear(); objects(f).drain(..2); },
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("every pod held", |_, f| { pods(f).workloads.clear(); objects(f).drain(..2); pods(f).held = vec!["agent".into()]; },
        65, Outcome::Fail, "NotFullyTested", [25, 20, 0, 20, 0, 0], "not tested"),
    ("the pods were not looked at", |_, f| f.pods = None,
        65, Outcome::Fail, "NotFullyTested", [25, 20, 0, 20, 0, 0], "podStartup: Skipped: the run ended before"),
    ("pods that nobody waits for", |_, f| pods(f).excluded = vec![excluded("pg-1", "its owner Cluster/pg is held"), excluded("step", "work, not a service")],
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "pods that were not tested: pg-1; step"),
    ("only pods that nobody waits for", |_, f| {
            pods(f).workloads.clear();
            objects(f).drain(..2);
            pods(f).excluded = vec![excluded("pg-1", "its owner Cluster/pg is held")];
        }, 65, Outcome::Fail, "NotFullyTested", [25, 20, 0, 20, 0, 0], "no pod was left to wait for: pg-1 (its owner Cluster/pg is held)"),
    // internalHealth: 20 by the checks that passed
    ("a check of pods that are held", |_, f| vain(f, 1),
        89, Outcome::Partial, "NotFullyTested", [25, 20, 20, 10, 10, 5], "10 points not tested (internalHealth: 1/2 checks passed, 1 not tested: web: its pods are held)"),
    ("a critical check of pods that are held", |_, f| vain(f, 0),
        85, Outcome::Partial, "NotFullyTested", [25, 20, 20, 10, 10, 0], "db-ready: its pods are held"),
    ("no check but of pods that are held", |_, f| { vain(f, 0); vain(f, 1); },
        75, Outcome::Partial, "NotFullyTested", [25, 20, 20, 0, 10, 0], "0/2 checks passed, 2 not tested"),
    ("one that failed beside a check of pods that are held", |_, f| { vain(f, 0); f.checks[1].status = Status::Fail; f.checks[1].message = "HTTP 500".into(); },
        75, Outcome::Partial, "InternalHealthFailed", [25, 20, 20, 0, 10, 0], "internalHealth: web: HTTP 500 (0/2 checks passed, 1 not tested: db-ready: its pods are held)"),
    ("no policy", |b, _| b.checks = None,
        80, Outcome::Partial, "NotFullyTested", [25, 20, 20, 0, 10, 5], "80: 20 points not tested (internalHealth: No health checks"),
    ("one check failed", |_, f| f.checks[1].status = Status::Fail,
        89, Outcome::Partial, "InternalHealthFailed", [25, 20, 20, 10, 10, 5], "1/2 checks passed"),
    ("a critical check failed", |_, f| { f.checks[0].status = Status::Fail; f.checks[1].status = Status::Skip; },
        75, Outcome::Partial, "InternalHealthFailed", [25, 20, 20, 0, 10, 0], "0/2 checks passed, 1 skipped due to upstream failure"),
    ("a check that never ran", |_, f| f.checks.truncate(1),
        89, Outcome::Partial, "InternalHealthFailed", [25, 20, 20, 10, 10, 5], "1/2 checks passed, 1 skipped"),
    ("no check ran", |_, f| f.checks.clear(),
        80, Outcome::Partial, "NotFullyTested", [25, 20, 20, 0, 10, 5], "internalHealth: Skipped: the run ended before the checks"),
    // crossNamespaceDeps: 10 by the dependencies that answer
    ("every dependency answers", |b, f| dependencies(b, f, &[true, true]),
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("one of three dependencies down", |b, f| dependencies(b, f, &[true, false, true]),
        89, Outcome::Partial, "CrossNamespaceDepsFailed", [25, 20, 20, 20, 6, 5], "2/3 dependencies reachable: d1.infra: connection refused"),
    ("the dependencies were not dialled", |b, f| { dependencies(b, f, &[true]); f.dependencies = None; },
        90, Outcome::Pass, "Passed", [25, 20, 20, 20, 0, 5], "crossNamespaceDeps: Skipped"),
    ("the only dependency down", |b, f| dependencies(b, f, &[false]),
        89, Outcome::Partial, "CrossNamespaceDepsFailed", [25, 20, 20, 20, 0, 5], "d0.infra: connection refused"),
    // rtoCompliance: 5 in time, if there was a recovery
    ("too slow, and something down besides", |_, f| { db_down(f); f.elapsed = Some(secs(1801)); },
        78, Outcome::Partial, "PodStartupFailed", [25, 20, 13, 20, 0, 0], "30m target — exceeded by 1s"),
    ("too slow", |_, f| f.elapsed = Some(secs(1801)),
        89, Outcome::Partial, "RtoComplianceFailed", [25, 20, 20, 20, 10, 0], "30m1s measured against 30m target — exceeded by 1s"),
    ("in time to the second", |_, f| f.elapsed = Some(Duration::from_millis(1_800_900)),
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("no target", |b, _| b.max_rto = None,
        95, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 0], "5 points not tested (rtoCompliance"),
    // caps
    ("a backup that is young enough", |b, _| b.max_backup_age = Some(secs(14_412)),
        100, Outcome::Pass, "Passed", [25, 20, 20, 20, 10, 5], "every level"),
    ("an old backup", |b, _| b.max_backup_age = Some(secs(14_411)),
        89, Outcome::Partial, "BackupTooOld", [25, 20, 20, 20, 10, 5], "the backup is 4h0m12s old, sla.maxBackupAge is 4h0m11s"),
    ("a newer backup is unusable", |_, f| f.backup.as_mut().unwrap().newer_unusable = vec![UnusableBackup { name: "shop-2".into(), phase: "Failed".into() }],
        89, Outcome::Partial, "NewerBackupUnusable", [25, 20, 20, 20, 10, 5], "newer backup shop-2 is unusable (Failed)"),
    ("the deadline, before the RTO", |_, f| f.stop = Some(stop(Reason::DeadlineExceeded)),
        69, Outcome::Fail, "DeadlineExceeded", [25, 20, 20, 20, 10, 0], "Not judged (DeadlineExceeded): it happened"),
    ("the deadline, after the RTO", |_, f| { f.stop = Some(stop(Reason::DeadlineExceeded)); f.elapsed = Some(secs(1900)); },
        69, Outcome::Fail, "DeadlineExceeded", [25, 20, 20, 20, 10, 0], "Failed (DeadlineExceeded): it happened"),
    ("the backup was deleted under the restore", |_, f| f.stop = Some(stop(Reason::BackupUnusable)),
        69, Outcome::Fail, "BackupUnusable", [25, 20, 20, 20, 10, 0], "Failed (BackupUnusable): it happened"),
    ("the provider restarted", |_, f| f.stop = Some(stop(Reason::ProviderInterrupted)),
        69, Outcome::Fail, "ProviderInterrupted", [25, 20, 20, 20, 10, 0], "Not judged (ProviderInterrupted)"),
    ("another restore came", |_, f| f.stop = Some(stop(Reason::Deferred)),
        69, Outcome::Fail, "Deferred", [25, 20, 20, 20, 10, 0], "Not judged (Deferred)"),
    ("no API server", |_, f| f.stop = Some(stop(Reason::ApiUnavailable)),
        69, Outcome::Fail, "ApiUnavailable", [25, 20, 20, 20, 10, 0], "Not judged (ApiUnavailable)"),
    ("the Lease was lost", |_, f| f.stop = Some(stop(Reason::LeaseLost)),
        69, Outcome::Fail, "LeaseLost", [25, 20, 20, 20, 10, 0], "Not judged (LeaseLost)"),
    ("told to stop", |_, f| f.stop = Some(stop(Reason::Interrupted)),
        69, Outcome::Fail, "Interrupted", [25, 20, 20, 20, 10, 0], "Not judged (Interrupted)"),
    // no restore: nothing
    ("no backup", |_, f| nothing_restored(f, Reason::BackupNotFound), 0, Outcome::Fail, "BackupNotFound", [0; 6], "Failed (BackupNotFound)"),
    ("no backup that can be used", |_, f| nothing_restored(f, Reason::BackupUnusable), 0, Outcome::Fail, "BackupUnusable", [0; 6], "Failed (BackupUnusable)"),
    ("not of this namespace", |_, f| nothing_restored(f, Reason::NamespaceNotInBackup), 0, Outcome::Fail, "NamespaceNotInBackup", [0; 6], "Failed (NamespaceNotInBackup)"),
    ("others kept the provider busy", |_, f| nothing_restored(f, Reason::QueueTimeout), 0, Outcome::Fail, "QueueTimeout", [0; 6], "Not judged (QueueTimeout)"),
    ("no isolation", |_, f| nothing_restored(f, Reason::IsolationNotEnforced), 0, Outcome::Fail, "IsolationNotEnforced", [0; 6], "Not judged (IsolationNotEnforced)"),
    ("no sandbox", |_, f| nothing_restored(f, Reason::SandboxDenied), 0, Outcome::Fail, "SandboxDenied", [0; 6], "Not judged (SandboxDenied)"),
    ("no provider", |_, f| nothing_restored(f, Reason::ProviderUnavailable), 0, Outcome::Fail, "ProviderUnavailable", [0; 6], "Not judged"),
    ("a bad spec", |_, f| nothing_restored(f, Reason::InvalidSpec), 0, Outcome::Fail, "InvalidSpec", [0; 6], "Not judged (InvalidSpec)"),
];
