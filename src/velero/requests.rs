//! The smaller kinds: storage locations, requests for a file, for the server's status, for a deletion.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::open::{nullable, open_enum};
use super::{time, velero_kind};

velero_kind! {
    /// Where backups are stored.
    BackupStorageLocation("backupstoragelocations", "v1") {
        spec: BackupStorageLocationSpec,
        status: BackupStorageLocationStatus
    }
}

/// The store and how to reach it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStorageLocationSpec {
    /// The plugin.
    pub provider: String,
    /// Settings of the plugin, e.g. `s3Url` and `publicUrl`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// The bucket.
    pub object_storage: ObjectStorage,
    /// `ReadWrite` or `ReadOnly`; both can be restored from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<String>,
}

/// The bucket and the authority its server is known by.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStorage {
    /// Name of the bucket.
    pub bucket: String,
    /// PEM certificates, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<String>,
    /// A key of a Secret that holds PEM certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert_ref: Option<KeyRef>,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct KeyRef {
    /// The Secret.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// What the server last saw of the location. It goes stale when the server is dead.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStorageLocationStatus {
    /// Reachable or not, as of the last validation.
    pub phase: LocationPhase,
    /// Why it is unavailable.
    pub message: Option<String>,
    /// When backups were last read from it.
    #[serde(deserialize_with = "time::lenient")]
    pub last_synced_time: Option<DateTime<Utc>>,
    /// When it was last tried.
    #[serde(deserialize_with = "time::lenient")]
    pub last_validation_time: Option<DateTime<Utc>>,
}

open_enum! {
    /// Phase of a storage location.
    LocationPhase {
        /// It answered.
        Available,
        /// It did not, or was not tried yet.
        Unavailable,
    }
}

impl BackupStorageLocation {
    /// It answered when the server last tried.
    pub fn is_available(&self) -> bool {
        self.status.phase == LocationPhase::Available
    }
}

velero_kind! {
    /// Asks for a signed URL of one file of a backup or a restore.
    DownloadRequest("downloadrequests", "v1") { spec: DownloadRequestSpec, status: DownloadRequestStatus }
}

/// What file is wanted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct DownloadRequestSpec {
    /// The file.
    pub target: DownloadTarget,
}

/// A file of a backup or a restore.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct DownloadTarget {
    /// Which file: the spelling of a [`FileKind`].
    pub kind: String,
    /// Name of the backup or restore.
    pub name: String,
}

/// The files this program reads. The backup's contents are not among them: they hold every Secret in clear.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileKind {
    /// Every object of a backup by kind, namespace and name.
    BackupResourceList,
    /// Errors and warnings of a backup.
    BackupResults,
    /// What was done with each volume of a backup.
    BackupVolumeInfos,
    /// Every object a restore dealt with, and what became of it.
    RestoreResourceList,
    /// Errors and warnings of a restore.
    RestoreResults,
}

impl FileKind {
    /// As Velero spells it; note the plural of the volume infos.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackupResourceList => "BackupResourceList",
            Self::BackupResults => "BackupResults",
            Self::BackupVolumeInfos => "BackupVolumeInfos",
            Self::RestoreResourceList => "RestoreResourceList",
            Self::RestoreResults => "RestoreResults",
        }
    }
}

impl std::fmt::Display for FileKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to a download request.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadRequestStatus {
    /// Its phase.
    pub phase: DownloadPhase,
    /// The signed URL. It is signed whether or not the file exists.
    #[serde(rename = "downloadURL")]
    pub download_url: Option<String>,
    /// When the request will be deleted. Set without a phase it means that there is no such backup or restore.
    #[serde(deserialize_with = "time::lenient")]
    pub expiration: Option<DateTime<Utc>>,
    /// Why it failed, from servers that say so.
    pub message: Option<String>,
}

open_enum! {
    /// Phase of a download request.
    DownloadPhase {
        /// The URL is there.
        Processed,
        /// It cannot be had; said by newer servers only.
        Failed,
    }
}

velero_kind! {
    /// Asks the server for a sign of life.
    ServerStatusRequest("serverstatusrequests", "v1") { spec: ServerStatusRequestSpec, status: ServerStatusRequestStatus }
}

/// Has no fields.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServerStatusRequestSpec {}

/// The sign of life.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatusRequestStatus {
    /// Its phase.
    pub phase: RequestPhase,
    /// May be empty even from a live server.
    pub server_version: Option<String>,
}

open_enum! {
    /// Phase of a request that is simply answered.
    RequestPhase {
        /// Answered.
        Processed,
    }
}

velero_kind! {
    /// Asks for a backup to be deleted, data and all, with every Restore of it.
    DeleteBackupRequest("deletebackuprequests", "v1") {
        spec: DeleteBackupRequestSpec,
        status: DeleteBackupRequestStatus
    }
}

/// Which backup.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteBackupRequestSpec {
    /// Name of the backup.
    pub backup_name: String,
}

/// How far the deletion came. On success the request vanishes with the backup.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct DeleteBackupRequestStatus {
    /// Its phase.
    pub phase: DeletionPhase,
    /// Set when the deletion failed.
    pub errors: Option<Vec<String>>,
}

open_enum! {
    /// Phase of a deletion.
    DeletionPhase {
        /// Under way.
        InProgress,
        /// Over; with errors it failed.
        Processed,
    }
}
