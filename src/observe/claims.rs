//! What became of each claim of the backup and of its data. Pure.
//!
//! "Bound" says nothing about data: a claim that comes back empty is Bound too. Proof that data came back is the provider's
//! own record of filling the volume, `PodVolumeRestore` or `DataDownload`, joined to the claim by its UID or name.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::facts::{KindFacts, SandboxFacts, VolumeFacts};
use crate::redact;
use crate::velero::{
    CSI_SNAPSHOT, ClaimData, DataDownload, POD_VOLUME_BACKUP, PodVolumeRestore, VolumeRestoreStatus, Volumes,
};

/// A claim in a sandbox.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct ClaimSeen {
    /// Its UID.
    pub(super) uid: String,
    /// Its phase.
    pub(super) phase: String,
    /// Its storage class.
    pub(super) class: Option<String>,
}

impl From<&PersistentVolumeClaim> for ClaimSeen {
    fn from(claim: &PersistentVolumeClaim) -> Self {
        Self {
            uid: claim.metadata.uid.clone().unwrap_or_default(),
            phase: claim
                .status
                .as_ref()
                .and_then(|status| status.phase.clone())
                .unwrap_or_default(),
            // The empty name is no class: it asks for a volume that somebody made by hand.
            class: claim
                .spec
                .as_ref()
                .and_then(|spec| spec.storage_class_name.clone())
                .filter(|class| !class.is_empty()),
        }
    }
}

/// Everything there is to know about claims.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'e> {
    /// The claims of the backup that should come back, among other kinds.
    pub(super) kinds: &'e [KindFacts],
    /// The sandboxes.
    pub(super) sandboxes: &'e [SandboxFacts],
    /// What the backup has of them.
    pub(super) backup: &'e Volumes,
    /// Volumes filled from file-system backups by this restore.
    pub(super) from_files: &'e [PodVolumeRestore],
    /// Volumes filled from moved snapshots by this restore.
    pub(super) from_snapshots: &'e [DataDownload],
    /// Pods of the backup that were kept out, by source namespace and name, with the reason.
    pub(super) held_pods: &'e BTreeMap<(String, String), String>,
    /// Claims in the sandboxes, by source namespace and name.
    pub(super) claims: &'e BTreeMap<(String, String), ClaimSeen>,
    /// Storage classes that bind a claim only when a pod needs it.
    pub(super) patient_classes: &'e BTreeSet<String>,
    /// Claims that pods of the sandboxes mount, by source namespace and name.
    pub(super) mounts: &'e BTreeSet<(String, String)>,
}

/// One entry per claim that should come back.
pub(super) fn volumes(evidence: &Evidence<'_>) -> Vec<VolumeFacts> {
    evidence
        .kinds
        .iter()
        .filter(|kind| kind.group.is_empty() && kind.kind == "PersistentVolumeClaim")
        .flat_map(|kind| kind.expected.iter().map(|claim| volume(evidence, &kind.source, claim)))
        .collect()
}

fn volume(evidence: &Evidence<'_>, source: &str, claim: &str) -> VolumeFacts {
    let key = (source.to_owned(), claim.to_owned());
    let seen = evidence.claims.get(&key);
    let mut facts = VolumeFacts {
        source: source.to_owned(),
        claim: claim.to_owned(),
        listed: evidence.backup.claims.contains_key(&key),
        claim_phase: seen.map(|claim| claim.phase.clone()),
        mounted: evidence.mounts.contains(&key),
        waits_for_consumer: seen
            .and_then(|claim| claim.class.as_ref())
            .is_some_and(|class| evidence.patient_classes.contains(class)),
        ..VolumeFacts::default()
    };
    let restored = worst(evidence, source, claim, seen);
    match evidence.backup.claim(source, claim) {
        ClaimData::Stored { method, bytes, pod, .. } => {
            facts.method = Some(method);
            facts.bytes = bytes;
            facts.pod_held = pod.and_then(|pod| {
                let reason = evidence.held_pods.get(&(source.to_owned(), pod.clone()))?;
                Some(format!(
                    "its data is restored into pod {pod}, which was kept out: {reason}"
                ))
            });
        }
        // A volume that the provider has filled to the last byte was in the backup, whatever its list lacks.
        ClaimData::Nothing { reason } => match restored.filter(|(_, status)| status.is_complete()) {
            Some((method, status)) => {
                facts.method = Some(method.to_owned());
                facts.bytes = status.progress.total_bytes;
            }
            None => facts.no_data = Some(reason),
        },
    }
    if let Some((_, status)) = restored {
        facts.to_restore = status.progress.total_bytes;
        facts.restored_bytes = status.progress.bytes_done;
        facts.restore_phase = Some(status.phase.to_string());
        let message = status.message.as_deref().filter(|message| !message.is_empty());
        facts.restore_message = message.map(redact::values);
    }
    facts
}

/// The record of filling this claim's volume, with the way its data was kept; if there are several, one that did not end well.
fn worst<'e>(
    evidence: &Evidence<'e>,
    source: &str,
    claim: &str,
    seen: Option<&ClaimSeen>,
) -> Option<(&'static str, &'e VolumeRestoreStatus)> {
    let sandbox = evidence.sandboxes.iter().find(|sandbox| sandbox.source == source)?;
    let from_files = evidence
        .from_files
        .iter()
        .filter(|restore| {
            restore.spec.pod.namespace == sandbox.name
                && seen.is_some_and(|claim| restore.claim_uid() == Some(claim.uid.as_str()))
        })
        .map(|restore| (POD_VOLUME_BACKUP, &restore.status));
    let from_snapshots = evidence
        .from_snapshots
        .iter()
        .filter(|download| {
            let target = &download.spec.target_volume;
            target.namespace == sandbox.name && target.pvc == claim
        })
        .map(|download| (CSI_SNAPSHOT, &download.status));
    from_files
        .chain(from_snapshots)
        .min_by_key(|(_, status)| status.is_complete())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::velero::read_volume_infos;

    const SANDBOX: &str = "test-shop-kymaros-abc123";

    fn restores() -> (Vec<PodVolumeRestore>, Vec<DataDownload>) {
        let pvr = |uid: &str, namespace: &str, phase: &str, done: u64| {
            json!({"metadata": {"name": uid, "labels": {"velero.io/pvc-uid": uid}},
                "spec": {"pod": {"namespace": namespace, "name": "p"}, "volume": "v", "snapshotSize": 2048},
                "status": {"phase": phase, "message": "", "progress": {"totalBytes": 2048, "bytesDone": done}}})
        };
        let files = json!([
            pvr("u-good", SANDBOX, "Completed", 2048),
            pvr("u-half", SANDBOX, "Failed", 100),
            pvr("u-half", SANDBOX, "Completed", 2048),
            // Of another run.
            pvr("u-bad", "elsewhere", "Completed", 2048),
        ]);
        let moved = json!([{"metadata": {"name": "d"}, "spec": {"targetVolume": {"namespace": SANDBOX, "pvc": "moved", "pv": "x"}},
            "status": {"phase": "Canceled", "message": "told to stop"}}]);
        (
            serde_json::from_value(files).unwrap(),
            serde_json::from_value(moved).unwrap(),
        )
    }

    #[test]
    fn claims_are_joined_to_what_is_known_of_them() {
        let infos = json!([
            {"pvcName": "good", "pvcNamespace": "shop", "backupMethod": "PodVolumeBackup", "skipped": false, "result": "succeeded",
             "pvbInfo": {"size": 2048, "Phase": "Completed", "podName": "seed-x7k2p", "podNamespace": "shop"}},
            {"pvcName": "half", "pvcNamespace": "shop", "backupMethod": "PodVolumeBackup", "skipped": false, "result": "succeeded",
             "pvbInfo": {"size": 2048, "Phase": "Completed"}},
            {"pvcName": "moved", "pvcNamespace": "shop", "backupMethod": "CSISnapshot", "skipped": false, "result": "succeeded",
             "snapshotDataMovementInfo": {"size": 10, "Phase": "Completed"}},
            {"pvcName": "bad", "pvcNamespace": "shop", "skipped": true, "skippedReason": "opted out;"},
        ]);
        let backup = read_volume_infos(infos.to_string().as_bytes(), &BTreeSet::from(["shop".to_owned()])).unwrap();
        let kinds = [
            KindFacts {
                source: "shop".to_owned(),
                kind: "PersistentVolumeClaim".to_owned(),
                expected: ["bad", "good", "half", "moved", "never"].map(str::to_owned).to_vec(),
                ..KindFacts::default()
            },
            KindFacts {
                source: "shop".to_owned(),
                kind: "ConfigMap".to_owned(),
                expected: vec!["c".to_owned()],
                ..KindFacts::default()
            },
        ];
        let claim = |name: &str, phase: &str, class: &str| {
            let claim = serde_json::from_value(json!({
                "metadata": {"name": name, "uid": format!("u-{name}")}, "spec": {"storageClassName": class}, "status": {"phase": phase}}))
            .unwrap();
            (("shop".to_owned(), name.to_owned()), ClaimSeen::from(&claim))
        };
        let claims = BTreeMap::from([
            claim("good", "Bound", "local"),
            claim("half", "Bound", "local"),
            claim("bad", "Bound", "fast"),
            claim("never", "Pending", "local"),
        ]);
        let (files, moved) = restores();
        let volumes = volumes(&Evidence {
            kinds: &kinds,
            sandboxes: &[SandboxFacts {
                source: "shop".to_owned(),
                name: SANDBOX.to_owned(),
                uid: "n".to_owned(),
            }],
            backup: &backup,
            from_files: &files,
            from_snapshots: &moved,
            held_pods: &BTreeMap::from([(("shop".to_owned(), "seed-x7k2p".to_owned()), "job".to_owned())]),
            claims: &claims,
            patient_classes: &BTreeSet::from(["local".to_owned()]),
            mounts: &BTreeSet::from([("shop".to_owned(), "good".to_owned())]),
        });
        let short: Vec<_> = volumes
            .iter()
            .map(|v| {
                (
                    v.claim.as_str(),
                    v.listed,
                    v.no_data.as_deref(),
                    v.bytes,
                    (v.restored_bytes, v.to_restore),
                    v.restore_phase.as_deref(),
                    v.claim_phase.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                ("bad", true, Some("opted out"), 0, (0, 0), None, Some("Bound")),
                ("good", true, None, 2048, (2048, 2048), Some("Completed"), Some("Bound")),
                ("half", true, None, 2048, (100, 2048), Some("Failed"), Some("Bound")),
                ("moved", true, None, 10, (0, 0), Some("Canceled"), None),
                (
                    "never",
                    false,
                    Some("the backup has no entry for its volume"),
                    0,
                    (0, 0),
                    None,
                    Some("Pending")
                ),
            ]
        );
        let held: Vec<_> = volumes.iter().map(|v| v.pod_held.as_deref()).collect();
        let kept_out = "its data is restored into pod seed-x7k2p, which was kept out: job";
        assert_eq!(held, [None, Some(kept_out), None, None, None]);
        assert_eq!(volumes[3].restore_message.as_deref(), Some("told to stop"));
        assert_eq!(volumes[1].restore_message, None);
        let flags: Vec<_> = volumes.iter().map(|v| (v.mounted, v.waits_for_consumer)).collect();
        assert_eq!(
            flags,
            [
                (false, false),
                (true, true),
                (false, true),
                (false, false),
                (false, true)
            ]
        );
    }
}
