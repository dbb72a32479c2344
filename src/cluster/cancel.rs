//! Cancels the volume restores of one drill as they come, each as soon as Velero hears it. All there is of cancelling a Restore: Velero
//! itself goes on restoring pods, and so begins with further volumes, until it has come to its end.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt as _;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Cluster;
use super::error::{Error, none_if_unknown};
use super::objects::{Objects, Query};
use crate::velero::{DataDownload, PodVolumeRestore, VolumeRestore, VolumeRestorePhase};

/// Between two passes.
const PAUSE: Duration = Duration::from_secs(1);

/// Cancels the volume restores that carry a label. Clones know the same.
#[derive(Clone, Debug)]
pub struct Canceller {
    cluster: Cluster,
    namespace: String,
    query: Query,
    /// Since when a transfer has been seen under way, by kind and UID.
    running: Arc<Mutex<BTreeMap<(String, String), Instant>>>,
}

/// What came of one pass.
#[derive(Debug, Default)]
pub struct Pass {
    /// Names of those that were told to stop.
    pub cancelled: Vec<String>,
    /// What could not be listed or told.
    pub errors: Vec<Error>,
}

impl Canceller {
    /// Of the Restore of this name in the provider's namespace. By its name and not by its UID, for the Restore may be gone.
    pub fn of_restore(cluster: &Cluster, namespace: &str, restore: &str) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            query: Query::labels(format!("{}={restore}", crate::names::label::VELERO_RESTORE)),
            running: Arc::default(),
        }
    }

    /// Passes until dropped.
    pub async fn run(self) -> Infallible {
        loop {
            let pass = self.pass().await;
            if !pass.cancelled.is_empty() {
                tracing::info!(volumes = pass.cancelled.join(","), "cancelled volume restores");
            }
            for error in pass.errors {
                tracing::debug!(%error, "a volume restore could not be cancelled, trying again");
            }
            sleep(PAUSE).await;
        }
    }

    /// Tells every volume restore to stop that hears it now. One that could not be told does not keep the others from it.
    pub async fn pass(&self) -> Pass {
        let mut pass = Pass::default();
        self.of_kind::<PodVolumeRestore>(&mut pass).await;
        self.of_kind::<DataDownload>(&mut pass).await;
        pass
    }

    async fn of_kind<V: VolumeRestore>(&self, pass: &mut Pass) {
        let objects: Objects<V> = self.cluster.namespaced(&self.namespace);
        let volumes = match none_if_unknown(objects.list(&self.query).await) {
            Ok(volumes) => volumes,
            Err(error) => return pass.errors.push(error),
        };
        for volume in volumes {
            let running = self.see(&volume);
            if !volume.may_cancel(running) {
                continue;
            }
            match cancel(&objects, &volume).await {
                Ok(true) => pass.cancelled.push(volume.name_any()),
                Ok(false) => {}
                Err(error) => pass.errors.push(error),
            }
        }
    }

    /// Takes note of a volume restore; returns for how long its transfer has been seen under way. By our own clock, for that of the node
    /// may be another.
    pub fn see<V: VolumeRestore>(&self, volume: &V) -> Duration {
        let under_way = matches!(
            volume.status().phase,
            VolumeRestorePhase::InProgress | VolumeRestorePhase::Other(_)
        );
        if !under_way {
            return Duration::ZERO;
        }
        let key = (V::kind(&()).into_owned(), volume.uid().unwrap_or_default());
        // Whoever panicked with it left it whole.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.entry(key).or_insert_with(Instant::now).elapsed()
    }
}

/// Tells one volume restore to stop, if it is still as it was seen; `false` if it is not, or gone. What was seen before its transfer
/// began must not arrive a moment after.
pub(super) async fn cancel<V: VolumeRestore>(objects: &Objects<V>, volume: &V) -> Result<bool, Error> {
    let seen = volume.meta().resource_version.as_deref().unwrap_or_default();
    let patch = json!({"metadata": {"resourceVersion": seen}, "spec": {"cancel": true}});
    match objects.merge_version(&volume.name_any(), &patch).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}
