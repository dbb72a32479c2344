//! Volume data on its way back: `PodVolumeRestore` for file-system backups, `DataDownload` for moved snapshots.
//!
//! Both can outlive their Restore. Only they prove that data came back: a claim is also Bound when it is empty.

use std::fmt;
use std::time::Duration;

use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::open::open_enum;
use super::{label, velero_kind};

velero_kind! {
    /// Restores one volume of one pod from a file-system backup.
    PodVolumeRestore("podvolumerestores", "v1") { spec: PodVolumeRestoreSpec, status: VolumeRestoreStatus }
}

/// Which volume.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeRestoreSpec {
    /// The pod in the sandbox.
    pub pod: PodReference,
    /// The volume's name inside the pod.
    pub volume: String,
    /// Bytes of the snapshot; absent means none.
    pub snapshot_size: u64,
    /// The source's namespace.
    pub source_namespace: String,
    /// Set to stop it.
    pub cancel: bool,
}

/// A pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct PodReference {
    /// Its namespace, the sandbox.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

velero_kind! {
    /// Restores one claim from a snapshot that was moved into the store.
    DataDownload("datadownloads", "v2alpha1") { spec: DataDownloadSpec, status: VolumeRestoreStatus }
}

/// Which claim.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataDownloadSpec {
    /// The claim in the sandbox.
    pub target_volume: TargetVolume,
    /// The source's namespace.
    pub source_namespace: String,
    /// Bytes of the snapshot; absent means none.
    pub snapshot_size: u64,
    /// Set to stop it.
    pub cancel: bool,
}

/// A claim and its volume.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct TargetVolume {
    /// The claim's namespace, the sandbox.
    pub namespace: String,
    /// The claim's name.
    pub pvc: String,
    /// The volume's name.
    pub pv: String,
}

/// How far one of them came.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct VolumeRestoreStatus {
    /// Its phase.
    pub phase: VolumeRestorePhase,
    /// What went wrong.
    pub message: Option<String>,
    /// Bytes.
    pub progress: TransferProgress,
}

/// Bytes of a transfer; both absent for an empty volume.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransferProgress {
    /// All bytes.
    pub total_bytes: u64,
    /// Bytes written.
    pub bytes_done: u64,
}

open_enum! {
    /// Phase of a volume restore. `Canceled` has one l, whatever the documentation says.
    VolumeRestorePhase {
        /// A node took it.
        Accepted,
        /// Its volume is ready.
        Prepared,
        /// Bytes are being written.
        InProgress,
        /// Told to stop.
        Canceling,
        /// Stopped.
        Canceled,
        /// All bytes written.
        Completed,
        /// Broken off.
        Failed,
    }
}

impl VolumeRestorePhase {
    /// Nothing more will be written.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

impl VolumeRestoreStatus {
    /// Every byte was written.
    pub fn is_complete(&self) -> bool {
        self.phase == VolumeRestorePhase::Completed && self.progress.bytes_done == self.progress.total_bytes
    }
}

/// How long a transfer must have run before it may be cancelled. Velero's data mover hears no cancel before it has connected to
/// the store (seen: lost 0.3 s after `InProgress`, heard after 2 s). One that it does not hear is ended by force after five minutes,
/// and the node agent keeps the transfer's slot, its only one by default, until somebody restarts it.
const HEARS_AFTER: Duration = Duration::from_secs(5);
/// The same for one of which no byte is known yet: on a busy node the connection takes longer.
const SURELY_HEARS_AFTER: Duration = Duration::from_secs(15);

/// Either kind of volume restore, as it is read from the API server.
pub trait VolumeRestore:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + fmt::Debug + Send + 'static
{
    /// How far it came.
    fn status(&self) -> &VolumeRestoreStatus;

    /// It was told to stop.
    fn is_cancelled(&self) -> bool;

    /// Nothing more will be written.
    fn is_over(&self) -> bool {
        self.status().phase.is_terminal()
    }

    /// May it be told to stop now, without harm to the node agent? `running` is how long it has been seen `InProgress`.
    fn may_cancel(&self, running: Duration) -> bool {
        let VolumeRestoreStatus { phase, progress, .. } = self.status();
        if self.is_cancelled() {
            return false;
        }
        match phase {
            VolumeRestorePhase::New | VolumeRestorePhase::Accepted | VolumeRestorePhase::Prepared => true,
            VolumeRestorePhase::InProgress if progress.total_bytes > 0 => running >= HEARS_AFTER,
            VolumeRestorePhase::InProgress | VolumeRestorePhase::Other(_) => running >= SURELY_HEARS_AFTER,
            VolumeRestorePhase::Canceling
            | VolumeRestorePhase::Canceled
            | VolumeRestorePhase::Completed
            | VolumeRestorePhase::Failed => false,
        }
    }
}

impl VolumeRestore for PodVolumeRestore {
    fn status(&self) -> &VolumeRestoreStatus {
        &self.status
    }

    fn is_cancelled(&self) -> bool {
        self.spec.cancel
    }
}

impl VolumeRestore for DataDownload {
    fn status(&self) -> &VolumeRestoreStatus {
        &self.status
    }

    fn is_cancelled(&self) -> bool {
        self.spec.cancel
    }
}

impl PodVolumeRestore {
    /// UID of the claim whose volume it fills; `None` for a pod's own volume.
    pub fn claim_uid(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(label::CLAIM_UID).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_transfer_is_cancelled_in_its_first_moments() {
        let cases = [
            // phase, bytes, already cancelled, seconds in progress, may it be cancelled
            ("New", 0, false, 0, true),
            ("Accepted", 0, false, 0, true),
            ("Prepared", 0, false, 0, true),
            ("InProgress", 100, false, 4, false),
            ("InProgress", 100, false, 5, true),
            ("InProgress", 0, false, 14, false),
            ("InProgress", 0, false, 15, true),
            ("Uploading", 0, false, 14, false),
            ("Uploading", 0, false, 15, true),
            ("InProgress", 100, true, 60, false),
            ("New", 0, true, 0, false),
            ("Canceling", 100, true, 60, false),
            ("Canceled", 0, false, 60, false),
            ("Completed", 100, false, 60, false),
            ("Failed", 0, false, 60, false),
        ];
        for (phase, bytes, cancel, seconds, expected) in cases {
            let status = json!({"phase": phase, "progress": {"totalBytes": bytes}});
            let running = Duration::from_secs(seconds);
            let metadata = json!({"name": "a"});
            let object = json!({"metadata": metadata, "spec": {"cancel": cancel}, "status": status});
            let pod_volume: PodVolumeRestore = serde_json::from_value(object.clone()).unwrap();
            let download: DataDownload = serde_json::from_value(object).unwrap();
            assert_eq!(pod_volume.may_cancel(running), expected, "{phase} {seconds}");
            assert_eq!(download.may_cancel(running), expected, "{phase} {seconds}");
        }
    }
}
