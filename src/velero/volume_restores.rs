//! Volume data on its way back: `PodVolumeRestore` for file-system backups, `DataDownload` for moved snapshots.
//!
//! Both can outlive their Restore. Only they prove that data came back: a claim is also Bound when it is empty.

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

impl PodVolumeRestore {
    /// UID of the claim whose volume it fills; `None` for a pod's own volume.
    pub fn claim_uid(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(label::CLAIM_UID).map(String::as_str)
    }
}
