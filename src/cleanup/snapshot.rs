//! Snapshot contents that the provider made for a sandbox. They are cluster-wide and outlive it.
//!
//! Whether the snapshot behind one goes with it is said by its deletion policy, which stays as it is.

use kube::{CustomResource, ResourceExt};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Reasons, RunRef, made_by_restore, named};
use crate::cluster::{Cluster, Error, Objects, Waited, none_if_unknown};

/// The part of a `VolumeSnapshotContent` that says for whom it was made.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Serialize)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshotContent",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeSnapshotContentSpec {
    /// The snapshot in some namespace.
    #[serde(default)]
    volume_snapshot_ref: SnapshotRef,
}

/// A snapshot.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct SnapshotRef {
    /// Its namespace.
    #[serde(default)]
    namespace: String,
}

/// Those made by the run's Restore for one of its sandboxes. The provider's label alone would not do: it is on objects of a
/// backup too, and anybody can write it.
pub(super) async fn of_run(cluster: &Cluster, run: &RunRef) -> Result<Vec<VolumeSnapshotContent>, Error> {
    let contents: Objects<VolumeSnapshotContent> = cluster.all();
    let mut found = none_if_unknown(contents.list(&made_by_restore(run)).await)?;
    let sandboxes = run.sandbox_names();
    found.retain(|content| sandboxes.contains(content.spec.volume_snapshot_ref.namespace.as_str()));
    Ok(found)
}

/// Removes them.
pub(super) async fn remove(cluster: &Cluster, run: &RunRef, deadline: Instant, reasons: &mut Reasons) {
    let contents: Objects<VolumeSnapshotContent> = cluster.all();
    // What cannot be listed is said by the audit.
    for content in of_run(cluster, run).await.unwrap_or_default() {
        let (name, uid) = (content.name_any(), content.uid().unwrap_or_default());
        let removed = async {
            if contents.delete(&name, &uid).await? {
                let gone =
                    |seen: Option<&VolumeSnapshotContent>| seen.and_then(ResourceExt::uid).as_deref() != Some(&uid);
                return contents.wait_for(&name, deadline, gone).await;
            }
            Ok(Waited::Met(None))
        };
        match removed.await {
            Ok(Waited::Met(_)) => {}
            Ok(Waited::Late(_)) => {
                reasons.insert(named(&content), "its snapshot is still being deleted".to_owned());
            }
            Err(error) => {
                reasons.insert(named(&content), error.to_string());
            }
        }
    }
}
