//! Looks at the claims in the sandboxes and joins them to what the backup and the provider say of their data.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;

use super::claims::{self, ClaimSeen, Evidence};
use crate::cluster::{Cluster, Error, Query};
use crate::facts::{KindFacts, SandboxFacts, VolumeFacts};
use crate::velero::{DataDownload, PodVolumeRestore, Volumes};

/// What the provider says of the volumes.
#[derive(Clone, Copy, Debug)]
pub struct ProviderVolumes<'p> {
    /// What the backup has of each claim.
    pub backup: &'p Volumes,
    /// The volumes that this restore filled from file-system backups.
    pub from_files: &'p [PodVolumeRestore],
    /// The volumes that this restore filled from moved snapshots.
    pub from_snapshots: &'p [DataDownload],
    /// Pods of the backup that were kept out of the sandboxes, by source namespace and name, with the reason.
    pub held_pods: &'p BTreeMap<(String, String), String>,
}

/// One entry for every claim that should come back. Call it when every volume restore has ended.
///
/// `kinds` are the expected objects, claims among them; `mounts` the claims that pods mount.
pub async fn volumes(
    cluster: &Cluster,
    sandboxes: &[SandboxFacts],
    kinds: &[KindFacts],
    provider: &ProviderVolumes<'_>,
    mounts: &BTreeSet<(String, String)>,
) -> Result<Vec<VolumeFacts>, Error> {
    let mut seen = BTreeMap::new();
    for sandbox in sandboxes {
        let has_claims = |kind: &KindFacts| {
            kind.source == sandbox.source
                && kind.group.is_empty()
                && kind.kind == "PersistentVolumeClaim"
                && !kind.expected.is_empty()
        };
        if !kinds.iter().any(has_claims) {
            continue;
        }
        let objects = cluster.namespaced::<PersistentVolumeClaim>(&sandbox.name);
        let listed = objects
            .list_with(&Query::all(), |claim| {
                let seen = ClaimSeen::from(&claim);
                (claim.metadata.name.unwrap_or_default(), seen)
            })
            .await;
        match listed {
            Ok(claims) => {
                seen.extend(
                    claims
                        .into_iter()
                        .map(|(name, claim)| ((sandbox.source.clone(), name), claim)),
                );
            }
            // The inventory says which role is missing.
            Err(error) if error.is_forbidden() => tracing::warn!(%error, "claims not looked at"),
            Err(error) => return Err(error),
        }
    }
    let pending = seen.values().filter(|claim| claim.phase != "Bound");
    let classes: BTreeSet<String> = pending.filter_map(|claim| claim.class.clone()).collect();
    let patient_classes = patient_classes(cluster, classes).await?;
    Ok(claims::volumes(&Evidence {
        kinds,
        sandboxes,
        backup: provider.backup,
        from_files: provider.from_files,
        from_snapshots: provider.from_snapshots,
        held_pods: provider.held_pods,
        claims: &seen,
        patient_classes: &patient_classes,
        mounts,
    }))
}

/// Those of the classes that bind a claim only when a pod needs it. Each is asked for once, and only if a claim of it is not
/// Bound.
async fn patient_classes(cluster: &Cluster, classes: BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
    let objects = cluster.all::<StorageClass>();
    let mut patient = BTreeSet::new();
    for name in classes {
        match objects.get_opt(&name).await {
            Ok(Some(class)) if class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") => {
                patient.insert(name);
            }
            Ok(_) => {}
            Err(error) if error.is_forbidden() => tracing::warn!(%error, "storage class not looked at"),
            Err(error) => return Err(error),
        }
    }
    Ok(patient)
}
